//! What a client is to whoever chooses among several: its kind, by what way it comes, what it can.

use super::{Codes, Kept, MfaClient, Place, Push};

/// What cannot be seen from what a client does, said by each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description<'a> {
    /// What people call it, where plugin.ini does not say.
    pub title: &'a str,
    pub kind: Kind,
    pub channel: Channel,
    pub sends: Sends,
    pub matching: Matching,
}

/// Which type of authenticator it is (NIST SP 800-63B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the subscriber holds makes one-time passwords by itself.
    Otp,
    /// Something is sent to what the subscriber holds, by another way than the login's.
    OutOfBand,
    /// The subscriber has a list of secrets.
    LookUp,
}

impl Kind {
    /// The word in listings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Otp => "otp",
            Self::OutOfBand => "out-of-band",
            Self::LookUp => "look-up",
        }
    }
}

/// By what way the proof comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// An authenticator app, or a token that shows codes.
    App,
    /// A key that types.
    Key,
    /// A notification on a phone.
    Push,
    /// A sign-in with another device.
    Device,
    Mail,
    Sms,
    /// Whatever a program or a web service makes of it.
    Message,
    /// Whatever the service knows of the subscriber.
    Service,
    /// None: it is kept, or fixed.
    None,
}

impl Channel {
    /// The word in listings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Key => "key",
            Self::Push => "push",
            Self::Device => "device",
            Self::Mail => "mail",
            Self::Sms => "sms",
            Self::Message => "message",
            Self::Service => "service",
            Self::None => "none",
        }
    }
}

/// What is sent to the subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    Nothing,
    /// Nothing that is to be typed: an approval or a sign-in is asked for.
    Push,
    /// A code, which is to be typed.
    Code,
    /// Either, as the subscriber or the service has it.
    Both,
}

/// Whether a push can come with a number that the subscriber has to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    Number,
    Nothing,
}

/// What `client` can, in words.
pub fn capabilities(client: &dyn MfaClient) -> Vec<&'static str> {
    let Description { title: _, kind: _, channel: _, sends, matching } = client.description();
    let pushes = client.push() == Push::Able && matches!(sends, Sends::Push | Sends::Both);
    let all = [
        ("codes", client.codes() == Codes::Able),
        ("push", pushes),
        ("choose-by-number", pushes && matching == Matching::Number),
        ("send", matches!(sends, Sends::Code | Sends::Both)),
        ("enrol", client.kept() == Kept::Here),
        ("several", client.kept() == Kept::Here),
        ("authorize", client.authorizes()),
    ];
    all.into_iter().filter_map(|(word, can)| can.then_some(word)).collect()
}

impl Place {
    /// The word in listings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Remote => "remote",
        }
    }
}

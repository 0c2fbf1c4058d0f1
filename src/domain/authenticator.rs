//! What a subscriber holds.

use super::claimant::Subscriber;
use super::time::UnixTime;

/// The hash function under an OTP's HMAC (RFC 6238, 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    /// The name in otpauth URIs, in plugin.ini and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// The algorithm of that name, written in any case, with or without the dash.
    pub fn named(name: &str) -> Option<Self> {
        let plain = name.strip_prefix("SHA-").or_else(|| name.strip_prefix("sha-"));
        [Self::Sha1, Self::Sha256, Self::Sha512].into_iter().find(|algorithm| match plain {
            Some(number) => algorithm.name().strip_prefix("SHA") == Some(number),
            None => algorithm.name().eq_ignore_ascii_case(name),
        })
    }
}

/// The public parameters of a TOTP authenticator (RFC 6238).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totp {
    pub algorithm: Algorithm,
    /// 6 to 8.
    pub digits: u32,
    /// Seconds in a time step, 15 to 120.
    pub period: u64,
}

impl Totp {
    /// Whether the parameters are within what this verifier computes.
    pub fn is_supported(self) -> bool {
        (6..=8).contains(&self.digits) && (15..=120).contains(&self.period)
    }
}

/// The public parameters of an HOTP authenticator (RFC 4226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hotp {
    pub algorithm: Algorithm,
    /// 6 to 8.
    pub digits: u32,
}

impl Hotp {
    /// Whether the parameters are within what this verifier computes.
    pub fn is_supported(self) -> bool {
        (6..=8).contains(&self.digits)
    }
}

/// How an authenticator is verified, and so what its sealed secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// By the time: the secret of the codes.
    Totp(Totp),
    /// By a counter: the secret of the codes.
    Hotp(Hotp),
    /// By looking up what was handed out: the key under which the codes are hashed.
    LookUp,
    /// By a code that is sent: where to.
    Sent,
    /// By a service that keeps its own: nothing.
    Elsewhere,
}

impl Mechanism {
    /// The word in the store and in what administrators are shown.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Totp(_) => "totp",
            Self::Hotp(_) => "hotp",
            Self::LookUp => "look-up",
            Self::Sent => "sent",
            Self::Elsewhere => "elsewhere",
        }
    }

    /// The parameters of a time-based one, where it is one.
    pub const fn totp(self) -> Option<Totp> {
        match self {
            Self::Totp(totp) => Some(totp),
            Self::Hotp(_) | Self::LookUp | Self::Sent | Self::Elsewhere => None,
        }
    }
}

/// Whether an authenticator may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Active,
    /// An administrator disabled it; nothing that it proves counts.
    Disabled,
}

/// Names one authenticator for ever; never given to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthenticatorId(pub String);

/// One enrolled authenticator, its secret still sealed.
#[derive(Clone, Debug)]
pub struct Authenticator {
    pub id: AuthenticatorId,
    pub subscriber: Subscriber,
    /// The client that verifies it: a section of plugin.ini.
    pub client: String,
    /// What its holder calls it.
    pub label: String,
    pub mechanism: Mechanism,
    /// The authenticator secret as [`crate::secret`] sealed it.
    pub sealed: Vec<u8>,
    /// The highest time step or counter that was accepted; nothing up to it is accepted again.
    pub last_step: Option<u64>,
    pub created: UnixTime,
    pub last_used: Option<UnixTime>,
    pub standing: Standing,
    /// Whether its holder is asked for this one first; at most one of a subscriber is.
    pub is_default: bool,
}

/// What is left of an authenticator that was removed: everything but its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub id: AuthenticatorId,
    pub client: String,
    pub label: String,
    pub created: UnixTime,
    pub removed: UnixTime,
    /// Why, where whoever removed it said so.
    pub reason: String,
}

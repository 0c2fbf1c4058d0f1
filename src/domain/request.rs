//! What a gateway asks.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::action::Act;
use super::secret::{Secret, TypedCode};

/// What the gateway wants decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Is the claimant who they say they are?
    Authenticate,
    /// May this authenticated session go on to its target?
    Authorize,
    /// The session is over; whatever it held may go.
    SessionEnded,
    /// What a program wants to know of an action that somebody is to confirm.
    Challenge(Box<Act>),
}

impl Kind {
    /// The word on the wire and in the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::Authorize => "authorize",
            Self::SessionEnded => "session_ended",
            Self::Challenge(act) => act.word(),
        }
    }
}

/// The facts of a session, as far as the gateway knows them. Empty text is the same as none.
#[derive(Clone, Debug, Default)]
pub struct Session {
    pub session_id: Option<String>,
    pub protocol: Option<String>,
    pub connection_name: Option<String>,
    pub client_ip: Option<String>,
    pub client_port: Option<u16>,
    pub client_hostname: Option<String>,
    pub gateway_user: Option<String>,
    pub gateway_domain: Option<String>,
    pub gateway_groups: Vec<String>,
    pub server_ip: Option<String>,
    pub server_port: Option<u16>,
    pub server_hostname: Option<String>,
    pub server_username: Option<String>,
    pub server_domain: Option<String>,
}

/// What the claimant answered, or typed ahead before the user name (`key_value_pairs`).
#[derive(Clone, Default)]
pub struct Answers(BTreeMap<String, Secret<String>>);

impl Answers {
    /// Takes the pairs in; of two with one key the codec has already refused the request.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key, Secret::new(value))).collect())
    }

    /// Puts `answer` under `key`, in the place of one that is there.
    pub fn put(&mut self, key: String, answer: Secret<String>) {
        self.0.insert(key, answer);
    }

    /// The answer to `key`, if one was given.
    pub fn answer(&self, key: &str) -> Option<&Secret<String>> {
        self.0.get(key)
    }

    /// The one-time password, if one was given; empty where the claimant only pressed Enter.
    pub fn otp(&self) -> Option<&TypedCode> {
        self.answer("otp")
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} redacted>", self.0.len())
    }
}

/// What every plugin of the session sees: in clear, written by anybody, so that nothing is decided by it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SessionCookie {
    /// The answers to the questions of plugin.ini, by key; `None` as long as none was put.
    pub questions: Option<BTreeMap<String, String>>,
    /// What else is there, by key: JSON, as it came.
    pub others: BTreeMap<String, String>,
}

impl SessionCookie {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.questions.is_none() && self.others.is_empty()
    }
}

impl fmt::Debug for SessionCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// One request, ready to be decided.
#[derive(Clone, Debug)]
pub struct Request {
    pub kind: Kind,
    /// What the gateway calls the request: one of the same name in the same session is the same, sent again.
    pub name: Option<String>,
    pub session: Session,
    pub answers: Answers,
    /// What an earlier verdict of this session handed out, unverified.
    pub cookie: Option<Secret<String>>,
    pub session_cookie: SessionCookie,
    /// How long the gateway waits, where it says so.
    pub deadline: Option<Duration>,
    pub dialogue: Dialogue,
    pub beginning: Beginning,
    pub conversation: Conversation,
}

/// Over which of the conversations of this process a request came. Whoever hangs up takes back what they asked there, and
/// a request that is sent again is known again there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conversation(pub u64);

/// Where the dialogue began that a request belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beginning {
    /// With this request, or with one before it.
    #[default]
    Anywhere,
    /// With one before it, in which the gateway saw to what comes before the second factor, such as a password: without the
    /// cookie of that one, nothing is verified, and nobody is asked.
    Before,
}

/// Whether the claimant can be asked anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialogue {
    /// As the configuration says of the session's protocol.
    #[default]
    ByProtocol,
    /// The gateway shows a question, and comes again with the answer.
    Open,
    /// The gateway takes yes or no.
    Closed,
}

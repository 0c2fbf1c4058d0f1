//! Gateways that start a process for one question and take its answer from what it writes and how it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::conduct::{Conduct, OnError, Typed};
use super::fields::invalid;
use crate::domain::fault::{Class, Fault};
use crate::domain::request::{Answers, Beginning, Conversation, Dialogue, Kind, Request, Session, SessionCookie};
use crate::domain::secret::Secret;
use crate::domain::verdict::{Reject, Verdict};

/// The most that is read of what a gateway writes, in bytes: no gateway has fields of this size.
pub const INPUT_LIMIT: usize = 64 * 1024;

/// Where a gateway puts what the claimant typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Into the environment or the arguments: nothing is read.
    Nothing,
    /// Standard input, until its end.
    Standard,
    /// File descriptor 3, until its end.
    Third,
    /// The file that the last argument names, which is removed when it was read.
    LastArgument,
}

/// Which part of a login one run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// All of it.
    Whole,
    /// It puts the question, and leaves something for the other half.
    First,
    /// It takes the answer, with what the first half left.
    Second,
}

/// What a gateway gave the process.
#[derive(Clone, Debug)]
pub struct Given {
    /// The arguments behind our own.
    pub arguments: Vec<OsString>,
    pub environment: BTreeMap<OsString, Secret<Vec<u8>>>,
    /// The variables that are there more than once.
    pub repeated: BTreeSet<OsString>,
    pub input: Secret<Vec<u8>>,
    /// What the first half of the same login left, where this is the second.
    pub left: Option<Secret<Vec<u8>>>,
    /// Of this run, and of no other: by what a login may be known.
    pub nonce: [u8; 15],
}

impl Given {
    /// The variable `name` as text, where it is there, not empty, and UTF-8. For facts, not for secrets.
    pub fn fact(&self, name: &str) -> Option<&str> {
        let value = self.environment.get(OsStr::from_bytes(name.as_bytes()))?;
        // What a gateway says of a session.
        std::str::from_utf8(value.expose()).ok().filter(|text| !text.is_empty())
    }
}

/// The verdict on the one request, and what belongs to it.
#[derive(Clone, Debug)]
pub struct Answered {
    pub verdict: Verdict,
    /// By what the log names the request; empty where it never came to that.
    pub trace: String,
    pub session_cookie: SessionCookie,
}

impl Answered {
    /// The answer where none could be reached.
    pub fn fault(fault: Fault) -> Self {
        Self { verdict: Verdict::Reject(fault.into()), trace: String::new(), session_cookie: SessionCookie::default() }
    }
}

/// What is left behind for the gateway, in this order: files, what the other half finds, standard
/// output, a program in our place, the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parting {
    /// Files for a later run of ours: made anew, and nobody else may read them.
    pub made: Vec<(PathBuf, Vec<u8>)>,
    /// Files that the gateway made for its answer: where it removed them, it wants none any more.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    pub output: Vec<u8>,
    /// What the second half of the login is to find, where this is the first. It opens nothing.
    pub left: Option<Vec<u8>>,
    /// Run in place of this process, with these variables besides those that are there.
    pub program: Option<Program>,
    pub status: u8,
    /// What the log is told besides.
    pub complaint: Option<String>,
}

/// A program that goes on where this one ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub path: OsString,
    pub arguments: Vec<OsString>,
    pub variables: Vec<(OsString, OsString)>,
}

impl Parting {
    /// Nothing but a status.
    pub fn status(status: u8) -> Self {
        Self { status, ..Self::default() }
    }
}

/// A codec for one of these gateways: its conventions, and nothing of the decision.
pub trait OneShot: Sync {
    /// Where what the claimant typed is.
    fn input(&self) -> Input;

    /// Which part of a login a run with these arguments is.
    fn half(&self, _arguments: &[OsString]) -> Half {
        Half::Whole
    }

    /// The files beside which an answer to this may be left, besides what the two halves of a login leave.
    fn places(&self, _given: &Given) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Whether a program of the gateway's goes on where this one ends.
    fn is_followed(&self) -> bool {
        false
    }

    /// The request in what was given.
    ///
    /// # Errors
    /// Where there is none.
    fn read(&self, given: &Given, conduct: &Conduct) -> Result<Request, Fault>;

    /// What the gateway is left with.
    fn part(&self, given: &Given, answered: &Answered, conduct: &Conduct) -> Parting;
}

/// A request of one login: who it is, and what they typed.
pub fn login(user: String, typed: Typed, dialogue: Dialogue) -> Request {
    let Typed { password, otp } = typed;
    // From one custody into the other.
    let pair = |key: &str, secret: Secret<String>| (key.to_owned(), secret.expose().clone());
    let pairs =
        password.map(|secret| pair("password", secret)).into_iter().chain(otp.map(|secret| pair("otp", secret)));
    Request {
        kind: Kind::Authenticate,
        name: None,
        session: Session { gateway_user: Some(user), ..Session::default() },
        answers: Answers::new(pairs),
        cookie: None,
        session_cookie: SessionCookie::default(),
        deadline: None,
        dialogue,
        beginning: Beginning::Anywhere,
        conversation: Conversation::default(),
    }
}

/// `bytes` as text: what `what` is.
///
/// # Errors
/// Where it is no UTF-8, or holds a NUL character: nobody is called that, and no code is.
pub fn text(bytes: &[u8], what: &str) -> Result<String, Fault> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        Ok(_) => Err(invalid("wrong_value", format!("{what}: holds a NUL character"))),
        Err(_) => Err(invalid("not_utf8", format!("{what}: is not UTF-8"))),
    }
}

/// Whether `reject` is to be told as something that may pass, rather than as a failure of the claimant.
pub fn is_temporary(reject: &Reject, conduct: &Conduct) -> bool {
    conduct.on_error == OnError::TempFail
        && match reject.class {
            Class::CommunicationError | Class::ServiceUnreachable | Class::InternalError => true,
            Class::AuthenticationFailure | Class::PolicyDenied | Class::InvalidRequest => false,
        }
}

/// What the claimant may read of `reject`.
pub fn message(reject: &Reject) -> &str {
    let shown = reject.remarks.as_ref().and_then(|remarks| remarks.message.as_deref());
    shown.unwrap_or_else(|| reject.class.message())
}

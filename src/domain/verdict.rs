//! The answer to a request.

use std::time::Duration;

use super::claimant::{Claimant, MfaIdentity};
use super::fault::{Class, Fault};
use super::outcome::{Denial, Factor, Remarks};

/// Whether what the claimant types is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    Show,
    Hide,
}

/// What the claimant is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Under which key of `key_value_pairs` the answer comes back.
    pub key: String,
    pub prompt: String,
    pub echo: Echo,
}

/// One verdict. Nothing else answers a request.
#[derive(Clone, Debug)]
pub enum Verdict {
    Accept(Accept),
    Reject(Reject),
    NeedInfo(NeedInfo),
}

/// Whether a verdict rests on the client that the configuration names, or on what it says for the client's absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footing {
    Full,
    Degraded,
}

/// What an accept rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// A client verified the claimant.
    Verified,
    /// The user list of `[whitelist source=user_list]` exempts them.
    UserList,
    /// Their groups in the directory exempt them (`[whitelist source=ldap_server_group]`).
    DirectoryGroup,
    /// They were verified from the same address a moment ago (`[authentication_cache]`).
    Cached,
    /// The service was not reached, and its section says accept.
    Unreachable,
    /// The session may go on to its target.
    Authorized,
    /// They have no authenticator, and `[policy] unenrolled` says accept.
    Unenrolled,
    /// The claimant confirmed the action that a program asks about.
    Permit,
    /// `[policy] enforce = no`: whatever was decided, nobody is kept out.
    Shadow,
    /// Nothing is let in: the session is over.
    Ended,
}

impl Basis {
    /// Every basis there is.
    const ALL: [Self; 10] = [
        Self::Verified,
        Self::UserList,
        Self::DirectoryGroup,
        Self::Cached,
        Self::Unreachable,
        Self::Authorized,
        Self::Unenrolled,
        Self::Permit,
        Self::Shadow,
        Self::Ended,
    ];

    /// The basis of that word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|basis| basis.word() == word)
    }

    /// The word on the wire and in the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::UserList => "user_list",
            Self::DirectoryGroup => "directory_group",
            Self::Cached => "cached",
            Self::Unreachable => "unreachable",
            Self::Authorized => "authorized",
            Self::Unenrolled => "unenrolled",
            Self::Permit => "permit",
            Self::Shadow => "shadow",
            Self::Ended => "ended",
        }
    }
}

/// Let the claimant in. Built in one place, [`crate::engine`], from what a client verified or a cookie proves.
#[derive(Clone, Debug)]
pub struct Accept {
    pub claimant: Option<Claimant>,
    pub identity: Option<MfaIdentity>,
    pub basis: Basis,
    pub factor: Option<Factor>,
    /// The remote service that verified, for the log.
    pub service: Option<String>,
    pub footing: Footing,
    pub reason: String,
    /// What a service that answers in verdicts said beside its yes.
    pub remarks: Option<Box<Remarks>>,
    pub cookie: Option<String>,
}

/// Whether something may have left for a service, or for a person's phone, on the way to a verdict. Where nothing did, the
/// same may be asked again at once, and bothers nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sent {
    #[default]
    Nothing,
    Perhaps,
}

/// Do not let the claimant in.
#[derive(Clone, Debug)]
pub struct Reject {
    pub class: Class,
    pub code: &'static str,
    pub service: Option<String>,
    pub reason: String,
    /// What a service that answers in verdicts said beside its no, what the claimant is told instead of the class's words
    /// among it.
    pub remarks: Option<Box<Remarks>>,
    pub retry_after: Option<Duration>,
}

/// Ask the claimant and come again with the answer.
#[derive(Clone, Debug)]
pub struct NeedInfo {
    pub question: Question,
    pub cookie: Option<String>,
}

impl From<Denial> for Reject {
    fn from(denial: Denial) -> Self {
        let (class, code, reason) = (denial.class(), denial.code(), denial.reason());
        let retry_after = denial.retry_after();
        let remarks = if let Denial::Decided { remarks } = denial { Some(remarks) } else { None };
        Self { class, code, service: None, reason, remarks, retry_after }
    }
}

/// The one function that turns any error into a verdict.
impl From<Fault> for Reject {
    fn from(fault: Fault) -> Self {
        let Fault { class, code, service, reason } = fault;
        Self { class, code, service, reason, remarks: None, retry_after: None }
    }
}

//! The answer to a request.

use std::time::Duration;

use super::claimant::{Claimant, MfaIdentity};
use super::fault::{Class, Fault};
use super::outcome::{Denial, Factor};

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

/// Let the claimant in. Built in one place, [`crate::engine`], from what a client verified or a cookie proves.
#[derive(Clone, Debug)]
pub struct Accept {
    pub claimant: Option<Claimant>,
    pub identity: Option<MfaIdentity>,
    pub factor: Option<Factor>,
    /// The remote service that verified, for the log.
    pub service: Option<String>,
    pub footing: Footing,
    pub reason: String,
    pub cookie: Option<String>,
}

/// Do not let the claimant in.
#[derive(Clone, Debug)]
pub struct Reject {
    pub class: Class,
    pub code: &'static str,
    pub service: Option<String>,
    pub reason: String,
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
        Self {
            class: denial.class(),
            code: denial.code(),
            service: None,
            reason: denial.reason(),
            retry_after: denial.retry_after(),
        }
    }
}

/// The one function that turns any error into a verdict.
impl From<Fault> for Reject {
    fn from(fault: Fault) -> Self {
        let Fault { class, code, service, reason } = fault;
        Self { class, code, service, reason, retry_after: None }
    }
}

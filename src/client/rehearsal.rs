//! A remote client that says what it would ask, and asks nobody: for `countersign explain`.

use std::rc::Rc;
use std::time::Instant;

use super::description::Description;
use super::diagnosis::Findings;
use super::{Asks, ClientError, Codes, Kept, MfaClient, Place, Push, Reply, Wired};
use crate::domain::attempt::Attempt;
use crate::domain::fault::Reach;
use crate::domain::outcome::ClientState;
use crate::domain::secret::TypedCode;
use crate::domain::time::UnixTime;

/// The code of the fault by which a rehearsal ends where a service would decide.
pub const NOT_ASKED: &str = "not_asked";

/// A client whose service is not asked.
struct Rehearsal(Rc<dyn MfaClient>);

/// The same client for a rehearsal: what verifies here does so, what asks a service does not.
#[must_use]
pub fn rehearsed(wired: Wired) -> Wired {
    let Wired { client, title, on_unreachable, degraded_for } = wired;
    let client: Rc<dyn MfaClient> = match client.place() {
        Place::Here => client,
        Place::Remote => Rc::new(Rehearsal(client)),
    };
    Wired { client, title, on_unreachable, degraded_for }
}

impl Rehearsal {
    fn would<'a>(&'a self, what: &'static str) -> Reply<'a> {
        let text = format!("[{}] would be asked to {what}; an explanation asks no service", self.section());
        Box::pin(async { Err(ClientError::communication(NOT_ASKED, text).reached(Reach::NotSent)) })
    }
}

impl MfaClient for Rehearsal {
    fn section(&self) -> &str {
        self.0.section()
    }

    fn place(&self) -> Place {
        self.0.place()
    }

    fn description(&self) -> Description<'_> {
        self.0.description()
    }

    fn push(&self) -> Push {
        self.0.push()
    }

    fn codes(&self) -> Codes {
        self.0.codes()
    }

    fn asks(&self) -> Asks {
        self.0.asks()
    }

    fn kept(&self) -> Kept {
        self.0.kept()
    }

    fn tries(&self) -> u32 {
        self.0.tries()
    }

    fn starts_push(&self, typed: &TypedCode) -> bool {
        self.0.starts_push(typed)
    }

    fn is_answer(&self, typed: &TypedCode) -> bool {
        self.0.is_answer(typed)
    }

    fn otp_authenticate<'a>(
        &'a self,
        _attempt: &'a Attempt<'a>,
        _otp: &'a TypedCode,
        _state: Option<&'a ClientState>,
    ) -> Reply<'a> {
        self.would("verify what was typed")
    }

    fn push_start<'a>(&'a self, _attempt: &'a Attempt<'a>) -> Reply<'a> {
        self.would("send a push")
    }

    fn push_wait<'a>(&'a self, _attempt: &'a Attempt<'a>, _state: &'a ClientState) -> Reply<'a> {
        self.would("say how its push was answered")
    }

    fn diagnose(&self, now: UnixTime, until: Instant) -> Findings<'_> {
        self.0.diagnose(now, until)
    }
}

//! What the log calls a request.

use crate::domain::action::Act;
use crate::domain::request::{Kind, Request};
use crate::engine::Engine;
use crate::log::Facts;

/// What the audit line says of `request`.
pub fn facts(engine: &Engine, request: &Request) -> Facts {
    let (challenge, purpose) = match &request.kind {
        Kind::Challenge(act) => match &**act {
            Act::Request { purpose, binding: _, lifetime: _ } => (None, Some(purpose)),
            Act::Confirm { id } => (Some(id), None),
            Act::Check(claim) | Act::Use(claim) => (Some(&claim.id), claim.purpose.as_ref()),
        },
        Kind::Authenticate | Kind::Authorize | Kind::SessionEnded => (None, None),
    };
    Facts {
        kind: request.kind.word(),
        session: request.session.session_id.clone(),
        source: request.session.client_ip.clone(),
        protocol: request.session.protocol.clone(),
        claimant: engine.claimant(request).map(|claimant| claimant.0),
        identity: None,
        challenge: challenge.map(|id| id.0.clone()),
        purpose: purpose.map(|purpose| purpose.as_str().to_owned()),
        cookie: "none",
        answered: None,
        peer: None,
    }
}

/// Names for verdicts, by which an operator finds one in the log: unique in a process, and among processes by chance.
pub struct Traces {
    start: u64,
    count: u64,
}

impl Traces {
    /// None yet.
    pub fn new() -> Self {
        Self { start: getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()) << 32), count: 0 }
    }

    /// The next one.
    pub fn next(&mut self) -> String {
        self.count = self.count.wrapping_add(1);
        // An odd factor maps the counts one to one onto numbers that look nothing alike.
        format!("{:016x}", self.start.wrapping_add(self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
}

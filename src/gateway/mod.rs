//! Who asks: one codec a gateway protocol, over the same requests and verdicts. Nothing of the decision is here.

pub mod carry;
mod challenge;
pub mod checkpassword;
pub mod conduct;
mod fields;
pub mod json;
pub mod once;
pub mod openvpn;
pub mod pam_exec;
pub mod pwauth;
pub mod radius_exec;
mod session_cookie;
pub mod sps;
pub mod squid;
mod tree;

use crate::domain::action::Told;
use crate::domain::fault::{Class, Fault};
use crate::domain::request::{Request, SessionCookie};
use crate::domain::verdict::{Sent, Verdict};

/// What the answer needs of its request: what the gateway calls it, or whatever else of it a protocol gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

/// What a line says.
#[derive(Debug)]
pub enum Inbound {
    /// Decide this. Fields that nobody knows are named, for the log.
    Decide { id: Option<RequestId>, request: Box<Request>, unknown: Vec<String> },
    /// Take `target` back.
    Cancel { id: Option<RequestId>, target: RequestId },
    /// Tell what is spoken here.
    Hello { id: Option<RequestId> },
    /// Not a request.
    Flawed { id: Option<RequestId>, fault: Fault },
}

/// What is spoken here.
#[derive(Clone, Debug)]
pub struct Greeting {
    pub clients: Vec<String>,
    pub max_in_flight: usize,
}

/// An answer, ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub verdict: &'a Verdict,
    /// By what the log names the request.
    pub trace: &'a str,
    pub session_cookie: &'a SessionCookie,
    /// The challenge that the request was about.
    pub challenge: Option<&'a Told>,
    pub sent: Sent,
}

impl<'a> Said<'a> {
    /// An answer that rests on nothing of the request, and so on nothing that is known of what became of it.
    pub fn bare(verdict: &'a Verdict, trace: &'a str) -> Self {
        static EMPTY: SessionCookie = SessionCookie { questions: None, others: std::collections::BTreeMap::new() };
        Self { verdict, trace, session_cookie: &EMPTY, challenge: None, sent: Sent::Perhaps }
    }
}

/// A gateway's language: a line in, a line out. No line is longer than [`LINE_LIMIT`].
pub trait Protocol {
    /// Reads a line, without its end.
    fn read(&self, line: &[u8]) -> Inbound;

    /// Writes the verdict on request `id` as one line.
    fn write(&self, id: Option<&RequestId>, said: Said<'_>, out: &mut Vec<u8>);

    /// Writes what became of a cancel.
    fn write_cancelled(&self, id: Option<&RequestId>, found: bool, out: &mut Vec<u8>);

    /// Writes the answer to a hello.
    fn write_greeting(&self, id: Option<&RequestId>, greeting: &Greeting, out: &mut Vec<u8>);
}

/// The longest line that is read, in bytes without its end.
pub const LINE_LIMIT: usize = 64 * 1024;

/// The fault that a line of more than [`LINE_LIMIT`] bytes is.
pub fn too_long() -> Fault {
    Fault {
        class: Class::InvalidRequest,
        code: "line_too_long",
        service: None,
        reason: "the line is longer than 64 KiB".into(),
    }
}

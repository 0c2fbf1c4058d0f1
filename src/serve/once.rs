//! One request of a gateway that starts a process for it: served as a line would be, with everything that belongs to that.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use crate::domain::fault::Fault;
use crate::gateway::once::Answered;
use crate::gateway::{Greeting, Inbound, Protocol, RequestId, Said};

/// A conversation of one request, which stands in the place of its first line, and whose verdict is handed over as it is.
pub struct Once {
    inbound: Mutex<Option<Inbound>>,
    present: Mutex<Option<OwnedFd>>,
    tell: Box<dyn Fn(Answered) + Send + Sync>,
}

impl Once {
    /// The conversation of `inbound`, whose answer `tell` gets. `present` is the other end of the input ([`line()`]): whoever
    /// asked is there until there is an answer.
    pub fn new(inbound: Inbound, present: OwnedFd, tell: impl Fn(Answered) + Send + Sync + 'static) -> Self {
        Self { inbound: Mutex::new(Some(inbound)), present: Mutex::new(Some(present)), tell: Box::new(tell) }
    }
}

/// The two ends of the input of a conversation that has one line.
///
/// # Errors
/// Where there can be no pipe.
pub fn line() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::write(&write, b"\n")?;
    Ok((read, write))
}

impl Protocol for Once {
    fn read(&self, _line: &[u8]) -> Inbound {
        let inbound = self.inbound.lock().unwrap_or_else(PoisonError::into_inner).take();
        inbound.unwrap_or_else(|| Inbound::Flawed {
            id: None,
            fault: Fault::internal("second_request", "there is one request in this conversation"),
        })
    }

    fn write(&self, _id: Option<&RequestId>, said: Said<'_>, _out: &mut Vec<u8>) {
        let Said { verdict, trace, session_cookie, challenge: _, sent: _ } = said;
        let (verdict, session_cookie) = (verdict.clone(), session_cookie.clone());
        (self.tell)(Answered { verdict, trace: trace.to_owned(), session_cookie });
        drop(self.present.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn write_cancelled(&self, _id: Option<&RequestId>, _found: bool, _out: &mut Vec<u8>) {}

    fn write_greeting(&self, _id: Option<&RequestId>, _greeting: &Greeting, _out: &mut Vec<u8>) {}
}

//! Services that go wrong, to be tried against: one table of faults, and a server for each.
//!
//! For operators who test their gateway (`countersign simulate`), and for the tests of every client. What comes in is read
//! to its end and thrown away: of a request, only a path's well-known words are told to anybody.

pub mod authority;
pub mod catalogue;
pub mod compress;
pub mod guise;
mod house;
pub mod misbehave;
mod play;
mod request;
pub mod response;
pub mod signed;
mod spoil;

use std::io;

use thiserror::Error;

pub use catalogue::{FAULTS, Fault, Over};
pub use house::{Counts, Event, Tell};
pub use play::{Accept, Play, Scene};

/// Why a fault cannot be played.
#[derive(Debug, Error)]
pub enum SimulateError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// The fault is about something else: what, and what to do.
    #[error("{0}")]
    Unfit(&'static str),
    #[error("{0}")]
    Other(String),
}

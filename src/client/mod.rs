//! Who verifies: the clients behind one trait. Each is one file and two lines here.
//!
//! A client never retries, sleeps or reads a clock beyond what its attempt gives it, and knows no gateway protocol.

pub mod totp;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use thiserror::Error;

use crate::config::Config;
use crate::config::value::ClientKind;
use crate::domain::attempt::Attempt;
use crate::domain::fault::{Class, Fault, Reach};
use crate::domain::outcome::Outcome;
use crate::domain::secret::TypedCode;
use crate::secret::seal::{SealError, Sealer};
use crate::store::{Store, StoreError};

/// What a client promises to give.
pub type Reply<'a> = Pin<Box<dyn Future<Output = Result<Outcome, ClientError>> + 'a>>;

/// Whether a client can push. All of them take codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    Able,
    Unable,
}

/// A second factor, verified here or by a service. One instance a section of plugin.ini, built once, connecting lazily.
pub trait MfaClient {
    /// The section of plugin.ini that configures it.
    fn section(&self) -> &str;

    /// Whether [`MfaClient::push_authenticate`] can do anything.
    fn push(&self) -> Push;

    /// Asks the subscriber's device for an approval.
    fn push_authenticate<'a>(&'a self, attempt: &'a Attempt<'a>) -> Reply<'a>;

    /// Verifies what the claimant typed.
    fn otp_authenticate<'a>(&'a self, attempt: &'a Attempt<'a>, otp: &'a TypedCode) -> Reply<'a>;
}

/// What kept a client from an outcome. Not the claimant's doing.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The service answered, but not as its protocol says.
    #[error("{reason}")]
    Communication { code: &'static str, reason: String, reach: Reach },
    /// No service was reached.
    #[error("{reason}")]
    Unreachable { code: &'static str, reason: String, reach: Reach },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the authenticator's secret cannot be opened: {0}")]
    Seal(#[from] SealError),
    #[error("the authenticator in the store cannot be computed: {0}")]
    Authenticator(String),
}

impl ClientError {
    /// How far the request got.
    pub const fn reach(&self) -> Reach {
        match self {
            Self::Communication { code: _, reason: _, reach } | Self::Unreachable { code: _, reason: _, reach } => {
                *reach
            }
            Self::Store(_) | Self::Seal(_) | Self::Authenticator(_) => Reach::NotSent,
        }
    }

    /// The fault that `section`'s error is.
    pub fn into_fault(self, section: &str) -> Fault {
        let reason = self.to_string();
        let (class, code) = match self {
            Self::Communication { code, reason: _, reach: _ } => (Class::CommunicationError, code),
            Self::Unreachable { code, reason: _, reach: _ } => (Class::ServiceUnreachable, code),
            Self::Store(_) => (Class::InternalError, "store_failed"),
            Self::Seal(_) => (Class::InternalError, "secret_unreadable"),
            Self::Authenticator(_) => (Class::InternalError, "authenticator_unreadable"),
        };
        Fault { class, code, service: Some(section.to_owned()), reason }
    }
}

/// The clients that `[plugin] clients` names, the default first.
pub fn build(config: &Config, store: &Rc<dyn Store>, sealer: &Rc<Sealer>) -> Vec<Box<dyn MfaClient>> {
    let build = |kind: &ClientKind| -> Box<dyn MfaClient> {
        match kind {
            ClientKind::Totp => Box::new(totp::TotpClient::new(&config.totp, Rc::clone(store), Rc::clone(sealer))),
        }
    };
    config.plugin.clients.0.iter().map(build).collect()
}

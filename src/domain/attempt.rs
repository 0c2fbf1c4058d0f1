//! One try of one claimant, as a client sees it: no gateway protocol, no configuration.

use super::claimant::{MfaIdentity, Subscriber};
use super::request::Session;
use super::time::Moment;

/// What a client is told about the person it has to verify.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// The canonical identity, for whatever is stored.
    pub subscriber: &'a Subscriber,
    /// The name to give to a remote service.
    pub identity: &'a MfaIdentity,
    /// Where the session comes from and goes to, for the text of a push.
    pub session: &'a Session,
    /// When it is, and until when an answer is of use.
    pub moment: Moment,
}

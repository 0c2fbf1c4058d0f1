//! One try of one claimant, as a client sees it: no gateway protocol, no configuration.

use super::authenticator::AuthenticatorId;
use super::claimant::{MfaIdentity, Subscriber};
use super::foreign::Foreign;
use super::request::Session;
use super::time::Moment;

/// Whether a number that belongs to a push can be shown to the claimant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    Shown,
    Unseen,
}

/// What a client is told about the person it has to verify.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// The canonical identity, for whatever is stored.
    pub subscriber: &'a Subscriber,
    /// The name to give to a remote service.
    pub identity: &'a MfaIdentity,
    /// Where the session comes from and goes to, for the text of a push.
    pub session: &'a Session,
    /// What is to be confirmed, where it is no login.
    pub purpose: Option<&'a str>,
    /// When it is, and until when an answer is of use.
    pub moment: Moment,
    pub numbers: Numbers,
    /// The one authenticator that counts, where the claimant chose one.
    pub chosen: Option<&'a AuthenticatorId>,
}

impl Attempt<'_> {
    /// What a push says about the session, in the words of its reader: what is to be confirmed, who,
    /// protocol, where from, where to. Empty facts are
    /// left out; what came from outside is made safe to show.
    pub fn context(&self) -> Vec<(&'static str, String)> {
        let session = self.session;
        let host = session.server_hostname.as_deref().or(session.server_ip.as_deref());
        let target = match (session.server_username.as_deref(), host) {
            (Some(user), Some(host)) => Some(format!("{user}@{host}")),
            (None, Some(text)) | (Some(text), None) => Some(text.to_owned()),
            (None, None) => None,
        };
        let facts = [
            ("to confirm", self.purpose.map(ToOwned::to_owned)),
            ("user", Some(self.identity.0.clone())),
            ("protocol", session.protocol.clone()),
            ("from", session.client_ip.clone().or_else(|| session.client_hostname.clone())),
            ("to", target),
        ];
        let shown = |(name, value): (_, Option<String>)| value.map(|value| (name, Foreign(&value).to_string()));
        facts.into_iter().filter_map(shown).collect()
    }
}

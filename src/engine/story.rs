//! What one decision is about, and in whose place it is made.

use std::cell::Cell;

use super::End;
use super::held::{Absent, Owner};
use super::push;
use crate::client::ClientError;
use crate::domain::attempt::{Attempt, Numbers};
use crate::domain::claimant::{Claimant, MfaIdentity, Subscriber};
use crate::domain::foreign::is_deceptive;
use crate::domain::outcome::{Denial, Refusal};
use crate::domain::request::Request;
use crate::domain::secret::TypedCode;
use crate::domain::time::Moment;
use crate::secret::cookie::Cookie;
use crate::store::{Mark, Origin};

/// The longest text that can be a code of any service, in bytes.
const CODE_LIMIT: usize = 512;

/// What one request to authenticate is about.
pub struct Story<'a> {
    pub request: &'a Request,
    pub claimant: Claimant,
    pub identity: MfaIdentity,
    pub origin: Origin,
    pub cookie: Option<Cookie>,
    pub numbers: Numbers,
    pub moment: Moment,
    /// What the verdict rests on begins here: moved on wherever the story has settled already.
    pub mark: &'a Cell<Mark>,
}

impl Story<'_> {
    pub fn attempt(&self) -> Attempt<'_> {
        Attempt {
            subscriber: &self.origin.subscriber,
            identity: &self.identity,
            session: &self.request.session,
            moment: self.moment,
            numbers: self.numbers,
        }
    }

    pub fn session(&self) -> Option<&str> {
        self.request.session.session_id.as_deref()
    }

    pub fn owner(&self) -> Owner<'_> {
        Owner { subscriber: &self.origin.subscriber, session: self.session() }
    }

    /// By what the gateway would send this request again.
    pub fn known(&self) -> Option<push::Known> {
        let handle = self.cookie.and_then(|cookie| cookie.handle);
        let facts = &self.request.session;
        let (session, name) = (self.session()?.to_owned(), self.request.name.clone()?);
        let facts =
            [&facts.protocol, &facts.client_ip, &facts.server_ip, &facts.server_hostname, &facts.server_username];
        let facts = facts.map(Clone::clone);
        Some(push::Known { subscriber: self.origin.subscriber.clone(), session, name, facts, handle })
    }
}

/// Who stands in for whom.
#[derive(Clone, Copy)]
pub enum Standing<'a> {
    /// The client that the configuration names first.
    Own,
    /// Another one, because this service was not reached.
    For(&'a Absent),
}

impl<'a> From<Option<&'a Absent>> for Standing<'a> {
    fn from(absent: Option<&'a Absent>) -> Self {
        absent.map_or(Self::Own, Self::For)
    }
}

impl Standing<'_> {
    pub fn absent(self) -> Option<Absent> {
        match self {
            Self::Own => None,
            Self::For(absent) => Some(absent.clone()),
        }
    }
}

/// The service of `section`, which was not reached.
pub fn absent(section: &str, error: &ClientError) -> Absent {
    Absent { section: section.to_owned(), reason: error.to_string() }
}

/// Whether a service can be asked for somebody of this name.
pub fn sendable_name(story: &Story<'_>, section: &str) -> Result<(), End> {
    match Subscriber::enrollable(&story.identity.0) {
        Ok(_) => Ok(()),
        Err(flaw) => {
            let denial = Denial::refused(Refusal::MalformedName, &format!("no service is asked: the name {flaw}"));
            Err(End::Denied(denial, Some(section.to_owned())))
        }
    }
}

/// Whether a service can be asked for this code. Only its length and kind of characters are looked at.
pub fn can_be_code(code: &TypedCode) -> bool {
    let code = code.expose();
    code.len() <= CODE_LIMIT && !code.chars().any(is_deceptive)
}

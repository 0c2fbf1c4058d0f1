//! What one decision is about, and in whose place it is made.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Instant;

use super::End;
use super::errand::Errand;
use super::held::{Absent, Held, Kind, Owner};
use super::pushes;
use crate::client::{self, ClientError};
use crate::domain::action::Told;
use crate::domain::attempt::{Attempt, Numbers};
use crate::domain::authenticator::AuthenticatorId;
use crate::domain::challenge::ChallengeId;
use crate::domain::claimant::{Claimant, MfaIdentity, NAME_LIMIT, Subscriber};
use crate::domain::foreign::is_deceptive;
use crate::domain::outcome::{ClientState, Denial, Outcome, Prompt, Refusal};
use crate::domain::request::{Request, SessionCookie};
use crate::domain::secret::TypedCode;
use crate::domain::time::Moment;
use crate::domain::verdict::Sent;
use crate::policy::source::canonical_source;
use crate::secret::cookie::Cookie;
use crate::store::{Counter, Mark, Origin};

/// The longest text that can be a code of any service, in bytes.
const CODE_LIMIT: usize = 512;

/// What a decision says beside its verdict.
#[derive(Default)]
pub struct Aside {
    pub session_cookie: RefCell<SessionCookie>,
    /// What went wrong on the way, and did not end it.
    pub troubles: RefCell<Vec<String>>,
    pub identity: RefCell<Option<MfaIdentity>>,
    /// Until when the directory may be asked: from the first question on.
    pub directory_until: Cell<Option<Instant>>,
    /// The challenge that the request is about.
    pub challenge: RefCell<Option<Told>>,
    pub sent: Cell<Sent>,
    /// What remote services came to, in the order in which they were asked.
    pub calls: RefCell<Vec<Call>>,
}

/// What came of asking a remote service.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its section.
    pub section: String,
    /// What it said, or the class of what went wrong.
    pub outcome: &'static str,
}

impl Aside {
    /// Puts what a service wants shared into the session cookie.
    pub fn share(&self, entries: &BTreeMap<String, String>) {
        self.session_cookie.borrow_mut().others.extend(entries.clone());
    }

    /// The service of `section`, or whoever waited for it, said this; `said` is the word for what is no error.
    pub fn heard<T>(&self, section: &str, outcome: &Result<T, ClientError>, said: impl Fn(&T) -> &'static str) {
        let outcome_word = match outcome {
            Ok(outcome) => said(outcome),
            Err(error) => error.clone().into_fault(section).class.word(),
        };
        self.calls.borrow_mut().push(Call { section: section.to_owned(), outcome: outcome_word });
        if !outcome.as_ref().is_err_and(ClientError::left_nothing) {
            self.sent.set(Sent::Perhaps);
        }
    }

    /// Something went wrong that did not end the decision.
    pub fn tell(&self, trouble: String) {
        self.troubles.borrow_mut().push(trouble);
    }
}

/// What one request is about.
pub struct Story<'a> {
    pub request: &'a Request,
    pub claimant: Claimant,
    /// The subscriber that the claimant's own name is: whose challenges these are.
    owner: Subscriber,
    /// Under which name the claimant is verified.
    pub identity: MfaIdentity,
    pub origin: Origin,
    pub cookie: Option<Cookie>,
    /// What a proof is wanted for.
    pub errand: Errand,
    pub numbers: Numbers,
    /// The authenticator that the claimant chose.
    pub chosen: Option<AuthenticatorId>,
    pub moment: Moment,
    /// What the verdict rests on begins here: moved on wherever the story has settled already.
    pub mark: &'a Cell<Mark>,
    pub aside: &'a Aside,
}

impl<'a> Story<'a> {
    /// What `request` is about, as long as the claimant has no other name than their own.
    pub fn new(
        request: &'a Request,
        claimant: Claimant,
        identity: MfaIdentity,
        cookie: Option<Cookie>,
        moment: Moment,
        mark: &'a Cell<Mark>,
        aside: &'a Aside,
    ) -> Self {
        let source = request.session.client_ip.as_deref().map(canonical_source);
        let origin = Origin { subscriber: Subscriber::canonical(&identity.0), counter: Counter::Codes, source };
        let owner = Subscriber::canonical(&claimant.0);
        let (errand, numbers, chosen) = (Errand::Login, Numbers::Unseen, None);
        Self { request, claimant, owner, identity, origin, cookie, errand, numbers, chosen, moment, mark, aside }
    }

    /// The same under another name.
    pub fn named(self, identity: MfaIdentity) -> Self {
        let origin = Origin { subscriber: Subscriber::canonical(&identity.0), ..self.origin };
        *self.aside.identity.borrow_mut() = Some(identity.clone());
        Self { identity, origin, ..self }
    }

    /// The same for another errand.
    pub fn on(self, errand: Errand) -> Self {
        Self { errand, ..self }
    }
}

impl<'a> Story<'a> {
    /// The same once more.
    pub fn again(&self) -> Self {
        self.choosing(self.chosen.clone())
    }

    /// The same, of a claimant who chose this authenticator.
    pub fn choosing(&self, chosen: Option<AuthenticatorId>) -> Self {
        let Self {
            request,
            claimant,
            owner,
            identity,
            origin,
            cookie,
            errand,
            numbers,
            chosen: _,
            moment,
            mark,
            aside,
        } = self;
        Self {
            request,
            claimant: claimant.clone(),
            owner: owner.clone(),
            identity: identity.clone(),
            origin: origin.clone(),
            cookie: *cookie,
            errand: errand.clone(),
            numbers: *numbers,
            chosen,
            moment: *moment,
            mark,
            aside,
        }
    }

    /// What is kept of it until the claimant answers.
    pub fn held(
        &self,
        id: ChallengeId,
        kind: Kind,
        section: String,
        prompt: Prompt,
        absent: Option<Absent>,
        state: ClientState,
    ) -> Held {
        let (identity, trouble) = (self.identity.clone(), self.trouble());
        Held { id, kind, identity, trouble, section, prompt, absent, state, tries: client::TRIES }
    }

    /// What went wrong so far, and did not end it.
    pub fn trouble(&self) -> Option<String> {
        let troubles = self.aside.troubles.borrow();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }

    pub fn attempt(&self) -> Attempt<'_> {
        Attempt {
            subscriber: &self.origin.subscriber,
            identity: &self.identity,
            session: &self.request.session,
            purpose: self.errand.shown(),
            moment: self.moment,
            numbers: self.numbers,
            chosen: self.chosen.as_ref(),
        }
    }

    pub fn session(&self) -> Option<&str> {
        self.request.session.session_id.as_deref()
    }

    pub fn owner(&self) -> Owner<'_> {
        Owner { subscriber: &self.owner, session: self.session(), errand: &self.errand }
    }

    /// What was typed under `key`, where it may be an answer.
    pub fn answer(&self, key: &str) -> Option<&'a TypedCode> {
        self.request.answers.answer(key).filter(|_| self.errand.hears())
    }

    /// By what the gateway would send this request again; `None` where each request needs a proof of its own.
    pub fn known(&self) -> Option<pushes::Known> {
        if self.errand != Errand::Login {
            return None;
        }
        let handle = self.cookie.and_then(|cookie| cookie.handle);
        let facts = &self.request.session;
        let (session, name) = (self.session()?.to_owned(), self.request.name.clone()?);
        let facts =
            [&facts.protocol, &facts.client_ip, &facts.server_ip, &facts.server_hostname, &facts.server_username];
        let facts = facts.map(Clone::clone);
        let (conversation, subscriber) = (self.request.conversation, self.owner.clone());
        Some(pushes::Known { conversation, subscriber, session, name, facts, handle })
    }

    /// Who waits for a push of it.
    pub fn asker(&self) -> pushes::Asker {
        pushes::Asker { conversation: self.request.conversation, moment: self.moment }
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

/// The word for what a service said.
pub fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Verified(_) => "verified",
        Outcome::Denied(_) => "denied",
        Outcome::Ask { prompt: _, state: _ } => "asked",
        Outcome::Pushed { show: _, state: _ } => "pushed",
    }
}

/// Whether a service can be asked for somebody of this name.
pub fn sendable_name(story: &Story<'_>, section: &str) -> Result<(), End> {
    let name = &story.identity.0;
    match Subscriber::presentable(name) {
        Ok(_) => Ok(()),
        // A service may know somebody whose name is nothing but blanks.
        Err(_) if !name.is_empty() && name.len() <= NAME_LIMIT && name.bytes().all(|byte| byte == b' ') => Ok(()),
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

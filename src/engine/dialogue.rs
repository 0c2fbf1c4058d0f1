//! Asking the claimant, and the cookie that carries the dialogue from one request to the next.

use super::errand::Errand;
use super::held::{self, Held};
use super::story::Story;
use super::{End, Engine, own_fault};
use crate::domain::action::Act;
use crate::domain::challenge::ChallengeId;
use crate::domain::claimant::Claimant;
use crate::domain::outcome::Prompt;
use crate::domain::request::{Kind, Request};
use crate::domain::time::Moment;
use crate::domain::verdict::{NeedInfo, Question, Verdict};
use crate::secret::cookie::{self, Binding, Cookie, Flaw, Progress, Slot};
use crate::secret::seal::SealError;

/// What the cookie of a request turned out to be, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieState {
    None,
    Good,
    Foreign,
    Expired,
}

impl Engine {
    /// Asks the claimant; `id` names what a client waits for, where one does.
    pub(super) fn ask(&self, story: &Story<'_>, prompt: &Prompt, id: Option<&ChallengeId>) -> Result<Verdict, End> {
        let cookie = Cookie { handle: id.and_then(held::handle), ..self.asking(story) };
        self.ask_with(story, prompt, cookie)
    }

    /// Asks the claimant; the answer comes back with `cookie`.
    pub(super) fn ask_with(&self, story: &Story<'_>, prompt: &Prompt, cookie: Cookie) -> Result<Verdict, End> {
        let Prompt { text, key, echo, session_cookie: _ } = prompt;
        let echo = echo.unwrap_or(self.auth.disable_echo);
        let question = Question { key: key.clone(), prompt: story.errand.question(text), echo };
        let cookie = self.seal(cookie, story.session(), &story.claimant, &story.errand)?;
        Ok(Verdict::NeedInfo(NeedInfo { question, cookie: Some(cookie) }))
    }

    /// Asks what a client waits for, and keeps what the client wants back.
    pub(super) async fn ask_held(&self, story: &Story<'_>, held: &Held) -> Result<Verdict, End> {
        self.hold(story, held).await?;
        self.ask(story, &held.prompt, Some(&held.id))
    }

    /// Keeps what waits for an answer of the story's claimant.
    pub(super) async fn hold(&self, story: &Story<'_>, held: &Held) -> Result<(), End> {
        held::hold(&*self.store, &self.sealer, story.owner(), held, story.moment.now).await.map_err(own_fault)
    }

    /// What waits for an answer of the story's claimant under `id`.
    pub(super) async fn find(&self, story: &Story<'_>, id: &ChallengeId) -> Result<Option<Held>, End> {
        held::find(&*self.store, &self.sealer, story.owner(), id, story.moment.now).await.map_err(own_fault)
    }

    /// What the cookie says that waits for an answer, where it still does.
    pub(super) async fn find_named(&self, story: &Story<'_>) -> Result<Option<Held>, End> {
        match story.cookie.and_then(|cookie| cookie.handle) {
            Some(handle) => self.find(story, &held::named(handle)).await,
            None => Ok(None),
        }
    }

    pub(super) fn seal(
        &self,
        cookie: Cookie,
        session: Option<&str>,
        claimant: &Claimant,
        errand: &Errand,
    ) -> Result<String, SealError> {
        let (configuration, errand) = (&self.configuration, errand.cookie());
        cookie.seal(&self.sealer, Binding { session, claimant, configuration, errand })
    }

    /// The cookie of the request, where it is ours, for this session, claimant and configuration, and not expired.
    pub(super) fn read_cookie(
        &self,
        request: &Request,
        claimant: Option<&Claimant>,
        moment: Moment,
    ) -> (Option<Cookie>, CookieState) {
        let Some(text) = &request.cookie else { return (None, CookieState::None) };
        let Some(claimant) = claimant else {
            return match &request.kind {
                // Some gateways say nothing but the session then; the cookie is not needed.
                Kind::SessionEnded => (None, CookieState::None),
                Kind::Authenticate | Kind::Authorize | Kind::Challenge(_) => (None, CookieState::Foreign),
            };
        };
        let session = request.session.session_id.as_deref();
        let errand = match &request.kind {
            Kind::Challenge(act) => match &**act {
                Act::Confirm { id } => id.0.as_str(),
                Act::Request { purpose: _, binding: _, lifetime: _ } | Act::Check(_) | Act::Use(_) => "",
            },
            Kind::Authenticate | Kind::Authorize | Kind::SessionEnded => "",
        };
        let binding = Binding { session, claimant, configuration: &self.configuration, errand };
        match Cookie::open(text, &self.sealer, binding, moment.now) {
            Ok(cookie) => (Some(cookie), CookieState::Good),
            Err(Flaw::Foreign) => (None, CookieState::Foreign),
            Err(Flaw::Expired) => (None, CookieState::Expired),
        }
    }

    /// A cookie that says `progress` and nothing else.
    pub(super) fn new_cookie(&self, progress: Progress, story: &Story<'_>) -> Cookie {
        let expires = story.moment.now.plus(cookie::LIFETIME);
        Cookie { progress, answered: 0, slot: Slot::None, expires, handle: None }
    }
}

//! The decision: one function that tells the story, in one order, and one place that accepts.

mod absence;
pub mod action;
mod admit;
mod authorize;
mod before;
mod choice;
mod dialogue;
mod errand;
mod first_factor;
mod held;
mod inline;
mod look_up;
mod out_of_band;
mod parcel;
mod push;
mod pushes;
mod sent;
mod step_up;
mod story;
mod trial;
mod verify;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use crate::client::{self, Asks, ClientError, Codes, Kept, Place, Wired};
use crate::config::{self, Auth, Config, Policy};
use crate::directory::{self, Directory};
use crate::domain::action::Told;
use crate::domain::challenge::ChallengeId;
use crate::domain::claimant::{Claimant, MfaIdentity};
use crate::domain::fault::{Class, Fault};
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{ClientState, Denial, Factor, OTP, Prompt, Proof};
use crate::domain::request::{Conversation, Kind, Request, SessionCookie};
use crate::domain::time::Moment;
use crate::domain::verdict::{Footing, Reject, Sent, Verdict};
use crate::policy::{collect, identify};
use crate::secret::cookie::Progress;
use crate::secret::seal::{SealError, Sealer};
use crate::store::{Mark, Ruling, Store, StoreError};
use admit::Admission;
use before::Before;
pub use dialogue::CookieState;
use errand::Errand;
use held::{Absent, Held};
pub use push::{Chore, REPORTED as PUSH_REPORTED, slot as push_slot};
use pushes::Pushes;
pub use story::Call;
use story::{Aside, Standing, Story};
pub use trial::Trial;

/// A verdict that may be said once the store has settled what it rests on.
#[derive(Debug)]
pub struct Decision {
    pub verdict: Verdict,
    /// What the gateway keeps for all its plugins.
    pub session_cookie: SessionCookie,
    /// What went wrong on the way, and did not end it.
    pub troubles: Vec<String>,
    /// What [`Store::settle`] has to cover before the verdict leaves.
    pub mark: Mark,
    pub cookie: CookieState,
    /// Under which name the claimant was to be verified, whatever came of it.
    pub identity: Option<MfaIdentity>,
    /// The challenge that the request was about.
    pub challenge: Option<Told>,
    pub sent: Sent,
    /// What remote services came to.
    pub calls: Vec<Call>,
}

/// Everything that a decision needs.
pub struct Engine {
    auth: Auth,
    policy: Policy,
    /// What is said of challenges; read where one is opened.
    enrolment: config::Enrolment,
    /// How a push is sent, where any client could.
    push: Option<config::Push>,
    clients: Vec<Wired>,
    /// How many of them the claimant has to choose between; those behind only stand in for others.
    choosable: usize,
    directory: Option<Rc<dyn Directory>>,
    /// What the configuration says, in short: cookies and what is remembered belong to it.
    configuration: [u8; 16],
    store: Rc<dyn Store>,
    sealer: Rc<Sealer>,
    pushes: Rc<Pushes>,
    trail: Option<Trail>,
}

/// Where a decision says why it goes the way it goes, step by step, for somebody who wants to know.
pub type Trail = Rc<RefCell<Vec<Step>>>;

/// One step of a decision.
#[derive(Clone, Debug)]
pub struct Step {
    /// claimant, cookie, challenge, exemption, cache, mapping, client, answer, throttle, verify, push, send, absence,
    /// questions, step_up, limit, trial or verdict.
    pub name: &'static str,
    pub text: String,
}

/// Why a story ended without an accept or a question.
enum End {
    Denied(Denial, Option<String>),
    Fault(Fault),
}

impl From<Denial> for End {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial, None)
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Fault(store_fault(&error))
    }
}

impl From<SealError> for End {
    fn from(error: SealError) -> Self {
        Self::Fault(Fault::internal("sealing_failed", error.to_string()))
    }
}

/// The fault that a store's error is.
pub fn store_fault(error: &StoreError) -> Fault {
    Fault::internal("store_failed", error.to_string())
}

impl Engine {
    /// An engine over `store` with the clients that `config` names.
    pub fn new(config: &Config, store: Rc<dyn Store>, sealer: Rc<Sealer>) -> Self {
        let clients = client::build(config, &store, &sealer);
        Self::with_clients(config, store, sealer, clients)
    }

    /// An engine with other clients.
    pub fn with_clients(config: &Config, store: Rc<dyn Store>, sealer: Rc<Sealer>, clients: Vec<Wired>) -> Self {
        let (auth, push) = (config.auth.clone(), config.remote.push.as_deref().cloned());
        let (policy, enrolment) = (config.policy.clone(), config.enrolment.clone());
        let (configuration, directory) = (config.fingerprint(), directory::build(config));
        let choosable = config.plugin.clients.0.len();
        let (pushes, trail) = (Rc::default(), None);
        Self {
            auth,
            policy,
            enrolment,
            push,
            clients,
            choosable,
            directory,
            configuration,
            store,
            sealer,
            pushes,
            trail,
        }
    }

    /// The same engine, which leaves its steps in `trail`.
    pub fn with_trail(self, trail: Trail) -> Self {
        Self { trail: Some(trail), ..self }
    }

    fn note(&self, name: &'static str, text: impl FnOnce() -> String) {
        if let Some(trail) = &self.trail {
            trail.borrow_mut().push(Step { name, text: text() });
        }
    }

    /// The store, for whoever settles.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// What the decisions so far left to do: whoever serves runs it when their verdicts are out.
    pub fn take_chores(&self) -> Vec<Chore> {
        self.pushes.take_chores()
    }

    /// Takes back the pushes of the requests of `conversation` that came before `before`: the gateway has gone.
    pub fn hang_up(&self, conversation: Conversation, before: Instant) {
        self.pushes.hang_up(conversation, before);
    }

    /// Sends no more pushes: nobody will wait for them.
    pub fn end_pushes(&self) {
        self.pushes.close();
    }

    /// Decides `request`. Nothing of the decision may be said before the store has settled its mark.
    pub async fn decide(&self, request: &Request, moment: Moment) -> Decision {
        let mark = Cell::new(self.store.mark());
        let aside = Aside { session_cookie: request.session_cookie.clone().into(), ..Aside::default() };
        let claimant = self.claimant(request);
        let (cookie, state) = self.read_cookie(request, claimant.as_ref(), moment);
        self.note("claimant", || match &claimant {
            Some(claimant) => Foreign(&claimant.0).to_string(),
            None => "nobody: no field names anybody".into(),
        });
        self.note("cookie", || {
            match state {
                CookieState::None => "none came",
                CookieState::Good => match cookie.and_then(|cookie| cookie.handle) {
                    Some(_) => "good: of this session, and something waits for this answer",
                    None => "good: of this session",
                },
                CookieState::Foreign => {
                    "not ours, or of another session, claimant or configuration: as if none had come"
                }
                CookieState::Expired => "expired: as if none had come",
            }
            .into()
        });
        let ended = match (&request.kind, claimant) {
            (Kind::SessionEnded, claimant) => self.end_session(request, claimant, cookie, moment, &aside).await,
            (Kind::Authenticate | Kind::Authorize | Kind::Challenge(_), None) => Err(Denial::NoClaimant.into()),
            (Kind::Authenticate, Some(claimant)) => {
                let identity = MfaIdentity(claimant.0.clone());
                let mut story = Story::new(request, claimant, identity, cookie, moment, &mark, &aside);
                story.numbers = self.numbers(request);
                self.authenticate(story).await
            }
            (Kind::Authorize, Some(claimant)) => {
                let identity = self.known_identity(&claimant.0);
                self.authorize(Story::new(request, claimant, identity, cookie, moment, &mark, &aside)).await
            }
            (Kind::Challenge(act), Some(claimant)) => {
                let identity = self.known_identity(&claimant.0);
                self.act(Story::new(request, claimant, identity, cookie, moment, &mark, &aside), act).await
            }
        };
        let mut verdict = match ended {
            Ok(verdict) => verdict,
            Err(End::Denied(denial, service)) => Verdict::Reject(self.denied(denial, service)),
            Err(End::Fault(fault)) => Verdict::Reject(fault.into()),
        };
        if let Verdict::Reject(Reject { remarks: Some(remarks), .. }) = &verdict {
            aside.share(&remarks.session_cookie);
        }
        if self.trial(request).is_some() {
            self.note("trial", || "[policy] enforce = no: whatever is decided, the answer is accept".into());
        }
        let Aside { session_cookie, troubles, identity, directory_until: _, challenge, sent, calls } = aside;
        let troubles = troubles.into_inner();
        explain(&mut verdict, &troubles);
        let (session_cookie, identity) = (session_cookie.into_inner(), identity.into_inner());
        let (mark, challenge) = (mark.get(), challenge.into_inner());
        let (sent, calls) = (sent.get(), calls.into_inner());
        Decision { verdict, session_cookie, troubles, mark, cookie: state, identity, challenge, sent, calls }
    }

    /// What the cookie of `request` is, as a decision would find it.
    pub fn cookie_state(&self, request: &Request, moment: Moment) -> CookieState {
        self.read_cookie(request, self.claimant(request).as_ref(), moment).1
    }

    /// Who the claimant is.
    pub fn claimant(&self, request: &Request) -> Option<Claimant> {
        identify::claimant(&request.session, &request.answers, self.policy.upn_suffix)
    }

    /// A denial, with the client that it is about.
    fn denied(&self, denial: Denial, service: Option<String>) -> Reject {
        let service = match denial.class() {
            Class::AuthenticationFailure => {
                service.or_else(|| self.clients.first().map(|wired| wired.client.section().to_owned()))
            }
            Class::PolicyDenied
            | Class::CommunicationError
            | Class::ServiceUnreachable
            | Class::InvalidRequest
            | Class::InternalError => None,
        };
        let Reject { class, code, service: _, reason, remarks, retry_after } = denial.into();
        Reject { class, code, service, reason, remarks, retry_after }
    }

    /// Exemptions → cache → mapping → which client → throttle → collect → verify → questions → accept.
    async fn authenticate(&self, story: Story<'_>) -> Result<Verdict, End> {
        if let Some(verdict) = self.unanswerable(&story) {
            return Ok(verdict);
        }
        let (handle, progress) = story.cookie.map(|cookie| (cookie.handle, cookie.progress)).unzip();
        if handle.flatten().is_some() {
            return self.resume(story).await;
        }
        let story = if progress == Some(Progress::Asked) && !self.asks_directory() {
            // They were asked before: no rule exempts them. Had a directory told their name, a handle would have come.
            let identity = self.known_identity(&story.claimant.0);
            story.named(identity)
        } else {
            match self.before(story).await? {
                Before::LetIn(verdict) => return Ok(verdict),
                Before::Needed(story) => story,
            }
        };
        self.second_factor(story, None).await
    }

    /// Which client → throttle → collect → verify; `known` holds what a directory told before.
    async fn second_factor(&self, story: Story<'_>, known: Option<&ChallengeId>) -> Result<Verdict, End> {
        if let Some(verdict) = self.unenrolled(&story).await? {
            return Ok(verdict);
        }
        let numbers = self.first_client()?.into();
        if let Some(verdict) = self.pick(&story, OTP, numbers, known).await? {
            return Ok(verdict);
        }
        let step = self.collect(&story, OTP);
        let (wired, story) = self.first_choice(story).await?;
        let story = &story;
        match step {
            collect::Step::Verify(code) => self.verify(story, wired, code, None, Standing::Own).await,
            collect::Step::Push => self.start_push(story, wired, Standing::Own).await,
            // There is nothing to type: what is to be seen is shown at once, and what is to be typed is sent first.
            collect::Step::Ask if wired.client.codes() == Codes::Unable || wired.client.asks() == Asks::Sends => {
                self.start_push(story, wired, Standing::Own).await
            }
            collect::Step::Ask => {
                self.may_be_asked(story).await?;
                self.ask_for_code(story, known).await
            }
        }
    }

    /// Asks for a code of no client in particular; the question is kept where it has to be found again.
    async fn ask_for_code(&self, story: &Story<'_>, known: Option<&ChallengeId>) -> Result<Verdict, End> {
        let prompt = Prompt::from(self.auth.prompt.clone());
        let is_kept = story.errand.keeps_question() || (self.asks_directory() && story.errand == Errand::Login);
        if known.is_some() || !is_kept {
            return self.ask(story, &prompt, known);
        }
        let (id, state) = (held::new_id().map_err(own_fault)?, ClientState::new(Vec::new()));
        let held = story.held(id, held::Kind::Known, String::new(), prompt, None, state);
        self.ask_held(story, &held).await
    }

    /// What to do with what was typed under `key`.
    fn collect<'a>(&self, story: &Story<'a>, key: &str) -> collect::Step<'a> {
        let (session, typed) = (&story.request.session, story.answer(key));
        let step = collect::step(typed, self.can_ask(story.request));
        self.note("answer", || {
            let protocol = session.protocol.as_deref().map_or("no protocol".into(), |p| Foreign(p).to_string());
            match &step {
                collect::Step::Verify(_) => "a code was typed: it is verified".into(),
                collect::Step::Push if typed.is_some() => "Enter was pressed: a push is meant".into(),
                collect::Step::Push => format!("over {protocol} nobody can be asked: a push is meant"),
                collect::Step::Ask => format!("nothing was typed yet, and over {protocol} the claimant can be asked"),
            }
        });
        step
    }

    /// Goes on where the cookie says that something waits for an answer.
    async fn resume(&self, story: Story<'_>) -> Result<Verdict, End> {
        if let Some(verdict) = self.recall(&story) {
            return Ok(verdict);
        }
        let held = self.find_named(&story).await?.ok_or(Denial::ChallengeGone)?;
        held.trouble.iter().for_each(|trouble| story.aside.tell(trouble.clone()));
        let story = story.named(held.identity.clone());
        self.resume_held(story, held).await
    }

    /// Goes on where `held` waits for an answer.
    async fn resume_held(&self, story: Story<'_>, held: Held) -> Result<Verdict, End> {
        match held.kind {
            held::Kind::Known | held::Kind::Choosing => self.second_factor(story, Some(&held.id)).await,
            held::Kind::Chosen => self.resume_chosen(&story, held).await,
            held::Kind::Enrolling => self.resume_enrolment(&story, held).await,
            held::Kind::Ticket => self.resume_ticket(&story, held).await,
            held::Kind::Verified => self.answered(&story, held).await,
            held::Kind::Asked | held::Kind::Pushed => self.resume_client(&story, held).await,
            held::Kind::Authorizing => Err(Denial::ChallengeGone.into()),
        }
    }

    /// Goes on where a client waits for an answer.
    async fn resume_client(&self, story: &Story<'_>, held: Held) -> Result<Verdict, End> {
        let wired = self.wired(&held.section).ok_or(Denial::ChallengeGone)?;
        let is_ours = wired.client.kept() == Kept::Here || held.kind == held::Kind::Pushed;
        if is_ours && let Some(verdict) = self.pick(story, &held.prompt.key, wired.into(), None).await? {
            return Ok(verdict);
        }
        match (held.kind, self.collect(story, &held.prompt.key)) {
            (_, collect::Step::Verify(code)) => {
                let away = held.absent.clone();
                self.verify(story, wired, code, Some(held), away.as_ref().into()).await
            }
            (held::Kind::Pushed, collect::Step::Push) => {
                // It keeps others out for as long as somebody waits for it.
                if !self.hold_push_slot(story, &held.id).await? {
                    return Err(End::Denied(Denial::PushOutstanding, Some(held.section)));
                }
                self.take_over(story, held).await
            }
            (_, collect::Step::Push | collect::Step::Ask) => self.ask(story, &held.prompt, Some(&held.id)),
        }
    }

    /// The accept that a proof is.
    async fn accept_proved(
        &self,
        story: &Story<'_>,
        wired: &Wired,
        proof: Proof,
        standing: Standing<'_>,
    ) -> Result<Verdict, End> {
        let Proof { factor, reason, remarks } = proof;
        let section = wired.client.section();
        let place = wired.client.place();
        let (progress, footing, reason) = match (standing, place) {
            (Standing::Own, Place::Here) => (Progress::Accepted, Footing::Full, reason),
            // Nothing was proved: no step-up may take it for a proof of before.
            (Standing::Own, Place::Remote) if factor == Factor::Bypass => (Progress::Exempt, Footing::Full, reason),
            (Standing::Own, Place::Remote) => (Progress::AcceptedRemotely, Footing::Full, reason),
            (Standing::For(away), Place::Here | Place::Remote) => {
                let now = story.moment.now;
                let Absent { section: absent, reason: error } = away;
                let counted = absence::count(&*self.store, absent, None, now).await.map_err(own_fault)?;
                let count = counted.map_or(1, |absence| absence.count);
                let reason = format!(
                    "{reason}, by {section} in place of {absent}, which was not reached ({error}); login {count} of this kind"
                );
                let progress = match place {
                    Place::Here => Progress::StoodIn,
                    Place::Remote => Progress::AcceptedDegraded,
                };
                (progress, Footing::Degraded, reason)
            }
        };
        let service = match place {
            Place::Here => None,
            Place::Remote => Some(section.to_owned()),
        };
        let proof = Proof { factor, reason, remarks };
        self.let_in(story, Admission::proved(story.identity.clone(), proof, service, footing, progress)).await
    }

    /// Makes durable what the story did so far, together with what others did meanwhile: a service is asked only then, and
    /// nobody waits for the store as long as for a service.
    async fn settle(&self, story: &Story<'_>) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        self.store.settle(story.mark.get()).await?;
        story.mark.set(self.store.mark());
        Ok(())
    }

    /// Whether it is of use to ask the claimant for something: it would be heard, or they hold recovery codes.
    async fn may_be_asked(&self, story: &Story<'_>) -> Result<(), End> {
        match self.heard(self.store.standing(&story.origin, story.moment.now).await?) {
            Ok(()) => Ok(()),
            Err(_) if self.can_look_up(story).await? => Ok(()),
            Err(denial) => Err(denial.into()),
        }
    }

    /// Whether the attempt is heard.
    fn heard(&self, ruling: Ruling) -> Result<(), Denial> {
        match ruling {
            Ruling::Heard => {
                self.note("throttle", || {
                    "the attempt is heard: not too many failures of this subscriber or address".into()
                });
                Ok(())
            }
            Ruling::Wait { wait, by } => Err(Denial::Throttled { wait, by }),
        }
    }

    fn wired(&self, section: &str) -> Option<&Wired> {
        self.clients.iter().find(|wired| wired.client.section() == section)
    }

    fn can_ask(&self, request: &Request) -> bool {
        let interactive = &self.auth.interactive_protocols.0;
        collect::can_ask(request.dialogue, request.session.protocol.as_deref(), interactive)
    }
}

/// Puts what went wrong on the way behind the verdict's reason.
fn explain(verdict: &mut Verdict, troubles: &[String]) {
    let reason = match verdict {
        Verdict::Accept(accept) => &mut accept.reason,
        Verdict::Reject(reject) => &mut reject.reason,
        Verdict::NeedInfo(_) => return,
    };
    for trouble in troubles {
        reason.push_str("; ");
        reason.push_str(trouble);
    }
}

/// The fault that an error of our own is.
fn own_fault(error: ClientError) -> End {
    let Fault { class, code, service: _, reason } = error.into_fault("");
    End::Fault(Fault { class, code, service: None, reason })
}

//! The decision: one function that tells the story, in one order, and one place that accepts.

use std::rc::Rc;

use crate::client::{self, Push, Wired};
use crate::config::{Auth, Config};
use crate::domain::attempt::{Attempt, Numbers};
use crate::domain::claimant::{Claimant, MfaIdentity, Subscriber};
use crate::domain::fault::{Class, Fault, Reach};
use crate::domain::outcome::{Denial, Factor, Outcome, Proof};
use crate::domain::request::{Kind, Request};
use crate::domain::time::Moment;
use crate::domain::verdict::{Accept, NeedInfo, Question, Reject, Verdict};
use crate::policy::source::canonical_source;
use crate::policy::{collect, identify};
use crate::secret::cookie::{self, Cookie, Flaw, Progress};
use crate::secret::seal::{SealError, Sealer};
use crate::store::{Credit, Mark, Origin, Ruling, Store, StoreError};

/// What the cookie of a request turned out to be, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieState {
    None,
    Good,
    Foreign,
    Expired,
}

/// A verdict that may be said once the store has settled what it rests on.
#[derive(Debug)]
pub struct Decision {
    pub verdict: Verdict,
    /// What [`Store::settle`] has to cover before the verdict leaves.
    pub mark: Mark,
    pub cookie: CookieState,
    /// The name that was verified, whatever came of it.
    pub identity: Option<MfaIdentity>,
}

/// Everything that a decision needs.
pub struct Engine {
    auth: Auth,
    clients: Vec<Wired>,
    store: Rc<dyn Store>,
    sealer: Rc<Sealer>,
}

/// Why a story ended without an accept or a question.
enum End {
    Denied(Denial),
    Fault(Fault),
}

impl From<Denial> for End {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
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
        Self { auth: config.auth.clone(), clients, store, sealer }
    }

    /// The store, for whoever settles.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Decides `request`. Nothing of the decision may be said before the store has settled its mark.
    pub async fn decide(&self, request: &Request, moment: Moment) -> Decision {
        let mark = self.store.mark();
        let claimant = identify::claimant(&request.session, &request.answers);
        let (cookie, state) = self.read_cookie(request, claimant.as_ref(), moment);
        let identity = claimant.as_ref().map(|claimant| MfaIdentity(claimant.0.clone()));
        let ended = match (request.kind, claimant) {
            (Kind::SessionEnded, claimant) => Ok(accept(claimant, None, "the session ended", None)),
            (Kind::Authenticate | Kind::Authorize, None) => Err(Denial::NoClaimant.into()),
            (Kind::Authenticate, Some(claimant)) => self.authenticate(request, claimant, moment).await,
            (Kind::Authorize, Some(claimant)) => self.authorize(claimant, cookie).await,
        };
        let verdict = match ended {
            Ok(verdict) => verdict,
            Err(End::Denied(denial)) => Verdict::Reject(self.denied(denial)),
            Err(End::Fault(fault)) => Verdict::Reject(fault.into()),
        };
        Decision { verdict, mark, cookie: state, identity }
    }

    /// A denial, with the client that it is about.
    fn denied(&self, denial: Denial) -> Reject {
        let service = match denial.class() {
            Class::AuthenticationFailure => self.clients.first().map(|wired| wired.client.section().to_owned()),
            Class::PolicyDenied
            | Class::CommunicationError
            | Class::ServiceUnreachable
            | Class::InvalidRequest
            | Class::InternalError => None,
        };
        let Reject { class, code, service: _, reason, retry_after } = denial.into();
        Reject { class, code, service, reason, retry_after }
    }

    /// Who → which client → throttle → collect → verify → accept.
    async fn authenticate(&self, request: &Request, claimant: Claimant, moment: Moment) -> Result<Verdict, End> {
        let session = &request.session;
        let identity = MfaIdentity(claimant.0.clone());
        let subscriber = Subscriber::canonical(&identity.0);
        let client = self
            .clients
            .first()
            .map(|wired| &wired.client)
            .ok_or_else(|| Fault::internal("no_client", "no client is configured"))
            .map_err(End::Fault)?;
        let origin = Origin { subscriber, source: session.client_ip.as_deref().map(canonical_source) };
        let attempt =
            Attempt { subscriber: &origin.subscriber, identity: &identity, session, moment, numbers: Numbers::Unseen };

        let step =
            collect::step(request.answers.otp(), session.protocol.as_deref(), &self.auth.interactive_protocols.0);
        let outcome = match step {
            collect::Step::Ask => {
                heard(self.store.standing(&origin, moment.now).await?)?;
                return self.ask(request, &claimant, moment);
            }
            collect::Step::Push => match client.push() {
                Push::Unable => return Err(Denial::CodeRequired.into()),
                Push::Able => {
                    heard(self.store.standing(&origin, moment.now).await?)?;
                    client.push_start(&attempt).await
                }
            },
            collect::Step::Verify(code) => {
                heard(self.store.charge(&origin, moment.now).await?)?;
                let outcome = client.otp_authenticate(&attempt, code, None).await;
                self.take_back(&origin, &outcome).await?;
                outcome
            }
        };
        match outcome.map_err(|error| End::Fault(error.into_fault(client.section())))? {
            Outcome::Verified(proof) => {
                let cookie = self.cookie(Progress::Accepted, request, &claimant, moment)?;
                Ok(accept_proved(claimant, identity, proof, cookie))
            }
            Outcome::Denied(denial) => Err(denial.into()),
            Outcome::Ask { prompt: _, state: _ } | Outcome::Pushed { show: _, state: _ } => {
                Err(Denial::CodeRequired.into())
            }
        }
    }

    /// A session goes on to its target only with the proof that it was authenticated, by somebody who still is enrolled.
    async fn authorize(&self, claimant: Claimant, cookie: Option<Cookie>) -> Result<Verdict, End> {
        match cookie.map(|cookie| cookie.progress) {
            Some(Progress::Accepted) => {}
            Some(Progress::Asked) | None => return Err(Denial::NotAuthenticated.into()),
        }
        let subscriber = Subscriber::canonical(&claimant.0);
        for Wired { client, .. } in &self.clients {
            if !self.store.authenticators(&subscriber, client.section()).await?.is_empty() {
                return Ok(accept(Some(claimant), None, "the session was authenticated", None));
            }
        }
        Err(Denial::NotEnrolled.into())
    }

    /// What was charged for an attempt is taken back where it was no failure of the claimant. After a fault that may have
    /// reached a service it stays: nobody gets guesses for nothing by making a service fail.
    async fn take_back(
        &self,
        origin: &Origin,
        outcome: &Result<Outcome, client::ClientError>,
    ) -> Result<(), StoreError> {
        let credit = match outcome {
            Ok(Outcome::Verified(_)) => Credit::Success,
            Ok(Outcome::Ask { prompt: _, state: _ } | Outcome::Pushed { show: _, state: _ }) => Credit::Refund,
            Err(error) => match error.reach() {
                Reach::NotSent => Credit::Refund,
                Reach::Sent | Reach::Answered => return Ok(()),
            },
            Ok(Outcome::Denied(_)) => return Ok(()),
        };
        self.store.credit(origin, credit).await
    }

    fn ask(&self, request: &Request, claimant: &Claimant, moment: Moment) -> Result<Verdict, End> {
        let question = Question {
            key: "otp".into(),
            prompt: format!("{} ", self.auth.prompt.trim_end()),
            echo: self.auth.disable_echo,
        };
        let cookie = self.cookie(Progress::Asked, request, claimant, moment)?;
        Ok(Verdict::NeedInfo(NeedInfo { question, cookie: Some(cookie) }))
    }

    fn cookie(
        &self,
        progress: Progress,
        request: &Request,
        claimant: &Claimant,
        moment: Moment,
    ) -> Result<String, SealError> {
        let cookie = Cookie { progress, expires: moment.now.plus(cookie::LIFETIME), handle: None };
        cookie.seal(&self.sealer, request.session.session_id.as_deref(), claimant)
    }

    /// The cookie of the request, where it is ours, for this session and claimant, and not expired.
    fn read_cookie(
        &self,
        request: &Request,
        claimant: Option<&Claimant>,
        moment: Moment,
    ) -> (Option<Cookie>, CookieState) {
        let Some(text) = &request.cookie else { return (None, CookieState::None) };
        let Some(claimant) = claimant else { return (None, CookieState::Foreign) };
        match Cookie::open(text, &self.sealer, request.session.session_id.as_deref(), claimant, moment.now) {
            Ok(cookie) => (Some(cookie), CookieState::Good),
            Err(Flaw::Foreign) => (None, CookieState::Foreign),
            Err(Flaw::Expired) => (None, CookieState::Expired),
        }
    }
}

fn accept_proved(claimant: Claimant, identity: MfaIdentity, proof: Proof, cookie: String) -> Verdict {
    let Proof { factor, reason } = proof;
    accept(Some(claimant), Some((identity, factor)), &reason, Some(cookie))
}

/// The one place where an accept is made.
fn accept(
    claimant: Option<Claimant>,
    proved: Option<(MfaIdentity, Factor)>,
    reason: &str,
    cookie: Option<String>,
) -> Verdict {
    let (identity, factor) = proved.unzip();
    Verdict::Accept(Accept { claimant, identity, factor, reason: reason.into(), cookie })
}

fn heard(ruling: Ruling) -> Result<(), Denial> {
    match ruling {
        Ruling::Heard => Ok(()),
        Ruling::Wait { wait, by } => Err(Denial::Throttled { wait, by }),
    }
}

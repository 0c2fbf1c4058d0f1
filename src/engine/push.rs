//! The course of one push, from sending it to its end. Its state lies in the store, so that another process can wait for it as
//! well.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::errand::Errand;
use super::held::{self, Absent, Held, Kind, Owner};
use super::pushes::Pushes;
use crate::client::{self, ClientError, Codes, MfaClient};
use crate::clock;
use crate::domain::attempt::{Attempt, Numbers};
use crate::domain::authenticator::AuthenticatorId;
use crate::domain::challenge::{ChallengeId, State};
use crate::domain::claimant::{MfaIdentity, Subscriber};
use crate::domain::fault::Reach;
use crate::domain::outcome::{ClientState, Denial, Outcome, Prompt, Proof, Refusal};
use crate::domain::request::Session;
use crate::domain::time::Moment;
use crate::secret::seal::Sealer;
use crate::store::{Again, Credit, Mark, Origin, Store, StoreError};

/// For how long a push of a claimant who was shown a number keeps others out, if nobody waits for it, in seconds.
const SHOWN_FOR: u64 = 90;

/// How long taking a push back may take.
pub const CANCEL: Duration = Duration::from_secs(3);

/// Who holds the slot of a subscriber who said that a push was not theirs.
pub const REPORTED: &str = "reported";

/// The slot under which the one push of a subscriber runs.
pub fn slot(subscriber: &Subscriber) -> String {
    // Names that nobody enrolled are not kept.
    format!("push {}", HEXLOWER.encode(&Sha256::digest(&*subscriber.counted())))
}

/// Something that is still to be done when its request is answered.
pub type Chore = Pin<Box<dyn Future<Output = ()>>>;

/// Whom a push asks: an attempt that outlives its request.
#[derive(Clone, Debug)]
pub struct Person {
    /// The subscriber that the claimant's own name is: whose challenge it is.
    pub owner: Subscriber,
    pub subscriber: Subscriber,
    pub identity: MfaIdentity,
    pub session: Session,
    pub errand: Errand,
    pub moment: Moment,
    pub numbers: Numbers,
    /// The authenticator that the claimant chose.
    pub chosen: Option<AuthenticatorId>,
    /// What went wrong on the way to the identity.
    pub trouble: Option<String>,
}

impl Person {
    fn attempt(&self) -> Attempt<'_> {
        let Self { owner: _, trouble: _, subscriber, identity, session, errand, moment, numbers, chosen } = self;
        let (purpose, chosen) = (errand.shown(), chosen.as_ref());
        Attempt { subscriber, identity, session, purpose, moment: *moment, numbers: *numbers, chosen }
    }

    fn owner(&self) -> Owner<'_> {
        Owner { subscriber: &self.owner, session: self.session.session_id.as_deref(), errand: &self.errand }
    }

    /// Whether it is the `owner`'s, whose session has an id.
    pub fn is_owned_by(&self, owner: Owner<'_>) -> bool {
        self.is_of_session(owner) && self.errand.is_same(owner.errand)
    }

    /// Whether it is of the `owner`'s session, whatever it is for.
    pub fn is_of_session(&self, owner: Owner<'_>) -> bool {
        let session = self.session.session_id.as_deref();
        session.is_some() && session == owner.session && self.owner == *owner.subscriber
    }
}

/// How a push begins.
pub enum Begin {
    /// With the client's sending it.
    Start,
    /// It was sent in answer to what was typed.
    Sent { show: Option<String>, state: ClientState },
    /// It was sent before; its answer is waited for.
    Resume(Box<Held>),
}

/// How a push ended, for everybody who waited.
#[derive(Clone, Debug)]
pub enum End {
    Verified(Proof),
    Denied(Denial),
    /// The claimant is to see or to type something first.
    Question {
        prompt: Prompt,
        id: ChallengeId,
    },
    Failed(ClientError),
}

/// Everything one push needs.
pub struct Course {
    pub client: Rc<dyn MfaClient>,
    pub store: Rc<dyn Store>,
    pub sealer: Rc<Sealer>,
    pub person: Person,
    pub origin: Origin,
    pub id: ChallengeId,
    /// What has to be settled before anybody is asked begins here.
    pub mark: Mark,
    /// For how long none is sent after one that was not theirs, in seconds.
    pub block: u64,
    /// In whose place the client stands.
    pub absent: Option<Absent>,
    pub state: OnceCell<ClientState>,
    /// Told when the state is there.
    pub sent: Notify,
    pub pushes: Rc<Pushes>,
}

impl Course {
    /// Runs the push to its end, or to a question.
    pub async fn run(self: Rc<Self>, begin: Begin) -> End {
        match self.course(begin).await {
            Ok(end) => end,
            Err(error) => End::Failed(error),
        }
    }

    async fn course(self: &Rc<Self>, begin: Begin) -> Result<End, ClientError> {
        // Together with what others do meanwhile: nobody waits for the store as long as for a service.
        tokio::task::yield_now().await;
        self.store.settle(self.mark).await?;
        let (show, state) = match begin {
            Begin::Resume(held) => {
                let _ = self.state.set(held.state);
                return self.wait().await;
            }
            Begin::Sent { show, state } => (show, state),
            Begin::Start => {
                match client::in_one_piece(Reach::NotSent, self.client.push_start(&self.person.attempt())).await {
                    Ok(Outcome::Pushed { show, state }) => (show, state),
                    Ok(Outcome::Verified(proof)) => {
                        self.store.credit(&self.origin, Credit::Success).await?;
                        self.release().await?;
                        return Ok(End::Verified(proof));
                    }
                    Ok(Outcome::Denied(denial)) => return self.denied(denial).await,
                    Ok(Outcome::Ask { prompt, state }) => {
                        self.release().await?;
                        let held = self.held(Kind::Asked, prompt, state);
                        return self.question(held).await;
                    }
                    Err(error) => {
                        if error.reach() == Reach::NotSent {
                            self.store.credit(&self.origin, Credit::Refund).await?;
                        }
                        self.release().await?;
                        return Err(error);
                    }
                }
            }
        };
        let _ = self.state.set(state.clone());
        self.sent.notify_one();
        let prompt = show.as_ref().map(|show| self.prompt(show)).unwrap_or_default().into();
        let held = self.held(Kind::Pushed, prompt, state);
        if show.is_none() {
            let mark = self.store.mark();
            self.hold(&held).await?;
            self.store.settle(mark).await?;
            return self.wait().await;
        }
        match self.person.numbers {
            Numbers::Shown => self.question(held).await,
            Numbers::Unseen => {
                self.take_back();
                let reason = "the number that belongs to the push cannot be shown over this protocol";
                self.denied(Denial::PushOff { reason }).await
            }
        }
    }

    /// Waits for the answer; whoever is first to hear of it uses the challenge.
    async fn wait(self: &Rc<Self>) -> Result<End, ClientError> {
        let Some(state) = self.state.get() else { return Ok(End::Denied(Denial::ChallengeGone)) };
        // It was sent: the service was reached.
        match client::in_one_piece(Reach::Answered, self.client.push_wait(&self.person.attempt(), state)).await {
            Ok(Outcome::Verified(proof)) => {
                if !self.finish(State::Used).await? {
                    return Ok(End::Denied(Denial::ChallengeGone));
                }
                self.store.credit(&self.origin, Credit::Success).await?;
                self.release().await?;
                Ok(End::Verified(proof))
            }
            // Nothing that this client knows: whoever sent it may still be waiting.
            Ok(Outcome::Denied(Denial::ChallengeGone)) => Ok(End::Denied(Denial::ChallengeGone)),
            Ok(Outcome::Denied(denial)) => {
                self.finish(State::Failed).await?;
                let is_open = matches!(&denial, Denial::Refused { why: Refusal::PushUnanswered, said: _ });
                if is_open {
                    self.take_back();
                }
                self.denied(denial).await
            }
            Ok(Outcome::Ask { prompt: _, state: _ } | Outcome::Pushed { show: _, state: _ }) => {
                self.finish(State::Failed).await?;
                self.release().await?;
                let reason = "the service asked for something else while a push was waiting";
                Err(ClientError::unexpected(reason))
            }
            Err(error) => {
                self.finish(State::Failed).await?;
                self.release().await?;
                self.take_back();
                Err(error)
            }
        }
    }

    async fn denied(&self, denial: Denial) -> Result<End, ClientError> {
        self.release().await?;
        let is_reported = matches!(&denial, Denial::Refused { why: Refusal::PushReported, said: _ });
        if is_reported && self.block > 0 {
            let now = self.person.moment.now;
            let key = slot(&self.person.subscriber);
            self.store.take_slot(&key, REPORTED, Again::Keeps, u32::MAX, now, now.plus(self.block)).await?;
        }
        Ok(End::Denied(denial))
    }

    async fn question(&self, held: Held) -> Result<End, ClientError> {
        self.hold(&held).await?;
        let Held { id, kind, identity: _, trouble: _, section: _, prompt, absent: _, state: _, tries: _ } = held;
        let now = self.person.moment.now;
        if kind == Kind::Pushed {
            let key = slot(&self.person.subscriber);
            self.store.take_slot(&key, &id.0, Again::Keeps, 1, now, now.plus(SHOWN_FOR)).await?;
        }
        Ok(End::Question { prompt, id })
    }

    fn prompt(&self, show: &str) -> String {
        match self.client.codes() {
            Codes::Able => format!("{show}. Press Enter when done, or type a one-time password: "),
            Codes::Unable => format!("{show}. Press Enter when done: "),
        }
    }

    fn held(&self, kind: Kind, prompt: Prompt, state: ClientState) -> Held {
        let (id, section, absent) = (self.id.clone(), self.client.section().to_owned(), self.absent.clone());
        let (identity, trouble) = (self.person.identity.clone(), self.person.trouble.clone());
        let tries = self.client.tries();
        Held { id, kind, identity, trouble, section, prompt, absent, state, tries }
    }

    async fn hold(&self, held: &Held) -> Result<(), ClientError> {
        held::hold(&*self.store, &self.sealer, self.person.owner(), held, self.person.moment.now).await
    }

    async fn finish(&self, to: State) -> Result<bool, StoreError> {
        self.store.move_challenge(&self.id, State::InProcess, to, self.person.moment.now).await
    }

    async fn release(&self) -> Result<bool, StoreError> {
        self.store.release_slots(&self.id.0).await
    }

    /// Takes the push back at the service, when somebody has time for it.
    pub fn take_back(self: &Rc<Self>) {
        let course = Rc::clone(self);
        self.pushes.leave(Box::pin(async move {
            let Some(state) = course.state.get() else { return };
            let moment = clock::extended(course.person.moment.now, CANCEL);
            let attempt = Attempt { moment, ..course.person.attempt() };
            // Nobody waits for it, and the push ends by itself.
            let _ = tokio::time::timeout(CANCEL, course.client.push_cancel(&attempt, state)).await;
        }));
    }

    /// Ends a push that nobody waits for any more: in the store, then at the service.
    pub fn abandon(self: &Rc<Self>) {
        let course = Rc::clone(self);
        self.pushes.leave(Box::pin(async move {
            let mark = course.store.mark();
            // What cannot be written now expires by itself.
            let _ = course.finish(State::Cancelled).await;
            let _ = course.release().await;
            // With one commit for all that are ended together.
            tokio::task::yield_now().await;
            let _ = course.store.settle(mark).await;
        }));
        self.take_back();
    }
}

//! Pushes: at most one of a subscriber at a time, however many requests wait for it.
//!
//! A push runs on its own; requests of its session join it and all hear how it ended. When the last of them is gone, it
//! is taken back. Its state lies in the store, so that another process can wait for it as well.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use futures_util::future::{AbortHandle, Abortable, FutureExt, Shared};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};

use super::held::{self, Absent, Held, Kind, Owner};
use crate::client::{self, ClientError, Codes, MfaClient};
use crate::clock;
use crate::domain::attempt::{Attempt, Numbers};
use crate::domain::challenge::{ChallengeId, State};
use crate::domain::claimant::{MfaIdentity, Subscriber};
use crate::domain::fault::Reach;
use crate::domain::outcome::{ClientState, Denial, Outcome, Prompt, Proof, Refusal};
use crate::domain::request::Session;
use crate::domain::time::Moment;
use crate::domain::verdict::Verdict;
use crate::secret::seal::Sealer;
use crate::store::{Again, Credit, Mark, Origin, Store, StoreError};

/// For how long a push of a claimant who was shown a number keeps others out, if nobody waits for it, in seconds.
const SHOWN_FOR: u64 = 90;

/// How long taking a push back may take.
const CANCEL: Duration = Duration::from_secs(3);

/// For how long a request that was sent again gets the verdict that it got.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How many verdicts are remembered.
const MEMORY: usize = 4096;

/// Who holds the slot of a subscriber who said that a push was not theirs.
pub const REPORTED: &str = "reported";

/// The slot under which the one push of a subscriber runs.
pub fn slot(subscriber: &Subscriber) -> String {
    // Names that nobody enrolled are not kept.
    format!("push {}", HEXLOWER.encode(&Sha256::digest(subscriber.as_str())))
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
    pub moment: Moment,
    pub numbers: Numbers,
    /// What went wrong on the way to the identity.
    pub trouble: Option<String>,
}

impl Person {
    fn attempt(&self) -> Attempt<'_> {
        let Self { owner: _, trouble: _, subscriber, identity, session, moment, numbers } = self;
        Attempt { subscriber, identity, session, moment: *moment, numbers: *numbers }
    }

    fn owner(&self) -> Owner<'_> {
        Owner { subscriber: &self.owner, session: self.session.session_id.as_deref() }
    }

    /// Whether it is the `owner`'s, whose session has an id.
    fn is_owned_by(&self, owner: Owner<'_>) -> bool {
        owner.session.is_some() && self.owner() == owner
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
    async fn run(self: Rc<Self>, begin: Begin) -> End {
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
        let Held { id, kind, identity: _, trouble: _, section: _, prompt, absent: _, state: _ } = held;
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
        Held { id, kind, identity, trouble, section, prompt, absent, state }
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
        self.pushes.chores.borrow_mut().push(Box::pin(async move {
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
        self.pushes.chores.borrow_mut().push(Box::pin(async move {
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

/// A push that runs.
struct Running {
    course: Rc<Course>,
    wait: Shared<Pin<Box<dyn Future<Output = Rc<End>>>>>,
    abort: AbortHandle,
    /// What those who wait are told where it is aborted.
    told: watch::Sender<Option<Denial>>,
    joined: Cell<usize>,
}

impl Running {
    fn began(&self) -> Option<Instant> {
        let Moment { now: _, millis: _, deadline, allowance } = self.course.person.moment;
        deadline.checked_sub(allowance)
    }

    /// Tells those who wait, and takes the push back; one that is just being sent, as soon as it is known what was sent.
    fn end(&self, denial: Denial) {
        self.told.send_replace(Some(denial));
        if self.course.state.get().is_some() {
            self.abort.abort();
            self.course.abandon();
            return;
        }
        let (course, wait, abort) = (Rc::clone(&self.course), self.wait.clone(), self.abort.clone());
        self.course.pushes.chores.borrow_mut().push(Box::pin(async move {
            let sending = async {
                tokio::select! {
                    _ = wait => {}
                    () = course.sent.notified() => {}
                }
            };
            // Whatever is not sent by then is not waited for.
            let _ = tokio::time::timeout(CANCEL, sending).await;
            abort.abort();
            course.abandon();
        }));
    }
}

/// By what a request is known again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    pub subscriber: Subscriber,
    pub session: String,
    /// The gateway's name for it.
    pub name: String,
    /// Where the session comes from and goes to.
    pub facts: [Option<String>; 5],
    /// The challenge that it answers.
    pub handle: Option<[u8; 16]>,
}

/// A push that ended, and whose it was.
#[derive(Clone)]
pub struct Ended {
    pub course: Rc<Course>,
    pub end: Rc<End>,
}

/// What was said, when, and what it rests on.
struct Said {
    at: Instant,
    mark: Mark,
    verdict: Verdict,
}

/// The pushes of this process.
#[derive(Default)]
pub struct Pushes {
    running: RefCell<HashMap<Subscriber, Rc<Running>>>,
    chores: RefCell<Vec<Chore>>,
    remembered: RefCell<HashMap<Known, Said>>,
    are_over: Cell<bool>,
}

impl Pushes {
    /// What is to be done when there is time for it.
    pub fn take_chores(&self) -> Vec<Chore> {
        std::mem::take(&mut *self.chores.borrow_mut())
    }

    /// Whether a push of `subscriber` runs, and whether it is the owner's: others may have the same name at the client.
    pub fn running(&self, subscriber: &Subscriber, owner: Owner<'_>) -> Option<bool> {
        let running = self.running.borrow();
        Some(running.get(subscriber)?.course.person.is_owned_by(owner))
    }

    /// Whose push the owner's session waits for, where it does.
    pub fn of_session(&self, owner: Owner<'_>) -> Option<Subscriber> {
        let running = self.running.borrow();
        let found = running.iter().find(|(_, running)| running.course.person.is_owned_by(owner));
        found.map(|(subscriber, _)| subscriber.clone())
    }

    /// Begins a push and waits for it.
    pub async fn run(self: &Rc<Self>, course: Rc<Course>, begin: Begin, until: Instant) -> Ended {
        let (abort, registration) = AbortHandle::new_pair();
        let told = watch::Sender::new(None);
        let cancelled = Ended { course: Rc::clone(&course), end: Rc::new(End::Denied(Denial::Cancelled)) };
        let wait = {
            let run = Abortable::new(Rc::clone(&course).run(begin), registration);
            run.map(|end| Rc::new(end.unwrap_or(End::Denied(Denial::Cancelled))))
        };
        let wait: Pin<Box<dyn Future<Output = Rc<End>>>> = Box::pin(wait);
        let subscriber = course.person.subscriber.clone();
        let running = Rc::new(Running { course, wait: wait.shared(), abort, told, joined: Cell::new(0) });
        self.running.borrow_mut().insert(subscriber.clone(), running);
        self.join(&subscriber, until).await.unwrap_or(cancelled)
    }

    /// Waits for the push of `subscriber` with those who do already; `None` where none runs.
    pub async fn join(self: &Rc<Self>, subscriber: &Subscriber, until: Instant) -> Option<Ended> {
        let running = self.running.borrow().get(subscriber).map(Rc::clone)?;
        running.joined.set(running.joined.get() + 1);
        let joined = Joined { pushes: Rc::clone(self), running };
        let running = &joined.running;
        let mut told = running.told.subscribe();
        let ended = async {
            tokio::select! {
                biased;
                // The sender goes with the push, which is here.
                told = told.wait_for(Option::is_some) => {
                    let denial = told.ok().and_then(|told| told.clone()).unwrap_or(Denial::Cancelled);
                    Rc::new(End::Denied(denial))
                }
                end = running.wait.clone() => end,
            }
        };
        let end = tokio::time::timeout_at(until.into(), ended).await;
        let end = end.unwrap_or_else(|_| Rc::new(End::Denied(unanswered())));
        Some(Ended { course: Rc::clone(&running.course), end })
    }

    /// Ends the push of `subscriber`'s session, because a code was accepted in its place.
    pub fn supersede(&self, subscriber: &Subscriber, owner: Owner<'_>) {
        if self.running(subscriber, owner) == Some(true) {
            self.end(subscriber, Denial::Superseded);
        }
    }

    /// Ends the push of `subscriber`, where one runs.
    pub fn end(&self, subscriber: &Subscriber, denial: Denial) {
        let running = self.running.borrow_mut().remove(subscriber);
        if let Some(running) = running {
            running.end(denial);
        }
    }

    /// Ends every push whose request came before `before`: the gateway has gone.
    pub fn hang_up(&self, before: Instant) {
        let is_older = |running: &Rc<Running>| running.began().is_none_or(|began| began <= before);
        let mut all = self.running.borrow_mut();
        let old: Vec<Subscriber> =
            all.iter().filter(|(_, running)| is_older(running)).map(|(subscriber, _)| subscriber.clone()).collect();
        for running in old.iter().filter_map(|subscriber| all.remove(subscriber)) {
            running.end(Denial::Cancelled);
        }
    }

    /// What a request that was sent again was told the first time.
    pub fn recall(&self, known: &Known, moment: Moment) -> Option<(Verdict, Mark)> {
        let remembered = self.remembered.borrow();
        let said = remembered.get(known)?;
        said.is_fresh(moment).then(|| (said.verdict.clone(), said.mark))
    }

    /// Remembers what a request was told.
    pub fn remember(&self, known: Known, verdict: &Verdict, moment: Moment, mark: Mark) {
        let mut remembered = self.remembered.borrow_mut();
        if remembered.len() >= MEMORY {
            remembered.retain(|_, said| said.is_fresh(moment));
        }
        if remembered.len() < MEMORY {
            // From the deadline on, which is when it was said at the latest.
            remembered.insert(known, Said { at: moment.deadline, mark, verdict: verdict.clone() });
        }
    }

    /// Forgets what was said in a session that ended.
    pub fn forget(&self, subscriber: &Subscriber, session: &str) {
        let is_other = |known: &Known| known.subscriber != *subscriber || known.session != session;
        self.remembered.borrow_mut().retain(|known, _| is_other(known));
    }

    /// Sends no more.
    pub fn close(&self) {
        self.are_over.set(true);
    }

    /// Whether no more are sent.
    pub fn are_over(&self) -> bool {
        self.are_over.get()
    }
}

impl Said {
    /// Whether a request that came at `moment` may be the same, sent again.
    fn is_fresh(&self, moment: Moment) -> bool {
        let began = moment.deadline.checked_sub(moment.allowance);
        began.is_some_and(|began| began <= self.at + REMEMBERED)
    }
}

/// What is said of a push that nobody answered in time.
fn unanswered() -> Denial {
    Denial::refused(Refusal::PushUnanswered, "nobody answered the push within the time of the verdict")
}

/// One request that waits for a push.
struct Joined {
    pushes: Rc<Pushes>,
    running: Rc<Running>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        let left = self.running.joined.get().saturating_sub(1);
        self.running.joined.set(left);
        let is_over = self.running.wait.peek().is_some();
        if left > 0 && !is_over {
            return;
        }
        let subscriber = &self.running.course.person.subscriber;
        let mut all = self.pushes.running.borrow_mut();
        if all.get(subscriber).is_some_and(|known| Rc::ptr_eq(known, &self.running)) {
            all.remove(subscriber);
            drop(all);
            if !is_over {
                self.running.end(Denial::Cancelled);
            }
        }
    }
}

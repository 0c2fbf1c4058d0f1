//! The pushes of this process: at most one of a subscriber at a time, however many requests wait for it.
//!
//! A push runs on its own; requests of its session join it and all hear how it ended. When the last of them is gone, it
//! is taken back.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::{AbortHandle, Abortable, FutureExt, Shared};
use tokio::sync::{Notify, watch};

use super::held::Owner;
use super::push::{Begin, CANCEL, Chore, Course, End};
use crate::domain::claimant::Subscriber;
use crate::domain::outcome::{Denial, Refusal};
use crate::domain::request::Conversation;
use crate::domain::time::Moment;
use crate::domain::verdict::Verdict;
use crate::store::Mark;

/// For how long a request that was sent again gets the verdict that it got.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How many verdicts are remembered.
const MEMORY: usize = 4096;

/// A push that runs.
struct Running {
    course: Rc<Course>,
    wait: Shared<Pin<Box<dyn Future<Output = Rc<End>>>>>,
    abort: AbortHandle,
    /// What those who wait are told where it is aborted.
    told: watch::Sender<Option<Denial>>,
    waiters: RefCell<Vec<Rc<Waiter>>>,
}

/// A request that waits for a push.
#[derive(Clone, Copy)]
pub struct Asker {
    pub conversation: Conversation,
    pub moment: Moment,
}

struct Waiter {
    asker: Asker,
    /// Told when the gateway that asked has gone.
    gone: Notify,
}

impl Waiter {
    fn is_of(&self, conversation: Conversation, before: Instant) -> bool {
        let Asker { conversation: own, moment: Moment { now: _, millis: _, deadline, allowance } } = self.asker;
        own == conversation && deadline.checked_sub(allowance).is_none_or(|began| began <= before)
    }
}

impl Running {
    /// Tells those who wait, and takes the push back; one that is just being sent, as soon as it is known what was sent.
    fn end(&self, denial: Denial) {
        self.told.send_replace(Some(denial));
        if self.course.state.get().is_some() {
            self.abort.abort();
            self.course.abandon();
            return;
        }
        let (course, wait, abort) = (Rc::clone(&self.course), self.wait.clone(), self.abort.clone());
        self.course.pushes.leave(Box::pin(async move {
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
    /// Two gateways may have one name for two requests.
    pub conversation: Conversation,
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
    end: Notify,
}

impl Pushes {
    /// Leaves something to be done when there is time for it.
    pub fn leave(&self, chore: Chore) {
        self.chores.borrow_mut().push(chore);
    }

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
        let found = running.iter().find(|(_, running)| running.course.person.is_of_session(owner));
        found.map(|(subscriber, _)| subscriber.clone())
    }

    /// Begins a push and waits for it.
    pub async fn run(self: &Rc<Self>, course: Rc<Course>, begin: Begin, asker: Asker) -> Ended {
        let (abort, registration) = AbortHandle::new_pair();
        let told = watch::Sender::new(None);
        let cancelled = Ended { course: Rc::clone(&course), end: Rc::new(End::Denied(Denial::Cancelled)) };
        let wait = {
            let run = Abortable::new(Rc::clone(&course).run(begin), registration);
            run.map(|end| Rc::new(end.unwrap_or(End::Denied(Denial::Cancelled))))
        };
        let wait: Pin<Box<dyn Future<Output = Rc<End>>>> = Box::pin(wait);
        let subscriber = course.person.subscriber.clone();
        let running = Rc::new(Running { course, wait: wait.shared(), abort, told, waiters: RefCell::default() });
        self.running.borrow_mut().insert(subscriber.clone(), running);
        self.join(&subscriber, asker).await.unwrap_or(cancelled)
    }

    /// Waits for the push of `subscriber` with those who do already; `None` where none runs.
    pub async fn join(self: &Rc<Self>, subscriber: &Subscriber, asker: Asker) -> Option<Ended> {
        let running = self.running.borrow().get(subscriber).map(Rc::clone)?;
        let waiter = Rc::new(Waiter { asker, gone: Notify::new() });
        running.waiters.borrow_mut().push(Rc::clone(&waiter));
        let joined = Joined { pushes: Rc::clone(self), running, waiter };
        let Joined { pushes: _, running, waiter } = &joined;
        let mut told = running.told.subscribe();
        let ended = async {
            tokio::select! {
                biased;
                // The sender goes with the push, which is here.
                told = told.wait_for(Option::is_some) => {
                    let denial = told.ok().and_then(|told| told.clone()).unwrap_or(Denial::Cancelled);
                    Rc::new(End::Denied(denial))
                }
                () = waiter.gone.notified() => Rc::new(End::Denied(Denial::Cancelled)),
                end = running.wait.clone() => end,
            }
        };
        let end = tokio::time::timeout_at(asker.moment.until().into(), ended).await;
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

    /// Tells the requests of `conversation` that came before `before` that their gateway has gone; a push that nobody else
    /// waits for ends with them.
    pub fn hang_up(&self, conversation: Conversation, before: Instant) {
        for running in self.running.borrow().values() {
            for waiter in running.waiters.borrow().iter().filter(|waiter| waiter.is_of(conversation, before)) {
                waiter.gone.notify_one();
            }
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
        self.end.notify_waiters();
    }

    /// Waits until no more are sent.
    pub async fn ended(&self) {
        let end = self.end.notified();
        if !self.are_over() {
            end.await;
        }
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
    waiter: Rc<Waiter>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        let is_left = {
            let mut waiters = self.running.waiters.borrow_mut();
            waiters.retain(|waiter| !Rc::ptr_eq(waiter, &self.waiter));
            !waiters.is_empty()
        };
        let is_over = self.running.wait.peek().is_some();
        if is_left && !is_over {
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

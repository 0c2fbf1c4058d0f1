//! The part of the decision that goes by push: whether one may be sent, whose it is, and what came of it.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::absence::{self, Resort};
use super::held::{self, Held};
use super::push::{self, Begin, Course, Person};
use super::pushes;
use super::story::{Standing, Story, absent, sendable_name};
use super::{End, Engine, own_fault};
use crate::client::{Asks, Push, Wired};
use crate::clock;
use crate::config::value::PushMode;
use crate::domain::attempt::Numbers;
use crate::domain::challenge::ChallengeId;
use crate::domain::outcome::{ClientState, Denial};
use crate::domain::request::Request;
use crate::domain::verdict::Verdict;
use crate::store::{Again, StoreError};

/// How long to wait for another process that is about to send a push of the same session.
const ABOUT_TO: Duration = Duration::from_millis(200);

/// How often that is waited for.
const ROUNDS: u32 = 25;

/// Why no push is sent where none is to be.
const NO_PUSH: &str = "no push is sent over this protocol ([push])";

/// Whose push holds the slot of a subscriber.
enum Outstanding {
    /// One of this session, whose answer can be waited for.
    Ours(Box<Held>),
    /// Nothing is known of it yet.
    Unknown,
    Theirs,
}

impl Engine {
    /// Sends a push, or joins the one that its session waits for already; or has a code sent.
    pub(super) async fn start_push(
        &self,
        story: &Story<'_>,
        wired: &Wired,
        standing: Standing<'_>,
    ) -> Result<Verdict, End> {
        let client = &wired.client;
        let section = || Some(client.section().to_owned());
        if client.asks() == Asks::Sends {
            return self.send_code(story, wired, standing).await;
        }
        if client.push() == Push::Unable {
            return match (standing, self.can_ask(story.request)) {
                // Whoever stands in cannot push, but can be told a code.
                (Standing::For(away), true) => {
                    self.heard(self.store.standing(&story.origin, story.moment.now).await?)?;
                    let id = held::new_id().map_err(own_fault)?;
                    let (section, prompt) = (client.section().to_owned(), self.auth.prompt.clone().into());
                    let (away, state) = (Some(away.clone()), ClientState::new(Vec::new()));
                    let held = story.held(id, held::Kind::Asked, section, prompt, away, state);
                    self.ask_held(story, &held).await
                }
                (Standing::For(_), false) | (Standing::Own, _) => Err(End::Denied(Denial::CodeRequired, section())),
            };
        }
        sendable_name(story, client.section())?;
        if self.mode(story.request) == PushMode::Off {
            return Err(Denial::PushOff { reason: NO_PUSH }.into());
        }
        if self.pushes.are_over() {
            return Err(Denial::Cancelled.into());
        }
        if let Some(verdict) = self.recall(story) {
            return Ok(verdict);
        }
        let (subscriber, session) = (&story.origin.subscriber, story.session());
        let until = story.moment.until();
        for round in 0.. {
            match self.pushes.running(subscriber, story.owner()) {
                Some(true) if story.errand.shares_push() => {
                    let Some(ended) = self.pushes.join(subscriber, story.asker()).await else { continue };
                    return self.ended(story, &ended).await;
                }
                Some(_) => return Err(End::Denied(Denial::PushOutstanding, section())),
                None => {}
            }
            self.heard(self.store.standing(&story.origin, story.moment.now).await?)?;
            let id = held::new_id().map_err(own_fault)?;
            let course = self.course(story, wired, id, standing);
            match self.take_push_slot(story, &course).await {
                Ok(()) => {
                    let heard =
                        self.heard(self.store.charge(&story.origin, story.moment.now).await?).map_err(End::from);
                    let counted = match heard {
                        Ok(()) => self.count_try(story).await,
                        Err(end) => Err(end),
                    };
                    if let Err(end) = counted {
                        self.store.release_slots(&course.id.0).await?;
                        return Err(end);
                    }
                    return self.run_push(story, course, Begin::Start).await;
                }
                Err(End::Denied(Denial::PushOutstanding, service)) => {
                    // Nobody waits for the store while this waits for somebody.
                    self.settle(story).await?;
                    // Another process may wait for a push of this very session.
                    match self.outstanding(story).await? {
                        Outstanding::Ours(held) => return self.take_over(story, *held).await,
                        Outstanding::Unknown
                            if round < ROUNDS
                                && clock::left(until) > ABOUT_TO
                                && session.is_some()
                                // An explanation waits for nobody.
                                && self.trail.is_none() =>
                        {
                            tokio::time::sleep(ABOUT_TO).await;
                        }
                        Outstanding::Unknown | Outstanding::Theirs => {
                            return Err(End::Denied(Denial::PushOutstanding, service.or_else(section)));
                        }
                    }
                }
                Err(end) => return Err(end),
            }
        }
        Err(End::Denied(Denial::PushOutstanding, section()))
    }

    /// Waits for a push that was sent before, by whichever client sent it.
    pub(super) async fn take_over(&self, story: &Story<'_>, held: Held) -> Result<Verdict, End> {
        let away = held.absent.clone();
        let wired = self.wired(&held.section).ok_or(Denial::ChallengeGone)?;
        let course = self.course(story, wired, held.id.clone(), away.as_ref().into());
        self.run_push(story, course, Begin::Resume(Box::new(held))).await
    }

    /// What a push needs that is asked for in words, with the one slot for pushes of the subscriber taken.
    pub(super) async fn begin_push(
        &self,
        story: &Story<'_>,
        wired: &Wired,
        standing: Standing<'_>,
    ) -> Result<Rc<Course>, End> {
        if self.mode(story.request) == PushMode::Off {
            return Err(Denial::PushOff { reason: NO_PUSH }.into());
        }
        let course = self.course(story, wired, held::new_id().map_err(own_fault)?, standing);
        self.take_push_slot(story, &course).await?;
        Ok(course)
    }

    /// Takes the one slot for pushes of the subscriber.
    async fn take_push_slot(&self, story: &Story<'_>, course: &Course) -> Result<(), End> {
        if self.hold_push_slot(story, &course.id).await? {
            return Ok(());
        }
        let now = story.moment.now;
        let holders = self.store.slots(&push::slot(&story.origin.subscriber), now).await?;
        let blocked = holders.iter().find(|(holder, _)| holder == push::REPORTED);
        Err(match blocked {
            Some((_, until)) => {
                let wait = Duration::from_secs(until.since(now));
                Denial::PushBlocked { wait }.into()
            }
            None => Denial::PushOutstanding.into(),
        })
    }

    /// Takes or keeps the slot for the push `id`, for as long as its request may wait; says whether nobody else has it.
    pub(super) async fn hold_push_slot(&self, story: &Story<'_>, id: &ChallengeId) -> Result<bool, StoreError> {
        let (now, key) = (story.moment.now, push::slot(&story.origin.subscriber));
        let expires = now.plus(story.moment.allowance.as_secs() + 2);
        self.store.take_slot(&key, &id.0, Again::Keeps, 1, now, expires).await
    }

    /// Whose push it is that holds the slot.
    async fn outstanding(&self, story: &Story<'_>) -> Result<Outstanding, End> {
        let now = story.moment.now;
        let holders = self.store.slots(&push::slot(&story.origin.subscriber), now).await?;
        let Some((holder, _)) = holders.into_iter().next() else { return Ok(Outstanding::Unknown) };
        let id = ChallengeId(holder);
        if self.store.challenge(&id, now).await?.is_none() {
            return Ok(Outstanding::Unknown);
        }
        Ok(match self.find(story, &id).await? {
            Some(held) if story.session().is_some() => Outstanding::Ours(Box::new(held)),
            Some(_) | None => Outstanding::Theirs,
        })
    }

    pub(super) fn course(
        &self,
        story: &Story<'_>,
        wired: &Wired,
        id: ChallengeId,
        standing: Standing<'_>,
    ) -> Rc<Course> {
        Rc::new(Course {
            client: Rc::clone(&wired.client),
            store: Rc::clone(&self.store),
            sealer: Rc::clone(&self.sealer),
            person: Person {
                owner: story.owner().subscriber.clone(),
                trouble: story.trouble(),
                subscriber: story.origin.subscriber.clone(),
                identity: story.identity.clone(),
                session: story.request.session.clone(),
                errand: story.errand.clone(),
                moment: story.moment,
                numbers: story.numbers,
                chosen: story.chosen.clone(),
            },
            origin: story.origin.clone(),
            id,
            mark: story.mark.get(),
            block: self.push.as_ref().map_or(0, |push| push.block.0),
            absent: standing.absent(),
            state: OnceCell::new(),
            sent: Notify::new(),
            pushes: Rc::clone(&self.pushes),
        })
    }

    /// Runs a push whose slot is taken, or joins the one that runs for the same challenge.
    pub(super) async fn run_push(&self, story: &Story<'_>, course: Rc<Course>, begin: Begin) -> Result<Verdict, End> {
        let subscriber = &story.origin.subscriber;
        let joined = match self.pushes.running(subscriber, story.owner()) {
            Some(true) if story.errand.shares_push() => {
                self.settle(story).await?;
                self.pushes.join(subscriber, story.asker()).await
            }
            Some(true) => return Err(End::Denied(Denial::PushOutstanding, Some(course.client.section().to_owned()))),
            Some(false) | None => None,
        };
        let ended = match joined {
            Some(ended) => ended,
            None => self.pushes.run(course, begin, story.asker()).await,
        };
        self.ended(story, &ended).await
    }

    /// The verdict on a push that ended.
    pub(super) async fn ended(&self, story: &Story<'_>, ended: &pushes::Ended) -> Result<Verdict, End> {
        let pushes::Ended { course, end } = ended;
        let section = course.client.section();
        let wired = self.wired(section).ok_or(Denial::ChallengeGone)?;
        let standing = Standing::from(course.absent.as_ref());
        let said = match &**end {
            push::End::Failed(error) => Err(error.clone()),
            push::End::Verified(_) => Ok("push_verified"),
            push::End::Denied(denial) => Ok(denial.code()),
            push::End::Question { prompt: _, id: _ } => Ok("push_shown"),
        };
        story.aside.heard(section, &said, |word| word);
        let verdict = match push::End::clone(end) {
            push::End::Verified(proof) => {
                self.note_there(wired, story).await?;
                self.accept_proved(story, wired, proof, standing).await
            }
            push::End::Question { prompt, id } => {
                story.aside.share(&prompt.session_cookie);
                self.ask(story, &prompt, Some(&id))
            }
            push::End::Denied(denial) => Err(End::Denied(denial, Some(section.to_owned()))),
            push::End::Failed(error) => {
                self.note("push", || error.to_string());
                return match (absence::resort(wired, &error), standing) {
                    (Resort::Client(other), Standing::Own) => match self.wired(&other) {
                        Some(other) => {
                            let away = absent(section, &error);
                            Box::pin(self.start_push(story, other, Standing::For(&away))).await
                        }
                        None => Err(End::Fault(error.into_fault(section))),
                    },
                    (Resort::Client(_) | Resort::Open | Resort::None, _) => {
                        self.absent(story, wired, error, standing).await
                    }
                };
            }
        };
        if let Some(known) = story.known()
            && matches!(standing, Standing::Own)
        {
            let said = match &verdict {
                Ok(verdict) => Some(verdict.clone()),
                Err(End::Denied(denial, service)) => {
                    Some(Verdict::Reject(self.denied(denial.clone(), service.clone())))
                }
                Err(End::Fault(_)) => None,
            };
            if let Some(said) = said {
                self.pushes.remember(known, &said, story.moment, story.mark.get());
            }
        }
        verdict
    }

    pub(super) fn recall(&self, story: &Story<'_>) -> Option<Verdict> {
        let is_typed = story.request.answers.otp().is_some_and(|otp| !otp.expose().is_empty());
        if is_typed {
            return None;
        }
        let (verdict, mark) = self.pushes.recall(&story.known()?, story.moment)?;
        // What was said then rests on what was settled then.
        story.mark.set(mark);
        Some(verdict)
    }

    /// Takes back a push whose claimant typed a code in its place, and did not wait for it.
    pub(super) fn forget_push(&self, story: &Story<'_>, wired: &Wired, held: &Held) {
        if self.pushes.running(&story.origin.subscriber, story.owner()).is_none() {
            let course = self.course(story, wired, held.id.clone(), Standing::Own);
            let _ = course.state.set(held.state.clone());
            course.abandon();
        }
    }

    /// A session that ended takes its push with it.
    pub(super) async fn end_push_of(&self, story: &Story<'_>) -> Result<(), End> {
        let Some(session) = story.session() else { return Ok(()) };
        self.pushes.forget(story.owner().subscriber, session);
        if self.clients.iter().all(|wired| wired.client.push() == Push::Unable) {
            return Ok(());
        }
        let held = self.find_named(story).await?.filter(|held| held.kind == held::Kind::Pushed);
        // Under which name it was sent, only a directory may know: it is looked for by its session.
        if let Some(subscriber) = self.pushes.of_session(story.owner()) {
            self.pushes.end(&subscriber, Denial::Cancelled);
            return Ok(());
        }
        let held = match held {
            Some(held) => Some(held),
            None => match self.outstanding(story).await? {
                Outstanding::Ours(held) => Some(*held),
                Outstanding::Unknown | Outstanding::Theirs => None,
            },
        };
        if let Some(held) = held
            && let Some(wired) = self.wired(&held.section)
        {
            self.forget_push(story, wired, &held);
        }
        Ok(())
    }

    /// How pushes go over the protocol of `request`.
    pub(super) fn mode(&self, request: &Request) -> PushMode {
        let Some(push) = &self.push else { return PushMode::Off };
        let protocol = request.session.protocol.as_deref();
        let is_meant = |name: &str| protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(name));
        push.by_protocol.0.iter().find(|(name, _)| is_meant(name)).map_or(push.mode, |(_, mode)| *mode)
    }

    pub(super) fn numbers(&self, request: &Request) -> Numbers {
        match self.mode(request) {
            PushMode::Number if self.can_ask(request) => Numbers::Shown,
            PushMode::Number | PushMode::Plain | PushMode::Off => Numbers::Unseen,
        }
    }
}

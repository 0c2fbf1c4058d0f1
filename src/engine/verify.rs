//! The part of the decision that is about what was typed, and about a client that failed at it.

use super::absence::{self, Resort};
use super::admit::Admission;
use super::errand::Errand;
use super::held::{self, Held};
use super::look_up::LookedUp;
use super::push::Begin;
use super::story::{Standing, Story, absent, can_be_code, outcome_word, sendable_name};
use super::{End, Engine, own_fault};
use crate::client::{self, Asks, ClientError, Codes, Place, Wired};
use crate::config::value::OnUnreachable;
use crate::domain::action::Unusable;
use crate::domain::challenge::State;
use crate::domain::fault::Reach;
use crate::domain::outcome::{Denial, Outcome, Proof, Refusal};
use crate::domain::secret::TypedCode;
use crate::domain::verdict::{Footing, Verdict};
use crate::secret::cookie::Progress;
use crate::store::{Credit, Origin, StoreError};

impl Engine {
    /// Charge → verify → take back → accept.
    pub(super) async fn verify(
        &self,
        story: &Story<'_>,
        wired: &Wired,
        code: &TypedCode,
        held: Option<Held>,
        standing: Standing<'_>,
    ) -> Result<Verdict, End> {
        let client = &wired.client;
        let now = story.moment.now;
        // Where one client stands in for another within one request, the attempt is charged already.
        let is_charged = matches!(standing, Standing::For(_)) && held.is_none();
        // A question of the client was charged when it was put, and has tries of its own. One that the client knows nothing of,
        // as where it stands in for another, is like none.
        let is_question = |held: &Held| held.kind == held::Kind::Asked && !held.state.expose().is_empty();
        let answers_question = held.as_ref().is_some_and(is_question);
        if !is_charged && !answers_question {
            self.count_try(story).await?;
        }
        let looked_up = if is_charged { LookedUp::Nothing } else { self.look_up(story, code).await? };
        let counted = match looked_up {
            LookedUp::Proved(proof) => return self.accept_looked_up(story, wired, proof, held).await,
            LookedUp::Charged(origin) => Some(origin),
            LookedUp::Nothing => None,
        };
        if client.place() == Place::Remote {
            sendable_name(story, client.section())?;
        }
        if client.codes() == Codes::Unable {
            let denial = Denial::refused(Refusal::MalformedCode, "this client takes no codes");
            return Err(End::Denied(denial, Some(client.section().to_owned())));
        }
        let mut is_counted = true;
        if !is_charged {
            match self.heard(self.store.charge(&story.origin, now).await?) {
                Ok(()) => {}
                // What was charged for the question does not keep its answer out, nor does what others do meanwhile: its
                // tries are few, and nobody who is to wait is asked another.
                Err(_wait) if answers_question && client.is_answer(code) => is_counted = false,
                Err(denial) => return Err(denial.into()),
            }
        }
        if let Some(held) = held.as_ref().filter(|held| held.kind == held::Kind::Asked)
            && self.store.try_challenge(&held.id, now).await?.is_none()
        {
            // Nor is it asked once more.
            if let Some(session) = story.session() {
                self.pushes.forget(story.owner().subscriber, session);
            }
            return Err(Denial::ChallengeGone.into());
        }
        let begun = match client.place() {
            Place::Remote if client.starts_push(code) => Some(self.begin_push(story, wired, standing).await?),
            Place::Here | Place::Remote => None,
        };
        let outcome = match client.place() {
            Place::Here => {
                let state = held.as_ref().map(|held| &held.state);
                client.otp_authenticate(&story.attempt(), code, state).await
            }
            Place::Remote if !can_be_code(code) => {
                Ok(Outcome::Denied(Denial::refused(Refusal::MalformedCode, "what was typed cannot be a code")))
            }
            Place::Remote => {
                // Counted for good before anybody is asked.
                self.settle(story).await?;
                let state = held.as_ref().map(|held| &held.state).filter(|state| !state.expose().is_empty());
                // Whoever answers a question of the service has reached it before.
                let reached = if state.is_some() { Reach::Answered } else { Reach::NotSent };
                let said = client::in_one_piece(reached, client.otp_authenticate(&story.attempt(), code, state)).await;
                story.aside.heard(client.section(), &said, outcome_word);
                said
            }
        };
        if let Some(course) = &begun
            && !matches!(&outcome, Ok(Outcome::Pushed { show: _, state: _ }))
        {
            self.store.release_slots(&course.id.0).await?;
        }
        self.note("verify", || match &outcome {
            Ok(Outcome::Verified(proof)) => format!("[{}]: {}", client.section(), proof.reason),
            Ok(Outcome::Denied(denial)) => format!("[{}]: {}: {}", client.section(), denial.code(), denial.reason()),
            Ok(Outcome::Ask { prompt: _, state: _ }) => format!("[{}] asks for one more code", client.section()),
            Ok(Outcome::Pushed { show: _, state: _ }) => format!("[{}] sent a push", client.section()),
            Err(error) => error.to_string(),
        });
        self.note_presence(wired, &outcome, story).await?;
        if let Err(error) = &outcome
            && let Resort::Client(section) = absence::resort(wired, error)
            && let (Standing::Own, Some(other)) = (standing, self.wired(&section))
        {
            let away = absent(client.section(), error);
            if other.client.asks() == Asks::Sends {
                // What was typed cannot be a code that was not sent.
                self.take_back(&story.origin, &outcome).await?;
                return Box::pin(self.send_code(story, other, Standing::For(&away))).await;
            }
            return Box::pin(self.verify(story, other, code, None, Standing::For(&away))).await;
        }
        if is_counted || matches!(&outcome, Ok(Outcome::Verified(_))) {
            self.take_back(&story.origin, &outcome).await?;
        }
        if let (Some(origin), Ok(Outcome::Verified(_))) = (&counted, &outcome) {
            // What looked like a recovery code was none, and no guess at one.
            self.store.credit(origin, Credit::Refund).await?;
        }
        match outcome {
            Ok(Outcome::Verified(proof)) => {
                self.close(story, wired, held).await?;
                self.accept_proved(story, wired, proof, standing).await
            }
            Ok(Outcome::Denied(denial)) => Err(End::Denied(denial, Some(client.section().to_owned()))),
            Ok(Outcome::Ask { prompt, state }) => {
                story.aside.share(&prompt.session_cookie);
                if let Some(held) = held.as_ref().filter(|held| held.kind == held::Kind::Asked) {
                    // The same once more, as often as it can still be answered. Both are sealed here, and shown nowhere.
                    if client.asks() == Asks::Sends && held.state.expose() == state.expose() {
                        return self.ask(story, &prompt, Some(&held.id));
                    }
                    // What was answered is over: of those who answered it at once, one goes on.
                    if !held::finish(&*self.store, held, State::Used, now).await.map_err(own_fault)? {
                        return Err(Denial::ChallengeGone.into());
                    }
                }
                self.ask_anew(story, wired, prompt, state, standing).await
            }
            Ok(Outcome::Pushed { show, state }) => {
                let course = match begun {
                    Some(course) => course,
                    None => match self.begin_push(story, wired, standing).await {
                        Ok(course) => course,
                        Err(end) => {
                            // It was sent in answer to what was typed, and nobody may wait for it.
                            let course = self.course(story, wired, held::new_id().map_err(own_fault)?, standing);
                            let _ = course.state.set(state);
                            course.take_back();
                            return Err(end);
                        }
                    },
                };
                self.run_push(story, course, Begin::Sent { show, state }).await
            }
            Err(error) => self.absent(story, wired, error, standing).await,
        }
    }

    /// What waited for an answer is over: the claimant is proved.
    async fn close(&self, story: &Story<'_>, wired: &Wired, held: Option<Held>) -> Result<(), End> {
        if let Some(held) = &held {
            let is_first = held::finish(&*self.store, held, State::Used, story.moment.now).await.map_err(own_fault)?;
            let is_push = held.kind == held::Kind::Pushed;
            if !is_first && (!is_push || matches!(&story.errand, Errand::StepUp { target: _, by: _ })) {
                return Err(Denial::ChallengeGone.into());
            }
            if held.kind == held::Kind::Pushed {
                self.forget_push(story, wired, held);
            }
        }
        self.pushes.supersede(&story.origin.subscriber, story.owner());
        Ok(())
    }

    /// The accept that rests on what was handed out: verified here, whichever client was asked for.
    async fn accept_looked_up(
        &self,
        story: &Story<'_>,
        wired: &Wired,
        proof: Proof,
        held: Option<Held>,
    ) -> Result<Verdict, End> {
        self.close(story, wired, held).await?;
        // A bypass code that is used up leaves nothing by which an authorize could know its holder.
        let progress = Progress::AcceptedRemotely;
        self.let_in(story, Admission::proved(story.identity.clone(), proof, None, Footing::Full, progress)).await
    }

    /// Counts a try at the challenge that the errand is about.
    pub(super) async fn count_try(&self, story: &Story<'_>) -> Result<(), End> {
        let (id, gone) = match &story.errand {
            Errand::Login | Errand::StepUp { target: _, by: None } => return Ok(()),
            Errand::Action { id, purpose: _ } => (id, Denial::NoPermit(Unusable::Failed)),
            Errand::StepUp { target: _, by: Some(id) } => (id, Denial::ChallengeGone),
        };
        match self.store.try_challenge(id, story.moment.now).await? {
            Some(_left) => Ok(()),
            None => Err(gone.into()),
        }
    }

    /// What was charged for an attempt is taken back where it was no failure of the claimant. After a fault that may have
    /// reached a service it stays: nobody gets guesses for nothing by making a service fail.
    pub(super) async fn take_back(
        &self,
        origin: &Origin,
        outcome: &Result<Outcome, ClientError>,
    ) -> Result<(), StoreError> {
        let credit = match outcome {
            Ok(Outcome::Verified(_)) => Credit::Success,
            Err(error) => match error.reach() {
                Reach::NotSent => Credit::Refund,
                Reach::Sent | Reach::Answered => return Ok(()),
            },
            // What was charged for this is charged for what comes of it: nobody has messages sent without end.
            Ok(Outcome::Denied(_) | Outcome::Ask { prompt: _, state: _ } | Outcome::Pushed { show: _, state: _ }) => {
                return Ok(());
            }
        };
        self.store.credit(origin, credit).await
    }

    /// Notes that the service answered, whatever it said.
    pub(super) async fn note_presence(
        &self,
        wired: &Wired,
        outcome: &Result<Outcome, ClientError>,
        story: &Story<'_>,
    ) -> Result<(), End> {
        match outcome {
            Ok(Outcome::Denied(Denial::Refused { why: Refusal::MalformedCode | Refusal::MalformedName, said: _ })) => {
                Ok(())
            }
            Ok(_) => self.note_there(wired, story).await,
            Err(_) => Ok(()),
        }
    }

    pub(super) async fn note_there(&self, wired: &Wired, story: &Story<'_>) -> Result<(), End> {
        let is_remembered = wired.client.place() == Place::Remote && wired.on_unreachable != OnUnreachable::Reject;
        if is_remembered {
            absence::over(&*self.store, wired.client.section(), story.moment.now).await.map_err(own_fault)?;
        }
        Ok(())
    }

    /// The verdict where a client failed and nobody stands in: open, where the configuration says so and nothing can have
    /// reached the service; else the fault.
    pub(super) async fn absent(
        &self,
        story: &Story<'_>,
        wired: &Wired,
        error: ClientError,
        standing: Standing<'_>,
    ) -> Result<Verdict, End> {
        let section = wired.client.section();
        // Whoever stands in for another opens nothing: the other may have been reached.
        let may_open = matches!(standing, Standing::Own) && story.errand.may_go_unproved();
        if absence::resort(wired, &error) != Resort::Open || !may_open {
            return Err(End::Fault(error.into_fault(section)));
        }
        let now = story.moment.now;
        let counted = absence::count(&*self.store, section, wired.degraded_for, now).await.map_err(own_fault)?;
        let Some(absence) = counted else {
            let mut fault = error.into_fault(section);
            fault.reason += "; nobody is let in any more, degraded_for is over";
            return Err(End::Fault(fault));
        };
        let code = error.clone().into_fault(section).code;
        let reason = format!(
            "without a second factor: {section} was not reached ({code}: {error}), and its section says accept; login {} of \
             this kind in {} s",
            absence.count,
            absence.since.as_secs()
        );
        self.let_in(story, Admission::open(story.identity.clone(), section.to_owned(), reason)).await
    }
}

//! The part of the decision that has a code sent, and asks for it.

use super::absence::{self, Resort};
use super::held::{self, Held};
use super::story::{Standing, Story, absent, outcome_word, sendable_name};
use super::{End, Engine, own_fault};
use crate::client::{self, ClientError, Wired};
use crate::domain::fault::Reach;
use crate::domain::outcome::{ClientState, Denial, Outcome, Prompt};
use crate::domain::verdict::Verdict;

impl Engine {
    /// Has a code sent, and asks for it. Charged before, as a push is: nobody's mailbox is filled by asking again and again.
    pub(super) async fn send_code(
        &self,
        story: &Story<'_>,
        wired: &Wired,
        standing: Standing<'_>,
    ) -> Result<Verdict, End> {
        let section = wired.client.section();
        if !self.can_ask(story.request) {
            return Err(End::Denied(Denial::CodeRequired, Some(section.to_owned())));
        }
        sendable_name(story, section)?;
        if self.pushes.are_over() {
            return Err(Denial::Cancelled.into());
        }
        // A request that is sent again has nothing sent again.
        if let Some(verdict) = self.recall(story) {
            return Ok(verdict);
        }
        if let Err(denial) = self.heard(self.store.charge(&story.origin, story.moment.now).await?) {
            return match self.can_look_up(story).await? {
                // Nothing is sent any more, but a recovery code may be typed.
                true => self.ask_for_code(story, None).await,
                false => Err(denial.into()),
            };
        }
        self.count_try(story).await?;
        // Counted for good before anything leaves.
        self.settle(story).await?;
        let attempt = story.attempt();
        let outcome = tokio::select! {
            outcome = client::in_one_piece(Reach::NotSent, wired.client.push_start(&attempt)) => outcome,
            // Whatever is on its way is left there; a program that sends is ended.
            () = self.pushes.ended() => return Err(Denial::Cancelled.into()),
        };
        story.aside.heard(section, &outcome, outcome_word);
        self.note("send", || match &outcome {
            Ok(Outcome::Ask { prompt: _, state: _ }) => format!("[{section}] sent a code"),
            Ok(Outcome::Denied(denial)) => format!("[{section}]: {}: {}", denial.code(), denial.reason()),
            Ok(Outcome::Verified(proof)) => format!("[{section}]: {}", proof.reason),
            Ok(Outcome::Pushed { show: _, state: _ }) => format!("[{section}] sent a push"),
            Err(error) => error.to_string(),
        });
        self.note_presence(wired, &outcome, story).await?;
        self.take_back(&story.origin, &outcome).await?;
        match outcome {
            Ok(Outcome::Ask { prompt, state }) => {
                let verdict = self.ask_anew(story, wired, prompt, state, standing).await?;
                if let (Some(known), Standing::Own) = (story.known(), standing) {
                    self.pushes.remember(known, &verdict, story.moment, story.mark.get());
                }
                Ok(verdict)
            }
            Ok(Outcome::Verified(proof)) => self.accept_proved(story, wired, proof, standing).await,
            Ok(Outcome::Denied(denial)) => Err(End::Denied(denial, Some(section.to_owned()))),
            Ok(Outcome::Pushed { show: _, state: _ }) => {
                let error = ClientError::unexpected("a push was sent where a code was to be");
                Err(End::Fault(error.into_fault(section)))
            }
            Err(error) => {
                if let (Resort::Client(other), Standing::Own) = (absence::resort(wired, &error), standing)
                    && let Some(other) = self.wired(&other)
                {
                    let away = absent(section, &error);
                    return Box::pin(self.start_push(story, other, Standing::For(&away))).await;
                }
                self.absent(story, wired, error, standing).await
            }
        }
    }

    /// Asks what a client wants to know; the answer comes back to it with `state`.
    pub(super) async fn ask_anew(
        &self,
        story: &Story<'_>,
        wired: &Wired,
        prompt: Prompt,
        state: ClientState,
        standing: Standing<'_>,
    ) -> Result<Verdict, End> {
        let id = held::new_id().map_err(own_fault)?;
        let (kind, section) = (held::Kind::Asked, wired.client.section().to_owned());
        let held = story.held(id, kind, section, prompt, standing.absent(), state);
        self.ask_held(story, &Held { tries: wired.client.tries(), ..held }).await
    }
}

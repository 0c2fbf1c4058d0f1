//! A service that decides in countersign's words: what it says is the outcome.

use super::super::ClientError;
use super::facts::{self, Captured, Waiting};
use super::verdict::{self, Decision};
use super::{GenericClient, denied};
use crate::config::http::StepName;
use crate::domain::attempt::Attempt;
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{ClientState, Denial, Factor, Outcome, Proof, Refusal};
use crate::domain::secret::{Secret, TypedCode};

/// What the service wanted back, as JSON; a placeholder.
const STATE: &str = "state";

impl GenericClient {
    /// Verifies a code, or the answer to a question of the service's own.
    pub(super) async fn decide_code(
        &self,
        attempt: &Attempt<'_>,
        otp: &TypedCode,
        state: Option<&ClientState>,
    ) -> Result<Outcome, ClientError> {
        let answers = match state.map(facts::find) {
            None => None,
            Some(Some((Waiting::Asked, captured))) => Some(captured),
            Some(Some((Waiting::Pushed, _)) | None) => return Ok(Outcome::Denied(Denial::ChallengeGone)),
        };
        // Looked at only. The answer to a question may be anything.
        if answers.is_none() && !self.service.code.fits(otp.expose()) {
            let said = "what was typed is not what code in the section expects";
            return Ok(super::refused(Refusal::MalformedCode, said));
        }
        let name = if answers.is_some() && self.has(StepName::Answer) { StepName::Answer } else { StepName::Otp };
        if !self.has(name) {
            let said = "the service takes no codes but in answer to its own questions";
            return Ok(super::refused(Refusal::ServicePolicy, said));
        }
        self.decide(name, attempt, &answers.unwrap_or_else(nothing), Some(otp)).await
    }

    /// Has the subscriber asked, and waits for what they say.
    pub(super) async fn decide_push(&self, attempt: &Attempt<'_>) -> Result<Outcome, ClientError> {
        self.decide(StepName::PushStart, attempt, &Captured::new(), None).await
    }

    /// Has the service say whether the session may go on to its target.
    pub(super) async fn decide_session(
        &self,
        attempt: &Attempt<'_>,
        answered: Option<&TypedCode>,
        state: Option<&ClientState>,
    ) -> Result<Outcome, ClientError> {
        let mut captured = match state.map(facts::find) {
            None => nothing(),
            Some(Some((Waiting::Asked, captured))) => captured,
            Some(Some((Waiting::Pushed, _)) | None) => return Ok(Outcome::Denied(Denial::ChallengeGone)),
        };
        if answered.is_none() {
            captured.insert("otp".to_owned(), Secret::new(String::new()));
        }
        self.decide(StepName::Authorize, attempt, &captured, answered).await
    }

    async fn decide(
        &self,
        name: StepName,
        attempt: &Attempt<'_>,
        captured: &Captured,
        otp: Option<&TypedCode>,
    ) -> Result<Outcome, ClientError> {
        let Some(step) = self.service.steps.get(&name) else {
            return Err(ClientError::Unusable(format!("there is no step {}", name.word())));
        };
        let answer = match self.exchange(name, step, attempt, captured, otp).await {
            Ok((answer, _)) => answer,
            Err(obstacle) => return denied(obstacle).map(Outcome::Denied),
        };
        if self.credentials.are_given() && matches!(answer.status, 401 | 403) {
            let text = format!("status {}: the service does not take the auth of this section", answer.status);
            return Err(ClientError::communication("credentials_refused", text));
        }
        // Looked for, to be taken away.
        let typed = otp.map(|otp| otp.expose().as_str());
        Ok(match verdict::read(&answer, typed)? {
            Decision::Yes(remarks) => {
                let factor = if name == StepName::PushStart { Factor::Push } else { Factor::Otp };
                let reason = remarks.reason.as_deref();
                let reason = reason.map_or_else(|| "verified".to_owned(), |reason| Foreign(reason).to_string());
                Outcome::Verified(Proof { factor, reason, remarks: Some(Box::new(remarks)) })
            }
            Decision::No(remarks) => Outcome::Denied(Denial::Decided { remarks: Box::new(remarks) }),
            Decision::Ask { prompt, state } => {
                let kept = Captured::from([(STATE.to_owned(), Secret::new(state))]);
                Outcome::Ask { prompt, state: facts::keep(Waiting::Asked, &kept)? }
            }
            Decision::Neither => Outcome::Denied(Denial::Undecided),
        })
    }
}

/// What is wanted back where nothing was asked.
fn nothing() -> Captured {
    Captured::from([(STATE.to_owned(), Secret::new("null".to_owned()))])
}

//! What a request says of an action that somebody is to confirm.

use super::fields::{Fields, invalid};
use crate::domain::action::{Act, ActionBinding, ActionPurpose, Claim, Lifetime};
use crate::domain::challenge::ChallengeId;
use crate::domain::fault::Fault;

impl Fields {
    /// What a request of the type `word` asks; `None` where that is no type of request about challenges.
    ///
    /// # Errors
    /// Where a field is missing, has the wrong type, or says what cannot be.
    pub fn act(&mut self, word: &str) -> Result<Option<Act>, Fault> {
        Ok(Some(match word {
            "challenge_request" => {
                Act::Request { purpose: self.purpose()?, binding: self.binding()?, lifetime: self.lifetime()? }
            }
            "challenge_confirm" => Act::Confirm { id: self.challenge()? },
            "challenge_check" => Act::Check(self.claim()?),
            "challenge_use" => Act::Use(self.claim()?),
            _ => return Ok(None),
        }))
    }

    fn claim(&mut self) -> Result<Claim, Fault> {
        Ok(Claim { id: self.challenge()?, purpose: Some(self.purpose()?), binding: self.binding()? })
    }

    fn challenge(&mut self) -> Result<ChallengeId, Fault> {
        self.text("challenge")?.map(ChallengeId).ok_or_else(|| invalid("missing_field", "challenge: is missing"))
    }

    fn purpose(&mut self) -> Result<ActionPurpose, Fault> {
        let text = self.text("purpose")?.ok_or_else(|| invalid("missing_field", "purpose: is missing"))?;
        ActionPurpose::parse(&text).map_err(|flaw| invalid("wrong_value", format!("purpose: {flaw}")))
    }

    fn binding(&mut self) -> Result<ActionBinding, Fault> {
        let text = self.text("binding")?.unwrap_or_default();
        ActionBinding::parse(&text).map_err(|flaw| invalid("wrong_value", format!("binding: {flaw}")))
    }

    fn lifetime(&mut self) -> Result<Option<Lifetime>, Fault> {
        let flaw = || invalid("wrong_value", "lifetime_s: expected a whole number from 1 to 3600");
        self.number("lifetime_s")?.map(|seconds| Lifetime::of_seconds(seconds).ok_or_else(flaw)).transpose()
    }
}

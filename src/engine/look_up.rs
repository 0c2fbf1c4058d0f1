//! What was handed out in place of an authenticator's code: recovery codes, bypass codes and tickets, taken at any prompt.

use data_encoding::HEXLOWER;

use super::story::Story;
use super::{End, Engine};
use crate::domain::authenticator::{Authenticator, Mechanism, Standing};
use crate::domain::challenge::{ChallengeId, Purpose, State};
use crate::domain::outcome::{Denial, Factor, Proof};
use crate::domain::secret::TypedCode;
use crate::otp::look_up::{Code, Scheme};
use crate::secret::keys;
use crate::secret::seal::authenticator_place;
use crate::store::{BYPASS, Counter, Credit, Origin, RECOVERY, Ruling, TICKET};

/// What came of looking up what was typed.
pub enum LookedUp {
    /// It was handed out to the claimant, and is used now.
    Proved(Proof),
    /// It was not, and counts as a failure until something else proves the claimant.
    Charged(Origin),
    /// Nothing that could be looked up was typed, or nothing was handed out.
    Nothing,
}

impl Engine {
    /// Looks up what was typed among what was handed out to the claimant, counted before it is compared.
    pub(super) async fn look_up(&self, story: &Story<'_>, typed: &TypedCode) -> Result<LookedUp, End> {
        // Read as the characters that were meant; wiped when dropped.
        let Some(code) = Code::typed(typed.expose()) else { return Ok(LookedUp::Nothing) };
        let sets = self.handed_out(story, &[RECOVERY, BYPASS]).await?;
        if sets.is_empty() {
            return Ok(LookedUp::Nothing);
        }
        let origin = look_up_origin(story);
        if let Ruling::Wait { wait, by: _ } = self.store.charge(&origin, story.moment.now).await? {
            let wait = wait.as_secs();
            story.aside.tell(format!("too many wrong recovery codes: the next one is looked up in {wait} s"));
            return Ok(LookedUp::Nothing);
        }
        for set in &sets {
            let Some(hash) = self.hash(story, set, &code).await? else { continue };
            let proof = match set.client.as_str() {
                RECOVERY => self.redeem_recovery_code(story, &hash).await?,
                _ => self.redeem_issued(story, set, &hash, Purpose::Bypass).await?.map(|reason| {
                    Proof::new(Factor::BypassCode, format!("a bypass code that an administrator gave out: {reason}"))
                }),
            };
            if let Some(proof) = proof {
                self.store.credit(&origin, Credit::Success).await?;
                self.note("verify", || proof.reason.clone());
                return Ok(LookedUp::Proved(proof));
            }
        }
        self.note("verify", || "no recovery code or bypass code of theirs".into());
        Ok(LookedUp::Charged(origin))
    }

    /// Whether what was typed is a ticket of the claimant; it is used then. Counted before it is compared.
    pub(super) async fn redeem_ticket(&self, story: &Story<'_>, typed: &TypedCode) -> Result<bool, End> {
        let origin = look_up_origin(story);
        if let Ruling::Wait { wait, by } = self.store.charge(&origin, story.moment.now).await? {
            return Err(Denial::Throttled { wait, by }.into());
        }
        // Read as the characters that were meant; wiped when dropped.
        let Some(code) = Code::typed(typed.expose()) else { return Ok(false) };
        for set in self.handed_out(story, &[TICKET]).await? {
            let Some(hash) = self.hash(story, &set, &code).await? else { continue };
            if self.redeem_issued(story, &set, &hash, Purpose::Ticket).await?.is_some() {
                self.store.credit(&origin, Credit::Success).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the claimant has something that is looked up, and is not kept from using it by failures.
    pub(super) async fn can_look_up(&self, story: &Story<'_>) -> Result<bool, End> {
        if self.handed_out(story, &[RECOVERY, BYPASS]).await?.is_empty() {
            return Ok(false);
        }
        Ok(self.store.standing(&look_up_origin(story), story.moment.now).await? == Ruling::Heard)
    }

    /// What was handed out to the claimant of these clients.
    async fn handed_out(&self, story: &Story<'_>, clients: &[&str]) -> Result<Vec<Authenticator>, End> {
        let mut held = self.store.held_by(&story.origin.subscriber).await?;
        held.retain(|known| {
            known.mechanism == Mechanism::LookUp
                && known.standing == Standing::Active
                && clients.contains(&known.client.as_str())
        });
        Ok(held)
    }

    /// The hash of `code` as those of `set` are made; `None` where the set cannot be read, which is logged.
    async fn hash(&self, story: &Story<'_>, set: &Authenticator, code: &Code) -> Result<Option<Vec<u8>>, End> {
        let place = authenticator_place(&set.subscriber, &set.id.0);
        let opened = self.sealer.open(keys::Purpose::Authenticator, &place, &set.sealed);
        let Some(scheme) = opened.ok().and_then(Scheme::read) else {
            story.aside.tell(format!("the codes {} that were handed out cannot be read", set.id.0));
            return Ok(None);
        };
        if !scheme.is_slow() {
            return Ok(Some(scheme.hash(code)));
        }
        // Counted for good, and then out of everybody's way: nobody waits for the store as long as for this.
        self.settle(story).await?;
        let code = code.clone();
        Ok(tokio::task::spawn_blocking(move || scheme.hash(&code)).await.ok())
    }

    async fn redeem_recovery_code(&self, story: &Story<'_>, hash: &[u8]) -> Result<Option<Proof>, End> {
        let (subscriber, now) = (&story.origin.subscriber, story.moment.now);
        let Some(left) = self.store.redeem_recovery_code(subscriber, hash, now).await? else { return Ok(None) };
        if left < self.policy.recovery().warn_below.0 {
            story.aside.tell(format!("{left} recovery codes are left: countersign recovery generate makes new ones"));
        }
        Ok(Some(Proof::new(Factor::RecoveryCode, format!("a recovery code; {left} are left"))))
    }

    /// Why the code with this hash was handed out, where it was, for this purpose, and has uses left; one of them is used
    /// then.
    async fn redeem_issued(
        &self,
        story: &Story<'_>,
        set: &Authenticator,
        hash: &[u8],
        purpose: Purpose,
    ) -> Result<Option<String>, End> {
        let (id, now) = (ChallengeId(HEXLOWER.encode(hash)), story.moment.now);
        let Some(issued) = self.store.challenge(&id, now).await? else { return Ok(None) };
        if issued.purpose != purpose || issued.subscriber != story.origin.subscriber {
            return Ok(None);
        }
        // Only the first callers are told of a use that is left.
        let Some(left) = self.store.try_challenge(&id, now).await? else { return Ok(None) };
        if left == 0 {
            self.store.move_challenge(&id, State::New, State::Used, now).await?;
            self.store.remove(&set.subscriber, &set.id, now, "used up").await?;
        }
        Ok(Some(issued.binding))
    }
}

/// Failures at what is looked up are counted apart: who guesses at codes does not keep recovery codes from being used.
fn look_up_origin(story: &Story<'_>) -> Origin {
    Origin { counter: Counter::LookUp, ..story.origin.clone() }
}

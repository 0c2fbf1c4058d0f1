//! Enrolment at the login: a claimant who has no authenticator is shown a new one, and the first right code of it both enrols
//! and lets them in.

use std::collections::BTreeSet;

use super::admit::Admission;
use super::errand::Errand;
use super::held::{self, Held};
use super::story::{Standing as InPlace, Story};
use super::{End, Engine, own_fault};
use crate::client::{Kept, Offer, Offered, Wired};
use crate::config::policy::Ticket;
use crate::domain::authenticator::Authenticator;
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{ClientState, Denial, Factor, OTP, Outcome, Prompt, Proof};
use crate::domain::verdict::{Basis, Verdict};
use crate::policy::collect;
use crate::policy::mapping::Domains;
use crate::policy::unenrolled::Unenrolled;
use crate::store::{Added, BYPASS, RECOVERY, Rank, Ruling};

/// What is asked for where a ticket is needed.
const TICKET: &str = "You have no authenticator yet. Type your enrolment ticket:";

/// What is asked when a new authenticator was shown.
const PROVE: &str = "Type the code that the app shows:";

impl Engine {
    /// The verdict for a claimant who has no authenticator, where `[policy] unenrolled` has one; `None` where they have,
    /// or are rejected like anybody whose code is wrong.
    pub(super) async fn unenrolled(&self, story: &Story<'_>) -> Result<Option<Verdict>, End> {
        let unenrolled = self.policy.unenrolled;
        // Nobody confirms or steps up by what they get for it.
        if story.errand != Errand::Login || unenrolled == Unenrolled::Reject || !self.is_unenrolled(story).await? {
            return Ok(None);
        }
        match unenrolled {
            Unenrolled::Reject => Ok(None),
            Unenrolled::Accept => {
                let reason = "not enrolled, and [policy] unenrolled says accept".to_owned();
                self.let_in(story, Admission::exempt(Basis::Unenrolled, reason)).await.map(Some)
            }
            Unenrolled::Enrol => self.begin_enrolment(story).await.map(Some),
        }
    }

    async fn is_unenrolled(&self, story: &Story<'_>) -> Result<bool, End> {
        let own = || self.clients.iter().take(self.choosable);
        if own().any(|wired| wired.client.kept() == Kept::There) {
            // Only the service knows.
            return Ok(false);
        }
        let subscriber = &story.origin.subscriber;
        if Subscriber::enrollable(subscriber.as_str()).is_err() {
            return Ok(false);
        }
        let counts = |known: &Authenticator| {
            own().any(|wired| wired.client.section() == known.client) || [RECOVERY, BYPASS].contains(&&*known.client)
        };
        if self.store.held_by(subscriber).await?.iter().any(counts) {
            return Ok(false);
        }
        // Whoever checked the password may have taken the name for another one, whose second factor is not evaded by that.
        let alike = subscriber.alike();
        for other in BTreeSet::from([&*alike, Domains::every().without(&alike)]) {
            let other = Subscriber::canonical(other);
            if other != *subscriber && self.store.held_by(&other).await?.iter().any(counts) {
                story.aside.tell(format!(
                    "not taken for unenrolled, since {} is enrolled: enrol them, or see [policy] ignore_domains",
                    Foreign(other.as_str())
                ));
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn begin_enrolment(&self, story: &Story<'_>) -> Result<Verdict, End> {
        let hindrance = match () {
            () if story.request.session.gateway_user.is_none() => {
                Some("the gateway does not say that it authenticated them (gateway_user)")
            }
            () if !self.can_ask(story.request) => Some("nothing can be asked over this protocol"),
            () if self.offering().is_none() => Some("no client of [plugin] clients can be enrolled with there"),
            () => None,
        };
        if let Some(hindrance) = hindrance {
            story.aside.tell(format!("not enrolled at the login, since {hindrance}"));
            return Err(Denial::NotEnrolled.into());
        }
        self.heard(self.store.standing(&story.origin, story.moment.now).await?)?;
        if self.policy.ticket == Ticket::Needed || self.was_enrolled(story).await? {
            return self.ask_for_ticket(story).await;
        }
        self.offer(story).await
    }

    /// Whether they had an authenticator once: whoever took it away may want them to have none.
    async fn was_enrolled(&self, story: &Story<'_>) -> Result<bool, End> {
        let removed = self.store.tombstones(&story.origin.subscriber).await?;
        Ok(removed.iter().any(|old| self.wired(&old.client).is_some()))
    }

    /// The first client that offers an authenticator to whom has none.
    fn offering(&self) -> Option<&Wired> {
        self.clients.iter().take(self.choosable).find(|wired| wired.client.offers())
    }

    async fn ask_for_ticket(&self, story: &Story<'_>) -> Result<Verdict, End> {
        let prompt = Prompt::new(TICKET, OTP, None);
        let (id, state) = (held::new_id().map_err(own_fault)?, ClientState::new(Vec::new()));
        let held = story.held(id, held::Kind::Ticket, String::new(), prompt, None, state);
        self.ask_held(story, &held).await
    }

    /// Goes on where a ticket was asked for.
    pub(super) async fn resume_ticket(&self, story: &Story<'_>, held: Held) -> Result<Verdict, End> {
        let collect::Step::Verify(ticket) = self.collect(story, &held.prompt.key) else {
            return self.ask(story, &held.prompt, Some(&held.id));
        };
        let is_over =
            !self.is_unenrolled(story).await? || self.store.try_challenge(&held.id, story.moment.now).await?.is_none();
        if is_over {
            return Err(Denial::ChallengeGone.into());
        }
        if !self.redeem_ticket(story, ticket).await? {
            return Err(Denial::WrongTicket.into());
        }
        self.offer(story).await
    }

    /// Shows a new authenticator in a question.
    async fn offer(&self, story: &Story<'_>) -> Result<Verdict, End> {
        let wired = self.offering().ok_or(Denial::NotEnrolled)?;
        let Offer { text, state } = wired.client.offer(&story.attempt()).map_err(own_fault)?;
        let id = held::new_id().map_err(own_fault)?;
        let prompt = Prompt::new(&format!("You have no authenticator yet. {text}\n{PROVE}"), OTP, None);
        // The question itself holds the secret, and is not kept.
        let kept = Prompt::new(PROVE, OTP, None);
        let section = wired.client.section().to_owned();
        let held = story.held(id, held::Kind::Enrolling, section, kept, None, state);
        self.hold(story, &held).await?;
        story.aside.tell("a new authenticator was shown to the claimant".into());
        self.ask(story, &prompt, Some(&held.id))
    }

    /// Goes on where a new authenticator was shown.
    pub(super) async fn resume_enrolment(&self, story: &Story<'_>, held: Held) -> Result<Verdict, End> {
        let wired = self.wired(&held.section).ok_or(Denial::ChallengeGone)?;
        let collect::Step::Verify(code) = self.collect(story, &held.prompt.key) else {
            return self.ask(story, &held.prompt, Some(&held.id));
        };
        let now = story.moment.now;
        if let Ruling::Wait { wait, by } = self.store.charge(&story.origin, now).await? {
            return Err(Denial::Throttled { wait, by }.into());
        }
        let left = self.store.try_challenge(&held.id, now).await?.ok_or(Denial::ChallengeGone)?;
        let authenticator = match wired.client.examine_offer(&story.attempt(), code, &held.state).map_err(own_fault)? {
            Offered::Proved(authenticator) => authenticator,
            Offered::Refused(denial) if left == 0 => return Err(denial.into()),
            Offered::Refused(denial) => {
                let is_early_or_late = matches!(denial, Denial::OutsideWindow { steps: _, seconds: _ });
                let text = match is_early_or_late {
                    true => {
                        "The code is right, but the clock of the app is not. Set it, and type the next code:".into()
                    }
                    false => format!("The code is wrong. {PROVE}"),
                };
                return self.ask(story, &Prompt::new(&text, OTP, None), Some(&held.id));
            }
        };
        match self.store.enrol(&held.id, &authenticator, None, Rank::First, now).await? {
            Added::Yes => {}
            Added::LabelTaken | Added::ChallengeGone | Added::NotFirst => return Err(Denial::ChallengeGone.into()),
        }
        let reason = format!("enrolled at the login as {}, and verified", authenticator.id.0);
        let proof = Proof::new(Factor::Totp, reason);
        self.take_back(&story.origin, &Ok(Outcome::Verified(proof.clone()))).await?;
        self.accept_proved(story, wired, proof, InPlace::Own).await
    }
}

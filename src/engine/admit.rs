//! Letting somebody in: what it rests on, what is remembered of it, and the questions that come after it.

use sha2::{Digest, Sha256};

use super::errand::Errand;
use super::held::{self, Held, Kind};
use super::parcel::{Parcel, Parts};
use super::step_up::Fresh;
use super::story::Story;
use super::{End, Engine, own_fault};
use crate::config::policy::PolicyQuestion;
use crate::domain::challenge::State;
use crate::domain::claimant::{Claimant, MfaIdentity};
use crate::domain::outcome::{ClientState, Denial, Factor, Metadata, Prompt, Proof, Remarks};
use crate::domain::request::Dialogue;
use crate::domain::verdict::{Accept, Basis, Footing, NeedInfo, Question, Verdict};
use crate::policy::source::exact_source;
use crate::secret::cookie::{Cookie, Progress};

/// Why a claimant is let in. There are no other reasons than those that the functions below name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    basis: Basis,
    identity: Option<MfaIdentity>,
    factor: Option<Factor>,
    service: Option<String>,
    footing: Footing,
    reason: String,
    remarks: Option<Box<Remarks>>,
    /// What the cookie will prove to an authorize.
    progress: Progress,
}

impl Admission {
    /// The claimant proved to be the subscriber; `service` verified, where it was not this program.
    pub fn proved(
        identity: MfaIdentity,
        proof: Proof,
        service: Option<String>,
        footing: Footing,
        progress: Progress,
    ) -> Self {
        let Proof { factor, reason, remarks } = proof;
        let (basis, identity, factor) = (Basis::Verified, Some(identity), Some(factor));
        Self { basis, identity, factor, service, footing, reason, remarks, progress }
    }

    /// The service was not reached, and the configuration says accept.
    pub fn open(identity: MfaIdentity, service: String, reason: String) -> Self {
        Self {
            identity: Some(identity),
            service: Some(service),
            footing: Footing::Degraded,
            progress: Progress::AcceptedDegraded,
            ..Self::plain(Basis::Unreachable, reason)
        }
    }

    /// A rule exempts the claimant.
    pub fn exempt(basis: Basis, reason: String) -> Self {
        Self::plain(basis, reason)
    }

    /// The claimant was verified from the same address a moment ago.
    pub fn cached() -> Self {
        Self::plain(Basis::Cached, "verified from this address a moment ago ([authentication_cache])".into())
    }

    /// The session may go on to its target.
    pub fn authorized(footing: Footing, reason: String) -> Self {
        Self { footing, ..Self::plain(Basis::Authorized, reason) }
    }

    /// The same, and `service` agrees.
    pub fn agreed(self, service: String, proof: Proof) -> Self {
        let Proof { factor: _, reason, remarks } = proof;
        Self { service: Some(service), reason, remarks, ..self }
    }

    /// The same, after a fresh proof.
    pub fn stepped_up(self, fresh: Fresh) -> Self {
        let Fresh { factor, service, footing, reason, progress } = fresh;
        let footing = if self.footing == Footing::Degraded { self.footing } else { footing };
        let reason = format!("{}, and gave a fresh proof: {reason}", self.reason);
        Self { factor, service, footing, reason, progress, ..self }
    }

    /// The claimant confirmed an action.
    pub fn permit(reason: String) -> Self {
        Self::plain(Basis::Permit, reason)
    }

    /// Nobody is kept out yet, whatever was decided; `remarks` are those of an accept.
    pub fn shadow(reason: String, remarks: Option<Box<Remarks>>) -> Self {
        Self { remarks, ..Self::plain(Basis::Shadow, reason) }
    }

    /// Nothing is let in: the session is over.
    pub fn ended() -> Self {
        Self::plain(Basis::Ended, "the session ended".into())
    }

    fn plain(basis: Basis, reason: String) -> Self {
        let (footing, progress) = (Footing::Full, Progress::Exempt);
        Self { basis, identity: None, factor: None, service: None, footing, reason, remarks: None, progress }
    }

    /// Whether it is a verification that may count for a while: nothing that rests on a rule, on an absence, or on a
    /// service that lets somebody in unseen.
    fn is_verification(&self) -> bool {
        let is_seen = match self.factor {
            Some(Factor::Totp | Factor::Hotp | Factor::Otp | Factor::SentCode | Factor::Push | Factor::DeviceFlow) => {
                true
            }
            // What was handed out says nothing of the next login.
            Some(Factor::RecoveryCode | Factor::BypassCode | Factor::Bypass | Factor::Fixed) | None => false,
        };
        self.basis == Basis::Verified && self.footing == Footing::Full && is_seen
    }

    /// Whether the claimant proved something, now.
    pub const fn is_proof(&self) -> bool {
        match self.factor {
            Some(
                Factor::Totp
                | Factor::Hotp
                | Factor::Otp
                | Factor::SentCode
                | Factor::Push
                | Factor::DeviceFlow
                | Factor::RecoveryCode
                | Factor::BypassCode
                // Only where `[debug] allow_insecure` says so: whoever tries things out can try this out.
                | Factor::Fixed,
            ) => true,
            Some(Factor::Bypass) | None => false,
        }
    }

    /// As whom the gateway knows the claimant from here on.
    fn known_as<'a>(&'a self, claimant: &'a Claimant) -> &'a Claimant {
        self.remarks.as_ref().and_then(|remarks| remarks.gateway_user.as_ref()).unwrap_or(claimant)
    }

    /// The one place where an accept is made.
    pub fn accept(self, claimant: Option<Claimant>, cookie: Option<String>) -> Verdict {
        let Self { basis, identity, factor, service, footing, reason, remarks, progress: _ } = self;
        Verdict::Accept(Accept { claimant, identity, basis, factor, service, footing, reason, remarks, cookie })
    }

    /// For the store, where it waits for the questions to be answered.
    fn pack(&self) -> ClientState {
        let Self { basis, identity, factor, service, footing, reason, remarks, progress } = self;
        let mut parcel = Parcel::default();
        parcel.put(basis.word());
        parcel.put_option(identity.as_ref().map(|identity| identity.0.as_str()));
        parcel.put_option(factor.map(|factor| factor.word()));
        parcel.put_option(service.as_deref());
        parcel.put_option((*footing == Footing::Degraded).then_some("degraded"));
        parcel.put(reason);
        parcel.put(char::from(progress.number()).encode_utf8(&mut [0; 4]));
        if let Some(remarks) = remarks {
            let Remarks { reason, message, metadata, gateway_user, gateway_groups, session_cookie } = &**remarks;
            parcel.put_option(reason.as_deref());
            parcel.put_option(message.as_deref());
            let (text, json) = match metadata {
                Some(Metadata::Text(text)) => (Some(text), None),
                Some(Metadata::Json(json)) => (None, Some(json)),
                None => (None, None),
            };
            parcel.put_option(text.map(String::as_str));
            parcel.put_option(json.map(String::as_str));
            parcel.put_option(gateway_user.as_ref().map(|user| user.0.as_str()));
            gateway_groups.iter().for_each(|group| parcel.put(group));
            // Behind the last group.
            parcel.put_option(None);
            for (key, value) in session_cookie {
                parcel.put(key);
                parcel.put(value);
            }
        }
        ClientState::new(parcel.into_bytes())
    }

    fn unpack(bytes: &[u8]) -> Option<Self> {
        let mut parts = Parts(bytes);
        let basis = Basis::named(parts.take()?)?;
        let identity = parts.take_option()?.map(|name| MfaIdentity(name.into()));
        let factor = match parts.take_option()? {
            Some(word) => Some(Factor::named(word)?),
            None => None,
        };
        let service = parts.take_option()?.map(Into::into);
        let footing = parts.take_option()?.map_or(Footing::Full, |_degraded| Footing::Degraded);
        let reason = parts.take()?.to_owned();
        let progress = Progress::numbered(*parts.take()?.as_bytes().first()?)?;
        let remarks = match parts.take_option() {
            None => None,
            Some(reason) => Some(Box::new(Remarks {
                reason: reason.map(Into::into),
                message: parts.take_option()?.map(Into::into),
                metadata: match (parts.take_option()?, parts.take_option()?) {
                    (Some(text), _) => Some(Metadata::Text(text.into())),
                    (None, json) => json.map(|json| Metadata::Json(json.into())),
                },
                gateway_user: parts.take_option()?.map(|user| Claimant(user.into())),
                gateway_groups: std::iter::from_fn(|| parts.take().map(Into::into)).collect(),
                session_cookie: std::iter::from_fn(|| Some((parts.take()?.into(), parts.take()?.into()))).collect(),
            })),
        };
        Some(Self { basis, identity, factor, service, footing, reason, remarks, progress })
    }
}

impl Engine {
    /// Remembers a verification, and puts the questions that come after it.
    pub(super) async fn let_in(&self, story: &Story<'_>, admission: Admission) -> Result<Verdict, End> {
        if !story.errand.may_go_unproved() && !admission.is_proof() {
            return Err(Denial::Unproved.into());
        }
        match &story.errand {
            Errand::Login => {}
            Errand::Action { id, purpose: _ } => return self.confirmed(story, id, admission).await,
            // Nothing is said by it: the authorize goes on.
            Errand::StepUp { target: _, by: _ } => return Ok(admission.accept(Some(story.claimant.clone()), None)),
        }
        if let Some(rule) = self.policy.cache.filter(|_| admission.is_verification()) {
            let expires = story.moment.now.plus(rule.hard.div_ceil(1000).saturating_add(1));
            let now = story.moment.unix_millis();
            if let Some(key) = self.cache_key(story) {
                self.store.remember_verification(&key, &story.origin.subscriber, now, expires).await?;
            }
        }
        self.put_questions(story, admission, None).await
    }

    /// Goes on with the questions where `held` waits for an answer.
    pub(super) async fn answered(&self, story: &Story<'_>, held: Held) -> Result<Verdict, End> {
        // Sealed by `put_questions`, and decided upon here.
        let admission = Admission::unpack(held.state.expose()).ok_or(Denial::ChallengeGone)?;
        self.put_questions(story, admission, Some(held)).await
    }

    /// The question that nobody can answer where the gateway takes yes or no: no code is used, and no phone rings, for that.
    pub(super) fn unanswerable(&self, story: &Story<'_>) -> Option<Verdict> {
        let answers = &story.request.answers;
        let mut open = self.policy.questions.iter().filter(|question| answers.answer(&question.key).is_none());
        let PolicyQuestion { key, prompt, echo } =
            open.next().filter(|_| story.request.dialogue == Dialogue::Closed)?;
        self.note("questions", || "there is one, and the gateway cannot put it".into());
        let question = Question { key: key.clone(), prompt: prompt.clone(), echo: *echo };
        Some(Verdict::NeedInfo(NeedInfo { question, cookie: None }))
    }

    /// Puts the first question that is not answered; accepts where there is none.
    async fn put_questions(&self, story: &Story<'_>, admission: Admission, held: Option<Held>) -> Result<Verdict, End> {
        let questions = &self.policy.questions;
        let mut answered = story.cookie.filter(|_| held.is_some()).map_or(0, |cookie| cookie.answered);
        while let Some(question) = questions.get(usize::from(answered)) {
            let PolicyQuestion { key, prompt, echo } = question;
            let Some(answer) = story.request.answers.answer(key) else {
                self.note("questions", || format!("[question_{}] is put", answered + 1));
                let prompt = Prompt::new(prompt, key, Some(*echo));
                story.aside.session_cookie.borrow_mut().questions.get_or_insert_default();
                return self.put(story, admission, prompt, answered, held).await;
            };
            let mut shared = story.aside.session_cookie.borrow_mut();
            // In clear on purpose: other plugins of the session are to see it. Nothing but such answers goes there.
            shared.questions.get_or_insert_default().insert(key.clone(), answer.expose().clone());
            answered += 1;
        }
        if let Some(held) = held
            && !held::finish(&*self.store, &held, State::Used, story.moment.now).await.map_err(own_fault)?
        {
            return Err(Denial::ChallengeGone.into());
        }
        if let Some(remarks) = &admission.remarks {
            story.aside.share(&remarks.session_cookie);
        }
        let cookie = Cookie { answered, ..self.new_cookie(admission.progress, story) };
        let cookie = self.seal(cookie, story.session(), admission.known_as(&story.claimant), &story.errand)?;
        Ok(admission.accept(Some(story.claimant.clone()), Some(cookie)))
    }

    /// Asks a question behind `answered` others, and keeps what it is that waits for the answer.
    async fn put(
        &self,
        story: &Story<'_>,
        admission: Admission,
        prompt: Prompt,
        answered: u8,
        held: Option<Held>,
    ) -> Result<Verdict, End> {
        let id = match held {
            Some(held) => held.id,
            None => {
                let id = held::new_id().map_err(own_fault)?;
                let (kind, section, state) = (Kind::Verified, String::new(), admission.pack());
                let held = story.held(id, kind, section, prompt.clone(), None, state);
                self.hold(story, &held).await?;
                held.id
            }
        };
        let cookie = Cookie { answered, handle: held::handle(&id), ..self.new_cookie(Progress::Asked, story) };
        self.ask_with(story, &prompt, cookie)
    }

    /// Under what a verification of the story's claimant is remembered: the name as the gateway says it, the address, and
    /// what the configuration says. `None` where the gateway says no address: nobody knows then where anybody is.
    pub(super) fn cache_key(&self, story: &Story<'_>) -> Option<[u8; 32]> {
        let source = exact_source(story.request.session.client_ip.as_deref()?);
        let mut hash = Sha256::new();
        for part in [story.claimant.0.as_bytes(), source.as_bytes(), &self.configuration] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        Some(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_waits_for_an_answer_is_let_in_as_it_was_decided() {
        let remarks = Remarks {
            reason: None,
            message: Some("m".into()),
            metadata: Some(Metadata::Json("{}".into())),
            gateway_user: Some(Claimant("bob".into())),
            gateway_groups: vec!["g".into(), String::new()],
            session_cookie: BTreeMap::from([("a".into(), "[1]".into()), ("b".into(), "2".into())]),
        };
        let identity = MfaIdentity("alice".into());
        let proof = Proof { remarks: Some(Box::new(remarks)), ..Proof::new(Factor::Otp, "r") };
        let progress = Progress::AcceptedRemotely;
        for admission in [
            Admission::proved(identity.clone(), proof, Some("http acme".into()), Footing::Degraded, progress),
            Admission::proved(identity.clone(), Proof::new(Factor::Totp, ""), None, Footing::Full, Progress::Accepted),
            Admission::open(identity, "duo".into(), "r".into()),
            Admission::exempt(Basis::UserList, "list".into()),
            Admission::cached(),
        ] {
            let packed = admission.pack();
            let packed = packed.expose();
            assert_eq!(Admission::unpack(packed).as_ref(), Some(&admission));
            assert!((0..packed.len()).all(|end| Admission::unpack(&packed[..end]).as_ref() != Some(&admission)));
        }
        assert_eq!(Admission::unpack(b""), None);
    }
}

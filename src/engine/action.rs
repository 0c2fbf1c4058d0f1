//! Actions of other programs that a person confirms: a challenge is requested, confirmed by the person's second factor, and
//! then used once.

use super::admit::Admission;
use super::errand::Errand;
use super::parcel::{Parcel, Parts};
use super::story::Story;
use super::{End, Engine, held, own_fault};
use crate::client::{Asks, Codes};
use crate::domain::action::{Act, ActionBinding, ActionPurpose, Claim, Lifetime, Told, Unusable};
use crate::domain::challenge::{Challenge, ChallengeId, Purpose, State};
use crate::domain::claimant::{MfaIdentity, Subscriber};
use crate::domain::outcome::{Denial, OTP, Prompt};
use crate::domain::secret::SecretBytes;
use crate::domain::time::UnixTime;
use crate::domain::verdict::{NeedInfo, Question, Verdict};
use crate::secret::keys;
use crate::secret::seal::{SealError, Sealer};

/// What binds the challenges of actions; what they are really bound to is sealed.
const BINDING: &str = "action";

/// An action that somebody is to confirm.
#[derive(Debug)]
pub struct Action {
    pub challenge: Challenge,
    pub purpose: ActionPurpose,
    binding: ActionBinding,
    /// Under which name the claimant is verified.
    identity: MfaIdentity,
    /// What went wrong on the way to that name.
    trouble: Option<String>,
}

impl Action {
    /// The action that `challenge` is about; `None` where it is about something else, or cannot be read.
    ///
    /// # Errors
    /// Where what is sealed in it does not open.
    pub fn open(challenge: Challenge, sealer: &Sealer) -> Result<Option<Self>, SealError> {
        if challenge.purpose != Purpose::Action || challenge.binding != BINDING {
            return Ok(None);
        }
        let place = place(&challenge.subscriber, &challenge.id);
        let plain = sealer.open(keys::Purpose::Challenge, &place, &challenge.sealed)?;
        // Names, and what a program wants confirmed; taken apart here.
        let mut parts = Parts(plain.expose());
        let (Some(identity), Some(trouble), Some(purpose), Some(binding)) =
            (parts.take(), parts.take_option(), parts.take(), parts.take())
        else {
            return Ok(None);
        };
        let (Ok(purpose), Ok(binding)) = (ActionPurpose::parse(purpose), ActionBinding::parse(binding)) else {
            return Ok(None);
        };
        let (identity, trouble) = (MfaIdentity(identity.into()), trouble.map(Into::into));
        Ok(Some(Self { challenge, purpose, binding, identity, trouble }))
    }

    /// Where it stands: one that can be answered no more has failed.
    pub fn state(&self) -> State {
        let state = self.challenge.state;
        if unusable(state) == Some(Unusable::Open) && self.challenge.tries_left == 0 { State::Failed } else { state }
    }

    /// What is told of it at `now`.
    pub fn told(&self, now: UnixTime) -> Told {
        let (id, state, purpose) = (self.challenge.id.clone(), self.state(), self.purpose.clone());
        let expires = if state.is_final() { 0 } else { self.challenge.expires.since(now) };
        Told { id, state, purpose, expires }
    }

    fn seal(&self, sealer: &Sealer) -> Result<Vec<u8>, SealError> {
        let mut parcel = Parcel::default();
        parcel.put(&self.identity.0);
        parcel.put_option(self.trouble.as_deref());
        parcel.put(self.purpose.as_str());
        parcel.put(self.binding.as_str());
        let plain = SecretBytes::new(parcel.into_bytes());
        // Sealed at once.
        sealer.seal(keys::Purpose::Challenge, &place(&self.challenge.subscriber, &self.challenge.id), plain.expose())
    }
}

impl Engine {
    /// What a program asks about an action of the story's claimant.
    pub(super) async fn act(&self, story: Story<'_>, act: &Act) -> Result<Verdict, End> {
        match act {
            Act::Request { purpose, binding, lifetime } => {
                self.request_action(story, purpose.clone(), binding.clone(), *lifetime).await
            }
            Act::Confirm { id } => self.confirm_action(story, id).await,
            Act::Check(claim) => {
                self.claimed(&story, claim).await?;
                let reason = "the challenge is confirmed, and not used yet";
                Ok(Admission::permit(reason.into()).accept(Some(story.claimant), None))
            }
            Act::Use(claim) => self.use_action(story, claim).await,
        }
    }

    async fn request_action(
        &self,
        story: Story<'_>,
        purpose: ActionPurpose,
        binding: ActionBinding,
        lifetime: Option<Lifetime>,
    ) -> Result<Verdict, End> {
        let now = story.moment.now;
        let identity = self.identity(&story).await?;
        let story = story.named(identity.clone());
        self.may_be_asked(&story).await?;
        let (first, story) = self.first_choice(story).await?;
        let is_typed = first.client.codes() == Codes::Able && first.client.asks() == Asks::Typed;
        let id = held::new_id().map_err(own_fault)?;
        let options = self.enrolment.challenge();
        let lifetime = lifetime.map_or(options.action_lifetime.0, Lifetime::seconds);
        let challenge = Challenge {
            id: id.clone(),
            subscriber: story.owner().subscriber.clone(),
            purpose: Purpose::Action,
            binding: BINDING.into(),
            sealed: Vec::new(),
            state: State::New,
            created: now,
            expires: now.plus(lifetime),
            tries_left: options.tries.0,
        };
        let trouble = story.trouble();
        let mut action = Action { challenge, purpose, binding, identity, trouble };
        action.challenge.sealed = action.seal(&self.sealer)?;
        self.store.open_challenge(&action.challenge).await?;
        self.tell_of(&story, &action);
        let errand = Errand::Action { id, purpose: action.purpose };
        let prompt = errand.question(if is_typed { &self.auth.prompt } else { "press Enter:" });
        let Prompt { text: prompt, key: _, echo: _, session_cookie: _ } = Prompt::from(prompt);
        let question = Question { key: OTP.into(), prompt, echo: self.auth.disable_echo };
        // What is to be kept lies in the challenge: there is no cookie.
        Ok(Verdict::NeedInfo(NeedInfo { question, cookie: None }))
    }

    /// The second factor, as in a login; but neither a rule nor an earlier verification stands in for it.
    async fn confirm_action(&self, story: Story<'_>, id: &ChallengeId) -> Result<Verdict, End> {
        let action = self.action(&story, id).await?;
        // The last try may be a question that waits for its answer, or a push.
        let state = match story.cookie.and_then(|cookie| cookie.handle) {
            Some(_) => action.challenge.state,
            None => action.state(),
        };
        match unusable(state) {
            Some(Unusable::Open) => {}
            Some(why) => return Err(Denial::NoPermit(why).into()),
            None => return Err(Denial::NoPermit(Unusable::Confirmed).into()),
        }
        let Action { challenge, purpose, binding: _, identity, trouble } = action;
        let id = challenge.id;
        trouble.into_iter().for_each(|trouble| story.aside.tell(trouble));
        let aside = story.aside;
        let (claimant, now) = (story.owner().subscriber.clone(), story.moment.now);
        let mut story = story.named(identity).on(Errand::Action { id: id.clone(), purpose });
        story.numbers = self.numbers(story.request);
        let verdict = match story.cookie.and_then(|cookie| cookie.handle) {
            Some(_) => self.resume(story).await,
            None => self.second_factor(story, None).await,
        };
        if let Err(End::Denied(_, _)) = &verdict
            && let Some(action) = self.find_action(&claimant, &id, now).await?
        {
            if action.state() == State::Failed {
                self.store.move_challenge(&id, State::New, State::Failed, now).await?;
            }
            *aside.challenge.borrow_mut() = Some(action.told(now));
        }
        verdict
    }

    /// The accept that a proof for an action is.
    pub(super) async fn confirmed(
        &self,
        story: &Story<'_>,
        id: &ChallengeId,
        admission: Admission,
    ) -> Result<Verdict, End> {
        let now = story.moment.now;
        let is_first = self.store.move_challenge(id, State::New, State::Confirmed, now).await?;
        let action = self.action(story, id).await?;
        if is_first {
            self.note("challenge", || "is confirmed; it can be used once".into());
            return Ok(admission.accept(Some(story.claimant.clone()), None));
        }
        // Somebody else was faster, or it took too long.
        Err(Denial::NoPermit(unusable(action.state()).unwrap_or(Unusable::Confirmed)).into())
    }

    async fn use_action(&self, story: Story<'_>, claim: &Claim) -> Result<Verdict, End> {
        self.claimed(&story, claim).await?;
        let now = story.moment.now;
        let is_first = self.store.move_challenge(&claim.id, State::Confirmed, State::Used, now).await?;
        let action = self.action(&story, &claim.id).await?;
        if !is_first {
            return Err(Denial::NoPermit(unusable(action.state()).unwrap_or(Unusable::Used)).into());
        }
        Ok(Admission::permit("the challenge was confirmed; it is used now".into()).accept(Some(story.claimant), None))
    }

    /// Whether what is claimed is so now.
    async fn claimed(&self, story: &Story<'_>, claim: &Claim) -> Result<(), End> {
        let Claim { id, purpose, binding } = claim;
        let Some(action) = self.find_action(story.owner().subscriber, id, story.moment.now).await? else {
            return Err(Denial::NoPermit(Unusable::Unknown).into());
        };
        if purpose.as_ref().is_some_and(|purpose| *purpose != action.purpose) || *binding != action.binding {
            self.note("challenge", || "it was requested for another purpose or with another binding".into());
            // To whoever asks, as if there were none.
            return Err(Denial::NoPermit(Unusable::Unknown).into());
        }
        self.tell_of(story, &action);
        match unusable(action.state()) {
            Some(why) => Err(Denial::NoPermit(why).into()),
            None => Ok(()),
        }
    }

    /// The story's claimant's action `id`, which is told of beside the verdict.
    async fn action(&self, story: &Story<'_>, id: &ChallengeId) -> Result<Action, End> {
        let found = self.find_action(story.owner().subscriber, id, story.moment.now).await?;
        let action = found.ok_or(Denial::NoPermit(Unusable::Unknown))?;
        self.tell_of(story, &action);
        Ok(action)
    }

    async fn find_action(&self, owner: &Subscriber, id: &ChallengeId, now: UnixTime) -> Result<Option<Action>, End> {
        match self.store.challenge(id, now).await?.filter(|challenge| challenge.subscriber == *owner) {
            Some(challenge) => Ok(Action::open(challenge, &self.sealer)?),
            None => Ok(None),
        }
    }

    fn tell_of(&self, story: &Story<'_>, action: &Action) {
        let told = action.told(story.moment.now);
        self.note("challenge", || format!("{}: to confirm {}", told.state.word(), told.purpose.as_str()));
        *story.aside.challenge.borrow_mut() = Some(told);
    }
}

/// Why a challenge in this state gives no permit; `None` where it does.
const fn unusable(state: State) -> Option<Unusable> {
    match state {
        State::New | State::InProcess => Some(Unusable::Open),
        State::Confirmed => None,
        State::Used => Some(Unusable::Used),
        State::Failed => Some(Unusable::Failed),
        State::Expired => Some(Unusable::Expired),
        State::Cancelled => Some(Unusable::Cancelled),
    }
}

fn place<'a>(subscriber: &'a Subscriber, id: &'a ChallengeId) -> [&'a [u8]; 3] {
    [b"action", subscriber.as_str().as_bytes(), id.0.as_bytes()]
}

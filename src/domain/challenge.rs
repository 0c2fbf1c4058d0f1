//! Something that was asked and waits to be proved: a login, an enrolment, a change, a step-up, or an action of another
//! program.

use super::claimant::Subscriber;
use super::time::UnixTime;

/// Names one challenge: 128 random bits, in the store's text form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChallengeId(pub String);

/// What a proof of the challenge will be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Login,
    Enrol,
    Change,
    Remove,
    StepUp,
    /// A code that was handed out stands in for an authenticator.
    Bypass,
    /// A code that was handed out allows an enrolment.
    Ticket,
    /// Whatever another program wants confirmed.
    Action,
}

impl Purpose {
    /// Every purpose there is.
    pub const ALL: [Self; 8] =
        [Self::Login, Self::Enrol, Self::Change, Self::Remove, Self::StepUp, Self::Bypass, Self::Ticket, Self::Action];

    /// The word in the store.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Enrol => "enrol",
            Self::Change => "change",
            Self::Remove => "remove",
            Self::StepUp => "step_up",
            Self::Bypass => "bypass",
            Self::Ticket => "ticket",
            Self::Action => "action",
        }
    }
}

/// Where a challenge stands. The last four are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked, not answered.
    New,
    /// Handed to somebody else, such as a phone; not answered.
    InProcess,
    /// Proved; waits to be used, once.
    Confirmed,
    Used,
    Failed,
    Expired,
    Cancelled,
}

impl State {
    /// Every state there is.
    pub const ALL: [Self; 7] =
        [Self::New, Self::InProcess, Self::Confirmed, Self::Used, Self::Failed, Self::Expired, Self::Cancelled];

    /// The word in the store.
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::InProcess => "in_process",
            Self::Confirmed => "confirmed",
            Self::Used => "used",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more can happen to a challenge in this state.
    pub const fn is_final(self) -> bool {
        match self {
            Self::New | Self::InProcess | Self::Confirmed => false,
            Self::Used | Self::Failed | Self::Expired | Self::Cancelled => true,
        }
    }
}

/// One challenge.
#[derive(Clone, Debug)]
pub struct Challenge {
    pub id: ChallengeId,
    pub subscriber: Subscriber,
    pub purpose: Purpose,
    /// What the challenge is bound to: session, source and the authenticator's fingerprint, as its opener joined them.
    pub binding: String,
    /// Sealed data of whoever opened it, such as the secret that is being enrolled.
    pub sealed: Vec<u8>,
    pub state: State,
    pub created: UnixTime,
    pub expires: UnixTime,
    pub tries_left: u32,
}

//! What a client found out: verified, denied for a reason, or something more to ask.

use std::collections::BTreeMap;
use std::time::Duration;

use super::action::Unusable;
use super::claimant::Claimant;
use super::fault::Class;
use super::foreign::Foreign;
use super::secret::SecretBytes;
use super::verdict::Echo;

/// Which kind of proof was given; on the wire as `factor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// A time-based one-time password, verified here.
    Totp,
    /// A counter-based one-time password, verified here.
    Hotp,
    /// A recovery code.
    RecoveryCode,
    /// A code that an administrator handed out in place of an authenticator.
    BypassCode,
    /// Something typed, verified by a service.
    Otp,
    /// A code that was sent to the subscriber, and verified here.
    SentCode,
    /// An approval on the subscriber's device.
    Push,
    /// A sign-in of the subscriber with another device (RFC 8628).
    DeviceFlow,
    /// None: the service lets this subscriber in without, and the configuration agrees.
    Bypass,
    /// A code that never changes, for tests.
    Fixed,
}

impl Factor {
    /// The factor of that word.
    pub fn named(word: &str) -> Option<Self> {
        let all = [
            Self::Totp,
            Self::Hotp,
            Self::RecoveryCode,
            Self::BypassCode,
            Self::Otp,
            Self::SentCode,
            Self::Push,
            Self::DeviceFlow,
            Self::Bypass,
            Self::Fixed,
        ];
        all.into_iter().find(|factor| factor.word() == word)
    }

    /// The word on the wire and in the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Hotp => "hotp",
            Self::RecoveryCode => "recovery_code",
            Self::BypassCode => "bypass_code",
            Self::Otp => "otp",
            Self::SentCode => "sent_code",
            Self::Push => "push",
            Self::DeviceFlow => "device_flow",
            Self::Bypass => "bypass",
            Self::Fixed => "fixed",
        }
    }
}

/// What a client wants back with the next answer: sealed in the store meanwhile. At most [`STATE_LIMIT`] bytes.
pub type ClientState = SecretBytes;

/// The largest [`ClientState`], in bytes.
pub const STATE_LIMIT: usize = 8192;

/// What a client says of an attempt.
#[derive(Debug)]
pub enum Outcome {
    /// The claimant proved to be the subscriber. The one outcome from which an accept can be made.
    Verified(Proof),
    /// The claimant did not, and why.
    Denied(Denial),
    /// One more thing to type; `state` comes back with it.
    Ask { prompt: Prompt, state: ClientState },
    /// Something was sent to the subscriber's device, and waits there. `show` is what the claimant must see meanwhile,
    /// such as a number to match; `state` comes back when the answer is waited for.
    Pushed { show: Option<String>, state: ClientState },
}

/// What a client wants the claimant to type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The question, as it is shown. May hold text of a service.
    pub text: String,
    /// Under which key of `key_value_pairs` the answer comes back.
    pub key: String,
    /// Whether what is typed is shown; `None` as `[auth] disable_echo` says.
    pub echo: Option<Echo>,
    /// What goes into the session cookie with it, beside what is there: JSON by key.
    pub session_cookie: BTreeMap<String, String>,
}

impl Prompt {
    /// A question in our own words: what is typed stands one space behind it.
    pub fn new(text: &str, key: &str, echo: Option<Echo>) -> Self {
        let text = format!("{} ", text.trim_end());
        Self { text, key: key.to_owned(), echo, session_cookie: BTreeMap::new() }
    }
}

impl From<String> for Prompt {
    /// The question for a code.
    fn from(text: String) -> Self {
        Self::new(&text, OTP, None)
    }
}

/// The key of `key_value_pairs` under which a code comes.
pub const OTP: &str = "otp";

/// What was proved, for the verdict and the log.
#[derive(Clone, Debug)]
pub struct Proof {
    pub factor: Factor,
    /// For the operator: by which authenticator, at what offset.
    pub reason: String,
    /// What a service that answers in verdicts has to say beside its yes.
    pub remarks: Option<Box<Remarks>>,
}

impl Proof {
    /// A proof by `factor`.
    pub fn new(factor: Factor, reason: impl Into<String>) -> Self {
        Self { factor, reason: reason.into(), remarks: None }
    }
}

/// What a gateway that keeps something of each verdict is to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// As it is.
    Text(String),
    /// JSON, as the service wrote it; written as the gateway reads it.
    Json(String),
}

/// What a service that answers in verdicts says beside yes or no: handed on as it is, and nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Why, where it says so.
    pub reason: Option<String>,
    /// What the claimant is told, where it says so.
    pub message: Option<String>,
    /// What the gateway is to keep of it in place of the reason.
    pub metadata: Option<Metadata>,
    /// As whom the gateway is to know the claimant from here on, and the groups of that user.
    pub gateway_user: Option<Claimant>,
    pub gateway_groups: Vec<String>,
    /// What goes into the session cookie beside what is there: JSON by key.
    pub session_cookie: BTreeMap<String, String>,
}

/// Why a claimant is not let in. A value, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No request field names anybody.
    NoClaimant,
    /// Nobody of that name is enrolled with the client.
    NotEnrolled,
    /// The code belongs to no time step near now.
    WrongCode,
    /// What was typed is no enrolment ticket of the claimant.
    WrongTicket,
    /// What was typed cannot be a code.
    MalformedCode { expected: String },
    /// The code is right for time steps outside the window: the clocks differ, or it is an old code.
    OutsideWindow { steps: i64, seconds: i64 },
    /// The code, or a newer one, was used before.
    UsedCode { step: u64, last: u64 },
    /// Only a push could be meant, and the client cannot push.
    CodeRequired,
    /// Too many failures; nothing was verified.
    Throttled { wait: Duration, by: Limit },
    /// No proof that this session was authenticated came with an authorize.
    NotAuthenticated,
    /// The gateway took the request back.
    Cancelled,
    /// A service said no.
    Refused { why: Refusal, said: String },
    /// No push is sent over this protocol, or to anybody who cannot be shown the number that belongs to it.
    PushOff { reason: &'static str },
    /// A push of another session of the subscriber is waiting for its answer.
    PushOutstanding,
    /// The subscriber said of a push that it was not theirs; none is sent for a while.
    PushBlocked { wait: Duration },
    /// A one-time password of the same session was accepted in place of the push.
    Superseded,
    /// What the answer belongs to is over, used, or not of this session.
    ChallengeGone,
    /// The challenge that a program asked about gives no permit.
    NoPermit(Unusable),
    /// The service lets this subscriber in without a proof, and one is wanted.
    Unproved,
    /// A service that answers in verdicts said no.
    Decided { remarks: Box<Remarks> },
    /// A service that answers in verdicts gave none.
    Undecided,
    /// The subscriber has as many sessions from this address as `[connection_limit]` allows.
    TooManySessions { limit: i64 },
    /// A connection limit is configured, and the request does not say what it counts by.
    Uncounted { missing: &'static str },
}

/// How a service said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    WrongCode,
    UsedCode,
    /// What was typed cannot be a code of this service; it was not asked.
    MalformedCode,
    /// The name cannot be one that the service knows; it was not asked.
    MalformedName,
    /// The service does not know the subscriber.
    NotEnrolled,
    /// The subscriber, or what they hold, is locked, disabled, revoked or not valid now.
    Locked,
    /// The subscriber holds nothing that could be asked for what was wanted.
    NoDevice,
    /// The subscriber refused on the device.
    PushRefused,
    /// The subscriber refused, and said that somebody else asked.
    PushReported,
    /// Nobody answered in time.
    PushUnanswered,
    /// Somebody answered, but not the subscriber.
    OtherUser,
    /// A rule of the service.
    ServicePolicy,
}

impl Refusal {
    /// The machine-readable cause on the wire.
    pub const fn code(self) -> &'static str {
        match self {
            Self::WrongCode => "wrong_code",
            Self::UsedCode => "used_code",
            Self::MalformedCode => "malformed_code",
            Self::MalformedName => "malformed_name",
            Self::NotEnrolled => "not_enrolled",
            Self::Locked => "locked",
            Self::NoDevice => "no_device",
            Self::PushRefused => "push_refused",
            Self::PushReported => "push_reported",
            Self::PushUnanswered => "push_unanswered",
            Self::OtherUser => "other_user",
            Self::ServicePolicy => "service_policy",
        }
    }
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Subscriber,
    Source,
}

impl Denial {
    /// A service's no; `said` is for the operator, and may hold text of the service.
    pub fn refused(why: Refusal, said: &str) -> Self {
        Self::Refused { why, said: Foreign(said).to_string() }
    }

    /// The class on the wire.
    pub const fn class(&self) -> Class {
        match self {
            Self::NoClaimant
            | Self::NotAuthenticated
            | Self::Cancelled
            | Self::PushOff { reason: _ }
            | Self::Superseded
            | Self::TooManySessions { limit: _ }
            | Self::Uncounted { missing: _ }
            | Self::NoPermit(
                Unusable::Unknown
                | Unusable::Open
                | Unusable::Confirmed
                | Unusable::Used
                | Unusable::Expired
                | Unusable::Cancelled,
            ) => Class::PolicyDenied,
            Self::NotEnrolled
            | Self::WrongCode
            | Self::WrongTicket
            | Self::MalformedCode { expected: _ }
            | Self::OutsideWindow { steps: _, seconds: _ }
            | Self::UsedCode { step: _, last: _ }
            | Self::CodeRequired
            | Self::Throttled { wait: _, by: _ }
            | Self::Refused { why: _, said: _ }
            | Self::PushOutstanding
            | Self::PushBlocked { wait: _ }
            | Self::ChallengeGone
            | Self::NoPermit(Unusable::Failed)
            | Self::Unproved
            | Self::Decided { remarks: _ }
            | Self::Undecided => Class::AuthenticationFailure,
        }
    }

    /// The machine-readable cause on the wire.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoClaimant => "no_claimant",
            Self::NotEnrolled => "not_enrolled",
            Self::WrongCode => "wrong_code",
            Self::WrongTicket => "wrong_ticket",
            Self::MalformedCode { expected: _ } => "malformed_code",
            Self::OutsideWindow { steps: _, seconds: _ } => "outside_window",
            Self::UsedCode { step: _, last: _ } => "used_code",
            Self::CodeRequired => "code_required",
            Self::Throttled { wait: _, by: _ } => "throttled",
            Self::NotAuthenticated => "not_authenticated",
            Self::Cancelled => "cancelled",
            Self::Refused { why, said: _ } => why.code(),
            Self::PushOff { reason: _ } => "push_off",
            Self::PushOutstanding => "push_outstanding",
            Self::PushBlocked { wait: _ } => "push_blocked",
            Self::Superseded => "superseded",
            Self::ChallengeGone => "challenge_gone",
            Self::NoPermit(why) => match why {
                Unusable::Unknown => "challenge_unknown",
                Unusable::Open => "challenge_open",
                Unusable::Confirmed => "challenge_confirmed",
                Unusable::Used => "challenge_used",
                Unusable::Failed => "challenge_failed",
                Unusable::Expired => "challenge_expired",
                Unusable::Cancelled => "challenge_cancelled",
            },
            Self::Unproved => "unproved",
            Self::Decided { remarks: _ } => "service_refused",
            Self::Undecided => "undecided",
            Self::TooManySessions { limit: _ } => "connection_limit",
            Self::Uncounted { missing: _ } => "uncounted",
        }
    }

    /// What happened, for the operator.
    pub fn reason(&self) -> String {
        match self {
            Self::NoClaimant => "no field of the request names a user".into(),
            Self::NotEnrolled => "no authenticator is enrolled under this name".into(),
            Self::WrongCode => "the code matches no time step near now".into(),
            Self::WrongTicket => "what was typed is no enrolment ticket of this user that is good still".into(),
            Self::MalformedCode { expected } => format!("what was typed is not {expected}"),
            Self::OutsideWindow { steps, seconds } if *steps > 0 => {
                format!(
                    "the code matches {steps} time steps ahead: the authenticator's clock is about {seconds} s fast"
                )
            }
            Self::OutsideWindow { steps, seconds } => format!(
                "the code matches {} time steps back: an old code, or the authenticator's clock is about {} s slow",
                steps.unsigned_abs(),
                seconds.unsigned_abs()
            ),
            Self::UsedCode { step, last } if step == last => format!("time step {step} was used before"),
            Self::UsedCode { step, last } => format!("time step {step} is older than {last}, which was used before"),
            Self::CodeRequired => "an empty answer asks for a push, and this client verifies codes only".into(),
            Self::Throttled { wait, by } => {
                let whose = match by {
                    Limit::Subscriber => "subscriber",
                    Limit::Source => "source address",
                };
                format!("too many failures of this {whose}: the next attempt is heard in {} s", wait.as_secs())
            }
            Self::NotAuthenticated => "the cookie does not prove that this session was authenticated".into(),
            Self::Cancelled => "the gateway cancelled the request".into(),
            Self::Refused { why: _, said } => said.clone(),
            Self::PushOff { reason } => (*reason).into(),
            Self::PushOutstanding => "a push of another session of this subscriber waits for its answer".into(),
            Self::PushBlocked { wait } => {
                format!("the subscriber reported a push as not theirs: none is sent for {} s", wait.as_secs())
            }
            Self::Superseded => "a one-time password was accepted in place of this push".into(),
            Self::ChallengeGone => "what was answered is over, was used, or was never asked in this session".into(),
            Self::NoPermit(why) => match why {
                Unusable::Unknown => {
                    "no challenge of this id, subscriber, purpose and binding is known; give what it was requested with, or \
                     request one"
                }
                Unusable::Open => "nobody has confirmed the challenge yet",
                Unusable::Confirmed => "the challenge is confirmed already; use it",
                Unusable::Used => "the challenge was used before; request another",
                Unusable::Failed => "the challenge was answered wrongly too often; request another",
                Unusable::Expired => "the challenge has expired; request another",
                Unusable::Cancelled => "the challenge was cancelled; request another",
            }
            .into(),
            Self::Unproved => {
                "the service lets this subscriber in without a proof, and what was asked for needs one".into()
            }
            Self::Decided { remarks } => match &remarks.reason {
                Some(reason) => Foreign(reason).to_string(),
                None => "the service says no, and not why".into(),
            },
            Self::Undecided => "the service said neither yes nor no".into(),
            Self::TooManySessions { limit } => {
                format!("the user has as many sessions from this address as [connection_limit] allows: {limit}")
            }
            Self::Uncounted { missing } => {
                format!("[connection_limit] counts sessions, and the request has no {missing}")
            }
        }
    }

    /// How long to wait before another attempt can help, where waiting helps.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { wait, by: _ } | Self::PushBlocked { wait } => Some(*wait),
            Self::NoClaimant
            | Self::NotEnrolled
            | Self::WrongCode
            | Self::WrongTicket
            | Self::MalformedCode { expected: _ }
            | Self::OutsideWindow { steps: _, seconds: _ }
            | Self::UsedCode { step: _, last: _ }
            | Self::CodeRequired
            | Self::NotAuthenticated
            | Self::Cancelled
            | Self::Refused { why: _, said: _ }
            | Self::PushOff { reason: _ }
            | Self::PushOutstanding
            | Self::Superseded
            | Self::ChallengeGone
            | Self::NoPermit(_)
            | Self::Unproved
            | Self::Decided { remarks: _ }
            | Self::Undecided
            | Self::TooManySessions { limit: _ }
            | Self::Uncounted { missing: _ } => None,
        }
    }
}

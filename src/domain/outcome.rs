//! What a client found out: verified, denied for a reason, or something more to ask.

use std::time::Duration;

use super::fault::Class;
use super::verdict::Question;

/// Which kind of proof was given; on the wire as `factor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    Totp,
}

impl Factor {
    /// The word on the wire and in the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Totp => "totp",
        }
    }
}

/// What a client says of an attempt.
#[derive(Debug)]
pub enum Outcome {
    /// The claimant proved to be the subscriber. The one outcome from which an accept can be made.
    Verified(Proof),
    /// The claimant did not, and why.
    Denied(Denial),
    /// One more question; `state` comes back with its answer.
    Ask { question: Question, state: Vec<u8> },
}

/// What was proved, for the verdict and the log.
#[derive(Debug)]
pub struct Proof {
    pub factor: Factor,
    /// For the operator: by which authenticator, at what offset.
    pub reason: String,
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
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Subscriber,
    Source,
}

impl Denial {
    /// The class on the wire.
    pub const fn class(&self) -> Class {
        match self {
            Self::NoClaimant | Self::NotAuthenticated | Self::Cancelled => Class::PolicyDenied,
            Self::NotEnrolled
            | Self::WrongCode
            | Self::MalformedCode { expected: _ }
            | Self::OutsideWindow { steps: _, seconds: _ }
            | Self::UsedCode { step: _, last: _ }
            | Self::CodeRequired
            | Self::Throttled { wait: _, by: _ } => Class::AuthenticationFailure,
        }
    }

    /// The machine-readable cause on the wire.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoClaimant => "no_claimant",
            Self::NotEnrolled => "not_enrolled",
            Self::WrongCode => "wrong_code",
            Self::MalformedCode { expected: _ } => "malformed_code",
            Self::OutsideWindow { steps: _, seconds: _ } => "outside_window",
            Self::UsedCode { step: _, last: _ } => "used_code",
            Self::CodeRequired => "code_required",
            Self::Throttled { wait: _, by: _ } => "throttled",
            Self::NotAuthenticated => "not_authenticated",
            Self::Cancelled => "cancelled",
        }
    }

    /// What happened, for the operator.
    pub fn reason(&self) -> String {
        match self {
            Self::NoClaimant => "no field of the request names a user".into(),
            Self::NotEnrolled => "no authenticator is enrolled under this name".into(),
            Self::WrongCode => "the code matches no time step near now".into(),
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
        }
    }

    /// How long to wait before another attempt can help, where waiting helps.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { wait, by: _ } => Some(*wait),
            Self::NoClaimant
            | Self::NotEnrolled
            | Self::WrongCode
            | Self::MalformedCode { expected: _ }
            | Self::OutsideWindow { steps: _, seconds: _ }
            | Self::UsedCode { step: _, last: _ }
            | Self::CodeRequired
            | Self::NotAuthenticated
            | Self::Cancelled => None,
        }
    }
}

//! What goes wrong on our side or a service's, in the classes a gateway is told.

/// The class of everything that is not an accept; these are all there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A denial: the claimant did not prove who they are.
    AuthenticationFailure,
    /// A denial: a rule does not let the claimant in.
    PolicyDenied,
    /// A fault: the service answered, but not as its protocol says.
    CommunicationError,
    /// A fault: no service was reached.
    ServiceUnreachable,
    /// A fault: the line was not a request.
    InvalidRequest,
    /// A fault of our own.
    InternalError,
}

impl Class {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::AuthenticationFailure => "authentication_failure",
            Self::PolicyDenied => "policy_denied",
            Self::CommunicationError => "communication_error",
            Self::ServiceUnreachable => "service_unreachable",
            Self::InvalidRequest => "invalid_request",
            Self::InternalError => "internal_error",
        }
    }

    /// What the claimant is told: the same for every failure of one class.
    pub const fn message(self) -> &'static str {
        match self {
            Self::AuthenticationFailure => "Authentication failed",
            Self::PolicyDenied => "Access denied",
            Self::CommunicationError => "The authentication service gave no usable answer",
            Self::ServiceUnreachable => "The authentication service cannot be reached",
            Self::InvalidRequest => "Invalid request",
            Self::InternalError => "Internal error",
        }
    }
}

/// How far a request to a service got before it failed. Failing open is possible, where configured, for `NotSent` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing left: name resolution, refused, no route, connect time-out.
    NotSent,
    /// Something left; whether it was acted on is unknown.
    Sent,
    /// An answer came.
    Answered,
}

/// Something went wrong that is not the claimant's doing.
#[derive(Clone, Debug)]
pub struct Fault {
    pub class: Class,
    /// The machine-readable cause.
    pub code: &'static str,
    /// The client concerned, if one was.
    pub service: Option<String>,
    /// What happened, for the operator.
    pub reason: String,
}

impl Fault {
    /// A fault of our own.
    pub fn internal(code: &'static str, reason: impl Into<String>) -> Self {
        Self { class: Class::InternalError, code, service: None, reason: reason.into() }
    }
}

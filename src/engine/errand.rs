//! What a proof is wanted for. A dialogue that was begun for one errand serves no other: not its cookie, not its push, not
//! what a client keeps of it.

use crate::domain::action::ActionPurpose;
use crate::domain::challenge::{ChallengeId, Purpose};

/// What a proof is wanted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// To come in.
    Login,
    /// To confirm an action of another program.
    Action { id: ChallengeId, purpose: ActionPurpose },
    /// To go on to a target that wants a fresh proof; `by` is the challenge by which it was
    /// asked for, if it was.
    StepUp { target: String, by: Option<ChallengeId> },
}

impl Errand {
    /// What is kept of a dialogue is found again by this text and the purpose only.
    pub fn binding(&self, session: Option<&str>) -> String {
        let (first, rest) = match self {
            Self::Login => ("login".to_owned(), String::new()),
            Self::Action { id, purpose: _ } => (format!("action {}", id.0), String::new()),
            // With its length: no two pairs of session and target have one text.
            Self::StepUp { target, by: _ } => ("step_up".to_owned(), format!(" to {} {target}", target.len())),
        };
        // A session without an id is told from one with an empty id.
        session.map_or_else(|| format!("{first}{rest}"), |session| format!("{first}{rest} {session}"))
    }

    /// The purpose of the challenges that belong to it.
    pub const fn purpose(&self) -> Purpose {
        match self {
            // The action's own challenge has a purpose that no dialogue has.
            Self::Login | Self::Action { id: _, purpose: _ } => Purpose::Login,
            Self::StepUp { target: _, by: _ } => Purpose::StepUp,
        }
    }

    /// To what its cookies are bound besides: those of a step-up are those of its session.
    pub fn cookie(&self) -> &str {
        match self {
            Self::Login | Self::StepUp { target: _, by: _ } => "",
            Self::Action { id, purpose: _ } => &id.0,
        }
    }

    /// What the person confirms, where it is no login.
    pub fn shown(&self) -> Option<&str> {
        match self {
            Self::Login | Self::StepUp { target: _, by: _ } => None,
            Self::Action { id: _, purpose } => Some(purpose.as_str()),
        }
    }

    /// A question to the claimant, behind what it is for.
    pub fn question(&self, prompt: &str) -> String {
        match self.shown() {
            Some(purpose) => format!("To confirm {purpose}: {prompt}"),
            None => prompt.to_owned(),
        }
    }

    /// Whether what was typed may be an answer: to a step-up, only where it was asked for. Gateways send what was typed at
    /// the login again.
    pub const fn hears(&self) -> bool {
        match self {
            Self::Login | Self::Action { id: _, purpose: _ } | Self::StepUp { target: _, by: Some(_) } => true,
            Self::StepUp { target: _, by: None } => false,
        }
    }

    /// Whether a question for a code is kept in the store, even where nobody's name was looked up for it.
    pub const fn keeps_question(&self) -> bool {
        match self {
            Self::Login | Self::Action { id: _, purpose: _ } => false,
            Self::StepUp { target: _, by: _ } => true,
        }
    }

    /// Whether several requests may share one push: not where each needs a proof of its own.
    pub const fn shares_push(&self) -> bool {
        match self {
            Self::Login | Self::Action { id: _, purpose: _ } => true,
            Self::StepUp { target: _, by: _ } => false,
        }
    }

    /// Whether a claimant may be let in without any proof, as the configuration says for logins.
    pub const fn may_go_unproved(&self) -> bool {
        match self {
            Self::Login => true,
            Self::Action { id: _, purpose: _ } | Self::StepUp { target: _, by: _ } => false,
        }
    }

    /// Whether it is the same errand, whatever it was asked by.
    pub fn is_same(&self, other: &Self) -> bool {
        self.binding(None) == other.binding(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_errands_have_one_binding() {
        let action =
            |id: &str| Errand::Action { id: ChallengeId(id.into()), purpose: ActionPurpose::parse("pay").unwrap() };
        let step_up = |target: &str| Errand::StepUp { target: target.into(), by: None };
        let errands = [Errand::Login, action("1"), action("2"), step_up("a"), step_up("a b"), step_up("")];
        let sessions = [None, Some(""), Some("s"), Some("b s"), Some(" to 1 a")];
        let mut seen = std::collections::BTreeSet::new();
        for errand in &errands {
            for session in sessions {
                assert!(seen.insert(errand.binding(session)), "{errand:?} {session:?}");
            }
        }
        assert_eq!(Errand::Login.binding(Some("s")), "login s");
    }
}

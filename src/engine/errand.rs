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
}

impl Errand {
    /// What is kept of a dialogue is found again by this text and the purpose only.
    pub fn binding(&self, session: Option<&str>) -> String {
        let first = match self {
            Self::Login => "login".to_owned(),
            Self::Action { id, purpose: _ } => format!("action {}", id.0),
        };
        // A session without an id is told from one with an empty id.
        session.map_or_else(|| first.clone(), |session| format!("{first} {session}"))
    }

    /// The purpose of the challenges that belong to it.
    pub const fn purpose(&self) -> Purpose {
        match self {
            // The action's own challenge has a purpose that no dialogue has.
            Self::Login | Self::Action { id: _, purpose: _ } => Purpose::Login,
        }
    }

    /// To what its cookies are bound besides.
    pub fn cookie(&self) -> &str {
        match self {
            Self::Login => "",
            Self::Action { id, purpose: _ } => &id.0,
        }
    }

    /// What the person confirms, where it is no login.
    pub fn shown(&self) -> Option<&str> {
        match self {
            Self::Login => None,
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

    /// Whether a claimant may be let in without any proof, as the configuration says for logins.
    pub const fn may_go_unproved(&self) -> bool {
        match self {
            Self::Login => true,
            Self::Action { id: _, purpose: _ } => false,
        }
    }

    /// Whether it is the same errand.
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
        let errands = [Errand::Login, action("1"), action("2")];
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

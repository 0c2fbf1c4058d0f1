//! An action of another program that a person is to confirm: what is asked of a challenge, and what is told of it.

use super::challenge::{ChallengeId, State};
use super::foreign::is_deceptive;

/// The longest purpose, in bytes.
pub const PURPOSE_LIMIT: usize = 64;

/// The longest binding, in bytes.
pub const BINDING_LIMIT: usize = 256;

/// The longest time that a challenge may wait, in seconds.
pub const LONGEST_LIFETIME: u64 = 3600;

/// What is to be confirmed, in the words that the person reads: not empty, at most [`PURPOSE_LIMIT`] bytes, and nothing in
/// it that is not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionPurpose(String);

impl ActionPurpose {
    /// The purpose that `text` is.
    ///
    /// # Errors
    /// What it should be and is not.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text.trim() {
            "" => Err("expected what is to be confirmed, found nothing"),
            text if text.len() > PURPOSE_LIMIT => Err("expected at most 64 bytes"),
            text if text.chars().any(is_deceptive) => Err("expected no control or invisible characters"),
            text => Ok(Self(text.to_owned())),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a program ties a challenge to, such as a hash of the order that is confirmed: opaque, at most [`BINDING_LIMIT`]
/// bytes, and to be given again exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionBinding(String);

impl ActionBinding {
    /// The binding that `text` is.
    ///
    /// # Errors
    /// What it should be and is not.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > BINDING_LIMIT { Err("expected at most 256 bytes") } else { Ok(Self(text.to_owned())) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// For how many seconds a challenge waits: at least one, at most [`LONGEST_LIFETIME`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(u64);

impl Lifetime {
    /// The lifetime of that many seconds, where there may be one.
    pub fn of_seconds(seconds: u64) -> Option<Self> {
        (1..=LONGEST_LIFETIME).contains(&seconds).then_some(Self(seconds))
    }

    /// The seconds.
    pub const fn seconds(self) -> u64 {
        self.0
    }
}

/// What a program asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ask the claimant to confirm an action.
    Request { purpose: ActionPurpose, binding: ActionBinding, lifetime: Option<Lifetime> },
    /// What the claimant answered: is it confirmed?
    Confirm { id: ChallengeId },
    /// Could it be used?
    Check(Claim),
    /// Use it, once.
    Use(Claim),
}

impl Act {
    /// The word on the wire and in the log.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Request { purpose: _, binding: _, lifetime: _ } => "challenge_request",
            Self::Confirm { id: _ } => "challenge_confirm",
            Self::Check(_) => "challenge_check",
            Self::Use(_) => "challenge_use",
        }
    }
}

/// By what a program claims that an action was confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub id: ChallengeId,
    /// What the challenge must be for; `None` where whoever asks reads it in the answer.
    pub purpose: Option<ActionPurpose>,
    pub binding: ActionBinding,
}

/// Why a challenge cannot be used, or not be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// There is none of this id, it is for something else than an action, it is another subscriber's, or it was opened for
    /// another purpose or with another binding: which of these, nobody is told.
    Unknown,
    /// Nobody has confirmed it yet.
    Open,
    /// It is confirmed, and cannot be confirmed again.
    Confirmed,
    Used,
    /// It was answered wrongly too often.
    Failed,
    Expired,
    Cancelled,
}

/// What is told of a challenge beside the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub id: ChallengeId,
    pub state: State,
    pub purpose: ActionPurpose,
    /// In how many seconds it expires; 0 where it has, or is over.
    pub expires: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_is_what_a_person_can_read() {
        assert_eq!(ActionPurpose::parse(" pay 100 € ").unwrap().as_str(), "pay 100 €");
        for text in ["", "  ", "a\nb", "a\u{202e}b", "a\0", &"x".repeat(65)] {
            assert!(ActionPurpose::parse(text).is_err(), "{text:?}");
        }
        assert!(ActionPurpose::parse(&"x".repeat(64)).is_ok());
    }

    #[test]
    fn a_binding_is_any_text_and_a_lifetime_an_hour_at_most() {
        for text in ["", " a\0\u{202e}\n", &"x".repeat(256)] {
            assert_eq!(ActionBinding::parse(text).unwrap().as_str(), text);
        }
        assert!(ActionBinding::parse(&"x".repeat(257)).is_err());
        assert_eq!([0, 1, 3600, 3601].map(|n| Lifetime::of_seconds(n).is_some()), [false, true, true, false]);
    }
}

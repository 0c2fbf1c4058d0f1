//! Who says they are somebody, and under which name the verifier knows them.

use unicode_normalization::UnicodeNormalization;

use super::foreign::is_deceptive;

/// The longest name that can be enrolled, in bytes of its canonical form.
pub const NAME_LIMIT: usize = 256;

/// The name under which the gateway presents a person, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant(pub String);

/// The name under which the MFA service knows the claimant, after mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MfaIdentity(pub String);

/// The one canonical identity of a person: what is enrolled, counted and limited.
///
/// NFKC, lower case, without surrounding white space, so that no other spelling of a name evades a limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscriber(String);

impl Subscriber {
    /// The canonical form of `name`. Every text has one, and the same for every spelling of the same name.
    pub fn canonical(name: &str) -> Self {
        if name.is_ascii() {
            return Self(name.trim().to_ascii_lowercase());
        }
        // Lower-casing may leave what NFKC would change once more.
        let folded: String = name.nfkc().flat_map(char::to_lowercase).nfkc().collect();
        Self(folded.trim().to_owned())
    }

    /// The canonical form of `name` where it may be enrolled.
    ///
    /// # Errors
    /// Says what is wrong with the name: empty, longer than [`NAME_LIMIT`] bytes, or holding characters that are not seen.
    pub fn enrollable(name: &str) -> Result<Self, &'static str> {
        let subscriber = Self::canonical(name);
        if subscriber.0.is_empty() {
            return Err("is empty");
        }
        if subscriber.0.len() > NAME_LIMIT {
            return Err("is longer than 256 bytes");
        }
        if subscriber.0.chars().any(is_deceptive) {
            return Err("holds control or invisible characters");
        }
        Ok(subscriber)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_one_subscriber() {
        for spelling in ["alice", "Alice", " ALICE ", "ａｌｉｃｅ"] {
            assert_eq!(Subscriber::canonical(spelling).as_str(), "alice");
        }
        assert_eq!(Subscriber::canonical("JÜRGEN"), Subscriber::canonical("ju\u{308}rgen"));
    }

    #[test]
    fn names_that_cannot_be_seen_are_not_enrolled() {
        for name in ["", "  ", "a\0b", "a\nb", "a\u{202e}b", &"x".repeat(257)] {
            assert!(Subscriber::enrollable(name).is_err(), "{name:?}");
        }
    }
}

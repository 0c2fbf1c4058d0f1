//! Who says they are somebody, and under which name the verifier knows them.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use unicode_normalization::UnicodeNormalization;

use super::foreign::is_deceptive;

/// The longest name that can be enrolled, in bytes of its canonical form.
pub const NAME_LIMIT: usize = 256;

/// The accents of Latin, Greek and Cyrillic letters, apart from their letters.
const ACCENTS: RangeInclusive<char> = '\u{300}'..='\u{36f}';

/// The name under which the gateway presents a person, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant(pub String);

/// The name under which the MFA service knows the claimant, after mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MfaIdentity(pub String);

/// The one canonical identity of a person: what is enrolled, counted and limited.
///
/// NFKC, lower case, without white space around it and with one blank for any inside, so that no other spelling of a name
/// evades a limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscriber(String);

impl Subscriber {
    /// The canonical form of `name`. Every text has one, and the same for every spelling of the same name.
    pub fn canonical(name: &str) -> Self {
        if name.is_ascii() {
            return Self(one_blank(name.trim()).to_ascii_lowercase());
        }
        // Lower-casing may leave what NFKC would change once more.
        let folded: String = name.nfkc().flat_map(char::to_lowercase).nfkc().collect();
        Self(one_blank(folded.trim()).into_owned())
    }

    /// The canonical form of `name` where it may be enrolled.
    ///
    /// # Errors
    /// As for [`Subscriber::presentable`], and where it ends with a dot: it would share its count with another one.
    pub fn enrollable(name: &str) -> Result<Self, &'static str> {
        let subscriber = Self::presentable(name)?;
        if subscriber.0.ends_with('.') {
            return Err("ends with a dot, which some services take for no part of a name");
        }
        Ok(subscriber)
    }

    /// The canonical form of `name` where others may be asked about it.
    ///
    /// # Errors
    /// Says what is wrong with the name: empty, longer than [`NAME_LIMIT`] bytes, or holding characters that are not seen.
    pub fn presentable(name: &str) -> Result<Self, &'static str> {
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

    /// Under what failures and pushes are counted. Beyond the canonical form, characters that are not seen, and dots and blanks
    /// at the end make no difference: no two people whose names may be enrolled share a count, and nobody has two.
    pub fn counted(&self) -> Cow<'_, str> {
        let ends: &[char] = &['.', ' '];
        if self.0.is_ascii() && !self.0.chars().any(is_deceptive) {
            return Cow::Borrowed(self.0.trim_end_matches(ends));
        }
        let seen: String = self.0.chars().filter(|c| !is_deceptive(*c)).nfkc().flat_map(char::to_lowercase).collect();
        let seen: String = seen.nfkc().collect();
        Cow::Owned(one_blank(seen.trim()).trim_end_matches(ends).to_owned())
    }

    /// What a directory or service might take for the same name: as it is counted, and without accents. Several people may be
    /// alike; nobody is let in for being none of those who are named or enrolled where they are like one of them.
    pub fn alike(&self) -> Cow<'_, str> {
        if self.0.is_ascii() {
            return self.counted();
        }
        let plain: String = self.counted().nfkd().filter(|c| !ACCENTS.contains(c)).collect();
        Cow::Owned(Self(plain.nfkc().flat_map(char::to_lowercase).collect()).counted().into_owned())
    }
}

/// `text` with one blank for any white space in it; what is not seen as white space stays.
fn one_blank(text: &str) -> Cow<'_, str> {
    let is_blank = |c: char| c.is_whitespace() && !is_deceptive(c);
    let is_plain = !text.contains(|c| is_blank(c) && c != ' ') && !text.contains("  ");
    if is_plain {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.split(is_blank).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_one_subscriber() {
        for spelling in ["alice", "Alice", " ALICE ", "ａｌｉｃｅ"] {
            assert_eq!(Subscriber::canonical(spelling).as_str(), "alice");
        }
        for spelling in ["alice smith", "Alice  Smith", " ALICE\u{3000}SMITH "] {
            assert_eq!(Subscriber::canonical(spelling).as_str(), "alice smith");
        }
        assert_eq!(Subscriber::canonical("JÜRGEN"), Subscriber::canonical("ju\u{308}rgen"));
    }

    #[test]
    fn what_could_be_taken_for_one_name_is_counted_as_one() {
        let spellings = [
            "alice",
            "ALICE",
            " alice ",
            "alice.",
            "alice. .",
            "\u{ff41}\u{ff4c}\u{ff49}\u{ff43}\u{ff45}",
            "al\u{200b}ice",
            "\u{feff}alice",
            "ali\u{ad}ce\u{202c}",
            "\u{24d0}lice",
            "al\0ice",
            "ALICE\u{3000}",
        ];
        for spelling in spellings {
            assert_eq!(Subscriber::canonical(spelling).counted(), "alice", "{spelling:?}");
            assert_eq!(Subscriber::canonical(spelling).alike(), "alice", "{spelling:?}");
        }
        for accented in ["alic\u{e9}", "a\u{301}lice", "\u{c1}LICE.", "al\u{200b}ic\u{e8}"] {
            assert_ne!(Subscriber::canonical(accented).counted(), "alice", "{accented:?}");
            assert_eq!(Subscriber::canonical(accented).alike(), "alice", "{accented:?}");
        }
        for other in ["alicia", "al ice", ".alice", "al.ice", "alice@corp.example", "corp\\alice", "\u{430}lice"] {
            assert_ne!(Subscriber::canonical(other).counted(), "alice", "{other:?}");
        }
    }

    #[test]
    fn names_that_cannot_be_seen_are_not_enrolled() {
        for name in ["", "  ", "a\0b", "a\nb", "a\u{202e}b", "alice.", &"x".repeat(257)] {
            assert!(Subscriber::enrollable(name).is_err(), "{name:?}");
        }
    }
}

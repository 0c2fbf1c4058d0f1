//! The types of options about what people hold.

use super::Value;
use crate::config::schema::Schema;
use crate::policy::unenrolled::Unenrolled;

/// The characters of a code that is handed out: letters and digits of ASCII, each once, letters in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alphabet(pub Vec<char>);

impl Value for Alphabet {
    fn expected() -> String {
        "at least 10 different letters and digits (A to Z in either case, 0 to 9)".into()
    }

    fn schema() -> Schema {
        // No character twice.
        Schema::pattern(r"(?!.*(.).*\1)[A-Za-z0-9]{10,36}")
    }

    fn parse(text: &str) -> Option<Self> {
        let characters: Vec<char> = text.chars().map(|c| c.to_ascii_lowercase()).collect();
        let is_plain = characters.iter().all(char::is_ascii_alphanumeric);
        let twice = characters.iter().enumerate().any(|(at, c)| characters.iter().take(at).any(|other| other == c));
        (is_plain && !twice && characters.len() >= 10).then_some(Self(characters))
    }
}

/// What stands inside a code for the eye alone: nothing, or one character that nobody takes for a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Separator(pub Option<char>);

impl Value for Separator {
    fn expected() -> String {
        "- or _ or . or a space, or nothing".into()
    }

    fn schema() -> Schema {
        Schema::words(&["-", "_", ".", " ", ""])
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "" => Some(Self(None)),
            "-" => Some(Self(Some('-'))),
            "_" => Some(Self(Some('_'))),
            "." => Some(Self(Some('.'))),
            " " => Some(Self(Some(' '))),
            _ => None,
        }
    }
}

impl Value for Unenrolled {
    fn expected() -> String {
        "reject, enrol or accept".into()
    }

    fn schema() -> Schema {
        Schema::any_case(&Self::ALL.map(|(word, _)| word))
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(word, value)| text.eq_ignore_ascii_case(word).then_some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alphabet_has_no_character_twice() {
        assert_eq!(Alphabet::parse("0123456789"), Some(Alphabet(('0'..='9').collect())));
        for text in ["", "012345678", "01234567899", "0123456789aA", "0123456789-", "0123456789é"] {
            assert_eq!(Alphabet::parse(text), None, "{text}");
        }
    }
}

//! What is taken out of an answer for a later request, and what an answer must repeat.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde_json::Value as Json;

use super::super::schema::Schema;
use super::super::value::Value;
use super::rule::Pointer;
use super::template::{Template, is_placeholder_name};
use crate::domain::foreign::{Foreign, is_deceptive};

/// Of which characters a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Digits,
    Hex,
    /// ASCII letters, digits and `-._~+/=:`.
    Token,
    /// Whatever can be seen.
    Text,
    /// An address at the service.
    Link,
}

impl Class {
    const ALL: [(&'static str, Self, RangeInclusive<usize>); 5] = [
        ("digits", Self::Digits, 1..=64),
        ("hex", Self::Hex, 1..=128),
        ("token", Self::Token, 1..=256),
        ("text", Self::Text, 1..=512),
        ("url", Self::Link, 1..=1024),
    ];

    fn has(self, c: char) -> bool {
        match self {
            Self::Digits => c.is_ascii_digit(),
            Self::Hex => c.is_ascii_hexdigit(),
            Self::Token => c.is_ascii_alphanumeric() || "-._~+/=:".contains(c),
            Self::Text => !is_deceptive(c),
            Self::Link => c.is_ascii_graphic(),
        }
    }
}

/// Characters and how many, such as `digits 6..8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub class: Class,
    length: RangeInclusive<usize>,
}

impl Shape {
    /// Whether `text` has it.
    pub fn fits(&self, text: &str) -> bool {
        self.length.contains(&text.chars().count()) && text.chars().all(|c| self.class.has(c))
    }

    fn of(words: &[&str]) -> Option<Self> {
        let (name, length) = words.split_first()?;
        let (_, class, most) = Class::ALL.into_iter().find(|(known, _, _)| known == name)?;
        let length = match length {
            [] => most,
            [range] => {
                let (first, last) = range.split_once("..").unwrap_or((range, range));
                let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
                let range = number(first)?..=number(last)?;
                (*range.start() >= 1 && !range.is_empty() && range.end() <= most.end()).then_some(range)?
            }
            _ => return None,
        };
        Some(Self { class, length })
    }
}

impl Value for Shape {
    fn expected() -> String {
        "digits, hex, token or text, with how many where that is known, such as digits 6..8".into()
    }

    fn schema() -> Schema {
        Schema::pattern(r"(?:digits|hex|token|text)(?:\s+[0-9]+(?:\.\.[0-9]+)?)?")
    }

    fn parse(text: &str) -> Option<Self> {
        Self::of(&text.split_whitespace().collect::<Vec<_>>()).filter(|shape| shape.class != Class::Link)
    }
}

/// One value that is taken out of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    pub name: String,
    pub pointer: Pointer,
    pub shape: Shape,
    /// Whether an answer without it is good as well.
    pub optional: bool,
}

impl Capture {
    /// The value in `body`.
    ///
    /// # Errors
    /// What stands there is not of its shape.
    pub fn take(&self, body: &Json) -> Result<Option<String>, Misshapen> {
        let text = match self.pointer.find(body) {
            None => return Ok(None),
            Some(Json::String(text)) => text.clone(),
            // Some services write their numbers without quotes.
            Some(Json::Number(number)) if self.shape.class == Class::Digits && number.is_u64() => number.to_string(),
            Some(Json::Number(_) | Json::Bool(_) | Json::Array(_) | Json::Object(_) | Json::Null) => {
                return Err(Misshapen);
            }
        };
        if self.shape.fits(&text) { Ok(Some(text)) } else { Err(Misshapen) }
    }
}

/// A value that is there, and not of the shape that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misshapen;

/// How many values one answer may give.
const CAPTURES: usize = 8;

/// `name pointer shape`, several separated by semicolons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captures(pub Vec<Capture>);

impl Value for Captures {
    fn expected() -> String {
        "a name, where its value stands, and of which characters it is: digits, hex, token, text or url, such as txid \
         /detail/transaction_id digits 10..40; with optional at the end where it may be missing; several separated by ;"
            .into()
    }

    fn schema() -> Schema {
        let shape = r"(?:digits|hex|token|text|url)(?:\s+[0-9]+(?:\.\.[0-9]+)?)?";
        Schema::list(&Schema::pattern(format!(r"[a-z][a-z0-9_]*\s+/[^\s;]*\s+{shape}(?:\s+optional)?")), ';')
    }

    fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    fn read(text: &str) -> Result<Self, String> {
        let mut names = BTreeSet::new();
        let mut captures = Vec::new();
        for part in text.split(';') {
            let wrong = || format!("expected {}, found \"{}\"", Self::expected(), Foreign(part.trim()));
            let mut words: Vec<&str> = part.split_whitespace().collect();
            let optional = words.pop_if(|last| *last == "optional").is_some();
            let [name, pointer, shape @ ..] = words.as_slice() else { return Err(wrong()) };
            if !is_placeholder_name(name) {
                let name = Foreign(name);
                return Err(format!("expected a name of a-z, 0-9 and _ that begins with a letter, found \"{name}\""));
            }
            if !names.insert((*name).to_owned()) {
                return Err(format!("{name} is captured twice"));
            }
            let pointer = Pointer::parse(pointer).ok_or_else(wrong)?;
            let shape = Shape::of(shape).ok_or_else(wrong)?;
            captures.push(Capture { name: (*name).to_owned(), pointer, shape, optional });
        }
        if captures.len() > CAPTURES {
            return Err(format!("expected at most {CAPTURES} values, found {}", captures.len()));
        }
        Ok(Self(captures))
    }
}

/// What an answer must repeat: `pointer text`, several separated by semicolons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echoes(pub Vec<(Pointer, Template)>);

impl Value for Echoes {
    fn expected() -> String {
        "where a value stands and what it must be, such as /nonce {nonce}; several separated by ;".into()
    }

    fn schema() -> Schema {
        Schema::list(&Schema::pattern(r"/[^\s;]*\s+[^;]*\{[^;]*\}[^;]*"), ';')
    }

    fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    fn read(text: &str) -> Result<Self, String> {
        let one = |part: &str| {
            let wrong = || format!("expected {}, found \"{}\"", Self::expected(), Foreign(part.trim()));
            let (pointer, template) = part.trim().split_once(char::is_whitespace).ok_or_else(wrong)?;
            let template = Template::read(template.trim())?;
            let has_placeholder = template.placeholders().next().is_some();
            let pointer = Pointer::parse(pointer).filter(|_| has_placeholder).ok_or_else(wrong)?;
            Ok((pointer, template))
        };
        text.split(';').map(one).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_shape_is_characters_and_how_many() {
        for (shape, good, bad) in [
            ("digits 6..8", &["123456", "12345678"][..], &["12345", "123456789", "12345a", "", "١٢٣٤٥٦"][..]),
            ("digits 6", &["123456"], &["1234567"]),
            ("hex", &["0aF"], &["0g", ""]),
            ("token", &["aZ-._~+/=:09"], &["a b", "a\"", "ü", ""]),
            ("text", &["grün 7"], &["a\nb", "a\u{202e}", ""]),
        ] {
            let shape = Shape::parse(shape).unwrap();
            assert!(good.iter().all(|text| shape.fits(text)) && !bad.iter().any(|text| shape.fits(text)), "{shape:?}");
        }
        for text in ["", "digit", "digits 0..3", "digits 8..6", "digits 6..9999", "digits 6 8", "digits -1", "url"] {
            assert_eq!(Shape::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_taken_has_its_shape() {
        let Captures(captures) = Captures::read("txid /a/b digits 3..9; n /n digits 1..2 optional").unwrap();
        let take = |index: usize, body: Json| captures[index].take(&body);
        assert_eq!(take(0, json!({"a": {"b": "123"}})), Ok(Some("123".into())));
        assert_eq!(take(0, json!({"a": {"b": 123}})), Ok(Some("123".into())));
        assert_eq!(take(1, json!({"n": null})), Ok(None));
        for other in [json!("12"), json!("1/2"), json!(-123), json!(1.5), json!(true), json!(["123"]), json!("")] {
            assert_eq!(take(0, json!({"a": {"b": other}})), Err(Misshapen), "{other}");
        }
        assert!(captures[1].optional && !captures[0].optional);
    }

    #[test]
    fn captures_that_cannot_be_meant_are_refused() {
        for text in ["", "txid", "txid /a", "txid a digits", "Txid /a digits", "a /a digits; a /b digits", "a /a regex"]
        {
            assert!(Captures::read(text).is_err(), "{text}");
        }
        for text in ["", "/nonce", "nonce {nonce}", "/nonce fixed", "/nonce {nonce};"] {
            assert!(Echoes::read(text).is_err(), "{text}");
        }
    }
}

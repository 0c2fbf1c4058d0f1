//! What plugin.ini may hold, as JSON Schema (draft 2020-12), from the declarations of its options.
//!
//! The schema is of the file as an object of sections, each an object of options. A value is the text behind the `=`; a
//! number may be a JSON number as well, for whoever builds a form. What a schema refuses, `check` refuses: it never says no
//! to what is right. It does not know everything: what an address or a rule is inside, and what options say together, only
//! `check` does.

mod digits;
mod document;
mod json;

pub use document::{file, section};
pub use json::Json;

/// What texts a value can be, as far as JSON Schema can say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Any text but the empty one.
    Text,
    /// One of these words.
    Words(Vec<String>),
    /// One of these words, in upper or lower case; those in `also` mean the same as others, and are not offered.
    AnyCase { words: Vec<String>, also: Vec<String> },
    /// A whole number in decimal digits, from the least to the most.
    Whole { least: u64, most: u64 },
    /// A whole number with a sign before it or none.
    Integer,
    /// A number that is not negative, with up to three decimals.
    Decimal,
    /// What this regular expression matches from the beginning to the end. ECMA-262 and Python must read it alike.
    Pattern(String),
    /// The same, an address (RFC 3986) in most cases.
    Address(String),
    /// Whatever one of these takes.
    Either(Vec<Schema>),
    /// The same, or nothing.
    OrNothing(Box<Schema>),
}

/// Whether an option may be left empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Empty {
    Taken,
    Refused,
}

impl Schema {
    /// One of `words`, in upper or lower case.
    pub fn any_case(words: &[&str]) -> Self {
        Self::AnyCase { words: owned(words), also: Vec::new() }
    }

    /// One of `words` as they are written.
    pub fn words(words: &[&str]) -> Self {
        Self::Words(owned(words))
    }

    /// What `pattern` matches from the beginning to the end.
    pub fn pattern(pattern: impl Into<String>) -> Self {
        Self::Pattern(pattern.into())
    }

    /// One or more of `item` with a `separator` between them, and white space around.
    pub fn list(item: &Self, separator: char) -> Self {
        let item = item.regex();
        Self::Pattern(format!("\\s*{item}\\s*(?:[{separator}]\\s*{item}\\s*)*"))
    }

    /// The keywords of JSON Schema that say it.
    pub fn keywords(&self) -> Vec<(String, Json)> {
        self.say(Empty::Refused)
    }

    fn say(&self, empty: Empty) -> Vec<(String, Json)> {
        let member = |name: &str, value: Json| (name.to_owned(), value);
        let typed = |name: &str| member("type", Json::text(name));
        // A number may be written as one; keywords about numbers say nothing of texts, and the other way round.
        let number = |name: &str| member("type", Json::List(vec![Json::text(name), Json::text("string")]));
        let pattern = || member("pattern", Json::Text(anchored(&self.regex(), empty)));
        match self {
            Self::Text if empty == Empty::Taken => vec![typed("string")],
            Self::Text => vec![typed("string"), member("minLength", Json::Whole(1))],
            Self::Words(words) => vec![typed("string"), member("enum", offered(words, empty))],
            Self::AnyCase { words, also: _ } => {
                let choices = Json::Object(vec![member("enum", offered(words, empty))]);
                vec![typed("string"), member("anyOf", Json::List(vec![choices, Json::Object(vec![pattern()])]))]
            }
            Self::Whole { least, most } => {
                let bounds = [member("minimum", Json::Whole(*least)), member("maximum", Json::Whole(*most))];
                [number("integer")].into_iter().chain(bounds).chain([pattern()]).collect()
            }
            Self::Integer => vec![number("integer"), pattern()],
            Self::Decimal => vec![number("number"), member("minimum", Json::Whole(0)), pattern()],
            Self::Pattern(_) => vec![typed("string"), pattern()],
            Self::Address(_) if empty == Empty::Taken => vec![typed("string"), pattern()],
            Self::Address(_) => vec![typed("string"), member("format", Json::text("uri")), pattern()],
            Self::Either(choices) => {
                let mut choices: Vec<Json> =
                    choices.iter().map(|choice| Json::Object(choice.say(Empty::Refused))).collect();
                if empty == Empty::Taken {
                    choices.push(Json::Object(vec![member("const", Json::text(""))]));
                }
                vec![member("anyOf", Json::List(choices))]
            }
            Self::OrNothing(schema) => schema.say(Empty::Taken),
        }
    }

    /// The regular expression of it, which can stand in another.
    pub fn regex(&self) -> String {
        let choose = |choices: Vec<String>| format!("(?:{})", choices.join("|"));
        match self {
            Self::Text => ".+".into(),
            Self::Words(words) => choose(words.iter().map(|word| literal(word)).collect()),
            Self::AnyCase { words, also } => choose(words.iter().chain(also).map(|word| any_case(word)).collect()),
            Self::Whole { least, most } => format!("0*{}", digits::between(*least, *most)),
            Self::Integer => "[+-]?[0-9]+".into(),
            Self::Decimal => "0*[0-9]{1,10}(?:[.][0-9]{1,3})?".into(),
            Self::Pattern(pattern) | Self::Address(pattern) => format!("(?:{pattern})"),
            Self::Either(choices) => choose(choices.iter().map(Self::regex).collect()),
            Self::OrNothing(schema) => format!("(?:{})?", schema.regex()),
        }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The words among which somebody chooses.
fn offered(words: &[String], empty: Empty) -> Json {
    let nothing = (empty == Empty::Taken).then(String::new);
    Json::List(words.iter().cloned().chain(nothing).map(Json::Text).collect())
}

fn anchored(regex: &str, empty: Empty) -> String {
    match empty {
        Empty::Taken => format!("^(?:{regex})?$"),
        Empty::Refused => format!("^{regex}$"),
    }
}

fn literal(word: &str) -> String {
    word.chars().map(|c| if is_plain(c) { c.to_string() } else { format!("[{c}]") }).collect()
}

fn any_case(word: &str) -> String {
    let both = |c: char| {
        if c.is_ascii_alphabetic() {
            format!("[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase())
        } else {
            literal(&c.to_string())
        }
    };
    word.chars().map(both).collect()
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ' ' | ':' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(schema: &Schema) -> String {
        serde_json::to_string(&Json::Object(schema.keywords())).unwrap()
    }

    #[test]
    fn each_kind_says_what_it_takes() {
        for (schema, expected) in [
            (Schema::Text, r#"{"type":"string","minLength":1}"#),
            (Schema::words(&["a", "b"]), r#"{"type":"string","enum":["a","b"]}"#),
            (Schema::any_case(&["no"]), r#"{"type":"string","anyOf":[{"enum":["no"]},{"pattern":"^(?:[nN][oO])$"}]}"#),
            (
                Schema::Whole { least: 6, most: 8 },
                r#"{"type":["integer","string"],"minimum":6,"maximum":8,"pattern":"^0*(?:[6-8])$"}"#,
            ),
            (Schema::Integer, r#"{"type":["integer","string"],"pattern":"^[+-]?[0-9]+$"}"#),
            (Schema::pattern("a|b"), r#"{"type":"string","pattern":"^(?:a|b)$"}"#),
            (Schema::Address("https:.+".into()), r#"{"type":"string","format":"uri","pattern":"^(?:https:.+)$"}"#),
            (
                Schema::Either(vec![Schema::words(&["a"]), Schema::pattern("b.")]),
                r#"{"anyOf":[{"type":"string","enum":["a"]},{"type":"string","pattern":"^(?:b.)$"}]}"#,
            ),
            (
                Schema::list(&Schema::words(&["a", "b"]), ','),
                r#"{"type":"string","pattern":"^(?:\\s*(?:a|b)\\s*(?:[,]\\s*(?:a|b)\\s*)*)$"}"#,
            ),
        ] {
            assert_eq!(said(&schema), expected);
        }
    }

    #[test]
    fn what_may_be_empty_says_so() {
        let or_nothing = |schema| said(&Schema::OrNothing(Box::new(schema)));
        assert_eq!(or_nothing(Schema::Text), r#"{"type":"string"}"#);
        assert_eq!(or_nothing(Schema::words(&["a"])), r#"{"type":"string","enum":["a",""]}"#);
        assert_eq!(or_nothing(Schema::pattern("a|b")), r#"{"type":"string","pattern":"^(?:(?:a|b))?$"}"#);
        assert_eq!(
            or_nothing(Schema::Either(vec![Schema::Text])),
            r#"{"anyOf":[{"type":"string","minLength":1},{"const":""}]}"#
        );
    }
}

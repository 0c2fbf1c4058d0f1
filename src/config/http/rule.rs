//! What an answer must be: conditions on its status and on values in its body, each of a type.

use std::fmt;

use serde_json::Value as Json;

use super::super::schema::Schema;
use super::super::value::Value;
use crate::domain::foreign::Foreign;

/// Where in the body a value stands (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer(String);

impl Pointer {
    /// What stands there; a null is nothing.
    pub fn find<'a>(&self, body: &'a Json) -> Option<&'a Json> {
        body.pointer(&self.0).filter(|value| !value.is_null())
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Foreign(&self.0).fmt(f)
    }
}

impl Value for Pointer {
    fn expected() -> String {
        "where a value stands in the answer, such as /detail/message".into()
    }

    fn schema() -> Schema {
        Schema::pattern(r#"/[^\s="{}]*"#)
    }

    fn parse(text: &str) -> Option<Self> {
        let is_escape = |rest: &str| rest.starts_with(['0', '1']);
        let is_pointer = text.starts_with('/')
            && !text.contains(|c: char| c.is_whitespace() || "=\"{}".contains(c))
            && text.split('~').skip(1).all(is_escape);
        is_pointer.then(|| Self(text.to_owned()))
    }
}

/// Alternatives; each a list of conditions that must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule(Vec<Vec<Condition>>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Status(Vec<u16>),
    /// The value there is one of these, of the same type.
    In(Pointer, Vec<Json>),
    Exists(Pointer),
    Absent(Pointer),
}

impl Rule {
    /// Whether an answer with this status and this body is meant. Where no condition is about the status, it must be a
    /// success (2xx). A body that cannot be read meets no condition about it.
    pub fn matches(&self, status: u16, body: Option<&Json>) -> bool {
        let holds = |condition: &Condition| match (condition, body) {
            (Condition::Status(wanted), _) => wanted.contains(&status),
            (Condition::In(pointer, wanted), Some(body)) => {
                pointer.find(body).is_some_and(|found| wanted.contains(found))
            }
            (Condition::Exists(pointer), Some(body)) => pointer.find(body).is_some(),
            (Condition::Absent(pointer), Some(body)) => pointer.find(body).is_none(),
            (Condition::In(..) | Condition::Exists(_) | Condition::Absent(_), None) => false,
        };
        let is_success = (200..=299).contains(&status);
        self.0.iter().any(|all| {
            let names_status = all.iter().any(|condition| matches!(condition, Condition::Status(_)));
            (names_status || is_success) && all.iter().all(holds)
        })
    }

    /// Whether every alternative names a value that the body must have: nothing else can be evidence of anything.
    pub fn is_evidence(&self) -> bool {
        self.0.iter().all(|all| all.iter().any(|condition| matches!(condition, Condition::In(..))))
    }

    /// The statuses that it names.
    pub fn statuses(&self) -> impl Iterator<Item = u16> {
        self.0.iter().flatten().flat_map(|condition| match condition {
            Condition::Status(statuses) => statuses.clone(),
            Condition::In(..) | Condition::Exists(_) | Condition::Absent(_) => Vec::new(),
        })
    }

    /// The values that it looks at.
    pub fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.0.iter().flatten().filter_map(|condition| match condition {
            Condition::Status(_) => None,
            Condition::In(pointer, _) | Condition::Exists(pointer) | Condition::Absent(pointer) => Some(pointer),
        })
    }
}

impl Value for Rule {
    fn expected() -> String {
        "conditions such as /result/value = true, /code in [1, 2], /detail exists, /error absent or status = 400, joined \
         by and; or between alternatives"
            .into()
    }

    fn schema() -> Schema {
        Schema::pattern(r"(?:status\s+(?:=|in)|/\S*\s+(?:exists|absent|=|in)).*")
    }

    fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    fn read(text: &str) -> Result<Self, String> {
        let mut reader = Reader(text);
        let mut alternatives = vec![Vec::new()];
        loop {
            let condition = reader.condition()?;
            if let Some(all) = alternatives.last_mut() {
                all.push(condition);
            }
            match reader.word() {
                "" => return Ok(Self(alternatives)),
                "and" => {}
                "or" => alternatives.push(Vec::new()),
                word => return Err(format!("expected and, or, or the end, found \"{}\"", Foreign(word))),
            }
        }
    }
}

/// What is left of the text.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn word(&mut self) -> &'a str {
        let text = self.0.trim_start();
        let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
        self.0 = rest;
        word
    }

    fn condition(&mut self) -> Result<Condition, String> {
        let subject = self.word();
        if subject == "status" {
            let statuses = match self.word() {
                "=" => vec![self.literal()?],
                "in" => self.list()?,
                _ => return Err("expected status = 400 or status in [400, 401]".into()),
            };
            return statuses.iter().map(status).collect::<Result<_, _>>().map(Condition::Status);
        }
        let Some(pointer) = Pointer::parse(subject) else {
            return Err(match subject {
                "" => "ends where a condition is missing, such as /result/value = true".into(),
                subject => format!(
                    "expected status, or where a value stands, such as /result/value, found \"{}\"; spaces separate the \
                     parts of a condition",
                    Foreign(subject)
                ),
            });
        };
        match self.word() {
            "=" => Ok(Condition::In(pointer, vec![self.literal()?])),
            "in" => Ok(Condition::In(pointer, self.list()?)),
            "exists" => Ok(Condition::Exists(pointer)),
            "absent" => Ok(Condition::Absent(pointer)),
            word => Err(format!("expected =, in, exists or absent behind {pointer}, found \"{}\"", Foreign(word))),
        }
    }

    /// The JSON value that the rest begins with.
    fn json(&mut self) -> Result<Json, String> {
        let mut values = serde_json::Deserializer::from_str(self.0).into_iter::<Json>();
        let value = values.next().and_then(Result::ok);
        let (rest, text) = (self.0.get(values.byte_offset()..).unwrap_or_default(), self.0.trim());
        let Some(value) = value.filter(|_| rest.is_empty() || rest.starts_with(char::is_whitespace)) else {
            let text = Foreign(text);
            return Err(format!("expected a JSON value such as true, 1 or \"ACCEPT\" with its quotes, at \"{text}\""));
        };
        self.0 = rest;
        Ok(value)
    }

    fn literal(&mut self) -> Result<Json, String> {
        let value = self.json()?;
        if is_literal(&value) { Ok(value) } else { Err(expected_literal(&value)) }
    }

    fn list(&mut self) -> Result<Vec<Json>, String> {
        let list = self.json()?;
        let Some(values) = list.as_array().filter(|values| !values.is_empty()) else {
            let found = list.to_string();
            let found = Foreign(&found);
            return Err(format!("expected a list such as [1, 2] or [\"ACCEPT\"] behind in, found {found}"));
        };
        match values.iter().find(|value| !is_literal(value)) {
            None => Ok(values.clone()),
            Some(other) => Err(expected_literal(other)),
        }
    }
}

/// Whether two of these are the same or not without a doubt.
fn is_literal(value: &Json) -> bool {
    value.is_string() || value.is_boolean() || value.is_i64() || value.is_u64()
}

fn expected_literal(value: &Json) -> String {
    format!("expected true, false, a whole number or a string in quotes, found {}", Foreign(&value.to_string()))
}

fn status(value: &Json) -> Result<u16, String> {
    let status = value.as_u64().and_then(|status| u16::try_from(status).ok());
    match status {
        Some(status @ (200..=299 | 400..=428 | 430..=499)) => Ok(status),
        Some(429) => Err("status 429 says that too many asked, and nothing of the claimant".into()),
        Some(300..=399) => Err("a redirection is never followed; write the address where it leads".into()),
        Some(500..=599) => Err("a status of 500 and above is a fault of the service, and says nothing".into()),
        Some(_) | None => Err(format!("expected a status such as 200 or 400, found {}", Foreign(&value.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(rule: &str, status: u16, body: Json) -> bool {
        Rule::read(rule).unwrap().matches(status, Some(&body))
    }

    #[test]
    fn a_value_is_of_a_type() {
        for other in [json!("true"), json!(1), json!(1.0), json!([true]), json!({}), json!(null), json!(false)] {
            assert!(!matches("/a = true", 200, json!({ "a": other })), "{other}");
        }
        for other in [json!("1"), json!(1.0), json!(true), json!(-1)] {
            assert!(!matches("/a = 1", 200, json!({ "a": other })), "{other}");
        }
        for other in [json!("accept"), json!("ACCEPT "), json!(["ACCEPT"]), json!(true)] {
            assert!(!matches("/a = \"ACCEPT\"", 200, json!({ "a": other })), "{other}");
        }
        assert!(matches(
            "/a = true and /b = \"x y and z\" and /c = -1",
            200,
            json!({"a": true, "b": "x y and z", "c": -1})
        ));
        assert!(!matches("/a = true", 200, json!([{"a": true}])) && matches("/0/a = true", 200, json!([{"a": true}])));
    }

    #[test]
    fn every_condition_of_one_alternative_must_hold() {
        let rule = "/a = 1 and /b in [\"x\", \"y\"] or /c exists and /d absent";
        for (body, expected) in [
            (json!({"a": 1, "b": "y"}), true),
            (json!({"a": 1}), false),
            (json!({"c": false}), true),
            (json!({"c": 0, "d": null}), true),
            (json!({"c": null}), false),
            (json!({"c": 0, "d": 0}), false),
            (json!({}), false),
            (json!(null), false),
        ] {
            assert_eq!(matches(rule, 200, body.clone()), expected, "{body}");
        }
    }

    #[test]
    fn without_a_status_only_success_is_meant() {
        for status in [199, 300, 302, 400, 401, 429, 500, 503] {
            assert!(!matches("/a = true", status, json!({"a": true})), "{status}");
        }
        assert!(matches("/a = true", 201, json!({"a": true})));
        assert!(matches("status in [400, 404] and /a = 1", 404, json!({"a": 1})));
        assert!(!matches("status = 400 and /a = 1", 200, json!({"a": 1})));
        // One alternative does not lend its status to the other.
        assert!(!matches("/a = 1 or status = 400 and /a = 2", 400, json!({"a": 1})));
    }

    #[test]
    fn a_body_that_cannot_be_read_meets_no_condition_about_it() {
        let meets = |rule| Rule::read(rule).unwrap().matches(200, None);
        assert!(meets("status = 200") && !meets("/a absent") && !meets("/a exists") && !meets("/a = 1"));
    }

    #[test]
    fn only_a_value_is_evidence() {
        for (rule, expected) in [
            ("/a = true", true),
            ("/a = true and /b absent", true),
            ("status = 200", false),
            ("/a exists", false),
            ("/a = true or status = 204", false),
        ] {
            assert_eq!(Rule::read(rule).unwrap().is_evidence(), expected, "{rule}");
        }
    }

    #[test]
    fn each_mistake_says_what_was_expected() {
        for (rule, expected) in [
            ("", "ends where"),
            ("/a = true and", "ends where"),
            ("/a=true", "spaces separate"),
            ("a = true", "found \"a\""),
            ("/a == true", "found \"==\""),
            ("/a != true", "found \"!=\""),
            ("/a = ACCEPT", "with its quotes, at \"ACCEPT\""),
            ("/a = 'x'", "with its quotes"),
            ("/a = truely", "with its quotes"),
            ("/a = 1.5", "found 1.5"),
            ("/a = null", "found null"),
            ("/a = [1]", "found [1]"),
            ("/a in 1", "a list"),
            ("/a in []", "a list"),
            ("/a in [null]", "found null"),
            ("/a = 1 /b = 2", "found \"/b\""),
            ("/a = 1 AND /b = 2", "found \"AND\""),
            ("/a~ = 1", "where a value stands"),
            ("status = 302", "redirection"),
            ("status = 429", "429"),
            ("status in [200, 503]", "fault of the service"),
            ("status = \"200\"", "a status such as"),
            ("status exists", "status = 400"),
        ] {
            let error = Rule::read(rule).unwrap_err();
            assert!(error.contains(expected), "{rule}: {error}");
        }
    }
}

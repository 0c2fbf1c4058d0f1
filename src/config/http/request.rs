//! One request of a service: where it goes, and what it holds.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::super::schema::Schema;
use super::super::value::Value;
use super::template::Template;
use crate::domain::foreign::Foreign;

/// How a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    const ALL: [(&'static str, Self); 5] = [
        ("GET", Self::Get),
        ("POST", Self::Post),
        ("PUT", Self::Put),
        ("PATCH", Self::Patch),
        ("DELETE", Self::Delete),
    ];

    /// Whether a body goes with it.
    pub const fn has_body(self) -> bool {
        match self {
            Self::Post | Self::Put | Self::Patch => true,
            Self::Get | Self::Delete => false,
        }
    }
}

/// Method and path, such as `POST /validate/check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLine {
    pub verb: Verb,
    pub target: Target,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Below the service's address; `slash`: with one at the end.
    Path { segments: Vec<Template>, slash: bool },
    /// To an address that was captured under this name.
    Link(String),
}

impl Value for RequestLine {
    fn expected() -> String {
        "GET, POST, PUT, PATCH or DELETE and a path, such as POST /validate/check, or a captured url, such as GET {link}"
            .into()
    }

    fn schema() -> Schema {
        let verbs = Verb::ALL.map(|(name, _)| name).join("|");
        Schema::pattern(format!(r"(?:{verbs}) \s*(?:/[^?#%\\\s]*|\{{[a-z][a-z0-9_]*\}})"))
    }

    fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected {}, found \"{}\"", Self::expected(), Foreign(text));
        let (verb, path) = text.split_once(' ').ok_or_else(wrong)?;
        let (_, verb) = Verb::ALL.into_iter().find(|(name, _)| *name == verb).ok_or_else(wrong)?;
        let path = path.trim();
        let Some(below) = path.strip_prefix('/') else {
            let template = Template::read(path)?;
            let link = template.only_placeholder().ok_or_else(wrong)?;
            return Ok(Self { verb, target: Target::Link(link.to_owned()) });
        };
        if path.contains(['?', '#', '%', '\\']) || path.contains(char::is_whitespace) {
            return Err(format!(
                "expected a path without ?, #, %, \\ and spaces, found \"{}\"; what follows ? belongs into query",
                Foreign(path)
            ));
        }
        let (below, slash) = match below.strip_suffix('/') {
            Some(below) => (below, true),
            None => (below, false),
        };
        let mut segments = Vec::new();
        for segment in below.split('/').filter(|_| !below.is_empty()) {
            if matches!(segment, "" | "." | "..") {
                return Err(format!("expected a path without empty, . and .. segments, found \"{}\"", Foreign(path)));
            }
            segments.push(Template::read(segment)?);
        }
        Ok(Self { verb, target: Target::Path { segments, slash } })
    }
}

/// Names and values as in a form or query: `a={user}&b=x`. A literal &, =, +, % or brace is written as in a form, with
/// its percent sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs(pub Vec<(String, Template)>);

impl Value for Pairs {
    fn expected() -> String {
        "names and values such as user={user}&realm=corp".into()
    }

    fn schema() -> Schema {
        Schema::pattern("[^=&{}]+=[^&]*(?:&[^=&{}]+=[^&]*)*")
    }

    fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    fn read(text: &str) -> Result<Self, String> {
        let one = |pair: &str| {
            let wrong = || format!("expected {}, found \"{}\"", Self::expected(), Foreign(pair));
            let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
            if name.contains(['{', '}']) {
                return Err(format!("expected a name without placeholders, found \"{}\"", Foreign(name)));
            }
            let decode = |text: &str| {
                let plain = text.replace('+', " ");
                let decoded = percent_decode_str(&plain).decode_utf8().map(|text| text.into_owned());
                decoded.map_err(|_| format!("expected UTF-8 behind the percent signs of \"{}\"", Foreign(pair)))
            };
            let name = decode(name)?;
            if name.is_empty() { Err(wrong()) } else { Ok((name, Template::read(value)?.map_texts(decode)?)) }
        };
        text.split('&').map(one).collect::<Result<_, _>>().map(Self)
    }
}

/// Headers, several separated by ` | `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, Template)>);

/// Headers that a request has by itself.
pub const MADE_ELSEWHERE: [&str; 9] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "expect",
    "accept-encoding",
];

/// Headers that hold secrets.
const SECRET: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

impl Value for Headers {
    fn expected() -> String {
        "headers such as X-Request-Id: {uuid}, several separated by |".into()
    }

    fn schema() -> Schema {
        let one = r"\s*[A-Za-z0-9!#$%&'*+.^_`~-]+\s*:[^|]*";
        Schema::pattern(format!("{one}(?:[|]{one})*"))
    }

    fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    fn read(text: &str) -> Result<Self, String> {
        let mut headers: Vec<(String, Template)> = Vec::new();
        for header in text.split('|') {
            let wrong = || format!("expected {}, found \"{}\"", Self::expected(), Foreign(header.trim()));
            let (name, value) = header.split_once(':').ok_or_else(wrong)?;
            let (name, value) = (name.trim().to_ascii_lowercase(), Template::read(value.trim())?);
            if !is_header_name(&name) || !value.texts().all(|text| text.bytes().all(|b| (b' '..=b'~').contains(&b))) {
                return Err(wrong());
            }
            if MADE_ELSEWHERE.contains(&name.as_str()) {
                return Err(format!("{name} is there already"));
            }
            if SECRET.contains(&name.as_str()) {
                return Err(format!("{name} holds a secret; a secret belongs into auth_secret"));
            }
            if headers.iter().any(|(known, _)| *known == name) {
                return Err(format!("{name} is there twice"));
            }
            headers.push((name, value));
        }
        Ok(Self(headers))
    }
}

/// Whether `name` can be the name of a header.
pub fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// JSON whose strings may hold placeholders. What these stand for is put in as text, whatever it holds.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonBody {
    /// A boolean, number or null, as it is.
    Plain(String),
    Text(Template),
    List(Vec<JsonBody>),
    Object(Vec<(String, JsonBody)>),
}

impl JsonBody {
    /// The templates in it.
    pub fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Plain(_) => Vec::new(),
            Self::Text(template) => vec![template],
            Self::List(items) => items.iter().flat_map(Self::templates).collect(),
            Self::Object(members) => members.iter().flat_map(|(_, item)| item.templates()).collect(),
        }
    }

    /// The JSON text with the values in their places; `None` where one is missing.
    pub fn fill<'v>(&self, value: &impl Fn(&str) -> Option<&'v str>) -> Option<Zeroizing<String>> {
        let list = |open: &str, items: Vec<Zeroizing<String>>, close: &str| {
            let items: Vec<&str> = items.iter().map(|item| item.as_str()).collect();
            Zeroizing::new([open, &*Zeroizing::new(items.join(",")), close].concat())
        };
        match self {
            Self::Plain(text) => Some(Zeroizing::new(text.clone())),
            Self::Text(template) => Some(quoted(&template.fill(value)?)),
            Self::List(items) => {
                Some(list("[", items.iter().map(|item| item.fill(value)).collect::<Option<_>>()?, "]"))
            }
            Self::Object(members) => {
                let member = |(name, item): &(String, Self)| {
                    Some(Zeroizing::new([quoted(name).as_str(), ":", item.fill(value)?.as_str()].concat()))
                };
                Some(list("{", members.iter().map(member).collect::<Option<_>>()?, "}"))
            }
        }
    }
}

/// `text` as a JSON string.
fn quoted(text: &str) -> Zeroizing<String> {
    // Serialising a string cannot fail.
    Zeroizing::new(serde_json::to_string(text).unwrap_or_default())
}

impl<'de> Deserialize<'de> for JsonBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = JsonBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E: Error>(self) -> Result<JsonBody, E> {
                Ok(JsonBody::Plain("null".into()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<JsonBody, E> {
                Ok(JsonBody::Plain(value.to_string()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<JsonBody, E> {
                Ok(JsonBody::Plain(value.to_string()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<JsonBody, E> {
                Ok(JsonBody::Plain(value.to_string()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<JsonBody, E> {
                Ok(JsonBody::Plain(serde_json::Value::from(value).to_string()))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<JsonBody, E> {
                Template::read(value).map(JsonBody::Text).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<JsonBody, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = sequence.next_element()? {
                    items.push(item);
                }
                Ok(JsonBody::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<JsonBody, A::Error> {
                let mut members: Vec<(String, JsonBody)> = Vec::new();
                while let Some((name, item)) = entries.next_entry::<String, JsonBody>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("{} is there twice", Foreign(&name))));
                    }
                    if name.contains(['{', '}']) {
                        return Err(A::Error::custom(format!("a name holds a brace: {}", Foreign(&name))));
                    }
                    members.push((name, item));
                }
                Ok(JsonBody::Object(members))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

impl Value for JsonBody {
    fn expected() -> String {
        "a JSON object on one line, such as {\"user\": \"{user}\", \"pass\": \"{otp}\"}".into()
    }

    fn schema() -> Schema {
        Schema::pattern(r"\{.*\}")
    }

    fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    fn read(text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(body @ Self::Object(_)) => Ok(body),
            Ok(Self::Plain(_) | Self::Text(_) | Self::List(_)) => Err(format!("expected {}", Self::expected())),
            Err(error) => Err(format!("expected {}: {error}", Self::expected())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<RequestLine, String> {
        RequestLine::read(text)
    }

    #[test]
    fn a_request_is_a_method_and_a_path() {
        let Target::Path { segments, slash } = line("POST /a/{user}/b/").unwrap().target else { panic!() };
        assert!(slash && segments.len() == 3 && segments[1].only_placeholder() == Some("user"));
        let Target::Path { segments, slash } = line("GET /").unwrap().target else { panic!() };
        assert!(!slash && segments.is_empty());
        assert_eq!(line("GET {link}").unwrap().target, Target::Link("link".into()));
        for text in [
            "",
            "POST",
            "post /a",
            "HEAD /a",
            "TRACE /a",
            "POST a",
            "POST //a",
            "POST /a//b",
            "POST /./a",
            "POST /a/..",
            "POST /a?b=c",
            "POST /a#b",
            "POST /a%2fb",
            "POST /a b",
            "POST /a\\b",
            "GET {link}/a",
            "GET https://h/",
        ] {
            assert!(line(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_never_becomes_structure() {
        let evil = "a\",\"admin\":true,\"x\":\"{otp}\\\n";
        let value = |name: &str| match name {
            "user" => Some(evil),
            _ => None,
        };
        let body = JsonBody::read(r#"{"u": "{user}", "n": [1, -2, 1.5, true, null], "o": {"p": "x {user}"}}"#).unwrap();
        let read: serde_json::Value = serde_json::from_str(&body.fill(&value).unwrap()).unwrap();
        let expected = serde_json::json!({"u": evil, "n": [1, -2, 1.5, true, null], "o": {"p": format!("x {evil}")}});
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_body_is_refused() {
        for text in
            ["", "[]", "\"x\"", "{", "{} {}", r#"{"a": 1, "a": 2}"#, r#"{"a": "{"}"#, r#"{"{user}": 1}"#, "{'a': 1}"]
        {
            assert!(JsonBody::read(text).is_err(), "{text}");
        }
        for text in ["", "a", "=b", "a={", "{user}=a", "a=%ff", "a=b&", "a=b&&c=d"] {
            assert!(Pairs::read(text).is_err(), "{text}");
        }
        for text in ["", "X", "X Y: a", "X: ü", "Host: a", "Authorization: a", "X: a | x: b", "X: {", ": a"] {
            assert!(Headers::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_form_is_written_as_forms_are() {
        let Pairs(pairs) = Pairs::read("a+b=%7B%26{user}+x&pass=").unwrap();
        assert_eq!(pairs[0].0, "a b");
        assert_eq!(pairs[0].1.fill(|_| Some("é")).unwrap().as_str(), "{&é x");
        assert_eq!(pairs[1].1.fill(|_| None).unwrap().as_str(), "");
    }
}

//! The fields of a request, each taken once and as the type that it has.

use super::tree::{Flaw, Json};
use crate::domain::fault::{Class, Fault};
use crate::domain::foreign::Foreign;
use crate::domain::request::{Answers, Session};

/// The fields of a request that were not taken yet.
pub struct Fields(Vec<(String, Json)>);

impl Fields {
    /// The fields of `value`.
    ///
    /// # Errors
    /// Where it is no object.
    pub fn of(mut value: Json) -> Result<Self, Fault> {
        match &mut value {
            Json::Object(fields) => Ok(Self(std::mem::take(fields))),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => {
                Err(invalid("not_an_object", format!("a request is a JSON object, found {}", value.kind())))
            }
        }
    }

    /// The facts of the session, under their names.
    ///
    /// # Errors
    /// Where one has the wrong type.
    pub fn session(&mut self) -> Result<Session, Fault> {
        Ok(Session {
            session_id: self.text("session_id")?,
            protocol: self.text("protocol")?,
            connection_name: self.text("connection_name")?,
            client_ip: self.text("client_ip")?,
            client_port: self.port("client_port")?,
            client_hostname: self.text("client_hostname")?,
            gateway_user: self.text("gateway_user")?,
            gateway_domain: self.text("gateway_domain")?,
            gateway_groups: self.texts("gateway_groups")?,
            server_ip: self.text("server_ip")?,
            server_port: self.port("server_port")?,
            server_hostname: self.text("server_hostname")?,
            server_username: self.text("server_username")?,
            server_domain: self.text("server_domain")?,
        })
    }

    /// What the claimant answered, in `key_value_pairs`.
    ///
    /// # Errors
    /// Where that is no object of strings.
    pub fn answers(&mut self) -> Result<Answers, Fault> {
        let Some(mut value) = self.take("key_value_pairs") else { return Ok(Answers::default()) };
        let Json::Object(pairs) = &mut value else {
            return Err(wrong("key_value_pairs", "an object of strings", value.kind()));
        };
        let mut answers = Vec::with_capacity(pairs.len());
        for (key, mut value) in std::mem::take(pairs) {
            match &mut value {
                Json::Text(text) => answers.push((key, std::mem::take(text))),
                Json::Null => {}
                Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                    return Err(wrong("key_value_pairs", "an object of strings", value.kind()));
                }
            }
        }
        Ok(Answers::new(answers))
    }

    /// The names of the fields that are left.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The field, left where it is; also where it is null.
    pub fn peek(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The field, unless it is missing or null.
    pub fn take(&mut self, name: &str) -> Option<Json> {
        let index = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.swap_remove(index).1).filter(|value| !matches!(value, Json::Null))
    }

    /// A text; an empty one is as good as none.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Text(ref mut text)) => Ok(Some(std::mem::take(text)).filter(|text| !text.is_empty())),
            Some(other) => Err(wrong(name, "a string", other.kind())),
        }
    }

    /// An array of texts; a missing one is empty.
    pub fn texts(&mut self, name: &'static str) -> Result<Vec<String>, Fault> {
        let Some(mut value) = self.take(name) else { return Ok(Vec::new()) };
        let Json::Array(items) = &mut value else { return Err(wrong(name, "an array of strings", value.kind())) };
        let text = |item: &mut Json| match item {
            Json::Text(text) => Ok(std::mem::take(text)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                Err(wrong(name, "an array of strings", item.kind()))
            }
        };
        items.iter_mut().map(text).collect()
    }

    /// A whole number from 0.
    pub fn number(&mut self, name: &'static str) -> Result<Option<u64>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Number(ref number)) => match number.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(invalid("wrong_value", format!("{name}: expected a whole number from 0"))),
            },
            Some(other) => Err(wrong(name, "a number", other.kind())),
        }
    }

    /// True or false.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong(name, "true or false", other.kind())),
        }
    }

    /// A port.
    pub fn port(&mut self, name: &'static str) -> Result<Option<u16>, Fault> {
        let out_of_range = |_| invalid("wrong_value", format!("{name}: expected a port from 0 to 65535"));
        self.number(name)?.map(u16::try_from).transpose().map_err(out_of_range)
    }
}

/// The fault that a line which is no request is.
pub fn invalid(code: &'static str, reason: impl Into<String>) -> Fault {
    Fault { class: Class::InvalidRequest, code, service: None, reason: reason.into() }
}

/// The fault that a flaw of the line is.
pub fn flawed(flaw: Flaw) -> Fault {
    match flaw {
        Flaw::NotUtf8 => invalid("not_utf8", "the line is not UTF-8"),
        Flaw::NotJson(reason) => invalid("not_json", reason),
        Flaw::TooDeep => invalid("too_deep", "values are nested deeper than 32"),
        Flaw::Duplicate(Some(key)) => invalid("duplicate_key", format!("the key \"{}\" is there twice", Foreign(&key))),
        Flaw::Duplicate(None) => invalid("duplicate_key", "a key inside a field is there twice"),
    }
}

/// The fault that a field of the wrong type is. The value itself is not repeated: it may be a code in the wrong place.
pub fn wrong(field: &str, expected: &str, found: &str) -> Fault {
    invalid("wrong_type", format!("{field}: expected {expected}, found {found}"))
}

//! JSON, read strictly: no key twice at any depth, nothing nested deeper than 32, nothing behind the value.
//!
//! What a gateway called its request is kept as soon as it is read, so that a line which turns out to be no request can
//! still be answered by that name.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use zeroize::Zeroize;

/// How deep values may be nested.
const DEPTH: usize = 32;

/// A JSON value. Not to be printed: any text in it may be a code.
pub enum Json {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// What kind of value this is, for an error; never the value.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// What lies under `name`, where this is an object.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::Array(_) => None,
        }
    }
}

impl Serialize for Json {
    /// The value as it came, but for white space.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(fields) => serializer.collect_map(fields.iter().map(|(key, value)| (key, value))),
        }
    }
}

impl Drop for Json {
    /// Any text in a request may be a code.
    fn drop(&mut self) {
        if let Self::Text(text) = self {
            text.zeroize();
        }
    }
}

/// What is wrong with a line, whatever it was meant to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    NotUtf8,
    NotJson(String),
    TooDeep,
    /// The key's name, where it is one of the request's own.
    Duplicate(Option<String>),
}

/// Reads `line`; gives the value or its flaw, and the request's id where one could be read.
pub fn parse(line: &[u8]) -> (Result<Json, Flaw>, Option<Json>) {
    let context = Context::default();
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(_) => {
            // Read once more for the id only.
            let _ = context.read(&String::from_utf8_lossy(line));
            return (Err(Flaw::NotUtf8), context.id.into_inner());
        }
    };
    let read = context.read(text);
    let value = match (context.flaw.into_inner(), read) {
        (Some(flaw), _) => Err(flaw),
        (None, Ok(value)) => Ok(value),
        // The position, not the text: what stands there may be a code.
        (None, Err(error)) => Err(Flaw::NotJson(format!("not JSON at column {}", error.column()))),
    };
    (value, context.id.into_inner())
}

#[derive(Default)]
struct Context {
    depth: Cell<usize>,
    id: RefCell<Option<Json>>,
    flaw: RefCell<Option<Flaw>>,
}

impl Context {
    fn read(&self, text: &str) -> Result<Json, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = Seed(self).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }

    fn note(&self, flaw: Flaw) {
        self.flaw.borrow_mut().get_or_insert(flaw);
    }

    fn enter<E: Error>(&self) -> Result<(), E> {
        self.depth.set(self.depth.get() + 1);
        if self.depth.get() > DEPTH {
            self.note(Flaw::TooDeep);
            return Err(E::custom("too deep"));
        }
        Ok(())
    }

    fn leave(&self) {
        self.depth.set(self.depth.get().saturating_sub(1));
    }
}

#[derive(Clone, Copy)]
struct Seed<'a>(&'a Context);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        serde_json::Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Json, A::Error> {
        self.0.enter()?;
        let mut array = Vec::new();
        while let Some(value) = values.next_element_seed(self)? {
            array.push(value);
        }
        self.0.leave();
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        self.0.enter()?;
        let top = self.0.depth.get() == 1;
        let mut object: Vec<(String, Json)> = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if is_there(&object, &mut seen, &key) {
                self.0.note(Flaw::Duplicate(top.then(|| key.clone())));
            }
            let value = entries.next_value_seed(self)?;
            if top && key == "id" {
                let id = match &value {
                    Json::Text(text) => Some(Json::Text(text.clone())),
                    Json::Number(number) => Some(Json::Number(number.clone())),
                    Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
                };
                *self.0.id.borrow_mut() = id;
            }
            object.push((key, value));
        }
        self.0.leave();
        Ok(Json::Object(object))
    }
}

/// Whether `key` is among those of `object`. A request has few; only what has many is looked up by hash.
fn is_there(object: &[(String, Json)], seen: &mut HashSet<String>, key: &str) -> bool {
    const FEW: usize = 32;
    if object.len() < FEW {
        return object.iter().any(|(known, _)| known == key);
    }
    if object.len() == FEW {
        seen.extend(object.iter().map(|(known, _)| known.clone()));
    }
    !seen.insert(key.to_owned())
}

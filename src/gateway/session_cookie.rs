//! The session cookie as JSON: an object in which `questions` is ours, and the rest goes back as it came.

use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::tree::Json;
use crate::domain::request::SessionCookie;

/// The key of the answers to the questions of plugin.ini.
const QUESTIONS: &str = "questions";

/// The session cookie in `value`; what kind it is where it is no object.
pub fn read(value: Option<Json>) -> Result<SessionCookie, &'static str> {
    let Some(mut value) = value else { return Ok(SessionCookie::default()) };
    let Json::Object(fields) = &mut value else { return Err(value.kind()) };
    let mut read = SessionCookie::default();
    for (key, mut value) in std::mem::take(fields) {
        match answers(&mut value) {
            Some(answers) if key == QUESTIONS => read.questions = Some(answers),
            Some(_) | None => {
                // Without text that is not UTF-8 and keys that are no strings nothing of it can fail.
                let text = serde_json::to_string(&value).unwrap_or_else(|_| "null".into());
                read.others.insert(key, text);
            }
        }
    }
    Ok(read)
}

/// An object of strings.
fn answers(value: &mut Json) -> Option<BTreeMap<String, String>> {
    let Json::Object(fields) = value else { return None };
    if !fields.iter().all(|(_, value)| matches!(value, Json::Text(_))) {
        return None;
    }
    let text = |value: &mut Json| if let Json::Text(text) = value { std::mem::take(text) } else { String::new() };
    Some(fields.iter_mut().map(|(key, value)| (key.clone(), text(value))).collect())
}

/// The session cookie, to be written.
pub struct Written<'a>(pub &'a SessionCookie);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let SessionCookie { questions, others } = self.0;
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in others.iter().filter(|(key, _)| questions.is_none() || *key != QUESTIONS) {
            match serde_json::from_str::<&RawValue>(value) {
                Ok(value) => map.serialize_entry(key, value)?,
                Err(_) => map.serialize_entry(key, value)?,
            }
        }
        if let Some(questions) = questions {
            map.serialize_entry(QUESTIONS, questions)?;
        }
        map.end()
    }
}

//! What a service that decides in countersign's words says: one JSON object, read strictly.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::ClientError;
use super::super::http::Answer;
use crate::domain::claimant::{Claimant, Subscriber};
use crate::domain::foreign::{Foreign, is_deceptive};
use crate::domain::outcome::{Metadata, Prompt, Remarks, STATE_LIMIT};
use crate::domain::verdict::Echo;

/// How long a text may be, in bytes.
const TEXT: usize = 4096;

/// How long the key of a question may be, in characters.
const KEY: usize = 64;

/// How long what goes to the gateway as it is may be, in bytes: the metadata, and the session cookie.
const KEPT: usize = 16 * 1024;

/// How many groups there may be.
const GROUPS: usize = 1024;

/// What the service decided.
#[derive(Debug)]
pub enum Decision {
    Yes(Remarks),
    No(Remarks),
    /// One more thing to type; `state` is JSON.
    Ask {
        prompt: Prompt,
        state: String,
    },
    /// Neither yes nor no.
    Neither,
}

/// Of the same text, what goes on as it is written.
#[derive(Deserialize)]
struct Written {
    metadata: Option<Box<RawValue>>,
    state: Option<Box<RawValue>>,
    session_cookie: Option<BTreeMap<String, Box<RawValue>>>,
}

/// What `answer` says. `typed` is what the claimant typed, which is not given away again.
///
/// # Errors
/// A communication error where the status is not 200, or it says anything but a verdict.
pub fn read(answer: &Answer, typed: Option<&str>) -> Result<Decision, ClientError> {
    if answer.status != 200 {
        return Err(answer.unexpected());
    }
    let value = answer.json()?;
    let text = answer.text()?;
    let wrong = |what: String| ClientError::unexpected(format!("the answer is no verdict: {what}"));
    let Value::Object(members) = value else { return Err(wrong(format!("{}, and no object", kind(&value)))) };
    let mut fields = Fields(members);
    let Some(verdict) = fields.0.remove("verdict") else { return Err(wrong("there is no verdict in it".into())) };
    let word = match verdict {
        Value::Null => None,
        Value::String(word) => Some(word),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            return Err(wrong(format!("verdict is {}", kind(&verdict))));
        }
    };
    let decision = match word.as_deref() {
        None => Ok(Decision::Neither),
        Some("accept") => fields.remarks(text, typed).map(Decision::Yes),
        Some("reject") => fields.remarks(text, typed).map(Decision::No),
        Some("need_info") => fields.question(text),
        Some(other) => Err(format!("verdict is \"{}\"; expected accept, reject, need_info or null", Foreign(other))),
    };
    let decision = decision.map_err(wrong)?;
    // What was not taken is null, or does not belong there.
    match fields.0.iter().find(|(_, value)| !value.is_null()) {
        Some((name, _)) => Err(wrong(format!("\"{}\" does not belong there", Foreign(name)))),
        None => match fields.0.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            Some(name) => Err(wrong(format!("\"{}\" is unknown", Foreign(name)))),
            None => Ok(decision),
        },
    }
}

/// The members that there can be beside the verdict.
const KNOWN: [&str; 8] =
    ["reason", "message", "question", "state", "gateway_user", "gateway_groups", "metadata", "session_cookie"];

/// The members that were not taken yet.
struct Fields(Map<String, Value>);

impl Fields {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= TEXT => Ok(Some(text)),
            Some(Value::String(_)) => Err(format!("{name} is longer than {TEXT} bytes")),
            Some(other) => Err(format!("{name} is {}; expected text", kind(&other))),
        }
    }

    fn remarks(&mut self, text: &str, typed: Option<&str>) -> Result<Remarks, String> {
        let written: Written = serde_json::from_str(text).map_err(|_| "session_cookie is no object".to_owned())?;
        let Written { metadata, state: _, session_cookie } = written;
        let metadata = match self.take("metadata") {
            None => None,
            Some(Value::String(text)) => Some(Metadata::Text(text)),
            Some(_) => metadata.map(|json| Metadata::Json(json.get().to_owned())),
        };
        let session_cookie = self.session_cookie(session_cookie)?;
        let length = |metadata: &Metadata| match metadata {
            Metadata::Text(text) | Metadata::Json(text) => text.len(),
        };
        if metadata.as_ref().is_some_and(|metadata| length(metadata) > KEPT) {
            return Err(format!("metadata is longer than {KEPT} bytes"));
        }
        let gateway_user = match self.text("gateway_user")? {
            None => None,
            Some(name) => {
                named(&name).map_err(|flaw| format!("gateway_user {flaw}"))?;
                Some(Claimant(name))
            }
        };
        let gateway_groups = self.groups()?;
        if gateway_user.is_none() && !gateway_groups.is_empty() {
            return Err("gateway_groups are there without gateway_user".into());
        }
        let masked = |text: String| match typed.filter(|typed| typed.chars().count() >= super::facts::TELLING) {
            Some(typed) => text.replace(typed, "…"),
            None => text,
        };
        let reason = self.text("reason")?.filter(|reason| !reason.is_empty()).map(masked);
        let message = self.text("message")?.map(|text| safe(&text));
        let metadata = metadata.map(|metadata| match metadata {
            Metadata::Text(text) => Metadata::Text(masked(text)),
            Metadata::Json(json) => Metadata::Json(masked(json)),
        });
        Ok(Remarks { reason, message, metadata, gateway_user, gateway_groups, session_cookie })
    }

    fn groups(&mut self) -> Result<Vec<String>, String> {
        let wrong = || format!("gateway_groups is no list of at most {GROUPS} names of groups");
        let groups = match self.take("gateway_groups") {
            None => return Ok(Vec::new()),
            Some(Value::Array(groups)) if groups.len() <= GROUPS => groups,
            Some(_) => return Err(wrong()),
        };
        let group = |group: Value| match group {
            Value::String(name) if named(&name).is_ok() => Ok(name),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                Err(wrong())
            }
        };
        groups.into_iter().map(group).collect()
    }

    fn question(&mut self, text: &str) -> Result<Decision, String> {
        let written: Written = serde_json::from_str(text).map_err(|_| "session_cookie is no object".to_owned())?;
        let Written { metadata: _, state, session_cookie } = written;
        let session_cookie = self.session_cookie(session_cookie)?;
        let question = match self.take("question") {
            None => return Err("there is no question in it".into()),
            Some(Value::Object(members)) => members,
            Some(other) => return Err(format!("question is {}; expected an object", kind(&other))),
        };
        let mut question = Self(question);
        let key = question.text("key")?.ok_or("question has no key")?;
        if key.is_empty() || key.chars().count() > KEY || key.chars().any(is_deceptive) {
            return Err(format!("the key of question is no name of at most {KEY} characters"));
        }
        let prompt = question.text("prompt")?.ok_or("question has no prompt")?;
        let echo = match question.take("disable_echo") {
            None => None,
            Some(Value::Bool(true)) => Some(Echo::Hide),
            Some(Value::Bool(false)) => Some(Echo::Show),
            Some(other) => return Err(format!("disable_echo is {}; expected true or false", kind(&other))),
        };
        if let Some(name) = question.0.keys().next() {
            return Err(format!("\"{}\" does not belong into question", Foreign(name)));
        }
        self.take("state");
        let state = state.map_or_else(|| "null".to_owned(), |state| state.get().to_owned());
        if state.len() > STATE_LIMIT {
            return Err(format!("state is longer than {STATE_LIMIT} bytes"));
        }
        let text = safe(&prompt);
        Ok(Decision::Ask { prompt: Prompt { text, key, echo, session_cookie }, state })
    }

    /// What is to go into the session cookie.
    fn session_cookie(
        &mut self,
        written: Option<BTreeMap<String, Box<RawValue>>>,
    ) -> Result<BTreeMap<String, String>, String> {
        self.take("session_cookie");
        let entries: BTreeMap<String, String> =
            written.into_iter().flatten().map(|(key, value)| (key, value.get().to_owned())).collect();
        let size: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        if size > KEPT { Err(format!("session_cookie is longer than {KEPT} bytes")) } else { Ok(entries) }
    }
}

/// Whether `name` can be that of a user or group: also what stands around it goes to the gateway.
fn named(name: &str) -> Result<Subscriber, &'static str> {
    if name.chars().any(is_deceptive) {
        return Err("holds control or invisible characters");
    }
    Subscriber::presentable(name)
}

/// Text of a service that the claimant sees: its lines and columns, with what cannot be seen in them made visible. Nothing is cut, as
/// it is no longer than [`TEXT`].
fn safe(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c => Foreign(c.encode_utf8(&mut [0; 4])).to_string(),
    };
    text.replace("\r\n", "\n").chars().map(shown).collect()
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

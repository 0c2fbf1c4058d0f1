//! What an answer needs of its request, carried in the [`RequestId`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::super::RequestId;
use super::super::tree::Json;
use crate::domain::request::Kind;

/// What is put away; only what has the type that it must have.
#[derive(Serialize)]
struct Keep<'a> {
    hook: Option<&'static str>,
    user: Option<&'a str>,
    cookie: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_cookie: Option<&'a Json>,
}

/// What was put away.
#[derive(Default, Deserialize)]
pub struct Kept<'a> {
    #[serde(borrow)]
    hook: Option<Cow<'a, str>>,
    /// `gateway_user` as it came.
    pub user: Option<String>,
    /// The cookie as it came, by key.
    #[serde(borrow)]
    pub cookie: Option<BTreeMap<String, &'a RawValue>>,
    /// The session cookie as it came, which may be null.
    #[serde(borrow, default, deserialize_with = "there")]
    pub session_cookie: Option<&'a RawValue>,
}

/// Puts away what the answer needs of a call of `hook` with `arguments`, as far as either could be read.
pub fn keep(hook: Option<&Kind>, arguments: Option<&Json>) -> Option<RequestId> {
    let argument = |name| arguments.and_then(|arguments| arguments.field(name));
    let object = |name| argument(name).filter(|value| matches!(value, Json::Object(_)));
    let keep = Keep {
        hook: hook.map(Kind::word),
        user: match argument("gateway_user") {
            Some(Json::Text(user)) => Some(user),
            Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) | None => None,
        },
        cookie: object("cookie"),
        session_cookie: argument("session_cookie").filter(|value| matches!(value, Json::Object(_) | Json::Null)),
    };
    serde_json::to_string(&keep).ok().map(RequestId)
}

/// A null that came is more than nothing.
fn there<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Kept<'a> {
    /// What `id` carries; nothing where there is none.
    pub fn of(id: Option<&'a RequestId>) -> Self {
        id.and_then(|id| serde_json::from_str(&id.0).ok()).unwrap_or_default()
    }

    /// Whether the request was a call of `hook`.
    pub fn is(&self, hook: &Kind) -> bool {
        self.hook.as_deref() == Some(hook.word())
    }
}

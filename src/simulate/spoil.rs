//! Right answers, spoilt: the body is not what the service would say.

use serde_json::{Map, Value};

use super::response::Response;

/// The body as text.
fn text(accept: &Response) -> Option<&str> {
    std::str::from_utf8(&accept.body).ok()
}

/// The members of a body that is a JSON object.
fn members(accept: &Response) -> Option<Map<String, Value>> {
    serde_json::from_slice(&accept.body).ok()
}

/// The media type without parameters.
fn media(accept: &Response) -> &str {
    accept.header("content-type").and_then(|value| value.split(';').next()).unwrap_or("text/plain")
}

/// Another body, made of the text of one that is a JSON object.
pub fn json(accept: &Response, change: impl FnOnce(&str) -> String) -> Option<Response> {
    members(accept)?;
    Some(accept.clone().body(change(text(accept)?)))
}

/// The same in another character set, or said to be.
pub fn charset(accept: &Response, name: &str) -> Response {
    accept.clone().content_type(&format!("{}; charset={name}", media(accept)))
}

/// In UTF-16, and said to be.
pub fn wide(accept: &Response) -> Option<Response> {
    let body: Vec<u8> = text(accept)?.encode_utf16().flat_map(u16::to_be_bytes).collect();
    Some(charset(accept, "utf-16").body(body))
}

/// With a byte in it that no UTF-8 has.
pub fn latin(accept: &Response) -> Response {
    let body = match text(accept).and_then(|text| text.trim_start().strip_prefix('{')) {
        Some(rest) => [b"{\"note\": \"\xe9\",", rest.as_bytes()].concat(),
        None => [&*accept.body, b"\nnote=\xe9\n"].concat(),
    };
    accept.clone().body(body)
}

/// With every key twice.
pub fn twice(accept: &Response) -> Option<Response> {
    let members: Vec<String> =
        members(accept)?.iter().map(|(key, value)| format!("{}:{value}", Value::from(&**key))).collect();
    let members = members.join(",");
    Some(accept.clone().body(format!("{{{members},{members}}}")))
}

/// With something else wherever it says true; `None` where it does not say so.
pub fn truth(accept: &Response, truth: &Value) -> Option<Response> {
    let mut body = Value::Object(members(accept)?);
    (replace(&mut body, truth) > 0).then(|| accept.clone().body(body.to_string()))
}

/// Replaces everything that is true, and says how much was.
fn replace(value: &mut Value, truth: &Value) -> usize {
    match value {
        Value::Bool(true) => {
            *value = truth.clone();
            1
        }
        Value::Array(items) => items.iter_mut().map(|item| replace(item, truth)).sum(),
        Value::Object(members) => members.values_mut().map(|item| replace(item, truth)).sum(),
        Value::Null | Value::Bool(false) | Value::Number(_) | Value::String(_) => 0,
    }
}

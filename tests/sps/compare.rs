//! Whether what came is what the SDK answered.

use serde_json::{Map, Value};

use super::case::Case;
use super::rig::Finished;

/// What the SDK keeps in the cookie for itself.
pub const PRIVATE: [&str; 3] = ["__plugin_sdk_private", "username", "mfa_identity"];

/// What is compared of a verdict. The cookie is not: ours is sealed, and holds other things.
const COMPARED: [&str; 7] =
    ["verdict", "question", "reason", "gateway_user", "gateway_groups", "session_cookie", "additional_metadata"];

/// What came, in one word.
pub fn answer(finished: &Finished) -> String {
    match (finished.status, finished.stdout.as_str()) {
        (Some(78), "") => "refused at start".into(),
        (Some(0), "null\n") => "null".into(),
        (Some(0), line) if line.matches('\n').count() == 1 => match serde_json::from_str::<Value>(line) {
            Ok(answer) => answer["verdict"].as_str().unwrap_or("no verdict").to_owned(),
            Err(_) => "no JSON".into(),
        },
        (status, line) => format!("status {status:?} and {} lines", line.matches('\n').count()),
    }
}

/// In what they differ; nothing where they do not.
pub fn differences(
    case: &Case,
    request: &Map<String, Value>,
    finished: &Finished,
    calls: &[Vec<String>],
) -> Vec<String> {
    if let Some(exception) = case.exception() {
        return vec![format!("the SDK left by {exception}")];
    }
    if finished.status != Some(0) || finished.stdout.matches('\n').count() != 1 {
        return vec![format!("status {:?}, said {:?}", finished.status, finished.stdout)];
    }
    let found: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| finished.stdout.clone().into());
    let (Value::Object(expected), Value::Object(found)) = (&case.verdict, &found) else {
        let is_same = case.verdict == found;
        return if is_same { Vec::new() } else { vec![format!("expected {}, found {found}", case.verdict)] };
    };
    let mut differences = Vec::new();
    let mut note = |what: &str, expected: &str, found: &str| {
        differences.push(format!("{what}: expected {expected}, found {found}"));
    };
    let show = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    for field in COMPARED {
        let (expected, found) = (expected.get(field), found.get(field));
        let is_same = match field {
            "additional_metadata" => is_same_metadata(case, expected, found),
            _ => expected == found,
        };
        if !is_same {
            note(field, &show(expected), &show(found));
        }
    }
    let known = |name: &String| COMPARED.contains(&name.as_str()) || name == "cookie";
    for name in found.keys().filter(|name| !known(name)) {
        note(name, "nothing", &show(found.get(name)));
    }
    let cookies = (request.get("cookie").and_then(Value::as_object), found.get("cookie"));
    for (key, value) in cookies.0.into_iter().flatten().filter(|(key, _)| !PRIVATE.contains(&key.as_str())) {
        let came = cookies.1.and_then(|cookie| cookie.get(key));
        if key != "countersign" && came != Some(value) {
            note("cookie", &value.to_string(), &show(came));
        }
    }
    let (expected, found) = (seen(case), calls.to_vec());
    if expected.as_ref().is_some_and(|expected| *expected != found) {
        note("client_calls", &format!("{expected:?}"), &format!("{found:?}"));
    }
    differences
}

/// Where the SDK repeats what the client library says of its own trouble, ours says it in its own words.
fn is_same_metadata(case: &Case, expected: Option<&Value>, found: Option<&Value>) -> bool {
    let texts = (expected.and_then(Value::as_str), found.and_then(Value::as_str));
    let (Some(expected), Some(found)) = texts else { return expected == found };
    let is_own = |verdict: &str| case.said("verdict").and_then(Value::as_str) == Some(verdict);
    let is_trouble = case
        .client_behaviour
        .values()
        .filter_map(|behaviour| behaviour.raise.as_deref())
        .any(|raise| raise.ends_with("MFACommunicationError") || raise.ends_with("MFAServiceUnreachable"));
    let shown = case.said("reason").and_then(Value::as_str);
    if is_own("DENY") && is_trouble && matches!(shown, Some("Communication Error" | "Backend service unreachable")) {
        let reason = |text: &str| {
            let value: Value = serde_json::from_str(text).ok()?;
            let members = value.as_object().filter(|members| members.len() == 1)?;
            members.get("reason")?.as_str().map(str::to_owned)
        };
        return match (reason(expected), reason(found)) {
            (Some(expected), Some(found)) => !found.is_empty() && (found != "N/A" || expected == "N/A"),
            _ => false,
        };
    }
    // The plugin's name for itself, and ours for the section.
    expected.replace("ACME plugin", "acme") == found.replace("http acme", "acme")
}

/// What the service can see of what the client was asked; `None` where there was no such client.
fn seen(case: &Case) -> Option<Vec<Vec<String>>> {
    if case.plugin != "acme" {
        return None;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let is_deaf = |name: &str| {
        let behaviour = case.client_behaviour.get(name);
        behaviour.and_then(|b| b.raise.as_deref()).is_some_and(|raise| raise.ends_with("MFAServiceUnreachable"))
    };
    let calls = case.client_calls.iter().filter_map(|call| {
        let name = text(call.first()?);
        match name.as_str() {
            _ if is_deaf(&name) => None,
            // Our service hears of no end of a session.
            "session_ended" => None,
            // The user's own name, then the identity that is asked for.
            "authorize" | "authenticate" => Some(vec![name, text(call.get(2)?)]),
            _ => Some(call.iter().map(text).collect()),
        }
    });
    Some(calls.collect())
}

//! The scripted client as a service behind `[http acme]`: what a method returned or raised, in the words of verdicts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::case::{Behaviour, Case};
use super::python;
use super::rig::http::{Request, Response};
use super::rig::web::{Misbehaviour, Reply, Web};

/// What SPS shows of an authorization that no plugin looked at.
const NOBODY_ASKED: &str = "Authorize hook not implemented";

/// A service that acts one case after the other.
pub struct Service {
    web: Web,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    case: Option<Case>,
    calls: Vec<Vec<String>>,
}

/// What is there of a verdict in the SDK's words.
#[derive(Clone, Debug, Default)]
struct Said {
    verdict: Option<Value>,
    metadata: Option<Box<RawValue>>,
    /// `deny_reason`: what the claimant sees.
    shown: Option<String>,
    reason: Option<String>,
    question: Option<Value>,
    cookie: Option<Box<RawValue>>,
    session_cookie: Option<Box<RawValue>>,
    gateway_user: Option<Value>,
    gateway_groups: Option<Value>,
}

/// The answer on the wire.
#[derive(Default, Serialize)]
struct Wire {
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    question: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_cookie: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_user: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_groups: Option<Value>,
}

impl Service {
    /// A service that answers nothing yet.
    pub fn start() -> Self {
        let script: Arc<Mutex<Script>> = Arc::default();
        let acted = Arc::clone(&script);
        let web = Web::serve(move |request: &Request| act(&mut acted.lock().unwrap(), request));
        // A recorded token need not be what a header may hold.
        web.excuse();
        Self { web, script }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.web.url("").trim_end_matches('/').to_owned()
    }

    /// From now on, acts `case`.
    pub fn play(&self, case: &Case) {
        *self.script.lock().unwrap() = Script { case: Some(case.clone()), calls: Vec::new() };
    }

    /// What it was asked since then: what for, about whom, and the code.
    pub fn calls(&self) -> Vec<Vec<String>> {
        self.script.lock().unwrap().calls.clone()
    }
}

fn act(script: &mut Script, request: &Request) -> Reply {
    let Some(case) = &script.case else { return Response::empty(500).into() };
    let body = request.json();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let step = request.path.trim_start_matches('/').to_owned();
    if case.plugin == "secret" {
        let token = request.header("x-token").map_or(Value::Null, |token| json!(token));
        let reason = Some(format!("token={}", python::repr(&token)));
        return wire(&Wire { verdict: Some("accept"), reason, ..Wire::default() });
    }
    let hook = if step == "authorize" { "authorize" } else { "authenticate" };
    let (name, behaviour) = match case.client_behaviour.get(hook) {
        Some(behaviour) => (hook, Some(behaviour)),
        None => (step.as_str(), case.client_behaviour.get(&step)),
    };
    if name == "authorize" && behaviour.is_none() {
        // Another call of the same sequence looks at it; this one has nothing to say.
        let reason = Some(NOBODY_ASKED.to_owned());
        return wire(&Wire { verdict: Some("accept"), reason, ..Wire::default() });
    }
    let mut call = vec![name.to_owned(), text("user")];
    if name == "otp" {
        call.push(text("otp"));
    }
    script.calls.push(call);
    // A method that is not overridden raises.
    let Some(behaviour) = behaviour else { return Misbehaviour::Close.into() };
    let returned = behaviour.returns.as_ref().map(|raw| read(raw));
    match (name == hook, returned) {
        // Only of the client's own methods these are yes and no.
        (true, Some(Value::Bool(true))) => Response::json(200, &json!(true)).into(),
        (true, Some(Value::Bool(false))) => wire(&Wire::default()),
        _ => reply(behaviour),
    }
}

fn wire(answer: &Wire) -> Reply {
    Response::new(200, "application/json", serde_json::to_string(answer).unwrap()).into()
}

fn reply(behaviour: &Behaviour) -> Reply {
    if let Some(exception) = &behaviour.raise {
        let arguments = behaviour.args.clone().unwrap_or_else(|| behaviour.message.iter().cloned().collect());
        let said = Some(python::exception(&arguments)).filter(|said| !said.is_empty());
        return match exception.rsplit('.').next().unwrap_or_default() {
            "MFAAuthenticationFailure" => {
                let message = Some("Authentication failed".to_owned());
                wire(&Wire { verdict: Some("reject"), reason: said, message, ..Wire::default() })
            }
            "MFACommunicationError" => Response::json(500, &json!({"error": said})).into(),
            // Whatever else is raised, the service goes away in the middle of its answer.
            _ => Misbehaviour::HalfBody(Response::json(200, &json!({"verdict": "accept", "reason": "torn"}))).into(),
        };
    }
    if let Some(response) = &behaviour.response {
        return in_words(said(response));
    }
    let Some(raw) = &behaviour.returns else { return Response::empty(500).into() };
    let value = read(raw);
    if value != Value::Bool(false) && is_falsy(&value) {
        return wire(&Wire::default());
    }
    match value {
        Value::Bool(true) => wire(&Wire { verdict: Some("accept"), ..Wire::default() }),
        Value::Bool(false) => wire(&Wire { verdict: Some("reject"), ..Wire::default() }),
        Value::Object(_) => in_words(Said::raw(raw)),
        // No verdict, and it goes as it is.
        value @ (Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Response::json(200, &value).into()
        }
    }
}

fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

impl Said {
    /// A verdict that a plugin wrote by hand.
    fn raw(raw: &RawValue) -> Self {
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(raw.get()).unwrap();
        let value = |name: &str| members.get(name).map(|raw| read(raw));
        Self {
            verdict: value("verdict"),
            metadata: members.get("additional_metadata").cloned(),
            shown: value("reason").and_then(text),
            reason: None,
            question: value("question").map(|question| {
                let Value::Array(parts) = &question else { return question };
                let part = |index: usize| parts.get(index).cloned();
                json!({"key": part(0), "prompt": part(1), "disable_echo": part(2)})
            }),
            cookie: members.get("cookie").cloned(),
            session_cookie: members.get("session_cookie").cloned(),
            gateway_user: value("gateway_user"),
            gateway_groups: value("gateway_groups"),
        }
    }
}

fn read(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap()
}

fn text(value: Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// What a chain of AAResponse makes: a constructor, then `with_...`.
fn said(chain: &[Vec<Box<RawValue>>]) -> Said {
    let mut said = Said::default();
    for (index, call) in chain.iter().enumerate() {
        let name = text(read(&call[0])).unwrap();
        let mut arguments = &call[1..];
        let mut named = serde_json::Map::new();
        let takes_names = index == 0 && name != "raw" || name == "with_gateway_user";
        if takes_names && let Some(Value::Object(last)) = arguments.last().map(|raw| read(raw)) {
            named = last;
            arguments = &arguments[..arguments.len() - 1];
        }
        let argument = |at: usize, name: &str| {
            let value = arguments.get(at).map(|raw| read(raw)).or_else(|| named.get(name).cloned());
            value.filter(|value| !value.is_null())
        };
        let first = arguments.first().cloned();
        match name.as_str() {
            "accept" => {
                said.verdict = Some(json!("ACCEPT"));
                said.reason = argument(0, "reason").and_then(text);
            }
            "deny" => {
                said.verdict = Some(json!("DENY"));
                said.reason = argument(0, "reason").and_then(text);
                said.shown = argument(1, "deny_reason").and_then(text);
            }
            "need_info" => {
                said.verdict = Some(json!("NEEDINFO"));
                said.question = Some(json!({
                    "prompt": argument(0, "question"),
                    "key": argument(1, "key"),
                    "disable_echo": argument(2, "disable_echo").unwrap_or(json!(false)),
                }));
            }
            "raw" => said = Said::raw(&first.unwrap()),
            "with_additional_metadata" => said.metadata = first.filter(|raw| raw.get() != "null"),
            "with_cookie" => said.cookie = first,
            "with_session_cookie" => said.session_cookie = first,
            "with_gateway_user" => {
                said.gateway_user = argument(0, "gateway_user");
                // A text is taken apart, as whatever has parts.
                said.gateway_groups = argument(1, "gateway_groups").map(|groups| match groups.as_str() {
                    Some(text) => text.chars().map(String::from).collect(),
                    None => groups,
                });
            }
            "with_reason" => said.shown = first.and_then(|raw| text(read(&raw))),
            other => panic!("{other}"),
        }
    }
    said
}

fn in_words(said: Said) -> Reply {
    let Said { verdict, metadata, shown, reason, question, cookie, session_cookie, gateway_user, gateway_groups } =
        said;
    let mut answer = match verdict.as_ref().and_then(Value::as_str) {
        Some("ACCEPT") => Wire { verdict: Some("accept"), reason, message: shown, ..Wire::default() },
        Some("DENY") => Wire { verdict: Some("reject"), reason, message: shown, ..Wire::default() },
        Some("NEEDINFO") => {
            let (verdict, state) = (Some("need_info"), cookie);
            return wire(&Wire { verdict, question, state, session_cookie, ..Wire::default() });
        }
        // No verdict, and it goes as one that is none of ours either.
        _ => return Response::json(200, &json!({"verdict": "none", "recorded": verdict})).into(),
    };
    answer.metadata = metadata;
    answer.session_cookie = session_cookie;
    answer.gateway_groups = gateway_groups.filter(|_| gateway_user.is_some());
    answer.gateway_user = gateway_user;
    wire(&answer)
}

//! The dialect of the SPS plugin SDK through the executable: every form of a verdict to the letter, every call that is not
//! one, hostile names and lines, and a process that dies (docs/gateways/sps.md).
#![cfg(debug_assertions)]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where its helpers fail"
)]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

#[path = "gateway_sps/document.rs"]
mod document;
#[path = "gateway_sps/hostile.rs"]
mod hostile;
#[path = "gateway_sps/malformed.rs"]
mod malformed;
#[path = "gateway_sps/verdicts.rs"]
mod verdicts;

use rig::{Finished, Home, Phone};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// At the middle of time step [`STEP`].
const NOW: u64 = 1_767_268_815;

/// The time step of [`NOW`], at a period of 30 s.
const STEP: u64 = NOW / 30;

/// What is asked where nothing was typed.
const PROMPT: &str = "Press Enter for push notification or type one-time password: ";

/// The dict of a verdict, with everything that can be in it and nothing else.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dict {
    verdict: String,
    question: Option<(String, String, bool)>,
    additional_metadata: Option<String>,
    reason: Option<String>,
    gateway_user: Option<String>,
    gateway_groups: Option<Vec<String>>,
    cookie: Map<String, Value>,
    #[serde(deserialize_with = "null_or_not")]
    session_cookie: Map<String, Value>,
}

/// A session cookie that came as null goes back as null.
fn null_or_not<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Dict {
    /// Reads a line of output, and holds it to the shape that each verdict has.
    #[track_caller]
    fn parse(line: &str) -> Self {
        let dict: Self = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let keys = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let mut keys = keys(&serde_json::from_str(line).unwrap());
        keys.retain(|key| !["verdict", "cookie", "session_cookie"].contains(&key.as_str()));
        keys.sort();
        let allowed: &[&[&str]] = match dict.verdict.as_str() {
            "ACCEPT" => &[&["additional_metadata"], &["additional_metadata", "gateway_groups", "gateway_user"]],
            "DENY" => &[&["additional_metadata", "reason"]],
            "NEEDINFO" => &[&["question"]],
            other => panic!("{other}: {line}"),
        };
        assert!(allowed.contains(&keys.iter().map(String::as_str).collect::<Vec<_>>().as_slice()), "{line}");
        dict
    }

    /// The reason in the metadata, which must be there, and written as Python would.
    #[track_caller]
    fn metadata(&self) -> String {
        let text = self.additional_metadata.as_deref().expect("metadata");
        assert!(text.is_ascii(), "{text}");
        let metadata: Map<String, Value> = serde_json::from_str(text).unwrap();
        assert!(text.starts_with("{\"reason\": \"") && metadata.len() == 1, "{text}");
        metadata["reason"].as_str().unwrap().to_owned()
    }

    /// What the user is told.
    fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }
}

/// Whether a call is refused as malformed; if so, what the metadata says.
#[track_caller]
fn refused(dict: &Dict) -> String {
    assert_eq!((dict.verdict.as_str(), dict.reason()), ("DENY", "Invalid request"), "{dict:?}");
    dict.metadata()
}

/// The arguments that every `hook` takes, of alice over ssh who typed nothing, with `more` in them.
fn arguments(hook: &str, more: Value) -> Value {
    let mut arguments = json!({"cookie": {}, "session_cookie": {}, "session_id": "svc/s-1:1"});
    let fields = arguments.as_object_mut().unwrap();
    if hook != "session_ended" {
        let Value::Object(connection) = json!({
            "protocol": "ssh", "connection_name": "ssh_default", "client_ip": "192.0.2.10", "client_port": 50022,
            "client_hostname": null, "gateway_user": "alice", "gateway_domain": null, "server_username": "root",
            "server_domain": null, "key_value_pairs": {},
        }) else {
            panic!()
        };
        fields.extend(connection);
    }
    if hook == "authorize" {
        let Value::Object(target) = json!({
            "gateway_groups": ["admins"], "server_ip": "198.51.100.7", "server_port": 22,
            "server_hostname": "server.example.com",
        }) else {
            panic!()
        };
        fields.extend(target);
    }
    let Value::Object(more) = more else { panic!("not an object: {more}") };
    fields.extend(more);
    arguments
}

/// A call of `hook` with these arguments.
fn call(hook: &str, arguments: &Value) -> Value {
    json!({"hook": hook, "arguments": arguments})
}

/// What a process of its own answers to `input`, one line a line.
#[track_caller]
fn lines(home: &Home, input: impl AsRef<[u8]>) -> Vec<String> {
    let Finished { status, stdout, stderr } = home.run(&["gateway", "sps"], input);
    assert_eq!((status, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.is_empty() || stdout.ends_with('\n'), "{stdout}");
    stdout.lines().map(Into::into).collect()
}

/// The one line that a process of its own answers to one call.
#[track_caller]
fn line(home: &Home, hook: &str, arguments: &Value) -> String {
    let mut lines = lines(home, format!("{}\n", call(hook, arguments)));
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// The verdict of a process of its own on one call.
#[track_caller]
fn ask(home: &Home, hook: &str, arguments: &Value) -> Dict {
    Dict::parse(&line(home, hook, arguments))
}

/// A home at [`NOW`] where alice has a phone.
fn alice() -> (Home, Phone) {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    home.set_clock(NOW);
    (home, phone)
}

//! The client of privacyIDEA, through the executable: against the server itself wherever a login can bring it there, and
//! against its recorded answers where none can.
//!
//! `cargo test --test privacyidea -- --nocapture` prints what came of each recorded situation.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

#[path = "privacyidea/faults.rs"]
mod faults;
#[path = "privacyidea/protocol.rs"]
mod protocol;
#[path = "privacyidea/recorded.rs"]
mod recorded;
#[path = "privacyidea/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use rig::http::Response;
use rig::services::Account;
use rig::{Answer, Home, request};
use serde_json::{Value, json};

const EXCHANGES: &str = include_str!("services/privacyidea/exchanges.jsonl");

// --------------------------------------------------------------------------------------------------------- the rig

/// A home with the section [privacyidea] for the server at `url` and these options in it.
fn home(url: &str, options: &[(&str, &str)]) -> Home {
    let home = Home::init();
    home.set("plugin", "clients", "privacyidea");
    home.set("privacyidea", "url", url);
    home.set("privacyidea", "allow_insecure_http", "yes");
    for (name, value) in options {
        home.set("privacyidea", name, value);
    }
    // Nobody here is kept waiting for having failed.
    home.set("throttle", "failures", "1000");
    home.set("throttle", "source_failures", "1000000");
    home.set("push", "block", "0");
    home
}

/// The options of a service account.
fn account(account: &Account) -> [(&str, &str); 2] {
    [("service_user", &account.name), ("service_password", &account.password)]
}

/// One claimant in one session, over ssh.
struct Login<'a> {
    home: &'a Home,
    user: String,
    session: String,
    cookie: Option<String>,
}

impl<'a> Login<'a> {
    fn new(home: &'a Home, user: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let session = format!("login {}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self { home, user: user.to_owned(), session, cookie: None }
    }

    fn request(&self, otp: &str) -> Value {
        let more = json!({"session_id": self.session, "key_value_pairs": {"otp": otp}});
        let mut request = request(self.session.clone(), &self.user, more);
        if let Some(cookie) = &self.cookie {
            request["cookie"] = json!(cookie);
        }
        request
    }

    /// The answer of a process of its own to `otp`; empty is Enter.
    fn types(&mut self, otp: &str) -> Answer {
        let answer = self.home.ask_one(&self.request(otp));
        if answer.verdict() == "need_info" {
            self.cookie = answer.cookie.clone();
        }
        answer
    }
}

/// What an answer says, in one word or two.
fn told(answer: &Answer) -> String {
    match (answer.verdict(), &answer.factor) {
        ("accept", Some(factor)) => format!("accept/{factor}"),
        ("need_info", _) => format!("ask: {}", answer.question.as_ref().unwrap().prompt.trim_end()),
        _ => answer.told(),
    }
}

const WRONG: &str = "authentication_failure/wrong_code";
const USED: &str = "authentication_failure/used_code";
const LOCKED: &str = "authentication_failure/locked";
const NOT_ENROLLED: &str = "authentication_failure/not_enrolled";
const POLICY: &str = "authentication_failure/service_policy";
const NO_DEVICE: &str = "authentication_failure/no_device";
const GONE: &str = "authentication_failure/challenge_gone";
const REFUSED: &str = "authentication_failure/push_refused";
const REPORTED: &str = "authentication_failure/push_reported";
const UNANSWERED: &str = "authentication_failure/push_unanswered";
const CREDENTIALS: &str = "communication_error/credentials_refused";
const STRANGE: &str = "communication_error/unexpected_answer";
const ASKED: &str = "ask: please enter otp:";

fn exchanges() -> BTreeMap<String, Value> {
    let exchanges = EXCHANGES.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let asked = exchanges.filter(|exchange| exchange["request"].is_object());
    asked.map(|exchange| (exchange["id"].as_str().unwrap().to_owned(), exchange)).collect()
}

/// A recorded answer.
fn recorded(exchanges: &BTreeMap<String, Value>, id: &str) -> Response {
    let response = &exchanges[id]["response"];
    let status = u16::try_from(response["status"].as_u64().unwrap()).unwrap();
    match response.get("json") {
        Some(body) => Response::json(status, body),
        None => {
            let kind = response["headers"]["Content-Type"].as_str().unwrap();
            Response::new(status, kind, response["body"].as_str().unwrap())
        }
    }
}

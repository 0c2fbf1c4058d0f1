//! A small Okta on the loopback, for tests that are about what every client has in common: everybody has a phone, which does
//! what the test says, and the code 123456.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::Home;
use super::http::{Request, Response};
use super::web::Web;

/// What became of the pushes of a subscriber: as a poll says it.
type Phones = Arc<Mutex<BTreeMap<String, &'static str>>>;

/// Okta, with a phone for everybody.
pub struct Okta {
    pub web: Web,
    phones: Phones,
}

impl Okta {
    pub fn start() -> Self {
        let phones = Phones::default();
        let answers = Arc::clone(&phones);
        Self { web: Web::serve(move |request| answer(request, &answers)), phones }
    }

    /// A configuration that asks it first, with `more` in its section.
    pub fn home(&self, more: &str) -> Home {
        let home = Home::init();
        configure(&home, &self.web.url(""), more);
        home
    }

    /// What `user` does with the phone.
    pub fn press(&self, user: &str, what: &'static str) {
        self.phones.lock().unwrap().insert(user.into(), what);
    }

    /// The requests so far whose method and path end in these.
    pub fn count(&self, method: &str, end: &str) -> usize {
        self.web.requests().iter().filter(|r| r.method == method && r.path.ends_with(end)).count()
    }

    pub fn wait_for(&self, method: &str, end: &str, count: usize) {
        self.web.wait_until(|seen| {
            seen.requests.iter().filter(|r| r.method == method && r.path.ends_with(end)).count() >= count
        });
    }
}

/// Puts okta first, at `url`, with `more` in its section.
pub fn configure(home: &Home, url: &str, more: &str) {
    home.set("plugin", "clients", "okta, totp");
    home.set("throttle", "failures", "100");
    let section = format!(
        "\n[okta]\napi_url = {}\napi_key = canary-token\nallow_insecure_http = yes\n{more}\n",
        url.trim_end_matches('/')
    );
    home.append(&section);
}

/// What it answers.
pub fn answer(request: &Request, phones: &Phones) -> Response {
    let host = request.header("host").unwrap();
    let segments: Vec<&str> = request.path.split_once("/api/v1/users/").unwrap().1.split('/').collect();
    let user = segments[0].trim_start_matches("00u").to_owned();
    let link = |end: &str| format!("http://{host}/api/v1/users/00u{user}/factors/ostf1/{end}");
    match (request.method.as_str(), &segments[1..]) {
        ("GET", []) => {
            Response::json(200, &json!({"id": format!("00u{user}"), "status": "ACTIVE", "profile": {"login": user}}))
        }
        ("GET", ["factors"]) => Response::json(
            200,
            &json!([
                {"id": "opff1", "factorType": "token:software:totp", "provider": "OKTA", "status": "ACTIVE"},
                {"id": "ostf1", "factorType": "push", "provider": "OKTA", "status": "ACTIVE"},
            ]),
        ),
        ("POST", ["factors", "ostf1", "verify"]) => {
            let wants_number = !request.body.is_empty() && request.json()["useNumberMatchingChallenge"] == true;
            let mut body = json!({
                "factorResult": "WAITING",
                "_links": {
                    "poll": {"href": link("transactions/t1")},
                    "cancel": {"href": link("transactions/t1")},
                },
            });
            if wants_number {
                body["_embedded"] = json!({"challenge": {"correctAnswer": 42}});
            }
            Response::json(201, &body)
        }
        ("POST", ["factors", "opff1", "verify"]) => match request.json()["passCode"].as_str() {
            Some("123456") => Response::json(200, &json!({"factorResult": "SUCCESS"})),
            _ => Response::json(403, &json!({"errorCode": "E0000068", "errorSummary": "Invalid Passcode/Answer"})),
        },
        ("GET", ["factors", "ostf1", "transactions", "t1"]) => {
            let result = phones.lock().unwrap().get(&user).copied().unwrap_or("WAITING");
            let mut body = json!({"factorResult": result});
            if result == "WAITING" {
                body["_links"] = json!({"poll": {"href": link("transactions/t1")}});
            }
            Response::json(200, &body)
        }
        ("DELETE", ["factors", "ostf1", "transactions", "t1"]) => Response::empty(204),
        _ => panic!("{} {}", request.method, request.target),
    }
}

//! An Okta of our own on the loopback: users, factors and pushes as the API reference describes them, errors as they were
//! recorded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::rig::http::{Request, Response};
use crate::rig::web::{Reply, Web};

/// The API token; never to be seen anywhere else.
pub const TOKEN: &str = "00Wv4canaryTokenOfTheAdministrator8Fw3";

/// What marks the id of every push; never to be seen in a log.
pub const TRANSACTION: &str = "v2mstcanary";

/// What a YubiKey types.
pub const KEY: &str = "ccccccbcgujhingjrdejhgfnuetrgigvejhhgbkugded";

/// What a user can hold: beginning of the id, type, provider, and the right code.
pub const FACTORS: [(&str, &str, &str, &str); 12] = [
    ("gaf", "token:software:totp", "GOOGLE", "135790"),
    ("ost", "token:software:totp", "OKTA", "246810"),
    ("opf", "push", "OKTA", ""),
    ("sms", "sms", "OKTA", "556677"),
    ("clf", "call", "OKTA", "54321"),
    ("emf", "email", "OKTA", "667788"),
    ("rsa", "token", "RSA", "pin4\"7\\11"),
    ("syt", "token", "SYMANTEC", "987654"),
    ("yub", "token:hardware", "YUBICO", KEY),
    ("cst", "token:hotp", "CUSTOM", "13579086"),
    ("ufs", "question", "OKTA", ""),
    ("crp", "signed_nonce", "OKTA", ""),
];

/// What is asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    User,
    Factors,
    Verify,
    Poll,
    Cancel,
}

/// Somebody whom the server knows.
#[derive(Clone, Debug)]
pub struct Person {
    pub login: String,
    pub status: String,
    /// Beginnings of ids, each with a status.
    pub factors: Vec<(&'static str, &'static str)>,
}

#[derive(Default)]
pub struct Book {
    people: Vec<Person>,
    /// What the next requests of a step get in place of the answer they should.
    script: VecDeque<(Step, Reply)>,
    /// What the next looks at a push find; when there is no more: WAITING.
    pub looks: VecDeque<&'static str>,
    /// The number that belongs to a push, where one was asked for or has to be.
    pub number: Option<Value>,
    /// Whether the number comes with the first look.
    pub number_late: bool,
    /// Whether it comes whether it was asked for or not.
    pub number_always: bool,
    /// Where the links of a push lead, in place of here.
    pub poll_link: Option<Value>,
    pub cancel_link: Option<Value>,
    used: Vec<String>,
    sent: Vec<String>,
    pushes: usize,
}

/// The server.
pub struct Okta {
    pub web: Web,
    book: Arc<Mutex<Book>>,
}

impl Okta {
    pub fn start() -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let ours = Arc::clone(&book);
        let web = Web::serve(move |request: &Request| ours.lock().unwrap().answer(request));
        Self { web, book }
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// Adds somebody who holds everything.
    pub fn add(&self, login: &str) {
        self.add_with(login, &FACTORS.map(|(start, ..)| (start, "ACTIVE")));
    }

    /// Adds somebody who holds these factors.
    pub fn add_with(&self, login: &str, factors: &[(&'static str, &'static str)]) {
        self.add_person(login, "ACTIVE", factors);
    }

    pub fn add_person(&self, login: &str, status: &str, factors: &[(&'static str, &'static str)]) {
        let (login, status) = (login.to_owned(), status.to_owned());
        self.book().people.push(Person { login, status, factors: factors.to_vec() });
    }

    /// Says something else, once, to the next request of `step`.
    pub fn script(&self, step: Step, reply: impl Into<Reply>) {
        self.book().script.push_back((step, reply.into()));
    }

    /// Forgets what was prepared and not asked for; says how much.
    pub fn forget(&self) -> usize {
        let mut book = self.book();
        book.looks.clear();
        let left = book.script.len();
        book.script.clear();
        left
    }

    /// The requests of a step so far.
    pub fn of(&self, step: Step) -> Vec<Request> {
        self.web.requests().into_iter().filter(|request| step_of(request) == Some(step)).collect()
    }
}

/// An error as Okta sends it.
pub fn error(status: u16, code: &str, summary: &str) -> Response {
    let body = json!({
        "errorCode": code, "errorSummary": summary, "errorLink": code, "errorId": "oaeQYgMN2rJTOm-l6p-lweuKA",
        "errorCauses": [],
    });
    Response::json(status, &body)
}

/// The headers of the rate limit, by a clock that is `ahead` of ours.
pub fn limited(response: Response, ahead: Duration, limit: u64, reset: Duration) -> Response {
    let there = SystemTime::now() + ahead;
    let reset = (there + reset).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    response
        .with("Date", &httpdate::fmt_http_date(there))
        .with("X-Rate-Limit-Limit", &limit.to_string())
        .with("X-Rate-Limit-Remaining", "0")
        .with("X-Rate-Limit-Reset", &reset.to_string())
}

/// What a look at a push finds.
pub fn look(result: &str) -> Response {
    Response::json(200, &json!({"factorResult": result, "profile": {"credentialId": "x"}, "_links": {}}))
}

fn step_of(request: &Request) -> Option<Step> {
    let segments: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    match (request.method.as_str(), segments.get(2..)?) {
        ("GET", ["users", _]) => Some(Step::User),
        ("GET", ["users", _, "factors"]) => Some(Step::Factors),
        ("POST", ["users", _, "factors", _, "verify"]) => Some(Step::Verify),
        ("GET", ["users", _, "factors", _, "transactions", _]) => Some(Step::Poll),
        ("DELETE", ["users", _, "factors", _, "transactions", _]) => Some(Step::Cancel),
        _ => None,
    }
}

impl Book {
    fn answer(&mut self, request: &Request) -> Reply {
        let step = step_of(request);
        if let Some(at) = self.script.iter().position(|(scripted, _)| Some(*scripted) == step) {
            return self.script.remove(at).unwrap().1;
        }
        if request.header("authorization") != Some(&format!("SSWS {TOKEN}")) {
            return error(401, "E0000011", "Invalid token provided").into();
        }
        if request.header("accept") != Some("application/json") {
            return error(406, "E0000029", "Accept and/or Content-Type headers are likely not set").into();
        }
        let segments: Vec<String> = request
            .path
            .split('/')
            .skip(3)
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let missing =
            |what: &str, kind: &str| error(404, "E0000007", &format!("Not found: Resource not found: {what} ({kind})"));
        let response = match (step, &segments[..]) {
            (Some(Step::User), [_, name]) => match self.find(name) {
                Some(index) => Response::json(200, &self.user(index)),
                None => missing(name, "User"),
            },
            (Some(Step::Factors), [_, id, _]) => match self.find(id) {
                Some(index) => Response::json(200, &self.factors(index, &origin(request))),
                None => missing(id, "User"),
            },
            (Some(Step::Verify), [_, user, _, factor, _]) => match self.find(user) {
                Some(index) if self.holds(index, factor) => self.verify(request, user, factor),
                Some(_) | None => missing(factor, "UserFactor"),
            },
            (Some(Step::Poll), _) => {
                let result = self.looks.pop_front().unwrap_or("WAITING");
                let mut body = self.transaction(result, &segments[..4].join("/"), segments[5], &origin(request));
                if let Some(number) = self.number.as_ref().filter(|_| self.number_late && result == "WAITING") {
                    body["_embedded"] = json!({"challenge": {"correctAnswer": number}});
                }
                Response::json(200, &body)
            }
            (Some(Step::Cancel), _) => Response::empty(204),
            (Some(_), _) | (None, _) => error(404, "E0000008", "The requested path was not found"),
        };
        response.into()
    }

    /// Okta finds people by id, by login and by the part of it before the @; `me` owns the token.
    fn find(&self, name: &str) -> Option<usize> {
        let short = |login: &str| login.split('@').next().unwrap().to_lowercase();
        let name = name.to_lowercase();
        (0..self.people.len()).find(|index| {
            let login = self.people[*index].login.to_lowercase();
            name == login || name == short(&login) || name == id(*index).to_lowercase() || name == "me"
        })
    }

    fn holds(&self, index: usize, factor: &str) -> bool {
        self.people[index].factors.iter().any(|(start, _)| factor == factor_id(start, index))
    }

    fn user(&self, index: usize) -> Value {
        let Person { login, status, factors: _ } = &self.people[index];
        json!({
            "id": id(index), "status": status, "created": "2020-08-27T18:15:41.000Z", "activated": null,
            "statusChanged": null, "lastLogin": null, "lastUpdated": "2020-08-27T18:15:41.000Z", "passwordChanged": null,
            "type": {"id": "otyc04qb2rUDcq2YA4x6"},
            "profile": {"firstName": "John", "lastName": "Doe", "mobilePhone": null, "secondEmail": null,
                        "login": login, "email": login},
            "credentials": {"password": {}, "provider": {"type": "OKTA", "name": "OKTA"}},
            "_links": {"self": {"href": format!("https://test.okta.com/api/v1/users/{}", id(index))}},
        })
    }

    fn factors(&self, index: usize, origin: &str) -> Value {
        let one = |(start, status): &(&str, &str)| {
            let (_, kind, provider, _) = FACTORS.iter().find(|(known, ..)| known == start).unwrap();
            let factor = factor_id(start, index);
            let here = format!("{origin}/api/v1/users/{}/factors/{factor}", id(index));
            json!({
                "id": factor, "factorType": kind, "provider": provider, "vendorName": provider, "status": status,
                "created": "2020-08-27T18:15:41.000Z", "lastUpdated": "2020-08-27T18:15:41.000Z",
                "profile": {"credentialId": self.people[index].login},
                "_links": {"self": {"href": here, "hints": {"allow": ["GET", "DELETE"]}},
                           "verify": {"href": format!("{here}/verify"), "hints": {"allow": ["POST"]}}},
            })
        };
        self.people[index].factors.iter().map(one).collect()
    }

    fn verify(&mut self, request: &Request, user: &str, factor: &str) -> Response {
        let (_, kind, _, right) = FACTORS.iter().find(|(start, ..)| factor.starts_with(start)).unwrap();
        let invalid = |why: &str| error(400, "E0000001", &format!("Api validation failed: {why}"));
        let body = if request.body.is_empty() { Value::Null } else { request.json() };
        if *kind == "push" {
            let wanted = body == json!({"useNumberMatchingChallenge": true});
            if !wanted && !body.is_null() {
                return invalid("verify");
            }
            if request.header("user-agent").is_none_or(str::is_empty) {
                return invalid("User-Agent");
            }
            self.pushes += 1;
            let transaction = format!("{TRANSACTION}{}", self.pushes);
            let path = format!("users/{user}/factors/{factor}");
            let mut body = self.transaction("WAITING", &path, &transaction, &origin(request));
            if let Some(number) = self.number.as_ref().filter(|_| (wanted || self.number_always) && !self.number_late) {
                body["_embedded"] = json!({"challenge": {"correctAnswer": number}});
            }
            return Response::json(201, &body);
        }
        let sends = ["sms", "call", "email"].contains(kind);
        match body.get("passCode") {
            None if sends && (body.is_null() || body == json!({})) => {
                self.sent.push(factor.to_owned());
                let here = format!("{}/api/v1/users/{user}/factors/{factor}", origin(request));
                Response::json(
                    200,
                    &json!({"factorResult": "CHALLENGE", "_links": {
                        "verify": {"href": format!("{here}/verify"), "hints": {"allow": ["POST"]}},
                        "factor": {"href": here, "hints": {"allow": ["GET", "DELETE"]}},
                    }}),
                )
            }
            Some(Value::String(code)) if body.as_object().unwrap().len() == 1 => {
                let use_of = format!("{factor} {code}");
                let is_there = !sends || self.sent.iter().any(|sent| sent == factor);
                if code == right && is_there && !self.used.contains(&use_of) {
                    self.used.push(use_of);
                    Response::json(200, &json!({"factorResult": "SUCCESS"}))
                } else {
                    let mut refused = error(403, "E0000068", "Invalid Passcode/Answer");
                    let text = String::from_utf8(refused.body).unwrap();
                    let cause = "[{\"errorSummary\":\"Your passcode doesn't match our records. Please try again.\"}]";
                    refused.body = text.replace("[]", cause).into();
                    refused
                }
            }
            None | Some(_) => invalid("passCode"),
        }
    }

    fn transaction(&self, result: &str, path: &str, transaction: &str, origin: &str) -> Value {
        let factor = format!("{origin}/api/v1/{path}");
        let here = format!("{factor}/transactions/{transaction}");
        if result != "WAITING" {
            return json!({"factorResult": result, "_links": {
                "verify": {"href": format!("{factor}/verify"), "hints": {"allow": ["POST"]}},
                "factor": {"href": factor, "hints": {"allow": ["GET", "DELETE"]}},
            }});
        }
        let link = |other: &Option<Value>| {
            let filled = |text: &str| text.replace("HERE", &here).replace("ORIGIN", origin);
            match other {
                Some(Value::String(text)) => json!(filled(text)),
                Some(other) => other.clone(),
                None => json!(here),
            }
        };
        json!({
            "factorResult": result, "expiresAt": "2027-04-01T15:57:32.000Z", "profile": {"credentialId": "x"},
            "_links": {
                "poll": {"href": link(&self.poll_link), "hints": {"allow": ["GET"]}},
                "cancel": {"href": link(&self.cancel_link), "hints": {"allow": ["DELETE"]}},
            },
        })
    }
}

/// Where the client believes that it is.
fn origin(request: &Request) -> String {
    format!("http://{}", request.header("host").unwrap())
}

/// The id of the user who was added as number `index`.
pub fn id(index: usize) -> String {
    format!("00usfahhrdlPEHV{index:05}")
}

fn factor_id(start: &str, index: usize) -> String {
    format!("{start}sfdsyb1P5k0Kr{index:04}")
}

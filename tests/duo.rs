//! The client of Duo, through the executable, against a Duo on loopback that checks what the vendor's servers check.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;
#[path = "duo/server.rs"]
mod server;

use std::collections::BTreeMap;

use rig::http::{Ending, Response};
use rig::services::DuoLibrary;
use rig::web::{Misbehaviour, Reply};
use rig::{Answer, Gateway, Home, request};
use serde_json::{Value, json};
use server::{Asked, Duo, IKEY, PASSCODE, SKEY, Script, failure, well};

/// A home whose only client asks `duo`.
fn home(duo: &Duo) -> Home {
    let home = Home::init();
    home.set("plugin", "clients", "duo");
    for (option, value) in [("allow_insecure_http", "yes"), ("host", &duo.web.url("")), ("ikey", IKEY), ("skey", SKEY)]
    {
        home.set("duo", option, value);
    }
    home
}

/// A request that is a push at once: there is nobody to ask over this protocol.
fn push(id: usize, user: &str) -> Value {
    login(id, user, json!({"protocol": "http"}))
}

/// A request of somebody who typed something.
fn typed(id: usize, user: &str, what: &str) -> Value {
    login(id, user, json!({"key_value_pairs": {"otp": what}}))
}

/// A request from an address of its own, so that nobody is in the way of others.
fn login(id: usize, user: &str, more: Value) -> Value {
    let mut login = request(id, user, more);
    login["client_ip"] = json!(format!("192.0.2.{id}"));
    login["deadline_ms"] = json!(20_000);
    login
}

/// The parameters of the one request to `endpoint`.
#[track_caller]
fn only(duo: &Duo, endpoint: &str) -> BTreeMap<String, String> {
    let asked: Vec<Asked> = duo.asked_of(endpoint);
    assert_eq!(asked.len(), 1, "{asked:?}");
    asked[0].parameters.clone()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Answers to `key` what was asked with `cookie`.
fn answering(mut request: Value, question: &Answer, answer: &str) -> Value {
    request["cookie"] = json!(question.cookie());
    request["key_value_pairs"] = json!({"otp": answer});
    request
}

// ------------------------------------------------------------------------------------------------- what goes as usual

#[test]
fn a_push_passes_every_check_of_the_service() {
    for generation in ["5", "2"] {
        let duo = Duo::usual();
        let home = home(&duo);
        home.set("duo", "signature", generation);
        let more = json!({
            "protocol": "rdp & more", "server_hostname": "db 1.corp.example", "server_username": "müller",
        });
        let answer = home.ask_one(&login(7, "jürgen@example.com", more));
        assert_eq!((answer.told().as_str(), answer.factor.as_deref()), ("accept", Some("push")), "{answer:?}");
        assert_eq!(duo.refused(), [""; 0]);
        let who = [("username", "jürgen@example.com"), ("ipaddr", "192.0.2.7")];
        assert_eq!(only(&duo, "preauth"), pairs(&who));
        let expected = [
            ("factor", "push"),
            ("device", "auto"),
            ("async", "1"),
            ("type", "rdp & more login"),
            ("display_username", "jürgen@example.com"),
            ("pushinfo", "from=192.0.2.7&to=m%C3%BCller%40db%201.corp.example"),
        ];
        assert_eq!(only(&duo, "auth"), pairs(&[&who[..], &expected].concat()));
        let looks = duo.asked_of("auth_status");
        assert_eq!(looks.len(), 2, "{looks:?}");
        let generations: Vec<u8> = duo.asked().iter().map(|asked| asked.generation).collect();
        assert_eq!(generations, [generation.parse::<u8>().unwrap(); 4]);
    }
}

#[test]
fn a_passcode_is_taken_once_and_sent_without_a_device() {
    for generation in ["5", "2"] {
        let duo = Duo::usual();
        let home = home(&duo);
        home.set("duo", "signature", generation);
        let answer = home.ask_one(&typed(1, "alice", PASSCODE));
        assert_eq!((answer.told().as_str(), answer.factor.as_deref()), ("accept", Some("otp")), "{answer:?}");
        let who = [("username", "alice"), ("ipaddr", "192.0.2.1")];
        assert_eq!(only(&duo, "auth"), pairs(&[&who[..], &[("factor", "passcode"), ("passcode", PASSCODE)]].concat()));
        let again = home.ask_one(&typed(2, "alice", "135 790"));
        assert_eq!(again.told(), "authentication_failure/used_code", "{again:?}");
        let wrong = home.ask_one(&typed(3, "alice", "246802"));
        assert_eq!(wrong.told(), "authentication_failure/wrong_code", "{wrong:?}");
        assert_eq!(duo.refused(), [""; 0]);
        assert!(!home.log().contains(PASSCODE) && !home.log().contains("246802"), "{}", home.log());
    }
}

#[test]
fn enter_is_a_push_call_or_text_message_as_configured() {
    for (factor, user, expected) in
        [("push", "alice", "push"), ("phone", "bob", "phone"), ("sms", "carol", "sms"), ("auto", "dave", "push")]
    {
        let duo = Duo::usual();
        let home = home(&duo);
        home.set("duo", "factor", factor);
        let mut gateway = Gateway::start(&home);
        let question = gateway.ask(&login(1, user, json!({})));
        assert_eq!(question.told(), "need_info");
        let answer = gateway.ask(&answering(login(2, user, json!({"session_id": "session of 1"})), &question, ""));
        assert_eq!(only(&duo, "auth")["factor"], expected);
        if factor == "sms" {
            assert_eq!(answer.told(), "need_info", "{answer:?}");
            assert!(answer.question.as_ref().unwrap().prompt.starts_with("Passcode from the text message"));
            let login = login(3, user, json!({"session_id": "session of 1"}));
            let answer = gateway.ask(&answering(login, &answer, PASSCODE));
            assert_eq!((answer.told().as_str(), answer.factor.as_deref()), ("accept", Some("otp")), "{answer:?}");
        } else {
            assert_eq!((answer.told().as_str(), answer.factor.as_deref()), ("accept", Some("push")), "{answer:?}");
        }
        assert_eq!(duo.refused(), [""; 0]);
    }
}

#[test]
fn words_with_a_number_choose_factor_and_device() {
    let duo = Duo::usual();
    let home = home(&duo);
    for (id, (word, told, device)) in [
        ("push", "accept", Some("auto")),
        ("PHONE2", "accept", Some("DPWORK")),
        ("sms1", "need_info", Some("DPHOME")),
        ("push1", "accept", Some("DPHOME")),
        ("push2", "authentication_failure/no_device", None),
        ("phone3", "authentication_failure/no_device", None),
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("user-{id}");
        let answer = home.ask_one(&typed(id, &user, word));
        assert_eq!(answer.told(), told, "{word}: {answer:?}");
        let asked = duo.asked_of("auth").into_iter().find(|asked| asked.user() == user);
        assert_eq!(asked.map(|asked| asked.parameters["device"].clone()).as_deref(), device, "{word}");
    }
    assert_eq!(duo.refused(), [""; 0]);
}

#[test]
fn a_device_is_chosen_by_id_or_name() {
    for (device, factor, told, sent) in [
        ("DPWORK", "phone", "accept", Some("DPWORK")),
        ("Home", "push", "accept", Some("DPHOME")),
        ("Work", "push", "authentication_failure/no_device", None),
        ("0-123456", "push", "authentication_failure/no_device", None),
        ("Attic", "phone", "authentication_failure/no_device", None),
        ("Work", "auto", "accept", Some("DPWORK")),
    ] {
        let duo = Duo::usual();
        let home = home(&duo);
        home.set("duo", "device", device);
        home.set("duo", "factor", factor);
        let answer = home.ask_one(&push(1, "alice"));
        assert_eq!(answer.told(), told, "{device}: {answer:?}");
        let asked = duo.asked_of("auth");
        assert_eq!(asked.first().map(|asked| asked.parameters["device"].as_str()), sent, "{device}");
    }
}

#[test]
fn a_verified_push_shows_its_code_where_that_can_be_seen() {
    for (verified_push, protocol, shown) in [("yes", "ssh", true), ("yes", "http", false), ("no", "ssh", false)] {
        let duo = Duo::usual();
        let home = home(&duo);
        home.set("duo", "verified_push", verified_push);
        let mut gateway = Gateway::start(&home);
        let session = |id| login(id, "verified-alice", json!({"protocol": protocol, "session_id": "s"}));
        let mut answer = gateway.ask(&session(1));
        if protocol == "ssh" {
            answer = gateway.ask(&answering(session(2), &answer, ""));
        }
        if shown {
            let prompt = &answer.question.as_ref().unwrap_or_else(|| panic!("{answer:?}")).prompt;
            assert!(prompt.starts_with("Enter the code 376 in Duo Mobile"), "{prompt}");
            assert_eq!(duo.asked_of("auth_status").len(), 0);
            answer = gateway.ask(&answering(session(3), &answer, ""));
        }
        assert_eq!((answer.told().as_str(), answer.factor.as_deref()), ("accept", Some("push")), "{answer:?}");
        assert_eq!(only(&duo, "preauth").contains_key("client_supports_verified_push"), shown);
        let txid = only(&duo, "auth").get("txid").cloned();
        assert_eq!(txid.as_deref(), shown.then_some("verified:verified-alice"));
        assert_eq!(duo.refused(), [""; 0]);
    }
}

#[test]
fn bypass_is_let_in_only_where_the_configuration_agrees() {
    let allow = json!({"result": "allow", "status_msg": "Bypass"});
    let late = json!({"result": "allow", "status": "bypass", "status_msg": "Bypass"});
    let scripts = || {
        BTreeMap::from([
            ("early".to_owned(), vec![("preauth", well(allow.clone()).into())]),
            ("late".to_owned(), vec![("auth", well(late.clone()).into())]),
            ("later".to_owned(), vec![("auth_status", well(late.clone()).into())]),
        ])
    };
    for (allow_bypass, told) in [("yes", "accept"), ("no", "authentication_failure/service_policy")] {
        let duo = Duo::start(0, scripts());
        let home = home(&duo);
        home.set("duo", "allow_bypass", allow_bypass);
        let requests = [
            push(1, "early"),
            typed(2, "early", PASSCODE),
            push(3, "late"),
            typed(4, "late", PASSCODE),
            push(5, "later"),
        ];
        for request in requests {
            let answer = home.ask_one(&request);
            assert_eq!(answer.told(), told, "{answer:?}");
            assert_eq!(answer.factor.as_deref(), (told == "accept").then_some("bypass"), "{answer:?}");
        }
    }
}

#[test]
fn bypass_is_no_proof_for_what_wants_one() {
    let allow = json!({"result": "allow", "status_msg": "Bypass"});
    let duo = Duo::start(0, BTreeMap::from([("alice".to_owned(), vec![("preauth", well(allow).into())])]));
    let home = home(&duo);
    home.set("duo", "allow_bypass", "yes");
    home.append("[step_up]\nmax_age = 600\n");
    let in_s1 = |id: usize, more: &[(&str, Value)]| {
        let mut line = push(id, "alice");
        line["session_id"] = "s1".into();
        for (key, value) in more {
            line[*key] = value.clone();
        }
        home.ask_one(&line)
    };
    let login = in_s1(1, &[]);
    assert_eq!((login.told().as_str(), login.factor.as_deref()), ("accept", Some("bypass")));
    let authorize = in_s1(2, &[("type", "authorize".into()), ("cookie", login.cookie().into())]);
    assert_eq!(authorize.told(), "authentication_failure/unproved");
    let asked = in_s1(3, &[("type", "challenge_request".into()), ("purpose", "pay".into())]);
    let id = asked.challenge().id.clone();
    let confirm = in_s1(4, &[("type", "challenge_confirm".into()), ("challenge", id.into())]);
    assert_eq!(confirm.told(), "authentication_failure/unproved");
    assert_eq!(confirm.challenge().state, "new");
}

#[test]
fn a_push_that_is_typed_keeps_to_the_rules_for_pushes() {
    let scripts = BTreeMap::from([("alice".to_owned(), vec![("auth_status", says("deny", "fraud", "Reported."))])]);
    let duo = Duo::start(0, scripts);
    let home = home(&duo);
    assert_eq!(home.ask_one(&typed(1, "alice", "push")).told(), "authentication_failure/push_reported");
    for (id, word) in ["push", "phone", "push1"].into_iter().enumerate() {
        assert_eq!(home.ask_one(&typed(id, "alice", word)).told(), "authentication_failure/push_blocked");
    }
    home.set("push", "mode", "off");
    assert_eq!(home.ask_one(&typed(2, "bob", "phone")).told(), "policy_denied/push_off");
    assert_eq!(duo.asked_of("auth").len(), 1);
    // What comes to nothing keeps nobody from the next.
    home.set("push", "mode", "plain");
    assert_eq!(home.ask_one(&typed(3, "carol", "push2")).told(), "authentication_failure/no_device");
    assert_eq!(home.ask_one(&typed(4, "carol", "push1")).told(), "accept");
}

#[test]
fn the_doctor_says_whether_the_keys_are_taken() {
    let duo = Duo::start(3_600, BTreeMap::new());
    let home = home(&duo);
    let said = home.run(&["doctor", "duo"], "");
    assert!(said.stdout.contains("Duo takes the integration key, the secret key and the signature"), "{said:?}");
    assert!(said.stdout.contains("Duo's clock is 3") && said.stdout.contains("s ahead of ours"), "{said:?}");
    home.set("duo", "skey", "no such key");
    let said = home.run(&["doctor", "duo"], "");
    assert!(said.stdout.contains("code 40103") && !said.stdout.contains("Duo takes"), "{said:?}");
}

// ------------------------------------------------------------------------------------------------ the classification

/// A login and what becomes of it.
struct Row {
    name: &'static str,
    /// What was typed; `None`: a push.
    typed: Option<&'static str>,
    script: Script,
    told: &'static str,
    /// How many requests to `auth` there are.
    auths: usize,
    /// Whether it lasts until the deadline.
    lasts: bool,
}

fn row(name: &'static str, script: Script, told: &'static str) -> Row {
    let auths = usize::from(script.iter().all(|(endpoint, _)| *endpoint != "preauth"));
    Row { name, typed: None, script, told, auths, lasts: false }
}

impl Row {
    fn typed(self, what: &'static str) -> Self {
        Self { typed: Some(what), ..self }
    }

    fn lasts(self) -> Self {
        Self { lasts: true, ..self }
    }
}

fn says(result: &str, status: &str, said: &str) -> Reply {
    well(json!({"result": result, "status": status, "status_msg": said})).into()
}

fn fails(code: u64) -> Reply {
    failure(code, "Some message", "some detail").into()
}

fn rows() -> Vec<Row> {
    let preauth = |response: Value| vec![("preauth", well(response).into())];
    let auth = |reply: Reply| vec![("auth", reply)];
    let status = |reply: Reply| vec![("auth_status", reply)];
    let raw = |status: u16, body: Value| -> Reply { Response::json(status, &body).into() };
    let mut rows = vec![
        row("approved", status(says("allow", "allow", "Success. Logging you in...")), "accept"),
        row("approved, without a status", status(well(json!({"result": "allow"})).into()), "accept"),
        row("right passcode", auth(says("allow", "allow", "Success.")), "accept").typed("123456"),
        row("refused", status(says("deny", "deny", "Login request denied.")), "authentication_failure/push_refused"),
        row("no status", status(well(json!({"result": "deny"})).into()), "authentication_failure/push_refused"),
        row("reported", status(says("deny", "fraud", "Reported.")), "authentication_failure/push_reported"),
        row("timed out", status(says("deny", "timeout", "Timed out.")), "authentication_failure/push_unanswered"),
        row("locked out", status(says("deny", "locked_out", "Locked.")), "authentication_failure/locked"),
        row("a new word", status(says("deny", "moon_phase", "No.")), "authentication_failure/service_policy"),
        row("wrong passcode", auth(says("deny", "deny", "Incorrect passcode.")), "authentication_failure/wrong_code")
            .typed("123456"),
        row(
            "used passcode",
            auth(says(
                "deny",
                "deny",
                "This passcode has already been used. Please generate a new passcode and try again.",
            )),
            "authentication_failure/used_code",
        )
        .typed("123456"),
        row("locked by passcodes", auth(says("deny", "locked_out", "Locked.")), "authentication_failure/locked")
            .typed("123456"),
        row("sent", auth(says("deny", "sent", "New SMS passcodes sent.")), "need_info").typed("sms"),
        row("locked before the push", auth(says("deny", "locked_out", "Locked.")), "authentication_failure/locked"),
        row("denied", preauth(json!({"result": "deny", "status_msg": "No."})), "authentication_failure/service_policy"),
        row(
            "denied a code",
            preauth(json!({"result": "deny", "status_msg": "No."})),
            "authentication_failure/service_policy",
        )
        .typed("123456"),
        row(
            "unknown",
            preauth(json!({"result": "enroll", "status_msg": "Enroll"})),
            "authentication_failure/not_enrolled",
        ),
        row(
            "bypass",
            preauth(json!({"result": "allow", "status_msg": "Bypass"})),
            "authentication_failure/service_policy",
        ),
        row("no devices", preauth(json!({"result": "auth", "devices": []})), "authentication_failure/no_device"),
        row("nothing of devices", preauth(json!({"result": "auth"})), "authentication_failure/no_device"),
        row(
            "a token only",
            preauth(json!({"result": "auth", "devices": [{"device": "D", "type": "token"}]})),
            "authentication_failure/no_device",
        ),
        // Nobody answers.
        row("waiting for ever", status(says("waiting", "pushed", "Pushed.")), "authentication_failure/push_unanswered")
            .lasts(),
        row(
            "not delivered",
            status(says("waiting", "push_failed", "Failed.")),
            "authentication_failure/push_unanswered",
        )
        .lasts(),
        row("a silent long poll", status(Misbehaviour::Silence.into()), "authentication_failure/push_unanswered")
            .lasts(),
        row("long polls that end", status(fails(40002)), "authentication_failure/push_unanswered").lasts(),
        row(
            "a long poll that ends",
            vec![("auth_status", fails(40002)), ("auth_status", says("allow", "allow", "Yes."))],
            "accept",
        ),
        row(
            "a connection that breaks",
            vec![("auth_status", Misbehaviour::Close.into()), ("auth_status", says("allow", "allow", "Yes."))],
            "accept",
        ),
        row(
            "a gateway in between",
            vec![("auth_status", Response::empty(502).into()), ("auth_status", says("allow", "allow", "Yes."))],
            "accept",
        ),
        row("connections that break", status(Misbehaviour::Close.into()), "service_unreachable/connection_lost"),
        row(
            "patience, and then",
            vec![
                ("auth_status", Response::empty(429).with("Retry-After", "1").into()),
                ("auth_status", says("allow", "allow", "Yes.")),
            ],
            "accept",
        ),
        row(
            "patience in its own words",
            vec![
                ("auth_status", Response::empty(429).with("X-Retry-After", "1").into()),
                ("auth_status", says("allow", "allow", "Yes.")),
            ],
            "accept",
        ),
        row(
            "patience unsaid",
            vec![("auth_status", fails(42901)), ("auth_status", says("allow", "allow", "Yes."))],
            "accept",
        ),
        row("patience for ever", status(fails(42901)), "communication_error/rate_limited").lasts(),
        row(
            "too much patience",
            status(Response::empty(429).with("Retry-After", "3600").into()),
            "communication_error/rate_limited",
        ),
        row("no patience before", vec![("preauth", fails(42901))], "communication_error/rate_limited"),
        row("no patience with codes", auth(fails(42901)), "communication_error/rate_limited").typed("123456"),
        // What the protocol does not know.
        row("a result as a number", status(well(json!({"result": 1})).into()), "communication_error/unexpected_answer"),
        row("a result as true", status(well(json!({"result": true})).into()), "communication_error/unexpected_answer"),
        row("a result in capitals", status(says("ALLOW", "allow", "Yes.")), "communication_error/unexpected_answer"),
        row(
            "a list of results",
            status(well(json!({"result": ["allow"]})).into()),
            "communication_error/unexpected_answer",
        ),
        row("no result", status(well(json!({"status": "allow"})).into()), "communication_error/unexpected_answer"),
        row("allow, and deny", status(says("allow", "deny", "Hm.")), "communication_error/unexpected_answer"),
        row(
            "allow, and a new word",
            status(says("allow", "moon_phase", "Hm.")),
            "communication_error/unexpected_answer",
        ),
        row("allow too soon", auth(says("allow", "allow", "Yes.")), "communication_error/unexpected_answer"),
        row("no transaction", auth(well(json!({})).into()), "communication_error/unexpected_answer"),
        row(
            "a transaction as a number",
            auth(well(json!({"txid": 5})).into()),
            "communication_error/unexpected_answer",
        ),
        row("waiting for what", auth(says("waiting", "pushed", "Pushed.")), "communication_error/unexpected_answer"),
        row("allow for a text message", auth(says("allow", "allow", "Yes.")), "communication_error/unexpected_answer")
            .typed("sms"),
        row("a code that waits", auth(says("waiting", "pushed", "Hm.")), "communication_error/unexpected_answer")
            .typed("123456"),
        row("an unknown preauth", preauth(json!({"result": "maybe"})), "communication_error/unexpected_answer"),
        row("no preauth", preauth(json!({})), "communication_error/unexpected_answer"),
        row(
            "devices as text",
            preauth(json!({"result": "auth", "devices": "DP"})),
            "communication_error/unexpected_answer",
        ),
        row(
            "a device without an id",
            preauth(json!({"result": "auth", "devices": [{"capabilities": ["push"]}]})),
            "communication_error/unexpected_answer",
        ),
        row("no response", vec![("preauth", raw(200, json!({"stat": "OK"})))], "communication_error/unexpected_answer"),
        row(
            "an unknown stat",
            vec![("preauth", raw(200, json!({"stat": "MAYBE", "response": {"result": "allow"}})))],
            "communication_error/unexpected_answer",
        ),
        row(
            "no stat",
            vec![("preauth", raw(200, json!({"response": {"result": "allow"}})))],
            "communication_error/unexpected_answer",
        ),
        row(
            "a failure of 200",
            vec![("preauth", raw(200, json!({"stat": "FAIL", "code": 40002})))],
            "communication_error/unexpected_answer",
        ),
        row(
            "a failure of 200 while waiting",
            status(raw(200, json!({"stat": "FAIL", "code": 40002}))),
            "communication_error/unexpected_answer",
        ),
        row("a list", vec![("preauth", raw(200, json!(["allow"])))], "communication_error/unexpected_answer"),
        row(
            "a web page",
            vec![("preauth", Response::new(200, "text/html", "<html>allow</html>").into())],
            "communication_error/not_json",
        ),
        row("no JSON", status(Response::new(200, "application/json", "allow").into()), "communication_error/not_json"),
        row(
            "a key twice",
            status(
                Response::new(
                    200,
                    "application/json",
                    r#"{"stat":"OK","response":{"result":"deny","result":"allow"}}"#,
                )
                .into(),
            ),
            "communication_error/not_json",
        ),
        row(
            "half an answer",
            auth(Misbehaviour::HalfBody(well(json!({"result": "allow"}))).into()),
            "communication_error/truncated",
        )
        .typed("123456"),
        row(
            "somewhere else",
            vec![("preauth", Response::empty(301).with("Location", "https://other.example/").into())],
            "communication_error/redirected",
        ),
        // Whole answers without a length, and in chunks, are answers.
        row("in chunks", auth(well(json!({"result": "allow"})).ending(Ending::Chunks).into()), "accept")
            .typed("123456"),
        // Failures.
        row("parameters missing", vec![("preauth", fails(40001))], "communication_error/request_refused"),
        row("parameters refused", auth(fails(40002)), "communication_error/request_refused"),
        row("a code's parameters refused", auth(fails(40002)), "communication_error/request_refused").typed("123456"),
        row("parameters missing while waiting", status(fails(40001)), "communication_error/request_refused"),
        row("the time refused, again", vec![("preauth", fails(40105))], "communication_error/clock_skew"),
        row("the time of a code refused", auth(fails(40105)), "communication_error/clock_skew").typed("123456"),
        row(
            "401 without a word",
            vec![("preauth", Response::empty(401).into())],
            "communication_error/credentials_refused",
        ),
        row(
            "403 as text",
            vec![("preauth", raw(403, json!({"stat": "FAIL", "code": "40301", "message": "Access forbidden"})))],
            "communication_error/credentials_refused",
        ),
        row("no such path", vec![("preauth", fails(40401))], "communication_error/http_status"),
        row("not this way", vec![("preauth", fails(40501))], "communication_error/http_status"),
        row(
            "a page that is not there",
            vec![("preauth", Response::new(404, "text/html", "<html>").into())],
            "communication_error/http_status",
        ),
        row("a fault", auth(fails(50000)), "communication_error/service_fault").typed("123456"),
        row(
            "a fault in HTML",
            auth(Response::new(500, "text/html", "<html>").into()),
            "communication_error/http_status",
        ),
        row("closed before", vec![("preauth", Misbehaviour::Close.into())], "service_unreachable/connection_lost"),
        row("closed after the code", auth(Misbehaviour::Close.into()), "service_unreachable/connection_lost")
            .typed("123456"),
        row("reset after the code", auth(Misbehaviour::Reset.into()), "service_unreachable/connection_lost")
            .typed("123456"),
        row("silence after the code", auth(Misbehaviour::Silence.into()), "service_unreachable/read_timeout")
            .typed("123456")
            .lasts(),
    ];
    for code in [40101, 40102, 40103, 40104, 40106, 40301] {
        rows.push(row("keys refused", vec![("preauth", fails(code))], "communication_error/credentials_refused"));
    }
    for code in [502, 503, 504] {
        let script = auth(Response::new(code, "text/html", "<html>").into());
        rows.push(row("a gateway", script, "service_unreachable/service_unavailable").typed("123456"));
    }
    rows
}

#[test]
fn every_row_of_the_table_is_classified() {
    let rows = rows();
    let user = |index: usize| format!("user-{index}");
    let scripts = rows.iter().enumerate().map(|(index, row)| (user(index), row.script.clone())).collect();
    let duo = Duo::start(0, scripts);
    let home = home(&duo);
    let requests: Vec<Value> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| {
            let mut login = match row.typed {
                Some(what) => typed(index, &user(index), what),
                None => push(index, &user(index)),
            };
            if row.lasts {
                login["deadline_ms"] = json!(4_000);
            }
            login
        })
        .collect();
    let answers = home.ask(&requests);
    let mut wrong = Vec::new();
    for (index, (row, answer)) in rows.iter().zip(&answers).enumerate() {
        if answer.told() != row.told {
            wrong.push(format!("{}: expected {}, got {answer:?}", row.name, row.told));
        }
        let auths = duo.asked_of("auth").iter().filter(|asked| asked.user() == user(index)).count();
        if auths != row.auths {
            wrong.push(format!("{}: {auths} requests to auth", row.name));
        }
        for secret in ["123456", SKEY] {
            assert!(!format!("{answer:?}").contains(secret), "{}: {answer:?}", row.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let log = home.log();
    assert!(!log.contains("123456") && !log.contains(SKEY), "{log}");
    assert_eq!(duo.refused(), [""; 0]);
}

// ------------------------------------------------------------------------------------------------------- the two clocks

#[test]
fn a_clock_that_differs_is_corrected_once() {
    for ahead in [3_600, -3_600] {
        let duo = Duo::start(ahead, BTreeMap::new());
        let home = home(&duo);
        let mut gateway = Gateway::start(&home);
        for id in [1, 2] {
            let answer = gateway.ask(&typed(id, &format!("user-{id}"), PASSCODE));
            assert_eq!(answer.told(), "accept", "{answer:?}");
        }
        assert_eq!(duo.asked_of("ping").len(), 1);
        assert_eq!(duo.asked_of("auth").len(), 2);
        let refused = duo.refused();
        assert!(refused.len() == 1 && refused[0].starts_with("POST /auth/v2/preauth"), "{refused:?}");
    }
}

#[test]
fn keys_that_are_wrong_are_told_and_nothing_is_sent_again() {
    for (option, value) in [("ikey", "DIXXXXXXXXXXXXXXXXXX"), ("skey", "no such key")] {
        let duo = Duo::usual();
        let home = home(&duo);
        home.set("duo", option, value);
        let answer = home.ask_one(&typed(1, "alice", PASSCODE));
        assert_eq!(answer.told(), "communication_error/credentials_refused", "{answer:?}");
        assert!(answer.reason().contains("check ikey, skey") && !answer.reason().contains(value), "{answer:?}");
        assert_eq!((duo.refused().len(), duo.asked().len()), (1, 0));
    }
}

// ---------------------------------------------------------------------------------------------------------- bad input

#[test]
fn hostile_names_are_escaped_or_not_sent() {
    let duo = Duo::usual();
    let home = home(&duo);
    let names = ["me", "..", "x/../../admin?a=b", "a&factor=passcode", "a=b\"}", "jürgen 漢", "%00", "+"];
    for (id, name) in names.iter().enumerate() {
        for generation in ["5", "2"] {
            home.set("duo", "signature", generation);
            let answer = home.ask_one(&typed(id, name, "246802"));
            assert_eq!(answer.told(), "authentication_failure/wrong_code", "{name}: {answer:?}");
        }
    }
    let users: Vec<String> = duo.asked_of("auth").iter().map(Asked::user).collect();
    assert_eq!(users, names.iter().flat_map(|name| [*name, *name]).collect::<Vec<_>>());
    assert_eq!(duo.refused(), [""; 0]);
    let before = duo.web.requests().len();
    for (id, name) in ["a\0b", "a\u{202e}b", &"x".repeat(10_240)].iter().enumerate() {
        for request in [typed(id, name, "246802"), push(id, name)] {
            let answer = home.ask_one(&request);
            assert_eq!(answer.told(), "authentication_failure/malformed_name", "{answer:?}");
        }
    }
    assert_eq!(duo.web.requests().len(), before);
}

#[test]
fn what_cannot_be_a_passcode_is_not_sent() {
    let duo = Duo::usual();
    let home = home(&duo);
    let long = "1".repeat(10_240);
    let codes = [
        "1",
        "12345678901234567",
        "12345a",
        "１２３４５６",
        "123456\0",
        "123456\n",
        "push0",
        "push 2",
        "pushy",
        "smoke",
        &long,
        "..",
        "\"}",
    ];
    for (id, code) in codes.iter().enumerate() {
        let answer = home.ask_one(&typed(id, &format!("user-{id}"), code));
        assert_eq!(answer.told(), "authentication_failure/malformed_code", "{code:?}: {answer:?}");
    }
    assert_eq!(duo.web.requests().len(), 0);
    // A passcode of a YubiKey is one.
    let yubikey = "cccccccgklgcvnkcvnnegrnhgrjkhlkfhdkclfncvlgj";
    let answer = home.ask_one(&typed(99, "alice", yubikey));
    assert_eq!(answer.told(), "authentication_failure/wrong_code", "{answer:?}");
    assert!(!home.log().contains(yubikey), "{}", home.log());
}

#[test]
fn what_the_service_repeats_of_a_passcode_is_not_told() {
    let reply = says("deny", "deny", "246802 is wrong, I repeat, 246802");
    let scripts = BTreeMap::from([
        ("alice".to_owned(), vec![("auth", reply)]),
        ("bob".to_owned(), vec![("auth", failure(40002, "Bad", "passcode 246802").into())]),
    ]);
    let duo = Duo::start(0, scripts);
    let home = home(&duo);
    for (id, user) in ["alice", "bob"].into_iter().enumerate() {
        let answer = home.ask_one(&typed(id, user, "246802"));
        assert!(answer.reason().contains("<redacted>") && !answer.reason().contains("246802"), "{answer:?}");
    }
    assert!(!home.log().contains("246802"), "{}", home.log());
}

// ----------------------------------------------------------------------------------------------- the vendor's own client

#[test]
fn the_vendors_own_client_passes_the_same_checks() {
    let Some(library) = DuoLibrary::install() else { return };
    for generation in [5, 2] {
        let duo = Duo::usual();
        // It sends a question mark with nothing behind it.
        duo.web.excuse();
        let came: BTreeMap<String, Value> = library.ask(duo.web.port(), IKEY, SKEY, generation).into_iter().collect();
        let told = |name: &str, field: &str| came[name][field].clone();
        assert!(told("ping", "time").is_u64() && told("check", "time").is_u64(), "{came:?}");
        assert_eq!(told("preauth", "result"), "auth", "{came:?}");
        assert_eq!(told("push", "txid"), "j%C3%BCrgen", "{came:?}");
        assert_eq!(told("auth_status", "waiting"), true, "{came:?}");
        assert_eq!(told("phone", "txid"), "j%C3%BCrgen", "{came:?}");
        assert_eq!(told("sms", "status"), "sent", "{came:?}");
        assert_eq!(told("passcode", "result"), "allow", "{came:?}");
        assert!(came["passcode with a device"].as_str().unwrap().contains("400"), "{came:?}");
        assert!(came["no factor known"].as_str().unwrap().contains("400"), "{came:?}");
        let refused = duo.refused();
        assert_eq!(refused.len(), 2, "{refused:?}");
        let generations: Vec<u8> = duo.asked().iter().map(|asked| asked.generation).collect();
        assert_eq!(generations, [&[0][..], &[generation; 7]].concat());
    }
}

//! `[okta]` through the executable, against an Okta of our own that behaves as the API reference says.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;
#[path = "okta/server.rs"]
mod server;

use std::fs;
use std::process::Command;
use std::time::Duration;

use rig::http::Response;
use rig::web::{Misbehaviour, Reply, Web};
use rig::{Answer, Gateway, Home, request};
use serde_json::{Value, json};
use server::{FACTORS, KEY, Okta, Step, TOKEN, TRANSACTION, error, limited, look};

/// A home whose one client is Okta at `url`.
fn home_at(url: &str) -> Home {
    let home = Home::init();
    home.set("plugin", "clients", "okta");
    for (option, value) in [("api_url", url), ("api_key", TOKEN), ("allow_insecure_http", "yes"), ("timeout", "5")] {
        home.set("okta", option, value);
    }
    home
}

fn home(okta: &Okta) -> Home {
    home_at(&okta.web.url(""))
}

/// Who typed `code` over ssh.
fn typed(id: &str, user: &str, code: &str) -> Value {
    request(id, user, json!({"key_value_pairs": {"otp": code}}))
}

/// Who asks for a push over a protocol that can show nothing.
fn pushed(id: &str, user: &str) -> Value {
    request(id, user, json!({"protocol": "http"}))
}

/// What answers a question.
fn reply(id: &str, asked: &Value, question: &Answer, text: &str) -> Value {
    let mut next = asked.clone();
    next["id"] = id.into();
    next["key_value_pairs"] = json!({"otp": text});
    next["cookie"] = question.cookie().into();
    next
}

fn prompt(answer: &Answer) -> &str {
    assert_eq!(answer.verdict(), "need_info", "{answer:?}");
    &answer.question.as_ref().unwrap().prompt
}

#[track_caller]
fn accepted(answer: &Answer, factor: &str) {
    assert_eq!((answer.verdict(), answer.factor.as_deref()), ("accept", Some(factor)), "{answer:?}");
}

// ------------------------------------------------------------------------------------------------------------- codes

#[test]
fn codes_of_every_kind_go_to_the_factor_that_they_belong_to() {
    let okta = Okta::start();
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    let cases = [
        ("246810".to_owned(), "ost"),
        ("otp 246 810".to_owned(), "ost"),
        ("okta 246810".to_owned(), "ost"),
        ("o=246810".to_owned(), "ost"),
        ("google 135790".to_owned(), "gaf"),
        ("g_135790".to_owned(), "gaf"),
        ("token pin4\"7\\11".to_owned(), "rsa"),
        ("rsa pin4\"7\\11".to_owned(), "rsa"),
        ("s~987654".to_owned(), "syt"),
        (format!("yubikey {KEY}"), "yub"),
        (format!("y={}", KEY.to_uppercase()), "yub"),
    ];
    for (number, (code, factor)) in cases.iter().enumerate() {
        let user = format!("user{number}@corp.example");
        okta.add(&user);
        let answer = gateway.ask(&typed(&user, &user, code));
        accepted(&answer, "otp");
        let verified = okta.of(Step::Verify).pop().unwrap();
        assert!(verified.path.contains(&format!("/factors/{factor}")), "{code}: {}", verified.path);
    }
    for sent in okta.web.requests() {
        assert!(cases.iter().all(|(code, _)| !sent.target.contains(&**code)), "{}", sent.target);
    }
}

#[test]
fn default_prefix_says_what_a_code_alone_is() {
    let okta = Okta::start();
    for (number, (prefix, code, factor)) in
        [("google", "135790", "gaf"), ("yubikey", KEY, "yub"), ("y", KEY, "yub"), ("token", "pin4\"7\\11", "rsa")]
            .into_iter()
            .enumerate()
    {
        let home = home(&okta);
        home.set("okta", "default_prefix", prefix);
        let user = format!("user{number}@corp.example");
        okta.add(&user);
        accepted(&home.ask_one(&typed("1", &user, code)), "otp");
        assert!(okta.of(Step::Verify).pop().unwrap().path.contains(&format!("/factors/{factor}")));
    }
    let home = home(&okta);
    home.set("okta", "default_prefix", "fax");
    let told = home.run(&["check"], "");
    assert!(told.stderr.contains("[okta] default_prefix: expected one of otp, okta, google"), "{told:?}");
}

#[test]
fn a_custom_token_is_a_token() {
    let okta = Okta::start();
    let home = home(&okta);
    okta.add_with("alice@corp.example", &[("cst", "ACTIVE")]);
    accepted(&home.ask_one(&typed("1", "alice@corp.example", "token 13579086")), "otp");
}

#[test]
fn wrong_and_used_codes_are_rejected_and_asked_once() {
    let okta = Okta::start();
    okta.add("alice@corp.example");
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    let mut ask = |id: &str, code: &str| gateway.ask(&typed(id, "alice@corp.example", code));
    assert_eq!(ask("1", "246811").told(), "authentication_failure/wrong_code");
    accepted(&ask("2", "246810"), "otp");
    let used = ask("3", "246810");
    assert_eq!(used.told(), "authentication_failure/wrong_code");
    assert_eq!(used.reason(), "status 403, E0000068: the code is wrong, or was used before");
    assert_eq!(okta.of(Step::Verify).len(), 3);
}

#[test]
fn a_word_has_a_code_sent_and_the_question_takes_it() {
    let okta = Okta::start();
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    for (word, code, said) in [
        ("sms", "556677", "Type the code that was sent to your phone: "),
        ("Call", "54321", "Type the code that the call to your phone says: "),
        ("email", "667788", "Type the code that was sent by e-mail: "),
    ] {
        let user = format!("{word}@corp.example");
        okta.add(&user);
        let first = typed(&format!("{word} 1"), &user, word);
        let question = gateway.ask(&first);
        assert_eq!(prompt(&question), said);
        let before = okta.web.requests().len();
        let wrong = gateway.ask(&reply(&format!("{word} 2"), &first, &question, "000000"));
        assert_eq!(wrong.told(), "authentication_failure/wrong_code");
        accepted(&gateway.ask(&reply(&format!("{word} 3"), &first, &question, code)), "otp");
        // Who and what it belongs to is known: nothing is looked up again.
        assert_eq!(okta.web.requests().len(), before + 2);
        let again = gateway.ask(&reply(&format!("{word} 4"), &first, &question, code));
        assert_eq!(again.told(), "authentication_failure/challenge_gone");
    }
    for body in okta.of(Step::Verify).iter().filter(|request| !String::from_utf8_lossy(&request.body).contains("pass"))
    {
        assert_eq!(body.json(), json!({}));
    }
}

#[test]
fn a_question_for_a_sent_code_takes_another_wish() {
    let okta = Okta::start();
    okta.add("alice@corp.example");
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    let first = typed("1", "alice@corp.example", "sms");
    let question = gateway.ask(&first);
    let again = gateway.ask(&reply("2", &first, &question, "sms"));
    assert_eq!(prompt(&again), "Type the code that was sent to your phone: ");
    accepted(&gateway.ask(&reply("3", &first, &again, "otp 246810")), "otp");
}

#[test]
fn enter_sends_a_code_where_that_is_the_default_and_nothing_can_be_pushed_to() {
    let okta = Okta::start();
    okta.add_with("alice@corp.example", &[("sms", "ACTIVE"), ("opf", "PENDING_ACTIVATION")]);
    okta.add("bob@corp.example");
    let home = home(&okta);
    home.set("okta", "default_prefix", "sms");
    let mut gateway = Gateway::start(&home);
    let first = typed("1", "alice@corp.example", "");
    let question = gateway.ask(&first);
    assert_eq!(prompt(&question), "Type the code that was sent to your phone: ");
    accepted(&gateway.ask(&reply("2", &first, &question, "556677")), "otp");
    okta.book().looks.push_back("SUCCESS");
    accepted(&gateway.ask(&pushed("3", "bob@corp.example")), "push");
}

// ----------------------------------------------------------------------------------------------------------- pushes

#[test]
fn a_push_is_sent_with_its_context_and_looked_at_until_it_is_answered() {
    let okta = Okta::start();
    okta.add("alice@corp.example");
    let home = home(&okta);
    okta.book().looks.extend(["WAITING", "SUCCESS"]);
    accepted(&home.ask_one(&pushed("1", "Alice@corp.example")), "push");
    let sent = okta.web.requests();
    let steps: Vec<_> = sent.iter().map(|request| (request.method.as_str(), request.body.len())).collect();
    assert_eq!(steps, [("GET", 0), ("GET", 0), ("POST", 0), ("GET", 0), ("GET", 0)]);
    assert_eq!(sent[0].path, "/api/v1/users/Alice@corp.example");
    for request in &sent {
        assert_eq!(request.header("authorization"), Some(&*format!("SSWS {TOKEN}")));
        assert!(request.header("user-agent").unwrap().starts_with("countersign/"));
        assert_eq!(request.header("accept"), Some("application/json"));
    }
    assert_eq!(sent[2].header("x-forwarded-for"), Some("192.0.2.7"));
    // The first look comes at once, the next one after a while.
    let (first, second) = (sent[3].at.duration_since(sent[2].at), sent[4].at.duration_since(sent[3].at));
    assert!(second > Duration::from_millis(900) && first < second, "{first:?}, {second:?}");
}

#[test]
fn what_is_no_address_is_not_forwarded() {
    let okta = Okta::start();
    let home = home(&okta);
    for (number, (from, forwarded)) in [
        (json!("2001:DB8:0::1"), Some("2001:db8::1")),
        (json!("192.0.2.7, 198.51.100.9"), None),
        (json!("192.0.2.7:4711"), None),
        (json!("[2001:db8::1]"), None),
        (json!("fe80::1%eth0"), None),
        (json!("corp.example"), None),
        (json!(null), None),
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("user{number}@corp.example");
        okta.add(&user);
        okta.book().looks.push_back("SUCCESS");
        let asked = request(1, &user, json!({"protocol": "http", "client_ip": from}));
        accepted(&home.ask_one(&asked), "push");
        assert_eq!(okta.of(Step::Verify).pop().unwrap().header("x-forwarded-for"), forwarded, "{from}");
    }
}

#[test]
fn the_number_is_shown_in_the_question_and_enter_waits_on() {
    for (number, shown) in [(json!(72), "72"), (json!(7), "7"), (json!("07"), "07")] {
        for late in [false, true] {
            let okta = Okta::start();
            okta.add("alice@corp.example");
            {
                let mut book = okta.book();
                book.number = Some(number.clone());
                book.number_late = late;
            }
            let home = home(&okta);
            let first = typed("1", "alice@corp.example", "");
            let question = home.ask_one(&first);
            let text = format!(
                "Choose the number {shown} in Okta Verify. Press Enter when done, or type a one-time password: "
            );
            assert_eq!(prompt(&question), text);
            assert_eq!(okta.of(Step::Verify)[0].json(), json!({"useNumberMatchingChallenge": true}));
            // Another process waits on.
            okta.book().looks.push_back("SUCCESS");
            accepted(&home.ask_one(&reply("2", &first, &question, "")), "push");
            assert_eq!(okta.of(Step::Verify).len(), 1);
        }
    }
}

#[test]
fn a_code_may_be_typed_while_a_number_is_shown() {
    let okta = Okta::start();
    okta.add("alice@corp.example");
    okta.book().number = Some(json!(72));
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    let first = typed("1", "alice@corp.example", "");
    let question = gateway.ask(&first);
    accepted(&gateway.ask(&reply("2", &first, &question, "246810")), "otp");
    okta.web.wait_until(|seen| seen.requests.iter().any(|request| request.method == "DELETE"));
}

#[test]
fn the_word_push_is_a_push() {
    let okta = Okta::start();
    okta.add("alice@corp.example");
    okta.book().number = Some(json!(72));
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    let first = typed("1", "alice@corp.example", "push");
    let question = gateway.ask(&first);
    assert!(prompt(&question).starts_with("Choose the number 72"));
    okta.book().looks.push_back("SUCCESS");
    accepted(&gateway.ask(&reply("2", &first, &question, "")), "push");
}

#[test]
fn a_number_is_asked_for_only_where_it_can_be_shown() {
    let okta = Okta::start();
    let home = home(&okta);
    okta.book().number = Some(json!(72));
    let mut number = 0;
    let mut asked = |home: &Home, protocol: &str| {
        number += 1;
        let user = format!("user{number}@corp.example");
        okta.add(&user);
        okta.book().looks.push_back("SUCCESS");
        accepted(
            &home.ask_one(&request(1, &user, json!({"protocol": protocol, "key_value_pairs": {"otp": ""}}))),
            "push",
        );
        assert!(okta.of(Step::Verify).pop().unwrap().body.is_empty());
    };
    asked(&home, "http");
    home.set("push", "by_protocol", "ssh:plain");
    asked(&home, "ssh");
    let home = self::home(&okta);
    home.set("okta", "number_challenge", "no");
    asked(&home, "ssh");
}

#[test]
fn a_number_that_cannot_be_shown_ends_the_push_and_takes_it_back() {
    let okta = Okta::start();
    okta.add("alice@corp.example");
    {
        let mut book = okta.book();
        book.number = Some(json!(72));
        book.number_always = true;
    }
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    assert_eq!(gateway.ask(&pushed("1", "alice@corp.example")).told(), "policy_denied/push_off");
    okta.web.wait_until(|seen| seen.requests.iter().any(|request| request.method == "DELETE"));
}

#[test]
fn without_a_number_the_push_is_a_plain_one() {
    let okta = Okta::start();
    for user in ["alice@corp.example", "bob@corp.example", "carol@corp.example"] {
        okta.add(user);
    }
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    // Answered before the number that does not come is given up, and after.
    okta.book().looks.push_back("SUCCESS");
    accepted(&gateway.ask(&typed("1", "alice@corp.example", "")), "push");
    okta.book().looks.push_back("REJECTED");
    assert_eq!(gateway.ask(&typed("2", "bob@corp.example", "")).told(), "authentication_failure/push_refused");
    okta.book().looks.extend(["WAITING", "WAITING", "WAITING", "WAITING", "SUCCESS"]);
    accepted(&gateway.ask(&typed("3", "carol@corp.example", "")), "push");
    assert_eq!(okta.of(Step::Verify).len(), 3);
}

#[test]
fn an_unanswered_push_ends_with_the_deadline_and_is_taken_back() {
    let okta = Okta::start();
    okta.add("alice@corp.example");
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    let mut asked = pushed("1", "alice@corp.example");
    asked["deadline_ms"] = 2500.into();
    assert_eq!(gateway.ask(&asked).told(), "authentication_failure/push_unanswered");
    okta.web.wait_until(|seen| seen.requests.iter().any(|request| request.method == "DELETE"));
    let taken_back = okta.of(Step::Cancel).pop().unwrap();
    assert_eq!(taken_back.header("authorization"), Some(&*format!("SSWS {TOKEN}")));
    assert!(taken_back.path.contains(TRANSACTION));
}

// --------------------------------------------------------------------------------------------------- classification

/// One row: what is asked, at which step the service says what, and what must be said of it.
struct Row {
    name: &'static str,
    ask: Ask,
    step: Step,
    says: Reply,
    told: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Ask {
    Code,
    Sms,
    Push,
}

fn row(name: &'static str, ask: Ask, step: Step, says: impl Into<Reply>, told: &'static str) -> Row {
    Row { name, ask, step, says: says.into(), told }
}

fn classification() -> Vec<Row> {
    use Ask::{Code, Push, Sms};
    let json = |value: Value| Response::json(200, &value);
    let mut rows = vec![
        row("no such user", Code, Step::User, error(404, "E0000007", "Not found"), "authentication_failure/not_enrolled"),
        row("locked", Code, Step::Verify, error(403, "E0000069", "User Locked"), "authentication_failure/locked"),
        row("not in this status", Code, Step::Verify, error(403, "E0000038", "status"), "authentication_failure/locked"),
        row("not in this status 2", Push, Step::Verify, error(403, "E0000078", "status"), "authentication_failure/locked"),
        row("wrong code", Code, Step::Verify, error(403, "E0000068", "Invalid"), "authentication_failure/wrong_code"),
        row("E0000068 of a push", Push, Step::Verify, error(403, "E0000068", "?"), "communication_error/http_status"),
        row("E0000007 of factors", Code, Step::Factors, error(404, "E0000007", "?"), "communication_error/http_status"),
        row("E0000007 of a factor", Code, Step::Verify, error(404, "E0000007", "?"), "communication_error/http_status"),
        row("E0000007 of a push", Push, Step::Poll, error(404, "E0000007", "?"), "communication_error/http_status"),
        row("another 404", Code, Step::User, error(404, "E0000008", "?"), "communication_error/http_status"),
        row("a 404 page", Code, Step::User, Response::new(404, "text/html", "<p>"), "communication_error/http_status"),
        row("a 404 of nobody", Code, Step::User, json(json!({})).status(404), "communication_error/http_status"),
        row("the code as number", Code, Step::User, json(json!({"errorCode": 7})).status(404), "communication_error/http_status"),
        row("E0000068 with 400", Code, Step::Verify, error(400, "E0000068", "?"), "communication_error/http_status"),
        row("E0000069 with 500", Code, Step::Verify, error(500, "E0000069", "?"), "communication_error/http_status"),
        row("factors no list", Code, Step::Factors, json(json!({})), "communication_error/unexpected_answer"),
        row("a factor without type", Code, Step::Factors, json(json!([{"id": "a", "status": "ACTIVE"}])), "communication_error/unexpected_answer"),
        row("a factor with a path for id", Code, Step::Factors, json(json!([{"id": "../x", "factorType": "token:software:totp", "provider": "OKTA", "status": "ACTIVE"}])), "communication_error/unexpected_answer"),
        row("no user at all", Code, Step::User, json(json!([])), "communication_error/unexpected_answer"),
        row("a user without login", Code, Step::User, json(json!({"id": "00u1", "status": "ACTIVE", "profile": {}})), "communication_error/unexpected_answer"),
        row("a user without status", Code, Step::User, json(json!({"id": "00u1", "profile": {"login": "x"}})), "communication_error/unexpected_answer"),
        row("a user with a path for id", Code, Step::User, json(json!({"id": "me/..", "status": "ACTIVE", "profile": {"login": "x"}})), "communication_error/unexpected_answer"),
        row("a push without links", Push, Step::Verify, json(json!({"factorResult": "WAITING"})).status(201), "communication_error/unexpected_answer"),
        row("a push that succeeds at once", Push, Step::Verify, look("SUCCESS").status(201), "communication_error/unexpected_answer"),
        row("a push that is no push", Push, Step::Verify, look("CHALLENGE").status(201), "communication_error/unexpected_answer"),
        row("a number that is none", Push, Step::Verify, json(json!({"factorResult": "WAITING", "_links": {"poll": {"href": "http://127.0.0.1/"}}, "_embedded": {"challenge": {"correctAnswer": "<b>"}}})).status(201), "communication_error/unexpected_answer"),
        row("success where a code was to be sent", Sms, Step::Verify, look("SUCCESS"), "communication_error/unexpected_answer"),
        row("waiting where a code was to be sent", Sms, Step::Verify, look("WAITING"), "communication_error/unexpected_answer"),
        row("too many messages", Sms, Step::Verify, error(429, "E0000109", "An SMS message was recently sent."), "communication_error/rate_limited"),
        row("too many e-mails", Sms, Step::Verify, error(429, "E0000118", "An email was recently sent."), "communication_error/rate_limited"),
        row("half an answer", Code, Step::Verify, Misbehaviour::HalfBody(look("SUCCESS")), "communication_error/truncated"),
        row("no answer", Code, Step::Verify, Misbehaviour::Close, "service_unreachable/connection_lost"),
        row("poll is a page", Push, Step::Poll, Response::new(200, "text/html", "<p>"), "communication_error/not_json"),
        row("poll with a key twice", Push, Step::Poll, Response::new(200, "application/json", r#"{"factorResult":"WAITING","factorResult":"SUCCESS"}"#), "communication_error/not_json"),
        row("success by a list", Push, Step::Poll, json(json!([{"factorResult": "SUCCESS"}])), "communication_error/unexpected_answer"),
        row("success in another status", Push, Step::Poll, look("SUCCESS").status(202), "communication_error/http_status"),
        row("success with 201", Code, Step::Verify, look("SUCCESS").status(201), "communication_error/http_status"),
        row("redirected", Push, Step::Poll, look("SUCCESS").status(302).with("Location", "http://127.0.0.1:9/"), "communication_error/redirected"),
    ];
    for (result, told) in [
        ("REJECTED", "authentication_failure/push_refused"),
        ("CANCELLED", "authentication_failure/push_refused"),
        ("FAILED", "authentication_failure/push_refused"),
        ("TIMEOUT", "authentication_failure/push_unanswered"),
        ("EXPIRED", "authentication_failure/push_unanswered"),
        ("PASSCODE_REPLAYED", "authentication_failure/used_code"),
        ("TIME_WINDOW_EXCEEDED", "authentication_failure/wrong_code"),
        ("ERROR", "communication_error/service_fault"),
        ("CHALLENGE", "communication_error/unexpected_answer"),
        ("success", "communication_error/unexpected_answer"),
        ("", "communication_error/unexpected_answer"),
    ] {
        rows.push(row(result, Push, Step::Poll, look(result), told));
    }
    for (result, told) in [
        ("REJECTED", "authentication_failure/wrong_code"),
        ("CANCELLED", "authentication_failure/wrong_code"),
        ("FAILED", "authentication_failure/wrong_code"),
        ("TIMEOUT", "authentication_failure/wrong_code"),
        ("EXPIRED", "authentication_failure/wrong_code"),
        ("PASSCODE_REPLAYED", "authentication_failure/used_code"),
        ("TIME_WINDOW_EXCEEDED", "authentication_failure/wrong_code"),
        ("ERROR", "communication_error/service_fault"),
        ("CHALLENGE", "communication_error/unexpected_answer"),
        ("WAITING", "communication_error/unexpected_answer"),
        ("SUCCESS ", "communication_error/unexpected_answer"),
    ] {
        rows.push(row(result, Code, Step::Verify, look(result), told));
    }
    for wrong in [json!(true), json!(1), json!(["SUCCESS"]), json!({"SUCCESS": true}), json!(null)] {
        let says = json(json!({"factorResult": wrong}));
        rows.push(row("of another type", Code, Step::Verify, says.clone(), "communication_error/unexpected_answer"));
        rows.push(row("of another type", Push, Step::Poll, says, "communication_error/unexpected_answer"));
    }
    for step in [Step::User, Step::Factors, Step::Verify, Step::Poll] {
        let ask = if step == Step::Poll { Push } else { Code };
        for (status, code, told) in [
            (400, "E0000001", "communication_error/http_status"),
            (400, "E0000003", "communication_error/http_status"),
            (401, "E0000011", "communication_error/credentials_refused"),
            (403, "E0000006", "communication_error/permission_refused"),
            (403, "E0000005", "communication_error/http_status"),
            (405, "E0000022", "communication_error/http_status"),
            (410, "E0000007", "communication_error/http_status"),
            (500, "E0000009", "communication_error/http_status"),
            (501, "E0000060", "communication_error/http_status"),
        ] {
            rows.push(row("an error", ask, step, error(status, code, "said"), told));
        }
        rows.push(row(
            "an error's page",
            ask,
            step,
            Response::new(500, "text/html", "<p>"),
            "communication_error/http_status",
        ));
        rows.push(row(
            "not JSON",
            ask,
            step,
            Response::new(200, "application/json", "SUCCESS"),
            "communication_error/not_json",
        ));
        rows.push(row(
            "null",
            ask,
            step,
            Response::new(200, "application/json", "null"),
            "communication_error/unexpected_answer",
        ));
        if step != Step::Poll {
            // While polling, these are looked at again.
            let limited = error(429, "E0000047", "API call exceeded rate limit due to too many requests.");
            rows.push(row("too many requests", ask, step, limited, "communication_error/rate_limited"));
            for status in [502, 503, 504] {
                let says = error(status, "E0000010", "Service is in read only mode");
                rows.push(row("away", ask, step, says, "service_unreachable/service_unavailable"));
            }
        }
    }
    rows
}

#[test]
fn every_answer_is_classified() {
    let okta = Okta::start();
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    let rows = classification();
    for (number, Row { name, ask, step, says, told }) in rows.iter().enumerate() {
        let user = format!("user{number}@corp.example");
        okta.add(&user);
        okta.script(*step, says.clone());
        // What must not come to pass is in reach.
        okta.book().looks.push_back("SUCCESS");
        let asked = match ask {
            Ask::Code => typed(&user, &user, "246810"),
            Ask::Sms => typed(&user, &user, "sms"),
            Ask::Push => pushed(&user, &user),
        };
        let mut asked = asked;
        asked["client_ip"] = format!("192.0.2.{}", number % 200).into();
        let answer = gateway.ask(&asked);
        assert_eq!(answer.told(), *told, "{name} ({step:?}, {says:?}): {answer:?}");
        assert_eq!(answer.error.as_ref().unwrap().service.as_deref(), Some("okta"), "{name}");
        assert_eq!(okta.forget(), 0, "{name}: {step:?} was not asked for");
        let asked = okta.of(Step::Verify).len();
        assert!(asked <= number + 1, "{name}: a code was sent twice");
    }
    okta.web.excuse();
    assert_eq!(rows.len(), 130);
}

#[test]
fn looks_that_fail_for_a_moment_are_repeated() {
    let okta = Okta::start();
    okta.add("alice@corp.example");
    okta.script(Step::Poll, error(503, "E0000010", "Service is in read only mode"));
    okta.script(Step::Poll, Misbehaviour::Close);
    okta.book().looks.push_back("SUCCESS");
    let home = home(&okta);
    accepted(&home.ask_one(&pushed("1", "alice@corp.example")), "push");
    assert_eq!(okta.of(Step::Poll).len(), 3);
}

#[test]
fn users_and_factors_that_are_not_active_are_rejected() {
    let okta = Okta::start();
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    for status in [
        "STAGED",
        "PROVISIONED",
        "RECOVERY",
        "LOCKED_OUT",
        "PASSWORD_EXPIRED",
        "SUSPENDED",
        "DEPROVISIONED",
        "active",
        "NEW",
    ] {
        let user = format!("{status}@corp.example");
        okta.add_person(&user, status, &FACTORS.map(|(start, ..)| (start, "ACTIVE")));
        let answer = gateway.ask(&typed(&user, &user, "246810"));
        assert_eq!(answer.told(), "authentication_failure/locked");
        assert_eq!(answer.reason(), format!("the user's status at Okta is {status}, not ACTIVE"));
    }
    assert!(okta.of(Step::Factors).is_empty());
    for status in ["DISABLED", "ENROLLED", "EXPIRED", "INACTIVE", "NOT_SETUP", "PENDING_ACTIVATION"] {
        let user = format!("{status}.factors@corp.example");
        okta.add_with(&user, &FACTORS.map(|(start, ..)| (start, status)));
        for (kind, code) in [("otp", "246810"), ("yubikey", KEY), ("sms", "556677")] {
            let answer = gateway.ask(&typed(&format!("{user} {kind}"), &user, &format!("{kind} {code}")));
            assert_eq!(answer.told(), "authentication_failure/no_device");
        }
        assert_eq!(gateway.ask(&pushed(&user, &user)).told(), "authentication_failure/no_device");
    }
    okta.add_with("bare@corp.example", &[("ufs", "ACTIVE"), ("crp", "ACTIVE"), ("gaf", "INACTIVE")]);
    let answer = gateway.ask(&typed("bare", "bare@corp.example", "246810"));
    let said = "the user has no active factor for otp; active: question OKTA, signed_nonce OKTA";
    assert_eq!((answer.code(), answer.reason()), ("no_device", said));
    assert!(okta.of(Step::Verify).is_empty());
}

// -------------------------------------------------------------------------------------------------------- who it is

#[test]
fn only_who_was_asked_for_is_verified() {
    let okta = Okta::start();
    for user in ["alice@corp.example", "Jürgen@corp.example", "bob@evil.example"] {
        okta.add(user);
    }
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    accepted(&gateway.ask(&typed("1", "ALICE@Corp.Example", "246810")), "otp");
    accepted(&gateway.ask(&typed("2", "JÜRGEN@corp.example", "246810")), "otp");
    let short = gateway.ask(&typed("3", "bob", "246810"));
    assert_eq!(short.told(), "communication_error/login_mismatch");
    assert!(short.reason().contains("bob@evil.example") && short.reason().contains("short_names = yes"), "{short:?}");
    for other in ["alice@corp.example.evil", "alice@corp", " alice@corp.example", "alice@corp.example\u{301}"] {
        okta.script(
            Step::User,
            Response::json(
                200,
                &json!({
                    "id": server::id(0), "status": "ACTIVE", "profile": {"login": "alice@corp.example"},
                }),
            ),
        );
        let answer = gateway.ask(&typed(other, other, "246810"));
        assert_eq!(answer.told(), "communication_error/login_mismatch", "{other}");
    }
    assert_eq!(okta.of(Step::Verify).len(), 2);
}

#[test]
fn short_names_are_taken_where_the_configuration_says_so() {
    let okta = Okta::start();
    for user in ["alice@corp.example", "carol@evil@corp.example"] {
        okta.add(user);
    }
    let home = home(&okta);
    home.set("okta", "short_names", "yes");
    let mut gateway = Gateway::start(&home);
    accepted(&gateway.ask(&typed("1", "Alice", "246810")), "otp");
    for (id, name) in [("2", "carol"), ("3", "alice@other.example"), ("4", "ali")] {
        okta.script(Step::User, Response::json(200, &json!({
            "id": server::id(0), "status": "ACTIVE",
            "profile": {"login": if name == "carol" { "carol@evil@corp.example" } else { "alice@corp.example" }},
        })));
        assert_eq!(gateway.ask(&typed(id, name, "246810")).told(), "communication_error/login_mismatch", "{name}");
    }
}

#[test]
fn names_that_are_no_logins_are_not_asked_for() {
    let okta = Okta::start();
    okta.add("owner@corp.example");
    let home = home(&okta);
    home.set("okta", "short_names", "yes");
    let mut gateway = Gateway::start(&home);
    let long = "x".repeat(10 * 1024);
    for (number, name) in [
        "me",
        "ME",
        "Me ",
        ".",
        "..",
        "00usfahhrdlPEHV00000",
        "00Uabc",
        "00u",
        "x/../../admin?a=b",
        "/",
        "alice/factors",
        "a\\b",
        "alice?limit=1",
        "alice#x",
        "me;x",
        "..;",
        "a\0b",
        "a\nb",
        "a\u{202e}b",
        &long,
    ]
    .into_iter()
    .enumerate()
    {
        for asked in [typed(&format!("code {number}"), name, "246810"), pushed(&format!("push {number}"), name)] {
            let answer = gateway.ask(&asked);
            assert_eq!(answer.told(), "authentication_failure/malformed_name", "{name:?}: {answer:?}");
        }
    }
    assert!(okta.web.requests().is_empty());
}

#[test]
fn other_names_arrive_as_they_are() {
    let okta = Okta::start();
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    for (number, name) in [
        "a b@corp.example",
        "%2e%2e",
        "%00",
        "100%@corp.example",
        "a+b&c=d@corp.example",
        "日本@corp.example",
        "o'neil\"<x>@corp.example",
        "me@corp.example",
        "00u@corp.example",
        "a..b@corp.example",
        "{x}|^`",
    ]
    .into_iter()
    .enumerate()
    {
        okta.add(name);
        let id = number.to_string();
        accepted(&gateway.ask(&typed(&id, name, "246810")), "otp");
    }
}

// ----------------------------------------------------------------------------------------------------------- hostile

#[test]
fn codes_of_no_shape_are_not_asked_about() {
    let okta = Okta::start();
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    let long = "1".repeat(10 * 1024);
    for (number, code) in [
        " ",
        "1",
        "123",
        "12345678901",
        "abcdef",
        "12345a",
        "-1",
        "1e5",
        "{}",
        "otp",
        "otp sms",
        "o_12_34",
        "yubikey 123456",
        "sms x",
        "rsa 1",
        "token pässwort",
        "push 1",
        "x=1234",
        "\"},\"factorResult\":\"SUCCESS",
        "1234\u{0}56",
        "12\n3456",
        "\u{202e}123456",
        &long,
        KEY,
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("user{number}@corp.example");
        let answer = gateway.ask(&typed(&user, &user, code));
        assert_eq!(answer.told(), "authentication_failure/malformed_code", "{code:?}: {answer:?}");
    }
    assert!(okta.web.requests().is_empty());
}

#[test]
fn links_that_lead_elsewhere_are_not_followed() {
    let okta = Okta::start();
    let elsewhere = Web::always(look("SUCCESS"));
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    let (port, host) = (okta.web.port(), elsewhere.host());
    let other = elsewhere.port();
    let links = [
        json!(format!("http://{host}/api/v1/x")),
        json!(format!("http://localhost:{port}/api/v1/x")),
        json!(format!("http://127.0.0.1:{other}/api/v1/x")),
        json!(format!("https://127.0.0.1:{port}/api/v1/x")),
        json!(format!("http://127.0.0.1:{port}@{host}/api/v1/x")),
        json!(format!("http://127.0.0.1@{host}/")),
        json!(format!("http://x@127.0.0.1:{port}/api/v1/x")),
        json!(format!("http://x:y@127.0.0.1:{port}/api/v1/x")),
        json!(format!("http://127.0.0.1:{port}.evil.example/")),
        json!("http://127.0.0.1/"),
        json!("https://evil.example/"),
        json!("//evil.example/x"),
        json!("/api/v1/x"),
        json!("file:///etc/passwd"),
        json!("javascript:alert(1)"),
        json!("data:application/json,{\"factorResult\":\"SUCCESS\"}"),
        json!(""),
        json!(7),
        json!(null),
        json!(["x"]),
        json!(format!("http://127.0.0.1:{port}/{}", "x".repeat(4096))),
    ];
    for (number, link) in links.iter().enumerate() {
        for which in ["poll", "cancel"] {
            let user = format!("{which}{number}@corp.example");
            okta.add(&user);
            {
                let mut book = okta.book();
                book.looks.push_back("SUCCESS");
                book.poll_link = (which == "poll").then(|| link.clone());
                book.cancel_link = (which == "cancel").then(|| link.clone());
            }
            let answer = gateway.ask(&pushed(&user, &user));
            let code = answer.code();
            let class = &answer.error.as_ref().unwrap().class;
            let known = ["foreign_link", "unexpected_answer"].contains(&code);
            assert!(class == "communication_error" && known, "{link}: {answer:?}");
            assert!(!answer.reason().contains(TRANSACTION), "{answer:?}");
            okta.forget();
        }
    }
    assert!(okta.of(Step::Poll).is_empty() && okta.of(Step::Cancel).is_empty());
    assert_eq!((elsewhere.seen().connections, gateway.end().1.status), (0, Some(0)));
    let shown = home.log();
    assert!(
        shown.contains(&format!("the poll link leads to http://{host} and not to http://127.0.0.1:{port}")),
        "{shown}"
    );
}

#[test]
fn nothing_but_the_push_is_taken_back() {
    let okta = Okta::start();
    let home = home(&okta);
    let mut gateway = Gateway::start(&home);
    for (number, link) in [
        "ORIGIN/api/v1/users/00usfahhrdlPEHV00000",
        "ORIGIN/api/v1/users/00usfahhrdlPEHV00000/factors/opfsfdsyb1P5k0Kr0000",
        "HERE/../../..",
        "HERE/%2e%2e/%2E%2e",
        "HERE%2f..%2f..",
        "HERE?sendEmail=true",
        "HERE;x",
        "ORIGIN/",
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("user{number}@corp.example");
        okta.add(&user);
        okta.book().cancel_link = Some(json!(link));
        let mut asked = pushed(&user, &user);
        asked["deadline_ms"] = 1000.into();
        assert_eq!(gateway.ask(&asked).told(), "authentication_failure/push_unanswered", "{link}");
    }
    // One that is right comes after them all.
    okta.add("last@corp.example");
    okta.book().cancel_link = None;
    let mut asked = pushed("last", "last@corp.example");
    asked["deadline_ms"] = 1000.into();
    assert_eq!(gateway.ask(&asked).told(), "authentication_failure/push_unanswered");
    okta.web.wait_until(|seen| seen.requests.iter().any(|request| request.method == "DELETE"));
    let (_, ended) = gateway.end();
    assert_eq!(ended.status, Some(0));
    let deleted: Vec<_> = okta.web.requests().into_iter().filter(|request| request.method == "DELETE").collect();
    assert_eq!((deleted.len(), deleted[0].path.contains("/transactions/")), (1, true), "{deleted:?}");
}

#[test]
fn a_rate_limit_is_waited_for_while_polling_only() {
    let okta = Okta::start();
    let said = "API call exceeded rate limit due to too many requests.";
    let home = home(&okta);
    // Their clock is an hour ahead: only the difference counts, and a second more.
    okta.add("alice@corp.example");
    let answer = limited(error(429, "E0000047", said), Duration::from_secs(3600), 600, Duration::from_secs(1));
    okta.script(Step::Poll, answer.clone());
    okta.book().looks.push_back("SUCCESS");
    accepted(&home.ask_one(&pushed("1", "alice@corp.example")), "push");
    let polls = okta.of(Step::Poll);
    let waited = polls[1].at.duration_since(polls[0].at);
    assert!(waited >= Duration::from_millis(1900), "{waited:?}");
    // Too many at once: the time of the reset says nothing.
    okta.add("bob@corp.example");
    let far = Duration::from_secs(600);
    okta.script(Step::Poll, limited(error(429, "E0000047", said), Duration::ZERO, 0, far));
    okta.book().looks.push_back("SUCCESS");
    accepted(&home.ask_one(&pushed("2", "bob@corp.example")), "push");
    // Later than the verdict is due.
    okta.add("carol@corp.example");
    okta.script(Step::Poll, limited(error(429, "E0000047", said), Duration::ZERO, 600, far));
    let told = home.ask_one(&pushed("3", "carol@corp.example"));
    assert_eq!(told.told(), "communication_error/rate_limited");
    assert_eq!(told.reason(), "status 429, E0000047: the rate limit is reached");
    // Nothing that is not a look is sent again.
    okta.add("dave@corp.example");
    okta.script(Step::Verify, answer);
    let before = okta.of(Step::Verify).len();
    assert_eq!(home.ask_one(&typed("4", "dave@corp.example", "246810")).told(), "communication_error/rate_limited");
    assert_eq!(okta.of(Step::Verify).len(), before + 1);
}

#[test]
fn secrets_are_seen_nowhere() {
    let okta = Okta::start();
    let home = home(&okta);
    home.set("logging", "level", "debug");
    let mut gateway = Gateway::start(&home);
    let mut shown = Vec::new();
    let parrot = |status: u16, code: &str| error(status, code, &format!("246810 {TOKEN} {TRANSACTION}1 said back"));
    let replies = [
        (Step::Verify, parrot(400, "E0000001")),
        (Step::Verify, parrot(403, "E0000068")),
        (Step::Verify, parrot(500, "E0000009")),
        (Step::Poll, parrot(404, "E0000007")),
        (Step::Poll, parrot(401, "E0000011")),
        (Step::User, parrot(404, "E0000007")),
    ];
    for (number, (step, says)) in replies.into_iter().enumerate() {
        let user = format!("user{number}@corp.example");
        okta.add(&user);
        okta.script(step, says);
        let asked = if step == Step::Poll { pushed(&user, &user) } else { typed(&user, &user, "246810") };
        shown.push(format!("{:?}", gateway.ask(&asked)));
        okta.forget();
    }
    okta.add("last@corp.example");
    shown.push(format!("{:?}", gateway.ask(&typed("last", "last@corp.example", "246810"))));
    let (_, ended) = gateway.end();
    shown.extend([home.log(), ended.stderr]);
    for text in &shown {
        for secret in ["246810", TOKEN, TRANSACTION, "said back"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    for entry in fs::read_dir(home.store()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap_or_default();
        for secret in ["246810", TOKEN, TRANSACTION] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} in the store");
        }
    }
}

#[test]
fn the_api_may_be_named_with_its_path() {
    let okta = Okta::start();
    okta.add("alice@corp.example");
    let home = home(&okta);
    home.set("okta", "api_url", &okta.web.url("/api/v1/"));
    accepted(&home.ask_one(&typed("1", "alice@corp.example", "246810")), "otp");
    assert_eq!(okta.web.requests()[0].path, "/api/v1/users/alice@corp.example");
}

#[test]
fn a_wrong_token_is_said_so() {
    let okta = Okta::start();
    okta.add("alice@corp.example");
    let home = home(&okta);
    home.set("okta", "api_key", "00stale");
    let answer = home.ask_one(&typed("1", "alice@corp.example", "246810"));
    assert_eq!(answer.told(), "communication_error/credentials_refused");
    assert!(answer.reason().contains("the API token is not valid"), "{answer:?}");
}

// ------------------------------------------------------------------------------------------------------------ doctor

/// The steps of `doctor` that are the client's own, each with whether it went well, and what the last one says.
fn examined(home: &Home) -> (Vec<(String, bool)>, String) {
    let ran = home.run(&["doctor", "okta", "--json"], "");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let clients = report["clients"].as_array().unwrap();
    let steps = clients.iter().find(|client| client["client"] == "okta").unwrap()["steps"].as_array().unwrap();
    let ours = steps.iter().filter(|step| step["step"] == "credentials" || step["step"] == "permissions");
    let shown = |step: &Value| (step["step"].as_str().unwrap().to_owned(), step["ok"].as_bool().unwrap());
    let said = ours.clone().map(|step| format!("{} {}", step["text"], step["remedy"])).next_back().unwrap_or_default();
    (ours.map(shown).collect(), said)
}

#[test]
fn doctor_asks_for_nobody_but_the_owner_of_the_token() {
    let okta = Okta::start();
    okta.add("owner@corp.example");
    let home = home(&okta);
    let (credentials, permissions) = (|ok| ("credentials".to_owned(), ok), |ok| ("permissions".to_owned(), ok));
    assert_eq!(examined(&home).0, [credentials(true), permissions(true)]);
    let asked: Vec<_> =
        okta.web.requests().into_iter().map(|request| format!("{} {}", request.method, request.path)).collect();
    assert_eq!(asked, ["GET /", "GET /api/v1/users/me", "GET /api/v1/users/me/factors"]);

    okta.script(Step::Factors, error(403, "E0000006", "You do not have permission to perform the requested action"));
    let (steps, last) = examined(&home);
    assert_eq!(steps, [credentials(true), permissions(false)]);
    assert!(last.contains("administrator role"), "{last}");

    home.set("okta", "api_key", "00stale");
    let (steps, last) = examined(&home);
    assert_eq!(steps, [credentials(false)]);
    assert!(last.contains("make an API token"), "{last}");
    assert!(!last.contains("00stale"));
}

// ------------------------------------------------------------------------------------------------- the vendor's client

/// The vendor's own client asks our server for a user and their factors, and looks at a push.
const VENDOR: &str = r#"
import asyncio, sys
from okta.client import Client
from okta.config.config_validator import ConfigValidator

# It wants https, which our server does without.
ConfigValidator._validate_org_url = lambda self, url: []

async def main(url, token, login):
    client = Client({"orgUrl": url, "token": token, "logging": {"enabled": False}})
    user, response, error = await client.get_user(login)
    assert error is None, error
    print(user.id, getattr(user.status, "value", user.status), user.profile.login)
    factors, response, error = await client.list_factors(user.id)
    assert error is None, error
    for factor in factors:
        factor = getattr(factor, "actual_instance", factor)
        print(factor.id, getattr(factor.factor_type, "value", factor.factor_type), getattr(factor.status, "value", factor.status))
    user, response, error = await client.get_user("nobody@corp.example")
    print("nobody", error.status, error.error_code)

asyncio.run(main(*sys.argv[1:]))
"#;

#[test]
fn the_vendors_client_understands_our_server() {
    let python = std::env::var("COUNTERSIGN_OKTA_PYTHON").unwrap_or_else(|_| "python3".into());
    if !Command::new(&python).args(["-c", "import okta.client"]).output().is_ok_and(|ran| ran.status.success()) {
        println!(
            "skipped: Okta's client is missing; run: pip install okta==3.4.6, or name its python in $COUNTERSIGN_OKTA_PYTHON"
        );
        return;
    }
    let okta = Okta::start();
    okta.add("alice@corp.example");
    // The recorded exchanges have a space between the scheme and the token; this client leaves it to the token.
    let token = format!(" {TOKEN}");
    let ran =
        Command::new(&python).args(["-c", VENDOR, &okta.web.url(""), &token, "alice@corp.example"]).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some(&*format!("{} ACTIVE alice@corp.example", server::id(0))), "{said}{errors}");
    for (start, kind, ..) in FACTORS {
        let line = lines.next().unwrap_or_default();
        assert!(line.starts_with(start) && line.ends_with(&format!(" {kind} ACTIVE")), "{line}: {said}{errors}");
    }
    assert_eq!(lines.next(), Some("nobody 404 E0000007"), "{said}{errors}");
    okta.web.excuse();
}

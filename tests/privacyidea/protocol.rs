//! What the client asks for, and what it makes of servers that are not to be had here: checked by a server of our own.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::rig::http::{Request, Response};
use super::rig::web::{Misbehaviour, Reply, Web};
use super::rig::{Gateway, request};
use super::*;

/// An answer of the server.
fn answer(authentication: &str, value: Value, detail: Value) -> Response {
    let result = json!({"authentication": authentication, "status": true, "value": value});
    Response::json(200, &json!({"detail": detail, "id": 1, "jsonrpc": "2.0", "result": result}))
}

fn accept(serial: &str) -> Response {
    answer("ACCEPT", json!(true), json!({"message": "Found matching challenge", "serial": serial}))
}

fn reject(message: &str) -> Response {
    answer("REJECT", json!(false), json!({"message": message}))
}

fn error(status: u16, code: i64) -> Response {
    let error = json!({"code": code, "message": format!("ERR{code}")});
    Response::json(status, &json!({"detail": null, "result": {"error": error, "status": false}}))
}

/// A poll's answer.
fn status(status: &str) -> Response {
    answer(
        if status == "accept" { "ACCEPT" } else { "REJECT" },
        json!(status == "accept"),
        json!({"challenge_status": status}),
    )
}

/// The challenges of transaction 012301230123.
fn challenges(challenges: &[Value]) -> Value {
    let challenges: Vec<Value> = challenges
        .iter()
        .map(|challenge| {
            let mut challenge = challenge.clone();
            challenge["transaction_id"] = json!("012301230123");
            challenge
        })
        .collect();
    json!({"multi_challenge": challenges, "transaction_id": "012301230123", "message": "please"})
}

fn pushed() -> Value {
    json!({"client_mode": "poll", "message": "Please confirm", "serial": "PIPU1", "type": "push"})
}

fn numbered() -> Value {
    json!({"client_mode": "poll", "message": "Please press: 7", "serial": "PIPU1", "type": "push", "presence_answer": "7"})
}

fn typed() -> Value {
    json!({"client_mode": "interactive", "message": "please enter otp: ", "serial": "HOTP1", "type": "hotp"})
}

/// What each request of `web` was, in short.
fn asked(web: &Web) -> Vec<String> {
    let short = |request: &Request| {
        let fields =
            ["pass", "transaction_id", "username"].into_iter().filter_map(|name| Some((name, request.field(name)?)));
        let fields: Vec<String> = fields.map(|(name, value)| format!(" {name}={value}")).collect();
        let query: Vec<String> = request.query.iter().map(|(name, value)| format!(" ?{name}={value}")).collect();
        format!(
            "{} {}{}{}",
            request.method,
            request.path.trim_start_matches("/validate"),
            query.concat(),
            fields.concat()
        )
    };
    web.requests().iter().map(short).collect()
}

const ACCOUNT: [(&str, &str); 2] = [("service_user", "svc"), ("service_password", "pw")];

#[test]
fn edumfa_is_believed_for_what_it_means() {
    for (poll, finish, expected) in [
        (status("accept"), accept("PIPU1"), "accept/push"),
        (status("accept"), reject("wrong otp pin"), GONE),
        (status("accept"), error(500, -600), "communication_error/service_fault"),
        (status("declined"), accept("PIPU1"), REFUSED),
        (status("pending"), accept("PIPU1"), UNANSWERED),
        (error(500, -600), accept("PIPU1"), "communication_error/service_fault"),
    ] {
        let is_asked_again = poll.body == status("accept").body;
        let web = Web::serve(move |request: &Request| {
            match request.path.as_str() {
            "/auth" => answer("ACCEPT", json!(true), json!({})).body(
                json!({"result": {"authentication": "ACCEPT", "status": true, "value": {"token": "a.b.c", "role": "admin"}}}).to_string(),
            ),
            // It says so of something that nobody has confirmed.
            "/validate/triggerchallenge" => {
                assert_eq!(request.header("authorization"), Some("a.b.c"));
                let mut push = pushed();
                push["type"] = json!("edupush");
                answer("ACCEPT", json!(1), challenges(&[push]))
            }
            "/validate/polltransaction" => poll.clone(),
            "/validate/check" => finish.clone(),
            other => panic!("{other}"),
        }
        });
        let home = home(&web.url(""), &[&ACCOUNT[..], &[("flavour", "edumfa")]].concat());
        home.set("plugin", "deadline", "3");
        assert_eq!(told(&Login::new(&home, "alice").types("")), expected);
        let asked = asked(&web);
        assert_eq!(asked[..2], ["POST /auth username=svc", "POST /triggerchallenge"]);
        let finishes = asked.iter().filter(|asked| *asked == "POST /check pass= transaction_id=012301230123").count();
        assert_eq!(
            (finishes, asked.iter().filter(|asked| asked.contains("/check")).count()),
            if is_asked_again { (1, 1) } else { (0, 0) }
        );
    }
    // It waits for the phone as well, and has one word for all that is no accept.
    let waited =
        answer("REJECT", json!(false), json!({"message": "wrong otp value", "serial": "PIPU1", "type": "edupush"}));
    let web = Web::always(waited);
    let home = home(&web.url(""), &[("flavour", "edumfa")]);
    assert_eq!(told(&Login::new(&home, "alice").types("")), UNANSWERED);
    for (answer, expected) in [
        (error(400, 905), "communication_error/request_refused"),
        (error(500, -600), "communication_error/service_fault"),
        (error(500, -500), "communication_error/service_fault"),
        (error(400, 904), NOT_ENROLLED),
    ] {
        let web = Web::always(answer);
        home.set("privacyidea", "url", &web.url(""));
        assert_eq!(told(&Login::new(&home, "alice").types("123456")), expected);
    }
}

#[test]
fn a_session_of_the_service_account_is_kept_and_renewed_once() {
    let logins = AtomicUsize::new(0);
    let web = Web::serve(move |request: &Request| match request.path.as_str() {
        "/auth" => {
            assert_eq!(request.field("password").as_deref(), Some("pw"));
            let token = format!("session{}", logins.fetch_add(1, Ordering::Relaxed));
            let value = json!({"token": token, "rights": ["triggerchallenge"]});
            Response::json(200, &json!({"result": {"authentication": "ACCEPT", "status": true, "value": value}}))
        }
        "/validate/triggerchallenge" => {
            let user = request.field("user").unwrap();
            let over: &[&str] = match &*user {
                "first" | "second" => &[],
                "expired" | "other key" => &["session0", "session1"],
                _ => &["session0", "session1", "session2", "session3", "session4"],
            };
            let session = request.header("authorization").unwrap();
            match (over.contains(&session), &*user) {
                (true, "other key") => error(401, 4304),
                (true, _) => error(401, 4305),
                (false, _) => answer("CHALLENGE", json!(1), challenges(&[typed()])),
            }
        }
        other => panic!("{other}"),
    });
    let home = home(&web.url(""), &ACCOUNT);
    let mut gateway = Gateway::start(&home);
    let mut count = 0;
    for (user, expected, log_ins, triggers) in [
        ("first", ASKED, 1, 1),
        ("second", ASKED, 0, 1),
        // session0 is refused, and session1 as well.
        ("expired", CREDENTIALS, 1, 2),
        ("expired", ASKED, 1, 2),
        ("other key", ASKED, 0, 1),
        ("never", CREDENTIALS, 1, 2),
    ] {
        let answer = gateway.ask(&Login::new(&home, user).request(""));
        assert_eq!(told(&answer), expected, "{user}");
        let requests = web.requests();
        let of = |path: &str| requests[count..].iter().filter(|request| request.path == path).count();
        assert_eq!((of("/auth"), of("/validate/triggerchallenge")), (log_ins, triggers), "{user}");
        count = requests.len();
    }
    let log = home.log();
    assert!(!log.contains("session0") && !log.contains("012301230123"), "{log}");
}

#[test]
fn a_code_in_place_of_a_push_goes_where_it_belongs() {
    let check = |asked: &[Value]| {
        let detail = challenges(asked);
        Web::serve(move |request: &Request| match (request.field("pass").as_deref(), request.path.as_str()) {
            (_, "/validate/polltransaction") => status("pending"),
            (Some(""), _) => answer("CHALLENGE", json!(false), detail.clone()),
            (Some("000000"), _) => reject("Response did not match the challenge."),
            (Some(_), _) => accept("HOTP1"),
            (None, _) => error(400, 905),
        })
    };
    let number = "ask: Press 7 on your phone. Press Enter when done, or type a one-time password:";

    // The transaction asks for a code as well.
    let web = check(&[numbered(), typed()]);
    let home_ = home(&web.url(""), &[]);
    let mut login = Login::new(&home_, "alice");
    assert_eq!(told(&login.types("")), number);
    assert_eq!(told(&login.types("000000")), WRONG);
    assert_eq!(told(&login.types("755224")), "accept/otp");
    let expected = [
        "POST /check pass=",
        "POST /check pass=000000 transaction_id=012301230123",
        "POST /check pass=755224 transaction_id=012301230123",
    ];
    assert_eq!(asked(&web), expected);

    // It asks the phone only.
    let web = check(&[numbered()]);
    let home_ = home(&web.url(""), &[]);
    let mut login = Login::new(&home_, "alice");
    assert_eq!(told(&login.types("")), number);
    assert_eq!(told(&login.types("755224")), "accept/otp");
    assert_eq!(asked(&web), ["POST /check pass=", "POST /check pass=755224"]);

    // Once the phone has answered, the server takes whatever is typed: it was the phone.
    let web = Web::serve(|request: &Request| match request.field("pass").as_deref() {
        Some("") => answer("CHALLENGE", json!(false), challenges(&[numbered(), typed()])),
        _ => accept("PIPU1"),
    });
    let home_ = home(&web.url(""), &[]);
    let mut login = Login::new(&home_, "alice");
    login.types("");
    assert_eq!(told(&login.types("000000")), "accept/push");
}

#[test]
fn an_empty_answer_to_a_question_never_leaves() {
    let web = Web::serve(|request: &Request| match request.field("transaction_id") {
        None => answer("CHALLENGE", json!(false), challenges(&[typed()])),
        Some(_) => accept("HOTP1"),
    });
    let home = home(&web.url(""), &[]);
    let mut login = Login::new(&home, "heidi");
    assert_eq!(told(&login.types("heidipin")), ASKED);
    for (empty, expected) in
        [("", ASKED), (" ", "authentication_failure/malformed_code"), ("\t", "authentication_failure/malformed_code")]
    {
        assert_eq!(told(&login.types(empty)), expected, "{empty:?}");
    }
    assert_eq!(asked(&web), ["POST /check pass=heidipin"]);
}

#[test]
fn a_token_must_be_named_that_proves_something() {
    for (detail, asked, by_default, agreed) in [
        (json!({"serial": "HOTP1", "type": "hotp"}), "123456", "accept/otp", "accept/otp"),
        (json!({"serial": "PIPU1", "type": "push"}), "", "accept/push", "accept/push"),
        (json!({"serial": "PIPU1", "type": "edupush"}), "pin", "accept/push", "accept/push"),
        // Nobody was asked, and nothing was typed.
        (json!({"serial": "SPASS1", "type": "spass"}), "", POLICY, POLICY),
        (json!({"serial": "SPASS1"}), "", POLICY, POLICY),
        (json!({"message": "user has no token, accepted due to 'x'"}), "", POLICY, POLICY),
        (json!({"message": "user has no token, accepted due to 'x'"}), "123456", POLICY, "accept/otp"),
        (json!({"message": "against userstore due to 'x'"}), "123456", POLICY, "accept/otp"),
        (Value::Null, "123456", STRANGE, "accept/otp"),
        (Value::Null, "", STRANGE, "accept/push"),
    ] {
        let web = Web::always(answer("ACCEPT", json!(true), detail.clone()));
        let home = home(&web.url(""), &[]);
        assert_eq!(told(&Login::new(&home, "alice").types(asked)), by_default, "{detail}");
        home.set("privacyidea", "require_token_serial", "no");
        assert_eq!(told(&Login::new(&home, "alice").types(asked)), agreed, "{detail}");
    }
}

#[test]
fn names_and_codes_are_sent_as_they_are_or_not_at_all() {
    let web = Web::always(reject("wrong otp value"));
    let home = home(&web.url(""), &[("realm", "corp & co")]);
    for name in
        ["me", "..", ".", "x/../../admin?a=b", "jürgen", "a&user=b", "a b", "100%", "alice@corp", "CORP\\alice", "李"]
    {
        let before = web.requests().len();
        assert_eq!(told(&Login::new(&home, name).types("755224")), WRONG, "{name}");
        let requests = web.requests();
        let [request] = &requests[before..] else { panic!("{name}: {requests:?}") };
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/validate/check"));
        let field = |name| request.field(name);
        assert_eq!((field("user").as_deref(), field("realm").as_deref()), (Some(name), Some("corp & co")));
        assert_eq!((field("pass").as_deref(), field("client").as_deref()), (Some("755224"), Some("192.0.2.7")));
        assert_eq!(request.form().len(), 4);
    }
    for name in ["a\0b", "a\nb", "a\u{202e}b", &"x".repeat(10_240)] {
        let before = web.requests().len();
        assert_eq!(told(&Login::new(&home, name).types("755224")), "authentication_failure/malformed_name");
        assert_eq!(told(&Login::new(&home, name).types("")), "authentication_failure/malformed_name");
        assert_eq!(web.requests().len(), before);
    }
    for (code, expected) in [
        ("p&pass=x", WRONG),
        ("pin mit Leerzeichen 755224", WRONG),
        ("密碼755224", WRONG),
        ("７５５２２４", WRONG),
        ("%00", WRONG),
        ("   ", "authentication_failure/malformed_code"),
        ("75\x000224", "authentication_failure/malformed_code"),
        ("755224\r\n", "authentication_failure/malformed_code"),
        (&"7".repeat(513), "authentication_failure/malformed_code"),
    ] {
        let before = web.requests().len();
        assert_eq!(told(&Login::new(&home, "alice").types(code)), expected, "{code}");
        let requests = web.requests();
        let sent: Vec<Option<String>> = requests[before..].iter().map(|request| request.field("pass")).collect();
        let is_sent = expected == WRONG;
        assert_eq!(sent, if is_sent { vec![Some(code.to_owned())] } else { vec![] });
        assert!(code.len() < 6 || !home.log().contains(code));
    }
    // What is no address is not sent as one.
    let odd = request("odd", "alice", json!({"client_ip": "192.0.2.7, 10.0.0.1", "key_value_pairs": {"otp": "1"}}));
    home.ask_one(&odd);
    assert_eq!(web.requests().last().unwrap().field("client"), None);
}

#[test]
fn an_answer_to_another_request_is_not_taken() {
    // Signed by the server that was recorded, once, for a nonce that is not ours.
    let vectors: Value = serde_json::from_str(include_str!("../services/privacyidea/signature-vectors.json")).unwrap();
    let vector =
        |index: usize| Response::new(200, "application/json", vectors["vectors"][index]["body"].as_str().unwrap());
    let unsigned = answer("ACCEPT", json!(true), json!({"serial": "HOTP1"}));
    for (response, expected) in
        [(vector(0), "does not repeat the nonce"), (vector(1), "does not repeat the nonce"), (unsigned, "not signed")]
    {
        let web = Web::always(response);
        let home = home(&web.url(""), &[("signature_key", "key.pem")]);
        std::fs::write(home.dir().join("key.pem"), vectors["public_key_pem"].as_str().unwrap()).unwrap();
        let answer = Login::new(&home, "alice").types("755224");
        assert_eq!(told(&answer), "communication_error/bad_signature");
        assert!(answer.reason().contains(expected), "{answer:?}");
        let nonce = web.requests()[0].field("nonce").unwrap();
        assert_eq!(nonce.len(), 32);
    }
}

#[test]
fn a_door_that_was_open_a_moment_ago_is_not_left_open() {
    // The service goes away between the question and its answer.
    let web = Web::always(answer("CHALLENGE", json!(false), challenges(&[typed()])));
    let home = home(&web.url(""), &[("on_unreachable", "accept")]);
    let mut login = Login::new(&home, "alice");
    assert_eq!(told(&login.types("pin")), ASKED);
    drop(web);
    assert_eq!(told(&login.types("755224")), "service_unreachable/connection_refused");
    // Where it was not there from the start, the section says.
    let fresh = Login::new(&home, "alice").types("755224");
    assert_eq!((fresh.verdict(), fresh.degraded), ("accept", Some(true)));
}

#[test]
fn a_look_that_the_deadline_cuts_short_leaves_the_push_unanswered() {
    for (looks, timeout, expected) in [
        (1, "25", UNANSWERED),
        (0, "25", "service_unreachable/read_timeout"),
        (1, "1", "service_unreachable/read_timeout"),
    ] {
        let looked = AtomicUsize::new(0);
        let web = Web::serve(move |request: &Request| match request.path.as_str() {
            "/validate/check" => Reply::from(answer("CHALLENGE", json!(false), challenges(&[pushed()]))),
            _ if looked.fetch_add(1, Ordering::Relaxed) < looks => status("pending").into(),
            _ => Misbehaviour::Silence.into(),
        });
        let home = home(&web.url(""), &[("timeout", timeout)]);
        home.set("plugin", "deadline", if timeout == "1" { "20" } else { "3" });
        assert_eq!(told(&Login::new(&home, "alice").types("")), expected, "{looks} {timeout}");
    }
}

#[test]
fn a_push_that_nobody_waits_for_is_taken_back() {
    let web = Web::serve(|request: &Request| match request.path.as_str() {
        "/auth" => Response::json(
            200,
            &json!({"result": {"authentication": "ACCEPT", "status": true, "value": {"token": "a.b.c"}}}),
        ),
        "/validate/triggerchallenge" => answer("CHALLENGE", json!(1), challenges(&[pushed()])),
        "/validate/polltransaction" => status("pending"),
        _ => answer("ACCEPT", json!(true), json!({})),
    });
    let home = home(&web.url(""), &ACCOUNT);
    let mut gateway = Gateway::start(&home);
    let login = Login::new(&home, "alice");
    gateway.send(&login.request(""));
    web.wait_until(|seen| seen.requests.iter().any(|request| request.path == "/validate/polltransaction"));
    assert_eq!(gateway.ask(&json!({"type": "cancel", "id": "c", "target": login.session})).cancelled, Some(true));
    assert_eq!(told(&gateway.answer(login.session.clone())), "policy_denied/cancelled");
    assert_eq!(gateway.end().1.status, Some(0));
    let requests = web.requests();
    let last = requests.last().unwrap();
    assert_eq!((last.method.as_str(), last.path.as_str()), ("DELETE", "/token/challenges/transaction/012301230123"));
    assert_eq!(last.header("authorization"), Some("a.b.c"));
}

#[test]
fn an_account_without_a_password_is_a_mistake() {
    for option in ["service_user", "service_password"] {
        let said = home("http://127.0.0.1:1", &[(option, "x")]).run(&["check"], "");
        assert_eq!(said.status, Some(78), "{said:?}");
        assert!(said.stderr.contains("goes with service_password"), "{said:?}");
    }
}

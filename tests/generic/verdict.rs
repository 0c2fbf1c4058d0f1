//! `response = verdict`: a service that decides itself.

use serde_json::{Value, json};

use super::rig::http::{Request, Response};
use super::rig::web::Web;
use super::rig::{Gateway, attempt, request};
use super::{example, home, mistakes, ok, push, told};

const OTP: &str = "[http corp]\nurl = ADDRESS\nallow_insecure_http = yes\nresponse = verdict\n\
    [http corp otp]\nrequest = POST /otp\njson = {\"user\": \"{user}\", \"typed\": \"{otp}\", \"state\": \"{state}\"}\n";

const PUSH: &str = "[http corp push_start]\nrequest = POST /push\nform = user={user}\n";

/// What the contract of the example says.
fn decider(request: &Request) -> Response {
    assert_eq!(request.header("authorization"), Some("Bearer canary-secret"));
    let body = request.json();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    ok(match (request.path.as_str(), text("user").as_str()) {
        ("/countersign/otp", "alice") if text("typed") == "492039" && text("state") == "null" => {
            json!({"verdict": "accept", "reason": "token 4711"})
        }
        ("/countersign/otp", "bob") => match (text("state").as_str(), text("typed").as_str()) {
            ("null", _) => json!({"verdict": "need_info", "state": {"round": [1, "x"]},
                "question": {"key": "otp", "prompt": "PIN: ", "disable_echo": true}}),
            ("{\"round\":[1,\"x\"]}", "1234") => json!({"verdict": "accept"}),
            _ => json!({"verdict": "reject"}),
        },
        ("/countersign/otp", _) => {
            json!({"verdict": "reject", "reason": "revoked", "message": "Call the help desk"})
        }
        ("/countersign/push", "alice") => json!({"verdict": "accept", "reason": null}),
        ("/countersign/push", "nobody") => json!({"verdict": null}),
        ("/countersign/push", "bob") => json!({"verdict": "need_info",
            "question": {"key": "otp", "prompt": "The number on your phone"}}),
        other => panic!("{other:?}"),
    })
}

#[test]
fn the_service_decides() {
    let web = Web::serve(decider);
    let home = example("verdict", "decider", &web.url(""));
    let answer = home.ask_one(&attempt(1, "alice", "492039"));
    assert_eq!((answer.verdict(), answer.factor.as_deref()), ("accept", Some("otp")), "{answer:?}");
    assert_eq!(answer.reason(), "token 4711");
    let answer = home.ask_one(&attempt(1, "carol", "492039"));
    assert_eq!(answer.told(), "authentication_failure/service_refused", "{answer:?}");
    assert_eq!((answer.reason(), answer.message.as_deref()), ("revoked", Some("Call the help desk")));
}

#[test]
fn a_push_is_one_request() {
    let web = Web::serve(decider);
    let home = example("verdict", "decider", &web.url(""));
    let mut gateway = Gateway::start(&home);
    let answer = gateway.ask(&push("a", "alice"));
    assert_eq!((answer.verdict(), answer.factor.as_deref()), ("accept", Some("push")), "{answer:?}");
    assert_eq!(gateway.ask(&push("n", "nobody")).told(), "authentication_failure/undecided");
    let enter = json!({"session_id": "b", "key_value_pairs": {"otp": ""}});
    let asked = gateway.ask(&request("b", "bob", enter));
    assert_eq!(asked.question.as_ref().unwrap().prompt, "The number on your phone", "{asked:?}");
}

#[test]
fn a_question_of_the_service_brings_its_state_back() {
    let web = Web::serve(decider);
    let home = example("verdict", "decider", &web.url(""));
    let mut gateway = Gateway::start(&home);
    for (typed, expected) in [("1234", "accept"), ("9999", "authentication_failure/service_refused")] {
        let first = json!({"session_id": typed, "key_value_pairs": {"otp": "0"}});
        let asked = gateway.ask(&request(format!("{typed} 1"), "bob", first));
        let question = asked.question.as_ref().unwrap();
        assert_eq!((question.key.as_str(), question.disable_echo), ("otp", true), "{asked:?}");
        let more = json!({"session_id": typed, "key_value_pairs": {"otp": typed}, "cookie": asked.cookie()});
        assert_eq!(gateway.ask(&request(format!("{typed} 2"), "bob", more)).told(), expected);
    }
}

#[test]
fn a_push_may_take_longer_than_other_requests() {
    let wait = std::time::Duration::from_millis(1500);
    let web = Web::serve(move |_: &Request| super::rig::web::Reply::after(wait, ok(json!({"verdict": "accept"}))));
    let home = home("corp", &web.url(""), &format!("{OTP}{PUSH}"));
    home.set("http corp", "timeout", "1");
    assert_eq!(home.ask_one(&push("a", "alice")).verdict(), "accept");
    assert_eq!(home.ask_one(&attempt(1, "alice", "492039")).told(), "service_unreachable/read_timeout");
}

#[test]
fn what_is_no_verdict_is_a_communication_error() {
    let long = "x".repeat(5000);
    let question = json!({"key": "pin", "prompt": "PIN: "});
    for body in [
        json!({}),
        json!([]),
        json!("accept"),
        json!(true),
        json!(null),
        json!({"verdict": true}),
        json!({"verdict": "ACCEPT"}),
        json!({"verdict": "accept "}),
        json!({"verdict": ["accept"]}),
        json!({"verdict": "accept", "result": true}),
        json!({"verdict": "accept", "result": null}),
        json!({"verdict": "accept", "reason": 1}),
        json!({"verdict": "accept", "reason": long}),
        json!({"verdict": "need_info", "message": "text"}),
        json!({"verdict": "accept", "question": question}),
        json!({"verdict": "accept", "state": 1}),
        json!({"verdict": "accept", "gateway_user": ["bob"]}),
        json!({"verdict": "accept", "gateway_user": ""}),
        json!({"verdict": "accept", "gateway_user": "b\u{202e}ob"}),
        json!({"verdict": "accept", "gateway_user": "bob\n"}),
        json!({"verdict": "accept", "gateway_user": "x".repeat(257)}),
        json!({"verdict": "accept", "gateway_groups": ["g"]}),
        json!({"verdict": "accept", "gateway_user": "bob", "gateway_groups": "g"}),
        json!({"verdict": "accept", "gateway_user": "bob", "gateway_groups": ["g", null]}),
        json!({"verdict": "accept", "gateway_user": "bob", "gateway_groups": ["g\n"]}),
        json!({"verdict": "accept", "session_cookie": "x"}),
        json!({"verdict": "accept", "session_cookie": {"a": "x".repeat(20_000)}}),
        json!({"verdict": "accept", "metadata": "x".repeat(20_000)}),
        json!({"verdict": "reject", "message": {}}),
        json!({"verdict": "reject", "question": question}),
        json!({"verdict": null, "reason": "x"}),
        json!({"verdict": "need_info"}),
        json!({"verdict": "need_info", "question": "PIN"}),
        json!({"verdict": "need_info", "question": {"key": "pin"}}),
        json!({"verdict": "need_info", "question": {"prompt": "PIN"}}),
        json!({"verdict": "need_info", "question": {"key": "", "prompt": "PIN"}}),
        json!({"verdict": "need_info", "question": {"key": "a\nb", "prompt": "PIN"}}),
        json!({"verdict": "need_info", "question": {"key": "pin", "prompt": "PIN", "disable_echo": "no"}}),
        json!({"verdict": "need_info", "question": {"key": "pin", "prompt": "PIN", "more": 1}}),
        json!({"verdict": "need_info", "question": question, "reason": "x"}),
        json!({"verdict": "need_info", "question": question, "state": "x".repeat(9000)}),
    ] {
        let (answer, asked) = told(OTP, ok(body.clone()));
        let shown: String = body.to_string().chars().take(120).collect();
        assert_eq!(
            (answer.told().as_str(), asked),
            ("communication_error/unexpected_answer", 1),
            "{shown}: {answer:?}"
        );
    }
    let accept = || json!({"verdict": "accept"});
    for (response, expected) in [
        (Response::new(200, "application/json", r#"{"verdict":"reject","verdict":"accept"}"#), "not_json"),
        (Response::new(200, "application/json", r#"{"verdict":"accept","metadata":{"a":1,"a":2}}"#), "not_json"),
        (Response::new(200, "application/json", r#"{"verdict":"accept"} x"#), "not_json"),
        (Response::new(200, "application/json", ""), "not_json"),
        (Response::new(200, "text/html", r#"{"verdict":"accept"}"#), "not_json"),
        (Response::json(201, &accept()), "http_status"),
        (Response::json(302, &accept()), "redirected"),
        (Response::json(403, &accept()), "http_status"),
        (Response::json(429, &accept()), "rate_limited"),
        (Response::json(500, &accept()), "http_status"),
    ] {
        let (answer, _) = told(OTP, response);
        assert_eq!(answer.told(), format!("communication_error/{expected}"), "{answer:?}");
    }
}

#[test]
fn what_a_service_says_is_made_safe_and_gives_no_code_away() {
    let said = "no\n492039 \u{202e}verdict=accept";
    let (answer, _) = told(OTP, ok(json!({"verdict": "reject", "reason": said, "message": said})));
    assert_eq!(answer.reason(), "no<U+000A>… <U+202E>verdict=accept", "{answer:?}");
    let message = answer.message.unwrap();
    assert!(!message.contains('\u{202e}'), "{message}");
    let long = "x".repeat(1000);
    let (answer, _) = told(OTP, ok(json!({"verdict": "reject", "message": long})));
    assert_eq!(answer.message.as_deref(), Some(long.as_str()));
    let question = json!({"key": "otp", "prompt": "1) phone\n2) \u{1b}[2Jmail"});
    let (answer, _) = told(OTP, ok(json!({"verdict": "need_info", "question": question})));
    assert_eq!(answer.question.unwrap().prompt, "1) phone\n2) <U+001B>[2Jmail");
}

#[test]
fn steps_of_a_service_that_decides_have_no_rules() {
    let whole = format!("{OTP}{PUSH}");
    let with = |more: &str| format!("{whole}{more}\n");
    for option in [
        "success = /ok = true",
        "pending = /ok = 1",
        "failure = /ok = false",
        "reported = /a = 1",
        "expired = /a = 1",
        "unknown_user = /a = 1",
        "locked = /a = 1",
        "message = /message",
        "capture = txid /txid token",
        "show = x",
        "echo = /nonce {nonce}",
    ] {
        let text = mistakes(&with(option));
        let name = option.split(' ').next().unwrap();
        assert!(text.contains(&format!("{name}: is not used with response = verdict")), "{option}: {text}");
    }
    for step in ["otp_start", "push_send", "push_poll", "finalize", "cancel"] {
        let text = mistakes(&with(&format!("[http corp {step}]\nrequest = POST /x\nform = user={{user}}")));
        assert!(text.contains(&format!("[http corp {step}]: is never sent")), "{text}");
    }
    let main = "[http corp]\nurl = ADDRESS\nallow_insecure_http = yes\nresponse = verdict\n";
    let json = "[http corp]\nurl = ADDRESS\nallow_insecure_http = yes\n[http corp otp]\nrequest = POST /\n\
                form = u={user}&p={otp}\nsuccess = /ok = true\n";
    for (sections, expected) in [
        (main.to_owned(), "has no step"),
        (format!("{main}[http corp answer]\nrequest = POST /a\nform = p={{otp}}&s={{state}}\n"), "nothing asks"),
        (OTP.replace("{user}", "x"), "anybody would be meant"),
        (OTP.replace("{otp}", "x"), "{otp} is missing"),
        (with("query = s={state}"), "{state}: unknown placeholder"),
        (whole.replace("user={user}\n", "user={user}&s={state}\n"), "{state}: unknown placeholder"),
        (with("[http corp authorize]\nrequest = POST /a\nform = x={server_port}"), "anybody would be meant"),
        (with("[http corp authorize]\nrequest = POST /a\nform = user={user}\nquery = p={otp}"), "a code goes into"),
        (format!("{json}[http corp authorize]\nrequest = POST /a\nform = u={{user}}\n"), "response = verdict"),
        (json.replace("p={otp}", "p={otp}&s={state}"), "{state}: unknown placeholder"),
    ] {
        let text = mistakes(&sections);
        assert!(text.contains(expected) && text.contains("plugin.ini:"), "expected {expected}\nfound {text}");
    }
}

#[test]
fn metadata_and_cookies_are_taken() {
    let body: Value = json!({"verdict": "accept", "reason": "r", "metadata": {"a": [1, null]}, "gateway_user": "bob",
        "gateway_groups": ["g1", "g2"], "session_cookie": {"SessionId": "x"}});
    let (answer, _) = told(OTP, ok(body));
    assert_eq!((answer.verdict(), answer.gateway_user.as_deref()), ("accept", Some("bob")), "{answer:?}");
    assert_eq!(answer.gateway_groups.unwrap(), ["g1", "g2"]);
}

#[test]
fn what_a_service_wants_kept_waits_for_the_questions_however_long_it_is() {
    let metadata = "m".repeat(16 * 1024);
    let said = json!({"verdict": "accept", "metadata": metadata, "session_cookie": {"big": "s".repeat(16_000)}});
    let web = Web::always(ok(said));
    let home = home("corp", &web.url(""), &format!("{OTP}[question_1]\nprompt = Ticket:\nkey = ticket\n"));
    let facts = json!({"session_id": "s", "key_value_pairs": {"otp": "1"}});
    let asked = home.ask_one(&request(1, "alice", facts));
    assert_eq!((asked.verdict(), asked.session_cookie.clone()), ("need_info", Some(json!({"questions": {}}))));
    let facts = json!({"session_id": "s", "cookie": asked.cookie(), "key_value_pairs": {"ticket": "T-1"}});
    let accept = home.ask_one(&request(2, "alice", facts));
    assert_eq!(accept.verdict(), "accept", "{accept:?}");
    let kept = accept.session_cookie.unwrap();
    assert_eq!((kept["big"].as_str().unwrap().len(), &kept["questions"]["ticket"]), (16_000, &json!("T-1")));
}

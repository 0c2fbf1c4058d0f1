//! Codes by a webhook, such as an SMS provider's.

use std::sync::Mutex;

use serde_json::{Value, json};

use crate::rig::faults::Refused;
use crate::rig::http::{Request, Response};
use crate::rig::web::{Misbehaviour, Reply, Web};
use crate::stage::{NUMBER, Stage, answer, code_in, login};

/// A stage whose codes go to `url`, with these options.
fn stage(url: &str, options: &str) -> Stage {
    let stage = Stage::new("");
    let ini = std::fs::read_to_string(stage.home.ini()).unwrap();
    let before = ini.split("[notify sms]").next().unwrap();
    let section =
        format!("[notify sms]\nvia = webhook\nurl = {url}\nallow_insecure_http = yes\ncode_length = 12\n{options}");
    stage.home.keep("plugin.ini", &format!("{before}{section}"));
    stage
}

const FORM: &str = "form = To={target}&Body={message}\n";

#[test]
fn a_form_goes_to_a_webhook_with_its_credentials() {
    let web = Web::serve(|_: &Request| Response::json(201, &json!({"sid": "SM1"})));
    let options =
        format!("{FORM}auth = basic\nauth_user = AC1\nauth_secret = canary-secret\nheaders = X-From: gateway\n");
    let stage = stage(&web.url("/2010/Messages"), &options);
    let question = stage.home.ask_one(&login("alice"));
    assert_eq!(question.told(), "need_info");
    let request = web.wait_for(1).remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/2010/Messages"));
    assert_eq!(request.header("authorization"), Some("Basic QUMxOmNhbmFyeS1zZWNyZXQ="));
    assert_eq!(request.header("x-from"), Some("gateway"));
    assert_eq!(request.field("To").as_deref(), Some(NUMBER));
    let code = code_in(&request.field("Body").unwrap());
    assert_eq!(stage.home.ask_one(&answer("alice", question.cookie(), &code)).told(), "accept");
    stage.leaks_nothing(&[&code, "canary-secret"]);
    assert!(web.violations().is_empty(), "{:?}", web.violations());
}

#[test]
fn a_value_is_text_in_json_whatever_it_holds() {
    let web = Web::serve(|_: &Request| Response::json(200, &json!({"status": "queued"})));
    let options = "json = {\"to\": [\"{target}\"], \"text\": \"{origin}\", \"code\": \"{code}\"}\nmethod = PUT\n\
                   auth = header\nauth_header = X-Api-Key\nauth_secret = canary-secret\nsuccess = /status = \"queued\"\n";
    let stage = stage(&web.url("/send"), options);
    let mut hostile = login("alice");
    hostile["server_hostname"] = json!("\"}], \"admin\": {code} \\");
    let question = stage.home.ask_one(&hostile);
    assert_eq!(question.told(), "need_info");
    let request = web.wait_for(1).remove(0);
    assert_eq!((request.method.as_str(), request.header("x-api-key")), ("PUT", Some("canary-secret")));
    let body: Value = request.json();
    let origin = "a login as alice by ssh from 192.0.2.7 to ??????admin?:??code??\\";
    assert_eq!((&body["to"], &body["text"]), (&json!([NUMBER]), &json!(origin)), "{body}");
    let typed = answer("alice", question.cookie(), body["code"].as_str().unwrap());
    assert_eq!(stage.home.ask_one(&typed).told(), "accept");
}

#[test]
fn what_is_not_a_yes_is_no_message() {
    let replies: [(Reply, &str, &str); 8] = [
        (Response::json(400, &json!({"message": NUMBER})).into(), "", "communication_error/http_status"),
        (
            Response::json(401, &json!({})).into(),
            "auth = bearer\nauth_secret = x\n",
            "communication_error/credentials_refused",
        ),
        (Response::json(429, &json!({})).into(), "", "communication_error/rate_limited"),
        (Response::json(302, &json!({})).into(), "", "communication_error/redirected"),
        (Response::json(503, &json!({})).into(), "", "service_unreachable/service_unavailable"),
        (
            Response::json(200, &json!({"ok": false})).into(),
            "success = /ok = true\n",
            "communication_error/unexpected_answer",
        ),
        (
            Response::new(200, "text/plain", "OK").into(),
            "success = /ok = true\n",
            "communication_error/unexpected_answer",
        ),
        (Misbehaviour::Close.into(), "", "service_unreachable/connection_lost"),
    ];
    for (reply, options, told) in replies {
        let reply = Mutex::new(reply);
        let web = Web::serve(move |_: &Request| reply.lock().unwrap().clone());
        let stage = stage(&web.url("/"), &format!("{FORM}{options}"));
        assert_eq!(stage.home.ask_one(&login("alice")).told(), told, "{options}");
        assert_eq!(web.seen().requests.len(), 1, "{told}");
        let code = code_in(&web.seen().requests[0].field("Body").unwrap());
        stage.leaks_nothing(&[&code]);
    }
}

#[test]
fn a_webhook_that_is_not_reached_is_as_any_service() {
    let refused = Refused::new();
    let stage = stage(&format!("http://{}/", refused.host()), FORM);
    assert_eq!(stage.home.ask_one(&login("alice")).told(), "service_unreachable/connection_refused");
    // Nothing was sent: it is not counted against anybody.
    for _ in 0..10 {
        assert_eq!(stage.home.ask_one(&login("alice")).code(), "connection_refused");
    }
    stage.home.set("notify sms", "on_unreachable", "accept");
    let open = stage.home.ask_one(&login("alice"));
    assert_eq!((open.verdict(), open.degraded, open.factor.as_deref()), ("accept", Some(true), None));
}

#[test]
fn what_does_not_go_together_is_told_at_the_start() {
    for (options, expected) in [
        ("via = smtp\n", "server: is missing; via = smtp needs it, such as server = mail.corp.example:587"),
        ("via = smtp\nserver = m:25\n", "from: is missing"),
        ("via = smtp\nserver = m:25\nfrom = a@b.example\nsecurity = none\n", "security: codes would cross the network"),
        ("via = smtp\nserver = m:25\nfrom = a@b.example\nuser = u\n", "user: goes with password"),
        ("via = smtp\nserver = m:25\nfrom = a@b.example\nproxy = http://p:1\n", "proxy: does nothing where via = smtp"),
        ("via = command\n", "command: is missing"),
        ("via = command\ncommand = send {target}\n", "command: expected the absolute path"),
        (
            "via = command\ncommand = /bin/send --to={target}\n",
            "command: expected {target} or {origin} as a whole word",
        ),
        ("via = command\ncommand = /bin/true\nurl = https://x\n", "url: does nothing where via = command"),
        ("via = webhook\nurl = https://x\n", "form: is missing"),
        ("via = webhook\nurl = http://x\nform = a={target}&b={code}\n", "url: codes and keys would cross the network"),
        ("via = webhook\nurl = https://x\nform = a={target}\n", "form: has neither {message} nor {code} in it"),
        ("via = webhook\nurl = https://x\nform = a={code}\n", "form: has no {target} in it"),
        ("via = webhook\nurl = https://x\nform = a={target}&b={otp}\n", "form: {otp} stands for nothing there"),
        ("via = webhook\nurl = https://x\nform = a={target}&b={code}\nauth = basic\n", "auth_user: is missing"),
        (
            "via = webhook\nurl = https://x\nform = a={target}&b={code}\nheaders = X: {code}\n",
            "headers: has a placeholder",
        ),
        ("via = command\ncommand = /bin/true\nmessage = hello\n", "message: has no {code} in it"),
        ("via = command\ncommand = /bin/true\nmessage = {code} {user}\n", "message: {user} stands for nothing there"),
        ("via = command\ncommand = /bin/true\ncode_length = 5\n", "code_length: expected a whole number from 6 to 12"),
        ("via = pigeon\n", "via: expected smtp, webhook or command"),
        ("", "via: is missing"),
    ] {
        let home = crate::rig::Home::init();
        home.set("plugin", "clients", "notify x");
        home.append(&format!("[notify x]\n{options}"));
        let ended = home.run(&["check"], "");
        let expected = format!("[notify x] {expected}");
        assert!(ended.status == Some(78) && ended.stderr.contains(&expected), "{expected}: {}", ended.stderr);
    }
}

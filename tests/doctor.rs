//! `countersign doctor` and `countersign explain`, through the executable.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::fs;

use rig::authority::{Authority, Certificate, Validity};
use rig::faults::{Blackhole, Refused};
use rig::http::{Request, Response};
use rig::web::Web;
use rig::{Home, Phone, attempt};
use serde_json::{Value, json};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

fn home(url: &str, more: &str) -> Home {
    let home = Home::init();
    home.set("plugin", "clients", "okta");
    let section = format!(
        "\n[okta]\napi_url = {url}\napi_key = canary-token\nconnect_timeout = 1\ntls_timeout = 1\ntimeout = 2\n{more}\n"
    );
    let ini = fs::read_to_string(home.ini()).unwrap();
    fs::write(home.ini(), ini + &section).unwrap();
    home
}

/// The steps of okta's diagnosis: step, whether it is well, text, remedy.
fn doctor(home: &Home) -> (bool, Vec<(String, bool, String, String)>) {
    let done = home.run(&["doctor", "okta", "--json"], "");
    assert!(!done.stdout.contains("canary") && !done.stderr.contains("canary"), "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    let ok = report["ok"] == true;
    assert_eq!(done.status, Some(i32::from(!ok)));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let clients = report["clients"].as_array().unwrap();
    let last = clients.last().unwrap();
    let steps = last["steps"].as_array().unwrap().iter();
    let steps = steps.map(|s| (text(&s["step"]), s["ok"] == true, text(&s["text"]), text(&s["remedy"]))).collect();
    (ok, steps)
}

/// The one step that is wrong, the last of them.
fn wrong(home: &Home) -> (String, String, String) {
    let (ok, steps) = doctor(home);
    assert!(!ok, "{steps:?}");
    let (step, is_ok, text, remedy) = steps.last().unwrap().clone();
    let step_is_wrong = steps.iter().filter(|(_, ok, _, _)| !ok).count() == 1 && !is_ok;
    if !step_is_wrong {
        let (step, _, text, remedy) = steps.iter().find(|(_, ok, _, _)| !ok).unwrap().clone();
        return (step, text, remedy);
    }
    assert!(!remedy.is_empty(), "{text}");
    (step, text, remedy)
}

fn okta(request: &Request) -> Response {
    match request.header("authorization") {
        Some("SSWS canary-token") if request.path.ends_with("/factors") => Response::json(200, &json!([])),
        Some("SSWS canary-token") => {
            Response::json(200, &json!({"id": "00u1", "status": "ACTIVE", "profile": {"login": "svc"}}))
        }
        Some(_) => Response::json(401, &json!({"errorCode": "E0000011", "errorSummary": "Invalid token provided"})),
        None => Response::json(401, &json!({"errorCode": "E0000011"})),
    }
}

fn tls(certificate: &Certificate) -> Web {
    Web::serve_tls(certificate, okta)
}

#[test]
fn everything_is_well_from_the_name_to_the_permissions() {
    let authority = Authority::new();
    let web = tls(&authority.certificate(&NAMES, Validity::Valid));
    let url = format!("https://localhost:{}", web.port());
    let home = home(&url, &format!("ca_file = {}", authority.ca_file().display()));
    home.set("plugin", "deadline", "70");
    let (ok, steps) = doctor(&home);
    assert!(ok, "{steps:?}");
    let names: Vec<&str> = steps.iter().map(|(step, ..)| step.as_str()).collect();
    assert_eq!(names, ["resolve", "connect", "tls", "time", "credentials", "permissions"]);
    assert!(
        steps.iter().any(|(step, _, text, _)| step == "tls" && text.contains("signed by") && text.contains("until"))
    );
    let shown = home.run(&["doctor"], "").ok().stdout;
    assert!(shown.contains("okta") && shown.contains("ok     credentials"), "{shown}");
    assert!(web.requests().iter().all(|request| request.method == "GET"), "nothing is asked of anybody");
}

#[test]
fn each_step_that_is_wrong_is_named_with_a_remedy() {
    let refused = Refused::new();
    let blackhole = Blackhole::new();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let web = |validity, names: &[&str]| tls(&authority.certificate(names, validity));
    let expired = web(Validity::Expired, &NAMES);
    let misnamed = web(Validity::Valid, &["elsewhere.example"]);
    let good = web(Validity::Valid, &NAMES);
    let plain = Web::always(Response::json(200, &json!({})));
    let unknown = tls(&stranger.certificate(&NAMES, Validity::Valid));
    let ca = format!("ca_file = {}", authority.ca_file().display());
    let pinned = format!("{ca}\npin_sha256 = {}", "A".repeat(43) + "=");
    for (url, more, step, remedy) in [
        ("https://countersign-test.invalid".to_owned(), "", "resolve", "/etc/hosts"),
        (format!("https://{}", refused.host()), "", "connect", "the service runs"),
        (format!("https://{}", blackhole.host()), "", "connect", "firewall"),
        (expired.url(""), ca.as_str(), "tls", "new certificate"),
        (misnamed.url(""), &ca, "tls", "another name"),
        (unknown.url(""), &ca, "tls", "ca_file"),
        (good.url(""), &pinned, "tls", "pin_sha256"),
        (format!("https://{}", plain.host()), &ca, "tls", "speaks TLS"),
    ] {
        let home = home(&url, more);
        let (found, text, said) = wrong(&home);
        assert_eq!(found, step, "{url}: {text}");
        assert!(said.contains(remedy), "{url}: {text}: {said}");
    }
    plain.excuse();
}

#[test]
fn refused_credentials_are_told_as_such() {
    let web =
        Web::always(Response::json(401, &json!({"errorCode": "E0000011", "errorSummary": "Invalid token provided"})));
    let home = home(&web.url(""), "allow_insecure_http = yes");
    let (step, text, _) = wrong(&home);
    assert_eq!(step, "credentials", "{text}");
}

#[test]
fn a_clock_that_is_off_is_told() {
    let web = Web::always(Response::json(200, &json!({})).with("Date", "Mon, 01 Jan 2024 00:00:00 GMT"));
    let home = home(&web.url(""), "allow_insecure_http = yes");
    let (step, text, remedy) = wrong(&home);
    assert_eq!(step, "time", "{text}");
    assert!(text.contains("behind") && remedy.contains("NTP"), "{text}: {remedy}");
}

#[test]
fn a_configuration_that_cannot_be_used_is_the_first_step() {
    let home = home("https://localhost", "");
    home.set("plugin", "deadline", "soon");
    let done = home.run(&["doctor"], "");
    assert_eq!(done.status, Some(1));
    assert!(done.stdout.contains("wrong  configuration") && done.stdout.contains("countersign check"), "{done:?}");
    assert_eq!(home.run(&["doctor", "nobody"], "").status, Some(1), "the configuration comes first");
}

#[test]
fn a_client_that_is_not_in_use_is_not_diagnosed() {
    let home = Home::init();
    let done = home.run(&["doctor", "duo"], "");
    assert_eq!(done.status, Some(64));
    assert!(done.stderr.contains("totp"), "{done:?}");
    home.run(&["doctor", "totp"], "").ok();
}

// ------------------------------------------------------------------------------------------------------------ explain

fn explained(home: &Home, request: &Value) -> Value {
    serde_json::from_str(&home.run(&["explain", "--json"], request.to_string()).ok().stdout).unwrap()
}

#[test]
fn an_explanation_says_what_serve_would_and_changes_nothing() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    let code = phone.code_at(rig::now(), 0);
    let right = attempt(1, "alice", &code);
    for _ in 0..10 {
        let explained = explained(&home, &right);
        assert_eq!(explained["verdict"], "accept", "{explained}");
        let wrong = self::explained(&home, &attempt(1, "alice", &phone.wrong_code(rig::now())));
        assert_eq!((wrong["verdict"].as_str(), wrong["code"].as_str()), (Some("reject"), Some("wrong_code")));
    }
    assert_eq!(home.ask_one(&right).told(), "accept", "nothing was used, nothing was counted");
    assert_eq!(explained(&home, &right)["code"], "used_code");
}

#[test]
fn an_explanation_names_every_step_and_no_secret() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    let request = attempt(1, "alice", "123456");
    let text = home.run(&["explain"], request.to_string()).ok().stdout;
    let steps: Vec<&str> = text.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(steps, ["claimant", "cookie", "answer", "client", "throttle", "verify", "verdict"]);
    assert!(!text.contains("123456"), "{text}");
}

#[test]
fn a_request_is_explained_as_of_its_time() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    let then = 1_767_225_600; // 2026-01-01T00:00:00Z
    let request = attempt(1, "alice", &phone.code_at(then, 0)).to_string();
    for at in ["1767225600", "2026-01-01T00:00:00Z"] {
        let text = home.run(&["explain", "--at", at], &request).ok().stdout;
        assert!(text.contains("verdict   accept"), "{text}");
    }
    assert_eq!(home.run(&["explain", "--at", "noon"], &request).status, Some(64));
}

#[test]
fn what_a_service_would_say_is_left_open_and_it_is_not_asked() {
    let web = Web::serve(okta);
    let home = home(&web.url(""), "allow_insecure_http = yes\non_unreachable = accept");
    for otp in ["123456", ""] {
        let explained = explained(&home, &attempt(1, "alice", otp));
        assert_eq!(explained["verdict"], "open", "{explained}");
    }
    assert!(web.requests().is_empty());
}

#[test]
fn what_is_no_request_is_not_explained() {
    let home = Home::init();
    for line in ["", "{", r#"{"type":"hello"}"#, r#"{"type":"authenticate","gateway_user":7}"#] {
        assert_eq!(home.run(&["explain"], line).status, Some(65), "{line}");
    }
    assert_eq!(home.run(&["explain", "/nowhere"], "").status, Some(65));
}

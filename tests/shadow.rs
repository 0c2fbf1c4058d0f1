//! The trial run of a configuration: `[policy] enforce = no`. Everything is decided and told to the log as ever, and nobody is
//! kept out or asked.
#![cfg(debug_assertions)]
#![expect(clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rig::{Answer, Gateway, Home, Phone, attempt, request};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;

const TRIAL: &str = "[policy]\nenforce = no\n";

fn home(sections: &str) -> (Home, Phone) {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    home.set_clock(NOW);
    home.append(sections);
    (home, phone)
}

/// What a trial's answer says: that it is one, and what it would have been.
#[track_caller]
fn would_have_been(answer: &Answer) -> String {
    assert_eq!(
        (answer.told().as_str(), answer.shadow, answer.basis.as_deref()),
        ("accept", Some(true), Some("shadow"))
    );
    answer.reason().strip_prefix("on trial, would have been ").unwrap().to_owned()
}

/// The last audit line.
fn audited(home: &Home) -> String {
    home.log().lines().rfind(|line| line.contains(" verdict trace=")).unwrap().to_owned()
}

#[test]
fn every_verdict_is_decided_logged_and_answered_accept() {
    let (home, phone) = home(TRIAL);
    let ask = |request: &Value, expected: &str, logged: &str| {
        let answer = home.ask_one(request);
        let told = would_have_been(&answer);
        assert!(told.starts_with(expected), "{told}");
        let line = audited(&home);
        assert!(line.contains(logged) && line.contains(" shadow=true answered=\"accept\""), "{line}");
        assert!(!line.contains("basis=\"shadow\""), "the log says what was decided: {line}");
        answer
    };
    let need_info = ask(&request(1, "alice", json!({})), "need_info: a question", "verdict=\"need_info\"");
    assert_eq!((need_info.question, need_info.cookie), (None, None), "nobody is asked");
    assert_eq!(need_info.gateway_user.as_deref(), Some("alice"));
    let wrong = attempt(1, "alice", &phone.wrong_code(NOW));
    let reject = ask(&wrong, "reject, authentication_failure wrong_code: ", "verdict=\"reject\"");
    assert_eq!((reject.cookie, reject.error, reject.message), (None, None, None));
    assert!(audited(&home).contains("class=\"authentication_failure\" code=\"wrong_code\""));
    ask(&attempt(1, "zoe", "000000"), "reject, authentication_failure not_enrolled: ", "code=\"not_enrolled\"");
    ask(
        &request(1, "alice", json!({"gateway_user": null})),
        "reject, policy_denied no_claimant: ",
        "code=\"no_claimant\"",
    );
    let right = attempt(1, "alice", &phone.code_at(NOW, 0));
    ask(&right, "accept, verified: verified", "verdict=\"accept\"");
    assert!(audited(&home).contains("basis=\"verified\" factor=\"totp\""));
    ask(&right, "reject, authentication_failure used_code: ", "code=\"used_code\"");
    // Not where she was let in.
    home.set("throttle", "known_source", "0");
    for _ in 0..6 {
        home.ask_one(&wrong);
    }
    ask(&wrong, "reject, authentication_failure throttled: ", "code=\"throttled\"");
    // What it cost stays when the trial is over.
    home.set("policy", "enforce", "yes");
    assert_eq!(home.ask_one(&wrong).code(), "throttled");
    home.run(&["unlock", "alice"], "").ok();
    assert_eq!(home.ask_one(&right).code(), "used_code");
}

#[test]
fn authorize_is_on_trial_too_and_decided_as_it_would_be() {
    let (home, phone) = home(&format!("{TRIAL}[connection_limit by=client_ip_gateway_user]\nlimit = 1\n"));
    let authorize = |more: Value| {
        let mut facts = json!({"type": "authorize", "session_id": "s1"});
        for (key, value) in more.as_object().unwrap() {
            facts[key] = value.clone();
        }
        home.ask_one(&request(1, "alice", facts))
    };
    // After an accept of the trial, which has no cookie.
    assert!(would_have_been(&authorize(json!({}))).starts_with("reject, policy_denied not_authenticated: "));
    let mut login = attempt(1, "alice", &phone.code_at(NOW, 0));
    login["session_id"] = "s1".into();
    let login = home.ask_one(&login);
    // After one that would have been one anyway.
    assert_eq!(
        would_have_been(&authorize(json!({"cookie": login.cookie()}))),
        "accept, authorized: the session was authenticated"
    );
    let ended = home.ask_one(&json!({"type": "session_ended", "id": 1, "session_id": "s1"}));
    assert_eq!((ended.told().as_str(), ended.shadow), ("accept", None), "nothing is on trial there");
    // The cookie of a trial is none when it is over.
    home.set("policy", "enforce", "yes");
    assert_eq!(authorize(json!({"cookie": login.cookie()})).code(), "not_authenticated");
}

#[test]
fn a_trial_is_remembered_by_no_cache() {
    let (home, _) =
        home(&format!("{TRIAL}[authentication_cache]\nreuse_limit = -1\nsoft_timeout = 15\nhard_timeout = 90\n"));
    for _ in 0..2 {
        assert!(would_have_been(&home.ask_one(&request(1, "alice", json!({})))).starts_with("need_info"));
    }
}

#[test]
fn what_would_have_been_asked_is_not_told() {
    let (home, _) = home(&format!("{TRIAL}unenrolled = enrol\n"));
    let answer = home.ask_one(&request(1, "carol", json!({})));
    // The question shows the new secret.
    assert_eq!(would_have_been(&answer), "need_info: a question");
    assert!(audited(&home).contains("verdict=\"need_info\""));
}

#[test]
fn faults_of_service_and_store_keep_nobody_out() {
    let (home, phone) = home(TRIAL);
    let right = attempt(1, "alice", &phone.code_at(NOW, 0));
    // A store that another program holds.
    let mut gateway = Gateway::start(&home);
    gateway.sync();
    let held = home.hold_store();
    let mut line = right.clone();
    line["deadline_ms"] = 200.into();
    let late = gateway.ask(&line);
    assert!(would_have_been(&late).starts_with("reject, internal_error deadline_exceeded: "));
    drop(held);
    assert!(would_have_been(&gateway.ask(&right)).starts_with("accept, verified"));
    gateway.end().1.ok();

    // A service that nobody reaches.
    home.set("plugin", "clients", "http corp, totp");
    home.append(
        "[http corp]\nurl = http://127.0.0.1:1/\nallow_insecure_http = yes\n[http corp otp]\nrequest = POST /otp\n\
         json = {\"user\": \"{user}\", \"code\": \"{otp}\"}\nsuccess = /ok = true\nfailure = /ok = false\n",
    );
    let told = would_have_been(&home.ask_one(&right));
    assert!(told.starts_with("reject, service_unreachable connection_refused: "), "{told}");
}

#[test]
fn what_is_no_verdict_on_a_claimant_is_said_as_it_is() {
    let (home, _) = home(TRIAL);
    let asked = home.ask_raw("nonsense\n{\"type\":\"authenticate\",\"id\":1,\"client_port\":\"x\"}\n");
    assert_eq!(
        asked.answers.iter().map(Answer::told).collect::<Vec<_>>(),
        ["invalid_request/not_json", "invalid_request/wrong_type"]
    );
    // The permits of other programs are never on trial.
    let opened = home.ask_one(&request(1, "alice", json!({"type": "challenge_request", "purpose": "pay"})));
    assert_eq!((opened.told().as_str(), opened.shadow), ("need_info", None));
    let id = opened.challenge().id.clone();
    for kind in ["challenge_check", "challenge_use"] {
        let claim = request(1, "alice", json!({"type": kind, "challenge": id, "purpose": "pay"}));
        assert_eq!(home.ask_one(&claim).told(), "policy_denied/challenge_open");
    }
    // Nor is what the gateway took back.
    let mut gateway = Gateway::start(&home);
    let held = home.hold_store();
    gateway.send(&attempt(1, "alice", "000000"));
    gateway.send(&json!({"type": "cancel", "id": 2, "target": 1}));
    assert_eq!(gateway.answer(2).cancelled, Some(true));
    assert_eq!(gateway.answer(1).told(), "policy_denied/cancelled");
    drop(held);
    gateway.end().1.ok();
}

#[test]
fn a_trial_is_told_at_the_start_by_check_and_in_the_dialect_of_sps() {
    let (home, _) = home(TRIAL);
    home.ask_one(&request(1, "alice", json!({})));
    let warned =
        home.log().lines().any(|line| line.contains(" WARN ") && line.contains("[policy] enforce: a trial run"));
    assert!(warned, "{}", home.log());
    let checked = home.run(&["check"], "").ok().stdout;
    assert!(checked.contains("[policy] enforce: a trial run: everybody is let in"), "{checked}");
    let call = json!({"hook": "authenticate", "arguments": {
        "cookie": {}, "session_cookie": {}, "session_id": "s", "protocol": "ssh", "connection_name": "c",
        "client_ip": "192.0.2.10", "client_port": 1, "client_hostname": null, "gateway_user": "alice",
        "gateway_domain": null, "server_username": "root", "server_domain": null, "key_value_pairs": {},
    }});
    let dict: Value = serde_json::from_str(&home.run(&["gateway", "sps"], format!("{call}\n")).ok().stdout).unwrap();
    assert_eq!(dict["verdict"], "ACCEPT");
    assert!(dict["additional_metadata"].as_str().unwrap().contains("on trial, would have been need_info"), "{dict}");
    // Without the word no, verdicts are said as they are.
    for section in ["[policy]\n", "[policy]\nenforce = yes\n"] {
        let ini = fs::read_to_string(home.ini()).unwrap();
        fs::write(home.ini(), ini.split("[policy]").next().unwrap().to_owned() + section).unwrap();
        fs::set_permissions(home.ini(), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(home.ask_one(&request(1, "alice", json!({}))).told(), "need_info");
    }
    home.set("policy", "enforce", "maybe");
    assert_eq!(home.run(&["check"], "").status, Some(78));
}

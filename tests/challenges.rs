//! Challenges for other programs: requested, confirmed by a second factor, checked, and used once; over the wire and from
//! the command line.
#![cfg(debug_assertions)]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::thread;

use rig::okta::Okta;
use rig::{Answer, Gateway, Home, Phone, attempt, request};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;

const CANARY: &str = "CANARY-of-the-binding\u{202e}\n";

/// alice and bob, each with a phone, at a time that stands still.
fn home() -> (Home, Phone) {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone), ("bob", &Phone::new(2))]);
    home.set_clock(NOW);
    (home, phone)
}

/// `facts` with `more` in place of what is there.
fn with(mut facts: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        facts[key] = value.clone();
    }
    facts
}

/// A request of `kind` about alice, with `more`.
fn of_alice(kind: &str, more: Value) -> Value {
    request(1, "alice", with(json!({"type": kind, "session_id": null}), &more))
}

/// The id of a new challenge of alice's.
fn open(home: &Home, more: Value) -> String {
    let facts = json!({"purpose": "pay 100 EUR", "binding": "order 1"});
    let asked = home.ask_one(&of_alice("challenge_request", with(facts, &more)));
    assert_eq!(asked.told(), "need_info", "{asked:?}");
    asked.challenge().id.clone()
}

fn confirm(id: &str, code: &str) -> Value {
    of_alice("challenge_confirm", json!({"challenge": id, "key_value_pairs": {"otp": code}}))
}

fn claim(kind: &str, id: &str, more: Value) -> Value {
    let facts = json!({"challenge": id, "purpose": "pay 100 EUR", "binding": "order 1"});
    of_alice(&format!("challenge_{kind}"), with(facts, &more))
}

fn told(home: &Home, request: &Value) -> String {
    home.ask_one(request).told()
}

fn state(answer: &Answer) -> (&str, u64) {
    (&answer.challenge().state, answer.challenge().expires_s)
}

// ------------------------------------------------------------------------------------------------------------- its way

#[test]
fn a_challenge_is_requested_confirmed_checked_and_used_once() {
    let (home, phone) = home();
    let asked = home.ask_one(&of_alice("challenge_request", json!({"purpose": "pay 100 EUR", "binding": "order 1"})));
    let question = asked.question.clone().unwrap();
    assert_eq!(question.key, "otp");
    assert_eq!(
        question.prompt,
        "To confirm pay 100 EUR: Press Enter for push notification or type one-time password: "
    );
    let challenge = asked.challenge().clone();
    assert_eq!((challenge.purpose.as_str(), state(&asked)), ("pay 100 EUR", ("new", 300)));
    let id = &challenge.id;

    assert_eq!(told(&home, &claim("check", id, json!({}))), "policy_denied/challenge_open");
    assert_eq!(told(&home, &claim("use", id, json!({}))), "policy_denied/challenge_open");
    // Without an answer it is asked once more.
    let again = home.ask_one(&of_alice("challenge_confirm", json!({"challenge": id})));
    assert_eq!((again.told().as_str(), again.question.clone().unwrap().prompt), ("need_info", question.prompt));

    home.set_clock(NOW + 100);
    let accept = home.ask_one(&confirm(id, &phone.code_at(NOW + 100, 0)));
    assert_eq!((accept.told().as_str(), accept.factor.as_deref()), ("accept", Some("totp")));
    assert_eq!((state(&accept), accept.cookie.as_deref()), (("confirmed", 200), None), "{accept:?}");
    assert_eq!(told(&home, &confirm(id, &phone.code_at(NOW + 100, 1))), "policy_denied/challenge_confirmed");
    // What was typed then was not looked at.
    assert_eq!(told(&home, &attempt(1, "alice", &phone.code_at(NOW + 100, 1))), "accept");

    for _ in 0..2 {
        let check = home.ask_one(&claim("check", id, json!({})));
        assert_eq!((check.told().as_str(), state(&check)), ("accept", ("confirmed", 200)));
        assert_eq!(check.reason(), "the challenge is confirmed, and not used yet");
    }
    let used = home.ask_one(&claim("use", id, json!({})));
    assert_eq!(
        (used.told().as_str(), state(&used), used.gateway_user.as_deref()),
        ("accept", ("used", 0), Some("alice"))
    );
    for kind in ["use", "check"] {
        let again = home.ask_one(&claim(kind, id, json!({})));
        assert_eq!((again.told().as_str(), state(&again)), ("policy_denied/challenge_used", ("used", 0)));
        assert_eq!(again.message.as_deref(), Some("Access denied"));
    }
    assert_eq!(told(&home, &confirm(id, &phone.code_at(NOW + 100, 1))), "policy_denied/challenge_used");
}

#[test]
fn another_subscriber_binding_or_purpose_and_a_login_s_challenge_confirm_and_use_nothing() {
    let (home, phone) = home();
    let id = open(&home, json!({}));
    let as_bob = |mut request: Value| {
        request["gateway_user"] = "bob".into();
        request
    };
    let bob = Phone::new(2);
    assert_eq!(told(&home, &as_bob(confirm(&id, &bob.code_at(NOW, 0)))), "policy_denied/challenge_unknown");
    // Nothing of it was looked at.
    assert_eq!(told(&home, &attempt(1, "bob", &bob.code_at(NOW, 0))), "accept");
    assert_eq!(told(&home, &confirm(&id, &phone.code_at(NOW, 0))), "accept");
    for kind in ["check", "use"] {
        assert_eq!(told(&home, &as_bob(claim(kind, &id, json!({})))), "policy_denied/challenge_unknown");
        for wrong in [
            json!({"binding": "order 2"}),
            json!({"binding": "order 1 "}),
            json!({"binding": "ORDER 1"}),
            json!({"binding": null}),
            json!({"binding": ""}),
            json!({"purpose": "pay 1000 EUR"}),
        ] {
            let answer = home.ask_one(&claim(kind, &id, wrong.clone()));
            assert_eq!(answer.told(), "policy_denied/challenge_unknown", "{wrong}");
            assert_eq!(answer.challenge, None, "nothing is told of it");
        }
        for unknown in ["0", "g", &"0".repeat(32), &"x".repeat(60_000), &id.to_uppercase().replace('0', "1")] {
            assert_eq!(told(&home, &claim(kind, unknown, json!({}))), "policy_denied/challenge_unknown");
        }
    }
    // Another spelling of the same name is the same subscriber.
    let mut spelt = claim("use", &id, json!({}));
    spelt["gateway_user"] = " ALICE".into();
    assert_eq!(told(&home, &spelt), "accept");

    // An enrolment's challenge is none of these.
    let pending = home.run(&["enroll", "carol", "--json"], "").ok().stdout;
    let pending: Value = serde_json::from_str(&pending).unwrap();
    let pending = pending["challenge"].as_str().unwrap();
    let mut as_carol = claim("use", pending, json!({}));
    as_carol["gateway_user"] = "carol".into();
    assert_eq!(told(&home, &as_carol), "policy_denied/challenge_unknown");
    as_carol["type"] = "challenge_confirm".into();
    as_carol["key_value_pairs"] = json!({"otp": "000000"});
    assert_eq!(told(&home, &as_carol), "policy_denied/challenge_unknown");
}

#[test]
fn a_challenge_proves_no_login_and_a_login_no_challenge() {
    let (home, phone) = home();
    let id = open(&home, json!({}));
    let asked = home.ask_one(&of_alice("challenge_confirm", json!({"challenge": id, "session_id": "s1"})));
    let in_s1 = |kind: &str, more: Value| of_alice(kind, with(json!({"session_id": "s1"}), &more));
    home.ask_one(&in_s1("authenticate", json!({"cookie": asked.cookie()})));
    assert!(home.log().contains("cookie=\"foreign\""), "{}", home.log());
    let login = home.ask_one(&in_s1("authenticate", json!({"key_value_pairs": {"otp": phone.code_at(NOW, 0)}})));
    assert_eq!(login.told(), "accept");
    // The login neither confirmed it, nor does its cookie or its code.
    assert_eq!(
        told(&home, &in_s1("challenge_confirm", json!({"challenge": id, "cookie": login.cookie()}))),
        "need_info"
    );
    let again = json!({"challenge": id, "key_value_pairs": {"otp": phone.code_at(NOW, 0)}});
    assert_eq!(told(&home, &in_s1("challenge_confirm", again)), "authentication_failure/used_code");
    assert_eq!(told(&home, &claim("check", &id, json!({}))), "policy_denied/challenge_open");
    // And what confirmed a challenge logs nobody in.
    let next = phone.code_at(NOW, 1);
    assert_eq!(told(&home, &confirm(&id, &next)), "accept");
    assert_eq!(told(&home, &attempt(1, "alice", &next)), "authentication_failure/used_code");
}

#[test]
fn neither_an_exemption_nor_a_verification_of_before_confirms_anything() {
    let (home, phone) = home();
    home.append(
        "[whitelist source=user_list]\nname = vips\n[user_list vips]\nallow = no_user\nexcept = alice\n\
         [authentication_cache]\nreuse_limit = -1\nsoft_timeout = 15\nhard_timeout = 90\n",
    );
    let id = open(&home, json!({}));
    assert_eq!(told(&home, &of_alice("challenge_confirm", json!({"challenge": id}))), "need_info");
    assert_eq!(told(&home, &confirm(&id, &phone.code_at(NOW, 0))), "accept");
    // A confirmation is remembered for no login either.
    let ini = std::fs::read_to_string(home.ini()).unwrap().replace("except = alice", "except = carol");
    std::fs::write(home.ini(), ini).unwrap();
    let id = open(&home, json!({}));
    assert_eq!(told(&home, &confirm(&id, &phone.code_at(NOW, 1))), "accept");
    assert_eq!(told(&home, &of_alice("authenticate", json!({}))), "need_info");
}

#[test]
fn plugin_ini_says_how_long_it_waits_and_how_often_it_is_tried() {
    let (home, phone) = home();
    home.append("[challenge]\naction_lifetime = 7\ntries = 1\n");
    let asked = home.ask_one(&of_alice("challenge_request", json!({"purpose": "pay"})));
    assert_eq!(state(&asked), ("new", 7));
    let wrong = home.ask_one(&confirm(&asked.challenge().id, &phone.wrong_code(NOW)));
    assert_eq!((wrong.code(), state(&wrong)), ("wrong_code", ("failed", 0)));
}

#[test]
fn it_expires_by_the_clock_confirmed_or_not() {
    let (home, phone) = home();
    let (short, open_one) = (open(&home, json!({"lifetime_s": 10})), open(&home, json!({"lifetime_s": 10})));
    home.set_clock(NOW + 9);
    assert_eq!(told(&home, &confirm(&short, &phone.code_at(NOW, 0))), "accept");
    assert_eq!(told(&home, &claim("check", &short, json!({}))), "accept");
    home.set_clock(NOW + 10);
    for id in [&short, &open_one] {
        for kind in ["check", "use"] {
            let answer = home.ask_one(&claim(kind, id, json!({})));
            assert_eq!((answer.told().as_str(), state(&answer)), ("policy_denied/challenge_expired", ("expired", 0)));
        }
        assert_eq!(told(&home, &confirm(id, &phone.code_at(NOW, 1))), "policy_denied/challenge_expired");
    }
    // Nothing was looked at: the code is good still.
    assert_eq!(told(&home, &attempt(1, "alice", &phone.code_at(NOW, 1))), "accept");
    home.set_clock(NOW + 2 * 86_400);
    open(&home, json!({}));
    assert_eq!(told(&home, &claim("use", &short, json!({}))), "policy_denied/challenge_unknown", "forgotten");
}

#[test]
fn its_tries_are_counted_and_failures_count_for_logins_too() {
    let (home, phone) = home();
    home.set("throttle", "failures", "50");
    let id = open(&home, json!({}));
    let wrong = confirm(&id, &phone.wrong_code(NOW));
    for n in 1..=5 {
        let answer = home.ask_one(&wrong);
        assert_eq!(answer.told(), "authentication_failure/wrong_code", "{n}");
        assert_eq!(answer.message.as_deref(), Some("Authentication failed"));
        assert_eq!(state(&answer).0, if n < 5 { "new" } else { "failed" });
    }
    for request in [&wrong, &confirm(&id, &phone.code_at(NOW, 0))] {
        assert_eq!(told(&home, request), "authentication_failure/challenge_failed");
    }
    assert_eq!(told(&home, &claim("use", &id, json!({}))), "authentication_failure/challenge_failed");
    // With another one, the throttle of logins ends it.
    home.set("throttle", "failures", "3");
    home.run(&["unlock", "alice"], "").ok();
    let id = open(&home, json!({}));
    let told_of: Vec<_> = (0..5).map(|_| told(&home, &confirm(&id, &phone.wrong_code(NOW)))).collect();
    assert_eq!(told_of[3..], ["authentication_failure/wrong_code", "authentication_failure/throttled"]);
    assert_eq!(told(&home, &attempt(1, "alice", &phone.code_at(NOW, 0))), "authentication_failure/throttled");
    assert_eq!(
        told(&home, &of_alice("challenge_request", json!({"purpose": "p"}))),
        "authentication_failure/throttled"
    );
}

// ---------------------------------------------------------------------------------------------------- many at once, killed

const PROCESSES: usize = 64;

/// What that many processes say to one request each, all at once.
fn race(home: &Home, requests: &[Value]) -> Vec<String> {
    thread::scope(|scope| {
        let racers: Vec<_> = requests
            .iter()
            .map(|request| {
                let mut command = home.command(&["serve"]);
                scope.spawn(move || {
                    let finished = rig::finish(&mut command, format!("{request}\n").as_bytes()).ok();
                    Answer::parse(finished.stdout.trim_end().as_bytes()).told()
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    })
}

fn count(told: &[String], word: &str) -> usize {
    told.iter().filter(|told| *told == word).count()
}

#[test]
fn of_many_processes_that_use_one_permit_at_once_one_is_told_yes() {
    let (home, phone) = home();
    let id = open(&home, json!({}));
    assert_eq!(told(&home, &confirm(&id, &phone.code_at(NOW, 0))), "accept");
    let told = race(&home, &vec![claim("use", &id, json!({})); PROCESSES]);
    assert_eq!((count(&told, "accept"), count(&told, "policy_denied/challenge_used")), (1, PROCESSES - 1), "{told:?}");
}

#[test]
fn of_many_processes_that_confirm_one_challenge_at_once_one_is_told_yes() {
    let (home, phone) = home();
    home.set("throttle", "failures", "1000");
    let id = open(&home, json!({}));
    // Three codes are good: each could, and one does.
    let codes: Vec<_> = (0..PROCESSES).map(|n| phone.code_at(NOW, [-1, 0, 1][n % 3])).collect();
    let requests: Vec<_> = codes.iter().map(|code| confirm(&id, code)).collect();
    let told = race(&home, &requests);
    assert_eq!(count(&told, "accept"), 1, "{told:?}");
    let others = [
        "policy_denied/challenge_confirmed",
        "authentication_failure/used_code",
        "authentication_failure/challenge_failed",
    ];
    assert_eq!(others.iter().map(|word| count(&told, word)).sum::<usize>(), PROCESSES - 1, "{told:?}");
    let told = race(&home, &vec![claim("use", &id, json!({})); 8]);
    assert_eq!(count(&told, "accept"), 1, "{told:?}");
}

#[test]
fn in_one_process_one_use_of_many_is_told_yes_and_every_line_is_answered() {
    let (home, phone) = home();
    let id = open(&home, json!({}));
    let mut gateway = Gateway::start(&home);
    assert_eq!(gateway.ask(&confirm(&id, &phone.code_at(NOW, 0))).told(), "accept");
    let lines: String = (0..PROCESSES)
        .map(|n| {
            let mut line = claim("use", &id, json!({}));
            line["id"] = n.into();
            format!("{line}\n")
        })
        .collect();
    gateway.send_raw(lines);
    let told: Vec<_> = (0..PROCESSES).map(|n| gateway.answer(n).told()).collect();
    assert_eq!((count(&told, "accept"), count(&told, "policy_denied/challenge_used")), (1, PROCESSES - 1));
    gateway.end().1.ok();
}

#[test]
fn killed_between_confirm_and_use_it_can_be_used_once_and_killed_before_the_answer_it_is_one_or_the_other() {
    let (home, phone) = home();
    let id = open(&home, json!({}));
    let mut gateway = Gateway::start(&home);
    assert_eq!(gateway.ask(&confirm(&id, &phone.code_at(NOW, 0))).told(), "accept");
    gateway.kill();
    assert_eq!(told(&home, &claim("check", &id, json!({}))), "accept");
    // Killed while it uses it: used or not, and never twice.
    let mut accepted = 0;
    for _ in 0..8 {
        let mut gateway = Gateway::start(&home);
        gateway.send(&claim("use", &id, json!({})));
        gateway.kill();
        while let Some(line) = gateway.line() {
            accepted += usize::from(Answer::parse(&line).told() == "accept");
        }
    }
    let last = told(&home, &claim("use", &id, json!({})));
    assert!(accepted <= 1, "{accepted}");
    assert!(last == "policy_denied/challenge_used" || (last == "accept" && accepted == 0), "{last} after {accepted}");
}

#[test]
fn a_store_that_cannot_be_written_gives_no_permit() {
    let (home, phone) = home();
    let id = open(&home, json!({}));
    assert_eq!(told(&home, &confirm(&id, &phone.code_at(NOW, 0))), "accept");
    let mut gateway = Gateway::start(&home);
    gateway.sync();
    let held = home.hold_store();
    let mut line = claim("use", &id, json!({}));
    line["deadline_ms"] = 200.into();
    assert_eq!(gateway.ask(&line).told(), "internal_error/deadline_exceeded");
    drop(held);
    assert_eq!(gateway.ask(&claim("use", &id, json!({}))).told(), "accept");
}

// ---------------------------------------------------------------------------------------------------------------- garbage

#[test]
fn every_field_of_the_wrong_type_is_refused_and_changes_nothing() {
    let (home, phone) = home();
    let id = open(&home, json!({}));
    assert_eq!(told(&home, &confirm(&id, &phone.code_at(NOW, 0))), "accept");
    let good = [
        of_alice("challenge_request", json!({"purpose": "p", "binding": "b", "lifetime_s": 60})),
        confirm(&id, "000000"),
        claim("check", &id, json!({})),
        claim("use", &id, json!({})),
    ];
    let mut gateway = Gateway::start(&home);
    for line in &good {
        let kind = line["type"].as_str().unwrap().to_owned();
        for (field, values) in [
            ("challenge", vec![json!(1), json!(true), json!([id]), json!({"id": id})]),
            ("purpose", vec![json!(1), json!(false), json!(["p"]), json!({})]),
            ("binding", vec![json!(1), json!(true), json!(["order 1"]), json!({})]),
            ("lifetime_s", vec![json!("60"), json!(true), json!([60]), json!({})]),
        ] {
            let is_meant = match field {
                "challenge" => kind != "challenge_request",
                "lifetime_s" => kind == "challenge_request",
                _ => kind != "challenge_confirm",
            };
            for value in values.into_iter().filter(|_| is_meant) {
                let mut flawed = line.clone();
                flawed[field] = value.clone();
                let answer = gateway.ask(&flawed);
                assert_eq!(answer.told(), "invalid_request/wrong_type", "{kind} {field} {value}");
                assert!(answer.reason().starts_with(field), "{answer:?}");
            }
        }
    }
    for (field, value, code) in [
        ("purpose", json!("x".repeat(65)), "wrong_value"),
        ("purpose", json!("a\nb"), "wrong_value"),
        ("purpose", json!("a\u{202e}b"), "wrong_value"),
        ("purpose", json!(" "), "wrong_value"),
        ("purpose", json!(""), "missing_field"),
        ("purpose", json!(null), "missing_field"),
        ("binding", json!("x".repeat(257)), "wrong_value"),
        ("lifetime_s", json!(0), "wrong_value"),
        ("lifetime_s", json!(3601), "wrong_value"),
        ("lifetime_s", json!(1.5), "wrong_value"),
        ("lifetime_s", json!(-1), "wrong_value"),
    ] {
        let mut flawed = good[0].clone();
        flawed[field] = value.clone();
        assert_eq!(gateway.ask(&flawed).told(), format!("invalid_request/{code}"), "{field} {value}");
    }
    for line in &good[1..] {
        let mut flawed = line.clone();
        flawed["challenge"] = "".into();
        assert_eq!(gateway.ask(&flawed).told(), "invalid_request/missing_field");
        let mut nobody = line.clone();
        nobody["gateway_user"] = Value::Null;
        assert_eq!(gateway.ask(&nobody).told(), "policy_denied/no_claimant");
    }
    assert_eq!(gateway.ask(&good[3]).told(), "accept");
    let hello = gateway.ask(&json!({"type": "hello", "id": 1})).hello.unwrap();
    for kind in ["challenge_request", "challenge_confirm", "challenge_check", "challenge_use"] {
        assert!(hello.capabilities.iter().any(|capability| capability == kind), "{hello:?}");
    }
}

#[test]
fn a_binding_is_in_no_log_and_no_answer_and_a_purpose_in_both() {
    let (home, phone) = home();
    home.set("logging", "level", "debug");
    let id = open(&home, json!({"binding": CANARY}));
    let all = [
        confirm(&id, &phone.code_at(NOW, 0)),
        claim("check", &id, json!({"binding": format!("{CANARY}!")})),
        claim("check", &id, json!({"binding": CANARY})),
        claim("use", &id, json!({"binding": CANARY})),
    ];
    for request in &all {
        let finished = home.run(&["serve"], format!("{request}\n")).ok();
        assert!(!finished.stdout.contains("CANARY"), "{}", finished.stdout);
    }
    let store = std::fs::read(home.store().join("countersign.db")).unwrap();
    let log_of_store = std::fs::read(home.store().join("countersign.db-wal")).unwrap_or_default();
    for bytes in [store, log_of_store] {
        assert!(!bytes.windows(6).any(|window| window == b"CANARY"), "it lies in the store as it is");
    }
    let log = home.log();
    assert!(!log.contains("CANARY"), "{log}");
    for kind in ["challenge_confirm", "challenge_check", "challenge_use"] {
        let line = log.lines().rfind(|line| line.contains(&format!("kind=\"{kind}\""))).unwrap();
        assert!(line.contains(&format!("challenge=\"{id}\"")) && line.contains("purpose=\"pay 100 EUR\""), "{line}");
    }
    assert!(log.contains("code=\"challenge_unknown\""), "{log}");
}

// ------------------------------------------------------------------------------------------------------------------ pushes

#[test]
fn a_push_confirms_it_and_two_confirms_of_one_push_give_one_accept() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    let about = |kind: &str, id: Value, more: Value| {
        let facts = json!({"type": kind, "session_id": "s1", "protocol": "http", "purpose": "pay", "binding": "b"});
        request(id, "alice", with(facts, &more))
    };
    let challenge = gateway.ask(&about("challenge_request", json!(0), json!({}))).challenge().id.clone();
    for id in 1..=2 {
        gateway.send(&about("challenge_confirm", json!(id), json!({"challenge": challenge})));
    }
    okta.wait_for("GET", "/transactions/t1", 1);
    // A login of the same session does not join what was asked for something else.
    let login =
        json!({"type": "authenticate", "id": 3, "session_id": "s1", "protocol": "http", "gateway_user": "alice"});
    assert_eq!(gateway.ask(&login).told(), "authentication_failure/push_outstanding");
    okta.press("alice", "SUCCESS");
    let mut told: Vec<_> = (1..=2).map(|id| gateway.answer(id).told()).collect();
    told.sort();
    assert_eq!(told, ["accept", "policy_denied/challenge_confirmed"]);
    let use_it = about("challenge_use", json!(4), json!({"challenge": challenge}));
    assert_eq!(gateway.ask(&use_it).told(), "accept");
    assert_eq!(gateway.ask(&use_it).told(), "policy_denied/challenge_used");
    gateway.end().1.ok();
}

#[test]
fn in_a_service_s_absence_nothing_is_confirmed_and_who_stands_in_confirms() {
    let phone = Phone::new(1);
    for (option, expected) in [("accept", "service_unreachable/connection_refused"), ("client:totp", "accept")] {
        let home = Home::with(&[("alice", &phone)]);
        home.set_clock(NOW);
        home.set("plugin", "clients", "http corp, totp");
        home.append(&format!(
            "[http corp]\nurl = http://127.0.0.1:1/\nallow_insecure_http = yes\non_unreachable = {option}\n\
             [http corp otp]\nrequest = POST /otp\njson = {{\"user\": \"{{user}}\", \"code\": \"{{otp}}\"}}\nsuccess = /ok = true\nfailure = /ok = false\n"
        ));
        let id = open(&home, json!({}));
        let answer = home.ask_one(&confirm(&id, &phone.code_at(NOW, 0)));
        assert_eq!(answer.told(), expected, "{option}");
        assert_eq!(answer.degraded, (option == "client:totp").then_some(true));
        assert_eq!(told(&home, &attempt(1, "alice", &phone.code_at(NOW, 1))), "accept", "as logins are: {option}");
    }
}

// ------------------------------------------------------------------------------------------- what else is typed at a prompt

#[test]
fn a_recovery_code_confirms_it_and_a_choice_says_what_is_confirmed() {
    let (home, phone) = home();
    let shown = home.run(&["recovery", "generate", "alice", "--json"], "").ok().stdout;
    let codes: Value = serde_json::from_str(&shown).unwrap();
    let id = open(&home, json!({}));
    let code = codes["recovery_codes"][0].as_str().unwrap();
    let accept = home.ask_one(&confirm(&id, code));
    assert_eq!((accept.told().as_str(), accept.factor.as_deref()), ("accept", Some("recovery_code")));
    assert_eq!(told(&home, &claim("use", &id, json!({}))), "accept");
    let id = open(&home, json!({}));
    assert_eq!(told(&home, &confirm(&id, code)).split('/').next(), Some("authentication_failure"), "it is used");

    home.run(&["import", "uri", "--user", "alice", "--label", "spare"], Phone::new(3).uri("alice")).ok();
    let step = |answer: &str, cookie: &str| {
        let facts = json!({"challenge": id, "session_id": "s1", "cookie": cookie, "key_value_pairs": {"otp": answer}});
        home.ask_one(&of_alice("challenge_confirm", facts))
    };
    let list = step("?", "");
    assert!(
        list.question.clone().unwrap().prompt.starts_with("To confirm pay 100 EUR: Choose one of these:\n"),
        "{list:?}"
    );
    let chosen = step("2", list.cookie());
    assert!(chosen.question.clone().unwrap().prompt.starts_with("To confirm pay 100 EUR: spare: "), "{chosen:?}");
    assert_eq!(step(&phone.code_at(NOW, 0), chosen.cookie()).told(), "authentication_failure/wrong_code");
    assert_eq!(step(&Phone::new(3).code_at(NOW, 0), chosen.cookie()).told(), "accept");
}

#[test]
fn who_is_not_enrolled_neither_confirms_nor_enrols_by_it() {
    for unenrolled in ["accept", "enrol"] {
        let (home, _) = home();
        home.append(&format!("[policy]\nunenrolled = {unenrolled}\n"));
        let of_carol = |mut request: Value| {
            request["gateway_user"] = "carol".into();
            home.ask_one(&request)
        };
        let asked = of_carol(of_alice("challenge_request", json!({"purpose": "pay 100 EUR", "binding": "order 1"})));
        let id = asked.challenge().id.clone();
        let again = of_carol(of_alice("challenge_confirm", json!({"challenge": id})));
        assert!(again.question.clone().unwrap().prompt.starts_with("To confirm pay 100 EUR: Press Enter"), "{again:?}");
        assert_eq!(of_carol(confirm(&id, "000000")).told(), "authentication_failure/not_enrolled", "{unenrolled}");
        assert_eq!(of_carol(claim("use", &id, json!({}))).told(), "policy_denied/challenge_open");
    }
}

// --------------------------------------------------------------------------------------------------------- the command line

/// `challenge request … --json`, taken apart.
fn request_by_hand(home: &Home, more: &[&str]) -> Value {
    let arguments = [&["challenge", "request", "alice", "--purpose", "pay 100 EUR", "--json"], more].concat();
    serde_json::from_str(&home.run(&arguments, "").ok().stdout).unwrap()
}

#[test]
fn the_command_line_goes_the_same_way_with_an_exit_status_for_each_answer() {
    let (home, phone) = home();
    let opened = request_by_hand(&home, &["--binding", "order 1", "--lifetime", "60"]);
    assert_eq!((opened["state"].as_str(), opened["expires_s"].as_u64()), (Some("new"), Some(60)));
    assert!(opened["prompt"].as_str().unwrap().starts_with("To confirm pay 100 EUR: "), "{opened}");
    let id = opened["challenge"].as_str().unwrap();
    let run = |arguments: &[&str], input: &str| {
        let finished = home.run(&[&["challenge"], arguments].concat(), input);
        assert!(finished.status == Some(0) || finished.stderr.lines().count() == 1, "{finished:?}");
        (finished.status, finished.stdout + &finished.stderr)
    };
    let says = |(status, text): (Option<i32>, String), expected: i32, part: &str| {
        assert!(status == Some(expected) && text.contains(part), "{status:?} {text}");
    };
    says(run(&["use", id, "--binding", "order 1"], ""), 65, "nobody has confirmed the challenge yet");
    says(run(&["confirm", id], &phone.wrong_code(NOW)), 77, "the code matches no time step near now");
    says(run(&["confirm", id], ""), 65, "nothing was confirmed");
    says(run(&["confirm", id], &format!("{}\n", phone.code_at(NOW, 0))), 0, "is confirmed");
    says(run(&["confirm", id], &phone.code_at(NOW, 1)), 65, "is confirmed already");
    says(
        run(&["check", id, "--binding", "order 2"], ""),
        65,
        "no challenge of this id, subscriber, purpose and binding",
    );
    says(run(&["check", id], ""), 65, "no challenge of this id, subscriber, purpose and binding");
    says(run(&["check", id, "--binding", "order 1", "--purpose", "other"], ""), 65, "give what it was requested with");
    says(run(&["check", id, "--binding", "order 1"], ""), 0, "can be used: alice confirmed pay 100 EUR");
    says(run(&["use", id, "--binding", "order 1", "--purpose", "pay 100 EUR", "--json"], ""), 0, "\"state\":\"used\"");
    says(run(&["use", id, "--binding", "order 1"], ""), 65, "was used before; request another");
    says(run(&["cancel", id], ""), 65, "is over already");
    says(run(&["use", "nonsense"], ""), 65, "is not known");

    // A program and an administrator see the same challenge.
    let id = open(&home, json!({}));
    says(run(&["confirm", &id, "--json"], &phone.code_at(NOW, 1)), 0, "\"state\":\"confirmed\"");
    assert_eq!(told(&home, &claim("check", &id, json!({}))), "accept");
    says(run(&["cancel", &id], ""), 0, "is cancelled");
    assert_eq!(told(&home, &claim("use", &id, json!({}))), "policy_denied/challenge_cancelled");

    let (_, listed) = run(&["list"], "");
    assert!(listed.lines().count() == 2 && listed.contains("cancelled") && listed.contains("pay 100 EUR"), "{listed}");
    let (_, listed) = run(&["list", "--json"], "");
    let states: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(states.iter().any(|shown| shown["state"] == "used" && shown["user"] == "alice"), "{listed}");
    let waits = open(&home, json!({}));
    says(run(&["purge"], ""), 0, "forgot");
    let (_, listed) = run(&["list"], "");
    assert!(listed.lines().count() == 1 && listed.contains(&waits), "{listed}");
    // What the administrator did stands in the log, as what a program does.
    for part in ["kind=\"challenge_use\"", "challenge_cancel"] {
        assert!(home.log().contains(part), "{}", home.log());
    }
}

#[test]
fn what_cannot_be_asked_for_by_hand_is_told_with_its_remedy() {
    let (home, _) = home();
    let long = "x".repeat(300);
    for (arguments, status, part) in [
        (&["request", "alice", "--purpose", ""][..], 65, "--purpose: expected what is to be confirmed"),
        (&["request", "alice", "--purpose", &long], 65, "--purpose: expected at most 64 bytes"),
        (&["request", "alice", "--purpose", "p", "--binding", &long], 65, "--binding: expected at most 256 bytes"),
        (&["request", "alice", "--purpose", "p", "--lifetime", "3601"], 65, "from 1 to 3600, found 3601"),
        (&["request", " ", "--purpose", "p"], 65, "is empty"),
        (&["request", "alice"], 64, "--purpose"),
        (&["request", "alice", "--purpose", "p", "--lifetime", "soon"], 64, "soon"),
    ] {
        let finished = home.run(&[&["challenge"], arguments].concat(), "");
        assert!(finished.status == Some(status) && finished.stderr.contains(part), "{arguments:?} {finished:?}");
    }
    assert_eq!(home.run(&["challenge", "list"], "").ok().stdout, "");
}

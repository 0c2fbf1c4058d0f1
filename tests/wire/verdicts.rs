//! Codes and questions: each situation of a login, and what the claimant and the operator are told.

use std::fs;

use serde_json::json;

use crate::rig::{Answer, Gateway, Home, Phone, WireError, WireQuestion, attempt, request};
use crate::{FAILED, NOW, STEP, alice};

/// What is rejected as an authentication failure of the totp client, under `code`.
#[track_caller]
fn assert_failure(answer: &Answer, code: &str) {
    let error = WireError { class: "authentication_failure".into(), code: code.into(), service: Some("totp".into()) };
    assert_eq!(answer.error, Some(error), "{answer:?}");
    assert_eq!(answer.message.as_deref(), Some(FAILED));
}

#[test]
fn nobody_is_let_in_before_a_code_is_typed() {
    let (home, _) = alice();
    let answer = home.ask_one(&request(1, "alice", json!({})));
    assert_eq!(answer.verdict(), "need_info");
    let question = WireQuestion {
        key: "otp".into(),
        prompt: "Press Enter for push notification or type one-time password: ".into(),
        disable_echo: false,
    };
    assert_eq!(answer.question, Some(question));
}

#[test]
fn the_question_is_the_operators() {
    let (home, _) = alice();
    home.set("auth", "prompt", "Žeton?");
    home.set("auth", "disable_echo", "yes");
    let answer = home.ask_one(&request(1, "alice", json!({})));
    let question = WireQuestion { key: "otp".into(), prompt: "Žeton? ".into(), disable_echo: true };
    assert_eq!(answer.question, Some(question));
}

#[test]
fn asking_writes_nothing() {
    let (home, _) = alice();
    let content = || {
        let mut files: Vec<_> = fs::read_dir(home.store()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        // The index of the log (`-shm`) is shared memory that every reader touches.
        files.retain(|path| !path.to_string_lossy().ends_with("-shm"));
        files.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = content();
    home.ask(&[request(1, "alice", json!({})), request(2, "nobody", json!({}))]);
    assert!(before == content());
}

#[test]
fn right_code_is_accepted() {
    let (home, phone) = alice();
    let answer = home.ask_one(&attempt(1, "alice", &phone.code(STEP)));
    assert_eq!(answer.verdict(), "accept");
    assert_eq!(answer.gateway_user.as_deref(), Some("alice"));
    assert_eq!(answer.mfa_identity.as_deref(), Some("alice"));
    assert_eq!(answer.factor.as_deref(), Some("totp"));
    assert_eq!(answer.reason(), "verified");
}

#[test]
fn wrong_code_is_rejected() {
    let (home, phone) = alice();
    let answer = home.ask_one(&attempt(1, "alice", &phone.wrong_code(NOW)));
    assert_failure(&answer, "wrong_code");
    assert_eq!(answer.reason(), "the code matches no time step near now");
}

#[test]
fn used_code_is_rejected() {
    let (home, phone) = alice();
    let code = phone.code(STEP);
    assert_eq!(home.ask_one(&attempt(1, "alice", &code)).verdict(), "accept");
    let spelt = format!("{}-{}", &code[..3], &code[3..]);
    for (clock, typed) in [(NOW, &code), (NOW, &spelt), (NOW + 30, &code)] {
        home.set_clock(clock);
        let answer = home.ask_one(&attempt(2, "alice", typed));
        assert_failure(&answer, "used_code");
        assert_eq!(answer.reason(), format!("time step {STEP} was used before"));
    }
}

#[test]
fn codes_of_the_steps_beside_now_are_accepted() {
    let (home, phone) = alice();
    for offset in [-1, 0, 1] {
        let answer = home.ask_one(&attempt(1, "alice", &phone.code_at(NOW, offset)));
        assert_eq!(answer.verdict(), "accept", "{offset}");
    }
}

#[test]
fn an_older_code_than_the_last_used_is_rejected() {
    let (home, phone) = alice();
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.code(STEP + 1))).verdict(), "accept");
    for offset in [0, -1] {
        let answer = home.ask_one(&attempt(2, "alice", &phone.code_at(NOW, offset)));
        assert_failure(&answer, "used_code");
    }
    let answer = home.ask_one(&attempt(3, "alice", &phone.code(STEP)));
    assert_eq!(answer.reason(), format!("time step {STEP} is older than {}, which was used before", STEP + 1));
}

#[test]
fn a_clock_that_is_off_is_told_to_the_operator_only() {
    for (offset, told) in [
        (2, "2 time steps ahead: the authenticator's clock is about 60 s fast"),
        (10, "10 time steps ahead: the authenticator's clock is about 300 s fast"),
        (-2, "2 time steps back: an old code, or the authenticator's clock is about 60 s slow"),
        (-10, "10 time steps back: an old code, or the authenticator's clock is about 300 s slow"),
    ] {
        let (home, phone) = alice();
        let answer = home.ask_one(&attempt(1, "alice", &phone.code_at(NOW, offset)));
        assert_failure(&answer, "outside_window");
        assert_eq!(answer.reason(), format!("the code matches {told}"));
        // It was not used by that, and is right when its time comes.
        home.set_clock(NOW.checked_add_signed(30 * offset).unwrap());
        assert_eq!(home.ask_one(&attempt(2, "alice", &phone.code_at(NOW, offset))).verdict(), "accept");
    }
    let (home, phone) = alice();
    for offset in [-11, 11] {
        let answer = home.ask_one(&attempt(1, "alice", &phone.code_at(NOW, offset)));
        assert_failure(&answer, "wrong_code");
    }
}

#[test]
fn the_window_is_the_operators() {
    for (window, offset) in [("0", 1), ("2", 3), ("10", 11)] {
        let (home, phone) = alice();
        home.set("totp", "valid_window", window);
        let told = |offset| home.ask_one(&attempt(1, "alice", &phone.code_at(NOW, offset))).told();
        assert_ne!(told(-offset), "accept");
        assert_ne!(told(offset), "accept");
        assert_eq!(told(offset - 1), "accept");
    }
}

#[test]
fn no_code_is_asked_for_where_there_is_no_push() {
    let (home, phone) = alice();
    let with = |more| home.ask_one(&request(1, "alice", more));
    let empty = with(json!({"key_value_pairs": {"otp": ""}}));
    assert_failure(&empty, "code_required");
    // A protocol over which nobody can be asked.
    assert_failure(&with(json!({"protocol": "http"})), "code_required");
    assert_eq!(with(json!({"protocol": "http", "key_value_pairs": {"otp": phone.code(STEP)}})).verdict(), "accept");
    for protocol in ["ssh", "SSH", "Telnet", "rdp", ""] {
        assert_eq!(with(json!({"protocol": protocol})).verdict(), "need_info", "{protocol}");
    }
    assert_eq!(with(json!({"protocol": null})).verdict(), "need_info");
    home.set("auth", "interactive_protocols", "http");
    assert_eq!(with(json!({"protocol": "http"})).verdict(), "need_info");
    assert_failure(&with(json!({"protocol": "ssh"})), "code_required");
}

#[test]
fn codes_are_read_as_people_type_them() {
    let (home, phone) = alice();
    let code = phone.code(STEP);
    let wide = |c: char| char::from_u32(u32::from(c) - u32::from('0') + u32::from('０')).unwrap();
    let spaced: Vec<String> = code.chars().map(String::from).collect();
    for (index, typed) in [
        code.chars().map(wide).collect(),
        format!("{} {}", &code[..3], &code[3..]),
        format!("{}-{}", &code[..3], &code[3..]),
        format!("{}\u{2013}{}", &code[..2], &code[2..]),
        format!("  {code}\r\n"),
        format!("\u{feff}{code}\u{200b}"),
        spaced.join(" - "),
    ]
    .iter()
    .enumerate()
    {
        let user = format!("user{index}");
        home.import(&user, &phone);
        assert_eq!(home.ask_one(&attempt(1, &user, typed)).verdict(), "accept", "{typed:?}");
    }
}

#[test]
fn what_cannot_be_a_code_is_rejected() {
    let (home, phone) = alice();
    let code = phone.code(STEP);
    for (index, typed) in
        [&code[1..], &format!("{code}0"), &format!("{code}a"), "push", " ", "-", &"1".repeat(10_000), "\0"]
            .into_iter()
            .enumerate()
    {
        let user = format!("user{index}");
        home.import(&user, &phone);
        let answer = home.ask_one(&attempt(1, &user, typed));
        assert_failure(&answer, "malformed_code");
        assert_eq!(answer.reason(), "what was typed is not 6 digits");
    }
}

#[test]
fn each_of_several_authenticators_counts_for_itself() {
    let (phone, token) = (Phone::new(1), Phone::new(2).with("SHA256", 8, 60));
    let home = Home::with(&[("alice", &phone), ("alice", &token), ("bob", &phone)]);
    home.set_clock(NOW);
    let told = |user, code: &str| home.ask_one(&attempt(1, user, code)).told();
    assert_eq!(told("alice", &phone.code_at(NOW, 1)), "accept");
    assert_eq!(told("alice", &token.code_at(NOW, -1)), "accept");
    assert_eq!(told("alice", &phone.code_at(NOW, 1)), "authentication_failure/used_code");
    assert_eq!(told("alice", &token.code_at(NOW, -1)), "authentication_failure/used_code");
    assert_eq!(told("alice", &token.code_at(NOW, 0)), "accept");
    assert_eq!(told("bob", &phone.code_at(NOW, 1)), "accept", "what alice used is still bob's");
}

#[test]
fn every_failure_looks_the_same_to_the_claimant() {
    let (home, phone) = alice();
    let code = phone.code(STEP);
    home.set("throttle", "known_source", "0");
    assert_eq!(home.ask_one(&attempt(1, "alice", &code)).verdict(), "accept");
    let mut failures = Vec::new();
    for (user, typed, expected) in [
        ("alice", &*phone.wrong_code(NOW), "wrong_code"),
        ("alice", &code, "used_code"),
        ("alice", &phone.code(STEP + 5), "outside_window"),
        ("alice", "?", "malformed_code"),
        ("nobody", "123456", "not_enrolled"),
        ("nobody", "?", "not_enrolled"),
        ("alice", "", "code_required"),
        ("nobody", "", "code_required"),
        ("alice", &phone.wrong_code(NOW), "wrong_code"),
        ("alice", &phone.wrong_code(NOW), "wrong_code"),
        ("alice", &phone.wrong_code(NOW), "throttled"),
    ] {
        let answer = home.ask_one(&attempt(1, user, typed));
        assert_failure(&answer, expected);
        // What is left without what is the operator's.
        failures.push(Answer { error: None, reason: None, trace: None, retry_after_s: None, ..answer });
    }
    assert!(failures.windows(2).all(|pair| pair[0] == pair[1]), "{failures:?}");
}

#[test]
fn a_stranger_is_asked_and_limited_like_anybody() {
    let (home, _) = alice();
    let ask = |user| home.ask_one(&request(1, user, json!({})));
    let (known, unknown) = (ask("alice"), ask("nobody"));
    assert_eq!(known.question, unknown.question);
    assert_eq!(known.cookie().len(), unknown.cookie().len());
    let guess = |user| home.ask_one(&attempt(1, user, "000000"));
    for user in ["alice", "nobody"] {
        for _ in 0..6 {
            assert_eq!(guess(user).retry_after_s, None);
        }
        assert_eq!(guess(user).retry_after_s, Some(60));
        assert_failure(&ask(user), "throttled");
    }
}

#[test]
fn after_too_many_failures_the_right_code_is_refused_too() {
    let (home, phone) = alice();
    let wrong = phone.wrong_code(NOW);
    for _ in 0..6 {
        assert_failure(&home.ask_one(&attempt(1, "alice", &wrong)), "wrong_code");
    }
    for request in [
        attempt(1, "alice", &wrong),
        attempt(1, "alice", &phone.code(STEP)),
        attempt(1, " ALICE ", &phone.code(STEP)),
        request(1, "alice", json!({})),
    ] {
        let answer = home.ask_one(&request);
        assert_failure(&answer, "throttled");
        assert_eq!(answer.retry_after_s, Some(60));
        assert_eq!(answer.reason(), "too many failures of this subscriber: the next attempt is heard in 60 s");
    }
    home.run(&["unlock", "alice"], "").ok();
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.code(STEP))).verdict(), "accept");
}

#[test]
fn a_wait_runs_out_and_doubles() {
    let (home, phone) = alice();
    for _ in 0..6 {
        home.ask_one(&attempt(1, "alice", &phone.wrong_code(NOW)));
    }
    home.set_clock(NOW + 59);
    assert_eq!(home.ask_one(&attempt(1, "alice", "0")).retry_after_s, Some(1));
    home.set_clock(NOW + 60);
    assert_failure(&home.ask_one(&attempt(1, "alice", "0")), "malformed_code");
    assert_eq!(home.ask_one(&attempt(1, "alice", "0")).retry_after_s, Some(120));
    home.set_clock(NOW);
    let answer = home.ask_one(&attempt(1, "alice", "0"));
    assert_eq!(answer.retry_after_s, Some(120), "a clock that was set back makes no wait longer");
    home.set_clock(NOW + 60 + 120);
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.code(STEP + 6))).verdict(), "accept");
}

#[test]
fn failures_of_one_address_are_counted_together() {
    let (phone, home) = (Phone::new(1), Home::init());
    home.import_many([("alice", &phone), ("bob", &phone), ("carol", &phone)]);
    home.set_clock(NOW);
    home.set("throttle", "source_failures", "2");
    let from = |user, code: &str, address| {
        home.ask_one(&request(1, user, json!({"client_ip": address, "key_value_pairs": {"otp": code}})))
    };
    let wrong = phone.wrong_code(NOW);
    for (user, address) in [("alice", "2001:db8::1"), ("bob", "2001:db8::2"), ("nobody", "2001:db8::ffff:3")] {
        assert_eq!(from(user, &wrong, address).retry_after_s, None);
    }
    let answer = from("carol", &phone.code(STEP), "2001:db8::4");
    assert_failure(&answer, "throttled");
    assert_eq!(answer.retry_after_s, Some(5));
    assert_eq!(answer.reason(), "too many failures of this source address: the next attempt is heard in 5 s");
    assert_eq!(from("carol", &phone.code(STEP - 1), "2001:db8:0:1::4").verdict(), "accept");
    home.run(&["unlock", "--source", "2001:db8::9"], "").ok();
    assert_eq!(from("carol", &phone.code(STEP), "2001:db8::4").verdict(), "accept");
}

#[test]
fn a_success_is_no_failure() {
    let (home, phone) = alice();
    home.set("throttle", "failures", "1");
    home.set("throttle", "source_failures", "1");
    let mut gateway = Gateway::start(&home);
    for user in 0..8 {
        let user = format!("user{user}");
        home.import(&user, &phone);
        for offset in [-1, 0, 1] {
            assert_eq!(gateway.ask(&attempt(1, &user, &phone.code_at(NOW, offset))).verdict(), "accept");
        }
    }
}

#[test]
fn every_verdict_is_found_in_the_log_by_its_trace() {
    let (home, phone) = alice();
    let answers = home.ask(&[
        attempt(1, "alice", &phone.wrong_code(NOW)),
        attempt(2, "nobody", "123456"),
        json!({"type": "nonsense", "id": 3}),
    ]);
    let log = home.log();
    for answer in &answers {
        let trace = format!("trace=\"{}\"", answer.trace.as_deref().unwrap());
        let code = format!("code=\"{}\"", answer.code());
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&trace)).collect();
        assert!(matches!(lines.as_slice(), [line] if line.contains(&code)), "{answer:?}\n{log}");
    }
}

#[test]
fn a_protocol_that_nobody_knows_needs_the_factor_too() {
    let (home, phone) = alice();
    let wrong = phone.wrong_code(NOW);
    for protocol in ["xyzzy", "SSH ", "\u{17f}\u{17f}h", "ssh,http", "", " ", "none", "*"] {
        for more in [json!({}), json!({"key_value_pairs": {"otp": wrong}})] {
            let mut asked = request(1, "alice", more);
            asked["protocol"] = json!(protocol);
            assert_ne!(home.ask_one(&asked).verdict(), "accept", "{protocol:?}");
            home.run(&["unlock", "alice"], "");
        }
    }
}

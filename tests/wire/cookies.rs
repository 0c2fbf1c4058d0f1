//! The cookie: what it proves, to whom, and for how long.

use serde_json::{Value, json};

use crate::rig::{Answer, Home, Phone, attempt, request};
use crate::{NOW, STEP, alice};

/// How long a cookie is good for.
const LIFETIME: u64 = 600;

/// An accepted login of `user` in the session `session`.
fn login(home: &Home, phone: &Phone, user: &str, session: Value) -> Answer {
    let answer =
        home.ask_one(&request(1, user, json!({"session_id": session, "key_value_pairs": {"otp": phone.code(STEP)}})));
    assert_eq!(answer.verdict(), "accept");
    answer
}

fn authorize(home: &Home, user: &str, session: Value, cookie: Value) -> Answer {
    home.ask_one(&request(2, user, json!({"type": "authorize", "session_id": session, "cookie": cookie})))
}

#[track_caller]
fn assert_refused(answer: &Answer) {
    assert_eq!(answer.told(), "policy_denied/not_authenticated");
    assert_eq!(answer.message.as_deref(), Some("Access denied"));
}

#[test]
fn a_cookie_fits_where_gateways_put_it() {
    let (home, phone) = alice();
    let long = json!("s".repeat(10_000));
    let asked = home.ask_one(&request(1, "alice", json!({"session_id": long})));
    let accepted = login(&home, &phone, "alice", long);
    for cookie in [asked.cookie(), accepted.cookie()] {
        assert!(cookie.len() <= 100, "{cookie}");
        assert!(cookie.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{cookie}");
    }
}

#[test]
fn a_session_that_was_authenticated_is_authorized() {
    let (home, phone) = alice();
    for (user, session) in [("alice", json!("s1")), ("bob", json!(null)), ("carol", json!("ž\u{0}"))] {
        if user != "alice" {
            home.import(user, &phone);
        }
        let cookie = login(&home, &phone, user, session.clone()).cookie.unwrap();
        let answer = authorize(&home, user, session, json!(cookie));
        assert_eq!((answer.verdict(), answer.gateway_user.as_deref()), ("accept", Some(user)));
        assert_eq!(answer.reason(), "the session was authenticated");
        assert_eq!((answer.factor, answer.mfa_identity, answer.cookie), (None, None, None));
    }
}

#[test]
fn a_session_that_was_not_authenticated_is_not_authorized() {
    let (home, phone) = alice();
    let asked = home.ask_one(&request(1, "alice", json!({"session_id": "s1"}))).cookie.unwrap();
    let accepted = login(&home, &phone, "alice", json!("s1")).cookie.unwrap();
    // As a word of encouragement to the rest of the test.
    assert_eq!(authorize(&home, "alice", json!("s1"), json!(accepted)).verdict(), "accept");

    let forged: Vec<String> = (0..accepted.len())
        .map(|at| {
            let mut bytes = accepted.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).unwrap()
        })
        .collect();
    let mut cookies =
        vec![Value::Null, json!(""), json!(asked), json!("x"), json!("=".repeat(92)), json!("ž".repeat(50))];
    cookies.extend([accepted.to_uppercase(), format!("{accepted}="), format!(" {accepted}")].map(Value::from));
    cookies.extend([accepted[1..].to_owned(), format!("{accepted}{accepted}"), "A".repeat(60_000)].map(Value::from));
    cookies.extend(forged.into_iter().map(Value::from));
    let requests: Vec<Value> = cookies
        .into_iter()
        .enumerate()
        .map(|(id, cookie)| request(id, "alice", json!({"type": "authorize", "session_id": "s1", "cookie": cookie})))
        .collect();
    for answer in home.ask(&requests) {
        assert_refused(&answer);
    }
}

#[test]
fn a_dialogue_that_began_with_a_password_goes_on_with_its_cookie_only() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone), ("bob", &Phone::new(2))]);
    home.set_clock(NOW);
    let ask = |user: &str, session: &str, more: Value| home.ask_one(&request(1, user, merged(session, more)));
    let cookie = |user: &str, session: &str| ask(user, session, json!({})).cookie.unwrap();
    let code = phone.code_at(NOW, 0);
    let begun = |cookie: Option<String>, otp: Option<&str>| json!({"begun": true, "cookie": cookie, "key_value_pairs": {"otp": otp}});
    let foreign = [None, Some("A".repeat(95)), Some(cookie("alice", "s2")), Some(cookie("bob", "s1"))];
    for enforce in ["yes", "no"] {
        home.set("policy", "enforce", enforce);
        for foreign in &foreign {
            for otp in [None, Some(""), Some(code.as_str())] {
                let answer = ask("alice", "s1", begun(foreign.clone(), otp));
                assert_eq!(answer.told(), "authentication_failure/password_required", "{otp:?}");
            }
        }
    }
    home.set("policy", "enforce", "yes");
    let ours = cookie("alice", "s1");
    assert_eq!(ask("alice", "s1", begun(Some(ours.clone()), None)).verdict(), "need_info");
    // None of that has used it.
    assert_eq!(ask("alice", "s1", begun(Some(ours), Some(&code))).verdict(), "accept");
    assert_eq!(ask("alice", "s1", json!({"begun": "yes"})).told(), "invalid_request/wrong_type");
}

fn merged(session: &str, more: Value) -> Value {
    let mut fields = json!({"session_id": session});
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

#[test]
fn a_cookie_is_good_for_its_session_and_claimant_only() {
    let (home, phone) = alice();
    let cookie = json!(login(&home, &phone, "alice", json!("s1")).cookie);
    assert_refused(&authorize(&home, "alice", json!("s2"), cookie.clone()));
    assert_refused(&authorize(&home, "alice", json!(null), cookie.clone()));
    assert_refused(&authorize(&home, "bob", json!("s1"), cookie.clone()));
    assert_refused(&authorize(&home, "Alice", json!("s1"), cookie));
}

#[test]
fn a_cookie_of_another_installation_is_good_for_nothing() {
    let ((home, phone), (other, _)) = (alice(), alice());
    let cookie = json!(login(&other, &phone, "alice", json!("s1")).cookie);
    assert_eq!(authorize(&other, "alice", json!("s1"), cookie.clone()).verdict(), "accept");
    assert_refused(&authorize(&home, "alice", json!("s1"), cookie));
}

#[test]
fn a_cookie_expires() {
    let (home, phone) = alice();
    let cookie = json!(login(&home, &phone, "alice", json!("s1")).cookie);
    for (after, verdict) in [(0, "accept"), (LIFETIME - 1, "accept"), (LIFETIME, "reject"), (LIFETIME * 1000, "reject")]
    {
        home.set_clock(NOW + after);
        assert_eq!(authorize(&home, "alice", json!("s1"), cookie.clone()).verdict(), verdict, "{after}");
    }
}

#[test]
fn an_accepted_cookie_is_no_code() {
    let (home, phone) = alice();
    let cookie = json!(login(&home, &phone, "alice", json!("s1")).cookie);
    let more = json!({"session_id": "s1", "cookie": cookie, "session_cookie": {"authenticated": true}});
    assert_eq!(home.ask_one(&request(1, "alice", more)).verdict(), "need_info");
}

#[test]
fn a_code_needs_no_cookie_and_a_bad_one_does_not_spoil_it() {
    let (home, phone) = alice();
    let asked = home.ask_one(&request(0, "alice", json!({"session_id": "s"}))).cookie.unwrap();
    let mut later = Vec::new();
    for (user, cookie, state) in [
        ("alice", json!(asked), "good"),
        ("bob", json!(asked), "foreign"),
        ("carol", json!("forged"), "foreign"),
        ("dave", Value::Null, "none"),
        ("alice", json!(asked), "expired"),
    ] {
        let clock = if state == "expired" { NOW + LIFETIME } else { NOW };
        home.set_clock(clock);
        if user != "alice" {
            home.import(user, &phone);
        }
        let more = json!({"session_id": "s", "cookie": cookie, "key_value_pairs": {"otp": phone.code_at(clock, 0)}});
        assert_eq!(home.ask_one(&request(1, user, more)).verdict(), "accept", "{state}");
        later.push((user, state));
    }
    let log = home.log();
    for (user, state) in later {
        let told = (format!("claimant=\"{user}\""), format!("cookie=\"{state}\""));
        assert!(log.lines().any(|line| line.contains(&told.0) && line.contains(&told.1)), "{told:?}\n{log}");
    }
    assert!(!log.contains(&asked), "the cookie itself is not logged");
}

#[test]
fn the_end_of_a_session_is_always_accepted() {
    let (home, _) = alice();
    for (user, shown) in [(json!("alice"), Some("alice")), (json!("nobody"), Some("nobody")), (Value::Null, None)] {
        let mut request = attempt(1, "", "");
        (request["type"], request["gateway_user"]) = (json!("session_ended"), user);
        let answer = home.ask_one(&request);
        assert_eq!((answer.verdict(), answer.gateway_user.as_deref()), ("accept", shown));
        assert_eq!((answer.reason(), answer.cookie.as_deref()), ("the session ended", None));
    }
}

#[test]
fn a_session_of_somebody_who_no_longer_is_enrolled_is_not_authorized() {
    let (home, phone) = alice();
    let cookie = json!(login(&home, &phone, "alice", json!("s")).cookie());
    assert_eq!(authorize(&home, "alice", json!("s"), cookie.clone()).verdict(), "accept");
    home.run(&["remove", "alice", "--all", "--override-reason", "test"], "").ok();
    assert_eq!(authorize(&home, "alice", json!("s"), cookie).code(), "not_enrolled");
}

//! Enrolment at the login: who is shown a new authenticator, once, and what it takes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rig::{Answer, Gateway, Home, Phone, attempt, request};
use serde_json::{Value, json};

/// A moment in the middle of a time step; what happens there does not depend on when the test runs.
const NOW: u64 = 1_800_000_015;

fn home(policy: &str) -> Home {
    let home = Home::init();
    home.set_clock(NOW);
    home.append(&format!("[policy]\n{policy}"));
    home
}

/// The phone with the secret that the prompt spells.
fn phone(answer: &Answer) -> Phone {
    let prompt = &answer.question.as_ref().unwrap_or_else(|| panic!("{answer:?}")).prompt;
    let secret = prompt.split("type this secret into it: ").nth(1).unwrap().lines().next().unwrap();
    Phone::with_secret(&secret.replace(' ', ""))
}

fn reply(id: u64, asked: &Answer, session: &str, typed: &str) -> Value {
    let more = json!({"session_id": session, "cookie": asked.cookie(), "key_value_pairs": {"otp": typed}});
    request(id, "alice", more)
}

fn begin(home: &Home, session: &str) -> Answer {
    home.ask_one(&request("begin", "alice", json!({"session_id": session})))
}

fn enrolled(home: &Home) -> usize {
    serde_json::from_str::<Vec<Value>>(&home.run(&["list", "--json"], "").ok().stdout).unwrap().len()
}

#[test]
fn the_first_login_shows_a_new_authenticator_and_its_first_code_enrols() {
    let home = home("unenrolled = enrol\n");
    let asked = begin(&home, "s");
    let prompt = &asked.question.as_ref().unwrap().prompt;
    assert!(prompt.contains('▀') && prompt.contains('▄') && prompt.ends_with("app shows: "), "{prompt}");
    assert_eq!(enrolled(&home), 0, "nothing counts yet");
    let phone = phone(&asked);
    let answer = home.ask_one(&reply(1, &asked, "s", &phone.code_at(NOW, 0)));
    assert_eq!((answer.verdict(), answer.factor.as_deref()), ("accept", Some("totp")));
    assert!(answer.reason().contains("enrolled at the login"), "{answer:?}");
    assert_eq!(enrolled(&home), 1);
    assert_eq!(home.ask_one(&attempt(2, "alice", &phone.code_at(NOW, 0))).code(), "used_code");
    assert_eq!(home.ask_one(&attempt(3, "alice", &phone.code_at(NOW, 1))).verdict(), "accept");
    let log = home.log();
    assert!(log.contains("a new authenticator was shown") && log.contains("enrolled at the login"), "{log}");
    assert!(!log.contains(&phone.secret()), "the secret is in the log");
}

#[test]
fn a_wrong_code_may_be_typed_again_a_few_times() {
    let home = home("unenrolled = enrol\n");
    let first = begin(&home, "s");
    let phone = phone(&first);
    let mut asked = first.clone();
    for (id, expected) in [(1, "need_info"), (2, "need_info"), (3, "reject")] {
        let answer = home.ask_one(&reply(id, &asked, "s", &phone.wrong_code(NOW)));
        assert_eq!(answer.verdict(), expected, "{answer:?}");
        if expected == "need_info" {
            assert!(answer.question.as_ref().unwrap().prompt.starts_with("The code is wrong"));
            asked = answer;
        }
    }
    let answer = home.ask_one(&reply(4, &first, "s", &phone.code_at(NOW, 0)));
    assert_eq!((answer.code(), enrolled(&home)), ("challenge_gone", 0), "it is over");
}

#[test]
fn codes_are_read_as_people_type_them_here_too() {
    let home = home("unenrolled = enrol\n");
    let asked = begin(&home, "s");
    let code = phone(&asked).code_at(NOW, 0);
    let typed = format!(" {}-{} ", &code[..3], &code[3..]);
    assert_eq!(home.ask_one(&reply(1, &asked, "s", &typed)).verdict(), "accept");
}

#[test]
fn nobody_is_enrolled_whom_the_gateway_did_not_authenticate() {
    let home = home("unenrolled = enrol\n");
    let more = json!({"gateway_user": null, "server_username": "alice"});
    let answer = home.ask_one(&request(1, "alice", more));
    assert_eq!((answer.code(), enrolled(&home)), ("not_enrolled", 0));
    assert!(answer.reason().contains("gateway_user"), "{answer:?}");
    let typed = json!({"gateway_user": null, "key_value_pairs": {"gu": "alice"}});
    assert_eq!(home.ask_one(&request(2, "alice", typed)).code(), "not_enrolled", "a name that was typed is no proof");
    let answer = home.ask_one(&request(3, "alice", json!({"protocol": "http"})));
    assert_eq!(answer.code(), "not_enrolled", "nothing can be asked over http");
}

#[test]
fn of_many_sessions_one_enrols() {
    let home = home("unenrolled = enrol\n");
    let count = 16;
    let asked: Vec<(Answer, Phone)> = (0..count)
        .map(|n| {
            let asked = begin(&home, &format!("s{n}"));
            let phone = phone(&asked);
            (asked, phone)
        })
        .collect();
    let start = Barrier::new(count);
    let accepted = thread::scope(|scope| {
        let racers: Vec<_> = asked
            .iter()
            .enumerate()
            .map(|(n, (asked, phone))| {
                let line = format!("{}\n", reply(1, asked, &format!("s{n}"), &phone.code_at(NOW, 0)));
                let (mut serve, start) = (home.command(&["serve"]), &start);
                scope.spawn(move || {
                    start.wait();
                    rig::finish(&mut serve, line.as_bytes()).ok().stdout
                })
            })
            .collect();
        let said = racers.into_iter().map(|racer| Answer::parse(racer.join().unwrap().trim_end().as_bytes()));
        said.filter(|answer| answer.verdict() == "accept").count()
    });
    assert_eq!((accepted, enrolled(&home)), (1, 1));
}

/// Killed at any moment between the question and the answer, an enrolment is pending or complete.
#[test]
fn an_enrolment_that_is_killed_is_pending_or_complete() {
    let home = home("unenrolled = enrol\n");
    let (mut pending, mut complete) = (0, 0);
    for round in 0..60_u64 {
        let (user, session) = (format!("user{round}"), format!("s{round}"));
        let asked = home.ask_one(&request(1, &user, json!({"session_id": session})));
        let code = phone(&asked).code_at(NOW, 0);
        let more = json!({"session_id": session, "cookie": asked.cookie(), "key_value_pairs": {"otp": code}});
        let line = request(2, &user, more);
        let mut gateway = Gateway::start(&home);
        gateway.send(&line);
        // From before the line was read to after it was answered.
        let until = Instant::now() + Duration::from_micros(round * 150);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        gateway.kill();
        let held: Vec<Value> =
            serde_json::from_str(&home.run(&["list", "--user", &user, "--json"], "").ok().stdout).unwrap();
        match held.as_slice() {
            [] => {
                pending += 1;
                let told = home.ask_one(&line).told();
                // One try of the question may have been counted.
                assert_eq!(told, "accept", "the same question is good still");
            }
            [one] => {
                complete += 1;
                assert!(one["last_step"].is_number(), "the code that proved it is used: {one}");
                assert_eq!(home.ask_one(&attempt(3, &user, &code)).code(), "used_code");
            }
            more => panic!("{more:?}"),
        }
    }
    println!("{pending} were pending, {complete} complete");
}

#[test]
fn who_is_enrolled_is_never_shown_another() {
    let home = home("unenrolled = enrol\n");
    home.import("alice", &Phone::new(1));
    assert!(begin(&home, "s").question.unwrap().prompt.starts_with("Press Enter"));
    home.run(&["authenticator", "disable", "alice", "authenticator", "--override-reason", "lost"], "").ok();
    assert!(begin(&home, "s").question.unwrap().prompt.starts_with("Press Enter"), "nor who has a disabled one");
}

#[test]
fn whose_authenticator_was_removed_needs_a_ticket() {
    let home = home("unenrolled = enrol\n");
    home.import("alice", &Phone::new(1));
    home.run(&["remove", "alice", "--override-reason", "lost"], "").ok();
    let asked = begin(&home, "s");
    assert!(asked.question.as_ref().unwrap().prompt.contains("ticket"), "{asked:?}");
    let ticket: Value = serde_json::from_str(&home.run(&["ticket", "alice", "--json"], "").ok().stdout).unwrap();
    let shown = home.ask_one(&reply(1, &asked, "s", ticket["code"].as_str().unwrap()));
    let phone = phone(&shown);
    assert_eq!(home.ask_one(&reply(2, &shown, "s", &phone.code_at(NOW, 0))).verdict(), "accept");
}

#[test]
fn a_ticket_is_good_once_for_its_user_and_its_time() {
    let home = home("unenrolled = enrol\nenrolment_ticket = yes\n");
    let ticket = |user: &str, more: &[&str]| {
        let arguments: Vec<&str> = ["ticket", user, "--json"].iter().chain(more).copied().collect();
        let shown: Value = serde_json::from_str(&home.run(&arguments, "").ok().stdout).unwrap();
        shown["code"].as_str().unwrap().to_owned()
    };
    let (bobs, old) = (ticket("bob", &[]), ticket("alice", &["--for", "10s"]));
    let asked = begin(&home, "s");
    assert_eq!(home.ask_one(&reply(1, &asked, "s", &bobs)).code(), "wrong_ticket");
    assert_eq!(home.ask_one(&reply(2, &asked, "s", "123456")).code(), "wrong_ticket");
    home.set_clock(NOW + 10);
    assert_eq!(home.ask_one(&reply(3, &asked, "s", &old)).code(), "wrong_ticket", "its time is over");

    let good = ticket("alice", &[]);
    let asked = begin(&home, "t");
    let shown = home.ask_one(&reply(4, &asked, "t", &good.to_uppercase()));
    assert_eq!(home.ask_one(&reply(5, &asked, "t", &good)).verdict(), "reject", "it is used");
    let phone = phone(&shown);
    assert_eq!(home.ask_one(&reply(6, &shown, "t", &phone.code_at(NOW, 0))).verdict(), "accept");
    assert!(!home.log().contains(&good), "the ticket is in the log");
}

#[test]
fn who_has_none_may_be_let_in_without_and_the_verdict_says_so() {
    let home = home("unenrolled = accept\n");
    home.append("[authentication_cache]\nsoft_timeout = 300\nhard_timeout = 600\nreuse_limit = 9\n");
    let answer = begin(&home, "s");
    assert_eq!((answer.verdict(), answer.basis.as_deref()), ("accept", Some("unenrolled")));
    assert_eq!(begin(&home, "t").basis.as_deref(), Some("unenrolled"), "not cached");
    home.import("alice", &Phone::new(1));
    assert_eq!(begin(&home, "u").verdict(), "need_info");
}

#[test]
fn by_default_nobody_is_told_apart_from_a_stranger() {
    let home = home("");
    assert!(begin(&home, "s").question.unwrap().prompt.starts_with("Press Enter"));
    assert_eq!(home.ask_one(&attempt(1, "alice", "123456")).code(), "not_enrolled");
}

#[test]
fn a_hostile_name_is_enrolled_under_its_own_or_not_at_all() {
    let home = home("unenrolled = enrol\n");
    for (id, name) in (0..).zip(["a\u{202e}b", "a\0b", &"x".repeat(300), "../x", "<b>&\"'"]) {
        let answer = home.ask_one(&request(id, name, json!({"session_id": "s"})));
        let is_plain = !name.contains(['\u{202e}', '\0']) && name.len() <= 256;
        let is_offered = answer.question.as_ref().is_some_and(|question| question.prompt.contains("type this secret"));
        assert_eq!(is_offered, is_plain, "{name:?}: {answer:?}");
        if is_offered {
            let phone = phone(&answer);
            let more = json!({
                "session_id": "s", "cookie": answer.cookie(), "key_value_pairs": {"otp": phone.code_at(NOW, 0)}
            });
            let told = home.ask_one(&request(id + 100, name, more)).told();
            assert_eq!(told, "accept", "{name:?}");
        }
    }
}

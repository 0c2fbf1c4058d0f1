//! What is handed out for the day on which an authenticator is lost: recovery codes and bypass codes.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::sync::Barrier;
use std::thread;

use rig::{Answer, Home, Phone, attempt, request};
use serde_json::{Value, json};

/// A moment in the middle of a time step; what happens there does not depend on when the test runs.
const NOW: u64 = 1_800_000_015;

/// How many processes race.
const RACERS: usize = 64;

fn alice() -> (Home, Phone) {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    home.set_clock(NOW);
    (home, phone)
}

fn parsed(home: &Home, arguments: &[&str]) -> Value {
    serde_json::from_str(&home.run(arguments, "").ok().stdout).unwrap()
}

fn generate(home: &Home, user: &str) -> Vec<String> {
    let shown = parsed(home, &["recovery", "generate", user, "--json"]);
    shown["recovery_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

fn left(home: &Home, user: &str) -> u64 {
    parsed(home, &["recovery", "count", user, "--json"])["left"].as_u64().unwrap()
}

fn bypass(home: &Home, user: &str, more: &[&str]) -> String {
    let arguments: Vec<&str> =
        ["bypass", user, "--reason", "lost phone", "--json"].iter().chain(more).copied().collect();
    parsed(home, &arguments)["code"].as_str().unwrap().to_owned()
}

fn login(home: &Home, id: u64, code: &str) -> Answer {
    home.ask_one(&attempt(id, "alice", code))
}

/// How many of [`RACERS`] processes at once are let in with `code`.
fn let_in(home: &Home, code: &str) -> usize {
    let start = Barrier::new(RACERS);
    let line = |id| format!("{}\n", attempt(id, "alice", code));
    thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|id| {
                let (mut serve, line, start) = (home.command(&["serve"]), line(id), &start);
                scope.spawn(move || {
                    start.wait();
                    rig::finish(&mut serve, line.as_bytes()).ok().stdout
                })
            })
            .collect();
        let said = racers.into_iter().map(|racer| Answer::parse(racer.join().unwrap().trim_end().as_bytes()));
        said.filter(|answer| answer.verdict() == "accept").count()
    })
}

#[test]
fn a_recovery_code_is_good_once_however_it_is_typed() {
    let (home, _) = alice();
    let codes = generate(&home, "alice");
    assert_eq!((codes.len(), left(&home, "alice")), (10, 10));
    for code in &codes {
        let (first, second) = code.split_once('-').unwrap();
        assert_eq!((first.len(), second.len()), (6, 6), "{code}");
    }
    let shapes = [
        codes[0].clone(),
        codes[1].to_uppercase(),
        codes[2].replace('-', ""),
        format!("  {} ", codes[3].replace('-', " ")),
        codes[4].chars().map(|c| if c == '-' { c } else { char::from_u32(u32::from(c) + 0xfee0).unwrap() }).collect(),
    ];
    for (id, shape) in (1..).zip(&shapes) {
        let answer = login(&home, id, shape);
        assert_eq!((answer.told().as_str(), answer.factor.as_deref()), ("accept", Some("recovery_code")), "{shape}");
        assert!(answer.reason().contains(&format!("{} are left", 10 - id)), "{answer:?}");
    }
    for (id, shape) in (11..).zip(&shapes[..3]) {
        assert_eq!(login(&home, id, shape).verdict(), "reject", "used");
    }
    assert_eq!(left(&home, "alice"), 5);
    assert_eq!(home.ask_one(&attempt(20, "bob", &codes[6])).verdict(), "reject", "nobody else's");
}

#[test]
fn new_codes_end_the_old_ones_and_removal_ends_them_all() {
    let (home, _) = alice();
    let old = generate(&home, "alice");
    let new = generate(&home, "alice");
    assert!(old.iter().all(|code| !new.contains(code)));
    assert_eq!((login(&home, 1, &old[0]).verdict(), login(&home, 2, &new[0]).verdict()), ("reject", "accept"));
    home.run(&["authenticator", "remove", "alice", "--all", "--override-reason", "left"], "").ok();
    assert_eq!((login(&home, 3, &new[1]).verdict(), left(&home, "alice")), ("reject", 0));
}

#[test]
fn the_codes_are_what_the_configuration_says() {
    let (home, _) = alice();
    home.append("[recovery]\ncount = 3\nlength = 10\nalphabet = 0123456789\nseparator =\nwarn_below = 3\n");
    let codes = generate(&home, "alice");
    assert!(codes.len() == 3 && codes.iter().all(|code| code.len() == 10 && code.bytes().all(|b| b.is_ascii_digit())));
    let answer = login(&home, 1, &codes[0]);
    assert!(answer.reason().contains("2 recovery codes are left"), "{answer:?}");
    assert!(home.log().lines().any(|line| line.contains("WARN") && line.contains("2 recovery codes are left")));
}

#[test]
fn a_recovery_code_is_taken_while_codes_are_throttled() {
    let (home, phone) = alice();
    let codes = generate(&home, "alice");
    for id in 0..6 {
        assert_eq!(login(&home, id, &phone.wrong_code(NOW)).verdict(), "reject");
    }
    assert_eq!(login(&home, 10, &phone.code_at(NOW, 0)).code(), "throttled");
    let asked = home.ask_one(&request(11, "alice", json!({})));
    assert_eq!(asked.verdict(), "need_info", "who holds recovery codes is asked: {asked:?}");
    assert_eq!(login(&home, 12, &codes[0]).verdict(), "accept");
    assert_eq!(login(&home, 13, &phone.code_at(NOW, 0)).code(), "throttled", "and codes still are");
}

#[test]
fn guesses_at_recovery_codes_have_a_counter_of_their_own() {
    let (home, phone) = alice();
    let codes = generate(&home, "alice");
    // From many addresses: only the subscriber's counter is meant.
    let guess = |id: u64, code: &str| {
        let mut request = attempt(id, "alice", code);
        request["client_ip"] = json!(format!("192.0.2.{id}"));
        home.ask_one(&request)
    };
    for id in 0..6 {
        guess(id, "aaaa-bbbb-cccc");
    }
    let answer = guess(7, &codes[0]);
    assert_eq!(answer.verdict(), "reject", "the right one is not looked up any more: {answer:?}");
    assert!(answer.reason().contains("too many wrong recovery codes"), "{answer:?}");
    home.run(&["unlock", "alice"], "").ok();
    assert_eq!(guess(8, &codes[0]).verdict(), "accept");
    assert_eq!(guess(9, &phone.code_at(NOW, 0)).verdict(), "accept");
}

#[test]
fn sixty_four_processes_redeem_one_recovery_code_once() {
    let (home, _) = alice();
    home.set("throttle", "failures", "1000");
    home.set("throttle", "source_failures", "1000");
    let codes = generate(&home, "alice");
    for code in &codes[..3] {
        assert_eq!(let_in(&home, code), 1);
    }
    assert_eq!(left(&home, "alice"), 7);
}

#[test]
fn sixty_four_processes_use_one_bypass_code_as_often_as_it_is_good() {
    let (home, _) = alice();
    home.set("throttle", "failures", "1000");
    home.set("throttle", "source_failures", "1000");
    let code = bypass(&home, "alice", &[]);
    assert_eq!(let_in(&home, &code), 1);
    let code = bypass(&home, "alice", &["--uses", "3"]);
    assert_eq!(let_in(&home, &code), 3);
}

#[test]
fn a_bypass_code_is_good_for_its_time_and_says_why_it_was_given() {
    let (home, _) = alice();
    let code = bypass(&home, "alice", &["--for", "1h", "--uses", "2"]);
    let answer = login(&home, 1, &code.to_uppercase());
    assert_eq!((answer.verdict(), answer.factor.as_deref()), ("accept", Some("bypass_code")));
    assert!(answer.reason().contains("lost phone"), "{answer:?}");
    home.set_clock(NOW + 3600);
    assert_eq!(login(&home, 2, &code).verdict(), "reject", "its time is over");
    let log = home.log();
    assert!(log.contains("action=\"bypass\"") && log.contains("grounds=\"lost phone\""), "{log}");
    assert!(!log.contains(&code) && !log.contains(&code.replace('-', "")), "the code is in the log");
}

#[test]
fn a_bypass_code_is_taken_from_somebody_who_has_no_authenticator() {
    let home = Home::init();
    let code = bypass(&home, "bob", &[]);
    let accepted = home.ask_one(&attempt(1, "bob", &code));
    assert_eq!(accepted.verdict(), "accept");
    let goes_on = json!({
        "type": "authorize", "id": 2, "session_id": "session of 1", "gateway_user": "bob", "cookie": accepted.cookie()
    });
    assert_eq!(home.ask_one(&goes_on).verdict(), "accept");
    assert_eq!(home.ask_one(&attempt(3, "bob", &code)).verdict(), "reject");
}

#[test]
fn one_bypass_code_replaces_the_other_and_can_be_taken_back() {
    let (home, _) = alice();
    let old = bypass(&home, "alice", &[]);
    let new = bypass(&home, "alice", &[]);
    assert_eq!(login(&home, 1, &old).verdict(), "reject");
    let held = parsed(&home, &["show", "alice", "--json"]);
    let held = held["authenticators"].as_array().unwrap();
    let id = held.iter().find(|one| one["client"] == "bypass").unwrap()["id"].as_str().unwrap();
    home.run(&["remove", "alice", "--id", id, "--override-reason", "found it"], "").ok();
    assert_eq!(login(&home, 2, &new).verdict(), "reject");
}

#[test]
fn what_cannot_be_handed_out_is_refused() {
    let (home, _) = alice();
    for (arguments, status) in [
        (&["bypass", "alice"][..], 64),
        (&["bypass", "alice", "--reason", " "], 65),
        (&["bypass", "alice", "--reason", "x", "--for", "31days"], 64),
        (&["bypass", "alice", "--reason", "x", "--for", "soon"], 64),
        (&["bypass", "alice", "--reason", "x", "--uses", "0"], 64),
        (&["bypass", "a\u{202e}b", "--reason", "x"], 65),
        (&["recovery", "generate", " "], 65),
        (&["recovery"], 64),
    ] {
        let done = home.run(arguments, "");
        assert_eq!((done.status, done.stdout.as_str()), (Some(status), ""), "{arguments:?}: {done:?}");
        assert!(!done.stderr.is_empty());
    }
    assert_eq!(left(&home, "alice"), 0);
}

#[test]
fn the_codes_outlive_a_rotation_of_the_master_key() {
    let (home, _) = alice();
    let (codes, code) = (generate(&home, "alice"), bypass(&home, "alice", &[]));
    home.run(&["keys", "rotate"], "").ok();
    assert_eq!((login(&home, 1, &codes[0]).verdict(), login(&home, 2, &code).verdict()), ("accept", "accept"));
}

#[test]
fn what_was_handed_out_is_not_cached() {
    let (home, _) = alice();
    home.append("[authentication_cache]\nsoft_timeout = 300\nhard_timeout = 600\nreuse_limit = 9\n");
    let codes = generate(&home, "alice");
    assert_eq!(login(&home, 1, &codes[0]).verdict(), "accept");
    assert_eq!(home.ask_one(&request(2, "alice", json!({}))).verdict(), "need_info");
}

#[test]
fn no_code_is_in_the_store_or_in_the_log() {
    let (home, _) = alice();
    let mut codes = generate(&home, "alice");
    codes.push(bypass(&home, "alice", &[]));
    login(&home, 1, &codes[0]);
    login(&home, 2, &format!("{}x", codes[1]));
    assert_kept_nowhere(&home, &codes);
}

/// Neither the store nor the log holds a code.
#[track_caller]
fn assert_kept_nowhere(home: &Home, codes: &[String]) {
    let mut everything = home.log().into_bytes();
    for entry in std::fs::read_dir(home.store()).unwrap() {
        everything.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    for code in codes {
        for form in [code.replace('-', ""), code.clone()] {
            assert!(!everything.windows(form.len()).any(|part| part == form.as_bytes()), "{form}");
        }
    }
}

#[test]
fn codes_that_come_with_an_enrolment_count_when_it_is_proved() {
    let home = Home::init();
    home.set_clock(NOW);
    let enroll = |more: &[&str]| parsed(&home, &[&["enroll", "alice", "--json"], more].concat());
    let codes = |pending: &Value| -> Vec<String> {
        pending["recovery_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
    };
    let confirm = |pending: &Value| {
        let code = Phone::with_secret(pending["secret"].as_str().unwrap()).code_at(NOW, 0);
        home.run(&["enroll", "confirm", pending["challenge"].as_str().unwrap()], &code).ok().stdout
    };
    let (first, second) = (enroll(&[]), enroll(&["--label", "second"]));
    assert_eq!((codes(&first).len(), codes(&second).len()), (10, 10));
    assert_eq!(login(&home, 1, &codes(&first)[0]).told(), "authentication_failure/not_enrolled");
    assert_kept_nowhere(&home, &codes(&first));

    assert!(confirm(&first).contains("The recovery codes count from now on."));
    assert_eq!(left(&home, "alice"), 10);
    assert!(confirm(&second).contains("do not count: alice has others"));
    assert_eq!(left(&home, "alice"), 10);
    assert_eq!(login(&home, 2, &codes(&second)[0]).verdict(), "reject");
    assert_eq!(login(&home, 3, &codes(&first)[0]).told(), "accept");
    assert_eq!(codes(&enroll(&["--label", "third"])), Vec::<String>::new(), "there is a set already");
}

#[test]
fn where_nobody_is_given_recovery_codes_an_enrolment_brings_none() {
    let home = Home::init();
    home.append("[recovery]\ncount = 0\n");
    let pending = parsed(&home, &["enroll", "alice", "--json"]);
    assert_eq!(pending["recovery_codes"], json!([]));
    let done = home.run(&["recovery", "generate", "alice"], "");
    assert!(done.status == Some(65) && done.stderr.contains("[recovery] count is 0"), "{done:?}");
}

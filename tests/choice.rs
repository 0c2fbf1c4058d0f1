//! Several authenticators, and which of them is asked for.

#![expect(clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use rig::{Answer, Home, Phone, request};
use serde_json::{Value, json};

/// A moment in the middle of a time step; what happens there does not depend on when the test runs.
const NOW: u64 = 1_800_000_015;

/// The codes of RFC 4226, appendix D, for the counters 0 to 9.
const HOTP: [&str; 10] =
    ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];

/// Alice with a phone, and a second account of the same app under another label.
fn two() -> (Home, Phone, Phone) {
    let (phone, work) = (Phone::new(1), Phone::new(2));
    let home = Home::init();
    home.set_clock(NOW - 60);
    home.run(&["import", "uri", "--user", "alice", "--label", "phone"], phone.uri("alice")).ok();
    home.set_clock(NOW);
    home.run(&["import", "uri", "--user", "alice", "--label", "work"], work.uri("alice")).ok();
    (home, phone, work)
}

/// A dialogue of one session, each request by a process of its own, with nothing but the cookie carried over.
struct Dialogue<'a> {
    home: &'a Home,
    cookie: Option<String>,
    count: u64,
}

impl<'a> Dialogue<'a> {
    fn new(home: &'a Home) -> Self {
        Self { home, cookie: None, count: 0 }
    }

    fn say(&mut self, typed: Option<&str>) -> Answer {
        self.count += 1;
        let mut more = json!({"session_id": "one", "cookie": self.cookie});
        if let Some(typed) = typed {
            more["key_value_pairs"] = json!({"otp": typed});
        }
        let answer = self.home.ask_one(&request(self.count, "alice", more));
        self.cookie.clone_from(&answer.cookie);
        answer
    }

    fn prompt(&mut self, typed: Option<&str>) -> String {
        let answer = self.say(typed);
        answer.question.unwrap_or_else(|| panic!("{:?}", answer.reason)).prompt
    }
}

#[test]
fn a_question_mark_lists_what_there_is_and_a_number_chooses() {
    let (home, phone, work) = two();
    let mut dialogue = Dialogue::new(&home);
    assert!(dialogue.prompt(None).starts_with("Press Enter"));
    assert_eq!(dialogue.prompt(Some("?")), "Choose one of these:\n  1  phone\n  2  work\nType its number: ");
    assert!(dialogue.prompt(Some("2")).starts_with("work: Press Enter"));
    assert_eq!(dialogue.say(Some(&phone.code_at(NOW, 0))).code(), "wrong_code", "another was chosen");

    let mut dialogue = Dialogue::new(&home);
    dialogue.prompt(Some(" ？ "));
    dialogue.prompt(Some("2"));
    assert_eq!(dialogue.say(Some(&work.code_at(NOW, 0))).verdict(), "accept");
}

#[test]
fn another_can_be_chosen_after_choosing() {
    let (home, phone, _) = two();
    let mut dialogue = Dialogue::new(&home);
    dialogue.prompt(Some("?"));
    assert!(dialogue.prompt(Some("2")).starts_with("work:"));
    assert!(dialogue.prompt(Some("?")).starts_with("Choose one of these"));
    assert!(dialogue.prompt(Some("9")).starts_with("Choose one of these"), "there is no ninth");
    assert!(dialogue.prompt(Some("2")).starts_with("work:"));
    assert!(dialogue.prompt(Some("1")).starts_with("phone:"), "without the list, too");
    assert_eq!(dialogue.say(Some(&phone.code_at(NOW, 0))).verdict(), "accept");
}

#[test]
fn a_code_is_taken_without_choosing() {
    let (home, phone, work) = two();
    assert_eq!(Dialogue::new(&home).say(Some(&phone.code_at(NOW, 0))).verdict(), "accept");
    let mut dialogue = Dialogue::new(&home);
    dialogue.prompt(Some("?"));
    assert_eq!(dialogue.say(Some(&work.code_at(NOW, 0))).verdict(), "accept", "at the list, too");
}

#[test]
fn the_default_is_marked_and_asked_for() {
    let (home, ..) = two();
    home.set("plugin", "clients", "totp, hotp");
    home.append("[hotp]\n");
    let uri = "otpauth://hotp/T:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&counter=0";
    home.run(&["import", "uri", "--user", "alice", "--label", "token"], uri).ok();
    let explained = |home: &Home| {
        home.run(&["explain"], request(1, "alice", json!({"key_value_pairs": {"otp": HOTP[0]}})).to_string())
            .ok()
            .stdout
    };
    assert!(explained(&home).contains("[totp], \"phone\", the first that this subscriber has"));
    home.run(&["authenticator", "default", "alice", "token", "--override-reason", "as asked"], "").ok();
    assert!(explained(&home).contains("[hotp], \"token\", this subscriber's default"));
    assert!(Dialogue::new(&home).prompt(Some("?")).contains("3  token (default)"));
    assert_eq!(Dialogue::new(&home).say(Some(HOTP[0])).verdict(), "accept");
}

#[test]
fn what_is_disabled_cannot_be_chosen() {
    let (home, phone, _) = two();
    home.run(&["authenticator", "disable", "alice", "work", "--override-reason", "lost"], "").ok();
    let answer = Dialogue::new(&home).say(Some("?"));
    assert_eq!(answer.code(), "malformed_code", "there is nothing to choose between: {answer:?}");
    assert_eq!(Dialogue::new(&home).say(Some(&phone.code_at(NOW, 0))).verdict(), "accept");
}

#[test]
fn a_choice_is_good_in_its_own_session_only() {
    let (home, phone, _) = two();
    let mut dialogue = Dialogue::new(&home);
    dialogue.prompt(Some("?"));
    dialogue.prompt(Some("2"));
    let more = json!({
        "session_id": "another", "cookie": dialogue.cookie, "key_value_pairs": {"otp": phone.code_at(NOW, 0)}
    });
    assert_eq!(home.ask_one(&request(1, "alice", more)).verdict(), "accept", "as if no cookie had come");
}

#[test]
fn nobody_learns_from_a_question_mark_who_is_not_enrolled() {
    let (home, ..) = two();
    let answer = home.ask_one(&request(1, "nobody", json!({"key_value_pairs": {"otp": "?"}})));
    assert_eq!(answer.message.as_deref(), Some("Authentication failed"));
}

/// Alice with the token of RFC 4226, and what it says.
fn token(more: &str) -> Home {
    let home = Home::init();
    home.set_clock(NOW);
    home.set("plugin", "clients", "hotp");
    home.append(&format!("[hotp]\n{more}"));
    let uri = "otpauth://hotp/T:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&counter=0";
    home.run(&["import", "uri", "--user", "alice"], uri).ok();
    home
}

#[test]
fn counter_based_codes_are_good_once_and_go_forward() {
    let home = token("");
    let told = |code: &str| Dialogue::new(&home).say(Some(code)).told();
    assert_eq!(told(HOTP[0]), "accept");
    assert_eq!(told(HOTP[0]), "authentication_failure/used_code");
    assert_eq!(told(HOTP[5]), "accept", "a few that were never typed");
    for used in [HOTP[1], HOTP[5], HOTP[4]] {
        assert_eq!(told(used), "authentication_failure/used_code");
    }
    home.run(&["unlock", "alice"], "").ok();
    assert_eq!(told(HOTP[6]), "accept");
    let shown: Value = serde_json::from_str(&home.run(&["show", "alice", "--json"], "").ok().stdout).unwrap();
    let one = shown.pointer("/authenticators/0").unwrap();
    assert_eq!((&one["kind"], &one["last_step"]), (&json!("hotp"), &json!(6)));
}

#[test]
fn two_codes_in_a_row_bring_a_token_back_that_is_far_ahead() {
    let home = token("look_ahead = 2\nresync_window = 8\n");
    let mut dialogue = Dialogue::new(&home);
    assert!(dialogue.prompt(Some(HOTP[5])).starts_with("Type the next code"));
    assert_eq!(dialogue.say(Some(HOTP[7])).code(), "wrong_code", "not the next one");

    let mut dialogue = Dialogue::new(&home);
    dialogue.prompt(Some(HOTP[5]));
    let answer = dialogue.say(Some(HOTP[6]));
    assert!(answer.verdict() == "accept" && answer.factor.as_deref() == Some("hotp"), "{answer:?}");
    assert!(answer.reason().contains("two codes in a row"), "{answer:?}");
    assert_eq!(Dialogue::new(&home).say(Some(HOTP[6])).code(), "used_code");
    assert_eq!(Dialogue::new(&home).say(Some(HOTP[7])).verdict(), "accept");
}

#[test]
fn what_lies_beyond_the_window_is_wrong() {
    let home = token("look_ahead = 1\nresync_window = 3\n");
    assert_eq!(Dialogue::new(&home).say(Some(HOTP[4])).code(), "wrong_code");
    assert_eq!(Dialogue::new(&home).say(Some("12345")).code(), "malformed_code");
    assert_eq!(
        home.ask_one(&request(9, "nobody", json!({"key_value_pairs": {"otp": HOTP[0]}}))).code(),
        "not_enrolled"
    );
}

#[test]
fn what_a_service_verifies_has_a_label_and_can_be_the_default() {
    let (home, phone, _) = two();
    home.set("plugin", "clients", "totp, fixed");
    home.append("[fixed]\ncode = canary-1\n[debug]\nallow_insecure = yes\n");
    home.keep("plugin.ini", &std::fs::read_to_string(home.ini()).unwrap());
    let enroll = |more: &[&str]| home.run(&[&["enroll", "alice", "--client", "fixed"], more].concat(), "");
    let done = enroll(&["--qr", "terminal"]);
    assert!(done.status == Some(64) && done.stderr.contains("fixed enrols its users itself"), "{done:?}");
    assert!(enroll(&["--label", "rehearsal"]).ok().stdout.starts_with("alice has \"rehearsal\""));
    let done = enroll(&[]);
    assert!(done.status == Some(65) && done.stderr.contains("noted for alice already, as \"rehearsal\""), "{done:?}");

    assert!(Dialogue::new(&home).prompt(Some("?")).contains("\n  3  rehearsal\n"));
    home.run(&["authenticator", "default", "alice", "rehearsal", "--override-reason", "as asked"], "").ok();
    assert_eq!(Dialogue::new(&home).say(Some("canary-1")).told(), "accept");
    let mut dialogue = Dialogue::new(&home);
    assert!(dialogue.prompt(Some("?")).contains("rehearsal (default)"));
    dialogue.prompt(Some("1"));
    assert_eq!(dialogue.say(Some(&phone.code_at(NOW, 0))).told(), "accept");
    let refused = home.run(&["authenticator", "disable", "alice", "rehearsal", "--override-reason", "lost"], "");
    assert!(refused.status == Some(65) && refused.stderr.contains("disable it there"), "{refused:?}");
    home.run(&["keys", "verify"], "").ok();
    home.run(&["authenticator", "remove", "alice", "--all", "--override-reason", "left"], "").ok();
}

/// A service that nobody answers for, in whose place codes of a token are taken.
const AWAY: &str = "[http corp]\nurl = http://127.0.0.1:1/\nallow_insecure_http = yes\non_unreachable = client:hotp\n\
    [http corp otp]\nrequest = POST /otp\njson = {\"user\": \"{user}\", \"code\": \"{otp}\"}\nsuccess = /ok = true\nfailure = /ok = false\n\
    [http corp push_start]\nrequest = POST /push\njson = {\"user\": \"{user}\"}\npending = /ok = true\nfailure = /ok = false\n\
    [http corp push_poll]\nrequest = POST /poll\njson = {\"id\": \"{user}\"}\nsuccess = /ok = true\npending = /ok = 1\nfailure = /ok = false\n";

#[test]
fn guesses_at_a_token_that_stands_in_for_a_service_are_limited_as_any() {
    let home = token("");
    home.set("plugin", "clients", "http corp, hotp");
    home.append(AWAY);
    let ask = |session: u64, typed: &str, cookie: Option<&str>| {
        let more = json!({"session_id": session.to_string(), "key_value_pairs": {"otp": typed}, "cookie": cookie});
        home.ask_one(&request(session, "alice", more))
    };
    let mut heard = 0;
    for session in 0..10 {
        let question = ask(session, "", None);
        for _ in 0..3 {
            heard += usize::from(ask(session, "000000", question.cookie.as_deref()).code() == "wrong_code");
        }
    }
    // Those before waits begin, and no more.
    assert_eq!(heard, 6);
}

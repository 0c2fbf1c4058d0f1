//! What `countersign enroll` shows and writes: QR codes that other programs read, the page, JSON; and what is left of an
//! enrolment that somebody killed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, in its helpers too"
)]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

#[path = "enrolment/browser.rs"]
mod browser;
#[path = "enrolment/codes.rs"]
mod codes;
#[path = "enrolment/files.rs"]
mod files;
#[path = "enrolment/killed.rs"]
mod killed;
#[path = "enrolment/page.rs"]
mod page;

use std::process::{Command, Stdio};

use rig::services::skip;
use rig::{Finished, Home, Phone, attempt};
use serde::Deserialize;

/// A moment in the middle of a time step.
const NOW: u64 = 1_800_000_015;

/// What `enroll --json` and `enroll show --json` print.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    user: String,
    label: String,
    challenge: String,
    uri: String,
    secret: String,
    qr: Option<String>,
    expires: u64,
    recovery_codes: Vec<String>,
}

impl Pending {
    fn phone(&self) -> Phone {
        Phone::with_secret(&self.secret)
    }
}

#[track_caller]
fn enroll(home: &Home, arguments: &[&str]) -> Pending {
    let arguments: Vec<&str> = ["enroll", "--json"].iter().chain(arguments).copied().collect();
    parse(&home.run(&arguments, "").ok().stdout)
}

#[track_caller]
fn parse(text: &str) -> Pending {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn show(home: &Home, challenge: &str) -> Finished {
    home.run(&["enroll", "show", challenge, "--json"], "")
}

fn confirm(home: &Home, challenge: &str, code: &str) -> Finished {
    home.run(&["enroll", "confirm", challenge], code)
}

fn enrolled(home: &Home) -> usize {
    let list: Vec<serde_json::Value> = serde_json::from_str(&home.run(&["list", "--json"], "").ok().stdout).unwrap();
    // Recovery codes come with everybody's first.
    list.iter().filter(|one| one["client"] != "recovery").count()
}

/// It was refused with this status, nothing was printed, and one line tells why.
#[track_caller]
fn refused(done: &Finished, status: i32) -> &str {
    assert_eq!((done.status, done.stdout.as_str()), (Some(status), ""), "{done:?}");
    let line = done.stderr.strip_suffix('\n').unwrap();
    assert!(!line.is_empty() && !line.contains('\n'), "{done:?}");
    line
}

/// Whether each of these programs is there; else the test is skipped, or fails where nothing may be.
fn are_there(programs: &[(&str, &str)]) -> bool {
    programs.iter().all(|(program, package)| {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        found || skip::<()>(&format!("skipped: {program} is missing (Debian: {package})")).is_some()
    })
}

// ------------------------------------------------------------------------------------------------------------ the rest

#[test]
fn digits_are_taken_as_people_type_them() {
    let home = Home::init();
    home.set_clock(NOW);
    for (index, user) in ["wide", "spaced", "dashed", "long dashes", "unseen"].into_iter().enumerate() {
        let pending = enroll(&home, &[user]);
        let code = pending.phone().code_at(NOW, 0);
        let (first, rest) = code.split_at(3);
        let typed = [
            code.chars().map(|c| char::from_u32(u32::from(c) - 0x30 + 0xff10).unwrap()).collect(),
            format!("  {first} {rest}\t"),
            format!("{first}-{rest}"),
            format!("{first}\u{2013}{rest}\r"),
            format!("\u{feff}{first}\u{200b}{rest}"),
        ];
        confirm(&home, &pending.challenge, &typed[index]).ok();
        // The proof does not log in; the next code does.
        assert_eq!(home.ask_one(&attempt(1, user, &code)).told(), "authentication_failure/used_code", "{user}");
        let next = pending.phone().code_at(NOW, 1);
        assert_eq!(home.ask_one(&attempt(2, user, &next)).told(), "accept", "{user}");
    }
}

#[test]
fn how_long_an_enrolment_waits_and_for_how_many_codes_stands_in_plugin_ini() {
    let home = Home::init();
    home.set_clock(NOW);
    home.set("challenge", "lifetime", "60");
    home.set("challenge", "tries", "2");
    let (patient, hasty) = (enroll(&home, &["patient"]), enroll(&home, &["hasty"]));
    assert_eq!(patient.expires, NOW + 60);
    for left in [1, 0] {
        let done = confirm(&home, &hasty.challenge, &hasty.phone().wrong_code(NOW));
        assert!(refused_with_question(&done).ends_with(&format!("({left} tries left)")), "{done:?}");
    }
    let done = confirm(&home, &hasty.challenge, &hasty.phone().code_at(NOW, 0));
    assert!(refused_with_question(&done).contains("begin a new one"), "{done:?}");
    home.set_clock(NOW + 60);
    let done = confirm(&home, &patient.challenge, &patient.phone().code_at(NOW + 60, 0));
    assert!(refused(&done, 65).ends_with("has expired; begin a new one"), "{done:?}");
    assert_eq!(enrolled(&home), 0);
}

/// The one line that tells why, behind the question that was asked.
#[track_caller]
fn refused_with_question(done: &Finished) -> &str {
    assert_eq!(done.status, Some(65), "{done:?}");
    done.stderr.trim_end()
}

#[test]
fn the_log_says_who_was_shown_a_secret_and_not_which() {
    let home = Home::init();
    let pending = enroll(&home, &["alice", "--label", "phone"]);
    show(&home, &pending.challenge).ok();
    let code = pending.phone().fresh_code();
    confirm(&home, &pending.challenge, &code).ok();
    let log = home.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("administration")).collect();
    assert_eq!(lines.len(), 3, "{log}");
    for (line, action) in lines.iter().zip(["enrol_begin", "enrol_show", "enrol"]) {
        assert!(line.contains(&format!("action=\"{action}\"")), "{action}: {line}");
        assert!(line.contains("alice") && line.contains("phone"), "{line}");
    }
    assert!(!log.contains(&pending.secret) && !log.contains(&pending.challenge), "{log}");
}

#[test]
fn only_clients_that_verify_here_enrol_here() {
    let home = Home::init();
    assert_eq!(enroll(&home, &["alice", "--client", "totp"]).user, "alice");
    let by_counter = home.run(&["enroll", "bob", "--client", "hotp", "--json"], "");
    assert!(by_counter.stderr.starts_with("note: hotp is not in [plugin] clients"), "{by_counter:?}");
    assert!(parse(&by_counter.stdout).uri.starts_with("otpauth://hotp/"));
    let elsewhere = home.run(&["enroll", "alice", "--client", "duo"], "");
    assert!(refused(&elsewhere, 65).contains("duo is not in [plugin] clients"), "{elsewhere:?}");
    for client in ["recovery", "TOTP", "", "a\u{1b}b"] {
        let done = home.run(&["enroll", "alice", "--client", client], "");
        let line = refused(&done, 64);
        assert!(line.contains("or notify NAME, found") && !line.contains('\u{1b}'), "{line}");
    }
}

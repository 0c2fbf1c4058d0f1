//! What becomes of an authenticator that is enrolled: asked first, renamed, disabled, removed, each for a reason.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use rig::{Finished, Home, Phone, attempt};
use serde_json::Value;

/// A moment in the middle of a time step; what happens there does not depend on when the test runs.
const NOW: u64 = 1_800_000_015;

/// Alice with a phone and a token.
fn two() -> (Home, Phone, Phone) {
    let (phone, token) = (Phone::new(1), Phone::new(2));
    let home = Home::init();
    home.set_clock(NOW);
    home.run(&["import", "uri", "--user", "alice", "--label", "phone"], phone.uri("alice")).ok();
    home.run(&["import", "uri", "--user", "alice", "--label", "token"], token.uri("alice")).ok();
    (home, phone, token)
}

fn shown(home: &Home, user: &str) -> Value {
    serde_json::from_str(&home.run(&["show", user, "--json"], "").ok().stdout).unwrap()
}

/// What alice holds, by label: whether it is the default, and whether it is disabled.
fn held(home: &Home) -> Vec<(String, bool, bool)> {
    let shown = shown(home, "alice");
    let one = |one: &Value| {
        let label = one["label"].as_str().unwrap().to_owned();
        (label, one["default"].as_bool().unwrap(), one["disabled"].as_bool().unwrap())
    };
    let mut held: Vec<_> = shown["authenticators"].as_array().unwrap().iter().map(one).collect();
    held.sort();
    held
}

/// It was refused with this status and one line, and nothing was printed.
#[track_caller]
fn refused(done: &Finished, status: i32) -> &str {
    assert_eq!((done.status, done.stdout.as_str()), (Some(status), ""), "{done:?}");
    let line = done.stderr.strip_suffix('\n').unwrap();
    assert!(!line.is_empty() && !line.contains('\n'), "{done:?}");
    line
}

#[test]
fn what_takes_something_away_takes_a_current_code_or_a_reason() {
    let (home, phone, _) = two();
    for command in [
        &["authenticator", "disable", "alice", "token"][..],
        &["authenticator", "default", "alice", "token"],
        &["authenticator", "remove", "alice", "--all"],
        &["remove", "alice", "--all"],
    ] {
        let line = refused(&home.run(command, ""), 77).to_owned();
        assert!(line.contains("--override-reason"), "{line}");
        let line = refused(&home.run(command, phone.wrong_code(NOW)), 77).to_owned();
        assert!(line.ends_with("nothing was changed"), "{line}");
        let silent: Vec<&str> = command.iter().copied().chain(["--override-reason", " "]).collect();
        refused(&home.run(&silent, ""), 65);
        assert_eq!(held(&home), [("phone".into(), false, false), ("token".into(), false, false)]);
    }
    home.run(&["unlock", "alice"], "").ok();
    let code = phone.code_at(NOW, 0);
    home.run(&["authenticator", "disable", "alice", "token"], &code).ok();
    assert_eq!(held(&home), [("phone".into(), false, false), ("token".into(), false, true)]);
    let line = refused(&home.run(&["remove", "alice", "--all"], &code), 77).to_owned();
    assert!(line.contains("was used before"), "the code that justified it is used: {line}");
    assert_eq!(home.ask_one(&attempt(1, "alice", &code)).code(), "used_code");
}

#[test]
fn guesses_at_the_code_are_counted_with_those_at_the_login() {
    let (home, phone, _) = two();
    for _ in 0..6 {
        refused(&home.run(&["remove", "alice", "--all"], phone.wrong_code(NOW)), 77);
    }
    let done = home.run(&["remove", "alice", "--all"], phone.code_at(NOW, 0));
    assert!(refused(&done, 77).contains("too many failures"));
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.code_at(NOW, 0))).code(), "throttled");
}

#[test]
fn what_is_disabled_proves_nothing_until_it_is_enabled() {
    let (home, phone, token) = two();
    let told = |id: u64, phone: &Phone, offset| home.ask_one(&attempt(id, "alice", &phone.code_at(NOW, offset))).told();
    let why = ["--override-reason", "lost"];
    let set = |word: &str| home.run(&["authenticator", word, "alice", "token", why[0], why[1]], "").ok();
    set("disable");
    assert_eq!(
        (told(1, &token, -1), told(2, &phone, -1)),
        ("authentication_failure/wrong_code".into(), "accept".into())
    );
    assert!(set("disable").stdout.contains("was disabled before"));
    let done = home.run(&["authenticator", "default", "alice", "token", why[0], why[1]], "");
    assert!(refused(&done, 65).contains("enable it first"));
    set("enable");
    assert_eq!(told(3, &token, 0), "accept");

    home.run(&["authenticator", "disable", "alice", "phone", why[0], why[1]], "").ok();
    set("disable");
    assert_eq!(told(4, &token, 1), "authentication_failure/not_enrolled");
    let done = home.run(&["authenticator", "enable", "alice", "token"], token.code_at(NOW, 1));
    assert!(refused(&done, 77).contains("--override-reason"), "nothing is left that proves anything");
}

#[test]
fn a_label_is_one_of_its_own() {
    let (home, ..) = two();
    let rename = |which: &str, label: &str| home.run(&["authenticator", "rename", "alice", which, label], "");
    assert!(refused(&rename("phone", "token"), 65).contains("choose another label"));
    for label in ["", " ", "a\u{202e}b", &"x".repeat(65)] {
        assert!(refused(&rename("phone", label), 65).contains("the label"));
    }
    assert!(refused(&rename("nothing", "x"), 65).contains("countersign show lists them"));
    rename("phone", "old phone").ok();
    assert_eq!(held(&home)[0].0, "old phone");
}

#[test]
fn one_authenticator_is_the_default() {
    let (home, ..) = two();
    for (which, expected) in [("phone", [true, false]), ("token", [false, true])] {
        home.run(&["authenticator", "default", "alice", which, "--override-reason", "as asked"], "").ok();
        assert_eq!(held(&home).iter().map(|(_, default, _)| *default).collect::<Vec<_>>(), expected);
    }
    home.run(&["authenticator", "disable", "alice", "token", "--override-reason", "lost"], "").ok();
    assert!(held(&home).iter().all(|(_, default, _)| !default), "what is disabled is no default");
}

#[test]
fn what_was_removed_leaves_a_date_and_a_reason_and_no_secret() {
    let (home, phone, token) = two();
    home.run(&["remove", "alice", "--all", "--override-reason", "left the company"], "").ok();
    let shown = shown(&home, "alice");
    let removed = shown["removed"].as_array().unwrap();
    assert_eq!(removed.len(), 2);
    for one in removed {
        assert_eq!(one["removed"], "2027-01-15T08:00:15Z");
        assert_eq!(one["reason"], "override: left the company");
    }
    let text = home.run(&["show", "alice"], "").ok().stdout;
    assert!(text.contains("removed \"phone\"") && text.contains("left the company"), "{text}");
    let mut store = Vec::new();
    for entry in std::fs::read_dir(home.store()).unwrap() {
        store.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    for phone in [&phone, &token] {
        let secret = phone.secret();
        assert!(!store.windows(secret.len()).any(|part| part == secret.as_bytes()), "in the store");
    }
}

#[test]
fn what_an_administrator_does_is_in_the_log() {
    let (home, ..) = two();
    home.run(&["authenticator", "disable", "alice", "token", "--override-reason", "lost\nverdict=accept"], "").ok();
    home.run(&["remove", "alice", "--all", "--override-reason", "left"], "").ok();
    let log = home.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("action=")).collect();
    assert_eq!(lines.len(), 5, "{log}");
    let (imports, lines) = lines.split_at(2);
    assert!(imports.iter().all(|line| line.contains("action=\"import\" subscriber=\"alice\"")), "{log}");
    assert!(lines[0].contains("action=\"disable\" subscriber=\"alice\""), "{log}");
    assert!(lines[0].contains("grounds=\"override: lost<U+000A>verdict=accept\""), "{log}");
    assert!(lines[1..].iter().all(|line| line.contains("action=\"remove\"") && line.contains("override: left")));
}

#[test]
fn the_list_shows_those_that_are_asked_for() {
    let (home, ..) = two();
    home.import("bob", &Phone::new(3));
    home.run(&["authenticator", "disable", "alice", "token", "--override-reason", "lost"], "").ok();
    let count = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["list", "--json"].iter().chain(arguments).copied().collect();
        serde_json::from_str::<Vec<Value>>(&home.run(&arguments, "").ok().stdout).unwrap().len()
    };
    assert_eq!(count(&[]), 3);
    assert_eq!(count(&["--user", "ALICE"]), 2);
    assert_eq!(count(&["--state", "disabled"]), 1);
    assert_eq!(count(&["--state", "active", "--client", "totp"]), 2);
    assert_eq!(count(&["--client", "hotp"]), 0);
}

#[test]
fn what_was_handed_out_for_a_lost_authenticator_goes_with_it() {
    let home = Home::with(&[("alice", &Phone::new(1))]);
    home.set_clock(NOW);
    home.run(&["recovery", "generate", "alice"], "").ok();
    home.run(&["bypass", "alice", "--reason", "lost phone"], "").ok();
    let default = home.run(&["authenticator", "default", "alice", "recovery codes", "--override-reason", "x"], "");
    assert!(refused(&default, 65).contains("taken at any prompt"), "{default:?}");
    let id = held_id(&home, "authenticator");
    let done = home.run(&["remove", "alice", "--id", &id, "--override-reason", "lost"], "").ok();
    assert!(done.stdout.contains("alice can still log in with codes that were handed out"), "{done:?}");
    home.import("alice", &Phone::new(2));
    home.run(&["remove", "alice", "--override-reason", "left"], "").ok();
    assert!(held(&home).is_empty());
}

fn held_id(home: &Home, label: &str) -> String {
    let list: Vec<Value> = serde_json::from_str(&home.run(&["list", "--json"], "").ok().stdout).unwrap();
    let one = list.iter().find(|one| one["label"] == label).unwrap();
    one["id"].as_str().unwrap().to_owned()
}

//! Verdicts that take their time: given by the process that outlives the one that the server started.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use super::super::rig::Home;
use super::super::rig::faults::Refused;
use super::super::rig::okta::{Okta, configure};
use super::{Server, wait_until};

#[test]
fn a_push_is_answered_when_the_phone_is() {
    let okta = Okta::start();
    let server = Server::new(okta.home("number_challenge = no"), "");
    for (user, pressed, lets_in) in [("alice", "SUCCESS", true), ("bob", "REJECTED", false)] {
        let waiting = server.verify(user, "");
        assert_eq!((waiting.status, waiting.control().as_str()), (2, ""), "{user}");
        okta.press(user, pressed);
        assert_eq!(waiting.ends_late(), lets_in, "{user}");
        assert_eq!(waiting.reason().is_empty(), lets_in, "{user}");
    }
    // An answer of blanks is an empty one: some clients send no other.
    server.home.append("append_otp = ,\n");
    okta.press("alice", "WAITING");
    // On a machine that is busy, the question comes too late for that way, and goes the other.
    let mut asked = server.verify_with("alice", "a password", "crtext");
    wait_until(|| {
        if asked.pending.is_empty() {
            assert!(!asked.ends());
            asked = server.verify_with("alice", "a password", "crtext");
        }
        !asked.pending.is_empty()
    });
    let waiting = server.respond(asked.number, " ");
    assert_eq!(waiting.status, 0);
    okta.press("alice", "SUCCESS");
    assert!(waiting.ends_late());
}

#[test]
fn a_verdict_of_a_service_comes_one_way_or_the_other() {
    let okta = Okta::start();
    let server = Server::new(okta.home(""), "field = code");
    for _ in 0..10 {
        assert!(server.verify("alice", "123456").ends());
        let rejected = server.verify("alice", "000000");
        assert!(!rejected.ends());
        assert_eq!(rejected.reason(), "Authentication failed");
    }
}

#[test]
fn a_push_that_nobody_answers_ends_before_the_server_does() {
    let okta = Okta::start();
    let server = Server::new(okta.home("number_challenge = no"), "wait = 5");
    let waiting = server.verify("alice", "");
    assert_eq!(waiting.status, 2);
    assert!(!waiting.ends_late());
}

#[test]
fn a_login_that_the_server_gave_up_leaves_nothing() {
    let okta = Okta::start();
    let server = Server::new(okta.home("number_challenge = no"), "");
    let waiting = server.verify("alice", "");
    assert_eq!(waiting.status, 2);
    for kind in ["acf", "afr"] {
        fs::remove_file(server.file(kind, waiting.number)).unwrap();
    }
    okta.press("alice", "SUCCESS");
    wait_until(|| server.home.log().contains("accept"));
    // The next one is through when this one has written, or not.
    assert!(server.verify("bob", "123456").ends());
    assert!(!waiting.control.exists());
}

#[test]
fn a_service_that_is_away_may_come_back() {
    for (options, reason) in [
        ("on_error = tempfail", "TEMP[backoff 15,advance no]:The authentication service cannot be reached"),
        ("on_error = reject", "The authentication service cannot be reached"),
    ] {
        let (home, refused) = (Home::init(), Refused::new());
        configure(&home, &format!("http://{}", refused.host()), "");
        let server = Server::new(home, options);
        let rejected = server.verify("alice", "123456");
        assert!(!rejected.ends());
        assert_eq!(rejected.reason(), reason);
    }
}

#[test]
fn a_process_that_is_killed_lets_nobody_in() {
    let okta = Okta::start();
    let server = Server::new(okta.home("number_challenge = no"), "");
    let waiting = server.verify("alice", "");
    assert_eq!(waiting.status, 2);
    let path = server.file("up", waiting.number);
    let is_one = |pid: &str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|b| *b == 0);
        words.any(|word| word == b"--detached") && words.any(|word| word == path.as_os_str().as_bytes())
    };
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    let pid = processes.filter_map(|name| name.into_string().ok()).find(|name| is_one(name)).expect("a process");
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    wait_until(|| !is_one(&pid));
    okta.press("alice", "SUCCESS");
    assert_eq!((waiting.control().as_str(), waiting.reason().as_str()), ("", ""));
}

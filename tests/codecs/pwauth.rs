//! pwauth (docs/gateways/apache.md).

use std::fs;

use crate::once::{gateway, home, hostile, leaks, script};
use crate::rig::okta::Okta;
use crate::rig::{Home, Phone, finish, now};

/// The status for `name` and `password`; nothing is written.
fn status(home: &Home, options: &[&str], name: &[u8], password: &[u8]) -> i32 {
    let input = [name, b"\n", password, b"\n"].concat();
    let finished = finish(gateway(home, "pwauth", options).env("IP", "192.0.2.7").env("URI", "/"), &input);
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("", ""));
    finished.status.unwrap()
}

#[test]
fn a_right_code_is_status_0_once() {
    let (home, phone) = (home(), Phone::new(1));
    let code = phone.fresh_code();
    assert_eq!(status(&home, &[], b"alice", phone.wrong_code(now()).as_bytes()), 2);
    assert_eq!(status(&home, &[], b"alice", code.as_bytes()), 0, "{}", home.log());
    assert_eq!(status(&home, &[], b"alice", code.as_bytes()), 2);
    assert!(home.log().contains("192.0.2.7"), "{}", home.log());
}

#[test]
fn password_and_code_come_in_one_field() {
    let (home, phone) = (home(), Phone::new(1));
    let seen = home.dir().join("seen");
    let checker = format!(
        "#!/bin/sh\nread -r user; read -r password\n[ \"$user $password\" = 'alice a,b \"' ] && >{}\n",
        seen.display()
    );
    let checker = script(&home, "checker", &checker);
    home.append(&format!("[gateway pwauth]\nappend_otp = ,\nfirst_factor = pwauth:{}\n", checker.display()));
    let (code, wrong) = (phone.fresh_code(), phone.wrong_code(now()));
    assert_eq!(status(&home, &[], b"alice", format!("a,c \",{code}").as_bytes()), 2);
    assert_eq!(status(&home, &[], b"alice", code.as_bytes()), 2);
    assert!(!seen.exists());
    assert_eq!(status(&home, &[], b"alice", format!("a,b \",{wrong}").as_bytes()), 2);
    assert!(seen.exists());
    assert_eq!(status(&home, &[], b"alice", format!("a,b \",{code}").as_bytes()), 0, "{}", home.log());
}

#[test]
fn whoever_would_be_asked_is_pushed_to_or_rejected() {
    let okta = Okta::start();
    let home = okta.home("");
    okta.press("alice", "SUCCESS");
    assert_eq!(status(&home, &[], b"alice", b""), 0, "{}", home.log());
    home.append("[question_1]\nkey = ticket\nprompt = Ticket number:\ndisable_echo = no\n");
    assert_ne!(status(&home, &["--wait", "5"], b"alice", b""), 0, "nobody can be asked for a ticket");
}

#[test]
fn lines_that_are_missing_are_rejected() {
    let home = home();
    let code = Phone::new(1).fresh_code();
    for input in
        ["".to_owned(), "alice".into(), format!("alice {code}"), format!("\n{code}\n"), format!("\nalice\n{code}\n")]
    {
        assert_eq!(finish(&mut gateway(&home, "pwauth", &[]), input.as_bytes()).status, Some(2), "{input:?}");
    }
}

#[test]
fn hostile_names_and_passwords_are_rejected_and_not_logged() {
    let home = home();
    home.set("logging", "level", "debug");
    for text in hostile() {
        assert_eq!(status(&home, &[], &text, b"123456"), 2, "{text:?}");
        assert_eq!(status(&home, &[], &[&text[..], b"\0"].concat(), b"123456"), 2, "{text:?}");
    }
    fs::write(home.log_path(), "").unwrap();
    home.set("throttle", "failures", "100");
    for text in hostile() {
        assert_eq!(status(&home, &[], b"alice", &text), 2, "{text:?}");
        assert_eq!(status(&home, &[], b"alice", &[&text[..], b"\0x"].concat()), 2, "{text:?}");
    }
    assert!(!leaks(&home, "canary"), "{}", home.log());
    assert!(!home.log().is_empty());
}

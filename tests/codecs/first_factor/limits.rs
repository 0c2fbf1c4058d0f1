//! How often a password is looked at, by how many programs at once, and under whom.

use std::fs;
use std::process::Command;

use super::super::rig::{Finished, Home, Phone, finish};
use super::{NOW, home, logged, told};

/// A home of nobody, where the script `check` of the home is asked for as long as it takes.
fn crowd() -> Home {
    let home = Home::init();
    let script = home.dir().join("check");
    home.append(&format!(
        "[gateway squid-basic]\nappend_otp = ,\nwait = 120\nfirst_factor = squid:/bin/sh {}\n",
        script.display()
    ));
    home
}

#[test]
fn wrong_passwords_are_counted_until_somebody_unlocks() {
    let (home, phone) = home("squid");
    home.import("bob", &Phone::new(2));
    let right = format!("pw,{}", phone.code_at(NOW, 0));
    // What nobody knows to be wrong is not counted.
    for _ in 0..8 {
        assert_eq!(told(&home, "exit 0", "alice", &right), "BH");
        assert_eq!(logged(&home), "first_factor_failed");
    }
    // Five are free, and the wait begins with the next one.
    for _ in 0..6 {
        assert_eq!(told(&home, "echo ERR", "Alice", "pw"), "ERR");
        assert_eq!(logged(&home), "wrong_password");
    }
    let ran = home.dir().join("ran");
    let yes = format!("touch {}; echo OK", ran.display());
    for typed in [right.as_str(), "pw", "other"] {
        assert_eq!(told(&home, &yes, "alice", typed), "ERR");
        assert_eq!(logged(&home), "throttled");
    }
    assert!(!ran.exists(), "the program was asked");
    // Another one is heard.
    assert_eq!(told(&home, "echo OK", "bob", &format!("pw,{}", Phone::new(2).code_at(NOW, 0))), "OK");
    home.run(&["unlock", "alice"], "").ok();
    assert_eq!(told(&home, &yes, "alice", &right), "OK");
    assert!(ran.exists());
}

#[test]
fn wrong_passwords_of_one_address_are_counted_whoever_they_are_for() {
    let (home, _) = home("squid");
    home.set("throttle", "source_failures", "3");
    for user in ["a", "b", "c", "d"] {
        told(&home, "echo ERR", user, "pw 192.0.2.7");
        assert_eq!(logged(&home), "wrong_password", "{user}");
    }
    told(&home, "echo OK", "e", "pw 192.0.2.7");
    assert_eq!(logged(&home), "throttled");
    told(&home, "echo ERR", "e", "pw 192.0.2.8");
    assert_eq!(logged(&home), "wrong_password");
}

#[test]
fn a_crowd_is_not_as_many_programs() {
    let home = crowd();
    let (at_once, seen) = (home.dir().join("at-once"), home.dir().join("seen"));
    fs::create_dir(&at_once).unwrap();
    let (at_once, seen) = (at_once.display(), seen.display());
    home.keep(
        "check",
        &format!(
            "read -r line; touch {at_once}/$$; sleep 0.5; ls {at_once} | wc -l >> {seen}; rm {at_once}/$$; echo ERR"
        ),
    );
    let lines: String = (1..=50).map(|number| format!("{number} user{number} pw\n")).collect();
    let Finished { status, stdout, stderr } = home.run(&["gateway", "squid-basic", "--concurrent"], lines);
    assert_eq!((status, stderr.as_str(), stdout.lines().count()), (Some(0), "", 50));
    assert_eq!(home.log().matches("code=\"wrong_password\"").count(), 50);
    let seen = fs::read_to_string(seen.to_string()).unwrap();
    let seen: Vec<u32> = seen.lines().map(|line| line.trim().parse().unwrap()).collect();
    let most = seen.iter().max().unwrap();
    assert!(seen.len() == 50 && (2..=16).contains(most), "{seen:?}");
}

#[test]
fn a_crowd_of_guesses_for_one_is_not_looked_at() {
    let home = crowd();
    home.keep("check", "read -r line; sleep 0.2; echo ERR");
    let lines: String = (1..=60).map(|number| format!("{number} alice pw{number}\n")).collect();
    home.run(&["gateway", "squid-basic", "--concurrent"], lines).ok();
    let log = home.log();
    let looked_at = log.matches("code=\"wrong_password\"").count();
    // Those that ran when the last free one was counted, and no more.
    assert!((6..=6 + 15).contains(&looked_at), "{looked_at}");
    assert_eq!(log.matches("code=\"throttled\"").count(), 60 - looked_at);
}

#[test]
fn a_server_that_ignores_its_children_does_no_harm() {
    let (home, phone) = home("squid");
    home.keep("check", "read -r line; sleep 0.2; echo OK");
    let plain = home.command(&["gateway", "squid-basic"]);
    let mut command = Command::new("env");
    command.env("PATH", "/usr/bin:/bin").arg("--ignore-signal=CHLD").arg(plain.get_program()).args(plain.get_args());
    let told = finish(&mut command, format!("alice pw,{}\n", phone.code_at(NOW, 0)).as_bytes()).ok().stdout;
    assert!(told.starts_with("OK "), "{told}: {}", home.log());
}

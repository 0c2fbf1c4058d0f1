//! Codes that never change: refused, unless a test says so, and then loud.

use serde_json::json;

use crate::rig::{Home, attempt, request};

fn home(fixed: &str) -> Home {
    let home = Home::init();
    home.set("plugin", "clients", "fixed");
    home.append(fixed);
    home.keep("plugin.ini", &std::fs::read_to_string(home.ini()).unwrap());
    home
}

#[test]
fn fixed_codes_are_refused_where_nobody_says_that_this_is_a_test() {
    for more in ["", "[debug]\n", "[debug]\nallow_insecure = no\n"] {
        let home = home(&format!("[fixed]\ncode = canary-1\n{more}"));
        for command in ["serve", "check"] {
            let ended = home.run(&[command], "");
            assert_eq!((ended.status, ended.stdout.as_str()), (Some(78), ""), "{more}");
            assert!(ended.stderr.contains("[fixed]: its codes let in anybody who knows them"), "{}", ended.stderr);
            assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
        }
    }
}

#[test]
fn fixed_codes_are_loud_at_every_start_and_every_use() {
    let home = home("[fixed]\ncode = canary-1\ncodes = bob:canary-2\n[debug]\nallow_insecure = yes\n");
    let said = home.run(&["check"], "").ok();
    assert!(said.stdout.contains("warning: ") && said.stdout.contains("[fixed]: INSECURE"), "{}", said.stdout);
    for (user, code, told) in [
        ("alice", "canary-1", "accept"),
        ("bob", "canary-2", "accept"),
        ("bob", "canary-1", "authentication_failure/wrong_code"),
        ("alice", "canary-2", "authentication_failure/wrong_code"),
        ("alice", "canary", "authentication_failure/wrong_code"),
    ] {
        let answer = home.ask_one(&attempt(1, user, code));
        assert_eq!(answer.told(), told, "{user} {code}");
        assert!(answer.verdict() != "accept" || answer.factor.as_deref() == Some("fixed"), "{answer:?}");
    }
    assert_eq!(home.ask_one(&request(1, "alice", json!({}))).told(), "need_info");
    let log = home.log();
    let loud = |text: &str| log.lines().filter(|line| line.contains(" WARN ") && line.contains(text)).count();
    assert_eq!((loud("[fixed]: INSECURE"), loud("INSECURE: a fixed code is compared")), (6, 5), "{log}");
    assert!(!log.contains("canary"), "{log}");
}

#[test]
fn fixed_codes_are_loud_where_they_only_stand_in_for_a_service() {
    let home = home("[fixed]\ncode = canary-1\n[debug]\nallow_insecure = yes\n");
    home.set("plugin", "clients", "totp");
    let said = home.run(&["check"], "");
    assert!(format!("{said:?}").contains("[fixed]: INSECURE"), "{said:?}");
}

#[test]
fn the_code_of_nobody_in_particular_is_not_everybody_s() {
    let home = home("[fixed]\ncodes = bob:canary-2\n[debug]\nallow_insecure = yes\n");
    assert_eq!(home.ask_one(&attempt(1, "alice", "canary-2")).code(), "not_enrolled");
}

#[test]
fn a_file_with_a_fixed_code_is_read_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let home = home("[fixed]\ncode = canary-1\n[debug]\nallow_insecure = yes\n");
    std::fs::set_permissions(home.ini(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let ended = home.run(&["check"], "");
    assert!(ended.status == Some(78) && ended.stderr.contains("chmod"), "{ended:?}");
}

//! Names made to deceive, processes that die, and the command line itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::rig::Gateway;
use crate::{Dict, NOW, STEP, alice, arguments, ask, call, refused};

/// Every file and directory below `path`.
fn tree(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}

#[test]
fn a_hostile_name_gets_one_verdict_and_leaves_nothing_behind() {
    let (home, phone) = alice();
    let root = home.dir().parent().unwrap().to_owned();
    let before: BTreeSet<_> = tree(&root).into_iter().filter(|path| !path.starts_with(home.store())).collect();
    let long = "x".repeat(300);
    for name in [
        "../x",
        "a/b",
        "x/../alice",
        &long,
        "alice\n2026-01-01T00:00:00Z INFO verdict verdict=\"accept\"",
        "\u{202e}ecila",
        "al\u{200b}ice",
        "ali\u{2028}ce",
        "'; drop table authenticators; --",
        "\u{1b}[2Jalice",
        "{\"verdict\":\"ACCEPT\"}",
    ] {
        for place in ["gateway_user", "server_username", "gu", "username"] {
            let mut arguments = arguments("authenticate", json!({"gateway_user": null, "server_username": null}));
            arguments["key_value_pairs"]["otp"] = phone.code(STEP).into();
            if ["gu", "username"].contains(&place) {
                arguments["key_value_pairs"][place] = name.into();
            } else {
                arguments[place] = name.into();
            }
            let dict = ask(&home, "authenticate", &arguments);
            // Too many failures of unknown users from one address are denied as well.
            assert_eq!((dict.verdict.as_str(), dict.reason()), ("DENY", "Authentication failed"), "{name:?}");
        }
    }
    let after: BTreeSet<_> = tree(&root).into_iter().filter(|path| !path.starts_with(home.store())).collect();
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
    let log = home.log();
    // The first is of the import.
    let mut lines = log.lines().skip(1);
    assert_eq!(lines.clone().count(), 11 * 4, "{log}");
    assert!(
        lines.all(|line| line.matches(" verdict=\"").count() == 1 && line.contains(" verdict=\"reject\"")),
        "{log}"
    );
    let deceives = |c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    assert!(!log.chars().any(|c| (c.is_control() && c != '\n') || deceives(c)), "{log}");
}

#[test]
fn a_name_that_holds_a_nul_is_denied_wherever_it_stands() {
    let (home, phone) = alice();
    for place in ["gateway_user", "server_username", "gu", "username"] {
        let mut arguments = arguments("authenticate", json!({"key_value_pairs": {"otp": phone.code(STEP)}}));
        let into = if ["gu", "username"].contains(&place) { &mut arguments["key_value_pairs"] } else { &mut arguments };
        into[place] = "alice\0".into();
        let why = refused(&ask(&home, "authenticate", &arguments));
        assert_eq!(why, format!("{place}: a user name cannot hold a NUL character"));
    }
}

#[test]
fn a_killed_process_says_nothing_and_the_next_one_goes_on() {
    let (home, phone) = alice();
    let arguments = arguments("authenticate", json!({"key_value_pairs": {"otp": phone.code(STEP)}}));
    let held = home.hold_store();
    let mut gateway = Gateway::spawn(&mut home.command(&["gateway", "sps"]));
    gateway.send(&call("authenticate", &arguments));
    gateway.kill();
    assert_eq!(gateway.line(), None);
    drop(held);
    assert_eq!(ask(&home, "authenticate", &arguments).verdict, "ACCEPT");
    assert_eq!(ask(&home, "authenticate", &arguments).verdict, "DENY", "a code is good once");
}

#[test]
fn one_code_sent_by_two_processes_at_once_is_accepted_once() {
    let (home, phone) = alice();
    let call = call("authenticate", &arguments("authenticate", json!({"key_value_pairs": {"otp": phone.code(STEP)}})));
    let mut gateways: Vec<_> = (0..4).map(|_| Gateway::spawn(&mut home.command(&["gateway", "sps"]))).collect();
    gateways.iter_mut().for_each(|gateway| gateway.send(&call));
    let verdicts = gateways.iter_mut().map(|gateway| {
        Dict::parse(std::str::from_utf8(&gateway.line().expect("a verdict")).unwrap().trim_end()).verdict
    });
    assert_eq!(verdicts.filter(|verdict| verdict == "ACCEPT").count(), 1);
}

#[test]
fn the_command_line_is_read_the_same_by_the_short_way_and_the_long() {
    let (home, _phone) = alice();
    let ini = home.ini().display().to_string();
    let input = format!("{}\n", call("session_ended", &arguments("session_ended", json!({}))));
    for arguments in [
        vec!["gateway", "sps", "--config", &ini],
        vec!["gateway", "--config", &ini, "sps"],
        vec!["--config", &ini, "gateway", "sps"],
        vec!["gateway", "sps", "--test-clock", &NOW.to_string(), "--config", &ini],
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
        let finished = crate::rig::finish(command.env_clear().args(&arguments), input.as_bytes()).ok();
        assert_eq!(finished.stdout, "null\n", "{arguments:?}");
    }
    for (arguments, status) in
        [(vec!["gateway", "spss", "--config", &ini], 64), (vec!["gateway", "sps", "--config", "/nowhere"], 78)]
    {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
        let finished = crate::rig::finish(command.env_clear().args(&arguments), input.as_bytes());
        assert_eq!((finished.status, finished.stdout.as_str()), (Some(status), ""), "{finished:?}");
        assert!(!finished.stderr.is_empty());
    }
}

//! Which descriptors a process has, and that there are no more of them after any number of requests.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::json;

use crate::rig::nobody::is_root;
use crate::rig::{Gateway, Home, Phone, attempt, request};

/// How many requests of each kind there are.
const EACH: usize = 1000;

/// How many are sent before their answers are read.
const AT_ONCE: usize = 100;

/// What each descriptor of a process is, and whether the programs that it starts get it.
fn inventory(pid: u32) -> BTreeMap<u32, (String, bool)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let path = entry.unwrap().path();
        let number: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(&path).unwrap().to_string_lossy().into_owned();
        let what =
            target.split_once(":[").filter(|_| !target.starts_with('/')).map_or(target.as_str(), |(kind, rest)| {
                if kind == "anon_inode" { rest.trim_end_matches(']') } else { kind }
            });
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let is_kept = u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 != 0;
        found.insert(number, (what.to_owned(), is_kept));
    }
    found
}

#[test]
fn no_descriptor_is_left_behind_and_none_goes_on_to_programs() {
    if !is_root() {
        println!("skipped: only root sees the descriptors of a process that is closed to its own user");
        return;
    }
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    for option in ["failures", "source_failures"] {
        home.set("throttle", option, "1000");
    }
    let script = "exec 7</dev/null; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_countersign"), "serve", "--config"]).arg(home.ini());
    let mut gateway = Gateway::spawn(&mut command);
    // Everything that is opened when it is needed first.
    let accept = gateway.ask(&attempt("first", "alice", &phone.fresh_code()));
    assert_eq!(accept.verdict(), "accept");
    let before = inventory(gateway.pid());
    let store = home.store();
    let expected = ["", "/countersign.db", "/countersign.db-wal", "/countersign.db-shm"];
    let files: Vec<String> = expected.iter().map(|name| format!("{}{name}", store.display())).collect();
    let log = home.log_path().display().to_string();
    for (number, (what, is_kept)) in &before {
        let is_known = ["pipe", "socket", "eventfd", "eventpoll", "/dev/null", "/dev/urandom"].contains(&what.as_str());
        assert!(is_known || files.contains(what) || *what == log, "{number} is {what}: {before:?}");
        assert_eq!(*is_kept, *number > 2, "{number} is {what}: {before:?}");
    }
    assert!(before.contains_key(&7), "what was inherited stays open: {before:?}");
    let cookie = accept.cookie();
    let kinds = [
        json!({"type": "hello"}),
        json!({"type": "cancel", "target": "none"}),
        json!({"type": "nothing"}),
        attempt("", "alice", "000000"),
        attempt("", "nobody", "123456"),
        request("", "alice", json!({})),
        json!({"type": "authorize", "cookie": cookie, "gateway_user": "alice", "session_id": "s", "protocol": "ssh"}),
        json!({"type": "session_ended", "cookie": cookie, "gateway_user": "alice", "session_id": "s"}),
        json!({"type": "challenge_request", "gateway_user": "alice", "purpose": "pay", "protocol": "ssh"}),
        json!({"type": "challenge_check", "challenge": "none"}),
        json!({"type": "challenge_use", "challenge": "none"}),
    ];
    for (kind, line) in kinds.iter().enumerate() {
        for batch in 0..EACH / AT_ONCE {
            let ids: Vec<_> = (0..AT_ONCE).map(|at| format!("{kind}.{batch}.{at}")).collect();
            for id in &ids {
                let mut line = line.clone();
                line["id"] = id.as_str().into();
                gateway.send(&line);
            }
            for id in ids {
                gateway.answer(id);
            }
        }
        assert_eq!(inventory(gateway.pid()), before, "after {EACH} of {line}");
    }
    println!("{} kinds, {EACH} requests of each; at the end:", kinds.len());
    for (number, (what, _)) in inventory(gateway.pid()) {
        println!("  {number} {what}");
    }
    let (_, finished) = gateway.end();
    assert_eq!(finished.status, Some(0), "{finished:?}");
}

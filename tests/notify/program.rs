//! The program that sends: what it is given, and what becomes of one that fails, hangs or is not there.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use serde_json::json;

use crate::rig::{PATIENCE, request};
use crate::stage::{NUMBER, Stage, login};

#[test]
fn a_program_gets_whole_arguments_and_nothing_from_the_environment() {
    let stage = Stage::new("");
    let seen = stage.home.dir().join("seen");
    let text = format!("exec > {}\nfor a in \"$@\"; do echo \"[$a]\"; done\n/usr/bin/env\n/bin/pwd\n", seen.display());
    let program = stage.program("show", &text);
    stage.home.set("notify sms", "command", &format!("{} --to {{target}}  {{origin}} end", program.display()));
    let more = json!({"server_hostname": "db1; touch x $(id) `id`", "session_id": "s1"});
    let mut command = stage.home.command(&["serve"]);
    command.env("CANARY", "in the environment of the gateway");
    let said = crate::rig::finish(&mut command, format!("{}\n", request(1, "alice", more)).as_bytes()).ok();
    assert!(said.stdout.contains("need_info"), "{}", said.stdout);
    let seen = fs::read_to_string(seen).unwrap();
    let expected =
        format!("[--to]\n[{NUMBER}]\n[a login as alice by ssh from 192.0.2.7 to db1??touch?x???id???id?]\n[end]\n");
    assert!(seen.starts_with(&expected), "{seen}");
    assert!(!seen.contains("CANARY") && seen.ends_with("/\n"), "{seen}");
}

#[test]
fn a_program_that_fails_is_a_communication_error() {
    let stage = Stage::new("");
    let program = stage.program("fail", "echo canary: $1\nexit 3");
    stage.home.set("notify sms", "command", &format!("{} {{target}}", program.display()));
    let failed = stage.home.ask_one(&login("alice"));
    assert_eq!(failed.told(), "communication_error/delivery_failed");
    assert!(failed.reason().contains("exit status: 3"), "{failed:?}");
    assert!(!stage.home.log().contains("canary"));
    stage.leaks_nothing(&[]);
}

#[test]
fn a_program_that_does_not_read_its_input_decides_by_its_status() {
    let stage = Stage::new("");
    for (text, told) in [("exec /bin/true", "need_info"), ("kill -9 $$", "communication_error/delivery_failed")] {
        let program = stage.program("deaf", text);
        stage.home.set("notify sms", "command", &program.display().to_string());
        assert_eq!(stage.home.ask_one(&login("alice")).told(), told);
    }
}

#[test]
fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let stage = Stage::new("timeout = 1\n");
    let pid = stage.home.dir().join("pid");
    let text = format!("/bin/sleep 1000 &\necho $! > {}\nwait", pid.display());
    let program = stage.program("hang", &text);
    stage.home.set("notify sms", "command", &program.display().to_string());
    let late = stage.home.ask_one(&login("alice"));
    assert_eq!(late.told(), "service_unreachable/read_timeout");
    gone(&fs::read_to_string(pid).unwrap());
}

#[test]
fn a_program_is_killed_when_the_gateway_goes() {
    let stage = Stage::new("");
    let pid = stage.home.dir().join("pid");
    let text = format!("/bin/sleep 1000 &\necho $! > {0}.new\n/bin/mv {0}.new {0}\nwait", pid.display());
    let program = stage.program("hang", &text);
    stage.home.set("notify sms", "command", &program.display().to_string());
    stage.home.set("notify sms", "timeout", "300");
    stage.home.set("plugin", "deadline", "300");
    let mut gateway = crate::rig::Gateway::start(&stage.home);
    gateway.send(&login("alice"));
    let started = Instant::now();
    while !pid.exists() {
        assert!(started.elapsed() < PATIENCE);
        thread::yield_now();
    }
    gateway.signal("TERM");
    let _ = gateway.wait();
    gone(&fs::read_to_string(pid).unwrap());
}

#[test]
fn a_program_that_is_not_there_is_told_as_ours() {
    let stage = Stage::new("");
    stage.home.set("notify sms", "command", "/nowhere/send {target}");
    let missing = stage.home.ask_one(&login("alice"));
    assert_eq!(missing.told(), "internal_error/client_unusable");
    let doctor = stage.home.run(&["doctor", "notify sms"], "");
    assert!(doctor.status == Some(1) && doctor.stdout.contains("/nowhere/send"), "{doctor:?}");
}

#[test]
fn the_doctor_runs_no_program() {
    let stage = Stage::new("");
    let said = stage.home.run(&["doctor", "notify sms"], "").ok();
    assert!(said.stdout.contains("can be run; it was not"), "{}", said.stdout);
    assert!(stage.messages().is_empty());
}

/// Waits until the process is no more, or only its remains are.
fn gone(pid: &str) {
    let status = format!("/proc/{}/stat", pid.trim());
    let started = Instant::now();
    while fs::read_to_string(Path::new(&status)).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(started.elapsed() < PATIENCE, "{pid} is still there");
        thread::yield_now();
    }
}

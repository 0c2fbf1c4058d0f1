//! checkpassword (docs/gateways/dovecot.md).

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::once::{home, hostile, leaks, script};
use crate::rig::{Finished, Home, PATIENCE, Phone, finish, now};

/// A run whose descriptor 3 is its standard input, with `variables`, and a program behind it that writes what it finds.
fn command(home: &Home, variables: &[(&str, &str)]) -> Command {
    let reply = home.dir().join("reply");
    if !reply.exists() {
        script(home, "reply", "#!/bin/sh\nprintf '%s\\n' \"arguments: $*\"\nenv\ncat /proc/self/cmdline\n");
    }
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "exec \"$@\" 3<&0 </dev/null",
        "sh",
        env!("CARGO_BIN_EXE_countersign"),
        "gateway",
        "checkpassword",
    ]);
    command.arg("--config").arg(home.ini()).arg(reply).args(["with", "arguments"]);
    command.env_clear().current_dir("/").envs([("SERVICE", "imap"), ("TCPREMOTEIP", "192.0.2.7")]);
    command.envs(variables.iter().copied());
    command
}

fn run(home: &Home, variables: &[(&str, &str)], name: &[u8], password: &[u8]) -> Finished {
    finish(&mut command(home, variables), &[name, b"\0", password, b"\0\0"].concat())
}

#[test]
fn a_right_code_runs_the_program_behind_once() {
    let (home, phone) = (home(), Phone::new(1));
    let code = phone.fresh_code();
    assert_eq!(run(&home, &[], b"alice", phone.wrong_code(now()).as_bytes()).status, Some(1));
    let Finished { status, stdout, stderr } = run(&home, &[], b"alice", code.as_bytes());
    assert_eq!((status, stderr.as_str()), (Some(0), ""), "{}", home.log());
    assert!(stdout.contains("arguments: with arguments\n") && stdout.contains("USER=alice\n"), "{stdout}");
    assert!(stdout.contains("SERVICE=imap\n") && !stdout.contains(&code), "{stdout}");
    assert!(home.log().contains("192.0.2.7"), "{}", home.log());
    let again = run(&home, &[], b"alice", code.as_bytes());
    assert_eq!((again.status, again.stdout.as_str()), (Some(1), ""));
}

#[test]
fn descriptor_3_may_be_a_socket() {
    let (home, phone) = (home(), Phone::new(1));
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut child = command(&home, &[]);
    let child = child.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::piped()).spawn().unwrap();
    ours.write_all(format!("alice\0{}\0\0", phone.fresh_code()).as_bytes()).unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("USER=alice\n"),
        "{}",
        home.log()
    );
}

#[test]
fn a_lookup_without_a_password_and_a_master_are_never_accepted() {
    let (home, phone) = (home(), Phone::new(1));
    // Somebody who needs no second factor.
    home.append("[whitelist source=user_list]\nname = exempt\n[user_list exempt]\nallow = no_user\nexcept = carol\n");
    let exempt = run(&home, &[], b"carol", b"");
    assert_eq!(exempt.status, Some(0), "{}", home.log());
    for (variables, expected) in [
        (&[("AUTHORIZED", "1")][..], 111),
        (&[("AUTHORIZED", "")], 111),
        (&[("MASTER_USER", "root")], 1),
        (&[("AUTHORIZED", "1"), ("MASTER_USER", "root")], 111),
    ] {
        let code = phone.fresh_code();
        for (name, password) in [("carol", ""), ("alice", code.as_str()), ("alice", "")] {
            let found = run(&home, variables, name.as_bytes(), password.as_bytes());
            assert_eq!((found.status, found.stdout.as_str()), (Some(expected), ""), "{variables:?}");
        }
    }
}

#[test]
fn a_program_that_cannot_be_run_is_a_temporary_failure() {
    let (home, phone) = (home(), Phone::new(1));
    let reply = script(&home, "reply", "");
    fs::remove_file(&reply).unwrap();
    fs::create_dir(&reply).unwrap();
    assert_eq!(run(&home, &[], b"alice", phone.fresh_code().as_bytes()).status, Some(111));
}

#[test]
fn a_descriptor_that_is_not_there_is_rejected() {
    let home = home();
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 3<&-", "sh", env!("CARGO_BIN_EXE_countersign"), "gateway", "checkpassword"]);
    command.arg("--config").arg(home.ini()).arg("/bin/true");
    assert_eq!(finish(&mut command, b"").status, Some(1));
    assert!(home.log().contains("descriptor 3 is not open"), "{}", home.log());
}

#[test]
fn hostile_names_and_passwords_are_rejected_and_not_logged() {
    let home = home();
    home.set("logging", "level", "debug");
    for text in hostile().into_iter().chain([b"canary\nX".to_vec()]) {
        assert_eq!(run(&home, &[], &text, b"123456").status, Some(1), "{text:?}");
    }
    fs::write(home.log_path(), "").unwrap();
    home.set("throttle", "failures", "100");
    for text in hostile().into_iter().chain([b"canary\nX".to_vec()]) {
        assert_eq!(run(&home, &[], b"alice", &text).status, Some(1), "{text:?}");
    }
    assert!(!leaks(&home, "canary") && !home.log().is_empty(), "{}", home.log());
}

#[test]
fn the_name_of_an_accept_goes_on_as_it_came() {
    let home = home();
    home.append("[whitelist source=user_list]\nname = everybody\n[user_list everybody]\nallow = all_users\n");
    for name in ["c\"ar'ol, x\\", "c$(id)`id`", "-carol", "carol%00"] {
        let finished = run(&home, &[], name.as_bytes(), b"canary");
        assert_eq!(finished.status, Some(0), "{finished:?} {}", home.log());
        assert!(
            finished.stdout.contains(&format!("USER={name}\n")) && !finished.stdout.contains("canary"),
            "{finished:?}"
        );
    }
}

//! The PAM module in the process of a host: what it says, what it leaves alone, and verifiers that are none.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getsid};

use crate::rig::pam::{Pam, WRAPPER, are_here, is_here, line, module};
use crate::rig::terminal::{Terminal, children, kill, wait_until_gone};
use crate::rig::{Home, PATIENCE, Phone, now};

const PROMPT: &str = "one-time password: ";
const ACCEPTED: &str = "pamtester: successfully authenticated";
const DENIED: &str = "pamtester: Authentication failure";
const FAULT: &str = "pamtester: Authentication service cannot retrieve authentication info";
const MISTAKE: &str = "pamtester: Error in service module";
const UNHEARD: &str = "pamtester: Conversation error";

fn alice() -> (Home, Phone, Pam) {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    let pam = Pam::beside(&home);
    pam.set_module("test", &home, "");
    (home, phone, pam)
}

/// How a pamtester of one authentication ended: by its status, and by what it said last.
#[track_caller]
fn ends(host: &mut Terminal, words: &str) -> String {
    let (status, text) = host.end();
    assert_eq!(status, Some(i32::from(words != ACCEPTED)), "{text}");
    assert!(text.trim_end().ends_with(words), "expected {words}, found {text}");
    text
}

/// An executable that is started in place of countersign.
fn impostor(home: &Home, script: &str) -> PathBuf {
    let path = home.dir().join("impostor");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn set_program(pam: &Pam, program: &str, words: &str) {
    pam.set("test", &format!("auth required {} config=/none program={program} {words}\n", module().display()));
}

/// A file of /proc of the process.
fn of(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap()
}

/// The open descriptors of the process, and what they are.
fn descriptors(pid: u32) -> BTreeMap<u32, String> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let named = open.filter_map(|entry| {
        let what = fs::read_link(entry.path()).ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, what.display().to_string()))
    });
    named.collect()
}

#[test]
fn a_code_is_asked_for_and_decides() {
    if !is_here() {
        return;
    }
    let (home, phone, pam) = alice();
    let code = phone.fresh_code();
    let mut host = pam.host("test", "alice", 1);
    host.wait_for(PROMPT);
    host.enter(&code);
    ends(&mut host, ACCEPTED);
    assert!(host.text().contains(&code), "what is typed can be seen");
    for wrong in [&code, &phone.wrong_code(now())] {
        let mut host = pam.host("test", "alice", 1);
        host.wait_for(PROMPT);
        host.enter(wrong);
        let text = ends(&mut host, DENIED);
        assert!(text.contains("Authentication failed"), "{text}");
    }
    let log = home.log();
    assert!(log.contains("used_code") && log.contains("wrong_code"), "{log}");
    // What pam.d says, and what the host says, is in the audit log.
    assert!(log.contains("protocol=\"test\""), "{log}");
}

#[test]
fn echo_and_first_pass_are_as_they_are_said() {
    if !is_here() {
        return;
    }
    let (home, phone, pam) = alice();
    home.set("auth", "disable_echo", "yes");
    home.append("[question_1]\nkey = ticket\nprompt = Ticket number:\ndisable_echo = no\n");
    pam.set_module("test", &home, "quiet");
    let code = phone.fresh_code();
    let mut host = pam.host("test", "alice", 1);
    host.wait_for(PROMPT);
    host.enter(&code);
    host.wait_for("Ticket number:");
    host.enter("T-\"1\"");
    ends(&mut host, ACCEPTED);
    assert!(!host.text().contains(&code) && host.text().contains("T-\"1\""), "{}", host.text());
    pam.set_module("test", &home, "first_pass=prompt quiet");
    let mut host = pam.host("test", "alice", 1);
    host.wait_for("One-time password: ");
    host.enter(&code);
    let text = ends(&mut host, DENIED);
    assert!(!text.contains("Authentication failed"), "{text}");
}

#[test]
fn what_the_host_says_is_sent() {
    if !is_here() {
        return;
    }
    let (home, phone, pam) = alice();
    let rhost = |remote: &str| [format!("-Irhost={remote}"), "-Itty=pts/7".to_owned()];
    let mut host = pam.host_with(&rhost("192.0.2.7"), "test", "alice", &["authenticate", "setcred"]);
    host.wait_for(PROMPT);
    host.enter(phone.fresh_code());
    host.wait_for(ACCEPTED);
    // There are no credentials to set, which is no failure.
    let (status, text) = host.end();
    assert!(status == Some(0) && text.contains("credential info has successfully been set"), "{text}");
    assert!(home.log().contains("source=\"192.0.2.7\""), "{}", home.log());
    let mut host = pam.host_with(&rhost("desk.example"), "test", "alice", &["authenticate"]);
    host.wait_for(PROMPT);
    host.enter("");
    ends(&mut host, DENIED);
    // To the account, it says nothing: alone, it lets nobody in.
    pam.set("test", &format!("account required {}\n", module().display()));
    let (status, text) = pam.host_with(&[], "test", "alice", &["acct_mgmt"]).end();
    assert_eq!(status, Some(1), "{text}");
}

#[test]
fn a_code_that_an_earlier_module_asked_for_is_taken() {
    if !is_here() {
        return;
    }
    let (home, phone, pam) = alice();
    let stack = |words: &str| {
        let setter = Path::new(WRAPPER.0).with_file_name("pam_wrapper/pam_set_items.so");
        let ours = line(&home, words);
        pam.set("test", &format!("auth required {}\n{ours}", setter.display()));
    };
    stack("first_pass=use quiet");
    let with = |code: &str| pam.host_in("env", &[&format!("PAM_AUTHTOK={code}")], "test", "alice", 1);
    let code = phone.fresh_code();
    ends(&mut with(&code), ACCEPTED);
    ends(&mut with(&code), DENIED);
    // Where there is none, it is asked for.
    let mut host = pam.host("test", "alice", 1);
    host.wait_for(PROMPT);
    host.enter(&code);
    ends(&mut host, DENIED);
    // And where it is not wanted, it is not looked at.
    stack("first_pass=none");
    let mut host = with("123456");
    host.wait_for(PROMPT);
    host.enter(phone.wrong_code(now()));
    ends(&mut host, DENIED);
}

#[test]
fn somebody_new_sees_a_picture_before_the_question() {
    if !is_here() {
        return;
    }
    let (home, _, pam) = alice();
    home.set("policy", "unenrolled", "enrol");
    let mut host = pam.host("test", "newcomer", 1);
    assert!(host.wait_for("type this secret into it: ").contains('▀'), "{}", host.text());
    let secret = host.wait_for("\r\n").replace(' ', "");
    host.wait_for("app shows: ");
    host.enter(Phone::with_secret(&secret).fresh_code());
    ends(&mut host, ACCEPTED);
}

#[test]
fn pam_d_is_read_strictly() {
    if !is_here() {
        return;
    }
    let (home, _, pam) = alice();
    for words in ["debug", "config=plugin.ini", "timeout=0", "first_pass=try", "use_first_pass"] {
        pam.set_module("test", &home, words);
        ends(&mut pam.host("test", "alice", 1), MISTAKE);
    }
    for (program, words) in [("/nowhere/countersign", ""), ("/", ""), ("/etc/passwd", "quiet")] {
        set_program(&pam, program, words);
        ends(&mut pam.host("test", "alice", 1), FAULT);
    }
    // A configuration that cannot be read.
    set_program(&pam, env!("CARGO_BIN_EXE_countersign"), "");
    ends(&mut pam.host("test", "alice", 1), FAULT);
}

#[test]
fn only_an_accept_that_can_be_read_lets_in() {
    if !is_here() {
        return;
    }
    let (home, _, pam) = alice();
    let accept = r#"{"v":1,"id":1,"verdict":"accept"}"#;
    let scripts = [
        "exit 0".to_owned(),
        "read line; exit 0".to_owned(),
        format!("printf '%s' '{accept}'"),
        format!("echo '{}'", accept.replace("\"id\":1", "\"id\":2")),
        format!("echo '{}'", accept.replace("accept", "ACCEPT")),
        "echo accept".to_owned(),
        "echo; echo OK".to_owned(),
        // An answer without an end.
        "exec /usr/bin/tr '\\0' 'x' < /dev/zero".to_owned(),
        "kill -9 $$".to_owned(),
    ];
    for script in scripts {
        set_program(&pam, &impostor(&home, &script).display().to_string(), "timeout=5");
        let mut host = pam.host("test", "alice", 1);
        let text = ends(&mut host, FAULT);
        assert!(text.contains("Internal error"), "{script}: {text}");
    }
    // And that one does, whatever the status.
    set_program(&pam, &impostor(&home, &format!("read line; echo '{accept}'; exit 7")).display().to_string(), "");
    ends(&mut pam.host("test", "alice", 1), ACCEPTED);
}

#[test]
fn a_verifier_that_says_nothing_is_ended_in_time() {
    if !is_here() {
        return;
    }
    let (home, _, pam) = alice();
    let pid_file = home.dir().join("pid");
    let script = format!("echo $$ > {}; trap '' TERM HUP; exec /bin/sleep 3600", pid_file.display());
    set_program(&pam, &impostor(&home, &script).display().to_string(), "timeout=1");
    ends(&mut pam.host("test", "alice", 1), FAULT);
    let pid = fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    wait_until_gone(pid);
}

#[test]
fn a_verifier_may_take_back_what_it_asked_for() {
    if !is_here() {
        return;
    }
    let (home, _, pam) = alice();
    let done = home.dir().join("done");
    // As long as a service that is slow: countersign gives it four seconds.
    let accept = r#"{"v":1,"id":1,"verdict":"accept"}"#;
    let script = format!("read line; echo '{accept}'; cat > /dev/null; sleep 4; echo > {}", done.display());
    set_program(&pam, &impostor(&home, &script).display().to_string(), "");
    ends(&mut pam.host("test", "alice", 1), ACCEPTED);
    assert!(done.exists());
}

#[test]
fn a_verifier_that_cannot_be_ended_does_not_hold_the_host() {
    if !is_here() || !are_here(&[("strace", "strace")]) {
        return;
    }
    let (home, _, pam) = alice();
    let pid_file = home.dir().join("pid");
    let pid_shown = pid_file.display();
    // Who traces it has its status first, and does not take it. Its parent sees none until then.
    let script = format!(
        "echo $$ > {pid_shown}; exec strace -D -o /dev/null /bin/sh -c 'echo > {pid_shown}.traced; exec /bin/sleep 3600'"
    );
    set_program(&pam, &impostor(&home, &script).display().to_string(), "timeout=5");
    let mut host = pam.host("test", "alice", 1);
    let until = Instant::now() + PATIENCE;
    while !Path::new(&format!("{pid_shown}.traced")).exists() {
        assert!(Instant::now() < until, "{}", host.text());
        thread::sleep(Duration::from_millis(10));
    }
    let verifier: u32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    let status = of(verifier, "status");
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap().trim().parse().unwrap();
    assert_ne!(tracer, 0, "{status}");
    kill(tracer, Signal::STOP);
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| ends(&mut host, FAULT)));
    for pid in [tracer, verifier] {
        kill(pid, Signal::KILL);
    }
    ended.unwrap();
}

#[test]
fn the_host_is_as_it_was_after_fifty_logins() {
    if !is_here() {
        return;
    }
    let (_home, phone, pam) = alice();
    let wrong = phone.wrong_code(now());
    // Signals as some hosts have them: SIGCHLD ignored, so that no child has a status; and blocked ones.
    for before in [&["--block-signal=CHLD,HUP"][..], &["--ignore-signal=CHLD"]] {
        let mut host = pam.host_in("env", before, "test", "alice", 1);
        host.wait_for(PROMPT);
        let [child] = children(host.pid())[..] else { panic!("{:?}", children(host.pid())) };
        let signals = |pid| -> Vec<String> {
            let status = of(pid, "status");
            ["SigBlk", "SigIgn"]
                .map(|name| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned())
                .into()
        };
        assert!(signals(child)[0].ends_with(":\t0000000000000000"), "{:?}", signals(child));
        assert_ne!(signals(host.pid()).join(""), signals(child).join(""));
        // It can be waited for, or takes its status with it: nobody is left.
        host.enter(&wrong);
        ends(&mut host, DENIED);
        wait_until_gone(child);
    }
    let (home, _, pam) = alice();
    let script = r#"read line
        echo '{"v":1,"id":1,"verdict":"need_info","question":{"key":"otp","prompt":"Code: ","disable_echo":true}}'
        read line
        echo '{"v":1,"id":2,"verdict":"accept"}'"#;
    set_program(&pam, &impostor(&home, script).display().to_string(), "");
    let mut host = pam.host("test", "alice", 50);
    let mut first = None;
    for _ in 0..50 {
        host.wait_for("Code: ");
        let (pid, children) = (host.pid(), children(host.pid()));
        // One child, and no zombie beside it.
        assert_eq!(children.len(), 1, "{children:?}");
        let kept = |line: &&str| ["SigBlk", "SigIgn", "SigCgt"].iter().any(|name| line.starts_with(name));
        let status: String = of(pid, "status").lines().filter(kept).collect();
        let open = descriptors(pid).len();
        let found = (open, status);
        assert_eq!(*first.get_or_insert_with(|| found.clone()), found);
        host.enter("1");
        host.wait_for(ACCEPTED);
    }
    assert_eq!(host.end().0, Some(0));
}

#[test]
fn the_process_has_nothing_of_the_host() {
    if !is_here() {
        return;
    }
    let (home, _, pam) = alice();
    let marker = home.dir().join("marker");
    fs::write(&marker, "").unwrap();
    let script = format!("exec 9<{}; exec \"$@\"", marker.display());
    let mut host = pam.host_in("sh", &["-c", &script, "sh", "env", "PLANTED=1"], "test", "alice", 1);
    host.wait_for(PROMPT);
    let open = |pid| descriptors(pid).values().any(|what| *what == marker.display().to_string());
    let child = children(host.pid())[0];
    assert!(open(host.pid()) && !open(child), "{:?}", descriptors(child));
    assert!(of(host.pid(), "environ").contains("PLANTED"));
    assert_eq!(of(child, "environ"), "");
    assert_eq!(fs::read_link(format!("/proc/{child}/cwd")).unwrap(), PathBuf::from("/"));
    // No terminal, either, and no key of one reaches it.
    assert!(!descriptors(child).values().any(|what| what.starts_with("/dev/pts")), "{:?}", descriptors(child));
    let sid = |pid: u32| getsid(Pid::from_raw(pid.cast_signed())).unwrap().as_raw_nonzero().get().cast_unsigned();
    assert_eq!((sid(host.pid()), sid(child)), (host.pid(), child));
    // And it goes when the host does, however that is.
    kill(host.pid(), Signal::KILL);
    wait_until_gone(child);
}

#[test]
fn hostile_names_and_answers_are_refused_and_in_no_log() {
    if !is_here() {
        return;
    }
    let (home, phone, pam) = alice();
    home.set("throttle", "failures", "100");
    let long = "x".repeat(8192);
    let texts: [&[u8]; 8] = [
        b"\"'`$(id)\\,;{}",
        b"CRV1::c29tZQ==::471147114711",
        b"{\"verdict\":\"accept\"}",
        "\u{202e}é471147114711".as_bytes(),
        b"\xff\xfe471147114711",
        b" ",
        b"../../etc/passwd\\n",
        b"%s%n%n",
    ];
    for text in texts {
        let mut host = pam.host("test", "alice", 1);
        host.wait_for(PROMPT);
        host.enter(text);
        ends(&mut host, DENIED);
    }
    for user in texts.iter().chain([&long.as_bytes()]) {
        let name = OsStr::from_bytes(user);
        let mut host = pam.host_in("env", &[], "test", name, 1);
        // Who has no name that can be read is not asked.
        if std::str::from_utf8(user).is_ok() {
            host.wait_for(PROMPT);
            host.enter(phone.fresh_code());
        }
        let text = ends(&mut host, DENIED);
        assert_eq!(text.matches("pamtester:").count(), 1, "{text}");
    }
    let log = home.log();
    // Names are there as they were given, quoted; what was typed for a code is not.
    assert!(!log.contains(&phone.fresh_code()), "{log}");
    let about_alice: Vec<&str> = log.lines().filter(|line| line.contains("claimant=\"alice\"")).collect();
    // A question each, and a verdict on each that can be read.
    assert_eq!(about_alice.len(), 8 + 7, "{log}");
    assert!(!about_alice.iter().any(|line| line.contains("471147114711") || line.contains("$(id)")), "{log}");
}

#[test]
fn who_goes_away_takes_the_process_along() {
    if !is_here() {
        return;
    }
    let (_home, _, pam) = alice();
    let mut host = pam.host("test", "alice", 1);
    host.wait_for(PROMPT);
    let child = children(host.pid())[0];
    // The end of what is typed.
    host.press(b"\x04");
    ends(&mut host, UNHEARD);
    wait_until_gone(child);
}

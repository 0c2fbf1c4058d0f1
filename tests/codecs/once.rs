//! The gateways that start a process for one question, whatever their language: always an answer, in time, never yes by
//! accident. pwauth stands for them all: its accept is status 0, its reject 2, and 50 where there is no verdict.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::rig::faults::Refused;
use crate::rig::okta::{Okta, configure};
use crate::rig::{Finished, Home, PATIENCE, Phone, finish, nobody};

/// alice, with phone 1.
pub fn home() -> Home {
    Home::with(&[("alice", &Phone::new(1))])
}

/// The command line of gateway `name`, as a server starts it.
pub fn gateway(home: &Home, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.env_clear().current_dir("/").args(["gateway", name, "--config"]).arg(home.ini()).args(arguments);
    command
}

/// Writes an executable file into the home.
pub fn script(home: &Home, name: &str, text: &str) -> PathBuf {
    let path = home.dir().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// What a name or a password may hold, and nobody has.
pub fn hostile() -> Vec<Vec<u8>> {
    let long = "canary".repeat(1400);
    let texts = [
        "canary\"'\\\\\"",
        "canary, \"x\"",
        "canary\rX",
        "canary`id`",
        "canary$(id)",
        "canary;id|id&",
        "CRV1::canary::123456",
        "SCRV1:Y2FuYXJ5:MTIzNDU2",
        "canary%00%n%s",
        "\u{202e}canary\u{7f}",
        "-canary",
        "--config=/canary",
        "../../canary",
        &long,
    ];
    let bytes: [&[u8]; 3] = [b"canary\xff\xfe", b"canary\xc0\x80", b"\xed\xa0\x80canary"];
    texts.iter().map(|text| text.as_bytes().to_vec()).chain(bytes.iter().map(|text| text.to_vec())).collect()
}

/// The status of a pwauth whose name is alice, and what else it says, which must be nothing.
fn told(command: &mut Command, input: &[u8]) -> Option<i32> {
    let Finished { status, stdout, stderr } = finish(command, input);
    assert_eq!((stdout.as_str(), stderr.as_str()), ("", ""), "{command:?}");
    status
}

fn right() -> Vec<u8> {
    format!("alice\n{}\n", Phone::new(1).fresh_code()).into_bytes()
}

#[test]
fn streams_that_are_not_open_harm_nothing() {
    for redirections in ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "3>&- 4>&-"] {
        let home = home();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$@\" {redirections}"), "sh"]);
        command.arg(env!("CARGO_BIN_EXE_countersign")).args(["gateway", "pwauth", "--config"]).arg(home.ini());
        let expected = if redirections.contains('<') { 2 } else { 0 };
        assert_eq!(finish(&mut command, &right()).status, Some(expected), "{redirections}: {}", home.log());
        let store = fs::read(home.store().join("store.db")).unwrap_or_default();
        assert!(store.is_empty() || store.starts_with(b"SQLite format 3\0"), "{redirections}");
        assert_eq!(home.run(&["list"], "").status, Some(0), "{redirections}");
    }
}

#[test]
fn more_than_the_limit_is_refused() {
    let home = home();
    for length in [64 * 1024 + 1, 100 * 1024] {
        let mut input = right();
        input.resize(length, b'\n');
        assert_eq!(told(&mut gateway(&home, "pwauth", &[]), &input), Some(2), "{length}");
    }
    assert!(home.log().contains("input_too_long"), "{}", home.log());
}

#[test]
fn a_configuration_that_cannot_be_used_is_no_verdict() {
    let home = home();
    let log = home.dir().join("gateway.log");
    let log = log.to_str().unwrap();
    let moved = home.dir().join("elsewhere.ini");
    fs::rename(home.ini(), &moved).unwrap();
    assert_eq!(told(&mut gateway(&home, "pwauth", &["--log", log]), &right()), Some(50));
    assert!(fs::read_to_string(log).unwrap().contains("plugin.ini"));
    assert_eq!(told(&mut gateway(&home, "pwauth", &["--on-error", "reject"]), &right()), Some(2));

    fs::rename(&moved, home.ini()).unwrap();
    home.append("[gateway pwauth]\nwiat = 7\n");
    assert_eq!(told(&mut gateway(&home, "pwauth", &["--log", log]), &right()), Some(50));
    assert!(fs::read_to_string(log).unwrap().contains("wiat"));
}

#[test]
fn a_configuration_of_somebody_else_is_not_used() {
    use nobody::{NOBODY, as_nobody, copied_executable};
    let home = home();
    let Some(mut command) = as_nobody(NOBODY) else { return };
    let executable = copied_executable(&home);
    let mut paths = vec![home.dir().parent().unwrap().to_owned()];
    while let Some(path) = paths.pop() {
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    command.arg(executable).args(["gateway", "pwauth", "--config"]).arg(home.ini());
    let mut run = |owner: u32| {
        chown(home.ini(), Some(owner), Some(NOBODY)).unwrap();
        fs::set_permissions(home.ini(), fs::Permissions::from_mode(0o640)).unwrap();
        told(&mut command, &right())
    };
    assert_eq!(run(1), Some(50));
    assert_eq!(run(NOBODY), Some(0), "{}", home.log());
}

#[test]
fn a_command_line_that_is_none_is_no_accept() {
    let home = home();
    let countersign = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.env_clear().current_dir(home.dir());
        command
    };
    let mut relative = countersign();
    relative.args(["gateway", "pwauth", "--config", "plugin.ini"]);
    let mut unknown = gateway(&home, "pwauth", &["--wiat", "3"]);
    let mut nameless = gateway(&home, "canary", &[]);
    let mut endless = gateway(&home, "pwauth", &["--wait", "0"]);
    for command in [&mut relative, &mut unknown, &mut nameless, &mut endless] {
        assert_eq!(finish(command, &right()).status, Some(64), "{command:?}");
    }
    assert_eq!(told(&mut gateway(&home, "pwauth", &[]), &right()), Some(0), "the code is still good");
}

#[test]
fn an_environment_of_any_bytes_harms_nothing() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let home = home();
    let bytes = OsStr::from_bytes(b"\xff\xfe=\n");
    let mut command = gateway(&home, "pwauth", &[]);
    command.env("IP", bytes).env("CONTEXT", bytes).env(OsStr::from_bytes(b"\xfe"), bytes);
    assert_eq!(told(&mut command, &right()), Some(0), "{}", home.log());
}

#[test]
fn a_service_that_says_nothing_is_no_verdict_after_the_wait() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::init();
    configure(&home, &format!("http://{}", silent.local_addr().unwrap()), "");
    for (options, expected) in [(&["--wait", "1"][..], 50), (&["--wait", "1", "--on-error", "reject"], 2)] {
        assert_eq!(told(&mut gateway(&home, "pwauth", options), b"alice\n\n"), Some(expected), "{}", home.log());
    }
}

#[test]
fn a_service_that_is_away_is_no_verdict() {
    let refused = Refused::new();
    let home = Home::init();
    configure(&home, &format!("http://{}", refused.host()), "");
    assert_eq!(told(&mut gateway(&home, "pwauth", &[]), b"alice\n123456\n"), Some(50), "{}", home.log());
    assert_eq!(told(&mut gateway(&home, "pwauth", &["--on-error", "reject"]), b"alice\n123456\n"), Some(2));
}

#[test]
fn a_store_that_is_held_is_no_verdict_after_the_wait() {
    let home = home();
    let held = home.hold_store();
    assert_eq!(told(&mut gateway(&home, "pwauth", &["--wait", "1"]), &right()), Some(50), "{}", home.log());
    drop(held);
    assert_eq!(told(&mut gateway(&home, "pwauth", &[]), &right()), Some(0), "{}", home.log());
}

#[test]
fn input_that_does_not_end_is_no_verdict_after_the_wait() {
    let home = home();
    let mut command = gateway(&home, "pwauth", &["--wait", "1"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take();
    assert_eq!(wait(&mut child), Some(50));
    drop(input);
}

/// The status of `child`, which ends soon.
fn wait(child: &mut std::process::Child) -> Option<i32> {
    let mut left = PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        let step = Duration::from_millis(20);
        left = left.checked_sub(step).unwrap_or_else(|| panic!("the process does not end"));
        std::thread::park_timeout(step);
    }
}

#[test]
fn a_run_takes_no_less_than_is_said() {
    let home = home();
    let began = std::time::Instant::now();
    assert_eq!(told(&mut gateway(&home, "pwauth", &["--min-runtime", "700"]), &right()), Some(0));
    assert!(began.elapsed() >= Duration::from_millis(700));
}

#[test]
fn the_log_goes_where_the_command_line_says() {
    let home = home();
    let log = home.dir().join("gateway.log");
    assert_eq!(told(&mut gateway(&home, "pwauth", &["--log", log.to_str().unwrap()]), &right()), Some(0));
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("accept") && text.contains("alice"), "{text}");
    assert!(!home.log().contains("verdict"), "{}", home.log());
}

#[test]
fn who_is_told_to_end_takes_the_push_back() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut child = gateway(&home, "pwauth", &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"alice\n\n").unwrap();
    okta.wait_for("GET", "transactions/t1", 1);
    let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert_ne!(wait(&mut child), Some(0), "{}", home.log());
    okta.wait_for("DELETE", "transactions/t1", 1);
}

#[test]
fn an_answer_that_nobody_takes_is_no_accept() {
    // pwauth writes nothing; the first half of pam-exec writes its question.
    let home = home();
    let left = home.dir().join("run");
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "exec \"$@\" >/dev/full",
        "sh",
        env!("CARGO_BIN_EXE_countersign"),
        "gateway",
        "pam-exec",
        "--config",
    ]);
    command.arg(home.ini()).arg("ask").arg(&left);
    command.env_clear().env("PAM_USER", "alice").env("PAM_SERVICE", "sshd").env("PAM_TYPE", "auth");
    assert_eq!(finish(&mut command, b"").status, Some(1), "{}", home.log());
}

/// Whether `text` stands in the log or in a file of the home where it has nothing to do.
pub fn leaks(home: &Home, text: &str) -> bool {
    let holds = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).contains(text);
    holds(&home.log_path()) || holds(&home.dir().join("gateway.log"))
}

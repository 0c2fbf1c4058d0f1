//! pam_exec.so (docs/gateways/pam-exec.md).

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use crate::once::{gateway, home, hostile, leaks};
use crate::rig::okta::Okta;
use crate::rig::{Finished, Home, Phone, finish, now};

/// What PAM says of a login of alice.
const LOGIN: [(&str, &str); 5] = [
    ("PAM_USER", "alice"),
    ("PAM_SERVICE", "sshd"),
    ("PAM_TYPE", "auth"),
    ("PAM_RHOST", "192.0.2.7"),
    ("PAM_TTY", "ssh"),
];

/// Asks in one run.
fn run(home: &Home, typed: &[u8]) -> Finished {
    finish(gateway(home, "pam-exec", &[]).envs(LOGIN), typed)
}

/// Where the halves meet.
fn meeting(home: &Home) -> PathBuf {
    home.dir().join("halves")
}

/// A process that runs `lines`, in which `ask` and `answer` are the halves; `typed` is the input of whatever reads it.
fn halves(home: &Home, lines: &str, typed: &[u8]) -> Finished {
    let script = format!(
        "ask() {{ \"$1\" gateway pam-exec --config \"$2\" ask \"$3\" </dev/null; }}\n\
         answer() {{ \"$1\" gateway pam-exec --config \"$2\" answer \"$3\"; }}\n{lines}"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_countersign")]).arg(home.ini()).arg(meeting(home));
    finish(command.env_clear().envs(LOGIN), typed)
}

const BOTH: &str = "ask \"$@\" || exit 9\nanswer \"$@\"";

fn files(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(meeting(home)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_right_code_is_status_0_once() {
    let (home, phone) = (home(), Phone::new(1));
    let code = phone.fresh_code();
    assert_eq!(run(&home, phone.wrong_code(now()).as_bytes()).status, Some(1));
    let accepted = run(&home, code.as_bytes());
    assert_eq!((accepted.status, accepted.stdout.as_str()), (Some(0), ""), "{}", home.log());
    let used = run(&home, code.as_bytes());
    assert_eq!((used.status, used.stdout.as_str()), (Some(1), "Authentication failed\n"));
    assert!(home.log().contains("192.0.2.7"), "{}", home.log());
}

#[test]
fn what_was_typed_may_end_with_nul() {
    let (home, phone) = (home(), Phone::new(1));
    let code = phone.fresh_code();
    assert_eq!(run(&home, format!("{code}\0\0").as_bytes()).status, Some(1));
    assert_eq!(run(&home, format!("{code}\0").as_bytes()).status, Some(0), "{}", home.log());
}

#[test]
fn only_lines_of_the_type_auth_are_served() {
    let (home, phone) = (home(), Phone::new(1));
    for kind in ["account", "password", "open_session", "close_session", "", "AUTH"] {
        let mut command = gateway(&home, "pam-exec", &[]);
        let finished = finish(command.envs(LOGIN).env("PAM_TYPE", kind), phone.fresh_code().as_bytes());
        assert_eq!(finished.status, Some(1), "{kind}");
    }
    let finished = finish(&mut gateway(&home, "pam-exec", &[]), phone.fresh_code().as_bytes());
    assert_eq!(finished.status, Some(1));
    let finished = finish(gateway(&home, "pam-exec", &["aks"]).envs(LOGIN), phone.fresh_code().as_bytes());
    assert_eq!(finished.status, Some(1));
    assert_eq!(run(&home, phone.fresh_code().as_bytes()).status, Some(0), "the code is still good");
}

#[test]
fn two_halves_ask_and_are_answered() {
    let (home, phone) = (home(), Phone::new(1));
    let wrong = halves(&home, BOTH, phone.wrong_code(now()).as_bytes());
    assert_eq!(wrong.status, Some(1), "{wrong:?} {}", home.log());
    assert!(wrong.stdout.starts_with("Press Enter for push notification or type one-time password: \n"), "{wrong:?}");
    let right = halves(&home, BOTH, phone.fresh_code().as_bytes());
    assert_eq!(right.status, Some(0), "{right:?} {}", home.log());
    assert_eq!(files(&home), Vec::<String>::new());
}

#[test]
fn the_first_half_alone_leaves_a_file_that_only_its_own_login_finds() {
    let (home, phone) = (home(), Phone::new(1));
    let code = phone.fresh_code();
    // Another process answers: it finds no question, and its code is decided as one that was typed ahead.
    assert_eq!(halves(&home, "ask \"$@\"", b"").status, Some(0));
    let mode = |path: PathBuf| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    let left = files(&home);
    assert_eq!((left.len(), mode(meeting(&home)), mode(meeting(&home).join(&left[0]))), (1, 0o700, 0o600));
    assert_eq!(halves(&home, "answer \"$@\"", phone.wrong_code(now()).as_bytes()).status, Some(1));
    assert_eq!(files(&home), left);
    // Another user in the same process does not find it either.
    assert_ne!(halves(&home, "ask \"$@\"; PAM_USER=bob; answer \"$@\"", code.as_bytes()).status, Some(0));
    // What is left of processes that are gone goes with the next question.
    assert_eq!(halves(&home, "ask \"$@\" && answer \"$@\"", code.as_bytes()).status, Some(0), "{}", home.log());
    assert_eq!(files(&home), Vec::<String>::new());
}

#[test]
fn a_question_is_answered_once() {
    let (home, phone) = (home(), Phone::new(1));
    let finished = halves(&home, "ask \"$@\"; answer \"$@\" </dev/null; exec cat \"$3\"/* 2>&1", b"");
    assert!(finished.stdout.contains("No such file"), "{finished:?}");
    assert_eq!(halves(&home, BOTH, phone.fresh_code().as_bytes()).status, Some(0), "{}", home.log());
}

#[test]
fn enter_as_the_answer_asks_for_a_push() {
    let okta = Okta::start();
    let home = okta.home("");
    okta.press("alice", "SUCCESS");
    let asked = halves(&home, "ask \"$@\"", b"");
    assert!(asked.status == Some(0) && okta.count("POST", "ostf1/verify") == 0, "{asked:?}: nothing is sent yet");
    assert_eq!(halves(&home, BOTH, b"").status, Some(0), "{}", home.log());
    okta.press("alice", "REJECTED");
    assert_eq!(halves(&home, BOTH, b"").status, Some(1), "{}", home.log());
    assert_eq!(okta.count("POST", "ostf1/verify"), 2);
}

#[test]
fn a_second_question_cannot_be_put() {
    let (home, phone) = (home(), Phone::new(1));
    home.append("[question_1]\nkey = ticket\nprompt = Ticket number:\ndisable_echo = no\n");
    assert_eq!(halves(&home, BOTH, phone.fresh_code().as_bytes()).status, Some(1), "{}", home.log());
}

#[test]
fn whoever_is_exempt_is_let_in_by_the_second_half() {
    let home = home();
    home.append("[whitelist source=user_list]\nname = exempt\n[user_list exempt]\nallow = no_user\nexcept = alice\n");
    let finished = halves(&home, BOTH, b"");
    assert_eq!((finished.status, finished.stdout.as_str()), (Some(0), ""), "{}", home.log());
    assert_eq!(home.log().matches("verdict=\"accept\"").count(), 2, "{}", home.log());
}

#[test]
fn a_meeting_place_that_others_could_touch_is_not_used() {
    let (home, phone) = (home(), Phone::new(1));
    let elsewhere = home.dir().join("elsewhere");
    let place = meeting(&home);
    for lay in ["loose", "link", "file", "nowhere"] {
        let _ = fs::remove_dir(&place);
        let _ = fs::remove_file(&place);
        match lay {
            "loose" => {
                fs::create_dir(&place).unwrap();
                fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
            }
            "link" => {
                fs::DirBuilder::new().mode(0o700).create(&elsewhere).unwrap();
                symlink(&elsewhere, &place).unwrap();
            }
            "file" => fs::write(&place, "").unwrap(),
            _ => symlink(home.dir().join("nowhere"), &place).unwrap(),
        }
        let asked = halves(&home, "ask \"$@\"", b"");
        assert_eq!(asked.status, Some(1), "{lay}");
        let answered = halves(&home, "answer \"$@\"", phone.fresh_code().as_bytes());
        assert_eq!(answered.status, Some(1), "{lay}");
    }
    let relative = finish(gateway(&home, "pam-exec", &["ask", "run"]).envs(LOGIN), b"");
    assert_eq!(relative.status, Some(1));
}

#[test]
fn a_link_in_the_place_of_the_question_is_not_followed() {
    let (home, phone) = (home(), Phone::new(1));
    home.keep("canary", "otp\0");
    let lines = "ask \"$@\" || exit 9\nfor f in \"$3\"/*; do rm \"$f\"; ln -s ../canary \"$f\"; done\nanswer \"$@\"";
    let finished = halves(&home, lines, phone.fresh_code().as_bytes());
    assert_eq!(finished.status, Some(1), "{}", home.log());
    assert!(home.dir().join("canary").exists() && files(&home).is_empty());
}

#[test]
fn hostile_names_and_passwords_are_rejected_and_not_logged() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let home = home();
    home.set("logging", "level", "debug");
    for text in hostile().into_iter().chain([b"canary\nX".to_vec()]) {
        let mut command = gateway(&home, "pam-exec", &[]);
        let finished = finish(command.envs(LOGIN).env("PAM_USER", OsStr::from_bytes(&text)), b"123456");
        assert_eq!((finished.status, finished.stdout.lines().count()), (Some(1), 1), "{text:?}");
    }
    fs::write(home.log_path(), "").unwrap();
    home.set("throttle", "failures", "100");
    for text in hostile().into_iter().chain([b"canary\nX".to_vec(), b"\x08\n\r\x7fINCORRECT".to_vec()]) {
        assert_eq!(run(&home, &text).status, Some(1), "{text:?}");
        assert_eq!(halves(&home, BOTH, &text).status, Some(1), "{text:?}");
    }
    assert!(!leaks(&home, "canary") && !home.log().is_empty(), "{}", home.log());
}

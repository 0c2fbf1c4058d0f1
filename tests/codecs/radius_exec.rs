//! FreeRADIUS's rlm_exec: attributes in the environment, pairs and a status for an answer.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::rig::faults::Refused;
use crate::rig::okta::configure;
use crate::rig::{Finished, Home, Phone, finish};

/// At the middle of a time step.
const NOW: u64 = 1_767_268_815;

/// What is asked where nothing was typed.
const PROMPT: &str = "Press Enter for push notification or type one-time password: ";

/// What is in an environment.
type Variables<'a> = &'a [(&'a str, &'a [u8])];

const REJECT: &str = "Tmp-String-9 := \"reject\", Reply-Message += ";

fn home(phone: &Phone) -> Home {
    let home = Home::with(&[("bob", phone)]);
    home.set_clock(NOW);
    home
}

/// A run with these options, and these variables in its environment.
fn run(home: &Home, options: &[&str], variables: Variables<'_>) -> Finished {
    let mut command: Command = home.command(&[&["gateway", "radius-exec", "--min-runtime", "0"], options].concat());
    command.arg("site");
    for (name, value) in variables {
        command.env(name, OsString::from_vec(value.to_vec()));
    }
    finish(&mut command, b"")
}

/// A round in the form for a shell.
fn round(home: &Home, options: &[&str], user: &str, password: &str, state: Option<&str>) -> Finished {
    let (user, password) = (format!("\"{user}\""), format!("\"{password}\""));
    let mut variables = vec![("USER_NAME", user.as_bytes()), ("USER_PASSWORD", password.as_bytes())];
    variables.extend(state.map(|state| ("STATE", state.as_bytes())));
    run(home, options, &variables)
}

#[track_caller]
fn told(finished: &Finished, status: i32, output: &str) {
    let Finished { status: found, stdout, stderr } = finished;
    assert_eq!((*found, stdout.as_str(), stderr.as_str()), (Some(status), output, ""));
}

/// The State of a question, as it comes back, and what stands behind it.
#[track_caller]
fn asked(finished: &Finished) -> (String, String) {
    assert_eq!((finished.status, finished.stderr.as_str()), (Some(9), ""), "{finished:?}");
    assert!(!finished.stdout.contains('\n') && finished.stdout.len() < 4096, "{finished:?}");
    let rest = finished.stdout.strip_prefix("Tmp-String-9 := \"need_info\", State = \"").unwrap();
    let (state, rest) = rest.split_once("\", ").unwrap();
    assert!(state.len() <= 253, "{state}");
    (format!("0x{}", data_encoding::HEXLOWER.encode(state.as_bytes())), rest.to_owned())
}

#[test]
fn both_forms_of_the_environment_are_read() {
    let phone = Phone::new(1);
    let home = home(&phone);
    let accept = "Tmp-String-9 := \"accept\"";
    told(&round(&home, &[], "bob", &phone.code_at(NOW, -1), None), 0, accept);
    let code = phone.code_at(NOW, 0);
    let variables: [(&str, &[u8]); 4] = [
        ("User-Name", b"bob"),
        ("User-Password", code.as_bytes()),
        ("Calling-Station-Id", b"192.0.2.7"),
        ("NAS-Identifier", b"vpn 1"),
    ];
    told(&run(&home, &[], &variables), 0, accept);
    told(&run(&home, &[], &variables), 1, &format!("{REJECT}\"Authentication failed\""));
    let log = home.log();
    assert!(log.contains("192.0.2.7") && log.contains("radius code ") && log.contains("used_code"), "{log}");
    assert!(!log.contains(&code), "{log}");
}

#[test]
fn what_is_quoted_for_a_shell_is_undone() {
    let phone = Phone::new(1);
    let home = Home::with(&[("b\"o\\b né, x", &phone)]);
    home.set_clock(NOW);
    let user = r#"b\"o\\b\040n\303\251, x"#;
    told(
        &round(&home, &["--append-otp", ","], user, &format!("p\\\"w,{}", phone.code_at(NOW, 0)), None),
        0,
        "Tmp-String-9 := \"accept\"",
    );
}

#[test]
fn a_question_is_answered_beside_its_state() {
    let phone = Phone::new(1);
    let home = home(&phone);
    home.append("[question_1]\nkey = ticket\nprompt = A \"ticket\", 50% \\ %{User-Name}:\ndisable_echo = yes\n");
    let options = ["--field", "checked"];
    let (state, rest) = asked(&round(&home, &options, "bob", "a password", None));
    assert_eq!(rest, format!("Prompt = Echo, Reply-Message += \"{PROMPT}\""));
    let (second, rest) = asked(&round(&home, &options, "bob", &phone.code_at(NOW, 0), Some(&state)));
    assert_eq!(rest, r#"Prompt = No-Echo, Reply-Message += "A \042ticket\042, 50\045 \134 \045{User-Name}: ""#);
    told(&round(&home, &options, "bob", "T-1", Some(&second)), 0, "Tmp-String-9 := \"accept\"");
    assert!(!home.log().contains("a password"));
}

#[test]
fn no_code_stands_in_for_a_password_that_was_not_checked() {
    let phone = Phone::new(1);
    let home = home(&phone);
    let (checked, code) = (["--field", "checked"], ["--field", "code"]);
    // Of a server that asks for no password, or that has another name.
    home.append("[question_1]\nkey = ticket\nprompt = Ticket:\n");
    let (of_code, _) = asked(&round(&home, &code, "bob", &phone.code_at(NOW, -1), None));
    let mut other = home.command(&["gateway", "radius-exec", "--field", "checked"]);
    other.arg("another site").env("USER_NAME", "\"bob\"").env("USER_PASSWORD", "\"pw\"");
    let (of_other, _) = asked(&finish(&mut other, b""));
    let (ours, _) = asked(&round(&home, &checked, "bob", "pw", None));
    let denied = format!("{REJECT}\"Authentication failed\"");
    let right = phone.code_at(NOW, 0);
    for enforce in ["yes", "no"] {
        home.set("policy", "enforce", enforce);
        told(&round(&home, &checked, "bob", &right, Some(&of_code)), 1, &denied);
        told(&round(&home, &checked, "bob", &right, Some(&of_other)), 1, &denied);
        told(&round(&home, &checked, "alice", &right, Some(&ours)), 1, &denied);
    }
    assert_eq!(home.log().matches("password_required").count(), 6, "{}", home.log());
    // It would have been right.
    home.set("policy", "enforce", "yes");
    let (ours, _) = asked(&round(&home, &checked, "bob", "pw", None));
    asked(&round(&home, &checked, "bob", &right, Some(&ours)));
}

#[test]
fn what_is_no_request_is_rejected_once_and_says_why() {
    let phone = Phone::new(1);
    let home = home(&phone);
    let invalid = format!("{REJECT}\"Invalid request\"");
    let long = [b"\"".as_slice(), &[b'x'; 8192]].concat();
    let password: (&str, &[u8]) = ("USER_PASSWORD", b"\"1\"");
    let cases: [(Variables<'_>, &str); 10] = [
        (&[], "User-Name: is missing"),
        (&[("USER_NAME", b"\"bob\"")], "User-Password: is missing"),
        (&[("USER_NAME", b"\"bob\""), ("CHAP_PASSWORD", b"0x01")], "PAP"),
        (&[("USER_NAME", b"\"bob\""), ("MS_CHAP2_RESPONSE", b"0x01")], "PAP"),
        (&[("USER_NAME", b"\"bob"), password], "quotation marks"),
        (&[("USER_NAME", &long), password], "quotation marks"),
        (&[("USER_NAME", b"\"b\\377b\""), password], "UTF-8"),
        (&[("USER_NAME", b"\"b\\000b\""), password], "NUL"),
        (&[("User-Name", b"b\xffb"), ("User-Password", b"1")], "UTF-8"),
        (&[("USER_NAME", b"\"bob\""), password, ("STATE", b"0x4142")], "State"),
    ];
    for (variables, reason) in cases {
        let before = home.log().len();
        told(&run(&home, &[], variables), 1, &invalid);
        assert!(home.log()[before..].contains(reason), "{reason}: {}", home.log());
    }
}

#[test]
fn an_outage_is_a_failure_or_a_reject() {
    let (home, refused) = (Home::init(), Refused::new());
    configure(&home, &format!("http://{}", refused.host()), "");
    let output = format!("{REJECT}\"The authentication service cannot be reached\"");
    told(&round(&home, &[], "bob", "123456", None), 2, &output);
    told(&round(&home, &["--on-error", "reject"], "bob", "123456", None), 1, &output);
}

#[test]
fn a_long_question_is_several_messages() {
    let phone = Phone::new(1);
    let home = home(&phone);
    home.set("auth", "prompt", &"é\"".repeat(1000));
    let (_, rest) = asked(&round(&home, &["--field", "checked"], "bob", "pw", None));
    let pieces: Vec<_> = rest.split(", ").skip(1).collect();
    assert!(pieces.len() > 3, "{rest}");
    for piece in pieces {
        let text = piece.strip_prefix("Reply-Message += \"").unwrap().strip_suffix('"').unwrap();
        assert!(text.replace("\\042", "\"").len() <= 253, "{text}");
    }
}

#[test]
fn a_key_that_cannot_be_carried_is_told_to_the_operator() {
    let phone = Phone::new(1);
    let home = home(&phone);
    home.append("[question_1]\nkey = a key\nprompt = Ticket:\n");
    let log = home.log_path().display().to_string();
    let finished = round(&home, &["--log", &log], "bob", &phone.code_at(NOW, 0), None);
    told(&finished, 1, "Tmp-String-9 := \"reject\"");
    assert!(home.log().contains("the question cannot be put"), "{}", home.log());
}

#[test]
fn no_run_is_shorter_than_rlm_exec_can_bear() {
    let home = Home::init();
    let began = Instant::now();
    let mut command = home.command(&["gateway", "radius-exec"]);
    assert_eq!(finish(&mut command, b"").status, Some(1));
    assert!(began.elapsed() >= Duration::from_millis(50));
}

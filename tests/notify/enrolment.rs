//! Targets, enrolled: nothing counts before a code that was sent there is proved.

use serde_json::Value;

use crate::stage::{NUMBER, Stage, answer, login};

const ENROL: [&str; 4] = ["enroll", "bob", "--client", "notify sms"];

#[test]
fn a_target_counts_once_a_code_proves_it() {
    let stage = Stage::new("");
    let said = stage.home.run(&[&ENROL[..], &["--target", NUMBER, "--label", "phone"]].concat(), "").ok();
    assert!(said.stdout.starts_with(&format!("A code was sent to {NUMBER}.\nNothing counts yet.")), "{}", said.stdout);
    let id = said.stdout.split("enroll confirm ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!(stage.home.ask_one(&login("bob")).code(), "not_enrolled");
    let message = stage.messages().remove(0);
    assert!(message.contains("It was asked for by the enrolment of bob."), "{message}");
    let shown: Value =
        serde_json::from_str(&stage.home.run(&["enroll", "show", &id, "--json"], "").ok().stdout).unwrap();
    assert_eq!((shown["target"].as_str(), shown["client"].as_str()), (Some(NUMBER), Some("notify sms")), "{shown}");
    assert!(!shown.to_string().contains(&stage.code()), "{shown}");

    let wrong = stage.home.run(&["enroll", "confirm", &id], stage.wrong_code());
    assert_eq!(
        (wrong.status, wrong.stderr.as_str()),
        (Some(65), "the code is not the one that was sent; nothing was enrolled (2 tries left)\n")
    );
    assert_eq!(stage.home.ask_one(&login("bob")).code(), "not_enrolled");
    let done = stage.home.run(&["enroll", "confirm", &id], stage.code()).ok();
    assert!(
        done.stdout.contains("bob is enrolled with \"phone\" (") && done.stdout.contains("…4711"),
        "{}",
        done.stdout
    );
    let again = stage.home.run(&["enroll", "confirm", &id], stage.code());
    assert!(again.status == Some(65) && again.stderr.contains("was proved already"), "{again:?}");

    // The code that proved it does not log in.
    let enrolled = stage.code();
    let question = stage.home.ask_one(&login("bob"));
    assert_eq!(stage.home.ask_one(&answer("bob", question.cookie(), &enrolled)).code(), "wrong_code");
    let sent = stage.codes().pop().unwrap();
    assert_eq!(stage.home.ask_one(&answer("bob", question.cookie(), &sent)).told(), "accept");
    // The log says what the administrator did, and not to which target.
    let log = stage.home.log();
    for action in ["enrol_begin", "enrol_show", "enrol"] {
        assert!(log.contains(&format!("action=\"{action}\"")), "{action}: {log}");
    }
    stage.leaks_nothing(&[&enrolled, &sent]);
}

#[test]
fn a_target_is_read_from_standard_input_and_proved_in_one_go() {
    let stage = Stage::new("");
    let said = stage.home.run(&[&ENROL[..], &["--target-stdin", "--json"]].concat(), format!("{NUMBER}\n")).ok();
    let pending: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(pending["label"], "authenticator");
    let confirm = ["enroll", "confirm", pending["challenge"].as_str().unwrap(), "--json"];
    let done: Value = serde_json::from_str(&stage.home.run(&confirm, stage.code()).ok().stdout).unwrap();
    assert_eq!((done["enrolled"].as_bool(), done["user"].as_str()), (Some(true), Some("bob")));
}

#[test]
fn what_cannot_be_a_target_is_refused_and_nothing_is_sent() {
    let stage = Stage::new("");
    for (more, status, said) in [
        (&["--target", "066012344711"][..], 65, "expected a number with its country, such as +4366012345678"),
        (&["--target", "-x"], 64, "unexpected argument '-x'"),
        (&["--target=--help"], 65, "expected a number"),
        (&["--target", "bob@corp.example"], 65, "expected a number"),
        (&[], 64, "give --target TEXT or --target-stdin"),
        (&["--target", NUMBER, "--target-stdin"], 64, "cannot be used with"),
    ] {
        let ended = stage.home.run(&[&ENROL[..], more].concat(), "");
        assert!(ended.status == Some(status) && ended.stderr.contains(said), "{more:?}: {ended:?}");
    }
    for (client, status, said) in [
        ("notify mail", 65, "there is no section [notify mail] in plugin.ini; write it"),
        ("duo", 64, "a target goes with --client"),
        ("totp", 64, "a target goes with --client"),
    ] {
        let ended = stage.home.run(&["enroll", "bob", "--client", client, "--target", NUMBER], "");
        assert!(ended.status == Some(status) && ended.stderr.contains(said), "{client}: {ended:?}");
    }
    let drawn = stage.home.run(&[&ENROL[..], &["--target", NUMBER, "--qr", "terminal"]].concat(), "");
    assert!(drawn.status == Some(64) && drawn.stderr.contains("a target has no secret to show"), "{drawn:?}");
    assert!(stage.messages().is_empty());
    assert!(stage.ids("bob").is_empty());
}

#[test]
fn a_target_whose_code_cannot_be_sent_is_not_pending() {
    let stage = Stage::new("");
    let program = stage.program("fail", "exit 1");
    stage.home.set("notify sms", "command", &program.display().to_string());
    let ended = stage.home.run(&[&ENROL[..], &["--target", NUMBER]].concat(), "");
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(70), ""));
    let expected = "no code was sent, and nothing is enrolled: the program ended with exit status: 1";
    assert!(ended.stderr.starts_with(expected), "{}", ended.stderr);
}

#[test]
fn what_a_target_is_can_be_said() {
    let stage = Stage::new("target = token 3..32\n");
    for (target, status) in [("C0FFEE-1", 0), ("-C0FFEE", 65), ("a b", 65), ("ab", 65)] {
        let target = format!("--target={target}");
        let ended = stage.home.run(&["enroll", "carol", "--client", "notify sms", &target], "");
        assert_eq!(ended.status, Some(status), "{target}: {ended:?}");
    }
}

//! The program that checks the password before the second factor is looked at: no answer of it but a plain yes is one.

#[path = "first_factor/limits.rs"]
mod limits;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use countersign::clock::Clock;
use countersign::config::gateway::FirstFactor;
use countersign::config::value::Value as _;
use countersign::engine::Engine;
use countersign::gateway::json::Native;
use countersign::log::Log;
use countersign::serve::stream::Stream;
use countersign::serve::{self, Serving};
use countersign::setup::Setup;
use serde_json::{Value, json};

use crate::rig::okta::Okta;
use crate::rig::{Answer, Finished, Home, PATIENCE, Phone, request};

const NOW: u64 = 1_800_000_000;

/// A home of alice, where the script `check` of the home is asked as `asked` says.
fn home(asked: &str) -> (Home, Phone) {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    home.set_clock(NOW);
    let script = home.dir().join("check");
    home.append(&format!(
        "[gateway squid-basic]\nappend_otp = ,\nwait = 4\nfirst_factor = {asked}:/bin/sh {}\n",
        script.display()
    ));
    (home, phone)
}

/// What a helper says to a login, where the program is the script `check`.
fn told(home: &Home, check: &str, user: &str, typed: &str) -> String {
    home.keep("check", check);
    let Finished { status, stdout, stderr } = home.run(&["gateway", "squid-basic"], format!("{user} {typed}\n"));
    assert_eq!((status, stderr.as_str(), stdout.matches('\n').count()), (Some(0), "", 1), "{stdout}");
    stdout.split([' ', '\n']).next().unwrap().to_owned()
}

/// The code of the last audit line; empty for an accept.
fn logged(home: &Home) -> String {
    let log = home.log();
    let line = log.lines().rfind(|line| line.contains(" verdict trace=")).unwrap();
    let code = line.split_once(" code=\"").map(|(_, rest)| rest.split_once('"').unwrap().0);
    code.unwrap_or_default().to_owned()
}

#[test]
fn nothing_but_a_line_that_says_ok_is_a_yes() {
    let (home, phone) = home("squid");
    let typed = format!("pw,{}", phone.code_at(NOW, 0));
    for (check, code) in [
        ("read -r line; echo ERR", "wrong_password"),
        ("read -r line; echo 'ERR OK'", "wrong_password"),
        ("read -r line; echo OKAY", "first_factor_failed"),
        ("read -r line; echo ok", "first_factor_failed"),
        ("read -r line; echo 'BH OK'", "first_factor_failed"),
        ("read -r line; echo '1 OK'", "first_factor_failed"),
        ("read -r line; echo; echo OK", "first_factor_failed"),
        ("read -r line; printf OK", "first_factor_failed"),
        ("read -r line; printf 'OK\\0\\n'", "first_factor_failed"),
        ("read -r line; echo OK >&2", "first_factor_failed"),
        ("read -r line", "first_factor_failed"),
        ("exit 0", "first_factor_failed"),
        ("printf OK; kill -KILL $$", "first_factor_failed"),
        ("head -c 1048576 /dev/zero | tr '\\0' O", "first_factor_failed"),
        ("head -c 1048576 /dev/zero | tr '\\0' '\\n'; echo OK", "first_factor_failed"),
        ("exec /nonexistent", "first_factor_failed"),
    ] {
        let word = told(&home, check, "alice", &typed);
        assert_eq!(logged(&home), code, "{check}");
        assert_eq!(word, if code == "wrong_password" { "ERR" } else { "BH" }, "{check}");
    }
    // None of them had the code looked at. Whoever says yes need not read, nor end at once.
    assert_eq!(told(&home, "echo OK; head -c 1048576 /dev/zero", "alice", &typed), "OK");
    assert_eq!(told(&home, "echo OK", "alice", &typed), "ERR");
    assert_eq!(logged(&home), "used_code");
}

#[test]
fn a_program_that_hangs_or_comes_late_is_killed_and_says_no() {
    let (home, phone) = home("squid");
    let typed = format!("pw,{}", phone.code_at(NOW, 0));
    let pid = home.dir().join("pid");
    let note = format!("echo $$ > {}", pid.display());
    for check in [
        format!("{note}; read -r line; sleep 1000 & wait"),
        format!("{note}; read -r line; sleep 5; echo OK"),
        format!("{note}; read -r line; echo OK; exec sleep 1000"),
        format!("{note}; trap '' TERM; while :; do :; done"),
    ] {
        // It would hang again: Squid is not to ask once more.
        assert_eq!(told(&home, &check, "alice", &typed), "ERR", "{check}");
        assert!(["first_factor_failed", "deadline_exceeded"].contains(&logged(&home).as_str()), "{}", logged(&home));
        let number = fs::read_to_string(&pid).unwrap();
        let patience = Instant::now() + PATIENCE;
        while is_running(number.trim()) {
            assert!(Instant::now() < patience, "{check}: it still runs");
            thread::sleep(Duration::from_millis(10));
        }
    }
    assert_eq!(told(&home, "echo OK", "alice", &typed), "OK", "the code was not looked at");
}

/// Whether a process is there that has not ended: whoever is to wait for it may not have done so.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn a_program_reads_one_line_whatever_is_typed() {
    let (home, phone) = home("squid");
    let got = home.dir().join("got");
    let check = format!("cat > {}; echo OK", got.display());
    let code = phone.code_at(NOW, 0);
    assert_eq!(told(&home, &check, "al%20ice%0A%25", &format!("p%20w%0A\"$(id)\\,{code}")), "ERR");
    assert_eq!(fs::read_to_string(&got).unwrap(), "al%20ice%0A%25 p%20w%0A%22%24%28id%29%5C\n");
    assert_eq!(logged(&home), "not_enrolled");
    fs::remove_file(&got).unwrap();
    // What ends a text in the one or the other is not said to it.
    assert_eq!(told(&home, &check, "alice", &format!("p%00w,{code}")), "ERR");
    let (pwauth, phone) = self::home("pwauth");
    let check = format!("cat > {}", got.display());
    for password in ["p%0Aw", "p%0Dw", "%0A"] {
        assert_eq!(told(&pwauth, &check, "alice", &format!("{password},{code}")), "ERR");
        assert_eq!(logged(&pwauth), "wrong_password");
    }
    assert!(!got.exists());
    assert_eq!(told(&pwauth, &check, "alice", &format!("p%20w,{}", phone.code_at(NOW, 0))), "OK");
    assert_eq!(fs::read_to_string(&got).unwrap(), "alice\np w\n");
    assert_eq!(told(&pwauth, "exit 3", "alice", &format!("pw,{code}")), "ERR");
    assert_eq!(logged(&pwauth), "wrong_password");
}

#[test]
fn nothing_of_the_password_is_left_behind() {
    let (home, phone) = home("squid");
    // The program has no environment of ours, and no arguments but its own.
    let check = "read -r line; tr '\\0' '\\n' < /proc/$$/environ | grep -q canary && echo ERR; echo OK";
    assert_eq!(told(&home, check, "alice", &format!("canary,{}", phone.code_at(NOW, 0))), "OK");
    told(&home, "echo ERR", "alice", "canary,canary");
    told(&home, "echo canary", "alice", "canary,canary");
    assert!(!home.log().contains("canary"), "{}", home.log());
}

#[test]
fn a_trial_run_lets_in_no_wrong_password() {
    let (home, phone) = home("squid");
    home.append("[policy]\nenforce = no\n");
    let right = format!("pw,{}", phone.code_at(NOW, 0));
    for check in ["echo ERR", "echo OKAY", "exit 0", "sleep 1000"] {
        assert_ne!(told(&home, check, "alice", &right), "OK", "{check}");
    }
    // The second factor is on trial.
    assert_eq!(told(&home, "echo OK", "alice", "pw,000000"), "OK");
    assert_eq!(told(&home, "echo OK", "alice", "pw"), "OK");
}

#[test]
fn nobody_is_asked_for_whoever_has_no_password() {
    let okta = Okta::start();
    let home = okta.home("");
    // Of a dialogue that nobody began with a password.
    let foreign = home.ask_one(&request(1, "alice", json!({}))).cookie().to_owned();
    let (script, otp) = (home.dir().join("check"), json!({"otp": ""}));
    home.keep("check", "read -r user password; test \"$password\" = right && echo OK || echo ERR");
    let mut answers = converse(
        &home,
        &script,
        vec![
            request(1, "alice", json!({"key_value_pairs": otp})),
            request(2, "alice", json!({"key_value_pairs": otp, "cookie": "forged"})),
            request(3, "alice", json!({"key_value_pairs": otp, "cookie": foreign, "session_id": "session of 1"})),
            request(4, "alice", json!({"key_value_pairs": {"otp": "", "password": "wrong"}, "cookie": foreign})),
            request(5, "alice", json!({"key_value_pairs": {"otp": "123456"}, "cookie": foreign})),
            request(6, "alice", json!({"key_value_pairs": {"password": "right"}})),
        ],
    );
    let question = answers.pop().unwrap();
    let codes: Vec<&str> = answers.iter().map(Answer::code).collect();
    let missing = "password_required";
    assert_eq!(codes, [missing, missing, missing, "wrong_password", missing]);
    assert_eq!((question.told().as_str(), okta.web.requests().len()), ("need_info", 0), "nothing was asked of anybody");
    // A dialogue that began with one goes on without.
    let more = json!({"key_value_pairs": {"otp": "123456"}, "cookie": question.cookie()});
    let session = |id, session: &str| {
        let mut request = request(id, "alice", more.clone());
        request["session_id"] = session.into();
        request
    };
    let answers = converse(&home, &script, vec![session(7, "session of 7"), session(8, "session of 6")]);
    assert_eq!((answers[0].code(), answers[1].told().as_str()), (missing, "accept"));
}

/// What is answered to `requests` in the native language, which can tell a question, behind a first factor.
fn converse(home: &Home, script: &Path, requests: Vec<Value>) -> Vec<Answer> {
    let Setup { config, sealer, store } = Setup::open(&home.ini()).unwrap();
    let config = config.behind_first_factor("test");
    let first_factor = FirstFactor::parse(&format!("squid:/bin/sh {}", script.display()));
    assert!(first_factor.is_some());
    let (input, mut requests_in) = std::io::pipe().unwrap();
    let (mut answers_out, output) = std::io::pipe().unwrap();
    for request in &requests {
        writeln!(requests_in, "{request}").unwrap();
    }
    drop(requests_in);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = Engine::new(&config, store, sealer);
    let log = Log::start(&config).unwrap();
    runtime.block_on(async {
        let (input, output) = (Stream::reader(input.into()).unwrap(), Stream::writer(output.into()).unwrap());
        let serving = Serving {
            engine: &engine,
            protocol: Arc::new(Native),
            clock: Clock::System,
            log,
            deadline: Duration::from_secs(30),
            max_in_flight: 64,
            clients: Vec::new(),
            first_factor,
            metrics: None,
        };
        serve::run(serving, input, output).await.unwrap();
    });
    let mut text = String::new();
    // The watchdog holds the other end for as long as the process lives.
    let mut bytes = [0; 4096];
    while text.matches('\n').count() < requests.len() {
        let read = answers_out.read(&mut bytes).unwrap();
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    let mut answers: Vec<Answer> = text.lines().map(|line| Answer::parse(line.as_bytes())).collect();
    answers.sort_by_key(|answer| requests.iter().position(|request| request["id"] == answer.id));
    answers
}

#[test]
fn the_program_that_squid_brings_along_is_asked_as_squid_asks_it() {
    let program = "/usr/lib/squid/basic_ncsa_auth";
    if !Path::new(program).exists() {
        assert!(std::env::var_os("COUNTERSIGN_NOTHING_SKIPPED").is_none_or(|value| value != "1"));
        return;
    }
    let phone = Phone::new(1);
    let home = Home::with(&[("al ice", &phone), ("alice", &phone)]);
    home.set_clock(NOW);
    let hash =
        Command::new("openssl").args(["passwd", "-1", "-stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut hash = hash.unwrap();
    hash.stdin.take().unwrap().write_all("p w\"%é\\".as_bytes()).unwrap();
    let hash = String::from_utf8(hash.wait_with_output().unwrap().stdout).unwrap();
    home.keep("passwd", &format!("alice:{hash}al ice:{hash}"));
    home.append(&format!(
        "[gateway squid-basic]\nappend_otp = ,\nfirst_factor = squid:{program} {}\n",
        home.dir().join("passwd").display()
    ));
    let ask = |user: &str, password: &str, code: &str| {
        let line = format!("{user} {password},{code}\n");
        home.run(&["gateway", "squid-basic"], line).ok().stdout.split([' ', '\n']).next().unwrap().to_owned()
    };
    let right = "p%20w%22%25%C3%A9%5C";
    let code = |offset| phone.code_at(NOW, offset);
    assert_eq!(ask("alice", "wrong", &code(0)), "ERR");
    assert_eq!(ask("eve", right, &code(0)), "ERR");
    assert_eq!(ask("alice%0Aal%20ice", right, &code(0)), "ERR");
    assert_eq!(ask("alice", right, "000000"), "ERR");
    assert_eq!(ask("alice", right, &code(0)), "OK");
    assert_eq!(ask("al%20ice", right, &code(0)), "OK");
    assert_eq!(ask("alice", "wrong", &code(1)), "ERR");
    assert_eq!(ask("alice", right, &code(1)), "OK");
}

//! What is written about verdicts: one audit line each, that nobody can forge, and never a code or a secret.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use data_encoding::{BASE32_NOPAD, HEXLOWER, HEXUPPER};
use rig::{Answer, Gateway, Home, Phone, attempt, finish, request};
use serde_json::{Value, json};

/// A moment in the middle of a time step; what happens there does not depend on when the test runs.
const NOW: u64 = 1_800_000_015;

/// How long an answer may take that is due within a second.
const SOON: Duration = Duration::from_secs(10);

// ------------------------------------------------------------------------------------------------------------ helpers

/// A log line, taken apart.
#[derive(Debug)]
struct Line {
    level: String,
    message: String,
    fields: BTreeMap<String, Value>,
}

impl Line {
    /// Reads a line of the text format: time, level, message, then `name="value"` or `name=number`.
    fn of_text(line: &str) -> Self {
        let bad = || panic!("not a log line: {line}");
        assert!(!line.chars().any(is_dangerous), "{line:?}");
        let (time, rest) = line.split_once(' ').unwrap_or_else(bad);
        assert!(time.len() == 27 && time.ends_with('Z'), "no time: {line}");
        let (level, mut rest) = rest.trim_start().split_once(' ').unwrap_or_else(bad);
        let mut message = String::new();
        let mut fields = BTreeMap::new();
        while !rest.is_empty() {
            let word = rest.find([' ', '=']).unwrap_or(rest.len());
            if !rest[word..].starts_with('=') {
                assert!(fields.is_empty(), "words behind the fields: {line}");
                message = format!("{message} {}", &rest[..word]).trim().to_owned();
                rest = rest[word..].trim_start();
                continue;
            }
            let name = rest[..word].to_owned();
            let value = &rest[word + 1..];
            let length = if value.starts_with('"') { quoted(value) } else { value.find(' ').unwrap_or(value.len()) };
            let (value, behind) = value.split_at(length);
            assert!(behind.is_empty() || behind.starts_with(' '), "{line}");
            let value = if value.starts_with('"') { unquoted(value) } else { value.parse::<u64>().unwrap().into() };
            assert!(fields.insert(name, value).is_none(), "a field is there twice: {line}");
            rest = behind.trim_start();
        }
        Self { level: level.to_owned(), message, fields }
    }

    /// Reads a line of the JSON format.
    fn of_json(line: &str) -> Self {
        assert!(!line.chars().any(is_dangerous), "{line:?}");
        let mut fields: BTreeMap<String, Value> = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert_eq!(line.matches("\"verdict\":").count(), usize::from(fields.contains_key("verdict")), "{line}");
        let mut take = |name: &str| fields.remove(name).unwrap().as_str().unwrap().to_owned();
        assert!(take("timestamp").ends_with('Z'));
        let (level, message, target) = (take("level"), take("message"), take("target"));
        assert!(target.starts_with("countersign"), "{line}");
        Self { level, message, fields }
    }

    fn is_audit(&self) -> bool {
        self.message == "verdict"
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.as_str().unwrap())
    }

    #[track_caller]
    fn has(&self, name: &str, value: &str) {
        assert_eq!(self.text(name), Some(value), "{name}: {self:?}");
    }

    #[track_caller]
    fn has_not(&self, name: &str) {
        assert_eq!(self.fields.get(name), None, "{name}: {self:?}");
    }
}

/// How long the quoted text is that `text` begins with.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    panic!("a quote has no end: {text}")
}

fn unquoted(text: &str) -> Value {
    let inner = &text[1..text.len() - 1];
    let mut chars = inner.chars();
    let mut plain = String::new();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap() } else { c });
    }
    Value::String(plain)
}

/// What turns text around, ends a line or commands a terminal.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// How a line is read.
type Read = fn(&str) -> Line;

/// The formats, each with how a line of it is read.
const FORMATS: [(&str, Read); 2] = [("text", Line::of_text), ("json", Line::of_json)];

fn audits(log: &str, read: Read) -> Vec<Line> {
    assert!(log.is_empty() || log.ends_with('\n'), "the last line has no end: {log}");
    log.lines().map(read).filter(Line::is_audit).collect()
}

/// The one audit line with this trace.
#[track_caller]
fn audit_of<'a>(lines: &'a [Line], trace: &str) -> &'a Line {
    let mut found = lines.iter().filter(|line| line.text("trace") == Some(trace));
    let line = found.next().unwrap_or_else(|| panic!("no audit line has trace {trace}: {lines:#?}"));
    assert!(found.next().is_none(), "two audit lines have trace {trace}");
    line
}

/// The one audit line of a session.
#[track_caller]
fn audit_of_session<'a>(lines: &'a [Line], session: &str) -> &'a Line {
    let mut found = lines.iter().filter(|line| line.text("session") == Some(session));
    let line = found.next().unwrap_or_else(|| panic!("no audit line of {session}: {lines:#?}"));
    assert!(found.next().is_none(), "two audit lines of {session}");
    line
}

// ------------------------------------------------------------------------------------------------------- the audit line

#[test]
fn each_verdict_has_one_audit_line_with_what_an_operator_looks_for() {
    for (format, read) in FORMATS {
        let phone = Phone::new(1);
        let home = Home::init();
        home.set("logging", "format", format);
        home.import("alice", &phone);
        home.set_clock(NOW);
        let typed = |session: &str, code: &str| json!({"session_id": session, "client_ip": "192.0.2.7", "key_value_pairs": {"otp": code}});
        let right = phone.code_at(NOW, 0);
        let asked = home.ask_one(&request(1, "Alice", json!({"session_id": "asked"})));
        assert_eq!(asked.told(), "need_info");
        let accepted = home.ask_one(&request(2, "Alice", typed("accepted", &right)));
        assert_eq!(accepted.told(), "accept");
        let rejects = [
            home.ask_one(&request(3, "Alice", typed("used", &right))),
            home.ask_one(&request(4, "Alice", typed("wrong", &phone.wrong_code(NOW)))),
            home.ask_one(&request(5, "Alice", typed("malformed", "hello"))),
            home.ask_one(&request(6, "Alice", typed("outside", &phone.code_at(NOW, 5)))),
            home.ask_one(&request(7, "nobody", typed("nobody", "000000"))),
            home.ask_one(&request(8, "Alice", typed("push", ""))),
            home.ask_one(&request(9, "Alice", json!({"session_id": "http", "protocol": "http"}))),
            home.ask_one(&request(10, "Alice", json!({"session_id": "authorize", "type": "authorize"}))),
            home.ask_one(&request(11, "", json!({"session_id": "none", "gateway_user": null}))),
            home.ask_raw("nonsense\n").answers.remove(0),
        ];
        let ended = home.ask_one(&json!({"id": 12, "type": "session_ended", "session_id": "ended"}));
        assert_eq!(ended.told(), "accept");

        let lines = audits(&home.log(), read);
        assert_eq!(lines.len(), 3 + rejects.len(), "{lines:#?}");
        let traces: BTreeSet<_> = lines.iter().map(|line| line.text("trace").unwrap()).collect();
        assert_eq!(traces.len(), lines.len(), "each trace is there once");
        for line in &lines {
            assert_eq!((line.level.as_str(), line.message.as_str()), ("INFO", "verdict"));
            assert!(line.fields["duration_us"].is_u64(), "{line:?}");
        }

        let line = audit_of_session(&lines, "accepted");
        for (name, value) in [
            ("kind", "authenticate"),
            ("verdict", "accept"),
            ("source", "192.0.2.7"),
            ("protocol", "ssh"),
            ("claimant", "Alice"),
            ("mfa_identity", "Alice"),
            ("factor", "totp"),
            ("reason", "verified"),
            ("cookie", "none"),
        ] {
            line.has(name, value);
        }
        line.has_not("code");
        line.has_not("class");

        let line = audit_of_session(&lines, "asked");
        line.has("verdict", "need_info");
        line.has("claimant", "Alice");
        ["factor", "code", "class"].iter().for_each(|name| line.has_not(name));

        for reject in &rejects {
            let line = audit_of(&lines, reject.trace.as_deref().unwrap());
            let error = reject.error.as_ref().unwrap();
            line.has("verdict", "reject");
            line.has("class", &error.class);
            line.has("code", &error.code);
            line.has("reason", reject.reason());
            match error.service.as_deref() {
                Some(service) => line.has("service", service),
                None => line.has_not("service"),
            }
            line.has_not("factor");
        }
        for (session, claimant) in [("wrong", Some("Alice")), ("nobody", Some("nobody")), ("none", None)] {
            assert_eq!(audit_of_session(&lines, session).text("claimant"), claimant);
        }
        audit_of_session(&lines, "authorize").has("kind", "authorize");
        audit_of_session(&lines, "ended").has("kind", "session_ended");
    }
}

#[test]
fn the_audit_line_is_there_when_the_answer_comes() {
    let phone = Phone::new(2);
    let home = Home::with(&[("alice", &phone)]);
    let mut gateway = Gateway::start(&home);
    for count in 1..=50_usize {
        let answer = gateway.ask(&attempt(count, "alice", "000000x"));
        let lines = audits(&home.log(), Line::of_text);
        assert_eq!(lines.len(), count);
        audit_of(&lines, answer.trace.as_deref().unwrap());
    }
}

#[test]
fn the_audit_line_tells_what_the_cookie_was() {
    let home = Home::init();
    home.set_clock(NOW);
    let with = |session: &str, cookie: &str| {
        home.ask_one(&request(1, "alice", json!({"session_id": session, "cookie": cookie})))
    };
    let cookie = home.ask_one(&request(1, "alice", json!({"session_id": "s"}))).cookie().to_owned();
    home.set_clock(NOW + 1);
    with("s", &cookie);
    with("other", &cookie);
    with("junk", "CANARY");
    home.set_clock(NOW + 86_400);
    with("s", &cookie);
    let told: Vec<_> =
        audits(&home.log(), Line::of_text).iter().map(|line| line.text("cookie").unwrap().to_owned()).collect();
    assert_eq!(told, ["none", "good", "foreign", "foreign", "expired"]);
}

#[test]
fn the_trace_of_a_reject_leads_to_its_audit_line_even_when_the_store_is_held() {
    let phone = Phone::new(3);
    let home = Home::with(&[("alice", &phone)]);
    // Another program, such as a backup, holds SQLite's own lock; the working thread waits for it.
    let database = rusqlite::Connection::open(home.store().join("countersign.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut gateway = Gateway::start(&home);
    let mut late = attempt(1, "alice", &phone.wrong_code(rig::now()));
    late["deadline_ms"] = 100.into();
    let answer = gateway.ask(&late);
    assert_eq!(answer.told(), "internal_error/deadline_exceeded");
    database.execute_batch("ROLLBACK").unwrap();
    // It goes on once the lock is free.
    assert_eq!(gateway.ask(&attempt(2, "alice", &phone.fresh_code())).told(), "accept");
    gateway.end();
    let lines = audits(&home.log(), Line::of_text);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    audit_of(&lines, answer.trace.as_deref().unwrap()).has("code", "deadline_exceeded");
}

#[test]
fn many_processes_write_whole_lines_into_one_log() {
    const PROCESSES: usize = 8;
    const REQUESTS: usize = 300;
    let home = Home::init();
    let home = &home;
    let lines: String = (0..REQUESTS).map(|id| format!("{}\n", request(id, "alice", json!({})))).collect();
    let commands: Vec<Command> = (0..PROCESSES).map(|_| home.command(&["serve"])).collect();
    thread::scope(|scope| {
        for mut command in commands {
            let lines = &lines;
            scope.spawn(move || finish(&mut command, lines.as_bytes()).ok());
        }
    });
    let lines = audits(&home.log(), Line::of_text);
    assert_eq!(lines.len(), PROCESSES * REQUESTS);
    let traces: BTreeSet<_> = lines.iter().map(|line| line.text("trace").unwrap()).collect();
    assert_eq!(traces.len(), lines.len(), "each trace is there once, among processes too");
}

// ------------------------------------------------------------------------------------------------------------- secrets

/// Everything that must appear nowhere, in every form it could.
struct Canaries(Vec<String>);

impl Canaries {
    fn of(home: &Home, phones: &[&Phone]) -> Self {
        let mut texts = vec!["CANARY".to_owned(), "canary".to_owned()];
        for phone in phones {
            let bytes = BASE32_NOPAD.decode(phone.secret().as_bytes()).unwrap();
            texts.extend([
                phone.secret(),
                phone.secret().to_lowercase(),
                HEXLOWER.encode(&bytes),
                HEXUPPER.encode(&bytes),
            ]);
            texts.push(format!("{bytes:?}"));
        }
        let key = fs::read_to_string(home.dir().join("master.key")).unwrap();
        for line in key.lines().filter(|line| !line.starts_with('#')) {
            texts.extend([line.to_owned(), line.to_uppercase()]);
            texts.push(format!("{:?}", HEXLOWER.decode(line.as_bytes()).unwrap()));
        }
        Self(texts)
    }

    #[track_caller]
    fn assert_not_in(&self, what: &str, text: &str) {
        for canary in &self.0 {
            assert!(!text.contains(canary), "{canary} in {what}: {text}");
        }
    }
}

/// Whether `code` stands in `text` as a number of its own, not inside a longer one or a trace.
fn is_shown(text: &str, code: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_hexdigit());
    text.match_indices(code)
        .any(|(at, _)| !part(text[..at].chars().next_back()) && !part(text[at + code.len()..].chars().next()))
}

/// Lines with a canary at every place where one can stand, and `code` typed as well.
fn canary_lines(code: &str, cookie: &str) -> Vec<String> {
    let mut values = vec![
        json!({"key_value_pairs": {"otp": "CANARY"}}),
        json!({"key_value_pairs": {"otp": code}}),
        json!({"key_value_pairs": {"otp": format!("CANARY{code}")}}),
        json!({"key_value_pairs": {"password": "CANARY", "pin": "CANARY", "": "CANARY", "CANARY": "CANARY"}}),
        json!({"key_value_pairs": {"otp": ["CANARY"]}}),
        json!({"key_value_pairs": {"otp": {"CANARY": "CANARY"}}}),
        json!({"key_value_pairs": {"otp": code.parse::<u64>().unwrap()}}),
        json!({"key_value_pairs": "CANARY"}),
        json!({"key_value_pairs": ["CANARY"]}),
        json!({"cookie": "CANARY"}),
        json!({"cookie": format!("CANARY{}", "A".repeat(90))}),
        json!({"cookie": cookie}),
        json!({"cookie": ["CANARY"]}),
        json!({"cookie": {"CANARY": 1}}),
        json!({"session_cookie": {"CANARY": "CANARY", "deep": {"CANARY": ["CANARY"]}}}),
        json!({"session_cookie": "CANARY"}),
        json!({"session_cookie": ["CANARY"]}),
        json!({"unknown_field": "CANARY"}),
        json!({"unknown_field": {"CANARY": ["CANARY"]}}),
        json!({"otp": code}),
        json!({"password": "CANARY"}),
        json!({"v": "CANARY"}),
        json!({"type": "CANARY"}),
        json!({"type": ["CANARY"]}),
        json!({"type": "hello", "CANARY": "CANARY"}),
        json!({"type": "cancel", "target": {"CANARY": 1}}),
        json!({"deadline_ms": "CANARY"}),
        json!({"gateway_groups": "CANARY"}),
        json!({"gateway_groups": [{"CANARY": "CANARY"}]}),
        json!({"id": {"CANARY": "CANARY"}}),
        json!({"id": ["CANARY"]}),
    ];
    let texts = [
        "session_id",
        "protocol",
        "connection_name",
        "client_ip",
        "client_hostname",
        "gateway_user",
        "gateway_domain",
        "server_ip",
        "server_hostname",
        "server_username",
        "server_domain",
    ];
    values.extend(texts.iter().map(|field| json!({*field: ["CANARY"]})));
    values.extend(["client_port", "server_port"].iter().map(|field| json!({*field: "CANARY"})));
    let mut lines: Vec<String> = values.into_iter().map(|more| request("x", "alice", more).to_string()).collect();
    let whole = request("x", "alice", json!({"key_value_pairs": {"otp": "CANARY"}})).to_string();
    for broken in [
        whole[..whole.len() - 1].to_owned(),
        whole[..whole.find("CANARY").unwrap() + 6].to_owned(),
        format!("{whole}CANARY"),
        format!("CANARY{whole}"),
        format!("{whole},{whole}"),
        whole.replace("\"otp\":", "\"otp\":CANARY,\"otp\":"),
        whole.replace("\"CANARY\"", "\"CANARY\\q\""),
        whole.replace("\"CANARY\"", "\"CANARY\\ud800\""),
        whole.replace("\"otp\":", "\"otp\":\"CANARY\",\"otp\":"),
        whole.replace("\"protocol\"", "\"cookie\":\"CANARY\",\"cookie\":\"CANARY\",\"protocol\""),
        whole.replace("CANARY", &format!("CANARY{}", "x".repeat(70_000))),
        whole.replace("\"CANARY\"", &format!("{}\"CANARY\"{}", "[".repeat(50), "]".repeat(50))),
        "\"CANARY\"".into(),
        "[\"CANARY\"]".into(),
        "{'otp': 'CANARY'}".into(),
        "CANARY".into(),
    ] {
        lines.push(broken);
    }
    lines
}

#[test]
fn no_secret_is_logged_at_the_most_talkative_level() {
    for (format, _) in FORMATS {
        for destination in ["file", "stderr"] {
            // Of eight digits: no fraction of a second looks like a code.
            let phone = Phone::new(4).with("SHA1", 8, 30);
            let home = Home::with(&[("alice", &phone), ("bob", &Phone::new(5))]);
            home.set_clock(NOW);
            home.set("logging", "level", "debug");
            home.set("logging", "format", format);
            if destination == "stderr" {
                home.set("logging", "destination", "stderr");
            }
            let (code, bob) = (phone.code_at(NOW, 0), Phone::new(5));
            let line = format!("{}\n", attempt(1, "bob", &bob.code_at(NOW, 0)));
            let cookie = home.ask_raw(line).answers.remove(0).cookie().to_owned();
            let mut input = canary_lines(&code, &cookie).join("\n").into_bytes();
            let count = input.iter().filter(|byte| **byte == b'\n').count() + 1;
            // Not UTF-8, around a canary.
            input.extend_from_slice(b"\n{\"type\":\"authenticate\",\"otp\":\"CANARY\xff\"}\n");
            let done = home.run(&["serve"], &input);
            assert_eq!(done.status, Some(0));
            assert_eq!(done.stdout.lines().count(), count + 1, "one answer a line");
            assert!(done.stdout.contains("\"verdict\":\"accept\""), "the right code was among them");
            let log = home.log();
            let logged = if destination == "stderr" { &done.stderr } else { &log };
            assert!(logged.lines().count() > count, "something was logged");
            let canaries = Canaries::of(&home, &[&phone, &bob]);
            // The session cookie goes back as it came.
            let without_it = |line: &str| {
                let mut answer: Value = serde_json::from_str(line).unwrap();
                answer.as_object_mut().unwrap().remove("session_cookie");
                answer.to_string()
            };
            let stdout = done.stdout.lines().map(without_it).collect::<Vec<_>>().join("\n");
            for (what, text) in [("stdout", &stdout), ("stderr", &done.stderr), ("the log", &log)] {
                canaries.assert_not_in(what, text);
                assert!(!is_shown(text, &code), "the code in {what}: {text}");
            }
            // Stdout is where cookies belong.
            for text in [&done.stderr, &log] {
                assert!(!text.contains(&cookie), "a cookie: {text}");
                for answer in done.stdout.lines().map(|line| Answer::parse(line.as_bytes())) {
                    assert!(answer.cookie.is_none_or(|cookie| !text.contains(&cookie)), "a cookie: {text}");
                }
            }
        }
    }
}

#[test]
fn no_secret_is_told_by_any_error_of_the_administrator() {
    let phone = Phone::new(6);
    let home = Home::with(&[("alice", &phone)]);
    home.set_clock(NOW);
    home.set("logging", "level", "debug");
    let canaries = Canaries::of(&home, &[&phone]);
    let mut told = String::new();
    let mut run = |arguments: &[&str], input: &str, expected: i32| {
        let done = home.run(arguments, input);
        assert_eq!(done.status, Some(expected), "{arguments:?}: {done:?}");
        told += &format!("{}{}", done.stdout, done.stderr);
    };
    let uri = phone.uri("alice");
    for bad in [
        "CANARY".to_owned(),
        "otpauth://totp/x?secret=CANARY1".into(),
        "otpauth://hotp/x?secret=CANARY".into(),
        "otpauth://totp/x?secret=CANARY&secret=CANARY".into(),
        format!("{uri}&secret=CANARY"),
        format!("{uri}&digits=CANARY"),
        format!("{uri}&period=CANARY"),
        format!("{uri}&algorithm=CANARY"),
        uri.replace("digits=6", "digits=99"),
        uri.replace("otpauth", "otpautj"),
        format!("x{uri}"),
    ] {
        run(&["import", "uri", "--user", "eve"], &bad, 65);
        run(&["import", "uri", "--user-from-label"], &bad, 65);
    }
    run(&["import", "uri", "--user", "alice", "--label", "authenticator"], &uri, 65);
    run(&["enroll", "confirm", "nonsense"], "CANARY\n", 65);
    run(&["list"], "", 0);
    run(&["list", "--json"], "", 0);
    run(&["show", "alice"], "", 0);
    run(&["show", "alice", "--json"], "", 0);
    run(&["check"], "", 0);
    run(&["keys", "verify"], "", 0);
    run(&["keys", "generate"], "", 65);
    let pending: Value = serde_json::from_str(&home.run(&["enroll", "bob", "--json"], "").ok().stdout).unwrap();
    let mut confirm = |code: &str, expected| {
        run(&["enroll", "confirm", pending["challenge"].as_str().unwrap(), "--json"], code, expected);
    };
    let bob = Phone::with_secret(pending["secret"].as_str().unwrap());
    confirm("CANARY", 65);
    confirm(&bob.code_at(NOW, 4), 65);
    confirm(&bob.code_at(NOW, 0), 0);
    // The database is looked into, and the key file is flawed.
    rusqlite::Connection::open(home.store().join("countersign.db"))
        .unwrap()
        .execute("UPDATE authenticator SET sealed = zeroblob(64) WHERE subscriber = 'alice'", [])
        .unwrap();
    run(&["keys", "verify"], "", 65);
    run(&["keys", "rotate"], "", 65);
    let key = home.dir().join("master.key");
    let good = fs::read_to_string(&key).unwrap();
    // The rotation that failed has added one.
    let rotated = Canaries::of(&home, &[&bob]);
    for flawed in [good.replacen('\n', "\nCANARY\n", 1), good[..good.len() - 3].to_owned(), format!("{good}x")] {
        fs::write(&key, flawed).unwrap();
        for command in [&["check"][..], &["list"], &["serve"], &["keys", "verify"], &["enroll", "carol"]] {
            run(command, "", 78);
        }
    }
    fs::write(&key, &good).unwrap();
    for ini in ["[plugin]\nmaster_key = CANARY\n", "[plugin]\nCANARY\n", "CANARY\n", "[plugin]\nmaster_kye = CANARY\n"]
    {
        fs::write(home.ini(), ini).unwrap();
        for command in [&["check"][..], &["list"], &["serve"]] {
            run(command, "", 78);
        }
    }
    for canaries in [canaries, rotated] {
        canaries.assert_not_in("what was printed", &told);
        canaries.assert_not_in("the log", &home.log());
    }
    for code in [bob.code_at(NOW, 4), bob.code_at(NOW, 0)] {
        assert!(!is_shown(&told, &code));
    }
}

#[test]
fn the_environment_and_the_command_line_hold_no_secret_of_a_running_server() {
    let phone = Phone::new(7);
    let home = Home::with(&[("alice", &phone)]);
    let mut gateway = Gateway::start(&home);
    assert_eq!(gateway.ask(&attempt(1, "alice", &phone.fresh_code())).told(), "accept");
    let canaries = Canaries::of(&home, &[&phone]);
    for file in ["cmdline", "environ", "comm"] {
        let Ok(text) = fs::read(format!("/proc/{}/{file}", gateway.pid())) else { continue };
        canaries.assert_not_in(file, &String::from_utf8_lossy(&text));
    }
}

// ------------------------------------------------------------------------------------------------------------- forgery

/// Names that want to be more than a name.
const FORGERIES: [&str; 16] = [
    "eve\nverdict=accept",
    "eve\r\n2026-01-01T00:00:00.000000Z  INFO countersign::audit: verdict verdict=\"accept\" claimant=\"root\"",
    "eve\" verdict=\"accept\" claimant=\"root",
    "eve\\\" verdict=\"accept\\",
    "eve verdict=accept",
    "\",\"verdict\":\"accept\",\"x\":\"",
    "\"}\n{\"timestamp\":\"x\",\"verdict\":\"accept\"}",
    "eve\u{1b}[2J\u{1b}[1;1Hroot",
    "eve\u{202e}toor\u{202c}",
    "eve\u{2066}root\u{2069}",
    "eve\u{2028}verdict=accept\u{2029}",
    "eve\u{85}verdict=accept",
    "eve\0verdict=accept",
    "eve\u{9b}2J",
    "eve\u{200b}\u{feff}\u{ad}",
    "eve\tverdict=accept\u{7f}\u{8}",
];

#[test]
fn no_name_can_forge_a_line_or_a_field() {
    for (format, read) in FORMATS {
        let home = Home::init();
        home.set("logging", "format", format);
        let requests: Vec<Value> = FORGERIES
            .iter()
            .enumerate()
            .map(|(id, name)| {
                let more = json!({
                    "session_id": name, "client_ip": name, "protocol": name, *name: name,
                    "key_value_pairs": {"otp": "000000"},
                });
                request(id, name, more)
            })
            .collect();
        let answers = home.ask(&requests);
        let log = home.log();
        let lines = audits(&log, read);
        assert_eq!(lines.len(), FORGERIES.len());
        assert_eq!(log.lines().count(), FORGERIES.len() * 2, "and one line for each unknown field: {log}");
        for (answer, name) in answers.iter().zip(FORGERIES) {
            let line = audit_of(&lines, answer.trace.as_deref().unwrap());
            line.has("verdict", "reject");
            let shown: String = name
                .chars()
                .map(|c| if is_dangerous(c) || c == '\u{ad}' { format!("<U+{:04X}>", u32::from(c)) } else { c.into() })
                .collect();
            for field in ["claimant", "session", "source", "protocol"] {
                line.has(field, &shown);
            }
            assert!(!answer.reason().chars().any(is_dangerous), "{answer:?}");
        }
    }
}

#[test]
fn the_fields_of_other_messages_cannot_be_forged_either() {
    for (format, read) in FORMATS {
        let home = Home::init();
        home.set("logging", "format", format);
        let lines: Vec<String> = FORGERIES
            .iter()
            .map(|name| {
                // A key that is there twice is named by the error.
                let key = serde_json::to_string(name).unwrap();
                format!("{{\"type\":\"authenticate\",{key}:1,{key}:2}}")
            })
            .collect();
        let asked = home.ask_raw(lines.join("\n"));
        assert_eq!(asked.answers.len(), FORGERIES.len());
        let logged = audits(&home.log(), read);
        assert_eq!(logged.len(), FORGERIES.len());
        for answer in &asked.answers {
            assert_eq!(answer.told(), "invalid_request/duplicate_key");
            assert!(!answer.reason().chars().any(is_dangerous), "{answer:?}");
            audit_of(&logged, answer.trace.as_deref().unwrap()).has("reason", answer.reason());
        }
    }
}

#[test]
fn a_name_without_end_is_cut() {
    let home = Home::init();
    home.ask_one(&request(1, &"x".repeat(60_000), json!({"session_id": "s"})));
    let lines = audits(&home.log(), Line::of_text);
    let claimant = audit_of_session(&lines, "s").text("claimant").unwrap();
    assert!(claimant.starts_with("xxx") && claimant.ends_with('…') && claimant.len() < 1000, "{}", claimant.len());
}

// ------------------------------------------------------------------------------------------- levels, fields, destination

#[test]
fn an_unknown_field_is_told_once_a_process_and_by_its_name_only() {
    let home = Home::init();
    let twice = |n: u64| request(n, "alice", json!({"clientip": "CANARY", "foo": n, "session_id": "s"}));
    home.ask(&[twice(1), twice(2), twice(3)]);
    let lines: Vec<Line> = home.log().lines().map(Line::of_text).filter(|line| !line.is_audit()).collect();
    let mut fields: Vec<_> = lines.iter().map(|line| line.text("field").unwrap()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["clientip", "foo"]);
    assert!(lines.iter().all(|line| line.level == "WARN"), "{lines:?}");
    assert!(!home.log().contains("CANARY"));
    home.ask(&[twice(4)]);
    assert_eq!(home.log().lines().filter(|line| line.contains("clientip")).count(), 2, "once more by another process");
}

#[test]
fn a_gateway_that_makes_fields_up_does_not_fill_the_log() {
    let home = Home::init();
    let requests: Vec<Value> = (0..500)
        .map(|n| request(n, "alice", json!({format!("{}{n}", "f".repeat(1000)): 1, format!("g{n}"): 1})))
        .collect();
    home.ask(&requests);
    let log = home.log();
    let named = log.lines().map(Line::of_text).filter(|line| !line.is_audit()).count();
    assert!((1..=100).contains(&named), "{named} fields were named");
}

#[test]
fn each_level_shows_what_is_at_least_that_bad() {
    for (level, audited, named) in [("error", 0, 0), ("warning", 0, 1), ("info", 1, 1), ("debug", 1, 1)] {
        for (format, read) in FORMATS {
            let home = Home::init();
            home.set("logging", "level", level);
            home.set("logging", "format", format);
            home.ask(&[request(1, "alice", json!({"foo": 1}))]);
            let log = home.log();
            assert_eq!(audits(&log, read).len(), audited, "{level}");
            assert_eq!(log.lines().filter(|line| line.contains("foo")).count(), named, "{level}");
        }
    }
}

#[test]
fn the_log_file_is_its_owners_whatever_the_umask_and_is_added_to() {
    let home = Home::init();
    let line = format!("{}\n", request(1, "alice", json!({})));
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" serve --config \"$1\"", env!("CARGO_BIN_EXE_countersign")]);
    command.arg(home.ini()).env_clear();
    finish(&mut command, line.as_bytes()).ok();
    let mode = || fs::metadata(home.log_path()).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o600);
    fs::set_permissions(home.log_path(), Permissions::from_mode(0o640)).unwrap();
    home.ask_one(&request(1, "alice", json!({})));
    assert_eq!(mode(), 0o640, "what an administrator changed stays");
    assert_eq!(audits(&home.log(), Line::of_text).len(), 2);
}

#[test]
fn a_relative_log_file_lies_beside_the_configuration() {
    let home = Home::init();
    home.set("logging", "destination", "file:audit.log");
    home.ask_one(&request(1, "alice", json!({})));
    let log = fs::read_to_string(home.dir().join("audit.log")).unwrap();
    assert_eq!(audits(&log, Line::of_text).len(), 1);
}

#[test]
fn stderr_gets_whole_lines_and_stdout_none() {
    for (format, read) in FORMATS {
        let home = Home::init();
        home.set("logging", "destination", "stderr");
        home.set("logging", "format", format);
        let asked = home.ask_raw(format!("{}\nnonsense\n", request(1, "alice", json!({}))));
        assert_eq!(asked.answers.len(), 2);
        assert_eq!(audits(&asked.stderr, read).len(), 2);
    }
}

#[test]
fn syslog_does_not_keep_the_verdict_back() {
    for (format, _) in FORMATS {
        let home = Home::init();
        home.set("logging", "destination", "syslog");
        home.set("logging", "format", format);
        let requests: Vec<Value> = (0..20).map(|id| request(id, "alice", json!({"foo": 1}))).collect();
        for answer in home.ask(&requests) {
            assert_eq!(answer.told(), "need_info");
        }
    }
}

#[test]
fn a_log_on_a_full_disk_does_not_keep_the_verdict_back() {
    if !PathBuf::from("/dev/full").exists() {
        return;
    }
    let phone = Phone::new(8);
    let home = Home::with(&[("alice", &phone)]);
    home.set("logging", "destination", "file:/dev/full");
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.fresh_code())).told(), "accept");
}

#[test]
fn a_closed_stderr_does_not_keep_the_verdict_back_or_harm_the_store() {
    let phone = Phone::new(9);
    let home = Home::with(&[("alice", &phone)]);
    home.set("logging", "destination", "stderr");
    home.set("logging", "level", "debug");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" serve --config \"$1\" 2>&-", env!("CARGO_BIN_EXE_countersign")]);
    command.arg(home.ini()).env_clear();
    let done = finish(&mut command, format!("{}\n", attempt(1, "alice", &phone.code_at(rig::now(), 0))).as_bytes());
    assert_eq!(done.status, Some(0));
    assert_eq!(Answer::parse(done.stdout.trim_end().as_bytes()).told(), "accept");
    // Nothing was written into a file that took the free descriptor.
    home.run(&["keys", "verify"], "").ok();
    let asked = home.ask_raw(format!("{}\n", attempt(1, "alice", &phone.code_at(rig::now(), 1))));
    assert_eq!(asked.answers[0].told(), "accept");
}

#[test]
fn a_stderr_that_nobody_reads_does_not_silence_the_verdicts() {
    // A gateway that starts a child with a pipe for its errors, and forgets about it.
    const REQUESTS: usize = 1000;
    let home = Home::init();
    home.set("logging", "destination", "stderr");
    home.set("plugin", "deadline", "1");
    let mut child =
        home.command(&["serve"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    thread::spawn(move || {
        for id in 0..REQUESTS {
            if writeln!(input, "{}", request(id, "alice", json!({}))).is_err() {
                return;
            }
        }
    });
    let (sender, answers) = mpsc::channel();
    thread::spawn(move || {
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok() && line.ends_with(b"\n") {
            if sender.send(Answer::parse(&line)).is_err() {
                return;
            }
            line.clear();
        }
    });
    let mut answered = BTreeSet::new();
    while answered.len() < REQUESTS {
        let Ok(answer) = answers.recv_timeout(SOON) else { break };
        assert!(answered.insert(answer.id.as_u64().unwrap()), "answered twice: {answer:?}");
    }
    let _ = child.kill();
    child.wait().unwrap();
    assert_eq!(answered.len(), REQUESTS, "requests that were answered");
}

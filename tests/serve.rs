//! What a gateway sees of a `serve` that stays: many requests at once, waits, cancels, signals, ends, and lines that are no
//! requests. Nothing of it may cost an answer, or memory.

#![expect(clippy::indexing_slicing, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{ChildStdin, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use rig::{Answer, Gateway, Home, PATIENCE, Phone, attempt, now, request};
use serde_json::json;

/// How much more memory a process may have had at once after a flood than before it, in KiB.
const FLAT: u64 = 4096;

fn alice() -> (Home, Phone) {
    let phone = Phone::new(1);
    (Home::with(&[("alice", &phone)]), phone)
}

/// A home where each of `count` users, `user0` and on, has the phone of that number.
fn crowd(count: usize) -> (Home, Vec<(String, Phone)>) {
    let users: Vec<_> = (0..count).map(|n| (format!("user{n}"), Phone::new(n as u64))).collect();
    let home = Home::init();
    home.import_many(users.iter().map(|(user, phone)| (user.as_str(), phone)));
    (home, users)
}

// ------------------------------------------------------------------------------------------------ many at once

#[test]
fn many_in_flight_are_answered_each_under_its_id() {
    let (home, users) = crowd(400);
    let mut gateway = Gateway::start(&home);
    let mut lines = String::new();
    let mut expected = BTreeMap::new();
    for (n, (user, phone)) in users.iter().enumerate() {
        let (more, told) = match n % 5 {
            0 => (json!({"key_value_pairs": {"otp": phone.fresh_code()}}), "accept"),
            1 => (json!({"key_value_pairs": {"otp": phone.wrong_code(now())}}), "authentication_failure/wrong_code"),
            2 => (json!({"key_value_pairs": {"otp": "?"}}), "authentication_failure/malformed_code"),
            3 => (json!({"gateway_user": null}), "policy_denied/no_claimant"),
            _ => (json!({}), "need_info"),
        };
        let mut request = request(n, user, more);
        request["client_ip"] = json!(format!("2001:db8:0:{n:x}::1"));
        lines.push_str(&format!("{request}\n"));
        expected.insert(n, told);
    }
    gateway.send_raw(lines);
    let mut traces = BTreeSet::new();
    while !expected.is_empty() {
        let answer = gateway.receive();
        let n = usize::try_from(answer.id.as_u64().unwrap()).unwrap();
        assert_eq!(Some(answer.told().as_str()), expected.remove(&n), "{answer:?}");
        if answer.verdict() == "accept" {
            assert_eq!(answer.gateway_user.as_deref(), Some(format!("user{n}").as_str()));
        }
        assert!(answer.trace.is_none_or(|trace| traces.insert(trace)), "a trace is there twice");
    }
    gateway.end().1.ok();
}

#[test]
fn requests_wait_in_the_pipe_where_one_at_a_time_is_allowed() {
    let (home, users) = crowd(100);
    home.set("plugin", "max_in_flight", "1");
    let mut gateway = Gateway::start(&home);
    let held = home.hold_store();
    let lines: String =
        users.iter().map(|(user, phone)| format!("{}\n", attempt(&**user, user, &phone.fresh_code()))).collect();
    gateway.send_raw(lines);
    drop(held);
    let (answers, finished) = gateway.end();
    finished.ok();
    let ids: BTreeSet<_> = answers.iter().map(|answer| answer.id.as_str().unwrap()).collect();
    assert_eq!((answers.len(), ids.len()), (100, 100));
    assert!(answers.iter().all(|answer| answer.verdict() == "accept"), "{answers:?}");
}

#[test]
fn a_line_may_come_byte_by_byte() {
    let (home, phone) = alice();
    let mut gateway = Gateway::start(&home);
    for byte in format!("{}\n", attempt(1, "alice", &phone.fresh_code())).bytes() {
        gateway.send_raw([byte]);
    }
    assert_eq!(gateway.answer(1).verdict(), "accept");
    gateway.end().1.ok();
}

#[test]
fn files_and_sockets_are_served_like_pipes() {
    let (home, users) = crowd(200);
    let lines = |from: usize, to: usize| -> String {
        let users = users.iter().take(to).skip(from);
        users.map(|(user, phone)| format!("{}\n", attempt(&**user, user, &phone.fresh_code()))).collect()
    };
    let assert_accepted = |output: &str| {
        let answers: Vec<_> = output.lines().map(|line| Answer::parse(line.as_bytes())).collect();
        assert!(answers.len() == 100 && answers.iter().all(|answer| answer.verdict() == "accept"), "{output}");
    };

    let (input, output) = (home.dir().join("in"), home.dir().join("out"));
    fs::write(&input, lines(0, 100)).unwrap();
    let mut command = home.command(&["serve"]);
    command.stdin(File::open(&input).unwrap()).stdout(File::create(&output).unwrap());
    assert!(command.status().unwrap().success());
    assert_accepted(&fs::read_to_string(&output).unwrap());

    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = home.command(&["serve"]);
    command.stdin(OwnedFd::from(theirs.try_clone().unwrap())).stdout(OwnedFd::from(theirs));
    let mut child = command.spawn().unwrap();
    drop(command);
    (&ours).write_all(lines(100, 200).as_bytes()).unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_accepted(&io::read_to_string(&ours).unwrap());
    assert!(child.wait().unwrap().success());
}

// ------------------------------------------------------------------------------------------------ waits and cancels

#[test]
fn a_request_that_waits_is_taken_back_and_its_code_stays_good() {
    let (home, phone) = alice();
    let code = phone.fresh_code();
    let mut gateway = Gateway::start(&home);
    let held = home.hold_store();
    gateway.send(&attempt("one", "alice", &code));
    gateway.send(&attempt("two", "alice", &code));
    gateway.sync();
    assert_eq!(gateway.ask(&json!({"type": "cancel", "id": "c", "target": "one"})).cancelled, Some(true));
    assert_eq!(gateway.answer("one").told(), "policy_denied/cancelled");
    // Without a target, the id is that of the request itself.
    gateway.send(&json!({"type": "cancel", "id": "two"}));
    let answers = [gateway.answer("two"), gateway.answer("two")];
    assert_eq!(answers.iter().filter(|answer| answer.cancelled == Some(true)).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.code() == "cancelled").count(), 1, "{answers:?}");
    for nobody in ["one", "two", "three"] {
        let answer = gateway.ask(&json!({"type": "cancel", "id": "c", "target": nobody}));
        assert_eq!(answer.cancelled, Some(false));
    }
    drop(held);
    assert_eq!(gateway.ask(&attempt("three", "alice", &code)).verdict(), "accept");
    gateway.end().1.ok();
}

#[test]
fn every_request_of_the_name_is_taken_back_and_no_other() {
    let (home, users) = crowd(4);
    let mut gateway = Gateway::start(&home);
    let held = home.hold_store();
    for (id, (user, phone)) in [1, 2, 1, 3].into_iter().zip(&users) {
        gateway.send(&attempt(id, user, &phone.fresh_code()));
    }
    gateway.send(&json!({"type": "cancel", "id": "c", "target": 1}));
    gateway.send(&json!({"type": "cancel", "id": "d", "target": "2"}));
    assert_eq!(gateway.answer("c").cancelled, Some(true));
    assert_eq!(gateway.answer("d").cancelled, Some(false), "a number is no string");
    assert_eq!([gateway.answer(1).code(), gateway.answer(1).code()], ["cancelled"; 2]);
    drop(held);
    assert_eq!(gateway.answer(2).verdict(), "accept");
    assert_eq!(gateway.answer(3).verdict(), "accept");
    gateway.end().1.ok();
}

#[test]
fn a_request_that_waits_too_long_is_rejected_at_its_deadline_and_the_next_is_served() {
    let (home, phone) = alice();
    let code = phone.fresh_code();
    let mut gateway = Gateway::start(&home);
    let held = home.hold_store();
    for id in 1..=6 {
        let mut request = attempt(id, "alice", &code);
        request["deadline_ms"] = json!(id * 30);
        gateway.send(&request);
    }
    for id in 1..=6 {
        let answer = gateway.answer(id);
        assert_eq!(answer.told(), "internal_error/deadline_exceeded");
        assert_eq!(answer.message.as_deref(), Some("Internal error"));
    }
    // What needs nothing of the store does not wait for it.
    assert_eq!(gateway.ask(&request(7, "alice", json!({}))).verdict(), "need_info");
    drop(held);
    assert_eq!(gateway.ask(&attempt(8, "alice", &code)).verdict(), "accept");
    gateway.end().1.ok();
}

#[test]
fn a_store_that_stays_held_costs_no_threads() {
    let (home, phone) = alice();
    let code = phone.fresh_code();
    let mut gateway = Gateway::start(&home);
    let held = home.hold_store();
    for round in 1..=10 {
        for id in 1..=20 {
            let mut request = attempt(format!("{round} {id}"), "alice", &code);
            request["deadline_ms"] = json!(id);
            gateway.send(&request);
        }
        for id in 1..=20 {
            let answer = gateway.answer(format!("{round} {id}"));
            // Where many wait in vain already, more are told so at once.
            assert!(["deadline_exceeded", "store_failed"].contains(&answer.code()), "{answer:?}");
        }
    }
    let threads = gateway.threads();
    drop(held);
    // Those who waited in vain may still be on their way out.
    let last = std::iter::repeat_with(|| gateway.ask(&attempt("last", "alice", &code)));
    assert_eq!(last.take(10_000).find(|answer| answer.code() != "store_failed").unwrap().verdict(), "accept");
    gateway.end().1.ok();
    assert!(threads <= 16, "{threads} threads after 200 requests that waited too long");
}

#[test]
fn a_gateway_does_not_lengthen_the_operators_deadline() {
    let (home, phone) = alice();
    home.set("plugin", "deadline", "1");
    let held = home.hold_store();
    let mut request = attempt(1, "alice", &phone.fresh_code());
    request["deadline_ms"] = json!(PATIENCE.as_millis() * 10);
    // With its input open: one that may end does so in the midst of it where the machine is too busy for its working thread.
    let mut gateway = Gateway::start(&home);
    assert_eq!(gateway.ask(&request).code(), "deadline_exceeded");
    drop(held);
    gateway.end().1.ok();
}

#[test]
fn a_disk_that_hangs_costs_no_answer_and_lets_nobody_in() {
    if Command::new("strace").arg("-V").output().is_err() {
        skipped("strace", "strace");
        return;
    }
    let (home, users) = crowd(3);
    let codes: Vec<_> = users.iter().map(|(_, phone)| phone.fresh_code()).collect();
    let login = |id: &str, user: &str, code: &str| {
        let mut request = attempt(id, user, code);
        request["deadline_ms"] = json!(300);
        request
    };
    let mut gateway = on_a_hanging_disk(&home);
    gateway.sync();
    for ((user, _), code) in users.iter().zip(&codes) {
        gateway.send(&login(user, user, code));
    }
    let late: Vec<_> = users.iter().map(|(user, _)| gateway.answer(&**user)).collect();
    // When the disk comes back, no more is said of what was answered, and what was asked meanwhile is answered.
    gateway.sync();
    let (rest, finished) = gateway.end();
    assert!(rest.is_empty(), "{rest:?}");
    finished.ok();
    let log = home.log();
    for answer in &late {
        assert_eq!(answer.told(), "internal_error/deadline_exceeded");
        assert!(log.contains(answer.trace.as_deref().unwrap()), "{answer:?}\n{log}");
    }
    for ((user, _), code) in users.iter().zip(&codes) {
        // Nobody knew when the answer was due whether the code would be used; now it is.
        home.ask_one(&attempt(1, user, code));
        assert_eq!(home.ask_one(&attempt(2, user, code)).code(), "used_code");
    }
    // Where the input has ended, there is an answer and an end all the same.
    let mut gateway = on_a_hanging_disk(&home);
    gateway.send(&login("last", "nobody", "123456"));
    let (answers, finished) = gateway.end();
    let told: Vec<_> = answers.iter().map(Answer::told).collect();
    assert_eq!(told, ["internal_error/deadline_exceeded"]);
    assert!([Some(0), Some(70)].contains(&finished.status), "{finished:?}");
}

#[test]
fn a_disk_that_hangs_costs_no_answer_to_what_needs_no_disk() {
    if Command::new("strace").arg("-V").output().is_err() {
        skipped("strace", "strace");
        return;
    }
    let (home, phone) = alice();
    let mut login = attempt("login", "alice", &phone.fresh_code());
    login["deadline_ms"] = json!(300);
    let hello = json!({"type": "hello", "id": "hello"});
    let cancel = json!({"type": "cancel", "id": "cancel", "target": "nobody"});
    for lines in
        [format!("{hello}\n{cancel}\nno request\n{login}\n"), format!("{login}\n{hello}\n{cancel}\nno request\n")]
    {
        let mut gateway = on_a_hanging_disk(&home);
        gateway.send_raw(lines);
        let (answers, finished) = gateway.end();
        assert!([Some(0), Some(70)].contains(&finished.status), "{finished:?}");
        let ids: BTreeSet<_> = answers.iter().map(|answer| answer.id.to_string()).collect();
        let expected = ["\"cancel\"", "\"hello\"", "\"login\"", "null"].map(String::from);
        assert_eq!((answers.len(), ids), (4, BTreeSet::from(expected)), "{answers:#?}");
        let login = answers.iter().find(|answer| answer.id == "login").unwrap();
        assert!(["deadline_exceeded", "used_code"].contains(&login.code()), "{login:?}");
    }
}

/// A `serve` whose every sync takes three seconds.
fn on_a_hanging_disk(home: &Home) -> Gateway {
    let serve = home.command(&["serve"]);
    Gateway::spawn(
        Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"])
            .args(["-e", "inject=fdatasync,fsync:delay_enter=3000000"])
            .arg(serve.get_program())
            .args(serve.get_args()),
    )
}

/// Says that a test needs a program that is missing, in a way that `cargo test` shows without being asked.
fn skipped(program: &str, package: &str) {
    let _ = writeln!(io::stderr(), "skipped: there is no {program}; run: apt-get install {package}");
}

// ------------------------------------------------------------------------------------------------ ends

/// A `serve` in which the requests `1` to `3` wait for the store, which is held by what comes with it.
fn waiting() -> (Home, Gateway, File) {
    let (home, users) = crowd(3);
    let mut gateway = Gateway::start(&home);
    let held = home.hold_store();
    for (id, (user, phone)) in (1..).zip(&users) {
        gateway.send(&attempt(id, user, &phone.fresh_code()));
    }
    gateway.sync();
    (home, gateway, held)
}

#[track_caller]
fn assert_all_accepted((answers, finished): (Vec<Answer>, rig::Finished)) {
    let told: BTreeMap<_, _> = answers.iter().map(|answer| (answer.id.as_u64(), answer.told())).collect();
    let expected = (1..=3).map(|id| (Some(id), "accept".to_owned())).collect();
    assert_eq!((answers.len(), told), (3, expected));
    finished.ok();
}

#[test]
fn the_end_of_input_finishes_what_is_in_flight() {
    let (_home, mut gateway, held) = waiting();
    drop(gateway.take_input());
    drop(held);
    assert_all_accepted(gateway.wait());
}

#[test]
fn a_signal_to_end_finishes_what_is_in_flight() {
    for signal in ["TERM", "INT"] {
        let (_home, gateway, held) = waiting();
        gateway.signal(signal);
        drop(held);
        // The input is still open.
        assert_all_accepted(gateway.wait());
    }
}

#[test]
fn an_idle_process_ends_at_a_signal() {
    let (home, _) = alice();
    let mut gateway = Gateway::start(&home);
    gateway.sync();
    gateway.signal("TERM");
    let (answers, finished) = gateway.wait();
    assert!(answers.is_empty());
    finished.ok();
}

#[test]
fn nobody_is_served_once_nobody_reads() {
    let (home, _) = alice();
    let mut gateway = Gateway::start(&home);
    drop(gateway.take_output());
    gateway.send(&request(1, "alice", json!({})));
    // The input is still open.
    gateway.wait().1.ok();
}

#[test]
fn a_last_line_without_an_end_is_answered() {
    let (home, phone) = alice();
    let mut gateway = Gateway::start(&home);
    gateway.send(&request(1, "alice", json!({})));
    gateway.sync();
    gateway.send_raw(attempt(2, "alice", &phone.fresh_code()).to_string());
    let (answers, finished) = gateway.end();
    assert_eq!(answers.iter().map(Answer::verdict).collect::<Vec<_>>(), ["need_info", "accept"]);
    finished.ok();
}

// ------------------------------------------------------------------------------------------------ floods

#[test]
fn a_reader_who_does_not_read_is_not_read_from_and_costs_no_memory() {
    let total: usize = std::env::var("COUNTERSIGN_UNREAD").map_or(50_000, |count| count.parse().unwrap());
    let (home, _) = alice();
    let mut gateway = Gateway::start(&home);
    assert_eq!(gateway.ask(&request(1, "alice", json!({}))).verdict(), "need_info");
    let before = gateway.peak_memory();

    let mut gateway = Gateway::start(&home);
    let output = gateway.take_output();
    let mut input = gateway.take_input();
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let writer = thread::spawn(move || {
        for id in 0..total {
            writeln!(input, "{}", request(id, "alice", json!({}))).unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
        }
        // Kept open: the process must be there to be looked at.
        input
    });
    // The answers fill their pipe; from then on the process keeps what it may, and stops to read.
    let began = Instant::now();
    let full = |count: u64| count >= 48 * 1024;
    while !full(rustix::io::ioctl_fionread(&output).unwrap()) || rig::state(gateway.pid()) != Some('S') {
        assert!(began.elapsed() < PATIENCE, "the answers do not come");
        thread::yield_now();
    }
    assert!(written.load(Ordering::Relaxed) < total / 2, "the process reads on without an end");
    gateway.put_output(output);
    let mut seen = vec![false; total];
    for _ in 0..total {
        let answer = gateway.receive();
        assert_eq!(answer.verdict(), "need_info");
        let seen = seen.get_mut(usize::try_from(answer.id.as_u64().unwrap()).unwrap()).unwrap();
        assert!(!std::mem::replace(seen, true), "answered twice: {answer:?}");
    }
    let peak = gateway.peak_memory();
    drop(writer.join().unwrap());
    let (rest, finished) = gateway.wait();
    assert!(rest.is_empty(), "{rest:?}");
    finished.ok();
    assert!(peak <= before + FLAT, "{before} KiB before, {peak} KiB after");
}

/// More than 200 lines that are no requests, each in its own way, without their ends.
fn malformed() -> Vec<Vec<u8>> {
    let good = attempt("bad", "alice", "123456").to_string();
    let mut lines: Vec<Vec<u8>> = Vec::new();
    // Cut off at each byte.
    lines.extend((0..good.len()).map(|end| good.as_bytes()[..end].to_vec()));
    // Not UTF-8: lone bytes, cut sequences, surrogates, overlong forms, UTF-16.
    for bytes in [
        b"\xff".as_slice(),
        b"\x80",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\xf8\x88\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xff\xfe{\0\"\0}\0",
    ] {
        lines.push(bytes.to_vec());
        lines.push([br#"{"id":"bad","type":"hello","x":""#.as_slice(), bytes, b"\"}"].concat());
    }
    // JSON, nearly.
    for text in [
        "\u{feff}{\"type\":\"hello\"}",
        "\0",
        "{\"type\":\"hello\0\"}",
        "\r",
        "   ",
        "\t",
        "nul",
        "NaN",
        "Infinity",
        "-",
        "+1",
        ".5",
        "1.",
        "01",
        "0x10",
        "1e",
        "1e400",
        "-1e400",
        "'type'",
        "{'type':'hello'}",
        "{type:\"hello\"}",
        "{\"type\":\"hello\",}",
        "{\"type\" \"hello\"}",
        "{\"type\":\"hello\"}}",
        "{\"type\":\"hello\"}{\"type\":\"hello\"}",
        "{\"type\":\"hello\"} // comment",
        "/* comment */ {\"type\":\"hello\"}",
        "{\"type\":\"hel\\lo\"}",
        "{\"type\":\"\\u12\"}",
        "{\"type\":\"hello\",\"x\":\"\\ud800\"}",
        "{\"type\":\"hello\",\"x\":\"\\udc00\\ud800\"}",
        "{\"type\":\"hello\",\"\\ud800\":1}",
        "{\"type\":\"hello\",\"x\":\"\u{1}\"}",
        "{1:2}",
        "{null:1}",
        "[1,]",
        "[,]",
        "]",
        "}",
        "\"",
        // JSON, but no request.
        "null",
        "true",
        "0",
        "-0",
        "1e308",
        "123456789012345678901234567890123456789012345678901234567890",
        "0.1",
        "\"authenticate\"",
        "[]",
        "{}",
        "[{}]",
        "[{\"type\":\"authenticate\",\"id\":\"bad\"}]",
    ] {
        lines.push(text.into());
    }
    // A key twice, at every depth.
    for depth in 0..30 {
        let (open, close) = ("{\"x\":[".repeat(depth / 2), "]}".repeat(depth / 2));
        lines.push(format!("{{\"type\":\"hello\",\"id\":\"bad\",\"y\":{open}{{\"k\":1,\"k\":1}}{close}}}").into());
    }
    // Every field with a value of a wrong type.
    let values = [json!(4.5), json!(-1), json!(true), json!("x"), json!(["x", 1]), json!({"x": [1]}), json!(1e300)];
    for field in [
        "v",
        "type",
        "id",
        "session_id",
        "protocol",
        "client_ip",
        "client_port",
        "gateway_user",
        "gateway_groups",
        "server_port",
        "server_username",
        "key_value_pairs",
        "cookie",
        "session_cookie",
        "deadline_ms",
        "dialogue",
    ] {
        for value in &values {
            let text_is_right =
                !["v", "type", "client_port", "server_port", "deadline_ms", "dialogue"].contains(&field);
            let is_right = match field {
                "gateway_groups" | "key_value_pairs" => false,
                "session_cookie" => value.is_object(),
                "dialogue" => value.is_boolean(),
                "id" => value.is_number() || value.is_string(),
                _ => text_is_right && value.is_string(),
            };
            if !is_right {
                let mut request = attempt("bad", "alice", "123456");
                request[field] = value.clone();
                lines.push(request.to_string().into());
            }
        }
    }
    // Too deep, and too long.
    for depth in [33, 128, 10_000] {
        lines.push("[".repeat(depth).into());
        lines.push(format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into());
        lines.push(format!("{{\"type\":\"hello\",\"x\":{}1{}}}", "[".repeat(depth), "]".repeat(depth)).into());
        lines.push("{\"x\":".repeat(depth).into());
    }
    for length in [64 * 1024 + 1, 100_000, 128 * 1024, 128 * 1024 + 1, 1024 * 1024] {
        lines.push(vec![b'x'; length]);
        lines.push(vec![b' '; length]);
        lines.push(vec![0; length]);
        lines.push(format!("{{\"type\":\"hello\",\"id\":\"bad\",\"x\":\"{}\"}}", "x".repeat(length)).into());
    }
    assert!(lines.len() >= 200 && lines.iter().all(|line| !line.contains(&b'\n')));
    lines
}

#[test]
fn lines_that_are_no_requests_cost_one_verdict_each_and_no_memory() {
    const ROUNDS: usize = 5;
    let malformed = malformed();
    let (home, users) = crowd(ROUNDS * 20);
    let mut gateway = Gateway::start(&home);
    let mut input = gateway.take_input();
    let mut before = None;
    for users in users.chunks(20) {
        // A good line among every few bad ones.
        let mut lines = Vec::new();
        let (mut good, mut asked) = (users.iter(), 0);
        for (n, line) in malformed.iter().enumerate() {
            lines.extend_from_slice(line);
            lines.push(b'\n');
            if n % 4 == 0 {
                asked += 1;
                let request = match good.next() {
                    Some((user, phone)) => attempt(format!("code {n}"), user, &phone.fresh_code()),
                    None => request(format!("ask {n}"), "alice", json!({})),
                };
                lines.extend_from_slice(format!("{request}\n").as_bytes());
            }
        }
        let writer = thread::spawn(move || -> io::Result<ChildStdin> {
            input.write_all(&lines)?;
            Ok(input)
        });
        let mut ids = BTreeSet::new();
        let mut refused = 0;
        for _ in 0..malformed.len() + asked {
            let answer = gateway.receive();
            match answer.id.as_str().unwrap_or_default() {
                "" | "bad" | "x" => {
                    assert!(answer.told().starts_with("invalid_request/"), "{answer:?}");
                    refused += 1;
                }
                id => {
                    assert_eq!(answer.verdict(), if id.starts_with("code") { "accept" } else { "need_info" });
                    assert!(ids.insert(id.to_owned()), "answered twice: {id}");
                }
            }
        }
        assert_eq!((refused, ids.len()), (malformed.len(), asked));
        input = writer.join().unwrap().unwrap();
        let peak = gateway.peak_memory();
        let before = *before.get_or_insert(peak);
        assert!(peak <= before + FLAT / 4, "{before} KiB after one round, {peak} KiB later");
    }
    drop(input);
    let (rest, finished) = gateway.wait();
    assert!(rest.is_empty(), "{rest:?}");
    finished.ok();
}

#[test]
fn a_flood_of_empty_lines_costs_no_memory() {
    let (home, _) = alice();
    let mut gateway = Gateway::start(&home);
    // A long line makes room for many short ones at once.
    gateway.send_raw("x".repeat(200_000) + "\n");
    assert_eq!(gateway.receive().code(), "line_too_long");
    let before = gateway.peak_memory();
    let mut input = gateway.take_input();
    let lines = 100_000;
    let writer = thread::spawn(move || -> io::Result<ChildStdin> {
        input.write_all(&vec![b'\n'; lines])?;
        Ok(input)
    });
    for _ in 0..lines {
        assert_eq!(gateway.receive().code(), "not_json");
    }
    let peak = gateway.peak_memory();
    drop(writer.join().unwrap().unwrap());
    gateway.wait().1.ok();
    assert!(peak <= before + FLAT, "{before} KiB before, {peak} KiB after");
}

#[test]
fn a_line_without_an_end_keeps_nobody_waiting() {
    let (home, phone) = alice();
    let mut gateway = Gateway::start(&home);
    gateway.sync();
    let mut input = gateway.take_input();
    let answered = Arc::new(AtomicUsize::new(0));
    let enough = Arc::clone(&answered);
    let login = attempt("login", "alice", &phone.fresh_code());
    let writer = thread::spawn(move || -> io::Result<()> {
        let mut lines = format!("{login}\n").into_bytes();
        while enough.load(Ordering::Relaxed) == 0 {
            lines.resize(1 << 20, b'x');
            input.write_all(&lines)?;
            lines.clear();
        }
        Ok(())
    });
    let told = gateway.answer("login").told();
    answered.store(1, Ordering::Relaxed);
    writer.join().unwrap().unwrap();
    let (rest, finished) = gateway.wait();
    finished.ok();
    assert_eq!(told, "accept");
    assert_eq!(rest.iter().map(Answer::code).collect::<Vec<_>>(), ["line_too_long"]);
}

// ------------------------------------------------------------------------------------------------ mended bugs

#[test]
fn housekeeping_never_waits_for_a_request_that_waits_for_the_lock() {
    let (home, users) = crowd(600);
    let mut gateway = Gateway::start(&home);
    // So many commits that the log is to be moved at the next moment of rest.
    for (n, (user, phone)) in users.iter().enumerate() {
        assert_eq!(gateway.ask(&attempt(n, user, &phone.fresh_code())).told(), "accept");
        if n < 500 {
            continue;
        }
        let held = home.hold_store();
        gateway.send(&attempt(format!("waits {n}"), user, "000000"));
        // While that one stands in the queue, there is nothing else to do.
        assert!(gateway.ask(&json!({"type": "hello", "id": format!("hello {n}")})).hello.is_some());
        drop(held);
        gateway.answer(format!("waits {n}"));
    }
    gateway.end().1.ok();
}

#[test]
fn the_last_line_is_answered_where_there_was_no_room_for_it() {
    let (home, _) = crowd(1);
    home.set("plugin", "max_in_flight", "1");
    let lines: Vec<_> = (0..5).map(|n| request(n, "user0", json!({})).to_string()).collect();
    let asked = home.ask_raw(lines.join("\n"));
    assert_eq!(asked.answers.len(), 5);
}

#[test]
fn a_reader_who_does_not_read_cannot_keep_a_process_from_ending() {
    let (home, _) = crowd(1);
    home.set("plugin", "deadline", "1");
    let mut gateway = Gateway::start(&home);
    let output = gateway.take_output();
    let mut input = gateway.take_input();
    let flood = thread::spawn(move || {
        let line = format!("{}\n", request(1, "user0", json!({})));
        while input.write_all(line.as_bytes()).is_ok() {}
    });
    // Whatever of the flood was read by then waits for a reader, for as long as one deadline.
    gateway.signal("TERM");
    flood.join().unwrap();
    drop(output);
}

#[test]
fn a_gateway_that_asks_without_a_pause_does_not_keep_it_from_ending() {
    let home = Home::init();
    let mut gateway = Gateway::start(&home);
    let mut input = gateway.take_input();
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_over = std::sync::Arc::clone(&ended);
    let flood = std::thread::spawn(move || {
        let line = format!("{}\n", json!({"type": "authenticate", "id": 1, "protocol": "ssh", "gateway_user": "a"}))
            .repeat(100);
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) && input.write_all(line.as_bytes()).is_ok() {}
    });
    for _ in 0..500 {
        assert!(gateway.line().is_some());
    }
    gateway.signal("TERM");
    // It says what is said to what it has read, and no more.
    while gateway.line().is_some() {}
    ended.store(true, std::sync::atomic::Ordering::Relaxed);
    flood.join().unwrap();
    assert_eq!(gateway.wait().1.status, Some(0));
}

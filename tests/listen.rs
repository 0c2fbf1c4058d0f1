//! One process for many gateways: `serve --listen`, `serve --socket-activation` and `connect`, through the executable.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use rig::nobody::is_root;
use rig::okta::Okta;
use rig::services::{program, skip};
use rig::{Answer, Finished, Gateway, Home, PATIENCE, Phone, attempt, finish, now, request, state};
use serde_json::{Value, json};

const POLL: &str = "/transactions/t1";

/// A `serve` on a socket of its own. Killed when this is dropped.
struct Service {
    gateway: Gateway,
    socket: PathBuf,
}

impl Service {
    fn start(home: &Home) -> Self {
        Self::with(home, &[])
    }

    fn with(home: &Home, more: &[&str]) -> Self {
        let socket = home.dir().join("socket");
        let arguments = [&["serve", "--listen", socket.to_str().unwrap()], more].concat();
        let gateway = Gateway::spawn(&mut home.command(&arguments));
        wait_for("the socket", || UnixStream::connect(&socket).is_ok());
        Self { gateway, socket }
    }

    fn connect(&self) -> Line {
        Line::to(&self.socket)
    }

    /// A gateway that starts `connect`.
    fn filter(&self) -> Gateway {
        Gateway::spawn(&mut filter(&self.socket, &[]))
    }

    /// Ends it by SIGTERM.
    fn end(self) -> Finished {
        self.gateway.signal("TERM");
        self.gateway.wait().1
    }
}

fn filter(socket: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.env_clear().arg("connect").arg(socket).args(more);
    command
}

/// A connection.
struct Line {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Line {
    fn to(socket: &Path) -> Self {
        Self::over(UnixStream::connect(socket).unwrap())
    }

    fn over(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let answers = BufReader::new(stream.try_clone().unwrap());
        Self { stream, answers }
    }

    fn send(&mut self, request: &Value) {
        self.stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    }

    /// The next answer; `None` at the end.
    fn next(&mut self) -> Option<Answer> {
        let mut line = Vec::new();
        let read = self.answers.read_until(b'\n', &mut line).expect("an answer, or the end");
        (read > 0).then(|| Answer::parse(&line))
    }

    fn receive(&mut self) -> Answer {
        self.next().expect("one more answer")
    }

    fn ask(&mut self, request: &Value) -> Answer {
        self.send(request);
        self.receive()
    }
}

/// Looks again and again until `is_so`.
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}: did not come about");
        thread::yield_now();
    }
}

/// A request over http, which cannot ask: a push at once.
fn push(id: u64, session: &str, user: &str) -> Value {
    json!({"type": "authenticate", "id": id, "session_id": session, "protocol": "http", "gateway_user": user,
        "client_ip": "192.0.2.7", "server_hostname": "db1", "server_username": "root"})
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn two_hundred_gateways_talk_at_once_and_each_hears_its_own_answers() {
    let phones: Vec<Phone> = (0..200).map(Phone::new).collect();
    let names: Vec<String> = (0..200).map(|number| format!("user{number}")).collect();
    let home = Home::init();
    home.import_many(names.iter().map(String::as_str).zip(&phones));
    let time = now();
    home.set_clock(time);
    let service = Service::start(&home);
    let mut lines: Vec<Line> = names.iter().map(|_| service.connect()).collect();
    // All have one id and one code each; half of a line at a time.
    let ask = |number: usize, (name, phone): (&String, &Phone)| {
        let pairs = json!({"otp": phone.code_at(time, 0)});
        let more = json!({"key_value_pairs": pairs, "client_ip": format!("10.1.2.{number}")});
        format!("{}\n", request(1, name, more))
    };
    let asked: Vec<String> = names.iter().zip(&phones).enumerate().map(|(number, who)| ask(number, who)).collect();
    for half in [0, 1] {
        for (line, text) in lines.iter_mut().zip(&asked) {
            let (first, second) = text.split_at(text.len() / 2);
            line.stream.write_all(if half == 0 { first } else { second }.as_bytes()).unwrap();
        }
    }
    for (line, name) in lines.iter_mut().zip(&names) {
        let answer = line.receive();
        assert_eq!((answer.told().as_str(), answer.gateway_user.as_deref()), ("accept", Some(name.as_str())));
    }
    // Of all who bring a code that was used, none is let in.
    for (line, text) in lines.iter_mut().zip(&asked) {
        line.stream.write_all(text.as_bytes()).unwrap();
    }
    for line in &mut lines {
        assert_eq!(line.receive().code(), "used_code");
    }
    let threads = service.gateway.threads();
    assert!(threads <= 4, "{threads} threads: one for each connection?");
    drop(lines);
    // They had hundreds.
    wait_for("the descriptors of those who have gone", || descriptors(service.gateway.pid()) < 50);
    let ended = service.end();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(home.log().matches("verdict=\"accept\"").count(), 200);
}

#[test]
fn of_one_code_over_many_connections_one_is_let_in() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    home.set("throttle", "failures", "100");
    let time = now();
    home.set_clock(time);
    let service = Service::start(&home);
    let mut lines: Vec<Line> = (0..50).map(|_| service.connect()).collect();
    let asked = attempt(1, "alice", &phone.code_at(time, 0));
    lines.iter_mut().for_each(|line| line.send(&asked));
    let told: Vec<String> = lines.iter_mut().map(|line| line.receive().told()).collect();
    assert_eq!(told.iter().filter(|told| *told == "accept").count(), 1, "{told:?}");
}

#[test]
fn whoever_hangs_up_takes_back_their_own_pushes_only() {
    let okta = Okta::start();
    let home = okta.home("");
    let service = Service::start(&home);
    let (mut one, mut other) = (service.connect(), service.connect());
    one.send(&push(1, "s1", "alice"));
    other.send(&push(1, "s2", "bob"));
    okta.wait_for("GET", POLL, 2);
    // Gone at once, as a process is that was killed.
    drop(one);
    okta.wait_for("DELETE", POLL, 1);
    okta.press("bob", "SUCCESS");
    assert_eq!(other.receive().told(), "accept");
    let taken: Vec<_> = okta.web.requests().into_iter().filter(|request| request.method == "DELETE").collect();
    assert!(taken.iter().all(|request| request.path.contains("alice")), "{taken:?}");
    assert_eq!(service.end().status, Some(0));
}

#[test]
fn a_push_that_two_gateways_wait_for_goes_on_when_one_hangs_up() {
    let okta = Okta::start();
    let home = okta.home("");
    let service = Service::start(&home);
    let (mut one, mut other) = (service.connect(), service.connect());
    one.send(&push(1, "s1", "alice"));
    okta.wait_for("GET", POLL, 1);
    other.send(&push(7, "s1", "alice"));
    assert!(other.ask(&json!({"type": "hello", "id": "sync"})).hello.is_some());
    drop(one);
    let polls = okta.count("GET", POLL);
    okta.wait_for("GET", POLL, polls + 2);
    okta.press("alice", "SUCCESS");
    let answer = other.receive();
    assert_eq!((answer.told().as_str(), answer.id), ("accept", json!(7)));
    assert_eq!((okta.count("POST", "/ostf1/verify"), okta.count("DELETE", POLL)), (1, 0));
}

#[test]
fn a_gateway_that_only_ends_its_input_waits_for_its_answer() {
    let okta = Okta::start();
    let home = okta.home("");
    let service = Service::start(&home);
    let mut line = service.connect();
    line.send(&push(1, "s1", "alice"));
    line.stream.shutdown(Shutdown::Write).unwrap();
    okta.wait_for("GET", POLL, 3);
    okta.press("alice", "SUCCESS");
    assert_eq!(line.receive().told(), "accept");
    assert!(line.next().is_none());
}

#[test]
fn a_cancel_concerns_the_requests_of_its_own_connection() {
    let okta = Okta::start();
    let home = okta.home("");
    let service = Service::start(&home);
    let (mut one, mut other) = (service.connect(), service.connect());
    one.send(&push(1, "s1", "alice"));
    okta.wait_for("GET", POLL, 1);
    let cancel = json!({"type": "cancel", "id": 2, "target": 1});
    assert_eq!(other.ask(&cancel).cancelled, Some(false));
    assert_eq!(one.ask(&cancel).cancelled, Some(true));
    assert_eq!(one.receive().code(), "cancelled");
}

#[test]
fn a_verdict_is_not_told_again_to_another_gateway_with_the_same_names() {
    let okta = Okta::start();
    okta.press("alice", "SUCCESS");
    let home = okta.home("");
    let service = Service::start(&home);
    let mut one = service.connect();
    assert_eq!(one.ask(&push(1, "s1", "alice")).told(), "accept");
    // Sent again over the same connection, it is known again; over another, it is asked anew.
    assert_eq!(one.ask(&push(1, "s1", "alice")).told(), "accept");
    assert_eq!(okta.count("POST", "/ostf1/verify"), 1);
    okta.press("alice", "REJECTED");
    assert_eq!(service.connect().ask(&push(1, "s1", "alice")).code(), "push_refused");
}

#[test]
fn a_reader_who_does_not_read_and_a_flood_hold_nobody_up() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    let time = now();
    home.set_clock(time);
    let service = Service::start(&home);
    let mut flood = service.connect();
    let line = format!("{}\n", json!({"type": "hello", "id": 1})).repeat(64);
    // Until no more is taken: the answers are read by nobody.
    flood.stream.set_nonblocking(true).unwrap();
    let began = std::time::Instant::now();
    while flood.stream.write_all(line.as_bytes()).is_ok() {
        assert!(began.elapsed() < PATIENCE, "whoever does not read is read from for ever");
    }
    let mut silent = service.connect();
    silent.stream.write_all(b"{\"type\":").unwrap();
    assert_eq!(service.connect().ask(&attempt(1, "alice", &phone.code_at(time, 0))).told(), "accept");
    let peak = service.gateway.peak_memory();
    assert!(peak < 256 * 1024, "{peak} KiB");
    // The one who was slow gets everything that was asked whole.
    flood.stream.set_nonblocking(false).unwrap();
    flood.stream.shutdown(Shutdown::Write).unwrap();
    let mut count = 0;
    while let Some(answer) = flood.next() {
        // The last line may have been cut.
        assert!(answer.hello.is_some() || answer.error.is_some(), "{answer:?}");
        count += 1;
    }
    assert!(count > 64, "{count}");
}

#[test]
fn garbage_is_the_business_of_whoever_sent_it() {
    let home = Home::init();
    let service = Service::start(&home);
    let mut good = service.connect();
    let mut bad = service.connect();
    bad.stream.write_all(b"\xff\xfe\nnull\n[[[[\n{\"id\":3}\n").unwrap();
    bad.stream.write_all(&vec![b'x'; 100_000]).unwrap();
    bad.stream.write_all(b"\n").unwrap();
    for _ in 0..5 {
        assert_eq!(bad.receive().error.unwrap().class, "invalid_request");
    }
    assert_eq!(good.ask(&request(1, "alice", json!({}))).verdict(), "need_info");
}

#[test]
fn a_disk_that_hangs_is_told_to_each_gateway_in_time() {
    let home = Home::with(&[("alice", &Phone::new(1))]);
    let service = Service::start(&home);
    let mut lines = [service.connect(), service.connect()];
    let held = home.hold_store();
    for line in &mut lines {
        line.send(&request(1, "alice", json!({"key_value_pairs": {"otp": "123456"}, "deadline_ms": 300})));
    }
    for line in &mut lines {
        assert_eq!(line.receive().code(), "deadline_exceeded");
    }
    drop(held);
    assert_eq!(lines[0].ask(&request(2, "alice", json!({}))).verdict(), "need_info");
}

#[test]
fn as_many_connections_as_may_be_are_served_and_others_wait() {
    let home = Home::init();
    let service = Service::with(&home, &["--connections", "2"]);
    let hello = json!({"type": "hello", "id": 1});
    let (mut one, mut two, mut three) = (service.connect(), service.connect(), service.connect());
    assert!(one.ask(&hello).hello.is_some() && two.ask(&hello).hello.is_some());
    three.send(&hello);
    wait_for("the warning", || home.log().contains("further ones wait"));
    drop(one);
    assert!(three.receive().hello.is_some());
}

#[test]
fn no_descriptors_left_is_survived() {
    let Some(prlimit) = program("prlimit") else {
        return skip::<()>("skipped: prlimit is missing; run: apt-get install util-linux").unwrap_or_default();
    };
    let home = Home::init();
    let service = Service::start(&home);
    let hello = json!({"type": "hello", "id": 1});
    let mut one = service.connect();
    assert!(one.ask(&hello).hello.is_some());
    let pid = service.gateway.pid();
    let limit = |count: usize| {
        let limit = format!("--nofile={count}:");
        let set = Command::new(&prlimit).args(["--pid", &pid.to_string(), &limit]).status().unwrap();
        assert!(set.success());
    };
    // Numbers are given from below: there is none left.
    limit(3);
    let mut two = service.connect();
    wait_for("the warning", || home.log().contains("no connection can be taken now"));
    assert!(one.ask(&hello).hello.is_some(), "those that are there go on");
    limit(512);
    assert!(two.ask(&hello).hello.is_some());
}

#[test]
fn a_signal_to_end_answers_what_was_read_and_removes_the_socket() {
    let okta = Okta::start();
    let home = okta.home("");
    let service = Service::start(&home);
    let (mut waiting, mut idle) = (service.connect(), service.connect());
    waiting.send(&push(1, "s1", "alice"));
    assert!(idle.ask(&json!({"type": "hello", "id": 1})).hello.is_some());
    okta.wait_for("GET", POLL, 1);
    let socket = service.socket.clone();
    let ended = service.end();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(waiting.receive().code(), "cancelled");
    assert!(waiting.next().is_none() && idle.next().is_none());
    assert!(!socket.exists(), "the socket is left");
    assert_eq!(okta.count("DELETE", POLL), 1);
}

#[test]
fn what_lies_in_a_connection_when_the_end_is_asked_for_is_answered() {
    let home = Home::init();
    let service = Service::start(&home);
    let mut lines: Vec<_> = (0..8).map(|_| service.connect()).collect();
    for line in &mut lines {
        assert!(line.ask(&json!({"type": "hello", "id": 1})).hello.is_some());
    }
    service.gateway.signal("STOP");
    wait_for("the stop", || state(service.gateway.pid()) == Some('T'));
    for line in &mut lines {
        line.send(&request(2, "alice", json!({})));
        line.stream.write_all(b"{\"type\":\"authenticate\",\"id\":3,").unwrap();
    }
    service.gateway.signal("TERM");
    service.gateway.signal("CONT");
    for line in &mut lines {
        assert_eq!(line.receive().verdict(), "need_info");
        // A line without its end is none.
        assert!(line.next().is_none());
    }
    service.gateway.wait().1.ok();
}

#[test]
fn the_socket_is_for_owner_and_group_whatever_the_umask() {
    let home = Home::init();
    for umask in ["000", "077"] {
        let socket = home.dir().join(format!("socket{umask}"));
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_countersign"), "serve", "--listen"]).arg(&socket);
        let service = Gateway::spawn(command.arg("--config").arg(home.ini()));
        wait_for("the socket", || UnixStream::connect(&socket).is_ok());
        let there = fs::symlink_metadata(&socket).unwrap();
        assert!(there.file_type().is_socket());
        assert_eq!(there.mode() & 0o7777, 0o660, "{umask}");
        drop(service);
    }
}

/// What `serve --listen` says where it cannot.
fn refused(home: &Home, socket: &Path) -> String {
    let done = home.run(&["serve", "--listen", socket.to_str().unwrap()], "");
    assert_eq!((done.status, done.stdout.as_str()), (Some(70), ""), "{done:?}");
    done.stderr
}

#[test]
fn a_socket_that_is_served_is_not_taken_away_and_one_that_was_left_is_replaced() {
    let home = Home::init();
    let mut service = Service::start(&home);
    assert!(refused(&home, &service.socket).contains("another process serves on it"));
    assert!(service.connect().ask(&json!({"type": "hello", "id": 1})).hello.is_some());
    service.gateway.kill();
    assert!(service.socket.exists(), "what is killed removes nothing");
    // The socket of the killed one is connected to by nobody: wait for one that answers.
    let arguments = ["serve", "--listen", service.socket.to_str().unwrap()];
    let _second = Gateway::spawn(&mut home.command(&arguments));
    wait_for("the socket", || UnixStream::connect(&service.socket).is_ok());
    assert!(service.connect().ask(&json!({"type": "hello", "id": 1})).hello.is_some());
}

#[test]
fn of_processes_that_start_at_once_on_a_socket_that_was_left_one_serves() {
    let home = Home::init();
    let socket = home.dir().join("socket");
    for _ in 0..5 {
        drop(UnixListener::bind(&socket).unwrap());
        let spawn = |_| Gateway::spawn(&mut home.command(&["serve", "--listen", socket.to_str().unwrap()]));
        let started: Vec<Gateway> = (0..4).map(spawn).collect();
        let pids: Vec<u32> = started.iter().map(Gateway::pid).collect();
        let (sender, ended) = mpsc::channel();
        for gateway in started {
            let sender = sender.clone();
            thread::spawn(move || {
                let pid = gateway.pid();
                let _ = sender.send((pid, gateway.wait().1));
            });
        }
        let mut left = pids;
        for _ in 0..3 {
            let (pid, finished) = ended.recv_timeout(PATIENCE).unwrap();
            assert!(finished.stderr.contains("another process serves on it"), "{finished:?}");
            left.retain(|other| *other != pid);
        }
        assert!(Line::to(&socket).ask(&json!({"type": "hello", "id": 1})).hello.is_some());
        let term = format!("kill -TERM {}", left[0]);
        assert!(Command::new("sh").args(["-c", &term]).status().unwrap().success());
        assert_eq!(ended.recv_timeout(PATIENCE).unwrap().1.status, Some(0));
        assert!(!socket.exists());
    }
}

#[test]
fn what_is_no_socket_of_ours_is_not_replaced() {
    let home = Home::init();
    let target = home.dir().join("precious");
    fs::write(&target, "precious").unwrap();
    let link = home.dir().join("link");
    symlink(&target, &link).unwrap();
    let nowhere = home.dir().join("nowhere");
    symlink(home.dir().join("not there"), &nowhere).unwrap();
    for path in [&target, &link, &nowhere, &home.store()] {
        assert!(refused(&home, path).contains("is no socket of ours"), "{}", path.display());
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert!(refused(&home, &home.dir().join("not/there")).contains("not: No such file"));
    if is_root() {
        let theirs = home.dir().join("theirs");
        drop(UnixListener::bind(&theirs).unwrap());
        std::os::unix::fs::lchown(&theirs, Some(12345), None).unwrap();
        assert!(refused(&home, &theirs).contains("is no socket of ours"));
    }
}

#[test]
fn where_others_could_put_a_socket_of_theirs_none_is_made_and_none_believed() {
    let home = Home::init();
    let open = home.dir().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o770)).unwrap();
    let socket = open.join("socket");
    assert!(refused(&home, &socket).contains("chmod go-w"));
    // Whatever would say there.
    let _listener = UnixListener::bind(&socket).unwrap();
    for mode in [0o770, 0o1777] {
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        let line = format!("{}\n", request(1, "alice", json!({})));
        let done = finish(&mut filter(&socket, &[]), line.as_bytes()).ok();
        let answer = Answer::parse(done.stdout.as_bytes());
        assert_eq!(answer.told(), "communication_error/instance_absent");
        assert!(answer.reason().contains("chmod go-w"), "{}", answer.reason());
    }
}

#[test]
fn the_log_says_which_process_asked_and_a_hangup_opens_it_again() {
    let home = Home::init();
    let service = Service::start(&home);
    let mut line = service.connect();
    assert_eq!(line.ask(&request(1, "alice", json!({}))).verdict(), "need_info");
    let uid = fs::metadata("/proc/self").unwrap().uid();
    let peer = format!("peer=\"uid {uid} pid {}\"", std::process::id());
    assert!(home.log().contains(&peer), "{}", home.log());
    let moved = home.dir().join("moved");
    fs::rename(home.log_path(), &moved).unwrap();
    service.gateway.signal("HUP");
    wait_for("the new log", || home.log_path().exists());
    assert_eq!(line.ask(&request(2, "alice", json!({}))).verdict(), "need_info");
    assert!(home.log().contains("session of 2"));
}

// ------------------------------------------------------------------------------------------------------------ connect

#[test]
fn connect_passes_on_what_is_asked_and_answered() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    let time = now();
    home.set_clock(time);
    let service = Service::start(&home);
    let mut gateway = service.filter();
    let answer = gateway.ask(&request("a", "alice", json!({})));
    assert_eq!(answer.verdict(), "need_info");
    let code = json!({"key_value_pairs": {"otp": phone.code_at(time, 0)}, "cookie": answer.cookie(), "session_id": "session of \"a\""});
    assert_eq!(gateway.ask(&request("b", "alice", code)).told(), "accept");
    gateway.send_raw(b"garbage\n");
    assert_eq!(gateway.receive().told(), "invalid_request/not_json");
    gateway.send_raw(vec![b'x'; 70_000]);
    gateway.send_raw(b"\n");
    assert_eq!(gateway.receive().told(), "invalid_request/line_too_long");
    gateway.send_raw(format!("{}", json!({"type": "hello", "id": "no end of line"})));
    let (rest, finished) = gateway.end();
    finished.ok();
    assert!(rest.len() == 1 && rest[0].hello.is_some(), "{rest:?}");
}

#[test]
fn connect_passes_on_thousands_of_lines_without_losing_one() {
    let home = Home::init();
    let service = Service::start(&home);
    let mut gateway = service.filter();
    let mut input = gateway.take_input();
    let writer = thread::spawn(move || {
        for id in 0..5000 {
            let padding = "x".repeat(id % 1000);
            input
                .write_all(format!("{}\n", json!({"type": "hello", "id": id, "padding": padding})).as_bytes())
                .unwrap();
        }
    });
    let mut ids: Vec<u64> = (0..5000).map(|_| gateway.receive().id.as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(0..5000));
    writer.join().unwrap();
    gateway.wait().1.ok();
}

#[test]
fn connect_rejects_each_line_where_nobody_serves_and_finds_who_serves_later() {
    let home = Home::init();
    let socket = home.dir().join("socket");
    let mut gateway = Gateway::spawn(&mut filter(&socket, &[]));
    for id in [1, 2] {
        assert_eq!(gateway.ask(&request(id, "alice", json!({}))).told(), "communication_error/instance_absent");
    }
    assert_eq!(gateway.ask(&json!({"type": "hello", "id": 3})).told(), "communication_error/instance_absent");
    let mut service = Service::start(&home);
    assert_eq!(gateway.ask(&request(4, "alice", json!({}))).verdict(), "need_info");
    service.gateway.kill();
    let told = gateway.ask(&request(5, "alice", json!({}))).told();
    assert!(["communication_error/instance_gone", "communication_error/instance_absent"].contains(&&*told), "{told}");
    let _again = Service::start(&home);
    assert_eq!(gateway.ask(&request(6, "alice", json!({}))).verdict(), "need_info");
    gateway.end().1.ok();
}

#[test]
fn connect_rejects_what_was_not_answered_when_the_service_goes() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut service = Service::start(&home);
    let mut gateway = service.filter();
    gateway.send(&push(1, "s1", "alice"));
    gateway.send(&push(2, "s2", "bob"));
    okta.wait_for("GET", POLL, 2);
    service.gateway.kill();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = gateway.receive();
        assert_eq!(answer.told(), "communication_error/instance_gone");
        ids.push(answer.id.as_u64());
    }
    assert_eq!(ids, [Some(1), Some(2)]);
    gateway.end().1.ok();
}

#[test]
fn connect_rejects_what_a_service_that_is_stopped_does_not_answer() {
    let home = Home::init();
    let service = Service::start(&home);
    let mut gateway = Gateway::spawn(&mut filter(&service.socket, &["--wait", "1"]));
    assert_eq!(gateway.ask(&request(1, "alice", json!({}))).verdict(), "need_info");
    service.gateway.signal("STOP");
    assert_eq!(gateway.ask(&request(2, "alice", json!({}))).told(), "communication_error/instance_silent");
    service.gateway.signal("CONT");
    // What comes late is told to nobody: the next answer is that to the next request.
    assert_eq!(gateway.ask(&request(3, "alice", json!({}))).verdict(), "need_info");
    let (rest, finished) = gateway.end();
    assert!(rest.is_empty(), "{rest:?}");
    finished.ok();
}

#[test]
fn what_a_service_that_ends_does_not_take_goes_to_the_next_one() {
    let home = Home::init();
    let service = Service::start(&home);
    let mut gateway = service.filter();
    assert_eq!(gateway.ask(&request(1, "alice", json!({}))).verdict(), "need_info");
    gateway.signal("STOP");
    wait_for("the stop", || state(gateway.pid()) == Some('T'));
    service.end().ok();
    let next = Service::start(&home);
    let lines: String = (2..6).map(|id| format!("{}\n", request(id, "alice", json!({})))).collect();
    gateway.send_raw(lines);
    gateway.signal("CONT");
    for id in 2..6 {
        assert_eq!(gateway.answer(id).verdict(), "need_info");
    }
    gateway.end().1.ok();
    next.end().ok();
}

/// A service that a test plays.
struct Played {
    listener: UnixListener,
    socket: PathBuf,
}

impl Played {
    fn at(home: &Home) -> Self {
        let socket = home.dir().join("socket");
        Self { listener: UnixListener::bind(&socket).unwrap(), socket }
    }

    /// The next connection. Its lines are read when they are asked for.
    fn accept(&self) -> Line {
        Line::over(self.listener.accept().unwrap().0)
    }
}

impl Line {
    /// The next line that was sent; `None` at the end.
    fn asked(&mut self) -> Option<Value> {
        let mut line = Vec::new();
        let read = self.answers.read_until(b'\n', &mut line).ok()?;
        (read > 0).then(|| serde_json::from_slice(&line).expect("a whole request"))
    }

    fn say(&mut self, id: &Value) {
        let answer = json!({"v": 1, "id": id, "verdict": "reject", "trace": "0", "reason": "played",
            "message": "played",
            "error": {"class": "authentication_failure", "code": "wrong_code"}});
        self.stream.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }

    /// Waits until no more of what the other end has to say fits in.
    fn fill(&self) {
        let unread = || rustix::io::ioctl_fionread(&self.stream).unwrap();
        wait_for("much that is not read", || unread() > 30_000);
        wait_for("all that fits in", || {
            let before = unread();
            thread::sleep(std::time::Duration::from_millis(100));
            unread() == before
        });
    }
}

/// How many requests [`overfull`] has sent.
const SENT: u64 = 12;

/// A gateway whose requests are more than its connection holds, and that connection, of which nothing was read.
fn overfull(played: &Played) -> (Gateway, Line) {
    let mut gateway = Gateway::spawn(&mut filter(&played.socket, &[]));
    let line = |id| format!("{}\n", json!({"type": "hello", "id": id, "pad": "x".repeat(17_000)}));
    gateway.send_raw((0..SENT).map(line).collect::<String>());
    let line = played.accept();
    line.fill();
    (gateway, line)
}

#[test]
fn what_a_connection_took_in_part_is_rejected_and_none_of_it_is_sent_again() {
    let home = Home::init();
    let played = Played::at(&home);
    let (mut gateway, first) = overfull(&played);
    drop(first);
    // The rest comes whole, and in its order; what the first may have read is rejected, and so is the line of which it had a part.
    let mut second = played.accept();
    let next = second.asked().unwrap()["id"].as_u64().unwrap();
    assert!((2..SENT).contains(&next), "{next}");
    for id in next + 1..SENT {
        assert_eq!(second.asked().unwrap()["id"], id);
    }
    for id in 0..next {
        assert_eq!(gateway.answer(id).code(), "instance_gone", "{id} of {next}");
    }
    for id in next..SENT {
        second.say(&json!(id));
        assert_eq!(gateway.answer(id).code(), "wrong_code");
    }
    gateway.end().1.ok();
}

#[test]
fn what_an_ending_service_took_is_answered_by_it_and_the_rest_by_the_next() {
    let home = Home::init();
    let played = Played::at(&home);
    let (mut gateway, mut first) = overfull(&played);
    // It takes no more, and reads what it has: whole lines, and a part of one.
    first.stream.shutdown(std::net::Shutdown::Read).unwrap();
    let mut read = Vec::new();
    let mut line = Vec::new();
    while first.answers.read_until(b'\n', &mut line).unwrap() > 0 && line.ends_with(b"\n") {
        read.push(serde_json::from_slice::<Value>(&line).unwrap()["id"].as_u64().unwrap());
        line.clear();
    }
    assert!(read.len() >= 2, "{read:?}");
    let mut second = played.accept();
    // Of one more it had a part, where the lines did not happen to fit in.
    let whole = u64::try_from(read.len()).unwrap();
    let begun = (!line.is_empty()).then_some(whole);
    for id in begun.map_or(whole, |begun| begun + 1)..SENT {
        assert_eq!(second.asked().unwrap()["id"], id);
        second.say(&json!(id));
        // The next one does not wait for the first.
        assert_eq!(gateway.answer(id).code(), "wrong_code");
    }
    if let Some(begun) = begun {
        assert_eq!(gateway.answer(begun).code(), "instance_gone");
    }
    for id in read {
        first.say(&json!(id));
        assert_eq!(gateway.answer(id).code(), "wrong_code");
    }
    gateway.end().1.ok();
}

#[test]
fn a_line_of_which_two_connections_took_nothing_is_rejected() {
    let home = Home::init();
    let played = Played::at(&home);
    let mut gateway = Gateway::spawn(&mut filter(&played.socket, &[]));
    gateway.send(&json!({"type": "hello", "id": 0}));
    let mut first = played.accept();
    assert_eq!(first.asked().unwrap()["id"], 0);
    gateway.signal("STOP");
    wait_for("the stop", || state(gateway.pid()) == Some('T'));
    first.say(&json!(0));
    drop(first);
    gateway.send(&json!({"type": "hello", "id": 1}));
    // The second connection is refused by the time that it is written to.
    let (socket, other) = (played.socket.clone(), home.dir().join("other"));
    fs::rename(&socket, other).unwrap();
    let closing = UnixListener::bind(&socket).unwrap();
    gateway.signal("CONT");
    assert_eq!(gateway.answer(0).code(), "wrong_code");
    for _ in 0..2 {
        let (stream, _) = closing.accept().unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
        if !gateway_waits(&closing) {
            break;
        }
    }
    assert_eq!(gateway.answer(1).code(), "instance_gone");
    gateway.end().1.ok();
}

/// Whether somebody connects within a while.
fn gateway_waits(listener: &UnixListener) -> bool {
    let listener = listener.try_clone().unwrap();
    let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 300_000_000 };
    let mut waited = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut waited, Some(&timeout)).unwrap() > 0
}

#[test]
fn connect_does_not_believe_what_answers_otherwise() {
    let home = Home::init();
    let played = Played::at(&home);
    let socket = played.socket.clone();
    let lies = ["{\"v\":1,\"id\":2,\"verdict\":\"accept\",\"reason\":\"verified\"}\n", "accept\n", "null\n", "\n", ""];
    let liar = thread::spawn(move || {
        for lie in lies {
            let mut line = played.accept();
            assert!(line.asked().is_some());
            line.stream.write_all(lie.as_bytes()).unwrap();
        }
    });
    for lie in lies {
        let done = finish(&mut filter(&socket, &[]), format!("{}\n", request(1, "alice", json!({}))).as_bytes()).ok();
        let told = Answer::parse(done.stdout.as_bytes()).told();
        assert_eq!(told, "communication_error/instance_gone", "{lie:?}");
    }
    liar.join().unwrap();
}

#[test]
fn a_gateway_that_dies_behind_connect_leaves_no_push_behind() {
    let okta = Okta::start();
    let home = okta.home("");
    let service = Service::start(&home);
    for kill in [true, false] {
        let before = okta.count("DELETE", POLL);
        let mut gateway = service.filter();
        gateway.send(&push(1, "s1", "alice"));
        okta.wait_for("POST", "/ostf1/verify", before + 1);
        if kill {
            gateway.kill();
        } else {
            // Both its ends close, as those of a gateway that was killed do.
            drop((gateway.take_output(), gateway.take_input()));
        }
        okta.wait_for("DELETE", POLL, before + 1);
    }
}

#[test]
fn connect_needs_a_path() {
    let done = finish(Command::new(env!("CARGO_BIN_EXE_countersign")).arg("connect"), b"");
    assert_eq!((done.status, done.stdout.as_str()), (Some(64), ""));
}

// ------------------------------------------------------------------------------------------------------------ systemd

/// Ends a process when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It has ended already, or nobody needs it any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_socket_that_systemd_made_is_served_and_left_to_it() {
    let Some(activate) = program("systemd-socket-activate") else {
        return skip::<()>("skipped: systemd-socket-activate is missing; run: apt-get install systemd")
            .unwrap_or_default();
    };
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    let (socket, ready) = (home.dir().join("socket"), home.dir().join("ready"));
    let told = std::os::unix::net::UnixDatagram::bind(&ready).unwrap();
    told.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = Command::new(activate);
    command.env_clear().arg("--listen").arg(&socket).arg(format!("--setenv=NOTIFY_SOCKET={}", ready.display()));
    command.args([env!("CARGO_BIN_EXE_countersign"), "serve", "--socket-activation", "--config"]).arg(home.ini());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // It becomes the service with the first connection.
    let mut child = Killed(child);
    wait_for("the socket", || UnixStream::connect(&socket).is_ok());
    let mut line = Line::to(&socket);
    assert_eq!(line.ask(&attempt(1, "alice", &phone.fresh_code())).told(), "accept");
    let mut said = [0; 64];
    let length = told.recv(&mut said).unwrap();
    assert_eq!(String::from_utf8_lossy(&said[..length]).trim(), "READY=1");
    assert!(Command::new("kill").arg(child.0.id().to_string()).status().unwrap().success());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    assert!(line.next().is_none());
    assert!(socket.exists(), "it is systemd's");
    let length = told.recv(&mut said).unwrap();
    assert_eq!(String::from_utf8_lossy(&said[..length]).trim(), "STOPPING=1");
}

#[test]
fn without_a_socket_of_systemd_none_is_served() {
    let home = Home::init();
    let done = home.run(&["serve", "--socket-activation"], "");
    assert_eq!((done.status, done.stdout.as_str()), (Some(70), ""));
    assert!(done.stderr.contains("expected one listening Unix stream socket from systemd"), "{}", done.stderr);
    // A number that is there, and no socket.
    let script = "exec 3</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_countersign"), "serve", "--socket-activation", "--config"]);
    let done = finish(command.arg(home.ini()), b"");
    assert_eq!(done.status, Some(70));
    assert!(done.stderr.contains("is not a socket"), "{}", done.stderr);
}

/// It goes with a guess half decided: what is written for it is no reason for others to wait.
#[test]
fn a_gateway_that_goes_leaves_the_store_to_others() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    home.set("plugin", "deadline", "20");
    let service = Service::start(&home);
    let guess =
        |n: usize| request(n, &format!("nobody{n}"), json!({"key_value_pairs": {"otp": "000000"}, "client_ip": null}));
    for n in 0..40 {
        let mut line = service.connect();
        let both = format!("{}\n{}\n", json!({"type": "hello", "id": 1}), guess(n));
        line.stream.write_all(both.as_bytes()).unwrap();
        drop(line);
        // Without a word of it: the store is held, if at all, by whoever has gone.
        home.run(&["unlock", "nobody"], "");
    }
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.fresh_code())).told(), "accept");
    service.end().ok();
}

#[test]
fn a_store_that_is_gone_ends_every_conversation_and_each_has_its_answers() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    let service = Service::start(&home);
    let (mut first, mut idle) = (service.connect(), service.connect());
    assert_eq!(first.ask(&attempt(1, "alice", &phone.fresh_code())).told(), "accept");
    assert_eq!(idle.ask(&attempt(1, "nobody", "000000")).code(), "not_enrolled");
    fs::rename(home.store(), home.dir().join("elsewhere")).unwrap();
    let told = first.ask(&attempt(2, "alice", &phone.fresh_code())).told();
    assert_eq!(told, "internal_error/store_failed");
    assert!(first.next().is_none() && idle.next().is_none());
    let (_, finished) = service.gateway.wait();
    assert_eq!(finished.status, Some(70), "{finished:?}");
}

//! Figures for Prometheus: what is counted, that no process loses or doubles what another counted, and that nothing waits for
//! them (docs/metrics.md).
#![cfg(debug_assertions)]
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rig::okta::Okta;
use rig::services::program;
use rig::{Gateway, Home, PATIENCE, Phone, attempt, request};
use serde_json::json;

/// At the middle of a time step.
const NOW: u64 = 1_800_000_015;

/// Every series with its value.
type Series = BTreeMap<String, f64>;

fn series(text: &str) -> Series {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
        })
        .collect()
}

/// The sum of the series that begin with `name`.
fn sum(series: &Series, name: &str) -> f64 {
    series.iter().filter(|(key, _)| key.starts_with(name)).map(|(_, value)| value).sum()
}

fn home(phone: &Phone) -> (Home, PathBuf) {
    let home = Home::with(&[("alice", phone)]);
    let file = home.dir().join("metrics").join("countersign.prom");
    fs::create_dir(file.parent().unwrap()).unwrap();
    home.append(&format!("[metrics]\nfile = {}\n", file.display()));
    home.set_clock(NOW);
    (home, file)
}

fn read(file: &Path) -> Series {
    series(&fs::read_to_string(file).unwrap())
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        thread::yield_now();
    }
}

/// What a Unix socket answers to `request`.
fn get(socket: &Path, request: &str) -> (String, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn what_is_decided_is_counted_and_names_nobody() {
    let phone = Phone::new(1);
    let (home, file) = home(&phone);
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.code_at(NOW, 0))).told(), "accept");
    for id in 0..8 {
        let stranger = json!({"client_ip": "203.0.113.78", "key_value_pairs": {"otp": phone.wrong_code(NOW)}});
        home.ask_one(&request(id, "alice", stranger));
    }
    home.ask_one(&request(9, "canary", json!({"key_value_pairs": {"otp": "123456"}, "client_ip": "203.0.113.77"})));
    home.ask_one(&json!({"type": "nonsense", "id": 10}));
    let text = fs::read_to_string(&file).unwrap();
    let found = series(&text);
    for (name, value) in [
        ("countersign_verdicts_total{kind=\"authenticate\",verdict=\"accept\",code=\"verified\",client=\"totp\"}", 1.0),
        (
            "countersign_verdicts_total{kind=\"authenticate\",verdict=\"reject\",code=\"wrong_code\",client=\"totp\"}",
            6.0,
        ),
        (
            "countersign_verdicts_total{kind=\"authenticate\",verdict=\"reject\",code=\"throttled\",client=\"totp\"}",
            2.0,
        ),
        (
            "countersign_verdicts_total{kind=\"authenticate\",verdict=\"reject\",code=\"not_enrolled\",client=\"totp\"}",
            1.0,
        ),
        ("countersign_throttled_total", 2.0),
        ("countersign_locks_total", 1.0),
        ("countersign_fail_open_total", 0.0),
        ("countersign_store_errors_total", 0.0),
        ("countersign_processes_total", 11.0),
        ("countersign_verdict_duration_seconds_count{client=\"totp\"}", 10.0),
        ("countersign_verdict_duration_seconds_bucket{client=\"totp\",le=\"+Inf\"}", 10.0),
        ("countersign_build_info{version=\"0.1.0\"}", 1.0),
    ] {
        assert_eq!(found.get(name), Some(&value), "{name}\n{text}");
    }
    assert_eq!(sum(&found, "countersign_verdicts_total"), 11.0);
    for name in ["alice", "canary", "203.0.113"] {
        assert!(!text.contains(name), "{text}");
    }
    let left: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the file and its lock: {left:?}");
    check("metrics", &[], &text);
}

#[test]
fn processes_that_end_at_once_lose_and_double_nothing() {
    const PROCESSES: usize = 8;
    const EACH: usize = 12;
    let (home, file) = home(&Phone::new(1));
    let commands: Vec<Vec<Command>> =
        (0..PROCESSES).map(|_| (0..EACH).map(|_| home.command(&["serve"])).collect()).collect();
    let line = format!("{}\n", request(1, "nobody", json!({"key_value_pairs": {"otp": "123456"}, "client_ip": null})));
    thread::scope(|scope| {
        for commands in commands {
            let line = &line;
            scope.spawn(move || {
                for mut command in commands {
                    rig::finish(&mut command, line.as_bytes()).ok();
                }
            });
        }
    });
    let found = read(&file);
    let count = (PROCESSES * EACH) as f64;
    assert_eq!(sum(&found, "countersign_verdicts_total"), count);
    assert_eq!(sum(&found, "countersign_processes_total"), count);
    assert_eq!(sum(&found, "countersign_verdict_duration_seconds_count"), count);
}

#[test]
fn whoever_reads_while_others_are_killed_reads_a_whole_file_that_only_grows() {
    let (home, file) = home(&Phone::new(1));
    let line = format!("{}\n", request(1, "nobody", json!({"key_value_pairs": {"otp": "123456"}})));
    // The first one makes the file.
    rig::finish(&mut home.command(&["serve"]), line.as_bytes()).ok();
    let is_over = AtomicBool::new(false);
    let (ended, reads) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut last, mut reads) = (0.0, 0);
            while !is_over.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&file).unwrap();
                let now = sum(&series(&text), "countersign_processes_total");
                assert!(now >= last && text.ends_with("} 1\n"), "{last} {now} {text}");
                (last, reads) = (now, reads + 1);
            }
            reads
        });
        let mut ended = 1;
        for round in 0_u64..120 {
            let mut child = home
                .command(&["serve"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
            // Once it has answered, it writes its figures: killed at some moment of that.
            let mut answer = [0; 8];
            child.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
            let until = Instant::now() + std::time::Duration::from_micros(round * 211 % 16_000);
            while Instant::now() < until {}
            child.kill().unwrap();
            ended += u32::from(child.wait().unwrap().success());
        }
        is_over.store(true, Ordering::Relaxed);
        (ended, reader.join().unwrap())
    });
    rig::finish(&mut home.command(&["serve"]), line.as_bytes()).ok();
    let counted = sum(&read(&file), "countersign_processes_total");
    println!("{reads} reads; of 122 processes {ended} ended by themselves, {counted} are counted");
    assert!(counted >= f64::from(ended + 1) && counted <= 122.0, "{counted} of {ended}");
}

#[test]
fn a_process_that_stays_tells_its_figures_while_it_serves() {
    let phone = Phone::new(1);
    let (home, file) = home(&phone);
    let socket = home.dir().join("metrics.sock");
    home.set("metrics", "socket", &socket.display().to_string());
    // Somebody who is gone listened here.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    // Another process has served before.
    home.ask_one(&attempt(1, "alice", &phone.wrong_code(NOW)));
    let mut gateway = Gateway::start(&home);
    assert_eq!(gateway.ask(&attempt(2, "alice", &phone.code_at(NOW, 0))).told(), "accept");
    wait_until("somebody listens", || UnixStream::connect(&socket).is_ok());
    let (status, body) = get(&socket, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status, "HTTP/1.1 200 OK");
    let told = series(&body);
    assert_eq!(sum(&told, "countersign_in_flight"), 0.0);
    assert_eq!(sum(&told, "countersign_verdicts_total"), 2.0, "its own, and what is in the file: {body}");
    check("metrics", &[], &body);
    assert_eq!(get(&socket, "GET / HTTP/1.1\r\n\r\n").0, "HTTP/1.1 404 Not Found");
    assert_eq!(get(&socket, "POST /metrics HTTP/1.1\r\n\r\n").0, "HTTP/1.1 405 Method Not Allowed");
    // Those who ask and say nothing keep nobody waiting.
    let silent: Vec<_> = (0..20).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    assert_eq!(gateway.ask(&attempt(3, "alice", &phone.wrong_code(NOW))).code(), "wrong_code");
    drop(silent);
    wait_until("the file is written while it serves", || sum(&read(&file), "countersign_verdicts_total") == 3.0);
    // Who comes second does not take the socket away.
    let mut second = Gateway::start(&home);
    second.sync();
    // Its figures are in the file by the time it has listened for the first time, and nothing was said of it.
    let before = fs::symlink_metadata(&socket).unwrap().ino();
    wait_until("the second one counts", || sum(&read(&file), "countersign_processes_total") == 3.0);
    assert_eq!(get(&socket, "GET /metrics HTTP/1.1\r\n\r\n").0, "HTTP/1.1 200 OK");
    assert_eq!(fs::symlink_metadata(&socket).unwrap().ino(), before);
    gateway.end().1.ok();
    // It answers there once the first one has ended.
    wait_until("the second one listens", || UnixStream::connect(&socket).is_ok());
    assert_eq!(get(&socket, "GET /metrics HTTP/1.1\r\n\r\n").0, "HTTP/1.1 200 OK");
    second.end().1.ok();
    assert!(!socket.exists() && !home.log().contains("cannot be listened at"));
    assert_eq!(sum(&read(&file), "countersign_processes_total"), 3.0);
}

#[test]
fn what_services_come_to_is_counted() {
    let okta = Okta::start();
    okta.press("alice", "SUCCESS");
    let home = okta.home("");
    home.set("push", "mode", "plain");
    let file = home.dir().join("countersign.prom");
    home.append(&format!("[metrics]\nfile = {}\n", file.display()));
    let login = |id: u64| request(id, "alice", json!({"key_value_pairs": {"otp": ""}}));
    assert_eq!(home.ask_one(&login(1)).told(), "accept");
    // Nobody listens any more, and the section says accept.
    let place = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    home.set("okta", "api_url", &format!("http://{place}"));
    home.set("okta", "on_unreachable", "accept");
    let opened = home.ask_one(&login(2));
    assert_eq!(opened.degraded, Some(true), "{opened:?}");
    let text = fs::read_to_string(&file).unwrap();
    let found = series(&text);
    for name in [
        "countersign_service_calls_total{client=\"okta\",outcome=\"push_verified\"}",
        "countersign_service_calls_total{client=\"okta\",outcome=\"service_unreachable\"}",
        "countersign_fail_open_total{client=\"okta\"}",
        "countersign_verdicts_total{kind=\"authenticate\",verdict=\"accept\",code=\"unreachable\",client=\"okta\"}",
    ] {
        assert_eq!(found.get(name), Some(&1.0), "{name}\n{text}");
    }
}

#[test]
fn where_nothing_is_asked_for_nothing_is_written_and_where_it_cannot_be_nobody_waits() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    home.set_clock(NOW);
    let files = || {
        let mut names: Vec<_> = fs::read_dir(home.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    home.ask_one(&attempt(1, "alice", &phone.wrong_code(NOW)));
    assert_eq!(files(), before);
    home.append("[metrics]\nfile = /nonexistent/countersign.prom\n");
    assert_eq!(home.ask_one(&attempt(2, "alice", &phone.code_at(NOW, 0))).told(), "accept");
    assert!(home.log().contains("[metrics] the last figures of this process are missing"), "{}", home.log());
    let checked = home.run(&["check"], "");
    assert!(checked.status != Some(0) && checked.stderr.contains("[metrics] file: /nonexistent"), "{checked:?}");
    home.set("metrics", "file", "");
    let checked = home.run(&["check"], "");
    assert!(checked.stderr.contains("names neither a file nor a socket"), "{checked:?}");
}

/// What `promtool check` or `promtool test` says, where it is installed.
fn check(what: &str, arguments: &[&str], input: &str) {
    // Too large for what it would add to every run of the tests.
    let Some(promtool) = program("promtool") else {
        let why = "skipped: promtool is not there; run: apt-get install --no-install-recommends prometheus";
        let _ = writeln!(std::io::stderr(), "{why}");
        return;
    };
    let mut command = Command::new(promtool);
    command.args(if what == "metrics" { vec!["check", "metrics"] } else { vec![what] }).args(arguments);
    let said = rig::finish(command.current_dir(env!("CARGO_MANIFEST_DIR")), input.as_bytes());
    assert_eq!(said.status, Some(0), "{said:?}");
}

#[test]
fn the_rules_for_alerts_are_right_and_raise_what_they_say() {
    let rules = "contrib/prometheus/alerts.yml";
    check("check", &["rules", rules], "");
    check("test", &["rules", "contrib/prometheus/alerts.test.yml"], "");
    // What they ask for is what is told.
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(rules)).expect("the rules");
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).expect("the page");
    let told = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words
            .filter(|word| word.starts_with("countersign_"))
            .map(|word| word.trim_end_matches("_bucket").to_owned())
            .collect()
    };
    let (asked, known) = (told(&text), told(&docs));
    assert!(asked.len() > 5 && asked.iter().all(|name| known.contains(name)), "{asked:?} {known:?}");
}

/// Somebody's socket in our place whose queue is full: who connects to it waits for as long as nobody accepts.
#[test]
fn a_socket_at_which_nobody_accepts_holds_up_no_verdict() {
    let phone = Phone::new(1);
    let (home, _) = home(&phone);
    let socket = home.dir().join("metrics.sock");
    home.set("metrics", "socket", socket.to_str().unwrap());
    let listener =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &rustix::net::SocketAddrUnix::new(&socket).unwrap()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _filling = UnixStream::connect(&socket).unwrap();
    let mut gateway = Gateway::start(&home);
    let began = Instant::now();
    let mut id = 0;
    // For longer than it takes until it looks at the socket.
    while began.elapsed() < Duration::from_millis(2500) {
        id += 1;
        let stranger = json!({"client_ip": null, "key_value_pairs": {"otp": "000000"}});
        assert_eq!(gateway.ask(&request(id, &format!("user{id}"), stranger)).code(), "not_enrolled");
        thread::sleep(Duration::from_millis(20));
    }
    gateway.end().1.ok();
    assert!(socket.exists(), "it is not ours");
}

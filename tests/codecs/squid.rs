//! The helpers of Squid (docs/gateways/squid.md).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use serde_json::json;

use crate::rig::faults::Refused;
use crate::rig::http::Response;
use crate::rig::okta::{Okta, configure};
use crate::rig::web::{Misbehaviour, Reply, Web};
use crate::rig::{Finished, Gateway, Home, Phone};

const NOW: u64 = 1_800_000_000;

/// The options of a helper that takes password,code on many channels.
const BASIC: &[&str] = &["gateway", "squid-basic", "--concurrent", "--append-otp", ","];

const EXTERNAL_ACL: &[&str] = &["gateway", "squid-ext", "--concurrent"];

/// A helper that goes on.
struct Helper(Gateway);

impl Helper {
    fn start(home: &Home, arguments: &[&str]) -> Self {
        Self(Gateway::spawn(&mut home.command(arguments)))
    }

    fn send(&mut self, line: &str) {
        self.0.send_raw(format!("{line}\n"));
    }

    /// The next line, without its trace.
    fn line(&mut self) -> String {
        without_trace(std::str::from_utf8(&self.0.line().expect("one more answer")).unwrap())
    }

    fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines: Vec<String> = (0..count).map(|_| self.line()).collect();
        lines.sort();
        lines
    }

    fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.line()
    }
}

fn without_trace(line: &str) -> String {
    let line = line.strip_suffix('\n').unwrap_or(line);
    match line.split_once(" log=") {
        Some((before, rest)) => {
            let (trace, after) = rest.split_once(' ').unwrap_or((rest, ""));
            assert!(trace.len() == 16 && trace.bytes().all(|b| b.is_ascii_hexdigit()), "{line}");
            format!("{before} {after}").trim_end().to_owned()
        }
        None => line.to_owned(),
    }
}

/// What a helper says to `input`, which is all there is.
fn said(home: &Home, arguments: &[&str], input: impl AsRef<[u8]>) -> Vec<String> {
    let Finished { status, stdout, stderr } = home.run(arguments, input);
    assert_eq!((status, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.is_empty() || stdout.ends_with('\n'), "{stdout}");
    stdout.lines().map(without_trace).collect()
}

const FAILED: &str = "ERR message=Authentication%20failed Authentication failed";
const DENIED: &str = "ERR message=Access%20denied Access denied";
const INVALID: &str = "ERR message=Invalid%20request Invalid request";

fn home() -> (Home, Phone) {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    home.set_clock(NOW);
    (home, phone)
}

#[test]
fn a_code_is_taken_once() {
    let (home, phone) = home();
    let mut helper = Helper::start(&home, BASIC);
    let code = phone.code_at(NOW, 0);
    assert_eq!(helper.ask(&format!("1 alice pw,{} 192.0.2.7", phone.wrong_code(NOW))), format!("1 {FAILED}"));
    assert_eq!(helper.ask(&format!("2 alice p%20w%2C,{code} 192.0.2.7")), "2 OK");
    assert_eq!(helper.ask(&format!("3 alice pw,{code} 192.0.2.7")), format!("3 {FAILED}"));
    // Without a code a push would be meant, and there is none.
    assert_eq!(helper.ask("4 alice pw 192.0.2.7"), format!("4 {FAILED}"));
    assert!(home.log().contains("source=\"192.0.2.7\"") && home.log().contains("protocol=\"http\""), "{}", home.log());
    // One question at a time, without channels; the field is the code.
    let plain = Helper::start(&home, &["gateway", "squid-basic"]).ask(&format!("alice {}", phone.code_at(NOW, 1)));
    assert_eq!(plain, "OK");
}

#[test]
fn every_line_is_answered_by_one_line_on_its_channel() {
    let (home, phone) = home();
    let code = phone.code_at(NOW, 0);
    let (long, too_long) = ("x".repeat(8 * 1024), "x".repeat(64 * 1024));
    let mut input: Vec<Vec<u8>> = Vec::new();
    let mut expected = Vec::new();
    let mut line = |bytes: Vec<u8>, answer: String| {
        input.push(bytes);
        expected.push(answer);
    };
    for (channel, rest) in [
        ("1", "".to_owned()),
        ("2", " ".to_owned()),
        ("3", " alice".to_owned()),
        ("4", "  pw".to_owned()),
        ("5", " alice a%00b".to_owned()),
        ("6", " ali%ffce pw".to_owned()),
        ("18446744073709551615", " %00 %00".to_owned()),
    ] {
        line(format!("{channel}{rest}").into_bytes(), format!("{channel} {INVALID}"));
    }
    line(b"8 ali\xffce pw".to_vec(), format!("8 {INVALID}"));
    for (channel, user, password) in [
        ("10", "a%22li%5Cce,x", "%22%5C,1"),
        ("11", "alice%0A12%20OK", "x%0A13%20OK,y%0A14%20OK"),
        ("15", "CRV1::a::b", "CRV1::a::b"),
        ("16", "%24(id)%60id%60", "$(id),`id`"),
        ("17", "%", "%zz,%4"),
        ("18", &long, "x,1"),
        ("19", "alice", &format!("{long},{long}")),
    ] {
        line(format!("{channel} {user} {password}").into_bytes(), format!("{channel} {FAILED}"));
    }
    // No channel can be told from these.
    for bytes in [b"".to_vec(), b" alice pw".to_vec(), b"1\t alice pw".to_vec(), too_long.clone().into_bytes()] {
        line(bytes, INVALID.to_owned());
    }
    line(format!("20 {too_long}").into_bytes(), INVALID.to_owned());
    line(format!("21 alice pw,{code}").into_bytes(), "21 OK".to_owned());
    let input = input.join(&b'\n');
    let mut found = said(&home, BASIC, input);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn nothing_typed_is_in_the_log() {
    let (home, phone) = home();
    let code = phone.code_at(NOW, 0);
    said(
        &home,
        BASIC,
        format!("1 alice canary%20pw,{code} 192.0.2.7\n2 alice canary%20pw,canary 192.0.2.7\n3 a canary\n"),
    );
    let log = home.log();
    assert!(log.contains("alice") && !log.contains("canary") && !log.contains(&code), "{log}");
}

#[test]
fn no_name_is_a_channel_where_squid_numbers_nothing() {
    let (home, phone) = home();
    let code = phone.code_at(NOW, 0);
    // As Squid sends it without concurrency=: what is given back in front would be read as its yes.
    let lines = format!("OK canary,{code} 192.0.2.7\nBH canary 192.0.2.7\nalice canary,{code} 192.0.2.7\n");
    for arguments in [BASIC, EXTERNAL_ACL] {
        assert_eq!(said(&home, arguments, &lines), [INVALID; 3], "{arguments:?}");
    }
    // Nobody's yes begins with digits.
    assert_eq!(said(&home, BASIC, "1 OK 192.0.2.7\n"), [format!("1 {FAILED}")]);
    let log = home.log();
    assert!(log.contains("concurrency=N") && !log.contains("canary") && !log.contains(&code), "{log}");
}

#[test]
fn a_question_is_shown_and_costs_nothing() {
    let (home, phone) = home();
    let code = phone.code_at(NOW, 0);
    let before = fs::read_to_string(home.ini()).unwrap();
    home.append("[question_1]\nkey = ticket\nprompt = user=x \"Ticket\":\ndisable_echo = no\n");
    let line = format!("1 alice pw,{code}\n");
    let shown = "message=user%3Dx%20%22Ticket%22%3A : user=x \"Ticket\":";
    assert_eq!(said(&home, BASIC, &line), [format!("1 ERR {shown}")]);
    assert_eq!(said(&home, EXTERNAL_ACL, "1 alice 192.0.2.7 -\n"), [format!("1 ERR {shown}")]);
    fs::write(home.ini(), before).unwrap();
    assert_eq!(said(&home, BASIC, &line), ["1 OK"], "the code was not used");
}

#[test]
fn nobody_is_enrolled_by_a_helper() {
    let (home, _) = home();
    home.append("[policy]\nunenrolled = enrol\n");
    assert_eq!(said(&home, BASIC, "1 mallory pw,123456\n2 mallory pw\n").len(), 2);
    let listed = home.run(&["list"], "").stdout;
    assert!(listed.contains("alice") && !listed.contains("mallory"), "{listed}");
}

#[test]
fn an_external_acl_asks_for_a_push_by_user_and_address() {
    let okta = Okta::start();
    let home = okta.home("");
    okta.press("alice", "SUCCESS");
    okta.press("bob", "REJECTED");
    let mut helper = Helper::start(&home, EXTERNAL_ACL);
    assert_eq!(helper.ask("1 alice 192.0.2.7 -"), "1 OK");
    assert_eq!(helper.ask("2 bob 192.0.2.7 -"), format!("2 {FAILED}"));
    assert_eq!(helper.ask("3 - 192.0.2.7 -"), format!("3 {INVALID}"));
    assert_eq!(okta.count("POST", "factors/ostf1/verify"), 2);
}

#[test]
fn a_browser_that_asks_many_times_rings_once() {
    let okta = Okta::start();
    let home = okta.home("");
    okta.press("bob", "SUCCESS");
    let mut first = Helper::start(&home, BASIC);
    (1..=5).for_each(|channel| first.send(&format!("{channel} alice pw 192.0.2.7")));
    okta.wait_for("GET", "transactions/t1", 1);
    // In another process it does not ring again either.
    assert_eq!(Helper::start(&home, BASIC).ask("6 alice pw 192.0.2.7"), format!("6 {FAILED}"));
    // Who is not let in by her push: another address, another password, no address. And another user is not kept waiting.
    for line in ["7 alice pw 192.0.2.8", "8 alice px 192.0.2.7", "9 alice pw"] {
        let channel = line.split(' ').next().unwrap();
        assert_eq!(first.ask(line), format!("{channel} {FAILED}"));
    }
    assert_eq!(first.ask("10 bob pw 192.0.2.7"), "10 OK");
    assert_eq!(okta.count("POST", "factors/ostf1/verify"), 2);
    okta.press("alice", "SUCCESS");
    assert_eq!(first.lines(5), (1..=5).map(|channel| format!("{channel} OK")).collect::<Vec<_>>());
    // What comes when it is over is a login of its own.
    assert_eq!(first.ask("11 alice pw 192.0.2.7"), "11 OK");
    assert_eq!(okta.count("POST", "factors/ostf1/verify"), 3);
    assert!(home.log().contains("push_outstanding"));
}

#[test]
fn a_code_takes_the_place_of_the_push() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut helper = Helper::start(&home, BASIC);
    helper.send("1 alice pw 192.0.2.7");
    okta.wait_for("GET", "transactions/t1", 1);
    helper.send("2 alice pw,123456 192.0.2.7");
    assert_eq!(helper.lines(2), [format!("1 {DENIED}"), "2 OK".to_owned()]);
    okta.wait_for("DELETE", "transactions/t1", 1);
}

/// What is answered where a service fails, and how many pushes it has been asked for by then.
fn fails(reply: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> (String, usize) {
    let web = Web::serve(move |request| {
        let link =
            format!("http://{}/api/v1/users/00ualice/factors/ostf1/transactions/t1", request.header("host").unwrap());
        let end = request.path.rsplit('/').next().unwrap().to_owned();
        if let Some(reply) = reply(&end) {
            return reply;
        }
        match end.as_str() {
            "factors" => {
                let push = json!({"id": "ostf1", "factorType": "push", "provider": "OKTA", "status": "ACTIVE"});
                Response::json(200, &json!([push])).into()
            }
            "verify" => {
                let links = json!({"poll": {"href": link}, "cancel": {"href": link}});
                Response::json(201, &json!({"factorResult": "WAITING", "_links": links})).into()
            }
            _ => Response::json(200, &json!({"id": "00ualice", "status": "ACTIVE", "profile": {"login": "alice"}}))
                .into(),
        }
    });
    let home = Home::init();
    configure(&home, &web.url(""), "");
    let answer = Helper::start(&home, BASIC).ask("1 alice pw 192.0.2.7");
    web.excuse();
    let pushes = web.requests().iter().filter(|request| request.path.ends_with("/verify")).count();
    (answer.split(' ').nth(1).unwrap().to_owned(), pushes)
}

#[test]
fn whoever_was_asked_is_not_asked_three_times() {
    // Squid repeats a BH at once, twice.
    let (err, bh) = ("ERR".to_owned(), "BH".to_owned());
    assert_eq!(fails(|end| (end == "t1").then(|| Misbehaviour::Close.into())), (err.clone(), 1));
    assert_eq!(fails(|end| (end == "t1").then(|| Response::new(200, "text/html", "<p>").into())), (err.clone(), 1));
    assert_eq!(fails(|end| (end == "verify").then(|| Misbehaviour::Reset.into())), (err.clone(), 1));
    assert_eq!(fails(|end| (end == "verify").then(|| Response::empty(503).into())), (err.clone(), 1));
    // Something left.
    assert_eq!(fails(|_| Some(Misbehaviour::Close.into())), (err.clone(), 0));
    let refused = Refused::new();
    let home = Home::init();
    configure(&home, &format!("http://{}", refused.host()), "");
    let word = |arguments: &[&str]| {
        let answer = Helper::start(&home, arguments).ask("1 alice pw,123456 192.0.2.7");
        assert!(answer.contains("cannot be reached"), "{answer}");
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(word(BASIC), bh);
    assert_eq!(word(&[BASIC, &["--on-error", "reject"]].concat()), err);
}

#[test]
fn a_push_that_nobody_answers_is_over_in_time() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut helper = Helper::start(&home, &[BASIC, &["--wait", "3"]].concat());
    assert_eq!(helper.ask("1 alice pw 192.0.2.7"), format!("1 {FAILED}"));
    assert_eq!(okta.count("POST", "factors/ostf1/verify"), 1);
}

#[test]
fn the_end_of_input_and_a_signal_are_ends_that_lose_nothing() {
    let okta = Okta::start();
    let home = okta.home("");
    for signal in [None, Some("TERM")] {
        let mut helper = Helper::start(&home, BASIC);
        let before = okta.count("GET", "transactions/t1");
        helper.send("1 alice pw 192.0.2.7");
        okta.wait_for("GET", "transactions/t1", before + 1);
        match signal {
            Some(name) => helper.0.signal(name),
            None => {
                // A gateway that ends its input soon asked one thing, and waits for it; Squid's has gone.
                thread::sleep(std::time::Duration::from_millis(1100));
                drop(helper.0.take_input());
            }
        }
        assert_eq!(helper.line(), format!("1 {DENIED}"), "{signal:?}");
        let (rest, Finished { status, stdout: _, stderr }) = helper.0.wait();
        assert_eq!((rest.len(), status, stderr.as_str()), (0, Some(0), ""), "{signal:?}");
    }
}

#[test]
fn a_helper_that_cannot_serve_says_why_and_ends() {
    let (home, _) = home();
    fs::set_permissions(home.ini(), fs::Permissions::from_mode(0o644)).unwrap();
    home.append("[nonsense]\n");
    let Finished { status, stdout, stderr } = home.run(BASIC, "1 alice pw,123456\n");
    assert_eq!((status, stdout.as_str()), (Some(78), ""));
    assert!(stderr.contains("nonsense"), "{stderr}");
}

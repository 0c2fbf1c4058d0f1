//! `[yubico]` through the executable: against real servers of the validation protocol, and against loopback servers that
//! say what those cannot be brought to say.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test ends where its helpers fail, and shows its tables"
)]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use rig::faults::Refused;
use rig::http::{Request, Response};
use rig::services::Yubival;
use rig::web::{Misbehaviour, Reply, Web};
use rig::{Answer, Home, request};
use serde_json::json;
use sha1::Sha1;

/// The key of the loopback servers, in base64.
const KEY: &str = "mG5be6ZJU1qBGz24yPh/ESM3UdU=";

/// What alice's key types, by its shape.
const OTP: &str = "vvcccccccccbtbghrfgdnjncbijgerrhgcgkdvghbdli";

// What is told, by class and code.
const ODD: &str = "communication_error/unexpected_answer";
const FORGED: &str = "communication_error/bad_signature";
const UNKNOWN: &str = "communication_error/credentials_refused";
const STATUS: &str = "communication_error/http_status";
const WRONG: &str = "authentication_failure/wrong_code";
const USED: &str = "authentication_failure/used_code";
const BROKEN: &str = "communication_error/service_fault";
const AGAIN: &str = "communication_error/replayed_request";

/// A home whose client asks `urls`.
fn home(urls: &[String], client_id: &str, key: &str) -> Home {
    let home = Home::init();
    home.set("plugin", "clients", "yubico");
    home.set("plugin", "deadline", "10");
    home.set("throttle", "failures", "1000");
    home.set("logging", "level", "debug");
    for (option, value) in [
        ("api_urls", urls.join(",").as_str()),
        ("client_id", client_id),
        ("api_key", key),
        ("allow_insecure_http", "yes"),
    ] {
        home.set("yubico", option, value);
    }
    for (user, ids) in [
        ("alice", "vvcccccccccb"),
        ("Bob", "vvcccccccccd, vvccccccccce"),
        ("jürgen", "vvcccccccccb"),
        ("forgotten", "vvcccccccccf"),
    ] {
        home.set("yubico_keys", user, ids);
    }
    home
}

/// What is said of `user` who typed `otp`; wherever it is said, the OTP is not.
#[track_caller]
fn told(home: &Home, user: &str, otp: &str) -> Answer {
    let answer = home.ask_one(&request("1", user, json!({"key_value_pairs": {"otp": otp}})));
    let (log, said) = (home.log(), format!("{answer:?}"));
    assert!(!log.is_empty());
    // What stands in plugin.ini is a name.
    if let Some(token) = otp.get(12..).filter(|token| token.len() > 3) {
        assert!(!log.contains(token) && !said.contains(token), "{said}\n{log}");
    }
    answer
}

/// What one server answers, signed.
fn signed(key: &[u8], pairs: &[(&str, &str)]) -> Response {
    let mut sorted = pairs.to_vec();
    sorted.sort_unstable();
    let line: Vec<String> = sorted.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut mac = Hmac::<Sha1>::new_from_slice(key).unwrap();
    mac.update(line.join("&").as_bytes());
    let h = BASE64.encode(&mac.finalize().into_bytes());
    let lines: String = pairs.iter().map(|(name, value)| format!("{name}={value}\r\n")).collect();
    Response::new(200, "text/plain", format!("h={h}\r\n{lines}\r\n"))
}

/// What a server says of a request, given its OTP and its nonce.
type Saying = fn(&str, &str) -> Response;

fn serve(saying: Saying) -> Web {
    Web::serve(move |request: &Request| saying(request.parameter("otp").unwrap(), request.parameter("nonce").unwrap()))
}

fn key() -> Vec<u8> {
    BASE64.decode(KEY.as_bytes()).unwrap()
}

fn ok(otp: &str, nonce: &str) -> Response {
    signed(&key(), &[("t", "2026-11-22T03:11:11Z0235"), ("otp", otp), ("nonce", nonce), ("sl", "0"), ("status", "OK")])
}

fn status(status: &str) -> Response {
    signed(&key(), &[("t", "2026-11-22T03:11:11Z0235"), ("status", status)])
}

/// Prints how often each thing was said, and how often it was to be.
fn table(what: &str, rows: &[(String, String)]) {
    let mut counts = BTreeMap::new();
    for (_, told) in rows {
        *counts.entry(told).or_insert(0) += 1;
    }
    println!("{what}: {} situations", rows.len());
    for (name, told) in rows {
        println!("    {name:<44} {told}");
    }
    for (told, count) in counts {
        println!("  {count:>3} {told}");
    }
}

// -------------------------------------------------------------------------------------------------------- real servers

fn real_servers_know(count: usize) {
    let Some(servers) = Yubival::start(count) else { return };
    let ours = home(&servers.urls, &servers.client_id, &servers.api_key);
    let stranger = home(&servers.urls, "4242", &servers.api_key);
    let inactive = home(&servers.urls, "88", &servers.api_key);
    let unsigned = home(&servers.urls, &servers.client_id, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let lost = servers.urls.iter().map(|url| url.replace("/verify", "/nosuch")).collect::<Vec<_>>();
    let lost = home(&lost, &servers.client_id, &servers.api_key);
    let (first, second, older) = (servers.otp("alice", 2, 1), servers.otp("alice", 2, 2), servers.otp("alice", 1, 9));
    let third = servers.otp("alice", 3, 1);
    let mut rows = Vec::new();
    for (name, home, user, otp, expected) in [
        ("ok-signed", &ours, "alice", first.clone(), "accept"),
        ("replayed-otp", &ours, "alice", first.clone(), USED),
        ("replayed-otp, in capitals", &ours, "ALICE", first.to_uppercase(), USED),
        ("older-otp", &ours, "alice", older, USED),
        ("the next, in capitals", &ours, "Alice", second.to_uppercase(), "accept"),
        ("another user's second key", &ours, "bob", servers.otp("carol", 1, 1), "accept"),
        ("unknown-key", &ours, "forgotten", servers.otp("unknown", 1, 1), WRONG),
        ("corrupt", &ours, "alice", servers.otp("corrupt", 3, 1), WRONG),
        ("malformed-otp", &ours, "alice", "123456".to_owned(), "authentication_failure/malformed_code"),
        ("bad-signature", &unsigned, "alice", third.clone(), UNKNOWN),
        ("no-such-client", &stranger, "alice", third.clone(), UNKNOWN),
        ("inactive-client", &inactive, "alice", third.clone(), UNKNOWN),
        ("not-found", &lost, "alice", third.clone(), STATUS),
        ("a key of another user", &ours, "bob", third.clone(), "authentication_failure/other_user"),
        ("a user without a key", &ours, "eve", third.clone(), "authentication_failure/not_enrolled"),
        ("ok after all of these", &ours, "alice", third, "accept"),
    ] {
        let answer = told(home, user, &otp);
        assert_eq!(answer.told(), expected, "{name}: {answer:?}");
        if expected == "accept" {
            assert_eq!(answer.factor.as_deref(), Some("otp"), "{name}");
        }
        rows.push((name.to_owned(), answer.told()));
    }
    table(&format!("yubival, {count} servers"), &rows);
}

#[test]
fn one_real_server_is_understood() {
    real_servers_know(1);
}

#[test]
fn three_real_servers_are_understood() {
    real_servers_know(3);
}

// ---------------------------------------------------------------------------------------------------- loopback servers

#[test]
fn only_a_signed_ok_for_this_request_accepts() {
    let mut rows = Vec::new();
    let sayings: &[(&str, Saying, &str)] = &[
        ("OK", ok, "accept"),
        ("OK without h", |otp, nonce| plain(&[("otp", otp), ("nonce", nonce), ("status", "OK")]), FORGED),
        (
            "OK signed with the empty key",
            |otp, nonce| signed(b"", &[("otp", otp), ("nonce", nonce), ("status", "OK")]),
            FORGED,
        ),
        (
            "OK signed with another key",
            |otp, nonce| signed(&[7; 20], &[("otp", otp), ("nonce", nonce), ("status", "OK")]),
            FORGED,
        ),
        (
            "OK with an h that is nothing",
            |otp, nonce| plain(&[("h", "="), ("otp", otp), ("nonce", nonce), ("status", "OK")]),
            FORGED,
        ),
        ("OK for another nonce", |otp, nonce| ok(otp, &nonce.replace(|c: char| c.is_ascii_digit(), "f")), ODD),
        ("OK for another OTP", |otp, nonce| ok(&otp.replace('b', "c"), nonce), ODD),
        ("OK for the OTP in capitals", |otp, nonce| ok(&otp.to_uppercase(), nonce), ODD),
        ("OK for no OTP", |_, nonce| signed(&key(), &[("nonce", nonce), ("status", "OK")]), ODD),
        ("OK for no nonce", |otp, _| signed(&key(), &[("otp", otp), ("status", "OK")]), ODD),
        (
            "OK twice",
            |otp, nonce| signed(&key(), &[("otp", otp), ("nonce", nonce), ("status", "OK"), ("status", "OK")]),
            ODD,
        ),
        (
            "OK and BAD_OTP",
            |otp, nonce| signed(&key(), &[("otp", otp), ("nonce", nonce), ("status", "OK"), ("status", "BAD_OTP")]),
            ODD,
        ),
        (
            "BAD_OTP and OK",
            |otp, nonce| signed(&key(), &[("otp", otp), ("nonce", nonce), ("status", "BAD_OTP"), ("status", "OK")]),
            ODD,
        ),
        ("ok", |otp, nonce| signed(&key(), &[("otp", otp), ("nonce", nonce), ("status", "ok")]), ODD),
        ("OK and a space", |otp, nonce| signed(&key(), &[("otp", otp), ("nonce", nonce), ("status", "OK ")]), ODD),
        ("no status", |otp, nonce| signed(&key(), &[("otp", otp), ("nonce", nonce)]), ODD),
        ("an unknown status", |_, _| status("MAYBE"), ODD),
        ("nothing", |_, _| Response::new(200, "text/plain", ""), ODD),
        ("a web page", |_, _| Response::new(200, "text/html", "<html>status=OK</html>"), ODD),
        ("JSON", |_, _| Response::json(200, &json!({"status": "OK"})), ODD),
        ("BAD_OTP", |_, _| status("BAD_OTP"), WRONG),
        ("BAD_OTP without h", |_, _| plain(&[("status", "BAD_OTP")]), WRONG),
        ("BAD_OTP signed with the empty key", |_, _| signed(b"", &[("status", "BAD_OTP")]), WRONG),
        ("REPLAYED_OTP", |_, _| status("REPLAYED_OTP"), USED),
        ("DELAYED_OTP", |_, _| status("DELAYED_OTP"), USED),
        ("REPLAYED_REQUEST", |_, _| status("REPLAYED_REQUEST"), AGAIN),
        ("NOT_ENOUGH_ANSWERS", |_, _| status("NOT_ENOUGH_ANSWERS"), BROKEN),
        ("BACKEND_ERROR", |_, _| status("BACKEND_ERROR"), BROKEN),
        ("BAD_SIGNATURE", |_, _| status("BAD_SIGNATURE"), UNKNOWN),
        ("NO_SUCH_CLIENT", |_, _| status("NO_SUCH_CLIENT"), UNKNOWN),
        ("OPERATION_NOT_ALLOWED", |_, _| status("OPERATION_NOT_ALLOWED"), UNKNOWN),
        ("MISSING_PARAMETER", |_, _| status("MISSING_PARAMETER"), ODD),
        ("OK with status 201", |otp, nonce| ok(otp, nonce).status(201), STATUS),
        (
            "OK with status 302",
            |otp, nonce| ok(otp, nonce).status(302).with("Location", "/"),
            "communication_error/redirected",
        ),
        ("OK with status 400", |otp, nonce| ok(otp, nonce).status(400), STATUS),
        ("OK with status 403", |otp, nonce| ok(otp, nonce).status(403), STATUS),
        ("OK with status 429", |otp, nonce| ok(otp, nonce).status(429), "communication_error/rate_limited"),
        ("OK with status 500", |otp, nonce| ok(otp, nonce).status(500), STATUS),
        ("OK with status 503", |otp, nonce| ok(otp, nonce).status(503), "service_unreachable/service_unavailable"),
    ];
    for (name, saying, expected) in sayings {
        let web = serve(*saying);
        let home = home(&[web.url("/wsapi/2.0/verify")], "87", KEY);
        // A door that is opened for a service that is away is not opened for one that answers.
        home.set("yubico", "on_unreachable", "accept");
        let answer = told(&home, "alice", OTP);
        assert_eq!(answer.told(), *expected, "{name}: {answer:?}");
        assert_eq!(answer.degraded, None, "{name}");
        assert_eq!(web.requests().len(), 1, "{name}: nothing is asked twice");
        rows.push(((*name).to_owned(), answer.told()));
    }
    table("one loopback server", &rows);
}

/// Lines that nobody signed.
fn plain(pairs: &[(&str, &str)]) -> Response {
    let lines: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    Response::new(200, "text/plain", lines.concat())
}

#[test]
fn requests_are_signed_and_asked_of_all_servers_under_one_nonce() {
    let webs: Vec<Web> = (0..3).map(|_| serve(|_, _| status("BAD_OTP"))).collect();
    let urls: Vec<String> = webs.iter().map(|web| web.url("/wsapi/2.0/verify")).collect();
    let home = home(&urls, "87", KEY);
    let mut nonces = Vec::new();
    for round in 1..=2 {
        assert_eq!(told(&home, "alice", &OTP.to_uppercase()).code(), "wrong_code");
        for web in &webs {
            let requests = web.requests();
            assert_eq!(requests.len(), round);
            let request = &requests[round - 1];
            assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/wsapi/2.0/verify"));
            let names: Vec<&str> = request.query.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["id", "nonce", "otp", "h"]);
            assert_eq!((request.parameter("id"), request.parameter("otp")), (Some("87"), Some(OTP)));
            let nonce = request.parameter("nonce").unwrap();
            assert!((16..=40).contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            let expected = signed(&key(), &[("id", "87"), ("nonce", nonce), ("otp", OTP)]);
            let line = format!("h={}\r\n", request.parameter("h").unwrap());
            assert!(expected.body.starts_with(line.as_bytes()));
            nonces.push(nonce.to_owned());
        }
    }
    assert!(nonces[..3].iter().all(|nonce| *nonce == nonces[0]) && nonces[3..].iter().all(|nonce| *nonce == nonces[3]));
    assert_ne!(nonces[0], nonces[3]);
}

/// One of several servers.
enum Server {
    Says(Saying),
    SaysLater(Saying),
    Silent,
    Refused,
}

#[test]
fn any_valid_ok_wins_and_nothing_else_decides_before_all_have_answered() {
    use Server::{Refused as Gone, Says, SaysLater, Silent};
    let forged: Saying = |otp, nonce| signed(b"", &[("otp", otp), ("nonce", nonce), ("status", "OK")]);
    let bad: Saying = |_, _| status("BAD_OTP");
    let used: Saying = |_, _| status("REPLAYED_OTP");
    let again: Saying = |_, _| status("REPLAYED_REQUEST");
    let broken: Saying = |_, _| status("BACKEND_ERROR");
    let down: Saying = |_, _| Response::empty(503);
    let mut rows = Vec::new();
    for (name, servers, expected) in [
        ("REPLAYED_OTP, and OK later", vec![Says(used), SaysLater(ok)], "accept"),
        ("BAD_OTP, REPLAYED_REQUEST, and OK later", vec![Says(bad), Says(again), SaysLater(ok)], "accept"),
        ("a forged OK, and OK later", vec![Says(forged), SaysLater(ok)], "accept"),
        ("OK, and silence", vec![Says(ok), Silent], "accept"),
        ("nobody there, silence, and OK later", vec![Gone, Silent, SaysLater(ok)], "accept"),
        ("a forged OK twice", vec![Says(forged), Says(forged)], FORGED),
        ("a forged OK, and BAD_OTP later", vec![Says(forged), SaysLater(bad)], WRONG),
        ("REPLAYED_REQUEST, and REPLAYED_OTP", vec![Says(again), SaysLater(used)], USED),
        ("REPLAYED_REQUEST, and BACKEND_ERROR", vec![Says(again), Says(broken)], BROKEN),
        ("REPLAYED_REQUEST, and 503", vec![Says(again), Says(down)], AGAIN),
        ("BACKEND_ERROR, and nobody there", vec![Gone, Says(broken)], BROKEN),
        ("REPLAYED_OTP, and silence", vec![Says(used), Silent], USED),
        ("silence, and nobody there", vec![Gone, Silent], "service_unreachable/read_timeout"),
        ("503, and nobody there", vec![Gone, Says(down)], "service_unreachable/service_unavailable"),
        ("nobody there at all", vec![Gone, Gone], "accept, degraded"),
    ] {
        let (mut webs, mut gone, mut urls) = (Vec::new(), Vec::new(), Vec::new());
        for server in &servers {
            let web = match server {
                Says(saying) => serve(*saying),
                SaysLater(saying) => {
                    let saying = *saying;
                    Web::serve(move |request: &Request| {
                        let (otp, nonce) = (request.parameter("otp").unwrap(), request.parameter("nonce").unwrap());
                        Reply::after(Duration::from_millis(700), saying(otp, nonce))
                    })
                }
                Silent => Web::always(Misbehaviour::Silence),
                Gone => {
                    let refused = Refused::new();
                    urls.push(format!("http://{}/verify", refused.host()));
                    gone.push(refused);
                    continue;
                }
            };
            urls.push(web.url("/verify"));
            webs.push(web);
        }
        let home = home(&urls, "87", KEY);
        home.set("plugin", "deadline", "3");
        home.set("yubico", "on_unreachable", "accept");
        let answer = told(&home, "alice", OTP);
        let said = if answer.degraded == Some(true) { "accept, degraded".to_owned() } else { answer.told() };
        assert_eq!(said, expected, "{name}: {answer:?}");
        for web in &webs {
            assert_eq!(web.requests().len(), 1, "{name}: each is asked once");
        }
        rows.push((name.to_owned(), said));
    }
    table("several loopback servers", &rows);
}

#[test]
fn what_no_request_can_help_is_denied_without_one() {
    let web = serve(ok);
    let home = home(&[web.url("/verify")], "87", KEY);
    let id = "vvcccccccccb";
    let token = &OTP[12..];
    let long = "x".repeat(10_240);
    let mut rows = Vec::new();
    for (user, otp, code) in [
        ("alice", "123456".to_owned(), "malformed_code"),
        ("alice", format!("{id}{}", &token[1..13]), "malformed_code"),
        ("alice", format!("{id}12{token}"), "malformed_code"),
        ("alice", format!("{id}{token}{token}"), "malformed_code"),
        ("alice", format!("kkjjjjjjjjjx{token}"), "malformed_code"),
        ("alice", "ммссссссссси".repeat(4), "malformed_code"),
        ("alice", format!("{id}\u{7f}{token}"), "malformed_code"),
        ("alice", long.clone(), "malformed_code"),
        ("alice", token.to_owned(), "other_user"),
        ("alice", format!("{id}cccc{token}"), "other_user"),
        ("alice", format!("vvcccccccccd{token}"), "other_user"),
        ("bob", OTP.to_owned(), "other_user"),
        ("eve", OTP.to_owned(), "not_enrolled"),
        ("me", OTP.to_owned(), "not_enrolled"),
        ("..", OTP.to_owned(), "not_enrolled"),
        ("x/../../admin?a=b", OTP.to_owned(), "not_enrolled"),
        ("alice%00", OTP.to_owned(), "not_enrolled"),
        ("alice\0", OTP.to_owned(), "malformed_name"),
        (&long, OTP.to_owned(), "malformed_name"),
    ] {
        let answer = told(&home, user, &otp);
        assert_eq!(answer.code(), code, "{user:.20} {otp:.50}: {answer:?}");
        rows.push((format!("{user:.20} {otp:.20}").escape_debug().to_string(), answer.told()));
    }
    assert_eq!(web.seen().connections, 0);
    for user in ["alice", "JÜRGEN", " Alice "] {
        assert_eq!(told(&home, user, &format!(" {OTP} ")).verdict(), "accept", "{user}");
    }
    table("without a request", &rows);
}

#[test]
fn a_key_that_cannot_sign_is_our_fault_and_not_said() {
    for key in ["c2hvcnQ=", "not-base64-at-all"] {
        let web = serve(ok);
        let home = home(&[web.url("/verify")], "87", key);
        let answer = told(&home, "alice", OTP);
        assert_eq!(answer.told(), "internal_error/client_unusable", "{answer:?}");
        assert!(!answer.reason().contains(key) && !home.log().contains(key));
        assert_eq!(web.seen().connections, 0);
    }
}

// -------------------------------------------------------------------------------------------------------------- doctor

#[test]
fn doctor_finds_out_what_keeps_the_servers_from_verifying() {
    let Some(servers) = Yubival::start(2) else { return };
    let well = home(&servers.urls, &servers.client_id, &servers.api_key);
    let said = well.run(&["doctor", "yubico"], "").stdout;
    assert_eq!(said.matches("knows this client by its key").count(), 2, "{said}");
    assert!(said.contains("[yubico_keys] names 4 users with 5 keys"), "{said}");
    for (client_id, key, word) in [
        ("4242", servers.api_key.as_str(), "NO_SUCH_CLIENT"),
        (&servers.client_id, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "BAD_SIGNATURE"),
    ] {
        let finished = home(&servers.urls, client_id, key).run(&["doctor", "yubico"], "");
        assert_eq!(finished.status, Some(1));
        assert!(
            finished.stdout.contains(word) && finished.stdout.contains("compare client_id and api_key"),
            "{finished:?}"
        );
    }
    // It answers as it should, but proves nothing.
    let web = Web::serve(|request: &Request| match request.parameter("otp") {
        Some(_) => plain(&[("status", "BAD_OTP")]),
        None => plain(&[("status", "MISSING_PARAMETER")]),
    });
    let finished = home(&[web.url("/verify")], "87", KEY).run(&["doctor", "yubico"], "");
    assert!(finished.stdout.contains("not signed with api_key"), "{finished:?}");
}

//! What guessing at one subscriber can reach, and what it cannot bring about: over sessions, addresses, spellings, servers and
//! processes, on both stores, with the clock moved through a week.
//!
//! `COUNTERSIGN_GUESSES` says how many guesses there are.
#![cfg(debug_assertions)]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::path::Path;

use countersign::config::Config;
use countersign::domain::claimant::Subscriber;
use countersign::domain::time::UnixTime;
use countersign::policy::mapping::Domains;
use countersign::store::sqlite::SqliteStore;
use countersign::store::{Counter, Limits, Origin, Ruling, Store};
use rig::grounds::Ground;
use rig::okta::Okta;
use rig::{Gateway, Home, Phone, finish, request};
use serde_json::{Value, json};

/// At the middle of a time step.
const NOW: u64 = 1_800_000_015;

const WEEK: u64 = 7 * 24 * 3600;
const YEAR: u64 = 365 * 24 * 3600;

/// When guesses are made, in seconds from the first on: a moment after each wait of somebody who is heard whenever they can be.
fn moments() -> Vec<u64> {
    let waits = (0..10).map(|n| 60 << n).chain(std::iter::repeat(43_200));
    let later = waits.scan(0, |at, wait| {
        *at += wait;
        Some(*at)
    });
    std::iter::once(0).chain(later).take_while(|at| *at < WEEK).collect()
}

/// How many guesses are under way at once: a shared store is no faster than its database, and what it does not get to in time
/// is rejected without being counted.
const AT_ONCE: usize = 600;

/// Where alice logged in before it began.
const HOME: &str = "198.51.100.7";

/// Ways to write one name: all of them are alice's, or nobody's.
const SPELLINGS: [&str; 9] = [
    "alice",
    "ALICE",
    " Alice ",
    "\u{ff41}\u{ff4c}\u{ff49}\u{ff43}\u{ff45}",
    "CORP\\alice",
    "alice@corp.example",
    "Corp\\ALICE@CORP.EXAMPLE.",
    "al\u{200b}ice",
    "alice.",
];

/// The most guesses at one subscriber that are heard in a week by the defaults of `[throttle]`: from anywhere, and from where
/// they are known.
fn most() -> u64 {
    let config = Config::parse(Path::new("plugin.ini"), "").unwrap();
    config.subscriber_rule().most_heard(WEEK) + u64::from(config.known_rule().unwrap().together)
}

/// An address that few guesses come from.
fn source(guess: u64) -> Value {
    match guess % 8 {
        0 => Value::Null,
        1 | 2 => json!(format!("2001:db8:{:x}:{:x}::{:x}", guess % 0xffff, guess / 7 % 0xffff, guess)),
        3 => json!(format!("::ffff:10.{}.{}.{}", guess % 200, guess / 200 % 250, 1 + guess % 250)),
        // Somebody behind the address that alice comes from.
        4 => json!(HOME),
        _ => json!(format!("10.{}.{}.{}", guess % 200, guess / 200 % 250, 1 + guess % 250)),
    }
}

/// How many guesses of the part that begins with `first` are sent, each part over processes that run at once.
fn play(home: &Home, phone: &Phone, first: u64, count: u64, time: u64) {
    home.set_clock(time);
    let wrong = phone.wrong_code(time);
    let line = |guess: u64| {
        let name = SPELLINGS[usize::try_from(guess).unwrap() % SPELLINGS.len()];
        let more = json!({"client_ip": source(guess), "key_value_pairs": {"otp": wrong}});
        request(guess, name, more)
    };
    let mut gateways: Vec<Gateway> = (0..3).map(|_| Gateway::start(home)).collect();
    let guesses: Vec<u64> = (first..first + count).collect();
    for (gateway, part) in gateways.iter_mut().zip(guesses.chunks(guesses.len().div_ceil(3))) {
        gateway.send_raw(part.iter().map(|guess| format!("{}\n", line(*guess))).collect::<String>());
    }
    // Meanwhile by other servers' languages.
    let mut squid = home.command(&["gateway", "squid-basic", "--append-otp", ","]);
    let said = finish(&mut squid, format!("alice x,{wrong}\nALICE x,{wrong}\nCORP%5Calice x,{wrong}\n").as_bytes());
    assert!(!said.stdout.contains("OK"), "{said:?}");
    let mut radius = home.command(&["gateway", "radius-exec", "--min-runtime", "0", "site"]);
    radius.env("USER_NAME", "\"Alice\"").env("USER_PASSWORD", format!("\"{wrong}\""));
    assert_ne!(finish(&mut radius, b"").status, Some(0));
    for gateway in gateways {
        let (answers, finished) = gateway.end();
        finished.ok();
        assert!(answers.iter().all(|answer| answer.verdict() == "reject"), "{answers:?}");
    }
}

/// How many audit lines have this code.
fn audited(log: &str, code: &str) -> u64 {
    let code = format!(" code=\"{code}\"");
    log.lines().filter(|line| line.contains("\"reject\"") && line.contains(&code)).count() as u64
}

#[test]
fn of_any_number_of_guesses_few_reach_the_verifier() {
    let given = std::env::var("COUNTERSIGN_GUESSES").ok().map(|count| count.parse::<u64>().unwrap());
    for Ground { home, name, .. } in &Ground::all() {
        let phone = Phone::new(1);
        home.append("[policy]\nignore_domains = CORP,corp.example\n");
        home.import("alice", &phone);
        home.set_clock(NOW - 300);
        let login = json!({"client_ip": HOME, "key_value_pairs": {"otp": phone.code_at(NOW - 300, 0)}});
        assert_eq!(home.ask_one(&request(0, "alice", login)).told(), "accept");
        let before = home.log().len();
        let count = given.unwrap_or(if *name == "embedded" { 3000 } else { 600 });
        let moments = moments();
        let each = count.div_ceil(moments.len() as u64).max(6);
        for (part, at) in (0..).zip(&moments) {
            let guesses = part * each..(part + 1) * each;
            for first in guesses.clone().step_by(AT_ONCE) {
                play(home, &phone, first, (guesses.end - first).min(AT_ONCE as u64), NOW + at);
            }
        }
        let count = each * moments.len() as u64;
        let log = home.log()[before..].to_owned();
        let (reached, kept) = (audited(&log, "wrong_code"), audited(&log, "throttled"));
        let others = audited(&log, "not_enrolled");
        // What a database that is busy does not get to in time.
        let undecided = audited(&log, "store_failed") + audited(&log, "deadline_exceeded");
        let most = most();
        println!(
            "{name}: {count} guesses in a week: {reached} reached the verifier, at most {most}; {kept} had to wait"
        );
        println!("{name}: {others} were at names that nobody can have, {undecided} rejected undecided");
        assert!(reached <= most && reached >= 6, "{reached} of at most {most}");
        let all = reached + kept + others + undecided;
        assert!(all >= count && kept > count / 2, "{reached} + {kept} + {others} + {undecided} of {count}");
    }
}

#[test]
fn nor_do_they_in_a_year() {
    let home = Home::init();
    let config = Config::load(&home.ini()).unwrap();
    let limits = Limits {
        subscriber: config.subscriber_rule(),
        source: config.source_rule(),
        known: config.known_rule(),
        traces: 1000,
    };
    let place = home.dir().join("year");
    SqliteStore::create(&place, [0; 4]).unwrap();
    let store = SqliteStore::open(&place, limits).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let domains = Domains::new(&["CORP".into(), "corp.example".into()]);
    let (mut heard, mut guesses) = (0, 0);
    for time in (NOW..NOW + YEAR).step_by(1800) {
        let origin = Origin {
            subscriber: Subscriber::canonical(domains.without(SPELLINGS[guesses % SPELLINGS.len()])),
            counter: Counter::Codes,
            source: Some(format!("192.0.2.{}", guesses % 250)),
        };
        heard += runtime.block_on(async {
            let mark = store.mark();
            let ruling = store.charge(&origin, UnixTime(time)).await.unwrap();
            store.settle(mark).await.unwrap();
            u64::from(ruling == Ruling::Heard)
        });
        guesses += 1;
    }
    let most = config.subscriber_rule().most_heard(YEAR);
    println!("{guesses} guesses in a year: {heard} heard, at most {most}");
    assert!(heard <= most && heard > 300, "{heard} of at most {most}");
}

#[test]
fn names_that_differ_in_their_last_byte_are_two() {
    for Ground { home, name, .. } in &Ground::all() {
        let [first, second] = ["b", "c"].map(|last| "a".repeat(255) + last);
        let phones = [Phone::new(1), Phone::new(2)];
        home.import_many([(first.as_str(), &phones[0]), (second.as_str(), &phones[1])]);
        home.set_clock(NOW);
        let ask =
            |user: &str, code: &str| home.ask_one(&request(1, user, json!({"key_value_pairs": {"otp": code}}))).told();
        let [own, other] = [&phones[0], &phones[1]].map(|phone| phone.code_at(NOW, 0));
        assert_eq!(ask(&first, &other), "authentication_failure/wrong_code", "{name}");
        let told: Vec<_> = (0..6).map(|_| ask(&first, &phones[0].wrong_code(NOW))).collect();
        assert!(told[5].ends_with("/throttled"), "{name}: {told:?}");
        assert!(ask(&first, &own).ends_with("/throttled"), "{name}");
        assert_eq!(ask(&second, &other), "accept", "{name}");
    }
}

#[test]
fn an_attacker_locks_out_nobody_whose_address_is_known() {
    for Ground { home, name, .. } in &Ground::all() {
        println!("{name}");
        let (phone, other) = (Phone::new(1), Phone::new(2));
        home.import_many([("alice", &phone), ("bob", &other)]);
        home.set_clock(NOW);
        let ask = |id: u64, user: &str, address: Value, code: &str| {
            home.ask_one(&request(id, user, json!({"client_ip": address, "key_value_pairs": {"otp": code}})))
        };
        assert_eq!(ask(1, "alice", json!(HOME), &phone.code_at(NOW, -1)).told(), "accept");
        let wrong = phone.wrong_code(NOW);
        let stranger = json!("203.0.113.9");
        let told: Vec<_> = (0..12).map(|id| ask(id, "Alice", stranger.clone(), &wrong).code().to_owned()).collect();
        assert_eq!(told[..6], ["wrong_code"; 6], "{told:?}");
        assert_eq!(told[6..], ["throttled"; 6], "{told:?}");
        // The right code is told from a wrong one by nothing that is said, and is not used by it.
        for address in [stranger.clone(), Value::Null] {
            let [right, wrong] =
                [phone.code_at(NOW, 0), wrong.clone()].map(|code| ask(2, "alice", address.clone(), &code));
            let bare = |mut answer: rig::Answer| {
                answer.trace = None;
                answer
            };
            assert_eq!(right.code(), "throttled");
            assert_eq!(bare(right), bare(wrong));
        }
        // Where she is known, a mistyped code and the right one are heard, and only there.
        assert_eq!(ask(3, "alice", json!(HOME), &wrong).code(), "wrong_code");
        assert_eq!(ask(4, "alice", json!(format!("::ffff:{HOME}")), &phone.code_at(NOW, 0)).told(), "accept");
        // Others are not touched by it, nor is she by those who lock themselves out at her address.
        assert_eq!(ask(5, "bob", stranger, &other.code_at(NOW, 0)).told(), "accept");
        let told: Vec<_> = (0..20).map(|id| ask(id, "alice", json!(HOME), &wrong).code().to_owned()).collect();
        let heard = told.iter().filter(|code| *code == "wrong_code").count();
        // Two of the subscriber's own after the success, then what is heard of a known address.
        assert!((3..=5).contains(&heard) && told[19] == "throttled", "{told:?}");
        // Off, nobody is known anywhere.
        home.set("throttle", "known_source", "0");
        assert_eq!(ask(6, "alice", json!(HOME), &phone.code_at(NOW, 1)).code(), "throttled");
    }
}

#[test]
fn pushes_are_sent_where_the_subscriber_is_known_and_no_more_than_that() {
    const START: &str = "/factors/ostf1/verify";
    let okta = Okta::start();
    let home = okta.home("");
    home.set("push", "mode", "plain");
    home.set("throttle", "failures", "3");
    let push = |id: u64, address: &str| {
        let more = json!({"client_ip": address, "key_value_pairs": {"otp": ""}});
        home.ask_one(&request(id, "alice", more)).told()
    };
    okta.press("alice", "SUCCESS");
    assert_eq!(push(0, HOME), "accept");
    okta.press("alice", "REJECTED");
    let told: Vec<_> = (1..=6).map(|id| push(id, "203.0.113.9")).collect();
    assert!(told[..4].iter().all(|told| told.ends_with("push_refused")), "{told:?}");
    assert!(told[4..].iter().all(|told| told.ends_with("throttled")), "{told:?}");
    let told: Vec<_> = (7..=12).map(|id| push(id, HOME)).collect();
    assert!(told[..3].iter().all(|told| told.ends_with("push_refused")), "{told:?}");
    assert!(told[3..].iter().all(|told| told.ends_with("throttled")), "{told:?}");
    assert_eq!(okta.count("POST", START), 1 + 4 + 3, "whoever has to wait has nobody's phone rung");
}

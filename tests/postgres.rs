//! A store that several gateways share, through the executable: real PostgreSQL, which is killed, restarted and raced for.
#![cfg(debug_assertions)]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::process::Command;
use std::thread;

use rig::grounds::{cluster, home_on};
use rig::{Gateway, Home, Phone, attempt, now, request};
use serde_json::json;

#[test]
fn gateways_that_share_a_store_decide_as_one() {
    let Some(cluster) = cluster() else { return };
    let phone = Phone::new(1);
    let first = home_on(&cluster, None);
    let second = home_on(&cluster, Some(&first));
    first.import("alice", &phone);
    let code = phone.fresh_code();
    assert_eq!(second.ask_one(&attempt(1, "alice", &code)).told(), "accept");
    assert_eq!(first.ask_one(&attempt(1, "alice", &code)).code(), "used_code");
    // What is asked at one can be answered at another.
    let asked = first.ask_one(&request(1, "alice", json!({"session_id": "s"})));
    let answer =
        json!({"session_id": "s", "cookie": asked.cookie(), "key_value_pairs": {"otp": phone.wrong_code(now())}});
    assert_eq!(second.ask_one(&request(2, "alice", answer)).code(), "wrong_code");
    let stranger = home_on(&cluster, Some(&first));
    stranger.keep("master.key", &std::fs::read_to_string(Home::init().dir().join("master.key")).unwrap());
    let refused = stranger.run(&["serve"], "");
    assert_eq!(refused.status, Some(78), "{}", refused.stderr);
    assert!(refused.stderr.contains("sealed with key"), "{}", refused.stderr);
}

#[test]
fn a_database_that_goes_is_a_fault_and_lets_nobody_in() {
    let Some(mut cluster) = cluster() else { return };
    let (home, phone) = (home_on(&cluster, None), Phone::new(3));
    home.import("alice", &phone);
    home.set("plugin", "deadline", "5");
    let mut gateway = Gateway::start(&home);
    gateway.sync();
    assert_eq!(gateway.ask(&attempt(1, "alice", &phone.wrong_code(now()))).code(), "wrong_code");
    cluster.kill();
    let code = phone.fresh_code();
    assert_eq!(gateway.ask(&attempt(2, "alice", &code)).told(), "internal_error/store_failed");
    let late = home.run(&["serve"], "");
    assert_eq!(late.status, Some(78));
    assert!(late.stderr.contains("is not reached"), "{}", late.stderr);
    cluster.restart();
    // The same process goes on, with new connections, and the code was not used.
    let told = (3..13)
        .map(|id| gateway.ask(&attempt(id, "alice", &code)).told())
        .find(|told| !told.starts_with("internal_error/"));
    assert_eq!(told.as_deref(), Some("accept"));
    gateway.end().1.ok();
}

#[test]
fn a_database_that_holds_everything_up_costs_no_verdict() {
    let Some(cluster) = cluster() else { return };
    let (home, phone) = (home_on(&cluster, None), Phone::new(4));
    home.import("alice", &phone);
    home.append("[postgres]\nstatement_timeout = 2\n");
    let mut gateway = Gateway::start(&home);
    gateway.sync();
    // Another session holds the row and does not let go.
    let mut holder = Command::new("psql");
    holder.args(["-X", "-q", "-d", &cluster.url("mfa", ""), "-c"]);
    holder.arg("BEGIN; LOCK TABLE throttle; SELECT pg_sleep(60)");
    let mut holder = holder.stdout(std::process::Stdio::null()).spawn().unwrap();
    let is_held =
        || cluster.sql("mfa", "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted") != "0";
    while !is_held() {
        thread::yield_now();
    }
    let answer = gateway.ask(&attempt(1, "alice", &phone.fresh_code()));
    assert_eq!(answer.told(), "internal_error/store_failed", "{answer:?}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    cluster.sql("mfa", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()");
    assert_eq!(gateway.ask(&attempt(2, "alice", &phone.fresh_code())).told(), "accept");
    gateway.end().1.ok();
}

#[test]
fn a_store_moves_with_everything_that_was_used_and_counted() {
    let Some(cluster) = cluster() else { return };
    let home = Home::init();
    let (alice, bob, carol) = (Phone::new(5), Phone::new(6), Phone::new(7));
    home.import("carol", &carol);
    home.import("alice", &alice);
    home.import("bob", &bob);
    home.run(&["recovery", "generate", "alice"], "").ok();
    let code = alice.fresh_code();
    assert_eq!(home.ask_one(&attempt(1, "alice", &code)).told(), "accept");
    let guesses: Vec<_> = (0..6).map(|id| attempt(id, "bob", &bob.wrong_code(now()))).collect();
    guesses.iter().for_each(|guess| drop(home.ask_one(guess)));
    home.run(&["remove", "alice", "--override-reason", "lost"], "");

    let from = home.store().display().to_string();
    let copied = home.run(&["store", "copy", &from, &cluster.url("mfa", "")], "").ok().stdout;
    assert!(copied.contains("authenticator: ") && copied.contains("throttle: "), "{copied}");
    let twice = home.run(&["store", "copy", &from, &cluster.url("mfa", "")], "");
    assert_eq!(twice.status, Some(70), "{twice:?}");
    assert!(twice.stderr.contains("is a store in this database already"), "{}", twice.stderr);

    home.set("plugin", "store", &cluster.url("mfa", ""));
    assert_eq!(home.ask_one(&attempt(1, "bob", &bob.fresh_code())).code(), "throttled", "what was counted is");
    home.run(&["unlock", "bob"], "").ok();
    assert_eq!(home.ask_one(&attempt(2, "bob", &bob.fresh_code())).told(), "accept");
    let shown = home.run(&["show", "alice"], "").ok().stdout;
    assert!(shown.contains("lost"), "{shown}");
    let checked = home.run(&["store", "check"], "").ok().stdout;
    assert!(checked.contains("the store is whole"), "{checked}");
    home.run(&["keys", "verify"], "").ok();
    home.run(&["keys", "rotate"], "").ok();
    home.run(&["store", "purge"], "").ok();
    assert_eq!(home.ask_one(&attempt(3, "carol", &carol.fresh_code())).told(), "accept", "under the new key");
    assert_eq!(home.ask_one(&attempt(4, "carol", &carol.fresh_code())).code(), "used_code");
}

#[test]
fn what_is_wrong_with_the_database_is_told_with_what_to_do() {
    let Some(cluster) = cluster() else { return };
    let home = Home::init();
    for (url, why) in [
        (cluster.url("mfa", ""), "make one: countersign store migrate"),
        (cluster.url("nowhere", ""), "does not exist"),
        ("postgres://u@127.0.0.1:1/x".to_owned(), "is not reached"),
        ("postgres://u@db.corp.example/x?sslmode=disable".to_owned(), "in clear"),
        ("postgres://u:hunter2@127.0.0.1/x".to_owned(), "[postgres] password"),
    ] {
        home.set("plugin", "store", &url);
        let checked = home.run(&["check"], "");
        assert_eq!(checked.status, Some(78), "{url}: {checked:?}");
        assert!(checked.stderr.contains(why) && !checked.stderr.contains("hunter2"), "{url}: {}", checked.stderr);
    }
    home.set("plugin", "store", &cluster.url("mfa", ""));
    let made = home.run(&["store", "migrate"], "").ok().stdout;
    assert!(made.contains("made a store"), "{made}");
    let again = home.run(&["store", "migrate"], "").ok().stdout;
    assert!(again.contains("is up to date"), "{again}");
    cluster.sql("mfa", "UPDATE meta SET version = 99");
    let newer = home.run(&["check"], "");
    assert!(newer.stderr.contains("is newer than"), "{}", newer.stderr);
}

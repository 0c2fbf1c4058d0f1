//! A store that several gateways share, through the executable: real PostgreSQL, which is killed, restarted and raced for.
#![cfg(debug_assertions)]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::process::Command;
use std::thread;

use rig::authority::{Authority, Validity};
use rig::grounds::{cluster, home_on};
use rig::{Gateway, Home, PATIENCE, Phone, attempt, finish, now, request};
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
    // One that starts now has a verdict, too, and goes on once the database is back; where it is ours.
    assert_eq!(home.ask_one(&attempt(1, "alice", &code)).told(), "internal_error/store_failed");
    let stranger = Home::init();
    stranger.set("plugin", "store", &cluster.url("mfa", ""));
    let mut early = [Gateway::start(&home), Gateway::start(&stranger)];
    for gateway in &mut early {
        assert_eq!(gateway.ask(&attempt(1, "alice", &code)).told(), "internal_error/store_failed");
    }
    cluster.restart();
    let [mut early, mut stranger] = early;
    assert_eq!(early.ask(&attempt(2, "alice", &phone.wrong_code(now()))).code(), "wrong_code");
    early.end().1.ok();
    let refused = stranger.ask(&attempt(2, "alice", &code));
    assert_eq!(refused.told(), "internal_error/store_failed");
    assert!(refused.reason().contains("sealed with a key"), "{refused:?}");
    stranger.end().1.ok();
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
    home.run(&["keys", "rotate", "--prepare"], "").ok();
    home.run(&["keys", "rotate"], "").ok();
    home.run(&["store", "purge"], "").ok();
    assert_eq!(home.ask_one(&attempt(3, "carol", &carol.fresh_code())).told(), "accept", "under the new key");
    assert_eq!(home.ask_one(&attempt(4, "carol", &carol.fresh_code())).code(), "used_code");
}

#[test]
fn of_two_copies_one_goes_on_and_no_store_is_made_of_half_of_one() {
    let Some(cluster) = cluster() else { return };
    let home = Home::init();
    let phones: Vec<(String, Phone)> = (0..300).map(|n| (format!("user{n}"), Phone::new(n))).collect();
    home.import_many(phones.iter().map(|(name, phone)| (name.as_str(), phone)));
    let (from, to) = (home.store().display().to_string(), cluster.url("mfa", ""));
    // What an interrupted copy leaves: a claim, and half of the rows.
    home.run(&["store", "copy", &from, &to], "").ok();
    cluster.sql("mfa", "DELETE FROM countersign.meta; INSERT INTO countersign.filling VALUES (1, 'x'); DELETE FROM countersign.authenticator WHERE subscriber > 'user2'");
    home.set("plugin", "store", &to);
    let refused = home.run(&["store", "migrate"], "");
    assert!(refused.status != Some(0) && refused.stderr.contains("countersign store copy"), "{refused:?}");
    assert_eq!(home.run(&["serve"], "").status, Some(78), "it is no store yet");
    home.run(&["store", "copy", &from, &to], "").ok();
    let whole = home.run(&["store", "check"], "").ok().stdout;
    assert!(whole.contains("300 authenticators of 300 subscribers"), "{whole}");
    // Somebody else's tables of the same names stay as they are.
    cluster.create("others");
    cluster.sql("others", "CREATE TABLE slot (x INT); INSERT INTO slot VALUES (7); CREATE TABLE meta (y INT)");
    home.run(&["store", "copy", &from, &cluster.url("others", "")], "").ok();
    assert_eq!(cluster.sql("others", "SELECT x FROM public.slot"), "7");
    // Many at once: one at most says that it copied, and then the store is whole.
    cluster.create("raced");
    let raced = cluster.url("raced", "");
    let copies: Vec<_> = thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|_| {
                let mut command = home.command(&["store", "copy", &from, &raced]);
                scope.spawn(move || finish(&mut command, b""))
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let copied = copies.iter().filter(|run| run.status == Some(0)).count();
    assert!(copied <= 1, "{copies:?}");
    if copied == 0 {
        home.run(&["store", "copy", &from, &raced], "").ok();
    }
    assert_eq!(cluster.sql("raced", "SELECT count(*) FROM countersign.authenticator"), "300");
}

#[test]
fn many_may_migrate_at_once() {
    let Some(cluster) = cluster() else { return };
    let home = Home::init();
    home.set("plugin", "store", &cluster.url("mfa", ""));
    thread::scope(|scope| {
        for _ in 0..6 {
            let mut command = home.command(&["store", "migrate"]);
            scope.spawn(move || finish(&mut command, b"").ok());
        }
    });
    home.run(&["check"], "").ok();
}

#[test]
fn a_database_that_falls_silent_holds_nobody_up_for_ever_and_comes_back() {
    let Some(cluster) = cluster() else { return };
    let (home, phone) = (home_on(&cluster, None), Phone::new(8));
    home.import("alice", &phone);
    home.append("[postgres]\nstatement_timeout = 1\nconnect_timeout = 1\n");
    home.set("plugin", "deadline", "6");
    let mut gateway = Gateway::start(&home);
    gateway.sync();
    assert_eq!(gateway.ask(&attempt(1, "alice", &phone.wrong_code(now()))).code(), "wrong_code");
    // Its processes stand still: connections are made by the kernel, and nobody speaks.
    cluster.signal("STOP");
    for id in 2..6 {
        assert_eq!(gateway.ask(&attempt(id, "alice", &phone.fresh_code())).told(), "internal_error/store_failed");
    }
    let started = home.ask_one(&attempt(1, "alice", &phone.fresh_code()));
    assert!(started.reason().contains("is not reached"), "{started:?}");
    cluster.signal("CONT");
    let told = (6..20).map(|id| gateway.ask(&attempt(id, "alice", &phone.fresh_code())).told());
    assert!(told.into_iter().any(|told| told == "accept"), "the same process goes on");
    gateway.end().1.ok();
    // Of two servers, one that says nothing is passed over.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("127.0.0.1:{},127.0.0.1:", silent.local_addr().unwrap().port());
    home.set("plugin", "store", &cluster.url("mfa", "").replace("127.0.0.1:", &other));
    home.run(&["store", "check"], "").ok();
}

#[test]
fn a_key_of_a_shared_store_is_given_out_before_anything_is_sealed_under_it() {
    let Some(cluster) = cluster() else { return };
    let first = home_on(&cluster, None);
    let second = home_on(&cluster, Some(&first));
    let phone = Phone::new(9);
    first.import("alice", &phone);
    let refused = first.run(&["keys", "rotate"], "");
    assert!(refused.status == Some(65) && refused.stderr.contains("keys rotate --prepare"), "{refused:?}");
    let told = first.run(&["keys", "rotate", "--prepare"], "").ok().stdout;
    assert!(told.contains("every machine"), "{told}");
    assert_eq!(second.ask_one(&attempt(1, "alice", &phone.wrong_code(now()))).code(), "wrong_code", "as before");
    second.keep("master.key", &std::fs::read_to_string(first.dir().join("master.key")).unwrap());
    first.run(&["keys", "rotate"], "").ok();
    assert_eq!(second.ask_one(&attempt(2, "alice", &phone.fresh_code())).told(), "accept");
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
        ("Postgres://u:hunter2@127.0.0.1/x".to_owned(), "expected a directory, or postgres://"),
        ("postgres:/u:hunter2@127.0.0.1/x".to_owned(), "expected a directory, or postgres://"),
        (cluster.url("mfa", "?connect_timeout=3"), "connect_timeout"),
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
    cluster.sql("mfa", "ALTER ROLE countersign SET synchronous_commit = off");
    let unsafe_commits = home.run(&["check"], "");
    assert!(unsafe_commits.stderr.contains("synchronous_commit = on"), "{}", unsafe_commits.stderr);
    cluster.sql("mfa", "ALTER ROLE countersign RESET synchronous_commit");
    cluster.sql("mfa", "UPDATE countersign.meta SET version = 99");
    let newer = home.run(&["check"], "");
    assert!(newer.stderr.contains("is newer than"), "{}", newer.stderr);
}

#[test]
fn over_a_network_the_database_is_who_it_says_or_it_is_told_nothing() {
    let Some(mut cluster) = cluster() else { return };
    let (home, phone) = (home_on(&cluster, None), Phone::new(4));
    home.import("alice", &phone);
    let (authority, stranger) = (Authority::new(), Authority::new());
    let clear = cluster.url("mfa", "");
    let secured = cluster.url("mfa", "?sslmode=require");
    home.append(&format!("\n[postgres]\nca_file = {}\n", authority.ca_file().display()));
    home.keep("database.password", "canary-password");
    home.set("postgres", "password", "file:database.password");

    // It has no TLS: there is no other way then.
    home.set("plugin", "store", &secured);
    let none = home.run(&["check"], "");
    assert_eq!(none.status, Some(78), "{none:?}");

    cluster.sql("postgres", "ALTER ROLE countersign PASSWORD 'canary-password'");
    let right = authority.certificate(&["127.0.0.1"], Validity::Valid);
    cluster.secure(&right.certificate_file, &right.key_file);
    home.run(&["check"], "").ok();
    let code = phone.fresh_code();
    assert_eq!(home.ask_one(&attempt(1, "alice", &code)).told(), "accept");
    assert_eq!(home.ask_one(&attempt(2, "alice", &code)).code(), "used_code");
    // Bound to the channel, the password cannot be passed on.
    home.set("plugin", "store", &cluster.url("mfa", "?sslmode=require&channel_binding=require"));
    home.run(&["check"], "").ok();
    // In clear it is not spoken to; and not with another password.
    home.set("plugin", "store", &clear);
    assert_eq!(home.run(&["check"], "").status, Some(78));
    home.set("plugin", "store", &secured);
    home.keep("database.password", "another");
    let refused = home.run(&["check"], "");
    assert!(refused.status == Some(78) && refused.stderr.contains("password"), "{refused:?}");
    home.keep("database.password", "canary-password");

    for (what, certificate) in [
        ("another name", authority.certificate(&["db.corp.example"], Validity::Valid)),
        ("expired", authority.certificate(&["127.0.0.1"], Validity::Expired)),
        ("another authority", stranger.certificate(&["127.0.0.1"], Validity::Valid)),
        ("its own", authority.self_signed(&["127.0.0.1"])),
    ] {
        cluster.secure(&certificate.certificate_file, &certificate.key_file);
        let refused = home.run(&["check"], "");
        assert_eq!(refused.status, Some(78), "{what}: {refused:?}");
        assert!(refused.stderr.contains("certificate") && !refused.stderr.contains("canary"), "{what}: {refused:?}");
    }
}

#[test]
fn databases_that_are_silent_from_the_start_cost_no_verdict_its_deadline() {
    let silent: Vec<_> = (0..4).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<_> = silent.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    let home = Home::init();
    home.set("plugin", "store", &format!("postgres://countersign@{}/mfa", hosts.join(",")));
    // Longer than anything is waited for would one after the other take, at the start and for the verdict.
    home.append("[postgres]\nconnect_timeout = 60\n");
    home.set("plugin", "deadline", "2");
    let began = std::time::Instant::now();
    let told = home.ask_one(&attempt(1, "alice", "123456")).told();
    assert!(["internal_error/store_failed", "internal_error/deadline_exceeded"].contains(&told.as_str()), "{told}");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

//! The master key: made once, rotated while people log in, and of no use to whoever moves rows about in the store.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rig::{Finished, Gateway, Home, Phone, attempt, finish, request};
use serde_json::{Value, json};

/// A moment in the middle of a time step; what happens there does not depend on when the test runs.
const NOW: u64 = 1_800_000_015;

// ------------------------------------------------------------------------------------------------------------ helpers

/// Many subscribers, each with a phone, at [`NOW`].
struct Town {
    home: Home,
    people: Vec<(String, Phone)>,
}

impl Town {
    fn with(count: u64) -> Self {
        let home = Home::init();
        home.set_clock(NOW);
        let people: Vec<_> = (0..count).map(|n| (format!("user{n:03}"), Phone::new(n))).collect();
        home.import_many(people.iter().map(|(user, phone)| (user.as_str(), phone)));
        Self { home, people }
    }

    /// A request of each of `people` who types the code `offset` steps from now.
    fn attempts(&self, people: std::ops::Range<usize>, offset: i64) -> Vec<Value> {
        self.people[people]
            .iter()
            .map(|(user, phone)| attempt(format!("{user} {offset}"), user, &phone.code_at(NOW, offset)))
            .collect()
    }

    /// Everybody of `people` logs in, in processes of their own.
    #[track_caller]
    fn all_log_in(&self, people: std::ops::Range<usize>, offset: i64) {
        for answer in self.home.ask(&self.attempts(people, offset)) {
            assert_eq!(answer.told(), "accept", "{answer:?}");
        }
    }
}

fn key_file(home: &Home) -> PathBuf {
    home.dir().join("master.key")
}

fn database(home: &Home) -> rusqlite::Connection {
    rusqlite::Connection::open(home.store().join("countersign.db")).unwrap()
}

/// What `keys verify` counts: the keys, oldest first, each with its secrets; and which one seals.
#[track_caller]
fn verify(home: &Home) -> (Vec<(String, u64)>, String) {
    let text = home.run(&["keys", "verify"], "").ok().stdout;
    let (mut counts, mut newest) = (Vec::new(), None);
    for line in text.lines() {
        let (id, rest) = line.strip_prefix("key ").unwrap().split_once(": ").unwrap();
        let (count, rest) = rest.split_once(" secrets").unwrap();
        counts.push((id.to_owned(), count.parse().unwrap()));
        if rest == ", the one that seals" {
            assert!(newest.replace(id.to_owned()).is_none(), "{text}");
        }
    }
    (counts, newest.unwrap())
}

/// Everything is sealed under the newest key, and nothing under another.
#[track_caller]
fn assert_all_under_newest(home: &Home, count: u64) {
    let (counts, newest) = verify(home);
    let (last, earlier) = counts.split_last().unwrap();
    assert_eq!(last, &(newest, count));
    assert!(earlier.iter().all(|(_, count)| *count == 0), "{counts:?}");
}

fn rotate(home: &Home) -> Finished {
    home.run(&["keys", "rotate"], "").ok()
}

fn start_rotation(home: &Home) -> Child {
    home.command(&["keys", "rotate"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A new key file's text.
fn fresh_key(home: &Home) -> String {
    let path = home.dir().join("fresh.key");
    home.run(&["keys", "generate", path.to_str().unwrap()], "").ok();
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(path).unwrap();
    text
}

/// Adds a new key to the key file as an interrupted rotation leaves it: in the file, not in the store.
fn append_key(home: &Home) {
    let text = fs::read_to_string(key_file(home)).unwrap() + "\n" + &fresh_key(home);
    fs::write(key_file(home), text).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

// ----------------------------------------------------------------------------------------------------------- generate

#[test]
fn generate_writes_a_key_that_only_its_owner_reads_and_overwrites_nothing() {
    let town = Town::with(1);
    let home = &town.home;
    let before = fs::read(key_file(home)).unwrap();
    let done = home.run(&["keys", "generate"], "");
    assert_eq!((done.status, done.stdout.as_str()), (Some(65), ""), "{done:?}");
    assert!(done.stderr.contains(&key_file(home).display().to_string()), "{done:?}");
    assert_eq!(fs::read(key_file(home)).unwrap(), before);
    town.all_log_in(0..1, 0);

    let other = home.dir().join("other.key");
    let done = home.run(&["keys", "generate", other.to_str().unwrap()], "").ok();
    assert!(done.stdout.contains("keep a copy"), "{done:?}");
    assert_eq!(mode(&other), 0o600);
    let text = fs::read_to_string(&other).unwrap();
    assert!(!done.stdout.contains(text.lines().last().unwrap()), "the key was printed");
    for _ in 0..2 {
        assert_eq!(home.run(&["keys", "generate", other.to_str().unwrap()], "").status, Some(65));
    }
    assert_eq!(fs::read_to_string(&other).unwrap(), text);
}

#[test]
fn generate_follows_no_link_and_needs_a_directory() {
    let home = Home::init();
    let (link, target) = (home.dir().join("link.key"), home.dir().join("target.key"));
    symlink(&target, &link).unwrap();
    assert_eq!(home.run(&["keys", "generate", link.to_str().unwrap()], "").status, Some(65));
    assert!(!target.exists());
    let nowhere = home.dir().join("no/such/directory/key");
    let done = home.run(&["keys", "generate", nowhere.to_str().unwrap()], "");
    assert!(done.status == Some(65) && done.stderr.contains("no/such/directory"), "{done:?}");
}

#[test]
fn every_generated_key_is_another_one() {
    let home = Home::init();
    let keys: std::collections::BTreeSet<_> = (0..10).map(|_| fresh_key(&home)).collect();
    assert_eq!(keys.len(), 10);
}

// ------------------------------------------------------------------------------------------------------------- verify

#[test]
fn verify_counts_the_secrets_under_each_key() {
    let town = Town::with(3);
    let (counts, newest) = verify(&town.home);
    assert_eq!(counts, [(newest.clone(), 3)]);
    assert!(fs::read_to_string(key_file(&town.home)).unwrap().contains(&format!("# key {newest}\n")));

    append_key(&town.home);
    town.home.import("late", &Phone::new(100));
    let (counts, last) = verify(&town.home);
    assert_eq!(counts, [(newest.clone(), 3), (last.clone(), 1)]);
    rotate(&town.home);
    assert_eq!(verify(&town.home), (vec![(newest, 0), (last.clone(), 4)], last));
}

// ------------------------------------------------------------------------------------------------------------- rotate

#[test]
fn logins_go_on_before_during_and_after_each_rotation() {
    const ROUNDS: usize = 4;
    const GROUP: usize = 12;
    let town = Town::with((ROUNDS * GROUP) as u64);
    // Started before anything is rotated, and never again.
    let mut gateway = Gateway::start(&town.home);
    for round in 0..ROUNDS {
        let people = round * GROUP..(round + 1) * GROUP;
        let mut log_in = |offset: i64, meanwhile: &mut dyn FnMut()| {
            let attempts = town.attempts(people.clone(), offset);
            attempts.iter().for_each(|attempt| gateway.send(attempt));
            meanwhile();
            for attempt in &attempts {
                let answer = gateway.answer(attempt["id"].clone());
                assert_eq!(answer.told(), "accept", "round {round}, {offset}: {answer:?}");
            }
        };
        log_in(-1, &mut || {});
        let mut rotation = None;
        log_in(0, &mut || rotation = Some(start_rotation(&town.home)));
        let done = rotation.unwrap().wait_with_output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        log_in(1, &mut || {});
        assert_all_under_newest(&town.home, town.people.len() as u64);
        assert_eq!(verify(&town.home).0.len(), round + 2);
    }
    // Whoever starts now logs in too, and what was used stays used.
    for answer in town.home.ask(&town.attempts(0..GROUP, 1)) {
        assert_eq!(answer.code(), "used_code");
    }
}

#[test]
fn rotation_keeps_the_mode_and_owner_of_the_key_file_and_leaves_nothing_beside_it() {
    let home = Home::init();
    fs::set_permissions(key_file(&home), Permissions::from_mode(0o640)).unwrap();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if is_root {
        chown(key_file(&home), Some(65533), Some(65532)).unwrap();
    }
    let before = fs::metadata(key_file(&home)).unwrap();
    let names = || {
        let mut names: Vec<_> = fs::read_dir(home.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let there = names();
    rotate(&home);
    let after = fs::metadata(key_file(&home)).unwrap();
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert_eq!(names(), there);
}

#[test]
fn an_interrupted_rotation_is_finished() {
    let town = Town::with(3);
    append_key(&town.home);
    let file = fs::read(key_file(&town.home)).unwrap();
    // In between, everything works: with the new key in the file, and with a row under each key.
    town.all_log_in(0..2, -1);
    town.home.import("late", &Phone::new(100));
    let done = rotate(&town.home);
    assert!(
        done.stdout.starts_with("finishing an interrupted rotation\n3 secrets are sealed under the new key "),
        "{done:?}"
    );
    assert_eq!(fs::read(key_file(&town.home)).unwrap(), file, "no third key was made");
    assert_all_under_newest(&town.home, 4);
    town.all_log_in(0..3, 0);
    let done = rotate(&town.home);
    assert!(done.stdout.starts_with("4 secrets are sealed under the new key "), "{done:?}");
    assert_all_under_newest(&town.home, 4);
}

#[test]
fn a_rotation_that_is_killed_at_any_moment_loses_nothing() {
    const COUNT: u64 = 30;
    let town = Town::with(COUNT);
    for round in 0..8 {
        let mut rotation = start_rotation(&town.home);
        // Each of these takes about as long as sealing a few secrets.
        for n in 0..round {
            let (user, _) = &town.people[n];
            town.home.ask_one(&request(1, user, json!({})));
        }
        let _ = rotation.kill();
        rotation.wait().unwrap();
        let (counts, _) = verify(&town.home);
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), COUNT, "round {round}: {counts:?}");
        assert_eq!(mode(&key_file(&town.home)), 0o600);
    }
    town.all_log_in(0..COUNT as usize, 0);
    rotate(&town.home);
    assert_all_under_newest(&town.home, COUNT);
    town.all_log_in(0..COUNT as usize, 1);
}

#[test]
fn of_many_rotations_at_once_each_rotates_or_says_why_not_and_nothing_is_lost() {
    const COUNT: u64 = 10;
    let town = Town::with(COUNT);
    for round in 0..6 {
        let rotations: Vec<_> = (0..4).map(|_| start_rotation(&town.home)).collect();
        let done: Vec<_> = rotations.into_iter().map(|rotation| rotation.wait_with_output().unwrap()).collect();
        assert!(done.iter().any(|done| done.status.success()), "round {round}: {done:?}");
        for done in done {
            let told = String::from_utf8(done.stderr).unwrap();
            match done.status.code() {
                Some(0) => assert_eq!(told, ""),
                Some(65) => assert_eq!(told, "another rotation is running\n"),
                other => panic!("{other:?}: {told}"),
            }
        }
        let (counts, _) = verify(&town.home);
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), COUNT, "round {round}: {counts:?}");
    }
    rotate(&town.home);
    assert_all_under_newest(&town.home, COUNT);
    town.all_log_in(0..COUNT as usize, 0);
}

#[test]
fn who_is_enrolled_or_removed_during_a_rotation_is_neither_lost_nor_brought_back() {
    let town = Town::with(40);
    let rotation = start_rotation(&town.home);
    let late = Phone::new(500);
    town.home.import("late", &late);
    town.home.run(&["remove", "user039", "--override-reason", "test"], "").ok();
    town.home.run(&["remove", "user000", "--override-reason", "test"], "").ok();
    let done = rotation.wait_with_output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    assert_eq!(verify(&town.home).0.iter().map(|(_, count)| count).sum::<u64>(), 39);
    assert_eq!(town.home.ask_one(&attempt(1, "late", &late.code_at(NOW, 0))).told(), "accept");
    town.all_log_in(1..39, 0);
    for (id, gone) in [(1, "user000"), (2, "user039")] {
        assert_eq!(town.home.ask_one(&attempt(id, gone, "000000")).code(), "not_enrolled");
    }
}

#[test]
fn a_pending_enrolment_is_proved_after_a_rotation() {
    let home = Home::init();
    home.set_clock(NOW);
    let pending: Value = serde_json::from_str(&home.run(&["enroll", "alice", "--json"], "").ok().stdout).unwrap();
    rotate(&home);
    let phone = Phone::with_secret(pending["secret"].as_str().unwrap());
    let id = pending["challenge"].as_str().unwrap();
    home.run(&["enroll", "confirm", id, "--json"], phone.code_at(NOW, 0)).ok();
    // With its recovery codes.
    assert_all_under_newest(&home, 2);
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.code_at(NOW, 1))).told(), "accept");
}

// ------------------------------------------------------------------------------------------------------------ cookies

/// An authorize of `user` in session `s1` with `cookie`.
fn authorize(id: &str, user: &str, cookie: &str) -> Value {
    request(id, user, json!({"type": "authorize", "session_id": "s1", "cookie": cookie}))
}

#[test]
fn a_cookie_made_before_a_rotation_still_opens_after_it_and_the_other_way_round() {
    let town = Town::with(2);
    let log_in = |user: usize, offset| {
        let (name, phone) = &town.people[user];
        request("log in", name, json!({"session_id": "s1", "key_value_pairs": {"otp": phone.code_at(NOW, offset)}}))
    };
    let mut old = Gateway::start(&town.home);
    let before = old.ask(&log_in(0, 0)).cookie().to_owned();
    rotate(&town.home);
    rotate(&town.home);
    // Made before: opens in the old process, and in a new one.
    assert_eq!(old.ask(&authorize("a", "user000", &before)).told(), "accept");
    assert_eq!(town.home.ask_one(&authorize("b", "user000", &before)).told(), "accept");
    // Made after, under a key that the old process has not seen.
    let after = town.home.ask_one(&log_in(1, 0)).cookie().to_owned();
    assert_eq!(old.ask(&authorize("c", "user001", &after)).told(), "accept");
    // And nobody else's.
    assert_eq!(old.ask(&authorize("d", "user000", &after)).code(), "not_authenticated");
    assert_eq!(town.home.ask_one(&authorize("e", "user001", &before)).code(), "not_authenticated");
}

#[test]
fn a_key_that_was_taken_out_opens_nothing_and_breaks_nothing() {
    let town = Town::with(2);
    let (name, phone) = &town.people[0];
    let code = phone.code_at(NOW, 0);
    let accepted = town.home.ask_one(&request(1, name, json!({"session_id": "s1", "key_value_pairs": {"otp": code}})));
    let cookie = accepted.cookie().to_owned();
    rotate(&town.home);
    // What the rotation says can be done.
    let text = fs::read_to_string(key_file(&town.home)).unwrap();
    let newest: Vec<&str> = text.lines().rev().take(2).collect();
    fs::write(key_file(&town.home), format!("{}\n{}\n", newest[1], newest[0])).unwrap();
    assert_eq!(verify(&town.home).0.len(), 1);
    assert_eq!(town.home.ask_one(&authorize("a", name, &cookie)).told(), "policy_denied/not_authenticated");
    town.all_log_in(0..2, 1);
}

#[test]
fn an_older_key_file_is_refused_rather_than_used() {
    let town = Town::with(2);
    let old = fs::read(key_file(&town.home)).unwrap();
    rotate(&town.home);
    let new = fs::read(key_file(&town.home)).unwrap();
    fs::write(key_file(&town.home), old).unwrap();
    let served = town.home.run(&["serve"], format!("{}\n", town.attempts(0..1, 0)[0]));
    assert_eq!((served.status, served.stdout.as_str()), (Some(78), ""), "{served:?}");
    assert!(served.stderr.contains("the store was sealed with key "), "{served:?}");
    fs::write(key_file(&town.home), new).unwrap();
    town.all_log_in(0..2, 0);
}

#[test]
fn a_process_that_runs_goes_on_without_its_key_file() {
    let town = Town::with(2);
    let mut gateway = Gateway::start(&town.home);
    gateway.sync();
    fs::remove_file(key_file(&town.home)).unwrap();
    for attempt in town.attempts(0..2, 0) {
        assert_eq!(gateway.ask(&attempt).told(), "accept");
    }
}

// --------------------------------------------------------------------------------------------- rows that were tampered

/// The fault that a row which does not open is, and that `keys verify` and `keys rotate` tell whose it is.
#[track_caller]
fn assert_does_not_open(town: &Town, user: &str, codes: &[String]) {
    for code in codes {
        let answer = town.home.ask_one(&attempt(1, user, code));
        assert_eq!(answer.told(), "internal_error/secret_unreadable", "{answer:?}");
        assert_eq!(answer.message.as_deref(), Some("Internal error"));
    }
    let done = town.home.run(&["keys", "verify"], "");
    assert_eq!(done.status, Some(65), "{done:?}");
    assert!(done.stdout.lines().any(|line| line.starts_with(&format!("{user} ("))), "{done:?}");
    assert!(done.stderr.ends_with("cannot be opened\n"), "{done:?}");
}

#[test]
fn a_row_copied_to_another_subscriber_does_not_open() {
    let town = Town::with(2);
    let (_, thief) = &town.people[0];
    let (name, victim) = &town.people[1];
    // With the thief's secret in the victim's row, the thief's phone would log in as the victim.
    database(&town.home)
        .execute(
            "UPDATE authenticator SET sealed = (SELECT sealed FROM authenticator WHERE subscriber = 'user000')
             WHERE subscriber = ?1",
            [name],
        )
        .unwrap();
    assert_does_not_open(&town, name, &[thief.code_at(NOW, 0), victim.code_at(NOW, 0), thief.code_at(NOW, 1)]);
    town.all_log_in(0..1, 0);
}

#[test]
fn a_row_given_another_owner_does_not_open() {
    let town = Town::with(2);
    let (_, thief) = &town.people[0];
    let database = database(&town.home);
    database.execute("UPDATE authenticator SET subscriber = 'root' WHERE subscriber = 'user000'", []).unwrap();
    drop(database);
    assert_does_not_open(&town, "root", &[thief.code_at(NOW, 0)]);
    let answer = town.home.ask_one(&attempt(1, "user000", &thief.code_at(NOW, 0)));
    assert_eq!(answer.code(), "not_enrolled");
}

#[test]
fn secrets_swapped_between_authenticators_of_one_subscriber_do_not_open() {
    let home = Home::init();
    home.set_clock(NOW);
    let phones = [Phone::new(1), Phone::new(2)];
    phones.iter().for_each(|phone| home.import("alice", phone));
    let town = Town { home, people: Vec::new() };
    // Of both rows at once: one after the other, the second would get its own back.
    database(&town.home)
        .execute_batch(
            "CREATE TEMP TABLE swapped AS SELECT a.id, b.sealed FROM authenticator a
             JOIN authenticator b ON b.subscriber = a.subscriber AND b.id <> a.id;
             UPDATE authenticator SET sealed = (SELECT s.sealed FROM swapped s WHERE s.id = authenticator.id)",
        )
        .unwrap();
    assert_does_not_open(&town, "alice", &[phones[0].code_at(NOW, 0), phones[1].code_at(NOW, 0)]);
}

#[test]
fn damaged_rows_do_not_open() {
    for damage in [
        "UPDATE authenticator SET sealed = x''",
        "UPDATE authenticator SET sealed = x'00'",
        "UPDATE authenticator SET sealed = zeroblob(64)",
        "UPDATE authenticator SET sealed = substr(sealed, 1, length(sealed) - 1)",
        "UPDATE authenticator SET sealed = CAST(sealed || x'00' AS BLOB)",
        "UPDATE authenticator SET sealed = substr(sealed, 1, 28)",
    ] {
        let town = Town::with(1);
        let (name, phone) = &town.people[0];
        database(&town.home).execute(damage, []).unwrap();
        assert_does_not_open(&town, name, &[phone.code_at(NOW, 0), "000000".into()]);
    }
}

#[test]
fn columns_with_values_that_nobody_writes_are_a_fault_and_never_an_accept() {
    for damage in [
        "UPDATE authenticator SET algorithm = 'MD5'",
        "UPDATE authenticator SET digits = 1",
        "UPDATE authenticator SET digits = 4000000000",
        "UPDATE authenticator SET period = 0",
        "UPDATE authenticator SET period = -30",
        "UPDATE authenticator SET sealed = 'text'",
        "UPDATE authenticator SET last_step = 'text'",
    ] {
        let town = Town::with(1);
        database(&town.home).execute(damage, []).unwrap();
        for offset in -1..=1 {
            let answer = town.home.ask_one(&town.attempts(0..1, offset)[0]);
            assert!(answer.told().starts_with("internal_error/"), "{damage}: {answer:?}");
        }
    }
}

#[test]
fn a_row_that_does_not_open_is_named_by_rotate_which_goes_on_once_it_is_gone() {
    let town = Town::with(5);
    database(&town.home)
        .execute("UPDATE authenticator SET sealed = zeroblob(64) WHERE subscriber = 'user002'", [])
        .unwrap();
    let done = town.home.run(&["keys", "rotate"], "");
    assert!(done.status.is_some_and(|status| status != 0), "{done:?}");
    assert!(done.stdout.contains("user002 ("), "{done:?}");
    // Nobody else is kept out by it.
    for n in [0, 1, 3, 4] {
        town.all_log_in(n..n + 1, 0);
    }
    town.home.run(&["remove", "user002", "--override-reason", "test"], "").ok();
    rotate(&town.home);
    assert_all_under_newest(&town.home, 4);
}

#[test]
fn a_stolen_store_shows_no_secret_and_no_name_that_was_only_tried() {
    let town = Town::with(2);
    town.home.ask_one(&attempt(1, "never-enrolled-name", "000000"));
    let mut stored = Vec::new();
    for entry in fs::read_dir(town.home.store()).unwrap() {
        stored.extend(fs::read(entry.unwrap().path()).unwrap());
    }
    let is_stored = |needle: &[u8]| stored.windows(needle.len()).any(|window| window == needle);
    assert!(is_stored(b"user001"), "the search works");
    for (_, phone) in &town.people {
        let secret = phone.secret();
        assert!(!is_stored(secret.as_bytes()));
        assert!(!is_stored(&data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap()));
    }
    assert!(!is_stored(b"never-enrolled-name"));
    let key = fs::read_to_string(key_file(&town.home)).unwrap();
    assert!(!is_stored(key.lines().last().unwrap().as_bytes()));
}

#[test]
fn keys_outside_a_file_are_not_rotated() {
    let town = Town::with(1);
    let text = fs::read_to_string(key_file(&town.home)).unwrap();
    town.home.set("plugin", "master_key", "env:COUNTERSIGN_TEST_KEY");
    let run = |arguments: &[&str]| {
        finish(Command::env(&mut town.home.command(arguments), "COUNTERSIGN_TEST_KEY", &text), b"")
    };
    let done = run(&["keys", "rotate"]);
    assert!(done.status == Some(65) && done.stderr.contains("only a key file"), "{done:?}");
    assert!(run(&["keys", "verify"]).ok().stdout.contains("1 secrets, the one that seals"));
}

// ------------------------------------------------------------------------------------------------- rotation at start-up

/// How much the process `pid` has read so far, in bytes; `None` once it is gone.
fn has_read(pid: u32) -> Option<usize> {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    io.lines().find_map(|line| line.strip_prefix("rchar: "))?.parse().ok()
}

#[test]
fn a_process_that_starts_while_a_rotation_ends_serves() {
    let town = Town::with(1);
    // So many old keys that it takes a while from reading them to opening the store.
    let new = fs::read_to_string(key_file(&town.home)).unwrap();
    let old: String = (0..10_000).map(|n| format!("{n:064x}\n")).collect();
    fs::write(key_file(&town.home), old + &new).unwrap();
    let size = fs::metadata(key_file(&town.home)).unwrap().len() as usize;

    let mut gateway = Gateway::start(&town.home);
    while has_read(gateway.pid()).is_some_and(|read| read < size) {
        std::thread::yield_now();
    }
    gateway.signal("STOP");
    let done = rotate(&town.home);
    assert!(done.stdout.starts_with("1 secrets are sealed under the new key "), "{done:?}");
    gateway.signal("CONT");
    gateway.send(&town.attempts(0..1, 0)[0]);
    let (answers, ended) = gateway.end();
    let told: String = ended.stderr.chars().take(300).collect();
    assert_eq!((ended.status, told.as_str()), (Some(0), ""), "{answers:?}");
    assert_eq!(answers[0].told(), "accept");
}

#[test]
fn a_key_taken_out_of_the_file_opens_no_cookie_in_a_process_that_runs() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    let mut gateway = Gateway::start(&home);
    let login = json!({"session_id": "s", "key_value_pairs": {"otp": phone.fresh_code()}});
    let accept = gateway.ask(&request(1, "alice", login));
    let authorize =
        |id: u64| request(id, "alice", json!({"type": "authorize", "session_id": "s", "cookie": accept.cookie()}));
    assert_eq!(gateway.ask(&authorize(2)).verdict(), "accept");
    home.run(&["keys", "rotate"], "").ok();
    assert_eq!(gateway.ask(&authorize(3)).verdict(), "accept", "the old key is still there");
    let keys = fs::read_to_string(key_file(&home)).unwrap();
    let newest = keys.lines().last().unwrap();
    fs::write(key_file(&home), format!("{newest}\n")).unwrap();
    assert_eq!(gateway.ask(&authorize(4)).code(), "not_authenticated");
    gateway.end().1.ok();
}

#[test]
fn one_unreadable_authenticator_does_not_keep_the_holder_of_another_out() {
    let home = Home::init();
    home.set_clock(NOW);
    let phones = [Phone::new(1), Phone::new(2)];
    phones.iter().for_each(|phone| home.import("alice", phone));
    database(&home)
        .execute("UPDATE authenticator SET sealed = zeroblob(64) WHERE label = 'authenticator'", [])
        .unwrap();
    assert_eq!(home.ask_one(&attempt(1, "alice", &phones[1].code_at(NOW, 0))).told(), "accept");
    assert!(home.ask_one(&attempt(2, "alice", "000000")).told().starts_with("internal_error/"));
}

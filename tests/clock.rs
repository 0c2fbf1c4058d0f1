//! A clock that jumps under a process that serves: by minutes, by a day, to before 1970, and back.

#![expect(clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::fs;
use std::path::PathBuf;

use rig::grounds::Ground;
use rig::{Gateway, Home, Phone, attempt, now, request};
use serde_json::json;

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

/// A process whose wall clock is set by a file.
struct Shifted {
    gateway: Gateway,
    file: PathBuf,
}

impl Shifted {
    fn start(home: &Home) -> Self {
        let file = home.store().join("clock");
        fs::write(&file, now().to_string()).unwrap();
        let mut command = home.command(&["serve"]);
        command.arg("--test-clock").arg(&file);
        Self { gateway: Gateway::spawn(&mut command), file }
    }

    /// Sets the clock to `offset` seconds from the right time. Returns that time.
    fn set(&self, offset: i64) -> u64 {
        let time = now().checked_add_signed(offset).unwrap();
        self.show(i64::try_from(time).unwrap());
        time
    }

    /// Sets the clock to `seconds` after 1970, or before. Whoever reads it meanwhile reads the old or the new time.
    fn show(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, seconds.to_string()).unwrap();
        fs::rename(new, &self.file).unwrap();
    }

    fn told(&mut self, user: &str, code: &str) -> String {
        self.gateway.ask(&attempt("login", user, code)).told()
    }
}

const ACCEPT: &str = "accept";
const USED: &str = "authentication_failure/used_code";
const WRONG: &str = "authentication_failure/wrong_code";

#[test]
fn a_code_that_was_used_is_none_at_any_later_moment() {
    for ground in Ground::all() {
        let (home, phone) = (&ground.home, Phone::new(1));
        home.set("throttle", "failures", "100");
        home.import("alice", &phone);
        let mut process = Shifted::start(home);
        let code = phone.code_at(process.set(0), 0);
        assert_eq!(process.told("alice", &code), ACCEPT);
        for later in [0, 1, 29, 59, 89, 91, 3600] {
            process.set(later);
            let told = process.told("alice", &code);
            assert!([USED, WRONG].contains(&told.as_str()), "{}: {later} s later: {told}", ground.name);
        }
        process.gateway.end().1.ok();
    }
}

#[test]
fn a_clock_that_jumps_lets_no_code_in_twice_and_locks_nobody_out() {
    for ground in Ground::all() {
        let home = &ground.home;
        home.set("throttle", "failures", "100");
        for jump in [5 * MINUTE, -5 * MINUTE, DAY, -DAY] {
            let user = format!("user{jump}");
            let phone = Phone::new(jump.unsigned_abs() + u64::from(jump < 0));
            home.import(&user, &phone);
            let mut process = Shifted::start(home);
            let code = |phone: &Phone, time: u64| phone.code_at(time, 0);
            let place = format!("{}: a jump by {jump} s", ground.name);

            // A code of the right time; once.
            let first = code(&phone, process.set(0));
            assert_eq!(process.told(&user, &first), ACCEPT, "{place}");
            assert_eq!(process.told(&user, &first), USED, "{place}");
            let there = process.set(jump);
            if jump > 0 {
                // The clock is ahead: what its owner's phone shows is stale, what is right by the clock is let in.
                assert!([WRONG, USED].contains(&process.told(&user, &first).as_str()), "{place}");
                let ahead = code(&phone, there);
                assert_eq!(process.told(&user, &ahead), ACCEPT, "{place}");
                assert_eq!(process.told(&user, &ahead), USED, "{place}");
                // Back at the right time, a code from before the one that was used is none, until time has come past it.
                process.set(0);
                assert_ne!(process.told(&user, &phone.fresh_code()), ACCEPT, "{place}");
                assert_ne!(process.told(&user, &ahead), ACCEPT, "{place}");
                let later = process.set(jump + 2 * MINUTE);
                assert_eq!(process.told(&user, &code(&phone, later)), ACCEPT, "{place}: locked out");
            } else {
                // The clock is behind: what it takes for right is older than what was used.
                for offset in [-1, 0, 1] {
                    let told = process.told(&user, &phone.code_at(there, offset));
                    assert_eq!(told, USED, "{place}: a code older than the last one");
                }
                assert_ne!(process.told(&user, &first), ACCEPT, "{place}");
                // Mended, the next code is as good as ever.
                let back = process.set(2 * MINUTE);
                assert_eq!(process.told(&user, &code(&phone, back)), ACCEPT, "{place}: locked out");
            }
            process.gateway.end().1.ok();
        }
    }
}

#[test]
fn a_wait_ends_although_the_clock_went_back() {
    for ground in Ground::all() {
        let home = &ground.home;
        let phone = Phone::new(7);
        home.import("alice", &phone);
        let mut process = Shifted::start(home);
        // A day ahead, she has to wait.
        let ahead = process.set(DAY);
        let wrong = phone.wrong_code(ahead);
        let waits = (0..20).any(|_| process.told("alice", &wrong) == "authentication_failure/throttled");
        assert!(waits, "{}", ground.name);
        // Back at the right time the wait is no longer than the longest there is.
        let right = process.set(0);
        let answer = process.gateway.ask(&attempt("login", "alice", &phone.code_at(right, 0)));
        let longest = 3600;
        match answer.told().as_str() {
            "authentication_failure/throttled" => assert!(answer.retry_after_s.unwrap() <= longest, "{answer:?}"),
            told => assert_eq!(told, ACCEPT),
        }
        let later = process.set(i64::try_from(longest).unwrap() + MINUTE);
        assert_eq!(process.told("alice", &phone.code_at(later, 0)), ACCEPT, "{}: locked out", ground.name);
        process.gateway.end().1.ok();
    }
}

#[test]
fn what_was_remembered_in_the_future_is_not_remembered() {
    let home = Home::init();
    let phone = Phone::new(8);
    home.import("alice", &phone);
    home.append("[authentication_cache]\nhard_timeout = 90\nsoft_timeout = 15\nreuse_limit = 5\n");
    let mut process = Shifted::start(&home);
    let bare = |id: &str| request(id, "alice", json!({"client_ip": "192.0.2.7", "session_id": id}));
    let from = |id: &str, code: &str| {
        let mut request = bare(id);
        request["key_value_pairs"] = json!({"otp": code});
        request
    };
    let ahead = process.set(DAY);
    assert_eq!(process.gateway.ask(&from("a", &phone.code_at(ahead, 0))).told(), ACCEPT);
    assert_eq!(process.gateway.ask(&bare("b")).told(), ACCEPT, "it is remembered for a while");
    // Before it happened, it has not.
    process.set(0);
    assert_eq!(process.gateway.ask(&bare("c")).told(), "need_info");
    process.set(DAY + 40 * 60);
    assert_eq!(process.gateway.ask(&bare("d")).told(), "need_info");
    process.gateway.end().1.ok();
}

#[test]
fn before_1970_every_request_has_a_verdict_and_nobody_is_locked_out_after_it() {
    for ground in Ground::all() {
        let home = &ground.home;
        let phone = Phone::new(9);
        home.import("alice", &phone);
        let mut process = Shifted::start(home);
        let right = phone.fresh_code();
        process.show(-10 * DAY);
        assert_eq!(process.told("alice", &right), WRONG, "{}", ground.name);
        assert_eq!(process.told("nobody", &right), "authentication_failure/not_enrolled");
        let asked = process.gateway.ask(&request("ask", "alice", json!({"client_ip": "192.0.2.9"})));
        assert_eq!(asked.told(), "need_info");
        let back = process.set(0);
        assert_eq!(process.told("alice", &phone.code_at(back, 0)), ACCEPT, "{}", ground.name);
        process.gateway.end().1.ok();
    }
}

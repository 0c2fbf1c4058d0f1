//! Killed at any moment between prompt and answer, an enrolment is either pending or complete.
//!
//! `COUNTERSIGN_KILLS` says how often each is killed.

use std::fs;
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::rig::{Home, attempt};
use super::{NOW, Pending, confirm, enroll, enrolled, parse, show};

/// How often, by default.
const KILLS: u32 = 25;

fn kills() -> u32 {
    std::env::var("COUNTERSIGN_KILLS").map_or(KILLS, |kills| kills.parse().unwrap())
}

fn start(home: &Home, arguments: &[&str], input: &str) -> Child {
    let mut command = home.command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // It may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child
}

/// Kills `child` when `duration` has passed since `began`; gives what it had said.
fn kill_after(mut child: Child, began: Instant, duration: Duration) -> String {
    // The moment of the kill is what is tried; nothing is waited for.
    while began.elapsed() < duration {
        std::hint::spin_loop();
    }
    let _ = child.kill();
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
}

/// When the process of this round is killed, if `life` is how long one lives that nobody kills: it does the most in its
/// second half, and may live longer than that one.
fn moment(life: Duration, round: u32) -> Duration {
    life * (kills() + round * 3) / (kills() * 2)
}

/// How long `run` takes.
fn life(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

#[test]
fn an_enrolment_killed_while_it_is_proved_is_pending_or_complete() {
    let home = Home::init();
    home.set_clock(NOW);
    // All of them come from one address, at one moment.
    home.set("throttle", "source_failures", "1000000");
    let prove = |pending: &Pending, code: &str| {
        let began = Instant::now();
        (start(&home, &["enroll", "confirm", &pending.challenge], code), began)
    };
    let calm = enroll(&home, &["calm"]);
    let life = life(|| {
        confirm(&home, &calm.challenge, &calm.phone().code_at(NOW, 0)).ok();
    });
    let (mut complete, mut waiting) = (1, 0);
    for round in 0..kills() {
        let user = format!("user{round}");
        let pending = enroll(&home, &[&user]);
        let code = pending.phone().code_at(NOW, 0);
        let (child, began) = prove(&pending, &code);
        let said = kill_after(child, began, moment(life, round));

        let (shown, count) = (show(&home, &pending.challenge), enrolled(&home));
        let place = format!("round {round}: {said} {}", shown.stderr);
        if shown.status == Some(0) {
            // Pending: as it was, counted nowhere, and it can still be proved.
            assert_eq!(parse(&shown.stdout), pending, "{place}");
            assert!(count == complete && !said.contains("is enrolled"), "{place}");
            assert_eq!(home.ask_one(&attempt(1, &user, &code)).code(), "not_enrolled", "{place}");
            waiting += 1;
            confirm(&home, &pending.challenge, &code).ok();
        } else {
            assert!(shown.status == Some(65) && shown.stderr.contains("was proved already"), "{place}");
            assert_eq!(count, complete + 1, "{place}");
        }
        complete += 1;
        assert_eq!(enrolled(&home), complete, "{place}");
        // Either way the code that proved it is used, and the phone logs in.
        assert_eq!(home.ask_one(&attempt(2, &user, &code)).code(), "used_code", "{place}");
        let next = pending.phone().code_at(NOW, 1);
        assert_eq!(home.ask_one(&attempt(3, &user, &next)).told(), "accept", "{place}");
    }
    println!("{waiting} of {} were still pending", kills());
    home.run(&["check"], "").ok();
}

#[test]
fn an_enrolment_killed_while_it_begins_is_pending_or_nothing() {
    let home = Home::init();
    let path = |name: &str| home.dir().join(name);
    let life = life(|| {
        enroll(&home, &["calm", "--page", path("calm.html").to_str().unwrap()]);
    });
    for round in 0..kills() {
        let (user, page) = (format!("user{round}"), path(&format!("{round}.html")));
        let began = Instant::now();
        let child = start(&home, &["enroll", &user, "--json", "--page", page.to_str().unwrap()], "");
        let said = kill_after(child, began, moment(life, round));
        // The page is whole or not there.
        if let Ok(text) = fs::read_to_string(&page) {
            assert!(text.starts_with("<!DOCTYPE html>") && text.ends_with("</html>\n"), "round {round}");
            let id = text.split_once("<dt>Enrolment</dt><dd><code>").unwrap().1.split_once('<').unwrap().0;
            assert_eq!(parse(&show(&home, id).ok().stdout).user, user);
        }
        // What was said is in the store; a line is said whole.
        if !said.is_empty() {
            let pending = parse(&said);
            assert_eq!(parse(&show(&home, &pending.challenge).ok().stdout), pending);
        }
        assert_eq!(enrolled(&home), 0, "round {round}");
        // Nobody is kept from beginning anew, under the same name and label.
        assert_eq!(enroll(&home, &[&user]).label, "authenticator");
    }
    home.run(&["check"], "").ok();
}

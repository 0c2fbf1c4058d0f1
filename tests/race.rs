//! Who is first, when many ask at once: of equal codes one is accepted, and of many guesses as many are heard as the
//! throttle allows, however many processes there are.
//!
//! `COUNTERSIGN_ROUNDS` says how often each race is run.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::collections::BTreeMap;

use rig::grounds::Ground;
use rig::{Answer, Gateway, Home, Phone, attempt, now, request};
use serde_json::{Value, json};

/// How many processes race for one code.
const PROCESSES: usize = 64;

fn rounds() -> usize {
    std::env::var("COUNTERSIGN_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap())
}

/// On both stores a home with a user for each round, where waits last longer than the test and every attempt is heard unless
/// told otherwise.
fn grounds(count: usize) -> Vec<(Ground, Vec<(String, Phone)>)> {
    Ground::all()
        .into_iter()
        .map(|ground| {
            let users = prepare(&ground.home, count);
            (ground, users)
        })
        .collect()
}

fn prepare(home: &Home, count: usize) -> Vec<(String, Phone)> {
    home.set("throttle", "first_wait", "86400");
    home.set("throttle", "longest_wait", "604800");
    home.set("throttle", "source_first_wait", "86400");
    home.set("throttle", "source_longest_wait", "604800");
    home.set("throttle", "forget_after", "604800");
    home.set("throttle", "source_forget_after", "604800");
    home.set("throttle", "failures", "1000");
    home.set("throttle", "source_failures", "1000000");
    let users: Vec<_> = (0..count).map(|n| (format!("user{n}"), Phone::new(n as u64))).collect();
    home.import_many(users.iter().map(|(user, phone)| (user.as_str(), phone)));
    users
}

/// When the requests are sent.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// Each as soon as its process was started: the start is part of the race.
    Cold,
    /// All once every process waits for one.
    Warm,
}

/// The answers of one process for each request.
fn race(home: &Home, requests: &[Value], start: Start) -> Vec<Answer> {
    let mut gateways = Vec::new();
    for request in requests {
        let mut gateway = Gateway::start(home);
        match start {
            Start::Cold => gateway.send(request),
            Start::Warm => {}
        }
        gateways.push(gateway);
    }
    if let Start::Warm = start {
        gateways.iter_mut().for_each(Gateway::sync);
        gateways.iter_mut().zip(requests).for_each(|(gateway, request)| gateway.send(request));
    }
    let ended = gateways.into_iter().map(Gateway::end);
    let answers = ended.flat_map(|(answers, finished)| {
        finished.ok();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers
    });
    answers.collect()
}

/// How often each verdict was given.
fn tally(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for answer in answers {
        let code = if answer.code().is_empty() { answer.verdict() } else { answer.code() };
        *tally.entry(code.to_owned()).or_default() += 1;
    }
    tally
}

fn expected(words: &[(&str, usize)]) -> BTreeMap<String, usize> {
    words.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

#[test]
fn of_many_processes_with_one_code_exactly_one_is_accepted() {
    for (ground, users) in grounds(rounds()) {
        let home = &ground.home;
        for (round, (user, phone)) in users.iter().enumerate() {
            let start = if round % 2 == 0 { Start::Cold } else { Start::Warm };
            let requests = vec![attempt(1, user, &phone.fresh_code()); PROCESSES];
            let told = tally(&race(home, &requests, start));
            assert_eq!(told, expected(&[("accept", 1), ("used_code", PROCESSES - 1)]), "round {round}, {start:?}");
        }
        println!("{}: {} rounds of {PROCESSES} processes with one code: one accept in each", ground.name, users.len());
    }
}

#[test]
fn of_many_requests_with_one_code_in_one_process_exactly_one_is_accepted() {
    for (ground, users) in grounds(rounds()) {
        let home = &ground.home;
        let mut gateway = Gateway::start(home);
        for (round, (user, phone)) in users.iter().enumerate() {
            let code = phone.fresh_code();
            let lines: String = (0..PROCESSES).map(|id| format!("{}\n", attempt(id, user, &code))).collect();
            gateway.send_raw(lines);
            let answers: Vec<_> = (0..PROCESSES).map(|id| gateway.answer(id)).collect();
            assert_eq!(tally(&answers), expected(&[("accept", 1), ("used_code", PROCESSES - 1)]), "round {round}");
        }
        gateway.end().1.ok();
        println!(
            "{}: {} rounds of {PROCESSES} requests with one code in one process: one accept in each",
            ground.name,
            users.len()
        );
    }
}

#[test]
fn of_many_requests_with_one_code_in_several_processes_exactly_one_is_accepted() {
    for (ground, users) in grounds(rounds()) {
        let home = &ground.home;
        let mut gateways: Vec<_> = (0..8).map(|_| Gateway::start(home)).collect();
        for (round, (user, phone)) in users.iter().enumerate() {
            let code = phone.fresh_code();
            let lines: String = (0..8).map(|id| format!("{}\n", attempt(id, user, &code))).collect();
            gateways.iter_mut().for_each(|gateway| gateway.send_raw(&lines));
            let answers: Vec<_> = gateways
                .iter_mut()
                .flat_map(|gateway| (0..8).map(|id| gateway.answer(id)).collect::<Vec<_>>())
                .collect();
            assert_eq!(tally(&answers), expected(&[("accept", 1), ("used_code", 63)]), "round {round}");
        }
        for gateway in gateways {
            gateway.end().1.ok();
        }
        println!(
            "{}: {} rounds of 64 requests with one code in 8 processes: one accept in each",
            ground.name,
            users.len()
        );
    }
}

#[test]
fn of_many_guesses_at_one_subscriber_as_many_are_heard_as_are_free_and_one() {
    for (ground, users) in grounds(rounds()) {
        let home = &ground.home;
        home.set("throttle", "failures", "5");
        for (round, (user, phone)) in users.iter().enumerate() {
            let start = if round % 2 == 0 { Start::Cold } else { Start::Warm };
            let requests = vec![attempt(1, user, &phone.wrong_code(now())); 32];
            let answers = race(home, &requests, start);
            // The sixth is heard, since it is after its failure that one has to wait.
            assert_eq!(tally(&answers), expected(&[("wrong_code", 6), ("throttled", 26)]), "round {round}, {start:?}");
            assert!(answers.iter().all(|answer| (answer.code() == "throttled") == answer.retry_after_s.is_some()));
            // Nobody is heard any more, not with the right code either.
            assert_eq!(home.ask_one(&attempt(1, user, &phone.fresh_code())).code(), "throttled");
        }
        println!(
            "{}: {} rounds of 32 processes that guess at one subscriber: 6 heard in each",
            ground.name,
            users.len()
        );
    }
}

#[test]
fn of_many_guesses_from_one_address_as_many_are_heard_as_are_free_and_one() {
    for (ground, _) in grounds(1) {
        let home = &ground.home;
        home.set("throttle", "source_failures", "9");
        for round in 0..rounds().div_ceil(2) {
            let guess = |n: usize| {
                let more = json!({"client_ip": format!("192.0.2.{round}"), "key_value_pairs": {"otp": "123456"}});
                request(1, &format!("stranger{n}"), more)
            };
            let requests: Vec<_> = (0..32).map(guess).collect();
            let told = tally(&race(home, &requests, Start::Warm));
            assert_eq!(told, expected(&[("not_enrolled", 10), ("throttled", 22)]), "round {round}");
        }
    }
}

/// The recovery codes of a new set of `user`.
fn recovery_codes(home: &Home, user: &str) -> Vec<String> {
    let shown = home.run(&["recovery", "generate", user, "--json"], "").ok().stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    shown["recovery_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

#[test]
fn of_many_processes_with_one_recovery_code_exactly_one_is_accepted() {
    for (ground, users) in grounds(rounds()) {
        let home = &ground.home;
        for (round, (user, _)) in users.iter().enumerate() {
            let start = if round % 2 == 0 { Start::Cold } else { Start::Warm };
            let code = recovery_codes(home, user).remove(0);
            let answers = race(home, &vec![attempt(1, user, &code); PROCESSES], start);
            let accepts = answers.iter().filter(|answer| answer.verdict() == "accept").count();
            assert_eq!(accepts, 1, "round {round}, {start:?}: {:?}", tally(&answers));
        }
        println!(
            "{}: {} rounds of {PROCESSES} processes with one recovery code: one accept in each",
            ground.name,
            users.len()
        );
    }
}

#[test]
fn of_many_processes_with_one_challenge_exactly_one_may_act() {
    for (ground, users) in grounds(rounds()) {
        let home = &ground.home;
        for (round, (user, phone)) in users.iter().enumerate() {
            let start = if round % 2 == 0 { Start::Cold } else { Start::Warm };
            let about = |kind: &str, id: &str, more: Value| {
                let mut request = json!({"type": kind, "id": 1, "gateway_user": user, "purpose": "pay",
                    "binding": "order 4711"});
                request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                if !id.is_empty() {
                    request["challenge"] = json!(id);
                }
                request
            };
            let asked = home.ask_one(&about("challenge_request", "", json!({})));
            let id = asked.challenge().id.clone();
            let proof = json!({"key_value_pairs": {"otp": phone.fresh_code()}});
            let confirmed = home.ask_one(&about("challenge_confirm", &id, proof));
            assert_eq!(confirmed.told(), "accept");
            let answers = race(home, &vec![about("challenge_use", &id, json!({})); PROCESSES], start);
            let told = tally(&answers);
            assert_eq!(told, expected(&[("accept", 1), ("challenge_used", PROCESSES - 1)]), "round {round}, {start:?}");
        }
        println!(
            "{}: {} rounds of {PROCESSES} processes with one challenge: one accept in each",
            ground.name,
            users.len()
        );
    }
}

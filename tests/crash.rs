//! What survives a process that is killed at any moment: codes stay used, failures stay counted, the store opens, and others
//! go on.
//!
//! `COUNTERSIGN_KILLS` says how often; `COUNTERSIGN_SEED` repeats a run.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test ends where its helpers fail, and says what it did"
)]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::time::{Duration, Instant};

use rig::grounds::Ground;
use rig::{Answer, Gateway, Home, Phone, attempt, now};

/// How many users log in with each process that is killed.
const LOGINS: usize = 3;

/// How often the guesser of each process guesses; below what the throttle lets pass.
const GUESSES: usize = 4;

/// How many guesses at one subscriber are heard before the first wait: those that are free, and one.
const HEARD: usize = 6;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}

/// The users of one process.
struct Batch {
    logins: Vec<(String, Phone)>,
    guesser: (String, Phone),
    witness: (String, Phone),
}

impl Batch {
    fn new(number: usize) -> Self {
        let user = |role: &str, n: usize| {
            let name = format!("{role}{number}.{n}");
            (name, Phone::new((number * 10 + n) as u64))
        };
        Self {
            logins: (0..LOGINS).map(|n| user("login", n)).collect(),
            guesser: user("guesser", 8),
            witness: user("witness", 9),
        }
    }

    fn users(&self) -> impl Iterator<Item = (&str, &Phone)> {
        let Self { logins, guesser, witness } = self;
        logins.iter().chain([guesser, witness]).map(|(user, phone)| (user.as_str(), phone))
    }

    /// What the process is asked, all at once: guesses among logins.
    fn lines(&self) -> String {
        let mut lines = String::new();
        let guess = |n: usize| attempt(format!("guess {n}"), &self.guesser.0, &self.guesser.1.wrong_code(now()));
        for n in 0..LOGINS.max(GUESSES) {
            if let Some((user, phone)) = self.logins.get(n) {
                lines.push_str(&format!("{}\n", attempt(&**user, user, &phone.fresh_code())));
            }
            if n < GUESSES {
                lines.push_str(&format!("{}\n", guess(n)));
            }
        }
        lines
    }
}

/// When a process is killed.
#[derive(Debug)]
enum Moment {
    /// This long after it was asked.
    After(Duration),
    /// When it has said this much.
    Answers(usize),
}

/// Whole lines of what a process says; all that is left, where no count is given.
fn hear(gateway: &mut Gateway, count: Option<usize>) -> Vec<Answer> {
    let mut answers = Vec::new();
    while count.is_none_or(|count| answers.len() < count) {
        match gateway.line() {
            Some(line) if line.ends_with(b"\n") => answers.push(Answer::parse(&line)),
            Some(_) | None => return answers,
        }
    }
    answers
}

#[test]
fn nothing_that_was_said_is_forgotten_by_a_crash() {
    let kills = usize::try_from(number("COUNTERSIGN_KILLS").unwrap_or(100)).unwrap();
    for ground in Ground::all() {
        println!("{}", ground.name);
        kill(&ground.home, kills);
    }
}

fn kill(home: &Home, kills: usize) {
    let seed = number("COUNTERSIGN_SEED").unwrap_or_else(now);
    let mut random = Random(seed);
    println!("COUNTERSIGN_KILLS={kills} COUNTERSIGN_SEED={seed}");

    // Nobody waits it out, and no address is counted: what is seen are the failures of one subscriber.
    home.set("throttle", "first_wait", "86400");
    home.set("throttle", "longest_wait", "604800");
    home.set("throttle", "source_failures", "1000000");
    let batches: Vec<_> = (0..=kills).map(Batch::new).collect();
    home.import_many(batches.iter().flat_map(Batch::users));
    let (calm, batches) = batches.split_first().unwrap();

    // How long a process lives that nobody kills.
    let began = Instant::now();
    let mut gateway = Gateway::start(home);
    gateway.send_raw(calm.lines());
    gateway.end().1.ok();
    let life = began.elapsed();

    // Another process on the same store, which nobody kills.
    let mut bystander = Gateway::start(home);
    let (mut spoke, mut silent) = (0, 0);
    for (round, batch) in batches.iter().enumerate() {
        let codes: Vec<_> = batch.logins.iter().map(|(user, phone)| (user.as_str(), phone.fresh_code())).collect();
        let mut gateway = Gateway::start(home);
        gateway.send_raw(batch.lines());
        let asked = Instant::now();
        let moment = match random.below(2) {
            0 => Moment::Answers(usize::try_from(random.below(8)).unwrap()),
            _ => Moment::After(life * u32::try_from(random.below(1200)).unwrap() / 1000),
        };
        let mut answers = match moment {
            Moment::Answers(count) => hear(&mut gateway, Some(count)),
            Moment::After(duration) => {
                spin(duration.saturating_sub(asked.elapsed()));
                Vec::new()
            }
        };
        gateway.kill();
        answers.extend(hear(&mut gateway, None));
        if answers.len() < LOGINS + GUESSES {
            silent += 1
        } else {
            spoke += 1
        }

        let place = format!("round {round} of COUNTERSIGN_SEED={seed}, killed at {moment:?}");
        // The store opens, for others and for whoever was here before.
        let mut fresh = None;
        let witness = if round % 2 == 0 { &mut bystander } else { fresh.insert(Gateway::start(home)) };
        let (user, phone) = &batch.witness;
        assert_eq!(witness.ask(&attempt(1, user, &phone.fresh_code())).verdict(), "accept", "{place}");

        for (user, code) in &codes {
            let was_accepted = answers.iter().any(|answer| answer.id == **user && answer.verdict() == "accept");
            let again = witness.ask(&attempt(1, user, code));
            if was_accepted {
                assert_eq!(again.code(), "used_code", "{place}: {user}");
            } else {
                // It was used or it was not; now it is.
                assert!(again.verdict() == "accept" || again.code() == "used_code", "{place}: {again:?}");
                assert_eq!(witness.ask(&attempt(1, user, code)).code(), "used_code", "{place}: {user}");
            }
        }

        let seen = answers.iter().filter(|answer| answer.code() == "wrong_code").count();
        let (user, phone) = &batch.guesser;
        let wrong = phone.wrong_code(now());
        let heard = (0..=HEARD).filter(|_| witness.ask(&attempt(1, user, &wrong)).code() == "wrong_code").count();
        // Each failure that was told is counted, and none twice.
        assert!(seen + heard <= HEARD, "{place}: {seen} failures were told, and {heard} heard after it");
        assert!(GUESSES + heard >= HEARD, "{place}: only {heard} were heard after {GUESSES} failures at most");
        if let Some(fresh) = fresh {
            fresh.end().1.ok();
        }
    }
    bystander.end().1.ok();
    println!("{silent} were killed before their last answer, {spoke} after it");
    home.run(&["check"], "").ok();
    home.run(&["keys", "verify"], "").ok();
}

/// Lets `duration` pass. The moment of the kill is what is tried; nothing is waited for.
fn spin(duration: Duration) {
    let began = Instant::now();
    while began.elapsed() < duration {
        std::hint::spin_loop();
    }
}

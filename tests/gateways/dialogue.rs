//! The cases of servers that lead a dialogue, each with a person at a terminal.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::rig::okta::Okta;
use crate::rig::terminal::Terminal;
use crate::rig::{Phone, now};
use crate::stage::{CROWD, Stage, crowd};
use crate::table::{Case, Sheet};

/// How our question ends.
pub const PROMPT: &str = "one-time password: ";

/// How long a push waits.
const PUSH: Duration = Duration::from_secs(2);

/// In what time everybody is told no where the service is away.
const IN_TIME: Duration = Duration::from_secs(30);

/// A server with countersign behind it, at which people log in.
pub trait Door: Sync {
    /// Comes to where our first question is about to be put.
    fn knock(&self, user: &str) -> Terminal;

    /// Whether `user` got in, in the end.
    fn is_in(&self, person: &mut Terminal, user: &str) -> bool;

    /// Types at our question `prompt`.
    fn answer(&self, person: &mut Terminal, prompt: &str, keys: &[u8]) {
        person.wait_for(prompt);
        person.enter(keys);
    }

    /// Logs in with a code.
    fn login(&self, user: &str, code: &str) -> bool {
        let mut person = self.knock(user);
        self.answer(&mut person, PROMPT, code.as_bytes());
        self.is_in(&mut person, user)
    }
}

/// Who logs in at the same time.
pub struct Many {
    pub logins: usize,
    pub at_a_time: usize,
}

impl Many {
    pub const ALL: Self = Self { logins: CROWD, at_a_time: 16 };
}

/// Plays every case at the doors that `open` opens.
pub fn play<D: Door>(sheet: &mut Sheet, many: &Many, open: impl Fn(&Stage) -> D) {
    let (alice, bob) = (Phone::new(1), Phone::new(2));
    {
        let stage = Stage::codes();
        stage.home.set("throttle", "failures", "1000");
        let door = open(&stage);
        sheet.case(Case::Accept, || assert!(door.login("alice", &alice.fresh_code())));
        sheet.case(Case::Reject, || {
            assert!(!door.login("alice", &alice.wrong_code(now())), "a wrong code");
            let code = bob.fresh_code();
            assert!(door.login("bob", &code) && !door.login("bob", &code), "a used code");
        });
        sheet.case(Case::Challenge, || {
            let phone = crowd(0);
            assert!(!door.login("user0", ""), "Enter is a push, and there is none");
            assert!(!door.login("user0", &phone.wrong_code(now())), "a wrong answer");
            assert!(door.login("user0", &phone.fresh_code()), "the right answer");
        });
        sheet.case(Case::BadInput, || hostile(&stage, &door));
    }
    sheet.case(Case::Parallel, || {
        let stage = Stage::codes();
        crowded(&open(&stage), many);
    });
    sheet.case(Case::TwoRounds, || {
        let stage = Stage::two_rounds();
        let door = open(&stage);
        let mut person = door.knock("alice");
        door.answer(&mut person, PROMPT, alice.fresh_code().as_bytes());
        door.answer(&mut person, "Ticket number: ", b"T-\"1\"");
        assert!(door.is_in(&mut person, "alice"));
        let mut person = door.knock("bob");
        door.answer(&mut person, PROMPT, bob.wrong_code(now()).as_bytes());
        assert!(!door.is_in(&mut person, "bob") && !person.text().contains("Ticket"), "{}", person.text());
    });
    sheet.case(Case::PushWait, || {
        let okta = Okta::start();
        let stage = Stage::push(&okta);
        let door = open(&stage);
        okta.press("bob", "SUCCESS");
        let mut waiting = push(&door, "alice");
        okta.wait_for("POST", "/factors/ostf1/verify", 1);
        let began = Instant::now();
        assert!(door.is_in(&mut push(&door, "bob"), "bob"), "bob, whose phone says yes");
        thread::sleep(PUSH.saturating_sub(began.elapsed()));
        okta.press("alice", "SUCCESS");
        assert!(door.is_in(&mut waiting, "alice"));
    });
    sheet.case(Case::ServiceDown, || {
        let (stage, _nobody) = Stage::down();
        let door = open(&stage);
        let began = Instant::now();
        assert!(!door.login("alice", &alice.fresh_code()));
        assert!(began.elapsed() < IN_TIME);
        assert!(stage.home.log().contains("service_unreachable"), "{}", stage.home.log());
    });
}

/// Asks for a push, and presses Enter at the number to match.
pub fn push(door: &dyn Door, user: &str) -> Terminal {
    let mut person = door.knock(user);
    door.answer(&mut person, PROMPT, b"");
    door.answer(&mut person, PROMPT, b"");
    person
}

/// Answers that mean something to somebody on the way.
fn hostile(stage: &Stage, door: &dyn Door) {
    let long = "9".repeat(400);
    let answers: [&[u8]; 7] = [
        b"\"'`$(touch /tmp/x)\\,;471147114711",
        b"CRV1::c29tZQ==::471147114711",
        b"{\"verdict\":\"accept\"}471147114711",
        "\u{202e}é471147114711".as_bytes(),
        b"\xff\xfe471147114711",
        b"%s%n471147114711",
        long.as_bytes(),
    ];
    for answer in answers {
        let mut person = door.knock("user1");
        door.answer(&mut person, PROMPT, answer);
        assert!(!door.is_in(&mut person, "user1"), "{answer:?}");
    }
    let log = stage.home.log();
    assert!(!log.contains("471147114711") && !log.contains(&long) && !log.contains("verdict\\\":"), "{log}");
    assert!(door.login("user1", &crowd(1).fresh_code()), "and it goes on");
}

/// Everybody once, one in ten with a wrong code.
fn crowded(door: &dyn Door, many: &Many) {
    let Many { logins, at_a_time } = *many;
    let next = AtomicUsize::new(0);
    let wrongly = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= logins {
                        return;
                    }
                    let is_right = number % 10 != 3;
                    let user = format!("user{number}");
                    let mut person = door.knock(&user);
                    let phone = crowd(number);
                    let code = if is_right { phone.fresh_code() } else { phone.wrong_code(now()) };
                    door.answer(&mut person, PROMPT, code.as_bytes());
                    if door.is_in(&mut person, &user) != is_right {
                        wrongly.lock().unwrap().insert((user, is_right, person.text()));
                    }
                }
            });
        }
    });
    let wrongly = wrongly.into_inner().unwrap();
    assert!(wrongly.is_empty(), "{wrongly:?}");
}

//! FreeRADIUS and radclient, by rlm_perl, rlm_python3 and rlm_exec: with the files of contrib/freeradius.

#[path = "freeradius/server.rs"]
mod server;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::rig::okta::Okta;
use crate::rig::{self, Phone, request as native};
use crate::stage::{CROWD, Stage, crowd};
use crate::table::{Case, Gateway, Needs, Sheet};
use server::{Door, Mood, PASSWORD, Radius, Reply, Way, quoted, request};

/// By the shim of contrib/freeradius in Perl.
pub const PERL: Gateway = Gateway {
    name: "freeradius perl",
    programs: &[("freeradius", "freeradius"), ("radclient", "freeradius-utils")],
    needs: Needs::Nothing,
    play: |sheet| play(sheet, Way::Perl),
};

/// By the one in Python.
pub const PYTHON: Gateway = Gateway {
    name: "freeradius python3",
    programs: &[
        ("freeradius", "freeradius"),
        ("radclient", "freeradius-utils"),
        ("/usr/lib/freeradius/rlm_python3.so", "freeradius-python3"),
    ],
    needs: Needs::Nothing,
    play: |sheet| play(sheet, Way::Python),
};

/// By rlm_exec.
pub const EXEC: Gateway = Gateway {
    name: "freeradius exec",
    programs: &[("freeradius", "freeradius"), ("radclient", "freeradius-utils")],
    needs: Needs::Nothing,
    play: |sheet| play(sheet, Way::Exec),
};

/// What countersign asks for.
const PROMPT: &str = "Press Enter for push notification or type one-time password: ";

/// A name and a question that mean something to somebody on the way.
const NAME: &str = r#"o"b, \ri\en %{User-Name} $(touch pwned) `id` é 'x"#;
const QUESTION: &str = r#"a "ticket", \n %{User-Password} 50%% $(id) `id` é; State = 0x00 :"#;

fn play(sheet: &mut Sheet, way: Way) {
    let case = |sheet: &mut Sheet, case, play: &dyn Fn()| sheet.case(case, || again_where_lost(way, play));
    let stage = Stage::codes();
    let odd = Phone::new(3);
    stage.home.import(NAME, &odd);
    let radius = Radius::start(&stage, way, Mood::Usual);
    let (alice, bob) = (Phone::new(1), Phone::new(2));
    case(sheet, Case::Accept, &|| {
        let asked = radius.ask(Door::Checked, "alice", PASSWORD, None);
        assert_eq!((asked.message().as_str(), asked.prompt.as_deref()), (PROMPT, Some("Echo")));
        radius.ask(Door::Checked, "alice", &alice.code_at(rig::now(), 0), Some(asked.asked())).accepted();
        radius.ask(Door::Code, "alice", &alice.fresh_code(), None).accepted();
    });
    case(sheet, Case::Reject, &|| {
        // The last one is used.
        for code in [alice.wrong_code(rig::now()), alice.fresh_code()] {
            let asked = radius.ask(Door::Checked, "alice", PASSWORD, None);
            let reply = radius.ask(Door::Checked, "alice", &code, Some(asked.asked()));
            reply.rejected();
            assert_eq!(reply.message(), "Authentication failed");
        }
        assert!(stage.home.log().contains("used_code") && stage.home.log().contains("wrong_code"));
        // Whom the server's own files lock out, or let in without a password.
        for user in ["locked", "open"] {
            radius.ask(Door::Checked, user, PASSWORD, None).rejected();
        }
        let reply = radius.ask(Door::Checked, "bob", "not the password", None);
        reply.rejected();
        assert!(reply.messages.is_empty(), "{reply:?}");
        for proof in ["CHAP-Password = 0x00112233445566778899aabbccddeeff00", "NAS-Port = 1"] {
            let pairs = format!("User-Name = \"bob\", {proof}\n");
            radius.send(Door::Code, &pairs, &mut |_| {}).rejected();
            radius.send(Door::Checked, &pairs, &mut |_| {}).rejected();
        }
        let log = if way == Way::Exec { stage.home.log() } else { radius.log() };
        assert!(log.contains("PAP"), "{log}");
    });
    case(sheet, Case::Challenge, &|| challenge(&stage, &radius, &bob));
    case(sheet, Case::BadInput, &|| bad_input(&stage, &radius, &odd));
    let lost = Mutex::new(Vec::new());
    sheet.case(Case::Parallel, || lost.lock().unwrap().extend(parallel(&radius, way)));
    let lost = lost.into_inner().unwrap();
    if !lost.is_empty() {
        println!("    {} of {CROWD} right logins got lost in rlm_exec, and were rejected", lost.len());
        sheet.cannot(Case::Parallel, "rlm_exec loses some programs, and rejects their logins: use rlm_perl");
    }
    let codes = Mutex::new((CROWD - RESERVE..CROWD).collect::<Vec<_>>());
    let log_in = || {
        let number = codes.lock().unwrap().pop().unwrap();
        let user = format!("user{number}");
        let asked = radius.ask(Door::Checked, &user, PASSWORD, None);
        radius.ask(Door::Checked, &user, &crowd(number).fresh_code(), Some(asked.asked())).accepted();
    };
    sheet.time(
        RESERVE / 2,
        |_| again_where_lost(way, &log_in),
        |_| radius.ask(Door::PasswordOnly, "alice", PASSWORD, None).accepted(),
    );
    case(sheet, Case::TwoRounds, &|| two_rounds(way));
    if way == Way::Python {
        sheet
            .cannot(Case::PushWait, "the push lets in, but others wait meanwhile: rlm_python3 runs one call at a time");
        push(way);
    } else {
        case(sheet, Case::PushWait, &|| push_wait(way));
    }
    case(sheet, Case::ServiceDown, &|| service_down(way));
    let log = stage.home.log() + &radius.log();
    assert!(!log.contains(PASSWORD) && !log.contains(&odd.fresh_code()), "a secret is in the log");
}

/// Plays `round`. rlm_exec loses a program now and then, and rejects whom it would have let in or asked: there, up to three
/// rounds are played, as long as a rejection is all that is wrong.
fn again_where_lost(way: Way, round: &dyn Fn()) {
    for _ in 1..if way == Way::Exec { 3 } else { 1 } {
        let Err(failure) = catch_unwind(AssertUnwindSafe(round)) else { return };
        let is_rejection =
            failure.downcast_ref::<String>().is_some_and(|text| text.contains("kind: \"Access-Reject\""));
        if !is_rejection {
            resume_unwind(failure);
        }
        println!("    once more: rlm_exec may have lost a program");
        // The codes that were used are none any more.
        thread::sleep(Duration::from_secs(61));
    }
    round();
}

/// How many of the crowd log in one by one, with as many to spare.
const RESERVE: usize = 40;

fn challenge(stage: &Stage, radius: &Radius, bob: &Phone) {
    let ask = |user: &str, code: &str, state: &str| radius.ask(Door::Checked, user, code, Some(state));
    let asked = radius.ask(Door::Checked, "bob", PASSWORD, None);
    let state = asked.asked();
    let code = bob.fresh_code();
    ask("bob", &bob.wrong_code(rig::now()), state).rejected();
    // Somebody else's, and nobody's.
    ask("alice", &code, state).rejected();
    for nothing in ["0x00", "0x41424344454647484950515253545556575859502e4142", &format!("{state}00")] {
        let pairs = request("bob", &code, Some(nothing));
        radius.send(Door::Checked, &pairs, &mut |_| {}).rejected();
    }
    let word = |state: &str| {
        let digits = state.strip_prefix("0x").unwrap().as_bytes();
        String::from_utf8(data_encoding::HEXLOWER.decode(digits).unwrap()).unwrap()
    };
    let hex = |word: &str| format!("0x{}", data_encoding::HEXLOWER.encode(word.as_bytes()));
    let ours = word(state);
    let (login, cookie) = ours.split_once('.').unwrap();
    // Of servers and gateways with the same plugin.ini that ask for no password.
    for session in [json!(null), json!(login), json!(format!("radius code {login} checked"))] {
        let answer = stage.home.ask_one(&native(1, "bob", json!({"session_id": session, "protocol": "ssh"})));
        ask("bob", &code, &hex(&format!("{login}.{}", answer.cookie()))).rejected();
    }
    for key in ["gu", "username", "password", "otp2"] {
        ask("bob", &code, &hex(&format!("{login}.{cookie}.{key}"))).not_accepted();
    }
    // None of that has used it.
    ask("bob", &code, state).accepted();
    ask("bob", &code, state).rejected();
}

fn bad_input(stage: &Stage, radius: &Radius, odd: &Phone) {
    radius.ask(Door::Code, NAME, &odd.code_at(rig::now(), 0), None).accepted();
    let asked = radius.ask(Door::Checked, NAME, PASSWORD, None);
    radius.ask(Door::Checked, NAME, &odd.fresh_code(), Some(asked.asked())).accepted();
    let long = vec![b'x'; 253];
    let texts: [&[u8]; 9] = [
        br#"a"b\c,d=e"#,
        b"a\nUSER_NAME=alice\r\t",
        b"$(id)`id`%{User-Name};|&",
        b"CRV1::cookie::123456",
        b"a\0b",
        b"\xff\xfe\xc3",
        &[b'\\'; 250],
        &[0xe9; 253],
        &long,
    ];
    for text in texts {
        // Longer passwords than 128 bytes radclient does not send.
        let password = quoted(&text[..text.len().min(120)]);
        for (user, password) in [("bob", password.as_str()), (quoted(text).as_str(), "000000")] {
            let pairs = format!("User-Name = \"{user}\", User-Password = \"{password}\"\n");
            radius.send(Door::Code, &pairs, &mut |_| {}).rejected();
        }
    }
    for twice in [
        "User-Name = \"alice\", User-Name = \"bob\", User-Password = \"1\"",
        "User-Name = \"bob\", State = 0x01, State = 0x02, User-Password = \"1\"",
    ] {
        radius.send(Door::Code, &format!("{twice}\n"), &mut |_| {}).rejected();
    }
    assert!(!stage.dir().join("Usual/pwned").exists() && !std::path::Path::new("/pwned").exists());
}

/// Everybody of the crowd but the last logs in once, each tenth with a wrong code first; who did not get in by a right code.
fn parallel(radius: &Radius, way: Way) -> Vec<usize> {
    let (next, lost) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CROWD - RESERVE {
                        return;
                    }
                    let (user, phone) = (format!("user{number}"), crowd(number));
                    if number % 9 == 0 {
                        radius.ask(Door::Code, &user, &phone.wrong_code(rig::now()), None).rejected();
                    }
                    if !radius.ask(Door::Code, &user, &phone.code_at(rig::now(), 0), None).is_accept() {
                        lost.lock().unwrap().push(number);
                    }
                }
            });
        }
    });
    let lost = lost.into_inner().unwrap();
    // A busy machine makes rlm_exec lose more; far more would be something else.
    let most = if way == Way::Exec { CROWD / 4 } else { 0 };
    assert!(lost.len() <= most, "lost: {lost:?}");
    lost
}

fn two_rounds(way: Way) {
    let stage = Stage::two_rounds();
    stage.home.set("question_1", "prompt", QUESTION);
    let radius = Radius::start(&stage, way, Mood::Usual);
    let phone = Phone::new(1);
    let ask = |answer: &str, reply: &Reply| radius.ask(Door::Checked, "alice", answer, Some(reply.asked()));
    let first = radius.ask(Door::Checked, "alice", PASSWORD, None);
    let second = ask(&phone.fresh_code(), &first);
    assert_eq!(second.message().trim_end(), QUESTION);
    ask("T-1, \"quoted\"", &second).accepted();
    // The question is answered, and not once more.
    ask("T-2", &second).rejected();
}

fn push_wait(way: Way) {
    let okta = Okta::start();
    let stage = Stage::push(&okta);
    let radius = Radius::start(&stage, way, Mood::Usual);
    okta.press("bob", "SUCCESS");
    let pushes = || okta.count("POST", "ostf1/verify");
    let (again, was_sent_again) = mpsc::channel();
    let enter = |user: &str, asked: &Reply| radius.ask(Door::Checked, user, " ", Some(asked.asked()));
    thread::scope(|scope| {
        let asked = radius.ask(Door::Checked, "alice", PASSWORD, None);
        let shown = enter("alice", &asked);
        assert!(shown.message().contains("42"), "{shown:?}");
        let pairs = request("alice", " ", Some(shown.asked()));
        let radius = &radius;
        let mut sent = move |times| again.send(times).unwrap();
        let waiting = scope.spawn(move || radius.send(Door::Checked, &pairs, &mut sent));
        okta.wait_for("GET", "transactions/t1", 1);
        // Others log in meanwhile. Who has her password, and nothing else, does not come in with her.
        let asked = radius.ask(Door::Checked, "bob", PASSWORD, None);
        enter("bob", &enter("bob", &asked)).accepted();
        enter("alice", &radius.ask(Door::Checked, "alice", PASSWORD, None)).rejected();
        // The client sends the request again, and no second program is started for it.
        while was_sent_again.recv_timeout(rig::PATIENCE).unwrap() < 3 {}
        okta.press("alice", "SUCCESS");
        waiting.join().unwrap_or_else(|failure| resume_unwind(failure)).accepted();
    });
    assert_eq!(pushes(), 2, "one each");
    without_dialogue(&stage, &okta, way);
}

/// A push at once, where nobody can be asked; and one that nobody presses, at a server that does not wait for long.
fn without_dialogue(stage: &Stage, okta: &Okta, way: Way) {
    if way != Way::Exec {
        okta.press("bob", "WAITING");
        let radius = Radius::start(stage, way, Mood::Mute);
        let polls = okta.count("GET", "00ubob/factors/ostf1/transactions/t1");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| radius.ask(Door::Checked, "bob", PASSWORD, None));
            okta.wait_for("GET", "00ubob/factors/ostf1/transactions/t1", polls + 1);
            assert!(!is_seen(&stage.executable, PASSWORD), "a password can be seen in /proc");
            okta.press("bob", "SUCCESS");
            waiting.join().unwrap_or_else(|failure| resume_unwind(failure)).accepted();
        });
    }
    okta.press("alice", "WAITING");
    let hasty = Radius::start(stage, way, Mood::Hasty);
    let shown = hasty.ask(Door::Code, "alice", " ", None);
    hasty.ask(Door::Code, "alice", " ", Some(shown.asked())).rejected();
}

/// Whether `text` is among the arguments or in the environment of a process of `program`, which must run.
fn is_seen(program: &Path, text: &str) -> bool {
    let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let ours: Vec<_> = entries.filter(|path| fs::read_link(path.join("exe")).is_ok_and(|exe| exe == program)).collect();
    assert!(!ours.is_empty(), "{} does not run", program.display());
    let files = ours.iter().flat_map(|path| [path.join("cmdline"), path.join("environ")]);
    let mut seen = files.map(|path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned());
    seen.any(|found| found.contains(text))
}

/// A push that nobody else has to wait for.
fn push(way: Way) {
    let okta = Okta::start();
    let stage = Stage::push(&okta);
    okta.press("alice", "SUCCESS");
    let radius = Radius::start(&stage, way, Mood::Usual);
    let asked = radius.ask(Door::Checked, "alice", PASSWORD, None);
    let shown = radius.ask(Door::Checked, "alice", " ", Some(asked.asked()));
    radius.ask(Door::Checked, "alice", " ", Some(shown.asked())).accepted();
    without_dialogue(&stage, &okta, way);
}

fn service_down(way: Way) {
    let (stage, _refused) = Stage::down();
    let radius = Radius::start(&stage, way, Mood::Usual);
    let asked = radius.ask(Door::Checked, "alice", PASSWORD, None);
    let reply = radius.ask(Door::Checked, "alice", "123456", Some(asked.asked()));
    reply.rejected();
    assert_eq!(reply.message(), "The authentication service cannot be reached");
}

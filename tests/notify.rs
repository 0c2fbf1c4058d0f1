//! Codes that are sent, through the executable: the dialogue with a program that sends, then mail, webhooks and enrolment.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[path = "notify/enrolment.rs"]
mod enrolment;
#[path = "notify/fixed.rs"]
mod fixed;
#[path = "notify/mail.rs"]
mod mail;
#[path = "notify/program.rs"]
mod program;
#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;
#[path = "notify/stage.rs"]
mod stage;
#[path = "notify/webhook.rs"]
mod webhook;

use rig::{Gateway, Home, Phone, request};
use serde_json::{Value, json};
use stage::{NUMBER, Stage, answer, login};

/// What time it is where a clock stands still.
const NOON: u64 = 1_800_000_000;

#[test]
fn a_code_that_was_sent_lets_in_once() {
    let stage = Stage::new("");
    let question = stage.home.ask_one(&login("alice"));
    assert_eq!(question.told(), "need_info");
    let prompt = question.question.as_ref().unwrap().prompt.clone();
    assert_eq!(prompt, "A code was sent to …4711. Type it, or resend for another one: ");
    let code = stage.code();
    let accept = stage.home.ask_one(&answer("alice", question.cookie(), &code));
    assert_eq!((accept.told().as_str(), accept.factor.as_deref()), ("accept", Some("sent_code")), "{accept:?}");
    assert_eq!((accept.basis, accept.degraded, accept.reason.as_deref()), (None, None, Some("verified")));
    let again = stage.home.ask_one(&answer("alice", question.cookie(), &code));
    assert_eq!(again.told(), "authentication_failure/challenge_gone");
    assert_eq!(stage.messages().len(), 1);
    stage.leaks_nothing(&[&code]);
}

#[test]
fn a_message_says_who_logs_in_from_where_and_to_what() {
    let stage = Stage::new("");
    let more =
        json!({"server_username": "root", "server_hostname": "db1\n\u{202e}Go to http://eve", "session_id": "s"});
    assert_eq!(stage.home.ask_one(&request(1, "alice", more)).told(), "need_info");
    let message = stage.messages().remove(0);
    let origin = "a login as alice by ssh from 192.0.2.7 to root@db1?U?000A??U?202E?Go?to?http:??eve";
    assert!(message.contains(&format!("It was asked for by {origin}. If that was not you")), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn an_action_and_a_step_up_are_proved_by_a_code_that_is_sent_for_them() {
    let stage = Stage::new("");
    stage.home.append("[challenge]\ntries = 1\n");
    let about = |kind: &str, more: Value| {
        let mut line = login("alice");
        for (key, value) in [("type", json!(kind)), ("purpose", "pay Bob".into()), ("session_id", "s1".into())] {
            line[key] = value;
        }
        for (key, value) in more.as_object().unwrap() {
            line[key] = value.clone();
        }
        stage.home.ask_one(&line)
    };
    let purpose = "pay 100 € by http://eve";
    let id = about("challenge_request", json!({"purpose": purpose})).challenge().id.clone();
    let asked = about("challenge_confirm", json!({"challenge": id}));
    let prompt = &asked.question.as_ref().unwrap().prompt;
    assert!(prompt.starts_with("To confirm pay 100 € by http://eve: A code was sent to "), "{prompt}");
    let message = stage.messages().remove(0);
    assert!(
        message.contains("the confirmation of pay 100 € by http:??eve as alice by ssh from 192.0.2.7"),
        "{message}"
    );
    let code = stage.code();
    let typed = |cookie: &str| json!({"challenge": id, "cookie": cookie, "key_value_pairs": {"otp": code}});
    // One try was to be had, and this question is it.
    assert_eq!(about("challenge_confirm", json!({"challenge": id})).told(), "authentication_failure/challenge_failed");
    // To another question it is no answer.
    assert_ne!(about("authenticate", typed(asked.cookie())).told(), "accept");
    let accept = about("challenge_confirm", typed(asked.cookie()));
    assert_eq!((accept.told().as_str(), accept.factor.as_deref()), ("accept", Some("sent_code")), "{accept:?}");
    assert_eq!(about("challenge_use", json!({"challenge": id, "purpose": purpose})).told(), "accept");

    stage.home.append("[step_up]\n");
    stage.home.set("authorize", "require_proof", "no");
    let asked = about("authorize", json!({}));
    assert_eq!(asked.told(), "need_info", "{asked:?}");
    let proof = json!({"cookie": asked.cookie(), "key_value_pairs": {"otp": stage.codes().pop().unwrap()}});
    let accept = about("authorize", proof.clone());
    assert_eq!((accept.told().as_str(), accept.factor.as_deref()), ("accept", Some("sent_code")), "{accept:?}");
    assert_ne!(about("authorize", proof).told(), "accept");
}

#[test]
fn codes_are_read_as_people_type_them() {
    let stage = Stage::new("code_alphabet = bcdfghjkmnpqrstvwxyz\ncode_length = 8\n");
    let question = stage.home.ask_one(&login("alice"));
    let code = stage.code();
    assert!(code.len() == 8 && code.bytes().all(|b| b"BCDFGHJKMNPQRSTVWXYZ".contains(&b)), "{code}");
    let (first, last) = code.split_at(4);
    let typed = format!(" {} - {}", first.to_lowercase(), last.to_lowercase());
    assert_eq!(stage.home.ask_one(&answer("alice", question.cookie(), &typed)).told(), "accept");
}

#[test]
fn a_code_can_be_typed_wrongly_as_often_as_the_section_says() {
    let stage = Stage::new("tries = 2\n");
    let question = stage.home.ask_one(&login("alice"));
    let ask = |typed: &str| stage.home.ask_one(&answer("alice", question.cookie(), typed));
    let wrong = ask(&stage.wrong_code());
    assert_eq!(wrong.told(), "authentication_failure/wrong_code");
    assert_eq!(wrong.error.unwrap().service.as_deref(), Some("notify sms"));
    assert_eq!(ask("12345").told(), "authentication_failure/malformed_code");
    assert_eq!(ask(&stage.code()).told(), "authentication_failure/challenge_gone");
}

#[test]
fn a_code_is_over_when_its_time_is() {
    let stage = Stage::new("lifetime = 60\n");
    stage.home.set_clock(NOON);
    let (first, second) = (stage.home.ask_one(&login("alice")), stage.home.ask_one(&login("alice")));
    let codes = stage.codes();
    stage.home.set_clock(NOON + 59);
    assert_eq!(stage.home.ask_one(&answer("alice", second.cookie(), &codes[1])).told(), "accept");
    stage.home.set_clock(NOON + 60);
    let over = stage.home.ask_one(&answer("alice", first.cookie(), &codes[0]));
    assert_eq!(over.told(), "authentication_failure/wrong_code");
    assert!(over.reason().contains("lifetime"), "{over:?}");
}

#[test]
fn a_code_belongs_to_its_question_alone() {
    let stage = Stage::new("");
    let (first, second) = (stage.home.ask_one(&login("alice")), stage.home.ask_one(&login("alice")));
    let codes = stage.codes();
    assert_eq!(stage.home.ask_one(&answer("alice", first.cookie(), &codes[1])).code(), "wrong_code");
    assert_eq!(stage.home.ask_one(&answer("alice", second.cookie(), &codes[1])).told(), "accept");
    // Somebody else's answer is as if none had come: a code is sent to them.
    stage.enrol("bob");
    let stranger = stage.home.ask_one(&answer("bob", first.cookie(), &codes[0]));
    assert_ne!(stranger.verdict(), "accept", "{stranger:?}");
    let mut elsewhere = answer("alice", first.cookie(), &codes[0]);
    elsewhere["session_id"] = json!("another");
    assert_ne!(stage.home.ask_one(&elsewhere).verdict(), "accept");
}

#[test]
fn a_code_that_nobody_asked_for_answers_nothing() {
    let stage = Stage::new("");
    let told = stage.home.ask_one(&rig::attempt(1, "alice", "123456")).told();
    assert_eq!(told, "authentication_failure/challenge_gone");
    assert!(stage.messages().is_empty());
}

#[test]
fn resend_too_early_asks_the_same_question_once_more() {
    let stage = Stage::new("");
    stage.home.set_clock(NOON);
    let question = stage.home.ask_one(&login("alice"));
    let code = stage.code();
    stage.home.set_clock(NOON + 13);
    let again = stage.home.ask_one(&answer("alice", question.cookie(), " Resend"));
    assert_eq!(again.told(), "need_info");
    let prompt = again.question.as_ref().unwrap().prompt.clone();
    assert_eq!(prompt, "A code was sent to …4711. Another one can be sent in 17 s. Type it: ");
    assert_eq!(stage.messages().len(), 1);
    // It is no way to more tries.
    for expected in ["wrong_code", "wrong_code", "challenge_gone"] {
        assert_eq!(stage.home.ask_one(&answer("alice", again.cookie(), &stage.wrong_code())).code(), expected);
    }
    assert_eq!(stage.home.ask_one(&answer("alice", question.cookie(), &code)).code(), "challenge_gone");
}

#[test]
fn resend_sends_another_code_and_the_earlier_one_is_dead() {
    let stage = Stage::new("");
    stage.home.set_clock(NOON);
    let question = stage.home.ask_one(&login("alice"));
    stage.home.set_clock(NOON + 30);
    let another = stage.home.ask_one(&answer("alice", question.cookie(), "RESEND"));
    assert_eq!(another.told(), "need_info");
    let prompt = another.question.as_ref().unwrap().prompt.clone();
    let expected =
        "A new code, which takes the place of the one before, was sent to …4711. Type it, or resend for another one: ";
    assert_eq!(prompt, expected);
    let codes = stage.codes();
    assert_eq!(codes.len(), 2);
    let ask = |cookie: &str, code: &str| stage.home.ask_one(&answer("alice", cookie, code)).told();
    assert_eq!(ask(question.cookie(), &codes[0]), "authentication_failure/challenge_gone");
    assert_eq!(ask(question.cookie(), "resend"), "authentication_failure/challenge_gone");
    assert_eq!(ask(another.cookie(), &codes[0]), "authentication_failure/wrong_code");
    assert_eq!(ask(another.cookie(), &codes[1]), "accept");
    stage.leaks_nothing(&codes.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn of_many_who_resend_at_once_one_goes_on() {
    let stage = Stage::new("tries = 10\n");
    stage.home.set("throttle", "failures", "1000");
    stage.home.set_clock(NOON);
    let question = stage.home.ask_one(&login("alice"));
    stage.home.set_clock(NOON + 30);
    let answers = race(&stage.home, 8, &answer("alice", question.cookie(), "resend"));
    let asked: Vec<_> = answers.iter().filter(|answer| answer.verdict() == "need_info").collect();
    assert!(asked.len() == 1 && answers.iter().all(|a| a.verdict() != "accept"), "{answers:?}");
    // Of all the codes that were sent, the one of the question that is left is good.
    let codes = stage.codes();
    let right =
        codes.iter().filter(|code| stage.home.ask_one(&answer("alice", asked[0].cookie(), code)).verdict() == "accept");
    assert_eq!(right.count(), 1);
}

#[test]
fn of_many_processes_with_one_sent_code_exactly_one_is_accepted() {
    let stage = Stage::new("tries = 10\n");
    stage.home.set("throttle", "failures", "1000");
    stage.home.set("throttle", "source_failures", "100000");
    for _ in 0..3 {
        let question = stage.home.ask_one(&login("alice"));
        let code = stage.codes().pop().unwrap();
        let answers = race(&stage.home, 64, &answer("alice", question.cookie(), &code));
        let accepted = answers.iter().filter(|answer| answer.verdict() == "accept").count();
        let gone = answers.iter().filter(|answer| answer.code() == "challenge_gone").count();
        assert_eq!((accepted, gone), (1, 63), "{answers:?}");
    }
}

#[test]
fn nobody_s_mailbox_is_filled() {
    let stage = Stage::new("resend_after = 5\n");
    stage.home.set("throttle", "failures", "2");
    stage.home.set_clock(NOON);
    for _ in 0..3 {
        assert_eq!(stage.home.ask_one(&login("alice")).told(), "need_info");
    }
    let throttled = stage.home.ask_one(&login("alice"));
    assert!(throttled.code() == "throttled" && throttled.retry_after_s.is_some(), "{throttled:?}");
    assert_eq!(stage.messages().len(), 3);
}

#[test]
fn resend_is_limited_as_well() {
    let stage = Stage::new("resend_after = 5\n");
    stage.home.set("throttle", "failures", "2");
    stage.home.set_clock(NOON);
    let mut question = stage.home.ask_one(&login("alice"));
    let mut told = String::new();
    for round in 1..10 {
        stage.home.set_clock(NOON + round * 5);
        let said = stage.home.ask_one(&answer("alice", question.cookie(), "resend"));
        told = said.told();
        if said.verdict() != "need_info" {
            break;
        }
        question = said;
    }
    assert_eq!(told, "authentication_failure/throttled");
    assert_eq!(stage.messages().len(), 3);
}

#[test]
fn what_was_charged_for_sending_does_not_keep_the_code_out() {
    let stage = Stage::new("");
    stage.home.set("throttle", "failures", "3");
    stage.home.set_clock(NOON);
    for _ in 0..3 {
        assert_eq!(stage.home.ask_one(&login("alice")).told(), "need_info", "and nobody answers");
    }
    let question = stage.home.ask_one(&login("alice"));
    assert_eq!(question.told(), "need_info", "the last that is sent before waits begin");
    stage.home.set_clock(NOON + 15);
    assert_eq!(stage.home.ask_one(&login("alice")).code(), "throttled");
    let (code, wrong) = (stage.codes().pop().unwrap(), stage.wrong_code());
    for _ in 0..2 {
        assert_eq!(stage.home.ask_one(&answer("alice", question.cookie(), &wrong)).code(), "wrong_code");
    }
    assert_eq!(stage.home.ask_one(&answer("alice", question.cookie(), &code)).told(), "accept");
    assert_eq!(stage.home.ask_one(&login("alice")).told(), "need_info", "a success ends the waiting");
}

#[test]
fn a_request_that_is_sent_again_has_nothing_sent_again() {
    let stage = Stage::new("");
    let mut gateway = Gateway::start(&stage.home);
    let (first, again) = (gateway.ask(&login("alice")), gateway.ask(&login("alice")));
    assert_eq!((first.told(), again.told()), ("need_info".into(), "need_info".into()));
    assert_eq!(stage.messages().len(), 1);
    assert_eq!(gateway.ask(&answer("alice", again.cookie(), &stage.code())).told(), "accept");
    gateway.end().1.ok();
}

#[test]
fn nothing_is_sent_where_nobody_can_type() {
    let stage = Stage::new("");
    let told = stage.home.ask_one(&request(1, "alice", json!({"protocol": "http"}))).told();
    assert_eq!(told, "authentication_failure/code_required");
    assert!(stage.messages().is_empty());
}

#[test]
fn no_rule_for_pushes_stands_in_the_way_of_codes() {
    let stage = Stage::new("");
    stage.home.append("[push]\nmode = off\n");
    // Enter, where a gateway lets people press it first.
    let pressed = request(1, "alice", json!({"key_value_pairs": {"otp": ""}}));
    for asked in [login("alice"), pressed] {
        assert_eq!(stage.home.ask_one(&asked).told(), "need_info");
    }
    assert_eq!(stage.messages().len(), 2);
}

#[test]
fn nothing_is_sent_to_somebody_who_is_not_enrolled() {
    let stage = Stage::new("");
    assert_eq!(stage.home.ask_one(&login("mallory")).told(), "authentication_failure/not_enrolled");
    assert!(stage.messages().is_empty());
}

#[test]
fn the_code_of_a_target_that_was_taken_away_since_is_rejected() {
    for take_away in [&["remove", "alice", "--id"][..], &["authenticator", "disable", "alice"]] {
        let stage = Stage::new("");
        let question = stage.home.ask_one(&login("alice"));
        let id = stage.ids("alice").remove(0);
        stage.home.run(&[take_away, &[id.as_str(), "--override-reason", "lost"]].concat(), "").ok();
        let told = stage.home.ask_one(&answer("alice", question.cookie(), &stage.code())).told();
        assert_eq!(told, "authentication_failure/not_enrolled", "{take_away:?}");
    }
}

#[test]
fn a_recovery_code_is_taken_where_a_code_was_sent_and_where_none_is_sent_any_more() {
    let stage = Stage::new("");
    stage.home.set("throttle", "failures", "2");
    let said = stage.home.run(&["recovery", "generate", "alice", "--json"], "").ok().stdout;
    let said: Value = serde_json::from_str(&said).unwrap();
    let codes: Vec<&str> =
        said["recovery_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    let question = stage.home.ask_one(&login("alice"));
    let accept = stage.home.ask_one(&answer("alice", question.cookie(), codes[0]));
    assert_eq!((accept.verdict(), accept.factor.as_deref()), ("accept", Some("recovery_code")), "{accept:?}");
    // The code of a question that is answered is no second way in.
    assert_ne!(stage.home.ask_one(&answer("alice", question.cookie(), &stage.code())).verdict(), "accept");
    let mut last = stage.home.ask_one(&login("alice"));
    while stage.messages().len() < 10 {
        let before = stage.messages().len();
        last = stage.home.ask_one(&login("alice"));
        if stage.messages().len() == before {
            break;
        }
    }
    assert!(stage.messages().len() < 10);
    assert_eq!(last.told(), "need_info");
    assert!(!last.question.as_ref().unwrap().prompt.contains("sent"), "{last:?}");
    let accept = stage.home.ask_one(&answer("alice", last.cookie(), codes[1]));
    assert_eq!((accept.verdict(), accept.factor.as_deref()), ("accept", Some("recovery_code")), "{accept:?}");
    // The same where an authorize wants a proof.
    stage.home.append("[step_up]\n");
    stage.home.set("authorize", "require_proof", "no");
    let authorize = |mut line: Value| {
        line["type"] = "authorize".into();
        stage.home.ask_one(&line)
    };
    let asked = authorize(login("alice"));
    assert_eq!(asked.told(), "need_info");
    let accept = authorize(answer("alice", asked.cookie(), codes[2]));
    assert_eq!((accept.verdict(), accept.factor.as_deref()), ("accept", Some("recovery_code")), "{accept:?}");
}

#[test]
fn a_code_is_sent_to_the_one_target_that_is_chosen() {
    let stage = Stage::new("title = SMS\n");
    stage.home.set("plugin", "clients", "totp, notify sms");
    let phone = Phone::new(1);
    stage.home.import("alice", &phone);
    let labels = stage.home.run(&["show", "alice", "--json"], "").ok().stdout;
    let labels: Value = serde_json::from_str(&labels).unwrap();
    assert_eq!(labels["authenticators"].as_array().unwrap().len(), 2, "{labels}");
    // The first by the configuration is asked for, and nothing is sent.
    let question = stage.home.ask_one(&login("alice"));
    assert!(question.verdict() == "need_info" && stage.messages().is_empty(), "{question:?}");
    let list = stage.home.ask_one(&answer("alice", question.cookie(), "?"));
    assert!(list.question.as_ref().unwrap().prompt.contains("  2  "), "{list:?}");
    let sent = stage.home.ask_one(&answer("alice", list.cookie(), "2"));
    assert!(sent.question.as_ref().unwrap().prompt.starts_with("SMS: A code was sent to …4711."), "{sent:?}");
    let accept = stage.home.ask_one(&answer("alice", sent.cookie(), &stage.code()));
    assert_eq!((accept.verdict(), accept.factor.as_deref()), ("accept", Some("sent_code")), "{accept:?}");
    // Where the target is the default, a code is sent at once, and the app can be chosen still.
    let authenticators = labels["authenticators"].as_array().unwrap();
    let target = authenticators.iter().find(|held| held["client"] == "notify sms").unwrap()["id"].as_str().unwrap();
    stage.home.run(&["authenticator", "default", "alice", target, "--override-reason", "test"], "").ok();
    let sent = stage.home.ask_one(&login("alice"));
    assert!(sent.question.as_ref().unwrap().prompt.starts_with("SMS: A code was sent to …4711."), "{sent:?}");
    let app = (1..=2)
        .map(|number| stage.home.ask_one(&answer("alice", sent.cookie(), &number.to_string())))
        .find(|question| !question.question.as_ref().unwrap().prompt.contains("sent"))
        .unwrap();
    let accept = stage.home.ask_one(&answer("alice", app.cookie(), &phone.fresh_code()));
    assert_eq!((accept.verdict(), accept.factor.as_deref()), ("accept", Some("totp")), "{accept:?}");
}

#[test]
fn an_explanation_sends_nothing() {
    let stage = Stage::new("");
    let said = stage.home.run(&["explain"], login("alice").to_string()).ok();
    assert!(said.stdout.contains("[notify sms]"), "{}", said.stdout);
    assert!(stage.messages().is_empty());
}

#[test]
fn a_sent_code_stands_in_for_a_service_that_is_away() {
    let refused = rig::faults::Refused::new();
    let stage = Stage::new("");
    stage.home.set("plugin", "clients", "http corp");
    stage.home.append(&format!(
        "[http corp]\nurl = http://{}\nallow_insecure_http = yes\non_unreachable = client:notify sms\n\
         [http corp otp]\nrequest = POST /\nform = u={{user}}&p={{otp}}\nsuccess = /ok = true\n",
        refused.host()
    ));
    // A code was typed for the service that is away: it is none of ours.
    let typed = request(1, "alice", json!({"session_id": "s1", "key_value_pairs": {"otp": "123456"}}));
    let question = stage.home.ask_one(&typed);
    assert_eq!(question.told(), "need_info", "{question:?}");
    let accept = stage.home.ask_one(&answer("alice", question.cookie(), &stage.code()));
    assert_eq!((accept.verdict(), accept.degraded), ("accept", Some(true)), "{accept:?}");
    assert_eq!(accept.factor.as_deref(), Some("sent_code"));
}

/// The answers of `count` processes to the same request, all at once.
fn race(home: &Home, count: usize, asked: &Value) -> Vec<rig::Answer> {
    let mut gateways: Vec<_> = (0..count).map(|_| Gateway::start(home)).collect();
    gateways.iter_mut().for_each(Gateway::sync);
    gateways.iter_mut().for_each(|gateway| gateway.send(asked));
    gateways.into_iter().map(|mut gateway| gateway.receive()).collect()
}

#[test]
fn the_whole_target_is_shown_to_nobody_who_logs_in() {
    let stage = Stage::new("title = SMS\n");
    let said = format!("{:?}", stage.home.ask_one(&login("alice")));
    assert!(said.contains("SMS: A code was sent to …4711.") && !said.contains(NUMBER), "{said}");
}

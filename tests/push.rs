//! Pushes, through the executable: what several requests, several processes, a gateway that goes and a service that is
//! away do to one. The service is Okta's Factors API on the loopback; the other clients go the same way.

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::io::Write;

use rig::faults::{Blackhole, Refused};
use rig::http::Response;
use rig::okta::{Okta, answer, configure};
use rig::web::{Reply, Signal, Web};
use rig::{Answer, Gateway, Home, Phone};
use serde_json::{Value, json};

/// A request over http, which cannot ask: a push at once.
fn push(id: impl Into<Value>, session: &str, user: &str) -> Value {
    json!({"type": "authenticate", "id": id.into(), "session_id": session, "protocol": "http", "gateway_user": user,
        "client_ip": "192.0.2.7", "server_hostname": "db1", "server_username": "root"})
}

/// A request over ssh, with an answer and a cookie.
fn typed(id: impl Into<Value>, session: &str, user: &str, otp: &str, cookie: &str) -> Value {
    json!({"type": "authenticate", "id": id.into(), "session_id": session, "protocol": "ssh", "gateway_user": user,
        "client_ip": "192.0.2.7", "key_value_pairs": {"otp": otp}, "cookie": cookie})
}

const POLL: &str = "/transactions/t1";
const START: &str = "/ostf1/verify";

#[test]
fn a_push_that_is_approved_is_accepted() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "s1", "alice"));
    okta.wait_for("GET", POLL, 1);
    okta.press("alice", "SUCCESS");
    let answer = gateway.answer(1);
    assert_eq!((answer.told().as_str(), answer.factor.as_deref()), ("accept", Some("push")), "{answer:?}");
    let authorize =
        json!({"type": "authorize", "id": 2, "session_id": "s1", "gateway_user": "alice", "cookie": answer.cookie()});
    assert_eq!(gateway.ask(&authorize).told(), "accept");
    gateway.end().1.ok();
    assert_eq!(okta.count("POST", START), 1);
}

#[test]
fn a_refused_push_is_a_denial() {
    let okta = Okta::start();
    okta.press("alice", "REJECTED");
    let home = okta.home("");
    assert_eq!(home.ask_one(&push(1, "s1", "alice")).told(), "authentication_failure/push_refused");
}

#[test]
fn a_push_that_nobody_answers_ends_before_the_deadline_and_is_taken_back() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut request = push(1, "s1", "alice");
    request["deadline_ms"] = json!(2500);
    assert_eq!(home.ask_one(&request).told(), "authentication_failure/push_unanswered");
    assert_eq!(okta.count("DELETE", POLL), 1);
}

#[test]
fn requests_of_one_session_share_a_push_and_its_verdict() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    for id in 1..=5 {
        gateway.send(&push(id, "s1", "alice"));
    }
    gateway.send(&push("retried", "s1", "Alice"));
    okta.wait_for("GET", POLL, 1);
    okta.press("alice", "SUCCESS");
    for id in 1..=5 {
        assert_eq!(gateway.answer(id).told(), "accept");
    }
    gateway.answer("retried");
    // Sent again after the end, under the same name: the same verdict, to the letter. Under another: a new push.
    let again = gateway.ask(&push(3, "s1", "alice"));
    assert_eq!(again.told(), "accept");
    assert_eq!(okta.count("POST", START), 1);
    assert_eq!(gateway.ask(&push(99, "s1", "alice")).told(), "accept");
    assert_eq!(okta.count("POST", START), 2);
    gateway.end().1.ok();
}

#[test]
fn a_second_session_does_not_push_while_the_first_waits() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "s1", "alice"));
    okta.wait_for("GET", POLL, 1);
    assert_eq!(gateway.ask(&push(2, "s2", "ALICE")).told(), "authentication_failure/push_outstanding");
    // Another process knows as well.
    assert_eq!(home.ask_one(&push(3, "s2", "alice")).told(), "authentication_failure/push_outstanding");
    // Without a session's name, nobody can say that it is the same.
    let mut nameless = push(4, "", "alice");
    nameless.as_object_mut().unwrap().remove("session_id");
    assert_eq!(gateway.ask(&nameless).told(), "authentication_failure/push_outstanding");
    okta.press("alice", "SUCCESS");
    assert_eq!(gateway.answer(1).told(), "accept");
    assert_eq!(gateway.ask(&push(5, "s2", "alice")).told(), "accept", "the first is over");
    gateway.end().1.ok();
    assert_eq!(okta.count("POST", START), 2);
}

#[test]
fn another_process_waits_for_the_push_of_a_killed_one() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut first = Gateway::start(&home);
    first.send(&push(1, "s1", "alice"));
    okta.wait_for("GET", POLL, 1);
    first.kill();
    let mut second = Gateway::start(&home);
    second.send(&push(1, "s1", "alice"));
    okta.wait_for("GET", POLL, 3);
    okta.press("alice", "SUCCESS");
    assert_eq!(second.answer(1).told(), "accept");
    assert_eq!(okta.count("POST", START), 1, "it was not sent again");
}

#[test]
fn two_processes_that_wait_for_one_push_give_at_most_one_accept() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateways = [Gateway::start(&home), Gateway::start(&home)];
    for gateway in &mut gateways {
        gateway.send(&push(1, "s1", "alice"));
        okta.wait_for("GET", POLL, 1);
    }
    okta.wait_for("GET", POLL, 4);
    okta.press("alice", "SUCCESS");
    let mut told: Vec<String> = gateways.iter_mut().map(|gateway| gateway.answer(1).told()).collect();
    told.sort();
    assert_eq!(told, ["accept", "authentication_failure/challenge_gone"]);
    assert_eq!(okta.count("POST", START), 1);
}

#[test]
fn cancel_takes_the_push_back_and_frees_the_way() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "s1", "alice"));
    okta.wait_for("GET", POLL, 1);
    gateway.send(&json!({"type": "cancel", "id": 2, "target": 1}));
    assert_eq!(gateway.answer(1).told(), "policy_denied/cancelled");
    okta.wait_for("DELETE", POLL, 1);
    okta.press("alice", "SUCCESS");
    assert_eq!(gateway.ask(&push(3, "s2", "alice")).told(), "accept");
    gateway.end().1.ok();
}

#[test]
fn one_of_two_waiting_requests_can_be_cancelled_alone() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "s1", "alice"));
    gateway.send(&push(2, "s1", "alice"));
    okta.wait_for("GET", POLL, 1);
    gateway.send(&json!({"type": "cancel", "id": 3, "target": 1}));
    assert_eq!(gateway.answer(1).told(), "policy_denied/cancelled");
    okta.press("alice", "SUCCESS");
    assert_eq!(gateway.answer(2).told(), "accept");
    gateway.end().1.ok();
    assert_eq!(okta.count("DELETE", POLL), 0);
}

#[test]
fn a_gateway_that_ends_its_input_later_has_gone() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "s1", "alice"));
    // More than a second of polling.
    okta.wait_for("GET", POLL, 3);
    let (answers, finished) = gateway.end();
    finished.ok();
    assert_eq!(answers.iter().map(Answer::told).collect::<Vec<_>>(), ["policy_denied/cancelled"]);
    assert_eq!(okta.count("DELETE", POLL), 1);
}

#[test]
fn a_gateway_that_asks_one_thing_and_ends_its_input_waits() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "s1", "alice"));
    drop(gateway.take_input());
    okta.wait_for("GET", POLL, 3);
    okta.press("alice", "SUCCESS");
    let (answers, finished) = gateway.wait();
    finished.ok();
    assert_eq!(answers.iter().map(Answer::told).collect::<Vec<_>>(), ["accept"]);
}

#[test]
fn a_signal_to_end_takes_pushes_back() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "s1", "alice"));
    okta.wait_for("GET", POLL, 1);
    gateway.signal("TERM");
    let (answers, finished) = gateway.wait();
    finished.ok();
    assert_eq!(answers.iter().map(Answer::told).collect::<Vec<_>>(), ["policy_denied/cancelled"]);
    assert_eq!(okta.count("DELETE", POLL), 1);
}

#[test]
fn a_session_that_ends_takes_its_push_with_it() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    let shown = gateway.ask(&typed(1, "s1", "alice", "", ""));
    assert!(shown.question.is_some(), "{shown:?}");
    let ended = json!({"type": "session_ended", "id": 2, "session_id": "s1", "gateway_user": "alice"});
    assert_eq!(gateway.ask(&ended).told(), "accept");
    okta.wait_for("DELETE", POLL, 1);
    assert_eq!(
        gateway.ask(&typed(3, "s1", "alice", "", shown.cookie())).told(),
        "authentication_failure/challenge_gone"
    );
    okta.press("alice", "SUCCESS");
    assert_eq!(gateway.ask(&push(4, "s2", "alice")).told(), "accept");
    gateway.end().1.ok();
}

#[test]
fn the_number_stands_in_a_question_whose_answer_resumes_the_wait() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    let shown = gateway.ask(&typed(1, "s1", "alice", "", ""));
    let prompt = shown.question.clone().expect("a question").prompt;
    assert!(prompt.contains("42") && prompt.ends_with(' '), "{prompt}");
    assert!(shown.cookie().len() <= 100);
    okta.press("alice", "SUCCESS");
    let done = gateway.ask(&typed(2, "s1", "alice", "", shown.cookie()));
    assert_eq!((done.told().as_str(), done.factor.as_deref()), ("accept", Some("push")));
    // What was used is used: under another name it is no accept.
    assert_eq!(
        gateway.ask(&typed(3, "s1", "alice", "", shown.cookie())).told(),
        "authentication_failure/challenge_gone"
    );
    // And nobody else's.
    assert_ne!(gateway.ask(&typed(4, "s1", "bob", "", shown.cookie())).told(), "accept");
    gateway.end().1.ok();
    assert_eq!(okta.count("POST", "/00ualice/factors/ostf1/verify"), 1);
}

#[test]
fn a_question_that_is_not_answered_is_asked_again() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    let shown = gateway.ask(&typed(1, "s1", "alice", "", ""));
    let mut unanswered = typed(2, "s1", "alice", "", shown.cookie());
    unanswered.as_object_mut().unwrap().remove("key_value_pairs");
    let again = gateway.ask(&unanswered);
    assert_eq!(again.question, shown.question);
    okta.press("alice", "SUCCESS");
    assert_eq!(gateway.ask(&typed(3, "s1", "alice", "", again.cookie())).told(), "accept");
    gateway.end().1.ok();
}

#[test]
fn another_process_goes_on_after_the_number_was_shown() {
    let okta = Okta::start();
    let home = okta.home("");
    let shown = home.ask_one(&typed(1, "s1", "alice", "", ""));
    okta.press("alice", "SUCCESS");
    assert_eq!(home.ask_one(&typed(2, "s1", "alice", "", shown.cookie())).told(), "accept");
    assert_eq!(
        home.ask_one(&typed(3, "s1", "alice", "", shown.cookie())).told(),
        "authentication_failure/challenge_gone"
    );
}

#[test]
fn a_code_typed_in_place_of_a_shown_push_is_accepted_and_takes_it_back() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    let shown = gateway.ask(&typed(1, "s1", "alice", "", ""));
    let wrong = gateway.ask(&typed(2, "s1", "alice", "654321", shown.cookie()));
    assert_eq!(wrong.told(), "authentication_failure/wrong_code");
    let done = gateway.ask(&typed(3, "s1", "alice", "123456", shown.cookie()));
    assert_eq!((done.told().as_str(), done.factor.as_deref()), ("accept", Some("otp")));
    okta.wait_for("DELETE", POLL, 1);
    okta.press("alice", "SUCCESS");
    assert_eq!(
        gateway.ask(&typed(4, "s1", "alice", "", shown.cookie())).told(),
        "authentication_failure/challenge_gone"
    );
    gateway.end().1.ok();
}

#[test]
fn a_code_typed_while_a_push_waits_is_accepted_in_its_place() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "s1", "alice"));
    okta.wait_for("GET", POLL, 1);
    assert_eq!(gateway.ask(&typed(2, "s1", "alice", "123456", "")).told(), "accept");
    assert_eq!(gateway.answer(1).told(), "policy_denied/superseded");
    okta.wait_for("DELETE", POLL, 1);
    // Of another session, it changes nothing.
    gateway.send(&push(3, "s1", "alice"));
    okta.wait_for("POST", START, 2);
    assert_eq!(gateway.ask(&typed(4, "s2", "alice", "123456", "")).told(), "accept");
    okta.press("alice", "SUCCESS");
    assert_eq!(gateway.answer(3).told(), "accept");
    gateway.end().1.ok();
}

#[test]
fn push_is_plain_numbered_or_off_by_protocol() {
    let okta = Okta::start();
    okta.press("alice", "SUCCESS");
    let home = okta.home("");
    home.set("push", "by_protocol", "ssh:plain, rdp:off");
    assert_eq!(home.ask_one(&typed(1, "s1", "alice", "", "")).told(), "accept", "no number was asked for");
    let mut rdp = typed(2, "s1", "alice", "", "");
    rdp["protocol"] = json!("RDP");
    assert_eq!(home.ask_one(&rdp).told(), "policy_denied/push_off");
    home.set("push", "mode", "off");
    assert_eq!(home.ask_one(&push(3, "s1", "alice")).told(), "policy_denied/push_off");
    assert_eq!(okta.count("POST", START), 1);
}

#[test]
fn pushes_count_as_failures_until_they_are_approved() {
    let okta = Okta::start();
    okta.press("alice", "REJECTED");
    let home = okta.home("");
    home.set("throttle", "failures", "3");
    let told: Vec<_> =
        (1..=5).map(|id| home.ask_one(&push(id, &format!("s{id}"), "alice")).code().to_owned()).collect();
    assert_eq!(told, ["push_refused", "push_refused", "push_refused", "push_refused", "throttled"]);
    assert_eq!(okta.count("POST", START), 4);
}

#[test]
fn nobody_waits_for_the_store_while_somebody_waits_for_a_push() {
    let silent = Web::silent();
    let home = Home::init();
    configure(&home, &silent.url(""), "");
    let mut sends = Gateway::start(&home);
    sends.send(&push(1, "s1", "alice"));
    silent.wait_until(|seen| seen.connections > 0);
    // Another process finds the slot taken by a push of which nothing is known yet.
    let mut waits = Gateway::start(&home);
    waits.send(&push(1, "s2", "alice"));
    waits.sync();
    // A third has nothing to do with it. What is typed costs a write, and no request.
    let mut bob = typed(1, "s9", "bob", "a\u{0}b", "");
    bob["deadline_ms"] = json!(2000);
    assert_eq!(home.ask_one(&bob).told(), "authentication_failure/malformed_code");
    sends.kill();
    assert_eq!(waits.answer(1).told(), "authentication_failure/push_outstanding");
    silent.excuse();
}

#[test]
fn a_gateway_that_died_leaves_no_push_behind() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "s1", "alice"));
    // More than a second of polling.
    okta.wait_for("GET", POLL, 3);
    drop(gateway.take_output());
    drop(gateway.take_input());
    okta.wait_for("DELETE", POLL, 1);
    okta.press("alice", "SUCCESS");
    assert_eq!(home.ask_one(&push(2, "s2", "alice")).told(), "accept", "the way is free");
}

#[test]
fn a_push_that_is_just_being_sent_is_taken_back_when_it_is_known() {
    let go_on = Signal::new();
    let wait = go_on.clone();
    let web = Web::serve(move |request| {
        let reply = answer(request, &Default::default());
        if request.path.ends_with(START) { Reply::after(&wait, reply) } else { Reply::from(reply) }
    });
    let home = Home::init();
    configure(&home, &web.url(""), "");
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "s1", "alice"));
    web.wait_until(|seen| seen.requests.iter().any(|request| request.path.ends_with(START)));
    gateway.send(&json!({"type": "cancel", "id": 2, "target": 1}));
    assert_eq!(gateway.answer(1).told(), "policy_denied/cancelled");
    // It still holds the slot.
    let mut other = push(3, "s2", "alice");
    other["deadline_ms"] = json!(1000);
    assert_eq!(gateway.ask(&other).told(), "authentication_failure/push_outstanding");
    go_on.fire();
    web.wait_until(|seen| seen.requests.iter().any(|request| request.method == "DELETE"));
    gateway.end().1.ok();
}

#[test]
fn a_push_asked_for_in_words_rings_nobody_who_is_not_to_be_rung() {
    let okta = Okta::start();
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "s1", "alice"));
    okta.wait_for("GET", POLL, 1);
    assert_eq!(gateway.ask(&typed(2, "s2", "alice", "push", "")).told(), "authentication_failure/push_outstanding");
    assert_eq!(okta.count("POST", START), 1);
    okta.press("alice", "SUCCESS");
    assert_eq!(gateway.answer(1).told(), "accept");
    gateway.end().1.ok();
    home.set("push", "mode", "off");
    assert_eq!(home.ask_one(&typed(3, "s3", "alice", "push", "")).told(), "policy_denied/push_off");
    assert_eq!(okta.count("POST", START), 1);
}

#[test]
fn what_was_said_is_forgotten_with_its_session_and_is_nobody_else_s() {
    let okta = Okta::start();
    okta.press("alice", "SUCCESS");
    let home = okta.home("");
    let mut gateway = Gateway::start(&home);
    assert_eq!(gateway.ask(&push(1, "s1", "alice")).told(), "accept");
    okta.press("alice", "REJECTED");
    assert_eq!(gateway.ask(&push(1, "s1", "alice")).told(), "accept", "the same request, sent again");
    let mut elsewhere = push(1, "s1", "alice");
    elsewhere["server_hostname"] = json!("db2");
    assert_eq!(gateway.ask(&elsewhere).told(), "authentication_failure/push_refused");
    let ended = json!({"type": "session_ended", "id": 2, "session_id": "s1", "gateway_user": "alice"});
    assert_eq!(gateway.ask(&ended).told(), "accept");
    assert_eq!(gateway.ask(&push(1, "s1", "alice")).told(), "authentication_failure/push_refused");
    gateway.end().1.ok();
}

#[test]
fn two_thousand_pushes_wait_in_one_process_and_all_end_with_a_verdict() {
    const COUNT: usize = 2000;
    let okta = Okta::start();
    let home = okta.home("rest_poll_interval = 5");
    home.set("plugin", "deadline", "300");
    home.set("throttle", "source_failures", "100000");
    let mut gateway = Gateway::start(&home);
    let input = gateway.take_input();
    let writer = std::thread::spawn(move || {
        let mut input = input;
        for id in 0..COUNT {
            let line = format!("{}\n", push(id, &format!("s{id}"), &format!("user{id}")));
            input.write_all(line.as_bytes()).unwrap();
        }
        input
    });
    let input = writer.join().unwrap();
    okta.web.wait_until(|seen| {
        seen.requests.len() > 3 * COUNT && seen.requests.iter().filter(|r| r.path.ends_with(START)).count() == COUNT
    });
    println!("{COUNT} pushes pending in one process: peak memory {} KiB", gateway.peak_memory());
    for id in 0..10 {
        okta.press(&format!("user{id}"), "SUCCESS");
    }
    for id in 0..10 {
        assert_eq!(gateway.answer(id).told(), "accept");
    }
    drop(input);
    let (answers, finished) = gateway.wait();
    finished.ok();
    assert_eq!(answers.len(), COUNT - 10);
    assert!(answers.iter().all(|answer| answer.told() == "policy_denied/cancelled"));
    println!("taken back at the service before the end: {}", okta.count("DELETE", POLL));
}

// ------------------------------------------------------------------------------------------- where nobody can be asked

/// A configuration whose service refuses connections.
fn away(more: &str) -> (Refused, Home) {
    let refused = Refused::new();
    let home = Home::init();
    configure(&home, &format!("http://{}", refused.host()), more);
    (refused, home)
}

#[test]
fn a_service_that_is_away_is_a_fault() {
    let (_refused, home) = away("");
    for request in [push(1, "s1", "alice"), typed(2, "s1", "alice", "123456", "")] {
        assert_eq!(home.ask_one(&request).told(), "service_unreachable/connection_refused");
    }
}

#[test]
fn accept_lets_in_degraded_marked_and_counted_for_as_long_as_it_says() {
    let (_refused, home) = away("ignore_connection_error = yes\ndegraded_for = 100");
    let began = rig::now();
    home.set_clock(began);
    for count in 1..=2 {
        let open = home.ask_one(&typed(count, "s1", "alice", "123456", ""));
        assert_eq!((open.told().as_str(), open.degraded, &open.factor), ("accept", Some(true), &None));
        assert!(open.reason().contains(&format!("login {count} of this kind")), "{open:?}");
        let authorize =
            json!({"type": "authorize", "id": 9, "session_id": "s1", "gateway_user": "alice", "cookie": open.cookie()});
        let authorized = home.ask_one(&authorize);
        assert_eq!((authorized.told().as_str(), authorized.degraded), ("accept", Some(true)));
    }
    home.set_clock(began + 101);
    let over = home.ask_one(&typed(3, "s1", "alice", "123456", ""));
    assert_eq!(over.told(), "service_unreachable/connection_refused");
    assert!(over.reason().contains("degraded_for"), "{over:?}");
}

#[test]
fn accept_never_opens_after_a_byte_was_exchanged() {
    let silent = Web::closing();
    let home = Home::init();
    configure(&home, &silent.url(""), "on_unreachable = accept");
    assert_eq!(home.ask_one(&typed(1, "s1", "alice", "123456", "")).told(), "service_unreachable/connection_lost");
    silent.excuse();
}

#[test]
fn accept_never_opens_for_a_service_that_went_away_after_it_was_asked() {
    let okta = Okta::start();
    let home = okta.home("on_unreachable = accept");
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "s1", "alice"));
    let shown = gateway.ask(&typed(2, "s2", "bob", "", ""));
    okta.wait_for("GET", POLL, 1);
    drop(okta);
    assert_eq!(gateway.answer(1).told(), "service_unreachable/connection_refused");
    let resumed = gateway.ask(&typed(3, "s2", "bob", "", shown.cookie()));
    assert_eq!(resumed.told(), "service_unreachable/connection_refused");
    // Whoever begins now finds nobody there.
    assert_eq!(gateway.ask(&push(4, "s3", "carol")).degraded, Some(true));
    gateway.end().1.ok();
}

/// A home whose duo is at `url` and whose okta stands in for it.
fn stood_in_for(home: &Home, url: &str) {
    home.set("plugin", "clients", "duo");
    let section = format!(
        "\n[duo]\nhost = {}\nikey = DIXXXXXXXXXXXXXXXXXX\nskey = canary-key\nallow_insecure_http = yes\n\
         on_unreachable = client:okta\n",
        url.trim_end_matches('/')
    );
    home.append(&section);
}

#[test]
fn who_stands_in_opens_nothing() {
    let down = Web::always(Response::empty(503));
    let (_refused, home) = away("on_unreachable = accept");
    stood_in_for(&home, &down.url(""));
    for request in [push(1, "s1", "alice"), typed(2, "s2", "alice", "123456", "")] {
        assert_eq!(home.ask_one(&request).told(), "service_unreachable/connection_refused");
    }
}

#[test]
fn a_push_of_who_stands_in_is_theirs_for_everybody_who_waits() {
    let okta = Okta::start();
    let refused = Refused::new();
    let home = okta.home("");
    stood_in_for(&home, &format!("http://{}", refused.host()));
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "s1", "alice"));
    okta.wait_for("GET", POLL, 1);
    gateway.send(&push(2, "s1", "alice"));
    gateway.sync();
    // Another process of the same session waits for it as well, and does not spoil it.
    let mut other = Gateway::start(&home);
    other.send(&push(1, "s1", "alice"));
    okta.wait_for("GET", POLL, 4);
    okta.press("alice", "SUCCESS");
    let mut accepted = 0;
    for answer in [gateway.answer(1), gateway.answer(2), other.answer(1)] {
        match answer.told().as_str() {
            "accept" => assert_eq!(answer.degraded, Some(true), "{answer:?}"),
            told => assert_eq!(told, "authentication_failure/challenge_gone"),
        }
        accepted += usize::from(answer.verdict() == "accept");
    }
    assert!(accepted > 0);
    assert_eq!(okta.count("POST", START), 1);
}

#[test]
fn too_little_time_is_not_the_absence_of_the_service() {
    let blackhole = Blackhole::new();
    let home = Home::init();
    configure(&home, &format!("http://{}", blackhole.host()), "on_unreachable = accept\nconnect_timeout = 5");
    let mut request = typed(1, "s1", "alice", "123456", "");
    request["deadline_ms"] = json!(600);
    assert_eq!(home.ask_one(&request).told(), "service_unreachable/no_time");
}

#[test]
fn whoever_stops_the_process_does_not_make_the_service_absent() {
    let blackhole = Blackhole::new();
    let home = Home::init();
    configure(&home, &format!("http://{}", blackhole.host()), "on_unreachable = accept\nconnect_timeout = 2");
    let mut gateway = Gateway::start(&home);
    gateway.sync();
    gateway.send(&typed(1, "s1", "alice", "123456", ""));
    // It connects: the kernel has sent the first of its packets to that port.
    let port = blackhole.host().rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let connecting = format!(":{port:04X} 02");
    while !std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&connecting) {
        std::thread::yield_now();
    }
    gateway.signal("STOP");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    gateway.signal("CONT");
    let told = gateway.answer(1).told();
    assert_eq!(told, "service_unreachable/connect_timeout", "{}", home.log());
    // Nobody answers: that alone is an absence.
    assert_eq!(gateway.ask(&typed(2, "s2", "alice", "123456", "")).told(), "accept");
}

#[test]
fn another_client_stands_in_degraded_and_under_the_same_limits() {
    let (_refused, home) = away("on_unreachable = client:totp");
    home.set("throttle", "failures", "2");
    home.set("throttle", "known_source", "0");
    let phone = Phone::new(1);
    home.import("alice", &phone);
    let code = phone.code_at(rig::now(), 0);
    let stood_in = home.ask_one(&typed(1, "s1", "alice", &code, ""));
    assert_eq!(
        (stood_in.told().as_str(), stood_in.degraded, stood_in.factor.as_deref()),
        ("accept", Some(true), Some("totp"))
    );
    assert!(stood_in.reason().contains("in place of okta"), "{stood_in:?}");
    let told: Vec<_> = (2..=5).map(|id| home.ask_one(&typed(id, "s1", "alice", &code, "")).code().to_owned()).collect();
    assert_eq!(told, ["used_code", "used_code", "used_code", "throttled"]);
}

#[test]
fn whoever_pressed_enter_is_asked_for_a_code_of_the_client_that_stands_in() {
    let (_refused, home) = away("on_unreachable = client:totp");
    let phone = Phone::new(1);
    home.import("alice", &phone);
    let asked = home.ask_one(&typed(1, "s1", "alice", "", ""));
    assert!(asked.question.is_some(), "{asked:?}");
    let done = home.ask_one(&typed(2, "s1", "alice", &phone.code_at(rig::now(), 0), asked.cookie()));
    assert_eq!((done.told().as_str(), done.degraded), ("accept", Some(true)));
    // Over a protocol that cannot ask there is nothing to fall back to.
    assert_eq!(home.ask_one(&push(3, "s2", "alice")).told(), "authentication_failure/code_required");
}

#[test]
fn names_and_codes_that_no_service_can_know_are_not_sent() {
    let okta = Okta::start();
    let home = okta.home("");
    let long = "x".repeat(10_000);
    for name in ["a\0b", "a\u{202e}b", "a\nb", &long] {
        let told = home.ask_one(&push(1, "s1", name)).told();
        assert_eq!(told, "authentication_failure/malformed_name", "{name:?}");
    }
    for code in ["12\x0056", "123\u{200b}456\u{202e}", &long] {
        let told = home.ask_one(&typed(1, "s1", "alice", code, "")).told();
        assert_eq!(told, "authentication_failure/malformed_code", "{code:?}");
    }
    assert!(okta.web.requests().is_empty());
}

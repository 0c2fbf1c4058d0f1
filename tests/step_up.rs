//! A fresh proof before a session goes on to a target that wants one: `[step_up]`, in the native protocol and in the dialect
//! of SPS.
#![cfg(debug_assertions)]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::thread;

use rig::okta::Okta;
use rig::{Answer, Gateway, Home, Phone, attempt, request};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;

const RULE: &str = "[step_up]\nprotocols = ssh, rdp\ntargets = root@db*.corp.example\n";

/// alice with a phone, at a time that stands still, and these sections.
fn home(sections: &str) -> (Home, Phone) {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    home.set_clock(NOW);
    home.append(sections);
    (home, phone)
}

/// An authorize of alice's session `s1` to root at db1, with `more`.
fn authorize(more: Value) -> Value {
    let mut facts = json!({
        "type": "authorize", "session_id": "s1", "server_hostname": "db1.corp.example", "server_username": "root",
    });
    for (key, value) in more.as_object().unwrap() {
        facts[key] = value.clone();
    }
    request(1, "alice", facts)
}

/// The cookie of alice's session `s1`, which was authenticated by `code`.
fn logged_in(home: &Home, code: &str) -> String {
    let mut login = attempt(1, "alice", code);
    login["session_id"] = "s1".into();
    home.ask_one(&login).cookie().to_owned()
}

fn typed(code: &str, cookie: &str) -> Value {
    authorize(json!({"key_value_pairs": {"otp": code}, "cookie": cookie}))
}

#[test]
fn authorize_asks_for_a_fresh_code_and_the_permit_is_good_once() {
    let (home, phone) = home(RULE);
    let cookie = logged_in(&home, &phone.code_at(NOW, -1));
    // The gateway may send along what was typed at the login: that is no answer, and no failure either.
    let asked = home.ask_one(&typed(&phone.code_at(NOW, -1), &cookie));
    assert_eq!(asked.told(), "need_info", "{asked:?}");
    assert_eq!(asked.question.clone().unwrap().key, "otp");
    let wrong = home.ask_one(&typed(&phone.code_at(NOW, -1), asked.cookie()));
    assert_eq!(wrong.told(), "authentication_failure/used_code", "the code of the login is used");
    let answer = typed(&phone.code_at(NOW, 0), asked.cookie());
    let accept = home.ask_one(&answer);
    assert_eq!((accept.told().as_str(), accept.factor.as_deref()), ("accept", Some("totp")));
    assert_eq!(accept.reason(), "the session was authenticated, and gave a fresh proof: verified");
    // The same once more, and with the cookie of the accept: each asks again.
    for again in [answer, typed(&phone.code_at(NOW, 1), accept.cookie())] {
        assert_eq!(home.ask_one(&again).told(), "need_info");
    }
    assert!(home.log().contains("factor=\"totp\""));
}

#[test]
fn another_target_session_or_user_needs_a_proof_of_its_own() {
    let (home, phone) = home(RULE);
    let cookie = logged_in(&home, &phone.code_at(NOW, -1));
    let asked = home.ask_one(&authorize(json!({"cookie": cookie})));
    let with = |more: Value| {
        let mut request = typed(&phone.code_at(NOW, 0), asked.cookie());
        for (key, value) in more.as_object().unwrap() {
            request[key] = value.clone();
        }
        home.ask_one(&request).told()
    };
    for elsewhere in [
        json!({"server_hostname": "db2.corp.example"}),
        json!({"server_port": 2222}),
        json!({"protocol": "rdp"}),
        json!({"connection_name": "other"}),
        json!({"server_ip": "192.0.2.1"}),
    ] {
        assert_eq!(with(elsewhere.clone()), "need_info", "{elsewhere}");
    }
    assert_eq!(with(json!({"session_id": "s2"})), "policy_denied/not_authenticated");
    assert_eq!(with(json!({"gateway_user": "bob"})), "policy_denied/not_authenticated");
    // What the rule is not about goes on without one.
    assert_eq!(with(json!({"server_username": "alice"})), "accept");
    assert_eq!(with(json!({"server_hostname": "web1.corp.example"})), "accept");
    assert_eq!(with(json!({})), "accept", "nothing of all that used the code");
}

#[test]
fn a_proof_counts_for_max_age_and_none_counts_for_ever() {
    let (home, phone) = home(&format!("{RULE}max_age = 60\n"));
    let cookie = logged_in(&home, &phone.code_at(NOW, -1));
    let ask = |at: u64, cookie: &str| {
        home.set_clock(NOW + at);
        home.ask_one(&authorize(json!({"cookie": cookie})))
    };
    assert_eq!(ask(0, &cookie).told(), "accept");
    assert_eq!(ask(59, &cookie).told(), "accept");
    let asked = ask(60, &cookie);
    assert_eq!(asked.told(), "need_info");
    home.set_clock(NOW + 100);
    let accept = home.ask_one(&typed(&phone.code_at(NOW + 100, 0), asked.cookie()));
    assert_eq!(accept.told(), "accept");
    assert_eq!(ask(159, accept.cookie()).told(), "accept", "counted from the fresh proof");
    assert_eq!(ask(160, accept.cookie()).told(), "need_info");
    assert_eq!(ask(159, &cookie).told(), "need_info", "the cookie of before says nothing of it");
}

#[test]
fn an_exemption_is_no_proof_and_the_cookie_of_a_question_none_either() {
    let (home, _) = home(&format!(
        "{RULE}max_age = 600\n[whitelist source=user_list]\nname = vips\n[user_list vips]\nallow = no_user\nexcept = alice\n"
    ));
    let exempt = home.ask_one(&request(1, "alice", json!({"session_id": "s1"})));
    assert_eq!(exempt.told(), "accept");
    let asked = home.ask_one(&authorize(json!({"cookie": exempt.cookie()})));
    assert_eq!(asked.told(), "need_info");
    assert_eq!(home.ask_one(&authorize(json!({"cookie": asked.cookie()}))).told(), "need_info");
    // Where no proof of the session is wanted, one for the target still is.
    home.set("authorize", "require_proof", "no");
    let asked = home.ask_one(&authorize(json!({})));
    assert_eq!(asked.told(), "need_info");
    assert_eq!(home.ask_one(&authorize(json!({"cookie": asked.cookie()}))).told(), "need_info");
}

#[test]
fn failures_count_as_those_of_logins_and_tries_are_limited() {
    let (home, phone) = home(RULE);
    home.set("throttle", "known_source", "0");
    let cookie = logged_in(&home, &phone.code_at(NOW, -1));
    let asked = home.ask_one(&authorize(json!({"cookie": cookie})));
    let wrong = typed(&phone.wrong_code(NOW), asked.cookie());
    for expected in ["wrong_code", "wrong_code", "wrong_code", "challenge_gone"] {
        assert_eq!(home.ask_one(&wrong).code(), expected);
    }
    let asked = home.ask_one(&authorize(json!({"cookie": cookie})));
    for expected in ["wrong_code", "wrong_code", "wrong_code"] {
        assert_eq!(home.ask_one(&typed(&phone.wrong_code(NOW), asked.cookie())).code(), expected);
    }
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.code_at(NOW, 0))).code(), "throttled");
    assert_eq!(home.ask_one(&authorize(json!({"cookie": cookie}))).code(), "throttled");
}

#[test]
fn a_recovery_code_steps_up_and_who_is_not_enrolled_does_not() {
    let (home, phone) = home(RULE);
    home.append("[policy]\nunenrolled = accept\n");
    let shown = home.run(&["recovery", "generate", "alice", "--json"], "").ok().stdout;
    let codes: Value = serde_json::from_str(&shown).unwrap();
    home.run(&["import", "uri", "--user", "alice", "--label", "spare"], Phone::new(3).uri("alice")).ok();
    let cookie = logged_in(&home, &phone.code_at(NOW, -1));
    let asked = home.ask_one(&authorize(json!({"cookie": cookie})));
    let code = codes["recovery_codes"][0].as_str().unwrap();
    // In place of the code, and through the list.
    let list = home.ask_one(&typed("?", asked.cookie()));
    assert_eq!(list.told(), "need_info");
    let accept = home.ask_one(&typed(code, list.cookie()));
    assert_eq!((accept.told().as_str(), accept.factor.as_deref()), ("accept", Some("recovery_code")));
    assert_eq!(home.ask_one(&typed(code, list.cookie())).told(), "need_info", "once");

    let carol = home.ask_one(&request(1, "carol", json!({"session_id": "s1"})));
    assert_eq!(carol.basis.as_deref(), Some("unenrolled"));
    let of_carol = |more: Value| {
        let mut request = authorize(more);
        request["gateway_user"] = "carol".into();
        home.ask_one(&request)
    };
    let asked = of_carol(json!({"cookie": carol.cookie()}));
    assert_eq!(asked.told(), "need_info");
    let answer = json!({"cookie": asked.cookie(), "key_value_pairs": {"otp": "000000"}});
    assert_eq!(of_carol(answer).told(), "authentication_failure/not_enrolled");
}

#[test]
fn of_many_that_answer_one_question_at_once_one_goes_on() {
    let (home, phone) = home(RULE);
    home.set("throttle", "failures", "1000");
    let cookie = logged_in(&home, &phone.code_at(NOW, -1));
    let asked = home.ask_one(&authorize(json!({"cookie": cookie})));
    let told: Vec<String> = thread::scope(|scope| {
        let racers: Vec<_> = (0..64)
            .map(|racer| {
                let mut command = home.command(&["serve"]);
                // Both codes are good.
                let line = typed(&phone.code_at(NOW, racer % 2), asked.cookie());
                scope.spawn(move || {
                    let finished = rig::finish(&mut command, format!("{line}\n").as_bytes()).ok();
                    Answer::parse(finished.stdout.trim_end().as_bytes()).told()
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(told.iter().filter(|told| *told == "accept").count(), 1, "{told:?}");
    assert!(told.iter().all(|told| !told.contains("internal")), "{told:?}");
}

#[test]
fn whoever_is_asked_holds_no_slot_and_whoever_goes_on_holds_one() {
    let (home, phone) = home(&format!("{RULE}[connection_limit by=client_ip_gateway_user]\nlimit = 1\n"));
    let cookie = logged_in(&home, &phone.code_at(NOW, -1));
    let asked = home.ask_one(&authorize(json!({"cookie": cookie})));
    assert_eq!(asked.told(), "need_info");
    // Another session, to another target, takes the one slot meanwhile.
    home.set("authorize", "require_proof", "no");
    let other = json!({"session_id": "s2", "server_hostname": "web1"});
    let first = home.ask_one(&authorize(other.clone()));
    assert_eq!(first.told(), "accept");
    let cookie = logged_in(&home, &phone.code_at(NOW, 0));
    let asked = home.ask_one(&authorize(json!({"cookie": cookie})));
    assert_eq!(home.ask_one(&typed(&phone.code_at(NOW, 1), asked.cookie())).told(), "policy_denied/connection_limit");
    home.ask_one(&json!({"type": "session_ended", "id": 1, "session_id": "s2"}));
    home.set_clock(NOW + 60);
    let asked = home.ask_one(&authorize(json!({"cookie": cookie})));
    assert_eq!(home.ask_one(&authorize(other.clone())).told(), "accept", "the question holds none");
    home.ask_one(&json!({"type": "session_ended", "id": 1, "session_id": "s2"}));
    let accept = home.ask_one(&typed(&phone.code_at(NOW + 60, 1), asked.cookie()));
    assert_eq!(accept.told(), "accept");
    assert_eq!(home.ask_one(&authorize(other.clone())).told(), "policy_denied/connection_limit");
    // The session keeps it through the next question.
    let asked = home.ask_one(&authorize(json!({"cookie": accept.cookie()})));
    assert_eq!(asked.told(), "need_info");
    home.set_clock(NOW + 120);
    assert_eq!(home.ask_one(&typed(&phone.code_at(NOW + 120, 1), asked.cookie())).told(), "accept");
    home.ask_one(&json!({"type": "session_ended", "id": 1, "session_id": "s1"}));
    assert_eq!(home.ask_one(&authorize(other)).told(), "accept");
}

#[test]
fn over_a_protocol_that_cannot_ask_it_is_a_push_and_each_authorize_needs_its_own() {
    let okta = Okta::start();
    let home = okta.home("[step_up]\nprotocols = http\n");
    home.set("authorize", "require_proof", "no");
    let mut gateway = Gateway::start(&home);
    let push = |id: u64| authorize(json!({"id": id, "protocol": "http"}));
    gateway.send(&push(1));
    okta.wait_for("GET", "/transactions/t1", 1);
    // The same session, at once: one approval is good for one of them.
    assert_eq!(gateway.ask(&push(2)).told(), "authentication_failure/push_outstanding");
    okta.press("alice", "SUCCESS");
    let accept = gateway.answer(1);
    assert_eq!((accept.told().as_str(), accept.factor.as_deref()), ("accept", Some("push")));
    // Sent again under the same name: asked again.
    okta.press("alice", "REJECTED");
    assert_eq!(gateway.ask(&push(1)).told(), "authentication_failure/push_refused");
    gateway.end().1.ok();
}

#[test]
fn a_session_that_ends_takes_the_push_of_its_step_up_with_it() {
    let okta = Okta::start();
    let home = okta.home("[step_up]\n");
    home.set("authorize", "require_proof", "no");
    let mut gateway = Gateway::start(&home);
    gateway.send(&authorize(json!({"id": 1, "protocol": "http"})));
    okta.wait_for("GET", "/transactions/t1", 1);
    let ended = json!({"type": "session_ended", "id": 2, "session_id": "s1", "gateway_user": "alice"});
    assert_eq!(gateway.ask(&ended).told(), "accept");
    assert_eq!(gateway.answer(1).told(), "policy_denied/cancelled");
    okta.wait_for("DELETE", "/transactions/t1", 1);
    gateway.end().1.ok();
}

#[test]
fn explain_shows_the_step() {
    let (home, phone) = home(RULE);
    let cookie = logged_in(&home, &phone.code_at(NOW, -1));
    let explain = |request: Value| home.run(&["explain"], request.to_string()).ok().stdout;
    let asked = explain(authorize(json!({"cookie": cookie})));
    assert!(asked.contains("step_up   [step_up] wants a fresh proof"), "{asked}");
    assert!(asked.contains("need_info"), "{asked}");
    let other = explain(authorize(json!({"cookie": cookie, "server_hostname": "web1"})));
    assert!(other.contains("step_up   [step_up] is not about this session"), "{other}");
}

#[test]
fn the_section_is_read_strictly() {
    for (section, part) in [
        ("[step_up]\nmax_age = 601\n", "[step_up] max_age: expected seconds from 0 to 600"),
        ("[step_up]\nprotocols = ssh,,rdp\n", "[step_up] protocols: expected names separated by commas"),
        ("[step_up]\ntarget = db1\n", "[step_up] target: unknown option; did you mean targets?"),
        ("[stepup]\n", "[stepup]: unknown section; did you mean [step_up]?"),
    ] {
        let (home, _) = home(section);
        let finished = home.run(&["check"], "");
        assert!(finished.status == Some(78) && finished.stderr.contains(part), "{finished:?}");
    }
}

/// A call of the SPS dialect; the dict of its verdict.
fn call(home: &Home, hook: &str, cookie: &Value, pairs: Value) -> Value {
    let mut arguments = json!({
        "cookie": cookie, "session_cookie": {}, "session_id": "svc/s-1:1", "protocol": "ssh", "connection_name": "c",
        "client_ip": "192.0.2.10", "client_port": 50022, "client_hostname": null, "gateway_user": "alice",
        "gateway_domain": null, "server_username": "root", "server_domain": null, "key_value_pairs": pairs,
    });
    if hook == "authorize" {
        arguments["gateway_groups"] = json!([]);
        arguments["server_ip"] = "198.51.100.7".into();
        arguments["server_port"] = 22.into();
        arguments["server_hostname"] = "db1.corp.example".into();
    }
    let line = json!({"hook": hook, "arguments": arguments});
    let finished = home.run(&["gateway", "sps"], format!("{line}\n")).ok();
    serde_json::from_str(&finished.stdout).unwrap()
}

#[test]
fn sps_asks_by_needinfo_and_takes_no_code_of_the_login_for_an_answer() {
    let (home, phone) = home(RULE);
    let login = json!({"otp": phone.code_at(NOW, -1)});
    let accept = call(&home, "authenticate", &json!({}), login.clone());
    assert_eq!(accept["verdict"], "ACCEPT");
    // The gateway hands on what was typed at the login.
    let asked = call(&home, "authorize", &accept["cookie"], login);
    assert_eq!((&asked["verdict"], &asked["question"][0]), (&json!("NEEDINFO"), &json!("otp")), "{asked}");
    let answer = json!({"otp": phone.code_at(NOW, 0)});
    let goes_on = call(&home, "authorize", &asked["cookie"], answer.clone());
    assert_eq!(goes_on["verdict"], "ACCEPT", "{goes_on}");
    let metadata = goes_on["additional_metadata"].as_str().unwrap();
    assert!(metadata.contains("gave a fresh proof: verified"), "{metadata}");
    assert_eq!(call(&home, "authorize", &asked["cookie"], answer)["verdict"], "NEEDINFO");
}

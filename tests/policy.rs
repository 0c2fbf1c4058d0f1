//! Session policy in the native protocol: who needs no second factor, for how long one counts, under which name it is asked
//! for, what is asked after it, and how many sessions there may be.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use rig::faults::Blackhole;
use rig::http::Response;
use rig::slapd::{Slapd, User};
use rig::web::Web;
use rig::{Answer, Gateway, Home, Phone, attempt, request};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;

const CACHE: &str = "[authentication_cache]\nreuse_limit = 2\nsoft_timeout = 15\nhard_timeout = 90\n";

/// alice and bob, each with a phone, at a time that stands still; and these sections.
fn home(sections: &str) -> (Home, Phone) {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone), ("bob", &Phone::new(2))]);
    home.set_clock(NOW);
    home.append(sections);
    (home, phone)
}

/// A home whose first client is a service that answers `response` to each code.
fn served(sections: &str, response: Response) -> (Home, Web) {
    let web = Web::always(response);
    let home = Home::init();
    home.set("plugin", "clients", "http corp, totp");
    home.set_clock(NOW);
    home.append(&format!(
        "[http corp]\nurl = {}\nallow_insecure_http = yes\n[http corp otp]\nrequest = POST /otp\n\
         json = {{\"user\": \"{{user}}\", \"code\": \"{{otp}}\"}}\nsuccess = /ok = true\nfailure = /ok = false\n{sections}",
        web.url("")
    ));
    (home, web)
}

fn yes() -> Response {
    Response::json(200, &json!({"ok": true}))
}

/// One of alice's requests in the session `s1` from 192.0.2.7 over ssh, with `more`.
fn of_alice(more: Value) -> Value {
    let mut facts = json!({"session_id": "s1", "client_ip": "192.0.2.7"});
    for (key, value) in more.as_object().unwrap() {
        facts[key] = value.clone();
    }
    request(1, "alice", facts)
}

fn typed(code: &str) -> Value {
    of_alice(json!({"key_value_pairs": {"otp": code}}))
}

fn basis(answer: &Answer) -> String {
    match &answer.basis {
        Some(basis) => format!("{} {basis}", answer.verdict()),
        None => answer.told(),
    }
}

// --------------------------------------------------------------------------------------------------------- exemptions

#[test]
fn a_user_list_exempts_in_both_directions_and_nobody_evades_it_by_a_spelling() {
    for (allow, alice, other) in
        [("no_user", "accept user_list", "need_info"), ("all_users", "need_info", "accept user_list")]
    {
        let (home, _) = home(&format!(
            "[whitelist source=user_list]\nname = vips\n[user_list vips]\nallow = {allow}\nexcept = alice, carol\n"
        ));
        assert_eq!(basis(&home.ask_one(&of_alice(json!({})))), alice);
        for spelling in ["Alice", "alice ", "\u{ff41}lice", "alice\u{200b}"] {
            assert_eq!(basis(&home.ask_one(&request(1, spelling, json!({})))), "need_info", "{allow} {spelling}");
        }
        assert_eq!(basis(&home.ask_one(&request(1, "zoe", json!({})))), other);
    }
}

#[test]
fn an_exempt_session_is_authorized_by_its_cookie() {
    let (home, _) =
        home("[whitelist source=user_list]\nname = vips\n[user_list vips]\nexcept = alice\nallow = no_user\n");
    let accept = home.ask_one(&of_alice(json!({})));
    assert_eq!((accept.factor.as_deref(), accept.reason()), (None, "[user_list vips] exempts this user"));
    let authorize = |cookie: &str| of_alice(json!({"type": "authorize", "cookie": cookie}));
    assert_eq!(home.ask_one(&authorize(accept.cookie())).told(), "accept");
    assert_eq!(home.ask_one(&authorize("")).told(), "policy_denied/not_authenticated");
}

// -------------------------------------------------------------------------------------------------------------- cache

#[test]
fn a_verification_counts_for_a_while_from_the_same_address_and_costs_no_call() {
    let (home, web) = served(CACHE, yes());
    let ask = |at: u64, more: Value| {
        home.set_clock(at);
        basis(&home.ask_one(&of_alice(more)))
    };
    assert_eq!(ask(NOW, json!({})), "need_info");
    assert_eq!(ask(NOW, json!({"key_value_pairs": {"otp": "1"}})), "accept");
    assert_eq!(ask(NOW + 15, json!({"session_id": "s2"})), "accept cached");
    assert_eq!(ask(NOW + 16, json!({"client_ip": "192.0.2.8"})), "need_info", "another address");
    assert_eq!(ask(NOW + 30, json!({"protocol": "rdp", "server_username": "x"})), "accept cached");
    assert_eq!(ask(NOW + 31, json!({})), "need_info", "used twice");
    assert_eq!(web.requests().len(), 1, "only the code was asked about");
    // Where nobody says an address, nobody is known to be where they were.
    let nowhere = |more: Value| {
        let mut facts = more;
        facts["client_ip"] = Value::Null;
        facts["client_hostname"] = json!("bastion");
        facts
    };
    assert_eq!(ask(NOW + 32, nowhere(json!({"key_value_pairs": {"otp": "1"}}))), "accept");
    assert_eq!(ask(NOW + 33, nowhere(json!({}))), "need_info");
    // Whoever types a code though a verification counts still, is let in by that.
    assert_eq!(ask(NOW + 40, json!({"key_value_pairs": {"otp": "2"}})), "accept");
    assert_eq!(ask(NOW + 56, json!({})), "need_info", "not used for too long");
    assert_eq!(ask(NOW + 45, json!({})), "need_info", "a clock set back revives nothing");
    assert_eq!(web.requests().len(), 3);
}

#[test]
fn a_clock_set_back_revives_no_verification() {
    let (home, web) = served(&CACHE.replace("reuse_limit = 2", "reuse_limit = -1"), yes());
    let ask = |at: u64, more: Value| {
        home.set_clock(at);
        basis(&home.ask_one(&of_alice(more)))
    };
    assert_eq!(ask(NOW, json!({"key_value_pairs": {"otp": "1"}})), "accept");
    assert_eq!(ask(NOW - 1, json!({})), "need_info", "it was made later than now");
    assert_eq!(ask(NOW + 1, json!({})), "need_info", "and does not come back");
    assert_eq!(web.requests().len(), 1);
}

#[test]
fn what_is_no_verification_is_not_remembered() {
    // An exempt user, who then is exempt no more.
    let (home, _) = served(
        &format!(
            "{CACHE}[whitelist source=user_list]\nname = vips\n[user_list vips]\nallow = no_user\nexcept = alice\n"
        ),
        yes(),
    );
    assert_eq!(basis(&home.ask_one(&of_alice(json!({})))), "accept user_list");
    let ini = fs::read_to_string(home.ini()).unwrap();
    fs::write(home.ini(), ini.replace("except = alice", "except = bob")).unwrap();
    assert_eq!(basis(&home.ask_one(&of_alice(json!({})))), "need_info");

    // A service that is not reached, and then is.
    let (home, web) = served(CACHE, yes());
    home.set("http corp", "on_unreachable", "accept");
    let ini = fs::read_to_string(home.ini()).unwrap();
    fs::write(home.ini(), ini.replace(&web.url(""), "http://127.0.0.1:1/")).unwrap();
    let open = home.ask_one(&typed("1"));
    assert_eq!((open.told().as_str(), open.degraded), ("accept", Some(true)));
    assert_eq!(basis(&home.ask_one(&of_alice(json!({})))), "need_info");
    fs::write(home.ini(), ini).unwrap();
    assert_eq!(basis(&home.ask_one(&of_alice(json!({})))), "need_info");

    // A wrong code.
    let (home, _web) = served(CACHE, Response::json(200, &json!({"ok": false})));
    assert_eq!(home.ask_one(&typed("1")).code(), "wrong_code");
    assert_eq!(basis(&home.ask_one(&of_alice(json!({})))), "need_info");
}

#[test]
fn a_remembered_verification_goes_with_the_authenticator_and_with_the_configuration() {
    let (home, phone) = home(CACHE);
    let log_in = |offset| home.ask_one(&typed(&phone.code_at(NOW, offset))).told();
    assert_eq!(log_in(0), "accept");
    assert_eq!(basis(&home.ask_one(&of_alice(json!({})))), "accept cached");
    home.set("auth", "prompt", "Another question:");
    assert_eq!(basis(&home.ask_one(&of_alice(json!({})))), "need_info");
    assert_eq!(log_in(1), "accept");
    home.run(&["remove", "alice", "--override-reason", "test"], "").ok();
    assert_eq!(basis(&home.ask_one(&of_alice(json!({})))), "need_info");
}

#[test]
fn of_many_at_once_no_more_than_the_limit_reuse_one_verification() {
    let (home, phone) = home(&CACHE.replace("reuse_limit = 2", "reuse_limit = 7"));
    assert_eq!(home.ask_one(&typed(&phone.code_at(NOW, 0))).told(), "accept");
    let told: Vec<String> = thread::scope(|scope| {
        let racers: Vec<_> = (0..24)
            .map(|racer| {
                let mut command = home.command(&["serve"]);
                let line = of_alice(json!({"session_id": format!("r{racer}")}));
                scope.spawn(move || {
                    let finished = rig::finish(&mut command, format!("{line}\n").as_bytes()).ok();
                    basis(&Answer::parse(finished.stdout.trim_end().as_bytes()))
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(told.iter().filter(|told| *told == "accept cached").count(), 7, "{told:?}");
    assert_eq!(told.iter().filter(|told| *told == "need_info").count(), 17, "{told:?}");
}

// ------------------------------------------------------------------------------------------------------------ mapping

#[test]
fn the_name_at_the_client_is_mapped_and_failures_count_for_it() {
    let phone = Phone::new(1);
    let home = Home::with(&[("a.smith@corp.example", &phone)]);
    home.set_clock(NOW);
    home.append("[usermapping source=explicit]\nalice = a.smith\n[username_transform]\nappend_domain = corp.example\n");
    let accept = home.ask_one(&attempt(1, "ALICE", &phone.code_at(NOW, 0)));
    assert_eq!(accept.told(), "accept");
    assert_eq!(accept.gateway_user.as_deref(), Some("ALICE"));
    assert_eq!(accept.mfa_identity.as_deref(), Some("a.smith@corp.example"));
    // Under whichever name: it is one subscriber.
    let guess = |name: &str| {
        let more = json!({"client_ip": "203.0.113.9", "key_value_pairs": {"otp": "000000"}});
        home.ask_one(&request(1, name, more)).code().to_owned()
    };
    for (name, count) in [("alice", 3), ("a.smith@corp.example", 3)] {
        for _ in 0..count {
            assert_eq!(guess(name), "wrong_code");
        }
    }
    assert_eq!(guess("alice"), "throttled");
}

// ---------------------------------------------------------------------------------------------------------- directory

/// What slapd was asked: each search, by its filter.
fn searches(slapd: &Slapd, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    let deadline = Instant::now() + rig::PATIENCE;
    // slapd writes its log when it has time to.
    while found.len() < count && Instant::now() < deadline {
        let lines = slapd.log();
        found.extend(lines.into_iter().filter(|line| line.contains(" SRCH base=")));
        thread::yield_now();
    }
    found
}

fn people() -> Option<Slapd> {
    let users = [
        User::new("alice").with("mail", &["alice@corp.example"]),
        User::new("bob").with("mail", &["bob@corp.example", "bobby@corp.example"]),
        User::new("a.smith").with("mail", &["smith@corp.example"]),
        User::new("carol"),
    ];
    Slapd::start(&users, &[("admins", &["alice"]), ("dba", &["bob"])])
}

#[test]
fn a_directory_group_exempts_in_both_directions_and_nobody_whom_the_directory_does_not_know() {
    let Some(slapd) = people() else { return };
    for (allow, expected) in [
        (
            "no_user",
            [("alice", "accept directory_group"), ("bob", "need_info"), ("carol", "need_info"), ("zoe", "need_info")],
        ),
        (
            "all_users",
            [
                ("alice", "need_info"),
                ("bob", "accept directory_group"),
                ("carol", "accept directory_group"),
                ("zoe", "need_info"),
            ],
        ),
    ] {
        let (home, _) = home(&format!(
            "[ldap_server]\nname = corp\n{}[whitelist source=ldap_server_group]\nallow = {allow}\n\
             except = ADMINS, cn=nobody,ou=groups,dc=corp,dc=example\n",
            slapd.ini("corp")
        ));
        for (name, expected) in expected {
            assert_eq!(basis(&home.ask_one(&request(1, name, json!({})))), expected, "{allow} {name}");
        }
        for name in ["*", "a*", "alice)(uid=*", "bob\\00", "alice,ou=people", "\u{202e}alice"] {
            assert_eq!(basis(&home.ask_one(&request(1, name, json!({})))), "need_info", "{allow} {name}");
        }
    }
}

#[test]
fn a_directory_tells_the_name_once_for_a_whole_login() {
    let Some(slapd) = people() else { return };
    let phone = Phone::new(1);
    let home = Home::with(&[("smith@corp.example", &phone), ("carol@x.example", &Phone::new(2))]);
    home.set_clock(NOW);
    home.append(&format!(
        "[ldap_server]\nname = corp\n{}[usermapping source=explicit]\nalice = a.smith\n\
         [usermapping source=ldap_server]\nuser_attribute = MAIL\n[username_transform]\nappend_domain = x.example\n",
        slapd.ini("corp")
    ));
    // The directory looks up what the explicit mapping made of the name.
    let asked = home.ask_one(&of_alice(json!({})));
    assert_eq!(asked.verdict(), "need_info");
    let answer = json!({"cookie": asked.cookie(), "key_value_pairs": {"otp": phone.code_at(NOW, 0)}});
    let accept = home.ask_one(&of_alice(answer));
    assert_eq!((accept.told().as_str(), accept.mfa_identity.as_deref()), ("accept", Some("smith@corp.example")));
    let authorize = of_alice(json!({"type": "authorize", "cookie": accept.cookie()}));
    assert_eq!(home.ask_one(&authorize).told(), "accept");
    home.ask_one(&of_alice(json!({"type": "session_ended", "cookie": accept.cookie()})));
    // Whoever has no such attribute goes on as they are, and it is said.
    let carol = home.ask_one(&attempt(1, "carol", "000000"));
    assert_eq!(carol.code(), "wrong_code");
    assert!(carol.reason().ends_with("directory corp: no MAIL is known of this user: the name goes on as it is"));
    let searches = searches(&slapd, 2);
    assert_eq!(searches.len(), 2, "{searches:?}");
    assert!(searches[0].contains("uid=a.smith") && searches[1].contains("uid=carol"), "{searches:?}");
}

#[test]
fn where_the_directory_is_in_trouble_a_second_factor_is_needed_and_reason_and_log_say_so() {
    let Some(mut slapd) = people() else { return };
    let (home, phone) = home(&format!(
        "[ldap_server]\nname = corp\n{}[whitelist source=ldap_server_group]\nallow = all_users\nexcept = dba\n\
         [usermapping source=ldap_server]\nuser_attribute = mail\n",
        slapd.ini("corp")
    ));
    assert_eq!(basis(&home.ask_one(&of_alice(json!({})))), "accept directory_group");
    slapd.kill();
    let asked = home.ask_one(&of_alice(json!({})));
    assert_eq!(asked.verdict(), "need_info");
    assert!(
        home.log().contains(" WARN ") && home.log().contains("directory corp could not be asked"),
        "{}",
        home.log()
    );
    // What went wrong then is said of the accept, too, and the directory is not asked again for this login.
    slapd.restart();
    let answer = json!({"cookie": asked.cookie(), "key_value_pairs": {"otp": phone.code_at(NOW, 0)}});
    let accept = home.ask_one(&of_alice(answer));
    assert_eq!((accept.told().as_str(), accept.mfa_identity.as_deref()), ("accept", Some("alice")));
    assert!(accept.reason().contains("a second factor is needed"), "{}", accept.reason());
    assert!(accept.reason().contains("the name goes on as it is"), "{}", accept.reason());
    assert!(!home.log().contains(rig::slapd::PASSWORD));
}

#[test]
fn a_directory_that_says_nothing_costs_no_verdict_its_deadline() {
    let silent = Blackhole::new();
    let (home, _) = home(&format!(
        "[ldap_server]\nname = corp\n[ldap_server corp]\nurl = ldap://{}\nallow_insecure_ldap = yes\nbase_dn = dc=x\ntimeout = 1\n\
         [whitelist source=ldap_server_group]\nallow = all_users\nexcept = dba\n",
        silent.host()
    ));
    home.set("plugin", "deadline", "30");
    assert_eq!(basis(&home.ask_one(&of_alice(json!({})))), "need_info");
    // Nor where the verdict has less time than the directory.
    home.set("ldap_server corp", "timeout", "60");
    let hurried = home.ask_one(&of_alice(json!({"deadline_ms": 1000})));
    assert_ne!(hurried.verdict(), "accept");
}

// ---------------------------------------------------------------------------------------------------------- questions

const QUESTIONS: &str = "[question_1]\nprompt = Ticket:\nkey = ticket\n[question_2]\nprompt = Why?\nkey = why\n\
    disable_echo = no\n[connection_limit by=client_ip_gateway_user]\nlimit = 1\n";

#[test]
fn a_session_goes_from_process_to_process_with_nothing_but_its_cookies() {
    let (home, phone) = home(QUESTIONS);
    let mut kept = json!({"session_cookie": {"of": {"another": ["plugin", 1, true, null]}}});
    let mut step = |request: Value| {
        let mut request = of_alice(request);
        for (key, value) in kept.as_object().unwrap() {
            request[key] = value.clone();
        }
        // One process each, which ends.
        let answer = home.ask_one(&request);
        for (key, value) in
            [("cookie", answer.cookie.clone().map(Value::String)), ("session_cookie", answer.session_cookie.clone())]
        {
            value.into_iter().for_each(|value| kept[key] = value);
        }
        answer
    };
    let asked = step(json!({}));
    assert_eq!(asked.question.unwrap().key, "otp");
    let ticket = step(json!({"key_value_pairs": {"otp": phone.code_at(NOW, 0)}}));
    let question = ticket.question.unwrap();
    assert_eq!((question.key.as_str(), question.prompt.as_str(), question.disable_echo), ("ticket", "Ticket: ", true));
    assert_eq!(ticket.session_cookie.unwrap()["questions"], json!({}));
    // The gateway does not send the code again.
    let why = step(json!({"key_value_pairs": {"ticket": "T-1"}}));
    assert_eq!(why.question.map(|q| (q.key, q.disable_echo)), Some(("why".into(), false)));
    let accept = step(json!({"key_value_pairs": {"why": "because \u{202e}"}}));
    assert_eq!((accept.told().as_str(), accept.factor.as_deref()), ("accept", Some("totp")));
    assert_eq!(
        accept.session_cookie.unwrap(),
        json!({
            "of": {"another": ["plugin", 1, true, null]},
            "questions": {"ticket": "T-1", "why": "because \u{202e}"},
        })
    );
    let authorized = step(json!({"type": "authorize", "server_ip": "198.51.100.7"}));
    assert_eq!(authorized.told(), "accept");
    assert_eq!(step(json!({"type": "authorize"})).told(), "accept", "the same session keeps its slot");
    let other = |kind: &str| home.ask_one(&of_alice(json!({"type": kind, "session_id": "s2"}))).told();
    home.set("authorize", "require_proof", "no");
    assert_eq!(other("authorize"), "policy_denied/connection_limit");
    assert_eq!(home.ask_one(&json!({"type": "session_ended", "id": 1, "session_id": "s1"})).told(), "accept");
    assert_eq!(other("authorize"), "accept");
    assert!(!home.log().contains("T-1"), "{}", home.log());
}

#[test]
fn questions_that_were_answered_ahead_are_not_put_and_none_is_put_after_a_reject() {
    let (home, phone) = home(QUESTIONS);
    let all = json!({"otp": phone.code_at(NOW, 0), "ticket": "", "why": "w"});
    let accept = home.ask_one(&of_alice(json!({"key_value_pairs": all})));
    assert_eq!(accept.told(), "accept");
    assert_eq!(accept.session_cookie.unwrap(), json!({"questions": {"ticket": "", "why": "w"}}));
    let reject = home.ask_one(&typed("000000"));
    assert_eq!(reject.code(), "wrong_code");
    assert!(reject.session_cookie.is_none());
}

#[test]
fn what_waits_for_an_answer_is_let_in_once_and_by_nobody_else() {
    let (home, phone) = home(QUESTIONS);
    let asked = home.ask_one(&typed(&phone.code_at(NOW, 0)));
    let answers = json!({"ticket": "1", "why": "2"});
    let with = |cookie: &str, more: Value| {
        let mut request = of_alice(json!({"cookie": cookie, "key_value_pairs": answers}));
        for (key, value) in more.as_object().unwrap() {
            request[key] = value.clone();
        }
        home.ask_one(&request)
    };
    // Without the cookie, from another session, by somebody else, from the future: a code is asked for.
    assert_eq!(with("", json!({})).question.unwrap().key, "otp");
    assert_eq!(with(asked.cookie(), json!({"session_id": "s2"})).question.unwrap().key, "otp");
    assert_eq!(with(asked.cookie(), json!({"gateway_user": "bob"})).question.unwrap().key, "otp");
    let warned =
        home.log().lines().filter(|line| line.contains(" WARN ") && line.contains("cookie=\"foreign\"")).count();
    assert_eq!(warned, 2, "{}", home.log());
    home.set_clock(NOW + 601);
    assert_eq!(with(asked.cookie(), json!({})).question.unwrap().key, "otp");
    assert!(home.log().lines().any(|line| line.contains(" WARN ") && line.contains("cookie=\"expired\"")));
    home.set_clock(NOW);
    // An authorize it proves nothing to.
    let authorize = of_alice(json!({"type": "authorize", "cookie": asked.cookie()}));
    assert_eq!(home.ask_one(&authorize).code(), "not_authenticated");
    assert_eq!(with(asked.cookie(), json!({})).told(), "accept");
    assert_eq!(with(asked.cookie(), json!({})).code(), "challenge_gone");
}

#[test]
fn questions_come_after_an_exemption_and_after_a_remembered_verification_too() {
    let (home, phone) = home(&format!(
        "{QUESTIONS}{CACHE}[whitelist source=user_list]\nname = v\n[user_list v]\nallow = no_user\nexcept = zoe\n"
    ));
    let zoe = |cookie: &str, answers: Value| {
        home.ask_one(&request(1, "zoe", json!({"session_id": "z", "cookie": cookie, "key_value_pairs": answers})))
    };
    let asked = zoe("", json!({}));
    assert_eq!(asked.question.as_ref().unwrap().key, "ticket");
    assert_eq!(basis(&zoe(asked.cookie(), json!({"ticket": "1", "why": "2"}))), "accept user_list");
    let asked = home.ask_one(&typed(&phone.code_at(NOW, 0)));
    assert_eq!(asked.question.unwrap().key, "ticket");
    // It counts, though its session went no further than to the question.
    let asked = home.ask_one(&of_alice(json!({"session_id": "s2"})));
    assert_eq!(asked.question.as_ref().unwrap().key, "ticket");
    let answers = json!({"ticket": "1", "why": "2"});
    let done = of_alice(json!({"session_id": "s2", "cookie": asked.cookie(), "key_value_pairs": answers}));
    assert_eq!(basis(&home.ask_one(&done)), "accept cached");
}

#[test]
fn the_claimant_is_decided_anew_when_a_later_request_knows_more() {
    let (home, phone) = home("");
    let nobody = home.ask_one(&json!({"type": "authenticate", "id": 1, "session_id": "s1", "protocol": "ssh"}));
    assert_eq!(nobody.code(), "no_claimant");
    let first = home.ask_one(&json!({"type": "authenticate", "id": 1, "session_id": "s1", "protocol": "ssh",
        "server_username": "root"}));
    assert_eq!(first.verdict(), "need_info");
    let code = phone.code_at(NOW, 0);
    let later = of_alice(json!({"cookie": first.cookie(), "key_value_pairs": {"otp": code}}));
    let accept = home.ask_one(&later);
    assert_eq!((accept.told().as_str(), accept.gateway_user.as_deref()), ("accept", Some("alice")));
}

// -------------------------------------------------------------------------------------------------------------- limit

const LIMIT: &str = "[connection_limit by=client_ip_gateway_user]\nlimit = 5\n";

fn authorize(session: &str, more: Value) -> Value {
    let mut facts = json!({"type": "authorize", "session_id": session});
    for (key, value) in more.as_object().unwrap() {
        facts[key] = value.clone();
    }
    of_alice(facts)
}

#[test]
fn of_64_parallel_sessions_of_one_user_exactly_5_are_let_in_and_one_more_after_one_ended() {
    let (home, _) = home(LIMIT);
    home.set("authorize", "require_proof", "no");
    let answers: Vec<(usize, Answer)> = thread::scope(|scope| {
        let sessions: Vec<_> = (0..64)
            .map(|session| {
                let mut command = home.command(&["serve"]);
                let line = authorize(&format!("s{session}"), json!({}));
                scope.spawn(move || {
                    let finished = rig::finish(&mut command, format!("{line}\n").as_bytes()).ok();
                    (session, Answer::parse(finished.stdout.trim_end().as_bytes()))
                })
            })
            .collect();
        sessions.into_iter().map(|session| session.join().unwrap()).collect()
    });
    let is_in = |answer: &Answer| answer.verdict() == "accept";
    let (inside, outside): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| is_in(answer));
    println!("{} of 64 were let in", inside.len());
    assert_eq!(inside.len(), 5);
    assert!(outside.iter().all(|(_, answer)| answer.told() == "policy_denied/connection_limit"));
    let ended = format!("s{}", inside[0].0);
    // The request knows nothing but the session.
    home.ask_one(&json!({"type": "session_ended", "id": 1, "session_id": ended}));
    let more: BTreeSet<String> =
        outside.iter().take(3).map(|(n, _)| home.ask_one(&authorize(&format!("s{n}"), json!({}))).told()).collect();
    assert_eq!(more, BTreeSet::from(["accept".to_owned(), "policy_denied/connection_limit".to_owned()]));
    // The same within one process, for another user.
    let requests: Vec<Value> = (0..64)
        .map(|n| {
            let facts = json!({"type": "authorize", "session_id": format!("b{n}"), "client_ip": "192.0.2.7"});
            request(n, "bob", facts)
        })
        .collect();
    assert_eq!(home.ask(&requests).iter().filter(|answer| is_in(answer)).count(), 5);
}

#[test]
fn a_slot_belongs_to_its_user_and_address_and_is_free_when_it_is_stale() {
    let (home, _) = home("[connection_limit by=client_ip_gateway_user]\nlimit = 1\nstale_after = 3600\n");
    home.set("authorize", "require_proof", "no");
    let ask = |session: &str, more: Value| home.ask_one(&authorize(session, more));
    let first = ask("s1", json!({}));
    assert_eq!(first.told(), "accept");
    assert_eq!(ask("s2", json!({})).told(), "policy_denied/connection_limit");
    let spelt = ask("s2", json!({"gateway_user": "ALICE"}));
    assert_eq!(spelt.told(), "policy_denied/connection_limit", "another spelling is the same user");
    assert_eq!(ask("s3", json!({"client_ip": "192.0.2.8"})).told(), "accept");
    assert_eq!(ask("s4", json!({"client_ip": "2001:db8::1"})).told(), "accept");
    assert_eq!(ask("s5", json!({"client_ip": "2001:db8::2"})).told(), "accept", "addresses, not networks");
    // Without the cookie nobody knows that the session has one; with it, it keeps it.
    assert_eq!(ask("s1", json!({})).told(), "policy_denied/connection_limit");
    assert_eq!(ask("s1", json!({"cookie": first.cookie()})).told(), "accept");
    assert_eq!(ask("s2", json!({"cookie": first.cookie()})).told(), "policy_denied/connection_limit");
    for (missing, request) in
        [("session_id", authorize("", json!({}))), ("client_ip", authorize("s", json!({"client_ip": null})))]
    {
        let answer = home.ask_one(&request);
        assert_eq!(answer.told(), "policy_denied/uncounted");
        assert!(answer.reason().ends_with(missing), "{}", answer.reason());
    }
    home.set_clock(NOW + 3600);
    assert_eq!(ask("s6", json!({})).told(), "accept");
}

#[test]
fn a_negative_limit_lets_nobody_in_and_none_counts_nobody() {
    for (limit, expected) in [("-1", "policy_denied/connection_limit"), ("0", "accept")] {
        let (home, _) = home(&format!("[connection_limit by=client_ip_gateway_user]\nlimit = {limit}\n"));
        home.set("authorize", "require_proof", "no");
        for session in ["s1", "s2"] {
            assert_eq!(home.ask_one(&authorize(session, json!({}))).told(), expected, "{limit}");
        }
    }
}

#[test]
fn without_require_proof_authorize_says_that_none_came() {
    let (home, _) = home("");
    home.set("authorize", "require_proof", "no");
    let answer = home.ask_one(&authorize("s1", json!({"cookie": "x"})));
    assert_eq!(answer.told(), "accept");
    assert!(answer.reason().starts_with("no proof came"), "{}", answer.reason());
    assert!(home.log().lines().any(|line| line.contains(" WARN ") && line.contains("cookie=\"foreign\"")));
}

// -------------------------------------------------------------------------------------------------------------- names

/// Every file below `directory`.
fn files(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            } else {
                found.insert(entry.path().display().to_string());
            }
        }
    }
    found
}

#[test]
fn hostile_names_get_one_verdict_each_and_leave_no_file_and_no_line_of_their_own() {
    let everything =
        format!("{CACHE}{LIMIT}[question_1]\nprompt = T:\nkey = t\n[usermapping source=explicit]\nx = y\n");
    let (home, _web) = served(&everything, yes());
    home.set("authorize", "require_proof", "no");
    home.ask_one(&typed("1"));
    let before = files(home.dir().parent().unwrap());
    let names = [
        "../x".to_owned(),
        "a/b".into(),
        "../../../../../../tmp/countersign-escaped".into(),
        "x".repeat(300),
        "a\0b".into(),
        "a\nverdict=\"accept\"".into(),
        "a\u{202e}b\u{2066}".into(),
        "a\r\nb\u{85}\u{2028}c".into(),
    ];
    for name in &names {
        let mut gateway = Gateway::start(&home);
        for (session, kind) in [("1", "authenticate"), ("2", "authorize"), ("3", "session_ended")] {
            let facts = json!({"type": kind, "session_id": format!("{name}{session}"), "client_ip": name,
                "key_value_pairs": {"otp": "1", "t": name}});
            gateway.send(&request(session, name, facts));
        }
        let (answers, finished) = gateway.end();
        assert_eq!(finished.status, Some(0));
        assert_eq!(answers.len(), 3, "{name:?}");
    }
    assert_eq!(files(home.dir().parent().unwrap()), before);
    assert!(!Path::new("/tmp/countersign-escaped").exists());
    let log = home.log();
    assert!(!log.contains(|c: char| c.is_control() && c != '\n' || matches!(c, '\u{202e}' | '\u{2066}' | '\u{2028}')));
    assert_eq!(log.lines().filter(|line| !line.starts_with("20")).count(), 0, "{log}");
    assert_eq!(log.lines().count(), 1 + 3 * names.len(), "{log}");
}

// ------------------------------------------------------------------------------------------------------- explanations

#[test]
fn explain_says_what_each_rule_said_in_either_language_and_changes_nothing() {
    let Some(slapd) = people() else { return };
    let (home, phone) = home(&format!(
        "{CACHE}[ldap_server]\nname = corp\n{}[whitelist source=user_list]\nname = vips\n[user_list vips]\n\
         allow = no_user\nexcept = zoe\n[whitelist source=ldap_server_group]\nallow = no_user\nexcept = dba\n\
         [usermapping source=ldap_server]\nuser_attribute = mail\n[question_1]\nprompt = Why?\nkey = why\n",
        slapd.ini("corp")
    ));
    let told = |arguments: &[&str], line: &Value| {
        let done = home.run(arguments, format!("{line}\n")).ok();
        let said: Value = serde_json::from_str(&done.stdout).unwrap();
        let steps: Vec<String> =
            said["steps"].as_array().unwrap().iter().map(|step| step["step"].to_string()).collect();
        (steps.join(" ").replace('"', ""), said["verdict"].as_str().unwrap().to_owned())
    };
    let asked =
        ("claimant cookie exemption exemption cache mapping answer client throttle".to_owned(), "need_info".to_owned());
    for _ in 0..2 {
        assert_eq!(told(&["explain", "--json"], &of_alice(json!({}))), asked);
    }
    let call = json!({"hook": "authenticate", "arguments": {
        "cookie": {}, "session_cookie": {}, "session_id": "s1", "protocol": "ssh", "connection_name": "c",
        "client_ip": "192.0.2.7", "client_port": 1, "client_hostname": null, "gateway_user": "alice",
        "gateway_domain": null, "server_username": "root", "server_domain": null, "key_value_pairs": {},
    }});
    assert_eq!(told(&["explain", "--json", "--gateway", "sps"], &call), asked);
    let bob = told(&["explain", "--json"], &request(1, "bob", json!({})));
    assert_eq!(bob, ("claimant cookie exemption exemption questions".into(), "need_info".into()));
    // Nothing of all that was remembered.
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.code_at(NOW, 0))).code(), "not_enrolled");
    home.run(&["doctor", "--gateway", "sps", "ldap_server corp"], "").ok();
}

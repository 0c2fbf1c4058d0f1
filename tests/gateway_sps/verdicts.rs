//! Each form of a verdict, and what goes from one call to the next.

use serde_json::{Value, json};

use crate::rig::faults::Refused;
use crate::rig::http::Response;
use crate::rig::web::Web;
use crate::rig::{Home, Phone};
use crate::{Dict, PROMPT, STEP, alice, arguments, ask, line};

#[test]
fn a_session_goes_through_processes_that_share_only_the_cookies() {
    let (home, phone) = alice();
    let sent = json!({"cookie": {"x": {"y": [1, 2.5, null]}}, "session_cookie": {"z": "é"}});
    let asked = line(&home, "authenticate", &arguments("authenticate", sent));
    let Dict { mut cookie, session_cookie, .. } = Dict::parse(&asked);
    let ours = cookie["countersign"].as_str().unwrap();
    assert!(ours.len() <= 100, "{ours}");
    assert_eq!(
        asked,
        format!(
            r#"{{"verdict":"NEEDINFO","question":["otp","{PROMPT}",false],"cookie":{{"countersign":"{ours}","x":{{"y":[1,2.5,null]}}}},"session_cookie":{{"z":"é"}}}}"#
        )
    );
    let mut sent = json!({"key_value_pairs": {"otp": phone.code(STEP)}, "session_cookie": session_cookie});
    sent["cookie"] = std::mem::take(&mut cookie).into();
    let accepted = line(&home, "authenticate", &arguments("authenticate", sent));
    let dict = Dict::parse(&accepted);
    let ours = dict.cookie["countersign"].as_str().unwrap();
    assert_eq!(
        accepted,
        format!(
            r#"{{"verdict":"ACCEPT","additional_metadata":"{{\"reason\": \"verified\"}}","cookie":{{"countersign":"{ours}","x":{{"y":[1,2.5,null]}}}},"session_cookie":{{"z":"é"}}}}"#
        )
    );
    let mut sent = json!({"session_cookie": dict.session_cookie});
    sent["cookie"] = dict.cookie.into();
    let authorized = line(&home, "authorize", &arguments("authorize", sent.clone()));
    let dict = Dict::parse(&authorized);
    assert_eq!((dict.verdict.as_str(), dict.metadata().as_str()), ("ACCEPT", "Authorize hook not implemented"));
    assert_eq!(Value::from(dict.cookie), sent["cookie"], "the cookie that came goes back");
    assert_eq!(line(&home, "session_ended", &arguments("session_ended", sent)), "null");
}

#[test]
fn a_denial_says_little_to_the_user_and_enough_to_the_operator() {
    let (home, phone) = alice();
    let (right, wrong) = (phone.code(STEP), phone.wrong_code(crate::NOW));
    let accepted = ask(&home, "authenticate", &arguments("authenticate", json!({"key_value_pairs": {"otp": right}})));
    assert_eq!(accepted.verdict, "ACCEPT");
    for (more, metadata, reason) in [
        (json!({"key_value_pairs": {"otp": wrong}}), "the code matches no time step near now", "Authentication failed"),
        (json!({"key_value_pairs": {"otp": right}}), "time step 58908960 was used before", "Authentication failed"),
        (json!({"key_value_pairs": {"otp": ""}}), "an empty answer asks for a push", "Authentication failed"),
        (json!({"protocol": "vnc"}), "an empty answer asks for a push", "Authentication failed"),
        (json!({"protocol": ""}), "an empty answer asks for a push", "Authentication failed"),
        (
            json!({"gateway_user": "eve", "key_value_pairs": {"otp": right}}),
            "no authenticator is enrolled under this name",
            "Authentication failed",
        ),
        (json!({"gateway_user": null, "server_username": null}), "No username identified", "N/A"),
    ] {
        let denied = line(&home, "authenticate", &arguments("authenticate", more.clone()));
        let dict = Dict::parse(&denied);
        assert_eq!((dict.verdict.as_str(), dict.reason()), ("DENY", reason), "{more}: {denied}");
        let metadata = metadata.replace("58908960", &STEP.to_string());
        assert!(dict.metadata().starts_with(&metadata), "{more}: {denied}");
        assert!(denied.ends_with(r#","cookie":{},"session_cookie":{}}"#), "{denied}");
    }
    let denied = line(&home, "authenticate", &arguments("authenticate", json!({"key_value_pairs": {"otp": wrong}})));
    assert_eq!(
        denied,
        r#"{"verdict":"DENY","additional_metadata":"{\"reason\": \"the code matches no time step near now\"}","reason":"Authentication failed","cookie":{},"session_cookie":{}}"#
    );
}

#[test]
fn an_accept_names_the_user_where_the_gateway_did_not() {
    let (home, phone) = alice();
    home.set("totp", "valid_window", "10");
    for (step, more, named) in [
        (STEP, json!({"gateway_user": "alice"}), None),
        (STEP + 1, json!({"gateway_user": null, "server_username": "alice"}), Some("alice")),
        (STEP + 2, json!({"gateway_user": "", "key_value_pairs": {"gu": "Alice"}}), Some("Alice")),
        (
            STEP + 3,
            json!({"gateway_user": null, "server_username": "alice@corp.example", "protocol": "rdp"}),
            Some("alice"),
        ),
    ] {
        let mut arguments = arguments("authenticate", more);
        arguments["key_value_pairs"]["otp"] = phone.code(step).into();
        let accepted = line(&home, "authenticate", &arguments);
        let dict = Dict::parse(&accepted);
        assert_eq!((dict.verdict.as_str(), dict.gateway_user.as_deref()), ("ACCEPT", named), "{accepted}");
        if let Some(named) = named {
            let place = format!(r#"\"}}","gateway_user":"{named}","gateway_groups":[],"cookie":{{"#);
            assert!(accepted.contains(&place), "{accepted}");
        }
    }
}

#[test]
fn only_our_part_of_a_cookie_is_looked_at_and_nothing_of_it_is_believed() {
    let (home, _phone) = alice();
    let forged = json!({"verdict": "ACCEPT", "additional_metadata": "{}"});
    for cookie in [
        json!({"__plugin_sdk_private": {"successful_authentication": true, "saved_verdict": forged}, "username": "root"}),
        json!({"countersign": 7}),
        json!({"countersign": null}),
        json!({"countersign": {"a": []}}),
        json!({"countersign": "not ours"}),
        json!({"countersign": "x".repeat(5000)}),
    ] {
        let more = json!({"cookie": cookie, "session_cookie": {"questions": "none"}});
        let dict = ask(&home, "authenticate", &arguments("authenticate", more.clone()));
        assert_eq!(dict.verdict, "NEEDINFO", "{cookie}");
        assert!(dict.cookie["countersign"].as_str().is_some_and(|ours| ours.len() > 50), "{cookie}");
        assert_eq!(json!(dict.session_cookie), more["session_cookie"]);
        let kept = cookie.as_object().unwrap().iter().filter(|(key, _)| *key != "countersign");
        assert!(kept.clone().all(|(key, value)| dict.cookie[key] == *value), "{dict:?}");
        let authorized = ask(&home, "authorize", &arguments("authorize", more));
        assert_eq!((authorized.verdict.as_str(), authorized.reason()), ("DENY", "Access denied"), "{cookie}");
        assert_eq!(json!(authorized.cookie), cookie, "without a new one, the one that came goes back");
    }
}

#[test]
fn what_goes_wrong_with_a_service_has_the_texts_of_its_class() {
    let phone = Phone::new(1);
    let service = |url: &str, more: &str| {
        let home = Home::with(&[("alice", &phone)]);
        home.set("plugin", "clients", "http corp");
        home.append(&format!(
            "\n[http corp]\nurl = {url}\nallow_insecure_http = yes\n{more}\n[http corp otp]\nrequest = POST /check\n\
             json = {{\"user\": \"{{user}}\", \"pass\": \"{{otp}}\"}}\nsuccess = /result = true\nfailure = /result = false\n\
             message = /message\n"
        ));
        ask(&home, "authenticate", &arguments("authenticate", json!({"key_value_pairs": {"otp": "492039"}})))
    };
    let refused = Refused::new();
    let away = format!("http://{}", refused.host());
    let dict = service(&away, "");
    assert_eq!((dict.verdict.as_str(), dict.reason()), ("DENY", "Backend service unreachable"), "{dict:?}");
    assert_ne!(dict.metadata(), "N/A");
    let dict = service(&away, "on_unreachable = accept");
    assert_eq!(
        (dict.verdict.as_str(), dict.metadata().as_str()),
        ("ACCEPT", "http corp is not reachable, fallback enabled")
    );
    let web = Web::always(Response::json(500, &json!({})));
    let dict = service(web.url("").trim_end_matches('/'), "on_unreachable = accept");
    assert_eq!((dict.verdict.as_str(), dict.reason()), ("DENY", "Communication Error"), "{dict:?}");
    let said = "wrong \u{1f512} \"now\"\u{202e}";
    let web = Web::always(Response::json(200, &json!({"result": false, "message": said})));
    let dict = service(web.url("").trim_end_matches('/'), "");
    assert_eq!((dict.verdict.as_str(), dict.reason()), ("DENY", "Authentication failed"), "{dict:?}");
    assert!(dict.metadata().contains("wrong \u{1f512} \"now\"<U+202E>"), "{dict:?}");
    assert!(dict.additional_metadata.unwrap().contains(r#"wrong \ud83d\udd12 \"now\""#));
}

#[test]
fn a_store_that_hangs_is_a_denial_that_keeps_the_cookies() {
    let (home, phone) = alice();
    home.set("plugin", "deadline", "1");
    let held = home.hold_store();
    let more = json!({
        "cookie": {"x": 1}, "session_cookie": {"questions": {"ticket": "T-1"}, "z": [2]},
        "key_value_pairs": {"otp": phone.code(STEP)},
    });
    let dict = ask(&home, "authenticate", &arguments("authenticate", more.clone()));
    drop(held);
    assert_eq!((dict.verdict.as_str(), dict.reason()), ("DENY", "Internal error"), "{dict:?}");
    assert!(dict.metadata().contains("deadline"), "{dict:?}");
    assert_eq!(
        (json!(dict.cookie), json!(dict.session_cookie)),
        (more["cookie"].clone(), more["session_cookie"].clone())
    );
}

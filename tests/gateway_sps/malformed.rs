//! Calls that are not what the SDK takes, and lines that are no calls: one DENY each, which says why.

use serde_json::{Value, json};

use crate::{Dict, STEP, alice, arguments, ask, call, line, lines, refused};

const HOOKS: [&str; 3] = ["authenticate", "authorize", "session_ended"];

#[test]
fn every_argument_is_required_and_no_other_is_taken() {
    let (home, _phone) = alice();
    for hook in HOOKS {
        let whole = arguments(hook, json!({}));
        let mut calls = Vec::new();
        for name in whole.as_object().unwrap().keys() {
            let mut without = whole.clone();
            without.as_object_mut().unwrap().remove(name);
            calls.push((without, format!("{name}: is missing; {hook} needs it")));
        }
        for name in ["gateway_pasword", "server_port", "type", ""] {
            if whole.get(name).is_none() {
                let mut with = whole.clone();
                with[name] = Value::Null;
                calls.push((with, format!("{name}: {hook} has no such argument")));
            }
        }
        let mut with = whole.clone();
        with["gateway_password"] = "492039".into();
        let sentence = "has no such argument; a one-time password cannot come in it";
        calls.push((with, format!("gateway_password: {hook} {sentence}")));
        let input: String = calls.iter().map(|(arguments, _)| format!("{}\n", call(hook, arguments))).collect();
        let answers = lines(&home, input);
        assert_eq!(answers.len(), calls.len());
        for (answer, (_, expected)) in answers.iter().zip(&calls) {
            if hook == "session_ended" {
                assert_eq!(answer, "null", "{expected}");
            } else {
                assert_eq!(refused(&Dict::parse(answer)), *expected);
            }
        }
        assert!(calls.iter().all(|(_, expected)| home.log().contains(&format!("reason=\"{expected}\""))), "{hook}");
    }
    assert!(!home.log().contains("492039"));
}

#[test]
fn an_argument_of_a_wrong_type_is_refused_by_name_and_never_repeated() {
    let (home, _phone) = alice();
    let [texts, numbers, groups, objects] = [
        json!([7, true, ["CANARY"], {"CANARY": 1}]),
        json!(["CANARY", true, [1], {}, -1, 1.5, 70000]),
        json!(["CANARY", 1, {}, [1], [null]]),
        json!(["CANARY", 1, [], false]),
    ];
    for hook in ["authenticate", "authorize"] {
        let whole = arguments(hook, json!({}));
        let mut calls = Vec::new();
        for name in whole.as_object().unwrap().keys() {
            let wrong = match name.as_str() {
                "cookie" | "session_cookie" | "key_value_pairs" => &objects,
                "client_port" | "server_port" => &numbers,
                "gateway_groups" => &groups,
                _ => &texts,
            };
            calls.extend(wrong.as_array().unwrap().iter().map(|value| (name.as_str(), value.clone())));
        }
        calls.extend([1.into(), json!({}), json!(["CANARY"])].map(|otp| ("key_value_pairs", json!({"otp": otp}))));
        let with = |(name, value): &(&str, Value)| {
            let mut with = whole.clone();
            with[*name] = value.clone();
            format!("{}\n", call(hook, &with))
        };
        let answers = lines(&home, calls.iter().map(with).collect::<String>());
        assert_eq!(answers.len(), calls.len());
        for (answer, (name, value)) in answers.iter().zip(&calls) {
            let why = refused(&Dict::parse(answer));
            assert!(why.starts_with(&format!("{name}: expected ")), "{hook} {name}={value}: {why}");
        }
    }
    let ended = arguments("session_ended", json!({"session_id": 7}));
    assert_eq!(line(&home, "session_ended", &ended), "null");
    assert!(!home.log().contains("CANARY"));
}

#[test]
fn null_is_taken_only_where_nothing_depends_on_it() {
    let (home, phone) = alice();
    home.set("totp", "valid_window", "10");
    let required = ["cookie", "key_value_pairs"];
    let mut step = STEP - 10;
    for name in arguments("authenticate", json!({})).as_object().unwrap().keys() {
        let mut arguments = arguments("authenticate", json!({"key_value_pairs": {"otp": phone.code(step)}}));
        arguments[name] = Value::Null;
        if name == "gateway_user" {
            arguments["server_username"] = "alice".into();
        }
        let dict = ask(&home, "authenticate", &arguments);
        if required.contains(&name.as_str()) {
            assert_eq!(refused(&dict), format!("{name}: expected a value, found null"));
        } else {
            assert_eq!(dict.verdict, "ACCEPT", "{name}: {dict:?}");
            step += 1;
        }
    }
    let needs_protocol = "protocol: expected a string, found null, and the request depends on it";
    let otp = phone.code(step);
    for (hook, more) in [
        ("authenticate", json!({})),
        ("authenticate", json!({"key_value_pairs": {"otp": null}})),
        ("authenticate", json!({"gateway_user": null, "key_value_pairs": {"otp": otp}})),
        ("authenticate", json!({"gateway_user": null, "key_value_pairs": {"otp": otp, "username": "alice"}})),
        ("authorize", json!({"gateway_user": null})),
    ] {
        let mut arguments = arguments(hook, more.clone());
        arguments["protocol"] = Value::Null;
        assert_eq!(refused(&ask(&home, hook, &arguments)), needs_protocol, "{hook} {more}");
    }
    for more in [
        json!({"gateway_groups": null}),
        json!({"server_ip": null, "server_port": null}),
        json!({"protocol": null}),
        json!({"key_value_pairs": null}),
    ] {
        assert_eq!(ask(&home, "authorize", &arguments("authorize", more.clone())).reason(), "Access denied", "{more}");
    }
}

#[test]
fn a_line_that_is_no_call_is_one_denial() {
    let (home, _phone) = alice();
    let whole = call("authenticate", &arguments("authenticate", json!({}))).to_string();
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    let calls: Vec<(String, &str)> = vec![
        ("garbage".into(), "not JSON at column"),
        ("[]".into(), "a request is a JSON object, found an array"),
        ("null".into(), "a request is a JSON object, found null"),
        ("{}".into(), "hook: is missing"),
        (r#"{"hook":null,"arguments":{}}"#.into(), "hook: is missing"),
        (r#"{"hook":7,"arguments":{}}"#.into(), "hook: expected a string, found a number"),
        (r#"{"hook":"Authenticate","arguments":{}}"#.into(), "hook: expected authenticate, authorize or session_ended"),
        (r#"{"hook":"authenticate"}"#.into(), "arguments: is missing"),
        (r#"{"hook":"authenticate","arguments":[]}"#.into(), "arguments: expected an object, found an array"),
        (format!("{whole}{whole}"), "not JSON at column"),
        (whole.replacen('{', r#"{"hook":"authorize","#, 1), "the key \"hook\" is there twice"),
        (whole.replace(r#""cookie":{}"#, r#""cookie":{"a":1,"a":2}"#), "a key inside a field is there twice"),
        (whole.replace(r#""cookie":{}"#, &format!(r#""cookie":{{"a":{deep}}}"#)), "values are nested deeper than 32"),
        (
            whole.replace(r#""cookie":{}"#, &format!(r#""cookie":{{"a":"{}"}}"#, "x".repeat(70_000))),
            "the line is longer",
        ),
        (whole.replace("50022", "NaN"), "not JSON at column"),
    ];
    let input: String = calls.iter().map(|(line, _)| format!("{line}\n")).collect();
    let answers = lines(&home, [input.as_bytes(), b"{\"hook\":\"\xff\"}\n", b"{\"hook\":"].concat());
    assert_eq!(answers.len(), calls.len() + 2);
    for (answer, (line, expected)) in answers.iter().zip(&calls) {
        let why = refused(&Dict::parse(answer));
        assert!(why.starts_with(expected), "{line:.200}: {why}");
    }
    assert_eq!(refused(&Dict::parse(&answers[calls.len()])), "the line is not UTF-8");
    assert!(refused(&Dict::parse(&answers[calls.len() + 1])).starts_with("not JSON"));
}

#[test]
fn a_denied_call_keeps_the_cookies_that_could_be_read() {
    let (home, _phone) = alice();
    let (cookie, session_cookie) = (json!({"x": [1]}), json!({"questions": {"ticket": "T-1"}}));
    for more in [
        json!({"client_port": "22"}),
        json!({"gateway_password": "x"}),
        json!({"gateway_user": null, "key_value_pairs": null}),
        json!({"session_id": 7}),
    ] {
        let mut arguments = arguments("authorize", more);
        arguments["cookie"] = cookie.clone();
        arguments["session_cookie"] = session_cookie.clone();
        let dict = ask(&home, "authorize", &arguments);
        refused(&dict);
        assert_eq!((json!(dict.cookie), json!(dict.session_cookie)), (cookie.clone(), session_cookie.clone()));
    }
}

//! Who the claimant is.

use serde_json::{Value, json};

use crate::rig::{Home, Phone, request};
use crate::{NOW, STEP, alice};

#[test]
fn the_claimant_is_whom_the_gateway_names() {
    let phone = Phone::new(1);
    let names = ["alice", "carol", "root", "dave", "erin@corp", "dave@a"];
    let home = Home::init();
    home.set_clock(NOW);
    home.import_many(names.map(|name| (name, &phone)));
    home.set("totp", "valid_window", "10");
    // The fields of a request, and who it is about.
    let cases = [
        (json!({"gateway_user": "alice", "server_username": "root", "gu": "carol", "username": "dave"}), "alice"),
        (json!({"server_username": "root", "gu": "carol", "username": "dave"}), "carol"),
        (json!({"gateway_user": "", "server_username": "root", "gu": "carol"}), "carol"),
        (json!({"server_username": "root", "gu": "", "username": "dave"}), "root"),
        (json!({"server_username": null, "username": "dave"}), "dave"),
        (json!({"protocol": "rdp", "server_username": "dave@corp.example"}), "dave"),
        (json!({"protocol": "TSG", "username": "dave@corp.example"}), "dave"),
        (json!({"protocol": "rdp", "username": "dave@a@corp"}), "dave@a"),
        (json!({"protocol": "ssh", "server_username": "erin@corp"}), "erin@corp"),
        (json!({"protocol": "rdp", "gateway_user": "erin@corp"}), "erin@corp"),
    ];
    for (step, (fields, expected)) in (STEP - 10..).zip(cases) {
        // The answers `gu` and `username` were typed, the rest is the gateway's own.
        let mut pairs = json!({"otp": phone.code(step)});
        let mut more = json!({"gateway_user": null});
        for (field, value) in fields.as_object().unwrap() {
            let typed = ["gu", "username"].contains(&field.as_str());
            let into = if typed { &mut pairs } else { &mut more };
            into[field] = value.clone();
        }
        more["key_value_pairs"] = pairs;
        let answer = home.ask_one(&request(1, "", more));
        assert_eq!((answer.verdict(), answer.gateway_user.as_deref()), ("accept", Some(expected)), "{fields}");
    }
}

#[test]
fn a_request_that_names_nobody_is_refused() {
    let (home, phone) = alice();
    let code = phone.code(STEP);
    for more in [
        json!({}),
        json!({"key_value_pairs": {"otp": code}}),
        json!({"key_value_pairs": {"otp": code, "gu": "", "username": ""}, "server_username": ""}),
        json!({"protocol": "rdp", "server_username": "@corp"}),
        json!({"type": "authorize"}),
    ] {
        let mut request = request(1, "", more);
        request["gateway_user"] = Value::Null;
        let answer = home.ask_one(&request);
        assert_eq!(answer.told(), "policy_denied/no_claimant", "{request}");
        assert_eq!(answer.message.as_deref(), Some("Access denied"));
    }
}

#[test]
fn every_spelling_of_a_name_is_the_same_subscriber() {
    let (home, phone) = alice();
    for (step, spelling) in [(STEP - 1, "Alice"), (STEP, " ALICE\t"), (STEP + 1, "ａｌｉｃｅ")] {
        let answer = home.ask_one(&request(1, spelling, json!({"key_value_pairs": {"otp": phone.code(step)}})));
        assert_eq!((answer.verdict(), answer.gateway_user.as_deref()), ("accept", Some(spelling)));
        let again = home.ask_one(&request(1, "alice", json!({"key_value_pairs": {"otp": phone.code(step)}})));
        assert_eq!(again.code(), "used_code");
    }
}

#[test]
fn a_strange_name_is_a_stranger() {
    let (home, phone) = alice();
    let code = phone.code(STEP);
    for name in
        ["alice\0", "alice\n", "al\u{200b}ice", "alicе", "%", "'; --", "{}", &"x".repeat(60_000), "🔐", "\u{202e}ecila"]
    {
        let told = home.ask_one(&request(1, name, json!({"key_value_pairs": {"otp": code}}))).told();
        // White space at the ends of a name does not count.
        let expected = if name == "alice\n" { "accept" } else { "authentication_failure/not_enrolled" };
        assert_eq!(told, expected, "{name:?}");
    }
}

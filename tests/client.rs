//! `client list`: every client in use, as data.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::fs;

use rig::{Home, Phone, attempt};
use serde_json::{Value, json};

fn home_with(text: &str) -> Home {
    let home = Home::init();
    fs::write(home.ini(), text).unwrap();
    home
}

fn listed(home: &Home) -> Value {
    serde_json::from_str(&home.run(&["client", "list", "--json"], "").ok().stdout).unwrap()
}

const EVERY: &str = "[plugin]\nclients = duo, totp, hotp, privacyidea, okta, yubico, oidc, http codes\n\
    [duo]\nhost = api-1.duosecurity.com\nikey = file:i\nskey = file:s\nverified_push = yes\non_unreachable = client:http push\n\
    [privacyidea]\nurl = https://mfa.corp.example\nflavour = edumfa\n\
    [okta]\napi_url = https://corp.okta.com\napi_key = file:k\nnumber_challenge = no\n\
    [yubico]\nclient_id = 1\napi_key = file:k\n\
    [oidc]\nissuer = https://login.corp.example\nclient_id = gateway\n\
    [http codes]\nurl = https://codes.corp.example\ntitle = Corporate codes\n\
    [http codes otp]\nrequest = POST /check\nform = user={user}&code={otp}\nsuccess = /ok = true\n\
    [http push]\nurl = https://push.corp.example\n\
    [http push push_start]\nrequest = POST /push\nform = user={user}\npending = /sent = true\n\
    capture = id /id token; n /n digits 2\nshow = Choose {n}\n\
    [http push push_poll]\nrequest = GET /push/{id}\nsuccess = /ok = true\npending = /sent = true\n\
    [http sent]\nurl = https://sent.corp.example\n";

#[test]
fn every_client_in_use_is_listed_in_the_order_of_the_configuration() {
    // None of their secrets and services is there: nothing of that is asked.
    let home = home_with(&EVERY.replace("[http sent]\nurl = https://sent.corp.example\n", ""));
    let expected = json!([
        {"name": "duo", "title": "Duo", "type": "out-of-band", "channel": "push", "place": "remote", "default": true,
         "stands_in": false, "capabilities": ["codes", "push", "choose-by-number", "send"]},
        {"name": "totp", "title": "Authenticator app", "type": "otp", "channel": "app", "place": "here", "default": false,
         "stands_in": false, "capabilities": ["codes", "enrol", "several"]},
        {"name": "hotp", "title": "One-time password token", "type": "otp", "channel": "app", "place": "here",
         "default": false, "stands_in": false, "capabilities": ["codes", "enrol", "several"]},
        {"name": "privacyidea", "title": "eduMFA", "type": "otp", "channel": "service", "place": "remote", "default": false,
         "stands_in": false, "capabilities": ["codes", "push", "choose-by-number", "send"]},
        {"name": "okta", "title": "Okta", "type": "out-of-band", "channel": "push", "place": "remote", "default": false,
         "stands_in": false, "capabilities": ["codes", "push", "send"]},
        {"name": "yubico", "title": "YubiKey", "type": "otp", "channel": "key", "place": "remote", "default": false,
         "stands_in": false, "capabilities": ["codes"]},
        {"name": "oidc", "title": "Sign-in with another device", "type": "out-of-band", "channel": "device",
         "place": "remote", "default": false, "stands_in": false, "capabilities": ["push"]},
        {"name": "http codes", "title": "Corporate codes", "type": "otp", "channel": "service", "place": "remote",
         "default": false, "stands_in": false, "capabilities": ["codes"]},
        {"name": "http push", "title": "push", "type": "out-of-band", "channel": "push", "place": "remote",
         "default": false, "stands_in": true, "capabilities": ["push", "choose-by-number"]},
        {"name": "recovery", "title": "Recovery codes", "type": "look-up", "channel": "none", "place": "here",
         "default": false, "stands_in": true, "capabilities": ["codes"]},
    ]);
    assert_eq!(listed(&home), expected);
    let text = home.run(&["client", "list"], "").ok().stdout;
    let names: Vec<&str> = text.lines().skip(1).map(|line| line[..12].trim_end()).collect();
    assert_eq!(
        names,
        ["duo", "totp", "hotp", "privacyidea", "okta", "yubico", "oidc", "http codes", "http push", "recovery"]
    );
    assert!(text.lines().nth(1).unwrap().contains(" default "), "{text}");
    assert!(text.lines().last().unwrap().contains(" stands in "), "{text}");
}

#[test]
fn without_a_word_there_is_the_authenticator_app() {
    let listed = listed(&home_with(""));
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!((&listed[0]["name"], &listed[0]["default"]), (&json!("totp"), &json!(true)));
}

#[test]
fn a_service_that_sends_codes_says_so() {
    let sent = "[http sent otp_start]\nrequest = POST /send\nform = user={user}\npending = /sent = true\n\
        [http sent answer]\nrequest = POST /check\nform = user={user}&code={otp}\nsuccess = /ok = true\n";
    let home = home_with(&format!("{EVERY}{sent}").replace("clients = duo", "clients = http sent, duo"));
    let first = &listed(&home)[0];
    assert_eq!(first["capabilities"], json!(["codes", "send"]));
    assert_eq!((&first["type"], &first["channel"]), (&json!("out-of-band"), &json!("service")));
}

#[test]
fn a_title_is_taken_as_it_stands_and_cannot_deceive_a_terminal() {
    for (title, shown) in [("Corp ž phone", "Corp ž phone"), ("evil \u{202e}txt", "evil <U+202E>txt")] {
        let text = format!("[plugin]\nclients = duo\n[duo]\nhost = h\nikey = file:i\nskey = file:s\ntitle = {title}\n");
        let home = home_with(&text);
        assert_eq!(listed(&home)[0]["title"], json!(title));
        let text = home.run(&["client", "list"], "").ok().stdout;
        assert!(text.contains(shown), "{text}");
    }
}

#[test]
fn a_claimant_who_chooses_is_shown_the_title() {
    let home = Home::with(&[("alice", &Phone::new(1))]);
    home.set("plugin", "clients", "totp, duo, yubico");
    home.append("[duo]\nhost = h\nikey = file:i\nskey = file:s\ntitle = Corp {phone} \u{202e}x\n");
    home.append("[yubico]\nclient_id = 1\napi_key = file:k\n");
    let listed = home.ask_one(&attempt(1, "alice", "?"));
    let prompt = listed.question.unwrap().prompt;
    assert!(prompt.contains("Corp {phone} <U+202E>x") && prompt.contains("YubiKey"), "{prompt}");
}

#[test]
fn what_is_wrong_with_the_configuration_is_told_in_place_of_a_list() {
    let home = home_with("[plugin]\nclients = duo\n");
    let done = home.run(&["client", "list"], "");
    assert_eq!((done.status, done.stdout.as_str()), (Some(78), ""));
    assert!(done.stderr.contains("there is no section [duo]"), "{done:?}");
}

#[test]
fn the_configuration_of_another_gateway_is_listed_by_its_rules() {
    let home = home_with("[auth]\nprompt = \n[unknown to us]\nx: y\n");
    assert_eq!(home.run(&["client", "list"], "").status, Some(78));
    let done = home.run(&["client", "list", "--json", "--gateway", "sps"], "").ok();
    assert!(done.stdout.contains("\"totp\""), "{done:?}");
}

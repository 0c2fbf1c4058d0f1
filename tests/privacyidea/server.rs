//! What goes between the client and a real server beside verdicts: signatures, certificates, pushes that are taken back,
//! and what `doctor` finds.

use std::fs;

use serde_json::json;

use super::rig::Gateway;
use super::rig::services::{PrivacyIdea, get, post};
use super::*;

#[test]
fn every_answer_must_be_signed_where_a_key_is_named() {
    let Some(server) = PrivacyIdea::shared() else { return };
    let key = server.response_key.to_str().unwrap();
    let [user, password] = account(&server.service);
    let signed = home(&server.url, &[("signature_key", key), user, password]);
    assert_eq!(told(&Login::new(&signed, "nina").types("00000000")), WRONG);
    assert_eq!(told(&Login::new(&signed, "nosuch").types("123456")), NOT_ENROLLED);
    let phone = server.phone("PIPU_PIN").accept();
    assert_eq!(told(&Login::new(&signed, "pushpin").types("pushpin1")), "accept/push");
    phone.done();
    let mut ivan = Login::new(&signed, "ivan");
    assert_eq!(told(&ivan.types("")), ASKED);
    assert_eq!(told(&ivan.types(&server.app().code_at(super::rig::now(), 0))), "accept/otp");

    let code = server.app().with("SHA1", 8, 30).code(0);
    let vectors: Value = serde_json::from_str(include_str!("../services/privacyidea/signature-vectors.json")).unwrap();
    let other = signed.dir().join("other.pem");
    fs::write(&other, vectors["public_key_pem"].as_str().unwrap()).unwrap();
    signed.set("privacyidea", "signature_key", "other.pem");
    assert_eq!(told(&Login::new(&signed, "nina").types(&code)), "communication_error/bad_signature");
    fs::write(&other, "no key").unwrap();
    assert_eq!(told(&Login::new(&signed, "nina").types(&code)), "internal_error/client_unusable");
}

#[test]
fn a_server_is_believed_by_its_certificate_only() {
    let Some(server) = PrivacyIdea::start_tls() else { return };
    let trusting = |url: &str, ca: &std::path::Path| {
        let home = home(url, &[("ca_file", ca.to_str().unwrap())]);
        home.set("privacyidea", "allow_insecure_http", "no");
        home
    };
    let code = |step| server.app().code(step);
    let untrusted = "communication_error/tls_failed";
    let stranger = trusting(&server.url, &server.stranger_ca);
    assert_eq!(told(&Login::new(&stranger, "alice").types(&code(0))), untrusted);
    let misnamed = trusting(server.misnamed_url.as_ref().unwrap(), &server.ca);
    assert_eq!(told(&Login::new(&misnamed, "alice").types(&code(0))), untrusted);
    let plain = home(&server.url, &[]);
    assert_eq!(told(&Login::new(&plain, "alice").types(&code(0))), untrusted);
    // Nothing of these was counted there.
    let trusted = trusting(&server.url, &server.ca);
    assert_eq!(told(&Login::new(&trusted, "alice").types(&code(0))), "accept/otp");
    let phone = server.phone("PIPU_PUSHY").accept();
    assert_eq!(told(&Login::new(&trusted, "pushy").types("")), "accept/push");
    phone.done();
}

/// The open challenges of a token.
fn open_challenges(server: &PrivacyIdea, serial: &str) -> u64 {
    let form = [("username", &*server.admin.name), ("password", &*server.admin.password)];
    let session = post(&server.url, "/auth", &[], &form).json();
    let token = session["result"]["value"]["token"].as_str().unwrap();
    let answer = get(&server.url, &format!("/token/challenges/{serial}"), &[("Authorization", token)]).json();
    answer["result"]["value"]["count"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn the_push_of_a_session_that_ended_is_taken_back() {
    let Some(server) = PrivacyIdea::start() else { return };
    let action = [("scope", "admin"), ("action", "triggerchallenge, cancelchallenge"), ("adminuser", "svc-mfa")];
    server.administer("/policy/admin-svc", &action);
    let home = home(&server.url, &account(&server.service));
    let mut gateway = Gateway::start(&home);
    let login = Login::new(&home, "presence");
    assert!(told(&gateway.ask(&login.request(""))).starts_with("ask: Press "));
    assert_eq!(open_challenges(&server, "PIPU_PRES"), 1);
    let ended = json!({"type": "session_ended", "id": "e", "session_id": login.session, "gateway_user": "presence"});
    gateway.ask(&ended);
    assert_eq!(gateway.end().1.status, Some(0));
    assert_eq!(open_challenges(&server, "PIPU_PRES"), 0, "{}", home.log());
}

#[test]
fn somebody_else_s_push_blocks_further_ones() {
    let Some(server) = PrivacyIdea::start() else { return };
    let home = home(&server.url, &[("declined_is_report", "yes")]);
    home.set("push", "block", "900");
    let phone = server.phone("PIPU_PUSHY").decline_because("unknown_trigger");
    assert_eq!(told(&Login::new(&home, "pushy").types("")), REPORTED);
    phone.done();
    assert_eq!(told(&Login::new(&home, "pushy").types("")), "authentication_failure/push_blocked");
}

/// What `doctor` finds behind the way to the server, a word a step, and the remedy of the one that is wrong.
fn doctor(home: &Home) -> (Vec<String>, String) {
    let said = home.run(&["doctor", "privacyidea", "--json"], "");
    let report: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let client = report["clients"].as_array().unwrap().iter().find(|client| client["client"] == "privacyidea").unwrap();
    let way = ["resolve", "connect", "tls", "time", "deadline"];
    let steps = client["steps"].as_array().unwrap().iter();
    let steps: Vec<&Value> = steps.filter(|step| !way.contains(&step["step"].as_str().unwrap())).collect();
    let word =
        |step: &&Value| format!("{}{}", step["step"].as_str().unwrap(), if step["ok"] == true { "" } else { "!" });
    let remedy = steps.last().unwrap()["remedy"].as_str().unwrap_or_default().to_owned();
    (steps.iter().map(word).collect(), remedy)
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let Some(server) = PrivacyIdea::shared() else { return };
    let key = server.response_key.to_str().unwrap();
    let [user, password] = account(&server.service);
    for (url, options, steps, remedy) in [
        (server.url.clone(), vec![], vec!["request", "credentials"], ""),
        (
            server.url.clone(),
            vec![user, password, ("signature_key", key)],
            vec!["request", "credentials", "permissions"],
            "",
        ),
        (
            server.url.clone(),
            vec![user, ("service_password", "wrong")],
            vec!["request", "credentials!"],
            "service_password",
        ),
        (
            server.url.clone(),
            account(&server.no_right).to_vec(),
            vec!["request", "credentials", "permissions!"],
            "triggerchallenge",
        ),
        (server.url.clone(), vec![("signature_key", "nowhere.pem")], vec!["request!"], "plugin.ini"),
        (format!("{}/validate", server.url), vec![], vec!["request!"], "without /validate"),
    ] {
        let (found, told) = doctor(&home(&url, &options));
        assert_eq!(found, steps);
        assert!(told.contains(remedy) && told.is_empty() == remedy.is_empty(), "{told}");
    }
}

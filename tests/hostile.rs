//! What somebody would try who wants to be let in without being the claimant, or to keep others out.

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::fs::File;
use std::net::TcpListener;
use std::thread;

use rig::http::Response;
use rig::okta::Okta;
use rig::slapd::{Slapd, User};
use rig::web::Web;
use rig::{Gateway, Home, Phone, attempt, request};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;

#[test]
fn a_directory_that_hangs_keeps_nobody_else_from_the_store() {
    let web = Web::always(Response::json(200, &json!({"ok": true})));
    let phone = Phone::new(2);
    let home = Home::with(&[("bob", &phone)]);
    home.set_clock(NOW);
    home.set("plugin", "clients", "http corp, totp");
    // A port that nobody listens at, until somebody does who says nothing.
    let place = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    home.append(&format!(
        "[http corp]\nurl = {}\nallow_insecure_http = yes\n[http corp otp]\nrequest = POST /otp\n\
         json = {{\"user\": \"{{user}}\", \"code\": \"{{otp}}\"}}\nsuccess = /ok = true\nfailure = /ok = false\n\
         [authentication_cache]\nreuse_limit = 1\n\
         [ldap_server]\nname = corp\n[ldap_server corp]\nurl = ldap://{place}\nallow_insecure_ldap = yes\n\
         base_dn = dc=x\ntimeout = 20\n[usermapping source=ldap_server]\nuser_attribute = mail\n",
        web.url("")
    ));
    let of_alice = || request(2, "alice", json!({}));
    assert_eq!(home.ask_one(&attempt(1, "alice", "1")).told(), "accept");
    assert_eq!(home.ask_one(&of_alice()).basis.as_deref(), Some("cached"));
    // Used up: what is remembered is removed, and the directory is asked for the name.
    let silent = TcpListener::bind(place).unwrap();
    let mut command = home.command(&["serve"]);
    let line = format!("{}\n", of_alice());
    let hanging = thread::spawn(move || rig::finish(&mut command, line.as_bytes()));
    let (asked, _) = silent.accept().unwrap();
    let store = File::open(home.store()).unwrap();
    assert!(store.try_lock().is_ok(), "the store is held while a directory is asked");
    drop((store, asked, silent));
    assert!(hanging.join().unwrap().stdout.contains("need_info"));
}

#[test]
fn a_question_under_the_key_of_the_one_time_password_is_refused() {
    // Its answer would be the code, in clear for every plugin of the session.
    let home = Home::init();
    home.append("[question_1]\nprompt = Ticket:\nkey = otp\n");
    for arguments in [&["check"][..], &["gateway", "sps"]] {
        let said = home.run(arguments, "");
        let told = format!("{}{}", said.stdout, said.stderr);
        assert!(said.status != Some(0) && told.contains("[question_1] key: is a key of the login"), "{said:?}");
    }
}

#[test]
fn all_questions_to_a_directory_that_hangs_share_its_time() {
    let home = Home::init();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    home.append(&format!(
        "[ldap_server]\nname = corp\n[ldap_server corp]\nurl = ldap://{}\nallow_insecure_ldap = yes\nbase_dn = dc=x\n\
         timeout = 1\n[whitelist source=ldap_server_group]\nallow = no_user\nexcept = admins\n\
         [usermapping source=ldap_server]\nuser_attribute = mail\n",
        silent.local_addr().unwrap()
    ));
    assert_eq!(home.ask_one(&request(1, "alice", json!({}))).verdict(), "need_info");
    let log = home.log();
    assert!(log.contains("a second factor is needed"), "{log}");
    assert!(log.contains("there was no time left to ask the directory: the name goes on as it is"), "{log}");
}

#[test]
fn a_password_in_an_address_that_is_refused_is_not_repeated() {
    let home = Home::init();
    home.append(
        "[ldap_server corp]\nurl = ldap://u:CANARY@h\nbase_dn = dc=x\n[https_proxy]\nserver = http://u:CANARY@p\n",
    );
    let said = home.run(&["check"], "");
    let told = format!("{}{}", said.stdout, said.stderr);
    assert!(told.contains("url: expected") && told.contains("server: expected"), "{told}");
    assert!(!told.contains("CANARY") && told.contains("found \"<redacted>@h\""), "{told}");
}

/// A push at once: over http nobody can be asked.
fn push(id: u64, user: &str) -> Value {
    request(id, user, json!({"session_id": "s1", "protocol": "http"}))
}

#[test]
fn a_session_that_ends_takes_its_push_with_it_under_whatever_name_it_was_sent() {
    let Some(slapd) = Slapd::start(&[User::new("ada").with("mail", &["alice"])], &[]) else { return };
    let okta = Okta::start();
    let home = okta.home("");
    home.append(&format!(
        "[ldap_server]\nname = corp\n{}[usermapping source=ldap_server]\nuser_attribute = mail\n",
        slapd.ini("corp")
    ));
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "ada"));
    okta.wait_for("GET", "/transactions/t1", 1);
    let ended = json!({"type": "session_ended", "id": 2, "session_id": "s1", "gateway_user": "ada"});
    assert_eq!(gateway.ask(&ended).told(), "accept");
    assert_eq!(gateway.answer(1).told(), "policy_denied/cancelled");
    gateway.end().1.ok();
}

#[test]
fn a_push_is_joined_by_its_claimant_only_though_another_has_the_same_name_at_the_service() {
    let okta = Okta::start();
    let home = okta.home("");
    home.append("[usermapping source=explicit]\nada = alice\nbea = alice\n");
    let mut gateway = Gateway::start(&home);
    gateway.send(&push(1, "ada"));
    okta.wait_for("GET", "/transactions/t1", 1);
    assert_eq!(gateway.ask(&push(2, "bea")).told(), "authentication_failure/push_outstanding");
    okta.press("alice", "SUCCESS");
    assert_eq!(gateway.answer(1).told(), "accept");
    gateway.end().1.ok();
}

#[test]
fn what_is_no_text_in_the_place_of_our_cookie_is_foreign_and_the_log_says_so() {
    let home = Home::init();
    let call = |cookie: Value| {
        json!({"hook": "authenticate", "arguments": {
            "cookie": {"countersign": cookie}, "session_cookie": {}, "session_id": "s1", "protocol": "ssh",
            "connection_name": "ssh", "client_ip": "192.0.2.7", "client_port": 50022, "client_hostname": null,
            "gateway_user": "alice", "gateway_domain": null, "server_username": "root", "server_domain": null,
            "key_value_pairs": {},
        }})
    };
    for cookie in [json!(1), json!(true), json!(["x"]), json!({"successful_authentication": true}), json!("x")] {
        let said = home.run(&["gateway", "sps"], format!("{}\n", call(cookie))).ok();
        assert!(said.stdout.contains("NEEDINFO"), "{said:?}");
    }
    assert_eq!(home.log().matches("cookie=\"foreign\"").count(), 5, "{}", home.log());
}

#[test]
fn a_client_that_is_asked_about_a_session_is_asked_about_the_mapped_name() {
    let Some(slapd) = Slapd::start(&[User::new("ada").with("mail", &["alice"])], &[]) else { return };
    let web = Web::always(Response::json(200, &json!({"verdict": "accept"})));
    let home = Home::init();
    home.set("plugin", "clients", "http corp");
    home.append(&format!(
        "[http corp]\nurl = {}\nallow_insecure_http = yes\nresponse = verdict\n\
         [http corp otp]\nrequest = POST /otp\njson = {{\"user\": \"{{user}}\", \"otp\": \"{{otp}}\"}}\n\
         [http corp authorize]\nrequest = POST /session\njson = {{\"user\": \"{{user}}\"}}\n\
         [ldap_server]\nname = corp\n{}[usermapping source=ldap_server]\nuser_attribute = mail\n",
        web.url(""),
        slapd.ini("corp")
    ));
    let of_ada = |more: Value| home.ask_one(&request(1, "ada", more));
    let accept = of_ada(json!({"key_value_pairs": {"otp": "1"}}));
    assert_eq!((accept.told().as_str(), accept.mfa_identity.as_deref()), ("accept", Some("alice")));
    assert_eq!(of_ada(json!({"type": "authorize", "cookie": accept.cookie()})).told(), "accept");
    let asked: Vec<Value> = web.requests().iter().map(|asked| asked.json()).collect();
    assert_eq!(asked, [json!({"user": "alice", "otp": "1"}), json!({"user": "alice"})]);
}

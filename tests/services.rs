//! The rigs of the remote services: that each starts, does what the tests of the clients build on, and leaves nothing.

#![expect(clippy::indexing_slicing, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use data_encoding::{BASE64, HEXLOWER};
use rig::services::{OidcProvider, PrivacyIdea, Yubival, get, post};
use rig::{PATIENCE, finish, now};
use serde_json::{Value, json};

/// privacyIDEA's answer to `/validate/check` with `form`.
fn check(server: &PrivacyIdea, form: &[(&str, &str)]) -> Value {
    post(&server.url, "/validate/check", &[], form).json()
}

/// The one challenge of a CHALLENGE.
fn challenge(answer: &Value) -> &Value {
    assert_eq!(answer["result"]["authentication"], "CHALLENGE", "{answer}");
    &answer["detail"]["multi_challenge"][0]
}

/// What `device_code` is worth at the token endpoint.
fn token(provider: &OidcProvider, device_code: &str) -> Value {
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let form = [("grant_type", grant), ("device_code", device_code)];
    post(&provider.issuer, "/token", &[("Authorization", &basic(provider))], &form).json()
}

/// What begins a device flow.
fn device(provider: &OidcProvider) -> Value {
    let form = [("scope", "openid profile")];
    post(&provider.issuer, "/device/auth", &[("Authorization", &basic(provider))], &form).json()
}

fn basic(provider: &OidcProvider) -> String {
    let OidcProvider { client_id, client_secret, .. } = provider;
    format!("Basic {}", BASE64.encode(format!("{client_id}:{client_secret}").as_bytes()))
}

// -------------------------------------------------------------------------------------------------------- privacyIDEA

#[test]
fn privacyidea_takes_a_code_once() {
    let Some(server) = PrivacyIdea::shared() else { return };
    let code = server.app().code(0);
    assert_eq!(code, "755224");
    let first = check(server, &[("user", "alice"), ("pass", &code)]);
    assert_eq!(first["result"], json!({"authentication": "ACCEPT", "status": true, "value": true}), "{first}");
    let second = check(server, &[("user", "alice"), ("pass", &code)]);
    assert_eq!(second["result"]["value"], false, "{second}");
    let totp = server.app().code_at(now(), 0);
    let answer = check(server, &[("user", "bob"), ("realm", &server.realm), ("pass", &totp)]);
    assert_eq!(answer["result"]["value"], true, "{answer}");
}

#[test]
fn privacyidea_asks_a_phone_and_believes_it_once() {
    let Some(server) = PrivacyIdea::shared() else { return };
    let phone = server.phone("PIPU_PUSHY").accept();
    let asked = check(server, &[("user", "pushy"), ("pass", "")]);
    let transaction = challenge(&asked)["transaction_id"].as_str().unwrap();
    phone.done();
    let path = format!("/validate/polltransaction?transaction_id={transaction}");
    let poll = get(&server.url, &path, &[]).json();
    assert_eq!(poll["detail"]["challenge_status"], "accept", "{poll}");
    let form = [("user", "pushy"), ("pass", ""), ("transaction_id", transaction)];
    assert_eq!(check(server, &form)["result"]["authentication"], "ACCEPT");
    assert_eq!(check(server, &form)["result"]["authentication"], "REJECT");
    let asked = check(server, &[("user", "pushy"), ("pass", "")]);
    server.phone("PIPU_PUSHY").decline_because("unknown_trigger").done();
    let path = format!("/validate/polltransaction/{}", challenge(&asked)["transaction_id"].as_str().unwrap());
    let poll = get(&server.url, &path, &[]).json();
    assert_eq!(poll["detail"]["challenge_status"], "declined", "{poll}");
}

#[test]
fn privacyidea_wants_the_right_number_pressed() {
    let Some(server) = PrivacyIdea::shared() else { return };
    let asked = check(server, &[("user", "presence"), ("pass", "")]);
    let phone = server.phone("PIPU_PRES");
    phone.press("wrong").refused();
    phone.press(challenge(&asked)["presence_answer"].as_str().unwrap()).done();
}

#[test]
fn privacyidea_shows_a_code_on_the_phone() {
    let Some(server) = PrivacyIdea::shared() else { return };
    let asked = check(server, &[("user", "codephone"), ("pass", "")]);
    let transaction = challenge(&asked)["transaction_id"].as_str().unwrap();
    let code = server.phone("PIPU_CODE").accept().code();
    let answer = check(server, &[("user", "codephone"), ("pass", &code), ("transaction_id", transaction)]);
    assert_eq!(answer["result"]["value"], true, "{answer}");
}

#[test]
fn privacyidea_knows_its_accounts() {
    let Some(server) = PrivacyIdea::shared() else { return };
    for (account, status) in [(&server.service, 200), (&server.no_right, 403)] {
        let form = [("username", &*account.name), ("password", &*account.password)];
        let session = post(&server.url, "/auth", &[], &form).json();
        let jwt = session["result"]["value"]["token"].as_str().unwrap();
        let path = "/validate/triggerchallenge";
        let triggered = post(&server.url, path, &[("Authorization", jwt)], &[("user", "multi")]);
        assert_eq!(triggered.status, status, "{}", triggered.body);
    }
    let code = server.app().code(0);
    let form = [("user", "apiuser"), ("realm", &server.api_realm), ("pass", &code)];
    assert_eq!(post(&server.url, "/validate/check", &[], &form).status, 403);
    let answer = post(&server.url, "/validate/check", &[("Authorization", &server.validate_key)], &form).json();
    assert_eq!(answer["result"]["value"], true, "{answer}");
    let answer = server.administer("/system/setConfig", &[("PushChallengeValidityTime", "60")]);
    assert_eq!(answer["result"]["status"], true, "{answer}");
}

#[test]
fn privacyidea_speaks_tls_under_its_own_ca() {
    let Some(server) = PrivacyIdea::start_tls() else { return };
    let reach = |url: &str, ca: &Path| {
        let program = "import ssl, sys, urllib.request as u\n\
            tls = u.HTTPSHandler(context=ssl.create_default_context(cafile=sys.argv[2]))\n\
            print(u.build_opener(u.ProxyHandler({}), tls).open(sys.argv[1], timeout=60).status)";
        finish(Command::new("python3").args(["-c", program, url]).arg(ca), b"")
    };
    let url = format!("{}/healthz/readyz", server.url);
    assert_eq!(reach(&url, &server.ca).ok().stdout, "200\n");
    let told = reach(&url, &server.stranger_ca).stderr;
    assert!(told.contains("CERTIFICATE_VERIFY_FAILED"), "{told}");
    let misnamed = format!("{}/healthz/readyz", server.misnamed_url.as_ref().unwrap());
    let told = reach(&misnamed, &server.ca).stderr;
    assert!(told.contains("IP address mismatch"), "{told}");
    let phone = server.phone("PIPU_PUSHY").accept();
    drop(server);
    drop(phone);
}

// ------------------------------------------------------------------------------------------------------------ yubival

#[test]
fn yubival_takes_an_otp_once_whoever_of_its_servers_is_asked() {
    let Some(servers) = Yubival::start(2) else { return };
    let mut asked = 0;
    let mut verify = |url: &str, otp: &str| {
        asked += 1;
        let line = format!("id={}&nonce={asked:032x}&otp={otp}", servers.client_id);
        let program = "import base64, hashlib, hmac, sys\n\
            key = base64.b64decode(sys.argv[1])\n\
            print(hmac.new(key, sys.argv[2].encode(), hashlib.sha1).hexdigest())";
        let signature = finish(Command::new("python3").args(["-c", program, &servers.api_key, &line]), b"").ok().stdout;
        let signature = BASE64.encode(&HEXLOWER.decode(signature.trim().as_bytes()).unwrap());
        let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let (server, path) = url.split_at(url.find("/wsapi").unwrap());
        let reply = get(server, &format!("{path}?{line}&h={signature}"), &[]);
        reply.body.lines().find_map(|line| line.strip_prefix("status=")).unwrap().to_owned()
    };
    let [first, second] = servers.urls.as_slice() else { return assert_eq!(servers.urls.len(), 2) };
    let otp = servers.otp("alice", 1, 1);
    assert!(otp.starts_with(servers.public_id("alice")));
    assert_eq!(verify(first, &otp), "OK");
    assert_eq!(verify(second, &otp), "REPLAYED_OTP");
    assert_eq!(verify(second, &servers.otp("alice", 1, 2)), "OK");
    assert_eq!(verify(first, &servers.otp("corrupt", 1, 3)), "BAD_OTP");
    assert_eq!(verify(second, &servers.otp("unknown", 1, 1)), "BAD_OTP");
}

// --------------------------------------------------------------------------------------------------- OpenID provider

#[test]
fn a_device_flow_is_approved_or_denied_by_a_person() {
    let Some(provider) = OidcProvider::start(60) else { return };
    let codes = device(&provider);
    let device_code = codes["device_code"].as_str().unwrap();
    assert_eq!((&codes["interval"], &codes["expires_in"]), (&json!(1), &json!(60)), "{codes}");
    assert_eq!(token(&provider, device_code)["error"], "authorization_pending");
    provider.approve(codes["user_code"].as_str().unwrap(), "alice");
    let tokens = token(&provider, device_code);
    assert!(tokens["id_token"].is_string(), "{tokens}");
    let codes = device(&provider);
    provider.deny(codes["user_code"].as_str().unwrap());
    assert_eq!(token(&provider, codes["device_code"].as_str().unwrap())["error"], "access_denied");
}

// -------------------------------------------------------------------------------------------------------------- ends

#[test]
fn a_server_ends_with_its_value_also_when_the_test_fails() {
    let (sender, receiver) = mpsc::channel();
    let failed = thread::spawn(move || {
        let provider = OidcProvider::start(60);
        sender.send(provider.as_ref().map(|provider| provider.issuer.clone())).unwrap();
        assert!(provider.is_none(), "as a test that fails");
    });
    let Some(issuer) = receiver.recv().unwrap() else { return };
    assert!(failed.join().is_err());
    assert!(TcpStream::connect(issuer.strip_prefix("http://").unwrap()).is_err());
}

#[test]
fn a_server_ends_with_the_process_that_started_it() {
    const INNER: &str = "COUNTERSIGN_TEST_TO_KILL";
    if env::var_os(INNER).is_some() {
        let provider = OidcProvider::start(60);
        println!("issuer={}", provider.as_ref().map_or("", |provider| &provider.issuer));
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return drop(provider);
    }
    let mut process = Command::new(env::current_exe().unwrap());
    process.args(["--exact", "a_server_ends_with_the_process_that_started_it", "--nocapture"]).env(INNER, "1");
    let mut process = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let issuer = stdout.find_map(|line| Some(line.split_once("issuer=")?.1.to_owned())).unwrap();
    let address = issuer.strip_prefix("http://");
    let served = address.is_none_or(|address| TcpStream::connect(address).is_ok());
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(served);
    let Some(address) = address else { return };
    // Nothing is asked: a connection ends when the server does, and after that there is none.
    let start = Instant::now();
    while let Ok(mut connection) = TcpStream::connect(address) {
        assert!(start.elapsed() < PATIENCE, "the server is still there");
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = connection.read(&mut [0]);
    }
}

//! `[http NAME]`, through the executable: the examples of contrib/http against the real privacyIDEA or loopback servers of
//! the shapes that they name, every rule that holds for all of them, hostile names and answers, and mistakes in plugin.ini.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

#[path = "generic/verdict.rs"]
mod verdict;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use rig::http::{Request, Response};
use rig::services::PrivacyIdea;
use rig::web::Web;
use rig::{Answer, Gateway, Home, attempt, request};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A home whose first client is `[http NAME]`, with these sections; `ADDRESS` in them is `url`.
fn home(name: &str, url: &str, sections: &str) -> Home {
    let home = Home::init();
    home.set("plugin", "clients", &format!("http {name}, totp"));
    home.set("plugin", "deadline", "20");
    home.set("throttle", "failures", "1000");
    home.set("throttle", "source_failures", "100000");
    for file in ["rest.secret", "verify.secret", "starling.token", "securid.key", "corp.secret", "decider.token"] {
        let path = home.dir().join(file);
        fs::write(&path, "canary-secret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let ini = fs::read_to_string(home.ini()).unwrap();
    fs::write(home.ini(), format!("{ini}\n{}", sections.replace("ADDRESS", url.trim_end_matches('/')))).unwrap();
    home
}

/// An example as it stands, but for where its service is and how often it is asked.
fn example(file: &str, name: &str, url: &str) -> Home {
    let text = fs::read_to_string(format!("{}/contrib/http/{file}.ini", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut lines = Vec::new();
    for line in text.lines() {
        let (option, value) = line.split_once(" = ").unwrap_or((line, ""));
        match option {
            "url" => {
                let path = value.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
                lines.push(format!("url = {url}{path}\nallow_insecure_http = yes"));
            }
            "token_url" => lines.push(format!("token_url = {url}/oauth/token")),
            "client_cert" | "client_key" | "rest_poll_interval" => {}
            _ => lines.push(line.to_owned()),
        }
    }
    home(name, url, &lines.join("\n"))
}

/// A service at the loopback with `otp` only, which answers as `handler` says.
const OTP: &str = "[http corp]\nurl = ADDRESS\nallow_insecure_http = yes\n\
    [http corp otp]\nrequest = POST /check/{user}\njson = {\"user\": \"{user}\", \"pass\": \"{otp}\"}\n\
    success = /result = true and /kind = \"ACCEPT\"\nfailure = /result = false\nmessage = /message\n";

const PUSH: &str = "[http corp]\nurl = ADDRESS\nallow_insecure_http = yes\n\
    [http corp push_start]\nrequest = POST /push\nform = user={user}&ip={client_ip}&via={protocol}&to={target}\n\
    pending = /state = \"sent\"\nfailure = /state = \"no\"\nmessage = /message\n\
    capture = txid /txid token; number /number digits 1..3 optional\nshow = Press {number} on your phone.\n\
    [http corp push_poll]\nrequest = GET /push/{txid}\nsuccess = /state = \"yes\"\npending = /state = \"sent\"\n\
    failure = /state = \"no\"\nreported = /state = \"not me\"\nexpired = /state = \"late\"\n\
    [http corp cancel]\nrequest = DELETE /push/{txid}\n";

/// A request over a protocol that cannot ask: no answer is a push.
fn push(id: &str, user: &str) -> Value {
    request(id, user, json!({"protocol": "http"}))
}

fn ok(body: Value) -> Response {
    Response::json(200, &body)
}

/// What a service that always answers `response` makes of a code; and how often it was asked.
fn told(sections: &str, response: Response) -> (Answer, usize) {
    let web = Web::always(response);
    let home = home("corp", &web.url(""), sections);
    let answer = home.ask_one(&attempt(1, "alice", "492039"));
    assert!(!home.log().contains("492039"), "{}", home.log());
    (answer, web.requests().len())
}

// -------------------------------------------------------------------------------------------------------- privacyIDEA

#[test]
fn privacyidea_example_takes_codes() {
    let Some(server) = PrivacyIdea::shared() else { return };
    let home = example("privacyidea", "privacyidea", &server.url);
    let code = server.app().code(0);
    let totp = server.app().code_at(rig::now(), 0);
    let carol = format!("carolpin{code}");
    for (user, typed, expected) in [
        ("alice", "000000", "authentication_failure/wrong_code"),
        ("alice", code.as_str(), "accept"),
        ("alice", code.as_str(), "authentication_failure/wrong_code"),
        ("bob", totp.as_str(), "accept"),
        ("carol", carol.as_str(), "accept"),
        ("dave", code.as_str(), "authentication_failure/wrong_code"),
        ("erin", code.as_str(), "authentication_failure/wrong_code"),
        ("frank", code.as_str(), "authentication_failure/wrong_code"),
        ("grace", code.as_str(), "authentication_failure/wrong_code"),
        ("karl", code.as_str(), "authentication_failure/wrong_code"),
        ("laura", code.as_str(), "communication_error/unexpected_answer"),
        ("nosuch", code.as_str(), "authentication_failure/not_enrolled"),
        ("peggy", code.as_str(), "authentication_failure/locked"),
        ("jürgen", code.as_str(), "accept"),
    ] {
        let answer = home.ask_one(&attempt(1, user, typed));
        assert_eq!(answer.told(), expected, "{user} {typed}: {answer:?}");
    }
    // A PIN leads to a question, and the code that answers it to the same transaction.
    let mut gateway = Gateway::start(&home);
    let asked = gateway.ask(&request(1, "heidi", json!({"session_id": "h", "key_value_pairs": {"otp": "heidipin"}})));
    assert_eq!(asked.verdict(), "need_info", "{asked:?}");
    let pairs = json!({"otp": code});
    let more = json!({"session_id": "h", "key_value_pairs": pairs, "cookie": asked.cookie()});
    let answer = gateway.ask(&request(2, "heidi", more));
    assert_eq!((answer.verdict(), answer.factor.as_deref()), ("accept", Some("otp")), "{answer:?}");
    assert!(!home.log().contains(&code) && !home.log().contains("heidipin"));
}

#[test]
fn privacyidea_example_pushes_and_finalizes() {
    let Some(server) = PrivacyIdea::shared() else { return };
    let home = example("privacyidea", "privacyidea", &server.url);
    let mut gateway = Gateway::start(&home);
    let phone = server.phone("PIPU_PUSHY").accept();
    let answer = gateway.ask(&push("accepted", "pushy"));
    assert_eq!((answer.verdict(), answer.factor.as_deref()), ("accept", Some("push")), "{answer:?}");
    phone.done();
    let phone = server.phone("PIPU_PUSHY").decline();
    let answer = gateway.ask(&push("declined", "pushy"));
    assert_eq!(answer.told(), "authentication_failure/push_refused", "{answer:?}");
    phone.done();
    // Nobody answers.
    let short = example("privacyidea", "privacyidea", &server.url);
    short.set("plugin", "deadline", "4");
    let answer = short.ask_one(&push("ignored", "pushy"));
    assert_eq!(answer.told(), "authentication_failure/push_unanswered", "{answer:?}");
    // Who has no push token has no push.
    let answer = gateway.ask(&push("none", "frank"));
    assert_eq!(answer.told(), "authentication_failure/no_device", "{answer:?}");
}

#[test]
fn privacyidea_example_shows_the_number() {
    let Some(server) = PrivacyIdea::shared() else { return };
    let home = example("privacyidea", "privacyidea", &server.url);
    let mut gateway = Gateway::start(&home);
    let enter = |id: u64, cookie: &str| {
        let more = json!({"session_id": "p", "key_value_pairs": {"otp": ""}, "cookie": cookie});
        request(id, "presence", more)
    };
    let first = gateway.ask(&request(1, "presence", json!({"session_id": "p"})));
    let shown = gateway.ask(&enter(2, first.cookie()));
    let prompt = shown.question.clone().unwrap().prompt;
    let number = prompt.strip_prefix("Press ").and_then(|rest| rest.split(' ').next()).unwrap();
    let phone = server.phone("PIPU_PRES").press(number);
    let answer = gateway.ask(&enter(3, shown.cookie()));
    assert_eq!((answer.verdict(), answer.factor.as_deref()), ("accept", Some("push")), "{answer:?}");
    phone.done();
}

// -------------------------------------------------------------------------------------------------- the other examples

#[test]
fn lemonldap_example_sends_a_code_and_verifies_one() {
    let web = Web::serve(|request: &Request| {
        assert_eq!(request.header("authorization"), Some("Basic Z2F0ZXdheTpjYW5hcnktc2VjcmV0"));
        match (request.path.as_str(), request.json()) {
            ("/rest/init", body) => ok(json!({"result": body["user"] == "alice"})),
            ("/rest/verify", body) => ok(json!({"result": body == json!({"user": "alice", "code": "492039"})})),
            other => panic!("{other:?}"),
        }
    });
    let home = example("lemonldap-rest", "rest", &web.url(""));
    let answer = home.ask_one(&attempt(1, "alice", "000000"));
    assert_eq!(answer.told(), "authentication_failure/wrong_code", "{answer:?}");
    assert_eq!(home.ask_one(&push("bob", "bob")).told(), "authentication_failure/no_device");
    let mut gateway = Gateway::start(&home);
    let enter = json!({"session_id": "s", "key_value_pairs": {"otp": ""}});
    let asked = gateway.ask(&request(1, "alice", enter));
    assert_eq!(asked.question.as_ref().unwrap().prompt.trim_end(), "Enter the code that was sent to you:");
    let code = json!({"session_id": "s", "key_value_pairs": {"otp": "492039"}, "cookie": asked.cookie()});
    let answer = gateway.ask(&request(2, "alice", code));
    assert_eq!((answer.verdict(), answer.factor.as_deref()), ("accept", Some("otp")), "{answer:?}");
}

/// IBM Verify's contract, with a token that is good for two requests.
fn verify(request: &Request, left: &AtomicUsize) -> Response {
    if request.path == "/oauth/token" {
        assert_eq!(request.header("authorization"), Some("Basic Z2F0ZXdheTpjYW5hcnklMkRzZWNyZXQ="));
        assert_eq!(request.field("scope").as_deref(), Some("mfa"));
        left.store(2, Ordering::SeqCst);
        return ok(json!({"access_token": "canary-token", "token_type": "bearer", "expires_in": 3600}));
    }
    assert_eq!(request.header("authorization"), Some("Bearer canary-token"));
    if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
        return Response::json(401, &json!({"status": "SUCCESS", "error": "expired"}));
    }
    let body = request.json();
    let user = |body: &Value| body["username"].as_str().unwrap_or_default().to_owned();
    ok(match (request.path.as_str(), body["transactionId"].as_str(), body["otp"].as_str()) {
        ("/factor/initiate", _, _) if user(&body) == "nobody" => json!({"status": "FAILED", "message": "unknown"}),
        ("/factor/initiate", _, _) => json!({"status": "PENDING", "transactionId": user(&body)}),
        ("/factor/validate", Some("alice"), Some("492039")) => json!({"status": "SUCCESS"}),
        ("/factor/validate", Some("late"), _) => json!({"status": "TIMEOUT"}),
        ("/factor/validate", ..) => json!({"status": "FAILED"}),
        ("/factor/result", Some("alice"), _) => json!({"status": "SUCCESS"}),
        ("/factor/result", Some("late"), _) => json!({"status": "TIMEOUT"}),
        ("/factor/result", Some("no"), _) => json!({"status": "CANCELED"}),
        ("/factor/result", Some("odd"), _) => json!({"status": "success"}),
        other => panic!("{other:?}"),
    })
}

#[test]
fn verify_example_pushes_codes_and_renews_its_token() {
    let left = AtomicUsize::new(0);
    let web = Web::serve(move |request| verify(request, &left));
    let home = example("initiate-validate-result", "verify_push", &web.url(""));
    let mut gateway = Gateway::start(&home);
    for (user, expected) in [
        ("alice", "accept"),
        ("late", "authentication_failure/push_unanswered"),
        ("no", "authentication_failure/push_refused"),
        ("odd", "communication_error/unexpected_answer"),
        ("nobody", "authentication_failure/no_device"),
    ] {
        let answer = gateway.ask(&push(user, user));
        assert_eq!(answer.told(), expected, "{user}: {answer:?}");
    }
    let count = |path: &str| web.requests().iter().filter(|request| request.path == path).count();
    // Nine requests, two for each token; every one that met an old token was sent once more.
    assert_eq!((count("/oauth/token"), count("/factor/initiate") + count("/factor/result")), (5, 9 + 4));

    let home = example("initiate-validate-result", "verify_code", &web.url(""));
    let mut gateway = Gateway::start(&home);
    for (user, expected) in [
        ("alice", "accept"),
        ("late", "authentication_failure/push_unanswered"),
        ("bob", "authentication_failure/wrong_code"),
    ] {
        let enter = json!({"session_id": user, "key_value_pairs": {"otp": ""}});
        let asked = gateway.ask(&request(format!("{user} 1"), user, enter));
        let code = json!({"session_id": user, "key_value_pairs": {"otp": "492039"}, "cookie": asked.cookie()});
        let answer = gateway.ask(&request(format!("{user} 2"), user, code));
        assert_eq!(answer.told(), expected, "{user}: {answer:?}");
    }
    // What answers no question was never asked for.
    assert_eq!(gateway.ask(&attempt(1, "alice", "492039")).told(), "authentication_failure/service_policy");
    assert!(!home.log().contains("canary"));
}

#[test]
fn a_code_is_not_sent_again_for_a_new_token() {
    let web = Web::serve(|request: &Request| match request.path.as_str() {
        "/token" => ok(json!({"access_token": "t", "token_type": "Bearer"})),
        _ => Response::json(401, &json!({"result": true, "kind": "ACCEPT"})),
    });
    let auth = "auth = client_credentials\nauth_user = u\nauth_secret = file:corp.secret\ntoken_url = ADDRESS/token\n";
    let home = home("corp", &web.url(""), &OTP.replacen("\n[http corp otp]", &format!("\n{auth}[http corp otp]"), 1));
    let answer = home.ask_one(&attempt(1, "alice", "492039"));
    assert_eq!(answer.told(), "communication_error/credentials_refused", "{answer:?}");
    let paths: Vec<String> = web.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/token", "/check/alice"]);
}

#[test]
fn inwebo_example_never_takes_the_ok_of_sending_for_an_approval() {
    let polls = AtomicUsize::new(0);
    let web = Web::serve(move |request: &Request| {
        assert_eq!((request.path.as_str(), request.parameter("serviceId")), ("/FS", Some("12345")));
        let user = request.parameter("userId").unwrap();
        ok(match (request.parameter("action").unwrap(), user) {
            ("pushAuthenticate", "none") => json!({"err": "NOK:NOPUSH"}),
            ("pushAuthenticate", "broken") => json!({"err": "NOK:SRV"}),
            ("pushAuthenticate", _) => json!({"err": "OK", "sessionId": "s1"}),
            ("checkPushResult", _) if request.parameter("sessionId") != Some("s1") => json!({"err": "NOK:SN"}),
            ("checkPushResult", "alice") if polls.fetch_add(1, Ordering::SeqCst) == 0 => json!({"err": "NOK:WAITING"}),
            ("checkPushResult", "alice") => json!({"err": "OK"}),
            ("checkPushResult", "no") => json!({"err": "NOK:REFUSED"}),
            ("checkPushResult", "late") => json!({"err": "NOK:TIMEOUT"}),
            ("checkPushResult", _) => json!({"err": "NOK:WAITING"}),
            other => panic!("{other:?}"),
        })
    });
    let home = example("inwebo", "inwebo", &web.url(""));
    home.set("plugin", "deadline", "4");
    let mut gateway = Gateway::start(&home);
    for (user, expected) in [
        ("alice", "accept"),
        ("no", "authentication_failure/push_refused"),
        ("late", "authentication_failure/push_unanswered"),
        ("none", "authentication_failure/no_device"),
        ("broken", "communication_error/unexpected_answer"),
        ("ignored", "authentication_failure/push_unanswered"),
    ] {
        let answer = gateway.ask(&push(user, user));
        assert_eq!(answer.told(), expected, "{user}: {answer:?}");
    }
}

#[test]
fn starling_example_asks_for_an_approval() {
    let web = Web::serve(|request: &Request| {
        assert_eq!(request.header("authorization"), Some("Bearer canary-secret"));
        let (id, status) = match (request.method.as_str(), request.path.rsplit('/').next().unwrap()) {
            ("POST", "approvalrequests") => {
                let text = request.json()["message"].as_str().unwrap().to_owned();
                assert_eq!(text, "Log in by http from 192.0.2.7 to root@db1");
                (request.path.split('/').nth(3).unwrap().to_owned(), "pending")
            }
            ("GET", "alice") => ("alice".into(), "approved"),
            ("GET", "bob") => ("bob".into(), "denied"),
            ("GET", "carol") => ("carol".into(), "expired"),
            other => panic!("{other:?}"),
        };
        ok(json!({"id": id, "status": status}))
    });
    let home = example("starling", "starling", &web.url(""));
    let mut gateway = Gateway::start(&home);
    for (user, expected) in [
        ("alice", "accept"),
        ("bob", "authentication_failure/push_refused"),
        ("carol", "authentication_failure/push_unanswered"),
    ] {
        let mut request = push(user, user);
        request["server_username"] = "root".into();
        request["server_hostname"] = "db1".into();
        let answer = gateway.ask(&request);
        assert_eq!(answer.told(), expected, "{user}: {answer:?}");
    }
    // It takes no codes, and says so before anybody is asked.
    let asked = web.requests().len();
    assert_eq!(gateway.ask(&attempt(1, "alice", "492039")).code(), "malformed_code");
    assert_eq!(web.requests().len(), asked);
}

/// SecurID, which counts its answers and wants to hear of the last.
fn securid(request: &Request, count: &AtomicUsize) -> Response {
    assert_eq!(request.header("client-key"), Some("canary-secret"));
    let body = request.json();
    let now = count.fetch_add(1, Ordering::SeqCst) + 1;
    let initialize = request.path.ends_with("/initialize");
    let user = body["subjectName"].as_str().or_else(|| body["context"]["authnAttemptId"].as_str()).unwrap().to_owned();
    if !initialize {
        assert_eq!(body["context"]["inResponseTo"], format!("m{}", now - 1), "{body}");
    }
    let mut answer = json!({
        "context": {"authnAttemptId": user, "messageId": format!("m{now}"), "inResponseTo": body["context"]["messageId"]},
        "attemptReasonCode": "REASON",
        "challengeMethods": {"challenges": [{"requiredMethods": [
            {"methodId": "SECURID_NEXT_TOKENCODE", "versions": [{"referenceId": "r1"}]},
        ]}]},
    });
    let credential = &body["subjectCredentials"][0];
    let code = credential["collectedInputs"][0]["value"].as_str();
    answer["attemptResponseCode"] = match (credential["methodId"].as_str(), code, user.as_str()) {
        (None, ..) => "CHALLENGE",
        (Some("SECURID"), _, "next") => {
            answer["credentialValidationResults"] = json!([{"methodResponseCode": "SUCCESS"}]);
            "CHALLENGE"
        }
        (Some("SECURID" | "SECURID_NEXT_TOKENCODE"), Some("492039"), _) => "SUCCESS",
        (Some("SECURID"), _, "bob") => {
            answer["credentialValidationResults"] = json!([{"methodResponseCode": "FAIL"}]);
            "CHALLENGE"
        }
        (Some("SECURID"), _, "broken") => "ERROR",
        (Some("SECURID"), _, "stranger") => {
            answer["context"]["inResponseTo"] = "another".into();
            "SUCCESS"
        }
        (Some("APPROVE"), None, _) if credential["referenceId"].is_null() => "IN_PROCESS",
        (Some("APPROVE"), None, "alice") if now > 5 => "SUCCESS",
        (Some("APPROVE"), None, "alice") => "IN_PROCESS",
        _ => "FAIL",
    }
    .into();
    ok(answer)
}

#[test]
fn securid_example_keeps_to_the_order_of_messages() {
    let start = || {
        let count = AtomicUsize::new(0);
        Web::serve(move |request| securid(request, &count))
    };
    for (user, code, expected) in [
        ("alice", "492039", "accept"),
        ("alice", "000000", "authentication_failure/wrong_code"),
        ("bob", "000000", "authentication_failure/wrong_code"),
        ("broken", "000000", "communication_error/unexpected_answer"),
        ("stranger", "000000", "communication_error/bad_echo"),
    ] {
        let web = start();
        let answer = example("securid", "securid", &web.url("")).ask_one(&attempt(1, user, code));
        assert_eq!(answer.told(), expected, "{user}: {answer:?}");
    }
    let web = start();
    let home = example("securid", "securid", &web.url(""));
    let mut gateway = Gateway::start(&home);
    let first = json!({"session_id": "n", "key_value_pairs": {"otp": "111111"}});
    let asked = gateway.ask(&request(1, "next", first));
    let second = json!({"session_id": "n", "key_value_pairs": {"otp": "492039"}, "cookie": asked.cookie()});
    assert_eq!(gateway.ask(&request(2, "next", second)).told(), "accept");
    let web = start();
    let home = example("securid", "securid", &web.url(""));
    let answer = home.ask_one(&push("p", "alice"));
    assert_eq!((answer.verdict(), answer.factor.as_deref()), ("accept", Some("push")), "{answer:?}");
    let web = start();
    let home = example("securid", "securid", &web.url(""));
    assert_eq!(home.ask_one(&push("p", "bob")).told(), "authentication_failure/push_refused");
}

// ------------------------------------------------------------------------------------------------------------ the rules

#[test]
fn nothing_but_what_success_names_accepts() {
    let accept = json!({"result": true, "kind": "ACCEPT"});
    let html = Response::new(200, "text/html", accept.to_string());
    let twice = Response::new(200, "application/json", r#"{"result": false, "result": true, "kind": "ACCEPT"}"#);
    for (response, expected) in [
        (ok(accept.clone()), "accept"),
        (Response::json(201, &accept), "accept"),
        (ok(json!({"result": false})), "authentication_failure/wrong_code"),
        (ok(json!({"result": "true", "kind": "ACCEPT"})), "communication_error/unexpected_answer"),
        (ok(json!({"result": 1, "kind": "ACCEPT"})), "communication_error/unexpected_answer"),
        (ok(json!({"result": [true], "kind": "ACCEPT"})), "communication_error/unexpected_answer"),
        (ok(json!({"result": null, "kind": "ACCEPT"})), "communication_error/unexpected_answer"),
        (ok(json!({"result": true, "kind": "accept"})), "communication_error/unexpected_answer"),
        (ok(json!({"result": true})), "communication_error/unexpected_answer"),
        (ok(json!({})), "communication_error/unexpected_answer"),
        (ok(json!([accept])), "communication_error/unexpected_answer"),
        (ok(json!("ACCEPT")), "communication_error/unexpected_answer"),
        (html, "communication_error/not_json"),
        (twice, "communication_error/not_json"),
        (Response::empty(204), "communication_error/not_json"),
        (Response::json(302, &accept), "communication_error/redirected"),
        (Response::json(400, &accept), "communication_error/http_status"),
        (Response::json(401, &accept), "communication_error/http_status"),
        (Response::json(404, &accept), "communication_error/http_status"),
        (Response::json(429, &accept), "communication_error/rate_limited"),
        (Response::json(500, &accept), "communication_error/http_status"),
        (Response::json(502, &accept), "service_unreachable/service_unavailable"),
        (Response::json(503, &accept), "service_unreachable/service_unavailable"),
        (Response::json(504, &accept), "service_unreachable/service_unavailable"),
        (Response::json(507, &accept), "communication_error/http_status"),
    ] {
        let shown = format!("{} {}", response.status, String::from_utf8_lossy(&response.body));
        let (answer, asked) = told(OTP, response);
        assert_eq!((answer.told().as_str(), asked), (expected, 1), "{shown}: {answer:?}");
    }
}

#[test]
fn a_status_says_no_where_a_rule_names_it() {
    let rules = "unknown_user = status = 404\nlocked = status in [400, 423] and /code in [904, 1007]\n";
    let sections = format!("{OTP}{rules}");
    for (response, expected) in [
        (Response::new(404, "text/html", "<html>"), "authentication_failure/not_enrolled"),
        (Response::json(400, &json!({"code": 1007})), "authentication_failure/locked"),
        (Response::json(423, &json!({"code": 904})), "authentication_failure/locked"),
        (Response::json(400, &json!({"code": "904"})), "communication_error/http_status"),
        (Response::json(400, &json!({"code": 905})), "communication_error/http_status"),
        (ok(json!({"code": 904})), "communication_error/unexpected_answer"),
        (ok(json!({"result": true, "kind": "ACCEPT", "code": 904})), "accept"),
    ] {
        let shown = format!("{} {}", response.status, String::from_utf8_lossy(&response.body));
        let (answer, _) = told(&sections, response);
        assert_eq!(answer.told(), expected, "{shown}: {answer:?}");
    }
}

#[test]
fn what_a_service_says_is_shown_without_the_code_and_cut() {
    let long = format!("code 492039 \u{202e}\n{}", "x".repeat(500));
    let (answer, _) = told(OTP, ok(json!({"result": false, "message": long})));
    let reason = answer.reason();
    assert!(reason.contains("<U+202E>") && reason.chars().filter(|c| *c == 'x').count() < 200, "{reason}");
    assert!(!reason.contains("492039"), "{reason}");
    let (answer, _) = told(OTP, ok(json!({"result": "odd", "message": "token 492039"})));
    assert!(answer.reason().contains("/result is another text") && !answer.reason().contains("492039"), "{answer:?}");
}

#[test]
fn names_and_values_are_read_strictly_too() {
    for (form, content_type, body, expected) in [
        ("kv_lines", "text/plain", "a=b=c\r\nstatus=OK\r\n", "accept"),
        ("kv_lines", "text/plain", "status=OK\nstatus=NO\n", "communication_error/not_key_values"),
        ("kv_lines", "text/plain", "status=NO\nstatus=OK\n", "communication_error/not_key_values"),
        ("kv_lines", "text/plain", "status=OK\nnonsense\n", "communication_error/not_key_values"),
        ("kv_lines", "text/plain", "status=REPLAYED\n", "authentication_failure/wrong_code"),
        ("kv_lines", "text/plain", "status=ok\n", "communication_error/unexpected_answer"),
        ("kv_lines", "text/plain", "", "communication_error/not_key_values"),
        ("kv_lines", "text/html", "status=OK", "communication_error/not_key_values"),
        ("form", "application/x-www-form-urlencoded", "status=%4FK&x=1", "accept"),
        ("form", "application/x-www-form-urlencoded", "status=OK&status=OK", "communication_error/not_key_values"),
        ("form", "application/x-www-form-urlencoded", "status=OK\n", "accept"),
        ("form", "application/x-www-form-urlencoded", "<p> status=OK", "communication_error/not_key_values"),
    ] {
        let sections = format!(
            "[http corp]\nurl = ADDRESS\nallow_insecure_http = yes\nresponse = {form}\n[http corp otp]\n\
             request = POST /\nform = user={{user}}&otp={{otp}}\nsuccess = /status = \"OK\"\n\
             failure = /status = \"REPLAYED\"\n"
        );
        let (answer, _) = told(&sections, Response::new(200, content_type, body));
        assert_eq!(answer.told(), expected, "{body:?}: {answer:?}");
    }
}

#[test]
fn an_answer_to_another_request_is_not_believed() {
    let sections =
        format!("{OTP}headers = X-Request-Id: {{uuid}} | X-Nonce: {{nonce}}\necho = /id {{uuid}}; /nonce {{nonce}}\n");
    let accept = |id: &str, nonce: &str| ok(json!({"result": true, "kind": "ACCEPT", "id": id, "nonce": nonce}));
    let nonces = AtomicUsize::new(0);
    let web = Web::serve(move |request: &Request| {
        let (id, nonce) = (request.header("x-request-id").unwrap(), request.header("x-nonce").unwrap());
        assert!(nonce.len() == 32 && id.len() == 36 && id.as_bytes()[14] == b'4');
        match nonces.fetch_add(1, Ordering::SeqCst) {
            0 => accept(id, nonce),
            1 => accept(id, "0"),
            2 => accept(nonce, id),
            3 => ok(json!({"result": true, "kind": "ACCEPT"})),
            _ => ok(json!({"result": false})),
        }
    });
    let home = home("corp", &web.url(""), &sections);
    let told: Vec<String> = (0..5).map(|id| home.ask_one(&attempt(id, "alice", "492039")).told()).collect();
    let echo = "communication_error/bad_echo";
    assert_eq!(told, ["accept", echo, echo, echo, "authentication_failure/wrong_code"]);
}

#[test]
fn a_push_is_sent_with_its_context_polled_shown_and_taken_back() {
    let web = Web::serve(|request: &Request| match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/push") => {
            let user = request.field("user").unwrap();
            let found = ["ip", "via", "to"].map(|name| request.field(name).unwrap());
            assert_eq!(found, ["192.0.2.7".to_owned(), "http".into(), String::new()]);
            match user.as_str() {
                "none" => ok(json!({"state": "no", "message": "no phone"})),
                // Neither is an approval, whatever it says.
                "eager" => ok(json!({"state": "yes", "txid": "t"})),
                "bare" => ok(json!({"state": "sent"})),
                "odd" => ok(json!({"state": "sent", "txid": "a b"})),
                "dots" => ok(json!({"state": "sent", "txid": ".."})),
                "number" => ok(json!({"state": "sent", "txid": "t", "number": "42"})),
                _ => ok(json!({"state": "sent", "txid": user})),
            }
        }
        ("GET", "/push/alice") => ok(json!({"state": "yes"})),
        ("GET", "/push/bob") => ok(json!({"state": "no"})),
        ("GET", "/push/mallory") => ok(json!({"state": "not me"})),
        ("GET", "/push/late") => ok(json!({"state": "late"})),
        ("GET", "/push/true") => ok(json!({"state": true})),
        ("GET", _) => ok(json!({"state": "sent"})),
        ("DELETE", _) => Response::empty(204),
        other => panic!("{other:?}"),
    });
    let home = home("corp", &web.url(""), PUSH);
    home.set("plugin", "deadline", "4");
    let mut gateway = Gateway::start(&home);
    for (user, expected) in [
        ("alice", "accept"),
        ("bob", "authentication_failure/push_refused"),
        ("mallory", "authentication_failure/push_reported"),
        ("late", "authentication_failure/push_unanswered"),
        ("true", "communication_error/unexpected_answer"),
        ("none", "authentication_failure/no_device"),
        ("eager", "communication_error/unexpected_answer"),
        ("bare", "communication_error/unexpected_answer"),
        ("odd", "communication_error/unexpected_answer"),
        ("dots", "communication_error/unexpected_answer"),
        ("number", "policy_denied/push_off"),
        ("ignored", "authentication_failure/push_unanswered"),
    ] {
        let answer = gateway.ask(&push(user, user));
        assert_eq!(answer.told(), expected, "{user}: {answer:?}");
    }
    web.wait_until(|seen| seen.requests.iter().any(|r| r.method == "DELETE" && r.path == "/push/ignored"));
    let enter = json!({"session_id": "s", "protocol": "http", "key_value_pairs": {"otp": ""}});
    assert_eq!(gateway.ask(&request("again", "mallory", enter)).code(), "push_blocked");
}

#[test]
fn finalize_accepts_and_a_poll_before_it_does_not() {
    let sections = format!(
        "{}[http corp finalize]\nrequest = POST /finalize\nform = user={{user}}&txid={{txid}}\n\
         success = /done = true\nfailure = /done = false\n",
        PUSH
    );
    let web = Web::serve(|request: &Request| match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/push") => ok(json!({"state": "sent", "txid": request.field("user")})),
        ("POST", "/finalize") => match request.field("txid").unwrap().as_str() {
            "alice" => ok(json!({"done": true})),
            "bob" => ok(json!({"done": false})),
            _ => ok(json!({"state": "yes"})),
        },
        _ => ok(json!({"state": "yes"})),
    });
    let home = home("corp", &web.url(""), &sections);
    for (user, expected) in [
        ("alice", "accept"),
        ("bob", "authentication_failure/service_policy"),
        ("carol", "communication_error/unexpected_answer"),
    ] {
        assert_eq!(home.ask_one(&push(user, user)).told(), expected, "{user}");
    }
    assert_eq!(web.requests().iter().filter(|request| request.path == "/finalize").count(), 3);
}

#[test]
fn a_link_is_followed_at_the_service_only() {
    let sections = "[http corp]\nurl = ADDRESS/api\nallow_insecure_http = yes\nauth = bearer\n\
        auth_secret = file:corp.secret\n[http corp push_start]\nrequest = POST /push\njson = {\"user\": \"{user}\"}\n\
        pending = /state = \"sent\"\ncapture = link /link url\n\
        [http corp push_poll]\nrequest = GET {link}\nsuccess = /state = \"yes\"\npending = /state = \"sent\"\n";
    let elsewhere = Web::always(ok(json!({"state": "yes"})));
    let there = elsewhere.url("");
    let away = there.clone();
    let web = Web::serve(move |request: &Request| {
        if request.method == "GET" {
            return ok(json!({"state": "yes"}));
        }
        let host = request.header("host").unwrap();
        let link = match request.json()["user"].as_str().unwrap() {
            "absolute" => format!("http://{host}/poll?x=1"),
            "relative" => "/poll".to_owned(),
            "away" => format!("{away}/poll"),
            "slashes" => away.replace("http:", ""),
            "user" => format!("http://u:p@{host}/poll"),
            "https" => format!("https://{host}/poll"),
            "script" => "javascript:alert(1)".to_owned(),
            _ => "http://".to_owned(),
        };
        ok(json!({"state": "sent", "link": link}))
    });
    let home = home("corp", &web.url(""), sections);
    for user in ["absolute", "relative"] {
        assert_eq!(home.ask_one(&push(user, user)).told(), "accept", "{user}");
    }
    for user in ["away", "slashes", "user", "https", "script", "none"] {
        assert_eq!(home.ask_one(&push(user, user)).told(), "communication_error/foreign_link", "{user}");
    }
    assert_eq!(elsewhere.seen().connections, 0);
    assert!(web.requests().iter().any(|request| request.target == "/poll?x=1"));
}

#[test]
fn each_request_is_signed() {
    let sections = OTP.replacen(
        "\n[http corp otp]",
        "\nauth = hmac\nauth_user = gateway\nauth_secret = file:corp.secret\nauth_header = X-Signature\n[http corp otp]",
        1,
    ) + "query = realm=a b\n";
    let web = Web::serve(|request: &Request| {
        let header = request.header("x-signature").unwrap();
        let part = |name: &str| {
            let rest = header.split(&format!("{name}=\"")).nth(1).unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        let (time, nonce) = (part("Timestamp"), part("Nonce"));
        assert!(
            header.starts_with("HMAC-SHA256 KeyId=\"gateway\", ") && rig::now().abs_diff(time.parse().unwrap()) < 60
        );
        let body = HEXLOWER.encode(&Sha256::digest(&request.body));
        let (host, target) = (request.header("host").unwrap(), &request.target);
        let text = format!("countersign-hmac-v1\nPOST\n{host}\n{target}\n{time}\n{nonce}\n{body}");
        let mut mac = Hmac::<Sha256>::new_from_slice(b"canary-secret").unwrap();
        mac.update(text.as_bytes());
        ok(json!({"result": BASE64.encode(&mac.finalize().into_bytes()) == part("Signature"), "kind": "ACCEPT"}))
    });
    let home = home("corp", &web.url(""), &sections);
    assert_eq!(home.ask_one(&attempt(1, "alice", "492039")).told(), "accept");
}

#[test]
fn refused_credentials_are_told_from_a_wrong_code() {
    for auth in [
        "auth = bearer\nauth_secret = file:corp.secret",
        "auth = header\nauth_header = X-Api-Key\nauth_secret = file:corp.secret",
    ] {
        let sections = OTP.replacen("\n[http corp otp]", &format!("\n{auth}\n[http corp otp]"), 1);
        for status in [401, 403] {
            let (answer, _) = told(&sections, Response::json(status, &json!({"result": true, "kind": "ACCEPT"})));
            assert_eq!(answer.told(), "communication_error/credentials_refused", "{answer:?}");
        }
    }
    let sections = OTP.replacen("\n[http corp otp]", "\nauth = bearer\nauth_secret = file:none\n[http corp otp]", 1);
    let (answer, asked) = told(&sections, ok(json!({"result": true, "kind": "ACCEPT"})));
    assert_eq!((answer.told().as_str(), asked), ("internal_error/client_unusable", 0), "{answer:?}");
}

// -------------------------------------------------------------------------------------------------------- hostile input

#[test]
fn a_name_is_one_segment_whatever_it_holds() {
    let web = Web::serve(|request: &Request| {
        let user = request.json()["user"].as_str().unwrap().to_owned();
        assert_eq!(request.path.matches('/').count(), 2, "{}", request.path);
        let segment = request.target.rsplit('/').next().unwrap();
        let decoded = percent(segment);
        ok(json!({"result": decoded == user, "kind": "ACCEPT"}))
    });
    let home = home("corp", &web.url(""), OTP);
    for user in ["me", "x/../../admin?a=b", "a%2fb", "a\\b", "jürgen", "{otp}", "a\",\"admin\":true,\"", "..;", "a#b"]
    {
        assert_eq!(home.ask_one(&attempt(user, user, "492039")).told(), "accept", "{user}");
    }
    let asked = web.requests().len();
    for user in [".", "..", "a\0b", "a\u{202e}b", &"x".repeat(10_240)] {
        let answer = home.ask_one(&attempt(1, user, "492039"));
        assert_eq!(answer.told(), "authentication_failure/malformed_name", "{user}: {answer:?}");
    }
    assert_eq!(web.requests().len(), asked);
    assert!(web.requests().iter().all(|request| !request.target.contains("492039")));
}

/// What a segment of a path says.
fn percent(segment: &str) -> String {
    let form = segment.replace('+', "%2B");
    url::form_urlencoded::parse(format!("x={form}").as_bytes()).next().unwrap().1.into_owned()
}

#[test]
fn what_cannot_be_a_code_is_not_sent() {
    let web = Web::always(ok(json!({"result": true, "kind": "ACCEPT"})));
    let home =
        home("corp", &web.url(""), &OTP.replacen("\n[http corp otp]", "\ncode = digits 6..8\n[http corp otp]", 1));
    for code in [
        "12345",
        "123456789",
        "12345a",
        "１２３４５６",
        " 123456",
        "123456\n",
        "1 2 3 4 5 6",
        "\0",
        &"1".repeat(10_000),
    ] {
        let answer = home.ask_one(&attempt(1, "alice", code));
        assert_eq!(answer.told(), "authentication_failure/malformed_code", "{code:?}: {answer:?}");
    }
    assert_eq!(web.requests().len(), 0);
    assert_eq!(home.ask_one(&attempt(1, "alice", "123456")).told(), "accept");
}

#[test]
fn every_hostile_body_is_put_in_as_a_value() {
    let sections = "[http corp]\nurl = ADDRESS\nallow_insecure_http = yes\n[http corp otp]\nrequest = POST /\n\
        form = user={user}&pass={otp}&realm=corp\nsuccess = /result = true\n";
    let web = Web::serve(|request: &Request| {
        let names: Vec<String> = request.form().into_iter().map(|(name, _)| name).collect();
        ok(
            json!({"result": names == ["user", "pass", "realm"] && request.field("pass").unwrap() == "a&realm=b+%00={user}"}),
        )
    });
    let home = home("corp", &web.url(""), sections);
    assert_eq!(home.ask_one(&attempt(1, "x&pass=1", "a&realm=b+%00={user}")).told(), "accept");
}

// --------------------------------------------------------------------------------------------------------- plugin.ini

/// What `check` says of these sections, without the path.
fn mistakes(sections: &str) -> String {
    let home = home("corp", "https://mfa.corp.example", sections);
    let finished = home.run(&["check"], "");
    assert_eq!(finished.status, Some(78), "{sections}\n{finished:?}");
    finished.stderr + &finished.stdout
}

#[test]
fn each_mistake_has_its_place_and_a_remedy() {
    let otp = "[http corp]\nurl = ADDRESS\n[http corp otp]\n";
    let whole = "request = POST /check\nform = user={user}&pass={otp}\nsuccess = /ok = true\n";
    for (sections, expected) in [
        ("[http corp]\nurl = ADDRESS\n".to_owned(), "has no step; write [http corp otp]"),
        (format!("[http corp otp]\n{whole}"), "there is no section [http corp] for its url"),
        (format!("{otp}{whole}[http corp otpp]\nrequest = GET /\n"), "did you mean otp?"),
        (format!("{otp}{whole}[http corp otp x]\n"), "expected a name such as [http corp]"),
        (
            format!("{otp}{}", whole.replace("{user}", "{usr}")),
            "{usr}: unknown placeholder, or not captured before; did you mean user?",
        ),
        (format!("{otp}{}", whole.replace("{otp}", "x")), "{otp} is missing: the code would not be verified"),
        (format!("{otp}{}", whole.replace("{user}", "x")), "{user} is nowhere in it: anybody would be meant"),
        (format!("{otp}{whole}query = pass={{otp}}\n"), "a code goes into the body of otp and answer only"),
        (
            format!("{otp}{}", whole.replace("/check", "/check/{otp}")),
            "a code goes into the body of otp and answer only",
        ),
        (format!("{otp}{whole}headers = X-Code: {{otp}}\n"), "a code goes into the body of otp and answer only"),
        (format!("{otp}{whole}headers = Authorization: Bearer x\n"), "a secret belongs into auth_secret"),
        (format!("{otp}{whole}headers = X-User: {{user}}\n"), "go into a header"),
        (
            format!("{otp}{}", whole.replace("pass=", "key={auth_secret}&pass=")),
            "a secret goes into the request by auth only",
        ),
        (format!("{otp}{}", whole.replace("/ok = true", "status = 200")), "no evidence"),
        (format!("{otp}{}", whole.replace("/ok = true", "/ok exists")), "no evidence"),
        (format!("{otp}{}", whole.replace("/ok = true", "/ok = true or /error absent")), "no evidence"),
        (format!("{otp}{}", whole.replace("/ok = true", "status = 404 and /ok = true")), "from 200 to 299"),
        (format!("{otp}{}", whole.replace("/ok = true", "/ok = yes")), "with its quotes, at \"yes\""),
        (format!("{otp}{}", whole.replace("success = /ok = true\n", "")), "success: is missing"),
        (format!("{otp}{whole}failure = status = 503\n"), "a fault of the service"),
        (format!("{otp}{whole}json = {{\"user\": \"{{user}}\"}}\n"), "a request has one body"),
        (format!("{otp}{}", whole.replace("POST", "GET")), "no body goes with GET or DELETE"),
        (format!("{otp}{whole}pending = /ok = 1\n"), "write [http corp answer]"),
        (format!("{otp}{whole}capture = txid /txid digits\n"), "does nothing in otp"),
        (
            format!("{otp}{whole}[http corp push_start]\nrequest = POST /p\nform = u={{user}}\npending = /ok = true\n"),
            "does nothing without [http corp push_poll]",
        ),
        (
            format!("{otp}{whole}[http corp cancel]\nrequest = POST /p\nform = u={{user}}\n"),
            "does nothing without [http corp push_start]",
        ),
        (
            format!(
                "{otp}{whole}[http corp otp_start]\nrequest = POST /p\nform = u={{user}}\nsuccess = /ok = true\npending = /a = 1\n"
            ),
            "otp_start accepts nobody",
        ),
        (
            format!("{}{whole}", otp.replace("ADDRESS", "ADDRESS\nauth = basic\nauth_secret = file:x")),
            "auth_user: is missing; auth = basic needs it",
        ),
        (
            format!("{}{whole}", otp.replace("ADDRESS", "ADDRESS\nauth_secret = file:x")),
            "auth_secret: is not used with auth = none",
        ),
        (
            format!(
                "{}{whole}",
                otp.replace("ADDRESS", "ADDRESS\nauth = basic\nauth_secret = file:x\nauth_user = a:b")
            ),
            "a name with a colon",
        ),
        (
            format!(
                "{}{whole}",
                otp.replace("ADDRESS", "ADDRESS\nauth = hmac\nauth_secret = file:x\nauth_user = a\"b")
            ),
            "without spaces, quotes",
        ),
        (
            format!(
                "{}{whole}",
                otp.replace("ADDRESS", "ADDRESS\nauth = header\nauth_secret = file:x\nauth_header = Host")
            ),
            "the name of a header",
        ),
        (
            format!(
                "{}{whole}headers = x-key: 1\n",
                otp.replace("ADDRESS", "ADDRESS\nauth = header\nauth_secret = file:x\nauth_header = X-Key")
            ),
            "which is there already",
        ),
        (format!("{}{whole}", otp.replace("ADDRESS", "ADDRESS\nauth = token")), "expected none, basic, bearer"),
        (format!("{}{whole}", otp.replace("ADDRESS", "http://mfa.corp.example")), "allow_insecure_http"),
    ] {
        let text = mistakes(&sections);
        assert!(
            text.contains(expected) && text.contains("plugin.ini:"),
            "{sections}\nexpected {expected}\nfound {text}"
        );
        assert!(text.contains("[http corp"), "{text}");
    }
    let push = "[http corp]\nurl = ADDRESS\n[http corp push_start]\nrequest = POST /p\nform = u={user}\npending = /ok = true\n\
                capture = txid /txid token\n[http corp push_poll]\nrequest = GET /p/{txid}\nsuccess = /ok = true\npending = /ok = 1\n";
    for (from, to, expected) in [
        ("/p/{txid}", "/p", "anybody would be meant"),
        ("/p/{txid}", "{txid}", "{txid} is no captured url"),
        ("txid token", "txid token optional", "is optional, and may be missing here"),
        ("txid /txid token", "txid /txid token; other /other hex", "other is used nowhere"),
        ("txid /txid token", "user /txid token; txid /txid token", "user is known already"),
        ("pending = /ok = true\n", "", "pending: is missing"),
        ("txid token", "txid regex", "expected a name, where its value stands"),
        ("u={user}", "u={user}&p={otp}", "a code goes into the body of otp and answer only"),
    ] {
        let text = mistakes(&push.replacen(from, to, 1));
        assert!(text.contains(expected), "expected {expected}\nfound {text}");
    }
}

#[test]
fn a_written_secret_makes_the_file_private() {
    let sections = OTP.replacen("\n[http corp otp]", "\nauth = bearer\nauth_secret = canary\n[http corp otp]", 1);
    let home = home("corp", "http://127.0.0.1:9", &sections);
    fs::set_permissions(home.ini(), fs::Permissions::from_mode(0o644)).unwrap();
    let finished = home.run(&["check"], "");
    assert!(finished.status == Some(78) && !finished.stderr.contains("canary"), "{finished:?}");
    fs::set_permissions(home.ini(), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(home.run(&["check"], "").status, Some(0));
}

#[test]
fn every_example_is_a_configuration() {
    for (file, name) in [
        ("privacyidea", "privacyidea"),
        ("lemonldap-rest", "rest"),
        ("initiate-validate-result", "verify_push"),
        ("inwebo", "inwebo"),
        ("starling", "starling"),
        ("securid", "securid"),
        ("verdict", "decider"),
    ] {
        let text = fs::read_to_string(format!("{}/contrib/http/{file}.ini", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let finished = home(name, "", &text).run(&["check"], "");
        assert_eq!(finished.status, Some(0), "{file}: {finished:?}");
    }
}

#[test]
fn doctor_looks_at_the_credentials_and_at_health() {
    let auth = "\nauth = bearer\nauth_secret = file:corp.secret\nhealth = /health\n[http corp otp]";
    let sections = OTP.replacen("\n[http corp otp]", auth, 1);
    for (status, expected) in [(200, true), (401, false), (500, false)] {
        let web = Web::serve(move |request: &Request| match request.path.as_str() {
            "/health" => Response::json(status, &json!({})),
            _ => Response::empty(404),
        });
        let finished = home("corp", &web.url(""), &sections).run(&["doctor", "http corp"], "");
        assert_eq!(finished.status == Some(0), expected, "{status}: {finished:?}");
        assert!(!finished.stdout.contains("canary"), "{finished:?}");
    }
}

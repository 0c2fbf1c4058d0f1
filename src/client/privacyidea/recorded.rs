//! Every recorded answer of a privacyIDEA 3.14, read, beside what it must be found to be.

use serde_json::{Value, json};

use super::answer::{self, Accepted, Checked, No, Polled, Triggered};
use crate::client::ClientError;
use crate::domain::attempt::Numbers;
use crate::domain::outcome::Outcome;

const EXCHANGES: &str = include_str!("../../../tests/services/privacyidea/exchanges.jsonl");

/// `accept`, `class/code`, or what is to be done, in a few words.
fn found(endpoint: &str, status: u16, body: &Value) -> String {
    let found = match endpoint {
        "check" => answer::check(status, body).map(|checked| match checked {
            Checked::Accepted(Accepted::Token { serial: _, kind: _, said: _ }) => "accept".to_owned(),
            Checked::Accepted(Accepted::NoToken { said: _ }) => "accept without a token".into(),
            Checked::Accepted(Accepted::Hidden) => "accept without details".into(),
            Checked::Challenged(challenge) => done(challenge.outcome(Numbers::Shown)),
            Checked::Refused { no: No { why, said: _ }, kind: _ } => why.code().into(),
        }),
        "triggerchallenge" => answer::trigger(status, body).map(|triggered| match triggered {
            Triggered::Challenged(challenge) => done(challenge.outcome(Numbers::Shown)),
            Triggered::Refused(No { why, said: _ }) => why.code().into(),
            Triggered::SessionOver { said: _ } => "session over".into(),
        }),
        "polltransaction" => answer::poll(status, body).map(|polled| match polled {
            Polled::Answered => "answered".to_owned(),
            Polled::Declined => "declined".into(),
            Polled::Cancelled => "cancelled".into(),
            Polled::Pending => "pending".into(),
            Polled::Refused(No { why, said: _ }) => why.code().into(),
        }),
        "auth" => answer::login(status, body).map(|login| match login.rights {
            Some(rights) => format!("session with {}", rights.join(" ")),
            None => "session".into(),
        }),
        other => panic!("{other}"),
    };
    found.unwrap_or_else(|error| fault(&error))
}

fn fault(error: &ClientError) -> String {
    match error {
        ClientError::Communication(error) => format!("communication {}", error.code),
        ClientError::Unreachable(error) => format!("unreachable {}", error.code),
        ClientError::Unusable(_) | ClientError::Store(_) | ClientError::Seal(_) | ClientError::Authenticator(_) => {
            error.to_string()
        }
    }
}

fn done(outcome: Result<Outcome, ClientError>) -> String {
    match outcome {
        Ok(Outcome::Pushed { show: Some(show), state: _ }) => format!("push: {show}"),
        Ok(Outcome::Pushed { show: None, state: _ }) => "push".into(),
        Ok(Outcome::Ask { prompt, state: _ }) => format!("ask: {}", prompt.text),
        Ok(Outcome::Denied(denial)) => denial.code().into(),
        Ok(Outcome::Verified(_)) => panic!("a challenge is no proof"),
        Err(error) => fault(&error),
    }
}

/// What is made of a recorded answer; `None` where it is none of the endpoints' own JSON.
fn of_exchange(exchange: &Value) -> Option<String> {
    let path = exchange["request"]["path"].as_str()?;
    let endpoint = path.strip_prefix("/validate/").unwrap_or(&path[1..]).split(['?', '/']).next()?;
    let (status, body) = (exchange["response"]["status"].as_u64()?, exchange["response"].get("json")?);
    let is_read = ["check", "triggerchallenge", "polltransaction", "auth"].contains(&endpoint);
    // The rest ends by its status already.
    let is_known = status == 200 || answer::is_error(body);
    (is_read && is_known).then(|| found(endpoint, status.try_into().unwrap(), body))
}

/// What must be found, and in which answers.
const EXPECTED: [(&str, &str); 26] = [
    (
        "accept",
        "hotp-ok hotp-ahead totp-ok pin-otp-ok otp8-ok totp-sha256-ok spass-ok unicode-user-ok two-tokens-ok \
         realm-param-ok user-at-realm-ok serial-ok json-body-ok get-ok apikey-ok cr-ok cr-totp-ok \
         cr-two-tokens-ok tc-multi-otp-ok push-finalize-ok presence-finalize-ok code-ok wait-accepted still-alive",
    ),
    ("used_code", "hotp-reused totp-reused"),
    (
        "wrong_code",
        "hotp-wrong hotp-behind hotp-garbage hotp-empty totp-wrong totp-old pin-wrong pin-ok-otp-wrong \
         pin-missing pin-only two-tokens-wrong lock-1 lock-2 lock-3 max-fail-1 max-fail-2 serial-wrong-otp \
         nonce-signed apikey-ok-wrong-otp x-api-key-unknown cr-wrong cr-replayed-transaction cr-other-user \
         cr-unknown-transaction cr-empty-answer cr-wrong-pin cr-expired push-finalize-early \
         push-finalize-other-user push-finalize-again push-finalize-declined-plain push-finalize-declined-unknown \
         push-finalize-declined-cancelled push-finalize-expired push-pin-wrong push-type-otp code-before-confirm \
         code-wrong wait-timeout hide-status-wrong-otp hide-message-wrong-otp hide-message-no-token \
         hide-message-locked no-detail-fail",
    ),
    (
        "communication service_fault",
        "pass-missing email-no-smtp-exception sms-no-gateway-exception db-broken-check db-broken-poll",
    ),
    ("not_enrolled", "user-unknown user-no-token realm-unknown tc-user-unknown hide-status-user-unknown"),
    (
        "locked",
        "token-failcount-exceeded token-disabled token-expired token-revoked lock-then-right max-fail-3 \
         tc-locked-token",
    ),
    ("service_policy", "authz-denied hide-status-authz-denied hide-message-user-unknown"),
    ("accept without a token", "pass-on-no-token"),
    (
        "communication request_refused",
        "user-missing user-empty serial-unknown serial-of-other-user push-poll-missing hide-status-poll-missing",
    ),
    (
        "communication credentials_refused",
        "apikey-missing apikey-garbage apikey-wrong-role apikey-bearer-prefix auth-wrong auth-unknown \
         auth-missing tc-no-auth tc-validate-key tc-no-right hide-status-no-api-key",
    ),
    ("session with triggerchallenge", "auth-ok"),
    (
        "ask: please enter otp: ",
        "cr-trigger cr-trigger-2 cr-empty-pass-triggers cr-trigger-expiring cr-two-tokens tc-hotp",
    ),
    (
        "pending",
        "cr-poll-interactive cr-expired-poll tc-multi-poll-after-otp push-poll-pending push-poll-after-finalize \
         push-poll-expired push-poll-unknown presence-poll-after-wrong presence-poll-after-missing \
         code-poll-before code-poll-after-confirm db-ok-poll",
    ),
    ("session over", "tc-garbage tc-bearer tc-expired-token tc-bad-signature-token"),
    (
        "push",
        "tc-pi-authorization tc-push tc-type-filter tc-serial tc-multi push-trigger push-trigger-decline-plain \
         push-trigger-decline-unknown push-trigger-decline-cancelled push-trigger-expiring push-pin-trigger",
    ),
    ("no_device", "tc-no-token push-not-enrolled"),
    ("answered", "push-poll-accept push-poll-path presence-poll-ok"),
    ("declined", "push-poll-declined-plain push-poll-declined-unknown"),
    ("cancelled", "push-poll-declined-cancelled"),
    ("push: Press 45 on your phone", "presence-trigger"),
    ("ask: Please enter the code displayed on your smartphone: ", "code-trigger"),
    ("push_reported", "wait-declined"),
    ("communication delivery_failed", "email-no-smtp sms-no-gateway"),
    ("accept without details", "no-detail-ok"),
    ("communication unexpected_answer", "no-detail-challenge"),
    ("communication directory_failed", "resolver-down"),
];

#[test]
fn every_recorded_answer_is_what_it_is_known_to_be() {
    let mut count = 0;
    for exchange in EXCHANGES.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let Some(found) = of_exchange(&exchange) else { continue };
        let id = exchange["id"].as_str().unwrap();
        let expected = EXPECTED.iter().find(|(_, ids)| ids.split(' ').any(|known| known == id));
        assert_eq!(expected.map(|(expected, _)| *expected), Some(found.as_str()), "{id}");
        count += 1;
    }
    assert_eq!(count, EXPECTED.iter().map(|(_, ids)| ids.split(' ').count()).sum::<usize>());
}

#[test]
fn only_the_whole_evidence_is_an_accept() {
    let detail = json!({"message": "matching 1 tokens", "serial": "HOTP1", "type": "hotp"});
    let result = json!({"authentication": "ACCEPT", "status": true, "value": true});
    let answer =
        |result: &Value, detail: &Value| json!({"detail": detail, "id": 1, "jsonrpc": "2.0", "result": result});
    assert_eq!(found("check", 200, &answer(&result, &detail)), "accept");
    assert_eq!(found("check", 200, &answer(&json!({"status": true, "value": true}), &detail)), "accept");

    let strange = "communication unexpected_answer";
    let spoilt = |pointer: &str, value: Value| {
        let mut answer = answer(&result, &detail);
        *answer.pointer_mut(pointer).unwrap() = value;
        answer
    };
    for (body, expected) in [
        (spoilt("/result/value", json!(1)), strange),
        (spoilt("/result/value", json!("true")), strange),
        (spoilt("/result/value", json!([true])), strange),
        (spoilt("/result/value", Value::Null), strange),
        (spoilt("/result/value", json!(false)), strange),
        (spoilt("/result/status", json!(1)), strange),
        (spoilt("/result/status", json!(false)), strange),
        (spoilt("/result/status", Value::Null), strange),
        (spoilt("/result/authentication", json!("accept")), strange),
        (spoilt("/result/authentication", json!("CHALLENGE")), strange),
        (spoilt("/result/authentication", json!("REJECT")), strange),
        (spoilt("/result/authentication", json!("DECLINED")), strange),
        (spoilt("/result/authentication", json!("MAYBE")), strange),
        (spoilt("/result/authentication", json!(true)), strange),
        (spoilt("/result", json!([])), strange),
        (spoilt("/result", Value::Null), strange),
        (spoilt("/detail", json!("HOTP1")), strange),
        (spoilt("/detail", json!([])), strange),
        (spoilt("/detail", Value::Null), "accept without details"),
        (spoilt("/detail/serial", json!(1)), strange),
        (spoilt("/detail/serial", json!("")), "accept without a token"),
        (spoilt("/detail/serial", Value::Null), "accept without a token"),
        (spoilt("/detail", json!({"serial": "HOTP1", "multi_challenge": []})), strange),
        (spoilt("/detail", json!({"serial": "HOTP1", "multi_challenge": [{}]})), strange),
        (
            spoilt(
                "/result",
                json!({"authentication": "ACCEPT", "status": true, "value": true, "error": {"code": 904}}),
            ),
            strange,
        ),
        (json!([answer(&result, &detail)]), strange),
        (json!({}), strange),
        (json!(true), strange),
    ] {
        assert_eq!(found("check", 200, &body), expected, "{body}");
    }
    for status in [201, 204, 400, 401, 403, 404, 500] {
        assert_eq!(found("check", status, &answer(&result, &detail)), strange, "{status}");
    }
}

#[test]
fn nothing_but_a_check_lets_anybody_in() {
    // What eduMFA says of challenges that it has triggered.
    let push = json!({"client_mode": "poll", "message": "Please confirm", "serial": "PIPU1", "transaction_id": "0123", "type": "edupush"});
    let detail = json!({"multi_challenge": [push], "transaction_id": "0123", "serial": "PIPU1"});
    let result = json!({"authentication": "ACCEPT", "status": true, "value": 1});
    assert_eq!(found("triggerchallenge", 200, &json!({"detail": detail, "result": result})), "push");
    let accept =
        json!({"detail": {"serial": "HOTP1"}, "result": {"authentication": "ACCEPT", "status": true, "value": true}});
    assert_eq!(found("triggerchallenge", 200, &accept), "communication unexpected_answer");
    assert_eq!(found("polltransaction", 200, &accept), "answered");
    assert_eq!(found("auth", 200, &accept), "communication unexpected_answer");
}

#[test]
fn polling_asks_for_the_status_of_the_challenge_first() {
    let answer = |detail: Value, value: bool| json!({"detail": detail, "result": {"authentication": "REJECT", "status": true, "value": value}});
    for (status, value, expected) in [
        ("accept", true, "answered"),
        ("declined", false, "declined"),
        ("cancelled", false, "cancelled"),
        ("pending", false, "pending"),
        ("accept", false, "communication unexpected_answer"),
        ("pending", true, "communication unexpected_answer"),
        ("expired", false, "communication unexpected_answer"),
    ] {
        assert_eq!(
            found("polltransaction", 200, &answer(json!({"challenge_status": status}), value)),
            expected,
            "{status}"
        );
    }
    // Servers that do not know it yet.
    assert_eq!(found("polltransaction", 200, &answer(json!({}), true)), "answered");
    assert_eq!(found("polltransaction", 200, &answer(Value::Null, false)), "pending");
}

#[test]
fn errors_are_known_by_their_code() {
    let error =
        |code: i64| json!({"detail": null, "result": {"error": {"code": code, "message": "ERR"}, "status": false}});
    for (status, code, expected) in [
        (400, 904, "not_enrolled"),
        (401, 904, "not_enrolled"),
        (400, 1007, "locked"),
        (400, 401, "service_policy"),
        (401, 401, "service_policy"),
        (401, 403, "service_policy"),
        (403, 303, "communication credentials_refused"),
        (401, 303, "communication credentials_refused"),
        (401, 4031, "communication credentials_refused"),
        (401, 4033, "communication credentials_refused"),
        (401, 4304, "communication credentials_refused"),
        (401, 4305, "communication credentials_refused"),
        (401, 4306, "communication credentials_refused"),
        (400, 907, "communication directory_failed"),
        (400, 905, "communication request_refused"),
        (400, 9051, "communication request_refused"),
        (404, 601, "communication request_refused"),
        (400, 12345, "communication request_refused"),
        (500, -500, "communication service_fault"),
        (500, -600, "communication service_fault"),
        (501, 904, "communication service_fault"),
        (500, 904, "communication service_fault"),
        // An error is not reported by a success.
        (200, 904, "communication unexpected_answer"),
    ] {
        assert_eq!(found("check", status, &error(code)), expected, "{status} {code}");
    }
    assert_eq!(
        found("check", 400, &json!({"result": {"error": {"code": "904"}, "status": false}})),
        "communication unexpected_answer"
    );
    for code in [4304, 4305] {
        assert_eq!(found("triggerchallenge", 401, &error(code)), "session over");
    }
    assert_eq!(found("triggerchallenge", 403, &error(303)), "communication credentials_refused");
    assert_eq!(found("auth", 401, &error(4031)), "communication credentials_refused");
    assert_eq!(found("auth", 500, &error(-500)), "communication service_fault");
}

#[test]
fn challenges_that_nobody_at_a_gateway_can_answer_are_denied() {
    let of = |detail: Value, numbers| {
        let body = json!({"detail": detail, "result": {"authentication": "CHALLENGE", "status": true, "value": false}});
        match answer::check(200, &body) {
            Ok(Checked::Challenged(challenge)) => done(challenge.outcome(numbers)),
            Ok(other) => format!("{other:?}"),
            Err(error) => fault(&error),
        }
    };
    let challenge = |mode: &str, more: Value| {
        let mut challenge =
            json!({"client_mode": mode, "message": "say: ", "serial": "S", "transaction_id": "12", "type": "t"});
        challenge.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        challenge
    };
    let detail = |challenges: &[Value]| json!({"multi_challenge": challenges, "transaction_id": "12"});
    let (typed, webauthn) = (challenge("interactive", json!({})), challenge("webauthn", json!({})));
    let (plain, number) = (challenge("poll", json!({})), challenge("poll", json!({"presence_answer": "7"})));
    let other = challenge("poll", json!({"presence_answer": "B"}));
    let strange = "communication unexpected_answer";
    for (challenges, shown, unseen) in [
        (vec![typed.clone()], "ask: say: ", "ask: say: "),
        (vec![typed.clone(), typed.clone(), webauthn.clone()], "ask: say: ", "ask: say: "),
        (vec![webauthn], "no_device", "no_device"),
        (vec![plain.clone(), typed.clone()], "push", "push"),
        (vec![number.clone()], "push: Press 7 on your phone", "push_off"),
        (vec![number.clone(), other], "push: Press 7 or B on your phone", "push_off"),
        (vec![number.clone(), typed.clone()], "push: Press 7 on your phone", "ask: say: "),
        (vec![number, plain.clone()], "push: Press 7 on your phone", "push"),
        (vec![challenge("poll", json!({"link": "otpauth://pipush/x"}))], "service_policy", "service_policy"),
        (
            vec![challenge("interactive", json!({"message": "a\u{1b}[2Jb"}))],
            "ask: a<U+001B>[2Jb: ",
            "ask: a<U+001B>[2Jb: ",
        ),
        (
            vec![challenge("interactive", json!({"message": null}))],
            "ask: One-time password: ",
            "ask: One-time password: ",
        ),
        (vec![challenge("interactive", json!({"message": 1}))], strange, strange),
        (vec![challenge("interactive", json!({"transaction_id": "13"}))], strange, strange),
        (vec![json!("push")], strange, strange),
        (vec![], strange, strange),
    ] {
        assert_eq!(of(detail(&challenges), Numbers::Shown), shown, "{challenges:?}");
        assert_eq!(of(detail(&challenges), Numbers::Unseen), unseen, "{challenges:?}");
    }
    for transaction in [json!(""), json!("1/2"), json!("1 2"), json!(12), Value::Null, json!("1".repeat(65))] {
        let detail = json!({"multi_challenge": [plain], "transaction_id": transaction});
        assert_eq!(of(detail, Numbers::Shown), strange, "{transaction}");
    }
    let mut enrols = detail(&[typed]);
    enrols["enroll_via_multichallenge"] = json!(true);
    assert_eq!(of(enrols, Numbers::Shown), "service_policy");
}

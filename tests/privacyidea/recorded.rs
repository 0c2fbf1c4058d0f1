//! What comes of each recorded situation: at the server itself wherever a login can bring it there, else from its recorded
//! answer.

#![expect(clippy::print_stdout, reason = "the table is for whoever reads along")]

use std::collections::{BTreeMap, BTreeSet};

use super::rig::http::Request;
use super::rig::services::{Answering, PrivacyIdea, post};
use super::rig::web::Web;
use super::rig::{Answer, Gateway, Home, Phone, now, request};
use super::*;

/// What came of the recorded situations.
#[derive(Default)]
struct Table {
    rows: Vec<(String, &'static str, String, String)>,
}

impl Table {
    /// Notes what was told in the recorded situation `id`; `~` before an expected text is: begins with.
    fn row(&mut self, how: &'static str, id: &str, expected: &str, answer: &Answer) {
        let told = told(answer);
        self.rows.push((id.to_owned(), how, expected.to_owned(), told));
    }

    fn real(&mut self, id: &str, expected: &str, answer: &Answer) {
        self.row("real", id, expected, answer);
    }

    fn wrong(&self) -> Vec<&(String, &'static str, String, String)> {
        let is_right = |expected: &str, told: &str| match expected.strip_prefix('~') {
            Some(beginning) => told.starts_with(beginning),
            None => told == expected,
        };
        self.rows.iter().filter(|(_, _, expected, told)| !is_right(expected, told)).collect()
    }

    #[track_caller]
    fn print(&self) {
        let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for (id, how, _, told) in &self.rows {
            println!("{how:<8} {id:<34} {told}");
            let class = told.split([':', '/']).next().unwrap().to_owned();
            *counts.entry((how, class)).or_default() += 1;
        }
        println!();
        for ((how, class), count) in &counts {
            println!("{how:<8} {class:<26} {count:>4}");
        }
        println!("{:<8} {:<26} {:>4}", "", "all", self.rows.len());
        assert!(self.wrong().is_empty(), "{:#?}", self.wrong());
    }
}

// ---------------------------------------------------------------------------------------------- the real situations

/// Codes with and without PIN, and what keeps accounts out.
fn codes(server: &PrivacyIdea, table: &mut Table) {
    let home = home(&server.url, &[]);
    let app = server.app();
    let eight = app.clone().with("SHA1", 8, 30);
    let sha256 = Phone::with_secret("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA").with("SHA256", 6, 30);
    let code = |step| app.code(step);
    let (bob, bob_old) = (app.code_at(now(), 0), app.code_at(now() - 600, 0));
    for (id, user, typed, expected) in [
        ("hotp-ok", "alice", code(0), "accept/otp"),
        ("hotp-reused", "alice", code(0), USED),
        ("hotp-wrong", "alice", "000000".into(), WRONG),
        ("hotp-ahead", "alice", code(3), "accept/otp"),
        ("hotp-behind", "alice", code(1), WRONG),
        ("hotp-garbage", "alice", "not-an-otp".into(), WRONG),
        ("hotp-empty", "alice", String::new(), NO_DEVICE),
        ("totp-ok", "bob", bob.clone(), "accept/otp"),
        ("totp-reused", "bob", bob, USED),
        ("totp-wrong", "bob", "000000".into(), WRONG),
        ("totp-old", "bob", bob_old, WRONG),
        ("pin-otp-ok", "carol", format!("carolpin{}", code(0)), "accept/otp"),
        ("pin-wrong", "carol", format!("wrongpin{}", code(1)), WRONG),
        ("pin-ok-otp-wrong", "carol", "carolpin000000".into(), WRONG),
        ("pin-missing", "carol", code(1), WRONG),
        ("pin-only", "carol", "carolpin".into(), WRONG),
        ("otp8-ok", "nina", eight.code(0), "accept/otp"),
        ("totp-sha256-ok", "oscar", sha256.code_at(now(), 0), "accept/otp"),
        ("spass-ok", "trent", "trentpin".into(), "accept/otp"),
        ("unicode-user-ok", "jürgen", code(0), "accept/otp"),
        ("two-tokens-wrong", "sybil", "000000".into(), WRONG),
        ("two-tokens-ok", "sybil", code(0), "accept/otp"),
        ("user-unknown", "nosuch", "123456".into(), NOT_ENROLLED),
        ("user-no-token", "frank", "123456".into(), NOT_ENROLLED),
        ("token-failcount-exceeded", "dave", code(0), LOCKED),
        ("token-disabled", "erin", code(0), LOCKED),
        ("token-expired", "grace", code(0), LOCKED),
        ("token-revoked", "peggy", code(0), LOCKED),
        ("lock-1", "judy", "000000".into(), WRONG),
        ("lock-2", "judy", "000000".into(), WRONG),
        ("lock-3", "judy", "000000".into(), WRONG),
        ("lock-then-right", "judy", code(0), LOCKED),
        ("authz-denied", "karl", code(0), POLICY),
        ("pass-on-no-token", "laura", "whatever".into(), POLICY),
        ("max-fail-1", "mallory", "000000".into(), WRONG),
        ("max-fail-2", "mallory", "000000".into(), WRONG),
        ("max-fail-3", "mallory", code(0), LOCKED),
        ("user-at-realm-ok", "alice@corp", code(4), "accept/otp"),
        ("push-pin-wrong", "pushpin", "bad".into(), WRONG),
        ("push-type-otp", "pushy", "123456".into(), WRONG),
        ("push-not-enrolled", "pushnopoll", String::new(), NO_DEVICE),
        ("email-no-smtp", "quentin", "mailpin".into(), "communication_error/delivery_failed"),
        ("sms-no-gateway", "ruth", "smspin".into(), "communication_error/delivery_failed"),
        ("cr-wrong-pin", "heidi", "wrongpin".into(), WRONG),
    ] {
        let answer = Login::new(&home, user).types(&typed);
        table.real(id, expected, &answer);
        assert!(typed.len() < 6 || !format!("{answer:?}{}", home.log()).contains(&typed), "{answer:?}\n{}", home.log());
    }
}

/// Realms, keys and service accounts.
fn parameters(server: &PrivacyIdea, table: &mut Table) {
    let code = |step| server.app().code(step);
    let validate_key = server.validate_key.as_str();
    let admin_token = {
        let form = [("username", &*server.admin.name), ("password", &*server.admin.password)];
        post(&server.url, "/auth", &[], &form).json()["result"]["value"]["token"].as_str().unwrap().to_owned()
    };
    let bearer = format!("Bearer {validate_key}");
    let api = |key| vec![("realm", server.api_realm.as_str()), ("validate_key", key)];
    for (id, options, user, typed, expected) in [
        ("realm-param-ok", vec![("realm", server.realm.as_str())], "alice", code(5), "accept/otp"),
        ("realm-unknown", vec![("realm", "nosuchrealm")], "alice", "123456".into(), NOT_ENROLLED),
        ("apikey-missing", vec![("realm", server.api_realm.as_str())], "apiuser", code(0), CREDENTIALS),
        ("apikey-garbage", api("garbage"), "apiuser", code(0), CREDENTIALS),
        ("apikey-wrong-role", api(&admin_token), "apiuser", code(0), CREDENTIALS),
        ("apikey-bearer-prefix", api(&bearer), "apiuser", code(0), CREDENTIALS),
        ("apikey-ok", api(validate_key), "apiuser", code(0), "accept/otp"),
        ("apikey-ok-wrong-otp", api(validate_key), "apiuser", "000000".into(), WRONG),
        (
            "auth-wrong",
            vec![("service_user", "svc-mfa"), ("service_password", "wrong")],
            "heidi",
            String::new(),
            CREDENTIALS,
        ),
        (
            "auth-unknown",
            vec![("service_user", "nosuchadmin"), ("service_password", "wrong")],
            "heidi",
            String::new(),
            CREDENTIALS,
        ),
        ("tc-no-right", account(&server.no_right).to_vec(), "pushy", String::new(), CREDENTIALS),
        ("tc-user-unknown", account(&server.service).to_vec(), "nosuch", String::new(), NOT_ENROLLED),
        ("tc-no-token", account(&server.service).to_vec(), "frank", String::new(), NO_DEVICE),
        ("tc-locked-token", account(&server.service).to_vec(), "dave", String::new(), LOCKED),
    ] {
        table.real(id, expected, &Login::new(&home(&server.url, &options), user).types(&typed));
    }
}

/// Challenges that are answered by typing.
fn challenges(server: &PrivacyIdea, table: &mut Table) {
    let home_ = home(&server.url, &[]);
    let triggering = home(&server.url, &account(&server.service));
    let code = |step| server.app().code(step);
    let mut heidi = Login::new(&home_, "heidi");
    table.real("cr-trigger", ASKED, &heidi.types("heidipin"));
    table.real("cr-empty-answer", ASKED, &heidi.types(""));
    table.real("cr-wrong", WRONG, &heidi.types("000000"));
    table.real("cr-ok", "accept/otp", &heidi.types(&code(0)));
    table.real("cr-replayed-transaction", GONE, &heidi.types(&code(1)));
    let mut heidi = Login::new(&home_, "heidi");
    table.real("cr-trigger-2", ASKED, &heidi.types("heidipin"));
    let mut thief =
        Login { cookie: heidi.cookie.clone(), session: heidi.session.clone(), ..Login::new(&home_, "ivan") };
    table.real("cr-other-user", WRONG, &thief.types(&code(1)));
    let mut heidi = Login::new(&triggering, "heidi");
    table.real("tc-hotp", ASKED, &heidi.types(""));
    table.real("auth-ok", "accept/otp", &heidi.types(&code(2)));
    let mut ivan = Login::new(&home_, "ivan");
    table.real("cr-empty-pass-triggers", ASKED, &ivan.types(""));
    table.real("cr-totp-ok", "accept/otp", &ivan.types(&server.app().code_at(now(), 0)));
    let mut sybil = Login::new(&home_, "sybil");
    table.real("cr-two-tokens", ASKED, &sybil.types(""));
    table.real("cr-two-tokens-ok", "accept/otp", &sybil.types(&server.app().code_at(now(), 0)));
    // Over at once.
    server.administer("/system/setConfig", &[("DefaultChallengeValidityTime", "0")]);
    let mut heidi = Login::new(&home_, "heidi");
    table.real("cr-trigger-expiring", ASKED, &heidi.types("heidipin"));
    table.real("cr-expired", WRONG, &heidi.types(&code(3)));
    server.administer("/system/setConfig", &[("DefaultChallengeValidityTime", "120")]);
}

/// Phones that accept, decline, and say nothing, with numbers and with codes.
fn pushes(server: &PrivacyIdea, table: &mut Table) {
    let home_ = home(&server.url, &[]);
    let triggering = home(&server.url, &account(&server.service));
    let code = |step| server.app().code(step);
    let push =
        |table: &mut Table, id: &str, home: &Home, user: &str, typed: &str, answering: Answering, expected: &str| {
            table.real(id, expected, &Login::new(home, user).types(typed));
            answering.done();
        };
    let pushy = || server.phone("PIPU_PUSHY");
    push(table, "push-finalize-ok", &home_, "pushy", "", pushy().accept(), "accept/push");
    push(table, "tc-push", &triggering, "pushy", "", pushy().accept(), "accept/push");
    push(table, "push-poll-declined-plain", &home_, "pushy", "", pushy().decline(), REFUSED);
    let unknown = pushy().decline_because("unknown_trigger");
    push(table, "push-poll-declined-unknown", &home_, "pushy", "", unknown, REFUSED);
    let cancelled = pushy().decline_because("cancelled");
    push(table, "push-poll-declined-cancelled", &home_, "pushy", "", cancelled, REFUSED);
    let pin = server.phone("PIPU_PIN").accept();
    push(table, "push-pin-trigger", &home_, "pushpin", "pushpin1", pin, "accept/push");
    let multi = server.phone("PIPU_MULTI").accept();
    push(table, "tc-multi", &triggering, "multi", "", multi, "accept/push");
    table.real("tc-multi-otp-ok", "accept/otp", &Login::new(&home_, "multi").types(&code(0)));

    // The server waits for the phone itself.
    let waiting = || server.phone("PIPU_WAIT");
    push(table, "wait-accepted", &home_, "pushwait", "", waiting().accept(), "accept/push");
    push(table, "wait-declined", &home_, "pushwait", "", waiting().decline(), REFUSED);
    table.real("wait-timeout", UNANSWERED, &Login::new(&home_, "pushwait").types(""));

    // A number to press.
    let mut presence = Login::new(&home_, "presence");
    let asked = presence.types("");
    table.real("presence-trigger", "~ask: Press ", &asked);
    let number = told(&asked).split(' ').nth(2).unwrap().to_owned();
    server.phone("PIPU_PRES").press("wrong").refused();
    server.phone("PIPU_PRES").accept().refused();
    server.phone("PIPU_PRES").press(&number).done();
    table.real("presence-finalize-ok", "accept/push", &presence.types(""));
    table.real("push-finalize-again", GONE, &presence.types(""));
    let unseen = request("unseen", "presence", json!({"protocol": "http"}));
    let unseen = home_.ask_one(&unseen);
    assert_eq!(told(&unseen), "policy_denied/push_off", "{unseen:?}");

    // A code that the phone shows.
    let mut codephone = Login::new(&home_, "codephone");
    let prompt = "ask: Please enter the code displayed on your smartphone:";
    table.real("code-trigger", prompt, &codephone.types(""));
    table.real("code-before-confirm", WRONG, &codephone.types("00"));
    let shown = server.phone("PIPU_CODE").accept().code();
    table.real("code-wrong", WRONG, &codephone.types("xx"));
    table.real("code-ok", "accept/otp", &codephone.types(&shown));

    // Nobody answers.
    home_.set("plugin", "deadline", "3");
    table.real("push-poll-expired", UNANSWERED, &Login::new(&home_, "pushy").types(""));
}

/// What policies of the server hide.
fn hardening(server: &PrivacyIdea, table: &mut Table) {
    let home_ = home(&server.url, &[]);
    let code = |step| server.app().code(step);
    let policy = |name: &str, scope: &str, action: &str, active: &str| {
        let path = format!("/policy/{name}");
        server.administer(&path, &[("scope", scope), ("action", action), ("active", active)]);
    };
    let ask = |table: &mut Table, id: &str, home: &Home, user: &str, typed: &str, expected: &str| {
        table.real(id, expected, &Login::new(home, user).types(typed));
    };
    policy("hide-status", "hardening", "hide_auth_error_status", "True");
    ask(table, "hide-status-user-unknown", &home_, "nosuch", "123456", NOT_ENROLLED);
    ask(table, "hide-status-authz-denied", &home_, "karl", &code(1), POLICY);
    let api = home(&server.url, &[("realm", &server.api_realm)]);
    ask(table, "hide-status-no-api-key", &api, "apiuser", &code(1), CREDENTIALS);
    ask(table, "hide-status-wrong-otp", &home_, "alice", "000000", WRONG);
    policy("hide-status", "hardening", "hide_auth_error_status", "False");
    policy("hide-message", "authentication", "hide_specific_error_message", "True");
    ask(table, "hide-message-user-unknown", &home_, "nosuch", "123456", POLICY);
    ask(table, "hide-message-wrong-otp", &home_, "alice", "000000", WRONG);
    ask(table, "hide-message-no-token", &home_, "frank", "000000", WRONG);
    ask(table, "hide-message-locked", &home_, "dave", "000000", WRONG);
    policy("hide-message", "authentication", "hide_specific_error_message", "False");
    policy("no-detail", "authorization", "no_detail_on_fail, no_detail_on_success", "True");
    ask(table, "no-detail-fail", &home_, "alice", "000000", WRONG);
    ask(table, "no-detail-ok", &home_, "alice", &code(6), STRANGE);
    let agreed = home(&server.url, &[("require_token_serial", "no")]);
    let answer = Login::new(&agreed, "alice").types(&code(7));
    assert_eq!(told(&answer), "accept/otp", "{answer:?}");
    ask(table, "no-detail-challenge", &home_, "pushy", "", STRANGE);
    policy("no-detail", "authorization", "no_detail_on_fail, no_detail_on_success", "False");
    ask(table, "still-alive", &home_, "alice", &code(8), "accept/otp");
}

// ------------------------------------------------------------------------------------------ the replayed situations

/// What no login can bring this server to, or what needs a server in pieces: its recorded answer, given to whoever types
/// a code under the name of the situation.
const REPLAYED: [(&str, &str); 12] = [
    ("pass-missing", "communication_error/service_fault"),
    ("user-missing", "communication_error/request_refused"),
    ("user-empty", "communication_error/request_refused"),
    ("serial-unknown", "communication_error/request_refused"),
    ("serial-of-other-user", "communication_error/request_refused"),
    ("json-body-malformed", "communication_error/http_status"),
    ("cr-unknown-transaction", WRONG),
    ("email-no-smtp-exception", "communication_error/service_fault"),
    ("sms-no-gateway-exception", "communication_error/service_fault"),
    ("not-found", "communication_error/http_status"),
    ("wrong-method", "communication_error/http_status"),
    ("db-broken-check", "communication_error/service_fault"),
];

/// The same for a phone that is waited for, and for the service account.
const REPLAYED_POLLS: [(&str, &str); 4] = [
    ("db-broken-poll", "communication_error/service_fault"),
    ("push-poll-missing", "communication_error/request_refused"),
    ("push-poll-post", "communication_error/http_status"),
    ("hide-status-poll-missing", "communication_error/request_refused"),
];
const REPLAYED_TRIGGERS: [(&str, &str); 6] = [
    ("tc-no-auth", CREDENTIALS),
    ("tc-garbage", CREDENTIALS),
    ("tc-bearer", CREDENTIALS),
    ("tc-expired-token", CREDENTIALS),
    ("tc-bad-signature-token", CREDENTIALS),
    ("tc-validate-key", CREDENTIALS),
];

/// What happens on the way to the situations above, or to nobody who logs in with this client.
const STEPS: &str = "push-trigger push-trigger-decline-plain push-trigger-decline-unknown push-trigger-decline-cancelled \
    push-trigger-expiring push-poll-pending push-poll-accept push-poll-after-finalize push-poll-unknown presence-poll-ok \
    presence-poll-after-wrong presence-poll-after-missing db-ok-poll";
const NOT_ASKED: &str = "serial-ok serial-wrong-otp json-body-ok get-ok nonce-signed radiuscheck-ok radiuscheck-wrong \
    x-api-key-unknown auth-missing cr-poll-interactive cr-expired-poll tc-pi-authorization tc-type-filter tc-serial \
    tc-multi-poll-after-otp push-finalize-early push-poll-path push-finalize-other-user push-finalize-declined-plain \
    push-finalize-declined-unknown push-finalize-declined-cancelled push-finalize-expired code-poll-before \
    code-poll-after-confirm healthz";
/// In the table of faults, below.
const FAULTS: &str = "server-hangs server-down dns-failure tls-to-plain";

fn replays(table: &mut Table) {
    let web = Web::serve(|request: &Request| {
        let exchanges = exchanges();
        let user = request.field("user").unwrap_or_default();
        let trigger = REPLAYED_TRIGGERS.iter().any(|(id, _)| *id == user);
        match request.path.as_str() {
            "/auth" => recorded(&exchanges, "auth-ok"),
            "/validate/triggerchallenge" if trigger => recorded(&exchanges, &user),
            "/validate/triggerchallenge" => recorded(&exchanges, "tc-push"),
            "/validate/polltransaction" => panic!("nobody waits here"),
            _ => recorded(&exchanges, &user),
        }
    });
    let home_ = home(&web.url(""), &[]);
    for (id, expected) in REPLAYED {
        table.row("replayed", id, expected, &Login::new(&home_, id).types("123456"));
    }
    let triggering = home(&web.url(""), &[("service_user", "svc"), ("service_password", "pw")]);
    for (id, expected) in REPLAYED_TRIGGERS {
        table.row("replayed", id, expected, &Login::new(&triggering, id).types(""));
    }
    // Not twice more than the log-in that is tried again.
    let asked = web.requests().iter().filter(|request| request.path == "/validate/triggerchallenge").count();
    assert_eq!(asked, 2 + 4 * 2);
    for (id, expected) in REPLAYED_POLLS {
        let web = Web::serve(move |request: &Request| {
            let id = if request.path == "/validate/polltransaction" { id } else { "push-trigger" };
            recorded(&exchanges(), id)
        });
        table.row("replayed", id, expected, &Login::new(&home(&web.url(""), &[]), "pushy").types(""));
    }
}

#[test]
fn each_recorded_situation_has_its_class() {
    let mut table = Table::default();
    replays(&mut table);
    if let Some(server) = PrivacyIdea::start() {
        // It takes the server twenty seconds to find out.
        let dead = home(&server.url, &[("realm", &server.dead_realm)]);
        let mut gateway = Gateway::start(&dead);
        gateway.send(&Login::new(&dead, "anyone").request("123456"));
        codes(&server, &mut table);
        parameters(&server, &mut table);
        challenges(&server, &mut table);
        pushes(&server, &mut table);
        hardening(&server, &mut table);
        table.real("resolver-down", "communication_error/directory_failed", &gateway.receive());
        let seen: Vec<&str> = table.rows.iter().map(|(id, _, _, _)| id.as_str()).collect();
        let left = [STEPS, NOT_ASKED, FAULTS].into_iter().flat_map(|ids| ids.split_whitespace());
        let all: Vec<&str> = seen.into_iter().chain(left).collect();
        let known: BTreeSet<&str> = all.iter().copied().collect();
        let exchanges = exchanges();
        assert_eq!(known, exchanges.keys().map(String::as_str).collect());
        assert_eq!(all.len(), exchanges.len(), "a situation is there twice");
        for (name, ids) in [("steps", STEPS), ("not asked", NOT_ASKED), ("faults", FAULTS)] {
            println!("{name}: {}", ids.split_whitespace().count());
        }
    }
    table.print();
}

//! Secrets that are marked, in every field that takes one, through every dialect, every client and what goes wrong there, at the
//! most talkative level: and then a search for them in everything that is written, and in what others can see of the process.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[path = "canary/marks.rs"]
mod marks;
#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use data_encoding::BASE64;
use marks::{CODE, COOKIE, Canaries, DIGITS, KEY, PASSWORD, YUBIKEY};
use rig::faults::Refused;
use rig::http::{Request, Response};
use rig::web::Web;
use rig::{Finished, Gateway, Home, Phone, attempt, finish, request};
use serde_json::{Value, json};

/// A home that logs everything in `format`, where alice has `phone` and nobody has to wait.
fn home(phone: &Phone, format: &str) -> Home {
    let home = Home::with(&[("alice", phone)]);
    home.set("logging", "level", "debug");
    home.set("logging", "format", format);
    for option in ["failures", "source_failures"] {
        home.set("throttle", option, "1000");
    }
    home
}

/// Requests with secrets wherever one can stand, and lines that are none.
fn lines(code: &str) -> Vec<String> {
    let typed = json!({"otp": code, "password": PASSWORD, "pin": PASSWORD, CODE: PASSWORD});
    let mut lines: Vec<String> = [
        json!({"key_value_pairs": typed}),
        json!({"key_value_pairs": {"otp": code}, "cookie": COOKIE}),
        json!({"key_value_pairs": {"otp": [code]}}),
        json!({"key_value_pairs": PASSWORD}),
        json!({"cookie": {"x": COOKIE}}),
        json!({"session_cookie": [COOKIE]}),
        json!({"unknown": CODE}),
        json!({"type": "authorize", "cookie": COOKIE}),
        json!({"type": "challenge_confirm", "challenge": "x", "key_value_pairs": {"otp": code}}),
        json!({"type": "challenge_use", "challenge": "x", "binding": CODE}),
    ]
    .into_iter()
    .map(|more| request("x", "alice", more).to_string())
    .collect();
    let whole = lines[0].clone();
    lines.push(whole[..whole.len() - 2].to_owned());
    lines.push(whole.replace("\"otp\":", &format!("\"otp\":{CODE},\"otp\":")));
    lines.push(format!("{whole}{PASSWORD}"));
    lines.push(whole.replace(PASSWORD, &format!("{PASSWORD}\\q")));
    lines
}

/// The same in the language of the SPS plugin SDK.
fn hooks(code: &str) -> Vec<String> {
    let whole = |pairs: Value, cookie: Value| {
        let arguments = json!({
            "session_id": "s1", "cookie": cookie, "session_cookie": {}, "protocol": "ssh", "connection_name": "c",
            "client_ip": "192.0.2.7", "client_port": 2022, "client_hostname": null, "gateway_user": "alice",
            "gateway_domain": null, "server_username": "root", "server_domain": null, "key_value_pairs": pairs,
        });
        json!({"hook": "authenticate", "arguments": arguments}).to_string()
    };
    let first = whole(json!({"otp": code, "password": PASSWORD}), json!({}));
    let broken = first.replace("\"otp\":", &format!("\"otp\":{CODE},\"otp\":"));
    vec![
        first,
        // A cookie goes back as it came.
        whole(json!({"otp": code}), json!({"countersign": "x"})),
        whole(json!({"otp": [code]}), json!({})),
        whole(json!({}), json!(COOKIE)),
        broken,
    ]
}

/// Runs the gateway `name` with `input`, and `variables` in its environment.
fn gateway(home: &Home, name: &str, arguments: &[&str], variables: &[(&str, &str)], input: &str) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.env_clear().current_dir("/").args(["gateway", name, "--config"]).arg(home.ini()).args(arguments);
    finish(command.envs(variables.iter().copied()), input.as_bytes())
}

/// Every dialect, right and broken.
fn dialects(home: &Home, canaries: &Canaries, code: &str) {
    let said = |place: &str, finished: Finished| {
        canaries.absent(&format!("standard output of {place}"), finished.stdout.as_bytes());
        canaries.absent(&format!("standard error of {place}"), finished.stderr.as_bytes());
    };
    let native = lines(code).join("\n");
    said("serve", home.run(&["serve"], &native));
    said("sps", gateway(home, "sps", &[], &[], &hooks(code).join("\n")));
    let squid = format!("alice {code}\nalice {PASSWORD},{code}\nalice {PASSWORD}%00{CODE} x y\n\n");
    for name in ["squid-basic", "squid-ext"] {
        said(name, gateway(home, name, &["--append-otp", ","], &[], &squid));
    }
    // One that is taken is used by the first.
    let others = [format!("{PASSWORD},{code}"), format!("CRV1::{COOKIE}::{code}"), format!("SCRV1:{CODE}:!")];
    let passwords = std::iter::once(code).chain(others.iter().map(String::as_str).filter(|_| code == CODE));
    for password in passwords {
        let quoted = format!("\"{password}\"");
        let radius = [("USER_NAME", "\"alice\""), ("USER_PASSWORD", &*quoted), ("STATE", COOKIE)];
        said("radius-exec", gateway(home, "radius-exec", &["site"], &radius[..2], ""));
        said("radius-exec", gateway(home, "radius-exec", &["site"], &radius, ""));
        let pam = [("PAM_USER", "alice"), ("PAM_SERVICE", "sshd"), ("PAM_TYPE", "auth"), ("PAM_RHOST", "192.0.2.7")];
        said("pam-exec", gateway(home, "pam-exec", &[], &pam, &format!("{password}\0")));
        for input in [format!("alice\n{password}\n"), format!("alice\n{password}"), format!("\n{password}\n\n")] {
            said("pwauth", gateway(home, "pwauth", &["--append-otp", ","], &[], &input));
        }
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<&0 </dev/null", "sh", env!("CARGO_BIN_EXE_countersign")]);
        command.args(["gateway", "checkpassword", "--config"]).arg(home.ini()).args(["/bin/sh", "-c", "env"]);
        said("checkpassword", finish(&mut command, format!("alice\0{password}\0\0").as_bytes()));
        openvpn(home, password, said);
    }
}

fn openvpn(home: &Home, password: &str, said: impl Fn(&str, Finished)) {
    let directory = home.dir().join("vpn");
    fs::create_dir_all(&directory).unwrap();
    let file = |kind: &str| directory.join(format!("openvpn_{kind}_1.tmp")).display().to_string();
    for (script, kind) in [("user-pass-verify", "up"), ("client-crresponse", "cr")] {
        fs::write(file(kind), format!("alice\n{password}\n")).unwrap();
        let (control, pending, reason) = (file("acf"), file("apf"), file("afr"));
        for path in [&control, &pending, &reason] {
            fs::write(path, "").unwrap();
        }
        let variables = [
            ("script_type", script),
            ("username", "alice"),
            ("IV_SSO", "crtext"),
            ("auth_control_file", &control),
            ("auth_pending_file", &pending),
            ("auth_failed_reason_file", &reason),
        ];
        said("openvpn", gateway(home, "openvpn", &[&file(kind)], &variables, ""));
    }
}

#[test]
fn no_dialect_shows_what_was_typed() {
    for format in ["text", "json"] {
        let phone = Phone::new(1);
        let home = home(&phone, format);
        let mut canaries = Canaries::of(&home, &phone);
        let handed =
            |arguments: &[&str]| -> Value { serde_json::from_str(&home.run(arguments, "").ok().stdout).unwrap() };
        let recovery = handed(&["recovery", "generate", "alice", "--json"]);
        for code in recovery["recovery_codes"].as_array().unwrap() {
            canaries.text("recovery code", code.as_str().unwrap());
            canaries.text("recovery code", &code.as_str().unwrap().replace('-', ""));
        }
        let recovery_code = recovery["recovery_codes"][0].as_str().unwrap();
        let bypass = handed(&["bypass", "alice", "--reason", "lost phone", "--json"]);
        canaries.text("bypass code", bypass["code"].as_str().unwrap());
        let code = if format == "text" { recovery_code } else { bypass["code"].as_str().unwrap() };
        for code in [CODE, code] {
            dialects(&home, &canaries, code);
        }
        canaries.absent_from(&home, &["master.key"]);
        assert!(home.log().matches("verdict").count() > 30, "there were verdicts");
        assert!(home.log().contains("\"accept\""), "some were accepts: {}", home.log());
    }
}

/// Each client at `address`: its name in `clients`, its sections, what is typed, and its secrets.
fn clients(address: &str) -> Vec<(&'static str, String, &'static str, Vec<&'static str>)> {
    let url = format!("http://{address}");
    let plain = "allow_insecure_http = yes\ntimeout = 3\n";
    vec![
        ("okta", format!("[okta]\napi_url = {url}\napi_key = CanaryOkta6602\n{plain}"), CODE, vec!["CanaryOkta6602"]),
        (
            "duo",
            format!("[duo]\nhost = {address}\nikey = DIXXXXXXXXXXXXXXXXXX\nskey = CanaryDuo9917\n{plain}"),
            DIGITS,
            vec!["CanaryDuo9917"],
        ),
        (
            "privacyidea",
            format!(
                "[privacyidea]\nurl = {url}\nservice_user = gw\nservice_password = CanaryService3140\n\
                 validate_key = CanaryValidate2718\n{plain}"
            ),
            DIGITS,
            vec!["CanaryService3140", "CanaryValidate2718"],
        ),
        (
            "yubico",
            format!(
                "[yubico]\napi_urls = {url}/verify\nclient_id = 87\napi_key = {KEY}\n{plain}[yubico_keys]\n\
                 alice = vvcccccccccb\n"
            ),
            YUBIKEY,
            vec![KEY],
        ),
        (
            "oidc",
            format!("[oidc]\nissuer = {url}\nclient_id = gw\nclient_secret = CanaryOidc8081\n{plain}"),
            "",
            vec!["CanaryOidc8081"],
        ),
        (
            "http corp",
            format!(
                "[http corp]\nurl = {url}\nauth = bearer\nauth_secret = CanaryBearer4242\n{plain}[http corp otp]\n\
                 request = POST /check\njson = {{\"user\": \"{{user}}\", \"pass\": \"{{otp}}\"}}\nsuccess = /result = true\n\
                 failure = /result = false\n"
            ),
            DIGITS,
            vec!["CanaryBearer4242"],
        ),
        (
            "totp",
            format!(
                "[ldap_server]\nname = corp\n[ldap_server corp]\nurl = ldap://{address}\nbase_dn = dc=corp\n\
                 bind_dn = cn=gw\nbind_password = CanaryBind7777\nallow_insecure_ldap = yes\ntimeout = 3\n\
                 [whitelist source=ldap_server_group]\nallow = no_user\nexcept = admins\n"
            ),
            DIGITS,
            vec!["CanaryBind7777"],
        ),
        (
            "fixed",
            "[fixed]\ncode = CanaryFixed1009\ncodes = bob:CanaryFixed1013\n[debug]\nallow_insecure = yes\n".into(),
            "CanaryFixed1013",
            vec!["CanaryFixed1009", "CanaryFixed1013"],
        ),
        (
            "notify hook",
            format!(
                "[notify hook]\nvia = webhook\nurl = {url}/send\nauth = bearer\nauth_secret = CanaryHook5150\n\
                 form = to={{target}}&text={{message}}\n{plain}[https_proxy]\nserver = 127.0.0.1\nusername = gw\n\
                 password = CanaryProxy6174\n"
            ),
            CODE,
            vec!["CanaryHook5150", "CanaryProxy6174"],
        ),
        (
            "notify mail",
            format!(
                "[notify mail]\nvia = smtp\nserver = {address}\nsecurity = none\nallow_insecure = yes\nuser = gw\n\
                 password = CanarySmtp2525\nfrom = gw@corp.example\n"
            ),
            CODE,
            vec!["CanarySmtp2525"],
        ),
    ]
}

/// A service that answers anything, one after the other.
fn service() -> Web {
    let count = AtomicUsize::new(0);
    Web::serve(move |_: &Request| match count.fetch_add(1, Ordering::Relaxed) % 6 {
        0 => Response::json(200, &json!({})),
        1 => Response::json(401, &json!({"errorCode": "E0000011", "message": "no", "stat": "FAIL", "code": 40103})),
        2 => Response::new(200, "text/html", "<html>maintenance</html>"),
        3 => Response::json(500, &json!({"result": {"error": {"code": 1, "message": "x"}}})),
        4 => Response::empty(204),
        _ => Response::json(200, &json!({"result": true, "stat": "OK", "status": "ACTIVE", "id": "1"})),
    })
}

#[test]
fn no_client_shows_its_secrets_or_the_codes_whatever_the_service_answers() {
    let away = Refused::new();
    let phone = Phone::new(1);
    for is_there in [true, false] {
        let web = service();
        let closing = Web::closing();
        let address = |client: &str| match (is_there, client) {
            (false, _) => away.host(),
            (true, "totp" | "notify mail") => {
                closing.url("").trim_start_matches("http://").trim_end_matches('/').into()
            }
            (true, _) => web.url("").trim_start_matches("http://").trim_end_matches('/').to_owned(),
        };
        for client in clients("127.0.0.1:9").into_iter().map(|(client, ..)| client) {
            let found = clients(&address(client)).into_iter().find(|(name, ..)| *name == client).unwrap();
            let (_, sections, code, secrets) = found;
            let home = home(&phone, if is_there { "text" } else { "json" });
            home.set("plugin", "clients", if client == "totp" { "totp" } else { client });
            home.set("plugin", "deadline", "5");
            home.append(&sections);
            fs::set_permissions(home.ini(), fs::Permissions::from_mode(0o600)).unwrap();
            let mut canaries = Canaries::of(&home, &phone);
            for secret in secrets {
                canaries.text(secret, secret);
            }
            if client == "yubico" {
                canaries.bytes("yubico key", &BASE64.decode(KEY.as_bytes()).unwrap());
            }
            let mut gateway = Gateway::start(&home);
            for (at, user) in ["alice", "bob", "alice", "bob", "alice", "alice", "alice", "bob"].iter().enumerate() {
                let more = json!({"key_value_pairs": {"otp": code, "password": PASSWORD}});
                gateway.send(&request(at, user, if at == 4 { json!({"key_value_pairs": {"otp": ""}}) } else { more }));
                let line = gateway.line_of(&at.into());
                canaries.absent(&format!("an answer of {client}"), &line);
            }
            canaries.absent_from_process(gateway.pid());
            let (_, finished) = gateway.end();
            canaries.absent("standard error", finished.stderr.as_bytes());
            for arguments in [&["doctor"][..], &["check"], &["client", "list", "--json"], &["list"], &["show", "alice"]]
            {
                let Finished { stdout, stderr, status: _ } = home.run(arguments, "");
                canaries
                    .absent(&format!("what {arguments:?} says of {client}"), format!("{stdout}{stderr}").as_bytes());
            }
            let explained = home.run(&["explain"], attempt("x", "alice", code).to_string());
            canaries.absent("explain", format!("{}{}", explained.stdout, explained.stderr).as_bytes());
            canaries.absent_from(&home, &["master.key", "plugin.ini"]);
            assert!(home.log().contains("verdict"), "{client}");
            let asks_nobody = ["fixed", "notify hook", "notify mail"].contains(&client);
            let is_asked = home.log().contains("communication_error")
                || home.log().contains("service_unreachable")
                || home.log().contains("could not be asked");
            assert!(asks_nobody || is_asked, "{client}: {}", home.log());
        }
        web.excuse();
        closing.excuse();
    }
}

/// The password of a database that cannot be reached, or says no.
#[test]
fn no_password_of_a_database_is_shown() {
    let away = Refused::new();
    let closing = Web::closing();
    for address in [away.host(), closing.url("").trim_start_matches("http://").trim_end_matches('/').to_owned()] {
        let phone = Phone::new(1);
        let home = home(&phone, "text");
        home.set("plugin", "store", &format!("postgres://gw@{address}/mfa"));
        home.append("[postgres]\npassword = CanaryPostgres3306\n");
        fs::set_permissions(home.ini(), fs::Permissions::from_mode(0o600)).unwrap();
        let mut canaries = Canaries::of(&home, &phone);
        canaries.text("password of the database", "CanaryPostgres3306");
        for arguments in [&["serve"][..], &["check"], &["doctor"], &["list"]] {
            // Who serves answers all the same.
            let is_serving = arguments == ["serve"];
            let lines = if is_serving { format!("{}\n", attempt(1, "alice", CODE)) } else { String::new() };
            let Finished { stdout, stderr, status } = home.run(arguments, lines);
            assert_eq!(status == Some(0), is_serving, "{arguments:?}");
            assert_eq!(stdout.contains("store_failed"), is_serving, "{arguments:?}: {stdout}");
            canaries.absent(&format!("{arguments:?}"), format!("{stdout}{stderr}").as_bytes());
        }
        closing.excuse();
    }
}

/// A code that is sent is in the hand of the program that sends it, and nowhere else.
#[test]
fn a_code_that_is_sent_is_kept_nowhere() {
    let phone = Phone::new(1);
    let home = home(&phone, "json");
    home.set("plugin", "clients", "notify sms");
    let sent = home.dir().join("sent");
    home.keep("send", "#!/bin/sh\n/bin/cat >> \"$1\"\n");
    fs::set_permissions(home.dir().join("send"), fs::Permissions::from_mode(0o700)).unwrap();
    let command = format!("{} {} {{target}}", home.dir().join("send").display(), sent.display());
    home.append(&format!("[notify sms]\nvia = command\ncommand = {command}\ncode_length = 12\n"));
    let code_of = |text: &str| text.split("code is ").nth(1).map(|rest| rest[..12].to_owned());
    let arguments = ["enroll", "carol", "--client", "notify sms", "--target", "+4366012344711", "--json"];
    let pending: Value = serde_json::from_str(&home.run(&arguments, "").ok().stdout).unwrap();
    let proof = code_of(&fs::read_to_string(&sent).unwrap()).unwrap();
    home.run(&["enroll", "confirm", pending["challenge"].as_str().unwrap()], &proof).ok();
    let mut gateway = Gateway::start(&home);
    let asked = gateway.ask(&request(1, "carol", json!({"session_id": "s"})));
    assert_eq!(asked.told(), "need_info");
    let code = code_of(fs::read_to_string(&sent).unwrap().lines().last().unwrap()).unwrap();
    let mut canaries = Canaries::of(&home, &phone);
    canaries.text("code that was sent", &code);
    canaries.text("code that proved the target", &proof);
    canaries.absent_from_process(gateway.pid());
    let wrong = json!({"key_value_pairs": {"otp": CODE}, "cookie": asked.cookie(), "session_id": "s"});
    assert_eq!(gateway.ask(&request(2, "carol", wrong)).verdict(), "reject");
    let right = json!({"key_value_pairs": {"otp": code}, "cookie": asked.cookie(), "session_id": "s"});
    assert_eq!(gateway.ask(&request(3, "carol", right)).told(), "accept");
    drop(gateway);
    canaries.absent_from(&home, &["master.key", "sent"]);
}

/// While a login waits, nobody who looks at the machine's processes sees what was typed: arguments and environments of every
/// process of ours hold nothing, but where a server puts it into the environment itself.
#[test]
fn what_runs_shows_nothing_of_what_was_typed() {
    let phone = Phone::new(1);
    let home = home(&phone, "text");
    let silent = Web::silent();
    home.set("plugin", "clients", "okta");
    home.append(&format!(
        "[okta]\napi_url = {}\napi_key = CanaryOkta6602\nallow_insecure_http = yes\n",
        silent.url("")
    ));
    fs::set_permissions(home.ini(), fs::Permissions::from_mode(0o600)).unwrap();
    let mut canaries = Canaries::of(&home, &phone);
    canaries.text("token", "CanaryOkta6602");
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.env_clear().args(["gateway", "pwauth", "--config"]).arg(home.ini());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(format!("alice\n{DIGITS}\n").as_bytes()).unwrap();
    drop(input);
    // It is asked: everything that was typed is in the process.
    silent.wait_until(|seen| seen.connections > 0);
    canaries.absent_from_process(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
}

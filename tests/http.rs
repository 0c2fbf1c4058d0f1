//! The one way in which every client reaches its service, through the executable: what it trusts, what it does not look
//! at, what it never does twice.

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rig::authority::{Authority, Validity};
use rig::faults::Refused;
use rig::http::Response;
use rig::okta::{Okta, answer, configure};
use rig::proxy::Proxy;
use rig::web::{Misbehaviour, Reply, Web};
use rig::{Gateway, Home, finish};
use serde_json::{Value, json};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

fn typed(id: u32, code: &str) -> Value {
    json!({"type": "authenticate", "id": id, "session_id": "s1", "protocol": "ssh", "client_ip": "192.0.2.7",
        "gateway_user": "alice", "key_value_pairs": {"otp": code}})
}

/// A home whose service is at `url`.
fn home(url: &str, more: &str) -> Home {
    let home = Home::init();
    configure(&home, url, more);
    home
}

#[test]
fn the_environment_names_no_proxy_and_no_authority() {
    let authority = Authority::new();
    let certificate = authority.certificate(&NAMES, Validity::Valid);
    let web = Web::serve_tls(&certificate, |request: &_| answer(request, &Default::default()));
    let proxy = Web::always(Response::empty(200));
    let ask = |home: &Home| {
        let mut command = home.command(&["serve"]);
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env(name, proxy.url(""));
        }
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
            command.env(name, authority.ca_file());
        }
        let done = finish(&mut command, format!("{}\n", typed(1, "123456")).as_bytes());
        serde_json::from_str::<Value>(&done.stdout).unwrap()
    };
    let trusting = home(&web.url(""), &format!("ca_file = {}", authority.ca_file().display()));
    assert_eq!(ask(&trusting)["verdict"], "accept");
    let told = ask(&home(&web.url(""), ""));
    assert_eq!(told["error"]["code"], "tls_failed", "{told}");
    assert_eq!(proxy.seen().connections, 0);
}

#[test]
fn the_proxy_of_the_section_is_used_and_its_failure_never_opens() {
    let okta = Okta::start();
    let away = Refused::new();
    for status in [407, 502, 503] {
        let proxy = Web::always(Response::empty(status));
        let home = home(
            "https://192.0.2.1",
            &format!("proxy = {}\non_unreachable = accept\nconnect_timeout = 2", proxy.url("").trim_end_matches('/')),
        );
        let told = home.ask_one(&typed(1, "123456"));
        assert_eq!(told.verdict(), "reject", "{status}: {told:?}");
        assert!(proxy.seen().connections > 0);
        proxy.excuse();
    }
    // Over plain HTTP a proxy is simply asked for the whole address.
    let through = home("http://okta.invalid", &format!("proxy = {}", okta.web.url("").trim_end_matches('/')));
    assert_eq!(through.ask_one(&typed(1, "123456")).told(), "accept");
    // A proxy that nobody listens at was not reached, and neither was anybody behind it.
    let open = home("https://192.0.2.1", &format!("proxy = http://{}\non_unreachable = accept", away.host()));
    assert_eq!(open.ask_one(&typed(1, "123456")).degraded, Some(true));
}

#[test]
fn a_pin_is_asked_for_beside_the_authority() {
    let authority = Authority::new();
    let certificate = authority.certificate(&NAMES, Validity::Valid);
    let web = Web::serve_tls(&certificate, |request: &_| answer(request, &Default::default()));
    let ca = format!("ca_file = {}", authority.ca_file().display());
    let other = authority.certificate(&NAMES, Validity::Valid);
    for (pins, told) in [
        (certificate.pin.clone(), "accept"),
        (format!("sha256//{}", certificate.pin), "accept"),
        (format!("{}, {}", other.pin, certificate.pin), "accept"),
        (other.pin.clone(), "communication_error/tls_failed"),
    ] {
        let home = home(&web.url(""), &format!("{ca}\npin_sha256 = {pins}"));
        assert_eq!(home.ask_one(&typed(1, "123456")).told(), told, "{pins}");
    }
    // A pin does not replace the authority.
    let unsigned = home(&web.url(""), &format!("pin_sha256 = {}", certificate.pin));
    assert_eq!(unsigned.ask_one(&typed(1, "123456")).told(), "communication_error/tls_failed");
}

#[test]
fn a_service_knows_this_client_by_its_certificate() {
    let authority = Authority::new();
    let certificate = authority.certificate(&NAMES, Validity::Valid);
    let ours = authority.client_certificate("countersign");
    let web = Web::serve_mutual_tls(&certificate, &authority, |request: &_| answer(request, &Default::default()));
    let ca = format!("ca_file = {}", authority.ca_file().display());
    let files = format!("client_cert = {}\nclient_key = {}", ours.certificate_file.display(), ours.key_file.display());
    let known = home(&web.url(""), &format!("{ca}\n{files}"));
    assert_eq!(known.ask_one(&typed(1, "123456")).told(), "accept");
    assert!(web.requests().iter().all(|request| request.client_certificate.is_some()));
    let unknown = home(&web.url(""), &ca);
    assert_eq!(unknown.ask_one(&typed(1, "123456")).told(), "communication_error/tls_failed");
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let authority = Authority::new();
    let ours = authority.client_certificate("countersign");
    std::fs::set_permissions(&ours.key_file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let files = format!("client_cert = {}\nclient_key = {}", ours.certificate_file.display(), ours.key_file.display());
    let home = home("https://127.0.0.1:1", &files);
    let told = home.ask_one(&typed(1, "123456"));
    assert_eq!(told.told(), "internal_error/client_unusable");
    assert!(told.reason().contains("chmod"), "{told:?}");
}

#[test]
fn a_long_lived_process_keeps_its_connection() {
    let okta = Okta::start();
    let home = home(&okta.web.url(""), "");
    let mut gateway = Gateway::start(&home);
    for id in 1..=20 {
        assert_eq!(gateway.ask(&typed(id, "123456")).told(), "accept");
    }
    gateway.end().1.ok();
    assert_eq!(okta.web.seen().connections, 1);
}

#[test]
fn a_code_is_sent_once_whatever_becomes_of_it() {
    for spoilt in [
        Reply::from(Misbehaviour::Close),
        Reply::from(Misbehaviour::Reset),
        Reply::from(Misbehaviour::HalfHead(Response::empty(200))),
        Reply::from(Response::empty(500)),
        Reply::from(Response::empty(503).with("Retry-After", "0")),
        Reply::from(Response::empty(429).with("Retry-After", "0")),
        Reply::from(Response::empty(408)),
    ] {
        let shown = format!("{spoilt:?}");
        let web = Web::serve(move |request| match request.path.ends_with("/opff1/verify") {
            true => spoilt.clone(),
            false => Reply::from(answer(request, &Default::default())),
        });
        let home = home(&web.url(""), "");
        let mut gateway = Gateway::start(&home);
        assert_eq!(gateway.ask(&typed(1, "123456")).verdict(), "reject", "{shown}");
        gateway.end().1.ok();
        let sent = web.requests().iter().filter(|request| request.path.ends_with("/opff1/verify")).count();
        assert_eq!(sent, 1, "{shown}");
    }
}

#[test]
fn a_service_that_asks_for_patience_while_a_push_waits_gets_it() {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let web = Web::serve(move |request| {
        let is_look = request.method == "GET" && request.path.ends_with("/transactions/t1");
        match is_look.then(|| counted.fetch_add(1, Ordering::SeqCst)) {
            Some(0) => Response::json(429, &json!({"errorCode": "E0000047"})).with("Retry-After", "1"),
            Some(_) => Response::json(200, &json!({"factorResult": "SUCCESS"})),
            None => answer(request, &Default::default()),
        }
    });
    let home = home(&web.url(""), "");
    let mut request = typed(1, "");
    request["protocol"] = json!("http");
    assert_eq!(home.ask_one(&request).told(), "accept");
    assert_eq!(looks.load(Ordering::SeqCst), 2);
}

#[test]
fn a_secret_in_the_configuration_is_taken_only_where_the_world_cannot_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let okta = Okta::start();
    let home = home(&okta.web.url(""), "");
    std::fs::set_permissions(home.ini(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = home.run(&["check"], "");
    assert_eq!(refused.status, Some(78));
    assert!(refused.stderr.contains("chmod"), "{refused:?}");
    // Where it lies elsewhere, the configuration may be read.
    let text = std::fs::read_to_string(home.ini()).unwrap();
    std::fs::write(home.ini(), text.replace("canary-token", "file:okta.token")).unwrap();
    let token = home.ini().with_file_name("okta.token");
    std::fs::write(&token, "canary-token\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    home.run(&["check"], "").ok();
    assert_eq!(home.ask_one(&typed(1, "123456")).told(), "accept");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(home.ask_one(&typed(1, "123456")).told(), "internal_error/client_unusable");
    let told = home.run(&["check"], "");
    assert_eq!(told.status, Some(78));
    assert!(told.stderr.contains("[okta] api_key") && told.stderr.contains("chmod"), "{told:?}");
}

#[test]
fn an_unencrypted_address_needs_to_be_allowed() {
    let home = Home::init();
    home.set("plugin", "clients", "okta");
    let ini = std::fs::read_to_string(home.ini()).unwrap();
    std::fs::write(home.ini(), ini + "\n[okta]\napi_url = http://127.0.0.1:1\napi_key = file:token\n").unwrap();
    let refused = home.run(&["check"], "");
    assert_eq!(refused.status, Some(78));
    assert!(refused.stderr.contains("[okta] api_url") && refused.stderr.contains("allow_insecure_http"), "{refused:?}");
}

/// A service that must be reached over TLS, and its authority.
fn secure() -> (Authority, Web) {
    let authority = Authority::new();
    let certificate = authority.certificate(&NAMES, Validity::Valid);
    let web = Web::serve_tls(&certificate, |request: &_| answer(request, &Default::default()));
    (authority, web)
}

#[test]
fn the_proxy_of_all_services_is_used_with_its_password_whatever_stands_in_it() {
    let (authority, web) = secure();
    let proxy = Proxy::start(Some("üs@r/%41:p@ss:/w#?%41[]=;\"\\ \u{20ac}"));
    let ca = format!("ca_file = {}", authority.ca_file().display());
    for section in ["https_proxy", "https-proxy"] {
        let general = |password: &str| {
            let text = "server = 127.0.0.1\nport = {port}\nusername = üs@r/%41\npassword = {password}";
            let text = text.replace("{port}", &proxy.port().to_string()).replace("{password}", password);
            home(&web.url(""), &format!("{ca}\n[{section}]\n{text}"))
        };
        let right = general("p@ss:/w#?%41[]=;\"\\ \u{20ac}");
        assert_eq!(right.ask_one(&typed(1, "123456")).told(), "accept", "{:?}", proxy.heads());
        let wrong = general("CANARY");
        let refused = wrong.run(&["serve"], format!("{}\n", typed(1, "123456")));
        assert!(refused.stdout.contains("proxy_failed") || refused.stdout.contains("reject"), "{refused:?}");
        assert!(!format!("{refused:?}").contains("CANARY"), "{refused:?}");
    }
    assert!(
        proxy
            .heads()
            .iter()
            .all(|head| head.starts_with("CONNECT 127.0.0.1:") || head.starts_with("CONNECT localhost:"))
    );
    let before = proxy.heads().len();
    // The section's own goes before it.
    let other = Proxy::start(None);
    let own = format!(
        "{ca}\nproxy = http://127.0.0.1:{}\n[https_proxy]\nserver = 127.0.0.1\nport = {}\n",
        other.port(),
        proxy.port()
    );
    assert_eq!(home(&web.url(""), &own).ask_one(&typed(1, "123456")).told(), "accept");
    // It is for https:// addresses, and only where it is enabled.
    let off = format!("{ca}\n[https_proxy]\nenabled = no\nserver = 127.0.0.1\nport = {}\n", proxy.port());
    assert_eq!(home(&web.url(""), &off).ask_one(&typed(1, "123456")).told(), "accept");
    let okta = Okta::start();
    let plain = format!("[https_proxy]\nserver = 127.0.0.1\nport = {}\n", proxy.port());
    assert_eq!(home(&okta.web.url(""), &plain).ask_one(&typed(1, "123456")).told(), "accept");
    assert_eq!((proxy.heads().len(), other.heads().len()), (before, 1));
}

#[test]
fn the_password_of_the_proxy_may_lie_elsewhere() {
    let (authority, web) = secure();
    let proxy = Proxy::start(Some("gate:from the store"));
    let home = home(
        &web.url(""),
        &format!(
            "ca_file = {}\n[https_proxy]\nserver = 127.0.0.1\nport = {}\nusername = gate\npassword = $\n[credential_store]\n",
            authority.ca_file().display(),
            proxy.port()
        ),
    );
    let told = home.ask_one(&typed(1, "123456"));
    assert_eq!(told.told(), "internal_error/client_unusable");
    let checked = home.run(&["check"], "");
    assert!(
        checked.stderr.contains("[https_proxy] password: ") && checked.stderr.contains("No such file"),
        "{checked:?}"
    );
    home.keep("credentials/https_proxy.password", "from the store\n");
    assert_eq!(home.ask_one(&typed(1, "123456")).told(), "accept");
}

#[test]
fn what_stands_in_tls_is_for_every_service_that_says_nothing_else() {
    let authority = Authority::new();
    let certificate = authority.certificate(&NAMES, Validity::Valid);
    let ours = authority.client_certificate("countersign");
    let web = Web::serve_mutual_tls(&certificate, &authority, |request: &_| answer(request, &Default::default()));
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let ca = read(&authority.ca_file());
    let chain = read(&ours.certificate_file);
    // The same key in each of its forms, where openssl can write them.
    let mut keys = vec![("PKCS #8", read(&ours.key_file))];
    match std::process::Command::new("openssl").args(["ec", "-in"]).arg(&ours.key_file).output() {
        Ok(done) if done.status.success() => {
            let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
            keys.push(("EC", parameters.to_owned() + &String::from_utf8(done.stdout).unwrap()));
        }
        Ok(_) | Err(_) => println!("skipped: openssl is missing (Debian: openssl)"),
    }
    let line = |text: &str| text.replace('\n', " ");
    for (form, key) in &keys {
        let both = format!("{chain}{key}");
        let inline = home(&web.url(""), &format!("[tls]\nca_cert = {}\nclient_cert = {}", line(&ca), line(&both)));
        assert_eq!(inline.ask_one(&typed(1, "123456")).told(), "accept", "{form}");
        for place in ["file:both.pem", "both.pem", "$"] {
            let store = if place == "$" { "[credential_store]\nsource = files:kept" } else { "" };
            let files = home(
                &web.url(""),
                &format!("[tls]\nca_cert = {}\nclient_cert = {place}\n{store}", authority.ca_file().display()),
            );
            files.keep(if place == "$" { "kept/tls.client_cert" } else { "both.pem" }, &both);
            assert_eq!(files.ask_one(&typed(1, "123456")).told(), "accept", "{form} {place}");
        }
    }
    // What the section says goes before; what is not enabled is not there.
    let off = home(&web.url(""), &format!("[tls]\nenabled = no\nca_cert = {}", line(&ca)));
    assert_eq!(off.ask_one(&typed(1, "123456")).told(), "communication_error/tls_failed");
    let other = Authority::new();
    let own = format!(
        "ca_file = {}\n[tls]\nca_cert = {}\nclient_cert = {}",
        authority.ca_file().display(),
        other.ca_file().display(),
        line(&format!("{chain}{}", keys[0].1))
    );
    assert_eq!(home(&web.url(""), &own).ask_one(&typed(1, "123456")).told(), "accept");
}

//! No variable of the environment sends anybody elsewhere, or has anybody trusted.

use std::net::TcpListener;

use serde_json::Value;

use crate::rig::authority::{Authority, Validity};
use crate::rig::faults::Refused;
use crate::rig::http::Response;
use crate::rig::web::Web;
use crate::rig::{Home, finish, request};

/// Variables by which programs are told where to go.
const PLACES: [&str; 17] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "FTP_PROXY",
    "CGI_HTTP_PROXY",
    "REQUEST_METHOD",
    "LDAPURI",
    "LDAP_URI",
    "PGSERVICE",
    "PGOPTIONS",
    "SMTP_URL",
    "MAIL_URL",
    "RES_OPTIONS",
    "LOCALDOMAIN",
];

/// Variables by which programs are told whom to trust.
const TRUST: [&str; 8] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "LDAPTLS_CACERT",
    "PGSSLROOTCERT",
    "OPENSSL_CONF",
];

/// Each kind of client at `address` (HOST:PORT): its name in `clients`, and its sections.
fn kinds(address: &str, scheme: &str) -> Vec<(&'static str, String)> {
    let ldap = scheme.replace("http", "ldap");
    let smtp = if scheme == "https" { "security = tls" } else { "security = none" };
    let insecure = "allow_insecure_http = yes\n";
    vec![
        ("privacyidea", format!("[privacyidea]\nurl = {scheme}://{address}\n{insecure}")),
        ("okta", format!("[okta]\napi_url = {scheme}://{address}\napi_key = canary\n{insecure}")),
        (
            "yubico",
            format!(
                "[yubico]\napi_urls = {scheme}://{address}/verify\nclient_id = 87\napi_key = mG5be6ZJU1qBGz24yPh/ESM3UdU=\n\
                 {insecure}[yubico_keys]\nalice = vvcccccccccb\n"
            ),
        ),
        ("oidc", format!("[oidc]\nissuer = {scheme}://{address}\nclient_id = gateway\n{insecure}")),
        (
            "http corp",
            format!(
                "[http corp]\nurl = {scheme}://{address}\n{insecure}[http corp otp]\nrequest = POST /check\n\
                 json = {{\"user\": \"{{user}}\", \"pass\": \"{{otp}}\"}}\nsuccess = /result = true\nfailure = /result = false\n"
            ),
        ),
        (
            "totp",
            format!(
                "[ldap_server]\nname = corp\n[ldap_server corp]\nurl = {ldap}://{address}\nbase_dn = dc=corp\n\
                 allow_insecure_ldap = yes\n[whitelist source=ldap_server_group]\nallow = no_user\nexcept = admins\n"
            ),
        ),
        (
            "notify mail",
            format!(
                "[notify mail]\nvia = smtp\nserver = {address}\n{smtp}\nallow_insecure = yes\nfrom = gw@corp.example\n"
            ),
        ),
    ]
}

/// What `serve` says to somebody who types a code, and what is logged, where every variable names `elsewhere` and `authority`. A
/// mail server is asked by `doctor`: there is nobody yet who was sent a code.
fn told(clients: &str, sections: &str, elsewhere: &str, authority: &Authority) -> String {
    let home = Home::init();
    home.set("plugin", "clients", clients);
    home.append(sections);
    let is_mail = clients.starts_with("notify");
    let arguments: &[&str] = if is_mail { &["doctor", clients, "--json"] } else { &["serve"] };
    let mut command = home.command(arguments);
    for name in PLACES {
        command.env(name, elsewhere);
    }
    let (host, port) = elsewhere.trim_start_matches("http://").split_once(':').unwrap();
    command.env("PGHOST", host).env("PGHOSTADDR", host).env("PGPORT", port).env("NO_PROXY", "").env("no_proxy", "");
    for name in TRUST {
        command.env(name, authority.ca_file());
    }
    let code = match clients {
        "yubico" => "vvcccccccccbtbghrfgdnjncbijgerrhgcgkdvghbdli",
        // Enter begins the sign-in.
        "oidc" => "",
        _ => "123456",
    };
    let line = request(1, "alice", serde_json::json!({"key_value_pairs": {"otp": code}}));
    let done = finish(&mut command, format!("{line}\n").as_bytes());
    let answer: Value = serde_json::from_str(&done.stdout).unwrap();
    let is_no = if is_mail { answer["ok"] == false } else { answer["verdict"] == "reject" };
    assert!(is_no, "{clients}: {answer}");
    format!("{answer}\n{}", home.log())
}

/// Nobody listens where the service is; whoever listens where the variables say is never called.
#[test]
fn nobody_is_sent_elsewhere() {
    let authority = Authority::new();
    let away = Refused::new();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let place = format!("http://{}", elsewhere.local_addr().unwrap());
    for scheme in ["http", "https"] {
        for (client, sections) in kinds(&away.host(), scheme) {
            let text = told(client, &sections, &place, &authority);
            assert!(elsewhere.accept().is_err(), "{client} over {scheme} went where a variable says: {text}");
            assert!(text.contains(&away.host()) || text.contains("refused"), "{client} was not asked: {text}");
        }
    }
    let database = format!("postgres://countersign@{}/mfa", away.host());
    let home = Home::init();
    home.set("plugin", "store", &database);
    let mut command = home.command(&["serve"]);
    let (host, port) = place.trim_start_matches("http://").split_once(':').unwrap();
    let variables = [("PGHOST", host), ("PGHOSTADDR", host), ("PGPORT", port), ("PGSERVICE", "x"), ("PGUSER", "x")];
    let line = request(1, "alice", serde_json::json!({"key_value_pairs": {"otp": "123456"}}));
    let done = finish(command.envs(variables), format!("{line}\n").as_bytes());
    assert!(done.stdout.contains("store_failed"), "{done:?}");
    assert!(elsewhere.accept().is_err(), "the database is not where a variable says");
}

/// A service with the certificate of an authority that only a variable names is not trusted.
#[test]
fn nobody_is_trusted_by_a_variable() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["localhost", "127.0.0.1"], Validity::Valid);
    for (client, sections) in kinds("ADDRESS", "https") {
        let web = Web::always_tls(&certificate, Response::empty(200));
        let address = web.url("").trim_start_matches("https://").trim_end_matches('/').to_owned();
        let text = told(client, &sections.replace("ADDRESS", &address), "http://127.0.0.1:9", &authority);
        assert!(web.seen().connections > 0, "{client} was not tried: {text}");
        assert!(web.requests().is_empty(), "{client} trusted it: {text}");
        assert!(text.contains("tls") || text.contains("certificate"), "{client}: {text}");
        web.excuse();
    }
}

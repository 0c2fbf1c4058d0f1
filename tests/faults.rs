//! What goes wrong with a service, for every client: the class that the verdict has, no accept that the configuration does
//! not ask for, and no verdict after its deadline.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a test tells what it found, and fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rig::Home;
use rig::authority::Authority;
use rig::faults::{Fault, faults};
use rig::http::Response;
use serde_json::{Value, json};

/// How many are asked at once.
const AT_ONCE: usize = 24;

/// One client, as the table needs it.
struct Client {
    name: &'static str,
    /// Its section, but for what is the same in all; ADDRESS stands for where the service is.
    section: &'static str,
    /// Other sections.
    more: &'static str,
    /// The answer by which the service lets somebody in.
    accept: Response,
    /// What is typed.
    code: &'static str,
    /// Whether Enter sends something.
    pushes: bool,
    /// What this service's protocol says with that status, against the rest of the table.
    exceptions: &'static [(&'static str, &'static str)],
}

fn clients() -> Vec<Client> {
    vec![
        Client {
            name: "duo",
            section: "host = ADDRESS\nikey = DIXXXXXXXXXXXXXXXXXX\nskey = canary-key\nallow_bypass = yes\n",
            more: "",
            accept: Response::json(200, &json!({"stat": "OK", "response": {"result": "allow", "status": "allow"}})),
            code: "123456",
            pushes: true,
            exceptions: &[],
        },
        Client {
            name: "okta",
            section: "api_url = ADDRESS\napi_key = canary-token\n",
            more: "",
            accept: Response::json(
                200,
                &json!({"id": "00u1", "status": "ACTIVE", "profile": {"login": "alice"}, "factorResult": "SUCCESS"}),
            ),
            code: "123456",
            pushes: true,
            exceptions: &[],
        },
        Client {
            name: "privacyidea",
            section: "url = ADDRESS\nservice_user = gateway\nservice_password = canary-password\nvalidate_key = canary-key\n",
            more: "",
            accept: Response::json(
                200,
                &json!({
                    "detail": {"message": "Found matching challenge", "serial": "PIPU1"}, "id": 1, "jsonrpc": "2.0",
                    "result": {"authentication": "ACCEPT", "status": true, "value": true},
                }),
            ),
            code: "755224",
            pushes: true,
            exceptions: &[],
        },
        Client {
            name: "yubico",
            section: "api_urls = ADDRESS/verify\nclient_id = 87\napi_key = mG5be6ZJU1qBGz24yPh/ESM3UdU=\n",
            more: "\n[yubico_keys]\nalice = vvcccccccccb\n",
            accept: Response::new(200, "text/plain", "status=OK\n"),
            code: "vvcccccccccbtbghrfgdnjncbijgerrhgcgkdvghbdli",
            pushes: false,
            exceptions: &[],
        },
        Client {
            name: "oidc",
            section: "issuer = ADDRESS\nclient_id = gateway\nclient_secret = canary-secret\n",
            more: "",
            accept: Response::json(200, &json!({"issuer": "ADDRESS", "id_token": "canary", "verified": true})),
            code: "",
            pushes: true,
            exceptions: &[],
        },
        Client {
            name: "http corp",
            section: "url = ADDRESS\nauth = bearer\nauth_secret = canary-token\n",
            more: "[http corp otp]\nrequest = POST /check\njson = {\"user\": \"{user}\", \"pass\": \"{otp}\"}\n\
                   success = /result = true\nfailure = /result = false\n\
                   [http corp push_start]\nrequest = POST /push\nform = user={user}\npending = /result = true\n\
                   capture = txid /txid digits\n\
                   [http corp push_poll]\nrequest = GET /push/{txid}\nsuccess = /result = true\n\
                   pending = /result = \"pending\"\nfailure = /result = false\n",
            accept: Response::json(200, &json!({"result": true, "txid": "12345"})),
            code: "123456",
            pushes: true,
            exceptions: &[],
        },
    ]
}

/// A home whose one client is at the fault, and open for what was never sent.
fn home(client: &Client, fault: &Fault, authority: Option<&Authority>) -> Home {
    let home = Home::init();
    home.set("plugin", "clients", client.name);
    home.set("plugin", "deadline", "9");
    let address = fault.url.trim_end_matches('/');
    let trust = authority.map(|authority| format!("ca_file = {}\n", authority.ca_file().display())).unwrap_or_default();
    let section = format!(
        "\n[{}]\n{}allow_insecure_http = yes\ntimeout = 2\nconnect_timeout = 1\ntls_timeout = 1\n\
         on_unreachable = accept\n{trust}{}\n",
        client.name,
        client.section.replace("ADDRESS", address),
        client.more.replace("ADDRESS", address),
    );
    let ini = fs::read_to_string(home.ini()).unwrap();
    fs::write(home.ini(), ini + &section).unwrap();
    home
}

fn typed(code: &str) -> Value {
    json!({"type": "authenticate", "id": 1, "session_id": "s1", "protocol": "ssh", "client_ip": "192.0.2.7",
        "gateway_user": "alice", "key_value_pairs": {"otp": code}})
}

/// What is wrong with the verdict on one request, if anything; the class otherwise.
fn ask(client: &Client, fault: &Fault, authority: Option<&Authority>, code: &str) -> Result<String, String> {
    let home = home(client, fault, authority);
    let answer = home.ask_one(&typed(code));
    let told = answer.told();
    let class = told.split('/').next().unwrap().to_owned();
    if fault.reach == "not_sent" {
        // The only kind of fault at which the configuration lets in, and then it says so.
        return match (answer.verdict(), answer.degraded, &answer.factor) {
            ("accept", Some(true), None) => Ok("accept, degraded".into()),
            _ => Err(format!("expected a degraded accept, found {answer:?}")),
        };
    }
    let expected =
        client.exceptions.iter().find(|(name, _)| *name == fault.name).map_or(fault.class, |(_, class)| class);
    if answer.verdict() != "reject" || class != expected {
        return Err(format!("expected {expected}, found {answer:?}"));
    }
    if answer.code() == "deadline_exceeded" {
        return Err("the deadline came first".into());
    }
    if fault.asked_elsewhere() > 0 {
        return Err("a redirection was followed".into());
    }
    let logged = home.log();
    if logged.contains("canary") || (!client.code.is_empty() && logged.contains(client.code)) {
        return Err(format!("a secret is in the log: {logged}"));
    }
    Ok(class)
}

/// Every client at every fault, over TLS or without; prints the table.
fn run(authority: Option<&Authority>) {
    let clients = clients();
    let mut cases = Vec::new();
    for client in &clients {
        for fault in faults(authority, &client.accept) {
            cases.push((client, fault));
        }
    }
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((client, fault)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut codes = vec![("code", client.code)];
                    if client.pushes {
                        codes.push(("push", ""));
                    }
                    for (kind, code) in codes.into_iter().filter(|(kind, code)| *kind == "push" || !code.is_empty()) {
                        let result = ask(client, fault, authority, code);
                        results.lock().unwrap().push((client.name, kind, fault.name.clone(), result));
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let mut counts: BTreeMap<(&str, &str, String), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (client, kind, fault, result) in results {
        match result {
            Ok(class) => *counts.entry((client, kind, class)).or_default() += 1,
            Err(what) => wrong.push(format!("{client}, {kind}, {fault}: {what}")),
        }
    }
    for ((client, kind, class), count) in &counts {
        println!("{client:<12} {kind:<5} {class:<22} {count:>4}");
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{} of the table:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_fault_has_its_class_over_tls() {
    let authority = Authority::new();
    run(Some(&authority));
}

#[test]
fn every_fault_has_its_class_without_tls() {
    run(None);
}

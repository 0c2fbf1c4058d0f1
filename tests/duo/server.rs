//! A Duo on loopback, which checks what the vendor's servers check of a request before it answers: signature, date,
//! parameters. The rules are written here anew, from the vendor's documentation; nothing of the client is used.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use data_encoding::{BASE64, HEXLOWER};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::rig::http::{Request, Response};
use crate::rig::now;
use crate::rig::web::{Reply, Web};

pub const IKEY: &str = "DIWJ8X6AEYOR5OMC6TQ1";
pub const SKEY: &str = "Zh5eGmUq9zpfQnyUIu5OL9iWoMMv5ZNmk3zLJ4Ep";

/// The passcode that is right, once for each user.
pub const PASSCODE: &str = "135790";

/// How far a request's date may be from the server's clock, in seconds.
const FRESH: u64 = 60;

/// The devices of everybody: id, type, name, what they can do.
const DEVICES: [(&str, &str, &str, &[&str]); 3] = [
    ("DPHOME", "phone", "Home", &["auto", "push", "sms", "phone", "mobile_otp"]),
    ("DPWORK", "phone", "Work", &["auto", "sms", "phone"]),
    ("DHTOKEN", "token", "0-123456", &[]),
];

/// A request that passed every check.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Such as `preauth`.
    pub endpoint: String,
    pub parameters: BTreeMap<String, String>,
    /// In which generation it was signed; 0: it was not.
    pub generation: u8,
}

impl Asked {
    /// Whose login it belongs to: transactions are called as their users, escaped.
    pub fn user(&self) -> String {
        let field = |name: &str| self.parameters.get(name).map(String::as_str);
        let named =
            |txid: &str| percent_decode_str(txid.trim_start_matches("verified:")).decode_utf8_lossy().into_owned();
        field("username").map(str::to_owned).or_else(|| field("txid").map(named)).unwrap_or_default()
    }
}

/// The steps of one login that go another way than usual: the endpoint and what it says. The last of an endpoint is
/// repeated.
pub type Script = Vec<(&'static str, Reply)>;

#[derive(Default)]
struct Board {
    asked: Vec<Asked>,
    /// Why requests were refused.
    refused: Vec<String>,
    used: BTreeSet<String>,
}

/// The server.
pub struct Duo {
    pub web: Web,
    board: Arc<Mutex<Board>>,
}

impl Duo {
    /// One whose clock is `ahead` of ours by these seconds, with users for whom something goes another way.
    pub fn start(ahead: i64, scripts: BTreeMap<String, Script>) -> Self {
        let board = Arc::new(Mutex::new(Board::default()));
        let ours = Arc::clone(&board);
        let web = Web::serve(move |request| {
            let mut board = ours.lock().unwrap();
            match check(request, now().saturating_add_signed(ahead)) {
                Ok(asked) => {
                    board.asked.push(asked.clone());
                    let reply = scripted(&scripts, &board.asked, &asked);
                    reply.unwrap_or_else(|| usual(&mut board, &asked, now().saturating_add_signed(ahead)).into())
                }
                Err((code, why)) => {
                    board.refused.push(format!("{} {}: {why}", request.method, request.target));
                    failure(code, "Refused", &why).into()
                }
            }
        });
        Self { web, board }
    }

    /// One where everything goes as usual.
    pub fn usual() -> Self {
        Self::start(0, BTreeMap::new())
    }

    /// What was asked, where it passed every check.
    pub fn asked(&self) -> Vec<Asked> {
        self.board.lock().unwrap().asked.clone()
    }

    /// The requests to one endpoint that passed every check.
    pub fn asked_of(&self, endpoint: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.endpoint == endpoint).collect()
    }

    /// Why requests were refused.
    pub fn refused(&self) -> Vec<String> {
        self.board.lock().unwrap().refused.clone()
    }
}

/// `{"stat": "OK"}` with this response.
pub fn well(response: Value) -> Response {
    Response::json(200, &json!({"stat": "OK", "response": response}))
}

/// `{"stat": "FAIL"}` with the status that goes with the code.
pub fn failure(code: u64, message: &str, detail: &str) -> Response {
    let status = u16::try_from(code / 100).unwrap();
    Response::json(status, &json!({"stat": "FAIL", "code": code, "message": message, "message_detail": detail}))
}

fn scripted(scripts: &BTreeMap<String, Script>, asked: &[Asked], this: &Asked) -> Option<Reply> {
    let mine = |other: &&Asked| other.endpoint == this.endpoint && other.user() == this.user();
    let count = asked.iter().filter(mine).count();
    let script = scripts.get(&this.user())?;
    let steps: Vec<&Reply> = script.iter().filter(|(name, _)| *name == this.endpoint).map(|(_, reply)| reply).collect();
    steps.get(count - 1).or_else(|| steps.last()).map(|reply| (*reply).clone())
}

fn usual(board: &mut Board, asked: &Asked, time: u64) -> Response {
    let field = |name: &str| asked.parameters.get(name).map(String::as_str);
    let user = asked.user();
    match asked.endpoint.as_str() {
        "ping" | "check" => well(json!({"time": time})),
        "preauth" => {
            let device = |(id, kind, name, capabilities): &(&str, &str, &str, &[&str])| {
                let mut device = json!({"device": id, "type": kind, "name": name});
                if *kind == "phone" {
                    device["number"] = json!("XXX-XXX-0100");
                    device["capabilities"] = json!(capabilities);
                }
                device
            };
            let devices: Vec<Value> = DEVICES.iter().map(device).collect();
            let mut response = json!({"result": "auth", "status_msg": "Account is active", "devices": devices});
            if user.starts_with("verified") && field("client_supports_verified_push") == Some("1") {
                response["txid"] = json!(format!("verified:{user}"));
                response["verification_code"] = json!("376");
                response["expiration"] = json!(time + 60);
            }
            well(response)
        }
        "auth" => match field("factor") {
            Some("passcode") => {
                let (status, said) = match field("passcode") {
                    Some(PASSCODE) if board.used.insert(user) => {
                        return well(
                            json!({"result": "allow", "status": "allow", "status_msg": "Success. Logging you in..."}),
                        );
                    }
                    Some(PASSCODE) => {
                        ("deny", "This passcode has already been used. Please generate a new passcode and try again.")
                    }
                    _ => ("deny", "Incorrect passcode. Please try again."),
                };
                well(json!({"result": "deny", "status": status, "status_msg": said}))
            }
            Some("sms") => well(json!({"result": "deny", "status": "sent", "status_msg": "New SMS passcodes sent."})),
            _ => well(json!({"txid": field("txid").map_or_else(|| quote(&user), str::to_owned)})),
        },
        "auth_status" => {
            let count = board.asked.iter().filter(|a| a.endpoint == "auth_status" && a.user() == user).count();
            if count == 1 {
                well(
                    json!({"result": "waiting", "status": "pushed", "status_msg": "Pushed a login request to your phone..."}),
                )
            } else {
                well(json!({"result": "allow", "status": "allow", "status_msg": "Success. Logging you in..."}))
            }
        }
        other => panic!("{other}"),
    }
}

// --------------------------------------------------------------------------------------------------------- the checks

type Refused = (u64, String);

fn check(request: &Request, time: u64) -> Result<Asked, Refused> {
    let endpoint = request.path.strip_prefix("/auth/v2/").ok_or((40401, "no such path".to_owned()))?.to_owned();
    let method = match endpoint.as_str() {
        "ping" | "check" | "auth_status" => "GET",
        "preauth" | "auth" => "POST",
        _ => return Err((40401, "no such path".to_owned())),
    };
    if request.method != method {
        return Err((40501, format!("expected {method}")));
    }
    if request.headers.iter().any(|(name, _)| name.to_lowercase().starts_with("x-duo")) {
        return Err((40103, "an X-Duo header".to_owned()));
    }
    let pairs = pairs(request)?;
    let generation = if endpoint == "ping" { 0 } else { signature(request, &pairs, time)? };
    let parameters: BTreeMap<String, String> = pairs.iter().cloned().collect();
    if parameters.len() != pairs.len() {
        return Err((40002, "a parameter twice".to_owned()));
    }
    check_parameters(&endpoint, &parameters).map_err(|(code, what)| (code, what.to_owned()))?;
    Ok(Asked { endpoint, parameters, generation })
}

fn pairs(request: &Request) -> Result<Vec<(String, String)>, Refused> {
    if request.method == "GET" {
        return Ok(request.query.clone());
    }
    if !request.query.is_empty() {
        return Err((40002, "parameters in the query of a POST".to_owned()));
    }
    match request.header("content-type") {
        Some("application/x-www-form-urlencoded") => Ok(request.form()),
        Some("application/json") => {
            let Value::Object(fields) = request.json() else { return Err((40002, "no object".to_owned())) };
            let text = |(name, value): (String, Value)| match value.as_str() {
                Some(text) => Ok((name, text.to_owned())),
                None => Err((40002, format!("{name} is {value}"))),
            };
            fields.into_iter().map(text).collect()
        }
        other => Err((40106, format!("Content-Type {other:?}"))),
    }
}

/// The generation in which the request is signed.
fn signature(request: &Request, pairs: &[(String, String)], time: u64) -> Result<u8, Refused> {
    let missing = |what: &str| (40101, format!("no {what}"));
    let date = request.header("date").ok_or((40104, "no Date".to_owned()))?;
    let authorization = request.header("authorization").ok_or(missing("Authorization"))?;
    let credentials = authorization.strip_prefix("Basic ").ok_or(missing("Basic"))?;
    let credentials = BASE64.decode(credentials.as_bytes()).map_err(|_| missing("base64"))?;
    let credentials = String::from_utf8(credentials).map_err(|_| missing("text"))?;
    let (ikey, signature) = credentials.split_once(':').ok_or(missing("colon"))?;
    if ikey != IKEY {
        return Err((40102, "unknown integration key".to_owned()));
    }
    let seen = httpdate::parse_http_date(&date.replace("-0000", "GMT")).map_err(|_| (40104, format!("Date {date}")))?;
    let seen = seen.duration_since(UNIX_EPOCH).unwrap().as_secs();
    if seen.abs_diff(time) > FRESH {
        return Err((40105, format!("{seen} is not {time}")));
    }
    let host = request.header("host").unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).to_lowercase();
    let mut line: Vec<(String, String)> = pairs.iter().map(|(name, value)| (quote(name), quote(value))).collect();
    line.sort();
    let line: Vec<String> = line.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let line = line.join("&");
    let is_json = request.header("content-type") == Some("application/json");
    let head = |line: &str| format!("{date}\n{}\n{host}\n{}\n{line}", request.method, request.path);
    let (body, nothing) = (Sha512::digest(&request.body), Sha512::digest(b""));
    let fifth = format!(
        "{}\n{}\n{}",
        head(if request.method == "GET" { &line } else { "" }),
        HEXLOWER.encode(&body),
        HEXLOWER.encode(&nothing)
    );
    let is_form = request.method == "POST" && !is_json;
    match () {
        () if !is_form && signature == hmac(&fifth) => Ok(5),
        () if !is_json && signature == hmac(&head(&line)) => Ok(2),
        () => Err((40103, format!("the signature is not that of {fifth:?}"))),
    }
}

/// RFC 2104 with SHA-512, in hexadecimal.
fn hmac(text: &str) -> String {
    let mut key = [0_u8; 128];
    key[..SKEY.len()].copy_from_slice(SKEY.as_bytes());
    let inner = Sha512::new().chain_update(key.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    HEXLOWER.encode(&Sha512::new().chain_update(key.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize())
}

/// RFC 3986, section 2.1: everything but unreserved characters, in upper case.
fn quote(text: &str) -> String {
    let quoted = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'~' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    quoted.collect()
}

/// Exactly what each call takes, and each factor.
fn check_parameters(endpoint: &str, parameters: &BTreeMap<String, String>) -> Result<(), (u64, &'static str)> {
    let has = |name: &str| parameters.contains_key(name);
    let field = |name: &str| parameters.get(name).map(String::as_str);
    let factor = field("factor").unwrap_or_default();
    let allowed: &[&str] = match (endpoint, factor) {
        ("ping" | "check", _) => &[],
        ("auth_status", _) => &["txid"],
        ("preauth", _) => &["ipaddr", "hostname", "trusted_device_token", "client_supports_verified_push"],
        ("auth", "push") => {
            &["factor", "ipaddr", "hostname", "async", "device", "type", "display_username", "pushinfo", "txid"]
        }
        ("auth", "phone" | "sms" | "auto") => &["factor", "ipaddr", "hostname", "async", "device"],
        ("auth", "passcode") => &["factor", "ipaddr", "hostname", "async", "passcode"],
        ("auth", "") => return Err((40001, "factor")),
        _ => return Err((40002, "factor")),
    };
    let names_user = ["preauth", "auth"].contains(&endpoint);
    let is_known = |name: &str| allowed.contains(&name) || (names_user && ["username", "user_id"].contains(&name));
    if !parameters.keys().all(|name| is_known(name)) {
        return Err((40002, "a parameter that is not known here"));
    }
    if parameters.values().any(String::is_empty) {
        return Err((40002, "an empty parameter"));
    }
    if names_user && has("username") == has("user_id") {
        return Err((40001, "username"));
    }
    if endpoint == "auth_status" && !has("txid") {
        return Err((40001, "txid"));
    }
    if field("ipaddr").is_some_and(|ip| ip.parse::<IpAddr>().is_err()) {
        return Err((40002, "ipaddr"));
    }
    if field("async").is_some_and(|value| !["0", "1"].contains(&value)) {
        return Err((40002, "async"));
    }
    if field("client_supports_verified_push").is_some_and(|value| !["0", "1"].contains(&value)) {
        return Err((40002, "client_supports_verified_push"));
    }
    if let Some(info) = field("pushinfo") {
        let is_pair = |pair: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.~-%".contains(&byte);
            pair.split_once('=').is_some_and(|(name, value)| !name.is_empty() && value.bytes().all(plain))
        };
        if info.len() >= 20_000 || !info.split('&').all(is_pair) {
            return Err((40002, "pushinfo"));
        }
    }
    if endpoint == "auth" && factor == "passcode" && !has("passcode") {
        return Err((40001, "passcode"));
    }
    if endpoint == "auth" && factor != "passcode" {
        let able = |(id, _, _, can): &(&str, &str, &str, &[&str])| {
            (field("device") == Some("auto") || field("device") == Some(id)) && can.contains(&factor)
        };
        if !has("device") {
            return Err((40001, "device"));
        }
        if !DEVICES.iter().any(able) {
            return Err((40002, "device"));
        }
    }
    Ok(())
}

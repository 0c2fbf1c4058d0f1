//! Where a sequence of calls is played: a directory with key, store and plugin.ini, and the service behind it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value, json};

use super::case::{Behaviour, Case};
use super::directory::Directories;
use super::rig::{Finished, Home, finish};
use super::service::Service;

/// How often a cached login is used at most, to lead to a state.
const MOST_USES: f64 = 50.0;

/// What all stages share.
pub struct Theatre {
    /// Goes when this does; the stages are below it.
    _home: Mutex<Home>,
    /// An initialised directory.
    model: PathBuf,
    /// Where nobody listens, and nobody else will.
    deaf: u16,
    _socket: tokio::net::TcpSocket,
    pub directories: Directories,
    count: AtomicUsize,
}

impl Theatre {
    /// With everything that `cases` need.
    pub fn open(cases: &[Case]) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let deaf = socket.local_addr().unwrap().port();
        let home = Home::init();
        Self {
            model: home.dir(),
            _home: Mutex::new(home),
            deaf,
            _socket: socket,
            directories: Directories::start(cases, deaf),
            count: AtomicUsize::new(0),
        }
    }

    /// A new stage with a fresh store.
    pub fn stage(&self) -> Stage<'_> {
        let directory = self.model.join(format!("stage {}", self.count.fetch_add(1, Ordering::Relaxed)));
        copy(&self.model.join("store"), &directory.join("store"));
        fs::copy(self.model.join("master.key"), directory.join("master.key")).unwrap();
        private(&directory, 0o700);
        Stage { theatre: self, directory, service: Service::start() }
    }
}

/// A store, a service, and the configuration that brings them together.
pub struct Stage<'a> {
    theatre: &'a Theatre,
    directory: PathBuf,
    service: Service,
}

impl Stage<'_> {
    /// Plays `case` with these cookies; what the program said, and what its service was asked. `asks`: whether any call of
    /// the sequence has something to say to an authorize.
    pub fn play(&self, case: &Case, request: &Map<String, Value>, asks: bool) -> (Finished, Vec<Vec<String>>) {
        let finished = self.call(case, &case.hook, request, case.now, asks);
        (finished, self.service.calls())
    }

    /// Plays what led to the state before `case`; the cookies of the sessions that it has, by their ids.
    pub fn prepare(&self, case: &Case, asks: bool) -> Vec<(Value, Value)> {
        let mut cookies = Vec::new();
        for (path, content) in &case.state_before {
            // Which state, which directory, and a file whose name may hold more of these.
            let Some((state, below)) = path.split_once('/') else { continue };
            let Some((kept_in, name)) = below.rsplit_once('/') else { continue };
            let cache = option(&case.config_ini, "authentication_cache", "cache_dir");
            if state == "persistent" && kept_in != cache.as_deref().unwrap_or("auth_cache") {
                continue;
            }
            match (state, name.strip_suffix(".cache").and_then(|whose| whose.rsplit_once('@')), content.as_array()) {
                ("persistent", Some((user, ip)), _) => self.fill_cache(case, user, ip, content, asks),
                ("ephemeral", _, Some(sessions)) => {
                    let Some((ip, user)) = name.split_once('_') else { continue };
                    for session in sessions {
                        let cookie = self.take_slot(case, user, ip, session, asks);
                        cookies.extend(cookie.map(|cookie| (session.clone(), cookie)));
                    }
                }
                // What no plugin could read leads to nothing.
                _ => {}
            }
        }
        cookies
    }

    /// Somebody logs in, and is let in again so many times without the client.
    fn fill_cache(&self, case: &Case, user: &str, ip: &str, content: &Value, asks: bool) {
        let number = |name: &str| content.get(name)?.as_f64();
        let fields = ["last_authenticated", "last_used", "reuse_count"];
        let members = content.as_object();
        if members.is_some_and(|members| members.keys().any(|name| !fields.contains(&name.as_str()))) {
            return;
        }
        let uses = if content.get(fields[2]).is_none() { Some(0.0) } else { number(fields[2]) };
        let times = (number(fields[0]), number(fields[1]), uses);
        let (Some(from), Some(to), Some(uses)) = times else { return };
        let uses = uses.clamp(0.0, MOST_USES).round();
        let login = accepting(case);
        let request = |answers: Value| {
            let mut request = authenticate(case, user, ip);
            request.insert("key_value_pairs".into(), answers);
            request
        };
        self.call(&login, "authenticate", &request(json!({"otp": "staged"})), from, asks);
        let mut used = 0.0;
        while used < uses {
            used += 1.0;
            self.call(&login, "authenticate", &request(json!({})), from + (to - from) * used / uses, asks);
        }
    }

    /// A session goes on to its target.
    fn take_slot(&self, case: &Case, user: &str, ip: &str, session: &Value, asks: bool) -> Option<Value> {
        let mut request = authenticate(case, user, ip);
        request.insert("session_id".into(), session.clone());
        for (name, value) in [
            ("gateway_groups", json!(["staged"])),
            ("server_ip", json!("198.51.100.7")),
            ("server_port", json!(22)),
            ("server_hostname", json!("server.example.com")),
        ] {
            request.insert(name.into(), value);
        }
        let finished = self.call(&accepting(case), "authorize", &request, case.now, asks);
        let answer: Value = serde_json::from_str(&finished.stdout).ok()?;
        answer.get("cookie").cloned()
    }

    fn call(&self, case: &Case, hook: &str, request: &Map<String, Value>, now: f64, asks: bool) -> Finished {
        self.service.play(case);
        let ini = self.directory.join("plugin.ini");
        fs::write(&ini, self.configuration(case, asks)).unwrap();
        private(&ini, 0o600);
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.env_clear().args(["gateway", "sps", "--config"]).arg(&ini);
        command.arg("--test-clock").arg(format!("{now:.3}"));
        let line = json!({"hook": hook, "arguments": request});
        finish(&mut command, format!("{line}\n").as_bytes())
    }

    /// The plugin's configuration, as it was pasted, and below it what SPS keeps elsewhere.
    fn configuration(&self, case: &Case, asks: bool) -> String {
        let (mut text, own) = (without(&case.config_ini, &["acme"]), section(&case.config_ini, "acme"));
        let credentials = self.directory.join("credentials");
        text = text.replace(
            "[credential_store]\n",
            &format!("[credential_store]\nsource = files:{}\n", self.keep(case, &credentials).display()),
        );
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let is_deaf = case.client_behaviour.values().any(is_unreachable);
        let url = if is_deaf { format!("http://127.0.0.1:{}", self.theatre.deaf) } else { self.service.url() };
        text += "[plugin]\nclients = http acme\n[throttle]\nfailures = 1000\nsource_failures = 1000000\n";
        text +=
            &format!("[http acme]\nresponse = verdict\nallow_insecure_http = yes\ncode = text 1..512\nurl = {url}\n");
        if case.plugin == "secret" {
            text += "auth = header\nauth_header = X-Token\n";
        }
        for line in own.lines() {
            match line.split_once(['=', ':']).map(|(name, value)| (name.trim().to_lowercase(), value)) {
                Some((name, value)) if name == "token" && case.plugin == "secret" => {
                    text += &format!("auth_secret ={value}\n");
                }
                Some((name, _)) if name == "ignore_connection_error" => text += &format!("{line}\n"),
                // What this plugin does not read.
                Some(_) if !line.starts_with([' ', '\t']) => {}
                Some(_) | None if line.trim().is_empty() || case.plugin == "secret" => text += &format!("{line}\n"),
                Some(_) | None => {}
            }
        }
        for (step, json) in [
            ("otp", r#"{"user": "{user}", "otp": "{otp}", "state": "{state}"}"#),
            ("push", r#"{"user": "{user}"}"#),
            ("authorize", r#"{"user": "{user}", "otp": "{otp}", "state": "{state}"}"#),
        ] {
            if step != "authorize" || asks {
                let section = if step == "push" { "push_start" } else { step };
                text += &format!("[http acme {section}]\nrequest = POST /{step}\njson = {json}\n");
            }
        }
        for (name, list) in &case.fixtures.user_lists {
            text += &format!("[user_list {name}]\nallow = {}\n", list.allow);
            if !list.except.is_empty() {
                text += &format!("except = {}\n", list.except.join(","));
            }
        }
        text + &self.theatre.directories.sections(case)
    }

    /// Puts the passwords of the local stores where `$` finds them; where the one is that the configuration names.
    fn keep(&self, case: &Case, credentials: &Path) -> PathBuf {
        for (store, options) in &case.fixtures.credential_stores {
            let directory = credentials.join(store);
            fs::create_dir_all(&directory).unwrap();
            for (option, sections) in options {
                for (section, accounts) in sections {
                    let Some(password) = accounts.iter().find_map(|account| account.get(0).and_then(Value::as_str))
                    else {
                        continue;
                    };
                    let names = match (section.as_str(), option.as_str()) {
                        ("acme", "token") => "http acme.auth_secret".to_owned(),
                        _ => format!("{section}.{option}"),
                    };
                    let path = directory.join(names);
                    fs::write(&path, password).unwrap();
                    private(&path, 0o600);
                }
            }
        }
        credentials.join(option(&case.config_ini, "credential_store", "name").unwrap_or_else(|| "none".into()))
    }
}

/// The same call of a client that lets everybody in.
fn accepting(case: &Case) -> Case {
    let accept = || Behaviour {
        returns: Some(serde_json::value::RawValue::from_string("true".into()).unwrap()),
        ..Behaviour::default()
    };
    let client_behaviour = ["otp", "push"].into_iter().map(|name| (name.to_owned(), accept())).collect();
    Case { client_behaviour, ..case.clone() }
}

fn is_unreachable(behaviour: &Behaviour) -> bool {
    behaviour.raise.as_deref().is_some_and(|raise| raise.ends_with("MFAServiceUnreachable"))
}

/// An authenticate of `user` at `ip`, otherwise as in `case` or, where that is another hook, as all are recorded.
fn authenticate(case: &Case, user: &str, ip: &str) -> Map<String, Value> {
    let value = json!({
        "cookie": {}, "session_cookie": {}, "session_id": "staged", "protocol": "ssh", "connection_name": "ssh_default",
        "client_ip": ip, "client_port": 50022, "client_hostname": "client.example.com", "gateway_user": user,
        "gateway_domain": null, "server_username": "root", "server_domain": null, "key_value_pairs": {},
    });
    let Value::Object(mut request) = value else { panic!("{value}") };
    for name in ["connection_name", "protocol", "server_username"] {
        if let Some(value) = case.request.get(name) {
            request.insert(name.into(), value.clone());
        }
    }
    request
}

/// `ini` without the sections whose names begin so.
fn without(ini: &str, sections: &[&str]) -> String {
    let mut is_out = false;
    let mut kept = String::new();
    for line in ini.split_inclusive('\n') {
        if let Some(name) = line.strip_prefix('[') {
            is_out = sections.iter().any(|section| name.starts_with(section));
        }
        if !is_out {
            kept.push_str(line);
        }
    }
    kept
}

/// What stands in a section of `ini`.
fn section(ini: &str, name: &str) -> String {
    let mut is_in = false;
    let mut found = String::new();
    for line in ini.lines() {
        if line.starts_with('[') {
            is_in = line.trim_end() == format!("[{name}]");
        } else if is_in {
            found += &format!("{line}\n");
        }
    }
    found
}

/// What is written for an option of `ini`.
pub fn option(ini: &str, in_section: &str, name: &str) -> Option<String> {
    let text = section(ini, in_section);
    let mut options = text.lines().filter_map(|line| line.split_once(['=', ':']));
    options.find_map(|(option, value)| (option.trim() == name).then(|| value.trim().to_owned()))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    private(to, 0o700);
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn private(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

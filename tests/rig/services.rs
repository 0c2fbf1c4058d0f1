//! The remote services themselves, on loopback: privacyIDEA with the phones of its subscribers, yubival with a YubiKey,
//! and an OpenID provider with a person at a browser. `tests/services` has what starts them.
//!
//! What they need is installed once, into `services` in the target directory. A service that cannot be installed here is
//! `None`, after one line that says what to install; where `COUNTERSIGN_NOTHING_SKIPPED` is 1, the test fails instead.
//! A server lives as long as its value, and never longer than the process that started it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use super::authority::Certificate;
use super::{PATIENCE, TemporaryDirectory, drain, finish};

/// How long the installation of a service may take, whoever does it.
const INSTALLATION_PATIENCE: Duration = Duration::from_secs(900);

// -------------------------------------------------------------------------------------------------------- privacyIDEA

/// privacyIDEA 3.14 with the subscribers of `tests/services/privacyidea/seed.py`, as new. About 3 s to start.
pub struct PrivacyIdea {
    /// Without a slash at its end.
    pub url: String,
    /// With TLS only: the same server under a name that is not in its certificate.
    pub misnamed_url: Option<String>,
    /// Where everybody is, and the default.
    pub realm: String,
    /// Where only `apiuser` is, and only who has the [`validate_key`](Self::validate_key) may ask.
    pub api_realm: String,
    /// Where nobody can be looked up.
    pub dead_realm: String,
    /// An administrator who may do everything.
    pub admin: Account,
    /// An administrator who may trigger challenges and nothing else.
    pub service: Account,
    /// An administrator who may not even trigger challenges.
    pub no_right: Account,
    /// What goes into the header `Authorization` where the realm asks for it.
    pub validate_key: String,
    /// What a client must trust to reach the server with TLS, and what has nothing to do with it.
    pub ca: PathBuf,
    pub stranger_ca: PathBuf,
    /// The public key of the signatures of answers.
    pub response_key: PathBuf,
    server: Server,
}

/// A name and its password.
pub struct Account {
    pub name: String,
    pub password: String,
}

impl PrivacyIdea {
    /// Starts an instance of one's own.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts an instance of one's own that speaks TLS.
    pub fn start_tls() -> Option<Self> {
        Self::start_with(&["--tls"])
    }

    /// The instance that the tests of this process share; it ends with the process. What a test does there, the others
    /// see: give each its own subscribers.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<PrivacyIdea>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    fn start_with(arguments: &[&str]) -> Option<Self> {
        let urls = 1 + arguments.len();
        let server = Server::start("privacyidea/start-privacyidea.sh", arguments, urls)?;
        let account = |key| {
            let (name, password) = server.said(key).split_once(':').unwrap();
            Account { name: name.to_owned(), password: password.to_owned() }
        };
        Some(Self {
            url: server.urls[0].clone(),
            misnamed_url: server.urls.get(1).cloned(),
            realm: server.said("REALM").to_owned(),
            api_realm: server.said("API_REALM").to_owned(),
            dead_realm: server.said("DEAD_REALM").to_owned(),
            admin: account("ADMIN"),
            service: account("SERVICE"),
            no_right: account("NO_RIGHT"),
            validate_key: server.said("VALIDATE_KEY").to_owned(),
            ca: server.directory().join("tls/ca.pem"),
            stranger_ca: server.directory().join("tls/stranger.pem"),
            response_key: server.directory().join("public.pem"),
            server,
        })
    }

    /// The authenticator app of everybody with a six-digit HOTP or TOTP by SHA-1: the step of an HOTP is its counter.
    pub fn app(&self) -> super::Phone {
        super::Phone::with_secret("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
    }

    /// The smartphone with the PUSH token `serial`.
    pub fn phone(&self, serial: &str) -> Smartphone {
        let mut command = vec![self.server.said("PYTHON").to_owned(), script("privacyidea/phone.py")];
        command.extend(["--tied", "--dir"].map(String::from));
        command.push(self.server.directory().display().to_string());
        command.extend(["--url", &self.url, "--wait", "90"].map(String::from));
        Smartphone { command, serial: serial.to_owned() }
    }

    /// What an administrator's POST does, such as `/system/setConfig` or `/policy/NAME`; it must be done. Without TLS.
    #[track_caller]
    pub fn administer(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let Account { name, password } = &self.admin;
        let session = post(&self.url, "/auth", &[], &[("username", name), ("password", password)]).json();
        let token = session["result"]["value"]["token"].as_str().expect("a session").to_owned();
        let answer = post(&self.url, path, &[("Authorization", &token)], form);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }
}

/// A smartphone with a PUSH token. It asks its server for a challenge as an app without notifications does, again and
/// again until there is one, and answers the newest.
pub struct Smartphone {
    command: Vec<String>,
    serial: String,
}

impl Smartphone {
    /// Accepts the next challenge.
    pub fn accept(&self) -> Answering {
        self.start(&["accept", &self.serial])
    }

    /// Accepts the next challenge by pressing `number`.
    pub fn press(&self, number: &str) -> Answering {
        self.start(&["accept", &self.serial, "--presence", number])
    }

    /// Declines the next challenge.
    pub fn decline(&self) -> Answering {
        self.start(&["decline", &self.serial])
    }

    /// Declines the next challenge for a reason: `unknown_trigger` or `cancelled`.
    pub fn decline_because(&self, reason: &str) -> Answering {
        self.start(&["decline", &self.serial, "--reason", reason])
    }

    fn start(&self, arguments: &[&str]) -> Answering {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Answering {
            _input: child.stdin.take().unwrap(),
            stdout: drain(child.stdout.take().unwrap()),
            stderr: drain(child.stderr.take().unwrap()),
            child,
        }
    }
}

/// A smartphone that waits for its challenge in the background. It gives up when this is dropped.
pub struct Answering {
    child: Child,
    _input: ChildStdin,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Answering {
    /// Waits until the server has taken the answer, and gives what it said.
    #[track_caller]
    pub fn done(self) -> Value {
        let (status, said) = self.end();
        assert_eq!(status, Some(0), "{said}");
        said
    }

    /// Waits until the server has taken the answer, and gives the code that the phone then shows.
    #[track_caller]
    pub fn code(self) -> String {
        let said = self.done();
        said["detail"]["display_code"].as_str().unwrap_or_else(|| panic!("no code: {said}")).to_owned()
    }

    /// Waits until the server has refused the answer, and gives what it said.
    #[track_caller]
    pub fn refused(self) -> Value {
        let (status, said) = self.end();
        assert_eq!(status, Some(1), "{said}");
        said
    }

    #[track_caller]
    fn end(mut self) -> (Option<i32>, Value) {
        let stdout = self.stdout.recv_timeout(PATIENCE).expect("the end of the phone");
        let stderr = self.stderr.recv_timeout(PATIENCE).expect("the end of the phone");
        let status = self.child.wait().unwrap().code();
        let said: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
        (status, said["body"].clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        // It has ended already, or nobody needs it any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ------------------------------------------------------------------------------------------------------------ yubival

/// Some servers of the Yubico Validation Protocol 2.0 that share what they know of each key, as new. About 1 s to start.
pub struct Yubival {
    /// Each server's URL of verification.
    pub urls: Vec<String>,
    pub client_id: String,
    /// The key that signs, in base64.
    pub api_key: String,
    server: Server,
}

impl Yubival {
    /// Starts `count` servers.
    pub fn start(count: usize) -> Option<Self> {
        let server = Server::start("yubico/start-yubival.sh", &[&count.to_string()], count)?;
        Some(Self {
            urls: server.urls.iter().map(|url| format!("{url}/wsapi/2.0/verify")).collect(),
            client_id: server.said("CLIENT_ID").to_owned(),
            api_key: server.said("API_KEY").to_owned(),
            server,
        })
    }

    /// The public id of the YubiKey `key`: alice, bob, carol, or unknown, which no server knows.
    pub fn public_id(&self, key: &str) -> &str {
        self.server.said(&format!("ID_{key}"))
    }

    /// What the YubiKey `key` types at press `use_` since it was plugged in for the `session`th time; a server takes it if
    /// the pair has grown. The key `corrupt` has alice's public id and another secret.
    pub fn otp(&self, key: &str, session: u16, use_: u8) -> String {
        let mut command = Command::new(self.server.said("PYTHON"));
        command.arg(script("yubico/yubikey_otp.py")).args(["otp", key]);
        let said = finish(command.args([session.to_string(), use_.to_string()]), b"").ok();
        said.stdout.trim_end().to_owned()
    }
}

// ---------------------------------------------------------------------------------------------------------------- Duo

/// The vendor's own client library for Duo.
pub struct DuoLibrary {
    server: Server,
}

impl DuoLibrary {
    /// Installs it.
    pub fn install() -> Option<Self> {
        Some(Self { server: Server::start("duo/start-duo-client.sh", &[], 1)? })
    }

    /// What came of each call that it makes to the server at `port`, signed in one `generation`.
    pub fn ask(&self, port: u16, ikey: &str, skey: &str, generation: u8) -> Vec<(String, Value)> {
        let mut command = Command::new(self.server.said("PYTHON"));
        command.arg(script("duo/vendor.py")).args([&port.to_string(), ikey, skey, &generation.to_string()]);
        let said = finish(&mut command, b"").ok();
        said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

// ------------------------------------------------------------------------------------------------------ SPS plugin SDK

/// The SDK with which plugins of Safeguard for Privileged Sessions are written and tested.
pub struct SpsSdk {
    server: Server,
}

impl SpsSdk {
    /// Installs it.
    pub fn install() -> Option<Self> {
        Some(Self { server: Server::start("sps/start-sps-sdk.sh", &[], 1)? })
    }

    /// A command that plays a session of `user` by the plugin in `directory` with the SDK's tester; what the user answers
    /// is read from its input, a line a question.
    pub fn session(&self, directory: &Path, configuration: &str, scenario: &str, user: &str) -> Command {
        let mut command = Command::new(self.server.said("PYTHON"));
        command.arg(script("sps/session.py")).arg(directory).args([configuration, scenario, user]);
        command
    }
}

// -------------------------------------------------------------------------------------------------------- JSON Schema

/// A validator of JSON Schema that is not ours.
pub struct Validator {
    server: Server,
}

impl Validator {
    /// Installs it.
    pub fn install() -> Option<Self> {
        Some(Self { server: Server::start("jsonschema/start-jsonschema.sh", &[], 1)? })
    }

    /// What is wrong by `schema` with each of `files`: texts like plugin.ini, or objects of sections. Each line begins with
    /// the section and the option that it is about, as far as there are such.
    #[track_caller]
    pub fn judge(&self, schema: &Value, files: &[Value]) -> Vec<Vec<String>> {
        let mut command = Command::new(self.server.said("PYTHON"));
        command.arg(script("jsonschema/validate.py"));
        let asked = serde_json::json!({"schema": schema, "files": files}).to_string();
        serde_json::from_str(&finish(&mut command, asked.as_bytes()).ok().stdout).unwrap()
    }
}

/// Whether there is a Python for the plugin; says where there is none.
pub fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output();
    found.is_ok() || skip::<()>("skipped: needs python3; install: apt-get install python3").is_some()
}

// ---------------------------------------------------------------------------------------------------------------- mail

/// Mail servers, one for each way to behave: PLAIN; STARTTLS and TLS, where [`MailServers::USER`] logs in; REFUSING, which
/// knows nobody; BUSY, which takes nothing now; SLOW, which never answers to a message.
pub struct MailServers {
    server: Server,
}

/// A message as a server got it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    pub server: String,
    pub hello: String,
    pub user: Option<String>,
    pub from: String,
    pub to: Vec<String>,
    pub headers: BTreeMap<String, String>,
    pub text: String,
}

impl MailServers {
    pub const USER: &str = "gateway";
    pub const PASSWORD: &str = "canary-password";

    /// Starts them with `certificate`.
    pub fn start(certificate: &Certificate) -> Option<Self> {
        let files = [&certificate.certificate_file, &certificate.key_file];
        let files = files.map(|file| file.display().to_string());
        let server = Server::start("smtp/start-smtp.sh", &files.each_ref().map(String::as_str), 1)?;
        Some(Self { server })
    }

    /// The port of the server `name`.
    pub fn port(&self, name: &str) -> &str {
        self.server.said(name)
    }

    /// The next message that one of them took.
    #[track_caller]
    pub fn mail(&self) -> Mail {
        let line = self.server.lines.lock().unwrap().recv_timeout(PATIENCE).expect("a message");
        serde_json::from_str(line.strip_prefix("MAIL=").expect("a message")).unwrap()
    }

    /// Whether a message lies there that nobody has looked at.
    pub fn has_mail(&self) -> bool {
        self.server.lines.lock().unwrap().try_recv().is_ok()
    }
}

// --------------------------------------------------------------------------------------------------- OpenID provider

/// An OpenID provider with the device flow (RFC 8628), as new; it wants to be asked each second. Half a second to start.
pub struct OidcProvider {
    /// Without a slash at its end.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: String,
    /// A client without a secret.
    pub public_client_id: String,
    _server: Server,
}

impl OidcProvider {
    /// Starts a provider whose device codes are good for `ttl` seconds.
    pub fn start(ttl: u64) -> Option<Self> {
        let server = Server::start("oidc/start-oidc.sh", &[&ttl.to_string()], 1)?;
        Some(Self {
            issuer: server.urls[0].clone(),
            client_id: server.said("CLIENT_ID").to_owned(),
            client_secret: server.said("CLIENT_SECRET").to_owned(),
            public_client_id: server.said("PUBLIC_CLIENT_ID").to_owned(),
            _server: server,
        })
    }

    /// Logs in as `login`, whoever that is, and approves the device that shows `user_code`.
    #[track_caller]
    pub fn approve(&self, user_code: &str, login: &str) {
        self.browse(&[&self.issuer, user_code, login]);
    }

    /// Denies the device that shows `user_code`.
    #[track_caller]
    pub fn deny(&self, user_code: &str) {
        self.browse(&[&self.issuer, user_code, "nobody", "--deny"]);
    }

    #[track_caller]
    fn browse(&self, arguments: &[&str]) {
        finish(Command::new("python3").arg(script("oidc/device_user.py")).args(arguments), b"").ok();
    }
}

// --------------------------------------------------------------------------------------------------------------- HTTP

/// What a server answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: String,
}

impl Reply {
    /// The body, which must be JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Gets `path`, with its query, from `url`, which is http.
#[track_caller]
pub fn get(url: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    exchange("GET", url, path, headers, "")
}

/// Posts a form to `path` at `url`, which is http.
#[track_caller]
pub fn post(url: &str, path: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Reply {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let headers = [&[("Content-Type", "application/x-www-form-urlencoded")], headers].concat();
    exchange("POST", url, path, &headers, &body)
}

/// One exchange by HTTP/1.0, whose answers are neither chunked nor followed by others.
#[track_caller]
fn exchange(method: &str, url: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let host = url.strip_prefix("http://").expect("an http URL");
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not HTTP: {answer}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Reply { status: status.unwrap_or_else(|| panic!("no status: {head}")), body: body.to_owned() }
}

// ------------------------------------------------------------------------------------------------------------ servers

/// A start script and the servers that it started, all in one process group, in a directory of their own. When this is
/// dropped they are killed; when this process ends in another way, the script sees its input end, and does the same.
struct Server {
    child: Child,
    _input: ChildStdin,
    said: BTreeMap<String, String>,
    /// In whatever order they were ready, without a slash at the end.
    urls: Vec<String>,
    /// What else the script says; it ends when everything that was started has.
    lines: Mutex<Receiver<String>>,
    directory: TemporaryDirectory,
}

impl Server {
    /// Runs `path` until it has told `urls` URLs.
    fn start(path: &str, arguments: &[&str], urls: usize) -> Option<Self> {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("services");
        let directory = TemporaryDirectory::new();
        let log = directory.0.join("log");
        let mut command = Command::new("bash");
        command.arg(script(path)).arg(cache).arg(&directory.0).args(arguments).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return skip("skipped: needs bash; install: apt-get install bash");
            }
            Err(error) => panic!("{command:?}: {error}"),
        };
        let input = child.stdin.take().unwrap();
        let lines = Mutex::new(lines(child.stdout.take().unwrap()));
        let mut server = Self { child, _input: input, said: BTreeMap::new(), urls: Vec::new(), lines, directory };
        while server.urls.len() < urls {
            let patience = if server.said.contains_key("INSTALLED") { PATIENCE } else { INSTALLATION_PATIENCE };
            let Ok(line) = server.lines.get_mut().unwrap().recv_timeout(patience) else {
                let log = fs::read_to_string(&log).unwrap_or_default();
                panic!("{path} is not ready: {:?}\n{log}", server.said);
            };
            if line.starts_with("skipped: ") {
                return skip(&line);
            }
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{path} says {line}"));
            if key == "URL" {
                server.urls.push(value.to_owned());
            } else {
                server.said.insert(key.to_owned(), value.to_owned());
            }
        }
        Some(server)
    }

    /// What the script said of `key`.
    fn said(&self, key: &str) -> &str {
        self.said.get(key).unwrap_or_else(|| panic!("nothing is said of {key}"))
    }

    /// Where the servers keep what is theirs.
    fn directory(&self) -> &Path {
        &self.directory.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody has waited for the script yet, so that the group is still this one.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        if let Ok(lines) = self.lines.get_mut() {
            while lines.recv_timeout(PATIENCE).is_ok() {}
        }
    }
}

/// Each line of `stream`, without its end. It is read to its end, whether somebody listens or not.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

/// The absolute path of a file in `tests/services`.
fn script(path: &str) -> String {
    format!("{}/tests/services/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Says why a test is skipped, in a way that `cargo test` shows without being asked.
pub fn skip<T>(why: &str) -> Option<T> {
    let allowed = std::env::var_os("COUNTERSIGN_NOTHING_SKIPPED").is_none_or(|value| value != "1");
    assert!(allowed, "{why}");
    let _ = writeln!(io::stderr(), "{why}");
    None
}

/// Where the program `name` is, if it is there.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(name)).find(|path| path.is_file())
}

//! What the tests through the executable share: a home in a temporary directory, a phone that makes codes, and a gateway
//! that starts `countersign serve` and talks to it over pipes. The wire is declared here once more, strictly.
//!
//! Nothing here sleeps: everything blocks until what it waits for is there, and fails after [`PATIENCE`].

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where its rig fails"
)]

pub mod authority;
pub mod faults;
pub mod grounds;
pub mod http;
pub mod nobody;
pub mod okta;
pub mod pam;
pub mod postgres;
pub mod proxy;
pub mod services;
pub mod slapd;
pub mod terminal;
pub mod web;

use std::cell::Cell;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, SystemTime};

use data_encoding::BASE32_NOPAD;
use serde::Deserialize;
use serde_json::{Value, json};

/// How long anything may take before the test fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a process is at, by the letter of proc(5); `None` where there is none.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before it may hold anything.
    stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next())
}

/// What time it is, in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

// ---------------------------------------------------------------------------------------------------------- the wire

/// One line of `serve`'s output, with everything that can be in it and nothing else.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub v: u64,
    /// Always there; null where the line had none.
    pub id: Value,
    pub verdict: Option<String>,
    pub error: Option<WireError>,
    pub message: Option<String>,
    pub question: Option<WireQuestion>,
    pub challenge: Option<WireChallenge>,
    pub gateway_user: Option<String>,
    pub mfa_identity: Option<String>,
    pub gateway_groups: Option<Vec<String>>,
    pub basis: Option<String>,
    pub factor: Option<String>,
    pub degraded: Option<bool>,
    pub shadow: Option<bool>,
    pub reason: Option<String>,
    pub retry_after_s: Option<u64>,
    pub cookie: Option<String>,
    pub session_cookie: Option<Value>,
    pub trace: Option<String>,
    pub cancelled: Option<bool>,
    pub hello: Option<WireHello>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireError {
    pub class: String,
    pub code: String,
    pub service: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireQuestion {
    pub key: String,
    pub prompt: String,
    pub disable_echo: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireChallenge {
    pub id: String,
    pub state: String,
    pub purpose: String,
    pub expires_s: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireHello {
    pub name: String,
    pub version: String,
    pub protocol_versions: Vec<u64>,
    pub capabilities: Vec<String>,
    pub clients: Vec<String>,
    pub max_line_bytes: usize,
    pub max_in_flight: usize,
}

impl Answer {
    /// Reads a line of output, and holds it to the shape that protocol.md gives each kind of answer.
    pub fn parse(line: &[u8]) -> Self {
        let shown = String::from_utf8_lossy(line);
        let answer: Self = serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {shown}"));
        let fields: serde_json::Map<String, Value> = serde_json::from_slice(line).unwrap();
        let allowed: (&[&str], &[&str]) = match answer.verdict.as_deref() {
            Some("accept") => (
                &["reason"],
                &[
                    "gateway_user",
                    "gateway_groups",
                    "message",
                    "mfa_identity",
                    "basis",
                    "factor",
                    "degraded",
                    "shadow",
                    "challenge",
                    "cookie",
                    "session_cookie",
                ],
            ),
            Some("reject") => {
                (&["error", "message", "reason", "trace"], &["retry_after_s", "session_cookie", "challenge"])
            }
            // What a challenge_request keeps lies in the challenge.
            Some("need_info") if answer.challenge.is_some() => {
                (&["question"], &["cookie", "session_cookie", "challenge"])
            }
            Some("need_info") => (&["question", "cookie"], &["session_cookie"]),
            None if answer.cancelled.is_some() => (&["cancelled"], &[]),
            None => (&["hello"], &[]),
            Some(other) => panic!("verdict {other}: {shown}"),
        };
        for required in allowed.0 {
            assert!(fields.get(*required).is_some_and(|value| !value.is_null()), "no {required}: {shown}");
        }
        for (field, value) in &fields {
            let common = ["v", "id", "verdict"].contains(&field.as_str());
            assert!(common || allowed.0.contains(&&**field) || allowed.1.contains(&&**field), "{field}: {shown}");
            assert!(field == "id" || !value.is_null(), "{field} is null: {shown}");
        }
        assert_eq!(answer.v, 1, "{shown}");
        answer
    }

    /// The verdict's word; empty where the answer is none.
    pub fn verdict(&self) -> &str {
        self.verdict.as_deref().unwrap_or_default()
    }

    /// `class/code` of a reject; else the verdict's word.
    pub fn told(&self) -> String {
        match &self.error {
            Some(error) => format!("{}/{}", error.class, error.code),
            None => self.verdict().to_owned(),
        }
    }

    /// The error code of a reject; else empty.
    pub fn code(&self) -> &str {
        self.error.as_ref().map_or("", |error| &error.code)
    }

    /// The challenge, which must be there.
    pub fn challenge(&self) -> &WireChallenge {
        self.challenge.as_ref().expect("a challenge")
    }

    /// The cookie, which must be there.
    pub fn cookie(&self) -> &str {
        self.cookie.as_deref().expect("a cookie")
    }

    /// The reason, which must be there.
    pub fn reason(&self) -> &str {
        self.reason.as_deref().expect("a reason")
    }
}

/// An authenticate request of `user` over ssh with `more` in it; `null` there takes a field out.
pub fn request(id: impl Into<Value>, user: &str, more: Value) -> Value {
    let id = id.into();
    let mut request = json!({
        "type": "authenticate", "id": id, "session_id": format!("session of {id}"), "protocol": "ssh",
        "client_ip": "192.0.2.7", "gateway_user": user,
    });
    let Value::Object(more) = more else { panic!("not an object: {more}") };
    for (key, value) in more {
        if value.is_null() {
            request.as_object_mut().unwrap().remove(&key);
        } else {
            request[key] = value;
        }
    }
    request
}

/// An authenticate request of `user` who typed `code`.
pub fn attempt(id: impl Into<Value>, user: &str, code: &str) -> Value {
    request(id, user, json!({"key_value_pairs": {"otp": code}}))
}

// --------------------------------------------------------------------------------------------------------- the phone

/// An authenticator app with one account.
#[derive(Clone)]
pub struct Phone {
    secret: Vec<u8>,
    algorithm: &'static str,
    digits: u8,
    period: u64,
}

impl Phone {
    /// The account that apps make by default, with the secret number `number`.
    pub fn new(number: u64) -> Self {
        // SplitMix64: twenty bytes that look like nothing, the same at each run.
        let mut state = number;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let secret: Vec<u8> = (0..3).flat_map(|_| next().to_be_bytes()).take(20).collect();
        Self { secret, algorithm: "SHA1", digits: 6, period: 30 }
    }

    /// An account with this secret, in base32.
    pub fn with_secret(secret: &str) -> Self {
        Self { secret: decode_base32(secret), ..Self::new(0) }
    }

    /// The same account with other parameters; `algorithm` is SHA1, SHA256 or SHA512.
    #[must_use]
    pub fn with(self, algorithm: &str, digits: u8, period: u64) -> Self {
        let algorithm = ["SHA1", "SHA256", "SHA512"].into_iter().find(|known| *known == algorithm).unwrap();
        Self { algorithm, digits, period, ..self }
    }

    /// The secret in base32.
    pub fn secret(&self) -> String {
        BASE32_NOPAD.encode(&self.secret)
    }

    /// What the QR code of the account says.
    pub fn uri(&self, account: &str) -> String {
        let Self { secret: _, algorithm, digits, period } = self;
        let secret = self.secret();
        format!("otpauth://totp/T:{account}?secret={secret}&algorithm={algorithm}&digits={digits}&period={period}")
    }

    /// The time step that `time` lies in.
    pub fn step(&self, time: u64) -> u64 {
        time / self.period
    }

    /// The code of a time step.
    pub fn code(&self, step: u64) -> String {
        let algorithm = match self.algorithm {
            "SHA256" => totp_rs::Algorithm::SHA256,
            "SHA512" => totp_rs::Algorithm::SHA512,
            _ => totp_rs::Algorithm::SHA1,
        };
        totp_rs::Builder::new()
            .with_algorithm(algorithm)
            .with_digits(self.digits)
            .with_step_duration(self.period)
            .with_skew(0)
            .with_secret(totp_rs::Secret::new(self.secret.clone().into_boxed_slice()))
            .build()
            .unwrap()
            .generate(step * self.period)
            .to_string()
    }

    /// The code `offset` steps from the one of `time`.
    pub fn code_at(&self, time: u64, offset: i64) -> String {
        self.code(self.step(time).checked_add_signed(offset).unwrap())
    }

    /// The right code by the machine's clock, good for 60 to 90 s at the default window.
    pub fn fresh_code(&self) -> String {
        self.code_at(now(), 1)
    }

    /// A code that is right at no step near `time`.
    pub fn wrong_code(&self, time: u64) -> String {
        let step = self.step(time);
        let near: Vec<String> = (step.saturating_sub(20)..=step + 20).map(|step| self.code(step)).collect();
        let digits = usize::from(self.digits);
        (0..).map(|n| format!("{n:0digits$}")).find(|code| !near.contains(code)).unwrap()
    }
}

fn decode_base32(text: &str) -> Vec<u8> {
    let mut specification = BASE32_NOPAD.specification();
    specification.check_trailing_bits = false;
    specification.encoding().unwrap().decode(text.as_bytes()).unwrap()
}

// ---------------------------------------------------------------------------------------------------------- the home

/// An initialised home: plugin.ini, master key and store in a temporary directory that goes when this does.
///
/// The log goes to the file `log` there, so that tests see on stderr what does not belong there.
pub struct Home {
    dir: TemporaryDirectory,
    clock: Cell<Option<u64>>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit status; `None` after a signal.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// This, if the status is 0 and stderr is empty.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status == Some(0) && self.stderr.is_empty(), "{self:?}");
        self
    }
}

/// What a one-shot `serve` said.
#[derive(Debug)]
pub struct Asked {
    pub answers: Vec<Answer>,
    pub status: Option<i32>,
    pub stderr: String,
}

impl Home {
    /// Runs `countersign init` in a new temporary directory.
    pub fn init() -> Self {
        let dir = TemporaryDirectory::new();
        let home = Self { clock: Cell::new(None), dir };
        finish(Command::new(env!("CARGO_BIN_EXE_countersign")).arg("init").arg(home.dir()), b"").ok();
        home.set("logging", "destination", &format!("file:{}", home.log_path().display()));
        // By an authorize, tests see whether a cookie is good.
        home.set("authorize", "require_proof", "yes");
        home
    }

    /// A home with a subscriber of each name, who holds the phone of that number.
    pub fn with(users: &[(&str, &Phone)]) -> Self {
        let home = Self::init();
        for (user, phone) in users {
            home.import(user, phone);
        }
        home
    }

    /// The directory, made by `init` below the temporary one.
    pub fn dir(&self) -> PathBuf {
        self.dir.0.join("home")
    }

    /// The configuration.
    pub fn ini(&self) -> PathBuf {
        self.dir().join("plugin.ini")
    }

    /// The store's directory.
    pub fn store(&self) -> PathBuf {
        self.dir().join("store")
    }

    /// Where the log goes.
    pub fn log_path(&self) -> PathBuf {
        self.dir.0.join("log")
    }

    /// What was logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Adds `text` to the configuration, such as a section.
    pub fn append(&self, text: &str) {
        let ini = fs::read_to_string(self.ini()).unwrap();
        fs::write(self.ini(), ini + text).unwrap();
    }

    /// Writes a file of the home that its owner alone may read.
    pub fn keep(&self, path: &str, content: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir().join(path);
        DirBuilder::new().mode(0o700).recursive(true).create(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Sets an option of plugin.ini, whether it stands there or not.
    pub fn set(&self, section: &str, option: &str, value: &str) {
        let text = fs::read_to_string(self.ini()).unwrap();
        let header = format!("[{section}]");
        let mut current = "";
        let mut lines = Vec::new();
        for line in text.lines() {
            if line.starts_with('[') {
                current = line;
            }
            let name = line.split_once('=').map(|(name, _)| name.trim());
            if current != header || name != Some(option) {
                lines.push(line.to_owned());
            }
        }
        let at = lines.iter().position(|line| *line == header).unwrap_or_else(|| {
            lines.push(header);
            lines.len() - 1
        });
        lines.insert(at + 1, format!("{option} = {value}"));
        fs::write(self.ini(), lines.join("\n") + "\n").unwrap();
    }

    /// From now on, commands take `time` for the time. Debug builds only.
    pub fn set_clock(&self, time: u64) {
        self.clock.set(Some(time));
    }

    /// A command line on this configuration, with nothing in its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.env_clear().args(arguments).arg("--config").arg(self.ini());
        if let Some(time) = self.clock.get() {
            command.arg("--test-clock").arg(time.to_string());
        }
        command
    }

    /// Runs a command to its end with `input` on its standard input.
    pub fn run(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Finished {
        finish(&mut self.command(arguments), input.as_ref())
    }

    /// Enrols `user` with the account of `phone`, at once active.
    pub fn import(&self, user: &str, phone: &Phone) {
        self.run(&["import", "uri", "--user", user], phone.uri("account")).ok();
    }

    /// Enrols each of `users` with their own phone, in one go.
    pub fn import_many<'a>(&self, users: impl IntoIterator<Item = (&'a str, &'a Phone)>) {
        let lines: Vec<String> = users.into_iter().map(|(user, phone)| phone.uri(user)).collect();
        self.run(&["import", "uri", "--user-from-label"], lines.join("\n")).ok();
    }

    /// Writes raw bytes to a `serve` that gets nothing else, and reads what it says.
    pub fn ask_raw(&self, input: impl AsRef<[u8]>) -> Asked {
        let Finished { status, stdout, stderr } = self.run(&["serve"], input);
        assert!(stdout.is_empty() || stdout.ends_with('\n'), "the last line has no end: {stdout}");
        Asked { answers: stdout.lines().map(|line| Answer::parse(line.as_bytes())).collect(), status, stderr }
    }

    /// Asks a `serve` of its own, one line a request; there must be one answer each, in whatever order, and no complaint.
    /// The answers come in the order of the requests where these have ids, else as they came.
    #[track_caller]
    pub fn ask(&self, requests: &[Value]) -> Vec<Answer> {
        let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
        let Asked { mut answers, status, stderr } = self.ask_raw(lines);
        assert_eq!((status, stderr.as_str()), (Some(0), ""), "{answers:?}");
        assert_eq!(answers.len(), requests.len(), "{answers:?}");
        answers.sort_by_key(|answer| requests.iter().position(|request| request.get("id") == Some(&answer.id)));
        answers
    }

    /// The answer of a `serve` of its own to one request.
    #[track_caller]
    pub fn ask_one(&self, request: &Value) -> Answer {
        self.ask(std::slice::from_ref(request)).remove(0)
    }

    /// Holds the store's outer lock, as another process would while it writes, until the result is dropped.
    pub fn hold_store(&self) -> File {
        let directory = File::open(self.store()).unwrap();
        directory.lock().unwrap();
        directory
    }
}

struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("countersign-test-{}-{count}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Self(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // What is left is in the temporary directory, and opens nothing.
        let _ = fs::remove_dir_all(&self.0);
    }
}

// -------------------------------------------------------------------------------------------------------- processes

/// Runs `command` to its end with `input` on its standard input.
pub fn finish(command: &mut Command, input: &[u8]) -> Finished {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let stdout = drain(child.stdout.take().unwrap());
    let stderr = drain(child.stderr.take().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            // Whoever does not read its input shows what it thinks of it by its status.
            let _ = stdin.write_all(input);
        });
        let read = stdout.recv_timeout(PATIENCE).and_then(|stdout| Ok((stdout, stderr.recv_timeout(PATIENCE)?)));
        let Ok((stdout, stderr)) = read else {
            let _ = child.kill();
            panic!("{command:?} does not end");
        };
        Finished { status: child.wait().unwrap().code(), stdout, stderr }
    })
}

/// Everything that comes from `stream`, once it has ended.
fn drain(mut stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// A long-lived `serve`, and the gateway's end of its pipes. Killed when this is dropped.
pub struct Gateway {
    child: Child,
    input: Option<ChildStdin>,
    /// Until somebody reads.
    unread: Option<ChildStdout>,
    lines: Option<Receiver<Vec<u8>>>,
    stderr: Receiver<String>,
    /// Answers that came before they were asked for, as they were written.
    early: Vec<Vec<u8>>,
}

impl Gateway {
    /// Starts `serve` on the configuration of `home`.
    pub fn start(home: &Home) -> Self {
        Self::spawn(&mut home.command(&["serve"]))
    }

    /// Starts `command`, which must end up as a `serve`.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self {
            input: child.stdin.take(),
            unread: child.stdout.take(),
            lines: None,
            stderr: drain(child.stderr.take().unwrap()),
            early: Vec::new(),
            child,
        }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that the process had at once so far, in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM")
    }

    /// How many threads the process has.
    pub fn threads(&self) -> u64 {
        self.status("Threads")
    }

    /// A number in the status of the process (proc(5)).
    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends one request.
    pub fn send(&mut self, request: &Value) {
        self.send_raw(format!("{request}\n"));
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.input.as_mut().expect("an open input").write_all(bytes.as_ref()).unwrap();
    }

    /// Takes the input away, to write to it from elsewhere or to close it.
    pub fn take_input(&mut self) -> ChildStdin {
        self.input.take().expect("an open input")
    }

    /// Takes the output away, to leave it unread or to close it.
    pub fn take_output(&mut self) -> ChildStdout {
        self.unread.take().expect("an output that nobody reads yet")
    }

    /// Gives the output back, to be read.
    pub fn put_output(&mut self, output: ChildStdout) {
        self.unread = Some(output);
    }

    /// The next line of output, whatever it is; `None` at its end.
    pub fn line(&mut self) -> Option<Vec<u8>> {
        let unread = &mut self.unread;
        let lines = self.lines.get_or_insert_with(|| {
            let mut output = BufReader::new(unread.take().expect("an output"));
            let (sender, receiver) = mpsc::channel();
            thread::spawn(move || {
                loop {
                    let mut line = Vec::new();
                    if output.read_until(b'\n', &mut line).unwrap_or(0) == 0 || sender.send(line).is_err() {
                        return;
                    }
                }
            });
            receiver
        });
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no answer came"),
        }
    }

    /// The next answer, whosever it is.
    pub fn receive(&mut self) -> Answer {
        let line = if self.early.is_empty() { self.line() } else { Some(self.early.remove(0)) };
        Answer::parse(&line.expect("one more answer"))
    }

    /// The answer to the request called `id`.
    pub fn answer(&mut self, id: impl Into<Value>) -> Answer {
        Answer::parse(&self.line_of(&id.into()))
    }

    /// The answer to the request called `id`, as it was written.
    pub fn line_of(&mut self, id: &Value) -> Vec<u8> {
        if let Some(index) = self.early.iter().position(|line| Answer::parse(line).id == *id) {
            return self.early.remove(index);
        }
        loop {
            let line = self.line().expect("one more answer");
            if Answer::parse(&line).id == *id {
                return line;
            }
            self.early.push(line);
        }
    }

    /// Sends a request, and gives its answer.
    pub fn ask(&mut self, request: &Value) -> Answer {
        self.send(request);
        self.answer(request["id"].clone())
    }

    /// Blocks until everything that was sent before has been looked at: answered, or found to have to wait.
    pub fn sync(&mut self) {
        let id = "sync";
        self.send(&json!({"type": "hello", "id": id}));
        assert!(self.answer(id).hello.is_some());
    }

    /// Sends the process the signal `name`, such as TERM.
    pub fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    }

    /// Kills the process at once, and waits for it to be gone.
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }

    /// Waits for the end of the process, and says how that came.
    pub fn death(mut self) -> ExitStatus {
        self.stderr.recv_timeout(PATIENCE).expect("the end of the process");
        self.child.wait().unwrap()
    }

    /// Ends the input; gives what was not received yet, and how the process ended.
    pub fn end(mut self) -> (Vec<Answer>, Finished) {
        drop(self.input.take());
        self.wait()
    }

    /// Waits for the end of the process, with the input as it is.
    pub fn wait(mut self) -> (Vec<Answer>, Finished) {
        let mut rest: Vec<Answer> = self.early.iter().map(|line| Answer::parse(line)).collect();
        if self.lines.is_some() || self.unread.is_some() {
            while let Some(line) = self.line() {
                rest.push(Answer::parse(&line));
            }
        }
        let stderr = self.stderr.recv_timeout(PATIENCE).expect("the end of the process");
        let status = self.child.wait().unwrap().code();
        (rest, Finished { status, stdout: String::new(), stderr })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It has ended already, or nobody needs it any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! `countersign demo`: a whole login, with a real child process between a gateway and a phone.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use super::desk::{self, Desk};
use super::fresh::NewAuthenticator;
use super::temporary::TemporaryDirectory;
use super::{AdminError, init};
use crate::clock::Clock;
use crate::config::value::ClientName;
use crate::domain::authenticator::{Algorithm, Mechanism, Totp};
use crate::domain::secret::SecretBytes;
use crate::otp::window::{FAR, Verifier};
use crate::store::Added;

const TOTP: Totp = Totp { algorithm: Algorithm::Sha1, digits: 6, period: 30 };

/// Plays it, and says how long it took.
pub fn run(out: &mut impl Write) -> Result<(), AdminError> {
    let began = Instant::now();
    let place = TemporaryDirectory::new("demo")?;
    writeln!(out, "# an operator makes a configuration, a key and a store")?;
    writeln!(out, "$ countersign init {}", place.path().display())?;
    init::run(&init::Args::at(place.path()), &mut io::sink())?;
    let ini = place.path().join("plugin.ini");

    writeln!(out, "\n# alice scans the QR code of `countersign enroll alice`; from now on her phone makes codes")?;
    let phone = enrol(&Desk::open(&ini, Clock::System)?)?;

    writeln!(out, "\n# a gateway starts countersign, and asks it with a line of JSON")?;
    writeln!(out, "$ countersign serve --config {}", ini.display())?;
    let mut gateway = Gateway::start(&ini)?;
    let first = gateway.ask(None, None, out)?;
    let cookie = first.get("cookie").cloned().unwrap_or_default();
    let now = phone.step(Clock::System.now());
    let right = phone.code(now);
    let mut verdicts = vec![("no code yet", "need_info", first)];
    for (what, code) in [
        ("a wrong code", wrong_code(&phone, now)),
        ("the right code", right.to_string()),
        ("the same code again", right.to_string()),
    ] {
        writeln!(out, "\n# {what}")?;
        let expected = if what == "the right code" { "accept" } else { "reject" };
        verdicts.push((what, expected, gateway.ask(Some(&code), Some(&cookie), out)?));
    }
    gateway.end()?;
    for (what, expected, verdict) in verdicts {
        if verdict.get("verdict") != Some(&expected.into()) {
            return Err(AdminError::Failed(format!("{what}: expected {expected}, found {verdict}")));
        }
    }
    writeln!(
        out,
        "\n# need_info, reject, accept, reject: as it should be, in {} ms in all",
        began.elapsed().as_millis()
    )?;
    Ok(())
}

/// Alice's authenticator, as an enrolment that she proved leaves it.
fn enrol(desk: &Desk) -> Result<Verifier, AdminError> {
    let mut bytes = vec![0; 20];
    getrandom::fill(&mut bytes).map_err(|error| AdminError::Failed(format!("no randomness: {error}")))?;
    let secret = SecretBytes::new(bytes);
    let (client, mechanism) = (&ClientName::Totp.section(), Mechanism::Totp(TOTP));
    let alice = NewAuthenticator { client, label: "phone", mechanism, secret: &secret, last_step: None }
        .seal(desk, &desk::subscriber("alice")?)?;
    match desk.settled(desk.store().add(&[alice]))? {
        Added::Yes => Verifier::new(TOTP, &secret).map_err(|error| AdminError::Failed(error.to_string())),
        Added::NotFirst | Added::LabelTaken | Added::ChallengeGone => {
            Err(AdminError::Failed("alice cannot be enrolled".into()))
        }
    }
}

/// A code that is right nowhere near now.
fn wrong_code(phone: &Verifier, now: u64) -> String {
    let near: Vec<_> = (now.saturating_sub(FAR + 1)..=now + FAR + 1).map(|step| phone.code(step)).collect();
    let free = (0..=near.len()).map(|n| format!("{n:06}")).find(|code| !near.iter().any(|right| **right == *code));
    free.unwrap_or_default()
}

/// What the gateway sends, in the order in which people read it.
#[derive(Serialize)]
struct Request<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: u64,
    session_id: &'static str,
    protocol: &'static str,
    client_ip: &'static str,
    gateway_user: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_value_pairs: Option<Pairs<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<&'a Value>,
}

#[derive(Serialize)]
struct Pairs<'a> {
    otp: &'a str,
}

/// The other end of the pipe.
struct Gateway {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    count: u64,
}

impl Gateway {
    fn start(config: &Path) -> Result<Self, AdminError> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or_else(|| AdminError::Failed("the child has no output".into()))?;
        Ok(Self { child, input, output: BufReader::new(output), count: 0 })
    }

    /// Sends one request of alice's session, with what she typed and what the gateway was given to keep, and shows it
    /// and its verdict.
    fn ask(&mut self, otp: Option<&str>, cookie: Option<&Value>, out: &mut impl Write) -> Result<Value, AdminError> {
        self.count += 1;
        let request = Request {
            kind: "authenticate",
            id: self.count,
            session_id: "s1",
            protocol: "ssh",
            client_ip: "192.0.2.7",
            gateway_user: "alice",
            key_value_pairs: otp.map(|otp| Pairs { otp }),
            cookie,
        };
        let request = serde_json::to_string(&request).map_err(|error| AdminError::Failed(error.to_string()))?;
        writeln!(out, "> {request}")?;
        let failed = || AdminError::Failed("the child ended early".into());
        writeln!(self.input.as_mut().ok_or_else(failed)?, "{request}").map_err(|_| failed())?;
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|_| failed())?;
        write!(out, "< {line}")?;
        serde_json::from_str(&line).map_err(|_| failed())
    }

    /// Ends the input, and waits for the child.
    fn end(mut self) -> Result<(), AdminError> {
        drop(self.input.take());
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(AdminError::Failed(format!("the child ended with {status}"))) }
    }
}

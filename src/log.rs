//! What is written about a verdict: one audit line, foreign text made safe, never a code or a secret at any level.

mod syslog;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::OFlags;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;

use crate::config::value::{Destination, Format, Level};
use crate::config::{Config, Logging, Mistake};
use crate::domain::action::Told;
use crate::domain::foreign::Foreign;
use crate::domain::verdict::{Accept, Footing, NeedInfo, Reject, Verdict};
use crate::ready::{self, AT_ONCE, Want};
use syslog::Syslog;

/// How much is kept in memory at most.
const BUFFER: usize = 256 * 1024;

/// The log of this process.
#[derive(Clone)]
pub struct Log(Buffered);

impl Log {
    /// Starts logging as `config` says.
    ///
    /// # Errors
    /// Where the destination cannot be opened, at the option that names it.
    pub fn start(config: &Config) -> Result<Self, Mistake> {
        Self::begin(config).map_err(|error| config.mistake("logging", "destination", error))
    }

    /// Whether the destination that `config` names can be opened.
    ///
    /// # Errors
    /// As for [`Log::start`].
    pub fn try_open(config: &Config) -> Result<(), Mistake> {
        match &config.logging.destination {
            Destination::Stderr | Destination::Syslog => Ok(()),
            Destination::File(path) => {
                try_open(&config.resolve(path)).map_err(|error| config.mistake("logging", "destination", error))
            }
        }
    }

    fn begin(config: &Config) -> Result<Self, String> {
        let Logging { destination, format, level } = &config.logging;
        let level = match level {
            Level::Error => LevelFilter::ERROR,
            Level::Warning => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
        };
        let sink = match destination {
            Destination::Stderr => Sink::Stderr,
            Destination::File(path) => {
                let path = config.resolve(path);
                Sink::File { file: open(&path)?, path }
            }
            Destination::Syslog => Sink::Syslog(Syslog::new()),
        };
        let line = match destination {
            Destination::Syslog => Line::Bare,
            Destination::Stderr | Destination::File(_) => Line::Timed,
        };
        let buffered = Buffered(Arc::new(Mutex::new(Inner { sink, buffer: Vec::new(), lost: 0 })));
        // Fails where a test has installed one; then that one is used.
        let _ = match format {
            Format::Text => tracing::subscriber::set_global_default(Lines { line, level, out: buffered.clone() }),
            Format::Json => {
                let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(buffered.clone());
                let own = filter_fn(is_own);
                tracing::subscriber::set_global_default(lines.json().flatten_event(true).finish().with(own))
            }
        };
        Ok(Self(buffered))
    }

    /// Opens the log file again, for whoever has moved it away (SIGHUP). One that cannot be opened is written on.
    pub fn reopen(&self) {
        let mut inner = self.0.lock();
        inner.write_out();
        match &mut inner.sink {
            Sink::File { file, path } => {
                if let Ok(again) = open(path) {
                    *file = again;
                }
            }
            Sink::Syslog(syslog) => *syslog = Syslog::new(),
            Sink::Stderr => {}
        }
    }

    /// Writes what is in memory: before an answer leaves, and at the end. Where nobody takes it, nobody waits for that:
    /// the answers go on, and what did not fit is counted.
    pub fn flush(&self) {
        let lost = {
            let mut inner = self.0.lock();
            inner.write_out();
            if inner.buffer.is_empty() { std::mem::take(&mut inner.lost) } else { 0 }
        };
        if lost > 0 {
            tracing::warn!(lost, "log lines are missing before this one: nobody took them");
            self.0.lock().write_out();
        }
    }
}

/// Says `text` where there may be no log yet, and where standard error may be lost: to `destination`, else to the local log
/// daemon.
pub fn last_words(destination: Option<&Destination>, text: &str) {
    let mut sink = match destination {
        Some(Destination::File(path)) => match open(path) {
            Ok(file) => Sink::File { file, path: path.clone() },
            Err(_) => Sink::Syslog(Syslog::new()),
        },
        Some(Destination::Stderr | Destination::Syslog) | None => Sink::Syslog(Syslog::new()),
    };
    for line in text.lines() {
        let line = Foreign(line).to_string();
        // Nowhere is left to say that this cannot be said.
        let _ = match &mut sink {
            Sink::File { file, path: _ } => {
                let mut time = String::new();
                let _ = SystemTime.format_time(&mut Writer::new(&mut time));
                file.write(format!("{time} ERROR {line}\n").as_bytes())
            }
            Sink::Syslog(syslog) => syslog.send(line.as_bytes()),
            Sink::Stderr => Ok(0),
        };
    }
}

/// What other crates log may hold what was sent to a service: only this program's own lines are written.
fn is_own(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("countersign")
}

/// A line of text: `time level message key="value" …`. Values are quoted, so that none looks like another field.
#[derive(Clone, Copy)]
enum Line {
    /// Beginning with the time and the level.
    Timed,
    /// For a destination that knows both.
    Bare,
}

impl Line {
    fn format(self, event: &Event<'_>, mut out: Writer<'_>) -> fmt::Result {
        match self {
            Self::Timed => {
                SystemTime.format_time(&mut out)?;
                write!(out, " {} ", event.metadata().level())?;
            }
            Self::Bare => {}
        }
        let mut fields = Fields { out: &mut out, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        out.write_char('\n')
    }
}

/// Lines of text to the log. There are no spans here: what keeps them costs a process that lives for two milliseconds more
/// than its line.
struct Lines {
    line: Line,
    level: LevelFilter,
    out: Buffered,
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && metadata.is_event() && is_own(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = String::with_capacity(512);
        // Only what is formatted can fail, and nothing of ours does.
        if self.line.format(event, Writer::new(&mut text)).is_ok() {
            let _ = self.out.clone().write(text.as_bytes());
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Fields<'a, 'w> {
    out: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn write(&mut self, field: &Field, value: impl fmt::Display) {
        self.result = self.result.and_then(|()| write!(self.out, " {}={value}", field.name()));
    }
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.result = self.result.and_then(|()| {
            self.out.write_char(' ')?;
            self.out.write_str(field.name())?;
            self.out.write_str("=\"")?;
            for part in value.split_inclusive(['"', '\\']) {
                match part.strip_suffix(['"', '\\']) {
                    Some(plain) => {
                        self.out.write_str(plain)?;
                        self.out.write_char('\\')?;
                        self.out.write_str(part.get(plain.len()..).unwrap_or_default())?;
                    }
                    None => self.out.write_str(part)?,
                }
            }
            self.out.write_char('"')
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.result = self.result.and_then(|()| write!(self.out, "{value:?}"));
        } else {
            // Text is recorded as text; what comes here has a form of its own.
            self.record_str(field, &Foreign(&format!("{value:?}")).to_string());
        }
    }
}

enum Sink {
    Stderr,
    File { file: File, path: PathBuf },
    Syslog(Syslog),
}

struct Inner {
    sink: Sink,
    buffer: Vec<u8>,
    /// How many lines did not fit since the last that did.
    lost: u64,
}

/// Opens a log file to add to it. A pipe that nobody reads is an error, not a wait; a link at its end is not followed.
fn open(path: &Path) -> Result<File, String> {
    append(OpenOptions::new().create(true).mode(0o600), path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Whether [`open`] would succeed, without making the file: whoever asks may not be whoever serves.
fn try_open(path: &Path) -> Result<(), String> {
    let opened = match append(&mut OpenOptions::new(), path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).map_err(io::Error::from)
        }
        opened => opened.map(|_| ()),
    };
    opened.map_err(|error| format!("{}: {error}", path.display()))
}

fn append(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits()).unwrap_or_default();
    options.append(true).custom_flags(flags).open(path)
}

impl Inner {
    /// Writes as much as is taken without waiting.
    fn write_out(&mut self) {
        let mut written = 0;
        while let Some(rest) = self.buffer.get(written..).filter(|rest| !rest.is_empty()) {
            let (taken, all) = match &mut self.sink {
                Sink::Stderr if !ready::is_ready(io::stderr().as_fd(), Want::Write).unwrap_or(true) => (Ok(0), false),
                Sink::Stderr => (io::stderr().write(rest.get(..AT_ONCE).unwrap_or(rest)), true),
                Sink::File { file, path: _ } => (file.write(rest), true),
                Sink::Syslog(syslog) => (syslog.send(rest), true),
            };
            match taken {
                Ok(taken) if all && taken > 0 => written += taken,
                // A pipe that is full now may be read later.
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nowhere is left to say that the log cannot be written; the verdict is still given.
                Err(_) => written = self.buffer.len(),
            }
        }
        self.buffer.drain(..written.min(self.buffer.len()));
    }
}

#[derive(Clone)]
struct Buffered(Arc<Mutex<Inner>>);

impl Buffered {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Buffered {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut inner = self.lock();
        if inner.buffer.len() + line.len() > BUFFER {
            inner.write_out();
        }
        if inner.buffer.len() + line.len() > BUFFER {
            inner.lost += 1;
        } else {
            inner.buffer.extend_from_slice(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().write_out();
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Buffered {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What the audit line says beside the verdict.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub kind: &'static str,
    pub session: Option<String>,
    pub source: Option<String>,
    pub protocol: Option<String>,
    pub claimant: Option<String>,
    pub identity: Option<String>,
    /// The challenge that a program asked about, and what it is for; its binding is the program's own.
    pub challenge: Option<String>,
    pub purpose: Option<String>,
    pub cookie: &'static str,
    /// What was said in place of the verdict, in a trial run.
    pub answered: Option<&'static str>,
    /// Which process asked, where it came over a socket.
    pub peer: Option<Peer>,
}

/// A process at the other end of a socket, as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub pid: i32,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {} pid {}", self.uid, self.pid)
    }
}

impl Facts {
    /// Takes in which challenge it turned out to be.
    pub fn take_in(&mut self, told: Option<&Told>) {
        if let Some(Told { id, state: _, purpose, expires: _ }) = told {
            self.challenge = Some(id.0.clone());
            self.purpose = Some(purpose.as_str().to_owned());
        }
    }
}

/// Writes the audit line of one verdict.
pub fn audit(trace: &str, facts: &Facts, verdict: &Verdict, duration: Duration) {
    let Facts { kind, session, source, protocol, claimant, identity, challenge, purpose, cookie, answered, peer } =
        facts;
    let (mut degraded, mut basis) = (None, None);
    let (word, factor, service, class, code, reason) = match verdict {
        Verdict::Accept(Accept {
            claimant: _,
            identity: _,
            basis: rests_on,
            factor,
            service,
            footing,
            reason,
            remarks: _,
            cookie: _,
        }) => {
            degraded = match footing {
                Footing::Full => None,
                Footing::Degraded => Some(true),
            };
            basis = Some(rests_on.word());
            ("accept", factor.map(|factor| factor.word()), service.as_deref(), None, None, Some(reason.as_str()))
        }
        Verdict::Reject(Reject { class, code, service, reason, remarks: _, retry_after: _ }) => {
            ("reject", None, service.as_deref(), Some(class.word()), Some(*code), Some(reason.as_str()))
        }
        Verdict::NeedInfo(NeedInfo { question: _, cookie: _ }) => ("need_info", None, None, None, None, None),
    };
    macro_rules! write_line {
        ($write:ident) => {
            tracing::$write!(
                target: "countersign::audit",
                trace,
                kind,
                verdict = word,
                session = shown(session.as_deref()),
                source = shown(source.as_deref()),
                protocol = shown(protocol.as_deref()),
                claimant = shown(claimant.as_deref()),
                mfa_identity = shown(identity.as_deref()),
                challenge = shown(challenge.as_deref()),
                purpose = shown(purpose.as_deref()),
                basis,
                factor,
                degraded,
                service,
                class,
                code,
                reason = shown(reason),
                cookie,
                shadow = answered.map(|_| true),
                answered,
                peer = peer.map(|peer| peer.to_string()),
                duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
                "verdict"
            )
        };
    }
    match *cookie {
        // Somebody may be trying a cookie that is not theirs.
        "foreign" | "expired" => write_line!(warn),
        _ => write_line!(info),
    }
}

fn shown(text: Option<&str>) -> Option<String> {
    text.map(|text| Foreign(text).to_string())
}

//! A gateway that starts a process for one question: read what it gave, decide, leave what it takes for an answer.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::{Prepared, Said, prepare};
use crate::admin::AdminError;
use crate::admin::serve::{self, Conversation};
use crate::clock::{self, Clock};
use crate::config::value::Destination;
use crate::domain::fault::{Class, Fault};
use crate::domain::secret::Secret;
use crate::gateway::Inbound;
use crate::gateway::conduct::{Conduct, Name};
use crate::gateway::once::{Answered, Given, INPUT_LIMIT, Input, OneShot, Parting, Program};
use crate::log;
use crate::serve::once::{self, Once};

/// How much longer than the verdict's deadline an answer is waited for: whoever watches over the verdict answers before.
const GRACE: Duration = Duration::from_millis(300);

/// How long what is left to do may go on after the answer.
const CHORES: Duration = Duration::from_secs(5);

/// How the names of files begin and end that a gateway made for this one run.
const TEMPORARY: ([&str; 2], &str) = (["openvpn_up_", "openvpn_cr_"], ".tmp");

/// What the deciding thread tells.
enum News {
    /// How the gateway is served.
    Conduct(Conduct),
    Answered(Answered),
    /// The request could not be decided at all.
    Failed(AdminError),
    /// Nothing is left to do.
    Done,
}

/// Answers the one question of a gateway, whatever happens, within the time that it waits.
pub fn run(
    codec: &'static dyn OneShot,
    name: Name,
    said: Said,
    arguments: Vec<OsString>,
    config: &Path,
    clock: Clock,
) -> ExitCode {
    let asked = Asked::take(codec.input(), arguments);
    let mut deciding = Deciding::start(codec, name, said, asked, config, clock);
    let answered = deciding.answer();
    let parting = codec.part(&deciding.given, &answered, &deciding.conduct);
    leave(parting, || deciding.finish())
}

/// What a gateway asks.
pub struct Asked {
    pub given: Given,
    /// What is wrong with that.
    pub flaw: Option<Fault>,
    /// Since when it waits.
    began: Instant,
}

impl Asked {
    /// What the gateway gave the process.
    pub fn take(input: Input, arguments: Vec<OsString>) -> Self {
        let began = Instant::now();
        let environment = std::env::vars_os().map(|(name, value)| (name, Secret::new(value.into_vec()))).collect();
        let (input, flaw) = match read(input, &arguments) {
            Ok(input) if input.expose().len() <= INPUT_LIMIT => (input, None),
            Ok(_) => {
                let fault = invalid("input_too_long", format!("more than {INPUT_LIMIT} bytes came"));
                (Secret::new(Vec::new()), Some(fault))
            }
            Err(error) => (Secret::new(Vec::new()), Some(invalid("no_input", error.to_string()))),
        };
        Self { given: Given { arguments, environment, input }, flaw, began }
    }
}

/// A question whose answer is on its way.
pub struct Deciding {
    pub given: Arc<Given>,
    /// How the gateway is served, as far as that is known.
    pub conduct: Conduct,
    began: Instant,
    destination: Option<Destination>,
    news: Receiver<News>,
}

impl Deciding {
    /// Has it decided in a thread of its own: a disk that hangs holds that one only.
    pub fn start(
        codec: &'static dyn OneShot,
        name: Name,
        said: Said,
        asked: Asked,
        config: &Path,
        clock: Clock,
    ) -> Self {
        let Asked { given, flaw, began } = asked;
        let (conduct, destination, given) = (said.conduct(name), said.destination(), Arc::new(given));
        let news = {
            let (given, config) = (Arc::clone(&given), config.to_owned());
            start(move |tell| decide(codec, name, &said, &given, flaw, &config, clock, tell))
        };
        Self { given, conduct, began, destination, news }
    }

    /// The answer, where there is one until `until`; in the end, that there was none.
    pub fn answer_until(&mut self, until: Instant) -> Option<Answered> {
        let error = loop {
            let end = self.began + self.conduct.wait + GRACE;
            match self.news.recv_timeout(clock::left(end.min(until))) {
                Ok(News::Conduct(said)) => self.conduct = said,
                Ok(News::Answered(answered)) => return Some(answered),
                Ok(News::Failed(error)) => break error,
                Err(RecvTimeoutError::Timeout) if until < end => return None,
                Err(RecvTimeoutError::Timeout) => {
                    break AdminError::Failed("there was no verdict within the deadline".into());
                }
                Ok(News::Done) | Err(RecvTimeoutError::Disconnected) => {
                    break AdminError::Failed("the program failed before there was a verdict".into());
                }
            }
        };
        let text = error.to_string();
        log::last_words(self.destination.as_ref(), &text);
        Some(Answered::fault(Fault::internal("not_served", text)))
    }

    /// The answer, whatever happens.
    pub fn answer(&mut self) -> Answered {
        loop {
            let end = self.began + self.conduct.wait + GRACE;
            if let Some(answered) = self.answer_until(end) {
                return answered;
            }
        }
    }

    /// Gives what was left to do at a service, and the log, a while; and the run its least time.
    pub fn finish(&self) {
        let end = self.began + self.conduct.wait + GRACE;
        let _ = self.news.recv_timeout(CHORES.min(clock::left(end)));
        thread::sleep(clock::left(self.began + self.conduct.min_runtime));
    }
}

/// Runs `decide` in a thread of its own.
fn start(decide: impl FnOnce(&Sender<News>) -> Result<(), AdminError> + Send + 'static) -> Receiver<News> {
    let (tell, news) = mpsc::channel();
    let failed = tell.clone();
    let started = thread::Builder::new().name("decide".into()).spawn(move || {
        let end = decide(&tell).map_or_else(News::Failed, |()| News::Done);
        let _ = tell.send(end);
    });
    if let Err(error) = started {
        let _ = failed.send(News::Failed(error.into()));
    }
    news
}

#[expect(clippy::too_many_arguments, reason = "all that the thread is given, at its one call")]
fn decide(
    codec: &dyn OneShot,
    name: Name,
    said: &Said,
    given: &Given,
    flaw: Option<Fault>,
    config: &Path,
    clock: Clock,
    tell: &Sender<News>,
) -> Result<(), AdminError> {
    let Prepared { setup, conduct, first_factor } = prepare(name, said, config)?;
    let _ = tell.send(News::Conduct(conduct.clone()));
    let read = match flaw {
        Some(fault) => Err(fault),
        None => codec.read(given, &conduct),
    };
    let inbound = match read {
        Ok(request) => Inbound::Decide { id: None, request: Box::new(request), unknown: Vec::new() },
        Err(fault) => Inbound::Flawed { id: None, fault },
    };
    let (input, present) = once::line()?;
    let answer = tell.clone();
    // Where nobody waits any more, the answer came too late.
    let protocol = Arc::new(Once::new(inbound, present, move |answered| drop(answer.send(News::Answered(answered)))));
    let streams = || Ok((input, OwnedFd::from(File::options().write(true).open("/dev/null")?)));
    let deadline = conduct.wait;
    serve::converse(setup, clock, Conversation { protocol, streams, deadline, first_factor })
}

fn invalid(code: &'static str, reason: String) -> Fault {
    Fault { class: Class::InvalidRequest, code, service: None, reason }
}

fn read(input: Input, arguments: &[OsString]) -> io::Result<Secret<Vec<u8>>> {
    match input {
        Input::Nothing => Ok(Secret::new(Vec::new())),
        Input::Standard => read_all(&mut io::stdin().lock()),
        // Opened anew by its name: no descriptor is taken over that might belong to somebody else.
        Input::Third => read_all(&mut File::open("/proc/self/fd/3")?),
        Input::LastArgument => {
            let path = arguments.last().map(PathBuf::from).filter(|path| path.is_absolute());
            let path = path.ok_or_else(|| io::Error::other("the last argument is the absolute path of no file"))?;
            let read = read_all(&mut File::options().read(true).custom_flags(no_link()).open(&path)?)?;
            if is_temporary(&path) {
                // What is in it is a secret that nobody needs any more.
                let _ = std::fs::remove_file(&path);
            }
            Ok(read)
        }
    }
}

/// Whether `path` is a file that was made for this one run.
fn is_temporary(path: &Path) -> bool {
    let (starts, end) = TEMPORARY;
    let is_one = |name: &str| name.ends_with(end) && starts.iter().any(|start| name.starts_with(start));
    path.file_name().and_then(OsStr::to_str).is_some_and(is_one)
}

/// The flag by which a link is not followed.
pub fn no_link() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

/// Reads to the end, or a little more than is allowed.
pub fn read_all(from: &mut impl Read) -> io::Result<Secret<Vec<u8>>> {
    // In one piece, so that no copy is left where it grew.
    let mut read = Vec::with_capacity(INPUT_LIMIT + 1);
    let limit = u64::try_from(INPUT_LIMIT + 1).unwrap_or(u64::MAX);
    from.take(limit).read_to_end(&mut read)?;
    Ok(Secret::new(read))
}

/// Writes the files of an answer.
pub fn write(parting: &Parting) -> io::Result<()> {
    for (path, content) in &parting.made {
        File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)?;
    }
    for (path, content) in &parting.files {
        let mut file = File::options().write(true).truncate(true).custom_flags(no_link()).open(path)?;
        file.write_all(content)?;
    }
    Ok(())
}

/// Leaves what the gateway takes for an answer; does `rest` when it can be read.
fn leave(parting: Parting, rest: impl FnOnce()) -> ExitCode {
    let written = write(&parting);
    let Parting { made: _, files: _, output, program, status } = parting;
    let written = written.and_then(|()| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&output)?;
        stdout.flush()
    });
    if let Err(error) = &written {
        log::last_words(None, &format!("the gateway does not take the answer: {error}"));
    }
    rest();
    match program.filter(|_| written.is_ok()) {
        Some(Program { path, arguments, variables }) => {
            let error = Command::new(&path).args(arguments).envs(variables).exec();
            log::last_words(None, &format!("{}: {error}", path.display()));
            ExitCode::from(status)
        }
        None => ExitCode::from(status),
    }
}

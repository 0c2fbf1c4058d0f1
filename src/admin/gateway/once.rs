//! A gateway that starts a process for one question: read what it gave, decide, leave what it takes for an answer.

use std::collections::{BTreeMap, BTreeSet};
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
use std::time::{Duration, Instant};
use std::{ffi::OsString, thread};

use rustix::fs::OFlags;

use super::{Prepared, Said, prepare};
use crate::admin::AdminError;
use crate::admin::serve::{self, Conversation};
use crate::clock::{self, Clock};
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

/// How the name of a file begins that a gateway made for this one run.
const TEMPORARY: &[u8] = b"openvpn_";

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
    let began = Instant::now();
    let mut conduct = said.conduct(name);
    let (given, flaw) = take(codec.input(), arguments);
    let given = Arc::new(given);
    let destination = said.destination();
    let news = {
        let (given, config) = (Arc::clone(&given), config.to_owned());
        start(move |tell| decide(codec, name, &said, &given, flaw, &config, clock, tell))
    };
    let answered = wait(&news, began, &mut conduct).unwrap_or_else(|error| {
        let text = error.to_string();
        log::last_words(destination.as_ref(), &text);
        Answered::fault(Fault::internal("not_served", text))
    });
    let parting = codec.part(&given, &answered, &conduct);
    if let Some(complaint) = &parting.complaint {
        log::last_words(destination.as_ref(), complaint);
    }
    leave(parting, || {
        // What was left to do at a service, and the log.
        let _ = news.recv_timeout(CHORES.min(clock::left(began + conduct.wait + GRACE)));
        let least = began + conduct.min_runtime;
        thread::sleep(clock::left(least));
    })
}

/// Runs `decide` in a thread of its own: a disk that hangs holds that one only.
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

/// The answer, or why there is none; `conduct` becomes what plugin.ini says.
fn wait(news: &Receiver<News>, began: Instant, conduct: &mut Conduct) -> Result<Answered, AdminError> {
    loop {
        match news.recv_timeout(clock::left(began + conduct.wait + GRACE)) {
            Ok(News::Conduct(said)) => *conduct = said,
            Ok(News::Answered(answered)) => return Ok(answered),
            Ok(News::Failed(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => {
                return Err(AdminError::Failed("there was no verdict within the deadline".into()));
            }
            Ok(News::Done) | Err(RecvTimeoutError::Disconnected) => {
                return Err(AdminError::Failed("the program failed before there was a verdict".into()));
            }
        }
    }
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

/// What the gateway gave; beside it, what is wrong with that.
fn take(input: Input, arguments: Vec<OsString>) -> (Given, Option<Fault>) {
    let (mut environment, mut repeated) = (BTreeMap::new(), BTreeSet::new());
    for (name, value) in std::env::vars_os() {
        if environment.insert(name.clone(), Secret::new(value.into_vec())).is_some() {
            repeated.insert(name);
        }
    }
    let mut given = Given { arguments, environment, repeated, input: Secret::new(Vec::new()), nonce: [0; 15] };
    if let Err(error) = getrandom::fill(&mut given.nonce) {
        return (given, Some(Fault::internal("no_randomness", error.to_string())));
    }
    match read(input, &given.arguments) {
        Ok(read) if read.expose().len() <= INPUT_LIMIT => {
            given.input = read;
            (given, None)
        }
        Ok(_) => (given, Some(invalid("input_too_long", format!("more than {INPUT_LIMIT} bytes came")))),
        Err(error) => (given, Some(invalid("no_input", error.to_string()))),
    }
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
            let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
            let read = read_all(&mut File::options().read(true).custom_flags(flags).open(&path)?)?;
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(TEMPORARY)) {
                // What is in it is a secret that nobody needs any more.
                let _ = std::fs::remove_file(&path);
            }
            Ok(read)
        }
    }
}

/// Reads to the end, or a little more than is allowed.
fn read_all(from: &mut impl Read) -> io::Result<Secret<Vec<u8>>> {
    // In one piece, so that no copy is left where it grew.
    let mut read = Vec::with_capacity(INPUT_LIMIT + 1);
    let limit = u64::try_from(INPUT_LIMIT + 1).unwrap_or(u64::MAX);
    from.take(limit).read_to_end(&mut read)?;
    Ok(Secret::new(read))
}

/// Leaves what the gateway takes for an answer; does `rest` when it can be read.
fn leave(parting: Parting, rest: impl FnOnce()) -> ExitCode {
    let Parting { files, output, program, status, complaint: _ } = parting;
    let written = files.iter().try_for_each(|(path, content)| std::fs::write(path, content)).and_then(|()| {
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

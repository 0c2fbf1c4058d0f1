//! A gateway that starts a process for one question: read what it gave, decide, leave what it takes for an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
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
use rustix::process::{PidfdFlags, PidfdGetfdFlags};

use super::left::Place;
use super::{Prepared, Said, prepare};
use crate::admin::AdminError;
use crate::admin::serve::{self, Conversation};
use crate::clock::{self, Clock};
use crate::config::value::Destination;
use crate::domain::fault::{Class, Fault};
use crate::domain::secret::Secret;
use crate::gateway::Inbound;
use crate::gateway::conduct::{Conduct, Name};
use crate::gateway::once::{Answered, Given, Half, INPUT_LIMIT, Input, OneShot, Parting, Program};
use crate::log;
use crate::serve::once::{self, Once};

/// How much longer than the verdict's deadline an answer is waited for: whoever watches over the verdict answers before.
const GRACE: Duration = Duration::from_millis(300);

/// How long what is left to do may go on after the answer.
const CHORES: Duration = Duration::from_secs(5);

/// Where checkpassword's input is.
const THIRD: i32 = 3;

/// How the name of a file begins that a gateway made for this one run.
const TEMPORARY: &[u8] = b"openvpn_";

/// What the deciding thread tells.
enum News {
    /// What the gateway gave.
    Given(Arc<Given>),
    /// How the gateway is served.
    Conduct(Conduct),
    Answered(Answered),
    /// The request could not be decided at all.
    Failed(AdminError),
    /// Nothing is left to do.
    Done,
}

/// What is known of a run so far.
struct Known {
    given: Arc<Given>,
    conduct: Conduct,
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
    let mut known = Known { given: Arc::new(given(arguments.clone())), conduct: said.conduct(name) };
    let destination = said.destination();
    let config = config.to_owned();
    let news = start(move |tell| decide(codec, name, &said, arguments, &config, clock, began, tell));
    let answered = wait(&news, began, &mut known).unwrap_or_else(|error| {
        let text = error.to_string();
        say(destination.clone(), text.clone());
        Answered::fault(Fault::internal("not_served", text))
    });
    let Known { given, conduct } = known;
    let rest = || {
        // What was left to do at a service, and the log.
        let _ = news.recv_timeout(CHORES.min(clock::left(began + conduct.wait + GRACE)));
        thread::sleep(clock::left(began + conduct.min_runtime));
    };
    let parting = codec.part(&given, &answered, &conduct);
    if let Some(complaint) = &parting.complaint {
        say(destination.clone(), complaint.clone());
    }
    leave(&given, parting, rest).unwrap_or_else(|error| {
        let text = format!("the gateway does not take the answer: {error}");
        say(destination, text.clone());
        let untold = Answered::fault(Fault::internal("not_told", text));
        ExitCode::from(codec.part(&given, &untold, &conduct).status)
    })
}

/// Says `text` where it is looked for, and does not wait for a disk that hangs.
fn say(destination: Option<Destination>, text: String) {
    let (done, ended) = mpsc::channel();
    let said = thread::Builder::new().name("say".into()).spawn(move || {
        log::last_words(destination.as_ref(), &text);
        let _ = done.send(());
    });
    if said.is_ok() {
        let _ = ended.recv_timeout(GRACE);
    }
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

/// The answer, or why there is none; `known` becomes what is known by then.
fn wait(news: &Receiver<News>, began: Instant, known: &mut Known) -> Result<Answered, AdminError> {
    loop {
        match news.recv_timeout(clock::left(began + known.conduct.wait + GRACE)) {
            Ok(News::Given(given)) => known.given = given,
            Ok(News::Conduct(conduct)) => known.conduct = conduct,
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
    arguments: Vec<OsString>,
    config: &Path,
    clock: Clock,
    began: Instant,
    tell: &Sender<News>,
) -> Result<(), AdminError> {
    // First of all: nothing was opened yet that could have taken the place of a descriptor that is not there.
    let mut given = given(arguments);
    let flaw = take(codec, &mut given).err();
    let given = Arc::new(given);
    let _ = tell.send(News::Given(Arc::clone(&given)));
    let Prepared { setup, conduct, first_factor } = prepare(name, said, config)?;
    let _ = tell.send(News::Conduct(conduct.clone()));
    let read = match flaw {
        Some(fault) => Err(fault),
        None => codec.read(&given, &conduct),
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
    let deadline = clock::left(began + conduct.wait);
    serve::converse(setup, clock, Conversation { protocol, streams, deadline, first_factor })
}

/// What the gateway gave without being read.
fn given(arguments: Vec<OsString>) -> Given {
    let (mut environment, mut repeated) = (BTreeMap::new(), BTreeSet::new());
    for (name, value) in std::env::vars_os() {
        if environment.insert(name.clone(), Secret::new(value.into_vec())).is_some() {
            repeated.insert(name);
        }
    }
    Given { arguments, environment, repeated, input: Secret::new(Vec::new()), left: None, nonce: [0; 15] }
}

/// Reads what there is to read into `given`.
fn take(codec: &dyn OneShot, given: &mut Given) -> Result<(), Fault> {
    getrandom::fill(&mut given.nonce).map_err(|error| Fault::internal("no_randomness", error.to_string()))?;
    let read = read(codec.input(), &given.arguments).map_err(|error| invalid("no_input", error.to_string()))?;
    if read.expose().len() > INPUT_LIMIT {
        return Err(invalid("input_too_long", format!("more than {INPUT_LIMIT} bytes came")));
    }
    given.input = read;
    let failed = |error: io::Error| Fault::internal("halves", format!("the halves of the login: {error}"));
    match codec.half(&given.arguments) {
        Half::Whole => {}
        Half::First => Place::of(given).and_then(|place| place.clear()).map_err(failed)?,
        Half::Second => given.left = Place::of(given).and_then(|place| place.take()).map_err(failed)?,
    }
    Ok(())
}

fn invalid(code: &'static str, reason: String) -> Fault {
    Fault { class: Class::InvalidRequest, code, service: None, reason }
}

fn read(input: Input, arguments: &[OsString]) -> io::Result<Secret<Vec<u8>>> {
    match input {
        Input::Nothing => Ok(Secret::new(Vec::new())),
        Input::Standard => read_all(&mut io::stdin().lock()),
        Input::Third => read_all(&mut third()?),
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

/// Descriptor 3, which was open when this process began: a copy of it, so that none is taken over that is somebody else's.
fn third() -> io::Result<File> {
    let this = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    if this.as_raw_fd() == THIRD {
        return Err(io::Error::other("descriptor 3 is not open"));
    }
    match rustix::process::pidfd_getfd(&this, THIRD, PidfdGetfdFlags::empty()) {
        Ok(copy) => Ok(copy.into()),
        // Where the kernel does not give one out, a pipe can be opened anew by its name.
        Err(_) => File::open("/proc/self/fd/3"),
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
///
/// # Errors
/// Where it cannot be left, or the program that follows cannot be run.
fn leave(given: &Given, parting: Parting, rest: impl FnOnce()) -> io::Result<ExitCode> {
    let Parting { files, output, left, program, status, complaint: _ } = parting;
    let write = || {
        if let Some(left) = left {
            Place::of(given)?.leave(&left)?;
        }
        files.iter().try_for_each(|(path, content)| std::fs::write(path, content))?;
        let mut stdout = io::stdout().lock();
        stdout.write_all(&output)?;
        stdout.flush()
    };
    let written = write();
    rest();
    written?;
    match program {
        Some(Program { path, arguments, variables }) => {
            let error = Command::new(&path).args(arguments).envs(variables).exec();
            Err(io::Error::other(format!("{}: {error}", path.display())))
        }
        None => Ok(ExitCode::from(status)),
    }
}

//! A gateway that starts a process for one question: read what it gave, decide, leave what it takes for an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
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
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{PidfdFlags, PidfdGetfdFlags};

use super::left::Place;
use super::{Prepared, Said, prepare};
use crate::admin::AdminError;
use crate::admin::serve::{self, Terms};
use crate::clock::{self, Clock};
use crate::config::value::Destination;
use crate::confine::{Grants, Plan, around};
use crate::domain::fault::{Class, Fault};
use crate::domain::secret::Secret;
use crate::gateway::Inbound;
use crate::gateway::conduct::{Conduct, Name};
use crate::gateway::once::{Answered, Given, Half, INPUT_LIMIT, Input, OneShot, Parting, Program};
use crate::log;
use crate::serve::once::{self, Once};
use crate::setup::Setup;

/// How much longer than the verdict's deadline an answer is waited for: whoever watches over the verdict answers before.
const GRACE: Duration = Duration::from_millis(300);

/// How long what is left to do may go on after the answer.
const CHORES: Duration = Duration::from_secs(5);

/// Where checkpassword's input is.
const THIRD: i32 = 3;

/// How the names of files begin and end that a gateway made for this one run.
const TEMPORARY: ([&str; 2], &str) = (["openvpn_up_", "openvpn_cr_"], ".tmp");

/// What the deciding thread tells.
enum News {
    /// What the gateway gave.
    Given(Arc<Given>),
    /// What the process gives up.
    Plan(Plan),
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
    let mut deciding = Deciding::start(codec, name, said, Asked::unread(arguments), config, clock);
    let answered = deciding.answer();
    let parting = codec.part(&deciding.given, &answered, &deciding.conduct);
    if let Some(complaint) = &parting.complaint {
        say(deciding.destination.clone(), complaint.clone());
    }
    leave(&deciding.given, parting, || deciding.finish()).unwrap_or_else(|error| {
        let text = format!("the gateway does not take the answer: {error}");
        say(deciding.destination.clone(), text.clone());
        let untold = Answered::fault(Fault::internal("not_told", text));
        ExitCode::from(codec.part(&deciding.given, &untold, &deciding.conduct).status)
    })
}

/// What a gateway asks.
pub struct Asked {
    pub given: Given,
    /// What is wrong with that; `None` where it was not read yet.
    pub read: Option<Result<(), Fault>>,
    /// Since when it waits.
    began: Instant,
}

impl Asked {
    /// What the gateway gave the process, as far as it is there without reading.
    fn unread(arguments: Vec<OsString>) -> Self {
        let began = Instant::now();
        let (mut environment, mut repeated) = (BTreeMap::new(), BTreeSet::new());
        for (name, value) in std::env::vars_os() {
            if environment.insert(name.clone(), Secret::new(value.into_vec())).is_some() {
                repeated.insert(name);
            }
        }
        let input = Secret::new(Vec::new());
        let given = Given { arguments, environment, repeated, input, left: None, nonce: [0; 15] };
        Self { given, read: None, began }
    }

    /// What the gateway gave the process, read.
    pub fn take(codec: &dyn OneShot, input: Input, arguments: Vec<OsString>) -> Self {
        let mut asked = Self::unread(arguments);
        asked.read = Some(take(codec, input, &mut asked.given));
        asked
    }

    /// Whether it was read, and is no question.
    pub fn is_flawed(&self) -> bool {
        matches!(self.read, Some(Err(_)))
    }
}

/// A question whose answer is on its way.
pub struct Deciding {
    pub given: Arc<Given>,
    /// How the gateway is served, as far as that is known.
    pub conduct: Conduct,
    pub destination: Option<Destination>,
    began: Instant,
    news: Receiver<News>,
}

impl Deciding {
    /// Has it decided in a thread of its own: input that does not end, or a disk that hangs, holds that one only.
    pub fn start(
        codec: &'static dyn OneShot,
        name: Name,
        said: Said,
        asked: Asked,
        config: &Path,
        clock: Clock,
    ) -> Self {
        let (conduct, destination, began) = (said.conduct(name), said.destination(), asked.began);
        let (given, config) = (Arc::new(asked.given.clone()), config.to_owned());
        let news = start(move |tell| decide(codec, name, &said, asked, &config, clock, tell));
        Self { given, conduct, destination, began, news }
    }

    /// The answer, where there is one until `until`; in the end, that there was none.
    pub fn answer_until(&mut self, until: Instant) -> Option<Answered> {
        let error = loop {
            let end = self.end();
            match self.news.recv_timeout(clock::left(end.min(until))) {
                Ok(News::Given(given)) => self.given = given,
                // The other thread has told the log what came of it there.
                Ok(News::Plan(plan)) => drop(plan.carry_out()),
                Ok(News::Conduct(conduct)) => self.conduct = conduct,
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
        say(self.destination.clone(), text.clone());
        Some(Answered::fault(Fault::internal("not_served", text)))
    }

    /// The answer, whatever happens.
    pub fn answer(&mut self) -> Answered {
        loop {
            if let Some(answered) = self.answer_until(self.end()) {
                return answered;
            }
        }
    }

    /// Gives what was left to do at a service, and the log, a while; and the run its least time.
    pub fn finish(&self) {
        let _ = self.news.recv_timeout(CHORES.min(clock::left(self.end())));
        thread::sleep(clock::left(self.began + self.conduct.min_runtime));
    }

    fn end(&self) -> Instant {
        self.began + self.conduct.wait + GRACE
    }
}

/// Says `text` where it is looked for, and does not wait for a disk that hangs.
pub fn say(destination: Option<Destination>, text: String) {
    let (done, ended) = mpsc::channel();
    let said = thread::Builder::new().name("say".into()).spawn(move || {
        log::last_words(destination.as_ref(), &text);
        let _ = done.send(());
    });
    if said.is_ok() {
        let _ = ended.recv_timeout(GRACE);
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

fn decide(
    codec: &dyn OneShot,
    name: Name,
    said: &Said,
    asked: Asked,
    config: &Path,
    clock: Clock,
    tell: &Sender<News>,
) -> Result<(), AdminError> {
    let Asked { mut given, read, began } = asked;
    // First of all: nothing was opened yet that could have taken the place of a descriptor that is not there.
    let read = read.unwrap_or_else(|| take(codec, codec.input(), &mut given));
    let given = Arc::new(given);
    let _ = tell.send(News::Given(Arc::clone(&given)));
    let Prepared { config, conduct, first_factor } = prepare(name, said, config)?;
    let plan = Plan::of(&config, first_factor.as_ref(), |grants| also(codec, &given, grants));
    let confined = plan.carry_out();
    if !codec.is_followed() {
        // The program that goes on in the place of this one would be held by it as well.
        let _ = tell.send(News::Plan(plan));
    }
    let _ = tell.send(News::Conduct(conduct.clone()));
    let setup = Setup::of(config)?;
    let inbound = match read.and_then(|()| codec.read(&given, &conduct)) {
        Ok(request) => Inbound::Decide { id: None, request: Box::new(request), unknown: Vec::new() },
        Err(fault) => Inbound::Flawed { id: None, fault },
    };
    let (input, present) = once::line()?;
    let answer = tell.clone();
    // Where nobody waits any more, the answer came too late.
    let protocol = Arc::new(Once::new(inbound, present, move |answered| drop(answer.send(News::Answered(answered)))));
    let streams = || Ok((input, OwnedFd::from(File::options().write(true).open("/dev/null")?)));
    let deadline = clock::left(began + conduct.wait);
    serve::converse(setup, clock, streams, Terms { protocol, deadline, first_factor, confined })
}

/// What is opened when the answer is there.
fn also(codec: &dyn OneShot, given: &Given, grants: &mut Grants) {
    grants.keep.extend(codec.places(given).iter().map(|path| around(path)));
    if codec.half(&given.arguments) != Half::Whole {
        grants.keep.insert(Place::directory(given));
        // When the process that asks began.
        grants.read.insert("/proc".into());
    }
}

/// Reads what there is to read into `given`.
fn take(codec: &dyn OneShot, input: Input, given: &mut Given) -> Result<(), Fault> {
    // Before anything else: whatever is opened takes the place of a descriptor that is not there.
    let read = read(input, &given.arguments).map_err(|error| invalid("no_input", error.to_string()))?;
    if read.expose().len() > INPUT_LIMIT {
        return Err(invalid("input_too_long", format!("more than {INPUT_LIMIT} bytes came")));
    }
    given.input = read;
    getrandom::fill(&mut given.nonce).map_err(|error| Fault::internal("no_randomness", error.to_string()))?;
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
            let read = read_all(&mut File::options().read(true).custom_flags(no_link()).open(&path)?)?;
            if is_temporary(&path) {
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
///
/// # Errors
/// Where it cannot be left, or the program that follows cannot be run.
fn leave(given: &Given, parting: Parting, rest: impl FnOnce()) -> io::Result<ExitCode> {
    let tell = || {
        if let Some(left) = &parting.left {
            Place::of(given)?.leave(left)?;
        }
        write(&parting)?;
        let mut stdout = io::stdout().lock();
        stdout.write_all(&parting.output)?;
        stdout.flush()
    };
    let told = tell();
    rest();
    told?;
    let Parting { program, status, .. } = parting;
    match program {
        Some(Program { path, arguments, variables }) => {
            let error = Command::new(&path).args(arguments).envs(variables).exec();
            Err(io::Error::other(format!("{}: {error}", path.display())))
        }
        None => Ok(ExitCode::from(status)),
    }
}

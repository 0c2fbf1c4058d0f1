//! OpenVPN waits for its programs, and nobody gets on meanwhile. Where a verdict may take its time, a second process is started,
//! which reaches it: at once, and the first process ends with it, or later, by the server's control files.
//!
//! The second process alone decides which of the two it is. It says one byte to the first, the status to end with, and the first
//! does what it says. Where it says nothing, the first ends with a no, and nothing that comes later counts with the server.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use super::Said;
use super::once::{self, Asked, Deciding};
use crate::admin::AdminError;
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::domain::fault::Fault;
use crate::domain::secret::Secret;
use crate::files::{self, Exposure, FileError};
use crate::gateway::conduct::Name;
use crate::gateway::once::{Answered, Input, OneShot, Parting};
use crate::gateway::openvpn::{CONTROL, DEFERRED, KEPT, Openvpn, REJECTED};
use crate::log;

/// How long the server waits for a verdict that may be there at once.
const AT_ONCE: Duration = Duration::from_millis(200);

/// How long the first process waits for the second: on a machine that is busy, a start takes its time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers the server at once, or has it answered later.
pub fn run(said: Said, arguments: Vec<OsString>, config: &Path, clock: Clock) -> ExitCode {
    let asked = Asked::take(&Openvpn { kept: None }, Input::LastArgument, arguments);
    // What is wrong with the configuration is told where it is used.
    let may_take_time = Config::load(config).is_ok_and(|config| config.may_wait(Name::Openvpn));
    if asked.is_flawed() || !may_take_time {
        let codec = codec(&asked, &said);
        let mut deciding = Deciding::start(codec, Name::Openvpn, said, asked, config, clock);
        let answered = deciding.answer();
        let status = leave(&codec.part(&deciding.given, &answered, &deciding.conduct));
        deciding.finish();
        return ExitCode::from(status);
    }
    match hand_over(&asked) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let text = format!("the process that reaches the verdict did not say what becomes of it: {error}");
            once::say(said.destination(), text.clone());
            let answered = Answered::fault(Fault::internal("not_served", text));
            let parting = codec(&asked, &said).part(&asked.given, &answered, &said.conduct(Name::Openvpn));
            ExitCode::from(leave(&parting))
        }
    }
}

/// Reaches the verdict for the process at the other end of standard input.
///
/// # Errors
/// Where there is none.
pub fn run_detached(said: Said, arguments: Vec<OsString>, config: &Path, clock: Clock) -> Result<ExitCode, AdminError> {
    // Where it leads a session already, nothing else can be done to that.
    let _ = rustix::process::setsid();
    let mut first = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    first.set_read_timeout(Some(PATIENCE))?;
    let at_once = clock::after(AT_ONCE);
    let mut asked = Asked::take(&Openvpn { kept: None }, Input::Nothing, arguments);
    // From the first process, which has seen that it is not too long.
    asked.given.input = once::read_all(&mut first)?;
    let codec = codec(&asked, &said);
    let mut deciding = Deciding::start(codec, Name::Openvpn, said, asked, config, clock);
    match deciding.answer_until(at_once) {
        Some(answered) => {
            let status = leave(&codec.part(&deciding.given, &answered, &deciding.conduct));
            first.write_all(&[status])?;
        }
        None => {
            // Where the first process has gone, the server has its answer.
            first.write_all(&[Openvpn::deferral(&deciding.given)])?;
            drop(first);
            let answered = deciding.answer();
            leave(&codec.part_late(&deciding.given, &answered, &deciding.conduct));
        }
    }
    deciding.finish();
    Ok(ExitCode::SUCCESS)
}

/// The codec for what was asked, with what is kept of an earlier run. It is needed until the process ends.
fn codec(asked: &Asked, said: &Said) -> &'static Openvpn {
    let kept = Openvpn::keeper(&asked.given).and_then(|path| {
        take_kept(&path).unwrap_or_else(|error| {
            once::say(said.destination(), format!("what was kept of the question is not used: {error}"));
            None
        })
    });
    Box::leak(Box::new(Openvpn { kept }))
}

/// Takes what was kept away: it is good for one answer. What others could have put there is none.
fn take_kept(path: &Path) -> io::Result<Option<Secret<Vec<u8>>>> {
    // A FIFO in its place holds nobody up.
    let opened = files::open(path, Exposure::Private);
    if matches!(&opened, Err(FileError::Io { path: _, error }) if error.kind() == io::ErrorKind::NotFound) {
        return Ok(None);
    }
    fs::remove_file(path)?;
    let (mut file, _length) = opened.map_err(io::Error::other)?;
    if file.metadata()?.uid() != own_user() {
        return Err(io::Error::other(format!("{}: belongs to somebody else", path.display())));
    }
    once::read_all(&mut file).map(Some)
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Has a second process decide, which goes on when this one has ended; the status that it says.
fn hand_over(asked: &Asked) -> io::Result<u8> {
    let (mut ours, theirs) = UnixStream::pair()?;
    // The environment stays: it is what the server said. What the claimant typed goes through the socket alone.
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let behind = arguments.iter().position(|argument| argument == "gateway").map_or(0, |at| at + 1);
    arguments.insert(behind, "--detached".into());
    Command::new(executable()?)
        .args(arguments)
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    ours.set_read_timeout(Some(PATIENCE))?;
    ours.set_write_timeout(Some(PATIENCE))?;
    // To ourselves.
    ours.write_all(asked.given.input.expose())?;
    ours.shutdown(Shutdown::Write)?;
    let mut status = [REJECTED];
    ours.read_exact(&mut status)?;
    let [status] = status;
    Ok(status)
}

/// This program, also where another one lies under its name by now.
fn executable() -> io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}

/// Leaves the files of an answer, and gives the status that goes with them.
fn leave(parting: &Parting) -> u8 {
    if let Some((path, _)) = parting.made.first() {
        sweep(path);
    }
    match once::write(parting) {
        Ok(()) => parting.status,
        Err(error) => {
            log::last_words(None, &format!("the gateway does not take the answer: {error}"));
            // Without its files, the server would wait for an answer to a question that nobody sees.
            if parting.status == DEFERRED { REJECTED } else { parting.status }
        }
    }
}

/// Removes from the directory of `path` what was kept of questions that nobody answered: the server has removed the control
/// file of each.
fn sweep(path: &Path) {
    let Some(directory) = path.parent() else { return };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let (begin, end) = CONTROL;
        let control = name.to_str().and_then(|name| name.strip_prefix(KEPT));
        let control = control.filter(|control| control.starts_with(begin) && control.ends_with(end));
        // The entry itself, not what a link names.
        let is_ours = entry.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.uid() == own_user());
        if is_ours && control.is_some_and(|control| !directory.join(control).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

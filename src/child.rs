//! A program that is run for us: no shell, no environment, and nothing of it stays behind.

use std::io;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Starts `program` in a process group of its own, at the root directory; what it says to standard error is lost.
///
/// # Errors
/// Where it cannot be started.
pub fn start<'a>(
    program: &Path,
    arguments: impl IntoIterator<Item = &'a str>,
    output: Stdio,
) -> io::Result<(Child, Group)> {
    // A handler takes the place of an ignored SIGCHLD, which is inherited: how a child ended could not be told. It stays.
    let _ = signal(SignalKind::child())?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    Ok((child, group))
}

/// What was started, with all that it started: killed where nobody waits for it any more.
pub struct Group(Option<Pid>);

impl Group {
    /// Its leader has ended, and its number may be somebody else's.
    pub fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Where there is none any more, nothing is to be done.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

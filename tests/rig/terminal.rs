//! A program on a terminal, and somebody who reads what it writes there and types.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::PATIENCE;

/// A program on a terminal of its own; ended when this is dropped.
pub struct Terminal {
    child: Child,
    screen: File,
    seen: Vec<u8>,
    /// Up to where it was read.
    read: usize,
}

impl Terminal {
    /// Starts `program` with what `command` makes of the command that puts it on the terminal.
    pub fn start(program: impl AsRef<Path>, command: impl FnOnce(&mut Command)) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap();
        let keys = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(std::ffi::OsStr::from_bytes(name.as_bytes()))
            .unwrap();
        let keys = || OwnedFd::from(keys.try_clone().unwrap());
        let mut setsid = Command::new("setsid");
        setsid.arg("--ctty").arg(program.as_ref()).stdin(keys()).stdout(keys()).stderr(keys());
        command(&mut setsid);
        Self { child: setsid.spawn().unwrap(), screen: File::from(screen), seen: Vec::new(), read: 0 }
    }

    /// Waits for `text` behind what was waited for before, and gives what stands before it.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let unread = &self.seen[self.read..];
            if let Some(at) = unread.windows(text.len()).position(|window| window == text.as_bytes()) {
                let before = String::from_utf8_lossy(&unread[..at]).into_owned();
                self.read += at + text.len();
                return before;
            }
            assert!(self.more(until), "no {text:?} in {:?}", self.text());
        }
    }

    /// Waits for one of `texts`, as above: which it was, or `None` where the program ends without.
    #[track_caller]
    pub fn wait_for_any(&mut self, texts: &[&str]) -> Option<usize> {
        let until = Instant::now() + PATIENCE;
        loop {
            let unread = &self.seen[self.read..];
            let found = texts.iter().enumerate().find_map(|(index, text)| {
                Some((index, unread.windows(text.len()).position(|window| window == text.as_bytes())? + text.len()))
            });
            if let Some((index, end)) = found {
                self.read += end;
                return Some(index);
            }
            if !self.more(until) {
                assert!(Instant::now() < until, "none of {texts:?} in {:?}", self.text());
                return None;
            }
        }
    }

    /// Types `keys`, and Enter.
    pub fn enter(&mut self, keys: impl AsRef<[u8]>) {
        self.press(&[keys.as_ref(), b"\n"].concat());
    }

    /// Types `keys`, as soon as the program reads: some throw away what was typed before.
    pub fn press(&mut self, keys: &[u8]) {
        let until = Instant::now() + PATIENCE;
        let state = || super::state(self.pid());
        while state() == Some('R') || state() == Some('D') {
            assert!(Instant::now() < until, "it does not read");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.screen.write_all(keys).unwrap();
    }

    /// Waits until the program has ended: its status, `None` after a signal, and what it wrote behind what was waited for.
    #[track_caller]
    pub fn end(&mut self) -> (Option<i32>, String) {
        let until = Instant::now() + PATIENCE;
        while self.more(until) {}
        assert!(Instant::now() < until, "no end in {:?}", self.text());
        let rest = String::from_utf8_lossy(&self.seen[self.read..]).into_owned();
        (self.child.wait().unwrap().code(), rest)
    }

    /// The process that has become the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that was written.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Reads on; false where nothing comes any more, or not until then.
    fn more(&mut self, until: Instant) -> bool {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).unwrap();
        let mut wanted = [PollFd::from_borrowed_fd(self.screen.as_fd(), PollFlags::IN)];
        if poll(&mut wanted, Some(&left)).unwrap() == 0 {
            return false;
        }
        let mut room = [0; 4096];
        match self.screen.read(&mut room) {
            Ok(count) => {
                self.seen.extend(&room[..count]);
                count > 0
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            // Nobody holds the other end.
            Err(_) => false,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended already, or nobody needs it any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The children of a process that were not waited for.
pub fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

/// Sends a signal to a process of the test's own.
pub fn kill(pid: u32, signal: rustix::process::Signal) {
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(), signal);
}

/// Waits until the process is gone.
#[track_caller]
pub fn wait_until_gone(pid: u32) {
    let until = Instant::now() + PATIENCE;
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(Instant::now() < until, "process {pid} stays");
        std::thread::sleep(Duration::from_millis(10));
    }
}

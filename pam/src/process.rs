//! The process that decides: started for one login, and gone after it. The host's descriptors, signals and other children
//! are left as they are.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::{
    Gid, PidfdFlags, Signal, WaitId, WaitIdOptions, getegid, geteuid, getgid, getuid, pidfd_open, pidfd_send_signal,
    waitid,
};

use crate::login::{NoLine, Verifier};
use crate::options::Options;

/// The longest answer that is read.
const ANSWER_LIMIT: usize = 1 << 20;

/// How much of its standard error is kept, for the log.
const ERROR_LIMIT: usize = 2048;

/// How long the process may take to end after its input has ended: it takes back what waits for an answer, for 4 seconds at
/// most, and ends as soon as that is done.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long what it says on its standard error is waited for when its output has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long it is waited for when it was ended by force: the system has not always an end for it.
const BURIAL: Duration = Duration::from_secs(1);

/// How often a process without a handle is asked whether it has ended.
const GLANCE: Duration = Duration::from_millis(10);

/// A `countersign serve`.
pub struct Process {
    child: Child,
    /// The child, whatever becomes of its number; `None` where the kernel cannot say.
    handle: Option<OwnedFd>,
    /// A socket, since what is written to a pipe that nobody reads ends the host.
    input: Option<UnixStream>,
    output: OwnedFd,
    errors: Option<OwnedFd>,
    /// Ready when somebody has pressed Ctrl-C; `None` where that cannot be seen.
    keys: Option<OwnedFd>,
    unread: Vec<u8>,
    said: Vec<u8>,
}

impl Process {
    /// Starts it, with nothing of the host's but its rights.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(options: &Options) -> Result<Self, String> {
        let Options { config, program, first_pass: _, timeout: _, messages: _ } = options;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(config).env_clear().current_dir("/");
        // su and sudo: what root decides is out of the reach of who asks for it, whose group they still have.
        let user = geteuid();
        let group = if user.is_root() { Gid::ROOT } else { getegid() };
        if user != getuid() || user.is_root() && (getgid(), getegid()) != (group, group) {
            command.uid(user.as_raw()).gid(group.as_raw());
        }
        // SAFETY: between fork and exec the closure calls only functions that are async-signal-safe (signal-safety(7)), and
        // touches no memory of the host.
        unsafe { command.pre_exec(forget_the_host) };
        let failed = |error: io::Error| format!("{}: {error}", program.display());
        // What cannot be run is better found before there is a child.
        program.metadata().map_err(failed)?;
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = command.spawn();
        // Its end of the socket goes with the command: else the process would never see the end of its input.
        drop(command);
        let mut child = spawned.map_err(failed)?;
        let handle = rustix::process::Pid::from_raw(child.id().cast_signed())
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let (output, errors) = (child.stdout.take(), child.stderr.take().map(OwnedFd::from));
        let output = output.map(OwnedFd::from).ok_or("the process has no output")?;
        Ok(Self {
            child,
            handle,
            input: Some(ours),
            output,
            errors,
            keys: keys(),
            unread: Vec::new(),
            said: Vec::new(),
        })
    }

    /// What it said on its standard error, for the log.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }

    /// Takes in what there is of its output and its standard error; false where nothing came until then.
    fn read(&mut self, until: Instant) -> Result<bool, NoLine> {
        let mut room = [0; 4096];
        let mut wanted = vec![PollFd::new(&self.output, PollFlags::IN)];
        wanted.extend([&self.keys, &self.errors].into_iter().flatten().map(|other| PollFd::new(other, PollFlags::IN)));
        if !await_any(&mut wanted, until)? {
            return Ok(false);
        }
        let is_ready = |polled: Option<&PollFd<'_>>| polled.is_some_and(|polled| !polled.revents().is_empty());
        let has_output = is_ready(wanted.first());
        let has_keys = self.keys.is_some() && is_ready(wanted.get(1));
        let has_errors = self.errors.is_some() && is_ready(wanted.last());
        // A verdict that is there is taken all the same.
        if has_keys && !has_output {
            return Err(NoLine::Interrupted);
        }
        if has_errors {
            self.hear();
        }
        if has_output {
            match rustix::io::read(&self.output, &mut room) {
                Ok(0) => {
                    let until = until.min(Instant::now() + LAST_WORDS);
                    while let Some(errors) = &self.errors
                        && await_any(&mut [PollFd::new(errors, PollFlags::IN)], until)?
                    {
                        self.hear();
                    }
                    return Err(NoLine::Fault("it ended without a verdict".into()));
                }
                Ok(count) if self.unread.len() + count <= ANSWER_LIMIT => self.unread.extend(room.iter().take(count)),
                Ok(_) => return Err(NoLine::Fault("its answer has no end".into())),
                Err(Errno::INTR) => {}
                Err(error) => return Err(NoLine::Fault(format!("its answer cannot be read: {error}"))),
            }
        }
        Ok(true)
    }

    /// Takes in what there is of its standard error, which must be ready.
    fn hear(&mut self) {
        let mut room = [0; 4096];
        match self.errors.as_ref().map(|errors| rustix::io::read(errors, &mut room)) {
            Some(Ok(count @ 1..)) => {
                let count = count.min(ERROR_LIMIT.saturating_sub(self.said.len()));
                self.said.extend(room.iter().take(count));
            }
            Some(Ok(0) | Err(_)) | None => self.errors = None,
        }
    }

    /// Ends it, and waits until it is gone: by its end of input, which takes back a push, or by force. What cannot be ended
    /// by force either, such as a process that waits for a disk, is left to the system: the host goes on.
    fn end(&mut self) {
        self.input = None;
        if self.is_gone(Instant::now() + FAREWELL) {
            return;
        }
        // Gone meanwhile, or soon.
        let _ = match &self.handle {
            Some(handle) => pidfd_send_signal(handle, Signal::KILL).map_err(io::Error::from),
            // Its number is all there is. It has not been waited for, so that the number is its own, where the host leaves
            // its children alone.
            None => self.child.kill(),
        };
        self.is_gone(Instant::now() + BURIAL);
    }

    /// Waits for its end, and takes its status; false where it has not ended until then.
    fn is_gone(&mut self, until: Instant) -> bool {
        let Some(handle) = &self.handle else {
            loop {
                match self.child.try_wait() {
                    Ok(None) if Instant::now() >= until => return false,
                    Ok(None) => std::thread::sleep(GLANCE),
                    Ok(Some(_)) | Err(_) => return true,
                }
            }
        };
        if !await_any(&mut [PollFd::new(handle, PollFlags::IN)], until).unwrap_or(false) {
            return false;
        }
        // A host that ignores SIGCHLD, or waits for every child, has taken its status away: then there is no child any more.
        // Who traces it has its status first: that is not waited for.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        while matches!(waitid(WaitId::PidFd(handle.as_fd()), options), Err(Errno::INTR)) {}
        true
    }
}

impl Verifier for Process {
    fn send(&mut self, line: &[u8], until: Instant) -> Result<(), String> {
        let gone = || "it does not read its input".to_owned();
        let input = self.input.as_ref().ok_or_else(gone)?;
        let mut left = line;
        while !left.is_empty() {
            // No signal where nobody reads any more, and no waiting where there is no room.
            match rustix::net::send(input, left, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !await_any(&mut [PollFd::new(input, PollFlags::OUT)], until)? {
                        return Err(gone());
                    }
                }
                // It has said why, perhaps: the end of its output is the end of what it said.
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(error) => return Err(format!("its input cannot be written: {error}")),
            }
        }
        Ok(())
    }

    fn line(&mut self, until: Instant) -> Result<Option<Vec<u8>>, NoLine> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if !self.read(until)? {
                return Ok(None);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until one of them is ready; false where none is until then.
fn await_any(wanted: &mut [PollFd<'_>], until: Instant) -> Result<bool, String> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|error| error.to_string())?;
        match poll(wanted, Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(format!("poll: {error}")),
        }
    }
}

/// Becomes ready when a key of the terminal has sent a signal to the host that the host holds back: sudo does, as long as modules
/// run. The signal stays the host's. What was held back before means somebody else.
fn keys() -> Option<OwnedFd> {
    // SAFETY: sigset_t is plain data, which the calls fill and read; they change nothing of the host's. The descriptor is new, and
    // nobody else's.
    unsafe {
        let (mut before, mut wanted) = (std::mem::zeroed::<libc::sigset_t>(), std::mem::zeroed::<libc::sigset_t>());
        libc::sigpending(&raw mut before);
        libc::sigemptyset(&raw mut wanted);
        for signal in [libc::SIGINT, libc::SIGQUIT] {
            if libc::sigismember(&raw const before, signal) == 0 {
                libc::sigaddset(&raw mut wanted, signal);
            }
        }
        let made = libc::signalfd(-1, &raw const wanted, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        (made >= 0).then(|| OwnedFd::from_raw_fd(made))
    }
}

/// Run in the child, before it becomes the program: it is in a session of its own, where no key of a terminal stops or ends
/// it; no signal is blocked or ignored as the host has it, and no descriptor of the host's is left but standard input, output
/// and error. As root, it makes files for root only, and has the groups of nobody.
fn forget_the_host() -> io::Result<()> {
    // SAFETY: the calls take numbers only, and an empty list; what they change is this process. A session cannot be refused to
    // a process that was just made. Where groups cannot be taken away (in some name spaces), root's rights are as many.
    unsafe {
        libc::setsid();
        if libc::geteuid() == 0 {
            libc::umask(0o077);
            // As a system call of its own: the function of the C library would look for other threads.
            libc::syscall(libc::SYS_setgroups, 0 as libc::c_long, std::ptr::null::<libc::gid_t>());
        }
    }
    // SAFETY: sigset_t is plain data, which sigemptyset fills; sigprocmask reads it, and changes this process alone.
    unsafe {
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
    for signal in 1..=64 {
        // SAFETY: handlers are not copied by exec; what was ignored is given its default. Those that cannot be set are not.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // As a system call of its own: older C libraries have no function for it. Descriptors are marked and not closed, so that
    // the one by which a failing exec is told stays open until exec.
    // SAFETY: the call takes numbers only.
    let marked = unsafe {
        libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if marked == 0 {
        return Ok(());
    }
    // A kernel before 5.11.
    for descriptor in 3..4096 {
        // SAFETY: the call takes numbers only, and a descriptor that is not open is an error that changes nothing.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

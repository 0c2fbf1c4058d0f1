//! Whether a descriptor can be read or written at this moment, asked without waiting and without changing it for others.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What can be written to at all takes this much at once (pipe(7), PIPE_BUF).
pub const AT_ONCE: usize = 4096;

/// What one wants to do with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Read,
    Write,
}

/// Whether reading or writing a little does not block now. A closed end is ready: it is met by the call that follows.
///
/// # Errors
/// Where the descriptor cannot be asked about.
pub fn is_ready(fd: BorrowedFd<'_>, want: Want) -> io::Result<bool> {
    let flags = match want {
        Want::Read => PollFlags::IN,
        Want::Write => PollFlags::OUT,
    };
    let mut asked = [PollFd::from_borrowed_fd(fd, flags)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(rustix::io::retry_on_intr(|| poll(&mut asked, Some(&now)))? > 0)
}

//! A pipe, socket, terminal or file that is waited for without being made non-blocking: its other holders share that.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::Shutdown;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::ready::{self, AT_ONCE, Want};

/// An empty pipe takes this much at once: its capacity, unless somebody made it smaller (pipe(7)).
const AT_ONCE_IF_EMPTY: usize = 64 * 1024;

/// One end of a conversation.
pub struct Stream {
    kind: Waiting,
    want: Want,
    /// The capacity in bytes, where it is a pipe.
    pipe: usize,
}

enum Waiting {
    /// The kernel says when there is something to do.
    Event(AsyncFd<OwnedFd>),
    /// A regular file or a null device: always ready.
    Never(OwnedFd),
}

impl Stream {
    /// For reading from `fd`.
    ///
    /// # Errors
    /// Where the runtime cannot watch it.
    pub fn reader(fd: OwnedFd) -> io::Result<Self> {
        Self::new(fd, Interest::READABLE, Want::Read)
    }

    /// For writing to `fd`.
    ///
    /// # Errors
    /// Where the runtime cannot watch it.
    pub fn writer(fd: OwnedFd) -> io::Result<Self> {
        Self::new(fd, Interest::WRITABLE, Want::Write)
    }

    fn new(fd: OwnedFd, interest: Interest, want: Want) -> io::Result<Self> {
        let pipe = rustix::pipe::fcntl_getpipe_size(&fd).unwrap_or(0);
        #[expect(
            deprecated,
            reason = "deprecated for descriptors that are not owned; this one is, and its successor is unsafe to call"
        )]
        let registered = AsyncFd::try_with_interest(fd, interest);
        let kind = match registered {
            Ok(event) => Waiting::Event(event),
            Err(error) => match error.into_parts() {
                // What epoll does not know never has to be waited for.
                (fd, cause) if cause.raw_os_error() == Some(Errno::PERM.raw_os_error()) => Waiting::Never(fd),
                (_, cause) => return Err(cause),
            },
        };
        Ok(Self { kind, want, pipe })
    }

    /// Another handle on the same end.
    ///
    /// # Errors
    /// Where there are too many.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        match &self.kind {
            Waiting::Event(event) => event.get_ref().try_clone(),
            Waiting::Never(fd) => fd.try_clone(),
        }
    }

    /// Reads what is there, waiting for it; 0 at the end.
    ///
    /// # Errors
    /// Where the other end failed.
    pub async fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.kind {
            Waiting::Never(fd) => Ok(rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut *buffer))?),
            Waiting::Event(event) => loop {
                let mut guard = event.readable().await?;
                if self.is_ready(event)? {
                    return Ok(rustix::io::retry_on_intr(|| rustix::io::read(event.get_ref(), &mut *buffer))?);
                }
                guard.clear_ready();
            },
        }
    }

    /// Writes as much of `bytes` as is taken at once.
    ///
    /// # Errors
    /// Where nobody reads any more, and none of them was written.
    pub fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.write_once(rest) {
                Ok(Some(more)) => written += more,
                Ok(None) => break,
                // What was written is told first; the error comes again.
                Err(_) if written > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    /// Writes some of `bytes`; `None` where none is taken now.
    fn write_once(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match &self.kind {
            Waiting::Never(fd) => Ok(Some(rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes))?)),
            Waiting::Event(event) if self.is_ready(event)? => {
                let chunk = bytes.get(..self.room(event)).unwrap_or(bytes);
                Ok(Some(rustix::io::retry_on_intr(|| rustix::io::write(event.get_ref(), chunk))?))
            }
            Waiting::Event(_) => Ok(None),
        }
    }

    /// Takes no more from the other end of a socket: whoever writes there from now on is told that it is not taken, and what was
    /// written before can be read, to its end. Says whether it is a socket.
    pub fn close_reading(&self) -> bool {
        match &self.kind {
            Waiting::Event(event) => rustix::net::shutdown(event.get_ref(), Shutdown::Read).is_ok(),
            Waiting::Never(_) => false,
        }
    }

    /// Waits until something can be written.
    ///
    /// # Errors
    /// Where the runtime cannot watch it.
    pub async fn writable(&self) -> io::Result<()> {
        if let Waiting::Event(event) = &self.kind {
            loop {
                let mut guard = event.writable().await?;
                if self.is_ready(event)? {
                    break;
                }
                guard.clear_ready();
            }
        }
        Ok(())
    }

    /// Waits until nobody can read any more what is written here. Where that cannot be known, for ever.
    pub async fn abandoned(&self) {
        if let Waiting::Event(event) = &self.kind {
            while let Ok(mut guard) = event.writable().await {
                if guard.ready().is_write_closed() {
                    return;
                }
                // Whoever has something to write asks the kernel, and is told when there is room again.
                guard.clear_ready();
            }
        }
        std::future::pending().await
    }

    /// How much a stream that can be written to takes without blocking.
    fn room(&self, event: &AsyncFd<OwnedFd>) -> usize {
        if self.pipe >= AT_ONCE_IF_EMPTY && rustix::io::ioctl_fionread(event.get_ref()).is_ok_and(|unread| unread == 0)
        {
            AT_ONCE_IF_EMPTY
        } else {
            AT_ONCE
        }
    }

    /// Whether something can be read now; a file always can, to its end.
    ///
    /// # Errors
    /// Where the other end failed.
    pub fn has_more(&self) -> io::Result<bool> {
        match &self.kind {
            Waiting::Event(event) => self.is_ready(event),
            Waiting::Never(_) => Ok(false),
        }
    }

    /// Whether reading or writing a little does not block now. The runtime remembers readiness; this asks for it.
    fn is_ready(&self, event: &AsyncFd<OwnedFd>) -> io::Result<bool> {
        ready::is_ready(event.get_ref().as_fd(), self.want)
    }
}

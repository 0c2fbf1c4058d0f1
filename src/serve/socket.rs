//! The Unix socket that one process serves many gateways on: made so that nobody gets in between, or handed over by systemd.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use listenfd::ListenFd;
use rustix::fs::{Mode, OFlags};
use thiserror::Error;
use tokio::net::UnixStream;

use crate::files::{self, FileError};

/// What nobody but owner and group gets of the socket: it is made with mode 0660.
const MASK: Mode = Mode::from_raw_mode(0o117);

/// How often, and how long each time, another process that is about to make the socket is waited for.
const TURNS: u32 = 50;
const TURN: Duration = Duration::from_millis(100);

/// Why there is no socket to serve on.
#[derive(Debug, Error)]
pub enum SocketError {
    #[error(transparent)]
    Place(#[from] FileError),
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{0}: another process serves on it")]
    Taken(PathBuf),
    #[error("{0}: is no socket of ours, and is not replaced; remove it, or name another place")]
    Foreign(PathBuf),
    #[error(
        "{path}: belongs to user {owner}, neither root nor you, who could put another socket into the place of this one"
    )]
    Owner { path: PathBuf, owner: u32 },
    #[error("{0}: is locked by another process")]
    Locked(PathBuf),
    #[error("expected one listening Unix stream socket from systemd (LISTEN_FDS=1), found {0}")]
    NotHandedOver(String),
}

/// A socket to serve on.
pub struct Socket {
    pub listener: UnixListener,
    /// Where it was made by this process.
    made: Option<Made>,
}

/// A socket that this process made.
pub struct Made {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Made {
    /// Makes a socket at `path`, where there is nothing, for its owner and group.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn make(path: &Path) -> io::Result<(UnixListener, Self)> {
        // A file that another thread makes at this moment has its mode set when it is whole.
        let before = rustix::process::umask(MASK);
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = bound?;
        let there = std::fs::symlink_metadata(path)?;
        Ok((listener, Self { path: path.to_owned(), device: there.dev(), inode: there.ino() }))
    }

    /// Takes it away, where it still is the one that was made.
    pub fn remove(&self) {
        let is_ours = |there: std::fs::Metadata| there.dev() == self.device && there.ino() == self.inode;
        if std::fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            // One that stays is replaced by the next process.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    /// Makes the socket at `path`. One that a process left which is gone is replaced; nothing else is.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub async fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |error| SocketError::Io { path: path.to_owned(), error };
        let directory = files::check_around(path)?;
        let owner = std::fs::metadata(directory).map_err(failed)?.uid();
        if owner != 0 && owner != own_user() {
            return Err(SocketError::Owner { path: directory.to_owned(), owner });
        }
        // Of two that start at once, one looks and makes, and then the other looks. Nobody else may hold this file.
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let opened =
            File::options().write(true).create(true).truncate(false).mode(0o600).custom_flags(no_link).open(&lock);
        let _turn = turn(opened.map_err(|error| SocketError::Io { path: lock.clone(), error })?, &lock).await?;
        remove_left(path).await?;
        let (listener, made) = Made::make(path).map_err(failed)?;
        Ok(Self { listener, made: Some(made) })
    }

    /// Takes the socket that systemd made (sd_listen_fds(3)).
    ///
    /// # Errors
    /// Where there is none, or not exactly one.
    pub fn handed_over() -> Result<Self, SocketError> {
        let wrong = |found: String| SocketError::NotHandedOver(found);
        let mut handed = ListenFd::from_env();
        if handed.len() != 1 {
            return Err(wrong(handed.len().to_string()));
        }
        let taken = handed.take_unix_listener(0).map_err(|error| wrong(error.to_string()))?;
        let listener = taken.ok_or_else(|| wrong("none".into()))?;
        match rustix::net::sockopt::socket_acceptconn(&listener) {
            Ok(true) => Ok(Self { listener, made: None }),
            Ok(false) => Err(wrong("one that does not listen (Accept=no is needed)".into())),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// Takes the socket away, where this process made it and it still is the one that it made.
    pub fn remove(&self) {
        if let Some(made) = &self.made {
            made.remove();
        }
    }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Waits for the turn to make a socket, which lasts as long as the lock at `path` that is given back.
async fn turn(lock: File, path: &Path) -> Result<File, SocketError> {
    for _ in 0..TURNS {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(TURN).await,
            Err(TryLockError::Error(error)) => return Err(SocketError::Io { path: path.to_owned(), error }),
        }
    }
    Err(SocketError::Locked(path.to_owned()))
}

/// Removes the socket that a process of this user left at `path`.
async fn remove_left(path: &Path) -> Result<(), SocketError> {
    let failed = |error| SocketError::Io { path: path.to_owned(), error };
    let there = match std::fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !there.file_type().is_socket() || there.uid() != own_user() {
        return Err(SocketError::Foreign(path.to_owned()));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => files::remove_if_there(path).map_err(failed),
        // Whatever is not refused is heard by somebody, a full queue among it.
        Ok(_) | Err(_) => Err(SocketError::Taken(path.to_owned())),
    }
}

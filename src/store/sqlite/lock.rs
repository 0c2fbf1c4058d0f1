//! The outer lock: who may write to the store now, among all processes.
//!
//! SQLite's own lock is waited for by sleeping and trying again, which under load starves single callers for as long as
//! a second. `flock` on the store's directory queues them in the kernel. Nothing needs to be cleaned up after a process
//! that died holding it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

/// How many threads of this process may stand in the queue: requests that gave up leave theirs there until the lock is
/// theirs, and while somebody holds it for ever, no more are sent.
const WAITERS: usize = 8;

/// The lock of one store.
#[derive(Debug)]
pub struct Lock {
    directory: PathBuf,
    waiters: Arc<AtomicUsize>,
    file: Rc<File>,
}

/// The lock is held until this is dropped.
#[derive(Debug)]
pub enum Held {
    /// Through the file that stays open.
    Own(Rc<File>),
    /// Through a file opened for the wait.
    Waited { _file: File },
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Self::Own(file) = self {
            // Fails only for a file that is not open, and then nothing is held.
            let _ = file.unlock();
        }
    }
}

impl Lock {
    /// The lock of the store in `directory`.
    pub fn new(directory: &Path) -> io::Result<Self> {
        Ok(Self { directory: directory.to_owned(), waiters: Arc::default(), file: Rc::new(File::open(directory)?) })
    }

    /// Takes the lock if nobody has it.
    pub fn try_take(&self) -> io::Result<Option<Held>> {
        match self.file.try_lock() {
            Ok(()) => Ok(Some(Held::Own(Rc::clone(&self.file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Waits for the lock in a thread of its own. Dropping the future gives the place in the queue up: what the thread
    /// then receives it closes again.
    pub async fn take(&self) -> io::Result<Held> {
        if let Some(held) = self.try_take()? {
            return Ok(held);
        }
        if self.waiters.fetch_add(1, Ordering::Relaxed) >= WAITERS {
            self.waiters.fetch_sub(1, Ordering::Relaxed);
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let (directory, waiters) = (self.directory.clone(), Arc::clone(&self.waiters));
        let (sender, receiver) = oneshot::channel();
        std::thread::Builder::new().name("store lock".into()).spawn(move || {
            let locked = File::open(&directory).and_then(|file| file.lock().map(|()| file));
            waiters.fetch_sub(1, Ordering::Relaxed);
            let _ = sender.send(locked);
        })?;
        match receiver.await {
            Ok(locked) => locked.map(|file| Held::Waited { _file: file }),
            Err(_) => Err(io::Error::other("the waiting thread ended")),
        }
    }
}

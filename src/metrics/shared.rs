//! The file of figures that every process adds to.
//!
//! Whoever adds holds the lock beside it, reads what is there, and puts the sum in its place by a rename: who reads sees one
//! or the other, and who is killed leaves what was there. Nothing is synced: after a power cut the figures of a moment are
//! missing, or all begin again at 0, which Prometheus knows as a reset.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

use super::Counts;

/// The largest file that is read.
const SIZE_LIMIT: u64 = 1024 * 1024;

/// How long to wait before the lock is tried again.
const PAUSE: Duration = Duration::from_millis(2);

/// Adds `counts` to the file at `path`, waiting for others `tries` times for a moment; what is in it then.
///
/// # Errors
/// With the counts, where they were not added.
pub fn add_to(path: &Path, counts: Counts, tries: u32) -> Result<Counts, (Counts, io::Error)> {
    match locked(path, &counts, tries) {
        Ok(sum) => Ok(sum),
        Err(error) => Err((counts, error)),
    }
}

/// What the file at `path` says; nothing where there is none.
///
/// # Errors
/// Where it cannot be read.
pub fn read(path: &Path) -> io::Result<Counts> {
    let mut text = Vec::new();
    match options().read(true).open(path) {
        Ok(file) if file.metadata()?.is_file() => file.take(SIZE_LIMIT).read_to_end(&mut text)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Counts::default()),
        Err(error) => return Err(error),
    };
    Ok(Counts::parse(&String::from_utf8_lossy(&text)))
}

fn locked(path: &Path, counts: &Counts, tries: u32) -> io::Result<Counts> {
    let lock = options().write(true).create(true).truncate(false).mode(0o600).open(beside(path, ".lock"))?;
    take(&lock, tries)?;
    let mut sum = read(path)?;
    sum.merge(counts.clone());
    // One name for all: whoever is killed here leaves no more than one.
    let new = beside(path, ".new");
    let mut file = options().write(true).create(true).truncate(true).mode(0o644).open(&new)?;
    file.write_all(sum.text().as_bytes())?;
    // Whatever this process may keep from others by its umask: who collects figures is another user.
    file.set_permissions(Permissions::from_mode(0o644))?;
    std::fs::rename(&new, path)?;
    Ok(sum)
}

fn take(lock: &File, tries: u32) -> io::Result<()> {
    let mut left = tries;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if left > 0 => {
                left -= 1;
                std::thread::sleep(PAUSE);
            }
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Nobody's link is followed, and no pipe waited for.
    options.custom_flags(i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default());
    options
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

//! What the first half of a login leaves for the second: a file that its owner alone reads, named by the process that has both
//! halves run. It opens nothing: what is in it is sealed, and is good for one answer.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::domain::secret::Secret;
use crate::files::{self, Exposure};
use crate::gateway::once::Given;

/// Where the files are, if the second argument names no other directory: emptied at each start of the machine.
const DIRECTORY: &str = "/run/countersign";

/// How their names begin.
const PREFIX: &str = "asked-";

/// The longest content.
const LIMIT: u64 = 64 * 1024;

/// The place of one login.
pub struct Place {
    directory: PathBuf,
    path: PathBuf,
}

impl Place {
    /// The directory of what is left for the login that `given` is of.
    pub fn directory(given: &Given) -> PathBuf {
        given.arguments.get(1).map_or_else(|| PathBuf::from(DIRECTORY), PathBuf::from)
    }

    /// The place of the login that `given` is of.
    ///
    /// # Errors
    /// Where the directory or the process that asks is nothing to rely on.
    pub fn of(given: &Given) -> io::Result<Self> {
        let directory = Self::directory(given);
        if !directory.is_absolute() {
            return Err(io::Error::other(format!("{}: expected an absolute path", directory.display())));
        }
        files::create_private_directory(&directory).map_err(io::Error::other)?;
        if fs::symlink_metadata(&directory)?.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other(format!("{}: belongs to somebody else", directory.display())));
        }
        let parent = std::os::unix::process::parent_id();
        let began = began(parent).filter(|_| parent > 1);
        let began = began.ok_or_else(|| io::Error::other("the process that asks has ended, or cannot be seen"))?;
        let mut who = Sha256::new();
        for name in ["PAM_USER", "PAM_SERVICE"] {
            // Names of the session.
            let value = given.environment.get(OsStr::new(name)).map(|value| value.expose().as_slice());
            who.update(value.unwrap_or_default());
            who.update([0]);
        }
        let name = format!("{PREFIX}{parent}-{began}-{}", HEXLOWER.encode(&who.finalize()));
        Ok(Self { path: directory.join(name), directory })
    }

    /// Removes what earlier logins left: here, and wherever the process that asked is gone.
    pub fn clear(&self) -> io::Result<()> {
        files::remove_if_there(&self.path)?;
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            if is_over(&name) {
                files::remove_if_there(&self.directory.join(name))?;
            }
        }
        Ok(())
    }

    /// Leaves `content`.
    pub fn leave(&self, content: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)?.write_all(content)
    }

    /// Takes what is here, for good.
    pub fn take(&self) -> io::Result<Option<Secret<Vec<u8>>>> {
        if matches!(fs::symlink_metadata(&self.path), Err(error) if error.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let opened = files::open(&self.path, Exposure::Private);
        fs::remove_file(&self.path)?;
        let (file, _length) = opened.map_err(io::Error::other)?;
        let mut content = Vec::new();
        file.take(LIMIT).read_to_end(&mut content)?;
        Ok(Some(Secret::new(content)))
    }
}

/// Whether the file of that name is of a process that is gone.
fn is_over(name: &OsStr) -> bool {
    let text = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    let mut fields = text.unwrap_or_default().split('-');
    match (fields.next().and_then(|pid| pid.parse().ok()), fields.next()) {
        (Some(pid), Some(time)) => began(pid).is_none_or(|began| began != time),
        // Somebody else's.
        _ => false,
    }
}

/// When process `pid` began, in ticks since the machine did: with that, a number that is used again is another one.
fn began(pid: u32) -> Option<String> {
    let stat = fs::read(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // Whatever the program is called stands in parentheses; the time is the 20th field behind (proc(5)).
    let behind = stat.rsplit(|b| *b == b')').next()?;
    let field = behind.split(|b| *b == b' ').filter(|field| !field.is_empty()).nth(19)?;
    OsString::from(OsStr::from_bytes(field)).into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_over_when_its_process_is_another_one() {
        let pid = std::process::id();
        let time = began(pid).unwrap();
        assert!(time.parse::<u64>().unwrap() > 0);
        assert!(!is_over(OsStr::new(&format!("{PREFIX}{pid}-{time}-00"))));
        assert!(is_over(OsStr::new(&format!("{PREFIX}{pid}-{time}0-00"))));
        assert!(is_over(OsStr::new(&format!("{PREFIX}4194999-{time}-00"))));
        assert!(!is_over(OsStr::new("somebody-1-2-3")));
    }
}

//! Whether the store that is open still is the one that lies at its path.
//!
//! A file that is removed or replaced stays as it was for whoever has it open: what is used there would be unused for
//! everybody else.

use std::cell::Cell;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Which file it is, whatever it is called: device and inode.
type Identity = (u64, u64);

/// The files of an open store.
pub struct Place {
    /// As it is named: by links, too.
    named: PathBuf,
    database: PathBuf,
    found: Identity,
    log: PathBuf,
    /// None until SQLite has made it.
    log_found: Cell<Option<Identity>>,
}

impl Place {
    /// The place of the database at `path`, which is `named` in plugin.ini, is about to be opened, and is what `metadata` says; its
    /// log is at `log`.
    pub fn new(named: PathBuf, path: PathBuf, metadata: &Metadata, log: PathBuf) -> Self {
        Self { named, database: path, found: identity(metadata), log, log_found: Cell::new(None) }
    }

    /// The database.
    pub fn path(&self) -> &Path {
        &self.database
    }

    /// How long the log is, in bytes.
    pub fn log_length(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |metadata| metadata.len())
    }

    /// Whether what lies there is what was opened.
    pub fn is_held(&self) -> bool {
        let is_there = |found: io::Result<Option<Identity>>| found.is_ok_and(|found| found == Some(self.found));
        let is_named = std::fs::metadata(&self.named).is_ok_and(|metadata| identity(&metadata) == self.found);
        if !is_named || !is_there(look(&self.database)) {
            return false;
        }
        let Ok(log) = look(&self.log) else { return false };
        match (self.log_found.get(), log) {
            (Some(before), log) => log == Some(before),
            (None, log) => {
                self.log_found.set(log);
                true
            }
        }
    }
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// What lies at `path`; no link is followed.
fn look(path: &Path) -> io::Result<Option<Identity>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(identity(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

//! What an administrator is told of a file that cannot be read or made, and the exit status that goes with it.

use std::io;
use std::path::Path;

use super::AdminError;
use crate::files::FileError;

/// Of a file that cannot be read.
pub fn unreadable(error: &FileError) -> AdminError {
    let told = error.to_string();
    if !error.is_forbidden() {
        return AdminError::Data(told);
    }
    // What is said of another owner has its remedy in it.
    let is_owned = matches!(error, FileError::Owner { path: _, owner: _ });
    AdminError::NotPermitted(if is_owned { told } else { format!("{told}; run this as a user who may read it") })
}

/// Of a new file that cannot be made.
pub fn unwritable(path: &Path, error: FileError) -> AdminError {
    let kind = match &error {
        FileError::Io { path: _, error } => Some(error.kind()),
        FileError::Link(_)
        | FileError::NotFile(_)
        | FileError::NotDirectory(_)
        | FileError::Loose { path: _, mode: _, what: _, remedy: _ }
        | FileError::Owner { path: _, owner: _ }
        | FileError::Large(_)
        | FileError::NotText(_) => None,
    };
    match kind {
        Some(io::ErrorKind::AlreadyExists) => is_there(path),
        Some(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            AdminError::Data(format!("{error}; name a file in a directory that is there"))
        }
        Some(_) | None if error.is_forbidden() => {
            AdminError::NotPermitted(format!("{error}; name a file in a directory that this user may write to"))
        }
        Some(_) | None => error.into(),
    }
}

/// Of a new file whose name something has.
pub fn is_there(path: &Path) -> AdminError {
    AdminError::Data(format!("{}: is there already, and nothing is written over it; name another file", path.display()))
}

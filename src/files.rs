//! Files that decide who gets in: opened without following links, refused where others could read or change them.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use thiserror::Error;

/// The largest configuration or key file that is read.
const SIZE_LIMIT: u64 = 1024 * 1024;

/// Who besides the owner may touch a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// The group may read; the world may not; neither may write. What holds secrets.
    Private,
    /// Everybody may read; only the owner may write. What only steers.
    Readable,
}

impl Exposure {
    const fn forbidden(self) -> u32 {
        match self {
            Self::Private => 0o027,
            Self::Readable => 0o022,
        }
    }
}

/// Why a file is not used, with the command that mends it.
#[derive(Debug, Error)]
pub enum FileError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{0}: is a symbolic link, which is not followed; name the file that it points to")]
    Link(PathBuf),
    #[error("{0}: is not a regular file")]
    NotFile(PathBuf),
    #[error("{0}: is not a directory")]
    NotDirectory(PathBuf),
    #[error("{path}: mode {mode:04o} lets others {what}; run: chmod {remedy} {}", quoted(path))]
    Loose { path: PathBuf, mode: u32, what: &'static str, remedy: &'static str },
    #[error("{path}: belongs to user {owner}, neither root nor you; run: chown root {}", quoted(path))]
    Owner { path: PathBuf, owner: u32 },
    #[error("{0}: is larger than 1 MiB")]
    Large(PathBuf),
    #[error("{0}: is not UTF-8 text")]
    NotText(PathBuf),
}

impl FileError {
    /// Whether another user could, where this one may not.
    pub fn is_forbidden(&self) -> bool {
        match self {
            Self::Io { path: _, error } => {
                matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
            }
            Self::Owner { path: _, owner: _ } => true,
            Self::Link(_)
            | Self::NotFile(_)
            | Self::NotDirectory(_)
            | Self::Loose { path: _, mode: _, what: _, remedy: _ }
            | Self::Large(_)
            | Self::NotText(_) => false,
        }
    }
}

/// The text of the file at `path`.
///
/// # Errors
/// See [`FileError`].
pub fn read_text(path: &Path, exposure: Exposure) -> Result<String, FileError> {
    let (file, length) = open(path, exposure)?;
    if length > SIZE_LIMIT {
        return Err(FileError::Large(path.to_owned()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    file.take(SIZE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| FileError::Io { path: path.to_owned(), error })?;
    String::from_utf8(bytes).map_err(|_| FileError::NotText(path.to_owned()))
}

/// The file at `path`, guarded as `exposure` says, and its length.
///
/// # Errors
/// See [`FileError`].
pub fn open(path: &Path, exposure: Exposure) -> Result<(File, u64), FileError> {
    let file = open_no_link(path)?;
    let metadata = file.metadata().map_err(|error| FileError::Io { path: path.to_owned(), error })?;
    if !metadata.is_file() {
        return Err(FileError::NotFile(path.to_owned()));
    }
    check_mode(path, &metadata, exposure)?;
    check_surroundings(path, &metadata)?;
    Ok((file, metadata.len()))
}

/// Whether the file or directory at `path` is guarded as `exposure` says, looked at without following a last link.
///
/// # Errors
/// See [`FileError`].
pub fn check(path: &Path, exposure: Exposure) -> Result<Metadata, FileError> {
    let metadata = std::fs::symlink_metadata(path).map_err(|error| FileError::Io { path: path.to_owned(), error })?;
    if metadata.is_symlink() {
        return Err(FileError::Link(path.to_owned()));
    }
    check_mode(path, &metadata, exposure)?;
    Ok(metadata)
}

/// Writes a new file that only its owner may read, and makes it durable; an existing file stays as it is.
///
/// # Errors
/// See [`FileError`]; [`io::ErrorKind::AlreadyExists`] where something is there already.
pub fn create_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let write = || {
        let new = beside(path);
        remove_if_there(&new)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        publish(&new, path)
    };
    write().map_err(|error| FileError::Io { path: path.to_owned(), error })
}

/// Gives the finished file `new` the name `path`, which nobody may have, and makes that durable.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where something has the name.
pub fn publish(new: &Path, path: &Path) -> io::Result<()> {
    // Unlike a rename, a link replaces nothing.
    let linked = std::fs::hard_link(new, path);
    std::fs::remove_file(new)?;
    linked?;
    sync_directory(path)
}

/// The name under which this process makes `path` before it is published.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    PathBuf::from(name)
}

/// Removes what an interrupted run may have left at `path`.
///
/// # Errors
/// Where something is there and cannot be removed.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes the file at `path` if nothing is in it: somebody began to make it.
///
/// # Errors
/// Where it cannot be removed.
pub fn remove_if_empty(path: &Path) -> io::Result<()> {
    let is_empty = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0);
    if is_empty { remove_if_there(path) } else { Ok(()) }
}

/// `path` as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_alphanumeric() || "/._-+@%,:".contains(c)) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Replaces the file at `path` by `content` in one step, with the mode and owner that it had.
///
/// # Errors
/// See [`FileError`].
pub fn replace_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let io = |error| FileError::Io { path: path.to_owned(), error };
    let before = check(path, Exposure::Private)?;
    let new = beside(path);
    let write = || {
        remove_if_there(&new)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(before.mode() & 0o7777))?;
        let ours = file.metadata()?;
        if (ours.uid(), ours.gid()) != (before.uid(), before.gid()) {
            std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        sync_directory(path)
    };
    write().map_err(io)
}

/// Makes a directory that only its owner may enter; one that is there already must be guarded.
///
/// # Errors
/// See [`FileError`].
pub fn create_private_directory(path: &Path) -> Result<(), FileError> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_directory(path).map_err(|error| FileError::Io { path: path.to_owned(), error }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_directory(path),
        Err(error) => Err(FileError::Io { path: path.to_owned(), error }),
    }
}

/// Whether `path` is a directory, no link, that others can neither read nor change.
///
/// # Errors
/// See [`FileError`].
pub fn check_directory(path: &Path) -> Result<(), FileError> {
    if check(path, Exposure::Private)?.is_dir() { Ok(()) } else { Err(FileError::NotDirectory(path.to_owned())) }
}

fn open_no_link(path: &Path) -> Result<File, FileError> {
    // Non-blocking, so that a FIFO put in its place does not hold the start up.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => FileError::Link(path.to_owned()),
        Some(_) | None => FileError::Io { path: path.to_owned(), error },
    })
}

fn check_mode(path: &Path, metadata: &Metadata, exposure: Exposure) -> Result<(), FileError> {
    let mode = metadata.mode() & 0o7777;
    let loose = mode & exposure.forbidden();
    if loose == 0 {
        return Ok(());
    }
    let what = match (loose & 0o022 != 0, loose & 0o004 != 0) {
        (true, true) => "read and change it",
        (true, false) => "change it",
        (false, true) => "read it",
        (false, false) => "reach it",
    };
    let remedy = match exposure {
        Exposure::Private => "g-w,o-rwx",
        Exposure::Readable => "go-w",
    };
    Err(FileError::Loose { path: path.to_owned(), mode, what, remedy })
}

/// Whether nobody but root and this user could have put the file there. Root itself administers what belongs to the user
/// that serves.
fn check_surroundings(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let (owner, own) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if own != 0 && owner != 0 && owner != own {
        return Err(FileError::Owner { path: path.to_owned(), owner });
    }
    check_around(path).map(|_| ())
}

/// Whether others could put something of theirs into the place of `path`; gives the directory that it is in.
///
/// # Errors
/// See [`FileError`].
pub fn check_around(path: &Path) -> Result<&Path, FileError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let around = std::fs::metadata(directory).map_err(|error| FileError::Io { path: directory.to_owned(), error })?;
    // Where the sticky bit is set, as in /tmp, nobody can take another's file away.
    if around.mode() & 0o1000 == 0 {
        check_mode(directory, &around, Exposure::Readable)?;
    }
    Ok(directory)
}

/// Makes the entry of `path` in its directory durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

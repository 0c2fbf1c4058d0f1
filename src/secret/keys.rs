//! The master keys: a small text file, the newest key last.
//!
//! Each line that is neither blank nor a comment (`#`) is a key of 32 bytes in hexadecimal. The last one seals; all of
//! them open. A key's id is derived from it, so that a wrong key is told from a damaged row.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hkdf::Hkdf;
use region::LockGuard;
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::config::value::SecretRef;
use crate::domain::secret::{Secret, SecretBytes};
use crate::files::{self, Exposure, FileError};

/// Names a key without telling anything of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 4]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// What a derived key is for; each purpose has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Authenticator secrets in the store.
    Authenticator,
    /// The payload of challenges in the store.
    Challenge,
    /// Cookies.
    Cookie,
    /// Backups, under keys that are made for them.
    Backup,
}

impl Purpose {
    const ALL: [Self; 4] = [Self::Authenticator, Self::Challenge, Self::Cookie, Self::Backup];

    /// The label that separates the derived keys (HKDF's info, RFC 5869).
    pub const fn label(self) -> &'static [u8] {
        match self {
            Self::Authenticator => b"countersign v1 authenticator secret",
            Self::Challenge => b"countersign v1 challenge",
            Self::Cookie => b"countersign v1 cookie",
            Self::Backup => b"countersign v1 backup",
        }
    }
}

/// One master key.
pub struct Key {
    id: KeyId,
    derive: Hkdf<Sha256>,
    derived: [OnceCell<Zeroizing<[u8; 32]>>; Purpose::ALL.len()],
}

impl Key {
    /// `None` where `bytes` are too few for a key.
    fn new(bytes: &SecretBytes) -> Option<Self> {
        // The key is 32 bytes from the operating system's generator: nothing needs to be extracted first (RFC 5869, 3.3).
        let derive = Hkdf::<Sha256>::from_prk(bytes.expose()).ok()?;
        let mut id = [0; 4];
        // Four bytes are always a valid length.
        let _ = derive.expand(b"countersign v1 key id", &mut id);
        Some(Self { id: KeyId(id), derive, derived: [const { OnceCell::new() }; Purpose::ALL.len()] })
    }

    /// The key's id.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The key for `purpose`.
    pub fn derived(&self, purpose: Purpose) -> Zeroizing<[u8; 32]> {
        let derive = || {
            let mut key = Zeroizing::new([0; 32]);
            // 32 bytes are always a valid length.
            let _ = self.derive.expand(purpose.label(), &mut *key);
            key
        };
        let slot = Purpose::ALL.iter().position(|p| *p == purpose).and_then(|index| self.derived.get(index));
        match slot {
            Some(slot) => slot.get_or_init(derive).clone(),
            None => derive(),
        }
    }
}

/// Why there are no usable keys. Says nothing of what was read.
#[derive(Debug, Error)]
pub enum KeyError {
    #[error("{0}")]
    File(#[from] FileError),
    #[error("{0}: is not there; put the copy of the key back, or for a new store run: countersign keys generate")]
    Missing(PathBuf),
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    #[error("there is no $CREDENTIALS_DIRECTORY; set LoadCredential= in the systemd unit")]
    NoCredentials,
    #[error("{0}: holds no key; put the copy of the key there, or remove the file and run: countersign keys generate")]
    Empty(String),
    #[error("{place}: line {line} is not a key: expected 64 hexadecimal digits")]
    NotKey { place: String, line: usize },
}

/// The keys at one place, oldest first; never empty.
pub struct Keys {
    place: Place,
    /// Holds the memory of `keys`, and goes before them.
    locked: Option<LockGuard>,
    keys: Vec<Key>,
    stamp: Option<Stamp>,
}

/// A reference, resolved.
#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Variable(String),
}

/// What changes when the key file is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Keys {
    /// Reads the keys that `reference` names; `resolve` makes its path absolute.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn load(reference: &SecretRef, resolve: impl Fn(&Path) -> PathBuf) -> Result<Self, KeyError> {
        let place = match reference {
            SecretRef::File(path) => Place::File(resolve(path)),
            SecretRef::Env(name) => Place::Variable(name.clone()),
            SecretRef::Credential(name) => {
                let directory: OsString = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(KeyError::NoCredentials)?;
                Place::File(PathBuf::from(directory).join(name))
            }
        };
        let stamp = place.stamp();
        let text = place.read()?;
        // Parsed at once, and wiped with `text`.
        let keys = parse(text.expose(), &place.to_string())?;
        Ok(Self { place, locked: lock(&keys), keys, stamp })
    }

    /// Whether the keys, and those derived from them, lie in memory that is never written to a disk.
    pub const fn is_locked(&self) -> bool {
        self.locked.is_some()
    }

    /// The key that seals.
    pub fn newest(&self) -> Option<&Key> {
        self.keys.last()
    }

    /// The key of that id.
    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// The ids, oldest first.
    pub fn ids(&self) -> Vec<KeyId> {
        self.keys.iter().map(Key::id).collect()
    }

    /// The key file, where the keys lie in one.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Variable(_) => None,
        }
    }

    /// Reads the keys again if their file was replaced since; says whether it was.
    ///
    /// # Errors
    /// See [`KeyError`]; the keys stay as they were.
    pub fn refresh(&mut self) -> Result<bool, KeyError> {
        let stamp = self.place.stamp();
        if stamp == self.stamp {
            return Ok(false);
        }
        let text = self.place.read()?;
        // Parsed at once, and wiped with `text`.
        let keys = parse(text.expose(), &self.place.to_string())?;
        // Locks of one page are not counted: the old one goes first.
        self.locked = None;
        self.keys = keys;
        self.locked = lock(&self.keys);
        self.stamp = stamp;
        Ok(true)
    }
}

impl Place {
    fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::File(path) => std::fs::symlink_metadata(path).ok().map(|m| Stamp {
                inode: m.ino(),
                seconds: m.mtime(),
                nanoseconds: m.mtime_nsec(),
            }),
            Self::Variable(_) => None,
        }
    }

    fn read(&self) -> Result<Secret<String>, KeyError> {
        match self {
            Self::File(path) => match files::read_text(path, Exposure::Private) {
                Err(FileError::Io { path, error }) if error.kind() == std::io::ErrorKind::NotFound => {
                    Err(KeyError::Missing(path))
                }
                text => Ok(Secret::new(text?)),
            },
            Self::Variable(name) => {
                std::env::var(name).map(Secret::new).map_err(|_| KeyError::NoVariable(name.clone()))
            }
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "${name}"),
        }
    }
}

/// Keeps `keys` out of swapped memory, where the limit of locked memory leaves a page for them (RLIMIT_MEMLOCK).
fn lock(keys: &[Key]) -> Option<LockGuard> {
    region::lock(keys.as_ptr(), size_of_val(keys)).ok()
}

fn parse(text: &str, place: &str) -> Result<Vec<Key>, KeyError> {
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let not_key = || KeyError::NotKey { place: place.to_owned(), line: index + 1 };
        let bytes = SecretBytes::new(HEXLOWER_PERMISSIVE.decode(line.as_bytes()).map_err(|_| not_key())?);
        // Only its length is looked at.
        if bytes.expose().len() != 32 {
            return Err(not_key());
        }
        keys.push(Key::new(&bytes).ok_or_else(not_key)?);
    }
    if keys.is_empty() { Err(KeyError::Empty(place.to_owned())) } else { Ok(keys) }
}

/// A new key in the form of the key file, with its id in a comment before it.
///
/// # Errors
/// Where the operating system gives no randomness.
pub fn generate() -> Result<Secret<String>, getrandom::Error> {
    let mut fresh = vec![0_u8; 32];
    getrandom::fill(&mut fresh)?;
    let bytes = SecretBytes::new(fresh);
    let id = Key::new(&bytes).map(|key| key.id().to_string()).unwrap_or_default();
    // The caller writes the text into the key file.
    Ok(Secret::new(format!("# key {id}\n{}\n", HEXLOWER.encode(bytes.expose()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_is_read_back() {
        let text = generate().unwrap();
        let keys = parse(text.expose(), "f").unwrap();
        assert!(text.expose().contains(&format!("# key {}", keys[0].id())));
        assert_ne!(keys[0].derived(Purpose::Cookie), keys[0].derived(Purpose::Challenge));
    }

    #[test]
    fn a_flawed_key_file_is_told_by_its_line_and_not_repeated() {
        let error = |text: &str| parse(text, "master.key").map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            error("# nothing\n"),
            "master.key: holds no key; put the copy of the key there, or remove the file and run: countersign keys generate"
        );
        assert_eq!(error("\nCANARY\n"), "master.key: line 2 is not a key: expected 64 hexadecimal digits");
        assert_eq!(error("abcd"), "master.key: line 1 is not a key: expected 64 hexadecimal digits");
    }
}

//! A sealed backup: everything that is enrolled, under a key that is made for backups.
//!
//! One line says what it is, one holds the sealed bytes in base64. Sealed is JSON with a number for its form.

use std::path::Path;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::AdminError;
use super::access::unreadable;
use crate::config::value::SecretRef;
use crate::domain::secret::{Secret, SecretBytes};
use crate::secret::keys::{KeyError, Keys, Purpose};
use crate::secret::seal::{SealError, Sealer};

/// The first line.
const HEADER: &str = "countersign backup 1";

/// What was enrolled at one time.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// When it was made, in seconds since 1970.
    pub made: u64,
    pub authenticators: Vec<Kept>,
}

/// One authenticator with its secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub user: String,
    pub id: String,
    pub client: String,
    pub label: String,
    /// The word of its mechanism.
    pub kind: String,
    pub algorithm: Option<String>,
    pub digits: Option<u32>,
    pub period: Option<u64>,
    /// In base64.
    pub secret: String,
    pub last_step: Option<u64>,
    pub created: u64,
    pub last_used: Option<u64>,
    pub disabled: bool,
    pub default: bool,
    /// The hashes of recovery codes that are not used, in base64.
    pub codes: Vec<String>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

/// The file that `backup` is, sealed under the key in `key`.
///
/// # Errors
/// Where the key cannot be used.
pub fn seal(backup: &Backup, key: &Path) -> Result<String, AdminError> {
    let failed = |error: SealError| AdminError::Failed(error.to_string());
    let plain = serde_json::to_vec(backup).map_err(|error| AdminError::Failed(error.to_string()))?;
    let plain = SecretBytes::new(plain);
    // Sealed at once.
    let sealed = sealer(key)?.seal(Purpose::Backup, &[HEADER.as_bytes()], plain.expose()).map_err(failed)?;
    Ok(format!("{HEADER}\n{}\n", BASE64.encode(&sealed)))
}

/// The backup in the file's `text`, opened with the key in `key`.
///
/// # Errors
/// Where it is none, or sealed with another key, or damaged.
pub fn open(text: &str, key: &Path) -> Result<Backup, AdminError> {
    let data = |what: String| AdminError::Data(format!("{what}; nothing was imported"));
    let sealer = sealer(key)?;
    let rest = match text.split_once('\n').map(|(first, rest)| (first.trim_end(), rest)) {
        Some((HEADER, rest)) => rest,
        Some((first, _)) if first.starts_with("countersign backup ") => {
            return Err(data("the backup was written by a newer countersign; import it with that one".into()));
        }
        Some(_) | None => {
            return Err(data(format!("this is no backup: the first line should be \"{HEADER}\"")));
        }
    };
    let sealed = BASE64
        .decode(rest.trim().as_bytes())
        .map_err(|_| data("the backup is damaged: what is sealed is not base64; take another copy".into()))?;
    let plain = sealer.open(Purpose::Backup, &[HEADER.as_bytes()], &sealed).map_err(|error| match error {
        SealError::UnknownKey(id) => {
            data(format!("the backup was sealed with key {id}, and {} holds another one", key.display()))
        }
        SealError::Forged => data("the backup is damaged, or was changed; take another copy".into()),
        SealError::NoRandomness | SealError::NoKey => AdminError::Failed(error.to_string()),
    })?;
    // Parsed at once; each secret is taken into custody by itself.
    serde_json::from_slice(plain.expose())
        .map_err(|_| data("the backup holds what this countersign does not know; import it with a newer one".into()))
}

/// A secret as it stands in a backup.
pub fn written(secret: &SecretBytes) -> String {
    // The caller seals it.
    BASE64.encode(secret.expose())
}

/// The secret that stands there.
pub fn read(text: &str) -> Option<SecretBytes> {
    BASE64.decode(text.as_bytes()).ok().map(SecretBytes::new)
}

/// A new key in the form of a key file.
///
/// # Errors
/// Where the operating system gives no randomness.
pub fn new_key() -> Result<Secret<String>, AdminError> {
    crate::secret::keys::generate().map_err(|error| AdminError::Failed(format!("no randomness: {error}")))
}

fn sealer(key: &Path) -> Result<Sealer, AdminError> {
    let keys = Keys::load(&SecretRef::File(key.to_owned()), ToOwned::to_owned);
    keys.map(Sealer::new).map_err(|error| match error {
        KeyError::Missing(path) => missing(&path),
        KeyError::Empty(place) => AdminError::Data(format!("{place}: holds no key; name the file that export made")),
        KeyError::File(error) => unreadable(&error),
        KeyError::NoVariable(_) | KeyError::NoCredentials | KeyError::NotKey { place: _, line: _ } => {
            AdminError::Data(error.to_string())
        }
    })
}

fn missing(path: &Path) -> AdminError {
    AdminError::Data(format!("{}: is not there; name the file with the key of the backup", path.display()))
}

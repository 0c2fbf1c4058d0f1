//! Our secrets at a service: read where plugin.ini says they lie, when they are needed first.

use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::config::value::{SecretRef, ServiceSecret};
use crate::domain::secret::Secret;
use crate::files::{self, Exposure, FileError};

/// Why there is no secret. Says nothing of what was read.
#[derive(Debug, Error)]
pub enum ServiceSecretError {
    #[error("{0}")]
    File(#[from] FileError),
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    #[error("there is no $CREDENTIALS_DIRECTORY; set LoadCredential= in the systemd unit")]
    NoCredentials,
    #[error("{0}: is empty; expected the secret on one line")]
    Empty(String),
}

/// The secret that `source` names, without the line end behind it; `resolve` makes relative paths absolute.
///
/// # Errors
/// Where it cannot be read, or there is none.
pub fn read(source: &ServiceSecret, resolve: impl Fn(&Path) -> PathBuf) -> Result<Secret<String>, ServiceSecretError> {
    let (place, text) = match source {
        ServiceSecret::Written(secret) => return Ok(secret.clone()),
        ServiceSecret::Lies(SecretRef::File(path)) => {
            let path = resolve(path);
            let text = files::read_text(&path, Exposure::Private)?;
            (path.display().to_string(), text)
        }
        ServiceSecret::Lies(SecretRef::Env(name)) => {
            let text = std::env::var(name).map_err(|_| ServiceSecretError::NoVariable(name.clone()))?;
            (name.clone(), text)
        }
        ServiceSecret::Lies(SecretRef::Credential(name)) => {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(ServiceSecretError::NoCredentials)?;
            let path = Path::new(&directory).join(name);
            let text = files::read_text(&path, Exposure::Private)?;
            (path.display().to_string(), text)
        }
    };
    let text = Zeroizing::new(text);
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() { Err(ServiceSecretError::Empty(place)) } else { Ok(Secret::new(secret.to_owned())) }
}

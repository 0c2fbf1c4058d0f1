//! Our secrets at a service: read where plugin.ini says they lie, when they are needed first.

use std::path::{Path, PathBuf};

use crate::config::credentials::{self, Unread};
use crate::config::value::ServiceSecret;
use crate::domain::secret::Secret;

/// The secret that `source` names, without the line end behind it; `resolve` makes relative paths absolute.
///
/// # Errors
/// Where it cannot be read, or there is none.
pub fn read(source: &ServiceSecret, resolve: impl Fn(&Path) -> PathBuf) -> Result<Secret<String>, Unread> {
    match source {
        ServiceSecret::Written(secret) => Ok(secret.clone()),
        ServiceSecret::Lies(place) => credentials::read(place, resolve),
    }
}

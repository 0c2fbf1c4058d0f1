//! From plugin.ini to what serves and administers: configuration, keys and store, each checked before it is used.

use std::path::Path;
use std::rc::Rc;

use crate::config::{Config, Mistake, Mistakes, Reading};
use crate::secret::keys::{KeyError, KeyId, Keys};
use crate::secret::seal::Sealer;
use crate::store::sqlite::SqliteStore;
use crate::store::{Limits, StoreError};

/// Everything that stands behind a verdict.
pub struct Setup {
    pub config: Config,
    pub sealer: Rc<Sealer>,
    pub store: Rc<SqliteStore>,
}

impl Setup {
    /// Opens what the configuration at `path` names.
    ///
    /// # Errors
    /// Every mistake in the configuration; else the one thing about the key or the store that cannot be used.
    pub fn open(path: &Path) -> Result<Self, Mistakes> {
        Self::open_as(path, Reading::Native)
    }

    /// Opens what the configuration at `path`, read as `reading` says, names.
    ///
    /// # Errors
    /// As for [`Setup::open`].
    pub fn open_as(path: &Path, reading: Reading) -> Result<Self, Mistakes> {
        let config = Config::load_as(path, reading)?;
        let sealer = sealer(&config)?;
        let store = store(&config)?;
        check_key(&config, &sealer, &store)?;
        Ok(Self { config, sealer: Rc::new(sealer), store: Rc::new(store) })
    }
}

/// The master keys of `config`.
///
/// # Errors
/// Where they cannot be read, at the option that names them.
pub fn sealer(config: &Config) -> Result<Sealer, Mistake> {
    Keys::load(&config.plugin.master_key, |path| config.resolve(path)).map(Sealer::new).map_err(|error| {
        let is_forbidden = matches!(&error, KeyError::File(error) if error.is_forbidden());
        config.mistake("plugin", "master_key", error.to_string()).forbidden_if(is_forbidden)
    })
}

/// The store of `config`.
///
/// # Errors
/// Where it cannot be opened, at the option that names it.
pub fn store(config: &Config) -> Result<SqliteStore, Mistake> {
    SqliteStore::open(&config.resolve(&config.plugin.store), limits(config)).map_err(|error: StoreError| {
        let is_forbidden = matches!(error, StoreError::NotPermitted(_) | StoreError::ReadOnly(_));
        config.mistake("plugin", "store", error.to_string()).forbidden_if(is_forbidden)
    })
}

/// Whether `store` was sealed under a key that `sealer` has.
///
/// # Errors
/// Where it was not, at the option that names the keys.
pub fn check_key(config: &Config, sealer: &Sealer, store: &SqliteStore) -> Result<(), Mistake> {
    let under = KeyId(store.opened_under());
    // A rotation may have ended between the reading of the keys and the opening of the store.
    if sealer.ids().contains(&under) || (sealer.refresh().is_ok() && sealer.ids().contains(&under)) {
        return Ok(());
    }
    let known: Vec<_> = sealer.ids().iter().map(ToString::to_string).collect();
    let text = format!(
        "the store was sealed with key {under}, found {}; name the key that it was made with, or restore it from a backup",
        known.join(", ")
    );
    Err(config.mistake("plugin", "master_key", text))
}

/// The limits of `config`.
pub fn limits(config: &Config) -> Limits {
    Limits { subscriber: config.subscriber_rule(), source: config.source_rule(), traces: config.throttle.traces.0 }
}

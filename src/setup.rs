//! From plugin.ini to what serves and administers: configuration, keys and store, each checked before it is used.

use std::path::Path;
use std::rc::Rc;

use crate::config::{Config, Mistake, Mistakes};
use crate::secret::keys::{KeyId, Keys};
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
        Self::of(Config::load(path)?)
    }

    /// Opens what `config` names.
    ///
    /// # Errors
    /// The one thing about the key or the store that cannot be used.
    pub fn of(config: Config) -> Result<Self, Mistakes> {
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
    Keys::load(&config.plugin.master_key, |path| config.resolve(path))
        .map(Sealer::new)
        .map_err(|error| config.mistake("plugin", "master_key", error.to_string()))
}

/// The store of `config`.
///
/// # Errors
/// Where it cannot be opened, at the option that names it.
pub fn store(config: &Config) -> Result<SqliteStore, Mistake> {
    SqliteStore::open(&config.resolve(&config.plugin.store), limits(config))
        .map_err(|error: StoreError| config.mistake("plugin", "store", error.to_string()))
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

//! From plugin.ini to what serves and administers: configuration, keys and store, each checked before it is used.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::config::value::{Authorities, StorePlace};
use crate::config::{Config, Mistake, Mistakes, Reading};
use crate::net::tls::{self, Presented, Trust};
use crate::secret::keys::{KeyError, KeyId, Keys};
use crate::secret::seal::Sealer;
use crate::secret::service;
use crate::store::postgres::{PostgresStore, Settings, Where};
use crate::store::sqlite::SqliteStore;
use crate::store::{Limits, Opened, StoreError};

/// Everything that stands behind a verdict.
pub struct Setup {
    pub config: Config,
    pub sealer: Rc<Sealer>,
    pub store: Rc<dyn Opened>,
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
        Self::of(Config::load_as(path, reading)?)
    }

    /// Opens what `config` names, to serve: a database that is away is opened once it is back, and until then each verdict says
    /// that it is away.
    ///
    /// # Errors
    /// As for [`Setup::of`].
    pub fn to_serve(config: Config) -> Result<Self, Mistakes> {
        let sealer = sealer(&config)?;
        // What is left of the deadline is the first verdict's.
        let within = (Duration::from_secs(config.plugin.deadline.0) / 4).min(PATIENCE);
        let store = match (open(&config, Some(within))?, &config.plugin.store) {
            (Err(StoreError::Unreachable(_)), StorePlace::Postgres(url)) => {
                let Database { place, tls } = database(&config, url)?;
                let keys = sealer.ids().iter().map(|id| id.0).collect();
                let store = PostgresStore::open_later(&place, tls, limits(&config), keys);
                Rc::new(store.map_err(|error| unusable(&config, &error))?) as Rc<dyn Opened>
            }
            (opened, _) => {
                let store = opened.map_err(|error| unusable(&config, &error))?;
                check_key(&config, &sealer, store.opened_under())?;
                store
            }
        };
        Ok(Self { config, sealer: Rc::new(sealer), store })
    }

    /// Opens what `config` names.
    ///
    /// # Errors
    /// The one thing about the key or the store that cannot be used.
    pub fn of(config: Config) -> Result<Self, Mistakes> {
        let sealer = sealer(&config)?;
        let store = store(&config)?;
        check_key(&config, &sealer, store.opened_under())?;
        Ok(Self { config, sealer: Rc::new(sealer), store })
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
pub fn store(config: &Config) -> Result<Rc<dyn Opened>, Mistake> {
    open(config, None)?.map_err(|error| unusable(config, &error))
}

/// How long a process that is to serve waits for a database before it reads its first request.
const PATIENCE: Duration = Duration::from_secs(1);

/// The store of `config`, or why there is none; what is wrong with what leads to it is a mistake. A database is waited for no
/// longer than `within`, where that is said.
fn open(config: &Config, within: Option<Duration>) -> Result<Result<Rc<dyn Opened>, StoreError>, Mistake> {
    Ok(match &config.plugin.store {
        StorePlace::Directory(directory) => {
            SqliteStore::open(&config.resolve(directory), limits(config)).map(|store| Rc::new(store) as Rc<dyn Opened>)
        }
        StorePlace::Postgres(url) => {
            let Database { place, tls } = database(config, url)?;
            PostgresStore::open(&place, tls, limits(config), within).map(|store| Rc::new(store) as Rc<dyn Opened>)
        }
    })
}

/// The mistake that an unusable store is.
pub fn unusable(config: &Config, error: &StoreError) -> Mistake {
    let is_forbidden = matches!(error, StoreError::NotPermitted(_) | StoreError::ReadOnly(_));
    config.mistake("plugin", "store", error.to_string()).forbidden_if(is_forbidden)
}

/// The database of a shared store, and how the way to it is secured.
pub struct Database {
    pub place: Where,
    pub tls: Option<ClientConfig>,
}

/// The database at `url`, as `[postgres]` says.
///
/// # Errors
/// Where something that it names cannot be used.
pub fn database(config: &Config, url: &str) -> Result<Database, Mistake> {
    let options = config.postgres();
    let wrong = |option, text: String| config.mistake("postgres", option, text);
    let password = options.password.0.as_ref().map(|source| service::read(source, |path| config.resolve(path)));
    let password = password.transpose().map_err(|error| wrong("password", error.to_string()))?;
    let settings = Settings {
        url,
        password: password.as_ref(),
        connections: usize::try_from(options.connections.0).unwrap_or(1),
        patience: Duration::from_secs(options.connect_timeout.0),
        statement: Duration::from_secs(options.statement_timeout.0),
    };
    let place = Where::of(&settings).map_err(|error| unusable(config, &error))?;
    let authorities = options.ca_file.0.as_ref().map(|path| Authorities::File(config.resolve(path)));
    let trust = Trust { authorities, ..Trust::default() };
    let no_secrets = |_: &_| Err("no certificate of ours is used here".into());
    let secured = place.is_secured().then(|| tls::config(&trust, no_secrets, &Presented::default()));
    let tls = secured.transpose().map_err(|error| wrong("ca_file", error))?;
    Ok(Database { place, tls })
}

/// Whether a store that was sealed under the key `under` was sealed under one that `sealer` has.
///
/// # Errors
/// Where it was not, at the option that names the keys.
pub fn check_key(config: &Config, sealer: &Sealer, under: [u8; 4]) -> Result<(), Mistake> {
    let under = KeyId(under);
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
    Limits {
        subscriber: config.subscriber_rule(),
        source: config.source_rule(),
        known: config.known_rule(),
        traces: config.throttle.traces.0,
    }
}

//! What is asked of a database before anything else: whether the store in it is one that this program may use.

use std::sync::OnceLock;

use deadpool_postgres::Transaction;
use tokio_postgres::Error;

use super::schema;
use crate::store::StoreError;

/// What a database says of the store in it.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    pub version: i64,
    pub salt: [u8; 16],
    pub key_id: [u8; 4],
}

/// What is said of the store; `None` where there is none.
pub async fn meta(tx: &Transaction<'_>) -> Result<Option<Meta>, Error> {
    let statement = "SELECT 1 FROM information_schema.tables WHERE table_schema = $1 AND table_name = 'meta'";
    if tx.query_opt(statement, &[&schema::SCHEMA]).await?.is_none() {
        return Ok(None);
    }
    let Some(row) = tx.query_opt("SELECT version, salt, key_id FROM meta", &[]).await? else { return Ok(None) };
    let (salt, key_id): (&[u8], &[u8]) = (row.try_get(1)?, row.try_get(2)?);
    let (salt, key_id) = (salt.try_into().unwrap_or_default(), key_id.try_into().unwrap_or_default());
    Ok(Some(Meta { version: row.try_get(0)?, salt, key_id }))
}

/// What is said of the store, and of how durable it is.
pub struct Found {
    meta: Option<Meta>,
    commits: String,
}

/// Looks at both.
pub async fn look(tx: &Transaction<'_>) -> Result<Found, Error> {
    let meta = meta(tx).await?;
    let row = tx.query_opt("SHOW synchronous_commit", &[]).await?;
    let commits = row.map_or(Ok(String::new()), |row| row.try_get::<_, String>(0))?;
    Ok(Found { meta, commits })
}

impl Found {
    /// The store, where this program may use it.
    ///
    /// # Errors
    /// Where there is none, it is of another version than this program's, or forgets what it said.
    pub fn usable(self) -> Result<Meta, StoreError> {
        let no = |text: String| Err(StoreError::Failed(text));
        let Some(meta) = self.meta else {
            return no("there is no store in this database; make one: countersign store migrate".into());
        };
        // What is answered has to be there after a crash.
        if self.commits == "off" {
            return no(
                "the database says synchronous_commit = off: what was used could be used again after a crash; set it \
                       to on for this user: ALTER ROLE ... SET synchronous_commit = on"
                    .into(),
            );
        }
        let known = schema::newest();
        match meta.version {
            newer if newer > known => no(format!(
                "the store's schema version {newer} is newer than {known}, the newest this program knows; install a newer \
                 countersign"
            )),
            older if older < known => no(format!(
                "the store's schema version {older} is older than {known}, which this program needs; run: countersign \
                 store migrate"
            )),
            _ => Ok(meta),
        }
    }
}

/// Whether the store was looked at, and what it is.
#[derive(Debug)]
pub struct Entry {
    known: OnceLock<Meta>,
    /// The master keys under one of which it has to be sealed.
    keys: Vec<[u8; 4]>,
}

impl Entry {
    /// One that was found to be `meta`.
    pub fn found(meta: Meta) -> Self {
        Self { known: OnceLock::from(meta), keys: Vec::new() }
    }

    /// One that nobody has seen yet; it has to be sealed under one of `keys`.
    pub fn unseen(keys: Vec<[u8; 4]>) -> Self {
        Self { known: OnceLock::new(), keys }
    }

    /// Whether it was looked at.
    pub fn is_known(&self) -> bool {
        self.known.get().is_some()
    }

    /// Takes in what was found.
    ///
    /// # Errors
    /// Where this program may not use it.
    pub fn admit(&self, found: Found) -> Result<(), StoreError> {
        let meta = found.usable()?;
        if !self.keys.contains(&meta.key_id) {
            return Err(StoreError::Failed("the store was sealed with a key that this process has not".into()));
        }
        self.known.get_or_init(|| meta);
        Ok(())
    }

    /// What names are hashed with. Nothing is asked of the database before it is known.
    pub fn salt(&self) -> [u8; 16] {
        self.known.get().map(|meta| meta.salt).unwrap_or_default()
    }

    /// The master key that it was sealed under when it was looked at; zeros before.
    pub fn key_id(&self) -> [u8; 4] {
        self.known.get().map(|meta| meta.key_id).unwrap_or_default()
    }
}

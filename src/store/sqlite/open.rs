//! The database file: made whole, opened, and brought to the newest schema.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::lock::Lock;
use super::{BUSY, StoreError, failed, schema};

/// What a store says of itself.
pub struct Meta {
    pub version: i64,
    pub salt: [u8; 16],
    pub key_id: [u8; 4],
}

/// Makes an empty store of the newest schema in the empty file at `path`, whole and synced when this returns.
pub fn build(path: &Path, key_id: [u8; 4]) -> Result<(), StoreError> {
    let mut salt = [0_u8; 16];
    getrandom::fill(&mut salt).map_err(|error| StoreError::Failed(error.to_string()))?;
    let make = || -> rusqlite::Result<()> {
        let mut connection = Connection::open_with_flags(path, FLAGS)?;
        let transaction = connection.transaction()?;
        if let Some(first) = schema::MIGRATIONS.first() {
            transaction.execute_batch(first)?;
        }
        transaction.execute("INSERT INTO meta (version, salt, key_id) VALUES (1, ?1, ?2)", params![salt, key_id])?;
        schema::migrate(&transaction, 1)?;
        transaction.commit()?;
        // The mode stays in the file. Closing leaves nothing beside it.
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.close().map_err(|(_, error)| error)
    };
    make().map_err(|error| failed(&error))?;
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| StoreError::Failed(error.to_string()))
}

const FLAGS: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX).union(OpenFlags::SQLITE_OPEN_NOFOLLOW);

pub fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, FLAGS).map_err(|error| failed(&error))?;
    connection.busy_timeout(BUSY).map_err(|error| failed(&error))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(|error| failed(&error))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

pub fn read_meta(connection: &Connection, path: &Path) -> Result<Meta, StoreError> {
    let foreign = |reason: String| StoreError::Foreign { path: path.to_owned(), reason };
    let meta = connection
        .query_row("SELECT version, salt, key_id FROM meta", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()
        .map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::Unknown) => foreign(error.to_string()),
            Some(_) | None => failed(&error),
        })?;
    let Some((version, salt, key_id)) = meta else { return Err(foreign("it says nothing of itself".into())) };
    let known = schema::newest();
    if version > known {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known });
    }
    Ok(Meta { version, salt, key_id })
}

/// Brings the schema up to date, as the one process that does.
pub fn upgrade(connection: &Connection, lock: &Lock) -> Result<(), StoreError> {
    let wait = || StoreError::Busy;
    // At start, before any request: waited for at most as long as another program may hold the store.
    let mut held = lock.try_take().map_err(|error| StoreError::Failed(error.to_string()))?;
    let began = std::time::Instant::now();
    while held.is_none() && began.elapsed() < BUSY {
        std::thread::sleep(Duration::from_millis(5));
        held = lock.try_take().map_err(|error| StoreError::Failed(error.to_string()))?;
    }
    let _held = held.ok_or_else(wait)?;
    let up = || -> rusqlite::Result<()> {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let found = connection.query_row("SELECT version FROM meta", [], |row| row.get(0))?;
        schema::migrate(connection, found)?;
        connection.execute_batch("COMMIT")
    };
    up().map_err(|error| {
        let _ = connection.execute_batch("ROLLBACK");
        failed(&error)
    })
}

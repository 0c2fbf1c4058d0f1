//! The tables, and how an older store becomes this one.

use rusqlite::Connection;

/// The migrations, oldest first: the schema version is how many were applied. They go forward only, and none that was
/// released ever changes.
pub const MIGRATIONS: &[&str] = &["
    CREATE TABLE meta (
        version BIGINT NOT NULL,
        salt    BLOB   NOT NULL,
        key_id  BLOB   NOT NULL
    );
    CREATE TABLE authenticator (
        subscriber TEXT   NOT NULL,
        id         TEXT   NOT NULL,
        client     TEXT   NOT NULL,
        label      TEXT   NOT NULL,
        algorithm  TEXT   NOT NULL,
        digits     BIGINT NOT NULL,
        period     BIGINT NOT NULL,
        sealed     BLOB   NOT NULL,
        last_step  BIGINT NOT NULL,
        created    BIGINT NOT NULL,
        last_used  BIGINT,
        PRIMARY KEY (subscriber, id)
    ) WITHOUT ROWID;
    CREATE TABLE throttle (
        key      BLOB   NOT NULL PRIMARY KEY,
        failures BIGINT NOT NULL,
        last     BIGINT NOT NULL,
        lasting  BIGINT NOT NULL,
        expires  BIGINT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX throttle_expires ON throttle (lasting, expires);
    CREATE TABLE challenge (
        id         TEXT   NOT NULL PRIMARY KEY,
        subscriber TEXT   NOT NULL,
        purpose    TEXT   NOT NULL,
        binding    TEXT   NOT NULL,
        sealed     BLOB   NOT NULL,
        state      TEXT   NOT NULL,
        created    BIGINT NOT NULL,
        expires    BIGINT NOT NULL,
        tries_left BIGINT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX challenge_expires ON challenge (expires);
    CREATE TABLE recovery_code (
        subscriber TEXT   NOT NULL,
        hash       BLOB   NOT NULL,
        created    BIGINT NOT NULL,
        used       BIGINT,
        PRIMARY KEY (subscriber, hash)
    ) WITHOUT ROWID;
    CREATE TABLE slot (
        key     TEXT   NOT NULL,
        holder  TEXT   NOT NULL,
        expires BIGINT NOT NULL,
        PRIMARY KEY (key, holder)
    ) WITHOUT ROWID;
    CREATE INDEX slot_holder ON slot (holder);
"];

/// The schema version of this program.
pub fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Brings a store of version `found` to the newest, inside the transaction that is open.
pub fn migrate(connection: &Connection, found: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(found).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        connection.execute_batch(migration)?;
    }
    connection.execute("UPDATE meta SET version = ?1", [newest()])?;
    Ok(())
}

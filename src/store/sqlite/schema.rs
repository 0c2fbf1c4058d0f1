//! The tables, and how an older store becomes this one.

use rusqlite::Connection;

/// The migrations, oldest first: the schema version is how many were applied. They go forward only, and none that was
/// released ever changes.
///
/// Every process parses the whole schema before its first verdict, white space included: hence the terse text, and no
/// index that only housekeeping would use.
pub const MIGRATIONS: &[&str] = &[
    "\
CREATE TABLE meta(version BIGINT,salt BLOB,key_id BLOB);\
CREATE TABLE authenticator(subscriber TEXT,id TEXT,client TEXT,label TEXT,algorithm TEXT,digits BIGINT,period BIGINT,\
sealed BLOB,last_step BIGINT,created BIGINT,last_used BIGINT,PRIMARY KEY(subscriber,id))WITHOUT ROWID;\
CREATE TABLE throttle(key BLOB PRIMARY KEY,failures BIGINT,last BIGINT,lasting BIGINT,expires BIGINT)WITHOUT ROWID;\
CREATE INDEX throttle_expires ON throttle(lasting,expires);\
CREATE TABLE challenge(id TEXT PRIMARY KEY,subscriber TEXT,purpose TEXT,binding TEXT,sealed BLOB,state TEXT,\
created BIGINT,expires BIGINT,tries_left BIGINT)WITHOUT ROWID;\
CREATE TABLE recovery_code(subscriber TEXT,hash BLOB,created BIGINT,used BIGINT,PRIMARY KEY(subscriber,hash))WITHOUT ROWID;\
CREATE TABLE slot(key TEXT,holder TEXT,expires BIGINT,PRIMARY KEY(key,holder))WITHOUT ROWID;\
",
    "\
ALTER TABLE authenticator ADD kind TEXT DEFAULT 'totp';\
ALTER TABLE authenticator ADD disabled BIGINT DEFAULT 0;\
ALTER TABLE authenticator ADD preferred BIGINT DEFAULT 0;\
",
];

/// The table of verifications that can be used again, made with the first of them: most stores never hold one, and parsing
/// it would cost each process as much as a tenth of reading the whole schema.
pub const VERIFIED: &str = "\
CREATE TABLE IF NOT EXISTS verified(key BLOB PRIMARY KEY,subscriber TEXT,verified BIGINT,used BIGINT,uses BIGINT,\
expires BIGINT)WITHOUT ROWID";

/// The table of what was removed, made with the first removal for the same reason.
pub const TOMBSTONE: &str = "\
CREATE TABLE IF NOT EXISTS tombstone(subscriber TEXT,id TEXT,client TEXT,label TEXT,created BIGINT,removed BIGINT,\
reason TEXT,PRIMARY KEY(subscriber,id))WITHOUT ROWID";

/// Whether there is such a table as `name`.
pub fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = ?1")?.exists([name])
}

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

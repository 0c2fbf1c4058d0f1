//! The tables, and how an older store becomes this one. Only what PostgreSQL and the distributed engines that speak its
//! protocol understand alike: no stored procedures, no advisory locks, no types of their own.

use deadpool_postgres::Transaction;
use tokio_postgres::Error;

use super::rows::execute;
use crate::store::moving::Identity;

/// The migrations, oldest first: the schema version is how many were applied. They go forward only, and none that was
/// released ever changes.
///
/// `guard` has some rows that stand for subscribers and for keys of slots, by a hash: whoever changes more than one row of
/// one of these locks its guard first. `filling` has a row while another store is copied in, or where that was interrupted.
pub const MIGRATIONS: &[&[&str]] = &[&[
    "CREATE TABLE IF NOT EXISTS meta (one SMALLINT PRIMARY KEY, version BIGINT NOT NULL, salt BYTEA NOT NULL, key_id BYTEA NOT NULL)",
    "CREATE TABLE IF NOT EXISTS authenticator (subscriber TEXT NOT NULL, id TEXT NOT NULL, client TEXT NOT NULL, label TEXT NOT NULL, \
     algorithm TEXT NOT NULL, digits BIGINT NOT NULL, period BIGINT NOT NULL, sealed BYTEA NOT NULL, \
     last_step BIGINT NOT NULL, created BIGINT NOT NULL, last_used BIGINT, kind TEXT NOT NULL, \
     disabled BOOLEAN NOT NULL, preferred BOOLEAN NOT NULL, PRIMARY KEY (subscriber, id))",
    "CREATE TABLE IF NOT EXISTS throttle (key BYTEA PRIMARY KEY, failures BIGINT NOT NULL, last BIGINT NOT NULL, \
     lasting SMALLINT NOT NULL, expires BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS throttle_expires ON throttle (lasting, expires)",
    "CREATE TABLE IF NOT EXISTS challenge (id TEXT PRIMARY KEY, subscriber TEXT NOT NULL, purpose TEXT NOT NULL, binding TEXT NOT NULL, \
     sealed BYTEA NOT NULL, state TEXT NOT NULL, created BIGINT NOT NULL, expires BIGINT NOT NULL, \
     tries_left BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS challenge_expires ON challenge (expires)",
    "CREATE TABLE IF NOT EXISTS recovery_code (subscriber TEXT NOT NULL, hash BYTEA NOT NULL, created BIGINT NOT NULL, used BIGINT, \
     PRIMARY KEY (subscriber, hash))",
    "CREATE TABLE IF NOT EXISTS slot (key TEXT NOT NULL, holder TEXT NOT NULL, expires BIGINT NOT NULL, PRIMARY KEY (key, holder))",
    "CREATE INDEX IF NOT EXISTS slot_holder ON slot (holder)",
    "CREATE TABLE IF NOT EXISTS verified (key BYTEA PRIMARY KEY, subscriber TEXT NOT NULL, verified BIGINT NOT NULL, \
     used BIGINT NOT NULL, uses BIGINT NOT NULL, expires BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS verified_subscriber ON verified (subscriber)",
    "CREATE TABLE IF NOT EXISTS tombstone (subscriber TEXT NOT NULL, id TEXT NOT NULL, client TEXT NOT NULL, label TEXT NOT NULL, \
     created BIGINT NOT NULL, removed BIGINT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (subscriber, id))",
    "CREATE TABLE IF NOT EXISTS guard (number BIGINT PRIMARY KEY, turn BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS filling (one SMALLINT PRIMARY KEY, claim BYTEA NOT NULL)",
]];

/// The schema (in PostgreSQL's sense) that all of it lies in, so that nobody else's tables are ever taken for ours.
pub const SCHEMA: &str = "countersign";

/// The version of the newest schema.
pub fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Makes what is missing behind version `found`.
pub async fn create(tx: &Transaction<'_>, found: i64) -> Result<(), Error> {
    tx.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {SCHEMA}")).await?;
    for statement in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)).copied().flatten() {
        tx.batch_execute(statement).await?;
    }
    Ok(())
}

/// Says whose store it is, from which moment on it is one; whether it was none before.
pub async fn name(tx: &Transaction<'_>, identity: Identity) -> Result<bool, Error> {
    let Identity { salt, key_id } = identity;
    let statement = "INSERT INTO meta (one, version, salt, key_id) VALUES (1, $1, $2, $3) ON CONFLICT DO NOTHING";
    Ok(execute(tx, statement, &[&newest(), &salt.as_slice(), &key_id.as_slice()]).await? == 1)
}

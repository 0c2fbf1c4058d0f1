//! A store that is filled with another one's rows, checked and swept.

use deadpool_postgres::Transaction;
use rustls::ClientConfig;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::rows::{execute, integer, put};
use super::worker::Worker;
use super::{PostgresStore, Where, meta, schema};
use crate::domain::time::UnixTime;
use crate::store::StoreError;
use crate::store::moving::{Cell, Identity, Kind, Rows, TABLES, Table};

/// An empty store that waits to be filled. It is none until [`Filling::finish`] has said whose it is.
pub struct Filling(Worker);

impl Filling {
    /// Begins in the database `place`, where there is no store yet.
    ///
    /// # Errors
    /// Where there is one, or the database cannot be used.
    pub fn begin(place: &Where, tls: Option<ClientConfig>) -> Result<Self, StoreError> {
        let worker = Worker::start(place, tls)?;
        let is_there = worker.wait(async |tx| {
            if meta(tx).await?.is_some() {
                return Ok(true);
            }
            schema::create(tx, 0).await?;
            // What an interrupted copy left.
            for table in TABLES {
                tx.batch_execute(&format!("DELETE FROM {}", table.name)).await?;
            }
            Ok(false)
        })?;
        if is_there {
            return Err(StoreError::Failed("there is a store in this database already; nothing was changed".into()));
        }
        Ok(Self(worker))
    }

    /// Takes some rows in.
    ///
    /// # Errors
    /// Where the database does not.
    pub fn take(&self, rows: Rows) -> Result<(), StoreError> {
        self.0.wait(async move |tx| {
            for row in &rows.rows {
                insert(tx, rows.table, row).await?;
            }
            Ok(())
        })
    }

    /// Makes a store of what was taken in.
    ///
    /// # Errors
    /// Where the database does not.
    pub fn finish(&self, identity: Identity) -> Result<(), StoreError> {
        self.0.wait(async move |tx| schema::name(tx, identity).await)
    }
}

async fn insert(tx: &Transaction<'_>, table: Table, row: &[Cell]) -> Result<(), Error> {
    let values: Vec<Box<dyn ToSql + Sync>> = table
        .columns
        .iter()
        .zip(row)
        .map(|((name, kind), cell)| -> Box<dyn ToSql + Sync> {
            match (kind, cell) {
                (Kind::Flag, cell) => Box::new(*cell == Cell::Whole(1)),
                (Kind::Whole, Cell::Whole(whole)) if *name == "lasting" => {
                    Box::new(i16::try_from(*whole).unwrap_or_default())
                }
                (_, Cell::Whole(whole)) => Box::new(*whole),
                (_, Cell::Text(text)) => Box::new(put(text).into_owned()),
                (_, Cell::Bytes(bytes)) => Box::new(bytes.clone()),
                (Kind::Text, Cell::Nothing) => Box::new(None::<String>),
                (Kind::Bytes, Cell::Nothing) => Box::new(None::<Vec<u8>>),
                (Kind::Whole, Cell::Nothing) => Box::new(None::<i64>),
            }
        })
        .collect();
    let places: Vec<String> = (1..=values.len()).map(|number| format!("${number}")).collect();
    let statement = format!("INSERT INTO {} ({}) VALUES ({})", table.name, table.names(), places.join(", "));
    let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| &**value).collect();
    execute(tx, &statement, &parameters).await.map(drop)
}

impl PostgresStore {
    /// Forgets what has run out at `now`: challenges, slots, failures and verifications; says how many rows.
    ///
    /// # Errors
    /// Where the database does not.
    pub fn purge(&self, now: UnixTime) -> Result<u64, StoreError> {
        self.worker.wait(async move |tx| {
            let mut gone = 0;
            for table in ["challenge", "slot", "throttle", "verified"] {
                gone += execute(tx, &format!("DELETE FROM {table} WHERE expires <= $1"), &[&integer(now)]).await?;
            }
            Ok(gone)
        })
    }
}

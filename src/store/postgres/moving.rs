//! A store that is filled with another one's rows, checked and swept.

use deadpool_postgres::Transaction;
use rustls::ClientConfig;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::rows::{execute, integer, put, query_opt, run_all};
use super::worker::Worker;
use super::{PostgresStore, Where, meta, schema};
use crate::domain::time::UnixTime;
use crate::store::StoreError;
use crate::store::moving::{Cell, Identity, Kind, Rows, TABLES, Table, expiring};

/// An empty store that waits to be filled. It is none until [`Filling::finish`] has said whose it is.
pub struct Filling {
    worker: Worker,
    /// Who fills it: of two, the one that began later goes on.
    claim: [u8; 16],
}

impl Filling {
    /// Begins in the database `place`, where there is no store yet. What an interrupted one left is removed.
    ///
    /// # Errors
    /// Where there is a store, or what nobody began to copy; or the database cannot be used.
    pub fn begin(place: &Where, tls: Option<ClientConfig>) -> Result<Self, StoreError> {
        let worker = Worker::start(place, tls, None)?;
        let mut claim = [0_u8; 16];
        getrandom::fill(&mut claim).map_err(|error| StoreError::Failed(error.to_string()))?;
        let in_the_way = worker.wait(async move |tx| {
            if meta(tx).await?.is_some() {
                return Ok(Some("there is a store in this database already"));
            }
            schema::create(tx, 0).await?;
            let was_begun = query_opt(tx, "SELECT 1 FROM filling FOR UPDATE", &[]).await?.is_some();
            for table in TABLES {
                if !was_begun && count(tx, *table).await? > 0 {
                    return Ok(Some("the tables in this database hold what no copy began with"));
                }
                tx.batch_execute(&format!("DELETE FROM {}", table.name)).await?;
            }
            let statement =
                "INSERT INTO filling (one, claim) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET claim = $1";
            execute(tx, statement, &[&claim.as_slice()]).await?;
            Ok(None)
        })?;
        match in_the_way {
            Some(what) => Err(StoreError::Failed(format!("{what}; nothing was changed"))),
            None => Ok(Self { worker, claim }),
        }
    }

    /// Takes some rows in.
    ///
    /// # Errors
    /// Where another one began meanwhile, or the database does not take them.
    pub fn take(&self, rows: Rows) -> Result<(), StoreError> {
        let claim = self.claim;
        let is_ours = self.worker.wait(async move |tx| {
            if !is_claimed(tx, &claim).await? {
                return Ok(false);
            }
            run_all(rows.rows.iter().map(|row| insert(tx, rows.table, row))).await?;
            Ok(true)
        })?;
        if is_ours { Ok(()) } else { Err(taken_over()) }
    }

    /// Makes a store of what was taken in, where that is `counts` rows of each table.
    ///
    /// # Errors
    /// Where it is not, another one began meanwhile, or the database does not take it.
    pub fn finish(&self, identity: Identity, counts: Vec<(Table, u64)>) -> Result<(), StoreError> {
        let claim = self.claim;
        let is_whole = self.worker.wait(async move |tx| {
            if !is_claimed(tx, &claim).await? {
                return Ok(false);
            }
            for (table, expected) in &counts {
                if count(tx, *table).await? != *expected {
                    return Ok(false);
                }
            }
            execute(tx, "DELETE FROM filling", &[]).await?;
            schema::name(tx, identity).await
        })?;
        if is_whole { Ok(()) } else { Err(taken_over()) }
    }
}

/// Whether the copy that claimed the database with `claim` is still the one that goes on; no other begins until the
/// transaction ends.
async fn is_claimed(tx: &Transaction<'_>, claim: &[u8; 16]) -> Result<bool, Error> {
    Ok(query_opt(tx, "SELECT 1 FROM filling WHERE claim = $1 FOR UPDATE", &[&claim.as_slice()]).await?.is_some())
}

fn taken_over() -> StoreError {
    StoreError::Failed("another copy into this database began meanwhile; this one is given up".into())
}

async fn count(tx: &Transaction<'_>, table: Table) -> Result<u64, Error> {
    let row = query_opt(tx, &format!("SELECT count(*) FROM {}", table.name), &[]).await?;
    row.map_or(Ok(0), |row| row.try_get::<_, i64>(0)).map(|count| u64::try_from(count).unwrap_or(0))
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
            for Table { name, columns: _ } in expiring() {
                gone += execute(tx, &format!("DELETE FROM {name} WHERE expires <= $1"), &[&integer(now)]).await?;
            }
            Ok(gone)
        })
    }
}

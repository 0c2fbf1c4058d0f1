//! The floors of every durable verdict: the disk, and a bare loop of SQLite transactions in this process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior, params};

use crate::Result;
use crate::subscriber::{Order, Walk, name};

/// A table of as many rows as there are subscribers, walked in the order of the requests.
pub struct Bare {
    connection: Connection,
    walk: Walk,
    written: i64,
}

/// What one slice of time gave.
pub struct Slice {
    /// Rows written and durable, by second.
    pub rate: f64,
    /// Nanoseconds of each transaction.
    pub nanoseconds: Vec<u32>,
}

/// Nanoseconds that the disk takes to make an overwritten block of 4 KiB durable, many times over.
pub fn sync_times(path: &Path) -> Result<Vec<u32>> {
    let file = File::create(path)?;
    let sync = |number: u8| {
        let before = Instant::now();
        file.write_all_at(&[number; 4096], 0)?;
        file.sync_data()?;
        Ok(before.elapsed().as_nanos() as u32)
    };
    sync(0)?;
    (0..200).map(sync).collect()
}

impl Bare {
    /// A new database at `path`. WAL and FULL: a commit returns once its data are on the disk. The build leaves out
    /// automatic checkpoints, so SQLite's own default is set again here.
    pub fn new(path: &Path, rows: usize) -> Result<Bare> {
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 1000)?;
        connection.execute_batch(
            "CREATE TABLE subscriber (
                name TEXT PRIMARY KEY, secret BLOB NOT NULL, last_step BIGINT NOT NULL
            ) WITHOUT ROWID",
        )?;
        let transaction = connection.transaction()?;
        for row in 0..rows {
            transaction
                .prepare_cached("INSERT INTO subscriber VALUES (?1, ?2, 0)")?
                .execute(params![name(row), [0_u8; 60]])?;
        }
        transaction.commit()?;
        Ok(Bare { connection, walk: Walk::new(rows), written: 0 })
    }

    /// Reads and writes `batch` rows in each transaction, for so long.
    pub fn slice(&mut self, batch: usize, order: Order, time: Duration) -> Result<Slice> {
        let mut nanoseconds = Vec::new();
        let started = Instant::now();
        let mut before = started;
        while before.duration_since(started) < time {
            self.transaction(batch, order)?;
            let after = Instant::now();
            nanoseconds.push(after.duration_since(before).as_nanos() as u32);
            before = after;
        }
        let rows = nanoseconds.len() * batch;
        let rate = rows as f64 / before.duration_since(started).as_secs_f64();
        Ok(Slice { rate, nanoseconds })
    }

    fn transaction(&mut self, batch: usize, order: Order) -> Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut select = transaction.prepare_cached("SELECT last_step, secret FROM subscriber WHERE name = ?1")?;
            let mut update = transaction.prepare_cached("UPDATE subscriber SET last_step = ?2 WHERE name = ?1")?;
            for _ in 0..batch {
                let name = name(self.walk.next(order));
                self.written += 1;
                let read = |row: &rusqlite::Row| Ok((row.get(0)?, row.get(1)?));
                let _: (i64, Vec<u8>) = select.query_row([&name], read)?;
                update.execute(params![name, self.written])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

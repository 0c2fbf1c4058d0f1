//! The whole store, read in one go, while nobody changes it.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::tallies::integer;
use super::{SqliteStore, failed, schema};
use crate::domain::time::UnixTime;
use crate::store::StoreError;
use crate::store::moving::{Cell, Identity, Rows, TABLES, TOGETHER, Table, Taker, expiring};

impl SqliteStore {
    /// Keeps everybody from changing the store until the result is dropped.
    ///
    /// # Errors
    /// Where somebody changes it now.
    pub fn hold(&self) -> Result<impl Sized + use<>, StoreError> {
        let held = self.lock.try_take().map_err(|error| StoreError::Failed(error.to_string()))?;
        held.ok_or(StoreError::Busy)
    }

    /// Hands everything to `take`. Whoever wants a whole store holds it meanwhile.
    ///
    /// # Errors
    /// Where it cannot be read, or `take` fails.
    pub fn hand_over(&self, take: Taker<'_>) -> Result<Identity, StoreError> {
        for table in TABLES {
            if schema::has_table(&self.connection, table.name).map_err(|error| failed(&error))? {
                read(&self.connection, *table, take)?;
            }
        }
        self.connection
            .query_row("SELECT salt, key_id FROM meta", [], |row| {
                Ok(Identity { salt: row.get(0)?, key_id: row.get(1)? })
            })
            .map_err(|error| failed(&error))
    }

    /// Forgets what has run out at `now`: challenges, slots, failures and verifications; says how many rows.
    ///
    /// # Errors
    /// Where that cannot be written, or somebody holds the store.
    pub fn purge(&self, now: UnixTime) -> Result<u64, StoreError> {
        let _held = self.hold()?;
        self.read(|connection| {
            let mut gone = 0;
            for Table { name, columns: _ } in expiring() {
                if schema::has_table(connection, name)? {
                    gone += connection.execute(&format!("DELETE FROM {name} WHERE expires <= ?1"), [integer(now)])?;
                }
            }
            Ok(u64::try_from(gone).unwrap_or(u64::MAX))
        })
    }

    /// Whether the file is what it was written as; what is wrong with it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn check(&self) -> Result<Vec<String>, StoreError> {
        let read = |connection: &Connection| -> rusqlite::Result<Vec<String>> {
            connection.prepare("PRAGMA integrity_check")?.query_map([], |row| row.get(0))?.collect()
        };
        let said = self.read(read)?;
        Ok(said.into_iter().filter(|line| line != "ok").collect())
    }
}

fn read(connection: &Connection, table: Table, take: Taker<'_>) -> Result<(), StoreError> {
    let wrong = |error| failed(&error);
    let statement = format!("SELECT {} FROM {}", table.names(), table.name);
    let mut statement = connection.prepare(&statement).map_err(wrong)?;
    let mut found = statement.query([]).map_err(wrong)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(wrong)? {
        let cells: rusqlite::Result<Vec<Cell>> = (0..table.columns.len()).map(|at| row.get(at).map(cell)).collect();
        rows.push(cells.map_err(wrong)?);
        if rows.len() == TOGETHER {
            take(Rows { table, rows: std::mem::take(&mut rows) })?;
        }
    }
    if rows.is_empty() { Ok(()) } else { take(Rows { table, rows }) }
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Null => Cell::Nothing,
        Value::Integer(whole) => Cell::Whole(whole),
        // No column holds one.
        Value::Real(_) => Cell::Nothing,
        Value::Text(text) => Cell::Text(text),
        Value::Blob(bytes) => Cell::Bytes(bytes),
    }
}

//! A whole store on its way into another backend: every table, row by row, as it stands.

use super::StoreError;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Bytes,
    Whole,
    /// Yes or no.
    Flag,
}

/// A table that every backend has, by the same names.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    pub name: &'static str,
    pub columns: &'static [(&'static str, Kind)],
}

/// What stands in a column of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Text(String),
    Bytes(Vec<u8>),
    Whole(i64),
    Nothing,
}

/// Some rows of one table.
pub struct Rows {
    pub table: Table,
    pub rows: Vec<Vec<Cell>>,
}

/// How many rows go together.
pub const TOGETHER: usize = 500;

/// Every table but the one that says what the store is.
pub const TABLES: &[Table] = &[
    Table {
        name: "authenticator",
        columns: &[
            ("subscriber", Kind::Text),
            ("id", Kind::Text),
            ("client", Kind::Text),
            ("label", Kind::Text),
            ("algorithm", Kind::Text),
            ("digits", Kind::Whole),
            ("period", Kind::Whole),
            ("sealed", Kind::Bytes),
            ("last_step", Kind::Whole),
            ("created", Kind::Whole),
            ("last_used", Kind::Whole),
            ("kind", Kind::Text),
            ("disabled", Kind::Flag),
            ("preferred", Kind::Flag),
        ],
    },
    Table {
        name: "recovery_code",
        columns: &[("subscriber", Kind::Text), ("hash", Kind::Bytes), ("created", Kind::Whole), ("used", Kind::Whole)],
    },
    Table {
        name: "throttle",
        columns: &[
            ("key", Kind::Bytes),
            ("failures", Kind::Whole),
            ("last", Kind::Whole),
            ("lasting", Kind::Whole),
            ("expires", Kind::Whole),
        ],
    },
    Table {
        name: "challenge",
        columns: &[
            ("id", Kind::Text),
            ("subscriber", Kind::Text),
            ("purpose", Kind::Text),
            ("binding", Kind::Text),
            ("sealed", Kind::Bytes),
            ("state", Kind::Text),
            ("created", Kind::Whole),
            ("expires", Kind::Whole),
            ("tries_left", Kind::Whole),
        ],
    },
    Table { name: "slot", columns: &[("key", Kind::Text), ("holder", Kind::Text), ("expires", Kind::Whole)] },
    Table {
        name: "verified",
        columns: &[
            ("key", Kind::Bytes),
            ("subscriber", Kind::Text),
            ("verified", Kind::Whole),
            ("used", Kind::Whole),
            ("uses", Kind::Whole),
            ("expires", Kind::Whole),
        ],
    },
    Table {
        name: "tombstone",
        columns: &[
            ("subscriber", Kind::Text),
            ("id", Kind::Text),
            ("client", Kind::Text),
            ("label", Kind::Text),
            ("created", Kind::Whole),
            ("removed", Kind::Whole),
            ("reason", Kind::Text),
        ],
    },
];

/// The tables whose rows run out, by their column `expires`.
pub fn expiring() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(|table| table.columns.iter().any(|(name, _)| *name == "expires"))
}

impl Table {
    /// The names of its columns, as a statement lists them.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }
}

/// What a store says of itself, which goes with it: counts are kept under hashes of this salt, and secrets are sealed with
/// this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub salt: [u8; 16],
    pub key_id: [u8; 4],
}

/// Takes rows in; the store is whole only after the last.
pub type Taker<'a> = &'a mut dyn FnMut(Rows) -> Result<(), StoreError>;

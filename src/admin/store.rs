//! `countersign store`: make, move, check and sweep what is remembered.

use std::io::Write;
use std::path::Path;

use clap::Subcommand;

use super::AdminError;
use super::desk::Desk;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::value::{StorePlace, Value};
use crate::domain::foreign::Foreign;
use crate::setup::{self, Database};
use crate::store::StoreError;
use crate::store::moving::{Rows, TABLES, Table};
use crate::store::postgres::{Filling, PostgresStore};
use crate::store::sqlite::SqliteStore;

/// What `store` takes.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the store in the database that plugin.ini names, or bring it to this version's schema
    Migrate,
    /// Copy the embedded store in directory FROM into the database TO, which has none. Nobody may log in meanwhile
    Copy {
        /// The directory of the embedded store
        from: String,
        /// The database, such as postgres://countersign@localhost/countersign; the rest stands in plugin.ini
        to: String,
    },
    /// Whether the store is whole, belongs to the key, and what is in it
    Check,
    /// Forget what has run out
    Purge,
}

/// Runs one.
pub fn run(command: &Command, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    match command {
        Command::Migrate => migrate(&Config::load(config)?, out),
        Command::Copy { from, to } => copy(&Config::load(config)?, from, to, out),
        Command::Check => check(config, clock, out),
        Command::Purge => purge(&Config::load(config)?, clock, out),
    }
}

fn migrate(config: &Config, out: &mut impl Write) -> Result<(), AdminError> {
    let sealer = setup::sealer(config)?;
    let key_id = sealer.newest().map(|id| id.0).unwrap_or_default();
    let (from, to) = match &config.plugin.store {
        StorePlace::Postgres(url) => {
            let Database { place, tls } = setup::database(config, url)?;
            PostgresStore::migrate(&place, tls, key_id).map_err(|error| setup::unusable(config, &error))?
        }
        StorePlace::Directory(_) => {
            // The embedded one is brought up to date by whoever opens it.
            setup::store(config)?;
            writeln!(out, "the embedded store is up to date")?;
            return Ok(());
        }
    };
    setup::check_key(config, &sealer, setup::store(config)?.opened_under())?;
    let done = match from {
        0 => format!("made a store of schema version {to}"),
        from if from == to => format!("the store is up to date: schema version {to}"),
        from => format!("brought the store from schema version {from} to {to}"),
    };
    Ok(writeln!(out, "{done}")?)
}

fn copy(config: &Config, from: &str, to: &str, out: &mut impl Write) -> Result<(), AdminError> {
    let (Some(StorePlace::Directory(from)), Some(StorePlace::Postgres(to))) =
        (StorePlace::parse(from), StorePlace::parse(to))
    else {
        return Err(AdminError::Usage("store copy: expected a directory, then postgres://USER@HOST/DATABASE".into()));
    };
    let source = SqliteStore::open(&from, setup::limits(config))?;
    // Before anything is changed there.
    let _held = source.hold()?;
    let Database { place, tls } = setup::database(config, &to)?;
    let filling = Filling::begin(&place, tls)?;
    let mut counts: Vec<(Table, u64)> = TABLES.iter().map(|table| (*table, 0)).collect();
    let mut told = Ok(());
    let identity = source.hand_over(&mut |rows: Rows| {
        let (name, count) = (rows.table.name, rows.rows.len());
        filling.take(rows)?;
        if let Some((_, sum)) = counts.iter_mut().find(|(table, _)| table.name == name) {
            *sum += u64::try_from(count).unwrap_or(0);
            if told.is_ok() {
                told = writeln!(out, "{name}: {sum}");
            }
        }
        Ok(())
    })?;
    filling.finish(identity, counts)?;
    told?;
    writeln!(out, "copied {} into the database; name it: [plugin] store", Foreign(&from.display().to_string()))?;
    Ok(writeln!(out, "Keep the directory out of use from now on: a code that is used there is good once more here")?)
}

fn check(config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let desk = Desk::open(config, clock)?;
    if let StorePlace::Directory(directory) = &desk.setup.config.plugin.store {
        let directory = desk.setup.config.resolve(directory);
        let wrong = SqliteStore::open(&directory, setup::limits(&desk.setup.config))?.check()?;
        if !wrong.is_empty() {
            return Err(StoreError::Damaged(wrong.join("; ")).into());
        }
    }
    let (mut authenticators, mut subscribers, mut last) = (0_u64, 0_u64, None);
    desk.for_each(|authenticator| {
        authenticators += 1;
        if last.as_ref() != Some(&authenticator.subscriber) {
            subscribers += 1;
            last = Some(authenticator.subscriber.clone());
        }
        Ok(())
    })?;
    writeln!(out, "the store is whole: {authenticators} authenticators of {subscribers} subscribers")?;
    Ok(writeln!(out, "whether each secret can be opened, says: countersign keys verify")?)
}

fn purge(config: &Config, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let gone = match &config.plugin.store {
        StorePlace::Postgres(url) => {
            let Database { place, tls } = setup::database(config, url)?;
            PostgresStore::open(&place, tls, setup::limits(config), None)?.purge(clock.now())?
        }
        StorePlace::Directory(directory) => {
            SqliteStore::open(&config.resolve(directory), setup::limits(config))?.purge(clock.now())?
        }
    };
    Ok(writeln!(out, "forgot {gone} rows that had run out")?)
}

//! `countersign init DIR`.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::AdminError;
use crate::config::value::StorePlace;
use crate::config::{Config, example};
use crate::files::{self, FileError};
use crate::secret::keys;
use crate::setup;
use crate::store::StoreError;
use crate::store::sqlite::SqliteStore;

/// What `init` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where: a directory that is made, or that only you can write to
    dir: PathBuf,
}

impl Args {
    /// To make everything in `dir`.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }
}

/// Makes plugin.ini, master.key and the store. What an interrupted init left is used; a finished one stays as it is.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), AdminError> {
    let dir = std::path::absolute(&args.dir).map_err(|error| AdminError::Data(error.to_string()))?;
    let ini = dir.join("plugin.ini");
    if ini.symlink_metadata().is_ok() {
        return Err(AdminError::Data(format!("{}: is there already; nothing was changed", ini.display())));
    }
    make_directory(&dir)?;
    let text = example::local();
    let config = Config::parse(&ini, &text)?;
    let key = keys::generate().map_err(|error| AdminError::Failed(format!("no randomness: {error}")))?;
    files::remove_if_empty(&dir.join("master.key"))?;
    // The key file is where the key belongs.
    unless_there(files::create_private(&dir.join("master.key"), key.expose().as_bytes()))?;
    let sealer = setup::sealer(&config)?;
    let id = sealer.newest().map(|id| id.0).unwrap_or_default();
    let StorePlace::Directory(store) = &config.plugin.store else {
        return Err(AdminError::Configuration("the example names no directory".into()));
    };
    let store = config.resolve(store);
    match SqliteStore::create(&store, id) {
        Ok(()) => {}
        Err(StoreError::File(_)) if setup::store(&config).is_ok() => {}
        Err(error) => return Err(AdminError::Data(error.to_string())),
    }
    setup::check_key(&config, &sealer, setup::store(&config)?.opened_under())?;
    // Last, so that a configuration that is there can be used.
    files::create_private(&ini, text.as_bytes()).map_err(|error| AdminError::Data(error.to_string()))?;
    let ini = ini.display();
    writeln!(out, "made {ini}, the key {} and the store {}", dir.join("master.key").display(), store.display())?;
    writeln!(out, "Keep a copy of the key apart from the store: without it, nobody who is enrolled can log in.\n")?;
    writeln!(out, "Next, enrol somebody, then ask for a verdict:\n  countersign enroll alice --config {ini}")?;
    writeln!(
        out,
        "  echo '{{\"type\":\"authenticate\",\"id\":1,\"protocol\":\"ssh\",\"gateway_user\":\"alice\"}}' | countersign serve --config {ini}"
    )?;
    Ok(())
}

fn make_directory(dir: &Path) -> Result<(), AdminError> {
    let data = |error: FileError| AdminError::Data(error.to_string());
    if dir.is_dir() {
        return files::check(dir, files::Exposure::Readable).map(|_| ()).map_err(data);
    }
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).map_err(|error| AdminError::Data(format!("{}: {error}", dir.display())))?;
    }
    files::create_private_directory(dir).map_err(data)
}

fn unless_there(created: Result<(), FileError>) -> Result<(), AdminError> {
    match created {
        Err(FileError::Io { path: _, error }) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(|error| AdminError::Data(error.to_string())),
    }
}

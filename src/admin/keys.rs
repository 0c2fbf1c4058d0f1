//! `countersign keys`: making, rotating and verifying the master key.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::AdminError;
use super::desk::Desk;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::value::SecretRef;
use crate::domain::authenticator::Authenticator;
use crate::domain::foreign::Foreign;
use crate::files::{self, Exposure};
use crate::secret::keys::{self, KeyId, Purpose};
use crate::secret::seal::{SealError, authenticator_place, key_of};

/// What can be done with keys.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write a new master key, where the configuration wants it or into FILE; an existing file stays as it is
    Generate {
        /// The file to make
        file: Option<PathBuf>,
    },
    /// Add a new key and seal every secret under it, while logins go on. An interrupted rotation is finished
    Rotate {
        /// Only write the new key: for a store that other machines share, which need the key before anything is sealed
        /// under it
        #[arg(long)]
        prepare: bool,
    },
    /// Open every sealed secret, and count by key
    Verify,
}

/// Runs the command.
pub fn run(command: &Command, config: &Path, out: &mut impl Write) -> Result<(), AdminError> {
    match command {
        Command::Generate { file: Some(file) } => generate(file, out),
        Command::Generate { file: None } => {
            let config = Config::load(config)?;
            generate(&key_file(&config)?, out)
        }
        Command::Rotate { prepare } => rotate(&Desk::open(config, Clock::System)?, *prepare, out),
        Command::Verify => verify(&Desk::open(config, Clock::System)?, out),
    }
}

/// The file that the configuration names for the key.
fn key_file(config: &Config) -> Result<PathBuf, AdminError> {
    match &config.plugin.master_key {
        SecretRef::File(path) => Ok(config.resolve(path)),
        SecretRef::Env(_) | SecretRef::Credential(_) => Err(AdminError::Data(
            "the key does not lie in a file of the configuration; name one: countersign keys generate FILE".into(),
        )),
    }
}

fn new_key() -> Result<crate::domain::secret::Secret<String>, AdminError> {
    keys::generate().map_err(|error| AdminError::Failed(format!("no randomness: {error}")))
}

fn generate(file: &Path, out: &mut impl Write) -> Result<(), AdminError> {
    // The key file is where the key belongs.
    files::create_private(file, new_key()?.expose().as_bytes()).map_err(|error| AdminError::Data(error.to_string()))?;
    Ok(writeln!(out, "made {}; keep a copy of it apart from the store", file.display())?)
}

/// The new key is in the file before anything is sealed under it, and the old ones stay there: whoever runs meanwhile
/// finds each row's key, and a rotation that is killed at any instant leaves a store that opens.
fn rotate(desk: &Desk, prepare: bool, out: &mut impl Write) -> Result<(), AdminError> {
    let sealer = &desk.setup.sealer;
    let path = match &desk.setup.config.plugin.master_key {
        SecretRef::File(_) => key_file(&desk.setup.config)?,
        SecretRef::Env(_) | SecretRef::Credential(_) => {
            return Err(AdminError::Data("only a key file (master_key = file:PATH) can be rotated".into()));
        }
    };
    let data = |error: files::FileError| AdminError::Data(error.to_string());
    let _lock = lock(&path)?;
    // Whoever waited for nothing, but opened the file before it was replaced, sees the keys of now.
    sealer.refresh().map_err(|error| AdminError::Data(error.to_string()))?;
    let under = KeyId(desk.settled(desk.store().key_id())?);
    let is_shared = desk.setup.store.directory().is_none();
    if sealer.newest() == Some(under) {
        if is_shared && !prepare {
            let text = "other machines share the store, and need the new key before anything is sealed under it; run: \
                        countersign keys rotate --prepare";
            return Err(AdminError::Data(text.into()));
        }
        let old = crate::domain::secret::Secret::new(files::read_text(&path, Exposure::Private).map_err(data)?);
        // Both stay in custody until the file is written.
        let text = crate::domain::secret::Secret::new(format!("{}\n{}", old.expose().trim_end(), new_key()?.expose()));
        files::replace_private(&path, text.expose().as_bytes()).map_err(data)?;
        sealer.refresh().map_err(|error| AdminError::Failed(error.to_string()))?;
        if prepare {
            let path = path.display();
            writeln!(
                out,
                "The new key is in {path}. Give this file to every machine that shares the store; when all have it,"
            )?;
            return Ok(writeln!(out, "run: countersign keys rotate")?);
        }
    } else if prepare {
        return Err(AdminError::Data("a new key is prepared already; run: countersign keys rotate".into()));
    } else {
        writeln!(
            out,
            "{}",
            if is_shared { "sealing under the key that was prepared" } else { "finishing an interrupted rotation" }
        )?;
    }
    let Some(newest) = sealer.newest() else { return Err(AdminError::Failed("there is no key".into())) };
    let (mut sealed, mut changed, mut flawed) = (0_u64, 0_u64, 0_u64);
    desk.for_each(|authenticator| {
        if key_of(&authenticator.sealed) == Some(newest) {
            return Ok(());
        }
        match reseal(desk, authenticator)? {
            Resealed::Yes => sealed += 1,
            Resealed::Changed => changed += 1,
            Resealed::Flawed(error) => {
                flawed += 1;
                writeln!(out, "{} ({}): {error}", Foreign(authenticator.subscriber.as_str()), authenticator.id.0)?;
            }
        }
        Ok(())
    })?;
    desk.settled(desk.store().set_key_id(newest.0))?;
    writeln!(out, "{sealed} secrets are sealed under the new key {newest}")?;
    if changed > 0 {
        writeln!(out, "{changed} were removed or changed meanwhile; countersign keys verify counts")?;
    }
    writeln!(
        out,
        "The old keys still open what was sealed under them. When `countersign keys verify` counts nothing under one,\nand fifteen minutes have passed for cookies and pending enrolments, its line can be taken out of {}.",
        path.display()
    )?;
    if flawed > 0 {
        return Err(AdminError::Data(format!(
            "{flawed} secrets cannot be opened, and stay as they are; remove or restore them"
        )));
    }
    Ok(())
}

/// The lock of the key file, which each rotation replaces: it counts only on the file that has the name now.
fn lock(path: &Path) -> Result<File, AdminError> {
    for _ in 0..8 {
        let file = File::open(path)?;
        file.try_lock().map_err(|_| AdminError::Data("another rotation is running".into()))?;
        let (ours, named) = (file.metadata()?, std::fs::symlink_metadata(path)?);
        if (ours.dev(), ours.ino()) == (named.dev(), named.ino()) {
            return Ok(file);
        }
    }
    Err(AdminError::Data("other rotations are running".into()))
}

enum Resealed {
    Yes,
    /// Removed or changed since it was read.
    Changed,
    /// It does not open.
    Flawed(SealError),
}

fn reseal(desk: &Desk, authenticator: &Authenticator) -> Result<Resealed, AdminError> {
    let place = authenticator_place(&authenticator.subscriber, &authenticator.id.0);
    let secret = match desk.setup.sealer.open(Purpose::Authenticator, &place, &authenticator.sealed) {
        Ok(secret) => secret,
        Err(error) => return Ok(Resealed::Flawed(error)),
    };
    // Sealed again at once.
    let new = desk
        .setup
        .sealer
        .seal(Purpose::Authenticator, &place, secret.expose())
        .map_err(|error| AdminError::Failed(error.to_string()))?;
    Ok(if desk.settled(desk.store().reseal(authenticator, &new))? { Resealed::Yes } else { Resealed::Changed })
}

fn verify(desk: &Desk, out: &mut impl Write) -> Result<(), AdminError> {
    let (mut counts, mut flawed) = (BTreeMap::new(), 0_u64);
    desk.for_each(|authenticator| {
        let place = authenticator_place(&authenticator.subscriber, &authenticator.id.0);
        match desk.setup.sealer.open(Purpose::Authenticator, &place, &authenticator.sealed) {
            Ok(_secret) => *counts.entry(key_of(&authenticator.sealed)).or_insert(0_u64) += 1,
            Err(error) => {
                flawed += 1;
                writeln!(out, "{} ({}): {error}", Foreign(authenticator.subscriber.as_str()), authenticator.id.0)?;
            }
        }
        Ok(())
    })?;
    for id in desk.setup.sealer.ids() {
        let newest = if desk.setup.sealer.newest() == Some(id) { ", the one that seals" } else { "" };
        writeln!(out, "key {id}: {} secrets{newest}", counts.get(&Some(id)).unwrap_or(&0))?;
    }
    if flawed > 0 {
        return Err(AdminError::Data(format!("{flawed} secrets cannot be opened")));
    }
    Ok(())
}

//! `countersign check`.

use std::io::Write;
use std::path::Path;

use super::gateway::Language;
use super::{AdminError, client};
use crate::config::{Config, schema};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::secret::service;
use crate::setup;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look at no configuration; print what one may hold, as JSON Schema
    #[arg(long, conflicts_with = "gateway")]
    schema: bool,

    #[command(flatten)]
    language: Language,
}

/// Tells every mistake: in the configuration, then about the key, the store, whether they belong together, and the secrets
/// at services. Then what may be meant otherwise.
pub fn run(args: &Args, config: &Path, out: &mut impl Write) -> Result<(), AdminError> {
    if args.schema {
        return client::write(&schema::file(), out);
    }
    let config = Config::load_as(config, args.language.reading())?;
    let (sealer, store) = (setup::sealer(&config), setup::store(&config));
    let unread = config.secrets().into_iter().filter_map(|(section, option, secret)| {
        let read = service::read(secret, |path| config.resolve(path));
        read.err().map(|error| config.mistake(&section, option, error.to_string()))
    });
    let unread: Vec<_> = unread.collect();
    let log = Log::try_open(&config).and_then(|()| Metrics::try_open(&config));
    match (sealer, store, log) {
        (Ok(sealer), Ok(store), Ok(())) if unread.is_empty() => {
            setup::check_key(&config, &sealer, store.opened_under())?;
            for warning in config.warnings() {
                writeln!(out, "warning: {warning}")?;
            }
            let rest = if config.warnings().is_empty() { "right" } else { "the rest is right" };
            writeln!(out, "{}: {rest}", config.path().display())?;
            writeln!(out, "master key {}: can be read", sealer.newest().map(|id| id.to_string()).unwrap_or_default())?;
            let place = store.directory().map_or("in the database".into(), |path| path.display().to_string());
            writeln!(out, "store {place}: can be opened")?;
            if config.remote.remotes().next().is_some() {
                writeln!(out, "remote services: not asked; for that, run: countersign doctor")?;
            }
            Ok(())
        }
        (sealer, store, log) => {
            let found = sealer.err().into_iter().chain(store.err()).chain(log.err()).chain(unread);
            let mistakes: Vec<_> = found.map(|mistake| mistake.to_string()).collect();
            Err(AdminError::Configuration(mistakes.join("\n")))
        }
    }
}

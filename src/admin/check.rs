//! `countersign check`.

use std::io::Write;
use std::path::Path;

use super::AdminError;
use crate::config::Config;
use crate::log::Log;
use crate::setup;

/// Tells every mistake: in the configuration, then about the key, the store, and whether they belong together.
pub fn run(config: &Path, out: &mut impl Write) -> Result<(), AdminError> {
    let config = Config::load(config)?;
    let (sealer, store) = (setup::sealer(&config), setup::store(&config));
    let log = Log::try_open(&config);
    match (sealer, store, log) {
        (Ok(sealer), Ok(store), Ok(())) => {
            setup::check_key(&config, &sealer, &store)?;
            writeln!(out, "{}: right", config.path().display())?;
            writeln!(out, "master key {}: can be read", sealer.newest().map(|id| id.to_string()).unwrap_or_default())?;
            writeln!(out, "store {}: can be opened", store.directory().display())?;
            Ok(())
        }
        (sealer, store, log) => {
            let found = sealer.err().into_iter().chain(store.err()).chain(log.err());
            let mistakes: Vec<_> = found.map(|mistake| mistake.to_string()).collect();
            Err(AdminError::Configuration(mistakes.join("\n")))
        }
    }
}

//! `countersign gateway NAME`: the same as `serve`, in the language of another gateway.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;

use super::{AdminError, serve};
use crate::clock::Clock;
use crate::config::Reading;
use crate::gateway::sps::Sps;
use crate::setup::Setup;

/// What `gateway` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose language
    name: Name,
}

/// The languages besides the native one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// The SPS plugin SDK: hooks and verdicts as its plugins take and give them
    Sps,
}

impl Name {
    /// By whose rules its configuration is read.
    pub const fn reading(self) -> Reading {
        match self {
            Self::Sps => Reading::Sps,
        }
    }
}

/// Serves until the end of input.
pub fn run(args: &Args, config: &Path, clock: Clock) -> Result<ExitCode, AdminError> {
    let Args { name } = args;
    match name {
        Name::Sps => serve::serve(Setup::open_as(config, name.reading())?, clock, Arc::new(Sps)),
    }
}

/// The language and the configuration, where the command line is exactly `gateway NAME --config PATH`: as for `serve`.
pub fn quick(arguments: &[OsString]) -> Option<(Args, PathBuf)> {
    match arguments {
        [_, gateway, name, option, path] if gateway == "gateway" && option == "--config" => {
            let name = Name::from_str(name.to_str()?, false).ok()?;
            Some((Args { name }, path.into()))
        }
        _ => None,
    }
}

//! `countersign gateway NAME`: the same as `serve`, in the language of another gateway.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;

use super::{AdminError, serve};
use crate::clock::Clock;
use crate::config::Reading;
use crate::gateway::Protocol;
use crate::gateway::json::Native;
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
enum Name {
    /// The SPS plugin SDK: hooks and verdicts as its plugins take and give them
    Sps,
}

impl Name {
    /// By whose rules its configuration is read.
    const fn reading(self) -> Reading {
        match self {
            Self::Sps => Reading::Sps,
        }
    }

    fn protocol(self) -> Arc<dyn Protocol + Send + Sync> {
        match self {
            Self::Sps => Arc::new(Sps),
        }
    }
}

/// In whose language configuration and requests are, for the commands that only look at them.
#[derive(Debug, clap::Args)]
pub struct Language {
    /// Read them as `countersign gateway NAME` does, such as sps
    #[arg(long, value_name = "NAME", hide_possible_values = true)]
    gateway: Option<Name>,
}

impl Language {
    /// By whose rules the configuration is read.
    pub fn reading(&self) -> Reading {
        self.gateway.map_or(Reading::Native, Name::reading)
    }

    /// How a request is read.
    pub fn protocol(&self) -> Arc<dyn Protocol + Send + Sync> {
        self.gateway.map_or_else(|| Arc::new(Native) as Arc<dyn Protocol + Send + Sync>, Name::protocol)
    }
}

/// Serves until the end of input.
pub fn run(args: &Args, config: &Path, clock: Clock) -> Result<ExitCode, AdminError> {
    let Args { name } = args;
    serve::serve(Setup::open_as(config, name.reading())?, clock, name.protocol())
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

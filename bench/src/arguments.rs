//! What `bench/run` tells this driver.

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::Result;

/// The command line.
#[derive(Default)]
pub struct Arguments {
    /// The executable that is measured.
    pub countersign: PathBuf,
    /// The empty Rust program.
    pub empty: PathBuf,
    /// An empty directory on the disk that counts.
    pub data: PathBuf,
    /// Fewer runs, and no million subscribers.
    pub quick: bool,
    /// The one section to run; all when absent.
    pub only: Option<String>,
    /// The PAM service that asks pam_google_authenticator for `data`/hotp; the same name with `-floor` permits all.
    pub pam: Option<String>,
    /// The Python plugin SDK.
    pub sdk: Option<Sdk>,
    /// Whether valgrind is there.
    pub valgrind: bool,
    /// Where the programs of PostgreSQL are.
    pub postgres: Option<PathBuf>,
    /// Where the plot goes.
    pub plot: Option<PathBuf>,
}

/// A Python that can import the plugin SDK, and the script that calls it.
pub struct Sdk {
    pub python: PathBuf,
    pub script: PathBuf,
}

impl Arguments {
    /// Reads the command line.
    pub fn parse() -> Result<Arguments> {
        let mut arguments = Arguments::default();
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("countersign") => arguments.countersign = parser.value()?.into(),
                Long("empty") => arguments.empty = parser.value()?.into(),
                Long("data") => arguments.data = parser.value()?.into(),
                Long("quick") => arguments.quick = true,
                Long("only") => arguments.only = Some(parser.value()?.string()?),
                Long("pam") => arguments.pam = Some(parser.value()?.string()?),
                Long("sdk") => {
                    arguments.sdk = Some(Sdk { python: parser.value()?.into(), script: parser.value()?.into() });
                }
                Long("valgrind") => arguments.valgrind = true,
                Long("postgres") => arguments.postgres = Some(parser.value()?.into()),
                Long("plot") => arguments.plot = Some(parser.value()?.into()),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(arguments)
    }
}

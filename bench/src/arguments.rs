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
    /// The PAM service that asks pam_google_authenticator for `data`/hotp; with an ending, those of other modules.
    pub pam: Option<String>,
    /// A Python with packages that are measured.
    pub python: Option<Python>,
    /// Whether valgrind is there.
    pub valgrind: bool,
    /// Where the programs of PostgreSQL are.
    pub postgres: Option<PathBuf>,
    /// Where the plot goes.
    pub plot: Option<PathBuf>,
}

/// A Python, and a script for each package that it can import.
#[derive(Default)]
pub struct Python {
    pub program: PathBuf,
    pub sdk: Option<PathBuf>,
    pub pyotp: Option<PathBuf>,
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
                Long("python") => arguments.python().program = parser.value()?.into(),
                Long("sdk") => arguments.python().sdk = Some(parser.value()?.into()),
                Long("pyotp") => arguments.python().pyotp = Some(parser.value()?.into()),
                Long("valgrind") => arguments.valgrind = true,
                Long("postgres") => arguments.postgres = Some(parser.value()?.into()),
                Long("plot") => arguments.plot = Some(parser.value()?.into()),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(arguments)
    }

    fn python(&mut self) -> &mut Python {
        self.python.get_or_insert_default()
    }
}

//! `countersign connect`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::{AdminError, serve};
use crate::serve::connect::{self, Connecting};

/// How long an answer is waited for, in seconds: longer than most deadlines of plugin.ini.
const WAIT: u64 = 120;

/// What `connect` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The socket of a process that was started with serve --listen
    path: PathBuf,

    /// How long an answer is waited for before it is a reject: longer than the deadline there
    #[arg(long, value_name = "SECONDS", default_value_t = WAIT, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
}

/// The same, where the command line is exactly `connect PATH`: a gateway may start one for each login.
pub fn quick(arguments: &[OsString]) -> Option<Args> {
    match arguments {
        [_, connect, path] if connect == "connect" && !path.as_encoded_bytes().starts_with(b"-") => {
            Some(Args { path: path.into(), wait: WAIT })
        }
        _ => None,
    }
}

/// Joins standard input and output to the socket until the end of input.
pub fn run(args: Args) -> Result<ExitCode, AdminError> {
    let Args { path, wait } = args;
    let connecting = Connecting { path, wait: Duration::from_secs(wait) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let (input, output) = serve::standard()?;
    runtime.block_on(connect::run(connecting, input, output))?;
    Ok(ExitCode::SUCCESS)
}

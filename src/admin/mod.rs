//! The administrator's tool: one file a subcommand.

mod access;
mod audit;
mod authenticator;
mod backup;
mod challenge;
mod check;
mod client;
mod connect;
mod demo;
mod desk;
mod doctor;
mod documents;
mod enroll;
mod explain;
mod export;
mod fresh;
mod gateway;
mod handed;
mod import;
mod init;
mod inquiry;
mod keys;
mod list;
mod lock;
mod page;
mod proof;
mod qr;
mod recovery;
mod serve;
mod simulate;
mod store;
mod target;
mod temporary;
mod unlock;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thiserror::Error;

use crate::clock::Clock;
use crate::config::{Mistake, Mistakes};
use crate::confine;
use crate::files::FileError;
use crate::log;
use crate::store::StoreError;

/// Where the configuration is looked for when nobody says.
pub const CONFIG: &str = "/etc/countersign/plugin.ini";

/// The second factor of a session gateway.
///
/// A gateway starts `countersign serve` and writes JSON verdict requests to its input, one a line; each is answered by
/// one verdict on its output. All other commands are for the administrator.
///
/// First steps: `countersign demo` shows a login; `countersign init DIR` makes a configuration.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, max_term_width = 110, arg_required_else_help = true)]
pub struct Cli {
    /// The configuration. Give gateways an absolute path
    #[arg(long, global = true, value_name = "PATH", default_value = CONFIG)]
    config: PathBuf,

    /// Take this for the time, in seconds since 1970, or what stands in the file at this absolute path
    #[cfg(debug_assertions)]
    #[arg(long, global = true, hide = true, value_name = "SECONDS", value_parser = test_clock)]
    test_clock: Option<Clock>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer requests on standard input with verdicts on standard output (protocol.md)
    Serve(serve::Args),
    /// Pass requests on to a process that serves a socket: for a gateway that may read neither key nor store
    Connect(connect::Args),
    /// Answer the requests of a gateway that speaks its own language (docs/gateways)
    Gateway(gateway::Args),
    /// Make a configuration, a master key and an empty store in DIR
    Init(init::Args),
    /// Enrol USER: show a new secret as QR code, and count it once a code proves it
    Enroll(enroll::Args),
    /// Take over authenticators that exist already
    #[command(subcommand)]
    Import(import::Command),
    /// Write a sealed backup of everything that is enrolled; import backup reads it
    Export(export::Args),
    /// List who is enrolled
    List(list::ListArgs),
    /// Show what is known of one user: authenticators, failures, waits; never a secret
    Show(list::ShowArgs),
    /// Choose, rename, disable and remove what somebody holds
    #[command(subcommand)]
    Authenticator(authenticator::Command),
    /// Remove authenticators of a user: with a current code of theirs on standard input, or for a reason
    Remove(authenticator::RemoveArgs),
    /// Make and count recovery codes, which stand in for an authenticator that is lost
    #[command(subcommand)]
    Recovery(recovery::Command),
    /// Hand out a code that stands in for the authenticator of USER for a while
    Bypass(handed::BypassArgs),
    /// Hand out a code by which USER may enrol at the login, where that takes one (enrolment_ticket)
    Ticket(handed::TicketArgs),
    /// Who has to wait after failures
    #[command(subcommand)]
    Lock(lock::Command),
    /// Forget the failures of a user or a source address, so that the next attempt is heard
    Unlock(unlock::Args),
    /// Have an action of another program confirmed, once, by a user's second factor
    #[command(subcommand)]
    Challenge(challenge::Command),
    /// Tell every mistake in the configuration, and whether key and store can be used
    Check(check::Args),
    /// Go from the configuration to a live answer of each client, step by step, and say what to do where one is wrong
    Doctor(doctor::Args),
    /// What is configured, and what can be, as data for other programs
    #[command(subcommand)]
    Client(client::Command),
    /// Decide a saved request line again, without side effects, and say why each step goes the way it goes
    Explain(explain::Args),
    /// Print plugin.ini.example: every option with its meaning and default
    Example,
    /// Make, move, check and sweep what is remembered
    #[command(subcommand)]
    Store(store::Command),
    /// Make, rotate and verify the master key
    #[command(subcommand)]
    Keys(keys::Command),
    /// Show a whole login: a gateway, a phone and a real child process, in a temporary directory
    Demo,
    /// Play a service that goes wrong, to see what the gateway makes of it (docs/simulate.md)
    Simulate(simulate::Args),
    /// Print a completion script for SHELL
    Completions(documents::CompletionsArgs),
    /// Print the manual page, or write one page a command into DIR
    Man(documents::ManArgs),
}

/// Why a command did not do what it was asked, with its exit status (sysexits.h).
#[derive(Debug, Error)]
pub enum AdminError {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Data(String),
    #[error("{0}")]
    NotPermitted(String),
    #[error("{0}")]
    Configuration(String),
    #[error("{0}")]
    Failed(String),
    #[error("input or output failed: {0}")]
    Output(#[from] io::Error),
}

impl AdminError {
    const fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Data(_) => 65,
            Self::Failed(_) | Self::Output(_) => 70,
            Self::NotPermitted(_) => 77,
            Self::Configuration(_) => 78,
        }
    }
}

impl From<Mistakes> for AdminError {
    fn from(mistakes: Mistakes) -> Self {
        Self::Configuration(mistakes.to_string())
    }
}

impl From<Mistake> for AdminError {
    fn from(mistake: Mistake) -> Self {
        Self::Configuration(mistake.to_string())
    }
}

impl From<FileError> for AdminError {
    fn from(error: FileError) -> Self {
        if error.is_forbidden() { Self::NotPermitted(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    confine::guard_memory();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(config) = serve::quick(&arguments) {
        return finish(serve::run_standard(&config, Clock::System));
    }
    if let Some(args) = connect::quick(&arguments) {
        return finish(connect::run(args));
    }
    if let Some((args, config)) = gateway::quick(&arguments) {
        return finish(gateway::run(args, &config, Clock::System));
    }
    match Cli::try_parse_from(arguments) {
        Ok(cli) => finish(run(cli)),
        Err(error) => {
            let status = if error.use_stderr() { 64 } else { 0 };
            if error.use_stderr() && std::env::args_os().nth(1).is_some_and(|command| command == "gateway") {
                // Few gateways keep what is written to standard error.
                log::last_words(None, error.to_string().lines().next().unwrap_or_default());
            }
            // Where neither output can be written, the status is all that is left.
            let _ = error.print();
            ExitCode::from(status)
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, AdminError> {
    let config = cli.config;
    #[cfg(debug_assertions)]
    let clock = cli.test_clock.unwrap_or(Clock::System);
    #[cfg(not(debug_assertions))]
    let clock = Clock::System;
    let out = &mut io::stdout().lock();
    match cli.command {
        Command::Serve(args) => return serve::run(&args, &config, clock),
        Command::Connect(args) => return connect::run(args),
        Command::Gateway(args) => return gateway::run(args, &config, clock),
        Command::Init(args) => init::run(&args, out),
        Command::Enroll(args) => enroll::run(&args, &config, clock, out),
        Command::Import(command) => import::run(&command, &config, clock, out),
        Command::Export(args) => export::run(&args, &config, clock, out),
        Command::List(args) => list::list(&args, &config, out),
        Command::Show(args) => list::show(&args, &config, clock, out),
        Command::Authenticator(command) => authenticator::run(&command, &config, clock, out),
        Command::Remove(args) => authenticator::remove(&args, &config, clock, out),
        Command::Recovery(command) => recovery::run(&command, &config, clock, out),
        Command::Bypass(args) => handed::bypass(&args, &config, clock, out),
        Command::Ticket(args) => handed::ticket(&args, &config, clock, out),
        Command::Lock(command) => lock::run(&command, &config, clock, out),
        Command::Unlock(args) => unlock::run(&args, &config, out),
        Command::Challenge(command) => challenge::run(&command, &config, clock, out),
        Command::Check(args) => check::run(&args, &config, out),
        Command::Client(command) => client::run(&command, &config, out),
        Command::Doctor(args) => return doctor::run(&args, &config, clock, out),
        Command::Explain(args) => explain::run(&args, &config, clock, out),
        Command::Example => Ok(out.write_all(crate::config::example::text().as_bytes())?),
        Command::Keys(command) => keys::run(&command, &config, out),
        Command::Store(command) => store::run(&command, &config, clock, out),
        Command::Demo => demo::run(out),
        Command::Simulate(args) => return simulate::run(&args, out),
        Command::Completions(args) => documents::completions(&args, out),
        Command::Man(args) => documents::man(&args, out),
    }?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A point in time with up to three decimals, or where one stands.
#[cfg(debug_assertions)]
fn test_clock(text: &str) -> Result<Clock, std::num::ParseIntError> {
    if text.starts_with('/') {
        return Ok(Clock::Shown(PathBuf::from(text).leak()));
    }
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, "0"));
    Ok(Clock::Fixed(crate::domain::time::UnixTime(seconds.parse()?), format!("{decimals:0<3}").parse()?))
}

fn finish(ended: Result<ExitCode, AdminError>) -> ExitCode {
    match ended {
        Ok(status) => status,
        // Whoever closed the output, such as `head`, has what they wanted.
        Err(AdminError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // One mistake a line, each with its place; nothing else to tell it to.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(error.status())
        }
    }
}

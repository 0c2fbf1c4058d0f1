//! What `enroll` takes.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use crate::admin::target::TargetArgs;

/// What `enroll` takes.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(flatten)]
    pub new: New,

    #[command(subcommand)]
    pub pending: Option<Pending>,
}

/// What a new enrolment takes.
#[derive(Debug, clap::Args)]
pub struct New {
    /// Who: the name under which the gateway presents them
    #[arg(required = true, value_name = "USER")]
    pub user: Option<String>,

    /// The client that will verify it: totp, hotp, "notify NAME", or a service, which enrols its users itself
    #[arg(long, value_name = "NAME", default_value = "totp")]
    pub client: String,

    /// What the authenticator is called, such as phone
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,

    #[command(flatten)]
    pub target: TargetArgs,

    /// Read a code that proves it from standard input; asked for anyway on a terminal
    #[arg(long)]
    pub confirm: bool,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// How a pending enrolment is shown.
#[derive(Debug, clap::Args)]
pub struct OutputArgs {
    /// How the QR code is shown: terminal, unless --page is given; svg and png go to --qr-file
    #[arg(long, value_name = "FORM", value_enum)]
    pub qr: Option<Form>,

    /// Where --qr svg or png goes: a new file, or - for standard output and nothing else on it
    #[arg(long, value_name = "FILE", requires = "qr")]
    pub qr_file: Option<PathBuf>,

    /// Write a new file: an HTML page for whoever enrols, with all that they need
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,

    /// Print JSON: user, label, challenge, uri, secret, qr, expires, recovery_codes
    #[arg(long)]
    pub json: bool,
}

/// A form of a QR code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Half-block characters
    Terminal,
    Svg,
    Png,
    /// The secret as text only
    None,
}

#[derive(Debug, Subcommand)]
pub enum Pending {
    /// Show the secret of a pending enrolment again
    Show {
        /// The challenge that enroll printed
        id: String,

        #[command(flatten)]
        output: OutputArgs,
    },
    /// Prove a pending enrolment: reads a code from standard input
    Confirm {
        /// The challenge that enroll printed
        id: String,
        /// Print JSON: enrolled, user, authenticator
        #[arg(long)]
        json: bool,
    },
}

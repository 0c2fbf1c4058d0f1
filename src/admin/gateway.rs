//! `countersign gateway NAME`: the same decision as `serve`, in the language of another gateway.

mod left;
mod once;
mod openvpn;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::serve::{self, Terms};
use super::{AdminError, serve::serve};
use crate::clock::Clock;
use crate::config::gateway::{FirstFactor, GatewayOptions, LogTo};
use crate::config::value::{Count, Destination, Optional, Seconds, Value};
use crate::config::{Config, Reading};
use crate::confine::{self, Plan};
use crate::domain::secret::SecretBytes;
use crate::gateway::Protocol;
use crate::gateway::checkpassword::Checkpassword;
use crate::gateway::conduct::{Conduct, Name, OnError, PasswordField};
use crate::gateway::json::Native;
use crate::gateway::pam_exec::PamExec;
use crate::gateway::pwauth::Pwauth;
use crate::gateway::radius_exec::RadiusExec;
use crate::gateway::sps::Sps;
use crate::gateway::squid::{Channels, Squid, SquidHelper};
use crate::log;
use crate::setup::Setup;

/// What `gateway` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose language
    name: Name,

    #[command(flatten)]
    said: Said,

    /// Answer what comes from the process that was started by the gateway, when that waits no more
    #[arg(long, hide = true)]
    detached: bool,

    /// What the gateway puts behind the command, such as the name of a file; after -- also what begins with a dash
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true)]
    arguments: Vec<OsString>,
}

/// What goes before the section of plugin.ini.
#[derive(Clone, Debug, Default, clap::Args)]
struct Said {
    /// The password field holds password, SEP and code
    #[arg(long, value_name = "SEP", value_parser = value::<String>)]
    append_otp: Option<String>,

    /// What the password field holds: code, or checked (a password that the gateway checks)
    #[arg(long, value_name = "WHAT", value_parser = value::<PasswordField>)]
    field: Option<PasswordField>,

    /// The longest that a login may take
    #[arg(long, value_name = "SECONDS", value_parser = value::<Seconds<1, 600>>)]
    wait: Option<Seconds<1, 600>>,

    /// The shortest that a run may take
    #[arg(long, value_name = "MS", value_parser = value::<Count<0, 10000>>)]
    min_runtime: Option<Count<0, 10000>>,

    /// What the gateway is told where no verdict could be reached: tempfail or reject
    #[arg(long, value_name = "WHAT", value_parser = value::<OnError>)]
    on_error: Option<OnError>,

    /// Where the log goes: syslog, or a file by its absolute path
    #[arg(long, value_name = "WHERE", value_parser = value::<LogTo>)]
    log: Option<LogTo>,

    /// Squid: each line begins with the number of a channel (concurrency=N)
    #[arg(long)]
    concurrent: bool,
}

/// Reads an argument as plugin.ini's value of the same name.
fn value<T: Value>(text: &str) -> Result<T, String> {
    if text.is_empty() { Err(format!("expected {}", T::expected())) } else { T::read(text) }
}

impl ValueEnum for Name {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Sps => "The SPS plugin SDK: hooks and verdicts as its plugins take and give them",
            Self::RadiusExec => "FreeRADIUS, by rlm_exec",
            Self::Openvpn => "OpenVPN: auth-user-pass-verify and client-crresponse",
            Self::SquidBasic => "Squid: a helper of auth_param basic",
            Self::SquidExt => "Squid: a helper of external_acl_type",
            Self::PamExec => "PAM, by pam_exec.so",
            Self::Pwauth => "Apache's mod_authnz_external, and whoever else writes name and password on two lines",
            Self::Checkpassword => "Dovecot, and whoever else has passwords checked on descriptor 3",
        };
        Some(PossibleValue::new(self.word()).help(help))
    }
}

/// In whose language configuration and requests are, for the commands that only look at them.
#[derive(Debug, clap::Args)]
pub struct Language {
    /// Read them as `countersign gateway NAME` does, such as sps
    #[arg(long, value_name = "NAME", hide_possible_values = true)]
    gateway: Option<Dialect>,
}

/// The languages in which configuration and requests are lines of text, and other than ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dialect {
    Sps,
}

impl Language {
    /// By whose rules the configuration is read.
    pub fn reading(&self) -> Reading {
        match self.gateway {
            Some(Dialect::Sps) => Reading::Sps,
            None => Reading::Native,
        }
    }

    /// How a request is read.
    pub fn protocol(&self) -> Arc<dyn Protocol + Send + Sync> {
        match self.gateway {
            Some(Dialect::Sps) => Arc::new(Sps),
            None => Arc::new(Native),
        }
    }
}

/// Serves the gateway until it has its answer, or until the end of input.
pub fn run(args: Args, config: &Path, clock: Clock) -> Result<ExitCode, AdminError> {
    let Args { name, said, detached, arguments } = args;
    let destination = said.destination();
    // What follows checkpassword has descriptors of the server's.
    if name != Name::Checkpassword {
        confine::keep_descriptors();
    }
    let served = match name {
        Name::Sps => return serve(Config::load_as(config, Reading::Sps)?, clock, Arc::new(Sps)),
        _ if !config.is_absolute() => {
            let text =
                format!("--config {}: gateways start programs anywhere; give an absolute path", config.display());
            Err(AdminError::Usage(text))
        }
        Name::SquidBasic => lines(name, &said, SquidHelper::Basic, config, clock),
        Name::SquidExt => lines(name, &said, SquidHelper::ExternalAcl, config, clock),
        Name::RadiusExec => Ok(once::run(&RadiusExec, name, said, arguments, config, clock)),
        Name::Openvpn if detached => openvpn::run_detached(said, arguments, config, clock),
        Name::Openvpn => Ok(openvpn::run(said, arguments, config, clock)),
        Name::PamExec => Ok(once::run(&PamExec, name, said, arguments, config, clock)),
        Name::Pwauth => Ok(once::run(&Pwauth, name, said, arguments, config, clock)),
        Name::Checkpassword => Ok(once::run(&Checkpassword, name, said, arguments, config, clock)),
    };
    served.inspect_err(|error| log::last_words(destination.as_ref(), &error.to_string()))
}

/// Serves a gateway that keeps its process, and writes a line a question.
fn lines(name: Name, said: &Said, helper: SquidHelper, config: &Path, clock: Clock) -> Result<ExitCode, AdminError> {
    let Prepared { config, conduct, first_factor } = prepare(name, said, config)?;
    let confined = Plan::of(&config, first_factor.as_ref(), |_| ()).carry_out();
    let setup = Setup::of(config)?;
    let deadline = conduct.wait;
    let mut key = vec![0; 32];
    let failed = |_| AdminError::Failed("the operating system gives no randomness".into());
    getrandom::fill(&mut key).map_err(failed)?;
    let key = SecretBytes::new(key);
    let channels = if said.concurrent { Channels::Numbered } else { Channels::One };
    let protocol = Arc::new(Squid { helper, conduct, channels, key });
    serve::converse(setup, clock, serve::standard, Terms { protocol, deadline, first_factor, confined })?;
    Ok(ExitCode::SUCCESS)
}

/// How a gateway is served.
struct Prepared {
    config: Config,
    conduct: Conduct,
    first_factor: Option<FirstFactor>,
}

fn prepare(name: Name, said: &Said, config: &Path) -> Result<Prepared, AdminError> {
    let config = Config::load(config)?;
    let options = said.over(config.gateway(name));
    let conduct = options.conduct(name, Duration::from_secs(config.plugin.deadline.0));
    let GatewayOptions { first_factor: Optional(first_factor), log: Optional(log), .. } = options;
    let config = match log {
        Some(LogTo(destination)) => config.logging_to(destination),
        // Few of them keep what a program says to standard error, and some show it to the claimant.
        None if config.logging.destination == Destination::Stderr => config.logging_to(Destination::Syslog),
        None => config,
    };
    let config = if first_factor.is_some() { config.behind_first_factor(name.word()) } else { config };
    Ok(Prepared { config, conduct, first_factor })
}

impl Said {
    /// The same options, with what was said in their place.
    fn over(&self, options: GatewayOptions) -> GatewayOptions {
        let Self { append_otp, field, wait, min_runtime, on_error, log, concurrent: _ } = self.clone();
        GatewayOptions {
            append_otp: Optional(append_otp.or(options.append_otp.0)),
            field: field.unwrap_or(options.field),
            first_factor: options.first_factor,
            wait: Optional(wait.or(options.wait.0)),
            min_runtime: Optional(min_runtime.or(options.min_runtime.0)),
            on_error: on_error.unwrap_or(options.on_error),
            log: Optional(log.or(options.log.0)),
        }
    }

    /// What is known of the conduct before plugin.ini was read.
    fn conduct(&self, name: Name) -> Conduct {
        self.over(GatewayOptions::usual()).conduct(name, Duration::MAX)
    }

    /// Where the log goes, where the command line says so.
    fn destination(&self) -> Option<Destination> {
        self.log.as_ref().map(|log| log.0.clone())
    }
}

/// The language and the configuration, where the command line is exactly `gateway NAME --config PATH` and whatever the
/// gateway puts behind it: as for `serve`, the general parser would cost as much as the verification.
pub fn quick(arguments: &[OsString]) -> Option<(Args, PathBuf)> {
    match arguments {
        [_, gateway, name, option, path, rest @ ..] if gateway == "gateway" && option == "--config" => {
            let is_option = |argument: &OsString| argument.as_encoded_bytes().starts_with(b"-");
            let (name, said) = (Name::named(name.to_str()?)?, Said::default());
            let arguments = rest.to_vec();
            (!rest.iter().any(is_option)).then(|| (Args { name, said, detached: false, arguments }, path.into()))
        }
        _ => None,
    }
}

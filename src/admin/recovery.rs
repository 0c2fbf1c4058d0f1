//! `countersign recovery`: codes for the day on which the authenticator is lost.

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use super::AdminError;
use super::audit::Act;
use super::desk::{self, Desk};
use super::handed::{new_set, no_randomness};
use crate::clock::Clock;
use crate::config::policy::RecoveryOptions;
use crate::domain::authenticator::Authenticator;
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::domain::secret::Secret;
use crate::otp::look_up::Code;
use crate::store::RECOVERY;

/// What can be done with recovery codes.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make new codes for USER and show them, once; those of before count no more
    Generate(Args),
    /// Tell how many codes USER has left
    Count(Args),
}

/// Whose codes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose
    user: String,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the set of codes is called.
pub const LABEL: &str = "recovery codes";

/// Runs the command.
pub fn run(command: &Command, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    match command {
        Command::Generate(Args { user, json }) => {
            let desk = Desk::open(config, clock)?;
            let subscriber = desk::subscriber(user)?;
            if desk.authenticators_of(&subscriber)?.is_empty() {
                let user = Foreign(subscriber.as_str());
                writeln!(io::stderr(), "note: {user} holds nothing else here; is the name right?")?;
            }
            desk.audit(&Act {
                action: "recovery_generate",
                subscriber: &subscriber,
                what: LABEL,
                grounds: "by an administrator",
            })?;
            let codes = generate(&desk, &subscriber)?;
            show(&subscriber, &codes, *json, out)
        }
        Command::Count(Args { user, json }) => {
            let desk = Desk::open(config, clock)?;
            let subscriber = Subscriber::canonical(user);
            let left = desk.settled(desk.store().recovery_codes(&subscriber))?;
            match json {
                true => writeln!(out, "{}", json!({"user": subscriber.as_str(), "left": left}))?,
                false => writeln!(out, "{left}")?,
            }
            Ok(())
        }
    }
}

/// Makes new recovery codes for `subscriber`, in place of those of before. This is where they can be seen.
pub fn generate(desk: &Desk, subscriber: &Subscriber) -> Result<Vec<Secret<String>>, AdminError> {
    let codes = new_codes(&desk.setup.config.policy.recovery())?;
    if codes.is_empty() {
        return Err(AdminError::Data("[recovery] count is 0: nobody is given recovery codes here".into()));
    }
    let (set, hashes) = new_set_of(desk, subscriber, &codes)?;
    desk.settled(desk.store().set_recovery_codes(&set, &hashes))?;
    Ok(codes)
}

/// New codes, as they are shown; nobody's yet.
pub fn new_codes(options: &RecoveryOptions) -> Result<Vec<Secret<String>>, AdminError> {
    let length = usize::try_from(options.length.0).unwrap_or(12);
    let one = |_| {
        let code = Code::generate(&options.alphabet.0, length).map_err(no_randomness)?;
        Ok(code.shown(options.separator.0, length.div_ceil(2)))
    };
    (0..options.count.0).map(one).collect()
}

/// The set that `codes` are for `subscriber`, and their hashes; not yet in the store.
pub fn new_set_of(
    desk: &Desk,
    subscriber: &Subscriber,
    codes: &[Secret<String>],
) -> Result<(Authenticator, Vec<Vec<u8>>), AdminError> {
    let (set, scheme) = new_set(desk, subscriber, RECOVERY, LABEL)?;
    // Read as whoever types them will be; wiped when dropped.
    let hash = |code: &Secret<String>| Code::typed(code.expose()).map(|code| scheme.hash(&code));
    let hashes = codes.iter().map(hash).collect::<Option<_>>();
    let unreadable = || AdminError::Failed("the recovery codes cannot be read".into());
    Ok((set, hashes.ok_or_else(unreadable)?))
}

fn show(subscriber: &Subscriber, codes: &[Secret<String>], json: bool, out: &mut impl Write) -> Result<(), AdminError> {
    // Shown to whoever hands them out, this once.
    let shown: Vec<&str> = codes.iter().map(|code| code.expose().as_str()).collect();
    if json {
        return Ok(writeln!(out, "{}", json!({"user": subscriber.as_str(), "recovery_codes": shown}))?);
    }
    writeln!(
        out,
        "Recovery codes of {}. Each is good once, at any prompt for a code:\n",
        Foreign(subscriber.as_str())
    )?;
    for code in shown {
        writeln!(out, "  {code}")?;
    }
    Ok(writeln!(out, "\nThey are not shown again, and those of before count no more.")?)
}

//! `countersign remove`.

use std::io::Write;
use std::path::Path;

use super::AdminError;
use super::desk::Desk;
use crate::clock::Clock;
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;

/// What `remove` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose
    user: String,

    /// Which: the id that list prints. Not needed where there is one only
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    id: Option<String>,

    /// All of them
    #[arg(long)]
    all: bool,
}

/// Removes authenticators with their secrets.
pub fn run(args: &Args, config: &Path, out: &mut impl Write) -> Result<(), AdminError> {
    let desk = Desk::open(config, Clock::System)?;
    let subscriber = Subscriber::canonical(&args.user);
    let mut found = desk.authenticators_of(&subscriber)?;
    let user = Foreign(subscriber.as_str());
    if found.is_empty() {
        return Err(AdminError::Data(format!("{user} is not enrolled")));
    }
    if let Some(id) = &args.id {
        found.retain(|authenticator| authenticator.id.0 == *id);
        if found.is_empty() {
            return Err(AdminError::Data(format!(
                "{user} has no authenticator {}; countersign show lists them",
                Foreign(id)
            )));
        }
    }
    if found.len() > 1 && !args.all {
        return Err(AdminError::Usage(format!(
            "{user} has {} authenticators; say which with --id, or --all",
            found.len()
        )));
    }
    for authenticator in found {
        if desk.settled(desk.store().remove(&subscriber, &authenticator.id))? {
            writeln!(out, "removed \"{}\" ({}) of {user}", Foreign(&authenticator.label), authenticator.id.0)?;
        }
    }
    Ok(())
}

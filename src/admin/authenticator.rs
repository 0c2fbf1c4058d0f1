//! `countersign authenticator`: what becomes of one that is enrolled; and `countersign remove`.

use std::io::Write;
use std::path::Path;

use super::AdminError;
use super::audit::Act;
use super::desk::{self, Desk};
use super::list::{self, ListArgs, ShowArgs};
use super::proof::Grounds;
use crate::clock::Clock;
use crate::domain::authenticator::{Authenticator, Mechanism, Standing};
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::store::Renamed;

/// What can be done with authenticators.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// The same as `countersign list`
    List(ListArgs),
    /// The same as `countersign show`
    Show(ShowArgs),
    /// Ask for this one first when the user logs in
    Default(One),
    /// Give it another label
    Rename {
        #[command(flatten)]
        which: Which,
        /// The new label
        label: String,
    },
    /// Let nothing that it proves count, until it is enabled
    Disable(One),
    /// Let it count again
    Enable(One),
    /// The same as `countersign remove`
    Remove(RemoveArgs),
}

/// One authenticator.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Whose
    user: String,

    /// Which: the id or the label that list prints
    id: String,
}

/// One authenticator, and why something is done to it.
#[derive(Debug, clap::Args)]
pub struct One {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    grounds: Grounds,
}

/// What `remove` takes.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// Whose
    user: String,

    /// Which: the id that list prints. Not needed where there is one only, beside codes that were handed out
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    id: Option<String>,

    /// All of them
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    grounds: Grounds,
}

/// Runs the command.
pub fn run(command: &Command, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    match command {
        Command::List(args) => list::list(args, config, out),
        Command::Show(args) => list::show(args, config, clock, out),
        Command::Default(one) => {
            let desk = Desk::open(config, clock)?;
            let found = find(&desk, &one.which)?;
            if found.standing == Standing::Disabled {
                return Err(AdminError::Data(format!(
                    "\"{}\" is disabled; enable it first: countersign authenticator enable USER {}",
                    Foreign(&found.label),
                    found.id.0
                )));
            }
            if is_rest(&found) {
                let label = Foreign(&found.label);
                return Err(AdminError::Data(format!("\"{label}\" is taken at any prompt, and asked for at none")));
            }
            change(&desk, one, &found, "default", "make it the default")?;
            let id = Some(&found.id);
            done(desk.settled(desk.store().set_default(&found.subscriber, id))?, &found)?;
            Ok(writeln!(out, "{} is asked for \"{}\" ({}) first", who(&found), Foreign(&found.label), found.id.0)?)
        }
        Command::Rename { which, label } => {
            let desk = Desk::open(config, clock)?;
            let found = find(&desk, which)?;
            let label = desk::label(label)?;
            match desk.settled(desk.store().rename(&found.subscriber, &found.id, label))? {
                Renamed::Yes => Ok(writeln!(out, "\"{}\" ({}) is \"{label}\" now", Foreign(&found.label), found.id.0)?),
                Renamed::LabelTaken => Err(AdminError::Data(format!(
                    "{} has an authenticator called \"{label}\"; choose another label",
                    who(&found)
                ))),
                Renamed::Gone => done(false, &found),
            }
        }
        Command::Disable(one) => stand(one, config, clock, Standing::Disabled, out),
        Command::Enable(one) => stand(one, config, clock, Standing::Active, out),
        Command::Remove(args) => remove(args, config, clock, out),
    }
}

/// Removes authenticators with their secrets.
pub fn remove(args: &RemoveArgs, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let desk = Desk::open(config, clock)?;
    let subscriber = Subscriber::canonical(&args.user);
    let mut found = desk.authenticators_of(&subscriber)?;
    let user = Foreign(subscriber.as_str());
    if found.is_empty() {
        return Err(AdminError::Data(format!("{user} is not enrolled")));
    }
    if let Some(id) = &args.id {
        found.retain(|authenticator| authenticator.id.0 == *id);
        if found.is_empty() {
            return Err(unknown(&subscriber, id));
        }
    }
    if args.id.is_none() && !args.all {
        let count = found.iter().filter(|one| !is_rest(one)).count();
        // What is handed out for the day on which it is lost goes with it.
        if count > 1 {
            return Err(AdminError::Usage(format!("{user} has {count} authenticators; say which with --id, or --all")));
        }
    }
    let grounds = args.grounds.establish(&desk, &subscriber, "remove it")?;
    for authenticator in found {
        let what = format!("{} {}", authenticator.id.0, authenticator.label);
        desk.audit(&Act { action: "remove", subscriber: &subscriber, what: &what, grounds: &grounds })?;
        if desk.settled(desk.store().remove(&subscriber, &authenticator.id, desk.now(), &grounds))? {
            writeln!(out, "removed \"{}\" ({}) of {user}", Foreign(&authenticator.label), authenticator.id.0)?;
        }
    }
    let left = desk.authenticators_of(&subscriber)?;
    if !left.is_empty() && left.iter().all(is_rest) {
        writeln!(
            out,
            "{user} can still log in with codes that were handed out; to end that: countersign remove {user}"
        )?;
    }
    Ok(())
}

/// Whether it is codes that were handed out, for the day on which an authenticator is lost.
fn is_rest(one: &Authenticator) -> bool {
    one.mechanism == Mechanism::LookUp
}

fn stand(one: &One, config: &Path, clock: Clock, to: Standing, out: &mut impl Write) -> Result<(), AdminError> {
    let desk = Desk::open(config, clock)?;
    let found = find(&desk, &one.which)?;
    let (word, action, purpose) = match to {
        Standing::Disabled => ("disabled", "disable", "disable it"),
        Standing::Active => ("enabled", "enable", "enable it"),
    };
    if to == Standing::Disabled && found.mechanism == Mechanism::Elsewhere {
        let (label, client) = (Foreign(&found.label), &found.client);
        return Err(AdminError::Data(format!("\"{label}\" is kept by {client}, which decides: disable it there")));
    }
    if found.standing == to {
        return Ok(writeln!(out, "\"{}\" ({}) was {word} before", Foreign(&found.label), found.id.0)?);
    }
    change(&desk, one, &found, action, purpose)?;
    done(desk.settled(desk.store().set_standing(&found.subscriber, &found.id, to))?, &found)?;
    Ok(writeln!(out, "\"{}\" ({}) of {} is {word}", Foreign(&found.label), found.id.0, who(&found))?)
}

fn change(
    desk: &Desk,
    one: &One,
    found: &Authenticator,
    action: &'static str,
    purpose: &str,
) -> Result<(), AdminError> {
    let subscriber = &found.subscriber;
    let grounds = one.grounds.establish(desk, subscriber, purpose)?;
    let what = format!("{} {}", found.id.0, found.label);
    desk.audit(&Act { action, subscriber, what: &what, grounds: &grounds })
}

fn find(desk: &Desk, which: &Which) -> Result<Authenticator, AdminError> {
    let subscriber = Subscriber::canonical(&which.user);
    let held = desk.authenticators_of(&subscriber)?;
    let by_id = held.iter().find(|known| known.id.0 == which.id);
    by_id
        .or_else(|| held.iter().find(|known| known.label == which.id))
        .cloned()
        .ok_or_else(|| unknown(&subscriber, &which.id))
}

fn unknown(subscriber: &Subscriber, id: &str) -> AdminError {
    let user = Foreign(subscriber.as_str());
    AdminError::Data(format!("{user} has no authenticator {}; countersign show lists them", Foreign(id)))
}

fn done(is_done: bool, found: &Authenticator) -> Result<(), AdminError> {
    if is_done { Ok(()) } else { Err(unknown(&found.subscriber, &found.id.0)) }
}

fn who(found: &Authenticator) -> String {
    Foreign(found.subscriber.as_str()).to_string()
}

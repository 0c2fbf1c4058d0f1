//! `countersign list` and `countersign show`.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::AdminError;
use super::desk::{self, Desk, shown};
use crate::clock::Clock;
use crate::domain::authenticator::Authenticator;
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::store::{Origin, Ruling};

/// What `list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// What `show` takes.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Who
    user: String,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists every authenticator.
pub fn list(args: &ListArgs, config: &Path, out: &mut impl Write) -> Result<(), AdminError> {
    let desk = Desk::open(config, Clock::System)?;
    let mut first = true;
    desk.for_each(|authenticator| {
        if args.json {
            write!(out, "{}{}", if first { "[\n" } else { ",\n" }, described(authenticator))?;
        } else {
            if first {
                writeln!(out, "{:24} {:8}  {:20}  {:20}  LAST USED", "USER", "ID", "LABEL", "ENROLLED")?;
            }
            let Authenticator {
                id,
                subscriber,
                client: _,
                label,
                totp: _,
                sealed: _,
                last_step: _,
                created,
                last_used,
            } = authenticator;
            let (user, label) = (Foreign(subscriber.as_str()).to_string(), Foreign(label).to_string());
            let used = last_used.map_or("never".to_owned(), shown);
            writeln!(out, "{user:24} {:8}  {label:20}  {:20}  {used}", id.0, shown(*created))?;
        }
        first = false;
        Ok(())
    })?;
    match (args.json, first) {
        (true, true) => writeln!(out, "[]")?,
        (true, false) => writeln!(out, "\n]")?,
        (false, true) => writeln!(out, "nobody is enrolled")?,
        (false, false) => {}
    }
    Ok(())
}

/// Shows one user.
pub fn show(args: &ShowArgs, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let desk = Desk::open(config, clock)?;
    let subscriber = Subscriber::canonical(&args.user);
    let authenticators = desk.authenticators_of(&subscriber)?;
    let origin = Origin { subscriber, source: None };
    let wait = match desk.settled(desk.store().standing(&origin, desk.now()))? {
        Ruling::Heard => 0,
        Ruling::Wait { wait, by: _ } => wait.as_secs(),
    };
    let name = origin.subscriber.as_str();
    if args.json {
        let authenticators: Vec<_> = authenticators.iter().map(described).collect();
        return Ok(writeln!(
            out,
            "{}",
            json!({"user": name, "authenticators": authenticators, "retry_after_s": wait})
        )?);
    }
    if authenticators.is_empty() {
        writeln!(out, "{} is not enrolled; run: countersign enroll USER", Foreign(name))?;
    }
    for authenticator in &authenticators {
        let Authenticator { id, subscriber: _, client, label, totp, sealed: _, last_step, created, last_used } =
            authenticator;
        writeln!(out, "{} \"{}\" ({})", Foreign(name), Foreign(label), id.0)?;
        writeln!(out, "  client     {client}: {}, {} digits, {} s", totp.algorithm.name(), totp.digits, totp.period)?;
        writeln!(out, "  enrolled   {}", shown(*created))?;
        writeln!(out, "  last used  {}", last_used.map_or("never".to_owned(), shown))?;
        if let Some(step) = last_step {
            writeln!(out, "  used up to time step {step}")?;
        }
    }
    if wait > 0 {
        writeln!(
            out,
            "too many failures: the next attempt is heard in {wait} s; to end that: countersign unlock USER"
        )?;
    }
    Ok(())
}

/// Everything about an authenticator but its secret.
fn described(authenticator: &Authenticator) -> Value {
    let Authenticator { id, subscriber, client, label, totp, sealed: _, last_step, created, last_used } = authenticator;
    json!({
        "user": subscriber.as_str(),
        "id": id.0,
        "client": client,
        "label": label,
        "algorithm": totp.algorithm.name(),
        "digits": totp.digits,
        "period": totp.period,
        "enrolled": desk::shown(*created),
        "last_used": last_used.map(desk::shown),
        "last_step": last_step,
    })
}

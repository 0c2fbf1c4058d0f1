//! `countersign list` and `countersign show`.

use std::io::Write;
use std::path::Path;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::AdminError;
use super::desk::{self, Desk, shown};
use crate::clock::Clock;
use crate::domain::authenticator::{Authenticator, Hotp, Mechanism, Standing, Tombstone, Totp};
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::store::{Counter, Origin, RECOVERY, Ruling};

/// What `list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only those of this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// Only those that this client verifies: a section of plugin.ini, such as totp
    #[arg(long, value_name = "NAME")]
    client: Option<String>,

    /// Only those that stand so
    #[arg(long, value_name = "STATE")]
    state: Option<StateName>,

    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// How an authenticator stands.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum StateName {
    Active,
    Disabled,
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

impl ListArgs {
    fn wants(&self, authenticator: &Authenticator) -> bool {
        let state = match self.state {
            Some(StateName::Active) => authenticator.standing == Standing::Active,
            Some(StateName::Disabled) => authenticator.standing == Standing::Disabled,
            None => true,
        };
        let user = self.user.as_deref().is_none_or(|user| Subscriber::canonical(user) == authenticator.subscriber);
        state && user && self.client.as_ref().is_none_or(|client| *client == authenticator.client)
    }
}

/// Lists every authenticator that is wanted.
pub fn list(args: &ListArgs, config: &Path, out: &mut impl Write) -> Result<(), AdminError> {
    let desk = Desk::open(config, Clock::System)?;
    let mut first = true;
    desk.for_each(|authenticator| {
        if !args.wants(authenticator) {
            return Ok(());
        }
        if args.json {
            write!(out, "{}{}", if first { "[\n" } else { ",\n" }, described(authenticator))?;
        } else {
            if first {
                writeln!(out, "{:24} {:8}  {:20}  {:20}  LAST USED", "USER", "ID", "LABEL", "ENROLLED")?;
            }
            let (user, label) =
                (Foreign(authenticator.subscriber.as_str()).to_string(), Foreign(&authenticator.label).to_string());
            let used = authenticator.last_used.map_or("never".to_owned(), shown);
            let id = &authenticator.id.0;
            writeln!(
                out,
                "{user:24} {id:8}  {label:20}  {:20}  {used}{}",
                shown(authenticator.created),
                marks(authenticator)
            )?;
        }
        first = false;
        Ok(())
    })?;
    match (args.json, first) {
        (true, true) => writeln!(out, "[]")?,
        (true, false) => writeln!(out, "\n]")?,
        (false, true) if args.user.is_none() && args.client.is_none() && args.state.is_none() => {
            writeln!(out, "nobody is enrolled")?;
        }
        (false, true) => writeln!(out, "there are none of these")?,
        (false, false) => {}
    }
    Ok(())
}

/// Shows one user.
pub fn show(args: &ShowArgs, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let desk = Desk::open(config, clock)?;
    let subscriber = Subscriber::canonical(&args.user);
    let authenticators = desk.authenticators_of(&subscriber)?;
    let removed = desk.settled(desk.store().tombstones(&subscriber))?;
    let has_codes = authenticators.iter().any(|authenticator| authenticator.client == RECOVERY);
    let codes = if has_codes { Some(desk.settled(desk.store().recovery_codes(&subscriber))?) } else { None };
    let origin = Origin { subscriber, counter: Counter::Codes, source: None };
    let wait = match desk.settled(desk.store().standing(&origin, desk.now()))? {
        Ruling::Heard => 0,
        Ruling::Wait { wait, by: _ } => wait.as_secs(),
    };
    let name = origin.subscriber.as_str();
    if args.json {
        let authenticators: Vec<_> = authenticators.iter().map(described).collect();
        let removed: Vec<_> = removed.iter().map(buried).collect();
        let shown = json!({
            "user": name, "authenticators": authenticators, "recovery_codes_left": codes, "removed": removed,
            "retry_after_s": wait
        });
        return Ok(writeln!(out, "{shown}")?);
    }
    if authenticators.is_empty() {
        writeln!(out, "{} is not enrolled; run: countersign enroll USER", Foreign(name))?;
    }
    for authenticator in &authenticators {
        let mark = marks(authenticator);
        writeln!(out, "{} \"{}\" ({}){mark}", Foreign(name), Foreign(&authenticator.label), authenticator.id.0)?;
        writeln!(out, "  client     {}: {}", Foreign(&authenticator.client), parameters(authenticator.mechanism))?;
        writeln!(out, "  enrolled   {}", shown(authenticator.created))?;
        writeln!(out, "  last used  {}", authenticator.last_used.map_or("never".to_owned(), shown))?;
        if let Some(step) = authenticator.last_step {
            let what = if authenticator.mechanism.totp().is_some() { "time step" } else { "counter" };
            writeln!(out, "  used up to {what} {step}")?;
        }
        if let Some(left) = codes.filter(|_| authenticator.client == RECOVERY) {
            writeln!(out, "  left       {left}")?;
        }
    }
    for Tombstone { id, client: _, label, created: _, removed, reason } in &removed {
        let why = if reason.is_empty() { String::new() } else { format!(": {}", Foreign(reason)) };
        writeln!(out, "removed \"{}\" ({}) at {}{why}", Foreign(label), id.0, shown(*removed))?;
    }
    if wait > 0 {
        writeln!(
            out,
            "too many failures: the next attempt is heard in {wait} s; to end that: countersign unlock USER"
        )?;
    }
    Ok(())
}

fn marks(authenticator: &Authenticator) -> &'static str {
    match (authenticator.standing, authenticator.is_default) {
        (Standing::Disabled, _) => "  disabled",
        (Standing::Active, true) => "  default",
        (Standing::Active, false) => "",
    }
}

/// How it is verified, in words.
pub fn parameters(mechanism: Mechanism) -> String {
    match mechanism {
        Mechanism::Totp(Totp { algorithm, digits, period }) => {
            format!("{}, {digits} digits, {period} s", algorithm.name())
        }
        Mechanism::Hotp(Hotp { algorithm, digits }) => format!("{}, {digits} digits, by counter", algorithm.name()),
        Mechanism::LookUp => "codes that were handed out".into(),
        Mechanism::Sent => "codes that are sent".into(),
        Mechanism::Elsewhere => "kept by the service".into(),
    }
}

/// Everything about an authenticator but its secret.
fn described(authenticator: &Authenticator) -> Value {
    let Authenticator {
        id,
        subscriber,
        client,
        label,
        mechanism,
        sealed: _,
        last_step,
        created,
        last_used,
        standing,
        is_default,
    } = authenticator;
    let (algorithm, digits, period) = match mechanism {
        Mechanism::Totp(Totp { algorithm, digits, period }) => (Some(algorithm.name()), Some(digits), Some(period)),
        Mechanism::Hotp(Hotp { algorithm, digits }) => (Some(algorithm.name()), Some(digits), None),
        Mechanism::LookUp | Mechanism::Sent | Mechanism::Elsewhere => (None, None, None),
    };
    json!({
        "user": subscriber.as_str(),
        "id": id.0,
        "client": client,
        "label": label,
        "kind": mechanism.word(),
        "algorithm": algorithm,
        "digits": digits,
        "period": period,
        "default": is_default,
        "disabled": *standing == Standing::Disabled,
        "enrolled": desk::shown(*created),
        "last_used": last_used.map(desk::shown),
        "last_step": last_step,
    })
}

fn buried(tombstone: &Tombstone) -> Value {
    let Tombstone { id, client, label, created, removed, reason } = tombstone;
    json!({
        "id": id.0,
        "client": client,
        "label": label,
        "enrolled": desk::shown(*created),
        "removed": desk::shown(*removed),
        "reason": reason,
    })
}

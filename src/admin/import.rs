//! `countersign import`: authenticators that people hold already.

use std::io::{self, Write};
use std::path::Path;

use super::AdminError;
use super::desk::{self, Desk};
use super::enroll::{LABEL, NewAuthenticator, free_label, label_taken};
use crate::clock::Clock;
use crate::domain::authenticator::Authenticator;
use crate::domain::foreign::Foreign;
use crate::otp::uri::OtpAuth;
use crate::store::Added;

/// How many authenticators are enrolled in one step; logins go on between two.
const STEP: usize = 500;

/// The sources of an import.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// otpauth:// URIs on standard input, one a line; at once active
    Uri(Args),
}

/// What `import uri` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose they are
    #[arg(long, value_name = "USER", required_unless_present = "user_from_label")]
    user: Option<String>,

    /// Take the user's name from each URI: the part of its label behind the issuer
    #[arg(long, conflicts_with_all = ["user", "label"])]
    user_from_label: bool,

    /// What the authenticator is called, such as phone
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

/// Imports what stands on standard input. A flawed line ends it; what stood 500 lines before it may be enrolled.
pub fn run(command: &Command, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let Command::Uri(args) = command;
    let desk = Desk::open(config, clock)?;
    let mut input = io::stdin().lock();
    let (mut pending, mut count, mut number) = (Vec::new(), 0_usize, 0_usize);
    while let Some(line) = desk::read_line(&mut input)? {
        number += 1;
        // Parsed at once; the line is wiped when dropped.
        let text = line.expose().trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let flawed = |what: String| AdminError::Data(format!("line {number}: {what}; {count} enrolled before it"));
        let otpauth = OtpAuth::parse(text).map_err(|error| flawed(error.to_string()))?;
        let authenticator = take(&desk, args, &otpauth, &pending).map_err(|error| flawed(error.to_string()))?;
        if !args.user_from_label {
            let user = Foreign(authenticator.subscriber.as_str()).to_string();
            let (label, id) = (authenticator.label.clone(), authenticator.id.0.clone());
            add(&desk, std::slice::from_ref(&authenticator))?;
            writeln!(out, "{user} is enrolled with \"{label}\" ({id})")?;
            count += 1;
            continue;
        }
        pending.push(authenticator);
        if pending.len() == STEP {
            add(&desk, &pending)?;
            count += pending.len();
            pending.clear();
        }
    }
    add(&desk, &pending)?;
    count += pending.len();
    match (count, args.user_from_label) {
        (0, _) => Err(AdminError::Data("there is no otpauth:// line on standard input".into())),
        (count, true) => Ok(writeln!(out, "{count} enrolled")?),
        (_, false) => Ok(()),
    }
}

fn take(desk: &Desk, args: &Args, otpauth: &OtpAuth, pending: &[Authenticator]) -> Result<Authenticator, AdminError> {
    let subscriber = desk::subscriber(args.user.as_deref().unwrap_or(&otpauth.account))?;
    let label = if args.user_from_label && !pending.iter().any(|p| p.subscriber == subscriber) {
        // Whether it is free is seen when it is added: one look-up a line less.
        LABEL.to_owned()
    } else {
        let mut existing = desk.authenticators_of(&subscriber)?;
        existing.extend(pending.iter().filter(|p| p.subscriber == subscriber).cloned());
        free_label(&existing, args.label.as_deref())?
    };
    NewAuthenticator {
        label: &label,
        kind: crate::otp::uri::Kind::Totp(otpauth.totp),
        secret: &otpauth.secret,
        last_step: None,
    }
    .seal(desk, &subscriber)
}

fn add(desk: &Desk, authenticators: &[Authenticator]) -> Result<(), AdminError> {
    match desk.settled(desk.store().add(authenticators))? {
        Added::Yes => Ok(()),
        Added::LabelTaken | Added::ChallengeGone | Added::NotFirst => Err(match authenticators {
            [one] => label_taken(&one.label),
            _ => AdminError::Data(
                "one of these users has an authenticator already; import it with --user and --label".into(),
            ),
        }),
    }
}

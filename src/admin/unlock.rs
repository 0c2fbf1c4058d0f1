//! `countersign unlock`.

use std::io::Write;
use std::path::Path;

use super::AdminError;
use super::desk::Desk;
use crate::clock::Clock;
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::engine::push_slot;
use crate::policy::source::canonical_source;
use crate::store::UnlockKey;

/// What `unlock` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose failures
    #[arg(required_unless_present = "source")]
    user: Option<String>,

    /// The failures of this address
    #[arg(long, value_name = "ADDRESS", conflicts_with = "user")]
    source: Option<String>,
}

/// Forgets failures, and that a push was reported or is outstanding.
pub fn run(args: &Args, config: &Path, out: &mut impl Write) -> Result<(), AdminError> {
    let desk = Desk::open(config, Clock::System)?;
    let (name, had) = match (&args.user, &args.source) {
        (Some(user), _) => {
            let subscriber = Subscriber::canonical(user);
            let failures = desk.settled(desk.store().unlock(UnlockKey::Subscriber(&subscriber)))?;
            let pushes = desk.settled(desk.store().clear_slots(&push_slot(&subscriber)))?;
            let had = failures || pushes;
            (subscriber.as_str().to_owned(), had)
        }
        (None, Some(source)) => {
            let source = canonical_source(source);
            let had = desk.settled(desk.store().unlock(UnlockKey::Source(&source)))?;
            (source, had)
        }
        (None, None) => return Err(AdminError::Usage("unlock: whom?".into())),
    };
    let what = if had { "the failures are forgotten" } else { "there were no failures" };
    Ok(writeln!(out, "{}: {what}", Foreign(&name))?)
}

//! `countersign enroll`: an authenticator that counts once a code proves it.

mod args;
mod confirm;
mod elsewhere;
mod label;
mod output;
mod pending;
mod show;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

pub use args::Args;
pub use label::{first_free, free_label, label_taken};
pub use show::Shown;

use super::desk::Desk;
use super::{AdminError, target};
use crate::clock::Clock;
use args::{New, OutputArgs, Pending};
use output::{Output, Text};
use pending::Enrolment;

/// Enrols, shows or confirms.
pub fn run(args: &Args, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let Args { new, pending } = args;
    match (pending, &new.user) {
        (Some(Pending::Show { id, output }), _) => {
            let (args, output) = (output, Output::of(output)?);
            let desk = Desk::open(config, clock)?;
            if let Some(pending) = target::Enrolment::find(&desk, id)? {
                return pending.show(&desk, text_only(args)?, out);
            }
            let pending = Enrolment::find(&desk, id)?;
            pending.audit(&desk, "enrol_show", "by an administrator")?;
            let shown = pending.shown();
            shown.write_files(&desk, &output)?;
            shown.print(&output, out)
        }
        (Some(Pending::Confirm { id, json }), _) => {
            let desk = Desk::open(config, clock)?;
            match target::Enrolment::find(&desk, id)? {
                Some(pending) => pending.confirm(&desk, *json, out),
                None => Enrolment::find(&desk, id)?.confirm(&desk, *json, out),
            }
        }
        (None, Some(user)) => begin(user, new, config, clock, out),
        (None, None) => Err(AdminError::Usage("enroll: who?".into())),
    }
}

/// A new enrolment: opened, shown, and proved where somebody is there to type.
fn begin(user: &str, new: &New, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let New { user: _, client, label, target, confirm, output } = new;
    if target::is_meant(client) {
        return begin_target(user, new, config, clock, out);
    }
    target.refuse()?;
    if elsewhere::is_meant(client) {
        return elsewhere::note(user, new, config, clock, out);
    }
    let output = Output::of(output)?;
    if *confirm && output.text == Text::Nothing {
        return Err(AdminError::Usage("--confirm asks on standard output, where --qr-file - goes; name a file".into()));
    }
    let desk = Desk::open(config, clock)?;
    let pending = Enrolment::open(&desk, user, client, label.as_deref())?;
    note_unverified(&desk, client)?;
    let shown = pending.shown();
    let noted = pending.audit(&desk, "enrol_begin", "by an administrator");
    if let Err(error) = noted.and_then(|()| shown.write_files(&desk, &output)) {
        // Nobody has seen it, so nobody can prove it. Where it cannot be ended now, it expires.
        let _ = pending.cancel(&desk);
        return Err(error);
    }
    shown.print(&output, out)?;
    out.flush()?;
    let asks = match output.text {
        Text::Secret(_) | Text::Files => *confirm || io::stdin().is_terminal(),
        Text::Json(_) | Text::Nothing => *confirm,
    };
    if asks {
        return pending.confirm(&desk, matches!(output.text, Text::Json(_)), out);
    }
    let (id, config) = (&pending.challenge.id.0, desk.setup.config.path().display());
    let next = format!("Nothing counts yet. To prove it: countersign enroll confirm {id} --config {config}");
    match output.text {
        Text::Json(_) => Ok(()),
        Text::Secret(_) | Text::Files => Ok(writeln!(out, "{next}")?),
        Text::Nothing => Ok(writeln!(io::stderr(), "{next}")?),
    }
}

/// The same for a target of sent codes, which has no secret to show.
fn begin_target(user: &str, new: &New, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let New { user: _, client, label, target, confirm, output } = new;
    let json = text_only(output)?;
    let desk = Desk::open(config, clock)?;
    let pending = target::Enrolment::open(&desk, user, client, label.as_deref(), target, out)?;
    note_unverified(&desk, client)?;
    pending.print(json, out)?;
    out.flush()?;
    if *confirm || (io::stdin().is_terminal() && !json) {
        return pending.confirm(&desk, json, out);
    }
    if json { Ok(()) } else { pending.print_next(&desk, out) }
}

/// Tells, beside what is printed, that a login will not ask for what is enrolled.
fn note_unverified(desk: &Desk, client: &str) -> Result<(), AdminError> {
    match desk.unverified(client) {
        Some(note) => Ok(writeln!(io::stderr(), "{note}")?),
        None => Ok(()),
    }
}

/// Whether JSON is printed, where nothing but text can be.
fn text_only(output: &OutputArgs) -> Result<bool, AdminError> {
    let OutputArgs { qr, qr_file, page, json } = output;
    if qr.is_some() || qr_file.is_some() || page.is_some() {
        let text = "a target has no secret to show; leave out --qr, --qr-file and --page";
        return Err(AdminError::Usage(text.into()));
    }
    Ok(*json)
}

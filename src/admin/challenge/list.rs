//! `countersign challenge list`.

use std::io::Write;

use super::AdminError;
use super::Inquiry;
use super::Shown;
use super::desk;
use crate::domain::action::Told;
use crate::domain::challenge::{Challenge, Purpose};
use crate::domain::foreign::Foreign;
use crate::engine::action::Action;

/// How many are read at once.
const PAGE: u32 = 500;

/// Lists the challenges of actions that the store still holds.
pub fn run(inquiry: &Inquiry, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
    let mut last: Option<Challenge> = None;
    loop {
        let (after, now) = (last.as_ref().map(|challenge| &challenge.id), inquiry.desk.now());
        let page = inquiry.desk.settled(inquiry.desk.store().challenges(Purpose::Action, after, PAGE, now))?;
        for challenge in &page {
            one(inquiry, challenge, json, out)?;
        }
        match page.into_iter().next_back() {
            Some(challenge) => last = Some(challenge),
            None => return Ok(()),
        }
    }
}

fn one(inquiry: &Inquiry, challenge: &Challenge, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
    let opened = Action::open(challenge.clone(), &inquiry.desk.setup.sealer)
        .map_err(|error| AdminError::Failed(error.to_string()))?;
    let Some(action) = opened else { return Ok(()) };
    let told = action.told(inquiry.desk.now());
    let user = challenge.subscriber.as_str();
    if json {
        let (created, tries_left) = (Some(challenge.created.0), Some(challenge.tries_left));
        return Shown { created, tries_left, ..Shown::of(user, &told) }.write(out);
    }
    let Told { id, state, purpose, expires: _ } = told;
    let (created, user, purpose) = (desk::shown(challenge.created), Foreign(user), Foreign(purpose.as_str()));
    Ok(writeln!(out, "{}  {created}  {:<9}  {user}  {purpose}", id.0, state.word())?)
}

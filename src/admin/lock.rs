//! `countersign lock list`: who has to wait, for what, and for how long.

use std::io::Write;
use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::AdminError;
use super::desk::Desk;
use crate::clock::Clock;
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::engine::{PUSH_REPORTED, push_slot};
use crate::store::{Counter, Origin, Ruling};

/// What `lock` takes.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List who is enrolled and has to wait after failures, or is sent no push after one that was not theirs. Unlock ends it
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Lists. Addresses and names that nobody enrolled are known by hashes only, and not listed.
pub fn run(command: &Command, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let Command::List { json } = command;
    let desk = Desk::open(config, clock)?;
    let mut subscribers: Vec<Subscriber> = Vec::new();
    desk.for_each(|authenticator| {
        if subscribers.last() != Some(&authenticator.subscriber) {
            subscribers.push(authenticator.subscriber.clone());
        }
        Ok(())
    })?;
    let mut listed = Vec::new();
    for subscriber in subscribers {
        for (counter, what) in [(Counter::Codes, "codes"), (Counter::LookUp, "recovery codes")] {
            let origin = Origin { subscriber: subscriber.clone(), counter, source: None };
            match desk.settled(desk.store().standing(&origin, desk.now()))? {
                Ruling::Wait { wait, by: _ } => listed.push((subscriber.clone(), what, wait.as_secs().max(1))),
                Ruling::Heard => {}
            }
        }
        let slots = desk.settled(desk.store().slots(&push_slot(&subscriber), desk.now()))?;
        let reported = slots.into_iter().find(|(holder, _)| holder == PUSH_REPORTED);
        listed.extend(reported.map(|(_, until)| (subscriber, "pushes", until.since(desk.now()).max(1))));
    }
    if *json {
        let listed: Vec<_> = listed
            .iter()
            .map(|(subscriber, what, wait)| json!({"user": subscriber.as_str(), "what": what, "retry_after_s": wait}))
            .collect();
        return Ok(writeln!(out, "{}", json!(listed))?);
    }
    for (subscriber, what, wait) in &listed {
        writeln!(out, "{}: {what} are heard again in {wait} s", Foreign(subscriber.as_str()))?;
    }
    if listed.is_empty() {
        writeln!(out, "nobody who is enrolled has to wait")?;
    }
    Ok(())
}

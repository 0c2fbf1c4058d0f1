//! `countersign challenge`: the challenges of other programs, from a command line.

mod list;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::Subcommand;
use serde::Serialize;

use super::audit::Act as Done;
use super::inquiry::Inquiry;
use super::{AdminError, desk};
use crate::clock::Clock;
use crate::domain::action::{Act, ActionBinding, ActionPurpose, Claim, Lifetime, Told};
use crate::domain::challenge::{ChallengeId, Purpose, State};
use crate::domain::claimant::Subscriber;
use crate::domain::fault::Class;
use crate::domain::foreign::Foreign;
use crate::domain::request::{Answers, Beginning, Conversation, Dialogue, Kind, Request, Session, SessionCookie};
use crate::domain::secret::Secret;
use crate::domain::verdict::{NeedInfo, Reject, Verdict};
use crate::engine::Decision;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open a challenge: USER is to confirm an action. Prints its id
    Request {
        /// Who is to confirm it: the name under which the gateway presents them
        user: String,
        /// What they confirm, in words that they read: at most 64 bytes
        #[arg(long, value_name = "TEXT")]
        purpose: String,
        /// What it is tied to, such as a hash of the order: at most 256 bytes, given again at check and use
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        binding: String,
        /// How long it waits: at most an hour
        #[arg(long, value_name = "SECONDS")]
        lifetime: Option<u64>,
        /// Print JSON: user, challenge, state, purpose, expires_s, prompt
        #[arg(long)]
        json: bool,
    },
    /// Confirm it: reads what the user answers from standard input, or asks on a terminal
    Confirm {
        /// The challenge that request printed
        id: String,
        /// Print JSON: user, challenge, state, purpose, expires_s
        #[arg(long)]
        json: bool,
    },
    /// Say whether it could be used now: it is confirmed, and not used. Changes nothing
    Check(Claimed),
    /// Use it, once: of all who do, one is told yes
    Use(Claimed),
    /// Take it back: nobody can confirm or use it any more
    Cancel {
        /// The challenge that request printed
        id: String,
    },
    /// List the challenges of the last day
    List {
        /// Print JSON, an object a line
        #[arg(long)]
        json: bool,
    },
    /// Forget those that are over, logins and enrolments among them, before they are a day old
    Purge,
}

#[derive(Debug, clap::Args)]
pub struct Claimed {
    /// The challenge that request printed
    id: String,
    /// What it was requested with
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    binding: String,
    /// What it must be for
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// Print JSON: user, challenge, state, purpose, expires_s
    #[arg(long)]
    json: bool,
}

/// Requests, confirms, checks, uses, cancels, lists or forgets.
pub fn run(command: &Command, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let inquiry = Inquiry::open(config, clock)?;
    match command {
        Command::Request { user, purpose, binding, lifetime, json } => {
            let user = desk::subscriber(user).map(|_canonical| user.trim().to_owned())?;
            let act = Act::Request {
                purpose: parse_purpose(purpose)?,
                binding: parse_binding(binding)?,
                lifetime: lifetime.map(parse_lifetime).transpose()?,
            };
            request(&inquiry, &user, act, *json, out)
        }
        Command::Confirm { id, json } => confirm(&inquiry, id, *json, out),
        Command::Check(claimed) => claim(&inquiry, claimed, Act::Check, "can be used", out),
        Command::Use(claimed) => claim(&inquiry, claimed, Act::Use, "is used", out),
        Command::Cancel { id } => cancel(&inquiry, id, out),
        Command::List { json } => list::run(&inquiry, *json, out),
        Command::Purge => {
            let count = inquiry.desk.settled(inquiry.desk.store().forget_challenges(inquiry.desk.now()))?;
            Ok(writeln!(out, "forgot {count}")?)
        }
    }
}

fn request(inquiry: &Inquiry, user: &str, act: Act, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
    let decision = inquiry.decide(&asked(user, act, Answers::default(), None))?;
    let (Verdict::NeedInfo(NeedInfo { question, cookie: _ }), Some(told)) = (&decision.verdict, &decision.challenge)
    else {
        return Err(refused(&decision));
    };
    if json {
        return Shown { prompt: Some(&question.prompt), ..Shown::of(user, told) }.write(out);
    }
    let Told { id, state: _, purpose, expires } = told;
    let (user, purpose, config) =
        (Foreign(user), Foreign(purpose.as_str()), inquiry.desk.setup.config.path().display());
    writeln!(out, "{}: {user} has {expires} s to confirm {purpose}", id.0)?;
    Ok(writeln!(out, "Nothing is confirmed yet. For that: countersign challenge confirm {} --config {config}", id.0)?)
}

/// Asks on, until there is a verdict.
fn confirm(inquiry: &Inquiry, id: &str, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
    let (id, user) = find(inquiry, id)?;
    let act = Act::Confirm { id };
    let mut input = io::stdin().lock();
    let mut decision = inquiry.decide(&asked(user.as_str(), act.clone(), Answers::default(), None))?;
    loop {
        let (question, cookie) = match decision.verdict {
            Verdict::NeedInfo(NeedInfo { question, cookie }) => (question, cookie),
            Verdict::Accept(_) => return said(user.as_str(), &decision, "is confirmed", json, out),
            Verdict::Reject(_) => return Err(refused(&decision)),
        };
        if io::stdin().is_terminal() && !json {
            write!(out, "{}", Foreign(&question.prompt))?;
            out.flush()?;
        }
        let typed = desk::read_line(&mut input)?
            .ok_or_else(|| AdminError::Data("no answer was given; nothing was confirmed".into()))?;
        // Without its end; into the custody of the answers.
        let answers = Answers::new([(question.key, typed.expose().trim_end_matches(['\r', '\n']).to_owned())]);
        decision = inquiry.decide(&asked(user.as_str(), act.clone(), answers, cookie))?;
    }
}

fn claim(
    inquiry: &Inquiry,
    claimed: &Claimed,
    act: impl Fn(Claim) -> Act,
    yes: &str,
    out: &mut impl Write,
) -> Result<(), AdminError> {
    let Claimed { id, binding, purpose, json } = claimed;
    let (id, user) = find(inquiry, id)?;
    let purpose = purpose.as_deref().map(parse_purpose).transpose()?;
    let act = act(Claim { id, purpose, binding: parse_binding(binding)? });
    let decision = inquiry.decide(&asked(user.as_str(), act, Answers::default(), None))?;
    match &decision.verdict {
        Verdict::Accept(_) => said(user.as_str(), &decision, yes, *json, out),
        Verdict::Reject(_) | Verdict::NeedInfo(_) => Err(refused(&decision)),
    }
}

fn cancel(inquiry: &Inquiry, id: &str, out: &mut impl Write) -> Result<(), AdminError> {
    let (id, user) = find(inquiry, id)?;
    let now = inquiry.desk.now();
    let (action, grounds) = ("challenge_cancel", "by an administrator");
    inquiry.desk.audit(&Done { action, subscriber: &user, what: &id.0, grounds })?;
    for from in [State::New, State::InProcess, State::Confirmed] {
        if inquiry.desk.settled(inquiry.desk.store().move_challenge(&id, from, State::Cancelled, now))? {
            return Ok(writeln!(out, "{} is cancelled", id.0)?);
        }
    }
    Err(AdminError::Data(format!("the challenge {} is over already; nothing is left to cancel", id.0)))
}

/// The challenge of an action, and whose it is.
fn find(inquiry: &Inquiry, id: &str) -> Result<(ChallengeId, Subscriber), AdminError> {
    let wanted = ChallengeId(id.trim().to_lowercase());
    let found = inquiry.desk.settled(inquiry.desk.store().challenge(&wanted, inquiry.desk.now()))?;
    match found.filter(|challenge| challenge.purpose == Purpose::Action) {
        Some(challenge) => Ok((challenge.id, challenge.subscriber)),
        None => Err(AdminError::Data(format!(
            "the challenge {} is not known; request one: countersign challenge request USER --purpose TEXT",
            Foreign(id)
        ))),
    }
}

/// A request of nobody's session.
fn asked(user: &str, act: Act, answers: Answers, cookie: Option<String>) -> Request {
    Request {
        kind: Kind::Challenge(Box::new(act)),
        name: None,
        session: Session { gateway_user: Some(user.to_owned()), ..Session::default() },
        answers,
        cookie: cookie.map(Secret::new),
        session_cookie: SessionCookie::default(),
        deadline: None,
        dialogue: Dialogue::ByProtocol,
        beginning: Beginning::Anywhere,
        conversation: Conversation::default(),
    }
}

fn said(user: &str, decision: &Decision, what: &str, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
    let Some(told) = &decision.challenge else { return Err(AdminError::Failed("the challenge is gone".into())) };
    if json {
        return Shown::of(user, told).write(out);
    }
    let Told { id, state: _, purpose, expires: _ } = told;
    Ok(writeln!(out, "{} {what}: {} confirmed {}", id.0, Foreign(user), Foreign(purpose.as_str()))?)
}

/// What `--json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    user: &'a str,
    challenge: &'a str,
    state: &'static str,
    purpose: &'a str,
    expires_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tries_left: Option<u32>,
}

impl<'a> Shown<'a> {
    fn of(user: &'a str, told: &'a Told) -> Self {
        let Told { id, state, purpose, expires } = told;
        let (challenge, state, purpose, expires_s) = (&id.0, state.word(), purpose.as_str(), *expires);
        Self { user, challenge, state, purpose, expires_s, prompt: None, created: None, tries_left: None }
    }

    fn write(&self, out: &mut impl Write) -> Result<(), AdminError> {
        let line = serde_json::to_string(self).map_err(|error| AdminError::Failed(error.to_string()))?;
        Ok(writeln!(out, "{line}")?)
    }
}

/// Why it is not so: of a challenge, of a proof, or of something that went wrong.
fn refused(decision: &Decision) -> AdminError {
    let Verdict::Reject(Reject { class, code, service: _, reason, remarks: _, retry_after: _ }) = &decision.verdict
    else {
        return AdminError::Failed("there is no verdict".into());
    };
    let reason = Foreign(reason).to_string();
    match class {
        Class::AuthenticationFailure | Class::PolicyDenied if code.starts_with("challenge_") => {
            AdminError::Data(reason)
        }
        Class::AuthenticationFailure | Class::PolicyDenied => AdminError::NotPermitted(reason),
        Class::CommunicationError | Class::ServiceUnreachable | Class::InvalidRequest | Class::InternalError => {
            AdminError::Failed(format!("{code}: {reason}"))
        }
    }
}

fn parse_purpose(text: &str) -> Result<ActionPurpose, AdminError> {
    ActionPurpose::parse(text).map_err(|flaw| AdminError::Data(format!("--purpose: {flaw}")))
}

fn parse_binding(text: &str) -> Result<ActionBinding, AdminError> {
    ActionBinding::parse(text).map_err(|flaw| AdminError::Data(format!("--binding: {flaw}")))
}

fn parse_lifetime(seconds: u64) -> Result<Lifetime, AdminError> {
    let flaw = || AdminError::Data(format!("--lifetime: expected seconds from 1 to 3600, found {seconds}"));
    Lifetime::of_seconds(seconds).ok_or_else(flaw)
}

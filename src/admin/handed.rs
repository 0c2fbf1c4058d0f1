//! Codes that an administrator hands out for a while: `countersign bypass` and `countersign ticket`.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::json;

use super::AdminError;
use super::audit::Act;
use super::desk::{self, Desk, shown};
use super::fresh::NewAuthenticator;
use crate::clock::Clock;
use crate::domain::authenticator::{Authenticator, Mechanism};
use crate::domain::challenge::{Challenge, ChallengeId, Purpose, State};
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::domain::secret::SecretBytes;
use crate::otp::look_up::{Code, KEY, Scheme};
use crate::store::{Added, BYPASS, TICKET};

/// How many characters such a code has.
const LENGTH: usize = 16;

/// How they are grouped.
const GROUP: usize = 4;

/// The longest time that one is good for, in seconds.
const LONGEST: u64 = 30 * 24 * 3600;

/// The longest reason, in bytes.
const REASON_LIMIT: usize = 256;

/// What `bypass` takes.
#[derive(Debug, clap::Args)]
pub struct BypassArgs {
    /// Whose authenticator it stands in for
    user: String,

    /// For how long it is good, such as 4h or 30m
    #[arg(long = "for", value_name = "TIME", default_value = "4h", value_parser = period)]
    period: Duration,

    /// How often it is good
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    uses: u32,

    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: String,

    /// Print JSON: user, code, expires, uses
    #[arg(long)]
    json: bool,
}

/// What `ticket` takes.
#[derive(Debug, clap::Args)]
pub struct TicketArgs {
    /// Who may enrol
    user: String,

    /// For how long it is good, such as 24h
    #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = period)]
    period: Duration,

    /// Print JSON: user, code, expires, uses
    #[arg(long)]
    json: bool,
}

fn period(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as 4h, 30m or 2days, up to 30 days".to_owned();
    humantime::parse_duration(text).ok().filter(|period| (1..=LONGEST).contains(&period.as_secs())).ok_or_else(expected)
}

/// Hands out a code that stands in for an authenticator; one of before counts no more.
pub fn bypass(args: &BypassArgs, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let BypassArgs { user, period, uses, reason, json } = args;
    let reason = match reason.trim() {
        "" => return Err(AdminError::Data("--reason says nothing; say why".into())),
        long if long.len() > REASON_LIMIT => {
            return Err(AdminError::Data("--reason is longer than 256 bytes; shorten it".into()));
        }
        reason => reason,
    };
    let issue = Issue { client: BYPASS, purpose: Purpose::Bypass, action: "bypass", uses: *uses, reason };
    issue.run(user, *period, *json, config, clock, out)
}

/// Hands out a code by which somebody enrols at the login; one of before counts no more.
pub fn ticket(args: &TicketArgs, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let TicketArgs { user, period, json } = args;
    let issue = Issue { client: TICKET, purpose: Purpose::Ticket, action: "ticket", uses: 1, reason: "enrolment" };
    issue.run(user, *period, *json, config, clock, out)
}

/// One code, as it is handed out.
struct Issue<'a> {
    client: &'static str,
    purpose: Purpose,
    action: &'static str,
    uses: u32,
    reason: &'a str,
}

impl Issue<'_> {
    fn run(
        &self,
        user: &str,
        period: Duration,
        json: bool,
        config: &Path,
        clock: Clock,
        out: &mut impl Write,
    ) -> Result<(), AdminError> {
        let desk = Desk::open(config, clock)?;
        let (subscriber, now) = (desk::subscriber(user)?, desk.now());
        let expires = now.plus(period.as_secs());
        let label = format!("{} until {}", self.client, shown(expires));
        desk.audit(&Act { action: self.action, subscriber: &subscriber, what: &label, grounds: self.reason })?;
        for old in desk.authenticators_of(&subscriber)?.iter().filter(|old| old.client == self.client) {
            desk.settled(desk.store().remove(&subscriber, &old.id, now, "replaced"))?;
        }
        let (set, scheme) = new_set(&desk, &subscriber, self.client, &label)?;
        let alphabet = desk.setup.config.policy.recovery().alphabet.0;
        let code = Code::generate(&alphabet, LENGTH).map_err(no_randomness)?;
        let challenge = Challenge {
            id: ChallengeId(HEXLOWER.encode(&scheme.hash(&code))),
            subscriber: subscriber.clone(),
            purpose: self.purpose,
            binding: self.reason.to_owned(),
            sealed: Vec::new(),
            state: State::New,
            created: now,
            expires,
            tries_left: self.uses,
        };
        // The challenge first: without its key, nothing finds it.
        desk.settled(desk.store().open_challenge(&challenge))?;
        match desk.settled(desk.store().add(std::slice::from_ref(&set)))? {
            Added::Yes => {}
            Added::LabelTaken | Added::ChallengeGone | Added::NotFirst => {
                return Err(AdminError::Data("another code was handed out at the same moment; run it again".into()));
            }
        }
        let code = code.shown(Some('-'), GROUP);
        // Shown to whoever hands it out, this once.
        let (name, code) = (subscriber.as_str(), code.expose());
        if json {
            let told = json!({"user": name, "code": code, "expires": expires.0, "uses": self.uses});
            return Ok(writeln!(out, "{told}")?);
        }
        let times = if self.uses == 1 { "once".to_owned() } else { format!("{} times", self.uses) };
        Ok(writeln!(
            out,
            "{code}\n\ngood {times} for {} until {}; it is not shown again",
            Foreign(name),
            shown(expires)
        )?)
    }
}

/// A new set of codes that are looked up, not yet in the store, and how its codes are hashed.
pub fn new_set(
    desk: &Desk,
    subscriber: &Subscriber,
    client: &str,
    label: &str,
) -> Result<(Authenticator, Scheme), AdminError> {
    let mut key = vec![0; KEY];
    getrandom::fill(&mut key).map_err(no_randomness)?;
    let key = SecretBytes::new(key);
    let set = NewAuthenticator { client, label, mechanism: Mechanism::LookUp, secret: &key, last_step: None }
        .seal(desk, subscriber)?;
    let scheme = Scheme::read(key).ok_or_else(|| AdminError::Failed("the key of the codes is no key".into()))?;
    Ok((set, scheme))
}

/// What it means that the operating system gives no randomness.
pub fn no_randomness(error: getrandom::Error) -> AdminError {
    AdminError::Failed(format!("no randomness: {error}"))
}

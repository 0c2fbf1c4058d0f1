//! `[notify NAME]`: a code that is made here, sent to the subscriber's own target, and typed by the claimant.
//!
//! Of the code nothing is kept but an HMAC, sealed in the challenge whose question it answers: with the challenge it is used,
//! expires and is taken back.

pub mod code;
mod command;
mod dial;
mod greeted;
mod smtp;
pub mod target;
mod webhook;

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::description::{Channel, Description, Kind, Matching, Sends};
use super::diagnosis::Findings;
use super::{Asks, ClientError, Kept, MfaClient, Parts, Place, Push, Reply, refused};
use crate::config::notify::NotifyOptions;
use crate::config::value::Via;
use crate::domain::attempt::Attempt;
use crate::domain::authenticator::Authenticator;
use crate::domain::claimant::Subscriber;
use crate::domain::outcome::{ClientState, Denial, Factor, Outcome, Prompt, Proof, Refusal};
use crate::domain::secret::{Secret, TypedCode};
use crate::domain::time::UnixTime;
use crate::secret::keys::Purpose;
use crate::secret::seal::{SealError, Sealer, authenticator_place};
use crate::store::Store;
use code::{Form, NoRandomness, Sent};
use target::Target;

/// The client of `[notify NAME]`.
pub struct NotifyClient {
    section: String,
    options: NotifyOptions,
    form: Form,
    courier: Courier,
    store: Rc<dyn Store>,
    sealer: Rc<Sealer>,
}

/// What takes a message to its target.
enum Courier {
    Smtp(Box<smtp::Smtp>),
    Webhook(Box<webhook::Webhook>),
    Command(command::Program),
}

/// One message.
pub struct Message<'a> {
    pub target: &'a Target,
    pub text: Secret<String>,
    pub code: Secret<String>,
    /// Who asked for it, from where and to what; safe to show.
    pub origin: &'a str,
    pub now: UnixTime,
}

/// What a code is sent for.
#[derive(Clone, Copy)]
pub struct Errand<'a> {
    pub target: &'a Target,
    pub subscriber: &'a Subscriber,
    /// The id of the authenticator that the target is, or of the challenge by which it is enrolled.
    pub to: &'a str,
    /// Who asked for it, from where and to what; safe to show.
    pub origin: &'a str,
    pub now: UnixTime,
}

/// What a typed code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    Right,
    Wrong,
    /// It cannot be a code.
    Malformed,
    /// The time of the code is over.
    Over,
}

impl From<NoRandomness> for ClientError {
    fn from(_: NoRandomness) -> Self {
        Self::Seal(SealError::NoRandomness)
    }
}

impl NotifyClient {
    /// The client that `options` describe; `None` where they lack what the configuration has refused already.
    pub fn new(section: String, options: &NotifyOptions, parts: &Parts<'_>) -> Option<Self> {
        let limit = Duration::from_secs(options.remote.timeout.0);
        Some(Self {
            section,
            courier: match options.via {
                Via::Smtp => Courier::Smtp(Box::new(smtp::Smtp::new(options, parts)?)),
                Via::Webhook => Courier::Webhook(Box::new(webhook::Webhook::new(options, parts)?)),
                Via::Command => Courier::Command(command::Program::new(options.command.0.clone()?, limit)),
            },
            form: Form {
                alphabet: options.code_alphabet.0.iter().map(char::to_ascii_uppercase).collect(),
                length: usize::try_from(options.code_length.0).unwrap_or(12),
            },
            options: options.clone(),
            store: Rc::clone(parts.store),
            sealer: Rc::clone(parts.sealer),
        })
    }

    /// Makes a code and sends it; what is kept of it.
    ///
    /// # Errors
    /// Where it was not sent.
    pub async fn send(&self, errand: Errand<'_>, until: Instant) -> Result<Sent, ClientError> {
        let Errand { target, subscriber, to, origin, now } = errand;
        let code = self.form.make()?;
        let sent = Sent::new(to, now, &[&self.section, subscriber.as_str()], &code)?;
        let value = |name: &str| match name {
            // Leaves in the message.
            "code" => Some(code.expose().as_str()),
            "origin" => Some(origin),
            _ => None,
        };
        let filled = self.options.message.0.fill(value);
        let text =
            filled.ok_or_else(|| ClientError::Unusable("message has a placeholder that stands for nothing".into()))?;
        let message = Message { target, text: Secret::new(text.as_str().to_owned()), code, origin, now };
        match &self.courier {
            Courier::Smtp(smtp) => smtp.send(&message, until).await,
            Courier::Webhook(webhook) => webhook.send(&message, until).await,
            Courier::Command(program) => program.send(&message, until).await,
        }?;
        Ok(sent)
    }

    /// What `typed` is to the code of `sent`.
    pub fn examine(&self, sent: &Sent, subscriber: &Subscriber, typed: &TypedCode, now: UnixTime) -> Typed {
        // Read as the characters that were meant; wiped when dropped.
        let Some(code) = self.form.read(typed.expose()) else { return Typed::Malformed };
        match sent.is(&[&self.section, subscriber.as_str()], &code) {
            true if sent.is_over(self.options.lifetime.0, now) => Typed::Over,
            true => Typed::Right,
            false => Typed::Wrong,
        }
    }

    /// What is expected of a target here.
    ///
    /// # Errors
    /// What was expected.
    pub fn target(&self, text: &str) -> Result<Target, String> {
        Target::parse(text, &self.options)
    }

    /// For how long a code is good, in seconds.
    pub const fn lifetime(&self) -> u64 {
        self.options.lifetime.0
    }

    async fn start(&self, attempt: &Attempt<'_>) -> Result<Outcome, ClientError> {
        match self.held(attempt).await?.first() {
            Some(authenticator) => self.ask(attempt, authenticator, "A code was sent to").await,
            None => Ok(Outcome::Denied(Denial::NotEnrolled)),
        }
    }

    async fn verify(
        &self,
        attempt: &Attempt<'_>,
        typed: &TypedCode,
        state: Option<&ClientState>,
    ) -> Result<Outcome, ClientError> {
        // A code that nobody asked for answers nothing.
        let Some(state) = state else { return Ok(Outcome::Denied(Denial::ChallengeGone)) };
        let Some(sent) = Sent::find(state) else { return Ok(Outcome::Denied(Denial::ChallengeGone)) };
        let held = self.held(attempt).await?;
        // It may have been removed since.
        let Some(authenticator) = held.iter().find(|known| known.id.0 == sent.to) else {
            return Ok(Outcome::Denied(Denial::NotEnrolled));
        };
        let now = attempt.moment.now;
        // Looked at for the word only.
        if code::is_resend(typed.expose()) {
            return match sent.wait(self.options.resend_after.0, now) {
                0 => {
                    self.ask(attempt, authenticator, "A new code, which takes the place of the one before, was sent to")
                        .await
                }
                wait => {
                    let target = self.open(authenticator)?.masked();
                    let text = format!(
                        "{}A code was sent to {target}. Another one can be sent in {wait} s. Type it:",
                        self.beginning()
                    );
                    Ok(Outcome::Ask { prompt: text.into(), state: state.clone() })
                }
            };
        }
        Ok(match self.examine(&sent, attempt.subscriber, typed, now) {
            Typed::Right => Outcome::Verified(Proof::new(Factor::SentCode, "verified")),
            Typed::Wrong => refused(Refusal::WrongCode, "the code is not the one that was sent"),
            Typed::Malformed => Outcome::Denied(Denial::MalformedCode { expected: self.form.expected() }),
            Typed::Over => refused(Refusal::WrongCode, "the code is right, but its time (lifetime) is over"),
        })
    }

    /// Sends a code to what `authenticator` names, and asks for it.
    async fn ask(
        &self,
        attempt: &Attempt<'_>,
        authenticator: &Authenticator,
        said: &str,
    ) -> Result<Outcome, ClientError> {
        let target = self.open(authenticator)?;
        let (subscriber, now) = (attempt.subscriber, attempt.moment.now);
        let origin = origin(attempt);
        let errand = Errand { target: &target, subscriber, to: &authenticator.id.0, origin: &origin, now };
        let sent = self.send(errand, attempt.moment.until()).await?;
        let text = format!("{}{said} {}. Type it, or resend for another one:", self.beginning(), target.masked());
        Ok(Outcome::Ask { prompt: Prompt::from(text), state: sent.keep() })
    }

    /// What its questions begin with.
    fn beginning(&self) -> String {
        self.options.remote.title.0.as_ref().map(|title| format!("{title}: ")).unwrap_or_default()
    }

    /// What the subscriber holds of this section, as far as it counts here; the default first.
    async fn held(&self, attempt: &Attempt<'_>) -> Result<Vec<Authenticator>, ClientError> {
        let mut held = self.store.authenticators(attempt.subscriber, &self.section).await?;
        held.retain(|known| attempt.chosen.is_none_or(|chosen| *chosen == known.id));
        held.sort_by_key(|known| !known.is_default);
        Ok(held)
    }

    fn open(&self, authenticator: &Authenticator) -> Result<Target, ClientError> {
        let place = authenticator_place(&authenticator.subscriber, &authenticator.id.0);
        let secret = self.sealer.open(Purpose::Authenticator, &place, &authenticator.sealed)?;
        // A target is no secret; it was sealed with the others.
        let text = std::str::from_utf8(secret.expose()).unwrap_or_default();
        self.target(text).map_err(|expected| {
            ClientError::Authenticator(format!(
                "the target {} is no target of this section: {expected}",
                authenticator.id.0
            ))
        })
    }
}

/// Who asks for a code, from where and to what.
fn origin(attempt: &Attempt<'_>) -> String {
    let mut text = String::from(if attempt.purpose.is_some() { "the confirmation" } else { "a login" });
    for (name, value) in attempt.context() {
        if name == "to confirm" {
            // The words of the program that asks, for the person to read; a link is none of them.
            text.push_str(&format!(" of {}", value.replace('/', "?")));
            continue;
        }
        text.push_str(match name {
            "user" => " as ",
            "protocol" => " by ",
            "from" => " from ",
            _ => " to ",
        });
        text.push_str(&plain(&value));
    }
    text
}

/// How much of one fact is said in a message.
const FACT: usize = 64;

/// A fact as it may stand in a message to somebody else: whoever logs in names hosts and users, and writes no text.
fn plain(fact: &str) -> String {
    let is_plain = |c: &char| c.is_alphanumeric() || "._@:-\\".contains(*c);
    let mut plain: String = fact.chars().take(FACT).map(|c| if is_plain(&c) { c } else { '?' }).collect();
    if fact.chars().nth(FACT).is_some() {
        plain.push('…');
    }
    plain
}

impl MfaClient for NotifyClient {
    fn section(&self) -> &str {
        &self.section
    }

    fn place(&self) -> Place {
        Place::Remote
    }

    fn push(&self) -> Push {
        Push::Unable
    }

    fn asks(&self) -> Asks {
        Asks::Sends
    }

    fn kept(&self) -> Kept {
        Kept::Here
    }

    fn is_answer(&self, typed: &TypedCode) -> bool {
        // Looked at for one word.
        !code::is_resend(typed.expose())
    }

    fn description(&self) -> Description<'_> {
        Description {
            title: self.section.strip_prefix("notify ").unwrap_or(&self.section),
            kind: Kind::OutOfBand,
            channel: match self.options.via {
                Via::Smtp => Channel::Mail,
                Via::Webhook | Via::Command => Channel::Message,
            },
            sends: Sends::Code,
            matching: Matching::Nothing,
        }
    }

    fn tries(&self) -> u32 {
        self.options.tries.0
    }

    fn otp_authenticate<'a>(
        &'a self,
        attempt: &'a Attempt<'a>,
        otp: &'a TypedCode,
        state: Option<&'a ClientState>,
    ) -> Reply<'a> {
        Box::pin(self.verify(attempt, otp, state))
    }

    fn push_start<'a>(&'a self, attempt: &'a Attempt<'a>) -> Reply<'a> {
        Box::pin(self.start(attempt))
    }

    fn diagnose(&self, now: UnixTime, until: Instant) -> Findings<'_> {
        Box::pin(async move {
            match &self.courier {
                Courier::Smtp(smtp) => smtp.diagnose(now, until).await,
                Courier::Webhook(webhook) => webhook.diagnose(now, until).await,
                Courier::Command(program) => program.diagnose(),
            }
        })
    }
}

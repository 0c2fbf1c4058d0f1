//! What the server asks for next, and what is kept of it until it is answered.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::{is_transaction, optional_text, strange};
use crate::client::{ClientError, refused};
use crate::domain::attempt::Numbers;
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{ClientState, Denial, Outcome, Refusal, STATE_LIMIT};

/// How many tokens of one user are looked at.
const TOKENS: usize = 64;

/// The challenges of one transaction.
#[derive(Debug, PartialEq, Eq)]
pub struct Challenge {
    transaction: String,
    /// Answered on a device, which is asked for by its serial; with the number that must be pressed there.
    pushed: Vec<(String, Option<String>)>,
    /// Answered by typing: what the server says of each.
    typed: Vec<String>,
    /// Answered in ways that nobody at a gateway has.
    other: Vec<String>,
    /// The server wants a new token enrolled before it lets the user in.
    enrolls: bool,
}

impl Challenge {
    /// The challenges in `detail`.
    ///
    /// # Errors
    /// A communication error where there are none, or no transaction to answer them in.
    pub fn read(detail: Option<&Map<String, Value>>) -> Result<Self, ClientError> {
        let hidden =
            || strange("a challenge without its transaction_id; the server's policy no_detail_on_fail hides it");
        let detail = detail.ok_or_else(hidden)?;
        let transaction = optional_text(detail, "detail.transaction_id", "transaction_id")?;
        let transaction = transaction.ok_or_else(hidden)?;
        if !is_transaction(transaction) {
            return Err(strange("detail.transaction_id is not a transaction's"));
        }
        let none = || strange("a challenge without multi_challenge");
        let challenges = detail.get("multi_challenge").and_then(Value::as_array).ok_or_else(none)?;
        let mut read = Self {
            transaction: transaction.to_owned(),
            pushed: Vec::new(),
            typed: Vec::new(),
            other: Vec::new(),
            enrolls: detail.get("enroll_via_multichallenge").and_then(Value::as_bool).unwrap_or_default(),
        };
        for challenge in challenges.iter().take(TOKENS) {
            let challenge = challenge.as_object().ok_or_else(|| strange("a challenge is not an object"))?;
            read.add(challenge)?;
        }
        if read.pushed.is_empty() && read.typed.is_empty() && read.other.is_empty() {
            return Err(none());
        }
        Ok(read)
    }

    fn add(&mut self, challenge: &Map<String, Value>) -> Result<(), ClientError> {
        let text = |key| optional_text(challenge, "a member of multi_challenge", key);
        // One that belongs to another transaction is not answered with this one's.
        if text("transaction_id")?.is_some_and(|other| other != self.transaction) {
            return Ok(());
        }
        self.enrolls |= text("link")?.is_some();
        let kind = text("type")?.unwrap_or_default();
        match text("client_mode")? {
            Some("poll") => {
                let serial = text("serial")?.unwrap_or_default();
                let number = text("presence_answer")?.map(|number| Foreign(number).to_string());
                self.pushed.push((serial.to_owned(), number));
            }
            Some("interactive") => self.typed.push(text("message")?.unwrap_or_default().to_owned()),
            // A server that does not say so yet.
            None if is_push(kind) => self.pushed.push((text("serial")?.unwrap_or_default().to_owned(), None)),
            None => self.typed.push(text("message")?.unwrap_or_default().to_owned()),
            Some(mode) => self.other.push(Foreign(mode).to_string()),
        }
        Ok(())
    }

    /// What is to be done about it.
    ///
    /// # Errors
    /// A communication error where it cannot be kept.
    pub fn outcome(self, numbers: Numbers) -> Result<Outcome, ClientError> {
        if self.enrolls {
            let said = "the server wants the user to enrol a new token, which cannot be done at a gateway";
            return Ok(refused(Refusal::ServicePolicy, said));
        }
        let can_press = |number: &Option<String>| number.is_none() || numbers == Numbers::Shown;
        let mut pressed = self.pushed.iter().map(|(_, number)| number).filter(|number| can_press(number)).peekable();
        let can_push = pressed.peek().is_some();
        let show = show(pressed.flatten());
        if !can_push && self.typed.is_empty() {
            return Ok(if self.pushed.is_empty() {
                let said =
                    format!("the user's tokens are used in ways that a gateway has not: {}", self.other.join(", "));
                refused(Refusal::NoDevice, &said)
            } else {
                let reason = "the server wants a number pressed on the phone, which this claimant cannot be shown";
                Outcome::Denied(Denial::PushOff { reason })
            });
        }
        let state = State {
            transaction: self.transaction,
            pushed: self.pushed.iter().map(|(serial, _)| serial.clone()).collect(),
            typed: !self.typed.is_empty(),
        };
        let state = state.seal()?;
        Ok(if can_push {
            Outcome::Pushed { show, state }
        } else {
            Outcome::Ask { prompt: prompt(&self.typed).into(), state }
        })
    }
}

/// What the claimant must press.
fn show<'a>(pressed: impl Iterator<Item = &'a String>) -> Option<String> {
    let mut numbers: Vec<&str> = Vec::new();
    for number in pressed {
        if !numbers.contains(&number.as_str()) {
            numbers.push(number);
        }
    }
    (!numbers.is_empty()).then(|| format!("Press {} on your phone", numbers.join(" or ")))
}

/// What the server asks for, each wording once, ready for the answer to stand behind it.
fn prompt(typed: &[String]) -> String {
    let mut wordings: Vec<String> = Vec::new();
    for message in typed {
        let wording = Foreign(message.trim().trim_end_matches([':', '.'])).to_string();
        if !wording.is_empty() && !wordings.contains(&wording) {
            wordings.push(wording);
        }
    }
    if wordings.is_empty() { "One-time password: ".into() } else { format!("{}: ", wordings.join(", ")) }
}

/// Whether tokens of this type are answered on a phone.
pub fn is_push(kind: &str) -> bool {
    matches!(kind, "push" | "edupush")
}

/// What comes back with the answer.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub transaction: String,
    /// The serials of what is answered on a device.
    pub pushed: Vec<String>,
    /// Whether something may be typed in answer.
    pub typed: bool,
}

impl State {
    fn seal(&self) -> Result<ClientState, ClientError> {
        let bytes = serde_json::to_vec(self).ok().filter(|bytes| bytes.len() <= STATE_LIMIT);
        bytes.map(ClientState::new).ok_or_else(|| strange("a challenge that is too large to be kept"))
    }

    /// What was kept; `None` where it is not ours.
    pub fn open(state: &ClientState) -> Option<Self> {
        // Only read, by the client that wrote it.
        let state: Self = serde_json::from_slice(state.expose()).ok()?;
        is_transaction(&state.transaction).then_some(state)
    }
}

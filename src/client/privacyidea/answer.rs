//! What the server's answers mean, from their JSON alone: no request, no clock.
//!
//! Only [`check`], which reads answers of `/validate/check`, can find that somebody proved who they are. The other
//! endpoints say ACCEPT too, of things that are no proof.

use serde_json::{Map, Value};

use super::challenge::Challenge;
use crate::client::ClientError;
use crate::domain::foreign::Foreign;
use crate::domain::outcome::Refusal;

/// The largest transaction id, in bytes; the servers make twenty digits.
const TRANSACTION_LIMIT: usize = 64;

/// A no: why, and what the server said of it.
#[derive(Debug, PartialEq, Eq)]
pub struct No {
    pub why: Refusal,
    pub said: String,
}

impl No {
    fn new(why: Refusal, said: &str) -> Self {
        Self { why, said: said.to_owned() }
    }
}

/// What `/validate/check` found.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// The server accepts. Whether that is enough is for the configuration to say.
    Accepted(Accepted),
    /// One more step.
    Challenged(Challenge),
    /// A no, perhaps of a token of the type `kind`.
    Refused { no: No, kind: Option<String> },
}

/// What the server says of what it accepted.
#[derive(Debug, PartialEq, Eq)]
pub enum Accepted {
    /// A token.
    Token { serial: String, kind: Option<String>, said: String },
    /// No token, for a reason of its own.
    NoToken { said: String },
    /// Nothing: a policy hides it.
    Hidden,
}

/// What `/validate/triggerchallenge` did.
#[derive(Debug, PartialEq, Eq)]
pub enum Triggered {
    Challenged(Challenge),
    Refused(No),
    /// Nothing: the server does not take the session of the service account, or no longer.
    SessionOver {
        said: String,
    },
}

/// What `/validate/polltransaction` knows.
#[derive(Debug, PartialEq, Eq)]
pub enum Polled {
    /// Answered on the phone; not yet a proof.
    Answered,
    /// Refused on the phone as something that the subscriber did not ask for.
    Declined,
    /// Taken back on the phone by who asked for it.
    Cancelled,
    Pending,
    Refused(No),
}

/// What `/auth` gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Login<'a> {
    pub token: &'a str,
    /// What the account may do, where the server says so.
    pub rights: Option<Vec<&'a str>>,
}

/// Reads an answer of `/validate/check`.
///
/// # Errors
/// A communication error where it is not what the server's documents promise.
pub fn check(status: u16, body: &Value) -> Result<Checked, ClientError> {
    let (result, detail) = match envelope(status, body)? {
        Envelope::Result { result, detail } => (result, detail),
        Envelope::Error { code, said } => {
            return Ok(Checked::Refused { no: refusal(status, code, said)?, kind: None });
        }
    };
    let value = result.get("value").and_then(Value::as_bool).ok_or_else(|| strange("result.value is not a boolean"))?;
    let authentication = optional_text(result, "result.authentication", "authentication")?;
    let has_challenges = detail.is_some_and(|detail| detail.get("multi_challenge").is_some_and(|c| !c.is_null()));
    let empty = Map::new();
    let details = detail.unwrap_or(&empty);
    let said = optional_text(details, "detail.message", "message")?.unwrap_or_default();
    let kind = optional_text(details, "detail.type", "type")?;
    match (value, authentication) {
        (true, None | Some("ACCEPT")) if has_challenges => {
            Err(strange("the server accepts and asks for more at the same time"))
        }
        (true, None | Some("ACCEPT")) => {
            Ok(Checked::Accepted(match optional_text(details, "detail.serial", "serial")? {
                Some(serial) if !serial.is_empty() => {
                    Accepted::Token { serial: serial.into(), kind: kind.map(Into::into), said: said.into() }
                }
                Some(_) | None if detail.is_some() => Accepted::NoToken { said: said.into() },
                Some(_) | None => Accepted::Hidden,
            }))
        }
        (false, Some("CHALLENGE")) => Challenge::read(detail).map(Checked::Challenged),
        // A server that knows no such word says the same by what it sends along.
        (false, None) if has_challenges && details.contains_key("transaction_id") => {
            Challenge::read(detail).map(Checked::Challenged)
        }
        (false, None | Some("REJECT" | "DECLINED")) => {
            let declined = match optional_text(details, "detail.challenge_status", "challenge_status")? {
                Some("cancelled") => Some(Refusal::PushRefused),
                Some("declined") => Some(Refusal::PushReported),
                Some(_) | None => (authentication == Some("DECLINED")).then_some(Refusal::PushRefused),
            };
            let no = match declined {
                Some(why) => No::new(why, said),
                None => worded(said)?,
            };
            Ok(Checked::Refused { no, kind: kind.map(Into::into) })
        }
        (_, Some(word)) => Err(strange(&format!("the server says value {value} and \"{}\"", Foreign(word)))),
    }
}

/// Reads an answer of `/validate/triggerchallenge`. What it says of acceptance says nothing: some servers say ACCEPT.
///
/// # Errors
/// A communication error where it is not what the server's documents promise, or where the service account may not.
pub fn trigger(status: u16, body: &Value) -> Result<Triggered, ClientError> {
    let (result, detail) = match envelope(status, body)? {
        Envelope::Result { result, detail } => (result, detail),
        Envelope::Error { code: code::BAD_SESSION | code::SESSION_OVER, said } if status < 500 => {
            return Ok(Triggered::SessionOver { said: said.to_owned() });
        }
        Envelope::Error { code, said } => return refusal(status, code, said).map(Triggered::Refused),
    };
    let count = result.get("value").and_then(Value::as_u64);
    match count.ok_or_else(|| strange("result.value is not the number of challenges"))? {
        0 => {
            let said = detail.and_then(|detail| detail.get("message")).and_then(Value::as_str);
            let said = said.unwrap_or("the server found nothing that it could challenge the user with");
            let No { why, said } = worded(said)?;
            let why = if why == Refusal::WrongCode { Refusal::NoDevice } else { why };
            Ok(Triggered::Refused(No { why, said }))
        }
        _ => Challenge::read(detail).map(Triggered::Challenged),
    }
}

/// Reads an answer of `/validate/polltransaction`.
///
/// # Errors
/// A communication error where it is not what the server's documents promise.
pub fn poll(status: u16, body: &Value) -> Result<Polled, ClientError> {
    let (result, detail) = match envelope(status, body)? {
        Envelope::Result { result, detail } => (result, detail),
        Envelope::Error { code, said } => return refusal(status, code, said).map(Polled::Refused),
    };
    let value = result.get("value").and_then(Value::as_bool).ok_or_else(|| strange("result.value is not a boolean"))?;
    let empty = Map::new();
    let found = optional_text(detail.unwrap_or(&empty), "detail.challenge_status", "challenge_status")?;
    // `authentication` is REJECT while nothing happened yet: it is not asked.
    match (found, value) {
        (Some("accept") | None, true) => Ok(Polled::Answered),
        (Some("declined"), false) => Ok(Polled::Declined),
        (Some("cancelled"), false) => Ok(Polled::Cancelled),
        (Some("pending") | None, false) => Ok(Polled::Pending),
        (Some(word), _) => {
            Err(strange(&format!("the server says value {value} and challenge_status \"{}\"", Foreign(word))))
        }
    }
}

/// Reads an answer of `/auth`.
///
/// # Errors
/// A communication error where there is no session in it.
pub fn login(status: u16, body: &Value) -> Result<Login<'_>, ClientError> {
    let result = match envelope(status, body)? {
        Envelope::Result { result, detail: _ } => result,
        Envelope::Error { code, said } if status < 500 => {
            let reason = format!("the server refuses the service account: {} (error {code})", Foreign(said));
            return Err(ClientError::communication("credentials_refused", reason));
        }
        Envelope::Error { code, said } => return Err(fault(status, code, said)),
    };
    let value = match result.get("value") {
        Some(Value::Object(value)) => value,
        Some(Value::Bool(false)) => {
            let reason = "the server asks the service account for a second factor; exempt it by a policy";
            return Err(ClientError::communication("credentials_refused", reason));
        }
        Some(_) | None => return Err(strange("result.value of a log-in is not an object")),
    };
    let token = value.get("token").and_then(Value::as_str).filter(|token| !token.is_empty());
    let rights = value.get("rights").and_then(Value::as_array);
    Ok(Login {
        token: token.ok_or_else(|| strange("there is no token in the answer to the log-in"))?,
        rights: rights.map(|rights| rights.iter().filter_map(Value::as_str).collect()),
    })
}

/// The codes of the server's errors that mean something here.
mod code {
    pub const POLICY: i64 = 303;
    pub const VALIDATE: i64 = 401;
    pub const MASKED: i64 = 403;
    pub const USER: i64 = 904;
    pub const RESOLVER: i64 = 907;
    pub const TOKEN_LOCKED: i64 = 1007;
    pub const WRONG_CREDENTIALS: i64 = 4031;
    pub const NO_CREDENTIALS: i64 = 4033;
    pub const BAD_SESSION: i64 = 4304;
    pub const SESSION_OVER: i64 = 4305;
    pub const WRONG_ROLE: i64 = 4306;
}

/// What all answers have around them.
enum Envelope<'a> {
    Result { result: &'a Map<String, Value>, detail: Option<&'a Map<String, Value>> },
    Error { code: i64, said: &'a str },
}

/// Whether `body` reports an error as the server does: then its status is the server's own.
pub fn is_error(body: &Value) -> bool {
    body.pointer("/result/error").is_some_and(Value::is_object)
}

fn envelope(status: u16, body: &Value) -> Result<Envelope<'_>, ClientError> {
    let result = body.get("result").and_then(Value::as_object).ok_or_else(|| strange("there is no result"))?;
    match (result.get("status").and_then(Value::as_bool), result.get("error")) {
        (Some(true), None) if status == 200 => {
            let detail = match body.get("detail") {
                None | Some(Value::Null) => None,
                Some(Value::Object(detail)) => Some(detail),
                Some(_) => return Err(strange("detail is not an object")),
            };
            Ok(Envelope::Result { result, detail })
        }
        (Some(false), Some(error)) if status != 200 => {
            let code = error.get("code").and_then(Value::as_i64).ok_or_else(|| strange("the error has no code"))?;
            let said = error.get("message").and_then(Value::as_str).unwrap_or_default();
            Ok(Envelope::Error { code, said })
        }
        (Some(_) | None, _) => Err(strange(&format!("status {status} and result.status do not go together"))),
    }
}

/// What an error is about the claimant.
///
/// # Errors
/// Where it is about the server or us.
fn refusal(status: u16, code: i64, said: &str) -> Result<No, ClientError> {
    if status >= 500 {
        return Err(fault(status, code, said));
    }
    match code {
        code::USER => Ok(No::new(Refusal::NotEnrolled, said)),
        code::TOKEN_LOCKED => Ok(No::new(Refusal::Locked, said)),
        code::VALIDATE => Ok(No::new(Refusal::ServicePolicy, said)),
        code::MASKED => {
            let said = format!("{said} (the server hides why: its policy hide_specific_error_message)");
            Ok(No { why: Refusal::ServicePolicy, said })
        }
        code::POLICY
        | code::WRONG_CREDENTIALS
        | code::NO_CREDENTIALS
        | code::BAD_SESSION
        | code::SESSION_OVER
        | code::WRONG_ROLE => {
            let reason = format!("the server refuses what we are: {} (error {code})", Foreign(said));
            Err(ClientError::communication("credentials_refused", reason))
        }
        code::RESOLVER => Err(ClientError::communication(
            "directory_failed",
            format!("the directory behind the server fails: {} (error {code})", Foreign(said)),
        )),
        _ => Err(ClientError::communication(
            "request_refused",
            format!("status {status}: the server does not take the request: {} (error {code})", Foreign(said)),
        )),
    }
}

fn fault(status: u16, code: i64, said: &str) -> ClientError {
    ClientError::communication("service_fault", format!("status {status}: {} (error {code})", Foreign(said)))
}

/// What the words of a no mean; the server has no codes for them.
fn worded(said: &str) -> Result<No, ClientError> {
    let has = |text: &str| said.contains(text);
    let why = match () {
        () if has("could not be sent") => {
            let reason = format!("the server cannot deliver its message: {}", Foreign(said));
            return Err(ClientError::communication("delivery_failed", reason));
        }
        () if has("previous otp used again") => Refusal::UsedCode,
        () if has("Failcounter exceeded")
            || has("Token is disabled")
            || has("Token is locked")
            || has("Outside validity period")
            || has("failed authentications per") =>
        {
            Refusal::Locked
        }
        () if has("no tokens assigned") => Refusal::NotEnrolled,
        () if has("No suitable token") => Refusal::NoDevice,
        () => Refusal::WrongCode,
    };
    let said = if said.is_empty() { "the server does not say why (its policy no_detail_on_fail)" } else { said };
    Ok(No::new(why, said))
}

/// An answer that is not what the server's documents promise.
pub fn strange(what: &str) -> ClientError {
    ClientError::unexpected(format!("the answer is not one of privacyIDEA: {what}"))
}

/// A text that may be missing or null, but must not be anything else; `path` is for the error.
pub fn optional_text<'a>(map: &'a Map<String, Value>, path: &str, key: &str) -> Result<Option<&'a str>, ClientError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(strange(&format!("{path} is not text"))),
    }
}

/// Whether `id` can be a transaction's.
pub fn is_transaction(id: &str) -> bool {
    (1..=TRANSACTION_LIMIT).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

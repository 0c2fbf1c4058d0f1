//! What Okta's answers mean: the one place that calls one a success.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::Stop;
use crate::client::ClientError;
use crate::client::http::Answer;
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{Factor, Outcome, Proof, Refusal};

/// The longest link that is kept, in bytes.
const LINK: usize = 2048;

/// What was asked, as far as the same answer means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Who somebody is.
    User,
    /// What they hold, or something about ourselves.
    Facts,
    /// Whether a code is right.
    Code,
    /// That a code or a push is sent.
    Sending,
    /// What became of a push.
    Poll,
}

/// What an error code of Okta means to whoever runs this.
fn meaning(code: &str) -> &'static str {
    match code {
        "E0000001" => "the request was not valid",
        "E0000003" => "the request could not be read",
        "E0000004" | "E0000011" => "the API token is not valid: make a new one at Okta and write it into api_key",
        "E0000006" => {
            "the API token may not do this: its owner needs a role that reads users and verifies their factors"
        }
        "E0000007" => "there is no such resource",
        "E0000008" => "there is no such address: check api_url",
        "E0000009" => "an error inside Okta",
        "E0000022" => "the address does not know this method: check api_url",
        "E0000038" | "E0000078" => "not allowed in the user's present status",
        "E0000047" => "the rate limit is reached",
        "E0000068" => "the code is wrong, or was used before",
        "E0000069" => "the user is locked",
        "E0000109" => "an SMS message was sent less than 30 s ago",
        "E0000118" => "an e-mail was sent less than 5 s ago",
        _ => "",
    }
}

/// What an answer is that is not what was asked for. Okta's own text stays out: it repeats what was asked.
pub fn error(answer: &Answer, asked: Asked) -> Stop {
    let status = answer.status;
    let code = error_code(answer).unwrap_or_default();
    let detail = match (code.as_str(), meaning(&code)) {
        ("", _) => String::new(),
        (code, "") => format!(", {code}"),
        (code, meaning) => format!(", {code}: {meaning}"),
    };
    let said = format!("status {status}{detail}");
    let verifies = matches!(asked, Asked::Code | Asked::Sending);
    match (status, code.as_str()) {
        (404, "E0000007") if asked == Asked::User => {
            Stop::Denied(Refusal::NotEnrolled, "Okta knows no user of this name".into())
        }
        (403, "E0000068") if asked == Asked::Code => Stop::Denied(Refusal::WrongCode, said),
        (403, "E0000069" | "E0000038" | "E0000078") if verifies => Stop::Denied(Refusal::Locked, said),
        (401, _) => Stop::Failed(ClientError::communication("credentials_refused", said)),
        (403, "E0000006") => Stop::Failed(ClientError::communication("permission_refused", said)),
        (429, _) => {
            let limited = ClientError::communication("rate_limited", said);
            Stop::Failed(limited.retry_after(reset(answer).or_else(|| answer.retry_after())))
        }
        _ => Stop::Failed(answer.unexpected().map(|mut error| {
            error.reason.push_str(&detail);
            error
        })),
    }
}

/// The error code of an answer that is Okta's own.
fn error_code(answer: &Answer) -> Option<String> {
    if matches!(answer.status, 200..=399 | 502..=504) {
        return None;
    }
    let body = answer.json().ok()?;
    let code = body.get("errorCode")?.as_str()?;
    let digits = code.strip_prefix('E')?;
    (digits.len() == 7 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| code.to_owned())
}

/// How long the rate limit lasts: by the clock of the answer, and a second more. Where the limit is nothing at all, too
/// many requests are on the way at once, and the time says nothing.
fn reset(answer: &Answer) -> Option<Duration> {
    let number = |name: &str| answer.header(name)?.trim().parse::<u64>().ok();
    if number("x-rate-limit-limit") == Some(0) && number("x-rate-limit-remaining") == Some(0) {
        return None;
    }
    let left = number("x-rate-limit-reset")?.saturating_sub(answer.date()?.0);
    Some(Duration::from_secs(left.saturating_add(1)))
}

/// The body of an answer with one of the statuses that were to come.
pub fn body(answer: &Answer, statuses: &[u16], asked: Asked) -> Result<Value, Stop> {
    if !statuses.contains(&answer.status) {
        return Err(error(answer, asked));
    }
    Ok(answer.json()?)
}

/// The text of `field`.
pub fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str, ClientError> {
    value
        .get(field)
        .and_then(Value::as_str)
        .ok_or_else(|| ClientError::unexpected(format!("the answer has no text in {field}")))
}

/// What became of what was verified, where that is final; `None` while it is not.
fn result(value: &Value, factor: Factor) -> Result<Option<Outcome>, Stop> {
    let word = text(value, "factorResult")?;
    let no = |why: Refusal, said: &str| Err(Stop::Denied(why, format!("Okta says {word}: {said}")));
    let is_push = factor == Factor::Push;
    match word {
        // The one place.
        "SUCCESS" => Ok(Some(Outcome::Verified(Proof::new(factor, "verified by Okta")))),
        "WAITING" => Ok(None),
        "REJECTED" if is_push => no(Refusal::PushRefused, "the push was refused on the device"),
        "CANCELLED" if is_push => no(Refusal::PushRefused, "the push was taken back"),
        "FAILED" if is_push => no(Refusal::PushRefused, "the push was not answered as it should be"),
        "TIMEOUT" | "EXPIRED" if is_push => no(Refusal::PushUnanswered, "the push was not answered in time"),
        "PASSCODE_REPLAYED" => no(Refusal::UsedCode, "the code was used before"),
        "TIME_WINDOW_EXCEEDED" => no(Refusal::WrongCode, "the code is of another time"),
        "REJECTED" | "FAILED" | "CANCELLED" | "TIMEOUT" | "EXPIRED" => no(Refusal::WrongCode, "the code was refused"),
        "ERROR" => Err(ClientError::communication("service_fault", "Okta says ERROR: it failed to verify").into()),
        "CHALLENGE" => Err(ClientError::unexpected("Okta says CHALLENGE where nothing more is to be asked").into()),
        other => Err(ClientError::unexpected(format!("Okta says {} in factorResult", Foreign(other))).into()),
    }
}

/// What Okta says of a code.
pub fn of_code(answer: &Answer) -> Result<Outcome, Stop> {
    let value = body(answer, &[200], Asked::Code)?;
    result(&value, Factor::Otp)?.ok_or_else(|| ClientError::unexpected("Okta says WAITING of a code").into())
}

/// What a look at a push finds.
pub enum Seen {
    Answered(Outcome),
    /// Not yet; and the number that the claimant must choose, if there is one.
    Waiting(Option<String>),
}

/// What Okta says of a push that was sent.
pub fn of_push(answer: &Answer) -> Result<Seen, Stop> {
    let value = body(answer, &[200], Asked::Poll)?;
    match result(&value, Factor::Push)? {
        Some(outcome) => Ok(Seen::Answered(outcome)),
        None => Ok(Seen::Waiting(number(&value)?)),
    }
}

/// The number that the claimant must choose, if the answer has one.
fn number(value: &Value) -> Result<Option<String>, ClientError> {
    let Some(answer) = value.pointer("/_embedded/challenge/correctAnswer").filter(|answer| !answer.is_null()) else {
        return Ok(None);
    };
    let text = answer.as_str().map(str::to_owned).or_else(|| answer.as_u64().map(|number| number.to_string()));
    text.filter(|text| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()))
        .map(Some)
        .ok_or_else(|| ClientError::unexpected("the number to match is not one of up to three digits"))
}

/// A push that was sent: what to look at, what takes it back, and the number that belongs to it.
#[derive(Debug)]
pub struct Sent {
    pub poll: Url,
    pub cancel: Option<Url>,
    pub number: Option<String>,
}

/// Reads the answer to the request for a push.
pub fn of_sending_push(answer: &Answer) -> Result<Sent, Stop> {
    let value = body(answer, &[200, 201], Asked::Sending)?;
    match result(&value, Factor::Push)? {
        None => {}
        Some(_) => return Err(ClientError::unexpected("Okta says SUCCESS of a push that was only just sent").into()),
    }
    let link = |name: &str| value.pointer(&format!("/_links/{name}/href"));
    let url = |name: &str, href: &Value| {
        let parsed = href.as_str().filter(|href| href.len() <= LINK).and_then(|href| Url::parse(href).ok());
        parsed.ok_or_else(|| ClientError::unexpected(format!("the {name} link is not an address")))
    };
    let poll = link("poll").ok_or_else(|| ClientError::unexpected("the push has no poll link"))?;
    let cancel = link("cancel").map(|href| url("cancel", href)).transpose()?;
    Ok(Sent { poll: url("poll", poll)?, cancel, number: number(&value)? })
}

/// Reads the answer to the request for a code.
pub fn of_sending_code(answer: &Answer) -> Result<(), Stop> {
    let value = body(answer, &[200, 201], Asked::Sending)?;
    match text(&value, "factorResult")? {
        "CHALLENGE" => Ok(()),
        _ => match result(&value, Factor::Otp)? {
            None => Err(ClientError::unexpected("Okta says WAITING where a code was to be sent").into()),
            Some(_) => Err(ClientError::unexpected("Okta says SUCCESS where a code was to be sent").into()),
        },
    }
}

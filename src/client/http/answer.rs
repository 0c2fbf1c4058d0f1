//! What a service answered, and what of it can be read.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use serde_json::Value;
use zeroize::Zeroizing;

use super::json;
use crate::client::ClientError;
use crate::domain::fault::Reach;
use crate::domain::foreign::Foreign;
use crate::domain::time::UnixTime;

/// A whole answer, whatever its status.
pub struct Answer {
    pub status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// A header's value, where it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// When it was at the service (RFC 9110, `Date`).
    pub fn date(&self) -> Option<UnixTime> {
        let date = httpdate::parse_http_date(self.header("date")?).ok()?;
        Some(UnixTime(date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs()))
    }

    /// How long the service asks to be left alone (RFC 9110, `Retry-After`: seconds, or a date beside its own `Date`).
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.header(RETRY_AFTER.as_str())?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let until = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Duration::from_secs(until.as_secs().saturating_sub(self.date()?.0)))
    }

    /// The body as JSON without a key twice.
    ///
    /// # Errors
    /// A communication error where it is not.
    pub fn json(&self) -> Result<Value, ClientError> {
        let kind = self.header(CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
        if kind.starts_with("text/html") {
            let text = format!("status {} with a web page instead of JSON", self.status);
            return Err(ClientError::communication("not_json", text));
        }
        self.check_charset()?;
        json::parse(&self.body)
            .map_err(|flaw| ClientError::communication("not_json", format!("status {}: {flaw}", self.status)))
    }

    /// The body as text.
    ///
    /// # Errors
    /// A communication error where it is not UTF-8.
    pub fn text(&self) -> Result<&str, ClientError> {
        self.check_charset()?;
        std::str::from_utf8(&self.body)
            .map_err(|_| ClientError::communication("bad_charset", "the answer is not UTF-8"))
    }

    fn check_charset(&self) -> Result<(), ClientError> {
        let kind = self.header(CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
        let charset = kind.split(';').filter_map(|part| part.trim().strip_prefix("charset=")).next();
        match charset.map(|charset| charset.trim_matches('"')) {
            None | Some("utf-8" | "utf8" | "us-ascii") => Ok(()),
            Some(other) => {
                let text = format!("the answer is in the character set {}; expected utf-8", Foreign(other));
                Err(ClientError::communication("bad_charset", text))
            }
        }
    }

    /// What an answer of this status is to a client that has no use for it.
    pub fn unexpected(&self) -> ClientError {
        let status = self.status;
        let error = match status {
            300..=399 => {
                ClientError::communication("redirected", format!("status {status}: redirects are not followed"))
            }
            429 => ClientError::communication("rate_limited", "status 429: too many requests"),
            502..=504 => ClientError::unreachable(
                "service_unavailable",
                format!("status {status}: what stands before the service does not reach it"),
                Reach::Answered,
            ),
            _ => ClientError::communication("http_status", format!("status {status}")),
        };
        error.retry_after(self.retry_after())
    }
}

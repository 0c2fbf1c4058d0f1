//! The native protocol, version 1 (protocol.md): NDJSON, one request a line in, one verdict a line out.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::fields::{Fields, flawed, invalid, wrong};
use super::session_cookie::{self, Written};
use super::tree::{self, Json};
use super::{Greeting, Inbound, Protocol, RequestId, Said};
use crate::domain::action::Told;
use crate::domain::fault::Fault;
use crate::domain::outcome::Remarks;
use crate::domain::request::{Beginning, Conversation, Dialogue, Kind, Request};
use crate::domain::secret::Secret;
use crate::domain::verdict::{Accept, Basis, Echo, Footing, NeedInfo, Reject, Verdict};

/// The version of the protocol.
pub const VERSION: u64 = 1;

/// What a hello tells.
const CAPABILITIES: [&str; 10] = [
    "authenticate",
    "authorize",
    "session_ended",
    "challenge_request",
    "challenge_confirm",
    "challenge_check",
    "challenge_use",
    "cancel",
    "deadline_ms",
    "dialogue",
];

/// The longest id, in bytes of its JSON.
const ID_LIMIT: usize = 256;

/// The native protocol.
pub struct Native;

impl Protocol for Native {
    fn read(&self, line: &[u8]) -> Inbound {
        let (value, id) = tree::parse(line);
        let id = id.and_then(|id| request_id(&id));
        match value.map_err(flawed).and_then(|value| Fields::of(value)?.read(id.clone())) {
            Ok(inbound) => inbound,
            Err(fault) => Inbound::Flawed { id, fault },
        }
    }

    fn write(&self, id: Option<&RequestId>, said: Said<'_>, out: &mut Vec<u8>) {
        let id = raw(id);
        let Said { verdict, trace, session_cookie, challenge, sent: _ } = said;
        let mut answer = match verdict {
            Verdict::Accept(Accept {
                claimant,
                identity,
                basis,
                factor,
                service: _,
                footing,
                reason,
                remarks,
                cookie,
            }) => Answer {
                gateway_user: remarks
                    .as_ref()
                    .and_then(|remarks| remarks.gateway_user.as_ref())
                    .or(claimant.as_ref())
                    .map(|c| c.0.as_str()),
                gateway_groups: remarks.as_ref().map(|r| &*r.gateway_groups).filter(|groups| !groups.is_empty()),
                message: told(remarks.as_deref()),
                mfa_identity: identity.as_ref().map(|i| i.0.as_str()),
                basis: match basis {
                    Basis::UserList | Basis::DirectoryGroup | Basis::Cached | Basis::Unenrolled | Basis::Shadow => {
                        Some(basis.word())
                    }
                    // Said by the factor, by `degraded`, or by what was asked.
                    Basis::Verified | Basis::Unreachable | Basis::Authorized | Basis::Permit | Basis::Ended => None,
                },
                shadow: (*basis == Basis::Shadow).then_some(true),
                factor: factor.map(|f| f.word()),
                degraded: match footing {
                    Footing::Full => None,
                    Footing::Degraded => Some(true),
                },
                reason: Some(reason),
                cookie: cookie.as_deref(),
                ..Answer::new(id.as_deref(), "accept")
            },
            Verdict::Reject(Reject { class, code, service, reason, remarks, retry_after }) => Answer {
                error: Some(WireError { class: class.word(), code, service: service.as_deref() }),
                message: Some(told(remarks.as_deref()).unwrap_or(class.message())),
                reason: Some(reason),
                trace: Some(trace),
                retry_after_s: retry_after.map(|d| d.as_secs().max(1)),
                ..Answer::new(id.as_deref(), "reject")
            },
            Verdict::NeedInfo(NeedInfo { question, cookie }) => Answer {
                question: Some(WireQuestion {
                    key: &question.key,
                    prompt: &question.prompt,
                    disable_echo: match question.echo {
                        Echo::Hide => true,
                        Echo::Show => false,
                    },
                }),
                cookie: cookie.as_deref(),
                ..Answer::new(id.as_deref(), "need_info")
            },
        };
        answer.challenge = challenge.map(WireChallenge::from);
        answer.session_cookie = (!session_cookie.is_empty()).then_some(Written(session_cookie));
        line(&answer, out);
    }

    fn write_cancelled(&self, id: Option<&RequestId>, found: bool, out: &mut Vec<u8>) {
        let id = raw(id);
        line(&Answer { cancelled: Some(found), ..Answer::bare(id.as_deref()) }, out);
    }

    fn write_greeting(&self, id: Option<&RequestId>, greeting: &Greeting, out: &mut Vec<u8>) {
        let id = raw(id);
        let hello = WireHello {
            name: "countersign",
            version: env!("CARGO_PKG_VERSION"),
            protocol_versions: [VERSION],
            capabilities: CAPABILITIES,
            clients: &greeting.clients,
            max_line_bytes: super::LINE_LIMIT,
            max_in_flight: greeting.max_in_flight,
        };
        line(&Answer { hello: Some(hello), ..Answer::bare(id.as_deref()) }, out);
    }
}

/// Everything that can be in an answer, in the order of protocol.md.
#[derive(Serialize)]
struct Answer<'a> {
    v: u64,
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<WireError<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    question: Option<WireQuestion<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge: Option<WireChallenge<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_groups: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mfa_identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    factor: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_cookie: Option<Written<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hello: Option<WireHello<'a>>,
}

#[derive(Serialize)]
struct WireError<'a> {
    class: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
}

#[derive(Serialize)]
struct WireQuestion<'a> {
    key: &'a str,
    prompt: &'a str,
    disable_echo: bool,
}

#[derive(Serialize)]
struct WireChallenge<'a> {
    id: &'a str,
    state: &'static str,
    purpose: &'a str,
    expires_s: u64,
}

impl<'a> From<&'a Told> for WireChallenge<'a> {
    fn from(told: &'a Told) -> Self {
        let Told { id, state, purpose, expires } = told;
        Self { id: &id.0, state: state.word(), purpose: purpose.as_str(), expires_s: *expires }
    }
}

#[derive(Serialize)]
struct WireHello<'a> {
    name: &'static str,
    version: &'static str,
    protocol_versions: [u64; 1],
    capabilities: [&'static str; 10],
    clients: &'a [String],
    max_line_bytes: usize,
    max_in_flight: usize,
}

impl<'a> Answer<'a> {
    const fn bare(id: Option<&'a RawValue>) -> Self {
        Self {
            v: VERSION,
            id,
            verdict: None,
            error: None,
            message: None,
            question: None,
            challenge: None,
            gateway_user: None,
            gateway_groups: None,
            mfa_identity: None,
            basis: None,
            factor: None,
            degraded: None,
            shadow: None,
            reason: None,
            retry_after_s: None,
            cookie: None,
            session_cookie: None,
            trace: None,
            cancelled: None,
            hello: None,
        }
    }

    const fn new(id: Option<&'a RawValue>, verdict: &'static str) -> Self {
        Self { verdict: Some(verdict), ..Self::bare(id) }
    }
}

/// What a service wants the claimant to be told.
fn told(remarks: Option<&Remarks>) -> Option<&str> {
    remarks?.message.as_deref()
}

fn line(answer: &Answer<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, answer).is_err() {
        // Writing into memory does not fail; if it ever did, the line is still one and still no accept.
        out.truncate(start);
        out.extend_from_slice(br#"{"v":1,"id":null,"verdict":"reject","error":{"class":"internal_error","code":"encoding_failed"},"message":"Internal error"}"#);
    }
    out.push(b'\n');
}

/// The id as JSON, the way it was taken in.
fn raw(id: Option<&RequestId>) -> Option<Box<RawValue>> {
    id.and_then(|id| RawValue::from_string(id.0.clone()).ok())
}

/// Which request `line`, an answer, is for: its id, where that had one. `None` where it is no answer.
pub fn answered(line: &[u8]) -> Option<Option<RequestId>> {
    let (value, id) = tree::parse(line);
    match value.ok()? {
        Json::Object(_) => Some(id.and_then(|id| request_id(&id))),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => None,
    }
}

fn request_id(id: &Json) -> Option<RequestId> {
    let text = match id {
        Json::Text(text) => serde_json::to_string(text).ok()?,
        Json::Number(number) => number.to_string(),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    (text.len() <= ID_LIMIT).then_some(RequestId(text))
}

impl Fields {
    fn read(mut self, id: Option<RequestId>) -> Result<Inbound, Fault> {
        match self.take("id") {
            None => {}
            Some(Json::Text(_) | Json::Number(_)) if id.is_some() => {}
            Some(Json::Text(_) | Json::Number(_)) => return Err(invalid("id_too_long", "id: longer than 256 bytes")),
            Some(other) => return Err(wrong("id", "a string or a number", other.kind())),
        }
        if let Some(version) = self.number("v")?
            && version != VERSION
        {
            return Err(invalid("unsupported_version", format!("v: this program speaks version {VERSION}")));
        }
        let word = self.text("type")?;
        let kind = match word.as_deref() {
            Some("authenticate") => Kind::Authenticate,
            Some("authorize") => Kind::Authorize,
            Some("session_ended") => Kind::SessionEnded,
            Some("hello") => return Ok(Inbound::Hello { id }),
            Some("cancel") => return self.cancel(id),
            Some(word) => match self.act(word)? {
                Some(act) => Kind::Challenge(Box::new(act)),
                None => {
                    return Err(invalid(
                        "unknown_type",
                        "type: expected authenticate, authorize, session_ended, challenge_request, challenge_confirm, \
                         challenge_check, challenge_use, cancel or hello",
                    ));
                }
            },
            None => return Err(invalid("missing_field", "type: is missing")),
        };
        let request = Request {
            kind,
            name: id.as_ref().map(|id| id.0.clone()),
            session: self.session()?,
            answers: self.answers()?,
            cookie: self.text("cookie")?.map(Secret::new),
            session_cookie: session_cookie::read(self.take("session_cookie"))
                .map_err(|kind| wrong("session_cookie", "an object", kind))?,
            deadline: match self.number("deadline_ms")? {
                Some(0) => return Err(invalid("wrong_value", "deadline_ms: expected at least 1")),
                other => other.map(Duration::from_millis),
            },
            dialogue: match self.flag("dialogue")? {
                None => Dialogue::ByProtocol,
                Some(true) => Dialogue::Open,
                Some(false) => Dialogue::Closed,
            },
            beginning: match self.flag("begun")? {
                Some(true) => Beginning::Before,
                Some(false) | None => Beginning::Anywhere,
            },
            conversation: Conversation::default(),
        };
        let unknown = self.names().map(Into::into).collect();
        Ok(Inbound::Decide { id, request: Box::new(request), unknown })
    }

    fn cancel(mut self, id: Option<RequestId>) -> Result<Inbound, Fault> {
        let target = match self.take("target") {
            None => id.clone(),
            Some(target) => match request_id(&target) {
                Some(target) => Some(target),
                None => return Err(wrong("target", "the id of a request", target.kind())),
            },
        };
        match target {
            Some(target) => Ok(Inbound::Cancel { id, target }),
            None => Err(invalid("missing_field", "target: is missing, and so is id")),
        }
    }
}

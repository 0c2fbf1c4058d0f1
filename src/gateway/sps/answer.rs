//! The verdict as the dict that the SDK returns.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::super::Said;
use super::super::session_cookie::Written;
use super::COOKIE;
use super::kept::Kept;
use super::python;
use crate::domain::fault::Class;
use crate::domain::outcome::{Denial, Remarks};
use crate::domain::request::Kind;
use crate::domain::verdict::{Accept, Basis, Echo, NeedInfo, Reject, Verdict};

/// What stands where nothing is said.
const NOTHING: &str = "N/A";

/// The line that is said, in the end, where nothing else can be.
const LAST: &[u8] = br#"{"verdict":"DENY","additional_metadata":"{\"reason\": \"Internal error\"}","reason":"Internal error","cookie":{},"session_cookie":{}}"#;

/// Everything that can be in an answer, in the order of the SDK.
#[derive(Serialize)]
struct Answer<'a> {
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    question: Option<(&'a str, &'a str, bool)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_metadata: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_groups: Option<&'a [String]>,
    cookie: BTreeMap<&'a str, Cow<'a, RawValue>>,
    session_cookie: SessionCookieSaid<'a>,
}

/// The session cookie as it is now, or as it came where nothing was decided.
#[derive(Serialize)]
#[serde(untagged)]
enum SessionCookieSaid<'a> {
    Now(Written<'a>),
    Came(&'a RawValue),
    None {},
}

/// Writes what is said to the call of which `kept` is kept, as one line.
pub fn line(kept: &Kept<'_>, said: Said<'_>, out: &mut Vec<u8>) {
    if kept.is(Kind::SessionEnded) {
        out.extend_from_slice(b"null\n");
        return;
    }
    let start = out.len();
    if serde_json::to_writer(&mut *out, &answer(kept, said)).is_err() {
        // Writing into memory does not fail; if it ever did, the line is still one and still no accept.
        out.truncate(start);
        out.extend_from_slice(LAST);
    }
    out.push(b'\n');
}

fn answer<'a>(kept: &'a Kept<'_>, said: Said<'a>) -> Answer<'a> {
    // Which line of the log it is, the dict has no place for.
    let Said { verdict, trace: _, session_cookie } = said;
    let mut answer = Answer {
        verdict: "DENY",
        question: None,
        additional_metadata: None,
        reason: None,
        gateway_user: None,
        gateway_groups: None,
        cookie: BTreeMap::new(),
        session_cookie: match kept.session_cookie {
            Some(came) if session_cookie.is_empty() => SessionCookieSaid::Came(came),
            None if session_cookie.is_empty() => SessionCookieSaid::None {},
            Some(_) | None => SessionCookieSaid::Now(Written(session_cookie)),
        },
    };
    let cookie = match verdict {
        Verdict::Accept(accept) => {
            accepted(accept, kept, &mut answer);
            accept.cookie.as_deref()
        }
        Verdict::Reject(reject) => {
            rejected(reject, &mut answer);
            None
        }
        Verdict::NeedInfo(NeedInfo { question, cookie }) => {
            answer.verdict = "NEEDINFO";
            let hides = match question.echo {
                Echo::Hide => true,
                Echo::Show => false,
            };
            answer.question = Some((&question.key, &question.prompt, hides));
            cookie.as_deref()
        }
    };
    for (key, value) in kept.cookie.iter().flatten() {
        answer.cookie.insert(key, Cow::Borrowed(*value));
    }
    if let Some(ours) = cookie.and_then(|ours| to_raw_value(ours).ok()) {
        answer.cookie.insert(COOKIE, Cow::Owned(ours));
    }
    answer
}

fn accepted<'a>(accept: &'a Accept, kept: &Kept<'_>, answer: &mut Answer<'a>) {
    let Accept { claimant, identity: _, basis, factor: _, service, footing: _, reason, remarks, cookie: _ } = accept;
    answer.verdict = "ACCEPT";
    answer.additional_metadata = Some(match (remarks, basis) {
        (Some(remarks), _) => said_by_service(remarks),
        (None, Basis::UserList) => python::reason("User whitelisted based on user list").into(),
        (None, Basis::DirectoryGroup) => python::reason("User whitelisted based on ldap group").into(),
        (None, Basis::Cached) => python::reason("User allowed based on cached authentication").into(),
        (None, Basis::Unreachable) => {
            let service = service.as_deref().unwrap_or("the service");
            python::reason(&format!("{service} is not reachable, fallback enabled")).into()
        }
        (None, Basis::Authorized) => python::reason("Authorize hook not implemented").into(),
        (None, Basis::Verified | Basis::Ended) => python::reason(reason).into(),
    });
    match remarks.as_deref() {
        Some(Remarks { reason: _, metadata: _, gateway_user: Some(user), gateway_groups, session_cookie: _ }) => {
            answer.gateway_user = Some(&user.0);
            answer.gateway_groups = Some(gateway_groups);
        }
        Some(Remarks { reason: _, metadata: _, gateway_user: None, gateway_groups: _, session_cookie: _ }) | None => {
            let is_news = |user: &&str| kept.is(Kind::Authenticate) && kept.user.as_deref() != Some(*user);
            if let Some(user) = claimant.as_ref().map(|claimant| claimant.0.as_str()).filter(is_news) {
                answer.gateway_user = Some(user);
                answer.gateway_groups = Some(&[]);
            }
        }
    }
}

fn rejected<'a>(reject: &'a Reject, answer: &mut Answer<'a>) {
    let Reject { class, code, service: _, reason, remarks, message, retry_after: _ } = reject;
    let (metadata, shown) = if let Some(remarks) = remarks {
        (said_by_service(remarks), message.as_deref().unwrap_or_default())
    } else if *code == Denial::NoClaimant.code() {
        (python::reason("No username identified").into(), NOTHING)
    } else if *code == (Denial::TooManySessions { limit: 0 }).code() {
        (python::reason("Connection limit reached").into(), NOTHING)
    } else if *code == Denial::Undecided.code() {
        // As the SDK spells it.
        (python::reason("Unexpected error occured, authentication steps yield None").into(), NOTHING)
    } else {
        let shown = match class {
            Class::AuthenticationFailure => "Authentication failed",
            Class::CommunicationError => "Communication Error",
            Class::ServiceUnreachable => "Backend service unreachable",
            Class::PolicyDenied | Class::InvalidRequest | Class::InternalError => class.message(),
        };
        (python::reason(reason).into(), message.as_deref().unwrap_or(shown))
    };
    answer.additional_metadata = Some(metadata);
    answer.reason = Some(if shown.is_empty() { NOTHING } else { shown });
}

/// What a service that answers in verdicts wants kept.
fn said_by_service(remarks: &Remarks) -> Cow<'_, str> {
    let Remarks { reason, metadata, gateway_user: _, gateway_groups: _, session_cookie: _ } = remarks;
    match metadata {
        Some(metadata) => metadata.into(),
        None => python::reason(reason.as_deref().unwrap_or_default()).into(),
    }
}

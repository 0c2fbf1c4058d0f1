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
use crate::domain::outcome::{Denial, Metadata, Remarks};
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
    if kept.is(&Kind::SessionEnded) {
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
    let Said { verdict, trace: _, session_cookie, challenge: _, sent: _ } = said;
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
    let Accept { claimant, identity: _, basis, factor, service, footing: _, reason, remarks, cookie: _ } = accept;
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
        (None, Basis::Authorized) if factor.is_none() => python::reason("Authorize hook not implemented").into(),
        // With a factor: a fresh proof was wanted, and given.
        (
            None,
            Basis::Authorized | Basis::Verified | Basis::Unenrolled | Basis::Permit | Basis::Shadow | Basis::Ended,
        ) => python::reason(reason).into(),
    });
    answer.reason = remarks.as_ref().and_then(|remarks| remarks.message.as_deref());
    match remarks.as_deref() {
        Some(Remarks {
            reason: _,
            message: _,
            metadata: _,
            gateway_user: Some(user),
            gateway_groups,
            session_cookie: _,
        }) => {
            answer.gateway_user = Some(&user.0);
            answer.gateway_groups = Some(gateway_groups);
        }
        Some(Remarks {
            reason: _,
            message: _,
            metadata: _,
            gateway_user: None,
            gateway_groups: _,
            session_cookie: _,
        })
        | None => {
            let is_news = |user: &&str| kept.is(&Kind::Authenticate) && kept.user.as_deref() != Some(*user);
            if let Some(user) = claimant.as_ref().map(|claimant| claimant.0.as_str()).filter(is_news) {
                answer.gateway_user = Some(user);
                answer.gateway_groups = Some(&[]);
            }
        }
    }
}

fn rejected<'a>(reject: &'a Reject, answer: &mut Answer<'a>) {
    let Reject { class, code, service: _, reason, remarks, retry_after: _ } = reject;
    let (metadata, shown) = if let Some(remarks) = remarks {
        (said_by_service(remarks), remarks.message.as_deref().unwrap_or_default())
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
        (python::reason(reason).into(), shown)
    };
    answer.additional_metadata = Some(metadata);
    answer.reason = Some(if shown.is_empty() { NOTHING } else { shown });
}

/// What a service that answers in verdicts wants kept.
fn said_by_service(remarks: &Remarks) -> Cow<'_, str> {
    let Remarks { reason, message: _, metadata, gateway_user: _, gateway_groups: _, session_cookie: _ } = remarks;
    match metadata {
        Some(Metadata::Text(text)) => text.into(),
        Some(Metadata::Json(json)) => python::dumps(json).into(),
        None => python::reason(reason.as_deref().unwrap_or_default()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::claimant::Claimant;
    use crate::domain::fault::Fault;
    use crate::domain::request::SessionCookie;
    use crate::domain::verdict::Footing;
    use crate::gateway::RequestId;

    fn accept(basis: Basis, remarks: Option<Remarks>) -> Verdict {
        Verdict::Accept(Accept {
            claimant: Some(Claimant("alice".into())),
            identity: None,
            basis,
            factor: None,
            service: Some("duo".into()),
            footing: Footing::Full,
            reason: "verified".into(),
            remarks: remarks.map(Box::new),
            cookie: Some("ours".into()),
        })
    }

    fn said(hook: Kind, verdict: &Verdict, session_cookie: &SessionCookie) -> String {
        let id =
            format!(r#"{{"hook":"{}","user":"alice","cookie":{{"k":1}},"session_cookie":{{"z":2}}}}"#, hook.word());
        let (id, mut out) = (RequestId(id), Vec::new());
        let said = Said { session_cookie, ..Said::bare(verdict, "t") };
        line(&Kept::of(Some(&id)), said, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn metadata(line: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value.get("additional_metadata").and_then(|text| text.as_str()).unwrap().to_owned()
    }

    #[test]
    fn every_ground_of_an_accept_has_its_reason() {
        for (basis, expected) in [
            (Basis::Verified, "verified"),
            (Basis::UserList, "User whitelisted based on user list"),
            (Basis::DirectoryGroup, "User whitelisted based on ldap group"),
            (Basis::Cached, "User allowed based on cached authentication"),
            (Basis::Unreachable, "duo is not reachable, fallback enabled"),
            (Basis::Authorized, "Authorize hook not implemented"),
        ] {
            let line = said(Kind::Authenticate, &accept(basis, None), &SessionCookie::default());
            assert_eq!(metadata(&line), format!(r#"{{"reason": "{expected}"}}"#));
        }
        let ended = said(Kind::SessionEnded, &accept(Basis::Ended, None), &SessionCookie::default());
        assert_eq!(ended, "null\n");
    }

    #[test]
    fn a_service_that_answers_in_verdicts_is_handed_on() {
        let plain =
            said(Kind::Authenticate, &accept(Basis::Verified, Some(Remarks::default())), &SessionCookie::default());
        assert_eq!(
            plain,
            "{\"verdict\":\"ACCEPT\",\"additional_metadata\":\"{\\\"reason\\\": \\\"N/A\\\"}\",\
             \"cookie\":{\"countersign\":\"ours\",\"k\":1},\"session_cookie\":{\"z\":2}}\n"
        );
        let remarks = Remarks {
            reason: Some("r".into()),
            metadata: Some(Metadata::Text("plain".into())),
            gateway_user: Some(Claimant("bob".into())),
            gateway_groups: vec!["g1".into()],
            ..Remarks::default()
        };
        let questions =
            SessionCookie { questions: Some([("t".into(), "T-1".into())].into()), ..SessionCookie::default() };
        assert_eq!(
            said(Kind::Authorize, &accept(Basis::Authorized, Some(remarks.clone())), &questions),
            "{\"verdict\":\"ACCEPT\",\"additional_metadata\":\"plain\",\"gateway_user\":\"bob\",\"gateway_groups\":[\"g1\"],\
             \"cookie\":{\"countersign\":\"ours\",\"k\":1},\"session_cookie\":{\"questions\":{\"t\":\"T-1\"}}}\n"
        );
        let denied = |remarks: Remarks, message: Option<&str>| {
            let remarks = Remarks { message: message.map(Into::into), ..remarks };
            let denial = Denial::Decided { remarks: Box::new(remarks) };
            said(Kind::Authenticate, &Verdict::Reject(denial.into()), &SessionCookie::default())
        };
        let told = denied(Remarks { reason: Some("é".into()), ..Remarks::default() }, Some("go away"));
        assert!(
            told.contains(r#""additional_metadata":"{\"reason\": \"\\u00e9\"}","reason":"go away","cookie":{"k":1}"#)
        );
        let untold = denied(Remarks::default(), None);
        assert!(untold.contains(r#""additional_metadata":"{\"reason\": \"N/A\"}","reason":"N/A""#), "{untold}");
    }

    #[test]
    fn every_denial_has_its_two_reasons() {
        let fault = |class| Fault { class, code: "c", service: None, reason: "why".into() };
        let cases: [(Reject, &str, &str); 10] = [
            (Denial::NoClaimant.into(), "No username identified", "N/A"),
            (Denial::TooManySessions { limit: 5 }.into(), "Connection limit reached", "N/A"),
            (Denial::Undecided.into(), "Unexpected error occured, authentication steps yield None", "N/A"),
            (Denial::WrongCode.into(), "the code matches no time step near now", "Authentication failed"),
            (
                Denial::Uncounted { missing: "client_ip" }.into(),
                "[connection_limit] counts sessions, and the request has no client_ip",
                "Access denied",
            ),
            (fault(Class::CommunicationError).into(), "why", "Communication Error"),
            (fault(Class::ServiceUnreachable).into(), "why", "Backend service unreachable"),
            (fault(Class::InvalidRequest).into(), "why", "Invalid request"),
            (fault(Class::InternalError).into(), "why", "Internal error"),
            (Fault { reason: String::new(), ..fault(Class::CommunicationError) }.into(), "N/A", "Communication Error"),
        ];
        for (reject, expected, shown) in cases {
            let line = said(Kind::Authenticate, &Verdict::Reject(reject), &SessionCookie::default());
            let expected = format!(r#"{{"reason": "{expected}"}}"#);
            assert_eq!(metadata(&line), expected);
            assert!(
                line.contains(&format!(r#","reason":"{shown}","cookie":{{"k":1}},"session_cookie":{{"z":2}}}}"#)),
                "{line}"
            );
        }
    }

    #[test]
    fn the_last_line_is_a_denial() {
        let value: serde_json::Value = serde_json::from_slice(LAST).unwrap();
        assert_eq!(value.get("verdict").and_then(|verdict| verdict.as_str()), Some("DENY"));
    }
}

//! The faults, each with what must be said of it.

use std::time::Duration;

use serde_json::Value;

use super::compress::{bomb, gzipped};
use super::misbehave::Misbehaviour;
use super::response::{Ending, Response};
use super::signed::Flaw;
use super::spoil;
use crate::domain::fault::{Class, Reach};

/// How fast it drips: faster than any time-out for a single read.
const TICK: Duration = Duration::from_millis(50);

/// More than anybody should take.
const GIBIBYTE: u64 = 1 << 30;

/// The most that a client of ours takes for a head is 400 KiB.
const HEAD_BOMB: usize = 1 << 20;

const PAGE: &str = "<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>";

/// Something that goes wrong, and what must be said of it.
pub struct Fault {
    /// What it is called: small letters, digits and dashes.
    pub name: &'static str,
    /// What the service does, for people.
    pub what: &'static str,
    /// The class of the verdict.
    pub class: Class,
    /// How far the request came.
    pub reach: Reach,
    /// The code of the verdict of an `[http NAME]` over TLS; other clients may have a word of their own.
    pub code: &'static str,
    pub(super) act: Act,
}

impl Fault {
    /// The fault of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FAULTS.iter().find(|fault| fault.name == name)
    }

    /// Over which kind of connection it can be played.
    pub const fn over(&self) -> Over {
        match &self.act {
            Act::Certificate(_) | Act::WantsCertificate | Act::LeavesHandshake | Act::Plain => Over::Tls,
            Act::Tls => Over::Plain,
            Act::Refuse
            | Act::Nowhere
            | Act::Blackhole
            | Act::Meet(_)
            | Act::Do(_)
            | Act::Say(_)
            | Act::Elsewhere(_)
            | Act::Around
            | Act::Sign(_) => Over::Either,
        }
    }
}

/// Which connections a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Tls,
    Plain,
    Either,
}

/// What is done with a connection at once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meeting {
    Silence,
    Close,
    Reset,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wrong {
    Expired,
    NotYetValid,
    Name,
    SelfSigned,
    Unknown,
}

/// What an answer that would let somebody in becomes; `None` where it cannot become that.
pub(super) type Spoil<T> = fn(&Response) -> Option<T>;

/// How a fault is played.
pub(super) enum Act {
    Refuse,
    Nowhere,
    Blackhole,
    Meet(Meeting),
    /// Something that no server should do.
    Do(Spoil<Misbehaviour>),
    /// An answer as it goes over the wire, and another than it should be.
    Say(Spoil<Response>),
    /// The status, with the address of somebody who would let everybody in.
    Elsewhere(u16),
    /// A redirection to itself.
    Around,
    Certificate(Wrong),
    WantsCertificate,
    LeavesHandshake,
    /// Plain HTTP on a port where TLS is expected.
    Plain,
    /// TLS on a port where plain HTTP is expected.
    Tls,
    Sign(Flaw),
}

/// What must be said.
struct Told(Class, Reach);

const AWAY: Told = Told(Class::ServiceUnreachable, Reach::NotSent);
const LOST: Told = Told(Class::ServiceUnreachable, Reach::Sent);
const DOWN: Told = Told(Class::ServiceUnreachable, Reach::Answered);
const UNTRUSTED: Told = Told(Class::CommunicationError, Reach::Sent);
const BROKEN: Told = Told(Class::CommunicationError, Reach::Answered);

const fn fault(name: &'static str, told: &Told, code: &'static str, act: Act, what: &'static str) -> Fault {
    Fault { name, what, class: told.0, reach: told.1, code, act }
}

fn json(accept: &Response, change: impl FnOnce(&str) -> String) -> Option<Response> {
    spoil::json(accept, change)
}

fn again(accept: &Response, when: &[&str]) -> Option<Response> {
    Some(when.iter().fold(accept.clone().status(429), |response, when| response.with("Retry-After", when)))
}

/// Every fault, in the order in which a request meets them.
#[rustfmt::skip]
pub static FAULTS: &[Fault] = &[
    // The way there.
    fault("no-such-name", &AWAY, "name_resolution", Act::Nowhere, "the name of the service has no address"),
    fault("refused", &AWAY, "connection_refused", Act::Refuse, "nobody listens on the port"),
    fault("blackhole", &AWAY, "connect_timeout", Act::Blackhole, "no connection comes about, and nobody says so"),
    fault("silent-port", &LOST, "tls_timeout", Act::Meet(Meeting::Silence), "takes the connection and never says anything"),
    fault("closed-port", &LOST, "connection_lost", Act::Meet(Meeting::Close), "takes the connection and closes it"),
    fault("reset-port", &LOST, "connection_lost", Act::Meet(Meeting::Reset), "resets the connection at its first byte"),
    // TLS.
    fault("expired-certificate", &UNTRUSTED, "tls_failed", Act::Certificate(Wrong::Expired), "a certificate that is over"),
    fault("future-certificate", &UNTRUSTED, "tls_failed", Act::Certificate(Wrong::NotYetValid), "a certificate that is not valid yet"),
    fault("wrong-name-certificate", &UNTRUSTED, "tls_failed", Act::Certificate(Wrong::Name), "a certificate of another name and address"),
    fault("self-signed-certificate", &UNTRUSTED, "tls_failed", Act::Certificate(Wrong::SelfSigned), "a certificate that nobody vouches for"),
    fault("unknown-authority", &UNTRUSTED, "tls_failed", Act::Certificate(Wrong::Unknown), "a certificate of an authority that is not in ca_file"),
    fault("wants-certificate", &UNTRUSTED, "tls_failed", Act::WantsCertificate, "wants a certificate of the client"),
    fault("leaves-handshake", &LOST, "connection_lost", Act::LeavesHandshake, "closes in the middle of the TLS handshake"),
    fault("plain-for-tls", &UNTRUSTED, "tls_failed", Act::Plain, "speaks plain HTTP where TLS is expected"),
    fault("tls-for-plain", &UNTRUSTED, "not_http", Act::Tls, "speaks TLS where plain HTTP is expected"),
    // No whole answer.
    fault("silence", &LOST, "read_timeout", Act::Do(|_| Some(Misbehaviour::Silence)), "reads the request and never answers"),
    fault("close", &LOST, "connection_lost", Act::Do(|_| Some(Misbehaviour::Close)), "reads the request and closes the connection"),
    fault("reset", &LOST, "connection_lost", Act::Do(|_| Some(Misbehaviour::Reset)), "reads the request and resets the connection"),
    fault("dripping-head", &LOST, "read_timeout", Act::Do(|_| Some(Misbehaviour::DripHead(TICK))), "sends headers without an end, a byte every 50 ms"),
    fault("dripping-body", &LOST, "read_timeout", Act::Do(|_| Some(Misbehaviour::DripBody(TICK))), "sends a body a byte every 50 ms"),
    fault("half-head", &LOST, "connection_lost", Act::Do(|a| Some(Misbehaviour::HalfHead(a.clone()))), "closes in the middle of the headers"),
    fault("half-body", &BROKEN, "truncated", Act::Do(|a| Some(Misbehaviour::HalfBody(a.clone()))), "closes in the middle of the body"),
    fault("reset-body", &BROKEN, "truncated", Act::Do(|a| Some(Misbehaviour::ResetBody(a.clone()))), "resets the connection in the middle of the body"),
    fault("half-chunks", &BROKEN, "truncated", Act::Do(|a| Some(Misbehaviour::HalfBody(a.clone().ending(Ending::Chunks)))), "closes in the middle of a chunked body"),
    fault("no-last-chunk", &BROKEN, "truncated", Act::Do(no_last_chunk), "sends all chunks but the last, which says that there are no more"),
    fault("length-too-long", &BROKEN, "truncated", Act::Do(|a| Some(Misbehaviour::LengthTooLong(a.clone()))), "Content-Length says more than comes"),
    fault("length-too-short", &BROKEN, "not_json", Act::Do(|a| Some(Misbehaviour::LengthTooShort(a.clone()))), "Content-Length says half of what comes"),
    // Too much of an answer, and none in HTTP.
    fault("huge-body", &BROKEN, "too_large", Act::Do(|a| Some(Misbehaviour::Huge(a.clone(), GIBIBYTE))), "a body of 1 GiB"),
    fault("huge-chunks", &BROKEN, "too_large", Act::Do(|a| Some(Misbehaviour::Huge(a.clone().ending(Ending::Chunks), GIBIBYTE))), "a body of 1 GiB in chunks"),
    fault("gzip", &BROKEN, "compressed", Act::Say(|a| gzipped(a).ok()), "a compressed body, which nobody asked for"),
    fault("gzip-bomb", &BROKEN, "compressed", Act::Say(|a| bomb(a).ok()), "a small compressed body that holds 128 MiB"),
    fault("header-bomb", &UNTRUSTED, "not_http", Act::Do(header_bomb), "headers of 1 MiB"),
    fault("many-headers", &UNTRUSTED, "not_http", Act::Do(many_headers), "a thousand headers"),
    fault("http-09", &UNTRUSTED, "not_http", Act::Do(|a| Some(Misbehaviour::Raw(a.body.clone()))), "a body without a head, as in HTTP/0.9"),
    fault("not-http", &UNTRUSTED, "not_http", Act::Do(|_| Some(Misbehaviour::Raw(b"220 mail.corp.example ESMTP\r\n".to_vec()))), "speaks another protocol"),
    // Statuses; the body is the one that would let somebody in.
    fault("redirect-301", &BROKEN, "redirected", Act::Elsewhere(301), "sends to a place that lets everybody in"),
    fault("redirect-302", &BROKEN, "redirected", Act::Elsewhere(302), "the same"),
    fault("redirect-303", &BROKEN, "redirected", Act::Elsewhere(303), "the same"),
    fault("redirect-307", &BROKEN, "redirected", Act::Elsewhere(307), "the same"),
    fault("redirect-308", &BROKEN, "redirected", Act::Elsewhere(308), "the same"),
    fault("redirect-loop", &BROKEN, "redirected", Act::Around, "sends to itself"),
    fault("status-204", &BROKEN, "not_json", Act::Say(|_| Some(Response::empty(204))), "status 204, and no body"),
    fault("status-400", &BROKEN, "http_status", Act::Say(|a| Some(a.clone().status(400))), "status 400"),
    fault("status-401", &BROKEN, "credentials_refused", Act::Say(|a| Some(a.clone().status(401))), "status 401"),
    fault("status-403", &BROKEN, "credentials_refused", Act::Say(|a| Some(a.clone().status(403))), "status 403"),
    fault("status-404", &BROKEN, "http_status", Act::Say(|a| Some(a.clone().status(404))), "status 404"),
    fault("status-405", &BROKEN, "http_status", Act::Say(|a| Some(a.clone().status(405))), "status 405"),
    fault("status-429", &BROKEN, "rate_limited", Act::Say(|a| again(a, &[])), "status 429 for ever"),
    fault("retry-at-once", &BROKEN, "rate_limited", Act::Say(|a| again(a, &["0"])), "status 429 for ever, with Retry-After: 0"),
    fault("retry-soon", &BROKEN, "rate_limited", Act::Say(|a| again(a, &["1"])), "status 429 for ever, with Retry-After: 1"),
    fault("retry-tomorrow", &BROKEN, "rate_limited", Act::Say(|a| again(a, &["86400"])), "status 429 with Retry-After: 86400"),
    fault("retry-in-the-past", &BROKEN, "rate_limited", Act::Say(|a| again(a, &["Thu, 01 Jan 1970 00:00:00 GMT"])), "status 429 for ever, with a Retry-After of 1970"),
    fault("retry-absurd", &BROKEN, "rate_limited", Act::Say(|a| again(a, &["18446744073709551615"])), "status 429 with a Retry-After of 584 thousand million years"),
    fault("retry-repeated", &BROKEN, "rate_limited", Act::Say(|a| again(a, &["1", "0", "-1", "soon"])), "status 429 for ever, with four Retry-After that contradict each other"),
    fault("status-500", &BROKEN, "http_status", Act::Say(|a| Some(a.clone().status(500))), "status 500"),
    fault("status-501", &BROKEN, "http_status", Act::Say(|a| Some(a.clone().status(501))), "status 501"),
    fault("status-502", &DOWN, "service_unavailable", Act::Say(|a| Some(a.clone().status(502))), "status 502"),
    fault("status-503", &DOWN, "service_unavailable", Act::Say(|a| Some(a.clone().status(503))), "status 503"),
    fault("status-504", &DOWN, "service_unavailable", Act::Say(|a| Some(a.clone().status(504))), "status 504"),
    fault("status-505", &BROKEN, "http_status", Act::Say(|a| Some(a.clone().status(505))), "status 505"),
    fault("status-507", &BROKEN, "http_status", Act::Say(|a| Some(a.clone().status(507))), "status 507"),
    // Bodies.
    fault("html", &BROKEN, "not_json", Act::Say(|_| Some(Response::new(200, "text/html; charset=utf-8", PAGE))), "a web page"),
    fault("hidden-html", &BROKEN, "not_json", Act::Say(|a| Some(a.clone().body(PAGE))), "a web page with the Content-Type of the right answer"),
    fault("wrong-content-type", &BROKEN, "not_json", Act::Say(|a| Some(a.clone().content_type("text/html"))), "the right answer with the Content-Type of a web page"),
    fault("empty-body", &BROKEN, "not_json", Act::Say(|a| Some(a.clone().body(""))), "an empty body"),
    fault("utf-16", &BROKEN, "bad_charset", Act::Say(spoil::wide), "the right answer in UTF-16"),
    fault("utf-16-in-name", &BROKEN, "bad_charset", Act::Say(|a| Some(spoil::charset(a, "utf-16"))), "the right answer, which says to be in UTF-16"),
    fault("latin-1-in-name", &BROKEN, "bad_charset", Act::Say(|a| Some(spoil::charset(a, "iso-8859-1"))), "the right answer, which says to be in Latin-1"),
    fault("latin-1", &BROKEN, "bad_charset", Act::Say(|a| Some(spoil::charset(&spoil::latin(a), "iso-8859-1"))), "the right answer in Latin-1"),
    fault("invalid-utf-8", &BROKEN, "not_json", Act::Say(|a| Some(spoil::latin(a))), "the right answer with a byte that no UTF-8 has"),
    fault("keys-twice", &BROKEN, "not_json", Act::Say(spoil::twice), "the right answer with every key twice"),
    fault("half-json", &BROKEN, "not_json", Act::Say(|a| json(a, |text| text.chars().take(text.len() / 2).collect())), "half of the JSON, as if it were whole"),
    fault("json-and-more", &BROKEN, "not_json", Act::Say(|a| json(a, |text| format!("{text}{{}}"))), "something behind the JSON"),
    fault("json-twice", &BROKEN, "not_json", Act::Say(|a| json(a, |text| format!("{text}\n{text}"))), "the JSON twice"),
    fault("deep-json", &BROKEN, "not_json", Act::Say(|a| json(a, |_| "[".repeat(100_000) + &"]".repeat(100_000))), "JSON that is nested 100,000 deep"),
    fault("json-in-list", &BROKEN, "unexpected_answer", Act::Say(|a| json(a, |text| format!("[{text}]"))), "a list around the right answer"),
    fault("json-in-string", &BROKEN, "unexpected_answer", Act::Say(|a| json(a, |text| Value::from(text).to_string())), "the right answer as a string"),
    fault("null", &BROKEN, "unexpected_answer", Act::Say(|a| json(a, |_| "null".to_owned())), "null"),
    fault("list", &BROKEN, "unexpected_answer", Act::Say(|a| json(a, |_| "[]".to_owned())), "an empty list"),
    fault("empty-object", &BROKEN, "unexpected_answer", Act::Say(|a| json(a, |_| "{}".to_owned())), "an empty object"),
    fault("true-as-string", &BROKEN, "unexpected_answer", Act::Say(|a| spoil::truth(a, &Value::from("true"))), "\"true\" where the right answer says true"),
    fault("true-as-number", &BROKEN, "unexpected_answer", Act::Say(|a| spoil::truth(a, &Value::from(1))), "1 where the right answer says true"),
    // Signatures.
    fault("wrong-signature", &BROKEN, "bad_signature", Act::Sign(Flaw::Signature), "a yes that somebody else signed"),
    fault("other-request", &BROKEN, "unexpected_answer", Act::Sign(Flaw::Request), "a yes, rightly signed, to another request or for another client"),
];

fn no_last_chunk(accept: &Response) -> Option<Misbehaviour> {
    let mut bytes = accept.clone().ending(Ending::Chunks).bytes("");
    bytes.truncate(bytes.len().checked_sub(b"0\r\n\r\n".len())?);
    Some(Misbehaviour::Raw(bytes))
}

fn header_bomb(accept: &Response) -> Option<Misbehaviour> {
    Some(Misbehaviour::Raw(accept.clone().with("X-Padding", &"a".repeat(HEAD_BOMB)).bytes("")))
}

#[expect(clippy::unnecessary_wraps, reason = "a row of the table")]
fn many_headers(accept: &Response) -> Option<Misbehaviour> {
    let response = (0..1000).fold(accept.clone(), |response, n| response.with(&format!("X-Padding-{n}"), "a"));
    Some(Misbehaviour::Raw(response.bytes("")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own_that_can_be_typed() {
        let names: BTreeSet<&str> = FAULTS.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), FAULTS.len());
        for fault in FAULTS {
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(fault.name.chars().all(is_plain) && !fault.what.is_empty(), "{}", fault.name);
            assert!(std::ptr::eq(Fault::named(fault.name).unwrap(), fault));
        }
        assert!(names.len() > 25);
    }
}

//! Everything that can go wrong between a client and its service, and what must be said of it: one table for the tests
//! of all clients.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::runtime;

use super::authority::{Authority, Certificate, Validity};
use super::http::{Ending, Response};
use super::web::{Misbehaviour, Reply, Web};

/// The names of what the servers here are reached by.
const NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

/// How fast it drips: faster than any time-out for a single read.
const TICK: Duration = Duration::from_millis(50);

/// More than anybody should take.
const GIBIBYTE: u64 = 1 << 30;

// ------------------------------------------------------------------------------------------------- places without web

/// A port where nobody listens, and which nobody else gets: it is bound all the time.
pub struct Refused(TcpSocket);

impl Refused {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self(socket)
    }

    /// Address and port.
    pub fn host(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }
}

/// A port where no connection comes about: the kernel has no room for one more, and says nothing.
pub struct Blackhole {
    _listener: TcpListener,
    _filling: Vec<TcpStream>,
    address: SocketAddr,
}

impl Blackhole {
    pub fn new() -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            socket.listen(0).unwrap().into_std().unwrap()
        };
        let address = listener.local_addr().unwrap();
        let mut filling = Vec::new();
        loop {
            match TcpStream::connect_timeout(&address, Duration::from_millis(250)) {
                Ok(stream) => filling.push(stream),
                Err(error) if error.kind() == ErrorKind::TimedOut => break,
                Err(error) => panic!("{error}"),
            }
            assert!(filling.len() < 16, "the kernel takes every connection");
        }
        Self { _listener: listener, _filling: filling, address }
    }

    /// Address and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }
}

/// What keeps a fault up.
enum Place {
    Nowhere,
    Refused(Refused),
    Blackhole(Blackhole),
    Web { web: Web, elsewhere: Option<Web> },
}

// --------------------------------------------------------------------------------------------------------- the table

/// Something that goes wrong, and what must be said of it.
pub struct Fault {
    pub name: String,
    /// Where it happens: scheme, host and port.
    pub url: String,
    /// The class of the verdict.
    pub class: &'static str,
    /// How far the request came: not_sent, sent or answered.
    pub reach: &'static str,
    place: Place,
}

impl Fault {
    /// The server, if it is one.
    pub fn web(&self) -> Option<&Web> {
        match &self.place {
            Place::Web { web, elsewhere: _ } => Some(web),
            Place::Nowhere | Place::Refused(_) | Place::Blackhole(_) => None,
        }
    }

    /// How many connections came to where a redirection points.
    pub fn asked_elsewhere(&self) -> usize {
        match &self.place {
            Place::Web { web: _, elsewhere: Some(elsewhere) } => elsewhere.seen().connections,
            Place::Web { web: _, elsewhere: None } | Place::Nowhere | Place::Refused(_) | Place::Blackhole(_) => 0,
        }
    }
}

/// What must be said.
#[derive(Clone, Copy)]
enum Told {
    /// service_unreachable, not_sent
    Away,
    /// service_unreachable, sent
    Lost,
    /// service_unreachable, answered
    Down,
    /// communication_error, sent
    Untrusted,
    /// communication_error, answered
    Broken,
}

impl Told {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Away => ("service_unreachable", "not_sent"),
            Self::Lost => ("service_unreachable", "sent"),
            Self::Down => ("service_unreachable", "answered"),
            Self::Untrusted => ("communication_error", "sent"),
            Self::Broken => ("communication_error", "answered"),
        }
    }
}

/// All faults, each at a place of its own: over TLS with certificates of `authority`, or over plain TCP.
///
/// `accept` is an answer that would let somebody in. Wherever there is an answer at all, it is that one, spoilt.
pub fn faults(authority: Option<&Authority>, accept: &Response) -> Vec<Fault> {
    let certificate = authority.map(|authority| authority.certificate(&NAMES, Validity::Valid));
    let mut table = Table { certificate, faults: Vec::new() };
    table.connections();
    table.answers(accept);
    table.statuses(accept);
    table.bodies(accept);
    match authority {
        Some(authority) => table.certificates(authority, accept),
        None => {
            let certificate = Authority::new().certificate(&NAMES, Validity::Valid);
            let web = Web::always_tls(&certificate, accept.clone());
            let url = format!("http://{}", web.host());
            table.push("plain HTTP to a TLS port", Told::Untrusted, url, Place::Web { web, elsewhere: None });
        }
    }
    table.faults
}

struct Table {
    /// Of those that have nothing wrong with it; none over plain TCP.
    certificate: Option<Certificate>,
    faults: Vec<Fault>,
}

impl Table {
    fn push(&mut self, name: &str, told: Told, url: String, place: Place) {
        let (class, reach) = told.words();
        self.faults.push(Fault { name: name.to_owned(), url, class, reach, place });
    }

    fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "https" } else { "http" }
    }

    fn serve(&self, reply: impl Into<Reply>) -> Web {
        match &self.certificate {
            Some(certificate) => Web::always_tls(certificate, reply),
            None => Web::always(reply),
        }
    }

    /// A place that gives every request this reply.
    fn reply(&mut self, name: &str, told: Told, reply: impl Into<Reply>) {
        let web = self.serve(reply);
        self.push(name, told, web.url(""), Place::Web { web, elsewhere: None });
    }

    /// A place that is not told about TLS.
    fn door(&mut self, name: &str, web: Web) {
        let url = format!("{}://{}", self.scheme(), web.host());
        self.push(name, Told::Lost, url, Place::Web { web, elsewhere: None });
    }

    fn connections(&mut self) {
        let scheme = self.scheme();
        let refused = Refused::new();
        let url = format!("{scheme}://{}", refused.host());
        self.push("refused", Told::Away, url, Place::Refused(refused));
        self.push("no such name", Told::Away, format!("{scheme}://countersign-test.invalid"), Place::Nowhere);
        let blackhole = Blackhole::new();
        let url = format!("{scheme}://{}", blackhole.host());
        self.push("no connection comes about", Told::Away, url, Place::Blackhole(blackhole));
        self.door("silence from the start", Web::silent());
        self.door("closed from the start", Web::closing());
        self.door("reset at the first byte", Web::resetting());
    }

    fn answers(&mut self, accept: &Response) {
        let whole = || accept.clone();
        self.reply("no answer", Told::Lost, Misbehaviour::Silence);
        self.reply("closed without an answer", Told::Lost, Misbehaviour::Close);
        self.reply("reset without an answer", Told::Lost, Misbehaviour::Reset);
        self.reply("a head that drips", Told::Lost, Misbehaviour::DripHead(TICK));
        self.reply("a body that drips", Told::Lost, Misbehaviour::DripBody(TICK));
        self.reply("half a head", Told::Lost, Misbehaviour::HalfHead(whole()));
        self.reply("half a body", Told::Broken, Misbehaviour::HalfBody(whole()));
        let chunked = whole().ending(Ending::Chunks);
        self.reply("half of the chunks", Told::Broken, Misbehaviour::HalfBody(chunked.clone()));
        let mut bytes = chunked.bytes("");
        bytes.truncate(bytes.len() - b"0\r\n\r\n".len());
        self.reply("all chunks but the last", Told::Broken, Misbehaviour::Raw(bytes));
        self.reply("a length that is too long", Told::Broken, Misbehaviour::LengthTooLong(whole()));
        self.reply("a length that is too short", Told::Broken, Misbehaviour::LengthTooShort(whole()));
        self.reply("a huge body", Told::Broken, Misbehaviour::Huge(whole(), GIBIBYTE));
        self.reply("a huge body in chunks", Told::Broken, Misbehaviour::Huge(chunked, GIBIBYTE));
        self.reply("gzip that nobody asked for", Told::Broken, gzipped(accept));
        self.reply("a gzip bomb", Told::Broken, bomb(accept));
    }

    fn statuses(&mut self, accept: &Response) {
        for status in [301, 302, 303, 307, 308] {
            let elsewhere = self.serve(accept.clone());
            let web = self.serve(accept.clone().status(status).with("Location", &elsewhere.url("/")));
            let (url, place) = (web.url(""), Place::Web { web, elsewhere: Some(elsewhere) });
            self.push(&format!("status {status}"), Told::Broken, url, place);
        }
        for status in [400, 401, 403, 404, 405, 429, 500, 501, 505, 507] {
            self.reply(&format!("status {status}"), Told::Broken, accept.clone().status(status));
        }
        for status in [502, 503, 504] {
            self.reply(&format!("status {status}"), Told::Down, accept.clone().status(status));
        }
        for (name, seconds) in [("at once", "0"), ("in a second", "1"), ("tomorrow", "86400")] {
            let response = accept.clone().status(429).with("Retry-After", seconds);
            self.reply(&format!("status 429 for ever, come again {name}"), Told::Broken, response);
        }
        self.reply("status 204", Told::Broken, Response::empty(204));
    }

    fn bodies(&mut self, accept: &Response) {
        let page = "<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>";
        self.reply("an HTML page", Told::Broken, Response::new(200, "text/html; charset=utf-8", page));
        self.reply("an HTML page by another name", Told::Broken, accept.clone().body(page));
        self.reply("an empty body", Told::Broken, accept.clone().body(""));
        let media =
            accept.header("content-type").unwrap_or("text/plain").split(';').next().unwrap_or_default().to_owned();
        let text = String::from_utf8(accept.body.clone()).unwrap();
        let (utf_16, latin_1) = (format!("{media}; charset=utf-16"), format!("{media}; charset=iso-8859-1"));
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        self.reply("UTF-16", Told::Broken, accept.clone().content_type(&utf_16).body(wide));
        self.reply("UTF-16 in name only", Told::Broken, accept.clone().content_type(&utf_16));
        self.reply("Latin-1 in name only", Told::Broken, accept.clone().content_type(&latin_1));
        let Ok(Value::Object(members)) = serde_json::from_str(&text) else {
            self.reply(
                "invalid UTF-8",
                Told::Broken,
                accept.clone().body([text.as_bytes(), b"\nnote=\xe9\n"].concat()),
            );
            return;
        };
        let rest = text.trim_start().strip_prefix('{').unwrap().as_bytes();
        let latin = [b"{\"note\": \"\xe9\",", rest].concat();
        self.reply("Latin-1", Told::Broken, accept.clone().content_type(&latin_1).body(latin.clone()));
        self.reply("invalid UTF-8", Told::Broken, accept.clone().body(latin));
        let members: Vec<String> =
            members.iter().map(|(key, value)| format!("{}:{value}", Value::from(&**key))).collect();
        let members = members.join(",");
        self.reply("every key twice", Told::Broken, accept.clone().body(format!("{{{members},{members}}}")));
        for (name, body) in [
            ("JSON that ends early", text[..text.len() / 2].to_owned()),
            ("something behind the JSON", format!("{text}{{}}")),
            ("the JSON twice", format!("{text}\n{text}")),
            ("a list around the JSON", format!("[{text}]")),
            ("a string around the JSON", Value::from(&*text).to_string()),
            ("null", "null".to_owned()),
            ("a list", "[]".to_owned()),
            ("an empty object", "{}".to_owned()),
            ("an abyss", "[".repeat(100_000) + &"]".repeat(100_000)),
        ] {
            self.reply(name, Told::Broken, accept.clone().body(body));
        }
        for (name, truth) in [("true as a string", Value::from("true")), ("true as a number", Value::from(1))] {
            let mut body: Value = serde_json::from_str(&text).unwrap();
            if replace(&mut body, &truth) > 0 {
                self.reply(name, Told::Broken, accept.clone().body(body.to_string()));
            }
        }
    }

    fn certificates(&mut self, authority: &Authority, accept: &Response) {
        let stranger = Authority::new();
        for (name, certificate) in [
            ("an expired certificate", authority.certificate(&NAMES, Validity::Expired)),
            ("a certificate of the future", authority.certificate(&NAMES, Validity::NotYetValid)),
            (
                "a certificate of somebody else",
                authority.certificate(&["elsewhere.example", "192.0.2.1"], Validity::Valid),
            ),
            ("a certificate that nobody signed", authority.self_signed(&NAMES)),
            ("a certificate of an unknown authority", stranger.certificate(&NAMES, Validity::Valid)),
        ] {
            let web = Web::always_tls(&certificate, accept.clone());
            self.push(name, Told::Untrusted, web.url(""), Place::Web { web, elsewhere: None });
        }
        let (certificate, reply) = (authority.certificate(&NAMES, Validity::Valid), accept.clone());
        let web = Web::serve_mutual_tls(&certificate, authority, move |_| reply.clone());
        let url = web.url("");
        self.push("a server that wants a certificate", Told::Untrusted, url, Place::Web { web, elsewhere: None });
        let web = Web::always(accept.clone());
        web.excuse();
        let url = format!("https://{}", web.host());
        self.push("TLS to a plain port", Told::Untrusted, url, Place::Web { web, elsewhere: None });
    }
}

/// Replaces everything that is true, and says how much was.
fn replace(value: &mut Value, truth: &Value) -> usize {
    match value {
        Value::Bool(true) => {
            *value = truth.clone();
            1
        }
        Value::Array(items) => items.iter_mut().map(|item| replace(item, truth)).sum(),
        Value::Object(members) => members.values_mut().map(|item| replace(item, truth)).sum(),
        Value::Null | Value::Bool(false) | Value::Number(_) | Value::String(_) => 0,
    }
}

// --------------------------------------------------------------------------------------------------------- compression

/// The same, compressed.
pub fn gzipped(response: &Response) -> Response {
    gzip(response, 0)
}

/// The same with 128 MiB of spaces behind it, in less than 256 KiB.
pub fn bomb(response: &Response) -> Response {
    gzip(response, 16)
}

/// The body and `count` times 8 MiB of spaces. What is compressed for itself may stand behind anything, and any number of
/// times.
fn gzip(response: &Response, count: u32) -> Response {
    let spaces = vec![b' '; 8 << 20];
    let (padding, mut checksum, mut padding_checksum) = (blocks(&spaces), Crc::new(), Crc::new());
    padding_checksum.update(&spaces);
    checksum.update(&response.body);
    let mut bytes = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    bytes.extend(blocks(&response.body));
    for _ in 0..count {
        bytes.extend(&padding);
        checksum.combine(&padding_checksum);
    }
    bytes.extend(DeflateEncoder::new(Vec::new(), Compression::best()).finish().unwrap());
    bytes.extend(checksum.sum().to_le_bytes());
    bytes.extend(checksum.amount().to_le_bytes());
    response.clone().with("Content-Encoding", "gzip").body(bytes)
}

/// `bytes` deflated, without an end.
fn blocks(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.flush().unwrap();
    encoder.get_ref().clone()
}

//! HTTP/1.1 as a server sees it, by hand and strictly: requests are read to the letter of RFC 9112, and what a client got
//! wrong is told even where a real server would look away.

use std::io;
use std::time::Instant;

pub use countersign::simulate::response::{Ending, Response};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How long a head and a body may be.
const HEAD: usize = 64 * 1024;
const BODY: usize = 16 * 1024 * 1024;

// ------------------------------------------------------------------------------------------------------- the request

/// What a client asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which connection it came over, counted from 0.
    pub connection: usize,
    /// When its last byte was read.
    pub at: Instant,
    pub method: String,
    /// As it was sent.
    pub target: String,
    /// The target before the question mark, as it was sent.
    pub path: String,
    /// The pairs behind the question mark, decoded.
    pub query: Vec<(String, String)>,
    /// As they were sent, in their order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The name in the TLS handshake.
    pub server_name: Option<String>,
    /// The certificate that the client showed, in DER.
    pub client_certificate: Option<Vec<u8>>,
}

impl Request {
    /// The value of a header, in whatever case its name was sent.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The decoded value of `name` in the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find_map(|(other, value)| (other == name).then_some(value.as_str()))
    }

    /// The decoded pairs of a form.
    pub fn form(&self) -> Vec<(String, String)> {
        pairs(&self.body)
    }

    /// The decoded value of `name` in a form.
    pub fn field(&self, name: &str) -> Option<String> {
        self.form().into_iter().find_map(|(other, value)| (other == name).then_some(value))
    }

    /// A JSON body, which it must be.
    #[track_caller]
    pub fn json(&self) -> Value {
        let shown = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {shown}"))
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find_map(|(other, value)| other.eq_ignore_ascii_case(name).then_some(value.as_str()))
}

fn pairs(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

/// What came over a connection.
pub enum Received {
    /// A request, and what is wrong with it.
    Request(Box<Request>, Vec<String>),
    /// Nothing: the client closed the connection, or left it to its end.
    End,
    /// No request; what it is.
    Malformed(String),
}

/// Reads one request. `buffer` has what was read before and not used; `port` is ours.
pub async fn receive(io: &mut (impl AsyncRead + Unpin + ?Sized), buffer: &mut Vec<u8>, port: u16) -> Received {
    let mut complaints = Vec::new();
    match read(io, buffer, port, &mut complaints).await {
        Ok(Some(request)) => {
            if !buffer.is_empty() {
                complaints.push(format!("{} bytes follow a request that has no answer yet", buffer.len()));
            }
            Received::Request(Box::new(request), complaints)
        }
        Ok(None) => Received::End,
        Err(error) => Received::Malformed(error),
    }
}

async fn read(
    io: &mut (impl AsyncRead + Unpin + ?Sized),
    buffer: &mut Vec<u8>,
    port: u16,
    complaints: &mut Vec<String>,
) -> Result<Option<Request>, String> {
    let end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at;
        }
        if buffer.len() > HEAD {
            return Err("a head without an end".to_owned());
        }
        if buffer.first().is_some_and(|byte| !byte.is_ascii_alphabetic()) {
            return Err(format!("no HTTP: {:?}", String::from_utf8_lossy(&buffer[..buffer.len().min(40)])));
        }
        match more(io, buffer).await {
            Ok(true) => {}
            // A connection that was kept alive may end in any manner.
            Ok(false) | Err(_) if buffer.is_empty() => return Ok(None),
            Ok(false) => return Err("the connection ends within a head".to_owned()),
            Err(error) => return Err(format!("the connection breaks within a head: {error}")),
        }
    };
    let head: Vec<u8> = buffer.drain(..end + 4).take(end).collect();
    let Head { method, target, headers } = Head::parse(&head)?;
    let body = match framing(&method, &headers, complaints)? {
        None => Vec::new(),
        Some(Framing::Chunked) => chunks(io, buffer).await?,
        Some(Framing::Length(length)) => take(io, buffer, length).await?,
    };
    complain(&method, &target, &headers, &body, port, complaints);
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Ok(Some(Request {
        connection: 0,
        at: Instant::now(),
        path: path.to_owned(),
        query: pairs(query.as_bytes()),
        method,
        target,
        headers,
        body,
        server_name: None,
        client_certificate: None,
    }))
}

struct Head {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn parse(head: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(head).map_err(|error| format!("a head that is not UTF-8: {error}"))?;
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let bad = |what: &str, line: &str| Err(format!("{what}: {line:?}"));
        if text.split("\r\n").any(|line| line.contains(|c: char| c.is_control() && c != '\t')) {
            return bad("control characters in the head", text);
        }
        let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
            return bad("the request line", line);
        };
        if version != "HTTP/1.1" || !is_token(method) || target.is_empty() {
            return bad("the request line", line);
        }
        let mut headers = Vec::new();
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { return bad("a header without a colon", line) };
            if !is_token(name) {
                return bad("the name of a header", line);
            }
            headers.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
        Ok(Self { method: method.to_owned(), target: target.to_owned(), headers })
    }
}

/// How a request's body is delimited.
enum Framing {
    Length(usize),
    Chunked,
}

fn framing(
    method: &str,
    headers: &[(String, String)],
    complaints: &mut Vec<String>,
) -> Result<Option<Framing>, String> {
    let all = |wanted: &str| -> Vec<&str> {
        headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str()).collect()
    };
    match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => {
            if ["POST", "PUT", "PATCH"].contains(&method) {
                complaints.push(format!("{method} with neither Content-Length nor chunks"));
            }
            Ok(None)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            match length.parse() {
                Ok(length) if length <= BODY => Ok(Some(Framing::Length(length))),
                Ok(_) | Err(_) => Err(format!("a body of {length} bytes")),
            }
        }
        (lengths, codings) => Err(format!("Content-Length {lengths:?} and Transfer-Encoding {codings:?}")),
    }
}

/// What else a client should not do.
fn complain(
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: &[u8],
    port: u16,
    complaints: &mut Vec<String>,
) {
    let mut complain = |complaint: String| complaints.push(format!("{method} {target}: {complaint}"));
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte)) {
        complain("a target with characters that want percent signs".to_owned());
    }
    let escaped = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !target.split('%').skip(1).all(escaped) {
        complain("a target with a percent sign that escapes nothing".to_owned());
    }
    for name in ["authorization", "content-type", "date", "host", "user-agent"] {
        let count = headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).count();
        if count > 1 {
            complain(format!("{name} is there {count} times"));
        }
    }
    match header(headers, "host") {
        None => complain("no Host".to_owned()),
        // Whoever asks a proxy names another host.
        Some(host) if target.starts_with('/') && !host.ends_with(&format!(":{port}")) => {
            complain(format!("Host is {host:?}, and the port {port}"));
        }
        Some(_) => {}
    }
    for (name, value) in headers {
        if !value.is_ascii() {
            complain(format!("{name} is not ASCII: {value:?}"));
        }
    }
    if body.is_empty() {
        return;
    }
    if ["GET", "HEAD"].contains(&method) {
        complain("a body".to_owned());
    }
    let media = header(headers, "content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match media {
        "" => complain("a body without Content-Type".to_owned()),
        "application/json" => {
            if let Err(error) = serde_json::from_slice::<Value>(body) {
                complain(format!("the body is no JSON: {error}"));
            }
        }
        "application/x-www-form-urlencoded" => {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~*+%&=".contains(byte);
            let text = String::from_utf8_lossy(body);
            if !body.iter().all(plain) || !text.split('%').skip(1).all(escaped) {
                complain(format!("the body is no form: {text:?}"));
            }
        }
        _ => {}
    }
}

async fn chunks(io: &mut (impl AsyncRead + Unpin + ?Sized), buffer: &mut Vec<u8>) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let line = line(io, buffer).await?;
        let digits = (1..=8).contains(&line.len()) && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(&line, 16).ok().filter(|size| digits && body.len() + size <= BODY);
        match size {
            None => return Err(format!("the size of a chunk: {line:?}")),
            Some(0) => break,
            Some(size) => body.extend(take(io, buffer, size).await?),
        }
        if take(io, buffer, 2).await? != b"\r\n" {
            return Err("a chunk is longer than its size".to_owned());
        }
    }
    match line(io, buffer).await?.as_str() {
        "" => Ok(body),
        trailer => Err(format!("a trailer: {trailer:?}")),
    }
}

async fn line(io: &mut (impl AsyncRead + Unpin + ?Sized), buffer: &mut Vec<u8>) -> Result<String, String> {
    loop {
        if let Some(at) = find(buffer, b"\r\n") {
            let line: Vec<u8> = buffer.drain(..at + 2).take(at).collect();
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
        if buffer.len() > HEAD || !more(io, buffer).await.unwrap_or(false) {
            return Err("no end of the size of a chunk".to_owned());
        }
    }
}

async fn take(
    io: &mut (impl AsyncRead + Unpin + ?Sized),
    buffer: &mut Vec<u8>,
    length: usize,
) -> Result<Vec<u8>, String> {
    while buffer.len() < length {
        if !more(io, buffer).await.unwrap_or(false) {
            return Err(format!("the connection ends where {} bytes of a body are missing", length - buffer.len()));
        }
    }
    Ok(buffer.drain(..length).collect())
}

/// Reads what is there, or waits; false at the end.
pub async fn more(io: &mut (impl AsyncRead + Unpin + ?Sized), buffer: &mut Vec<u8>) -> io::Result<bool> {
    Ok(io.read_buf(buffer).await? > 0)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

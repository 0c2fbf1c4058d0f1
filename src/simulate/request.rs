//! What a client sends: read to its end, and thrown away but for where it goes.

use tokio::io::{AsyncRead, AsyncReadExt};

/// How long a head may be, in bytes, and how many headers may be in it.
const HEAD: usize = 64 * 1024;
const HEADERS: usize = 100;

/// How long a body may be, in bytes.
const BODY: u64 = 16 * 1024 * 1024;

/// The methods that are told by name.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"];

/// The words of paths that are told: those of the services that are played. Anything else may be a name or a code.
const WORDS: [&str; 37] = [
    ".well-known",
    "accounts",
    "api",
    "auth",
    "auth_status",
    "authenticate",
    "authn",
    "authorize",
    "challenge",
    "check",
    "device",
    "enroll",
    "factors",
    "keys",
    "messages",
    "oauth2",
    "openid-configuration",
    "ping",
    "polltransaction",
    "preauth",
    "push",
    "realms",
    "send",
    "sms",
    "token",
    "tokens",
    "transactions",
    "triggerchallenge",
    "users",
    "v1",
    "v2",
    "v3",
    "validate",
    "verify",
    "wsapi",
    "2.0",
    "logo",
];

/// A request without what came with it.
pub struct Request {
    pub method: &'static str,
    /// As it was sent. It may hold a code: it is not to be written anywhere.
    pub target: String,
    /// Whether the connection ends with the answer.
    pub is_last: bool,
}

impl Request {
    /// The target's path, with all unknown words left out.
    pub fn place(&self) -> String {
        let path = self.target.split(['?', '#']).next().unwrap_or_default();
        let segments = path.split('/').map(|segment| match segment {
            "" => "",
            word => WORDS.iter().find(|known| **known == word).copied().unwrap_or("…"),
        });
        segments.take(16).collect::<Vec<_>>().join("/")
    }

    /// The value of `name` in the query, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find_map(|(other, value)| (other == name).then(|| value.into_owned()))
    }

    /// The target before the question mark. It may hold a code, too.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// Reads one request; `buffer` holds what was read before and not used. `None` where none comes, or no whole one.
pub async fn receive(io: &mut (impl AsyncRead + Unpin + ?Sized), buffer: &mut Vec<u8>) -> Option<Request> {
    let (length, request, body) = loop {
        if let Some(found) = parse(buffer)? {
            break found;
        }
        if buffer.len() > HEAD || io.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    buffer.drain(..length.min(buffer.len()));
    let mut missing = body;
    loop {
        let here = usize::try_from(missing).unwrap_or(usize::MAX).min(buffer.len());
        buffer.drain(..here);
        missing -= here as u64;
        if missing == 0 {
            return Some(request);
        }
        buffer.clear();
        if io.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// The head in `bytes`: its length, what it says, and how much of a body follows. `None`: no head; inside: not yet.
#[expect(clippy::option_option, reason = "never and not yet are two things")]
fn parse(bytes: &[u8]) -> Option<Option<(usize, Request, u64)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(bytes).ok()? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Some(None),
    };
    let header = |name: &str| head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let text = |name: &str| header(name).and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim);
    let body = match text("content-length") {
        None => 0,
        Some(length) => length.parse().ok().filter(|length| *length <= BODY)?,
    };
    let is_last = text("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
        // Where such a body ends is not looked for.
        || header("transfer-encoding").is_some();
    let method = head.method.unwrap_or_default();
    let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("?");
    let target = head.path.unwrap_or_default().to_owned();
    Some(Some((length, Request { method, target, is_last }, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8]) -> Vec<(String, String)> {
        let (mut found, mut buffer) = (Vec::new(), Vec::new());
        while let Some(request) = receive(&mut bytes, &mut buffer).await {
            found.push((format!("{} {}", request.method, request.place()), request.target));
        }
        found
    }

    fn told(bytes: &[u8]) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(read(bytes)).into_iter().map(|(told, _)| told).collect()
    }

    #[test]
    fn requests_follow_each_other_and_their_bodies_are_skipped() {
        let text = b"POST /validate/check HTTP/1.1\r\nContent-Length: 4\r\n\r\na=1&GET /push/12345?otp=123456 HTTP/1.1\r\n\r\n";
        assert_eq!(told(text), ["POST /validate/check", "GET /push/…"]);
    }

    #[test]
    fn nothing_that_may_be_a_name_or_a_code_is_told() {
        let text = b"PURGE /api/v1/users/alice/factors/755224/verify?passCode=755224 HTTP/1.1\r\n\r\n";
        assert_eq!(told(text), ["? /api/v1/users/…/factors/…/verify"]);
    }

    #[test]
    fn what_is_no_request_or_too_much_of_one_is_none() {
        for text in [
            &b"\x16\x03\x01"[..],
            b"GET / HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab",
            b"POST / HTTP/1.1\r\nContent-Length: 16777217\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            &[&b"GET / HTTP/1.1\r\nx: "[..], &[b'a'; HEAD + 1]].concat(),
            &[&b"GET / HTTP/1.1\r\n"[..], &b"a: b\r\n".repeat(HEADERS + 1), b"\r\n"].concat(),
        ] {
            assert!(told(text).is_empty(), "{:?}", String::from_utf8_lossy(text));
        }
    }
}

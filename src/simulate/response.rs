//! What a server answers, as bytes of HTTP/1.1.

use std::fmt::Write as _;

use serde_json::Value;

/// What a server answers.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub ending: Ending,
}

/// How a client learns where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By Content-Length.
    Length,
    /// By the last of many chunks.
    Chunks,
    /// By the end of the connection.
    Close,
}

impl Response {
    /// A response with this body.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self { status, headers, body: body.into(), ending: Ending::Length }
    }

    /// JSON as most servers send it.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// A response with nothing in it.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), ending: Ending::Length }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with another status.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The same with another Content-Type.
    #[must_use]
    pub fn content_type(mut self, content_type: &str) -> Self {
        self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        self.with("Content-Type", content_type)
    }

    /// The same with another body.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// The same with another ending.
    #[must_use]
    pub fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|(other, value)| other.eq_ignore_ascii_case(name).then_some(value.as_str()))
    }

    /// The head, for a body of `length` bytes.
    pub fn head(&self, length: u64) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Told\r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let bodyless = self.status < 200 || [204, 304].contains(&self.status);
        match self.ending {
            Ending::Length if bodyless => {}
            Ending::Length => {
                let _ = write!(head, "Content-Length: {length}\r\n");
            }
            Ending::Chunks => head.push_str("Transfer-Encoding: chunked\r\n"),
            Ending::Close => head.push_str("Connection: close\r\n"),
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Everything, as it goes over the connection; without the body where `method` wants none.
    pub fn bytes(&self, method: &str) -> Vec<u8> {
        let mut bytes = self.head(self.body.len() as u64);
        if method == "HEAD" {
            return bytes;
        }
        match self.ending {
            Ending::Length | Ending::Close => bytes.extend(&self.body),
            Ending::Chunks => {
                // More than one, so that no client gets by with the first.
                for piece in self.body.chunks(self.body.len().div_ceil(3).max(1)) {
                    bytes.extend(chunk(piece));
                }
                bytes.extend(b"0\r\n\r\n");
            }
        }
        bytes
    }
}

/// `bytes` as a chunk.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend(bytes);
    chunk.extend(b"\r\n");
    chunk
}

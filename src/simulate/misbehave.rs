//! What no server should do to a request.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::response::{Ending, Response, chunk};

/// How long a client may take to leave where nothing more comes.
const LINGER: Duration = Duration::from_secs(10);

/// What can be read from and written to.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, over TLS or not.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// To read and to write.
    pub fn io(&mut self) -> &mut dyn Duplex {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.as_mut(),
        }
    }

    /// What lies below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// What is done to a request, which was read in each case.
#[derive(Clone, Debug)]
pub enum Misbehaviour {
    /// Says nothing, until the client leaves.
    Silence,
    /// Closes without an answer.
    Close,
    /// Resets the connection without an answer.
    Reset,
    /// Sends a head without an end, a byte at each tick.
    DripHead(Duration),
    /// Sends a whole head, and a body of spaces without an end, a byte at each tick.
    DripBody(Duration),
    /// Closes in the middle of the head.
    HalfHead(Response),
    /// Closes in the middle of the body, however it is delimited.
    HalfBody(Response),
    /// Resets the connection in the middle of the body.
    ResetBody(Response),
    /// Sends the whole body and closes, where Content-Length says more.
    LengthTooLong(Response),
    /// Sends the whole body and closes, where Content-Length says half.
    LengthTooShort(Response),
    /// Sends the body, and spaces after it, up to this many bytes in all.
    Huge(Response, u64),
    /// Sends bytes as they are, and closes.
    Raw(Vec<u8>),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By us.
    Closed,
    /// The client left before it had everything, or where nothing would come.
    Abandoned,
}

impl Misbehaviour {
    /// Does it; `taken` is told how much of a huge body or a drip the client, or the kernel for it, has taken more.
    pub async fn play(self, stream: &mut Stream, taken: &(impl Fn(u64) + Send + Sync)) -> End {
        let bytes = match self {
            Self::Silence => {
                drain(stream.io()).await;
                return End::Abandoned;
            }
            Self::Close => Vec::new(),
            Self::Reset => return reset(stream),
            Self::DripHead(tick) => {
                drip(stream.io(), b"HTTP/1.1 200 Told\r\nX-Padding: ", b'a', tick, taken).await;
                return End::Abandoned;
            }
            Self::DripBody(tick) => {
                let head = Response::new(200, "application/json", "").head(1 << 16);
                drip(stream.io(), &head, b' ', tick, taken).await;
                return End::Abandoned;
            }
            Self::HalfHead(response) => {
                let head = response.head(response.body.len() as u64);
                half(&head, 0)
            }
            Self::HalfBody(response) => half_body(&response),
            Self::ResetBody(response) => {
                let sent = stream.io().write_all(&half_body(&response)).await.is_ok();
                return if sent && stream.io().flush().await.is_ok() { reset(stream) } else { End::Abandoned };
            }
            Self::LengthTooLong(response) => {
                let length = response.body.len() as u64;
                [response.head(length + 1000), response.body].concat()
            }
            Self::LengthTooShort(response) => {
                let length = response.body.len() as u64;
                [response.head(length / 2), response.body].concat()
            }
            Self::Huge(response, length) => {
                if !pour(stream.io(), response, length, taken).await {
                    return End::Abandoned;
                }
                Vec::new()
            }
            Self::Raw(bytes) => bytes,
        };
        // A client that has had enough meanwhile is told nothing more.
        let _ = stream.io().write_all(&bytes).await;
        let _ = stream.io().flush().await;
        leave(stream.io()).await;
        End::Closed
    }
}

/// The first `kept` bytes, and half of the others.
fn half(bytes: &[u8], kept: usize) -> Vec<u8> {
    let length = kept + bytes.len().saturating_sub(kept) / 2;
    bytes.get(..length).unwrap_or(bytes).to_vec()
}

fn half_body(response: &Response) -> Vec<u8> {
    half(&response.bytes(""), response.head(response.body.len() as u64).len())
}

fn reset(stream: &Stream) -> End {
    // Where the client is gone already, there is nothing to reset.
    let _ = stream.tcp().set_zero_linger();
    End::Closed
}

/// Sends `head`, and then a byte at each tick until the client leaves.
async fn drip(io: &mut dyn Duplex, head: &[u8], byte: u8, tick: Duration, taken: &(impl Fn(u64) + Send + Sync)) {
    if io.write_all(head).await.is_err() {
        return;
    }
    while io.flush().await.is_ok() {
        tokio::time::sleep(tick).await;
        if io.write_all(&[byte]).await.is_err() {
            return;
        }
        taken(1);
    }
}

/// Sends a body of `length` bytes; false if the client left before its end.
async fn pour(io: &mut dyn Duplex, response: Response, length: u64, taken: &(impl Fn(u64) + Send + Sync)) -> bool {
    if io.write_all(&response.head(length)).await.is_err() {
        return false;
    }
    let is_chunked = response.ending == Ending::Chunks;
    let spaces = [b' '; 16 * 1024];
    let mut first = response.body;
    let mut sent = 0;
    while sent < length {
        let room = usize::try_from(length - sent).unwrap_or(usize::MAX);
        let mut piece = if first.is_empty() { spaces.to_vec() } else { std::mem::take(&mut first) };
        piece.truncate(room);
        let written = if is_chunked { io.write_all(&chunk(&piece)).await } else { io.write_all(&piece).await };
        if written.is_err() {
            return false;
        }
        sent += piece.len() as u64;
        taken(piece.len() as u64);
    }
    !is_chunked || io.write_all(b"0\r\n\r\n").await.is_ok()
}

/// Reads until the client leaves.
pub async fn drain(io: &mut (impl AsyncRead + Unpin + ?Sized)) {
    let mut waste = [0; 4096];
    while io.read(&mut waste).await.is_ok_and(|count| count > 0) {}
}

/// Closes our half, and waits for the client to see that and leave.
pub async fn leave(io: &mut (impl AsyncRead + AsyncWrite + Unpin + ?Sized)) {
    if io.shutdown().await.is_ok() {
        let _ = tokio::time::timeout(LINGER, drain(io)).await;
    }
}

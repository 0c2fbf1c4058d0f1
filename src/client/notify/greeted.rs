//! A connection after STARTTLS, as the library wants to meet one.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// TLS whose first bytes are a greeting: a server says one when a connection is made, and none when TLS follows STARTTLS
/// (RFC 3207, 4.2), but the library waits for it either way.
#[derive(Debug)]
pub struct Greeted {
    greeting: &'static [u8],
    stream: TlsStream<TcpStream>,
}

impl Greeted {
    /// A connection whose server says its greeting itself.
    pub const fn by_server(stream: TlsStream<TcpStream>) -> Self {
        Self { greeting: b"", stream }
    }

    /// A connection whose server has said its greeting before TLS.
    pub const fn already(stream: TlsStream<TcpStream>) -> Self {
        Self { greeting: b"220 after STARTTLS\r\n", stream }
    }
}

impl AsyncTokioStream for Greeted {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let fits = self.greeting.len().min(buffer.remaining());
        if let Some((now, later)) = self.greeting.split_at_checked(fits).filter(|(now, _)| !now.is_empty()) {
            buffer.put_slice(now);
            self.greeting = later;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

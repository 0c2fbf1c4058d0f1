//! The way to the local log daemon.

use std::io;
use std::os::unix::net::UnixDatagram;

/// The local log daemon. `syslog(3)` waits for one that does not read; this does not.
pub struct Syslog(Option<UnixDatagram>);

impl Syslog {
    /// Facility authpriv, severity info (RFC 3164, 4.1.1).
    const PRIORITY: u8 = 10 * 8 + 6;

    /// The daemon, if it is there now.
    pub fn new() -> Self {
        Self(Self::connect().ok())
    }

    fn connect() -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect("/dev/log")?;
        Ok(socket)
    }

    /// Sends the first line of `lines`; says how much that was. Connects again where the daemon was restarted.
    ///
    /// # Errors
    /// Where the daemon is not there, or does not take more now.
    pub fn send(&mut self, lines: &[u8]) -> io::Result<usize> {
        let end = lines.iter().position(|b| *b == b'\n').unwrap_or(lines.len());
        let text = String::from_utf8_lossy(lines.get(..end).unwrap_or_default());
        let datagram = format!("<{}>countersign[{}]: {text}", Self::PRIORITY, std::process::id());
        let sent = match &self.0 {
            Some(socket) => socket.send(datagram.as_bytes()),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match sent {
            Ok(_) => Ok(end + 1),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(_) => {
                let socket = Self::connect()?;
                let sent = socket.send(datagram.as_bytes());
                self.0 = Some(socket);
                sent.map(|_| end + 1)
            }
        }
    }
}

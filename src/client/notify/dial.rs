//! The way to a mail server: name, connection, TLS; each with its limit, and an error that says how far it came.

use std::cell::OnceCell;
use std::io::{Error as IoError, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::ClientError;
use crate::clock;
use crate::config::clients::Remote;
use crate::config::value::{HostPort, ServiceSecret};
use crate::domain::fault::Reach;
use crate::domain::foreign::Foreign;
use crate::net::once;
use crate::net::resolve::Resolver;
use crate::net::tls::{self, Presented, Trust};
use crate::secret::service;

/// The way to one server. Costs nothing until the first connection.
pub struct Dial {
    pub server: HostPort,
    connect: Duration,
    tls: Duration,
    trust: Trust,
    /// Where relative paths start.
    directory: PathBuf,
    resolver: Resolver,
    presented: Presented,
    config: OnceCell<Arc<ClientConfig>>,
}

impl Dial {
    /// The way to `server`, as `remote` says; `resolve` makes paths of plugin.ini absolute.
    pub fn new(server: &HostPort, remote: &Remote, resolve: impl Fn(&Path) -> PathBuf) -> Self {
        Self {
            server: server.clone(),
            connect: Duration::from_secs(remote.connect_timeout.0),
            tls: Duration::from_secs(remote.tls_timeout.0),
            trust: Trust::of(remote, &resolve),
            directory: resolve(Path::new("")),
            resolver: Resolver::default(),
            presented: Presented::default(),
            config: OnceCell::new(),
        }
    }

    /// A connection, to the first address that takes one. Not one byte is sent.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn connect(&self, until: Instant) -> Result<TcpStream, ClientError> {
        let left = clock::left(until);
        let limit = self.connect.min(left);
        let connecting = async {
            let addresses = self.addresses().await?;
            let mut last = ClientError::unreachable("no_route", "no address is known for this name", Reach::NotSent);
            for (rest, address) in (1..=addresses.len()).rev().zip(&addresses) {
                // None may use up the time of those behind it.
                let share = clock::left(until).min(limit) / u32::try_from(rest).unwrap_or(u32::MAX);
                match tokio::time::timeout(share, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => {
                        // Small messages back and forth: none waits for the next. Where that cannot be, it is slower.
                        let _ = stream.set_nodelay(true);
                        return Ok(stream);
                    }
                    Ok(Err(error)) => last = refused(*address, &error),
                    Err(_) => last = slow(),
                }
            }
            Err(last)
        };
        let made = tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| Err(slow()));
        match made {
            // Then it is not the server that took too long.
            Err(error) if left < self.connect && is_slow(&error) => {
                Err(ClientError::unreachable("no_time", "too little time was left to connect", Reach::Sent))
            }
            made => made,
        }
    }

    /// TLS over `stream`.
    ///
    /// # Errors
    /// Where the handshake fails, or the server is somebody else.
    pub async fn secure(&self, stream: TcpStream, until: Instant) -> Result<TlsStream<TcpStream>, ClientError> {
        let config = once(&self.config, || self.configure().map_err(ClientError::Unusable))?;
        let name = ServerName::try_from(self.server.host.clone()).map_err(|_| {
            ClientError::Unusable(format!("{} is no name that a certificate can be for", Foreign(&self.server.host)))
        })?;
        let limit = self.tls.min(clock::left(until));
        match tokio::time::timeout(limit, TlsConnector::from(Arc::clone(config)).connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(broken(&error, "the TLS handshake failed")),
            Err(_) => Err(ClientError::unreachable("tls_timeout", "the TLS handshake took too long", Reach::Sent)),
        }
    }

    /// The certificates that the server presented in the last handshake, its own first.
    pub fn presented(&self) -> Vec<CertificateDer<'static>> {
        self.presented.lock().map(|chain| chain.clone()).unwrap_or_default()
    }

    fn configure(&self) -> Result<Arc<ClientConfig>, String> {
        let read = |secret: &ServiceSecret| {
            service::read(secret, |path| self.directory.join(path)).map_err(|error| error.to_string())
        };
        tls::config(&self.trust, read, &self.presented).map(Arc::new)
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, ClientError> {
        let HostPort { host, port } = &self.server;
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, *port)]);
        }
        let mut found = self.resolver.addresses(host).await.map_err(|error| {
            let reach = if error.is_told { Reach::NotSent } else { Reach::Sent };
            ClientError::unreachable("name_resolution", Foreign(&error.to_string()).to_string(), reach)
        })?;
        found.iter_mut().for_each(|address| address.set_port(*port));
        Ok(found)
    }
}

/// What an error on a connection that was taken is.
pub fn broken(error: &IoError, doing: &str) -> ClientError {
    let text = format!("{doing}: {}", Foreign(&error.to_string()));
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return ClientError::communication("tls_failed", text).reached(Reach::Sent);
    }
    if error.kind() == ErrorKind::InvalidData {
        return ClientError::communication("not_smtp", text).reached(Reach::Sent);
    }
    ClientError::unreachable("connection_lost", text, Reach::Sent)
}

fn slow() -> ClientError {
    ClientError::unreachable("connect_timeout", "connecting took too long", Reach::NotSent)
}

fn is_slow(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable(error) if error.code == "connect_timeout")
}

fn refused(address: SocketAddr, error: &IoError) -> ClientError {
    let text = format!("cannot connect to {address}: {error}");
    match Some(error.kind()) {
        Some(ErrorKind::ConnectionRefused) => ClientError::unreachable("connection_refused", text, Reach::NotSent),
        Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
            ClientError::unreachable("no_route", text, Reach::NotSent)
        }
        Some(ErrorKind::TimedOut) => slow(),
        Some(_) | None => ClientError::unreachable("connection_lost", text, Reach::Sent),
    }
}

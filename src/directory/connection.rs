//! A connection to one directory server: made, bound, asked. Who calls sets the limit of time.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use ldap3_proto::LdapCodec;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindRequest, LdapDerefAliases, LdapExtendedRequest, LdapFilter, LdapMsg, LdapOp, LdapResult,
    LdapResultCode, LdapSearchRequest, LdapSearchResultEntry, LdapSearchScope,
};
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::codec::Framed;
use url::Url;

use super::server::{Protection, Server};
use crate::clock;
use crate::domain::foreign::Foreign;
use crate::domain::secret::Secret;

/// The longest message of a server, in bytes: an entry with some thousand groups.
const LONGEST: usize = 1 << 20;

/// How deep values may lie in each other in a message; those that are expected have five.
const DEEPEST: usize = 16;

/// How many messages that belong to nothing that was asked are passed over.
const STRAY: usize = 16;

/// RFC 4511, 4.14.
const START_TLS: &str = "1.3.6.1.4.1.1466.20037";

/// What a stream of bytes must be able to do.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// What is done to get an answer, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    #[default]
    Resolve,
    Connect,
    Tls,
    Bind,
    Search,
}

impl Step {
    /// What is said where the time ends in it.
    pub const fn late(self) -> &'static str {
        match self {
            Self::Resolve => "no name server answered in time",
            Self::Connect => "connecting took too long",
            Self::Tls => "the TLS handshake took too long",
            Self::Bind => "no answer to the bind in time",
            Self::Search => "no answer to the search in time",
        }
    }
}

/// How far a connection came, and what was found on the way.
#[derive(Debug, Default)]
pub struct Way {
    pub step: Step,
    pub found: Vec<(Step, String)>,
}

impl Way {
    fn pass(&mut self, found: impl Into<String>, next: Step) {
        self.found.push((self.step, found.into()));
        self.step = next;
    }
}

/// Why a server gave no answer.
#[derive(Debug, Error)]
pub enum Failure {
    /// Another server may.
    #[error("{0}")]
    Server(String),
    /// No server will, as things are.
    #[error("{0}")]
    Final(String),
}

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Query {
    pub base: String,
    pub scope: LdapSearchScope,
    pub filter: LdapFilter,
    /// The one attribute that is wanted; `1.1` for none.
    pub attribute: String,
    /// How many entries there may be: one more is told as such.
    pub limit: usize,
}

/// What was found: all of it, or [`Found::TooMany`].
#[derive(Debug)]
pub enum Found {
    Entries(Vec<LdapSearchResultEntry>),
    TooMany,
}

/// A connection that is bound.
pub struct Connection {
    framed: Framed<Box<dyn Stream>, LdapCodec>,
    last: i32,
}

impl Connection {
    /// Makes a connection to `url`, as `server` says, and binds; `way` knows how far it came.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn open(server: &Server, url: &Url, until: Instant, way: &mut Way) -> Result<Self, Failure> {
        let protection = server.protection(url)?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port().unwrap_or(if url.scheme() == "ldaps" { 636 } else { 389 });
        let addresses = addresses(server, host, port).await?;
        let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        way.pass(format!("{host} is at {}", shown.join(", ")), Step::Connect);

        let stream = connect(&addresses, until).await?;
        let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
        way.pass(format!("{peer} takes connections"), Step::Tls);

        let mut connection = match protection {
            Protection::None => {
                way.pass("none: the address begins with ldap://, everybody on the way can read along", Step::Bind);
                Self::over(Box::new(stream))
            }
            Protection::Tls => Self::over(secure(server, host, stream).await?),
            Protection::StartTls => {
                let mut plain = Self::over(stream);
                plain.start_tls().await?;
                let parts = plain.framed.into_parts();
                if !parts.read_buf.is_empty() {
                    return Err(Failure::Server("more than the answer to StartTLS came before TLS".into()));
                }
                Self::over(secure(server, host, parts.io).await?)
            }
        };
        if way.step == Step::Tls {
            way.step = Step::Bind;
        }
        match server.credentials()? {
            Some((dn, password)) => {
                connection.bind(dn, &password).await?;
                way.pass(format!("as {dn}"), Step::Search);
            }
            None => way.pass("anonymous", Step::Search),
        }
        Ok(connection)
    }

    fn over(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Self {
        let codec = LdapCodec::new(Some(LONGEST), Some(DEEPEST));
        Self { framed: Framed::new(Box::new(stream), codec), last: 0 }
    }

    async fn start_tls(&mut self) -> Result<(), Failure> {
        let id =
            self.send(LdapOp::ExtendedRequest(LdapExtendedRequest { name: START_TLS.into(), value: None })).await?;
        let answer = self.receive(id).await?;
        let LdapOp::ExtendedResponse(response) = answer else { return Err(unexpected(&answer)) };
        if response.res.code == LdapResultCode::Success {
            Ok(())
        } else {
            Err(Failure::Server(format!("StartTLS is refused: {}", said(&response.res))))
        }
    }

    async fn bind(&mut self, dn: &str, password: &Secret<String>) -> Result<(), Failure> {
        // Leaves in the message, over TLS or where plugin.ini allows it in clear; the library prints none.
        let cred = LdapBindCred::Simple(password.expose().clone());
        let id = self.send(LdapOp::BindRequest(LdapBindRequest { version: 3, dn: dn.to_owned(), cred })).await?;
        let answer = self.receive(id).await?;
        let LdapOp::BindResponse(response) = answer else { return Err(unexpected(&answer)) };
        if response.res.code == LdapResultCode::Success {
            return Ok(());
        }
        let what = format!("the bind is refused: {}", said(&response.res));
        // A wrong password is not tried on the next server: accounts are locked by that.
        Err(if is_passing(&response.res) { Failure::Server(what) } else { Failure::Final(what) })
    }

    /// What `query` finds. References to other servers are not followed.
    ///
    /// # Errors
    /// Where not everything was found that is there; see [`Failure`]. The connection is of no use then.
    pub async fn search(&mut self, query: &Query, until: Instant) -> Result<Found, Failure> {
        let id = self.send(LdapOp::SearchRequest(request(query, until))).await?;
        let mut entries = Vec::new();
        loop {
            let answer = self.receive(id).await?;
            if let LdapOp::SearchResultEntry(entry) = answer {
                entries.push(entry);
                if entries.len() > query.limit {
                    return Ok(Found::TooMany);
                }
            } else if let LdapOp::SearchResultDone(result) = answer {
                return done(entries, &result, query);
            } else if !matches!(answer, LdapOp::SearchResultReference(_) | LdapOp::IntermediateResponse(_)) {
                return Err(unexpected(&answer));
            }
        }
    }

    async fn send(&mut self, op: LdapOp) -> Result<i32, Failure> {
        self.last += 1;
        let message = LdapMsg { msgid: self.last, op, ctrl: Vec::new() };
        self.framed.send(message).await.map_err(|error| broken(&error))?;
        Ok(self.last)
    }

    /// The next answer to the request `id`.
    async fn receive(&mut self, id: i32) -> Result<LdapOp, Failure> {
        for _ in 0..STRAY {
            let message = match self.framed.next().await {
                None => return Err(Failure::Server("the server closed the connection".into())),
                Some(Err(error)) => return Err(broken(&error)),
                Some(Ok(message)) => message,
            };
            if message.msgid == id {
                return Ok(message.op);
            }
            // RFC 4511, 4.4.1: what comes unasked says that the server closes the connection.
            if let (0, LdapOp::ExtendedResponse(response)) = (message.msgid, &message.op) {
                return Err(Failure::Server(format!("the server ends the connection: {}", said(&response.res))));
            }
        }
        Err(Failure::Server("the server answers what was not asked".into()))
    }
}

async fn addresses(server: &Server, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let mut found = server.resolver.addresses(host).await.map_err(|error| Failure::Server(error.to_string()))?;
    found.iter_mut().for_each(|address| address.set_port(port));
    Ok(found)
}

/// A connection to the first of `addresses` that takes one; none may use up the time of those behind it.
async fn connect(addresses: &[SocketAddr], until: Instant) -> Result<TcpStream, Failure> {
    let mut why = String::from("no address is known for this name");
    for (left, address) in (1..=addresses.len()).rev().zip(addresses) {
        let share = clock::left(until) / u32::try_from(left).unwrap_or(u32::MAX);
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small messages back and forth: none waits for the next. Where that cannot be, it is only slower.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => why = format!("cannot connect to {address}: {error}"),
            Err(_) => why = format!("connecting to {address} took too long"),
        }
    }
    Err(Failure::Server(why))
}

async fn secure<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    server: &Server,
    host: &str,
    stream: S,
) -> Result<Box<dyn Stream>, Failure> {
    let config = server.tls().map_err(Failure::Final)?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::Final(format!("{} is no name that a certificate can be for", Foreign(host))))?;
    let secured = TlsConnector::from(config).connect(name, stream).await;
    secured
        .map(|stream| Box::new(stream) as Box<dyn Stream>)
        .map_err(|error| Failure::Server(format!("the TLS handshake failed: {}", Foreign(&error.to_string()))))
}

fn request(query: &Query, until: Instant) -> LdapSearchRequest {
    let seconds = clock::left(until).as_secs().saturating_add(1);
    LdapSearchRequest {
        base: query.base.clone(),
        scope: query.scope.clone(),
        aliases: LdapDerefAliases::Never,
        sizelimit: i32::try_from(query.limit.saturating_add(1)).unwrap_or(i32::MAX),
        timelimit: i32::try_from(seconds).unwrap_or(i32::MAX),
        typesonly: false,
        filter: query.filter.clone(),
        attrs: vec![query.attribute.clone()],
    }
}

fn done(entries: Vec<LdapSearchResultEntry>, result: &LdapResult, query: &Query) -> Result<Found, Failure> {
    if result.code == LdapResultCode::Success {
        return Ok(Found::Entries(entries));
    }
    if result.code == LdapResultCode::SizeLimitExceeded {
        return Ok(Found::TooMany);
    }
    let base = Foreign(&query.base);
    if result.code == LdapResultCode::Referral {
        return Err(Failure::Final(format!("{base} is on another server; references are not followed")));
    }
    let what = format!("the search below {base} is refused: {}", said(result));
    Err(if is_passing(result) { Failure::Server(what) } else { Failure::Final(what) })
}

/// Whether the server cannot answer now, and another may.
fn is_passing(result: &LdapResult) -> bool {
    result.code == LdapResultCode::Busy || result.code == LdapResultCode::Unavailable
}

/// What a server's result says: the code of RFC 4511 in words, its number, and the server's own words.
fn said(result: &LdapResult) -> String {
    let mut text = String::new();
    for c in format!("{:?}", result.code).chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(c.to_ascii_lowercase());
    }
    // A name that begins with two capitals, such as invalidDNSyntax, comes out in letters; the number tells.
    let _ = write!(text, " ({})", result.code.clone() as i64);
    if !result.message.trim().is_empty() {
        let _ = write!(text, ", {}", Foreign(result.message.trim_matches(['\0', ' '])));
    }
    text
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::Server(format!("the connection broke: {}", Foreign(&error.to_string())))
}

fn unexpected(op: &LdapOp) -> Failure {
    let name = format!("{op:?}");
    let name = name.split(['(', ' ']).next().unwrap_or_default();
    Failure::Server(format!("the server answers with {name}, which was not asked for"))
}

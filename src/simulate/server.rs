//! Plays a fault at an address, for anybody who connects, until it is dropped.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::SimulateError;
use super::authority::{Authority, Certificate, Role, Validity};
use super::catalogue::{Act, Fault, Meeting, Over, Wrong};
use super::guise::Guise;
use super::misbehave::{Misbehaviour, Stream, drain, leave};
use super::request::{self, Request};
use super::response::{Ending, Response};
use super::signed::{Flaw, Signer};

/// How many connections are open at once. Others wait until one of them is closed.
const CONNECTIONS: usize = 512;

/// How many connections the kernel keeps for us until it is their turn.
const BACKLOG: u32 = 1024;

/// What the kernel keeps of what a client did not take, at our end.
const SEND_BUFFER: u32 = 64 * 1024;

/// How long a handshake or a request may take to come, and how long a connection is kept at all.
const PATIENCE: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(900);

/// A name that nobody has (RFC 6761).
const NOBODY: &str = "countersign-simulate.invalid";

/// What would let somebody in, if it were not spoilt.
#[derive(Clone, Debug)]
pub enum Accept {
    Same(Response),
    Of(Guise),
}

/// Where and for whom a fault is played.
pub struct Scene {
    pub accept: Accept,
    /// Who signs the certificate; none over plain TCP.
    pub tls: Option<Arc<Authority>>,
    pub listen: SocketAddr,
    /// The name or address by which clients reach it, where it is not the one that is listened on.
    pub name: Option<String>,
}

/// What was seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections: usize,
    /// How many of them are open.
    pub open: usize,
    /// How many whole requests came.
    pub calls: usize,
    /// How many connections came to where a redirection points.
    pub elsewhere: usize,
    /// How much of huge bodies and drips clients, or the kernel for them, have taken.
    pub taken: u64,
}

/// What happened just now. It holds nothing that a client sent but a path's well-known words.
#[derive(Debug)]
pub enum Event {
    /// A connection, which is all that comes.
    Connection,
    /// A TLS handshake that failed, and why.
    Handshake(String),
    /// A request.
    Call { method: &'static str, place: String },
    /// A connection to where a redirection points.
    Elsewhere,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => write!(f, "a connection"),
            Self::Handshake(why) => write!(f, "a TLS handshake that failed: {why}"),
            Self::Call { method, place } => write!(f, "{method} {place}"),
            Self::Elsewhere => write!(f, "a redirection was followed"),
        }
    }
}

/// Who is told what happens.
pub type Tell = Arc<dyn Fn(&Event) + Send + Sync>;

/// A fault at its place.
pub struct Play {
    /// Scheme, host and port.
    pub url: String,
    pub counts: watch::Receiver<Counts>,
    place: Place,
}

/// What keeps a fault up.
enum Place {
    Nowhere,
    Refused(#[expect(dead_code, reason = "it is bound as long as it is there")] TcpSocket),
    Blackhole(#[expect(dead_code, reason = "it is full as long as it is there")] Blackhole),
    House(TcpListener, Arc<House>, Option<(TcpListener, Arc<House>)>),
}

impl Play {
    /// Takes the address for `fault`. Whoever has the URL meets the fault from now on; answers need [`Play::run`].
    ///
    /// # Errors
    /// Where the fault does not fit the scene, the address cannot be had, or a certificate cannot be made.
    pub async fn bind(fault: &Fault, scene: &Scene, tell: Tell) -> Result<Self, SimulateError> {
        match (fault.over(), &scene.tls) {
            (Over::Tls, None) => return Err(SimulateError::Unfit("this fault is one of TLS")),
            (Over::Plain, Some(_)) => return Err(SimulateError::Unfit("this fault is one of plain HTTP")),
            (Over::Tls, Some(_)) | (Over::Plain, None) | (Over::Either, _) => {}
        }
        let scheme = if scene.tls.is_some() { "https" } else { "http" };
        let (board, counts) = watch::channel(Counts::default());
        if matches!(fault.act, Act::Nowhere) {
            return Ok(Self { url: format!("{scheme}://{NOBODY}"), counts, place: Place::Nowhere });
        }
        let socket = socket(scene.listen)?;
        let address = socket.local_addr()?;
        let url = format!("{scheme}://{}", scene.host(address));
        if matches!(fault.act, Act::Refuse) {
            return Ok(Self { url, counts, place: Place::Refused(socket) });
        }
        if matches!(fault.act, Act::Blackhole) {
            return Ok(Self { url, counts, place: Place::Blackhole(Blackhole::fill(socket).await?) });
        }
        let listener = socket.listen(BACKLOG)?;
        let accept = match &scene.accept {
            Accept::Same(response) => response.clone(),
            Accept::Of(guise) => guise.accept(&url),
        };
        let unfit = || SimulateError::Unfit("this service's answers cannot go wrong in this way");
        let mut elsewhere = None;
        let script = match &fault.act {
            Act::Do(spoil) => Script::Do(spoil(&accept).ok_or_else(unfit)?),
            Act::Say(spoil) => Script::Say(spoil(&accept).ok_or_else(unfit)?),
            Act::Around => Script::Say(accept.clone().status(302).with("Location", &format!("{url}/"))),
            Act::Elsewhere(status) => {
                let other = socket_at(address.ip())?.listen(BACKLOG)?;
                let location = format!("{scheme}://{}/", scene.host(other.local_addr()?));
                let (script, kind) = (Script::Say(accept.clone()), Kind::Elsewhere);
                let house = House::new(scene.door(fault, address)?, script, kind, board.clone(), Arc::clone(&tell));
                elsewhere = Some((other, house));
                Script::Say(accept.clone().status(*status).with("Location", &location))
            }
            Act::Sign(flaw) => {
                let signer = match &scene.accept {
                    Accept::Of(guise) => Signer::new(*guise, &url)?,
                    Accept::Same(_) => None,
                };
                Script::Sign(signer.ok_or_else(unfit)?, *flaw)
            }
            Act::Nowhere
            | Act::Refuse
            | Act::Blackhole
            | Act::Meet(_)
            | Act::Certificate(_)
            | Act::WantsCertificate
            | Act::LeavesHandshake
            | Act::Plain
            | Act::Tls => Script::Say(accept.clone()),
        };
        let house = House::new(scene.door(fault, address)?, script, Kind::Place, board, tell);
        Ok(Self { url, counts, place: Place::House(listener, house, elsewhere) })
    }

    /// Answers everybody, for ever.
    pub async fn run(self) {
        match self.place {
            Place::House(listener, house, None) => house.accept(listener).await,
            Place::House(listener, house, Some((other, elsewhere))) => {
                tokio::join!(house.accept(listener), elsewhere.accept(other));
            }
            place @ (Place::Nowhere | Place::Refused(_) | Place::Blackhole(_)) => {
                std::future::pending::<()>().await;
                drop(place);
            }
        }
    }
}

impl Scene {
    /// Host and port, as they stand in an address.
    fn host(&self, address: SocketAddr) -> String {
        match &self.name {
            Some(name) => format!("{name}:{}", address.port()),
            None => address.to_string(),
        }
    }

    /// What meets connections.
    fn door(&self, fault: &Fault, address: SocketAddr) -> Result<Door, SimulateError> {
        let own = match &self.name {
            Some(name) => name.clone(),
            None => address.ip().to_string(),
        };
        let names = [own.as_str(), "localhost"];
        let tls = |authority: &Authority, names: &[&str], validity| {
            Ok(Door::Tls(authority.sign(names, Role::Server, validity)?.acceptor(None)?))
        };
        match (&fault.act, &self.tls) {
            (Act::Meet(meeting), _) => Ok(Door::Meet(*meeting)),
            (Act::LeavesHandshake, _) => Ok(Door::Leave),
            (Act::Plain, _) | (Act::Nowhere | Act::Refuse | Act::Blackhole, _) => Ok(Door::Plain),
            (Act::Tls, _) => tls(&Authority::new()?, &names, Validity::Valid),
            (Act::Certificate(wrong), Some(authority)) => match wrong {
                Wrong::Expired => tls(authority, &names, Validity::Expired),
                Wrong::NotYetValid => tls(authority, &names, Validity::NotYetValid),
                Wrong::Name => tls(authority, &["elsewhere.example", "192.0.2.1"], Validity::Valid),
                Wrong::SelfSigned => Ok(Door::Tls(Certificate::self_signed(&names)?.acceptor(None)?)),
                Wrong::Unknown => tls(&Authority::new()?, &names, Validity::Valid),
            },
            (Act::WantsCertificate, Some(authority)) => {
                let certificate = authority.sign(&names, Role::Server, Validity::Valid)?;
                Ok(Door::Tls(certificate.acceptor(Some(authority))?))
            }
            (_, Some(authority)) => tls(authority, &names, Validity::Valid),
            (_, None) => Ok(Door::Plain),
        }
    }
}

fn socket(listen: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // One fault follows another at the same port.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(listen)?;
    Ok(socket)
}

fn socket_at(address: IpAddr) -> io::Result<TcpSocket> {
    socket(SocketAddr::new(address, 0))
}

/// A port where no connection comes about: the kernel has no room for one more, and says nothing.
#[expect(dead_code, reason = "it is full as long as it is there")]
struct Blackhole {
    listener: TcpListener,
    filling: Vec<TcpStream>,
}

impl Blackhole {
    /// How long one that may still come about is waited for, and after how many nothing is believed to fill it.
    const WAIT: Duration = Duration::from_millis(250);
    const MOST: usize = 16;

    async fn fill(socket: TcpSocket) -> Result<Self, SimulateError> {
        let listener = socket.listen(0)?;
        let mut address = listener.local_addr()?;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                IpAddr::from([127, 0, 0, 1])
            } else {
                IpAddr::from([0_u16, 0, 0, 0, 0, 0, 0, 1])
            });
        }
        let mut filling = Vec::new();
        while filling.len() < Self::MOST {
            match timeout(Self::WAIT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => filling.push(stream),
                Err(_) => return Ok(Self { listener, filling }),
                Ok(Err(error)) if error.kind() == ErrorKind::TimedOut => return Ok(Self { listener, filling }),
                Ok(Err(error)) => return Err(error.into()),
            }
        }
        Err(SimulateError::Other("this system takes every connection: a full port cannot be played here".into()))
    }
}

// ---------------------------------------------------------------------------------------------------- the connections

/// What meets a connection.
enum Door {
    Plain,
    Tls(TlsAcceptor),
    Meet(Meeting),
    /// Closes once the client has begun to speak.
    Leave,
}

/// What a request gets.
enum Script {
    Do(Misbehaviour),
    Say(Response),
    Sign(Signer, Flaw),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Place,
    Elsewhere,
}

/// What all connections to one address share.
struct House {
    door: Door,
    script: Script,
    kind: Kind,
    board: watch::Sender<Counts>,
    tell: Tell,
}

/// What becomes of a connection.
#[derive(PartialEq, Eq)]
enum Next {
    KeepAlive,
    Close,
}

/// Counts an open connection.
struct Presence(Arc<House>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.board.send_modify(|counts| counts.open -= 1);
    }
}

impl House {
    fn new(door: Door, script: Script, kind: Kind, board: watch::Sender<Counts>, tell: Tell) -> Arc<Self> {
        Arc::new(Self { door, script, kind, board, tell })
    }

    fn note(&self, change: impl FnOnce(&mut Counts)) {
        self.board.send_modify(change);
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
            let Ok((tcp, _)) = listener.accept().await else {
                // No descriptors, most likely: some come back.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            self.note(|counts| {
                counts.connections += 1;
                counts.open += 1;
                counts.elsewhere += usize::from(self.kind == Kind::Elsewhere);
            });
            let presence = Presence(Arc::clone(&self));
            tokio::spawn(async move {
                let _ = timeout(LONGEST, presence.0.meet(tcp)).await;
                drop((presence, permit));
            });
        }
    }

    async fn meet(&self, mut tcp: TcpStream) {
        // A client that is gone already is met by what comes next.
        let _ = tcp.set_nodelay(true);
        if self.kind == Kind::Elsewhere {
            (self.tell)(&Event::Elsewhere);
        }
        let stream = match &self.door {
            Door::Plain => Stream::Plain(tcp),
            Door::Tls(acceptor) => match timeout(PATIENCE, acceptor.accept(tcp).into_fallible()).await {
                Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                Ok(Err((error, mut tcp))) => {
                    (self.tell)(&Event::Handshake(error.to_string()));
                    // The alert must not be overtaken by a reset.
                    leave(&mut tcp).await;
                    return;
                }
                Err(_) => return,
            },
            Door::Meet(meeting) => {
                (self.tell)(&Event::Connection);
                match meeting {
                    Meeting::Silence => drain(&mut tcp).await,
                    Meeting::Close => leave(&mut tcp).await,
                    Meeting::Reset => {
                        // Waiting to read is not enough: that may end before there is anything.
                        let _ = tcp.peek(&mut [0]).await;
                        let _ = tcp.set_zero_linger();
                    }
                }
                return;
            }
            Door::Leave => {
                let _ = tcp.peek(&mut [0]).await;
                (self.tell)(&Event::Connection);
                leave(&mut tcp).await;
                return;
            }
        };
        self.attend(stream).await;
    }

    async fn attend(&self, mut stream: Stream) {
        let mut buffer = Vec::new();
        while let Ok(Some(request)) = timeout(PATIENCE, request::receive(stream.io(), &mut buffer)).await {
            self.note(|counts| counts.calls += 1);
            (self.tell)(&Event::Call { method: request.method, place: request.place() });
            if self.reply(&mut stream, &request).await == Next::Close {
                return;
            }
        }
        if !buffer.is_empty() {
            // What is no request is answered in plain HTTP, as other servers do.
            let answer = Response::empty(400).ending(Ending::Close);
            let _ = stream.io().write_all(&answer.bytes("")).await;
            leave(stream.io()).await;
        }
    }

    async fn reply(&self, stream: &mut Stream, request: &Request) -> Next {
        let signed;
        let response = match &self.script {
            Script::Do(misbehaviour) => {
                let taken = |more| self.note(|counts| counts.taken += more);
                // Whoever left, it is over.
                let _ = misbehaviour.clone().play(stream, &taken).await;
                return Next::Close;
            }
            Script::Say(response) => response,
            Script::Sign(signer, flaw) => {
                signed = signer.answer(request, *flaw).unwrap_or_else(|_| Response::empty(500));
                &signed
            }
        };
        let written = stream.io().write_all(&response.bytes(request.method)).await;
        if written.is_err() || stream.io().flush().await.is_err() {
            return Next::Close;
        }
        if request.is_last || response.ending == Ending::Close {
            leave(stream.io()).await;
            return Next::Close;
        }
        Next::KeepAlive
    }
}

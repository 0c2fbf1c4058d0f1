//! Plays a fault at an address, for anybody who connects, until it is dropped.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::SimulateError;
use super::authority::{Authority, Certificate, Role, Validity};
use super::catalogue::{Act, Fault, Over, Wrong};
use super::guise::Guise;
use super::house::{Counts, Door, House, Kind, Script, Tell};
use super::response::Response;
use super::signed::Signer;

/// How many connections the kernel keeps for us until it is their turn.
const BACKLOG: u32 = 1024;

/// What the kernel keeps of what a client did not take, at our end.
const SEND_BUFFER: u32 = 64 * 1024;

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
    /// How many requests get the answer that would let somebody in, before anything goes wrong.
    pub after: usize,
}

/// A fault at its place.
pub struct Play {
    /// Scheme, host and port.
    pub url: String,
    pub counts: watch::Receiver<Counts>,
    /// The public key in PEM by which the service's signatures are checked, where plugin.ini has to name a file of it.
    pub key: Option<String>,
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
            return Ok(Self { url: format!("{scheme}://{NOBODY}"), counts, key: None, place: Place::Nowhere });
        }
        let socket = socket(scene.listen)?;
        let address = socket.local_addr()?;
        let url = format!("{scheme}://{}", scene.host(address));
        if matches!(fault.act, Act::Refuse) {
            return Ok(Self { url, counts, key: None, place: Place::Refused(socket) });
        }
        if matches!(fault.act, Act::Blackhole) {
            return Ok(Self { url, counts, key: None, place: Place::Blackhole(Blackhole::fill(socket).await?) });
        }
        let listener = socket.listen(BACKLOG)?;
        let accept = match &scene.accept {
            Accept::Same(response) => response.clone(),
            Accept::Of(guise) => guise.accept(&url),
        };
        let unfit = || SimulateError::Unfit("this service's answers cannot go wrong in this way");
        let (mut elsewhere, mut key) = (None, None);
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
                let signer = signer.ok_or_else(unfit)?;
                key = signer.published()?;
                Script::Sign(signer, *flaw)
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
        let house = House::new(scene.door(fault, address)?, script, Kind::Place(accept, scene.after), board, tell);
        Ok(Self { url, counts, key, place: Place::House(listener, house, elsewhere) })
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
    // One fault follows another at a port that is named. Where any will do, it must be nobody else's, even if nobody listens.
    socket.set_reuseaddr(listen.port() != 0)?;
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
            let own = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
            address.set_ip(own);
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

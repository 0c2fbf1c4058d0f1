//! What all connections to one place meet: the door, the requests, and what these get.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::catalogue::Meeting;
use super::misbehave::{Misbehaviour, Stream, drain, leave};
use super::request::{self, Request};
use super::response::{Ending, Response};
use super::signed::{Flaw, Signer};

/// How many connections are open at once. Others wait until one of them is closed.
const CONNECTIONS: usize = 512;

/// How long a handshake or a request may take to come, and how long a connection is kept at all.
const PATIENCE: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(900);

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
    /// Something that is no request of HTTP.
    NoRequest,
    /// A connection to where a redirection points.
    Elsewhere,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => write!(f, "a connection"),
            Self::Handshake(why) => write!(f, "a TLS handshake that failed: {why}"),
            Self::Call { method, place } => write!(f, "{method} {place}"),
            Self::NoRequest => write!(f, "what came is no HTTP request"),
            Self::Elsewhere => write!(f, "a redirection was followed"),
        }
    }
}

/// Who is told what happens.
pub type Tell = Arc<dyn Fn(&Event) + Send + Sync>;

/// What meets a connection.
pub(super) enum Door {
    Plain,
    Tls(TlsAcceptor),
    Meet(Meeting),
    /// Closes once the client has begun to speak.
    Leave,
}

/// What a request gets.
pub(super) enum Script {
    Do(Misbehaviour),
    Say(Response),
    Sign(Signer, Flaw),
}

pub(super) enum Kind {
    /// So many requests get this answer first.
    Place(Response, usize),
    Elsewhere,
}

/// What all connections to one address share.
pub(super) struct House {
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
    pub fn new(door: Door, script: Script, kind: Kind, board: watch::Sender<Counts>, tell: Tell) -> Arc<Self> {
        Arc::new(Self { door, script, kind, board, tell })
    }

    fn note(&self, change: impl FnOnce(&mut Counts)) {
        self.board.send_modify(change);
    }

    /// Meets everybody, for ever.
    pub async fn accept(self: Arc<Self>, listener: TcpListener) {
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
                counts.elsewhere += usize::from(matches!(self.kind, Kind::Elsewhere));
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
        if matches!(self.kind, Kind::Elsewhere) {
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
            let mut number = 0;
            self.note(|counts| {
                counts.calls += 1;
                number = counts.calls;
            });
            (self.tell)(&Event::Call { method: request.method, place: request.place() });
            if self.reply(&mut stream, &request, number).await == Next::Close {
                return;
            }
        }
        if !buffer.is_empty() {
            (self.tell)(&Event::NoRequest);
            // What is no request is answered in plain HTTP, as other servers do.
            let answer = Response::empty(400).ending(Ending::Close);
            let _ = stream.io().write_all(&answer.bytes("")).await;
            leave(stream.io()).await;
        }
    }

    async fn reply(&self, stream: &mut Stream, request: &Request, number: usize) -> Next {
        let signed;
        let response = match (&self.kind, &self.script) {
            (Kind::Place(accept, after), _) if number <= *after => accept,
            (_, Script::Do(misbehaviour)) => {
                let taken = |more| self.note(|counts| counts.taken += more);
                // Whoever left, it is over.
                let _ = misbehaviour.clone().play(stream, &taken).await;
                return Next::Close;
            }
            (_, Script::Say(response)) => response,
            (_, Script::Sign(signer, flaw)) => {
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

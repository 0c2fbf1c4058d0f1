//! A web server on the loopback, for the tests of what asks other machines. It records what it is asked and in what
//! order, tells what the client got wrong, answers what it is told to, and misbehaves in every way that a network and a
//! service know.
//!
//! Each has a thread with a runtime of its own; thousands of connections may wait at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use countersign::simulate::misbehave::Misbehaviour;
use countersign::simulate::misbehave::{End, Stream, drain, leave};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;

use super::PATIENCE;
use super::authority::{Authority, Certificate};
use super::http::{Ending, Received, Request, Response, more, receive};

/// What the kernel keeps of what the client did not take, at our end. At the other it is what the client's system gives.
const SEND_BUFFER: u32 = 64 * 1024;

// -------------------------------------------------------------------------------------------------------- the answers

/// What a request gets.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An answer, as it should be.
    Respond(Response),
    /// This, but later, unless the client leaves before.
    After(Wait, Box<Reply>),
    /// Something else.
    Misbehave(Misbehaviour),
}

impl Reply {
    /// `reply`, after a time or a signal.
    pub fn after(wait: impl Into<Wait>, reply: impl Into<Self>) -> Self {
        Self::After(wait.into(), Box::new(reply.into()))
    }
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Respond(response)
    }
}

impl From<Misbehaviour> for Reply {
    fn from(misbehaviour: Misbehaviour) -> Self {
        Self::Misbehave(misbehaviour)
    }
}

/// What a reply waits for.
#[derive(Clone, Debug)]
pub enum Wait {
    Time(Duration),
    Signal(Signal),
}

impl From<Duration> for Wait {
    fn from(time: Duration) -> Self {
        Self::Time(time)
    }
}

impl From<&Signal> for Wait {
    fn from(signal: &Signal) -> Self {
        Self::Signal(signal.clone())
    }
}

impl Wait {
    async fn over(&self) {
        match self {
            Self::Time(time) => tokio::time::sleep(*time).await,
            Self::Signal(Signal(sender)) => {
                // The sender is ours: it does not go before the signal comes.
                let _ = sender.subscribe().wait_for(|fired| *fired).await;
            }
        }
    }
}

/// What a test fires once, for every reply that waits for it now or later.
#[derive(Clone, Debug)]
pub struct Signal(Arc<watch::Sender<bool>>);

impl Signal {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}

// --------------------------------------------------------------------------------------------------------- the server

/// What a server saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// In the order in which they were complete.
    pub requests: Vec<Request>,
    /// What clients got wrong.
    pub violations: Vec<String>,
    /// Why TLS handshakes failed, in the words of rustls: what the client said, or what was wrong with it.
    pub handshake_failures: Vec<String>,
    /// How many connections were accepted.
    pub connections: usize,
    /// How many of them are open.
    pub open: usize,
    /// How often a client left before it had its whole answer, or where none would come.
    pub abandoned: usize,
    /// How much of huge bodies and drips clients took, and what lies in the kernel for them.
    pub taken: u64,
}

#[derive(Default)]
struct Board {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Board {
    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
        self.changed.notify_all();
    }
}

/// A server, until it is dropped. The test fails then if a client got something wrong and nobody asked for
/// [`Web::violations`].
pub struct Web {
    address: SocketAddr,
    scheme: &'static str,
    board: Arc<Board>,
    looked: AtomicBool,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// What meets a connection.
enum Door {
    Plain,
    Tls(TlsAcceptor),
    Silence,
    Close,
    Reset,
}

impl Web {
    /// A server over plain TCP. `handler` must not block: what comes later is a [`Reply::After`].
    pub fn serve<R: Into<Reply>>(handler: impl Fn(&Request) -> R + Send + Sync + 'static) -> Self {
        Self::start(Door::Plain, "http", Box::new(move |request| handler(request).into()))
    }

    /// A server over TLS.
    pub fn serve_tls<R: Into<Reply>>(
        certificate: &Certificate,
        handler: impl Fn(&Request) -> R + Send + Sync + 'static,
    ) -> Self {
        let door = Door::Tls(certificate.made.acceptor(None).unwrap());
        Self::start(door, "https", Box::new(move |request| handler(request).into()))
    }

    /// A server over plain TCP that says and does the same to every request.
    pub fn always(reply: impl Into<Reply>) -> Self {
        let reply = reply.into();
        Self::serve(move |_| reply.clone())
    }

    /// The same over TLS.
    pub fn always_tls(certificate: &Certificate, reply: impl Into<Reply>) -> Self {
        let reply = reply.into();
        Self::serve_tls(certificate, move |_| reply.clone())
    }

    /// A server over TLS that lets in who has a certificate of `clients`.
    pub fn serve_mutual_tls<R: Into<Reply>>(
        certificate: &Certificate,
        clients: &Authority,
        handler: impl Fn(&Request) -> R + Send + Sync + 'static,
    ) -> Self {
        let door = Door::Tls(certificate.made.acceptor(Some(&clients.made)).unwrap());
        Self::start(door, "https", Box::new(move |request| handler(request).into()))
    }

    /// A server that accepts connections and says nothing, to TLS handshakes neither.
    pub fn silent() -> Self {
        Self::start(Door::Silence, "http", Box::new(|_| Misbehaviour::Silence.into()))
    }

    /// A server that closes each connection as soon as it is there.
    pub fn closing() -> Self {
        Self::start(Door::Close, "http", Box::new(|_| Misbehaviour::Close.into()))
    }

    /// A server that resets each connection at its first byte: before, the connection might not come about at all.
    pub fn resetting() -> Self {
        Self::start(Door::Reset, "http", Box::new(|_| Misbehaviour::Reset.into()))
    }

    fn start(door: Door, scheme: &'static str, handler: Box<Handler>) -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_send_buffer_size(SEND_BUFFER).unwrap();
            socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            socket.listen(4096).unwrap()
        };
        let address = listener.local_addr().unwrap();
        let board = Arc::new(Board::default());
        let house = Arc::new(House { door, handler, port: address.port(), board: Arc::clone(&board) });
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            // Whatever is under way goes with the runtime.
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = house.accept(listener) => {}
                }
            });
        });
        Self { address, scheme, board, looked: AtomicBool::new(false), stop: Some(stop), thread: Some(thread) }
    }

    /// Address and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL of `path`, which begins with a slash or is empty.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Everything so far.
    pub fn seen(&self) -> Seen {
        self.board.seen.lock().unwrap().clone()
    }

    /// Blocks until what was seen is enough.
    #[track_caller]
    pub fn wait_until(&self, enough: impl Fn(&Seen) -> bool) -> Seen {
        let seen = self.board.seen.lock().unwrap();
        let (seen, result) = self.board.changed.wait_timeout_while(seen, PATIENCE, |seen| !enough(seen)).unwrap();
        assert!(!result.timed_out(), "it does not come: {seen:?}");
        seen.clone()
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.seen().requests
    }

    /// Blocks until there are `count` requests, and gives all.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Request> {
        self.wait_until(|seen| seen.requests.len() >= count).requests
    }

    /// What clients got wrong so far. Who asks has to look, too.
    pub fn violations(&self) -> Vec<String> {
        self.excuse();
        self.seen().violations
    }

    /// Lets clients get something wrong.
    pub fn excuse(&self) {
        self.looked.store(true, Ordering::Relaxed);
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the server panicked");
            let violations = self.seen().violations;
            assert!(self.looked.load(Ordering::Relaxed) || violations.is_empty(), "{violations:#?}");
        }
    }
}

// ---------------------------------------------------------------------------------------------------- the connections

/// What all connections of a server share.
struct House {
    door: Door,
    handler: Box<Handler>,
    port: u16,
    board: Arc<Board>,
}

/// Counts an open connection.
struct Presence(Arc<Board>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.note(|seen| seen.open -= 1);
    }
}

/// What becomes of a connection.
#[derive(PartialEq, Eq)]
enum Next {
    KeepAlive,
    Close,
}

impl House {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((tcp, _)) => {
                    let mut number = 0;
                    self.board.note(|seen| {
                        number = seen.connections;
                        seen.connections += 1;
                        seen.open += 1;
                    });
                    let presence = Presence(Arc::clone(&self.board));
                    let house = Arc::clone(&self);
                    tokio::spawn(async move {
                        house.meet(tcp, number).await;
                        drop(presence);
                    });
                }
                Err(error) => {
                    self.board.note(|seen| seen.violations.push(format!("cannot accept: {error}")));
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    async fn meet(&self, mut tcp: TcpStream, number: usize) {
        // A client that is gone already is met by what comes next.
        let _ = tcp.set_nodelay(true);
        let stream = match &self.door {
            Door::Plain => Stream::Plain(tcp),
            Door::Tls(acceptor) => match acceptor.accept(tcp).into_fallible().await {
                Ok(stream) => Stream::Tls(Box::new(stream)),
                Err((error, mut tcp)) => {
                    self.board.note(|seen| seen.handshake_failures.push(error.to_string()));
                    // The alert must not be overtaken by a reset.
                    leave(&mut tcp).await;
                    return;
                }
            },
            Door::Silence => {
                drain(&mut tcp).await;
                return;
            }
            Door::Close => {
                leave(&mut tcp).await;
                return;
            }
            Door::Reset => {
                // Waiting to read is not enough: that may end before there is anything.
                let _ = tcp.peek(&mut [0]).await;
                let _ = tcp.set_zero_linger();
                return;
            }
        };
        self.attend(stream, number).await;
    }

    async fn attend(&self, mut stream: Stream, number: usize) {
        let (server_name, client_certificate) = match &stream {
            Stream::Plain(_) => (None, None),
            Stream::Tls(stream) => {
                let session = stream.get_ref().1;
                let certificate = session.peer_certificates().and_then(<[_]>::first);
                (session.server_name().map(str::to_owned), certificate.map(|certificate| certificate.to_vec()))
            }
        };
        let mut buffer = Vec::new();
        loop {
            let request = match receive(stream.io(), &mut buffer, self.port).await {
                Received::Request(request, complaints) => {
                    self.board.note(|seen| seen.violations.extend(complaints));
                    let (server_name, client_certificate) = (server_name.clone(), client_certificate.clone());
                    Request { connection: number, server_name, client_certificate, ..*request }
                }
                Received::End => return,
                Received::Malformed(complaint) => {
                    let answer = Response::new(400, "text/plain", complaint.clone()).ending(Ending::Close);
                    self.board.note(|seen| seen.violations.push(complaint));
                    let _ = stream.io().write_all(&answer.bytes("")).await;
                    leave(stream.io()).await;
                    return;
                }
            };
            self.board.note(|seen| seen.requests.push(request.clone()));
            let reply = catch_unwind(AssertUnwindSafe(|| (self.handler)(&request))).unwrap_or_else(|_| {
                self.board.note(|seen| seen.violations.push("the handler panicked".to_owned()));
                Response::empty(500).into()
            });
            if self.reply(&mut stream, &mut buffer, &request, reply).await == Next::Close {
                return;
            }
        }
    }

    async fn reply(&self, stream: &mut Stream, buffer: &mut Vec<u8>, request: &Request, mut reply: Reply) -> Next {
        let abandon = || {
            self.board.note(|seen| seen.abandoned += 1);
            Next::Close
        };
        while let Reply::After(wait, then) = reply {
            if !self.wait(stream, buffer, &wait).await {
                return abandon();
            }
            reply = *then;
        }
        let bytes = match reply {
            Reply::Respond(response) => {
                let wanted = request.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"));
                if stream.io().write_all(&response.bytes(&request.method)).await.is_err() {
                    return abandon();
                }
                if wanted && response.ending != Ending::Close {
                    let _ = stream.io().flush().await;
                    return Next::KeepAlive;
                }
                Vec::new()
            }
            Reply::After(..) => Vec::new(),
            Reply::Misbehave(misbehaviour) => {
                let taken = |more| self.board.note(|seen| seen.taken += more);
                return match misbehaviour.play(stream, &taken).await {
                    End::Closed => Next::Close,
                    End::Abandoned => abandon(),
                };
            }
        };
        let _ = stream.io().write_all(&bytes).await;
        let _ = stream.io().flush().await;
        leave(stream.io()).await;
        Next::Close
    }

    /// Waits; false if the client left before.
    async fn wait(&self, stream: &mut Stream, buffer: &mut Vec<u8>, wait: &Wait) -> bool {
        let over = wait.over();
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return true,
                read = more(stream.io(), buffer) => {
                    if !read.unwrap_or(false) {
                        return false;
                    }
                    self.board.note(|seen| seen.violations.push("bytes come before the answer".to_owned()));
                }
            }
        }
    }
}

//! One process for many gateways: each connection to a Unix socket is a conversation of its own with the one engine. What
//! goes wrong in one, a flood or a reader who does not read among it, ends or slows down that one.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::watch;

use super::exposition::Exposition;
use super::socket::Socket;
use super::stream::Stream;
use super::watchdog::{Afterwards, Watchdog};
use super::{CHORES, Chores, End, Serving, Setting, Signals, converse, next_exposition};
use crate::domain::request::Conversation;
use crate::engine::Chore;
use crate::log::Peer;

/// How many descriptors a connection takes, and how many everything else does.
const OF_EACH: u64 = 3;
const OF_ALL: u64 = 256;

/// How long no connection is taken after the system had no room for one.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves whoever connects to `socket`, at most `connections` at once, until SIGTERM or SIGINT: then what was read is answered.
/// Further connections wait in the socket's queue.
///
/// # Errors
/// Where the socket or the signals cannot be waited for.
pub async fn run(serving: Serving<'_>, socket: Socket, connections: usize) -> io::Result<End> {
    make_room(connections);
    let watchdog = Watchdog::start(Arc::clone(&serving.protocol), Afterwards::Goes)?;
    socket.listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
    let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
    let (mut terminate, mut interrupt) = (signal(terminate)?, signal(interrupt)?);
    let mut hangup = signal(SignalKind::hangup())?;
    let (left, mut leaving) = mpsc::unbounded_channel();
    let mut chores: FuturesUnordered<Chore> = FuturesUnordered::new();
    let mut talking = FuturesUnordered::new();
    let mut exposition = serving.metrics.clone().map(Exposition::new);
    let mut end = End::Served;
    let (orphan, mut orphaned) = watch::channel(false);
    let mut door = Door { listener: Some(listener), is_full: false, opens: None, count: 0 };
    tell(&[NotifyState::Ready]);
    while door.listener.is_some() || !talking.is_empty() {
        let (has_room, opens) = (talking.len() < connections, door.opens);
        door.note(has_room, connections);
        tokio::select! {
            biased;
            () = either(&mut terminate, &mut interrupt), if door.listener.is_some() => {
                tell(&[NotifyState::Stopping]);
                // Whoever connects now finds nobody, or waits for the next process where systemd keeps the socket.
                socket.remove();
                door.listener = None;
            }
            _ = hangup.recv() => serving.log.reopen(),
            _ = orphaned.wait_for(|is_gone| *is_gone), if end == End::Served => {
                end = End::Orphaned;
                socket.remove();
                door.listener = None;
            }
            Some(ended) = talking.next(), if !talking.is_empty() => {
                // One that failed in the midst of something holds up nobody.
                let store = serving.engine.store();
                let _ = store.settle(store.mark()).await;
                if ended == End::Orphaned {
                    let _ = orphan.send_replace(true);
                }
            }
            () = next_exposition(&mut exposition) => {}
            Some(chore) = leaving.recv() => chores.push(chore),
            Some(()) = chores.next(), if !chores.is_empty() => {}
            accepted = door.accept(), if has_room && opens.is_none() => {
                let Some(stream) = accepted else { continue };
                let number = Conversation(door.count);
                match begin(&watchdog, &left, &orphan, number, stream) {
                    Ok((setting, input, output)) => talking.push(talk(serving.clone(), setting, input, output)),
                    Err(error) => tracing::warn!(%error, "a connection cannot be served, and is closed"),
                }
            }
            () = sleep_until(opens), if opens.is_some() => door.opens = None,
        }
        // Chores leave others, and so does a conversation that fails.
        chores.extend(serving.engine.take_chores());
        serving.log.flush();
    }
    while let Ok(chore) = leaving.try_recv() {
        chores.push(chore);
    }
    let done = async {
        while chores.next().await.is_some() {
            chores.extend(serving.engine.take_chores());
        }
    };
    // Whatever is not done then ends by itself at its service.
    let _ = tokio::time::timeout(CHORES, done).await;
    if let Some(exposition) = exposition {
        exposition.end().await;
    }
    Ok(end)
}

/// Where connections come in.
struct Door {
    /// Until the end was asked for.
    listener: Option<UnixListener>,
    is_full: bool,
    /// When connections are taken again.
    opens: Option<Instant>,
    /// How many came.
    count: u64,
}

impl Door {
    /// Waits for a connection; `None` where there is none after all.
    async fn accept(&mut self) -> Option<UnixStream> {
        let Some(listener) = &self.listener else { return std::future::pending().await };
        match listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => {
                self.count += 1;
                Some(stream)
            }
            // Whoever connected has gone again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
            Err(error) => {
                tracing::warn!(%error, "no connection can be taken now; those that are there go on");
                self.opens = Some(Instant::now() + PAUSE);
                None
            }
        }
    }

    /// Says once that there is no room for more.
    fn note(&mut self, has_room: bool, connections: usize) {
        if !has_room && !self.is_full {
            tracing::warn!(connections, "as many connections as may be (--connections); further ones wait");
        }
        self.is_full = !has_room;
    }
}

/// What the conversation `number` over `stream` needs.
fn begin(
    watchdog: &Watchdog,
    left: &UnboundedSender<Chore>,
    orphaned: &watch::Sender<bool>,
    number: Conversation,
    stream: UnixStream,
) -> io::Result<(Setting, Stream, Stream)> {
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok();
    let peer = peer.map(|peer| Peer { uid: peer.uid.as_raw(), pid: peer.pid.as_raw_nonzero().get() });
    tracing::debug!(connection = number.0, peer = peer.map(|peer| peer.to_string()), "a gateway connected");
    let (input, output) = both_ways(stream)?;
    let watch = watchdog.over(number.0, &output)?;
    let signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: None,
    };
    let chores = Chores::Left(left.clone());
    let orphaned = Some(orphaned.clone());
    let setting = Setting { conversation: number, peer, watch, chores, signals, exposition: None, orphaned };
    Ok((setting, input, output))
}

/// A conversation, to whatever end.
async fn talk(serving: Serving<'_>, setting: Setting, input: Stream, output: Stream) -> End {
    let number = setting.conversation;
    match AssertUnwindSafe(converse(serving, setting, input, output)).catch_unwind().await {
        Ok(Ok(end)) => {
            tracing::debug!(connection = number.0, "a gateway has gone");
            return end;
        }
        Ok(Err(error)) => tracing::warn!(connection = number.0, %error, "a connection ended"),
        // The log says where already.
        Err(_panic) => tracing::error!(connection = number.0, "the program failed; the connection is closed"),
    }
    End::Served
}

/// The two directions of `stream`.
///
/// # Errors
/// Where there are too many descriptors.
pub fn both_ways(stream: UnixStream) -> io::Result<(Stream, Stream)> {
    stream.set_nonblocking(false)?;
    let input = OwnedFd::from(stream.try_clone()?);
    Ok((Stream::reader(input)?, Stream::writer(stream.into())?))
}

async fn sleep_until(instant: Option<Instant>) {
    if let Some(instant) = instant {
        tokio::time::sleep_until(instant.into()).await;
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Lets the process have the descriptors that `connections` take, as far as it may.
fn make_room(connections: usize) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(OF_EACH).saturating_add(OF_ALL);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let most = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).is_err() || most < wanted {
        tracing::warn!(wanted, "there may be too few descriptors for all connections: raise the limit (LimitNOFILE=)");
    }
}

/// Tells systemd, where it started this process and wants to know (sd_notify(3)).
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

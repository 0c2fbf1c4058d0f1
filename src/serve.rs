//! Requests in, verdicts out: the streams, the signals, and how much is in flight.
//!
//! Everything runs on one thread. What was found in the pipe is decided together, settled with one commit, audited, and
//! only then answered. A fault or a panic in one request is one reject. Whoever does not read his answers is not read
//! from either, so that no memory grows.

pub mod connect;
mod decide;
mod exposition;
mod facts;
mod first_factor;
pub mod frames;
pub mod listen;
pub mod once;
pub mod socket;
pub mod stream;
mod watchdog;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::{AbortHandle, Abortable, FutureExt};
use futures_util::stream::{FuturesUnordered, Stream as _, StreamExt};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;
use crate::config::gateway::FirstFactor;
use crate::domain::action::Told;
use crate::domain::foreign::Foreign;
use crate::domain::outcome::Denial;
use crate::domain::request::{Conversation, Request, SessionCookie};
use crate::domain::verdict::{Sent, Verdict};
use crate::engine::{Call, Chore, CookieState, Decision, Engine, Trial, store_fault};
use crate::gateway::{Greeting, Inbound, Protocol, RequestId, Said, too_long};
use crate::log::{Facts, Log, Peer, audit};
use crate::metrics::Metrics;
use crate::store::{Mark, StoreError};
use decide::{Standing, decide, is_behind_password, late, said};
use exposition::Exposition;
pub use exposition::finish;
use facts::Traces;
pub use facts::facts;
use frames::{Frame, Frames};
use stream::Stream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use watchdog::{Afterwards, Watch, Watchdog};

/// How many bytes of answers may wait for a reader before nothing more is read.
const UNREAD: usize = 256 * 1024;

/// A gateway that ends its input sooner than this after a request asked one thing, and waits for the answer; one that
/// ends it later has gone, and takes back what waits for somebody's phone.
const ONE_SHOT: Duration = Duration::from_secs(1);

/// How long what is left to do may go on after the last answer.
const CHORES: Duration = Duration::from_secs(4);

/// How long requests are worked on before the runtime looks what else there is.
const AT_A_STRETCH: Duration = Duration::from_millis(10);

/// How many verdicts share one commit at most: those that wait for it longest wait for all of them.
const GATHERED: usize = 256;

/// How many unknown fields are named in the log before they no longer are.
const NAMED: usize = 64;

/// What a server needs besides its engine.
#[derive(Clone)]
pub struct Serving<'a> {
    pub engine: &'a Engine,
    pub protocol: Arc<dyn Protocol + Send + Sync>,
    pub clock: Clock,
    pub log: Log,
    /// The longest that a verdict may take.
    pub deadline: Duration,
    pub max_in_flight: usize,
    pub clients: Vec<String>,
    /// Who checks the password that comes with the first request of a login.
    pub first_factor: Option<FirstFactor>,
    /// Figures, where somebody wants them.
    pub metrics: Option<Rc<Metrics>>,
}

/// Why nothing more is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was, or nobody wants it any more.
    Served,
    /// The store was removed or replaced: another process has to open what is there.
    Orphaned,
}

/// Answers every line of `input` on `output` until the end of input, SIGTERM or SIGINT, until nobody reads the answers, or
/// until the store is no longer the one that was opened.
///
/// # Errors
/// Where the streams or signals cannot be waited for.
pub async fn run(serving: Serving<'_>, input: Stream, output: Stream) -> io::Result<End> {
    let watch = Watchdog::start(Arc::clone(&serving.protocol), Afterwards::Ends)?.over(0, &output)?;
    let signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: Some(signal(SignalKind::hangup())?),
    };
    let exposition = serving.metrics.clone().map(Exposition::new);
    let conversation = Conversation::default();
    let chores = Chores::Own(None);
    let alone = Setting { conversation, peer: None, watch, chores, signals, exposition, orphaned: None };
    converse(serving, alone, input, output).await
}

/// In what a conversation takes place.
struct Setting {
    conversation: Conversation,
    /// Who is at the other end, where the kernel tells.
    peer: Option<Peer>,
    watch: Watch,
    chores: Chores,
    signals: Signals,
    /// Where nobody else has the figures of this process written.
    exposition: Option<Exposition>,
    /// Where there are other conversations: tells all of them that one found the store gone.
    orphaned: Option<watch::Sender<bool>>,
}

async fn converse(serving: Serving<'_>, setting: Setting, input: Stream, output: Stream) -> io::Result<End> {
    let Setting { conversation, peer, watch, chores, mut signals, exposition, orphaned } = setting;
    let mut server = Server {
        frames: Frames::new(),
        tasks: FuturesUnordered::new(),
        conversation,
        peer,
        chores,
        flights: HashMap::new(),
        next: 0,
        decided: Vec::new(),
        out: Vec::new(),
        named: BTreeSet::new(),
        traces: Traces::new(),
        open: true,
        patience: None,
        is_orphaned: false,
        failure: None,
        watch,
        exposition,
        orphaned: orphaned.as_ref().map(watch::Sender::subscribe),
        tell_orphaned: orphaned,
        told_in_flight: 0,
        serving,
    };
    let mut yielded = Instant::now();
    loop {
        // A gateway that asks without a pause keeps nobody from being heard: signals and time come through the runtime.
        if yielded.elapsed() > AT_A_STRETCH {
            tokio::task::yield_now().await;
            yielded = Instant::now();
        }
        if let Err(error) = server.heed(&mut signals, &input) {
            server.failure = Some(error);
            break;
        }
        server.take_lines();
        if !server.open && server.frames.is_empty() {
            server.watch.close();
        }
        server.finish_ready().await;
        if server.has_company() {
            // What the others have decided meanwhile shares the commit, and nobody's flood holds them up.
            tokio::task::yield_now().await;
        }
        if server.gathers() && input.has_more().unwrap_or(false) {
            // What arrived meanwhile shares the commit.
            server.read(&input).await;
            continue;
        }
        // What needs no disk does not wait for one.
        if !server.can_write(&output) {
            break;
        }
        server.settle().await;
        if server.is_orphaned && server.patience.is_none() {
            // Before the other end is told that nothing more is taken: what it then sends comes to no other conversation here.
            if let Some(all) = &server.tell_orphaned {
                all.send_replace(true);
            }
            server.stop(&input)?;
        }
        if !server.can_write(&output) {
            // Nobody reads: there is nobody to serve.
            break;
        }
        server.take_chores();
        if server.is_done() {
            break;
        }
        if server.has_room() && server.frames.has_line(server.open) {
            continue;
        }
        if server.out.is_empty() {
            // Whoever asked has an answer. Nothing depends on it; a failure is met again, and told, by the next request.
            let _ = server.serving.engine.store().idle().await;
        }
        match server.wait(&input, &output, &mut signals).await {
            Ok(()) => {}
            Err(error) => {
                server.failure = Some(error);
                break;
            }
        }
    }
    // Whoever still waits here waits for nothing: a gateway that is gone hears no verdict. What was decided for it is in the
    // log, and the store is nobody's any more.
    server.tasks.clear();
    server.settle().await;
    server.release_store().await;
    if let Some(metrics) = &server.serving.metrics {
        metrics.in_flight(server.told_in_flight, 0);
    }
    server.end_exposition().await;
    server.serving.engine.hang_up(server.conversation, Instant::now());
    if server.failure.as_ref().is_none_or(|error| error.kind() != io::ErrorKind::TimedOut) {
        server.finish_chores().await;
    }
    match server.failure {
        // Whatever else went wrong: others have to know.
        _ if server.is_orphaned => Ok(End::Orphaned),
        // The other end is gone, which it may.
        Some(error) if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            Err(error)
        }
        Some(_) | None => Ok(End::Served),
    }
}

/// What a process is told from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Where nobody else opens the log again.
    hangup: Option<Signal>,
}

/// What decisions left to do, such as taking back a push.
enum Chores {
    /// Done here, between the answers.
    Own(Option<FuturesUnordered<Chore>>),
    /// Done by whoever serves all conversations: it outlives this one.
    Left(UnboundedSender<Chore>),
}

/// What is known of a request while it is in flight.
struct Flight {
    id: Option<RequestId>,
    trace: String,
    abort: AbortHandle,
    trial: Option<Trial>,
}

/// A request whose task ended; `None` where the gateway took it back.
struct Ended {
    number: u64,
    facts: Facts,
    began: Instant,
    decision: Option<(Decision, Standing)>,
}

/// A verdict that waits for the store to settle.
struct Decided {
    number: u64,
    id: Option<RequestId>,
    trace: String,
    facts: Facts,
    began: Instant,
    verdict: Verdict,
    session_cookie: SessionCookie,
    challenge: Option<Told>,
    sent: Sent,
    trial: Option<Trial>,
    mark: Mark,
}

struct Server<'a> {
    serving: Serving<'a>,
    frames: Frames,
    tasks: FuturesUnordered<Pin<Box<dyn Future<Output = Ended> + 'a>>>,
    conversation: Conversation,
    peer: Option<Peer>,
    chores: Chores,
    flights: HashMap<u64, Flight>,
    next: u64,
    decided: Vec<Decided>,
    out: Vec<u8>,
    named: BTreeSet<String>,
    traces: Traces,
    /// Whether more lines may come.
    open: bool,
    /// After a signal to end: until when a reader who does not read is waited for.
    patience: Option<Instant>,
    /// Whether the store is no longer there.
    is_orphaned: bool,
    /// Why the input or the output ended, where it failed.
    failure: Option<io::Error>,
    watch: Watch,
    exposition: Option<Exposition>,
    /// Says that another conversation found the store gone.
    orphaned: Option<watch::Receiver<bool>>,
    /// Tells the others.
    tell_orphaned: Option<watch::Sender<bool>>,
    /// How many requests in flight the figures know of.
    told_in_flight: usize,
}

impl<'a> Server<'a> {
    fn has_room(&self) -> bool {
        self.flights.len() < self.serving.max_in_flight && self.decided.len() < GATHERED && self.out.len() < UNREAD
    }

    /// Whether there may be other conversations.
    const fn has_company(&self) -> bool {
        matches!(self.chores, Chores::Left(_))
    }

    /// Whether verdicts that are ready wait for others.
    fn gathers(&self) -> bool {
        self.open && self.has_room() && !self.decided.is_empty()
    }

    async fn read(&mut self, input: &Stream) {
        let read = input.read_some(self.frames.space()).await;
        self.took(read);
    }

    /// An input that fails has ended: what came before is answered.
    fn took(&mut self, read: io::Result<usize>) {
        let read = read.unwrap_or_else(|error| {
            self.failure = Some(error);
            0
        });
        self.frames.filled(read);
        self.open = read > 0;
        if !self.open {
            if self.patience.is_some() {
                self.frames.drop_unended();
            }
            let before = Instant::now().checked_sub(ONE_SHOT);
            before.into_iter().for_each(|before| self.serving.engine.hang_up(self.conversation, before));
        }
    }

    async fn end_exposition(&mut self) {
        if let Some(exposition) = self.exposition.take() {
            exposition.end().await;
        }
    }

    /// Does what was left to do, for a while.
    async fn finish_chores(&mut self) {
        self.take_chores();
        let Chores::Own(Some(chores)) = &mut self.chores else { return };
        // Whatever is not done then ends by itself at its service.
        let _ = tokio::time::timeout(CHORES, async { while chores.next().await.is_some() {} }).await;
    }

    fn take_chores(&mut self) {
        let left = self.serving.engine.take_chores();
        if left.is_empty() {
            return;
        }
        match &mut self.chores {
            Chores::Own(chores) => chores.get_or_insert_default().extend(left),
            // Whoever serves all is there for as long as any conversation is.
            Chores::Left(all) => left.into_iter().for_each(|chore| drop(all.send(chore))),
        }
    }

    fn is_done(&self) -> bool {
        !self.open && self.frames.is_empty() && self.tasks.is_empty() && self.out.is_empty()
    }

    fn take_lines(&mut self) {
        while self.has_room() {
            let Some(frame) = self.frames.next(self.open) else { return };
            let inbound = match frame {
                Frame::Line(line) => self.serving.protocol.read(&line),
                Frame::TooLong => Inbound::Flawed { id: None, fault: too_long() },
            };
            match inbound {
                Inbound::Decide { id, request, unknown } => {
                    self.name(unknown);
                    self.begin(id, *request);
                }
                Inbound::Cancel { id, target } => self.cancel(id, &target),
                Inbound::Hello { id } => {
                    let greeting =
                        Greeting { clients: self.serving.clients.clone(), max_in_flight: self.serving.max_in_flight };
                    self.serving.protocol.write_greeting(id.as_ref(), &greeting, &mut self.out);
                }
                Inbound::Flawed { id, fault } => {
                    let facts = Facts { kind: "invalid", cookie: "none", peer: self.peer, ..Facts::default() };
                    self.answer(id.as_ref(), &facts, &Verdict::Reject(fault.into()));
                }
            }
        }
    }

    /// Answers what rests on nothing that is stored.
    fn answer(&mut self, id: Option<&RequestId>, facts: &Facts, verdict: &Verdict) {
        let trace = self.traces.next();
        self.audit(&trace, facts, verdict, Duration::ZERO);
        self.serving.protocol.write(id, Said::bare(verdict, &trace), &mut self.out);
    }

    /// Writes the audit line of one verdict, and counts it.
    fn audit(&self, trace: &str, facts: &Facts, verdict: &Verdict, took: Duration) {
        audit(trace, facts, verdict, took);
        if let Some(metrics) = &self.serving.metrics {
            metrics.verdict(facts.kind, verdict, took);
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn begin(&mut self, id: Option<RequestId>, request: Request) {
        let request = Request { conversation: self.conversation, ..request };
        let began = Instant::now();
        let allowance = request.deadline.map_or(self.serving.deadline, |d| d.min(self.serving.deadline));
        let moment = self.serving.clock.moment(allowance);
        let number = self.number();
        let trace = self.traces.next();
        let engine = self.serving.engine;
        let trial = engine.trial(&request);
        let late = Verdict::Reject(late().into());
        let late = match &trial {
            // Whose password nobody has checked yet is not let in, on trial or not.
            Some(trial) if !is_behind_password(self.serving.first_factor.as_ref(), &request) => trial.answer(&late),
            Some(_) | None => late,
        };
        self.watch.expect(number, id.as_ref(), &trace, moment.deadline, late);
        let (abort, registration) = AbortHandle::new_pair();
        let facts = Facts { peer: self.peer, ..facts(engine, &request) };
        let first_factor = self.serving.first_factor.clone();
        let task = async move {
            let decided = decide(engine, first_factor.as_ref(), &request, moment);
            let decision = Abortable::new(decided, registration).await.ok();
            Ended { number, facts, began, decision }
        };
        self.flights.insert(number, Flight { id, trace, abort, trial });
        self.tasks.push(Box::pin(task));
    }

    fn cancel(&mut self, id: Option<RequestId>, target: &RequestId) {
        let mut found = false;
        for flight in self.flights.values().filter(|flight| flight.id.as_ref() == Some(target)) {
            flight.abort.abort();
            found = true;
        }
        self.serving.protocol.write_cancelled(id.as_ref(), found, &mut self.out);
    }

    /// Unknown fields do no harm, but may be a gateway's spelling mistake: each is told once.
    fn name(&mut self, unknown: Vec<String>) {
        for field in unknown {
            let field = Foreign(&field).to_string();
            if self.named.len() < NAMED && !self.named.contains(&field) {
                tracing::warn!(field, "unknown field in a request; it is ignored");
                self.named.insert(field);
            }
        }
    }

    /// Runs every task as far as it goes without waiting.
    async fn finish_ready(&mut self) {
        let mut ended = Vec::new();
        std::future::poll_fn(|context| {
            while let Poll::Ready(Some(end)) = Pin::new(&mut self.tasks).poll_next(context) {
                ended.push(end);
            }
            Poll::Ready(())
        })
        .await;
        for end in ended {
            self.end(end);
        }
    }

    fn end(&mut self, ended: Ended) {
        let Ended { number, mut facts, began, decision } = ended;
        let Some(Flight { id, trace, abort: _, trial }) = self.flights.remove(&number) else { return };
        let (verdict, session_cookie, challenge, sent, trial, mark) = match decision {
            Some((decision, standing)) => {
                let Decision { verdict, session_cookie, troubles, mark, cookie, identity, challenge, sent, calls } =
                    decision;
                if let Some(metrics) = &self.serving.metrics {
                    calls.iter().for_each(|Call { section, outcome }| metrics.call(section, outcome));
                }
                let trial = trial.filter(|_| standing == Standing::SecondFactor);
                for trouble in troubles {
                    tracing::warn!(trace, trouble, "something went wrong that did not end the decision");
                }
                facts.identity = identity.map(|identity| identity.0);
                facts.cookie = match cookie {
                    CookieState::None => "none",
                    CookieState::Good => "good",
                    CookieState::Foreign => "foreign",
                    CookieState::Expired => "expired",
                };
                facts.take_in(challenge.as_ref());
                // What took long would take as long again.
                let sent = if began.elapsed() > self.serving.deadline / 4 { Sent::Perhaps } else { sent };
                (verdict, session_cookie, challenge, sent, trial, mark)
            }
            None => {
                let mark = self.serving.engine.store().mark();
                // Nobody waits for it, on trial or not.
                let verdict = Verdict::Reject(Denial::Cancelled.into());
                (verdict, SessionCookie::default(), None, Sent::Perhaps, None, mark)
            }
        };
        facts.answered = trial.as_ref().map(|_| "accept");
        let decided =
            Decided { number, id, trace, facts, began, verdict, session_cookie, challenge, sent, trial, mark };
        self.decided.push(decided);
    }

    /// Makes durable what the verdicts rest on, audits them, and puts them into the output. Until the log is written, the
    /// watchdog may still answer in our place: a log that hangs costs no answer.
    async fn settle(&mut self) {
        let mut decided = std::mem::take(&mut self.decided);
        let mut answered = Vec::new();
        for Decided {
            number,
            id: _,
            trace,
            facts,
            began,
            verdict,
            session_cookie: _,
            challenge,
            sent: _,
            trial: _,
            mark,
        } in &mut decided
        {
            if let Err(error) = self.serving.engine.store().settle(*mark).await {
                *verdict = Verdict::Reject(store_fault(&error).into());
                self.is_orphaned |= matches!(error, StoreError::Replaced(_));
                // What is not in the store is not told.
                *challenge = None;
            }
            if self.watch.has_answered(*number) {
                *verdict = Verdict::Reject(late().into());
                answered.push(*number);
            }
            self.audit(trace, facts, verdict, began.elapsed());
        }
        if let Some(metrics) = &self.serving.metrics {
            metrics.locks(self.serving.engine.store().locks_begun());
        }
        if !decided.is_empty() {
            self.serving.log.flush();
        }
        for Decided { number, id, trace, facts, began, verdict, session_cookie, challenge, sent, trial, mark: _ } in
            decided
        {
            if self.watch.claim(number) {
                let verdict = said(trial.as_ref(), &verdict);
                let challenge = challenge.as_ref();
                let said = Said { verdict: &verdict, trace: &trace, session_cookie: &session_cookie, challenge, sent };
                self.serving.protocol.write(id.as_ref(), said, &mut self.out);
            } else if !answered.contains(&number) {
                // What the line before says was not said: the log took too long.
                self.audit(&trace, &facts, &Verdict::Reject(late().into()), began.elapsed());
            }
        }
    }

    /// Does what signals that came ask for.
    fn heed(&mut self, signals: &mut Signals, input: &Stream) -> io::Result<()> {
        for asked in [signals.terminate.recv().now_or_never(), signals.interrupt.recv().now_or_never()] {
            if asked.is_some() {
                self.stop(input)?;
            }
        }
        if signals.hangup.as_mut().is_some_and(|hangup| hangup.recv().now_or_never().is_some()) {
            self.serving.log.reopen();
        }
        Ok(())
    }

    /// Ends the transaction that requests that nobody waits for may have left open: others wait for it.
    async fn release_store(&mut self) {
        let store = self.serving.engine.store();
        let _ = store.settle(store.mark()).await;
    }

    /// Whether whoever reads still does: what they take is written.
    fn can_write(&mut self, output: &Stream) -> bool {
        self.write(output).map_err(|error| self.failure = Some(error)).is_ok()
    }

    /// Writes as much as the reader takes; the log first.
    fn write(&mut self, output: &Stream) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.serving.log.flush();
        let written = self.watch.write(&self.out, |bytes| output.write_some(bytes))?;
        self.out.drain(..written);
        Ok(())
    }

    async fn wait(&mut self, input: &Stream, output: &Stream, signals: &mut Signals) -> io::Result<()> {
        if let Some(metrics) = &self.serving.metrics {
            let now = self.flights.len();
            metrics.in_flight(std::mem::replace(&mut self.told_in_flight, now), now);
        }
        let reading = self.open && self.has_room();
        let patience = self.patience;
        tokio::select! {
            biased;
            _ = signals.terminate.recv() => self.stop(input)?,
            _ = signals.interrupt.recv() => self.stop(input)?,
            () = heard(&mut signals.hangup), if signals.hangup.is_some() => self.serving.log.reopen(),
            () = told(&mut self.orphaned), if !self.is_orphaned => {
                self.is_orphaned = true;
                if self.patience.is_none() {
                    self.stop(input)?;
                }
            }
            read = input.read_some(self.frames.space()), if reading => {
                self.took(read);
            }
            ended = self.tasks.next(), if !self.tasks.is_empty() => {
                if let Some(ended) = ended {
                    self.end(ended);
                }
            }
            () = next_exposition(&mut self.exposition) => self.serving.log.flush(),
            () = next_chore(&mut self.chores), if self.chores.are_waiting() => {}
            ready = output.writable(), if !self.out.is_empty() => ready?,
            () = output.abandoned(), if self.has_company() && !self.open => return Err(io::ErrorKind::BrokenPipe.into()),
            () = tokio::time::sleep_until(patience.unwrap_or_else(Instant::now).into()), if patience.is_some() => {
                return Err(unread());
            }
        }
        Ok(())
    }

    /// Reads no more: what was read, or lies in the socket of a connection, is answered, for as long as one deadline; a second
    /// signal waits for nobody.
    fn stop(&mut self, input: &Stream) -> io::Result<()> {
        if self.patience.is_some() {
            return Err(unread());
        }
        let now = Instant::now();
        self.patience = Some(now + self.serving.deadline);
        // Nobody waits for a phone after the end was asked for.
        self.serving.engine.hang_up(self.conversation, now);
        self.serving.engine.end_pushes();
        // What was sent to a socket is read to its end, which comes at once: whoever sends more is told that it is not taken.
        if self.open && !(self.has_company() && input.close_reading()) {
            self.open = false;
            self.frames.drop_unended();
        }
        Ok(())
    }
}

fn unread() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "nobody reads the answers")
}

/// Waits until it is said that the store is gone.
async fn told(orphaned: &mut Option<watch::Receiver<bool>>) {
    if let Some(orphaned) = orphaned
        && orphaned.wait_for(|is_gone| *is_gone).await.is_ok()
    {
        return;
    }
    // Where whoever says it is gone, nobody says it any more.
    std::future::pending().await
}

async fn next_exposition(exposition: &mut Option<Exposition>) {
    match exposition {
        Some(exposition) => exposition.go_on().await,
        None => std::future::pending().await,
    }
}

impl Chores {
    fn are_waiting(&self) -> bool {
        matches!(self, Self::Own(Some(chores)) if !chores.is_empty())
    }
}

async fn next_chore(chores: &mut Chores) {
    if let Chores::Own(Some(chores)) = chores {
        chores.next().await;
    }
}

async fn heard(signal: &mut Option<Signal>) {
    if let Some(signal) = signal {
        signal.recv().await;
    }
}

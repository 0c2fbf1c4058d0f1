//! `countersign connect`: a gateway's standard streams, joined to the socket of a process that serves many. It reads neither
//! configuration nor key nor store. It accepts nothing by itself: what that process does not answer, it rejects.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::frames::{Frame, Frames};
use super::listen::both_ways;
use super::stream::Stream;
use super::{Traces, UNREAD};
use crate::domain::fault::{Class, Fault};
use crate::domain::verdict::Verdict;
use crate::files::{self, Exposure};
use crate::gateway::json::{Native, answered};
use crate::gateway::{Inbound, LINE_LIMIT, Protocol, RequestId, Said, too_long};

/// How much longer than a request's own deadline its answer is waited for.
const GRACE: Duration = Duration::from_secs(1);

/// How long a queue of connections that is full is waited for, and how often it is tried.
const QUEUE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);

/// The longest answer, in bytes: there may be more in it than what came with the request.
const ANSWER: usize = 4 * LINE_LIMIT;

/// How many requests may wait for their answers before no more are read.
const ASKED: usize = 65_536;

/// Where to, and how long an answer may take.
pub struct Connecting {
    pub path: PathBuf,
    pub wait: Duration,
}

/// Passes the lines of `input` on, and the answers to `output`, until the input has ended and all is answered, or until nobody
/// reads the answers.
///
/// # Errors
/// Where the streams cannot be waited for.
pub async fn run(connecting: Connecting, input: OwnedFd, output: OwnedFd) -> io::Result<()> {
    let (input, output) = (Stream::reader(input)?, Stream::writer(output)?);
    let mut filter = Filter {
        connecting,
        lines: Frames::new(),
        waiting: VecDeque::new(),
        making: None,
        link: None,
        ending: Vec::new(),
        out: Vec::new(),
        traces: Traces::new(),
        open: true,
    };
    loop {
        filter.take_lines();
        filter.take_answers();
        filter.send();
        filter.make();
        let written = match output.write_some(&filter.out) {
            Ok(written) => written,
            // There is nobody to answer.
            Err(_) => return Ok(()),
        };
        filter.out.drain(..written);
        if filter.is_done() {
            return Ok(());
        }
        if (filter.has_room() && filter.lines.has_line(filter.open)) || filter.has_answer() {
            continue;
        }
        let (may_ask, may_answer, due) = (filter.open && filter.has_room(), filter.out.len() < UNREAD, filter.due());
        tokio::select! {
            biased;
            read = input.read_some(filter.lines.space()), if may_ask => {
                let read = read?;
                filter.lines.filled(read);
                filter.open = read > 0;
            }
            made = made(&mut filter.making), if filter.making.is_some() => filter.was_made(made),
            event = Link::event(filter.link.as_mut(), may_answer) => filter.happened(event),
            (at, event) = any_event(&mut filter.ending, may_answer) => filter.happened_to_ending(at, event),
            ready = output.writable(), if !filter.out.is_empty() => ready?,
            // The other end of a link that is dropped takes back what waits for somebody's phone.
            () = output.abandoned() => return Ok(()),
            () = sleep_until(due) => filter.unanswered(),
        }
    }
}

/// A request that waits for its answer.
struct Asked {
    id: Option<RequestId>,
    due: Instant,
}

/// A line that is to be sent, with its end; wiped, since a code may be in it.
struct Line {
    asked: Asked,
    text: Zeroizing<Vec<u8>>,
    /// Whether a connection took nothing of it already.
    is_again: bool,
}

/// A connection that is being made.
type Making = Pin<Box<dyn Future<Output = io::Result<Link>>>>;

struct Filter {
    connecting: Connecting,
    lines: Frames,
    /// Lines for the next connection.
    waiting: VecDeque<Line>,
    making: Option<Making>,
    link: Option<Link>,
    /// Connections that take nothing more, and may still answer what they took.
    ending: Vec<Link>,
    out: Vec<u8>,
    traces: Traces,
    /// Whether more lines may come.
    open: bool,
}

/// A connection.
struct Link {
    input: Stream,
    output: Stream,
    /// To end one direction.
    socket: UnixStream,
    answers: Frames,
    /// What was sent, in its order.
    asked: Vec<Asked>,
    unsent: VecDeque<Line>,
    /// How much of the first of `unsent` was sent.
    begun: usize,
    has_ended: bool,
}

/// What happened to the connection.
enum Event {
    Read(usize),
    Writable,
    Broken,
}

impl Filter {
    fn has_room(&self) -> bool {
        let unsent = || self.link.iter().flat_map(|link| &link.unsent).chain(&self.waiting);
        let asked: usize = self.link.iter().chain(&self.ending).map(|link| link.asked.len()).sum();
        self.out.len() < UNREAD
            && asked + unsent().count() < ASKED
            && unsent().map(|line| line.text.len()).sum::<usize>() < UNREAD
    }

    fn has_answer(&self) -> bool {
        let mut links = self.link.iter().chain(&self.ending);
        self.out.len() < UNREAD && links.any(|link| link.answers.has_line(true))
    }

    fn is_done(&self) -> bool {
        let is_idle = |link: &Link| link.asked.is_empty() && link.unsent.is_empty();
        let is_answered = self.waiting.is_empty() && self.link.iter().chain(&self.ending).all(is_idle);
        !self.open && self.lines.is_empty() && is_answered && self.out.is_empty()
    }

    fn take_lines(&mut self) {
        while self.has_room() {
            let Some(frame) = self.lines.next(self.open) else { return };
            match frame {
                Frame::TooLong => self.reject(None, too_long()),
                Frame::Line(line) => self.pass_on(&line),
            }
        }
    }

    /// Sends `line`, and expects its answer.
    fn pass_on(&mut self, line: &[u8]) {
        let (id, deadline) = match Native.read(line) {
            Inbound::Decide { id, request, unknown: _ } => (id, request.deadline),
            Inbound::Cancel { id, target: _ } | Inbound::Hello { id } | Inbound::Flawed { id, fault: _ } => (id, None),
        };
        let wait = deadline.map_or(self.connecting.wait, |deadline| (deadline + GRACE).min(self.connecting.wait));
        // No copy is left behind by growing.
        let mut text = Zeroizing::new(Vec::with_capacity(line.len() + 1));
        text.extend_from_slice(line);
        text.push(b'\n');
        let line = Line { asked: Asked { id, due: Instant::now() + wait }, text, is_again: false };
        match &mut self.link {
            Some(link) => link.unsent.push_back(line),
            None => self.waiting.push_back(line),
        }
    }

    /// Begins to make a connection, where there is something to send and none to send it over.
    fn make(&mut self) {
        if self.link.is_none() && self.making.is_none() && !self.waiting.is_empty() {
            self.making = Some(Box::pin(Link::make(self.connecting.path.clone())));
        }
    }

    fn was_made(&mut self, made: io::Result<Link>) {
        self.making = None;
        let waiting = std::mem::take(&mut self.waiting);
        match made {
            Ok(link) => self.link = Some(Link { unsent: waiting, ..link }),
            Err(error) => {
                self.reject_all(waiting.into_iter().map(|line| line.asked), "instance_absent", &error.to_string())
            }
        }
    }

    /// Passes on the answers that are there. One that nobody waits for is none of ours.
    fn take_answers(&mut self) {
        if let Some(mut link) = self.link.take() {
            match self.answers_of(&mut link) {
                Ok(()) => self.link = Some(link),
                Err(why) => self.lost(link, why),
            }
        }
        for mut link in std::mem::take(&mut self.ending) {
            match self.answers_of(&mut link) {
                // Whatever it took is answered.
                Ok(()) if link.asked.is_empty() => {}
                Ok(()) => self.ending.push(link),
                Err(why) => self.lost(link, why),
            }
        }
    }

    fn answers_of(&mut self, link: &mut Link) -> Result<(), &'static str> {
        while self.out.len() < UNREAD {
            let line = match link.answers.next(true) {
                None => return Ok(()),
                Some(Frame::Line(line)) => line,
                Some(Frame::TooLong) => return Err("an answer is too long"),
            };
            let Some(at) = answered(&line).and_then(|id| link.asked.iter().position(|asked| asked.id == id)) else {
                return Err("there was an answer to nothing that was asked");
            };
            link.asked.remove(at);
            self.out.extend_from_slice(&line);
            self.out.push(b'\n');
        }
        Ok(())
    }

    /// Sends as much as is taken, and says when nothing more will come.
    fn send(&mut self) {
        let is_last = !self.open && self.lines.is_empty();
        let Some(link) = &mut self.link else { return };
        if let Err(error) = link.send() {
            // What was sent before may still be answered, by a service that ends as it should.
            if let Some(mut link) = self.link.take() {
                self.again(&mut link, &error.to_string());
                if !link.asked.is_empty() {
                    self.ending.push(link);
                }
            }
            return;
        }
        if is_last && link.unsent.is_empty() && !link.has_ended {
            link.has_ended = true;
            // Where that fails, the link is broken, and is found to be so when it is read.
            let _ = link.socket.shutdown(std::net::Shutdown::Write);
        }
    }

    /// Keeps for the next connection what `link` took nothing of, where it is the first to do so: nobody can have read that. A line
    /// that it took in part is rejected.
    fn again(&mut self, link: &mut Link, why: &str) {
        let mut rejected = Vec::new();
        for (at, mut line) in std::mem::take(&mut link.unsent).into_iter().enumerate() {
            if line.is_again || (at == 0 && link.begun > 0) {
                rejected.push(line.asked);
            } else {
                line.is_again = true;
                self.waiting.push_back(line);
            }
        }
        self.reject_all(rejected.into_iter(), "instance_gone", why);
    }

    fn happened(&mut self, event: Event) {
        match (event, &mut self.link) {
            (Event::Read(read), Some(link)) if read > 0 => link.answers.filled(read),
            (Event::Read(_) | Event::Broken, _) => {
                if let Some(link) = self.link.take() {
                    self.lost(link, "the connection ended");
                }
            }
            (Event::Writable, _) => {}
        }
    }

    fn happened_to_ending(&mut self, at: usize, event: Event) {
        match (event, self.ending.get_mut(at)) {
            (Event::Read(read), Some(link)) if read > 0 => link.answers.filled(read),
            (Event::Read(_) | Event::Broken, Some(_)) => {
                let link = self.ending.remove(at);
                self.lost(link, "the connection ended");
            }
            (Event::Writable | Event::Read(_) | Event::Broken, _) => {}
        }
    }

    /// Gives a connection up. What it took is rejected, and the rest tried over a new one.
    fn lost(&mut self, mut link: Link, why: &str) {
        let asked = std::mem::take(&mut link.asked);
        self.reject_all(asked.into_iter(), "instance_gone", why);
        self.again(&mut link, why);
    }

    /// Some answers did not come in time. Where one comes later, nobody may be told it: its connection is given up.
    fn unanswered(&mut self) {
        let now = Instant::now();
        let is_late = |link: &Link| link.due().is_some_and(|due| due <= now);
        let late: Vec<Link> = self.link.take_if(|link| is_late(link)).into_iter().collect();
        let (more, ending) = std::mem::take(&mut self.ending).into_iter().partition(is_late);
        self.ending = ending;
        for mut link in late.into_iter().chain::<Vec<Link>>(more) {
            let asked = std::mem::take(&mut link.asked);
            self.reject_all(asked.into_iter(), "instance_silent", "there was no answer in time");
            self.again(&mut link, "nothing was taken in time");
        }
        let (late, waiting): (VecDeque<Line>, _) =
            std::mem::take(&mut self.waiting).into_iter().partition(|line| line.asked.due <= now);
        self.waiting = waiting;
        self.reject_all(late.into_iter().map(|line| line.asked), "instance_absent", "nobody took it in time");
    }

    fn reject_all(&mut self, all: impl Iterator<Item = Asked>, code: &'static str, why: &str) {
        let reason = format!("{}: {why}", self.connecting.path.display());
        for Asked { id, due: _ } in all {
            self.reject(id.as_ref(), fault(code, reason.clone()));
        }
    }

    fn reject(&mut self, id: Option<&RequestId>, fault: Fault) {
        let (verdict, trace) = (Verdict::Reject(fault.into()), self.traces.next());
        Native.write(id, Said::bare(&verdict, &trace), &mut self.out);
    }

    /// When the first answer is due.
    fn due(&self) -> Option<Instant> {
        let links = self.link.iter().chain(&self.ending).filter_map(Link::due);
        links.chain(self.waiting.iter().map(|line| line.asked.due)).min()
    }
}

impl Link {
    async fn make(path: PathBuf) -> io::Result<Self> {
        // Where others could put a socket of theirs, as in /tmp, whoever answers is not believed.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        files::check(directory, Exposure::Readable).map_err(io::Error::other)?;
        let until = Instant::now() + QUEUE;
        let stream = loop {
            match tokio::net::UnixStream::connect(&path).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() + AGAIN < until => {
                    tokio::time::sleep(AGAIN).await;
                }
                connected => break connected?,
            }
        };
        let socket = stream.into_std()?;
        let (input, output) = both_ways(socket.try_clone()?)?;
        let (answers, asked, unsent) = (Frames::up_to(ANSWER), Vec::new(), VecDeque::new());
        Ok(Self { input, output, socket, answers, asked, unsent, begun: 0, has_ended: false })
    }

    /// Sends as much as is taken.
    fn send(&mut self) -> io::Result<()> {
        while let Some(line) = self.unsent.front() {
            let rest = line.text.get(self.begun..).unwrap_or_default();
            let written = self.output.write_some(rest)?;
            if written < rest.len() {
                self.begun += written;
                return Ok(());
            }
            self.begun = 0;
            self.asked.extend(self.unsent.pop_front().map(|line| line.asked));
        }
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        self.asked.iter().chain(self.unsent.iter().map(|line| &line.asked)).map(|asked| asked.due).min()
    }

    /// Waits for something to happen; without a connection, for ever.
    async fn event(link: Option<&mut Self>, may_read: bool) -> Event {
        let Some(Self { input, output, answers, unsent, .. }) = link else {
            return std::future::pending().await;
        };
        tokio::select! {
            biased;
            ready = output.writable(), if !unsent.is_empty() => match ready {
                Ok(()) => Event::Writable,
                Err(_) => Event::Broken,
            },
            read = input.read_some(answers.space()), if may_read => read.map_or(Event::Broken, Event::Read),
            () = std::future::pending() => Event::Broken,
        }
    }
}

/// Waits for something to happen to any of `links`; says to which.
async fn any_event(links: &mut [Link], may_read: bool) -> (usize, Event) {
    if links.is_empty() {
        return std::future::pending().await;
    }
    let events = links.iter_mut().map(|link| Box::pin(Link::event(Some(link), may_read)));
    let (event, at, _) = futures_util::future::select_all(events).await;
    (at, event)
}

async fn made(making: &mut Option<Making>) -> io::Result<Link> {
    match making {
        Some(making) => making.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

fn fault(code: &'static str, reason: String) -> Fault {
    Fault { class: Class::CommunicationError, code, service: None, reason }
}

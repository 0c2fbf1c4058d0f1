//! `countersign connect`: a gateway's standard streams, joined to the socket of a process that serves many. It reads neither
//! configuration nor key nor store. It accepts nothing by itself: what that process does not answer, it rejects.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::{Zeroize, Zeroizing};

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
        link: None,
        again: Zeroizing::new(Vec::new()),
        asked: Vec::new(),
        out: Vec::new(),
        traces: Traces::new(),
        open: true,
    };
    loop {
        filter.send_again().await;
        filter.take_lines().await;
        filter.take_answers();
        filter.send();
        let written = match output.write_some(&filter.out) {
            Ok(written) => written,
            // There is nobody to answer.
            Err(_) => return Ok(()),
        };
        filter.out.drain(..written);
        if filter.is_done() {
            return Ok(());
        }
        let has_line = filter.has_room() && filter.lines.has_line(filter.open);
        if has_line || filter.has_answer() || !filter.again.is_empty() {
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
            event = Link::event(&mut filter.link, may_answer) => filter.happened(event),
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
    /// Whether it was sent over a second connection, since the first did not take it.
    is_again: bool,
}

struct Filter {
    connecting: Connecting,
    lines: Frames,
    link: Option<Link>,
    /// Lines of which a connection took nothing, for the next one.
    again: Zeroizing<Vec<u8>>,
    asked: Vec<Asked>,
    out: Vec<u8>,
    traces: Traces,
    /// Whether more lines may come.
    open: bool,
}

/// The connection.
struct Link {
    input: Stream,
    output: Stream,
    /// To end one direction.
    socket: UnixStream,
    answers: Frames,
    /// What has not been sent yet; wiped, since a code may be in it.
    unsent: Zeroizing<Vec<u8>>,
    /// Whether some of the first line of `unsent` was sent.
    is_begun: bool,
    /// Whether nothing more is taken. What was, may still be answered.
    refuses: bool,
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
        let unsent = self.link.as_ref().map_or(0, |link| link.unsent.len());
        unsent < UNREAD && self.out.len() < UNREAD && self.asked.len() < ASKED
    }

    fn has_answer(&self) -> bool {
        self.out.len() < UNREAD && self.link.as_ref().is_some_and(|link| link.answers.has_line(true))
    }

    fn is_done(&self) -> bool {
        !self.open && self.lines.is_empty() && self.asked.is_empty() && self.out.is_empty()
    }

    async fn take_lines(&mut self) {
        while self.has_room() {
            let Some(frame) = self.lines.next(self.open) else { return };
            match frame {
                Frame::TooLong => self.reject(None, too_long()),
                Frame::Line(line) => self.pass_on(&line).await,
            }
        }
    }

    /// Sends `line`, and expects its answer.
    async fn pass_on(&mut self, line: &[u8]) {
        let (id, deadline) = match Native.read(line) {
            Inbound::Decide { id, request, unknown: _ } => (id, request.deadline),
            Inbound::Cancel { id, target: _ } | Inbound::Hello { id } | Inbound::Flawed { id, fault: _ } => (id, None),
        };
        let wait = deadline.map_or(self.connecting.wait, |deadline| (deadline + GRACE).min(self.connecting.wait));
        let due = Instant::now() + wait;
        if self.link.is_none() {
            match Link::make(&self.connecting, due).await {
                Ok(link) => self.link = Some(link),
                Err(error) => {
                    let path = self.connecting.path.display();
                    self.reject(id.as_ref(), fault("instance_absent", format!("{path}: {error}")));
                    return;
                }
            }
        }
        if let Some(link) = &mut self.link {
            link.unsent.extend_from_slice(line);
            link.unsent.push(b'\n');
            self.asked.push(Asked { id, due, is_again: false });
        }
    }

    /// Passes on the answers that are there. One that nobody waits for is none of ours.
    fn take_answers(&mut self) {
        while self.out.len() < UNREAD {
            let Some(link) = &mut self.link else { return };
            let line = match link.answers.next(true) {
                None => return,
                Some(Frame::Line(line)) => line,
                Some(Frame::TooLong) => return self.lose("an answer is too long"),
            };
            let Some(at) = answered(&line).and_then(|id| self.asked.iter().position(|asked| asked.id == id)) else {
                return self.lose("there was an answer to nothing that was asked");
            };
            self.asked.remove(at);
            self.out.extend_from_slice(&line);
            self.out.push(b'\n');
        }
    }

    /// Sends as much as is taken, and says when nothing more will come.
    fn send(&mut self) {
        let is_last = !self.open && self.lines.is_empty();
        let waiting = self.asked.len();
        let Some(link) = self.link.as_mut().filter(|link| !link.refuses) else { return };
        match link.output.write_some(&link.unsent) {
            Ok(written) => {
                if let Some(sent) = link.unsent.get_mut(..written) {
                    link.is_begun = sent.last().map_or(link.is_begun, |last| *last != b'\n');
                    sent.zeroize();
                }
                link.unsent.drain(..written);
            }
            Err(error) => {
                link.refuses = true;
                // What was sent before is answered first, by a service that ends as it should.
                if link.is_begun || link.lines_unsent() == waiting {
                    self.lose(&error.to_string());
                }
                return;
            }
        }
        if is_last && link.unsent.is_empty() && !link.has_ended {
            link.has_ended = true;
            // Where that fails, the link is broken, and is found to be so when it is read.
            let _ = link.socket.shutdown(std::net::Shutdown::Write);
        }
    }

    fn happened(&mut self, event: Event) {
        match (event, &mut self.link) {
            (Event::Read(read), Some(link)) if read > 0 => link.answers.filled(read),
            (Event::Read(_) | Event::Broken, _) => self.lose("the connection ended"),
            (Event::Writable, _) => {}
        }
    }

    /// Gives the connection up. Lines of which it took nothing are tried over a new one, once: nobody can have read them. So is
    /// the next line.
    fn lose(&mut self, why: &str) {
        let mut untold = Vec::new();
        if let Some(link) = &mut self.link {
            untold = self.asked.split_off(self.asked.len().saturating_sub(link.lines_unsent()));
            if untold.iter().any(|asked| asked.is_again) {
                self.asked.append(&mut untold);
            } else {
                self.again = std::mem::take(&mut link.unsent);
            }
        }
        self.give_up("instance_gone", why);
        untold.iter_mut().for_each(|asked| asked.is_again = true);
        self.asked = untold;
    }

    /// Sends over a new connection what the one before took nothing of.
    async fn send_again(&mut self) {
        if self.again.is_empty() {
            return;
        }
        match Link::make(&self.connecting, self.due().unwrap_or_else(Instant::now)).await {
            Ok(mut link) => {
                link.unsent = std::mem::take(&mut self.again);
                self.link = Some(link);
            }
            Err(error) => {
                self.again = Zeroizing::default();
                self.give_up("instance_absent", &error.to_string());
            }
        }
    }

    /// Some answer did not come in time. Where one comes later, nobody may be told it: the connection is given up.
    fn unanswered(&mut self) {
        self.give_up("instance_silent", "there was no answer in time");
    }

    fn give_up(&mut self, code: &'static str, why: &str) {
        self.link = None;
        let reason = format!("{}: {why}", self.connecting.path.display());
        for Asked { id, due: _, is_again: _ } in std::mem::take(&mut self.asked) {
            self.reject(id.as_ref(), fault(code, reason.clone()));
        }
    }

    fn reject(&mut self, id: Option<&RequestId>, fault: Fault) {
        let (verdict, trace) = (Verdict::Reject(fault.into()), self.traces.next());
        Native.write(id, Said::bare(&verdict, &trace), &mut self.out);
    }

    /// When the first answer is due.
    fn due(&self) -> Option<Instant> {
        self.asked.iter().map(|asked| asked.due).min()
    }
}

impl Link {
    /// How many lines nothing was sent of.
    fn lines_unsent(&self) -> usize {
        if self.is_begun { 0 } else { self.unsent.iter().filter(|byte| **byte == b'\n').count() }
    }

    async fn make(Connecting { path, wait: _ }: &Connecting, due: Instant) -> io::Result<Self> {
        // Where others could put a socket of theirs, as in /tmp, whoever answers is not believed.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        files::check(directory, Exposure::Readable).map_err(io::Error::other)?;
        let until = due.min(Instant::now() + QUEUE);
        let stream = loop {
            match tokio::net::UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() + AGAIN < until => {
                    tokio::time::sleep(AGAIN).await;
                }
                connected => break connected?,
            }
        };
        let socket = stream.into_std()?;
        let (input, output) = both_ways(socket.try_clone()?)?;
        let (answers, unsent) = (Frames::up_to(ANSWER), Zeroizing::new(Vec::new()));
        Ok(Self { input, output, socket, answers, unsent, is_begun: false, refuses: false, has_ended: false })
    }

    /// Waits for something to happen; without a connection, for ever.
    async fn event(link: &mut Option<Self>, may_read: bool) -> Event {
        let Some(Self { input, output, answers, unsent, refuses, .. }) = link else {
            return std::future::pending().await;
        };
        tokio::select! {
            biased;
            ready = output.writable(), if !unsent.is_empty() && !*refuses => match ready {
                Ok(()) => Event::Writable,
                Err(_) => Event::Broken,
            },
            read = input.read_some(answers.space()), if may_read => read.map_or(Event::Broken, Event::Read),
            () = std::future::pending() => Event::Broken,
        }
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

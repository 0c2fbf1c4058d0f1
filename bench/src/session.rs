//! The client of one long-lived `countersign serve`: it keeps so many requests in flight, and it counts.

use std::collections::VecDeque;
use std::io::Write;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::installation::Answer;
use crate::process;
use crate::subscriber::{Order, Request, Roll};

/// A running server and everything that it was asked.
pub struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    roll: Roll,
    /// Requests made ready while the server is busy, so that the client's own work is not in its way.
    ready: VecDeque<Request>,
    /// When each request was sent whose answer is still awaited; the first one's id is `first`.
    sent: VecDeque<Option<Instant>>,
    first: u64,
    next: u64,
    /// What was read and not yet understood.
    unread: Vec<u8>,
    /// Answers that were accepts, and all answers.
    pub accepted: usize,
    pub answered: usize,
}

/// What one slice of time gave.
pub struct Slice {
    /// Verdicts by second.
    pub rate: f64,
    /// Nanoseconds from each request to its answer.
    pub nanoseconds: Vec<u32>,
}

impl Session {
    /// Starts the server.
    pub fn start(mut command: Command, roll: Roll) -> Result<Session> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        Ok(Session {
            stdin: child.stdin.take(),
            stdout,
            child,
            roll,
            ready: VecDeque::new(),
            sent: VecDeque::new(),
            first: 0,
            next: 0,
            unread: Vec::new(),
            accepted: 0,
            answered: 0,
        })
    }

    /// Keeps `width` requests in flight for so long, then waits for what is still awaited.
    pub fn slice(&mut self, width: usize, order: Order, time: Duration) -> Result<Slice> {
        let mut nanoseconds = Vec::new();
        self.prepare(width, order);
        let started = Instant::now();
        self.send(width)?;
        while !self.sent.is_empty() {
            self.prepare(width, order);
            let before = nanoseconds.len();
            self.receive(&mut nanoseconds)?;
            if started.elapsed() < time {
                self.send(nanoseconds.len() - before)?;
            }
        }
        if nanoseconds.is_empty() {
            return Err("all codes are used up".into());
        }
        let rate = nanoseconds.len() as f64 / started.elapsed().as_secs_f64();
        Ok(Slice { rate, nanoseconds })
    }

    /// Peak resident set of the server in KiB.
    pub fn peak_kib(&self) -> Result<u64> {
        Ok(process::peak_kib(&self.child.id().to_string())?)
    }

    /// CPU time of the server so far.
    pub fn cpu(&self) -> Result<Duration> {
        Ok(process::cpu(self.child.id())?)
    }

    /// Ends the input. The server must say nothing more and exit with status 0.
    pub fn end(mut self) -> Result<()> {
        drop(self.stdin.take());
        let said = process::read_some(&mut self.stdout, &mut [0; 1])?;
        let status = self.child.wait()?;
        if said > 0 || !status.success() {
            return Err(format!("serve ended with {status} and {said} bytes unasked").into());
        }
        Ok(())
    }

    fn prepare(&mut self, width: usize, order: Order) {
        while self.ready.len() < width {
            let Some(request) = self.roll.request(self.next, order) else {
                return;
            };
            self.next += 1;
            self.ready.push_back(request);
        }
    }

    /// Sends up to `count` requests in one write.
    fn send(&mut self, count: usize) -> Result<()> {
        let requests = self.ready.drain(..count.min(self.ready.len()));
        let mut lines = String::new();
        let now = Instant::now();
        for request in requests {
            lines.push_str(&request.line);
            if self.sent.is_empty() {
                self.first = request.id;
            }
            self.sent.push_back(Some(now));
        }
        let stdin = self.stdin.as_mut().ok_or("the input has ended")?;
        Ok(stdin.write_all(lines.as_bytes())?)
    }

    /// Waits for at least one more piece of output and takes in all whole lines.
    fn receive(&mut self, nanoseconds: &mut Vec<u32>) -> Result<()> {
        let mut buffer = [0; 65536];
        let read = process::read_some(&mut self.stdout, &mut buffer)?;
        if read == 0 {
            return Err(format!("serve ended with {} requests unanswered", self.sent.len()).into());
        }
        let now = Instant::now();
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(&buffer[..read]);
        let whole = unread.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for line in unread[..whole].split_inclusive(|&byte| byte == b'\n') {
            nanoseconds.push(self.answer(line, now)?);
        }
        unread.drain(..whole);
        self.unread = unread;
        Ok(())
    }

    /// Matches one answer with its request and returns the time between them.
    fn answer(&mut self, line: &[u8], now: Instant) -> Result<u32> {
        let text = || String::from_utf8_lossy(line);
        let answer: Answer = serde_json::from_slice(line).map_err(|error| format!("{error}: {}", text()))?;
        let place = answer.id.wrapping_sub(self.first) as usize;
        let sent = self.sent.get_mut(place).and_then(Option::take);
        let sent = sent.ok_or_else(|| format!("nobody asked: {}", text()))?;
        while let Some(None) = self.sent.front() {
            self.sent.pop_front();
            self.first += 1;
        }
        let accepted = answer.verdict == "accept";
        if !accepted && self.accepted == self.answered {
            eprintln!("the first verdict that is no accept: {}", text().trim());
        }
        self.answered += 1;
        self.accepted += usize::from(accepted);
        Ok(now.duration_since(sent).as_nanos() as u32)
    }
}

impl Drop for Session {
    /// An aborted measurement leaves no server behind.
    fn drop(&mut self) {
        process::stop(&mut self.child);
    }
}

//! The last resort for "it always answers": while the one working thread is held by a disk that does not come back, this
//! one rejects what is past its deadline. It never accepts by itself (in a trial run, what is said instead of a reject was
//! made where every accept is), and a verdict that comes after it is not said.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::stream::Stream;
use crate::domain::verdict::Verdict;
use crate::gateway::{Protocol, RequestId, Said};
use crate::ready::{self, Want};

/// How long after the deadline the working thread may still answer by itself.
const GRACE: Duration = Duration::from_millis(20);

/// How long a reader who does not take the answer is left alone before it is tried again.
const AGAIN: Duration = Duration::from_millis(50);

/// Small, since it only encodes a line.
const STACK: usize = 64 * 1024;

/// The working thread's handle.
pub struct Watchdog(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Who must be answered, the most urgent first.
    due: BTreeSet<(Instant, u64)>,
    waiting: HashMap<u64, Waiting>,
    /// Who was answered by the watchdog.
    answered: HashSet<u64>,
    /// Until when the watchdog sleeps; `None` until it is told.
    sleeps_until: Option<Instant>,
    /// Whether the output stands at the start of a line.
    mid_line: bool,
    /// Whether answers wait for their reader.
    unwritten: bool,
    /// Whether nothing more will be asked.
    closing: bool,
}

/// Who waits for an answer.
struct Waiting {
    due: Instant,
    id: Option<RequestId>,
    trace: String,
    /// What is said then.
    late: Verdict,
}

impl Watchdog {
    /// Starts watching; late answers go to `output`.
    pub fn start(output: &Stream, protocol: Arc<dyn Protocol + Send + Sync>) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::new(State::default()), changed: Condvar::new() });
        let (watched, output) = (Arc::clone(&shared), File::from(output.duplicate()?));
        thread::Builder::new()
            .name("watchdog".into())
            .stack_size(STACK)
            .spawn(move || watched.watch(&output, &*protocol))?;
        Ok(Self(shared))
    }

    /// Request `number` must be answered at `deadline`, if need be by `late`.
    pub fn expect(&self, number: u64, id: Option<&RequestId>, trace: &str, deadline: Instant, late: Verdict) {
        let due = deadline + GRACE;
        let mut state = self.0.lock();
        state.due.insert((due, number));
        state.waiting.insert(number, Waiting { due, id: id.cloned(), trace: trace.to_owned(), late });
        if state.sleeps_until.is_none_or(|until| due < until) {
            state.sleeps_until = Some(due);
            self.0.changed.notify_one();
        }
    }

    /// Whether request `number` is the caller's to answer; it no longer is watched.
    pub fn claim(&self, number: u64) -> bool {
        let mut state = self.0.lock();
        if let Some(waiting) = state.waiting.remove(&number) {
            state.due.remove(&(waiting.due, number));
        }
        let ours = !state.answered.remove(&number);
        // From here on, the answer is on its way.
        state.unwritten |= ours;
        ours
    }

    /// Whether request `number` was answered here.
    pub fn has_answered(&self, number: u64) -> bool {
        self.0.lock().answered.contains(&number)
    }

    /// Nothing more will be asked.
    pub fn close(&self) {
        self.0.lock().closing = true;
    }

    /// Keeps the watchdog from writing while `write` does, which says how much of `bytes` it wrote.
    pub fn write(&self, bytes: &[u8], write: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        let mut state = self.0.lock();
        let written = write(bytes)?;
        state.unwritten = written < bytes.len();
        if let Some(last) = written.checked_sub(1).and_then(|last| bytes.get(last)) {
            state.mid_line = *last != b'\n';
        }
        Ok(written)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, output: &File, protocol: &dyn Protocol) {
        let mut state = self.lock();
        loop {
            let Some((due, number)) = state.due.first().copied() else {
                state.sleeps_until = None;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let now = Instant::now();
            let wait = match due.checked_duration_since(now).filter(|wait| !wait.is_zero()) {
                Some(wait) => wait,
                None if state.mid_line || !ready::is_ready(output.as_fd(), Want::Write).unwrap_or(false) => AGAIN,
                None => {
                    Self::answer(&mut state, (due, number), output, protocol);
                    continue;
                }
            };
            state.sleeps_until = Some(now + wait);
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn answer(state: &mut State, due: (Instant, u64), mut output: &File, protocol: &dyn Protocol) {
        state.due.remove(&due);
        let Some(Waiting { due: _, id, trace, late }) = state.waiting.remove(&due.1) else { return };
        state.answered.insert(due.1);
        let mut line = Vec::new();
        protocol.write(id.as_ref(), Said::bare(&late, &trace), &mut line);
        // Where nobody reads any more, nobody waits for it.
        let _ = output.write_all(&line);
        if state.closing && state.due.is_empty() && !state.unwritten {
            // All are answered, and the working thread may never come back. What it has not committed is not said.
            std::process::exit(70);
        }
    }
}

//! The last resort for "it always answers": while the one working thread is held by a disk that does not come back, this
//! one rejects what is past its deadline. It never accepts by itself (in a trial run, what is said instead of a reject was
//! made where every accept is), and a verdict that comes after it is not said. One thread watches over all conversations; a
//! reader who does not read holds up nobody else.

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

/// What is watched over.
#[derive(Clone)]
pub struct Watchdog(Arc<Shared>);

/// What becomes of a process whose requests are all answered, and which is asked nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// It is ended, where the working thread does not come back.
    Ends,
    /// There may be other conversations.
    Goes,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    protocol: Arc<dyn Protocol + Send + Sync>,
    afterwards: Afterwards,
}

/// One request: its conversation, and its number there.
type Key = (u64, u64);

#[derive(Default)]
struct State {
    /// Who must be answered, the most urgent first.
    due: BTreeSet<(Instant, Key)>,
    watched: HashMap<u64, Watched>,
    /// Until when the watchdog sleeps; `None` until it is told.
    sleeps_until: Option<Instant>,
}

/// What is known of one conversation.
struct Watched {
    output: File,
    waiting: HashMap<u64, Waiting>,
    /// Who was answered by the watchdog.
    answered: HashSet<u64>,
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

/// The working thread's handle on one conversation, which is watched over until this is dropped.
pub struct Watch {
    shared: Arc<Shared>,
    conversation: u64,
}

impl Watchdog {
    /// Starts watching.
    pub fn start(protocol: Arc<dyn Protocol + Send + Sync>, afterwards: Afterwards) -> io::Result<Self> {
        let (state, changed) = (Mutex::new(State::default()), Condvar::new());
        let shared = Arc::new(Shared { state, changed, protocol, afterwards });
        let watched = Arc::clone(&shared);
        thread::Builder::new().name("watchdog".into()).stack_size(STACK).spawn(move || watched.watch())?;
        Ok(Self(shared))
    }

    /// Watches over `conversation`; late answers go to `output`.
    pub fn over(&self, conversation: u64, output: &Stream) -> io::Result<Watch> {
        let watched = Watched {
            output: File::from(output.duplicate()?),
            waiting: HashMap::new(),
            answered: HashSet::new(),
            mid_line: false,
            unwritten: false,
            closing: false,
        };
        self.0.lock().watched.insert(conversation, watched);
        Ok(Watch { shared: Arc::clone(&self.0), conversation })
    }
}

impl Watch {
    /// Request `number` must be answered at `deadline`, if need be by `late`.
    pub fn expect(&self, number: u64, id: Option<&RequestId>, trace: &str, deadline: Instant, late: Verdict) {
        let due = deadline + GRACE;
        let mut state = self.shared.lock();
        let Some(watched) = state.watched.get_mut(&self.conversation) else { return };
        watched.waiting.insert(number, Waiting { due, id: id.cloned(), trace: trace.to_owned(), late });
        state.due.insert((due, (self.conversation, number)));
        if state.sleeps_until.is_none_or(|until| due < until) {
            state.sleeps_until = Some(due);
            self.shared.changed.notify_one();
        }
    }

    /// Whether request `number` is the caller's to answer; it no longer is watched.
    pub fn claim(&self, number: u64) -> bool {
        let mut state = self.shared.lock();
        let State { due, watched, sleeps_until: _ } = &mut *state;
        let Some(watched) = watched.get_mut(&self.conversation) else { return false };
        if let Some(waiting) = watched.waiting.remove(&number) {
            due.remove(&(waiting.due, (self.conversation, number)));
        }
        let ours = !watched.answered.remove(&number);
        // From here on, the answer is on its way.
        watched.unwritten |= ours;
        ours
    }

    /// Whether request `number` was answered here.
    pub fn has_answered(&self, number: u64) -> bool {
        self.shared.lock().watched.get(&self.conversation).is_some_and(|watched| watched.answered.contains(&number))
    }

    /// Nothing more will be asked.
    pub fn close(&self) {
        if let Some(watched) = self.shared.lock().watched.get_mut(&self.conversation) {
            watched.closing = true;
        }
    }

    /// Keeps the watchdog from writing while `write` does, which says how much of `bytes` it wrote.
    pub fn write(&self, bytes: &[u8], write: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        let mut state = self.shared.lock();
        let written = write(bytes)?;
        if let Some(watched) = state.watched.get_mut(&self.conversation) {
            watched.unwritten = written < bytes.len();
            if let Some(last) = written.checked_sub(1).and_then(|last| bytes.get(last)) {
                watched.mid_line = *last != b'\n';
            }
        }
        Ok(written)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(watched) = state.watched.remove(&self.conversation) {
            for (number, waiting) in &watched.waiting {
                state.due.remove(&(waiting.due, (self.conversation, *number)));
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let is_held = self.answer_late(&mut state, now);
            let next = state.due.iter().map(|(due, _)| *due).find(|due| *due > now).map(|due| due - now);
            let wait = match (is_held, next) {
                (true, Some(next)) => AGAIN.min(next),
                (true, None) => AGAIN,
                (false, Some(next)) => next,
                (false, None) => {
                    state.sleeps_until = None;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            };
            state.sleeps_until = Some(now + wait);
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Answers what is past its deadline at `now`; says whether there are readers who do not take their answers.
    fn answer_late(&self, state: &mut State, now: Instant) -> bool {
        let late: Vec<_> = state.due.iter().take_while(|(due, _)| *due <= now).copied().collect();
        let mut held = HashSet::new();
        for due in late {
            let (_, (conversation, number)) = due;
            if held.contains(&conversation) {
                continue;
            }
            let Some(watched) = state.watched.get_mut(&conversation) else {
                state.due.remove(&due);
                continue;
            };
            if watched.mid_line || !ready::is_ready(watched.output.as_fd(), Want::Write).unwrap_or(false) {
                held.insert(conversation);
                continue;
            }
            state.due.remove(&due);
            watched.answer(number, &*self.protocol);
            let is_last = watched.closing && watched.waiting.is_empty() && !watched.unwritten;
            if is_last && self.afterwards == Afterwards::Ends {
                // All are answered, and the working thread may never come back. What it has not committed is not said.
                std::process::exit(70);
            }
        }
        !held.is_empty()
    }
}

impl Watched {
    fn answer(&mut self, number: u64, protocol: &dyn Protocol) {
        let Some(Waiting { due: _, id, trace, late }) = self.waiting.remove(&number) else { return };
        self.answered.insert(number);
        let mut line = Vec::new();
        protocol.write(id.as_ref(), Said::bare(&late, &trace), &mut line);
        // Where nobody reads any more, nobody waits for it.
        let _ = self.output.write_all(&line);
    }
}

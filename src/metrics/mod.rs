//! What was decided, as figures for Prometheus: counted in memory, added to a file that all processes share, or told at a
//! socket. No name and no address is among them, and no more series than there are codes and clients.

mod series;
mod shared;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Config, Mistake};
use crate::domain::verdict::{Accept, Basis, NeedInfo, Reject, Verdict};
use series::Labels;
pub use series::{Counts, IN_FLIGHT};
pub use shared::{add_to, read};

/// The figures of this process.
pub struct Metrics {
    /// The file that they are added to.
    pub file: Option<PathBuf>,
    /// Where they are told.
    pub socket: Option<PathBuf>,
    counts: RefCell<Counts>,
    /// What is on its way into the file.
    taken: RefCell<Option<Counts>>,
    /// What the file is known to hold, of whichever process.
    base: RefCell<Counts>,
    in_flight: Cell<usize>,
}

impl Metrics {
    /// The figures that `config` asks for; `None` where it asks for none.
    pub fn of(config: &Config) -> Option<Self> {
        let options = config.metrics()?;
        let resolve = |path: &Option<PathBuf>| path.as_deref().map(|path| config.resolve(path));
        let (file, socket) = (resolve(&options.file.0), resolve(&options.socket.0));
        let mut counts = Counts::default();
        counts.count(series::PROCESSES, Labels::default());
        // An alert sees a series grow, and not one that begins at 1.
        for (client, _) in config.remote.remotes() {
            let client = client.section();
            counts.add(series::FAIL_OPEN, Labels::of(&[("client", &client)]), 0);
            for outcome in ["push_reported", "service_unreachable"] {
                counts.add(series::CALLS, Labels::of(&[("client", &client), ("outcome", outcome)]), 0);
            }
        }
        let (counts, taken, base) = (RefCell::new(counts), RefCell::default(), RefCell::default());
        Some(Self { file, socket, counts, taken, base, in_flight: Cell::new(0) })
    }

    /// Whether files can be made where `[metrics]` wants them.
    ///
    /// # Errors
    /// Where that is not so, at the option that says where.
    pub fn try_open(config: &Config) -> Result<(), Mistake> {
        let Some(metrics) = Self::of(config) else { return Ok(()) };
        for (option, path) in [("file", &metrics.file), ("socket", &metrics.socket)] {
            let Some(directory) = path.as_ref().and_then(|path| path.parent()) else { continue };
            rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).map_err(|error| {
                let error = std::io::Error::from(error);
                config.mistake("metrics", option, format!("{}: {error}", directory.display()))
            })?;
        }
        Ok(())
    }

    /// Counts a verdict on a request of this kind, which took so long.
    pub fn verdict(&self, kind: &'static str, verdict: &Verdict, took: Duration) {
        let mut counts = self.counts.borrow_mut();
        let (word, code, client) = match verdict {
            Verdict::Accept(Accept {
                claimant: _,
                identity: _,
                basis,
                factor,
                service,
                footing: _,
                reason: _,
                remarks: _,
                cookie: _,
            }) => {
                let client = service.as_deref().or(factor.map(|factor| factor.word())).unwrap_or_default();
                if *basis == Basis::Unreachable {
                    counts.count(series::FAIL_OPEN, Labels::of(&[("client", client)]));
                }
                ("accept", basis.word(), client)
            }
            Verdict::Reject(Reject { class: _, code, service, reason: _, remarks: _, retry_after: _ }) => {
                match *code {
                    "throttled" => counts.count(series::THROTTLED, Labels::default()),
                    "store_failed" => counts.count(series::STORE_ERRORS, Labels::default()),
                    _ => {}
                }
                ("reject", *code, service.as_deref().unwrap_or_default())
            }
            Verdict::NeedInfo(NeedInfo { question: _, cookie: _ }) => ("need_info", "", ""),
        };
        let labels = [("kind", kind), ("verdict", word), ("code", code), ("client", client)];
        counts.count(series::VERDICTS, Labels::of(&labels));
        counts.observe(series::DURATION, Labels::of(&[("client", client)]), took);
    }

    /// Counts what `client`, a remote service, answered.
    pub fn call(&self, client: &str, outcome: &'static str) {
        let labels = Labels::of(&[("client", client), ("outcome", outcome)]);
        self.counts.borrow_mut().count(series::CALLS, labels);
    }

    /// Counts waits that failures of subscribers began.
    pub fn locks(&self, began: u64) {
        if began > 0 {
            self.counts.borrow_mut().add(series::LOCKS, Labels::default(), began);
        }
    }

    /// Notes that of requests that wait for their verdict there are `now` in place of `before`.
    pub fn in_flight(&self, before: usize, now: usize) {
        self.in_flight.set((self.in_flight.get() + now).saturating_sub(before));
    }

    /// Whether there is something that was not taken.
    pub fn is_empty(&self) -> bool {
        self.counts.borrow().is_empty()
    }

    /// Takes what was counted since it was last taken: it is on its way into the file until [`Metrics::arrived`].
    pub fn take(&self) -> Counts {
        let taken = std::mem::take(&mut *self.counts.borrow_mut());
        *self.taken.borrow_mut() = Some(taken.clone());
        taken
    }

    /// Says what became of it: `sum` is in the file, or it was not written.
    pub fn arrived(&self, sum: Option<Counts>) {
        let taken = self.taken.borrow_mut().take();
        match (sum, taken) {
            (Some(sum), _) => *self.base.borrow_mut() = sum,
            (None, Some(taken)) => self.counts.borrow_mut().merge(taken),
            (None, None) => {}
        }
    }

    /// Whether nothing is on its way into the file.
    pub fn is_settled(&self) -> bool {
        self.taken.borrow().is_none()
    }

    /// Notes what was `found` in the file while nothing was on its way into it.
    pub fn found(&self, found: Counts) {
        *self.base.borrow_mut() = found;
    }

    /// The exposition of this process: what it counted, on top of what the file holds. No counter goes back.
    pub fn text(&self) -> String {
        let mut all = self.base.borrow().clone();
        all.merge(self.counts.borrow().clone());
        if let Some(taken) = &*self.taken.borrow() {
            all.merge(taken.clone());
        }
        let mut text = all.text();
        series::gauge(&mut text, &IN_FLIGHT, self.in_flight.get());
        text
    }
}

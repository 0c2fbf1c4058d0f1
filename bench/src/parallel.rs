//! Twenty one-shot processes at once, each for another subscriber.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::arguments::Arguments;
use crate::installation::{Installation, is_accept};
use crate::report::{Figure, Report, count};
use crate::rounds::{Job, milliseconds};
use crate::statistics::Sorted;
use crate::subscriber::Roll;
use crate::{cold, process};

/// Processes that run at the same time.
const WORKERS: usize = 20;

/// Slices of each kind; they alternate.
const SLICES: usize = 5;

/// A slice ends after this, whatever is left of it.
const TIME: Duration = Duration::from_secs(20);

/// What all slices of one kind gave.
#[derive(Default)]
struct Tally {
    rates: Vec<f64>,
    milliseconds: Vec<f64>,
    right: usize,
}

/// Measures and judges the parallel table.
pub fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let each = if arguments.quick { 5 } else { 30 };
    let roll = Roll::new(WORKERS * SLICES * each + 1);
    let directory = arguments.data.join("parallel");
    let installation = Installation::new(&arguments.countersign, directory, &roll)?;
    let roll = Mutex::new(roll);
    let accept = || {
        let mut roll = roll.lock().map_err(|_| "a worker panicked")?;
        cold::accept(&installation, &mut roll)
    };
    let (mut empty, mut accepts) = (Tally::default(), Tally::default());
    for _ in 0..SLICES {
        empty.slice(each, &|| cold::empty(&arguments.empty), |_| true)?;
        accepts.slice(each, &accept, is_accept)?;
    }
    report.table(
        &format!("Parallel: {WORKERS} whole processes at once"),
        &["process", "per second", "best slice", "p50 ms", "p95 ms", "p99 ms", "max ms", "right"],
        &[empty.cells("empty Rust program"), accepts.cells("countersign, TOTP accept")],
    );
    judge(empty, accepts, report);
    Ok(())
}

fn judge(empty: Tally, accepts: Tally, report: &mut Report) {
    let what = "parallel: accepted, as the client counts";
    report.all(what, accepts.right, accepts.milliseconds.len());
    let (floor, rates) = (Sorted::new(empty.rates), Sorted::new(accepts.rates));
    let ratio = Figure { typical: rates.median() / floor.median(), best: Some(rates.max() / floor.max()) };
    report.at_least("parallel: rate / empty Rust program", ratio, 0.4, "");
    let times = Sorted::new(accepts.milliseconds);
    report.at_most("parallel: p99", times.quantile(0.99), 60.0, "ms");
    report.at_most("parallel: slowest", times.max(), 150.0, "ms");
}

impl Tally {
    /// Every worker runs `each` jobs, one after the other.
    fn slice(
        &mut self,
        each: usize,
        next: &(impl Fn() -> Result<Job> + Sync),
        is_right: fn(&[u8]) -> bool,
    ) -> Result<()> {
        let right = AtomicUsize::new(0);
        let started = Instant::now();
        let worker = || -> Result<Vec<f64>> {
            let mut times = Vec::with_capacity(each);
            while times.len() < each && started.elapsed() < TIME {
                let Job { mut command, input } = next()?;
                let ended = process::run(&mut command, &input)?;
                times.push(milliseconds(ended.wall));
                let is_right = ended.status.success() && is_right(&ended.stdout);
                right.fetch_add(usize::from(is_right), Ordering::Relaxed);
            }
            Ok(times)
        };
        let times: Result<Vec<Vec<f64>>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
            let join = |worker: thread::ScopedJoinHandle<_>| worker.join().map_err(|_| "a worker panicked")?;
            workers.into_iter().map(join).collect()
        });
        let (elapsed, times) = (started.elapsed(), times?.concat());
        self.rates.push(times.len() as f64 / elapsed.as_secs_f64());
        self.milliseconds.extend(times);
        self.right += right.into_inner();
        Ok(())
    }

    fn cells(&self, name: &str) -> Vec<String> {
        let rates = Sorted::new(self.rates.iter().copied());
        let times = Sorted::new(self.milliseconds.iter().copied());
        let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(|share| format!("{:.1}", times.quantile(share)));
        let right = format!("{}/{}", self.right, self.milliseconds.len());
        vec![name.to_owned(), count(rates.median()), count(rates.max()), p50, p95, p99, max, right]
    }
}

//! Whole processes of several kinds, taken in turn, so that the machine's moods fall on all of them alike.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::Result;
use crate::process::{self, Ended};
use crate::report::{Figure, count};
use crate::statistics::Sorted;

/// Runs of each row that are not counted: they load files into the page cache.
const WARM_UP: usize = 2;

/// What to start, and what to write to it.
pub struct Job {
    pub command: Command,
    pub input: Vec<u8>,
}

/// One kind of process.
pub struct Row<'a> {
    name: String,
    /// Takes part in each how-manieth round.
    every: usize,
    next: Box<dyn FnMut() -> Result<Job> + 'a>,
    is_right: fn(&[u8]) -> bool,
    runs: Vec<Ended>,
    right: usize,
    all: usize,
}

impl<'a> Row<'a> {
    /// Processes whose jobs come from `next` and whose standard output must satisfy `is_right`.
    pub fn new(
        name: impl Into<String>,
        next: impl FnMut() -> Result<Job> + 'a,
        is_right: fn(&[u8]) -> bool,
    ) -> Row<'a> {
        Row { name: name.into(), every: 1, next: Box::new(next), is_right, runs: Vec::new(), right: 0, all: 0 }
    }

    /// Lets a slow kind sit out all but each `every`th round.
    pub fn every(mut self, every: usize) -> Row<'a> {
        self.every = every;
        self
    }

    /// What it is called in the table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Wall-clock milliseconds.
    pub fn wall(&self) -> Sorted {
        Sorted::new(self.runs.iter().map(|run| milliseconds(run.wall)))
    }

    /// Highest resident set of all runs.
    pub fn peak_kib(&self) -> f64 {
        Sorted::new(self.runs.iter().map(|run| run.peak_kib as f64)).max()
    }

    /// Runs that did what they should.
    pub fn right(&self) -> usize {
        self.right
    }

    /// All runs, those included that only warm up.
    pub fn all(&self) -> usize {
        self.all
    }

    /// How this row's wall-clock time compares with that of another.
    pub fn ratio(&self, other: &Row) -> Figure {
        let (this, other) = (self.wall(), other.wall());
        Figure { typical: this.median() / other.median(), best: Some(this.min() / other.min()) }
    }

    /// The row's cells under [`HEADER`]; `base` is the row that it is compared with.
    pub fn cells(&self, base: &Row) -> Vec<String> {
        let wall = self.wall();
        let cpu = Sorted::new(self.runs.iter().map(|run| milliseconds(run.cpu)));
        let ratio = self.ratio(base);
        vec![
            self.name.clone(),
            format!("{:.3}", wall.median()),
            format!("{:.3}", wall.min()),
            format!("{:.3}", wall.quantile(0.95)),
            format!("{:.3}", cpu.median()),
            self.peak_cell(),
            format!("{:.2}", ratio.typical),
            format!("{:.2}", ratio.best.unwrap_or(f64::NAN)),
            format!("{}/{}", self.right, self.all),
        ]
    }

    /// A process inherits the peak of the driver, so a figure as low as that is only a bound.
    fn peak_cell(&self) -> String {
        let (peak, own) = (self.peak_kib(), process::peak_kib("self").unwrap_or(0) as f64);
        if peak > own { count(peak) } else { format!("<= {}", count(own)) }
    }

    fn turn(&mut self, counted: bool) -> Result<()> {
        let Job { mut command, input } = (self.next)()?;
        let mut ended = process::run(&mut command, &input)?;
        let right = ended.status.success() && (self.is_right)(&ended.stdout);
        if !right && self.right == self.all {
            let said = String::from_utf8_lossy(&ended.stdout);
            eprintln!("{}: {}: {said}", self.name, ended.status);
        }
        self.right += usize::from(right);
        self.all += 1;
        if counted {
            ended.stdout = Vec::new();
            self.runs.push(ended);
        }
        Ok(())
    }
}

/// The columns of [`Row::cells`].
pub const HEADER: [&str; 9] =
    ["one whole process", "median ms", "min ms", "p95 ms", "CPU ms", "peak KiB", "ratio", "min ratio", "right"];

/// Runs all rows in turn, for so many rounds or until the time is up. Each round starts with another row, so that none
/// always follows the same one.
pub fn run(rows: &mut [Row], rounds: usize, time: Duration) -> Result<()> {
    for row in rows.iter_mut() {
        for _ in 0..WARM_UP {
            row.turn(false)?;
        }
    }
    let started = Instant::now();
    let size = rows.len();
    for round in 0..rounds {
        if started.elapsed() > time {
            eprintln!("time is up after {round} of {rounds} rounds");
            break;
        }
        for place in 0..size {
            let row = &mut rows[(round + place) % size];
            if round % row.every == 0 {
                row.turn(true)?;
            }
        }
    }
    Ok(())
}

/// A duration as a number.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

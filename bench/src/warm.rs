//! One long-lived server, every verdict durable and audited before its answer, against a bare loop of SQLite commits.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::arguments::Arguments;
use crate::installation::Installation;
use crate::report::{Figure, Report, count};
use crate::session::Session;
use crate::sqlite::{self, Bare};
use crate::statistics::Sorted;
use crate::subscriber::{Order, Roll};

/// Requests in flight, or rows in a transaction, where there are some, and where there are many.
const SOME: usize = 8;
const MANY: usize = 64;

/// What [`Tally::cells`] are.
pub const HEADER: [&str; 8] =
    ["loop", "per second", "best slice", "p50 us", "p95 us", "p99 us", "max us", "server CPU us"];

/// What all slices of one kind gave.
#[derive(Default)]
pub struct Tally {
    rates: Vec<f64>,
    nanoseconds: Vec<u32>,
    pub cpu: Option<Duration>,
}

/// So many requests in flight beside a bare loop of transactions of so many rows.
struct Pair {
    width: usize,
    order: Order,
    bare: Tally,
    serve: Tally,
}

/// Measures and judges the warm table.
pub fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let (subscribers, slices, time) = match arguments.quick {
        true => (60_000, 3, Duration::from_millis(200)),
        false => (300_000, 5, Duration::from_millis(700)),
    };
    let roll = Roll::new(subscribers);
    let directory = arguments.data.join("warm");
    let installation = Installation::new(&arguments.countersign, directory, &roll)?;
    let mut bare = Bare::new(&arguments.data.join("bare.sqlite"), subscribers)?;
    let mut session = Session::start(installation.serve()?, roll)?;
    let sync = Sorted::new(sqlite::sync_times(&arguments.data.join("block"))?.into_iter().map(f64::from));
    let pairs = take_turns(&mut bare, &mut session, slices, time)?;
    let (answered, accepted) = (session.answered, session.accepted);
    let peak = session.peak_kib()?;
    session.end()?;
    let audited = lines(&installation.audit_path())?;
    print(&pairs, report);
    let curve = |tally: fn(&Pair) -> &Tally| {
        let scattered = pairs.iter().filter(|pair| !matches!(pair.order, Order::Enrolled));
        scattered.map(|pair| (pair.width as f64, tally(pair).typical_rate())).collect()
    };
    report.plot.rates("bare SQLite loop", curve(|pair| &pair.bare));
    report.plot.rates("countersign, embedded store", curve(|pair| &pair.serve));
    println!(
        "One fdatasync of 4 KiB: {} us. Peak memory of the server: {} KiB.",
        count(sync.median() / 1e3),
        count(peak as f64)
    );
    report.all("warm: accepted, as the client counts", accepted, answered);
    report.all("warm: audited", audited.min(answered), answered);
    judge(&pairs, report);
    report.at_most("warm: peak memory", peak as f64 / 1024.0, 10.0, "MiB");
    Ok(())
}

fn take_turns(bare: &mut Bare, session: &mut Session, slices: usize, time: Duration) -> Result<[Pair; 4]> {
    let mut pairs = [
        Pair::new(1, Order::Scattered),
        Pair::new(SOME, Order::Scattered),
        Pair::new(MANY, Order::Enrolled),
        Pair::new(MANY, Order::Scattered),
    ];
    // The first of all opens the store; it is not counted.
    Pair::new(1, Order::Scattered).turn(bare, session, Duration::from_millis(50))?;
    for _ in 0..slices {
        for pair in &mut pairs {
            pair.turn(bare, session, time)?;
        }
    }
    Ok(pairs)
}

fn print(pairs: &[Pair], report: &Report) {
    let rows: Vec<_> = pairs.iter().flat_map(Pair::rows).collect();
    report.table("Warm: one long-lived process", &HEADER, &rows);
    println!("\nTimes are of one commit in the bare loops, of one verdict in the others.");
}

fn judge(pairs: &[Pair; 4], report: &mut Report) {
    let [one, _, many @ ..] = pairs;
    report.at_least("warm: 1 in flight / bare loop", one.serve.against(&one.bare), 0.6, "");
    for pair in many {
        let this = format!("warm: {MANY} in flight{}", pair.note());
        report.at_least(&format!("{this} / 1 in flight"), pair.serve.against(&one.serve), 4.0, "");
        let what = format!("{this} / bare loop in batches of {MANY}");
        report.at_least(&what, pair.serve.against(&pair.bare), 0.3, "");
        let times = pair.serve.microseconds();
        let what = format!("{this}: p99 / p50");
        report.at_most(&what, times.quantile(0.99) / times.median(), 3.0, "");
    }
}

impl Pair {
    fn new(width: usize, order: Order) -> Pair {
        Pair { width, order, bare: Tally::default(), serve: Tally::default() }
    }

    fn turn(&mut self, bare: &mut Bare, session: &mut Session, time: Duration) -> Result<()> {
        let slice = bare.slice(self.width, self.order, time)?;
        self.bare.add(slice.rate, slice.nanoseconds);
        let before = session.cpu()?;
        let slice = session.slice(self.width, self.order, time)?;
        *self.serve.cpu.get_or_insert_default() += session.cpu()? - before;
        self.serve.add(slice.rate, slice.nanoseconds);
        Ok(())
    }

    fn rows(&self) -> [Vec<String>; 2] {
        let (width, note) = (self.width, self.note());
        [
            self.bare.cells(format!("bare SQLite loop, {width} to a commit{note}")),
            self.serve.cells(format!("countersign serve, {width} in flight{note}")),
        ]
    }

    /// Order is told apart where it matters.
    fn note(&self) -> &'static str {
        match self.order {
            _ if self.width == 1 => "",
            Order::Enrolled => ", in order",
            Order::Scattered => ", scattered",
        }
    }
}

impl Tally {
    pub fn add(&mut self, rate: f64, nanoseconds: Vec<u32>) {
        self.rates.push(rate);
        self.nanoseconds.extend(nanoseconds);
    }

    /// The median of the slices.
    pub fn typical_rate(&self) -> f64 {
        Sorted::new(self.rates.iter().copied()).median()
    }

    pub fn microseconds(&self) -> Sorted {
        Sorted::new(self.nanoseconds.iter().map(|&time| f64::from(time) / 1e3))
    }

    pub fn against(&self, other: &Tally) -> Figure {
        let rates = |tally: &Tally| Sorted::new(tally.rates.iter().copied());
        let (this, other) = (rates(self), rates(other));
        Figure { typical: this.median() / other.median(), best: Some(this.max() / other.max()) }
    }

    pub fn cells(&self, name: String) -> Vec<String> {
        let rates = Sorted::new(self.rates.iter().copied());
        let times = self.microseconds();
        let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(|share| count(times.quantile(share)));
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / self.nanoseconds.len() as f64;
        let cpu = self.cpu.map_or(String::new(), |cpu| format!("{:.1}", each(cpu)));
        vec![name, count(rates.median()), count(rates.max()), p50, p95, p99, max, cpu]
    }
}

fn lines(path: &Path) -> Result<usize> {
    let mut lines = 0;
    let mut reader = BufReader::new(File::open(path)?);
    while reader.skip_until(b'\n')? > 0 {
        lines += 1;
    }
    Ok(lines)
}

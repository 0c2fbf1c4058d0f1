//! What a verdict costs when very many are enrolled, beside what it costs when few are.

use std::time::Duration;

use crate::arguments::Arguments;
use crate::installation::{Installation, is_accept};
use crate::instructions::instructions;
use crate::report::{Report, count};
use crate::rounds::{self, HEADER, Job, Row};
use crate::subscriber::{Order, Roll};
use crate::{Result, cold};

/// Subscribers of a small installation.
const FEW: usize = 10;

/// Small installations, used up one after the other: each has only so many codes at a time.
struct Small {
    installations: Vec<(Installation, Roll)>,
    current: usize,
}

/// Measures and judges the growth table.
pub fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let (many, rounds) = if arguments.quick { (20_000, 40) } else { (1_000_000, 240) };
    let (program, data) = (&arguments.countersign, &arguments.data);
    // Two codes at least are free to each subscriber at any time.
    let mut small = Small::new(arguments, rounds / (2 * FEW) + 2)?;
    let few = Installation::new(program, data.join("few"), &Roll::new(FEW))?;
    let mut roll = Roll::new(many);
    let big = Installation::new(program, data.join("many"), &roll)?;
    let sizes = format!("{} / {FEW} enrolled", count(many as f64));
    let name = |what: &str, size: usize| format!("{what}, {} enrolled", count(size as f64));
    let mut rows = [
        Row::new(name("start and end", FEW), || idle(&few), <[u8]>::is_empty),
        Row::new(name("start and end", many), || idle(&big), <[u8]>::is_empty),
        Row::new(name("accept", FEW), || small.accept(), is_accept),
        Row::new(name("accept", many), || cold::accept(&big, &mut roll), is_accept),
    ];
    rounds::run(&mut rows, rounds, Duration::from_secs(120))?;
    judge(&rows, &sizes, report);
    drop(rows);
    let what = format!("growth: instructions of an accept, {sizes}");
    if !arguments.valgrind {
        report.not_measured(&what, "no valgrind");
        return Ok(());
    }
    let count = |job| instructions(job, data, is_accept);
    let ratio = count(cold::accept(&big, &mut roll)?)? / count(small.accept()?)?;
    report.at_most(&what, ratio, 1.2, "");
    Ok(())
}

fn judge(rows: &[Row; 4], sizes: &str, report: &mut Report) {
    let [idle_few, idle_many, few, many] = rows;
    let cells = [idle_few.cells(idle_few), idle_many.cells(idle_few), few.cells(few), many.cells(few)];
    report.table("Growth: one whole process, few or many enrolled", &HEADER, &cells);
    let (right, all) = (few.right() + many.right(), few.all() + many.all());
    report.all("growth: accepted, as the client counts", right, all);
    report.at_most(&format!("growth: start-up, {sizes}"), idle_many.ratio(idle_few), 1.2, "");
    report.at_most(&format!("growth: accept, {sizes}"), many.ratio(few), 1.2, "");
}

/// A start whose input ends before it begins.
fn idle(installation: &Installation) -> Result<Job> {
    Ok(Job { command: installation.serve()?, input: Vec::new() })
}

impl Small {
    fn new(arguments: &Arguments, size: usize) -> Result<Small> {
        let make = |number| {
            let roll = Roll::new(FEW);
            let directory = arguments.data.join(format!("few{number}"));
            Ok((Installation::new(&arguments.countersign, directory, &roll)?, roll))
        };
        let installations = (0..size).map(make).collect::<Result<_>>()?;
        Ok(Small { installations, current: 0 })
    }

    /// One accept from the first installation that has a code left.
    fn accept(&mut self) -> Result<Job> {
        while let Some((installation, roll)) = self.installations.get_mut(self.current) {
            if let Some(request) = roll.request(1, Order::Scattered) {
                return installation.job(&request);
            }
            self.current += 1;
        }
        Err("all codes of all small installations are used up".into())
    }
}

//! How many instructions one process executes in user space, as callgrind counts them. Where clocks drift this repeats.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::arguments::Arguments;
use crate::installation::{Installation, is_accept};
use crate::process;
use crate::report::{Report, count};
use crate::rounds::Job;
use crate::statistics::Sorted;
use crate::subscriber::Roll;
use crate::{cold, rounds};

const FIRST: &str = "cold: instructions of one accept, the first from its address";
const AGAIN: &str = "cold: instructions of one accept from a known address";

/// The most that either may take.
const MOST: f64 = 900_000.0;

/// Counts the instructions of one cold accept: of somebody who has never logged in, and of the same once more.
pub fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    if !arguments.valgrind {
        report.not_measured(FIRST, "no valgrind");
        report.not_measured(AGAIN, "no valgrind");
        return Ok(());
    }
    let runs = if arguments.quick { 1 } else { 5 };
    let mut roll = Roll::new(100);
    let directory = arguments.data.join("instructions");
    let installation = Installation::new(&arguments.countersign, directory, &roll)?;
    let count_accepts = |roll: &mut Roll| -> Result<Sorted> {
        let mut counts = Vec::new();
        for _ in 0..runs {
            counts.push(instructions(cold::accept(&installation, roll)?, &arguments.data, is_accept)?);
        }
        Ok(Sorted::new(counts))
    };
    let first = count_accepts(&mut roll)?;
    // Everybody else logs in meanwhile: the roll comes by everybody before it comes by anybody again.
    for _ in runs..100 {
        let Job { mut command, input } = cold::accept(&installation, &mut roll)?;
        if !is_accept(&process::run(&mut command, &input)?.stdout) {
            return Err("a login was not accepted".into());
        }
    }
    let again = count_accepts(&mut roll)?;
    let mut empty = Vec::new();
    for _ in 0..runs {
        empty.push(instructions(cold::empty(&arguments.empty)?, &arguments.data, |_| true)?);
    }
    let row = |name: &str, counts: &Sorted| {
        vec![name.to_owned(), count(counts.median()), count(counts.min()), count(counts.max())]
    };
    report.table(
        "Instructions of one whole process (callgrind, user space)",
        &["process", "median", "min", "max"],
        &[
            row("empty Rust program", &Sorted::new(empty)),
            row("countersign, TOTP accept, the first from its address", &first),
            row("countersign, TOTP accept from a known address", &again),
        ],
    );
    report.at_most(FIRST, first.median(), MOST, "");
    report.at_most(AGAIN, again.median(), MOST, "");
    Ok(())
}

/// Runs a job under callgrind. `is_right` must hold of its standard output.
pub fn instructions(job: rounds::Job, scratch: &Path, is_right: fn(&[u8]) -> bool) -> Result<f64> {
    let log = scratch.join("callgrind.log");
    let Job { command, input } = job;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(format!("--log-file={}", log.display()));
    valgrind.arg(command.get_program()).args(command.get_args());
    valgrind.stderr(std::process::Stdio::null());
    let ended = process::run(&mut valgrind, &input)?;
    if !ended.status.success() || !is_right(&ended.stdout) {
        let said = String::from_utf8_lossy(&ended.stdout);
        return Err(format!("{valgrind:?}: {}: {said}", ended.status).into());
    }
    collected(&fs::read_to_string(log)?).ok_or_else(|| "callgrind printed no count".into())
}

fn collected(log: &str) -> Option<f64> {
    let (_, count) = log.lines().find_map(|line| line.split_once("Collected : "))?;
    count.trim().parse().ok()
}

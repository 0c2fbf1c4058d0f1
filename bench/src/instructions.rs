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

const TARGET: &str = "cold: instructions of one accept";

/// Counts the instructions of one cold accept.
pub fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    if !arguments.valgrind {
        report.not_measured(TARGET, "no valgrind");
        return Ok(());
    }
    let mut roll = Roll::new(100);
    let directory = arguments.data.join("instructions");
    let installation = Installation::new(&arguments.countersign, directory, &roll)?;
    let (mut empty, mut accepts) = (Vec::new(), Vec::new());
    for _ in 0..if arguments.quick { 1 } else { 5 } {
        let job = cold::empty(&arguments.empty)?;
        empty.push(instructions(job, &arguments.data, |_| true)?);
        let job = cold::accept(&installation, &mut roll)?;
        accepts.push(instructions(job, &arguments.data, is_accept)?);
    }
    let (empty, accepts) = (Sorted::new(empty), Sorted::new(accepts));
    let row = |name: &str, counts: &Sorted| {
        vec![name.to_owned(), count(counts.median()), count(counts.min()), count(counts.max())]
    };
    report.table(
        "Instructions of one whole process (callgrind, user space)",
        &["process", "median", "min", "max"],
        &[row("empty Rust program", &empty), row("countersign, TOTP accept", &accepts)],
    );
    report.at_most(TARGET, accepts.median(), 900_000.0, "");
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

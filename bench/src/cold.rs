//! One process for each verdict: countersign against an empty program and against its peers.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Result;
use crate::arguments::Arguments;
use crate::installation::{Installation, is_accept};
use crate::peers;
use crate::report::Report;
use crate::rounds::{self, HEADER, Job, Row};
use crate::subscriber::{Order, Roll};

/// Measures and judges the cold table.
pub fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let mut roll = Roll::new(1000);
    let installation = Installation::new(&arguments.countersign, arguments.data.join("cold"), &roll)?;
    let mut rows = vec![
        Row::new("empty Rust program", || empty(&arguments.empty), |_| true),
        Row::new("countersign, TOTP accept", || accept(&installation, &mut roll), is_accept),
    ];
    rows.extend(peers::rows(arguments)?);
    let rounds = if arguments.quick { 60 } else { 300 };
    rounds::run(&mut rows, rounds, Duration::from_secs(120))?;
    let cells: Vec<_> = rows.iter().map(|row| row.cells(&rows[0])).collect();
    report.table("Cold: one whole process for each verdict", &HEADER, &cells);
    judge(&rows, report);
    Ok(())
}

fn judge(rows: &[Row], report: &mut Report) {
    let cold = &rows[1];
    let named = |name: &str| rows.iter().find(|row| row.name() == name);
    report.all("cold: accepted, as the client counts", cold.right(), cold.all());
    report.at_most("cold: time / empty Rust program", cold.ratio(&rows[0]), 2.5, "");
    report.at_most("cold: peak memory", cold.peak_kib(), 4096.0, "KiB");
    let what = "cold: time / pamtester with pam_google_authenticator";
    against(what, cold, named(peers::PAM_HOTP), 0.6, report);
    let what = "cold: time / Python plugin SDK";
    against(what, cold, named(peers::SDK), 1.0 / 80.0, report);
}

fn against(what: &str, cold: &Row, peer: Option<&Row>, limit: f64, report: &mut Report) {
    match peer {
        Some(peer) if peer.right() == peer.all() => {
            report.at_most(what, cold.ratio(peer), limit, "");
        }
        Some(_) => report.not_measured(what, "the peer did not accept"),
        None => report.not_measured(what, "not installed"),
    }
}

/// A start of the empty program.
pub fn empty(program: &Path) -> Result<Job> {
    let mut command = Command::new(program);
    command.stderr(Stdio::null());
    let input = Vec::new();
    Ok(Job { command, input })
}

/// One accept by a process of its own.
pub fn accept(installation: &Installation, roll: &mut Roll) -> Result<Job> {
    installation.job(&roll.request(1, Order::Scattered).ok_or("all codes are used up")?)
}

//! Measures countersign against its floors and its peers. `bench/run` builds and starts this; `bench/README.md` says
//! what is measured and how.

mod arguments;
mod cluster;
mod cold;
mod growth;
mod installation;
mod instructions;
mod parallel;
mod peers;
mod plot;
mod process;
mod pushes;
mod report;
mod rounds;
mod session;
mod shared;
mod sqlite;
mod statistics;
mod subscriber;
mod warm;

use std::process::ExitCode;

use arguments::Arguments;
use report::Report;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

type Section = fn(&Arguments, &mut Report) -> Result<()>;

/// In this order: the cold table comes while the driver is still small, since processes inherit its peak memory.
const SECTIONS: [(&str, Section); 7] = [
    ("cold", cold::measure),
    ("instructions", instructions::measure),
    ("parallel", parallel::measure),
    ("warm", warm::measure),
    ("shared", shared::measure),
    ("pushes", pushes::measure),
    ("growth", growth::measure),
];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("countersign-bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the sections that were asked for and says whether no target was missed.
fn run() -> Result<bool> {
    let arguments = Arguments::parse()?;
    let only = arguments.only.as_deref();
    let chosen: Vec<_> = SECTIONS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).collect();
    if chosen.is_empty() {
        let names = SECTIONS.map(|(name, _)| name).join(", ");
        return Err(format!("--only: expected one of {names}").into());
    }
    let mut report = Report::default();
    for (name, section) in chosen {
        eprintln!("{name} ...");
        report.begin();
        section(&arguments, &mut report).map_err(|error| format!("{name}: {error}"))?;
    }
    if let Some(path) = &arguments.plot {
        report.plot.draw(path)?;
    }
    Ok(report.conclude())
}

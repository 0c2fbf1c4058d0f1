//! The table: gateways and what they do in each case.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::rig::services::program;

/// What a gateway is tried with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// A right code lets in.
    Accept,
    /// A wrong one, and a used one, does not.
    Reject,
    /// Whoever typed none is asked, and let in by the answer; a wrong answer does not let in.
    Challenge,
    /// After the code there is another question.
    TwoRounds,
    /// A push that takes two seconds lets in, and others log in meanwhile.
    PushWait,
    /// 200 logins, 16 at a time: none is lost, and none is let in that should not be.
    Parallel,
    /// A service that is away lets nobody in, in time, and is told from a wrong code where the gateway can tell it.
    ServiceDown,
    /// Names and passwords that mean something to somebody on the way.
    BadInput,
}

impl Case {
    const ALL: [Self; 8] = [
        Self::Accept,
        Self::Reject,
        Self::Challenge,
        Self::TwoRounds,
        Self::PushWait,
        Self::Parallel,
        Self::ServiceDown,
        Self::BadInput,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Challenge => "challenge",
            Self::TwoRounds => "two rounds",
            Self::PushWait => "push wait",
            Self::Parallel => "parallel",
            Self::ServiceDown => "service down",
            Self::BadInput => "bad input",
        }
    }
}

/// What a gateway needs beside its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: its server runs as whoever runs the tests.
    Nothing,
    /// Root, and a name space of its own.
    Root,
}

/// A gateway of the table.
pub struct Gateway {
    pub name: &'static str,
    /// Programs that have to be there, each with the Debian package that has it.
    pub programs: &'static [(&'static str, &'static str)],
    pub needs: Needs,
    pub play: fn(&mut Sheet),
}

/// What became of a case.
enum Mark {
    Passed,
    Failed,
    /// It cannot be, and why.
    Cannot(&'static str),
}

/// The row of one gateway.
#[derive(Default)]
pub struct Sheet {
    marks: BTreeMap<Case, Mark>,
    ratio: Option<(Duration, Duration)>,
}

impl Sheet {
    /// Plays `case`: it passes where `play` does not panic.
    pub fn case(&mut self, case: Case, play: impl FnOnce()) {
        let played = catch_unwind(AssertUnwindSafe(play));
        let mark = if played.is_ok() { Mark::Passed } else { Mark::Failed };
        println!("    {:<13} {}", case.title(), if played.is_ok() { "ok" } else { "FAILED" });
        self.marks.insert(case, mark);
    }

    /// `case` cannot be, because of `why`.
    pub fn cannot(&mut self, case: Case, why: &'static str) {
        self.marks.insert(case, Mark::Cannot(why));
    }

    /// Times a login through countersign, and one through the same server without, by turns; the medians are compared.
    pub fn time(&mut self, rounds: usize, mut with: impl FnMut(usize), mut without: impl FnMut(usize)) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let began = Instant::now();
            with(round);
            ours.push(began.elapsed());
            let began = Instant::now();
            without(round);
            theirs.push(began.elapsed());
        }
        let median = |times: &mut Vec<Duration>| {
            times.sort();
            times[times.len() / 2]
        };
        self.ratio = Some((median(&mut ours), median(&mut theirs)));
    }
}

/// Plays those of `gateways` that are asked for, and prints the table. Fails where a case does.
pub fn run(gateways: &[Gateway]) -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_listing = std::env::args().any(|argument| argument == "--list");
    let with_root = std::env::var_os("COUNTERSIGN_GATEWAYS").is_some_and(|value| value == "all");
    let must = std::env::var_os("COUNTERSIGN_NOTHING_SKIPPED").is_some_and(|value| value == "1");
    let (mut rows, mut failed) = (Vec::new(), false);
    for gateway in gateways {
        if !asked.is_empty() && !asked.iter().any(|name| gateway.name.contains(name.as_str())) {
            continue;
        }
        if is_listing {
            println!("{}: test", gateway.name);
            continue;
        }
        if gateway.needs == Needs::Root && !with_root {
            println!("{}: skipped; as root: COUNTERSIGN_GATEWAYS=all cargo test --test gateways", gateway.name);
            continue;
        }
        let mut missing: Vec<_> =
            gateway.programs.iter().filter(|(name, _)| program(name).is_none()).map(|(_, package)| *package).collect();
        missing.dedup();
        if !missing.is_empty() {
            println!("{}: skipped; run: apt-get install {}", gateway.name, missing.join(" "));
            failed |= must;
            continue;
        }
        println!("{}", gateway.name);
        let mut sheet = Sheet::default();
        if catch_unwind(AssertUnwindSafe(|| (gateway.play)(&mut sheet))).is_err() {
            println!("    FAILED outside of a case");
            failed = true;
        }
        failed |= sheet.marks.values().any(|mark| matches!(mark, Mark::Failed));
        rows.push((gateway.name, sheet));
    }
    if !rows.is_empty() {
        print(&rows);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn print(rows: &[(&str, Sheet)]) {
    let mut notes = Vec::new();
    print!("\n{:<22}", "gateway");
    Case::ALL.iter().for_each(|case| print!("{:>14}", case.title()));
    println!("{:>16}", "login time");
    for (name, sheet) in rows {
        print!("{name:<22}");
        for case in Case::ALL {
            let text = match sheet.marks.get(&case) {
                Some(Mark::Passed) => "pass".to_owned(),
                Some(Mark::Failed) => "FAILED".to_owned(),
                Some(Mark::Cannot(why)) => {
                    let number = notes.iter().position(|note| note == why).unwrap_or_else(|| {
                        notes.push(*why);
                        notes.len() - 1
                    });
                    format!("no ({})", number + 1)
                }
                None => "-".to_owned(),
            };
            print!("{text:>14}");
        }
        match sheet.ratio {
            Some((with, without)) => {
                println!("{:>9.2} x {:.0?}", with.as_secs_f64() / without.as_secs_f64(), without);
            }
            None => println!("{:>16}", "-"),
        }
    }
    for (number, note) in notes.iter().enumerate() {
        println!("({}) {note}", number + 1);
    }
    println!("login time: the median through countersign, as a ratio to the same server without it\n");
}

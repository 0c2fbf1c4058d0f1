//! `countersign doctor`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{DumpableBehavior, dumpable_behavior};
use serde::Serialize;

use super::AdminError;
use super::gateway::Language;
use crate::client::diagnosis::{Finding, Trouble};
use crate::client::{self, Push, Wired};
use crate::clock::{self, Clock};
use crate::config::{Config, Reading};
use crate::confine::Plan;
use crate::directory::{self, Directory};
use crate::domain::foreign::Foreign;
use crate::secret::seal::Sealer;
use crate::setup::{self, Setup};
use crate::store::Store;

/// How long the diagnosis of one client may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Less time than this, in seconds, is little for somebody to find a phone.
const PUSH: u64 = 60;

/// What `doctor` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nobody is asked for anything: no push is sent, no code is needed. Exit status 0: everything is ok; \
                        1: something is wrong."
)]
pub struct Args {
    /// The section of one client, such as duo or "http corp", or of the directory; without it, all in use
    #[arg(value_name = "CLIENT")]
    client: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    language: Language,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    clients: Vec<ClientReport>,
}

#[derive(Serialize)]
struct ClientReport {
    client: String,
    ok: bool,
    steps: Vec<WireStep>,
}

#[derive(Serialize)]
struct WireStep {
    step: &'static str,
    ok: bool,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// Says whether each client would work, and what to do where it would not.
pub fn run(args: &Args, config: &Path, clock: Clock, out: &mut impl Write) -> Result<ExitCode, AdminError> {
    let reading = args.language.reading();
    let mut reports = vec![ClientReport::of("countersign", basis(config, reading))];
    if let Ok(Setup { config, sealer, store }) = Setup::open_as(config, reading) {
        let store: Rc<dyn Store> = store;
        let clients = client::build(&config, &store, &sealer);
        let directory = directory::configured(&config);
        let directory = directory.map(|directory| (format!("ldap_server {}", directory.name()), directory));
        let mut known: Vec<_> = clients.iter().map(|wired| wired.client.section().to_owned()).collect();
        known.extend(directory.iter().map(|(section, _)| section.clone()));
        if let Some(name) = &args.client
            && !known.contains(name)
        {
            let text = format!("no client {} is in use; those in use: {}", Foreign(name), known.join(", "));
            return Err(AdminError::Usage(text));
        }
        let chosen =
            clients.iter().filter(|wired| args.client.as_ref().is_none_or(|name| wired.client.section() == name));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        for wired in chosen {
            let moment = clock::extended(clock.now(), PATIENCE);
            let mut findings = runtime.block_on(wired.client.diagnose(moment.now, moment.deadline));
            findings.extend(hints(wired, &config));
            reports.push(ClientReport::of(wired.client.section(), findings));
        }
        if let Some((section, directory)) = directory
            && args.client.as_ref().is_none_or(|name| *name == section)
        {
            let moment = clock::extended(clock.now(), PATIENCE);
            let findings = runtime.block_on(directory.diagnose(moment.now, moment.deadline));
            reports.push(ClientReport::of(&section, findings));
        }
    }
    let report = Report { ok: reports.iter().all(|report| report.ok), clients: reports };
    let status = if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.json {
        let text = serde_json::to_string(&report).map_err(|error| AdminError::Failed(error.to_string()))?;
        writeln!(out, "{text}")?;
    } else {
        write(&report, out)?;
    }
    out.flush()?;
    Ok(status)
}

/// Configuration, key and store: what every client stands on.
fn basis(path: &Path, reading: Reading) -> Vec<Finding> {
    let config = match Config::load_as(path, reading) {
        Ok(config) => config,
        Err(mistakes) => {
            let remedy = "mend the lines that are named, then run: countersign check";
            return vec![Finding::wrong("configuration", mistakes.to_string(), remedy)];
        }
    };
    let mut findings = vec![Finding::well("configuration", format!("{}: right", config.path().display()))];
    let sealer = setup::sealer(&config).map_err(|mistake| mistake.to_string());
    let store = setup::store(&config).map_err(|mistake| mistake.to_string());
    let is_locked = sealer.as_ref().is_ok_and(Sealer::is_locked);
    let belong = match (&sealer, &store) {
        (Ok(sealer), Ok(store)) => {
            setup::check_key(&config, sealer, store.opened_under()).map_err(|mistake| mistake.to_string())
        }
        (Ok(_) | Err(_), _) => Ok(()),
    };
    let wrong = [sealer.err(), store.err(), belong.err()]
        .into_iter()
        .flatten()
        .map(|what| Finding::wrong("store", what, "do what the line says, then run: countersign check"));
    findings.extend(wrong);
    if findings.len() == 1 {
        findings.push(Finding::well("store", "key and store can be used, and belong together"));
    }
    findings.push(memory(is_locked));
    findings.extend(files(&config));
    findings
}

/// Who can look into the memory of a process.
fn memory(is_locked: bool) -> Finding {
    let is_guarded = dumpable_behavior().is_ok_and(|behavior| behavior == DumpableBehavior::NotDumpable);
    let word = |is_done, yes, no| if is_done { yes } else { no };
    let text = format!(
        "core dumps {}; {}; keys {}",
        word(is_guarded, "off", "as the machine says"),
        word(is_guarded, "closed to other processes of this user", "open to other processes of this user"),
        word(is_locked, "locked in memory", "may be swapped out (ulimit -l)")
    );
    Finding::well("memory", text)
}

/// What `serve` gives up: tried in a thread, which takes it along.
fn files(config: &Config) -> Option<Finding> {
    let plan = Plan::of(config, None, |_| ());
    let tried = plan.clone();
    let confined = std::thread::spawn(move || tried.carry_out()).join().ok()?;
    Some(Finding::well("confinement", format!("{confined}; serve {}", plan.allows())))
}

/// What works, but not as somebody will expect.
fn hints(wired: &Wired, config: &Config) -> Option<Finding> {
    let deadline = config.plugin.deadline.0;
    let is_short = wired.client.push() == Push::Able && deadline < PUSH;
    is_short.then(|| {
        let text = format!(
            "{deadline} s ([plugin] deadline) for a verdict; {PUSH} s or more give people the time to find their phone, if \
             the gateway waits as long"
        );
        Finding::well("deadline", text)
    })
}

impl ClientReport {
    fn of(client: &str, findings: Vec<Finding>) -> Self {
        let steps: Vec<_> = findings.into_iter().map(WireStep::from).collect();
        Self { client: client.to_owned(), ok: steps.iter().all(|step| step.ok), steps }
    }
}

impl From<Finding> for WireStep {
    fn from(finding: Finding) -> Self {
        let Finding { step, result } = finding;
        match result {
            Ok(text) => Self { step, ok: true, text: shown(&text), remedy: None },
            Err(Trouble { what, remedy }) => Self { step, ok: false, text: shown(&what), remedy: Some(remedy) },
        }
    }
}

/// Mistakes of a configuration are several lines; everything else is one.
fn shown(text: &str) -> String {
    text.lines().map(|line| Foreign(line).to_string()).collect::<Vec<_>>().join("\n")
}

fn write(report: &Report, out: &mut impl Write) -> Result<(), AdminError> {
    for ClientReport { client, ok: _, steps } in &report.clients {
        writeln!(out, "{client}")?;
        for WireStep { step, ok, text, remedy } in steps {
            let word = if *ok { "ok" } else { "wrong" };
            let mut lines = text.lines();
            writeln!(out, "  {word:<6} {step:<14} {}", lines.next().unwrap_or_default())?;
            for line in lines {
                writeln!(out, "  {:<6} {:<14} {line}", "", "")?;
            }
            if let Some(remedy) = remedy {
                writeln!(out, "  {:<6} {:<14} do: {remedy}", "", "")?;
            }
        }
    }
    Ok(())
}

//! `countersign explain`.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;

use super::AdminError;
use super::gateway::Language;
use crate::client;
use crate::client::rehearsal::{NOT_ASKED, rehearsed};
use crate::clock::{self, Clock};
use crate::domain::foreign::Foreign;
use crate::domain::request::Request;
use crate::domain::time::UnixTime;
use crate::domain::verdict::{Accept, Footing, NeedInfo, Reject, Verdict};
use crate::engine::{Engine, Step, Trail};
use crate::gateway::{Inbound, LINE_LIMIT, Protocol};
use crate::setup::Setup;
use crate::store::Store;
use crate::store::rehearsal::Rehearsal;

/// What `explain` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The line is one that a gateway sent (protocol.md). Nothing is counted, used or sent: what a remote \
                        service would say is left open. A directory that a rule needs is asked; it only reads."
)]
pub struct Args {
    /// A file that holds the request line; without it, or with -, standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Decide as of this time: seconds since 1970, or such as 2026-11-22T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<UnixTime>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    language: Language,
}

fn time(text: &str) -> Result<UnixTime, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(UnixTime(seconds));
    }
    let parsed = humantime::parse_rfc3339(text).ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    parsed
        .map(|since| UnixTime(since.as_secs()))
        .ok_or_else(|| "expected seconds since 1970, or such as 2026-11-22T10:00:00Z".into())
}

#[derive(Serialize)]
struct Explained<'a> {
    steps: Vec<WireStep<'a>>,
    verdict: &'a str,
    code: Option<&'a str>,
    reason: &'a str,
}

#[derive(Serialize)]
struct WireStep<'a> {
    step: &'a str,
    text: &'a str,
}

/// Decides a saved request again, without side effects, and says why each step goes the way it goes.
pub fn run(args: &Args, config: &Path, clock: Clock, out: &mut impl Write) -> Result<(), AdminError> {
    let request = request(args.file.as_deref(), &*args.language.protocol())?;
    let Setup { config, sealer, store } = Setup::open_as(config, args.language.reading())?;
    let store: Rc<dyn Store> = Rc::new(Rehearsal::new(store));
    let clients = client::build(&config, &store, &sealer).into_iter().map(rehearsed).collect();
    let trail = Trail::new(RefCell::new(Vec::new()));
    let engine = Engine::with_clients(&config, store, sealer, clients).with_trail(Rc::clone(&trail));
    let allowance = Duration::from_secs(config.plugin.deadline.0);
    let moment = clock::extended(args.at.unwrap_or_else(|| clock.now()), allowance);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let decision = runtime.block_on(engine.decide(&request, moment));

    let (verdict, code, reason) = match &decision.verdict {
        Verdict::Accept(Accept {
            claimant: _,
            identity: _,
            basis: _,
            factor: _,
            service: _,
            footing,
            reason,
            remarks: _,
            cookie: _,
        }) => {
            let verdict = match footing {
                Footing::Full => "accept",
                Footing::Degraded => "accept, degraded",
            };
            (verdict, None, reason.clone())
        }
        Verdict::Reject(Reject { class: _, code, service: _, reason, remarks: _, retry_after: _ }) => match *code {
            NOT_ASKED => ("open", None, reason.clone()),
            code => ("reject", Some(code), reason.clone()),
        },
        Verdict::NeedInfo(NeedInfo { question, cookie: _ }) => {
            ("need_info", None, format!("the claimant is asked: {}", question.prompt.trim_end()))
        }
    };
    let reason = Foreign(&reason).to_string();
    let steps = trail.borrow();
    if args.json {
        let steps = steps.iter().map(|Step { name, text }| WireStep { step: name, text }).collect();
        let explained = Explained { steps, verdict, code, reason: &reason };
        let text = serde_json::to_string(&explained).map_err(|error| AdminError::Failed(error.to_string()))?;
        return Ok(writeln!(out, "{text}")?);
    }
    for Step { name, text } in steps.iter() {
        writeln!(out, "{name:<9} {text}")?;
    }
    let code = code.map(|code| format!(" {code}")).unwrap_or_default();
    Ok(writeln!(out, "{:<9} {verdict}{code}: {reason}", "verdict")?)
}

/// The one request in the file, or in standard input.
fn request(file: Option<&Path>, protocol: &dyn Protocol) -> Result<Request, AdminError> {
    let source: Box<dyn Read> = match file.filter(|path| *path != Path::new("-")) {
        Some(path) => {
            let failed = |error| AdminError::Data(format!("{}: {error}", path.display()));
            Box::new(std::fs::File::open(path).map_err(failed)?)
        }
        None => Box::new(std::io::stdin()),
    };
    let limit = u64::try_from(LINE_LIMIT).unwrap_or(u64::MAX).saturating_add(2);
    let mut line = Vec::new();
    BufReader::new(source.take(limit)).read_until(b'\n', &mut line)?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    if line.len() > LINE_LIMIT {
        return Err(AdminError::Data(crate::gateway::too_long().reason));
    }
    match protocol.read(line) {
        Inbound::Decide { id: _, request, unknown } => {
            // Told on standard error by nobody else: there is no log here.
            let _ = unknown;
            Ok(*request)
        }
        Inbound::Cancel { id: _, target: _ } | Inbound::Hello { id: _ } => Err(AdminError::Data(
            "the line asks for no decision: expected an authenticate, authorize or session_ended".into(),
        )),
        Inbound::Flawed { id: _, fault } => {
            Err(AdminError::Data(format!("the line is no request: {}: {}", fault.code, fault.reason)))
        }
    }
}

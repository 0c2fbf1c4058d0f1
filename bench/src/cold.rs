//! One process for each verdict: countersign against an empty program and against its peers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use data_encoding::BASE32_NOPAD;

use crate::Result;
use crate::arguments::{Arguments, Sdk};
use crate::installation::{Installation, is_accept};
use crate::report::Report;
use crate::rounds::{self, HEADER, Job, Row};
use crate::subscriber::{self, Order, Roll};

/// The secret of the HOTP peer; it guards nothing.
const HOTP_SECRET: &[u8] = b"12345678901234567890";

/// What `bench/peers/sdk_authenticate.py` is asked.
const SDK_REQUEST: &[u8] = br#"{"cookie":{},"session_cookie":{},"session_id":"s1","protocol":"ssh","connection_name":"bench","client_ip":"192.0.2.7","client_port":4022,"client_hostname":null,"gateway_user":"user0","gateway_domain":null,"server_username":"root","server_domain":null,"key_value_pairs":{"otp":"123456"}}
"#;

/// Measures and judges the cold table.
pub fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let mut roll = Roll::new(1000);
    let installation = Installation::new(&arguments.countersign, arguments.data.join("cold"), &roll)?;
    let mut rows = vec![
        Row::new("empty Rust program", || empty(&arguments.empty), |_| true),
        Row::new("countersign, TOTP accept", || accept(&installation, &mut roll), is_accept),
    ];
    let mut pam = None;
    if let Some(service) = &arguments.pam {
        pam = Some(rows.len());
        rows.push(pam_hotp(service, &arguments.data)?);
        rows.push(pam_floor(service));
    }
    let mut sdk = None;
    if let Some(found) = &arguments.sdk {
        sdk = Some(rows.len());
        rows.push(python_sdk(found));
    }
    let rounds = if arguments.quick { 60 } else { 300 };
    rounds::run(&mut rows, rounds, Duration::from_secs(120))?;
    let cells: Vec<_> = rows.iter().map(|row| row.cells(&rows[0])).collect();
    report.table("Cold: one whole process for each verdict", &HEADER, &cells);
    judge(&rows, pam, sdk, report);
    Ok(())
}

fn judge(rows: &[Row], pam: Option<usize>, sdk: Option<usize>, report: &mut Report) {
    let cold = &rows[1];
    report.all("cold: accepted, as the client counts", cold.right(), cold.all());
    report.at_most("cold: time / empty Rust program", cold.ratio(&rows[0]), 2.5, "");
    report.at_most("cold: peak memory", cold.peak_kib(), 4096.0, "KiB");
    let what = "cold: time / pamtester with pam_google_authenticator";
    against(what, cold, pam.map(|row| &rows[row]), 0.6, report);
    let what = "cold: time / Python plugin SDK";
    against(what, cold, sdk.map(|row| &rows[row]), 1.0 / 80.0, report);
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

/// `pamtester` with a counter-based code, whose counter the module writes back each time.
fn pam_hotp<'a>(service: &'a str, data: &Path) -> Result<Row<'a>> {
    let file = data.join("hotp");
    let secret = BASE32_NOPAD.encode(HOTP_SECRET);
    fs::write(&file, format!("{secret}\n\" HOTP_COUNTER 1\n\" WINDOW_SIZE 3\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let mut counter = 0;
    let next = move || {
        counter += 1;
        let code = subscriber::code(HOTP_SECRET, counter);
        Ok(pamtester(service, format!("{code:06}\n")))
    };
    Ok(Row::new("pamtester + pam_google_authenticator, HOTP", next, pam_succeeded))
}

/// `pamtester` with a module that does nothing.
fn pam_floor(service: &str) -> Row<'_> {
    let service = format!("{service}-floor");
    let next = move || Ok(pamtester(&service, String::new()));
    Row::new("pamtester + pam_permit (its floor)", next, pam_succeeded)
}

fn pamtester(service: &str, input: String) -> Job {
    let mut command = Command::new("pamtester");
    command.args([service, "root", "authenticate"]).stderr(Stdio::null());
    Job { command, input: input.into_bytes() }
}

fn pam_succeeded(stdout: &[u8]) -> bool {
    stdout.ends_with(b"successfully authenticated\n")
}

fn python_sdk(sdk: &Sdk) -> Row<'_> {
    let next = || {
        let mut command = Command::new(&sdk.python);
        command.arg(&sdk.script).stderr(Stdio::null());
        let input = SDK_REQUEST.to_vec();
        Ok(Job { command, input })
    };
    let accepted = |stdout: &[u8]| stdout.starts_with(br#"{"verdict": "ACCEPT""#);
    Row::new("Python plugin SDK, authenticate()", next, accepted).every(5)
}

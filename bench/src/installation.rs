//! One countersign installation: a directory with a configuration, a key and a store.

use std::fs::File;
use std::io::BufWriter;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Deserialize;

use crate::Result;
use crate::rounds::Job;
use crate::subscriber::{Request, Roll};

/// How many one import enrols: its source is at most 64 MiB long.
const AT_ONCE: usize = 250_000;

/// A directory made by `countersign init`, with subscribers enrolled, and the audit log of what was served from it.
pub struct Installation {
    program: PathBuf,
    directory: PathBuf,
    audit: File,
}

/// The part of an answer that is looked at here.
#[derive(Deserialize)]
pub struct Answer<'a> {
    pub id: u64,
    #[serde(borrow)]
    pub verdict: &'a str,
}

impl Installation {
    /// Makes `directory` and enrols everybody on `roll`, in one process.
    pub fn new(program: &Path, directory: PathBuf, roll: &Roll) -> Result<Installation> {
        Installation::with(program, directory, roll, &[], "")
    }

    /// The same, where plugin.ini has other lines in place of some, and `more` at its end.
    pub fn with(
        program: &Path,
        directory: PathBuf,
        roll: &Roll,
        lines: &[(&str, &str)],
        more: &str,
    ) -> Result<Installation> {
        let started = Instant::now();
        succeed(Command::new(program).arg("init").arg(&directory))?;
        let installation =
            Installation { program: program.to_owned(), audit: File::create(directory.join("audit.log"))?, directory };
        let mut text = std::fs::read_to_string(installation.config())?;
        for (old, new) in lines {
            let place = text.find(old).ok_or_else(|| format!("plugin.ini has no {old}"))?;
            text.replace_range(place..place + old.len(), new);
        }
        std::fs::write(installation.config(), text + more)?;
        // Makes the tables of a database; there are those of the embedded store already.
        succeed(Command::new(program).args(["store", "migrate", "--config"]).arg(installation.config()))?;
        installation.enrol(roll)?;
        if roll.len() > 10 {
            eprintln!("enrolled {} in {:.1?}", roll.len(), started.elapsed());
            // What was written so far must not slow down what is measured.
            rustix::fs::syncfs(&installation.audit)?;
        }
        Ok(installation)
    }

    /// `countersign serve` on this installation, its audit log going to [`Installation::audit_path`].
    pub fn serve(&self) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(["serve", "--config"]).arg(self.config());
        command.stderr(self.audit.try_clone()?);
        Ok(command)
    }

    /// A server of its own for one request.
    pub fn job(&self, request: &Request) -> Result<Job> {
        Ok(Job { command: self.serve()?, input: request.line.clone().into_bytes() })
    }

    /// The file that holds the audit log.
    pub fn audit_path(&self) -> PathBuf {
        self.directory.join("audit.log")
    }

    fn config(&self) -> PathBuf {
        self.directory.join("plugin.ini")
    }

    fn enrol(&self, roll: &Roll) -> Result<()> {
        let parts = (0..roll.len()).step_by(AT_ONCE);
        parts.map(|first| first..roll.len().min(first + AT_ONCE)).try_for_each(|part| self.enrol_some(roll, part))
    }

    fn enrol_some(&self, roll: &Roll, which: Range<usize>) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["import", "uri", "--user-from-label", "--config"]);
        command.arg(self.config()).stdin(Stdio::piped());
        let log = self.directory.join("import.log");
        command.stdout(File::create(&log)?).stderr(File::create(&log)?);
        let mut child = command.spawn()?;
        if let Some(stdin) = child.stdin.take() {
            roll.write_uris(which, BufWriter::with_capacity(1 << 16, stdin))?;
        }
        match child.wait()? {
            status if status.success() => Ok(()),
            status => Err(format!("{command:?}: {status}; see {}", log.display()).into()),
        }
    }
}

/// Whether `stdout` is one answer, an accept.
pub fn is_accept(stdout: &[u8]) -> bool {
    serde_json::from_slice(stdout).is_ok_and(|answer: Answer| answer.verdict == "accept")
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}: {}", output.status, said.trim()).into())
}

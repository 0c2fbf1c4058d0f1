//! A code by a program: no shell, no environment, the message on its standard input.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use super::Message;
use crate::child;
use crate::client::ClientError;
use crate::client::diagnosis::Finding;
use crate::clock;
use crate::config::value::{Argument, CommandLine};
use crate::domain::fault::Reach;

/// The program of one section.
pub struct Program {
    line: CommandLine,
    limit: Duration,
}

impl Program {
    /// The program that `line` names, with `limit` for each message.
    pub const fn new(line: CommandLine, limit: Duration) -> Self {
        Self { line, limit }
    }

    /// Runs it with `message`, until its end or the end of the time, when it is killed with all that it started.
    ///
    /// # Errors
    /// Where it cannot be started, does not end in time, or does not end with status 0. What it writes is read by nobody.
    pub async fn send(&self, message: &Message<'_>, until: Instant) -> Result<(), ClientError> {
        let CommandLine { program, arguments } = &self.line;
        let arguments = arguments.iter().map(|argument| match argument {
            Argument::Text(text) => text.as_str(),
            Argument::Target => message.target.text(),
            Argument::Origin => message.origin,
        });
        let (mut child, group) = child::start(program, arguments, Stdio::null())
            .map_err(|error| ClientError::Unusable(format!("command: {}: {error}", program.display())))?;
        let stdin = child.stdin.take();
        let run = async {
            if let Some(mut stdin) = stdin {
                // Leaves to the program that sends it. One that does not read it says by its status what that means.
                let _ = stdin.write_all(message.text.expose().as_bytes()).await;
                let _ = stdin.write_all(b"\n").await;
            }
            child.wait().await
        };
        let limit = self.limit.min(clock::left(until));
        let Ok(ended) = tokio::time::timeout(limit, run).await else {
            let text = format!("the program did not end within {} s, and was killed", limit.as_secs_f32().round());
            return Err(ClientError::unreachable("read_timeout", text, Reach::Sent));
        };
        group.release();
        let status = ended.map_err(|error| ClientError::Unusable(format!("command: {error}")))?;
        if status.success() {
            return Ok(());
        }
        Err(ClientError::communication(
            "delivery_failed",
            format!("the program ended with {status}; expected exit status: 0"),
        ))
    }

    /// Whether it is there and can be run.
    pub fn diagnose(&self) -> Vec<Finding> {
        let program = &self.line.program;
        let found = std::fs::metadata(program).and_then(|metadata| {
            rustix::fs::access(program, rustix::fs::Access::EXEC_OK)?;
            Ok(metadata.is_file())
        });
        let remedy = "name a program that this user can run";
        vec![match found {
            Ok(true) => Finding::well("command", format!("{} can be run; it was not", program.display())),
            Ok(false) => Finding::wrong("command", format!("{} is no file", program.display()), remedy),
            Err(error) => Finding::wrong("command", format!("{}: {error}", program.display()), remedy),
        }]
    }
}

//! What an administrator did, in the log that the verdicts are in.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use super::AdminError;
use super::desk::Desk;
use crate::config::value::Destination;
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::files::FileError;
use crate::log::Log;
use crate::net::once;

/// One act of an administrator.
pub struct Act<'a> {
    /// What was done, in one word such as remove.
    pub action: &'static str,
    pub subscriber: &'a Subscriber,
    /// Which authenticator, or which one's label.
    pub what: &'a str,
    /// On what ground: a code that was proved, or why none was.
    pub grounds: &'a str,
}

impl Desk {
    /// Writes `act` to the log file or to syslog, as a verdict's audit line is: before the act counts. Where the log goes to
    /// standard error, the gateway has it, and nothing is written.
    ///
    /// # Errors
    /// Where the log cannot be written: nothing is done that would leave no trace.
    pub fn audit(&self, act: &Act<'_>) -> Result<(), AdminError> {
        let Some(log) = self.kept_log()? else { return Ok(()) };
        let Act { action, subscriber, what, grounds } = act;
        tracing::warn!(
            target: "countersign::audit",
            action,
            subscriber = Foreign(subscriber.as_str()).to_string(),
            authenticator = Foreign(what).to_string(),
            grounds = Foreign(grounds).to_string(),
            by = rustix::process::getuid().as_raw(),
            "administration"
        );
        log.flush();
        Ok(())
    }

    /// The log of whoever serves, where one is kept.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn kept_log(&self) -> Result<Option<&Log>, AdminError> {
        let config = &self.setup.config;
        match &config.logging.destination {
            Destination::Stderr => return Ok(None),
            Destination::Syslog => {}
            Destination::File(path) => self.keep_owner(&config.resolve(path))?,
        }
        Ok(Some(once(&self.log, || Log::start(config))?))
    }

    /// A log file that is made here belongs to whoever the store belongs to, who writes to it from then on.
    fn keep_owner(&self, path: &std::path::Path) -> Result<(), AdminError> {
        if path.exists() {
            return Ok(());
        }
        // A store elsewhere belongs to nobody here; then the log is whoever's the configuration is.
        let owner = self.setup.store.directory().unwrap_or(self.setup.config.path());
        let store = std::fs::metadata(owner)?;
        match crate::files::create_private(path, b"") {
            Ok(()) => {}
            // By another command, at the same moment.
            Err(FileError::Io { path: _, error }) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // Only root serves for somebody else, and only root can.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(path, Some(store.uid()), Some(store.gid()))?;
        }
        Ok(())
    }
}

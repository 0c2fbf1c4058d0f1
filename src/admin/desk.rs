//! What every command that touches the store needs: the setup, the time, and a way to wait for the store.

use std::cell::OnceCell;
use std::future::Future;
use std::io::{BufRead, Read};
use std::path::Path;

use data_encoding::BASE32_NOPAD;

use super::AdminError;
use crate::clock::Clock;
use crate::domain::authenticator::{Authenticator, AuthenticatorId};
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::{Foreign, is_deceptive};
use crate::domain::secret::Secret;
use crate::domain::time::UnixTime;
use crate::log::Log;
use crate::setup::Setup;
use crate::store::{self, Store, StoreError};

/// The longest line that is read from an administrator.
const LINE: u64 = 16 * 1024;

/// The longest label, in bytes.
const LABEL_LIMIT: usize = 64;

/// An administrator's desk.
pub struct Desk {
    pub setup: Setup,
    pub clock: Clock,
    /// Where what is done here is written down, once there is something.
    pub log: OnceCell<Log>,
    runtime: tokio::runtime::Runtime,
}

impl Desk {
    /// A desk over the configuration at `config`.
    pub fn open(config: &Path, clock: Clock) -> Result<Self, AdminError> {
        let setup = Setup::open(config).map_err(|mistakes| match mistakes.are_forbidden() {
            true => AdminError::NotPermitted(mistakes.to_string()),
            false => mistakes.into(),
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        Ok(Self { setup, clock, log: OnceCell::new(), runtime })
    }

    /// The store.
    pub fn store(&self) -> &dyn Store {
        &*self.setup.store
    }

    /// Runs one store operation, and makes it durable.
    pub fn settled<T>(&self, operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.runtime.block_on(async {
            let mark = self.store().mark();
            let answer = operation.await?;
            self.store().settle(mark).await?;
            Ok(answer)
        })
    }

    /// Waits for what needs no settling of its own.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// What time it is.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// Calls `each` for every authenticator of the store, in the order of subscribers.
    pub fn for_each(&self, mut each: impl FnMut(&Authenticator) -> Result<(), AdminError>) -> Result<(), AdminError> {
        let mut last: Option<Authenticator> = None;
        loop {
            let page = self.settled(self.store().list(last.as_ref(), 500))?;
            for authenticator in &page {
                each(authenticator)?;
            }
            match page.into_iter().next_back() {
                Some(authenticator) => last = Some(authenticator),
                None => return Ok(()),
            }
        }
    }

    /// What to say where no login asks the client of the section `name`.
    pub fn unverified(&self, name: &str) -> Option<String> {
        let clients = &self.setup.config.plugin.clients.0;
        let is_there = clients.iter().any(|client| client.section() == name);
        (!is_there)
            .then(|| format!("note: {} is not in [plugin] clients: no login asks for it until it is", Foreign(name)))
    }

    /// Everything that `subscriber` holds here, disabled or not.
    pub fn authenticators_of(&self, subscriber: &Subscriber) -> Result<Vec<Authenticator>, AdminError> {
        Ok(self.settled(self.store().held_by(subscriber))?)
    }
}

impl Drop for Desk {
    /// What an administrator changed is moved into the database at once: no login has to read it from the log.
    fn drop(&mut self) {
        // A log that stays is moved later.
        let _ = self.setup.store.close(store::Log::Any);
    }
}

/// The subscriber that `user` names.
pub fn subscriber(user: &str) -> Result<Subscriber, AdminError> {
    Subscriber::enrollable(user).map_err(|flaw| AdminError::Data(format!("the user name \"{}\" {flaw}", Foreign(user))))
}

/// The label that `text` is.
pub fn label(text: &str) -> Result<&str, AdminError> {
    let label = text.trim();
    if label.is_empty() || label.len() > LABEL_LIMIT || label.chars().any(is_deceptive) {
        return Err(AdminError::Data(format!(
            "the label \"{}\" is empty, longer than 64 bytes, or holds invisible characters",
            Foreign(label)
        )));
    }
    Ok(label)
}

/// A new id for an authenticator, short enough to type.
pub fn new_authenticator_id() -> Result<AuthenticatorId, AdminError> {
    Ok(AuthenticatorId(random_text::<5>()?))
}

/// `BYTES` random bytes as lower-case base32.
pub fn random_text<const BYTES: usize>() -> Result<String, AdminError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| AdminError::Failed(format!("no randomness: {error}")))?;
    Ok(BASE32_NOPAD.encode(&bytes).to_lowercase())
}

/// The next line of `input`; `None` at its end.
pub fn read_line(input: &mut impl BufRead) -> Result<Option<Secret<String>>, AdminError> {
    let mut line = String::with_capacity(256);
    let read = input.by_ref().take(LINE).read_line(&mut line);
    let line = Secret::new(line);
    match read {
        Ok(0) => Ok(None),
        Ok(read) if read as u64 == LINE => Err(AdminError::Data("the line is longer than 16 KiB".into())),
        Ok(_) => Ok(Some(line)),
        Err(error) => Err(AdminError::Data(format!("standard input cannot be read: {error}"))),
    }
}

/// A time as people read it.
pub fn shown(time: UnixTime) -> String {
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + std::time::Duration::from_secs(time.0.min(1 << 37)))
        .to_string()
}

//! What is remembered, and the contract that every backend keeps.
//!
//! # Contract
//!
//! 1. **Each operation is one transaction and says who was first.** Of any number of callers, in any number of
//!    processes, that consume one step, redeem one code, use one challenge or take the last slot at once, exactly one
//!    is told that it did.
//! 2. **What an operation says may not leave the process before [`Store::settle`] has returned**: only then is it
//!    durable. A backend may gather the operations of many requests and commit them together; where that commit
//!    fails, every [`Store::settle`] that covers one of them fails, and their verdicts must be faults.
//! 3. **An attempt is counted before it is verified.** [`Store::charge`] counts; [`Store::credit`] takes back. Whoever
//!    is told to wait was not counted, and nobody is heard beyond the limits by asking many times at once.
//!    Where a subscriber succeeded lately, a small budget of their own is heard though others make them wait; it is counted in
//!    the same transaction.
//! 4. **Nothing goes down.** The last step of an authenticator only grows; a challenge in a final state stays there.
//! 5. **A dropped future leaves nothing half done.** Callers give up at their deadline by dropping it.
//! 6. **What nobody enrolled leaves bounded, expiring traces.** Names are stored as salted hashes until then.
//!
//! `contract` in the tests of this module holds every backend to it.

mod columns;
pub mod moving;
pub mod postgres;
pub mod rehearsal;
pub mod sqlite;

#[cfg(test)]
pub(crate) mod contract;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use thiserror::Error;

use crate::domain::authenticator::{Authenticator, AuthenticatorId, Standing, Tombstone};
use crate::domain::challenge::{Challenge, ChallengeId, Purpose, State};
use crate::domain::claimant::Subscriber;
use crate::domain::outcome::Limit;
use crate::domain::time::UnixTime;
use crate::files::FileError;
use crate::policy::cache::{CacheRule, Remembered};
use crate::policy::throttle::{Known, Rule};

/// What a store operation promises to give.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + 'a>>;

/// Where an attempt begins; what [`Store::settle`] covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub u64);

/// The client of recovery codes: a subscriber has one set of them.
pub const RECOVERY: &str = "recovery";

/// The client of codes that stand in for an authenticator for a while.
pub const BYPASS: &str = "bypass";

/// The client of tickets, by which somebody enrols at the login.
pub const TICKET: &str = "ticket";

/// The limits that [`Store::charge`] holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub subscriber: Rule,
    pub source: Rule,
    /// What is heard from where a subscriber succeeded lately, though the subscriber has to wait.
    pub known: Option<Known>,
    /// How many names that nobody enrolled, sources, and known sources, are remembered, of each kind.
    pub traces: u32,
}

/// Who makes an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub subscriber: Subscriber,
    pub counter: Counter,
    /// The claimant's address, in its canonical form; `None` where the gateway does not say.
    pub source: Option<String>,
}

/// Which failures of a subscriber are counted together: who guesses at one kind of proof does not keep the holder of
/// another out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counter {
    /// One-time passwords and pushes.
    #[default]
    Codes,
    /// What was handed out: recovery codes, bypass codes, tickets.
    LookUp,
}

/// What [`Store::charge`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The attempt was counted, and is heard.
    Heard,
    /// Not counted, not heard.
    Wait { wait: Duration, by: Limit },
}

/// Why a counted attempt is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credit {
    /// The claimant succeeded.
    Success,
    /// It was no failure of the claimant.
    Refund,
}

/// What it means that the holder of a slot asks for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It keeps the one that it has.
    Keeps,
    /// It does not know that it has one, and needs a free one like anybody else.
    Counts,
}

/// What [`Store::consume_step`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumed {
    /// This caller was first.
    First,
    /// That step or a later one was used before.
    Before { last: u64 },
    /// There is no such authenticator any more.
    Gone,
}

/// What adding an authenticator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    Yes,
    /// The subscriber has one of this label.
    LabelTaken,
    /// The challenge it hung on is used, expired or gone.
    ChallengeGone,
    /// The subscriber holds one already, or recovery codes, and this one was to be the first.
    NotFirst,
}

/// Whether the subscriber may hold others when one is enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    Any,
    /// None of the same client.
    First,
}

/// What renaming an authenticator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renamed {
    Yes,
    /// Another of the subscriber is called so.
    LabelTaken,
    Gone,
}

/// Why the store could not do what was asked.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    #[error("{0}")]
    File(String),
    #[error("{0}; the store is for the user that serves, and for root")]
    NotPermitted(String),
    #[error("{0}: there is no store; restore it from a backup, or make a new one elsewhere: countersign init DIR")]
    Missing(PathBuf),
    #[error(
        "{path}: schema version {found} is newer than {known}, the newest this program knows; install a newer countersign"
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{path}: is not a countersign store: {reason}")]
    Foreign { path: PathBuf, reason: String },
    #[error("another program holds the store locked")]
    Busy,
    #[error("the database is not reached: {0}")]
    Unreachable(String),
    /// Nothing that this process still finds there may be relied on: it has to end.
    #[error(
        "{0}: was removed or replaced since this process opened it; the process ends, and the next one opens what is there"
    )]
    Replaced(PathBuf),
    #[error("the disk is full")]
    Full,
    #[error("the store cannot be written: {0}")]
    ReadOnly(String),
    #[error("the store is damaged: {0}")]
    Damaged(String),
    #[error("the store failed: {0}")]
    Failed(String),
}

impl From<FileError> for StoreError {
    fn from(error: FileError) -> Self {
        match &error {
            FileError::Io { path, error } if error.kind() == io::ErrorKind::NotFound => Self::Missing(path.clone()),
            forbidden if forbidden.is_forbidden() => Self::NotPermitted(forbidden.to_string()),
            FileError::Io { path: _, error: _ }
            | FileError::Link(_)
            | FileError::NotFile(_)
            | FileError::NotDirectory(_)
            | FileError::Loose { path: _, mode: _, what: _, remedy: _ }
            | FileError::Owner { path: _, owner: _ }
            | FileError::Large(_)
            | FileError::NotText(_) => Self::File(error.to_string()),
        }
    }
}

/// Which log of changes is worth moving into the store's file, where the backend has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    Any,
    /// One that later processes would notice having to read.
    Long,
}

/// A store that was opened as plugin.ini says.
pub trait Opened: Store {
    /// The id of the master key that it was sealed under when it was opened.
    fn opened_under(&self) -> [u8; 4];

    /// The directory in which it is, where it is on this machine.
    fn directory(&self) -> Option<&Path>;

    /// Housekeeping of a process that ends now.
    ///
    /// # Errors
    /// Where something was left to the next process; nothing is lost by it.
    fn close(&self, log: Log) -> Result<(), StoreError>;
}

/// The state that outlives a request. See the module for the contract.
pub trait Store {
    /// Where now is, for a later [`Store::settle`].
    fn mark(&self) -> Mark;

    /// Makes durable what was told since `since`.
    ///
    /// # Errors
    /// Where something told since then was lost: nothing that depends on it may be said.
    fn settle(&self, since: Mark) -> Answer<'_, ()>;

    /// Housekeeping, when nobody waits for an answer.
    fn idle(&self) -> Answer<'_, ()>;

    /// How long an attempt of `origin` would have to wait. Writes nothing.
    fn standing<'a>(&'a self, origin: &'a Origin, now: UnixTime) -> Answer<'a, Ruling>;

    /// Counts an attempt of `origin`, or says how long it has to wait.
    fn charge<'a>(&'a self, origin: &'a Origin, now: UnixTime) -> Answer<'a, Ruling>;

    /// Takes back what was last charged to `origin`.
    fn credit<'a>(&'a self, origin: &'a Origin, credit: Credit) -> Answer<'a, ()>;

    /// How many waits failures of subscribers have begun in this process since it was last asked. For figures alone: one that a
    /// success ended, or that was counted again after others got in the way, may be among them.
    fn locks_begun(&self) -> u64 {
        0
    }

    /// Forgets the failures of a subscriber or a source; says whether there were any.
    fn unlock<'a>(&'a self, key: UnlockKey<'a>) -> Answer<'a, bool>;

    /// The authenticators of `subscriber` that `client` verifies and that are not disabled, oldest first.
    fn authenticators<'a>(&'a self, subscriber: &'a Subscriber, client: &'a str) -> Answer<'a, Vec<Authenticator>>;

    /// Everything that `subscriber` holds, disabled or not, oldest first.
    fn held_by<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, Vec<Authenticator>>;

    /// Marks `step` and everything before it as used. One that is disabled is as if it were gone.
    fn consume_step<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        id: &'a AuthenticatorId,
        step: u64,
        now: UnixTime,
    ) -> Answer<'a, Consumed>;

    /// Enrols authenticators, all of them or none; says how the first one that could not be was refused.
    fn add<'a>(&'a self, authenticators: &'a [Authenticator]) -> Answer<'a, Added>;

    /// As [`Store::add`], each with the hashes of its recovery codes where it is a set of them. A subscriber who has such a
    /// set gets no other.
    fn add_with_codes<'a>(&'a self, new: &'a [(Authenticator, Vec<Vec<u8>>)]) -> Answer<'a, Added>;

    /// Uses the challenge `id`, which waits for a proof at `now`, and enrols `authenticator`, in one step, as `rank` allows;
    /// with it, where there are `codes`, a set of recovery codes and their hashes, unless the subscriber has such a set. What
    /// was sealed in the challenge is forgotten.
    fn enrol<'a>(
        &'a self,
        id: &'a ChallengeId,
        authenticator: &'a Authenticator,
        codes: Option<&'a (Authenticator, Vec<Vec<u8>>)>,
        rank: Rank,
        now: UnixTime,
    ) -> Answer<'a, Added>;

    /// Up to `limit` authenticators after `after` in the order of subscriber and id.
    fn list<'a>(&'a self, after: Option<&'a Authenticator>, limit: u32) -> Answer<'a, Vec<Authenticator>>;

    /// Removes an authenticator with its secret, and its recovery codes where it is a set of them; says whether it was
    /// there. What is left is a [`Tombstone`].
    fn remove<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        id: &'a AuthenticatorId,
        now: UnixTime,
        reason: &'a str,
    ) -> Answer<'a, bool>;

    /// What was removed of `subscriber`, oldest first.
    fn tombstones<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, Vec<Tombstone>>;

    /// Gives an authenticator another label, which no other of the subscriber has.
    fn rename<'a>(&'a self, subscriber: &'a Subscriber, id: &'a AuthenticatorId, label: &'a str)
    -> Answer<'a, Renamed>;

    /// Disables an authenticator, which then is no default any more, or enables it; says whether it was there.
    fn set_standing<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        id: &'a AuthenticatorId,
        standing: Standing,
    ) -> Answer<'a, bool>;

    /// Makes one authenticator that is not disabled the default, or none; says whether that could be done.
    fn set_default<'a>(&'a self, subscriber: &'a Subscriber, id: Option<&'a AuthenticatorId>) -> Answer<'a, bool>;

    /// Replaces the sealed secret `old` by `new`, if it still is `old`.
    fn reseal<'a>(&'a self, authenticator: &'a Authenticator, new: &'a [u8]) -> Answer<'a, bool>;

    /// Opens a challenge, and forgets those that ended long ago.
    fn open_challenge<'a>(&'a self, challenge: &'a Challenge) -> Answer<'a, ()>;

    /// The challenge `id` as it stands at `now`.
    fn challenge<'a>(&'a self, id: &'a ChallengeId, now: UnixTime) -> Answer<'a, Option<Challenge>>;

    /// Counts a try at the challenge; the tries left after it, `None` where none was left or the challenge is over.
    fn try_challenge<'a>(&'a self, id: &'a ChallengeId, now: UnixTime) -> Answer<'a, Option<u32>>;

    /// Moves the challenge from `from` to `to`; says whether this caller did.
    fn move_challenge<'a>(&'a self, id: &'a ChallengeId, from: State, to: State, now: UnixTime) -> Answer<'a, bool>;

    /// Up to `limit` challenges of `purpose` behind the id `after`, in the order of their ids, as they stand at `now`.
    fn challenges<'a>(
        &'a self,
        purpose: Purpose,
        after: Option<&'a ChallengeId>,
        limit: u32,
        now: UnixTime,
    ) -> Answer<'a, Vec<Challenge>>;

    /// Forgets the challenges that are over at `now`; says how many.
    fn forget_challenges(&self, now: UnixTime) -> Answer<'_, usize>;

    /// Replaces the recovery codes of a subscriber by `set`, an authenticator of the client [`RECOVERY`], and the codes
    /// with these keyed hashes.
    fn set_recovery_codes<'a>(&'a self, set: &'a Authenticator, hashes: &'a [Vec<u8>]) -> Answer<'a, ()>;

    /// The hashes of the recovery codes that `subscriber` has left.
    fn recovery_hashes<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, Vec<Vec<u8>>>;

    /// How many recovery codes `subscriber` has left.
    fn recovery_codes<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, u32>;

    /// Redeems a recovery code; says how many are left where it was there, unused, its set not disabled, and this caller
    /// first.
    fn redeem_recovery_code<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        hash: &'a [u8],
        now: UnixTime,
    ) -> Answer<'a, Option<u32>>;

    /// Takes one of `limit` slots under `key` for `holder` until `expires`; says whether there was one. A holder that has
    /// one keeps it, where `again` does not count it as one that is taken.
    fn take_slot<'a>(
        &'a self,
        key: &'a str,
        holder: &'a str,
        again: Again,
        limit: u32,
        now: UnixTime,
        expires: UnixTime,
    ) -> Answer<'a, bool>;

    /// Who holds the slots under `key` at `now`, and until when, in no order.
    fn slots<'a>(&'a self, key: &'a str, now: UnixTime) -> Answer<'a, Vec<(String, UnixTime)>>;

    /// Releases every slot under `key`; says whether there was any.
    fn clear_slots<'a>(&'a self, key: &'a str) -> Answer<'a, bool>;

    /// Releases the slots of `holder` under every key; says whether it had any.
    fn release_slots<'a>(&'a self, holder: &'a str) -> Answer<'a, bool>;

    /// Uses what is remembered of a verification under `key` once more at `now` (milliseconds since 1970), as `rule` allows;
    /// says whether it was good. What is good no more is forgotten.
    fn reuse_verification<'a>(&'a self, key: &'a [u8; 32], rule: CacheRule, now: u64) -> Answer<'a, bool>;

    /// What is remembered of a verification under `key`. Writes nothing.
    fn verification<'a>(&'a self, key: &'a [u8; 32]) -> Answer<'a, Option<Remembered>>;

    /// Remembers under `key` that `subscriber` was verified at `now` (milliseconds since 1970), until `expires`. Forgotten
    /// when an authenticator of the subscriber is removed.
    fn remember_verification<'a>(
        &'a self,
        key: &'a [u8; 32],
        subscriber: &'a Subscriber,
        now: u64,
        expires: UnixTime,
    ) -> Answer<'a, ()>;

    /// The id of the master key that the store was last sealed under.
    fn key_id(&self) -> Answer<'_, [u8; 4]>;

    /// Notes the id of the master key that the store is now sealed under.
    fn set_key_id(&self, id: [u8; 4]) -> Answer<'_, ()>;
}

/// Whose failures are forgotten.
#[derive(Clone, Copy, Debug)]
pub enum UnlockKey<'a> {
    Subscriber(&'a Subscriber),
    Source(&'a str),
}

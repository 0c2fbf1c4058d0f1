//! The embedded default: one SQLite file in a directory of its own, safe for many processes at once.
//!
//! WAL, a full sync on every commit, and no PRAGMA at each start (the journal mode is in the file, the rest compiled in).
//! Operations run at once, on the calling thread, inside one open transaction under the outer lock; [`Store::settle`]
//! commits it, so that a single process pays one sync for all requests that it found waiting, and a single request one.
//! Nothing is checkpointed at the end of a process; whoever finds a long log moves it into the file after its answer.

mod lock;
mod moving;
mod open;
mod place;
mod rows;
mod schema;
mod tallies;

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, params};
use rustix::fs::Access;

use super::{
    Added, Again, Answer, Consumed, Credit, Limits, Log, Mark, Opened, Origin, Rank, Renamed, Ruling, Store,
    StoreError, UnlockKey,
};
use crate::domain::authenticator::{Authenticator, AuthenticatorId, Standing, Tombstone};
use crate::domain::challenge::{Challenge, ChallengeId, Purpose, State};
use crate::domain::claimant::Subscriber;
use crate::domain::time::UnixTime;
use crate::files::{self, FileError};
use crate::policy::cache::{CacheRule, Remembered};
use lock::{Held, Lock};
use place::Place;
use tallies::Tallies;

/// The database inside the store's directory.
const FILE: &str = "countersign.db";

/// How long another program, such as a backup, may hold SQLite's own lock before an operation gives up.
const BUSY: Duration = Duration::from_secs(2);

/// A process that ends moves the log into the database, and makes it empty, once it is longer than this many bytes: 64
/// frames, since each later process has to read it.
const LOG_SHORT: u64 = 64 * 4120;

/// A process that stays moves the log after this many commits or changed rows, and lets it be overwritten from its start:
/// a sync of blocks that are there already is the cheaper one. So many that the pause meets fewer than one request in a
/// hundred, whether they come one by one or many to a commit.
const COMMITS_BETWEEN: u32 = 512;
const CHANGES_BETWEEN: u64 = 16_384;

/// The embedded store.
pub struct SqliteStore {
    directory: PathBuf,
    place: Place,
    connection: Connection,
    lock: Lock,
    /// One future at a time opens the transaction.
    gate: tokio::sync::Mutex<()>,
    open: RefCell<Option<Held>>,
    /// The number of the transaction that is open, or that will be opened next.
    batch: Cell<u64>,
    /// The last transaction that was lost, and why.
    lost: RefCell<Option<(u64, StoreError)>>,
    tallies: Tallies,
    key_id: [u8; 4],
    /// How many rows were changed when the log was moved.
    moved_at: Cell<u64>,
    /// Commits since then.
    commits: Cell<u32>,
}

impl SqliteStore {
    /// Makes a new store in `directory`, sealed under the key `key_id`.
    ///
    /// # Errors
    /// Where there is one already, or it cannot be made.
    pub fn create(directory: &Path, key_id: [u8; 4]) -> Result<(), StoreError> {
        files::create_private_directory(directory)?;
        let path = directory.join(FILE);
        let io = |error| FileError::Io { path: path.clone(), error };
        files::remove_if_empty(&path).map_err(io)?;
        // Made under another name, so that a store that is there is a whole one.
        let new = files::beside(&path);
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let mut name = new.clone().into_os_string();
            name.push(suffix);
            files::remove_if_there(Path::new(&name)).map_err(io)?;
        }
        files::create_private(&new, b"")?;
        open::build(&new, key_id)?;
        Ok(files::publish(&new, &path).map_err(io)?)
    }

    /// Opens the store in `directory`, and brings it to the newest schema.
    ///
    /// # Errors
    /// Where there is none, it is not guarded, it is newer than this program, or it cannot be read and written.
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, StoreError> {
        files::check_directory(directory)?;
        // The way to the directory is the administrator's; from there on, no link is followed.
        let real =
            directory.canonicalize().map_err(|error| StoreError::File(format!("{}: {error}", directory.display())))?;
        let path = real.join(FILE);
        let metadata = files::check(&path, files::Exposure::Private)?;
        if !metadata.is_file() {
            return Err(FileError::NotFile(path).into());
        }
        for place in [&real, &path] {
            rustix::fs::access(place, Access::WRITE_OK).map_err(|error| {
                let error = io::Error::from(error);
                StoreError::ReadOnly(format!("{}: {error}; it must belong to the user that serves", place.display()))
            })?;
        }
        let lock = Lock::new(&real).map_err(|error| StoreError::File(format!("{}: {error}", real.display())))?;
        let place = Place::new(directory.join(FILE), path.clone(), &metadata, real.join(format!("{FILE}-wal")));
        let connection = open::connect(&path)?;
        let meta = open::read_meta(&connection, &path)?;
        if meta.version < schema::newest() {
            open::upgrade(&connection, &lock)?;
        }
        Ok(Self {
            directory: directory.to_owned(),
            place,
            connection,
            lock,
            gate: tokio::sync::Mutex::new(()),
            open: RefCell::new(None),
            batch: Cell::new(0),
            lost: RefCell::new(None),
            tallies: Tallies::new(limits, meta.salt),
            key_id: meta.key_id,
            moved_at: Cell::new(0),
            commits: Cell::new(0),
        })
    }

    /// Opens the transaction of this batch if it is not.
    async fn begin(&self) -> Result<(), StoreError> {
        if self.open.borrow().is_some() {
            return Ok(());
        }
        let _gate = self.gate.lock().await;
        if self.open.borrow().is_some() {
            return Ok(());
        }
        let held = self.lock.take().await.map_err(|error| match error {
            busy if busy.kind() == io::ErrorKind::ResourceBusy => StoreError::Busy,
            other => StoreError::Failed(other.to_string()),
        })?;
        self.connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut s| s.execute([])).map_err(|e| failed(&e))?;
        *self.open.borrow_mut() = Some(held);
        Ok(())
    }

    /// Runs `operation` inside the transaction; where it fails, the whole transaction is lost.
    async fn write<T>(&self, operation: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        self.begin().await?;
        operation(&self.connection).map_err(|error| {
            let error = failed(&error);
            self.lose(error.clone());
            error
        })
    }

    /// Runs `operation` outside any transaction of its own.
    fn read<T>(&self, operation: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        operation(&self.connection).map_err(|error| failed(&error))
    }

    /// Commits what is open.
    fn commit(&self) {
        if self.open.borrow().is_none() {
            return;
        }
        let committed = self
            .tallies
            .write(&self.connection)
            .and_then(|()| self.connection.prepare_cached("COMMIT").and_then(|mut s| s.execute([])));
        match committed {
            Ok(_) => {
                self.commits.set(self.commits.get().saturating_add(1));
                self.end();
            }
            Err(error) => self.lose(failed(&error)),
        }
    }

    /// Rolls the open transaction back and remembers that it is lost.
    fn lose(&self, error: StoreError) {
        // SQLite may have rolled back by itself; then this fails, and nothing is open either way.
        let _ = self.connection.execute_batch("ROLLBACK");
        *self.lost.borrow_mut() = Some((self.batch.get(), error));
        self.end();
    }

    fn end(&self) {
        self.tallies.clear();
        self.batch.set(self.batch.get().saturating_add(1));
        // Releases the outer lock.
        self.open.borrow_mut().take();
    }

    /// Moves the log into the database by `statement`. Leaves it where others are in the way.
    fn checkpoint(&self, statement: &str) -> Result<(), StoreError> {
        // Whoever waits for the lock holds the gate, and may be polled by whoever calls this: never waited for.
        let Ok(_gate) = self.gate.try_lock() else { return Ok(()) };
        if self.open.borrow().is_some() {
            return Ok(());
        }
        let Ok(Some(_held)) = self.lock.try_take() else { return Ok(()) };
        self.moved_at.set(self.connection.total_changes());
        self.commits.set(0);
        self.read(|connection| {
            connection.busy_timeout(Duration::ZERO)?;
            let moved = connection.prepare_cached(statement)?.query_row([], |_| Ok(()));
            connection.busy_timeout(BUSY)?;
            moved
        })
    }
}

/// What an error of SQLite means for the operator.
fn failed(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            StoreError::ReadOnly(error.to_string())
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(error.to_string()),
        Some(_) | None => StoreError::Failed(error.to_string()),
    }
}

impl Opened for SqliteStore {
    fn opened_under(&self) -> [u8; 4] {
        self.key_id
    }

    /// As it was named.
    fn directory(&self) -> Option<&Path> {
        Some(&self.directory)
    }

    /// Moves the log if it is as long as `log` says.
    fn close(&self, log: Log) -> Result<(), StoreError> {
        let limit = match log {
            Log::Any => 0,
            Log::Long => LOG_SHORT,
        };
        if self.place.log_length() > limit { self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)") } else { Ok(()) }
    }
}

impl Store for SqliteStore {
    fn mark(&self) -> Mark {
        Mark(self.batch.get())
    }

    fn settle(&self, since: Mark) -> Answer<'_, ()> {
        Box::pin(async move {
            self.commit();
            match &*self.lost.borrow() {
                Some((batch, error)) if *batch >= since.0 => return Err(error.clone()),
                Some(_) | None => {}
            }
            // What was only read does not count either: it may be otherwise in what lies there now.
            if self.place.is_held() { Ok(()) } else { Err(StoreError::Replaced(self.place.path().to_owned())) }
        })
    }

    fn idle(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let changes = self.connection.total_changes().saturating_sub(self.moved_at.get());
            if self.commits.get() < COMMITS_BETWEEN && changes < CHANGES_BETWEEN {
                return Ok(());
            }
            self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)")
        })
    }

    fn standing<'a>(&'a self, origin: &'a Origin, now: UnixTime) -> Answer<'a, Ruling> {
        Box::pin(async move { self.read(|connection| self.tallies.standing(connection, origin, now)) })
    }

    fn charge<'a>(&'a self, origin: &'a Origin, now: UnixTime) -> Answer<'a, Ruling> {
        Box::pin(self.write(move |connection| self.tallies.charge(connection, origin, now)))
    }

    fn credit<'a>(&'a self, origin: &'a Origin, credit: Credit) -> Answer<'a, ()> {
        Box::pin(self.write(move |connection| self.tallies.credit(connection, origin, credit)))
    }

    fn locks_begun(&self) -> u64 {
        self.tallies.began.take()
    }

    fn unlock<'a>(&'a self, key: UnlockKey<'a>) -> Answer<'a, bool> {
        Box::pin(self.write(move |connection| self.tallies.unlock(connection, key)))
    }

    fn authenticators<'a>(&'a self, subscriber: &'a Subscriber, client: &'a str) -> Answer<'a, Vec<Authenticator>> {
        Box::pin(async move { self.read(|connection| rows::of_subscriber(connection, subscriber, client)) })
    }

    fn held_by<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, Vec<Authenticator>> {
        Box::pin(async move { self.read(|connection| rows::all_of_subscriber(connection, subscriber)) })
    }

    fn consume_step<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        id: &'a AuthenticatorId,
        step: u64,
        now: UnixTime,
    ) -> Answer<'a, Consumed> {
        Box::pin(self.write(move |connection| rows::consume_step(connection, subscriber, id, step, now)))
    }

    fn add<'a>(&'a self, authenticators: &'a [Authenticator]) -> Answer<'a, Added> {
        Box::pin(self.write(move |connection| rows::add(connection, authenticators.iter().map(|new| (new, &[][..])))))
    }

    fn add_with_codes<'a>(&'a self, new: &'a [(Authenticator, Vec<Vec<u8>>)]) -> Answer<'a, Added> {
        Box::pin(self.write(move |connection| {
            rows::add(connection, new.iter().map(|(authenticator, hashes)| (authenticator, hashes.as_slice())))
        }))
    }

    fn enrol<'a>(
        &'a self,
        id: &'a ChallengeId,
        authenticator: &'a Authenticator,
        codes: Option<&'a (Authenticator, Vec<Vec<u8>>)>,
        rank: Rank,
        now: UnixTime,
    ) -> Answer<'a, Added> {
        Box::pin(self.write(move |connection| rows::enrol(connection, id, authenticator, codes, rank, now)))
    }

    fn list<'a>(&'a self, after: Option<&'a Authenticator>, limit: u32) -> Answer<'a, Vec<Authenticator>> {
        Box::pin(async move { self.read(|connection| rows::list(connection, after, limit)) })
    }

    fn remove<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        id: &'a AuthenticatorId,
        now: UnixTime,
        reason: &'a str,
    ) -> Answer<'a, bool> {
        Box::pin(self.write(move |connection| {
            self.tallies.forget_known(connection, subscriber)?;
            rows::remove(connection, subscriber, id, now, reason)
        }))
    }

    fn tombstones<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, Vec<Tombstone>> {
        Box::pin(async move { self.read(|connection| rows::tombstones(connection, subscriber)) })
    }

    fn rename<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        id: &'a AuthenticatorId,
        label: &'a str,
    ) -> Answer<'a, Renamed> {
        Box::pin(self.write(move |connection| rows::rename(connection, subscriber, id, label)))
    }

    fn set_standing<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        id: &'a AuthenticatorId,
        standing: Standing,
    ) -> Answer<'a, bool> {
        Box::pin(self.write(move |connection| {
            if standing == Standing::Disabled {
                self.tallies.forget_known(connection, subscriber)?;
            }
            rows::set_standing(connection, subscriber, id, standing)
        }))
    }

    fn set_default<'a>(&'a self, subscriber: &'a Subscriber, id: Option<&'a AuthenticatorId>) -> Answer<'a, bool> {
        Box::pin(self.write(move |connection| rows::set_default(connection, subscriber, id)))
    }

    fn reseal<'a>(&'a self, authenticator: &'a Authenticator, new: &'a [u8]) -> Answer<'a, bool> {
        Box::pin(self.write(move |connection| rows::reseal(connection, authenticator, new)))
    }

    fn open_challenge<'a>(&'a self, challenge: &'a Challenge) -> Answer<'a, ()> {
        Box::pin(self.write(move |connection| rows::open_challenge(connection, challenge)))
    }

    fn challenge<'a>(&'a self, id: &'a ChallengeId, now: UnixTime) -> Answer<'a, Option<Challenge>> {
        Box::pin(async move { self.read(|connection| rows::challenge(connection, id, now)) })
    }

    fn try_challenge<'a>(&'a self, id: &'a ChallengeId, now: UnixTime) -> Answer<'a, Option<u32>> {
        Box::pin(self.write(move |connection| rows::try_challenge(connection, id, now)))
    }

    fn move_challenge<'a>(&'a self, id: &'a ChallengeId, from: State, to: State, now: UnixTime) -> Answer<'a, bool> {
        Box::pin(self.write(move |connection| rows::move_challenge(connection, id, from, to, now)))
    }

    fn challenges<'a>(
        &'a self,
        purpose: Purpose,
        after: Option<&'a ChallengeId>,
        limit: u32,
        now: UnixTime,
    ) -> Answer<'a, Vec<Challenge>> {
        Box::pin(async move { self.read(|connection| rows::challenges(connection, purpose, after, limit, now)) })
    }

    fn forget_challenges(&self, now: UnixTime) -> Answer<'_, usize> {
        Box::pin(self.write(move |connection| rows::forget_challenges(connection, now)))
    }

    fn set_recovery_codes<'a>(&'a self, set: &'a Authenticator, hashes: &'a [Vec<u8>]) -> Answer<'a, ()> {
        Box::pin(self.write(move |connection| rows::set_recovery_codes(connection, set, hashes)))
    }

    fn recovery_hashes<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, Vec<Vec<u8>>> {
        Box::pin(async move { self.read(|connection| rows::recovery_hashes(connection, subscriber)) })
    }

    fn recovery_codes<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, u32> {
        Box::pin(async move { self.read(|connection| rows::recovery_codes(connection, subscriber)) })
    }

    fn redeem_recovery_code<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        hash: &'a [u8],
        now: UnixTime,
    ) -> Answer<'a, Option<u32>> {
        Box::pin(self.write(move |connection| rows::redeem_recovery_code(connection, subscriber, hash, now)))
    }

    fn take_slot<'a>(
        &'a self,
        key: &'a str,
        holder: &'a str,
        again: Again,
        limit: u32,
        now: UnixTime,
        expires: UnixTime,
    ) -> Answer<'a, bool> {
        Box::pin(self.write(move |connection| rows::take_slot(connection, key, holder, again, limit, now, expires)))
    }

    fn reuse_verification<'a>(&'a self, key: &'a [u8; 32], rule: CacheRule, now: u64) -> Answer<'a, bool> {
        Box::pin(async move {
            // Most have nothing there, and wait for nobody to find that out.
            if self.read(|connection| rows::verification(connection, key))?.is_none() {
                return Ok(false);
            }
            self.write(|connection| rows::reuse_verification(connection, key, rule, now)).await
        })
    }

    fn verification<'a>(&'a self, key: &'a [u8; 32]) -> Answer<'a, Option<Remembered>> {
        Box::pin(async move { self.read(|connection| rows::verification(connection, key)) })
    }

    fn remember_verification<'a>(
        &'a self,
        key: &'a [u8; 32],
        subscriber: &'a Subscriber,
        now: u64,
        expires: UnixTime,
    ) -> Answer<'a, ()> {
        Box::pin(self.write(move |connection| rows::remember_verification(connection, key, subscriber, now, expires)))
    }

    fn slots<'a>(&'a self, key: &'a str, now: UnixTime) -> Answer<'a, Vec<(String, UnixTime)>> {
        Box::pin(async move { self.read(|connection| rows::slots(connection, key, now)) })
    }

    fn clear_slots<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        Box::pin(self.write(move |connection| rows::clear_slots(connection, key)))
    }

    fn release_slots<'a>(&'a self, holder: &'a str) -> Answer<'a, bool> {
        Box::pin(self.write(move |connection| rows::release_slots(connection, holder)))
    }

    fn key_id(&self) -> Answer<'_, [u8; 4]> {
        Box::pin(async move {
            self.read(|connection| connection.query_row("SELECT key_id FROM meta", [], |row| row.get(0)))
        })
    }

    fn set_key_id(&self, id: [u8; 4]) -> Answer<'_, ()> {
        Box::pin(
            self.write(move |connection| connection.execute("UPDATE meta SET key_id = ?1", params![id]).map(|_| ())),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::{Backend, LIMITS, holds};

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("countersign-store-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            SqliteStore::create(&path, [0; 4]).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    impl Backend for Directory {
        fn open(&self) -> Box<dyn Store> {
            Box::new(SqliteStore::open(&self.0, LIMITS).unwrap())
        }
    }

    #[test]
    fn the_contract_holds() {
        holds(&Directory::new("contract"));
    }

    #[test]
    fn a_lost_commit_fails_everybody_whom_it_held() {
        let directory = Directory::new("lost");
        let store = SqliteStore::open(&directory.0, LIMITS).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mark = store.mark();
            store.set_key_id([9; 4]).await.unwrap();
            // As a full disk would.
            store.lose(StoreError::Full);
            assert!(matches!(store.settle(mark).await, Err(StoreError::Full)));
            assert_eq!(store.key_id().await.unwrap(), [0; 4]);
            let later = store.mark();
            store.set_key_id([8; 4]).await.unwrap();
            store.settle(later).await.unwrap();
            assert!(store.settle(mark).await.is_err(), "what was lost stays lost");
        });
    }

    #[test]
    fn every_commit_is_synced_in_full() {
        let directory = Directory::new("synced");
        let store = SqliteStore::open(&directory.0, LIMITS).unwrap();
        let pragma = |name: &str| -> String {
            store
                .connection
                .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0))
                .map(|v| format!("{v:?}"))
                .unwrap()
        };
        assert_eq!(pragma("synchronous"), "Integer(2)");
        assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
    }
}

//! One store for many gateways: PostgreSQL, or an engine that speaks its protocol.
//!
//! Every operation is a transaction of its own, committed before it is answered; what others got in the way of is done
//! again. Nothing is gathered, so that [`Store::settle`] has nothing left to do: many gateways would wait for each other's
//! locks for as long as the slowest of them gathers.

mod connect;
mod entry;
mod moving;
mod rows;
mod schema;
mod tallies;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::ClientConfig;

use super::moving::Identity;
use super::{
    Added, Again, Answer, Consumed, Credit, Limits, Log, Mark, Opened, Origin, Rank, Renamed, Ruling, Store,
    StoreError, UnlockKey,
};
use crate::domain::authenticator::{Authenticator, AuthenticatorId, Standing, Tombstone};
use crate::domain::challenge::{Challenge, ChallengeId, Purpose, State};
use crate::domain::claimant::Subscriber;
use crate::domain::outcome::Limit;
use crate::domain::time::UnixTime;
use crate::policy::cache::{CacheRule, Remembered};
pub use connect::{Settings, Where};
use entry::{Entry, meta};
pub use moving::Filling;
use rows::Found;
use tallies::Tallies;
use worker::Worker;

/// The shared store.
pub struct PostgresStore {
    worker: Worker,
    tallies: Tallies,
    entry: Arc<Entry>,
}

impl PostgresStore {
    /// Opens the store in the database `place`. Waits for it, no longer than `within` where that is said.
    ///
    /// # Errors
    /// Where it is not reached, there is none, or it is of another version than this program's.
    pub fn open(
        place: &Where,
        tls: Option<ClientConfig>,
        limits: Limits,
        within: Option<Duration>,
    ) -> Result<Self, StoreError> {
        let worker = Worker::start(place, tls, None)?;
        let meta = worker.wait_for(within, async |tx| entry::look(tx).await)?.usable()?;
        Ok(Self::with(worker, Arc::new(Entry::found(meta)), limits))
    }

    /// The store in the database `place`, which is away: opened by whatever is asked of it once it is back. It has to be sealed
    /// under one of the master keys `keys` then.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub fn open_later(
        place: &Where,
        tls: Option<ClientConfig>,
        limits: Limits,
        keys: Vec<[u8; 4]>,
    ) -> Result<Self, StoreError> {
        let entry = Arc::new(Entry::unseen(keys));
        let worker = Worker::start(place, tls, Some(Arc::clone(&entry)))?;
        Ok(Self::with(worker, entry, limits))
    }

    fn with(worker: Worker, entry: Arc<Entry>, limits: Limits) -> Self {
        let tallies = Tallies { limits, entry: Arc::clone(&entry), began: Arc::default() };
        Self { worker, tallies, entry }
    }

    /// Makes a store in the database `place`, sealed under the key `key_id`, or brings the one that is there to the newest
    /// schema; says from which version to which.
    ///
    /// # Errors
    /// Where that cannot be done, or the store is newer than this program.
    pub fn migrate(place: &Where, tls: Option<ClientConfig>, key_id: [u8; 4]) -> Result<(i64, i64), StoreError> {
        let worker = Worker::start(place, tls, None)?;
        let mut salt = [0_u8; 16];
        getrandom::fill(&mut salt).map_err(|error| StoreError::Failed(error.to_string()))?;
        let made = worker.wait(async move |tx| {
            let found = meta(tx).await?.map_or(0, |meta| meta.version);
            let known = schema::newest();
            if found > 0 {
                // Of two that bring it up to date, the second finds it so.
                rows::execute(tx, "UPDATE meta SET version = version", &[]).await?;
            }
            schema::create(tx, found).await?;
            if found > 0 {
                rows::execute(tx, "UPDATE meta SET version = $1 WHERE version < $1", &[&known]).await?;
                return Ok(Some((found, known.max(found))));
            }
            if rows::query_opt(tx, "SELECT 1 FROM filling", &[]).await?.is_some() {
                return Ok(None);
            }
            // Whoever else makes it at this moment is as right.
            schema::name(tx, Identity { salt, key_id }).await?;
            Ok(Some((found, known)))
        })?;
        made.ok_or_else(|| {
            let text = "a copy into this database is under way, or was interrupted; finish it: countersign store copy";
            StoreError::Failed(text.into())
        })
    }

    /// Runs an operation whose result may be what this program never wrote.
    fn find<'a, T: Send + 'static>(
        &self,
        operation: impl AsyncFn(&deadpool_postgres::Transaction<'_>) -> Found<T> + Send + 'static,
    ) -> Answer<'a, T> {
        let found = self.worker.run(operation);
        Box::pin(async move { found.await? })
    }
}

impl Opened for PostgresStore {
    fn opened_under(&self) -> [u8; 4] {
        self.entry.key_id()
    }

    fn directory(&self) -> Option<&Path> {
        None
    }

    fn close(&self, _log: Log) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Store for PostgresStore {
    fn mark(&self) -> Mark {
        Mark(0)
    }

    fn settle(&self, _since: Mark) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn idle(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn standing<'a>(&'a self, origin: &'a Origin, now: UnixTime) -> Answer<'a, Ruling> {
        let (tallies, origin) = (self.tallies.clone(), origin.clone());
        self.worker.run(async move |tx| tallies.standing(tx, &origin, now).await)
    }

    fn charge<'a>(&'a self, origin: &'a Origin, now: UnixTime) -> Answer<'a, Ruling> {
        let (tallies, origin) = (self.tallies.clone(), origin.clone());
        self.worker.run(async move |tx| tallies.charge(tx, &origin, now).await)
    }

    fn credit<'a>(&'a self, origin: &'a Origin, credit: Credit) -> Answer<'a, ()> {
        let (tallies, origin) = (self.tallies.clone(), origin.clone());
        self.worker.run(async move |tx| tallies.credit(tx, &origin, credit).await)
    }

    fn locks_begun(&self) -> u64 {
        self.tallies.began.swap(0, Ordering::Relaxed)
    }

    fn unlock<'a>(&'a self, key: UnlockKey<'a>) -> Answer<'a, bool> {
        let (limit, name) = match key {
            UnlockKey::Subscriber(subscriber) => (Limit::Subscriber, subscriber.as_str().to_owned()),
            UnlockKey::Source(source) => (Limit::Source, source.to_owned()),
        };
        let tallies = self.tallies.clone();
        self.worker.run(async move |tx| tallies.unlock(tx, limit, &name).await)
    }

    fn authenticators<'a>(&'a self, subscriber: &'a Subscriber, client: &'a str) -> Answer<'a, Vec<Authenticator>> {
        let (subscriber, client) = (subscriber.clone(), client.to_owned());
        self.find(async move |tx| rows::of_subscriber(tx, &subscriber, &client).await)
    }

    fn held_by<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, Vec<Authenticator>> {
        let subscriber = subscriber.clone();
        self.find(async move |tx| rows::all_of_subscriber(tx, &subscriber).await)
    }

    fn consume_step<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        id: &'a AuthenticatorId,
        step: u64,
        now: UnixTime,
    ) -> Answer<'a, Consumed> {
        let (subscriber, id) = (subscriber.clone(), id.clone());
        self.worker.run(async move |tx| rows::consume_step(tx, &subscriber, &id, step, now).await)
    }

    fn add<'a>(&'a self, authenticators: &'a [Authenticator]) -> Answer<'a, Added> {
        let new: Vec<_> = authenticators.iter().map(|new| (new.clone(), Vec::new())).collect();
        self.worker.run(async move |tx| rows::add(tx, &new).await)
    }

    fn add_with_codes<'a>(&'a self, new: &'a [(Authenticator, Vec<Vec<u8>>)]) -> Answer<'a, Added> {
        let new = new.to_vec();
        self.worker.run(async move |tx| rows::add(tx, &new).await)
    }

    fn enrol<'a>(
        &'a self,
        id: &'a ChallengeId,
        authenticator: &'a Authenticator,
        codes: Option<&'a (Authenticator, Vec<Vec<u8>>)>,
        rank: Rank,
        now: UnixTime,
    ) -> Answer<'a, Added> {
        let (id, authenticator, codes) = (id.clone(), authenticator.clone(), codes.cloned());
        self.worker.run(async move |tx| rows::enrol(tx, &id, &authenticator, codes.as_ref(), rank, now).await)
    }

    fn list<'a>(&'a self, after: Option<&'a Authenticator>, limit: u32) -> Answer<'a, Vec<Authenticator>> {
        let after = after.map(|after| (after.subscriber.as_str().to_owned(), after.id.0.clone()));
        self.find(async move |tx| {
            rows::list(tx, after.as_ref().map(|(name, id)| (name.as_str(), id.as_str())), limit).await
        })
    }

    fn remove<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        id: &'a AuthenticatorId,
        now: UnixTime,
        reason: &'a str,
    ) -> Answer<'a, bool> {
        let (tallies, subscriber, id, reason) =
            (self.tallies.clone(), subscriber.clone(), id.clone(), reason.to_owned());
        self.worker.run(async move |tx| {
            tallies.forget_known(tx, &subscriber).await?;
            rows::remove(tx, &subscriber, &id, now, &reason).await
        })
    }

    fn tombstones<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, Vec<Tombstone>> {
        let subscriber = subscriber.clone();
        self.worker.run(async move |tx| rows::tombstones(tx, &subscriber).await)
    }

    fn rename<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        id: &'a AuthenticatorId,
        label: &'a str,
    ) -> Answer<'a, Renamed> {
        let (subscriber, id, label) = (subscriber.clone(), id.clone(), label.to_owned());
        self.worker.run(async move |tx| rows::rename(tx, &subscriber, &id, &label).await)
    }

    fn set_standing<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        id: &'a AuthenticatorId,
        standing: Standing,
    ) -> Answer<'a, bool> {
        let (tallies, subscriber, id) = (self.tallies.clone(), subscriber.clone(), id.clone());
        self.worker.run(async move |tx| {
            if standing == Standing::Disabled {
                tallies.forget_known(tx, &subscriber).await?;
            }
            rows::set_standing(tx, &subscriber, &id, standing).await
        })
    }

    fn set_default<'a>(&'a self, subscriber: &'a Subscriber, id: Option<&'a AuthenticatorId>) -> Answer<'a, bool> {
        let (subscriber, id) = (subscriber.clone(), id.cloned());
        self.worker.run(async move |tx| rows::set_default(tx, &subscriber, id.as_ref()).await)
    }

    fn reseal<'a>(&'a self, authenticator: &'a Authenticator, new: &'a [u8]) -> Answer<'a, bool> {
        let (old, new) = (authenticator.clone(), new.to_vec());
        self.worker.run(async move |tx| rows::reseal(tx, &old, &new).await)
    }

    fn open_challenge<'a>(&'a self, challenge: &'a Challenge) -> Answer<'a, ()> {
        let challenge = challenge.clone();
        self.worker.run(async move |tx| rows::open_challenge(tx, &challenge).await)
    }

    fn challenge<'a>(&'a self, id: &'a ChallengeId, now: UnixTime) -> Answer<'a, Option<Challenge>> {
        let id = id.clone();
        self.find(async move |tx| rows::challenge(tx, &id, now).await)
    }

    fn try_challenge<'a>(&'a self, id: &'a ChallengeId, now: UnixTime) -> Answer<'a, Option<u32>> {
        let id = id.clone();
        self.worker.run(async move |tx| rows::try_challenge(tx, &id, now).await)
    }

    fn move_challenge<'a>(&'a self, id: &'a ChallengeId, from: State, to: State, now: UnixTime) -> Answer<'a, bool> {
        let id = id.clone();
        self.worker.run(async move |tx| rows::move_challenge(tx, &id, from, to, now).await)
    }

    fn challenges<'a>(
        &'a self,
        purpose: Purpose,
        after: Option<&'a ChallengeId>,
        limit: u32,
        now: UnixTime,
    ) -> Answer<'a, Vec<Challenge>> {
        let after = after.cloned();
        self.find(async move |tx| rows::challenges(tx, purpose, after.as_ref(), limit, now).await)
    }

    fn forget_challenges(&self, now: UnixTime) -> Answer<'_, usize> {
        self.worker.run(async move |tx| rows::forget_challenges(tx, now).await)
    }

    fn set_recovery_codes<'a>(&'a self, set: &'a Authenticator, hashes: &'a [Vec<u8>]) -> Answer<'a, ()> {
        let (set, hashes) = (set.clone(), hashes.to_vec());
        self.worker.run(async move |tx| rows::set_recovery_codes(tx, &set, &hashes).await)
    }

    fn recovery_hashes<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, Vec<Vec<u8>>> {
        let subscriber = subscriber.clone();
        self.worker.run(async move |tx| rows::recovery_hashes(tx, &subscriber).await)
    }

    fn recovery_codes<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, u32> {
        let subscriber = subscriber.clone();
        self.worker.run(async move |tx| rows::recovery_codes(tx, &subscriber).await)
    }

    fn redeem_recovery_code<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        hash: &'a [u8],
        now: UnixTime,
    ) -> Answer<'a, Option<u32>> {
        let (subscriber, hash) = (subscriber.clone(), hash.to_vec());
        self.worker.run(async move |tx| rows::redeem_recovery_code(tx, &subscriber, &hash, now).await)
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
        let (key, holder) = (key.to_owned(), holder.to_owned());
        self.worker.run(async move |tx| rows::take_slot(tx, (&key, &holder), again, limit, now, expires).await)
    }

    fn slots<'a>(&'a self, key: &'a str, now: UnixTime) -> Answer<'a, Vec<(String, UnixTime)>> {
        let key = key.to_owned();
        self.worker.run(async move |tx| rows::slots(tx, &key, now).await)
    }

    fn clear_slots<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        let key = key.to_owned();
        self.worker.run(async move |tx| rows::clear_slots(tx, &key).await)
    }

    fn release_slots<'a>(&'a self, holder: &'a str) -> Answer<'a, bool> {
        let holder = holder.to_owned();
        self.worker.run(async move |tx| rows::release_slots(tx, &holder).await)
    }

    fn reuse_verification<'a>(&'a self, key: &'a [u8; 32], rule: CacheRule, now: u64) -> Answer<'a, bool> {
        let key = *key;
        self.worker.run(async move |tx| rows::reuse_verification(tx, &key, rule, now).await)
    }

    fn verification<'a>(&'a self, key: &'a [u8; 32]) -> Answer<'a, Option<Remembered>> {
        let key = *key;
        self.worker.run(async move |tx| rows::verification(tx, &key).await)
    }

    fn remember_verification<'a>(
        &'a self,
        key: &'a [u8; 32],
        subscriber: &'a Subscriber,
        now: u64,
        expires: UnixTime,
    ) -> Answer<'a, ()> {
        let (key, subscriber) = (*key, subscriber.clone());
        self.worker.run(async move |tx| rows::remember_verification(tx, &key, &subscriber, now, expires).await)
    }

    fn key_id(&self) -> Answer<'_, [u8; 4]> {
        let found = self.worker.run(async |tx| meta(tx).await);
        Box::pin(async move {
            let gone = || StoreError::Failed("the store is gone from its database".into());
            found.await?.map(|meta| meta.key_id).ok_or_else(gone)
        })
    }

    fn set_key_id(&self, id: [u8; 4]) -> Answer<'_, ()> {
        self.worker
            .run(async move |tx| rows::execute(tx, "UPDATE meta SET key_id = $1", &[&id.as_slice()]).await.map(drop))
    }
}

#[cfg(test)]
#[expect(dead_code, reason = "the tests through the executable use the rest")]
#[path = "../../../tests/rig/postgres.rs"]
mod cluster;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::cluster::Cluster;
    use super::*;
    use crate::store::contract::{Backend, LIMITS, holds};

    /// A database whose sessions begin with an isolation level.
    struct Database {
        url: String,
    }

    impl Database {
        fn place(&self) -> Where {
            let (patience, statement) = (Duration::from_secs(30), Duration::from_secs(30));
            Where::of(&Settings { url: &self.url, password: None, connections: 2, patience, statement }).unwrap()
        }
    }

    impl Backend for Database {
        fn open(&self) -> Box<dyn Store> {
            Box::new(PostgresStore::open(&self.place(), None, LIMITS, None).unwrap())
        }

        fn gathers(&self) -> bool {
            false
        }

        /// Each is a transaction of its own.
        fn strangers(&self) -> u32 {
            5_000
        }
    }

    #[test]
    fn the_contract_holds_at_every_isolation_level() {
        let directory = std::env::temp_dir().join(format!("countersign-postgres-{}", std::process::id()));
        let Some(cluster) = Cluster::start(&directory) else {
            let allowed = std::env::var_os("COUNTERSIGN_NOTHING_SKIPPED").is_none_or(|value| value != "1");
            assert!(allowed, "PostgreSQL is missing; run: apt-get install postgresql");
            eprintln!("skipped: PostgreSQL is missing; run: apt-get install postgresql");
            return;
        };
        for level in ["read committed", "repeatable read", "serializable"] {
            let name = level.replace(' ', "_");
            cluster.create(&name);
            let option = level.replace(' ', "%5C%20");
            let url = cluster.url(&name, &format!("?options=-c%20default_transaction_isolation%3D{option}"));
            let database = Database { url };
            assert_eq!(PostgresStore::migrate(&database.place(), None, [0; 4]).unwrap(), (0, schema::newest()));
            assert_eq!(PostgresStore::migrate(&database.place(), None, [9; 4]).unwrap().0, schema::newest());
            let store = PostgresStore::open(&database.place(), None, LIMITS, None).unwrap();
            let held = store
                .worker
                .wait(async |tx| tx.query_one("SHOW transaction_isolation", &[]).await?.try_get::<_, String>(0));
            assert_eq!(held.unwrap(), level.to_owned());
            holds(&database);
        }
    }
}

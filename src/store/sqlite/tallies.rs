//! The counts behind the throttle: kept in memory for the length of a transaction, written once at its end.
//!
//! A success takes back what its attempt was charged, and sixty-four requests of one source change one row: only what
//! differs at the commit is written. Nobody else sees a count in between, since the transaction holds the store.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map;

use rusqlite::{Connection, OptionalExtension, params};

use crate::domain::outcome::Limit;
use crate::domain::time::UnixTime;
use crate::policy::throttle::{Rule, Tally};
use crate::store::columns::{Key, counted, key};
use crate::store::{Counter, Credit, Limits, Origin, Ruling, UnlockKey};

/// How many rows that have run out are forgotten with each write.
const SWEEP: u32 = 16;

/// What a row is about, in the column `lasting`: whose rows are forgotten beyond a number, and whose are not.
const STRANGER: u8 = 0;
const ENROLLED: u8 = 1;
const SOURCE: u8 = 2;

pub struct Tallies {
    limits: Limits,
    salt: [u8; 16],
    /// By keys that are hashes already.
    open: RefCell<BTreeMap<Key, Entry>>,
}

struct Entry {
    limit: Limit,
    /// The name to look up whether the row is to last; only of subscribers.
    subscriber: Option<String>,
    stored: Option<Tally>,
    now: Option<Tally>,
}

impl Tallies {
    pub fn new(limits: Limits, salt: [u8; 16]) -> Self {
        Self { limits, salt, open: RefCell::new(BTreeMap::new()) }
    }

    pub fn standing(&self, connection: &Connection, origin: &Origin, now: UnixTime) -> rusqlite::Result<Ruling> {
        for (limit, name) in counted(origin) {
            let key = key(&self.salt, limit, origin.counter, name);
            let tally = match self.open.borrow().get(&key) {
                Some(entry) => entry.now,
                None => stored(connection, &key)?,
            };
            let rule = self.rule(limit);
            if let Some(wait) = tally.and_then(|tally| rule.wait(rule.current(tally, now), now)) {
                return Ok(Ruling::Wait { wait, by: limit });
            }
        }
        Ok(Ruling::Heard)
    }

    pub fn charge(&self, connection: &Connection, origin: &Origin, now: UnixTime) -> rusqlite::Result<Ruling> {
        let mut ruling = Ruling::Heard;
        self.change(connection, origin, |rule, tally, limit| {
            let tally = tally.map(|tally| rule.current(tally, now));
            if let (Ruling::Heard, Some(wait)) = (&ruling, tally.and_then(|tally| rule.wait(tally, now))) {
                ruling = Ruling::Wait { wait, by: limit };
            }
            tally
        })?;
        if ruling == Ruling::Heard {
            self.change(connection, origin, |rule, tally, _| Some(rule.charged(tally, now)))?;
        }
        Ok(ruling)
    }

    pub fn credit(&self, connection: &Connection, origin: &Origin, credit: Credit) -> rusqlite::Result<()> {
        self.change(connection, origin, |rule, tally, limit| {
            tally.map(|tally| match (credit, limit) {
                (Credit::Success, Limit::Subscriber) => rule.forgiven(tally),
                // A success of one subscriber says nothing of what else comes from the same address.
                (Credit::Success, Limit::Source) | (Credit::Refund, Limit::Subscriber | Limit::Source) => {
                    rule.refunded(tally)
                }
            })
        })
    }

    pub fn unlock(&self, connection: &Connection, whose: UnlockKey<'_>) -> rusqlite::Result<bool> {
        let mut had = false;
        for counter in [Counter::Codes, Counter::LookUp] {
            let key = match whose {
                UnlockKey::Subscriber(subscriber) => key(&self.salt, Limit::Subscriber, counter, subscriber.as_str()),
                UnlockKey::Source(source) => key(&self.salt, Limit::Source, counter, source),
            };
            had |= self.open.borrow_mut().remove(&key).is_some();
            had |= connection.execute("DELETE FROM throttle WHERE key = ?1", params![key])? > 0;
        }
        Ok(had)
    }

    /// Writes what has changed, into the transaction that is open.
    pub fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        for (key, entry) in self.open.borrow().iter().filter(|(_, entry)| entry.now != entry.stored) {
            match entry.now {
                Some(tally) if tally.failures > 0 => self.put(connection, key, entry, tally)?,
                Some(_) | None if entry.stored.is_some() => {
                    connection.prepare_cached("DELETE FROM throttle WHERE key = ?1")?.execute(params![key])?;
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Forgets what was not written.
    pub fn clear(&self) {
        self.open.borrow_mut().clear();
    }

    fn change(
        &self,
        connection: &Connection,
        origin: &Origin,
        mut change: impl FnMut(&Rule, Option<Tally>, Limit) -> Option<Tally>,
    ) -> rusqlite::Result<()> {
        for (limit, name) in counted(origin) {
            let key = key(&self.salt, limit, origin.counter, name);
            let mut open = self.open.borrow_mut();
            let entry = match open.entry(key) {
                btree_map::Entry::Occupied(entry) => entry.into_mut(),
                btree_map::Entry::Vacant(place) => {
                    let stored = stored(connection, &key)?;
                    let subscriber = matches!(limit, Limit::Subscriber).then(|| name.to_owned());
                    place.insert(Entry { limit, subscriber, stored, now: stored })
                }
            };
            entry.now = change(self.rule(limit), entry.now, limit);
        }
        Ok(())
    }

    fn put(&self, connection: &Connection, key: &Key, entry: &Entry, tally: Tally) -> rusqlite::Result<()> {
        let expires = self.rule(entry.limit).forgotten(tally);
        connection
            .prepare_cached(
                "INSERT INTO throttle (key, failures, last, lasting, expires)
                 VALUES (?1, ?2, ?3, CASE WHEN ?4 IS NULL THEN 2 ELSE
                 EXISTS (SELECT 1 FROM authenticator WHERE subscriber = ?4) END, ?5)
                 ON CONFLICT (key) DO UPDATE SET failures = excluded.failures, last = excluded.last,
                 lasting = excluded.lasting, expires = excluded.expires",
            )?
            .execute(params![key, tally.failures, integer(tally.last), entry.subscriber, integer(expires)])?;
        if entry.stored.is_none() {
            let kind = match entry.limit {
                Limit::Subscriber => STRANGER,
                Limit::Source => SOURCE,
            };
            self.sweep(connection, kind, key, tally.last)?;
        }
        Ok(())
    }

    /// Forgets rows that have run out; one time in 256, those of `kind` beyond the number of traces, the soonest to run
    /// out first. Strangers' names and sources each have a number of their own: neither drives the other out.
    fn sweep(&self, connection: &Connection, kind: u8, key: &Key, now: UnixTime) -> rusqlite::Result<()> {
        for lasting in [STRANGER, ENROLLED, SOURCE] {
            connection
                .prepare_cached(
                    "DELETE FROM throttle WHERE key IN
                     (SELECT key FROM throttle WHERE lasting = ?1 AND expires <= ?2 ORDER BY expires LIMIT ?3)",
                )?
                .execute(params![lasting, integer(now), SWEEP])?;
        }
        if key.first() == Some(&0) {
            let traces: i64 = connection
                .prepare_cached("SELECT count(*) FROM throttle WHERE lasting = ?1")?
                .query_row([kind], |row| row.get(0))?;
            connection
                .prepare_cached(
                    "DELETE FROM throttle WHERE key IN
                     (SELECT key FROM throttle WHERE lasting = ?1 ORDER BY expires LIMIT ?2)",
                )?
                .execute(params![kind, traces.saturating_sub(self.limits.traces.into()).max(0)])?;
        }
        Ok(())
    }

    const fn rule(&self, limit: Limit) -> &Rule {
        match limit {
            Limit::Subscriber => &self.limits.subscriber,
            Limit::Source => &self.limits.source,
        }
    }
}

fn stored(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Tally>> {
    connection
        .prepare_cached("SELECT failures, last FROM throttle WHERE key = ?1")?
        .query_row(params![key], |row| {
            let last: i64 = row.get(1)?;
            Ok(Tally { failures: row.get(0)?, last: UnixTime(u64::try_from(last).unwrap_or(0)) })
        })
        .optional()
}

/// SQLite's integers are signed.
pub fn integer(time: UnixTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

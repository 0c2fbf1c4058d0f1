//! The counts behind the throttle: kept in memory for the length of a transaction, written once at its end.
//!
//! A success takes back what its attempt was charged, and sixty-four requests of one source change one row: only what
//! differs at the commit is written. Nobody else sees a count in between, since the transaction holds the store.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map;

use rusqlite::{Connection, OptionalExtension, params};

use crate::domain::claimant::Subscriber;
use crate::domain::outcome::Limit;
use crate::domain::time::UnixTime;
use crate::policy::throttle::{Place as KnownPlace, Rule, Tally, Turn};
use crate::store::columns::{Key, PLACES, Waits, counted, key, known_at, known_key, known_range};
use crate::store::{Counter, Credit, Limits, Origin, Ruling, UnlockKey};

// Rows of one subscriber are found by their keys: `+lasting` keeps SQLite from looking through all that are known instead.

/// How many rows that have run out are forgotten with each write.
const SWEEP: u32 = 16;

/// Reads one row. Whatever reads one reads it so: a process that starts for one login prepares the statement once.
const STORED: &str = "SELECT failures, last, expires FROM throttle WHERE key = ?1";

/// Forgets one row.
const FORGET: &str = "DELETE FROM throttle WHERE key = ?1";

/// What a row is about, in the column `lasting`: whose rows are forgotten beyond a number, and whose are not.
const STRANGER: u8 = 0;
const ENROLLED: u8 = 1;
const SOURCE: u8 = 2;
const KNOWN: u8 = 3;

pub struct Tallies {
    limits: Limits,
    salt: [u8; 16],
    /// By keys that are hashes already.
    open: RefCell<BTreeMap<Key, Entry>>,
    /// How many waits began, until somebody asks.
    pub began: Cell<u64>,
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
        Self { limits, salt, open: RefCell::new(BTreeMap::new()), began: Cell::new(0) }
    }

    pub fn standing(&self, connection: &Connection, origin: &Origin, now: UnixTime) -> rusqlite::Result<Ruling> {
        let mut waits = Waits::default();
        for (limit, name) in counted(origin) {
            let key = key(&self.salt, limit, origin.counter, name);
            let tally = match self.open.borrow().get(&key) {
                Some(entry) => entry.now,
                None => stored(connection, &key)?,
            };
            let rule = self.rule(limit);
            let wait = tally.and_then(|tally| rule.wait(rule.current(tally, now), now));
            waits.put(limit, wait);
        }
        let known = waits.is_for_subscriber_alone().then(|| self.heard_where_known(connection, origin, now));
        Ok(waits.ruling(known.transpose()?.flatten().is_some()))
    }

    pub fn charge(&self, connection: &Connection, origin: &Origin, now: UnixTime) -> rusqlite::Result<Ruling> {
        let mut waits = Waits::default();
        self.change(connection, origin, |rule, tally, limit| {
            let tally = tally.map(|tally| rule.current(tally, now));
            waits.put(limit, tally.and_then(|tally| rule.wait(tally, now)));
            tally
        })?;
        let known = waits.is_for_subscriber_alone().then(|| self.heard_where_known(connection, origin, now));
        let known = known.transpose()?.flatten();
        if let Some((key, tally)) = known {
            connection
                .prepare_cached("UPDATE throttle SET failures = ?2, last = ?3 WHERE key = ?1")?
                .execute(params![key, tally.failures, integer(tally.last)])?;
        }
        let ruling = waits.ruling(known.is_some());
        if ruling == Ruling::Heard {
            self.change(connection, origin, |rule, tally, _| Some(rule.charged(tally, now)))?;
        }
        Ok(ruling)
    }

    pub fn credit(&self, connection: &Connection, origin: &Origin, credit: Credit) -> rusqlite::Result<()> {
        let mut charged = None;
        self.change(connection, origin, |rule, tally, limit| {
            if limit == Limit::Subscriber {
                charged = tally;
            }
            tally.map(|tally| match (credit, limit) {
                (Credit::Success, Limit::Subscriber) => rule.forgiven(tally),
                // A success of one subscriber says nothing of what else comes from the same address.
                (Credit::Success, Limit::Source) | (Credit::Refund, Limit::Subscriber | Limit::Source) => {
                    rule.refunded(tally)
                }
            })
        })?;
        // Whom an administrator unlocked meanwhile has nothing to take back.
        charged.map_or(Ok(()), |charged| self.credit_where_known(connection, origin, credit, charged))
    }

    /// What stands in the row of `origin`'s known source after an attempt that is heard there; its key.
    fn heard_where_known(
        &self,
        connection: &Connection,
        origin: &Origin,
        now: UnixTime,
    ) -> rusqlite::Result<Option<(Key, Tally)>> {
        let Some((known, source)) = known_at(&self.limits, origin) else { return Ok(None) };
        let key = known_key(&self.salt, &origin.subscriber, source);
        let all = self.known(connection, &origin.subscriber)?;
        let own = all.iter().find(|(other, _)| *other == key).map(|(_, place)| *place);
        let heard = own.and_then(|own| known.heard(own, all.iter().map(|(_, place)| *place), now));
        Ok(heard.map(|tally| (key, tally)))
    }

    /// What is remembered of each source at which `subscriber` succeeded.
    fn known(&self, connection: &Connection, subscriber: &Subscriber) -> rusqlite::Result<Vec<(Key, KnownPlace)>> {
        let (first, last) = known_range(&self.salt, subscriber);
        let mut statement = connection.prepare_cached(
            "SELECT failures, last, expires, key FROM throttle WHERE key BETWEEN ?1 AND ?2 AND +lasting = ?3",
        )?;
        statement.query_map(params![first, last, KNOWN], |row| Ok((row.get(3)?, place(row)?)))?.collect()
    }

    /// Remembers where a subscriber succeeded, and takes back there what may have been counted there; `charged` is the
    /// subscriber's own tally before it was credited.
    fn credit_where_known(
        &self,
        connection: &Connection,
        origin: &Origin,
        credit: Credit,
        charged: Tally,
    ) -> rusqlite::Result<()> {
        let Some((known, source)) = known_at(&self.limits, origin) else { return Ok(()) };
        let may_be_there = self.limits.subscriber.may_have_waited(charged);
        if credit == Credit::Refund && !may_be_there {
            return Ok(());
        }
        let key = known_key(&self.salt, &origin.subscriber, source);
        let stored = connection.prepare_cached(STORED)?.query_row(params![key], place).optional()?;
        let next = match credit {
            Credit::Success => known.succeeded(stored, may_be_there, charged.last),
            Credit::Refund => stored.map(|place| known.refunded(place)),
        };
        let Some(KnownPlace { tally, expires }) = next else { return Ok(()) };
        if stored.is_some() {
            connection
                .prepare_cached("UPDATE throttle SET failures = ?2, expires = ?3 WHERE key = ?1")?
                .execute(params![key, tally.failures, integer(expires)])?;
            return Ok(());
        }
        let mut others = self.known(connection, &origin.subscriber)?;
        connection.prepare_cached("INSERT INTO throttle VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            key,
            tally.failures,
            integer(tally.last),
            KNOWN,
            integer(expires)
        ])?;
        // Those whose failures still count stay, and then those that were used last.
        others.sort_by_key(|(_, place)| std::cmp::Reverse((place.tally.failures > 0, place.expires)));
        for (surplus, _) in others.iter().skip(usize::from(PLACES.saturating_sub(1))) {
            connection.prepare_cached(FORGET)?.execute(params![surplus])?;
        }
        // The first half of the key is the subscriber's.
        if key.last().is_some_and(|byte| byte % 16 == 1) {
            forget_expired(connection, charged.last)?;
        }
        Ok(())
    }

    /// Forgets where `subscriber` succeeded.
    pub fn forget_known(&self, connection: &Connection, subscriber: &Subscriber) -> rusqlite::Result<()> {
        let (first, last) = known_range(&self.salt, subscriber);
        let statement = "DELETE FROM throttle WHERE key BETWEEN ?1 AND ?2 AND +lasting = ?3";
        connection.execute(statement, params![first, last, KNOWN]).map(drop)
    }

    pub fn unlock(&self, connection: &Connection, whose: UnlockKey<'_>) -> rusqlite::Result<bool> {
        let mut had = false;
        for counter in [Counter::Codes, Counter::LookUp] {
            let key = match whose {
                UnlockKey::Subscriber(subscriber) => key(&self.salt, Limit::Subscriber, counter, subscriber.as_str()),
                UnlockKey::Source(source) => key(&self.salt, Limit::Source, counter, source),
            };
            had |= self.open.borrow_mut().remove(&key).is_some();
            had |= connection.execute(FORGET, params![key])? > 0;
        }
        if let UnlockKey::Subscriber(subscriber) = whose {
            // They stay known where they are.
            let (first, last) = known_range(&self.salt, subscriber);
            let statement =
                "UPDATE throttle SET failures = 0 WHERE key BETWEEN ?1 AND ?2 AND +lasting = ?3 AND failures > 0";
            had |= connection.execute(statement, params![first, last, KNOWN])? > 0;
        }
        Ok(had)
    }

    /// Writes what has changed, into the transaction that is open.
    pub fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        for (key, entry) in self.open.borrow().iter().filter(|(_, entry)| entry.now != entry.stored) {
            if entry.limit == Limit::Subscriber
                && self.rule(entry.limit).turned(entry.stored, entry.now) == Some(Turn::Began)
            {
                self.began.set(self.began.get().saturating_add(1));
            }
            match entry.now {
                Some(tally) if tally.failures > 0 => self.put(connection, key, entry, tally)?,
                Some(_) | None if entry.stored.is_some() => {
                    connection.prepare_cached(FORGET)?.execute(params![key])?;
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
        forget_expired(connection, now)?;
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

/// Forgets some of the rows that have run out.
fn forget_expired(connection: &Connection, now: UnixTime) -> rusqlite::Result<()> {
    for lasting in [STRANGER, ENROLLED, SOURCE, KNOWN] {
        connection
            .prepare_cached(
                "DELETE FROM throttle WHERE key IN
                 (SELECT key FROM throttle WHERE lasting = ?1 AND expires <= ?2 ORDER BY expires LIMIT ?3)",
            )?
            .execute(params![lasting, integer(now), SWEEP])?;
    }
    Ok(())
}

fn stored(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Tally>> {
    let found = connection.prepare_cached(STORED)?.query_row(params![key], place).optional()?;
    Ok(found.map(|place| place.tally))
}

fn place(row: &rusqlite::Row<'_>) -> rusqlite::Result<KnownPlace> {
    let time = |index| row.get(index).map(|time: i64| UnixTime(u64::try_from(time).unwrap_or(0)));
    Ok(KnownPlace { tally: Tally { failures: row.get(0)?, last: time(1)? }, expires: time(2)? })
}

/// SQLite's integers are signed.
pub fn integer(time: UnixTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

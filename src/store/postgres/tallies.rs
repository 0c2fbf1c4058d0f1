//! The counts behind the throttle. A row is locked before it is read, so that nobody is heard beyond the limits by asking at
//! many gateways at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use deadpool_postgres::Transaction;
use tokio_postgres::{Error, Row};

use super::entry::Entry;
use super::rows::{Parameters, execute, integer, put, query, query_opt, time};
use crate::domain::claimant::Subscriber;
use crate::domain::outcome::Limit;
use crate::domain::time::UnixTime;
use crate::policy::throttle::{Place as KnownPlace, Rule, Tally, Turn};
use crate::store::columns::{Key, PLACES, Waits, counted, key, known_at, known_key, known_range};
use crate::store::{Counter, Credit, Limits, Origin, Ruling};

/// How many rows that have run out are forgotten with each new one.
const SWEEP: i64 = 16;

/// What a row is about, in the column `lasting`: whose rows are forgotten beyond a number, and whose are not.
const STRANGER: i16 = 0;
const ENROLLED: i16 = 1;
const SOURCE: i16 = 2;
const KNOWN: i16 = 3;

/// The limits, and under which hashes is counted.
#[derive(Clone, Debug)]
pub struct Tallies {
    pub limits: Limits,
    /// Has what names are hashed with.
    pub entry: Arc<Entry>,
    /// How many waits began, until somebody asks.
    pub began: Arc<AtomicU64>,
}

/// One of the rows that an attempt is counted in.
struct Place {
    key: Key,
    limit: Limit,
    /// The name to look up whether the row is to last; only of subscribers.
    subscriber: Option<String>,
}

impl Tallies {
    /// How long an attempt of `origin` would have to wait.
    pub async fn standing(&self, tx: &Transaction<'_>, origin: &Origin, now: UnixTime) -> Result<Ruling, Error> {
        let mut waits = Waits::default();
        for Place { key, limit, subscriber: _ } in self.places(origin) {
            let row = query_opt(tx, "SELECT failures, last FROM throttle WHERE key = $1", &[&key.as_slice()]).await?;
            let rule = self.rule(limit);
            let tally = row.as_ref().map(tally).transpose()?;
            waits.put(limit, tally.and_then(|tally| rule.wait(rule.current(tally, now), now)));
        }
        let known = match waits.is_for_subscriber_alone() {
            true => self.heard_where_known(tx, origin, now).await?,
            false => None,
        };
        Ok(waits.ruling(known.is_some()))
    }

    /// Counts an attempt of `origin`, or says how long it has to wait.
    pub async fn charge(&self, tx: &Transaction<'_>, origin: &Origin, now: UnixTime) -> Result<Ruling, Error> {
        let mut places = Vec::new();
        for place in self.in_order(origin) {
            // There from now on, and ours until the end of the transaction.
            let statement = "INSERT INTO throttle (key, failures, last, lasting, expires) VALUES ($1, 0, $2, $3, $4) \
                             ON CONFLICT (key) DO UPDATE SET failures = throttle.failures RETURNING failures, last";
            // Not one that has run out: nobody forgets it before it is written.
            let parameters: Parameters<'_> = &[&place.key.as_slice(), &integer(now), &place.kind(), &i64::MAX];
            let row = query_opt(tx, statement, parameters).await?;
            let tally = row.as_ref().map(tally).transpose()?.filter(|tally| tally.failures > 0);
            places.push((place, tally));
        }
        let mut waits = Waits::default();
        for (place, tally) in &places {
            let rule = self.rule(place.limit);
            waits.put(place.limit, tally.and_then(|tally| rule.wait(rule.current(tally, now), now)));
        }
        let known = match waits.is_for_subscriber_alone() {
            true => self.heard_where_known(tx, origin, now).await?,
            false => None,
        };
        let ruling = waits.ruling(known.is_some());
        if let Some((key, tally)) = known {
            let statement = "UPDATE throttle SET failures = $2, last = $3 WHERE key = $1";
            execute(tx, statement, &[&key.as_slice(), &i64::from(tally.failures), &integer(tally.last)]).await?;
        }
        for (place, tally) in &places {
            let rule = self.rule(place.limit);
            let (was, current) = (*tally, tally.map(|tally| rule.current(tally, now)));
            let next = if ruling == Ruling::Heard { Some(rule.charged(current, now)) } else { current };
            self.write(tx, place, was, next).await?;
        }
        Ok(ruling)
    }

    /// Takes back what was last charged to `origin`.
    pub async fn credit(&self, tx: &Transaction<'_>, origin: &Origin, credit: Credit) -> Result<(), Error> {
        let mut charged = None;
        for place in self.in_order(origin) {
            let statement = "SELECT failures, last FROM throttle WHERE key = $1 FOR UPDATE";
            let Some(row) = query_opt(tx, statement, &[&place.key.as_slice()]).await? else { continue };
            let (was, rule) = (tally(&row)?, self.rule(place.limit));
            if place.limit == Limit::Subscriber {
                charged = Some(was);
            }
            let next = match (credit, place.limit) {
                (Credit::Success, Limit::Subscriber) => rule.forgiven(was),
                // A success of one subscriber says nothing of what else comes from the same address.
                (Credit::Success, Limit::Source) | (Credit::Refund, Limit::Subscriber | Limit::Source) => {
                    rule.refunded(was)
                }
            };
            self.write(tx, &place, Some(was), Some(next)).await?;
        }
        // Whom an administrator unlocked meanwhile has nothing to take back.
        let Some(charged) = charged else { return Ok(()) };
        self.credit_where_known(tx, origin, credit, charged).await
    }

    /// What stands in the row of `origin`'s known source after an attempt that is heard there; its key.
    async fn heard_where_known(
        &self,
        tx: &Transaction<'_>,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<Option<(Key, Tally)>, Error> {
        let Some((known, source)) = known_at(&self.limits, origin) else { return Ok(None) };
        let key = known_key(&self.entry.salt(), &origin.subscriber, source);
        let (first, last) = known_range(&self.entry.salt(), &origin.subscriber);
        // Whoever counts holds the subscriber's own row, and nobody else changes these.
        let statement =
            "SELECT failures, last, expires, key FROM throttle WHERE key BETWEEN $1 AND $2 AND lasting = $3";
        let (mut own, mut all) = (None, Vec::new());
        for row in query(tx, statement, &[&first.as_slice(), &last.as_slice(), &KNOWN]).await? {
            let place = known_place(&row)?;
            own = if row.try_get::<_, &[u8]>(3)? == key { Some(place) } else { own };
            all.push(place);
        }
        Ok(own.and_then(|own| known.heard(own, all.into_iter(), now)).map(|tally| (key, tally)))
    }

    /// Remembers where a subscriber succeeded, and takes back there what may have been counted there; `charged` is the
    /// subscriber's own tally before it was credited.
    async fn credit_where_known(
        &self,
        tx: &Transaction<'_>,
        origin: &Origin,
        credit: Credit,
        charged: Tally,
    ) -> Result<(), Error> {
        let Some((known, source)) = known_at(&self.limits, origin) else { return Ok(()) };
        let may_be_there = self.limits.subscriber.may_have_waited(charged);
        if credit == Credit::Refund && !may_be_there {
            return Ok(());
        }
        let key = known_key(&self.entry.salt(), &origin.subscriber, source);
        let statement = "SELECT failures, last, expires FROM throttle WHERE key = $1 FOR UPDATE";
        let stored = query_opt(tx, statement, &[&key.as_slice()]).await?.as_ref().map(known_place).transpose()?;
        let next = match credit {
            Credit::Success => known.succeeded(stored, may_be_there, charged.last),
            Credit::Refund => stored.map(|place| known.refunded(place)),
        };
        let Some(KnownPlace { tally, expires }) = next else { return Ok(()) };
        let statement = "INSERT INTO throttle (key, failures, last, lasting, expires) VALUES ($1, $2, $3, $4, $5) \
                         ON CONFLICT (key) DO UPDATE SET failures = excluded.failures, expires = excluded.expires";
        let (failures, last, expires) = (i64::from(tally.failures), integer(tally.last), integer(expires));
        execute(tx, statement, &[&key.as_slice(), &failures, &last, &KNOWN, &expires]).await?;
        if stored.is_none() {
            let (first, last) = known_range(&self.entry.salt(), &origin.subscriber);
            let statement = "DELETE FROM throttle WHERE key IN (SELECT key FROM throttle WHERE key BETWEEN $1 AND $2 \
                             AND lasting = $3 AND key <> $4 ORDER BY failures > 0 DESC, expires DESC OFFSET $5)";
            let (own, others) = (key.as_slice(), i64::from(PLACES.saturating_sub(1)));
            execute(tx, statement, &[&first.as_slice(), &last.as_slice(), &KNOWN, &own, &others]).await?;
            // The first half of the key is the subscriber's.
            forget_expired(tx, key.last(), charged.last).await?;
        }
        Ok(())
    }

    /// Forgets where `subscriber` succeeded.
    pub async fn forget_known(&self, tx: &Transaction<'_>, subscriber: &Subscriber) -> Result<(), Error> {
        let (first, last) = known_range(&self.entry.salt(), subscriber);
        let statement = "DELETE FROM throttle WHERE key BETWEEN $1 AND $2 AND lasting = $3";
        execute(tx, statement, &[&first.as_slice(), &last.as_slice(), &KNOWN]).await.map(drop)
    }

    /// Forgets the failures of `name`; says whether there were any.
    pub async fn unlock(&self, tx: &Transaction<'_>, limit: Limit, name: &str) -> Result<bool, Error> {
        let mut had = false;
        for counter in [Counter::Codes, Counter::LookUp] {
            let key = key(&self.entry.salt(), limit, counter, name);
            had |= execute(tx, "DELETE FROM throttle WHERE key = $1", &[&key.as_slice()]).await? > 0;
        }
        if limit == Limit::Subscriber {
            // They stay known where they are.
            let (first, last) = known_range(&self.entry.salt(), &Subscriber::canonical(name));
            let statement =
                "UPDATE throttle SET failures = 0 WHERE key BETWEEN $1 AND $2 AND lasting = $3 AND failures > 0";
            had |= execute(tx, statement, &[&first.as_slice(), &last.as_slice(), &KNOWN]).await? > 0;
        }
        Ok(had)
    }

    /// Writes `next` where the row holds `was`; one that holds nothing is no row.
    async fn write(
        &self,
        tx: &Transaction<'_>,
        place: &Place,
        was: Option<Tally>,
        next: Option<Tally>,
    ) -> Result<(), Error> {
        let key = place.key.as_slice();
        match self.rule(place.limit).turned(was, next).filter(|_| place.limit == Limit::Subscriber) {
            Some(Turn::Began) => drop(self.began.fetch_add(1, Ordering::Relaxed)),
            // A success, whose attempt was counted a moment ago.
            Some(Turn::Ended) => {
                let less = |began: u64| began.checked_sub(1);
                let _ = self.began.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            }
            None => {}
        }
        let Some(tally) = next.filter(|tally| tally.failures > 0) else {
            return execute(tx, "DELETE FROM throttle WHERE key = $1", &[&key]).await.map(drop);
        };
        if was == Some(tally) {
            return Ok(());
        }
        let expires = self.rule(place.limit).forgotten(tally);
        let (failures, last, expires) = (i64::from(tally.failures), integer(tally.last), integer(expires));
        match &place.subscriber {
            Some(name) => {
                let statement = "UPDATE throttle SET failures = $2, last = $3, expires = $4, lasting = CASE WHEN EXISTS \
                                 (SELECT 1 FROM authenticator WHERE subscriber = $5) THEN 1 ELSE 0 END WHERE key = $1";
                execute(tx, statement, &[&key, &failures, &last, &expires, &put(name)]).await?;
            }
            None => {
                let statement = "UPDATE throttle SET failures = $2, last = $3, expires = $4 WHERE key = $1";
                execute(tx, statement, &[&key, &failures, &last, &expires]).await?;
            }
        }
        if was.is_none() {
            self.sweep(tx, place.key, place.kind(), tally.last).await?;
        }
        Ok(())
    }

    /// Forgets rows that have run out; one time in 256, those of this kind beyond the number of traces, the soonest to run
    /// out first. What others hold at this moment is left to them.
    async fn sweep(&self, tx: &Transaction<'_>, key: Key, kind: i16, now: UnixTime) -> Result<(), Error> {
        let first = key.first();
        forget_expired(tx, first, now).await?;
        if first == Some(&0) {
            let row = query_opt(tx, "SELECT count(*) FROM throttle WHERE lasting = $1", &[&kind]).await?;
            let traces = row.map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
            let beyond = traces.saturating_sub(self.limits.traces.into()).max(0);
            let statement = "DELETE FROM throttle WHERE key IN (SELECT key FROM throttle WHERE lasting = $1 \
                             AND key <> $3 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED)";
            execute(tx, statement, &[&kind, &beyond, &key.as_slice()]).await?;
        }
        Ok(())
    }

    fn places(&self, origin: &Origin) -> impl Iterator<Item = Place> {
        counted(origin).map(|(limit, name)| Place {
            key: key(&self.entry.salt(), limit, origin.counter, name),
            limit,
            subscriber: matches!(limit, Limit::Subscriber).then(|| name.to_owned()),
        })
    }

    /// The same in the one order in which rows are locked, so that no two wait for each other.
    fn in_order(&self, origin: &Origin) -> Vec<Place> {
        let mut places: Vec<Place> = self.places(origin).collect();
        places.sort_by_key(|place| place.key);
        places
    }

    const fn rule(&self, limit: Limit) -> &Rule {
        match limit {
            Limit::Subscriber => &self.limits.subscriber,
            Limit::Source => &self.limits.source,
        }
    }
}

impl Place {
    const fn kind(&self) -> i16 {
        match self.limit {
            Limit::Subscriber => STRANGER,
            Limit::Source => SOURCE,
        }
    }
}

fn known_place(row: &Row) -> Result<KnownPlace, Error> {
    Ok(KnownPlace { tally: tally(row)?, expires: time(row, 2)? })
}

fn tally(row: &Row) -> Result<Tally, Error> {
    let failures = u32::try_from(row.try_get::<_, i64>(0)?).unwrap_or(u32::MAX);
    Ok(Tally { failures, last: time(row, 1)? })
}

/// Forgets many of the rows that have run out, one time in 16 by the `byte` of a hash.
async fn forget_expired(tx: &Transaction<'_>, byte: Option<&u8>, now: UnixTime) -> Result<(), Error> {
    if byte.is_none_or(|byte| byte % 16 != 1) {
        return Ok(());
    }
    for lasting in [STRANGER, ENROLLED, SOURCE, KNOWN] {
        let statement = "DELETE FROM throttle WHERE key IN (SELECT key FROM throttle WHERE lasting = $1 \
                         AND expires <= $2 ORDER BY expires LIMIT $3 FOR UPDATE SKIP LOCKED)";
        execute(tx, statement, &[&lasting, &integer(now), &(16 * SWEEP)]).await?;
    }
    Ok(())
}

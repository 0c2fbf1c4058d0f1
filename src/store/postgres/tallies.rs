//! The counts behind the throttle. A row is locked before it is read, so that nobody is heard beyond the limits by asking at
//! many gateways at once.

use deadpool_postgres::Transaction;
use tokio_postgres::{Error, Row};

use super::rows::{Parameters, execute, integer, put, query_opt, time};
use crate::domain::outcome::Limit;
use crate::domain::time::UnixTime;
use crate::policy::throttle::{Rule, Tally};
use crate::store::columns::{Key, counted, key};
use crate::store::{Counter, Credit, Limits, Origin, Ruling};

/// How many rows that have run out are forgotten with each new one.
const SWEEP: i64 = 16;

/// What a row is about, in the column `lasting`: whose rows are forgotten beyond a number, and whose are not.
const STRANGER: i16 = 0;
const ENROLLED: i16 = 1;
const SOURCE: i16 = 2;

/// The limits, and under which hashes is counted.
#[derive(Clone, Copy, Debug)]
pub struct Tallies {
    pub limits: Limits,
    pub salt: [u8; 16],
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
        for Place { key, limit, subscriber: _ } in self.places(origin) {
            let row = query_opt(tx, "SELECT failures, last FROM throttle WHERE key = $1", &[&key.as_slice()]).await?;
            let rule = self.rule(limit);
            let tally = row.as_ref().map(tally).transpose()?;
            if let Some(wait) = tally.and_then(|tally| rule.wait(rule.current(tally, now), now)) {
                return Ok(Ruling::Wait { wait, by: limit });
            }
        }
        Ok(Ruling::Heard)
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
        let waits = places.iter().filter_map(|(place, tally)| {
            let rule = self.rule(place.limit);
            let wait = rule.wait(rule.current((*tally)?, now), now)?;
            Some(Ruling::Wait { wait, by: place.limit })
        });
        // Of two reasons the subscriber's is told, as its own tally would.
        let ruling = waits.min_by_key(|ruling| match ruling {
            Ruling::Wait { wait: _, by: Limit::Subscriber } => 0,
            Ruling::Wait { wait: _, by: Limit::Source } | Ruling::Heard => 1,
        });
        for (place, tally) in &places {
            let rule = self.rule(place.limit);
            let (was, current) = (*tally, tally.map(|tally| rule.current(tally, now)));
            let next = if ruling.is_none() { Some(rule.charged(current, now)) } else { current };
            self.write(tx, place, was, next).await?;
        }
        Ok(ruling.unwrap_or(Ruling::Heard))
    }

    /// Takes back what was last charged to `origin`.
    pub async fn credit(&self, tx: &Transaction<'_>, origin: &Origin, credit: Credit) -> Result<(), Error> {
        for place in self.in_order(origin) {
            let statement = "SELECT failures, last FROM throttle WHERE key = $1 FOR UPDATE";
            let Some(row) = query_opt(tx, statement, &[&place.key.as_slice()]).await? else { continue };
            let (was, rule) = (tally(&row)?, self.rule(place.limit));
            let next = match (credit, place.limit) {
                (Credit::Success, Limit::Subscriber) => rule.forgiven(was),
                // A success of one subscriber says nothing of what else comes from the same address.
                (Credit::Success, Limit::Source) | (Credit::Refund, Limit::Subscriber | Limit::Source) => {
                    rule.refunded(was)
                }
            };
            self.write(tx, &place, Some(was), Some(next)).await?;
        }
        Ok(())
    }

    /// Forgets the failures of `name`; says whether there were any.
    pub async fn unlock(&self, tx: &Transaction<'_>, limit: Limit, name: &str) -> Result<bool, Error> {
        let mut had = false;
        for counter in [Counter::Codes, Counter::LookUp] {
            let key = key(&self.salt, limit, counter, name);
            had |= execute(tx, "DELETE FROM throttle WHERE key = $1", &[&key.as_slice()]).await? > 0;
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
            self.sweep(tx, place, tally.last).await?;
        }
        Ok(())
    }

    /// Forgets rows that have run out; one time in 256, those of this kind beyond the number of traces, the soonest to run
    /// out first. What others hold at this moment is left to them.
    async fn sweep(&self, tx: &Transaction<'_>, place: &Place, now: UnixTime) -> Result<(), Error> {
        let (first, kind) = (place.key.first(), place.kind());
        for lasting in [STRANGER, ENROLLED, SOURCE] {
            if first.is_some_and(|first| first % 16 == 1) {
                let statement = "DELETE FROM throttle WHERE key IN (SELECT key FROM throttle WHERE lasting = $1 \
                                 AND expires <= $2 ORDER BY expires LIMIT $3 FOR UPDATE SKIP LOCKED)";
                execute(tx, statement, &[&lasting, &integer(now), &(16 * SWEEP)]).await?;
            }
        }
        if first == Some(&0) {
            let row = query_opt(tx, "SELECT count(*) FROM throttle WHERE lasting = $1", &[&kind]).await?;
            let traces = row.map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
            let beyond = traces.saturating_sub(self.limits.traces.into()).max(0);
            let statement = "DELETE FROM throttle WHERE key IN (SELECT key FROM throttle WHERE lasting = $1 \
                             AND key <> $3 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED)";
            execute(tx, statement, &[&kind, &beyond, &place.key.as_slice()]).await?;
        }
        Ok(())
    }

    fn places(&self, origin: &Origin) -> impl Iterator<Item = Place> {
        counted(origin).map(|(limit, name)| Place {
            key: key(&self.salt, limit, origin.counter, name),
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

fn tally(row: &Row) -> Result<Tally, Error> {
    let failures = u32::try_from(row.try_get::<_, i64>(0)?).unwrap_or(u32::MAX);
    Ok(Tally { failures, last: time(row, 1)? })
}

//! The statements, one function an operation; each runs inside the transaction that its caller holds open.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::schema;
use super::tallies::integer;
use crate::domain::authenticator::{Authenticator, AuthenticatorId, Standing, Tombstone};
use crate::domain::challenge::{Challenge, ChallengeId, Purpose, State};
use crate::domain::claimant::Subscriber;
use crate::domain::time::UnixTime;
use crate::policy::cache::{CacheRule, Remembered};
use crate::store::columns::{Columns, KEPT, Unreadable};
use crate::store::{Added, Again, Consumed, RECOVERY, Rank, Renamed};

/// The columns that [`authenticator`] reads, from the id on.
const COLUMNS: &str = "id,label,algorithm,digits,period,sealed,last_step,created,last_used,kind,disabled,preferred";

pub fn of_subscriber(
    connection: &Connection,
    subscriber: &Subscriber,
    client: &str,
) -> rusqlite::Result<Vec<Authenticator>> {
    // Sorted here: a sorter in the statement costs every process more than these few rows.
    let mut found: Vec<Authenticator> = connection
        .prepare_cached(
            "SELECT id,label,algorithm,digits,period,sealed,last_step,created,last_used,kind,disabled,preferred
             FROM authenticator WHERE subscriber=?1 AND client=?2 AND disabled=0",
        )?
        .query_map(params![subscriber.as_str(), client], |row| {
            authenticator(row, 0, subscriber.clone(), client.to_owned())
        })?
        .collect::<rusqlite::Result<_>>()?;
    sort(&mut found);
    Ok(found)
}

pub fn all_of_subscriber(connection: &Connection, subscriber: &Subscriber) -> rusqlite::Result<Vec<Authenticator>> {
    let mut found: Vec<Authenticator> = connection
        .prepare_cached(&format!("SELECT client,{COLUMNS} FROM authenticator WHERE subscriber=?1"))?
        .query_map([subscriber.as_str()], |row| authenticator(row, 1, subscriber.clone(), row.get(0)?))?
        .collect::<rusqlite::Result<_>>()?;
    sort(&mut found);
    Ok(found)
}

/// Oldest first.
fn sort(found: &mut [Authenticator]) {
    found.sort_by(|a, b| (a.created, &a.id.0).cmp(&(b.created, &b.id.0)));
}

pub fn list(
    connection: &Connection,
    after: Option<&Authenticator>,
    limit: u32,
) -> rusqlite::Result<Vec<Authenticator>> {
    let (subscriber, id) = after.map_or(("", ""), |a| (a.subscriber.as_str(), a.id.0.as_str()));
    connection
        .prepare_cached(&format!(
            "SELECT subscriber,client,{COLUMNS} FROM authenticator
             WHERE (subscriber, id) > (?1, ?2) ORDER BY subscriber, id LIMIT ?3"
        ))?
        .query_map(params![subscriber, id, limit], |row| {
            authenticator(row, 2, Subscriber::canonical(&row.get::<_, String>(0)?), row.get(1)?)
        })?
        .collect()
}

pub fn consume_step(
    connection: &Connection,
    subscriber: &Subscriber,
    id: &AuthenticatorId,
    step: u64,
    now: UnixTime,
) -> rusqlite::Result<Consumed> {
    let step = i64::try_from(step).unwrap_or(i64::MAX);
    let changed = connection
        .prepare_cached(
            "UPDATE authenticator SET last_step = ?1, last_used = ?2 WHERE subscriber = ?3 AND id = ?4
             AND last_step < ?1 AND disabled = 0",
        )?
        .execute(params![step, integer(now), subscriber.as_str(), id.0])?;
    if changed == 1 {
        return Ok(Consumed::First);
    }
    let last: Option<i64> = connection
        .prepare_cached("SELECT last_step FROM authenticator WHERE subscriber = ?1 AND id = ?2 AND disabled = 0")?
        .query_row(params![subscriber.as_str(), id.0], |row| row.get(0))
        .optional()?;
    Ok(last.map_or(Consumed::Gone, |last| Consumed::Before { last: u64::try_from(last).unwrap_or(0) }))
}

/// Enrols each of `new` with the hashes of its recovery codes, or none of them.
pub fn add<'a>(
    connection: &Connection,
    new: impl Iterator<Item = (&'a Authenticator, &'a [Vec<u8>])> + Clone,
) -> rusqlite::Result<Added> {
    for (authenticator, _) in new.clone() {
        if label_is_taken(connection, authenticator)? {
            return Ok(Added::LabelTaken);
        }
        if authenticator.client == RECOVERY && is_enrolled(connection, &authenticator.subscriber, RECOVERY)? {
            return Ok(Added::NotFirst);
        }
    }
    for (authenticator, hashes) in new {
        insert(connection, authenticator)?;
        insert_hashes(connection, authenticator, hashes)?;
    }
    Ok(Added::Yes)
}

pub fn enrol(
    connection: &Connection,
    id: &ChallengeId,
    authenticator: &Authenticator,
    codes: Option<&(Authenticator, Vec<Vec<u8>>)>,
    rank: Rank,
    now: UnixTime,
) -> rusqlite::Result<Added> {
    if rank == Rank::First && is_enrolled(connection, &authenticator.subscriber, &authenticator.client)? {
        return Ok(Added::NotFirst);
    }
    if label_is_taken(connection, authenticator)? {
        return Ok(Added::LabelTaken);
    }
    if codes.is_some() && is_enrolled(connection, &authenticator.subscriber, RECOVERY)? {
        return Ok(Added::NotFirst);
    }
    if !move_challenge(connection, id, State::New, State::Used, now)? {
        return Ok(Added::ChallengeGone);
    }
    connection.pragma_update(None, "secure_delete", true)?;
    connection.execute("UPDATE challenge SET sealed = x'' WHERE id = ?1", [&id.0])?;
    insert(connection, authenticator)?;
    if let Some((set, hashes)) = codes {
        insert(connection, set)?;
        insert_hashes(connection, set, hashes)?;
    }
    Ok(Added::Yes)
}

pub fn label_is_taken(connection: &Connection, new: &Authenticator) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM authenticator WHERE subscriber = ?1 AND label = ?2")?
        .exists(params![new.subscriber.as_str(), new.label])
}

pub fn insert(connection: &Connection, new: &Authenticator) -> rusqlite::Result<()> {
    let Authenticator {
        id,
        subscriber,
        client,
        label,
        mechanism,
        sealed,
        last_step,
        created,
        last_used,
        standing,
        is_default,
    } = new;
    let Columns { kind, algorithm, digits, period } = Columns::of(mechanism);
    let last_step = last_step.map_or(-1, |step| i64::try_from(step).unwrap_or(i64::MAX));
    connection
        .prepare_cached(
            "INSERT INTO authenticator
             (subscriber, id, client, label, algorithm, digits, period, sealed, last_step, created, last_used,
              kind, disabled, preferred)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            subscriber.as_str(),
            id.0,
            client,
            label,
            algorithm,
            digits,
            i64::try_from(period).unwrap_or(i64::MAX),
            sealed,
            last_step,
            integer(*created),
            last_used.map(integer),
            kind,
            *standing == Standing::Disabled,
            is_default,
        ])
        .map(|_| ())
}

/// Whether the subscriber holds anything, disabled or not.
pub fn is_enrolled(connection: &Connection, subscriber: &Subscriber, client: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM authenticator WHERE subscriber = ?1 AND client = ?2")?
        .exists([subscriber.as_str(), client])
}

pub fn remove(
    connection: &Connection,
    subscriber: &Subscriber,
    id: &AuthenticatorId,
    now: UnixTime,
    reason: &str,
) -> rusqlite::Result<bool> {
    // What is deleted is overwritten, too.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.execute_batch(schema::TOMBSTONE)?;
    connection.execute(
        "INSERT OR REPLACE INTO tombstone (subscriber, id, client, label, created, removed, reason)
         SELECT subscriber, id, client, label, created, ?3, ?4 FROM authenticator WHERE subscriber = ?1 AND id = ?2",
        params![subscriber.as_str(), id.0, integer(now), reason],
    )?;
    connection.execute(
        "DELETE FROM recovery_code WHERE subscriber = ?1 AND EXISTS
         (SELECT 1 FROM authenticator WHERE subscriber = ?1 AND id = ?2 AND client = ?3)",
        params![subscriber.as_str(), id.0, RECOVERY],
    )?;
    let removed = connection
        .execute("DELETE FROM authenticator WHERE subscriber = ?1 AND id = ?2", params![subscriber.as_str(), id.0])?;
    forget_verifications(connection, subscriber)?;
    Ok(removed > 0)
}

pub fn tombstones(connection: &Connection, subscriber: &Subscriber) -> rusqlite::Result<Vec<Tombstone>> {
    if !schema::has_table(connection, "tombstone")? {
        return Ok(Vec::new());
    }
    connection
        .prepare_cached(
            "SELECT id, client, label, created, removed, reason FROM tombstone WHERE subscriber = ?1
             ORDER BY removed, id",
        )?
        .query_map([subscriber.as_str()], |row| {
            Ok(Tombstone {
                id: AuthenticatorId(row.get(0)?),
                client: row.get(1)?,
                label: row.get(2)?,
                created: time(row, 3)?,
                removed: time(row, 4)?,
                reason: row.get(5)?,
            })
        })?
        .collect()
}

pub fn rename(
    connection: &Connection,
    subscriber: &Subscriber,
    id: &AuthenticatorId,
    label: &str,
) -> rusqlite::Result<Renamed> {
    let is_taken = connection
        .prepare_cached("SELECT 1 FROM authenticator WHERE subscriber = ?1 AND label = ?2 AND id <> ?3")?
        .exists(params![subscriber.as_str(), label, id.0])?;
    if is_taken {
        return Ok(Renamed::LabelTaken);
    }
    let changed = connection.execute(
        "UPDATE authenticator SET label = ?3 WHERE subscriber = ?1 AND id = ?2",
        params![subscriber.as_str(), id.0, label],
    )?;
    Ok(if changed == 1 { Renamed::Yes } else { Renamed::Gone })
}

pub fn set_standing(
    connection: &Connection,
    subscriber: &Subscriber,
    id: &AuthenticatorId,
    standing: Standing,
) -> rusqlite::Result<bool> {
    let changed = connection.execute(
        "UPDATE authenticator SET disabled = ?3, preferred = preferred AND NOT ?3 WHERE subscriber = ?1 AND id = ?2",
        params![subscriber.as_str(), id.0, standing == Standing::Disabled],
    )?;
    forget_verifications(connection, subscriber)?;
    Ok(changed == 1)
}

pub fn set_default(
    connection: &Connection,
    subscriber: &Subscriber,
    id: Option<&AuthenticatorId>,
) -> rusqlite::Result<bool> {
    let wanted = id.map(|id| id.0.as_str());
    if let Some(wanted) = wanted {
        let is_there = connection
            .prepare_cached("SELECT 1 FROM authenticator WHERE subscriber = ?1 AND id = ?2 AND disabled = 0")?
            .exists([subscriber.as_str(), wanted])?;
        if !is_there {
            return Ok(false);
        }
    }
    connection.execute(
        "UPDATE authenticator SET preferred = ifnull(id = ?2, 0) WHERE subscriber = ?1",
        params![subscriber.as_str(), wanted],
    )?;
    Ok(true)
}

/// What was verified before something was taken away is good no more.
fn forget_verifications(connection: &Connection, subscriber: &Subscriber) -> rusqlite::Result<()> {
    if schema::has_table(connection, "verified")? {
        connection.execute("DELETE FROM verified WHERE subscriber = ?1", [subscriber.as_str()])?;
    }
    Ok(())
}

pub fn reseal(connection: &Connection, old: &Authenticator, new: &[u8]) -> rusqlite::Result<bool> {
    let changed = connection
        .prepare_cached("UPDATE authenticator SET sealed = ?1 WHERE subscriber = ?2 AND id = ?3 AND sealed = ?4")?
        .execute(params![new, old.subscriber.as_str(), old.id.0, old.sealed])?;
    Ok(changed == 1)
}

pub fn open_challenge(connection: &Connection, new: &Challenge) -> rusqlite::Result<()> {
    let Challenge { id, subscriber, purpose, binding, sealed, state, created, expires, tries_left } = new;
    let forgotten = UnixTime(created.0.saturating_sub(KEPT));
    connection.execute("DELETE FROM challenge WHERE expires <= ?1", [integer(forgotten)])?;
    connection
        .execute(
            "INSERT INTO challenge (id, subscriber, purpose, binding, sealed, state, created, expires, tries_left)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                id.0,
                subscriber.as_str(),
                purpose.word(),
                binding,
                sealed,
                state.word(),
                integer(*created),
                integer(*expires),
                tries_left
            ],
        )
        .map(|_| ())
}

pub fn challenge(connection: &Connection, id: &ChallengeId, now: UnixTime) -> rusqlite::Result<Option<Challenge>> {
    connection
        .query_row(
            "SELECT id, subscriber, purpose, binding, sealed, state, created, expires, tries_left
             FROM challenge WHERE id = ?1",
            [&id.0],
            |row| challenge_of(row, now),
        )
        .optional()
}

pub fn challenges(
    connection: &Connection,
    purpose: Purpose,
    after: Option<&ChallengeId>,
    limit: u32,
    now: UnixTime,
) -> rusqlite::Result<Vec<Challenge>> {
    connection
        .prepare_cached(
            "SELECT id, subscriber, purpose, binding, sealed, state, created, expires, tries_left
             FROM challenge WHERE purpose = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
        )?
        .query_map(params![purpose.word(), after.map_or("", |id| &id.0), limit], |row| challenge_of(row, now))?
        .collect()
}

pub fn forget_challenges(connection: &Connection, now: UnixTime) -> rusqlite::Result<usize> {
    connection.execute(
        "DELETE FROM challenge WHERE expires <= ?1 OR state IN ('used', 'failed', 'expired', 'cancelled')",
        [integer(now)],
    )
}

pub fn try_challenge(connection: &Connection, id: &ChallengeId, now: UnixTime) -> rusqlite::Result<Option<u32>> {
    connection
        .query_row(
            "UPDATE challenge SET tries_left = tries_left - 1
             WHERE id = ?1 AND state IN ('new', 'in_process') AND expires > ?2 AND tries_left > 0
             RETURNING tries_left",
            params![id.0, integer(now)],
            |row| row.get(0),
        )
        .optional()
}

pub fn move_challenge(
    connection: &Connection,
    id: &ChallengeId,
    from: State,
    to: State,
    now: UnixTime,
) -> rusqlite::Result<bool> {
    if from.is_final() {
        return Ok(false);
    }
    let changed = connection.execute(
        "UPDATE challenge SET state = ?1 WHERE id = ?2 AND state = ?3 AND expires > ?4",
        params![to.word(), id.0, from.word(), integer(now)],
    )?;
    Ok(changed == 1)
}

pub fn set_recovery_codes(connection: &Connection, set: &Authenticator, hashes: &[Vec<u8>]) -> rusqlite::Result<()> {
    let subscriber = set.subscriber.as_str();
    connection.pragma_update(None, "secure_delete", true)?;
    connection.execute("DELETE FROM recovery_code WHERE subscriber = ?1", [subscriber])?;
    connection.execute("DELETE FROM authenticator WHERE subscriber = ?1 AND client = ?2", [subscriber, RECOVERY])?;
    insert(connection, set)?;
    insert_hashes(connection, set, hashes)
}

fn insert_hashes(connection: &Connection, set: &Authenticator, hashes: &[Vec<u8>]) -> rusqlite::Result<()> {
    for hash in hashes {
        connection
            .prepare_cached("INSERT INTO recovery_code (subscriber, hash, created) VALUES (?1, ?2, ?3)")?
            .execute(params![set.subscriber.as_str(), hash, integer(set.created)])?;
    }
    Ok(())
}

pub fn recovery_hashes(connection: &Connection, subscriber: &Subscriber) -> rusqlite::Result<Vec<Vec<u8>>> {
    connection
        .prepare_cached("SELECT hash FROM recovery_code WHERE subscriber = ?1 AND used IS NULL")?
        .query_map([subscriber.as_str()], |row| row.get(0))?
        .collect()
}

pub fn recovery_codes(connection: &Connection, subscriber: &Subscriber) -> rusqlite::Result<u32> {
    connection
        .prepare_cached("SELECT count(*) FROM recovery_code WHERE subscriber = ?1 AND used IS NULL")?
        .query_row([subscriber.as_str()], |row| row.get(0))
}

pub fn redeem_recovery_code(
    connection: &Connection,
    subscriber: &Subscriber,
    hash: &[u8],
    now: UnixTime,
) -> rusqlite::Result<Option<u32>> {
    let changed = connection.execute(
        "UPDATE recovery_code SET used = ?1 WHERE subscriber = ?2 AND hash = ?3 AND used IS NULL AND EXISTS
         (SELECT 1 FROM authenticator WHERE subscriber = ?2 AND client = ?4 AND disabled = 0)",
        params![integer(now), subscriber.as_str(), hash, RECOVERY],
    )?;
    if changed != 1 {
        return Ok(None);
    }
    connection.execute(
        "UPDATE authenticator SET last_used = ?1 WHERE subscriber = ?2 AND client = ?3",
        params![integer(now), subscriber.as_str(), RECOVERY],
    )?;
    recovery_codes(connection, subscriber).map(Some)
}

pub fn take_slot(
    connection: &Connection,
    key: &str,
    holder: &str,
    again: Again,
    limit: u32,
    now: UnixTime,
    expires: UnixTime,
) -> rusqlite::Result<bool> {
    // Whoever died with one left it; there never are many.
    connection.execute("DELETE FROM slot WHERE expires <= ?1", [integer(now)])?;
    let taken: u32 = connection.query_row(
        "SELECT count(*) FROM slot WHERE key = ?1 AND (holder <> ?2 OR ?3)",
        params![key, holder, again == Again::Counts],
        |row| row.get(0),
    )?;
    if taken >= limit {
        return Ok(false);
    }
    connection.execute(
        "INSERT INTO slot (key, holder, expires) VALUES (?1, ?2, ?3)
         ON CONFLICT (key, holder) DO UPDATE SET expires = excluded.expires",
        params![key, holder, integer(expires)],
    )?;
    Ok(true)
}

pub fn slots(connection: &Connection, key: &str, now: UnixTime) -> rusqlite::Result<Vec<(String, UnixTime)>> {
    let mut statement =
        connection.prepare_cached("SELECT holder, expires FROM slot WHERE key = ?1 AND expires > ?2")?;
    let rows = statement.query_map(params![key, integer(now)], |row| Ok((row.get(0)?, time(row, 1)?)))?;
    rows.collect()
}

pub fn clear_slots(connection: &Connection, key: &str) -> rusqlite::Result<bool> {
    Ok(connection.execute("DELETE FROM slot WHERE key = ?1", [key])? > 0)
}

pub fn release_slots(connection: &Connection, holder: &str) -> rusqlite::Result<bool> {
    Ok(connection.execute("DELETE FROM slot WHERE holder = ?1", [holder])? > 0)
}

pub fn verification(connection: &Connection, key: &[u8; 32]) -> rusqlite::Result<Option<Remembered>> {
    if !schema::has_table(connection, "verified")? {
        return Ok(None);
    }
    connection
        .prepare_cached("SELECT verified, used, uses FROM verified WHERE key = ?1")?
        .query_row([key], |row| {
            let UnixTime(verified) = time(row, 0)?;
            let UnixTime(used) = time(row, 1)?;
            Ok(Remembered { verified, used, uses: row.get(2)? })
        })
        .optional()
}

pub fn reuse_verification(
    connection: &Connection,
    key: &[u8; 32],
    rule: CacheRule,
    now: u64,
) -> rusqlite::Result<bool> {
    let Some(remembered) = verification(connection, key)? else { return Ok(false) };
    match rule.used(remembered, now) {
        Some(Remembered { verified: _, used, uses }) => {
            connection.prepare_cached("UPDATE verified SET used = ?2, uses = ?3 WHERE key = ?1")?.execute(params![
                key,
                integer(UnixTime(used)),
                uses
            ])?;
            Ok(true)
        }
        None => {
            connection.execute("DELETE FROM verified WHERE key = ?1", [key])?;
            Ok(false)
        }
    }
}

pub fn remember_verification(
    connection: &Connection,
    key: &[u8; 32],
    subscriber: &Subscriber,
    now: u64,
    expires: UnixTime,
) -> rusqlite::Result<()> {
    connection.execute_batch(schema::VERIFIED)?;
    // There are never more than were verified within the longest time that one is good for.
    connection.execute("DELETE FROM verified WHERE expires <= ?1", [integer(UnixTime(now / 1000))])?;
    connection
        .prepare_cached(
            "INSERT INTO verified (key, subscriber, verified, used, uses, expires) VALUES (?1, ?2, ?3, ?3, 0, ?4)
             ON CONFLICT (key) DO UPDATE SET subscriber = excluded.subscriber, verified = excluded.verified,
             used = excluded.used, uses = 0, expires = excluded.expires",
        )?
        .execute(params![key, subscriber.as_str(), integer(UnixTime(now)), integer(expires)])
        .map(|_| ())
}

fn challenge_of(row: &Row<'_>, now: UnixTime) -> rusqlite::Result<Challenge> {
    let (purpose, state): (String, String) = (row.get(2)?, row.get(5)?);
    let expires = time(row, 7)?;
    let state = State::ALL.into_iter().find(|s| s.word() == state).ok_or_else(|| unreadable(5))?;
    Ok(Challenge {
        id: ChallengeId(row.get(0)?),
        subscriber: Subscriber::canonical(&row.get::<_, String>(1)?),
        purpose: Purpose::ALL.into_iter().find(|p| p.word() == purpose).ok_or_else(|| unreadable(2))?,
        binding: row.get(3)?,
        sealed: row.get(4)?,
        state: if !state.is_final() && expires <= now { State::Expired } else { state },
        created: time(row, 6)?,
        expires,
        tries_left: row.get(8)?,
    })
}

/// An authenticator whose id and the columns behind it begin at `first`.
fn authenticator(
    row: &Row<'_>,
    first: usize,
    subscriber: Subscriber,
    client: String,
) -> rusqlite::Result<Authenticator> {
    let (period, last_step): (i64, i64) = (row.get(first + 4)?, row.get(first + 6)?);
    let columns = Columns {
        kind: row.get_ref(first + 9)?.as_str()?,
        algorithm: row.get_ref(first + 2)?.as_str()?,
        digits: row.get(first + 3)?,
        period: u64::try_from(period).map_err(|_| unreadable(first + 4))?,
    };
    let mechanism = columns.mechanism().map_err(|unreadable_column| {
        unreadable(match unreadable_column {
            Unreadable::Kind => first + 9,
            Unreadable::Algorithm => first + 2,
            Unreadable::Digits => first + 3,
        })
    })?;
    let (disabled, is_default): (bool, bool) = (row.get(first + 10)?, row.get(first + 11)?);
    let last_used: Option<i64> = row.get(first + 8)?;
    Ok(Authenticator {
        subscriber,
        id: AuthenticatorId(row.get(first)?),
        client,
        label: row.get(first + 1)?,
        mechanism,
        sealed: row.get(first + 5)?,
        last_step: u64::try_from(last_step).ok(),
        created: time(row, first + 7)?,
        last_used: last_used.and_then(|t| u64::try_from(t).ok()).map(UnixTime),
        standing: if disabled { Standing::Disabled } else { Standing::Active },
        is_default,
    })
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<UnixTime> {
    let seconds: i64 = row.get(column)?;
    Ok(UnixTime(u64::try_from(seconds).unwrap_or(0)))
}

/// A value that this program never wrote.
fn unreadable(column: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, "unknown value".into(), Type::Text)
}

//! The statements, one function an operation; each runs inside a transaction of its own.
//!
//! Each is right at every isolation level: what decides is a condition in the statement that changes the row, or a row that
//! was locked before anything was read. Where an engine isolates more than that, it may ask for the same again.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::future::Future;

use deadpool_postgres::Transaction;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use crate::domain::authenticator::{Authenticator, AuthenticatorId, Standing, Tombstone};
use crate::domain::challenge::{Challenge, ChallengeId, Purpose, State};
use crate::domain::claimant::Subscriber;
use crate::domain::time::UnixTime;
use crate::policy::cache::{CacheRule, Remembered};
use crate::store::columns::{Columns, KEPT};
use crate::store::{Added, Again, Consumed, RECOVERY, Rank, Renamed, StoreError};

/// The columns that [`authenticator`] reads.
const COLUMNS: &str = "subscriber, id, client, label, algorithm, digits, period, sealed, last_step, created, last_used, \
                       kind, disabled, preferred";

/// The columns that [`challenge_of`] reads.
const CHALLENGE: &str = "id, subscriber, purpose, binding, sealed, state, created, expires, tries_left";

/// How many guards there are.
const GUARDS: i64 = 1024;

/// How many statements are under way at once where there are many.
const UNDER_WAY: usize = 64;

/// What an operation found, where what it found may be nothing that this program wrote.
pub type Found<T> = Result<Result<T, StoreError>, Error>;

pub type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Runs a statement that changes rows; says how many.
pub async fn execute(tx: &Transaction<'_>, statement: &str, parameters: Parameters<'_>) -> Result<u64, Error> {
    let prepared = tx.prepare_cached(statement).await?;
    tx.execute(&prepared, parameters).await
}

/// Runs a statement that gives rows.
pub async fn query(tx: &Transaction<'_>, statement: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
    let prepared = tx.prepare_cached(statement).await?;
    tx.query(&prepared, parameters).await
}

/// The same, where it gives one row or none.
pub async fn query_opt(
    tx: &Transaction<'_>,
    statement: &str,
    parameters: Parameters<'_>,
) -> Result<Option<Row>, Error> {
    let prepared = tx.prepare_cached(statement).await?;
    tx.query_opt(&prepared, parameters).await
}

/// Runs all of `statements`, many under way at once: a connection sends the next without waiting for the answer to the last.
pub async fn run_all(
    statements: impl IntoIterator<Item = impl Future<Output = Result<(), Error>>>,
) -> Result<(), Error> {
    let all = stream::iter(statements).map(Ok);
    all.try_for_each_concurrent(UNDER_WAY, |statement| statement).await
}

/// `text` as the database takes it: it has no character NUL. Different texts stay different.
pub fn put(text: &str) -> Cow<'_, str> {
    if text.contains(['\0', '\\']) { text.replace('\\', "\\\\").replace('\0', "\\0").into() } else { text.into() }
}

/// The text that [`put`] made `text` of.
fn got(text: &str) -> String {
    let mut read = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.as_str().starts_with('0') => {
                rest.next();
                read.push('\0');
            }
            '\\' => read.extend(rest.next()),
            c => read.push(c),
        }
    }
    read
}

fn text(row: &Row, column: usize) -> Result<String, Error> {
    row.try_get::<_, &str>(column).map(got)
}

/// The database's integers are signed.
pub fn integer(time: UnixTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

pub fn time(row: &Row, column: usize) -> Result<UnixTime, Error> {
    row.try_get::<_, i64>(column).map(|seconds| UnixTime(u64::try_from(seconds).unwrap_or(0)))
}

/// Waits until nobody else changes what any of `names` stands for, until the transaction ends.
pub async fn guard<'n>(tx: &Transaction<'_>, names: impl IntoIterator<Item = &'n str>) -> Result<(), Error> {
    // In one order, so that no two wait for each other.
    let numbers: std::collections::BTreeSet<i64> = names.into_iter().map(guard_of).collect();
    for number in numbers {
        let statement =
            "INSERT INTO guard (number, turn) VALUES ($1, 0) ON CONFLICT (number) DO UPDATE SET turn = guard.turn + 1";
        execute(tx, statement, &[&number]).await?;
    }
    Ok(())
}

fn guard_of(name: &str) -> i64 {
    use std::hash::Hasher;
    let mut hash = siphasher::sip::SipHasher13::new();
    hash.write(name.as_bytes());
    i64::try_from(hash.finish() >> 1).unwrap_or(0) % GUARDS
}

pub async fn of_subscriber(tx: &Transaction<'_>, subscriber: &Subscriber, client: &str) -> Found<Vec<Authenticator>> {
    let statement = format!(
        "SELECT {COLUMNS} FROM authenticator WHERE subscriber = $1 AND client = $2 AND NOT disabled ORDER BY created, id"
    );
    all(&query(tx, &statement, &[&put(subscriber.as_str()), &put(client)]).await?)
}

pub async fn all_of_subscriber(tx: &Transaction<'_>, subscriber: &Subscriber) -> Found<Vec<Authenticator>> {
    let statement = format!("SELECT {COLUMNS} FROM authenticator WHERE subscriber = $1 ORDER BY created, id");
    all(&query(tx, &statement, &[&put(subscriber.as_str())]).await?)
}

pub async fn list(tx: &Transaction<'_>, after: Option<(&str, &str)>, limit: u32) -> Found<Vec<Authenticator>> {
    let (subscriber, id) = after.unwrap_or_default();
    let statement = format!(
        "SELECT {COLUMNS} FROM authenticator WHERE (subscriber, id) > ($1, $2) ORDER BY subscriber, id LIMIT $3"
    );
    all(&query(tx, &statement, &[&put(subscriber), &put(id), &i64::from(limit)]).await?)
}

fn all(rows: &[Row]) -> Found<Vec<Authenticator>> {
    let mut read = Vec::with_capacity(rows.len());
    for row in rows {
        match authenticator(row)? {
            Ok(authenticator) => read.push(authenticator),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(read))
}

pub async fn consume_step(
    tx: &Transaction<'_>,
    subscriber: &Subscriber,
    id: &AuthenticatorId,
    step: u64,
    now: UnixTime,
) -> Result<Consumed, Error> {
    let step = i64::try_from(step).unwrap_or(i64::MAX);
    let (subscriber, id) = (put(subscriber.as_str()), put(&id.0));
    let statement = "UPDATE authenticator SET last_step = $1, last_used = $2 WHERE subscriber = $3 AND id = $4 \
                     AND last_step < $1 AND NOT disabled";
    if execute(tx, statement, &[&step, &integer(now), &subscriber, &id]).await? == 1 {
        return Ok(Consumed::First);
    }
    let statement = "SELECT last_step FROM authenticator WHERE subscriber = $1 AND id = $2 AND NOT disabled";
    let Some(row) = query_opt(tx, statement, &[&subscriber, &id]).await? else { return Ok(Consumed::Gone) };
    Ok(Consumed::Before { last: u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0) })
}

/// Enrols each of `new` with the hashes of its recovery codes, or none of them.
pub async fn add(tx: &Transaction<'_>, new: &[(Authenticator, Vec<Vec<u8>>)]) -> Result<Added, Error> {
    guard(tx, new.iter().map(|(authenticator, _)| authenticator.subscriber.as_str())).await?;
    let mut labels = HashSet::new();
    for (authenticator, _) in new {
        if !labels.insert((&authenticator.subscriber, &authenticator.label)) {
            return Ok(Added::LabelTaken);
        }
    }
    let refusal = Cell::new(None);
    run_all(new.iter().map(async |(authenticator, _)| {
        if label_is_taken(tx, authenticator).await? {
            refusal.set(Some(Added::LabelTaken));
        } else if authenticator.client == RECOVERY && is_enrolled(tx, &authenticator.subscriber, RECOVERY).await? {
            refusal.set(Some(Added::NotFirst));
        }
        Ok(())
    }))
    .await?;
    if let Some(refusal) = refusal.into_inner() {
        return Ok(refusal);
    }
    run_all(new.iter().map(async |(authenticator, hashes)| {
        insert(tx, authenticator).await?;
        insert_hashes(tx, authenticator, hashes).await
    }))
    .await?;
    Ok(Added::Yes)
}

pub async fn enrol(
    tx: &Transaction<'_>,
    id: &ChallengeId,
    authenticator: &Authenticator,
    codes: Option<&(Authenticator, Vec<Vec<u8>>)>,
    rank: Rank,
    now: UnixTime,
) -> Result<Added, Error> {
    guard(tx, [authenticator.subscriber.as_str()]).await?;
    if rank == Rank::First && is_enrolled(tx, &authenticator.subscriber, &authenticator.client).await? {
        return Ok(Added::NotFirst);
    }
    if label_is_taken(tx, authenticator).await? {
        return Ok(Added::LabelTaken);
    }
    if codes.is_some() && is_enrolled(tx, &authenticator.subscriber, RECOVERY).await? {
        return Ok(Added::NotFirst);
    }
    if !move_challenge(tx, id, State::New, State::Used, now).await? {
        return Ok(Added::ChallengeGone);
    }
    let nothing: &[u8] = &[];
    execute(tx, "UPDATE challenge SET sealed = $2 WHERE id = $1", &[&put(&id.0), &nothing]).await?;
    insert(tx, authenticator).await?;
    if let Some((set, hashes)) = codes {
        insert(tx, set).await?;
        insert_hashes(tx, set, hashes).await?;
    }
    Ok(Added::Yes)
}

async fn label_is_taken(tx: &Transaction<'_>, new: &Authenticator) -> Result<bool, Error> {
    let statement = "SELECT 1 FROM authenticator WHERE subscriber = $1 AND label = $2";
    let found = query_opt(tx, statement, &[&put(new.subscriber.as_str()), &put(&new.label)]).await?;
    Ok(found.is_some())
}

/// Whether the subscriber holds anything of `client`, disabled or not.
async fn is_enrolled(tx: &Transaction<'_>, subscriber: &Subscriber, client: &str) -> Result<bool, Error> {
    let statement = "SELECT 1 FROM authenticator WHERE subscriber = $1 AND client = $2 LIMIT 1";
    Ok(query_opt(tx, statement, &[&put(subscriber.as_str()), &put(client)]).await?.is_some())
}

async fn insert(tx: &Transaction<'_>, new: &Authenticator) -> Result<(), Error> {
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
    let statement = format!(
        "INSERT INTO authenticator ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
    );
    let parameters: Parameters<'_> = &[
        &put(subscriber.as_str()),
        &put(&id.0),
        &put(client),
        &put(label),
        &algorithm,
        &i64::from(digits),
        &i64::try_from(period).unwrap_or(i64::MAX),
        sealed,
        &last_step,
        &integer(*created),
        &last_used.map(integer),
        &kind,
        &(*standing == Standing::Disabled),
        is_default,
    ];
    execute(tx, &statement, parameters).await.map(drop)
}

async fn insert_hashes(tx: &Transaction<'_>, set: &Authenticator, hashes: &[Vec<u8>]) -> Result<(), Error> {
    for hash in hashes {
        let statement = "INSERT INTO recovery_code (subscriber, hash, created) VALUES ($1, $2, $3)";
        execute(tx, statement, &[&put(set.subscriber.as_str()), hash, &integer(set.created)]).await?;
    }
    Ok(())
}

pub async fn remove(
    tx: &Transaction<'_>,
    subscriber: &Subscriber,
    id: &AuthenticatorId,
    now: UnixTime,
    reason: &str,
) -> Result<bool, Error> {
    guard(tx, [subscriber.as_str()]).await?;
    let (name, id) = (put(subscriber.as_str()), put(&id.0));
    let statement = "INSERT INTO tombstone (subscriber, id, client, label, created, removed, reason) \
                     SELECT subscriber, id, client, label, created, $3::BIGINT, $4::TEXT FROM authenticator \
                     WHERE subscriber = $1 AND id = $2 \
                     ON CONFLICT (subscriber, id) DO UPDATE SET removed = excluded.removed, reason = excluded.reason";
    execute(tx, statement, &[&name, &id, &integer(now), &put(reason)]).await?;
    let statement = "DELETE FROM recovery_code WHERE subscriber = $1 AND EXISTS \
                     (SELECT 1 FROM authenticator WHERE subscriber = $1 AND id = $2 AND client = $3)";
    execute(tx, statement, &[&name, &id, &RECOVERY]).await?;
    let removed = execute(tx, "DELETE FROM authenticator WHERE subscriber = $1 AND id = $2", &[&name, &id]).await?;
    forget_verifications(tx, subscriber).await?;
    Ok(removed > 0)
}

pub async fn tombstones(tx: &Transaction<'_>, subscriber: &Subscriber) -> Result<Vec<Tombstone>, Error> {
    let statement =
        "SELECT id, client, label, created, removed, reason FROM tombstone WHERE subscriber = $1 ORDER BY removed, id";
    let rows = query(tx, statement, &[&put(subscriber.as_str())]).await?;
    let read = |row: &Row| {
        Ok(Tombstone {
            id: AuthenticatorId(text(row, 0)?),
            client: text(row, 1)?,
            label: text(row, 2)?,
            created: time(row, 3)?,
            removed: time(row, 4)?,
            reason: text(row, 5)?,
        })
    };
    rows.iter().map(read).collect()
}

pub async fn rename(
    tx: &Transaction<'_>,
    subscriber: &Subscriber,
    id: &AuthenticatorId,
    label: &str,
) -> Result<Renamed, Error> {
    guard(tx, [subscriber.as_str()]).await?;
    let (name, id, label) = (put(subscriber.as_str()), put(&id.0), put(label));
    let statement = "SELECT 1 FROM authenticator WHERE subscriber = $1 AND label = $2 AND id <> $3";
    if query_opt(tx, statement, &[&name, &label, &id]).await?.is_some() {
        return Ok(Renamed::LabelTaken);
    }
    let statement = "UPDATE authenticator SET label = $3 WHERE subscriber = $1 AND id = $2";
    let changed = execute(tx, statement, &[&name, &id, &label]).await?;
    Ok(if changed == 1 { Renamed::Yes } else { Renamed::Gone })
}

pub async fn set_standing(
    tx: &Transaction<'_>,
    subscriber: &Subscriber,
    id: &AuthenticatorId,
    standing: Standing,
) -> Result<bool, Error> {
    guard(tx, [subscriber.as_str()]).await?;
    let statement = "UPDATE authenticator SET disabled = $3, preferred = preferred AND NOT $3 \
                     WHERE subscriber = $1 AND id = $2";
    let is_disabled = standing == Standing::Disabled;
    let changed = execute(tx, statement, &[&put(subscriber.as_str()), &put(&id.0), &is_disabled]).await?;
    forget_verifications(tx, subscriber).await?;
    Ok(changed == 1)
}

pub async fn set_default(
    tx: &Transaction<'_>,
    subscriber: &Subscriber,
    id: Option<&AuthenticatorId>,
) -> Result<bool, Error> {
    guard(tx, [subscriber.as_str()]).await?;
    let (name, wanted) = (put(subscriber.as_str()), id.map(|id| put(&id.0)));
    if let Some(wanted) = &wanted {
        let statement = "SELECT 1 FROM authenticator WHERE subscriber = $1 AND id = $2 AND NOT disabled";
        if query_opt(tx, statement, &[&name, wanted]).await?.is_none() {
            return Ok(false);
        }
    }
    let statement = "UPDATE authenticator SET preferred = coalesce(id = $2, false) WHERE subscriber = $1";
    execute(tx, statement, &[&name, &wanted]).await?;
    Ok(true)
}

/// What was verified before something was taken away is good no more.
async fn forget_verifications(tx: &Transaction<'_>, subscriber: &Subscriber) -> Result<(), Error> {
    execute(tx, "DELETE FROM verified WHERE subscriber = $1", &[&put(subscriber.as_str())]).await.map(drop)
}

pub async fn reseal(tx: &Transaction<'_>, old: &Authenticator, new: &[u8]) -> Result<bool, Error> {
    let statement = "UPDATE authenticator SET sealed = $1 WHERE subscriber = $2 AND id = $3 AND sealed = $4";
    let parameters: Parameters<'_> = &[&new, &put(old.subscriber.as_str()), &put(&old.id.0), &old.sealed];
    Ok(execute(tx, statement, parameters).await? == 1)
}

pub async fn open_challenge(tx: &Transaction<'_>, new: &Challenge) -> Result<(), Error> {
    let Challenge { id, subscriber, purpose, binding, sealed, state, created, expires, tries_left } = new;
    let forgotten = UnixTime(created.0.saturating_sub(KEPT));
    // What others are forgetting at this moment is left to them.
    let statement = "DELETE FROM challenge WHERE id IN (SELECT id FROM challenge WHERE expires <= $1 \
                     ORDER BY expires LIMIT 16 FOR UPDATE SKIP LOCKED)";
    execute(tx, statement, &[&integer(forgotten)]).await?;
    let statement = format!("INSERT INTO challenge ({CHALLENGE}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    let parameters: Parameters<'_> = &[
        &put(&id.0),
        &put(subscriber.as_str()),
        &purpose.word(),
        &put(binding),
        sealed,
        &state.word(),
        &integer(*created),
        &integer(*expires),
        &i64::from(*tries_left),
    ];
    execute(tx, &statement, parameters).await.map(drop)
}

pub async fn challenge(tx: &Transaction<'_>, id: &ChallengeId, now: UnixTime) -> Found<Option<Challenge>> {
    let row = query_opt(tx, &format!("SELECT {CHALLENGE} FROM challenge WHERE id = $1"), &[&put(&id.0)]).await?;
    Ok(match row {
        Some(row) => challenge_of(&row, now)?.map(Some),
        None => Ok(None),
    })
}

pub async fn challenges(
    tx: &Transaction<'_>,
    purpose: Purpose,
    after: Option<&ChallengeId>,
    limit: u32,
    now: UnixTime,
) -> Found<Vec<Challenge>> {
    let statement = format!("SELECT {CHALLENGE} FROM challenge WHERE purpose = $1 AND id > $2 ORDER BY id LIMIT $3");
    let after = after.map_or("", |id| &id.0);
    let rows = query(tx, &statement, &[&purpose.word(), &put(after), &i64::from(limit)]).await?;
    let mut read = Vec::with_capacity(rows.len());
    for row in &rows {
        match challenge_of(row, now)? {
            Ok(challenge) => read.push(challenge),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(read))
}

pub async fn forget_challenges(tx: &Transaction<'_>, now: UnixTime) -> Result<usize, Error> {
    let statement = "DELETE FROM challenge WHERE expires <= $1 OR state IN ('used', 'failed', 'expired', 'cancelled')";
    Ok(usize::try_from(execute(tx, statement, &[&integer(now)]).await?).unwrap_or(usize::MAX))
}

pub async fn try_challenge(tx: &Transaction<'_>, id: &ChallengeId, now: UnixTime) -> Result<Option<u32>, Error> {
    let statement = "UPDATE challenge SET tries_left = tries_left - 1 WHERE id = $1 AND state IN ('new', 'in_process') \
                     AND expires > $2 AND tries_left > 0 RETURNING tries_left";
    let Some(row) = query_opt(tx, statement, &[&put(&id.0), &integer(now)]).await? else { return Ok(None) };
    row.try_get::<_, i64>(0).map(|left| u32::try_from(left).ok())
}

pub async fn move_challenge(
    tx: &Transaction<'_>,
    id: &ChallengeId,
    from: State,
    to: State,
    now: UnixTime,
) -> Result<bool, Error> {
    if from.is_final() {
        return Ok(false);
    }
    let statement = "UPDATE challenge SET state = $1 WHERE id = $2 AND state = $3 AND expires > $4";
    Ok(execute(tx, statement, &[&to.word(), &put(&id.0), &from.word(), &integer(now)]).await? == 1)
}

pub async fn set_recovery_codes(tx: &Transaction<'_>, set: &Authenticator, hashes: &[Vec<u8>]) -> Result<(), Error> {
    guard(tx, [set.subscriber.as_str()]).await?;
    let name = put(set.subscriber.as_str());
    execute(tx, "DELETE FROM recovery_code WHERE subscriber = $1", &[&name]).await?;
    execute(tx, "DELETE FROM authenticator WHERE subscriber = $1 AND client = $2", &[&name, &RECOVERY]).await?;
    insert(tx, set).await?;
    insert_hashes(tx, set, hashes).await
}

pub async fn recovery_hashes(tx: &Transaction<'_>, subscriber: &Subscriber) -> Result<Vec<Vec<u8>>, Error> {
    let statement = "SELECT hash FROM recovery_code WHERE subscriber = $1 AND used IS NULL";
    let rows = query(tx, statement, &[&put(subscriber.as_str())]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

pub async fn recovery_codes(tx: &Transaction<'_>, subscriber: &Subscriber) -> Result<u32, Error> {
    let statement = "SELECT count(*) FROM recovery_code WHERE subscriber = $1 AND used IS NULL";
    count(tx, statement, &[&put(subscriber.as_str())]).await
}

async fn count(tx: &Transaction<'_>, statement: &str, parameters: Parameters<'_>) -> Result<u32, Error> {
    let Some(row) = query_opt(tx, statement, parameters).await? else { return Ok(0) };
    row.try_get::<_, i64>(0).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

pub async fn redeem_recovery_code(
    tx: &Transaction<'_>,
    subscriber: &Subscriber,
    hash: &[u8],
    now: UnixTime,
) -> Result<Option<u32>, Error> {
    // Together with whoever replaces, disables or removes the set.
    guard(tx, [subscriber.as_str()]).await?;
    let name = put(subscriber.as_str());
    let statement = "UPDATE recovery_code SET used = $1 WHERE subscriber = $2 AND hash = $3 AND used IS NULL AND EXISTS \
                     (SELECT 1 FROM authenticator WHERE subscriber = $2 AND client = $4 AND NOT disabled)";
    if execute(tx, statement, &[&integer(now), &name, &hash, &RECOVERY]).await? != 1 {
        return Ok(None);
    }
    let statement = "UPDATE authenticator SET last_used = $1 WHERE subscriber = $2 AND client = $3";
    execute(tx, statement, &[&integer(now), &name, &RECOVERY]).await?;
    recovery_codes(tx, subscriber).await.map(Some)
}

pub async fn take_slot(
    tx: &Transaction<'_>,
    (key, holder): (&str, &str),
    again: Again,
    limit: u32,
    now: UnixTime,
    expires: UnixTime,
) -> Result<bool, Error> {
    guard(tx, [key]).await?;
    let (key, holder) = (put(key), put(holder));
    // Whoever died with one left it; there never are many.
    let statement = "DELETE FROM slot WHERE (key, holder) IN (SELECT key, holder FROM slot WHERE expires <= $1 \
                     FOR UPDATE SKIP LOCKED)";
    execute(tx, statement, &[&integer(now)]).await?;
    let statement = "SELECT count(*) FROM slot WHERE key = $1 AND expires > $4 AND (holder <> $2 OR $3)";
    let counts = again == Again::Counts;
    if count(tx, statement, &[&key, &holder, &counts, &integer(now)]).await? >= limit {
        return Ok(false);
    }
    let statement = "INSERT INTO slot (key, holder, expires) VALUES ($1, $2, $3) \
                     ON CONFLICT (key, holder) DO UPDATE SET expires = excluded.expires";
    execute(tx, statement, &[&key, &holder, &integer(expires)]).await?;
    Ok(true)
}

pub async fn slots(tx: &Transaction<'_>, key: &str, now: UnixTime) -> Result<Vec<(String, UnixTime)>, Error> {
    let statement = "SELECT holder, expires FROM slot WHERE key = $1 AND expires > $2";
    let rows = query(tx, statement, &[&put(key), &integer(now)]).await?;
    rows.iter().map(|row| Ok((text(row, 0)?, time(row, 1)?))).collect()
}

pub async fn clear_slots(tx: &Transaction<'_>, key: &str) -> Result<bool, Error> {
    guard(tx, [key]).await?;
    Ok(execute(tx, "DELETE FROM slot WHERE key = $1", &[&put(key)]).await? > 0)
}

pub async fn release_slots(tx: &Transaction<'_>, holder: &str) -> Result<bool, Error> {
    Ok(execute(tx, "DELETE FROM slot WHERE holder = $1", &[&put(holder)]).await? > 0)
}

const VERIFICATION: &str = "SELECT verified, used, uses FROM verified WHERE key = $1";

fn remembered(row: &Row) -> Result<Remembered, Error> {
    let (UnixTime(verified), UnixTime(used)) = (time(row, 0)?, time(row, 1)?);
    let uses = u32::try_from(row.try_get::<_, i64>(2)?).unwrap_or(u32::MAX);
    Ok(Remembered { verified, used, uses })
}

pub async fn verification(tx: &Transaction<'_>, key: &[u8]) -> Result<Option<Remembered>, Error> {
    query_opt(tx, VERIFICATION, &[&key]).await?.as_ref().map(remembered).transpose()
}

pub async fn reuse_verification(tx: &Transaction<'_>, key: &[u8], rule: CacheRule, now: u64) -> Result<bool, Error> {
    let Some(row) = query_opt(tx, &format!("{VERIFICATION} FOR UPDATE"), &[&key]).await? else { return Ok(false) };
    match rule.used(remembered(&row)?, now) {
        Some(Remembered { verified: _, used, uses }) => {
            let statement = "UPDATE verified SET used = $2, uses = $3 WHERE key = $1";
            execute(tx, statement, &[&key, &integer(UnixTime(used)), &i64::from(uses)]).await?;
            Ok(true)
        }
        None => {
            execute(tx, "DELETE FROM verified WHERE key = $1", &[&key]).await?;
            Ok(false)
        }
    }
}

pub async fn remember_verification(
    tx: &Transaction<'_>,
    key: &[u8],
    subscriber: &Subscriber,
    now: u64,
    expires: UnixTime,
) -> Result<(), Error> {
    let statement = "DELETE FROM verified WHERE key IN (SELECT key FROM verified WHERE expires <= $1 \
                     ORDER BY expires LIMIT 16 FOR UPDATE SKIP LOCKED)";
    execute(tx, statement, &[&integer(UnixTime(now / 1000))]).await?;
    let statement = "INSERT INTO verified (key, subscriber, verified, used, uses, expires) VALUES ($1, $2, $3, $3, 0, $4) \
                     ON CONFLICT (key) DO UPDATE SET subscriber = excluded.subscriber, verified = excluded.verified, \
                     used = excluded.used, uses = 0, expires = excluded.expires";
    let parameters: Parameters<'_> = &[&key, &put(subscriber.as_str()), &integer(UnixTime(now)), &integer(expires)];
    execute(tx, statement, parameters).await.map(drop)
}

fn challenge_of(row: &Row, now: UnixTime) -> Found<Challenge> {
    let (purpose, state): (&str, &str) = (row.try_get(2)?, row.try_get(5)?);
    let expires = time(row, 7)?;
    let known = State::ALL
        .into_iter()
        .find(|known| known.word() == state)
        .zip(Purpose::ALL.into_iter().find(|known| known.word() == purpose));
    let Some((state, purpose)) = known else { return Ok(Err(unreadable("challenge"))) };
    Ok(Ok(Challenge {
        id: ChallengeId(text(row, 0)?),
        subscriber: Subscriber::canonical(&text(row, 1)?),
        purpose,
        binding: text(row, 3)?,
        sealed: row.try_get(4)?,
        state: if !state.is_final() && expires <= now { State::Expired } else { state },
        created: time(row, 6)?,
        expires,
        tries_left: u32::try_from(row.try_get::<_, i64>(8)?).unwrap_or(0),
    }))
}

fn authenticator(row: &Row) -> Found<Authenticator> {
    let (digits, period, last_step): (i64, i64, i64) = (row.try_get(5)?, row.try_get(6)?, row.try_get(8)?);
    let (Ok(digits), Ok(period)) = (u32::try_from(digits), u64::try_from(period)) else {
        return Ok(Err(unreadable("authenticator")));
    };
    let columns = Columns { kind: row.try_get(11)?, algorithm: row.try_get(4)?, digits, period };
    let Ok(mechanism) = columns.mechanism() else { return Ok(Err(unreadable("authenticator"))) };
    let last_used: Option<i64> = row.try_get(10)?;
    Ok(Ok(Authenticator {
        subscriber: Subscriber::canonical(&text(row, 0)?),
        id: AuthenticatorId(text(row, 1)?),
        client: text(row, 2)?,
        label: text(row, 3)?,
        mechanism,
        sealed: row.try_get(7)?,
        last_step: u64::try_from(last_step).ok(),
        created: time(row, 9)?,
        last_used: last_used.and_then(|time| u64::try_from(time).ok()).map(UnixTime),
        standing: if row.try_get(12)? { Standing::Disabled } else { Standing::Active },
        is_default: row.try_get(13)?,
    }))
}

/// A value that this program never wrote.
fn unreadable(table: &str) -> StoreError {
    StoreError::Damaged(format!("the table {table} holds what this program never wrote"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_and_no_two_are_one() {
        let texts = ["", "alice", "a\0b", "a\\0b", "\\", "\\\\", "\0", "\\\0", "0", "\\0"];
        for text in texts {
            assert!(!put(text).contains('\0'));
            assert_eq!(got(&put(text)), text);
            assert_eq!(texts.iter().filter(|other| put(other) == put(text)).count(), 1, "{text:?}");
        }
    }
}

//! What happens where a service is not reached: nothing, unless the configuration says otherwise.

use std::time::Duration;

use crate::client::{ClientError, Wired};
use crate::config::value::OnUnreachable;
use crate::domain::fault::Reach;
use crate::domain::time::UnixTime;
use crate::store::{Again, Store};

/// For how long an absence is remembered after the last login that was let in, in seconds: longer than any `degraded_for`.
const KEPT: u64 = 10 * 365 * 86_400;

/// What the configuration says for this error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resort {
    /// The error is the verdict.
    None,
    /// Let the claimant in without a second factor.
    Open,
    /// Ask the client of this section.
    Client(String),
}

/// What `wired` says for `error`.
pub fn resort(wired: &Wired, error: &ClientError) -> Resort {
    let ClientError::Unreachable(unreachable) = error else { return Resort::None };
    match (&wired.on_unreachable, unreachable.reach) {
        (OnUnreachable::Client(name), Reach::NotSent | Reach::Sent | Reach::Answered) => {
            Resort::Client(name.section().into_owned())
        }
        // Open only where not one byte can have reached the service: nothing that a claimant does brings that about.
        (OnUnreachable::Accept, Reach::NotSent) => Resort::Open,
        (OnUnreachable::Accept, Reach::Sent | Reach::Answered) | (OnUnreachable::Reject, _) => Resort::None,
    }
}

/// How many logins were let in since the service of `section` was there last, this one included, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    pub count: u64,
    pub since: Duration,
}

/// Counts a login that is let in while the service of `section` is away; `None` where `limit` is over, and it is not.
///
/// # Errors
/// Where the store cannot be written.
pub async fn count(
    store: &dyn Store,
    section: &str,
    limit: Option<Duration>,
    now: UnixTime,
) -> Result<Option<Absence>, ClientError> {
    let key = slot(section);
    // One row: since when, and how many.
    let rows = store.slots(&key, now).await?;
    let noted = rows.iter().filter_map(|(row, _)| {
        let (first, count) = row.split_once(' ')?;
        Some((first.parse().ok()?, count.parse().ok()?))
    });
    let (first, before): (u64, u64) = noted.min().unwrap_or((now.0, 0));
    // A clock that was set back does not make the time longer.
    if limit.is_some_and(|limit| now.0 < first || now.0 - first > limit.as_secs()) {
        return Ok(None);
    }
    let count = before.saturating_add(1);
    store.clear_slots(&key).await?;
    store.take_slot(&key, &format!("{first} {count}"), Again::Keeps, 1, now, now.plus(KEPT)).await?;
    Ok(Some(Absence { count, since: Duration::from_secs(now.0.saturating_sub(first)) }))
}

/// Forgets the absence of a service that is there again.
///
/// # Errors
/// Where the store cannot be read or written.
pub async fn over(store: &dyn Store, section: &str, now: UnixTime) -> Result<(), ClientError> {
    let key = slot(section);
    if !store.slots(&key, now).await?.is_empty() {
        store.clear_slots(&key).await?;
    }
    Ok(())
}

fn slot(section: &str) -> String {
    format!("degraded {section}")
}

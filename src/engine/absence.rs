//! What happens where a service is not reached: nothing, unless the configuration says otherwise.

use std::time::Duration;

use super::held;
use crate::client::{ClientError, Wired};
use crate::config::value::OnUnreachable;
use crate::domain::fault::Reach;
use crate::domain::time::UnixTime;
use crate::store::Store;

/// For how long one login that was let in counts to an absence that goes on, in seconds.
const COUNTED_FOR: u64 = 30 * 86_400;

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
    pub count: usize,
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
    let before = store.slots(&key, now).await?;
    let first = before.iter().map(|(_, expires)| UnixTime(expires.0.saturating_sub(COUNTED_FOR))).min();
    let since = Duration::from_secs(now.since(first.unwrap_or(now)));
    if limit.is_some_and(|limit| since > limit) {
        return Ok(None);
    }
    let holder = held::new_id()?.0;
    store.take_slot(&key, &holder, u32::MAX, now, now.plus(COUNTED_FOR)).await?;
    Ok(Some(Absence { count: before.len() + 1, since }))
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

//! Points in time, always handed in, never read here.

use std::time::{Duration, Instant};

/// Seconds since 1970-01-01 00:00:00 UTC, as every time that is stored or compared with an authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// This time moved on by `seconds`; stops at the end of time instead of wrapping.
    pub const fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Seconds from `earlier` to here; 0 where the clock was set back and `earlier` lies ahead.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What a decision may know of time: the wall clock for codes and expiries, the steady clock for the deadline.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// When the request was taken in, by the wall clock.
    pub now: UnixTime,
    /// The milliseconds of the second `now`, below 1000.
    pub millis: u16,
    /// When the verdict must have been written, by the steady clock.
    pub deadline: Instant,
    /// How long the whole verdict may take.
    pub allowance: Duration,
}

impl Moment {
    /// When the request was taken in, in milliseconds since 1970.
    pub fn unix_millis(&self) -> u64 {
        self.now.0.saturating_mul(1000).saturating_add(self.millis.into())
    }

    /// Until when a client may work, so that its finding still leaves as a verdict in time: a tenth of the allowance, at
    /// most half a second, before the deadline.
    pub fn until(&self) -> Instant {
        let spare = (self.allowance / 10).min(Duration::from_millis(500));
        self.deadline.checked_sub(spare).unwrap_or(self.deadline)
    }
}

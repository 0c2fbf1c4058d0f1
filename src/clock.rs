//! The one place that reads the clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::{Moment, UnixTime};

/// The wall clock.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's.
    System,
    /// One that stands still, for tests; programs that are built for use have no way to get it.
    #[cfg(debug_assertions)]
    Fixed(UnixTime, u16),
}

impl Clock {
    /// What time it is. Before 1970 it is 1970.
    pub fn now(self) -> UnixTime {
        match self {
            Self::System => UnixTime(since_1970().as_secs()),
            #[cfg(debug_assertions)]
            Self::Fixed(now, _) => now,
        }
    }

    /// Now, with `allowance` to answer.
    pub fn moment(self, allowance: Duration) -> Moment {
        let (now, millis) = match self {
            Self::System => {
                let since = since_1970();
                (UnixTime(since.as_secs()), u16::try_from(since.subsec_millis()).unwrap_or(0))
            }
            #[cfg(debug_assertions)]
            Self::Fixed(now, millis) => (now, millis),
        };
        Moment { now, millis, deadline: Instant::now() + allowance, allowance }
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// The moment `now` with `allowance` from here on: for what goes on after the time of its request is over.
pub fn extended(now: UnixTime, allowance: Duration) -> Moment {
    Moment { now, millis: 0, deadline: after(allowance), allowance }
}

/// The point in time that lies `duration` ahead.
pub fn after(duration: Duration) -> Instant {
    Instant::now() + duration
}

/// What time it is in the course of what began at `moment`, by its clock: then, and what passed since.
pub fn present(moment: &Moment) -> UnixTime {
    moment.now.plus(moment.allowance.saturating_sub(left(moment.deadline)).as_secs())
}

/// How long it is until `until`; nothing where that is over.
pub fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

//! The one place that reads the clocks.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::time::Sleep;

use crate::domain::time::{Moment, UnixTime};

/// The wall clock.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's.
    System,
    /// One that stands still, for tests; programs that are built for use have no way to get it.
    #[cfg(debug_assertions)]
    Fixed(UnixTime, u16),
    /// One that shows the seconds from 1970, or to it, that stand in a file, for tests in which a clock jumps.
    #[cfg(debug_assertions)]
    Shown(&'static std::path::Path),
}

impl Clock {
    /// What time it is. Before 1970 it is 1970.
    pub fn now(self) -> UnixTime {
        match self {
            Self::System => UnixTime(since_1970(SystemTime::now()).as_secs()),
            #[cfg(debug_assertions)]
            Self::Fixed(now, _) => now,
            #[cfg(debug_assertions)]
            Self::Shown(file) => UnixTime(since_1970(shown(file)).as_secs()),
        }
    }

    /// Now, with `allowance` to answer.
    pub fn moment(self, allowance: Duration) -> Moment {
        let (now, millis) = match self {
            Self::System => {
                let since = since_1970(SystemTime::now());
                (UnixTime(since.as_secs()), u16::try_from(since.subsec_millis()).unwrap_or(0))
            }
            #[cfg(debug_assertions)]
            Self::Fixed(now, millis) => (now, millis),
            #[cfg(debug_assertions)]
            Self::Shown(_) => (self.now(), 0),
        };
        Moment { now, millis, deadline: Instant::now() + allowance, allowance }
    }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// What `file` shows. The machine's time where it shows nothing.
#[cfg(debug_assertions)]
fn shown(file: &std::path::Path) -> SystemTime {
    let seconds: Option<i64> = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    let shown = seconds.and_then(|seconds| {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
    });
    shown.unwrap_or_else(SystemTime::now)
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

/// How often a heart beats.
const BEAT: Duration = Duration::from_millis(100);

/// For how long it may miss before the process was held up: stopped, starved, or by a disk.
const MISSED: Duration = Duration::from_millis(500);

/// Notices where this process was held up: what came meanwhile was not seen, and that nothing came means nothing then.
pub struct Heart {
    last: Instant,
    beat: Pin<Box<Sleep>>,
    /// Whether it was, since the heart began to beat.
    pub was_held_up: bool,
}

impl Heart {
    /// Begins to beat. It has to be polled whenever the task that it belongs to is.
    pub fn begin() -> Self {
        Self { last: Instant::now(), beat: Box::pin(tokio::time::sleep(BEAT)), was_held_up: false }
    }

    /// Looks whether a beat is missing, and has the task woken for the next.
    pub fn poll(&mut self, context: &mut Context<'_>) {
        let now = Instant::now();
        self.was_held_up |= now.saturating_duration_since(self.last) > MISSED;
        self.last = now;
        while self.beat.as_mut().poll(context).is_ready() {
            self.beat = Box::pin(tokio::time::sleep(BEAT));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_misses_a_beat_where_the_process_is_held_up_and_nowhere_else() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let beats = |held_up: Duration| {
            runtime.block_on(async move {
                let mut heart = Heart::begin();
                let mut rest = Box::pin(async move {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    std::thread::sleep(held_up);
                    tokio::time::sleep(Duration::from_millis(250)).await;
                });
                std::future::poll_fn(|context| {
                    heart.poll(context);
                    rest.as_mut().poll(context)
                })
                .await;
                heart.was_held_up
            })
        };
        assert!(beats(Duration::from_secs(1)));
        // A busy machine may hold anybody up; one time in some it does not.
        assert!((0..20).any(|_| !beats(Duration::ZERO)));
    }
}

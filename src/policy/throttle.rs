//! How long a subscriber or a source has to wait after failures.
//!
//! Every attempt is counted before it is verified. Up to `free` failures cost no wait; each further one doubles it,
//! from `first_wait` to `longest_wait`. One failure is forgotten in each `forget_after`, and a success takes its own
//! count and [`FORGIVEN`] failures back. A guesser who never succeeds is heard about `free + log2(longest / first)`
//! times and then once in `longest_wait`; the tests below show the sum for a week.

use std::time::Duration;

use crate::domain::time::UnixTime;

/// How many earlier failures a success takes back. Not all: between two logins of the rightful holder a guesser would
/// get `free` guesses each time.
pub const FORGIVEN: u32 = 2;

/// How far ahead of a request's time a tally may lie without a clock being wrong: the longest deadline, in seconds.
const AHEAD: u64 = 3600;

/// The limits for one kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Failures that cost no wait.
    pub free: u32,
    /// Seconds to wait after the first failure beyond these.
    pub first_wait: u64,
    /// The longest wait in seconds.
    pub longest_wait: u64,
    /// Seconds in which one failure is forgotten.
    pub forget_after: u64,
}

/// What is remembered of one key: a count, and when it was last raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub failures: u32,
    pub last: UnixTime,
}

impl Rule {
    /// How long the next attempt has to wait, if it has to.
    pub fn wait(&self, tally: Tally, now: UnixTime) -> Option<Duration> {
        let beyond = tally.failures.checked_sub(self.free).filter(|n| *n > 0)?;
        let factor = 1_u64.checked_shl(beyond - 1).unwrap_or(u64::MAX);
        let wait = self.first_wait.saturating_mul(factor).min(self.longest_wait);
        let left = wait.saturating_sub(now.since(tally.last));
        (left > 0).then(|| Duration::from_secs(left))
    }

    /// The tally after one more attempt, counted as a failure until it is credited.
    pub fn charged(&self, tally: Option<Tally>, now: UnixTime) -> Tally {
        // A request that waited its turn may be older than one that did not.
        let last = tally.map_or(now, |tally| tally.last.max(now));
        Tally { failures: self.remaining(tally, now).saturating_add(1), last }
    }

    /// The tally as it counts at `now`: one from the future was written before the clock was set back, and counts as of
    /// now, so that its wait runs once and not until the clock has caught up.
    pub fn current(&self, tally: Tally, now: UnixTime) -> Tally {
        let is_ahead = tally.last > now.plus(AHEAD);
        Tally { failures: tally.failures, last: if is_ahead { now } else { tally.last } }
    }

    /// The tally after the attempt that was charged last turned out to be no failure of the claimant.
    pub fn refunded(&self, tally: Tally) -> Tally {
        Tally { failures: tally.failures.saturating_sub(1), last: tally.last }
    }

    /// The tally after the attempt that was charged last succeeded.
    pub fn forgiven(&self, tally: Tally) -> Tally {
        Tally { failures: tally.failures.saturating_sub(1 + FORGIVEN), last: tally.last }
    }

    /// When nothing of the tally is left.
    pub fn forgotten(&self, tally: Tally) -> UnixTime {
        // Not before the longest wait is over.
        tally.last.plus(self.forget_after.saturating_mul(tally.failures.into()).max(self.longest_wait))
    }

    fn remaining(&self, tally: Option<Tally>, now: UnixTime) -> u32 {
        tally.map_or(0, |tally| {
            let forgotten = now.since(tally.last).checked_div(self.forget_after).unwrap_or(0);
            tally.failures.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: u64 = 7 * 24 * 3600;
    /// The defaults of `[throttle]`; a test of the configuration compares them.
    const SUBSCRIBER: Rule = Rule { free: 5, first_wait: 60, longest_wait: 43_200, forget_after: 43_200 };
    /// Three time steps are right at any moment, of a million codes.
    const CHANCE: f64 = 3e-6;

    /// How many guesses are heard in a week of trying every `interval` seconds; `login` is how often the holder succeeds.
    fn heard(rule: Rule, interval: u64, login: Option<u64>) -> u32 {
        let (mut tally, mut guesses) = (None, 0);
        for now in (0..WEEK).step_by(usize::try_from(interval).unwrap()).map(|t| UnixTime(1_800_000_000 + t)) {
            if tally.is_none_or(|t| rule.wait(t, now).is_none()) {
                tally = Some(rule.charged(tally, now));
                guesses += 1;
            }
            if login.is_some_and(|every| now.0 % every == 0) && tally.is_none_or(|t| rule.wait(t, now).is_none()) {
                tally = Some(rule.forgiven(rule.charged(tally, now)));
            }
        }
        guesses
    }

    #[test]
    fn a_week_of_guessing_every_window_succeeds_with_less_than_one_in_ten_thousand() {
        for interval in [1, 30, 60, 3600] {
            let guesses = heard(SUBSCRIBER, interval, None);
            let chance = 1.0 - (1.0 - CHANCE).powi(i32::try_from(guesses).unwrap());
            println!("a guess every {interval} s for a week: {guesses} heard, chance {chance:.2e}");
            assert!(chance < 1e-4, "{interval}: {guesses}");
        }
    }

    #[test]
    fn logins_of_the_holder_give_a_guesser_little() {
        // Ten logins a day: each gives back at most FORGIVEN guesses.
        let guesses = heard(SUBSCRIBER, 30, Some(8640));
        assert!(guesses <= heard(SUBSCRIBER, 30, None) + 70 * FORGIVEN, "{guesses}");
    }

    #[test]
    fn waits_double_up_to_the_longest_and_run_out() {
        let at = UnixTime(1000);
        let wait = |failures, now| SUBSCRIBER.wait(Tally { failures, last: at }, UnixTime(now)).map(|d| d.as_secs());
        assert_eq!(wait(5, 1000), None);
        assert_eq!(wait(6, 1000), Some(60));
        assert_eq!(wait(6, 1059), Some(1));
        assert_eq!(wait(6, 1060), None);
        assert_eq!(wait(7, 1000), Some(120));
        assert_eq!(wait(1_000_000, 1000), Some(43_200));
    }

    #[test]
    fn failures_are_forgotten_one_by_one() {
        let tally = Tally { failures: 3, last: UnixTime(0) };
        assert_eq!(SUBSCRIBER.charged(Some(tally), UnixTime(43_200)).failures, 3);
        assert_eq!(SUBSCRIBER.charged(Some(tally), UnixTime(10 * 43_200)).failures, 1);
        assert_eq!(SUBSCRIBER.forgotten(tally), UnixTime(3 * 43_200));
    }

    #[test]
    fn after_a_clock_that_was_ahead_the_wait_runs_once() {
        let ahead = Tally { failures: 6, last: UnixTime(30 * 86_400) };
        assert_eq!(SUBSCRIBER.current(ahead, UnixTime(1000)), Tally { failures: 6, last: UnixTime(1000) });
        let queued = Tally { failures: 6, last: UnixTime(1010) };
        assert_eq!(SUBSCRIBER.current(queued, UnixTime(1000)), queued);
        assert_eq!(SUBSCRIBER.charged(Some(queued), UnixTime(1000)).last, UnixTime(1010));
    }
}

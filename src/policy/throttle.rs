//! How long a subscriber or a source has to wait after failures.
//!
//! Every attempt is counted before it is verified. Up to `free` failures cost no wait; each further one doubles it,
//! from `first_wait` to `longest_wait`. One failure is forgotten in each `forget_after`, and a success takes its own
//! count and [`FORGIVEN`] failures back. A guesser who never succeeds is heard about `free + log2(longest / first)`
//! times and then once in `longest_wait`; the tests below show the sum for a week.

use std::collections::BTreeMap;
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

/// What is heard from the sources at which a subscriber succeeded lately, while others have made the subscriber wait: nobody
/// locks the rightful holder out from where they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// For how long after a success a source is known, in seconds.
    pub remembered: u64,
    /// How many failures are heard from one of them.
    pub failures: u32,
    /// How many are heard from all of them together.
    pub together: u32,
    /// Seconds in which one failure of a source is forgotten.
    pub forget_after: u64,
}

/// What is remembered of a source at which a subscriber succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub tally: Tally,
    /// Until when it is known.
    pub expires: UnixTime,
}

/// What becomes of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Began,
    Ended,
}

impl Known {
    /// What is remembered after an attempt from `own`, which is one of `all`, counted as a failure until it is credited; `None`
    /// where it is not heard.
    pub fn heard(&self, own: Place, all: impl Iterator<Item = Place>, now: UnixTime) -> Option<Tally> {
        let rule = self.rule();
        // A clock that was ahead does not make a source known for longer.
        let is_known = own.expires > now && own.expires <= now.plus(self.remembered).plus(AHEAD);
        let together = all.map(|place| rule.remaining(Some(place.tally), now)).fold(0, u32::saturating_add);
        let is_heard = is_known && rule.remaining(Some(own.tally), now) < self.failures && together < self.together;
        is_heard.then(|| rule.charged(Some(own.tally), now))
    }

    /// What is remembered of a source after a success at `now`; `None` where that is what is remembered already, or nearly.
    /// `was_charged` says whether the attempt may have been counted there.
    pub fn succeeded(&self, place: Option<Place>, was_charged: bool, now: UnixTime) -> Option<Place> {
        let expires = now.plus(self.remembered);
        let Some(place) = place else {
            return Some(Place { tally: Tally { failures: 0, last: now }, expires });
        };
        let tally = if was_charged { self.rule().forgiven(place.tally) } else { place.tally };
        // Not written at each login.
        let is_fresh = place.expires > now.plus(self.remembered / 2) && place.expires <= expires.plus(AHEAD);
        (tally != place.tally || !is_fresh).then_some(Place { tally, expires })
    }

    /// What is remembered of a source after what was counted there turned out to be no failure.
    pub fn refunded(&self, place: Place) -> Place {
        Place { tally: self.rule().refunded(place.tally), expires: place.expires }
    }

    const fn rule(&self) -> Rule {
        Rule {
            free: self.failures,
            first_wait: self.forget_after,
            longest_wait: self.forget_after,
            forget_after: self.forget_after,
        }
    }
}

impl Rule {
    /// Whether a wait began or ended between `was` and `is`.
    pub fn turned(&self, was: Option<Tally>, is: Option<Tally>) -> Option<Turn> {
        let waits = |tally: Option<Tally>| tally.is_some_and(|tally| tally.failures > self.free);
        match (waits(was), waits(is)) {
            (false, true) => Some(Turn::Began),
            (true, false) => Some(Turn::Ended),
            (false, false) | (true, true) => None,
        }
    }

    /// Whether the attempt that `tally` was charged for may have been heard though the subscriber had to wait.
    pub const fn may_have_waited(&self, tally: Tally) -> bool {
        tally.failures > self.free + 1
    }

    /// How many attempts are heard of somebody who never succeeds, tries whenever it pays off, and begins with nothing counted,
    /// within `span` seconds: the most that any plan of attack can reach.
    ///
    /// Tells for each number of attempts how early each count of failures can be reached; a guesser waits for as long as they
    /// have to, or until some more failures are forgotten.
    pub fn most_heard(&self, span: u64) -> u64 {
        // Beyond this, every wait is the longest.
        let top = u64::from(self.free) + 64;
        let mut earliest: BTreeMap<u64, u64> = BTreeMap::from([(1, 0)]);
        let mut heard = 1;
        loop {
            let mut next: BTreeMap<u64, u64> = BTreeMap::new();
            for (&failures, &at) in &earliest {
                let count = u32::try_from(failures).unwrap_or(u32::MAX);
                let wait = self.wait(Tally { failures: count, last: UnixTime(0) }, UnixTime(0));
                let wait = wait.map_or(0, |wait| wait.as_secs());
                let forgotten = wait.div_ceil(self.forget_after)..=failures;
                for pause in std::iter::once(wait).chain(forgotten.map(|n| n.saturating_mul(self.forget_after))) {
                    let left = failures.saturating_sub(pause / self.forget_after);
                    let (failures, at) = ((left + 1).min(top), at.saturating_add(pause));
                    if at < span {
                        next.entry(failures).and_modify(|known| *known = at.min(*known)).or_insert(at);
                    }
                }
            }
            if next.is_empty() {
                return heard;
            }
            (earliest, heard) = (next, heard + 1);
        }
    }

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
    const KNOWN: Known = Known { remembered: 2_592_000, failures: 3, together: 5, forget_after: 604_800 };
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
    fn nor_does_it_from_known_sources_nor_by_any_other_plan() {
        let guesses = SUBSCRIBER.most_heard(WEEK) + u64::from(KNOWN.together);
        let chance = 1.0 - (1.0 - CHANCE).powi(i32::try_from(guesses).unwrap());
        println!("the best plan for a week, known sources included: {guesses} heard, chance {chance:.2e}");
        assert_eq!(SUBSCRIBER.most_heard(WEEK), 28);
        assert!(guesses == 33 && chance < 1e-4, "{guesses}");
        // Where waiting for what is forgotten pays off.
        let slow = Rule { free: 1, first_wait: 60, longest_wait: 86_400, forget_after: 100 };
        assert_eq!(slow.most_heard(10_000), 102);
    }

    #[test]
    fn known_sources_have_a_budget_each_and_one_together() {
        let now = UnixTime(1_800_000_000);
        let place = |failures, last| Place { tally: Tally { failures, last: UnixTime(last) }, expires: now.plus(9) };
        let heard = |own: Place, others: &[Place]| KNOWN.heard(own, others.iter().copied().chain([own]), now);
        assert_eq!(heard(place(2, now.0), &[]).map(|tally| tally.failures), Some(3));
        assert_eq!(heard(place(3, now.0), &[]), None);
        assert_eq!(heard(place(3, now.0 - 604_800), &[]).map(|tally| tally.failures), Some(3), "one is forgotten");
        assert_eq!(heard(place(1, now.0), &[place(3, now.0)]).map(|tally| tally.failures), Some(2));
        assert_eq!(heard(place(1, now.0), &[place(3, now.0), place(1, now.0)]), None);
        assert_eq!(heard(Place { expires: now, ..place(0, 0) }, &[]), None, "not known any more");
        assert_eq!(
            heard(Place { expires: now.plus(2 * KNOWN.remembered), ..place(0, 0) }, &[]),
            None,
            "of another clock"
        );
        let new = KNOWN.succeeded(None, false, now).unwrap();
        assert_eq!(KNOWN.succeeded(Some(new), true, now.plus(86_400)), None, "nothing to write");
        assert!(KNOWN.succeeded(Some(new), false, now.plus(20 * 86_400)).is_some());
        let failed = Place { tally: Tally { failures: 3, last: now }, ..new };
        assert_eq!(KNOWN.succeeded(Some(failed), true, now).map(|place| place.tally.failures), Some(0));
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

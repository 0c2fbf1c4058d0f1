//! How long somebody who was verified needs no second factor from the same address.

/// How often a verification can be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    AtMost(u32),
    Unlimited,
}

/// The limits of `[authentication_cache]`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheRule {
    /// Since it was last used.
    pub soft: u64,
    /// Since the verification.
    pub hard: u64,
    pub reuse: Reuse,
}

/// What is remembered of a verification; times in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub verified: u64,
    pub used: u64,
    pub uses: u32,
}

impl CacheRule {
    /// What is remembered after one more use at `now`; `None` where it is good no more: used up, too old, or written when
    /// the clock was ahead of where it is now.
    pub fn used(&self, remembered: Remembered, now: u64) -> Option<Remembered> {
        let Remembered { verified, used, uses } = remembered;
        let uses = uses.checked_add(1)?;
        let is_left = match self.reuse {
            Reuse::AtMost(most) => uses <= most,
            Reuse::Unlimited => true,
        };
        let since_use = now.checked_sub(used)?;
        let since_verified = now.checked_sub(verified)?;
        let is_good = is_left && since_use <= self.soft && since_verified <= self.hard;
        is_good.then_some(Remembered { verified, used: now, uses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verification_is_good_up_to_each_limit_and_never_before_it_was_made() {
        let rule = CacheRule { soft: 15_000, hard: 90_000, reuse: Reuse::AtMost(2) };
        let fresh = Remembered { verified: 100_000, used: 100_000, uses: 0 };
        let once = rule.used(fresh, 115_000).unwrap();
        assert_eq!(once, Remembered { verified: 100_000, used: 115_000, uses: 1 });
        assert_eq!(rule.used(fresh, 115_001), None, "soft");
        assert_eq!(rule.used(once, 130_000).unwrap().uses, 2);
        assert_eq!(rule.used(rule.used(once, 130_000).unwrap(), 130_001), None, "used up");
        let endless = CacheRule { soft: 1_000_000, hard: 90_000, reuse: Reuse::Unlimited };
        assert!(endless.used(Remembered { uses: 9_000, ..fresh }, 190_000).is_some());
        assert_eq!(endless.used(fresh, 190_001), None, "hard");
        assert_eq!(endless.used(fresh, 99_999), None, "set back");
        assert_eq!(CacheRule { reuse: Reuse::AtMost(0), ..rule }.used(fresh, 100_000), None, "off");
    }
}

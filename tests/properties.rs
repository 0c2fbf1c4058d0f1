//! What holds for any numbers, names and times: the arithmetic of window, throttle, cache and names. `PROPTEST_CASES=N` tries
//! more of them. What fails is printed in its smallest form, and belongs into a test of its own.

use std::time::Duration;

use countersign::domain::authenticator::{Algorithm, Totp};
use countersign::domain::claimant::Subscriber;
use countersign::domain::secret::Secret;
use countersign::domain::time::UnixTime;
use countersign::otp::window::{FAR, Match, Verifier};
use countersign::policy::cache::{CacheRule, Remembered, Reuse};
use countersign::policy::mapping;
use countersign::policy::source::canonical_source;
use countersign::policy::throttle::{FORGIVEN, Rule, Tally};
use proptest::prelude::*;

/// Any time that a clock can show, the ends of what a number holds among them.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..100_000, 1_700_000_000_u64..1_900_000_000, any::<u64>(), Just(u64::MAX), Just(0)]
}

fn rule() -> impl Strategy<Value = Rule> {
    (1_u32..1000, 1_u64..86_400, 1_u64..700_000, 1_u64..700_000).prop_map(|(free, first, longest, forget)| Rule {
        free,
        first_wait: first,
        longest_wait: longest.max(first),
        forget_after: forget,
    })
}

fn parameters() -> impl Strategy<Value = Totp> {
    let algorithm = prop_oneof![Just(Algorithm::Sha1), Just(Algorithm::Sha256), Just(Algorithm::Sha512)];
    (algorithm, 6_u32..=8, 15_u64..=120).prop_map(|(algorithm, digits, period)| Totp { algorithm, digits, period })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_wait_is_never_longer_than_the_longest_and_over_when_it_is_over(
        rule in rule(), failures in any::<u32>(), last in time(), now in time(),
    ) {
        let tally = rule.current(Tally { failures, last: UnixTime(last) }, UnixTime(now));
        if let Some(wait) = rule.wait(tally, UnixTime(now)) {
            // One from a little ahead of now, which is no clock that was set back, waits from then on.
            let ahead = tally.last.since(UnixTime(now));
            prop_assert!(wait <= Duration::from_secs(rule.longest_wait) && failures > rule.free, "{wait:?}");
            let over = UnixTime(now).plus(wait.as_secs()).plus(ahead);
            prop_assert!(over.0 == u64::MAX || rule.wait(tally, over).is_none());
        }
    }

    #[test]
    fn an_attempt_is_counted_and_taking_it_back_leaves_nothing_else(
        rule in rule(), failures in 0_u32..u32::MAX, last in time(), now in time(),
    ) {
        let before = Tally { failures, last: UnixTime(last) };
        let charged = rule.charged(Some(before), UnixTime(now));
        prop_assert!(charged.failures >= 1 && charged.failures <= failures + 1 && charged.last >= before.last);
        prop_assert_eq!(rule.refunded(charged).failures, charged.failures - 1);
        prop_assert_eq!(rule.forgiven(charged).failures, charged.failures.saturating_sub(1 + FORGIVEN));
        prop_assert_eq!(rule.charged(None, UnixTime(now)).failures, 1);
        prop_assert!(rule.forgotten(charged) >= charged.last);
    }

    #[test]
    fn who_never_succeeds_is_heard_no_more_often_than_the_sum_says(
        rule in rule(), pauses in prop::collection::vec(0_u64..200_000, 1..300),
    ) {
        let (mut tally, mut now, mut heard) = (None, UnixTime(1_800_000_000), 0_u64);
        let began = now;
        for pause in pauses {
            now = now.plus(pause);
            if tally.is_none_or(|tally| rule.wait(tally, now).is_none()) {
                tally = Some(rule.charged(tally, now));
                heard += 1;
            }
        }
        // Those that are free, each doubling of the wait, what was forgotten meanwhile, and one for each longest wait.
        let doublings = u64::from((rule.longest_wait / rule.first_wait).max(1).ilog2()) + 2;
        let passed = now.since(began);
        let most = u64::from(rule.free) + doublings + passed / rule.forget_after + passed / rule.longest_wait + 1;
        prop_assert!(heard <= most, "{heard} heard, at most {most}");
        // Exactly, where that does not take long to compute.
        if rule.free < 20 && rule.forget_after > 3600 && rule.first_wait > 30 && passed < 2_000_000 {
            prop_assert!(heard <= rule.most_heard(passed + 1), "{heard} heard, at most {}", rule.most_heard(passed + 1));
        }
    }

    #[test]
    fn a_code_is_found_in_the_window_and_nowhere_else(
        parameters in parameters(), secret in prop::collection::vec(any::<u8>(), 16..64),
        now in prop_oneof![0_u64..100_000, 1_700_000_000_u64..1_900_000_000, 0..u64::MAX / 2], window in 0_u64..=FAR, offset in -20_i64..=20,
    ) {
        let verifier = Verifier::new(parameters, &Secret::new(secret)).unwrap();
        let step = verifier.step(UnixTime(now)).saturating_add_signed(offset);
        let code = verifier.code(step);
        let current = verifier.step(UnixTime(now));
        match verifier.find(&code, UnixTime(now), window) {
            Match::Step(found) => {
                prop_assert!(found.abs_diff(current) <= window);
                prop_assert_eq!(&*verifier.code(found), &*code);
            }
            Match::Outside { step: found, offset } => {
                prop_assert!(found.abs_diff(current) > window && found.abs_diff(current) <= FAR);
                prop_assert_eq!(current.saturating_add_signed(offset), found);
                prop_assert!(step.abs_diff(current) > window, "it was in the window");
            }
            Match::Nowhere => prop_assert!(step.abs_diff(current) > FAR),
        }
    }

    #[test]
    fn a_verification_is_never_good_before_it_was_made_nor_beyond_a_limit(
        soft in 0_u64..100_000, hard in 0_u64..100_000, most in 0_u32..20,
        verified in time(), used in time(), uses in any::<u32>(), now in time(),
    ) {
        let rule = CacheRule { soft, hard, reuse: Reuse::AtMost(most) };
        if let Some(after) = rule.used(Remembered { verified, used, uses }, now) {
            prop_assert!(now >= verified && now - verified <= hard && now >= used && now - used <= soft);
            prop_assert!(after.uses == uses + 1 && after.uses <= most && after.verified == verified && after.used == now);
        }
    }

    #[test]
    fn a_name_has_one_spelling(name in "\\PC{0,40}") {
        let canonical = Subscriber::canonical(&name);
        prop_assert_eq!(&Subscriber::canonical(canonical.as_str()), &canonical);
        prop_assert_eq!(&Subscriber::canonical(&format!(" {name}\t")), &canonical);
        if name.is_ascii() {
            prop_assert_eq!(&Subscriber::canonical(&name.to_ascii_uppercase()), &canonical);
        }
        prop_assert_eq!(&Subscriber::canonical(&name.replace(' ', "  ")), &canonical);
        if let Ok(enrollable) = Subscriber::enrollable(&name) {
            prop_assert_eq!(enrollable, canonical);
        }
    }

    #[test]
    fn however_a_name_is_dressed_up_it_is_counted_as_one(
        name in "[a-z\u{e0}-\u{f6}\u{3b1}-\u{3c1}\u{430}-\u{44f}]{1,12}", at in 0_usize..12, dress in 0_usize..9, any in "\\PC{0,40}",
    ) {
        let counted = |name: &str| Subscriber::canonical(name).counted().into_owned();
        let at = name.char_indices().map(|(at, _)| at).nth(at).unwrap_or(0);
        let (front, back) = name.split_at(at);
        let dressed = match dress {
            0 => name.to_uppercase(),
            1 => format!("\u{3000}{name} \t"),
            2 => format!("{name}. .."),
            3 => format!("{front}\u{200b}{back}"),
            4 => format!("{front}\u{feff}\u{2060}{back}\u{ad}"),
            5 => format!("{name}\u{3000}.\u{200d}"),
            6 => name.chars().map(|c| if c.is_ascii() { char::from_u32(u32::from(c) + 0xfee0).unwrap() } else { c }).collect(),
            7 => format!("{front}\u{e0041}{back}\u{fe0f}"),
            _ => format!("\u{202e}{name}\0"),
        };
        prop_assert_eq!(counted(&dressed), counted(&name), "{:?}", dressed);
        prop_assert_eq!(counted(&counted(&any)), counted(&any));
        let alike = |name: &str| Subscriber::canonical(name).alike().into_owned();
        prop_assert_eq!(alike(&format!("{dressed}\u{301}\u{308}")), alike(&name), "{:?}", dressed);
        // Of those who may be enrolled, nobody shares a count with anybody else.
        let enrolled = Subscriber::enrollable(&any).ok();
        prop_assert!(enrolled.is_none_or(|any| any.counted() == any.as_str()), "{:?}", any);
    }

    #[test]
    fn a_domain_is_put_behind_once(name in "[a-z@.]{0,20}", domain in "[a-z.]{1,20}") {
        let once = mapping::with_domain(name.clone(), Some(&domain));
        prop_assert!(once.starts_with(&name) && once.contains('@'));
        prop_assert_eq!(&mapping::with_domain(once.clone(), Some(&domain)), &once);
    }

    #[test]
    fn an_address_has_one_spelling(bits in any::<u128>(), text in "\\PC{0,40}") {
        let address = std::net::Ipv6Addr::from_bits(bits);
        prop_assert_eq!(canonical_source(&address.to_string()), canonical_source(&format!(" {} ", address).to_uppercase()));
        let canonical = canonical_source(&text);
        prop_assert_eq!(canonical_source(&canonical), canonical);
    }
}

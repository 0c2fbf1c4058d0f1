//! The contract of [`Store`] as tests: a backend passes all of them, opened as often as its users open it.

use std::sync::Barrier;
use std::thread;

use super::{
    Added, Again, Consumed, Counter, Credit, Limits, Mark, Origin, RECOVERY, Rank, Renamed, Ruling, Store, UnlockKey,
};
use crate::domain::authenticator::{Algorithm, Authenticator, AuthenticatorId, Hotp, Mechanism, Standing, Totp};
use crate::domain::challenge::{Challenge, ChallengeId, Purpose, State};
use crate::domain::claimant::Subscriber;
use crate::domain::time::UnixTime;
use crate::policy::cache::{CacheRule, Reuse};
use crate::policy::throttle::{Known, Rule};

/// Small limits, so that they are reached.
pub const LIMITS: Limits = Limits {
    subscriber: Rule { free: 3, first_wait: 60, longest_wait: 600, forget_after: 3600 },
    source: Rule { free: 10, first_wait: 5, longest_wait: 300, forget_after: 30 },
    known: Some(Known { remembered: 86_400, failures: 2, together: 3, forget_after: 43_200 }),
    traces: 100,
};

const NOW: UnixTime = UnixTime(1_800_000_000);

/// How many callers race.
const RACERS: usize = 16;

/// Makes a new empty store, and opens it as often as it is asked to.
pub trait Backend: Sync {
    fn open(&self) -> Box<dyn Store>;

    /// Whether what was not settled is lost with the process: it is gathered until then.
    fn gathers(&self) -> bool {
        true
    }

    /// How many names that nobody enrolled are tried.
    fn strangers(&self) -> u32 {
        20_000
    }
}

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Runs `operation`, and settles it as one caller would.
pub fn settled<T>(store: &dyn Store, operation: super::Answer<'_, T>) -> T {
    wait(async {
        let mark = store.mark();
        let answer = operation.await.unwrap();
        store.settle(mark).await.unwrap();
        answer
    })
}

fn alice() -> Subscriber {
    Subscriber::canonical("alice")
}

fn origin(name: &str, source: &str) -> Origin {
    Origin { subscriber: Subscriber::canonical(name), counter: Counter::Codes, source: Some(source.into()) }
}

fn authenticator(subscriber: &str, id: &str, label: &str) -> Authenticator {
    Authenticator {
        id: AuthenticatorId(id.into()),
        subscriber: Subscriber::canonical(subscriber),
        client: "totp".into(),
        label: label.into(),
        mechanism: Mechanism::Totp(Totp { algorithm: Algorithm::Sha256, digits: 8, period: 60 }),
        sealed: vec![1, 2, 3],
        last_step: None,
        created: NOW,
        last_used: None,
        standing: Standing::Active,
        is_default: false,
    }
}

fn challenge(id: &str) -> Challenge {
    Challenge {
        id: ChallengeId(id.into()),
        subscriber: alice(),
        purpose: Purpose::Enrol,
        binding: "phone".into(),
        sealed: vec![9],
        state: State::New,
        created: NOW,
        expires: NOW.plus(900),
        tries_left: 2,
    }
}

/// How many of [`RACERS`] callers, each with the store opened anew, are told that they were first.
fn firsts(backend: &dyn Backend, race: impl Fn(&dyn Store, usize) -> bool + Sync) -> usize {
    let start = Barrier::new(RACERS);
    thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                let (start, race) = (&start, &race);
                scope.spawn(move || {
                    let store = backend.open();
                    start.wait();
                    race(&*store, racer)
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).filter(|first| *first).count()
    })
}

/// Everything that the contract says.
pub fn holds(backend: &dyn Backend) {
    what_is_added_is_found(backend);
    a_step_is_consumed_once_and_never_goes_back(backend);
    attempts_are_counted_before_they_are_heard(backend);
    racing_attempts_are_heard_within_the_limit(backend);
    where_a_subscriber_is_known_a_few_attempts_are_heard(backend);
    of_many_sources_the_latest_are_known_and_nobody_elses_are_forgotten(backend);
    racing_attempts_from_a_known_source_are_heard_within_its_budget(backend);
    what_nobody_enrolled_leaves_bounded_traces(backend);
    challenges_go_forward_only(backend);
    challenges_are_listed_and_forgotten(backend);
    what_is_held_can_be_renamed_preferred_and_disabled(backend);
    recovery_codes_are_redeemed_once(backend);
    what_is_enrolled_with_recovery_codes_is_whole_or_nothing(backend);
    what_is_looked_up_is_counted_apart(backend);
    slots_are_taken_up_to_the_limit(backend);
    a_verification_is_used_again_as_often_as_the_rule_says(backend);
    if backend.gathers() {
        what_was_not_settled_is_not_there(backend);
    }
}

fn what_is_added_is_found(backend: &dyn Backend) {
    let store = backend.open();
    let (first, second) = (authenticator("alice", "a1", "phone"), authenticator("alice", "a2", "key"));
    assert_eq!(settled(&*store, store.add(&[first.clone(), second.clone()])), Added::Yes);
    assert_eq!(settled(&*store, store.add(&[authenticator("alice", "a3", "phone")])), Added::LabelTaken);
    assert_eq!(
        settled(&*store, store.add(&[authenticator("bob", "a1", "phone")])),
        Added::Yes,
        "ids are per subscriber"
    );

    let other = backend.open();
    let found = settled(&*other, other.authenticators(&alice(), "totp"));
    let shown: Vec<_> = found.iter().map(|a| (a.id.0.as_str(), a.label.as_str(), a.mechanism, a.last_step)).collect();
    assert_eq!(shown, [("a1", "phone", first.mechanism, None), ("a2", "key", second.mechanism, None)]);
    assert!(settled(&*other, other.authenticators(&alice(), "duo")).is_empty(), "each client has its own");

    let page = settled(&*other, other.list(None, 2));
    let rest = settled(&*other, other.list(page.last(), 10));
    let names: Vec<_> = page.iter().chain(&rest).map(|a| (a.subscriber.as_str(), a.id.0.as_str())).collect();
    assert_eq!(names, [("alice", "a1"), ("alice", "a2"), ("bob", "a1")]);

    assert!(settled(&*store, store.reseal(&first, &[7])));
    assert!(!settled(&*store, store.reseal(&first, &[8])), "it no longer is what it was");
    assert!(settled(&*store, store.remove(&alice(), &second.id, NOW.plus(9), "lost")));
    assert!(!settled(&*store, store.remove(&alice(), &second.id, NOW.plus(10), "again")));
    let left = settled(&*other, other.tombstones(&alice()));
    let shown: Vec<_> =
        left.iter().map(|t| (t.id.0.as_str(), t.label.as_str(), t.removed, t.reason.as_str())).collect();
    assert_eq!(shown, [("a2", "key", NOW.plus(9), "lost")]);

    settled(&*store, store.set_key_id([1, 2, 3, 4]));
    assert_eq!(settled(&*other, other.key_id()), [1, 2, 3, 4]);
}

fn a_step_is_consumed_once_and_never_goes_back(backend: &dyn Backend) {
    let store = backend.open();
    settled(&*store, store.add(&[authenticator("carol", "c", "phone")]));
    let (carol, id) = (Subscriber::canonical("carol"), AuthenticatorId("c".into()));
    let consume = |store: &dyn Store, step| settled(store, store.consume_step(&carol, &id, step, NOW));
    for step in [0, 100, 101] {
        assert_eq!(firsts(backend, |store, _| consume(store, step) == Consumed::First), 1, "step {step}");
    }
    assert_eq!(consume(&*store, 101), Consumed::Before { last: 101 });
    assert_eq!(consume(&*store, 50), Consumed::Before { last: 101 });
    let gone = AuthenticatorId("gone".into());
    assert_eq!(settled(&*store, store.consume_step(&carol, &gone, 1, NOW)), Consumed::Gone);
}

fn attempts_are_counted_before_they_are_heard(backend: &dyn Backend) {
    let store = backend.open();
    let dave = origin("dave", "192.0.2.1");
    let charge = |store: &dyn Store, now| settled(store, store.charge(&dave, now));
    let heard = |ruling: Ruling| ruling == Ruling::Heard;
    for _ in 0..=LIMITS.subscriber.free {
        assert!(heard(charge(&*backend.open(), NOW)), "counted across processes");
    }
    assert!(!heard(charge(&*store, NOW)));
    assert!(!heard(settled(&*store, store.standing(&dave, NOW))));
    assert!(heard(charge(&*store, NOW.plus(60))), "the wait is over");
    assert!(!heard(charge(&*store, NOW.plus(61))), "and twice as long");

    settled(&*store, store.credit(&dave, Credit::Success));
    assert!(heard(settled(&*store, store.standing(&dave, NOW.plus(62)))), "a success takes some back");
    assert!(settled(&*store, store.unlock(UnlockKey::Subscriber(&dave.subscriber))));
    assert!(!settled(&*store, store.unlock(UnlockKey::Subscriber(&dave.subscriber))));

    // A refund leaves nothing behind, and neither does a success that failed nothing before.
    let erin = origin("erin", "192.0.2.2");
    for credit in [Credit::Refund, Credit::Success] {
        for _ in 0..20 {
            wait(async {
                let mark = store.mark();
                assert!(heard(store.charge(&erin, NOW).await.unwrap()));
                store.credit(&erin, credit).await.unwrap();
                store.settle(mark).await.unwrap();
            });
        }
        assert!(!settled(&*store, store.unlock(UnlockKey::Subscriber(&erin.subscriber))), "{credit:?}");
    }
}

fn racing_attempts_are_heard_within_the_limit(backend: &dyn Backend) {
    let frank = origin("frank", "192.0.2.3");
    let heard = firsts(backend, |store, _| settled(store, store.charge(&frank, NOW)) == Ruling::Heard);
    assert_eq!(heard, usize::try_from(LIMITS.subscriber.free).unwrap() + 1);
    // One address, many names.
    let heard = firsts(backend, |store, racer| {
        settled(store, store.charge(&origin(&format!("name{racer}"), "192.0.2.4"), NOW)) == Ruling::Heard
    });
    assert_eq!(heard, usize::try_from(LIMITS.source.free).unwrap() + 1);
}

fn where_a_subscriber_is_known_a_few_attempts_are_heard(backend: &dyn Backend) {
    let store = backend.open();
    let (home, office, stranger) =
        (origin("ivan", "192.0.2.10"), origin("Ivan.", "192.0.2.11"), origin("ivan", "192.0.2.12"));
    let heard = |origin: &Origin, now| settled(&*store, store.charge(origin, now)) == Ruling::Heard;
    let would_be = |origin: &Origin, now| settled(&*store, store.standing(origin, now)) == Ruling::Heard;
    let succeed = |origin: &Origin, now| {
        assert!(heard(origin, now));
        settled(&*store, store.credit(origin, Credit::Success));
    };
    let lock = |now| while heard(&Origin { source: None, ..stranger.clone() }, now) {};
    for known in [&home, &office] {
        succeed(known, NOW);
    }
    lock(NOW);
    // From where nobody succeeded, and from nowhere, nothing is heard; nor what was handed out, which is counted apart.
    assert!(!would_be(&stranger, NOW) && !would_be(&Origin { source: None, ..home.clone() }, NOW));
    assert!(would_be(&home, NOW) && would_be(&office, NOW));
    // A success leaves the budget as it was, and strangers locked out.
    succeed(&home, NOW);
    lock(NOW);
    assert!(!would_be(&stranger, NOW));
    // Failures are counted for good, also across processes.
    let elsewhere = backend.open();
    assert!(heard(&home, NOW) && settled(&*elsewhere, elsewhere.charge(&home, NOW)) == Ruling::Heard);
    assert!(!heard(&home, NOW) && !would_be(&home, NOW), "the budget of one source");
    assert!(heard(&office, NOW));
    assert!(!heard(&office, NOW), "the budget of all together");
    // No failure: it is taken back.
    assert!(heard(&office, NOW.plus(43_200)), "each source has forgotten one, and the subscriber's wait is over");
    settled(&*store, store.credit(&office, Credit::Refund));
    lock(NOW.plus(43_201));
    assert!(
        heard(&office, NOW.plus(43_201)) && !would_be(&Origin { source: None, ..office.clone() }, NOW.plus(43_201))
    );
    // An unlocking forgets failures, and leaves known what is known.
    assert!(settled(&*store, store.unlock(UnlockKey::Subscriber(&home.subscriber))));
    assert!(!settled(&*store, store.unlock(UnlockKey::Subscriber(&home.subscriber))));
    lock(NOW.plus(43_202));
    assert!(would_be(&home, NOW.plus(43_202)));
    let after = NOW.plus(2 * 86_400);
    lock(after);
    assert!(!would_be(&home, after), "it succeeded too long ago");
    // What takes an authenticator away takes this, too.
    settled(&*store, store.unlock(UnlockKey::Subscriber(&home.subscriber)));
    settled(&*store, store.add(&[authenticator("ivan", "i", "phone")]));
    let id = AuthenticatorId("i".into());
    type Taking<'a> = &'a dyn Fn() -> bool;
    let disable: Taking<'_> = &|| settled(&*store, store.set_standing(&home.subscriber, &id, Standing::Disabled));
    let remove: Taking<'_> = &|| settled(&*store, store.remove(&home.subscriber, &id, after, "lost"));
    for take_away in [disable, remove] {
        succeed(&home, after);
        lock(after);
        assert!(would_be(&home, after));
        assert!(take_away());
        assert!(!would_be(&home, after));
        settled(&*store, store.unlock(UnlockKey::Subscriber(&home.subscriber)));
    }
    // Others are not touched by any of it.
    assert!(would_be(&origin("judas", "192.0.2.10"), after));
}

fn of_many_sources_the_latest_are_known_and_nobody_elses_are_forgotten(backend: &dyn Backend) {
    let store = backend.open();
    let other = origin("yolanda", "192.0.2.30");
    let at = |n: u8| origin("xavier", &format!("198.51.100.{n}"));
    let succeed = |origin: &Origin, now| {
        assert_eq!(settled(&*store, store.charge(origin, now)), Ruling::Heard);
        settled(&*store, store.credit(origin, Credit::Success));
    };
    succeed(&other, NOW);
    for n in 0..40 {
        succeed(&at(n), NOW.plus(n.into()));
    }
    let now = NOW.plus(60);
    for name in ["xavier", "yolanda"] {
        let nowhere = Origin { source: None, ..origin(name, "") };
        while settled(&*store, store.charge(&nowhere, now)) == Ruling::Heard {}
    }
    let heard = |origin: &Origin| settled(&*store, store.standing(origin, now)) == Ruling::Heard;
    let known: Vec<u8> = (0..40).filter(|n| heard(&at(*n))).collect();
    assert_eq!(known, (40 - 16..40).collect::<Vec<_>>());
    assert!(heard(&other));
}

fn racing_attempts_from_a_known_source_are_heard_within_its_budget(backend: &dyn Backend) {
    let store = backend.open();
    let (known, stranger) = (origin("ursula", "192.0.2.20"), origin("ursula", "192.0.2.21"));
    settled(&*store, store.charge(&known, NOW));
    settled(&*store, store.credit(&known, Credit::Success));
    while settled(&*store, store.charge(&stranger, NOW)) == Ruling::Heard {}
    let heard = firsts(backend, |store, _| settled(store, store.charge(&known, NOW)) == Ruling::Heard);
    assert_eq!(heard, 2);
}

fn what_nobody_enrolled_leaves_bounded_traces(backend: &dyn Backend) {
    let store = backend.open();
    settled(&*store, store.add(&[authenticator("grace", "g", "phone")]));
    let grace = Origin { subscriber: Subscriber::canonical("grace"), counter: Counter::Codes, source: None };
    settled(&*store, store.charge(&grace, NOW));
    let nobody = |n: u32| Origin {
        subscriber: Subscriber::canonical(&format!("nobody{n}")),
        counter: Counter::Codes,
        source: None,
    };
    let count = backend.strangers();
    wait(async {
        for n in 0..count {
            let mark = store.mark();
            store.charge(&nobody(n), NOW).await.unwrap();
            if n % 500 == 0 {
                store.settle(mark).await.unwrap();
            }
        }
        store.settle(Mark(u64::MAX)).await.unwrap();
    });
    let remembered =
        (0..count).filter(|n| settled(&*store, store.unlock(UnlockKey::Subscriber(&nobody(*n).subscriber)))).count();
    let most = usize::try_from(LIMITS.traces).unwrap() + 2000;
    assert!(remembered <= most, "{remembered} of {count}, at most {most}");
    assert!(
        settled(&*store, store.unlock(UnlockKey::Subscriber(&grace.subscriber))),
        "whoever is enrolled is not forgotten"
    );
}

fn challenges_go_forward_only(backend: &dyn Backend) {
    let store = backend.open();
    let open = |id: &str| settled(&*store, store.open_challenge(&challenge(id)));
    let state = |id: &str, now| settled(&*store, store.challenge(&ChallengeId(id.into()), now)).map(|c| c.state);
    open("c1");
    let found = settled(&*store, store.challenge(&ChallengeId("c1".into()), NOW)).unwrap();
    assert_eq!(
        (found.purpose, found.binding.as_str(), found.sealed, found.tries_left),
        (Purpose::Enrol, "phone", vec![9], 2)
    );
    assert_eq!(state("c1", NOW.plus(900)), Some(State::Expired));
    assert_eq!(state("unknown", NOW), None);

    let tries = |id: &str, now| settled(&*store, store.try_challenge(&ChallengeId(id.into()), now));
    assert_eq!(
        [tries("c1", NOW.plus(900)), tries("c1", NOW), tries("c1", NOW), tries("c1", NOW)],
        [None, Some(1), Some(0), None]
    );

    open("c2");
    let id = ChallengeId("c2".into());
    let step = |store: &dyn Store, from, to| settled(store, store.move_challenge(&id, from, to, NOW));
    assert!(step(&*store, State::New, State::Confirmed));
    assert!(!step(&*store, State::New, State::Confirmed));
    assert_eq!(firsts(backend, |store, _| step(store, State::Confirmed, State::Used)), 1);
    assert!(!step(&*store, State::Used, State::New), "a final state stays");

    open("c3");
    let enrolled = firsts(backend, |store, racer| {
        let new = authenticator("heidi", &format!("h{racer}"), &format!("label {racer}"));
        settled(store, store.enrol(&ChallengeId("c3".into()), &new, None, Rank::Any, NOW)) == Added::Yes
    });
    assert_eq!(enrolled, 1);
    let heidi = Subscriber::canonical("heidi");
    assert_eq!(settled(&*store, store.authenticators(&heidi, "totp")).len(), 1);

    // Two questions, each proved, and one of them the first.
    let firsts = firsts(backend, |store, racer| {
        let id = ChallengeId(format!("c4 {racer}"));
        settled(store, store.open_challenge(&challenge(&id.0)));
        let new = authenticator("oscar", &format!("i{racer}"), &format!("label {racer}"));
        match settled(store, store.enrol(&id, &new, None, Rank::First, NOW)) {
            Added::Yes => true,
            Added::NotFirst => false,
            other @ (Added::LabelTaken | Added::ChallengeGone) => panic!("{other:?}"),
        }
    });
    assert_eq!(firsts, 1);

    // With its recovery codes, or not at all.
    let paul = Subscriber::canonical("paul");
    let set = Authenticator {
        client: RECOVERY.into(),
        mechanism: Mechanism::LookUp,
        ..authenticator("paul", "p0", "recovery codes")
    };
    let codes = (set, vec![vec![7; 32], vec![8; 32]]);
    let enrol = |n: u8| {
        let id = ChallengeId(format!("c5 {n}"));
        settled(&*store, store.open_challenge(&challenge(&id.0)));
        let new = authenticator("paul", &format!("p{n}"), &format!("label {n}"));
        let added = settled(&*store, store.enrol(&id, &new, Some(&codes), Rank::Any, NOW));
        (added, settled(&*store, store.challenge(&id, NOW)).unwrap().sealed.is_empty())
    };
    assert_eq!(enrol(1), (Added::Yes, true), "and what was sealed is forgotten");
    assert_eq!(enrol(2), (Added::NotFirst, false));
    assert_eq!(settled(&*store, store.recovery_codes(&paul)), 2);
    assert_eq!(settled(&*store, store.authenticators(&paul, "totp")).len(), 1);
}

fn what_is_held_can_be_renamed_preferred_and_disabled(backend: &dyn Backend) {
    let store = backend.open();
    let judy = Subscriber::canonical("judy");
    let (phone, key) = (authenticator("judy", "j1", "phone"), authenticator("judy", "j2", "key"));
    let hotp = Mechanism::Hotp(Hotp { algorithm: Algorithm::Sha1, digits: 6 });
    let key = Authenticator { mechanism: hotp, client: "hotp".into(), ..key };
    settled(&*store, store.add(&[phone.clone(), key.clone()]));
    let held = || settled(&*store, store.held_by(&judy));
    let shown = || -> Vec<_> {
        held().into_iter().map(|a| (a.client, a.label, a.mechanism, a.standing, a.is_default)).collect()
    };
    let rename = |id: &AuthenticatorId, label| settled(&*store, store.rename(&judy, id, label));
    assert_eq!(rename(&phone.id, "key"), Renamed::LabelTaken);
    assert_eq!(rename(&phone.id, "phone"), Renamed::Yes, "its own label is no other's");
    assert_eq!(rename(&phone.id, "new phone"), Renamed::Yes);
    assert_eq!(rename(&AuthenticatorId("gone".into()), "x"), Renamed::Gone);

    let prefer = |id: Option<&AuthenticatorId>| settled(&*store, store.set_default(&judy, id));
    let defaults = || held().into_iter().filter(|a| a.is_default).map(|a| a.id.0).collect::<Vec<_>>();
    assert!(prefer(Some(&phone.id)) && prefer(Some(&key.id)));
    assert_eq!(defaults(), ["j2"], "one at a time");
    assert!(!prefer(Some(&AuthenticatorId("gone".into()))));
    assert!(prefer(None));
    assert_eq!(defaults(), [""; 0]);
    assert!(prefer(Some(&key.id)));

    let stand = |standing| settled(&*store, store.set_standing(&judy, &key.id, standing));
    assert!(stand(Standing::Disabled));
    assert_eq!(
        shown(),
        [
            ("totp".into(), "new phone".into(), phone.mechanism, Standing::Active, false),
            ("hotp".into(), "key".into(), hotp, Standing::Disabled, false)
        ]
    );
    assert!(settled(&*store, store.authenticators(&judy, "hotp")).is_empty());
    assert!(!prefer(Some(&key.id)), "what is disabled is no default");
    assert_eq!(settled(&*store, store.consume_step(&judy, &key.id, 1, NOW)), Consumed::Gone);
    assert!(stand(Standing::Active));
    assert_eq!(settled(&*store, store.consume_step(&judy, &key.id, 1, NOW)), Consumed::First);
}

fn what_is_enrolled_with_recovery_codes_is_whole_or_nothing(backend: &dyn Backend) {
    let store = backend.open();
    let frank = Subscriber::canonical("frank");
    let phone = (authenticator("frank", "f1", "phone"), Vec::new());
    let set = |id: &str, label: &str, hash: u8| {
        let set = Authenticator {
            client: RECOVERY.into(),
            mechanism: Mechanism::LookUp,
            ..authenticator("frank", id, label)
        };
        (set, vec![vec![hash; 32], vec![hash + 1; 32]])
    };
    let add = |new: &[_]| settled(&*store, store.add_with_codes(new));
    assert_eq!(add(&[phone.clone(), set("f2", "recovery codes", 20)]), Added::Yes);
    assert_eq!(add(&[(authenticator("frank", "f3", "key"), Vec::new()), set("f4", "others", 30)]), Added::NotFirst);
    assert_eq!(add(&[phone]), Added::LabelTaken);
    assert_eq!(settled(&*store, store.held_by(&frank)).len(), 2, "none of them");
    assert!(settled(&*store, store.redeem_recovery_code(&frank, &[20; 32], NOW)).is_some());
    assert_eq!(settled(&*store, store.recovery_hashes(&frank)), [vec![21; 32]], "those that are left");
}

fn challenges_are_listed_and_forgotten(backend: &dyn Backend) {
    let store = backend.open();
    let ids = ["l1", "l2", "l3"].map(|id| ChallengeId(id.into()));
    for id in &ids {
        let challenge = Challenge { purpose: Purpose::Action, ..challenge(&id.0) };
        settled(&*store, store.open_challenge(&challenge));
    }
    assert!(settled(&*store, store.move_challenge(&ids[1], State::New, State::Cancelled, NOW)));
    let listed = |after, limit, now| -> Vec<(String, State)> {
        let found = settled(&*store, store.challenges(Purpose::Action, after, limit, now));
        found.into_iter().map(|challenge| (challenge.id.0, challenge.state)).collect()
    };
    let [l1, l2, l3] = ids.clone().map(|id| id.0);
    assert_eq!(listed(None, 2, NOW), [(l1.clone(), State::New), (l2.clone(), State::Cancelled)], "by their ids");
    assert_eq!(listed(Some(&ids[0]), 9, NOW.plus(900)), [(l2, State::Cancelled), (l3.clone(), State::Expired)]);
    assert!(settled(&*store, store.challenges(Purpose::Remove, None, 9, NOW)).is_empty());
    assert!(settled(&*store, store.forget_challenges(NOW)) >= 1);
    assert_eq!(listed(None, 9, NOW), [(l1, State::New), (l3, State::New)], "what waits is not forgotten");
    assert!(settled(&*store, store.forget_challenges(NOW.plus(900))) >= 2);
    assert!(listed(None, 9, NOW).is_empty());
}

fn recovery_codes_are_redeemed_once(backend: &dyn Backend) {
    let store = backend.open();
    let set = |id: &str| Authenticator {
        client: RECOVERY.into(),
        mechanism: Mechanism::LookUp,
        ..authenticator("alice", id, "recovery codes")
    };
    settled(&*store, store.set_recovery_codes(&set("r1"), &[vec![1; 32], vec![2; 32]]));
    let redeem = |store: &dyn Store, who: &str, hash: u8| {
        settled(store, store.redeem_recovery_code(&Subscriber::canonical(who), &[hash; 32], NOW))
    };
    assert_eq!(firsts(backend, |store, _| redeem(store, "alice", 1).is_some()), 1);
    assert_eq!(settled(&*store, store.recovery_codes(&alice())), 1);
    assert_eq!(redeem(&*store, "bob", 2), None, "nobody else's");
    assert_eq!(redeem(&*store, "alice", 3), None);
    settled(&*store, store.set_recovery_codes(&set("r2"), &[vec![4; 32], vec![5; 32]]));
    assert_eq!(redeem(&*store, "alice", 2), None, "new codes end the old ones");
    assert_eq!(redeem(&*store, "alice", 4), Some(1));
    let sets = settled(&*store, store.held_by(&alice()));
    let sets: Vec<_> = sets.iter().filter(|a| a.client == RECOVERY).map(|a| (a.id.0.as_str(), a.last_used)).collect();
    assert_eq!(sets, [("r2", Some(NOW))]);

    let id = AuthenticatorId("r2".into());
    settled(&*store, store.set_standing(&alice(), &id, Standing::Disabled));
    assert_eq!(redeem(&*store, "alice", 5), None, "disabled");
    settled(&*store, store.set_standing(&alice(), &id, Standing::Active));
    assert!(settled(&*store, store.remove(&alice(), &id, NOW, "")));
    assert_eq!((redeem(&*store, "alice", 5), settled(&*store, store.recovery_codes(&alice()))), (None, 0), "removed");
}

fn what_is_looked_up_is_counted_apart(backend: &dyn Backend) {
    let store = backend.open();
    let codes = origin("kate", "192.0.2.9");
    let look_up = Origin { counter: Counter::LookUp, source: None, ..codes.clone() };
    let codes = Origin { source: None, ..codes };
    let heard = |origin: &Origin| settled(&*store, store.charge(origin, NOW)) == Ruling::Heard;
    for _ in 0..=LIMITS.subscriber.free {
        assert!(heard(&codes));
    }
    assert!(!heard(&codes));
    for _ in 0..=LIMITS.subscriber.free {
        assert!(heard(&look_up));
    }
    assert!(!heard(&look_up));
    assert!(settled(&*store, store.unlock(UnlockKey::Subscriber(&codes.subscriber))));
    assert!(heard(&codes) && heard(&look_up), "both are forgotten");
}

fn slots_are_taken_up_to_the_limit(backend: &dyn Backend) {
    let store = backend.open();
    let take = |store: &dyn Store, holder: &str, now: UnixTime| {
        settled(store, store.take_slot("k", holder, Again::Keeps, 5, now, now.plus(100)))
    };
    assert_eq!(firsts(backend, |store, racer| take(store, &format!("s{racer}"), NOW)), 5);
    let holder = (0..RACERS).map(|n| format!("s{n}")).find(|s| take(&*store, s, NOW)).unwrap();
    assert!(settled(&*store, store.release_slots(&holder)));
    assert!(!settled(&*store, store.release_slots(&holder)));
    assert!(take(&*store, "one more", NOW));
    assert!(!take(&*store, "and one", NOW));
    let again = |again| settled(&*store, store.take_slot("k", "one more", again, 5, NOW, NOW.plus(100)));
    assert!(again(Again::Keeps) && !again(Again::Counts), "who has one needs another only where it counts");
    assert!(take(&*store, "and one", NOW.plus(100)), "stale slots expire");
    assert_eq!(settled(&*store, store.slots("k", NOW.plus(100))), [("and one".to_owned(), NOW.plus(200))]);
    assert!(settled(&*store, store.slots("k", NOW.plus(200))).is_empty());
    assert!(settled(&*store, store.clear_slots("k")));
    assert!(!settled(&*store, store.clear_slots("k")));
}

fn a_verification_is_used_again_as_often_as_the_rule_says(backend: &dyn Backend) {
    let store = backend.open();
    let rule = CacheRule { soft: 10_000, hard: 20_000, reuse: Reuse::AtMost(7) };
    let (key, other, now) = ([1; 32], [2; 32], NOW.0 * 1000);
    let remember = |key: &[u8; 32], now| {
        settled(&*store, store.remember_verification(key, &alice(), now, UnixTime(now / 1000 + 20)));
    };
    let reuse = |store: &dyn Store, key: &[u8; 32], now| settled(store, store.reuse_verification(key, rule, now));
    assert!(!reuse(&*store, &key, now), "nothing is remembered");
    remember(&key, now);
    assert_eq!(firsts(backend, |store, _| reuse(store, &key, now + 1)), 7);
    assert!(!reuse(&*store, &key, now + 1));
    remember(&key, now);
    assert!(reuse(&*store, &key, now + 10_000) && !reuse(&*store, &other, now));
    assert!(!reuse(&*store, &key, now + 20_001), "too old");
    assert!(!reuse(&*store, &key, now + 10_000), "what was too old once is not good again when the clock is set back");
    remember(&key, now);
    assert!(!reuse(&*store, &key, now - 1), "made when the clock was ahead");
    assert!(!reuse(&*store, &key, now), "nor when it is there again");
    remember(&key, now);
    remember(&other, now);
    settled(&*store, store.remove(&alice(), &AuthenticatorId("none".into()), NOW, ""));
    assert!(!reuse(&*store, &key, now) && !reuse(&*store, &other, now), "gone with the authenticator");
}

fn what_was_not_settled_is_not_there(backend: &dyn Backend) {
    let store = backend.open();
    wait(async {
        assert_eq!(store.add(&[authenticator("ivan", "i", "phone")]).await.unwrap(), Added::Yes);
    });
    drop(store);
    let store = backend.open();
    assert!(settled(&*store, store.authenticators(&Subscriber::canonical("ivan"), "totp")).is_empty());
}

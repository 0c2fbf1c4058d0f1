//! A store that answers as the one behind it would, and changes nothing: for `countersign explain`.

use std::rc::Rc;

use super::{
    Added, Again, Answer, Consumed, Credit, Mark, Origin, Rank, Renamed, Ruling, Store, StoreError, UnlockKey,
};
use crate::domain::authenticator::{Authenticator, AuthenticatorId, Standing, Tombstone};
use crate::domain::challenge::{Challenge, ChallengeId, Purpose, State};
use crate::domain::claimant::Subscriber;
use crate::domain::time::UnixTime;
use crate::policy::cache::{CacheRule, Remembered};

/// What reads goes through; what would write is answered from what could be read.
pub struct Rehearsal(Rc<dyn Store>);

impl Rehearsal {
    /// A rehearsal over `store`.
    pub fn new(store: Rc<dyn Store>) -> Self {
        Self(store)
    }

    async fn waits(&self, id: &ChallengeId, now: UnixTime) -> Result<Option<Challenge>, StoreError> {
        Ok(self.0.challenge(id, now).await?.filter(|challenge| !challenge.state.is_final()))
    }
}

/// What no decision does.
fn refused<'a, T: 'a>() -> Answer<'a, T> {
    Box::pin(async { Err(StoreError::Failed("a rehearsal changes nothing".into())) })
}

impl Store for Rehearsal {
    fn mark(&self) -> Mark {
        self.0.mark()
    }

    fn settle(&self, _since: Mark) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn idle(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn standing<'a>(&'a self, origin: &'a Origin, now: UnixTime) -> Answer<'a, Ruling> {
        self.0.standing(origin, now)
    }

    fn charge<'a>(&'a self, origin: &'a Origin, now: UnixTime) -> Answer<'a, Ruling> {
        self.0.standing(origin, now)
    }

    fn credit<'a>(&'a self, _origin: &'a Origin, _credit: Credit) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn unlock<'a>(&'a self, _key: UnlockKey<'a>) -> Answer<'a, bool> {
        refused()
    }

    fn authenticators<'a>(&'a self, subscriber: &'a Subscriber, client: &'a str) -> Answer<'a, Vec<Authenticator>> {
        self.0.authenticators(subscriber, client)
    }

    fn held_by<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, Vec<Authenticator>> {
        self.0.held_by(subscriber)
    }

    fn consume_step<'a>(
        &'a self,
        subscriber: &'a Subscriber,
        id: &'a AuthenticatorId,
        step: u64,
        _now: UnixTime,
    ) -> Answer<'a, Consumed> {
        Box::pin(async move {
            let known = self.0.held_by(subscriber).await?.into_iter();
            let mut usable = known.filter(|authenticator| authenticator.standing == Standing::Active);
            let Some(authenticator) = usable.find(|authenticator| authenticator.id == *id) else {
                return Ok(Consumed::Gone);
            };
            Ok(match authenticator.last_step {
                Some(last) if step <= last => Consumed::Before { last },
                Some(_) | None => Consumed::First,
            })
        })
    }

    fn add<'a>(&'a self, _authenticators: &'a [Authenticator]) -> Answer<'a, Added> {
        refused()
    }

    fn add_with_codes<'a>(&'a self, _new: &'a [(Authenticator, Vec<Vec<u8>>)]) -> Answer<'a, Added> {
        refused()
    }

    fn enrol<'a>(
        &'a self,
        _id: &'a ChallengeId,
        _new: &'a Authenticator,
        _codes: Option<&'a (Authenticator, Vec<Vec<u8>>)>,
        _rank: Rank,
        _now: UnixTime,
    ) -> Answer<'a, Added> {
        refused()
    }

    fn list<'a>(&'a self, after: Option<&'a Authenticator>, limit: u32) -> Answer<'a, Vec<Authenticator>> {
        self.0.list(after, limit)
    }

    fn remove<'a>(
        &'a self,
        _subscriber: &'a Subscriber,
        _id: &'a AuthenticatorId,
        _now: UnixTime,
        _reason: &'a str,
    ) -> Answer<'a, bool> {
        refused()
    }

    fn tombstones<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, Vec<Tombstone>> {
        self.0.tombstones(subscriber)
    }

    fn rename<'a>(
        &'a self,
        _subscriber: &'a Subscriber,
        _id: &'a AuthenticatorId,
        _label: &'a str,
    ) -> Answer<'a, Renamed> {
        refused()
    }

    fn set_standing<'a>(
        &'a self,
        _subscriber: &'a Subscriber,
        _id: &'a AuthenticatorId,
        _standing: Standing,
    ) -> Answer<'a, bool> {
        refused()
    }

    fn set_default<'a>(&'a self, _subscriber: &'a Subscriber, _id: Option<&'a AuthenticatorId>) -> Answer<'a, bool> {
        refused()
    }

    fn reseal<'a>(&'a self, _authenticator: &'a Authenticator, _new: &'a [u8]) -> Answer<'a, bool> {
        refused()
    }

    fn open_challenge<'a>(&'a self, _challenge: &'a Challenge) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn challenge<'a>(&'a self, id: &'a ChallengeId, now: UnixTime) -> Answer<'a, Option<Challenge>> {
        self.0.challenge(id, now)
    }

    fn try_challenge<'a>(&'a self, id: &'a ChallengeId, now: UnixTime) -> Answer<'a, Option<u32>> {
        Box::pin(
            async move { Ok(self.waits(id, now).await?.and_then(|challenge| challenge.tries_left.checked_sub(1))) },
        )
    }

    fn move_challenge<'a>(&'a self, id: &'a ChallengeId, from: State, _to: State, now: UnixTime) -> Answer<'a, bool> {
        Box::pin(async move { Ok(self.waits(id, now).await?.is_some_and(|challenge| challenge.state == from)) })
    }

    fn challenges<'a>(
        &'a self,
        purpose: Purpose,
        after: Option<&'a ChallengeId>,
        limit: u32,
        now: UnixTime,
    ) -> Answer<'a, Vec<Challenge>> {
        self.0.challenges(purpose, after, limit, now)
    }

    fn forget_challenges(&self, _now: UnixTime) -> Answer<'_, usize> {
        refused()
    }

    fn set_recovery_codes<'a>(&'a self, _set: &'a Authenticator, _hashes: &'a [Vec<u8>]) -> Answer<'a, ()> {
        refused()
    }

    fn recovery_hashes<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, Vec<Vec<u8>>> {
        self.0.recovery_hashes(subscriber)
    }

    fn recovery_codes<'a>(&'a self, subscriber: &'a Subscriber) -> Answer<'a, u32> {
        self.0.recovery_codes(subscriber)
    }

    fn redeem_recovery_code<'a>(
        &'a self,
        _subscriber: &'a Subscriber,
        _hash: &'a [u8],
        _now: UnixTime,
    ) -> Answer<'a, Option<u32>> {
        refused()
    }

    fn take_slot<'a>(
        &'a self,
        key: &'a str,
        holder: &'a str,
        again: Again,
        limit: u32,
        now: UnixTime,
        _expires: UnixTime,
    ) -> Answer<'a, bool> {
        Box::pin(async move {
            let is_counted = |other: &String| match again {
                Again::Keeps => other != holder,
                Again::Counts => true,
            };
            let taken = self.0.slots(key, now).await?.into_iter().filter(|(other, _)| is_counted(other)).count();
            Ok(u32::try_from(taken).unwrap_or(u32::MAX) < limit)
        })
    }

    fn reuse_verification<'a>(&'a self, key: &'a [u8; 32], rule: CacheRule, now: u64) -> Answer<'a, bool> {
        Box::pin(
            async move { Ok(self.0.verification(key).await?.is_some_and(|known| rule.used(known, now).is_some())) },
        )
    }

    fn verification<'a>(&'a self, key: &'a [u8; 32]) -> Answer<'a, Option<Remembered>> {
        self.0.verification(key)
    }

    fn remember_verification<'a>(
        &'a self,
        _key: &'a [u8; 32],
        _subscriber: &'a Subscriber,
        _now: u64,
        _expires: UnixTime,
    ) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn slots<'a>(&'a self, key: &'a str, now: UnixTime) -> Answer<'a, Vec<(String, UnixTime)>> {
        self.0.slots(key, now)
    }

    fn clear_slots<'a>(&'a self, _key: &'a str) -> Answer<'a, bool> {
        Box::pin(async { Ok(false) })
    }

    fn release_slots<'a>(&'a self, _holder: &'a str) -> Answer<'a, bool> {
        Box::pin(async { Ok(false) })
    }

    fn key_id(&self) -> Answer<'_, [u8; 4]> {
        self.0.key_id()
    }

    fn set_key_id(&self, _id: [u8; 4]) -> Answer<'_, ()> {
        refused()
    }
}

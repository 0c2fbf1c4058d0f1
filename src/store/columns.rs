//! How what is remembered stands in columns, in every backend alike.

use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::domain::authenticator::{Algorithm, Hotp, Mechanism, Totp};
use crate::domain::claimant::Subscriber;
use crate::domain::outcome::Limit;
use crate::policy::throttle::Known;
use crate::store::{Counter, Limits, Origin, Ruling};

/// How long a challenge is kept after its end, in seconds, for whoever asks what became of it.
pub const KEPT: u64 = 24 * 3600;

/// A hash of what is counted, keyed with the store's salt so that nobody can make two names collide from outside: names
/// that nobody enrolled, a mistyped password among them, are not kept.
pub type Key = [u8; 16];

/// The key under which the failures of `name` are counted: of a subscriber as [`Subscriber::counted`] has it.
pub fn key(salt: &[u8; 16], limit: Limit, counter: Counter, name: &str) -> Key {
    let mut hash = SipHasher24::new_with_key(salt);
    hash.write_u8(match (limit, counter) {
        (Limit::Subscriber, Counter::Codes) => b'n',
        (Limit::Subscriber, Counter::LookUp) => b'l',
        // An address guesses at whatever it guesses at.
        (Limit::Source, Counter::Codes | Counter::LookUp) => b's',
    });
    match limit {
        Limit::Subscriber => hash.write(Subscriber::canonical(name).counted().as_bytes()),
        Limit::Source => hash.write(name.as_bytes()),
    }
    hash.finish128().as_bytes()
}

/// The key under which it is remembered that `subscriber` succeeded at `source`; all of one subscriber lie in
/// [`known_range`].
pub fn known_key(salt: &[u8; 16], subscriber: &Subscriber, source: &str) -> Key {
    let mut hash = SipHasher24::new_with_key(salt);
    hash.write_u8(b'p');
    hash.write(source.as_bytes());
    // No source and name are another source and name.
    hash.write_u8(0xff);
    hash.write(subscriber.counted().as_bytes());
    let (mut key, pair) = (known_range(salt, subscriber).0, hash.finish128().as_bytes());
    key.iter_mut().zip(pair).skip(8).for_each(|(byte, pair)| *byte = pair);
    key
}

/// At how many sources a subscriber is known at most: those of the latest successes, and those where failures are counted.
pub const PLACES: u8 = 16;

/// The first and the last key that a known source of `subscriber` can have.
pub fn known_range(salt: &[u8; 16], subscriber: &Subscriber) -> (Key, Key) {
    let mut hash = SipHasher24::new_with_key(salt);
    hash.write_u8(b'k');
    hash.write(subscriber.counted().as_bytes());
    let of_subscriber = hash.finish128().as_bytes();
    let fill = |rest: u8| {
        let mut key = [rest; 16];
        key.iter_mut().zip(of_subscriber).take(8).for_each(|(byte, of)| *byte = of);
        key
    };
    (fill(0), fill(0xff))
}

/// Whose failures an attempt of `origin` is counted among.
pub fn counted(origin: &Origin) -> impl Iterator<Item = (Limit, &str)> {
    std::iter::once((Limit::Subscriber, origin.subscriber.as_str()))
        .chain(origin.source.as_deref().map(|source| (Limit::Source, source)))
}

/// The rule of known sources, and the source, where it may help an attempt of `origin`: what was handed out is counted apart,
/// and has no such rule.
pub fn known_at<'a>(limits: &'a Limits, origin: &'a Origin) -> Option<(&'a Known, &'a str)> {
    match origin.counter {
        Counter::Codes => limits.known.as_ref().zip(origin.source.as_deref()),
        Counter::LookUp => None,
    }
}

/// For how long whose failures make an attempt wait.
#[derive(Debug, Default)]
pub struct Waits {
    subscriber: Option<Duration>,
    source: Option<Duration>,
}

impl Waits {
    /// Notes the wait of one of the two.
    pub fn put(&mut self, limit: Limit, wait: Option<Duration>) {
        match limit {
            Limit::Subscriber => self.subscriber = wait,
            Limit::Source => self.source = wait,
        }
    }

    /// Whether nothing but the subscriber's failures makes it wait: it may be heard where they are known.
    pub const fn is_for_subscriber_alone(&self) -> bool {
        self.subscriber.is_some() && self.source.is_none()
    }

    /// What comes of them, where the attempt `is_known` to come from where the subscriber is heard all the same. Of two reasons
    /// the subscriber's is told.
    pub const fn ruling(&self, is_known: bool) -> Ruling {
        match (self.subscriber, self.source) {
            (None, None) => Ruling::Heard,
            (Some(_), None) if is_known => Ruling::Heard,
            (Some(wait), _) => Ruling::Wait { wait, by: Limit::Subscriber },
            (None, Some(wait)) => Ruling::Wait { wait, by: Limit::Source },
        }
    }
}

/// A mechanism in its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns<'a> {
    pub kind: &'a str,
    pub algorithm: &'a str,
    pub digits: u32,
    pub period: u64,
}

impl<'a> Columns<'a> {
    /// The columns of `mechanism`.
    pub const fn of(mechanism: &'a Mechanism) -> Self {
        let (algorithm, digits, period) = match mechanism {
            Mechanism::Totp(Totp { algorithm, digits, period }) => (algorithm.name(), *digits, *period),
            Mechanism::Hotp(Hotp { algorithm, digits }) => (algorithm.name(), *digits, 0),
            Mechanism::LookUp | Mechanism::Sent | Mechanism::Elsewhere => ("", 0, 0),
        };
        Self { kind: mechanism.word(), algorithm, digits, period }
    }

    /// The mechanism in these columns; else the one that holds what this program never wrote.
    pub fn mechanism(self) -> Result<Mechanism, Unreadable> {
        let Self { kind, algorithm, digits, period } = self;
        let algorithm = || Algorithm::named(algorithm).ok_or(Unreadable::Algorithm);
        let (mechanism, is_supported) = match kind {
            "totp" => {
                let totp = Totp { algorithm: algorithm()?, digits, period };
                (Mechanism::Totp(totp), totp.is_supported())
            }
            "hotp" => {
                let hotp = Hotp { algorithm: algorithm()?, digits };
                (Mechanism::Hotp(hotp), hotp.is_supported())
            }
            "look-up" => (Mechanism::LookUp, true),
            "sent" => (Mechanism::Sent, true),
            "elsewhere" => (Mechanism::Elsewhere, true),
            _ => return Err(Unreadable::Kind),
        };
        if is_supported { Ok(mechanism) } else { Err(Unreadable::Digits) }
    }
}

/// Which column it is that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    Kind,
    Algorithm,
    Digits,
}

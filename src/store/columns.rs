//! How what is remembered stands in columns, in every backend alike.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::domain::authenticator::{Algorithm, Hotp, Mechanism, Totp};
use crate::domain::claimant::Subscriber;
use crate::domain::outcome::Limit;
use crate::store::{Counter, Origin};

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

/// Whose failures an attempt of `origin` is counted among.
pub fn counted(origin: &Origin) -> impl Iterator<Item = (Limit, &str)> {
    std::iter::once((Limit::Subscriber, origin.subscriber.as_str()))
        .chain(origin.source.as_deref().map(|source| (Limit::Source, source)))
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

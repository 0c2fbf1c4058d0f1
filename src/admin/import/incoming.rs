//! What a source of an import holds, before anybody decides whose it is and whether it is good enough.

use crate::domain::authenticator::{Hotp, Totp};
use crate::domain::secret::{Secret, SecretBytes};
use crate::domain::time::UnixTime;

/// One authenticator, or one set of recovery codes, as its source describes it.
#[derive(Debug)]
pub struct Incoming {
    /// Where in the source it stands, such as `line 3`.
    pub place: String,
    /// Whose it is, where the source says so.
    pub user: Option<String>,
    /// What it is called there.
    pub label: Option<String>,
    pub what: What,
    pub used: Used,
    pub created: Option<UnixTime>,
}

/// What comes.
#[derive(Debug)]
pub enum What {
    Totp {
        totp: Totp,
        secret: SecretBytes,
    },
    Hotp {
        hotp: Hotp,
        secret: SecretBytes,
    },
    /// Look-up secrets in plain text.
    RecoveryCodes(Vec<Secret<String>>),
    /// Look-up secrets that were hashed where they come from.
    RecoveryHashes(Vec<Hashed>),
}

/// A recovery code as the source hashed it: PBKDF2 with HMAC-SHA-256 (RFC 8018), 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    pub iterations: u32,
    /// Used as the text that it is.
    pub salt: String,
    pub hash: [u8; 32],
}

/// Which of its codes are used, and must stay so.
#[derive(Debug)]
pub enum Used {
    Nothing,
    /// This time step or counter, and everything before it.
    UpTo(u64),
    /// This code, at a time step that the source does not tell.
    Code(Secret<String>),
}

impl Used {
    /// Everything before the counter `next` is used.
    pub const fn before(next: u64) -> Self {
        match next.checked_sub(1) {
            Some(last) => Self::UpTo(last),
            None => Self::Nothing,
        }
    }
}

/// An entry that cannot be taken: where it stands, what is wrong with it, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub place: String,
    pub what: String,
}

/// What was read from a source.
#[derive(Debug, Default)]
pub struct Reading {
    pub found: Vec<Incoming>,
    pub flaws: Vec<Flaw>,
    /// What is left out on purpose, each with its place.
    pub passed: Vec<String>,
    /// What changes on the way, each with its place.
    pub remarks: Vec<String>,
}

impl Reading {
    /// Takes down what the entry at `place` turned out to be.
    pub fn note(&mut self, place: impl Into<String>, entry: Result<Incoming, String>) {
        match entry {
            Ok(incoming) => self.found.push(incoming),
            Err(what) => self.flaws.push(Flaw { place: place.into(), what }),
        }
    }
}

/// `digits`, where codes of that length are verified here.
pub fn digits(text: &str) -> Result<u32, String> {
    text.trim().parse().ok().filter(|digits| (6..=8).contains(digits)).ok_or_else(|| {
        format!("codes of \"{}\" digits; expected 6, 7 or 8", crate::domain::foreign::Foreign(text.trim()))
    })
}

/// `period`, where time steps of that length are verified here.
pub fn period(text: &str) -> Result<u64, String> {
    text.trim().parse().ok().filter(|period| (15..=120).contains(period)).ok_or_else(|| {
        format!("time steps of \"{}\" s; expected 15 to 120", crate::domain::foreign::Foreign(text.trim()))
    })
}

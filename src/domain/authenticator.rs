//! What a subscriber holds.

use super::claimant::Subscriber;
use super::time::UnixTime;

/// The hash function under an OTP's HMAC (RFC 6238, 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    /// The name in otpauth URIs, in plugin.ini and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// The algorithm of that name, written in any case, with or without the dash.
    pub fn named(name: &str) -> Option<Self> {
        let plain = name.strip_prefix("SHA-").or_else(|| name.strip_prefix("sha-"));
        [Self::Sha1, Self::Sha256, Self::Sha512].into_iter().find(|algorithm| match plain {
            Some(number) => algorithm.name().strip_prefix("SHA") == Some(number),
            None => algorithm.name().eq_ignore_ascii_case(name),
        })
    }
}

/// The public parameters of a TOTP authenticator (RFC 6238).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totp {
    pub algorithm: Algorithm,
    /// 6 to 8.
    pub digits: u32,
    /// Seconds in a time step, 15 to 120.
    pub period: u64,
}

impl Totp {
    /// Whether the parameters are within what this verifier computes.
    pub fn is_supported(self) -> bool {
        (6..=8).contains(&self.digits) && (15..=120).contains(&self.period)
    }
}

/// Names one authenticator for ever; never given to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthenticatorId(pub String);

/// One enrolled authenticator, its secret still sealed.
#[derive(Clone, Debug)]
pub struct Authenticator {
    pub id: AuthenticatorId,
    pub subscriber: Subscriber,
    /// The client that verifies it: a section of plugin.ini.
    pub client: String,
    /// What its holder calls it.
    pub label: String,
    pub totp: Totp,
    /// The authenticator secret as [`crate::secret`] sealed it.
    pub sealed: Vec<u8>,
    /// The highest time step that was accepted; nothing up to it is accepted again.
    pub last_step: Option<u64>,
    pub created: UnixTime,
    pub last_used: Option<UnixTime>,
}

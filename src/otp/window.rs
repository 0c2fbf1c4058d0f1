//! Which time step a code belongs to (RFC 6238, 5.2), found in constant time and told apart from "right, but not now".

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use totp_rs::{Builder, Secret, TotpError};
use zeroize::Zeroizing;

use super::uri::{SECRET_MINIMUM, SECRET_WEAKEST};
use crate::domain::authenticator::{Algorithm, Hotp, Totp};
use crate::domain::secret::SecretBytes;
use crate::domain::time::UnixTime;

/// How far from now, in time steps either way, a code is looked for to tell the operator how wrong a clock is.
pub const FAR: u64 = 10;

/// Where in time a code was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// Inside the window, at this time step.
    Step(u64),
    /// Outside the window, `offset` time steps from now; never a reason to accept.
    Outside { step: u64, offset: i64 },
    /// Nowhere.
    Nowhere,
}

/// One TOTP authenticator, ready to compute.
pub struct Verifier {
    totp: totp_rs::Totp,
    parameters: Totp,
}

impl Verifier {
    /// A verifier for `secret`. One below 128 bits is not refused here, for the sake of those that somebody holds already:
    /// whoever enrols looks at its length.
    ///
    /// # Errors
    /// For a secret below 80 bits, or parameters that are not supported.
    pub fn new(parameters: Totp, secret: &SecretBytes) -> Result<Self, TotpError> {
        Self::made(parameters, parameters.is_supported(), secret)
    }

    fn made(parameters: Totp, is_supported: bool, secret: &SecretBytes) -> Result<Self, TotpError> {
        let algorithm = match parameters.algorithm {
            Algorithm::Sha1 => totp_rs::Algorithm::SHA1,
            Algorithm::Sha256 => totp_rs::Algorithm::SHA256,
            Algorithm::Sha512 => totp_rs::Algorithm::SHA512,
        };
        let builder = Builder::new()
            .with_algorithm(algorithm)
            .with_digits(u8::try_from(parameters.digits).unwrap_or(u8::MAX))
            .with_step_duration(parameters.period)
            .with_skew(0)
            // totp-rs wipes its copy on drop.
            .with_secret(Secret::new(secret.expose().clone().into_boxed_slice()));
        let is_weak = (SECRET_WEAKEST..SECRET_MINIMUM).contains(&secret.expose().len());
        let totp = if is_weak && is_supported { builder.build_noncompliant() } else { builder.build()? };
        Ok(Self { totp, parameters })
    }

    /// The time step that `now` lies in.
    pub const fn step(&self, now: UnixTime) -> u64 {
        match now.0.checked_div(self.parameters.period) {
            Some(step) => step,
            None => 0,
        }
    }

    /// A verifier for `secret` whose time steps are the counters of RFC 4226: the two are computed alike (RFC 6238, 4.2).
    ///
    /// # Errors
    /// For a secret below 80 bits, or parameters that are not supported.
    pub fn by_counter(parameters: Hotp, secret: &SecretBytes) -> Result<Self, TotpError> {
        let Hotp { algorithm, digits } = parameters;
        let is_supported = Totp { algorithm, digits, period: 30 }.is_supported();
        // A counter is a second of its own: no multiplication, which would end where the largest number does.
        Self::made(Totp { algorithm, digits, period: 1 }, is_supported, secret)
    }

    /// The counter in `first ..= last` that has `code`, the last if several, every one compared in constant time.
    pub fn find_counter(&self, code: &str, first: u64, last: u64) -> Option<u64> {
        let (found, counter) = self.search(code, first, last);
        found.then_some(counter)
    }

    /// The code of time step `step`.
    pub fn code(&self, step: u64) -> Zeroizing<String> {
        Zeroizing::new(self.totp.generate(step.saturating_mul(self.parameters.period)).to_string())
    }

    /// The time step in `now - window ..= now + window` that `code` belongs to, the newest if several, compared in
    /// constant time over the whole window. Where there is none, the nearest up to [`FAR`] steps away.
    pub fn find(&self, code: &str, now: UnixTime, window: u64) -> Match {
        let current = self.step(now);
        let (found, step) = self.search(code, current.saturating_sub(window), current.saturating_add(window));
        if found {
            return Match::Step(step);
        }
        let ahead = self.search(code, current.saturating_add(window + 1), current.saturating_add(FAR));
        let behind = match current.checked_sub(window + 1) {
            Some(last) => self.search(code, current.saturating_sub(FAR), last),
            None => (false, 0),
        };
        let nearest = match (ahead, behind) {
            ((false, _), (false, _)) => return Match::Nowhere,
            ((true, step), (false, _)) | ((false, _), (true, step)) => step,
            ((true, later), (true, earlier)) if later - current < current - earlier => later,
            ((true, _), (true, earlier)) => earlier,
        };
        Match::Outside { step: nearest, offset: distance(current, nearest) }
    }

    /// Whether a step in `first ..= last` has `code`, and the last one that does; every step is computed and compared.
    fn search(&self, code: &str, first: u64, last: u64) -> (bool, u64) {
        let mut found = Choice::from(0);
        let mut step = 0_u64;
        for candidate in first..=last {
            let equal = self.code(candidate).as_bytes().ct_eq(code.as_bytes());
            step.conditional_assign(&candidate, equal);
            found |= equal;
        }
        (found.into(), step)
    }
}

/// Signed distance in steps; both lie within [`FAR`] of each other.
fn distance(from: u64, to: u64) -> i64 {
    i64::try_from(to).unwrap_or(i64::MAX).saturating_sub(i64::try_from(from).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otp::base32;

    const SHA1: Totp = Totp { algorithm: Algorithm::Sha1, digits: 6, period: 30 };

    fn verifier() -> Verifier {
        Verifier::new(SHA1, &base32::decode("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP").unwrap()).unwrap()
    }

    #[test]
    fn a_code_is_found_at_its_own_step_and_nowhere_else() {
        let (verifier, now) = (verifier(), UnixTime(1_767_268_815));
        let current = verifier.step(now);
        for window in 0..=3_u64 {
            for offset in -12_i64..=12 {
                let step = current.checked_add_signed(offset).unwrap();
                let expected = match offset.unsigned_abs() {
                    near if near <= window => Match::Step(step),
                    far if far <= FAR => Match::Outside { step, offset },
                    _ => Match::Nowhere,
                };
                assert_eq!(verifier.find(&verifier.code(step), now, window), expected, "{window} {offset}");
            }
        }
    }

    #[test]
    fn the_first_steps_of_all_time_have_no_steps_before_them() {
        let verifier = verifier();
        assert_eq!(verifier.find(&verifier.code(0), UnixTime(0), 1), Match::Step(0));
        assert_eq!(verifier.find(&verifier.code(3), UnixTime(0), 1), Match::Outside { step: 3, offset: 3 });
        assert_eq!(verifier.find("000000", UnixTime(0), 1), Match::Nowhere);
    }

    #[test]
    fn one_code_of_two_steps_far_apart_is_two_codes() {
        let (verifier, code) = (verifier(), "305913");
        for step in [58_909_024_u64, 58_909_765] {
            assert_eq!(verifier.find(code, UnixTime(step * 30), 1), Match::Step(step));
        }
    }

    /// Codes as oathtool computes them, also about the counter whose thirtyfold no longer fits into 64 bits.
    const COUNTERS: [(u64, &str); 7] = [
        (0, "755224"),
        (9, "520489"),
        (614_891_469_123_651_719, "856882"),
        (614_891_469_123_651_720, "277486"),
        (614_891_469_123_651_721, "957776"),
        (1_000_000_000_000_000_000, "288752"),
        (9_223_372_036_854_775_806, "891618"),
    ];

    #[test]
    fn every_counter_has_a_code_of_its_own_however_large() {
        let secret = SecretBytes::new(b"12345678901234567890".to_vec());
        let verifier = Verifier::by_counter(Hotp { algorithm: Algorithm::Sha1, digits: 6 }, &secret).unwrap();
        for (counter, code) in COUNTERS {
            assert_eq!(*verifier.code(counter), code, "{counter}");
            assert_eq!(verifier.find_counter(code, counter.saturating_sub(1), counter), Some(counter));
            assert_eq!(verifier.find_counter(code, counter.saturating_add(1), counter.saturating_add(9)), None);
        }
    }

    #[test]
    fn a_short_secret_is_refused() {
        let verifier = |secret: &str| Verifier::new(SHA1, &base32::decode(secret).unwrap());
        assert!(verifier("JBSWY3DPEHPK3PX").is_err());
        assert!(Verifier::new(Totp { digits: 9, ..SHA1 }, &base32::decode("JBSWY3DPEHPK3PXP").unwrap()).is_err());
        // As pyotp computes it from 80 bits.
        assert_eq!(*verifier("JBSWY3DPEHPK3PXP").unwrap().code(58_908_960), "704044");
    }
}

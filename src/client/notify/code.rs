//! A code that is sent: how it is made, what is kept of it, and what people type of it.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::domain::outcome::ClientState;
use crate::domain::secret::{Secret, SecretBytes};
use crate::domain::time::UnixTime;
use crate::otp::typed;

/// The word that asks for another code.
pub const RESEND: &str = "resend";

/// What codes look like.
#[derive(Clone, Debug)]
pub struct Form {
    /// Letters in upper case.
    pub alphabet: String,
    pub length: usize,
}

/// There is no randomness to make a code of.
#[derive(Debug)]
pub struct NoRandomness;

impl Form {
    /// A new code: each character equally likely, from the operating system's generator.
    ///
    /// # Errors
    /// Where that gives nothing.
    pub fn make(&self) -> Result<Secret<String>, NoRandomness> {
        let characters = self.alphabet.as_bytes();
        let count = u8::try_from(characters.len()).map_err(|_| NoRandomness)?;
        // Bytes from here on would make some characters likelier than others.
        let fair = u8::MAX - (u8::MAX % count.max(1) + 1) % count.max(1);
        loop {
            let mut code = Zeroizing::new(String::with_capacity(self.length));
            while code.len() < self.length {
                let mut random = Zeroizing::new([0_u8; 16]);
                getrandom::fill(&mut *random).map_err(|_| NoRandomness)?;
                let fair = random.iter().filter(|byte| **byte <= fair);
                let drawn = fair.filter_map(|byte| characters.get(usize::from(byte % count.max(1))));
                drawn.take(self.length - code.len()).for_each(|c| code.push(char::from(*c)));
            }
            // The word is no code, in whatever alphabet.
            if !code.eq_ignore_ascii_case(RESEND) {
                return Ok(Secret::new(code.as_str().to_owned()));
            }
        }
    }

    /// The code in `typed`, with letters in upper case: NFKC, without white space and dashes. `None` where it cannot be one.
    pub fn read(&self, typed: &str) -> Option<Zeroizing<String>> {
        // Room for one more than wanted, so that the code is never moved by a growing buffer.
        let mut code = Zeroizing::new(String::with_capacity(self.length + 1));
        for c in typed.chars().take(256).nfkc().filter(|c| !typed::is_separator(*c)) {
            let c = c.to_ascii_uppercase();
            if !self.alphabet.contains(c) || code.len() == self.length {
                return None;
            }
            code.push(c);
        }
        (code.len() == self.length && typed.chars().nth(256).is_none()).then_some(code)
    }

    /// What a code is, for the operator.
    pub fn expected(&self) -> String {
        format!("{} characters of {}", self.length, self.alphabet)
    }
}

/// Whether `typed` asks for another code.
pub fn is_resend(typed: &str) -> bool {
    typed.trim().eq_ignore_ascii_case(RESEND)
}

/// What is kept of a code that was sent: enough to know it again, and not the code. It is sealed meanwhile.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// To whose target: the id of the authenticator, or of the challenge by which it is enrolled.
    pub to: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// The key of the tag, for this code alone.
    key: String,
    /// HMAC-SHA256 of what the code is for, and the code.
    tag: String,
}

impl Sent {
    /// What is kept of `code`, which goes to `to` for what `parts` name.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn new(to: &str, at: UnixTime, parts: &[&str], code: &Secret<String>) -> Result<Self, NoRandomness> {
        let mut key = Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut *key).map_err(|_| NoRandomness)?;
        // Leaves as a tag.
        let tag = mac(&*key, to, parts, code.expose()).ok_or(NoRandomness)?.finalize().into_bytes();
        Ok(Self { to: to.to_owned(), at: at.0, key: HEXLOWER.encode(&*key), tag: HEXLOWER.encode(&tag) })
    }

    /// Whether `code`, as [`Form::read`] gives it, is the one that was sent for what `parts` name; in constant time.
    pub fn is(&self, parts: &[&str], code: &str) -> bool {
        let decoded = HEXLOWER.decode(self.key.as_bytes()).ok().zip(HEXLOWER.decode(self.tag.as_bytes()).ok());
        let Some((key, tag)) = decoded else { return false };
        let key = Zeroizing::new(key);
        mac(&key, &self.to, parts, code).is_some_and(|mac| mac.verify_slice(&tag).is_ok())
    }

    /// Whether a code that is good for `lifetime` seconds is over.
    pub const fn is_over(&self, lifetime: u64, now: UnixTime) -> bool {
        now.since(UnixTime(self.at)) >= lifetime
    }

    /// How long it is until another one can be sent, in seconds.
    pub const fn wait(&self, resend_after: u64, now: UnixTime) -> u64 {
        resend_after.saturating_sub(now.since(UnixTime(self.at)))
    }

    /// What comes back with the answer.
    pub fn keep(&self) -> ClientState {
        // Serialising texts and a number cannot fail.
        SecretBytes::new(serde_json::to_vec(self).unwrap_or_default())
    }

    /// What a state says; `None` where it is none of ours.
    pub fn find(state: &ClientState) -> Option<Self> {
        // Ours: it was sealed meanwhile.
        serde_json::from_slice(state.expose()).ok()
    }
}

fn mac(key: &[u8], to: &str, parts: &[&str], code: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in parts.iter().chain([&to, &code]) {
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(part.as_bytes());
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn form(alphabet: &str, length: usize) -> Form {
        Form { alphabet: alphabet.into(), length }
    }

    #[test]
    fn every_character_is_as_likely_as_any_other() {
        for alphabet in ["0123456789", "23456789BCDFGHJKMNPQRTVWXY", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"] {
            let form = form(alphabet, 12);
            let mut counts: BTreeMap<char, u32> = BTreeMap::new();
            let rounds = 4000;
            for _ in 0..rounds {
                form.make().unwrap().expose().chars().for_each(|c| *counts.entry(c).or_default() += 1);
            }
            let expected = f64::from(rounds * 12) / alphabet.len() as f64;
            // Chi-square; for 9 to 35 degrees of freedom a fair draw is above 100 once in ten million runs.
            let chi: f64 = counts.values().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
            assert!(counts.len() == alphabet.len() && chi < 100.0, "{alphabet}: {chi} {counts:?}");
        }
    }

    #[test]
    fn codes_are_read_as_people_type_them() {
        let digits = form("0123456789", 6);
        for typed in ["482913", "482 913", " 482-913\n", "４８２９１３", "4\u{2013}82913"] {
            assert_eq!(digits.read(typed).as_deref().map(String::as_str), Some("482913"), "{typed}");
        }
        for typed in ["", "48291", "4829133", "48291a", "482.913", &format!("482913{}", " ".repeat(300))] {
            assert_eq!(digits.read(typed), None, "{typed}");
        }
        let letters = form("BCDFGHJKMN", 6);
        assert_eq!(letters.read("bcd-FGH").as_deref().map(String::as_str), Some("BCDFGH"));
    }

    #[test]
    fn a_code_is_known_again_only_where_it_belongs() {
        let code = Secret::new("482913".to_owned());
        let sent = Sent::new("a1", UnixTime(100), &["notify mail", "alice"], &code).unwrap();
        let found = Sent::find(&sent.keep()).unwrap();
        assert!(found.is(&["notify mail", "alice"], "482913"));
        assert!(!found.is(&["notify mail", "alice"], "482914"));
        assert!(!found.is(&["notify mail", "bob"], "482913"));
        assert!(!found.is(&["notify mai", "lalice"], "482913"));
        assert!(!Sent { to: "a2".into(), ..Sent::find(&sent.keep()).unwrap() }.is(&["notify mail", "alice"], "482913"));
        let state = sent.keep();
        assert!(!String::from_utf8_lossy(state.expose()).contains("482913") || sent.key.contains("482913"));
        assert!(Sent::find(&SecretBytes::new(b"{}".to_vec())).is_none());
    }

    #[test]
    fn time_is_over_at_its_end() {
        let sent = Sent::new("a", UnixTime(100), &[], &Secret::new("482913".to_owned())).unwrap();
        assert!(!sent.is_over(300, UnixTime(399)) && sent.is_over(300, UnixTime(400)));
        assert_eq!(
            (sent.wait(30, UnixTime(100)), sent.wait(30, UnixTime(129)), sent.wait(30, UnixTime(130))),
            (30, 1, 0)
        );
    }
}

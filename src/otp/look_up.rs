//! Look-up secrets (NIST SP 800-63B, 3.1.2): codes that were handed out, kept as hashes under a key, and read as people type
//! them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::domain::secret::{Secret, SecretBytes};

/// The fewest characters of a code: shorter ones are never looked up, so that what apps show is not.
pub const LEAST: usize = 8;

/// The most characters of a code.
const MOST: usize = 64;

/// How many bytes the key of a set has.
pub const KEY: usize = 32;

/// What begins the secret of a set whose hashes another program made (PBKDF2, RFC 8018), as it stands before its hash.
const PBKDF2: &str = "pbkdf2_sha256$";

/// The most rounds of PBKDF2 that are computed: more would keep every other request waiting.
pub const ROUNDS: u32 = 2_000_000;

/// A code as it was meant: letters and digits of ASCII, in lower case.
#[derive(Clone)]
pub struct Code(Zeroizing<String>);

impl Code {
    /// The code in `typed`: NFKC, in either case, with separators and white space anywhere. `None` where that is no code.
    pub fn typed(typed: &str) -> Option<Self> {
        // Room for one more than the most, so that the secret is never moved by a growing buffer.
        let mut code = Zeroizing::new(String::with_capacity(MOST + 1));
        for c in typed.chars().take(256).nfkc().filter(|c| !is_separator(*c)) {
            if !c.is_ascii_alphanumeric() || code.len() == MOST {
                return None;
            }
            code.push(c.to_ascii_lowercase());
        }
        (code.len() >= LEAST && typed.chars().nth(256).is_none()).then_some(Self(code))
    }

    /// A new code of `length` characters of `alphabet`, each as likely as any other.
    ///
    /// # Errors
    /// Where the operating system gives no randomness.
    pub fn generate(alphabet: &[char], length: usize) -> Result<Self, getrandom::Error> {
        let count = u8::try_from(alphabet.len()).unwrap_or(u8::MAX).max(1);
        // Bytes beyond the last whole multiple would make the first characters likelier.
        let fair = u8::MAX - (u8::MAX % count + 1) % count;
        let mut code = Zeroizing::new(String::with_capacity(length + 1));
        let mut bytes = Zeroizing::new([0_u8; 64]);
        while code.len() < length {
            getrandom::fill(&mut *bytes)?;
            let fresh =
                bytes.iter().filter(|byte| **byte <= fair).filter_map(|byte| alphabet.get(usize::from(byte % count)));
            let missing = length - code.len();
            code.extend(fresh.take(missing));
        }
        Ok(Self(code))
    }

    /// The code in groups of about `group` characters, for the eye.
    pub fn shown(&self, separator: Option<char>, group: usize) -> Secret<String> {
        let mut shown = Zeroizing::new(String::with_capacity(self.0.len() * 2));
        for (at, c) in self.0.chars().enumerate() {
            if let Some(separator) = separator.filter(|_| at > 0 && at % group == 0) {
                shown.push(separator);
            }
            shown.push(c);
        }
        // The caller shows it to whom it is handed out.
        Secret::new(std::mem::take(&mut *shown))
    }
}

/// White space, what [`crate::config::value::Separator`] may be, and dashes of every kind.
fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '_' | '.' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{200b}'..='\u{200d}')
}

/// How the codes of a set are hashed: the opened secret of its authenticator.
pub enum Scheme {
    /// HMAC-SHA-256 under a key of its own.
    Keyed(SecretBytes),
    /// As another program hashed them: this many rounds, with this text for salt, over the code in two halves with a dash
    /// between.
    Pbkdf2 { rounds: u32, salt: String },
}

impl Scheme {
    /// The scheme that `secret` is; `None` where it is none.
    pub fn read(secret: SecretBytes) -> Option<Self> {
        // Told apart by what they look like.
        let bytes = secret.expose();
        if let Some(rest) = bytes.strip_prefix(PBKDF2.as_bytes()) {
            let (rounds, salt) = std::str::from_utf8(rest).ok()?.split_once('$')?;
            let rounds = rounds.parse().ok().filter(|rounds| (1..=ROUNDS).contains(rounds))?;
            return Some(Self::Pbkdf2 { rounds, salt: salt.to_owned() });
        }
        (bytes.len() == KEY).then(|| Self::Keyed(secret))
    }

    /// The secret of a set whose hashes another program made.
    pub fn pbkdf2(rounds: u32, salt: &str) -> SecretBytes {
        SecretBytes::new(format!("{PBKDF2}{rounds}${salt}").into_bytes())
    }

    /// Whether hashing takes long enough to do it elsewhere.
    pub const fn is_slow(&self) -> bool {
        match self {
            Self::Keyed(_) => false,
            Self::Pbkdf2 { rounds: _, salt: _ } => true,
        }
    }

    /// The hash of `code`, 32 bytes.
    pub fn hash(&self, code: &Code) -> Vec<u8> {
        match self {
            Self::Keyed(key) => {
                // HMAC takes keys of any length.
                let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else { return Vec::new() };
                mac.update(code.0.as_bytes());
                mac.finalize().into_bytes().to_vec()
            }
            Self::Pbkdf2 { rounds, salt } => {
                let half = code.0.len().div_ceil(2);
                let (first, second) = code.0.split_at_checked(half).unwrap_or((&code.0, ""));
                let text = Zeroizing::new(format!("{first}-{second}"));
                let mut hash = vec![0; 32];
                pbkdf2::pbkdf2_hmac::<Sha256>(text.as_bytes(), salt.as_bytes(), *rounds, &mut hash);
                hash
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(typed: &str) -> Option<String> {
        Code::typed(typed).map(|code| code.0.to_string())
    }

    #[test]
    fn codes_are_read_as_people_type_them() {
        for typed in
            ["abcdef-ghj234", "ABCDEF-GHJ234", " abcdefghj234 ", "abc def_ghj.234", "ａｂｃｄｅｆ－ｇｈｊ２３４"]
        {
            assert_eq!(read(typed).as_deref(), Some("abcdefghj234"), "{typed}");
        }
        for typed in ["", "123456", "abcdefghé234", "abcdefgh/234", "abcdefg\0hij", &"a".repeat(65)] {
            assert_eq!(read(typed), None, "{typed}");
        }
    }

    #[test]
    fn every_character_of_the_alphabet_comes() {
        let alphabet: Vec<char> = "23456789abcdefghjkmnpqrstuvwxyz".chars().collect();
        let code = Code::generate(&alphabet, 5000).unwrap();
        assert_eq!(code.0.len(), 5000);
        for c in &alphabet {
            let count = code.0.matches(*c).count();
            assert!((90..250).contains(&count), "{c}: {count}");
        }
        assert_eq!(Code::generate(&['a'], 3).unwrap().shown(Some('-'), 2).expose(), "aa-a");
    }

    #[test]
    fn a_hash_is_that_of_the_code_and_of_the_key() {
        let scheme = |byte| Scheme::read(SecretBytes::new(vec![byte; KEY])).unwrap();
        let code = |text| Code::typed(text).unwrap();
        assert_eq!(scheme(1).hash(&code("ABCD-2345")), scheme(1).hash(&code("abcd2345")));
        assert_ne!(scheme(1).hash(&code("abcd2345")), scheme(2).hash(&code("abcd2345")));
        assert_ne!(scheme(1).hash(&code("abcd2345")), scheme(1).hash(&code("abcd2346")));
        assert!(Scheme::read(SecretBytes::new(vec![1; KEY - 1])).is_none());
    }

    #[test]
    fn hashes_of_another_program_are_computed() {
        let scheme = Scheme::read(Scheme::pbkdf2(1000, "salt")).unwrap();
        let hash = scheme.hash(&Code::typed("AAAAAA BBBBBB").unwrap());
        // Made by piccolo 1.38.0.
        let expected = "e85102a49ba235580855c870c6e86c48b93ca16c1754ad5bcd2a93361ee91d44";
        assert_eq!(data_encoding::HEXLOWER.encode(&hash), expected);
        for flawed in ["pbkdf2_sha256$", "pbkdf2_sha256$0$s", "pbkdf2_sha256$9999999$s", "pbkdf2_sha256$x$s"] {
            assert!(Scheme::read(SecretBytes::new(flawed.as_bytes().to_vec())).is_none(), "{flawed}");
        }
    }
}

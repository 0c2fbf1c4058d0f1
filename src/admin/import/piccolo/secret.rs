//! Secrets as piccolo's encryption providers wrote them: `xchacha20-`, `fernet-` and `plain-`.

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::{BASE64URL, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::admin::import::cbc;
use crate::domain::secret::{Secret, SecretBytes};
use crate::otp::base32;

const KEY: usize = 32;
const NONCE: usize = 24;

/// Where in a Fernet token what stands: version (1), time (8), initialisation vector and ciphertext, MAC (32).
const FERNET_VERSION: u8 = 0x80;
const FERNET_HEADER: usize = 9;
const FERNET_MAC: usize = 32;

/// The key of an encryption provider: 32 bytes.
pub struct Keys(SecretBytes);

impl Keys {
    /// Reads a key: 64 hexadecimal digits, or 44 characters of base64 as Fernet keys are written.
    ///
    /// # Errors
    /// Where the text is neither.
    pub fn parse(text: &Secret<String>) -> Result<Self, String> {
        // Decoded into bytes of the same custody.
        let text = text.expose().trim().as_bytes();
        let decoded = HEXLOWER_PERMISSIVE.decode(text).or_else(|_| BASE64URL.decode(text));
        let key = decoded.ok().map(SecretBytes::new);
        // Only its length is looked at.
        key.filter(|key| key.expose().len() == KEY).map(Self).ok_or_else(|| {
            "the key file does not hold 32 bytes as 64 hexadecimal digits, or as 44 characters of base64 (Fernet)"
                .into()
        })
    }
}

/// Why there is no secret.
pub enum Failure {
    /// It was encrypted with another key, or changed.
    WrongKey,
    Flawed(&'static str),
}

/// The authenticator secret behind `text`.
///
/// # Errors
/// See [`Failure`].
pub fn open(text: &Secret<String>, keys: Option<&Keys>) -> Result<SecretBytes, Failure> {
    let base32 = decrypt(text, keys)?;
    // Decoding is what the text is for.
    base32::decode(base32.expose())
        .ok_or(Failure::Flawed("the secret is not base32 (letters A to Z and digits 2 to 7)"))
}

/// The text that was encrypted.
fn decrypt(text: &Secret<String>, keys: Option<&Keys>) -> Result<Secret<String>, Failure> {
    let no_key = Failure::Flawed("the secret is encrypted; name the file with its key: --key-file FILE");
    // Parsed by its prefix; what is behind it stays in custody.
    let text = text.expose();
    if let Some(plain) = text.strip_prefix("plain-") {
        if keys.is_some() {
            // A key vouches for what it opens: nobody without it can put a secret there.
            return Err(Failure::Flawed(
                "the secret is in plain text, and a key was given: anybody could have put it there; import those in \
                 plain text without --key-file",
            ));
        }
        Ok(Secret::new(plain.to_owned()))
    } else if let Some(sealed) = text.strip_prefix("xchacha20-") {
        utf8(&xchacha20(sealed, keys.ok_or(no_key)?)?)
    } else if let Some(token) = text.strip_prefix("fernet-") {
        utf8(&fernet(token, keys.ok_or(no_key)?)?)
    } else {
        Err(Failure::Flawed("the secret has none of the prefixes xchacha20-, fernet- and plain-"))
    }
}

/// Nonce, ciphertext and tag in hexadecimal; nothing is associated with them.
fn xchacha20(sealed: &str, Keys(key): &Keys) -> Result<SecretBytes, Failure> {
    let digits: String = sealed.split_whitespace().collect();
    let sealed = HEXLOWER_PERMISSIVE
        .decode(digits.as_bytes())
        .map_err(|_| Failure::Flawed("what is behind xchacha20- is not hexadecimal"))?;
    let (nonce, ciphertext) = sealed
        .split_first_chunk::<NONCE>()
        .ok_or(Failure::Flawed("what is behind xchacha20- is shorter than a nonce: the value was cut off"))?;
    // The cipher wipes its copy of the key.
    let cipher = XChaCha20Poly1305::new_from_slice(key.expose()).map_err(|_| Failure::WrongKey)?;
    let plain = cipher.decrypt(&XNonce::from(*nonce), ciphertext).map_err(|_| Failure::WrongKey)?;
    Ok(SecretBytes::new(plain))
}

/// A Fernet token (<https://github.com/fernet/spec>): its MAC is checked first, its age is not.
fn fernet(token: &str, Keys(key): &Keys) -> Result<SecretBytes, Failure> {
    let flawed = Failure::Flawed("what is behind fernet- is not a Fernet token");
    let Some(token) = BASE64URL.decode(token.trim().as_bytes()).ok().filter(|t| t.first() == Some(&FERNET_VERSION))
    else {
        return Err(flawed);
    };
    let body = token.len().checked_sub(FERNET_MAC).and_then(|at| token.split_at_checked(at));
    let Some((signed, mac)) = body else { return Err(flawed) };
    // The first half of the key signs, the second encrypts.
    let (sign, encrypt) = key.expose().split_at_checked(KEY / 2).ok_or(Failure::WrongKey)?;
    let mut expected = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(sign).map_err(|_| Failure::WrongKey)?;
    expected.update(signed);
    expected.verify_slice(mac).map_err(|_| Failure::WrongKey)?;
    signed.get(FERNET_HEADER..).and_then(|blocks| cbc::open(encrypt, blocks)).ok_or(Failure::WrongKey)
}

fn utf8(bytes: &SecretBytes) -> Result<Secret<String>, Failure> {
    // Still in custody.
    let text = std::str::from_utf8(bytes.expose());
    text.map(|text| Secret::new(text.to_owned())).map_err(|_| Failure::Flawed("the secret is not text"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        opens: Vec<Vector>,
        fails: Vec<Failing>,
        hashes: Vec<HashVector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        key: Option<String>,
        plain: String,
        stored: String,
    }

    #[derive(Deserialize)]
    struct Failing {
        what: String,
        key: String,
        stored: String,
        wrong_key: bool,
    }

    #[derive(Deserialize)]
    struct HashVector {
        code: String,
        stored: String,
    }

    fn vectors() -> Vectors {
        serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/piccolo.json"))).unwrap()
    }

    fn keys(text: &str) -> Keys {
        Keys::parse(&Secret::new(text.to_owned())).unwrap()
    }

    #[test]
    fn what_the_providers_wrote_is_read() {
        for Vector { key, plain, stored } in vectors().opens {
            let keys = key.as_deref().map(keys);
            let Ok(text) = decrypt(&Secret::new(stored.clone()), keys.as_ref()) else { panic!("{stored}") };
            assert_eq!(*text.expose(), plain, "{stored}");
        }
    }

    #[test]
    fn a_wrong_key_and_a_changed_value_open_nothing() {
        for Failing { what, key, stored, wrong_key } in vectors().fails {
            match open(&Secret::new(stored), Some(&keys(&key))) {
                Ok(_) => panic!("{what}: opens"),
                Err(Failure::WrongKey) => assert!(wrong_key, "{what}"),
                Err(Failure::Flawed(told)) => assert!(!wrong_key, "{what}: {told}"),
            }
        }
        for key in ["", "00", &"0".repeat(62), &"0".repeat(66), "CANARY"] {
            let told = Keys::parse(&Secret::new(key.to_owned())).err().unwrap();
            assert!(told.contains("32 bytes") && !told.contains("CANARY"), "{told}");
        }
    }

    #[test]
    fn hashed_recovery_codes_are_those_that_were_handed_out() {
        for HashVector { code, stored } in vectors().hashes {
            let hashed = super::super::hash::parse(&stored).unwrap();
            let mut hash = [0; 32];
            pbkdf2::pbkdf2_hmac::<Sha256>(code.as_bytes(), hashed.salt.as_bytes(), hashed.iterations, &mut hash);
            assert_eq!(hash, hashed.hash, "{stored}");
        }
    }
}

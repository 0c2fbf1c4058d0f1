//! Authenticated encryption of what is stored: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha), bound to where it belongs.
//!
//! Sealed bytes are: key id (4), nonce (24), ciphertext, tag (16). The associated data are the purpose and the parts that
//! name the place, each with its length before it, so that a row copied to another subscriber does not open.

use std::cell::RefCell;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use thiserror::Error;

use super::keys::{Key, KeyError, KeyId, Keys, Purpose};
use crate::domain::claimant::Subscriber;
use crate::domain::secret::SecretBytes;

const ID: usize = 4;
const NONCE: usize = 24;
const TAG: usize = 16;

/// How many bytes sealing adds.
pub const OVERHEAD: usize = ID + NONCE + TAG;

/// Why sealed bytes do not open.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SealError {
    #[error("sealed with key {0}, which is not among the master keys")]
    UnknownKey(KeyId),
    #[error("the sealed data are damaged, or belong elsewhere")]
    Forged,
    #[error("the operating system gives no randomness")]
    NoRandomness,
    #[error("there is no master key")]
    NoKey,
}

/// Seals and opens with the master keys.
pub struct Sealer {
    keys: RefCell<Keys>,
}

impl Sealer {
    /// A sealer over `keys`.
    pub const fn new(keys: Keys) -> Self {
        Self { keys: RefCell::new(keys) }
    }

    /// The id of the key that seals.
    pub fn newest(&self) -> Option<KeyId> {
        self.keys.borrow().newest().map(Key::id)
    }

    /// The ids of the keys that open, oldest first.
    pub fn ids(&self) -> Vec<KeyId> {
        self.keys.borrow().ids()
    }

    /// Whether the keys lie in memory that is never written to a disk.
    pub fn is_locked(&self) -> bool {
        self.keys.borrow().is_locked()
    }

    /// The key file, where the keys lie in one.
    pub fn file(&self) -> Option<std::path::PathBuf> {
        self.keys.borrow().file().map(ToOwned::to_owned)
    }

    /// Reads the key file again if it was replaced.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn refresh(&self) -> Result<bool, KeyError> {
        self.keys.borrow_mut().refresh()
    }

    /// Seals `plain` for `purpose` at the place that `parts` name.
    ///
    /// # Errors
    /// Where the operating system gives no randomness.
    pub fn seal(&self, purpose: Purpose, parts: &[&[u8]], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        // Keys that cannot be read now are kept; whoever starts is told.
        let _ = self.refresh();
        let keys = self.keys.borrow();
        let key = keys.newest().ok_or(SealError::NoKey)?;
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let payload = Payload { msg: plain, aad: &associated(purpose, parts) };
        let ciphertext = cipher(key, purpose).encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Forged)?;
        let mut sealed = Vec::with_capacity(OVERHEAD + plain.len());
        sealed.extend_from_slice(&key.id().0);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    /// Opens what was sealed for `purpose` at the place that `parts` name. For a key that is not known, and for a cookie
    /// by any key, the key file is looked at once more: it may have been rotated, or a key taken out of it, while this
    /// process runs.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn open(&self, purpose: Purpose, parts: &[&[u8]], sealed: &[u8]) -> Result<SecretBytes, SealError> {
        let (id, rest) = sealed.split_first_chunk::<ID>().ok_or(SealError::Forged)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE>().ok_or(SealError::Forged)?;
        let id = KeyId(*id);
        if purpose == Purpose::Cookie || self.keys.borrow().key(id).is_none() {
            let _ = self.refresh();
        }
        let keys = self.keys.borrow();
        let key = keys.key(id).ok_or(SealError::UnknownKey(id))?;
        let payload = Payload { msg: ciphertext, aad: &associated(purpose, parts) };
        cipher(key, purpose)
            .decrypt(&XNonce::from(*nonce), payload)
            .map(SecretBytes::new)
            .map_err(|_| SealError::Forged)
    }
}

/// The place of an authenticator's secret.
pub fn authenticator_place<'a>(subscriber: &'a Subscriber, id: &'a str) -> [&'a [u8]; 2] {
    [subscriber.as_str().as_bytes(), id.as_bytes()]
}

/// The key under which `sealed` was sealed.
pub fn key_of(sealed: &[u8]) -> Option<KeyId> {
    sealed.first_chunk::<ID>().map(|id| KeyId(*id))
}

fn cipher(key: &Key, purpose: Purpose) -> XChaCha20Poly1305 {
    // The cipher's own copy is wiped when it is dropped (its crate's feature `zeroize`).
    XChaCha20Poly1305::new((&*key.derived(purpose)).into())
}

fn associated(purpose: Purpose, parts: &[&[u8]]) -> Vec<u8> {
    let mut data = purpose.label().to_vec();
    for part in parts {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part);
    }
    data
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::value::SecretRef;

    /// A sealer with a new key, and the directory of its key file.
    pub fn sealer(name: &str) -> (Sealer, std::path::PathBuf) {
        let path = std::env::temp_dir().join(format!("countersign-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        crate::files::create_private(&path, super::super::keys::generate().unwrap().expose().as_bytes()).unwrap();
        (Sealer::new(Keys::load(&SecretRef::File(path.clone()), ToOwned::to_owned).unwrap()), path)
    }

    #[test]
    fn what_is_sealed_opens_at_its_own_place_only() {
        let (sealer, path) = sealer("place");
        let sealed = sealer.seal(Purpose::Authenticator, &[b"alice", b"1"], b"secret").unwrap();
        assert_eq!(sealer.open(Purpose::Authenticator, &[b"alice", b"1"], &sealed).unwrap().expose(), b"secret");
        let elsewhere: [(Purpose, &[&[u8]]); 4] = [
            (Purpose::Authenticator, &[b"bob", b"1"]),
            (Purpose::Authenticator, &[b"alic", b"e1"]),
            (Purpose::Authenticator, &[b"alice"]),
            (Purpose::Challenge, &[b"alice", b"1"]),
        ];
        for (purpose, place) in elsewhere {
            assert_eq!(sealer.open(purpose, place, &sealed).unwrap_err(), SealError::Forged);
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn no_changed_bit_and_no_cut_opens() {
        let (sealer, path) = sealer("bits");
        let sealed = sealer.seal(Purpose::Cookie, &[], b"x").unwrap();
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert!(sealer.open(Purpose::Cookie, &[], &changed).is_err());
            assert!(sealer.open(Purpose::Cookie, &[], &sealed[..byte]).is_err());
        }
        std::fs::remove_file(path).unwrap();
    }
}

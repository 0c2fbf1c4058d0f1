//! The secrets of a container: in plain text, or encrypted with AES-128 in CBC mode under a MAC (RFC 6030, 6).

use data_encoding::{BASE64, BASE64_MIME_PERMISSIVE, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::Node;
use super::tree::{attribute, child, find, text};
use crate::admin::import::cbc;
use crate::domain::foreign::Foreign;
use crate::domain::secret::{Secret, SecretBytes};

/// The most iterations that a password is stretched with.
const ITERATIONS: u32 = 10_000_000;

/// What the secrets of one container are read with.
pub struct Container {
    keys: Option<Keys>,
    plain: Plain,
}

/// What becomes of a secret in plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    Take,
    /// A key or a MAC vouches for the others: anybody could have put this one there.
    Refuse,
}

struct Keys {
    encryption: SecretBytes,
    mac: SecretBytes,
    method: Method,
}

#[derive(Clone, Copy)]
enum Method {
    Sha1,
    Sha256,
    Sha512,
}

/// A secret that was looked at.
pub enum Opened {
    Secret(SecretBytes),
    /// Its MAC is another one's.
    Forged,
}

impl Container {
    /// The keys of the container `root`, where its secrets are encrypted; `given` is the text of a key file.
    ///
    /// # Errors
    /// Where the key is missing, or is not that of the container, or it is encrypted in another way.
    pub fn of(root: Node<'_>, given: Option<&Secret<String>>) -> Result<Self, String> {
        let Some(described) = child(root, "EncryptionKey") else {
            let vouched = given.is_some() || child(root, "MACMethod").is_some();
            return Ok(Self { keys: None, plain: if vouched { Plain::Refuse } else { Plain::Take } });
        };
        let given =
            given.ok_or("the secrets are encrypted; name the file with the key or password: --key-file FILE")?;
        let encryption = match child(described, "DerivedKey") {
            Some(derived) => stretched(derived, given)?,
            None => pre_shared(given)?,
        };
        let method =
            child(root, "MACMethod").ok_or("the secrets are encrypted without a MAC; export them again with one")?;
        let algorithm = attribute(method, "Algorithm").unwrap_or_default();
        let (method, key) = match algorithm.rsplit(['#', '-']).next().unwrap_or_default() {
            "sha1" => (Method::Sha1, child(method, "MACKey")),
            "sha256" => (Method::Sha256, child(method, "MACKey")),
            "sha512" => (Method::Sha512, child(method, "MACKey")),
            _ => return Err(format!("the MAC method {}; expected hmac-sha1, -sha256 or -sha512", Foreign(algorithm))),
        };
        let mac = match key {
            Some(key) => decrypt(&encryption, &ciphertext(key)?)
                .ok_or("the key is not that of this file: the MAC key in it does not open")?,
            None => encryption.clone(),
        };
        Ok(Self { keys: Some(Keys { encryption, mac, method }), plain: Plain::Refuse })
    }

    /// The secret of the element `key`.
    ///
    /// # Errors
    /// Where there is none that can be read.
    pub fn open(&self, key: Node<'_>) -> Result<Opened, String> {
        let secret = find(key, &["Data", "Secret"]).ok_or("there is no <Secret> in it")?;
        if let Some(plain) = child(secret, "PlainValue").and_then(text) {
            if self.plain == Plain::Refuse {
                return Err(
                    "the secret is in plain text, where a key or a MAC vouches for the others: anybody could have \
                            put it there; import those in plain text from a file of their own, without --key-file"
                        .into(),
                );
            }
            return base64(plain).map(SecretBytes::new).map(Opened::Secret);
        }
        let encrypted =
            child(secret, "EncryptedValue").ok_or("there is neither <PlainValue> nor <EncryptedValue> in it")?;
        let Some(Keys { encryption, mac, method }) = &self.keys else {
            return Err("the secret is encrypted, and the file has no <EncryptionKey>".into());
        };
        let ciphertext = ciphertext(encrypted)?;
        let told = child(secret, "ValueMAC").and_then(text).ok_or("there is no <ValueMAC> beside the secret")?;
        if !method.fits(mac, &ciphertext, &base64(told)?) {
            return Ok(Opened::Forged);
        }
        Ok(decrypt(encryption, &ciphertext).map_or(Opened::Forged, Opened::Secret))
    }
}

impl Method {
    /// Whether `told` is the MAC of `data`, compared in constant time.
    fn fits(self, key: &SecretBytes, data: &[u8], told: &[u8]) -> bool {
        fn fits<M: Mac + KeyInit>(key: &SecretBytes, data: &[u8], told: &[u8]) -> bool {
            // The crate's own copy goes with the MAC.
            let mac = <M as KeyInit>::new_from_slice(key.expose()).map(|mac| mac.chain_update(data));
            mac.is_ok_and(|mac| mac.verify_slice(told).is_ok())
        }
        match self {
            Self::Sha1 => fits::<Hmac<Sha1>>(key, data, told),
            Self::Sha256 => fits::<Hmac<Sha256>>(key, data, told),
            Self::Sha512 => fits::<Hmac<Sha512>>(key, data, told),
        }
    }
}

/// A key as administrators hand it on: 32 hexadecimal digits, or the same 16 bytes in base64.
fn pre_shared(given: &Secret<String>) -> Result<SecretBytes, String> {
    // Decoded into bytes of the same custody.
    let text = given.expose().trim().as_bytes();
    let decoded = HEXLOWER_PERMISSIVE.decode(text).or_else(|_| BASE64.decode(text));
    let key = decoded.ok().map(SecretBytes::new);
    // Only its length is looked at.
    key.filter(|key| key.expose().len() == cbc::BLOCK)
        .ok_or_else(|| "the key file does not hold 16 bytes as 32 hexadecimal digits, or in base64".into())
}

/// The key that a password becomes: PBKDF2 (RFC 8018).
fn stretched(derived: Node<'_>, password: &Secret<String>) -> Result<SecretBytes, String> {
    let method = child(derived, "KeyDerivationMethod").ok_or("there is no <KeyDerivationMethod> in <DerivedKey>")?;
    let algorithm = attribute(method, "Algorithm").unwrap_or_default();
    if !algorithm.rsplit('#').next().unwrap_or_default().eq_ignore_ascii_case("pbkdf2") {
        return Err(format!("the key derivation {}; expected PBKDF2", Foreign(algorithm)));
    }
    let parameters = child(method, "PBKDF2-params").ok_or("there is no <PBKDF2-params> in <KeyDerivationMethod>")?;
    let number = |name| child(parameters, name).and_then(text).and_then(|text| text.parse::<u32>().ok());
    let salt = find(parameters, &["Salt", "Specified"]).and_then(text).ok_or("there is no <Specified> salt")?;
    let iterations = number("IterationCount")
        .filter(|count| (1..=ITERATIONS).contains(count))
        .ok_or_else(|| format!("<IterationCount>: expected 1 to {ITERATIONS}"))?;
    if number("KeyLength").is_some_and(|length| length != 16) {
        return Err("<KeyLength>: expected 16, for AES-128".into());
    }
    let function = child(parameters, "PRF").and_then(|node| attribute(node, "Algorithm")).unwrap_or_default();
    let mut key = vec![0; cbc::BLOCK];
    let (salt, password) = (base64(salt)?, Secret::new(password.expose().trim_end_matches(['\r', '\n']).to_owned()));
    // Stretched into a key of the same custody.
    let password = password.expose().as_bytes();
    match function.rsplit(['#', '-']).next().unwrap_or_default() {
        "" | "sha1" | "SHA1" => pbkdf2::pbkdf2_hmac::<Sha1>(password, &salt, iterations, &mut key),
        "sha256" | "SHA256" => pbkdf2::pbkdf2_hmac::<Sha256>(password, &salt, iterations, &mut key),
        "sha512" | "SHA512" => pbkdf2::pbkdf2_hmac::<Sha512>(password, &salt, iterations, &mut key),
        _ => return Err(format!("<PRF> {}; expected hmac-sha1, -sha256 or -sha512", Foreign(function))),
    }
    Ok(SecretBytes::new(key))
}

/// Initialisation vector and blocks of an encrypted element.
fn ciphertext(node: Node<'_>) -> Result<Vec<u8>, String> {
    let algorithm = child(node, "EncryptionMethod").and_then(|node| attribute(node, "Algorithm")).unwrap_or_default();
    if !algorithm.rsplit('#').next().unwrap_or_default().eq_ignore_ascii_case("aes128-cbc") {
        return Err(format!("the encryption {}; expected aes128-cbc", Foreign(algorithm)));
    }
    let value = find(node, &["CipherData", "CipherValue"]).and_then(text).ok_or("there is no <CipherValue> in it")?;
    base64(value)
}

fn decrypt(key: &SecretBytes, ciphertext: &[u8]) -> Option<SecretBytes> {
    // The cipher wipes its copy.
    cbc::open(key.expose(), ciphertext)
}

fn base64(text: &str) -> Result<Vec<u8>, String> {
    BASE64_MIME_PERMISSIVE.decode(text.as_bytes()).map_err(|_| "what should be base64 is not".into())
}

//! The signature of an answer, by which the server itself vouches for it, whatever lies between.
//!
//! RSASSA-PSS with SHA-256 and the longest salt that fits, over the text of the answer without the member `signature`.

use std::cell::OnceCell;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::pkcs8::DecodePublicKey;
use rsa::pss::{Signature, VerifyingKey};
use rsa::sha2::Sha256;
use rsa::signature::Verifier;
use rsa::traits::PublicKeyParts;
use serde_json::Value;
use x509_cert::der::pem;

use crate::client::ClientError;
use crate::files::{self, Exposure};
use crate::net::once;

/// What a signature begins with.
const SCHEME: &str = "rsa_sha256_pss:";

/// The length of a SHA-256, in bytes.
const HASH: usize = 32;

/// The public key of the server, read when the first answer comes.
pub struct ResponseKey {
    path: PathBuf,
    read: OnceCell<VerifyingKey<Sha256>>,
}

impl ResponseKey {
    /// The key in the file `path` (PEM).
    pub const fn new(path: PathBuf) -> Self {
        Self { path, read: OnceCell::new() }
    }

    /// Whether the server signed `text`, which was read as `body`, in answer to the request with this `nonce`.
    ///
    /// # Errors
    /// A communication error where it did not; [`ClientError::Unusable`] where the key cannot be read.
    pub fn verify(&self, text: &str, body: &Value, nonce: &str) -> Result<(), ClientError> {
        let key = self.key()?;
        signed(key, text, body).map_err(bad)?;
        if body.get("nonce").and_then(Value::as_str) != Some(nonce) {
            return Err(bad("the answer is signed, but belongs to another request: it does not repeat the nonce"));
        }
        Ok(())
    }

    /// Whether the key can be used.
    ///
    /// # Errors
    /// [`ClientError::Unusable`] where it cannot be read.
    pub fn check(&self) -> Result<(), ClientError> {
        self.key().map(drop)
    }

    fn key(&self) -> Result<&VerifyingKey<Sha256>, ClientError> {
        let read = || {
            let text = files::read_text(&self.path, Exposure::Readable).map_err(|error| error.to_string())?;
            parse(&text).ok_or_else(|| {
                format!("{}: is not the public RSA key of a privacyIDEA server in PEM", self.path.display())
            })
        };
        once(&self.read, || read().map_err(ClientError::Unusable))
    }
}

fn bad(reason: &str) -> ClientError {
    ClientError::communication("bad_signature", reason)
}

fn parse(text: &str) -> Option<VerifyingKey<Sha256>> {
    let (label, bytes) = pem::decode_vec(text.as_bytes()).ok()?;
    let key = match label {
        "PUBLIC KEY" => RsaPublicKey::from_public_key_der(&bytes).ok()?,
        "RSA PUBLIC KEY" => RsaPublicKey::from_pkcs1_der(&bytes).ok()?,
        _ => return None,
    };
    // RFC 8017, section 9.1.1: emLen is the modulus without its first bit, and holds hash, salt and two bytes.
    let salt = (key.n().bits().checked_sub(1)?).div_ceil(8).checked_sub(HASH + 2)?;
    Some(VerifyingKey::new_with_salt_len(key, salt))
}

/// Whether `key` signed everything in `body`, which stands in `text`, but the signature.
fn signed(key: &VerifyingKey<Sha256>, text: &str, body: &Value) -> Result<(), &'static str> {
    let signature = body.get("signature").and_then(Value::as_str).ok_or("the answer is not signed")?;
    let member = format!(", \"signature\": \"{signature}\"");
    let rest = match text.split(&member).collect::<Vec<_>>().as_slice() {
        [before, after] => format!("{before}{after}"),
        _ => return Err("the signature does not stand in the answer as the server writes it"),
    };
    // What was cut out must be that member, and everything that is read afterwards must be signed.
    let mut unsigned = body.clone();
    unsigned.as_object_mut().and_then(|members| members.remove("signature"));
    if serde_json::from_str::<Value>(&rest).ok().as_ref() != Some(&unsigned) {
        return Err("the signature does not stand in the answer as the server writes it");
    }
    let bytes = signature.strip_prefix(SCHEME).and_then(|hex| HEXLOWER.decode(hex.as_bytes()).ok());
    let signature = bytes.and_then(|bytes| Signature::try_from(bytes.as_slice()).ok());
    let signature = signature.ok_or("the signature is of an unknown kind; expected rsa_sha256_pss")?;
    let wrong = "the signature is not of the key in signature_key: another key, or somebody changed the answer";
    key.verify(rest.as_bytes(), &signature).map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: &str = include_str!("../../../tests/services/privacyidea/signature-vectors.json");

    fn vectors() -> (VerifyingKey<Sha256>, Vec<String>) {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let bodies = vectors["vectors"].as_array().unwrap().iter().map(|v| v["body"].as_str().unwrap().to_owned());
        (parse(vectors["public_key_pem"].as_str().unwrap()).unwrap(), bodies.collect())
    }

    fn check(key: &VerifyingKey<Sha256>, text: &str) -> Result<(), &'static str> {
        signed(key, text, &serde_json::from_str(text).unwrap())
    }

    #[test]
    fn what_the_server_signed_is_signed() {
        let (key, bodies) = vectors();
        assert_eq!(bodies.len(), 2);
        for body in bodies {
            assert_eq!(check(&key, &body), Ok(()), "{body}");
        }
    }

    #[test]
    fn what_was_changed_on_the_way_is_not_signed() {
        let (key, bodies) = vectors();
        let (ok, wrong) = (&bodies[0], &bodies[1]);
        let member = ok.find("\"signature\"").unwrap()..ok.find("\", \"time\"").unwrap() + 3;
        for changed in [
            ok.replace("HOTP_ALICE", "HOTP_MALLORY"),
            ok.replace("\"id\": 2", "\"id\":2"),
            ok.replace("\"value\": true", "\"value\": true, \"more\": 1"),
            ok.replace("\", \"time\"", "0\", \"time\""),
            ok.replace(SCHEME, "rsa_sha256_pkcs1:"),
            ok.replace(", \"signature\"", ",\"signature\""),
            ok.replace(
                "\"detail\"",
                &format!("\"other\": {{\"a\": 1, {}}}, \"detail\"", &ok[member.start..member.end - 2]),
            ),
            ok.replace(&ok[member.clone()], ""),
            wrong.replace("\"value\": false", "\"value\": true").replace("REJECT", "ACCEPT"),
        ] {
            assert_ne!(&changed, ok);
            let signed = check(&key, &changed);
            assert!(signed.is_err(), "{changed}");
        }
    }

    #[test]
    fn a_key_is_public_rsa_in_pem() {
        for text in ["", "rsa", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}

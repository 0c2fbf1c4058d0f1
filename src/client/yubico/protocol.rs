//! The protocol's text: what is asked, what is answered, and the signatures of both.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use url::Url;

use super::super::{ClientError, refused};
use super::Found;
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{Factor, Outcome, Proof, Refusal};
use crate::domain::secret::{Secret, SecretBytes, TypedCode};

/// The characters that a YubiKey types: those that lie on the same keys of most keyboards.
const MODHEX: &[u8] = b"cbdefghijklnrtuv";

/// How many characters of an OTP differ at each press; before them stands the key's public id.
const TOKEN: usize = 32;

/// The shortest key that signs, in bytes. Some servers sign with an empty one what they refuse early.
const KEY_LEAST: usize = 16;

/// The error code of an answer that belongs to a request of ours that came before.
pub const REPLAYED_REQUEST: &str = "replayed_request";

/// An OTP by its shape, in lower case.
pub struct Otp(Secret<String>);

impl Otp {
    /// What was typed, where it can be an OTP; a key under Caps Lock types capitals.
    pub fn read(typed: &TypedCode) -> Option<Self> {
        // Stays in a secret.
        let text = typed.expose().trim_matches(' ');
        let is_otp = (TOKEN..=TOKEN + 16).contains(&text.len())
            && text.bytes().all(|byte| MODHEX.contains(&byte.to_ascii_lowercase()));
        is_otp.then(|| Self(Secret::new(text.to_ascii_lowercase())))
    }

    /// An OTP that no key makes.
    pub fn of_nobody() -> Self {
        Self(Secret::new("v".repeat(12) + &"c".repeat(TOKEN)))
    }

    /// The key that it says it comes from; empty where it says none.
    pub fn public_id(&self) -> &str {
        // A name, which stands on many keys and in plugin.ini.
        let text = self.0.expose();
        text.split_at_checked(text.len().saturating_sub(TOKEN)).map_or("", |(id, _)| id)
    }
}

/// The key that signs what is asked and what is answered.
#[derive(Debug)]
pub struct ApiKey(SecretBytes);

impl ApiKey {
    /// The key that `text` is in base64.
    ///
    /// # Errors
    /// Where it is none; what it is then is not said.
    pub fn read(text: &Secret<String>) -> Result<Self, ClientError> {
        // Decoded into a secret.
        let key = BASE64.decode(text.expose().trim().as_bytes()).ok().filter(|key| key.len() >= KEY_LEAST);
        let reason =
            || ClientError::Unusable(format!("[yubico] api_key: expected base64 of at least {KEY_LEAST} bytes"));
        key.map(|key| Self(Secret::new(key))).ok_or_else(reason)
    }

    fn mac(&self, line: &str) -> Result<Hmac<Sha1>, ClientError> {
        // Goes into the signature only.
        let mac = Hmac::<Sha1>::new_from_slice(self.0.expose());
        let mut mac = mac.map_err(|_| ClientError::Unusable("[yubico] api_key: cannot sign".into()))?;
        mac.update(line.as_bytes());
        Ok(mac)
    }

    /// The signature of `pairs`, in base64.
    fn sign(&self, pairs: &[(&str, &str)]) -> Result<String, ClientError> {
        Ok(BASE64.encode(&self.mac(&line(pairs))?.finalize().into_bytes()))
    }

    /// Whether `signature` is that of `pairs`; takes the same time wherever it is wrong.
    fn has_signed(&self, pairs: &[(&str, &str)], signature: &str) -> Result<bool, ClientError> {
        let Ok(signature) = BASE64.decode(signature.as_bytes()) else { return Ok(false) };
        Ok(self.mac(&line(pairs))?.verify_slice(&signature).is_ok())
    }
}

/// What is signed: everything but the signature, sorted by name, not escaped.
fn line(pairs: &[(&str, &str)]) -> String {
    let mut pairs: Vec<_> = pairs.iter().filter(|(name, _)| *name != "h").collect();
    pairs.sort_unstable();
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// One question, the same for every server.
pub struct Asked {
    pub client_id: u32,
    pub otp: Otp,
    pub nonce: String,
}

impl Asked {
    /// Where to ask at `base`.
    ///
    /// # Errors
    /// Where it cannot be signed.
    pub fn address(&self, base: &Url, key: &ApiKey) -> Result<Url, ClientError> {
        let id = self.client_id.to_string();
        // Leaves in the address, as the protocol has it, over TLS.
        let pairs = [("id", id.as_str()), ("nonce", &self.nonce), ("otp", self.otp.0.expose())];
        let signature = key.sign(&pairs)?;
        let mut url = base.clone();
        url.query_pairs_mut().extend_pairs(pairs).append_pair("h", &signature);
        Ok(url)
    }
}

/// What a server's answer is to the question. The one place that takes an OTP for right: status OK, said once, signed with
/// our key, for the OTP and the nonce that were sent. Any other status is not: whoever signed it.
///
/// # Errors
/// Where the answer says nothing about the OTP.
pub fn judge(body: &str, key: &ApiKey, asked: &Asked) -> Found {
    let unexpected = |text: &str| ClientError::unexpected(text);
    let pairs = pairs(body).map_err(unexpected)?;
    let value = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let status = value("status").ok_or_else(|| unexpected("the answer has no status"))?;
    match status {
        "OK" => {
            if !value("h").is_some_and(|h| key.has_signed(&pairs, h).unwrap_or_default()) {
                let text = "OK, but not signed with api_key: somebody else answered, or api_key is another client's";
                return Err(ClientError::communication("bad_signature", text));
            }
            // Compared only; both were sent by us.
            if value("otp") != Some(asked.otp.0.expose().as_str()) || value("nonce") != Some(asked.nonce.as_str()) {
                return Err(unexpected("OK, but for another one-time password or another request"));
            }
            let reason = format!("the YubiKey {} typed it", asked.otp.public_id());
            Ok(Outcome::Verified(Proof::new(Factor::Otp, reason)))
        }
        "BAD_OTP" => {
            let text =
                "BAD_OTP: not typed whole, or of a key that the server does not know (or whose secret it cannot read)";
            Ok(refused(Refusal::WrongCode, text))
        }
        "REPLAYED_OTP" => Ok(refused(Refusal::UsedCode, "REPLAYED_OTP: this or a newer one was used before")),
        "DELAYED_OTP" => Ok(refused(Refusal::UsedCode, "DELAYED_OTP: typed long before it came")),
        "REPLAYED_REQUEST" => {
            let text = "REPLAYED_REQUEST: the server has seen this request before; a new one-time password is needed";
            Err(ClientError::communication(REPLAYED_REQUEST, text))
        }
        "NOT_ENOUGH_ANSWERS" | "BACKEND_ERROR" => Err(ClientError::communication(
            "service_fault",
            format!("{status}: the server cannot verify at the moment"),
        )),
        "BAD_SIGNATURE" => Err(ClientError::communication(
            "credentials_refused",
            "BAD_SIGNATURE: the server has another key for this client than api_key",
        )),
        "NO_SUCH_CLIENT" => Err(ClientError::communication(
            "credentials_refused",
            "NO_SUCH_CLIENT: the server knows no active client client_id, or has lost its database",
        )),
        "OPERATION_NOT_ALLOWED" => Err(ClientError::communication(
            "credentials_refused",
            "OPERATION_NOT_ALLOWED: the server does not let this client verify",
        )),
        "MISSING_PARAMETER" => {
            Err(unexpected("MISSING_PARAMETER: the server wants more than the protocol 2.0 asks for"))
        }
        other => Err(unexpected(&format!("the status \"{}\" is not one of the protocol", Foreign(other)))),
    }
}

/// Checks that an answer, whatever it says, is signed with our key.
///
/// # Errors
/// Where it is not.
pub fn check_signature(body: &str, key: &ApiKey) -> Result<(), ClientError> {
    let pairs = pairs(body).map_err(ClientError::unexpected)?;
    match pairs.iter().find(|(name, _)| *name == "h") {
        Some((_, h)) if key.has_signed(&pairs, h)? => Ok(()),
        Some(_) | None => Err(ClientError::communication("bad_signature", "the answer is not signed with api_key")),
    }
}

/// The lines of an answer, each `name=value`, no name twice.
fn pairs(body: &str) -> Result<Vec<(&str, &str)>, &'static str> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for line in body.lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once('=').ok_or("the answer is not lines of name=value")?;
        if pairs.iter().any(|(known, _)| *known == name) {
            return Err("the answer says something twice");
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// What a real server was asked and said, as far as signatures go.
    #[derive(Deserialize)]
    struct Vector {
        id: String,
        api_key_base64: String,
        request_signed_line: Option<String>,
        request_h: Option<String>,
        response_body: String,
        response_signed_line: String,
        response_h: String,
        signature_valid_with_api_key: bool,
        status: String,
    }

    fn vectors() -> Vec<Vector> {
        serde_json::from_str(include_str!("../../../tests/services/yubico/vectors.json")).unwrap()
    }

    fn key(text: &str) -> ApiKey {
        ApiKey::read(&Secret::new(text.to_owned())).unwrap()
    }

    fn asked(otp: &str, nonce: &str) -> Asked {
        let otp = Otp::read(&TypedCode::new(otp.to_owned())).unwrap();
        Asked { client_id: 87, otp, nonce: nonce.to_owned() }
    }

    /// What a judgement comes to, in a word.
    fn told(found: &Found) -> &'static str {
        match found {
            Ok(Outcome::Verified(_)) => "accept",
            Ok(Outcome::Denied(denial)) => denial.code(),
            Ok(Outcome::Ask { prompt: _, state: _ } | Outcome::Pushed { show: _, state: _ }) => "more",
            Err(ClientError::Communication(error)) => error.code,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn requests_and_answers_are_signed_as_in_every_vector() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 22);
        for vector in &vectors {
            let key = key(&vector.api_key_base64);
            if let Some(signed) = &vector.request_signed_line {
                let pairs: Vec<_> = signed.split('&').map(|pair| pair.split_once('=').unwrap()).rev().collect();
                assert_eq!(line(&pairs), *signed, "{}", vector.id);
                // One was signed with another key on purpose.
                let same = key.sign(&pairs).unwrap() == *vector.request_h.as_ref().unwrap();
                assert_eq!(same, vector.id != "bad-signature", "{}", vector.id);
            }
            let pairs = pairs(&vector.response_body).unwrap();
            assert_eq!(line(&pairs), vector.response_signed_line, "{}", vector.id);
            let valid = key.has_signed(&pairs, &vector.response_h).unwrap();
            assert_eq!(valid, vector.signature_valid_with_api_key, "{}", vector.id);
            assert_eq!(check_signature(&vector.response_body, &key).is_ok(), valid, "{}", vector.id);
        }
    }

    #[test]
    fn every_vector_is_judged_by_its_status() {
        for vector in vectors() {
            let said: Vec<_> = vector.response_body.lines().filter_map(|line| line.split_once('=')).collect();
            let echoed = |name: &str| said.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            let otp = echoed("otp").unwrap_or("vvcccccccccbtbghrfgdnjncbijgerrhgcgkdvghbdli");
            let found = judge(
                &vector.response_body,
                &key(&vector.api_key_base64),
                &asked(otp, echoed("nonce").unwrap_or_default()),
            );
            let expected = match vector.status.as_str() {
                "OK" => "accept",
                "BAD_OTP" => "wrong_code",
                "REPLAYED_OTP" => "used_code",
                "REPLAYED_REQUEST" => "replayed_request",
                "NOT_ENOUGH_ANSWERS" => "service_fault",
                "BAD_SIGNATURE" | "NO_SUCH_CLIENT" => "credentials_refused",
                _ => "unexpected_answer",
            };
            assert_eq!(told(&found), expected, "{}", vector.id);
        }
    }

    #[test]
    fn an_ok_that_was_changed_anywhere_is_no_ok() {
        let (otp, nonce) = ("vvcccccccccbtbghrfgdnjncbijgerrhgcgkdvghbdli", "ffeb512b55931ca7969eb995e4d7062f");
        let vectors = vectors();
        let vector = vectors.iter().find(|vector| vector.id == "ok-signed").unwrap();
        let (body, key) = (&vector.response_body, key(&vector.api_key_base64));
        assert_eq!(told(&judge(body, &key, &asked(otp, nonce))), "accept");
        assert_eq!(told(&judge(body, &key, &asked(otp, &nonce.replace('f', "e")))), "unexpected_answer");
        assert_eq!(told(&judge(body, &key, &asked(&otp.replace('t', "u"), nonce))), "unexpected_answer");
        for index in 0..body.len() {
            let mut bytes = body.clone().into_bytes();
            bytes[index] ^= 1;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            let found = judge(&text, &key, &asked(otp, nonce));
            let is_end = body.as_bytes()[index] == b'\n';
            assert!(told(&found) != "accept" || is_end, "{index}: {text}");
        }
    }

    #[test]
    fn only_what_a_key_types_is_an_otp() {
        let token = "tbghrfgdnjncbijgerrhgcgkdvghbdli";
        for (text, id) in [
            (token.to_owned(), ""),
            (format!("vvcccccccccb{token}"), "vvcccccccccb"),
            (format!(" VVCCCCCCCCCB{} ", token.to_uppercase()), "vvcccccccccb"),
            (format!("vvcccccccccbcccc{token}"), "vvcccccccccbcccc"),
        ] {
            assert_eq!(Otp::read(&TypedCode::new(text)).unwrap().public_id(), id);
        }
        let long = "c".repeat(49);
        // The last are what a Dvorak and a Russian keyboard make of a press, and a PIN before it.
        for text in
            ["", "123456", &token[1..], &long, &format!("vvcccccccccb{token}\0"), &format!("vvccccccccc\n{token}")]
                .into_iter()
                .map(str::to_owned)
                .chain([
                    format!("kkjjjjjjjjjx{token}"),
                    format!("ммссссссссси{token}"),
                    format!("1234vvcccccccccb{token}"),
                ])
        {
            assert!(Otp::read(&TypedCode::new(text.clone())).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_key_that_proves_nothing_is_none() {
        for text in ["", "====", "not base64", "c2hvcnQ="] {
            assert!(matches!(ApiKey::read(&Secret::new(text.to_owned())), Err(ClientError::Unusable(_))), "{text}");
        }
    }
}

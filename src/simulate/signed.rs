//! Answers that are signed, and not as they should be.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use rcgen::{KeyPair, PKCS_ED25519, SigningKey};
use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePublicKey;
use rsa::pss::SigningKey as PssKey;
use rsa::rand_core::OsRng;
use rsa::sha2::Sha256;
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use serde_json::{Value, json};
use sha1::Sha1;
use x509_cert::der::pem;

use super::SimulateError;
use super::guise::{Guise, YUBICO_KEY};
use super::request::Request;
use super::response::Response;
use crate::clock::Clock;

/// How long the key of a privacyIDEA server is.
const RSA_BITS: usize = 2048;

/// What is wrong with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Somebody else signed it.
    Signature,
    /// It is signed by the right one, for another request.
    Request,
}

/// A service that signs, with its keys.
pub enum Signer {
    Yubico,
    Privacyidea { accept: Response, key: Box<RsaPrivateKey> },
    Oidc { url: String, published: KeyPair, other: KeyPair },
}

impl Signer {
    /// The service of `guise` at `url`; `None` where its answers are not signed.
    ///
    /// # Errors
    /// Where a key cannot be made.
    pub fn new(guise: Guise, url: &str) -> Result<Option<Self>, SimulateError> {
        Ok(match guise {
            Guise::Yubico => Some(Self::Yubico),
            Guise::Oidc => Some(Self::Oidc {
                url: url.to_owned(),
                published: KeyPair::generate_for(&PKCS_ED25519)?,
                other: KeyPair::generate_for(&PKCS_ED25519)?,
            }),
            Guise::Privacyidea => {
                let key = RsaPrivateKey::new(&mut OsRng, RSA_BITS).map_err(other)?;
                Some(Self::Privacyidea { accept: guise.accept(url), key: Box::new(key) })
            }
            Guise::Http | Guise::Duo | Guise::Okta | Guise::Notify => None,
        })
    }

    /// The public key in PEM that plugin.ini has to name a file of, where it has to.
    ///
    /// # Errors
    /// Where it cannot be written so.
    pub fn published(&self) -> Result<Option<String>, SimulateError> {
        match self {
            Self::Yubico | Self::Oidc { .. } => Ok(None),
            Self::Privacyidea { accept: _, key } => {
                let der = key.to_public_key().to_public_key_der().map_err(other)?;
                pem::encode_string("PUBLIC KEY", pem::LineEnding::LF, der.as_bytes()).map(Some).map_err(other)
            }
        }
    }

    /// The answer to `request`, with that flaw in what would let somebody in.
    ///
    /// # Errors
    /// Where it cannot be signed.
    pub fn answer(&self, request: &Request, flaw: Flaw) -> Result<Response, SimulateError> {
        match self {
            Self::Yubico => yubico(request, flaw),
            Self::Privacyidea { accept, key } => privacyidea(accept, key, flaw),
            Self::Oidc { url, published, other } => oidc(request, flaw, url, published, other),
        }
    }
}

fn other(error: impl std::fmt::Display) -> SimulateError {
    SimulateError::Other(error.to_string())
}

/// The text without its signature is what is signed; a nonce of the request has to stand in it.
fn privacyidea(accept: &Response, key: &RsaPrivateKey, flaw: Flaw) -> Result<Response, SimulateError> {
    let text = String::from_utf8_lossy(&accept.body);
    let text = format!("{{\"nonce\": \"0123456789\", {}", text.trim_start_matches('{'));
    let signed = match flaw {
        Flaw::Signature => "something else",
        Flaw::Request => &text,
    };
    let signer = PssKey::<Sha256>::new_with_salt_len(key.clone(), RSA_BITS / 8 - 2 - 32);
    let signature = signer.try_sign_with_rng(&mut OsRng, signed.as_bytes()).map_err(other)?;
    let signature = HEXLOWER.encode(&signature.to_vec());
    let text = text.strip_suffix('}').unwrap_or(&text);
    Ok(accept.clone().body(format!("{text}, \"signature\": \"rsa_sha256_pss:{signature}\"}}")))
}

/// The validation protocol 2.0: OK, for the OTP that was asked about.
fn yubico(request: &Request, flaw: Flaw) -> Result<Response, SimulateError> {
    let asked = |name: &str| request.parameter(name).unwrap_or_default();
    let (key, nonce) = match flaw {
        Flaw::Signature => (&b"the key of somebody else"[..], asked("nonce")),
        Flaw::Request => (YUBICO_KEY, "0123456789abcdef0123456789abcdef".to_owned()),
    };
    let pairs = [format!("nonce={nonce}"), format!("otp={}", asked("otp")), "status=OK".to_owned()];
    let mut mac = Hmac::<Sha1>::new_from_slice(key).map_err(other)?;
    mac.update(pairs.join("&").as_bytes());
    let signature = BASE64.encode(&mac.finalize().into_bytes());
    Ok(Response::new(200, "text/plain", format!("h={signature}\r\n{}\r\n", pairs.join("\r\n"))))
}

/// A sign-in with another device, which is done at once (RFC 8628).
fn oidc(
    request: &Request,
    flaw: Flaw,
    url: &str,
    published: &KeyPair,
    other: &KeyPair,
) -> Result<Response, SimulateError> {
    let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let body = match request.path() {
        "/device" => json!({
            "device_code": "simulated", "user_code": "ABCD-EFGH", "verification_uri": format!("{url}/device"),
            "expires_in": 300, "interval": 1,
        }),
        "/keys" => json!({"keys": [
            {"kty": "OKP", "kid": "1", "use": "sig", "crv": "Ed25519", "x": text(published.public_key_raw())},
        ]}),
        "/token" => {
            let (key, client) = match flaw {
                Flaw::Signature => (other, "gateway"),
                Flaw::Request => (published, "another client"),
            };
            let now = Clock::System.now().0;
            let claims = json!({
                "iss": url, "aud": client, "sub": "1", "preferred_username": "alice", "iat": now, "exp": now + 300,
            });
            let part = |value: Value| text(value.to_string().as_bytes());
            let signed = format!("{}.{}", part(json!({"alg": "EdDSA", "kid": "1"})), part(claims));
            let signature = text(&key.sign(signed.as_bytes())?);
            json!({"access_token": "simulated", "token_type": "Bearer", "id_token": format!("{signed}.{signature}")})
        }
        _ => json!({
            "issuer": url, "device_authorization_endpoint": format!("{url}/device"),
            "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/keys"),
        }),
    };
    Ok(Response::json(200, &body))
}

//! Whether an id_token is the provider's word about a sign-in that just happened (OpenID Connect Core 1.0, section 3.1.3.7).

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::Value;

use super::super::ClientError;
use super::super::http::json;
use crate::domain::foreign::Foreign;
use crate::domain::secret::Secret;
use crate::domain::time::UnixTime;

/// By how much the provider's clock may differ from ours, in seconds.
const LEEWAY: u64 = 60;

/// The shortest RSA modulus, in bytes (RFC 7518, section 3.3).
const MODULUS: usize = 256;

/// The signatures that are proofs: those that only the provider can make. Never `none`; never HMAC, whose key this client
/// has too, and for which a published key could be taken.
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// What a token has to say.
pub struct Expected<'a> {
    pub is_issuer: &'a dyn Fn(&str) -> bool,
    pub client_id: &'a str,
    /// When the code was made: no token is older.
    pub started: UnixTime,
    /// When the token came.
    pub came: UnixTime,
}

/// What a token says that was found to be the provider's word.
pub struct Claims(Value);

impl Claims {
    /// A claim that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// Whether the provider does not say that the e-mail address may be somebody else's.
    pub fn email_may_be_verified(&self) -> bool {
        matches!(self.0.get("email_verified"), None | Some(Value::Bool(true)))
    }

    /// Whether one of `methods`, which are in lower case, is in `amr`, or is `acr`.
    pub fn has_method(&self, methods: &[String]) -> bool {
        let amr = self.0.get("amr").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        amr.chain(self.text("acr")).any(|said| methods.contains(&said.to_lowercase()))
    }
}

/// Verifies `token` by one of `keys` (RFC 7517), then what it says of itself.
///
/// # Errors
/// Where the token is not the provider's word about a sign-in for this client that just happened.
pub fn verify(token: &Secret<String>, keys: &Value, expected: &Expected<'_>) -> Result<Claims, ClientError> {
    let forged = |text: String| ClientError::communication("bad_signature", text);
    // Read only; nothing of it goes into an error but its algorithm, its times and whom it is for.
    let token = token.expose().as_str();
    let shape = || ClientError::unexpected("the id_token is not three parts of base64 that hold JSON".to_owned());
    let (signed, signature) = token.rsplit_once('.').ok_or_else(shape)?;
    let (header, payload) = signed.split_once('.').filter(|(_, payload)| !payload.contains('.')).ok_or_else(shape)?;
    let header = part(header).ok_or_else(shape)?;
    let name = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    let Some((name, algorithm)) = ALGORITHMS.into_iter().find(|(known, _)| *known == name) else {
        let text =
            format!("the id_token is signed by \"{}\", which proves nothing; expected RS256 or another", Foreign(name));
        return Err(forged(text));
    };
    if header.get("crit").is_some() {
        return Err(ClientError::unexpected(
            "the id_token says that it has to be read in a way that is not known here".to_owned(),
        ));
    }
    let id = match header.get("kid") {
        None => None,
        Some(id) => Some(id.as_str().ok_or_else(shape)?),
    };
    let mut fitting = published(keys).filter_map(|key| fit(key, name, algorithm, id));
    let key = match (fitting.next(), fitting.next()) {
        (Some(key), None) => key,
        (None, _) => return Err(forged(format!("the provider publishes no {name} key that the id_token names"))),
        (Some(_), Some(_)) => {
            return Err(ClientError::unexpected(format!(
                "the id_token does not say which of several {name} keys signed it"
            )));
        }
    };
    if !crypto::verify(signature, signed.as_bytes(), &key, algorithm).unwrap_or_default() {
        return Err(forged("the id_token is not signed by the provider".to_owned()));
    }
    let claims = Claims(part(payload).filter(Value::is_object).ok_or_else(shape)?);
    check(&claims, expected)?;
    Ok(claims)
}

/// How many of `keys` could verify something.
pub fn usable_keys(keys: &Value) -> usize {
    let fits = |key: &&Value| ALGORITHMS.into_iter().any(|(name, algorithm)| fit(key, name, algorithm, None).is_some());
    published(keys).filter(fits).count()
}

fn check(claims: &Claims, expected: &Expected<'_>) -> Result<(), ClientError> {
    let Expected { is_issuer, client_id, started, came } = expected;
    let issuer = claims.text("iss").unwrap_or_default();
    if !is_issuer(issuer) {
        return Err(ClientError::unexpected(format!("the id_token is of another issuer: \"{}\"", Foreign(issuer))));
    }
    let (is_for_us, others) = match claims.0.get("aud") {
        Some(Value::String(one)) => (one == client_id, false),
        Some(Value::Array(all)) => (all.iter().any(|one| one == client_id), all.len() > 1),
        Some(_) | None => (false, false),
    };
    let party = claims.0.get("azp");
    let is_party = match party {
        None => !others,
        Some(party) => party == client_id,
    };
    if !is_for_us || !is_party {
        return Err(ClientError::unexpected("the id_token is for another client (aud, azp)".to_owned()));
    }
    let time = |name: &str| {
        let time = claims.0.get(name).and_then(seconds);
        time.ok_or_else(|| ClientError::unexpected(format!("the id_token has no {name} that is a time")))
    };
    let (issued, expires) = (time("iat")?, time("exp")?);
    let begins = if claims.0.get("nbf").is_some() { time("nbf")? } else { issued };
    let skewed = |text: String| ClientError::communication("clock_skew", text);
    if came.since(expires) >= LEEWAY {
        return Err(skewed(format!("the id_token had expired {} s before it came", came.since(expires))));
    }
    if started.since(issued) > LEEWAY {
        return Err(skewed(format!("the id_token is {} s older than the code", started.since(issued))));
    }
    let early = issued.since(*came).max(begins.since(*came));
    if early > LEEWAY {
        return Err(skewed(format!("the id_token is of a time {early} s ahead of ours")));
    }
    Ok(())
}

/// One part of a token: JSON without a key twice, in base64url.
fn part(text: &str) -> Option<Value> {
    json::parse(&BASE64URL_NOPAD.decode(text.as_bytes()).ok()?).ok()
}

/// A time in seconds since 1970 (RFC 7519, NumericDate), which may have a fraction.
fn seconds(value: &Value) -> Option<UnixTime> {
    let whole = value.as_u64().or_else(|| {
        let fraction = value.as_f64().filter(|time| (0.0..1e15).contains(time))?;
        format!("{:.0}", fraction.floor()).parse().ok()
    });
    whole.map(UnixTime)
}

fn published(keys: &Value) -> impl Iterator<Item = &Value> {
    keys.get("keys").and_then(Value::as_array).into_iter().flatten()
}

/// The key, where it is one for this algorithm, for signatures, and the one that was named.
fn fit(key: &Value, name: &str, algorithm: Algorithm, id: Option<&str>) -> Option<DecodingKey> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let says = |name: &str, expected: &str| key.get(name).is_none_or(|said| said == expected);
    let may_verify = key
        .get("key_ops")
        .is_none_or(|uses| uses.as_array().is_some_and(|uses| uses.iter().any(|one| one == "verify")));
    if !says("use", "sig") || !says("alg", name) || !may_verify || (id.is_some() && text("kid") != id) {
        return None;
    }
    match (algorithm, text("kty")?) {
        (
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512,
            "RSA",
        ) => {
            let modulus = BASE64URL_NOPAD.decode(text("n")?.as_bytes()).ok()?;
            let length = modulus.iter().skip_while(|byte| **byte == 0).count();
            (length >= MODULUS).then(|| DecodingKey::from_rsa_components(text("n")?, text("e")?).ok()).flatten()
        }
        (Algorithm::ES256, "EC") if text("crv") == Some("P-256") => {
            DecodingKey::from_ec_components(text("x")?, text("y")?).ok()
        }
        (Algorithm::ES384, "EC") if text("crv") == Some("P-384") => {
            DecodingKey::from_ec_components(text("x")?, text("y")?).ok()
        }
        (Algorithm::EdDSA, "OKP") if text("crv") == Some("Ed25519") => DecodingKey::from_ed_components(text("x")?).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::super::told;
    use super::*;

    const ISSUER: &str = "http://127.0.0.1:8471";

    /// What a real provider was asked and said.
    fn recorded(id: &str) -> Value {
        let exchanges = include_str!("../../../tests/services/oidc/exchanges.jsonl");
        let exchange = exchanges.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        exchange.into_iter().find(|exchange| exchange["id"] == id).unwrap()["response"]["json"].clone()
    }

    fn checked(claims: Value, client_id: &str, started: u64, came: u64) -> Result<(), ClientError> {
        let is_issuer = |text: &str| text == ISSUER;
        let expected = Expected { is_issuer: &is_issuer, client_id, started: UnixTime(started), came: UnixTime(came) };
        check(&Claims(claims), &expected)
    }

    #[test]
    fn a_recorded_token_is_proved_by_its_key_and_by_no_other() {
        let is_issuer = |text: &str| text == ISSUER;
        let times = UnixTime(1_795_320_559);
        let expected = Expected { is_issuer: &is_issuer, client_id: "gateway", started: times, came: times };
        let keys = recorded("jwks");
        for (exchange, name) in [("approved", "alice"), ("approved-by-someone-else", "mallory")] {
            let token = recorded(exchange)["id_token"].as_str().unwrap().to_owned();
            let verified = |token: &str, keys: &Value| verify(&Secret::new(token.to_owned()), keys, &expected);
            assert_eq!(verified(&token, &keys).unwrap().text("preferred_username"), Some(name));
            assert_eq!(told(verified(&token, &json!({"keys": []}))), "bad_signature");
            let mut other = keys.clone();
            other["keys"][0]["kid"] = json!("test-2");
            assert_eq!(told(verified(&token, &other)), "bad_signature");
            for (field, value) in [("use", "enc"), ("alg", "RS512"), ("kty", "EC"), ("n", "AQAB")] {
                let mut other = keys.clone();
                other["keys"][0][field] = json!(value);
                assert_eq!(told(verified(&token, &other)), "bad_signature", "{field}");
            }
            let mut twice = keys.clone();
            let again = twice["keys"][0].clone();
            twice["keys"].as_array_mut().unwrap().push(again);
            assert_eq!(told(verified(&token, &twice)), "unexpected_answer");
            // One bit of each part but the last digits, which hold bits that do not count.
            for at in (0..token.len()).step_by(7).filter(|at| !token[*at..].starts_with('.')) {
                let mut bytes = token.clone().into_bytes();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                assert_ne!(told(verified(&String::from_utf8(bytes).unwrap(), &keys)), "ok", "{at}");
            }
        }
    }

    #[test]
    fn a_token_is_of_this_issuer_for_this_client_and_of_now() {
        let claims = |change: Value| {
            let mut claims = json!({"iss": ISSUER, "aud": "gateway", "iat": 1000, "exp": 1300});
            let Value::Object(change) = change else { panic!("{change}") };
            let claims_map: &mut Map<_, _> = claims.as_object_mut().unwrap();
            for (name, value) in change {
                if value.is_null() {
                    claims_map.remove(&name)
                } else {
                    claims_map.insert(name, value)
                };
            }
            claims
        };
        for (change, expected) in [
            (json!({}), "ok"),
            (json!({"aud": ["gateway"]}), "ok"),
            (json!({"aud": ["other", "gateway"], "azp": "gateway"}), "ok"),
            (json!({"azp": "gateway", "nbf": 1000}), "ok"),
            (json!({"iat": 1000.5, "exp": 1300.25}), "ok"),
            (json!({"iat": 1061}), "ok"),
            (json!({"iat": 940}), "ok"),
            (json!({"exp": 961}), "ok"),
            (json!({"iss": "http://127.0.0.1:8471/"}), "unexpected_answer"),
            (json!({"iss": [ISSUER]}), "unexpected_answer"),
            (json!({"iss": null}), "unexpected_answer"),
            (json!({"aud": "other"}), "unexpected_answer"),
            (json!({"aud": "GATEWAY"}), "unexpected_answer"),
            (json!({"aud": []}), "unexpected_answer"),
            (json!({"aud": ["other", "gateway"]}), "unexpected_answer"),
            (json!({"aud": ["other", "gateway"], "azp": "other"}), "unexpected_answer"),
            (json!({"aud": {"gateway": true}}), "unexpected_answer"),
            (json!({"aud": null}), "unexpected_answer"),
            (json!({"azp": "other"}), "unexpected_answer"),
            (json!({"exp": null}), "unexpected_answer"),
            (json!({"exp": "1300"}), "unexpected_answer"),
            (json!({"exp": -1}), "unexpected_answer"),
            (json!({"exp": 1e300}), "unexpected_answer"),
            (json!({"iat": null}), "unexpected_answer"),
            (json!({"iat": true}), "unexpected_answer"),
            (json!({"nbf": "soon"}), "unexpected_answer"),
            (json!({"exp": 960}), "clock_skew"),
            (json!({"exp": 0}), "clock_skew"),
            (json!({"iat": 939}), "clock_skew"),
            (json!({"iat": 1081}), "clock_skew"),
            (json!({"nbf": 1081}), "clock_skew"),
        ] {
            assert_eq!(told(checked(claims(change.clone()), "gateway", 1000, 1020)), expected, "{change}");
        }
    }

    #[test]
    fn methods_are_in_amr_or_acr() {
        let methods = ["mfa".to_owned(), "hwk".to_owned()];
        for (claims, expected) in [
            (json!({"amr": ["pwd", "MFA"]}), true),
            (json!({"acr": "hwk"}), true),
            (json!({"amr": ["pwd"], "acr": "0"}), false),
            (json!({"amr": "mfa"}), false),
            (json!({"amr": [["mfa"]]}), false),
            (json!({}), false),
        ] {
            assert_eq!(Claims(claims.clone()).has_method(&methods), expected, "{claims}");
        }
    }
}

//! How requests to Duo are signed (Auth API v2, "Authentication"): an HMAC over the request's lines, as Basic credentials.

use data_encoding::{BASE64, HEXLOWER};
use hmac::digest::common::KeyInit;
use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::client::ClientError;
use crate::domain::secret::Secret;

/// Everything but `A-Za-z0-9_.~-`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'~').remove(b'-');

/// What is signed of a request, whatever the generation.
pub struct Signed<'a> {
    /// As in the header `Date`.
    pub date: &'a str,
    pub method: &'a str,
    /// Without the port.
    pub host: &'a str,
    pub path: &'a str,
    /// As [`parameters`] makes it.
    pub parameters: &'a str,
}

impl Signed<'_> {
    /// The lines of generation 2, which every later one begins with.
    fn lines(&self) -> Zeroizing<String> {
        let Self { date, method, host, path, parameters } = self;
        let (method, host) = (method.to_uppercase(), host.to_lowercase());
        Zeroizing::new(format!("{date}\n{method}\n{host}\n{path}\n{parameters}"))
    }

    /// The text of generation 2: the parameters are a form's, or the query's.
    pub fn second(&self) -> Zeroizing<String> {
        self.lines()
    }

    /// The text of generation 5: a body's parameters are covered by its digest; no `X-Duo-` header is sent.
    pub fn fifth(&self, body: &[u8]) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n{}\n{}", *self.lines(), digest(body), digest(b"")))
    }
}

/// Names and values, escaped, in the order in which they are signed.
pub fn parameters<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Zeroizing<String> {
    let mut pairs: Vec<(String, Zeroizing<String>)> =
        pairs.map(|(name, value)| (escape(name), Zeroizing::new(escape(value)))).collect();
    pairs.sort_by(|one, other| (&one.0, one.1.as_str()).cmp(&(&other.0, other.1.as_str())));
    let joined: Vec<_> = pairs.iter().map(|(name, value)| Zeroizing::new(format!("{name}={}", **value))).collect();
    Zeroizing::new(joined.iter().map(|pair| pair.as_str()).collect::<Vec<_>>().join("&"))
}

/// The value of the header `Authorization` for the signed text.
///
/// # Errors
/// [`ClientError::Unusable`] where the key is none.
pub fn authorization(ikey: &str, skey: &str, text: &str) -> Result<Secret<String>, ClientError> {
    credentials::<Hmac<Sha512>>(ikey, skey, text)
}

fn credentials<M: Mac + KeyInit>(ikey: &str, skey: &str, text: &str) -> Result<Secret<String>, ClientError> {
    let mac = <M as KeyInit>::new_from_slice(skey.as_bytes());
    let mut mac = mac.map_err(|_| ClientError::Unusable("skey has a length that no key has".into()))?;
    mac.update(text.as_bytes());
    let signature = HEXLOWER.encode(&mac.finalize().into_bytes());
    Ok(Secret::new(format!("Basic {}", BASE64.encode(format!("{ikey}:{signature}").as_bytes()))))
}

/// The text with everything escaped but `A-Za-z0-9_.~-`.
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha512::digest(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;
    use sha1::Sha1;

    use super::*;

    fn vectors(kind: &str) -> Vec<Value> {
        let text = include_str!("../../../tests/services/duo/vectors.json");
        serde_json::from_str::<Value>(text).unwrap()[kind].as_array().unwrap().clone()
    }

    fn joined(vector: &Value) -> Zeroizing<String> {
        let pairs = vector["params"].as_object().unwrap();
        parameters(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())))
    }

    #[test]
    fn parameters_are_escaped_and_sorted_as_the_vendor_does() {
        let vectors = vectors("canon_params");
        assert_eq!(vectors.len(), 8);
        for vector in vectors {
            assert_eq!(joined(&vector).as_str(), vector["expect"].as_str().unwrap());
        }
    }

    #[test]
    fn requests_are_signed_as_the_vendor_does() {
        let vectors = vectors("sign");
        assert_eq!(vectors.len(), 10);
        for vector in vectors {
            let field = |name: &str| vector[name].as_str().unwrap();
            let line = joined(&vector);
            let signed = Signed {
                date: field("date"),
                method: field("method"),
                host: field("host"),
                path: field("path"),
                parameters: &line,
            };
            let body = vector["body"].as_str().unwrap_or_default();
            let text = match vector["sig_version"].as_u64() {
                Some(2) => signed.second(),
                // What generation 5 adds to it is the last line, of headers that we do not send.
                Some(4) => Zeroizing::new(format!("{}\n{}", *signed.lines(), digest(body.as_bytes()))),
                Some(5) => match vector["x_duo_headers"].as_object() {
                    None => signed.fifth(body.as_bytes()),
                    Some(headers) => {
                        let headers: BTreeMap<_, _> = headers.iter().map(|(n, v)| (n.to_lowercase(), v)).collect();
                        let parts: Vec<_> =
                            headers.iter().flat_map(|(n, v)| [n.as_str(), v.as_str().unwrap()]).collect();
                        let headers = digest(parts.join("\0").as_bytes());
                        Zeroizing::new(format!("{}\n{}\n{headers}", *signed.lines(), digest(body.as_bytes())))
                    }
                },
                other => panic!("{other:?}"),
            };
            assert_eq!(text.as_str(), field("canonical"));
            let header = match field("algorithm") {
                "sha512" => authorization(field("ikey"), field("skey"), &text).unwrap(),
                "sha1" => credentials::<Hmac<Sha1>>(field("ikey"), field("skey"), &text).unwrap(),
                other => panic!("{other}"),
            };
            assert_eq!(header.expose(), field("authorization"));
        }
    }
}

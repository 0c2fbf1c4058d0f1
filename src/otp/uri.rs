//! otpauth URIs, written as authenticator apps read them and read as strictly as a secret deserves.
//!
//! Source: the key URI format of Google Authenticator's wiki, as it is implemented by the apps.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use thiserror::Error;
use url::Url;

use super::base32;
use crate::domain::authenticator::{Algorithm, Hotp, Totp};
use crate::domain::secret::{Secret, SecretBytes};

/// Everything but the characters that RFC 3986 leaves unreserved.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The shortest authenticator secret that is taken, in bytes (RFC 4226, 4, R6: 128 bits).
pub const SECRET_MINIMUM: usize = 16;

/// The shortest one that is taken over where an administrator allows weak ones, in bytes: what apps made for years.
pub const SECRET_WEAKEST: usize = 10;

/// The longest authenticator secret that is taken, in bytes.
pub const SECRET_MAXIMUM: usize = 256;

/// What an otpauth URI says.
#[derive(Debug)]
pub struct OtpAuth {
    pub issuer: Option<String>,
    pub account: String,
    pub totp: Totp,
    pub secret: SecretBytes,
}

/// What an otpauth URI of either kind says, before anybody looks whether its secret is long enough.
#[derive(Debug)]
pub struct KeyUri {
    pub issuer: Option<String>,
    pub account: String,
    pub kind: Kind,
    pub secret: SecretBytes,
}

/// The kinds of authenticators that have such URIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Totp(Totp),
    /// With the counter that is used next.
    Hotp(Hotp, u64),
}

/// Why a text is not an otpauth URI that can be enrolled. Says nothing of the secret.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UriError {
    #[error("this is not a URI; expected one line such as otpauth://totp/Issuer:alice?secret=...&issuer=Issuer")]
    NotUri,
    #[error("the URI does not begin with otpauth://totp/ or otpauth://hotp/")]
    NotTotp,
    #[error("counter-based authenticators (otpauth://hotp/) cannot be verified; enrol a time-based one")]
    Hotp,
    #[error("the label is not UTF-8")]
    Label,
    #[error("the parameter {0} is there more than once")]
    Duplicate(&'static str),
    #[error("there is no secret= parameter")]
    NoSecret,
    #[error("the secret is not base32 (letters A to Z and digits 2 to 7)")]
    NotBase32,
    #[error("the secret has {0} bits; at least 128 are needed (RFC 4226, 4)")]
    Short(usize),
    #[error("the secret is longer than 2048 bits")]
    Long,
    #[error("unknown algorithm; expected SHA1, SHA256 or SHA512")]
    Algorithm,
    #[error("digits: expected 6, 7 or 8")]
    Digits,
    #[error("period: expected 15 to 120 seconds")]
    Period,
    #[error("counter: expected a number, the counter that is used next")]
    Counter,
}

impl KeyUri {
    /// Reads a URI. Parameters that it does not know, such as `image`, do not matter.
    ///
    /// # Errors
    /// See [`UriError`].
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let url = Url::parse(text.trim()).map_err(|_| UriError::NotUri)?;
        if url.scheme() != "otpauth" {
            return Err(UriError::NotTotp);
        }
        let is_hotp = match url.host_str() {
            Some(kind) if kind.eq_ignore_ascii_case("totp") => false,
            Some(kind) if kind.eq_ignore_ascii_case("hotp") => true,
            Some(_) | None => return Err(UriError::NotTotp),
        };
        let parameter = |name: &'static str| {
            // A plus sign in a query is a plus sign here: issuers are called "A+B", and nobody writes spaces so.
            let mut values = url
                .query()
                .unwrap_or_default()
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned());
            let first = values.next();
            if values.next().is_some() { Err(UriError::Duplicate(name)) } else { Ok(first) }
        };
        let label = url.path().strip_prefix('/').unwrap_or_default();
        let (prefix, account) = split_label(label)?;
        let secret = Secret::new(parameter("secret")?.ok_or(UriError::NoSecret)?);
        let algorithm = match parameter("algorithm")? {
            None => Algorithm::Sha1,
            Some(name) => Algorithm::named(&name).ok_or(UriError::Algorithm)?,
        };
        let digits = number(parameter("digits")?, 6, 6..=8).ok_or(UriError::Digits)?;
        let kind = if is_hotp {
            let counter = parameter("counter")?.map_or(Some(0), |text| text.trim().parse().ok());
            Kind::Hotp(Hotp { algorithm, digits }, counter.ok_or(UriError::Counter)?)
        } else {
            let period = number(parameter("period")?, 30, 15..=120).ok_or(UriError::Period)?.into();
            Kind::Totp(Totp { algorithm, digits, period })
        };
        Ok(Self {
            issuer: parameter("issuer")?.or(prefix).filter(|issuer| !issuer.is_empty()),
            account,
            kind,
            // Decoding is what the text is for.
            secret: base32::decode(secret.expose()).ok_or(UriError::NotBase32)?,
        })
    }
}

impl OtpAuth {
    /// Reads the URI of a time-based authenticator whose secret is long enough.
    ///
    /// # Errors
    /// See [`UriError`].
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let KeyUri { issuer, account, kind, secret } = KeyUri::parse(text)?;
        let totp = match kind {
            Kind::Totp(totp) => totp,
            Kind::Hotp(_, _) => return Err(UriError::Hotp),
        };
        // Only its length is looked at.
        match secret.expose().len() {
            short if short < SECRET_MINIMUM => Err(UriError::Short(short * 8)),
            long if long > SECRET_MAXIMUM => Err(UriError::Long),
            _ => Ok(Self { issuer, account, totp, secret }),
        }
    }

    /// The URI, as [`KeyUri::to_uri`] writes it.
    pub fn to_uri(&self) -> Secret<String> {
        written(self.issuer.as_deref(), &self.account, Kind::Totp(self.totp), &self.secret)
    }
}

impl KeyUri {
    /// The URI, its secret in custody. Defaults are left out, as the apps expect, but for the counter, which they want.
    pub fn to_uri(&self) -> Secret<String> {
        written(self.issuer.as_deref(), &self.account, self.kind, &self.secret)
    }
}

fn written(issuer: Option<&str>, account: &str, kind: Kind, secret: &SecretBytes) -> Secret<String> {
    let encode = |text: &str| utf8_percent_encode(text, COMPONENT).to_string();
    let (account, issuer) = (encode(account), issuer.map(encode));
    let (word, algorithm, digits, rest) = match kind {
        Kind::Totp(Totp { algorithm, digits, period: 30 }) => ("totp", algorithm, digits, String::new()),
        Kind::Totp(Totp { algorithm, digits, period }) => ("totp", algorithm, digits, format!("&period={period}")),
        Kind::Hotp(Hotp { algorithm, digits }, counter) => ("hotp", algorithm, digits, format!("&counter={counter}")),
    };
    // The URI is the secret: it is shown to the person who enrols, and nowhere else.
    let secret = base32::encode(secret);
    let mut uri = match &issuer {
        Some(issuer) => {
            format!("otpauth://{word}/{issuer}:{account}?secret={}&issuer={issuer}", secret.expose())
        }
        None => format!("otpauth://{word}/{account}?secret={}", secret.expose()),
    };
    if algorithm != Algorithm::Sha1 {
        uri.push_str("&algorithm=");
        uri.push_str(algorithm.name());
    }
    if digits != 6 {
        uri.push_str(&format!("&digits={digits}"));
    }
    uri.push_str(&rest);
    Secret::new(uri)
}

/// `Issuer:account` or `account`; the colon may be encoded, and then only the first one separates.
fn split_label(label: &str) -> Result<(Option<String>, String), UriError> {
    let decode =
        |text: &str| percent_decode_str(text).decode_utf8().map(|t| t.trim().to_owned()).map_err(|_| UriError::Label);
    if let Some((issuer, account)) = label.split_once(':') {
        return Ok((Some(decode(issuer)?), decode(account)?));
    }
    let whole = decode(label)?;
    let (issuer, account) = split_decoded(&whole);
    Ok((issuer.map(ToOwned::to_owned), account.to_owned()))
}

/// The same of a text in which nothing is encoded.
pub fn split_decoded(label: &str) -> (Option<&str>, &str) {
    match label.split_once(':') {
        Some((issuer, account)) => (Some(issuer.trim()), account.trim()),
        None => (None, label.trim()),
    }
}

fn number(text: Option<String>, default: u32, allowed: std::ops::RangeInclusive<u32>) -> Option<u32> {
    match text {
        None => Some(default),
        Some(text) => text.parse().ok().filter(|n| allowed.contains(n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

    fn error(uri: &str) -> UriError {
        OtpAuth::parse(uri).unwrap_err()
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (issuer, account) in [
            ("Test", "bob"),
            ("A+B", "x+y@example.com"),
            ("Issuer:Colon", "acct:colon"),
            ("%3A", "a%3Ab"),
            ("Žluť & kůň", "jiří@příklad.cz"),
            ("a/b", "c/d"),
        ] {
            let written = OtpAuth {
                issuer: Some(issuer.into()),
                account: account.into(),
                totp: Totp { algorithm: Algorithm::Sha512, digits: 8, period: 60 },
                secret: base32::decode(SECRET).unwrap(),
            };
            let uri = written.to_uri();
            let read = OtpAuth::parse(uri.expose()).unwrap();
            assert_eq!((read.issuer.as_deref(), read.account.as_str()), (Some(issuer), account), "{}", uri.expose());
            assert_eq!((read.totp, read.secret.expose()), (written.totp, written.secret.expose()));
        }
    }

    #[test]
    fn a_counter_is_written_and_read_back() {
        let written = KeyUri {
            issuer: Some("T".into()),
            account: "bob".into(),
            kind: Kind::Hotp(Hotp { algorithm: Algorithm::Sha256, digits: 8 }, 7),
            secret: base32::decode(SECRET).unwrap(),
        };
        let uri = written.to_uri();
        assert!(uri.expose().ends_with("&issuer=T&algorithm=SHA256&digits=8&counter=7"), "{}", uri.expose());
        assert_eq!(KeyUri::parse(uri.expose()).unwrap().kind, written.kind);
    }

    #[test]
    fn each_flaw_has_its_own_error() {
        let with = |rest: &str| format!("otpauth://totp/T:bob?secret={SECRET}{rest}");
        assert_eq!(error("hello"), UriError::NotUri);
        assert_eq!(error("https://example.com/?secret=x"), UriError::NotTotp);
        assert_eq!(error(&format!("otpauth://hotp/T:bob?secret={SECRET}&counter=0")), UriError::Hotp);
        assert_eq!(error("otpauth://totp/T:bob?issuer=T"), UriError::NoSecret);
        assert_eq!(error("otpauth://totp/T:bob?secret=10"), UriError::NotBase32);
        assert_eq!(error("otpauth://totp/T:bob?secret="), UriError::Short(0));
        assert_eq!(error("otpauth://totp/T:bob?secret=JBSWY3DPEHPK3PXP"), UriError::Short(80));
        assert_eq!(error(&with("&secret=AAAA")), UriError::Duplicate("secret"));
        assert_eq!(error(&with("&algorithm=MD5")), UriError::Algorithm);
        assert_eq!(error(&with("&digits=9")), UriError::Digits);
        assert_eq!(error(&with("&period=0")), UriError::Period);
        assert_eq!(error(&format!("otpauth://hotp/T:bob?secret={SECRET}&counter=x")), UriError::Counter);
    }

    #[test]
    fn a_counter_based_one_says_which_counter_comes_next() {
        let next = |rest: &str| KeyUri::parse(&format!("otpauth://hotp/T:bob?secret={SECRET}{rest}")).unwrap().kind;
        let hotp = Hotp { algorithm: Algorithm::Sha1, digits: 6 };
        assert_eq!(next(""), Kind::Hotp(hotp, 0));
        assert_eq!(next("&counter=5&period=0"), Kind::Hotp(hotp, 5));
    }
}

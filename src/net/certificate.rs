//! What to tell an administrator about a server's certificate.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::domain::foreign::Foreign;
use crate::domain::time::UnixTime;

/// A certificate that ends sooner than this is told, in seconds.
const SOON: u64 = 14 * 86_400;

/// Who the server says it is, who says so, and until when; `chain` has its own certificate first.
pub fn describe(chain: &[CertificateDer<'_>], now: UnixTime) -> String {
    let Some(first) = chain.first() else { return "no certificate was presented".into() };
    shown(first, now).unwrap_or_else(|| "a certificate that cannot be read was presented".into())
}

/// What to do where a handshake ended in `error`.
pub fn remedy(error: &str) -> &'static str {
    match error {
        _ if error.contains("UnknownIssuer") || error.contains("BadSignature") => {
            "nobody trusted signed it: name the authority's certificate in ca_file (of a directory: ca_cert)"
        }
        _ if error.contains("not valid for name") || error.contains("NotValidForName") => {
            "the certificate is for another name: write that name in plugin.ini"
        }
        _ if error.contains("Expired") || error.contains("expired") => "the service needs a new certificate",
        _ if error.contains("NotValidYet") => "check the clock of this machine",
        _ if error.contains("pin_sha256") => "if the service has a new key, write its SHA-256 into pin_sha256",
        _ if error.contains("CertificateRequired") || error.contains("HandshakeFailure") => {
            "the service may ask for a certificate: set client_cert and client_key"
        }
        _ => "check that the port speaks TLS, and who answers there",
    }
}

fn shown(certificate: &CertificateDer<'_>, now: UnixTime) -> Option<String> {
    let certificate = Certificate::from_der(certificate.as_ref()).ok()?;
    let body = certificate.tbs_certificate();
    let ends = body.validity().not_after.to_unix_duration();
    let when = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_secs(ends.as_secs()));
    let left = ends.as_secs().saturating_sub(now.0);
    let note = match left {
        0 => " (over)".to_owned(),
        left if left < SOON => format!(" (in {} days)", left / 86_400),
        _ => String::new(),
    };
    let (subject, issuer) = (body.subject().to_string(), body.issuer().to_string());
    let by = if subject == issuer { "itself".to_owned() } else { Foreign(&issuer).to_string() };
    Some(format!("{} signed by {by}, until {when}{note}", Foreign(&subject)))
}

//! otpauth:// URIs, one a line, as authenticator apps and services write them.

use super::incoming::{Incoming, Reading, Used, What};
use crate::otp::uri::{KeyUri, Kind};

/// Reads such URIs; empty lines and lines that begin with `#` do not count.
///
/// # Errors
/// Where there is none.
pub fn read(text: &str) -> Result<Reading, String> {
    let mut reading = Reading::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let place = format!("line {}", index + 1);
            let entry = KeyUri::parse(line).map(|uri| incoming(&place, uri)).map_err(|error| error.to_string());
            reading.note(place, entry);
        }
    }
    if reading.found.is_empty() && reading.flaws.is_empty() {
        return Err("there is no otpauth:// line".into());
    }
    Ok(reading)
}

fn incoming(place: &str, uri: KeyUri) -> Incoming {
    let KeyUri { issuer: _, account, kind, secret } = uri;
    let (what, used) = match kind {
        Kind::Totp(totp) => (What::Totp { totp, secret }, Used::Nothing),
        Kind::Hotp(hotp, next) => (What::Hotp { hotp, secret }, Used::before(next)),
    };
    Incoming { place: place.to_owned(), user: Some(account), label: None, what, used, created: None }
}

//! What Google Authenticator shows as QR codes when accounts are transferred: `otpauth-migration://offline?data=…`, a
//! protobuf message in base64, one URI for each code.
//!
//! Google publishes no description; the fields are those that the app writes, as several open readers know them.

use std::collections::BTreeMap;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use percent_encoding::percent_decode_str;
use prost::Message;

use super::incoming::{Incoming, Reading, Used, What};
use crate::domain::authenticator::{Algorithm, Hotp, Totp};
use crate::domain::secret::{Secret, SecretBytes};
use crate::otp::uri::split_decoded;

const PREFIX: &str = "otpauth-migration://offline?data=";

/// The longest line: a QR code holds 4296 characters at most.
const LINE: usize = 8 * 1024;

#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(message, repeated, tag = "1")]
    accounts: Vec<Account>,
    /// How many URIs the export has, and which one this is, from 0.
    #[prost(int32, tag = "3")]
    batch_size: i32,
    #[prost(int32, tag = "4")]
    batch_index: i32,
    /// The same in all URIs of one export.
    #[prost(int32, tag = "5")]
    batch_id: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Account {
    #[prost(bytes = "vec", tag = "1")]
    secret: Vec<u8>,
    /// `account`, or `issuer:account`.
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    issuer: String,
    /// 0 and 1: SHA-1, 2: SHA-256, 3: SHA-512, 4: MD5.
    #[prost(int32, tag = "4")]
    algorithm: i32,
    /// 0 and 1: six, 2: eight.
    #[prost(int32, tag = "5")]
    digits: i32,
    /// 1: HOTP, 0 and 2: TOTP.
    #[prost(int32, tag = "6")]
    kind: i32,
    /// The next one to be used.
    #[prost(int64, tag = "7")]
    counter: i64,
}

/// Reads such URIs, one a line.
///
/// # Errors
/// Where there is none, or one of an export is missing.
pub fn read(text: &str) -> Result<Reading, String> {
    let mut reading = Reading::default();
    let mut batches: BTreeMap<i32, Vec<(i32, i32)>> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("line {}", index + 1);
        match payload(line) {
            Ok(Payload { accounts, batch_size, batch_index, batch_id }) => {
                batches.entry(batch_id).or_default().push((batch_index, batch_size));
                for (number, account) in accounts.into_iter().enumerate() {
                    let place = format!("{place}, account {}", number + 1);
                    let incoming = incoming(&place, account);
                    reading.note(place, incoming);
                }
            }
            Err(what) => reading.note(place, Err(what)),
        }
    }
    if batches.is_empty() && reading.flaws.is_empty() {
        return Err(format!("there is no line that begins with {PREFIX}"));
    }
    for parts in batches.into_values() {
        let size = parts.iter().map(|(_, size)| *size).max().unwrap_or_default();
        if let Some(missing) = (0..size.min(1000)).find(|index| !parts.iter().any(|(there, _)| there == index)) {
            return Err(format!(
                "QR code {} of {size} of the export is missing; scan all of them, one URI a line",
                missing + 1
            ));
        }
    }
    Ok(reading)
}

fn payload(line: &str) -> Result<Payload, String> {
    if line.len() > LINE {
        return Err("the line is longer than 8 KiB, which no QR code holds; expected one URI a line".into());
    }
    let data = line
        .get(..PREFIX.len())
        .filter(|prefix| prefix.eq_ignore_ascii_case(PREFIX))
        .and_then(|_| line.get(PREFIX.len()..))
        .ok_or_else(|| format!("the URI does not begin with {PREFIX}"))?;
    let data = Secret::new(percent_decode_str(data).decode_utf8_lossy().into_owned());
    let bytes = [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD]
        .iter()
        // Decoded into bytes of the same custody.
        .find_map(|form| form.decode(data.expose().as_bytes()).ok())
        .map(SecretBytes::new)
        .ok_or("what is behind data= is not base64: was the line cut off?")?;
    // Parsed; each secret is taken into custody by itself.
    Payload::decode(bytes.expose().as_slice())
        .map_err(|_| "what is behind data= is no export of Google Authenticator: was the line cut off?".to_owned())
}

fn incoming(place: &str, account: Account) -> Result<Incoming, String> {
    let Account { secret, name, issuer, algorithm, digits, kind, counter } = account;
    let secret = SecretBytes::new(secret);
    let algorithm = match algorithm {
        0 | 1 => Algorithm::Sha1,
        2 => Algorithm::Sha256,
        3 => Algorithm::Sha512,
        4 => return Err("unknown algorithm MD5; expected SHA1, SHA256 or SHA512".into()),
        _ => return Err("unknown algorithm; expected SHA1, SHA256 or SHA512".into()),
    };
    let digits = match digits {
        0 | 1 => 6,
        2 => 8,
        _ => return Err("unknown number of digits; expected 6 or 8".into()),
    };
    let (what, used) = match kind {
        0 | 2 => (What::Totp { totp: Totp { algorithm, digits, period: 30 }, secret }, Used::Nothing),
        1 => {
            let next = u64::try_from(counter).map_err(|_| "the counter is negative")?;
            (What::Hotp { hotp: Hotp { algorithm, digits }, secret }, Used::before(next))
        }
        _ => return Err("unknown kind; expected TOTP or HOTP".into()),
    };
    // The issuer is no part of whose it is.
    let user = name.strip_prefix(&issuer).and_then(|rest| rest.strip_prefix(':'));
    let user = user.filter(|_| !issuer.is_empty()).map_or_else(|| split_decoded(&name).1, str::trim);
    Ok(Incoming { place: place.to_owned(), user: Some(user.to_owned()), label: None, what, used, created: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> Account {
        let secret = b"12345678901234567890".to_vec();
        Account { secret, name: name.into(), issuer: "T".into(), algorithm: 1, digits: 1, kind: 2, counter: 0 }
    }

    fn uri(accounts: Vec<Account>, batch_size: i32, batch_index: i32) -> String {
        let payload = Payload { accounts, batch_size, batch_index, batch_id: 7 };
        let data = BASE64.encode(&payload.encode_to_vec());
        format!("{PREFIX}{}", data.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"))
    }

    #[test]
    fn an_export_of_the_app_is_read() {
        // The well-known example of the format: one account, made by the app.
        let line =
            "otpauth-migration://offline?data=CjEKCkhlbGxvId6tvu8SGEV4YW1wbGU6YWxpY2VAZ29vZ2xlLmNvbRoHRXhhbXBsZTAC";
        let Reading { found, flaws, passed: _, remarks: _ } = read(line).unwrap();
        assert!(flaws.is_empty(), "{flaws:?}");
        let [Incoming { user, what: What::Totp { totp, secret }, .. }] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(user.as_deref(), Some("alice@google.com"));
        assert_eq!(*totp, Totp { algorithm: Algorithm::Sha1, digits: 6, period: 30 });
        assert_eq!(secret.expose().as_slice(), b"Hello!\xde\xad\xbe\xef");
    }

    #[test]
    fn every_kind_of_account_is_read() {
        let hotp = Account { algorithm: 3, digits: 2, kind: 1, counter: 5, ..account("T:b") };
        let text = [uri(vec![account("T:a")], 2, 0), "# scanned".into(), uri(vec![hotp], 2, 1)].join("\n");
        let Reading { found, flaws, passed: _, remarks: _ } = read(&text).unwrap();
        assert!(flaws.is_empty(), "{flaws:?}");
        let [a, b] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!([a.user.as_deref(), b.user.as_deref()], [Some("a"), Some("b")]);
        assert!(
            matches!(b.what, What::Hotp { hotp: Hotp { algorithm: Algorithm::Sha512, digits: 8 }, secret: _ }),
            "{b:?}"
        );
        assert!(matches!(b.used, Used::UpTo(4)), "{b:?}");
    }

    #[test]
    fn a_missing_part_is_told_and_so_is_each_flaw() {
        assert_eq!(
            read(&uri(vec![account("a")], 3, 1)).unwrap_err(),
            "QR code 1 of 3 of the export is missing; scan all of them, one URI a line"
        );
        assert!(read("\n").unwrap_err().starts_with("there is no line that begins with"));
        for (account, expected) in [
            (Account { algorithm: 4, ..account("a") }, "unknown algorithm MD5"),
            (Account { digits: 3, ..account("a") }, "unknown number of digits"),
            (Account { kind: 3, ..account("a") }, "unknown kind"),
            (Account { kind: 1, counter: -1, ..account("a") }, "the counter is negative"),
        ] {
            let flaws = read(&uri(vec![account], 1, 0)).unwrap().flaws;
            assert!(flaws.len() == 1 && flaws[0].what.starts_with(expected), "{flaws:?}");
            assert_eq!(flaws[0].place, "line 1, account 1");
        }
        let cut = uri(vec![account("a")], 1, 0);
        for line in ["CANARY", "otpauth://totp/x?secret=CANARY", &format!("{PREFIX}CANARY!"), &cut[..60]] {
            let flaws = read(line).unwrap().flaws;
            assert!(flaws.len() == 1 && !flaws[0].what.contains("CANARY"), "{line}: {flaws:?}");
        }
    }
}

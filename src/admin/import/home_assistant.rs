//! Home Assistant's `.storage/auth_module.totp`: a JSON file with a secret for each of its user ids.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::incoming::{Incoming, Reading, Used, What};
use crate::domain::authenticator::{Algorithm, Totp};
use crate::domain::foreign::Foreign;
use crate::domain::secret::Secret;
use crate::otp::base32;

/// What its codes are made with.
const TOTP: Totp = Totp { algorithm: Algorithm::Sha1, digits: 6, period: 30 };

#[derive(Deserialize)]
struct Storage {
    version: u32,
    key: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    users: BTreeMap<String, String>,
}

/// Reads such a file; the users are the ids that Home Assistant gave them.
///
/// # Errors
/// Where the text is not such a file.
pub fn read(text: &str) -> Result<Reading, String> {
    let Storage { version, key, data: Data { users } } = serde_json::from_str(text).map_err(|error| {
        // Its own text may repeat what stands there.
        let (line, column) = (error.line(), error.column());
        format!("line {line}, column {column}: this is not the file .storage/auth_module.totp of Home Assistant")
    })?;
    if version != 1 || key != "auth_module.totp" {
        return Err(format!(
            "this is version {version} of \"{}\"; expected version 1 of auth_module.totp",
            Foreign(&key)
        ));
    }
    let mut reading = Reading::default();
    for (user, secret) in users {
        let secret = Secret::new(secret);
        let place = format!("user {}", Foreign(&user));
        // Decoding is what the text is for.
        let entry = base32::decode(secret.expose())
            .map(|secret| Incoming {
                place: place.clone(),
                user: Some(user),
                label: None,
                what: What::Totp { totp: TOTP, secret },
                used: Used::Nothing,
                created: None,
            })
            .ok_or_else(|| "the secret is not base32 (letters A to Z and digits 2 to 7)".to_owned());
        reading.note(place, entry);
    }
    Ok(reading)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

    #[test]
    fn every_user_brings_a_secret() {
        let text = format!(
            "{{\"version\": 1, \"minor_version\": 1, \"key\": \"auth_module.totp\", \"data\": {{\"users\": \
             {{\"2f8a\": \"{SECRET}\", \"9c01\": \"CANARY1\"}}}}}}"
        );
        let Reading { found, flaws, passed: _, remarks: _ } = read(&text).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].user.as_deref(), Some("2f8a"));
        assert_eq!((flaws.len(), flaws[0].place.as_str()), (1, "user 9c01"));
        assert!(!flaws[0].what.contains("CANARY"));
    }

    #[test]
    fn another_file_is_told_apart() {
        assert!(read("CANARY").unwrap_err().starts_with("line 1, column 1: this is not the file"));
        let other = "{\"version\": 1, \"key\": \"auth\", \"data\": {\"users\": {}}}";
        assert!(read(other).unwrap_err().contains("expected version 1 of auth_module.totp"));
        let wrong = "{\"version\": 1, \"key\": \"auth_module.totp\", \"data\": {\"users\": {\"a\": 5}}}";
        assert!(read(wrong).unwrap_err().starts_with("line 1, column"));
    }
}

//! The rows of piccolo_api's table `authenticator_secret`, as JSON or CSV.
//!
//! Of a user's rows, the newest that is not revoked counts; all others are passed over.

mod hash;
mod row;
mod secret;

use std::collections::BTreeMap;

use self::row::Row;
use self::secret::{Failure, Keys};
use super::incoming::{Incoming, Reading, Used, What};
use crate::domain::authenticator::{Algorithm, Totp};
use crate::domain::foreign::Foreign;
use crate::domain::secret::Secret;

/// What pyotp makes codes with by default.
const TOTP: Totp = Totp { algorithm: Algorithm::Sha1, digits: 6, period: 30 };

/// Reads the rows; `key` is the text of a key file, for secrets that are encrypted.
///
/// # Errors
/// Where the text is not such rows, or the key fits none of the secrets.
pub fn read(text: &str, key: Option<&Secret<String>>) -> Result<Reading, String> {
    let keys = key.map(Keys::parse).transpose()?;
    let mut reading = Reading::default();
    let mut newest: BTreeMap<String, Row> = BTreeMap::new();
    for row in row::rows(text)? {
        if row.is_revoked {
            reading.passed.push(format!("{}: passed over: revoked", row.place));
            continue;
        }
        let older = match newest.remove(&row.user) {
            Some(other) if other.created > row.created => {
                newest.insert(other.user.clone(), other);
                Some(row.place)
            }
            other => {
                newest.insert(row.user.clone(), row);
                other.map(|other| other.place)
            }
        };
        if let Some(place) = older {
            reading.passed.push(format!("{place}: passed over: the user has a newer one"));
        }
    }
    let mut wrong = 0;
    let mut opened = 0;
    for row in newest.into_values() {
        let place = row.place.clone();
        match row.secret.as_ref().map(|text| secret::open(text, keys.as_ref())) {
            Some(Ok(secret)) => {
                opened += 1;
                take(&mut reading, row, secret);
            }
            Some(Err(Failure::WrongKey)) => {
                wrong += 1;
                reading.note(place, Err("the key does not open the secret: it is another row's, or damaged".into()));
            }
            Some(Err(Failure::Flawed(what))) => reading.note(place, Err(what.into())),
            None => reading.note(place, Err("there is no secret in this row".into())),
        }
    }
    if wrong > 0 && opened == 0 {
        return Err(
            "the key opens none of the secrets; name the file with the key that they were encrypted with".into()
        );
    }
    Ok(reading)
}

/// Takes over a row whose secret is open: the authenticator and, where there are any, its recovery codes.
fn take(reading: &mut Reading, row: Row, secret: crate::domain::secret::SecretBytes) {
    let Row { place, user, secret: _, recovery_codes, created: _, is_revoked: _, last_code } = row;
    let codes: Result<Vec<_>, _> = recovery_codes.iter().map(|text| hash::parse(text)).collect();
    reading.found.push(Incoming {
        place: place.clone(),
        user: Some(user.clone()),
        label: None,
        what: What::Totp { totp: TOTP, secret },
        used: last_code.map_or(Used::Nothing, Used::Code),
        created: None,
    });
    match codes {
        Ok(codes) if codes.is_empty() => {}
        Ok(codes) => reading.found.push(Incoming {
            place,
            user: Some(user),
            label: None,
            what: What::RecoveryHashes(codes),
            used: Used::Nothing,
            created: None,
        }),
        Err(what) => reading.note(place, Err(format!("a recovery code of user {}: {what}", Foreign(&user)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
    const HASH: &str = "pbkdf2_sha256$1000$salt$e85102a49ba235580855c870c6e86c48b93ca16c1754ad5bcd2a93361ee91d44";

    #[test]
    fn the_newest_live_row_of_each_user_counts_in_every_form() {
        let json = format!(
            r#"[{{"id": 1, "user_id": 7, "secret": "plain-{SECRET}", "recovery_codes": ["{HASH}"], "created_at": "2026-01-02",
                 "revoked_at": null, "last_used_code": "123456"}},
                {{"id": 2, "user_id": 7, "secret": "plain-CANARY1", "recovery_codes": [], "created_at": "2026-01-01",
                 "revoked_at": null, "last_used_code": null}},
                {{"id": 3, "user_id": 8, "secret": "plain-CANARY1", "recovery_codes": [], "created_at": "2026-01-01",
                 "revoked_at": "2026-01-03", "last_used_code": null}}]"#
        );
        let text = format!(
            "id,user_id,secret,recovery_codes,created_at,revoked_at,last_used_code\n\
             1,7,plain-{SECRET},\"{{{HASH}}}\",2026-01-02,,123456\n\
             2,7,plain-CANARY1,{{}},2026-01-01,,\n3,8,plain-CANARY1,{{}},2026-01-01,2026-01-03,\n"
        );
        for text in [json, text] {
            let Reading { found, flaws, mut passed, remarks: _ } = read(&text, None).unwrap();
            assert!(flaws.is_empty(), "{flaws:?}");
            passed.sort();
            assert_eq!(passed, ["row 2: passed over: the user has a newer one", "row 3: passed over: revoked"]);
            let [one, codes] = found.as_slice() else { panic!("{found:?}") };
            assert!(matches!(one.what, What::Totp { totp: TOTP, secret: _ }) && matches!(one.used, Used::Code(_)));
            assert!(matches!(&codes.what, What::RecoveryHashes(codes) if codes.len() == 1), "{codes:?}");
            assert_eq!([one.user.as_deref(), codes.user.as_deref()], [Some("7"); 2]);
        }
    }

    #[test]
    fn each_flawed_row_is_told_and_nothing_of_it_is_repeated() {
        let text = format!(
            r#"[{{"user_id": 1, "secret": "CANARY"}}, {{"user_id": 2}}, {{"username": "c", "secret": "plain-CANARY1"}},
                {{"user_id": 4, "secret": "xchacha20-00"}},
                {{"user_id": 5, "secret": "plain-{SECRET}", "recovery_codes": ["CANARY"]}}]"#
        );
        let Reading { found, flaws, passed: _, remarks: _ } = read(&text, None).unwrap();
        assert_eq!((found.len(), flaws.len()), (1, 5), "{flaws:?}");
        assert!(flaws.iter().all(|flaw| !flaw.what.contains("CANARY")), "{flaws:?}");
        for text in ["", "CANARY", "[5]", "[{\"secret\": \"plain-CANARY\"}]", "a,b\n1,2\n"] {
            let told = read(text, None).unwrap_err();
            assert!(!told.contains("CANARY"), "{told}");
        }
    }
}

//! `users.oath`: the file in which oath-toolkit's pam_oath keeps everybody's authenticators.
//!
//! Each line is: type, user, PIN, secret in hexadecimal, and behind them what was used last: counter, code, time. Source:
//! liboath/usersfile.c and pam_oath(5) of oath-toolkit.

use data_encoding::HEXLOWER_PERMISSIVE;

use super::incoming::{Incoming, Reading, Used, What};
use crate::domain::authenticator::{Algorithm, Hotp, Totp};
use crate::domain::foreign::Foreign;
use crate::domain::secret::{Secret, SecretBytes};

/// Reads such a file.
///
/// # Errors
/// Where no line of it is one of an authenticator.
pub fn read(text: &str) -> Result<Reading, String> {
    let mut reading = Reading::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let place = format!("line {}", index + 1);
            let entry = entry(&place, line);
            reading.note(place, entry);
        }
    }
    if reading.found.is_empty() && reading.flaws.is_empty() {
        return Err("there is no line such as: HOTP/T30 alice - 00112233445566778899aabbccddeeff".into());
    }
    Ok(reading)
}

fn entry(place: &str, line: &str) -> Result<Incoming, String> {
    let mut fields = line.split_whitespace();
    let (Some(kind), Some(user), Some(pin), Some(secret)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("expected type, user, PIN (or -) and secret, such as: HOTP/T30 alice - 00112233…".into());
    };
    // What stands behind the counter was typed at the last login.
    let (counter, last) = (fields.next(), fields.next());
    let kind = Kind::named(kind).ok_or_else(|| {
        format!(
            "the type \"{}\" is not known; expected HOTP, HOTP/E/6, HOTP/T30, HOTP/T30/6 or the like",
            Foreign(kind)
        )
    })?;
    match pin {
        "-" | "+" => {}
        _ => {
            return Err(
                "a PIN is set, and codes are verified here without one: write - in its place once the gateway \
                        asks for a password of its own"
                    .into(),
            );
        }
    }
    let secret = SecretBytes::new(
        HEXLOWER_PERMISSIVE
            .decode(secret.as_bytes())
            .map_err(|_| "the secret is not hexadecimal: expected an even number of digits 0 to 9 and a to f")?,
    );
    let last = last.map(|code| Secret::new(code.to_owned()));
    let (what, used) = match kind {
        Kind::Counter { digits } => {
            let counter: u64 = counter.unwrap_or("0").parse().map_err(|_| "the counter is not a number")?;
            // The counter is that of the last code where there was one, else the first to be used.
            let used = if last.is_some() { Used::UpTo(counter) } else { Used::before(counter) };
            (What::Hotp { hotp: Hotp { algorithm: Algorithm::Sha1, digits }, secret }, used)
        }
        Kind::Time { digits, period } => {
            let totp = Totp { algorithm: Algorithm::Sha1, digits, period };
            (What::Totp { totp, secret }, last.map_or(Used::Nothing, Used::Code))
        }
    };
    Ok(Incoming { place: place.to_owned(), user: Some(user.to_owned()), label: None, what, used, created: None })
}

enum Kind {
    Counter { digits: u32 },
    Time { digits: u32, period: u64 },
}

impl Kind {
    fn named(text: &str) -> Option<Self> {
        let digits = |text: &str| match text {
            "" | "/6" => Some(6),
            "/7" => Some(7),
            "/8" => Some(8),
            _ => None,
        };
        let rest = text.strip_prefix("HOTP")?;
        for (name, period) in [("/T30", 30), ("/T60", 60)] {
            if let Some(rest) = rest.strip_prefix(name) {
                return digits(rest).map(|digits| Self::Time { digits, period });
            }
        }
        let digits = match rest {
            "" => Some(6),
            _ => digits(rest.strip_prefix("/E")?),
        };
        digits.map(|digits| Self::Counter { digits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "3132333435363738393031323334353637383930";

    fn one(line: &str) -> Incoming {
        let Reading { mut found, flaws, passed: _, remarks: _ } = read(line).unwrap();
        assert!(flaws.is_empty() && found.len() == 1, "{line}: {flaws:?}");
        found.remove(0)
    }

    fn told(line: &str) -> String {
        match one(line) {
            Incoming { place: _, user: _, label: _, what: What::Totp { totp, secret: _ }, used, created: _ } => {
                format!("totp {} {} {used:?}", totp.digits, totp.period)
            }
            Incoming { what: What::Hotp { hotp: Hotp { algorithm: _, digits }, secret: _ }, used, .. } => {
                format!("hotp {digits} {used:?}")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_type_is_read_with_its_digits_and_what_was_used() {
        for (line, expected) in [
            (format!("HOTP bob - {HEX}"), "hotp 6 Nothing"),
            (format!("HOTP/E bob - {HEX} 0"), "hotp 6 Nothing"),
            (format!("HOTP/E/7 bob - {HEX} 5"), "hotp 7 UpTo(4)"),
            (format!("HOTP/E/8\tbob\t-\t{HEX}\t5\t12345678\t2009-12-07T00:00:00L"), "hotp 8 UpTo(5)"),
            (format!("HOTP/T30 bob - {}", HEX.to_uppercase()), "totp 6 30 Nothing"),
            (format!("HOTP/T30/7 bob + {HEX}"), "totp 7 30 Nothing"),
            (format!("HOTP/T60/8 bob - {HEX} 0 12345678 2009-12-07T00:00:00L"), "totp 8 60 Code(<redacted>)"),
        ] {
            assert_eq!(told(&line), expected, "{line}");
            assert_eq!(one(&line).user.as_deref(), Some("bob"));
        }
    }

    #[test]
    fn each_flaw_is_told_by_its_line() {
        let text = format!(
            "# comment\n\nHOTP bob\nMOTP bob - {HEX}\nHOTP/T45 bob - {HEX}\nHOTP bob 1234 {HEX}\nHOTP bob - CANARY\n\
             HOTP bob - {HEX} x\nHOTP bob - {HEX}\n"
        );
        let Reading { found, flaws, passed: _, remarks: _ } = read(&text).unwrap();
        assert_eq!(found.len(), 1);
        let expected = [
            "line 3: expected type",
            "line 4: the type",
            "line 5: the type",
            "line 6: a PIN is set",
            "line 7: the secret is not hexa",
            "line 8: the counter is not a number",
        ];
        let told: Vec<String> = flaws.iter().map(|flaw| format!("{}: {}", flaw.place, flaw.what)).collect();
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected) && !told.contains("CANARY") && !told.contains("1234"), "{told}");
        }
        assert!(read("# nothing\n").is_err());
    }
}

//! `.google_authenticator`: the file of one person that the PAM module of the same name keeps.
//!
//! The first line is the secret in base32; lines that begin with a quotation mark are options; lines of eight digits are
//! scratch codes. Source: FILEFORMAT of google-authenticator-libpam.

use super::incoming::{Incoming, Reading, Used, What, period};
use crate::domain::authenticator::{Algorithm, Hotp, Totp};
use crate::domain::foreign::Foreign;
use crate::domain::secret::Secret;
use crate::otp::base32;

/// How many digits the PAM module takes: of a code, and of a scratch code.
const DIGITS: u32 = 6;
const SCRATCH_DIGITS: usize = 8;

/// Reads such a file.
///
/// # Errors
/// Where the text is not such a file.
pub fn read(text: &str) -> Result<Reading, String> {
    let mut lines = text.lines().enumerate();
    let Some((_, first)) = lines.next().filter(|(_, line)| !line.trim().is_empty()) else {
        return Err("the first line is empty; expected the secret of a .google_authenticator file".into());
    };
    let secret =
        base32::decode(first.trim()).ok_or("line 1: the secret is not base32 (letters A to Z and digits 2 to 7)")?;
    let (mut reading, mut options, mut codes) = (Reading::default(), Options::default(), Vec::new());
    for (index, line) in lines {
        let place = format!("line {}", index + 1);
        let line = line.trim();
        if let Some(option) = line.strip_prefix('"') {
            match options.take(option.trim()) {
                Ok(None) => {}
                Ok(Some(remark)) => reading.remarks.push(format!("{place}: {remark}")),
                Err(what) => reading.note(place, Err(what)),
            }
        } else if line.len() == SCRATCH_DIGITS && line.bytes().all(|byte| byte.is_ascii_digit()) {
            codes.push(Secret::new(line.to_owned()));
        } else if !line.is_empty() {
            // The line may be a secret: it is not repeated.
            reading
                .note(place, Err("is neither an option (\" NAME) nor a scratch code of 8 digits; take it out".into()));
        }
    }
    let Options { is_totp, counter, step, last } = options;
    let (what, used) = match (is_totp, counter) {
        (true, _) => {
            let totp = Totp { algorithm: Algorithm::Sha1, digits: DIGITS, period: step.unwrap_or(30) };
            (What::Totp { totp, secret }, last.map_or(Used::Nothing, Used::UpTo))
        }
        (false, Some(next)) => {
            (What::Hotp { hotp: Hotp { algorithm: Algorithm::Sha1, digits: DIGITS }, secret }, Used::before(next))
        }
        (false, None) => {
            return Err(
                "there is neither \" TOTP_AUTH nor \" HOTP_COUNTER: is this a .google_authenticator file?".into()
            );
        }
    };
    reading.note("line 1", Ok(Incoming { place: "line 1".into(), user: None, label: None, what, used, created: None }));
    if !codes.is_empty() {
        reading.found.push(Incoming {
            place: "scratch codes".into(),
            user: None,
            label: None,
            what: What::RecoveryCodes(codes),
            used: Used::Nothing,
            created: None,
        });
    }
    Ok(reading)
}

/// The options that tell how a code is verified.
#[derive(Default)]
struct Options {
    is_totp: bool,
    /// The next one to be used.
    counter: Option<u64>,
    step: Option<u64>,
    /// The highest time step that was used.
    last: Option<u64>,
}

impl Options {
    /// Takes one option; says what is not taken over.
    fn take(&mut self, option: &str) -> Result<Option<String>, String> {
        let (name, value) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        let value = value.trim();
        match name {
            "TOTP_AUTH" => self.is_totp = true,
            "HOTP_COUNTER" => {
                let next = value.parse().map_err(|_| "HOTP_COUNTER: expected a number, the counter to be used next")?;
                self.counter = Some(next);
            }
            "STEP_SIZE" => self.step = Some(period(value)?),
            "DISALLOW_REUSE" => {
                for step in value.split_whitespace() {
                    let step = step.parse().map_err(|_| "DISALLOW_REUSE: expected the time steps that were used")?;
                    self.last = self.last.max(Some(step));
                }
            }
            "TIME_SKEW" if value != "0" && !value.is_empty() => {
                return Ok(Some(format!(
                    "TIME_SKEW {} is not taken over: let the phone set its clock by the network",
                    Foreign(value)
                )));
            }
            // The limits and windows of plugin.ini hold here.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEH";

    fn flaws(text: &str) -> Vec<String> {
        read(text).unwrap().flaws.into_iter().map(|flaw| format!("{}: {}", flaw.place, flaw.what)).collect()
    }

    #[test]
    fn a_time_based_file_brings_its_used_steps_and_scratch_codes() {
        let text = format!(
            "{SECRET}\n\" RATE_LIMIT 3 30 1767268800\n\" WINDOW_SIZE 17\n\" DISALLOW_REUSE 58908960 58908962 58908961\n\
             \" TOTP_AUTH\n\" STEP_SIZE 60\n39428152\n74438030\n"
        );
        let Reading { found, flaws, passed: _, remarks } = read(&text).unwrap();
        assert!(flaws.is_empty() && remarks.is_empty(), "{flaws:?} {remarks:?}");
        let [one, codes] = found.as_slice() else { panic!("{found:?}") };
        let What::Totp { totp, secret } = &one.what else { panic!("{one:?}") };
        assert_eq!((*totp, secret.expose().len()), (Totp { algorithm: Algorithm::Sha1, digits: 6, period: 60 }, 16));
        assert!(matches!(one.used, Used::UpTo(58_908_962)), "{one:?}");
        let What::RecoveryCodes(codes) = &codes.what else { panic!("{codes:?}") };
        assert_eq!(codes.iter().map(|code| code.expose().as_str()).collect::<Vec<_>>(), ["39428152", "74438030"]);
    }

    #[test]
    fn a_counter_based_file_brings_the_counter_before_the_next() {
        for (next, used) in [(0, None), (1, Some(0)), (8, Some(7))] {
            let found = read(&format!("{SECRET}\n\" HOTP_COUNTER {next}\n")).unwrap().found;
            let [
                Incoming {
                    what: What::Hotp { hotp: Hotp { algorithm: Algorithm::Sha1, digits: 6 }, secret: _ },
                    used: found,
                    ..
                },
            ] = found.as_slice()
            else {
                panic!("{found:?}")
            };
            assert_eq!(format!("{found:?}"), used.map_or("Nothing".into(), |used| format!("UpTo({used})")));
        }
    }

    #[test]
    fn a_skewed_clock_is_told_and_not_taken_over() {
        let remarks = read(&format!("{SECRET}\n\" TOTP_AUTH\n\" TIME_SKEW 4\n")).unwrap().remarks;
        assert_eq!(remarks, ["line 3: TIME_SKEW 4 is not taken over: let the phone set its clock by the network"]);
    }

    #[test]
    fn each_flaw_is_told_by_its_line_and_nothing_of_the_line_is_repeated() {
        assert!(read("").unwrap_err().starts_with("the first line is empty"));
        assert!(read("CANARY1\n\" TOTP_AUTH\n").unwrap_err().starts_with("line 1: the secret is not base32"));
        assert!(read(&format!("{SECRET}\n")).unwrap_err().starts_with("there is neither"));
        assert_eq!(
            flaws(&format!("{SECRET}\n\" TOTP_AUTH\nCANARY\n\" STEP_SIZE 5\n\" DISALLOW_REUSE x\n")),
            [
                "line 3: is neither an option (\" NAME) nor a scratch code of 8 digits; take it out",
                "line 4: time steps of \"5\" s; expected 15 to 120",
                "line 5: DISALLOW_REUSE: expected the time steps that were used",
            ]
        );
    }
}

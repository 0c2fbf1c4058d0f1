//! Codes that others computed: the RFCs, pyotp, otplib and oathtool, through the executable.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::rig::{Gateway, Home, Phone, attempt, request};
use crate::{NOW, STEP};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(rename = "about")]
    _about: String,
    hotp_rfc4226: Vec<Hotp>,
    totp_rfc6238: Vec<Totp>,
    /// The secret of everything below.
    secret: String,
    totp_boundary: Vec<Boundary>,
    totp_other: Vec<Other>,
    leading_zero: Vec<LeadingZero>,
    same_code_two_steps: SameCode,
    unicode_forms: Forms,
    uris_pyotp: Vec<Uri>,
    uris_otplib: Vec<Uri>,
    uris_non_default: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hotp {
    counter: u64,
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Totp {
    unix: u64,
    alg: String,
    secret_b32: String,
    totp6: String,
    totp7: String,
    totp8: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Boundary {
    unix: u64,
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Other {
    period: u64,
    digits: u8,
    alg: String,
    unix: u64,
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeadingZero {
    unix_start: u64,
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SameCode {
    counter_1: u64,
    counter_2: u64,
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forms {
    unix: u64,
    forms: BTreeMap<String, Form>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    text: Value,
    pyotp_accepts: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Uri {
    issuer: String,
    account: String,
    uri: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../data/otp.json")).unwrap()
}

/// The secret of RFC 4226, appendix D.
const RFC4226: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

#[test]
fn the_codes_of_rfc_4226_are_accepted_at_the_time_steps_of_their_counters() {
    let home = Home::with(&[("alice", &Phone::with_secret(RFC4226))]);
    home.set("totp", "valid_window", "0");
    for Hotp { counter, code } in &vectors().hotp_rfc4226 {
        home.set_clock(counter * 30);
        assert_eq!(home.ask_one(&attempt(1, "alice", code)).verdict(), "accept", "{counter}");
    }
}

#[test]
fn the_codes_of_rfc_6238_are_accepted_at_their_times() {
    let home = Home::init();
    home.set("totp", "valid_window", "0");
    for (index, Totp { unix, alg, secret_b32, totp6, totp7, totp8 }) in vectors().totp_rfc6238.iter().enumerate() {
        home.set_clock(*unix);
        let users = [6, 7, 8].map(|digits| format!("user{index}.{digits}"));
        let phones = [6, 7, 8].map(|digits| Phone::with_secret(secret_b32).with(alg, digits, 30));
        home.import_many(users.iter().map(String::as_str).zip(&phones));
        for (user, code) in users.iter().zip([totp6, totp7, totp8]) {
            assert_eq!(home.ask_one(&attempt(1, user, code)).verdict(), "accept", "{alg} {unix} {code}");
        }
    }
}

#[test]
fn a_code_changes_at_the_second_where_its_time_step_ends() {
    let Vectors { secret, totp_boundary, .. } = vectors();
    let (home, phone) = (Home::init(), Phone::with_secret(&secret));
    home.set("totp", "valid_window", "0");
    let users: Vec<String> = (0..totp_boundary.len()).map(|index| format!("user{index}")).collect();
    home.import_many(users.iter().map(|user| (user.as_str(), &phone)));
    for (user, Boundary { unix, code }) in users.iter().zip(&totp_boundary) {
        home.set_clock(*unix);
        let mut gateway = Gateway::start(&home);
        let others: BTreeSet<_> =
            totp_boundary.iter().map(|other| &other.code).filter(|other| *other != code).collect();
        for other in others {
            assert_eq!(gateway.ask(&attempt(1, user, other)).code(), "outside_window", "{unix}");
        }
        assert_eq!(gateway.ask(&attempt(1, user, code)).verdict(), "accept", "{unix}");
    }
}

#[test]
fn every_algorithm_length_and_period_is_computed_as_others_do() {
    let Vectors { secret, totp_other, .. } = vectors();
    let home = Home::init();
    home.set("totp", "valid_window", "0");
    for (index, Other { period, digits, alg, unix, code }) in totp_other.iter().enumerate() {
        let user = format!("user{index}");
        home.import(&user, &Phone::with_secret(&secret).with(alg, *digits, *period));
        home.set_clock(*unix);
        assert_eq!(home.ask_one(&attempt(1, &user, code)).verdict(), "accept", "{alg} {digits} {period}");
    }
}

#[test]
fn a_leading_zero_belongs_to_the_code() {
    let Vectors { secret, leading_zero, .. } = vectors();
    let home = Home::with(&[("alice", &Phone::with_secret(&secret))]);
    for LeadingZero { unix_start, code } in &leading_zero {
        home.set_clock(*unix_start);
        let short = code.strip_prefix('0').unwrap();
        assert_eq!(home.ask_one(&attempt(1, "alice", short)).code(), "malformed_code", "{code}");
        assert_eq!(home.ask_one(&attempt(2, "alice", code)).verdict(), "accept", "{code}");
    }
}

#[test]
fn one_code_of_two_far_time_steps_is_right_at_both() {
    let Vectors { secret, same_code_two_steps: SameCode { counter_1, counter_2, code }, .. } = vectors();
    let home = Home::with(&[("alice", &Phone::with_secret(&secret))]);
    for counter in [counter_1, counter_2] {
        home.set_clock(counter * 30);
        assert_eq!(home.ask_one(&attempt(1, "alice", &code)).verdict(), "accept");
        assert_eq!(home.ask_one(&attempt(1, "alice", &code)).code(), "used_code");
    }
}

#[test]
fn digits_are_taken_in_the_forms_that_nfkc_makes_ascii() {
    let Vectors { secret, unicode_forms: Forms { unix, forms }, .. } = vectors();
    let home = Home::init();
    home.set_clock(unix);
    for (name, Form { text, pyotp_accepts }) in &forms {
        home.import(name, &Phone::with_secret(&secret));
        let told = home.ask_one(&request(1, name, json!({"key_value_pairs": {"otp": text}}))).told();
        let expected = match name.as_str() {
            // The wire is typed.
            "int" => "invalid_request/wrong_type",
            // What people and clipboards put around a code does not count.
            "space_inside" | "trailing_newline" | "zero_width_space" => "accept",
            _ if *pyotp_accepts => "accept",
            _ => "authentication_failure/malformed_code",
        };
        assert_eq!(told, expected, "{name}");
    }
}

#[test]
fn the_accounts_that_other_programs_write_are_imported() {
    let vectors = vectors();
    let phone = Phone::with_secret(&vectors.secret);
    let home = Home::init();
    home.set_clock(NOW);
    for (index, Uri { issuer, account, uri }) in vectors.uris_pyotp.iter().chain(&vectors.uris_otplib).enumerate() {
        let user = format!("user{index}");
        home.run(&["import", "uri", "--user", &user], uri).ok();
        let answer = home.ask_one(&attempt(1, &user, &phone.code(STEP)));
        assert_eq!(answer.verdict(), "accept", "{issuer} {account}");
        // The account's name is read as it was meant, too.
        let home = Home::init();
        home.set_clock(NOW);
        let finished = home.run(&["import", "uri", "--user-from-label"], uri);
        if account.contains('\n') {
            assert_eq!((finished.status, finished.stdout.as_str()), (Some(65), ""), "{account:?}");
        } else {
            finished.ok();
            let answer = home.ask_one(&attempt(1, account, &phone.code(STEP)));
            assert_eq!(answer.verdict(), "accept", "{account:?}");
        }
    }
}

#[test]
fn the_parameters_of_an_account_are_kept_and_its_kind_is_looked_at() {
    let vectors = vectors();
    let phone = Phone::with_secret(&vectors.secret);
    let home = Home::init();
    home.set_clock(NOW);
    for (index, uri) in vectors.uris_non_default.iter().enumerate() {
        let user = format!("user{index}");
        let finished = home.run(&["import", "uri", "--user", &user], uri);
        if uri.starts_with("otpauth://hotp/") {
            finished.ok();
            home.set("plugin", "clients", "totp, hotp");
            // A counter is taken like the number of a time step.
            let counter = uri.split_once("&counter=").map_or(0, |(_, counter)| counter.parse().unwrap());
            assert_eq!(home.ask_one(&attempt(1, &user, &phone.code(counter))).told(), "accept", "{uri}");
            continue;
        }
        finished.ok();
        let phone = match uri {
            _ if uri.contains("SHA256") => phone.clone().with("SHA256", 8, 60),
            _ if uri.contains("SHA512") => phone.clone().with("SHA512", 7, 30),
            _ => phone.clone(),
        };
        let answer = home.ask_one(&attempt(1, &user, &phone.code_at(NOW, 0)));
        assert_eq!(answer.verdict(), "accept", "{uri}");
    }
}

#[test]
fn an_account_that_is_too_weak_or_of_another_kind_is_refused_without_its_secret() {
    let home = Home::init();
    for (uri, told) in [
        ("otpauth://totp/T:bob?secret=JBSWY3DPEHPK3PXP", "80 bits; at least 128"),
        ("otpauth://totp/T:bob?secret=FPPTH34D4E3MI2HG", "80 bits; at least 128"),
        ("otpauth://totp/T:bob?secret=", "0 bits; below 80"),
        ("otpauth://totp/T:bob?secret=JBSWY3DPEHPK3PX0JBSWY3DPEHPK3PXP", "not base32"),
        ("otpauth://totp/T:bob", "no secret="),
        ("otpauth://steam/T:bob?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "otpauth://totp/"),
        ("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "not a URI"),
    ] {
        let finished = home.run(&["import", "uri", "--user", "bob"], uri);
        assert_eq!((finished.status, finished.stdout.as_str()), (Some(65), ""), "{uri}");
        assert!(finished.stderr.contains(told), "{uri}: {}", finished.stderr);
        let said = finished.stderr.to_uppercase();
        assert!(!said.contains("JBSW") && !said.contains("FPPT"), "{}", finished.stderr);
    }
    home.set_clock(NOW);
    assert_eq!(home.ask_one(&attempt(1, "bob", "123456")).code(), "not_enrolled");
}

#[test]
fn codes_made_by_oathtool_are_accepted() {
    if Command::new("oathtool").arg("--version").output().is_err() {
        println!("skipped: there is no oathtool; run: apt-get install oathtool");
        return;
    }
    let home = Home::init();
    home.set_clock(NOW);
    home.set("totp", "valid_window", "0");
    for algorithm in ["SHA1", "SHA256", "SHA512"] {
        for (digits, period) in [(6, 30), (7, 30), (8, 30), (6, 60), (8, 15), (6, 120)] {
            let phone = Phone::new(u64::from(digits) * period).with(algorithm, digits, period);
            let user = format!("{algorithm}-{digits}-{period}");
            home.import(&user, &phone);
            let output = Command::new("oathtool")
                .arg(format!("--totp={algorithm}"))
                .args(["--base32", "--digits", &digits.to_string(), "--time-step-size", &format!("{period}s")])
                .args(["--now", &format!("@{NOW}"), &phone.secret()])
                .output()
                .unwrap();
            let code = String::from_utf8(output.stdout).unwrap();
            assert_eq!(code.trim(), phone.code_at(NOW, 0), "{user}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(home.ask_one(&attempt(1, &user, &code)).verdict(), "accept", "{user}");
        }
    }
}

//! What other systems keep of their users' authenticators, taken over through the executable: import, then log in with the
//! same phone.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test ends where its helpers fail"
)]

#[path = "import/backup.rs"]
mod backup;
#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;
#[path = "import/rules.rs"]
mod rules;
#[path = "import/sources.rs"]
mod sources;

use std::process::{Command, Stdio};

use rig::{Finished, Home, Phone, attempt};
use serde_json::Value;

/// A time, and the secrets at it, as the vectors have them.
const NOW: u64 = 1_767_268_815;
const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
/// `12345678901234567890`, the secret of the RFCs.
const RFC: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// A home at [`NOW`] that verifies both kinds of codes.
fn home() -> Home {
    let home = Home::init();
    home.set_clock(NOW);
    home.set("plugin", "clients", "totp, hotp");
    home
}

/// Who is enrolled: user and label.
fn enrolled(home: &Home) -> Vec<String> {
    let listed: Value = serde_json::from_str(&home.run(&["list", "--json"], "").ok().stdout).unwrap();
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let all = listed.as_array().unwrap().iter();
    let mut all: Vec<_> = all.map(|one| format!("{} {}", text(one, "user"), text(one, "label"))).collect();
    all.sort();
    all
}

/// What a login of `user` with `code` comes to.
fn login(home: &Home, user: &str, code: &str) -> String {
    home.ask_one(&attempt(1, user, code)).told()
}

/// It was refused as data: nothing was printed, and one line tells why, without `secret`.
#[track_caller]
fn refused<'a>(done: &'a Finished, secrets: &[&str]) -> &'a str {
    assert_eq!((done.status, done.stdout.as_str()), (Some(65), ""), "{done:?}");
    let line = done.stderr.strip_suffix('\n').unwrap();
    assert!(!line.is_empty() && !line.contains('\n'), "{done:?}");
    hides(done, secrets);
    line
}

/// None of `secrets` was told.
#[track_caller]
fn hides(done: &Finished, secrets: &[&str]) {
    for secret in secrets {
        assert!(!done.stdout.contains(secret) && !done.stderr.contains(secret), "{secret}: {done:?}");
    }
}

/// Whether `program` can be run; says what to install where it cannot.
fn is_there(program: &str, package: &str) -> bool {
    let mut help = Command::new(program);
    if help.arg("--help").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
        return true;
    }
    assert!(std::env::var("COUNTERSIGN_NOTHING_SKIPPED").is_err(), "{program} is missing (Debian: {package})");
    println!("skipped: {program} is missing (Debian: {package})");
    false
}

/// What an HOTP token with the secret of the RFCs shows at `counter`: RFC 4226, appendix D.
fn hotp(counter: usize) -> &'static str {
    ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"][counter]
}

fn phone() -> Phone {
    Phone::with_secret(SECRET)
}

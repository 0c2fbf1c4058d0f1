//! What a gateway sees of `serve`, verdict by verdict, on a clock that the test sets: protocol.md, held.
#![cfg(debug_assertions)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

#[path = "wire/claimants.rs"]
mod claimants;
#[path = "wire/cookies.rs"]
mod cookies;
#[path = "wire/document.rs"]
mod document;
#[path = "wire/requests.rs"]
mod requests;
#[path = "wire/vectors.rs"]
mod vectors;
#[path = "wire/verdicts.rs"]
mod verdicts;

use rig::{Home, Phone};

/// A quarter past noon somewhere, at the middle of time step [`STEP`].
const NOW: u64 = 1_767_268_815;

/// The time step of [`NOW`], at a period of 30 s.
const STEP: u64 = NOW / 30;

/// What the claimant reads after every authentication failure.
const FAILED: &str = "Authentication failed";

/// A home at [`NOW`] where alice has a phone.
fn alice() -> (Home, Phone) {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    home.set_clock(NOW);
    (home, phone)
}

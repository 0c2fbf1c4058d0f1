//! The languages of other gateways through the executable: what each gives and takes, to the letter, and input that is none.
#![cfg(debug_assertions)]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where its helpers fail"
)]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

#[path = "codecs/first_factor.rs"]
mod first_factor;
#[path = "codecs/squid.rs"]
mod squid;

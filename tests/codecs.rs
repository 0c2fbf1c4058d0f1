//! The languages of other gateways through the executable: what each gives and takes, to the letter, and input that is none.
#![cfg(debug_assertions)]
#![expect(clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

#[path = "codecs/radius_exec.rs"]
mod radius_exec;

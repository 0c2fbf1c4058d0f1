//! Gateways with a language of their own, through the executable: what each sends and takes to the letter, and whatever is no
//! question at all (docs/gateways).
#![cfg(debug_assertions)]
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

#[path = "codecs/openvpn.rs"]
mod openvpn;

//! The gateways that have a language of their own, through the executable: what each gives, what it is left with, and what
//! comes of input that means something to somebody on the way.
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

#[path = "codecs/checkpassword.rs"]
mod checkpassword;
#[path = "codecs/first_factor.rs"]
mod first_factor;
#[path = "codecs/once.rs"]
mod once;
#[path = "codecs/openvpn.rs"]
mod openvpn;
#[path = "codecs/pam.rs"]
mod pam;
#[path = "codecs/pam_exec.rs"]
mod pam_exec;
#[path = "codecs/pwauth.rs"]
mod pwauth;
#[path = "codecs/radius_exec.rs"]
mod radius_exec;
#[path = "codecs/squid.rs"]
mod squid;

//! What each gateway sends and takes, to the letter, through the executable or the library that a server starts.
#![cfg(debug_assertions)]
#![expect(clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

#[path = "codecs/pam.rs"]
mod pam;

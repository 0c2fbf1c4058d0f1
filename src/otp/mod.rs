//! The one-time password algorithms, over totp-rs: what people type, which time step it matches, otpauth URIs.

pub mod base32;
pub mod typed;
pub mod uri;
pub mod window;

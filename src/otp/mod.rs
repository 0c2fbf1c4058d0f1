//! The one-time password algorithms, over totp-rs: what people type, which time step it matches, otpauth URIs and their QR
//! codes.

pub mod base32;
pub mod look_up;
pub mod qr;
pub mod typed;
pub mod uri;
pub mod window;

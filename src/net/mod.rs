//! The way to any service: names to addresses, and TLS. Nothing here is made before it is needed.

pub mod certificate;
pub mod resolve;
pub mod tls;

//! Sealing: what lies in the store or travels as a cookie is of no use, and cannot be changed, without the master key.

pub mod cookie;
pub mod keys;
pub mod seal;
pub mod service;

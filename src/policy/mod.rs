//! The rules, without I/O: same input, same ruling.

pub mod cache;
pub mod collect;
pub mod exemption;
pub mod identify;
pub mod mapping;
pub mod source;
pub mod throttle;
pub mod unenrolled;

//! The rules, without I/O: same input, same ruling.

pub mod collect;
pub mod identify;
pub mod source;
pub mod throttle;

//! The rules, without I/O: same input, same ruling.

pub mod cache;
pub mod collect;
pub mod exemption;
pub mod identify;
pub mod mapping;
pub mod source;
pub mod step_up;
pub mod throttle;
pub mod unenrolled;

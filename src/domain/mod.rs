//! The words of the trade, as types: no I/O, no clock, no wire format.
//!
//! A value that exists is valid. Terms are those of NIST SP 800-63B, RFC 4226, RFC 6238 and RFC 2865.

pub mod action;
pub mod attempt;
pub mod authenticator;
pub mod challenge;
pub mod claimant;
pub mod fault;
pub mod finding;
pub mod foreign;
pub mod outcome;
pub mod request;
pub mod secret;
pub mod time;
pub mod verdict;

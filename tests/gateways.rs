//! countersign behind real servers, with real clients: what each of them makes of an accept, a reject, a question, two of
//! them, a push that takes its time, many logins at once and a service that is away. Prints a table of that, and what a
//! login costs as a ratio to the same server without countersign.
//!
//! `cargo test --test gateways` runs what needs no privileges but those to start a server; `COUNTERSIGN_GATEWAYS=all cargo
//! test --test gateways`, as root, runs the rest as well. Names of gateways behind `--` run these only.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test ends where its helpers fail, and says what it found"
)]

#[path = "gateways/openvpn.rs"]
mod openvpn;
#[path = "gateways/stage.rs"]
mod stage;
#[path = "gateways/table.rs"]
mod table;

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::process::ExitCode;

fn main() -> ExitCode {
    table::run(&[openvpn::GATEWAY])
}

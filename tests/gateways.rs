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
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test ends where its helpers fail, and says what it found"
)]

#[path = "gateways/apache.rs"]
mod apache;
#[path = "gateways/dialogue.rs"]
mod dialogue;
#[path = "gateways/dovecot.rs"]
mod dovecot;
#[path = "gateways/freeradius.rs"]
mod freeradius;
#[path = "gateways/logins.rs"]
mod logins;
#[path = "gateways/machine.rs"]
mod machine;
#[path = "gateways/ocserv.rs"]
mod ocserv;
#[path = "gateways/openvpn.rs"]
mod openvpn;
#[path = "gateways/pam.rs"]
mod pam;
#[path = "gateways/pam_exec.rs"]
mod pam_exec;
#[path = "gateways/squid.rs"]
mod squid;
#[path = "gateways/sshd.rs"]
mod sshd;
#[path = "gateways/stage.rs"]
mod stage;
#[path = "gateways/su.rs"]
mod su;
#[path = "gateways/sudo.rs"]
mod sudo;
#[path = "gateways/table.rs"]
mod table;

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::process::ExitCode;

fn main() -> ExitCode {
    table::run(&[
        pam::GATEWAY,
        sshd::GATEWAY,
        sudo::GATEWAY,
        su::GATEWAY,
        ocserv::GATEWAY,
        freeradius::PERL,
        freeradius::PYTHON,
        freeradius::EXEC,
        openvpn::GATEWAY,
        squid::BASIC,
        squid::EXTERNAL_ACL,
        apache::GATEWAY,
        dovecot::GATEWAY,
        pam_exec::GATEWAY,
    ])
}

//! The command line: `serve` for a gateway, everything else for an administrator.

use std::process::ExitCode;

fn main() -> ExitCode {
    countersign::admin::main()
}

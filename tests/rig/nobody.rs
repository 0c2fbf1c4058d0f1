//! Commands of somebody who is not root.

#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::PathBuf;
use std::process::Command;

use super::{Finished, Home, finish};

/// Whether these tests run as root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A program that runs what follows it as nobody of the group `group`; `None` where that cannot be done here.
pub fn as_nobody(group: u32) -> Option<Command> {
    if !is_root() {
        println!("skipped: only root becomes somebody else");
        return None;
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        println!("skipped: setpriv is missing (Debian: util-linux)");
        return None;
    }
    let mut command = Command::new("setpriv");
    command.env_clear().args(["--reuid", &NOBODY.to_string(), "--regid", &group.to_string(), "--clear-groups"]);
    Some(command)
}

pub const NOBODY: u32 = 65534;

/// Copies the executable to where everybody who gets to the home gets, too.
pub fn copied_executable(home: &Home) -> PathBuf {
    let executable = home.dir().parent().unwrap().join("countersign");
    if !executable.exists() {
        // Not by this process: whatever it starts meanwhile would hold the copy open for writing, and nothing could run it.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_countersign")).arg(&executable).status().unwrap();
        assert!(copied.success());
    }
    executable
}

/// Runs a command as an owner of the home who is not root: nobody, who is made one, or whoever runs the tests.
pub fn run_unprivileged(home: &Home, arguments: &[&str], input: &str) -> Option<Finished> {
    if !is_root() {
        return Some(home.run(arguments, input));
    }
    let mut command = as_nobody(NOBODY)?;
    let executable = copied_executable(home);
    let mut paths = vec![home.dir().parent().unwrap().to_owned()];
    while let Some(path) = paths.pop() {
        lchown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.symlink_metadata().unwrap().is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    command.arg(executable).args(arguments).arg("--config").arg(home.ini());
    Some(finish(&mut command, input.as_bytes()))
}

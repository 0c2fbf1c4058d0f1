//! Nobody else gets at the memory of a process: by a core, or by looking into it.

use std::fs;
use std::process::{Command, Stdio};

use crate::rig::nobody::{NOBODY, as_nobody, copied_executable, run_unprivileged};
use crate::rig::{Gateway, Home};

/// The limit `name` of a process, soft and hard.
fn limit(pid: u32, name: &str) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

#[test]
fn a_signal_that_dumps_core_dumps_none() {
    let home = Home::init();
    for signal in ["QUIT", "ABRT", "SYS", "XCPU"] {
        let grounds = home.dir().parent().unwrap().join(signal);
        fs::create_dir(&grounds).unwrap();
        let mut command = Command::new("sh");
        // Where the limit cannot be raised, it is what it is.
        let line = "ulimit -c unlimited 2>/dev/null; exec \"$@\"";
        command.args(["-c", line, "sh", env!("CARGO_BIN_EXE_countersign"), "serve", "--config"]).arg(home.ini());
        let mut gateway = Gateway::spawn(command.current_dir(&grounds));
        gateway.sync();
        assert_eq!(limit(gateway.pid(), "Max core file size"), ["0", "0"]);
        gateway.signal(signal);
        let (_, finished) = gateway.wait();
        assert_eq!(finished.status, None, "{signal}: {finished:?}");
        assert_eq!(fs::read_dir(&grounds).unwrap().count(), 0, "{signal}");
    }
}

#[test]
fn other_processes_of_its_user_cannot_look_into_it() {
    let home = Home::init();
    let Some(said) = run_unprivileged(&home, &["check"], "") else { return };
    said.ok();
    let Some(mut command) = as_nobody(NOBODY) else { return };
    command.arg(copied_executable(&home)).args(["serve", "--config"]).arg(home.ini());
    let mut gateway = Gateway::spawn(&mut command);
    gateway.sync();
    let can_read = |pid: u32, what: &str| {
        let mut command = as_nobody(NOBODY).unwrap();
        let read = command.args(["head", "-c", "1"]).arg(format!("/proc/{pid}/{what}")).output().unwrap();
        read.status.success()
    };
    // What can be looked into at all, as a measure.
    let mut open =
        as_nobody(NOBODY).unwrap().args(["sleep", "600"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The name of the program is that of setpriv until it runs the other one.
    while fs::read_to_string(format!("/proc/{}/comm", open.id())).unwrap().trim() != "sleep" {
        std::thread::yield_now();
    }
    for what in ["environ", "maps", "auxv"] {
        assert!(can_read(open.id(), what), "{what}");
        assert!(!can_read(gateway.pid(), what), "{what}");
    }
    assert!(!can_read(gateway.pid(), "mem"));
    open.kill().unwrap();
    open.wait().unwrap();
    if Command::new("gcore").arg("-v").output().is_err() {
        println!("skipped: gcore is missing (Debian: gdb)");
        return;
    }
    let core = home.dir().join("core");
    let mut command = as_nobody(NOBODY).unwrap();
    let _ = command.args(["gcore", "-o"]).arg(&core).arg(gateway.pid().to_string()).output().unwrap();
    assert!(!core.with_extension(gateway.pid().to_string()).exists());
    gateway.sync();
}

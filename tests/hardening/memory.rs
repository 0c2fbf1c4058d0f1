//! Nobody else gets at the memory of a process: by a core, or by looking into it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::rig::nobody::{NOBODY, as_nobody, copied_executable, run_unprivileged};
use crate::rig::{Gateway, Home, Phone, finish};

/// What runs a command with the limit of cores as high as it can be, which is what it is where it cannot be raised.
fn raised() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c unlimited 2>/dev/null || ulimit -Sc \"$(ulimit -Hc)\"; exec \"$@\"", "sh"]);
    command
}

/// The limit of cores in the text of a /proc/PID/limits, soft and hard.
fn limit(limits: &str) -> Vec<String> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

/// That of a command that is run so.
fn limit_raised() -> Vec<String> {
    limit(&String::from_utf8(raised().args(["cat", "/proc/self/limits"]).output().unwrap().stdout).unwrap())
}

/// Whether any program at all dumps core in `grounds`.
fn dumps(grounds: &Path) -> bool {
    raised().args(["sh", "-c", "kill -QUIT $$"]).current_dir(grounds).status().unwrap().core_dumped()
}

/// The limit is not ours to lower: by it, programs that are run would dump none either.
#[test]
fn a_signal_that_dumps_core_dumps_none_whatever_the_limit() {
    let home = Home::init();
    let measure = home.dir().parent().unwrap().join("measure");
    fs::create_dir(&measure).unwrap();
    if !dumps(&measure) {
        println!("skipped in part: no program dumps core here; see: ulimit -Hc; /proc/sys/kernel/core_pattern");
    }
    for signal in ["QUIT", "ABRT", "SYS", "XCPU"] {
        let grounds = home.dir().parent().unwrap().join(signal);
        fs::create_dir(&grounds).unwrap();
        let mut command = raised();
        command.args([env!("CARGO_BIN_EXE_countersign"), "serve", "--config"]).arg(home.ini());
        let mut gateway = Gateway::spawn(command.current_dir(&grounds));
        gateway.sync();
        let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
        assert_eq!(limit(&limits), limit_raised());
        gateway.signal(signal);
        let status = gateway.death();
        assert!(status.signal().is_some() && !status.core_dumped(), "{signal}: {status:?}");
        assert_eq!(fs::read_dir(&grounds).unwrap().count(), 0, "{signal}");
    }
}

/// Programs that are not ours dump core as the machine says: one that checks passwords, and one that sends a code.
#[test]
fn programs_that_are_run_have_the_limit_that_we_were_given() {
    let home = Home::init();
    home.keep("program", "read -r line\ncat /proc/self/limits > \"$1\"\necho OK\n");
    let [checks, sends] = ["checks", "sends"].map(|name| home.dir().join(name));
    let program = home.dir().join("program");
    home.set("plugin", "clients", "notify sms");
    home.append(&format!(
        "[gateway squid-basic]\nfirst_factor = squid:/bin/sh {0} {1}\n\
         [notify sms]\nvia = command\ncommand = /bin/sh {0} {2} {{target}}\n",
        program.display(),
        checks.display(),
        sends.display()
    ));
    let run = |arguments: &[&str], input: &str| {
        let mut command = raised();
        command.arg(env!("CARGO_BIN_EXE_countersign")).args(arguments).arg("--config").arg(home.ini());
        finish(&mut command, input.as_bytes())
    };
    run(&["enroll", "carol", "--client", "notify sms", "--target", "+4366012344711", "--json"], "").ok();
    run(&["gateway", "squid-basic"], "alice password\n");
    for seen in [checks, sends] {
        let limits = fs::read_to_string(&seen).unwrap_or_else(|error| panic!("{}: {error}", seen.display()));
        assert_eq!(limit(&limits), limit_raised(), "{}", seen.display());
    }
}

/// The same of the one that goes on in the place of checkpassword.
#[test]
fn the_program_behind_checkpassword_dumps_core_as_the_machine_says() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    let grounds = home.dir().parent().unwrap().join("grounds");
    fs::create_dir(&grounds).unwrap();
    let given = home.dir().join("given");
    fs::write(&given, format!("alice\0{}\0\0", phone.fresh_code())).unwrap();
    let mut command = raised();
    command.args(["sh", "-c", "exec \"$@\" 3<\"$0\""]).arg(&given).arg(env!("CARGO_BIN_EXE_countersign"));
    command.args(["gateway", "checkpassword", "--config"]).arg(home.ini());
    command.args(["/bin/sh", "-c", "cat /proc/self/limits; kill -QUIT $$"]).current_dir(&grounds);
    let done = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(limit(&String::from_utf8(done.stdout).unwrap()), limit_raised(), "{}", home.log());
    assert_eq!(done.status.core_dumped(), dumps(&grounds), "{:?}", done.status);
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

//! What a process that serves gives up, seen from outside: memory, files, descriptors, the environment.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends where its helpers fail, and says what it skips"
)]

#[path = "hardening/descriptors.rs"]
mod descriptors;
#[path = "hardening/environment.rs"]
mod environment;
#[path = "hardening/links.rs"]
mod links;
#[path = "hardening/memory.rs"]
mod memory;
#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;

use countersign::config::Config;
use countersign::confine::{Confined, Plan};
use countersign::log::Log;
use rig::{Gateway, Home, Phone};

/// How the process of `pid` and all its threads are marked.
fn marks(pid: u32, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).unwrap();
    let field = |text: String| text.lines().find_map(|l| l.strip_prefix(name).map(|rest| rest.trim().to_owned()));
    tasks.map(|task| field(status(task.unwrap())).unwrap()).collect()
}

/// The number of this kernel's Landlock, as `doctor` says it.
fn landlock() -> u32 {
    let said = Home::init().run(&["doctor"], "").ok().stdout;
    let line = said.lines().find(|line| line.contains("confinement")).unwrap();
    let abi = line.split_once("Landlock ABI ").map(|(_, rest)| rest.split([' ', ';', ',']).next().unwrap());
    abi.map_or(0, |abi| abi.parse().unwrap())
}

#[test]
fn only_what_plugin_ini_names_can_be_opened() {
    let home = Home::init();
    let logs = home.dir().parent().unwrap().join("logs");
    fs::create_dir(&logs).unwrap();
    home.set("logging", "destination", &format!("file:{}", logs.join("log").display()));
    let config = Config::load(&home.ini()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut other = Command::new("sleep").arg("600").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let other_pid = rustix::process::Pid::from_raw(i32::try_from(other.id()).unwrap()).unwrap();
    let (dir, store, ini, log) = (home.dir(), home.store(), home.ini(), logs.join("log"));
    // Landlock holds the thread that asks for it, so that a test can be held by it too.
    thread::scope(|scope| {
        let held = scope.spawn(|| {
            let confined = Plan::of(&config, None, |_| ()).carry_out();
            let Confined::Landlock { abi, .. } = confined else { panic!("{confined}") };
            if abi == 0 {
                println!("skipped: this kernel has no Landlock");
                return;
            }
            let denied = |tried: std::io::Result<()>, what: &str| {
                assert_eq!(tried.unwrap_err().kind(), ErrorKind::PermissionDenied, "{what}");
            };
            let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
            denied(File::open(manifest).map(drop), "a file that is not named");
            denied(fs::read_dir("/").map(drop), "a directory");
            denied(File::create(dir.join("new")).map(drop), "a file beside plugin.ini");
            denied(File::options().append(true).open(&ini).map(drop), "plugin.ini, to write");
            denied(fs::remove_file(&ini), "plugin.ini, to remove");
            denied(fs::create_dir(store.join("new")), "a directory in the store");
            denied(symlink("/", store.join("new")), "a link in the store");
            denied(fs::rename(store.join("countersign.db"), dir.join("x")), "the store, elsewhere");
            denied(Command::new("true").status().map(drop), "a program");
            assert!(File::open(dir.join("master.key")).is_ok());
            assert!(File::create(store.join("new")).is_ok());
            fs::remove_file(store.join("new")).unwrap();
            assert!(File::create(&log).is_ok());
            assert!(TcpStream::connect(listener.local_addr().unwrap()).is_ok());
            if abi >= 4 {
                denied(TcpListener::bind("127.0.0.1:0").map(drop), "a port");
            }
            if abi >= 6 {
                let killed = rustix::process::kill_process(other_pid, rustix::process::Signal::KILL);
                denied(killed.map_err(Into::into), "a signal to another process");
            }
        });
        let ended = held.join();
        other.kill().unwrap();
        other.wait().unwrap();
        ended.unwrap();
    });
    assert!(File::open(home.ini()).is_ok(), "nobody else is held");
}

#[test]
fn every_thread_is_without_new_privileges() {
    let home = Home::init();
    home.append("[gateway squid-basic]\n");
    for arguments in [&["serve"][..], &["gateway", "sps"], &["gateway", "squid-basic"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        let mut gateway = Gateway::spawn(command.env_clear().args(arguments).arg("--config").arg(home.ini()));
        gateway.send_raw("\n");
        assert!(gateway.line().is_some(), "{arguments:?}");
        let marks = marks(gateway.pid(), "NoNewPrivs:");
        assert!(marks.len() > 1 && marks.iter().all(|mark| mark == "1"), "{arguments:?}: {marks:?}");
    }
    home.set("plugin", "hardening", "no");
    let mut gateway = Gateway::start(&home);
    gateway.sync();
    assert!(marks(gateway.pid(), "NoNewPrivs:").iter().all(|mark| mark == "0"));
    assert!(home.log().contains("not confined"), "{}", home.log());
}

/// A log whose directory somebody else puts in the place of the one that plugin.ini names is not written; one that is moved
/// within its directory is made again.
#[test]
fn a_directory_that_is_exchanged_is_not_followed() {
    for hardening in ["yes", "no"] {
        let home = Home::init();
        let [logs, moved, elsewhere] = ["logs", "moved", "elsewhere"].map(|name| home.dir().join(name));
        fs::create_dir(&logs).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        home.set("logging", "destination", &format!("file:{}", logs.join("log").display()));
        home.set("plugin", "hardening", hardening);
        let config = Config::load(&home.ini()).unwrap();
        let (go, stop) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                Plan::of(&config, None, |_| ()).carry_out();
                let log = Log::start(&config).unwrap();
                for _ in 0..2 {
                    go.wait();
                    stop.wait();
                    log.reopen();
                }
                go.wait();
            });
            go.wait();
            fs::rename(logs.join("log"), logs.join("log.1")).unwrap();
            stop.wait();
            go.wait();
            let is_rotated = logs.join("log").exists();
            fs::rename(&logs, &moved).unwrap();
            symlink(&elsewhere, &logs).unwrap();
            stop.wait();
            go.wait();
            assert!(is_rotated);
        });
        let is_followed = elsewhere.join("log").exists();
        assert_eq!(is_followed, hardening == "no" || landlock() == 0, "hardening = {hardening}");
    }
}

/// A program that checks passwords may be set-user-id: it is run as if nothing had been given up, but for the descriptors.
#[test]
fn a_program_that_is_run_is_not_held_and_has_three_descriptors() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    let seen = home.dir().parent().unwrap().join("seen");
    home.keep(
        "check",
        &format!(
            "read -r line\n{{ grep NoNewPrivs /proc/self/status; ls /proc/self/fd; cat /etc/passwd; }} > {} 2>&1\necho OK\n",
            seen.display()
        ),
    );
    let check = home.dir().join("check");
    home.append(&format!("[gateway squid-basic]\nappend_otp = ,\nfirst_factor = squid:/bin/sh {}\n", check.display()));
    let line = "exec 7</dev/null 8</etc/passwd; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", line, "sh", env!("CARGO_BIN_EXE_countersign"), "gateway", "squid-basic", "--config"]);
    let done = rig::finish(command.arg(home.ini()), format!("alice pw,{}\n", phone.fresh_code()).as_bytes());
    assert!(done.stdout.starts_with("OK"), "{done:?}");
    let seen = fs::read_to_string(seen).unwrap();
    let lines: Vec<_> = seen.lines().take(5).collect();
    // The fourth is the directory that ls reads.
    assert_eq!(lines, ["NoNewPrivs:\t0", "0", "1", "2", "3"], "{seen}");
    assert!(seen.contains("root:"), "{seen}");
    let log = home.log();
    assert!(log.contains("INFO not confined to the files of plugin.ini") && log.contains("first_factor"), "{log}");
}

/// The program that follows checkpassword is the server's: what the process gave up is given up for the verdict alone, and the
/// descriptors are those that the server gave.
#[test]
fn the_program_behind_checkpassword_is_not_held() {
    let phone = Phone::new(1);
    let home = Home::with(&[("alice", &phone)]);
    let line = format!(
        "exec 3<\"$0\"; exec 4>&1; exec {} gateway checkpassword --config \"$@\"",
        env!("CARGO_BIN_EXE_countersign")
    );
    let given = home.dir().join("given");
    fs::write(&given, format!("alice\0{}\0\0", phone.fresh_code())).unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).arg(&given).arg(home.ini());
    command.args(["/bin/sh", "-c", "--"].iter().filter(|word| **word != "--"));
    command.arg("grep NoNewPrivs /proc/self/status >&4; head -c 5 /etc/passwd >&4").stdin(Stdio::null());
    let done = rig::finish(&mut command, b"");
    assert_eq!(done.stdout, "NoNewPrivs:\t0\nroot:", "{done:?} {}", home.log());
}

#[test]
fn doctor_says_what_is_given_up() {
    let home = Home::init();
    let said = |home: &Home| home.run(&["doctor"], "").ok().stdout;
    let text = said(&home);
    assert!(text.contains("core dumps off; closed to other processes of this user; keys "), "{text}");
    if landlock() > 0 {
        let files = format!("; serve reads below {}; writes below ", home.dir().display());
        assert!(text.contains("no new privileges, Landlock ABI ") && text.contains(&files), "{text}");
    }
    home.append("[notify sms]\nvia = command\ncommand = /bin/true\n");
    home.set("plugin", "clients", "totp, notify sms");
    assert!(said(&home).contains("[notify sms] command names a program"), "{}", said(&home));
    home.set("plugin", "hardening", "no");
    assert!(said(&home).contains("[plugin] hardening = no; serve every file of this user"), "{}", said(&home));
}

//! What stands behind a server: homes with people in them, and what the server's processes may read.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::rig::faults::Refused;
use crate::rig::nobody::copied_executable;
use crate::rig::okta::{Okta, configure};
use crate::rig::{Home, Phone};

/// How many people there are who log in only once.
pub const CROWD: usize = 200;

/// A home, and the executable beside it where other users get to it.
pub struct Stage {
    pub home: Home,
    pub executable: PathBuf,
}

impl Stage {
    /// alice and bob, with phones 1 and 2, and a [`CROWD`] of user0, user1 and so on, with phones from 1000 on.
    pub fn codes() -> Self {
        let home = Home::init();
        let named: Vec<(String, Phone)> = [("alice".to_owned(), Phone::new(1)), ("bob".to_owned(), Phone::new(2))]
            .into_iter()
            .chain((0..CROWD).map(|number| (format!("user{number}"), crowd(number))))
            .collect();
        home.import_many(named.iter().map(|(name, phone)| (name.as_str(), phone)));
        Self::of(home)
    }

    /// The same; after the code, a ticket is asked for.
    pub fn two_rounds() -> Self {
        let stage = Self::codes();
        stage.home.append("[question_1]\nkey = ticket\nprompt = Ticket number:\ndisable_echo = no\n");
        stage
    }

    /// Everybody has a phone at Okta: who is pressed for approves at once, everybody else when they are.
    pub fn push(okta: &Okta) -> Self {
        Self::of(okta.home(""))
    }

    /// A service at which nothing listens.
    pub fn down() -> (Self, Refused) {
        let refused = Refused::new();
        let home = Home::init();
        configure(&home, &format!("http://{}", refused.host()), "");
        (Self::of(home), refused)
    }

    fn of(home: Home) -> Self {
        let executable = copied_executable(&home);
        Self { home, executable }
    }

    /// The temporary directory, in which a server may keep what it needs.
    pub fn dir(&self) -> PathBuf {
        self.home.dir().parent().unwrap().to_owned()
    }

    /// The command line of gateway `name`, as a server's configuration has it.
    pub fn gateway(&self, name: &str, options: &str) -> String {
        format!(
            "{} gateway {name} --config {}{}{options}",
            self.executable.display(),
            self.home.ini().display(),
            if options.is_empty() { "" } else { " " }
        )
    }

    /// Gives everything to user and group `id`, as whom a server runs its programs.
    pub fn give_to(&self, id: u32) {
        let mut paths = vec![self.dir()];
        while let Some(path) = paths.pop() {
            lchown(&path, Some(id), Some(id)).unwrap();
            if path.symlink_metadata().unwrap().is_dir() {
                paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    }
}

/// The phone of user `number` of the crowd.
pub fn crowd(number: usize) -> Phone {
    Phone::new(1000 + number as u64)
}

/// The number of user `name` on this machine, where there is one.
pub fn user_id(name: &str) -> Option<u32> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

/// Writes an executable file.
pub fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A port on which nothing listens now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that ends when the test does.
pub struct Server(pub Child);

impl Server {
    pub fn start(command: &mut Command) -> Self {
        // Some servers signal the whole group when they end.
        Self(command.process_group(0).spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Told to end, a server takes its other processes with it; who does not is ended.
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        for _ in 0..500 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends the process `pid`, which a test started, the signal `name`.
pub fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap().success());
}

//! A machine with people of the test's own: copies of files of /etc, seen in a mount name space only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rig::pam::contributed;
use crate::stage::{CROWD, Stage, script};

/// Everybody's password.
pub const PASSWORD: &str = "correct horse";

/// The number of the first of them.
const FIRST: usize = 20_000;

/// The copies, beside a home.
pub struct Machine {
    pub dir: PathBuf,
}

impl Machine {
    /// The people of `stage`, and the files of contrib/pam for `services`.
    pub fn with(stage: &Stage, services: &[&str]) -> Self {
        let dir = stage.dir();
        // Who logs in gets to what they may read.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).unwrap();
        let machine = Self { dir };
        let etc = machine.dir.join("etc");
        fs::create_dir(&etc).unwrap();
        assert!(Command::new("cp").args(["-r", "/etc/pam.d"]).arg(&etc).status().unwrap().success());
        let hashed = Command::new("openssl").args(["passwd", "-6", PASSWORD]).output().unwrap();
        let hash = String::from_utf8(hashed.stdout).unwrap();
        let (mut passwd, mut shadow) =
            (fs::read_to_string("/etc/passwd").unwrap(), fs::read_to_string("/etc/shadow").unwrap());
        for (user, id) in people() {
            passwd += &format!("{user}:x:{id}:65534::/:/bin/sh\n");
            shadow += &format!("{user}:{}:19000:0:99999:7:::\n", hash.trim());
        }
        let sudoers = "Defaults !lecture, passwd_tries=1\nroot ALL=(ALL:ALL) ALL\n%nogroup ALL=(ALL:ALL) ALL\n";
        for (file, text, mode) in
            [("passwd", &*passwd, 0o644), ("shadow", &*shadow, 0o640), ("sudoers", sudoers, 0o440)]
        {
            fs::write(etc.join(file), text).unwrap();
            fs::set_permissions(etc.join(file), fs::Permissions::from_mode(mode)).unwrap();
        }
        for service in services {
            machine.set(service, &contributed(service, &stage.home, &stage.executable));
        }
        let mounts: String = ["passwd", "shadow", "sudoers", "pam.d"]
            .iter()
            .map(|file| format!("mount --bind {} /etc/{file}\n", etc.join(file).display()))
            .collect();
        let inside = format!("set -e\n{mounts}mount -t tmpfs tmpfs /run\nmkdir /run/sshd\nexec \"$@\"\n");
        fs::write(machine.dir.join("mounts"), inside).unwrap();
        let enter = format!("#!/bin/sh\nexec unshare --mount sh {} \"$@\"\n", machine.dir.join("mounts").display());
        script(&machine.inside(), &enter);
        machine
    }

    /// Writes the file of pam.d of `service`.
    pub fn set(&self, service: &str, text: &str) {
        fs::write(self.dir.join("etc/pam.d").join(service), text).unwrap();
    }

    /// A program that runs what follows it there.
    pub fn inside(&self) -> PathBuf {
        self.dir.join("inside")
    }

    /// Arguments that follow it, to be `user` there.
    pub fn become_user(user: &str) -> [String; 6] {
        let id = people().find(|(name, _)| name == user).unwrap().1;
        let words = ["setpriv", "--reuid", "", "--regid", "65534", "--clear-groups"];
        words.map(|word| if word.is_empty() { id.to_string() } else { word.to_owned() })
    }
}

/// What contrib/pam has in `file` beside files of pam.d.
pub fn contrib(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/pam").join(file)).unwrap()
}

fn people() -> impl Iterator<Item = (String, usize)> {
    let names = ["alice".to_owned(), "bob".to_owned()].into_iter().chain((0..CROWD).map(|n| format!("user{n}")));
    names.zip(FIRST..)
}

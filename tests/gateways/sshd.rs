//! OpenSSH: a key, and then the PAM module by keyboard-interactive.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::dialogue::{Door, Many, play};
use crate::machine::{Machine, contrib};
use crate::rig::PATIENCE;
use crate::rig::pam::HEADERS;
use crate::rig::terminal::Terminal;
use crate::stage::{Server, Stage, crowd, free_port};
use crate::table::{Gateway, Needs, Sheet};

pub const GATEWAY: Gateway = Gateway {
    name: "sshd",
    programs: &[
        ("sshd", "openssh-server"),
        ("ssh", "openssh-client"),
        ("unshare", "util-linux"),
        ("openssl", "openssl"),
        HEADERS,
    ],
    needs: Needs::Root,
    play: run,
};

struct Sshd {
    machine: Machine,
    port: u16,
    _server: Server,
}

impl Sshd {
    /// An sshd whose file in pam.d is `service`.
    fn start(stage: &Stage, service: &str, text: Option<&str>) -> Self {
        let machine = Machine::with(stage, if text.is_some() { &[] } else { &["sshd"] });
        if let Some(text) = text {
            machine.set(service, text);
        }
        let dir = &machine.dir;
        for key in ["host_key", "key"] {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(key)).status();
            assert!(made.unwrap().success());
        }
        // Its name is the name of its file in pam.d.
        let program = dir.join(service);
        symlink("/usr/sbin/sshd", &program).unwrap();
        let (port, shown) = (free_port(), dir.display());
        let configuration = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {shown}/host_key\nPidFile none\nStrictModes no\n\
             AuthorizedKeysFile {shown}/key.pub\nMaxStartups 100\nUseDNS no\n{}",
            contrib("sshd_config")
        );
        fs::write(dir.join("sshd_config"), configuration).unwrap();
        // As the page says to find out whether the key is asked for.
        let mut shown = Command::new(machine.inside());
        shown.arg(&program).args(["-T", "-C", "user=alice,host=x,addr=192.0.2.1", "-f"]).arg(dir.join("sshd_config"));
        let shown = String::from_utf8(shown.output().unwrap().stdout).unwrap();
        assert!(shown.contains("\nauthenticationmethods publickey,keyboard-interactive:pam\n"), "{shown}");
        let mut command = Command::new(machine.inside());
        command.arg(program).arg("-D").arg("-f").arg(dir.join("sshd_config")).arg("-E").arg(dir.join("sshd.log"));
        let server = Server::start(command.stdin(Stdio::null()));
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "{}", fs::read_to_string(dir.join("sshd.log")).unwrap_or_default());
            thread::sleep(Duration::from_millis(20));
        }
        Self { machine, port, _server: server }
    }
}

impl Door for Sshd {
    fn knock(&self, user: &str) -> Terminal {
        Terminal::start("ssh", |command| {
            let options = [
                "UserKnownHostsFile=/dev/null",
                "GlobalKnownHostsFile=/dev/null",
                "StrictHostKeyChecking=no",
                "NumberOfPasswordPrompts=1",
                "IdentitiesOnly=yes",
            ];
            command.args(["-F", "/dev/null", "-p", &self.port.to_string(), "-l", user, "-i"]);
            command.arg(self.machine.dir.join("key")).args(options.iter().flat_map(|option| ["-o", option]));
            command.args(["127.0.0.1", "echo in as $(id -un)"]);
        })
    }

    fn is_in(&self, person: &mut Terminal, user: &str) -> bool {
        let (status, text) = person.end();
        let is_in = text.contains(&format!("in as {user}"));
        assert_eq!(status, Some(if is_in { 0 } else { 255 }), "{text}");
        assert!(is_in || text.contains("Permission denied"), "{text}");
        is_in
    }
}

fn run(sheet: &mut Sheet) {
    play(sheet, &Many::ALL, |stage| Sshd::start(stage, "sshd", None));
    let (ours, theirs) = (Stage::codes(), Stage::codes());
    let ours = Sshd::start(&ours, "sshd", None);
    let rest = "account required pam_permit.so\n@include common-session\n";
    let theirs = Sshd::start(&theirs, "permit", Some(&format!("auth required pam_permit.so\n{rest}")));
    sheet.time(
        10,
        |round| assert!(ours.login(&format!("user{round}"), &crowd(round).fresh_code())),
        |_| assert!(theirs.is_in(&mut theirs.knock("alice"), "alice")),
    );
}

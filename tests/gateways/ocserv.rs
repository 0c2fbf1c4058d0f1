//! ocserv: the password, and then the PAM module. Its client shows the question, and a label of its own.

use std::fs;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::dialogue::{Door, Many, PROMPT, play};
use crate::machine::{Machine, PASSWORD};
use crate::rig::PATIENCE;
use crate::rig::pam::HEADERS;
use crate::rig::terminal::Terminal;
use crate::stage::{Server, Stage, crowd, free_port};
use crate::table::{Gateway, Needs, Sheet};

pub const GATEWAY: Gateway = Gateway {
    name: "ocserv",
    programs: &[
        ("ocserv", "ocserv"),
        ("openconnect", "openconnect"),
        ("unshare", "util-linux"),
        ("openssl", "openssl"),
        HEADERS,
    ],
    needs: Needs::Root,
    play: run,
};

struct Ocserv {
    machine: Machine,
    port: u16,
    pin: String,
    _server: Server,
}

impl Ocserv {
    fn start(stage: &Stage) -> Self {
        let machine = Machine::with(stage, &["ocserv"]);
        let (dir, port) = (machine.dir.display(), free_port());
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-keyout", &format!("{dir}/tls.key"), "-out", &format!("{dir}/tls.crt")])
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let pin = format!(
            "openssl x509 -in {dir}/tls.crt -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 \
             -binary | openssl base64"
        );
        let pin = String::from_utf8(Command::new("sh").args(["-c", &pin]).output().unwrap().stdout).unwrap();
        let configuration = format!(
            "auth = \"pam\"\ntcp-port = {port}\nlisten-host = 127.0.0.1\nsocket-file = {dir}/socket\n\
             server-cert = {dir}/tls.crt\nserver-key = {dir}/tls.key\nrun-as-user = nobody\nrun-as-group = nogroup\n\
             isolate-workers = false\nmax-clients = 0\nmax-same-clients = 0\nmax-ban-score = 0\nrate-limit-ms = 0\n\
             auth-timeout = 240\ndevice = vpns\nipv4-network = 192.168.251.0/24\nuse-occtl = false\ncisco-client-compat = true\n"
        );
        fs::write(machine.dir.join("ocserv.conf"), configuration).unwrap();
        let log = fs::File::create(machine.dir.join("ocserv.log")).unwrap();
        let mut command = Command::new(machine.inside());
        command.args(["ocserv", "-f", "-c"]).arg(machine.dir.join("ocserv.conf"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let server = Server::start(&mut command);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = fs::read_to_string(machine.dir.join("ocserv.log")).unwrap_or_default();
            assert!(Instant::now() < until, "{log}");
            thread::sleep(Duration::from_millis(20));
        }
        Self { machine, port, pin: format!("pin-sha256:{}", pin.trim()), _server: server }
    }
}

impl Ocserv {
    fn type_password(&self, user: &str, password: &str) -> Terminal {
        let mut person = Terminal::start("openconnect", |command| {
            command.args(["--protocol=anyconnect", "--authenticate", "--no-dtls", "--user", user, "--servercert"]);
            command.arg(&self.pin).arg(format!("https://127.0.0.1:{}", self.port));
        });
        person.wait_for("Password:");
        person.enter(password);
        person
    }
}

impl Door for Ocserv {
    fn knock(&self, user: &str) -> Terminal {
        self.type_password(user, PASSWORD)
    }

    fn answer(&self, person: &mut Terminal, prompt: &str, keys: &[u8]) {
        person.wait_for(prompt.trim());
        person.wait_for("Password");
        person.wait_for(":");
        // It refuses who types nothing by itself.
        person.enter(if keys.is_empty() { b" " } else { keys });
    }

    fn is_in(&self, person: &mut Terminal, _user: &str) -> bool {
        // Who is refused is asked for everything anew.
        if let Some(index) = person.wait_for_any(&["COOKIE=", "Password:"]) {
            return index == 0;
        }
        assert_ne!(person.end().0, Some(0), "{}", person.text());
        false
    }
}

fn run(sheet: &mut Sheet) {
    play(sheet, &Many::ALL, Ocserv::start);
    let (ours, theirs) = (Stage::codes(), Stage::codes());
    let (ours, theirs) = (Ocserv::start(&ours), Ocserv::start(&theirs));
    unknowing(&ours);
    theirs.machine.set("ocserv", "auth required pam_unix.so\naccount required pam_unix.so\n");
    sheet.time(
        10,
        |round| assert!(ours.login(&format!("user{round}"), &crowd(round).fresh_code())),
        |_| assert!(theirs.is_in(&mut theirs.knock("alice"), "alice")),
    );
}

/// Who does not know the password is asked for no code.
fn unknowing(door: &Ocserv) {
    let mut person = door.type_password("user0", "wrong");
    assert!(!door.is_in(&mut person, "user0") && !person.text().contains(PROMPT), "{}", person.text());
}

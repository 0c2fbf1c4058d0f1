//! FreeRADIUS with the files of contrib/freeradius, and radclient.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::rig::PATIENCE;
use crate::rig::nobody::is_root;
use crate::stage::{Server, Stage, user_id};

const SECRET: &str = "testing123";

/// The password of everybody, which `files` knows.
pub const PASSWORD: &str = "first factor";

/// Which way leads to countersign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Perl,
    Python,
    Exec,
}

/// Where the virtual servers are.
#[derive(Clone, Copy, Debug)]
pub enum Door {
    /// As contrib has it: a password, then the code.
    Checked,
    /// The same server, where the password field holds the code.
    Code,
    /// The same server without countersign.
    PasswordOnly,
}

/// How a server differs from what contrib has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Not at all.
    Usual,
    /// It waits for a few seconds only.
    Hasty,
    /// Nobody can be asked: not by rlm_exec.
    Mute,
}

/// A running server.
pub struct Radius {
    ports: [u16; 3],
    log: PathBuf,
    _server: Server,
}

impl Radius {
    /// Starts it; `way` leads to the home of `stage`.
    pub fn start(stage: &Stage, way: Way, mood: Mood) -> Self {
        let dir = stage.dir().join(format!("{mood:?}"));
        // Whoever else runs here may take a port in the meantime.
        (0..10).find_map(|_| Self::try_start(stage, (way, mood), &dir)).expect("three ports that stay free")
    }

    fn try_start(stage: &Stage, how: (Way, Mood), dir: &Path) -> Option<Self> {
        let sockets: [UdpSocket; 3] = std::array::from_fn(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        let ports = sockets.map(|socket| socket.local_addr().unwrap().port());
        configure(stage, how, dir, ports);
        let (log, said) = (dir.join("radius.log"), dir.join("said"));
        fs::write(&log, "").unwrap();
        if is_root() {
            stage.give_to(user_id("freerad").unwrap());
        }
        let output = || File::options().append(true).create(true).open(&said).unwrap();
        let mut command = Command::new("freeradius");
        command.arg("-f").arg("-d").arg(dir).args(["-n", "radiusd", "-l"]).arg(&log);
        command.stdin(Stdio::null()).stdout(output()).stderr(output());
        let mut server = Server::start(&mut command);
        let began = Instant::now();
        loop {
            let text = [&log, &said].map(|path| fs::read_to_string(path).unwrap_or_default()).concat();
            if text.contains("Ready to process requests") {
                return Some(Self { ports, log, _server: server });
            }
            let has_ended = server.0.try_wait().unwrap().is_some();
            if has_ended && text.contains("Address already in use") {
                return None;
            }
            assert!(!has_ended && began.elapsed() < PATIENCE, "freeradius: {text}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// A round of a login at `door`.
    pub fn ask(&self, door: Door, user: &str, password: &str, state: Option<&str>) -> Reply {
        self.send(door, &request(user, password, state), &mut |_| {})
    }

    /// Sends the request in `pairs`, again each second as a network access server does; `sent` is told how often it was sent.
    pub fn send(&self, door: Door, pairs: &str, sent: &mut dyn FnMut(usize)) -> Reply {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "radclient", "-x", "-r", "60", "-t", "1"]);
        command.args([&format!("127.0.0.1:{}", self.ports[door as usize]), "auth", SECRET]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(pairs.as_bytes()).unwrap();
        let (mut times, mut reply) = (0, None::<Reply>);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if line.starts_with("Sent ") {
                times += 1;
                sent(times);
            } else if let Some(rest) = line.strip_prefix("Received ") {
                assert!(reply.is_none(), "two replies");
                let kind = rest.split(' ').next().unwrap().to_owned();
                reply = Some(Reply { kind, state: None, messages: Vec::new(), prompt: None });
            } else if let (Some(reply), Some((name, value))) = (&mut reply, line.trim().split_once(" = ")) {
                match name {
                    "State" => reply.state = Some(value.to_owned()),
                    "Reply-Message" => reply.messages.push(unquoted(value)),
                    "Prompt" => reply.prompt = Some(value.to_owned()),
                    "Message-Authenticator" | "Proxy-State" => {}
                    _ => panic!("nobody is to see {line}"),
                }
            }
        }
        child.wait().unwrap();
        reply.expect("a reply")
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    kind: String,
    state: Option<String>,
    pub messages: Vec<String>,
    pub prompt: Option<String>,
}

impl Reply {
    pub fn is_accept(&self) -> bool {
        self.kind == "Access-Accept"
    }

    /// Nothing else came than that, and what everybody may read.
    #[track_caller]
    pub fn accepted(&self) {
        assert_eq!((self.kind.as_str(), &self.state), ("Access-Accept", &None), "{self:?}");
    }

    /// Whatever it is, nobody was let in.
    #[track_caller]
    pub fn not_accepted(&self) {
        assert!(!self.is_accept(), "{self:?}");
    }

    #[track_caller]
    pub fn rejected(&self) {
        assert_eq!((self.kind.as_str(), &self.state), ("Access-Reject", &None), "{self:?}");
    }

    /// The State of the question.
    #[track_caller]
    pub fn asked(&self) -> &str {
        assert_eq!(self.kind, "Access-Challenge", "{self:?}");
        self.state.as_deref().expect("a State")
    }

    /// Everything that is to be read.
    pub fn message(&self) -> String {
        self.messages.concat()
    }
}

/// The pairs of a request.
pub fn request(user: &str, password: &str, state: Option<&str>) -> String {
    let state = state.map(|state| format!(", State = {state}")).unwrap_or_default();
    // An address of their own: failures are counted by it.
    let [_, rest @ ..] = user.bytes().fold(7_u32, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into())).to_be_bytes();
    let address = format!("10.{}.{}.{}", rest[0], rest[1], rest[2]);
    format!(
        "User-Name = \"{}\", User-Password = \"{}\", NAS-IP-Address = 127.0.0.9, Calling-Station-Id = \"{address}\"{state}\n",
        quoted(user.as_bytes()),
        quoted(password.as_bytes())
    )
}

/// `bytes` so that radclient sends them as they are.
pub fn quoted(bytes: &[u8]) -> String {
    let each = |b: &u8| if b.is_ascii_alphanumeric() { char::from(*b).to_string() } else { format!("\\{b:03o}") };
    bytes.iter().map(each).collect()
}

/// What radclient printed between quotation marks.
fn unquoted(value: &str) -> String {
    let mut rest = value.strip_prefix('"').unwrap().strip_suffix('"').unwrap().chars();
    let mut text = String::new();
    while let Some(character) = rest.next() {
        text.push(match (character, if character == '\\' { rest.next() } else { None }) {
            (_, Some('n')) => '\n',
            (_, Some(escaped)) => escaped,
            (plain, None) => plain,
        });
    }
    text
}

/// A file of contrib, with each of `changes` made: all of them must be there.
fn contrib(path: &str, changes: &[(&str, String)]) -> String {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/freeradius").join(path);
    let mut text = fs::read_to_string(&from).unwrap();
    for (old, new) in changes {
        assert!(text.contains(old), "{path} has no {old}");
        text = text.replace(old, new);
    }
    text
}

fn configure(stage: &Stage, (way, mood): (Way, Mood), dir: &Path, ports: [u16; 3]) {
    let modules = dir.join("mods-config");
    fs::create_dir_all(&modules).unwrap();
    let (executable, ini) = (stage.executable.display().to_string(), stage.home.ini().display().to_string());
    let paths = [("/usr/local/bin/countersign", executable), ("/etc/countersign/plugin.ini", ini)];
    let change = |old: &'static str, new: &str| (old, new.to_owned());
    let mut sections = Vec::new();
    let (module, site) = match way {
        Way::Exec => {
            // More than as it is installed: the machine may be busy.
            let timeout = change("timeout = 10", if mood == Mood::Hasty { "timeout = 4" } else { "timeout = 28" });
            stage.home.set("gateway radius-exec", "wait", "25");
            let of = |more: &[(&'static str, String)]| {
                contrib("mods-available/countersign_exec", &[&paths[..], std::slice::from_ref(&timeout), more].concat())
            };
            sections.push(of(&[]));
            sections.push(of(&[change("exec countersign_exec", "exec code"), change(" --field checked", "")]));
            ("countersign_exec", "sites-available/countersign_exec")
        }
        Way::Perl | Way::Python => {
            let own = match mood {
                Mood::Usual => Vec::new(),
                Mood::Hasty => vec![change("timeout = \"25\"", "timeout = \"4\"")],
                Mood::Mute => vec![change("ask = \"yes\"", "ask = \"no\"")],
            };
            let (module, file, own) = if way == Way::Perl {
                ("mods-available/countersign", "perl/countersign_radius.pl", own)
            } else {
                let python = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().file_name());
                let python = python.map(|name| name.into_string().unwrap());
                let python = python.filter(|name| name.starts_with("python3.")).max().unwrap();
                let own = [&own[..], &[change("python3.11", &python)]].concat();
                ("mods-available/countersign_python", "python3/countersign_radius.py", own)
            };
            sections.push(contrib(module, &[&paths[..], &own].concat()));
            let shim = modules.join(file);
            fs::create_dir_all(shim.parent().unwrap()).unwrap();
            fs::write(shim, contrib(&format!("mods-config/{file}"), &[])).unwrap();
            ("countersign", "sites-available/countersign")
        }
    };
    let port = |door: Door| ports[door as usize];
    let old = match way {
        Way::Exec => "18141",
        Way::Perl | Way::Python => "18140",
    };
    let mut server = |name: &str, door: Door, changes: &[(&str, String)]| {
        let header = format!("server {module} {{");
        let own = [(header.as_str(), format!("server {name} {{")), (old, port(door).to_string())];
        sections.push(contrib(site, &[&own[..], changes].concat()));
    };
    server("checked", Door::Checked, &[]);
    // What docs/gateways/freeradius.md says of a server that asks for no password.
    let own = match way {
        Way::Exec => ("\t\t\tcountersign_exec {", "\t\t\tcode {".to_owned()),
        Way::Perl | Way::Python => ("\"checked\"", "\"code\"".to_owned()),
    };
    let branches =
        [("\t\tif (&State) {\n", "\t\tif (1) {\n".to_owned()), ("\t\t\tfiles\n\t\t\tpap\n", String::new()), own];
    server("code", Door::Code, &branches);
    let known = "Cleartext-Password := \"first factor\"";
    let users = format!("locked {known}, Auth-Type := Reject\nopen {known}, Auth-Type := Accept\nDEFAULT {known}\n");
    fs::write(dir.join("users"), users).unwrap();
    let (modules_text, servers): (Vec<_>, Vec<_>) = sections.into_iter().partition(|text| !text.contains("\nserver "));
    let whose = if is_root() { "user = freerad\n group = freerad\n" } else { "" };
    let text = format!(
        r#"prefix = /usr
name = freeradius
libdir = /usr/lib/freeradius
logdir = {dir}
run_dir = {dir}
db_dir = {dir}
confdir = {dir}
raddbdir = {dir}
modconfdir = {dir}/mods-config
max_request_time = 30
cleanup_delay = 5
max_requests = 16384
proxy_requests = no
log {{
 destination = files
 file = {dir}/radius.log
}}
security {{
 {whose} allow_core_dumps = no
 max_attributes = 200
 reject_delay = 0
}}
client loopback {{
 ipaddr = 127.0.0.1
 secret = {SECRET}
}}
thread pool {{
 start_servers = 5
 max_servers = 32
 min_spare_servers = 3
 max_spare_servers = 10
 max_requests_per_server = 0
}}
modules {{
 always ok {{
  rcode = ok
 }}
 always reject {{
  rcode = reject
 }}
 always handled {{
  rcode = handled
 }}
 pap {{
 }}
 files {{
  filename = {dir}/users
 }}
{modules_text}
}}
{servers}
server password_only {{
 listen {{
  type = auth
  ipaddr = 127.0.0.1
  port = {password_only}
 }}
 authorize {{
  files
  pap
 }}
 authenticate {{
  Auth-Type PAP {{
   pap
  }}
 }}
}}
"#,
        dir = dir.display(),
        modules_text = modules_text.concat(),
        servers = servers.concat(),
        password_only = port(Door::PasswordOnly),
    );
    fs::write(dir.join("radiusd.conf"), text).unwrap();
}

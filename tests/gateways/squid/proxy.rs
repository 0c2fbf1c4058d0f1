//! Squid on a port of its own, and curl in front of it.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::BASE64;

use crate::rig::PATIENCE;
use crate::rig::nobody::is_root;
use crate::stage::{Server, Stage, free_port, user_id};

/// Everybody's password: whatever means something to a helper, to a shell or to an encoding.
pub const PASSWORD: &str = "p\"w\\ %41,é:$(id)";

/// The same as a line of htpasswd has it (`openssl passwd -1`).
const HASH: &str = "$1$saltsalt$EcO9toFquNFviFV64mg5m/";

/// The program that checks passwords.
pub const NCSA: &str = "/usr/lib/squid/basic_ncsa_auth";

/// Where Debian has the pages that are shown to whoever is not let in.
const PAGES: &str = "/usr/share/squid/errors/templates";

/// What an answer of the proxy says.
#[derive(Debug)]
pub struct Shown {
    pub status: u16,
    /// Where it points.
    pub location: String,
    pub body: String,
}

/// A Squid that runs.
pub struct Proxy {
    server: Server,
    port: u16,
}

/// Gives every user of `names` the password [`PASSWORD`], in the file `passwd` of `dir`.
pub fn passwords<'a>(dir: &Path, names: impl IntoIterator<Item = &'a str>) {
    let lines: String = names.into_iter().map(|name| format!("{name}:{HASH}\n")).collect();
    fs::write(dir.join("passwd"), lines).unwrap();
}

/// A file of contrib/squid, on this machine.
pub fn contributed(name: &str, stage: &Stage) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/squid").join(name);
    fs::read_to_string(path)
        .unwrap()
        .replace("/usr/local/bin/countersign", stage.executable.to_str().unwrap())
        .replace("/etc/countersign/plugin.ini", stage.home.ini().to_str().unwrap())
        .replace("/etc/squid/passwd", stage.dir().join("passwd").to_str().unwrap())
}

impl Proxy {
    /// Starts one whose logins are as `logins` says, on the home of `stage`, which is its own from here on.
    pub fn start(stage: &Stage, logins: &str) -> Self {
        let (port, dir) = (free_port(), stage.dir().join("squid"));
        pages(&dir);
        let conf = dir.join("squid.conf");
        let at = dir.display();
        let text = format!(
            "http_port 127.0.0.1:{port}\nvisible_hostname test\npid_filename none\ncoredump_dir {at}\n\
             cache_log {at}/cache.log\nlogformat trace %>Hs %un %ea %note\naccess_log stdio:{at}/access.log trace\n\
             error_directory {at}/pages\ncache deny all\nnetdb_filename none\nshutdown_lifetime 0 seconds\n{logins}"
        );
        fs::write(&conf, text).unwrap();
        if is_root() {
            // Squid and its helpers run as its own user then.
            stage.give_to(user_id("proxy").unwrap());
            lchown(stage.dir(), Some(user_id("proxy").unwrap()), Some(0)).unwrap();
        }
        let said = fs::File::create(dir.join("said")).unwrap();
        let server =
            Server::start(Command::new("/usr/sbin/squid").arg("-N").arg("-f").arg(&conf).stderr(Stdio::from(said)));
        let mut proxy = Self { server, port };
        let patience = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = proxy.server.0.try_wait().unwrap();
            let said = || fs::read_to_string(dir.join("said")).unwrap();
            assert!(ended.is_none() && Instant::now() < patience, "{ended:?}: {}", said());
            thread::sleep(Duration::from_millis(20));
        }
        proxy
    }

    /// Fetches `url` as `user`, from the usual address.
    pub fn fetch(&self, url: &str, user: &str, password: &str) -> Shown {
        self.fetch_from("127.0.0.1", url, user.as_bytes(), password.as_bytes())
    }

    /// Fetches `url` with these credentials, whatever they are, from `address`.
    pub fn fetch_from(&self, address: &str, url: &str, user: &[u8], password: &[u8]) -> Shown {
        let credentials = BASE64.encode(&[user, b":", password].concat());
        let header = format!("Proxy-Authorization: Basic {credentials}");
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "100", "--interface", address, "-H", &header]);
        command.args(["-w", "\n%{http_code} %{redirect_url}"]).arg("-x").arg(format!("http://127.0.0.1:{}", self.port));
        let output = command.arg(url).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, end) = text.rsplit_once('\n').unwrap();
        let (status, location) = end.split_once(' ').unwrap();
        Shown { status: status.parse().unwrap(), location: location.into(), body: body.into() }
    }

    /// The helpers that run countersign.
    pub fn helpers(&self) -> Vec<u32> {
        let parent = self.server.0.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let is_ours = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("gateway\0squid")
        };
        children.split_whitespace().map(|pid| pid.parse().unwrap()).filter(is_ours).collect()
    }
}

/// Waits until `pid` is no process any more.
pub fn wait_for_end(pid: u32) {
    let patience = Instant::now() + PATIENCE;
    let is_there = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // What nobody has waited for yet has ended.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    while is_there() {
        assert!(Instant::now() < patience, "{pid} does not end");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The pages of Squid, and ours among them.
fn pages(dir: &Path) {
    let pages = dir.join("pages");
    fs::create_dir_all(&pages).unwrap();
    let mut sources: Vec<PathBuf> = fs::read_dir(PAGES).unwrap().map(|entry| entry.unwrap().path()).collect();
    sources.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/squid/ERR_SECOND_FACTOR"));
    for source in sources {
        let page = pages.join(source.file_name().unwrap());
        fs::write(&page, fs::read(&source).unwrap()).unwrap();
        fs::set_permissions(&page, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

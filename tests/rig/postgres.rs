//! A PostgreSQL cluster of one's own, on a socket in a temporary directory, for as long as the test runs.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The user inside the database.
const USER: &str = "countersign";

/// How long anything of it may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where Debian has its programs; the newest version first.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> =
        fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    versions.into_iter().rev().find(|path| path.join("initdb").is_file())
}

/// A running cluster.
pub struct Cluster {
    directory: PathBuf,
    programs: PathBuf,
    server: Option<Child>,
    port: u16,
}

impl Cluster {
    /// Starts one below `directory`, which is made. `None` where PostgreSQL is not installed.
    pub fn start(directory: &Path) -> Option<Self> {
        let programs = programs()?;
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory).unwrap();
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        let mut cluster = Self { directory: directory.to_owned(), programs, server: None, port: free_port() };
        if is_root() {
            lchown(directory, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let made = cluster
            .program("initdb")
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--no-locale", "-U", USER, "-D"])
            .arg(cluster.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        cluster.launch();
        Some(cluster)
    }

    /// Starts another one below `directory`, which follows this one and takes over when it is told to. From then on this one
    /// says that something is committed when both have it.
    pub fn standby(&self, directory: &Path) -> Self {
        self.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory).unwrap();
        if is_root() {
            lchown(directory, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut other =
            Self { directory: directory.to_owned(), programs: self.programs.clone(), server: None, port: free_port() };
        let copied = other
            .program("pg_basebackup")
            .args(["-h", "127.0.0.1", "-U", USER, "-p", &self.port.to_string(), "-R", "-c", "fast", "--no-sync", "-D"])
            .arg(other.data())
            .output()
            .unwrap();
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        other.launch();
        self.sql("postgres", "SELECT pg_reload_conf()");
        let began = Instant::now();
        while self.sql("postgres", "SELECT sync_state FROM pg_stat_replication") != "sync" {
            assert!(began.elapsed() < PATIENCE, "the standby does not follow");
            std::thread::sleep(Duration::from_millis(20));
        }
        other
    }

    /// Has a standby take over, and wait for no other.
    pub fn promote(&self) {
        self.sql("postgres", "SELECT pg_promote()");
        self.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = ''");
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// Its server in an address.
    pub fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The address of the database `name`, with `options` behind it.
    pub fn url(&self, name: &str, options: &str) -> String {
        format!("postgres://{USER}@{}/{name}{options}", self.place())
    }

    /// Makes an empty database.
    pub fn create(&self, name: &str) {
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
    }

    /// Runs a statement; its rows, columns parted by `|`.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-A", "-t", "-h", "127.0.0.1", "-U", USER, "-d", database, "-p", &self.port.to_string()]);
        let ran = psql.args(["-v", "ON_ERROR_STOP=1", "-c", statement]).output().unwrap();
        assert!(ran.status.success(), "{statement}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().trim_end().to_owned()
    }

    /// From now on it speaks TLS only, with the certificate and key in these files, and asks the user for their password.
    pub fn secure(&mut self, certificate: &Path, key: &Path) {
        let keep = |name: &str, content: &[u8]| {
            let path = self.data().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            if is_root() {
                lchown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        };
        keep("server.crt", &fs::read(certificate).unwrap());
        keep("server.key", &fs::read(key).unwrap());
        keep("pg_hba.conf", b"hostssl all all 127.0.0.1/32 scram-sha-256\nlocal all all trust\n");
        let settings = fs::read_to_string(self.data().join("postgresql.conf")).unwrap();
        keep("postgresql.conf", (settings + "\nssl = on\n").as_bytes());
        self.restart();
    }

    /// Sends a signal to all its processes.
    pub fn signal(&self, name: &str) {
        if let Some(server) = &self.server {
            // Some may have ended.
            let (signal, first) = (format!("-{name}"), server.id().to_string());
            let _ = Command::new("kill").args([&signal, &first]).status();
            let _ = Command::new("pkill").args([&signal, "-P", &first]).status();
        }
    }

    /// Kills it, as a machine dies.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = Command::new("pkill").args(["-KILL", "-P", &server.id().to_string()]).status();
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        self.kill();
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
        self.launch();
    }

    fn launch(&mut self) {
        let mut server = Command::new("setsid");
        server.args(self.as_nobody()).arg(self.programs.join("postgres"));
        let settings = [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".into(),
            format!("unix_socket_directories={}", self.directory.display()),
            "fsync=off".into(),
            "max_connections=400".into(),
            "shared_buffers=32MB".into(),
            "deadlock_timeout=100ms".into(),
        ];
        for setting in settings {
            server.args(["-c", &setting]);
        }
        let log = fs::File::create(self.directory.join("log")).unwrap();
        server.arg("-D").arg(self.data()).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut started = server.spawn().unwrap();
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() || !self.is_ready() {
            let said = || fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "PostgreSQL does not start: {}", said());
            // Those that were killed may not be gone yet.
            if started.try_wait().unwrap().is_some() {
                std::thread::sleep(Duration::from_millis(100));
                started = server.spawn().unwrap();
            }
            std::thread::yield_now();
        }
        self.server = Some(started);
    }

    fn is_ready(&self) -> bool {
        let mut asked = Command::new(self.programs.join("pg_isready"));
        asked.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        asked.status().is_ok_and(|status| status.success())
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut words = self.as_nobody().into_iter().chain([self.programs.join(name).display().to_string()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).current_dir("/");
        command
    }

    /// What stands before a program that does not run as root.
    fn as_nobody(&self) -> Vec<String> {
        if !is_root() {
            return Vec::new();
        }
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(String::from).to_vec()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
        // What is left is in the temporary directory.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

const NOBODY: u32 = 65534;

pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

//! A PostgreSQL cluster on the disk that counts, with the defaults of PostgreSQL: a commit returns once it is durable.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Result, process};

const USER: &str = "countersign";

/// Whom the server runs as where the driver is root, since it refuses to be: nobody.
const NOBODY: u32 = 65534;

/// How long its start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster.
pub struct Cluster {
    server: Child,
    port: u16,
}

impl Cluster {
    /// Makes one in `directory` by the programs in `programs`, and starts it.
    pub fn start(programs: &Path, directory: &Path) -> Result<Cluster> {
        let is_root = fs::metadata("/proc/self")?.uid() == 0;
        fs::create_dir_all(directory)?;
        if is_root {
            chown(directory, Some(NOBODY), Some(NOBODY))?;
        }
        let program = |name: &str| {
            let path = programs.join(name);
            let mut command = Command::new(if is_root { PathBuf::from("setpriv") } else { path.clone() });
            if is_root {
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(path);
            }
            command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
            command
        };
        let data = directory.join("data");
        let mut make = program("initdb");
        make.args(["--auth=trust", "--encoding=UTF8", "--no-locale", "-U", USER, "-D"]).arg(&data);
        let made = make.output()?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr).trim()).into());
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = program("postgres");
        server.arg("-D").arg(&data).args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        server.args(["-c", &format!("port={port}")]).stderr(File::create(directory.with_extension("log"))?);
        let mut cluster = Cluster { server: server.spawn()?, port };
        let began = Instant::now();
        while !cluster.has("template1") {
            if began.elapsed() > PATIENCE || cluster.server.try_wait()?.is_some() {
                return Err("PostgreSQL does not start".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(cluster)
    }

    /// The address of its one database.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }

    fn has(&self, database: &str) -> bool {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-h", "127.0.0.1", "-U", USER, "-p", &self.port.to_string(), "-d", database, "-c", ""]);
        psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        psql.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Cluster {
    /// Quickly, and without leaving anything behind: its processes end with the first of them.
    fn drop(&mut self) {
        let quit = Command::new("kill").arg("-QUIT").arg(self.server.id().to_string()).status();
        if !quit.is_ok_and(|status| status.success()) || self.server.wait().is_err() {
            process::stop(&mut self.server);
        }
    }
}

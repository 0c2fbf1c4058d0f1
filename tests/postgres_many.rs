//! A shared store behind what stands between gateways and a database: a second server that takes over, and a pool.
#![cfg(debug_assertions)]
#![expect(clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rig::grounds::{cluster, home_on};
use rig::postgres::{Cluster, is_root};
use rig::services::skip;
use rig::{Gateway, PATIENCE, Phone, attempt, now};

/// How many connections to the database a pool has.
const CONNECTIONS: usize = 8;

#[test]
fn a_server_that_takes_over_knows_every_code_that_was_used() {
    let Some(mut first) = cluster() else { return };
    let (home, phone) = (home_on(&first, None), Phone::new(1));
    home.import("alice", &phone);
    let directory = std::env::temp_dir().join(format!("countersign-test-standby-{}", std::process::id()));
    let second = first.standby(&directory);
    // The one that only reads stands first: it is passed over.
    home.set("plugin", "store", &format!("postgres://countersign@{},{}/mfa", second.place(), first.place()));
    home.append("[postgres]\nconnect_timeout = 1\nstatement_timeout = 3\n");
    let mut gateway = Gateway::start(&home);
    let code = phone.code_at(now(), 0);
    assert_eq!(gateway.ask(&attempt(1, "alice", &phone.wrong_code(now()))).code(), "wrong_code");
    assert_eq!(gateway.ask(&attempt(2, "alice", &code)).told(), "accept");
    first.kill();
    // Nobody is let in by the one that has not taken over.
    assert_eq!(gateway.ask(&attempt(3, "alice", &code)).told(), "internal_error/store_failed");
    second.promote();
    // Used, or out of its window by now.
    assert!(is_refused(&in_time(&mut gateway, &code)));
    assert!(is_refused(home.ask_one(&attempt(1, "alice", &code)).code()));
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.fresh_code())).told(), "accept");
    gateway.end().1.ok();
}

fn is_refused(code: &str) -> bool {
    ["used_code", "wrong_code"].contains(&code)
}

/// What is said of `code` once the database is found.
fn in_time(gateway: &mut Gateway, code: &str) -> String {
    let began = Instant::now();
    for id in 10.. {
        let answer = gateway.ask(&attempt(id, "alice", code));
        if answer.code() != "store_failed" {
            return answer.code().to_owned();
        }
        assert!(began.elapsed() < PATIENCE, "the server that took over is not found");
        thread::sleep(Duration::from_millis(20));
    }
    "store_failed".to_owned()
}

#[test]
fn silent_servers_before_the_right_one_cost_time_and_nothing_else() {
    let Some(cluster) = cluster() else { return };
    let (home, phone) = (home_on(&cluster, None), Phone::new(1));
    home.import("alice", &phone);
    let silent: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let places: Vec<_> = silent.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    // Finding it takes longer than a transaction may.
    home.append("[postgres]\nconnect_timeout = 1\nstatement_timeout = 1\n");
    let servers = format!("{},{}", places.join(","), cluster.place());
    home.set("plugin", "store", &format!("postgres://countersign@{servers}/mfa"));
    let code = phone.fresh_code();
    let mut gateway = Gateway::start(&home);
    assert_eq!(gateway.ask(&attempt(1, "alice", &code)).told(), "accept");
    assert!(is_refused(gateway.ask(&attempt(2, "alice", &code)).code()));
    gateway.end().1.ok();
}

#[test]
fn behind_a_pool_in_session_mode_everything_is_as_without() {
    let Some(cluster) = cluster() else { return };
    let (home, phones) = (home_on(&cluster, None), [Phone::new(1), Phone::new(2)]);
    let Some(pool) = Pool::start(&cluster) else { return };
    home.set("plugin", "store", &pool.url());
    home.import_many([("alice", &phones[0]), ("bob", &phones[1])]);
    let code = phones[0].fresh_code();
    // As many at once as the pool has connections, and then others over the same connections.
    let mut gateways: Vec<_> = (0..CONNECTIONS).map(|_| Gateway::start(&home)).collect();
    gateways.iter_mut().for_each(|gateway| gateway.send(&attempt(1, "alice", &code)));
    let mut told: Vec<_> = gateways.iter_mut().map(|gateway| gateway.answer(1).told()).collect();
    for gateway in gateways {
        gateway.end().1.ok();
    }
    told.extend((0..CONNECTIONS).map(|_| home.ask_one(&attempt(1, "alice", &code)).told()));
    assert_eq!(told.iter().filter(|told| *told == "accept").count(), 1, "{told:?}");
    // Whoever tries it often enough has to wait.
    let refused = |told: &String| ["used_code", "wrong_code", "throttled"].iter().any(|code| told.ends_with(code));
    assert_eq!(told.iter().filter(|told| refused(told)).count(), told.len() - 1, "{told:?}");
    let mut gateway = Gateway::start(&home);
    assert_eq!(gateway.ask(&attempt(1, "bob", &phones[1].fresh_code())).told(), "accept");
    assert_eq!(gateway.ask(&attempt(2, "bob", &phones[1].wrong_code(now()))).code(), "wrong_code");
    gateway.end().1.ok();
    home.run(&["store", "check"], "").ok();
}

/// A pool of [`CONNECTIONS`].
struct Pool {
    server: Child,
    port: u16,
    directory: PathBuf,
}

impl Pool {
    /// Starts one before `cluster`; `None`, after a line that says what to install, where there is no such program.
    fn start(cluster: &Cluster) -> Option<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|path| fs::exists(path).unwrap());
        let Some(program) = program else {
            return skip("skipped: there is no pgbouncer; run: apt-get install pgbouncer");
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (host, at) = cluster.place().split_once(':').map(|(host, at)| (host.to_owned(), at.to_owned())).unwrap();
        // What is in the home is its owner's, and it does not run as root.
        let directory = std::env::temp_dir().join(format!("countersign-test-pool-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        let (users, settings) = (directory.join("users"), directory.join("pool.ini"));
        let text = format!(
            "[databases]\nmfa = host={host} port={at} dbname=mfa\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = session\ndefault_pool_size = {CONNECTIONS}\n",
            users.display()
        );
        fs::write(&users, "\"countersign\" \"\"\n").unwrap();
        fs::write(&settings, text).unwrap();
        for (path, mode) in [(&directory, 0o755), (&users, 0o644), (&settings, 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut command = Command::new(program);
        if is_root() {
            command.args(["-u", "nobody"]);
        }
        command.arg(&settings);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().unwrap();
        let pool = Self { server, port, directory };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "pgbouncer does not start");
            thread::sleep(Duration::from_millis(20));
        }
        Some(pool)
    }

    fn url(&self) -> String {
        format!("postgres://countersign@127.0.0.1:{}/mfa", self.port)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

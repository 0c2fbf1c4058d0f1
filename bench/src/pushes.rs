//! What a process holds in memory while very many people have a push on their phones.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::arguments::Arguments;
use crate::installation::Installation;
use crate::report::{Report, count};
use crate::subscriber::Roll;
use crate::{Result, process};

/// How long all of them may take to be on their way.
const PATIENCE: Duration = Duration::from_secs(180);

/// A service in the manner of Okta where nobody looks at their phone.
struct Service {
    port: u16,
    seen: Arc<Seen>,
}

/// What was asked.
#[derive(Default)]
struct Seen {
    started: AtomicUsize,
    polls: AtomicUsize,
    /// Who was asked about at least once since the push.
    polled: Mutex<HashSet<String>>,
    connections: AtomicUsize,
}

/// Measures and judges the table of pushes that wait.
pub fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let sizes: &[usize] = if arguments.quick { &[100, 1_000] } else { &[1, 1_000, 10_000] };
    let mut rows = Vec::new();
    let mut peaks = Vec::new();
    for &size in sizes {
        let row = wait(arguments, size)?;
        peaks.push((size as f64, row.peak as f64 / 1024.0));
        report.all(&format!("pushes: {} wait, and each ends with a verdict", count(size as f64)), row.ended, size);
        rows.push(vec![
            count(size as f64),
            count(row.peak as f64),
            format!("{:.1}", (row.peak.saturating_sub(row.floor)) as f64 / size as f64),
            count(row.connections as f64),
            format!("{:.2}", row.began.as_secs_f64()),
        ]);
    }
    let header = ["pushes that wait", "peak KiB", "KiB each", "connections", "s until all wait"];
    report.table("Pushes that wait in one process", &header, &rows);
    if let Some((size, peak)) = peaks.last() {
        report.at_most(&format!("pushes: peak memory, {} wait", count(*size)), *peak, 256.0, "MiB");
    }
    report.plot.memory(peaks);
    Ok(())
}

struct Waited {
    floor: u64,
    peak: u64,
    connections: usize,
    ended: usize,
    began: Duration,
}

fn wait(arguments: &Arguments, size: usize) -> Result<Waited> {
    let service = Service::start()?;
    let lines = [
        (";clients = totp", "clients = okta, totp"),
        (";deadline = 30", "deadline = 900"),
        (";max_in_flight = 4096", "max_in_flight = 16384"),
        (";source_failures = 100", "source_failures = 1000000"),
    ];
    let more = format!(
        "\n[okta]\napi_url = http://127.0.0.1:{}\napi_key = token\nallow_insecure_http = yes\nrest_poll_interval = 20\n",
        service.port
    );
    let directory = arguments.data.join(format!("pushes{size}"));
    let installation = Installation::with(&arguments.countersign, directory, &Roll::new(1), &lines, &more)?;
    let mut server = Server::start(installation.serve()?)?;
    let floor = process::peak_kib(&server.child.id().to_string())?;
    let began = Instant::now();
    let mut input = server.child.stdin.take().ok_or("no stdin")?;
    for id in 0..size {
        let line = json!({
            "type": "authenticate", "id": id, "session_id": format!("s{id}"), "protocol": "ssh",
            "client_ip": format!("10.{}.{}.{}", id >> 16, id >> 8 & 255, id & 255),
            "gateway_user": format!("user{id}"), "key_value_pairs": {"otp": ""},
        });
        writeln!(input, "{line}")?;
    }
    while service.seen.polled() < size {
        if began.elapsed() > PATIENCE {
            return Err(format!("{} of {size} wait after {PATIENCE:?}", service.seen.polled()).into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    let all = began.elapsed();
    let peak = process::peak_kib(&server.child.id().to_string())?;
    // The gateway goes, later than one that asks a single thing ends its input: nobody waits any longer.
    thread::sleep(Duration::from_secs(2));
    drop(input);
    let mut answers = String::new();
    server.child.stdout.take().ok_or("no stdout")?.read_to_string(&mut answers)?;
    let ended = answers.lines().filter(|line| line.contains("\"cancelled\"")).count();
    let status = server.child.wait()?;
    if !status.success() {
        return Err(format!("serve ended with {status}").into());
    }
    let connections = service.seen.connections.load(Ordering::Relaxed);
    Ok(Waited { floor, peak, connections, ended, began: all })
}

/// Nothing is left behind of a measurement that was aborted.
struct Server {
    child: Child,
}

impl Server {
    fn start(mut command: Command) -> Result<Server> {
        Ok(Server { child: command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        process::stop(&mut self.child);
    }
}

impl Seen {
    fn polled(&self) -> usize {
        self.polled.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Service {
    fn start() -> Result<Service> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let seen = Arc::clone(&shared);
                // Whoever goes away in the middle of something is gone.
                let serve = move || drop(converse(&stream, port, &seen));
                if thread::Builder::new().stack_size(128 * 1024).spawn(serve).is_err() {
                    return;
                }
            }
        });
        Ok(Service { port, seen })
    }
}

/// Answers what comes over one connection.
fn converse(stream: &TcpStream, port: u16, seen: &Seen) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(2048, stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (status, body) = answer(method, path, port, seen);
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        (&mut &*stream).write_all((head + &body).as_bytes())?;
    }
}

fn answer(method: &str, path: &str, port: u16, seen: &Seen) -> (&'static str, String) {
    let rest = path.strip_prefix("/api/v1/users/").unwrap_or_default();
    let (user, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let user = user.trim_start_matches("00u");
    let poll = format!("http://127.0.0.1:{port}/api/v1/users/00u{user}/factors/ostf1/transactions/t1");
    let waiting = json!({"factorResult": "WAITING", "_links": {"poll": {"href": poll}, "cancel": {"href": poll}}});
    match (method, rest) {
        ("GET", "") => {
            ("200 OK", json!({"id": format!("00u{user}"), "status": "ACTIVE", "profile": {"login": user}}).to_string())
        }
        ("GET", "factors") => (
            "200 OK",
            json!([{"id": "ostf1", "factorType": "push", "provider": "OKTA", "status": "ACTIVE"}]).to_string(),
        ),
        ("POST", "factors/ostf1/verify") => {
            seen.started.fetch_add(1, Ordering::Relaxed);
            ("201 Created", waiting.to_string())
        }
        ("GET", "factors/ostf1/transactions/t1") => {
            seen.polls.fetch_add(1, Ordering::Relaxed);
            seen.polled.lock().unwrap_or_else(PoisonError::into_inner).insert(user.to_owned());
            ("200 OK", waiting.to_string())
        }
        ("DELETE", "factors/ostf1/transactions/t1") => ("204 No Content", String::new()),
        _ => ("404 Not Found", "{}".to_owned()),
    }
}

//! Figures on their way out while requests are served: into the shared file once a second at most, and to whoever asks at the
//! socket. No request waits for either.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, sleep_until, timeout};

use super::socket::Made;
use crate::clock;
use crate::metrics::{Counts, Metrics, add_to, read};

/// How often the file is written; how long a process lives before it listens at the socket.
const EVERY: Duration = Duration::from_secs(1);

/// How often another process that holds the file's lock is waited for: now and then, and at the end.
const TRIES: u32 = 5;
const LAST_TRIES: u32 = 250;

/// How long a process that ends waits for the file.
const END: Duration = Duration::from_secs(1);

/// Those who ask: how many at once, how long each may take, and how long their request may be.
const ASKING: usize = 8;
const PATIENCE: Duration = Duration::from_secs(2);
const REQUEST: usize = 8 * 1024;

/// How often it is looked whether the file is written.
const SETTLES: Duration = Duration::from_millis(5);

type Written = Result<Counts, (Counts, io::Error)>;

/// The figures of a process that serves.
pub struct Exposition {
    metrics: Rc<Metrics>,
    next: Instant,
    writing: Option<JoinHandle<Written>>,
    listening: Listening,
    asking: FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = ()>>>>,
    /// Whether it was said that the file cannot be written.
    was_told: bool,
}

enum Listening {
    /// Nowhere, or no more.
    No,
    From(Instant),
    At(UnixListener, Made),
}

impl Exposition {
    /// That of `metrics`.
    pub fn new(metrics: Rc<Metrics>) -> Self {
        let next = clock::after(EVERY);
        let listening = if metrics.socket.is_some() { Listening::From(next) } else { Listening::No };
        Self { metrics, next, writing: None, listening, asking: FuturesUnordered::new(), was_told: false }
    }

    /// Does the next thing that is to be done, when it is. May be dropped at any time.
    pub async fn go_on(&mut self) {
        let wants_write = self.metrics.file.is_some() && self.writing.is_none();
        tokio::select! {
            written = joined(&mut self.writing) => self.wrote(written),
            () = sleep_until(self.next.into()), if wants_write => self.write(),
            stream = accepted(&mut self.listening), if self.asking.len() < ASKING => match stream {
                Some(stream) => self.asking.push(Box::pin(answer(stream, Rc::clone(&self.metrics)))),
                None => self.listen().await,
            },
            Some(()) = self.asking.next(), if !self.asking.is_empty() => {}
        }
    }

    /// Waits for what is being written: it would be gone with the process.
    pub async fn end(mut self) {
        if self.writing.is_some()
            && let Ok(written) = timeout(END, joined(&mut self.writing)).await
        {
            self.wrote(written);
        }
    }

    fn write(&mut self) {
        self.next = clock::after(EVERY);
        if let Some(file) = self.metrics.file.clone() {
            let counts = self.metrics.take();
            self.writing = Some(spawn_blocking(move || add_to(&file, counts, TRIES)));
        }
    }

    fn wrote(&mut self, written: Option<Written>) {
        self.writing = None;
        let error = match written {
            Some(Ok(sum)) => return self.metrics.arrived(Some(sum)),
            Some(Err((_counts, error))) => error,
            None => io::Error::other("the thread that writes it failed"),
        };
        self.metrics.arrived(None);
        // One that others hold is written the next time.
        if error.kind() != io::ErrorKind::WouldBlock && !self.was_told {
            self.was_told = true;
            tracing::warn!(error = %error, "[metrics] file cannot be written; the figures are kept, and this is told once");
        }
    }

    async fn listen(&mut self) {
        let Some(path) = self.metrics.socket.clone() else { return };
        self.listening = match bind(&path).await {
            Ok((listener, made)) => Listening::At(listener, made),
            // Another process of this configuration answers there: this one does when that has ended.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Listening::From(clock::after(EVERY)),
            Err(error) => {
                tracing::warn!(error = %error, "[metrics] socket cannot be listened at");
                Listening::No
            }
        };
    }
}

impl Drop for Exposition {
    fn drop(&mut self) {
        if let Listening::At(_, made) = &self.listening {
            made.remove();
        }
    }
}

/// The last figures of a process that ends. Whatever cannot be added in time is missing.
pub async fn finish(metrics: &Metrics) {
    let Some(file) = metrics.file.clone().filter(|_| !metrics.is_empty()) else { return };
    let counts = metrics.take();
    let writing = spawn_blocking(move || add_to(&file, counts, LAST_TRIES));
    if let Ok(Ok(Ok(_sum))) = timeout(END, writing).await {
        return;
    }
    tracing::warn!("[metrics] the last figures of this process are missing: the file could not be written");
}

async fn joined(writing: &mut Option<JoinHandle<Written>>) -> Option<Written> {
    match writing {
        Some(writing) => writing.await.ok(),
        None => std::future::pending().await,
    }
}

/// Whoever asks next; `None` when it is time to listen.
async fn accepted(listening: &mut Listening) -> Option<UnixStream> {
    match listening {
        Listening::No => std::future::pending().await,
        Listening::From(when) => {
            sleep_until((*when).into()).await;
            None
        }
        Listening::At(listener, _) => loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some(stream),
                // Of descriptors there may be more in a moment.
                Err(_) => sleep(EVERY).await,
            }
        },
    }
}

/// Listens at `path`, also where somebody who is gone listened before.
async fn bind(path: &Path) -> io::Result<(UnixListener, Made)> {
    if let Ok(there) = std::fs::symlink_metadata(path) {
        // One that is not refused is heard by somebody, a full queue among it; what is no socket is somebody else's.
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if there.file_type().is_socket() && UnixStream::connect(path).await.err().is_some_and(refused) {
            std::fs::remove_file(path)?;
        } else {
            return Err(io::ErrorKind::AddrInUse.into());
        }
    }
    let (listener, made) = Made::make(path)?;
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, made))
}

/// Answers one request (RFC 9112): the figures to `GET /metrics`, and nothing else to anybody.
async fn answer(mut stream: UnixStream, metrics: Rc<Metrics>) {
    // Who does not ask, or does not listen, is told nothing.
    let _ = timeout(PATIENCE, async {
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST {
            if stream.read_buf(&mut request).await? == 0 {
                break;
            }
        }
        let mut words = request.split(|byte| *byte == b' ');
        let (status, body) = match (words.next(), words.next()) {
            (Some(b"GET"), Some(b"/metrics")) => {
                look(&metrics).await;
                ("200 OK", metrics.text())
            }
            (Some(b"GET"), _) => ("404 Not Found", "GET /metrics\n".to_owned()),
            _ => ("405 Method Not Allowed", "GET /metrics\n".to_owned()),
        };
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        let (length, close) = (body.len(), "Connection: close");
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{close}\r\n\r\n");
        stream.write_all((head + &body).as_bytes()).await?;
        stream.shutdown().await
    })
    .await;
}

/// Looks what other processes have added to the file, once nothing of ours is on its way into it.
async fn look(metrics: &Metrics) {
    let Some(file) = metrics.file.clone() else { return };
    while !metrics.is_settled() {
        sleep(SETTLES).await;
    }
    if let Ok(Ok(found)) = spawn_blocking(move || read(&file)).await
        && metrics.is_settled()
    {
        metrics.found(found);
    }
}

//! What the clients of remote services share: one way to send a request and to read its answer.
//!
//! Everything has a limit, and all limits lie within the one of the verdict. A redirect is never followed, nothing is sent
//! a second time, the environment is not asked for proxies or certificates. Every failure says how far the request got.

mod answer;
mod connect;
mod diagnose;
pub mod json;
mod proxy;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
pub use reqwest::{Method, header};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;
use url::Url;
use zeroize::Zeroizing;

use super::diagnosis::Finding;
use super::{ClientError, note_reach};
use crate::clock;
use crate::config::clients::Remote;
use crate::config::value::ServiceSecret;
use crate::domain::fault::Reach;
use crate::domain::foreign::Foreign;
use crate::domain::secret::Secret;
use crate::domain::time::UnixTime;
use crate::net::once;
use crate::net::resolve::{self, Resolver};
use crate::net::tls::{self, Presented, Trust};
use crate::secret::service;
pub use answer::Answer;
use connect::{Limits, NoConnection, Stage, Watch, Within};
use proxy::Through;

/// How many requests of one section are on the way at once, besides those that wait long for something to happen.
const AT_ONCE: usize = 64;

/// How many idle connections are kept for later requests, and for how long.
const IDLE: usize = 16;
const IDLE_FOR: Duration = Duration::from_secs(60);

/// How many looks in a row may fail before a push is given up.
const FAILED_LOOKS: u32 = 3;

/// What is written as `%XX` in a segment of a path: more than RFC 3986 asks for, so that no server finds parameters there.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');

/// The service of one section, as far as HTTP goes. Costs nothing until the first request.
pub struct Http {
    base: Url,
    limits: Limits,
    total: Duration,
    interval: Duration,
    max_response: usize,
    trust: Trust,
    proxy: Option<Through>,
    /// Where relative paths start.
    directory: PathBuf,
    client: OnceCell<Client>,
    resolver: Resolver,
    presented: Presented,
    gate: Semaphore,
}

/// What is sent.
pub enum Body {
    None,
    /// Names and values, `application/x-www-form-urlencoded`.
    Form(Vec<(String, Secret<String>)>),
    /// Text that is JSON already, exactly as it stands.
    Json(Secret<String>),
}

impl Body {
    const fn content_type(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Form(_) => Some("application/x-www-form-urlencoded"),
            Self::Json(_) => Some("application/json"),
        }
    }

    /// The text that is sent.
    pub fn encoded(&self) -> Secret<String> {
        match self {
            Self::None => Secret::new(String::new()),
            Self::Form(pairs) => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                for (name, value) in pairs {
                    // Leaves in the body, over TLS.
                    form.append_pair(name, value.expose());
                }
                Secret::new(form.finish())
            }
            Self::Json(json) => json.clone(),
        }
    }
}

/// How long the answer may take.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// As long as the section says.
    Usual,
    /// Longer: the service answers when something happens.
    Long(Duration),
}

/// One request.
pub struct Call {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(Cow<'static, str>, Secret<String>)>,
    pub body: Body,
    pub wait: Wait,
}

impl Call {
    /// A request without headers of its own or a body.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), body: Body::None, wait: Wait::Usual }
    }

    /// The same with a body.
    pub fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }

    /// The same with one more header.
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: Secret<String>) -> Self {
        self.headers.push((name.into(), value));
        self
    }

    /// The same with another patience.
    pub fn wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }
}

/// What one look at something pending found.
pub enum Look<T> {
    Done(T),
    Pending,
    /// Pending, and the service wants this pause from here on.
    PendingFor(Duration),
}

impl Http {
    /// The service at `base`, reached as `remote` says; `resolve` makes paths of plugin.ini absolute.
    pub fn new(base: &Url, remote: &Remote, resolve: impl Fn(&Path) -> PathBuf) -> Self {
        Self {
            base: base.clone(),
            limits: Limits {
                connect: Duration::from_secs(remote.connect_timeout.0),
                tls: Duration::from_secs(remote.tls_timeout.0),
            },
            total: Duration::from_secs(remote.timeout.0),
            interval: Duration::from_secs(remote.rest_poll_interval.0),
            max_response: usize::try_from(remote.max_response.0).unwrap_or(usize::MAX),
            trust: Trust::of(remote, &resolve),
            proxy: Through::of(remote, base),
            directory: resolve(Path::new("")),
            client: OnceCell::new(),
            resolver: Resolver::default(),
            presented: Presented::default(),
            gate: Semaphore::new(AT_ONCE),
        }
    }

    /// Where the service is.
    pub const fn base(&self) -> &Url {
        &self.base
    }

    /// The address `segments` below the base, each one segment whatever it holds; `None` where one is empty, `.` or `..`.
    pub fn url(&self, segments: &[&str]) -> Option<Url> {
        if segments.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            return None;
        }
        let mut url = self.base.clone();
        let mut path = url.path().strip_suffix('/').unwrap_or(url.path()).to_owned();
        for segment in segments {
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
        url.set_path(&path);
        Some(url)
    }

    /// Whether `url` is at the service, by scheme, host and port.
    pub fn is_origin_of(&self, url: &Url) -> bool {
        url.origin() == self.base.origin() && url.username().is_empty() && url.password().is_none()
    }

    /// Sends `call` once and reads the whole answer, within `until`.
    ///
    /// # Errors
    /// Where there is no whole answer; see [`ClientError`]. Every status is an answer.
    pub async fn send(&self, call: Call, until: Instant) -> Result<Answer, ClientError> {
        let sent = self.exchange(call, until).await;
        note_reach(sent.as_ref().map_or_else(ClientError::reach, |_| Reach::Answered));
        sent
    }

    async fn exchange(&self, call: Call, until: Instant) -> Result<Answer, ClientError> {
        let client = self.client()?;
        let (limit, is_long) = match call.wait {
            Wait::Usual => (self.total, false),
            Wait::Long(limit) => (limit, true),
        };
        let no_time = || ClientError::unreachable("no_time", "there was no time left to ask the service", Reach::Sent);
        let _permit = if is_long {
            None
        } else {
            // Waiting for one's own turn is not the service's doing: it must not look as if it had not been reached.
            let permit = tokio::time::timeout_at(until.into(), self.gate.acquire()).await;
            Some(permit.map_err(|_| no_time())?.map_err(|_| no_time())?)
        };
        let left = clock::left(until);
        if left.is_zero() {
            return Err(no_time());
        }
        let limit = limit.min(left);
        let request = self.request(client, call)?;
        // The connection's limits end a little sooner than the whole, so that it can say how far it came.
        let connecting = limit.saturating_sub(limit / 20);
        let exchange = Within::new(connecting, async {
            let response = client.execute(request).await.map_err(|error| self.failed(&error))?;
            self.read(response).await
        });
        match tokio::time::timeout(limit, exchange).await {
            Ok(answer) => answer,
            Err(_) => {
                let text = format!("no whole answer within {} s", limit.as_secs_f32().round());
                Err(ClientError::unreachable("read_timeout", text, Reach::Sent))
            }
        }
    }

    /// Looks until something happened; `None` where nothing did until `until`. Looking consumes nothing, so a look that
    /// failed is tried again, a few times in a row, and when the service asks for patience it gets it.
    ///
    /// # Errors
    /// What the last look failed with.
    pub async fn poll<T>(
        &self,
        until: Instant,
        mut look: impl AsyncFnMut() -> Result<Look<T>, ClientError>,
    ) -> Result<Option<T>, ClientError> {
        let (mut failed, mut is_pending, mut interval) = (0, false, self.interval);
        loop {
            let left = clock::left(until);
            let (pause, error) = match look().await {
                Ok(Look::Done(found)) => return Ok(Some(found)),
                Ok(Look::Pending) => {
                    (failed, is_pending) = (0, true);
                    (interval, None)
                }
                Ok(Look::PendingFor(asked)) => {
                    (failed, is_pending) = (0, true);
                    interval = asked;
                    (interval, None)
                }
                // Cut short by the end of time, not by the service; a connection's limits end a little sooner.
                Err(ClientError::Unreachable(_)) if is_pending && clock::left(until) <= left / 20 => return Ok(None),
                Err(error) => {
                    is_pending = false;
                    let asked = error.asked_to_wait();
                    failed += u32::from(asked.is_none());
                    if !error.may_pass() || failed >= FAILED_LOOKS {
                        return Err(error);
                    }
                    (asked.unwrap_or_default().max(interval), Some(error))
                }
            };
            if pause >= clock::left(until) {
                return error.map_or(Ok(None), Err);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The first steps of any diagnosis: name, connection, TLS, clocks. A client goes on only where all went well.
    pub async fn diagnose(&self, now: UnixTime, until: Instant) -> Vec<Finding> {
        diagnose::steps(self, now, until).await
    }

    /// The certificates that the service presented in the last handshake, its own first.
    pub fn presented(&self) -> Vec<rustls::pki_types::CertificateDer<'static>> {
        self.presented.lock().map(|chain| chain.clone()).unwrap_or_default()
    }

    fn client(&self) -> Result<&Client, ClientError> {
        once(&self.client, || self.build().map_err(ClientError::Unusable))
    }

    fn build(&self) -> Result<Client, String> {
        raise_descriptor_limit();
        let read = |secret: &ServiceSecret| {
            service::read(secret, |path| self.directory.join(path)).map_err(|error| error.to_string())
        };
        let tls = tls::config(&self.trust, read, &self.presented)?;
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(self.resolver.clone())
            .connector_layer(Watch(self.limits))
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .pool_max_idle_per_host(IDLE)
            .pool_idle_timeout(IDLE_FOR)
            .default_headers(HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(AGENT))]));
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy.wire(read)?);
        }
        builder.build().map_err(|error| text(&error))
    }

    fn request(&self, client: &Client, call: Call) -> Result<reqwest::Request, ClientError> {
        let Call { method, url, headers, body, wait: _ } = call;
        let is_get = method == Method::GET || method == Method::DELETE;
        let mut request = client.request(method, url);
        for (name, value) in headers {
            // Leaves in a header only, which is marked so that nothing shows it.
            let mut value = HeaderValue::from_str(value.expose())
                .map_err(|_| ClientError::Unusable(format!("the header {name} would hold characters that none can")))?;
            value.set_sensitive(true);
            request = request.header(&*name, value);
        }
        match body.content_type() {
            // Leaves in the body, over TLS.
            Some(kind) => request = request.header(CONTENT_TYPE, kind).body(body.encoded().expose().clone()),
            None if is_get => {}
            // Whoever may send a body says that there is none (RFC 9110, 8.6).
            None => request = request.header(CONTENT_LENGTH, 0),
        }
        let mut request = request.build().map_err(|error| ClientError::Unusable(text(&error)))?;
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        Ok(request)
    }

    async fn read(&self, mut response: Response) -> Result<Answer, ClientError> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let too_large = || {
            let text = format!("status {status}: the answer is larger than {} bytes (max_response)", self.max_response);
            ClientError::communication("too_large", text)
        };
        // Nothing was asked for but plain bytes.
        let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
        if headers.get(CONTENT_ENCODING).is_some_and(|value| !plain(value)) {
            let text = format!("status {status}: the answer is compressed, which was not asked for");
            return Err(ClientError::communication("compressed", text));
        }
        if response
            .content_length()
            .is_some_and(|length| usize::try_from(length).unwrap_or(usize::MAX) > self.max_response)
        {
            return Err(too_large());
        }
        let mut body = Zeroizing::new(Vec::new());
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(Answer { status, headers, body }),
                Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) > self.max_response => {
                    return Err(too_large());
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(error) => {
                    let text = format!("status {status}: the answer ended too soon: {}", text(&error));
                    return Err(ClientError::communication("truncated", text));
                }
            }
        }
    }

    /// What a request is that got no answer.
    fn failed(&self, error: &reqwest::Error) -> ClientError {
        let failure = find::<NoConnection>(error);
        let reason = match failure {
            Some(failure) => text(failure),
            None => text(error),
        };
        let Some(failure) = failure else {
            // A server may refuse our certificate, or the lack of one, when the handshake is over for us.
            if find::<rustls::Error>(error).is_some() {
                return ClientError::communication("tls_failed", reason).reached(Reach::Sent);
            }
            if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
                return ClientError::communication("not_http", format!("the answer is not HTTP: {reason}"));
            }
            return ClientError::unreachable("connection_lost", reason, Reach::Sent);
        };
        let broken = find::<io::Error>(failure).map(io::Error::kind);
        if let Some(unresolved) = find::<resolve::Unresolved>(failure) {
            let reach = if unresolved.is_told { Reach::NotSent } else { Reach::Sent };
            return ClientError::unreachable("name_resolution", reason, reach);
        }
        match failure.stage {
            Stage::Reaching if failure.cause.is_none() && failure.is_cut => {
                ClientError::unreachable("no_time", "too little time was left to connect", Reach::Sent)
            }
            // A proxy was reached, and took bytes from us, before it failed to reach the service.
            Stage::Reaching if self.proxy.is_some() && broken != Some(io::ErrorKind::ConnectionRefused) => {
                ClientError::unreachable("proxy_failed", reason, Reach::Sent)
            }
            Stage::Reaching if failure.cause.is_none() => {
                ClientError::unreachable("connect_timeout", reason, Reach::NotSent)
            }
            Stage::Reaching => match broken {
                Some(io::ErrorKind::ConnectionRefused) => {
                    ClientError::unreachable("connection_refused", reason, Reach::NotSent)
                }
                Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                    ClientError::unreachable("no_route", reason, Reach::NotSent)
                }
                Some(io::ErrorKind::TimedOut) => ClientError::unreachable("connect_timeout", reason, Reach::NotSent),
                Some(_) | None => ClientError::unreachable("connection_lost", reason, Reach::Sent),
            },
            Stage::Handshake if failure.cause.is_none() => ClientError::unreachable("tls_timeout", reason, Reach::Sent),
            Stage::Handshake if find::<rustls::Error>(failure).is_some() => {
                ClientError::communication("tls_failed", reason).reached(Reach::Sent)
            }
            Stage::Handshake => ClientError::unreachable("connection_lost", reason, Reach::Sent),
        }
    }
}

const AGENT: &str = concat!("countersign/", env!("CARGO_PKG_VERSION"));

/// Every push that waits at the service holds a connection: as many as the system lets this process have.
fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Where it may not be raised, there are fewer.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// The error of type `E` behind `error`.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // An I/O error hides what it was made of.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The causes of `error` in one line, without the address: it may hold what nobody else should read.
fn text(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = match error.downcast_ref::<reqwest::Error>() {
            Some(_) => None,
            None => Some(error.to_string()),
        };
        if let Some(part) = part.filter(|part| !parts.iter().any(|known| known.contains(part.as_str()))) {
            parts.push(part);
        }
        next = error.source();
    }
    if parts.is_empty() { "the request failed".into() } else { Foreign(&parts.join(": ")).to_string() }
}

//! Making a connection, with a limit of its own for each stage, and an error that says which stage it was.

use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

use crate::net::tls;

type BoxError = Box<dyn StdError + Send + Sync>;

/// How far a connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Looking for the address and connecting: not one byte of ours can have arrived.
    Reaching,
    /// The service, or somebody in its place, took the connection.
    Handshake,
}

/// A connection that was not made.
#[derive(Debug)]
pub struct NoConnection {
    pub stage: Stage,
    /// `None` where it took too long.
    pub cause: Option<BoxError>,
    /// Whether less time was left than a connection may take: then it is not the service that took too long.
    pub is_cut: bool,
}

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.stage, &self.cause) {
            (Stage::Reaching, None) => f.write_str("connecting took too long"),
            (Stage::Handshake, None) => f.write_str("the TLS handshake took too long"),
            (Stage::Reaching, Some(_)) => f.write_str("cannot connect"),
            (Stage::Handshake, Some(_)) => f.write_str("the TLS handshake failed"),
        }
    }
}

impl StdError for NoConnection {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as &(dyn StdError + 'static))
    }
}

/// The limits of the two stages.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connect: Duration,
    pub tls: Duration,
}

thread_local! {
    static LEFT: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// A future under which connections are given up after `left`, if that is sooner than their own limits: so that it is the
/// connection that says how far it came, and not the end of the time.
pub struct Within<F> {
    left: Duration,
    inner: Pin<Box<F>>,
}

impl<F: Future> Within<F> {
    /// `inner`, with connections limited to `left`.
    pub fn new(left: Duration, inner: F) -> Self {
        Self { left, inner: Box::pin(inner) }
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        LEFT.set(Some(self.left));
        let polled = self.inner.as_mut().poll(context);
        LEFT.set(None);
        polled
    }
}

/// Puts the limits around whatever connects.
#[derive(Clone, Copy, Debug)]
pub struct Watch(pub Limits);

impl<S> Layer<S> for Watch {
    type Service = Watched<S>;

    fn layer(&self, inner: S) -> Watched<S> {
        Watched { limits: self.0, inner }
    }
}

/// A connector whose failures are [`NoConnection`].
#[derive(Clone, Debug)]
pub struct Watched<S> {
    limits: Limits,
    inner: S,
}

impl<S, R> Service<R> for Watched<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Establishing<S::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let left = LEFT.get().unwrap_or(Duration::MAX);
        Establishing {
            is_cut: left < self.limits.connect,
            stage: Stage::Reaching,
            tls: self.limits.tls.min(left),
            timer: Box::pin(tokio::time::sleep(self.limits.connect.min(left))),
            inner: Box::pin(self.inner.call(request)),
        }
    }
}

/// A connection in the making.
pub struct Establishing<T> {
    stage: Stage,
    is_cut: bool,
    tls: Duration,
    timer: Pin<Box<Sleep>>,
    inner: Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>,
}

impl<T> Future for Establishing<T> {
    type Output = Result<T, BoxError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Another connection's handshake may have begun on this thread since.
        let _ = tls::has_begun();
        let polled = self.inner.as_mut().poll(context);
        if tls::has_begun() && self.stage == Stage::Reaching {
            self.stage = Stage::Handshake;
            self.timer = Box::pin(tokio::time::sleep(self.tls));
        }
        let (stage, is_cut) = (self.stage, self.is_cut);
        match polled {
            Poll::Ready(Ok(connection)) => Poll::Ready(Ok(connection)),
            Poll::Ready(Err(cause)) => Poll::Ready(Err(Box::new(NoConnection { stage, cause: Some(cause), is_cut }))),
            Poll::Pending => match self.timer.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Err(Box::new(NoConnection { stage, cause: None, is_cut }))),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

//! Names to addresses, by /etc/hosts and the name servers of /etc/resolv.conf: in this process, so that a slow server
//! holds up nobody, and without the loadable parts of the C library, which a static executable must not need.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

/// The files that say how names become addresses.
pub const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// A name has no address, as far as could be found out. Nothing was sent to any service.
#[derive(Debug, Error)]
#[error("{name}: {reason}")]
pub struct Unresolved {
    pub name: String,
    pub reason: String,
    /// Whether it was the name servers that gave no address, and not this process that could not ask them.
    pub is_told: bool,
}

/// The resolver, made at the first name.
#[derive(Clone, Debug, Default)]
pub struct Resolver(Arc<OnceLock<TokioResolver>>);

impl Resolver {
    /// The addresses of `name`.
    ///
    /// # Errors
    /// See [`Unresolved`].
    pub async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, Unresolved> {
        let unresolved = |error: &NetError, is_told| Unresolved { name: name.to_owned(), reason: said(error), is_told };
        let resolver = match self.0.get() {
            Some(resolver) => resolver,
            // What cannot be read now may be there for the next.
            None => {
                let made = make().map_err(|error| unresolved(&error, false))?;
                self.0.get_or_init(|| made)
            }
        };
        let found = resolver.lookup_ip(name).await.map_err(|error| unresolved(&error, is_told(&error)))?;
        Ok(found.iter().map(|address| SocketAddr::new(address, 0)).collect())
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let found = resolver.addresses(name.as_str()).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn said(error: &NetError) -> String {
    if error.is_no_records_found() { "no address is known for this name".into() } else { error.to_string() }
}

/// Whether the answer, or its absence, is the name servers' doing or the network's.
fn is_told(error: &NetError) -> bool {
    if let NetError::Io(error) = error {
        return matches!(
            error.kind(),
            ErrorKind::NetworkUnreachable
                | ErrorKind::HostUnreachable
                | ErrorKind::ConnectionRefused
                | ErrorKind::TimedOut
        );
    }
    let is_silence = matches!(error, NetError::Timeout | NetError::NoConnections);
    is_silence || error.is_no_records_found() || error.is_nx_domain()
}

fn make() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // So that a second server is asked within any connect_timeout.
    options.timeout = Duration::from_secs(2);
    options.attempts = 2;
    builder.build()
}

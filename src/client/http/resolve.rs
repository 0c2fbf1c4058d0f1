//! Names to addresses, by /etc/hosts and the name servers of /etc/resolv.conf: in this process, so that a slow server
//! holds up nobody, and without the loadable parts of the C library, which a static executable must not need.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

/// A name has no address, as far as could be found out. Nothing was sent to any service.
#[derive(Debug, Error)]
#[error("{name}: {reason}")]
pub struct Unresolved {
    pub name: String,
    pub reason: String,
}

/// The resolver, made at the first name.
#[derive(Clone, Debug, Default)]
pub struct Resolver(Arc<OnceLock<Result<TokioResolver, String>>>);

impl Resolver {
    /// The addresses of `name`.
    ///
    /// # Errors
    /// See [`Unresolved`].
    pub async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, Unresolved> {
        let unresolved = |reason: String| Unresolved { name: name.to_owned(), reason };
        let made = self.0.get_or_init(|| make().map_err(|error| error.to_string()));
        let resolver = made.as_ref().map_err(|reason| unresolved(reason.clone()))?;
        let found = resolver.lookup_ip(name).await.map_err(|error| unresolved(error.to_string()))?;
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

fn make() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // So that a second server is asked within any connect_timeout.
    options.timeout = Duration::from_secs(2);
    options.attempts = 2;
    builder.build()
}

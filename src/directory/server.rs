//! What `[ldap_server NAME]` says of a directory, ready for use.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use url::Url;

use super::connection::Failure;
use crate::config::policy::{LdapServer, is_here};
use crate::config::value::ServiceSecret;
use crate::domain::secret::Secret;
use crate::net::once;
use crate::net::resolve::Resolver;
use crate::net::tls::{self, Presented, Trust};
use crate::secret::service;

/// How what goes over the network is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    None,
    StartTls,
    Tls,
}

/// One directory, at one or more addresses.
pub struct Server {
    pub settings: LdapServer,
    pub resolver: Resolver,
    pub presented: Presented,
    /// Where relative paths of plugin.ini begin.
    directory: PathBuf,
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Server {
    /// What `settings` say; `resolve` makes paths of plugin.ini absolute. Opens nothing.
    pub fn new(settings: &LdapServer, resolve: impl Fn(&Path) -> PathBuf) -> Self {
        Self {
            settings: settings.clone(),
            resolver: Resolver::default(),
            presented: Presented::default(),
            directory: resolve(Path::new("")),
            tls: OnceCell::new(),
        }
    }

    /// How long everything may take.
    pub const fn timeout(&self) -> Duration {
        Duration::from_secs(self.settings.timeout)
    }

    /// How a connection to `url` is protected.
    ///
    /// # Errors
    /// Where everybody on the way could read the password and forge the answer, and plugin.ini does not allow that; before
    /// anything is sent.
    pub fn protection(&self, url: &Url) -> Result<Protection, Failure> {
        match (url.scheme(), self.settings.start_tls) {
            ("ldaps", _) => Ok(Protection::Tls),
            ("ldap", true) => Ok(Protection::StartTls),
            ("ldap", false) if self.settings.allow_insecure_ldap || is_here(url) => Ok(Protection::None),
            ("ldap", false) => Err(Failure::Final(
                "everything would cross the network in clear; use ldaps:// or start_tls = yes, or set \
                 allow_insecure_ldap = yes"
                    .into(),
            )),
            (other, _) => Err(Failure::Final(format!("expected ldap:// or ldaps://, found {other}://"))),
        }
    }

    /// As whom to bind; `None` for nobody. The password is read each time, so that a new one counts from the next
    /// connection on.
    ///
    /// # Errors
    /// Where the password cannot be read, or one comes without the other: a bind without a password is none.
    pub fn credentials(&self) -> Result<Option<(&str, Secret<String>)>, Failure> {
        match (self.settings.bind_dn.as_deref().filter(|dn| !dn.is_empty()), &self.settings.bind_password) {
            (None, None) => Ok(None),
            (Some(dn), Some(source)) => Ok(Some((dn, self.password(source)?))),
            (Some(_), None) => Err(Failure::Final("there is a bind_dn and no bind_password".into())),
            (None, Some(_)) => Err(Failure::Final("there is a bind_password and no bind_dn".into())),
        }
    }

    fn password(&self, source: &ServiceSecret) -> Result<Secret<String>, Failure> {
        let password = service::read(source, |path| self.directory.join(path))
            .map_err(|error| Failure::Final(format!("bind_password: {error}")))?;
        // Nothing of it leaves here but whether there is any.
        if password.expose().is_empty() { Err(Failure::Final("bind_password is empty".into())) } else { Ok(password) }
    }

    /// What TLS is configured with, made when it is needed first.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let resolve = |path: &Path| self.directory.join(path);
        let read = |source: &ServiceSecret| service::read(source, resolve).map_err(|error| error.to_string());
        let make = || {
            let authorities = self.settings.ca_cert.as_ref().map(|authorities| authorities.resolved(resolve));
            tls::config(&Trust { authorities, ..Trust::default() }, read, &self.presented).map(Arc::new)
        };
        once(&self.tls, make).map(Arc::clone)
    }
}

//! Who a directory says a user is: asked only where a step of the decision needs it, within the verdict's time.

mod connection;
mod diagnose;
mod dn;
mod ldap;
mod server;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::config::Config;
pub use ldap::LdapDirectory;

/// What a directory promises to give.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DirectoryError>> + 'a>>;

/// What kept a directory from an answer. Never a password, never what else an entry holds.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct DirectoryError(pub String);

/// A directory. Connects when it is asked first, and keeps the connection for what the same process asks next.
pub trait Directory {
    /// What `[ldap_server] name` calls it.
    fn name(&self) -> &str;

    /// How long everything may take that one verdict wants of it.
    fn timeout(&self) -> Duration;

    /// The first value of `attribute` of `user`'s entry: `None` where there is no such user, or no such value.
    ///
    /// # Errors
    /// Where the directory cannot be asked, does not answer by `until`, or knows more than one user of that name.
    fn attribute<'a>(&'a self, user: &'a str, attribute: &'a str, until: Instant) -> Answer<'a, Option<String>>;

    /// The groups of `user`, each by its distinguished name and by its common name; `None` where there is no such user.
    ///
    /// # Errors
    /// As for [`Directory::attribute`].
    fn groups<'a>(&'a self, user: &'a str, until: Instant) -> Answer<'a, Option<Vec<String>>>;
}

/// The directory that plugin.ini names, where it names one. Opens nothing.
pub fn build(config: &Config) -> Option<Rc<dyn Directory>> {
    configured(config).map(|directory| Rc::new(directory) as Rc<dyn Directory>)
}

/// The same, to be diagnosed.
pub fn configured(config: &Config) -> Option<LdapDirectory> {
    let settings = config.policy.directory.as_deref()?;
    Some(LdapDirectory::new(settings, |path| config.resolve(path)))
}

//! An LDAP directory: which server is asked, how long, and what its entries say.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ldap3_proto::proto::{LdapPartialAttribute, LdapSearchResultEntry, LdapSearchScope};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use url::Url;

use super::connection::{Connection, Failure, Found, Query, Step, Way};
use super::server::Server;
use super::{Answer, Directory, DirectoryError, dn};
use crate::clock;
use crate::config::policy::LdapServer;
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;

/// How many searches are on the way at once; whoever comes then waits for a turn, within the time there is.
const AT_ONCE: usize = 16;

/// How many connections are kept for later searches, and for how long: less than servers and firewalls forget them in.
const IDLE: usize = 4;
const IDLE_FOR: Duration = Duration::from_secs(60);

/// The most groups that one `group_filter` may find.
const MOST_GROUPS: usize = 5000;

/// `[ldap_server NAME]`. Costs nothing until the first question.
pub struct LdapDirectory {
    pub(super) server: Server,
    idle: RefCell<Vec<(Connection, Instant)>>,
    gate: Semaphore,
}

/// What keeps an entry from being used.
fn unusable(attribute: &str, why: &str) -> DirectoryError {
    DirectoryError(format!("{} of the user's entry {why}", Foreign(attribute)))
}

impl LdapDirectory {
    /// The directory of `settings`; `resolve` makes paths of plugin.ini absolute. Opens nothing.
    pub fn new(settings: &LdapServer, resolve: impl Fn(&Path) -> PathBuf) -> Self {
        let server = Server::new(settings, resolve);
        Self { server, idle: RefCell::new(Vec::new()), gate: Semaphore::new(AT_ONCE) }
    }

    /// The entry of `user` with `attribute`; `None` where there is none.
    async fn entry(
        &self,
        user: &str,
        attribute: &str,
        until: Instant,
    ) -> Result<Option<LdapSearchResultEntry>, DirectoryError> {
        // Directories pass over what is not seen in a name: no entry of somebody else may be found by that.
        if Subscriber::presentable(user).is_err() {
            return Ok(None);
        }
        let filter = self.server.settings.user_filter.fill(user, "");
        let base = self.server.settings.base_dn.clone();
        let query = Query { base, scope: LdapSearchScope::Subtree, filter, attribute: attribute.to_owned(), limit: 1 };
        match self.ask(&query, until).await? {
            Found::Entries(entries) => Ok(entries.into_iter().next()),
            Found::TooMany => Err(DirectoryError(format!("more than one entry is {}'s", Foreign(user)))),
        }
    }

    /// What `query` finds, on a kept connection or on a new one, at the first server that answers.
    pub(super) async fn ask(&self, query: &Query, until: Instant) -> Result<Found, DirectoryError> {
        let until = until.min(clock::after(self.server.timeout()));
        let no_time = || DirectoryError("there was no time left to ask the directory".into());
        let _permit = match timeout_at(until.into(), self.gate.acquire()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(no_time()),
        };
        if clock::left(until).is_zero() {
            return Err(no_time());
        }
        if let Some(mut kept) = self.kept() {
            // A connection that died without a word is not waited for to the end.
            let half = clock::after(clock::left(until) / 2);
            match timeout_at(half.into(), kept.search(query, half)).await {
                Ok(Ok(found)) => return Ok(self.found(kept, found)),
                Ok(Err(Failure::Final(why))) => return Err(DirectoryError(why)),
                Ok(Err(Failure::Server(_))) | Err(_) => {}
            }
        }
        let urls = &self.server.settings.urls;
        let mut failed = Vec::new();
        for (left, url) in (1..=urls.len()).rev().zip(urls) {
            let share = clock::after(clock::left(until) / u32::try_from(left).unwrap_or(u32::MAX));
            let mut way = Way::default();
            let why = match timeout_at(share.into(), self.attempt(url, query, share, &mut way)).await {
                Ok(Ok((connection, found))) => return Ok(self.found(connection, found)),
                Ok(Err(Failure::Final(why))) => return Err(DirectoryError(format!("{}: {why}", shown(url)))),
                Ok(Err(Failure::Server(why))) => why,
                Err(_) => way.step.late().to_owned(),
            };
            failed.push(format!("{}: {why}", shown(url)));
        }
        Err(DirectoryError(failed.join("; ")))
    }

    async fn attempt(
        &self,
        url: &Url,
        query: &Query,
        until: Instant,
        way: &mut Way,
    ) -> Result<(Connection, Found), Failure> {
        let mut connection = Connection::open(&self.server, url, until, way).await?;
        way.step = Step::Search;
        let found = connection.search(query, until).await?;
        Ok((connection, found))
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|(_, good_until)| !clock::left(*good_until).is_zero());
        idle.pop().map(|(connection, _)| connection)
    }

    /// Keeps `connection` where nothing more comes on it.
    fn found(&self, connection: Connection, found: Found) -> Found {
        let mut idle = self.idle.borrow_mut();
        if matches!(found, Found::Entries(_)) && idle.len() < IDLE {
            idle.push((connection, clock::after(IDLE_FOR)));
        }
        found
    }

    async fn find_attribute(
        &self,
        user: &str,
        attribute: &str,
        until: Instant,
    ) -> Result<Option<String>, DirectoryError> {
        let Some(entry) = self.entry(user, attribute, until).await? else { return Ok(None) };
        let Some(value) = values(&entry, attribute)?.into_iter().next().filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        // Somebody is let in under this name.
        match Subscriber::presentable(&value) {
            Ok(_) => Ok(Some(value)),
            Err(why) => Err(unusable(attribute, why)),
        }
    }

    async fn find_groups(&self, user: &str, until: Instant) -> Result<Option<Vec<String>>, DirectoryError> {
        let settings = &self.server.settings;
        let Some(filter) = &settings.group_filter else {
            let attribute = &settings.group_attribute;
            let Some(entry) = self.entry(user, attribute, until).await? else { return Ok(None) };
            let names = values(&entry, attribute)?.into_iter().flat_map(|value| {
                let first = dn::first_value(&value);
                std::iter::once(value).chain(first)
            });
            return Ok(Some(names.collect()));
        };
        let Some(entry) = self.entry(user, "1.1", until).await? else { return Ok(None) };
        let attribute = settings.group_name_attribute.clone();
        let query = Query {
            base: settings.group_base_dn.clone().unwrap_or_else(|| settings.base_dn.clone()),
            scope: LdapSearchScope::Subtree,
            filter: filter.fill(user, &entry.dn),
            attribute,
            limit: MOST_GROUPS,
        };
        let Found::Entries(groups) = self.ask(&query, until).await? else {
            // Who is in a group that is not seen may be let in, or kept out, by mistake.
            return Err(DirectoryError(format!(
                "group_filter finds more than {MOST_GROUPS} groups, or than the server gives"
            )));
        };
        let mut names = Vec::new();
        for group in groups {
            names.extend(values(&group, &query.attribute)?);
            names.push(group.dn);
        }
        Ok(Some(names))
    }
}

impl Directory for LdapDirectory {
    fn name(&self) -> &str {
        &self.server.settings.name
    }

    fn timeout(&self) -> Duration {
        self.server.timeout()
    }

    fn attribute<'a>(&'a self, user: &'a str, attribute: &'a str, until: Instant) -> Answer<'a, Option<String>> {
        Box::pin(self.find_attribute(user, attribute, until))
    }

    fn groups<'a>(&'a self, user: &'a str, until: Instant) -> Answer<'a, Option<Vec<String>>> {
        Box::pin(self.find_groups(user, until))
    }
}

/// All values of `attribute`, in the order of the server.
///
/// # Errors
/// Where one is not text, or not all of them were sent: a group that is not seen counts as much as one that is.
fn values(entry: &LdapSearchResultEntry, attribute: &str) -> Result<Vec<String>, DirectoryError> {
    let mut values = Vec::new();
    for LdapPartialAttribute { atype, vals } in &entry.attributes {
        let (name, options) = atype.split_once(';').unwrap_or((atype, ""));
        if atype.eq_ignore_ascii_case(attribute) {
            for value in vals {
                let text = String::from_utf8(value.clone()).map_err(|_| unusable(attribute, "is not text"))?;
                values.push(text);
            }
        } else if name.eq_ignore_ascii_case(attribute) && options.to_ascii_lowercase().starts_with("range=") {
            return Err(unusable(attribute, "has more values than the server gives at once"));
        }
    }
    Ok(values)
}

/// The address of a server without anything that may stand in it beside.
pub(super) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), Foreign(url.host_str().unwrap_or_default()))
}

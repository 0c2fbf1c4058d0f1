//! The directories that the SDK's fakes held, as real ones.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::Value;

use super::case::{Case, LdapServer};
use super::rig::slapd::{Slapd, User};

/// What cannot be played without.
const SLAPD: &str = "there is no slapd; run: apt-get install slapd";

/// An attribute that tells upper from lower case, as the SDK's fake does with names.
const EXACT: &str = "labeledURI";

/// A server for everything that the fakes held under one name.
pub struct Directories {
    /// Where nobody listens.
    deaf: u16,
    servers: Vec<Server>,
}

struct Server {
    held: LdapServer,
    /// Ends with its value.
    slapd: Mutex<Option<Slapd>>,
}

impl Directories {
    /// The directories that `cases` need.
    pub fn start(cases: &[Case], deaf: u16) -> Self {
        let mut servers: Vec<Server> = Vec::new();
        for held in cases.iter().flat_map(|case| case.fixtures.ldap_servers.values()) {
            if !servers.iter().any(|server| server.held == *held) {
                servers.push(Server { held: held.clone(), slapd: Mutex::new(start(held)) });
            }
        }
        Self { deaf, servers }
    }

    /// The sections for what `case` has of directories; where its configuration names another, nobody listens.
    pub fn sections(&self, case: &Case) -> String {
        let mut text = String::new();
        for (name, held) in &case.fixtures.ldap_servers {
            let server = self.servers.iter().find(|server| server.held == *held);
            let slapd = server.map(|server| server.slapd.lock().unwrap());
            if let Some(slapd) = slapd.as_ref().and_then(|slapd| slapd.as_ref()) {
                text += &slapd.ini(name).replace("(uid=", &format!("({EXACT}="));
            }
        }
        if let Some(name) = super::stage::option(&case.config_ini, "ldap_server", "name")
            && !case.fixtures.ldap_servers.contains_key(&name)
        {
            let url = format!("ldap://127.0.0.1:{}", self.deaf);
            text += &format!("[ldap_server {name}]\nurl = {url}\nallow_insecure_ldap = yes\nbase_dn = dc=x\n");
        }
        text
    }

    /// What is missing here to play `case`.
    pub fn missing(&self, case: &Case) -> Option<&'static str> {
        let is_there =
            |held: &LdapServer| self.servers.iter().any(|s| s.held == *held && s.slapd.lock().unwrap().is_some());
        (!case.fixtures.ldap_servers.values().all(is_there)).then_some(SLAPD)
    }
}

/// A server that knows the users of `held`, and nobody else: as in the SDK's fake, a group may have members whom nobody knows.
fn start(held: &LdapServer) -> Option<Slapd> {
    let mut known = BTreeSet::new();
    let users: Vec<User> = held
        .users
        .iter()
        // A directory does not tell upper from lower case.
        .filter(|(name, _)| known.insert(name.to_lowercase()))
        .map(|(name, attributes)| {
            attributes.iter().fold(User::new(name).with(EXACT, &[name]), |user, (attribute, value)| {
                match values(value) {
                    values if values.is_empty() => user,
                    values => user.with(attribute, &values),
                }
            })
        })
        .collect();
    let groups: Vec<(&str, Vec<&str>)> = held
        .groups
        .iter()
        .map(|(group, members)| (group.as_str(), members.iter().map(String::as_str).collect()))
        .collect();
    let groups: Vec<(&str, &[&str])> = groups.iter().map(|(group, members)| (*group, members.as_slice())).collect();
    Slapd::start(&users, &groups)
}

fn values(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(values).collect(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => vec![value.to_string()],
    }
    .into_iter()
    .filter(|text| !text.is_empty())
    .collect()
}

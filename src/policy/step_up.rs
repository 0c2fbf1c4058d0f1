//! Which sessions want a fresh proof before they go on to their target.

use std::net::IpAddr;

use wildmatch::WildMatchPattern;

use crate::domain::claimant::Subscriber;
use crate::domain::request::Session;

/// `*` stands for any text, and nothing for one character: no name that is written holds a NUL.
type Glob = WildMatchPattern<'*', '\0'>;

/// `[step_up]`: a list that is not there is about every session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepUp {
    pub protocols: Option<Vec<String>>,
    pub connections: Option<Vec<String>>,
    /// HOST, ADDRESS or USER@HOST.
    pub targets: Option<Vec<String>>,
    /// For how many seconds a proof of the session counts; 0: each needs one of its own.
    pub max_age: u64,
}

impl StepUp {
    /// Whether it is about `session`. What the gateway does not say may be anything: it is.
    pub fn matches(&self, session: &Session) -> bool {
        let is_in = |list: &Option<Vec<String>>, said: &Option<String>| match (list, said) {
            (Some(list), Some(said)) => list.iter().any(|pattern| is_like(pattern, said)),
            (Some(_), None) | (None, _) => true,
        };
        is_in(&self.protocols, &session.protocol)
            && is_in(&self.connections, &session.connection_name)
            && self.targets.as_ref().is_none_or(|targets| targets.iter().any(|target| is_target(target, session)))
    }
}

fn is_target(pattern: &str, session: &Session) -> bool {
    // A user's name may hold an @, a host's cannot.
    let (user, host) = match pattern.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, pattern),
    };
    let is_user = match (user, session.server_username.as_deref()) {
        (Some(pattern), Some(user)) => {
            // With its domain, and without.
            let bare = user.rsplit_once('\\').map_or(user, |(_, user)| user);
            let bare = bare.split_once('@').map_or(bare, |(user, _)| user);
            is_like(pattern, user) || is_like(pattern, bare)
        }
        (Some(_), None) | (None, _) => true,
    };
    let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let is_host = match (said(&session.server_hostname), said(&session.server_ip)) {
        (Some(name), Some(address)) => is_host(host, &name) || is_address(host, &address),
        // Of the other, which the gateway does not say, a pattern may be meant.
        (Some(name), None) => is_host(host, &name) || (is_of_addresses(host) && name.parse::<IpAddr>().is_err()),
        (None, Some(address)) => is_address(host, &address) || !is_of_addresses(host),
        (None, None) => true,
    };
    is_user && is_host
}

fn is_host(pattern: &str, name: &str) -> bool {
    is_like(pattern, name.trim_end_matches('.')) || is_address(pattern, name)
}

/// Whether a pattern means addresses: digits, what parts them, and wildcards.
fn is_of_addresses(pattern: &str) -> bool {
    let plain = pattern.trim_matches(['[', ']']);
    let has_digit = plain.contains(|c: char| c.is_ascii_hexdigit());
    let is_four = plain.bytes().all(|b| b.is_ascii_digit() || b".*?".contains(&b));
    let is_six = plain.contains(':') && plain.bytes().all(|b| b.is_ascii_hexdigit() || b".:*?".contains(&b));
    has_digit && (is_four || is_six)
}

/// Whether an address is meant, however either is written.
fn is_address(pattern: &str, address: &str) -> bool {
    let plain = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| ip.to_canonical());
    match (plain(pattern), plain(address)) {
        (Ok(pattern), Ok(address)) => pattern == address,
        (Err(_), Ok(address)) => is_like(pattern, &address.to_string()),
        (_, Err(_)) => is_like(pattern, address),
    }
}

/// In any case and compatibility form.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (Subscriber::canonical(pattern), Subscriber::canonical(text));
    Glob::new(pattern.as_str()).matches(text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(protocols: &[&str], connections: &[&str], targets: &[&str]) -> StepUp {
        let list = |list: &[&str]| (!list.is_empty()).then(|| list.iter().map(|&item| item.to_owned()).collect());
        let [protocols, connections, targets] = [protocols, connections, targets].map(list);
        StepUp { protocols, connections, targets, max_age: 0 }
    }

    fn session(protocol: &str, connection: &str, host: &str, address: &str, user: &str) -> Session {
        let [protocol, connection_name, server_hostname, server_ip, server_username] =
            [protocol, connection, host, address, user].map(|text| (!text.is_empty()).then(|| text.to_owned()));
        Session { protocol, connection_name, server_hostname, server_ip, server_username, ..Session::default() }
    }

    #[test]
    fn every_list_that_is_given_must_match() {
        let here = session("ssh", "prod", "db1.corp.example", "192.0.2.1", "root");
        assert!(rule(&[], &[], &[]).matches(&here));
        assert!(rule(&["rdp", "SSH"], &["pr*"], &["db*"]).matches(&here));
        assert!(!rule(&["rdp"], &["pr*"], &["db*"]).matches(&here));
        assert!(!rule(&["ssh"], &["test"], &["db*"]).matches(&here));
        assert!(!rule(&["ssh"], &["prod"], &["web*"]).matches(&here));
    }

    #[test]
    fn a_target_is_known_by_name_address_and_user_however_it_is_written() {
        let here = session("ssh", "", "DB1.Corp.Example.", "2001:db8:0:0::1", "Root");
        for target in [
            "db1.corp.example",
            "DB1.*",
            "*.example",
            "2001:db8::1",
            "2001:DB8:*",
            "[2001:db8::1]",
            "root@db*",
            "*@*",
            "*",
        ] {
            assert!(rule(&[], &[], &[target]).matches(&here), "{target}");
        }
        for target in ["db1", "db?.corp.example", "admin@db*", "2001:db8::2", "root", "@"] {
            assert!(!rule(&[], &[], &[target]).matches(&here), "{target}");
        }
        let mapped = session("", "", "", "::ffff:192.0.2.1", "");
        assert!(rule(&[], &[], &["192.0.2.1"]).matches(&mapped) && rule(&[], &[], &["192.0.2.*"]).matches(&mapped));
        assert!(rule(&[], &[], &["db1"]).matches(&session("", "", "ｄｂ１", "", "")));
        assert!(rule(&[], &[], &["192.0.2.1"]).matches(&session("", "", "::ffff:192.0.2.1", "", "")));
        assert!(rule(&[], &[], &["a@b@db1"]).matches(&session("", "", "db1", "", "a@b")));
    }

    #[test]
    fn what_the_gateway_does_not_say_may_be_anything() {
        let silent = Session::default();
        assert!(rule(&["ssh"], &["prod"], &["root@db1"]).matches(&silent));
        assert!(rule(&[], &[], &["root@db1"]).matches(&session("", "", "db1", "", "")));
        assert!(!rule(&[], &[], &["root@db1"]).matches(&session("", "", "db2", "", "")));
        // A host is known by its address alone, or by its name alone.
        for target in ["root@db*.corp.example", "db1.corp.example", "192.0.2.1"] {
            assert!(rule(&[], &[], &[target]).matches(&session("", "", "", "192.0.2.1", "root")), "{target}");
        }
        for target in ["192.0.2.*", "2001:db8::1", "[2001:db8::1]"] {
            assert!(rule(&[], &[], &[target]).matches(&session("", "", "db1.corp.example", "", "")), "{target}");
            assert!(!rule(&[], &[], &[target]).matches(&session("", "", "db1", "198.51.100.1", "")), "{target}");
        }
        assert!(!rule(&[], &[], &["192.0.2.1"]).matches(&session("", "", "198.51.100.1", "", "")));
    }

    #[test]
    fn a_user_is_known_with_a_domain_and_without() {
        for user in ["root", "CORP\\Root", "root@corp.example", "ROOT"] {
            assert!(rule(&[], &[], &["root@db1"]).matches(&session("", "", "db1..", "", user)), "{user}");
        }
        for user in ["groot", "CORP\\admin", "root\\admin"] {
            assert!(!rule(&[], &[], &["root@db1"]).matches(&session("", "", "db1", "", user)), "{user}");
        }
    }
}

//! Under which name the MFA service knows a claimant.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::claimant::Subscriber;

/// The mapping of `[usermapping source=explicit]`: names in their canonical form to identities.
pub type Explicit = BTreeMap<String, String>;

/// The identity that `map` has for `name`, in whatever way that is written, with its domain or without; the name itself,
/// without domain, where it has none.
pub fn explicit(map: &Explicit, domains: &Domains, name: &str) -> String {
    let bare = domains.without(name);
    if map.is_empty() {
        return bare.to_owned();
    }
    let find =
        |name: &str| map.get(Subscriber::canonical(name).as_str()).filter(|identity| !identity.is_empty()).cloned();
    find(name).or_else(|| find(bare)).unwrap_or_else(|| bare.to_owned())
}

/// Domains that are no part of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains {
    every: bool,
    /// In their canonical form.
    named: BTreeSet<String>,
}

impl Domains {
    /// These; `*` is every one.
    pub fn new(names: &[String]) -> Self {
        let every = names.iter().any(|name| name == "*");
        let named = names.iter().map(|name| Subscriber::canonical(name).as_str().to_owned()).collect();
        Self { every, named }
    }

    /// Any domain.
    pub fn every() -> Self {
        Self { every: true, named: BTreeSet::new() }
    }

    /// `name` without the domains before a backslash and behind an `@`, as often as they stand there. A name of which nothing
    /// would be left stays.
    pub fn without<'a>(&self, name: &'a str) -> &'a str {
        let mut bare = name;
        if !self.every && self.named.is_empty() {
            return bare;
        }
        // Full-width forms of both characters count as these do.
        while let Some((shorter, domain)) = bare
            .split_once(['\\', '\u{ff3c}', '\u{fe68}'])
            .map(|(domain, user)| (user, domain))
            .filter(|(_, domain)| self.has(domain))
            .or_else(|| bare.rsplit_once(['@', '\u{ff20}', '\u{fe6b}']).filter(|(_, domain)| self.has(domain)))
            && !shorter.trim().is_empty()
            && domain.len() < bare.len()
        {
            bare = shorter;
        }
        bare
    }

    fn has(&self, domain: &str) -> bool {
        self.every || self.named.contains(Subscriber::canonical(domain.trim_end_matches('.')).as_str())
    }
}

/// `identity` with `@domain` behind it, unless there is an `@` in it already.
pub fn with_domain(identity: String, domain: Option<&str>) -> String {
    match domain {
        Some(domain) if !identity.contains('@') => format!("{identity}@{domain}"),
        Some(_) | None => identity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_in_any_case_and_domains_put_behind_once() {
        let map = Explicit::from([("alice".into(), "a.smith".into()), ("dan".into(), String::new())]);
        let none = Domains::default();
        for spelling in ["ALICE", " alice ", "\u{ff41}lice"] {
            assert_eq!(explicit(&map, &none, spelling), "a.smith");
        }
        assert_eq!(explicit(&map, &none, "Dan"), "Dan");
        assert_eq!(explicit(&map, &none, "zoe"), "zoe");
        assert_eq!(with_domain("a".into(), Some("corp.example")), "a@corp.example");
        assert_eq!(with_domain("a@b".into(), Some("corp.example")), "a@b");
        assert_eq!(with_domain("a".into(), None), "a");
    }

    #[test]
    fn a_domain_is_no_part_of_a_name_where_that_is_said() {
        let named = |names: &[&str]| Domains::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let (none, ours, every) = (Domains::default(), named(&["CORP", "corp.example"]), named(&["*"]));
        for (name, with_ours, with_every) in [
            ("alice", "alice", "alice"),
            ("CORP\\alice", "alice", "alice"),
            ("corp\\Alice@Corp.Example.", "Alice", "Alice"),
            ("corp\\corp\\alice", "alice", "alice"),
            ("corp\u{ff3c}alice\u{ff20}corp.example", "alice", "alice"),
            ("other\\alice", "other\\alice", "alice"),
            ("alice@other.example", "alice@other.example", "alice"),
            ("@corp.example", "@corp.example", "@corp.example"),
            ("corp\\", "corp\\", "corp\\"),
        ] {
            assert_eq!(none.without(name), name);
            assert_eq!((ours.without(name), every.without(name)), (with_ours, with_every), "{name}");
        }
        let map = Explicit::from([("corp\\alice".into(), "of.corp".into()), ("alice".into(), "a.smith".into())]);
        assert_eq!(explicit(&map, &ours, "Corp\\Alice"), "of.corp");
        assert_eq!(explicit(&map, &ours, "alice@corp.example"), "a.smith");
        assert_eq!(explicit(&map, &none, "alice@corp.example"), "alice@corp.example");
    }
}

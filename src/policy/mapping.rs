//! Under which name the MFA service knows a claimant.

use std::collections::BTreeMap;

/// The mapping of `[usermapping source=explicit]`: names in lower case to identities.
pub type Explicit = BTreeMap<String, String>;

/// The identity that `map` has for `name`, in whatever case it is written; the name itself where it has none.
pub fn explicit(map: &Explicit, name: &str) -> String {
    if map.is_empty() {
        return name.to_owned();
    }
    map.get(&name.to_lowercase()).filter(|identity| !identity.is_empty()).cloned().unwrap_or_else(|| name.to_owned())
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
        assert_eq!(explicit(&map, "ALICE"), "a.smith");
        assert_eq!(explicit(&map, "Dan"), "Dan");
        assert_eq!(explicit(&map, "zoe"), "zoe");
        assert_eq!(with_domain("a".into(), Some("corp.example")), "a@corp.example");
        assert_eq!(with_domain("a@b".into(), Some("corp.example")), "a@b");
        assert_eq!(with_domain("a".into(), None), "a");
    }
}

//! Who needs no second factor.

use super::mapping::Domains;
use crate::domain::claimant::Subscriber;

/// Whom a list lets in without a second factor, before its exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allow {
    NoUser,
    AllUsers,
}

/// `allow` and `except`, of users or of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    pub allow: Allow,
    pub except: Vec<String>,
}

impl Exemption {
    /// Whether it is for everybody there is.
    pub const fn is_for_everybody(&self) -> bool {
        matches!(self.allow, Allow::AllUsers) && self.except.is_empty()
    }

    /// Whether the user of this name is. Whoever is exempt by their name has it exactly, upper and lower case told apart;
    /// whoever is exempt by not being named has none that is like one of these names, with or without `domains`, and none
    /// that could not be enrolled.
    pub fn exempts_user(&self, name: &str, domains: &Domains) -> bool {
        match self.allow {
            Allow::NoUser => self.except.iter().any(|other| other == name),
            Allow::AllUsers => {
                let forms = |name: &str| {
                    [name, domains.without(name)].map(|form| Subscriber::canonical(form).alike().into_owned())
                };
                let own = forms(name);
                let is_named = self.except.iter().any(|other| forms(other).iter().any(|form| own.contains(form)));
                Subscriber::enrollable(name).is_ok() && !is_named
            }
        }
    }

    /// Whether the member of `groups` is; directories do not tell upper from lower case.
    pub fn exempts_member(&self, groups: &[String]) -> bool {
        let lower: Vec<String> = self.except.iter().map(|group| group.to_lowercase()).collect();
        let is_exception = groups.iter().any(|group| lower.contains(&group.to_lowercase()));
        match self.allow {
            Allow::NoUser => is_exception,
            Allow::AllUsers => !is_exception,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_count_in_both_directions() {
        let domains = Domains::new(&["corp".into(), "corp.example".into()]);
        let list = |allow| Exemption { allow, except: vec!["alice".into(), "Bob".into()] };
        for (name, no_user, all_users) in [
            ("alice", true, false),
            ("Bob", true, false),
            ("carol", false, true),
            // Nobody evades a list by a spelling, in either direction.
            ("Alice", false, false),
            ("bob", false, false),
            ("alice ", false, false),
            ("\u{ff41}lice", false, false),
            ("alice\u{200b}", false, false),
            ("alice.", false, false),
            ("alic\u{e9}", false, false),
            ("CORP\\alice", false, false),
            ("Bob@corp.example", false, false),
            ("other\\alice", false, true),
            ("", false, false),
        ] {
            assert_eq!(list(Allow::NoUser).exempts_user(name, &domains), no_user, "{name}");
            assert_eq!(list(Allow::AllUsers).exempts_user(name, &domains), all_users, "{name}");
        }
        let groups = ["users".to_owned(), "BOB".to_owned()];
        assert!(list(Allow::NoUser).exempts_member(&groups) && !list(Allow::AllUsers).exempts_member(&groups));
        assert!(!list(Allow::NoUser).exempts_member(&[]) && list(Allow::AllUsers).exempts_member(&[]));
    }
}

//! Who needs no second factor.

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
    /// Whether the user of this name is. Whoever is exempt by their name has it exactly, upper and lower case told apart;
    /// whoever is exempt by not being named has none of these names in any spelling, and none that cannot be seen.
    pub fn exempts_user(&self, name: &str) -> bool {
        match self.allow {
            Allow::NoUser => self.except.iter().any(|other| other == name),
            Allow::AllUsers => Subscriber::enrollable(name)
                .is_ok_and(|user| !self.except.iter().any(|other| Subscriber::canonical(other) == user)),
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
            ("", false, false),
        ] {
            assert_eq!(list(Allow::NoUser).exempts_user(name), no_user, "{name}");
            assert_eq!(list(Allow::AllUsers).exempts_user(name), all_users, "{name}");
        }
        let groups = ["users".to_owned(), "BOB".to_owned()];
        assert!(list(Allow::NoUser).exempts_member(&groups) && !list(Allow::AllUsers).exempts_member(&groups));
        assert!(!list(Allow::NoUser).exempts_member(&[]) && list(Allow::AllUsers).exempts_member(&[]));
    }
}

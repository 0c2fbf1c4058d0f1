//! Who needs no second factor.

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
    /// Whether somebody is exempt who is among the exceptions or is not.
    pub fn exempts(&self, is_exception: bool) -> bool {
        match self.allow {
            Allow::NoUser => is_exception,
            Allow::AllUsers => !is_exception,
        }
    }

    /// Whether the user of this name is; upper and lower case are told apart.
    pub fn exempts_user(&self, name: &str) -> bool {
        self.exempts(self.except.iter().any(|other| other == name))
    }

    /// Whether the member of `groups` is; directories do not tell upper from lower case.
    pub fn exempts_member(&self, groups: &[String]) -> bool {
        let lower: Vec<String> = self.except.iter().map(|group| group.to_lowercase()).collect();
        self.exempts(groups.iter().any(|group| lower.contains(&group.to_lowercase())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_count_in_both_directions() {
        let list = |allow| Exemption { allow, except: vec!["alice".into(), "Bob".into()] };
        for (name, exempt) in [("alice", true), ("Alice", false), ("Bob", true), ("carol", false), ("", false)] {
            assert_eq!(list(Allow::NoUser).exempts_user(name), exempt, "{name}");
            assert_eq!(list(Allow::AllUsers).exempts_user(name), !exempt, "{name}");
        }
        let groups = ["users".to_owned(), "BOB".to_owned()];
        assert!(list(Allow::NoUser).exempts_member(&groups) && !list(Allow::AllUsers).exempts_member(&groups));
        assert!(!list(Allow::NoUser).exempts_member(&[]) && list(Allow::AllUsers).exempts_member(&[]));
    }
}

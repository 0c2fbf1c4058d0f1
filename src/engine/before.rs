//! What comes before the second factor: exemptions, the authentication cache, and under which name it is asked for.

use std::time::Instant;

use super::admit::Admission;
use super::story::Story;
use super::{End, Engine};
use crate::clock;
use crate::config::policy::NamedExemption;
use crate::directory::{Directory, DirectoryError};
use crate::domain::claimant::MfaIdentity;
use crate::domain::foreign::Foreign;
use crate::domain::verdict::{Basis, Verdict};
use crate::policy::mapping;

/// What came of it.
pub enum Before<'a> {
    /// No second factor is needed.
    LetIn(Verdict),
    /// It is, under the identity that the story has now.
    Needed(Story<'a>),
}

impl Engine {
    /// Exemptions → authentication cache → mapping.
    pub(super) async fn before<'a>(&self, story: Story<'a>) -> Result<Before<'a>, End> {
        if let Some(admission) = self.exemption(&story).await {
            return self.let_in(&story, admission).await.map(Before::LetIn);
        }
        if let Some(rule) = self.policy.cache {
            let now = story.moment.unix_millis();
            let is_good = match self.cache_key(&story) {
                Some(key) => self.store.reuse_verification(&key, rule, now).await?,
                None => false,
            };
            self.note("cache", || match is_good {
                true => "verified from this address a moment ago: no second factor is needed".into(),
                false => "nothing that is good still".into(),
            });
            if is_good {
                return self.let_in(&story, Admission::cached()).await.map(Before::LetIn);
            }
        }
        let identity = self.identity(&story).await?;
        Ok(Before::Needed(story.named(identity)))
    }

    async fn exemption(&self, story: &Story<'_>) -> Option<Admission> {
        let name = &story.claimant.0;
        if let Some(NamedExemption { name: list, exemption }) = &self.policy.exempt_users {
            let is_exempt = exemption.exempts_user(name, &self.policy.domains);
            self.note("exemption", || {
                let word = if is_exempt { "exempts" } else { "does not exempt" };
                format!("[user_list {}] {word} this user", Foreign(list))
            });
            if is_exempt {
                let reason = format!("[user_list {}] exempts this user", Foreign(list));
                return Some(Admission::exempt(Basis::UserList, reason));
            }
        }
        let (exemption, directory) = (self.policy.exempt_groups.as_ref()?, self.directory.as_ref()?);
        let groups = directory.groups(name, directory_until(story, &**directory)).await;
        let said = match &groups {
            Ok(Some(groups)) if exemption.exempts_member(groups) => {
                let reason = format!("their groups in {} exempt this user", Foreign(directory.name()));
                self.note("exemption", || reason.clone());
                return Some(Admission::exempt(Basis::DirectoryGroup, reason));
            }
            Ok(Some(_)) => "their groups do not exempt this user".into(),
            // Not being in a group is no reason for anybody whom the directory does not know.
            Ok(None) => "no such user: a second factor is needed".into(),
            Err(error) => {
                self.trouble(story, &**directory, error, "a second factor is needed");
                format!("{error}: a second factor is needed")
            }
        };
        self.note("exemption", || format!("{}: {said}", Foreign(directory.name())));
        None
    }

    /// The name that goes to the client: explicit mapping → directory → domain.
    pub(super) async fn identity(&self, story: &Story<'_>) -> Result<MfaIdentity, End> {
        let mut name = self.mapped(&story.claimant.0);
        if let (Some(attribute), Some(directory)) = (&self.policy.user_attribute, &self.directory) {
            // The cache may have been written to: nobody waits for the store as long as for a directory.
            self.settle(story).await?;
            match directory.attribute(&name, attribute, directory_until(story, &**directory)).await {
                Ok(Some(value)) => name = value,
                Ok(None) => {
                    let text = format!("no {attribute} is known of this user: the name goes on as it is");
                    self.note("mapping", || format!("{}: {text}", Foreign(directory.name())));
                    story.aside.tell(format!("directory {}: {text}", Foreign(directory.name())));
                }
                Err(error) => self.trouble(story, &**directory, &error, "the name goes on as it is"),
            }
        }
        let identity = self.with_domain(name);
        if identity.0 != story.claimant.0 {
            self.note("mapping", || format!("at the client: {}", Foreign(&identity.0)));
        }
        Ok(identity)
    }

    /// The same, as far as it is known without asking a directory.
    pub(super) fn known_identity(&self, name: &str) -> MfaIdentity {
        self.with_domain(self.mapped(name))
    }

    fn mapped(&self, name: &str) -> String {
        mapping::explicit(&self.policy.explicit, &self.policy.domains, name)
    }

    fn with_domain(&self, name: String) -> MfaIdentity {
        MfaIdentity(mapping::with_domain(name, self.policy.append_domain.as_deref()))
    }

    /// Whether what comes before the second factor asks a directory.
    pub(super) fn asks_directory(&self) -> bool {
        self.policy.exempt_groups.is_some() || self.policy.user_attribute.is_some()
    }

    fn trouble(&self, story: &Story<'_>, directory: &dyn Directory, error: &DirectoryError, so: &str) {
        story.aside.tell(format!("directory {} could not be asked: {error}: {so}", Foreign(directory.name())));
    }
}

/// Until when `directory` may be asked: all its answers to one request share its time.
fn directory_until(story: &Story<'_>, directory: &dyn Directory) -> Instant {
    let shared = &story.aside.directory_until;
    let until = shared.get().unwrap_or_else(|| clock::after(directory.timeout()));
    shared.set(Some(until));
    until.min(story.moment.until())
}

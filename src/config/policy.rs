//! The policy sections, by the names that session gateways give them: read only where they stand in the file.

mod read;
pub mod sections;

use std::net::IpAddr;
use std::path::Path;

use super::filter::SearchFilter;
use super::ini::Section;
use super::mistake::Mistakes;
use super::reading::Reading;
use super::value::{Authorities, ServiceSecret};
use crate::domain::verdict::Echo;
use crate::policy::cache::CacheRule;
use crate::policy::exemption::Exemption;
use crate::policy::identify::UpnSuffix;
use crate::policy::mapping::{Domains, Explicit};
use crate::policy::step_up::StepUp;
use crate::policy::unenrolled::Unenrolled;
pub use read::is_policy_section;
pub use sections::{HotpOptions, RecoveryOptions};

/// What stands in the policy sections; what does not stand there is off.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// `[ignore_upn_suffix_for_rdp]`.
    pub upn_suffix: UpnSuffix,
    /// `[whitelist source=user_list]`, with the `[user_list NAME]` that it names.
    pub exempt_users: Option<NamedExemption>,
    /// `[whitelist source=ldap_server_group]`; there is a directory wherever this is.
    pub exempt_groups: Option<Exemption>,
    /// `[authentication_cache]`, where `reuse_limit` is not 0.
    pub cache: Option<CacheRule>,
    /// `[usermapping source=explicit]`.
    pub explicit: Explicit,
    /// `[usermapping source=ldap_server] user_attribute`; there is a directory wherever this is.
    pub user_attribute: Option<String>,
    /// `[username_transform] append_domain`.
    pub append_domain: Option<String>,
    /// `[question_1]` and so on, in their order.
    pub questions: Vec<PolicyQuestion>,
    /// `[connection_limit by=client_ip_gateway_user]`, where `limit` is not 0.
    pub connection_limit: Option<ConnectionLimit>,
    /// The `[ldap_server NAME]` that `[ldap_server] name` names.
    pub directory: Option<Box<LdapServer>>,
    /// `[authorize]`: whether a session goes on to its target only with the proof that it was authenticated.
    pub authorize_requires_proof: bool,
    /// `[step_up]`.
    pub step_up: Option<StepUp>,
    /// `[policy]`: whether a verdict is what it was found to be, or a trial's accept.
    pub enforcement: Enforcement,
    /// `[policy] ignore_domains`.
    pub domains: Domains,
    pub unenrolled: Unenrolled,
    /// Whether enrolling at the login takes a ticket.
    pub ticket: Ticket,
    hotp: Option<Box<HotpOptions>>,
    recovery: Option<Box<RecoveryOptions>>,
}

/// Whether verdicts are what they were found to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    #[default]
    On,
    /// Everybody is answered accept; what was found out is logged.
    Shadow,
}

/// Whether somebody who enrols at the login needs a ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ticket {
    #[default]
    Needless,
    Needed,
}

impl Policy {
    /// `[hotp]`, or its defaults.
    pub fn hotp(&self) -> HotpOptions {
        self.hotp.as_deref().cloned().unwrap_or_else(|| defaults(HotpOptions::read))
    }

    /// `[recovery]`, or its defaults.
    pub fn recovery(&self) -> RecoveryOptions {
        self.recovery.as_deref().cloned().unwrap_or_else(|| defaults(RecoveryOptions::read))
    }
}

/// What a section that is not there says.
#[expect(clippy::expect_used, reason = "every default is what its option takes, and a test reads them all")]
pub(super) fn defaults<T>(read: impl Fn(Option<&Section>, &mut Mistakes) -> Option<T>) -> T {
    read(None, &mut Mistakes::new(Path::new(""), Reading::Native)).expect("defaults")
}

/// A user list, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedExemption {
    pub name: String,
    pub exemption: Exemption,
}

/// A question that is put after the second factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyQuestion {
    /// Under which key the answer comes, and goes on to other plugins.
    pub key: String,
    pub prompt: String,
    pub echo: Echo,
}

/// How many sessions of one user from one address there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimit {
    /// Negative: none.
    pub limit: i64,
    /// After how many seconds a session whose end nobody told counts no more.
    pub stale_after: u64,
}

/// `[ldap_server NAME]`.
#[derive(Clone, Debug)]
pub struct LdapServer {
    /// The name of the section behind `ldap_server `.
    pub name: String,
    /// ldap:// or ldaps://, tried in their order.
    pub urls: Vec<url::Url>,
    pub start_tls: bool,
    /// `None`: the authorities of this machine.
    pub ca_cert: Option<Authorities>,
    /// Whether a password may cross the network in clear: ldap:// without StartTLS beyond this machine.
    pub allow_insecure_ldap: bool,
    /// Empty for an anonymous bind.
    pub bind_dn: Option<String>,
    pub bind_password: Option<ServiceSecret>,
    pub base_dn: String,
    /// With `{user}` where the name goes.
    pub user_filter: SearchFilter,
    /// Of the user's entry: what their groups are.
    pub group_attribute: String,
    /// With `{user}` and `{dn}`: finds the user's groups by entries of their own; then `group_attribute` is not looked at.
    pub group_filter: Option<SearchFilter>,
    /// Where the groups of `group_filter` are; `base_dn` where it is not said.
    pub group_base_dn: Option<String>,
    /// What a group found by `group_filter` is called.
    pub group_name_attribute: String,
    /// Seconds for everything that one verdict wants of the directory.
    pub timeout: u64,
}

/// Whether `url` is an address of this machine: what goes there crosses no network.
pub fn is_here(url: &url::Url) -> bool {
    match url.host_str().map(|host| host.trim_matches(['[', ']'])) {
        Some(host) => host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_that_is_not_there_has_defaults() {
        let policy = Policy::default();
        assert_eq!((policy.hotp().digits.0, policy.recovery().length.0), (6, 12));
    }
}

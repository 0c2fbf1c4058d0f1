//! Whose rules plugin.ini is read by.

/// Whose rules plugin.ini is read by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// Ours: whatever is unknown, half filled or ambiguous is a mistake.
    #[default]
    Native,
    /// As the plugins of SPS, in Python, read theirs: what they pass over in silence is a warning.
    Sps,
}

/// Whether an SPS plugin has a section of this name, too: unknown options in it are not ours to refuse there.
pub fn is_sps_section(name: &str) -> bool {
    const NAMES: [&str; 17] = [
        "auth",
        "logging",
        "duo",
        "okta",
        "ignore_upn_suffix_for_rdp",
        "whitelist source=user_list",
        "whitelist source=ldap_server_group",
        "ldap_server",
        "authentication_cache",
        "usermapping source=explicit",
        "usermapping source=ldap_server",
        "username_transform",
        "connection_limit by=client_ip_gateway_user",
        "credential_store",
        "https_proxy",
        "https-proxy",
        "tls",
    ];
    NAMES.contains(&name) || name.starts_with("question_")
}

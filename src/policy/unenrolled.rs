//! What becomes of somebody who has no authenticator.

/// What `[policy] unenrolled` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unenrolled {
    #[default]
    Reject,
    /// A new authenticator is shown at the login, and counts once a code proves it.
    Enrol,
    /// Let in without a second factor.
    Accept,
}

impl Unenrolled {
    /// Every value, each with its word in plugin.ini.
    pub const ALL: [(&'static str, Self); 3] =
        [("reject", Self::Reject), ("enrol", Self::Enrol), ("accept", Self::Accept)];
}

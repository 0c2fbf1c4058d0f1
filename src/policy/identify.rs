//! Who the claimant is, from the facts that a gateway sends.

use crate::domain::claimant::Claimant;
use crate::domain::request::{Answers, Session};

/// Whether a domain behind a name counts, over the protocols that send one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpnSuffix {
    /// `dave@corp.example` is `dave`.
    #[default]
    Ignore,
    Keep,
}

/// The claimant: `gateway_user`, else the answer `gu`, else `server_username` or the answer `username`, these two
/// without UPN suffix (`@domain`) where the protocol is rdp or tsg and `suffix` says so. `None` where nobody is named.
pub fn claimant(session: &Session, answers: &Answers, suffix: UpnSuffix) -> Option<Claimant> {
    // The answers `gu` and `username` are names, not secrets: they are shown as the claimant.
    let answer = |key: &str| answers.answer(key).map(|text| text.expose().as_str()).filter(|text| !text.is_empty());
    let user = session.gateway_user.as_deref().or_else(|| answer("gu"));
    let stripped = |name| match suffix {
        UpnSuffix::Ignore => without_upn_suffix(name, session.protocol.as_deref()),
        UpnSuffix::Keep => name,
    };
    // A name of which nothing is left is none.
    let target = || session.server_username.as_deref().map(stripped).filter(|name| !name.is_empty());
    let name = user.or_else(target).or_else(|| answer("username").map(stripped))?;
    (!name.is_empty()).then(|| Claimant(name.to_owned()))
}

fn without_upn_suffix<'a>(name: &'a str, protocol: Option<&str>) -> &'a str {
    let carries_upn = protocol.is_some_and(|p| p.eq_ignore_ascii_case("rdp") || p.eq_ignore_ascii_case("tsg"));
    match name.rsplit_once('@') {
        Some((user, _)) if carries_upn => user,
        Some(_) | None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(
        gateway_user: Option<&str>,
        server_username: Option<&str>,
        protocol: &str,
        answers: &[(&str, &str)],
    ) -> Option<String> {
        let session = Session {
            gateway_user: gateway_user.map(Into::into),
            server_username: server_username.map(Into::into),
            protocol: Some(protocol.into()),
            ..Session::default()
        };
        claimant(&session, &Answers::new(answers.iter().map(|(k, v)| ((*k).into(), (*v).into()))), UpnSuffix::Ignore)
            .map(|c| c.0)
    }

    #[test]
    fn the_gateway_user_comes_first_and_the_target_last() {
        let answers = [("gu", "carol"), ("username", "dave@corp")];
        assert_eq!(who(Some("alice"), Some("root"), "ssh", &answers).as_deref(), Some("alice"));
        assert_eq!(who(None, Some("root"), "ssh", &answers).as_deref(), Some("carol"));
        assert_eq!(who(None, Some("root"), "ssh", &[]).as_deref(), Some("root"));
        assert_eq!(who(None, None, "RDP", &[("username", "dave@a@corp")]).as_deref(), Some("dave@a"));
        assert_eq!(who(None, Some("dave@corp"), "ssh", &[]).as_deref(), Some("dave@corp"));
        assert_eq!(who(None, None, "ssh", &[]), None);
        assert_eq!(who(None, Some("@corp"), "rdp", &[]), None);
        assert_eq!(who(None, Some("@corp"), "rdp", &[("username", "eve")]).as_deref(), Some("eve"));
    }
}

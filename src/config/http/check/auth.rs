//! The same for how a service knows this client: what goes with which `auth`.

use super::{Use, line};
use crate::config::http::{AuthKind, HttpService};
use crate::config::ini::Section;
use crate::config::mistake::Mistakes;

/// Notes what is missing, and what is not used.
pub fn check(service: &HttpService, main: &Section, mistakes: &mut Mistakes) {
    let kind = service.auth;
    let (user, secret, header, token, scope) = match kind {
        AuthKind::None => (Use::No, Use::No, Use::No, Use::No, Use::No),
        AuthKind::Basic => (Use::Must, Use::Must, Use::No, Use::No, Use::No),
        AuthKind::Bearer => (Use::No, Use::Must, Use::No, Use::No, Use::No),
        AuthKind::Header => (Use::No, Use::Must, Use::Must, Use::No, Use::No),
        AuthKind::Hmac => (Use::May, Use::Must, Use::May, Use::No, Use::No),
        AuthKind::ClientCredentials => (Use::Must, Use::Must, Use::No, Use::Must, Use::May),
    };
    for (option, used, is_there) in [
        ("auth_user", user, service.auth_user.0.is_some()),
        ("auth_secret", secret, service.auth_secret.0.is_some()),
        ("auth_header", header, service.auth_header.0.is_some()),
        ("token_url", token, service.token_url.0.is_some()),
        ("scope", scope, service.scope.0.is_some()),
    ] {
        let text = match (used, is_there) {
            (Use::Must, false) => format!("is missing; auth = {} needs it", kind.word()),
            (Use::No, true) => format!("is not used with auth = {}", kind.word()),
            (Use::Must, true) | (Use::No, false) | (Use::May, _) => continue,
        };
        mistakes.at_option(line(main, option), &main.name, option, text);
    }
    let user = service.auth_user.0.as_deref().unwrap_or_default();
    let flaw = match kind {
        AuthKind::Basic if user.contains(':') => Some("a name with a colon cannot be sent with auth = basic"),
        AuthKind::Hmac if user.contains(|c: char| !c.is_ascii_graphic() || "\"\\".contains(c)) => {
            Some("expected letters, digits and signs, without spaces, quotes and backslashes")
        }
        AuthKind::None
        | AuthKind::Basic
        | AuthKind::Bearer
        | AuthKind::Header
        | AuthKind::Hmac
        | AuthKind::ClientCredentials => None,
    };
    if let Some(text) = flaw {
        mistakes.at_option(line(main, "auth_user"), &main.name, "auth_user", text);
    }
}

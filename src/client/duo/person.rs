//! What Duo is told of an attempt: who, from where, and what a push shows of the session.

use std::net::IpAddr;

use super::api::Parameters;
use super::sign;
use crate::domain::attempt::Attempt;
use crate::domain::claimant::NAME_LIMIT;
use crate::domain::foreign::is_deceptive;
use crate::domain::secret::Secret;

/// What a push may carry, in bytes (Auth API v2, `pushinfo`).
const PUSHINFO_LIMIT: usize = 20_000;

/// Who is asked for, and from where: what each request about somebody says.
pub fn who(attempt: &Attempt<'_>) -> Parameters {
    let mut parameters = vec![("username", plain(&attempt.identity.0))];
    let address = attempt.session.client_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
    parameters.extend(address.map(|address| ("ipaddr", plain(&address.to_string()))));
    parameters
}

/// What the push says of the session.
pub fn describe(attempt: &Attempt<'_>, parameters: &mut Parameters) {
    let (mut info, mut name) = (String::new(), None);
    let mut kind = "Login".to_owned();
    for (fact, value) in attempt.context() {
        match fact {
            "user" => name = Some(value),
            "protocol" if value.chars().count() <= 32 => kind = format!("{value} login"),
            _ => {
                let comma = if info.is_empty() { "" } else { "&" };
                let pair = format!("{comma}{}={}", sign::escape(fact), sign::escape(&value));
                if info.len() + pair.len() < PUSHINFO_LIMIT {
                    info.push_str(&pair);
                }
            }
        }
    }
    parameters.push(("type", plain(&kind)));
    parameters.extend(name.map(|name| ("display_username", plain(&name))));
    if !info.is_empty() {
        parameters.push(("pushinfo", plain(&info)));
    }
}

/// A parameter's value that is no secret.
pub fn plain(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

/// Whether Duo can know somebody of this name.
pub fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= NAME_LIMIT && !name.chars().any(is_deceptive)
}

//! The arguments of a hook, taken as the SDK takes them: every one is required, others are refused.

use super::super::fields::{Fields, invalid, wrong};
use super::super::session_cookie;
use super::super::tree::Json;
use super::COOKIE;
use crate::domain::fault::Fault;
use crate::domain::foreign::Foreign;
use crate::domain::request::{Beginning, Conversation, Dialogue, Kind, Request};
use crate::domain::secret::Secret;

/// What every hook takes.
const ALL: [&str; 3] = ["cookie", "session_cookie", "session_id"];

/// What `authenticate` and `authorize` take besides.
const CONNECTION: [&str; 10] = [
    "protocol",
    "connection_name",
    "client_ip",
    "client_port",
    "client_hostname",
    "gateway_user",
    "gateway_domain",
    "server_username",
    "server_domain",
    "key_value_pairs",
];

/// What only `authorize` takes besides.
const TARGET: [&str; 4] = ["gateway_groups", "server_ip", "server_port", "server_hostname"];

/// What cannot be null, but for pairs that nobody looks at. Without `protocol`, only some requests cannot be decided.
const REQUIRED: [&str; 2] = ["cookie", "key_value_pairs"];

/// Where a user's name may come from: the first two before the others, these only with their protocol.
const NAMES: [&str; 2] = ["gateway_user", "server_username"];

/// The request that a call of `hook` with `arguments` is.
///
/// # Errors
/// Which argument is missing, unknown, null or of a wrong type, or cannot be decided about.
pub fn read(hook: Kind, mut arguments: Fields) -> Result<Request, Fault> {
    check_names(&hook, &arguments)?;
    // Whom it is about is known then, and nobody is asked.
    let needs_pairs = hook != Kind::Authorize
        || !matches!(arguments.peek("gateway_user"), Some(Json::Text(user)) if !user.is_empty());
    for name in REQUIRED.into_iter().filter(|name| needs_pairs || *name != "key_value_pairs") {
        if matches!(arguments.peek(name), Some(Json::Null)) {
            return Err(wrong(name, "a value", "null"));
        }
    }
    for name in NAMES {
        check_name(name, arguments.peek(name))?;
    }
    // Unlike no protocol at all, one without a name is one that cannot ask.
    let is_unnamed = matches!(arguments.peek("protocol"), Some(Json::Text(protocol)) if protocol.is_empty());
    let mut session = arguments.session()?;
    session.protocol = session.protocol.or_else(|| is_unnamed.then(String::new));
    let request = Request {
        kind: hook,
        name: None,
        session,
        answers: {
            for name in ["gu", "username"] {
                check_name(name, arguments.peek("key_value_pairs").and_then(|pairs| pairs.field(name)))?;
            }
            arguments.answers()?
        },
        cookie: cookie(arguments.take("cookie"))?,
        session_cookie: session_cookie::read(arguments.take("session_cookie"))
            .map_err(|kind| wrong("session_cookie", "an object", kind))?,
        deadline: None,
        dialogue: Dialogue::ByProtocol,
        beginning: Beginning::Anywhere,
        conversation: Conversation::default(),
    };
    check_protocol(&request)?;
    Ok(request)
}

/// Whether the arguments are those of `hook`, no more and no fewer.
fn check_names(hook: &Kind, arguments: &Fields) -> Result<(), Fault> {
    let (connection, target): (&[&str], &[&str]) = match hook {
        Kind::Authenticate => (&CONNECTION, &[]),
        Kind::Authorize => (&CONNECTION, &TARGET),
        // There is no hook for challenges.
        Kind::SessionEnded | Kind::Challenge(_) => (&[], &[]),
    };
    let known = || ALL.iter().chain(connection).chain(target);
    let word = hook.word();
    for name in arguments.names() {
        if name == "gateway_password" {
            let reason =
                format!("gateway_password: {word} has no such argument; a one-time password cannot come in it");
            return Err(invalid("unknown_argument", reason));
        }
        if !known().any(|known| *known == name) {
            return Err(invalid("unknown_argument", format!("{}: {word} has no such argument", Foreign(name))));
        }
    }
    match known().find(|name| arguments.peek(name).is_none()) {
        Some(name) => Err(invalid("missing_argument", format!("{name}: is missing; {word} needs it"))),
        None => Ok(()),
    }
}

/// No name goes on that ends where others see it end, and not where we do.
fn check_name(place: &str, name: Option<&Json>) -> Result<(), Fault> {
    match name {
        Some(Json::Text(name)) if name.contains('\0') => {
            Err(invalid("wrong_value", format!("{place}: a user name cannot hold a NUL character")))
        }
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) | Json::Object(_))
        | None => Ok(()),
    }
}

/// Without a protocol nobody can tell whether the claimant can be asked, nor what belongs to a name of the target.
fn check_protocol(request: &Request) -> Result<(), Fault> {
    let Request {
        kind,
        name: _,
        session,
        answers,
        cookie: _,
        session_cookie: _,
        deadline: _,
        dialogue: _,
        beginning: _,
        conversation: _,
    } = request;
    if session.protocol.is_some() {
        return Ok(());
    }
    let names_claimant = || {
        // A name, not a secret; only whether there is one is looked at.
        session.gateway_user.is_some() || answers.answer("gu").is_some_and(|name| !name.expose().is_empty())
    };
    let can_go_on = match kind {
        Kind::Authenticate => answers.otp().is_some() && names_claimant(),
        Kind::Authorize => names_claimant(),
        Kind::SessionEnded | Kind::Challenge(_) => true,
    };
    let missing = || invalid("wrong_type", "protocol: expected a string, found null, and the request depends on it");
    if can_go_on { Ok(()) } else { Err(missing()) }
}

/// Our part of the cookie; what is no text of ours is as if none had come.
fn cookie(value: Option<Json>) -> Result<Option<Secret<String>>, Fault> {
    let Some(mut value) = value else { return Ok(None) };
    let Json::Object(fields) = &mut value else { return Err(wrong("cookie", "an object", value.kind())) };
    let ours = fields.iter_mut().find(|(key, _)| key == COOKIE);
    Ok(match ours {
        Some((_, Json::Text(text))) => Some(Secret::new(std::mem::take(text))),
        // No cookie of ours is empty: what stands there was put there by somebody else, and the log says so.
        Some((_, Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_))) => {
            Some(Secret::new(String::new()))
        }
        Some((_, Json::Null)) | None => None,
    })
}

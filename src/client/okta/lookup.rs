//! Who the claimant is at Okta, and what they hold there.

use serde_json::Value;

use super::answer::{self, Asked};
use super::{OktaClient, Stop};
use crate::client::ClientError;
use crate::client::http::{Call, Method};
use crate::config::value::{OktaCode, YesNo};
use crate::domain::attempt::Attempt;
use crate::domain::foreign::Foreign;
use crate::domain::outcome::Refusal;

/// A user whose name was compared.
pub struct User {
    pub id: String,
}

/// Something that a user holds and that is active.
pub struct Held {
    pub id: String,
    kind: String,
    provider: String,
}

impl Held {
    pub fn is(&self, kind: &str, providers: &[&str]) -> bool {
        self.kind == kind && (providers.is_empty() || providers.contains(&self.provider.as_str()))
    }

    /// Whether codes of `kind` belong to it.
    fn takes(&self, kind: OktaCode) -> bool {
        const APP: &str = "token:software:totp";
        match kind {
            OktaCode::Otp => self.is(APP, &[]),
            OktaCode::Okta => self.is(APP, &["OKTA"]),
            OktaCode::Google => self.is(APP, &["GOOGLE"]),
            OktaCode::Sms => self.is("sms", &[]),
            OktaCode::Call => self.is("call", &[]),
            OktaCode::Email => self.is("email", &[]),
            OktaCode::Token => self.is("token", &[]) || self.is("token:hotp", &[]),
            OktaCode::Rsa => self.is("token", &["RSA"]),
            OktaCode::Symantec => self.is("token", &["SYMANTEC"]),
            OktaCode::Yubikey => self.is("token:hardware", &["YUBICO"]),
        }
    }
}

impl OktaClient {
    /// The user of the claimant's name, and of no other.
    pub(super) async fn user(&self, attempt: &Attempt<'_>) -> Result<User, Stop> {
        let name = attempt.identity.0.as_str();
        let url = if may_be_login(name) { self.url(&["users", name]) } else { None };
        let Some(url) = url else {
            let said = "the name cannot be a login at Okta: it is me, an id, empty, or holds one of / \\ ? # ;";
            return Err(Stop::Denied(Refusal::MalformedName, said.into()));
        };
        let answer = self.send(attempt, Call::new(Method::GET, url)).await?;
        let value = answer::body(&answer, &[200], Asked::User)?;
        let (id, status) = (identifier(&value)?, answer::text(&value, "status")?);
        let login = answer::text(value.get("profile").unwrap_or(&Value::Null), "login")?;
        if !self.names(name, login) {
            let hint = match self.short_names {
                YesNo::No if part_before_at(login).is_some_and(|part| same(part, name)) => {
                    "; if names without a domain are meant to be theirs, set short_names = yes"
                }
                YesNo::No | YesNo::Yes => "",
            };
            let text = format!("Okta answers with the user {}, who is not the one asked for{hint}", Foreign(login));
            return Err(ClientError::communication("login_mismatch", text).into());
        }
        if status != "ACTIVE" {
            return Err(Stop::Denied(Refusal::Locked, format!("the user's status at Okta is {status}, not ACTIVE")));
        }
        Ok(User { id })
    }

    /// Whether `login` is who was asked for as `name`.
    fn names(&self, name: &str, login: &str) -> bool {
        match self.short_names {
            _ if same(name, login) => true,
            YesNo::Yes => !name.contains('@') && part_before_at(login).is_some_and(|part| same(part, name)),
            YesNo::No => false,
        }
    }

    /// What the user holds and can use.
    pub(super) async fn held(&self, attempt: &Attempt<'_>, user: &User) -> Result<Vec<Held>, Stop> {
        let url = self.known(&["users", &user.id, "factors"])?;
        let answer = self.send(attempt, Call::new(Method::GET, url)).await?;
        let value = answer::body(&answer, &[200], Asked::Facts)?;
        let factors = value.as_array().ok_or_else(|| ClientError::unexpected("the factors are not a list"))?;
        let mut held = Vec::new();
        for factor in factors {
            let kind = answer::text(factor, "factorType")?.to_owned();
            // Not every kind has one, and only some are looked at.
            let provider = factor.get("provider").and_then(Value::as_str).unwrap_or_default().to_owned();
            if answer::text(factor, "status")? == "ACTIVE" {
                held.push(Held { id: identifier(factor)?, kind, provider });
            }
        }
        Ok(held)
    }
}

/// Whether `name` may be put into an address as a login. Okta takes `me` for the token's owner, and ids for logins.
fn may_be_login(name: &str) -> bool {
    let is_id = name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("00u"))
        && name.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_path = name.contains(['/', '\\', '?', '#', ';']) || name.chars().any(char::is_control);
    !(name.trim().eq_ignore_ascii_case("me") || is_id || is_path)
}

/// Whether two names differ in case only.
fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn part_before_at(login: &str) -> Option<&str> {
    login.rsplit_once('@').map(|(part, _)| part)
}

/// The id of something that Okta named.
fn identifier(value: &Value) -> Result<String, ClientError> {
    let id = answer::text(value, "id")?;
    let fits = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if fits { Ok(id.to_owned()) } else { Err(ClientError::unexpected("an id is not what ids are made of")) }
}

/// What a code of `kind` is verified with. Of two authenticator apps it is Okta Verify; two codes would be one too many.
pub fn pick(held: &[Held], kind: OktaCode) -> Result<&Held, Stop> {
    let fitting = || held.iter().filter(|held| held.takes(kind));
    fitting()
        .find(|held| held.provider == "OKTA")
        .or_else(|| fitting().next())
        .ok_or_else(|| none_active(kind.word(), held))
}

pub fn none_active(wanted: &str, held: &[Held]) -> Stop {
    let kinds: Vec<_> = held.iter().map(|held| format!("{} {}", held.kind, held.provider)).collect();
    let found = if kinds.is_empty() { "none at all".to_owned() } else { kinds.join(", ") };
    Stop::Denied(Refusal::NoDevice, format!("the user has no active factor for {wanted}; active: {found}"))
}

//! What the placeholders of one request stand for, and what is kept between two requests.

use std::collections::BTreeMap;
use std::net::IpAddr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::super::ClientError;
use crate::domain::attempt::Attempt;
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{ClientState, STATE_LIMIT};
use crate::domain::secret::{Secret, SecretBytes, TypedCode};

/// What was taken out of earlier answers, by name. It may be all that it takes to answer in the subscriber's place.
pub type Captured = BTreeMap<String, Secret<String>>;

/// The shortest text that is looked for in what a service says.
pub const TELLING: usize = 4;

/// What the placeholders of one request stand for.
pub struct Facts<'a> {
    known: [(&'static str, String); 15],
    otp: Option<&'a TypedCode>,
    captured: &'a Captured,
}

impl<'a> Facts<'a> {
    /// The facts of a new request, with a uuid and a nonce of its own.
    ///
    /// # Errors
    /// Where there are no random numbers.
    pub fn new(attempt: &Attempt<'_>, captured: &'a Captured, otp: Option<&'a TypedCode>) -> Result<Self, ClientError> {
        let session = attempt.session;
        let shown = |text: &Option<String>| Foreign(text.as_deref().unwrap_or_default()).to_string();
        let client_ip = session.client_ip.as_deref().and_then(|address| address.trim().parse::<IpAddr>().ok());
        let target = attempt.context().into_iter().find_map(|(name, value)| (name == "to").then_some(value));
        let known = [
            ("user", attempt.identity.0.clone()),
            ("uuid", uuid(random()?)),
            ("nonce", nonce()?),
            ("client_ip", client_ip.map(|address| address.to_string()).unwrap_or_default()),
            ("protocol", shown(&session.protocol)),
            ("target", target.unwrap_or_default()),
            ("session_id", shown(&session.session_id)),
            ("connection_name", shown(&session.connection_name)),
            ("gateway_user", shown(&session.gateway_user)),
            ("gateway_groups", serde_json::to_string(&session.gateway_groups).unwrap_or_default()),
            ("server_ip", shown(&session.server_ip)),
            ("server_port", session.server_port.map(|port| port.to_string()).unwrap_or_default()),
            ("server_hostname", shown(&session.server_hostname)),
            ("server_username", shown(&session.server_username)),
            ("server_domain", shown(&session.server_domain)),
        ];
        Ok(Self { known, otp, captured })
    }

    /// What `name` stands for.
    pub fn value(&self, name: &str) -> Option<&str> {
        // Goes into a template of plugin.ini, which has the code and what was captured in bodies and paths only.
        let otp = || self.otp.filter(|_| name == "otp").map(|otp| otp.expose().as_str());
        let captured = || self.captured.get(name).map(|value| value.expose().as_str());
        let known = self.known.iter().find_map(|(known, value)| (*known == name).then_some(value.as_str()));
        known.or_else(otp).or_else(captured)
    }

    /// `text` of a service without what it must not give away again, made safe to show.
    pub fn masked(&self, text: &str) -> String {
        // Looked for, to be taken away.
        let secrets = self.otp.into_iter().chain(self.captured.values()).map(Secret::expose);
        let masked = secrets
            .filter(|secret| secret.chars().count() >= TELLING)
            .fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "…"));
        shown(&masked)
    }
}

/// `text` of a service, made safe to show, at most 200 characters of it.
pub fn shown(text: &str) -> String {
    Foreign(&text.chars().take(200).collect::<String>()).to_string()
}

fn random() -> Result<[u8; 16], ClientError> {
    let mut bytes = [0; 16];
    let none = |error| ClientError::Unusable(format!("the system gives no random numbers: {error}"));
    getrandom::fill(&mut bytes).map_err(none)?;
    Ok(bytes)
}

/// 128 random bits in hexadecimal.
///
/// # Errors
/// Where there are no random numbers.
pub fn nonce() -> Result<String, ClientError> {
    Ok(HEXLOWER.encode(&random()?))
}

/// A random UUID (RFC 9562, version 4).
fn uuid(random: [u8; 16]) -> String {
    let bits = u128::from_be_bytes(random) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let part = |shift: u32, digits: usize| format!("{:0digits$x}", bits >> shift & ((1 << (4 * digits)) - 1));
    [part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12)].join("-")
}

/// What an answer of the claimant belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// A code was asked.
    Asked,
    /// A push was sent.
    Pushed,
}

#[derive(Serialize)]
struct Kept<'a> {
    waiting: Waiting,
    captured: BTreeMap<&'a str, &'a str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    waiting: Waiting,
    captured: BTreeMap<String, String>,
}

/// The state that comes back with the claimant's answer.
///
/// # Errors
/// Where the service gave more than can be kept.
pub fn keep(waiting: Waiting, captured: &Captured) -> Result<ClientState, ClientError> {
    // Sealed in the store until it comes back.
    let captured = captured.iter().map(|(name, value)| (name.as_str(), value.expose().as_str())).collect();
    let text = serde_json::to_vec(&Kept { waiting, captured }).map(Zeroizing::new).ok();
    let state = text.filter(|text| text.len() <= STATE_LIMIT).map(|text| SecretBytes::new(text.to_vec()));
    state.ok_or_else(|| ClientError::unexpected("what is captured is too large to keep"))
}

/// What a state says; `None` where it is none of ours.
pub fn find(state: &ClientState) -> Option<(Waiting, Captured)> {
    // Ours: it was sealed meanwhile.
    let Found { waiting, captured } = serde_json::from_slice(state.expose()).ok()?;
    Some((waiting, captured.into_iter().map(|(name, value)| (name, Secret::new(value))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_that_it_is_random() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn a_state_comes_back_as_it_was_kept() {
        let captured = Captured::from([("txid".to_owned(), Secret::new("12\"3".to_owned()))]);
        let state = keep(Waiting::Pushed, &captured).unwrap();
        let (waiting, found) = find(&state).unwrap();
        assert_eq!((waiting, found["txid"].expose().as_str()), (Waiting::Pushed, "12\"3"));
        for text in ["", "{}", "[]", r#"{"waiting":"pushed"}"#, r#"{"waiting":"x","captured":{}}"#] {
            assert!(find(&SecretBytes::new(text.into())).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let captured = Captured::from([("a".to_owned(), Secret::new("x".repeat(STATE_LIMIT)))]);
        assert!(keep(Waiting::Asked, &captured).is_err());
    }
}

//! One-time passwords of YubiKeys, by the Yubico validation protocol 2.0.
//!
//! An OTP names a key, not a person: `[yubico_keys]` says whose key it is, and nobody is asked about another's. Then every
//! server is asked at once, under one nonce. Whichever says OK, and proves that it means this OTP and this nonce, decides;
//! anything else is decided when all have answered or the time is over.
//!
//! This protocol puts the OTP into the address. It stands in no error and in no log line.

mod protocol;

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::time::Instant;

use data_encoding::HEXLOWER;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::description::{Channel, Description, Kind, Matching, Sends};
use super::diagnosis::{Finding, Findings};
use super::http::{Answer, Call, Http, Method, header};
use super::{ClientError, LazySecret, MfaClient, Parts, Place, Push, Reply, refused};
use crate::config;
use crate::config::clients::YubicoKeys;
use crate::domain::attempt::Attempt;
use crate::domain::fault::Reach;
use crate::domain::outcome::{ClientState, Outcome, Refusal};
use crate::domain::secret::{Secret, TypedCode};
use crate::domain::time::UnixTime;
use crate::net::once;
use protocol::{ApiKey, Asked, Otp, REPLAYED_REQUEST};

/// The client of `[yubico]`.
pub struct YubicoClient {
    servers: Vec<Http>,
    client_id: u32,
    secret: LazySecret,
    key: OnceCell<ApiKey>,
    keys: YubicoKeys,
}

/// What a server, or all of them, came to.
type Found = Result<Outcome, ClientError>;

impl YubicoClient {
    /// A client of the servers that `options` names.
    pub fn new(options: &config::clients::Yubico, keys: &YubicoKeys, parts: &Parts<'_>) -> Self {
        let server = |url: &config::value::HttpUrl| Http::new(&url.0, &options.remote, parts.resolve());
        Self {
            servers: options.api_urls.0.iter().map(server).collect(),
            client_id: options.client_id.0,
            secret: parts.secret(&options.api_key),
            key: OnceCell::new(),
            keys: keys.clone(),
        }
    }

    fn key(&self) -> Result<&ApiKey, ClientError> {
        once(&self.key, || ApiKey::read(self.secret.get()?))
    }

    async fn verify(&self, attempt: &Attempt<'_>, typed: &TypedCode) -> Found {
        let Some(otp) = Otp::read(typed) else {
            return Ok(refused(
                Refusal::MalformedCode,
                "what was typed is not the 32 to 48 modhex characters of a YubiKey",
            ));
        };
        let Some(own) = self.keys.of(attempt.subscriber) else {
            return Ok(refused(Refusal::NotEnrolled, "[yubico_keys] names no key of this user"));
        };
        if !own.iter().any(|id| id == otp.public_id()) {
            return Ok(refused(Refusal::OtherUser, "the key is none of those that [yubico_keys] names for this user"));
        }
        let asked = self.asked(otp)?;
        let key = self.key()?;
        let until = attempt.moment.until();
        let mut open: FuturesUnordered<_> = self
            .servers
            .iter()
            .enumerate()
            .map(|(index, server)| {
                let asked = &asked;
                async move { (index, self.ask(server, asked, key, until).await) }
            })
            .collect();
        let mut found = Vec::with_capacity(self.servers.len());
        while let Some((index, said)) = open.next().await {
            if let Ok(verified @ Outcome::Verified(_)) = said {
                return Ok(verified);
            }
            found.push((index, said));
        }
        // The one that says most; of equals the first in plugin.ini, not the fastest.
        found.sort_by_key(|(index, said)| (Reverse(weight(said)), *index));
        let decisive = found.into_iter().next();
        decisive.map_or_else(|| Err(ClientError::Unusable("there is no server to ask".into())), |(_, said)| said)
    }

    /// The same question for every server.
    fn asked(&self, otp: Otp) -> Result<Asked, ClientError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| ClientError::Unusable(format!("no randomness: {error}")))?;
        Ok(Asked { client_id: self.client_id, otp, nonce: HEXLOWER.encode(&nonce) })
    }

    /// What one server says.
    async fn ask(&self, server: &Http, asked: &Asked, key: &ApiKey, until: Instant) -> Found {
        let said = self.send(server, asked, key, until).await.and_then(|answer| {
            let body = answer.text()?;
            protocol::judge(body, key, asked)
        });
        said.map_err(|error| self.at(server, error))
    }

    /// Asks one server, once: it may have used the OTP up before its answer was lost.
    async fn send(&self, server: &Http, asked: &Asked, key: &ApiKey, until: Instant) -> Result<Answer, ClientError> {
        let url = asked.address(server.base(), key)?;
        let call = Call::new(Method::GET, url).header(header::ACCEPT.as_str(), Secret::new("text/plain".into()));
        let answer = server.send(call, until).await?;
        if answer.status == 200 { Ok(answer) } else { Err(answer.unexpected()) }
    }

    /// The error, with the server's name where there are several.
    fn at(&self, server: &Http, error: ClientError) -> ClientError {
        if self.servers.len() < 2 {
            return error;
        }
        let name = name(server);
        error.map(|error| super::ServiceError { reason: format!("{name}: {}", error.reason), ..error })
    }

    async fn diagnose_all(&self, now: UnixTime, until: Instant) -> Vec<Finding> {
        let mut findings = Vec::new();
        for server in &self.servers {
            findings.extend(server.diagnose(now, until).await);
            if findings.iter().any(|finding| finding.result.is_err()) {
                return findings;
            }
            let name = name(server);
            match self.probe(server, until).await {
                Ok(()) => findings.push(Finding::well("credentials", format!("{name} knows this client by its key"))),
                Err(error) => {
                    let remedy = "compare client_id and api_key with what the server's operator gave out";
                    findings.push(Finding::error("credentials", &error, remedy));
                    return findings;
                }
            }
        }
        let (users, keys) = self.keys.count();
        findings.push(match users {
            0 => Finding::wrong("keys", "[yubico_keys] names nobody", "write a line for each user: user = id, id"),
            _ => Finding::well("keys", format!("[yubico_keys] names {users} users with {keys} keys")),
        });
        findings
    }

    /// Asks about a key that no server knows: whoever signs the answer knows this client, and its key.
    async fn probe(&self, server: &Http, until: Instant) -> Result<(), ClientError> {
        let (asked, key) = (self.asked(Otp::of_nobody())?, self.key()?);
        let answer = self.send(server, &asked, key, until).await?;
        let body = answer.text()?;
        protocol::judge(body, key, &asked)?;
        protocol::check_signature(body, key)
    }
}

/// How much an answer says of the OTP. That one server has seen the request already says nothing while another may know
/// more; and not to have been reached at all says least, since a door may be opened for it.
fn weight(said: &Found) -> u8 {
    match said {
        Ok(_) => 6,
        Err(ClientError::Communication(error)) if error.code == REPLAYED_REQUEST => 3,
        Err(ClientError::Communication(_)) => 4,
        Err(ClientError::Unreachable(error)) => match error.reach {
            Reach::Answered => 2,
            Reach::Sent => 1,
            Reach::NotSent => 0,
        },
        Err(
            ClientError::Unusable(_) | ClientError::Store(_) | ClientError::Seal(_) | ClientError::Authenticator(_),
        ) => 5,
    }
}

fn name(server: &Http) -> String {
    let url = server.base();
    match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    }
}

impl MfaClient for YubicoClient {
    fn section(&self) -> &'static str {
        "yubico"
    }

    fn place(&self) -> Place {
        Place::Remote
    }

    fn description(&self) -> Description<'_> {
        Description {
            title: "YubiKey",
            kind: Kind::Otp,
            channel: Channel::Key,
            sends: Sends::Nothing,
            matching: Matching::Nothing,
        }
    }

    fn push(&self) -> Push {
        Push::Unable
    }

    fn otp_authenticate<'a>(
        &'a self,
        attempt: &'a Attempt<'a>,
        otp: &'a TypedCode,
        _state: Option<&'a ClientState>,
    ) -> Reply<'a> {
        Box::pin(self.verify(attempt, otp))
    }

    fn diagnose(&self, now: UnixTime, until: Instant) -> Findings<'_> {
        Box::pin(self.diagnose_all(now, until))
    }
}

//! A sign-in with another device at an OpenID provider: the device flow (RFC 8628).
//!
//! The provider makes a code, the claimant types it at the provider's own page and signs in there, and the provider tells
//! who that was. Anybody may sign in there with an account of their own: only an id_token that the provider signed for this
//! client, just now, and that names the claimant, is a proof.

mod id_token;
mod provider;

use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::Value;
use url::Url;

use super::description::{Channel, Description, Kind, Matching, Sends};
use super::diagnosis::{Finding, Findings};
use super::http::{Answer, Body, Call, Http, Look, Method, header};
use super::{ClientError, Codes, LazySecret, MfaClient, Parts, Place, Push, Reply, refused};
use crate::clock;
use crate::config;
use crate::config::value::YesNo;
use crate::domain::attempt::{Attempt, Numbers};
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{ClientState, Denial, Factor, Outcome, Proof, Refusal};
use crate::domain::secret::{Secret, TypedCode};
use crate::domain::time::UnixTime;
use id_token::{Claims, Expected};
use provider::{Device, Flow, Links, Metadata};

/// What the provider must be asked for, to ask whether the code was used (RFC 8628, section 3.4).
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// By how much the provider wants to be asked more slowly, each time it says so (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// The client of `[oidc]`.
pub struct OidcClient {
    http: Http,
    links: Links,
    client_id: String,
    client_secret: Option<LazySecret>,
    claim: String,
    scope: String,
    require_amr: Vec<String>,
}

/// What came of one look at whether the code was used.
enum Redeemed {
    Pending,
    SlowDown,
    Refused(Outcome),
    IdToken(Secret<String>),
}

impl OidcClient {
    /// A client of the provider that `options` names.
    pub fn new(options: &config::clients::Oidc, parts: &Parts<'_>) -> Self {
        Self {
            http: Http::new(&options.issuer.0, &options.remote, parts.resolve()),
            links: match options.remote.allow_insecure_http {
                YesNo::Yes => Links::Insecure,
                YesNo::No => Links::HttpsOnly,
            },
            client_id: options.client_id.clone(),
            client_secret: options.client_secret.0.as_ref().map(|source| parts.secret(source)),
            claim: options.claim.clone(),
            scope: options.scope.clone(),
            require_amr: options.require_amr.0.clone(),
        }
    }

    async fn start(&self, attempt: &Attempt<'_>) -> Result<Outcome, ClientError> {
        match attempt.numbers {
            Numbers::Shown => {}
            Numbers::Unseen => {
                let reason = "the code for the sign-in cannot be shown over this protocol";
                return Ok(Outcome::Denied(Denial::PushOff { reason }));
            }
        }
        let until = attempt.moment.until();
        let provider = self.metadata(until).await?;
        let device = self.device(&provider, until).await?;
        let show = format!("Open {} and enter the code {}", device.verification_uri, device.user_code);
        let flow = Flow {
            token_endpoint: provider.token_endpoint,
            jwks_uri: provider.jwks_uri,
            device_code: device.device_code,
            interval: device.interval,
            started: attempt.moment.now,
            expires: attempt.moment.now.plus(device.expires_in),
        };
        Ok(Outcome::Pushed { show: Some(show), state: flow.state() })
    }

    async fn wait(&self, attempt: &Attempt<'_>, state: &ClientState) -> Result<Outcome, ClientError> {
        let Some(flow) = Flow::read(state, self.links) else { return Ok(Outcome::Denied(Denial::ChallengeGone)) };
        let until = attempt.moment.until();
        let lives = Duration::from_secs(flow.expires.since(clock::present(&attempt.moment)));
        if lives.is_zero() {
            return Ok(refused(Refusal::PushUnanswered, "nobody signed in before the code expired"));
        }
        let last_look = until.checked_sub(clock::left(until).saturating_sub(lives)).unwrap_or(until);
        let mut interval = Duration::from_secs(flow.interval);
        let found = self.http.poll(last_look, async || {
            Ok(match self.redeem(&flow, until).await? {
                Redeemed::Pending => Look::PendingFor(interval),
                Redeemed::SlowDown => {
                    interval = interval.saturating_add(SLOWER);
                    Look::PendingFor(interval)
                }
                Redeemed::Refused(outcome) => Look::Done(Err(outcome)),
                Redeemed::IdToken(token) => Look::Done(Ok(token)),
            })
        });
        let token = match found.await? {
            None => return Ok(refused(Refusal::PushUnanswered, "nobody signed in with the code in time")),
            Some(Err(outcome)) => return Ok(outcome),
            Some(Ok(token)) => token,
        };
        let came = clock::present(&attempt.moment);
        // The token comes once; that its keys do not come at once does not spoil it.
        let keys = self.http.poll(until, async || self.fetch(&flow.jwks_uri, until).await.map(Look::Done)).await?;
        let is_issuer = |text: &str| provider::is_issuer(self.http.base(), text);
        let expected = Expected { is_issuer: &is_issuer, client_id: &self.client_id, started: flow.started, came };
        let claims = id_token::verify(&token, &keys.unwrap_or_default(), &expected)?;
        self.identify(&claims, attempt)
    }

    /// Whether a proved token names the claimant. The one place that takes a sign-in for the claimant's.
    fn identify(&self, claims: &Claims, attempt: &Attempt<'_>) -> Result<Outcome, ClientError> {
        let (claim, name) = (&self.claim, &attempt.identity.0);
        let Some(said) = claims.text(claim) else {
            let text = format!(
                "the id_token has no claim {}: ask for it by scope, let the provider put it there, or name another",
                Foreign(claim)
            );
            return Err(ClientError::unexpected(text));
        };
        if !is_same(claim, said, name) {
            return Ok(refused(Refusal::OtherUser, &format!("{} signed in, who is somebody else", Foreign(said))));
        }
        if claim == "email" && !claims.email_may_be_verified() {
            let text = "the provider has not verified that the e-mail address is that of who signed in";
            return Ok(refused(Refusal::OtherUser, text));
        }
        if !self.require_amr.is_empty() && !claims.has_method(&self.require_amr) {
            let text = "the sign-in was not by one of the methods in require_amr (claims amr, acr)";
            return Ok(refused(Refusal::ServicePolicy, text));
        }
        let reason = format!("{} signed in with another device", Foreign(said));
        Ok(Outcome::Verified(Proof::new(Factor::DeviceFlow, reason)))
    }

    /// What the provider says of itself.
    async fn metadata(&self, until: Instant) -> Result<Metadata, ClientError> {
        let url = self.http.url(&[".well-known", "openid-configuration"]);
        let url = url.ok_or_else(|| ClientError::Unusable("[oidc] issuer: nothing can lie below it".into()))?;
        let json = self.fetch(&url, until).await?;
        Metadata::read(&json, self.http.base(), self.links)
    }

    async fn fetch(&self, url: &Url, until: Instant) -> Result<Value, ClientError> {
        let answer = self.http.send(Call::new(Method::GET, url.clone()), until).await?;
        if answer.status == 200 { answer.json() } else { Err(answer.unexpected()) }
    }

    /// Has the provider make a code (RFC 8628, section 3.1).
    async fn device(&self, provider: &Metadata, until: Instant) -> Result<Device, ClientError> {
        let fields = vec![("scope".to_owned(), Secret::new(self.scope.clone()))];
        let answer = self.http.send(self.call(&provider.device_authorization_endpoint, fields)?, until).await?;
        if answer.status == 200 {
            return Device::read(&answer.json()?, self.links);
        }
        Err(match said(&answer) {
            Some((error, description)) => refusal(&error, &description),
            None => answer.unexpected(),
        })
    }

    /// Looks whether the code was used (RFC 8628, sections 3.4 and 3.5).
    async fn redeem(&self, flow: &Flow, until: Instant) -> Result<Redeemed, ClientError> {
        let grant = Secret::new(GRANT.to_owned());
        let fields = vec![("grant_type".to_owned(), grant), ("device_code".to_owned(), flow.device_code.clone())];
        let answer = self.http.send(self.call(&flow.token_endpoint, fields)?, until).await?;
        if answer.status == 200 {
            let json = answer.json()?;
            let Some(token) = json.get("id_token").and_then(Value::as_str) else {
                let text = "the provider answered without an id_token: scope must hold openid";
                return Err(ClientError::unexpected(text));
            };
            return Ok(Redeemed::IdToken(Secret::new(token.to_owned())));
        }
        let Some((error, description)) = said(&answer) else { return Err(answer.unexpected()) };
        // Compared only: a description that repeats what we sent is left out.
        let is_safe = !description.contains(flow.device_code.expose().as_str());
        let description = if is_safe { description } else { String::new() };
        Ok(match error.as_str() {
            "authorization_pending" => Redeemed::Pending,
            "slow_down" => Redeemed::SlowDown,
            // The second is Entra ID's.
            "access_denied" | "authorization_declined" => Redeemed::Refused(refused(
                Refusal::PushRefused,
                &format!("the sign-in was refused at the provider ({error})"),
            )),
            "expired_token" => {
                Redeemed::Refused(refused(Refusal::PushUnanswered, "nobody signed in before the code expired"))
            }
            _ => return Err(refusal(&error, &description)),
        })
    }

    /// A request in this client's name: by its secret where it has one (`client_secret_basic`), else by its id.
    fn call(&self, url: &Url, mut fields: Vec<(String, Secret<String>)>) -> Result<Call, ClientError> {
        fields.push(("client_id".to_owned(), Secret::new(self.client_id.clone())));
        let call = Call::new(Method::POST, url.clone()).body(Body::Form(fields));
        let Some(secret) = &self.client_secret else { return Ok(call) };
        let escape = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        // Leaves in a header, over TLS (RFC 6749, section 2.3.1).
        let pair = Secret::new(format!("{}:{}", escape(&self.client_id), escape(secret.get()?.expose())));
        let value = Secret::new(format!("Basic {}", BASE64.encode(pair.expose().as_bytes())));
        Ok(call.header(header::AUTHORIZATION.as_str(), value))
    }

    async fn diagnose_all(&self, now: UnixTime, until: Instant) -> Vec<Finding> {
        let mut findings = self.http.diagnose(now, until).await;
        if findings.iter().any(|finding| finding.result.is_err()) {
            return findings;
        }
        let provider = match self.metadata(until).await {
            Ok(provider) => provider,
            Err(error) => {
                let remedy = "compare issuer with the provider's own spelling, and let it offer the device flow";
                findings.push(Finding::error("metadata", &error, remedy));
                return findings;
            }
        };
        let text =
            format!("the provider calls itself as plugin.ini does; tokens come from {}", provider.token_endpoint);
        findings.push(Finding::well("metadata", text));
        match self.fetch(&provider.jwks_uri, until).await.map(|keys| id_token::usable_keys(&keys)) {
            Ok(0) => {
                let remedy = "let the provider sign with RS256, PS256, ES256 or EdDSA, and publish the key";
                findings.push(Finding::wrong("keys", "the provider publishes no key that could be used", remedy));
                return findings;
            }
            Ok(count) => {
                findings.push(Finding::well("keys", format!("keys of the provider that can be used: {count}")))
            }
            Err(error) => {
                let remedy = "check that jwks_uri of the provider's metadata can be reached from here";
                findings.push(Finding::error("keys", &error, remedy));
                return findings;
            }
        }
        // Makes a code that nobody is told.
        findings.push(match self.device(&provider, until).await {
            Ok(device) => {
                let text = format!("this client may use the device flow: codes are entered at {}", device.verification_uri);
                Finding::well("credentials", text)
            }
            Err(error) => {
                let remedy = "compare client_id, client_secret and scope with the provider's registration of this client, \
                              and allow it the device flow there";
                Finding::error("credentials", &error, remedy)
            }
        });
        findings
    }
}

/// Whether the claim's value is the claimant's name: exactly, but for names like `alice@corp.example`, which no provider
/// tells apart by case. `sub` is an identifier that may differ in case alone (OpenID Connect Core 1.0, section 2).
fn is_same(claim: &str, said: &str, name: &str) -> bool {
    let is_address = |text: &str| text.matches('@').count() == 1;
    let folds = claim != "sub" && is_address(said) && is_address(name);
    !name.is_empty() && (said == name || (folds && said.eq_ignore_ascii_case(name)))
}

/// The error of an answer, and how it is described (RFC 6749, section 5.2). Providers send it with several statuses.
fn said(answer: &Answer) -> Option<(String, String)> {
    if !(400..=499).contains(&answer.status) {
        return None;
    }
    let json = answer.json().ok()?;
    let error = json.get("error")?.as_str()?.to_owned();
    let description = json.get("error_description").and_then(Value::as_str).unwrap_or_default();
    Some((error, description.to_owned()))
}

/// What an error of the provider is that has no meaning of its own here.
fn refusal(error: &str, description: &str) -> ClientError {
    let code = match error {
        "invalid_client" | "unauthorized_client" => "credentials_refused",
        _ => "unexpected_answer",
    };
    let text = match description {
        "" => format!("the provider said {}", Foreign(error)),
        _ => format!("the provider said {}: {}", Foreign(error), Foreign(description)),
    };
    ClientError::communication(code, text)
}

impl MfaClient for OidcClient {
    fn section(&self) -> &'static str {
        "oidc"
    }

    fn place(&self) -> Place {
        Place::Remote
    }

    fn description(&self) -> Description<'_> {
        Description {
            title: "Sign-in with another device",
            kind: Kind::OutOfBand,
            channel: Channel::Device,
            sends: Sends::Push,
            matching: Matching::Nothing,
        }
    }

    fn push(&self) -> Push {
        Push::Able
    }

    fn codes(&self) -> Codes {
        Codes::Unable
    }

    fn otp_authenticate<'a>(
        &'a self,
        _attempt: &'a Attempt<'a>,
        _otp: &'a TypedCode,
        _state: Option<&'a ClientState>,
    ) -> Reply<'a> {
        let text = "there is no code to type here: it is typed at the provider's page";
        Box::pin(async move { Ok(refused(Refusal::MalformedCode, text)) })
    }

    fn push_start<'a>(&'a self, attempt: &'a Attempt<'a>) -> Reply<'a> {
        Box::pin(self.start(attempt))
    }

    fn push_wait<'a>(&'a self, attempt: &'a Attempt<'a>, state: &'a ClientState) -> Reply<'a> {
        Box::pin(async { self.wait(attempt, state).await })
    }

    // A code that was made cannot be taken back; it expires, and nobody redeems it.

    fn diagnose(&self, now: UnixTime, until: Instant) -> Findings<'_> {
        Box::pin(self.diagnose_all(now, until))
    }
}

/// What a test is told of what was read: ok, or the code of the communication error.
#[cfg(test)]
fn told<T>(found: Result<T, ClientError>) -> &'static str {
    match found {
        Ok(_) => "ok",
        Err(ClientError::Communication(error)) => error.code,
        Err(error) => panic!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_compared_exactly_and_an_address_without_its_case() {
        for (claim, said, name, same) in [
            ("preferred_username", "alice", "alice", true),
            ("preferred_username", "Alice", "alice", false),
            ("preferred_username", "alice ", "alice", false),
            ("preferred_username", "", "", false),
            ("preferred_username", "alice@corp.example", "alice", false),
            ("preferred_username", "Alice@Corp.example", "alice@corp.example", true),
            ("email", "ALICE@CORP.EXAMPLE", "alice@corp.example", true),
            ("sub", "ALICE@CORP.EXAMPLE", "alice@corp.example", false),
            ("email", "JÜRGEN@corp.example", "jürgen@corp.example", false),
            ("email", "al\u{131}ce@corp.example", "alice@corp.example", false),
            ("email", "\"a@b\"@corp.example", "\"A@b\"@corp.example", false),
        ] {
            assert_eq!(is_same(claim, said, name), same, "{claim} {said} {name}");
        }
    }
}

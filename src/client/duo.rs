//! Duo, by its Auth API v2: push, phone calls, passcodes of every kind, and passcodes by text message.
//!
//! `preauth` comes first, and says what the user may do; `auth` starts it; `auth_status` answers when something happened.

mod answer;
mod api;
mod person;
mod sign;
mod typed;

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::description::{Channel, Description, Kind, Matching, Sends};
use super::diagnosis::{Finding, Findings};
use super::http::{Http, Look, Wait};
use super::{ClientError, MfaClient, Parts, Place, Push, Reply, refused};
use crate::clock;
use crate::config;
use crate::config::value::YesNo;
use crate::domain::attempt::{Attempt, Numbers};
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{ClientState, Denial, Factor as Proved, Outcome, Proof, Refusal};
use crate::domain::secret::{Secret, SecretBytes, TypedCode};
use crate::domain::time::{Moment, UnixTime};
use answer::{Device, Preauth, Standing, Status, Verified};
use api::{Api, BAD_PARAMETERS, Endpoint, Failure, Parameters};
use person::{describe, is_name, plain, who};
use typed::{Factor, Typed, Which, Wish};

/// How long the service may take to say that something happened, or that nothing did: a push ends after 60 s there.
const LONG_POLL: Duration = Duration::from_secs(70);

/// How long the service is left alone at most between two looks, where it asks for patience and does not say how much.
const MOST_PATIENCE: Duration = Duration::from_secs(32);

/// What is asked after a text message was sent.
const SENT: &str = "Passcode from the text message: ";

/// The client of `[duo]`.
pub struct DuoClient {
    api: Api,
    wish: Wish,
    device: String,
    allow_bypass: YesNo,
    verified_push: YesNo,
}

/// What comes back with the next answer.
enum State {
    /// A push or a call is on its way: the name of the transaction.
    Waiting(Secret<String>),
    /// A text message was sent.
    Sent,
}

/// What `preauth` leaves to do.
enum Allowed {
    Authenticate {
        devices: Vec<Device>,
        verified: Option<Verified>,
    },
    /// It decided already.
    Decided(Outcome),
}

impl DuoClient {
    /// The client that `section` describes.
    pub fn new(section: &config::clients::Duo, parts: &Parts<'_>) -> Self {
        let http = Http::new(&section.host.0.0, &section.remote, parts.resolve());
        Self {
            api: Api::new(http, parts.secret(&section.ikey), parts.secret(&section.skey), section.signature),
            wish: section.factor.into(),
            device: section.device.clone(),
            allow_bypass: section.allow_bypass,
            verified_push: section.verified_push,
        }
    }

    /// What the user may do, as far as the configuration agrees.
    async fn preauth(&self, attempt: &Attempt<'_>, numbers: Numbers) -> Result<Allowed, ClientError> {
        let mut parameters = who(attempt);
        match (self.verified_push, numbers) {
            (YesNo::Yes, Numbers::Shown) => parameters.push(("client_supports_verified_push", plain("1"))),
            (YesNo::Yes | YesNo::No, Numbers::Shown | Numbers::Unseen) => {}
        }
        let reply = self.api.call(&attempt.moment, Endpoint::Preauth, &parameters, Wait::Usual).await?.well()?;
        Ok(match Preauth::read(&reply)? {
            Preauth::Authenticate { devices, verified } => Allowed::Authenticate { devices, verified },
            Preauth::Allow { said } => Allowed::Decided(self.bypass(&said)),
            Preauth::Deny { said } => {
                Allowed::Decided(refused(Refusal::ServicePolicy, &format!("Duo denies the user access: {said}")))
            }
            Preauth::Enroll { said } => {
                let text = format!("Duo does not know the user, or they have no device there: {said}");
                Allowed::Decided(refused(Refusal::NotEnrolled, &text))
            }
        })
    }

    /// What it is where Duo lets a user in without a second factor.
    fn bypass(&self, said: &str) -> Outcome {
        match self.allow_bypass {
            YesNo::Yes => {
                let reason = format!("Duo lets this user in without a second factor: {}", Foreign(said));
                Outcome::Verified(Proof::new(Proved::Bypass, reason))
            }
            YesNo::No => {
                let text = format!("Duo lets this user in without a second factor, allow_bypass does not: {said}");
                refused(Refusal::ServicePolicy, &text)
            }
        }
    }

    /// Starts something on a device.
    async fn start(&self, attempt: &Attempt<'_>, wish: Wish, which: Which<'_>) -> Result<Outcome, ClientError> {
        if !is_name(&attempt.identity.0) {
            return Ok(malformed_name());
        }
        let (devices, verified) = match self.preauth(attempt, attempt.numbers).await? {
            Allowed::Authenticate { devices, verified } => (devices, verified),
            Allowed::Decided(outcome) => return Ok(outcome),
        };
        let chosen = match wish {
            Wish::One(factor) => typed::choose(&devices, which, factor).map(|device| (factor, device)),
            Wish::Any => {
                let first = |factor| typed::choose(&devices, which, factor).ok().map(|device| (factor, device));
                Factor::ALL.into_iter().find_map(first).ok_or_else(|| "no device of the user can be asked".into())
            }
        };
        let (factor, device) = match chosen {
            Ok(chosen) => chosen,
            Err(why) => return Ok(refused(Refusal::NoDevice, &why)),
        };
        let mut parameters = who(attempt);
        parameters.extend([("factor", plain(factor.word())), ("device", plain(&device))]);
        let mut show = None;
        match factor {
            Factor::Push => {
                parameters.push(("async", plain("1")));
                describe(attempt, &mut parameters);
                if let Some(Verified { txid, code }) = verified {
                    show = Some(format!("Enter the code {code} in Duo Mobile"));
                    parameters.push(("txid", txid));
                }
            }
            Factor::Phone => parameters.push(("async", plain("1"))),
            // It is sent at once.
            Factor::Sms => {}
        }
        let call = self.api.call(&attempt.moment, Endpoint::Auth, &parameters, Wait::Usual).await;
        let fields = call.and_then(api::Reply::well)?;
        if fields.contains_key("txid") && factor != Factor::Sms {
            return Ok(Outcome::Pushed { show, state: State::Waiting(answer::txid(&fields, "auth")?).pack() });
        }
        let status = Status::read(&fields, "auth")?;
        match status.result {
            Standing::Deny => self.denied(&status, Asked::Device),
            // Nobody has answered anything yet.
            Standing::Allow if status.status.as_deref() == Some("bypass") => Ok(self.bypass(&status.said)),
            Standing::Allow => Err(ClientError::unexpected("auth: allow where nobody was asked yet")),
            Standing::Waiting => Err(ClientError::unexpected("auth: waiting, but no txid to wait for")),
        }
    }

    /// Verifies a passcode; it is sent once.
    async fn passcode(&self, attempt: &Attempt<'_>, code: Secret<String>) -> Result<Outcome, ClientError> {
        if !is_name(&attempt.identity.0) {
            return Ok(malformed_name());
        }
        match self.preauth(attempt, Numbers::Unseen).await? {
            Allowed::Authenticate { devices: _, verified: _ } => {}
            Allowed::Decided(outcome) => return Ok(outcome),
        }
        let mut parameters = who(attempt);
        parameters.extend([("factor", plain("passcode")), ("passcode", code)]);
        let call = self.api.call(&attempt.moment, Endpoint::Auth, &parameters, Wait::Usual).await;
        let fields = call.and_then(api::Reply::well)?;
        let status = Status::read(&fields, "auth")?;
        match status.result {
            Standing::Allow => self.allowed(&status, Proved::Otp),
            Standing::Deny => self.denied(&status, Asked::Passcode),
            Standing::Waiting => {
                Err(ClientError::unexpected("auth: waiting, where a passcode is right or wrong at once"))
            }
        }
    }

    /// Waits until the transaction ends.
    async fn wait(&self, attempt: &Attempt<'_>, txid: Secret<String>) -> Result<Outcome, ClientError> {
        let until = attempt.moment.until();
        let parameters = vec![("txid", txid)];
        let refusals = Cell::new(0);
        let look = async || self.look(attempt, &parameters, &refusals).await;
        let Some(status) = self.api.http().poll(until, look).await? else {
            let seconds = attempt.moment.allowance.as_secs();
            return Ok(refused(Refusal::PushUnanswered, &format!("nobody answered on the device within {seconds} s")));
        };
        match status.result {
            Standing::Allow => self.allowed(&status, Proved::Push),
            Standing::Deny => self.denied(&status, Asked::Device),
            Standing::Waiting => Err(ClientError::unexpected("auth_status: waiting")),
        }
    }

    /// Looks once at how a transaction stands; the service answers when that changes.
    async fn look(
        &self,
        attempt: &Attempt<'_>,
        parameters: &Parameters,
        refusals: &Cell<u32>,
    ) -> Result<Look<Status>, ClientError> {
        let reply = self.api.call(&attempt.moment, Endpoint::AuthStatus, parameters, Wait::Long(LONG_POLL)).await;
        let fields = match reply {
            // The long poll ended, and nothing happened.
            Ok(api::Reply::Failed(Failure { code: BAD_PARAMETERS, error: _ })) => return Ok(Look::Pending),
            Ok(reply) => reply.well()?,
            Err(ClientError::Unreachable(error)) if matches!(error.code, "read_timeout" | "no_time") => {
                return Ok(Look::Pending);
            }
            Err(error) => return Err(patient(error, refusals)),
        };
        refusals.set(0);
        let status = Status::read(&fields, "auth_status")?;
        Ok(match status.result {
            Standing::Waiting => Look::Pending,
            Standing::Allow | Standing::Deny => Look::Done(status),
        })
    }

    /// What Duo's yes is. The one place where it becomes ours.
    fn allowed(&self, status: &Status, factor: Proved) -> Result<Outcome, ClientError> {
        match status.status.as_deref() {
            None | Some("allow") => {
                Ok(Outcome::Verified(Proof::new(factor, format!("Duo: {}", Foreign(&status.said)))))
            }
            Some("bypass") => Ok(self.bypass(&status.said)),
            Some(other) => Err(ClientError::unexpected(format!(
                "allow with the status {}, which is no reason for it",
                Foreign(other)
            ))),
        }
    }

    /// What Duo's no is.
    fn denied(&self, status: &Status, asked: Asked) -> Result<Outcome, ClientError> {
        let word = status.status.as_deref().unwrap_or("deny");
        let why = match (word, asked) {
            ("sent", Asked::Device | Asked::Passcode) => {
                return Ok(Outcome::Ask { prompt: SENT.to_owned().into(), state: State::Sent.pack() });
            }
            ("fraud", Asked::Device | Asked::Passcode) => Refusal::PushReported,
            ("timeout", Asked::Device | Asked::Passcode) => Refusal::PushUnanswered,
            ("locked_out", Asked::Device | Asked::Passcode) => Refusal::Locked,
            ("deny", Asked::Device) => Refusal::PushRefused,
            // There is no other word for it.
            ("deny", Asked::Passcode) if status.said.to_lowercase().contains("already been used") => Refusal::UsedCode,
            ("deny", Asked::Passcode) => Refusal::WrongCode,
            (_, Asked::Device | Asked::Passcode) => Refusal::ServicePolicy,
        };
        Ok(refused(why, &format!("Duo: {} ({word})", status.said)))
    }

    async fn findings(&self, now: UnixTime, until: Instant) -> Vec<Finding> {
        let mut findings = self.api.http().diagnose(now, until).await;
        // A clock that is wrong keeps nobody out: requests are signed by the service's.
        if findings.iter().any(|finding| finding.result.is_err() && finding.step != "time") {
            return findings;
        }
        let moment = Moment { now, millis: 0, deadline: until, allowance: clock::left(until) };
        if let Err(error) = self.api.ping(&moment).await {
            findings.push(Finding::error("request", &error, "check host: it is the API hostname of the application"));
            return findings;
        }
        findings.push(Finding::well("request", format!("Duo answers; {}", self.api.skew())));
        let check = self.api.call(&moment, Endpoint::Check, &Parameters::new(), Wait::Usual).await;
        findings.push(match check.and_then(api::Reply::well) {
            Ok(_) => Finding::well("credentials", "Duo takes the integration key, the secret key and the signature"),
            Err(error) => {
                let remedy = "copy the integration key and the secret key of an application of the type Auth API again";
                Finding::error("credentials", &error, remedy)
            }
        });
        findings
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Device,
    Passcode,
}

impl MfaClient for DuoClient {
    fn section(&self) -> &str {
        "duo"
    }

    fn place(&self) -> Place {
        Place::Remote
    }

    fn description(&self) -> Description<'_> {
        Description {
            title: "Duo",
            kind: Kind::OutOfBand,
            channel: Channel::Push,
            sends: Sends::Both,
            matching: match self.verified_push {
                YesNo::Yes => Matching::Number,
                YesNo::No => Matching::Nothing,
            },
        }
    }

    fn push(&self) -> Push {
        Push::Able
    }

    fn starts_push(&self, typed: &TypedCode) -> bool {
        // Looked at, and not kept.
        match typed::read(typed.expose()) {
            Some(Typed::Factor(Factor::Push | Factor::Phone, _)) => true,
            Some(Typed::Factor(Factor::Sms, _) | Typed::Passcode(_)) | None => false,
        }
    }

    fn otp_authenticate<'a>(
        &'a self,
        attempt: &'a Attempt<'a>,
        otp: &'a TypedCode,
        state: Option<&'a ClientState>,
    ) -> Reply<'a> {
        Box::pin(async move {
            if state.is_some_and(|state| State::unpack(state).is_none()) {
                return Ok(Outcome::Denied(Denial::ChallengeGone));
            }
            // Read here, and sent in a body only.
            match typed::read(otp.expose()) {
                Some(Typed::Passcode(code)) => self.passcode(attempt, code).await,
                Some(Typed::Factor(factor, number)) => {
                    let which = number.map_or_else(|| self.which(), Which::Number);
                    self.start(attempt, Wish::One(factor), which).await
                }
                None => {
                    let text = "what was typed is neither a passcode nor push, phone or sms";
                    Ok(refused(Refusal::MalformedCode, text))
                }
            }
        })
    }

    fn push_start<'a>(&'a self, attempt: &'a Attempt<'a>) -> Reply<'a> {
        Box::pin(self.start(attempt, self.wish, self.which()))
    }

    fn push_wait<'a>(&'a self, attempt: &'a Attempt<'a>, state: &'a ClientState) -> Reply<'a> {
        Box::pin(async move {
            match State::unpack(state) {
                Some(State::Waiting(txid)) => self.wait(attempt, txid).await,
                Some(State::Sent) | None => Ok(Outcome::Denied(Denial::ChallengeGone)),
            }
        })
    }

    fn diagnose(&self, now: UnixTime, until: Instant) -> Findings<'_> {
        Box::pin(self.findings(now, until))
    }
}

impl DuoClient {
    fn which(&self) -> Which<'_> {
        if self.device == "auto" { Which::Auto } else { Which::Named(&self.device) }
    }
}

impl State {
    fn pack(&self) -> ClientState {
        SecretBytes::new(match self {
            // Sealed before it is kept anywhere.
            Self::Waiting(txid) => [b"waiting:", txid.expose().as_bytes()].concat(),
            Self::Sent => b"sent".to_vec(),
        })
    }

    fn unpack(state: &ClientState) -> Option<Self> {
        // Stays in this process, but for the name of the transaction, which goes back to where it came from.
        let text = std::str::from_utf8(state.expose()).ok()?;
        match text.strip_prefix("waiting:") {
            Some(txid) => answer::is_txid(txid).then(|| Self::Waiting(Secret::new(txid.to_owned()))),
            None => (text == "sent").then_some(Self::Sent),
        }
    }
}

/// The same error; where the service asks for patience and does not say how much, it gets twice as much each time, and a
/// little more or less than others give.
fn patient(error: ClientError, refusals: &Cell<u32>) -> ClientError {
    let ClientError::Communication(service) = &error else { return error };
    if service.code != "rate_limited" || service.retry_after.is_some() {
        return error;
    }
    let seconds = Duration::from_secs(1 << refusals.get().min(5)).min(MOST_PATIENCE);
    refusals.set(refusals.get() + 1);
    let mut random = [0; 2];
    // Without chance all come back at once, which is no harm to anybody but the service.
    let _ = getrandom::fill(&mut random);
    error.retry_after(Some(seconds + Duration::from_millis(u64::from(u16::from_be_bytes(random)) % 1000)))
}

fn malformed_name() -> Outcome {
    refused(Refusal::MalformedName, "the name is empty, too long, or holds characters that are not seen")
}

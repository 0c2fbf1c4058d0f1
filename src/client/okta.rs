//! `[okta]`: Okta's Factors API. Looks the user up, picks one of their factors, and has Okta verify it: a code, or a push.
//!
//! The API token is an administrator's: it goes to addresses of the configured origin only, and what Okta answers about
//! somebody counts only where Okta names whom we asked for.

mod answer;
mod lookup;
mod typed;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use super::description::{Channel, Description, Kind, Matching, Sends};
use super::diagnosis::{Finding, Findings};
use super::http::{Answer, Body, Call, Http, Look, Method};
use super::{Chore, ClientError, LazySecret, MfaClient, Parts, Place, Push, Reply, refused};
use crate::clock;
use crate::config::clients;
use crate::config::value::{OktaCode, YesNo};
use crate::domain::attempt::{Attempt, Numbers};
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{ClientState, Denial, Outcome, Refusal};
use crate::domain::secret::{Secret, SecretBytes, TypedCode};
use crate::domain::time::UnixTime;
use answer::{Asked, Seen};
use lookup::{Held, User, none_active, pick};
use typed::{Delivery, Typed};

/// How long a number that was asked for may take to come.
const NUMBER: Duration = Duration::from_secs(3);

/// Asks Okta.
pub struct OktaClient {
    http: Http,
    token: LazySecret,
    default: OktaCode,
    number_challenge: YesNo,
    short_names: YesNo,
}

/// What ends a flow early: a denial, or a fault.
#[derive(Debug)]
enum Stop {
    Denied(Refusal, String),
    Failed(ClientError),
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        Self::Failed(error)
    }
}

/// The outcome of a flow, however it ended.
fn ended(flow: Result<Outcome, Stop>) -> Result<Outcome, ClientError> {
    match flow {
        Ok(outcome) => Ok(outcome),
        Err(Stop::Denied(why, said)) => Ok(refused(why, &said)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// What is kept until the claimant's next answer.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum State {
    /// A code was sent.
    Sent { kind: String, user: String, factor: String },
    /// A push was sent.
    Pushed { poll: String, cancel: Option<String> },
}

impl State {
    fn seal(&self) -> Result<ClientState, ClientError> {
        let bytes = serde_json::to_vec(self).map_err(|error| ClientError::Unusable(error.to_string()))?;
        Ok(SecretBytes::new(bytes))
    }

    /// `None` where it is none of ours, such as another version's.
    fn open(state: &ClientState) -> Option<Self> {
        // Read in memory only.
        serde_json::from_slice(state.expose()).ok()
    }
}

impl MfaClient for OktaClient {
    fn section(&self) -> &'static str {
        "okta"
    }

    fn place(&self) -> Place {
        Place::Remote
    }

    fn description(&self) -> Description<'_> {
        Description {
            title: "Okta",
            kind: Kind::OutOfBand,
            channel: Channel::Push,
            sends: Sends::Both,
            matching: match self.number_challenge {
                YesNo::Yes => Matching::Number,
                YesNo::No => Matching::Nothing,
            },
        }
    }

    fn push(&self) -> Push {
        Push::Able
    }

    fn otp_authenticate<'a>(
        &'a self,
        attempt: &'a Attempt<'a>,
        otp: &'a TypedCode,
        state: Option<&'a ClientState>,
    ) -> Reply<'a> {
        Box::pin(async move { ended(self.answer(attempt, otp, state).await) })
    }

    fn starts_push(&self, typed: &TypedCode) -> bool {
        // Only its words are looked at.
        let read = typed::read(typed.expose(), self.default);
        matches!(read, Ok(Typed::Push | Typed::Send(Delivery::Call)))
    }

    fn push_start<'a>(&'a self, attempt: &'a Attempt<'a>) -> Reply<'a> {
        Box::pin(async move { ended(self.start(attempt).await) })
    }

    fn push_wait<'a>(&'a self, attempt: &'a Attempt<'a>, state: &'a ClientState) -> Reply<'a> {
        Box::pin(async move {
            let Some(State::Pushed { poll, cancel: _ }) = State::open(state) else {
                return Ok(Outcome::Denied(Denial::ChallengeGone));
            };
            ended(self.wait(attempt, &poll).await)
        })
    }

    fn push_cancel<'a>(&'a self, attempt: &'a Attempt<'a>, state: &'a ClientState) -> Chore<'a> {
        Box::pin(async move {
            if let Some(State::Pushed { poll: _, cancel: Some(cancel) }) = State::open(state)
                && let Ok(cancel) = Url::parse(&cancel)
            {
                self.cancel(attempt, cancel).await;
            }
        })
    }

    fn diagnose(&self, now: UnixTime, until: Instant) -> Findings<'_> {
        Box::pin(async move {
            let mut findings = self.http.diagnose(now, until).await;
            if findings.iter().all(|finding| finding.result.is_ok()) {
                self.examine(&mut findings, until).await;
            }
            findings
        })
    }
}

impl OktaClient {
    /// The client that `section` describes. Reads nothing yet.
    pub fn new(section: &clients::Okta, parts: &Parts<'_>) -> Self {
        Self {
            http: Http::new(&section.api_url.0, &section.remote, parts.resolve()),
            token: parts.secret(&section.api_key),
            default: section.default_prefix,
            number_challenge: section.number_challenge,
            short_names: section.short_names,
        }
    }

    // ------------------------------------------------------------------------------------------------------ the flows

    /// What was typed: a code to verify, or a wish.
    async fn answer(
        &self,
        attempt: &Attempt<'_>,
        otp: &TypedCode,
        state: Option<&ClientState>,
    ) -> Result<Outcome, Stop> {
        let sent = match state.map(State::open) {
            Some(Some(State::Sent { kind, user, factor })) => OktaCode::named(&kind).map(|kind| (kind, user, factor)),
            // A code in place of a push is a code like any other.
            Some(Some(State::Pushed { poll: _, cancel: _ })) | None => None,
            Some(None) => return Ok(Outcome::Denied(Denial::ChallengeGone)),
        };
        let default = sent.as_ref().map_or(self.default, |(kind, _, _)| *kind);
        // Looked at here, and sent in a body only.
        let typed = typed::read(otp.expose(), default)
            .map_err(|expected| Stop::Denied(Refusal::MalformedCode, format!("what was typed is not {expected}")))?;
        match typed {
            Typed::Push => self.start(attempt).await,
            Typed::Send(delivery) => {
                let user = self.user(attempt).await?;
                let held = self.held(attempt, &user).await?;
                self.send_code(attempt, &user, &held, delivery).await
            }
            Typed::Code { kind, code } => match sent {
                Some((sent, user, factor)) if sent == kind => self.verify(attempt, &user, &factor, &code).await,
                Some(_) | None => {
                    let user = self.user(attempt).await?;
                    let held = self.held(attempt, &user).await?;
                    let factor = pick(&held, kind)?;
                    self.verify(attempt, &user.id, &factor.id, &code).await
                }
            },
        }
    }

    /// A push; or a code where that is the default and nothing can be pushed to.
    async fn start(&self, attempt: &Attempt<'_>) -> Result<Outcome, Stop> {
        let user = self.user(attempt).await?;
        let held = self.held(attempt, &user).await?;
        if let Some(factor) = held.iter().find(|held| held.is("push", &["OKTA"])) {
            return self.send_push(attempt, &user, factor).await;
        }
        match Delivery::of(self.default) {
            Some(delivery) => self.send_code(attempt, &user, &held, delivery).await,
            None => Err(none_active("Okta Verify with push", &held)),
        }
    }

    async fn verify(&self, attempt: &Attempt<'_>, user: &str, factor: &str, code: &TypedCode) -> Result<Outcome, Stop> {
        #[derive(Serialize)]
        struct Verify<'a> {
            #[serde(rename = "passCode")]
            code: &'a str,
        }
        // Leaves in the body, over TLS.
        let body = serde_json::to_string(&Verify { code: code.expose() });
        let body = body.map_err(|error| ClientError::Unusable(error.to_string()))?;
        let answer = self.ask(attempt, user, factor, Body::Json(Secret::new(body))).await?;
        answer::of_code(&answer)
    }

    async fn send_code(
        &self,
        attempt: &Attempt<'_>,
        user: &User,
        held: &[Held],
        delivery: Delivery,
    ) -> Result<Outcome, Stop> {
        let factor = pick(held, delivery.kind())?;
        let answer = self.ask(attempt, &user.id, &factor.id, Body::Json(Secret::new("{}".into()))).await?;
        answer::of_sending_code(&answer)?;
        let prompt = match delivery {
            Delivery::Sms => "Type the code that was sent to your phone: ",
            Delivery::Call => "Type the code that the call to your phone says: ",
            Delivery::Email => "Type the code that was sent by e-mail: ",
        };
        let state =
            State::Sent { kind: delivery.kind().word().into(), user: user.id.clone(), factor: factor.id.clone() };
        Ok(Outcome::Ask { prompt: prompt.to_owned().into(), state: state.seal()? })
    }

    async fn send_push(&self, attempt: &Attempt<'_>, user: &User, factor: &Held) -> Result<Outcome, Stop> {
        let wants_number = self.number_challenge == YesNo::Yes && attempt.numbers == Numbers::Shown;
        let body = if wants_number {
            Body::Json(Secret::new(json!({"useNumberMatchingChallenge": true}).to_string()))
        } else {
            Body::None
        };
        let answer = self.ask(attempt, &user.id, &factor.id, body).await?;
        let mut sent = answer::of_sending_push(&answer)?;
        self.check_origin("poll", &sent.poll)?;
        if let Some(cancel) = &sent.cancel {
            self.check_origin("cancel", cancel)?;
        }
        // A link that takes back anything but this push is none: it is followed with an administrator's token.
        let below = self.known(&["users", &user.id, "factors", &factor.id])?;
        sent.cancel = sent.cancel.filter(|cancel| is_below(cancel, &below));
        if wants_number && sent.number.is_none() {
            match self.number(attempt, &sent.poll).await {
                Some(Seen::Answered(outcome)) => return Ok(outcome),
                Some(Seen::Waiting(number)) => sent.number = number,
                None => {}
            }
        }
        let state = State::Pushed { poll: sent.poll.into(), cancel: sent.cancel.map(Into::into) };
        let show = sent.number.map(|number| format!("Choose the number {number} in Okta Verify"));
        Ok(Outcome::Pushed { show, state: state.seal()? })
    }

    /// The number of a push, which comes with a look at it where it did not come at once; or how it was answered meanwhile.
    /// Without a number, the phone asks yes or no.
    async fn number(&self, attempt: &Attempt<'_>, poll: &Url) -> Option<Seen> {
        let until = attempt.moment.until();
        let until = until.checked_sub(clock::left(until).saturating_sub(NUMBER)).unwrap_or(until);
        let look = async || {
            Ok(match self.look(poll, until).await? {
                Seen::Waiting(None) => Look::Pending,
                seen @ (Seen::Waiting(Some(_)) | Seen::Answered(_)) => Look::Done(seen),
            })
        };
        // What is wrong is said by the wait for the answer.
        self.http.poll(until, look).await.ok()?
    }

    async fn wait(&self, attempt: &Attempt<'_>, poll: &str) -> Result<Outcome, Stop> {
        let poll = Url::parse(poll).map_err(|_| ClientError::unexpected("the poll link is not an address"))?;
        self.check_origin("poll", &poll)?;
        let until = attempt.moment.until();
        let look = async || {
            Ok(match self.look(&poll, until).await? {
                Seen::Waiting(_) => Look::Pending,
                Seen::Answered(outcome) => Look::Done(outcome),
            })
        };
        match self.http.poll(until, look).await? {
            Some(outcome) => Ok(outcome),
            None => Err(Stop::Denied(Refusal::PushUnanswered, "the push was not answered in time".into())),
        }
    }

    /// One look at a push; how it was answered is final.
    async fn look(&self, poll: &Url, until: Instant) -> Result<Seen, ClientError> {
        let answer = self.send_until(until, Call::new(Method::GET, poll.clone())).await?;
        match answer::of_push(&answer) {
            Ok(seen) => Ok(seen),
            Err(Stop::Denied(why, said)) => Ok(Seen::Answered(refused(why, &said))),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    async fn cancel(&self, attempt: &Attempt<'_>, cancel: Url) {
        if self.http.is_origin_of(&cancel) {
            // Nobody waits for it, and a push that stays is over in minutes.
            let _ = self.send(attempt, Call::new(Method::DELETE, cancel)).await;
        }
    }

    /// Whether the token works, and for what.
    async fn examine(&self, findings: &mut Vec<Finding>, until: Instant) {
        let steps: [(&'static str, &[&str], &str, &str); 2] = [
            (
                "credentials",
                &["users", "me"],
                "Okta takes the API token",
                "make an API token at Okta (Security, API, Tokens) and write it into api_key",
            ),
            (
                "permissions",
                &["users", "me", "factors"],
                "its owner may list factors",
                "give the token's owner an administrator role that manages users, such as Group Administrator",
            ),
        ];
        for (step, segments, well, remedy) in steps {
            let look = async || -> Result<(), Stop> {
                let url = self.known(segments)?;
                let answer = self.send_until(until, Call::new(Method::GET, url)).await?;
                answer::body(&answer, &[200], Asked::Facts).map(drop)
            };
            match look().await {
                Ok(()) => findings.push(Finding::well(step, well)),
                Err(Stop::Denied(_, said)) => {
                    findings.push(Finding::wrong(step, said, remedy));
                    return;
                }
                Err(Stop::Failed(error)) => {
                    findings.push(Finding::error(step, &error, remedy));
                    return;
                }
            }
        }
    }

    // --------------------------------------------------------------------------------------------------- the requests

    /// An address of the API.
    fn url(&self, segments: &[&str]) -> Option<Url> {
        let api: &[&str] =
            if self.http.base().path().trim_end_matches('/').ends_with("/api/v1") { &[] } else { &["api", "v1"] };
        self.http.url(&[api, segments].concat())
    }

    /// An address of the API made of what Okta named.
    fn known(&self, segments: &[&str]) -> Result<Url, ClientError> {
        self.url(segments).ok_or_else(|| ClientError::unexpected("an id is no part of an address"))
    }

    /// Has a factor verified.
    async fn ask(&self, attempt: &Attempt<'_>, user: &str, factor: &str, body: Body) -> Result<Answer, ClientError> {
        let url = self.known(&["users", user, "factors", factor, "verify"])?;
        let mut call = Call::new(Method::POST, url).body(body);
        // Okta shows it with a push, and judges by it.
        if let Some(Ok(address)) = attempt.session.client_ip.as_deref().map(str::parse::<IpAddr>) {
            call = call.header("x-forwarded-for", Secret::new(address.to_string()));
        }
        self.send(attempt, call).await
    }

    async fn send(&self, attempt: &Attempt<'_>, call: Call) -> Result<Answer, ClientError> {
        self.send_until(attempt.moment.until(), call).await
    }

    /// Sends with the token: the one place.
    async fn send_until(&self, until: Instant, call: Call) -> Result<Answer, ClientError> {
        self.check_origin("requested", &call.url)?;
        // Leaves in a header, to the configured origin only.
        let token = Secret::new(format!("SSWS {}", self.token.get()?.expose()));
        self.http.send(call.header("authorization", token), until).await
    }

    /// # Errors
    /// Where `url` is elsewhere: the token would go there.
    fn check_origin(&self, name: &str, url: &Url) -> Result<(), ClientError> {
        if self.http.is_origin_of(url) {
            return Ok(());
        }
        // Not the whole address: it names the transaction.
        let (found, expected) = (url.origin().ascii_serialization(), self.http.base().origin().ascii_serialization());
        let user = if url.username().is_empty() && url.password().is_none() { "" } else { " with a user name" };
        let text = format!(
            "the {name} link leads to {}{user} and not to {expected}, where alone the API token goes; api_url must be \
             the address by which Okta knows itself",
            Foreign(&found)
        );
        Err(ClientError::communication("foreign_link", text))
    }
}

/// Whether `url` lies below `above`, and is nothing but a path of plain words there.
fn is_below(url: &Url, above: &Url) -> bool {
    let rest = url.path().strip_prefix(above.path()).and_then(|rest| rest.strip_prefix('/'));
    let is_plain = |rest: &str| rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
    rest.is_some_and(|rest| !rest.is_empty() && is_plain(rest)) && url.query().is_none() && url.fragment().is_none()
}

//! `[http NAME]`: any HTTP service, as plugin.ini describes it.
//!
//! An accept needs a success rule of a step that may accept, met by values of the right type in an answer that was read
//! strictly. Whatever meets no rule is a communication error. A service that decides itself has no rules.

mod call;
mod credentials;
mod decide;
mod facts;
mod judge;
mod verdict;

use std::time::{Duration, Instant};

use super::description::{Channel, Description, Kind, Matching, Sends};
use super::diagnosis::{Finding, Findings};
use super::http::{Answer, Call, Http, Look, Method, Wait};
use super::{Chore, ClientError, Codes, MfaClient, Parts, Place, Push, Reply, refused};
use crate::clock;
use crate::config::http::request::Target;
use crate::config::http::template::Template;
use crate::config::http::{HttpService, ResponseForm, Step, StepName};
use crate::domain::attempt::Attempt;
use crate::domain::outcome::{ClientState, Denial, Factor, Outcome, Proof, Refusal};
use crate::domain::secret::TypedCode;
use crate::domain::time::{Moment, UnixTime};
use credentials::Credentials;
use facts::{Captured, Facts, Waiting};
use judge::{Judge, Meaning};

/// The client of `[http NAME]`.
pub struct GenericClient {
    section: String,
    service: HttpService,
    http: Http,
    credentials: Credentials,
}

/// What came of a step.
enum Heard {
    Success(Captured),
    Pending { captured: Captured, show: Option<String> },
    Denied(Denial),
}

/// Why there is no request.
enum Obstacle {
    /// The name cannot stand where it would have to.
    Name,
    /// What it would need was never captured.
    Gone,
    Error(ClientError),
}

impl From<ClientError> for Obstacle {
    fn from(error: ClientError) -> Self {
        Self::Error(error)
    }
}

/// The question for a code, where the section has none.
const QUESTION: &str = "Enter the one-time password:";

impl GenericClient {
    /// A client of the service that `section` describes.
    pub fn new(section: String, service: &HttpService, parts: &Parts<'_>) -> Self {
        let http = Http::new(&service.url.0, &service.remote, parts.resolve());
        Self { section, service: service.clone(), http, credentials: Credentials::new(service, parts) }
    }

    fn has(&self, step: StepName) -> bool {
        self.service.steps.contains_key(&step)
    }

    /// Sends the request of a step and judges the answer.
    async fn ask(
        &self,
        name: StepName,
        attempt: &Attempt<'_>,
        captured: &Captured,
        otp: Option<&TypedCode>,
    ) -> Result<Heard, ClientError> {
        let Some(step) = self.service.steps.get(&name) else {
            return Err(ClientError::Unusable(format!("there is no step {}", name.word())));
        };
        let (answer, facts) = match self.exchange(name, step, attempt, captured, otp).await {
            Ok(exchanged) => exchanged,
            Err(obstacle) => return denied(obstacle).map(Heard::Denied),
        };
        let judge = Judge {
            section: &self.section,
            name,
            step,
            form: self.service.response,
            facts: &facts,
            captured,
            http: &self.http,
            are_credentials_given: self.credentials.are_given(),
        };
        Ok(match judge.judge(&answer)? {
            Meaning::Success(captured) => Heard::Success(captured),
            Meaning::Pending(captured) => {
                let show = step.show.0.as_ref().and_then(|show| self.show(show, attempt, &captured));
                Heard::Pending { captured, show }
            }
            Meaning::Refused { why, said } => Heard::Denied(Denial::refused(why, &said)),
        })
    }

    /// Sends the request of a step. It is sent once; a second time only where the service did not take the token, and
    /// nothing in it is used up by being sent.
    async fn exchange<'f>(
        &self,
        name: StepName,
        step: &Step,
        attempt: &Attempt<'_>,
        captured: &'f Captured,
        otp: Option<&'f TypedCode>,
    ) -> Result<(Answer, Facts<'f>), Obstacle> {
        // All of a push, where the service decides: it answers when the subscriber does.
        let is_push = name == StepName::PushStart && self.service.response == ResponseForm::Verdict;
        let wait = || if is_push { Wait::Long(clock::left(attempt.moment.until())) } else { Wait::Usual };
        let facts = Facts::new(attempt, captured, otp)?;
        let answer = self.send(step, wait(), attempt.moment, &facts).await?;
        if answer.status != 401 || !self.credentials.are_renewable() {
            return Ok((answer, facts));
        }
        self.credentials.forget_token();
        if otp.is_some() || name == StepName::Finalize {
            let text = "status 401: the service did not take the token; the next request gets a new one, this one is not \
                        sent twice";
            return Err(ClientError::communication("credentials_refused", text).into());
        }
        let facts = Facts::new(attempt, captured, otp)?;
        let answer = self.send(step, wait(), attempt.moment, &facts).await?;
        Ok((answer, facts))
    }

    /// What the claimant sees; `None` where a part of it was not given.
    fn show(&self, show: &Template, attempt: &Attempt<'_>, captured: &Captured) -> Option<String> {
        let facts = Facts::new(attempt, captured, None).ok()?;
        let text = show.fill(|name| facts.value(name))?;
        Some(facts::shown(text.trim())).filter(|text| !text.is_empty())
    }

    async fn send(&self, step: &Step, wait: Wait, moment: Moment, facts: &Facts<'_>) -> Result<Answer, Obstacle> {
        let until = moment.until();
        let call = self.call(step, facts)?.wait(wait);
        let call = self.credentials.sign(&self.http, call, moment, until).await?;
        Ok(self.http.send(call, until).await?)
    }

    async fn verify(
        &self,
        attempt: &Attempt<'_>,
        otp: &TypedCode,
        state: Option<&ClientState>,
    ) -> Result<Outcome, ClientError> {
        if self.service.response == ResponseForm::Verdict {
            return self.decide_code(attempt, otp, state).await;
        }
        // Looked at only.
        if !self.service.code.fits(otp.expose()) {
            return Ok(refused(Refusal::MalformedCode, "what was typed is not what code in the section expects"));
        }
        let (name, captured) = match state.map(facts::find) {
            None | Some(Some((Waiting::Pushed, _))) => (StepName::Otp, Captured::new()),
            Some(Some((Waiting::Asked, captured))) if self.has(StepName::Answer) => (StepName::Answer, captured),
            Some(Some((Waiting::Asked, _))) => (StepName::Otp, Captured::new()),
            Some(None) => return Ok(Outcome::Denied(Denial::ChallengeGone)),
        };
        if !self.has(name) {
            let said = "the service takes a code only in answer to its own question: press Enter first";
            return Ok(refused(Refusal::ServicePolicy, said));
        }
        match self.ask(name, attempt, &captured, Some(otp)).await? {
            Heard::Success(_) => Ok(verified(Factor::Otp)),
            Heard::Pending { captured, show } => question(show, &captured),
            Heard::Denied(denial) => Ok(Outcome::Denied(denial)),
        }
    }

    async fn start(&self, attempt: &Attempt<'_>) -> Result<Outcome, ClientError> {
        if self.service.response == ResponseForm::Verdict {
            return self.decide_push(attempt).await;
        }
        let first = if self.has(StepName::PushStart) { StepName::PushStart } else { StepName::OtpStart };
        let (captured, show) = match self.begin(first, attempt, &Captured::new()).await? {
            Ok(begun) => begun,
            Err(denial) => return Ok(Outcome::Denied(denial)),
        };
        if first == StepName::OtpStart {
            return question(show, &captured);
        }
        let (captured, show) = if self.has(StepName::PushSend) {
            match self.begin(StepName::PushSend, attempt, &captured).await? {
                Ok((captured, later)) => (captured, later.or(show)),
                Err(denial) => return Ok(Outcome::Denied(denial)),
            }
        } else {
            (captured, show)
        };
        let show =
            show.map(|show| show.trim_end_matches(['.', '!', ':', ' ']).to_owned()).filter(|show| !show.is_empty());
        Ok(Outcome::Pushed { show, state: facts::keep(Waiting::Pushed, &captured)? })
    }

    /// A step after which something is to come.
    async fn begin(
        &self,
        name: StepName,
        attempt: &Attempt<'_>,
        captured: &Captured,
    ) -> Result<Result<(Captured, Option<String>), Denial>, ClientError> {
        match self.ask(name, attempt, captured, None).await? {
            Heard::Pending { captured, show } => Ok(Ok((captured, show))),
            Heard::Denied(denial) => Ok(Err(denial)),
            // Such a step has no rule for it.
            Heard::Success(_) => Err(unexpected(name)),
        }
    }

    async fn wait(&self, attempt: &Attempt<'_>, state: &ClientState) -> Result<Outcome, ClientError> {
        let Some((Waiting::Pushed, mut captured)) = facts::find(state) else {
            return Ok(Outcome::Denied(Denial::ChallengeGone));
        };
        let looked = self.http.poll(attempt.moment.until(), async || {
            Ok(match self.ask(StepName::PushPoll, attempt, &captured, None).await? {
                // What the service says anew is what it wants to hear next time.
                Heard::Pending { captured: newer, show: _ } => {
                    captured = newer;
                    Look::Pending
                }
                Heard::Success(captured) => Look::Done(Ok(captured)),
                Heard::Denied(denial) => Look::Done(Err(denial)),
            })
        });
        let captured = match looked.await? {
            None => {
                return Ok(refused(Refusal::PushUnanswered, "nobody answered the push within the time of the verdict"));
            }
            Some(Err(denial)) => return Ok(Outcome::Denied(denial)),
            Some(Ok(captured)) => captured,
        };
        if !self.has(StepName::Finalize) {
            return Ok(verified(Factor::Push));
        }
        match self.ask(StepName::Finalize, attempt, &captured, None).await? {
            Heard::Success(_) => Ok(verified(Factor::Push)),
            Heard::Denied(denial) => Ok(Outcome::Denied(denial)),
            Heard::Pending { captured: _, show: _ } => Err(unexpected(StepName::Finalize)),
        }
    }

    async fn take_back(&self, attempt: &Attempt<'_>, state: &ClientState) {
        let Some(step) = self.service.steps.get(&StepName::Cancel) else { return };
        let Some((Waiting::Pushed, captured)) = facts::find(state) else { return };
        if let Ok(facts) = Facts::new(attempt, &captured, None) {
            // Nobody waits for it, and the push ends by itself.
            let _ = self.send(step, Wait::Usual, attempt.moment, &facts).await;
        }
    }

    async fn findings(&self, now: UnixTime, until: Instant) -> Vec<Finding> {
        let mut findings = self.http.diagnose(now, until).await;
        if findings.iter().any(|finding| finding.result.is_err()) {
            return findings;
        }
        let allowance = clock::left(until).max(Duration::from_millis(1));
        let moment = Moment { now, millis: 0, deadline: until, allowance };
        let health = self.service.health.0.as_ref().map(|health| &health.0.target);
        let url = match health {
            Some(Target::Path { segments, slash: _ }) => {
                let texts: Vec<&str> = segments.iter().flat_map(Template::texts).collect();
                self.http.url(&texts)
            }
            Some(Target::Link(_)) | None => None,
        };
        let call = Call::new(Method::GET, url.clone().unwrap_or_else(|| self.http.base().clone()));
        let remedy = "check auth, auth_user, auth_secret and what else goes with them";
        let call = match self.credentials.sign(&self.http, call, moment, until).await {
            Ok(call) => call,
            Err(error) => {
                findings.push(Finding::error("credentials", &error, remedy));
                return findings;
            }
        };
        findings.push(Finding::well("credentials", format!("auth = {}", self.service.auth.word())));
        if url.is_none() {
            let text = "none was made: health in the section names no path that could be asked without harm";
            findings.push(Finding::well("request", text));
            return findings;
        }
        findings.push(match self.http.send(call, until).await {
            Ok(answer) if (200..=299).contains(&answer.status) => {
                Finding::well("request", format!("health: status {}", answer.status))
            }
            Ok(answer) if matches!(answer.status, 401 | 403) => {
                Finding::wrong("permissions", format!("health: status {}", answer.status), remedy)
            }
            Ok(answer) => Finding::error("request", &answer.unexpected(), "check health, and the service's own log"),
            Err(error) => Finding::error("request", &error, "check health, and the service's own log"),
        });
        findings
    }
}

/// The one outcome that lets anybody in.
fn verified(factor: Factor) -> Outcome {
    Outcome::Verified(Proof::new(factor, "verified"))
}

fn question(show: Option<String>, captured: &Captured) -> Result<Outcome, ClientError> {
    let state = facts::keep(Waiting::Asked, captured)?;
    Ok(Outcome::Ask { prompt: show.unwrap_or_else(|| QUESTION.to_owned()).into(), state })
}

fn denied(obstacle: Obstacle) -> Result<Denial, ClientError> {
    match obstacle {
        Obstacle::Name => {
            let said = "the name cannot be part of an address; nobody was asked";
            Ok(Denial::refused(Refusal::MalformedName, said))
        }
        Obstacle::Gone => Ok(Denial::ChallengeGone),
        Obstacle::Error(error) => Err(error),
    }
}

fn unexpected(step: StepName) -> ClientError {
    ClientError::unexpected(format!("{} ended in what it cannot end in", step.word()))
}

impl MfaClient for GenericClient {
    fn section(&self) -> &str {
        &self.section
    }

    fn place(&self) -> Place {
        Place::Remote
    }

    fn description(&self) -> Description<'_> {
        let (starts, shows) = ([StepName::PushStart, StepName::PushSend], |step: &Step| step.show.0.is_some());
        let is_shown = starts.iter().any(|step| self.service.steps.get(step).is_some_and(shows));
        let (kind, channel, sends) = match (self.has(StepName::PushStart), self.has(StepName::OtpStart)) {
            (true, _) if self.codes() == Codes::Unable => (Kind::OutOfBand, Channel::Push, Sends::Push),
            (true, _) => (Kind::Otp, Channel::Service, Sends::Push),
            (false, true) => (Kind::OutOfBand, Channel::Service, Sends::Code),
            (false, false) => (Kind::Otp, Channel::Service, Sends::Nothing),
        };
        Description {
            title: self.section.strip_prefix("http ").unwrap_or(&self.section),
            kind,
            channel,
            sends,
            matching: if is_shown { Matching::Number } else { Matching::Nothing },
        }
    }

    /// Also where only a code can be sent: that is what is done where none was typed.
    fn push(&self) -> Push {
        if self.has(StepName::PushStart) || self.has(StepName::OtpStart) { Push::Able } else { Push::Unable }
    }

    fn codes(&self) -> Codes {
        if self.has(StepName::Otp) || self.has(StepName::Answer) { Codes::Able } else { Codes::Unable }
    }

    fn otp_authenticate<'a>(
        &'a self,
        attempt: &'a Attempt<'a>,
        otp: &'a TypedCode,
        state: Option<&'a ClientState>,
    ) -> Reply<'a> {
        Box::pin(self.verify(attempt, otp, state))
    }

    fn push_start<'a>(&'a self, attempt: &'a Attempt<'a>) -> Reply<'a> {
        Box::pin(self.start(attempt))
    }

    fn push_wait<'a>(&'a self, attempt: &'a Attempt<'a>, state: &'a ClientState) -> Reply<'a> {
        Box::pin(self.wait(attempt, state))
    }

    fn push_cancel<'a>(&'a self, attempt: &'a Attempt<'a>, state: &'a ClientState) -> Chore<'a> {
        Box::pin(self.take_back(attempt, state))
    }

    fn authorizes(&self) -> bool {
        self.has(StepName::Authorize)
    }

    fn authorize<'a>(
        &'a self,
        attempt: &'a Attempt<'a>,
        answered: Option<&'a TypedCode>,
        state: Option<&'a ClientState>,
    ) -> Reply<'a> {
        Box::pin(self.decide_session(attempt, answered, state))
    }

    fn diagnose(&self, now: UnixTime, until: Instant) -> Findings<'_> {
        Box::pin(self.findings(now, until))
    }
}

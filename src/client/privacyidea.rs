//! privacyIDEA and eduMFA: one-time passwords with or without a PIN, challenges of several kinds, and push.
//!
//! Source: privacyIDEA 3.14, `doc/modules/api/validate.rst` and its recorded answers. Only `/validate/check` proves
//! anything; a push that was answered on the phone is a proof only after that has been asked once more, which works once.

mod account;
mod answer;
mod challenge;
mod diagnose;
#[cfg(test)]
mod recorded;
mod server;
mod signature;

use std::net::IpAddr;
use std::time::Instant;

use super::description::{Channel, Description, Kind, Matching, Sends};
use super::diagnosis::Findings;
use super::http::{Body, Call, Http, Look, Method, Wait};
use super::{Chore, ClientError, MfaClient, Parts, Place, Push, Reply, refused};
use crate::clock;
use crate::config::clients::Privacyidea;
use crate::config::value::{Flavour, YesNo};
use crate::domain::attempt::Attempt;
use crate::domain::claimant::NAME_LIMIT;
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{ClientState, Denial, Factor, Outcome, Proof, Refusal};
use crate::domain::secret::{Secret, TypedCode};
use crate::domain::time::UnixTime;
use account::Account;
use answer::{Accepted, Checked, No, Polled, Triggered};
use challenge::{State, is_push};
use server::Server;
use signature::ResponseKey;

/// The longest code that is sent, in bytes: a PIN may be a sentence.
const CODE_LIMIT: usize = 512;

/// The client of `[privacyidea]`.
pub struct PrivacyideaClient {
    server: Server,
    account: Option<Account>,
    realm: Option<String>,
    flavour: Flavour,
    declined_is_report: YesNo,
    require_token_serial: YesNo,
}

/// The parameters of a request.
type Form = Vec<(String, Secret<String>)>;

/// What is asked of `/validate/check`.
enum Question<'a> {
    /// Whether this code, alone or behind a PIN, is right.
    Code(&'a TypedCode),
    /// Whether this is the answer to what was asked.
    Answer(&'a TypedCode, &'a State),
    /// Whether there is a challenge for somebody who typed nothing. The server may wait for the phone itself.
    Nothing,
    /// Whether the phone's answer holds. Works once.
    Finish(&'a State),
}

impl PrivacyideaClient {
    /// The client of the section `options`.
    pub fn new(options: &Privacyidea, parts: &Parts<'_>) -> Self {
        let resolve = parts.resolve();
        let account = options.service_user.0.as_ref().zip(options.service_password.0.as_ref());
        Self {
            server: Server {
                http: Http::new(&options.url.0, &options.remote, &resolve),
                response_key: options.signature_key.0.as_deref().map(|path| ResponseKey::new(resolve(path))),
                validate_key: options.validate_key.0.as_ref().map(|key| parts.secret(key)),
            },
            account: account.map(|(user, password)| Account::new(user, parts.secret(password))),
            realm: options.realm.0.clone(),
            flavour: options.flavour,
            declined_is_report: options.declined_is_report,
            require_token_serial: options.require_token_serial,
        }
    }

    /// The parameters that say who it is about; `None` where nobody can be called so.
    fn claimant(&self, attempt: &Attempt<'_>) -> Option<Form> {
        let name = &attempt.identity.0;
        if name.trim().is_empty() || name.len() > NAME_LIMIT || name.chars().any(char::is_control) {
            return None;
        }
        let mut form = vec![("user".to_owned(), Secret::new(name.clone()))];
        if let Some(realm) = &self.realm {
            form.push(("realm".into(), Secret::new(realm.clone())));
        }
        // For the text of the push and for rules, where the server takes our word for it.
        if let Some(ip) = attempt.session.client_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()) {
            form.push(("client".into(), Secret::new(ip.to_string())));
        }
        Some(form)
    }

    /// Asks `/validate/check`, the one place where anybody is let in.
    async fn check(&self, attempt: &Attempt<'_>, question: Question<'_>) -> Result<Outcome, ClientError> {
        let Some(mut form) = self.claimant(attempt) else { return Ok(no_such_name()) };
        let until = attempt.moment.until();
        let (pass, state, wait) = match question {
            Question::Code(code) => (code.clone(), None, Wait::Usual),
            Question::Answer(code, state) => (code.clone(), Some(state), Wait::Usual),
            Question::Nothing => (Secret::new(String::new()), None, Wait::Long(clock::left(until))),
            Question::Finish(state) => (Secret::new(String::new()), Some(state), Wait::Usual),
        };
        form.push(("pass".into(), pass));
        if let Some(state) = state {
            form.push(("transaction_id".into(), Secret::new(state.transaction.clone())));
        }
        let url = self.server.url(&["validate", "check"])?;
        let call = self.server.with_key(Call::new(Method::POST, url).body(Body::Form(form)).wait(wait))?;
        let (status, body) = self.server.ask(call, until).await?;
        match answer::check(status, &body)? {
            Checked::Accepted(accepted) => self.accept(&question, accepted),
            Checked::Challenged(challenge) => challenge.outcome(attempt.numbers),
            Checked::Refused { no, kind } => Ok(self.refuse(&question, no, kind.as_deref())),
        }
    }

    /// What an accept of the server is worth: the one place where this client verifies anybody.
    fn accept(&self, question: &Question<'_>, accepted: Accepted) -> Result<Outcome, ClientError> {
        let is_hidden = accepted == Accepted::Hidden;
        let (serial, kind, said) = match accepted {
            Accepted::Token { serial, kind, said } => (Some(serial), kind, said),
            Accepted::NoToken { said } if self.require_token_serial == YesNo::Yes => {
                let said = format!("the server accepts without a token, which require_token_serial forbids: {said}");
                return Ok(refused(Refusal::ServicePolicy, &said));
            }
            Accepted::Hidden if self.require_token_serial == YesNo::Yes => {
                let what = "an accept without details; the server's policy no_detail_on_success hides them: remove it, \
                            or write require_token_serial = no";
                return Err(answer::strange(what));
            }
            Accepted::NoToken { said } => (None, None, said),
            Accepted::Hidden => (None, None, String::new()),
        };
        let by_phone = kind.as_deref().is_some_and(is_push);
        let factor = match question {
            Question::Finish(_) => Factor::Push,
            // Nothing was typed: only a phone can have been asked, by a server that waits for it.
            Question::Nothing if by_phone || is_hidden => Factor::Push,
            Question::Nothing => {
                let said = format!("the server accepts an empty answer, and not by a push token: {said}");
                return Ok(refused(Refusal::ServicePolicy, &said));
            }
            Question::Code(_) if by_phone => Factor::Push,
            Question::Code(_) => Factor::Otp,
            // Once a phone has answered, the server takes whatever is typed.
            Question::Answer(_, state) if serial.as_ref().is_some_and(|serial| state.pushed.contains(serial)) => {
                Factor::Push
            }
            Question::Answer(_, _) => Factor::Otp,
        };
        let token = serial.map(|serial| format!("token {}: ", Foreign(&serial))).unwrap_or_default();
        let said = if said.is_empty() { "accepted" } else { &said };
        Ok(Outcome::Verified(Proof::new(factor, format!("{token}{}", Foreign(said)))))
    }

    /// What a no of the server is, to what was asked.
    fn refuse(&self, question: &Question<'_>, no: No, kind: Option<&str>) -> Outcome {
        let No { why, said } = no;
        match question {
            Question::Nothing if why == Refusal::WrongCode && kind.is_some_and(is_push) => {
                refused(Refusal::PushUnanswered, &format!("the server waited for the phone in vain: {said}"))
            }
            Question::Nothing if why == Refusal::WrongCode => {
                refused(Refusal::NoDevice, &format!("the server asks nothing of a user who types nothing: {said}"))
            }
            // Answered on the phone, but used up or over since.
            Question::Finish(_) if why == Refusal::WrongCode => Outcome::Denied(Denial::ChallengeGone),
            Question::Nothing | Question::Finish(_) | Question::Code(_) | Question::Answer(_, _) => {
                refused(self.reported(why), &said)
            }
        }
    }

    /// A declined push is somebody else's where every phone asks which is meant; eduMFA's have no word for it.
    fn reported(&self, why: Refusal) -> Refusal {
        match (self.flavour, self.declined_is_report, why) {
            (Flavour::Edumfa, _, Refusal::PushReported) | (Flavour::Privacyidea, YesNo::No, Refusal::PushReported) => {
                Refusal::PushRefused
            }
            (Flavour::Edumfa | Flavour::Privacyidea, YesNo::Yes | YesNo::No, why) => why,
        }
    }

    /// Triggers the user's challenges by the service account.
    async fn trigger(&self, attempt: &Attempt<'_>, account: &Account) -> Result<Outcome, ClientError> {
        let Some(form) = self.claimant(attempt) else { return Ok(no_such_name()) };
        let until = attempt.moment.until();
        let session = account.session(&self.server, None, until).await?;
        match self.trigger_once(attempt, &form, &session).await? {
            Ok(outcome) => Ok(outcome),
            // Nothing was triggered: the session was over, or made by a server that has other keys by now.
            Err(_) => {
                let session = account.session(&self.server, Some(&session), until).await?;
                let triggered = self.trigger_once(attempt, &form, &session).await?;
                triggered.map_err(|said| {
                    let reason =
                        format!("the server does not take the session that it has just given: {}", Foreign(&said));
                    ClientError::communication("credentials_refused", reason)
                })
            }
        }
    }

    /// `Err` with what the server said where it does not take the session.
    async fn trigger_once(
        &self,
        attempt: &Attempt<'_>,
        form: &Form,
        session: &Secret<String>,
    ) -> Result<Result<Outcome, String>, ClientError> {
        let url = self.server.url(&["validate", "triggerchallenge"])?;
        let call = Call::new(Method::POST, url).body(Body::Form(form.clone())).header("Authorization", session.clone());
        let (status, body) = self.server.ask(call, attempt.moment.until()).await?;
        Ok(match answer::trigger(status, &body)? {
            Triggered::Challenged(challenge) => Ok(challenge.outcome(attempt.numbers)?),
            Triggered::Refused(No { why, said }) => Ok(refused(why, &said)),
            Triggered::SessionOver { said } => Err(said),
        })
    }

    /// Looks once whether the phone has answered.
    async fn look(&self, state: &State, until: Instant) -> Result<Look<Polled>, ClientError> {
        let mut url = self.server.url(&["validate", "polltransaction"])?;
        url.query_pairs_mut().append_pair("transaction_id", &state.transaction);
        let call = self.server.with_key(Call::new(Method::GET, url))?;
        let (status, body) = self.server.ask(call, until).await?;
        Ok(match answer::poll(status, &body)? {
            Polled::Pending => Look::Pending,
            found @ (Polled::Answered | Polled::Declined | Polled::Cancelled | Polled::Refused(_)) => Look::Done(found),
        })
    }

    async fn wait(&self, attempt: &Attempt<'_>, state: &ClientState) -> Result<Outcome, ClientError> {
        let Some(state) = State::open(state).filter(|state| !state.pushed.is_empty()) else {
            return Ok(Outcome::Denied(Denial::ChallengeGone));
        };
        let until = attempt.moment.until();
        match self.server.http.poll(until, async || self.look(&state, until).await).await? {
            // It may have been used since: only one who asks is told yes.
            Some(Polled::Answered) => self.check(attempt, Question::Finish(&state)).await,
            Some(Polled::Declined) => {
                Ok(refused(self.reported(Refusal::PushReported), "the user declined on the phone"))
            }
            Some(Polled::Cancelled) => Ok(refused(Refusal::PushRefused, "the user took the request back on the phone")),
            Some(Polled::Refused(No { why, said })) => Ok(refused(why, &said)),
            Some(Polled::Pending) | None => {
                Ok(refused(Refusal::PushUnanswered, "nobody answered on the phone in time"))
            }
        }
    }

    /// Deletes the challenges of a transaction, where the service account may: privacyIDEA 3.14, its right
    /// `cancelchallenge`.
    async fn cancel(&self, state: &State, account: &Account, until: Instant) -> Result<(), ClientError> {
        let session = account.session(&self.server, None, until).await?;
        let url = self.server.url(&["token", "challenges", "transaction", &state.transaction])?;
        let call = Call::new(Method::DELETE, url).header("Authorization", session);
        self.server.ask(call, until).await.map(drop)
    }
}

fn no_such_name() -> Outcome {
    refused(
        Refusal::MalformedName,
        "the name is empty, too long, or holds control characters; the server was not asked",
    )
}

/// Whether a code cannot be one. An empty one would say that the phone was asked.
fn is_malformed(code: &TypedCode) -> bool {
    // Only its shape is looked at.
    let code = code.expose();
    code.trim().is_empty() || code.len() > CODE_LIMIT || code.chars().any(char::is_control)
}

impl MfaClient for PrivacyideaClient {
    fn section(&self) -> &str {
        "privacyidea"
    }

    fn place(&self) -> Place {
        Place::Remote
    }

    fn description(&self) -> Description<'_> {
        Description {
            title: match self.flavour {
                Flavour::Privacyidea => "privacyIDEA",
                Flavour::Edumfa => "eduMFA",
            },
            kind: Kind::Otp,
            channel: Channel::Service,
            sends: Sends::Both,
            matching: Matching::Number,
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
        Box::pin(async move {
            if is_malformed(otp) {
                let said = "what was typed is empty, too long, or holds control characters; the server was not asked";
                return Ok(refused(Refusal::MalformedCode, said));
            }
            match state.map(State::open) {
                None => self.check(attempt, Question::Code(otp)).await,
                Some(None) => Ok(Outcome::Denied(Denial::ChallengeGone)),
                Some(Some(state)) if state.typed => self.check(attempt, Question::Answer(otp, &state)).await,
                // Only the phone was asked: what is typed is a code of its own.
                Some(Some(_)) => self.check(attempt, Question::Code(otp)).await,
            }
        })
    }

    fn push_start<'a>(&'a self, attempt: &'a Attempt<'a>) -> Reply<'a> {
        Box::pin(async move {
            match &self.account {
                Some(account) => self.trigger(attempt, account).await,
                None => self.check(attempt, Question::Nothing).await,
            }
        })
    }

    fn push_wait<'a>(&'a self, attempt: &'a Attempt<'a>, state: &'a ClientState) -> Reply<'a> {
        Box::pin(self.wait(attempt, state))
    }

    fn push_cancel<'a>(&'a self, attempt: &'a Attempt<'a>, state: &'a ClientState) -> Chore<'a> {
        Box::pin(async move {
            let (Some(account), Some(state), Flavour::Privacyidea) = (&self.account, State::open(state), self.flavour)
            else {
                return;
            };
            if let Err(error) = self.cancel(&state, account, attempt.moment.until()).await {
                tracing::debug!(%error, "a push is not taken back at the server");
            }
        })
    }

    fn diagnose(&self, now: UnixTime, until: Instant) -> Findings<'_> {
        Box::pin(diagnose::findings(self, now, until))
    }
}

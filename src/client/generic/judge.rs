//! What an answer means, by the rules of its step.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use super::super::http::header::CONTENT_TYPE;
use super::super::http::{Answer, Http};
use super::super::{ClientError, ServiceError};
use super::facts::{Captured, Facts};
use crate::config::http::capture::{Capture, Class, Misshapen};
use crate::config::http::rule::Pointer;
use crate::config::http::{ResponseForm, Step, StepName};
use crate::domain::outcome::Refusal;
use crate::domain::secret::Secret;

/// What an answer means.
pub enum Meaning {
    /// Everything that an accept needs is there.
    Success(Captured),
    /// Something is still to come.
    Pending(Captured),
    /// The service says no.
    Refused { why: Refusal, said: String },
}

/// The step whose answer is judged.
pub struct Judge<'a> {
    pub section: &'a str,
    pub name: StepName,
    pub step: &'a Step,
    pub form: ResponseForm,
    pub facts: &'a Facts<'a>,
    pub captured: &'a Captured,
    pub http: &'a Http,
    pub are_credentials_given: bool,
}

impl Judge<'_> {
    /// What `answer` means: success, pending, then each kind of refusal; the first rule that it meets.
    ///
    /// # Errors
    /// Where it meets none, or does not hold what it must.
    pub fn judge(&self, answer: &Answer) -> Result<Meaning, ClientError> {
        let status = answer.status;
        // No rule can name these: they say nothing of a claimant.
        if !matches!(status, 200..=299 | 400..=428 | 430..=499) {
            return Err(answer.unexpected());
        }
        let read = self.read(answer);
        let body = read.as_ref().ok();
        let meets = |rule: &Option<_>| {
            rule.as_ref().is_some_and(|rule: &crate::config::http::rule::Rule| rule.matches(status, body))
        };
        if self.name.is_terminal() && meets(&self.step.success.0) {
            let body = read?;
            self.check_echo(&body)?;
            let is_last = self.name != StepName::PushPoll;
            return Ok(Meaning::Success(if is_last { Captured::new() } else { self.capture(&body)? }));
        }
        if meets(&self.step.pending.0) {
            let body =
                read.or_else(|error| if self.step.captures().is_empty() { Ok(Value::Null) } else { Err(error) })?;
            self.check_echo(&body)?;
            return Ok(Meaning::Pending(self.capture(&body)?));
        }
        for (option, rule) in self.step.refusals() {
            if meets(rule) {
                let said = body.and_then(|body| self.message(body));
                let said = said.unwrap_or_else(|| format!("the service says no (status {status}, {option})"));
                return Ok(Meaning::Refused { why: refusal(option, self.name), said });
            }
        }
        Err(self.unmatched(answer, read))
    }

    /// The body, as the section says that answers are written.
    fn read(&self, answer: &Answer) -> Result<Value, ClientError> {
        if self.form == ResponseForm::Json {
            return answer.json();
        }
        let wrong =
            |what: &str| ClientError::communication("not_key_values", format!("status {}: {what}", answer.status));
        let kind = answer.header(CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
        if kind.starts_with("text/html") {
            return Err(wrong("a web page instead of names and values"));
        }
        let text = answer.text()?.trim();
        let mut pairs: Vec<(String, String)> = Vec::new();
        match self.form {
            ResponseForm::Json | ResponseForm::Verdict => {}
            ResponseForm::KvLines => {
                for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                    let (name, value) = line.split_once('=').ok_or_else(|| wrong("a line without ="))?;
                    pairs.push((name.trim().to_owned(), value.trim().to_owned()));
                }
            }
            ResponseForm::Form if text.contains(|c: char| c.is_whitespace() || c.is_control()) => {
                return Err(wrong("not written as a form"));
            }
            ResponseForm::Form => pairs.extend(form_urlencoded::parse(text.as_bytes()).into_owned()),
        }
        let mut body = Map::new();
        for (name, value) in pairs {
            if name.is_empty() {
                return Err(wrong("a value without a name"));
            }
            if body.insert(name, Value::String(value)).is_some() {
                return Err(wrong("a name stands there twice"));
            }
        }
        if body.is_empty() { Err(wrong("no names and values")) } else { Ok(Value::Object(body)) }
    }

    /// Whether the answer is one to this request.
    fn check_echo(&self, body: &Value) -> Result<(), ClientError> {
        for (pointer, template) in self.step.echo.0.iter().flat_map(|echoes| &echoes.0) {
            let expected = template.fill(|name| self.facts.value(name));
            let found = pointer.find(body).and_then(Value::as_str);
            if expected.is_none() || found != expected.as_ref().map(|text| text.as_str()) {
                let text =
                    format!("{}: {pointer} does not repeat what was sent: not an answer to this request", self.place());
                return Err(ClientError::communication("bad_echo", text));
            }
        }
        Ok(())
    }

    /// What was captured so far, with what this answer adds.
    fn capture(&self, body: &Value) -> Result<Captured, ClientError> {
        let mut captured = self.captured.clone();
        for capture in self.step.captures() {
            let Capture { name, pointer, shape, optional } = capture;
            let wrong = |what| ClientError::unexpected(format!("{}: {pointer} ({name}) {what}", self.place()));
            let value = capture.take(body).map_err(|Misshapen| wrong("is not of the shape that capture expects"))?;
            match value {
                Some(link) if shape.class == Class::Link => {
                    let link = self.link(&link).ok_or_else(|| {
                        let text =
                            format!("{}: {pointer} ({name}) leads away from url, and is not followed", self.place());
                        ClientError::communication("foreign_link", text)
                    })?;
                    captured.insert(name.clone(), Secret::new(link.into()));
                }
                Some(value) => {
                    captured.insert(name.clone(), Secret::new(value));
                }
                None if *optional || captured.contains_key(name) => {}
                None => return Err(wrong("is missing")),
            }
        }
        Ok(captured)
    }

    /// The address `text` at the service; `None` where it is elsewhere.
    fn link(&self, text: &str) -> Option<Url> {
        let url = self.http.base().join(text).ok()?;
        (self.http.is_origin_of(&url) && url.fragment().is_none()).then_some(url)
    }

    /// What the service says, where the section says that it does.
    fn message(&self, body: &Value) -> Option<String> {
        let said = match self.step.message.0.as_ref()?.find(body)? {
            Value::String(said) => said.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        Some(self.facts.masked(&said)).filter(|said| !said.trim().is_empty())
    }

    fn place(&self) -> String {
        format!("[{} {}]", self.section, self.name.word())
    }

    /// Why an answer that meets no rule is none.
    fn unmatched(&self, answer: &Answer, read: Result<Value, ClientError>) -> ClientError {
        let status = answer.status;
        if self.are_credentials_given && matches!(status, 401 | 403) {
            let text = format!("status {status}: the service does not take the auth of this section");
            return ClientError::communication("credentials_refused", text);
        }
        let is_success = (200..=299).contains(&status);
        let body = match read {
            Ok(body) => body,
            Err(error) if is_success => return error,
            Err(_) => return answer.unexpected(),
        };
        let said = self.message(&body).map(|said| format!("; it says: {said}")).unwrap_or_default();
        if !is_success {
            return answer
                .unexpected()
                .map(|error| ServiceError { reason: format!("{}{said}", error.reason), ..error });
        }
        let pointers: BTreeSet<&Pointer> = self.step.rules().flat_map(|(_, rule)| rule.pointers()).collect();
        let found: Vec<String> =
            pointers.iter().take(6).map(|pointer| format!("{pointer} is {}", kind(pointer.find(&body)))).collect();
        let found = found.join(", ");
        let text = format!("status {status}: the answer meets no rule of {}: {found}{said}", self.place());
        ClientError::unexpected(text)
    }
}

/// Of what type a value is, for the operator; never the value.
const fn kind(value: Option<&Value>) -> &'static str {
    match value {
        None => "missing",
        Some(Value::Null) => "null",
        Some(Value::Bool(true)) => "true",
        Some(Value::Bool(false)) => "false",
        Some(Value::Number(_)) => "another number or of another type",
        Some(Value::String(_)) => "another text or of another type",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "an object",
    }
}

/// Which no the rule of `option` is, in this step.
fn refusal(option: &str, step: StepName) -> Refusal {
    match (option, step) {
        ("reported", _) => Refusal::PushReported,
        ("expired", _) => Refusal::PushUnanswered,
        ("unknown_user", _) => Refusal::NotEnrolled,
        ("locked", _) => Refusal::Locked,
        (_, StepName::Otp | StepName::Answer) => Refusal::WrongCode,
        (_, StepName::OtpStart | StepName::PushStart | StepName::PushSend) => Refusal::NoDevice,
        (_, StepName::PushPoll) => Refusal::PushRefused,
        (_, StepName::Finalize | StepName::Cancel | StepName::Authorize) => Refusal::ServicePolicy,
    }
}

//! A code by a webhook, such as an SMS provider's.

use std::time::Instant;

use data_encoding::BASE64;
use serde_json::Value;

use super::Message;
use crate::client::diagnosis::Finding;
use crate::client::http::header::AUTHORIZATION;
use crate::client::http::{Body, Call, Http, Method};
use crate::client::{ClientError, LazySecret, Parts};
use crate::config::http::request::{Headers, JsonBody, Pairs};
use crate::config::http::rule::Rule;
use crate::config::notify::NotifyOptions;
use crate::config::value::{WebhookAuth, WebhookMethod};
use crate::domain::secret::Secret;
use crate::domain::time::UnixTime;

/// The webhook of one section.
pub struct Webhook {
    http: Http,
    method: WebhookMethod,
    auth: WebhookAuth,
    user: String,
    secret: Option<LazySecret>,
    header: String,
    headers: Option<Headers>,
    form: Option<Pairs>,
    json: Option<JsonBody>,
    success: Option<Rule>,
}

impl Webhook {
    /// What `options` say; `None` where they name no address.
    pub fn new(options: &NotifyOptions, parts: &Parts<'_>) -> Option<Self> {
        Some(Self {
            http: Http::new(&options.url.0.as_ref()?.0, &options.remote, parts.resolve()),
            method: options.method,
            auth: options.auth,
            user: options.auth_user.0.clone().unwrap_or_default(),
            secret: options.auth_secret.0.as_ref().map(|source| parts.secret(source)),
            header: options.auth_header.0.as_ref().map_or_else(|| AUTHORIZATION.as_str().into(), |name| name.0.clone()),
            headers: options.headers.0.clone(),
            form: options.form.0.clone(),
            json: options.json.0.clone(),
            success: options.success.0.clone(),
        })
    }

    /// Calls it once with `message`.
    ///
    /// # Errors
    /// Where there is no answer, or another one than the section expects.
    pub async fn send(&self, message: &Message<'_>, until: Instant) -> Result<(), ClientError> {
        let method = match self.method {
            WebhookMethod::Post => Method::POST,
            WebhookMethod::Put => Method::PUT,
        };
        let mut call = Call::new(method, self.http.base().clone()).body(self.body(message)?);
        for (name, value) in self.headers.iter().flat_map(|headers| &headers.0) {
            let text: String = value.texts().collect();
            call = call.header(name.clone(), Secret::new(text));
        }
        if let Some(secret) = self.credentials()? {
            call = call.header(self.header.clone(), secret);
        }
        let answer = self.http.send(call, until).await?;
        let is_sent = match &self.success {
            None => (200..=299).contains(&answer.status),
            Some(rule) => rule.matches(answer.status, answer.json().ok().as_ref().filter(|body| **body != Value::Null)),
        };
        if is_sent {
            return Ok(());
        }
        Err(match answer.status {
            401 | 403 if self.auth != WebhookAuth::None => {
                let text = format!("status {}: the service does not take the auth of this section", answer.status);
                ClientError::communication("credentials_refused", text)
            }
            200..=299 => {
                let text = format!("status {}: the answer is not what success in the section expects", answer.status);
                ClientError::unexpected(text)
            }
            _ => answer.unexpected(),
        })
    }

    /// From the name to an answer; nothing is sent to anybody.
    pub async fn diagnose(&self, now: UnixTime, until: Instant) -> Vec<Finding> {
        let mut findings = self.http.diagnose(now, until).await;
        if findings.iter().all(|finding| finding.result.is_ok()) {
            findings.push(match self.credentials() {
                Ok(_) => Finding::well("credentials", "can be read; whether they are taken, only a message would show"),
                Err(error) => Finding::error("credentials", &error, "check auth, auth_user and auth_secret"),
            });
        }
        findings
    }

    fn body(&self, message: &Message<'_>) -> Result<Body, ClientError> {
        let value = |name: &str| match name {
            "target" => Some(message.target.text()),
            "origin" => Some(message.origin),
            // Both leave in the body, over TLS.
            "message" => Some(message.text.expose().as_str()),
            "code" => Some(message.code.expose().as_str()),
            _ => None,
        };
        let missing = || ClientError::Unusable("form or json has a placeholder that stands for nothing".into());
        if let Some(json) = &self.json {
            let filled = json.fill(&value).ok_or_else(missing)?;
            return Ok(Body::Json(Secret::new(filled.as_str().to_owned())));
        }
        let pairs = self.form.iter().flat_map(|pairs| &pairs.0).map(|(name, template)| {
            let filled = template.fill(value).ok_or_else(missing)?;
            Ok((name.clone(), Secret::new(filled.as_str().to_owned())))
        });
        pairs.collect::<Result<_, ClientError>>().map(Body::Form)
    }

    fn credentials(&self) -> Result<Option<Secret<String>>, ClientError> {
        let secret = || {
            let missing = || ClientError::Unusable("auth_secret is missing".into());
            self.secret.as_ref().ok_or_else(missing)?.get()
        };
        // Leaves in a header, over TLS.
        Ok(match self.auth {
            WebhookAuth::None => None,
            WebhookAuth::Basic => {
                let pair = Secret::new(format!("{}:{}", self.user, secret()?.expose()));
                Some(Secret::new(format!("Basic {}", BASE64.encode(pair.expose().as_bytes()))))
            }
            WebhookAuth::Bearer => Some(Secret::new(format!("Bearer {}", secret()?.expose()))),
            WebhookAuth::Header => Some(secret()?.clone()),
        })
    }
}

//! How a service knows this client.

use std::cell::RefCell;

use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Instant;
use url::{Position, Url};

use super::super::http::header::{AUTHORIZATION, HeaderValue};
use super::super::http::{Answer, Body, Call, Http, Method};
use super::super::{ClientError, LazySecret, Parts};
use super::facts;
use crate::clock;
use crate::config::http::{AuthKind, HttpOptions};
use crate::domain::secret::Secret;
use crate::domain::time::{Moment, UnixTime};

/// How long before its end a token is not used any more, in seconds.
const MARGIN: u64 = 30;

/// The first line of what is signed.
const SCHEME: &str = "countersign-hmac-v1";

/// How a service knows this client. Reads its secret at the first use.
pub struct Credentials {
    kind: AuthKind,
    user: String,
    secret: Option<LazySecret>,
    header: String,
    token_url: Option<Url>,
    scope: Option<String>,
    token: RefCell<Option<Token>>,
}

struct Token {
    text: Secret<String>,
    /// When it ends, where the service said so.
    ends: Option<UnixTime>,
}

impl Credentials {
    /// What `options` say. Reads nothing.
    pub fn new(options: &HttpOptions, parts: &Parts<'_>) -> Self {
        Self {
            kind: options.auth,
            user: options.auth_user.0.clone().unwrap_or_default(),
            secret: options.auth_secret.0.as_ref().map(|source| parts.secret(source)),
            header: options.auth_header.0.as_ref().map_or_else(|| AUTHORIZATION.as_str().into(), |name| name.0.clone()),
            token_url: options.token_url.0.as_ref().map(|url| url.0.clone()),
            scope: options.scope.0.clone(),
            token: RefCell::new(None),
        }
    }

    /// Whether the service is told who asks.
    pub fn are_given(&self) -> bool {
        self.kind != AuthKind::None
    }

    /// Whether a refusal may only mean that the token is over.
    pub fn are_renewable(&self) -> bool {
        self.kind == AuthKind::ClientCredentials
    }

    /// The call with what makes it ours.
    ///
    /// # Errors
    /// Where the secret cannot be read, or no token is to be had.
    pub async fn sign(&self, http: &Http, call: Call, moment: Moment, until: Instant) -> Result<Call, ClientError> {
        let text = match self.kind {
            AuthKind::None => return Ok(call),
            AuthKind::Basic => self.basic(&self.user, self.secret()?.expose()),
            AuthKind::Bearer => bearer(self.secret()?),
            AuthKind::Header => self.secret()?.clone(),
            AuthKind::Hmac => self.signature(&call, clock::present(&moment), &facts::nonce()?)?,
            AuthKind::ClientCredentials => bearer(&self.token(http, moment, until).await?),
        };
        Ok(call.header(self.header.clone(), text))
    }

    /// Forgets the token, which the service does not take.
    pub fn forget_token(&self) {
        *self.token.borrow_mut() = None;
    }

    /// The secret, which is made part of a header.
    fn secret(&self) -> Result<&Secret<String>, ClientError> {
        let missing = || ClientError::Unusable("auth_secret is missing".into());
        let secret = self.secret.as_ref().ok_or_else(missing)?.get()?;
        let is_sent = self.kind != AuthKind::Hmac;
        // Looked at only.
        if is_sent && HeaderValue::from_str(secret.expose()).is_err() {
            return Err(ClientError::Unusable("auth_secret holds characters that no header can".into()));
        }
        Ok(secret)
    }

    fn basic(&self, user: &str, secret: &str) -> Secret<String> {
        let pair = Secret::new(format!("{user}:{secret}"));
        // Leaves in a header, over TLS.
        Secret::new(format!("Basic {}", BASE64.encode(pair.expose().as_bytes())))
    }

    /// HMAC-SHA256 with the secret over seven lines: the scheme, the method, host and port, path and query, seconds since
    /// 1970, the nonce, and SHA-256 of the body in hexadecimal. No line end behind the last.
    fn signature(&self, call: &Call, now: UnixTime, nonce: &str) -> Result<Secret<String>, ClientError> {
        // Leaves as a digest.
        let body = HEXLOWER.encode(&Sha256::digest(call.body.encoded().expose().as_bytes()));
        let url = &call.url;
        let text = [
            SCHEME,
            call.method.as_str(),
            &url[Position::BeforeHost..Position::AfterPort],
            &url[Position::BeforePath..Position::AfterQuery],
            &now.0.to_string(),
            nonce,
            &body,
        ]
        .join("\n");
        // Becomes a key.
        let key = Hmac::<Sha256>::new_from_slice(self.secret()?.expose().as_bytes());
        let mut mac = key.map_err(|_| ClientError::Unusable("auth_secret cannot be a key".into()))?;
        mac.update(text.as_bytes());
        let signature = BASE64.encode(&mac.finalize().into_bytes());
        let UnixTime(now) = now;
        let key_id = if self.user.is_empty() { String::new() } else { format!("KeyId=\"{}\", ", self.user) };
        Ok(Secret::new(format!(
            "HMAC-SHA256 {key_id}Timestamp=\"{now}\", Nonce=\"{nonce}\", Signature=\"{signature}\""
        )))
    }

    /// A token, from memory as long as it is good.
    ///
    /// # Errors
    /// Where none is to be had.
    pub async fn token(&self, http: &Http, moment: Moment, until: Instant) -> Result<Secret<String>, ClientError> {
        let now = clock::present(&moment);
        let kept = self.token.borrow().as_ref().and_then(|token| {
            let is_good = token.ends.is_none_or(|ends| now.plus(MARGIN) < ends);
            is_good.then(|| token.text.clone())
        });
        if let Some(text) = kept {
            return Ok(text);
        }
        let token = self.fetch(http, now, until).await?;
        let text = token.text.clone();
        *self.token.borrow_mut() = Some(token);
        Ok(text)
    }

    /// RFC 6749, section 4.4.
    async fn fetch(&self, http: &Http, now: UnixTime, until: Instant) -> Result<Token, ClientError> {
        let url = self.token_url.clone().ok_or_else(|| ClientError::Unusable("token_url is missing".into()))?;
        // Section 2.3.1: both are encoded before they become one text, which leaves in a header, over TLS.
        let encoded = |text: &str| Secret::new(utf8_percent_encode(text, NON_ALPHANUMERIC).to_string());
        let (user, secret) = (encoded(&self.user), encoded(self.secret()?.expose()));
        let plain = |name: &str, value: &str| (name.to_owned(), Secret::new(value.to_owned()));
        let scope = self.scope.as_ref().map(|scope| plain("scope", scope));
        let form = std::iter::once(plain("grant_type", "client_credentials")).chain(scope).collect();
        let call = Call::new(Method::POST, url)
            .header(AUTHORIZATION.as_str(), self.basic(user.expose(), secret.expose()))
            .body(Body::Form(form));
        let answer = http.send(call, until).await?;
        match answer.status {
            200 => token(&answer, now),
            400 | 401 | 403 => Err(ClientError::communication(
                "credentials_refused",
                format!("status {}: token_url gives no token for auth_user and auth_secret", answer.status),
            )),
            _ => Err(answer.unexpected()),
        }
    }
}

fn token(answer: &Answer, now: UnixTime) -> Result<Token, ClientError> {
    let json = answer.json()?;
    let wrong = |what: &str| ClientError::unexpected(format!("token_url: {what}"));
    let is_bearer = json.get("token_type").and_then(Value::as_str).is_some_and(|t| t.eq_ignore_ascii_case("bearer"));
    if !is_bearer {
        return Err(wrong("token_type is not Bearer"));
    }
    let text = json.get("access_token").and_then(Value::as_str).filter(|text| !text.is_empty());
    let text = text.filter(|text| text.bytes().all(|b| b.is_ascii_graphic()));
    let text = text.ok_or_else(|| wrong("access_token is missing, or no text that a header can hold"))?;
    let ends = match json.get("expires_in") {
        None => None,
        Some(seconds) => Some(now.plus(seconds.as_u64().ok_or_else(|| wrong("expires_in is not a whole number"))?)),
    };
    Ok(Token { text: Secret::new(text.to_owned()), ends })
}

fn bearer(token: &Secret<String>) -> Secret<String> {
    // Leaves in a header, over TLS.
    Secret::new(format!("Bearer {}", token.expose()))
}

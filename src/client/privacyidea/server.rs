//! One request to the server and its JSON, signed where that is wanted.

use std::time::Instant;

use data_encoding::HEXLOWER;
use serde_json::Value;
use url::Url;

use super::answer;
use super::signature::ResponseKey;
use crate::client::http::{Body, Call, Http};
use crate::client::{ClientError, LazySecret};
use crate::domain::secret::Secret;

/// The server of the section.
pub struct Server {
    pub http: Http,
    /// The key that signs its answers.
    pub response_key: Option<ResponseKey>,
    /// What opens /validate, where that is closed.
    pub validate_key: Option<LazySecret>,
}

impl Server {
    /// An address of the server.
    ///
    /// # Errors
    /// Never, with segments that are names.
    pub fn url(&self, segments: &[&str]) -> Result<Url, ClientError> {
        self.http.url(segments).ok_or_else(|| ClientError::Unusable("the address of the server cannot be built".into()))
    }

    /// The same request with the key that opens /validate, where there is one.
    ///
    /// # Errors
    /// Where the key cannot be read.
    pub fn with_key(&self, call: Call) -> Result<Call, ClientError> {
        match &self.validate_key {
            None => Ok(call),
            Some(key) => Ok(call.header("Authorization", key.get()?.clone())),
        }
    }

    /// Sends `call`, and gives the status and the JSON of an answer that is the server's own and not of something in
    /// between.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn ask(&self, mut call: Call, until: Instant) -> Result<(u16, Value), ClientError> {
        let nonce = match self.response_key {
            None => None,
            Some(_) => Some(add_nonce(&mut call)?),
        };
        let answer = self.http.send(call, until).await?;
        let body = match answer.status {
            200 => answer.json()?,
            // What stands before the server has these for itself.
            300..=399 | 429 | 502..=504 => return Err(answer.unexpected()),
            _ => answer.json().ok().filter(answer::is_error).ok_or_else(|| answer.unexpected())?,
        };
        // A fault of the server is one, whoever says so.
        if let (Some(key), Some(nonce)) = (&self.response_key, nonce)
            && answer.status < 500
        {
            key.verify(answer.text()?, &body, &nonce)?;
        }
        Ok((answer.status, body))
    }
}

/// Adds what the answer must repeat.
fn add_nonce(call: &mut Call) -> Result<String, ClientError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| ClientError::Unusable("the system gives no random bytes".into()))?;
    let nonce = HEXLOWER.encode(&bytes);
    match &mut call.body {
        Body::Form(pairs) => pairs.push(("nonce".into(), Secret::new(nonce.clone()))),
        Body::None | Body::Json(_) => {
            call.url.query_pairs_mut().append_pair("nonce", &nonce);
        }
    }
    Ok(nonce)
}

//! The service account, which may trigger challenges: its password, and its session while it lasts.

use std::time::Instant;

use tokio::sync::Mutex;

use super::Server;
use super::answer;
use crate::client::http::{Body, Call, Method};
use crate::client::{ClientError, LazySecret};
use crate::domain::fault::Reach;
use crate::domain::secret::Secret;

/// The service account of the section.
pub struct Account {
    user: String,
    password: LazySecret,
    /// Held while somebody logs in, so that others wait for that session instead of asking for their own.
    session: Mutex<Option<Secret<String>>>,
}

impl Account {
    /// The account `user`.
    pub fn new(user: &str, password: LazySecret) -> Self {
        Self { user: user.to_owned(), password, session: Mutex::new(None) }
    }

    /// The kept session, or a new one; `refused` is one that the server takes no longer.
    ///
    /// # Errors
    /// Where the server gives none.
    pub async fn session(
        &self,
        server: &Server,
        refused: Option<&Secret<String>>,
        until: Instant,
    ) -> Result<Secret<String>, ClientError> {
        let no_time = || ClientError::unreachable("no_time", "there was no time left to log in", Reach::Sent);
        let mut kept = tokio::time::timeout_at(until.into(), self.session.lock()).await.map_err(|_| no_time())?;
        // Compared with what we sent ourselves: nobody learns from how long it takes.
        if let Some(token) =
            kept.as_ref().filter(|kept| refused.is_none_or(|refused| refused.expose() != kept.expose()))
        {
            return Ok(token.clone());
        }
        *kept = None;
        let token = self.log_in(server, until, |login| Secret::new(login.token.to_owned())).await?;
        *kept = Some(token.clone());
        Ok(token)
    }

    /// Logs in, and takes from the answer what is wanted.
    ///
    /// # Errors
    /// Where the server does not let the account in.
    pub async fn log_in<T>(
        &self,
        server: &Server,
        until: Instant,
        take: impl FnOnce(answer::Login<'_>) -> T,
    ) -> Result<T, ClientError> {
        let url = server.url(&["auth"])?;
        let form = vec![
            ("username".into(), Secret::new(self.user.clone())),
            ("password".into(), self.password.get()?.clone()),
        ];
        let (status, body) = server.ask(Call::new(Method::POST, url).body(Body::Form(form)), until).await?;
        answer::login(status, &body).map(take)
    }
}

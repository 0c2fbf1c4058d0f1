//! A code by mail (RFC 5321). The library writes the message and speaks the protocol; name, connection and TLS are ours, so
//! that they are those of every other service.

use std::error::Error as _;
use std::time::{Duration, Instant, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use lettre::Address;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::Starttls;
use lettre::transport::smtp::extension::{ClientId, Extension};
use tokio::net::TcpStream;

use super::Message;
use super::dial::{Dial, broken};
use super::greeted::{Bounded, Greeted};
use super::target::Target;
use crate::client::diagnosis::Finding;
use crate::client::{ClientError, LazySecret, Parts, note_reach};
use crate::clock;
use crate::config::notify::NotifyOptions;
use crate::config::value::MailSecurity;
use crate::domain::fault::Reach;
use crate::domain::time::UnixTime;
use crate::net::certificate;

/// How long the server may take to hear that nothing more comes.
const FAREWELL: Duration = Duration::from_millis(200);

/// The mail server of one section.
pub struct Smtp {
    dial: Dial,
    security: MailSecurity,
    login: Option<(String, LazySecret)>,
    from: Mailbox,
    subject: String,
    hello: ClientId,
    limit: Duration,
}

impl Smtp {
    /// What `options` say; `None` where they name no server or nobody whom it is from.
    pub fn new(options: &NotifyOptions, parts: &Parts<'_>) -> Option<Self> {
        let from = options.from.0.as_ref()?.0.clone();
        let hello = options.hello_name.0.as_ref().map_or_else(|| from.email.domain().to_owned(), |host| host.0.clone());
        let login = options.user.0.clone().zip(options.password.0.as_ref().map(|source| parts.secret(source)));
        Some(Self {
            dial: Dial::new(options.server.0.as_ref()?, &options.remote, parts.resolve()),
            security: options.security,
            login,
            from,
            subject: options.subject.clone(),
            hello: ClientId::Domain(hello),
            limit: Duration::from_secs(options.remote.timeout.0),
        })
    }

    /// Hands `message` to the server, once.
    ///
    /// # Errors
    /// Where the server was not reached, is not the one it should be, or does not take it. No error holds what it said: it
    /// may repeat the address.
    pub async fn send(&self, message: &Message<'_>, until: Instant) -> Result<(), ClientError> {
        let Target::Mail(to) = message.target else {
            return Err(ClientError::Authenticator("the target is no address; enrol it again".into()));
        };
        let mail = self.mail(to, message)?;
        let sent = self.limited(until, async |until| {
            let mut connection = self.open(until).await?;
            let said = connection
                .send(mail.envelope(), &mail.formatted())
                .await
                .map_err(|error| failed(&error, "delivery_failed", "the server does not take the message"));
            // It has the message. Whether it hears that nothing more comes is all the same.
            let _ = tokio::time::timeout(FAREWELL, connection.abort()).await;
            said.map(|_| ())
        });
        let sent = sent.await;
        note_reach(sent.as_ref().map_or_else(ClientError::reach, |()| Reach::Answered));
        sent
    }

    /// From the name to the login; nothing is sent to anybody.
    pub async fn diagnose(&self, now: UnixTime, until: Instant) -> Vec<Finding> {
        let opened = self.limited(until, async |until| self.open(until).await).await;
        let mut findings = Vec::new();
        if !self.dial.presented().is_empty() {
            let chain = certificate::describe(&self.dial.presented(), now);
            if let Err(error @ ClientError::Communication(broken)) = &opened
                && broken.code == "tls_failed"
            {
                let text = error.to_string();
                findings.push(Finding::wrong("tls", format!("{text}; {chain}"), certificate::remedy(&text)));
                return findings;
            }
            findings.push(Finding::well("tls", chain));
        }
        match opened {
            Ok(mut connection) => {
                let _ = tokio::time::timeout(FAREWELL, connection.abort()).await;
                let login = match &self.login {
                    Some((user, _)) => format!("the server takes the login of {user}"),
                    None => "the server answers; nobody logs in there".into(),
                };
                findings.push(Finding::well("login", format!("{login}. No message was sent")));
            }
            Err(error) => {
                let remedy = "check server, security, user and password, and the server's own log";
                findings.push(Finding::error("server", &error, remedy));
            }
        }
        findings
    }

    /// What `work` gives, within the time of the section and until `until`.
    async fn limited<T>(
        &self,
        until: Instant,
        work: impl AsyncFnOnce(Instant) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let limit = self.limit.min(clock::left(until));
        if limit.is_zero() {
            return Err(ClientError::unreachable("no_time", "there was no time left to ask the service", Reach::Sent));
        }
        // The connection's limits end a little sooner than the whole, so that it can say how far it came.
        let inner = clock::after(limit.saturating_sub(limit / 20));
        tokio::time::timeout(limit, work(inner)).await.unwrap_or_else(|_| {
            let text = format!("no whole answer within {} s", limit.as_secs_f32().round());
            Err(ClientError::unreachable("read_timeout", text, Reach::Sent))
        })
    }

    /// A connection that is secured and logged in as the section says.
    async fn open(&self, until: Instant) -> Result<AsyncSmtpConnection, ClientError> {
        let stream = self.dial.connect(until).await?;
        let mut connection = match self.security {
            MailSecurity::None => self.greet(stream).await?,
            MailSecurity::Tls => {
                let secured = self.dial.secure(stream, until).await?;
                self.greet(Greeted::by_server(secured)).await?
            }
            MailSecurity::StartTls => {
                let stream = self.start_tls(stream).await?;
                let secured = self.dial.secure(stream, until).await?;
                self.greet(Greeted::already(secured)).await?
            }
        };
        if let Some((user, password)) = &self.login {
            // The library sends it over this connection, and prints none.
            let credentials = Credentials::new(user.clone(), password.get()?.expose().clone());
            let taken = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
            taken
                .map_err(|error| failed(&error, "credentials_refused", "the server does not take user and password"))?;
        }
        Ok(connection)
    }

    async fn greet(&self, stream: impl AsyncTokioStream + 'static) -> Result<AsyncSmtpConnection, ClientError> {
        let stream = Box::new(Bounded::new(stream));
        let greeted = AsyncSmtpConnection::connect_with_transport(stream, &self.hello).await;
        greeted.map_err(|error| failed(&error, "delivery_failed", "the server does not let this machine in"))
    }

    /// The same connection after STARTTLS. What the server said before TLS is forgotten with what it may have said too
    /// much: nothing of it is taken for something that was said over TLS.
    async fn start_tls(&self, stream: TcpStream) -> Result<TcpStream, ClientError> {
        let lost = |error| broken(&error, "the connection cannot be kept");
        let kept = stream.into_std().map_err(lost)?;
        let spoken = kept.try_clone().and_then(TcpStream::from_std).map_err(lost)?;
        let mut connection = self.greet(spoken).await?;
        if !connection.server_info().supports_feature(Extension::StartTls) {
            let text =
                "the server offers no STARTTLS; set security = tls where its port speaks TLS from the first byte";
            return Err(ClientError::communication("no_starttls", text));
        }
        let agreed = connection.command(Starttls).await;
        agreed.map_err(|error| failed(&error, "no_starttls", "the server refuses STARTTLS"))?;
        drop(connection);
        TcpStream::from_std(kept).map_err(lost)
    }

    fn mail(&self, to: &Address, message: &Message<'_>) -> Result<Mail, ClientError> {
        let unusable = |what: &str| ClientError::Unusable(format!("the message cannot be written: {what}"));
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|_| unusable("the system gives no random numbers"))?;
        let id = format!("<{}@{}>", HEXLOWER.encode(&random), self.from.email.domain());
        Mail::builder()
            .message_id(Some(id))
            .date(UNIX_EPOCH + Duration::from_secs(message.now.0))
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(self.subject.clone())
            .header(ContentType::TEXT_PLAIN)
            // Leaves in the message, as the section secures the way.
            .body(format!("{}\n", message.text.expose()))
            .map_err(|error| unusable(&error.to_string()))
    }
}

/// What an error of the library is; `refusal` where it is a no of the server. Nothing that the server said is repeated but
/// its numbers.
fn failed(error: &Error, refusal: &'static str, doing: &str) -> ClientError {
    if let Some(status) = error.status() {
        let said = error.source().map(ToString::to_string).unwrap_or_default();
        let detail = enhanced(&said).map(|code| format!(" {code}")).unwrap_or_default();
        return ClientError::communication(refusal, format!("{doing}: {status}{detail}"));
    }
    let source = error.source();
    if let Some(io) = source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
        return broken(io, doing);
    }
    let text = source.map(ToString::to_string).unwrap_or_default();
    match () {
        () if text == "incomplete response" => {
            ClientError::unreachable("connection_lost", format!("{doing}: it closed the connection"), Reach::Sent)
        }
        () if error.is_response() => ClientError::communication("not_smtp", format!("{doing}: its answer is not SMTP")),
        // The library's own words: what this server does not offer.
        () => ClientError::communication("unsupported", format!("{doing}: {text}")),
    }
}

/// The enhanced status code (RFC 3463) that an answer begins with.
fn enhanced(said: &str) -> Option<&str> {
    let code = said.split_whitespace().next()?;
    let parts: Vec<&str> = code.split('.').collect();
    let is_number = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    (parts.len() == 3 && parts.iter().all(is_number)).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_server_says_only_its_numbers_are_repeated() {
        assert_eq!(enhanced("5.1.1 <alice@corp.example> unknown"), Some("5.1.1"));
        for said in ["", "alice@corp.example", "5.1", "5.1.1x", "5.1.1111 x", "no 5.1.1"] {
            assert_eq!(enhanced(said), None, "{said}");
        }
    }
}

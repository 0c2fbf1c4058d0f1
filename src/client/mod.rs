//! Who verifies: the clients behind one trait. Each is one file and two lines here.
//!
//! A client never retries, sleeps or reads a clock beyond what its attempt and [`http`] give it, and knows no gateway
//! protocol.

pub mod description;
pub mod diagnosis;
pub mod duo;
pub mod fixed;
pub mod generic;
pub mod hotp;
pub mod http;
pub mod notify;
pub mod oidc;
pub mod okta;
pub mod privacyidea;
pub mod rehearsal;
pub mod totp;
pub mod yubico;

use std::cell::{Cell, OnceCell};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::clock::Heart;
use crate::config::Config;
use crate::config::clients::on_unreachable;
use crate::config::value::{ClientName, OnUnreachable, ServiceSecret};
use crate::domain::attempt::Attempt;
use crate::domain::authenticator::Authenticator;
use crate::domain::fault::{Class, Fault, Reach};
use crate::domain::outcome::{ClientState, Denial, Outcome, Refusal};
use crate::domain::secret::{Secret, TypedCode};
use crate::domain::time::UnixTime;
use crate::net::once;
use crate::secret::seal::{SealError, Sealer};
use crate::secret::service;
use crate::store::{Store, StoreError};
use description::Description;
use diagnosis::Findings;

/// What a client promises to give.
pub type Reply<'a> = Pin<Box<dyn Future<Output = Result<Outcome, ClientError>> + 'a>>;

/// Something a client does for nobody who waits.
pub type Chore<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Where a client verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this process, over the store.
    Here,
    /// At a service, which knows its own subscribers.
    Remote,
}

/// Whether a client can push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    Able,
    Unable,
}

/// Whether a client takes codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    Able,
    Unable,
}

/// What a question for a code needs before it can be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Nothing: the subscriber has the code already, or has it shown.
    Typed,
    /// A message to the subscriber ([`MfaClient::push_start`]): before it there is nothing to type.
    Sends,
}

/// Where the authenticators of a client are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the store.
    Here,
    /// At the service, which alone knows who has one.
    There,
}

/// A new authenticator for a claimant who has none.
pub struct Offer {
    /// What the claimant is shown; the question for a code is put behind it.
    pub text: String,
    /// What comes back with the code.
    pub state: ClientState,
}

/// What a code makes of an [`Offer`].
pub enum Offered {
    /// It is of the new authenticator, which may be enrolled.
    Proved(Box<Authenticator>),
    Refused(Denial),
}

/// How often the question of a client can be answered wrongly before it is over, where the client says nothing else.
pub const TRIES: u32 = 3;

/// A second factor, verified here or by a service. One instance a section of plugin.ini, built once, connecting lazily.
pub trait MfaClient {
    /// The section of plugin.ini that configures it.
    fn section(&self) -> &str;

    /// Where it verifies.
    fn place(&self) -> Place;

    /// What it is to whoever chooses among several clients.
    fn description(&self) -> Description<'_>;

    /// Whether [`MfaClient::push_start`] can do anything.
    fn push(&self) -> Push;

    /// Whether [`MfaClient::otp_authenticate`] can do anything.
    fn codes(&self) -> Codes {
        Codes::Able
    }

    /// What it needs before a code can be asked for.
    fn asks(&self) -> Asks {
        Asks::Typed
    }

    /// Where its authenticators are kept.
    fn kept(&self) -> Kept {
        match self.place() {
            Place::Here => Kept::Here,
            Place::Remote => Kept::There,
        }
    }

    /// Whether [`MfaClient::offer`] has anything to offer.
    fn offers(&self) -> bool {
        false
    }

    /// A new authenticator for a claimant who has none; nothing is kept of it here.
    ///
    /// # Errors
    /// Where there can be none.
    fn offer(&self, _attempt: &Attempt<'_>) -> Result<Offer, ClientError> {
        Err(ClientError::Unusable("this client enrols nobody at the login".into()))
    }

    /// What was typed for the new authenticator in `state`.
    ///
    /// # Errors
    /// Where it cannot be sealed.
    fn examine_offer(
        &self,
        _attempt: &Attempt<'_>,
        _otp: &TypedCode,
        _state: &ClientState,
    ) -> Result<Offered, ClientError> {
        Ok(Offered::Refused(Denial::ChallengeGone))
    }

    /// How often one of its questions can be answered wrongly before it is over.
    fn tries(&self) -> u32 {
        TRIES
    }

    /// Whether what was typed asks for a push and is no code: what holds for pushes is then looked at before it is sent.
    fn starts_push(&self, _typed: &TypedCode) -> bool {
        false
    }

    /// Whether what was typed in answer to a question of this client is a code that is verified here, and no reason to send
    /// anything to anybody.
    fn is_answer(&self, _typed: &TypedCode) -> bool {
        false
    }

    /// Verifies what the claimant typed; `state` is what came with the question that it answers, if a client asked it. Also
    /// where a push waits and a code is typed in its place. A question in answer to a question takes its place, or where the
    /// same `state` comes with it, is the same once more.
    fn otp_authenticate<'a>(
        &'a self,
        attempt: &'a Attempt<'a>,
        otp: &'a TypedCode,
        state: Option<&'a ClientState>,
    ) -> Reply<'a>;

    /// Asks the subscriber's device for an approval, and does not wait for it: [`Outcome::Pushed`]. Where the service sends
    /// a code instead: [`Outcome::Ask`].
    fn push_start<'a>(&'a self, _attempt: &'a Attempt<'a>) -> Reply<'a> {
        Box::pin(async { Ok(Outcome::Denied(Denial::CodeRequired)) })
    }

    /// Waits for the answer to what was pushed, until [`crate::domain::time::Moment::until`]: verified or denied. May be
    /// asked again for the same `state`, also by another process.
    fn push_wait<'a>(&'a self, _attempt: &'a Attempt<'a>, _state: &'a ClientState) -> Reply<'a> {
        Box::pin(async { Ok(Outcome::Denied(Denial::ChallengeGone)) })
    }

    /// Takes back what was pushed, as far as the service can; nobody waits for it.
    fn push_cancel<'a>(&'a self, _attempt: &'a Attempt<'a>, _state: &'a ClientState) -> Chore<'a> {
        Box::pin(async {})
    }

    /// Whether [`MfaClient::authorize`] has anything to say.
    fn authorizes(&self) -> bool {
        false
    }

    /// Whether a session that was let in may go on to its target; `answered` is what the claimant typed, where a client
    /// asked for it here, and `state` what came with that question.
    fn authorize<'a>(
        &'a self,
        _attempt: &'a Attempt<'a>,
        _answered: Option<&'a TypedCode>,
        _state: Option<&'a ClientState>,
    ) -> Reply<'a> {
        Box::pin(async { Ok(Outcome::Denied(Denial::Undecided)) })
    }

    /// Finds out, without doing harm and without a claimant, whether the client would work: every step up to the first
    /// that is wrong. `now` is the wall clock's; nothing takes longer than `until`.
    fn diagnose(&self, now: UnixTime, until: Instant) -> Findings<'_>;
}

/// What a service did, or did not.
#[derive(Clone, Debug, Error)]
#[error("{reason}")]
pub struct ServiceError {
    pub code: &'static str,
    pub reason: String,
    pub reach: Reach,
    /// How long the service asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// What kept a client from an outcome. Not the claimant's doing.
#[derive(Clone, Debug, Error)]
pub enum ClientError {
    /// The service answered, but not as its protocol says.
    #[error(transparent)]
    Communication(ServiceError),
    /// No service was reached, or none answered.
    #[error(transparent)]
    Unreachable(ServiceError),
    /// What plugin.ini names for the client cannot be used.
    #[error("{0}")]
    Unusable(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the authenticator's secret cannot be opened: {0}")]
    Seal(#[from] SealError),
    #[error("the authenticator in the store cannot be computed: {0}")]
    Authenticator(String),
}

impl ClientError {
    /// The service answered, but not as its protocol says; `reason` is for the operator and holds no secret.
    pub fn communication(code: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::Communication(ServiceError { code, reason, reach: Reach::Answered, retry_after: None })
    }

    /// The service answered something that its protocol does not know.
    pub fn unexpected(reason: impl Into<String>) -> Self {
        Self::communication("unexpected_answer", reason)
    }

    /// No service was reached, or none answered.
    pub fn unreachable(code: &'static str, reason: impl Into<String>, reach: Reach) -> Self {
        Self::Unreachable(ServiceError { code, reason: reason.into(), reach, retry_after: None })
    }

    fn map(self, change: impl FnOnce(ServiceError) -> ServiceError) -> Self {
        match self {
            Self::Communication(error) => Self::Communication(change(error)),
            Self::Unreachable(error) => Self::Unreachable(change(error)),
            Self::Unusable(_) | Self::Store(_) | Self::Seal(_) | Self::Authenticator(_) => self,
        }
    }

    /// The same, with how long the service asks to be left alone.
    #[must_use]
    pub fn retry_after(self, retry_after: Option<Duration>) -> Self {
        self.map(|error| ServiceError { retry_after, ..error })
    }

    /// The same, having got this far.
    #[must_use]
    pub fn reached(self, reach: Reach) -> Self {
        self.map(|error| ServiceError { reach, ..error })
    }

    const fn service(&self) -> Option<&ServiceError> {
        match self {
            Self::Communication(error) | Self::Unreachable(error) => Some(error),
            Self::Unusable(_) | Self::Store(_) | Self::Seal(_) | Self::Authenticator(_) => None,
        }
    }

    /// How far the request got.
    pub fn reach(&self) -> Reach {
        self.service().map_or(Reach::NotSent, |error| error.reach)
    }

    /// Whether it is sure that nothing left for the service.
    pub fn left_nothing(&self) -> bool {
        self.service().is_some_and(|error| error.reach == Reach::NotSent)
    }

    /// How long the service asks to be left alone.
    pub fn asked_to_wait(&self) -> Option<Duration> {
        let asked = self.service()?;
        let is_asked = asked.code == "rate_limited";
        asked.retry_after.or_else(|| is_asked.then_some(Duration::from_secs(1)))
    }

    /// Whether looking once more may help: nothing was wrong with what was asked.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Communication(_) => self.asked_to_wait().is_some(),
            Self::Unusable(_) | Self::Store(_) | Self::Seal(_) | Self::Authenticator(_) => false,
        }
    }

    /// The fault that `section`'s error is.
    pub fn into_fault(self, section: &str) -> Fault {
        let reason = self.to_string();
        let (class, code) = match self {
            Self::Communication(error) => (Class::CommunicationError, error.code),
            Self::Unreachable(error) => (Class::ServiceUnreachable, error.code),
            Self::Unusable(_) => (Class::InternalError, "client_unusable"),
            Self::Store(_) => (Class::InternalError, "store_failed"),
            Self::Seal(_) => (Class::InternalError, "secret_unreadable"),
            Self::Authenticator(_) => (Class::InternalError, "authenticator_unreadable"),
        };
        Fault { class, code, service: Some(section.to_owned()), reason }
    }
}

tokio::task_local! {
    /// How far the requests of one call of a client got so far.
    static REACHED: Cell<Reach>;
}

/// What a client says to one call, whose error says how far all of its requests together got, and what was before them: a
/// service whose second answer does not come was reached. So was, as far as anybody can say, one whose answers this process
/// could not take in: whoever can stop it, or starve it, does not make a service absent by that.
///
/// # Errors
/// The client's own.
pub async fn in_one_piece(before: Reach, mut reply: Reply<'_>) -> Result<Outcome, ClientError> {
    let all = async {
        let mut heart = None;
        let said = std::future::poll_fn(|context| {
            if let Some(heart) = &mut heart {
                Heart::poll(heart, context);
            }
            let said = reply.as_mut().poll(context);
            if said.is_pending() && heart.is_none() {
                // Something is waited for.
                heart.insert(Heart::begin()).poll(context);
            }
            said
        })
        .await;
        if heart.is_some_and(|heart| heart.was_held_up) {
            note_reach(Reach::Sent);
        }
        (said, REACHED.with(Cell::get))
    };
    let (said, reached) = REACHED.scope(Cell::new(before), all).await;
    said.map_err(|error| if error.reach() == Reach::NotSent { error.reached(reached) } else { error })
}

/// Notes how far a request got.
pub(crate) fn note_reach(reach: Reach) {
    // Where nobody asks, as in a diagnosis, nobody is told.
    let _ = REACHED.try_with(|reached| match (reached.get(), reach) {
        (_, Reach::NotSent) | (Reach::Answered, _) => {}
        (Reach::NotSent | Reach::Sent, Reach::Sent | Reach::Answered) => reached.set(reach),
    });
}

/// A service's no; `said` is for the operator, and may hold text of the service.
pub fn refused(why: Refusal, said: &str) -> Outcome {
    Outcome::Denied(Denial::refused(why, said))
}

/// A client with what plugin.ini says about its name and its absence.
pub struct Wired {
    pub client: Rc<dyn MfaClient>,
    /// What people call it, where plugin.ini says so.
    pub title: Option<String>,
    pub on_unreachable: OnUnreachable,
    /// How long `accept` goes on; `None`: as long as the service is away.
    pub degraded_for: Option<Duration>,
}

impl Wired {
    /// What people call it.
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(self.client.description().title)
    }
}

/// What a client is made of.
pub struct Parts<'a> {
    pub config: &'a Config,
    pub store: &'a Rc<dyn Store>,
    pub sealer: &'a Rc<Sealer>,
}

impl Parts<'_> {
    /// The secret of ours that plugin.ini names, read when it is needed first.
    pub fn secret(&self, source: &ServiceSecret) -> LazySecret {
        let directory = self.config.resolve(Path::new(""));
        LazySecret { source: source.clone(), directory, read: OnceCell::new() }
    }

    /// A path that plugin.ini names, made absolute.
    pub fn resolve(&self) -> impl Fn(&Path) -> PathBuf + '_ {
        |path| self.config.resolve(path)
    }
}

/// A secret of ours at a service.
#[derive(Debug)]
pub struct LazySecret {
    source: ServiceSecret,
    directory: PathBuf,
    read: OnceCell<Secret<String>>,
}

impl LazySecret {
    /// The secret.
    ///
    /// # Errors
    /// [`ClientError::Unusable`] where it cannot be read.
    pub fn get(&self) -> Result<&Secret<String>, ClientError> {
        let read = || service::read(&self.source, |path| self.directory.join(path));
        once(&self.read, || read().map_err(|error| ClientError::Unusable(error.to_string())))
    }
}

/// The clients that `[plugin] clients` names, the default first, and behind them those that only stand in for others.
pub fn build(config: &Config, store: &Rc<dyn Store>, sealer: &Rc<Sealer>) -> Vec<Wired> {
    let parts = Parts { config, store, sealer };
    let mut names = config.plugin.clients.0.clone();
    for (_, remote) in config.remote.remotes() {
        if let Ok(OnUnreachable::Client(name)) = on_unreachable(remote)
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names.iter().filter_map(|name| wire(name, &parts)).collect()
}

/// One client; `None` where its section is not there, which the configuration has refused already.
fn wire(name: &ClientName, parts: &Parts<'_>) -> Option<Wired> {
    let (config, sections) = (parts.config, &parts.config.remote);
    let client: Rc<dyn MfaClient> = match name {
        ClientName::Totp => {
            Rc::new(totp::TotpClient::new(&config.totp, Rc::clone(parts.store), Rc::clone(parts.sealer)))
        }
        ClientName::Hotp => {
            Rc::new(hotp::HotpClient::new(&config.policy.hotp(), Rc::clone(parts.store), Rc::clone(parts.sealer)))
        }
        ClientName::Privacyidea => Rc::new(privacyidea::PrivacyideaClient::new(sections.privacyidea.as_ref()?, parts)),
        ClientName::Duo => Rc::new(duo::DuoClient::new(sections.duo.as_ref()?, parts)),
        ClientName::Okta => Rc::new(okta::OktaClient::new(sections.okta.as_ref()?, parts)),
        ClientName::Yubico => {
            Rc::new(yubico::YubicoClient::new(sections.yubico.as_ref()?, &sections.yubico_keys, parts))
        }
        ClientName::Oidc => Rc::new(oidc::OidcClient::new(sections.oidc.as_ref()?, parts)),
        ClientName::Http(service) => {
            Rc::new(generic::GenericClient::new(name.section().into_owned(), sections.http.get(service)?, parts))
        }
        ClientName::Notify(service) => {
            let options = sections.notify.get(service)?;
            Rc::new(notify::NotifyClient::new(name.section().into_owned(), options, parts)?)
        }
        ClientName::Fixed => Rc::new(fixed::FixedClient::new(sections.fixed.as_ref()?)),
    };
    let remote = sections.remote(name);
    Some(Wired {
        client,
        title: remote.and_then(|remote| remote.title.0.clone()),
        on_unreachable: remote.and_then(|remote| on_unreachable(remote).ok()).unwrap_or(OnUnreachable::Reject),
        degraded_for: remote.map(|remote| remote.degraded_for.0).filter(|s| *s > 0).map(Duration::from_secs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_answer_nothing_is_as_if_nobody_had_been_reached() {
        let error = |reach| ClientError::unreachable("connection_refused", "", reach);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (reach, expected) in
            [(Reach::NotSent, Reach::Sent), (Reach::Sent, Reach::Sent), (Reach::Answered, Reach::Answered)]
        {
            let asked = async {
                note_reach(Reach::Sent);
                Err(error(reach))
            };
            let said = runtime.block_on(in_one_piece(Reach::NotSent, Box::pin(asked)));
            assert_eq!(said.unwrap_err().reach(), expected);
        }
    }
}

//! What a client wants back with the next answer: sealed, in the store, as a challenge that the cookie names.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;

use super::errand::Errand;
use super::parcel::{Parcel, Parts};
use crate::client::ClientError;
use crate::domain::challenge::{Challenge, ChallengeId, State};
use crate::domain::claimant::{MfaIdentity, Subscriber};
use crate::domain::outcome::{ClientState, Prompt, STATE_LIMIT};
use crate::domain::secret::SecretBytes;
use crate::domain::time::UnixTime;
use crate::domain::verdict::Echo;
use crate::secret::cookie;
use crate::secret::keys;
use crate::secret::seal::Sealer;
use crate::store::Store;

/// The largest admission that waits for answers, in bytes: what a service that answers in verdicts may have said.
const ADMISSION_LIMIT: usize = 128 * 1024;

/// What the claimant is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A code that the client asked for.
    Asked,
    /// A push.
    Pushed,
    /// A code, before any client was asked: what is kept is the identity that the directory told.
    Known,
    /// The questions of plugin.ini, after the claimant was let in.
    Verified,
    /// What a client asked for before the session goes on to its target.
    Authorizing,
    /// Which authenticator it shall be.
    Choosing,
    /// A code of the authenticator that the claimant chose.
    Chosen,
    /// A code of the new authenticator that was shown.
    Enrolling,
    /// A ticket, before an authenticator is shown.
    Ticket,
}

impl Kind {
    const fn state(self) -> State {
        match self {
            Self::Asked
            | Self::Known
            | Self::Verified
            | Self::Authorizing
            | Self::Choosing
            | Self::Chosen
            | Self::Enrolling
            | Self::Ticket => State::New,
            Self::Pushed => State::InProcess,
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Asked => 1,
            Self::Pushed => 2,
            Self::Known => 3,
            Self::Verified => 4,
            Self::Authorizing => 5,
            Self::Choosing => 6,
            Self::Chosen => 7,
            Self::Enrolling => 8,
            Self::Ticket => 9,
        }
    }

    fn numbered(number: u8) -> Option<Self> {
        let all = [
            Self::Asked,
            Self::Pushed,
            Self::Known,
            Self::Verified,
            Self::Authorizing,
            Self::Choosing,
            Self::Chosen,
            Self::Enrolling,
            Self::Ticket,
        ];
        all.into_iter().find(|kind| kind.number() == number)
    }
}

/// A service that was not reached, in whose place another client was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    pub section: String,
    pub reason: String,
}

/// A challenge of a client.
#[derive(Clone, Debug)]
pub struct Held {
    pub id: ChallengeId,
    pub kind: Kind,
    /// Under which name the claimant is verified.
    pub identity: MfaIdentity,
    /// What went wrong on the way to that name.
    pub trouble: Option<String>,
    /// The section of the client; empty where none is concerned.
    pub section: String,
    /// What the claimant was asked.
    pub prompt: Prompt,
    /// In whose place the client stands.
    pub absent: Option<Absent>,
    /// Empty where only a code is asked for, and the client knows nothing of it yet.
    pub state: ClientState,
    /// How often it can be answered before it is over.
    pub tries: u32,
}

/// Whose challenge it is, by the name that the gateway says: nobody else's answer is taken.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    pub subscriber: &'a Subscriber,
    pub session: Option<&'a str>,
    /// What it is for.
    pub errand: &'a Errand,
}

impl Owner<'_> {
    fn binding(&self) -> String {
        self.errand.binding(self.session)
    }
}

/// A new id.
///
/// # Errors
/// Where the operating system gives no randomness.
pub fn new_id() -> Result<ChallengeId, ClientError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| ClientError::Seal(crate::secret::seal::SealError::NoRandomness))?;
    Ok(ChallengeId(HEXLOWER.encode(&bytes)))
}

/// The cookie's handle of `id`.
pub fn handle(id: &ChallengeId) -> Option<[u8; 16]> {
    HEXLOWER.decode(id.0.as_bytes()).ok()?.try_into().ok()
}

/// The challenge that a cookie's handle names.
pub fn named(handle: [u8; 16]) -> ChallengeId {
    ChallengeId(HEXLOWER.encode(&handle))
}

/// Puts `held` into the store.
///
/// # Errors
/// Where that fails, or the client's state is too large.
pub async fn hold(
    store: &dyn Store,
    sealer: &Sealer,
    owner: Owner<'_>,
    held: &Held,
    now: UnixTime,
) -> Result<(), ClientError> {
    let Held { id, kind, identity, trouble, section, prompt, absent, state, tries } = held;
    let Prompt { text, key, echo, session_cookie: _ } = prompt;
    let echo = match echo {
        None => None,
        Some(Echo::Show) => Some("show"),
        Some(Echo::Hide) => Some("hide"),
    };
    let away = absent.as_ref().map(|absent| (absent.section.as_str(), absent.reason.as_str())).unzip();
    // Sealed on the next line but one.
    let state = state.expose();
    let limit = match kind {
        Kind::Verified => ADMISSION_LIMIT,
        Kind::Asked
        | Kind::Pushed
        | Kind::Known
        | Kind::Authorizing
        | Kind::Choosing
        | Kind::Chosen
        | Kind::Enrolling
        | Kind::Ticket => STATE_LIMIT,
    };
    if state.len() > limit {
        return Err(ClientError::unexpected("what the service wants kept is too large"));
    }
    let mut parcel = Parcel::default();
    parcel.put(char::from(kind.number()).encode_utf8(&mut [0; 4]));
    for part in
        [Some(identity.0.as_str()), trouble.as_deref(), Some(section), Some(text), Some(key), echo, away.0, away.1]
    {
        parcel.put_option(part);
    }
    let mut plain = parcel.into_bytes();
    plain.extend_from_slice(state);
    let plain = SecretBytes::new(plain);
    let sealed = sealer.seal(keys::Purpose::Challenge, &place(owner.subscriber, id), plain.expose())?;
    let challenge = Challenge {
        id: id.clone(),
        subscriber: owner.subscriber.clone(),
        purpose: owner.errand.purpose(),
        binding: owner.binding(),
        sealed,
        state: kind.state(),
        created: now,
        expires: now.plus(cookie::LIFETIME),
        tries_left: *tries,
    };
    Ok(store.open_challenge(&challenge).await?)
}

/// The challenge `id`, where it is the owner's and still waits for an answer.
///
/// # Errors
/// Where the store cannot be read, or what lies there cannot be opened.
pub async fn find(
    store: &dyn Store,
    sealer: &Sealer,
    owner: Owner<'_>,
    id: &ChallengeId,
    now: UnixTime,
) -> Result<Option<Held>, ClientError> {
    let Some(challenge) = store.challenge(id, now).await? else { return Ok(None) };
    let is_theirs = challenge.purpose == owner.errand.purpose()
        && challenge.subscriber == *owner.subscriber
        && challenge.binding == owner.binding();
    if !is_theirs {
        return Ok(None);
    }
    let plain = sealer.open(keys::Purpose::Challenge, &place(owner.subscriber, id), &challenge.sealed)?;
    let held = read(plain.expose(), id, challenge.tries_left);
    Ok(held.filter(|held| held.kind.state() == challenge.state))
}

/// Uses the challenge up; says whether this caller did.
///
/// # Errors
/// Where the store cannot be written.
pub async fn finish(store: &dyn Store, held: &Held, to: State, now: UnixTime) -> Result<bool, ClientError> {
    Ok(store.move_challenge(&held.id, held.kind.state(), to, now).await?)
}

fn place<'a>(subscriber: &'a Subscriber, id: &'a ChallengeId) -> [&'a [u8]; 2] {
    [subscriber.as_str().as_bytes(), id.0.as_bytes()]
}

fn read(plain: &[u8], id: &ChallengeId, tries: u32) -> Option<Held> {
    let mut parts = Parts(plain);
    let kind = Kind::numbered(*parts.take()?.as_bytes().first()?)?;
    let identity = MfaIdentity(parts.take()?.into());
    let trouble = parts.take_option()?.map(Into::into);
    let section = parts.take()?.to_owned();
    let (text, key) = (parts.take()?.to_owned(), parts.take()?.to_owned());
    let echo = match parts.take_option()? {
        None => None,
        Some("show") => Some(Echo::Show),
        Some("hide") => Some(Echo::Hide),
        Some(_) => return None,
    };
    let (away, reason) = (parts.take_option()?, parts.take_option()?);
    let absent = away.zip(reason).map(|(section, reason)| Absent { section: section.into(), reason: reason.into() });
    let (prompt, state) =
        (Prompt { text, key, echo, session_cookie: BTreeMap::new() }, SecretBytes::new(parts.0.to_vec()));
    Some(Held { id: id.clone(), kind, identity, trouble, section, prompt, absent, state, tries })
}

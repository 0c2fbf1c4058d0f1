//! An enrolment that waits for its proof: a challenge of the store.

use crate::admin::AdminError;
use crate::admin::audit::Act;
use crate::admin::desk::{self, Desk};
use crate::config::value::ClientName;
use crate::domain::authenticator::Totp;
use crate::domain::challenge::{Challenge, ChallengeId, Purpose, State};
use crate::domain::foreign::Foreign;
use crate::domain::secret::SecretBytes;
use crate::otp::uri::OtpAuth;
use crate::secret::keys;
use crate::secret::seal::authenticator_place;

use super::label::free_label;

/// An enrolment that waits for its proof.
pub struct Enrolment {
    pub challenge: Challenge,
    pub label: String,
    pub otpauth: OtpAuth,
}

impl Enrolment {
    /// A new one for `user`, which stands in the store when this returns.
    pub fn open(desk: &Desk, user: &str, label: Option<&str>) -> Result<Self, AdminError> {
        let subscriber = desk::subscriber(user)?;
        let options = &desk.setup.config.totp;
        let label = free_label(&desk.authenticators_of(&subscriber)?, label)?;
        let otpauth = OtpAuth {
            issuer: Some(options.issuer.clone()),
            account: user.trim().to_owned(),
            totp: Totp { algorithm: options.algorithm, digits: options.digits.0, period: options.period.0 },
            secret: new_secret(usize::try_from(options.secret_bytes.0).unwrap_or(20))?,
        };
        let id = ChallengeId(desk::random_text::<16>()?);
        // Sealed at once.
        let sealed = desk
            .setup
            .sealer
            .seal(
                keys::Purpose::Challenge,
                &authenticator_place(&subscriber, &id.0),
                otpauth.to_uri().expose().as_bytes(),
            )
            .map_err(|error| AdminError::Failed(error.to_string()))?;
        let limits = desk.setup.config.challenge();
        let created = desk.now();
        let challenge = Challenge {
            id,
            subscriber,
            purpose: Purpose::Enrol,
            binding: label.clone(),
            sealed,
            state: State::New,
            created,
            expires: created.plus(limits.lifetime.0),
            tries_left: limits.tries.0,
        };
        desk.settled(desk.store().open_challenge(&challenge))?;
        Ok(Self { challenge, label, otpauth })
    }

    /// The pending one called `id`.
    ///
    /// # Errors
    /// Where there is none, or it is over, with how it ended.
    pub fn find(desk: &Desk, id: &str) -> Result<Self, AdminError> {
        let gone = |what: &str| AdminError::Data(format!("the enrolment {} {what}; begin a new one", Foreign(id)));
        let challenge = desk
            .settled(desk.store().challenge(&ChallengeId(id.trim().to_lowercase()), desk.now()))?
            .filter(|challenge| challenge.purpose == Purpose::Enrol)
            .ok_or_else(|| gone("is not known"))?;
        match challenge.state {
            State::New => {}
            State::Used => return Err(gone("was proved already")),
            State::Expired => return Err(gone("has expired")),
            State::Cancelled => return Err(gone("was cancelled")),
            State::InProcess | State::Confirmed | State::Failed => return Err(gone("is over")),
        }
        let place = authenticator_place(&challenge.subscriber, &challenge.id.0);
        let uri = desk
            .setup
            .sealer
            .open(keys::Purpose::Challenge, &place, &challenge.sealed)
            .map_err(|error| AdminError::Failed(error.to_string()))?;
        // Parsed at once; it was written by this program.
        let otpauth = std::str::from_utf8(uri.expose())
            .ok()
            .and_then(|uri| OtpAuth::parse(uri).ok())
            .ok_or_else(|| AdminError::Failed("the pending enrolment cannot be read".into()))?;
        Ok(Self { label: challenge.binding.clone(), challenge, otpauth })
    }

    /// Writes to the log what is done with it, before it is done: whoever sees the secret can make codes.
    pub fn audit(&self, desk: &Desk, action: &'static str, grounds: &str) -> Result<(), AdminError> {
        desk.audit(&Act { action, subscriber: &self.challenge.subscriber, what: &self.label, grounds })
    }

    /// Ends it, unproved.
    pub fn cancel(&self, desk: &Desk) -> Result<(), AdminError> {
        desk.settled(desk.store().move_challenge(&self.challenge.id, State::New, State::Cancelled, desk.now()))?;
        Ok(())
    }
}

/// Whether `client` is one whose authenticators are enrolled here.
///
/// # Errors
/// Where it is another, with what it could be.
pub fn check_client(client: &str) -> Result<(), AdminError> {
    let known = ClientName::Totp.section();
    if client == known {
        return Ok(());
    }
    Err(AdminError::Usage(format!(
        "--client: expected {known}, found \"{}\"; a remote service enrols its users itself",
        Foreign(client)
    )))
}

fn new_secret(bytes: usize) -> Result<SecretBytes, AdminError> {
    let mut secret = vec![0; bytes];
    getrandom::fill(&mut secret).map_err(|error| AdminError::Failed(format!("no randomness: {error}")))?;
    Ok(SecretBytes::new(secret))
}

//! An enrolment that waits for its proof: a challenge of the store.

use crate::admin::AdminError;
use crate::admin::audit::Act;
use crate::admin::desk::{self, Desk};
use crate::admin::recovery;
use crate::config::Config;
use crate::config::value::{ClientName, Value};
use crate::domain::authenticator::{Hotp, Totp};
use crate::domain::challenge::{Challenge, ChallengeId, Purpose, State};
use crate::domain::foreign::Foreign;
use crate::domain::secret::{Secret, SecretBytes};
use crate::otp::uri::{KeyUri, Kind};
use crate::secret::keys;
use crate::secret::seal::authenticator_place;
use crate::store::RECOVERY;

use zeroize::Zeroizing;

use super::label::free_label;

/// An enrolment that waits for its proof.
pub struct Enrolment {
    pub challenge: Challenge,
    pub label: String,
    pub otpauth: KeyUri,
    /// Recovery codes that count once it is proved; none where the subscriber has some already.
    pub recovery_codes: Vec<Secret<String>>,
}

impl Enrolment {
    /// A new one for `user`, which stands in the store when this returns.
    pub fn open(desk: &Desk, user: &str, client: &str, label: Option<&str>) -> Result<Self, AdminError> {
        let config = &desk.setup.config;
        let kind = new_kind(config, client)?;
        let subscriber = desk::subscriber(user)?;
        let held = desk.authenticators_of(&subscriber)?;
        let label = free_label(&held, label)?;
        let recovery_codes = match held.iter().any(|known| known.client == RECOVERY) {
            true => Vec::new(),
            false => recovery::new_codes(&config.policy.recovery())?,
        };
        let otpauth = KeyUri {
            issuer: Some(config.totp.issuer.clone()),
            account: user.trim().to_owned(),
            kind,
            secret: new_secret(usize::try_from(config.totp.secret_bytes.0).unwrap_or(20))?,
        };
        let id = ChallengeId(desk::random_text::<16>()?);
        // Sealed at once: the URI, and a line for each recovery code.
        let mut plain = Zeroizing::new(otpauth.to_uri().expose().clone());
        for code in &recovery_codes {
            plain.push('\n');
            plain.push_str(code.expose());
        }
        let sealed = desk
            .setup
            .sealer
            .seal(keys::Purpose::Challenge, &authenticator_place(&subscriber, &id.0), plain.as_bytes())
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
        Ok(Self { challenge, label, otpauth, recovery_codes })
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
        let plain = desk
            .setup
            .sealer
            .open(keys::Purpose::Challenge, &place, &challenge.sealed)
            .map_err(|error| AdminError::Failed(error.to_string()))?;
        // Parsed at once; it was written by this program.
        let mut lines = std::str::from_utf8(plain.expose()).unwrap_or_default().lines();
        let otpauth = lines.next().and_then(|uri| KeyUri::parse(uri).ok());
        let otpauth = otpauth.ok_or_else(|| AdminError::Failed("the pending enrolment cannot be read".into()))?;
        let recovery_codes = lines.map(|code| Secret::new(code.to_owned())).collect();
        Ok(Self { label: challenge.binding.clone(), challenge, otpauth, recovery_codes })
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

/// What is new of an authenticator that `client` verifies.
///
/// # Errors
/// Where its authenticators are not enrolled here, with whose are.
fn new_kind(config: &Config, client: &str) -> Result<Kind, AdminError> {
    match ClientName::parse(client) {
        Some(ClientName::Totp) => {
            let options = &config.totp;
            let (algorithm, digits, period) = (options.algorithm, options.digits.0, options.period.0);
            Ok(Kind::Totp(Totp { algorithm, digits, period }))
        }
        Some(ClientName::Hotp) => {
            let options = config.policy.hotp();
            Ok(Kind::Hotp(Hotp { algorithm: options.algorithm, digits: options.digits.0 }, 0))
        }
        Some(_) | None => Err(AdminError::Usage(format!(
            "--client: expected {}, found \"{}\"",
            ClientName::expected(),
            Foreign(client)
        ))),
    }
}

fn new_secret(bytes: usize) -> Result<SecretBytes, AdminError> {
    let mut secret = vec![0; bytes];
    getrandom::fill(&mut secret).map_err(|error| AdminError::Failed(format!("no randomness: {error}")))?;
    Ok(SecretBytes::new(secret))
}

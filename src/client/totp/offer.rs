//! A new time-based authenticator, offered to a claimant who has none: as a QR code, and in words.

use data_encoding::BASE32_NOPAD;

use super::TotpClient;
use crate::client::{ClientError, MfaClient, Offer, Offered};
use crate::domain::attempt::Attempt;
use crate::domain::authenticator::{Authenticator, AuthenticatorId, Mechanism, Standing};
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::is_deceptive;
use crate::domain::outcome::{ClientState, Denial};
use crate::domain::secret::{SecretBytes, TypedCode};
use crate::otp::uri::OtpAuth;
use crate::otp::window::{Match, Verifier};
use crate::otp::{base32, qr, typed};
use crate::secret::keys::Purpose;
use crate::secret::seal::{SealError, authenticator_place};

/// What an authenticator that was enrolled at the login is called.
const LABEL: &str = "enrolled at login";

impl TotpClient {
    /// A new secret in a question, and the same for whoever keeps it.
    pub(super) fn show(&self, attempt: &Attempt<'_>) -> Result<Offer, ClientError> {
        let mut secret = vec![0; self.secret_bytes];
        getrandom::fill(&mut secret).map_err(|_| SealError::NoRandomness)?;
        let otpauth = OtpAuth {
            issuer: Some(self.issuer.clone()),
            account: attempt.identity.0.trim().chars().filter(|c| !is_deceptive(*c)).collect(),
            totp: self.parameters,
            secret: SecretBytes::new(secret),
        };
        let (uri, words) = (otpauth.to_uri(), base32::encode(&otpauth.secret));
        // The claimant enrols: this is where they may see it. It is sealed by whoever keeps it.
        let code = qr::render(uri.expose(), qr::Colours::Terminal).unwrap_or_default();
        let text = format!(
            "Scan this with an authenticator app:\n\n{code}\nor type this secret into it: {}\n",
            base32::grouped(words.expose())
        );
        Ok(Offer { text, state: ClientState::new(uri.expose().clone().into_bytes()) })
    }

    /// What a code of the authenticator in `state` makes of it.
    pub(super) fn prove(
        &self,
        attempt: &Attempt<'_>,
        otp: &TypedCode,
        state: &ClientState,
    ) -> Result<Offered, ClientError> {
        // Written by `show`.
        let uri = std::str::from_utf8(state.expose()).unwrap_or_default();
        let Ok(otpauth) = OtpAuth::parse(uri) else { return Ok(Offered::Refused(Denial::ChallengeGone)) };
        let verifier = Verifier::new(otpauth.totp, &otpauth.secret)
            .map_err(|error| ClientError::Authenticator(error.to_string()))?;
        // Read as the digits that were meant; wiped when dropped.
        let Some(code) = typed::code(otp.expose(), otpauth.totp.digits) else {
            let expected = format!("{} digits", otpauth.totp.digits);
            return Ok(Offered::Refused(Denial::MalformedCode { expected }));
        };
        match verifier.find(&code, attempt.moment.now, self.window) {
            Match::Step(step) => self.enrolled(attempt, &otpauth, step),
            Match::Outside { step: _, offset } => {
                let seconds = offset.saturating_mul(i64::try_from(otpauth.totp.period).unwrap_or(i64::MAX));
                Ok(Offered::Refused(Denial::OutsideWindow { steps: offset, seconds }))
            }
            Match::Nowhere => Ok(Offered::Refused(Denial::WrongCode)),
        }
    }

    /// The proved authenticator; the code that proved it is used.
    fn enrolled(&self, attempt: &Attempt<'_>, otpauth: &OtpAuth, step: u64) -> Result<Offered, ClientError> {
        let Ok(subscriber) = Subscriber::enrollable(&attempt.identity.0) else {
            return Ok(Offered::Refused(Denial::NotEnrolled));
        };
        let mut id = [0; 5];
        getrandom::fill(&mut id).map_err(|_| SealError::NoRandomness)?;
        let id = AuthenticatorId(BASE32_NOPAD.encode(&id).to_lowercase());
        // Sealed at once.
        let place = authenticator_place(&subscriber, &id.0);
        let sealed = self.sealer.seal(Purpose::Authenticator, &place, otpauth.secret.expose())?;
        let now = attempt.moment.now;
        Ok(Offered::Proved(Box::new(Authenticator {
            id,
            subscriber,
            client: self.section().to_owned(),
            label: LABEL.to_owned(),
            mechanism: Mechanism::Totp(otpauth.totp),
            sealed,
            last_step: Some(step),
            created: now,
            last_used: Some(now),
            standing: Standing::Active,
            is_default: false,
        })))
    }
}

//! From a secret to the authenticator that the store keeps.

use crate::admin::AdminError;
use crate::admin::desk::{self, Desk};
use crate::config::value::ClientName;
use crate::domain::authenticator::{Authenticator, Mechanism, Standing};
use crate::domain::claimant::Subscriber;
use crate::domain::secret::SecretBytes;
use crate::otp::uri::Kind;
use crate::secret::keys;
use crate::secret::seal::authenticator_place;

/// Who verifies an authenticator of this kind.
pub const fn client(kind: Kind) -> ClientName {
    match kind {
        Kind::Totp(_) => ClientName::Totp,
        Kind::Hotp(_, _) => ClientName::Hotp,
    }
}

/// What an authenticator is made of.
pub struct NewAuthenticator<'a> {
    pub label: &'a str,
    pub kind: Kind,
    pub secret: &'a SecretBytes,
    pub last_step: Option<u64>,
}

impl NewAuthenticator<'_> {
    /// The authenticator for `subscriber`, its secret sealed.
    pub fn seal(&self, desk: &Desk, subscriber: &Subscriber) -> Result<Authenticator, AdminError> {
        let id = desk::new_authenticator_id()?;
        // Sealed at once.
        let sealed = desk
            .setup
            .sealer
            .seal(keys::Purpose::Authenticator, &authenticator_place(subscriber, &id.0), self.secret.expose())
            .map_err(|error| AdminError::Failed(error.to_string()))?;
        Ok(Authenticator {
            id,
            subscriber: subscriber.clone(),
            client: client(self.kind).section().into_owned(),
            label: self.label.to_owned(),
            mechanism: match self.kind {
                Kind::Totp(totp) => Mechanism::Totp(totp),
                Kind::Hotp(hotp, _) => Mechanism::Hotp(hotp),
            },
            sealed,
            last_step: self.last_step,
            created: desk.now(),
            last_used: None,
            standing: Standing::Active,
            is_default: false,
        })
    }
}

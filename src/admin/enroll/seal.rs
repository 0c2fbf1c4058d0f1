//! From a secret to the authenticator that the store keeps.

use crate::admin::AdminError;
use crate::admin::desk::{self, Desk};
use crate::domain::authenticator::{Authenticator, Mechanism, Standing, Totp};
use crate::domain::claimant::Subscriber;
use crate::domain::secret::SecretBytes;
use crate::secret::keys;
use crate::secret::seal::authenticator_place;

/// What an authenticator is made of.
pub struct NewAuthenticator<'a> {
    pub label: &'a str,
    pub totp: Totp,
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
            client: "totp".into(),
            label: self.label.to_owned(),
            mechanism: Mechanism::Totp(self.totp),
            sealed,
            last_step: self.last_step,
            created: desk.now(),
            last_used: None,
            standing: Standing::Active,
            is_default: false,
        })
    }
}

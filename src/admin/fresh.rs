//! From a secret to a new authenticator, as the store keeps it.

use super::AdminError;
use super::desk::{self, Desk};
use crate::domain::authenticator::{Authenticator, Mechanism, Standing};
use crate::domain::claimant::Subscriber;
use crate::domain::secret::SecretBytes;
use crate::secret::keys;
use crate::secret::seal::authenticator_place;

/// What an authenticator is made of.
pub struct NewAuthenticator<'a> {
    /// Who verifies it: a section of plugin.ini.
    pub client: &'a str,
    pub label: &'a str,
    pub mechanism: Mechanism,
    /// What it verifies by: a key, or the target of sent codes.
    pub secret: &'a SecretBytes,
    /// The time step or counter that is used already.
    pub last_step: Option<u64>,
}

impl NewAuthenticator<'_> {
    /// The authenticator for `subscriber`, its secret sealed.
    pub fn seal(&self, desk: &Desk, subscriber: &Subscriber) -> Result<Authenticator, AdminError> {
        let Self { client, label, mechanism, secret, last_step } = *self;
        let id = desk::new_authenticator_id()?;
        let place = authenticator_place(subscriber, &id.0);
        // Sealed at once.
        let sealed = desk.setup.sealer.seal(keys::Purpose::Authenticator, &place, secret.expose());
        Ok(Authenticator {
            id,
            subscriber: subscriber.clone(),
            client: client.to_owned(),
            label: label.to_owned(),
            mechanism,
            sealed: sealed.map_err(|error| AdminError::Failed(error.to_string()))?,
            last_step,
            created: desk.now(),
            last_used: None,
            standing: Standing::Active,
            is_default: false,
        })
    }
}

//! What the limits say of a password that comes before the second factor: it is counted with the codes.

use super::{Engine, store_fault};
use crate::domain::claimant::Subscriber;
use crate::domain::outcome::Denial;
use crate::domain::request::Request;
use crate::domain::time::Moment;
use crate::domain::verdict::Reject;
use crate::policy::source::canonical_source;
use crate::store::{Counter, Origin};

impl Engine {
    /// Whose failure a wrong password in `request` would be, where it is heard. Nothing is counted.
    ///
    /// # Errors
    /// Where it has to wait, or names nobody.
    pub async fn hear_password(&self, request: &Request, moment: Moment) -> Result<Origin, Reject> {
        let claimant = self.claimant(request).ok_or(Denial::NoClaimant)?;
        // No directory is asked for whoever has no password yet.
        let subscriber = Subscriber::canonical(&self.known_identity(&claimant.0).0);
        let source = request.session.client_ip.as_deref().map(canonical_source);
        let origin = Origin { subscriber, counter: Counter::Codes, source };
        let ruling = self.store.standing(&origin, moment.now).await.map_err(|error| store_fault(&error))?;
        self.heard(ruling)?;
        Ok(origin)
    }

    /// Counts a wrong password of `origin`. What it says may not leave before the store has settled.
    ///
    /// # Errors
    /// Where it cannot be counted.
    pub async fn count_wrong_password(&self, origin: &Origin, moment: Moment) -> Result<(), Reject> {
        // Whoever would have to wait by now has failed meanwhile: it is no yes either way.
        self.store.charge(origin, moment.now).await.map(drop).map_err(|error| store_fault(&error).into())
    }
}

//! Sets of recovery codes that come with an import: in plain text, or as they were hashed where they come from.

use super::batch::Batch;
use super::enrol::{Fate, free_label};
use super::incoming::Hashed;
use crate::admin::AdminError;
use crate::admin::desk::Desk;
use crate::admin::fresh::NewAuthenticator;
use crate::admin::handed::new_set;
use crate::admin::recovery::LABEL;
use crate::domain::authenticator::{Authenticator, Mechanism};
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::domain::secret::Secret;
use crate::otp::look_up::{Code, Scheme};
use crate::store::RECOVERY;

/// Adds codes in plain text: only their hashes are kept.
///
/// # Errors
/// Where the store cannot be asked or nothing can be sealed.
pub fn keyed(
    batch: &mut Batch<'_>,
    desk: &Desk,
    subscriber: &Subscriber,
    codes: &[Secret<String>],
) -> Result<Fate, AdminError> {
    let (set, scheme) = new_set(desk, subscriber, RECOVERY, LABEL)?;
    // Read as they would be typed.
    let hashes: Option<Vec<_>> =
        codes.iter().map(|code| Code::typed(code.expose()).map(|code| scheme.hash(&code))).collect();
    match hashes {
        Some(hashes) => add(batch, set, hashes),
        None => Ok(Fate::Flawed("one of the recovery codes is shorter than 8 characters; take it out".into())),
    }
}

/// Adds codes that were hashed elsewhere; they count as long as they are not used.
///
/// # Errors
/// As for [`keyed`].
pub fn hashed(
    batch: &mut Batch<'_>,
    desk: &Desk,
    subscriber: &Subscriber,
    codes: Vec<Hashed>,
) -> Result<Fate, AdminError> {
    let Some(Hashed { iterations, salt, hash: _ }) = codes.first().cloned() else { return Ok(Fate::Taken) };
    if codes.iter().any(|code| code.iterations != iterations || code.salt != salt) {
        let what =
            "the recovery codes of one user are hashed in several ways: let them have new ones, countersign recovery";
        return Ok(Fate::Flawed(what.into()));
    }
    let hashes = codes.into_iter().map(|Hashed { iterations: _, salt: _, hash }| hash.to_vec()).collect();
    let (mechanism, secret) = (Mechanism::LookUp, &Scheme::pbkdf2(iterations, &salt));
    let set = NewAuthenticator { client: RECOVERY, label: LABEL, mechanism, secret, last_step: None }
        .seal(desk, subscriber)?;
    add(batch, set, hashes)
}

fn add(batch: &mut Batch<'_>, mut set: Authenticator, mut hashes: Vec<Vec<u8>>) -> Result<Fate, AdminError> {
    let subscriber = set.subscriber.clone();
    if batch.held(&subscriber)?.iter().any(|held| held.client == RECOVERY) {
        let user = Foreign(subscriber.as_str());
        return Ok(Fate::Exists(format!("{user} has recovery codes already")));
    }
    set.label = match free_label(batch, &subscriber, Some(LABEL))? {
        Ok(label) => label,
        Err(what) => return Ok(Fate::Flawed(what)),
    };
    hashes.sort();
    hashes.dedup();
    batch.add(set, hashes)?;
    Ok(Fate::Taken)
}

//! What `countersign export` wrote, put back: with its ids, labels and states, and with everything that was used.

use std::path::Path;

use super::batch::Batch;
use super::enrol::not_there;
use super::incoming::Flaw;
use crate::admin::AdminError;
use crate::admin::backup::{self, Kept};
use crate::admin::desk::{self, Desk};
use crate::domain::authenticator::{
    Algorithm, Authenticator, AuthenticatorId, Hotp, Mechanism, Standing, Tombstone, Totp,
};
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::domain::secret::SecretBytes;
use crate::domain::time::UnixTime;
use crate::otp::window::{FAR, Verifier};
use crate::secret::keys::Purpose;
use crate::secret::seal::authenticator_place;
use crate::store::RECOVERY;

/// How far in the future a backup may be made, in seconds: clocks differ a little.
const AHEAD: u64 = FAR * 30;

/// What becomes of an authenticator that somebody removed here since the backup was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It stays removed.
    Keep,
    /// It comes back.
    Restore,
}

/// What of a backup is wanted.
pub struct Wanted {
    /// Whose; empty for everybody's.
    pub only: Vec<Subscriber>,
    pub removed: Removed,
}

/// Puts what the backup in `text` holds of what is `wanted` into `batch`.
///
/// # Errors
/// Where it does not open with the key in `key`, or nothing can be sealed.
pub fn take(batch: &mut Batch<'_>, desk: &Desk, text: &str, key: &Path, wanted: &Wanted) -> Result<(), AdminError> {
    let Wanted { only, removed } = wanted;
    let backup::Backup { made, authenticators } = backup::open(text, key)?;
    if made > desk.now().0.saturating_add(AHEAD) {
        // Every code until then would count as used.
        return Err(AdminError::Data(format!(
            "the backup was made at {}, which lies in the future; is the clock of this machine right? Nothing was imported",
            desk::shown(UnixTime(made))
        )));
    }
    if authenticators.is_empty() {
        return Err(AdminError::Data("the backup holds no authenticators; nothing was imported".into()));
    }
    let mut last = desk.now();
    // Of a clock that was set back since, the later time counts.
    last.0 = last.0.max(made);
    let mut missing = only.clone();
    for kept in authenticators {
        let place = format!("\"{}\" of {}", Foreign(&kept.label), Foreign(&kept.user));
        let subscriber = match Subscriber::enrollable(&kept.user) {
            Ok(subscriber) => subscriber,
            Err(flaw) => {
                batch.flaw(Flaw { place, what: format!("the user name {flaw}") });
                continue;
            }
        };
        if !only.is_empty() && !only.contains(&subscriber) {
            continue;
        }
        missing.retain(|name| *name != subscriber);
        match restored(&kept, last, desk.setup.config.totp.valid_window.0.into()) {
            Ok(restored) => {
                let grave = match removed {
                    Removed::Keep => grave(desk, &subscriber, &kept)?,
                    Removed::Restore => None,
                };
                put(batch, desk, &place, subscriber, &kept, restored, grave)?;
            }
            Err(what) => batch.flaw(Flaw { place, what: what.to_owned() }),
        }
    }
    missing.iter().for_each(|name| batch.flaw(not_there(name)));
    Ok(())
}

/// What is read out of a kept authenticator.
struct Restored {
    mechanism: Mechanism,
    secret: SecretBytes,
    last_step: Option<u64>,
    codes: Vec<Vec<u8>>,
}

fn restored(kept: &Kept, now: UnixTime, window: u64) -> Result<Restored, &'static str> {
    let unknown = "this is of a kind that this countersign does not know; import it with a newer one";
    let algorithm = || kept.algorithm.as_deref().and_then(Algorithm::named).ok_or(unknown);
    let secret = backup::read(&kept.secret).ok_or("the secret is damaged")?;
    let mechanism = match kept.kind.as_str() {
        "totp" => Mechanism::Totp(Totp {
            algorithm: algorithm()?,
            digits: kept.digits.ok_or(unknown)?,
            period: kept.period.ok_or(unknown)?,
        }),
        "hotp" => Mechanism::Hotp(Hotp { algorithm: algorithm()?, digits: kept.digits.ok_or(unknown)? }),
        "look-up" => Mechanism::LookUp,
        "sent" => Mechanism::Sent,
        "elsewhere" => Mechanism::Elsewhere,
        _ => return Err(unknown),
    };
    let last_step = match mechanism {
        Mechanism::Totp(totp) => {
            // What was used after the backup is not in it: every code that could have been counts as used.
            let verifier = Verifier::new(totp, &secret).map_err(|_| unknown)?;
            kept.last_step.max(Some(verifier.step(now).saturating_add(window)))
        }
        Mechanism::Hotp(hotp) => {
            Verifier::by_counter(hotp, &secret).map_err(|_| unknown)?;
            kept.last_step
        }
        Mechanism::LookUp | Mechanism::Sent | Mechanism::Elsewhere => kept.last_step,
    };
    let code = |text: &String| backup::read(text).map(|hash| hash.expose().clone());
    let codes: Option<Vec<_>> = kept.codes.iter().map(code).collect();
    Ok(Restored { mechanism, secret, last_step, codes: codes.ok_or("a recovery code is damaged")? })
}

/// How it was removed here since, for a person; of recovery codes, also where a later set was.
fn grave(desk: &Desk, subscriber: &Subscriber, kept: &Kept) -> Result<Option<String>, AdminError> {
    let removed = desk.settled(desk.store().tombstones(subscriber))?;
    let is_codes = kept.client == RECOVERY;
    let same = |stone: &&Tombstone| {
        stone.id.0 == kept.id || (is_codes && stone.client == RECOVERY && stone.created.0 >= kept.created)
    };
    Ok(removed.iter().find(same).map(|Tombstone { id: _, client: _, label: _, created: _, removed, reason }| {
        let why = if reason.is_empty() { String::new() } else { format!(": {}", Foreign(reason)) };
        format!("was removed at {}{why}", desk::shown(*removed))
    }))
}

fn put(
    batch: &mut Batch<'_>,
    desk: &Desk,
    place: &str,
    subscriber: Subscriber,
    kept: &Kept,
    restored: Restored,
    grave: Option<String>,
) -> Result<(), AdminError> {
    let Restored { mechanism, secret, last_step, codes } = restored;
    let held = batch.held(&subscriber)?;
    let has_default = held.iter().any(|held| held.is_default);
    if held.iter().any(|held| held.id == kept.id || (held.client == RECOVERY && kept.client == RECOVERY)) {
        batch.exists(place, "is here already".into());
        return Ok(());
    }
    if let Some(what) = grave {
        batch.removed(place, &what);
        return Ok(());
    }
    let is_taken = held.iter().any(|held| held.label == kept.label);
    let makes_codes = matches!(mechanism, Mechanism::Totp(_) | Mechanism::Hotp(_));
    if makes_codes && let Some(what) = batch.double(&subscriber, mechanism, &secret)? {
        batch.exists(place, what);
        return Ok(());
    }
    let label = match desk::label(&kept.label) {
        Ok(label) if !is_taken => label.to_owned(),
        Ok(_) => {
            let what = "the user has another authenticator of that label; rename or remove that one first".into();
            batch.flaw(Flaw { place: place.to_owned(), what });
            return Ok(());
        }
        Err(error) => {
            batch.flaw(Flaw { place: place.to_owned(), what: error.to_string() });
            return Ok(());
        }
    };
    let id = AuthenticatorId(kept.id.clone());
    // Sealed at once, under the master key that is here.
    let sealed = desk
        .setup
        .sealer
        .seal(Purpose::Authenticator, &authenticator_place(&subscriber, &id.0), secret.expose())
        .map_err(|error| AdminError::Failed(error.to_string()))?;
    let standing = if kept.disabled { Standing::Disabled } else { Standing::Active };
    let new = Authenticator {
        id,
        subscriber,
        client: kept.client.clone(),
        label,
        mechanism,
        sealed,
        last_step,
        created: UnixTime(kept.created),
        last_used: kept.last_used.map(UnixTime),
        standing,
        // What is the default here stays it.
        is_default: kept.default && !has_default && standing == Standing::Active,
    };
    batch.add(new, codes)
}

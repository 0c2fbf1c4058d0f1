//! From what a source holds to authenticators: whose they are, whether they are good enough, and what of them is used.

use std::collections::BTreeMap;

use super::batch::Batch;
use super::codes;
use super::incoming::{Flaw, Incoming, Reading, Used, What};
use crate::admin::AdminError;
use crate::admin::desk::{self, Desk};
use crate::admin::enroll::first_free;
use crate::admin::fresh::NewAuthenticator;
use crate::config::value::ClientName;
use crate::domain::authenticator::Mechanism;
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;
use crate::domain::secret::SecretBytes;
use crate::otp::typed;
use crate::otp::uri::{SECRET_MAXIMUM, SECRET_MINIMUM, SECRET_WEAKEST};
use crate::otp::window::{FAR, Match, Verifier};

/// How short a secret may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strength {
    /// 128 bits (RFC 4226, 4).
    #[default]
    Sound,
    /// 80 bits.
    Weak,
}

/// What an administrator said of all entries.
#[derive(Default)]
pub struct Order<'a> {
    /// Whose all of them are.
    pub user: Option<&'a str>,
    pub label: Option<&'a str>,
    /// Who alone is taken; empty for everybody.
    pub only: Vec<Subscriber>,
    /// What users of the source are called here.
    pub names: Option<BTreeMap<String, String>>,
    pub strength: Strength,
}

/// Puts what was read into `batch`.
///
/// # Errors
/// Where the store cannot be asked or nothing can be sealed; what is wrong with an entry is put into `batch`, too.
pub fn take(batch: &mut Batch<'_>, desk: &Desk, order: &Order<'_>, reading: Reading) -> Result<(), AdminError> {
    let Reading { found, flaws, passed, remarks } = reading;
    flaws.into_iter().for_each(|flaw| batch.flaw(flaw));
    passed.into_iter().for_each(|remark| batch.pass_over(remark));
    remarks.into_iter().for_each(|remark| batch.remark(remark));
    let mut missing = order.only.clone();
    for incoming in found {
        let place = incoming.place.clone();
        match order.whose(&incoming) {
            Whose::One(subscriber) if order.only.is_empty() || order.only.contains(&subscriber) => {
                missing.retain(|name| *name != subscriber);
                match enrol(batch, desk, order, &subscriber, incoming)? {
                    Fate::Taken => {}
                    Fate::Exists(what) => batch.exists(&place, what),
                    Fate::Flawed(what) => batch.flaw(Flaw { place, what }),
                }
            }
            Whose::One(_) => {}
            Whose::PassedOver(name) => {
                batch.pass_over(format!(
                    "{place}: passed over: the list of names has nobody for \"{}\"",
                    Foreign(&name)
                ));
            }
            Whose::Nobody(what) => batch.flaw(Flaw { place, what }),
        }
    }
    missing.iter().for_each(|name| batch.flaw(not_there(name)));
    Ok(())
}

/// Somebody who was asked for, and is not in the source.
pub fn not_there(name: &Subscriber) -> Flaw {
    let place = format!("--only {}", Foreign(name.as_str()));
    Flaw { place, what: "nobody of that name is in the source".into() }
}

/// Whose an entry is.
enum Whose {
    One(Subscriber),
    /// Somebody that the list of names passes over.
    PassedOver(String),
    /// Why that cannot be said.
    Nobody(String),
}

/// What became of an entry.
pub enum Fate {
    Taken,
    Exists(String),
    Flawed(String),
}

impl Order<'_> {
    fn whose(&self, incoming: &Incoming) -> Whose {
        let there = incoming.user.as_deref().unwrap_or_default();
        let here = match (self.user, &self.names) {
            (Some(user), _) => user,
            (None, None) => there,
            (None, Some(names)) => match names.get(there).map(String::as_str) {
                Some("") => return Whose::PassedOver(there.to_owned()),
                Some(here) => here,
                None => {
                    let there = Foreign(there);
                    return Whose::Nobody(format!(
                        "\"{there}\" is not in the list of names; add a line: {there} = NAME (or nothing, to pass it over)"
                    ));
                }
            },
        };
        match Subscriber::enrollable(here) {
            Ok(subscriber) => Whose::One(subscriber),
            Err(flaw) => {
                Whose::Nobody(format!("the user name \"{}\" {flaw}; say whose it is: --user USER", Foreign(here)))
            }
        }
    }
}

fn enrol(
    batch: &mut Batch<'_>,
    desk: &Desk,
    order: &Order<'_>,
    subscriber: &Subscriber,
    incoming: Incoming,
) -> Result<Fate, AdminError> {
    let Incoming { place: _, user: _, label, what, used, created } = incoming;
    let (client, mechanism, secret) = match what {
        What::Totp { totp, secret } => (ClientName::Totp, Mechanism::Totp(totp), secret),
        What::Hotp { hotp, secret } => (ClientName::Hotp, Mechanism::Hotp(hotp), secret),
        What::RecoveryCodes(codes) => return codes::keyed(batch, desk, subscriber, &codes),
        What::RecoveryHashes(codes) => return codes::hashed(batch, desk, subscriber, codes),
    };
    if let Some(what) = too_weak(&secret, order.strength) {
        return Ok(Fate::Flawed(what));
    }
    if let Some(what) = batch.double(subscriber, mechanism, &secret)? {
        return Ok(Fate::Exists(what));
    }
    let wanted = order.label.or(label.as_deref());
    let label = match free_label(batch, subscriber, wanted)? {
        Ok(label) => label,
        Err(what) => return Ok(Fate::Flawed(what)),
    };
    let last_step = match last_used(desk, mechanism, &secret, used) {
        Ok(last_step) => last_step,
        Err(what) => return Ok(Fate::Flawed(what)),
    };
    let (client, label) = (&client.section(), &label);
    let mut new = NewAuthenticator { client, label, mechanism, secret: &secret, last_step }.seal(desk, subscriber)?;
    new.created = created.unwrap_or(new.created);
    batch.add(new, Vec::new())?;
    Ok(Fate::Taken)
}

/// Why a secret is not taken over.
fn too_weak(secret: &SecretBytes, strength: Strength) -> Option<String> {
    // Only its length is looked at.
    let (bytes, bits) = (secret.expose().len(), secret.expose().len() * 8);
    if bytes > SECRET_MAXIMUM {
        return Some("the secret is longer than 2048 bits; enrol anew".into());
    }
    if bytes < SECRET_WEAKEST {
        return Some(format!("the secret has {bits} bits; below 80 none is taken: enrol anew with countersign enroll"));
    }
    match strength {
        Strength::Sound if bytes < SECRET_MINIMUM => Some(format!(
            "the secret has {bits} bits; at least 128 are needed (RFC 4226, 4): enrol anew, or take it with --allow-weak"
        )),
        Strength::Sound | Strength::Weak => None,
    }
}

/// The label that was asked for, where it is free, or the first free one of the usual name; else what is wrong with it.
pub fn free_label(
    batch: &mut Batch<'_>,
    subscriber: &Subscriber,
    wanted: Option<&str>,
) -> Result<Result<String, String>, AdminError> {
    let held = batch.held(subscriber)?;
    let is_taken = |label: &str| held.iter().any(|held| held.label == label);
    let Some(wanted) = wanted else {
        return Ok(Ok(first_free(is_taken)));
    };
    let label = match desk::label(wanted) {
        Ok(label) => label,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if is_taken(label) {
        let user = Foreign(subscriber.as_str());
        let label = Foreign(label);
        return Ok(Err(format!("{user} has an authenticator called \"{label}\"; choose another --label")));
    }
    Ok(Ok(label.to_owned()))
}

/// The last time step or counter that is used.
fn last_used(desk: &Desk, mechanism: Mechanism, secret: &SecretBytes, used: Used) -> Result<Option<u64>, String> {
    let verifier = |totp| Verifier::new(totp, secret).map_err(|error| error.to_string());
    let now = desk.now();
    match (used, mechanism) {
        (Used::Nothing, _) => Ok(None),
        (Used::UpTo(last), Mechanism::Totp(totp)) => {
            // It would be of no use before that time came.
            let latest = verifier(totp)?.step(now).saturating_add(FAR);
            if last > latest {
                return Err("its used time steps lie in the future; is the clock of this machine right?".into());
            }
            Ok(Some(last))
        }
        // The store counts as far as this.
        (Used::UpTo(last), _) if i64::try_from(last).is_ok_and(|last| last < i64::MAX) => Ok(Some(last)),
        (Used::UpTo(_), _) => Err("its counter is larger than any that is counted to".into()),
        (Used::Code(code), Mechanism::Totp(totp)) => {
            let verifier = verifier(totp)?;
            // Read as the digits that they are; one that is long past is used by its age.
            let code = typed::code(code.expose(), totp.digits);
            Ok(code.and_then(|code| match verifier.find(&code, now, FAR) {
                Match::Step(step) | Match::Outside { step, offset: _ } => Some(step),
                Match::Nowhere => None,
            }))
        }
        (Used::Code(_), Mechanism::Hotp(_) | Mechanism::LookUp | Mechanism::Sent | Mechanism::Elsewhere) => Ok(None),
    }
}

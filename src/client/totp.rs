//! Time-based one-time passwords, verified against the store (RFC 6238).

mod offer;

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Instant;

use super::description::{Channel, Description, Kind, Matching, Sends};
use super::diagnosis::{self, Findings};
use super::{ClientError, MfaClient, Offer, Offered, Place, Push, Reply};
use crate::config;
use crate::domain::attempt::Attempt;
use crate::domain::authenticator::{Authenticator, Totp};
use crate::domain::outcome::{ClientState, Denial, Factor, Outcome, Proof};
use crate::domain::secret::{SecretBytes, TypedCode};
use crate::domain::time::UnixTime;
use crate::otp::typed;
use crate::otp::window::{Match, Verifier};
use crate::secret::keys::Purpose;
use crate::secret::seal::{Sealer, authenticator_place};
use crate::store::{Consumed, Store};

/// The client of `[totp]`.
pub struct TotpClient {
    store: Rc<dyn Store>,
    sealer: Rc<Sealer>,
    window: u64,
    /// What is new of one that is offered.
    parameters: Totp,
    issuer: String,
    secret_bytes: usize,
    decoy: OnceCell<Vec<u8>>,
}

/// What stands in for the secret of somebody who is not enrolled: as long as a real one.
const DECOY: [u8; 20] = [0; 20];

impl TotpClient {
    /// A client over the authenticators in `store`.
    pub fn new(options: &config::Totp, store: Rc<dyn Store>, sealer: Rc<Sealer>) -> Self {
        Self {
            store,
            sealer,
            window: options.valid_window.0.into(),
            parameters: Totp { algorithm: options.algorithm, digits: options.digits.0, period: options.period.0 },
            issuer: options.issuer.clone(),
            secret_bytes: usize::try_from(options.secret_bytes.0).unwrap_or(20),
            decoy: OnceCell::new(),
        }
    }

    async fn verify(&self, attempt: &Attempt<'_>, otp: &TypedCode) -> Result<Outcome, ClientError> {
        let mut authenticators = self.store.authenticators(attempt.subscriber, self.section()).await?;
        authenticators.retain(|known| attempt.chosen.is_none_or(|chosen| *chosen == known.id));
        if authenticators.is_empty() {
            self.pretend(attempt, otp)?;
            return Ok(Outcome::Denied(Denial::NotEnrolled));
        }
        let (mut right, mut worst, mut flawed) = (None, None, None);
        for authenticator in &authenticators {
            let finding = match self.examine(authenticator, attempt, otp) {
                Ok(finding) => finding,
                // One that cannot be read does not keep the holder of another out.
                Err(error) => {
                    tracing::error!(authenticator = authenticator.id.0, %error, "an authenticator cannot be verified");
                    flawed = Some(error);
                    continue;
                }
            };
            match finding {
                Finding::Step(step) => right = right.or(Some((authenticator, step))),
                // Used with one is used: two authenticators may hold one secret.
                Finding::Denied(used @ Denial::UsedCode { step: _, last: _ }) => return Ok(Outcome::Denied(used)),
                Finding::Denied(denial) if worst.as_ref().is_none_or(|known| telling(&denial) > telling(known)) => {
                    worst = Some(denial);
                }
                Finding::Denied(_) => {}
            }
        }
        let Some((authenticator, step)) = right else {
            if let Some(error) = flawed {
                return Err(error);
            }
            return Ok(Outcome::Denied(worst.unwrap_or(Denial::NotEnrolled)));
        };
        let now = attempt.moment.now;
        Ok(match self.store.consume_step(attempt.subscriber, &authenticator.id, step, now).await? {
            Consumed::First => Outcome::Verified(Proof::new(Factor::Totp, "verified")),
            Consumed::Before { last } => Outcome::Denied(Denial::UsedCode { step, last }),
            Consumed::Gone => Outcome::Denied(Denial::NotEnrolled),
        })
    }

    /// What the code is to one authenticator.
    fn examine(
        &self,
        authenticator: &Authenticator,
        attempt: &Attempt<'_>,
        otp: &TypedCode,
    ) -> Result<Finding, ClientError> {
        let place = authenticator_place(&authenticator.subscriber, &authenticator.id.0);
        let secret = self.sealer.open(Purpose::Authenticator, &place, &authenticator.sealed)?;
        let totp = authenticator.mechanism.totp().ok_or_else(|| ClientError::Authenticator("is no TOTP".into()))?;
        let found = self.find(totp, &secret, attempt, otp)?;
        let period = i64::try_from(totp.period).unwrap_or(i64::MAX);
        Ok(match (found, authenticator.last_step) {
            (None, _) => Finding::Denied(Denial::MalformedCode { expected: format!("{} digits", totp.digits) }),
            (Some(Match::Nowhere), _) => Finding::Denied(Denial::WrongCode),
            (Some(Match::Step(step) | Match::Outside { step, offset: _ }), Some(last)) if step <= last => {
                Finding::Denied(Denial::UsedCode { step, last })
            }
            (Some(Match::Step(step)), _) => Finding::Step(step),
            (Some(Match::Outside { step: _, offset }), _) => {
                Finding::Denied(Denial::OutsideWindow { steps: offset, seconds: offset.saturating_mul(period) })
            }
        })
    }

    fn find(
        &self,
        totp: Totp,
        secret: &SecretBytes,
        attempt: &Attempt<'_>,
        otp: &TypedCode,
    ) -> Result<Option<Match>, ClientError> {
        let verifier = Verifier::new(totp, secret).map_err(|error| ClientError::Authenticator(error.to_string()))?;
        // Read as the digits that were meant; wiped when dropped.
        let code = typed::code(otp.expose(), totp.digits);
        Ok(code.map(|code| verifier.find(&code, attempt.moment.now, self.window)))
    }

    /// The work that a wrong code of somebody enrolled costs, so that nobody learns from the time who is.
    fn pretend(&self, attempt: &Attempt<'_>, otp: &TypedCode) -> Result<(), ClientError> {
        if self.decoy.get().is_none() {
            let sealed = self.sealer.seal(Purpose::Authenticator, &[], &DECOY)?;
            let _ = self.decoy.set(sealed);
        }
        let sealed = self.decoy.get().map(Vec::as_slice).unwrap_or_default();
        let secret = self.sealer.open(Purpose::Authenticator, &[], sealed)?;
        self.find(self.parameters, &secret, attempt, otp).map(|_| ())
    }
}

enum Finding {
    Step(u64),
    Denied(Denial),
}

/// Of several denials, the one that tells the operator most.
const fn telling(denial: &Denial) -> u8 {
    match denial {
        Denial::OutsideWindow { steps: _, seconds: _ } => 3,
        Denial::WrongCode => 2,
        Denial::MalformedCode { expected: _ } => 1,
        Denial::UsedCode { step: _, last: _ }
        | Denial::NoClaimant
        | Denial::NotEnrolled
        | Denial::WrongTicket
        | Denial::CodeRequired
        | Denial::Throttled { wait: _, by: _ }
        | Denial::NotAuthenticated
        | Denial::Cancelled
        | Denial::Refused { why: _, said: _ }
        | Denial::PushOff { reason: _ }
        | Denial::PushOutstanding
        | Denial::PushBlocked { wait: _ }
        | Denial::Superseded
        | Denial::ChallengeGone
        | Denial::Decided { remarks: _ }
        | Denial::Undecided
        | Denial::TooManySessions { limit: _ }
        | Denial::Uncounted { missing: _ }
        | Denial::NoPermit(_)
        | Denial::Unproved => 0,
    }
}

impl MfaClient for TotpClient {
    fn section(&self) -> &str {
        "totp"
    }

    fn place(&self) -> Place {
        Place::Here
    }

    fn description(&self) -> Description<'_> {
        Description {
            title: "Authenticator app",
            kind: Kind::Otp,
            channel: Channel::App,
            sends: Sends::Nothing,
            matching: Matching::Nothing,
        }
    }

    fn push(&self) -> Push {
        Push::Unable
    }

    fn otp_authenticate<'a>(
        &'a self,
        attempt: &'a Attempt<'a>,
        otp: &'a TypedCode,
        _state: Option<&'a ClientState>,
    ) -> Reply<'a> {
        Box::pin(self.verify(attempt, otp))
    }

    fn offers(&self) -> bool {
        true
    }

    fn offer(&self, attempt: &Attempt<'_>) -> Result<Offer, ClientError> {
        self.show(attempt)
    }

    fn examine_offer(
        &self,
        attempt: &Attempt<'_>,
        otp: &TypedCode,
        state: &ClientState,
    ) -> Result<Offered, ClientError> {
        self.prove(attempt, otp, state)
    }

    fn diagnose(&self, _now: UnixTime, _until: Instant) -> Findings<'_> {
        Box::pin(async {
            let place = [diagnosis::Finding::well("service", "verifies here, over the store; nothing to reach")];
            let opened = match self.sealer.seal(Purpose::Authenticator, &[], &DECOY) {
                Ok(sealed) => self.sealer.open(Purpose::Authenticator, &[], &sealed).map(|_| ()),
                Err(error) => Err(error),
            };
            let sealing = match opened {
                Ok(()) => diagnosis::Finding::well("sealing", "secrets can be sealed and opened"),
                Err(error) => diagnosis::Finding::wrong(
                    "sealing",
                    error.to_string(),
                    "check [plugin] master_key: countersign check",
                ),
            };
            place.into_iter().chain([sealing]).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::attempt::Numbers;
    use crate::domain::authenticator::{Algorithm, AuthenticatorId, Mechanism, Standing};
    use crate::domain::claimant::{MfaIdentity, Subscriber};
    use crate::domain::request::Session;
    use crate::domain::time::Moment;
    use crate::store::contract::{LIMITS, settled, wait};
    use crate::store::sqlite::SqliteStore;

    /// Two that hold one secret can be there from before doubles were refused.
    #[test]
    fn a_code_is_used_once_however_often_its_secret_is_enrolled() {
        let (sealer, key) = crate::secret::seal::tests::sealer("doubles");
        let directory = key.with_extension("store");
        let _ = std::fs::remove_dir_all(&directory);
        SqliteStore::create(&directory, [0; 4]).unwrap();
        let (alice, secret, now) =
            (Subscriber::canonical("alice"), SecretBytes::new(vec![7; 20]), UnixTime(1_800_000_015));
        let six = Totp { algorithm: Algorithm::Sha1, digits: 6, period: 30 };
        let store: Rc<dyn Store> = Rc::new(SqliteStore::open(&directory, LIMITS).unwrap());
        for (id, totp) in [("one", six), ("two", six), ("three", Totp { digits: 8, ..six })] {
            let authenticator = Authenticator {
                id: AuthenticatorId(id.into()),
                subscriber: alice.clone(),
                client: "totp".into(),
                label: id.into(),
                mechanism: Mechanism::Totp(totp),
                sealed: sealer.seal(Purpose::Authenticator, &authenticator_place(&alice, id), secret.expose()).unwrap(),
                last_step: None,
                created: now,
                last_used: None,
                standing: Standing::Active,
                is_default: false,
            };
            settled(&*store, store.add(&[authenticator]));
        }
        let client = TotpClient {
            store: Rc::clone(&store),
            sealer: Rc::new(sealer),
            window: 1,
            parameters: six,
            issuer: String::new(),
            secret_bytes: 20,
            decoy: OnceCell::new(),
        };
        let (verifier, session) = (Verifier::new(six, &secret).unwrap(), Session::default());
        let deadline = Instant::now() + Duration::from_secs(60);
        let attempt = Attempt {
            subscriber: &alice,
            identity: &MfaIdentity("alice".into()),
            session: &session,
            purpose: None,
            moment: Moment { now, millis: 0, deadline, allowance: Duration::from_secs(60) },
            numbers: Numbers::Unseen,
            chosen: None,
        };
        let step = verifier.step(now);
        let is_taken = |step| {
            let code = verifier.code(step);
            let mark = store.mark();
            let outcome = wait(client.verify(&attempt, &TypedCode::new(code.to_string()))).unwrap();
            wait(store.settle(mark)).unwrap();
            let is_used = matches!(outcome, Outcome::Denied(Denial::UsedCode { step: _, last: _ }));
            assert!(is_used || matches!(outcome, Outcome::Verified(_)), "{outcome:?}");
            !is_used
        };
        for (step, taken) in [(step - 1, true), (step - 1, false), (step + 1, true), (step + 1, false), (step, false)] {
            assert_eq!(is_taken(step), taken, "{step}");
        }
        drop(client);
        std::fs::remove_dir_all(&directory).unwrap();
        std::fs::remove_file(key).unwrap();
    }
}

//! Counter-based one-time passwords, verified against the store (RFC 4226), with look-ahead and resynchronisation (7.4).

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Instant;

use super::description::{Channel, Description, Kind, Matching, Sends};
use super::diagnosis::{Finding, Findings};
use super::{ClientError, MfaClient, Place, Push, Reply};
use crate::config::policy::HotpOptions;
use crate::domain::attempt::Attempt;
use crate::domain::authenticator::{Authenticator, AuthenticatorId, Hotp, Mechanism};
use crate::domain::outcome::{ClientState, Denial, Factor, OTP, Outcome, Prompt, Proof, Refusal};
use crate::domain::secret::{SecretBytes, TypedCode};
use crate::domain::time::UnixTime;
use crate::otp::typed;
use crate::otp::window::{FAR, Verifier};
use crate::secret::keys::Purpose;
use crate::secret::seal::{Sealer, authenticator_place};
use crate::store::{Consumed, Store};

/// The client of `[hotp]`.
pub struct HotpClient {
    store: Rc<dyn Store>,
    sealer: Rc<Sealer>,
    look_ahead: u64,
    resync_window: u64,
    parameters: Hotp,
    decoy: OnceCell<Vec<u8>>,
}

/// What stands in for the secret of somebody who is not enrolled: as long as a real one.
const DECOY: [u8; 20] = [0; 20];

/// What the claimant is asked where one code is not enough to say how far the counter has gone.
const NEXT: &str = "Type the next code of the same authenticator, too:";

/// What a code is to one authenticator; the later in this order, the more it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Malformed {
        digits: u32,
    },
    Wrong,
    /// Its counter was used, or is older than one that was.
    Used {
        counter: u64,
        last: u64,
    },
    /// It lies further ahead than one code can prove.
    FarAhead(u64),
    Right(u64),
}

impl HotpClient {
    /// A client over the authenticators in `store`.
    pub fn new(options: &HotpOptions, store: Rc<dyn Store>, sealer: Rc<Sealer>) -> Self {
        Self {
            store,
            sealer,
            look_ahead: options.look_ahead.0.into(),
            resync_window: options.resync_window.0.into(),
            parameters: Hotp { algorithm: options.algorithm, digits: options.digits.0 },
            decoy: OnceCell::new(),
        }
    }

    async fn verify(&self, attempt: &Attempt<'_>, otp: &TypedCode) -> Result<Outcome, ClientError> {
        let mut authenticators = self.store.authenticators(attempt.subscriber, self.section()).await?;
        authenticators.retain(|known| attempt.chosen.is_none_or(|chosen| *chosen == known.id));
        if authenticators.is_empty() {
            self.pretend(otp)?;
            return Ok(Outcome::Denied(Denial::NotEnrolled));
        }
        let (mut best, mut flawed) = (None, None);
        for authenticator in &authenticators {
            match self.examine(authenticator, otp) {
                Ok(found) if best.is_none_or(|(known, _)| found > known) => best = Some((found, authenticator)),
                Ok(_) => {}
                // One that cannot be read does not keep the holder of another out.
                Err(error) => {
                    tracing::error!(authenticator = authenticator.id.0, %error, "an authenticator cannot be verified");
                    flawed = Some(error);
                }
            }
        }
        let Some((found, authenticator)) = best else {
            return Err(flawed.unwrap_or_else(|| ClientError::Authenticator("there is none".into())));
        };
        match found {
            Found::Right(counter) => self.consume(attempt, &authenticator.id, counter, "verified".into()).await,
            Found::FarAhead(counter) => Ok(Outcome::Ask {
                prompt: Prompt::new(NEXT, OTP, None),
                // Sealed by whoever keeps it.
                state: ClientState::new(format!("{counter} {}", authenticator.id.0).into_bytes()),
            }),
            Found::Used { counter, last } => Ok(used(counter, last)),
            Found::Wrong => Ok(Outcome::Denied(Denial::WrongCode)),
            Found::Malformed { digits } => {
                Ok(Outcome::Denied(Denial::MalformedCode { expected: format!("{digits} digits") }))
            }
        }
    }

    /// Verifies the code behind the one that `state` tells of: two in a row say where the counter stands.
    async fn resynchronise(
        &self,
        attempt: &Attempt<'_>,
        otp: &TypedCode,
        state: &ClientState,
    ) -> Result<Outcome, ClientError> {
        // Written by `verify`.
        let text = std::str::from_utf8(state.expose()).unwrap_or_default();
        let (counter, id) = text.split_once(' ').unwrap_or_default();
        let Ok(first) = counter.parse::<u64>() else { return Ok(Outcome::Denied(Denial::ChallengeGone)) };
        let known = self.store.authenticators(attempt.subscriber, self.section()).await?;
        let Some(authenticator) = known.iter().find(|authenticator| authenticator.id.0 == id) else {
            return Ok(Outcome::Denied(Denial::ChallengeGone));
        };
        let (hotp, verifier) = self.open(authenticator)?;
        // Read as the digits that were meant; wiped when dropped.
        let Some(code) = typed::code(otp.expose(), hotp.digits) else {
            return Ok(Outcome::Denied(Denial::MalformedCode { expected: format!("{} digits", hotp.digits) }));
        };
        let second = first.saturating_add(1);
        if verifier.find_counter(&code, second, second).is_none() {
            return Ok(Outcome::Denied(Denial::WrongCode));
        }
        let ahead = second.saturating_sub(next(authenticator));
        let reason = format!("verified by two codes in a row, {ahead} ahead of the last one");
        self.consume(attempt, &authenticator.id, second, reason).await
    }

    async fn consume(
        &self,
        attempt: &Attempt<'_>,
        id: &AuthenticatorId,
        counter: u64,
        reason: String,
    ) -> Result<Outcome, ClientError> {
        Ok(match self.store.consume_step(attempt.subscriber, id, counter, attempt.moment.now).await? {
            Consumed::First => Outcome::Verified(Proof::new(Factor::Hotp, reason)),
            Consumed::Before { last } => used(counter, last),
            Consumed::Gone => Outcome::Denied(Denial::NotEnrolled),
        })
    }

    fn open(&self, authenticator: &Authenticator) -> Result<(Hotp, Verifier), ClientError> {
        let hotp = match authenticator.mechanism {
            Mechanism::Hotp(hotp) => hotp,
            Mechanism::Totp(_) | Mechanism::LookUp | Mechanism::Sent | Mechanism::Elsewhere => {
                return Err(ClientError::Authenticator("is no HOTP".into()));
            }
        };
        let place = authenticator_place(&authenticator.subscriber, &authenticator.id.0);
        let secret = self.sealer.open(Purpose::Authenticator, &place, &authenticator.sealed)?;
        Ok((hotp, verifier(hotp, &secret)?))
    }

    fn examine(&self, authenticator: &Authenticator, otp: &TypedCode) -> Result<Found, ClientError> {
        let (hotp, verifier) = self.open(authenticator)?;
        // Read as the digits that were meant; wiped when dropped.
        let Some(code) = typed::code(otp.expose(), hotp.digits) else {
            return Ok(Found::Malformed { digits: hotp.digits });
        };
        let next = next(authenticator);
        Ok(self.find(&verifier, &code, next, authenticator.last_step))
    }

    fn find(&self, verifier: &Verifier, code: &str, next: u64, last: Option<u64>) -> Found {
        let (near, far) = (next.saturating_add(self.look_ahead), next.saturating_add(self.resync_window));
        if let Some(counter) = verifier.find_counter(code, next, near) {
            return Found::Right(counter);
        }
        if let Some(last) = last
            && let Some(counter) = verifier.find_counter(code, last.saturating_sub(FAR), last)
        {
            return Found::Used { counter, last };
        }
        verifier.find_counter(code, near.saturating_add(1), far).map_or(Found::Wrong, Found::FarAhead)
    }

    /// The work that a wrong code of somebody enrolled costs, so that nobody learns from the time who is.
    fn pretend(&self, otp: &TypedCode) -> Result<(), ClientError> {
        if self.decoy.get().is_none() {
            let sealed = self.sealer.seal(Purpose::Authenticator, &[], &DECOY)?;
            let _ = self.decoy.set(sealed);
        }
        let sealed = self.decoy.get().map(Vec::as_slice).unwrap_or_default();
        let secret = self.sealer.open(Purpose::Authenticator, &[], sealed)?;
        let verifier = verifier(self.parameters, &secret)?;
        // Wiped when dropped.
        if let Some(code) = typed::code(otp.expose(), self.parameters.digits) {
            let _ = self.find(&verifier, &code, FAR, Some(FAR));
        }
        Ok(())
    }
}

/// The first counter that was not used.
fn next(authenticator: &Authenticator) -> u64 {
    authenticator.last_step.map_or(0, |last| last.saturating_add(1))
}

fn verifier(hotp: Hotp, secret: &SecretBytes) -> Result<Verifier, ClientError> {
    Verifier::by_counter(hotp, secret).map_err(|error| ClientError::Authenticator(error.to_string()))
}

fn used(counter: u64, last: u64) -> Outcome {
    let said = match counter == last {
        true => format!("counter {counter} was used before"),
        false => format!("counter {counter} is older than {last}, which was used before"),
    };
    Outcome::Denied(Denial::refused(Refusal::UsedCode, &said))
}

impl MfaClient for HotpClient {
    fn section(&self) -> &str {
        "hotp"
    }

    fn place(&self) -> Place {
        Place::Here
    }

    fn description(&self) -> Description<'_> {
        Description {
            title: "One-time password token",
            kind: Kind::Otp,
            channel: Channel::App,
            sends: Sends::Nothing,
            matching: Matching::Nothing,
        }
    }

    fn push(&self) -> Push {
        Push::Unable
    }

    fn is_answer(&self, _typed: &TypedCode) -> bool {
        true
    }

    fn otp_authenticate<'a>(
        &'a self,
        attempt: &'a Attempt<'a>,
        otp: &'a TypedCode,
        state: Option<&'a ClientState>,
    ) -> Reply<'a> {
        match state {
            // Only whether something is in it is looked at.
            Some(state) if !state.expose().is_empty() => Box::pin(self.resynchronise(attempt, otp, state)),
            Some(_) | None => Box::pin(self.verify(attempt, otp)),
        }
    }

    fn diagnose(&self, _now: UnixTime, _until: Instant) -> Findings<'_> {
        Box::pin(async {
            [Finding::well("service", "verifies here, over the store; nothing to reach")].into_iter().collect()
        })
    }
}

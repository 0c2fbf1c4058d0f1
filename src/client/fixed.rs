//! `[fixed]`: codes that never change, for tests of a gateway. Insecure, and loud about it.

use std::time::Instant;

use subtle::ConstantTimeEq;

use super::description::{Channel, Description, Kind, Matching, Sends};
use super::diagnosis::{Finding, Findings};
use super::{ClientError, Kept, MfaClient, Place, Push, Reply, refused};
use crate::config::fixed::Fixed;
use crate::domain::attempt::Attempt;
use crate::domain::outcome::{ClientState, Denial, Factor, Outcome, Proof, Refusal};
use crate::domain::secret::TypedCode;
use crate::domain::time::UnixTime;

/// The client of `[fixed]`.
pub struct FixedClient {
    options: Fixed,
}

impl FixedClient {
    /// The client that `options` describe.
    pub fn new(options: &Fixed) -> Self {
        Self { options: options.clone() }
    }

    fn verify(&self, attempt: &Attempt<'_>, typed: &TypedCode) -> Result<Outcome, ClientError> {
        tracing::warn!("INSECURE: a fixed code is compared ([fixed]); whoever knows it is let in; for tests only");
        let Fixed { code, codes } = &self.options;
        let own = codes.0.as_ref().and_then(|codes| codes.0.get(attempt.subscriber));
        let Some(code) = own.or(code.0.as_ref()) else { return Ok(Outcome::Denied(Denial::NotEnrolled)) };
        // Compared in constant time, and nowhere shown.
        let is_right: bool = typed.expose().trim().as_bytes().ct_eq(code.0.expose().as_bytes()).into();
        Ok(if is_right {
            Outcome::Verified(Proof::new(Factor::Fixed, "the fixed code, for tests only"))
        } else {
            refused(Refusal::WrongCode, "the code is not the fixed one")
        })
    }
}

impl MfaClient for FixedClient {
    fn section(&self) -> &'static str {
        "fixed"
    }

    fn place(&self) -> Place {
        Place::Here
    }

    fn description(&self) -> Description<'_> {
        Description {
            title: "Fixed codes (INSECURE)",
            kind: Kind::LookUp,
            channel: Channel::None,
            sends: Sends::Nothing,
            matching: Matching::Nothing,
        }
    }

    /// In plugin.ini, where nobody is enrolled.
    fn kept(&self) -> Kept {
        Kept::There
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
        Box::pin(async { self.verify(attempt, otp) })
    }

    fn diagnose(&self, _now: UnixTime, _until: Instant) -> Findings<'_> {
        let what = "INSECURE: codes that never change let in anybody who knows them";
        let finding = Finding::wrong("fixed", what, "take fixed out of [plugin] clients where this is no test");
        Box::pin(async { vec![finding] })
    }
}

//! The proof of an enrolment: a code, which is used by it.

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::json;

use super::label::label_taken;
use super::pending::Enrolment;
use crate::admin::AdminError;
use crate::admin::desk::{self, Desk};
use crate::admin::fresh::NewAuthenticator;
use crate::admin::recovery;
use crate::config::value::ClientName;
use crate::domain::authenticator::Mechanism;
use crate::domain::foreign::Foreign;
use crate::domain::secret::TypedCode;
use crate::otp::typed;
use crate::otp::uri::Kind;
use crate::otp::window::{Match, Verifier};
use crate::store::{Added, RECOVERY, Rank};

impl Enrolment {
    /// Takes codes from standard input until one proves the secret.
    pub fn confirm(&self, desk: &Desk, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
        let mut input = io::stdin().lock();
        loop {
            if !json {
                write!(out, "Type the code that the app shows: ")?;
                out.flush()?;
            }
            let code = read_code(&mut input)?;
            let Some(left) = desk.settled(desk.store().try_challenge(&self.challenge.id, desk.now()))? else {
                return Err(AdminError::Data(
                    "the enrolment has expired, or too many codes were wrong; begin a new one".into(),
                ));
            };
            match self.prove(desk, &code)? {
                Match::Step(step) => return self.complete(desk, step, json, out),
                Match::Outside { step: _, offset } => {
                    let seconds = offset.unsigned_abs().saturating_mul(self.period());
                    let direction = if offset > 0 { "fast" } else { "slow" };
                    let advice = format!(
                        "the code is right, but the app's clock is about {seconds} s {direction} of this machine's: set both by the network"
                    );
                    self.refuse(&advice, left)?;
                }
                Match::Nowhere => self.refuse("the code is wrong", left)?,
            }
        }
    }

    /// Tells why a code did not prove it; ends where nobody sits there to try again.
    fn refuse(&self, why: &str, left: u32) -> Result<(), AdminError> {
        if left == 0 || !io::stdin().is_terminal() {
            return Err(AdminError::Data(format!("{why}; nothing was enrolled ({left} tries left)")));
        }
        writeln!(io::stderr(), "{why} ({left} tries left)")?;
        Ok(())
    }

    /// Seconds in a time step; a counter has none.
    const fn period(&self) -> u64 {
        match self.otpauth.kind {
            Kind::Totp(totp) => totp.period,
            Kind::Hotp(_, _) => 0,
        }
    }

    /// Where the code belongs: to a time step near now, or to a counter near the first.
    fn prove(&self, desk: &Desk, code: &TypedCode) -> Result<Match, AdminError> {
        let (config, secret) = (&desk.setup.config, &self.otpauth.secret);
        let (verifier, digits) = match self.otpauth.kind {
            Kind::Totp(totp) => (Verifier::new(totp, secret), totp.digits),
            Kind::Hotp(hotp, _) => (Verifier::by_counter(hotp, secret), hotp.digits),
        };
        let verifier = verifier.map_err(|error| AdminError::Failed(error.to_string()))?;
        // Read as the digits that were meant; wiped when dropped.
        let Some(code) = typed::code(code.expose(), digits) else { return Ok(Match::Nowhere) };
        Ok(match self.otpauth.kind {
            Kind::Totp(_) => verifier.find(&code, desk.now(), config.totp.valid_window.0.into()),
            Kind::Hotp(_, first) => {
                let last = first.saturating_add(config.policy.hotp().look_ahead.0.into());
                verifier.find_counter(&code, first, last).map_or(Match::Nowhere, Match::Step)
            }
        })
    }

    /// The proved authenticator; the code that proved it is used.
    fn complete(&self, desk: &Desk, step: u64, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
        let (client, mechanism) = match self.otpauth.kind {
            Kind::Totp(totp) => (ClientName::Totp, Mechanism::Totp(totp)),
            Kind::Hotp(hotp, _) => (ClientName::Hotp, Mechanism::Hotp(hotp)),
        };
        let new = NewAuthenticator {
            client: &client.section(),
            label: &self.label,
            mechanism,
            secret: &self.otpauth.secret,
            last_step: Some(step),
        };
        let authenticator = new.seal(desk, &self.challenge.subscriber)?;
        self.audit(desk, "enrol", "a code proved it")?;
        let subscriber = &self.challenge.subscriber;
        // Another enrolment, begun with this one, may have brought some.
        let has_set = desk.authenticators_of(subscriber)?.iter().any(|held| held.client == RECOVERY);
        let (codes, count) = match (self.recovery_codes.as_slice(), has_set) {
            ([], _) => (None, RecoveryCodes::NoneShown),
            (_, true) => (None, RecoveryCodes::Void),
            (codes, false) => (Some(recovery::new_set_of(desk, subscriber, codes)?), RecoveryCodes::Good),
        };
        let (id, codes, now) = (&self.challenge.id, codes.as_ref(), desk.now());
        match desk.settled(desk.store().enrol(id, &authenticator, codes, Rank::Any, now))? {
            Added::Yes => {}
            Added::LabelTaken => return Err(label_taken(&self.label)),
            Added::NotFirst => {
                return Err(AdminError::Data("recovery codes were made at the same moment; confirm it again".into()));
            }
            Added::ChallengeGone => return Err(AdminError::Data("the enrolment is over; begin a new one".into())),
        }
        if json {
            let done = json!({
                "enrolled": true,
                "user": subscriber.as_str(),
                "authenticator": authenticator.id.0,
                "recovery_codes_count": matches!(count, RecoveryCodes::Good),
            });
            return Ok(writeln!(out, "{done}")?);
        }
        let user = Foreign(subscriber.as_str());
        writeln!(
            out,
            "{user} is enrolled with \"{}\" ({}). The code is used; the next login takes the next one.",
            self.label, authenticator.id.0
        )?;
        match count {
            RecoveryCodes::NoneShown => {}
            RecoveryCodes::Good => writeln!(out, "The recovery codes count from now on.")?,
            RecoveryCodes::Void => writeln!(out, "The recovery codes shown with it do not count: {user} has others.")?,
        }
        Ok(())
    }
}

/// What becomes of the recovery codes that were shown with an enrolment.
enum RecoveryCodes {
    NoneShown,
    Good,
    Void,
}

fn read_code(input: &mut impl BufRead) -> Result<TypedCode, AdminError> {
    desk::read_line(input)?.ok_or_else(|| AdminError::Data("no code was given; nothing was enrolled".into()))
}

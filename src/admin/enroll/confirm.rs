//! The proof of an enrolment: a code, which is used by it.

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::json;

use super::label::label_taken;
use super::pending::Enrolment;
use super::seal::NewAuthenticator;
use crate::admin::AdminError;
use crate::admin::desk::{self, Desk};
use crate::domain::foreign::Foreign;
use crate::domain::secret::TypedCode;
use crate::otp::typed;
use crate::otp::window::{Match, Verifier};
use crate::store::{Added, Rank};

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
                    let seconds = offset.unsigned_abs().saturating_mul(self.otpauth.totp.period);
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

    fn prove(&self, desk: &Desk, code: &TypedCode) -> Result<Match, AdminError> {
        let verifier = Verifier::new(self.otpauth.totp, &self.otpauth.secret)
            .map_err(|error| AdminError::Failed(error.to_string()))?;
        // Read as the digits that were meant; wiped when dropped.
        let code = typed::code(code.expose(), self.otpauth.totp.digits);
        let window = desk.setup.config.totp.valid_window.0.into();
        Ok(code.map_or(Match::Nowhere, |code| verifier.find(&code, desk.now(), window)))
    }

    /// The proved authenticator; the code that proved it is used.
    fn complete(&self, desk: &Desk, step: u64, json: bool, out: &mut impl Write) -> Result<(), AdminError> {
        let new = NewAuthenticator {
            label: &self.label,
            totp: self.otpauth.totp,
            secret: &self.otpauth.secret,
            last_step: Some(step),
        };
        let authenticator = new.seal(desk, &self.challenge.subscriber)?;
        self.audit(desk, "enrol", "a code proved it")?;
        match desk.settled(desk.store().enrol(&self.challenge.id, &authenticator, Rank::Any, desk.now()))? {
            Added::Yes => {}
            Added::LabelTaken => return Err(label_taken(&self.label)),
            Added::ChallengeGone | Added::NotFirst => {
                return Err(AdminError::Data("the enrolment is over; begin a new one".into()));
            }
        }
        if json {
            let done = json!({"enrolled": true, "user": self.challenge.subscriber.as_str(), "authenticator": authenticator.id.0});
            return Ok(writeln!(out, "{done}")?);
        }
        let user = Foreign(self.challenge.subscriber.as_str());
        writeln!(
            out,
            "{user} is enrolled with \"{}\" ({}). The code is used; the next login takes the next one.",
            self.label, authenticator.id.0
        )?;
        Ok(())
    }
}

fn read_code(input: &mut impl BufRead) -> Result<TypedCode, AdminError> {
    desk::read_line(input)?.ok_or_else(|| AdminError::Data("no code was given; nothing was enrolled".into()))
}

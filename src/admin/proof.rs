//! What an administrator needs to take something away from somebody: a current code of theirs, or a reason.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::AdminError;
use super::desk::{self, Desk};
use crate::client::{self, Codes, Place};
use crate::domain::attempt::{Attempt, Numbers};
use crate::domain::authenticator::{Mechanism, Standing};
use crate::domain::claimant::{MfaIdentity, Subscriber};
use crate::domain::foreign::Foreign;
use crate::domain::outcome::{Denial, Outcome};
use crate::domain::request::Session;
use crate::domain::secret::TypedCode;
use crate::store::{Counter, Credit, Origin, Ruling, Store};

/// How `change` and removal are justified.
#[derive(Debug, clap::Args)]
pub struct Grounds {
    /// Do it without a code of the user, for this reason, which the log keeps
    #[arg(long, value_name = "TEXT")]
    override_reason: Option<String>,
}

/// The longest reason, in bytes.
const REASON_LIMIT: usize = 256;

impl Grounds {
    /// What justifies a change to what `subscriber` holds: a code of theirs from standard input, which is used then, or the
    /// reason that was given instead.
    ///
    /// # Errors
    /// 77 where neither is there or the code is not right; 65 for a reason that says nothing.
    pub fn establish(&self, desk: &Desk, subscriber: &Subscriber, to: &str) -> Result<String, AdminError> {
        if let Some(reason) = self.override_reason.as_deref().map(str::trim) {
            return match reason {
                "" => Err(AdminError::Data("--override-reason says nothing; say why".into())),
                long if long.len() > REASON_LIMIT => {
                    Err(AdminError::Data("--override-reason is longer than 256 bytes; shorten it".into()))
                }
                reason => Ok(format!("override: {reason}")),
            };
        }
        let user = Foreign(subscriber.as_str());
        let is_codes = |mechanism| matches!(mechanism, Mechanism::Totp(_) | Mechanism::Hotp(_));
        let held = desk.authenticators_of(subscriber)?;
        if !held.iter().any(|known| is_codes(known.mechanism) && known.standing == Standing::Active) {
            return Err(AdminError::NotPermitted(format!(
                "{user} has nothing that makes codes, and to {to} takes one; say why it is done without: --override-reason TEXT"
            )));
        }
        if io::stdin().is_terminal() {
            write!(io::stderr(), "To {to}, type a current code of {user}: ")?;
        }
        let Some(code) = desk::read_line(&mut io::stdin().lock())? else {
            return Err(AdminError::NotPermitted(format!(
                "to {to} takes a current code of {user} on standard input; who has none: --override-reason TEXT"
            )));
        };
        prove(desk, subscriber, &code)?;
        Ok("a code of the user".into())
    }
}

/// Verifies `code` as a login would: counted, and used.
fn prove(desk: &Desk, subscriber: &Subscriber, code: &TypedCode) -> Result<(), AdminError> {
    let store: std::rc::Rc<dyn Store> = std::rc::Rc::clone(&desk.setup.store) as _;
    let clients = client::build(&desk.setup.config, &store, &desk.setup.sealer);
    let moment = desk.clock.moment(Duration::from_secs(desk.setup.config.plugin.deadline.0));
    let origin = Origin { subscriber: subscriber.clone(), counter: Counter::Codes, source: None };
    let (identity, session) = (MfaIdentity(subscriber.as_str().to_owned()), Session::default());
    let attempt = Attempt {
        subscriber,
        identity: &identity,
        session: &session,
        purpose: None,
        moment,
        numbers: Numbers::Unseen,
        chosen: None,
    };
    if let Ruling::Wait { wait, by } = desk.settled(store.charge(&origin, moment.now))? {
        let denial = Denial::Throttled { wait, by };
        return Err(AdminError::NotPermitted(format!("{}; countersign unlock USER ends that", denial.reason())));
    }
    let mut said = None;
    for wired in
        clients.iter().filter(|wired| wired.client.place() == Place::Here && wired.client.codes() == Codes::Able)
    {
        match desk.wait(wired.client.otp_authenticate(&attempt, code, None)) {
            Ok(Outcome::Verified(_)) => {
                desk.settled(store.credit(&origin, Credit::Success))?;
                return Ok(());
            }
            Ok(Outcome::Denied(denial)) if denial != Denial::NotEnrolled => said = Some(denial.reason()),
            Ok(Outcome::Denied(_) | Outcome::Ask { prompt: _, state: _ } | Outcome::Pushed { show: _, state: _ }) => {}
            Err(error) => return Err(AdminError::Failed(error.to_string())),
        }
    }
    let said = said.unwrap_or_else(|| "the code is not right".into());
    Err(AdminError::NotPermitted(format!("{said}; nothing was changed")))
}

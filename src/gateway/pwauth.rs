//! pwauth, the pipe of Apache's mod_authnz_external: name and password on two lines of standard input, and yes by the exit
//! status. There is no dialogue.
//!
//! | | |
//! |---|---|
//! | in | `user\npassword\n` on standard input; `IP`, `URI`, `HTTP_HOST` and `CONTEXT` in the environment |
//! | accept | status 0 |
//! | reject, need_info | status 2: wrong password |
//! | no verdict | status 50 with `on_error = tempfail`: an error for the log, and no access either |
//! | standard output | is the server's own: nothing is written |

use super::conduct::Conduct;
use super::fields::invalid;
use super::once::{Answered, Given, Input, OneShot, Parting, is_temporary, login, text};
use crate::domain::fault::Fault;
use crate::domain::request::{Dialogue, Request};
use crate::domain::secret::Secret;
use crate::domain::verdict::Verdict;

/// pwauth's "wrong name or password".
const REJECTED: u8 = 2;

/// pwauth's first status of those that mean that it could not work.
const FAILED: u8 = 50;

/// The codec.
pub struct Pwauth;

impl OneShot for Pwauth {
    fn input(&self) -> Input {
        Input::Standard
    }

    fn read(&self, given: &Given, conduct: &Conduct) -> Result<Request, Fault> {
        // Taken apart into custody of their own.
        let lines: Vec<&[u8]> = given.input.expose().split(|b| *b == b'\n').collect();
        // A name that holds the end of a line would be another one's name and password.
        let ([user, password] | [user, password, b""]) = lines.as_slice() else {
            return Err(invalid(
                "missing_field",
                "expected a name and a password, each on a line of its own, and no more",
            ));
        };
        let password = Secret::new(text(password, "the password")?);
        let mut request = login(text(user, "the name")?, conduct.take_apart(password), Dialogue::Closed);
        request.session.protocol = Some("http".into());
        request.session.client_ip = given.fact("IP").map(Into::into);
        request.session.connection_name = given.fact("CONTEXT").map(Into::into);
        request.session.server_hostname = given.fact("HTTP_HOST").map(Into::into);
        Ok(request)
    }

    fn part(&self, _given: &Given, answered: &Answered, conduct: &Conduct) -> Parting {
        Parting::status(match &answered.verdict {
            Verdict::Accept(_) => 0,
            Verdict::Reject(reject) if is_temporary(reject, conduct) => FAILED,
            Verdict::Reject(_) | Verdict::NeedInfo(_) => REJECTED,
        })
    }
}

//! `pam_exec.so`: what was typed on standard input, everything else in the environment, and yes by the exit status. PAM lets
//! such a program put no question; two lines of a service put one, between them.
//!
//! | | |
//! |---|---|
//! | in, with `expose_authtok` | what was typed, without an end or with a NUL; `PAM_USER`, `PAM_RHOST`, `PAM_SERVICE`, `PAM_TYPE` |
//! | accept | status 0 |
//! | reject, need_info, no verdict | status 1: `pam_exec.so` makes the same of all others |
//! | standard output | a line for the claimant, with the option `stdout` |
//! | argument `ask` | the question to standard output, and status 0: there was a question, or none is needed; no verdict |
//! | argument `answer` | what was typed is the answer to it, and is decided |
//! | `PAM_TYPE` other than `auth` | refused: there is nobody to verify |

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::conduct::{Conduct, Typed};
use super::fields::invalid;
use super::once::{Answered, Given, Half, Input, OneShot, Parting, login, message, text};
use crate::domain::fault::Fault;
use crate::domain::request::{Answers, Dialogue, Request, Session};
use crate::domain::secret::Secret;
use crate::domain::verdict::Verdict;

/// Any status but 0.
const REJECTED: u8 = 1;

/// The codec.
pub struct PamExec;

impl OneShot for PamExec {
    fn input(&self) -> Input {
        Input::Standard
    }

    fn half(&self, arguments: &[OsString]) -> Half {
        match arguments.first().map(|argument| argument.as_bytes()) {
            Some(b"ask") => Half::First,
            Some(b"answer") => Half::Second,
            Some(_) | None => Half::Whole,
        }
    }

    fn read(&self, given: &Given, conduct: &Conduct) -> Result<Request, Fault> {
        let half = self.half(&given.arguments);
        match given.arguments.as_slice() {
            [] => {}
            [_] | [_, _] if half != Half::Whole => {}
            _ => return Err(invalid("wrong_value", "the arguments: expected none, or ask or answer")),
        }
        if given.fact("PAM_TYPE") != Some("auth") {
            return Err(invalid("wrong_value", "PAM_TYPE: expected a line of the type auth"));
        }
        let user = variable(given, "PAM_USER")?;
        let mut request = match half {
            Half::Whole => login(user, conduct.take_apart(typed(given)?), Dialogue::Closed),
            Half::First => login(user, Typed::default(), Dialogue::Open),
            Half::Second => answer(user, given)?,
        };
        request.session = session(given, request.session);
        Ok(request)
    }

    fn part(&self, given: &Given, answered: &Answered, _conduct: &Conduct) -> Parting {
        let line = |text: &str| {
            // One line, whatever is in it.
            let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            format!("{text}\n").into_bytes()
        };
        match &answered.verdict {
            // In the first half: whoever needs no question is let in by the second half, or not at all.
            Verdict::Accept(_) => Parting::status(0),
            Verdict::Reject(reject) => Parting { output: line(message(reject)), ..Parting::status(REJECTED) },
            Verdict::NeedInfo(asked) if self.half(&given.arguments) == Half::First => {
                // The second half reads it from a file that its owner alone reads.
                let left = format!("{}\0{}", asked.question.key, asked.cookie.as_deref().unwrap_or_default());
                let output = line(&asked.question.prompt);
                Parting { output, left: Some(left.into_bytes()), ..Parting::status(0) }
            }
            Verdict::NeedInfo(_) => Parting::status(REJECTED),
        }
    }
}

/// What was typed, where the service has it passed on.
fn typed(given: &Given) -> Result<Secret<String>, Fault> {
    // Goes into custody of its own.
    let typed = given.input.expose();
    text(typed.strip_suffix(b"\0").unwrap_or(typed), "what was typed").map(Secret::new)
}

/// The second half: with the question that the first one left, where it left one.
fn answer(user: String, given: &Given) -> Result<Request, Fault> {
    let typed = typed(given)?;
    let Some(left) = &given.left else {
        return Ok(login(user, Typed { password: None, otp: Some(typed) }, Dialogue::Closed));
    };
    // The key is no secret; the cookie goes into custody of its own.
    let mut fields = left.expose().splitn(2, |b| *b == 0);
    let (Some(key), Some(cookie)) = (fields.next(), fields.next()) else {
        return Err(invalid("wrong_value", "what the first half left is cut short"));
    };
    let (key, cookie) = (text(key, "the question's key")?, text(cookie, "the cookie")?);
    let mut request = login(user, Typed::default(), Dialogue::Closed);
    // From one custody into the other.
    request.answers = Answers::new([(key, typed.expose().clone())]);
    request.cookie = Some(cookie).filter(|cookie| !cookie.is_empty()).map(Secret::new);
    Ok(request)
}

fn session(given: &Given, session: Session) -> Session {
    let service = variable(given, "PAM_SERVICE").unwrap_or_default();
    // A name or an address, as the service found it.
    let host = given.fact("PAM_RHOST").map(str::to_owned);
    let is_address = host.as_deref().is_some_and(|host| host.parse::<std::net::IpAddr>().is_ok());
    let (client_ip, client_hostname) = if is_address { (host, None) } else { (None, host) };
    let protocol = if service == "sshd" { "ssh".to_owned() } else { service.clone() };
    Session { protocol: Some(protocol), connection_name: Some(service), client_ip, client_hostname, ..session }
}

/// The variable `name`, which has to be there, as text.
fn variable(given: &Given, name: &str) -> Result<String, Fault> {
    match given.environment.get(OsStr::from_bytes(name.as_bytes())) {
        // A name of the session.
        Some(value) if !value.expose().is_empty() => text(value.expose(), name),
        Some(_) | None => Err(invalid("missing_field", format!("{name}: is not in the environment"))),
    }
}

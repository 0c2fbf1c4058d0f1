//! checkpassword, by which Dovecot has passwords checked: name and password on descriptor 3, and yes by running the program
//! that the arguments name. There is no dialogue.
//!
//! | | |
//! |---|---|
//! | in | `user NUL password NUL timestamp NUL` on descriptor 3; `SERVICE`, `TCPREMOTEIP`, `TCPLOCALIP` in the environment |
//! | accept | the program of the arguments takes this one's place, with the name in `USER` |
//! | reject, need_info | status 1 |
//! | no verdict | status 111 with `on_error = tempfail`: a temporary failure |
//! | `AUTHORIZED` is set | a lookup without a password, of whoever lives there: status 111, and no verdict |
//! | `MASTER_USER` is set | somebody else's login: refused |
//! | home, uid, gid | are the userdb's to say: none is given |

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::conduct::Conduct;
use super::fields::invalid;
use super::once::{Answered, Given, Input, OneShot, Parting, Program, is_temporary, login, text};
use crate::domain::fault::Fault;
use crate::domain::request::{Dialogue, Request};
use crate::domain::secret::Secret;
use crate::domain::verdict::Verdict;

/// "The password is not acceptable."
const REJECTED: u8 = 1;

/// "Temporary problem checking the password."
const FAILED: u8 = 111;

/// The codec.
pub struct Checkpassword;

impl OneShot for Checkpassword {
    fn input(&self) -> Input {
        Input::Third
    }

    fn is_followed(&self) -> bool {
        true
    }

    fn read(&self, given: &Given, conduct: &Conduct) -> Result<Request, Fault> {
        if is_lookup(given) {
            return Err(invalid(
                "wrong_value",
                "AUTHORIZED: asks who lives there, not who is there; use another userdb",
            ));
        }
        if given.fact("MASTER_USER").is_some() {
            return Err(invalid("wrong_value", "MASTER_USER: nobody logs in as somebody else here"));
        }
        if given.arguments.is_empty() {
            return Err(invalid("missing_field", "expected the program that follows, in the arguments"));
        }
        // Taken apart into custody of their own. What is behind the last NUL was not sent to its end.
        let fields: Vec<&[u8]> = given.input.expose().split(|b| *b == 0).collect();
        let (user, password) = match fields.as_slice() {
            [user, password, b""] | [user, password, _, b""] => (*user, *password),
            _ => {
                return Err(invalid("missing_field", "expected a name and a password, each with a NUL at its end"));
            }
        };
        let password = Secret::new(text(password, "the password")?);
        let mut request = login(text(user, "the name")?, conduct.take_apart(password), Dialogue::Closed);
        request.session.protocol = Some(given.fact("SERVICE").unwrap_or("mail").into());
        request.session.client_ip = given.fact("TCPREMOTEIP").map(Into::into);
        request.session.server_ip = given.fact("TCPLOCALIP").map(Into::into);
        Ok(request)
    }

    fn part(&self, given: &Given, answered: &Answered, conduct: &Conduct) -> Parting {
        match &answered.verdict {
            _ if is_lookup(given) => Parting::status(FAILED),
            Verdict::Accept(_) => match program(given) {
                // Its status takes the place of this one, which is left where it cannot be run.
                Some(program) => Parting { program: Some(program), ..Parting::status(FAILED) },
                None => Parting::status(FAILED),
            },
            Verdict::Reject(reject) if is_temporary(reject, conduct) => Parting::status(FAILED),
            Verdict::Reject(_) | Verdict::NeedInfo(_) => Parting::status(REJECTED),
        }
    }
}

/// Whether only a user's data is asked for, and no password was given.
fn is_lookup(given: &Given) -> bool {
    given.environment.contains_key(OsStr::new("AUTHORIZED"))
}

/// What goes on where the login is accepted.
fn program(given: &Given) -> Option<Program> {
    let (path, arguments) = given.arguments.split_first()?;
    // The name only: the password is behind the first NUL.
    let user = given.input.expose().split(|b| *b == 0).next()?;
    let variables = vec![("USER".into(), OsStr::from_bytes(user).to_owned())];
    Some(Program { path: path.clone(), arguments: arguments.to_vec(), variables })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::gateway::conduct::{PasswordField, tests::conduct};

    fn given(input: &[u8], environment: &[(&str, &str)]) -> Given {
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        Given {
            arguments: vec!["/reply".into()],
            environment: environment
                .iter()
                .map(|(name, value)| (name.into(), secret(value)))
                .collect::<BTreeMap<_, _>>(),
            input: Secret::new(input.to_vec()),
            left: None,
            repeated: BTreeSet::new(),
            nonce: [0; 15],
        }
    }

    #[test]
    fn a_name_and_a_password_end_with_nul() {
        let conduct = conduct(None, PasswordField::Code, false);
        for (input, is_read) in [
            (&b"alice\x00123456\x00\x00"[..], true),
            (b"alice\x00123456\x00", true),
            (b"alice\x00123456\x00Y1\x00", true),
            (b"alice\x00\x00\x00", true),
            (b"alice\x00123456", false),
            (b"alice\x00123456\x00Y1", false),
            (b"alice\x00123456\x00Y1\x00more\x00", false),
            (b"alice", false),
            (b"", false),
        ] {
            assert_eq!(Checkpassword.read(&given(input, &[]), &conduct).is_ok(), is_read, "{input:?}");
        }
        for variable in ["AUTHORIZED", "MASTER_USER"] {
            assert!(Checkpassword.read(&given(b"alice\x00123456\x00\x00", &[(variable, "1")]), &conduct).is_err());
        }
    }
}

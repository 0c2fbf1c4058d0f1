//! OpenVPN 2.6: `auth-user-pass-verify` with `via-file`, and `client-crresponse`; the environment's `script_type` says which.
//!
//! | | |
//! |---|---|
//! | in | `user\npassword\n` in the file that the last argument names; of `client-crresponse` the answer, in base64 |
//! | password | what was typed; `SCRV1:` password `:` code, both in base64 (`static-challenge`); `CRV1::` state `::` answer |
//! | user of `client-crresponse` | `username`, else `common_name`, in the environment: the one whose question was kept |
//! | facts | `untrusted_ip`, `untrusted_ip6` and `untrusted_port` in the environment |
//! | accept | status 0 |
//! | reject | status 1; what the claimant may read in `auth_failed_reason_file` |
//! | need_info | status 1, and the reason is `CRV1:R[,E]:state:user:question`: the client comes again with the answer |
//! | need_info, `IV_SSO` names `crtext` | status 2, `CR_TEXT:R[,E]:question` in `auth_pending_file`; the state is kept beside `auth_control_file` until `client-crresponse` |
//! | no verdict | a reject, with `on_error = tempfail` for the reason `TEMP[backoff 15,advance no]:text` |
//! | no verdict yet | status 2; later the reason as above, and then `1` or `0` in `auth_control_file` |
//! | `client-crresponse` | status 0, whatever the verdict is; that goes where a late one goes |
//! | standard output | is the server's own: nothing is written |

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;

use super::carry;
use super::conduct::{Conduct, Typed};
use super::fields::invalid;
use super::once::{Answered, Given, Input, OneShot, Parting, is_temporary, login, message, text};
use crate::domain::fault::Fault;
use crate::domain::request::{Dialogue, Request};
use crate::domain::secret::Secret;
use crate::domain::verdict::{Echo, NeedInfo, Verdict};

/// The status of a no, and of whatever else is not taken for a yes.
pub const REJECTED: u8 = 1;

/// The status that says that the verdict comes later.
pub const DEFERRED: u8 = 2;

/// What the name of a file begins with that keeps a question's state; the name of the control file follows.
pub const KEPT: &str = "countersign_";

/// How the server's own control files are named.
pub const CONTROL: (&str, &str) = ("openvpn_acf_", ".tmp");

/// The longest reason and the longest question, in bytes: a message to the client holds 1023, `AUTH_FAILED,` among them.
const MESSAGE_LIMIT: usize = 1000;

/// How long a client that answers without a new connection has for that, in seconds. The server takes less where it is set up
/// so: half of `reneg-sec`, or `hand-window` where that is more.
const PENDING: u32 = 180;

/// What a client does that is told that the failure may pass: it comes again after so many seconds, to the same server.
const TEMPORARY: &str = "TEMP[backoff 15,advance no]:";

/// What a reason begins with that is more than text to a client.
const MEANINGFUL: [&str; 3] = ["CRV1:", "TEMP", "SESSION"];

/// The variables that name the files of an answer.
const FILES: [&str; 3] = ["auth_control_file", "auth_failed_reason_file", "auth_pending_file"];

/// The codec.
#[derive(Default)]
pub struct Openvpn {
    /// What an earlier run kept of the question that is answered by this one.
    pub kept: Option<Secret<Vec<u8>>>,
}

/// What the server calls the program for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// A name and a password are to be verified.
    Verify,
    /// A question was answered, over the connection in which it was put.
    Response,
}

impl OneShot for Openvpn {
    fn input(&self) -> Input {
        Input::LastArgument
    }

    fn places(&self, given: &Given) -> Vec<PathBuf> {
        FILES.into_iter().filter_map(|name| file(given, name)).collect()
    }

    fn read(&self, given: &Given, conduct: &Conduct) -> Result<Request, Fault> {
        let mut request = match call(given) {
            Some(Call::Verify) => verify(given, conduct)?,
            Some(Call::Response) => self.respond(given)?,
            None => {
                let text = "script_type: expected user-pass-verify or client-crresponse in the environment";
                return Err(invalid("missing_field", text));
            }
        };
        let fact = |names: [&str; 2]| names.into_iter().find_map(|name| given.fact(name)).map(str::to_owned);
        request.session.protocol = Some("openvpn".into());
        request.session.client_ip = fact(["untrusted_ip", "untrusted_ip6"]);
        request.session.client_port = given.fact("untrusted_port").and_then(|port| port.parse().ok());
        Ok(request)
    }

    fn part(&self, given: &Given, answered: &Answered, conduct: &Conduct) -> Parting {
        let rejected = || Parting { files: self.reason(given, answered, conduct), ..Parting::status(REJECTED) };
        match call(given) {
            Some(Call::Verify) => match &answered.verdict {
                Verdict::Accept(_) => Parting::status(0),
                Verdict::NeedInfo(asked) => pending(given, &self.user(given), asked).unwrap_or_else(rejected),
                Verdict::Reject(_) => rejected(),
            },
            Some(Call::Response) => self.part_late(given, answered, conduct),
            None => Parting::status(REJECTED),
        }
    }
}

impl Openvpn {
    /// The status by which the server is told that the verdict comes later.
    pub fn deferral(given: &Given) -> u8 {
        match call(given) {
            Some(Call::Verify) => DEFERRED,
            Some(Call::Response) => 0,
            None => REJECTED,
        }
    }

    /// Where the state of the question is kept that this run answers; `None` where it answers none.
    pub fn keeper(given: &Given) -> Option<PathBuf> {
        (call(given) == Some(Call::Response)).then(|| beside_control(given)).flatten()
    }

    /// What is left where the server was told that the verdict comes later: the reason first, for the word in the control
    /// file is the end.
    pub fn part_late(&self, given: &Given, answered: &Answered, conduct: &Conduct) -> Parting {
        let word = match &answered.verdict {
            Verdict::Accept(_) => "1",
            Verdict::Reject(_) | Verdict::NeedInfo(_) => "0",
        };
        let mut files = self.reason(given, answered, conduct);
        files.extend(file(given, "auth_control_file").map(|path| (path, word.into())));
        Parting { files, ..Parting::status(0) }
    }

    /// The reason of a verdict that is no accept.
    fn reason(&self, given: &Given, answered: &Answered, conduct: &Conduct) -> Vec<(PathBuf, Vec<u8>)> {
        let reason = match &answered.verdict {
            Verdict::Accept(_) => None,
            Verdict::NeedInfo(asked) => challenge(&self.user(given), asked),
            Verdict::Reject(reject) if is_temporary(reject, conduct) => {
                Some(format!("{TEMPORARY}{}", line(message(reject), MESSAGE_LIMIT - TEMPORARY.len())))
            }
            Verdict::Reject(reject) => {
                let text = line(message(reject), MESSAGE_LIMIT - 1);
                // What a service says begins no dialogue.
                Some(if MEANINGFUL.iter().any(|word| text.starts_with(word)) { format!(" {text}") } else { text })
            }
        };
        let reason = reason.filter(|reason| !reason.is_empty());
        file(given, "auth_failed_reason_file")
            .zip(reason)
            .map(|(path, reason)| (path, reason.into()))
            .into_iter()
            .collect()
    }

    /// Whose login this is, as the server has the name.
    fn user(&self, given: &Given) -> Vec<u8> {
        let first = |text: &[u8]| text.split(|b| *b == b'\n').next().unwrap_or_default().to_vec();
        // The first line of either is the name.
        match call(given) {
            Some(Call::Verify) => first(given.input.expose()),
            Some(Call::Response) => self.kept.as_ref().map(|kept| first(kept.expose())).unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// The request in the answer to a question that was put without an end of the connection.
    fn respond(&self, given: &Given) -> Result<Request, Fault> {
        let kept = self.kept.as_ref().ok_or_else(|| invalid("no_question", "no question waits for this answer"))?;
        // Ours, and taken apart into custody of its own.
        let mut lines = kept.expose().split(|b| *b == b'\n');
        let (Some(user), Some(state)) = (lines.next(), lines.next()) else {
            return Err(invalid("wrong_value", "the state that was kept of the question is not whole"));
        };
        // What the server says goes before what lay in a directory.
        let known = ["username", "common_name"].into_iter().find_map(|name| given.fact(name));
        if known.is_none_or(|known| known.as_bytes() != user) {
            return Err(invalid("wrong_value", "the question that was kept is not of this user of the server"));
        }
        // From one custody into the other.
        answer(text(user, "the name")?, state, decode(given.input.expose().trim_ascii(), "the answer")?)
    }
}

fn call(given: &Given) -> Option<Call> {
    match given.fact("script_type") {
        Some("user-pass-verify") => Some(Call::Verify),
        Some("client-crresponse") => Some(Call::Response),
        Some(_) | None => None,
    }
}

/// The request in a name and what came with it.
fn verify(given: &Given, conduct: &Conduct) -> Result<Request, Fault> {
    // Taken apart into custody of their own.
    let mut lines = given.input.expose().split(|b| *b == b'\n');
    let (Some(user), Some(password)) = (lines.next(), lines.next()) else {
        return Err(invalid("missing_field", "expected a name and a password, each on a line of its own"));
    };
    let user = text(user, "the name")?;
    if let Some(rest) = password.strip_prefix(b"CRV1::") {
        let (state, typed) =
            part_at(rest, b"::").ok_or_else(|| invalid("wrong_value", "CRV1: an answer is missing"))?;
        return answer(user, state, Secret::new(text(typed, "the answer")?));
    }
    let typed = match password.strip_prefix(b"SCRV1:") {
        Some(rest) => {
            let (password, otp) =
                part_at(rest, b":").ok_or_else(|| invalid("wrong_value", "SCRV1: a response is missing"))?;
            Typed { password: Some(decode(password, "the password")?), otp: Some(decode(otp, "the response")?) }
        }
        None => conduct.take_apart(Secret::new(text(password, "the password")?)),
    };
    Ok(login(user, typed, Dialogue::Open))
}

/// The request of somebody who answers the question that `state` is of. Clients that answer over the connection they have send
/// no empty answer: blanks are one.
fn answer(user: String, state: &[u8], typed: Secret<String>) -> Result<Request, Fault> {
    let carried = std::str::from_utf8(state).ok().and_then(carry::unpack);
    let carried = carried.ok_or_else(|| invalid("wrong_value", "the state of the dialogue is none of ours"))?;
    // Only whether something was typed is looked at.
    let typed = if typed.expose().trim().is_empty() { Secret::new(String::new()) } else { typed };
    let mut request = login(user, Typed::default(), Dialogue::Open);
    carried.answer(&mut request, typed);
    Ok(request)
}

/// What stands before and behind the first `separator`.
fn part_at<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(separator.len()).position(|window| window == separator)?;
    Some((bytes.get(..at)?, bytes.get(at + separator.len()..)?))
}

fn decode(encoded: &[u8], what: &str) -> Result<Secret<String>, Fault> {
    let decoded = BASE64.decode(encoded).map(Secret::new);
    let decoded = decoded.map_err(|_| invalid("wrong_value", format!("{what}: is not base64")))?;
    // From one custody into the other.
    text(decoded.expose(), what).map(Secret::new)
}

/// The file that the variable `name` names.
fn file(given: &Given, name: &str) -> Option<PathBuf> {
    // The name of a file.
    let value = given.environment.get(OsStr::from_bytes(name.as_bytes()))?.expose();
    let path = Path::new(OsStr::from_bytes(value));
    path.is_absolute().then(|| path.to_owned())
}

fn beside_control(given: &Given) -> Option<PathBuf> {
    let control = file(given, "auth_control_file")?;
    let mut name = OsString::from(KEPT);
    name.push(control.file_name()?);
    Some(control.with_file_name(name))
}

/// The reason that makes a client ask, and come again.
fn challenge(user: &[u8], asked: &NeedInfo) -> Option<String> {
    let start = format!("CRV1:{}:{}:{}:", flags(asked.question.echo), carry::pack(asked)?, BASE64.encode(user));
    let left = MESSAGE_LIMIT.checked_sub(start.len())?;
    Some(start + &line(&asked.question.prompt, left))
}

/// What is left where the client is asked, and answers over the connection that it has; `None` where it cannot.
fn pending(given: &Given, user: &[u8], asked: &NeedInfo) -> Option<Parting> {
    given.fact("IV_SSO")?.split(',').find(|method| *method == "crtext")?;
    let (path, keeper, state) = (file(given, "auth_pending_file")?, beside_control(given)?, carry::pack(asked)?);
    file(given, "auth_control_file")?;
    let question = line(&asked.question.prompt, MESSAGE_LIMIT);
    let content = format!("{PENDING}\ncrtext\nCR_TEXT:{}:{question}\n", flags(asked.question.echo));
    let kept = [user, b"\n", state.as_bytes(), b"\n"].concat();
    let parting = Parting { files: vec![(path, content.into())], ..Parting::status(DEFERRED) };
    Some(Parting { made: vec![(keeper, kept)], ..parting })
}

/// That an answer is wanted, and whether it is shown.
const fn flags(echo: Echo) -> &'static str {
    match echo {
        Echo::Show => "R,E",
        Echo::Hide => "R",
    }
}

/// `text` as one line of at most `limit` bytes.
fn line(text: &str, limit: usize) -> String {
    let mut line = text.trim().replace(char::is_control, " ");
    if let Some(end) = (0..=limit).rev().find(|at| line.is_char_boundary(*at)) {
        line.truncate(end);
    }
    line
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use super::*;
    use crate::domain::fault::Class;
    use crate::domain::outcome::Remarks;
    use crate::domain::verdict::{Question, Reject};
    use crate::gateway::conduct::{OnError, PasswordField};

    fn given() -> Given {
        let pair = |name: &str, value: &str| (name.into(), Secret::new(value.as_bytes().to_vec()));
        let environment = BTreeMap::from([
            pair("script_type", "user-pass-verify"),
            pair("auth_failed_reason_file", "/tmp/afr"),
            pair("auth_control_file", "/tmp/acf"),
        ]);
        let input = Secret::new(b"alice\npassword\n".to_vec());
        Given { arguments: Vec::new(), environment, repeated: BTreeSet::new(), input, left: None, nonce: [0; 15] }
    }

    /// What the client is told of `verdict`, and by which status.
    fn told(verdict: Verdict) -> (String, u8) {
        let conduct = Conduct {
            append_otp: None,
            field: PasswordField::Code,
            wait: Duration::from_secs(1),
            min_runtime: Duration::ZERO,
            on_error: OnError::TempFail,
            has_first_factor: false,
        };
        let answered = Answered { verdict, ..Answered::fault(Fault::internal("", "")) };
        let Parting { files, status, .. } = Openvpn::default().part(&given(), &answered, &conduct);
        let content = files.into_iter().next().map(|(_, content)| content).unwrap_or_default();
        (String::from_utf8(content).unwrap(), status)
    }

    fn reject(message: &str) -> Verdict {
        let remarks = Remarks { message: Some(message.into()), ..Remarks::default() };
        Verdict::Reject(Reject {
            class: Class::AuthenticationFailure,
            code: "declined",
            service: None,
            reason: String::new(),
            remarks: Some(Box::new(remarks)),
            retry_after: None,
        })
    }

    #[test]
    fn what_a_service_says_is_text_and_one_line() {
        for (message, expected) in [
            ("no\nCRV1:R:x:YQ==:?", "no CRV1:R:x:YQ==:?"),
            ("CRV1:R:x:YQ==:?", " CRV1:R:x:YQ==:?"),
            (" \tTEMP[backoff 1]:x", " TEMP[backoff 1]:x"),
            ("SESSION:x", " SESSION:x"),
            ("", ""),
        ] {
            assert_eq!(told(reject(message)), (expected.to_owned(), REJECTED), "{message:?}");
        }
        let (long, _) = told(reject(&"\u{e9}".repeat(2000)));
        assert!(long.len() < MESSAGE_LIMIT && long.len() > MESSAGE_LIMIT - 4);
    }

    #[test]
    fn a_long_question_is_cut_where_a_message_ends() {
        let question = Question { key: "otp".into(), prompt: "\u{20ac}".repeat(1000), echo: Echo::Hide };
        let (reason, status) = told(Verdict::NeedInfo(NeedInfo { question, cookie: Some("c".repeat(95)) }));
        assert!(reason.starts_with("CRV1:R:ccc") && reason.contains(":YWxpY2U=:\u{20ac}"));
        assert!(reason.len() <= MESSAGE_LIMIT && reason.len() > MESSAGE_LIMIT - 3);
        assert_eq!(status, REJECTED);
        // A question that cannot be carried is a no.
        let question = Question { key: "a key".into(), prompt: "?".into(), echo: Echo::Hide };
        assert_eq!(told(Verdict::NeedInfo(NeedInfo { question, cookie: None })), (String::new(), REJECTED));
    }
}

//! FreeRADIUS, by rlm_exec: the attributes of an Access-Request in the environment, and pairs for the answer on standard
//! output.
//!
//! | | |
//! |---|---|
//! | in, `shell_escape = yes` | `USER_NAME="bob"`, with `\\`, `\"`, `\r`, `\n`, `\t` and `\ooo`; octets as `STATE=0x46..` |
//! | in, `shell_escape = no` | `User-Name=bob`: as it is; octets as `State=0x46..` |
//! | argument | the name of the virtual server, which belongs to the session |
//! | accept | status 0, `Tmp-String-9 := "accept"`; `Reply-Message` where a service said one |
//! | reject | status 1, `Tmp-String-9 := "reject"`, `Reply-Message` |
//! | need_info | status 9, `Tmp-String-9 := "need_info"`, `State`, `Prompt`, `Reply-Message` |
//! | the answer to it | `User-Password`, beside that `State` |
//! | no verdict | with `on_error = tempfail`: status 2, else as a reject |
//! | standard output | one line of pairs, parted by commas, shorter than 4096 bytes; messages in pieces of 253 bytes |
//!
//! `Tmp-String-9` stays in the server: by it an accept is known from what was written, and not only from how a process ended.
//!
//! A State is `login.cookie` or `login.cookie.key`. `login` is of the first request of a dialogue, and part of its session_id,
//! to which the cookie is bound: two logins of one user never share anything. So are the virtual server, and whether the
//! password was checked: what another server handed out is foreign here.

use std::ffi::OsStr;
use std::fmt::Write;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

use super::carry;
use super::conduct::{Conduct, PasswordField, Typed};
use super::fields::invalid;
use super::once::{Answered, Given, Input, OneShot, Parting, is_temporary, login, message, text};
use crate::domain::fault::Fault;
use crate::domain::request::{Beginning, Dialogue, Request};
use crate::domain::secret::Secret;
use crate::domain::verdict::{Echo, NeedInfo, Verdict};

/// What rlm_exec makes of a status: the number of its own answer and one.
const ACCEPTED: u8 = 0;
const REJECTED: u8 = 1;
const FAILED: u8 = 2;
const UPDATED: u8 = 9;

/// The longest value of an attribute, in bytes.
const VALUE_LIMIT: usize = 253;

/// The longest output, in bytes; rlm_exec reads less than 4096.
const OUTPUT_LIMIT: usize = 4090;

/// The attributes by which a claimant proves something that cannot be a code.
const OTHER_PROOFS: [&str; 5] =
    ["CHAP-Password", "MS-CHAP-Response", "MS-CHAP2-Response", "EAP-Message", "ARAP-Password"];

/// The codec.
pub struct RadiusExec;

impl OneShot for RadiusExec {
    fn input(&self) -> Input {
        Input::Nothing
    }

    fn read(&self, given: &Given, conduct: &Conduct) -> Result<Request, Fault> {
        let attributes = Attributes::of(given);
        let user = attributes.needed("User-Name")?;
        // A name is no secret.
        let user = text(user.expose(), "User-Name")?;
        let password = attributes.password()?;
        // From one custody into the other.
        let password = Secret::new(text(password.expose(), "User-Password")?);
        // Many clients send no empty answer: a blank one is as good.
        let is_blank = password.expose().trim().is_empty();
        let password = if is_blank { Secret::new(String::new()) } else { password };
        let is_checked = is_password_checked(conduct);
        let state = attributes.value("State")?.map(|state| State::read(&state)).transpose()?;
        let (id, mut request) = match state {
            None => (login_id(given), login(user, conduct.take_apart(password), Dialogue::Open)),
            Some(State { login: id, carried }) => {
                let mut request = login(user, Typed::default(), Dialogue::Open);
                carried.answer(&mut request, password);
                if is_checked {
                    request.beginning = Beginning::Before;
                }
                (id, request)
            }
        };
        let site = given.arguments.first().map(|site| site.to_string_lossy()).unwrap_or_default();
        let password = if is_checked { "checked" } else { "code" };
        request.session.session_id = Some(format!("radius {password} {id} {site}"));
        request.session.protocol = Some("radius".into());
        request.session.client_ip = attributes.fact("Calling-Station-Id").filter(|id| id.parse::<IpAddr>().is_ok());
        request.session.connection_name =
            ["NAS-Identifier", "NAS-IP-Address", "NAS-IPv6-Address"].into_iter().find_map(|name| attributes.fact(name));
        Ok(request)
    }

    fn part(&self, given: &Given, answered: &Answered, conduct: &Conduct) -> Parting {
        match &answered.verdict {
            Verdict::Accept(accept) => {
                let said = accept.remarks.as_ref().and_then(|remarks| remarks.message.as_deref()).unwrap_or_default();
                pairs(ACCEPTED, "accept", Vec::new(), said)
            }
            Verdict::Reject(reject) => {
                let status = if is_temporary(reject, conduct) { FAILED } else { REJECTED };
                pairs(status, "reject", Vec::new(), message(reject))
            }
            Verdict::NeedInfo(asked) => match carry::pack(asked) {
                Some(word) => question(&state(given, &word), asked),
                None => {
                    let complaint =
                        "the question cannot be put: a key for RADIUS has at most 32 of A-Z, a-z, 0-9, _ and -";
                    Parting { complaint: Some(complaint.into()), ..pairs(REJECTED, "reject", Vec::new(), "") }
                }
            },
        }
    }
}

/// Whether there is a password before the second factor, whoever checks it.
fn is_password_checked(conduct: &Conduct) -> bool {
    conduct.has_first_factor || conduct.field == PasswordField::Checked
}

// -------------------------------------------------------------------------------------------------------- what comes

/// The attributes of the request.
struct Attributes<'a> {
    given: &'a Given,
    /// Whether names and values are written for a shell.
    is_escaped: bool,
}

impl<'a> Attributes<'a> {
    fn of(given: &'a Given) -> Self {
        Self { given, is_escaped: given.environment.contains_key(OsStr::new("USER_NAME")) }
    }

    /// The value of `name`, where it is there.
    fn value(&self, name: &str) -> Result<Option<Secret<Vec<u8>>>, Fault> {
        let variable = if self.is_escaped { name.to_ascii_uppercase().replace('-', "_") } else { name.to_owned() };
        let variable = OsStr::from_bytes(variable.as_bytes());
        if self.given.repeated.contains(variable) {
            return Err(invalid("duplicate_key", format!("{name}: is there twice")));
        }
        let Some(value) = self.given.environment.get(variable) else { return Ok(None) };
        // Undone, into custody of its own.
        match (value.expose().as_slice(), self.is_escaped) {
            ([b'"', quoted @ ..], true) => match unquoted(quoted) {
                Some(value) => Ok(Some(Secret::new(value))),
                None => {
                    Err(invalid("wrong_value", format!("{name}: is too long, or its quotation marks do not close")))
                }
            },
            (value, _) => Ok(Some(Secret::new(value.to_vec()))),
        }
    }

    fn needed(&self, name: &str) -> Result<Secret<Vec<u8>>, Fault> {
        self.value(name)?.ok_or_else(|| invalid("missing_field", format!("{name}: is missing")))
    }

    fn password(&self) -> Result<Secret<Vec<u8>>, Fault> {
        match (
            self.value("User-Password")?,
            OTHER_PROOFS.iter().find(|name| matches!(self.value(name), Ok(Some(_)) | Err(_))),
        ) {
            (Some(password), _) => Ok(password),
            (None, Some(other)) => Err(invalid(
                "missing_field",
                format!("User-Password: is missing; from {other} no code can be read: have the client use PAP"),
            )),
            (None, None) => self.needed("User-Password"),
        }
    }

    /// What the gateway says of the session, where that can be read.
    fn fact(&self, name: &str) -> Option<String> {
        let value = self.value(name).ok()??;
        // No secret.
        text(value.expose(), name).ok().filter(|text| !text.is_empty())
    }
}

/// What stands before the quotation mark at the end, with its escapes undone; `None` where that is not how it ends.
fn unquoted(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut rest = quoted.iter().copied();
    let mut value = Vec::with_capacity(quoted.len());
    loop {
        value.push(match rest.next()? {
            b'"' => return rest.next().is_none().then_some(value),
            b'\\' => match rest.next()? {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                first @ b'0'..=b'3' => {
                    let digits = [first, rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 8).ok()?
                }
                other => other,
            },
            other => other,
        });
    }
}

/// What came back with an answer.
struct State {
    login: String,
    carried: carry::Carried,
}

impl State {
    fn read(state: &Secret<Vec<u8>>) -> Result<Self, Fault> {
        // Decoded; the cookie in it goes into custody.
        let read = || {
            let bytes = HEXLOWER_PERMISSIVE.decode(state.expose().strip_prefix(b"0x")?).ok()?;
            let (login, word) = std::str::from_utf8(&bytes).ok()?.split_once('.')?;
            let is_login = BASE64URL_NOPAD.decode(login.as_bytes()).is_ok_and(|nonce| nonce.len() == NONCE);
            Some(Self { login: login.to_owned(), carried: carry::unpack(word).filter(|_| is_login)? })
        };
        read().ok_or_else(|| invalid("wrong_value", "State: is none that was handed out here"))
    }
}

/// The bytes of what a login is known by.
const NONCE: usize = 15;

/// By what a login is known that begins with this request.
fn login_id(given: &Given) -> String {
    BASE64URL_NOPAD.encode(&given.nonce)
}

// -------------------------------------------------------------------------------------------------------- what goes

/// The State of a question: of the login that this request belongs to.
fn state(given: &Given, word: &str) -> String {
    let came = Attributes::of(given).value("State").ok().flatten().and_then(|state| State::read(&state).ok());
    let login = came.map_or_else(|| login_id(given), |state| state.login);
    format!("{login}.{word}")
}

fn question(state: &str, asked: &NeedInfo) -> Parting {
    let echo = match asked.question.echo {
        Echo::Show => "Echo",
        Echo::Hide => "No-Echo",
    };
    // Only what needs no quoting is in it.
    pairs(
        UPDATED,
        "need_info",
        vec![format!("State = \"{state}\""), format!("Prompt = {echo}")],
        &asked.question.prompt,
    )
}

/// A line of pairs: `verdict`, `more`, and behind them `message` in as many as it takes.
fn pairs(status: u8, verdict: &str, more: Vec<String>, message: &str) -> Parting {
    let mut pairs = vec![format!("Tmp-String-9 := \"{verdict}\"")];
    pairs.extend(more);
    let mut length: usize = pairs.iter().map(|pair| pair.len() + 2).sum();
    for piece in pieces(message) {
        let pair = format!("Reply-Message += \"{}\"", quoted(piece));
        length += pair.len() + 2;
        if length > OUTPUT_LIMIT {
            break;
        }
        pairs.push(pair);
    }
    Parting { output: pairs.join(", ").into_bytes(), ..Parting::status(status) }
}

/// `message` in pieces that an attribute holds: cut behind a line where one ends in it, else behind a character.
fn pieces(message: &str) -> impl Iterator<Item = &str> {
    let mut rest = message;
    std::iter::from_fn(move || {
        let most = rest.len().min(VALUE_LIMIT);
        let most = rest.get(..(0..=most).rev().find(|at| rest.is_char_boundary(*at))?)?;
        let is_last = most.len() == rest.len();
        let line = most.rfind('\n').filter(|_| !is_last).map_or(most.len(), |end| end + 1);
        let (piece, after) = rest.split_at_checked(line)?;
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// `text` between quotation marks of FreeRADIUS: nothing in it ends them, parts pairs, or is expanded.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' | '%' | '\0'..='\x1f' | '\x7f' => {
                // A String takes everything.
                let _ = write!(quoted, "\\{:03o}", u32::from(character));
            }
            other => quoted.push(other),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_value_is_undone() {
        for (quoted, value) in [
            (&br#"bob""#[..], Some(&b"bob"[..])),
            (br#"""#, Some(b"")),
            (br#"p\"w\\n\r\n\t\303\251\000x""#, Some(b"p\"w\\n\r\n\t\xc3\xa9\0x")),
            (br#"\\""#, Some(b"\\")),
            (br#"cut off"#, None),
            (br#"cut off\"#, None),
            (br#"cut off\""#, None),
            (br#"\30""#, None),
            (br#"a"b""#, None),
        ] {
            assert_eq!(unquoted(quoted).as_deref(), value, "{}", String::from_utf8_lossy(quoted));
        }
    }

    #[test]
    fn a_message_is_cut_where_nothing_breaks() {
        let long = "é".repeat(300);
        let cut: Vec<_> = pieces(&long).collect();
        assert_eq!(cut.iter().map(|piece| piece.len()).collect::<Vec<_>>(), [252, 252, 96]);
        assert_eq!(cut.concat(), long);
        let lines = format!("{}\n{}\n{}", "a".repeat(100), "b".repeat(100), "c".repeat(100));
        assert_eq!(pieces(&lines).map(str::len).collect::<Vec<_>>(), [202, 100]);
        assert_eq!(pieces("").count(), 0);
    }

    #[test]
    fn nothing_gets_out_of_its_quotation_marks() {
        assert_eq!(quoted("a\"b\\%{User-Name}\n`é`, x"), "a\\042b\\134\\045{User-Name}\\012`é`, x");
        let parting = pairs(1, "reject", Vec::new(), &"\"".repeat(5000));
        assert!(parting.output.len() <= OUTPUT_LIMIT && parting.output.ends_with(b"\\042\""));
        assert!(!parting.output.contains(&b'\n'));
    }
}

//! Helpers of Squid: a line a question on standard input, a line an answer on standard output, in any order where there are
//! channels. There is no dialogue: a question is shown as the text of a refusal.
//!
//! | | |
//! |---|---|
//! | in, `auth_param basic` | `[channel ]user password[ address …]` |
//! | in, `external_acl_type` | `[channel ]user address[ …] data`; `-` is nobody, or nothing |
//! | fields | percent-encoded, parted by single blanks; an address counts only as the field that comes next |
//! | channel | with `--concurrent`: the first field, 1 to 20 digits, given back as it came; a line without one is no login |
//! | accept | `OK log=trace` |
//! | reject, need_info | `ERR log=trace message=text text`: `message` is for `%o` of an external ACL, the text behind the pairs is all that `%m` shows |
//! | no verdict | `BH`, in place of `ERR`, with `on_error = tempfail` and where nothing was sent: Squid asks twice more at once |

use std::net::IpAddr;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use sha2::Sha256;

use super::conduct::{Conduct, Typed};
use super::fields::invalid;
use super::once::{is_temporary, login, message, text};
use super::{Greeting, Inbound, Protocol, RequestId, Said};
use crate::domain::fault::Fault;
use crate::domain::foreign::is_deceptive;
use crate::domain::request::{Dialogue, Request};
use crate::domain::secret::{Secret, SecretBytes};
use crate::domain::verdict::{Sent, Verdict};

/// The longest channel, in digits: Squid counts to less than 2^64.
const CHANNEL: usize = 20;

/// The longest text that is shown, in characters.
const SHOWN: usize = 512;

/// What stands in a field for nothing.
const NOTHING: &[u8] = b"-";

/// What needs no encoding in the value of a pair.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// Which helper is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SquidHelper {
    /// `auth_param basic program`.
    Basic,
    /// `external_acl_type`.
    ExternalAcl,
}

/// Whether each line begins with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// `concurrency=N`: the answer begins with the same.
    Numbered,
    /// One question at a time.
    One,
}

/// The codec.
pub struct Squid {
    pub helper: SquidHelper,
    pub conduct: Conduct,
    pub channels: Channels,
    /// What the names of sessions are made with, for as long as the process lives: nobody who reads them in a log finds a
    /// password by trying.
    pub key: SecretBytes,
}

impl Protocol for Squid {
    fn read(&self, line: &[u8]) -> Inbound {
        let (id, fields) = match self.channels {
            Channels::One => (None, line),
            Channels::Numbered => {
                let end = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
                let (channel, fields) = line.split_at_checked(end).unwrap_or((line, b""));
                let Some(channel) = channel_of(channel) else {
                    // Nothing of the line: what stands in the place of the name may be a password.
                    let text = "expected the number of a channel in front (concurrency=N goes with --concurrent)";
                    return Inbound::Flawed { id: None, fault: invalid("wrong_value", text) };
                };
                (Some(channel), fields.strip_prefix(b" ").unwrap_or(fields))
            }
        };
        match self.request(fields) {
            Ok(request) => Inbound::Decide { id, request: Box::new(request), unknown: Vec::new() },
            Err(fault) => Inbound::Flawed { id, fault },
        }
    }

    fn write(&self, id: Option<&RequestId>, said: Said<'_>, out: &mut Vec<u8>) {
        let Said { verdict, trace, session_cookie: _, challenge: _, sent } = said;
        let (word, text) = match verdict {
            Verdict::Accept(_) => ("OK", None),
            Verdict::NeedInfo(need_info) => ("ERR", Some(need_info.question.prompt.as_str())),
            Verdict::Reject(reject) => {
                // Whoever was asked once would be asked three times.
                let may_repeat = sent == Sent::Nothing && is_temporary(reject, &self.conduct);
                (if may_repeat { "BH" } else { "ERR" }, Some(message(reject)))
            }
        };
        let mut line = id.map(|id| format!("{} ", id.0)).unwrap_or_default();
        line.push_str(word);
        if !trace.is_empty() {
            line.push_str(" log=");
            line.extend(utf8_percent_encode(trace, PLAIN));
        }
        if let Some(text) = text.map(shown).filter(|text| !text.is_empty()) {
            line.push_str(" message=");
            line.extend(utf8_percent_encode(&text, PLAIN));
            // What looks like a pair would be one, such as the user's name.
            let is_pair = text.split(' ').next().is_some_and(|first| first.contains('='));
            line.push_str(if is_pair { " : " } else { " " });
            line.push_str(&text);
        }
        line.push('\n');
        out.extend_from_slice(line.as_bytes());
    }

    fn write_cancelled(&self, id: Option<&RequestId>, _found: bool, out: &mut Vec<u8>) {
        self.unspoken(id, out);
    }

    fn write_greeting(&self, id: Option<&RequestId>, _greeting: &Greeting, out: &mut Vec<u8>) {
        self.unspoken(id, out);
    }
}

impl Squid {
    /// The request in `fields`, which stand behind the channel.
    fn request(&self, fields: &[u8]) -> Result<Request, Fault> {
        let mut fields = fields.split(|b| *b == b' ');
        let user = fields.next().filter(|user| !user.is_empty()).ok_or_else(|| missing("the user"))?;
        let user = if self.helper == SquidHelper::ExternalAcl && user == NOTHING {
            return Err(missing("the user: proxy_auth has to come before"));
        } else {
            decoded(user, "the user")?
        };
        let typed = match self.helper {
            SquidHelper::Basic => {
                let password = fields.next().ok_or_else(|| missing("the password"))?;
                self.conduct.take_apart(Secret::new(decoded(password, "the password")?))
            }
            // Whoever checked the password did so before, and there is no code: a push is meant.
            SquidHelper::ExternalAcl => Typed::default(),
        };
        // Not wherever it stands: a field may hold what a claimant sent.
        let client_ip = fields.next().and_then(address);
        let data = fields.next_back().filter(|_| self.helper == SquidHelper::ExternalAcl);
        let session_id = self.session(&user, client_ip.as_deref(), typed.password.as_ref());
        let mut request = login(user, typed, Dialogue::Closed);
        request.session.session_id = session_id;
        request.session.protocol = Some("http".into());
        request.session.client_ip = client_ip;
        request.session.connection_name = match data {
            Some(data) if data != NOTHING && !data.is_empty() => Some(decoded(data, "the data of the ACL")?),
            Some(_) | None => None,
        };
        Ok(request)
    }

    /// The name of a session. Requests of one user from one address with one password wait for one push: a browser sends
    /// many of them at once. Anybody else's do not, and are refused while it waits. The code is no part of it, so that one that is
    /// typed takes the place of the push.
    fn session(&self, user: &str, address: Option<&str>, password: Option<&Secret<String>>) -> Option<String> {
        let helper: &[u8] = match self.helper {
            SquidHelper::Basic => b"basic",
            SquidHelper::ExternalAcl => b"external ACL",
        };
        // Neither key nor password can be told from the hash.
        let password = password.map(|password| password.expose().as_bytes());
        let mut hash = Hmac::<Sha256>::new_from_slice(self.key.expose()).ok()?;
        for part in [Some(helper), Some(user.as_bytes()), address.map(str::as_bytes), password] {
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            hash.update(&length.to_be_bytes());
            hash.update(part.unwrap_or_default());
        }
        let hash = hash.finalize().into_bytes();
        hash.get(..16).map(|hash| HEXLOWER.encode(hash))
    }

    /// Answers what no line of Squid can ask for; still one line, and no accept.
    fn unspoken(&self, id: Option<&RequestId>, out: &mut Vec<u8>) {
        let verdict = Verdict::Reject(invalid("unknown_type", "there is no such request").into());
        self.write(id, Said::bare(&verdict, ""), out);
    }
}

fn missing(what: &str) -> Fault {
    invalid("missing_field", format!("expected {what}"))
}

/// The channel that `bytes` are. Where Squid numbers nothing, a name stands here, and what is given back in front of the answer
/// would be read as the answer: no word that means something is ever a channel.
fn channel_of(bytes: &[u8]) -> Option<RequestId> {
    let is_number = (1..=CHANNEL).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(bytes).ok()?;
    is_number.then(|| RequestId(text.to_owned()))
}

/// The text of a field.
fn decoded(field: &[u8], what: &str) -> Result<String, Fault> {
    let bytes = SecretBytes::new(percent_decode(field).collect());
    // It may be a password: whoever called takes it into custody.
    text(bytes.expose(), what)
}

/// The address that a field is, as text.
fn address(field: &[u8]) -> Option<String> {
    let text = decoded(field, "").ok()?;
    text.parse::<IpAddr>().is_ok().then_some(text)
}

/// What the claimant may read, on one line.
fn shown(text: &str) -> String {
    let plain: String = text.chars().take(SHOWN).map(|c| if is_deceptive(c) { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::fault::Class;
    use crate::domain::verdict::{Accept, Basis, Echo, Footing, NeedInfo, Question, Reject};
    use crate::gateway::conduct::{OnError, PasswordField};

    fn squid(helper: SquidHelper, channels: Channels) -> Squid {
        let conduct = Conduct {
            append_otp: Some(",".into()),
            field: PasswordField::Code,
            wait: Duration::from_secs(1),
            min_runtime: Duration::ZERO,
            on_error: OnError::TempFail,
            has_first_factor: false,
        };
        Squid { helper, conduct, channels, key: SecretBytes::new(vec![7; 32]) }
    }

    /// The channel, the request, and what is wrong with the line where there is none.
    fn read(squid: &Squid, line: &[u8]) -> (Option<String>, Result<Request, &'static str>) {
        match squid.read(line) {
            Inbound::Decide { id, request, unknown } => {
                assert!(unknown.is_empty());
                (id.map(|id| id.0), Ok(*request))
            }
            Inbound::Flawed { id, fault } => (id.map(|id| id.0), Err(fault.code)),
            Inbound::Cancel { id: _, target: _ } | Inbound::Hello { id: _ } => panic!("no line says that"),
        }
    }

    fn asked(squid: &Squid, line: &str) -> Request {
        let (channel, request) = read(squid, line.as_bytes());
        assert_eq!(channel, None);
        request.unwrap()
    }

    fn typed(request: &Request, key: &str) -> Option<String> {
        request.answers.answer(key).map(|secret| secret.expose().clone())
    }

    fn session(squid: &Squid, line: &str) -> String {
        asked(squid, line).session.session_id.unwrap()
    }

    fn written(squid: &Squid, id: Option<&str>, verdict: &Verdict, sent: Sent) -> String {
        let (id, mut out) = (id.map(|id| RequestId(id.into())), Vec::new());
        squid.write(id.as_ref(), Said { sent, ..Said::bare(verdict, "t1") }, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn rejected(class: Class) -> Verdict {
        let reason = "the operator's".to_owned();
        Verdict::Reject(Reject { class, code: "c", service: None, reason, remarks: None, retry_after: None })
    }

    fn question(prompt: &str) -> Verdict {
        let question = Question { key: "k".into(), prompt: prompt.into(), echo: Echo::Show };
        Verdict::NeedInfo(NeedInfo { question, cookie: Some("cookie".into()) })
    }

    #[test]
    fn a_line_of_a_basic_helper_is_a_login() {
        let squid = squid(SquidHelper::Basic, Channels::One);
        let request = asked(&squid, "b%C3%B6b%20x p%20w%25%22,1 192.0.2.7 more");
        assert_eq!(request.session.gateway_user.as_deref(), Some("böb x"));
        assert_eq!((typed(&request, "password"), typed(&request, "otp")), (Some("p w%\"".into()), Some("1".into())));
        assert_eq!(request.session.client_ip.as_deref(), Some("192.0.2.7"));
        assert_eq!((request.session.protocol.as_deref(), request.session.connection_name), (Some("http"), None));
        assert_eq!((request.dialogue, request.cookie.is_none(), request.name), (Dialogue::Closed, true, None));
        let address = |line| asked(&squid, line).session.client_ip;
        assert_eq!(address("bob pw 2001:db8::1").as_deref(), Some("2001:db8::1"));
        // An address that stands where a claimant may have put it is none.
        for line in ["bob pw", "bob pw -", "bob pw agent 192.0.2.7", "bob pw 192.0.2.7x", "bob pw  192.0.2.7"] {
            assert_eq!(address(line), None, "{line}");
        }
        assert_eq!(typed(&asked(&squid, "bob "), "password").as_deref(), Some(""));
    }

    #[test]
    fn a_line_of_an_external_acl_is_a_push() {
        let squid = squid(SquidHelper::ExternalAcl, Channels::One);
        let request = asked(&squid, "bob 192.0.2.7 %2Fsecond staff%20only");
        assert_eq!((typed(&request, "password"), typed(&request, "otp")), (None, None));
        assert_eq!(request.session.client_ip.as_deref(), Some("192.0.2.7"));
        assert_eq!(request.session.connection_name.as_deref(), Some("staff only"));
        assert_eq!(asked(&squid, "bob 192.0.2.7 -").session.connection_name, None);
        assert_eq!(read(&squid, b"- 192.0.2.7 -").1.unwrap_err(), "missing_field");
    }

    #[test]
    fn a_line_that_is_none_is_told_so_on_its_channel() {
        let squid = squid(SquidHelper::Basic, Channels::Numbered);
        let long = "9".repeat(CHANNEL + 1);
        for (line, channel, code) in [
            (b"7".as_slice(), Some("7"), "missing_field"),
            (b"7 ", Some("7"), "missing_field"),
            (b"7 bob", Some("7"), "missing_field"),
            (b"7  pw", Some("7"), "missing_field"),
            (b"7 %ff pw", Some("7"), "not_utf8"),
            (b"7 \xff pw", Some("7"), "not_utf8"),
            (b"7 bob a%00b", Some("7"), "wrong_value"),
            (b"", None, "wrong_value"),
            (b" bob pw", None, "wrong_value"),
            (b"7\x01 bob pw", None, "wrong_value"),
            (long.as_bytes(), None, "wrong_value"),
        ] {
            let (found, request) = read(&squid, line);
            assert_eq!((found.as_deref(), request.unwrap_err()), (channel, code), "{line:?}");
        }
        for channel in ["0", "007", "18446744073709551615"] {
            let (found, request) = read(&squid, format!("{channel} bob pw").as_bytes());
            assert_eq!((found.as_deref(), request.is_ok()), (Some(channel), true));
        }
        // What is no number may be a name, where squid.conf says nothing of concurrency.
        for name in ["OK", "ERR", "BH", "TT", "-1", "+1", "1a", "a=b", "\u{661}", "1%20"] {
            let (found, request) = read(&squid, format!("{name} bob pw").as_bytes());
            assert_eq!((found, request.unwrap_err()), (None, "wrong_value"), "{name}");
        }
    }

    #[test]
    fn one_push_is_for_one_user_address_and_password() {
        let squid = squid(SquidHelper::Basic, Channels::One);
        let one = session(&squid, "bob pw 192.0.2.7");
        assert_eq!(one, session(&squid, "bob p%77 192.0.2.7 else"));
        // A code in place of the push.
        assert_eq!(one, session(&squid, "bob pw,123456 192.0.2.7"));
        for line in ["bob pw 192.0.2.8", "bob pw", "bob px 192.0.2.7", "bobp w 192.0.2.7", "eve pw 192.0.2.7"] {
            assert_ne!(one, session(&squid, line), "{line}");
        }
        let other = Squid { key: SecretBytes::new(vec![8; 32]), ..self::squid(SquidHelper::Basic, Channels::One) };
        assert_ne!(one, session(&other, "bob pw 192.0.2.7"));
    }

    #[test]
    fn a_verdict_is_one_line_that_says_nothing_else() {
        let squid = squid(SquidHelper::Basic, Channels::Numbered);
        let accept = Verdict::Accept(Accept {
            claimant: None,
            identity: None,
            basis: Basis::Verified,
            factor: None,
            service: None,
            footing: Footing::Full,
            reason: "verified".into(),
            remarks: None,
            cookie: Some("cookie".into()),
        });
        let id = Some("42");
        assert_eq!(written(&squid, id, &accept, Sent::Perhaps), "42 OK log=t1\n");
        for (prompt, expected) in [
            ("Ticket:", "message=Ticket%3A Ticket:"),
            ("a\nOK user=eve", "message=a%20OK%20user%3Deve a OK user=eve"),
            ("user=eve b", "message=user%3Deve%20b : user=eve b"),
            ("say \"é\\\"\u{202e}", "message=say%20%22%C3%A9%5C%22 say \"é\\\""),
        ] {
            assert_eq!(written(&squid, id, &question(prompt), Sent::Nothing), format!("42 ERR log=t1 {expected}\n"));
        }
        assert_eq!(written(&squid, None, &question("\n"), Sent::Nothing), "ERR log=t1\n");
        let long = written(&squid, None, &question(&"\u{1f511}".repeat(10_000)), Sent::Nothing);
        assert!(long.len() < 16 * SHOWN + 64, "{}", long.len());
    }

    #[test]
    fn what_may_have_asked_somebody_is_not_asked_again() {
        let squid = squid(SquidHelper::Basic, Channels::One);
        let word = |squid: &Squid, class, sent| written(squid, None, &rejected(class), sent)[..3].trim_end().to_owned();
        for class in [Class::CommunicationError, Class::ServiceUnreachable, Class::InternalError] {
            assert_eq!(
                (word(&squid, class, Sent::Nothing), word(&squid, class, Sent::Perhaps)),
                ("BH".into(), "ERR".into())
            );
        }
        for class in [Class::AuthenticationFailure, Class::PolicyDenied, Class::InvalidRequest] {
            assert_eq!(word(&squid, class, Sent::Nothing), "ERR", "{class:?}");
        }
        let conduct = Conduct { on_error: OnError::Reject, ..squid.conduct.clone() };
        let squid = Squid { conduct, ..squid };
        assert_eq!(word(&squid, Class::ServiceUnreachable, Sent::Nothing), "ERR");
    }
}

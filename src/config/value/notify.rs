//! The types of options that say how codes are sent.

use std::path::PathBuf;
use std::str::FromStr;

use super::super::schema::Schema;
use super::Value;
use crate::config::http::template::Template;
use crate::domain::foreign::{Foreign, is_deceptive};

/// By what codes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Smtp,
    Webhook,
    Command,
}

impl Via {
    /// The word in plugin.ini.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Webhook => "webhook",
            Self::Command => "command",
        }
    }
}

impl Value for Via {
    fn expected() -> String {
        "smtp, webhook or command".into()
    }

    fn schema() -> Schema {
        Schema::words(&["smtp", "webhook", "command"])
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Smtp, Self::Webhook, Self::Command].into_iter().find(|via| via.word() == text)
    }
}

/// How the way to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSecurity {
    StartTls,
    Tls,
    None,
}

impl Value for MailSecurity {
    fn expected() -> String {
        "starttls, tls or none".into()
    }

    fn schema() -> Schema {
        Schema::words(&["starttls", "tls", "none"])
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "starttls" => Some(Self::StartTls),
            "tls" => Some(Self::Tls),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// The host and the port of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
}

impl Value for HostPort {
    fn expected() -> String {
        "a host and a port such as mail.corp.example:587".into()
    }

    fn schema() -> Schema {
        Schema::pattern(r"[^\s/@?#\\]+:[0-9]+")
    }

    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|_| port.bytes().all(|b| b.is_ascii_digit()))?;
        let plain = match host.strip_prefix('[') {
            Some(inside) => inside.strip_suffix(']').filter(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok())?,
            None => Some(host).filter(|host| !host.contains(':'))?,
        };
        let is_host = !plain.is_empty() && super::ProxyHost::parse(host).is_some();
        (is_host && port != 0).then(|| Self { host: plain.to_owned(), port })
    }
}

/// A mailbox: an address, with a name before it where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox(pub lettre::message::Mailbox);

impl Value for Mailbox {
    fn expected() -> String {
        "an address such as gateway@corp.example, or Gateway <gateway@corp.example>".into()
    }

    fn schema() -> Schema {
        Schema::pattern(r".+@.+")
    }

    fn parse(text: &str) -> Option<Self> {
        if text.chars().any(is_deceptive) {
            return None;
        }
        lettre::message::Mailbox::from_str(text).ok().map(Self)
    }
}

/// How a webhook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookMethod {
    Post,
    Put,
}

impl Value for WebhookMethod {
    fn expected() -> String {
        "POST or PUT".into()
    }

    fn schema() -> Schema {
        Schema::words(&["POST", "PUT"])
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "POST" => Some(Self::Post),
            "PUT" => Some(Self::Put),
            _ => None,
        }
    }
}

/// How a webhook knows this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookAuth {
    None,
    Basic,
    Bearer,
    Header,
}

impl Value for WebhookAuth {
    fn expected() -> String {
        "none, basic, bearer or header".into()
    }

    fn schema() -> Schema {
        Schema::words(&["none", "basic", "bearer", "header"])
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "basic" => Some(Self::Basic),
            "bearer" => Some(Self::Bearer),
            "header" => Some(Self::Header),
            _ => None,
        }
    }
}

/// A message with a place for the code in it.
#[derive(Clone, Debug)]
pub struct MessageText(pub Template);

impl Value for MessageText {
    fn expected() -> String {
        "text with {code} in it".into()
    }

    fn schema() -> Schema {
        Schema::pattern(r"[\s\S]*\{code\}[\s\S]*")
    }

    fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    fn read(text: &str) -> Result<Self, String> {
        let template = Template::read(text)?;
        let has_code = template.placeholders().any(|name| name == "code");
        if has_code { Ok(Self(template)) } else { Err("has no {code} in it".into()) }
    }
}

/// A program and its arguments. There is no shell, and no quoting: words are parted by blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    pub program: PathBuf,
    pub arguments: Vec<Argument>,
}

/// One argument of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    Text(String),
    /// `{target}`: where the code goes to.
    Target,
    /// `{origin}`: where the session comes from and goes to.
    Origin,
}

impl Argument {
    /// The argument, where it is always the same.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Target | Self::Origin => None,
        }
    }
}

impl Value for CommandLine {
    fn expected() -> String {
        "the absolute path of a program and its arguments, such as /usr/local/bin/send-sms {target}".into()
    }

    fn schema() -> Schema {
        Schema::pattern(r"[ \t]*/.*")
    }

    fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    fn read(text: &str) -> Result<Self, String> {
        let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
        let program = words.next().filter(|program| program.starts_with('/') && !program.contains(['{', '}', '\0']));
        let program = program.ok_or_else(|| format!("expected {}, found \"{}\"", Self::expected(), Foreign(text)))?;
        let argument = |word: &str| match word {
            "{target}" => Ok(Argument::Target),
            "{origin}" => Ok(Argument::Origin),
            word if word.contains(['{', '}', '\0']) => {
                Err(format!("expected {{target}} or {{origin}} as a whole word, found \"{}\"", Foreign(word)))
            }
            word => Ok(Argument::Text(word.to_owned())),
        };
        let arguments = words.map(argument).collect::<Result<_, _>>()?;
        Ok(Self { program: program.into(), arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("mail.corp.example:587", "mail.corp.example", 587),
            ("192.0.2.1:25", "192.0.2.1", 25),
            ("[2001:db8::1]:465", "2001:db8::1", 465),
        ] {
            assert_eq!(HostPort::parse(text), Some(HostPort { host: host.into(), port }), "{text}");
        }
        for text in ["", "mail", ":25", "mail:", "mail:0", "mail:+25", "mail:99999", "::1:25", "[mail]:25", "u@m:25"] {
            assert_eq!(HostPort::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_program_is_absolute_and_its_places_are_whole_words() {
        let line = CommandLine::read("/bin/send  --to {target} {origin}").unwrap();
        assert_eq!(line.program, PathBuf::from("/bin/send"));
        assert_eq!(line.arguments, [Argument::Text("--to".into()), Argument::Target, Argument::Origin]);
        for text in ["", "send {target}", "/bin/{target}", "/bin/send --to={target}", "/bin/send {code}", "/bin/send {"]
        {
            assert!(CommandLine::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mailbox_is_an_address() {
        for text in ["a@corp.example", "Gateway <a@corp.example>"] {
            assert!(Mailbox::parse(text).is_some(), "{text}");
        }
        for text in ["", "a", "a@b@c", "a@corp.example\r\nBcc: x@y.example", "<a@b"] {
            assert!(Mailbox::parse(text).is_none(), "{text:?}");
        }
    }
}

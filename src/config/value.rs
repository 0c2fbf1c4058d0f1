//! The types of option values: each says what it takes, and takes nothing else.

mod colour;
mod network;
mod notify;
mod people;
mod policy;
mod remote;
mod store;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::schema::Schema;
use crate::domain::authenticator::Algorithm;
use crate::domain::foreign::Foreign;
use crate::domain::verdict::Echo;

pub use colour::{Colour, Shades};
pub use network::{Authorities, Identity, ProxyHost};
pub use notify::{
    Argument, CommandLine, HostPort, MailSecurity, Mailbox, MessageText, Via, WebhookAuth, WebhookMethod,
};
pub use people::{Alphabet, Separator};
pub use policy::{
    Attribute, Domain, GroupFilter, Integer, LdapUrls, List, LogLevel, Milliseconds, ReuseLimit, UserFilter,
};
pub use remote::{
    ClientName, Clients, DuoFactor, DuoSignature, Flavour, Host, HttpUrl, OktaCode, OnUnreachable, Pins, PushMode,
    PushModes, ServiceSecret, Urls, is_service_name,
};

pub use store::StorePlace;

/// A type that an option's text is read as.
pub trait Value: Sized {
    /// Whether the text may be repeated in an error.
    const SECRET: bool = false;

    /// What is taken, for the error and the example: "expected …".
    fn expected() -> String;

    /// The same, as far as JSON Schema can say it: it refuses no text that is taken.
    fn schema() -> Schema;

    /// The value of `text`; `None` where it is not what is expected.
    fn parse(text: &str) -> Option<Self>;

    /// The value of `text`.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            let expected = Self::expected();
            if Self::SECRET {
                format!("expected {expected}")
            } else {
                format!("expected {expected}, found \"{}\"", Foreign(&without_login(text)))
            }
        })
    }
}

/// `text` without the name and the password that may stand in it where it was meant for an address.
fn without_login(text: &str) -> Cow<'_, str> {
    match text.rsplit_once('@') {
        Some((login, host)) if login.contains(':') => Cow::Owned(format!("<redacted>@{host}")),
        Some(_) | None => Cow::Borrowed(text),
    }
}

/// A duration in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds<const LEAST: u64, const MOST: u64>(pub u64);

impl<const LEAST: u64, const MOST: u64> Value for Seconds<LEAST, MOST> {
    fn expected() -> String {
        format!("seconds from {LEAST} to {MOST}, such as {}", 30.clamp(LEAST, MOST))
    }

    fn schema() -> Schema {
        Schema::Whole { least: LEAST, most: MOST }
    }

    fn parse(text: &str) -> Option<Self> {
        whole(text).filter(|n| (LEAST..=MOST).contains(n)).map(Self)
    }
}

/// A count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<const LEAST: u32, const MOST: u32>(pub u32);

impl<const LEAST: u32, const MOST: u32> Value for Count<LEAST, MOST> {
    fn expected() -> String {
        format!("a whole number from {LEAST} to {MOST}")
    }

    fn schema() -> Schema {
        Schema::Whole { least: LEAST.into(), most: MOST.into() }
    }

    fn parse(text: &str) -> Option<Self> {
        whole(text).and_then(|n| u32::try_from(n).ok()).filter(|n| (LEAST..=MOST).contains(n)).map(Self)
    }
}

/// Decimal digits only: no sign, no `_`, no white space.
fn whole(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Any text that is not empty.
impl Value for String {
    fn expected() -> String {
        "some text".into()
    }

    fn schema() -> Schema {
        Schema::Text
    }

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// A path; relative ones start at the directory of plugin.ini.
impl Value for PathBuf {
    fn expected() -> String {
        "a path".into()
    }

    fn schema() -> Schema {
        Schema::Text
    }

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Path::new(text).to_owned())
    }
}

impl Value for Algorithm {
    fn expected() -> String {
        "SHA1, SHA256 or SHA512".into()
    }

    fn schema() -> Schema {
        let also = ["SHA-1", "SHA-256", "SHA-512"].map(String::from).to_vec();
        let words = [Self::Sha1, Self::Sha256, Self::Sha512].map(|algorithm| algorithm.name().to_owned()).to_vec();
        Schema::AnyCase { words, also }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::named(text)
    }
}

/// `disable_echo`: yes hides what is typed.
impl Value for Echo {
    fn expected() -> String {
        YesNo::expected()
    }

    fn schema() -> Schema {
        YesNo::schema()
    }

    fn parse(text: &str) -> Option<Self> {
        YesNo::parse(text).map(|hides| match hides {
            YesNo::Yes => Self::Hide,
            YesNo::No => Self::Show,
        })
    }
}

/// Names separated by commas, trimmed, in lower case; may be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl Value for Names {
    fn expected() -> String {
        "names separated by commas, such as ssh,rdp".into()
    }

    fn schema() -> Schema {
        Schema::OrNothing(Box::new(Schema::list(&Schema::pattern(r"[^,\s](?:[^,]*[^,\s])?"), ',')))
    }

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_lowercase()).collect();
        names.iter().all(|name| !name.is_empty()).then_some(Self(names))
    }
}

/// An option that may be left empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Optional<T>(pub Option<T>);

impl<T: Value> Value for Optional<T> {
    const SECRET: bool = T::SECRET;

    fn expected() -> String {
        format!("{}, or nothing", T::expected())
    }

    fn schema() -> Schema {
        Schema::OrNothing(Box::new(T::schema()))
    }

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() { Some(Self(None)) } else { T::parse(text).map(|value| Self(Some(value))) }
    }

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(Self(None)) } else { T::read(text).map(|value| Self(Some(value))) }
    }
}

/// `yes` or `no`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YesNo {
    Yes,
    No,
}

impl Value for YesNo {
    fn expected() -> String {
        "yes or no".into()
    }

    fn schema() -> Schema {
        Schema::any_case(&["yes", "no"])
    }

    fn parse(text: &str) -> Option<Self> {
        match () {
            () if text.eq_ignore_ascii_case("yes") => Some(Self::Yes),
            () if text.eq_ignore_ascii_case("no") => Some(Self::No),
            () => None,
        }
    }
}

/// Where a secret lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// A file; relative paths start at the directory of plugin.ini.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

impl Value for SecretRef {
    const SECRET: bool = true;

    fn expected() -> String {
        "where the secret lies: file:PATH, env:NAME or credential:NAME".into()
    }

    fn schema() -> Schema {
        Schema::pattern("file:.+|env:[^=]+|credential:[^/]+")
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, name) = text.split_once(':')?;
        match scheme {
            _ if name.is_empty() => None,
            "file" => Some(Self::File(name.into())),
            "env" if !name.contains(['=', '\0']) => Some(Self::Env(name.into())),
            "credential" if !name.contains('/') && name != "." && name != ".." => Some(Self::Credential(name.into())),
            _ => None,
        }
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Error,
    Warning,
    Info,
    Debug,
}

impl Value for Level {
    fn expected() -> String {
        "error, warning, info or debug".into()
    }

    fn schema() -> Schema {
        let words = ["error", "warning", "info", "debug"].map(String::from).to_vec();
        Schema::AnyCase { words, also: vec!["critical".into()] }
    }

    fn parse(text: &str) -> Option<Self> {
        let levels = [
            ("error", Self::Error),
            ("warning", Self::Warning),
            ("info", Self::Info),
            ("debug", Self::Debug),
            // SPS has one more; what is worth it there is an error here.
            ("critical", Self::Error),
        ];
        levels.into_iter().find_map(|(name, level)| text.eq_ignore_ascii_case(name).then_some(level))
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

impl Value for Format {
    fn expected() -> String {
        "text or json".into()
    }

    fn schema() -> Schema {
        Schema::any_case(&["text", "json"])
    }

    fn parse(text: &str) -> Option<Self> {
        [("text", Self::Text), ("json", Self::Json)]
            .into_iter()
            .find_map(|(name, format)| text.eq_ignore_ascii_case(name).then_some(format))
    }
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Stderr,
    Syslog,
    File(PathBuf),
}

impl Value for Destination {
    fn expected() -> String {
        "stderr, syslog or file:PATH".into()
    }

    fn schema() -> Schema {
        let words = ["stderr", "syslog"].map(String::from).to_vec();
        let named = Schema::AnyCase { words, also: vec!["messages".into()] };
        Schema::Either(vec![named, Schema::pattern("file:.+")])
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            _ if text.eq_ignore_ascii_case("stderr") => Some(Self::Stderr),
            // SPS calls it messages.
            _ if text.eq_ignore_ascii_case("syslog") || text.eq_ignore_ascii_case("messages") => Some(Self::Syslog),
            _ => text.strip_prefix("file:").filter(|path| !path.is_empty()).map(|path| Self::File(path.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_only() {
        for text in ["", "-1", "+1", "1_000", "0x10", " 1", "1.0", "١", "99999999999999999999999"] {
            assert_eq!(Seconds::<0, 100>::parse(text), None, "{text:?}");
        }
        assert_eq!(Seconds::<0, 100>::parse("007"), Some(Seconds(7)));
    }

    #[test]
    fn secrets_are_references() {
        assert_eq!(SecretRef::parse("file:a:b"), Some(SecretRef::File("a:b".into())));
        for text in ["", "abc", "file:", "credential:../x", "vault:x"] {
            assert_eq!(SecretRef::parse(text), None, "{text:?}");
        }
    }
}

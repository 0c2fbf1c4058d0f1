//! The types of options of remote services.

use std::borrow::Cow;

use data_encoding::BASE64;

use super::{SecretRef, Value};
use crate::config::schema::Schema;
use crate::domain::secret::Secret;

/// Names a client: the section that configures it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientName {
    Totp,
    Hotp,
    Privacyidea,
    Duo,
    Okta,
    Yubico,
    Oidc,
    /// `[http NAME]`.
    Http(String),
    /// `[notify NAME]`.
    Notify(String),
    /// `[fixed]`, for tests.
    Fixed,
}

impl ClientName {
    /// Every client that needs no name of its own, in the order of the documentation.
    pub const NAMED: [Self; 8] =
        [Self::Totp, Self::Hotp, Self::Privacyidea, Self::Duo, Self::Okta, Self::Yubico, Self::Oidc, Self::Fixed];

    /// The section that configures it.
    pub fn section(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Totp => "totp",
            Self::Hotp => "hotp",
            Self::Privacyidea => "privacyidea",
            Self::Duo => "duo",
            Self::Okta => "okta",
            Self::Yubico => "yubico",
            Self::Oidc => "oidc",
            Self::Fixed => "fixed",
            Self::Http(name) => return Cow::Owned(format!("http {name}")),
            Self::Notify(name) => return Cow::Owned(format!("notify {name}")),
        })
    }
}

impl Value for ClientName {
    fn expected() -> String {
        "totp, hotp, privacyidea, duo, okta, yubico, oidc, http NAME or notify NAME".into()
    }

    fn schema() -> Schema {
        let named = Self::NAMED.iter().map(|name| name.section().into_owned()).collect();
        Schema::Either(vec![Schema::Words(named), Schema::pattern("(?:http|notify) [A-Za-z0-9_-]+")])
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("http ") {
            return is_service_name(name).then(|| Self::Http(name.into()));
        }
        if let Some(name) = text.strip_prefix("notify ") {
            return is_service_name(name).then(|| Self::Notify(name.into()));
        }
        Self::NAMED.into_iter().find(|name| name.section() == text)
    }
}

/// Whether `name` can stand in `[http NAME]` or `[notify NAME]`.
pub fn is_service_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The clients in use, the default first; each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients(pub Vec<ClientName>);

impl Value for Clients {
    fn expected() -> String {
        format!("one or more of {}, separated by commas, each once", ClientName::expected().replace(" or ", ", "))
    }

    fn schema() -> Schema {
        Schema::list(&ClientName::schema(), ',')
    }

    fn parse(text: &str) -> Option<Self> {
        let mut clients = Vec::new();
        for name in text.split(',').map(str::trim) {
            let name = ClientName::parse(name)?;
            if clients.contains(&name) {
                return None;
            }
            clients.push(name);
        }
        Some(Self(clients))
    }
}

/// An address: http or https, a host, no user, no query, no fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl(pub url::Url);

impl Value for HttpUrl {
    fn expected() -> String {
        "an address such as https://mfa.corp.example".into()
    }

    fn schema() -> Schema {
        Schema::Address("[hH][tT][tT][pP][sS]?:[^?#]+".into())
    }

    fn parse(text: &str) -> Option<Self> {
        let url = url::Url::parse(text).ok()?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        is_plain.then_some(Self(url))
    }
}

/// Addresses, separated by commas; each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls(pub Vec<HttpUrl>);

impl Value for Urls {
    fn expected() -> String {
        "one or more addresses separated by commas, such as https://mfa.corp.example/verify".into()
    }

    fn schema() -> Schema {
        Schema::list(&Schema::pattern("[hH][tT][tT][pP][sS]?:[^?#,]+"), ',')
    }

    fn parse(text: &str) -> Option<Self> {
        let urls: Vec<HttpUrl> = text.split(',').map(|url| HttpUrl::parse(url.trim())).collect::<Option<_>>()?;
        let twice = urls.iter().enumerate().any(|(index, url)| urls.iter().take(index).any(|other| other == url));
        (!twice).then_some(Self(urls))
    }
}

/// A host, with a port where it is not the usual one; or the whole address of a service that is one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(pub HttpUrl);

impl Value for Host {
    fn expected() -> String {
        "a host name such as api-XXXXXXXX.duosecurity.com".into()
    }

    fn schema() -> Schema {
        Schema::pattern("(?:[hH][tT][tT][pP][sS]?:)?/*[^/?#]+/?")
    }

    fn parse(text: &str) -> Option<Self> {
        let url = if text.contains("://") { HttpUrl::parse(text) } else { HttpUrl::parse(&format!("https://{text}")) };
        url.filter(|url| url.0.path() == "/").map(Self)
    }
}

/// SHA-256 values of public keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins(pub Vec<[u8; 32]>);

impl Value for Pins {
    fn expected() -> String {
        "SHA-256 values in base64, separated by commas, or nothing".into()
    }

    fn schema() -> Schema {
        let pin = Schema::pattern("(?:sha256//)?[A-Za-z0-9+/]{43}=");
        Schema::OrNothing(Box::new(Schema::list(&pin, ',')))
    }

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        let pin = |text: &str| {
            let text = text.trim();
            let text = text.strip_prefix("sha256//").unwrap_or(text);
            BASE64.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok())
        };
        text.split(',').map(pin).collect::<Option<_>>().map(Self)
    }
}

/// What happens where a service is not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnUnreachable {
    Reject,
    /// Lets everybody in without a second factor, where provably nothing reached the service.
    Accept,
    /// Asks another client.
    Client(ClientName),
}

impl Value for OnUnreachable {
    fn expected() -> String {
        "reject, accept or client:NAME".into()
    }

    fn schema() -> Schema {
        let client = Schema::pattern(format!("client:{}", ClientName::schema().regex()));
        Schema::Either(vec![Schema::words(&["reject", "accept"]), client])
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "reject" => Some(Self::Reject),
            "accept" => Some(Self::Accept),
            _ => ClientName::parse(text.strip_prefix("client:")?).map(Self::Client),
        }
    }
}

/// Which of two servers of one family it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Privacyidea,
    Edumfa,
}

impl Value for Flavour {
    fn expected() -> String {
        "privacyidea or edumfa".into()
    }

    fn schema() -> Schema {
        Schema::words(&["privacyidea", "edumfa"])
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "privacyidea" => Some(Self::Privacyidea),
            "edumfa" => Some(Self::Edumfa),
            _ => None,
        }
    }
}

/// What Duo is asked for where the claimant only presses Enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuoFactor {
    Push,
    Phone,
    Sms,
    /// The first of these that a device of the subscriber can do.
    Auto,
}

impl Value for DuoFactor {
    fn expected() -> String {
        "push, phone, sms or auto".into()
    }

    fn schema() -> Schema {
        Schema::words(&["push", "phone", "sms", "auto"])
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "push" => Some(Self::Push),
            "phone" => Some(Self::Phone),
            "sms" => Some(Self::Sms),
            "auto" => Some(Self::Auto),
            _ => None,
        }
    }
}

/// How requests to Duo are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuoSignature {
    /// Over a form.
    Two,
    /// Over JSON.
    Five,
}

impl Value for DuoSignature {
    fn expected() -> String {
        "5 or 2".into()
    }

    fn schema() -> Schema {
        Schema::words(&["5", "2"])
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "2" => Some(Self::Two),
            "5" => Some(Self::Five),
            _ => None,
        }
    }
}

/// What a code for Okta belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OktaCode {
    /// An authenticator app: Okta Verify, else Google Authenticator.
    Otp,
    Okta,
    Google,
    /// Sent when it is asked for.
    Sms,
    Call,
    Email,
    /// RSA SecurID, Symantec VIP or a custom HOTP token.
    Token,
    Rsa,
    Symantec,
    Yubikey,
}

impl OktaCode {
    /// Every kind with its word and its letter of one, in the order of the documentation.
    const ALL: [(Self, &'static str, Option<&'static str>); 10] = [
        (Self::Otp, "otp", None),
        (Self::Okta, "okta", Some("o")),
        (Self::Google, "google", Some("g")),
        (Self::Sms, "sms", None),
        (Self::Call, "call", None),
        (Self::Email, "email", None),
        (Self::Token, "token", None),
        (Self::Rsa, "rsa", Some("r")),
        (Self::Symantec, "symantec", Some("s")),
        (Self::Yubikey, "yubikey", Some("y")),
    ];

    /// The kind of this word or letter, in whatever case.
    pub fn named(text: &str) -> Option<Self> {
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        Self::ALL.into_iter().find_map(|(kind, word, letter)| (is(word) || letter.is_some_and(is)).then_some(kind))
    }

    /// The word.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find_map(|(kind, word, _)| (*kind == self).then_some(*word)).unwrap_or_default()
    }
}

impl Value for OktaCode {
    fn expected() -> String {
        let words: Vec<&str> = Self::ALL.iter().map(|(_, word, _)| *word).collect();
        format!("one of {}", words.join(", "))
    }

    fn schema() -> Schema {
        let words = Self::ALL.iter().map(|(_, word, _)| (*word).to_owned()).collect();
        let also = Self::ALL.iter().filter_map(|(_, _, letter)| letter.map(str::to_owned)).collect();
        Schema::AnyCase { words, also }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::named(text)
    }
}

/// How a push is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushMode {
    /// With a number to match, where there is one and it can be shown.
    Number,
    Plain,
    Off,
}

impl Value for PushMode {
    fn expected() -> String {
        "number, plain or off".into()
    }

    fn schema() -> Schema {
        Schema::words(&["number", "plain", "off"])
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "number" => Some(Self::Number),
            "plain" => Some(Self::Plain),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
}

/// Modes of single protocols; each protocol once, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushModes(pub Vec<(String, PushMode)>);

impl Value for PushModes {
    fn expected() -> String {
        "protocols with their modes, such as ssh:number, rdp:plain".into()
    }

    fn schema() -> Schema {
        let mode = PushMode::schema().regex();
        let pair = Schema::pattern(format!(r"[^,:\s][^,:]*:\s*{mode}"));
        Schema::OrNothing(Box::new(Schema::list(&pair, ',')))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut modes: Vec<(String, PushMode)> = Vec::new();
        for pair in text.split(',').filter(|_| !text.is_empty()) {
            let (protocol, mode) = pair.split_once(':')?;
            let (protocol, mode) = (protocol.trim().to_lowercase(), PushMode::parse(mode.trim())?);
            if protocol.is_empty() || modes.iter().any(|(known, _)| *known == protocol) {
                return None;
            }
            modes.push((protocol, mode));
        }
        Some(Self(modes))
    }
}

/// A secret of ours at a service: where it lies, or itself.
#[derive(Clone, Debug)]
pub enum ServiceSecret {
    Lies(SecretRef),
    /// Written into plugin.ini, which then must not be readable by the world.
    Written(Secret<String>),
}

impl Value for ServiceSecret {
    const SECRET: bool = true;

    fn expected() -> String {
        "where the secret lies: file:PATH, env:NAME or credential:NAME; or the secret itself".into()
    }

    fn schema() -> Schema {
        let place = SecretRef::schema().regex();
        Schema::pattern(format!("{place}|(?!file:|env:|credential:).+"))
    }

    fn parse(text: &str) -> Option<Self> {
        let refers = ["file:", "env:", "credential:"].iter().any(|scheme| text.starts_with(scheme));
        match () {
            () if text.is_empty() => None,
            () if refers => SecretRef::parse(text).map(Self::Lies),
            () => Some(Self::Written(Secret::new(text.to_owned()))),
        }
    }
}

//! `[http NAME]`: any HTTP service, described wholly in plugin.ini; and `[http NAME STEP]`, one section for each request
//! that it takes.

pub mod capture;
mod check;
pub mod request;
pub mod rule;
pub mod template;

use std::collections::BTreeMap;

use super::clients::Remote;
use super::declare::{self, SectionDeclaration};
use super::ini::Section;
use super::mistake::{Mistakes, suggestion};
use super::schema::Schema;
use super::value::{HttpUrl, Optional, ServiceSecret, Value, is_service_name};
use crate::domain::foreign::Foreign;
use capture::{Captures, Echoes, Shape};
use request::{Headers, JsonBody, Pairs, RequestLine};
use rule::{Pointer, Rule};
use template::Template;

options! {
    /// A service without a client of its own.
    HttpOptions {
        /// Where its paths begin.
        url: HttpUrl = required "https://mfa.corp.example/api";
        /// How the service knows this client: none; basic (auth_user, auth_secret); bearer (auth_secret); header
        /// (auth_secret in auth_header); hmac (each request is signed with auth_secret); client_credentials (OAuth 2.0: a
        /// token for auth_user and auth_secret from token_url).
        auth: AuthKind = "none";
        /// The name that goes with auth_secret.
        auth_user: Optional<String> = "";
        /// The secret.
        auth_secret: Optional<ServiceSecret> = "";
        /// The header that holds auth_secret or the signature, such as X-Api-Key.
        auth_header: Optional<HeaderName> = "";
        /// Where a token is to be had (client_credentials).
        token_url: Optional<HttpUrl> = "";
        /// What the token is asked for (client_credentials).
        scope: Optional<String> = "";
        /// What answers are: json; kv_lines, a name=value on each line; form, as a web form is sent; or verdict, of a service
        /// of your own that decides in countersign's words: its steps have no rules.
        response: ResponseForm = "json";
        /// What a code can be: digits, hex, token or text, with how many. Anything else is refused without asking.
        code: Shape = "text 1..128";
        /// A path below url that answers 2xx to a GET where all is well, for countersign doctor, such as /health.
        health: Optional<HealthPath> = "";
    }
    shared remote: Remote;
}

options! {
    /// One request of a service.
    Step {
        /// The method, and the path below url or a captured url. Placeholders stand for values.
        request: RequestLine = required "POST /validate/check";
        /// What stands behind ? in the address. Never a code or a secret: addresses are logged.
        query: Optional<Pairs> = "";
        /// Headers of the request.
        headers: Optional<Headers> = "";
        /// The body, as a form.
        form: Optional<Pairs> = "";
        /// The body, as JSON.
        json: Optional<JsonBody> = "";
        /// What the answer must be for an accept (otp, answer, push_poll, finalize).
        success: Optional<Rule> = "";
        /// What the answer must be where something is still to come: an approval, a code.
        pending: Optional<Rule> = "";
        /// What the answer is where the service says no.
        failure: Optional<Rule> = "";
        /// The same where the subscriber says that somebody else asked; pushes then stop for a while.
        reported: Optional<Rule> = "";
        /// The same where nobody answered in time.
        expired: Optional<Rule> = "";
        /// The same where the service does not know the subscriber.
        unknown_user: Optional<Rule> = "";
        /// The same where the subscriber, or what they hold, is locked.
        locked: Optional<Rule> = "";
        /// Where the answer says why, for the operator.
        message: Optional<Pointer> = "";
        /// What later requests need from the answer.
        capture: Optional<Captures> = "";
        /// What the answer must repeat before it is believed.
        echo: Optional<Echoes> = "";
        /// What the claimant sees: the number of a push, or the question for a code.
        show: Optional<Template> = "";
    }
}

/// What is declared of a service and of a step of it.
pub static HTTP_DECLARED: &[SectionDeclaration] = &[
    SectionDeclaration {
        name: "http NAME",
        doc: &[" A service without a client of its own."],
        options: HttpOptions::OPTIONS,
        shared: Remote::OPTIONS,
    },
    SectionDeclaration {
        name: "http NAME STEP",
        doc: &[" One request of a service."],
        options: Step::OPTIONS,
        shared: &[],
    },
];

/// How a service knows this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthKind {
    None,
    Basic,
    Bearer,
    Header,
    Hmac,
    ClientCredentials,
}

impl AuthKind {
    const ALL: [(&'static str, Self); 6] = [
        ("none", Self::None),
        ("basic", Self::Basic),
        ("bearer", Self::Bearer),
        ("header", Self::Header),
        ("hmac", Self::Hmac),
        ("client_credentials", Self::ClientCredentials),
    ];

    /// The word in plugin.ini.
    pub fn word(self) -> &'static str {
        Self::ALL.into_iter().find_map(|(word, kind)| (kind == self).then_some(word)).unwrap_or_default()
    }
}

impl Value for AuthKind {
    fn expected() -> String {
        "none, basic, bearer, header, hmac or client_credentials".into()
    }

    fn schema() -> Schema {
        Schema::words(&Self::ALL.map(|(word, _)| word))
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(word, kind)| (word == text).then_some(kind))
    }
}

/// What the answers of a service are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseForm {
    Json,
    KvLines,
    Form,
    /// The service decides, in the words of verdicts.
    Verdict,
}

impl Value for ResponseForm {
    fn expected() -> String {
        "json, kv_lines, form or verdict".into()
    }

    fn schema() -> Schema {
        Schema::words(&["json", "kv_lines", "form", "verdict"])
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "json" => Some(Self::Json),
            "kv_lines" => Some(Self::KvLines),
            "form" => Some(Self::Form),
            "verdict" => Some(Self::Verdict),
            _ => None,
        }
    }
}

/// The name of a header, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderName(pub String);

impl Value for HeaderName {
    fn expected() -> String {
        "the name of a header, such as X-Api-Key".into()
    }

    fn schema() -> Schema {
        Schema::pattern("[A-Za-z0-9!#$%&'*+.^_`|~-]+")
    }

    fn parse(text: &str) -> Option<Self> {
        let name = text.to_ascii_lowercase();
        let is_free = request::is_header_name(&name) && !request::MADE_ELSEWHERE.contains(&name.as_str());
        is_free.then_some(Self(name))
    }
}

/// A path without placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPath(pub RequestLine);

impl Value for HealthPath {
    fn expected() -> String {
        "a path such as /health".into()
    }

    fn schema() -> Schema {
        Schema::pattern(r"/[^?#%\\{}\s]*")
    }

    fn parse(text: &str) -> Option<Self> {
        let line = RequestLine::parse(&format!("GET {text}")).filter(|_| !text.contains(['{', '}']))?;
        Some(Self(line))
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepName {
    /// Verifies a code that was typed.
    Otp,
    /// Has a code sent to the subscriber, or opens what a code is typed for.
    OtpStart,
    /// Verifies the code that answers the question which `otp_start` or `otp` led to.
    Answer,
    /// Sends a push.
    PushStart,
    /// The second request of a service that takes two to send a push.
    PushSend,
    /// Looks whether the push was answered.
    PushPoll,
    /// Makes the approval count, where a service wants that.
    Finalize,
    /// Takes a push back.
    Cancel,
    /// Asks whether a session that was let in may go on to its target.
    Authorize,
}

impl StepName {
    pub const ALL: [Self; 9] = [
        Self::Otp,
        Self::OtpStart,
        Self::Answer,
        Self::PushStart,
        Self::PushSend,
        Self::PushPoll,
        Self::Finalize,
        Self::Cancel,
        Self::Authorize,
    ];

    /// The word in plugin.ini.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Otp => "otp",
            Self::OtpStart => "otp_start",
            Self::Answer => "answer",
            Self::PushStart => "push_start",
            Self::PushSend => "push_send",
            Self::PushPoll => "push_poll",
            Self::Finalize => "finalize",
            Self::Cancel => "cancel",
            Self::Authorize => "authorize",
        }
    }

    /// Whether a code goes with it.
    pub const fn takes_code(self) -> bool {
        match self {
            Self::Otp | Self::Answer => true,
            Self::OtpStart
            | Self::PushStart
            | Self::PushSend
            | Self::PushPoll
            | Self::Finalize
            | Self::Cancel
            | Self::Authorize => false,
        }
    }

    /// Whether it can end in an accept.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Otp | Self::Answer | Self::PushPoll | Self::Finalize => true,
            Self::OtpStart | Self::PushStart | Self::PushSend | Self::Cancel | Self::Authorize => false,
        }
    }
}

impl Step {
    /// What is said no by, and how, in the order in which it is looked at.
    pub const fn refusals(&self) -> [(&'static str, &Option<Rule>); 5] {
        [
            ("reported", &self.reported.0),
            ("expired", &self.expired.0),
            ("unknown_user", &self.unknown_user.0),
            ("locked", &self.locked.0),
            ("failure", &self.failure.0),
        ]
    }

    /// Every rule, with its option.
    pub fn rules(&self) -> impl Iterator<Item = (&'static str, &Rule)> {
        let leading = [("success", &self.success.0), ("pending", &self.pending.0)];
        leading.into_iter().chain(self.refusals()).filter_map(|(name, rule)| rule.as_ref().map(|rule| (name, rule)))
    }

    /// What it takes out of an answer.
    pub fn captures(&self) -> &[capture::Capture] {
        self.capture.0.as_ref().map_or(&[], |captures| &captures.0)
    }
}

/// A service, with its steps.
#[derive(Clone, Debug)]
pub struct HttpService {
    options: HttpOptions,
    pub steps: BTreeMap<StepName, Step>,
}

impl std::ops::Deref for HttpService {
    type Target = HttpOptions;

    fn deref(&self) -> &HttpOptions {
        &self.options
    }
}

/// Whether a section of this name belongs to a service of this kind.
pub fn is_http_section(name: &str) -> bool {
    name == "http" || name.starts_with("http ")
}

impl HttpService {
    /// How it is reached.
    pub fn remote_mut(&mut self) -> &mut Remote {
        &mut self.options.remote
    }

    /// The addresses in the section, each with its option.
    pub fn urls(&self) -> Vec<(&'static str, &HttpUrl)> {
        let token = self.token_url.0.as_ref().map(|url| ("token_url", url));
        std::iter::once(("url", &self.url)).chain(token).collect()
    }

    /// The services that `sections` describe, by name.
    pub fn read_all(sections: &[Section], mistakes: &mut Mistakes) -> BTreeMap<String, Self> {
        let mut found: BTreeMap<&str, Found<'_>> = BTreeMap::new();
        for section in sections.iter().filter(|section| is_http_section(&section.name)) {
            let words: Vec<&str> = section.name.split(' ').skip(1).collect();
            let step = match words.as_slice() {
                [name] if is_service_name(name) => None,
                [name, step] if is_service_name(name) => Some(*step),
                _ => {
                    let name = Foreign(&section.name);
                    let text = format_args!("[{name}]: expected a name such as [http corp] or [http corp otp]");
                    mistakes.at_line(section.line, text);
                    continue;
                }
            };
            let service = found.entry(words.first().copied().unwrap_or_default()).or_default();
            let Some(step) = step else {
                service.main = Some(section);
                continue;
            };
            let Some(step) = StepName::ALL.into_iter().find(|known| known.word() == step) else {
                let words = StepName::ALL.map(StepName::word);
                let hint = suggestion(step, words.into_iter(), false);
                let text = format_args!("[{}]: expected one of {}{hint}", Foreign(&section.name), words.join(", "));
                mistakes.at_line(section.line, text);
                continue;
            };
            service.steps.insert(step, section);
        }
        let read = |(name, found): (&str, Found<'_>)| Some((name.to_owned(), found.read(name, mistakes)?));
        found.into_iter().filter_map(read).collect()
    }
}

/// The sections of one service.
#[derive(Default)]
struct Found<'a> {
    main: Option<&'a Section>,
    steps: BTreeMap<StepName, &'a Section>,
}

impl Found<'_> {
    fn read(self, name: &str, mistakes: &mut Mistakes) -> Option<HttpService> {
        let Some(main) = self.main else {
            if let Some(step) = self.steps.values().next() {
                let text = format_args!("[{}]: there is no section [http {name}] for its url", Foreign(&step.name));
                mistakes.at_line(step.line, text);
            }
            return None;
        };
        let known = HttpOptions::OPTIONS.iter().chain(Remote::OPTIONS);
        declare::refuse_unknown_options(main, known, mistakes);
        let options = HttpOptions::read(Some(main), mistakes);
        let mut steps = BTreeMap::new();
        for (name, section) in &self.steps {
            declare::refuse_unknown_options(section, Step::OPTIONS.iter(), mistakes);
            if let Some(step) = Step::read(Some(section), mistakes) {
                steps.insert(*name, step);
            }
        }
        let service = HttpService { options: options?, steps };
        if service.steps.len() == self.steps.len() {
            check::check(&service, main, &self.steps, mistakes);
        }
        Some(service)
    }
}

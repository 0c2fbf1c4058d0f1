//! `[https_proxy]` and `[tls]`: what holds for every remote service whose own section does not say otherwise.

use std::sync::Arc;

use super::declare::{self, SectionDeclaration};
use super::ini::Section;
use super::mistake::Mistakes;
use super::reading::Reading;
use super::value::{Authorities, Count, Identity, Optional, ProxyHost, ServiceSecret, YesNo};

options! {
    /// `[https_proxy]`.
    ProxyOptions {
        /// no: there is none, whatever stands below.
        enabled: YesNo = "yes";
        /// Its name or address.
        server: Optional<ProxyHost> = "proxy.corp.example";
        /// Its port.
        port: Count<1, 65535> = "3128";
        /// The name by which it knows this client.
        username: Optional<String> = "";
        /// The password that goes with it.
        password: Optional<ServiceSecret> = "";
    }
}

options! {
    /// `[tls]`.
    TlsOptions {
        /// no: nothing below counts.
        enabled: YesNo = "yes";
        /// Certificates (PEM): whoever they sign is the service. Here, or in a file.
        ca_cert: Optional<Authorities> = "";
        /// The certificate of this client, with its chain and its private key (PEM). Here, or in a file that nobody else can
        /// read.
        client_cert: Optional<Identity> = "";
    }
}

/// What is declared, in the order of the example file.
pub static NETWORK_DECLARED: &[SectionDeclaration] = &[
    SectionDeclaration {
        name: "https_proxy",
        doc: &[
            " The proxy of every remote service at an https:// address whose section names no other. [https-proxy] is the",
            " same. The environment is not asked.",
        ],
        options: ProxyOptions::OPTIONS,
        shared: &[],
    },
    SectionDeclaration {
        name: "tls",
        doc: &[" TLS to every remote service whose section has no ca_file, or no client_cert, of its own."],
        options: TlsOptions::OPTIONS,
        shared: &[],
    },
];

/// What holds for every remote service.
#[derive(Clone, Debug, Default)]
pub struct Network(Option<Arc<General>>);

/// What `[https_proxy]` and `[tls]` say.
#[derive(Debug, Default)]
pub struct General {
    pub proxy: Option<HttpsProxy>,
    pub ca_cert: Option<Authorities>,
    pub client_cert: Option<Identity>,
}

/// The proxy for https:// addresses.
#[derive(Debug)]
pub struct HttpsProxy {
    /// The section that names it.
    section: &'static str,
    pub url: url::Url,
    pub login: Option<(String, ServiceSecret)>,
}

const DASH: &str = "https-proxy";
const UNDERSCORE: &str = "https_proxy";

/// Whether a section of this name is one of these.
pub fn is_network_section(name: &str) -> bool {
    matches!(name, DASH | UNDERSCORE | "tls")
}

impl Network {
    /// Nothing: what is in the file is put in when all of it was read.
    pub fn read(_: Option<&Section>, _: &mut Mistakes) -> Option<Self> {
        Some(Self::default())
    }

    /// What the sections among `sections` say.
    pub fn of(sections: &[Section], mistakes: &mut Mistakes) -> Self {
        let find = |name: &str| {
            let found = sections.iter().find(|section| section.name == name)?;
            (mistakes.reading() == Reading::Native || !found.entries.is_empty()).then_some(found)
        };
        let (dash, underscore, tls) = (find(DASH), find(UNDERSCORE), find("tls"));
        if dash.is_none() && underscore.is_none() && tls.is_none() {
            return Self::default();
        }
        let mut general = General { proxy: proxy(dash, underscore, mistakes), ..General::default() };
        if let Some(section) = tls {
            declare::refuse_unknown_options(section, TlsOptions::OPTIONS.iter(), mistakes);
            let read = TlsOptions::read(Some(section), mistakes);
            if let Some(read) = read.filter(|read| read.enabled == YesNo::Yes) {
                (general.ca_cert, general.client_cert) = (read.ca_cert.0, read.client_cert.0);
            }
        }
        Self(Some(Arc::new(general)))
    }

    /// What there is.
    pub fn general(&self) -> Option<&General> {
        self.0.as_deref()
    }

    /// Our secrets in it: section, option, and where each lies.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &'static str, &ServiceSecret)> {
        let proxy = self.general().and_then(|general| general.proxy.as_ref());
        let password =
            proxy.and_then(|proxy| proxy.login.as_ref().map(|(_, password)| (proxy.section, "password", password)));
        let identity = self.general().and_then(|general| general.client_cert.as_ref());
        password.into_iter().chain(identity.map(|identity| ("tls", "client_cert", &identity.0)))
    }
}

fn proxy(dash: Option<&Section>, underscore: Option<&Section>, mistakes: &mut Mistakes) -> Option<HttpsProxy> {
    for section in [dash, underscore].into_iter().flatten() {
        declare::refuse_unknown_options(section, ProxyOptions::OPTIONS.iter(), mistakes);
    }
    if let (Some(dash), Some(underscore)) = (dash, underscore) {
        let differs =
            ProxyOptions::OPTIONS.iter().any(|option| dash.value(option.name) != underscore.value(option.name));
        if differs {
            let text = format_args!("[{DASH}]: differs from [{UNDERSCORE}], at line {}; keep one", underscore.line);
            mistakes.passed_over_at_line(dash.line, text);
        }
    }
    let section = dash.or(underscore)?;
    let merged = Section { name: section.name.clone(), line: section.line, entries: merged(dash, underscore) };
    let read = ProxyOptions::read(Some(&merged), mistakes)?;
    if read.enabled == YesNo::No {
        return None;
    }
    let mut lacks = |option: &str, text: &str| {
        mistakes.passed_over_at_option(merged.line_of(option), &merged.name, option, text);
    };
    // An empty option and one that is not there are the same here.
    let Some(host) = read.server.0.filter(|_| merged.value("server").is_some()) else {
        lacks("server", "is missing, so there is no proxy; expected its name, or enabled = no");
        return None;
    };
    let login = read.username.0.zip(read.password.0);
    if login.is_none()
        && ["username", "password"].iter().any(|option| merged.value(option).is_some_and(|v| !v.is_empty()))
    {
        lacks("username", "goes with password: name both or neither");
    }
    if login.as_ref().is_some_and(|(name, _)| name.contains(':')) {
        let text = "holds a colon, at which a proxy ends the name (RFC 7617)";
        mistakes.at_option(merged.line_of("username"), &merged.name, "username", text);
    }
    let url = url::Url::parse(&format!("http://{}:{}", host.0, read.port.0)).ok()?;
    Some(HttpsProxy { section: if dash.is_some() { DASH } else { UNDERSCORE }, url, login })
}

/// What stands in the section with the dash, and what only the other one has.
fn merged(dash: Option<&Section>, underscore: Option<&Section>) -> Vec<super::ini::Entry> {
    let mut entries = dash.map(|section| section.entries.clone()).unwrap_or_default();
    for entry in underscore.into_iter().flat_map(|section| &section.entries) {
        if !entries.iter().any(|other| other.name == entry.name && !other.value.is_empty()) {
            entries.retain(|other| other.name != entry.name);
            entries.push(entry.clone());
        }
    }
    entries
}

//! The sections of the remote clients: read only where they stand in the file, so that a verdict without them pays nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::credentials::CREDENTIALS_DECLARED;
use super::declare::{self, SectionDeclaration};
use super::enrolment::is_enrolment_section;
use super::fixed::{Fixed, is_fixed_section};
use super::gateway::is_gateway_section;
use super::http::{HttpService, is_http_section};
use super::ini::Section;
use super::known;
use super::metrics::METRICS_DECLARED;
use super::mistake::{Mistakes, suggestion};
use super::network::{Network, is_network_section};
use super::notify::{NotifyOptions, NotifyServices, is_notify_section};
use super::options::DECLARED;
use super::policy::is_policy_section;
use super::postgres::POSTGRES_DECLARED;
use super::value::{
    ClientName, Clients, Count, DuoFactor, DuoSignature, Flavour, Host, HttpUrl, Names, OktaCode, OnUnreachable,
    Optional, Pins, PushMode, PushModes, Seconds, ServiceSecret, Urls, YesNo,
};
use crate::domain::claimant::Subscriber;
use crate::domain::foreign::Foreign;

options! {
    /// How a service is reached, and what happens where it is not: the same options in every remote section.
    Remote {
        /// Under which name people are shown it; empty: its usual one.
        title: Optional<String> = "";
        /// A file of certificates (PEM): whoever they sign is the service. Empty: the authorities of this machine.
        ca_file: Optional<PathBuf> = "";
        /// Allows an address that begins with http://. Codes and keys then cross the network for everybody to read.
        allow_insecure_http: YesNo = "no";
        /// How long one request to the service may take in all. No verdict takes longer than `[plugin] deadline`.
        timeout: Seconds<1, 300> = "25";
        /// How long finding the service's address and connecting to it may take.
        connect_timeout: Seconds<1, 60> = "5";
        /// How long the TLS handshake may take.
        tls_timeout: Seconds<1, 60> = "5";
        /// How long to wait between two looks at whether a push was answered.
        rest_poll_interval: Seconds<1, 60> = "1";
        /// The largest answer that is read, in bytes.
        max_response: Count<1024, 16777216> = "262144";
        /// SHA-256 of the service's public key in base64, several separated by commas: only these are talked to.
        pin_sha256: Pins = "";
        /// A certificate for TLS (PEM, with its chain) by which the service knows this client, and its key.
        client_cert: Optional<PathBuf> = "";
        /// The private key of client_cert (PEM), readable by nobody else.
        client_key: Optional<PathBuf> = "";
        /// An HTTP proxy, such as `http://proxy.corp.example:3128`. The environment is not asked.
        proxy: Optional<HttpUrl> = "";
        /// yes is the same as on_unreachable = accept.
        ignore_connection_error: YesNo = "no";
        /// What happens where the service is not reached: reject; accept, which lets everybody in without a second
        /// factor, but only where not one byte can have reached the service (no such name, refused, no route, connect
        /// time-out; connect_timeout must lie well within the deadline, or the time is up first); or client:NAME, which asks
        /// another client such as client:totp, and whose own on_unreachable does not count then.
        on_unreachable: OnUnreachable = "reject";
        /// How long after the first login that it let in `accept` goes on to; 0: as long as the service is away.
        degraded_for: Seconds<0, 604800> = "0";
    }
    shared network: Network;
}

options! {
    /// How a push is sent, whichever client sends it.
    Push {
        /// number: what the service gives to match is shown in a question, where the protocol can ask one; plain: it is
        /// not asked for; off: no push is sent.
        mode: PushMode = "number";
        /// Other modes for single protocols, such as rdp:plain, http:off.
        by_protocol: PushModes = "";
        /// For how long no push is sent to a subscriber who said of one that it was not theirs; 0: it is sent again at once.
        block: Seconds<0, 604800> = "900";
    }
}

/// `[push]`, as it stands in the example file.
pub static PUSH_DECLARED: SectionDeclaration = SectionDeclaration {
    name: "push",
    doc: &[" How a push is sent, whichever client sends it."],
    options: Push::OPTIONS,
    shared: &[],
};

/// Declares the sections of the first-class clients.
macro_rules! client_sections {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident = $Section:ident {
            $( $(#[doc = $doc:literal])+ $option:ident: $Type:ty = $($required:ident)? $default:literal; )+
        }
    )+) => {
        $( options! {
            $(#[doc = $section_doc])+
            $Section { $( $(#[doc = $doc])+ $option: $Type = $($required)? $default; )+ }
            shared remote: Remote;
        } )+

        /// The sections of the remote clients that stand in the file.
        #[derive(Clone, Debug, Default)]
        pub struct ClientSections {
            $( $(#[doc = $section_doc])+ pub $section: Option<Box<$Section>>, )+
            /// How a push is sent; there wherever a remote client is.
            pub push: Option<Box<Push>>,
            /// Which keys belong to whom.
            pub yubico_keys: YubicoKeys,
            /// `[http NAME]`, by name.
            pub http: BTreeMap<String, HttpService>,
            /// `[notify NAME]`, by name.
            pub notify: NotifyServices,
            /// `[fixed]`.
            pub fixed: Option<Box<Fixed>>,
            /// What holds for all of them.
            pub network: Network,
        }

        impl ClientSections {
            fn read_named(&mut self, section: &Section, mistakes: &mut Mistakes) -> bool {
                match section.name.as_str() {
                    $( stringify!($section) => {
                        let known = $Section::OPTIONS.iter().chain(Remote::OPTIONS);
                        declare::refuse_unknown_options(section, known, mistakes);
                        self.$section = $Section::read(Some(section), mistakes).map(Box::new);
                    } )+
                    _ => return false,
                }
                true
            }

            /// How the services are reached, by section.
            pub fn remotes(&self) -> impl Iterator<Item = (ClientName, &Remote)> {
                let named = [ $( (ClientName::$Section, self.$section.as_ref().map(|s| &s.remote)), )+ ];
                let generic = self.http.iter().map(|(name, service)| (ClientName::Http(name.clone()), &service.remote));
                let notify =
                    self.notify.iter().map(|(name, service)| (ClientName::Notify(name.clone()), &service.remote));
                let named = named.into_iter().filter_map(|(name, remote)| remote.map(|remote| (name, remote)));
                named.chain(generic).chain(notify)
            }

            /// Tells every section what holds for all.
            fn connect(&mut self) {
                $( if let Some(section) = &mut self.$section { section.remote.network = self.network.clone(); } )+
                for service in self.http.values_mut() {
                    service.remote_mut().network = self.network.clone();
                }
                for service in self.notify.values_mut() {
                    service.remote.network = self.network.clone();
                }
            }
        }

        /// What is declared, in the order of the example file.
        pub static CLIENTS_DECLARED: &[SectionDeclaration] = &[ $(
            SectionDeclaration {
                name: stringify!($section),
                doc: &[ $( $section_doc, )+ ],
                options: $Section::OPTIONS,
                shared: Remote::OPTIONS,
            },
        )+ ];
    };
}

client_sections! {
    /// privacyIDEA or eduMFA: one-time passwords with or without a PIN, challenges, and push.
    privacyidea = Privacyidea {
        /// The address of the server, without /validate.
        url: HttpUrl = required "https://mfa.corp.example";
        /// The realm of the users; empty: the server's default.
        realm: Optional<String> = "";
        /// privacyidea or edumfa.
        flavour: Flavour = "privacyidea";
        /// The service account that may trigger challenges, so that a push is sent when the claimant presses Enter.
        service_user: Optional<String> = "";
        /// Its password.
        service_password: Optional<ServiceSecret> = "";
        /// The key for /validate, where the server asks for one (its policy api_key_required).
        validate_key: Optional<ServiceSecret> = "";
        /// Whether an accept must name the token that was verified. no only where a policy of the server hides it: a server
        /// can be told to accept users who have no token.
        require_token_serial: YesNo = "yes";
        /// Whether a declined push says "that was not me" and blocks further ones (`[push] block`). The server cannot tell it
        /// from a plain no: yes where every phone has an app that asks which of the two is meant.
        declined_is_report: YesNo = "no";
        /// The server's public key (PEM): every answer must be signed with it. Empty: signatures are not checked.
        signature_key: Optional<PathBuf> = "";
    }

    /// Duo, by its Auth API v2.
    duo = Duo {
        /// The API hostname of the application.
        host: Host = required "api-XXXXXXXX.duosecurity.com";
        /// The integration key.
        ikey: ServiceSecret = required "DIXXXXXXXXXXXXXXXXXX";
        /// The secret key.
        skey: ServiceSecret = required "file:duo.skey";
        /// What Enter asks for: push, phone (a call), sms (a passcode is sent and asked for), or auto: the first of these that
        /// a device of the user can do.
        factor: DuoFactor = "push";
        /// The device that is asked: auto, or a device's id or name. A number that the claimant types, as in push2, goes
        /// before it.
        device: String = "auto";
        /// Whether a user whom Duo lets in without a second factor (bypass) is let in.
        allow_bypass: YesNo = "no";
        /// Whether the claimant has to type a shown code on the phone, where Duo asks for that. With no, Duo is told that
        /// no code can be shown, and sends a plain push.
        verified_push: YesNo = "no";
        /// The generation of request signatures: 5, or 2 where something in between knows only that.
        signature: DuoSignature = "5";
    }

    /// Okta, by its Factors API.
    okta = Okta {
        /// The address of the organisation.
        api_url: HttpUrl = required "https://corp.okta.com";
        /// The API token.
        api_key: ServiceSecret = required "file:okta.token";
        /// Where a claimant types only a code, what it belongs to: otp (an authenticator app), okta or google (that app),
        /// sms, call, email, token (rsa or symantec), or yubikey. Any other is typed before the code: yubikey CODE.
        default_prefix: OktaCode = "otp";
        /// Whether a push shows a number that the claimant must choose on the phone.
        number_challenge: YesNo = "yes";
        /// Whether alice may also be alice@corp.example at Okta.
        short_names: YesNo = "no";
    }

    /// One-time passwords of YubiKeys, by the Yubico validation protocol 2.0. `[yubico_keys]` says whose key is whose.
    yubico = Yubico {
        /// The addresses of the validation servers, separated by commas: all are asked at once.
        api_urls: Urls = "https://api.yubico.com/wsapi/2.0/verify";
        /// The id of this client at the servers.
        client_id: Count<1, 4294967295> = required "12345";
        /// Its key, in base64.
        api_key: ServiceSecret = required "file:yubico.key";
    }

    /// A sign-in with another device at an OpenID provider (RFC 8628): Entra ID, Keycloak, Auth0, Google, Okta and others.
    oidc = Oidc {
        /// The provider's address; its metadata lies below it at /.well-known/openid-configuration.
        issuer: HttpUrl = required "https://login.corp.example";
        /// The id of this client at the provider.
        client_id: String = required "gateway";
        /// Its secret; empty for a public client.
        client_secret: Optional<ServiceSecret> = "";
        /// The claim of the id_token that must be the claimant's name.
        claim: String = "preferred_username";
        /// What is asked for.
        scope: String = "openid profile";
        /// The values of the claim amr or acr of which the id_token must have one, such as mfa; empty: any.
        require_amr: Names = "";
    }
}

/// `[yubico_keys]`: for each subscriber the public ids (the first twelve modhex characters) of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct YubicoKeys(Option<Arc<BTreeMap<Subscriber, Vec<String>>>>);

impl YubicoKeys {
    pub const SECTION: &'static str = "yubico_keys";

    fn read(section: &Section, mistakes: &mut Mistakes) -> Self {
        let mut keys = BTreeMap::new();
        for entry in &section.entries {
            let ids: Vec<String> = entry.value.split(',').map(|id| id.trim().to_ascii_lowercase()).collect();
            let is_id = |id: &String| id.len() == 12 && id.bytes().all(|b| b"cbdefghijklnrtuv".contains(&b));
            let name = Foreign(&entry.name).to_string();
            if !ids.iter().all(is_id) {
                let text =
                    "expected the public ids of the user's keys, each twelve modhex characters, separated by commas";
                mistakes.at_option(entry.line, &section.name, &name, text);
            }
            match Subscriber::enrollable(&entry.name) {
                Ok(subscriber) => {
                    if keys.insert(subscriber, ids).is_some() {
                        mistakes.at_option(entry.line, &section.name, &name, "is there already in another spelling");
                    }
                }
                Err(flaw) => mistakes.at_option(entry.line, &section.name, &name, format_args!("the name {flaw}")),
            }
        }
        Self(Some(Arc::new(keys)))
    }

    /// The public ids of a subscriber's keys.
    pub fn of(&self, subscriber: &Subscriber) -> Option<&[String]> {
        self.0.as_ref()?.get(subscriber).map(Vec::as_slice)
    }

    /// How many subscribers there are, and how many keys they have.
    pub fn count(&self) -> (usize, usize) {
        self.0.as_ref().map_or((0, 0), |keys| (keys.len(), keys.values().map(Vec::len).sum()))
    }
}

impl ClientSections {
    /// The sections of remote clients among `sections`; what nobody declared is a mistake.
    pub fn read(sections: &[Section], mistakes: &mut Mistakes) -> Self {
        let mut read = Self::default();
        for section in sections {
            if let Some(declaration) = DECLARED.iter().find(|declaration| declaration.name == section.name) {
                declare::refuse_unknown_options(section, declaration.all(), mistakes);
            } else if section.name == PUSH_DECLARED.name {
                declare::refuse_unknown_options(section, PUSH_DECLARED.all(), mistakes);
                read.push = Push::read(Some(section), mistakes).map(Box::new);
            } else if section.name == YubicoKeys::SECTION {
                read.yubico_keys = YubicoKeys::read(section, mistakes);
            } else if !is_http_section(&section.name)
                && !is_notify_section(&section.name)
                && !is_gateway_section(&section.name)
                && !is_fixed_section(&section.name)
                && !is_policy_section(&section.name)
                && !is_network_section(&section.name)
                && !is_enrolment_section(&section.name)
                && section.name != CREDENTIALS_DECLARED.name
                && ![POSTGRES_DECLARED.name, METRICS_DECLARED.name].contains(&section.name.as_str())
                // Told already, with what it would do.
                && !section.name.eq_ignore_ascii_case("default")
                && !read.read_named(section, mistakes)
            {
                let hint = suggestion(&section.name, known::names(), true);
                let text = format_args!("[{}]: unknown section{hint}", Foreign(&section.name));
                mistakes.passed_over_at_line(section.line, text);
            }
        }
        read.http = HttpService::read_all(sections, mistakes);
        read.notify = NotifyOptions::read_all(sections, mistakes);
        read.fixed = Fixed::of(sections, mistakes).map(Box::new);
        read.network = Network::of(sections, mistakes);
        read.connect();
        if read.push.is_none() && read.remotes().next().is_some() {
            read.push = Push::read(None, mistakes).map(Box::new);
        }
        read
    }

    /// Whether the section of `name` stands in the file.
    pub fn has(&self, name: &ClientName) -> bool {
        match name {
            // What it needs has defaults.
            ClientName::Totp | ClientName::Hotp => true,
            ClientName::Privacyidea => self.privacyidea.is_some(),
            ClientName::Duo => self.duo.is_some(),
            ClientName::Okta => self.okta.is_some(),
            ClientName::Yubico => self.yubico.is_some(),
            ClientName::Oidc => self.oidc.is_some(),
            ClientName::Http(service) => self.http.contains_key(service),
            ClientName::Notify(service) => self.notify.contains_key(service),
            ClientName::Fixed => self.fixed.is_some(),
        }
    }

    /// How the service of `name` is reached.
    pub fn remote(&self, name: &ClientName) -> Option<&Remote> {
        self.remotes().find(|(known, _)| known == name).map(|(_, remote)| remote)
    }
}

/// What `remote` says of an unreachable service: the two options together.
///
/// # Errors
/// Where they contradict each other.
pub fn on_unreachable(remote: &Remote) -> Result<OnUnreachable, &'static str> {
    match (remote.ignore_connection_error, &remote.on_unreachable) {
        (YesNo::No, said) => Ok(said.clone()),
        (YesNo::Yes, OnUnreachable::Reject | OnUnreachable::Accept) => Ok(OnUnreachable::Accept),
        (YesNo::Yes, OnUnreachable::Client(_)) => {
            Err("contradicts ignore_connection_error = yes; remove one of the two")
        }
    }
}

/// Notes what the sections say that does not go together.
pub fn check(clients: &Clients, read: &ClientSections, sections: &[Section], mistakes: &mut Mistakes) {
    Fixed::warn(sections, mistakes);
    let line = |section: &str, option: &str| {
        let section = sections.iter().find(|s| s.name == section)?;
        Some(section.entries.iter().find(|entry| entry.name == option).map_or(section.line, |entry| entry.line))
    };
    for name in &clients.0 {
        if !read.has(name) && !sections.iter().any(|section| section.name == name.section()) {
            let text = format_args!("there is no section [{}]; write it below", name.section());
            mistakes.at_option(line("plugin", "clients").unwrap_or(1), "plugin", "clients", text);
        }
    }
    for (name, remote) in read.remotes() {
        let section = name.section();
        let mut note = |option: &str, text: &str| {
            mistakes.at_option(line(&section, option).unwrap_or(1), &section, option, text);
        };
        match on_unreachable(remote) {
            Err(text) => note("on_unreachable", text),
            Ok(OnUnreachable::Client(other)) if other == name => note("on_unreachable", "names this section itself"),
            Ok(OnUnreachable::Client(other)) if !read.has(&other) => {
                note(
                    "on_unreachable",
                    &format!("there is no section [{}]; write it, or name another", other.section()),
                );
            }
            Ok(OnUnreachable::Client(_) | OnUnreachable::Accept | OnUnreachable::Reject) => {}
        }
        if remote.client_cert.0.is_some() != remote.client_key.0.is_some() {
            note("client_cert", "goes with client_key: name both or neither");
        }
        if let (ClientName::Privacyidea, Some(section)) = (&name, &read.privacyidea)
            && section.service_user.0.is_some() != section.service_password.0.is_some()
        {
            note("service_user", "goes with service_password: name both or neither");
        }
        for (option, url) in read.urls(&name) {
            if url.0.scheme() != "https" && remote.allow_insecure_http == YesNo::No {
                let text = "codes and keys would cross the network for everybody to read; expected https://, or write \
                            allow_insecure_http = yes below";
                note(option, text);
            }
        }
    }
}

impl ClientSections {
    /// The addresses that a client's section names, each with its option.
    fn urls(&self, name: &ClientName) -> Vec<(&'static str, &HttpUrl)> {
        let urls = match name {
            ClientName::Totp | ClientName::Hotp | ClientName::Fixed => None,
            ClientName::Privacyidea => self.privacyidea.as_ref().map(|s| vec![("url", &s.url)]),
            ClientName::Duo => self.duo.as_ref().map(|s| vec![("host", &s.host.0)]),
            ClientName::Okta => self.okta.as_ref().map(|s| vec![("api_url", &s.api_url)]),
            ClientName::Yubico => {
                self.yubico.as_ref().map(|s| s.api_urls.0.iter().map(|url| ("api_urls", url)).collect())
            }
            ClientName::Oidc => self.oidc.as_ref().map(|s| vec![("issuer", &s.issuer)]),
            ClientName::Http(service) => self.http.get(service).map(HttpService::urls),
            ClientName::Notify(service) => {
                self.notify.get(service).map(|s| s.url.0.iter().map(|url| ("url", url)).collect())
            }
        };
        urls.unwrap_or_default()
    }

    /// Our secrets at the services: section, option, and where each lies.
    pub fn secrets(&self) -> Vec<(String, &'static str, &ServiceSecret)> {
        let Self { privacyidea, duo, okta, yubico, oidc, push: _, yubico_keys: _, http, notify, fixed: _, network } =
            self;
        let mut secrets = Vec::new();
        let mut add = |section: &str, option, secret| secrets.push((section.to_owned(), option, secret));
        if let Some(section) = privacyidea {
            section.service_password.0.iter().for_each(|secret| add("privacyidea", "service_password", secret));
            section.validate_key.0.iter().for_each(|secret| add("privacyidea", "validate_key", secret));
        }
        if let Some(section) = duo {
            add("duo", "ikey", &section.ikey);
            add("duo", "skey", &section.skey);
        }
        okta.iter().for_each(|section| add("okta", "api_key", &section.api_key));
        yubico.iter().for_each(|section| add("yubico", "api_key", &section.api_key));
        for secret in oidc.iter().filter_map(|section| section.client_secret.0.as_ref()) {
            add("oidc", "client_secret", secret);
        }
        for (name, service) in http {
            service.auth_secret.0.iter().for_each(|secret| add(&format!("http {name}"), "auth_secret", secret));
        }
        for (name, service) in notify {
            service.secrets().for_each(|(option, secret)| add(&format!("notify {name}"), option, secret));
        }
        network.secrets().for_each(|(section, option, secret)| add(section, option, secret));
        secrets
    }
}

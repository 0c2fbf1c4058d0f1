//! `[notify NAME]`: codes that are sent to a subscriber, by mail, by a webhook such as an SMS provider's, or by a program.

mod check;

use std::collections::BTreeMap;

use super::clients::Remote;
use super::declare::{self, SectionDeclaration};
use super::http::HeaderName;
use super::http::capture::Shape;
use super::http::request::{Headers, JsonBody, Pairs};
use super::http::rule::Rule;
use super::ini::Section;
use super::mistake::Mistakes;
use super::value::{
    Alphabet, CommandLine, Count, HostPort, HttpUrl, MailSecurity, Mailbox, MessageText, Optional, ProxyHost, Seconds,
    ServiceSecret, Via, WebhookAuth, WebhookMethod, YesNo, is_service_name,
};
use crate::domain::foreign::Foreign;

options! {
    /// Codes that are sent to a subscriber.
    NotifyOptions {
        /// By what: smtp, webhook or command. What only one of them has says so.
        via: Via = required "smtp";
        /// How many characters a code has.
        code_length: Count<6, 12> = "6";
        /// Of which characters it is. Upper and lower case are the same.
        code_alphabet: Alphabet = "0123456789";
        /// For how long it is good.
        lifetime: Seconds<30, 600> = "300";
        /// How often it can be typed wrongly before it is over.
        tries: Count<1, 10> = "3";
        /// After how long the claimant can have another one sent, by typing resend.
        resend_after: Seconds<5, 600> = "30";
        /// What is sent. {code} is the code, {origin} says who logs in, from where and to what.
        message: MessageText = "Your code is {code}. It was asked for by {origin}. \
                             If that was not you, tell your administrator, and give the code to nobody.";
        /// What a target is other than an address (smtp) or a number such as +4366012345678 (webhook, command).
        target: Optional<Shape> = "";
        /// smtp: the mail server.
        server: Optional<HostPort> = "";
        /// smtp: starttls, tls (from the first byte), or none, which is for a server on this machine.
        security: MailSecurity = "starttls";
        /// smtp: allows security = none on the way to another machine. Codes and the password then cross the network for
        /// everybody to read.
        allow_insecure: YesNo = "no";
        /// smtp: as whom to log in there; empty: as nobody.
        user: Optional<String> = "";
        /// smtp: the password that goes with it.
        password: Optional<ServiceSecret> = "";
        /// smtp: whom the mail is from.
        from: Optional<Mailbox> = "";
        /// smtp: the subject. Never the code: subjects are shown on locked screens.
        subject: String = "Your one-time code";
        /// smtp: the name with which the server is greeted; empty: what stands behind the @ of from.
        hello_name: Optional<ProxyHost> = "";
        /// webhook: the address that is called.
        url: Optional<HttpUrl> = "";
        /// webhook: POST or PUT.
        method: WebhookMethod = "POST";
        /// webhook: how it knows this client: none; basic (auth_user, auth_secret); bearer (auth_secret); header (auth_secret
        /// in auth_header).
        auth: WebhookAuth = "none";
        /// webhook: the name that goes with auth_secret.
        auth_user: Optional<String> = "";
        /// webhook: the secret.
        auth_secret: Optional<ServiceSecret> = "";
        /// webhook: the header that holds auth_secret, such as X-Api-Key.
        auth_header: Optional<HeaderName> = "";
        /// webhook: other headers, without placeholders.
        headers: Optional<Headers> = "";
        /// webhook: the body, as a form. {target}, {message}, {code} and {origin} stand for values.
        form: Optional<Pairs> = "";
        /// webhook: the body, as JSON.
        json: Optional<JsonBody> = "";
        /// webhook: what the answer must be; empty: any that is a success (2xx).
        success: Optional<Rule> = "";
        /// command: the program, which gets the message on its standard input and nothing from the environment; its status
        /// must be 0. There is no shell. {target} and {origin} are whole arguments.
        command: Optional<CommandLine> = "";
    }
    shared remote: Remote;
}

/// `[notify NAME]`, as it is declared.
pub static NOTIFY_DECLARED: SectionDeclaration = SectionDeclaration {
    name: "notify NAME",
    doc: &[" Codes that are sent to a subscriber."],
    options: NotifyOptions::OPTIONS,
    shared: Remote::OPTIONS,
};

/// The services that send codes, by name.
pub type NotifyServices = BTreeMap<String, NotifyOptions>;

/// Whether a section of this name is one of these.
pub fn is_notify_section(name: &str) -> bool {
    name == "notify" || name.starts_with("notify ")
}

impl NotifyOptions {
    /// Those that `sections` describe, by name.
    pub fn read_all(sections: &[Section], mistakes: &mut Mistakes) -> NotifyServices {
        let mut read = NotifyServices::new();
        for section in sections.iter().filter(|section| is_notify_section(&section.name)) {
            let Some(name) = section.name.strip_prefix("notify ").filter(|name| is_service_name(name)) else {
                let text = format_args!("[{}]: expected a name such as [notify mail]", Foreign(&section.name));
                mistakes.at_line(section.line, text);
                continue;
            };
            let known = Self::OPTIONS.iter().chain(Remote::OPTIONS);
            declare::refuse_unknown_options(section, known, mistakes);
            if let Some(options) = Self::read(Some(section), mistakes) {
                check::check(&options, section, mistakes);
                read.insert(name.to_owned(), options);
            }
        }
        read
    }

    /// Our secrets there, each with its option.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &ServiceSecret)> {
        let password = self.password.0.as_ref().map(|secret| ("password", secret));
        let secret = self.auth_secret.0.as_ref().map(|secret| ("auth_secret", secret));
        password.into_iter().chain(secret)
    }
}

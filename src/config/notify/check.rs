//! What the options of a service that sends codes say together.

use std::net::IpAddr;

use super::super::http::template::Template;
use super::super::ini::Section;
use super::super::mistake::Mistakes;
use super::super::value::{MailSecurity, Via, WebhookAuth, YesNo};
use super::NotifyOptions;

/// The options of `via = smtp` alone.
const SMTP: [&str; 8] = ["server", "security", "allow_insecure", "user", "password", "from", "subject", "hello_name"];

/// Those of `via = webhook`.
const WEBHOOK: [&str; 13] = [
    "url",
    "method",
    "auth",
    "auth_user",
    "auth_secret",
    "auth_header",
    "headers",
    "form",
    "json",
    "success",
    "allow_insecure_http",
    "max_response",
    "proxy",
];

/// Those of `via = command`.
const COMMAND: [&str; 1] = ["command"];

/// Those of whatever goes over the network.
const NETWORK: [&str; 6] = ["ca_file", "pin_sha256", "client_cert", "client_key", "connect_timeout", "tls_timeout"];

/// Notes what does not go together.
pub fn check(options: &NotifyOptions, section: &Section, mistakes: &mut Mistakes) {
    let mut check = Check { options, section, mistakes };
    check.belonging();
    check.message();
    if options.resend_after.0 >= options.lifetime.0 {
        check.note("resend_after", "is not less than lifetime: nobody could have another code sent in time");
    }
    match options.via {
        Via::Smtp => check.smtp(),
        Via::Webhook => check.webhook(),
        Via::Command => check.needs("command", options.command.0.is_some(), "/usr/local/bin/send-sms {target}"),
    }
}

struct Check<'a> {
    options: &'a NotifyOptions,
    section: &'a Section,
    mistakes: &'a mut Mistakes,
}

impl Check<'_> {
    fn note(&mut self, option: &str, text: &str) {
        self.mistakes.at_option(self.section.line_of(option), &self.section.name, option, text);
    }

    fn needs(&mut self, option: &str, is_there: bool, example: &str) {
        if !is_there {
            let text = format!("is missing; via = {} needs it, such as {option} = {example}", self.options.via.word());
            self.note(option, &text);
        }
    }

    /// An option of another `via` would do nothing, and somebody means something by it.
    fn belonging(&mut self) {
        let via = self.options.via;
        for entry in &self.section.entries {
            let name = entry.name.as_str();
            let belongs = match () {
                () if SMTP.contains(&name) => via == Via::Smtp,
                () if WEBHOOK.contains(&name) => via == Via::Webhook,
                () if COMMAND.contains(&name) => via == Via::Command,
                () if NETWORK.contains(&name) => via != Via::Command,
                () => name != "rest_poll_interval",
            };
            if !belongs {
                let text = format!("does nothing where via = {}; remove it", via.word());
                self.mistakes.at_option(entry.line, &self.section.name, name, text);
            }
        }
    }

    fn message(&mut self) {
        let message = &self.options.message.0;
        if let Some(name) = unknown(message, &["code", "origin"]) {
            self.note("message", &format!("{{{name}}} stands for nothing there; expected {{code}} and {{origin}}"));
        }
    }

    fn smtp(&mut self) {
        let options = self.options;
        self.needs("server", options.server.0.is_some(), "mail.corp.example:587");
        self.needs("from", options.from.0.is_some(), "gateway@corp.example");
        if options.user.0.is_some() != options.password.0.is_some() {
            self.note("user", "goes with password: name both or neither");
        }
        if options.target.0.is_some() {
            self.note("target", "does nothing where via = smtp: targets are addresses; remove it");
        }
        let is_here = |host: &str| {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
        };
        if options.security == MailSecurity::None
            && options.allow_insecure == YesNo::No
            && options.server.0.as_ref().is_some_and(|server| !is_here(&server.host))
        {
            let text = "codes would cross the network for everybody to read; expected starttls or tls, or write \
                        allow_insecure = yes below";
            self.note("security", text);
        }
    }

    fn webhook(&mut self) {
        let options = self.options;
        self.needs("url", options.url.0.is_some(), "https://sms.example/send");
        match (&options.form.0, &options.json.0) {
            (Some(_), Some(_)) => self.note("json", "does not go with form: name one of them"),
            (None, None) => self.needs("form", false, "to={target}&text={message}"),
            (Some(_), None) | (None, Some(_)) => {}
        }
        let form = options.form.0.iter().flat_map(|pairs| pairs.0.iter().map(|(_, value)| ("form", value)));
        let json = options.json.0.iter().flat_map(|body| body.templates()).map(|value| ("json", value));
        let values: Vec<_> = form.chain(json).collect();
        for (option, value) in &values {
            if let Some(name) = unknown(value, &["target", "message", "code", "origin"]) {
                let text = format!(
                    "{{{name}}} stands for nothing there; expected {{target}}, {{message}}, {{code}} and {{origin}}"
                );
                self.note(option, &text);
            }
        }
        let has = |wanted: &[&str]| values.iter().any(|(_, value)| value.placeholders().any(|n| wanted.contains(&n)));
        if let Some((option, _)) = values.first() {
            if !has(&["target"]) {
                self.note(option, "has no {target} in it");
            }
            if !has(&["message", "code"]) {
                self.note(option, "has neither {message} nor {code} in it");
            }
        }
        let is_filled = |template: &Template| template.placeholders().next().is_some();
        if options.headers.0.iter().flat_map(|headers| &headers.0).any(|(_, value)| is_filled(value)) {
            self.note("headers", "has a placeholder in it; expected plain text: headers are logged on the way");
        }
        self.auth();
    }

    fn auth(&mut self) {
        let options = self.options;
        let (user, secret, header) =
            (options.auth_user.0.is_some(), options.auth_secret.0.is_some(), options.auth_header.0.is_some());
        let (needs_user, needs_secret, needs_header) = match options.auth {
            WebhookAuth::None => (false, false, false),
            WebhookAuth::Basic => (true, true, false),
            WebhookAuth::Bearer => (false, true, false),
            WebhookAuth::Header => (false, true, true),
        };
        for (option, is_there, is_needed) in [
            ("auth_user", user, needs_user),
            ("auth_secret", secret, needs_secret),
            ("auth_header", header, needs_header),
        ] {
            match (is_there, is_needed) {
                (false, true) => self.note(option, "is missing; auth needs it"),
                (true, false) => self.note(option, "does nothing with this auth; remove it, or set auth"),
                (true, true) | (false, false) => {}
            }
        }
        if options.auth_user.0.as_ref().is_some_and(|user| user.contains(':')) {
            self.note("auth_user", "holds a colon, at which a server ends the name (RFC 7617)");
        }
    }
}

/// The first placeholder of `template` that is not `known`.
fn unknown<'a>(template: &'a Template, known: &[&str]) -> Option<&'a str> {
    template.placeholders().find(|name| !known.contains(name))
}

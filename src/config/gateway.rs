//! `[gateway NAME]`: how a gateway with a language of its own is served. Read only where it stands.

use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use super::declare::{self, SectionDeclaration};
use super::ini::Section;
use super::mistake::Mistakes;
use super::policy::defaults;
use super::schema::Schema;
use super::value::{CommandLine, Count, Destination, Optional, Seconds, StorePlace, Value};
use crate::domain::foreign::Foreign;
use crate::gateway::conduct::{Conduct, Name, OnError, PasswordField};

options! {
    /// How a gateway with a language of its own is served. What stands on its command line goes before.
    GatewayOptions {
        /// What parts the password from the code, where the claimant types both into one field, such as a comma. Empty: the
        /// field is one of them.
        append_otp: Optional<String> = "";
        /// What the password field holds: code, the one-time password; or checked, a password that the gateway itself
        /// checks, so that the claimant is asked for the code.
        field: PasswordField = "code";
        /// A program that checks the password before the second factor is looked at. In front of its absolute path stands how
        /// it is asked: pwauth: (name and password on two lines, status 0 is yes) or squid: (a basic helper of Squid).
        first_factor: Optional<FirstFactor> = "";
        /// The longest that a login may take, in seconds: less than the gateway waits. Empty: what suits the gateway, and no
        /// longer than `[plugin] deadline`.
        wait: Optional<Seconds<1, 600>> = "";
        /// The shortest that a run may take, in milliseconds. Empty: what suits the gateway.
        min_runtime: Optional<Count<0, 10000>> = "";
        /// What the gateway is told where no verdict could be reached: tempfail, that it may pass; or reject.
        on_error: OnError = "tempfail";
        /// Where the log goes: syslog, or a file by its absolute path. Empty: where `[logging]` says, and to syslog instead of
        /// standard error, which few gateways keep.
        log: Optional<LogTo> = "";
    }
}

/// `[gateway NAME]`, as it is declared.
pub static GATEWAY_DECLARED: SectionDeclaration = SectionDeclaration {
    name: "gateway NAME",
    doc: &[" How a gateway with a language of its own is served (docs/gateways)."],
    options: GatewayOptions::OPTIONS,
    shared: &[],
};

/// Whether a section of this name is one of these.
pub fn is_gateway_section(name: &str) -> bool {
    name == "gateway" || name.starts_with("gateway ")
}

/// The sections `[gateway NAME]` that stand in the file.
#[derive(Clone, Debug, Default)]
pub struct Gateways(Vec<(Name, GatewayOptions)>);

impl Gateways {
    /// Those that `sections` describe.
    pub fn read(sections: &[Section], mistakes: &mut Mistakes) -> Self {
        let mut read = Vec::new();
        for section in sections.iter().filter(|section| is_gateway_section(&section.name)) {
            let name = section.name.strip_prefix("gateway ").and_then(Name::named).filter(|name| *name != Name::Sps);
            let Some(name) = name else {
                let known: Vec<_> = Name::ALL.into_iter().filter(|name| *name != Name::Sps).map(Name::word).collect();
                let text = format_args!(
                    "[{}]: expected [gateway NAME] with one of {}",
                    Foreign(&section.name),
                    known.join(", ")
                );
                mistakes.at_line(section.line, text);
                continue;
            };
            declare::refuse_unknown_options(section, GatewayOptions::OPTIONS.iter(), mistakes);
            read.extend(GatewayOptions::read(Some(section), mistakes).map(|options| (name, options)));
        }
        Self(read)
    }
}

impl Config {
    /// `[gateway NAME]` of `name`, or its defaults.
    pub fn gateway(&self, name: Name) -> GatewayOptions {
        let found = self.gateways.0.iter().find(|(known, _)| *known == name);
        found.map_or_else(GatewayOptions::usual, |(_, options)| options.clone())
    }

    /// Whether a verdict for `name` may have to wait for something that is not on this machine, or for a person.
    pub fn may_wait(&self, name: Name) -> bool {
        self.remote.remotes().next().is_some()
            || self.policy.directory.is_some()
            || self.gateway(name).first_factor.0.is_some()
            || matches!(self.plugin.store, StorePlace::Postgres(_))
    }
}

impl GatewayOptions {
    /// What holds where nobody says anything.
    pub fn usual() -> Self {
        defaults(Self::read)
    }

    /// The conduct that these options are, where the configuration's own `deadline` holds for whoever says nothing else.
    pub fn conduct(&self, name: Name, deadline: Duration) -> Conduct {
        let usual = usual(name);
        Conduct {
            append_otp: self.append_otp.0.clone(),
            field: self.field,
            wait: self.wait.0.as_ref().map_or(usual.wait.min(deadline), |wait| Duration::from_secs(wait.0)),
            min_runtime: self
                .min_runtime
                .0
                .as_ref()
                .map_or(usual.min_runtime, |least| Duration::from_millis(least.0.into())),
            on_error: self.on_error,
            has_first_factor: self.first_factor.0.is_some(),
        }
    }
}

/// What suits a gateway as it is installed.
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    /// Less than its own time-out.
    pub wait: Duration,
    pub min_runtime: Duration,
}

/// What suits `name` where its operator changed nothing (docs/gateways says whose time-outs these are).
pub fn usual(name: Name) -> Usual {
    let (wait, min_runtime) = match name {
        // rlm_exec waits for 10 s, and takes note of a program a moment after it has started it.
        Name::RadiusExec => (8, 50),
        // The client gives up after 60 s (hand-window).
        Name::Openvpn => (55, 0),
        // The login grace time of sshd is 120 s.
        Name::PamExec => (100, 0),
        // No limit of their own; browsers and mail programs wait about a minute.
        Name::SquidBasic | Name::SquidExt | Name::Pwauth | Name::Checkpassword => (50, 0),
        Name::Sps => (600, 0),
    };
    Usual { wait: Duration::from_secs(wait), min_runtime: Duration::from_millis(min_runtime) }
}

impl Value for PasswordField {
    fn expected() -> String {
        "code or checked".into()
    }

    fn schema() -> Schema {
        Schema::words(&["code", "checked"])
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "code" => Some(Self::Code),
            "checked" => Some(Self::Checked),
            _ => None,
        }
    }
}

impl Value for OnError {
    fn expected() -> String {
        "tempfail or reject".into()
    }

    fn schema() -> Schema {
        Schema::words(&["tempfail", "reject"])
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "tempfail" => Some(Self::TempFail),
            "reject" => Some(Self::Reject),
            _ => None,
        }
    }
}

/// Where the log of a gateway goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTo(pub Destination);

impl Value for LogTo {
    fn expected() -> String {
        "syslog, or the absolute path of a file".into()
    }

    fn schema() -> Schema {
        Schema::pattern("syslog|/.+")
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "syslog" => Some(Self(Destination::Syslog)),
            path if path.starts_with('/') && path.len() > 1 => Some(Self(Destination::File(PathBuf::from(path)))),
            _ => None,
        }
    }
}

/// How a program that checks passwords is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The name and the password on two lines; status 0 is yes.
    Pwauth,
    /// The name and the password on one line, percent-encoded; a line that begins with OK is yes.
    Squid,
}

/// A program that checks passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstFactor {
    pub asked: Asked,
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

impl Value for FirstFactor {
    fn expected() -> String {
        "pwauth: or squid:, and behind it the absolute path of a program and its arguments, such as \
         squid:/usr/lib/squid/basic_ncsa_auth /etc/squid/passwd"
            .into()
    }

    fn schema() -> Schema {
        Schema::pattern(r"(pwauth|squid):[ \t]*/.*")
    }

    fn parse(text: &str) -> Option<Self> {
        let (word, line) = text.split_once(':')?;
        let asked = match word {
            "pwauth" => Asked::Pwauth,
            "squid" => Asked::Squid,
            _ => return None,
        };
        let CommandLine { program, arguments } = CommandLine::parse(line)?;
        let arguments = arguments.iter().map(|argument| argument.text().map(str::to_owned)).collect::<Option<_>>()?;
        Some(Self { asked, program, arguments })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_program_that_checks_passwords_is_named_with_how_it_is_asked() {
        let found = FirstFactor::parse("squid:/usr/lib/squid/basic_ncsa_auth /etc/squid/passwd").unwrap();
        assert_eq!((found.asked, found.arguments), (Asked::Squid, vec!["/etc/squid/passwd".to_owned()]));
        for text in ["", "/bin/true", "squid:bin/true", "pam:/bin/true", "pwauth:/bin/x {target}", "pwauth:"] {
            assert_eq!(FirstFactor::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_said_goes_before_what_suits() {
        let (usual, ten) = (GatewayOptions::usual(), Duration::from_secs(10));
        assert_eq!(usual.conduct(Name::RadiusExec, ten).wait, Duration::from_secs(8));
        assert_eq!(usual.conduct(Name::Openvpn, ten).wait, ten);
        assert_eq!(usual.conduct(Name::RadiusExec, ten).min_runtime, Duration::from_millis(50));
        let said = GatewayOptions { wait: Optional(Some(Seconds(30))), ..usual };
        assert_eq!(said.conduct(Name::RadiusExec, ten).wait, Duration::from_secs(30));
    }

    #[test]
    fn what_is_not_on_this_machine_may_be_waited_for() {
        let may_wait = |ini: &str| Config::parse(Path::new("/etc/x/plugin.ini"), ini).unwrap().may_wait(Name::Openvpn);
        let here = "[plugin]\nstore = store\nclients = totp\n";
        assert!(!may_wait(here));
        assert!(may_wait(&here.replace("= store", "= postgres://countersign@db.corp.example/countersign")));
        assert!(may_wait(&format!("{here}[gateway openvpn]\nfirst_factor = pwauth:/usr/sbin/pwauth\n")));
        assert!(!may_wait(&format!("{here}[gateway pwauth]\nfirst_factor = pwauth:/usr/sbin/pwauth\n")));
    }
}

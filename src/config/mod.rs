//! plugin.ini, read once and strictly: what is unknown, twice there or out of range is a mistake with its place.

#[macro_use]
mod declare;
pub mod clients;
pub mod credentials;
pub mod enrolment;
pub mod example;
pub mod filter;
pub mod fixed;
pub mod gateway;
pub mod http;
pub mod ini;
mod known;
pub mod metrics;
pub mod mistake;
pub mod network;
pub mod notify;
pub mod options;
pub mod policy;
pub mod postgres;
mod reading;
pub mod schema;
mod sps;
pub mod value;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use clients::{ClientSections, Push};
use credentials::Follow;
pub use enrolment::{Enrolment, Page};
use gateway::Gateways;
use metrics::MetricsOptions;
pub use mistake::{Mistake, Mistakes};
pub use options::{Auth, Logging, Options, Plugin, Throttle, Totp};
pub use policy::Policy;
pub use postgres::Postgres;
pub use reading::Reading;
use sps::Relaxed;
use value::{Destination, SecretRef, ServiceSecret};

use crate::files::{self, Exposure, FileError};
use crate::policy::throttle::{Known, Rule};

/// A configuration that can be used.
#[derive(Debug)]
pub struct Config {
    path: PathBuf,
    lines: HashMap<(String, String), usize>,
    options: Options,
    /// The sections of the remote clients.
    pub remote: ClientSections,
    /// The policy sections.
    pub policy: Policy,
    /// The sections of enrolment.
    pub enrolment: Enrolment,
    gateways: Gateways,
    postgres: Option<Box<Postgres>>,
    metrics: Option<Box<MetricsOptions>>,
    fingerprint: [u8; 16],
    warnings: Vec<Mistake>,
}

impl std::ops::Deref for Config {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.options
    }
}

impl Config {
    /// Reads the configuration at `path`, strictly.
    ///
    /// # Errors
    /// Every mistake in it, or the one reason why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        Self::load_as(path, Reading::Native)
    }

    /// Reads the configuration at `path` as `reading` says.
    ///
    /// # Errors
    /// Every mistake in it, or the one reason why it cannot be read.
    pub fn load_as(path: &Path, reading: Reading) -> Result<Self, Mistakes> {
        let unreadable = |error: FileError| {
            let hint = match &error {
                FileError::Io { path: _, error } if error.kind() == std::io::ErrorKind::NotFound => {
                    "; run: countersign init DIR"
                }
                FileError::Io { path: _, error: _ }
                | FileError::Link(_)
                | FileError::NotFile(_)
                | FileError::NotDirectory(_)
                | FileError::Loose { path: _, mode: _, what: _, remedy: _ }
                | FileError::Owner { path: _, owner: _ }
                | FileError::Large(_)
                | FileError::NotText(_) => "",
            };
            let mistake = Mistake::of_file(path, format!("{}{hint}", without_path(&error, path)));
            Mistakes::from(mistake.forbidden_if(error.is_forbidden()))
        };
        let text = files::read_text(path, Exposure::Readable).map_err(unreadable)?;
        let follow = |place: &SecretRef| {
            credentials::read(place, |file| from_directory_of(path, file)).map_err(|error| error.to_string())
        };
        let config = Self::assemble(path, &text, reading, &follow)?;
        if config.holds_secret() {
            // Looked at only where it matters: a configuration without secrets may be read by everybody.
            files::check(path, Exposure::Private).map_err(unreadable)?;
        }
        Ok(config)
    }

    /// Reads the configuration `text`, which stands at `path`, strictly. Opens nothing.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Mistakes> {
        Self::parse_as(path, text, Reading::Native)
    }

    /// Reads the configuration `text`, which stands at `path`, as `reading` says. Opens nothing, so what is no secret must
    /// stand in `text` itself.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse_as(path: &Path, text: &str, reading: Reading) -> Result<Self, Mistakes> {
        Self::assemble(path, text, reading, &|_| Err("is looked for only where the configuration is loaded".into()))
    }

    fn assemble(path: &Path, text: &str, reading: Reading, follow: Follow<'_>) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::new(path, reading);
        let mut sections = ini::parse(text, &mut mistakes);
        credentials::resolve(&mut sections, follow, &mut mistakes);
        let relaxed = match reading {
            Reading::Native => Relaxed::default(),
            Reading::Sps => sps::relax(&mut sections, &mut mistakes),
        };
        options::name_log_level(&mut sections, &mut mistakes);
        let mut options = Options::read(&sections, &mut mistakes);
        if let (true, Some(options)) = (relaxed.is_prompt_empty, &mut options) {
            options.auth.prompt.clear();
        }
        let remote = ClientSections::read(&sections, &mut mistakes);
        let policy = Policy::read(&sections, &mut mistakes);
        let enrolment = Enrolment::read(&sections, &mut mistakes);
        let gateways = Gateways::read(&sections, &mut mistakes);
        let postgres = Postgres::of(&sections, &mut mistakes);
        let metrics = MetricsOptions::of(&sections, &mut mistakes);
        if let Some(options) = &options {
            clients::check(&options.plugin.clients, &remote, &sections, &mut mistakes);
        }
        match options {
            Some(options) if mistakes.is_empty() => {
                let fingerprint = fingerprint(&sections);
                let lines = sections
                    .into_iter()
                    .flat_map(|s| s.entries.into_iter().map(move |e| ((s.name.clone(), e.name), e.line)))
                    .collect();
                let warnings = mistakes.into_warnings();
                let path = path.to_owned();
                Ok(Self {
                    path,
                    lines,
                    options,
                    remote,
                    policy,
                    enrolment,
                    gateways,
                    postgres,
                    metrics,
                    fingerprint,
                    warnings,
                })
            }
            Some(_) | None => Err(mistakes),
        }
    }

    /// What stops nobody, but may be meant otherwise; each with its place. For whoever loads it to log.
    pub fn warnings(&self) -> &[Mistake] {
        &self.warnings
    }

    /// A path that an option gives: relative ones start at the directory of plugin.ini.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        from_directory_of(&self.path, path)
    }

    /// Our secrets at services and in directories: section, option, and where each lies.
    pub fn secrets(&self) -> Vec<(String, &'static str, &ServiceSecret)> {
        let mut secrets = self.remote.secrets();
        if let Some(directory) = &self.policy.directory {
            let password = directory.bind_password.iter();
            secrets.extend(password.map(|secret| (format!("ldap_server {}", directory.name), "bind_password", secret)));
        }
        let password = self.postgres.iter().filter_map(|postgres| postgres.password.0.as_ref());
        secrets.extend(password.map(|secret| ("postgres".to_owned(), "password", secret)));
        secrets
    }

    /// Whether a secret itself stands in the file.
    fn holds_secret(&self) -> bool {
        // Duo's integration key is a name more than a secret.
        let is_written = |secret: &ServiceSecret| matches!(secret, ServiceSecret::Written(_));
        self.remote.fixed.is_some()
            || self.secrets().iter().any(|(_, option, secret)| *option != "ikey" && is_written(secret))
    }

    /// The same, as a gateway is served: its log goes to `destination`.
    pub fn logging_to(mut self, destination: Destination) -> Self {
        self.options.logging.destination = destination;
        self
    }

    /// The same, where a program checks the password first: what is remembered of a dialogue that began without that is
    /// of another configuration.
    pub fn behind_first_factor(mut self, gateway: &str) -> Self {
        let hash = Sha256::new().chain_update(self.fingerprint).chain_update(b"first factor ").chain_update(gateway);
        self.fingerprint = *hash.finalize().first_chunk().unwrap_or(&self.fingerprint);
        self
    }

    /// What the configuration says, in short: another one wherever a decision could be another.
    pub const fn fingerprint(&self) -> [u8; 16] {
        self.fingerprint
    }

    /// Where the configuration was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A mistake about what an option names, such as a key file that cannot be read.
    pub fn mistake(&self, section: &str, option: &'static str, text: impl Into<String>) -> Mistake {
        let line = self.lines.get(&(section.to_owned(), option.to_owned())).copied();
        Mistake::of_option(&self.path, line, section, option, text.into())
    }

    /// The limits for one subscriber.
    pub fn subscriber_rule(&self) -> Rule {
        let t = &self.throttle;
        Rule {
            free: t.failures.0,
            first_wait: t.first_wait.0,
            longest_wait: t.longest_wait.0,
            forget_after: t.forget_after.0,
        }
    }

    /// The budget of an address at which a subscriber succeeded lately.
    pub fn known_rule(&self) -> Option<Known> {
        let t = &self.throttle;
        (t.known_source.0 > 0).then_some(Known {
            remembered: t.known_source.0,
            failures: t.known_failures.0,
            together: t.known_failures_together.0,
            forget_after: t.known_forget_after.0,
        })
    }

    /// The limits for one source address.
    pub fn source_rule(&self) -> Rule {
        let t = &self.throttle;
        Rule {
            free: t.source_failures.0,
            first_wait: t.source_first_wait.0,
            longest_wait: t.source_longest_wait.0,
            forget_after: t.source_forget_after.0,
        }
    }
}

/// `path`, which starts at the directory of the configuration at `config` where it is relative.
fn from_directory_of(config: &Path, path: &Path) -> PathBuf {
    match config.parent() {
        Some(parent) if path.is_relative() => parent.join(path),
        Some(_) | None => path.to_owned(),
    }
}

/// A hash of every option but those of `[logging]`, `[metrics]` and `[page]`, which decide nothing.
fn fingerprint(sections: &[ini::Section]) -> [u8; 16] {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text);
    };
    let decides = |section: &&ini::Section| !matches!(section.name.as_str(), "logging" | "metrics" | "page");
    for section in sections.iter().filter(decides).filter(|section| !section.entries.is_empty()) {
        add(&section.name);
        for entry in &section.entries {
            add(&entry.name);
            add(&entry.value);
        }
        add("");
    }
    let [short @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]: [u8; 32] = hash.finalize().into();
    short
}

/// What `error` says after the path, which the caller has already printed.
fn without_path(error: &FileError, path: &Path) -> String {
    let text = error.to_string();
    match text.strip_prefix(&format!("{}: ", path.display())) {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> String {
        Config::parse(Path::new("plugin.ini"), text).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        let config = Config::parse(Path::new("/etc/countersign/plugin.ini"), "").unwrap();
        assert_eq!(config.plugin.deadline.0, 30);
        assert_eq!(config.resolve(Path::new("store")), Path::new("/etc/countersign/store"));
        assert_eq!(
            config.subscriber_rule(),
            Rule { free: 5, first_wait: 60, longest_wait: 43_200, forget_after: 43_200 }
        );
    }

    #[test]
    fn the_example_is_the_defaults() {
        let written = example::text().replace("\n;", "\n");
        let example = Config::parse(Path::new("plugin.ini"), &written).unwrap();
        let default = Config::parse(Path::new("plugin.ini"), "").unwrap();
        assert_eq!(format!("{:?}", example.options), format!("{:?}", default.options));
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_place() {
        let text = "[plugin]\ndeadline = 5m\nmaster_kye = file:x\n\n[totp]\ndigits = 9\n[topt]\n";
        assert_eq!(
            mistakes(text),
            "plugin.ini:2: [plugin] deadline: expected seconds from 1 to 3600, such as 30, found \"5m\"\n\
             plugin.ini:3: [plugin] master_kye: unknown option; did you mean master_key?\n\
             plugin.ini:6: [totp] digits: expected a whole number from 6 to 8, found \"9\"\n\
             plugin.ini:7: [topt]: unknown section; did you mean [totp]?"
        );
    }

    #[test]
    fn a_secret_is_not_repeated_in_the_mistake() {
        let text = mistakes("[plugin]\nmaster_key = CANARY\n");
        assert!(!text.contains("CANARY") && text.contains("file:PATH"), "{text}");
    }
}

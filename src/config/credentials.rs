//! `[credential_store]`: an option whose value is wholly `$` lies elsewhere, under the names of its section and itself;
//! `$$` is a `$`.
//!
//! Where the option is a secret, the reference takes the place of the value and is followed when it is needed first; any
//! other is followed when the configuration is loaded. What is found is never itself taken for a reference.

use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use super::declare::{self, OptionDeclaration, SectionDeclaration};
use super::ini::{Origin, Section};
use super::known;
use super::mistake::Mistakes;
use super::schema::Schema;
use super::value::{Optional, SecretRef, Value};
use crate::domain::foreign::Foreign;
use crate::domain::secret::Secret;
use crate::files::{self, Exposure, FileError};

options! {
    /// `[credential_store]`.
    CredentialStore {
        /// What it is called; nothing depends on it.
        name: Optional<String> = "";
        /// Where it is: files:DIR, a directory with a file SECTION.OPTION for each; credentials, the same names as systemd
        /// credentials; or env:PREFIX, environment variables PREFIX_SECTION_OPTION in upper case.
        source: Source = "files:credentials";
    }
}

/// `[credential_store]`, as it stands in the example file.
pub static CREDENTIALS_DECLARED: SectionDeclaration = SectionDeclaration {
    name: "credential_store",
    doc: &[" Where the values are of options that are only a $; $$ stands for a $."],
    options: CredentialStore::OPTIONS,
    shared: &[],
};

/// Where values are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory of files; relative paths start at the directory of plugin.ini.
    Files(PathBuf),
    /// `$CREDENTIALS_DIRECTORY`.
    Credentials,
    /// Environment variables that begin with this.
    Env(String),
}

impl Value for Source {
    fn expected() -> String {
        "files:DIR, credentials or env:PREFIX".into()
    }

    fn schema() -> Schema {
        Schema::Either(vec![Schema::words(&["credentials"]), Schema::pattern("files:.+|env:[A-Za-z0-9_]+")])
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "credentials" {
            return Some(Self::Credentials);
        }
        let is_name = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let env = || text.strip_prefix("env:").filter(is_name).map(|prefix| Self::Env(prefix.to_owned()));
        let files = text.strip_prefix("files:").filter(|path| !path.is_empty());
        files.map(|path| Self::Files(path.into())).or_else(env)
    }
}

impl Source {
    /// Where the value of an option is; `None` where no file can have its name.
    fn place(&self, section: &str, option: &str) -> Option<SecretRef> {
        let name = format!("{section}.{option}");
        match self {
            Self::Files(_) if name.contains(['/', '\0']) => None,
            Self::Files(directory) => Some(SecretRef::File(directory.join(name))),
            // What systemd takes in the name of a credential: printable ASCII without `/` and `:`.
            Self::Credentials => Some(SecretRef::Credential(
                name.chars().map(|c| if matches!(c, ' '..='~') && c != '/' && c != ':' { c } else { '_' }).collect(),
            )),
            Self::Env(prefix) => {
                let upper = format!("{prefix}_{section}_{option}").to_uppercase();
                Some(SecretRef::Env(upper.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()))
            }
        }
    }
}

const NO_STORE: &str = "$ stands for what [credential_store] keeps, which is not there; write it, or $$ for a $";

/// What follows a reference to its value.
pub type Follow<'a> = &'a dyn Fn(&SecretRef) -> Result<Secret<String>, String>;

/// Puts what `$` stands for into its place, and `$` for `$$`; what cannot be had goes to `mistakes`.
pub fn resolve(sections: &mut [Section], follow: Follow<'_>, mistakes: &mut Mistakes) {
    let store = sections.iter().find(|section| section.name == CREDENTIALS_DECLARED.name).map(|section| {
        declare::refuse_unknown_options(section, CREDENTIALS_DECLARED.all(), mistakes);
        for entry in section.entries.iter().filter(|entry| entry.value == "$") {
            mistakes.at_option(entry.line, &section.name, &entry.name, "cannot be kept in what it describes");
        }
        // Where its own section is flawed, references are not judged.
        CredentialStore::read(Some(section), mistakes).map(|store| store.source)
    });
    for section in sections.iter_mut().filter(|section| section.name != CREDENTIALS_DECLARED.name) {
        if !section.entries.iter().any(|entry| entry.value == "$" || entry.value == "$$") {
            continue;
        }
        // What nobody knows is nobody's to resolve; but an SPS plugin would end where it asks for it.
        let Some(known) = known::options(&section.name) else {
            for entry in section.entries.iter().filter(|entry| entry.value == "$" && store.is_none()) {
                let (name, option) = (Foreign(&section.name).to_string(), Foreign(&entry.name).to_string());
                mistakes.at_option(entry.line, &name, &option, NO_STORE);
            }
            continue;
        };
        for entry in &mut section.entries {
            if entry.value == "$$" {
                "$".clone_into(&mut entry.value);
                continue;
            }
            if entry.value != "$" {
                continue;
            }
            let (name, option) = (Foreign(&section.name).to_string(), Foreign(&entry.name).to_string());
            let line = entry.line;
            let mut note = |text: &str| mistakes.at_option(line, &name, &option, text);
            entry.origin = Origin::Nowhere;
            let source = match &store {
                None => {
                    note(NO_STORE);
                    continue;
                }
                Some(None) => continue,
                Some(Some(source)) => source,
            };
            let Some(place) = source.place(&section.name, &entry.name) else {
                note("no file can have this name, so $ stands for nothing; write the value here");
                continue;
            };
            if is_secret(&known, &entry.name) {
                entry.value = written(&place);
                entry.origin = Origin::Written;
                continue;
            }
            match follow(&place) {
                Ok(value) => {
                    // It is no secret by its option; what it holds is not shown where it does not fit.
                    value.expose().clone_into(&mut entry.value);
                    entry.origin = Origin::Stored;
                }
                Err(text) => note(&text),
            }
        }
    }
}

fn is_secret(known: &[&OptionDeclaration], option: &str) -> bool {
    known.iter().any(|declared| declared.name == option && declared.secret)
}

/// How plugin.ini says where a secret lies.
fn written(place: &SecretRef) -> String {
    match place {
        SecretRef::File(path) => format!("file:{}", path.display()),
        SecretRef::Env(name) => format!("env:{name}"),
        SecretRef::Credential(name) => format!("credential:{name}"),
    }
}

/// Why there is no secret. Says nothing of what was read.
#[derive(Debug, Error)]
pub enum Unread {
    #[error("{0}")]
    File(#[from] FileError),
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    #[error("there is no $CREDENTIALS_DIRECTORY; set LoadCredential= in the systemd unit")]
    NoCredentials,
    #[error("{0}: is empty; expected the secret on one line")]
    Empty(String),
}

/// What lies at `place`, without the line end behind it; `resolve` makes relative paths absolute.
///
/// # Errors
/// Where it cannot be read, or nothing is there.
pub fn read(place: &SecretRef, resolve: impl Fn(&Path) -> PathBuf) -> Result<Secret<String>, Unread> {
    let (place, text) = match place {
        SecretRef::File(path) => {
            let path = resolve(path);
            let text = files::read_text(&path, Exposure::Private)?;
            (path.display().to_string(), text)
        }
        SecretRef::Env(name) => {
            let text = std::env::var(name).map_err(|_| Unread::NoVariable(name.clone()))?;
            (name.clone(), text)
        }
        SecretRef::Credential(name) => {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(Unread::NoCredentials)?;
            let path = Path::new(&directory).join(name);
            let text = files::read_text(&path, Exposure::Private)?;
            (path.display().to_string(), text)
        }
    };
    let text = Zeroizing::new(text);
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() { Err(Unread::Empty(place)) } else { Ok(Secret::new(secret.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_a_name_for_each_option() {
        let place = |source: &str, section, option| {
            Source::parse(source).unwrap().place(section, option).map(|place| written(&place))
        };
        for (source, section, option, expected) in [
            ("files:c", "duo", "skey", Some("file:c/duo.skey")),
            ("files:/etc/c", "http acme", "auth_secret", Some("file:/etc/c/http acme.auth_secret")),
            ("files:c", "usermapping source=explicit", "../../x", None),
            ("files:c", "..", ".", Some("file:c/....")),
            (
                "credentials",
                "usermapping source=explicit",
                "a/b:č",
                Some("credential:usermapping source=explicit.a_b__"),
            ),
            ("env:CS", "http acme", "auth_secret", Some("env:CS_HTTP_ACME_AUTH_SECRET")),
        ] {
            assert_eq!(place(source, section, option).as_deref(), expected, "{source} {section} {option}");
        }
        for text in ["", "files:", "env:", "env:A=B", "env:a-b", "credentials:x", "vault:x"] {
            assert_eq!(Source::parse(text), None, "{text}");
        }
    }
}

//! `[http NAME]`: any HTTP service, described wholly in plugin.ini.

use std::collections::BTreeMap;

use super::clients::Remote;
use super::declare;
use super::ini::Section;
use super::mistake::Mistakes;
use super::value::{HttpUrl, is_service_name};
use crate::domain::foreign::Foreign;

options! {
    /// A service without a client of its own.
    HttpService {
        /// Where its paths begin.
        url: HttpUrl = required "https://mfa.corp.example/api";
    }
    shared remote: Remote;
}

/// Whether a section of this name belongs to a service of this kind.
pub fn is_http_section(name: &str) -> bool {
    name == "http" || name.starts_with("http ")
}

impl HttpService {
    /// Whether a secret itself stands in the section.
    pub fn holds_secret(&self) -> bool {
        false
    }

    /// The services that `sections` describe, by name.
    pub fn read_all(sections: &[Section], mistakes: &mut Mistakes) -> BTreeMap<String, Self> {
        let mut services = BTreeMap::new();
        for section in sections.iter().filter(|section| is_http_section(&section.name)) {
            let name = section.name.strip_prefix("http ").unwrap_or_default();
            if !is_service_name(name) {
                let text = format_args!("[{}]: expected a name such as [http corp]", Foreign(&section.name));
                mistakes.at_line(section.line, text);
                continue;
            }
            let known = Self::OPTIONS.iter().chain(Remote::OPTIONS);
            declare::refuse_unknown_options(section, known, mistakes);
            if let Some(service) = Self::read(Some(section), mistakes) {
                services.insert(name.to_owned(), service);
            }
        }
        services
    }
}

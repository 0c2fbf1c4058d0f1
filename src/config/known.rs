//! Every section that somebody knows, with what is declared of it.

use super::clients::{CLIENTS_DECLARED, PUSH_DECLARED, Remote, YubicoKeys};
use super::credentials::CREDENTIALS_DECLARED;
use super::declare::{OptionDeclaration, SectionDeclaration};
use super::http::{HttpOptions, Step, is_http_section};
use super::network::NETWORK_DECLARED;
use super::options::DECLARED;
use super::policy::sections::{EXPLICIT, POLICY_DECLARED, declaration};

/// The options of the section `name`, where it has such as are declared; `None` where nobody knows the section.
pub fn options(name: &str) -> Option<Vec<&'static OptionDeclaration>> {
    if is_http_section(name) {
        let main = HttpOptions::OPTIONS.iter().chain(Remote::OPTIONS);
        return Some(main.chain(Step::OPTIONS).collect());
    }
    // Their options are names.
    if name == EXPLICIT || name == YubicoKeys::SECTION {
        return Some(Vec::new());
    }
    let declared = fixed().find(|declaration| declaration.name == name).or_else(|| declaration(name));
    // https-proxy is the other name of https_proxy.
    let alias = || NETWORK_DECLARED.iter().find(|declaration| declaration.name == name.replace('-', "_"));
    declared.or_else(alias).map(|declaration| declaration.all().collect())
}

/// The names of the sections, for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    fixed().chain(POLICY_DECLARED).map(|declaration| declaration.name).chain([YubicoKeys::SECTION, EXPLICIT])
}

fn fixed() -> impl Iterator<Item = &'static SectionDeclaration> {
    let single = [&PUSH_DECLARED, &CREDENTIALS_DECLARED];
    DECLARED.iter().chain(CLIENTS_DECLARED).chain(NETWORK_DECLARED).chain(single)
}

//! Every section that somebody knows, with what is declared of it.

use super::clients::{CLIENTS_DECLARED, PUSH_DECLARED, Remote, YubicoKeys};
use super::credentials::CREDENTIALS_DECLARED;
use super::declare::{OptionDeclaration, SectionDeclaration};
use super::enrolment::ENROLMENT_DECLARED;
use super::fixed::FIXED_DECLARED;
use super::gateway::{GATEWAY_DECLARED, GatewayOptions, is_gateway_section};
use super::http::{HTTP_DECLARED, HttpOptions, Step, StepName, is_http_section};
use super::metrics::METRICS_DECLARED;
use super::network::NETWORK_DECLARED;
use super::notify::{NOTIFY_DECLARED, NotifyOptions, is_notify_section};
use super::options::DECLARED;
use super::policy::sections::{EXPLICIT, POLICY_DECLARED, declaration};
use super::postgres::POSTGRES_DECLARED;
use super::schema::Schema;

/// What a declared name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// The one section of this name.
    Exactly(&'static str),
    /// `question_N`: sections with a number behind this.
    Numbered(&'static str),
    /// `user_list NAME`: sections with a name behind this and a space.
    Named(&'static str),
    /// `http NAME STEP`: the same with a step behind the name.
    Stepped(&'static str),
}

impl Called {
    /// What `declared` stands for.
    pub fn of(declared: &'static str) -> Self {
        let numbered = || declared.strip_suffix("_N").map(Self::Numbered);
        let named = || declared.strip_suffix(" NAME").map(Self::Named);
        let stepped = declared.strip_suffix(" NAME STEP").map(Self::Stepped);
        stepped.or_else(named).or_else(numbered).unwrap_or(Self::Exactly(declared))
    }

    /// Whether `section` is one of these.
    pub fn fits(self, section: &str) -> bool {
        let behind = |kind: &str| section.strip_prefix(kind).and_then(|rest| rest.strip_prefix(' ')).map(str::to_owned);
        match self {
            Self::Exactly(name) => section == name,
            Self::Numbered(kind) => {
                section.strip_prefix(kind).and_then(|rest| rest.strip_prefix('_')).is_some_and(|n| {
                    n.starts_with(|c: char| matches!(c, '1'..='9')) && n.bytes().all(|b| b.is_ascii_digit())
                })
            }
            // The names of services have no spaces; those of lists may.
            Self::Named(kind @ ("http" | "notify" | "gateway")) => {
                behind(kind).is_some_and(|name| !name.is_empty() && !name.contains(' '))
            }
            Self::Named(kind) => behind(kind).is_some_and(|name| !name.is_empty() && name.trim() == name),
            Self::Stepped(kind) => behind(kind).is_some_and(|rest| {
                rest.split_once(' ').is_some_and(|(_, step)| StepName::ALL.iter().any(|known| known.word() == step))
            }),
        }
    }

    /// The regular expression of their names.
    pub fn pattern(self) -> String {
        let service = "[A-Za-z0-9_-]+";
        match self {
            Self::Exactly(name) => format!("^{name}$"),
            Self::Numbered(kind) => format!("^{kind}_[1-9][0-9]*$"),
            Self::Named(kind @ ("http" | "notify" | "gateway")) => format!("^{kind} {service}$"),
            Self::Named(kind) => format!(r"^{kind} [^\s\[\]](?:[^\[\]]*[^\s\[\]])?$"),
            Self::Stepped(kind) => format!("^{kind} {service} (?:{})$", StepName::ALL.map(StepName::word).join("|")),
        }
    }
}

/// A section whose options are names.
pub struct Free {
    pub name: &'static str,
    pub doc: &'static str,
    /// What each of its options takes.
    pub value: Schema,
}

/// Sections that have another name.
pub const ALIASES: &[(&str, &str)] = &[("https-proxy", "https_proxy")];

/// The options of the section `name`, where it has such as are declared; `None` where nobody knows the section.
pub fn options(name: &str) -> Option<Vec<&'static OptionDeclaration>> {
    if is_http_section(name) {
        let main = HttpOptions::OPTIONS.iter().chain(Remote::OPTIONS);
        return Some(main.chain(Step::OPTIONS).collect());
    }
    if is_notify_section(name) {
        return Some(NotifyOptions::OPTIONS.iter().chain(Remote::OPTIONS).collect());
    }
    if is_gateway_section(name) {
        return Some(GatewayOptions::OPTIONS.iter().collect());
    }
    // Their options are names.
    if name == EXPLICIT || name == YubicoKeys::SECTION {
        return Some(Vec::new());
    }
    let declared = fixed().find(|declaration| declaration.name == name).or_else(|| declaration(name));
    let alias = || {
        let (_, name) = ALIASES.iter().find(|(alias, _)| *alias == name)?;
        NETWORK_DECLARED.iter().find(|declaration| declaration.name == *name)
    };
    declared.or_else(alias).map(|declaration| declaration.all().collect())
}

/// The names of the sections, for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    fixed().chain(POLICY_DECLARED).map(|declaration| declaration.name).chain([YubicoKeys::SECTION, EXPLICIT])
}

/// Every section that has options, also those that there are many of: what their names stand for, [`Called`] says.
pub fn declarations() -> impl Iterator<Item = &'static SectionDeclaration> {
    fixed().chain(HTTP_DECLARED).chain([&NOTIFY_DECLARED, &GATEWAY_DECLARED]).chain(POLICY_DECLARED)
}

/// The sections whose options are names.
pub fn free() -> [Free; 2] {
    let explicit = "The names of users at the MFA service, where they are others: an option for each user.";
    let keys = "For each subscriber the public ids (twelve modhex characters) of their keys, separated by commas.";
    let id = Schema::pattern("[cbdefghijklnrtuvCBDEFGHIJKLNRTUV]{12}");
    [
        Free { name: EXPLICIT, doc: explicit, value: Schema::Text },
        Free { name: YubicoKeys::SECTION, doc: keys, value: Schema::list(&id, ',') },
    ]
}

fn fixed() -> impl Iterator<Item = &'static SectionDeclaration> {
    let single: [&SectionDeclaration; 4] =
        [&PUSH_DECLARED, &CREDENTIALS_DECLARED, &POSTGRES_DECLARED, &METRICS_DECLARED];
    let together = ENROLMENT_DECLARED.iter().chain(CLIENTS_DECLARED).chain(NETWORK_DECLARED).chain(FIXED_DECLARED);
    DECLARED.iter().chain(together).chain(single)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_what_is_declared() {
        for (declared, fits, others) in [
            ("duo", &["duo"][..], &["duo x", "Duo", ""][..]),
            ("question_N", &["question_1", "question_20"], &["question_N", "question_0", "question_", "question_1x"]),
            ("user_list NAME", &["user_list vips", "user_list a b"], &["user_list", "user_list ", "user_list  x"]),
            ("http NAME", &["http corp"], &["http", "http corp otp", "http "]),
            ("notify NAME", &["notify mail"], &["notify", "notify mail x", "notify "]),
            ("gateway NAME", &["gateway squid-ext"], &["gateway", "gateway x y"]),
            ("http NAME STEP", &["http corp otp"], &["http corp", "http corp pot", "http corp otp x"]),
        ] {
            let called = Called::of(declared);
            assert!(fits.iter().all(|name| called.fits(name)), "{declared}");
            assert!(!others.iter().any(|name| called.fits(name)), "{declared}");
        }
    }
}

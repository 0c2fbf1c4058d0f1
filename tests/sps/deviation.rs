//! What is answered otherwise than the SDK does, and why: deviations.toml.

use serde::Deserialize;

use super::case::Case;
use super::kind::Kind;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    deviation: Vec<Deviation>,
}

/// A kind of case that is answered otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// Names of cases; `*` stands for anything.
    pub cases: Vec<String>,
    /// Only those that the SDK left by one of these exceptions; `*` stands for anything here as well.
    #[serde(default)]
    pub raised: Vec<String>,
    /// Only those that are of this kind.
    recorded: Option<Kind>,
    /// Only those whose configuration holds this text.
    config: Option<String>,
    /// What came in place of the SDK's answer.
    pub answer: String,
    pub reason: String,
    /// No case of the bundled file is of this kind; other recordings have such.
    #[serde(default)]
    pub elsewhere: bool,
}

impl Deviation {
    /// The table.
    pub fn read_all(text: &str) -> Vec<Self> {
        let table: Table = toml::from_str(text).unwrap_or_else(|error| panic!("deviations.toml: {error}"));
        for deviation in &table.deviation {
            assert!(!deviation.cases.is_empty() && !deviation.reason.contains('\n'), "{deviation:?}");
        }
        table.deviation
    }

    /// Whether it is about `case`.
    pub fn is_about(&self, case: &Case) -> bool {
        let raised = self.raised.is_empty()
            || case.exception().is_some_and(|exception| self.raised.iter().any(|raised| fits(raised, exception)));
        let recorded = self.recorded.is_none_or(|kind| kind.is_of(case));
        let config = self.config.as_ref().is_none_or(|text| case.config_ini.contains(text));
        raised && recorded && config && self.cases.iter().any(|glob| fits(glob, &case.name))
    }
}

/// Whether `name` is what `glob` says.
fn fits(glob: &str, name: &str) -> bool {
    match glob.split_once('*') {
        None => glob == name,
        Some((before, behind)) => name.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| fits(behind, &rest[at..]))
        }),
    }
}

#[test]
fn a_star_stands_for_anything() {
    for (glob, name, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a*", "a", true),
        ("a*", "abc", true),
        ("*c", "abc", true),
        ("a*c*", "abcd", true),
        ("a*d", "abc", false),
        ("*", "", true),
    ] {
        assert_eq!(fits(glob, name), expected, "{glob} {name}");
    }
}

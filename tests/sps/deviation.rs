//! What is answered otherwise than the SDK does, and why: deviations.toml.

use serde::Deserialize;

use super::case::Case;

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
    /// Only those where the SDK handed on something of this kind.
    recorded: Option<Kind>,
    /// Only those whose configuration holds this text.
    config: Option<String>,
    /// Only those with a cookie of this kind: `forged`, which is the SDK's own and was given by none of its calls.
    cookie: Option<String>,
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
            assert!(deviation.cookie.as_deref().is_none_or(|kind| kind == FORGED), "{deviation:?}");
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
        let cookie = self.cookie.is_none() || is_forged(case);
        raised && recorded && config && cookie && self.cases.iter().any(|glob| fits(glob, &case.name))
    }
}

/// What the SDK hands on that is not as its own verdicts are.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// Neither ACCEPT, DENY nor NEEDINFO.
    NoVerdict,
    /// A question of two parts.
    ShortQuestion,
    /// Without metadata, or, of a DENY, without what the user is told.
    BareVerdict,
}

impl Kind {
    fn is_of(self, case: &Case) -> bool {
        if case.raised.is_some() || case.hook == "session_ended" && case.verdict.is_null() {
            return false;
        }
        let verdict = case.said("verdict").and_then(|verdict| verdict.as_str());
        match self {
            Self::NoVerdict => !matches!(verdict, Some("ACCEPT" | "DENY" | "NEEDINFO")),
            Self::ShortQuestion => {
                case.said("question").and_then(|question| question.as_array()).is_some_and(|parts| parts.len() == 2)
            }
            Self::BareVerdict => {
                let is_bare = case.said("additional_metadata").is_none();
                let is_silent = verdict == Some("DENY") && case.said("reason").is_none();
                matches!(verdict, Some("ACCEPT" | "DENY")) && (is_bare || is_silent)
            }
        }
    }
}

/// What no call gave.
const FORGED: &str = "forged";

fn is_forged(case: &Case) -> bool {
    let cookie = case.request.get("cookie").and_then(|cookie| cookie.as_object());
    let is_own = |key: &String| super::compare::PRIVATE.contains(&key.as_str());
    case.group.is_none() && cookie.is_some_and(|cookie| cookie.keys().any(is_own))
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

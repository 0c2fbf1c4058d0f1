//! `[fixed]`: codes that never change, for tests; and `[debug]`, without which they are refused.

use std::collections::BTreeMap;

use super::declare::{self, SectionDeclaration};
use super::ini::Section;
use super::mistake::Mistakes;
use super::schema::Schema;
use super::value::{Optional, Value, YesNo};
use crate::domain::claimant::Subscriber;
use crate::domain::secret::Secret;

options! {
    /// `[fixed]`.
    Fixed {
        /// The code of everybody.
        code: Optional<FixedCode> = "";
        /// Other codes of single users, such as alice:111111, bob:222222. Who has one does not have the code of everybody.
        codes: Optional<FixedCodes> = "";
    }
}

options! {
    /// `[debug]`.
    Debug {
        /// Allows what lets anybody in who knows this file: `[fixed]`.
        allow_insecure: YesNo = "no";
    }
}

/// What is declared, in the order of the example file.
pub static FIXED_DECLARED: &[SectionDeclaration] = &[
    SectionDeclaration {
        name: "fixed",
        doc: &[
            " Codes that never change, for tests of a gateway: anybody who knows them is let in. Refused without",
            " [debug] allow_insecure = yes, and told loudly with it.",
        ],
        options: Fixed::OPTIONS,
        shared: &[],
    },
    SectionDeclaration { name: "debug", doc: &[" What is for tests only."], options: Debug::OPTIONS, shared: &[] },
];

/// A code that never changes.
#[derive(Clone, Debug)]
pub struct FixedCode(pub Secret<String>);

impl Value for FixedCode {
    const SECRET: bool = true;

    fn expected() -> String {
        "a code of 4 to 64 visible characters of ASCII, without a comma or a colon".into()
    }

    fn schema() -> Schema {
        Schema::pattern(r"[!-+\--9;-~]{4,64}")
    }

    fn parse(text: &str) -> Option<Self> {
        let is_code =
            (4..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b',' && b != b':');
        is_code.then(|| Self(Secret::new(text.to_owned())))
    }
}

/// Codes of single subscribers.
#[derive(Clone, Debug)]
pub struct FixedCodes(pub BTreeMap<Subscriber, FixedCode>);

impl Value for FixedCodes {
    const SECRET: bool = true;

    fn expected() -> String {
        "users with their codes, such as alice:111111, bob:222222, each once".into()
    }

    fn schema() -> Schema {
        Schema::list(&Schema::pattern(r"[^,]+:\s*[!-+\--9;-~]{4,64}"), ',')
    }

    fn parse(text: &str) -> Option<Self> {
        let mut codes = BTreeMap::new();
        for pair in text.split(',') {
            let (user, code) = pair.rsplit_once(':')?;
            let subscriber = Subscriber::enrollable(user.trim()).ok()?;
            if codes.insert(subscriber, FixedCode::parse(code.trim())?).is_some() {
                return None;
            }
        }
        Some(Self(codes))
    }
}

/// Whether a section of this name is one of these.
pub fn is_fixed_section(name: &str) -> bool {
    matches!(name, "fixed" | "debug")
}

impl Fixed {
    /// What `[fixed]` among `sections` says, where `[debug]` allows it.
    pub fn of(sections: &[Section], mistakes: &mut Mistakes) -> Option<Self> {
        let mut named = |name: &str| {
            let section = sections.iter().find(|section| section.name == name)?;
            let known = FIXED_DECLARED.iter().filter(|declaration| declaration.name == name);
            declare::refuse_unknown_options(section, known.flat_map(SectionDeclaration::all), mistakes);
            Some(section)
        };
        let (fixed, debug) = (named("fixed"), named("debug"));
        let is_allowed = debug.is_some_and(|debug| {
            Debug::read(Some(debug), mistakes).is_some_and(|debug| debug.allow_insecure == YesNo::Yes)
        });
        let section = fixed?;
        let read = Self::read(Some(section), mistakes)?;
        if !is_allowed {
            let text = "[fixed]: its codes let in anybody who knows them; remove the section, or in a test write \
                        allow_insecure = yes into [debug]";
            mistakes.at_line(section.line, text);
        }
        if read.code.0.is_none() && read.codes.0.is_none() {
            mistakes.at_line(section.line, "[fixed]: has no code; write code = 123456, or codes = alice:123456");
        }
        Some(read)
    }

    /// Warns where it stands: in use, or for the day on which another client is away.
    pub fn warn(sections: &[Section], mistakes: &mut Mistakes) {
        let section = sections.iter().find(|section| section.name == "fixed");
        if let Some(section) = section {
            let text = "[fixed]: INSECURE: codes that never change let in anybody who knows them; for tests only";
            mistakes.warn_at_line(section.line, text);
        }
    }
}

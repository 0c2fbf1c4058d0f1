//! The sections of enrolment, `[challenge]` and `[page]`: read only where they stand in the file, so that a verdict pays
//! nothing for them.

use std::path::PathBuf;

use super::Config;
use super::declare::{self, SectionDeclaration};
use super::ini::Section;
use super::mistake::Mistakes;
use super::policy::defaults;
use super::value::{Count, Optional, Seconds, Shades};

options! {
    /// `[challenge]`.
    Challenge {
        /// How long an enrolment waits for the code that proves it.
        lifetime: Seconds<60, 604800> = "900";
        /// How long an action of another program waits to be confirmed and used, where the program does not say.
        action_lifetime: Seconds<1, 3600> = "300";
        /// How many codes may be tried at either.
        tries: Count<1, 100> = "5";
    }
}

options! {
    /// `[page]`.
    Page {
        /// What the page is called.
        title: String = "Set up your second factor";
        /// What else whoever reads it should know, such as whom to ask.
        notes: Optional<String> = "";
        /// An HTML file with placeholders that stands in for the page (docs/enrolment.md). Empty: the page as it is.
        template: Optional<PathBuf> = "";
        /// The ground. Where this or any of the following has one colour only, the page has no dark scheme.
        background: Optional<Shades> = "";
        /// The sheet on it.
        foreground: Optional<Shades> = "";
        /// The text.
        text: Optional<Shades> = "";
        /// What warns.
        error_text: Optional<Shades> = "";
        /// Buttons.
        button: Optional<Shades> = "";
        /// What stands on them.
        button_text: Optional<Shades> = "";
        /// Links.
        link: Optional<Shades> = "";
        /// Lines.
        border: Optional<Shades> = "";
    }
}

/// What is declared, in the order of the example file.
pub static ENROLMENT_DECLARED: &[SectionDeclaration] = &[
    SectionDeclaration {
        name: "challenge",
        doc: &[" What was asked and waits for its proof: `countersign enroll`, `countersign challenge`."],
        options: Challenge::OPTIONS,
        shared: &[],
    },
    SectionDeclaration {
        name: "page",
        doc: &[" The page that `countersign enroll --page` writes."],
        options: Page::OPTIONS,
        shared: &[],
    },
];

/// What stands in the sections of enrolment.
#[derive(Clone, Debug, Default)]
pub struct Enrolment {
    challenge: Option<Challenge>,
    page: Option<Box<Page>>,
}

impl Enrolment {
    /// What the sections of enrolment among `sections` say.
    pub fn read(sections: &[Section], mistakes: &mut Mistakes) -> Self {
        let mut read = Self::default();
        for section in sections {
            match section.name.as_str() {
                "challenge" => {
                    declare::refuse_unknown_options(section, Challenge::OPTIONS.iter(), mistakes);
                    read.challenge = Challenge::read(Some(section), mistakes);
                }
                "page" => {
                    declare::refuse_unknown_options(section, Page::OPTIONS.iter(), mistakes);
                    read.page = Page::read(Some(section), mistakes).map(Box::new);
                }
                _ => {}
            }
        }
        read
    }

    /// `[challenge]`, or its defaults.
    pub fn challenge(&self) -> Challenge {
        self.challenge.clone().unwrap_or_else(|| defaults(Challenge::read))
    }
}

impl Config {
    /// `[challenge]`, or its defaults.
    pub fn challenge(&self) -> Challenge {
        self.enrolment.challenge()
    }

    /// `[page]`, or its defaults.
    pub fn page(&self) -> Page {
        self.enrolment.page.as_deref().cloned().unwrap_or_else(|| defaults(Page::read))
    }
}

/// Whether a section of this name is one of these.
pub fn is_enrolment_section(name: &str) -> bool {
    matches!(name, "challenge" | "page")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    #[test]
    fn what_does_not_stand_in_the_file_has_its_defaults() {
        let read = |text| Config::parse(Path::new("plugin.ini"), text).unwrap();
        let (empty, half) = (read(""), read("[challenge]\ntries = 2\n[page]\nlink = blue | #8cf\n"));
        let (challenge, page) = (empty.challenge(), empty.page());
        assert_eq!((challenge.lifetime.0, challenge.tries.0), (900, 5));
        assert!(page.link.0.is_none() && page.notes.0.is_none());
        assert_eq!((half.challenge().lifetime.0, half.challenge().action_lifetime.0), (900, 300));
        assert_eq!(half.challenge().tries.0, 2);
        assert_eq!(half.page().link.0.unwrap().dark.unwrap().css(), "#88ccff");
        assert_eq!(half.page().title, page.title);
    }

    #[test]
    fn how_the_page_looks_decides_no_login() {
        let fingerprint = |text| Config::parse(Path::new("plugin.ini"), text).unwrap().fingerprint();
        assert_eq!(fingerprint("[page]\ntitle = x\n"), fingerprint(""));
    }
}

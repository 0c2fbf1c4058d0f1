//! One declaration an option: from it come the typed field, the example file, the errors and the known names.

use super::ini::Section;
use super::mistake::{Mistakes, suggestion};
use super::value::Value;
use crate::domain::foreign::Foreign;

/// What is declared of one option.
#[derive(Debug)]
pub struct OptionDeclaration {
    pub name: &'static str,
    /// The doc comment, a line each.
    pub doc: &'static [&'static str],
    pub default: &'static str,
    pub expected: fn() -> String,
}

/// What is declared of one section.
#[derive(Debug)]
pub struct SectionDeclaration {
    pub name: &'static str,
    pub doc: &'static [&'static str],
    pub options: &'static [OptionDeclaration],
}

/// The value of an option, or of its default where the file does not have it. `None` after a mistake was noted.
pub fn value<T: Value>(section: Option<&Section>, name: &str, default: &str, mistakes: &mut Mistakes) -> Option<T> {
    let Some((section, entry)) = section.and_then(|s| s.entries.iter().find(|e| e.name == name).map(|e| (s, e))) else {
        return T::parse(default);
    };
    let value = T::parse(&entry.value);
    if value.is_none() {
        let expected = T::expected();
        if T::SECRET {
            mistakes.at_option(entry.line, &section.name, name, format_args!("expected {expected}"));
        } else {
            let found = Foreign(&entry.value);
            mistakes.at_option(entry.line, &section.name, name, format_args!("expected {expected}, found \"{found}\""));
        }
    }
    value
}

/// Notes every section and option that is not declared.
pub fn refuse_unknown(sections: &[Section], declared: &[SectionDeclaration], mistakes: &mut Mistakes) {
    for section in sections {
        let Some(declaration) = declared.iter().find(|d| d.name == section.name) else {
            let hint = suggestion(&section.name, declared.iter().map(|d| d.name), true);
            mistakes.at_line(section.line, format_args!("[{}]: unknown section{hint}", Foreign(&section.name)));
            continue;
        };
        for entry in &section.entries {
            if !declaration.options.iter().any(|option| option.name == entry.name) {
                let hint = suggestion(&entry.name, declaration.options.iter().map(|option| option.name), false);
                mistakes.at_option(
                    entry.line,
                    &section.name,
                    &Foreign(&entry.name).to_string(),
                    format_args!("unknown option{hint}"),
                );
            }
        }
    }
}

/// Declares the sections: a struct each, the struct of them all, and the table that the example is printed from.
macro_rules! sections {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident = $Section:ident {
            $( $(#[doc = $doc:literal])+ $option:ident: $Type:ty = $default:literal; )+
        }
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug)]
            pub struct $Section { $( $(#[doc = $doc])+ pub $option: $Type, )+ }
        )+

        /// Every option of plugin.ini, read.
        #[derive(Clone, Debug)]
        pub struct Options { $( $(#[doc = $section_doc])+ pub $section: $Section, )+ }

        impl Options {
            /// The options in `sections`; `None` after mistakes were noted.
            pub fn read(sections: &[Section], mistakes: &mut Mistakes) -> Option<Self> {
                declare::refuse_unknown(sections, DECLARED, mistakes);
                $(
                    let found = sections.iter().find(|s| s.name == stringify!($section));
                    $( let $option = declare::value::<$Type>(found, stringify!($option), $default, mistakes); )+
                    // Every option is read before the first one that is missing ends it.
                    let $section = (|| Some($Section { $( $option: $option?, )+ }))();
                )+
                Some(Self { $( $section: $section?, )+ })
            }
        }

        /// What is declared, in the order of the example file.
        pub static DECLARED: &[SectionDeclaration] = &[ $(
            SectionDeclaration {
                name: stringify!($section),
                doc: &[ $( $section_doc, )+ ],
                options: &[ $(
                    OptionDeclaration {
                        name: stringify!($option),
                        doc: &[ $( $doc, )+ ],
                        default: $default,
                        expected: <$Type as Value>::expected,
                    },
                )+ ],
            },
        )+ ];
    };
}

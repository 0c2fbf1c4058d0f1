//! One declaration an option: from it come the typed field, the example file, the errors and the known names.

use super::ini::{Origin, Section};
use super::mistake::{Mistakes, suggestion};
use super::reading::{Reading, is_sps_section};
use super::schema::Schema;
use super::value::Value;
use crate::domain::foreign::Foreign;

/// What is declared of one option.
#[derive(Debug)]
pub struct OptionDeclaration {
    pub name: &'static str,
    /// The doc comment, a line each.
    pub doc: &'static [&'static str],
    pub default: &'static str,
    /// Whether the section cannot do without; the default then is an example.
    pub required: bool,
    /// Whether the value is a secret, or says where one lies.
    pub secret: bool,
    pub expected: fn() -> String,
    /// What JSON Schema can say of its values.
    pub schema: fn() -> Schema,
}

/// What is declared of one section.
#[derive(Debug)]
pub struct SectionDeclaration {
    pub name: &'static str,
    pub doc: &'static [&'static str],
    pub options: &'static [OptionDeclaration],
    /// Options that several sections have, declared once.
    pub shared: &'static [OptionDeclaration],
}

impl SectionDeclaration {
    /// Every option of the section, its own first.
    pub fn all(&self) -> impl Iterator<Item = &'static OptionDeclaration> + Clone {
        self.options.iter().chain(self.shared)
    }
}

/// The value of an option that `section` cannot do without. `None` after a mistake was noted.
pub fn required<T: Value>(section: Option<&Section>, name: &str, example: &str, mistakes: &mut Mistakes) -> Option<T> {
    let section = section?;
    if section.entries.iter().any(|entry| entry.name == name) {
        return value(Some(section), name, example, mistakes);
    }
    let text = format_args!("is missing; expected {}, such as {name} = {example}", T::expected());
    mistakes.at_option(section.line, &section.name, name, text);
    None
}

/// The value of an option, or of its default where the file does not have it. `None` after a mistake was noted.
pub fn value<T: Value>(section: Option<&Section>, name: &str, default: &str, mistakes: &mut Mistakes) -> Option<T> {
    let Some((section, entry)) = section.and_then(|s| s.entries.iter().find(|e| e.name == name).map(|e| (s, e))) else {
        return T::parse(default);
    };
    let note = |what: String| {
        let what = match entry.origin {
            Origin::Nowhere => return,
            Origin::Written => what,
            // What another file holds is not repeated: it may be a secret put into the wrong one.
            Origin::Stored => format!("expected {}, which what [credential_store] keeps is not", T::expected()),
        };
        mistakes.at_option(entry.line, &section.name, name, what);
    };
    T::read(&entry.value).map_err(note).ok()
}

/// Notes every option of `section` that is not in `known`.
pub fn refuse_unknown_options<'a>(
    section: &Section,
    known: impl Iterator<Item = &'a OptionDeclaration> + Clone,
    mistakes: &mut Mistakes,
) {
    for entry in &section.entries {
        if !known.clone().any(|option| option.name == entry.name) {
            let hint = suggestion(&entry.name, known.clone().map(|option| option.name), false);
            let name = Foreign(&entry.name).to_string();
            let text = format_args!("unknown option{hint}");
            match mistakes.reading() {
                Reading::Sps if is_sps_section(&section.name) => {
                    mistakes.warn_at_option(entry.line, &section.name, &name, text);
                }
                Reading::Sps | Reading::Native => mistakes.at_option(entry.line, &section.name, &name, text),
            }
        }
    }
}

/// What reads an option: as it stands, or as one that the section cannot do without.
macro_rules! read_option {
    ($found:expr, $option:ident, $Type:ty, $default:literal, $mistakes:expr) => {
        $crate::config::declare::value::<$Type>($found, stringify!($option), $default, $mistakes)
    };
    ($found:expr, $option:ident, $Type:ty, $default:literal, $mistakes:expr, required) => {
        $crate::config::declare::required::<$Type>($found, stringify!($option), $default, $mistakes)
    };
}

/// Declares options: a struct of them, how it is read, and the table that the example is printed from.
macro_rules! options {
    (
        $(#[doc = $struct_doc:literal])+
        $Struct:ident {
            $( $(#[doc = $doc:literal])+ $option:ident: $Type:ty = $($required:ident)? $default:literal; )*
        }
        $( shared $shared:ident: $Shared:ty; )?
    ) => {
        $(#[doc = $struct_doc])+
        #[derive(Clone, Debug)]
        pub struct $Struct {
            $( $(#[doc = $doc])+ pub $option: $Type, )*
            $( /// What several sections have.
            pub $shared: $Shared, )?
        }

        impl $Struct {
            /// What is declared of each option of its own.
            pub const OPTIONS: &'static [$crate::config::declare::OptionDeclaration] = &[ $(
                $crate::config::declare::OptionDeclaration {
                    name: stringify!($option),
                    doc: &[ $( $doc, )+ ],
                    default: $default,
                    required: options!(@is_required $($required)?),
                    secret: <$Type as $crate::config::value::Value>::SECRET,
                    expected: <$Type as $crate::config::value::Value>::expected,
                    schema: <$Type as $crate::config::value::Value>::schema,
                },
            )* ];

            /// The options in `found`, or their defaults; `None` after mistakes were noted.
            pub fn read(
                found: Option<&$crate::config::ini::Section>,
                mistakes: &mut $crate::config::mistake::Mistakes,
            ) -> Option<Self> {
                $( let $option = read_option!(found, $option, $Type, $default, mistakes $(, $required)?); )*
                $( let $shared = <$Shared>::read(found, mistakes); )?
                // Every option is read before the first one that is missing ends it.
                Some(Self { $( $option: $option?, )* $( $shared: $shared?, )? })
            }
        }
    };
    (@is_required) => { false };
    (@is_required required) => { true };
}

/// Declares the sections that are always there: the struct of them all, and the table that the example is printed from.
macro_rules! sections {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident = $Section:ident {
            $( $(#[doc = $doc:literal])+ $option:ident: $Type:ty = $default:literal; )+
        }
    )+) => {
        $( options! { $(#[doc = $section_doc])+ $Section { $( $(#[doc = $doc])+ $option: $Type = $default; )+ } } )+

        /// Every option of the sections that are always there.
        #[derive(Clone, Debug)]
        pub struct Options { $( $(#[doc = $section_doc])+ pub $section: $Section, )+ }

        impl Options {
            /// The options in `sections`; `None` after mistakes were noted.
            pub fn read(sections: &[Section], mistakes: &mut Mistakes) -> Option<Self> {
                $(
                    let found = sections.iter().find(|s| s.name == stringify!($section));
                    let $section = $Section::read(found, mistakes);
                )+
                Some(Self { $( $section: $section?, )+ })
            }
        }

        /// What is declared, in the order of the example file.
        pub static DECLARED: &[SectionDeclaration] = &[ $(
            SectionDeclaration {
                name: stringify!($section),
                doc: &[ $( $section_doc, )+ ],
                options: $Section::OPTIONS,
                shared: &[],
            },
        )+ ];
    };
}

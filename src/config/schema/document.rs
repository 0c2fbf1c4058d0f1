//! The schema of a section, and of the file.

use super::Json;
use crate::config::declare::{OptionDeclaration, SectionDeclaration};
use crate::config::known::{self, Called, Free};
use crate::config::options::LOG_LEVEL;
use crate::config::value::{LogLevel, Value};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of the section `name`; `None` where nobody knows it.
pub fn section(name: &str) -> Option<Json> {
    let declared = known::declarations().find(|declaration| Called::of(declaration.name).fits(name)).map(options);
    let members = declared.or_else(|| known::free().into_iter().find(|free| free.name == name).map(names))?;
    let head = [text("$schema", DIALECT), text("title", &format!("[{name}] of plugin.ini"))];
    Some(Json::Object(head.into_iter().chain(members).collect()))
}

/// The schema of the whole file: an object of sections.
pub fn file() -> Json {
    let (mut named, mut many) = (Vec::new(), Vec::new());
    for declaration in known::declarations() {
        let schema = Json::Object(options(declaration));
        match Called::of(declaration.name) {
            Called::Exactly(name) => named.push((name.to_owned(), schema)),
            called @ (Called::Numbered(_) | Called::Named(_) | Called::Stepped(_)) => {
                many.push((called.pattern(), schema))
            }
        }
    }
    named.extend(known::free().into_iter().map(|free| (free.name.to_owned(), Json::Object(names(free)))));
    let aliases = known::ALIASES.iter().filter_map(|(alias, name)| {
        let (_, schema) = named.iter().find(|(known, _)| known == name)?;
        Some(((*alias).to_owned(), schema.clone()))
    });
    let aliases: Vec<_> = aliases.collect();
    named.extend(aliases);
    Json::Object(vec![
        text("$schema", DIALECT),
        text("title", "plugin.ini of countersign"),
        text(
            "description",
            "The sections of the file, each an object of its options. A value is the text behind the first =, without \
             white space around it; a number may be a number. A value that is only a $ is to be replaced by what \
             [credential_store] keeps before it is looked at. What options say together, only countersign check judges.",
        ),
        text("type", "object"),
        member("properties", Json::Object(named)),
        member("patternProperties", Json::Object(many)),
        member("additionalProperties", Json::Flag(false)),
    ])
}

/// What there is to say of a section with these options.
fn options(declaration: &'static SectionDeclaration) -> Vec<(String, Json)> {
    let mut properties: Vec<_> = declaration.all().map(|option| (option.name.to_owned(), property(option))).collect();
    if declaration.name == "logging" {
        properties.push((LOG_LEVEL.to_owned(), log_level()));
    }
    let required = declaration.all().filter(|option| option.required).map(|option| Json::text(option.name));
    let required: Vec<Json> = required.collect();
    let mut members = vec![
        text("description", &sentences(declaration.doc)),
        text("type", "object"),
        member("properties", Json::Object(properties)),
    ];
    if !required.is_empty() {
        members.push(member("required", Json::List(required)));
    }
    members.push(member("additionalProperties", Json::Flag(false)));
    members
}

/// What there is to say of a section whose options are names.
fn names(free: Free) -> Vec<(String, Json)> {
    let Free { name: _, doc, value } = free;
    vec![
        text("description", doc),
        text("type", "object"),
        member("additionalProperties", Json::Object(value.keywords())),
    ]
}

fn property(option: &OptionDeclaration) -> Json {
    let OptionDeclaration { name: _, doc, default, required, secret, expected, schema } = option;
    let mut members = vec![text("description", &format!("{} Takes {}.", sentences(doc), expected()))];
    if *required {
        members.push(member("examples", Json::List(vec![Json::text(default)])));
    } else {
        members.push(text("default", default));
    }
    if *secret {
        members.push(member("writeOnly", Json::Flag(true)));
    }
    members.extend(schema().keywords());
    Json::Object(members)
}

/// SPS's name of `[logging] level`, which is not declared: what it says becomes the level.
fn log_level() -> Json {
    let description = format!("The same as level, by another name. Takes {}.", LogLevel::expected());
    let head = [text("description", &description), member("deprecated", Json::Flag(true))];
    Json::Object(head.into_iter().chain(LogLevel::schema().keywords()).collect())
}

/// The lines of a doc comment as one.
fn sentences(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn member(name: &str, value: Json) -> (String, Json) {
    (name.to_owned(), value)
}

fn text(name: &str, value: &str) -> (String, Json) {
    member(name, Json::text(value))
}

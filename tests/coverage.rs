//! docs/coverage.md: every feature of the systems that people come from has one row, and what a row names exists.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A row whose feature is not there yet: what it names is not looked for.
const PENDING: &str = "<!-- check -->";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The rows of the tables: their id, and the rest.
fn rows() -> Vec<(String, String)> {
    let text = read("docs/coverage.md");
    let row = |line: &str| {
        let (id, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
        let (system, number) = id.split_at_checked(1)?;
        let is_id = "PCHW".contains(system) && number.parse::<u8>().is_ok();
        is_id.then(|| (id.to_owned(), rest.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

/// What stands between backquotes in `text`.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Where the links in `text` lead.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

fn run(arguments: &[&str]) -> (bool, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_countersign")).args(arguments).env_clear().output().unwrap();
    (done.status.success(), String::from_utf8(done.stdout).unwrap())
}

/// What is wrong with a command as it is quoted: `countersign enroll USER --json`.
fn wrong_command(quoted: &str) -> Option<String> {
    let words: Vec<&str> = quoted.split(' ').skip(1).collect();
    let is_command = |word: &&&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && !word.starts_with('-');
    let commands: Vec<&str> = words.iter().take_while(is_command).copied().collect();
    let (is_known, help) = run(&[&["help"][..], &commands].concat());
    if !is_known || commands.is_empty() {
        return Some("there is no such command".into());
    }
    let missing = words.iter().find(|word| word.starts_with("--") && !help.contains(**word));
    missing.map(|option| format!("there is no {option}"))
}

/// Whether plugin.ini knows a section, or an option of it, as it is quoted: `[section]` or `[section] option`.
fn is_configured(schema: &Value, quoted: &str) -> bool {
    let (section, option) = quoted.strip_prefix('[').unwrap().split_once(']').unwrap();
    let many = schema["patternProperties"].as_object().unwrap();
    let kind = section.strip_suffix(" NAME").map(|kind| format!("^{kind} "));
    let found = match kind {
        // Steps of a service have more spaces.
        Some(kind) => many.iter().find(|(name, _)| name.starts_with(&kind) && name.matches(' ').count() == 1),
        None => schema["properties"].as_object().unwrap().get_key_value(section),
    };
    found.is_some_and(|(_, said)| option.is_empty() || said["properties"].get(option.trim()).is_some())
}

#[test]
fn every_feature_has_one_row() {
    let mut found = BTreeMap::new();
    for (id, _) in rows() {
        *found.entry(id).or_insert(0) += 1;
    }
    let expected = [("P", 22), ("C", 21), ("H", 21), ("W", 28)];
    let ids = expected.iter().flat_map(|(system, count)| (1..=*count).map(move |number| format!("{system}{number}")));
    let expected: BTreeMap<String, i32> = ids.map(|id| (id, 1)).collect();
    assert_eq!(found, expected);
    for (id, text) in rows() {
        let cells: Vec<&str> = text.trim_end().trim_end_matches('|').split(" | ").map(str::trim).collect();
        assert!(cells.len() == 2 && cells.iter().all(|cell| !cell.is_empty()), "{id}: {text}");
        assert!(
            text.contains('`') || text.contains("](") || text.contains("later step"),
            "{id} says not where: {text}"
        );
    }
}

#[test]
fn what_a_row_names_exists() {
    let schema: Value = serde_json::from_str(&run(&["check", "--schema"]).1).unwrap();
    let protocol = read("protocol.md");
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for (id, text) in rows().into_iter().filter(|(_, text)| !text.contains(PENDING)) {
        for path in links(&text) {
            if !root().join("docs").join(path).exists() {
                wrong.push(format!("{id}: there is no {path}"));
            }
            seen.insert("link");
        }
        for quoted in quoted(&text) {
            let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            let problem = match quoted {
                _ if quoted.starts_with("countersign ") => {
                    seen.insert("command");
                    wrong_command(quoted)
                }
                _ if quoted.starts_with('[') => {
                    seen.insert("option");
                    (!is_configured(&schema, quoted)).then(|| "plugin.ini does not know it".into())
                }
                _ if quoted.contains('/') => {
                    seen.insert("path");
                    (!root().join(quoted).exists()).then(|| "there is no such file".into())
                }
                _ if quoted.contains('_') && is_word(quoted) => {
                    seen.insert("word");
                    (!protocol.contains(quoted)).then(|| "protocol.md does not know it".into())
                }
                _ => None,
            };
            wrong.extend(problem.map(|problem| format!("{id}: `{quoted}`: {problem}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["command", "link", "option", "path", "word"]);
}

#[test]
fn a_row_is_held_to_what_it_names() {
    let schema: Value = serde_json::from_str(&run(&["check", "--schema"]).1).unwrap();
    for quoted in ["countersign frobnicate", "countersign enroll USER --frob", "countersign keys spin", "countersign"] {
        assert!(wrong_command(quoted).is_some(), "{quoted}");
    }
    assert_eq!(wrong_command("countersign keys rotate"), None);
    assert_eq!(wrong_command("countersign list --json"), None);
    for (quoted, expected) in
        [("[totp]", true), ("[totp] digits", true), ("[http NAME] url", true), ("[totp] x", false), ("[topt]", false)]
    {
        assert_eq!(is_configured(&schema, quoted), expected, "{quoted}");
    }
    assert!(quoted("a `b` c `d`").eq(["b", "d"]) && links("[a](b) [c](d)").eq(["b", "d"]));
    let rows = rows();
    let pending = rows.iter().filter(|(_, text)| text.contains(PENDING)).count();
    assert!(pending < rows.len(), "nothing is held");
}

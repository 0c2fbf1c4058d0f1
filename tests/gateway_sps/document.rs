//! docs/gateways/sps.md: its examples are run, to the letter.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::{STEP, alice, lines};

/// Fits `found` to what the document says, where `<name>` is whatever it is the first time.
fn matches(expected: &str, found: &str, names: &mut BTreeMap<String, String>) -> bool {
    let (mut expected, mut found) = (expected, found);
    while let Some((before, rest)) = expected.split_once('<') {
        let Some((name, after)) = rest.split_once('>') else { return false };
        let Some(behind) = found.strip_prefix(before) else { return false };
        let value = match names.get(name) {
            Some(value) => value.clone(),
            None => {
                let end = after.chars().next().and_then(|end| behind.find(end)).unwrap_or(behind.len());
                names.insert(name.to_owned(), behind[..end].to_owned());
                behind[..end].to_owned()
            }
        };
        let Some(behind) = behind.strip_prefix(value.as_str()) else { return false };
        (expected, found) = (after, behind);
    }
    expected == found
}

#[test]
fn every_example_is_what_happens() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gateways/sps.md");
    let text = fs::read_to_string(path).unwrap();
    let examples: Vec<&str> =
        text.split("```json\n").skip(1).map(|rest| rest.split_once("```").expect("an end").0).collect();
    assert_eq!(examples.len(), 3);
    let mut answers = 0;
    for example in examples {
        let (home, phone) = alice();
        let mut names = BTreeMap::from([("code".to_owned(), phone.code(STEP)), ("step".to_owned(), STEP.to_string())]);
        let mut found: Vec<String> = Vec::new();
        for line in example.lines() {
            if let Some(request) = line.strip_prefix("> ") {
                let filled = names
                    .iter()
                    .fold(request.to_owned(), |line, (name, value)| line.replace(&format!("<{name}>"), value));
                found.extend(lines(&home, filled + "\n"));
            } else {
                let (expected, found) = (line.strip_prefix("< ").expect("an answer"), found.remove(0));
                assert!(matches(expected, &found, &mut names), "says   {expected}\nfound  {found}");
                answers += 1;
            }
        }
        assert!(found.is_empty());
    }
    assert_eq!(answers, 9);
}

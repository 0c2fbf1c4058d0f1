//! docs/ways-in.md: every way has one row, and the tests that a row names exist.

#![expect(clippy::unwrap_used, reason = "a test ends where its helpers fail")]

use std::fs;
use std::path::Path;

/// The text of every source and test.
fn sources(directory: &Path, into: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn each_way_in_names_the_tests_that_try_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for directory in ["src", "tests", "pam/src"] {
        sources(&root.join(directory), &mut text);
    }
    let page = fs::read_to_string(root.join("docs/ways-in.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #")).collect();
    let mut missing = Vec::new();
    for (row, at) in rows.iter().zip(1..) {
        assert!(row.starts_with(&format!("| {at} |")), "the rows have their numbers in order: {row}");
        let names =
            row.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 2 || name.ends_with("lines"));
        let is_there = |name: &&str| !text.contains(&format!("fn {name}("));
        missing.extend(names.filter(is_there));
    }
    assert!(missing.is_empty(), "{missing:?}");
    println!("{} ways in, each with the tests that try it", rows.len());
    assert_eq!(rows.len(), 43);
}

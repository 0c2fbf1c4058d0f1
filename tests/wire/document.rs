//! protocol.md: its examples are run, and everything that can be on the wire is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::rig::{Gateway, Home, attempt};
use crate::{NOW, STEP, alice};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A fenced block of JSON lines: what is written behind `json`, the line it begins at, and its lines.
struct Example {
    situation: String,
    at: usize,
    lines: Vec<String>,
}

fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut open = false;
    for (index, line) in read("protocol.md").lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(info) => {
                open = true;
                let situation = info.strip_prefix("json").expect("a block that a test runs").trim().to_owned();
                examples.push(Example { situation, at: index + 2, lines: Vec::new() });
            }
            None if open => examples.last_mut().unwrap().lines.push(line.to_owned()),
            None => {}
        }
    }
    examples
}

/// What the placeholders of one example stand for.
struct Placeholders(BTreeMap<String, String>);

impl Placeholders {
    /// The line with every placeholder in it replaced; all must be known.
    fn fill(&self, line: &str) -> String {
        let mut filled = line.to_owned();
        for (name, value) in &self.0 {
            filled = filled.replace(&format!("<{name}>"), value);
        }
        assert!(!filled.contains('<'), "a placeholder that nothing has told yet: {filled}");
        filled
    }

    /// Whether `found` is what the document says; a placeholder is whatever it is the first time.
    fn matches(&mut self, expected: &Value, found: &Value) -> bool {
        match (expected, found) {
            (Value::String(text), Value::String(found)) => {
                match text.strip_prefix('<').and_then(|text| text.strip_suffix('>')) {
                    // Another one each time.
                    Some("trace") => !found.is_empty(),
                    Some(name) => self.0.entry(name.to_owned()).or_insert_with(|| found.clone()) == found,
                    None => text == found,
                }
            }
            (Value::Object(expected), Value::Object(found)) => {
                let (keys, found_keys): (Vec<_>, Vec<_>) = (expected.keys().collect(), found.keys().collect());
                keys == found_keys && keys.iter().all(|key| self.matches(&expected[*key], &found[*key]))
            }
            (Value::Array(expected), Value::Array(found)) => {
                expected.len() == found.len()
                    && expected.iter().zip(found).all(|(expected, found)| self.matches(expected, found))
            }
            (expected, found) => expected == found,
        }
    }
}

#[test]
fn every_example_is_what_happens() {
    let examples = examples();
    let answers: usize = examples.iter().map(|e| e.lines.iter().filter(|line| line.starts_with("< ")).count()).sum();
    assert!(examples.len() >= 8 && answers >= 16, "the examples of protocol.md were not found");
    for Example { situation, at, lines } in examples {
        let (home, phone) = alice();
        let mut placeholders = Placeholders(BTreeMap::from([
            ("code".into(), phone.code(STEP)),
            ("code+1".into(), phone.code(STEP + 1)),
            ("version".into(), env!("CARGO_PKG_VERSION").into()),
        ]));
        if situation == "sent" {
            send_codes(&home);
        }
        let mut gateway = Gateway::start(&home);
        let held = match situation.as_str() {
            "" | "sent" => None,
            "held" => Some(home.hold_store()),
            "throttled" => {
                for _ in 0..6 {
                    assert_eq!(gateway.ask(&attempt(0, "alice", &phone.wrong_code(NOW))).code(), "wrong_code");
                }
                None
            }
            other => panic!("protocol.md:{at}: no situation is called {other}"),
        };
        for (index, line) in lines.iter().enumerate() {
            let place = format!("protocol.md:{}", at + index);
            if let Some(request) = line.strip_prefix("> ") {
                if request.contains("<sent code>") {
                    placeholders.0.insert("sent code".into(), sent_code(&home));
                }
                gateway.send_raw(placeholders.fill(request) + "\n");
            } else if let Some(expected) = line.strip_prefix("< ") {
                let expected: Value = serde_json::from_str(expected).expect(&place);
                let found = serde_json::from_slice(&gateway.line_of(&expected["id"])).unwrap();
                assert!(placeholders.matches(&expected, &found), "{place}\nsays  {expected}\nfound {found}");
            } else {
                panic!("{place}: neither to nor from countersign");
            }
        }
        drop(held);
        let (rest, finished) = gateway.end();
        assert!(rest.is_empty(), "protocol.md:{at} leaves out {rest:?}");
        finished.ok();
    }
}

/// Makes codes go to a number of alice's, by a program that keeps them.
fn send_codes(home: &Home) {
    home.set("plugin", "clients", "notify sms");
    let sent = home.dir().join("sent");
    let command = format!("/bin/sh {} {}", home.dir().join("send").display(), sent.display());
    home.keep("send", "exec /bin/cat > \"$1\"\n");
    home.append(&format!("[notify sms]\nvia = command\ncommand = {command}\ntitle = SMS\n"));
    let enrol = ["enroll", "alice", "--client", "notify sms", "--target", "+4366012344711", "--label", "SMS", "--json"];
    let pending: Value = serde_json::from_str(&home.run(&enrol, "").ok().stdout).unwrap();
    home.run(&["enroll", "confirm", pending.get("challenge").unwrap().as_str().unwrap()], sent_code(home)).ok();
}

/// The code that was sent last.
fn sent_code(home: &Home) -> String {
    let message = fs::read_to_string(home.dir().join("sent")).unwrap();
    message.strip_prefix("Your code is ").unwrap().split('.').next().unwrap().to_owned()
}

/// The words in quotes that follow `marker` in `code`.
fn words_after(code: &str, marker: &str) -> BTreeSet<String> {
    let quoted = |rest: &str| rest.trim_start().strip_prefix('"')?.split_once('"').map(|(word, _)| word.to_owned());
    code.match_indices(marker).filter_map(|(at, _)| quoted(&code[at + marker.len()..])).collect()
}

/// The part of a source file that is not its unit tests.
fn source(path: &str) -> String {
    read(path).split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

fn assert_all_mentioned(words: &BTreeSet<String>, some: &[&str]) {
    let pages = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gateways")).unwrap();
    let pages: String = pages.map(|page| fs::read_to_string(page.unwrap().path()).unwrap()).collect();
    let document = read("protocol.md") + &pages;
    for word in some {
        assert!(words.contains(*word), "the source is not read as it is meant to be: no {word} in {words:?}");
    }
    for word in words {
        assert!(document.contains(&format!("`{word}`")), "no document mentions `{word}`");
    }
}

#[test]
fn every_error_class_and_code_is_mentioned() {
    let mut words = BTreeSet::new();
    for (path, function) in [("src/domain/outcome.rs", "fn code("), ("src/domain/fault.rs", "fn word(")] {
        let code = source(path);
        assert!(code.contains(function), "{path}: {function}");
        for body in code.split(function).skip(1) {
            let (body, _) = body.split_once("\n    }\n").expect(function);
            words.extend(words_after(body, "=>"));
        }
    }
    let mut files = vec!["src/serve.rs".to_owned(), "src/serve/decide.rs".to_owned(), "src/engine.rs".to_owned()];
    let mut directories = vec!["src/gateway".to_owned(), "src/client".to_owned(), "src/engine".to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(&directory)).expect("a directory") {
            let entry = entry.expect("an entry");
            let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    for path in files {
        let code = source(&path);
        for marker in ["invalid(", "internal(", "code:", "\"code\":", "Error,", "communication(", "unreachable("] {
            words.extend(words_after(&code, marker));
        }
    }
    // Messages and reasons are sentences.
    words.retain(|word| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    });
    let some = [
        "internal_error",
        "policy_denied",
        "wrong_code",
        "throttled",
        "cancelled",
        "not_json",
        "wrong_type",
        "line_too_long",
        "unknown_type",
        "deadline_exceeded",
        "panic",
        "store_failed",
        "secret_unreadable",
        "no_client",
        "encoding_failed",
        "push_unanswered",
        "connection_refused",
        "tls_failed",
    ];
    assert_all_mentioned(&words, &some);
}

#[test]
fn every_field_is_mentioned() {
    let code = source("src/gateway/json.rs") + &source("src/gateway/fields.rs") + &source("src/gateway/challenge.rs");
    let mut fields = BTreeSet::new();
    for marker in ["take(", "text(", "texts(", "number(", "port(", "flag("] {
        fields.extend(words_after(&code, marker));
    }
    fields.extend(["otp".to_owned(), "gu".to_owned(), "username".to_owned()]);
    // What is written: the fields of the structs that are serialised.
    for (wire, prefix) in [
        ("Answer", ""),
        ("WireError", "error."),
        ("WireQuestion", "question."),
        ("WireChallenge", ""),
        ("WireHello", ""),
    ] {
        let (_, body) = code.split_once(&format!("struct {wire}<'a> {{")).expect(wire);
        let (body, _) = body.split_once('}').expect(wire);
        let names =
            body.lines().map(str::trim).filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
        fields.extend(
            names.map(|(name, _)| format!("{prefix}{name}")).filter(|name| name != "error" && name != "question"),
        );
    }
    assert_all_mentioned(
        &fields,
        &["key_value_pairs", "target", "v", "client_port", "gateway_groups", "retry_after_s"],
    );
}

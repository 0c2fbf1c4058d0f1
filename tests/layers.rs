//! Holds the layer table of `src/lib.rs`, and what each layer may not do, by reading the source text.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A source file: its path below `src`, and its code without comments, literals and test modules.
struct Source {
    path: String,
    code: String,
}

impl Source {
    /// The modules that lead to the file, from the root: none for `lib.rs` and `main.rs`.
    fn module(&self) -> Vec<&str> {
        let name = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        if matches!(name, "lib" | "main") { Vec::new() } else { name.split('/').collect() }
    }

    /// Where `text` stands in the code as a whole: neither behind nor before a letter, digit or underscore.
    fn lines_with(&self, text: &str) -> Vec<String> {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let found = self.code.match_indices(text).filter(|(at, _)| {
            let before = self.code[..*at].chars().next_back();
            let after = self.code[at + text.len()..].chars().next();
            let (first, last) = (text.chars().next(), text.chars().next_back());
            let joined = |inner: Option<char>, outer: Option<char>| inner.is_some_and(word) && outer.is_some_and(word);
            !joined(first, before) && !joined(last, after)
        });
        found.map(|(at, _)| self.place(at)).collect()
    }

    fn place(&self, at: usize) -> String {
        format!("src/{}:{}", self.path, self.code[..at].matches('\n').count() + 1)
    }

    /// The top-level modules that the code names, each with its place.
    fn uses(&self) -> Vec<(String, String)> {
        let mut uses = Vec::new();
        for (at, _) in self.code.match_indices("crate::") {
            if !self.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                uses.extend(heads(&self.code[at + "crate::".len()..]).into_iter().map(|name| (name, self.place(at))));
            }
        }
        let depth = self.module().len();
        for (at, _) in self.code.match_indices("super::") {
            let behind = &self.code[at..];
            let rest = behind.trim_start_matches("super::");
            let chain = (behind.len() - rest.len()) / "super::".len();
            if !self.code[..at].ends_with("super::") && depth > 0 && chain >= depth {
                uses.extend(heads(rest).into_iter().map(|name| (name, self.place(at))));
            }
        }
        uses
    }
}

/// The first names of the path, or of the braced list of paths, that `text` begins with.
fn heads(text: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(list) = text.strip_prefix('{') else { return vec![name(text)] };
    let mut depth = 0;
    let mut names = Vec::new();
    let mut start = 0;
    for (at, c) in list.char_indices() {
        match c {
            ',' if depth == 0 => {
                names.push(name(list[start..at].trim()));
                start = at + 1;
            }
            '}' if depth == 0 => {
                names.push(name(list[start..at].trim()));
                break;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Every source file.
fn sources() -> Vec<Source> {
    let root = root();
    let mut files = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a readable directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).expect("readable");
            let path = path.strip_prefix(&root).expect("below src").to_str().expect("UTF-8").to_owned();
            Source { path, code: without_tests(&without_text(&text)) }
        })
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// `text` with everything in comments and literals replaced by spaces; lines stay where they are.
fn without_text(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    let blank = |code: &mut String, from: usize, to: usize| {
        for c in &chars[from..to] {
            code.push(if *c == '\n' { '\n' } else { ' ' });
        }
    };
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => comment_end(&chars, at),
            '"' => string_end(&chars, at + 1),
            'r' if !is_word_before(&chars, at) && raw_hashes(&chars, at + 1).is_some() => raw_end(&chars, at + 1),
            '\'' if chars.get(at + 1) == Some(&'\\') => character_end(&chars, at),
            '\'' if chars.get(at + 2) == Some(&'\'') => at + 3,
            c => {
                // The b or c before a raw string is code like any other letter.
                code.push(c);
                at += 1;
                continue;
            }
        };
        let end = end.min(chars.len());
        blank(&mut code, at, end);
        at = end;
    }
    code
}

fn is_word_before(chars: &[char], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| chars[before]) else { return false };
    let prefix = matches!(before, 'b' | 'c') && !is_word_before(chars, at - 1);
    (before.is_alphanumeric() || before == '_') && !prefix
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length)
}

fn comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) if depth == 1 => return at + 2,
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn character_end(chars: &[char], at: usize) -> usize {
    // Behind the backslash and the character that it stands before.
    chars.iter().skip(at + 3).position(|c| *c == '\'').map_or(chars.len(), |length| at + 3 + length + 1)
}

fn raw_hashes(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + hashes) == Some(&'"')).then_some(hashes)
}

fn raw_end(chars: &[char], at: usize) -> usize {
    let hashes = raw_hashes(chars, at).unwrap_or_default();
    let mut at = at + hashes + 1;
    while at < chars.len() {
        if chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// `code` without the items under `#[cfg(test)]`; lines stay where they are.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, item) = rest.split_at(at);
        kept.push_str(before);
        let end = item_end(item);
        kept.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    kept.push_str(rest);
    kept
}

/// Where the item ends: behind its braces, or behind its semicolon where it has none.
fn item_end(item: &str) -> usize {
    let mut depth = 0;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// The modules of the table in the doc comment of `lib.rs`, with their layers.
fn table() -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(root().join("lib.rs")).expect("readable");
    let mut table = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<_> = line.strip_prefix("//! |").unwrap_or_default().split('|').map(str::trim).collect();
        let [layer, modules, ..] = cells.as_slice() else { continue };
        let Ok(layer) = layer.parse() else { continue };
        for module in modules.split(',') {
            let name = module.trim().trim_matches('`').to_owned();
            assert!(table.insert(name, layer).is_none(), "{module} is in the table twice");
        }
    }
    table
}

fn assert_nowhere(found: Vec<String>, what: &str) {
    assert!(found.is_empty(), "{what}: {}", found.join(", "));
}

#[test]
fn every_module_is_in_the_layer_table_and_nothing_else_is() {
    let sources = sources();
    let declared: BTreeSet<String> = sources
        .iter()
        .filter(|source| source.path == "lib.rs")
        .flat_map(|source| source.code.lines().filter_map(|line| line.trim().strip_suffix(';')?.split_once("mod ")))
        .map(|(_, name)| name.to_owned())
        .collect();
    let files: BTreeSet<String> = sources.iter().filter_map(|s| s.module().first().map(|m| (*m).to_owned())).collect();
    let table: BTreeSet<String> = table().into_keys().collect();
    assert!(table.len() > 10, "the table was not found: {table:?}");
    assert_eq!(files, table, "files below src, and the table");
    assert_eq!(declared, table, "modules declared in lib.rs, and the table");
}

#[test]
fn a_module_uses_only_modules_of_lower_layers() {
    let table = table();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for source in sources() {
        let Some(module) = source.module().first().map(|module| (*module).to_owned()) else { continue };
        for (used, place) in source.uses() {
            count += 1;
            let (Some(layer), Some(below)) = (table.get(&module), table.get(&used)) else {
                wrong.push(format!("{place}: {used} is not a module of the table"));
                continue;
            };
            if used != module && below >= layer {
                wrong.push(format!("{place}: {module} (layer {layer}) uses {used} (layer {below})"));
            }
        }
    }
    assert!(count > 100, "the imports were not found");
    assert_nowhere(wrong, "upward and sideward imports");
}

#[test]
fn the_executable_uses_the_top_layer_only() {
    let table = table();
    let top = table.values().max().expect("a table");
    let main = sources().into_iter().find(|source| source.path == "main.rs").expect("main.rs");
    for (at, mark) in main.code.match_indices("countersign::") {
        for used in heads(&main.code[at + mark.len()..]) {
            assert_eq!(table.get(&used), Some(top), "{}: {used}", main.place(at));
        }
    }
}

#[test]
fn domain_knows_no_wire_no_io_and_no_clock() {
    let words = [
        "serde",
        "serde_json",
        "tokio",
        "rusqlite",
        "tracing",
        "clap",
        "std::io",
        "std::fs",
        "std::env",
        "std::net",
        "std::process",
        "std::thread",
        "SystemTime",
        "Instant::now",
    ];
    let domain = sources().into_iter().filter(|source| source.path.starts_with("domain/"));
    let found = domain.flat_map(|source| words.iter().flat_map(move |word| source.lines_with(word))).collect();
    assert_nowhere(found, "in the domain");
}

#[test]
fn rules_and_algorithms_touch_no_stream_no_file_and_no_clock() {
    let words = ["tokio", "rusqlite", "std::io", "std::fs", "std::env", "std::thread", "SystemTime", "Instant"];
    let pure = sources().into_iter().filter(|s| ["policy/", "otp/", "gateway/"].iter().any(|p| s.path.starts_with(p)));
    let found = pure.flat_map(|source| words.iter().flat_map(move |word| source.lines_with(word))).collect();
    assert_nowhere(found, "in policy, otp or gateway");
}

#[test]
fn one_module_reads_the_wall_clock() {
    let others = sources().into_iter().filter(|source| source.path != "clock.rs");
    assert_nowhere(others.flat_map(|s| s.lines_with("SystemTime::now")).collect(), "the wall clock is read");
}

/// The steady clock measures how long something took; what may depend on it is listed.
#[test]
fn the_steady_clock_is_read_where_waiting_is_measured() {
    let readers: BTreeSet<_> =
        sources().into_iter().filter(|s| !s.lines_with("Instant::now").is_empty()).map(|s| s.path).collect();
    let measure = [
        "admin/demo.rs",
        "admin/gateway/once.rs",
        "clock.rs",
        "serve.rs",
        "serve/connect.rs",
        "serve/listen.rs",
        "serve/watchdog.rs",
        "store/sqlite/open.rs",
    ];
    let measure: BTreeSet<_> = measure.into_iter().map(ToOwned::to_owned).collect();
    let found = readers.difference(&measure).cloned().collect();
    assert_nowhere(found, "the steady clock is read");
}

#[test]
fn the_decision_knows_no_backend_client_or_wire() {
    let engine: Vec<_> = sources().into_iter().filter(|source| source.module().first() == Some(&"engine")).collect();
    assert!(engine.len() > 1, "the engine's files are not where this test looks");
    let words = ["sqlite", "SqliteStore", "TotpClient", "totp", "serde", "serde_json", "tracing", "std::io", "std::fs"];
    let found = engine.iter().flat_map(|source| words.iter().flat_map(|word| source.lines_with(word)));
    assert_nowhere(found.collect(), "in the engine");
}

#[test]
fn nothing_is_unsafe() {
    assert_nowhere(sources().iter().flat_map(|source| source.lines_with("unsafe")).collect(), "unsafe code");
}

#[test]
fn nothing_is_printed_past_the_streams() {
    for word in ["print!", "println!", "eprint!", "eprintln!", "dbg!"] {
        assert_nowhere(sources().iter().flat_map(|source| source.lines_with(word)).collect(), word);
    }
}

/// Programs are started with their arguments one by one: no value can become another command.
#[test]
fn no_shell_is_run() {
    let text = |source: &Source| std::fs::read_to_string(root().join(&source.path)).expect("readable");
    let runs = |source: &Source| {
        ["\"sh\"", "\"bash\"", "/bin/sh", "/bin/bash", "\"-c\""].iter().any(|word| text(source).contains(word))
    };
    assert_nowhere(
        sources().iter().filter(|source| runs(source)).map(|source| source.path.clone()).collect(),
        "a shell",
    );
}

#[test]
fn an_accept_is_built_in_one_place() {
    let mut built = Vec::new();
    for source in sources() {
        for (at, name) in source.code.match_indices("Accept") {
            let rest = source.code[at + name.len()..].trim_start();
            let before = source.code[..at].trim_end();
            let is_longer = before.len() == at && before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if is_longer || rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let what = match rest.chars().next() {
                Some('{') if before.ends_with("struct") => continue,
                // impl Accept { or impl X for Accept {: a place where Self { … } would build one.
                Some('{') if before.ends_with("impl") || before.ends_with("for") => "is given functions",
                Some('{' | '(') if is_pattern(rest) || is_inside_pattern(&source.code, at) => continue,
                // Verdict::Accept(Accept { … }) is counted once, by the inner name.
                Some('(') if rest[1..].trim_start().starts_with("Accept {") => continue,
                // The variant is declared with its type.
                Some('(') if source.path == "domain/verdict.rs" => continue,
                Some('{') => "is built",
                Some('(') => "is wrapped",
                Some(_) | None => continue,
            };
            built.push(format!("{what} at {}", source.place(at)));
        }
    }
    assert!(built.len() == 1 && built[0].starts_with("is built at src/engine/admit.rs:"), "{}", built.join(", "));
    let verdict = sources().into_iter().find(|source| source.path == "domain/verdict.rs").expect("verdict.rs");
    let (before, _) = verdict.code.split_once("pub struct Accept").expect("the struct");
    let derived = before.lines().rfind(|line| line.contains("derive")).expect("its derive").trim();
    assert_eq!(derived, "#[derive(Clone, Debug)]", "nothing else may build an accept");
}

/// Whether the bracket that `text` begins with closes before what makes it a pattern: `=>`, `=` or `|`.
fn is_pattern(text: &str) -> bool {
    let mut depth = 0_i32;
    for (at, c) in text.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let behind = text[at + c.len_utf8()..].trim_start();
            return (behind.starts_with('=') && !behind.starts_with("==")) || behind.starts_with('|');
        }
    }
    false
}

/// Whether the name at `at` stands in brackets that are a pattern: `Verdict::Accept(Accept { … }) =>`.
fn is_inside_pattern(code: &str, at: usize) -> bool {
    let before = code[..at].trim_end();
    before.ends_with('(') && is_pattern(&code[before.len() - 1..])
}

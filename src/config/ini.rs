//! The text of plugin.ini, through configparser, with its holes closed.
//!
//! The crate is tolerant: it cuts values at `#` and `;`, merges duplicate sections, lets the last of two options win,
//! takes a line without `=` for an option without a value, loses the section behind a byte-order mark and everything
//! in a file whose lines end in a bare carriage return. So each line is looked at first; what the crate would bend is
//! refused here with its line. What then reaches the crate is read as it stands, and the two readings must agree.

mod sps;

use std::collections::HashMap;

use configparser::ini::Ini;

use super::mistake::Mistakes;
use super::reading::Reading;
use crate::domain::foreign::Foreign;

/// One `[section]` of the file.
#[derive(Debug)]
pub struct Section {
    pub name: String,
    pub line: usize,
    pub entries: Vec<Entry>,
}

impl Section {
    /// What is written for an option, where it is.
    pub fn value(&self, option: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.name == option).map(|entry| entry.value.as_str())
    }

    /// Where an option stands; where it does not, where the section begins.
    pub fn line_of(&self, option: &str) -> usize {
        self.entries.iter().find(|entry| entry.name == option).map_or(self.line, |entry| entry.line)
    }
}

/// One `name = value` line.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub line: usize,
    pub value: String,
    pub origin: Origin,
}

impl Entry {
    /// The value, to be shown: what another file holds may be a secret put into the wrong one.
    pub fn shown_value(&self) -> &str {
        match self.origin {
            Origin::Written => &self.value,
            Origin::Stored | Origin::Nowhere => "<redacted>",
        }
    }
}

/// Where a value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In this file.
    Written,
    /// Where `[credential_store]` says.
    Stored,
    /// Nowhere, which was told already.
    Nowhere,
}

/// The sections of `text` in order, by the rules that `mistakes` names; what is wrong with its form goes there.
pub fn parse(text: &str, mistakes: &mut Mistakes) -> Vec<Section> {
    match mistakes.reading() {
        Reading::Native => {
            let (sections, said) = scan(text, mistakes);
            if mistakes.is_empty() {
                agree(&sections, said, mistakes);
            }
            sections
        }
        Reading::Sps => {
            let mut sections = sps::scan(text, mistakes);
            if mistakes.is_empty() {
                agree(&sections, text.to_owned(), mistakes);
            }
            sps::unescape(&mut sections, mistakes);
            sections
        }
    }
}

/// Notes every option that the crate reads otherwise in `text`.
fn agree(sections: &[Section], text: String, mistakes: &mut Mistakes) {
    let is_sps = mistakes.reading() == Reading::Sps;
    let mut ini = Ini::new_cs();
    let mut defaults = ini.defaults();
    defaults.delimiters = if is_sps { vec!['=', ':'] } else { vec!['='] };
    defaults.comment_symbols = vec!['#', ';'];
    defaults.inline_comment_symbols = Some(Vec::new());
    defaults.enable_inline_comments = false;
    defaults.multiline = is_sps;
    ini.load_defaults(defaults);
    let map = match ini.read(text) {
        Ok(map) => map,
        Err(error) => {
            mistakes.at_line(1, format_args!("not an INI file: {}", Foreign(&error)));
            return;
        }
    };
    for section in sections {
        let values = map.get(section.name.trim());
        let lower: HashMap<String, &Option<String>> = match mistakes.reading() {
            Reading::Sps => values.into_iter().flatten().map(|(name, value)| (name.to_lowercase(), value)).collect(),
            Reading::Native => HashMap::new(),
        };
        for entry in &section.entries {
            let found = if is_sps {
                lower.get(&entry.name).copied()
            } else {
                values.and_then(|values| values.get(&entry.name))
            };
            match found {
                Some(Some(value)) if *value == entry.value => {}
                Some(Some(value)) if value.is_empty() && entry.value.is_empty() => {}
                Some(_) | None => {
                    mistakes.at_line(entry.line, "this line can be read in more than one way; write it as name = value")
                }
            }
        }
    }
}

/// Whether `text` has lines that can be read; a byte-order mark before them is noted.
fn preface(text: &str, mistakes: &mut Mistakes) -> bool {
    if text.starts_with('\u{feff}') {
        mistakes.at_line(1, "the file begins with a byte-order mark; save it as UTF-8 without one");
    }
    if has_returns(text) && !text.contains('\n') {
        mistakes.at_line(1, "the lines end in carriage returns only; end them in line feeds");
        return false;
    }
    true
}

/// Refuses a section whose options would count in all others.
fn default_section(sections: &[Section], is_default: impl Fn(&str) -> bool, mistakes: &mut Mistakes) {
    for section in sections.iter().filter(|section| is_default(&section.name)) {
        let others = sections.iter().filter(|other| !is_default(&other.name));
        let others: Vec<String> = others.map(|other| format!("[{}]", Foreign(&other.name))).collect();
        let leak = if section.entries.is_empty() || others.is_empty() {
            String::new()
        } else {
            format!(": these would count in {} as well", others.join(", "))
        };
        let text =
            format!("[{}]: there are no options for all sections{leak}; write them where they belong", section.name);
        mistakes.at_line(section.line, text);
    }
}

/// The lines of `text`, as [`str::lines`] has them: most are comments, which every process that starts goes past.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let whole = rest;
        if whole.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', whole.as_bytes()).unwrap_or(whole.len());
        let (line, behind) = whole.split_at_checked(end)?;
        rest = behind.strip_prefix('\n').unwrap_or(behind);
        let is_ended = behind.len() > rest.len();
        Some(line.strip_suffix('\r').filter(|_| is_ended).unwrap_or(line))
    })
}

fn has_returns(text: &str) -> bool {
    memchr::memchr(b'\r', text.as_bytes()).is_some()
}

/// The lines as they stand, each either blank, a comment, `[section]` or `name = value`, nothing twice; and the text of
/// those that say something.
fn scan(text: &str, mistakes: &mut Mistakes) -> (Vec<Section>, String) {
    if !preface(text, mistakes) {
        return (Vec::new(), String::new());
    }
    let returns = has_returns(text);
    let mut said = String::new();
    let mut sections: Vec<Section> = Vec::new();
    let mut section_lines: HashMap<String, usize> = HashMap::new();
    for (index, line) in lines(text.trim_start_matches('\u{feff}')).enumerate() {
        let number = index + 1;
        // A lone carriage return may hide a line behind a comment.
        if !returns && line.starts_with(['#', ';']) {
            continue;
        }
        let suspect = line.bytes().any(|b| (b < b' ' && b != b'\t') || b > b'~');
        if suspect && let Some(c) = line.chars().find(|c| c.is_control() && *c != '\t') {
            mistakes.at_line(number, format_args!("holds the control character U+{:04X}", u32::from(c)));
            continue;
        }
        let trimmed = line.trim_matches([' ', '\t']);
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        said.push_str(line);
        said.push('\n');
        if line.starts_with([' ', '\t']) {
            mistakes.at_line(
                number,
                "begins with white space; a value stands on one line, and options and sections begin at its start",
            );
        } else if trimmed.starts_with('[') {
            match trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(name) if !name.trim().is_empty() && !name.contains(['[', ']']) && name.trim() == name => {
                    if let Some(first) = section_lines.insert(name.to_owned(), number) {
                        mistakes.at_line(
                            number,
                            format_args!("[{}]: the section is there already, at line {first}", Foreign(name)),
                        );
                    }
                    sections.push(Section { name: name.to_owned(), line: number, entries: Vec::new() });
                }
                Some(_) | None => mistakes.at_line(number, "expected a section such as [totp], and nothing after it"),
            }
        } else {
            entry(trimmed, number, sections.last_mut(), mistakes);
        }
    }
    default_section(&sections, |name| name.eq_ignore_ascii_case("default"), mistakes);
    (sections, said)
}

fn entry(line: &str, number: usize, section: Option<&mut Section>, mistakes: &mut Mistakes) {
    let Some((name, value)) = line.split_once('=') else {
        // The line may be a secret that lost its name: it is not repeated.
        mistakes.at_line(number, "expected name = value");
        return;
    };
    let (name, value) = (name.trim(), value.trim());
    let Some(section) = section else {
        mistakes.at_line(
            number,
            format_args!("{}: stands before the first section; put it below one such as [plugin]", Foreign(name)),
        );
        return;
    };
    if name.is_empty() {
        mistakes.at_line(number, format_args!("[{}]: expected a name before the =", Foreign(&section.name)));
        return;
    }
    if let Some(first) = section.entries.iter().find(|e| e.name == name) {
        mistakes.at_line(
            number,
            format_args!(
                "[{}] {}: the option is there already, at line {}",
                Foreign(&section.name),
                Foreign(name),
                first.line
            ),
        );
        return;
    }
    section.entries.push(Entry {
        name: name.to_owned(),
        line: number,
        value: value.to_owned(),
        origin: Origin::Written,
    });
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Reading;

    fn mistakes(text: &str) -> String {
        let mut mistakes = Mistakes::new(Path::new("f"), Reading::Native);
        parse(text, &mut mistakes);
        mistakes.to_string()
    }

    #[test]
    fn a_value_is_everything_behind_the_first_equals_sign() {
        let mut none = Mistakes::new(Path::new("f"), Reading::Native);
        let text = "; c\n[a b=c]\nurl = https://h/p;v=1#x\nempty =\npercent = 100%\nquoted = \"q\"\nunicode = \u{a0}ž\u{a0}\ncolon = a:b\n";
        let sections = parse(text, &mut none);
        assert!(none.is_empty(), "{none}");
        let values: Vec<_> = sections[0].entries.iter().map(|e| e.value.as_str()).collect();
        assert_eq!(values, ["https://h/p;v=1#x", "", "100%", "\"q\"", "ž", "a:b"]);
        assert_eq!(sections[0].name, "a b=c");
    }

    #[test]
    fn lines_are_those_of_the_standard_library() {
        for text in ["", "\n", "a", "a\n", "a\r\nb\r", "\r\n\r\n", "a\n\n\u{e9}b\n\r", "\ra\rb\n"] {
            assert_eq!(lines(text).collect::<Vec<_>>(), text.lines().collect::<Vec<_>>(), "{text:?}");
        }
    }

    #[test]
    fn each_hole_of_the_crate_is_closed() {
        for (text, expected) in [
            ("[a]\nx = 1\nx = 2\n", "f:3: [a] x: the option is there already, at line 2"),
            ("[a]\n[b]\n[a]\n", "f:3: [a]: the section is there already, at line 1"),
            ("[a]\nfail_closed\n", "f:2: expected name = value"),
            ("[a]\nx: 1\n", "f:2: expected name = value"),
            ("[a] junk\n", "f:1: expected a section such as [totp], and nothing after it"),
            ("[[a]]\n", "f:1: expected a section such as [totp], and nothing after it"),
            ("[]\n", "f:1: expected a section such as [totp], and nothing after it"),
            ("[a\n", "f:1: expected a section such as [totp], and nothing after it"),
            ("\u{feff}[a]\n", "f:1: the file begins with a byte-order mark; save it as UTF-8 without one"),
            ("[a]\rx = 1\r", "f:1: the lines end in carriage returns only; end them in line feeds"),
            ("x = 1\n", "f:1: x: stands before the first section; put it below one such as [plugin]"),
            ("[DEFAULT]\n", "f:1: [DEFAULT]: there are no options for all sections; write them where they belong"),
            ("[a]\n= 1\n", "f:2: [a]: expected a name before the ="),
            ("[a]\n# c\rx = 1\n", "f:2: holds the control character U+000D"),
            ("[a]\nx = a\0b\n", "f:2: holds the control character U+0000"),
        ] {
            assert_eq!(mistakes(text), expected, "{text:?}");
        }
        assert!(mistakes("[a]\nx = 1\n  y\n").starts_with("f:3: begins with white space"));
    }
}

//! The text of plugin.ini by the rules of Python's `ConfigParser`, as far as they are written down: names of options in
//! any case, `=` or `:`, values that go on in lines indented further, comments on lines of their own.
//!
//! What Python refuses is refused with its line; `%%` is `%`, and a `%` that it would stumble over is itself.

use std::collections::HashMap;

use super::{Entry, Origin, Section, default_section, preface};
use crate::config::mistake::Mistakes;
use crate::domain::foreign::Foreign;

/// The sections of `text` in order, with values as they are written.
pub fn scan(text: &str, mistakes: &mut Mistakes) -> Vec<Section> {
    if !preface(text, mistakes) {
        return Vec::new();
    }
    let mut scan = Scan { sections: Vec::new(), lines: HashMap::new(), open: None, blank: 0, mistakes };
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        scan.line(line, index + 1);
    }
    let Scan { sections, lines: _, open: _, blank: _, mistakes } = scan;
    default_section(&sections, |name| name == "DEFAULT", mistakes);
    sections
}

struct Scan<'a> {
    sections: Vec<Section>,
    lines: HashMap<String, usize>,
    /// How far the option is indented whose value the next line may go on with.
    open: Option<usize>,
    /// Blank lines since then: they belong to the value if it goes on.
    blank: usize,
    mistakes: &'a mut Mistakes,
}

impl Scan<'_> {
    fn line(&mut self, line: &str, number: usize) {
        if let Some(c) = line.chars().find(|c| c.is_control() && *c != '\t') {
            self.mistakes.at_line(number, format_args!("holds the control character U+{:04X}", u32::from(c)));
            return;
        }
        let trimmed = line.trim();
        if trimmed.is_empty() {
            self.blank += 1;
            return;
        }
        if trimmed.starts_with(['#', ';']) {
            return;
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        let blank = std::mem::take(&mut self.blank);
        if self.open.is_some_and(|open| indent > open) {
            if let Some(entry) = self.sections.last_mut().and_then(|section| section.entries.last_mut()) {
                entry.value.extend(std::iter::repeat_n('\n', blank + 1));
                entry.value.push_str(trimmed);
            }
            return;
        }
        self.open = None;
        if trimmed.starts_with('[') {
            self.section(trimmed, number);
        } else if self.option(trimmed, number) {
            self.open = Some(indent);
        }
    }

    fn section(&mut self, trimmed: &str, number: usize) {
        let found = trimmed.strip_prefix('[').and_then(|rest| rest.rsplit_once(']'));
        let Some((name, rest)) = found.filter(|(name, _)| !name.trim().is_empty()) else {
            self.mistakes.at_line(number, "expected a section such as [totp], and nothing after it");
            return;
        };
        if !rest.is_empty() {
            let text = format_args!("[{}]: what stands behind it is passed over", Foreign(name));
            self.mistakes.warn_at_line(number, text);
        }
        if let Some(first) = self.lines.insert(name.to_owned(), number) {
            let text = format_args!("[{}]: the section is there already, at line {first}", Foreign(name));
            self.mistakes.at_line(number, text);
        }
        self.sections.push(Section { name: name.to_owned(), line: number, entries: Vec::new() });
    }

    /// Whether it is an option that counts.
    fn option(&mut self, trimmed: &str, number: usize) -> bool {
        let Some((name, value)) = trimmed.split_once(['=', ':']) else {
            // The line may be a secret that lost its name: it is not repeated.
            self.mistakes.at_line(number, "expected name = value");
            return false;
        };
        let name = name.trim().to_lowercase();
        let Some(section) = self.sections.last_mut() else {
            let text =
                format!("{}: stands before the first section; put it below one such as [plugin]", Foreign(&name));
            self.mistakes.at_line(number, text);
            return false;
        };
        if name.is_empty() {
            self.mistakes.at_line(number, format_args!("[{}]: expected a name before the =", Foreign(&section.name)));
            return false;
        }
        if let Some(first) = section.entries.iter().find(|entry| entry.name == name) {
            let text = format!("the option is there already, at line {}", first.line);
            self.mistakes.at_option(number, &Foreign(&section.name).to_string(), &Foreign(&name).to_string(), text);
            return false;
        }
        section.entries.push(Entry { name, line: number, value: value.trim().to_owned(), origin: Origin::Written });
        true
    }
}

/// Makes `%%` a `%` in every value; what Python would put in for `%(name)s` is not.
pub fn unescape(sections: &mut [Section], mistakes: &mut Mistakes) {
    for section in sections {
        for entry in &mut section.entries {
            if !entry.value.contains('%') {
                continue;
            }
            if entry.value.replace("%%", "").contains("%(") {
                let name = Foreign(&entry.name).to_string();
                let text = "what stands in %( ) is taken as it is written: nothing is put in for it";
                mistakes.warn_at_option(entry.line, &Foreign(&section.name).to_string(), &name, text);
            }
            entry.value = entry.value.replace("%%", "%");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Reading;
    use crate::config::ini::parse;
    use crate::config::mistake::Mistakes;

    fn values(text: &str) -> Vec<(String, String)> {
        let mut mistakes = Mistakes::new(Path::new("f"), Reading::Sps);
        let sections = parse(text, &mut mistakes);
        assert!(mistakes.is_empty(), "{text:?}: {mistakes}");
        sections.into_iter().flat_map(|s| s.entries).map(|e| (e.name, e.value)).collect()
    }

    /// What Python 3's ConfigParser makes of each (with interpolation=None, but for the last).
    #[test]
    fn values_are_what_python_reads() {
        for (text, name, value) in [
            ("[a]\nX: 1\n", "x", "1"),
            ("[a]\nx = 1 = 2 : 3\n", "x", "1 = 2 : 3"),
            ("[a]\nx : = 1\n", "x", "= 1"),
            ("[a]\nx=one\n two\n", "x", "one\ntwo"),
            ("[a]\nx=one\n\n two\n\n\n", "x", "one\n\ntwo"),
            ("[a]\nx=one\n# c\n two\n", "x", "one\ntwo"),
            ("[a]\nx=one\n ; c\n\ttwo = 2\n", "x", "one\ntwo = 2"),
            ("[a]\nx=\n two\n", "x", "\ntwo"),
            ("  [a]\n  x=1\n   y=2\n", "x", "1\ny=2"),
            ("[a]\n  x = 1\r\n", "x", "1"),
            ("[a]\nx = a ; b # c\n", "x", "a ; b # c"),
            ("[a] junk\nx = 1\n", "x", "1"),
            ("[a]\nx = 100%% sure %d%\n", "x", "100% sure %d%"),
        ] {
            assert_eq!(values(text), [(name.to_owned(), value.to_owned())], "{text:?}");
        }
        let two = values("[a]\n  x=1\n y=2\n");
        assert_eq!(two, [("x".to_owned(), "1".to_owned()), ("y".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn what_python_refuses_is_refused_with_its_lines() {
        for (text, expected) in [
            ("[a]\nx = 1\nX : 2\n", "f:3: [a] x: the option is there already, at line 2"),
            ("[a]\n[b]\n[a]\n", "f:3: [a]: the section is there already, at line 1"),
            ("[a]\nx\n", "f:2: expected name = value"),
            ("[a]\n: 1\n", "f:2: [a]: expected a name before the ="),
            ("[a\n", "f:1: expected a section such as [totp], and nothing after it"),
            ("x = 1\n", "f:1: x: stands before the first section; put it below one such as [plugin]"),
            ("\u{feff}[a]\n", "f:1: the file begins with a byte-order mark; save it as UTF-8 without one"),
            ("[a]\nx = a\0b\n", "f:2: holds the control character U+0000"),
            ("[a]\nx = a\r y\n", "f:2: holds the control character U+000D"),
            (
                "[DEFAULT]\nzoe = 1\n[a]\n[b]\n",
                "f:1: [DEFAULT]: there are no options for all sections: these would count in [a], [b] as well; write \
                 them where they belong",
            ),
            ("[a]\nx = 1\n [b]\n", "f:2: this line can be read in more than one way; write it as name = value"),
        ] {
            let mut mistakes = Mistakes::new(Path::new("f"), Reading::Sps);
            parse(text, &mut mistakes);
            assert_eq!(mistakes.to_string(), expected, "{text:?}");
        }
    }
}

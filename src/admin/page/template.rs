//! Text of HTML with placeholders: `{{name}}` is what it stands for, `{{#name}}…{{/name}}` is there where that is not
//! empty, `{{^name}}…{{/name}}` where it is.

use crate::config::mistake::suggestion;
use crate::domain::foreign::Foreign;
use crate::domain::secret::Secret;

/// What a placeholder stands for.
pub enum Value {
    /// Text: it never becomes a tag, an attribute or a placeholder.
    Text(Secret<String>),
    /// HTML that this program made.
    Markup(Secret<String>),
}

/// A template that can be filled.
pub struct Template<'a>(Vec<Part<'a>>);

enum Part<'a> {
    Html(&'a str),
    Put(&'a str),
    When(&'a str, Is, Vec<Part<'a>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Full,
    Empty,
}

impl<'a> Template<'a> {
    /// Reads `text`, whose placeholders are among `known`.
    ///
    /// # Errors
    /// The first thing that is wrong with it, and its line.
    pub fn parse(text: &'a str, known: &[&str]) -> Result<Self, String> {
        let mut reader = Reader { text, rest: text, known };
        let parts = reader.parts(None)?;
        Ok(Self(parts))
    }

    /// Whether the placeholder `name` is always put in.
    pub fn puts(&self, name: &str) -> bool {
        self.0.iter().any(|part| match part {
            Part::Put(other) => *other == name,
            Part::Html(_) | Part::When(..) => false,
        })
    }

    /// The template with its values in their places.
    pub fn fill(&self, value: impl Fn(&str) -> Value) -> Secret<String> {
        let mut pieces = Vec::new();
        fill(&self.0, &value, &mut pieces);
        // Joined at once into one place: text that grows leaves copies behind.
        Secret::new(pieces.iter().map(|piece| piece.expose().as_str()).collect::<Vec<_>>().concat())
    }
}

/// `text` as it stands in HTML, between tags and in quoted attributes.
pub fn escaped(text: &str) -> Secret<String> {
    // Room for the longest form, so that the text is never moved by a growing buffer.
    let mut html = String::with_capacity(text.len() * 6);
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    Secret::new(html)
}

struct Reader<'a, 'k> {
    text: &'a str,
    rest: &'a str,
    known: &'k [&'k str],
}

impl<'a> Reader<'a, '_> {
    /// What comes up to the end, or up to the `{{/name}}` of the section that is `open`.
    fn parts(&mut self, open: Option<&str>) -> Result<Vec<Part<'a>>, String> {
        let mut parts = Vec::new();
        while let Some((html, inside)) = self.rest.split_once("{{") {
            let line = self.line(html.len());
            let Some((tag, rest)) = inside.split_once("}}") else {
                return Err(format!("line {line}: a {{{{ has no }}}}"));
            };
            self.rest = rest;
            parts.push(Part::Html(html));
            let (mark, name) = match tag.chars().next() {
                Some(mark @ ('#' | '^' | '/')) => (Some(mark), tag.get(1..).unwrap_or_default().trim()),
                Some(_) | None => (None, tag.trim()),
            };
            if !self.known.contains(&name) {
                let hint = suggestion(name, self.known.iter().copied(), false);
                return Err(format!("line {line}: {{{{{}}}}} is no placeholder{hint}", Foreign(name)));
            }
            match mark {
                None => parts.push(Part::Put(name)),
                Some('/') if open == Some(name) => return Ok(parts),
                Some('/') => return Err(format!("line {line}: {{{{/{name}}}}} ends what did not begin")),
                Some(mark) => {
                    let is = if mark == '#' { Is::Full } else { Is::Empty };
                    parts.push(Part::When(name, is, self.parts(Some(name))?));
                }
            }
        }
        match open {
            Some(name) => Err(format!("{{{{/{name}}}}} is missing at the end")),
            None => {
                parts.push(Part::Html(std::mem::take(&mut self.rest)));
                Ok(parts)
            }
        }
    }

    /// The line of what stands `ahead` bytes behind what was read.
    fn line(&self, ahead: usize) -> usize {
        let read = self.text.len() - self.rest.len() + ahead;
        self.text.bytes().take(read).filter(|byte| *byte == b'\n').count() + 1
    }
}

fn fill(parts: &[Part<'_>], value: &impl Fn(&str) -> Value, pieces: &mut Vec<Secret<String>>) {
    for part in parts {
        match part {
            Part::Html(html) => pieces.push(Secret::new((*html).to_owned())),
            // What is put in is for whoever may read the page.
            Part::Put(name) => pieces.push(match value(name) {
                Value::Text(text) => escaped(text.expose()),
                Value::Markup(html) => html,
            }),
            Part::When(name, is, inner) => {
                let (Value::Text(text) | Value::Markup(text)) = value(name);
                // Only whether there is any.
                let found = if text.expose().is_empty() { Is::Empty } else { Is::Full };
                if found == *is {
                    fill(inner, value, pieces);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["user", "notes", "qr"];

    fn filled(template: &str, user: &str) -> Result<String, String> {
        let template = Template::parse(template, KNOWN)?;
        let value = |name: &str| match name {
            "user" => Value::Text(Secret::new(user.into())),
            "notes" => Value::Text(Secret::new(String::new())),
            _ => Value::Markup(Secret::new("<svg/>".into())),
        };
        Ok(template.fill(value).expose().clone())
    }

    #[test]
    fn what_is_put_in_stays_text() {
        for (user, html) in [
            ("<script>alert('x')</script>", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"),
            ("\" onload=\"x", "&quot; onload=&quot;x"),
            ("&lt;", "&amp;lt;"),
            ("{{qr}}{{secret}}", "{{qr}}{{secret}}"),
            ("Žluť 日本", "Žluť 日本"),
        ] {
            assert_eq!(
                filled("<b title=\"{{user}}\">{{ user }}</b>", user).unwrap(),
                format!("<b title=\"{html}\">{html}</b>")
            );
        }
        assert_eq!(filled("a{{qr}}b } }} {", "x").unwrap(), "a<svg/>b } }} {");
    }

    #[test]
    fn sections_are_there_where_they_have_something_to_say() {
        let template =
            "{{#user}}1{{#notes}}2{{/notes}}{{^notes}}3{{user}}{{/notes}}{{/user}}{{^user}}4{{/user}}{{^qr}}5{{/qr}}";
        assert_eq!(filled(template, "bob").unwrap(), "13bob");
        assert_eq!(filled(template, "").unwrap(), "4");
        assert!(
            Template::parse("{{#user}}{{qr}}{{/user}}{{notes}}", KNOWN).is_ok_and(|t| t.puts("notes") && !t.puts("qr"))
        );
    }

    #[test]
    fn what_is_wrong_with_a_template_is_told_with_its_line() {
        for (template, flaw) in [
            ("a\n{{xq}}", "line 2: {{xq}} is no placeholder"),
            ("{{uesr}}", "line 1: {{uesr}} is no placeholder; did you mean user?"),
            ("{{}}", "line 1: {{}} is no placeholder"),
            ("{{{user}}}", "line 1: {{{user}} is no placeholder; did you mean user?"),
            ("\n\n{{user", "line 3: a {{ has no }}"),
            ("{{#user}}", "{{/user}} is missing at the end"),
            ("{{#user}}{{/qr}}{{/user}}", "line 1: {{/qr}} ends what did not begin"),
            ("{{/user}}", "line 1: {{/user}} ends what did not begin"),
            ("{{#xq}}{{/xq}}", "line 1: {{xq}} is no placeholder"),
        ] {
            assert_eq!(filled(template, "x").unwrap_err(), flaw, "{template}");
        }
    }
}

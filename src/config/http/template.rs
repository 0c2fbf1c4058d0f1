//! Text with placeholders, such as `user/{user}`. What a placeholder stands for is put in as a value: it never becomes a
//! placeholder, a separator or a quote.

use zeroize::Zeroizing;

use super::super::schema::Schema;
use super::super::value::Value;
use crate::domain::foreign::Foreign;

/// Text with placeholders; `{{` and `}}` are braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(String),
}

impl Template {
    /// The placeholders in it.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Placeholder(name) => Some(name.as_str()),
        })
    }

    /// What stands in it as it is.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Placeholder(_) => None,
        })
    }

    /// The placeholder that is all of it.
    pub fn only_placeholder(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Placeholder(name)] => Some(name),
            _ => None,
        }
    }

    /// The text with the values in their places; `None` where one is missing. Wiped when dropped.
    pub fn fill<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Option<Zeroizing<String>> {
        let values: Vec<&str> = self
            .0
            .iter()
            .map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Placeholder(name) => value(name),
            })
            .collect::<Option<_>>()?;
        // Joined at once into one place: text that grows leaves copies behind.
        Some(Zeroizing::new(values.concat()))
    }

    /// The same with its texts changed.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn map_texts<E>(self, change: impl Fn(&str) -> Result<String, E>) -> Result<Self, E> {
        let change = |part| match part {
            Part::Text(text) => change(&text).map(Part::Text),
            Part::Placeholder(name) => Ok(Part::Placeholder(name)),
        };
        self.0.into_iter().map(change).collect::<Result<_, E>>().map(Self)
    }
}

/// Whether `name` can be the name of a placeholder.
pub fn is_placeholder_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

impl Value for Template {
    fn expected() -> String {
        "text with placeholders such as {user}".into()
    }

    fn schema() -> Schema {
        Schema::OrNothing(Box::new(Schema::Text))
    }

    fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    fn read(text: &str) -> Result<Self, String> {
        let mut parts: Vec<Part> = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(behind) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                plain.push_str(from.get(..1).unwrap_or_default());
                rest = behind;
                continue;
            }
            let inside = from.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let Some((name, behind)) = inside.filter(|(name, _)| is_placeholder_name(name)) else {
                let shown = Foreign(from);
                return Err(format!(
                    "expected a placeholder such as {{user}}, or {{{{ and }}}} for braces, at \"{shown}\""
                ));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Placeholder(name.to_owned()));
            rest = behind;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, user: &str) -> Option<String> {
        let value = |name: &str| (name == "user").then_some(user);
        Template::read(template).unwrap().fill(value).map(|text| text.to_string())
    }

    #[test]
    fn a_value_is_put_in_once_and_as_it_is() {
        assert_eq!(filled("a{user}b{user}", "{user}").unwrap(), "a{user}b{user}");
        assert_eq!(filled("{{user}} {{{user}}}", "x").unwrap(), "{user} {x}");
        assert_eq!(filled("", "x").unwrap(), "");
        assert_eq!(filled("{other}", "x"), None);
    }

    #[test]
    fn what_is_no_placeholder_is_refused() {
        for text in ["{", "}", "a{user", "user}", "{}", "{User}", "{us er}", "{1}", "{{user}", "{user}}"] {
            assert!(Template::read(text).is_err(), "{text}");
        }
    }
}

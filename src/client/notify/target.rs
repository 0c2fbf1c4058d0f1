//! Where codes are sent to.

use lettre::Address;

use crate::config::http::capture::Shape;
use crate::config::notify::NotifyOptions;
use crate::config::value::Via;
use crate::domain::foreign::is_deceptive;

/// The longest target, in bytes (RFC 5321, 4.5.3.1.3, without the brackets).
const LIMIT: usize = 254;

/// Where codes are sent to: valid, and proved before it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// RFC 5321.
    Mail(Address),
    /// What a webhook or a program takes.
    Other(String),
}

impl Target {
    /// The target in `text`, as `options` expect it.
    ///
    /// # Errors
    /// What was expected. Never the text.
    pub fn parse(text: &str, options: &NotifyOptions) -> Result<Self, String> {
        let text = text.trim();
        let is_shown = !text.is_empty() && text.len() <= LIMIT && !text.chars().any(is_deceptive);
        // A program would take it for an option.
        let is_plain = is_shown && !text.starts_with('-');
        match (options.via, &options.target.0) {
            (Via::Smtp, _) => text
                .parse()
                .ok()
                // A quoted name and an address of numbers are more than the library sends to.
                .filter(|_| is_plain && !text.contains(['"', '[']))
                .map(Self::Mail)
                .ok_or_else(|| "expected an address such as alice@corp.example".into()),
            (Via::Webhook | Via::Command, None) => {
                let is_number = is_number(text);
                is_number
                    .then(|| Self::Other(text.to_owned()))
                    .ok_or_else(|| "expected a number with its country, such as +4366012345678".into())
            }
            (Via::Webhook | Via::Command, Some(shape)) => {
                let is_fit = is_plain && Shape::fits(shape, text);
                is_fit
                    .then(|| Self::Other(text.to_owned()))
                    .ok_or_else(|| "expected what target in the section says, without a dash at its beginning".into())
            }
        }
    }

    /// The whole of it.
    pub fn text(&self) -> &str {
        match self {
            Self::Mail(address) => address.as_ref(),
            Self::Other(text) => text,
        }
    }

    /// As much of it as whoever it belongs to knows it by.
    pub fn masked(&self) -> String {
        match self {
            Self::Mail(address) => {
                let user: Vec<char> = address.user().chars().collect();
                let masked = match user.as_slice() {
                    [first, _, .., last] => format!("{first}…{last}"),
                    [_, ..] | [] => "…".into(),
                };
                format!("{masked}@{}", address.domain())
            }
            Self::Other(text) => {
                let count = text.chars().count();
                let shown = if count >= 8 { 4 } else { count / 4 };
                format!("…{}", text.chars().skip(count - shown).collect::<String>())
            }
        }
    }
}

/// E.164: a plus and up to fifteen digits, the first of which is no zero.
fn is_number(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(text: &str) -> Target {
        Target::Mail(text.parse().unwrap())
    }

    #[test]
    fn a_target_is_masked() {
        for (target, expected) in [
            (mail("alice@example.com"), "a…e@example.com"),
            (mail("al@example.com"), "…@example.com"),
            (Target::Other("+4366012344711".into()), "…4711"),
            (Target::Other("4711".into()), "…1"),
            (Target::Other("47".into()), "…"),
        ] {
            assert_eq!(target.masked(), expected);
        }
    }

    #[test]
    fn a_number_has_its_country() {
        assert!(is_number("+4366012345678"));
        for text in [
            "",
            "+",
            "066012345678",
            "+0123456789",
            "+43 660 12345678",
            "+1234567890123456",
            "+123456",
            "+４３６６０１２３４５",
        ] {
            assert!(!is_number(text), "{text}");
        }
    }
}

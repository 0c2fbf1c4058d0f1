//! Text that came from outside, made safe to show: nobody forges a log line or reverses a terminal with it.

use std::fmt::{self, Write};

/// The longest text that is shown whole, in characters; what is longer ends in `…`.
const SHOWN: usize = 256;

/// Shows text with control, line-separating, bidirectional and invisible characters written as `<U+202E>`. Quotes and
/// backslashes are left to the quoting of whatever the text is put into.
#[derive(Clone, Copy)]
pub struct Foreign<'a>(pub &'a str);

impl fmt::Display for Foreign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, c) in self.0.chars().enumerate() {
            if count == SHOWN {
                return f.write_char('…');
            }
            if is_deceptive(c) {
                write!(f, "<U+{:04X}>", u32::from(c))?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Whether `c` changes how the text around it is read without being seen: controls, line and paragraph separators,
/// bidirectional marks (UAX #9), zero-width and other default-ignorable characters, private use and tags.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_line_or_turn_the_text_around() {
        let shown = Foreign("eve\nverdict=accept\u{202e}\"\\\u{1b}[2J").to_string();
        assert_eq!(shown, "eve<U+000A>verdict=accept<U+202E>\"\\<U+001B>[2J");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(Foreign(&"x".repeat(10_000)).to_string().chars().count(), SHOWN + 1);
    }
}

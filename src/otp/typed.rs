//! What people type, read as the code they mean.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The code in `typed`: NFKC (full-width, bold and circled digits become ASCII), without white space, dashes and
/// zero-width characters, then exactly `digits` ASCII digits. `None` where that is not what is left.
pub fn code(typed: &str, digits: u32) -> Option<Zeroizing<String>> {
    let wanted = usize::try_from(digits).ok()?;
    // Room for one more than wanted, so that the secret is never moved by a growing buffer.
    let mut code = Zeroizing::new(String::with_capacity(wanted + 1));
    // NFKC of one character is at most 18 others; nobody types more than this around a code.
    for c in typed.chars().take(256).nfkc().filter(|c| !is_separator(*c)) {
        if !c.is_ascii_digit() || code.len() == wanted {
            return None;
        }
        code.push(c);
    }
    (code.len() == wanted && typed.chars().nth(256).is_none()).then_some(code)
}

/// White space, the dashes that people and keyboards put between digits, and characters that are not seen.
pub fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{200b}'..='\u{200d}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_people_type_them() {
        for typed in [
            "536101",
            "536 101",
            "536-101",
            " 536101\n",
            "５３６１０１",
            "⑤③⑥①⓪①",
            "𝟓𝟑𝟔𝟏𝟎𝟏",
            "5 3 6 1 0 1",
            "536\u{200b}101",
        ] {
            assert_eq!(code(typed, 6).as_deref().map(String::as_str), Some("536101"), "{typed:?}");
        }
    }

    #[test]
    fn anything_else_is_no_code() {
        for typed in ["", " ", "53610", "5361011", "53610a", "+53610", "-", "٥٣٦١٠١", "५३६१०१", "536101\0", "536.101"]
        {
            assert_eq!(code(typed, 6), None, "{typed:?}");
        }
        assert_eq!(code(&format!("536101{}", " ".repeat(300)), 6), None);
    }
}

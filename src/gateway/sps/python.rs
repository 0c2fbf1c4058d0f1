//! JSON as Python's `json.dumps` writes it.

use std::fmt::Write;

/// `{"reason": reason}`; `N/A` where there is no reason.
pub fn reason(reason: &str) -> String {
    let reason = if reason.is_empty() { "N/A" } else { reason };
    format!("{{\"reason\": {}}}", quoted(reason))
}

/// `text` as a string of ASCII characters.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            ' '..='~' => quoted.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_written_as_python_writes_it() {
        assert_eq!(reason(""), r#"{"reason": "N/A"}"#);
        // json.dumps({"reason": ...}) of CPython.
        assert_eq!(
            reason("a\"b\\c/\u{8}\u{c}\n\r\t\0\u{1f} ~\u{7f}é\u{20ac}\u{202e}\u{1f600}"),
            r#"{"reason": "a\"b\\c/\b\f\n\r\t\u0000\u001f ~\u007f\u00e9\u20ac\u202e\ud83d\ude00"}"#
        );
    }
}

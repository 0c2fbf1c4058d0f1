//! JSON as Python's `json.dumps` writes it.

use std::fmt::Write;

use serde_json::Value;

/// `{"reason": reason}`; `N/A` where there is no reason.
pub fn reason(reason: &str) -> String {
    let mut out = String::from("{\"reason\": ");
    write_text(if reason.is_empty() { "N/A" } else { reason }, &mut out);
    out.push('}');
    out
}

/// `json`, which must be valid, as Python's json.dumps writes what it says: `, ` and `: ` between values, ASCII only, members
/// in their order, whole numbers of any size as they are.
pub fn dumps(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string(rest),
            '-' | '0'..='9' => rest.find(|c: char| !"+-.eE0123456789".contains(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        match first {
            ' ' | '\t' | '\n' | '\r' => {}
            ',' => out.push_str(", "),
            ':' => out.push_str(": "),
            '"' => write_string(token, &mut out),
            '-' | '0'..='9' => write_number(token, &mut out),
            _ => out.push_str(token),
        }
        rest = behind;
    }
    out
}

/// How long the string is that `text` begins with, with its quotes.
fn string(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn write_string(token: &str, out: &mut String) {
    let Ok(Value::String(text)) = serde_json::from_str(token) else {
        // A lone surrogate is no text of ours; it goes on as it was written.
        out.push_str(token);
        return;
    };
    write_text(&text, out);
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing into memory does not fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

fn write_number(token: &str, out: &mut String) {
    let is_whole = !token.contains(['.', 'e', 'E']);
    match token.parse::<f64>() {
        Ok(_) if is_whole => out.push_str(if token == "-0" { "0" } else { token }),
        Ok(number) if number.is_finite() => out.push_str(&float(number)),
        Ok(_) | Err(_) => out.push_str(token),
    }
}

/// A number as Python's repr has it: the shortest digits that mean it, with an exponent below 1e-4 and from 1e16 on.
fn float(number: f64) -> String {
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{number}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_as_python_writes_it() {
        for (json, python) in [
            (r#"{"b":[1,null],"a" : {}}"#, r#"{"b": [1, null], "a": {}}"#),
            ("{\n}", "{}"),
            (
                r#"["ü€😀","\u007f","\/","a,b:c","\"\\"]"#,
                r#"["\u00fc\u20ac\ud83d\ude00", "\u007f", "/", "a,b:c", "\"\\"]"#,
            ),
            (r#""\n\t\r\b\f\u0000""#, r#""\n\t\r\b\f\u0000""#),
            (r#"[true,false,-0,123456789012345678901234567890]"#, "[true, false, 0, 123456789012345678901234567890]"),
            (
                "[1.0,1.50,-0.0,1e5,1E-5,1e16,1e15,0.0001,123456789.125,1e22,2.5e-300]",
                "[1.0, 1.5, -0.0, 100000.0, 1e-05, 1e+16, 1000000000000000.0, 0.0001, 123456789.125, 1e+22, 2.5e-300]",
            ),
        ] {
            assert_eq!(dumps(json), python);
        }
    }

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

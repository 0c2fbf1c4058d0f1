//! Distinguished names (RFC 4514), as far as a group is known by the first part of its own.

/// What the first part of `name` says: its common name where that stands in it, else what stands there first. `None` where
/// `name` is no distinguished name, or the value is not text.
pub fn first_value(name: &str) -> Option<String> {
    let (first, rest) = split(name, ',');
    let part = parse_part(first)?;
    // The rest decides whether this is a distinguished name at all.
    let mut rest = rest;
    while let Some(text) = rest {
        let (one, behind) = split(text, ',');
        parse_part(one)?;
        rest = behind;
    }
    let common = part.iter().find(|(kind, _)| kind.eq_ignore_ascii_case("cn") || *kind == "2.5.4.3");
    let (_, value) = common.or_else(|| part.first())?;
    value.clone()
}

/// The types and values of one part, such as `cn=a+uid=b`.
fn parse_part(text: &str) -> Option<Vec<(&str, Option<String>)>> {
    let mut pairs = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let (pair, behind) = split(text, '+');
        let (kind, value) = pair.split_once('=')?;
        let kind = kind.trim_matches(' ');
        let is_kind = kind.starts_with(|c: char| c.is_ascii_alphanumeric())
            && kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
        if !is_kind {
            return None;
        }
        pairs.push((kind, unescape(value)?));
        rest = behind;
    }
    Some(pairs)
}

/// What stands before and behind the first `separator` that no backslash stands before.
fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        if c == separator && !is_escaped {
            return (text.get(..at).unwrap_or_default(), text.get(at + c.len_utf8()..));
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    (text, None)
}

/// The value that `text` stands for: `None` where it is none, `Some(None)` where it is one in BER, or is not UTF-8.
fn unescape(text: &str) -> Option<Option<String>> {
    let text = text.trim_start_matches(' ');
    if let Some(hex) = text.strip_prefix('#') {
        let is_hex = !hex.is_empty() && hex.len().is_multiple_of(2) && hex.bytes().all(|b| b.is_ascii_hexdigit());
        return is_hex.then_some(None);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    // Up to where spaces at the end do not count, because they are not escaped.
    let mut kept = 0;
    while let Some(c) = rest.next() {
        if c == '\\' {
            let behind = rest.as_str();
            if let Some(byte) = behind.get(..2).and_then(hex_pair) {
                bytes.push(byte);
                rest = behind.get(2..).unwrap_or_default().chars();
            } else {
                match rest.next() {
                    Some(c @ (' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>' | '\\')) => {
                        bytes.push(u8::try_from(c).ok()?)
                    }
                    Some(_) | None => return None,
                }
            }
            kept = bytes.len();
        } else if matches!(c, '"' | ';' | '<' | '>' | '\0') {
            return None;
        } else {
            bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
            if c != ' ' {
                kept = bytes.len();
            }
        }
    }
    bytes.truncate(kept);
    Some(String::from_utf8(bytes).ok())
}

fn hex_pair(text: &str) -> Option<u8> {
    if text.bytes().all(|b| b.is_ascii_hexdigit()) { u8::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::first_value;

    #[test]
    fn a_group_is_known_by_the_first_part_of_its_name() {
        for (name, value) in [
            ("cn=admins,ou=groups,dc=corp,dc=example", "admins"),
            ("CN=Domain Admins,CN=Users,DC=corp,DC=example", "Domain Admins"),
            ("ou=ops", "ops"),
            (" cn = two words ,dc=x", "two words"),
            (r"cn=a\, b\+c\\,dc=x", r"a, b+c\"),
            (r"cn=L\c3\bcbeck,dc=x", "Lübeck"),
            (r"cn=\20a\ ,dc=x", " a "),
            ("uid=1+cn=b,dc=x", "b"),
            ("2.5.4.3=b,dc=x", "b"),
            ("uid=1+sn=b,dc=x", "1"),
            ("cn=,dc=x", ""),
            ("cn=a=b,dc=x", "a=b"),
            ("cn=Ä,dc=#0402aa", "Ä"),
        ] {
            assert_eq!(first_value(name).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn what_is_no_distinguished_name_has_no_first_part() {
        for name in [
            "",
            "admins",
            "a b",
            ",",
            "cn=a,",
            ",cn=a",
            "=a",
            "cn=a,b",
            "c n=a",
            r"cn=a\",
            r"cn=a\zz",
            "cn=\"a\"",
            "cn=a;b",
            "cn=#abc",
            "cn=#",
            "cn=#0402aa,dc=x",
            r"cn=\ff\fe,dc=x",
            "cn=a+,dc=x",
            "cn=a\0",
            "é=a",
            r"cn=\é",
        ] {
            assert_eq!(first_value(name), None, "{name}");
        }
    }
}

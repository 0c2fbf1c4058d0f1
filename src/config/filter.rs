//! LDAP search filters (RFC 4515) with places for the user: read once, filled for each search.
//!
//! A place is filled in what was read, never in the text, so that no user name can be anything but a value.

use ldap3_proto::proto::{LdapFilter, LdapMatchingRuleAssertion, LdapSubstringFilter};

/// How deep filters may lie in each other.
const DEPTH: usize = 16;

/// What a place is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `{user}`: the user's name.
    User,
    /// `{dn}`: the distinguished name of the user's entry.
    Dn,
}

impl Place {
    /// Both.
    pub const ALL: [Self; 2] = [Self::User, Self::Dn];

    const fn written(self) -> &'static str {
        match self {
            Self::User => "{user}",
            Self::Dn => "{dn}",
        }
    }
}

/// A filter with places in its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchFilter(LdapFilter);

impl SearchFilter {
    /// Reads `text`, in which at least one of `places` stands, and no other.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, places: &[Place]) -> Result<Self, String> {
        let mut rest = text;
        let filter = filter(&mut rest, DEPTH)?;
        if !rest.is_empty() {
            return Err(format!("{rest:?} stands behind the last bracket"));
        }
        let mut found = Vec::new();
        each_value(&filter, &mut |value| {
            found.extend(pieces(value)?.into_iter().filter_map(Piece::place));
            Ok(())
        })?;
        if let Some(place) = found.iter().find(|place| !places.contains(place)) {
            return Err(format!("{} cannot stand here", place.written()));
        }
        if found.is_empty() {
            let written: Vec<_> = places.iter().map(|place| place.written()).collect();
            return Err(format!("there is no {} in it", written.join(" and no ")));
        }
        Ok(Self(filter))
    }

    /// The filter for `user`, whose entry is `dn`: what stands in them is looked for as it is, byte for byte.
    pub fn fill(&self, user: &str, dn: &str) -> LdapFilter {
        let mut filter = self.0.clone();
        map_values(&mut filter, &|value| {
            let piece = |piece| match piece {
                Piece::Text(text) => text,
                Piece::Place(Place::User) => user,
                Piece::Place(Place::Dn) => dn,
            };
            // Nothing is lost here: that every value can be taken to pieces was seen when it was read.
            pieces(value).unwrap_or_default().into_iter().map(piece).collect()
        });
        filter
    }
}

/// A part of a value.
#[derive(Clone, Copy)]
enum Piece<'a> {
    Text(&'a str),
    Place(Place),
}

impl Piece<'_> {
    const fn place(self) -> Option<Place> {
        match self {
            Self::Text(_) => None,
            Self::Place(place) => Some(place),
        }
    }
}

fn pieces(value: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = value;
    while let Some(at) = rest.find('{') {
        let (text, found) = rest.split_at_checked(at).unwrap_or((rest, ""));
        let place = Place::ALL.into_iter().find_map(|place| Some((place, found.strip_prefix(place.written())?)));
        let Some((place, behind)) = place else {
            return Err(format!("{found:?} begins neither with {{user}} nor with {{dn}}"));
        };
        pieces.extend([Piece::Text(text), Piece::Place(place)]);
        rest = behind;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn each_value(filter: &LdapFilter, see: &mut dyn FnMut(&str) -> Result<(), String>) -> Result<(), String> {
    match filter {
        LdapFilter::And(filters) | LdapFilter::Or(filters) => filters.iter().try_for_each(|f| each_value(f, see)),
        LdapFilter::Not(filter) => each_value(filter, see),
        LdapFilter::Equality(_, value)
        | LdapFilter::GreaterOrEqual(_, value)
        | LdapFilter::LessOrEqual(_, value)
        | LdapFilter::Approx(_, value) => see(value),
        LdapFilter::Extensible(assertion) => see(&assertion.match_value),
        LdapFilter::Substring(_, LdapSubstringFilter { initial, any, final_ }) => {
            initial.iter().chain(any).chain(final_).try_for_each(|value| see(value))
        }
        LdapFilter::Present(_) => Ok(()),
    }
}

fn map_values(filter: &mut LdapFilter, map: &dyn Fn(&str) -> String) {
    match filter {
        LdapFilter::And(filters) | LdapFilter::Or(filters) => filters.iter_mut().for_each(|f| map_values(f, map)),
        LdapFilter::Not(filter) => map_values(filter, map),
        LdapFilter::Equality(_, value)
        | LdapFilter::GreaterOrEqual(_, value)
        | LdapFilter::LessOrEqual(_, value)
        | LdapFilter::Approx(_, value) => *value = map(value),
        LdapFilter::Extensible(assertion) => assertion.match_value = map(&assertion.match_value),
        LdapFilter::Substring(_, LdapSubstringFilter { initial, any, final_ }) => {
            initial.iter_mut().chain(any).chain(final_).for_each(|value| *value = map(value));
        }
        LdapFilter::Present(_) => {}
    }
}

fn filter(rest: &mut &str, depth: usize) -> Result<LdapFilter, String> {
    if depth == 0 {
        return Err(format!("more than {DEPTH} filters lie in each other"));
    }
    take(rest, '(')?;
    let read = match rest.chars().next() {
        Some('&') => LdapFilter::And(list(rest, depth)?),
        Some('|') => LdapFilter::Or(list(rest, depth)?),
        Some('!') => {
            take(rest, '!')?;
            LdapFilter::Not(Box::new(filter(rest, depth - 1)?))
        }
        Some(_) | None => item(rest)?,
    };
    take(rest, ')')?;
    Ok(read)
}

fn list(rest: &mut &str, depth: usize) -> Result<Vec<LdapFilter>, String> {
    *rest = rest.get(1..).unwrap_or_default();
    let mut filters = vec![filter(rest, depth - 1)?];
    while rest.starts_with('(') {
        filters.push(filter(rest, depth - 1)?);
    }
    Ok(filters)
}

fn take(rest: &mut &str, expected: char) -> Result<(), String> {
    match rest.strip_prefix(expected) {
        Some(behind) => {
            *rest = behind;
            Ok(())
        }
        None if rest.is_empty() => Err(format!("it ends where {expected:?} was expected")),
        None => Err(format!("expected {expected:?}, found {rest:?}")),
    }
}

/// `attribute=value` and its relatives.
fn item(rest: &mut &str) -> Result<LdapFilter, String> {
    let end = rest.find(['(', ')']).unwrap_or(rest.len());
    let (text, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
    *rest = behind;
    let (left, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no ="))?;
    match left.chars().next_back() {
        Some('>') => Ok(LdapFilter::GreaterOrEqual(attribute(left, '>')?, whole(value)?)),
        Some('<') => Ok(LdapFilter::LessOrEqual(attribute(left, '<')?, whole(value)?)),
        Some('~') => Ok(LdapFilter::Approx(attribute(left, '~')?, whole(value)?)),
        Some(':') => extensible(left.strip_suffix(':').unwrap_or(left), whole(value)?),
        Some(_) | None => {
            let name = attribute(left, '=')?;
            if value == "*" {
                return Ok(LdapFilter::Present(name));
            }
            let parts: Vec<&str> = value.split('*').collect();
            match parts.as_slice() {
                [] => Err(format!("{text:?} has no value")),
                [value] => Ok(LdapFilter::Equality(name, unescape(value)?)),
                [initial, any @ .., last] => {
                    if any.iter().any(|part| part.is_empty()) {
                        return Err(format!("{text:?} has ** in it"));
                    }
                    let end = |part: &str| if part.is_empty() { Ok(None) } else { unescape(part).map(Some) };
                    let any = any.iter().map(|part| unescape(part)).collect::<Result<_, _>>()?;
                    let parts = LdapSubstringFilter { initial: end(initial)?, any, final_: end(last)? };
                    Ok(LdapFilter::Substring(name, parts))
                }
            }
        }
    }
}

fn whole(value: &str) -> Result<String, String> {
    if value.contains('*') {
        Err(format!("{value:?} has a * in it, which stands behind = only"))
    } else {
        unescape(value)
    }
}

/// `attribute:dn:rule`, of which one or the other may be missing.
fn extensible(left: &str, match_value: String) -> Result<LdapFilter, String> {
    let mut parts = left.split(':');
    let type_ = parts.next().filter(|name| !name.is_empty()).map(|name| attribute(name, ':')).transpose()?;
    let mut next = parts.next();
    let dn_attributes = next == Some("dn");
    if dn_attributes {
        next = parts.next();
    }
    let matching_rule = next.map(|rule| attribute(rule, ':')).transpose()?;
    if parts.next().is_some() || (type_.is_none() && matching_rule.is_none()) {
        return Err(format!("{left:?} is not attribute:dn:rule"));
    }
    Ok(LdapFilter::Extensible(LdapMatchingRuleAssertion { matching_rule, type_, match_value, dn_attributes }))
}

/// The name of an attribute, with its options, without the `operator` behind it.
fn attribute(text: &str, operator: char) -> Result<String, String> {
    let name = text.strip_suffix(operator).unwrap_or(text);
    if is_attribute(name) { Ok(name.to_owned()) } else { Err(format!("{name:?} is no name of an attribute")) }
}

/// Whether `name` can be the name of an attribute, or its number, with options behind it.
pub fn is_attribute(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ';' | '_'))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('\\');
    bytes.extend(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let hex = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')));
        let (Some(byte), Some(behind)) = (hex, part.get(2..)) else {
            return Err(format!("in {text:?} no two hexadecimal digits stand behind a backslash"));
        };
        bytes.push(byte);
        bytes.extend(behind.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| format!("{text:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: [Place; 1] = [Place::User];

    fn filled(text: &str, user: &str) -> LdapFilter {
        SearchFilter::parse(text, &Place::ALL).unwrap().fill(user, "cn=A (x)*,dc=y")
    }

    fn equality(name: &str, value: &str) -> LdapFilter {
        LdapFilter::Equality(name.into(), value.into())
    }

    #[test]
    fn a_user_is_a_value_and_nothing_else() {
        for user in
            ["alice", "*", "a)(uid=*", "\\2a", "a\0b", "\u{202e}x", "{dn}", "{user}", "&|!", "", "Ä", &"x".repeat(300)]
        {
            assert_eq!(filled("(uid={user})", user), equality("uid", user));
            let both = filled("(&(objectClass=person)(|(uid={user})(mail={user}@corp.example)))", user);
            let mail = equality("mail", &format!("{user}@corp.example"));
            let expected = vec![equality("objectClass", "person"), LdapFilter::Or(vec![equality("uid", user), mail])];
            assert_eq!(both, LdapFilter::And(expected));
        }
    }

    #[test]
    fn every_kind_of_filter_is_read() {
        let LdapFilter::Extensible(rule) = filled("(member:1.2.840.113556.1.4.1941:={dn})", "a") else { panic!() };
        assert_eq!(rule.matching_rule.as_deref(), Some("1.2.840.113556.1.4.1941"));
        assert_eq!((rule.type_.as_deref(), &*rule.match_value), (Some("member"), "cn=A (x)*,dc=y"));
        let LdapFilter::Extensible(rule) = filled("(ou:dn:caseIgnoreMatch:={user})", "a") else { panic!() };
        assert!(rule.dn_attributes && rule.matching_rule.as_deref() == Some("caseIgnoreMatch"));
        assert_eq!(filled("(uid=\\28{user}\\2A)", "a"), equality("uid", "(a*"));
        let LdapFilter::Substring(_, parts) = filled("(cn=x*{user}*z*)", "*") else { panic!() };
        assert_eq!(
            parts,
            LdapSubstringFilter { initial: Some("x".into()), any: vec!["*".into(), "z".into()], final_: None }
        );
        assert_eq!(filled("(n>={user})", "1"), LdapFilter::GreaterOrEqual("n".into(), "1".into()));
        assert_eq!(filled("(n<={user})", "1"), LdapFilter::LessOrEqual("n".into(), "1".into()));
        assert_eq!(filled("(n~={user})", "1"), LdapFilter::Approx("n".into(), "1".into()));
        let not = vec![equality("uid", "a"), LdapFilter::Not(Box::new(LdapFilter::Present("lock".into())))];
        assert_eq!(filled("(&(uid={user})(!(lock=*)))", "a"), LdapFilter::And(not));
        assert_eq!(filled("(memberOf=cn=x,dc=y{user})", ""), equality("memberOf", "cn=x,dc=y"));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let deep = format!("{}(uid={{user}}){}", "(!".repeat(16), ")".repeat(16));
        for text in [
            "",
            "uid={user}",
            "(uid={user}",
            "(uid={user}))",
            "(uid)",
            "(={user})",
            "(a b={user})",
            "(&)",
            "(!(a={user})(b=c))",
            "(uid=alice)",
            "(uid={username})",
            "(uid={user)",
            "(uid={user}\\zz)",
            "(uid={user}\\+1)",
            "(uid={user}\\f)",
            "(uid={user}\\ff)",
            "(uid={user}**x)",
            "(n>={user}*)",
            "(uid={user})(b=c)",
            ":={user}",
            "(:={user})",
            "(a:b:c:d:={user})",
            "(é={user})",
            "(&(uid={user})x)",
            &deep,
        ] {
            assert!(SearchFilter::parse(text, &USER).is_err(), "{text}");
        }
        assert_eq!(SearchFilter::parse("(member={dn})", &USER).unwrap_err(), "{dn} cannot stand here");
        assert_eq!(SearchFilter::parse("(a=b)", &Place::ALL).unwrap_err(), "there is no {user} and no {dn} in it");
    }
}

//! The types of options of the policy sections.

use super::{Level, Value};
use crate::config::filter::{Place, SearchFilter};
use crate::config::schema::Schema;
use crate::policy::cache::Reuse;
use crate::policy::exemption::Allow;
use crate::policy::identify::UpnSuffix;

/// A duration in milliseconds, written as seconds with up to three decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milliseconds(pub u64);

impl Value for Milliseconds {
    fn expected() -> String {
        "seconds with up to three decimals, such as 15 or 0.5".into()
    }

    fn schema() -> Schema {
        Schema::Decimal
    }

    fn parse(text: &str) -> Option<Self> {
        let (seconds, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(seconds) || !is_digits(decimals) || decimals.len() > 3 {
            return None;
        }
        let thousandths: u64 = format!("{decimals:0<3}").parse().ok()?;
        // Ten decimal digits are three hundred years.
        let seconds: u64 = seconds.parse().ok().filter(|n| *n < 10_000_000_000)?;
        Some(Self(seconds * 1000 + thousandths))
    }
}

/// A whole number, which may be negative. One that is too long for the machine counts as the greatest or the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integer(pub i64);

impl Value for Integer {
    fn expected() -> String {
        "a whole number, such as 5, 0 or -1".into()
    }

    fn schema() -> Schema {
        Schema::Integer
    }

    fn parse(text: &str) -> Option<Self> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let size = digits.parse::<i64>().unwrap_or(i64::MAX);
        Some(Self(if is_negative { -size } else { size }))
    }
}

/// How often a verification can be used again; `None`: never, which is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReuseLimit(pub Option<Reuse>);

impl Value for ReuseLimit {
    fn expected() -> String {
        Integer::expected()
    }

    fn schema() -> Schema {
        Schema::Integer
    }

    fn parse(text: &str) -> Option<Self> {
        let Integer(limit) = Integer::parse(text)?;
        Some(Self(match limit {
            0 => None,
            ..0 => Some(Reuse::Unlimited),
            1.. => Some(Reuse::AtMost(u32::try_from(limit).unwrap_or(u32::MAX))),
        }))
    }
}

impl Value for UpnSuffix {
    fn expected() -> String {
        "true or false".into()
    }

    fn schema() -> Schema {
        let owned = |words: [&str; 2]| words.map(String::from).to_vec();
        Schema::AnyCase { words: owned(["true", "false"]), also: owned(["yes", "no"]) }
    }

    fn parse(text: &str) -> Option<Self> {
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        match () {
            () if is("true") || is("yes") => Some(Self::Ignore),
            () if is("false") || is("no") => Some(Self::Keep),
            () => None,
        }
    }
}

impl Value for Allow {
    fn expected() -> String {
        "no_user or all_users".into()
    }

    fn schema() -> Schema {
        Schema::any_case(&["no_user", "all_users"])
    }

    fn parse(text: &str) -> Option<Self> {
        match () {
            () if text.eq_ignore_ascii_case("no_user") => Some(Self::NoUser),
            () if text.eq_ignore_ascii_case("all_users") => Some(Self::AllUsers),
            () => None,
        }
    }
}

/// Names separated by commas, trimmed, as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List(pub Vec<String>);

impl Value for List {
    fn expected() -> String {
        "names separated by commas, such as alice,bob".into()
    }

    fn schema() -> Schema {
        Schema::list(&Schema::pattern(r"[^,\s](?:[^,]*[^,\s])?"), ',')
    }

    fn parse(text: &str) -> Option<Self> {
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        names.iter().all(|name| !name.is_empty()).then_some(Self(names))
    }
}

/// What is put behind a name, after an `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(pub String);

impl Value for Domain {
    fn expected() -> String {
        "a domain without @, such as corp.example".into()
    }

    fn schema() -> Schema {
        Schema::pattern("[^@]+")
    }

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains('@')).then(|| Self(text.to_owned()))
    }
}

/// Addresses of one directory, in the order in which they are tried; each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapUrls(pub Vec<url::Url>);

impl Value for LdapUrls {
    fn expected() -> String {
        "one or more addresses such as ldaps://dc1.corp.example, separated by spaces or commas".into()
    }

    fn schema() -> Schema {
        let one = r"[lL][dD][aA][pP][sS]?://[^\s,/?#]+/?";
        Schema::pattern(format!(r"[,\s]*{one}(?:[,\s]+{one})*[,\s]*"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut urls = Vec::new();
        for text in text.split([',', ' ', '\t', '\n']).filter(|text| !text.is_empty()) {
            let url = url::Url::parse(text).ok()?;
            let is_plain = matches!(url.scheme(), "ldap" | "ldaps")
                && url.host_str().is_some_and(|host| !host.is_empty())
                && url.username().is_empty()
                && url.password().is_none()
                && matches!(url.path(), "" | "/")
                && url.query().is_none()
                && url.fragment().is_none();
            if !is_plain || urls.contains(&url) {
                return None;
            }
            urls.push(url);
        }
        (!urls.is_empty()).then_some(Self(urls))
    }
}

/// A filter that finds a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFilter(pub SearchFilter);

impl Value for UserFilter {
    fn expected() -> String {
        "an LDAP filter in parentheses with {user} in it, such as (uid={user})".into()
    }

    fn schema() -> Schema {
        Schema::pattern(r"\(.*\{user\}.*\)")
    }

    fn parse(text: &str) -> Option<Self> {
        SearchFilter::parse(text, &[Place::User]).ok().map(Self)
    }
}

/// A filter that finds the groups of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFilter(pub SearchFilter);

impl Value for GroupFilter {
    fn expected() -> String {
        "an LDAP filter in parentheses with {user} or {dn} in it, such as (member={dn})".into()
    }

    fn schema() -> Schema {
        Schema::pattern(r"\(.*\{(?:user|dn)\}.*\)")
    }

    fn parse(text: &str) -> Option<Self> {
        SearchFilter::parse(text, &Place::ALL).ok().map(Self)
    }
}

/// The name of an attribute of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute(pub String);

impl Value for Attribute {
    fn expected() -> String {
        "the name of an attribute, such as mail".into()
    }

    fn schema() -> Schema {
        Schema::pattern("[A-Za-z0-9;._-]+")
    }

    fn parse(text: &str) -> Option<Self> {
        // RFC 4512, 2.5: a short name or an object identifier, with options behind semicolons.
        let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b';' | b'_');
        (!text.is_empty() && text.bytes().all(is_part)).then(|| Self(text.to_owned()))
    }
}

/// A level, by SPS's name of the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLevel(pub Level);

impl Value for LogLevel {
    fn expected() -> String {
        "debug, info, warning, error or critical".into()
    }

    fn schema() -> Schema {
        Level::schema()
    }

    fn parse(text: &str) -> Option<Self> {
        Level::parse(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_up_to_three_decimals_and_nothing_else() {
        for (text, expected) in [
            ("15", Some(15_000)),
            ("0", Some(0)),
            ("0.5", Some(500)),
            ("15.025", Some(15_025)),
            ("9999999999.999", Some(9_999_999_999_999)),
            ("", None),
            (".5", None),
            ("5.", None),
            ("1.0001", None),
            ("-1", None),
            ("+1", None),
            ("nan", None),
            ("inf", None),
            ("1e3", None),
            ("1_0", None),
            ("10000000000", None),
            ("1.5.5", None),
        ] {
            assert_eq!(Milliseconds::parse(text).map(|ms| ms.0), expected, "{text:?}");
        }
    }

    #[test]
    fn whole_numbers_end_at_the_greatest() {
        for (text, expected) in [
            ("5", Some(5)),
            ("-1", Some(-1)),
            ("+7", Some(7)),
            ("-99999999999999999999", Some(-i64::MAX)),
            ("99999999999999999999", Some(i64::MAX)),
            ("", None),
            ("-", None),
            ("--1", None),
            ("many", None),
            ("1.0", None),
            ("1_0", None),
        ] {
            assert_eq!(Integer::parse(text).map(|n| n.0), expected, "{text:?}");
        }
        assert_eq!(ReuseLimit::parse("99999999999"), Some(ReuseLimit(Some(Reuse::AtMost(u32::MAX)))));
        assert_eq!(ReuseLimit::parse("-3"), Some(ReuseLimit(Some(Reuse::Unlimited))));
        assert_eq!(ReuseLimit::parse("0"), Some(ReuseLimit(None)));
    }

    #[test]
    fn directories_are_ldap_addresses_without_anything_behind_them() {
        let urls = LdapUrls::parse("ldaps://dc1.corp.example, ldap://[::1]:3389").unwrap();
        assert_eq!(urls.0.len(), 2);
        for text in ["", ",", "dc1", "https://dc1", "ldap://", "ldap://h/dc=x", "ldap://u:p@h", "ldap://h ldap://h"] {
            assert_eq!(LdapUrls::parse(text), None, "{text:?}");
        }
    }
}

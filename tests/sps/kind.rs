//! What a recorded call is like, where that is why it is answered otherwise.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::case::Case;
use super::compare::PRIVATE;

/// What the SDK handed on, or took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Neither ACCEPT, DENY nor NEEDINFO with a question.
    NoVerdict,
    /// A question of two parts.
    ShortQuestion,
    /// Without metadata or with some that are no text, or, of a DENY, without what the user is told.
    BareVerdict,
    /// What the user typed, in words that are kept or shown.
    RepeatedOtp,
    /// A secret that the configuration requires, and nobody has.
    NoSecret,
    /// A value of the configuration that the SDK cannot read, or does nothing with, and did not need in this call.
    UnusedMistake,
    /// An argument of another type than the gateway's contract says.
    OddArgument,
    /// A user whom nobody can see or tell from another, or with a name of more than 256 bytes.
    UnseenName,
    /// Nobody is named.
    NoName,
    /// The SDK's own cookie, given by none of its calls.
    ForgedCookie,
    /// A cookie that names another user than the request.
    OtherUser,
    /// Answers in the session cookie that no call took.
    ForgedAnswers,
    /// Something typed under a key that only the client asks for.
    OtherKey,
    /// A text for the claimant that a terminal obeys.
    ControlText,
    /// A question that was answered with null.
    NullAnswer,
    /// Everybody but some is let in, and the user's name is one of these in another spelling.
    OtherSpelling,
}

impl Kind {
    pub fn is_of(self, case: &Case) -> bool {
        let said = |field| case.said(field);
        let verdict = said("verdict").and_then(Value::as_str);
        let has_answered = case.raised.is_none() && !(case.hook == "session_ended" && case.verdict.is_null());
        match self {
            Self::NoVerdict => {
                let is_question = || said("question").and_then(Value::as_array).is_some_and(|parts| is_question(parts));
                let is_one = match verdict {
                    Some("ACCEPT" | "DENY") => true,
                    Some("NEEDINFO") => is_question(),
                    _ => false,
                };
                has_answered && (case.hook == "session_ended" || !is_one)
            }
            Self::ShortQuestion => {
                let parts = said("question").and_then(Value::as_array);
                has_answered && parts.is_some_and(|parts| parts.len() == 2)
            }
            Self::BareVerdict => {
                let is_bare = said("additional_metadata").is_none_or(|metadata| !metadata.is_string());
                let is_silent = verdict == Some("DENY") && said("reason").is_none();
                matches!(verdict, Some("ACCEPT" | "DENY")) && (is_bare || is_silent)
            }
            Self::RepeatedOtp => {
                let typed = case.request.get("key_value_pairs").and_then(|pairs| pairs.get("otp")?.as_str());
                let repeats = |typed: &str| {
                    let texts = ["additional_metadata", "reason"].into_iter().filter_map(said);
                    texts.filter_map(Value::as_str).any(|text| text.contains(typed))
                };
                typed.is_some_and(|typed| typed.chars().count() >= 4 && repeats(typed))
            }
            Self::NoSecret => {
                let metadata = said("additional_metadata").and_then(Value::as_str);
                let is_named = |text: &str| text.contains("token=None") || text.contains("token=''");
                case.plugin == "secret" && metadata.is_some_and(is_named)
            }
            Self::UnusedMistake => case.raised.is_none() && has_mistake(case),
            Self::OddArgument => case.raised.is_none() && case.request.iter().any(|(name, value)| is_odd(name, value)),
            Self::UnseenName => users(case).iter().any(|name| is_unseen(name)),
            Self::NoName => users(case).iter().all(|name| name.is_empty()),
            Self::ForgedCookie => {
                let cookie = case.request.get("cookie").and_then(Value::as_object);
                case.group.is_none()
                    && cookie.is_some_and(|cookie| cookie.keys().any(|key| PRIVATE.contains(&key.as_str())))
            }
            Self::OtherUser => {
                let kept = case.request.get("cookie").and_then(|cookie| cookie.get("username"));
                kept.is_some_and(|kept| {
                    Some(kept.as_str().unwrap_or_default()) != users(case).first().map(String::as_str)
                })
            }
            Self::ForgedAnswers => {
                let answers = case.request.get("session_cookie").and_then(|cookie| cookie.get("questions"));
                case.group.is_none() && answers.is_some()
            }
            Self::OtherKey => {
                let sections = sections(&case.config_ini);
                let is_own = |key: &str| {
                    let is_asked =
                        sections.values().any(|options| options.get("key").is_some_and(|asked| asked == key));
                    matches!(key, "otp" | "gu" | "username") || is_asked
                };
                let pairs = case.request.get("key_value_pairs").and_then(Value::as_object);
                let private = case.request.get("cookie").and_then(|cookie| cookie.get(PRIVATE[0]));
                let is_over = private.is_some_and(|private| private.get("successful_authentication").is_some());
                case.step > Some(1) && !is_over && pairs.is_some_and(|pairs| pairs.keys().any(|key| !is_own(key)))
            }
            Self::ControlText => {
                let parts = said("question").and_then(Value::as_array).into_iter().flatten();
                let mut texts = parts.chain(said("reason")).filter_map(Value::as_str);
                texts.any(|text| text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'))
            }
            Self::OtherSpelling => {
                let plain = |name: &str| name.trim().to_lowercase();
                let open = case.fixtures.user_lists.values().filter(|list| list.allow == "all_users");
                let excepted: Vec<&String> = open.flat_map(|list| &list.except).collect();
                users(case)
                    .iter()
                    .any(|user| !excepted.contains(&user) && excepted.iter().any(|name| plain(name) == plain(user)))
            }
            Self::NullAnswer => {
                let answers = said("session_cookie").and_then(|cookie| cookie.get("questions")?.as_object());
                answers.is_some_and(|answers| answers.values().any(Value::is_null))
            }
        }
    }
}

fn is_question(parts: &[Value]) -> bool {
    match parts {
        [key, prompt] => key.is_string() && prompt.is_string(),
        [key, prompt, hides] => key.is_string() && prompt.is_string() && hides.is_boolean(),
        _ => false,
    }
}

/// The names that the request has, in the order in which they count.
fn users(case: &Case) -> Vec<String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let field = |name: &str| text(case.request.get(name));
    let pair = |name: &str| text(case.request.get("key_value_pairs").and_then(|pairs| pairs.get(name)));
    let protocol = field("protocol").to_lowercase();
    let stripped = |name: String| match name.rsplit_once('@') {
        Some((before, _)) if matches!(protocol.as_str(), "rdp" | "tsg") => before.to_owned(),
        _ => name,
    };
    let all = [field("gateway_user"), pair("gu"), stripped(field("server_username")), stripped(pair("username"))];
    let named: Vec<String> = all.into_iter().filter(|name| !name.is_empty()).collect();
    if named.is_empty() { vec![String::new()] } else { named }
}

fn is_unseen(name: &str) -> bool {
    let is_unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    name.len() > 256 || name.chars().any(is_unseen) || !name.is_empty() && name.trim().is_empty()
}

/// Whether an argument is not what the contract says: text or null, ports, lists of names, objects of text.
fn is_odd(name: &str, value: &Value) -> bool {
    match name {
        _ if value.is_null() => false,
        "client_port" | "server_port" => value.as_u64().is_none_or(|port| port > 65535),
        "cookie" | "session_cookie" => !value.is_object(),
        "gateway_groups" => !value.as_array().is_some_and(|groups| groups.iter().all(Value::is_string)),
        "key_value_pairs" => {
            let is_text = |value: &Value| value.is_string() || value.is_null();
            !value.as_object().is_some_and(|pairs| pairs.values().all(is_text))
        }
        _ => !value.is_string(),
    }
}

/// Sections with their options, as Python's configparser has them.
fn sections(ini: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut name = String::new();
    for line in ini.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        if let Some(inner) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            inner.0.clone_into(&mut name);
            sections.entry(name.clone()).or_default();
        } else if let Some((option, value)) = line.split_once(['=', ':']) {
            let options = sections.entry(name.clone()).or_default();
            options.insert(option.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    sections
}

fn has_mistake(case: &Case) -> bool {
    let sections = sections(&case.config_ini);
    let store = sections.get("credential_store").and_then(|store| store.get("name"));
    let holds = |section: &str, option: &str| {
        let accounts = store.and_then(|store| case.fixtures.credential_stores.get(store)?.get(option)?.get(section));
        accounts.is_some_and(|accounts| accounts.iter().any(|account| account.get(0).is_some_and(Value::is_string)))
    };
    let is_known = |section: &str| {
        !section.starts_with("acme") && !matches!(section, "credential_store" | "https_proxy" | "https-proxy")
    };
    let token = || sections.get("acme").and_then(|options| options.get("token")).map_or("", String::as_str);
    if case.plugin == "secret" && (token().is_empty() || token() == "$" && !holds("acme", "token")) {
        return true;
    }
    if case.config_ini.replace("\r\n", "\n").chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return true;
    }
    sections.iter().any(|(section, options)| {
        options.iter().any(|(option, value)| {
            value == "$" && is_known(section) && !holds(section, option) || is_mistaken(section, option, value)
        })
    })
}

/// Whether the SDK cannot read this value, or leaves off in silence what it is to switch on.
fn is_mistaken(section: &str, option: &str, value: &str) -> bool {
    let value = value.to_lowercase();
    let is_none_of = |words: &[&str]| !words.contains(&value.as_str());
    let is_no_integer = || value.parse::<i64>().is_err();
    // Three decimals, and none of Python's other spellings.
    let is_no_duration = || {
        let (whole, decimals) = value.split_once('.').unwrap_or((&value, "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        !is_digits(whole) || !is_digits(decimals) || decimals.len() > 3
    };
    match (section, option) {
        ("auth", "disable_echo")
        | ("https_proxy" | "https-proxy" | "tls", "enabled")
        | ("acme", "ignore_connection_error") => is_none_of(&["yes", "no"]),
        ("authentication_cache", "reuse_limit") | ("connection_limit by=client_ip_gateway_user", "limit") => {
            is_no_integer()
        }
        ("authentication_cache", "soft_timeout" | "hard_timeout") => is_no_duration(),
        ("https-proxy" | "https_proxy", "port") => value.parse::<u16>().map_or(true, |port| port == 0),
        ("https-proxy" | "https_proxy", "server") => value.contains(['/', ' ']),
        ("whitelist source=ldap_server_group", "allow") => is_none_of(&["no_user", "all_users"]),
        ("whitelist source=ldap_server_group", "except") | ("ldap_server" | "whitelist source=user_list", "name") => {
            value.is_empty()
        }
        ("usermapping source=ldap_server", "user_attribute") => {
            let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ';');
            value.is_empty() || !value.chars().all(is_part)
        }
        ("tls", "ca_cert") => value.starts_with("$["),
        ("logging", "log_level") => is_none_of(&["debug", "info", "warning", "error", "critical"]),
        _ if section.starts_with("question_") => match option {
            "disable_echo" => is_none_of(&["yes", "no"]),
            // An answer under one of these is a code or a name, and goes into the session cookie.
            "key" => value.is_empty() || matches!(value.as_str(), "otp" | "gu" | "username"),
            _ => false,
        },
        _ => false,
    }
}

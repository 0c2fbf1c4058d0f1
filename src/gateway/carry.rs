//! A question's cookie and key as one word, for gateways that bring back with an answer one text and nothing else.
//!
//! The word is `cookie`, or `cookie.key` where the answer does not belong to `otp`. It holds no characters but A-Z, a-z, 0-9, `_`,
//! `-` and one dot: nothing that a protocol would have to quote.

use crate::domain::request::Request;
use crate::domain::secret::Secret;
use crate::domain::verdict::NeedInfo;

/// The key to which an answer belongs where none is named.
const USUAL: &str = "otp";

/// The keys that are no answers: who the claimant is, and the password that was checked before.
const RESERVED: [&str; 3] = ["gu", "username", "password"];

/// The longest key, in characters.
const KEY_LIMIT: usize = 32;

/// What a question is carried by.
#[derive(Clone, Debug)]
pub struct Carried {
    /// What the verdict handed out, unverified.
    pub cookie: Secret<String>,
    /// Under which key the answer belongs.
    pub key: String,
}

/// The word for what was asked; `None` where it cannot be carried, so that the question cannot be put.
pub fn pack(asked: &NeedInfo) -> Option<String> {
    let (key, cookie) = (&asked.question.key, asked.cookie.as_deref()?);
    match (is_word(cookie), key.as_str()) {
        (false, _) => None,
        (true, USUAL) => Some(cookie.to_owned()),
        (true, key) => is_key(key).then(|| format!("{cookie}.{key}")),
    }
}

/// What `word` carries; `None` where it is none of ours.
pub fn unpack(word: &str) -> Option<Carried> {
    let (cookie, key) = word.split_once('.').unwrap_or((word, USUAL));
    let is_ours = is_word(cookie) && is_key(key);
    is_ours.then(|| Carried { cookie: Secret::new(cookie.to_owned()), key: key.to_owned() })
}

impl Carried {
    /// Puts the answer in its place, and the cookie beside it.
    pub fn answer(self, request: &mut Request, answer: Secret<String>) {
        let Self { cookie, key } = self;
        request.cookie = Some(cookie);
        request.answers.put(key, answer);
    }
}

fn is_key(key: &str) -> bool {
    is_word(key) && key.len() <= KEY_LIMIT && !RESERVED.contains(&key)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::verdict::{Echo, Question};

    fn asked(cookie: Option<&str>, key: &str) -> NeedInfo {
        let question = Question { key: key.into(), prompt: "?".into(), echo: Echo::Hide };
        NeedInfo { question, cookie: cookie.map(Into::into) }
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        for (key, word) in [("otp", "c-0_k"), ("ticket", "c-0_k.ticket"), ("Why_not-1", "c-0_k.Why_not-1")] {
            assert_eq!(pack(&asked(Some("c-0_k"), key)).as_deref(), Some(word));
            let carried = unpack(word).unwrap();
            assert_eq!((carried.cookie.expose().as_str(), carried.key.as_str()), ("c-0_k", key));
        }
        let key = "k".repeat(32);
        assert!(pack(&asked(Some("c"), &key)).is_some_and(|word| unpack(&word).is_some()));
    }

    #[test]
    fn what_cannot_be_carried_is_not_packed() {
        let long = "k".repeat(33);
        for (cookie, key) in [
            (None, "otp"),
            (Some(""), "otp"),
            (Some("c.d"), "otp"),
            (Some("c:d"), "otp"),
            (Some("c"), ""),
            (Some("c"), "a key"),
            (Some("c"), "schlüssel"),
            (Some("c"), long.as_str()),
            (Some("c"), "gu"),
            (Some("c"), "username"),
            (Some("c"), "password"),
        ] {
            assert_eq!(pack(&asked(cookie, key)), None, "{cookie:?} {key:?}");
        }
    }

    #[test]
    fn a_word_of_others_is_not_unpacked() {
        let long = format!("c.{}", "k".repeat(33));
        for word in
            ["", ".", ".otp", "c.", "c.d.e", "c.gu", "c.username", "c.password", "c d", "c\n", "c.ö", long.as_str()]
        {
            assert!(unpack(word).is_none(), "{word:?}");
        }
    }
}

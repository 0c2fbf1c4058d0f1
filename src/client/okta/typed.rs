//! What a claimant may type: a code, a code behind the word that says what it belongs to, or a word that has one sent.

use crate::config::value::OktaCode;
use crate::domain::secret::TypedCode;
use crate::otp::typed;

/// What the claimant wants.
#[derive(Debug)]
pub enum Typed {
    /// A push: `push`.
    Push,
    /// A code to be sent: `sms`, `call` or `email`.
    Send(Delivery),
    /// This code to be verified.
    Code { kind: OktaCode, code: TypedCode },
}

/// How Okta sends a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Sms,
    Call,
    Email,
}

impl Delivery {
    /// How codes of `kind` are sent, if they are.
    pub const fn of(kind: OktaCode) -> Option<Self> {
        match kind {
            OktaCode::Sms => Some(Self::Sms),
            OktaCode::Call => Some(Self::Call),
            OktaCode::Email => Some(Self::Email),
            OktaCode::Otp
            | OktaCode::Okta
            | OktaCode::Google
            | OktaCode::Token
            | OktaCode::Rsa
            | OktaCode::Symantec
            | OktaCode::Yubikey => None,
        }
    }

    /// The kind of the codes.
    pub const fn kind(self) -> OktaCode {
        match self {
            Self::Sms => OktaCode::Sms,
            Self::Call => OktaCode::Call,
            Self::Email => OktaCode::Email,
        }
    }
}

/// What stands between the word and the code, for people and for the clients that cannot type a space.
const SEPARATORS: [char; 6] = [' ', '\t', '=', '~', '_', ':'];

/// The lengths of codes that are digits.
const DIGITS: std::ops::RangeInclusive<u32> = 4..=10;

/// Reads what was typed; a code alone is of `default`.
///
/// # Errors
/// What was expected, where it cannot be a code of its kind.
pub fn read(typed: &str, default: OktaCode) -> Result<Typed, &'static str> {
    let typed = typed.trim();
    let (word, rest) = typed.split_once(SEPARATORS).unwrap_or((typed, ""));
    let rest = rest.trim();
    if rest.is_empty() && ["push", "p"].iter().any(|known| word.eq_ignore_ascii_case(known)) {
        return Ok(Typed::Push);
    }
    match OktaCode::named(word) {
        Some(kind) if rest.is_empty() => {
            Delivery::of(kind).map(Typed::Send).ok_or("a code behind that word, such as otp 123456")
        }
        Some(kind) => code(rest, kind),
        None => code(typed, default),
    }
}

fn code(text: &str, kind: OktaCode) -> Result<Typed, &'static str> {
    let (code, expected) = match kind {
        OktaCode::Otp | OktaCode::Okta | OktaCode::Google | OktaCode::Sms | OktaCode::Call | OktaCode::Email => {
            (digits(text), "a code of 4 to 10 digits")
        }
        OktaCode::Token | OktaCode::Rsa | OktaCode::Symantec => (visible(text), "a passcode of 4 to 64 characters"),
        OktaCode::Yubikey => (modhex(text), "what a YubiKey types: 32 to 48 of the letters cbdefghijklnrtuv"),
    };
    code.map(|code| Typed::Code { kind, code }).ok_or(expected)
}

/// Digits as people type them.
fn digits(text: &str) -> Option<TypedCode> {
    DIGITS
        .into_iter()
        .find_map(|digits| typed::code(text, digits))
        .map(|mut code| TypedCode::new(std::mem::take(&mut *code)))
}

fn visible(text: &str) -> Option<TypedCode> {
    let fits = (4..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| TypedCode::new(text.to_owned()))
}

fn modhex(text: &str) -> Option<TypedCode> {
    let fits =
        (32..=48).contains(&text.len()) && text.bytes().all(|b| b"cbdefghijklnrtuv".contains(&b.to_ascii_lowercase()));
    fits.then(|| TypedCode::new(text.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ccccccbcgujhingjrdejhgfnuetrgigvejhhgbkugded";

    fn shown(typed: &str, default: OktaCode) -> String {
        match read(typed, default) {
            Ok(Typed::Push) => "push".into(),
            Ok(Typed::Send(delivery)) => format!("send {}", delivery.kind().word()),
            Ok(Typed::Code { kind, code }) => format!("{} {}", kind.word(), code.expose()),
            Err(expected) => format!("expected {expected}"),
        }
    }

    #[test]
    fn a_code_alone_is_of_the_default_kind() {
        assert_eq!(shown("123456", OktaCode::Otp), "otp 123456");
        assert_eq!(shown(" 123 456 ", OktaCode::Sms), "sms 123456");
        assert_eq!(shown("１２３-４５６", OktaCode::Google), "google 123456");
        assert_eq!(shown(&KEY.to_uppercase(), OktaCode::Yubikey), format!("yubikey {KEY}"));
        assert_eq!(shown("pin\"4\\711", OktaCode::Rsa), "rsa pin\"4\\711");
    }

    #[test]
    fn the_word_before_a_code_says_what_it_belongs_to() {
        for (typed, read) in [
            ("otp 123456", "otp 123456"),
            ("OTP  123 456", "otp 123456"),
            ("o=123456", "okta 123456"),
            ("g_123456", "google 123456"),
            ("google~123456", "google 123456"),
            ("sms:12345", "sms 12345"),
            ("call 12345", "call 12345"),
            ("Email\t123456", "email 123456"),
            ("token 1234abcd", "token 1234abcd"),
            ("r=1234=5678", "rsa 1234=5678"),
            ("s 654321", "symantec 654321"),
        ] {
            assert_eq!(shown(typed, OktaCode::Yubikey), read, "{typed}");
        }
        assert_eq!(shown(&format!("y_{KEY}"), OktaCode::Otp), format!("yubikey {KEY}"));
    }

    #[test]
    fn a_word_alone_has_something_sent() {
        for (typed, read) in
            [("sms", "send sms"), ("CALL ", "send call"), ("email=", "send email"), ("push", "push"), ("P", "push")]
        {
            assert_eq!(shown(typed, OktaCode::Otp), read, "{typed}");
        }
    }

    #[test]
    fn what_cannot_be_a_code_is_refused() {
        let long = "1".repeat(512);
        for typed in [
            "",
            " ",
            "123",
            "12345678901",
            "12345a",
            "-123456x",
            "otp",
            "o_12_34",
            "otp sms",
            "sms 12a456",
            "push 123456",
            "x=123456",
            "123456\0",
            "12.3456",
            "{\"passCode\":1}",
            "0x1234",
            &long,
            KEY,
            "٥٣٦١٠١",
        ] {
            assert!(shown(typed, OktaCode::Otp).starts_with("expected"), "{typed:?}");
        }
        for typed in ["123456", "cccc", &KEY[..31], &format!("{KEY}bbbbb"), &format!("{}a", &KEY[..40]), "sms 1"] {
            assert!(shown(typed, OktaCode::Yubikey).starts_with("expected"), "{typed:?}");
        }
        for typed in ["123", "1234\u{7f}", "pässwort", "12 34", &long] {
            assert!(shown(typed, OktaCode::Token).starts_with("expected"), "{typed:?}");
        }
    }
}

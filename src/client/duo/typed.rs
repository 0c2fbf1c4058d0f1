//! What a claimant types to Duo: a passcode, or a word that asks for something else, with a device's number behind it.

use zeroize::Zeroizing;

use super::answer::Device;
use crate::config::value::DuoFactor;
use crate::domain::secret::Secret;

/// The digits that passcodes of the app, of tokens and of administrators have, at least and at most.
const DIGITS: std::ops::RangeInclusive<usize> = 4..=16;

/// The characters of a YubiKey's passcode, at least and at most.
const MODHEX: std::ops::RangeInclusive<usize> = 32..=48;

/// How something is proved on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    Push,
    Phone,
    Sms,
}

/// Which factor is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    One(Factor),
    /// The first that a device can do.
    Any,
}

/// What was typed.
pub enum Typed {
    Passcode(Secret<String>),
    Factor(Factor, Option<usize>),
}

/// Which device is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// The first that can do it.
    Auto,
    /// By id or name.
    Named(&'a str),
    /// The phone of this number, counted from 1 as Duo lists them.
    Number(usize),
}

impl Factor {
    /// Every factor of a device, in the order of preference.
    pub const ALL: [Self; 3] = [Self::Push, Self::Phone, Self::Sms];

    /// The word at Duo, as a factor and as a capability, and the word that is typed.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Phone => "phone",
            Self::Sms => "sms",
        }
    }
}

impl From<DuoFactor> for Wish {
    fn from(option: DuoFactor) -> Self {
        match option {
            DuoFactor::Push => Self::One(Factor::Push),
            DuoFactor::Phone => Self::One(Factor::Phone),
            DuoFactor::Sms => Self::One(Factor::Sms),
            DuoFactor::Auto => Self::Any,
        }
    }
}

/// Reads `typed`: a word in any case with a number from 1 to 99 behind it or none; else a passcode, as people write it with
/// spaces and dashes. `None` where it is neither.
pub fn read(typed: &str) -> Option<Typed> {
    let word = typed.trim_matches(' ');
    for factor in Factor::ALL {
        let name = factor.word();
        let (Some(head), Some(number)) = (word.get(..name.len()), word.get(name.len()..)) else { continue };
        if head.eq_ignore_ascii_case(name) {
            return number_behind(number).map(|number| Typed::Factor(factor, number));
        }
    }
    let mut code = Zeroizing::new(String::with_capacity(typed.len()));
    code.extend(typed.chars().filter(|c| !matches!(c, ' ' | '-')));
    let is_digits = DIGITS.contains(&code.len()) && code.bytes().all(|b| b.is_ascii_digit());
    let is_modhex =
        MODHEX.contains(&code.len()) && code.bytes().all(|b| b"cbdefghijklnrtuv".contains(&b.to_ascii_lowercase()));
    (is_digits || is_modhex).then(|| Typed::Passcode(Secret::new(std::mem::take(&mut *code))))
}

/// `Some(None)` where there is no number.
fn number_behind(text: &str) -> Option<Option<usize>> {
    if text.is_empty() {
        return Some(None);
    }
    let is_number = text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit());
    let number = if is_number { text.parse().ok() } else { None };
    number.filter(|number| *number > 0).map(Some)
}

/// What `device` is to be called in a request for `factor`.
///
/// # Errors
/// Says why none of the devices will do.
pub fn choose(devices: &[Device], which: Which<'_>, factor: Factor) -> Result<String, String> {
    let word = factor.word();
    let can = |device: &Device| device.capabilities.iter().any(|capability| capability == word);
    let (found, whose) = match which {
        Which::Auto if devices.iter().any(can) => return Ok("auto".into()),
        Which::Auto => return Err(format!("no device of the user can do {word}")),
        Which::Named(name) => {
            let named = |device: &&Device| device.id == name || device.name.as_deref() == Some(name);
            (devices.iter().find(named), format!("called {name}"))
        }
        Which::Number(number) => {
            let mut phones = devices.iter().filter(|device| device.kind == "phone");
            (phones.nth(number.saturating_sub(1)), format!("number {number}"))
        }
    };
    match found {
        Some(device) if can(device) => Ok(device.id.clone()),
        Some(_) => Err(format!("the user's device {whose} cannot do {word}")),
        None => Err(format!("the user has no device {whose}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(typed: &str) -> Option<String> {
        Some(match read(typed)? {
            Typed::Passcode(code) => format!("passcode {}", code.expose()),
            Typed::Factor(factor, number) => format!("{} {number:?}", factor.word()),
        })
    }

    #[test]
    fn passcodes_and_words_are_read() {
        let yubikey = "cccccccgklgcvnkcvnnegrnhgrjkhlkfhdkclfncvlgj";
        for (typed, expected) in [
            ("123456", "passcode 123456"),
            ("123 456", "passcode 123456"),
            (" 12-34-56-7 ", "passcode 1234567"),
            ("123456789", "passcode 123456789"),
            (yubikey, &format!("passcode {yubikey}")),
            ("push", "push None"),
            ("PUSH2", "push Some(2)"),
            (" phone99 ", "phone Some(99)"),
            ("sms1", "sms Some(1)"),
        ] {
            assert_eq!(shown(typed).as_deref(), Some(expected), "{typed}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for typed in [
            "",
            " ",
            "-",
            "123",
            "12345678901234567",
            "12345a",
            "１２３４５６",
            "123456\0",
            "123456\n",
            "+123456",
            "push0",
            "push100",
            "push 2",
            "push-1",
            "pushy",
            "sms٢",
            "auto",
            "pu\u{a7}sh",
            "ccccccc",
            "passcode",
            "123456&factor=push",
            "müsli",
            "s",
        ] {
            assert_eq!(shown(typed), None, "{typed:?}");
        }
    }

    #[test]
    fn devices_are_chosen_by_what_they_can_do() {
        let device = |id: &str, name: Option<&str>, kind: &str, capabilities: &[&str]| Device {
            id: id.into(),
            name: name.map(str::to_owned),
            kind: kind.into(),
            capabilities: capabilities.iter().map(|word| (*word).to_owned()).collect(),
        };
        let devices = [
            device("DT1", Some("Keyring"), "token", &[]),
            device("DP1", Some("Home"), "phone", &["phone", "sms"]),
            device("DP2", None, "phone", &["auto", "push", "sms", "mobile_otp"]),
        ];
        for (which, factor, expected) in [
            (Which::Auto, Factor::Push, Ok("auto")),
            (Which::Named("DP2"), Factor::Push, Ok("DP2")),
            (Which::Named("Home"), Factor::Phone, Ok("DP1")),
            (Which::Named("home"), Factor::Phone, Err("the user has no device called home")),
            (Which::Named("Keyring"), Factor::Sms, Err("the user's device called Keyring cannot do sms")),
            (Which::Number(1), Factor::Sms, Ok("DP1")),
            (Which::Number(1), Factor::Push, Err("the user's device number 1 cannot do push")),
            (Which::Number(2), Factor::Push, Ok("DP2")),
            (Which::Number(3), Factor::Push, Err("the user has no device number 3")),
        ] {
            let found = choose(&devices, which, factor);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{which:?} {factor:?}");
        }
        assert!(choose(&devices[..1], Which::Auto, Factor::Push).is_err());
    }
}

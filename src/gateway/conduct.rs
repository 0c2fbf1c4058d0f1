//! What an operator says of a gateway that has no protocol of ours: the same few things for all of them.

use std::time::Duration;

use crate::domain::secret::Secret;

/// A gateway that has a language of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    Sps,
    RadiusExec,
    Openvpn,
    SquidBasic,
    SquidExt,
    PamExec,
    Pwauth,
    Checkpassword,
}

impl Name {
    /// Every one there is.
    pub const ALL: [Self; 8] = [
        Self::Sps,
        Self::RadiusExec,
        Self::Openvpn,
        Self::SquidBasic,
        Self::SquidExt,
        Self::PamExec,
        Self::Pwauth,
        Self::Checkpassword,
    ];

    /// The name on the command line, in plugin.ini, and of its page in docs/gateways.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sps => "sps",
            Self::RadiusExec => "radius-exec",
            Self::Openvpn => "openvpn",
            Self::SquidBasic => "squid-basic",
            Self::SquidExt => "squid-ext",
            Self::PamExec => "pam-exec",
            Self::Pwauth => "pwauth",
            Self::Checkpassword => "checkpassword",
        }
    }

    /// The one of that name.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.word() == word)
    }
}

/// What the field that a gateway calls the password holds, the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordField {
    /// The one-time password.
    Code,
    /// A password that was, or will be, checked by the gateway itself: the claimant is asked for the code.
    Checked,
}

/// What a gateway is told where no verdict could be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The same as of a claimant who failed.
    Reject,
    /// That it is our fault and may pass, in the gateway's own words.
    TempFail,
}

/// How a gateway is served.
#[derive(Clone, Debug)]
pub struct Conduct {
    /// What parts the password from the code, where one field holds both.
    pub append_otp: Option<String>,
    pub field: PasswordField,
    /// The longest that the whole run may take.
    pub wait: Duration,
    /// The shortest.
    pub min_runtime: Duration,
    pub on_error: OnError,
    /// Whether a program checks the password before the second factor is looked at.
    pub has_first_factor: bool,
}

/// A password field, taken apart.
#[derive(Clone, Debug, Default)]
pub struct Typed {
    /// What is to be checked as a password, by whoever checks passwords.
    pub password: Option<Secret<String>>,
    /// The one-time password; empty where Enter was pressed.
    pub otp: Option<Secret<String>>,
}

impl Conduct {
    /// Takes apart what a claimant typed where a gateway asks for a password. The code stands behind the last separator, so
    /// that a password may hold one.
    pub fn take_apart(&self, field: Secret<String>) -> Typed {
        // Both parts go into custody of their own.
        let parts = self.append_otp.as_deref().map(|separator| field.expose().rsplit_once(separator));
        match parts {
            Some(Some((password, otp))) => {
                Typed { password: Some(Secret::new(password.to_owned())), otp: Some(Secret::new(otp.to_owned())) }
            }
            // Without a separator there is no code: a push may be meant.
            Some(None) => Typed { password: Some(field), otp: None },
            None if self.has_first_factor || self.field == PasswordField::Checked => {
                Typed { password: Some(field), otp: None }
            }
            None => Typed { password: None, otp: Some(field) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conduct(append_otp: Option<&str>, field: PasswordField, has_first_factor: bool) -> Conduct {
        Conduct {
            append_otp: append_otp.map(str::to_owned),
            field,
            wait: Duration::from_secs(1),
            min_runtime: Duration::ZERO,
            on_error: OnError::TempFail,
            has_first_factor,
        }
    }

    #[test]
    fn a_password_field_is_taken_apart_as_the_operator_says() {
        for (separator, kind, has_first_factor, field, expected) in [
            (None, PasswordField::Code, false, "123456", (None, Some("123456"))),
            (None, PasswordField::Code, false, "", (None, Some(""))),
            (None, PasswordField::Checked, false, "pw", (Some("pw"), None)),
            (None, PasswordField::Code, true, "pw", (Some("pw"), None)),
            (Some(","), PasswordField::Code, true, "p,w,123456", (Some("p,w"), Some("123456"))),
            (Some(","), PasswordField::Code, false, "pw,", (Some("pw"), Some(""))),
            (Some(","), PasswordField::Code, false, ",123456", (Some(""), Some("123456"))),
            (Some(","), PasswordField::Code, false, "pw", (Some("pw"), None)),
            (Some("::"), PasswordField::Checked, false, "p:w::1", (Some("p:w"), Some("1"))),
        ] {
            let typed = conduct(separator, kind, has_first_factor).take_apart(Secret::new(field.to_owned()));
            let text = |secret: &Option<Secret<String>>| secret.as_ref().map(|secret| secret.expose().clone());
            let found = (text(&typed.password), text(&typed.otp));
            assert_eq!(found, (expected.0.map(str::to_owned), expected.1.map(str::to_owned)), "{field:?}");
        }
    }

    #[test]
    fn every_name_is_found_by_its_word() {
        assert!(Name::ALL.into_iter().all(|name| Name::named(name.word()) == Some(name)));
        assert_eq!(Name::named("Sps"), None);
    }
}

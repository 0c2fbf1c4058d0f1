//! Authenticator secrets in the letters that people read aloud (RFC 4648, base32).

use std::sync::LazyLock;

use data_encoding::{BASE32_NOPAD, Encoding, Specification};

use crate::domain::secret::{Secret, SecretBytes};

/// Base32 as authenticator apps read it: either case, without padding; bits left over at the end do not matter.
#[expect(clippy::expect_used, reason = "the specification is constant, and a test reads with it")]
static LENIENT: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
    specification.translate.from.push_str("abcdefghijklmnopqrstuvwxyz");
    specification.translate.to.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    specification.check_trailing_bits = false;
    specification.encoding().expect("a valid specification")
});

/// The secret that `text` spells; spaces, dashes and `=` padding do not count. `None` where it is not base32.
pub fn decode(text: &str) -> Option<SecretBytes> {
    let plain = Secret::new(text.chars().filter(|c| !matches!(c, ' ' | '-' | '=')).collect::<String>());
    // Decoded into bytes of the same custody; the text is wiped with `plain`.
    LENIENT.decode(plain.expose().as_bytes()).ok().map(SecretBytes::new)
}

/// The secret in upper-case base32 without padding, for an otpauth URI.
pub fn encode(secret: &SecretBytes) -> Secret<String> {
    // The caller asked for the text of the secret; it stays in custody.
    Secret::new(BASE32_NOPAD.encode(secret.expose()))
}

/// Base32 in groups of four, as people read it aloud.
pub fn grouped(secret: &str) -> String {
    let mut groups = String::with_capacity(secret.len() * 5 / 4 + 1);
    for (index, c) in secret.chars().enumerate() {
        if index > 0 && index % 4 == 0 {
            groups.push(' ');
        }
        groups.push(c);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_in_every_form_that_apps_show() {
        let plain = decode("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP").unwrap();
        for form in [
            "jbswy3dpehpk3pxpjbswy3dpehpk3pxp",
            "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP",
            "JBSW-Y3DP-EHPK-3PXP-JBSW-Y3DP-EHPK-3PXP",
            "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP====",
        ] {
            assert_eq!(decode(form).unwrap().expose(), plain.expose(), "{form}");
        }
        assert_eq!(decode("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PX").unwrap().expose().len(), 19);
        assert_eq!(encode(&plain).expose(), "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP");
    }

    #[test]
    fn what_is_not_base32_is_refused() {
        for form in ["A", "JBSWY3DPEHPK3PX0", "otpauth://x", "JBSWY3DPEHPK3PXPé"] {
            assert!(decode(form).is_none(), "{form}");
        }
    }
}

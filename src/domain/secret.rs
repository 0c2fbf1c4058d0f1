//! Whatever an attacker could replay.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// A secret: wiped when dropped, printed as `<redacted>`, read only through [`Secret::expose`].
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes `value` into custody.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The secret itself. A comment beside each use says why it is safe there.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Authenticator output as the claimant typed it.
pub type TypedCode = Secret<String>;

/// A key or an authenticator secret.
pub type SecretBytes = Secret<Vec<u8>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_no_secret() {
        assert_eq!(format!("{:?}", TypedCode::new("492039".into())), "<redacted>");
    }
}

//! `pbkdf2_sha256$ITERATIONS$SALT$HEX`: a recovery code as piccolo hashed it.

use data_encoding::HEXLOWER_PERMISSIVE;

use crate::admin::import::incoming::Hashed;

/// The most rounds that are taken over: each try at a code costs all of them.
const ROUNDS: u32 = 1_000_000;

/// Reads a hash.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse(text: &str) -> Result<Hashed, String> {
    let mut parts = text.split('$');
    let (Some("pbkdf2_sha256"), Some(iterations), Some(salt), Some(hash), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("the hash is not of the form pbkdf2_sha256$ITERATIONS$SALT$HEX".into());
    };
    let iterations =
        iterations.parse().ok().filter(|iterations| (1..=ROUNDS).contains(iterations)).ok_or_else(|| {
            format!("expected 1 to {ROUNDS} iterations of PBKDF2; let the user have new codes: countersign recovery")
        })?;
    let hash = HEXLOWER_PERMISSIVE.decode(hash.as_bytes()).ok().and_then(|hash| hash.try_into().ok());
    Ok(Hashed { iterations, salt: salt.to_owned(), hash: hash.ok_or("the hash is not 64 hexadecimal digits")? })
}

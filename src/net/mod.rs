//! The way to any service: names to addresses, and TLS. Nothing here is made before it is needed.

pub mod certificate;
pub mod resolve;
pub mod tls;

use std::cell::OnceCell;

/// What is in `cell`, made there when it is needed first. A failure is not kept: what cannot be read now may be there for
/// the next.
///
/// # Errors
/// Those of `make`.
pub fn once<T, E>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

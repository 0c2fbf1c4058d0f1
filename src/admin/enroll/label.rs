//! What authenticators are called.

use crate::admin::{AdminError, desk};
use crate::domain::authenticator::Authenticator;
use crate::domain::foreign::Foreign;

/// How an authenticator is called when nobody says.
const LABEL: &str = "authenticator";

/// The label that was asked for, or the first free one of the usual name.
pub fn free_label(existing: &[Authenticator], wanted: Option<&str>) -> Result<String, AdminError> {
    let is_taken = |label: &str| existing.iter().any(|authenticator| authenticator.label == label);
    if let Some(label) = wanted.map(desk::label).transpose()? {
        return if is_taken(label) { Err(label_taken(label)) } else { Ok(label.to_owned()) };
    }
    Ok(first_free(is_taken))
}

/// The first label of the usual name that is not taken.
pub fn first_free(is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number: u64| format!("{LABEL} {number}"));
    let free = std::iter::once(LABEL.to_owned()).chain(numbered).find(|label| !is_taken(label));
    free.unwrap_or_default()
}

/// The error for a label that the user has already.
pub fn label_taken(label: &str) -> AdminError {
    AdminError::Data(format!("the user has an authenticator called \"{}\"; choose another --label", Foreign(label)))
}

//! What to do with what the claimant has typed so far: verify it, push, or ask.

use crate::domain::secret::TypedCode;

/// The next step towards a proof.
#[derive(Debug)]
pub enum Step<'a> {
    /// Something was typed: it is a code.
    Verify(&'a TypedCode),
    /// An empty answer, or a protocol that cannot ask: push.
    Push,
    /// Nothing was typed yet: ask.
    Ask,
}

/// The next step for an answer to `otp`, where there is one, over `protocol`.
///
/// A protocol that is not among `interactive` cannot ask; one that is not named at all can, since the gateway that
/// sent the request takes a need_info like any other verdict.
pub fn step<'a>(otp: Option<&'a TypedCode>, protocol: Option<&str>, interactive: &[String]) -> Step<'a> {
    match otp {
        // Only whether something was typed is looked at.
        Some(typed) if !typed.expose().is_empty() => Step::Verify(typed),
        Some(_) => Step::Push,
        None if can_ask(protocol, interactive) => Step::Ask,
        None => Step::Push,
    }
}

/// Whether the claimant can be asked over `protocol`.
pub fn can_ask(protocol: Option<&str>, interactive: &[String]) -> bool {
    protocol.is_none_or(|protocol| interactive.iter().any(|p| p.eq_ignore_ascii_case(protocol)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_answer_and_a_mute_protocol_are_a_push() {
        let interactive = ["rdp".to_owned(), "ssh".to_owned()];
        let (empty, typed) = (TypedCode::new(String::new()), TypedCode::new(" ".into()));
        assert!(matches!(step(None, Some("SSH"), &interactive), Step::Ask));
        assert!(matches!(step(None, None, &interactive), Step::Ask));
        assert!(matches!(step(None, Some("http"), &interactive), Step::Push));
        assert!(matches!(step(None, Some("ssh"), &[]), Step::Push));
        assert!(matches!(step(Some(&empty), Some("ssh"), &interactive), Step::Push));
        assert!(matches!(step(Some(&typed), Some("http"), &interactive), Step::Verify(_)));
    }
}

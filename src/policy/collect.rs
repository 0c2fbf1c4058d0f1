//! What to do with what the claimant has typed so far: verify it, push, or ask.

use crate::domain::request::Dialogue;
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

/// The next step for an answer to `otp`, where there is one, of a claimant who can be asked or not.
pub fn step(otp: Option<&TypedCode>, can_ask: bool) -> Step<'_> {
    match otp {
        // Only whether something was typed is looked at.
        Some(typed) if !typed.expose().is_empty() => Step::Verify(typed),
        Some(_) => Step::Push,
        None if can_ask => Step::Ask,
        None => Step::Push,
    }
}

/// Whether the claimant can be asked: what the gateway says of its `dialogue`, else what the configuration says of
/// `protocol`.
///
/// A protocol that is not among `interactive` cannot ask; one that is not named at all can, since the gateway that
/// sent the request takes a need_info like any other verdict.
pub fn can_ask(dialogue: Dialogue, protocol: Option<&str>, interactive: &[String]) -> bool {
    match dialogue {
        Dialogue::Open => true,
        Dialogue::Closed => false,
        Dialogue::ByProtocol => {
            protocol.is_none_or(|protocol| interactive.iter().any(|p| p.eq_ignore_ascii_case(protocol)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_answer_and_a_mute_protocol_are_a_push() {
        let interactive = ["rdp".to_owned(), "ssh".to_owned()];
        let (empty, typed) = (TypedCode::new(String::new()), TypedCode::new(" ".into()));
        let by_protocol = |protocol, interactive: &[String]| can_ask(Dialogue::ByProtocol, protocol, interactive);
        assert!(by_protocol(Some("SSH"), &interactive) && by_protocol(None, &interactive));
        assert!(!by_protocol(Some("http"), &interactive) && !by_protocol(Some("ssh"), &[]));
        assert!(can_ask(Dialogue::Open, Some("radius"), &interactive));
        assert!(
            !can_ask(Dialogue::Closed, Some("ssh"), &interactive) && !can_ask(Dialogue::Closed, None, &interactive)
        );
        assert!(matches!(step(None, true), Step::Ask));
        assert!(matches!(step(None, false), Step::Push));
        assert!(matches!(step(Some(&empty), true), Step::Push));
        assert!(matches!(step(Some(&typed), false), Step::Verify(_)));
    }
}

//! What a container says of a key's use (RFC 6030, 5): a key is taken over where nothing of it is lost here.

use std::time::UNIX_EPOCH;

use super::Node;
use super::tree::{attribute, child, children, text};
use crate::domain::foreign::Foreign;
use crate::domain::time::UnixTime;

/// Whether `key` may be used at `now` for codes as they are verified here.
///
/// # Errors
/// Says what of its policy is in the way. What is not known permits nothing, as the RFC demands.
pub fn permits(key: Node<'_>, now: UnixTime) -> Result<(), String> {
    let Some(policy) = child(key, "Policy") else { return Ok(()) };
    for rule in policy.children().filter(Node::is_element) {
        match rule.tag_name().name().to_ascii_lowercase().as_str() {
            "startdate" => {
                if time(rule)? > now {
                    return Err(format!("its policy lets it be used from {} on; import it then", said(rule)));
                }
            }
            "expirydate" => {
                if time(rule)? <= now {
                    return Err(format!("it expired at {}; let its user have a new one", said(rule)));
                }
            }
            "pinpolicy" => pin(rule)?,
            // Looked at together.
            "keyusage" => {}
            _ => {
                return Err(format!(
                    "<{}> in its <Policy> is not heeded here; to take it all the same, take that element out",
                    Foreign(rule.tag_name().name())
                ));
            }
        }
    }
    let mut usages = children(policy, "KeyUsage").filter_map(text).peekable();
    if usages.peek().is_some() && !usages.any(|usage| usage.eq_ignore_ascii_case("OTP")) {
        return Err("its <KeyUsage> is not OTP: it is no key for codes; leave it out with --skip-flawed".into());
    }
    Ok(())
}

/// A PIN that the device asks for itself is nothing to whoever verifies its codes.
fn pin(rule: Node<'_>) -> Result<(), String> {
    match attribute(rule, "PINUsageMode") {
        Some(mode) if mode.eq_ignore_ascii_case("Local") => Ok(()),
        mode => Err(format!(
            "its <PINPolicy> wants a PIN (PINUsageMode {}), and codes are verified here without one; take <PINPolicy> out \
             once the gateway asks for a password of its own",
            Foreign(mode.unwrap_or("not said"))
        )),
    }
}

fn time(rule: Node<'_>) -> Result<UnixTime, String> {
    let time = text(rule).and_then(|text| humantime::parse_rfc3339_weak(text).ok());
    time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map(|since| UnixTime(since.as_secs())).ok_or_else(|| {
        let (name, said) = (Foreign(rule.tag_name().name()), said(rule));
        format!("<{name}> {said}: expected a time in UTC, such as 2030-12-31T00:00:00Z")
    })
}

fn said(rule: Node<'_>) -> Foreign<'_> {
    Foreign(text(rule).unwrap_or_default())
}

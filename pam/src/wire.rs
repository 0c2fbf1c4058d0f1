//! The lines that go to `countersign serve` and come from it (protocol.md).

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroizing;

/// What the host says of the login.
#[derive(Default)]
pub struct Facts {
    pub service: String,
    pub user: String,
    pub remote_host: Option<String>,
    pub tty: Option<String>,
}

/// What the last answer left for the next request.
#[derive(Default)]
pub struct Kept {
    cookie: Option<String>,
    session_cookie: Option<Value>,
}

/// What somebody typed, and at which question.
pub struct Typed {
    pub key: String,
    pub text: Zeroizing<String>,
}

/// A question to put.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    pub key: String,
    /// Lines to show before the one at which something is typed.
    pub lines: Vec<String>,
    pub prompt: String,
    pub echo: Echo,
}

/// Whether what is typed can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    Show,
    Hide,
}

/// What was decided.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept {
        message: Option<String>,
    },
    Ask(Question),
    /// The claimant is refused.
    Deny {
        message: Option<String>,
    },
    /// Nothing could be decided: a fault, which is not the claimant's.
    Fault {
        message: Option<String>,
        reason: String,
    },
}

/// The request number `id` of a session, with what was typed if anything was, and its line feed.
pub fn request(
    id: u64,
    session_id: &str,
    facts: &Facts,
    typed: Option<&Typed>,
    kept: &Kept,
    timeout: Duration,
) -> Zeroizing<Vec<u8>> {
    let Facts { service, user, remote_host, tty } = facts;
    let Kept { cookie, session_cookie } = kept;
    // So large that it does not move while it is written, and leaves no copy of what was typed behind: JSON makes six bytes
    // of one at most.
    let session_cookie = session_cookie.as_ref().map(Value::to_string).unwrap_or_default();
    let texts = [service, service, user, &session_cookie].into_iter().chain(remote_host).chain(tty).chain(cookie);
    let texts = texts.map(String::len).sum::<usize>();
    let typed_length = typed.map_or(0, |typed| typed.key.len() + typed.text.len());
    let mut line = Zeroizing::new(Vec::with_capacity(1024 + 6 * (texts + typed_length)));
    line.extend_from_slice(format!(r#"{{"type":"authenticate","id":{id},"dialogue":true"#).as_bytes());
    line.extend_from_slice(format!(r#","deadline_ms":{}"#, timeout.as_millis()).as_bytes());
    let protocol = if service == "sshd" { "ssh" } else { service };
    for (name, text) in
        [("session_id", session_id), ("protocol", protocol), ("connection_name", service), ("gateway_user", user)]
    {
        put(&mut line, b',', name, text);
    }
    if let Some(host) = remote_host {
        let name = if host.parse::<IpAddr>().is_ok() { "client_ip" } else { "client_hostname" };
        put(&mut line, b',', name, host);
    }
    if let Some(cookie) = cookie {
        put(&mut line, b',', "cookie", cookie);
    }
    line.extend_from_slice(br#","key_value_pairs":{"#);
    let mut before = b' ';
    if let Some(tty) = tty {
        put(&mut line, before, "tty", tty);
        before = b',';
    }
    if let Some(Typed { key, text }) = typed {
        put(&mut line, before, key, text);
    }
    line.push(b'}');
    if !session_cookie.is_empty() {
        line.extend_from_slice(br#","session_cookie":"#);
        line.extend_from_slice(session_cookie.as_bytes());
    }
    line.extend_from_slice(b"}\n");
    line
}

fn put(line: &mut Vec<u8>, before: u8, name: &str, text: &str) {
    line.push(before);
    // Writing into memory does not fail; if it did, the line would be no JSON, and be refused.
    let _ = serde_json::to_writer(&mut *line, name);
    line.push(b':');
    let _ = serde_json::to_writer(&mut *line, text);
}

/// Reads the answer to request `id`. Whatever is not understood is a fault, and nothing but the word accept is one.
pub fn read(line: &[u8], id: u64) -> (Verdict, Kept) {
    let fault = |reason: &str| (Verdict::Fault { message: None, reason: reason.into() }, Kept::default());
    let Ok(answer) = serde_json::from_slice::<Value>(line) else { return fault("the answer is no JSON") };
    if answer.get("v") != Some(&1.into()) || answer.get("id") != Some(&id.into()) {
        return fault("the answer belongs to another request, or is of another version of the protocol");
    }
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    let kept = Kept { cookie: text("cookie"), session_cookie: answer.get("session_cookie").cloned() };
    let message = text("message").map(|message| visible(&message));
    let verdict = match answer.get("verdict").and_then(Value::as_str) {
        Some("accept") => Verdict::Accept { message },
        Some("need_info") => match question(&answer) {
            Some(question) => Verdict::Ask(question),
            None => return fault("the question of the answer cannot be read"),
        },
        Some("reject") => {
            let error = answer.get("error");
            let word = |name: &str| error.and_then(|error| error.get(name)).and_then(Value::as_str).unwrap_or_default();
            match word("class") {
                // What the claimant can bring about is never told from a wrong code: not by a malformed name, either.
                "authentication_failure" | "policy_denied" | "invalid_request" => Verdict::Deny { message },
                class => {
                    let reason = format!("{class}/{}: {}", word("code"), text("reason").unwrap_or_default());
                    Verdict::Fault { message, reason }
                }
            }
        }
        Some(_) | None => return fault("the answer is no verdict"),
    };
    (verdict, kept)
}

fn question(answer: &Value) -> Option<Question> {
    let question = answer.get("question")?;
    let prompt = question.get("prompt")?.as_str()?;
    let (lines, prompt) = prompt.trim_end_matches('\n').rsplit_once('\n').unwrap_or(("", prompt));
    Some(Question {
        key: question.get("key")?.as_str()?.to_owned(),
        lines: lines.lines().map(visible).collect(),
        prompt: visible(prompt),
        echo: if question.get("disable_echo")?.as_bool()? { Echo::Hide } else { Echo::Show },
    })
}

/// The text as a terminal may have it.
pub fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent(facts: &Facts, typed: Option<&Typed>, kept: &Kept) -> Value {
        let line = request(7, "s", facts, typed, kept, Duration::from_secs(60));
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        serde_json::from_slice(line.strip_suffix(b"\n").unwrap()).unwrap()
    }

    #[test]
    fn a_request_says_what_the_host_says() {
        let facts = Facts {
            service: "sshd".into(),
            user: "alice".into(),
            remote_host: Some("2001:db8::7".into()),
            tty: Some("ssh".into()),
        };
        let expected = json!({
            "type": "authenticate", "id": 7, "dialogue": true, "deadline_ms": 60000, "session_id": "s",
            "protocol": "ssh", "connection_name": "sshd", "gateway_user": "alice", "client_ip": "2001:db8::7",
            "key_value_pairs": {"tty": "ssh"},
        });
        assert_eq!(sent(&facts, None, &Kept::default()), expected);
        let facts = Facts { service: "su".into(), remote_host: Some("desk".into()), tty: None, ..facts };
        let typed = Typed { key: "otp".into(), text: String::new().into() };
        let kept = Kept { cookie: Some("c".into()), session_cookie: Some(json!({"questions": {"a": "\n"}})) };
        let expected = json!({
            "type": "authenticate", "id": 7, "dialogue": true, "deadline_ms": 60000, "session_id": "s",
            "protocol": "su", "connection_name": "su", "gateway_user": "alice", "client_hostname": "desk",
            "key_value_pairs": {"otp": ""}, "cookie": "c", "session_cookie": {"questions": {"a": "\n"}},
        });
        assert_eq!(sent(&facts, Some(&typed), &kept), expected);
    }

    #[test]
    fn whatever_is_typed_comes_through_as_it_is_and_the_line_never_moves() {
        for text in ["\"}\n{\"", "\\", "\u{0}\u{1b}", "CRV1::x", "é\u{202e}", &"\u{1}".repeat(8192)] {
            let facts = Facts { service: text.into(), user: text.into(), ..Facts::default() };
            let typed = Typed { key: "otp".into(), text: text.to_owned().into() };
            let sent = sent(&facts, Some(&typed), &Kept::default());
            assert_eq!((&sent["gateway_user"], &sent["key_value_pairs"]["otp"]), (&json!(text), &json!(text)));
            let kept = Kept { cookie: Some(text.into()), session_cookie: Some(json!(text)) };
            let line = request(u64::MAX, &"f".repeat(32), &facts, Some(&typed), &kept, Duration::MAX);
            assert!(line.len() < 1024 + 6 * (3 + text.len() * 6));
        }
    }

    #[test]
    fn only_the_word_accept_of_the_right_request_is_an_accept() {
        let accept = json!({"v": 1, "id": 7, "verdict": "accept", "reason": "verified", "cookie": "c"});
        assert_eq!(read(accept.to_string().as_bytes(), 7).0, Verdict::Accept { message: None });
        let others = [
            json!({"v": 1, "id": 8, "verdict": "accept"}),
            json!({"v": 1, "id": "7", "verdict": "accept"}),
            json!({"v": 1, "id": null, "verdict": "accept"}),
            json!({"v": 2, "id": 7, "verdict": "accept"}),
            json!({"id": 7, "verdict": "accept"}),
            json!({"v": 1, "id": 7, "verdict": "ACCEPT"}),
            json!({"v": 1, "id": 7, "verdict": true}),
            json!({"v": 1, "id": 7, "verdict": ["accept"]}),
            json!({"v": 1, "id": 7}),
            json!({"v": 1, "id": 7, "verdict": "need_info"}),
            json!({"v": 1, "id": 7, "verdict": "need_info", "question": {"key": "otp", "prompt": "?"}}),
            json!({"v": 1, "id": 7, "verdict": "reject"}),
            json!({"v": 1, "id": 7, "verdict": "reject", "error": {"class": "accept"}}),
            json!(["accept"]),
            json!("accept"),
            json!(null),
        ];
        for other in others {
            let (verdict, kept) = read(other.to_string().as_bytes(), 7);
            assert!(matches!(verdict, Verdict::Fault { .. }) && kept.cookie.is_none(), "{other}: {verdict:?}");
        }
        for line in [&b""[..], b"accept", b"{\"v\":1,\"id\":7,\"verdict\":\"accept\"", b"\xff", b"{}{}"] {
            assert!(matches!(read(line, 7).0, Verdict::Fault { .. }), "{line:?}");
        }
    }

    #[test]
    fn a_denial_is_told_from_a_fault() {
        let reject = |class: &str| {
            json!({"v": 1, "id": 1, "verdict": "reject", "error": {"class": class, "code": "c"}, "reason": "r",
                "message": "no\u{7}"})
            .to_string()
        };
        let message = Some("no ".to_owned());
        for class in ["authentication_failure", "policy_denied", "invalid_request"] {
            assert_eq!(read(reject(class).as_bytes(), 1).0, Verdict::Deny { message: message.clone() });
        }
        for class in ["communication_error", "service_unreachable", "internal_error", "news"] {
            let reason = format!("{class}/c: r");
            assert_eq!(read(reject(class).as_bytes(), 1).0, Verdict::Fault { message: message.clone(), reason });
        }
    }

    #[test]
    fn of_a_question_of_many_lines_the_last_one_is_the_prompt() {
        let answer = |prompt: &str, hide: bool| {
            let question = json!({"key": "otp", "prompt": prompt, "disable_echo": hide});
            json!({"v": 1, "id": 1, "verdict": "need_info", "question": question, "cookie": "c"}).to_string()
        };
        let (verdict, kept) = read(answer("█▀\n\u{1b}[2J▄\nCode: ", true).as_bytes(), 1);
        let lines = vec!["█▀".to_owned(), " [2J▄".to_owned()];
        let asked = Question { key: "otp".into(), lines, prompt: "Code: ".into(), echo: Echo::Hide };
        assert_eq!((verdict, kept.cookie.as_deref()), (Verdict::Ask(asked), Some("c")));
        let asked = Question { key: "otp".into(), lines: vec![], prompt: "Code: ".into(), echo: Echo::Show };
        assert_eq!(read(answer("Code: ", false).as_bytes(), 1).0, Verdict::Ask(asked));
    }
}

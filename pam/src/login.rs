//! One login: requests and verdicts, questions and answers, until it is decided.

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::options::{FirstPass, Messages, Options};
use crate::wire::{self, Echo, Facts, Kept, Question, Typed, Verdict};

/// How many questions are put in one login.
const QUESTIONS: u64 = 20;

/// How long a login may take as a whole: a cookie is good for no longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// How much later than the deadline of the request a verdict is waited for.
const GRACE: Duration = Duration::from_secs(2);

/// How long a push waits before the person is told so.
const SILENCE: Duration = Duration::from_secs(1);

/// The person at the other end of the host's conversation.
pub trait Person {
    /// Puts a question; what is typed is theirs.
    ///
    /// # Errors
    /// Where nobody answers.
    fn ask(&mut self, prompt: &str, echo: Echo) -> Result<Zeroizing<String>, NoAnswer>;

    /// Shows a line.
    fn tell(&mut self, tone: Tone, text: &str);
}

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Information,
    Error,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The host's conversation is over, or cannot ask.
    Gone,
    /// What was typed is no UTF-8.
    Unreadable,
}

/// The process that decides.
pub trait Verifier {
    /// Writes a line.
    ///
    /// # Errors
    /// Where it cannot be written until then.
    fn send(&mut self, line: &[u8], until: Instant) -> Result<(), String>;

    /// The next line, without its end; `None` where there is none until then.
    ///
    /// # Errors
    /// Where there will be none.
    fn line(&mut self, until: Instant) -> Result<Option<Vec<u8>>, NoLine>;
}

/// Why there will be no line.
#[derive(Debug)]
pub enum NoLine {
    /// The person wants no more of it.
    Interrupted,
    Fault(String),
}

impl From<String> for NoLine {
    fn from(why: String) -> Self {
        Self::Fault(why)
    }
}

/// How a login ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// The verdict was accept. Nothing else is this.
    Accepted,
    Denied,
    /// More questions than anybody should be asked.
    TooMany,
    /// The host's conversation is over, or cannot ask.
    Gone,
    /// Nothing could be decided, and why.
    Fault(String),
}

/// Leads a login to its end. `collected` is what an earlier module asked for.
pub fn login(
    options: &Options,
    facts: &Facts,
    session_id: &str,
    collected: Option<Zeroizing<String>>,
    person: &mut dyn Person,
    verifier: &mut dyn Verifier,
) -> Ending {
    let end = Instant::now() + PATIENCE;
    let first = match options.first_pass {
        FirstPass::None => None,
        FirstPass::Use => collected,
        FirstPass::Prompt => match person.ask("One-time password: ", Echo::Hide) {
            Ok(text) => Some(text),
            Err(why) => return unanswered(why),
        },
    };
    let mut typed = first.map(|text| answer("otp".into(), text));
    let mut kept = Kept::default();
    for id in 1..=QUESTIONS + 1 {
        let until = (Instant::now() + options.timeout + GRACE).min(end);
        let is_push = typed.as_ref().is_some_and(|typed| typed.key == "otp" && typed.text.is_empty());
        let sent = {
            // What was typed is wiped when it was sent: a verdict, or an answer, may take long.
            let line = wire::request(id, session_id, facts, typed.take().as_ref(), &kept, options.timeout);
            verifier.send(&line, until)
        };
        let sent = sent.map_err(NoLine::Fault);
        let line = match sent.and_then(|()| wait(options, is_push, until, person, verifier)) {
            Ok(line) => line,
            Err(NoLine::Interrupted) => return Ending::Gone,
            Err(NoLine::Fault(why)) => {
                tell(options, person, Tone::Error, "Internal error");
                return Ending::Fault(why);
            }
        };
        let (verdict, left) = wire::read(&line, id);
        let question = match verdict {
            Verdict::Accept { message } => {
                tell(options, person, Tone::Information, &message.unwrap_or_default());
                return Ending::Accepted;
            }
            Verdict::Deny { message } => {
                tell(options, person, Tone::Error, &message.unwrap_or_default());
                return Ending::Denied;
            }
            Verdict::Fault { message, reason } => {
                tell(options, person, Tone::Error, &message.unwrap_or_else(|| "Internal error".into()));
                return Ending::Fault(reason);
            }
            Verdict::Ask(_) if id > QUESTIONS => return Ending::TooMany,
            Verdict::Ask(question) => question,
        };
        let Question { key, lines, prompt, echo } = question;
        // They belong to the question: an authenticator to enrol, a list to choose from.
        lines.iter().for_each(|line| person.tell(Tone::Information, line));
        match person.ask(&prompt, echo) {
            Ok(text) => typed = Some(answer(key, text)),
            Err(why) => return unanswered(why),
        }
        kept = left;
        if Instant::now() >= end {
            return Ending::Denied;
        }
    }
    Ending::TooMany
}

/// What was typed. Some hosts cannot say that only Enter was pressed: blanks alone are as good, since no code is made of them.
fn answer(key: String, text: Zeroizing<String>) -> Typed {
    let is_enter = key == "otp" && text.trim().is_empty();
    Typed { key, text: if is_enter { Zeroizing::default() } else { text } }
}

/// The answer to what was sent.
fn wait(
    options: &Options,
    is_push: bool,
    until: Instant,
    person: &mut dyn Person,
    verifier: &mut dyn Verifier,
) -> Result<Vec<u8>, NoLine> {
    if is_push {
        if let Some(line) = verifier.line(until.min(Instant::now() + SILENCE))? {
            return Ok(line);
        }
        tell(options, person, Tone::Information, "Waiting for the answer of your device ...");
    }
    verifier.line(until)?.ok_or_else(|| NoLine::Fault("there was no verdict in time".into()))
}

fn unanswered(why: NoAnswer) -> Ending {
    match why {
        NoAnswer::Gone => Ending::Gone,
        NoAnswer::Unreadable => Ending::Denied,
    }
}

fn tell(options: &Options, person: &mut dyn Person, tone: Tone, text: &str) {
    if options.messages == Messages::Shown && !text.is_empty() {
        person.tell(tone, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A person who types these, one after the other.
    #[derive(Default)]
    struct Typist {
        types: Vec<&'static str>,
        seen: Vec<String>,
    }

    impl Person for Typist {
        fn ask(&mut self, prompt: &str, echo: Echo) -> Result<Zeroizing<String>, NoAnswer> {
            self.seen.push(format!("{prompt}{echo:?}"));
            if self.types.is_empty() { Err(NoAnswer::Gone) } else { Ok(self.types.remove(0).to_owned().into()) }
        }

        fn tell(&mut self, tone: Tone, text: &str) {
            self.seen.push(format!("{tone:?}: {text}"));
        }
    }

    /// A verifier that says these, one after the other; `null` takes its time.
    struct Script {
        says: Vec<Value>,
        heard: Vec<Value>,
    }

    impl Verifier for Script {
        fn send(&mut self, line: &[u8], _until: Instant) -> Result<(), String> {
            self.heard.push(serde_json::from_slice(line).unwrap());
            Ok(())
        }

        fn line(&mut self, _until: Instant) -> Result<Option<Vec<u8>>, NoLine> {
            if self.says.is_empty() {
                return Err(NoLine::Fault("it has ended".into()));
            }
            let said = self.says.remove(0);
            if said == "^C" {
                return Err(NoLine::Interrupted);
            }
            Ok((!said.is_null()).then(|| said.to_string().into_bytes()))
        }
    }

    fn play(
        words: &[&str],
        collected: Option<&str>,
        types: &[&'static str],
        says: Vec<Value>,
    ) -> (Ending, Vec<String>, Vec<Value>) {
        let options = Options::read(words.iter().copied()).unwrap();
        let facts = Facts { service: "sshd".into(), user: "alice".into(), ..Facts::default() };
        let (mut person, mut script) = (Typist { types: types.to_vec(), seen: vec![] }, Script { says, heard: vec![] });
        let collected = collected.map(|text| text.to_owned().into());
        let ending = login(&options, &facts, "s", collected, &mut person, &mut script);
        (ending, person.seen, script.heard)
    }

    fn accept(id: u64) -> Value {
        json!({"v": 1, "id": id, "verdict": "accept"})
    }

    fn ask(id: u64, key: &str) -> Value {
        let question = json!({"key": key, "prompt": format!("a\n{key}? "), "disable_echo": key == "otp"});
        json!({"v": 1, "id": id, "verdict": "need_info", "question": question, "cookie": format!("c{id}"),
            "session_cookie": {"n": id}})
    }

    fn reject(id: u64, class: &str) -> Value {
        json!({"v": 1, "id": id, "verdict": "reject", "error": {"class": class, "code": "c"}, "message": "No",
            "reason": "r"})
    }

    #[test]
    fn questions_are_put_until_it_is_decided() {
        let says = vec![ask(1, "otp"), ask(2, "ticket"), accept(3)];
        let (ending, seen, heard) = play(&[], Some("unused"), &["123456", "T-1"], says);
        assert_eq!(ending, Ending::Accepted);
        assert_eq!(seen, ["Information: a", "otp? Hide", "Information: a", "ticket? Show"]);
        let pairs: Vec<&Value> = heard.iter().map(|line| &line["key_value_pairs"]).collect();
        assert_eq!(pairs, [&json!({}), &json!({"otp": "123456"}), &json!({"ticket": "T-1"})]);
        assert_eq!((&heard[2]["cookie"], &heard[2]["session_cookie"]), (&json!("c2"), &json!({"n": 2})));
        assert!(heard.iter().all(|line| line["session_id"] == "s"));
    }

    #[test]
    fn the_first_request_says_what_first_pass_says() {
        let (ending, seen, heard) = play(&["first_pass=use"], Some("123456"), &[], vec![accept(1)]);
        assert_eq!((ending, seen.len(), &heard[0]["key_value_pairs"]["otp"]), (Ending::Accepted, 0, &json!("123456")));
        let (ending, _, heard) = play(&["first_pass=use"], None, &[], vec![accept(1)]);
        assert_eq!((ending, &heard[0]["key_value_pairs"]), (Ending::Accepted, &json!({})));
        let (ending, seen, heard) = play(&["first_pass=prompt"], Some("x"), &["123456"], vec![accept(1)]);
        assert_eq!((ending, &heard[0]["key_value_pairs"]["otp"]), (Ending::Accepted, &json!("123456")));
        assert_eq!(seen, ["One-time password: Hide"]);
        assert_eq!(play(&["first_pass=prompt"], None, &[], vec![accept(1)]).0, Ending::Gone);
    }

    #[test]
    fn blanks_alone_are_enter_where_a_code_is_asked_for() {
        let says = vec![ask(1, "otp"), ask(2, "ticket"), ask(3, "otp"), accept(4)];
        let (_, _, heard) = play(&[], None, &[" \t", " ", " 1 "], says);
        let pairs: Vec<&Value> = heard.iter().skip(1).map(|line| &line["key_value_pairs"]).collect();
        assert_eq!(pairs, [&json!({"otp": ""}), &json!({"ticket": " "}), &json!({"otp": " 1 "})]);
    }

    #[test]
    fn nothing_but_an_accept_ends_in_one() {
        let (ending, seen, _) = play(&[], None, &[], vec![reject(1, "authentication_failure")]);
        assert_eq!((ending, seen), (Ending::Denied, vec!["Error: No".to_owned()]));
        let (ending, seen, _) = play(&["quiet"], None, &[], vec![reject(1, "internal_error")]);
        assert_eq!((ending, seen.len()), (Ending::Fault("internal_error/c: r".into()), 0));
        for says in [vec![], vec![json!(null)], vec![accept(2)], vec![json!(null), accept(1)]] {
            let (ending, seen, _) = play(&[], None, &[], says.clone());
            assert!(matches!(ending, Ending::Fault(_)), "{says:?}");
            assert_eq!(seen, ["Error: Internal error"]);
        }
        assert_eq!(play(&[], None, &[], vec![ask(1, "otp"), accept(2)]).0, Ending::Gone);
        assert_eq!(play(&[], None, &[""], vec![ask(1, "otp"), json!("^C"), accept(2)]).0, Ending::Gone);
        // An answer to the request before is none to this one.
        assert!(matches!(play(&[], None, &["1"], vec![ask(1, "otp"), accept(1)]).0, Ending::Fault(_)));
    }

    #[test]
    fn twenty_answers_are_heard_and_no_more_are_asked_for() {
        let questions = |count| (1..).take(count).map(|id| ask(id, "ticket")).collect::<Vec<_>>();
        let (ending, seen, heard) = play(&[], None, &["1"; 30], questions(30));
        let asked = seen.iter().filter(|text| text.starts_with("ticket?")).count();
        assert_eq!((ending, asked, heard.len()), (Ending::TooMany, 20, 21));
        let says = [questions(20), vec![accept(21)]].concat();
        assert_eq!(play(&[], None, &["1"; 30], says).0, Ending::Accepted);
    }

    #[test]
    fn a_push_that_takes_its_time_is_told() {
        let says = vec![ask(1, "otp"), json!(null), accept(2)];
        let (ending, seen, _) = play(&[], None, &[""], says);
        assert_eq!(ending, Ending::Accepted);
        assert_eq!(seen.last().unwrap(), "Information: Waiting for the answer of your device ...");
        let (ending, seen, _) = play(&["quiet"], None, &[""], vec![ask(1, "otp"), json!(null), accept(2)]);
        assert_eq!((ending, seen.len()), (Ending::Accepted, 2));
        let (_, seen, _) = play(&[], None, &[""], vec![ask(1, "otp"), accept(2)]);
        assert_eq!(seen.len(), 2);
    }
}

//! The answers that the SPS plugin SDK gave to recorded calls, and ours: tests/sps/README.md.
#![cfg(debug_assertions)]
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test ends where its helpers fail")]

#[path = "sps/case.rs"]
mod case;
#[path = "sps/compare.rs"]
mod compare;
#[path = "sps/deviation.rs"]
mod deviation;
#[path = "sps/directory.rs"]
mod directory;
#[path = "sps/kind.rs"]
mod kind;
#[path = "sps/python.rs"]
mod python;
#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;
#[path = "sps/service.rs"]
mod service;
#[path = "sps/stage.rs"]
mod stage;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::thread;

use case::Case;
use deviation::Deviation;
use serde_json::{Map, Value, json};
use stage::Theatre;

const CASES: &str = include_str!("sps/cases.jsonl");
const MORE: &str = include_str!("sps/more.jsonl");
const DEVIATIONS: &str = include_str!("sps/deviations.toml");

/// How many sequences are played at once.
const AT_ONCE: usize = 8;

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Identical,
    /// Named in the table, by this entry.
    Deviating(usize),
    Wrong(String),
    /// What is missing to play it.
    Skipped(&'static str),
}

/// A case as it was played.
struct Played {
    name: String,
    outcome: Outcome,
}

/// Cases that are played on one stage, in their order; those before `from` lead to the others and are not counted.
struct Sequence {
    cases: Vec<Case>,
    from: usize,
}

impl Sequence {
    fn unplayed(&self) -> Vec<Played> {
        let played = |case: &Case| Played {
            name: case.name.clone(),
            outcome: Outcome::Wrong("it could not be played; see above".into()),
        };
        self.cases.iter().skip(self.from).map(played).collect()
    }
}

/// What one call of a sequence was answered.
struct Answered {
    case: Case,
    cookie: Option<Value>,
    session_cookie: Option<Value>,
}

/// The sequences in `cases`; what leads to one may be among `others`.
fn sequences(cases: Vec<Case>, others: &[Case]) -> Vec<Sequence> {
    let mut sequences: Vec<Sequence> = Vec::new();
    let mut groups: HashMap<String, usize> = HashMap::new();
    for case in cases {
        let Some(group) = case.group.clone() else {
            sequences.push(Sequence { cases: vec![case], from: 0 });
            continue;
        };
        let index = *groups.entry(group.clone()).or_insert_with(|| {
            let is_before = |other: &&Case| other.group.as_ref() == Some(&group) && other.step < case.step;
            let before: Vec<Case> = others.iter().filter(is_before).cloned().collect();
            sequences.push(Sequence { from: before.len(), cases: before });
            sequences.len() - 1
        });
        sequences[index].cases.push(case);
    }
    sequences
}

fn play(theatre: &Theatre, deviations: &[Deviation], sequence: &Sequence) -> Vec<Played> {
    let Sequence { cases, from } = sequence;
    if let Some(missing) = cases.iter().find_map(|case| theatre.directories.missing(case)) {
        let skipped = |case: &Case| Played { name: case.name.clone(), outcome: Outcome::Skipped(missing) };
        return cases.iter().skip(*from).map(skipped).collect();
    }
    let asks = cases.iter().any(|case| case.client_behaviour.contains_key("authorize"));
    let mut stage = theatre.stage();
    let mut answered: Vec<Answered> = Vec::new();
    let mut played = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let is_led_to = answered.last().is_some_and(|last| last.case.state_after == case.state_before);
        let mut staged = Vec::new();
        if !is_led_to && (index == 0 || !case.state_before.is_empty()) {
            if index > 0 {
                stage = theatre.stage();
            }
            staged = stage.prepare(case, asks);
        }
        let request = request(case, &answered, &staged);
        let (finished, calls) = stage.play(case, &request, asks);
        if index >= *from {
            let differences = compare::differences(case, &request, &finished, &calls);
            let answer = compare::answer(&finished);
            played.push(Played {
                name: case.name.clone(),
                outcome: judge(case, deviations, &differences, &answer, &finished.stderr),
            });
        }
        let answer: Value = serde_json::from_str(&finished.stdout).unwrap_or_default();
        answered.push(Answered {
            case: case.clone(),
            cookie: answer.get("cookie").cloned(),
            session_cookie: answer.get("session_cookie").cloned(),
        });
    }
    played
}

/// The request as it was recorded, with our cookies where the SDK's were carried on.
fn request(case: &Case, answered: &[Answered], staged: &[(Value, Value)]) -> Map<String, Value> {
    let mut request = case.request.clone();
    let session = case.request.get("session_id");
    for field in ["cookie", "session_cookie"] {
        let Some(recorded) = request.get(field).filter(|cookie| **cookie != json!({})).cloned() else { continue };
        let ours = |before: &Answered| if field == "cookie" { &before.cookie } else { &before.session_cookie }.clone();
        let led_to = || answered.iter().rev().filter(|before| before.case.said(field) == Some(&recorded));
        // Two sessions may have been given the same; ours are of one session each.
        let own = led_to().find(|before| before.case.request.get("session_id") == session);
        let is_private = field == "cookie" && recorded.get("__plugin_sdk_private").is_some();
        let carried = own.or_else(|| led_to().next()).or_else(|| answered.last().filter(|_| is_private));
        let taken = || {
            let own = staged.iter().find(|(whose, _)| Some(whose) == session).or(staged.last());
            own.filter(|_| is_private).map(|(_, cookie)| cookie.clone())
        };
        if let Some(cookie) = carried.and_then(ours).or_else(taken) {
            request.insert(field.into(), cookie);
        }
    }
    request
}

fn judge(case: &Case, deviations: &[Deviation], differences: &[String], answer: &str, stderr: &str) -> Outcome {
    if differences.is_empty() {
        return Outcome::Identical;
    }
    let entry = deviations.iter().position(|entry| entry.answer == answer && entry.is_about(case));
    match entry {
        Some(entry) => Outcome::Deviating(entry),
        None => {
            let said: Vec<&str> = stderr.lines().rev().take(3).collect();
            Outcome::Wrong(format!("{}; came: {answer}; log: {said:?}", differences.join("; ")))
        }
    }
}

/// Plays all of `sequences`, several at once.
fn play_all(theatre: &Theatre, deviations: &[Deviation], sequences: Vec<Sequence>) -> Vec<Played> {
    let (waiting, played) = (Mutex::new(sequences.into_iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().next();
                    let Some(sequence) = next else { return };
                    let all = panic::catch_unwind(AssertUnwindSafe(|| play(theatre, deviations, &sequence)));
                    // What cannot be played, as no case should be, is wrong, and the others are played.
                    let all = all.unwrap_or_else(|_| sequence.unplayed());
                    played.lock().unwrap().extend(all);
                }
            });
        }
    });
    played.into_inner().unwrap()
}

#[test]
fn recorded_calls_are_answered_as_the_sdk_does_but_for_what_is_named() {
    let mut bundled = Case::read_all(CASES);
    bundled.extend(Case::read_all(MORE));
    let file = std::env::var_os("SPS_CASES").filter(|path| !path.is_empty());
    let cases = match &file {
        Some(path) => Case::read_all(&fs::read_to_string(path).unwrap()),
        None => bundled.clone(),
    };
    let deviations = Deviation::read_all(DEVIATIONS);
    let theatre = Theatre::open(&cases);
    let count = cases.len();
    let mut played = play_all(&theatre, &deviations, sequences(cases, &bundled));
    assert_eq!(played.len(), count);
    played.sort_by(|a, b| a.name.cmp(&b.name));
    let count = |which: &dyn Fn(&Played) -> bool, file: &str| {
        let number = |is: fn(&Outcome) -> bool| played.iter().filter(|p| which(p) && is(&p.outcome)).count();
        let identical = number(|outcome| *outcome == Outcome::Identical);
        let deviating = number(|outcome| matches!(outcome, Outcome::Deviating(_)));
        let wrong = number(|outcome| matches!(outcome, Outcome::Wrong(_)));
        println!("{identical} identical, {deviating} deviating by name, {wrong} wrong{file}");
        wrong
    };
    let wrong = if file.is_some() {
        count(&|_| true, "")
    } else {
        let more: BTreeSet<String> = Case::read_all(MORE).into_iter().map(|case| case.name).collect();
        count(&|played| !more.contains(&played.name), " (cases.jsonl)")
            + count(&|played| more.contains(&played.name), " (more.jsonl)")
    };
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    let mut used = vec![0; deviations.len()];
    for Played { name, outcome } in &played {
        match outcome {
            Outcome::Wrong(why) => println!("{name}: {why}"),
            Outcome::Deviating(entry) => used[*entry] += 1,
            Outcome::Skipped(missing) => *skipped.entry(missing).or_default() += 1,
            Outcome::Identical => {}
        }
    }
    for (missing, count) in &skipped {
        println!("{count} skipped: {missing}");
    }
    let unused = deviations.iter().zip(&used).filter(|(entry, used)| **used == 0 && !entry.elsewhere);
    let unused: Vec<&Deviation> =
        unused.map(|(entry, _)| entry).filter(|_| file.is_none() && skipped.is_empty()).collect();
    assert!(unused.is_empty(), "no case is answered so: {unused:#?}");
    assert_eq!(wrong, 0, "they are named above");
}

/// What becomes of the bundled case `name`, and of those that lead to it, when `change` was made to it.
fn changed(deviations: &[Deviation], name: &str, change: impl Fn(&mut Case)) -> Outcome {
    let mut cases = Case::read_all(CASES);
    let group = cases.iter().find(|case| case.name == name).unwrap().group.clone();
    cases.retain(|case| case.name == name || group.is_some() && case.group == group);
    change(cases.iter_mut().find(|case| case.name == name).unwrap());
    let played = play_all(&Theatre::open(&cases), deviations, sequences(cases, &[]));
    played.into_iter().find(|played| played.name == name).unwrap().outcome
}

#[test]
fn a_case_that_was_recorded_otherwise_is_wrong() {
    let is_wrong = |outcome: Outcome| matches!(outcome, Outcome::Wrong(_));
    let said = |case: &mut Case, field: &str, value: Value| {
        case.verdict.as_object_mut().unwrap().insert(field.into(), value);
    };
    let (asked, let_in, denied) = ("prompt_custom", "client_returns_accept_gateway_user", "client_returns_deny_reason");
    for name in [asked, let_in, denied] {
        assert_eq!(changed(&[], name, |_| {}), Outcome::Identical, "{name}");
    }
    assert!(is_wrong(changed(&[], asked, |case| said(case, "verdict", json!("ACCEPT")))));
    assert!(is_wrong(changed(&[], asked, |case| said(case, "question", json!(["otp", "Enter code:", false])))));
    assert!(is_wrong(changed(&[], asked, |case| said(case, "session_cookie", json!({"a": 1})))));
    assert!(is_wrong(changed(&[], let_in, |case| said(case, "gateway_groups", json!(["g2", "g1"])))));
    assert!(is_wrong(changed(&[], let_in, |case| case.client_calls.clear())));
    assert!(is_wrong(changed(&[], let_in, |case| case.client_calls[0][2] = json!("2"))));
    assert!(is_wrong(changed(&[], denied, |case| said(case, "reason", json!("no")))));
    let metadata = json!("{\"reason\": \"internal\"}");
    assert!(is_wrong(changed(&[], denied, |case| said(case, "additional_metadata", metadata.clone()))));
}

#[test]
fn a_deviation_is_right_only_where_it_is_named_with_its_answer() {
    let entry = |text: &str| Deviation::read_all(&format!("[[deviation]]\nreason = \"r\"\n{text}"));
    let name = "cookie_null_crashes";
    for (table, expected) in [
        ("cases = [\"cookie_*\"]\nanswer = \"DENY\"", true),
        ("cases = [\"*\"]\nraised = [\"TypeError\"]\nanswer = \"DENY\"", true),
        ("cases = [\"cookie_*\"]\nanswer = \"ACCEPT\"", false),
        ("cases = [\"*\"]\nraised = [\"KeyError\"]\nanswer = \"DENY\"", false),
        ("cases = [\"*\"]\nrecorded = \"no-verdict\"\nanswer = \"DENY\"", false),
        ("cases = [\"cooky*\"]\nanswer = \"DENY\"", false),
    ] {
        let is_named = changed(&entry(table), name, |_| {}) == Outcome::Deviating(0);
        assert_eq!(is_named, expected, "{table}");
    }
}

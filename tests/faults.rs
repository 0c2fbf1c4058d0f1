//! What goes wrong with a service, for every client: the class that the verdict has, no accept that the configuration does
//! not ask for, no verdict after its deadline, and no more than a few calls.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a test tells what it found, and fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use countersign::domain::fault::Reach;
use countersign::simulate;
use countersign::simulate::guise::Guise;
use countersign::simulate::{Accept, FAULTS, Over};
use rig::authority::Authority;
use rig::faults::{ENDLESS, Fault};
use rig::{Answer, Gateway, Home};
use serde_json::{Value, json};

/// How many are asked at once.
const AT_ONCE: usize = 24;

/// How many of those whose time is looked at.
const TIMED_AT_ONCE: usize = 12;

/// The time-outs for an answer and for a connection, in seconds: where only they end it, and where they should not.
const SHORT: (u64, u64) = (2, 1);
const LONG: (u64, u64) = (60, 60);

/// The deadline of a verdict, in seconds: where the time-outs lie within it, and where it has to do without them.
const DEADLINE: u64 = 90;
const ALONE: u64 = 2;

/// The deadline of a push, in seconds.
const POLLED: u64 = 5;

/// How late a busy machine may make a verdict. What is promised is 50 ms on one that is not; the worst is printed.
const SLACK: Duration = Duration::from_secs(10);

/// How many calls a verdict may take that comes to nothing.
const CALLS: usize = 1;

/// A question that a client is asked.
#[derive(Clone, Copy)]
struct Case {
    guise: Guise,
    fault: &'static simulate::Fault,
    /// A code, or nothing for Enter.
    typed: &'static str,
}

impl Case {
    fn kind(&self) -> &'static str {
        if self.typed.is_empty() { "enter" } else { "code" }
    }
}

/// Every client before every fault that `chosen` picks.
fn cases(chosen: impl Fn(&simulate::Fault) -> bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for guise in Guise::ALL {
        let typed = guise.code().into_iter().chain(guise.is_asked_by_enter().then_some(""));
        for typed in typed {
            cases.extend(FAULTS.iter().filter(|fault| chosen(fault)).map(|fault| Case { guise, fault, typed }));
        }
    }
    cases
}

/// A configuration for one client, and what stood in plugin.ini before.
struct Desk {
    home: Home,
    before: String,
}

impl Desk {
    fn new(guise: Guise) -> Self {
        let home = Home::init();
        home.set("plugin", "clients", guise.section());
        home.set("throttle", "failures", "100");
        let before = fs::read_to_string(home.ini()).unwrap();
        if guise == Guise::Notify {
            enrol(&home, guise);
        }
        Self { home, before }
    }

    /// Points the client to `fault`, with time-outs and a deadline of so many seconds, and open for what was never sent.
    fn aim(&self, guise: Guise, fault: &Fault, authority: Option<&Authority>, timeouts: (u64, u64), deadline: u64) {
        let (total, connect) = timeouts;
        let trust = authority.map(|authority| format!("ca_file = {}\n", authority.ca_file().display()));
        let signature_key = fault.key.as_ref().map(|pem| {
            let file = self.home.dir().join("signature.pem");
            fs::write(&file, pem).unwrap();
            format!("signature_key = {}\n", file.display())
        });
        let trust = trust.into_iter().chain(signature_key).collect::<String>();
        let text = format!(
            "{}\n[{}]\n{}{}allow_insecure_http = yes\ntimeout = {total}\nconnect_timeout = {connect}\n\
             tls_timeout = {connect}\non_unreachable = accept\n{}",
            self.before,
            guise.section(),
            guise.options(&fault.url),
            trust,
            guise.more()
        );
        fs::write(self.home.ini(), text).unwrap();
        self.home.set("plugin", "deadline", &deadline.to_string());
    }
}

/// Enrols alice's telephone, by a program, since the service is one that fails.
fn enrol(home: &Home, guise: Guise) {
    let (program, sent) = (home.dir().join("send"), home.dir().join("sent"));
    fs::write(&program, "#!/bin/sh\n/bin/cat > \"$1\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let (section, program) = (guise.section(), program.display());
    home.append(&format!("[{section}]\nvia = command\ncommand = {program} {} {{target}}\n", sent.display()));
    let arguments = ["enroll", "alice", "--client", section, "--target", "+4366012344711", "--json"];
    let pending: Value = serde_json::from_str(&home.run(&arguments, "").ok().stdout).unwrap();
    let message = fs::read_to_string(sent).unwrap();
    let code = message.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() >= 6).unwrap();
    home.run(&["enroll", "confirm", pending["challenge"].as_str().unwrap()], code).ok();
}

fn request(id: &str, typed: &str) -> Value {
    let mut request = json!({"type": "authenticate", "id": id, "session_id": id, "protocol": "ssh",
        "client_ip": "192.0.2.7", "gateway_user": "alice"});
    // A code is sent where there is no answer yet.
    if typed != "none" {
        request["key_value_pairs"] = json!({"otp": typed});
    }
    request
}

/// What is wrong with the verdict, if anything; its class otherwise.
fn judge(case: &Case, answer: &Answer) -> Result<String, String> {
    let Case { guise: _, fault, typed: _ } = case;
    if fault.reach == Reach::NotSent {
        // The only kind of fault at which the configuration lets in, and then it says so.
        return match (answer.verdict(), answer.degraded, &answer.factor) {
            ("accept", Some(true), None) => Ok("accept, degraded".into()),
            _ => Err(format!("expected a degraded accept, found {answer:?}")),
        };
    }
    let class = answer.told().split('/').next().unwrap_or_default().to_owned();
    match answer.verdict() {
        "reject" if class == fault.class.word() && answer.code() != "deadline_exceeded" => Ok(class),
        _ => Err(format!("expected {}, found {answer:?}", fault.class.word())),
    }
}

/// What came of one case.
struct Found {
    class: Result<String, String>,
    calls: usize,
}

fn ask(case: &Case, desk: &Desk, number: usize, authority: Option<&Authority>) -> Option<Found> {
    let service = Fault::start(case.fault, authority, Accept::Of(case.guise))?;
    let timeouts = if service.is_endless() { SHORT } else { LONG };
    desk.aim(case.guise, &service, authority, timeouts, DEADLINE);
    let typed = if case.guise == Guise::Notify { "none" } else { case.typed };
    let id = format!("case {number}");
    let mut answer = desk.home.ask_one(&request(&id, typed));
    if case.guise == Guise::Oidc && answer.question.is_some() {
        // Signing in elsewhere goes on; Enter says that it is done.
        let mut done = request(&id, "");
        done["cookie"] = json!(answer.cookie());
        answer = desk.home.ask_one(&done);
    }
    let counts = service.counts();
    let logged = desk.home.log();
    let calls = counts.calls.max(counts.connections);
    let class = judge(case, &answer).and_then(|class| {
        if counts.elsewhere > 0 {
            return Err("a redirection was followed".into());
        }
        if logged.contains("simulated-secret") || (!case.typed.is_empty() && logged.contains(case.typed)) {
            return Err(format!("a secret is in the log: {logged}"));
        }
        Ok(class)
    });
    Some(Found { class, calls })
}

/// Does something with every case, so many at once; with a desk that is used for one case after the other.
fn each<T: Send>(
    cases: &[Case],
    at_once: usize,
    act: impl Fn(&Case, &Desk, usize) -> Option<T> + Sync,
) -> Vec<(Case, T)> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                let mut desk: Option<(Guise, Desk)> = None;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(number) else { return };
                    let same = desk.take().filter(|(guise, _)| *guise == case.guise);
                    let (_, kept) = desk.insert(same.unwrap_or_else(|| (case.guise, Desk::new(case.guise))));
                    if let Some(found) = act(case, kept, number) {
                        results.lock().unwrap().push((*case, found));
                    }
                }
            });
        }
    });
    results.into_inner().unwrap()
}

/// Every client at every fault, over TLS or without; prints the table.
fn run(authority: Option<&Authority>) {
    let results = each(&cases(|_| true), AT_ONCE, |case, desk, number| ask(case, desk, number, authority));
    let mut counts: BTreeMap<(&str, &str, String), (usize, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (case, Found { class, calls }) in results {
        let name = case.guise.word();
        match class {
            Ok(class) => {
                let (count, most) = counts.entry((name, case.kind(), class)).or_default();
                *count += 1;
                *most = calls.max(*most);
            }
            Err(what) => wrong.push(format!("{name}, {}, {}: {what}", case.kind(), case.fault.name)),
        }
    }
    for ((client, kind, class), (count, calls)) in &counts {
        println!("{client:<12} {kind:<5} {class:<22} {count:>4} faults, at most {calls} calls");
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{} of the table:\n{}", wrong.len(), wrong.join("\n"));
    let fitting = counts.keys().map(|(client, kind, _)| (*client, *kind)).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(fitting.len(), 11, "every client, by code and by Enter");
    for ((client, kind, _), (_, calls)) in counts {
        // Its faults of signatures come last: metadata, a code, a token and the keys.
        let limit = if client == "oidc" { 4 } else { CALLS };
        assert!(calls <= limit, "{client}, {kind}: {calls} calls");
    }
}

#[test]
fn every_fault_has_its_class_over_tls() {
    let authority = Authority::new();
    run(Some(&authority));
}

#[test]
fn every_fault_has_its_class_without_tls() {
    run(None);
}

/// A push that was sent, and a service that fails from then on: looking again and again has an end, too.
#[test]
fn a_push_whose_service_fails_is_looked_at_a_few_times() {
    let authority = Authority::new();
    let pushes: Vec<Case> = cases(|fault| {
        let Over::Either = fault.over() else { return false };
        ["status-", "retry-", "close", "reset", "half-", "huge-", "gzip", "redirect-", "true-"]
            .iter()
            .any(|start| fault.name.starts_with(start) && !fault.name.ends_with("-port"))
    });
    let pushes: Vec<Case> =
        pushes.into_iter().filter(|case| case.guise == Guise::Http && case.typed.is_empty()).collect();
    let results = each(&pushes, AT_ONCE, |case, desk, number| {
        let accept = Accept::Of(case.guise);
        let service = Fault::start_after(1, case.fault, Some(&authority), accept)?;
        desk.aim(case.guise, &service, Some(&authority), LONG, POLLED);
        desk.home.set(case.guise.section(), "rest_poll_interval", "1");
        let answer = desk.home.ask_one(&request(&format!("case {number}"), ""));
        Some((answer, service.counts()))
    });
    assert_eq!(results.len(), pushes.len());
    let mut most = 0;
    for (case, (answer, counts)) in results {
        let name = case.fault.name;
        let class = answer.error.as_ref().map_or("none", |error| error.class.as_str());
        // On a busy machine, time may be over before the service has failed.
        let is_over = ["push_unanswered", "read_timeout", "no_time"].contains(&answer.code());
        assert!(answer.verdict() == "reject" && (class == case.fault.class.word() || is_over), "{name}: {answer:?}");
        assert!(counts.elsewhere == 0, "{name}: {counts:?}");
        most = most.max(counts.calls);
    }
    println!("{} pushes, each by at most {most} calls within {POLLED} s", pushes.len());
    // The push, and a look each second.
    assert!(most >= 2, "none was looked at");
    assert!(most <= 2 + usize::try_from(POLLED).unwrap(), "{most}");
}

/// Nothing but the deadline ends what never ends: no time-out of the section lies within it.
#[test]
fn no_verdict_comes_after_its_deadline() {
    let authority = Authority::new();
    let endless = cases(|fault| ENDLESS.contains(&fault.name) && fault.over() != Over::Plain);
    let results = each(&endless, TIMED_AT_ONCE, |case, desk, number| {
        let service = Fault::start(case.fault, Some(&authority), Accept::Of(case.guise))?;
        desk.aim(case.guise, &service, Some(&authority), LONG, ALONE);
        let mut gateway = Gateway::start(&desk.home);
        gateway.sync();
        let typed = if case.guise == Guise::Notify { "none" } else { case.typed };
        let begun = Instant::now();
        let answer = gateway.ask(&request(&format!("case {number}"), typed));
        Some((begun.elapsed(), answer, service.counts()))
    });
    assert_eq!(results.len(), endless.len());
    let mut worst = (Duration::ZERO, String::new());
    for (case, (took, answer, counts)) in results {
        let name = format!("{}, {}, {}", case.guise.word(), case.kind(), case.fault.name);
        let over = took.saturating_sub(Duration::from_secs(ALONE));
        let is_open = case.fault.reach == Reach::NotSent && answer.degraded == Some(true);
        assert!(answer.verdict() == "reject" || is_open, "{name}: {answer:?}");
        assert!(over < SLACK, "{name}: {took:?}");
        assert!(counts.calls.max(counts.connections) <= CALLS, "{name}: {counts:?}");
        if over >= worst.0 {
            worst = (over, name);
        }
    }
    let (over, name) = worst;
    println!("{} verdicts; the last of them {} ms after its deadline ({name})", endless.len(), over.as_millis());
}

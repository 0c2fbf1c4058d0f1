//! The administrator's commands, as they are typed: what they print, what they change, and what they refuse.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, in its helpers too"
)]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::BASE32_NOPAD;
use rig::{Finished, Home, Phone, attempt, finish, now, request};
use serde::Deserialize;
use serde_json::{Value, json};

/// A moment in the middle of a time step; what happens there does not depend on when the test runs.
const NOW: u64 = 1_800_000_015;

// ------------------------------------------------------------------------------------------------------------ helpers

/// What `enroll --json` and `enroll show --json` print.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    user: String,
    label: String,
    challenge: String,
    uri: String,
    secret: String,
    qr: Option<String>,
    expires: u64,
    recovery_codes: Vec<String>,
}

impl Pending {
    fn phone(&self) -> Phone {
        Phone::with_secret(&self.secret)
    }
}

/// What `enroll confirm --json` prints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proved {
    enrolled: bool,
    user: String,
    authenticator: String,
    recovery_codes_count: bool,
}

/// What `list --json` and `show --json` print of an authenticator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    user: String,
    id: String,
    client: String,
    label: String,
    kind: String,
    algorithm: Option<String>,
    digits: Option<u32>,
    period: Option<u64>,
    default: bool,
    disabled: bool,
    enrolled: String,
    last_used: Option<String>,
    last_step: Option<u64>,
}

/// What `show --json` prints of one that was removed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what is printed is declared whole")]
struct Removed {
    id: String,
    client: String,
    label: String,
    enrolled: String,
    removed: String,
    reason: String,
}

/// What `show --json` prints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what is printed is declared whole")]
struct Shown {
    user: String,
    authenticators: Vec<Described>,
    recovery_codes_left: Option<u32>,
    removed: Vec<Removed>,
    retry_after_s: u64,
}

#[track_caller]
fn parse<T: for<'a> Deserialize<'a>>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[track_caller]
fn enroll(home: &Home, arguments: &[&str]) -> Pending {
    let arguments: Vec<&str> = ["enroll"].iter().chain(arguments).chain(&["--json"]).copied().collect();
    parse(&home.run(&arguments, "").ok().stdout)
}

fn confirm(home: &Home, pending: &Pending, code: &str) -> Finished {
    home.run(&["enroll", "confirm", &pending.challenge, "--json"], format!("{code}\n"))
}

fn list(home: &Home) -> Vec<Described> {
    let mut all: Vec<Described> = parse(&home.run(&["list", "--json"], "").ok().stdout);
    // They come with everybody's first authenticator.
    all.retain(|described| described.client != "recovery");
    all
}

fn show(home: &Home, user: &str) -> Shown {
    parse(&home.run(&["show", user, "--json"], "").ok().stdout)
}

/// It was refused with this status, nothing was printed, and one line tells why.
#[track_caller]
fn refused(done: &Finished, status: i32) -> &str {
    assert_eq!((done.status, done.stdout.as_str()), (Some(status), ""), "{done:?}");
    let line = done.stderr.strip_suffix('\n').unwrap();
    assert!(!line.is_empty() && !line.contains('\n'), "{done:?}");
    line
}

/// It was refused for how it was called.
#[track_caller]
fn misused(done: &Finished) {
    assert_eq!((done.status, done.stdout.as_str()), (Some(64), ""), "{done:?}");
    assert!(!done.stderr.is_empty());
}

fn countersign(arguments: &[&str]) -> Finished {
    finish(Command::new(env!("CARGO_BIN_EXE_countersign")).args(arguments).env_clear(), b"")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Every file below `directory` with its content.
fn content(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push((path.clone(), fs::read(path).unwrap())) }
        }
    }
    files.sort();
    files
}

/// Whether `program` is there; says what to install where it is not.
fn is_there(program: &str, package: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: {program} is missing (Debian: {package})");
    }
    found
}

/// The codes of authenticators that are enrolled, to see that nothing prints a secret: in base32, hexadecimal and raw.
#[track_caller]
fn assert_no_secret(done: &Finished, phones: &[&Phone]) {
    for phone in phones {
        let secret = phone.secret();
        let hex = data_encoding::HEXLOWER.encode(&BASE32_NOPAD.decode(secret.as_bytes()).unwrap());
        for text in [&done.stdout, &done.stderr] {
            let plain = text.replace([' ', '-'], "").to_lowercase();
            assert!(!plain.contains(&secret.to_lowercase()) && !plain.contains(&hex), "a secret in: {text}");
        }
    }
}

// --------------------------------------------------------------------------------------------------------------- init

#[test]
fn init_makes_what_only_its_owner_can_read_whatever_the_umask() {
    let home = Home::init();
    for umask in ["000", "022", "077"] {
        let dir = home.dir().join(umask);
        let script = format!("umask {umask}; exec \"$0\" init \"$1\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_countersign")]).arg(&dir);
        finish(&mut command, b"").ok();
        assert_eq!((mode(&dir), mode(&dir.join("store"))), (0o700, 0o700));
        let files = content(&dir);
        assert!(files.len() >= 3, "{files:?}");
        for (path, _) in files {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}

#[test]
fn what_init_says_to_do_next_works_as_it_is_written() {
    let home = Home::init();
    let done = countersign(&["init", home.dir().join("new").to_str().unwrap()]).ok();
    let steps: Vec<&str> = done.stdout.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(steps.len(), 2, "{}", done.stdout);
    let programs = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let run = |step: &str| finish(Command::new("sh").args(["-c", step]).env("PATH", &path), b"");
    assert!(run(steps[0]).ok().stdout.contains("otpauth://totp/countersign:alice?secret="));
    let asked = run(steps[1]);
    assert!(asked.status == Some(0) && asked.stdout.contains("\"verdict\":\"need_info\""), "{asked:?}");
    assert!(done.stdout.contains("Keep a copy of the key"), "{}", done.stdout);
}

#[test]
fn a_second_init_is_refused_and_changes_nothing() {
    let home = Home::with(&[("alice", &Phone::new(1))]);
    let before = content(&home.dir());
    let done = countersign(&["init", home.dir().to_str().unwrap()]);
    let line = refused(&done, 65);
    assert_eq!(line, format!("{}: is there already; nothing was changed", home.ini().display()));
    assert!(content(&home.dir()) == before, "something was changed");
}

#[test]
fn an_interrupted_init_is_finished_and_keeps_who_is_enrolled() {
    let phone = Phone::new(2);
    let home = Home::with(&[("alice", &phone)]);
    let (key, ini) = (home.dir().join("master.key"), fs::read(home.ini()).unwrap());
    let before = fs::read(&key).unwrap();
    fs::remove_file(home.ini()).unwrap();
    countersign(&["init", home.dir().to_str().unwrap()]).ok();
    assert_eq!(fs::read(&key).unwrap(), before, "the key is the same");
    fs::write(home.ini(), ini).unwrap();
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.fresh_code())).told(), "accept");
}

/// What `init` left before it was interrupted, made by `leave`, is finished.
#[track_caller]
fn assert_init_finishes(leave: impl Fn(&Path)) {
    let home = Home::init();
    let dir = home.dir().join("new");
    countersign(&["init", dir.to_str().unwrap()]).ok();
    fs::remove_file(dir.join("plugin.ini")).unwrap();
    leave(&dir);
    countersign(&["init", dir.to_str().unwrap()]).ok();
    countersign(&["check", "--config", dir.join("plugin.ini").to_str().unwrap()]).ok();
}

#[test]
fn an_init_interrupted_before_its_store_is_finished() {
    assert_init_finishes(|dir| fs::remove_dir_all(dir.join("store")).unwrap());
}

#[test]
fn an_init_interrupted_before_its_key_is_finished() {
    assert_init_finishes(|dir| {
        fs::remove_dir_all(dir.join("store")).unwrap();
        fs::remove_file(dir.join("master.key")).unwrap();
    });
}

#[test]
fn an_init_interrupted_before_its_database_is_finished() {
    assert_init_finishes(|dir| {
        for (file, _) in content(&dir.join("store")) {
            fs::remove_file(file).unwrap();
        }
    });
}

#[test]
fn an_init_interrupted_in_its_database_is_finished() {
    // The file is there, and nothing is in it yet.
    assert_init_finishes(|dir| {
        for (file, _) in content(&dir.join("store")) {
            fs::remove_file(file).unwrap();
        }
        let database = dir.join("store/countersign.db");
        fs::write(&database, "").unwrap();
        fs::set_permissions(database, Permissions::from_mode(0o600)).unwrap();
    });
}

#[test]
fn an_init_interrupted_in_its_key_is_finished() {
    assert_init_finishes(|dir| {
        fs::remove_dir_all(dir.join("store")).unwrap();
        fs::write(dir.join("master.key"), "").unwrap();
    });
}

#[test]
fn init_takes_an_empty_directory_and_refuses_one_that_others_can_change() {
    let home = Home::init();
    let dir = home.dir().join("there");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
    let done = countersign(&["init", dir.to_str().unwrap()]);
    let line = refused(&done, 65);
    assert!(line.contains("mode 0777 lets others change it; run: chmod go-w "), "{line}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    countersign(&["init", dir.to_str().unwrap()]).ok();
}

#[test]
fn init_tells_where_it_cannot_make_anything() {
    let home = Home::init();
    let file = home.dir().join("file");
    fs::write(&file, "").unwrap();
    countersign(&["init", home.dir().join("made/on/the/way").to_str().unwrap()]).ok();
    for dir in [file.clone(), file.join("below")] {
        let done = countersign(&["init", dir.to_str().unwrap()]);
        assert!(refused(&done, 65).contains(dir.to_str().unwrap()), "{done:?}");
    }
}

// ------------------------------------------------------------------------------------------------------------- enroll

#[test]
fn nothing_counts_until_a_code_proves_it_and_that_code_is_then_used() {
    let home = Home::init();
    home.set_clock(NOW);
    let pending = enroll(&home, &["alice"]);
    let phone = pending.phone();
    assert_eq!((pending.user.as_str(), pending.expires), ("alice", NOW + 900));
    assert_eq!(pending.uri, format!("otpauth://totp/countersign:alice?secret={}&issuer=countersign", pending.secret));
    assert_eq!(BASE32_NOPAD.decode(pending.secret.as_bytes()).unwrap().len(), 20);
    assert!(list(&home).is_empty());
    let told = |id: u64, offset| home.ask_one(&attempt(id, "alice", &phone.code_at(NOW, offset))).told();
    assert_eq!(told(1, 0), "authentication_failure/not_enrolled");

    let proved: Proved = parse(&confirm(&home, &pending, &phone.code_at(NOW, 0)).ok().stdout);
    assert!(proved.enrolled && proved.user == "alice" && proved.recovery_codes_count);
    assert_eq!(list(&home)[0].id, proved.authenticator);
    assert_eq!(told(2, 0), "authentication_failure/used_code");
    assert_eq!(told(3, -1), "authentication_failure/used_code");
    assert_eq!(told(4, 1), "accept");
}

#[test]
fn a_code_on_standard_input_proves_it_in_one_go() {
    let home = Home::init();
    home.set_clock(NOW);
    let mut child = home
        .command(&["enroll", "alice", "--confirm", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let pending: Pending = parse(&line);
    let code = pending.phone().code_at(NOW, 0);
    // As people type it.
    writeln!(child.stdin.take().unwrap(), " {} {}", &code[..3], &code[3..]).unwrap();
    line.clear();
    output.read_to_string(&mut line).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(parse::<Proved>(&line).enrolled);
    assert_eq!(home.ask_one(&attempt(1, "alice", &pending.phone().code_at(NOW, 1))).told(), "accept");
}

#[test]
fn the_text_for_people_holds_the_secret_the_uri_and_what_to_do_next() {
    let home = Home::init();
    let text = home.run(&["enroll", "alice"], "").ok().stdout;
    let find = |mark: &str| text.lines().find_map(|line| Some(line.split_once(mark)?.1.trim().to_owned())).unwrap();
    let prove = find("To prove it: countersign enroll confirm ");
    let (id, config) = prove.split_once(' ').unwrap();
    assert_eq!(config, format!("--config {}", home.ini().display()));
    let id = id.to_owned();
    let pending: Pending = parse(&home.run(&["enroll", "show", &id, "--json"], "").ok().stdout);
    assert_eq!(find("or type the secret:").replace(' ', ""), pending.secret);
    assert_eq!(find("or open the URI:"), pending.uri);
    let again = home.run(&["enroll", "show", &id], "").ok().stdout;
    assert!(text.starts_with(&again), "show repeats what enroll showed");
    let proved = home.run(&["enroll", "confirm", &id], pending.phone().fresh_code()).ok().stdout;
    assert!(proved.contains("alice is enrolled with \"authenticator\" ("), "{proved}");
}

#[test]
fn a_pending_enrolment_can_be_shown_again_until_it_is_proved() {
    let home = Home::init();
    home.set_clock(NOW);
    let pending = enroll(&home, &["alice", "--label", "phone"]);
    let show = || home.run(&["enroll", "show", &pending.challenge, "--json"], "");
    assert_eq!(parse::<Pending>(&show().ok().stdout), pending);
    confirm(&home, &pending, &pending.phone().code_at(NOW, 0)).ok();
    let line = refused(&show(), 65).to_owned();
    assert!(line.contains("was proved already"), "{line}");
    let again = confirm(&home, &pending, &pending.phone().code_at(NOW, 1));
    assert!(refused(&again, 65).contains("was proved already"));
    assert_eq!(list(&home).len(), 1);
    for unknown in ["nonsense", "", "a\u{1b}[2Jb"] {
        let done = home.run(&["enroll", "show", unknown], "");
        let line = refused(&done, 65);
        assert!(line.contains("is not known") && !line.contains('\u{1b}'), "{line}");
    }
}

#[test]
fn a_wrong_code_proves_nothing_and_the_tries_run_out() {
    let home = Home::init();
    home.set_clock(NOW);
    let pending = enroll(&home, &["alice"]);
    let phone = pending.phone();
    let mut left = Vec::new();
    for wrong in [phone.wrong_code(NOW), "12345".into(), "hello".into(), String::new(), phone.wrong_code(NOW)] {
        let done = confirm(&home, &pending, &wrong);
        let line = refused(&done, 65);
        assert!(line.starts_with("the code is wrong; nothing was enrolled ("), "{line}");
        left.push(line.split_once('(').unwrap().1.to_owned());
    }
    assert_eq!(left, ["4 tries left)", "3 tries left)", "2 tries left)", "1 tries left)", "0 tries left)"]);
    let done = confirm(&home, &pending, &phone.code_at(NOW, 0));
    assert!(refused(&done, 65).contains("too many codes were wrong"));
    assert!(list(&home).is_empty());
}

#[test]
fn no_code_at_all_costs_no_try() {
    let home = Home::init();
    home.set_clock(NOW);
    let pending = enroll(&home, &["alice"]);
    for _ in 0..10 {
        let done = home.run(&["enroll", "confirm", &pending.challenge, "--json"], "");
        assert_eq!(refused(&done, 65), "no code was given; nothing was enrolled");
    }
    confirm(&home, &pending, &pending.phone().code_at(NOW, 0)).ok();
}

#[test]
fn a_clock_that_is_wrong_is_told_with_its_offset() {
    let home = Home::init();
    home.set_clock(NOW);
    for (offset, words) in [(4, "about 120 s fast"), (-4, "about 120 s slow")] {
        let pending = enroll(&home, &["alice"]);
        let done = confirm(&home, &pending, &pending.phone().code_at(NOW, offset));
        let line = refused(&done, 65);
        assert!(line.contains("the code is right") && line.contains(words), "{line}");
    }
    assert!(list(&home).is_empty());
}

#[test]
fn a_pending_enrolment_expires() {
    let home = Home::init();
    home.set_clock(NOW);
    let (late, timely) = (enroll(&home, &["late"]), enroll(&home, &["timely"]));
    home.set_clock(NOW + 899);
    confirm(&home, &timely, &timely.phone().code_at(NOW + 899, 0)).ok();
    home.set_clock(NOW + 900);
    let done = confirm(&home, &late, &late.phone().code_at(NOW + 900, 0));
    assert!(refused(&done, 65).contains("has expired"));
    let done = home.run(&["enroll", "show", &late.challenge], "");
    assert!(refused(&done, 65).contains("has expired"));
    assert_eq!(list(&home).len(), 1);
}

#[test]
fn what_plugin_ini_says_of_new_authenticators_is_in_the_uri_and_holds() {
    let home = Home::init();
    home.set_clock(NOW);
    home.set("totp", "issuer", "Kůň & Žluť: A+B");
    home.set("totp", "algorithm", "SHA256");
    home.set("totp", "digits", "8");
    home.set("totp", "period", "60");
    home.set("totp", "secret_bytes", "32");
    let pending = enroll(&home, &["Jiří@example.com"]);
    let issuer = "K%C5%AF%C5%88%20%26%20%C5%BDlu%C5%A5%3A%20A%2BB";
    assert_eq!(
        pending.uri,
        format!(
            "otpauth://totp/{issuer}:Ji%C5%99%C3%AD%40example.com?secret={}&issuer={issuer}&algorithm=SHA256&digits=8&period=60",
            pending.secret
        )
    );
    assert_eq!(BASE32_NOPAD.decode(pending.secret.as_bytes()).unwrap().len(), 32);
    let phone = pending.phone().with("SHA256", 8, 60);
    confirm(&home, &pending, &phone.code_at(NOW, 0)).ok();
    // What was enrolled keeps what it was enrolled with.
    home.set("totp", "digits", "6");
    home.set("totp", "period", "30");
    assert_eq!(home.ask_one(&attempt(1, "JIŘÍ@example.com", &phone.code_at(NOW, 1))).told(), "accept");
    let one = list(&home).remove(0);
    assert_eq!((one.algorithm.as_deref(), one.digits, one.period), (Some("SHA256"), Some(8), Some(60)));
}

#[test]
fn names_that_cannot_be_seen_are_not_enrolled() {
    let home = Home::init();
    let long = "x".repeat(257);
    for (name, what) in [
        ("", "is empty"),
        ("  ", "is empty"),
        ("a\nb", "holds control or invisible characters"),
        ("a\u{1b}b", "holds control or invisible characters"),
        ("a\u{202e}b", "holds control or invisible characters"),
        ("a\u{200b}b", "holds control or invisible characters"),
        (&long, "is longer than 256 bytes"),
    ] {
        let phone = Phone::new(9);
        for done in
            [home.run(&["enroll", name], ""), home.run(&["import", "uri", "--user", name], phone.uri("account"))]
        {
            let line = refused(&done, 65);
            assert!(line.contains("user name") && line.contains(what), "{line}");
            assert!(!line.contains(['\u{1b}', '\u{202e}', '\u{200b}']), "{line}");
        }
    }
    assert!(list(&home).is_empty());
}

#[test]
fn a_user_called_like_a_subcommand_can_be_enrolled() {
    let home = Home::init();
    for name in ["show", "confirm", "help", "--json"] {
        let arguments = ["enroll", "--json", "--", name];
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.env_clear().arg("--config").arg(home.ini()).args(arguments);
        assert_eq!(parse::<Pending>(&finish(&mut command, b"").ok().stdout).user, name);
    }
}

#[test]
fn a_second_authenticator_gets_a_label_of_its_own() {
    let home = Home::init();
    home.set_clock(NOW);
    for (arguments, label) in [
        (&["alice"][..], "authenticator"),
        (&["alice"], "authenticator 2"),
        (&["alice", "--label", " token "], "token"),
        (&["alice"], "authenticator 3"),
        (&["bob", "--label", "token"], "token"),
    ] {
        let pending = enroll(&home, arguments);
        assert_eq!(pending.label, label);
        confirm(&home, &pending, &pending.phone().code_at(NOW, 0)).ok();
    }
    let long = "x".repeat(65);
    for label in ["token", "", " ", &long, "a\nb", "a\u{202e}b"] {
        let done = home.run(&["enroll", "alice", "--label", label], "");
        assert!(refused(&done, 65).contains("label"), "{done:?}");
    }
    // Two that were begun under one label: the first that is proved has it.
    let (first, second) = (enroll(&home, &["carol", "--label", "x"]), enroll(&home, &["carol", "--label", "x"]));
    confirm(&home, &first, &first.phone().code_at(NOW, 0)).ok();
    let done = confirm(&home, &second, &second.phone().code_at(NOW, 0));
    assert!(refused(&done, 65).contains("choose another --label"));
    assert_eq!(list(&home).len(), 6);
}

// ------------------------------------------------------------------------------------------------- enroll, terminals

/// A command on a pseudo-terminal, through `script`.
struct Terminal {
    child: std::process::Child,
    input: std::process::ChildStdin,
    output: BufReader<std::process::ChildStdout>,
}

impl Terminal {
    fn start(home: &Home, arguments: &str) -> Option<Self> {
        if !is_there("script", "util-linux, bsdutils") {
            return None;
        }
        let program = env!("CARGO_BIN_EXE_countersign");
        let command = format!("'{program}' --config '{}' --test-clock {NOW} {arguments}", home.ini().display());
        // A program that does not come back ends the test, too.
        let mut child = Command::new("timeout")
            .args(["60", "script", "--quiet", "--return", "--flush", "--command", &command, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Some(Self { child, input, output })
    }

    /// What is shown up to `mark`.
    fn until(&mut self, mark: &str) -> String {
        let mut shown = Vec::new();
        while !shown.ends_with(mark.as_bytes()) {
            let mut byte = [0];
            assert_eq!(self.output.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&shown));
            shown.push(byte[0]);
        }
        String::from_utf8(shown).unwrap()
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// The rest that is shown, and the exit status.
    fn end(mut self) -> (String, Option<i32>) {
        let mut rest = String::new();
        drop(self.input);
        self.output.read_to_string(&mut rest).unwrap();
        (rest, self.child.wait().unwrap().code())
    }
}

const ASKS: &str = "Type the code that the app shows: ";

#[test]
fn on_a_terminal_the_code_is_asked_for_until_it_is_right() {
    let home = Home::init();
    home.set_clock(NOW);
    let Some(mut terminal) = Terminal::start(&home, "enroll alice") else { return };
    let shown = terminal.until(ASKS);
    let secret = shown.lines().find_map(|l| l.split_once("or type the secret:")).unwrap().1.replace([' ', '\r'], "");
    let phone = Phone::with_secret(&secret);
    terminal.type_line(&phone.wrong_code(NOW));
    assert!(terminal.until(ASKS).contains("the code is wrong (4 tries left)"));
    terminal.type_line(&phone.code_at(NOW, 3));
    assert!(terminal.until(ASKS).contains("90 s fast"));
    terminal.type_line(&phone.code_at(NOW, 0));
    let (rest, status) = terminal.end();
    assert!(status == Some(0) && rest.contains("alice is enrolled"), "{status:?}: {rest}");
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.code_at(NOW, 1))).told(), "accept");
}

#[test]
fn on_a_terminal_the_tries_run_out_too() {
    let home = Home::init();
    let Some(mut terminal) = Terminal::start(&home, "enroll alice") else { return };
    for _ in 0..5 {
        terminal.until(ASKS);
        terminal.type_line("none");
    }
    let (rest, status) = terminal.end();
    assert!(status == Some(65) && rest.contains("nothing was enrolled (0 tries left)"), "{status:?}: {rest}");
    assert!(list(&home).is_empty());
}

/// A QR code in half blocks as a PGM image, eight pixels a module; `dark` says what a full block is.
fn image(text: &str, block_is_dark: bool) -> Vec<u8> {
    const SCALE: usize = 8;
    let rows: Vec<Vec<(bool, bool)>> = text
        .lines()
        .map(|line| line.trim_end_matches('\r').replace("\u{1b}[30;107m", "").replace("\u{1b}[0m", ""))
        .filter(|line| !line.is_empty() && line.chars().all(|c| " █▀▄".contains(c)))
        .map(|line| {
            let halves = |c| match c {
                '█' => (true, true),
                '▀' => (true, false),
                '▄' => (false, true),
                _ => (false, false),
            };
            line.chars().map(halves).map(|(u, l)| (u == block_is_dark, l == block_is_dark)).collect()
        })
        .collect();
    assert!(rows.len() > 15 && rows.iter().all(|row| row.len() == rows[0].len()), "no QR code in {text}");
    let mut pixels = Vec::new();
    for row in &rows {
        let upper: Vec<bool> = row.iter().map(|(upper, _)| *upper).collect();
        let lower: Vec<bool> = row.iter().map(|(_, lower)| *lower).collect();
        for modules in [upper, lower] {
            let line: Vec<u8> = modules.iter().flat_map(|dark| [if *dark { 0 } else { 255 }; SCALE]).collect();
            (0..SCALE).for_each(|_| pixels.extend_from_slice(&line));
        }
    }
    let (width, height) = (rows[0].len() * SCALE, rows.len() * 2 * SCALE);
    [format!("P5\n{width} {height}\n255\n").into_bytes(), pixels].concat()
}

/// What a QR reader sees in `image`.
fn scan(home: &Home, image: &[u8]) -> String {
    let path = home.dir().join("code.pgm");
    fs::write(&path, image).unwrap();
    let read = Command::new("zbarimg").args(["--quiet", "--raw"]).arg(&path).output().unwrap();
    String::from_utf8(read.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn a_camera_reads_the_uri_from_the_screen() {
    if !is_there("zbarimg", "zbar-tools") {
        return;
    }
    let home = Home::init();
    home.set("totp", "issuer", "Kůň & Žluť: a long name of an issuer");
    home.set("totp", "secret_bytes", "64");
    home.set("totp", "algorithm", "SHA512");
    let text = home.run(&["enroll", "alice@example.com"], "").ok().stdout;
    let uri = |text: &str| text.lines().find_map(|l| l.split_once("or open the URI:")).unwrap().1.trim().to_owned();
    // Without escape sequences: light blocks on the dark ground of a terminal.
    assert_eq!(scan(&home, &image(&text, false)), uri(&text));

    let Some(mut terminal) = Terminal::start(&home, "enroll alice@example.com") else { return };
    let shown = terminal.until(ASKS);
    assert!(shown.contains("\u{1b}[30;107m"), "the colours are fixed on a terminal");
    assert_eq!(scan(&home, &image(&shown, true)), uri(&shown));
    assert_eq!(terminal.end().1, Some(65));
}

#[test]
fn the_code_on_the_screen_has_its_quiet_zone() {
    let home = Home::init();
    let text = home.run(&["enroll", "alice"], "").ok().stdout;
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('█')).collect();
    // Light is a full block here: four modules on each side, two lines of text above and below.
    for line in [lines[0], lines[1], lines[lines.len() - 2]] {
        assert!(line.chars().all(|c| c == '█'), "{line}");
    }
    for line in &lines {
        let sides = line.chars().take(4).chain(line.chars().rev().take(4));
        assert!(sides.clone().all(|c| c == '█' || (c == '▀' && line == lines.last().unwrap())), "{line}");
    }
}

// ------------------------------------------------------------------------------------------------------------- import

const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

#[test]
fn each_bad_line_is_one_clear_error_and_enrols_nobody() {
    let home = Home::init();
    let long = format!("otpauth://totp/T:bob?secret={}", "A".repeat(20_000));
    for (line, expected) in [
        ("hello", "line 1: this is not a URI; expected one line such as otpauth://totp/"),
        (SECRET, "line 1: this is not a URI"),
        ("https://example.com/?secret=CANARY", "line 1: the URI does not begin with otpauth://totp/"),
        ("otpauth://motp/T:bob?secret=CANARY", "line 1: the URI does not begin with otpauth://totp/"),
        (
            "otpauth://hotp/T:bob?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&counter=x",
            "line 1: counter: expected a number",
        ),
        ("otpauth://totp/T:bob", "line 1: there is no secret= parameter"),
        ("otpauth://totp/T:bob?secret=", "line 1: the secret has 0 bits"),
        ("otpauth://totp/T:bob?secret=CANARY1", "line 1: the secret is not base32"),
        ("otpauth://totp/T:bob?secret=JBSWY3DPEHPK3PXP", "line 1: the secret has 80 bits; at least 128 are needed"),
        (
            "otpauth://totp/T:bob?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&secret=CANARY",
            "secret is there more than once",
        ),
        (
            "otpauth://totp/T:bob?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&algorithm=MD5",
            "expected SHA1, SHA256 or SHA512",
        ),
        ("otpauth://totp/T:bob?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&digits=5", "digits: expected 6, 7 or 8"),
        ("otpauth://totp/T:bob?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&digits=six", "digits: expected 6, 7 or 8"),
        ("otpauth://totp/T:bob?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&period=0", "period: expected 15 to 120 seconds"),
        (
            "otpauth://totp/T:bob?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&period=9999999999",
            "period: expected 15 to 120",
        ),
        ("otpauth://totp/%ff:bob?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "line 1: the label is not UTF-8"),
        ("", "there is no otpauth:// line"),
        ("# only a comment\n\n", "there is no otpauth:// line"),
        (&long, "line 1: the secret is longer than 2048 bits"),
    ] {
        for arguments in [&["import", "uri", "--user", "bob"][..], &["import", "uri", "--user-from-label"]] {
            let done = home.run(arguments, line);
            let told = refused(&done, 65);
            assert!(told.contains(expected), "{line}: {told}");
            for secret in ["CANARY", SECRET, "AAAA"] {
                assert!(!told.contains(secret), "{line}: {told}");
            }
        }
    }
    let done = home.run(&["import", "uri", "--user", "bob"], b"otpauth://totp/T:bob?secret=\xff\xfe\n");
    refused(&done, 65);
    assert!(list(&home).is_empty());
}

#[test]
fn a_line_in_any_form_that_apps_write_is_enrolled_at_once() {
    let home = Home::init();
    home.set_clock(NOW);
    let phone = Phone::with_secret(SECRET);
    for (user, line) in [
        ("a", format!("otpauth://totp/T:bob?secret={SECRET}&issuer=T")),
        ("b", format!("  otpauth://totp/bob?secret={}  ", SECRET.to_lowercase())),
        (
            "c",
            format!(
                "# bob's phone\n\notpauth://totp/T%3Abob?issuer=T&secret={SECRET}&image=https%3A%2F%2Fx&lock=0\r\n"
            ),
        ),
        ("d", format!("OTPAUTH://TOTP/T:bob?SECRET={SECRET}&digits=6&period=30&algorithm=sha1")),
        ("e", "otpauth://totp/T:bob?secret=JBSW%20Y3DP%20EHPK%203PXP%20JBSW%20Y3DP%20EHPK%203PXP".into()),
        ("f", format!("otpauth://totp/T:bob?secret={SECRET}====")),
    ] {
        let done = home.run(&["import", "uri", "--user", user], line).ok();
        assert!(done.stdout.starts_with(&format!("{user} is enrolled with \"authenticator\" (")), "{done:?}");
        assert_no_secret(&done, &[&phone]);
        assert_eq!(home.ask_one(&attempt(1, user, &phone.code_at(NOW, 0))).told(), "accept", "{user}");
    }
}

#[test]
fn many_are_imported_under_the_names_of_their_labels() {
    let home = Home::init();
    home.set_clock(NOW);
    let phones: Vec<Phone> = (0..4).map(Phone::new).collect();
    let lines = [
        "# exported".to_owned(),
        phones[0].uri("Alice"),
        String::new(),
        phones[1].uri("bob%40example.com"),
        phones[2].uri("alice"),
        phones[3].uri("carol"),
    ];
    let done = home.run(&["import", "uri", "--user-from-label"], lines.join("\n")).ok();
    assert_eq!(done.stdout, "4 enrolled\n");
    let enrolled: Vec<_> = list(&home).into_iter().map(|one| (one.user, one.label)).collect();
    let expected = [
        ("alice", "authenticator"),
        ("alice", "authenticator 2"),
        ("bob@example.com", "authenticator"),
        ("carol", "authenticator"),
    ];
    let mut sorted = enrolled.clone();
    sorted.sort();
    assert_eq!(sorted, expected.map(|(user, label)| (user.to_owned(), label.to_owned())), "{enrolled:?}");
    for (id, (user, phone)) in
        [("alice", 0), ("bob@example.com", 1), ("ALICE", 2), ("carol", 3)].into_iter().enumerate()
    {
        let answer = home.ask_one(&attempt(id, user, &phones[phone].code_at(NOW, 0)));
        assert_eq!(answer.told(), "accept", "{user}");
    }
}

#[test]
fn a_flawed_line_among_many_is_told_by_its_number_and_enrols_nobody() {
    let home = Home::init();
    let good: Vec<String> = (0..20).map(|n| Phone::new(n).uri(&format!("user{n}"))).collect();
    let mut lines = good.clone();
    lines.insert(7, "otpauth://totp/T:weak?secret=JBSWY3DPEHPK3PXP".into());
    let done = home.run(&["import", "uri", "--user-from-label"], lines.join("\n"));
    let line = refused(&done, 65);
    assert!(line.starts_with("line 8: the secret has 80 bits;") && line.ends_with("; nothing was imported"), "{line}");
    assert!(list(&home).is_empty());
    // Whoever is enrolled already is not enrolled twice by the same file.
    home.run(&["import", "uri", "--user-from-label"], good.join("\n")).ok();
    let done = home.run(&["import", "uri", "--user-from-label"], good.join("\n"));
    assert_eq!((done.status, done.stdout.as_str()), (Some(65), ""));
    assert_eq!(done.stderr.matches("has this authenticator already").count(), 20, "{done:?}");
    assert_eq!(list(&home).len(), 20);
}

#[test]
fn a_flaw_at_the_end_of_a_long_import_keeps_all_of_it_out() {
    let home = Home::init();
    let mut lines: Vec<String> = (0..1100).map(|n| Phone::new(n).uri(&format!("user{n:04}"))).collect();
    lines.push("nonsense".into());
    let done = home.run(&["import", "uri", "--user-from-label"], lines.join("\n"));
    let line = refused(&done, 65);
    assert!(line.starts_with("line 1101: ") && line.ends_with("; nothing was imported"), "{line}");
    assert!(list(&home).is_empty());
}

// -------------------------------------------------------------------------------------------- list, show, remove, unlock

#[test]
fn list_and_show_tell_everything_but_the_secret() {
    let home = Home::init();
    assert_eq!(home.run(&["list"], "").ok().stdout, "nobody is enrolled\n");
    assert_eq!(home.run(&["list", "--json"], "").ok().stdout.trim(), "[]");

    home.set_clock(NOW);
    let phones = [Phone::new(1), Phone::new(2).with("SHA512", 8, 60)];
    home.import("Alice", &phones[0]);
    home.import("bob", &phones[1]);
    assert_eq!(home.ask_one(&attempt(1, "alice", &phones[0].code_at(NOW, 0))).told(), "accept");

    let all: Vec<_> = list(&home);
    let alice = &all[0];
    assert_eq!((all.len(), alice.user.as_str(), alice.client.as_str()), (2, "alice", "totp"));
    assert_eq!((alice.algorithm.as_deref(), alice.digits, alice.period), (Some("SHA1"), Some(6), Some(30)));
    assert_eq!((alice.last_used.as_deref(), alice.last_step), (Some("2027-01-15T08:00:15Z"), Some(NOW / 30)));
    assert_eq!(alice.enrolled, "2027-01-15T08:00:15Z");
    let bob = &all[1];
    assert_eq!((bob.algorithm.as_deref(), bob.digits, bob.period), (Some("SHA512"), Some(8), Some(60)));
    assert_eq!((bob.last_used.as_deref(), bob.last_step), (None, None));

    let shown = show(&home, "ALICE");
    assert_eq!((shown.user.as_str(), shown.authenticators.len(), shown.retry_after_s), ("alice", 1, 0));
    assert_eq!(shown.authenticators[0].id, alice.id);
    assert_eq!(shown.authenticators[0].label, alice.label);

    for arguments in
        [&["list"][..], &["list", "--json"], &["show", "alice"], &["show", "alice", "--json"], &["show", "bob"]]
    {
        let done = home.run(arguments, "").ok();
        assert_no_secret(&done, &[&phones[0], &phones[1]]);
        assert!(!done.stdout.contains("sealed"), "{done:?}");
    }
    let text = home.run(&["list"], "").ok().stdout;
    assert!(text.lines().nth(1).unwrap().contains(&alice.id) && text.contains("never"), "{text}");
    let text = home.run(&["show", "alice"], "").ok().stdout;
    for part in ["alice", "authenticator", &alice.id, "SHA1, 6 digits, 30 s", "2027-01-15T08:00:15Z"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let nobody = home.run(&["show", "nobody"], "").ok().stdout;
    assert!(nobody.contains("nobody is not enrolled"), "{nobody}");
    assert!(show(&home, "nobody").authenticators.is_empty());
}

#[test]
fn a_throttled_user_is_shown_and_heard_again_after_unlock() {
    let phone = Phone::new(3);
    let home = Home::with(&[("alice", &phone)]);
    home.set_clock(NOW);
    let wrong = phone.wrong_code(NOW);
    let told: Vec<_> = (0..7).map(|id| home.ask_one(&attempt(id, "alice", &wrong)).code().to_owned()).collect();
    assert_eq!(told[6], "throttled", "{told:?}");
    let wait = show(&home, "alice").retry_after_s;
    assert!(wait > 0);
    let text = home.run(&["show", "alice"], "").ok().stdout;
    assert!(text.contains(&format!("heard in {wait} s")) && text.contains("countersign unlock"), "{text}");
    assert_eq!(home.ask_one(&attempt(8, "alice", &phone.code_at(NOW, 0))).code(), "throttled");

    let locked = home.run(&["lock", "list"], "").ok().stdout;
    assert!(locked.starts_with("alice: codes are heard again in ") && locked.lines().count() == 1, "{locked}");
    let locked: Value = serde_json::from_str(&home.run(&["lock", "list", "--json"], "").ok().stdout).unwrap();
    assert_eq!((&locked[0]["user"], &locked[0]["what"]), (&json!("alice"), &json!("codes")), "{locked}");
    let text = home.run(&["unlock", "ALICE"], "").ok().stdout;
    assert_eq!(text, "alice: the failures are forgotten\n");
    assert_eq!(home.run(&["unlock", "alice"], "").ok().stdout, "alice: there were no failures\n");
    assert_eq!(home.run(&["lock", "list"], "").ok().stdout, "nobody who is enrolled has to wait\n");
    assert_eq!(show(&home, "alice").retry_after_s, 0);
    assert_eq!(home.ask_one(&attempt(9, "alice", &phone.code_at(NOW, 0))).told(), "accept");
}

#[test]
fn a_throttled_source_is_heard_again_after_unlock() {
    let phone = Phone::new(4);
    let home = Home::with(&[("alice", &phone)]);
    home.set_clock(NOW);
    home.set("throttle", "source_failures", "2");
    let from = |id: u64, user: &str, code: &str, source: &str| {
        home.ask_one(&request(id, user, json!({"client_ip": source, "key_value_pairs": {"otp": code}})))
    };
    for (source, same, shown) in [
        ("192.0.2.9", "::ffff:192.0.2.9", "192.0.2.9"),
        ("2001:db8:1:2::7", "2001:0DB8:1:2:ffff::1", "2001:db8:1:2::/64"),
    ] {
        for id in 0..4_u64 {
            from(id, &format!("nobody{id}"), "000000", source);
        }
        let answer = from(5, "alice", &phone.wrong_code(NOW), source);
        assert_eq!(answer.code(), "throttled");
        assert_eq!(
            home.run(&["unlock", "--source", same], "").ok().stdout,
            format!("{shown}: the failures are forgotten\n")
        );
        assert_eq!(from(6, "alice", &phone.wrong_code(NOW), source).code(), "wrong_code");
    }
    assert_eq!(
        home.run(&["unlock", "--source", "198.51.100.1"], "").ok().stdout,
        "198.51.100.1: there were no failures\n"
    );
}

#[test]
fn whoever_has_two_authenticators_says_which_is_removed() {
    let phones = [Phone::new(5), Phone::new(6)];
    let home = Home::init();
    home.set_clock(NOW);
    home.import("alice", &phones[0]);
    home.run(&["import", "uri", "--user", "alice", "--label", "token"], phones[1].uri("x")).ok();
    let told =
        |id: u64, phone: usize, offset| home.ask_one(&attempt(id, "alice", &phones[phone].code_at(NOW, offset))).told();
    assert_eq!((told(1, 0, -1), told(2, 1, -1)), ("accept".into(), "accept".into()), "both log in");

    let done = home.run(&["remove", "alice", "--override-reason", "test"], "");
    assert_eq!(refused(&done, 64), "alice has 2 authenticators; say which with --id, or --all");
    let done = home.run(&["remove", "alice", "--id", "nonsense", "--override-reason", "test"], "");
    assert!(refused(&done, 65).contains("has no authenticator nonsense"));
    let done = home.run(&["remove", "nobody", "--override-reason", "test"], "");
    assert_eq!(refused(&done, 65), "nobody is not enrolled");
    misused(&home.run(&["remove", "alice", "--id", "x", "--all", "--override-reason", "test"], ""));
    assert_eq!(list(&home).len(), 2, "nothing was removed");

    let token = list(&home).into_iter().find(|one| one.label == "token").unwrap();
    assert!(token.kind == "totp" && !token.default && !token.disabled, "{token:?}");
    let done = home.run(&["remove", "ALICE", "--id", &token.id, "--override-reason", "test"], "").ok();
    assert_eq!(done.stdout, format!("removed \"token\" ({}) of alice\n", token.id));
    assert_eq!((told(3, 0, 0), told(4, 1, 0)), ("accept".into(), "authentication_failure/wrong_code".into()));

    home.run(&["remove", "alice", "--override-reason", "test"], "").ok();
    assert_eq!(told(5, 0, 1), "authentication_failure/not_enrolled");
    home.import("alice", &phones[0]);
    home.import("alice", &phones[1]);
    let done = home.run(&["remove", "alice", "--all", "--override-reason", "test"], "").ok();
    assert_eq!(done.stdout.lines().count(), 2);
    assert!(list(&home).is_empty());
}

#[test]
fn the_id_of_what_was_removed_is_never_given_again() {
    let home = Home::init();
    let mut ids = BTreeSet::new();
    for _ in 0..5 {
        home.import("alice", &Phone::new(7));
        assert!(ids.insert(list(&home).remove(0).id));
        home.run(&["remove", "alice", "--override-reason", "test"], "").ok();
    }
}

// --------------------------------------------------------------------------------------------------------------- demo

#[test]
fn demo_shows_a_whole_login_and_leaves_nothing_behind() {
    let home = Home::init();
    let temporary = home.dir().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("demo").env_clear().env("TMPDIR", &temporary);
    let done = finish(&mut command, b"").ok();
    let lines = |mark: &str| -> Vec<Value> {
        done.stdout
            .lines()
            .filter_map(|line| line.strip_prefix(mark))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let verdicts: Vec<_> = lines("< ").iter().map(|line| line["verdict"].as_str().unwrap().to_owned()).collect();
    assert_eq!(verdicts, ["need_info", "reject", "accept", "reject"]);
    let codes: Vec<_> =
        lines("< ").iter().map(|line| line["error"]["code"].as_str().unwrap_or("").to_owned()).collect();
    assert_eq!(codes, ["", "wrong_code", "", "used_code"]);
    for (asked, answered) in lines("> ").iter().zip(lines("< ")) {
        assert_eq!((asked["type"].as_str(), &asked["id"]), (Some("authenticate"), &answered["id"]));
        rig::Answer::parse(answered.to_string().as_bytes());
    }
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "it leaves nothing");
}

#[test]
fn demo_tells_where_it_has_no_room() {
    let home = Home::init();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("demo").env_clear().env("TMPDIR", home.dir().join("nowhere"));
    let done = finish(&mut command, b"");
    assert!(done.status.is_some_and(|status| status != 0) && done.stderr.contains("nowhere"), "{done:?}");
}

// ---------------------------------------------------------------------------------------------------------- documents

/// A command with its words, its long options and the help that it prints.
struct Page {
    words: Vec<String>,
    options: BTreeSet<String>,
    values: BTreeSet<String>,
    help: String,
}

/// Every command that `--help` leads to.
fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    let mut found: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(words) = found.pop() {
        let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = countersign(&arguments).ok().stdout;
        let (mut options, mut values) = (BTreeSet::new(), BTreeSet::new());
        let mut part = "";
        for line in help.lines() {
            if !line.is_empty() && !line.starts_with(' ') {
                part = line;
                continue;
            }
            let Some(entry) = line.strip_prefix("  ") else { continue };
            let word = |text: &str| text.split([' ', '>', ']']).next().unwrap_or_default().to_owned();
            if part == "Commands:" && !entry.starts_with(' ') && word(entry) != "help" {
                found.push(words.iter().cloned().chain([word(entry)]).collect());
            }
            // What begins with a dash and a space is one of the values.
            let is_option = entry.trim_start().starts_with('-') && !entry.trim_start().starts_with("- ");
            if part == "Options:" && is_option {
                let (_, long) = entry.split_once("--").unwrap();
                options.insert(word(long));
                values.extend(long.split_once('<').map(|(_, value)| word(value)));
            }
            if part == "Arguments:"
                && let Some(value) = entry.trim_start().strip_prefix(['<', '['])
            {
                values.insert(word(value));
            }
        }
        pages.push(Page { words, options, values, help });
    }
    pages
}

#[test]
fn the_help_of_each_command_tells_its_options() {
    const NAMED: &[&str] =
        &["user", "user-from-label", "map", "label", "allow-weak", "dry-run", "skip-existing", "skip-flawed"];
    const LISTED: &[&str] = &["only", "map", "label", "allow-weak", "dry-run", "skip-existing", "skip-flawed"];
    let expected: &[(&str, &[&str])] = &[
        ("", &["version"]),
        ("serve", &["listen", "socket-activation", "connections"]),
        ("connect", &["wait"]),
        ("init", &[]),
        ("enroll", &["client", "label", "target", "target-stdin", "confirm", "qr", "qr-file", "page", "json"]),
        ("enroll show", &["qr", "qr-file", "page", "json"]),
        ("enroll confirm", &["json"]),
        ("import", &[]),
        ("import uri", NAMED),
        ("import google-export", NAMED),
        ("import google-authenticator", &["user", "label", "allow-weak", "dry-run", "skip-existing", "skip-flawed"]),
        ("import users-oath", LISTED),
        ("import home-assistant", LISTED),
        (
            "import piccolo",
            &["key-file", "only", "map", "label", "allow-weak", "dry-run", "skip-existing", "skip-flawed"],
        ),
        (
            "import pskc",
            &[
                "key-file",
                "user",
                "user-from-label",
                "map",
                "label",
                "allow-weak",
                "dry-run",
                "skip-existing",
                "skip-flawed",
            ],
        ),
        ("import backup", &["key-file", "only", "restore-removed", "dry-run", "skip-existing", "skip-flawed"]),
        ("export", &["key-file", "new-key-file", "user"]),
        ("list", &["user", "client", "state", "json"]),
        ("authenticator", &[]),
        ("authenticator list", &["user", "client", "state", "json"]),
        ("authenticator show", &["json"]),
        ("authenticator default", &["override-reason"]),
        ("authenticator rename", &[]),
        ("authenticator disable", &["override-reason"]),
        ("authenticator enable", &["override-reason"]),
        ("authenticator remove", &["id", "all", "override-reason"]),
        ("show", &["json"]),
        ("remove", &["id", "all", "override-reason"]),
        ("recovery", &[]),
        ("recovery generate", &["json"]),
        ("recovery count", &["json"]),
        ("bypass", &["for", "uses", "reason", "json"]),
        ("ticket", &["for", "json"]),
        ("lock", &[]),
        ("lock list", &["json"]),
        ("unlock", &["source"]),
        ("challenge", &[]),
        ("challenge request", &["purpose", "binding", "lifetime", "json"]),
        ("challenge confirm", &["json"]),
        ("challenge check", &["binding", "purpose", "json"]),
        ("challenge use", &["binding", "purpose", "json"]),
        ("challenge cancel", &[]),
        ("challenge list", &["json"]),
        ("challenge purge", &[]),
        ("check", &["schema", "gateway"]),
        ("client", &[]),
        ("client list", &["json", "gateway"]),
        ("client schema", &[]),
        ("doctor", &["json", "gateway"]),
        ("explain", &["at", "json", "gateway"]),
        ("example", &[]),
        ("gateway", &["append-otp", "field", "wait", "min-runtime", "on-error", "log", "concurrent"]),
        ("store", &[]),
        ("store migrate", &[]),
        ("store copy", &[]),
        ("store check", &[]),
        ("store purge", &[]),
        ("keys", &[]),
        ("keys generate", &[]),
        ("keys rotate", &["prepare"]),
        ("keys verify", &[]),
        ("demo", &[]),
        ("simulate", &["list", "client", "listen", "any-address", "host", "plain", "after", "keep"]),
        ("completions", &[]),
        ("man", &[]),
        // What every command has.
        ("*", &["config", "help"]),
    ];
    let pages = pages();
    let found: BTreeSet<String> = pages.iter().map(|page| page.words.join(" ")).collect();
    let known: BTreeSet<String> =
        expected.iter().map(|(words, _)| (*words).to_owned()).filter(|words| words != "*").collect();
    assert_eq!(found, known);
    for page in &pages {
        let words = page.words.join(" ");
        let own = expected.iter().filter(|(name, _)| *name == words || *name == "*");
        let options: BTreeSet<String> = own.flat_map(|(_, options)| options.iter().map(|o| (*o).to_owned())).collect();
        assert_eq!(page.options, options, "{words}");
        for line in page.help.lines().filter(|line| line.trim_start().starts_with("--")) {
            let told = line.trim_start().split_once("  ").is_some_and(|(_, text)| !text.trim().is_empty());
            assert!(told || page.help.contains(&format!("{line}\n          ")), "{words}: {line} says nothing");
        }
    }
}

#[test]
fn no_option_and_no_argument_takes_a_secret() {
    let known = [
        "PATH", "TEXT", "USER", "ID", "ADDRESS", "DIR", "FILE", "SHELL", "CLIENT", "TIME", "NAME", "STATE", "LABEL",
        "COUNT", "FORM", "SECONDS", "SEP", "WHAT", "MS", "WHERE", "ARGUMENT", "FROM", "TO",
    ];
    for page in pages() {
        let words = page.words.join(" ");
        for value in &page.values {
            let value = value.to_uppercase();
            assert!(known.contains(&value.as_str()), "{words}: {value}: may it be a secret?");
        }
        // What names a file takes no secret, but a path; append-otp takes what stands between two.
        for option in page.options.iter().filter(|option| !option.ends_with("-file") && *option != "append-otp") {
            for word in ["secret", "code", "otp", "key", "password", "passphrase", "seed", "token", "pin"] {
                assert!(!option.split('-').any(|part| part == word), "{words}: --{option} takes a secret?");
            }
        }
    }
}

#[test]
fn each_shell_gets_a_completion_script_that_knows_every_command() {
    let home = Home::init();
    let commands: BTreeSet<String> = pages().into_iter().flat_map(|page| page.words).collect();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = countersign(&["completions", shell]).ok().stdout;
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell}: {command}");
        }
        let path = home.dir().join(shell);
        fs::write(&path, script).unwrap();
        if ["bash", "fish", "zsh"].contains(&shell) && is_there(shell, shell) {
            let checked = Command::new(shell).arg("-n").arg(&path).output().unwrap();
            assert!(checked.status.success() && checked.stderr.is_empty(), "{shell}: {checked:?}");
        }
    }
    misused(&countersign(&["completions", "cmd.exe"]));
    misused(&countersign(&["completions"]));
}

#[test]
fn bash_completes_a_subcommand() {
    if !is_there("bash", "bash") {
        return;
    }
    let script = countersign(&["completions", "bash"]).ok().stdout;
    let ask =
        "COMP_WORDS=(countersign enr) COMP_CWORD=1; _countersign countersign enr countersign; echo \"${COMPREPLY[@]}\"";
    // By its input: the script is longer than an argument may be.
    let done = finish(Command::new("bash").args(["--norc", "-s"]), format!("{script}\n{ask}\n").as_bytes());
    assert_eq!(done.stdout.trim(), "enroll", "{done:?}");
}

#[test]
fn the_manual_has_a_page_for_each_command_without_complaints() {
    let home = Home::init();
    let dir = home.dir().join("man");
    assert_eq!(countersign(&["man", dir.to_str().unwrap()]).ok().stdout, "");
    let printed = countersign(&["man"]).ok().stdout;
    let written = fs::read_to_string(dir.join("countersign.1")).unwrap();
    assert_eq!(printed.split(".SH SUBCOMMANDS").next(), written.split(".SH SUBCOMMANDS").next());
    let (man, mandoc) = (is_there("man", "man-db"), is_there("mandoc", "mandoc"));
    for page in pages() {
        let name: Vec<&str> = ["countersign"].into_iter().chain(page.words.iter().map(String::as_str)).collect();
        let path = dir.join(format!("{}.1", name.join("-")));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for option in page.options.iter().filter(|option| *option != "config") {
            assert!(text.contains(&option.replace('-', "\\-")), "{}: --{option}", path.display());
        }
        if man {
            let mut command = Command::new("man");
            command.args(["--warnings", "--encoding=UTF-8", "--local-file"]).arg(&path).env("LC_ALL", "C.UTF-8");
            command.env("MANWIDTH", "80").env("MANROFFSEQ", "");
            let shown = finish(&mut command, b"");
            assert!(shown.status == Some(0) && shown.stderr.is_empty(), "{}: {shown:?}", path.display());
            assert!(shown.stdout.contains("SYNOPSIS"));
        }
        if mandoc {
            // Of its style, the generator decides.
            let linted = Command::new("mandoc").args(["-T", "lint", "-W", "error"]).arg(&path).output().unwrap();
            assert!(linted.stdout.is_empty(), "{}", String::from_utf8_lossy(&linted.stdout));
        }
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(countersign(&["--version"]).ok().stdout, format!("countersign {}\n", env!("CARGO_PKG_VERSION")));
}

// -------------------------------------------------------------------------------------------------------------- misuse

#[test]
fn a_command_line_that_means_nothing_exits_64_and_says_what_is_right() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["--nonsense"],
        &["serve", "--nonsense"],
        &["serve", "extra"],
        &["serve", "--config"],
        &["init"],
        &["init", "a", "b"],
        &["enroll"],
        &["enroll", "a", "b"],
        &["enroll", "show"],
        &["enroll", "confirm"],
        &["enroll", "alice", "--secret", "x"],
        &["import"],
        &["import", "uri"],
        &["import", "csv"],
        &["import", "uri", "--user", "a", "--user-from-label"],
        &["import", "uri", "--label", "a", "--user-from-label"],
        &["list", "alice"],
        &["show"],
        &["remove"],
        &["unlock"],
        &["unlock", "alice", "--source", "192.0.2.1"],
        &["keys"],
        &["keys", "delete"],
        &["check", "--json"],
        &["serve", "--config", "a", "--config", "b"],
    ] {
        let done = countersign(arguments);
        misused(&done);
        assert!(done.stderr.contains("Usage:") || done.stderr.contains("--help"), "{arguments:?}: {done:?}");
    }
    let done = countersign(&["enrol", "alice"]);
    misused(&done);
    assert!(done.stderr.contains("enroll"), "the right name is told: {done:?}");
}

#[test]
fn whoever_closes_the_output_early_is_not_told_off() {
    let home = Home::init();
    let lines: Vec<String> = (0..2000).map(|n| Phone::new(n).uri(&format!("user{n}"))).collect();
    home.run(&["import", "uri", "--user-from-label"], lines.join("\n")).ok();
    let mut child =
        home.command(&["list"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::with_capacity(16, child.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    drop(output);
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
}

#[test]
fn a_full_disk_under_the_output_is_told() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        println!("skipped: there is no /dev/full");
        return;
    }
    let output = fs::OpenOptions::new().write(true).open(full).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    let done = command.arg("example").stdout(output).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(done.status.code(), Some(70));
    assert!(String::from_utf8_lossy(&done.stderr).starts_with("input or output failed: "), "{done:?}");
}

#[test]
fn the_time_of_the_machine_is_taken_where_nobody_says() {
    let home = Home::init();
    let pending = enroll(&home, &["alice"]);
    // The code of the machine's time proves it, so the expiry lies in the same time.
    confirm(&home, &pending, &pending.phone().code_at(now(), 0)).ok();
    assert!(pending.expires > now());
}

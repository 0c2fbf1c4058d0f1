//! What the machine may do to the store of a process that runs: system calls that fail, a process that ends between any two
//! of those that write, a disk that is full or cannot be written, files that are removed or replaced.
//!
//! `COUNTERSIGN_CALLS=all` has every system call of a verdict fail, instead of those that reach the disk.

#![expect(clippy::unwrap_used, reason = "a test ends where its helpers fail, and says what it did")]

#[expect(dead_code, reason = "no test uses all of the rig")]
mod rig;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use rig::grounds::Ground;
use rig::services::{program, skip};
use rig::{Answer, Gateway, Home, Phone, attempt, finish, now};

/// How many guesses at one subscriber are heard before the first wait: those that are free, and one.
const HEARD: usize = 6;

/// Somebody who logs in, and somebody at whom is guessed.
struct Pair {
    user: (String, Phone),
    guesser: (String, Phone),
}

impl Pair {
    fn new(number: u64) -> Self {
        let one = |role: &str, n| (format!("{role}{number}"), Phone::new(2 * number + n));
        Self { user: one("user", 0), guesser: one("guesser", 1) }
    }

    /// Enrols `count` of them, of whom nobody waits for long enough to be heard again, and no address is counted.
    fn enrol(home: &Home, count: u64) -> std::vec::IntoIter<Self> {
        home.set("throttle", "first_wait", "86400");
        home.set("throttle", "longest_wait", "604800");
        home.set("throttle", "source_failures", "1000000");
        let pairs: Vec<_> = (0..count).map(Self::new).collect();
        let users = pairs.iter().flat_map(|pair| [&pair.user, &pair.guesser]);
        home.import_many(users.map(|(user, phone)| (user.as_str(), phone)));
        pairs.into_iter()
    }

    /// A login and a guess, and the code of the login.
    fn lines(&self) -> (String, String) {
        let code = self.user.1.fresh_code();
        let login = attempt("login", &self.user.0, &code);
        let guess = attempt("guess", &self.guesser.0, &self.guesser.1.wrong_code(now()));
        (format!("{login}\n{guess}\n"), code)
    }

    /// Of what was told in `answers` nothing is forgotten, as `witness` sees it.
    fn assert_kept(&self, answers: &[Answer], code: &str, witness: &mut Gateway, place: &str) {
        let told = |id: &str| answers.iter().find(|answer| answer.id == id).map(Answer::told).unwrap_or_default();
        let ids: BTreeSet<_> = answers.iter().map(|answer| answer.id.to_string()).collect();
        assert_eq!(ids.len(), answers.len(), "{place}: two answers to one request: {answers:?}");
        assert!(!told("guess").starts_with("accept"), "{place}: {answers:?}");
        let again = witness.ask(&attempt("again", &self.user.0, code)).told();
        if told("login") == "accept" {
            assert_eq!(again, "authentication_failure/used_code", "{place}");
        } else {
            assert!(["accept", "authentication_failure/used_code"].contains(&again.as_str()), "{place}: {again}");
        }
        let more = attempt("more", &self.user.0, code);
        assert_eq!(witness.ask(&more).told(), "authentication_failure/used_code", "{place}");
        let (user, phone) = &self.guesser;
        let wrong = phone.wrong_code(now());
        let heard = (0..=HEARD).filter(|_| witness.ask(&attempt("on", user, &wrong)).code() == "wrong_code").count();
        let counted = if told("guess") == "authentication_failure/wrong_code" { 1..=1 } else { 0..=1 };
        assert!(counted.contains(&(HEARD - heard)), "{place}: {heard} were heard after {answers:?}");
    }
}

/// What became of a `serve` to one of whose system calls something was done.
struct Tampered {
    answers: Vec<Answer>,
    status: Option<i32>,
    stderr: String,
    /// Whether there was such a call.
    was_met: bool,
}

/// Has `serve` answer `lines`; what `how` says (strace(1)) is done to the call `name`.
fn tampered(home: &Home, name: &str, how: &str, lines: &str) -> Tampered {
    let trace = home.log_path().with_file_name("trace");
    let serve = home.command(&["serve"]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o"]).arg(&trace);
    strace.args(["-e", &format!("trace={name}"), "-e", &format!("inject={name}:{how}")]);
    let finished = finish(strace.arg(serve.get_program()).args(serve.get_args()), lines.as_bytes());
    // What a process wrote of a line before it was killed is no answer.
    let whole = finished.stdout.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let answers = whole.map(|line| Answer::parse(line.as_bytes())).collect();
    let trace = fs::read_to_string(&trace).unwrap();
    let was_met = trace.contains("(INJECTED)") || trace.contains("killed by SIGKILL");
    Tampered { answers, status: finished.status, stderr: finished.stderr, was_met }
}

fn has_strace() -> bool {
    program("strace").is_some() || skip::<()>("skipped: there is no strace; run: apt-get install strace").is_some()
}

/// The calls that reach the disk, and how they fail.
const DISK: [(&str, &str); 9] = [
    ("pwrite64", "ENOSPC"),
    ("pwrite64", "EIO"),
    ("fdatasync", "EIO"),
    ("ftruncate", "ENOSPC"),
    ("pread64", "EIO"),
    ("fcntl", "ENOLCK"),
    ("flock", "EIO"),
    ("openat", "EMFILE"),
    ("newfstatat", "EIO"),
];

/// All others of a verdict.
const OTHERS: [(&str, &str); 24] = [
    ("statx", "EIO"),
    ("read", "EIO"),
    ("mmap", "ENOMEM"),
    ("brk", "ENOMEM"),
    ("munmap", "EINVAL"),
    ("mprotect", "ENOMEM"),
    ("futex", "EINVAL"),
    ("clone3", "EAGAIN"),
    ("close", "EIO"),
    ("rt_sigaction", "EINVAL"),
    ("rt_sigprocmask", "EINVAL"),
    ("sigaltstack", "ENOMEM"),
    ("epoll_create1", "EMFILE"),
    ("epoll_ctl", "ENOSPC"),
    ("epoll_wait", "EBADF"),
    ("eventfd2", "EMFILE"),
    ("socketpair", "EMFILE"),
    ("poll", "ENOMEM"),
    ("ppoll", "ENOMEM"),
    ("getrandom", "ENOSYS"),
    ("fchown", "EPERM"),
    ("prlimit64", "EPERM"),
    ("access", "EACCES"),
    ("readlink", "EACCES"),
];

#[test]
fn a_system_call_that_fails_lets_nobody_in_and_costs_no_answer() {
    if !has_strace() {
        return;
    }
    let home = Home::init();
    let mut pairs = Pair::enrol(&home, 600);
    let mut witness = Gateway::start(&home);
    let all = std::env::var_os("COUNTERSIGN_CALLS").is_some_and(|value| value == "all");
    let (mut runs, mut accepts, mut ends) = (0, 0, 0);
    for (name, error) in DISK.iter().chain(OTHERS.iter().filter(|_| all)) {
        for nth in 1.. {
            let pair = pairs.next().unwrap();
            let (lines, code) = pair.lines();
            let place = format!("{name} number {nth} fails with {error}");
            let tampered = tampered(&home, name, &format!("error={error}:when={nth}"), &lines);
            let Tampered { answers, status, stderr, was_met } = &tampered;
            if !was_met {
                // There are no more of it.
                assert_eq!((answers.len(), *status), (2, Some(0)), "{place}: {answers:?} {stderr}");
                break;
            }
            // Whoever ends without an answer does not end well.
            let ended = answers.len() < 2 && *status != Some(0);
            assert!(answers.len() == 2 || ended, "{place}: status {status:?}, {answers:?} {stderr}");
            runs += 1;
            accepts += usize::from(answers.iter().any(|answer| answer.verdict() == "accept"));
            ends += usize::from(ended);
            pair.assert_kept(answers, &code, &mut witness, &place);
        }
    }
    println!(
        "{runs} calls failed: {ends} processes ended without an answer, {accepts} logins were let in all the same"
    );
    witness.end().1.ok();
    home.run(&["check"], "").ok();
}

/// The calls by which something leaves the process.
const WRITING: [&str; 8] = ["write", "writev", "pwrite64", "fdatasync", "ftruncate", "sendto", "sendmsg", "unlink"];

#[test]
fn a_process_that_ends_between_any_two_calls_that_write_forgets_nothing_it_said() {
    if !has_strace() {
        return;
    }
    for ground in Ground::all() {
        let home = &ground.home;
        let mut pairs = Pair::enrol(home, 400);
        let mut witness = Gateway::start(home);
        let (mut kills, mut spoke) = (0, 0);
        for name in WRITING {
            for nth in 1.. {
                let pair = pairs.next().unwrap();
                let (lines, code) = pair.lines();
                let place = format!("{}: killed at {name} number {nth}", ground.name);
                let Tampered { answers, status, stderr, was_met } =
                    tampered(home, name, &format!("signal=KILL:when={nth}"), &lines);
                if !was_met {
                    assert_eq!((answers.len(), status), (2, Some(0)), "{place}: {answers:?} {stderr}");
                    break;
                }
                kills += 1;
                spoke += usize::from(!answers.is_empty());
                pair.assert_kept(&answers, &code, &mut witness, &place);
            }
        }
        println!("{}: killed at each of {kills} calls that write; {spoke} had answered", ground.name);
        assert!(kills > 10);
        witness.end().1.ok();
        home.run(&["check"], "").ok();
        home.run(&["keys", "verify"], "").ok();
    }
}

#[test]
fn a_store_that_is_removed_under_a_process_lets_nobody_in_and_ends_it() {
    let home = Home::init();
    let mut pairs = Pair::enrol(&home, 20);
    type Removal = fn(&Path);
    let removals: [(&str, Removal); 4] = [
        ("the database is removed", |store| fs::remove_file(store.join("countersign.db")).unwrap()),
        ("its log is removed", |store| fs::remove_file(store.join("countersign.db-wal")).unwrap()),
        ("everything is removed", |store| fs::remove_dir_all(store).unwrap()),
        ("the directory is moved", |store| fs::rename(store, store.with_file_name("moved")).unwrap()),
    ];
    let copy = home.log_path().with_file_name("copy");
    copy_store(&home.store(), &copy);
    for (what, remove) in removals {
        let mut gateway = Gateway::start(&home);
        let first = pairs.next().unwrap();
        assert_eq!(gateway.ask(&attempt(1, &first.user.0, &first.user.1.fresh_code())).told(), "accept", "{what}");
        remove(&home.store());
        let second = pairs.next().unwrap();
        assert_orphaned(gateway, &second, what);
        let _ = fs::remove_dir_all(home.store());
        copy_store(&copy, &home.store());
    }
}

#[test]
fn a_store_that_is_replaced_under_a_process_is_served_by_the_next_one() {
    let home = Home::init();
    let mut pairs = Pair::enrol(&home, 4);
    let copy = home.log_path().with_file_name("copy");
    copy_store(&home.store(), &copy);
    let mut gateway = Gateway::start(&home);
    let first = pairs.next().unwrap();
    assert_eq!(gateway.ask(&attempt(1, &first.user.0, &first.user.1.fresh_code())).told(), "accept");
    fs::rename(home.store(), home.store().with_file_name("old")).unwrap();
    copy_store(&copy, &home.store());
    let second = pairs.next().unwrap();
    assert_orphaned(gateway, &second, "replaced");
    // The code was not used up in what is there now.
    assert_eq!(home.ask_one(&attempt(1, &second.user.0, &second.user.1.fresh_code())).told(), "accept");
}

#[test]
fn a_store_that_a_link_leads_to_is_replaced_by_another_link() {
    let home = Home::init();
    let mut pairs = Pair::enrol(&home, 2);
    let (one, two, link) = ["one", "two", "link"].map(|name| home.store().with_file_name(name)).into();
    fs::create_dir(&one).unwrap();
    fs::rename(home.store(), one.join("store")).unwrap();
    fs::create_dir(&two).unwrap();
    copy_store(&one.join("store"), &two.join("store"));
    std::os::unix::fs::symlink("one", &link).unwrap();
    home.set("plugin", "store", "link/store");
    let mut gateway = Gateway::start(&home);
    let first = pairs.next().unwrap();
    assert_eq!(gateway.ask(&attempt(1, &first.user.0, &first.user.1.fresh_code())).told(), "accept");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("two", &link).unwrap();
    assert_orphaned(gateway, &pairs.next().unwrap(), "another link");
}

fn assert_orphaned(mut gateway: Gateway, pair: &Pair, what: &str) {
    let (user, phone) = &pair.user;
    let answer = gateway.ask(&attempt("late", user, &phone.fresh_code()));
    assert_eq!(answer.told(), "internal_error/store_failed", "{what}: {answer:?}");
    assert!(answer.reason.as_deref().unwrap().contains("removed or replaced"), "{what}: {answer:?}");
    let (rest, finished) = gateway.end();
    assert!(rest.is_empty() && finished.status == Some(70), "{what}: {finished:?}");
    assert!(finished.stderr.contains("removed or replaced"), "{what}: {finished:?}");
}

/// Copies the files of a store that nobody writes to.
fn copy_store(from: &Path, to: &Path) {
    let finished = finish(Command::new("cp").arg("-a").arg(from).arg(to), b"");
    assert_eq!(finished.status, Some(0), "{finished:?}");
}

/// What `script` printed in a mount name space where the home is on a small disk of its own; `serve LINES` has them answered.
fn on_a_small_disk(home: &Home, script: &str) -> Option<(String, String)> {
    let mount = home.dir();
    let kept = home.log_path().with_file_name("kept");
    copy_store(&mount, &kept);
    let prelude = "mount -t tmpfs -o size=1m,mode=700 tmpfs \"$MOUNT\" && cp -a \"$KEPT\"/. \"$MOUNT\" || exit 99\n\
                   serve() { printf '%s\\n' \"$1\" | \"$PROGRAM\" serve --config \"$MOUNT/plugin.ini\"; }\n";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &format!("{prelude}{script}")]);
    command.env("MOUNT", &mount).env("KEPT", &kept).env("PROGRAM", env!("CARGO_BIN_EXE_countersign"));
    let finished = finish(&mut command, b"");
    if finished.status == Some(99) || finished.stderr.contains("unshare") {
        // That is no program that is missing.
        let _ = writeln!(io::stderr(), "skipped: no mount name space can be made here: {}", finished.stderr.trim());
        return None;
    }
    assert_eq!(finished.status, Some(0), "{finished:?}");
    Some((finished.stdout, finished.stderr))
}

/// What was said to each, in order.
fn told(stdout: &str) -> Vec<String> {
    stdout.lines().map(|line| Answer::parse(line.as_bytes()).told()).collect()
}

#[test]
fn a_full_disk_rejects_with_its_name_and_lets_in_when_there_is_room() {
    let home = Home::init();
    let pair = Pair::enrol(&home, 1).next().unwrap();
    let (lines, code) = pair.lines();
    let script =
        "dd if=/dev/zero of=\"$MOUNT/filler\" bs=4096 2>/dev/null\nserve \"$LINES_IN\"\nrm \"$MOUNT/filler\"\n";
    let script = format!("LINES_IN='{}'\n{script}serve \"$LINES_IN\"\nserve \"$LINES_IN\"\n", lines.trim());
    let Some((stdout, _)) = on_a_small_disk(&home, &script) else { return };
    let told = told(&stdout);
    assert_eq!(told.len(), 6, "{stdout}");
    let (full, rest) = told.split_at(2);
    assert!(full.iter().all(|told| told == "internal_error/store_failed"), "{stdout}");
    assert!(stdout.contains("the disk is full"), "{stdout}");
    assert!(rest.iter().filter(|told| *told == "accept").count() == 1, "{stdout}");
    assert!(rest.contains(&"authentication_failure/used_code".to_owned()), "{code} {stdout}");
}

#[test]
fn a_file_system_that_cannot_be_written_lets_nobody_in() {
    let home = Home::init();
    let mut pairs = Pair::enrol(&home, 2);
    let (lines, _) = pairs.next().unwrap().lines();
    // From the start on.
    let script = format!(
        "LINES_IN='{}'\nmount -o remount,ro \"$MOUNT\" || exit 99\nserve \"$LINES_IN\" && exit 1\n\
         mount -o remount,rw \"$MOUNT\" && serve \"$LINES_IN\"\n",
        lines.trim()
    );
    if let Some((stdout, stderr)) = on_a_small_disk(&home, &script) {
        assert!(stderr.contains("Read-only file system"), "{stderr}");
        assert_eq!(told(&stdout), ["accept", "authentication_failure/wrong_code"]);
    }
    // While it serves.
    if has_strace() {
        let pair = pairs.next().unwrap();
        let (lines, code) = pair.lines();
        let tampered = tampered(&home, "pwrite64", "error=EROFS:when=1+", &lines);
        assert!(tampered.was_met);
        for answer in &tampered.answers {
            assert_eq!(answer.told(), "internal_error/store_failed");
        }
        pair.assert_kept(&tampered.answers, &code, &mut Gateway::start(&home), "a file system turned read-only");
    }
}

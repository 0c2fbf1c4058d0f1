//! The files that an enrolment writes: whole, new, for their owner alone, or not there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::rig::{Finished, Home, finish};
use super::{confirm, enroll, enrolled, parse, refused, show};

const NOBODY: u32 = 65534;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// What lies in the home's directory, by name.
fn names(home: &Home) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(home.dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

#[test]
fn files_are_for_their_owner_whatever_the_umask() {
    let home = Home::init();
    let (page, code) = (home.dir().join("page.html"), home.dir().join("code.png"));
    let line = format!(
        "umask 0; exec '{}' enroll alice --page '{}' --qr png --qr-file '{}' --config '{}'",
        env!("CARGO_BIN_EXE_countersign"),
        page.display(),
        code.display(),
        home.ini().display()
    );
    let done = finish(Command::new("sh").args(["-c", &line]), b"").ok();
    assert!(done.stdout.contains("page.html: written") && done.stdout.contains("code.png: written"), "{done:?}");
    assert_eq!((mode(&page), mode(&code)), (0o600, 0o600));
    assert!(fs::read_to_string(&page).unwrap().ends_with("</html>\n"));
    assert!(fs::read(&code).unwrap().starts_with(b"\x89PNG\r\n\x1a\n"));
}

#[test]
fn nothing_is_written_over_what_is_there() {
    let home = Home::init();
    let (there, free) = (home.dir().join("there"), home.dir().join("free"));
    let elsewhere = home.dir().join("elsewhere");
    fs::write(&there, "mine").unwrap();
    let pending = enroll(&home, &["bob"]);
    let before = names(&home);
    let [there_path, free_path] = [&there, &free].map(|path| path.to_str().unwrap());
    let asked: [&[&str]; 5] = [
        &["enroll", "alice", "--page", there_path],
        &["enroll", "alice", "--qr", "png", "--qr-file", there_path],
        &["enroll", "alice", "--page", free_path, "--qr", "svg", "--qr-file", there_path],
        &["enroll", "alice", "--page", there_path, "--qr", "svg", "--qr-file", free_path],
        &["enroll", "show", &pending.challenge, "--page", there_path, "--json"],
    ];
    for arguments in asked {
        let done = home.run(arguments, "");
        assert!(refused(&done, 65).contains("is there already, and nothing is written over it"), "{done:?}");
    }
    assert_eq!((fs::read_to_string(&there).unwrap().as_str(), names(&home)), ("mine", before));
    // A link that leads nowhere is there, too: nobody makes a file elsewhere by it.
    symlink(&elsewhere, &free).unwrap();
    refused(&home.run(&["enroll", "alice", "--page", free_path], ""), 65);
    assert!(!elsewhere.exists());
    // Both at one place: neither.
    fs::remove_file(&free).unwrap();
    let done = home.run(&["enroll", "alice", "--page", free_path, "--qr", "svg", "--qr-file", free_path], "");
    refused(&done, 65);
    assert!(!free.exists());
    assert!(show(&home, &pending.challenge).status == Some(0));
}

#[test]
fn where_a_file_cannot_be_made_nothing_is_pending() {
    let home = Home::init();
    home.append("[page]\ntemplate = bad.html\n");
    fs::write(home.dir().join("bad.html"), "{{content_security_policy}}{{sercet}}").unwrap();
    let before = names(&home);
    let (free, nowhere) = (home.dir().join("free.svg"), home.dir().join("no/where.svg"));
    let [free, nowhere] = [&free, &nowhere].map(|path| path.to_str().unwrap());
    let done = home.run(&["enroll", "alice", "--qr", "svg", "--qr-file", nowhere], "");
    assert!(refused(&done, 65).contains("name a file in a directory that is there"), "{done:?}");
    let done = home.run(&["enroll", "alice", "--qr", "svg", "--qr-file", free, "--page", "page.html"], "");
    assert!(refused(&done, 78).contains("{{sercet}} is no placeholder; did you mean secret?"), "{done:?}");
    assert_eq!(names(&home), before);
    // As the store has it: every challenge that was opened is cancelled.
    let database = home.store().join("countersign.db");
    let connection = rusqlite::Connection::open(database).unwrap();
    let states: Vec<String> = connection
        .prepare("SELECT DISTINCT state FROM challenge")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(states, ["cancelled"]);
}

#[test]
fn options_that_contradict_each_other_are_told() {
    let home = Home::init();
    for arguments in [
        &["--qr", "svg"][..],
        &["--qr", "png"],
        &["--qr-file", "x"],
        &["--qr", "terminal", "--qr-file", "x"],
        &["--qr", "none", "--qr-file", "x"],
        &["--qr", "svg", "--qr-file", "-", "--json"],
        &["--qr", "svg", "--qr-file", "-", "--confirm"],
        &["--qr", "gif"],
    ] {
        let arguments: Vec<&str> = ["enroll", "alice"].iter().chain(arguments).copied().collect();
        let done = home.run(&arguments, "");
        assert_eq!((done.status, done.stdout.as_str()), (Some(64), ""), "{done:?}");
        assert!(!done.stderr.is_empty());
    }
    assert!(!Path::new("x").exists());
}

#[test]
fn standard_output_holds_the_picture_and_nothing_else() {
    let home = Home::init();
    let done = home.run(&["enroll", "alice", "--qr", "svg", "--qr-file", "-"], "");
    assert_eq!(done.status, Some(0));
    assert!(done.stdout.starts_with("<svg ") && done.stdout.ends_with("</svg>\n"), "{}", done.stdout);
    let id = done.stderr.split_once("enroll confirm ").unwrap().1.split_once(' ').unwrap().0;
    let pending = parse(&show(&home, id).ok().stdout);
    let again = home.run(&["enroll", "show", id, "--qr", "svg", "--qr-file", "-"], "").ok();
    assert_eq!(again.stdout, done.stdout);
    confirm(&home, id, &pending.phone().fresh_code()).ok();
    assert_eq!(enrolled(&home), 1);
}

/// Runs a command as nobody; `None` where that cannot be done here.
fn as_nobody(home: &Home, arguments: &[&str]) -> Option<Finished> {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root || Command::new("setpriv").arg("--version").output().is_err() {
        println!("skipped: only root with setpriv (Debian: util-linux) becomes somebody else");
        return None;
    }
    let executable = home.dir().parent().unwrap().join("countersign");
    // Not by this process: whatever it starts meanwhile would hold the copy open for writing, and nothing could run it.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_countersign")).arg(&executable).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new("setpriv");
    command.env_clear().args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(executable).args(arguments).arg("--config").arg(home.ini());
    Some(finish(&mut command, b""))
}

#[test]
fn somebody_else_is_not_permitted() {
    let home = Home::init();
    let open = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    open(home.dir().parent().unwrap());
    // The configuration is another's, and nobody may read it.
    let Some(done) = as_nobody(&home, &["list"]) else { return };
    assert!(refused(&done, 77).contains("Permission denied"), "{done:?}");
    // They may, and read the key; the store is another's.
    open(&home.dir());
    for file in [home.ini(), home.dir().join("master.key")] {
        chown(&file, Some(0), Some(NOBODY)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    }
    for arguments in [&["list"][..], &["enroll", "alice"], &["enroll", "confirm", "x"], &["remove", "alice"]] {
        let done = as_nobody(&home, arguments).unwrap();
        let line = refused(&done, 77);
        assert!(
            line.contains("[plugin] store: ") && line.ends_with("the store is for the user that serves, and for root"),
            "{line}"
        );
    }
    // The store is theirs; the directory for the page is not.
    let files = fs::read_dir(home.store()).unwrap().map(|entry| entry.unwrap().path());
    for path in files.chain([home.store()]) {
        lchown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let page = home.dir().join("page.html");
    let log = as_nobody(&home, &["enroll", "alice"]).unwrap();
    assert!(refused(&log, 77).contains("log: Permission denied"), "nothing is done that leaves no trace: {log:?}");
    home.set("logging", "destination", "stderr");
    let done = as_nobody(&home, &["enroll", "alice", "--page", page.to_str().unwrap()]).unwrap();
    assert!(refused(&done, 77).contains("name a file in a directory that this user may write to"), "{done:?}");
    assert!(!page.exists() && enrolled(&home) == 0);
}

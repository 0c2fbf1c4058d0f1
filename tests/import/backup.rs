//! A sealed backup: what export wrote is put back, and nothing else is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::rig::nobody::run_unprivileged;
use super::rig::{Finished, Home, Phone};
use super::{NOW, RFC, SECRET, enrolled, hides, home, hotp, login, phone, refused};

fn path(home: &Home, name: &str) -> String {
    home.dir().join(name).to_str().unwrap().to_owned()
}

/// Exports everything of `home` under a new key; gives the backup and the key.
fn export(home: &Home) -> (String, String) {
    home.run(&["export", &path(home, "backup"), "--new-key-file", &path(home, "backup.key")], "").ok();
    (fs::read_to_string(path(home, "backup")).unwrap(), fs::read_to_string(path(home, "backup.key")).unwrap())
}

/// Puts a backup back into `home`.
fn restore(home: &Home, (backup, key): &(String, String), more: &[&str]) -> Finished {
    home.keep("key", key);
    home.run(&[&["import", "backup", "--key-file", &path(home, "key")][..], more].concat(), backup)
}

/// Alice with two authenticators and recovery codes, bob with a token.
fn town() -> (Home, Vec<String>) {
    let home = home();
    home.run(&["import", "uri", "--user", "alice", "--label", "phone"], phone().uri("x")).ok();
    home.run(&["import", "uri", "--user", "alice", "--label", "old"], Phone::new(2).uri("x")).ok();
    home.run(&["import", "uri", "--user", "bob"], format!("otpauth://hotp/T:b?secret={RFC}&counter=3")).ok();
    let made = home.run(&["recovery", "generate", "alice", "--json"], "").ok().stdout;
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let codes = made["recovery_codes"].as_array().unwrap();
    (home, codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect())
}

#[test]
fn what_was_exported_is_restored_elsewhere_with_everything_that_was_used() {
    let (old, codes) = town();
    assert_eq!(login(&old, "alice", &phone().code_at(NOW, 0)), "accept");
    assert_eq!(login(&old, "bob", hotp(4)), "accept");
    assert_eq!(login(&old, "alice", &codes[0]), "accept");
    let backup = export(&old);

    // Another machine with another master key.
    let new = home();
    let done = restore(&new, &backup, &[]).ok();
    assert_eq!(done.stdout, "4 enrolled\n");
    hides(&done, &[SECRET, RFC]);
    assert_eq!(enrolled(&new), enrolled(&old));
    assert_eq!(login(&new, "alice", &phone().code_at(NOW, 0)), "authentication_failure/used_code");
    // What could have been used after the backup is used, too.
    assert_eq!(login(&new, "alice", &phone().code_at(NOW, 1)), "authentication_failure/used_code");
    assert_eq!(login(&new, "bob", hotp(4)), "authentication_failure/used_code");
    assert_eq!(login(&new, "bob", hotp(5)), "accept");
    assert!(login(&new, "alice", &codes[0]).starts_with("authentication_failure/"));
    assert_eq!(login(&new, "alice", &codes[1]), "accept");
    new.set_clock(NOW + 60);
    assert_eq!(login(&new, "alice", &phone().code_at(NOW + 60, 0)), "accept");
}

#[test]
fn a_backup_is_a_private_file_that_tells_nothing() {
    let (home, codes) = town();
    let (backup, key) = export(&home);
    for name in ["backup", "backup.key"] {
        assert_eq!(fs::metadata(path(&home, name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert!(backup.starts_with("countersign backup 1\n"), "{backup}");
    for secret in [SECRET, RFC, &codes[0], "alice", "recovery", key.lines().last().unwrap()] {
        assert!(!backup.contains(secret), "{secret}");
    }
    let sealed = data_encoding::BASE64.decode(backup.lines().nth(1).unwrap().as_bytes()).unwrap();
    for secret in [&b"alice"[..], b"Hello!\xde\xad\xbe\xefHello!", b"12345678901234567890"] {
        assert!(!sealed.windows(secret.len()).any(|part| part == secret));
    }
    // It went into the log, by name.
    assert_eq!(home.log().matches("action=\"export\"").count() + home.log().matches("action=export").count(), 2);
    // Neither file is overwritten, and no key is left over where nothing was written.
    let done = home.run(&["export", &path(&home, "backup"), "--new-key-file", &path(&home, "another.key")], "");
    assert!(
        refused(&done, &[]).ends_with("is there already, and nothing is written over it; name another file"),
        "{done:?}"
    );
    assert!(fs::metadata(path(&home, "another.key")).is_err());
    let done = home.run(&["export", &path(&home, "another"), "--new-key-file", &path(&home, "backup.key")], "");
    assert!(refused(&done, &[]).contains("backup.key: is there already"), "{done:?}");
    assert!(fs::metadata(path(&home, "another")).is_err());
    // The same key seals another one, to standard output if need be.
    let key_file = path(&home, "backup.key");
    let streamed = home.run(&["export", "-", "--key-file", &key_file, "--user", "bob"], "").ok().stdout;
    assert_ne!(streamed, backup);
    let new = super::home();
    assert_eq!(restore(&new, &(streamed, key), &[]).ok().stdout, "1 enrolled\n");
    assert_eq!(enrolled(&new), ["bob authenticator"]);
}

#[test]
fn a_backup_that_does_not_fit_is_one_clear_error() {
    let (home, _) = town();
    let (backup, key) = export(&home);
    let new = super::home();
    let other = home.run(&["export", "-", "--new-key-file", &path(&home, "other.key"), "--user", "bob"], "");
    assert_eq!(other.status, Some(0));
    let other_key = fs::read_to_string(path(&home, "other.key")).unwrap();
    let at = backup.len() - 30;
    let flipped = if backup.as_bytes()[at] == b'A' { "B" } else { "A" };
    let changed = format!("{}{flipped}{}", &backup[..at], &backup[at + 1..]);
    let newer = backup.replacen("backup 1", "backup 2", 1);
    for (backup, key, expected) in [
        (backup.as_str(), other_key.as_str(), "the backup was sealed with key "),
        (&changed, &key, "the backup is damaged, or was changed"),
        (&backup[..at], &key, "the backup is damaged"),
        (&newer, &key, "written by a newer countersign"),
        ("CANARY", &key, "this is no backup"),
        (&backup, "", "holds no key"),
        (&backup, "CANARY\n", "line 1 is not a key"),
    ] {
        let done = restore(&new, &(backup.to_owned(), key.to_owned()), &[]);
        assert!(refused(&done, &["CANARY"]).contains(expected), "{expected}: {done:?}");
    }
    let done = new.run(&["import", "backup", "--key-file", &path(&new, "missing")], &backup);
    assert!(refused(&done, &[]).contains("name the file with the key of the backup"), "{done:?}");
    assert!(enrolled(&new).is_empty());
}

#[test]
fn what_is_here_already_stays_as_it_is() {
    let (home, codes) = town();
    let backup = export(&home);
    assert_eq!(login(&home, "alice", &codes[0]), "accept");
    let done = restore(&home, &backup, &[]);
    assert_eq!((done.status, done.stderr.lines().count()), (Some(65), 4), "{done:?}");
    assert!(done.stderr.contains("\"phone\" of alice: is here already"), "{done:?}");
    let done = restore(&home, &backup, &["--skip-existing"]).ok();
    assert!(done.stdout.ends_with("\n0 enrolled\n"), "{done:?}");
    // A used recovery code does not come back.
    assert!(login(&home, "alice", &codes[0]).starts_with("authentication_failure/"));
    // Somebody else's authenticator of the same label is in the way.
    let new = super::home();
    new.run(&["import", "uri", "--user", "alice", "--label", "phone"], Phone::new(9).uri("x")).ok();
    let done = restore(&new, &backup, &["--only", "alice"]);
    assert!(refused(&done, &[]).contains("\"phone\" of alice: the user has another authenticator of that label"));
    let done = restore(&new, &backup, &["--only", "bob"]).ok();
    assert_eq!(done.stdout, "1 enrolled\n");
}

#[test]
fn the_default_and_what_is_disabled_stay_so() {
    let (old, _) = town();
    old.run(&["authenticator", "default", "alice", "old", "--override-reason", "asked for"], "").ok();
    old.run(&["authenticator", "disable", "alice", "phone", "--override-reason", "lost"], "").ok();
    let new = home();
    restore(&new, &export(&old), &[]).ok();
    let state = |home: &Home| {
        let shown = home.run(&["show", "alice", "--json"], "").ok().stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let mut all = shown["authenticators"].as_array().unwrap().clone();
        for one in &mut all {
            // What is counted as used is more, see above.
            one.as_object_mut().unwrap().remove("last_step");
        }
        all
    };
    assert_eq!(state(&new), state(&old));
    new.set_clock(NOW + 90);
    assert_eq!(login(&new, "alice", &Phone::new(2).code_at(NOW + 90, 0)), "accept");
    assert!(login(&new, "alice", &phone().code_at(NOW + 90, 0)).starts_with("authentication_failure/"));
}

#[test]
fn somebody_who_is_not_enrolled_is_not_exported() {
    let (home, _) = town();
    let done = home.run(&["export", &path(&home, "b"), "--new-key-file", &path(&home, "k"), "--user", "eve"], "");
    assert!(refused(&done, &[]).starts_with("eve is not enrolled"), "{done:?}");
    assert!(fs::metadata(path(&home, "b")).is_err() && fs::metadata(path(&home, "k")).is_err());
    for arguments in [&["export"][..], &["export", "x"], &["export", "x", "--key-file", "a", "--new-key-file", "b"]] {
        assert_eq!(home.run(arguments, "").status, Some(64), "{arguments:?}");
    }
}

#[test]
fn an_import_that_is_killed_is_whole_or_nothing() {
    const USERS: usize = 300;
    let lines: String = (0..USERS).map(|n| Phone::new(n as u64).uri(&format!("user{n}")) + "\n").collect();
    let home = Home::init();
    home.keep("lines", &lines);
    let lines = path(&home, "lines");
    let whole = Instant::now();
    Home::init().run(&["import", "uri", "--user-from-label"], fs::read(&lines).unwrap()).ok();
    let whole = whole.elapsed();
    let mut seen = [0, 0];
    for part in 0..24 {
        let home = Home::init();
        let mut command = home.command(&["import", "uri", "--user-from-label", &lines]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The later the moment, the further the import has come; looked for, not slept through.
        let moment = Instant::now() + whole * part / 20;
        while Instant::now() < moment && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().unwrap();
        let count = enrolled(&home).len();
        assert!(count == 0 || count == USERS, "{count} of {USERS}");
        seen[usize::from(count == USERS)] += 1;
    }
    assert!(seen[0] > 0, "none was killed before its end: {seen:?} {:?}", Duration::as_millis(&whole));
}

#[test]
fn what_an_administrator_removed_comes_back_only_when_asked_for() {
    let (home, codes) = town();
    let backup = export(&home);
    let listed: serde_json::Value = serde_json::from_str(&home.run(&["list", "--json"], "").ok().stdout).unwrap();
    let phone = listed.as_array().unwrap().iter().find(|one| one["label"] == "phone").unwrap();
    let phone = phone["id"].as_str().unwrap();
    let remove = |what: &[&str]| {
        home.run(&[&["remove", "alice"][..], what, &["--override-reason", "stolen"]].concat(), "").ok();
    };
    remove(&["--id", phone]);
    let here = ["alice old", "alice recovery codes", "bob authenticator"];
    assert_eq!(enrolled(&home), here);
    let done = restore(&home, &backup, &["--only", "alice"]);
    assert_eq!((done.status, done.stdout.as_str()), (Some(65), ""), "{done:?}");
    let told = "\"phone\" of alice: was removed at 2026-01-01T12:00:15Z: override: stolen";
    assert!(done.stderr.contains(&format!("{told}; to bring it back: --restore-removed")), "{done:?}");
    let done = restore(&home, &backup, &["--skip-existing"]).ok();
    assert!(done.stdout.contains("\"phone\" of alice: passed over: was removed at 2026"), "{done:?}");
    assert!(done.stdout.ends_with("\n0 enrolled\n"), "{done:?}");
    assert_eq!(enrolled(&home), here);
    let done = restore(&home, &backup, &["--skip-existing", "--restore-removed"]).ok();
    assert!(done.stdout.ends_with("\n1 enrolled\n"), "{done:?}");
    // It can be removed, and told, once more.
    remove(&["--id", phone]);
    assert_eq!(enrolled(&home), here);
    // Recovery codes likewise, also where a later set than that of the backup was removed.
    home.run(&["recovery", "generate", "alice"], "").ok();
    remove(&["--all"]);
    let done = restore(&home, &backup, &["--skip-existing"]).ok();
    assert!(done.stdout.contains("\"recovery codes\" of alice: passed over: was removed at "), "{done:?}");
    assert_eq!(enrolled(&home), ["bob authenticator"]);
    assert!(login(&home, "alice", &codes[0]).starts_with("authentication_failure/"));
    restore(&home, &backup, &["--skip-existing", "--restore-removed"]).ok();
    assert_eq!(enrolled(&home), ["alice old", "alice phone", "alice recovery codes", "bob authenticator"]);
    assert_eq!(login(&home, "alice", &codes[0]), "accept");
}

#[test]
fn a_backup_of_the_future_is_refused() {
    let backup = export(&town().0);
    let new = home();
    new.set_clock(NOW - 301);
    let done = restore(&new, &backup, &[]);
    let told =
        "the backup was made at 2026-01-01T12:00:15Z, which lies in the future; is the clock of this machine right?";
    assert!(refused(&done, &[]).starts_with(told), "{done:?}");
    assert!(enrolled(&new).is_empty());
    new.set_clock(NOW - 300);
    assert_eq!(restore(&new, &backup, &[]).ok().stdout, "4 enrolled\n");
}

#[test]
fn a_backup_of_nobody_is_nothing_to_import() {
    let home = home();
    let done = restore(&home, &export(&home), &[]);
    assert_eq!(refused(&done, &[]), "the backup holds no authenticators; nothing was imported");
}

#[test]
fn no_key_is_left_over_where_the_backup_cannot_be_written() {
    let (home, _) = town();
    let key = path(&home, "new.key");
    let done = home.run(&["export", &path(&home, "no such/backup"), "--new-key-file", &key], "");
    assert!(refused(&done, &[]).ends_with("; name a file in a directory that is there"), "{done:?}");
    assert!(fs::metadata(&key).is_err());
    for same in [key.clone(), path(&home, "./new.key")] {
        let done = home.run(&["export", &same, "--new-key-file", &key], "");
        assert_eq!(done.status, Some(64), "{done:?}");
        assert!(fs::metadata(&key).is_err());
    }
    home.run(&["export", &path(&home, "backup"), "--new-key-file", &key], "").ok();
}

#[test]
fn what_this_user_may_not_touch_is_told_by_its_own_status() {
    let (home, _) = town();
    export(&home);
    fs::create_dir(path(&home, "closed")).unwrap();
    for name in ["uris", "rows"] {
        home.keep(name, "x");
    }
    let (uris, rows, key, backup) =
        (path(&home, "uris"), path(&home, "rows"), path(&home, "backup.key"), path(&home, "backup"));
    let (target, new_key) = (path(&home, "closed/b"), path(&home, "closed/k"));
    let mode = |name: &str, mode| fs::set_permissions(path(&home, name), fs::Permissions::from_mode(mode)).unwrap();
    let run = |arguments: &[&str]| run_unprivileged(&home, arguments, "");
    mode("closed", 0o500);
    mode("uris", 0);
    let (spare, kept) = (path(&home, "spare"), path(&home, "kept.key"));
    let readable = "; run this as a user who may read it\n";
    let writable = "; name a file in a directory that this user may write to\n";
    for (arguments, told) in [
        (&["import", "uri", "--user", "alice", &uris][..], readable),
        (&["import", "uri", "--map", &uris, &rows], readable),
        (&["import", "piccolo", "--key-file", &uris, &rows], readable),
        (&["import", "backup", "--key-file", &key, &uris], readable),
        (&["import", "backup", "--key-file", &uris, &backup], readable),
        (&["export", &spare, "--key-file", &uris], readable),
        (&["export", &target, "--new-key-file", &kept], writable),
        (&["export", &spare, "--new-key-file", &new_key], writable),
    ] {
        let Some(done) = run(arguments) else { return };
        assert_eq!((done.status, done.stdout.as_str()), (Some(77), ""), "{arguments:?}: {done:?}");
        assert!(done.stderr.ends_with(told), "{arguments:?}: {done:?}");
    }
    assert!(fs::metadata(&spare).is_err() && fs::metadata(&kept).is_err());
}

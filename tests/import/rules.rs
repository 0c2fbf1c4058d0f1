//! What holds for every source: nothing half-written, weak secrets, doubles, names, keys, files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::rig::{Home, Phone, finish};
use super::{NOW, RFC, SECRET, enrolled, hides, home, login, phone, refused};

/// 80 bits, and 72.
const WEAK: &str = "JBSWY3DPEHPK3PXP";
const WEAKER: &str = "JBSWY3DPEHPK3PX";

fn uri(user: &str, secret: &str) -> String {
    format!("otpauth://totp/T:{user}?secret={secret}\n")
}

#[test]
fn a_dry_run_tells_everything_but_secrets_and_changes_nothing() {
    let home = home();
    let lines = format!(
        "{}otpauth://hotp/T:bob?secret={RFC}&counter=5&digits=8\n{}{}",
        uri("alice", SECRET),
        uri("carol", WEAK),
        uri("alice", SECRET)
    );
    let done = home.run(&["import", "uri", "--user-from-label", "--dry-run"], &lines);
    assert_eq!(done.status, Some(65));
    assert_eq!(
        done.stdout,
        "alice  \"authenticator\"  totp SHA1, 6 digits, 30 s\n\
         bob  \"authenticator\"  hotp SHA1, 8 digits, next counter 5\n\
         2 would be enrolled, 0 passed over, 2 refused; nothing was changed\n"
    );
    assert!(done.stderr.contains("line 3: the secret has 80 bits") && done.stderr.contains("line 4: alice has this"));
    hides(&done, &[SECRET, RFC, WEAK]);
    assert!(enrolled(&home).is_empty());
    let done = home.run(&["import", "uri", "--user", "alice", "--dry-run"], uri("x", SECRET)).ok();
    assert!(done.stdout.ends_with("1 would be enrolled, 0 passed over, 0 refused; nothing was changed\n"), "{done:?}");
    assert!(enrolled(&home).is_empty());
}

#[test]
fn one_flawed_entry_keeps_everything_out_unless_it_is_passed_over() {
    let home = home();
    let lines = format!("{}nonsense\n{}", uri("alice", SECRET), uri("bob", RFC));
    let import = ["import", "uri", "--user-from-label"];
    let done = home.run(&import, &lines);
    let line = refused(&done, &[SECRET]);
    assert!(line.starts_with("line 2: this is not a URI") && line.ends_with("; nothing was imported"), "{line}");
    assert!(enrolled(&home).is_empty());
    let done = home.run(&[&import[..], &["--skip-flawed"]].concat(), &lines).ok();
    assert!(done.stdout.starts_with("line 2: passed over: this is not a URI"), "{done:?}");
    assert!(done.stdout.ends_with("\n2 enrolled\n"), "{done:?}");
    // Many flaws are told, and the rest is counted.
    let done = home.run(&import, "nonsense\n".repeat(50));
    let told: Vec<&str> = done.stderr.lines().collect();
    assert_eq!((told.len(), told[20]), (21, "and 30 more; nothing was imported"), "{done:?}");
}

#[test]
fn weak_secrets_are_taken_only_where_it_is_said() {
    let home = home();
    let import = ["import", "uri", "--user", "alice"];
    let done = home.run(&import, uri("x", WEAK));
    let line = refused(&done, &[WEAK]);
    assert!(line.contains("has 80 bits; at least 128 are needed") && line.contains("--allow-weak"), "{line}");
    let allowed = [&import[..], &["--allow-weak"]].concat();
    let done = home.run(&allowed, uri("x", WEAKER));
    assert!(refused(&done, &[WEAKER]).contains("has 72 bits; below 80 none is taken"));
    assert!(enrolled(&home).is_empty());
    home.run(&allowed, uri("x", WEAK)).ok();
    // As pyotp computes it.
    home.set_clock(58_908_960 * 30);
    assert_eq!(login(&home, "alice", "704044"), "accept");
    let long = "A".repeat(420);
    let done = home.run(&allowed, uri("x", &long));
    assert!(refused(&done, &[&long]).contains("longer than 2048 bits"));
}

#[test]
fn what_is_here_already_is_refused_or_passed_over() {
    let home = home();
    let import = ["import", "uri", "--user-from-label"];
    home.run(&import, uri("alice", SECRET)).ok();
    let both = format!("{}{}", uri("ALICE", SECRET), uri("bob", RFC));
    let done = home.run(&import, &both);
    let line = refused(&done, &[SECRET]);
    assert!(line.starts_with("line 1: alice has this authenticator already, as \"authenticator\""), "{line}");
    assert!(line.contains("--skip-existing"), "{line}");
    assert_eq!(enrolled(&home), ["alice authenticator"]);
    let done = home.run(&[&import[..], &["--skip-existing"]].concat(), &both).ok();
    assert!(done.stdout.starts_with("line 1: passed over: alice has this") && done.stdout.ends_with("\n1 enrolled\n"));
    assert_eq!(enrolled(&home), ["alice authenticator", "bob authenticator"]);
    // Another one of theirs gets another label, and a label that is taken is refused.
    home.run(&import, uri("alice", RFC)).ok();
    assert_eq!(enrolled(&home), ["alice authenticator", "alice authenticator 2", "bob authenticator"]);
    let third = Phone::new(3).uri("x");
    let done = home.run(&["import", "uri", "--user", "alice", "--label", "authenticator 2"], &third);
    assert!(refused(&done, &[]).contains("has an authenticator called \"authenticator 2\"; choose another --label"));
}

#[test]
fn used_steps_that_lie_in_the_future_are_refused() {
    let home = home();
    let later = NOW / 30 + 100;
    let text = format!("{SECRET}\n\" DISALLOW_REUSE {later}\n\" TOTP_AUTH\n");
    let done = home.run(&["import", "google-authenticator", "--user", "alice"], &text);
    assert!(refused(&done, &[SECRET]).contains("is the clock of this machine right?"), "{done:?}");
    let text = format!("{SECRET}\n\" HOTP_COUNTER {}\n", u64::MAX);
    let done = home.run(&["import", "google-authenticator", "--user", "alice"], &text);
    assert!(refused(&done, &[SECRET]).contains("counter is larger"), "{done:?}");
}

#[test]
fn only_those_who_are_named_are_taken() {
    let home = home();
    let hex = "3132333435363738393031323334353637383930";
    let text = format!("HOTP alice - {hex}\nHOTP bob 1234 {hex}\nHOTP carol - {hex}\n");
    // A PIN is not dropped silently.
    let done = home.run(&["import", "users-oath"], &text);
    assert!(refused(&done, &[hex, "1234"]).starts_with("line 2: a PIN is set"), "{done:?}");
    let done = home.run(&["import", "users-oath", "--skip-flawed", "--only", "Carol"], &text).ok();
    assert!(done.stdout.ends_with("\n1 enrolled\n"), "{done:?}");
    assert_eq!(enrolled(&home), ["carol authenticator"]);
    let done = home.run(&["import", "users-oath", "--only", "eve"], format!("HOTP alice - {hex}\n"));
    assert_eq!(refused(&done, &[]), "--only eve: nobody of that name is in the source; nothing was imported");
}

#[test]
fn of_many_who_import_the_same_at_once_one_does() {
    let home = home();
    let lines: String = (0..50).map(|n| Phone::new(n).uri(&format!("user{n}")) + "\n").collect();
    let done: Vec<_> = std::thread::scope(|scope| {
        let run = || home.command(&["import", "uri", "--user-from-label"]);
        let racers: Vec<_> = std::iter::repeat_with(run).take(8).collect();
        let racers: Vec<_> = racers
            .into_iter()
            .map(|mut command| {
                scope.spawn({
                    let lines = &lines;
                    move || finish(&mut command, lines.as_bytes())
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(done.iter().filter(|done| done.status == Some(0)).count(), 1, "{done:?}");
    assert!(done.iter().all(|done| matches!(done.status, Some(0 | 65))), "{done:?}");
    assert_eq!(enrolled(&home).len(), 50);
}

#[test]
fn what_nothing_verifies_is_told() {
    let home = Home::init();
    let line = format!("otpauth://hotp/T:bob?secret={RFC}\n");
    let done = home.run(&["import", "uri", "--user-from-label"], line).ok();
    assert!(done.stdout.starts_with("note: hotp is not in [plugin] clients"), "{done:?}");
}

#[test]
fn a_key_comes_from_a_guarded_file_or_a_pipe() {
    let home = home();
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../data/piccolo.json")).unwrap();
    let sealed = vectors["opens"].as_array().unwrap().iter().find(|vector| vector["plain"] == SECRET).unwrap();
    let (key, stored) = (sealed["key"].as_str().unwrap(), sealed["stored"].as_str().unwrap());
    home.keep("rows", &format!("[{{\"username\": \"alice\", \"secret\": \"{stored}\"}}]"));
    home.keep("right", key);
    home.keep("wrong", &"0".repeat(64));
    home.keep("short", "abcd");
    home.keep("loose", key);
    let path = |name: &str| home.dir().join(name).to_str().unwrap().to_owned();
    fs::set_permissions(path("loose"), fs::Permissions::from_mode(0o644)).unwrap();
    let import = |key: &str, input: &str| {
        let arguments =
            ["import", "piccolo", &path("rows"), "--key-file", &if key == "-" { "-".into() } else { path(key) }];
        home.run(&arguments, input)
    };
    let rows = path("rows");
    let done = home.run(&["import", "piccolo", &rows], "");
    assert!(refused(&done, &[stored]).contains("name the file with its key: --key-file FILE"), "{done:?}");
    for (name, expected) in [
        ("wrong", "the key opens none of the secrets"),
        ("short", "does not hold 32 bytes"),
        ("loose", "lets others read it; run: chmod g-w,o-rwx"),
        ("missing", "No such file"),
    ] {
        let done = import(name, "");
        assert!(refused(&done, &[key, stored, SECRET]).contains(expected), "{name}: {done:?}");
    }
    assert!(enrolled(&home).is_empty());
    import("-", key).ok();
    assert_eq!(login(&home, "alice", &phone().code_at(NOW, 0)), "accept");
    let done = home.run(&["import", "piccolo", "--key-file", "-"], "");
    assert_eq!(done.status, Some(64));
    assert!(done.stderr.starts_with("key and source cannot both come from standard input"), "{done:?}");
}

#[test]
fn a_source_is_guarded_as_its_secrets_are_worth() {
    let home = home();
    home.keep("uris", &uri("alice", SECRET));
    let file = home.dir().join("uris");
    let link = home.dir().join("link");
    symlink(&file, &link).unwrap();
    let import = |path: &std::path::Path| home.run(&["import", "uri", "--user-from-label", path.to_str().unwrap()], "");
    let done = import(&link);
    assert!(refused(&done, &[]).contains("is a symbolic link"), "{done:?}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let done = import(&file);
    assert!(refused(&done, &[]).contains("lets others read it; run: chmod g-w,o-rwx"), "{done:?}");
    assert!(enrolled(&home).is_empty());
    let done = home.run(&["import", "uri", "--user-from-label"], b"otpauth://totp/x?secret=\xff\n");
    assert!(refused(&done, &[]).contains("is not UTF-8 text"), "{done:?}");
    let done = home.run(&["import", "uri", "--user-from-label", "-"], uri("alice", SECRET)).ok();
    assert_eq!(done.stdout, "1 enrolled\n");
}

#[test]
fn garbage_is_refused_by_every_source() {
    let home = home();
    home.keep("key", &"0".repeat(64));
    let key = home.dir().join("key");
    let key = key.to_str().unwrap();
    let (deep, nested) = ("[".repeat(100_000), "<a>".repeat(100_000));
    for garbage in
        ["", "\n\n", "CANARY", "{\"CANARY\": 1}", "<CANARY/>", "[]", "CANARY,b\n1\n", "\0\0\0", &deep, &nested]
    {
        for source in [
            &["uri", "--user", "a"][..],
            &["google-export", "--user", "a"],
            &["google-authenticator", "--user", "a"],
            &["users-oath"],
            &["home-assistant"],
            &["piccolo", "--key-file", key],
            &["pskc", "--user", "a", "--key-file", key],
            &["backup", "--key-file", key],
        ] {
            let done = home.run(&[&["import"][..], source].concat(), garbage);
            assert_eq!((done.status, done.stdout.as_str()), (Some(65), ""), "{source:?} {garbage:.20}: {done:?}");
            assert!(
                done.stderr.ends_with("nothing was imported\n") && !done.stderr.contains("CANARY\""),
                "{source:?}: {done:?}"
            );
        }
    }
    assert!(enrolled(&home).is_empty());
}

#[test]
fn a_source_that_holds_nothing_is_an_error() {
    let home = home();
    let nobody = "{\"version\": 1, \"key\": \"auth_module.totp\", \"data\": {\"users\": {}}}";
    for (source, text) in [
        // A payload of one part, and no account in it.
        (&["google-export", "--user", "a"][..], "otpauth-migration://offline?data=EAEYASAAKAc%3D"),
        (&["piccolo"], "[]"),
        (&["home-assistant"], nobody),
        (&["pskc", "--user", "a"], "<KeyContainer/>"),
    ] {
        let done = home.run(&[&["import"][..], source].concat(), text);
        assert!(refused(&done, &[]).contains("holds no authenticators; nothing was imported"), "{source:?}: {done:?}");
    }
}

#[test]
fn names_of_the_source_may_have_an_equals_sign() {
    let home = home();
    let hex = "3132333435363738393031323334353637383930";
    home.keep("names", "uid=alice = alice\nuid=bob =\n");
    let names = home.dir().join("names");
    let text = format!("HOTP uid=alice - {hex}\nHOTP uid=bob - {hex}\n");
    home.run(&["import", "users-oath", "--map", names.to_str().unwrap()], text).ok();
    assert_eq!(enrolled(&home), ["alice authenticator"]);
}

#[test]
fn what_would_cost_too_much_is_refused() {
    let home = home();
    let row = |rounds: u32| {
        let hash = format!("pbkdf2_sha256${rounds}$salt${}", "0".repeat(64));
        format!("[{{\"username\": \"a{rounds}\", \"secret\": \"plain-{SECRET}\", \"recovery_codes\": [\"{hash}\"]}}]")
    };
    let done = home.run(&["import", "piccolo"], row(1_000_001));
    assert!(refused(&done, &[SECRET]).contains("expected 1 to 1000000 iterations of PBKDF2; let"), "{done:?}");
    home.run(&["import", "piccolo"], row(1_000_000)).ok();
    let line = format!("otpauth-migration://offline?data={}", "A".repeat(8 * 1024));
    let done = home.run(&["import", "google-export", "--user", "a"], line);
    assert!(refused(&done, &[]).starts_with("line 1: the line is longer than 8 KiB"), "{done:?}");
}

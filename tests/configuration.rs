//! plugin.ini, the key and the store, as an administrator gets them wrong: each mistake is told with its place and what
//! mends it, and `serve` does not start.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

#[expect(dead_code, reason = "each test file uses a part of the rig")]
mod rig;

#[path = "configuration/policy.rs"]
mod policy;
#[path = "configuration/sps.rs"]
mod sps;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rig::nobody::{NOBODY, as_nobody, copied_executable, run_unprivileged};
use rig::{Finished, Home, Phone, attempt, finish, now, request};
use serde_json::json;

// ------------------------------------------------------------------------------------------------------------ helpers

/// What `check` and `serve` say of a configuration that cannot be used, one line a mistake. Both must say the same.
#[track_caller]
fn refusal(home: &Home) -> Vec<String> {
    let lines = serve_refusal(home);
    let checked = home.run(&["check"], "");
    assert_eq!((checked.status, checked.stdout.as_str()), (Some(78), ""), "{checked:?}");
    assert_eq!(checked.stderr.lines().collect::<Vec<_>>(), lines, "check and serve");
    lines
}

/// What `serve` says of a configuration that cannot be used: nothing on stdout, one line a mistake on stderr.
#[track_caller]
fn serve_refusal(home: &Home) -> Vec<String> {
    let served = home.run(&["serve"], format!("{}\n", request(1, "alice", json!({}))));
    assert_eq!((served.status, served.stdout.as_str()), (Some(78), ""), "{served:?}");
    let lines: Vec<String> = served.stderr.lines().map(ToOwned::to_owned).collect();
    assert!(!lines.is_empty() && served.stderr.ends_with('\n'), "{served:?}");
    let place = home.ini().display().to_string();
    for line in &lines {
        assert!(line.starts_with(&format!("{place}:")), "no place: {line}");
        assert!(!line.ends_with('.'), "{line}");
    }
    lines
}

/// The one line that is said of it, behind `file:line: [section] option: `, which must be there.
#[track_caller]
fn refusal_at(home: &Home, section: &str, option: &str) -> String {
    let lines = refusal(home);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let place = format!("{}:{}: [{section}] {option}: ", home.ini().display(), line_of(home, section, option));
    lines[0].strip_prefix(&place).unwrap_or_else(|| panic!("{} should begin with {place}", lines[0])).to_owned()
}

/// The one line that is said of the file as a whole, behind `file: `.
#[track_caller]
fn refusal_of_file(home: &Home) -> String {
    let lines = refusal(home);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].strip_prefix(&format!("{}: ", home.ini().display())).unwrap_or_else(|| panic!("{}", lines[0])).to_owned()
}

/// `check` is content, and `serve` asks for a code.
#[track_caller]
fn assert_works(home: &Home) {
    let checked = home.run(&["check"], "").ok();
    assert!(checked.stdout.starts_with(&format!("{}: right\n", home.ini().display())), "{checked:?}");
    let asked = home.ask_raw(format!("{}\n", request(1, "alice", json!({}))));
    assert!(asked.status == Some(0) && asked.answers.len() == 1, "{asked:?}");
    assert_eq!(asked.answers[0].told(), "need_info");
}

/// Runs the command that `line` ends in, `run: …`, exactly as it stands there.
#[track_caller]
fn follow_remedy(line: &str) {
    let (_, command) = line.split_once("run: ").unwrap_or_else(|| panic!("no remedy: {line}"));
    assert!(command.starts_with("chmod "), "{line}");
    let done = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The line on which an option stands, from 1.
fn line_of(home: &Home, section: &str, option: &str) -> usize {
    let text = fs::read_to_string(home.ini()).unwrap();
    position(&text, section, option).unwrap_or_else(|| panic!("no [{section}] {option}")) + 1
}

/// The index of the line on which an option stands.
fn position(text: &str, section: &str, option: &str) -> Option<usize> {
    let mut current = "";
    text.lines().position(|line| {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            current = name;
        }
        current == section && line.split_once(" =").is_some_and(|(name, _)| name == option)
    })
}

/// A home whose plugin.ini is `text`.
fn home_with(text: impl AsRef<[u8]>) -> Home {
    let home = Home::init();
    fs::write(home.ini(), text).unwrap();
    home
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn key_file(home: &Home) -> PathBuf {
    home.dir().join("master.key")
}

fn database(home: &Home) -> PathBuf {
    home.store().join("countersign.db")
}

/// Puts `content` in the place of the database, as a file of its own.
fn replace_database(home: &Home, content: &[u8]) {
    for behind in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{behind}", database(home).display()));
    }
    fs::write(database(home), content).unwrap();
    set_mode(&database(home), 0o600);
}

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").args(["-m", "600"]).arg(path).status().unwrap();
    assert!(made.success());
}

/// What `countersign example` prints.
fn example() -> String {
    finish(Command::new(env!("CARGO_BIN_EXE_countersign")).arg("example").env_clear(), b"").ok().stdout
}

/// The example with every option in force: what stands behind a `;` is its default.
fn written_example() -> String {
    example().replace("\n;", "\n")
}

/// A home whose plugin.ini has every option in force, so that each stands at a line.
fn written_home() -> Home {
    written(Home::init())
}

fn written(home: Home) -> Home {
    fs::write(home.ini(), written_example()).unwrap();
    home.set("logging", "destination", &format!("file:{}", home.log_path().display()));
    home
}

/// An option as the example shows it.
struct Shown {
    section: String,
    name: String,
    /// What stands behind `# Takes `.
    takes: String,
}

fn options() -> Vec<Shown> {
    let (mut section, mut takes) = (String::new(), String::new());
    let mut options = Vec::new();
    for line in written_example().lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some(text) = line.strip_prefix("# Takes ") {
            takes = text.trim_end_matches('.').to_owned();
        } else if let Some((name, _)) = line.split_once(" =").filter(|_| !line.starts_with('#')) {
            options.push(Shown { section: section.clone(), name: name.to_owned(), takes: std::mem::take(&mut takes) });
        }
    }
    assert!(options.len() > 20, "the options were not found");
    options
}

/// The example with one option set.
fn example_with(section: &str, option: &str, value: &str) -> String {
    let text = written_example();
    let index = position(&text, section, option).unwrap();
    let line = format!("{option} = {value}");
    text.lines().enumerate().map(|(n, old)| if n == index { &line } else { old }).flat_map(|l| [l, "\n"]).collect()
}

// -------------------------------------------------------------------------------------------------------- the example

#[test]
fn the_example_file_is_what_example_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin.ini.example");
    let file = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(file == example(), "run: countersign example > plugin.ini.example");
}

#[test]
fn the_example_works_as_it_stands() {
    let home = home_with(example());
    let checked = home.run(&["check"], "").ok();
    assert!(checked.stdout.starts_with(&format!("{}: right\n", home.ini().display())), "{checked:?}");
}

#[test]
fn every_option_of_the_example_says_what_it_means_and_takes() {
    let text = written_example();
    let lines: Vec<&str> = text.lines().collect();
    for option in options() {
        let index = position(&text, &option.section, &option.name).unwrap();
        assert!(!option.takes.is_empty(), "{}", option.name);
        let above = lines[index - 2];
        assert!(above.starts_with("# ") && !above.starts_with("# Takes"), "{}: {above}", option.name);
    }
}

// ----------------------------------------------------------------------------------------------------- values, names

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let home = home_with(
        "[plugin]\ndeadline = 5m\nmaster_kye = file:x\n\n[totp]\ndigits = 9\nperiod = 0\n[topt]\n[auth]\ndisable_echo = maybe\n",
    );
    let ini = home.ini();
    let ini = ini.display();
    assert_eq!(
        refusal(&home),
        [
            format!("{ini}:2: [plugin] deadline: expected seconds from 1 to 3600, such as 30, found \"5m\""),
            format!("{ini}:3: [plugin] master_kye: unknown option; did you mean master_key?"),
            format!("{ini}:6: [totp] digits: expected a whole number from 6 to 8, found \"9\""),
            format!("{ini}:7: [totp] period: expected seconds from 15 to 120, such as 30, found \"0\""),
            format!("{ini}:8: [topt]: unknown section; did you mean [totp]?"),
            format!("{ini}:10: [auth] disable_echo: expected yes or no, found \"maybe\""),
        ]
    );
}

#[test]
fn a_bad_value_of_each_option_is_told_with_what_it_takes() {
    let home = written_home();
    for Shown { section, name, takes } in options() {
        // Any text is a prompt or a path; any names are protocols. Everything else is choosy.
        let garbage: &[&str] = match takes.as_str() {
            "some text" | "a path" | "a directory, or postgres://USER@HOST/DATABASE" => &[""],
            "protocols with their modes, such as ssh:number, rdp:plain" => &["ssh", "ssh:", ":plain", "a:off,A:plain"],
            "names separated by commas, such as ssh,rdp" => &[",", "ssh,,rdp", "ssh,"],
            _ => &["", "%", "-1", "+5", "1_0", "5m", "0x10", "1.5", "99999999999999999999999", "x\u{202e}y", "a b"],
        };
        for value in garbage {
            fs::write(home.ini(), example_with(&section, &name, value)).unwrap();
            let text = refusal_at(&home, &section, &name);
            let mut expected = format!("expected {takes}");
            if name != "master_key" {
                expected += &format!(", found \"{}\"", value.replace('\u{202e}', "<U+202E>"));
            }
            assert_eq!(text, expected);
        }
    }
}

#[test]
fn numbers_are_taken_from_the_least_to_the_most_and_not_beyond() {
    let home = written_home();
    let mut count = 0;
    for Shown { section, name, takes } in options() {
        let Some((_, range)) = takes.split_once(" from ") else { continue };
        let (least, rest) = range.split_once(" to ").unwrap();
        let most = rest.split(',').next().unwrap();
        let (least, most): (u64, u64) = (least.parse().unwrap(), most.parse().unwrap());
        for taken in [least, most] {
            fs::write(home.ini(), example_with(&section, &name, &taken.to_string())).unwrap();
            home.run(&["check"], "").ok();
        }
        for refused in [least.checked_sub(1), Some(most + 1)].into_iter().flatten() {
            fs::write(home.ini(), example_with(&section, &name, &refused.to_string())).unwrap();
            assert_eq!(refusal_at(&home, &section, &name), format!("expected {takes}, found \"{refused}\""));
        }
        count += 1;
    }
    assert!(count > 10, "the numbers were not found");
}

#[test]
fn a_misspelt_option_is_told_with_the_right_name() {
    let home = written_home();
    for Shown { section, name, takes: _ } in options() {
        let swapped: String = {
            let mut letters: Vec<char> = name.chars().collect();
            let last = letters.len() - 1;
            let at = (1..=last).rev().find(|at| letters[*at] != letters[at - 1]).unwrap();
            letters.swap(at, at - 1);
            letters.into_iter().collect()
        };
        for wrong in [swapped, name.to_uppercase(), format!("{name}s"), name.replace('_', "-") + "x"] {
            fs::write(home.ini(), format!("[{section}]\n{wrong} = CANARY\n")).unwrap();
            let ini = home.ini();
            let expected = format!("{}:2: [{section}] {wrong}: unknown option; did you mean {name}?", ini.display());
            assert_eq!(refusal(&home), [expected]);
        }
    }
}

#[test]
fn a_misspelt_section_is_told_with_the_right_name() {
    for (wrong, right) in
        [("TOTP", "totp"), ("topt", "totp"), ("plugins", "plugin"), ("throtle", "throttle"), ("log", "logging")]
    {
        let home = home_with(format!("[{wrong}]\nx = y\n"));
        let expected = format!("{}:1: [{wrong}]: unknown section; did you mean [{right}]?", home.ini().display());
        assert_eq!(refusal(&home), [expected]);
    }
}

#[test]
fn a_name_like_no_other_gets_no_suggestion_and_cannot_deceive() {
    let home = home_with("[plugin]\nqqq = 1\ndead\u{200b}line = 1\n[zz\u{202e}zz]\n");
    let ini = home.ini();
    let ini = ini.display();
    assert_eq!(
        refusal(&home),
        [
            format!("{ini}:2: [plugin] qqq: unknown option"),
            format!("{ini}:3: [plugin] dead<U+200B>line: unknown option; did you mean deadline?"),
            format!("{ini}:4: [zz<U+202E>zz]: unknown section"),
        ]
    );
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    for text in ["[plugin]\nmaster_key = CANARY\n", "[plugin]\nCANARY\n", "[plugin]\nmaster_kye = CANARY\n"] {
        let lines = refusal(&home_with(text));
        assert!(!lines.concat().contains("CANARY"), "{lines:?}");
    }
}

// --------------------------------------------------------------------------------------------------- the form of INI

#[test]
fn each_hole_of_ini_is_closed() {
    let long_line = format!("[plugin]\ndeadline = {}\n", "9".repeat(5000));
    let cut =
        format!(":2: [plugin] deadline: expected seconds from 1 to 3600, such as 30, found \"{}…\"", "9".repeat(256));
    let cases: [(&str, &str); 27] = [
        ("[plugin]\ndeadline = 1\ndeadline = 2\n", ":3: [plugin] deadline: the option is there already, at line 2"),
        ("[plugin]\n[totp]\n[plugin]\n", ":3: [plugin]: the section is there already, at line 1"),
        ("[plugin]\ndeadline = 1\n\n[plugin]\nstore = x\n", ":4: [plugin]: the section is there already, at line 1"),
        ("[plugin]\ndeadline\n", ":2: expected name = value"),
        ("[plugin]\ndeadline: 5\n", ":2: expected name = value"),
        ("[plugin] junk\n", ":1: expected a section such as [totp], and nothing after it"),
        ("[plugin] # comment\n", ":1: expected a section such as [totp], and nothing after it"),
        ("[[plugin]]\n", ":1: expected a section such as [totp], and nothing after it"),
        ("[ plugin ]\n", ":1: expected a section such as [totp], and nothing after it"),
        ("[]\n", ":1: expected a section such as [totp], and nothing after it"),
        ("[plugin\n", ":1: expected a section such as [totp], and nothing after it"),
        ("\u{feff}[plugin]\n", ":1: the file begins with a byte-order mark; save it as UTF-8 without one"),
        ("[plugin]\rdeadline = 1\r", ":1: the lines end in carriage returns only; end them in line feeds"),
        ("[plugin]\ndeadline = 1\rstore = x\n", ":2: holds the control character U+000D"),
        ("deadline = 1\n", ":1: deadline: stands before the first section; put it below one such as [plugin]"),
        ("[DEFAULT]\n", ":1: [DEFAULT]: there are no options for all sections; write them where they belong"),
        ("[plugin]\n= 1\n", ":2: [plugin]: expected a name before the ="),
        ("[plugin]\nstore = a\0b\n", ":2: holds the control character U+0000"),
        ("[plugin]\nstore = a\u{1b}[2Jb\n", ":2: holds the control character U+001B"),
        ("[plugin]\nstore = a\u{85}b\n", ":2: holds the control character U+0085"),
        ("[plugin]\n\u{b}\ndeadline = 1\n", ":2: holds the control character U+000B"),
        (
            "[auth]\nprompt = first\n  second\n",
            ":3: begins with white space; a value stands on one line, and options and sections begin at its start",
        ),
        (
            "[auth]\nprompt = first\n\tsecond = x\n",
            ":3: begins with white space; a value stands on one line, and options and sections begin at its start",
        ),
        (
            "[totp]\n [plugin]\n",
            ":2: begins with white space; a value stands on one line, and options and sections begin at its start",
        ),
        (
            "[plugin]\ndeadline = 30 ; seconds\n",
            ":2: [plugin] deadline: expected seconds from 1 to 3600, such as 30, found \"30 ; seconds\"",
        ),
        (
            "[plugin]\ndeadline = 30 # seconds\n",
            ":2: [plugin] deadline: expected seconds from 1 to 3600, such as 30, found \"30 # seconds\"",
        ),
        (&long_line, &cut),
    ];
    for (text, expected) in cases {
        let home = home_with(text);
        let lines = refusal(&home);
        let expected = format!("{}{expected}", home.ini().display());
        // What follows from a mistake of form may be told too; it comes with its own place.
        assert!(lines.contains(&expected), "{text:?}: {lines:?}");
    }
}

#[test]
fn two_sections_of_one_name_are_one_mistake() {
    let home = written_home();
    let text = fs::read_to_string(home.ini()).unwrap();
    let (first, last) = (text.lines().position(|line| line == "[totp]").unwrap() + 1, text.lines().count() + 1);
    fs::write(home.ini(), text + "[totp]\nissuer = other\n").unwrap();
    let ini = home.ini();
    let expected = format!("{}:{last}: [totp]: the section is there already, at line {first}", ini.display());
    assert_eq!(refusal(&home), [expected]);
}

#[test]
fn a_value_is_everything_behind_the_first_equals_sign() {
    for prompt in ["Code = ? ; # [x]", "\"quoted\"", "100% %(sure)s \\", "Kód č. 1: ", "a\tb", "$HOME ${HOME}"] {
        let home = home_with(example_with("auth", "prompt", prompt));
        let asked = home.ask_raw(format!("{}\n", request(1, "alice", json!({}))));
        let question = asked.answers[0].question.as_ref().unwrap();
        assert_eq!(question.prompt, format!("{} ", prompt.trim_end()));
    }
}

#[test]
fn line_feeds_with_carriage_returns_comments_and_blank_lines_are_fine() {
    let home = home_with("; comment\r\n# comment\r\n\r\n[auth]\r\nprompt = Code:\r\n   \r\n[totp]\r\n");
    let asked = home.ask_raw(format!("{}\n", request(1, "alice", json!({}))));
    assert_eq!(asked.answers[0].question.as_ref().unwrap().prompt, "Code: ");
}

#[test]
fn a_file_without_an_end_of_line_and_an_empty_file_are_fine() {
    assert_works(&home_with(""));
    assert_works(&home_with("[totp]\nissuer = x"));
}

#[test]
fn a_file_that_is_not_text_or_too_large_is_told() {
    assert_eq!(refusal_of_file(&home_with(b"[plugin]\nstore = \xff\n")), "is not UTF-8 text");
    assert_eq!(refusal_of_file(&home_with("# x\n".repeat(300_000))), "is larger than 1 MiB");
}

// ------------------------------------------------------------------------------------------------- the file plugin.ini

#[test]
fn a_missing_configuration_is_told_with_what_makes_one() {
    let home = written_home();
    fs::remove_file(home.ini()).unwrap();
    let text = refusal_of_file(&home);
    assert!(text.starts_with("No such file or directory") && text.ends_with("run: countersign init DIR"), "{text}");
}

#[test]
fn a_directory_a_fifo_or_a_link_is_no_configuration() {
    let home = written_home();
    let aside = home.dir().join("aside");
    fs::rename(home.ini(), &aside).unwrap();

    fs::create_dir(home.ini()).unwrap();
    set_mode(&home.ini(), 0o700);
    assert_eq!(refusal_of_file(&home), "is not a regular file");
    fs::remove_dir(home.ini()).unwrap();

    make_fifo(&home.ini());
    assert_eq!(refusal_of_file(&home), "is not a regular file");
    fs::remove_file(home.ini()).unwrap();

    for target in [aside.as_path(), Path::new("aside"), Path::new("nowhere")] {
        symlink(target, home.ini()).unwrap();
        let text = refusal_of_file(&home);
        assert_eq!(text, "is a symbolic link, which is not followed; name the file that it points to");
        fs::remove_file(home.ini()).unwrap();
    }
    fs::rename(&aside, home.ini()).unwrap();
    assert_works(&home);
}

#[test]
fn a_configuration_that_cannot_be_read_is_told() {
    let home = written_home();
    set_mode(&home.ini(), 0o000);
    for command in ["serve", "check"] {
        let Some(done) = run_unprivileged(&home, &[command], "{}\n") else { return };
        assert_eq!((done.status, done.stdout.as_str()), (Some(78), ""), "{done:?}");
        assert!(done.stderr.starts_with(&format!("{}: Permission denied", home.ini().display())), "{done:?}");
        assert_eq!(done.stderr.lines().count(), 1);
    }
}

#[test]
fn a_key_or_store_that_cannot_be_read_is_told_at_its_option() {
    for (option, path) in [("master_key", "master.key"), ("store", "store"), ("store", "store/countersign.db")] {
        let home = written_home();
        set_mode(&home.dir().join(path), 0o000);
        let Some(done) = run_unprivileged(&home, &["serve"], "{}\n") else { return };
        assert_eq!((done.status, done.stdout.as_str()), (Some(78), ""), "{path}: {done:?}");
        let place = format!("{}:{}: [plugin] {option}: ", home.ini().display(), line_of(&home, "plugin", option));
        assert!(done.stderr.starts_with(&place), "{path}: {done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{path}: {done:?}");
    }
}

#[test]
fn an_owner_who_is_not_root_is_served() {
    let phone = Phone::new(1);
    let home = written(Home::with(&[("alice", &phone)]));
    let line = format!("{}\n", attempt(1, "alice", &phone.fresh_code()));
    let Some(done) = run_unprivileged(&home, &["serve"], &line) else { return };
    assert_eq!((done.status, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert!(done.stdout.contains("\"verdict\":\"accept\""), "{done:?}");
}

// ------------------------------------------------------------------------------------------------------- who may what

/// Each of `refused` is told, in the words `what`, and mended by the command that is told; each of `fine` works.
#[track_caller]
fn assert_guarded(path: impl Fn(&Home) -> PathBuf, option: Option<&str>, refused: &[(u32, &str)], fine: &[u32]) {
    let home = written_home();
    let path = path(&home);
    for (mode, what) in refused {
        set_mode(&path, *mode);
        let text = match option {
            Some(option) => refusal_at(&home, "plugin", option),
            None => refusal_of_file(&home),
        };
        assert!(text.contains(&format!("mode {mode:04o} lets others {what}; run: chmod ")), "{text}");
        follow_remedy(&text);
        assert_works(&home);
        let mended = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mended & !mode, 0, "{mode:04o} became {mended:04o}: more than before");
        assert_eq!(mended & 0o700, mode & 0o700, "{mode:04o} became {mended:04o}: less for the owner");
    }
    for mode in fine {
        set_mode(&path, *mode);
        assert_works(&home);
    }
}

#[test]
fn a_configuration_that_others_can_change_is_refused_and_mended() {
    let refused = [
        (0o666, "change it"),
        (0o660, "change it"),
        (0o664, "change it"),
        (0o646, "change it"),
        (0o620, "change it"),
        (0o602, "change it"),
    ];
    assert_guarded(Home::ini, None, &refused, &[0o600, 0o640, 0o644, 0o400, 0o444, 0o750]);
}

#[test]
fn a_key_that_others_can_read_or_change_is_refused_and_mended() {
    let refused = [
        (0o644, "read it"),
        (0o604, "read it"),
        (0o660, "change it"),
        (0o620, "change it"),
        (0o602, "change it"),
        (0o666, "read and change it"),
        (0o777, "read and change it"),
    ];
    assert_guarded(key_file, Some("master_key"), &refused, &[0o600, 0o640, 0o400, 0o440]);
}

#[test]
fn a_store_that_others_can_enter_is_refused_and_mended() {
    let refused = [
        (0o755, "read it"),
        (0o705, "read it"),
        (0o701, "reach it"),
        (0o770, "change it"),
        (0o777, "read and change it"),
        (0o1777, "read and change it"),
        (0o2770, "change it"),
    ];
    assert_guarded(Home::store, Some("store"), &refused, &[0o700, 0o750, 0o710, 0o2750]);
}

#[test]
fn a_database_that_others_can_read_or_change_is_refused_and_mended() {
    let refused = [(0o644, "read it"), (0o660, "change it"), (0o602, "change it"), (0o666, "read and change it")];
    assert_guarded(database, Some("store"), &refused, &[0o600, 0o640]);
}

#[test]
fn the_command_that_mends_a_mode_can_be_pasted_whatever_the_path() {
    let home = written_home();
    let odd = home.dir().join("it's a \"$HOME\" of keys");
    fs::create_dir(&odd).unwrap();
    fs::rename(key_file(&home), odd.join("master.key")).unwrap();
    home.set("plugin", "master_key", &format!("file:{}", odd.join("master.key").display()));
    set_mode(&odd.join("master.key"), 0o644);
    follow_remedy(&refusal_at(&home, "plugin", "master_key"));
    assert_works(&home);
}

#[test]
fn a_loose_key_and_a_loose_store_are_told_together_by_check() {
    let home = written_home();
    set_mode(&key_file(&home), 0o644);
    set_mode(&home.store(), 0o755);
    let checked = home.run(&["check"], "");
    assert_eq!((checked.status, checked.stdout.as_str()), (Some(78), ""));
    let lines: Vec<&str> = checked.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("] master_key: ")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("] store: ")), "{lines:?}");
    assert_eq!(serve_refusal(&home).len(), 1);
    lines.into_iter().for_each(follow_remedy);
    assert_works(&home);
}

// ------------------------------------------------------------------------------------------------------------ the key

#[test]
fn a_missing_key_is_told_at_its_option_with_what_to_do() {
    let home = written_home();
    fs::remove_file(key_file(&home)).unwrap();
    let text = refusal_at(&home, "plugin", "master_key");
    assert!(text.starts_with(&format!("{}: is not there; put the copy", key_file(&home).display())), "{text}");
    assert!(text.contains("countersign keys generate"), "no remedy: {text}");
}

#[test]
fn what_is_wrong_with_a_default_is_told_at_its_option_without_a_line() {
    let home = home_with("[totp]\nissuer = x\n");
    fs::remove_file(key_file(&home)).unwrap();
    fs::rename(home.store(), home.dir().join("aside")).unwrap();
    let checked = home.run(&["check"], "");
    let lines: Vec<&str> = checked.stderr.lines().collect();
    let ini = home.ini();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with(&format!("{}: [plugin] master_key: ", ini.display())), "{lines:?}");
    assert!(lines[1].starts_with(&format!("{}: [plugin] store: ", ini.display())), "{lines:?}");
    assert_eq!(serve_refusal(&home), lines[..1]);
}

#[test]
fn a_linked_key_a_fifo_or_a_directory_is_refused() {
    let home = written_home();
    let (key, aside) = (key_file(&home), home.dir().join("aside"));
    fs::rename(&key, &aside).unwrap();
    symlink(&aside, &key).unwrap();
    let text = refusal_at(&home, "plugin", "master_key");
    assert_eq!(
        text,
        format!("{}: is a symbolic link, which is not followed; name the file that it points to", key.display())
    );
    fs::remove_file(&key).unwrap();
    make_fifo(&key);
    assert_eq!(refusal_at(&home, "plugin", "master_key"), format!("{}: is not a regular file", key.display()));
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    assert_eq!(refusal_at(&home, "plugin", "master_key"), format!("{}: is not a regular file", key.display()));
    // What the link's error says to do.
    home.set("plugin", "master_key", &format!("file:{}", aside.display()));
    assert_works(&home);
}

#[test]
fn an_empty_or_flawed_key_file_is_told_by_line_and_not_repeated() {
    let home = written_home();
    let good = fs::read_to_string(key_file(&home)).unwrap();
    let short = format!("{}\n", "a".repeat(63));
    let long = format!("{}\n", "a".repeat(66));
    for (text, expected) in [
        ("", "holds no key"),
        ("# only a comment\n\n", "holds no key"),
        ("CANARY\n", "line 1 is not a key: expected 64 hexadecimal digits"),
        (&format!("{good}\nCANARY"), "line 4 is not a key: expected 64 hexadecimal digits"),
        (&short, "line 1 is not a key: expected 64 hexadecimal digits"),
        (&long, "line 1 is not a key: expected 64 hexadecimal digits"),
    ] {
        fs::write(key_file(&home), text).unwrap();
        let told = refusal_at(&home, "plugin", "master_key");
        assert!(told.contains(&key_file(&home).display().to_string()) && told.contains(expected), "{told}");
        assert!(!told.contains("CANARY") && !told.contains("aaaa"), "{told}");
    }
}

#[test]
fn a_wrong_key_is_told_by_its_id_and_the_store_stays_as_it_was() {
    let phone = Phone::new(2);
    let home = written(Home::with(&[("alice", &phone)]));
    let aside = home.dir().join("aside");
    fs::rename(key_file(&home), &aside).unwrap();
    home.run(&["keys", "generate"], "").ok();
    let text = refusal_at(&home, "plugin", "master_key");
    let id = |path: &Path| fs::read_to_string(path).unwrap().lines().next().unwrap().replace("# key ", "");
    let (right, wrong) = (id(&aside), id(&key_file(&home)));
    assert!(text.starts_with(&format!("the store was sealed with key {right}, found {wrong}; ")), "{text}");
    assert!(text.contains("backup"), "{text}");
    for command in [&["list"][..], &["show", "alice"], &["keys", "verify"], &["keys", "rotate"], &["enroll", "bob"]] {
        let done = home.run(command, "");
        assert_eq!((done.status, done.stdout.as_str()), (Some(78), ""), "{command:?}: {done:?}");
    }
    fs::rename(&aside, key_file(&home)).unwrap();
    assert_eq!(home.ask_one(&attempt(1, "alice", &phone.fresh_code())).told(), "accept");
}

#[test]
fn the_key_may_come_from_the_environment() {
    let phone = Phone::new(3);
    let home = written(Home::with(&[("alice", &phone)]));
    let text = fs::read_to_string(key_file(&home)).unwrap();
    fs::remove_file(key_file(&home)).unwrap();
    home.set("plugin", "master_key", "env:COUNTERSIGN_TEST_KEY");
    assert_eq!(refusal_at(&home, "plugin", "master_key"), "the environment variable COUNTERSIGN_TEST_KEY is not set");

    let bare = text.lines().last().unwrap().to_owned();
    let ask = |key: &str, code: &str| {
        let line = format!("{}\n", attempt(1, "alice", code));
        finish(home.command(&["serve"]).env("COUNTERSIGN_TEST_KEY", key), line.as_bytes())
    };
    for (key, offset) in [(text.as_str(), 0), (&bare, 1)] {
        let done = ask(key, &phone.code_at(now(), offset));
        assert!(done.status == Some(0) && done.stdout.contains("\"verdict\":\"accept\""), "{done:?}");
    }
    for (key, expected) in [
        ("", "$COUNTERSIGN_TEST_KEY: holds no key"),
        ("CANARY", "$COUNTERSIGN_TEST_KEY: line 1 is not a key: expected 64 hexadecimal digits"),
    ] {
        let done = ask(key, "000000");
        assert_eq!((done.status, done.stdout.as_str()), (Some(78), ""));
        assert!(done.stderr.contains(expected) && !done.stderr.contains("CANARY"), "{done:?}");
    }
    let rotated = finish(home.command(&["keys", "rotate"]).env("COUNTERSIGN_TEST_KEY", &text), b"");
    assert_eq!(rotated.status, Some(65));
    assert!(rotated.stderr.contains("only a key file"), "{rotated:?}");
    let generated = home.run(&["keys", "generate"], "");
    assert_eq!(generated.status, Some(65));
    assert!(generated.stderr.contains("countersign keys generate FILE"), "{generated:?}");
}

#[test]
fn the_key_may_be_a_systemd_credential() {
    let phone = Phone::new(4);
    let home = written(Home::with(&[("alice", &phone)]));
    let credentials = home.dir().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::rename(key_file(&home), credentials.join("countersign.key")).unwrap();
    home.set("plugin", "master_key", "credential:countersign.key");
    let text = refusal_at(&home, "plugin", "master_key");
    assert!(text.contains("$CREDENTIALS_DIRECTORY") && text.contains("LoadCredential="), "{text}");

    let line = format!("{}\n", attempt(1, "alice", &phone.fresh_code()));
    let serve = || finish(home.command(&["serve"]).env("CREDENTIALS_DIRECTORY", &credentials), line.as_bytes());
    set_mode(&credentials.join("countersign.key"), 0o644);
    let done = serve();
    assert_eq!((done.status, done.stdout.as_str()), (Some(78), ""));
    assert!(done.stderr.contains("] master_key: "), "{done:?}");
    follow_remedy(done.stderr.trim_end());
    // As systemd leaves it.
    set_mode(&credentials.join("countersign.key"), 0o400);
    let done = serve();
    assert!(done.status == Some(0) && done.stdout.contains("\"verdict\":\"accept\""), "{done:?}");
}

// ---------------------------------------------------------------------------------------------------------- the store

#[test]
fn a_linked_store_or_database_is_refused() {
    let home = written_home();
    let told = |path: &Path| {
        format!("{}: is a symbolic link, which is not followed; name the file that it points to", path.display())
    };
    let aside = home.dir().join("aside");
    fs::rename(home.store(), &aside).unwrap();
    symlink(&aside, home.store()).unwrap();
    assert_eq!(refusal_at(&home, "plugin", "store"), told(&home.store()));
    fs::remove_file(home.store()).unwrap();
    fs::rename(&aside, home.store()).unwrap();

    fs::rename(database(&home), &aside).unwrap();
    symlink(&aside, database(&home)).unwrap();
    assert_eq!(refusal_at(&home, "plugin", "store"), told(&database(&home)));
    fs::remove_file(database(&home)).unwrap();
    fs::rename(&aside, database(&home)).unwrap();
    assert_works(&home);
}

#[test]
fn a_missing_store_is_told_and_not_made() {
    let home = written_home();
    fs::remove_dir_all(home.store()).unwrap();
    let text = refusal_at(&home, "plugin", "store");
    assert!(text.starts_with(&format!("{}: there is no store; restore it ", home.store().display())), "{text}");
    assert!(!home.store().exists());

    fs::create_dir(home.store()).unwrap();
    set_mode(&home.store(), 0o700);
    let text = refusal_at(&home, "plugin", "store");
    assert!(text.starts_with(&format!("{}: there is no store; restore it ", database(&home).display())), "{text}");
    assert_eq!(fs::read_dir(home.store()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_store_that_is_a_file_is_told() {
    let home = written_home();
    fs::remove_dir_all(home.store()).unwrap();
    fs::write(home.store(), "").unwrap();
    set_mode(&home.store(), 0o600);
    assert_eq!(refusal_at(&home, "plugin", "store"), format!("{}: is not a directory", home.store().display()));
}

#[test]
fn a_store_from_a_newer_version_is_left_alone() {
    let home = written_home();
    let set = |version: i64| {
        let database = rusqlite::Connection::open(database(&home)).unwrap();
        database.execute("UPDATE meta SET version = ?1", [version]).unwrap();
    };
    let version: i64 = rusqlite::Connection::open(database(&home))
        .unwrap()
        .query_row("SELECT version FROM meta", [], |row| row.get(0))
        .unwrap();
    set(version + 1);
    let text = refusal_at(&home, "plugin", "store");
    let newer = format!("schema version {} is newer than {version}", version + 1);
    assert!(text.contains(&newer) && text.ends_with("install a newer countersign"), "{text}");
    set(version);
    assert_works(&home);
}

#[test]
fn what_is_not_a_store_is_told_and_left_alone() {
    let home = written_home();
    let other = home.dir().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let other = fs::read(other).unwrap();
    for content in [b"this is no database at all, but text\n".repeat(100), Vec::new(), other] {
        replace_database(&home, &content);
        let text = refusal_at(&home, "plugin", "store");
        assert!(text.starts_with(&format!("{}: is not a countersign store: ", database(&home).display())), "{text}");
        assert!(fs::read(database(&home)).unwrap() == content, "it was changed");
    }
}

#[test]
fn a_store_that_says_nothing_of_itself_is_told() {
    let home = written_home();
    rusqlite::Connection::open(database(&home)).unwrap().execute("DELETE FROM meta", []).unwrap();
    let text = refusal_at(&home, "plugin", "store");
    assert!(text.contains("is not a countersign store: "), "{text}");
}

#[test]
fn a_database_or_store_that_is_a_fifo_does_not_hold_the_start_up() {
    let home = written_home();
    for behind in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{behind}", database(&home).display()));
    }
    make_fifo(&database(&home));
    let text = refusal_at(&home, "plugin", "store");
    assert!(text.contains(&database(&home).display().to_string()), "{text}");
    fs::remove_dir_all(home.store()).unwrap();
    make_fifo(&home.store());
    assert_eq!(refusal_at(&home, "plugin", "store"), format!("{}: is not a directory", home.store().display()));
}

#[test]
fn relative_paths_start_at_the_configuration() {
    let home = written_home();
    fs::rename(home.store(), home.dir().join("elsewhere")).unwrap();
    home.set("plugin", "store", "elsewhere");
    home.set("plugin", "master_key", "file:../home/master.key");
    assert_works(&home);
    // And so they do when the configuration itself is named by a relative path.
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.env_clear().current_dir(home.dir()).args(["check", "--config", "plugin.ini"]);
    finish(&mut command, b"").ok();
}

// ------------------------------------------------------------------------------------------------------------ the log

#[test]
fn a_log_that_cannot_be_opened_is_told_by_serve_and_by_check() {
    let home = written_home();
    home.set("logging", "destination", &format!("file:{}", home.dir().join("no/such/directory/log").display()));
    let lines = serve_refusal(&home);
    let place =
        format!("{}:{}: [logging] destination: ", home.ini().display(), { line_of(&home, "logging", "destination") });
    assert!(lines.len() == 1 && lines[0].starts_with(&place), "{lines:?}");
    assert!(lines[0].contains("no/such/directory/log"), "which file: {lines:?}");
    assert_eq!(refusal(&home), lines);
}

#[test]
fn a_log_that_is_a_fifo_does_not_hold_the_start_up() {
    let home = written_home();
    let fifo = home.dir().join("log");
    make_fifo(&fifo);
    home.set("logging", "destination", &format!("file:{}", fifo.display()));
    let mut command = Command::new("timeout");
    command.args(["5", env!("CARGO_BIN_EXE_countersign"), "serve", "--config"]).arg(home.ini()).env_clear();
    let done = finish(&mut command, format!("{}\n", request(1, "alice", json!({}))).as_bytes());
    assert_ne!(done.status, Some(124), "nobody reads the log, and nobody gets a verdict");
}

// ---------------------------------------------------------------------------------------- everything else that is asked

#[test]
fn every_command_that_needs_the_configuration_tells_its_mistakes() {
    let home = home_with("[plugin]\ndeadline = 5m\n");
    let expected = format!(
        "{}:2: [plugin] deadline: expected seconds from 1 to 3600, such as 30, found \"5m\"\n",
        home.ini().display()
    );
    for arguments in [
        &["serve"][..],
        &["check"],
        &["list"],
        &["show", "alice"],
        &["remove", "alice", "--override-reason", "test"],
        &["unlock", "alice"],
        &["enroll", "alice"],
        &["enroll", "show", "x"],
        &["enroll", "confirm", "x"],
        &["import", "uri", "--user", "alice"],
        &["keys", "generate"],
        &["keys", "rotate"],
        &["keys", "verify"],
    ] {
        let done = home.run(arguments, "");
        let Finished { status, stdout, stderr } = &done;
        assert_eq!((*status, stdout.as_str(), stderr.as_str()), (Some(78), "", expected.as_str()), "{arguments:?}");
    }
}

#[test]
fn a_group_that_may_read_shares_the_configuration_and_the_key() {
    const GROUP: u32 = 65533;
    let Some(mut command) = as_nobody(GROUP) else { return };
    let phone = Phone::new(5);
    let home = written(Home::with(&[("alice", &phone)]));
    home.set("logging", "destination", "stderr");
    let executable = copied_executable(&home);
    let above = home.dir().parent().unwrap().to_owned();
    for (path, mode) in [(above, 0o750), (home.dir(), 0o750), (home.ini(), 0o640), (key_file(&home), 0o640)] {
        chown(&path, None, Some(GROUP)).unwrap();
        set_mode(&path, mode);
    }
    // The store is the gateway's own: it has to write there.
    let files = fs::read_dir(home.store()).unwrap().map(|entry| entry.unwrap().path());
    for path in files.chain([home.store()]) {
        chown(path, Some(NOBODY), Some(GROUP)).unwrap();
    }
    command.arg(executable).args(["serve", "--config"]).arg(home.ini());
    let line = format!("{}\n", attempt(1, "alice", &phone.fresh_code()));
    let done = finish(&mut command, line.as_bytes());
    assert!(done.status == Some(0) && done.stdout.contains("\"verdict\":\"accept\""), "{done:?}");
}

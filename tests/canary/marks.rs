//! What is marked, and the search for it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

use crate::rig::{Home, Phone};

/// What the claimant types, or their gateway sends.
pub const PASSWORD: &str = "CanaryPassword7391";
pub const CODE: &str = "CanaryCode5528";
pub const COOKIE: &str = "CanaryCookie1846";
pub const KEY: &str = "mG5be6ZJU1qBGz24yPh/ESM3UdU=";
pub const YUBIKEY: &str = "vvcccccccccbtbghrfgdnjncbijgerrhgcgkdvghbdli";

/// A code as services take it: digits, which are looked for where they stand alone.
pub const DIGITS: &str = "552819";

/// The secrets, each with what it is.
pub struct Canaries(Vec<(String, Vec<u8>)>);

impl Canaries {
    fn typed() -> Self {
        let mut canaries = Self(Vec::new());
        for (what, text) in [("password", PASSWORD), ("code", CODE), ("cookie", COOKIE), ("YubiKey", YUBIKEY)] {
            canaries.text(what, text);
        }
        canaries
    }

    /// One in each form that it could have.
    pub fn bytes(&mut self, what: &str, bytes: &[u8]) {
        let forms = [
            HEXLOWER.encode(bytes),
            HEXUPPER.encode(bytes),
            BASE64.encode(bytes).trim_end_matches('=').to_owned(),
            BASE64URL_NOPAD.encode(bytes),
            BASE32_NOPAD.encode(bytes),
            BASE32_NOPAD.encode(bytes).to_lowercase(),
            format!("{bytes:?}"),
        ];
        self.0.push((what.to_owned(), bytes.to_vec()));
        self.0.extend(forms.map(|form| (what.to_owned(), form.into_bytes())));
    }

    pub fn text(&mut self, what: &str, text: &str) {
        self.bytes(what, text.as_bytes());
    }

    /// Those of the home: the master key, and the phone of alice.
    pub fn of(home: &Home, phone: &Phone) -> Self {
        let mut canaries = Self::typed();
        canaries.bytes("TOTP secret", &BASE32_NOPAD.decode(phone.secret().as_bytes()).unwrap());
        let key = fs::read_to_string(home.dir().join("master.key")).unwrap();
        for line in key.lines().filter(|line| !line.starts_with('#')) {
            canaries.bytes("master key", &HEXLOWER.decode(line.as_bytes()).unwrap());
        }
        canaries
    }

    #[track_caller]
    pub fn absent(&self, place: &str, content: &[u8]) {
        // A character for each byte: texts are searched fast.
        let letters = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
        let shown = letters(content);
        for (what, form) in &self.0 {
            let is_there = shown.contains(&letters(form));
            assert!(!is_there, "{what} in {place}: {}", String::from_utf8_lossy(content));
        }
        let text = String::from_utf8_lossy(content);
        // Not within a trace, nor as the fraction of a time.
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_hexdigit() || c == '.');
        let ends = |at: usize| (text[..at].chars().next_back(), text[at + DIGITS.len()..].chars().next());
        let is_there = |at: usize| !is_part(ends(at).0) && !is_part(ends(at).1);
        assert!(!text.match_indices(DIGITS).any(|(at, _)| is_there(at)), "the code in {place}: {text}");
    }

    /// In no file of the home but those of which it is known: log, store, and whatever is left behind.
    #[track_caller]
    pub fn absent_from(&self, home: &Home, known: &[&str]) {
        let mut places = vec![home.dir().parent().unwrap().to_owned()];
        let mut searched = Vec::new();
        while let Some(place) = places.pop() {
            if place.is_dir() {
                places.extend(fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
            } else if !known.iter().any(|name| place == home.dir().join(name)) {
                self.absent(&place.display().to_string(), &fs::read(&place).unwrap());
                searched.push(place);
            }
        }
        let has = |path: PathBuf| searched.contains(&path);
        assert!(has(home.log_path()), "the log was searched");
        assert!(!home.store().is_dir() || has(home.store().join("countersign.db")), "the store was searched");
    }

    /// In nothing that others can see of a process, which runs.
    #[track_caller]
    pub fn absent_from_process(&self, pid: u32) {
        let whole = format!("/proc/{pid}");
        let threads = names(&format!("{whole}/task")).into_iter().map(|id| format!("{whole}/task/{id}"));
        for place in std::iter::once(whole.clone()).chain(threads) {
            for file in ["cmdline", "environ", "comm", "status", "maps", "wchan", "stat"] {
                let name = format!("{place}/{file}");
                let read = fs::read(&name);
                // A thread may end meanwhile; its memory is that of the whole, and goes first.
                let is_part = place != whole;
                if is_part && !Path::new(&place).exists() {
                    break;
                }
                let is_denied = read.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
                // Closed to its own user. Root is shown it.
                if is_denied && ["environ", "maps"].contains(&file) {
                    continue;
                }
                // It may have been started without any variable.
                let may_be_empty = is_part || file == "environ";
                let is_whole = read.as_ref().is_ok_and(|content| may_be_empty || !content.is_empty());
                assert!(is_whole, "{name} was not searched: {read:?}");
                self.absent(&name, &read.unwrap());
            }
        }
    }
}

fn names(directory: &str) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

//! A home whose first client sends codes by a program, and what that program was given.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::rig::{Home, request};

/// Where codes for everybody go to.
pub const NUMBER: &str = "+4366012344711";

/// The home, and where its program keeps what it got.
pub struct Stage {
    pub home: Home,
}

impl Stage {
    /// A home with these options more in `[notify sms]`, where alice is enrolled.
    pub fn new(options: &str) -> Self {
        let stage = Self { home: Home::init() };
        stage.home.set("plugin", "clients", "notify sms");
        let program = stage.program("send", "/bin/cat >> \"$1\"");
        let sent = stage.home.dir().join("sent");
        let length = if options.contains("code_length") { "" } else { "code_length = 12\n" };
        stage.home.append(&format!(
            "[notify sms]\nvia = command\ncommand = {} {} {{target}}\n{length}{options}",
            program.display(),
            sent.display()
        ));
        stage.enrol("alice");
        stage
    }

    /// A program in the home, for sh.
    pub fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.dir().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    /// Enrols `user`, and forgets the message that proved it.
    pub fn enrol(&self, user: &str) {
        let arguments = ["enroll", user, "--client", "notify sms", "--target", NUMBER, "--json"];
        let said = self.home.run(&arguments, "").ok();
        let pending: Value = serde_json::from_str(&said.stdout).unwrap();
        let code = self.codes().pop().unwrap();
        self.home.run(&["enroll", "confirm", pending["challenge"].as_str().unwrap()], code).ok();
        fs::remove_file(self.home.dir().join("sent")).unwrap();
    }

    /// The messages that were sent, oldest first.
    pub fn messages(&self) -> Vec<String> {
        let sent = fs::read_to_string(self.home.dir().join("sent")).unwrap_or_default();
        sent.lines().map(str::to_owned).collect()
    }

    /// The codes in them.
    pub fn codes(&self) -> Vec<String> {
        self.messages().iter().map(|message| code_in(message)).collect()
    }

    /// The one code that was sent.
    pub fn code(&self) -> String {
        let codes = self.codes();
        assert_eq!(codes.len(), 1, "{codes:?}");
        codes[0].clone()
    }

    /// A code of twelve digits that was not sent.
    pub fn wrong_code(&self) -> String {
        let sent = self.codes();
        (0..).map(|n| format!("{n:012}")).find(|code| !sent.contains(code)).unwrap()
    }

    /// The ids of what `user` holds.
    pub fn ids(&self, user: &str) -> Vec<String> {
        let said: Value = serde_json::from_str(&self.home.run(&["show", user, "--json"], "").ok().stdout).unwrap();
        let held = said["authenticators"].as_array().unwrap();
        held.iter().map(|authenticator| authenticator["id"].as_str().unwrap().to_owned()).collect()
    }

    /// That neither these codes nor the target are in the log.
    #[track_caller]
    pub fn leaks_nothing(&self, codes: &[&str]) {
        let log = self.home.log();
        assert!(log.contains("verdict"), "{log}");
        for secret in codes.iter().chain([&NUMBER, &&NUMBER[1..]]) {
            assert!(!log.contains(secret), "{secret} is in the log: {log}");
        }
    }
}

/// The code in `message`.
pub fn code_in(message: &str) -> String {
    let behind = message.split_once("Your code is ").unwrap().1;
    behind.split_once(". It was asked").unwrap().0.to_owned()
}

/// The first request of a login of `user`.
pub fn login(user: &str) -> Value {
    request(1, user, json!({"session_id": "s1"}))
}

/// What `user` types in answer to the question that came with `cookie`.
pub fn answer(user: &str, cookie: &str, typed: &str) -> Value {
    request(2, user, json!({"session_id": "s1", "cookie": cookie, "key_value_pairs": {"otp": typed}}))
}

//! The words behind the module's name in a file of pam.d.

use std::path::PathBuf;
use std::time::Duration;

/// What the operator wants.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// `config=`: the configuration, an absolute path.
    pub config: PathBuf,
    /// `program=`: the executable, an absolute path.
    pub program: PathBuf,
    /// `first_pass=`: what the first request says of a code.
    pub first_pass: FirstPass,
    /// `timeout=`: how long a verdict may take, in whole seconds.
    pub timeout: Duration,
    /// `quiet`: whether messages are shown; questions always are.
    pub messages: Messages,
}

/// What the first request says of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstPass {
    /// Nothing: the verdict decides whether anything is asked.
    None,
    /// What is typed at a question of the module's own.
    Prompt,
    /// What an earlier module of the stack asked for.
    Use,
}

/// Whether messages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages {
    Shown,
    Silent,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: "/etc/countersign/plugin.ini".into(),
            program: "/usr/bin/countersign".into(),
            first_pass: FirstPass::None,
            timeout: Duration::from_secs(60),
            messages: Messages::Shown,
        }
    }
}

impl Options {
    /// Reads the words.
    ///
    /// # Errors
    /// What is wrong with the first word that means nothing, and what to write instead.
    pub fn read<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut options = Self::default();
        for word in words {
            match word.split_once('=') {
                Some(("config", path)) => options.config = absolute("config", path)?,
                Some(("program", path)) => options.program = absolute("program", path)?,
                Some(("first_pass", "none")) => options.first_pass = FirstPass::None,
                Some(("first_pass", "prompt")) => options.first_pass = FirstPass::Prompt,
                Some(("first_pass", "use")) => options.first_pass = FirstPass::Use,
                Some(("first_pass", other)) => {
                    return Err(format!("first_pass: expected none, prompt or use, found {other:?}"));
                }
                Some(("timeout", seconds)) => options.timeout = timeout(seconds)?,
                None if word == "quiet" => options.messages = Messages::Silent,
                Some(_) | None => {
                    return Err(format!("expected config=, program=, first_pass=, timeout= or quiet, found {word:?}"));
                }
            }
        }
        Ok(options)
    }
}

fn absolute(name: &str, path: &str) -> Result<PathBuf, String> {
    let found = PathBuf::from(path);
    if found.is_absolute() { Ok(found) } else { Err(format!("{name}: expected an absolute path, found {path:?}")) }
}

fn timeout(seconds: &str) -> Result<Duration, String> {
    match seconds.parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        Ok(_) | Err(_) => Err(format!("timeout: expected seconds from 1 to 3600, such as 60, found {seconds:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_every_default() {
        assert_eq!(Options::read([]), Ok(Options::default()));
    }

    #[test]
    fn every_word_is_taken() {
        let words = ["config=/a b/x=y", "program=/p", "first_pass=use", "timeout=7", "quiet"];
        let options = Options {
            config: "/a b/x=y".into(),
            program: "/p".into(),
            first_pass: FirstPass::Use,
            timeout: Duration::from_secs(7),
            messages: Messages::Silent,
        };
        assert_eq!(Options::read(words), Ok(options));
        assert_eq!(Options::read(["first_pass=prompt"]).unwrap().first_pass, FirstPass::Prompt);
        assert_eq!(Options::read(["first_pass=use", "first_pass=none"]).unwrap().first_pass, FirstPass::None);
    }

    #[test]
    fn every_other_word_is_a_mistake() {
        let wrong = [
            "",
            "debug",
            "quiet=yes",
            "config",
            "config=",
            "config=plugin.ini",
            "program=./p",
            "first_pass=",
            "Quiet",
            "first_pass=try",
            "timeout=",
            "timeout=0",
            "timeout=3601",
            "timeout=-1",
            "timeout=1s",
            "timeout=1.5",
            "=",
        ];
        for word in wrong {
            let mistake = Options::read(["quiet", word]).expect_err(word);
            assert!(mistake.contains("expected") && mistake.contains("found"), "{mistake}");
        }
    }
}

//! What is wrong with a configuration, one line each: file, line, section, option, what was found, what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use super::reading::Reading;

/// One mistake.
#[derive(Clone, Debug)]
pub struct Mistake {
    text: String,
    is_forbidden: bool,
}

impl Mistake {
    /// A mistake about the whole file.
    pub fn of_file(path: &Path, text: impl fmt::Display) -> Self {
        Self { text: format!("{}: {text}", path.display()), is_forbidden: false }
    }

    /// A mistake at a line.
    pub fn of_line(path: &Path, line: usize, text: impl fmt::Display) -> Self {
        Self { text: format!("{}:{line}: {text}", path.display()), is_forbidden: false }
    }

    /// A mistake about an option; `line` is `None` where its default is used.
    pub fn of_option(path: &Path, line: Option<usize>, section: &str, option: &str, text: impl fmt::Display) -> Self {
        let text = format!("[{section}] {option}: {text}");
        match line {
            Some(line) => Self::of_line(path, line, text),
            None => Self::of_file(path, text),
        }
    }

    /// The same, which is no mistake where another user, such as root, runs the command.
    #[must_use]
    pub fn forbidden_if(self, is_forbidden: bool) -> Self {
        Self { is_forbidden, ..self }
    }

    /// Whether another user could, where this one may not.
    pub const fn is_forbidden(&self) -> bool {
        self.is_forbidden
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The mistakes in one file, in the order of its lines; and the warnings, which stop nobody.
#[derive(Clone, Debug)]
pub struct Mistakes {
    path: PathBuf,
    reading: Reading,
    found: Vec<(usize, Mistake)>,
    warnings: Vec<(usize, Mistake)>,
}

impl Mistakes {
    /// No mistakes yet in the file at `path`, which is read as `reading` says.
    pub fn new(path: &Path, reading: Reading) -> Self {
        Self { path: path.to_owned(), reading, found: Vec::new(), warnings: Vec::new() }
    }

    /// By whose rules the file is read.
    pub const fn reading(&self) -> Reading {
        self.reading
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether another user could use the file, where this one may not.
    pub fn are_forbidden(&self) -> bool {
        self.found.iter().any(|(_, mistake)| mistake.is_forbidden())
    }

    /// Notes a mistake at a line.
    pub fn at_line(&mut self, line: usize, text: impl fmt::Display) {
        self.found.push((line, Mistake::of_line(&self.path, line, text)));
    }

    /// Notes a mistake about the value of an option.
    pub fn at_option(&mut self, line: usize, section: &str, option: &str, text: impl fmt::Display) {
        self.found.push((line, Mistake::of_option(&self.path, Some(line), section, option, text)));
    }

    /// Notes what an SPS plugin passes over in silence: a mistake, but in its reading a warning.
    pub fn passed_over_at_line(&mut self, line: usize, text: impl fmt::Display) {
        match self.reading {
            Reading::Native => self.at_line(line, text),
            Reading::Sps => self.warn_at_line(line, text),
        }
    }

    /// The same about the value of an option.
    pub fn passed_over_at_option(&mut self, line: usize, section: &str, option: &str, text: impl fmt::Display) {
        match self.reading {
            Reading::Native => self.at_option(line, section, option, text),
            Reading::Sps => self.warn_at_option(line, section, option, text),
        }
    }

    /// Notes a warning at a line.
    pub fn warn_at_line(&mut self, line: usize, text: impl fmt::Display) {
        self.warnings.push((line, Mistake::of_line(&self.path, line, text)));
    }

    /// Notes a warning about the value of an option.
    pub fn warn_at_option(&mut self, line: usize, section: &str, option: &str, text: impl fmt::Display) {
        self.warnings.push((line, Mistake::of_option(&self.path, Some(line), section, option, text)));
    }

    /// The warnings, in the order of their lines.
    pub fn into_warnings(mut self) -> Vec<Mistake> {
        self.warnings.sort_by_key(|(line, _)| *line);
        self.warnings.into_iter().map(|(_, warning)| warning).collect()
    }
}

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Self {
        Self { path: PathBuf::new(), reading: Reading::Native, found: vec![(0, mistake)], warnings: Vec::new() }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<_> = self.found.iter().collect();
        sorted.sort_by_key(|(line, _)| *line);
        for (index, (_, mistake)) in sorted.into_iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

/// `; did you mean NAME?` where one of `known` is near to `found`, else nothing.
pub fn suggestion<'a>(found: &str, known: impl Iterator<Item = &'a str>, brackets: bool) -> String {
    let lower = found.to_lowercase();
    let nearest = known.map(|name| (strsim::jaro_winkler(&lower, name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, name)) if likeness > 0.75 && brackets => format!("; did you mean [{name}]?"),
        Some((likeness, name)) if likeness > 0.75 => format!("; did you mean {name}?"),
        Some(_) | None => String::new(),
    }
}

//! What an import reads beside the store: the source, a key, a list of names.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use crate::admin::AdminError;
use crate::admin::access::unreadable;
use crate::domain::foreign::Foreign;
use crate::domain::secret::Secret;
use crate::files::{self, Exposure};

/// The largest source that is read.
const LIMIT: u64 = 64 * 1024 * 1024;

/// The name that stands for standard input.
const STANDARD: &str = "-";

/// The text of the source in `file`, or on standard input where there is none or it is `-`. A file must be guarded as the
/// secrets in it are worth.
pub fn source(file: Option<&Path>) -> Result<Secret<String>, AdminError> {
    match file.filter(|path| path.as_os_str() != STANDARD) {
        None => read("standard input", io::stdin().lock()),
        Some(path) => {
            let (opened, _) = files::open(path, Exposure::Private).map_err(|error| unreadable(&error))?;
            read(&path.display().to_string(), opened)
        }
    }
}

/// The text of the key in `file`, or on standard input where it is `-`.
pub fn key(file: &Path, source: Option<&Path>) -> Result<Secret<String>, AdminError> {
    if file.as_os_str() != STANDARD {
        let text = files::read_text(file, Exposure::Private).map_err(|error| unreadable(&error))?;
        return Ok(Secret::new(text));
    }
    if source.is_none_or(|path| path.as_os_str() == STANDARD) {
        return Err(AdminError::Usage("key and source cannot both come from standard input; name a FILE".into()));
    }
    if io::stdin().is_terminal() {
        return Err(AdminError::Usage(
            "a key that is typed would be seen; give it through a pipe, or in a file".into(),
        ));
    }
    read("standard input", io::stdin().lock())
}

/// What users of a source are called here: lines `NAME THERE = NAME HERE`; nothing behind the `=` passes one over. The
/// last `=` of a line separates: names there may have some in them.
pub fn names(file: &Path) -> Result<BTreeMap<String, String>, AdminError> {
    let text = files::read_text(file, Exposure::Readable).map_err(|error| unreadable(&error))?;
    let mut names = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{}:{}", file.display(), index + 1);
        let Some((there, here)) = line.rsplit_once('=') else {
            return Err(AdminError::Data(format!(
                "{place}: expected NAME THERE = NAME HERE, found \"{}\"",
                Foreign(line)
            )));
        };
        if names.insert(there.trim().to_owned(), here.trim().to_owned()).is_some() {
            return Err(AdminError::Data(format!("{place}: \"{}\" is there twice", Foreign(there.trim()))));
        }
    }
    Ok(names)
}

fn read(place: &str, input: impl Read) -> Result<Secret<String>, AdminError> {
    let mut bytes = Vec::new();
    let read = input.take(LIMIT + 1).read_to_end(&mut bytes);
    // In custody before anything else happens to them.
    let bytes = Secret::new(bytes);
    read.map_err(|error| AdminError::Data(format!("{place}: {error}")))?;
    // Only its length is looked at, and whether it is text.
    let bytes = bytes.expose();
    if bytes.len() as u64 > LIMIT {
        return Err(AdminError::Data(format!("{place}: is larger than 64 MiB; import it in parts")));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| AdminError::Data(format!("{place}: is not UTF-8 text")))?;
    Ok(Secret::new(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()))
}

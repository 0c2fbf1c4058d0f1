//! Where an enrolment is shown: what the options mean together, and the files that hold secrets.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use super::args::{Form, OutputArgs};
use crate::admin::AdminError;
use crate::admin::access::{is_there, unwritable};
use crate::domain::secret::SecretBytes;
use crate::files;

/// What is shown where.
#[derive(Debug)]
pub struct Output {
    pub text: Text,
    pub picture: Option<(Picture, Place)>,
    pub page: Option<PathBuf>,
}

/// What standard output says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// The secret, for people.
    Secret(Qr),
    Json(Qr),
    /// In which files the secret is; not the secret.
    Files,
    /// Nothing: something else is written there.
    Nothing,
}

/// Whether the QR code is part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qr {
    Draw,
    Leave,
}

/// A form of the QR code as a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    Svg,
    Png,
}

/// Where a picture goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    StandardOutput,
    File(PathBuf),
}

impl Output {
    /// What `args` mean. Files that are to be written are not there yet when this returns.
    ///
    /// # Errors
    /// Where they contradict each other, or a file is there already.
    pub fn of(args: &OutputArgs) -> Result<Self, AdminError> {
        let OutputArgs { qr, qr_file, page, json } = args;
        let usage = |text: &str| Err(AdminError::Usage(text.into()));
        let picture = match qr {
            Some(Form::Svg) => Some(Picture::Svg),
            Some(Form::Png) => Some(Picture::Png),
            Some(Form::Terminal | Form::None) | None => None,
        };
        let picture = match (picture, qr_file) {
            (Some(_), None) => return usage("--qr svg and png need --qr-file FILE; - is standard output"),
            (None, Some(_)) => return usage("--qr-file goes with --qr svg or png"),
            (Some(picture), Some(path)) if path == Path::new("-") => Some((picture, Place::StandardOutput)),
            (Some(picture), Some(path)) => Some((picture, Place::File(path.clone()))),
            (None, None) => None,
        };
        let text = match (&picture, json, qr, page) {
            (Some((_, Place::StandardOutput)), true, ..) => {
                return usage("--json and --qr-file - both want standard output; name a file");
            }
            (Some((Picture::Png, Place::StandardOutput)), ..) if io::stdout().is_terminal() => {
                return usage("a PNG is nothing for a terminal; name a file");
            }
            (Some((_, Place::StandardOutput)), ..) => Text::Nothing,
            (_, true, Some(Form::None), _) => Text::Json(Qr::Leave),
            (_, true, ..) => Text::Json(Qr::Draw),
            (_, false, Some(Form::Terminal), _) | (_, false, None, None) => Text::Secret(Qr::Draw),
            (_, false, Some(Form::None), _) => Text::Secret(Qr::Leave),
            (_, false, Some(Form::Svg | Form::Png), _) | (_, false, None, Some(_)) => Text::Files,
        };
        let output = Self { text, picture, page: page.clone() };
        for path in output.files() {
            if std::fs::symlink_metadata(path).is_ok() {
                return Err(is_there(path));
            }
        }
        Ok(output)
    }

    /// The files that are to be written.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let picture = self.picture.as_ref().and_then(|(_, place)| match place {
            Place::StandardOutput => None,
            Place::File(path) => Some(path),
        });
        picture.into_iter().chain(&self.page).map(PathBuf::as_path)
    }
}

/// Writes new files that only their owner may read, all of them or none, each whole before it has its name.
pub fn write_all(files: &[(&Path, SecretBytes)]) -> Result<(), AdminError> {
    for (index, (path, content)) in files.iter().enumerate() {
        // The file is what was asked for; nobody else may read it.
        if let Err(error) = files::create_private(path, content.expose()) {
            for (written, _) in files.iter().take(index) {
                // What cannot be removed holds the secret of an enrolment that is cancelled.
                let _ = std::fs::remove_file(written);
            }
            return Err(unwritable(path, error));
        }
    }
    Ok(())
}

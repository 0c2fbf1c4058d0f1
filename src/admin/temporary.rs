//! A place for what is needed only while a command runs.

use std::path::{Path, PathBuf};

use super::{AdminError, desk};
use crate::files;

/// A directory that goes when this does.
pub struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    /// A new one for the command `name`, which nobody else may enter.
    pub fn new(name: &str) -> Result<Self, AdminError> {
        let path = std::env::temp_dir().join(format!("countersign-{name}-{}", desk::random_text::<5>()?));
        files::create_private_directory(&path).map_err(|error| AdminError::Failed(error.to_string()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans temporary files; it holds a key that opens nothing else.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

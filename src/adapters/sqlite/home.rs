//! Whether the file that was opened is still the one at its place: a file that was removed or replaced under a running
//! program goes on taking writes that nobody will ever find again.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use crate::ports::store::StoreError;

use super::fault::unavailable;

/// The opened file: its place, device and inode.
#[derive(Debug, Clone)]
pub(super) struct Home {
    path: PathBuf,
    file: (u64, u64),
}

impl Home {
    /// # Errors
    /// `Unavailable` when there is no file.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let about = path.metadata();
        let about = about.map_err(|error| unavailable(format!("{}: {error}", path.display())))?;
        Ok(Self { file: identity(&about), path })
    }

    /// # Errors
    /// `Unavailable` when another file, or none, is at the place.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let there = self.path.metadata().map(|about| identity(&about)).ok();
        if there == Some(self.file) {
            return Ok(());
        }
        let how = if there.is_some() { "replaced" } else { "removed" };
        Err(unavailable(format!(
            "{} was {how} while it was in use: put it back, or end every program that uses it and begin anew",
            self.path.display()
        )))
    }
}

#[cfg(unix)]
fn identity(about: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (about.dev(), about.ino())
}

/// Elsewhere an open file cannot be removed.
#[cfg(not(unix))]
fn identity(_about: &Metadata) -> (u64, u64) {
    (0, 0)
}

//! Files that hold secrets: who may read them, and who may not.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// The largest file that is read: a configuration of a few lines, not somebody's video.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Who apart from the owner may have access to a file with secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Nobody.
    OwnerOnly,
    /// The group may read, as for cosfs's `/etc/passwd-cosfs` (`cos-api.md` 7.5).
    OwnerAndGroup,
}

/// The text of a file, and who may get at it.
#[derive(PartialEq, Eq)]
pub(super) struct PrivateFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    mode: u32,
    owner: u32,
}

/// Without the text.
impl std::fmt::Debug for PrivateFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateFile({}, mode {:o})", self.path.display(), self.mode)
    }
}

/// Reads a file if it is there.
///
/// The mode is asked of the open file, so that what [`PrivateFile::allow_only`] checks is what was read.
pub(super) fn read_private(path: &Path) -> Result<Option<PrivateFile>, ConfigError> {
    let failed = |error: std::io::Error| ConfigError::file(path, format!("cannot be read: {error}"));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(ConfigError::file(path, "is not a regular file"));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(PrivateFile { path: path.to_owned(), text, mode: metadata.mode() & 0o777, owner: metadata.uid() }))
}

impl PrivateFile {
    /// A file of that text that only its owner can read.
    #[cfg(feature = "testing")]
    pub(super) fn of(path: &Path, text: &str) -> PrivateFile {
        PrivateFile { path: path.to_owned(), text: text.to_owned(), mode: 0o600, owner: 0 }
    }

    /// Refuses the file if more people can get at it than `readers`.
    pub(super) fn allow_only(&self, readers: Readers) -> Result<(), ConfigError> {
        check_mode(&self.path, self.mode, readers)
    }

    /// Refuses the file if anybody but root or this user can change what is in it.
    pub(super) fn allow_only_owner_to_write(&self) -> Result<(), ConfigError> {
        let is_trusted = self.owner == 0 || self.owner == rustix::process::geteuid().as_raw();
        if is_trusted && self.mode & 0o022 == 0 {
            return Ok(());
        }
        Err(ConfigError::Writable { path: self.path.clone(), mode: self.mode })
    }

    /// Whether others than the owner can get at it.
    pub(super) fn is_exposed(&self) -> bool {
        self.mode & 0o077 != 0
    }
}

fn check_mode(path: &Path, mode: u32, readers: Readers) -> Result<(), ConfigError> {
    let forbidden = match readers {
        Readers::OwnerOnly => 0o177,
        Readers::OwnerAndGroup => 0o137,
    };
    if mode & forbidden == 0 { Ok(()) } else { Err(ConfigError::Exposed { path: path.to_owned(), mode }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_others_can_get_at_is_refused() {
        let path = Path::new("/somewhere/config.toml");
        let table = [
            (0o600, Readers::OwnerOnly, true),
            (0o400, Readers::OwnerOnly, true),
            (0o640, Readers::OwnerOnly, false),
            (0o604, Readers::OwnerOnly, false),
            (0o602, Readers::OwnerOnly, false),
            (0o644, Readers::OwnerOnly, false),
            (0o640, Readers::OwnerAndGroup, true),
            (0o660, Readers::OwnerAndGroup, false),
            (0o644, Readers::OwnerAndGroup, false),
        ];
        for (mode, readers, accepted) in table {
            assert_eq!(check_mode(path, mode, readers).is_ok(), accepted, "{mode:o} {readers:?}");
        }
    }

    #[test]
    fn the_refusal_says_what_to_do() {
        let error = check_mode(Path::new("/home/a/config.toml"), 0o644, Readers::OwnerOnly).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/home/a/config.toml holds secrets but others can read it (mode 0644); run: chmod 600 /home/a/config.toml"
        );
    }

    #[test]
    fn a_missing_file_is_no_error_and_a_directory_is_one() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read_private(&directory.path().join("none")).unwrap(), None);
        assert!(read_private(directory.path()).is_err());
    }
}

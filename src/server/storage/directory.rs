//! The directory of a service: who may use it, what is in it, and whether it is whole.
//!
//! A directory is served only if all of it is there. An index that is missing, damaged or older than the journal is
//! never taken for an empty one, because whatever it does not name would be removed as garbage.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::StorageError;
use super::error::Unusable;
use super::journal::JOURNAL_FILE;

/// The file of the index.
const INDEX_FILE: &str = "index.redb";
/// Where an index is made before it takes its place, so that half of one is never found there.
const NEW_INDEX_FILE: &str = "index.redb.new";
/// The directory of the segments.
pub(super) const SEGMENTS_DIRECTORY: &str = "segments";
/// Where segments go that nothing names, if it is not certain that they are garbage.
const UNNAMED_DIRECTORY: &str = "unnamed-segments";
/// Present exactly while the service is closed in order; without it, the next start looks for garbage.
pub(super) const CLEAN_FILE: &str = "closed-clean";
/// Locked by the service that uses the directory.
const LOCK_FILE: &str = "lock";

/// What only a service leaves in its directory.
const OWN: [&str; 5] = [INDEX_FILE, SEGMENTS_DIRECTORY, JOURNAL_FILE, CLEAN_FILE, LOCK_FILE];
/// What may be in a directory that nothing was stored in yet: the key, and what every disk has at its top.
const HARMLESS: [&str; 2] = ["credentials", "lost+found"];

/// A directory that is this service's alone for as long as this lives.
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Takes a directory, which is made if it is missing. `others` are files that may be in a new one.
    pub(super) fn take(path: &Path, others: &[PathBuf]) -> Result<Directory, StorageError> {
        let made = make(path)?;
        if !made {
            check_entries(path, others)?;
        }
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join(LOCK_FILE));
        let lock = lock.map_err(Unusable::NotWritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(Unusable::Used.into()),
            Err(fs::TryLockError::Error(error)) => return Err(StorageError::io("lock the directory", error)),
        }
        keep_to_the_owner(path);
        Ok(Directory { path: path.to_owned(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn index(&self) -> PathBuf {
        self.path.join(INDEX_FILE)
    }

    pub(super) fn new_index(&self) -> PathBuf {
        self.path.join(NEW_INDEX_FILE)
    }

    pub(super) fn segments(&self) -> PathBuf {
        self.path.join(SEGMENTS_DIRECTORY)
    }

    pub(super) fn unnamed_segments(&self) -> PathBuf {
        self.path.join(UNNAMED_DIRECTORY)
    }

    pub(super) fn clean_mark(&self) -> PathBuf {
        self.path.join(CLEAN_FILE)
    }

    pub(super) fn has_journal(&self) -> bool {
        self.path.join(JOURNAL_FILE).exists()
    }

    /// Whether there is an index; an error if there is none although something was stored.
    pub(super) fn has_index(&self) -> Result<bool, StorageError> {
        let what = match fs::metadata(self.index()) {
            Ok(found) if found.len() > 0 => return Ok(true),
            Ok(_) => "empty",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "missing",
            Err(error) => return Err(StorageError::io("look for the index", error)),
        };
        // The first start makes the index before all of these.
        if what == "empty" || self.has_journal() || self.segments().exists() || self.clean_mark().exists() {
            return Err(Unusable::IndexGone { index: self.index(), what, journal: self.has_journal() }.into());
        }
        Ok(false)
    }

    /// Makes the names in the directory durable.
    pub(super) fn sync(&self) -> Result<(), StorageError> {
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|error| StorageError::io("write the directory of the service", error))
    }
}

/// Makes a directory that nobody else can look into; false if it is there.
fn make(path: &Path) -> Result<bool, StorageError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(false),
        Ok(_) => return Err(Unusable::NotDirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(Unusable::NotDirectory.into()),
        Err(error) => return Err(Unusable::NotWritable(error).into()),
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Unusable::NotWritable)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Unusable::NotWritable(error).into()),
    }
}

/// Refuses a directory that holds something else than a service's data.
fn check_entries(path: &Path, others: &[PathBuf]) -> Result<(), StorageError> {
    let mut foreign = None;
    for entry in fs::read_dir(path).map_err(Unusable::NotWritable)? {
        let entry = entry.map_err(Unusable::NotWritable)?;
        let name = entry.file_name();
        let is = |known: &&str| name.to_str() == Some(known);
        if OWN.iter().any(&is) {
            return Ok(());
        }
        let is_other = others.iter().any(|other| same_file(other, &entry.path()));
        if !HARMLESS.iter().any(is) && !is_other {
            foreign = Some(name.to_string_lossy().into_owned());
        }
    }
    match foreign {
        Some(entry) => Err(Unusable::Foreign { entry }.into()),
        None => Ok(()),
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    identity(one).is_some_and(|one| Some(one) == identity(other))
}

/// Takes what is stored from the eyes of other users. What is in a directory that nobody enters is safe whatever its
/// own mode is.
fn keep_to_the_owner(path: &Path) {
    let closed = fs::metadata(path).and_then(|found| {
        if found.permissions().mode() & 0o7777 == 0o700 {
            return Ok(());
        }
        fs::set_permissions(path, Permissions::from_mode(0o700))
    });
    if let Err(error) = closed {
        log::warn!("{} could not be closed to other users: {error}", path.display());
    }
}

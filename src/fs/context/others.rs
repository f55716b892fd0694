//! Other mounts of the same bucket on this machine: they tell each other which directories they have changed, so that what one
//! has closed the other sees when it opens it, without asking the service.
//!
//! A file that they share holds a row of stamps for each of a few thousand groups of directories, in which every mount has
//! a place of its own. Who changes something puts a new stamp there before its caller is answered; who is about to
//! believe what it knows looks whether the others' stamps are still those that it saw last. Nobody ever waits for
//! another, which may have been stopped.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{LockKind, Range, try_lock};
use crate::object::{Crc64, ObjectKey};
use crate::store::ChangeObserver;

/// Groups of directories. Two that share one are looked at again more often than they need to be, and that is all.
const GROUPS: usize = 4096;

/// Mounts of one bucket by one user on one machine, at most.
const PLACES: usize = 64;

/// Bytes of a stamp.
const STAMP_BYTES: usize = 8;

/// Bytes of a row.
const ROW_BYTES: usize = PLACES * STAMP_BYTES;

/// The row with the stamp of the mount that came last, behind those of the groups.
const NEWCOMER: usize = GROUPS;

/// How often a mount tries to join while the last of those before it takes the file away.
const JOIN_ATTEMPTS: usize = 100;

/// What a mount and the others on this machine tell each other.
pub struct Others {
    /// One byte of it, the mount's place, is locked for as long as the mount lives.
    stamps: File,
    path: PathBuf,
    place: usize,
    /// Std mutex, 8 in the order of locks: held for a read of a row in a file in memory.
    seen: Mutex<Vec<Seen>>,
    /// Its own stamp as a newcomer.
    own: u64,
    /// Somebody else is or was there.
    is_accompanied: AtomicBool,
}

#[derive(Clone, Copy)]
struct Seen {
    /// Of the others' stamps.
    digest: Crc64,
    /// How often it was another one than before.
    changes: u64,
}

impl Others {
    /// What the name of the shared file ends in. Another one than that of versions which laid it out in another way.
    pub const EXTENSION: &str = "stamps";

    /// Joins those who share the file at `path`, in a directory that belongs to the user alone.
    ///
    /// # Errors
    /// Where the file cannot be made, opened or locked, and where there are too many of them.
    pub fn join(path: &Path) -> io::Result<Arc<Others>> {
        let path = path.with_extension(Others::EXTENSION);
        for _ in 0..JOIN_ATTEMPTS {
            let mut options = OpenOptions::new();
            let stamps = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            let place = (0..PLACES).find_map(|place| match try_lock(&stamps, LockKind::Exclusive, place_of(place)) {
                Ok(true) => Some(Ok(place)),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            });
            // Whoever was the last has removed the file since it was opened.
            if stamps.metadata()?.nlink() == 0 {
                continue;
            }
            if let Some(place) = place {
                return Others::at(stamps, path, place?).map(Arc::new);
            }
        }
        Err(io::Error::other(format!("there are {PLACES} of them already")))
    }

    fn at(stamps: File, path: PathBuf, place: usize) -> io::Result<Others> {
        stamps.set_len(((GROUPS + 1) * ROW_BYTES) as u64)?;
        let own = new_stamp();
        stamps.write_all_at(&own.to_le_bytes(), (NEWCOMER * ROW_BYTES) as u64)?;
        let mut others =
            Others { stamps, path, place, seen: Mutex::default(), own, is_accompanied: AtomicBool::new(false) };
        let seen: io::Result<Vec<Seen>> =
            (0..GROUPS).map(|group| Ok(Seen { digest: others.digest(group)?, changes: 0 })).collect();
        others.seen = Mutex::new(seen?);
        // Of two who come at once, at least one sees the other: each has its place before it looks.
        let is_alone = others.has_all_places()?;
        others.is_accompanied = AtomicBool::new(!is_alone);
        Ok(others)
    }

    /// Locks all places for a moment. Returns whether nobody else has one.
    fn has_all_places(&self) -> io::Result<bool> {
        let is_alone = lock_all_places(&self.stamps)?;
        if is_alone {
            let (before, behind) = (self.place as u64, self.place as u64 + 1);
            try_lock(&self.stamps, LockKind::None, Range { start: 0, end: before })?;
            try_lock(&self.stamps, LockKind::None, Range { start: behind, end: PLACES as u64 })?;
        }
        Ok(is_alone)
    }

    /// The directory of the files that stand for those which somebody locks.
    pub(crate) fn locks_directory(&self) -> PathBuf {
        locks_beside(&self.path)
    }

    /// Removes the file at `path`, which ends in [`Others::EXTENSION`], if no mount uses it.
    pub fn remove_if_unused(path: &Path) {
        let Ok(stamps) = OpenOptions::new().read(true).write(true).open(path) else { return };
        if lock_all_places(&stamps).unwrap_or(false) {
            remove(path);
        }
    }

    /// Whether another mount is there, or was since this one joined.
    pub(crate) fn are_there(&self) -> bool {
        if self.is_accompanied.load(Ordering::Relaxed) {
            return true;
        }
        let somebody_came = self.newcomer().is_ok_and(|newcomer| newcomer != self.own);
        self.is_accompanied.fetch_or(somebody_came, Ordering::Relaxed) || somebody_came
    }

    fn newcomer(&self) -> io::Result<u64> {
        let mut bytes = [0; STAMP_BYTES];
        self.stamps.read_exact_at(&mut bytes, (NEWCOMER * ROW_BYTES) as u64)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// How often others have changed the directories in the group of this one, as far as this mount has looked.
    pub(crate) fn changes(&self, directory: &str) -> u64 {
        let group = group_of(directory);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Where it cannot be read, everything may have changed.
        let digest = self.digest(group).unwrap_or_else(|_| Crc64(new_stamp()));
        seen[group].notice(digest);
        seen[group].changes
    }

    /// Of the others' stamps in a group.
    fn digest(&self, group: usize) -> io::Result<Crc64> {
        let mut row = [0; ROW_BYTES];
        self.stamps.read_exact_at(&mut row, (group * ROW_BYTES) as u64)?;
        row[self.place * STAMP_BYTES..(self.place + 1) * STAMP_BYTES].fill(0);
        Ok(Crc64::of(&row))
    }

    /// This mount has changed what is in a directory.
    fn tell(&self, directory: &str) {
        let at = group_of(directory) * ROW_BYTES + self.place * STAMP_BYTES;
        if let Err(error) = self.stamps.write_all_at(&new_stamp().to_le_bytes(), at as u64) {
            log::warn!("other mounts of this machine could not be told of a change: {error}");
        }
    }
}

impl ChangeObserver for Others {
    fn object_changed(&self, key: &ObjectKey) {
        let path = key.as_str();
        let name = path.strip_suffix('/').unwrap_or(path);
        let parent = name.rfind('/').map_or("", |end| &name[..=end]);
        self.tell(parent);
        if path.ends_with('/') {
            self.tell(path);
        }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        // The last one takes the file away. Who comes meanwhile finds no place in it, or no name, and begins another.
        if lock_all_places(&self.stamps).unwrap_or(false) {
            remove(&self.path);
        }
    }
}

impl Seen {
    fn notice(&mut self, digest: Crc64) {
        if self.digest != digest {
            (self.digest, self.changes) = (digest, self.changes + 1);
        }
    }
}

/// Whether nobody else has a place; whoever comes finds none then, as long as the file is open.
fn lock_all_places(stamps: &File) -> io::Result<bool> {
    try_lock(stamps, LockKind::Exclusive, Range { start: 0, end: PLACES as u64 })
}

fn locks_beside(path: &Path) -> PathBuf {
    path.with_extension("locks")
}

/// Removes what mounts have shared that are gone.
fn remove(path: &Path) {
    let _ = std::fs::remove_dir_all(locks_beside(path));
    let _ = std::fs::remove_file(path);
}

fn place_of(place: usize) -> Range {
    Range { start: place as u64, end: place as u64 + 1 }
}

fn group_of(directory: &str) -> usize {
    // The same for every version of the program.
    (Crc64::of(directory.as_bytes()).0 % GROUPS as u64) as usize
}

fn new_stamp() -> u64 {
    fastrand::u64(1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_changes_are_noticed_and_ones_own_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bucket");
        let first = Others::join(&path).unwrap();
        assert!(!first.are_there());
        let second = Others::join(&path).unwrap();
        assert!(first.are_there() && second.are_there());
        let key = ObjectKey::new("d/a").unwrap();
        let counts = || (first.changes("d/"), second.changes("d/"));
        assert_eq!(counts(), (0, 0));
        first.object_changed(&key);
        first.object_changed(&key);
        assert_eq!(counts(), (0, 1));
        second.object_changed(&key);
        first.object_changed(&key);
        assert_eq!(counts(), (1, 2));
        second.object_changed(&ObjectKey::new("d/sub/").unwrap());
        assert_eq!((first.changes("d/"), first.changes("d/sub/"), first.changes("e/")), (2, 1, 0));
    }

    #[test]
    fn who_joins_when_all_have_gone_is_alone_and_the_last_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bucket");
        let (first, second) = (Others::join(&path).unwrap(), Others::join(&path).unwrap());
        drop(first);
        assert_eq!(directory.path().read_dir().unwrap().count(), 1);
        drop(second);
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
        assert!(!Others::join(&path).unwrap().are_there());
    }

    /// As if the one that holds every lock it ever takes had been stopped.
    #[test]
    fn nobody_waits_for_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bucket");
        let (first, second) = (Others::join(&path).unwrap(), Others::join(&path).unwrap());
        for entry in directory.path().read_dir().unwrap() {
            let stopped = File::options().write(true).open(entry.unwrap().path()).unwrap();
            stopped.lock().unwrap();
            std::mem::forget(stopped);
        }
        first.object_changed(&ObjectKey::new("d/a").unwrap());
        assert_eq!((first.changes("d/"), second.changes("d/")), (0, 1));
        assert!(Others::join(&path).is_ok());
    }
}

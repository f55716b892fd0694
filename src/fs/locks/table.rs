//! Locks of files, by `flock` and by `fcntl`, between all mounts of a bucket by one user on this machine.
//!
//! Who locks a file locks a file of the machine that stands for it, in a directory that the mounts share, by an opening of
//! his own. So the kernel decides who may, and a mount that is killed leaves no lock behind. Nobody waits in the kernel:
//! who has to wait tries again when somebody of this mount unlocks, and from time to time.
//!
//! Whoever gets a lock sees the file as those have left it who had it before: what he wrote is published before he
//! unlocks, and what this mount knows of the file is asked for anew after he locks, if another mount has changed anything
//! nearby.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::Notify;

use crate::fs::context::{HandleId, LockKind, Others, Range};
use crate::fs::names::Ino;
use crate::object::{Crc64, ObjectKey};

/// How often somebody who waits looks whether another mount has unlocked. A look costs some microseconds.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Which of the two families a lock is of. They do not see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockFamily {
    /// `flock`: of the whole file, held by an opening.
    Flock,
    /// `fcntl` and `lockf`: of ranges, held by a process or by an opening.
    Record,
}

/// A lock that somebody wants, or wants to be rid of.
#[derive(Clone, Copy, Debug)]
pub struct LockRequest {
    /// Which of the families it is of.
    pub family: LockFamily,
    /// Who holds it: the kernel's number of a process or an opening.
    pub owner: u64,
    /// The handle by which it is asked for.
    pub handle: HandleId,
    /// The process that asks.
    pub pid: u32,
    /// How it locks.
    pub kind: LockKind,
    /// The first offset.
    pub start: u64,
    /// Behind the last offset.
    pub end: u64,
}

/// A lock that is in the way of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockInTheWay {
    /// How it locks.
    pub kind: LockKind,
    /// The first offset.
    pub start: u64,
    /// Behind the last offset.
    pub end: u64,
    /// The process that holds it; 0 if it holds it by another mount.
    pub pid: u32,
}

/// The locks that are held by this mount.
pub(crate) struct Locks {
    directory: PathBuf,
    /// Std mutex, 7 in the order of locks: a few map operations, and calls of the kernel on files in memory that never wait.
    files: Mutex<HashMap<(Ino, LockFamily), LockedFile>>,
    /// How many `files` there are, so that a close of a file that nobody ever locked asks for nothing more.
    count: AtomicUsize,
    pub(crate) unlocked: Notify,
    /// How often others had changed what is around a file when it was last renewed. Std mutex, 7 in the order of locks: map
    /// operations only.
    looked_at: Mutex<LruCache<Ino, u64>>,
}

/// Files of which it is remembered what was around them when they were last renewed.
const LOOKED_AT_MAX: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// A file that somebody has locked or waits for.
struct LockedFile {
    /// What stands for it. Is renamed with it.
    path: PathBuf,
    owners: HashMap<u64, Owned>,
    waiting: HashMap<u64, (Range, LockKind)>,
}

/// What one holds of a file.
struct Owned {
    file: File,
    handle: HandleId,
    pid: u32,
    ranges: Vec<(Range, LockKind)>,
}

impl LockRequest {
    pub(crate) fn range(&self) -> Range {
        Range { start: self.start, end: self.end }
    }
}

impl Owned {
    /// Notes that a range is locked otherwise than before.
    pub(crate) fn note(&mut self, kind: LockKind, range: Range) {
        let rest = |(held, kind): (Range, LockKind)| {
            let before = Range { start: held.start, end: held.end.min(range.start) };
            let behind = Range { start: held.start.max(range.end), end: held.end };
            [before, behind].into_iter().filter(|part| part.start < part.end).map(move |part| (part, kind))
        };
        self.ranges = std::mem::take(&mut self.ranges).into_iter().flat_map(rest).collect();
        if kind != LockKind::None {
            self.ranges.push((range, kind));
        }
    }

    pub(crate) fn overlaps(&self, range: Range) -> bool {
        self.ranges.iter().any(|(held, _)| held.start < range.end && range.start < held.end)
    }

    /// Whether somebody else who wants to lock a range has to wait.
    pub(crate) fn blocks(&self, (range, kind): (Range, LockKind)) -> bool {
        let is_in_the_way = |held: LockKind| held == LockKind::Exclusive || kind == LockKind::Exclusive;
        self.ranges.iter().any(|(held, how)| is_in_the_way(*how) && held.start < range.end && range.start < held.end)
    }
}

impl Locks {
    pub(crate) fn new(others: &Others) -> Locks {
        let (directory, files) = (others.locks_directory(), Mutex::default());
        let looked_at = Mutex::new(LruCache::new(LOOKED_AT_MAX));
        Locks { directory, files, count: AtomicUsize::new(0), unlocked: Notify::new(), looked_at }
    }

    pub(crate) fn lock_looked_at(&self) -> MutexGuard<'_, LruCache<Ino, u64>> {
        self.looked_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Ino, LockFamily), LockedFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file that stands for the object under `key`; for one that has lost its name, one of this mount's own.
    pub(crate) fn path_for(&self, key: Option<&ObjectKey>, ino: Ino, family: LockFamily) -> PathBuf {
        let name = key.map_or_else(
            || format!("{}-{}", std::process::id(), ino.0),
            |key| format!("{:016x}", Crc64::of(key.as_str().as_bytes()).0),
        );
        let family = match family {
            LockFamily::Flock => "flock",
            LockFamily::Record => "fcntl",
        };
        self.directory.join(format!("{name}.{family}"))
    }

    pub(crate) fn open(path: &PathBuf) -> io::Result<File> {
        let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        open().or_else(|error| {
            let directory = path.parent().filter(|_| error.kind() == io::ErrorKind::NotFound).ok_or(error)?;
            std::fs::create_dir_all(directory)?;
            open()
        })
    }

    /// Locks if that can be done without waiting. Returns whether it could; if not, whoever waits is noted.
    pub(crate) fn try_lock(&self, ino: Ino, key: Option<&ObjectKey>, wanted: &LockRequest) -> io::Result<bool> {
        let mut files = self.lock();
        let path = self.path_for(key, ino, wanted.family);
        let empty = || LockedFile { path, owners: HashMap::new(), waiting: HashMap::new() };
        let file = files.entry((ino, wanted.family)).or_insert_with(empty);
        let locked = file.try_lock(wanted);
        if matches!(locked, Ok(false)) {
            file.waiting.insert(wanted.owner, (wanted.range(), wanted.kind));
        } else {
            file.waiting.remove(&wanted.owner);
        }
        self.clean(&mut files, ino, wanted.family);
        drop(files);
        if matches!(locked, Ok(true)) && wanted.kind != LockKind::Exclusive {
            // What was locked alone may be so no longer.
            self.unlocked.notify_waiters();
        }
        locked
    }

    /// Whether one that waits does so for somebody who waits for him.
    pub(crate) fn is_deadlocked(&self, ino: Ino, wanted: &LockRequest) -> bool {
        let files = self.lock();
        let holders_for = |ino: Ino, owner: u64, of: (Range, LockKind)| {
            let file = files.get(&(ino, wanted.family));
            let owners = file.into_iter().flat_map(|file| &file.owners);
            owners.filter(move |(other, owned)| **other != owner && owned.blocks(of)).map(|(other, _)| *other)
        };
        let mut reached: Vec<u64> = holders_for(ino, wanted.owner, (wanted.range(), wanted.kind)).collect();
        let mut next = 0;
        while let Some(&owner) = reached.get(next) {
            if owner == wanted.owner {
                return true;
            }
            next += 1;
            let waits = files.iter().filter(|((_, family), _)| *family == wanted.family);
            for ((ino, _), file) in waits {
                let Some(of) = file.waiting.get(&owner) else { continue };
                let more: Vec<u64> = holders_for(*ino, owner, *of).filter(|more| !reached.contains(more)).collect();
                reached.extend(more);
            }
        }
        false
    }

    pub(crate) fn stop_waiting(&self, ino: Ino, wanted: &LockRequest) {
        let mut files = self.lock();
        if let Some(file) = files.get_mut(&(ino, wanted.family)) {
            file.waiting.remove(&wanted.owner);
        }
        self.clean(&mut files, ino, wanted.family);
    }

    /// Takes all locks away from those whom `is_gone` names.
    pub(crate) fn drop_owners(&self, ino: Ino, family: LockFamily, is_gone: impl Fn(u64, HandleId) -> bool) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut files = self.lock();
        if let Some(file) = files.get_mut(&(ino, family)) {
            file.owners.retain(|owner, owned| !is_gone(*owner, owned.handle));
        }
        self.clean(&mut files, ino, family);
        drop(files);
        self.unlocked.notify_waiters();
    }

    /// Forgets a file that nobody holds or waits for.
    fn clean(&self, files: &mut HashMap<(Ino, LockFamily), LockedFile>, ino: Ino, family: LockFamily) {
        if let Entry::Occupied(file) = files.entry((ino, family))
            && file.get().owners.is_empty()
            && file.get().waiting.is_empty()
        {
            let path = file.remove().path;
            if path == self.path_for(None, ino, family) {
                // Nobody else comes to what has no name.
                let _ = std::fs::remove_file(path);
            }
        }
        self.count.store(files.len(), Ordering::Release);
    }

    /// Whether an owner has all of what he wants, be it in another way.
    pub(crate) fn has_all(&self, ino: Ino, wanted: &LockRequest) -> bool {
        let files = self.lock();
        let owned = files.get(&(ino, wanted.family)).and_then(|file| file.owners.get(&wanted.owner));
        let mut held: Vec<Range> = owned.iter().flat_map(|owned| &owned.ranges).map(|(range, _)| *range).collect();
        held.sort_by_key(|range| range.start);
        let reached = |reached: u64, held: Range| if held.start <= reached { reached.max(held.end) } else { reached };
        held.into_iter().fold(wanted.start, reached) >= wanted.end
    }

    /// The files that somebody has locked or waits for.
    pub(crate) fn inodes(&self) -> Vec<Ino> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        self.lock().keys().map(|(ino, _)| *ino).collect()
    }

    /// Renames what stands for a file that is under `key` now, or nowhere.
    pub(crate) fn follow(&self, ino: Ino, key: Option<&ObjectKey>) {
        let mut files = self.lock();
        for family in [LockFamily::Flock, LockFamily::Record] {
            let path = self.path_for(key, ino, family);
            let Some(file) = files.get_mut(&(ino, family)).filter(|file| file.path != path) else { continue };
            match std::fs::rename(&file.path, &path) {
                Ok(()) => file.path = path,
                Err(error) => log::warn!("locks of a file that was renamed hold in this mount alone: {error}"),
            }
        }
    }

    pub(crate) fn in_the_way(
        &self,
        ino: Ino,
        key: Option<&ObjectKey>,
        of: &LockRequest,
    ) -> io::Result<Option<LockInTheWay>> {
        let files = self.lock();
        let file = files.get(&(ino, of.family));
        let path = file.map_or_else(|| self.path_for(key, ino, of.family), |file| file.path.clone());
        let own = file.and_then(|file| file.owners.get(&of.owner));
        let found = match own {
            Some(own) => crate::fs::context::byte_locks::conflict(&own.file, of.kind, of.range())?,
            None => crate::fs::context::byte_locks::conflict(&Locks::open(&path)?, of.kind, of.range())?,
        };
        Ok(found.map(|(kind, range)| {
            let others = file.into_iter().flat_map(|file| &file.owners).filter(|(owner, _)| **owner != of.owner);
            let holder = others.map(|(_, owned)| owned).find(|owned| owned.overlaps(range));
            LockInTheWay { kind, start: range.start, end: range.end, pid: holder.map_or(0, |holder| holder.pid) }
        }))
    }
}

impl LockedFile {
    pub(crate) fn try_lock(&mut self, wanted: &LockRequest) -> io::Result<bool> {
        if let Some(owned) = self.owners.get_mut(&wanted.owner) {
            let locked = crate::fs::context::byte_locks::try_lock(&owned.file, wanted.kind, wanted.range())?;
            if locked {
                owned.note(wanted.kind, wanted.range());
                owned.handle = wanted.handle;
            }
            if owned.ranges.is_empty() {
                self.owners.remove(&wanted.owner);
            }
            return Ok(locked);
        }
        if wanted.kind == LockKind::None {
            return Ok(true);
        }
        let file = Locks::open(&self.path)?;
        let locked = crate::fs::context::byte_locks::try_lock(&file, wanted.kind, wanted.range())?;
        if locked {
            let ranges = vec![(wanted.range(), wanted.kind)];
            self.owners.insert(wanted.owner, Owned { file, handle: wanted.handle, pid: wanted.pid, ranges });
        }
        Ok(locked)
    }
}

/// Whoever stops waiting is not noted as one who waits any more.
pub(crate) struct Waiting<'a> {
    pub(crate) locks: &'a Locks,
    pub(crate) ino: Ino,
    pub(crate) wanted: LockRequest,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.locks.stop_waiting(self.ino, &self.wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(owner: u64, kind: LockKind, start: u64, end: u64) -> LockRequest {
        let (family, handle) = (LockFamily::Record, HandleId(owner));
        LockRequest { family, owner, handle, pid: owner as u32, kind, start, end }
    }

    fn mounts() -> (tempfile::TempDir, Locks, Locks) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bucket");
        let [first, second] = [(), ()].map(|()| Locks::new(&Others::join(&path).unwrap()));
        (directory, first, second)
    }

    const INO: Ino = Ino(7);

    #[test]
    fn ranges_are_locked_split_and_joined_between_owners_and_mounts() {
        let (_directory, first, second) = mounts();
        let key = ObjectKey::new("a").unwrap();
        let lock = |locks: &Locks, wanted: LockRequest| locks.try_lock(INO, Some(&key), &wanted).unwrap();
        assert!(lock(&first, request(1, LockKind::Exclusive, 0, 100)));
        assert!(!lock(&first, request(2, LockKind::Shared, 99, 200)));
        assert!(!lock(&second, request(1, LockKind::Shared, 50, 60)));
        assert!(lock(&first, request(1, LockKind::None, 40, 60)));
        assert!(lock(&second, request(1, LockKind::Exclusive, 50, 60)));
        let way = |locks: &Locks, owner, end| {
            locks.in_the_way(INO, Some(&key), &request(owner, LockKind::Shared, 50, end)).unwrap()
        };
        let expected = LockInTheWay { kind: LockKind::Exclusive, start: 50, end: 60, pid: 0 };
        assert_eq!(way(&first, 1, 60), Some(expected), "another mount's");
        assert_eq!(way(&second, 2, 60), Some(LockInTheWay { pid: 1, ..expected }), "this mount's");
        drop(second);
        let rest = LockInTheWay { kind: LockKind::Exclusive, start: 60, end: 100, pid: 1 };
        assert_eq!(way(&first, 2, crate::fs::context::byte_locks::END), Some(rest), "who is gone holds nothing");
        first.drop_owners(INO, LockFamily::Record, |owner, _| owner == 1);
        assert_eq!(way(&first, 2, crate::fs::context::byte_locks::END), None);
        first.stop_waiting(INO, &request(2, LockKind::Shared, 99, 200));
        assert!(first.lock().is_empty(), "nothing is kept of a file that nobody has locked");
    }

    #[test]
    fn two_who_wait_for_each_other_are_told() {
        let (_directory, locks, _other) = mounts();
        let key = ObjectKey::new("a").unwrap();
        let lock = |wanted: LockRequest| locks.try_lock(INO, Some(&key), &wanted).unwrap();
        let (left, right) = (request(1, LockKind::Exclusive, 0, 1), request(2, LockKind::Exclusive, 1, 2));
        assert!(lock(left) && lock(right));
        let left_wants_right = LockRequest { start: 1, end: 2, ..left };
        assert!(!lock(left_wants_right) && !locks.is_deadlocked(INO, &left_wants_right));
        let right_wants_left = LockRequest { start: 0, end: 1, ..right };
        assert!(!lock(right_wants_left) && locks.is_deadlocked(INO, &right_wants_left));
    }

    /// Two read, one of whom waits for the other one's range elsewhere; a third waits to read, too, for somebody who writes.
    #[test]
    fn who_reads_together_with_another_does_not_wait_for_him() {
        let (_directory, locks, _other) = mounts();
        let key = ObjectKey::new("a").unwrap();
        let lock = |wanted: LockRequest| locks.try_lock(INO, Some(&key), &wanted).unwrap();
        assert!(lock(request(1, LockKind::Shared, 0, 10)) && lock(request(2, LockKind::Exclusive, 10, 20)));
        assert!(lock(request(3, LockKind::Exclusive, 30, 40)));
        let reader_waits = request(1, LockKind::Exclusive, 30, 40);
        assert!(!lock(reader_waits) && !locks.is_deadlocked(INO, &reader_waits));
        let wanted = request(3, LockKind::Shared, 0, 20);
        assert!(!lock(wanted) && !locks.is_deadlocked(INO, &wanted));
    }
}

//! The bytes of objects and parts: immutable segments, each written once and removed when nothing points into it.
//!
//! A segment is a file of its own or a list of buffers in memory. It counts for nothing until the index points into
//! it: what a crash leaves half-written no row names, and the next start sweeps it away. That is why files are
//! written under their final name, with no temporary one.
//!
//! A reader may hold on to segments that the index gave up meanwhile: removal waits for the readers that began before.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use super::StorageError;

/// Where all segments of one service are.
pub(in crate::server) struct Segments {
    home: Home,
    next_id: AtomicU64,
    /// Std mutex: sections are a few operations on small maps. Level 8 in the order of locks.
    readers: Mutex<Readers>,
    /// What files of segments were when they were last verified. Std mutex: sections are one map operation.
    /// Level 8 in the order of locks.
    verified: Mutex<HashMap<u64, FileState>>,
}

/// What tells whether a file is as it was: inode, size, and when content and inode were last changed.
type FileState = (u64, u64, (i64, i64), (i64, i64));

/// The room that is kept for the index, as a fraction of the disk and at most: it grows by a part of its own size, and
/// the journal by a line for each change.
const KEPT_FRACTION: u64 = 64;
const KEPT_BYTES_MAX: u64 = 64 << 20;

/// Segments that are known to be verified, 100 bytes each; with more than these the knowledge starts anew.
const VERIFIED_MAX: usize = 1 << 16;

enum Home {
    /// One file per segment, spread over 256 directories.
    Disk(PathBuf),
    /// Std lock: sections are one map operation. Level 8 in the order of locks.
    Memory(RwLock<HashMap<u64, Arc<MemorySegment>>>),
}

/// Whether a segment that nothing names is garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Garbage {
    /// The index is known to be the latest.
    Certain,
    /// An index that is not known to be the latest may lack the name of something.
    Uncertain,
}

/// The buffers of one segment, as they came from the socket.
pub(super) struct MemorySegment {
    pub chunks: Vec<Bytes>,
    /// Where each chunk ends, counted from the start of the segment.
    pub ends: Vec<u64>,
}

/// Who reads, and what waits for them to end.
#[derive(Default)]
struct Readers {
    /// The number of the next reader. Numbers grow, so "began before" is "has a smaller number".
    next: u64,
    active: BTreeSet<u64>,
    /// (number of the first reader that cannot see the segment any more, segment), in that order.
    doomed: VecDeque<(u64, u64)>,
}

impl Segments {
    /// Segments as files under `directory`, which is made if it is missing.
    pub(super) fn on_disk(directory: &Path) -> Result<Segments, StorageError> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700).recursive(true);
        for fan in 0..=0xFFu8 {
            builder
                .create(directory.join(format!("{fan:02x}")))
                .map_err(|error| StorageError::io("make the directories of the service", error))?;
        }
        Ok(Segments::new(Home::Disk(directory.to_owned())))
    }

    /// Segments in memory.
    pub(super) fn in_memory() -> Segments {
        Segments::new(Home::Memory(RwLock::default()))
    }

    fn new(home: Home) -> Segments {
        Segments { home, next_id: AtomicU64::new(1), readers: Mutex::default(), verified: Mutex::default() }
    }

    /// Hands out ids above `id` from now on.
    pub(super) fn continue_after(&self, id: u64) {
        self.next_id.fetch_max(id + 1, Ordering::SeqCst);
    }

    /// An id that no segment or layout has borne.
    pub(super) fn fresh_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::SeqCst)
    }

    /// The file of a segment; `None` in memory.
    pub(super) fn path(&self, id: u64) -> Option<PathBuf> {
        match &self.home {
            Home::Disk(directory) => Some(Segments::file(directory, id)),
            Home::Memory(_) => None,
        }
    }

    /// The file of a segment under the directory of all of them.
    pub(super) fn file(directory: &Path, id: u64) -> PathBuf {
        directory.join(format!("{:02x}/{id:016x}", id & 0xFF))
    }

    /// Refuses what would take the last room of the disk, which is kept for the index: without it not even a delete
    /// could be noted, and nothing would ever be freed.
    pub(super) fn require_room(&self) -> Result<(), StorageError> {
        let Home::Disk(directory) = &self.home else { return Ok(()) };
        let disk = rustix::fs::statvfs(directory.as_path());
        let Ok(disk) = disk else { return Ok(()) };
        let block = disk.f_frsize;
        let kept = (disk.f_blocks.saturating_mul(block) / KEPT_FRACTION).min(KEPT_BYTES_MAX);
        if disk.f_bavail.saturating_mul(block) < kept { Err(StorageError::Full) } else { Ok(()) }
    }

    /// Makes the names of segments on disk durable; their bytes are already.
    pub(super) fn sync_names(&self, ids: impl Iterator<Item = u64>) -> io::Result<()> {
        let paths: BTreeSet<PathBuf> = ids.filter_map(|id| Some(self.path(id)?.parent()?.to_owned())).collect();
        paths.iter().try_for_each(|directory| File::open(directory)?.sync_all())
    }

    /// Keeps a whole segment in memory.
    pub(super) fn keep_in_memory(&self, id: u64, chunks: Vec<Bytes>) {
        if let Home::Memory(segments) = &self.home {
            let mut end = 0;
            let ends = chunks.iter().map(|chunk| {
                end += chunk.len() as u64;
                end
            });
            let ends = ends.collect();
            let segment = Arc::new(MemorySegment { chunks, ends });
            segments.write().unwrap_or_else(PoisonError::into_inner).insert(id, segment);
        }
    }

    /// The buffers of a segment in memory; an error where there are none.
    pub(super) fn in_memory_segment(&self, id: u64) -> io::Result<Arc<MemorySegment>> {
        let found = match &self.home {
            Home::Memory(segments) => segments.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned(),
            Home::Disk(_) => None,
        };
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("segment {id:016x} is missing")))
    }

    /// Whether segments are buffers in memory.
    pub(super) fn are_in_memory(&self) -> bool {
        matches!(self.home, Home::Memory(_))
    }

    /// Whether the file is as it was when it was verified.
    pub(super) fn is_verified(&self, id: u64, file: &File) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied();
        verified.is_some() && verified == state_of(file)
    }

    /// Notes that all bytes of the file are those that were stored.
    pub(super) fn set_verified(&self, id: u64, file: &File) {
        let Some(state) = state_of(file) else { return };
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= VERIFIED_MAX {
            verified.clear();
        }
        verified.insert(id, state);
    }

    /// Registers a reader. What the index names after this call stays readable until the guard is dropped.
    pub(in crate::server) fn reader(self: &Arc<Self>) -> ReaderGuard {
        let mut readers = self.lock_readers();
        let number = readers.next;
        readers.next += 1;
        readers.active.insert(number);
        ReaderGuard { segments: Arc::clone(self), number }
    }

    /// Removes segments that the index has given up, now or as soon as no reader can hold them.
    pub(super) fn remove(&self, ids: Vec<u64>) {
        if ids.is_empty() {
            return;
        }
        let mut readers = self.lock_readers();
        let unseen_from = readers.next;
        readers.doomed.extend(ids.into_iter().map(|id| (unseen_from, id)));
        let free = readers.take_free();
        drop(readers);
        self.discard(&free);
    }

    /// Removes segments at once. A file that cannot be removed is left to the next sweep.
    pub(super) fn discard(&self, ids: &[u64]) {
        for &id in ids {
            match &self.home {
                Home::Memory(segments) => {
                    segments.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
                }
                Home::Disk(_) => {
                    self.verified.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                    let removed = self.path(id).map_or(Ok(()), fs::remove_file);
                    if let Err(error) = removed
                        && error.kind() != io::ErrorKind::NotFound
                    {
                        log::warn!("segment {id:016x} could not be removed: {error}");
                    }
                }
            }
        }
    }

    /// Removes every file that is no segment in use, or moves it to `aside`, and returns how many those were.
    pub(super) fn sweep(
        &self,
        in_use: impl Fn(u64) -> Result<bool, StorageError>,
        aside: Option<&Path>,
    ) -> Result<u64, StorageError> {
        let Home::Disk(directory) = &self.home else { return Ok(0) };
        let unreadable = |error: io::Error| StorageError::failed("list the segments", error);
        let mut swept = 0;
        for fan in fs::read_dir(directory).map_err(unreadable)? {
            for file in fs::read_dir(fan.map_err(unreadable)?.path()).map_err(unreadable)? {
                let file = file.map_err(unreadable)?;
                let name = file.file_name();
                let id = name.to_str().and_then(|name| u64::from_str_radix(name, 16).ok());
                let Some(id) = id else { continue };
                if in_use(id)? {
                    continue;
                }
                let gone = match aside {
                    None => fs::remove_file(file.path()),
                    Some(aside) => DirBuilder::new()
                        .mode(0o700)
                        .recursive(true)
                        .create(aside)
                        .and_then(|()| fs::rename(file.path(), aside.join(&name))),
                };
                gone.map_err(|error| StorageError::io("remove a file that nothing names", error))?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn lock_readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readers {
    /// Takes the doomed segments that no active reader can hold.
    fn take_free(&mut self) -> Vec<u64> {
        let oldest = self.active.first().copied().unwrap_or(u64::MAX);
        let free = self.doomed.iter().take_while(|(unseen_from, _)| *unseen_from <= oldest).count();
        self.doomed.drain(..free).map(|(_, id)| id).collect()
    }
}

/// Keeps segments readable while a reader is at work.
pub(in crate::server) struct ReaderGuard {
    pub(super) segments: Arc<Segments>,
    number: u64,
}

impl Drop for ReaderGuard {
    fn drop(&mut self) {
        let mut readers = self.segments.lock_readers();
        readers.active.remove(&self.number);
        let free = readers.take_free();
        drop(readers);
        self.segments.discard(&free);
    }
}

fn state_of(file: &File) -> Option<FileState> {
    let found = file.metadata().ok()?;
    Some((found.ino(), found.len(), (found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec())))
}

/// Opens a segment's file for reading.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_there(segments: &Segments, id: u64) -> bool {
        segments.in_memory_segment(id).is_ok()
    }

    #[test]
    fn removal_waits_for_the_readers_that_began_before() {
        let segments = Arc::new(Segments::in_memory());
        segments.keep_in_memory(1, vec![Bytes::from_static(b"one")]);
        segments.keep_in_memory(2, vec![Bytes::from_static(b"two")]);
        let early = segments.reader();
        segments.remove(vec![1]);
        let late = segments.reader();
        segments.remove(vec![2]);
        assert!(is_there(&segments, 1) && is_there(&segments, 2));
        drop(early);
        assert!(!is_there(&segments, 1), "only the late reader is left, and it never saw 1");
        assert!(is_there(&segments, 2));
        drop(late);
        assert!(!is_there(&segments, 2));
    }

    #[test]
    fn a_sweep_leaves_what_is_in_use_alone() {
        let home = tempfile::tempdir().unwrap();
        let segments = Segments::on_disk(home.path()).unwrap();
        for id in [1u64, 2, 0x1FF] {
            fs::write(segments.path(id).unwrap(), b"x").unwrap();
        }
        assert_eq!(segments.sweep(|id| Ok(id == 2), None).unwrap(), 2);
        assert!(segments.path(2).unwrap().exists());
        assert!(!segments.path(0x1FF).unwrap().exists());
    }
}

//! Files that the kernel reads by itself: FUSE passthrough, from whole copies on this machine's disk.
//!
//! The kernel takes one backing file for an inode from its first open to its last release, and refuses every other way to open it
//! with EIO meanwhile. So what is open of an inode decides: the first who opens a file for reading that has a whole copy makes that
//! its backing file, and everybody who comes then opens it with that. Whoever may write is asked for by READ and WRITE all the
//! same, but his mappings are of the backing file.
//!
//! INVARIANT: while somebody may change the file, the backing file is not in the cache any more, and has the bytes that the file has,
//! or is outdated. A new version from elsewhere is another inode: see [`OpenState::is_read_by_kernel`].
//!
//! [`OpenState::is_read_by_kernel`]: crate::fs::names::OpenState::is_read_by_kernel

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::fs::FallocateFlags;
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;

use crate::cache::{DiskCache, Entry, GRAIN_BYTES, has_room};
use crate::object::{Checksum, ChecksumAlgorithm, ETag};
use crate::read::{Object, ReadBytes};

/// What is compared at once, in bytes.
pub(super) const COMPARE_BYTES: u64 = 1 << 20;

/// The longest file whose changes a backing file follows, in bytes: what is known of its grains takes a 256th of that in memory.
const FOLLOWED_BYTES_MAX: u64 = 16 << 30;

/// How old a time of a file has to be so that a change of now moves it: ticks of the kernel take 10 ms at most.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Whether the kernel is told to read files by itself, and how often it was.
#[derive(Debug)]
pub struct Passthrough {
    cache: Option<Arc<DiskCache>>,
    is_allowed: AtomicBool,
    sees_mappings: AtomicBool,
}

impl Passthrough {
    pub(crate) fn new(cache: Option<Arc<DiskCache>>) -> Passthrough {
        Passthrough { cache, is_allowed: AtomicBool::new(false), sees_mappings: AtomicBool::new(false) }
    }

    /// Whether there is anything that the kernel could read.
    pub fn is_of_use(&self) -> bool {
        self.cache.is_some()
    }

    /// Says whether the kernel takes backing files: whether opening a file may tell of one. And whether the caller finds out if
    /// somebody has a file mapped that nobody has open: the mapping of a backing file outlives its last release.
    pub fn allow(&self, is_allowed: bool, sees_mappings: bool) {
        self.is_allowed.store(is_allowed, Ordering::Relaxed);
        self.sees_mappings.store(sees_mappings, Ordering::Relaxed);
    }

    pub(super) fn sees_mappings(&self) -> bool {
        self.sees_mappings.load(Ordering::Relaxed)
    }

    pub(super) fn is_allowed(&self) -> bool {
        self.is_allowed.load(Ordering::Relaxed)
    }

    /// The kernel reads a file by itself that was opened just now.
    pub fn note_open(&self) {
        if let Some(cache) = &self.cache {
            cache.note_passthrough_open();
        }
    }
}

/// By what the kernel knows a backing file. Whoever speaks to the kernel knows what it is.
type Registration = Box<dyn Any + Send + Sync>;

/// The backing file of an inode.
pub struct BackingFile {
    pub(super) copy: Arc<Entry>,
    /// Whose bytes it has, where nobody writes. Std mutex, 8 in the order of locks: copies only.
    object: Mutex<Arc<Object>>,
    /// `None` in it where the kernel takes no backing files.
    registration: OnceLock<Option<Registration>>,
    /// Tokio's mutex, 2 in the order of locks: held over a write, or while the file is compared with what is known of it.
    written: Arc<tokio::sync::Mutex<Option<Written>>>,
    is_written: AtomicBool,
    /// It does not have what the file has. Who opens the file now is asked for by READ.
    is_outdated: AtomicBool,
}

/// What is known of a backing file that may be changed.
struct Written {
    algorithm: ChecksumAlgorithm,
    /// Of each grain; `None` where nobody knows.
    sums: Vec<Option<Checksum>>,
    size: u64,
    /// When the file was changed last, for all that is known: in seconds and nanoseconds. No more than a hint: a store in a page
    /// that was written to before does not move it, on some file systems ever.
    changed_at: (i64, i64),
    /// Whether nobody has stored anything as long as that is so: the disk shows the first store, and nobody has written.
    shows_stores: bool,
    /// Each grain that is known was compared since it came from the disk: what is another now was stored.
    is_compared: bool,
    /// Something may have been stored that is not there any more.
    has_lost_stores: bool,
}

/// Changes of a backing file, one at a time.
pub(crate) struct Turn {
    backing: Arc<BackingFile>,
    written: OwnedMutexGuard<Option<Written>>,
}

/// Writes what has come of a write to the backing file when it ends, whether all came or whoever waits has gone.
pub(crate) struct Following<'a> {
    pub(crate) turn: Option<Turn>,
    pub(crate) offset: u64,
    pub(crate) data: &'a [u8],
    pub(crate) done: &'a AtomicUsize,
}

impl Following<'_> {
    /// The write has ended: waits until the file has it.
    pub(crate) async fn finish(mut self) {
        let come = self.come();
        if let Some(turn) = self.turn.take() {
            turn.write(self.offset, come).await;
        }
    }

    fn come(&self) -> Vec<u8> {
        self.data[..self.done.load(Ordering::Relaxed)].to_vec()
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let (offset, come) = (self.offset, self.come());
        // Nobody waits. Whoever has the next turn does.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(turn.write(offset, come))),
            Err(_) => turn.backing.set_outdated(),
        }
    }
}

impl BackingFile {
    /// `None` if another inode has that copy: what is written to one of them must not be seen in the other.
    pub(crate) fn new(copy: Arc<Entry>, object: Arc<Object>) -> Option<Arc<BackingFile>> {
        if !copy.claim() {
            return None;
        }
        Some(Arc::new(BackingFile {
            copy,
            object: Mutex::new(object),
            registration: OnceLock::new(),
            written: Arc::default(),
            is_written: AtomicBool::new(false),
            is_outdated: AtomicBool::new(false),
        }))
    }

    /// By what the kernel knows it: what `register` returned the first time. `None` if the kernel takes none.
    pub fn registration(
        &self,
        register: impl FnOnce(&File) -> Option<Registration>,
    ) -> Option<&(dyn Any + Send + Sync)> {
        self.registration.get_or_init(|| register(self.copy.file())).as_deref()
    }

    /// The file.
    pub fn file(&self) -> &File {
        self.copy.file()
    }

    /// Whether the kernel has not taken it.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.registration.get(), Some(None))
    }

    /// Whether it has the bytes of this version, as far as nobody writes.
    pub(crate) fn is_of(&self, version: &ETag) -> bool {
        let own = self.object.lock().unwrap_or_else(PoisonError::into_inner).version();
        !self.is_outdated() && own.etag == *version
    }

    /// What was written is published, as this.
    pub(crate) fn set_object(&self, object: Arc<Object>) {
        *self.object.lock().unwrap_or_else(PoisonError::into_inner) = object;
    }

    /// Whether it has what is being written.
    pub(crate) fn follows_writers(&self) -> bool {
        self.is_written() && !self.is_outdated()
    }

    /// Whether somebody may change it.
    pub(super) fn is_written(&self) -> bool {
        self.is_written.load(Ordering::SeqCst)
    }

    pub(crate) fn is_outdated(&self) -> bool {
        self.is_outdated.load(Ordering::SeqCst)
    }

    /// It does not have what the file has any more.
    pub(crate) fn set_outdated(&self) {
        self.is_outdated.store(true, Ordering::SeqCst);
    }

    /// Takes it out of the cache, to be changed by somebody who may map it or not. Returns whether it could.
    ///
    /// What differs from what is known of it is damage up to now, and a store in a mapping from now on. So it is compared before
    /// anybody can store, if it ever is.
    pub(super) async fn detach(self: &Arc<BackingFile>, may_map: bool) -> bool {
        let mut written = self.written.clone().lock_owned().await;
        if self.is_outdated() || written.as_ref().is_some_and(|written| written.is_compared || !may_map) {
            return true;
        }
        let backing = self.clone();
        let detached = tokio::task::spawn_blocking(move || {
            let detached = backing.detach_now(&mut written, may_map);
            detached.unwrap_or_else(|error| {
                let key = &backing.copy.identity().key;
                log::warn!(
                    "the copy of {key}, which is about to be written, cannot be taken out of the cache: {error}"
                );
                false
            })
        });
        detached.await.unwrap_or(false)
    }

    fn detach_now(&self, written: &mut Option<Written>, may_map: bool) -> io::Result<bool> {
        let (copy, file) = (&self.copy, self.copy.file());
        let written = match written {
            Some(written) => written,
            // More would have to be known of it than there is memory for.
            None if copy.identity().size > FOLLOWED_BYTES_MAX => return Ok(false),
            None => {
                // They go with the copy.
                let sums = copy.checksums()?;
                if !copy.detach()? {
                    return Ok(false);
                }
                let detached = written.insert(Written::of(file, copy.algorithm(), sums)?);
                self.is_written.store(true, Ordering::SeqCst);
                detached
            }
        };
        if may_map {
            let is_right = written.differing(file, false).is_ok_and(|damaged| damaged.is_empty());
            if !is_right {
                log::warn!("the copy of {} in the cache is damaged", copy.identity().key);
                self.set_outdated();
                return Ok(false);
            }
            written.is_compared = true;
        }
        Ok(true)
    }

    pub(super) async fn turn(self: &Arc<BackingFile>) -> Turn {
        Turn { backing: self.clone(), written: self.written.clone().lock_owned().await }
    }

    /// Up to `len` bytes from `offset`.
    pub(super) async fn read(self: &Arc<BackingFile>, offset: u64, len: usize) -> io::Result<ReadBytes> {
        let backing = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let size = backing.file().metadata()?.len();
            let mut bytes = vec![0; (len as u64).min(size.saturating_sub(offset)) as usize];
            backing.file().read_exact_at(&mut bytes, offset)?;
            Ok(ReadBytes::from(bytes))
        });
        read.await.unwrap_or_else(|_| Err(io::Error::other("the thread that reads has panicked")))
    }
}

impl Turn {
    /// The same bytes are in the file by now.
    pub(crate) async fn write(self, offset: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.change(move |written, file| written.write(file, offset, &bytes)).await;
        }
    }

    /// The file has this length by now.
    pub(crate) async fn truncate(self, size: u64) {
        self.change(move |written, file| written.truncate(file, size)).await;
    }

    /// These are zeros by now, and the file is as long as that if it `grows`.
    pub(crate) async fn zero(self, range: Range<u64>, grows: bool) {
        let zero = move |written: &mut Written, file: &File| {
            if grows && range.end > written.size {
                written.truncate(file, range.end)?;
            }
            let end = range.end.min(written.size);
            if range.start < end {
                let punched = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(file, punched, range.start, end - range.start)?;
                written.note_zeros(range.start..end);
            }
            Ok(())
        };
        self.change(zero).await;
    }

    /// Changes the file, to the end even if nobody waits for that. The disk may take its time.
    async fn change(mut self, change: impl FnOnce(&mut Written, &File) -> io::Result<()> + Send + 'static) {
        let work = move || {
            let Some(written) = self.written.as_mut().filter(|_| !self.backing.is_outdated()) else { return };
            let file = self.backing.copy.file();
            let before = changed_at(file);
            let changed = change(written, file);
            if let Err(error) = changed {
                let key = &self.backing.copy.identity().key;
                log::warn!("who has {key} open for reading sees it as it was: its copy cannot be written: {error}");
                written.has_lost_stores = written.may_have_stores(before);
                self.backing.set_outdated();
            }
            written.shows_stores = false;
            if let Ok(at) = changed_at(file) {
                written.changed_at = at;
            }
        };
        let _ = tokio::task::spawn_blocking(work).await;
    }

    /// Ranges that programs have changed by mappings of the file, which nobody is told of. Each is to be [taken](Turn::take).
    pub(super) fn stores(mut self) -> io::Result<(Turn, Vec<Range<u64>>)> {
        let file = self.backing.copy.file().try_clone()?;
        let is_outdated = self.backing.is_outdated();
        let Some(written) = self.written.as_mut() else { return Ok((self, Vec::new())) };
        let is_as_it_was = written.changed_at == changed_at(&file)?;
        if is_outdated && (written.has_lost_stores || !is_as_it_was) {
            return Err(io::Error::other("the copy could not be written, and a mapping of it was"));
        }
        let stores_nothing = is_outdated || written.shows_stores && is_as_it_was;
        let changed = if stores_nothing { Vec::new() } else { written.differing(&file, true)? };
        Ok((self, changed))
    }

    /// What is at `start` of the file now is what is known of it.
    pub(super) fn take(&mut self, start: u64, bytes: &[u8]) {
        if let Some(written) = self.written.as_mut() {
            written.note(start, bytes);
        }
    }
}

impl Drop for BackingFile {
    fn drop(&mut self) {
        self.copy.give_up_claim();
    }
}

impl Written {
    /// Of a file that was taken out of the cache, with the checksums of its grains.
    fn of(file: &File, algorithm: ChecksumAlgorithm, sums: Vec<Option<Checksum>>) -> io::Result<Written> {
        let metadata = file.metadata()?;
        // Times may be as coarse as a tick of the kernel: what is stored within one does not show.
        let is_settled = metadata.modified()?.elapsed().is_ok_and(|ago| ago > SETTLED_AFTER);
        let (size, shows_stores) = (metadata.len(), is_settled && is_on_disk_that_shows_stores(file)?);
        let changed_at = changed_at(file)?;
        let (is_compared, has_lost_stores) = (false, false);
        Ok(Written { algorithm, sums, size, changed_at, shows_stores, is_compared, has_lost_stores })
    }

    /// Whether somebody may have stored something that is not known yet, by when the file was changed last.
    fn may_have_stores(&self, changed_at: io::Result<(i64, i64)>) -> bool {
        let is_as_it_was = changed_at.is_ok_and(|at| at == self.changed_at);
        // Only who could map it has had it compared.
        self.is_compared && !(self.shows_stores && is_as_it_was)
    }

    fn write(&mut self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        if end > self.size {
            self.truncate(file, end)?;
        }
        file.write_all_at(bytes, offset)?;
        self.forget(offset..end);
        self.note(offset, bytes);
        Ok(())
    }

    /// The file has these bytes: what is known of the grains that they fill.
    fn note(&mut self, offset: u64, bytes: &[u8]) {
        let first = offset.next_multiple_of(GRAIN_BYTES);
        let whole = bytes.get((first - offset) as usize..).unwrap_or_default().chunks(GRAIN_BYTES as usize);
        for (index, grain) in (first / GRAIN_BYTES..).zip(whole) {
            if grain.len() as u64 == GRAIN_BYTES || index * GRAIN_BYTES + grain.len() as u64 == self.size {
                self.sums[index as usize] = Some(self.algorithm.of(grain));
            }
        }
    }

    fn truncate(&mut self, file: &File, size: u64) -> io::Result<()> {
        if size > FOLLOWED_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // The cache does not count what it has let go, and nor may that fill the disk.
        if size > self.size && !has_room(file)? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.set_len(size)?;
        let before = std::mem::replace(&mut self.size, size);
        self.sums.resize(size.div_ceil(GRAIN_BYTES) as usize, None);
        // The grain that the file ended in, or ends in now, is another.
        let shorter = before.min(size);
        self.forget(shorter / GRAIN_BYTES * GRAIN_BYTES..shorter);
        self.note_zeros(before..size);
        Ok(())
    }

    /// Nobody knows any more what is in the grains of a range.
    fn forget(&mut self, range: Range<u64>) {
        self.set_sums(range.start / GRAIN_BYTES..range.end.div_ceil(GRAIN_BYTES), None);
    }

    /// A range is a hole now.
    fn note_zeros(&mut self, range: Range<u64>) {
        let zeros = self.algorithm.of(&[0; GRAIN_BYTES as usize]);
        self.forget(range.clone());
        self.set_sums(range.start.div_ceil(GRAIN_BYTES)..range.end / GRAIN_BYTES, Some(zeros));
    }

    fn set_sums(&mut self, grains: Range<u64>, sum: Option<Checksum>) {
        let end = grains.end.min(self.sums.len() as u64) as usize;
        let first = (grains.start as usize).min(end);
        self.sums[first..end].fill(sum);
    }

    /// Compares the file with what is known of it. Returns what is something else, and what is not known if that `counts`.
    fn differing(&self, file: &File, counts: bool) -> io::Result<Vec<Range<u64>>> {
        let mut changed: Vec<Range<u64>> = Vec::new();
        let mut start = 0;
        while start < self.size {
            let mut bytes = vec![0; COMPARE_BYTES.min(self.size - start) as usize];
            file.read_exact_at(&mut bytes, start)?;
            for (index, grain) in (start / GRAIN_BYTES..).zip(bytes.chunks(GRAIN_BYTES as usize)) {
                let known = self.sums[index as usize];
                if known.is_none() && !counts || known == Some(self.algorithm.of(grain)) {
                    continue;
                }
                let range = index * GRAIN_BYTES..index * GRAIN_BYTES + grain.len() as u64;
                match changed.last_mut().filter(|last| last.end == range.start) {
                    Some(last) => last.end = range.end,
                    None => changed.push(range),
                }
            }
            start += COMPARE_BYTES;
        }
        Ok(changed)
    }
}

/// Whether the first store in a page of a mapping moves the time at which the file was changed last.
fn is_on_disk_that_shows_stores(file: &File) -> io::Result<bool> {
    let magic = rustix::fs::fstatfs(file)?.f_type;
    Ok([libc::EXT4_SUPER_MAGIC, libc::XFS_SUPER_MAGIC, libc::BTRFS_SUPER_MAGIC].contains(&magic))
}

fn changed_at(file: &File) -> io::Result<(i64, i64)> {
    let metadata = file.metadata()?;
    Ok((metadata.mtime(), metadata.mtime_nsec()))
}

impl fmt::Debug for BackingFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackingFile").field("copy", &self.copy).finish_non_exhaustive()
    }
}

//! What all open files share: the store, the memory, the sizes of parts, and the help they give when memory is short.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::content::PartRules;
use super::ladder::Ladder;
use super::open_file::OpenFile;
use crate::clock::Clock;
use crate::memory::{Memory, Relief};
use crate::object::limits::{GIB, MIB};
use crate::object::{Limits, ObjectKey};
use crate::stats::Stats;
use crate::store::{ObjectStore, StoreError};

/// What happens to a file whose object somebody else has changed since it was opened, where what was written is all of
/// the file. Where a part of the old object is needed it is always an error: nothing is ever mixed.
///
/// Only `Overwrite` is free of cost: the others ask for the object's version before they replace it. Between the question
/// and the answer to the publishing somebody else may still come in; the service has no way to forbid that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// The last writer wins, as on a local disk.
    #[default]
    Overwrite,
    /// The file is not published, and who closes it is told.
    Fail,
    /// The file is published as `NAME.conflict-HOST-TIME` beside the other's.
    KeepBoth {
        /// The name of this machine.
        host: String,
    },
}

/// How files are uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadOptions {
    /// The size of the first parts, in bytes, 1 MiB to 5 GiB. Held to an eighth of the memory.
    pub part_bytes: u64,
    /// Parts of one file that are on their way at once, 1 to 256.
    pub concurrency: usize,
    /// What happens when somebody else has changed the object.
    pub on_conflict: OnConflict,
}

impl UploadOptions {
    /// The smallest part that can be asked for, in bytes.
    pub const PART_BYTES_MIN: u64 = MIB;
    /// The largest part that can be asked for, in bytes.
    pub const PART_BYTES_MAX: u64 = 5 * GIB;
}

impl Default for UploadOptions {
    fn default() -> UploadOptions {
        // 8 MiB: the first part leaves early, and a request's overhead is far below a hundredth of its bytes' cost.
        UploadOptions { part_bytes: 8 * MIB, concurrency: 8, on_conflict: OnConflict::Overwrite }
    }
}

/// Why a file could not take or publish bytes.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UploadError {
    /// The service said no, or could not be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file has more changes than the service takes parts, and they depend on one another.
    #[error("{key:?} has too many scattered changes to be published; close it more often")]
    TooScattered {
        /// The file's key.
        key: String,
    },
    /// Its publishing was stopped, because the file is about to be removed or replaced.
    #[error("{key:?} is about to be removed")]
    Unwanted {
        /// The file's key.
        key: String,
    },
    /// The file would be larger than the service's largest object.
    #[error("{key:?} would be larger than the service's largest object, {bytes_max} bytes")]
    TooLarge {
        /// The file's key.
        key: String,
        /// The service's largest object, in bytes.
        bytes_max: u64,
    },
}

/// The parts of the first size that a hole is longer than whose zeros are copied on the service.
const HOLE_PARTS: u64 = 4;

/// What room for fetched bytes is counted in, in bytes.
const ROOM_PAGE_BYTES: u64 = 4 << 10;

/// Makes open files; one for each mount.
pub struct Uploader {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) memory: Memory,
    pub(super) options: UploadOptions,
    pub(super) ladder: Ladder,
    pub(super) stats: Arc<Stats>,
    pub(super) clock: Clock,
    pub(super) runtime: Handle,
    /// Every upload that is being aborted holds a receiver, so that the channel is closed when none is.
    aborts: watch::Sender<()>,
    /// Whether the mount ends.
    ending: watch::Sender<bool>,
    /// Requests with data on their way, of all files together.
    pub(super) in_flight: AtomicUsize,
    /// One permit for each part that may be on the wire, of all files together: twice what one file may have. More would
    /// not be faster, and everything else on the same wire, a `mkdir` for example, would wait behind them.
    pub(super) wire: Semaphore,
    /// The most parts of an upload: what the service is known for, or fewer if it has refused a number.
    part_count_max: AtomicU64,
    /// Room for bytes that are fetched to be sent again, in pages of [`ROOM_PAGE_BYTES`].
    room: Arc<Semaphore>,
    room_pages: u32,
    /// What keys begin with that nobody sees.
    pub(super) hidden: OnceLock<String>,
    files: Registry,
    /// The files that have been given bytes of other objects. Asked at every publishing and every removal, so that nobody
    /// looks at ten thousand files for it that have none.
    copiers: Registry,
}

/// Files, for as long as they live.
///
/// Std mutex: pushes, sweeps and clones only.
#[derive(Default)]
struct Registry(Mutex<Vec<Weak<OpenFile>>>);

impl Registry {
    fn add(&self, file: &Arc<OpenFile>) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Swept when it would grow, so that each file costs its share of the sweeps only.
        if files.len() == files.capacity() {
            files.retain(|file| file.strong_count() > 0);
            let more = files.len().max(16);
            files.reserve_exact(more);
        }
        files.push(Arc::downgrade(file));
    }

    fn all(&self) -> Vec<Arc<OpenFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }
}

impl Uploader {
    /// An uploader whose transfers run on `runtime`. Sets an eighth of `memory` aside for itself.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        memory: Memory,
        options: UploadOptions,
        clock: Clock,
        stats: Arc<Stats>,
        runtime: Handle,
    ) -> Arc<Uploader> {
        // An eighth of the memory, so that several parts are on their way while another one fills.
        let eighth = memory.limit_bytes() as u64 / 8;
        let ladder = Ladder::new(options.part_bytes, eighth / MIB * MIB, store.limits());
        memory.set_aside(eighth as usize);
        let room_pages = u32::try_from(eighth / ROOM_PAGE_BYTES).unwrap_or(u32::MAX).max(1);
        let uploader = Arc::new(Uploader {
            part_count_max: AtomicU64::new(store.limits().part_count_max),
            room: Arc::new(Semaphore::new(room_pages as usize)),
            room_pages,
            aborts: watch::Sender::new(()),
            ending: watch::Sender::new(false),
            in_flight: AtomicUsize::new(0),
            wire: Semaphore::new(2 * options.concurrency),
            hidden: OnceLock::new(),
            files: Registry::default(),
            copiers: Registry::default(),
            store,
            memory,
            options,
            ladder,
            stats,
            clock,
            runtime,
        });
        let relief: Arc<dyn Relief> = uploader.clone();
        uploader.memory.on_shortage(&relief);
        uploader
    }

    /// Says what keys begin with that nobody sees. Without it no object but the files' own is ever made.
    pub fn hide_under(&self, prefix: String) {
        let _ = self.hidden.set(prefix);
    }

    /// The store that everything goes to.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Bytes that one file may keep in memory without need of the upload: an eighth of the memory.
    pub(super) fn keep_bytes_max(&self) -> u64 {
        self.memory.limit_bytes() as u64 / 8
    }

    /// Bytes of acknowledged parts that one file keeps now for programs that come back.
    pub(super) fn keep_bytes(&self) -> u64 {
        if self.memory.is_short() { 0 } else { self.keep_bytes_max() }
    }

    /// What the service takes, as far as it is known by now.
    pub(super) fn limits(&self) -> Limits {
        Limits { part_count_max: self.part_count_max.load(Ordering::Relaxed), ..self.store.limits() }
    }

    /// The service takes no more parts than this.
    pub(super) fn limit_part_count(&self, count: u64) {
        self.part_count_max.fetch_min(count.max(1), Ordering::Relaxed);
    }

    /// What parts have to be like.
    pub(super) fn rules(&self) -> PartRules {
        let limits = self.limits();
        // Two such parts fit into the room at once.
        let room_bytes = u64::from(self.room_pages) * ROOM_PAGE_BYTES;
        let mixed_bytes = (room_bytes / 2).clamp(limits.part_bytes_min, self.ladder.first_bytes());
        // A few parts of zeros are sent sooner than others are copied.
        let hole_bytes_min = self.hidden.get().map(|_| HOLE_PARTS * self.ladder.first_bytes());
        PartRules { limits, ladder: self.ladder, mixed_bytes, hole_bytes_min }
    }

    /// Room for `bytes` bytes that are fetched; whoever needs more than there is gets all of it.
    pub(super) async fn room_to_fetch(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let pages = u32::try_from(bytes.div_ceil(ROOM_PAGE_BYTES)).unwrap_or(u32::MAX).min(self.room_pages);
        // The semaphore is never closed.
        self.room.clone().acquire_many_owned(pages).await.ok()
    }

    /// Somebody is about to replace or remove the object under `key`: waits until no open file but `except` wants to copy
    /// from it any more, after sending those who do on their way. Their failures stay with them.
    pub async fn release_source(self: &Arc<Uploader>, key: &ObjectKey, except: Option<&OpenFile>) {
        for file in self.copiers.all() {
            let is_except = except.is_some_and(|except| std::ptr::eq(except, &*file));
            if !is_except && file.copies_from(key) {
                file.stop_copying_from(key).await;
            }
        }
    }

    /// The same for those who want to copy from the object of `file` and whom `file` does not need for that, by whatever way.
    pub(super) async fn release_independent(self: &Arc<Uploader>, file: &OpenFile) {
        let (key, others) = (file.key(), self.copiers.all());
        let others: Vec<_> = others.into_iter().filter(|other| !std::ptr::eq(file, &**other)).collect();
        let mut needed = file.sources();
        loop {
            let before = needed.len();
            let more = others.iter().filter(|other| needed.contains(&other.key())).flat_map(|other| other.sources());
            let more: Vec<ObjectKey> = more.collect();
            needed.extend(more);
            if needed.len() == before {
                break;
            }
        }
        for other in others {
            if !needed.contains(&other.key()) && other.copies_from(&key) {
                other.stop_copying_from(&key).await;
            }
        }
    }

    /// Whether an open file but `except` wants to copy from the object under `key`.
    pub(super) fn is_source(&self, key: &ObjectKey, except: &OpenFile) -> bool {
        self.copiers.all().iter().any(|file| !std::ptr::eq(except, &**file) && file.copies_from(key))
    }

    /// Looks again for something to get out of the memory, if somebody waits for it: what came to its end just now was
    /// passed over earlier.
    pub(super) fn hurry_if_short(&self) {
        if self.memory.is_short() {
            self.hurry();
        }
    }

    pub(super) fn register(&self, file: &Arc<OpenFile>) {
        self.files.add(file);
    }

    /// `file` is about to get bytes of another object.
    pub(super) fn register_copier(&self, file: &Arc<OpenFile>) {
        if !file.is_copier.swap(true, Ordering::SeqCst) {
            self.copiers.add(file);
        }
    }

    /// Counts an upload as being aborted until the guard is dropped. The other tells of the end of the mount.
    pub(super) fn giving_up(&self) -> (watch::Receiver<()>, Ending) {
        (self.aborts.subscribe(), Ending(self.ending.subscribe()))
    }

    /// The mount ends: waits until no upload is being aborted any more, and no zeros removed. Requests that are on their way
    /// are not waited for any longer.
    pub async fn until_given_up(&self) {
        self.ending.send_replace(true);
        self.aborts.closed().await;
    }

    /// Counts a request that carries data until the guard is dropped.
    pub(super) fn flight(self: &Arc<Uploader>) -> Flight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        Flight(self.clone())
    }
}

/// Tells of the end of the mount.
pub(super) struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Returns once the mount ends.
    pub(super) async fn begun(&mut self) {
        // The sender lives in the uploader, which whoever waits holds.
        let _ = self.0.wait_for(|ends| *ends).await;
    }
}

/// A request with data on its way.
pub(super) struct Flight(Arc<Uploader>);

impl Drop for Flight {
    fn drop(&mut self) {
        let last = self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1;
        // With nothing on its way no block comes free by itself: look again for something to send.
        if last {
            self.0.hurry_if_short();
        }
    }
}

impl Relief for Uploader {
    fn shrink(&self, _bytes: usize) {
        for file in self.files.all() {
            file.release_idle();
        }
    }

    /// Gives back what is not needed and sends everything that is large enough to be a part; if nothing is on its way
    /// then, publishes the file that holds the most, which goes on with the object as its base. Bytes of failed files make
    /// way before that.
    ///
    /// Nobody who calls this holds a file's lock.
    fn hurry(&self) {
        let files = self.files.all();
        for file in &files {
            file.relieve();
        }
        if !self.memory.is_short() || self.in_flight.load(Ordering::SeqCst) > 0 {
            return;
        }
        // One that somebody holds still, perhaps a reader who waits for memory, could not be published.
        let is_free = |file: &OpenFile| file.publishing.try_lock().is_ok();
        let holders = files.iter().map(|file| (file.publishable_bytes(), file));
        let holders = holders.filter(|(bytes, file)| *bytes > 0 && is_free(file));
        if let Some((_, file)) = holders.max_by_key(|(bytes, _)| *bytes) {
            file.clone().publish_in_background();
        }
    }
}

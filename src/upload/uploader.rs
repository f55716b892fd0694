//! What all open files share: the store, the memory, the sizes of parts, and the help they give when memory is short.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Handle;

use super::ladder::Ladder;
use super::open_file::OpenFile;
use super::part_buffer::SLAB_BYTES;
use crate::memory::{Block, Memory, Relief};
use crate::stats::Stats;
use crate::store::{ObjectStore, StoreError};
use crate::wire::limits::{GIB, MIB};

/// How files are uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadOptions {
    /// The size of the first parts, in bytes, 1 MiB to 5 GiB. Held to an eighth of the memory.
    pub part_bytes: u64,
    /// Parts of one file that are on their way at once, 1 to 256.
    pub concurrency: usize,
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
        UploadOptions { part_bytes: 8 * MIB, concurrency: 8 }
    }
}

/// Why a file could not take or publish bytes.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UploadError {
    /// The service said no, or could not be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The change lies in bytes that have left the memory. Not supported yet.
    #[error("a change at offset {offset} of {key:?} lies in bytes that are no longer in memory")]
    NotHeld {
        /// The file's key.
        key: String,
        /// Where the change begins.
        offset: u64,
    },
    /// The file has lost its name, so that its bytes have no place but the memory, and there are too many for that.
    #[error("{key:?} was removed while it is open, and more than {bytes_max} bytes of it would have to stay in memory")]
    NoPlace {
        /// The key that the file had.
        key: String,
        /// Bytes of one such file that the memory keeps.
        bytes_max: u64,
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

/// Makes open files; one for each mount.
pub struct Uploader {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) memory: Memory,
    pub(super) options: UploadOptions,
    pub(super) ladder: Ladder,
    pub(super) stats: Arc<Stats>,
    pub(super) runtime: Handle,
    /// Requests with data on their way, of all files together.
    pub(super) in_flight: AtomicUsize,
    /// One permit for each part that may be on the wire, of all files together: twice what one file may have. More would
    /// not be faster, and everything else on the same wire, a `mkdir` for example, would wait behind them.
    pub(super) wire: tokio::sync::Semaphore,
    /// Whoever takes many blocks for one thing holds this, so that no two wait for each other with half of theirs.
    taking_many: tokio::sync::Mutex<()>,
    /// Std mutex: pushes and sweeps only.
    files: Mutex<Vec<Weak<OpenFile>>>,
}

impl Uploader {
    /// An uploader whose transfers run on `runtime`.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        memory: Memory,
        options: UploadOptions,
        stats: Arc<Stats>,
        runtime: Handle,
    ) -> Arc<Uploader> {
        // An eighth of the memory, so that several parts are on their way while another one fills.
        let bytes_max = memory.limit_bytes() as u64 / 8 / MIB * MIB;
        let ladder = Ladder::new(options.part_bytes, bytes_max, store.limits());
        let (in_flight, taking_many, files) = (AtomicUsize::new(0), tokio::sync::Mutex::new(()), Mutex::default());
        let wire = tokio::sync::Semaphore::new(2 * options.concurrency);
        let uploader =
            Arc::new(Uploader { store, memory, options, ladder, stats, runtime, in_flight, wire, taking_many, files });
        let relief: Arc<dyn Relief> = uploader.clone();
        uploader.memory.on_shortage(&relief);
        uploader
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

    /// Waits for `count` blocks.
    pub(super) async fn take_blocks(&self, count: u64) -> Vec<Block> {
        let _alone = self.taking_many.lock().await;
        let mut blocks = Vec::new();
        for _ in 0..count {
            blocks.push(self.memory.take(SLAB_BYTES).await);
        }
        blocks
    }

    /// Looks again for something to get out of the memory, if somebody waits for it: what came to its end just now was
    /// passed over earlier.
    pub(super) fn hurry_if_short(&self) {
        if self.memory.is_short() {
            self.hurry();
        }
    }

    pub(super) fn register(&self, file: &Arc<OpenFile>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|file| file.strong_count() > 0);
        files.push(Arc::downgrade(file));
    }

    fn files(&self) -> Vec<Arc<OpenFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }

    /// Counts a request that carries data until the guard is dropped.
    pub(super) fn flight(self: &Arc<Uploader>) -> Flight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        Flight(self.clone())
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
        for file in self.files() {
            file.release_acknowledged();
        }
    }

    /// Gives back what is not needed and sends every open part that is large enough to be a part; if nothing is on its
    /// way then, publishes the file that holds the most, which goes on with the object as its base. Bytes of failed files,
    /// and many bytes of removed ones, make way before that; the last ones only when nothing else helps.
    ///
    /// Nobody who calls this holds a file's lock.
    fn hurry(&self) {
        let files = self.files();
        for file in &files {
            file.relieve();
        }
        if !self.memory.is_short() || self.in_flight.load(Ordering::SeqCst) > 0 {
            return;
        }
        let largest = |bytes_of: fn(&OpenFile) -> u64| {
            let holders = files.iter().map(|file| (bytes_of(file), file)).filter(|(bytes, _)| *bytes > 0);
            holders.max_by_key(|(bytes, _)| *bytes).map(|(_, file)| file.clone())
        };
        if let Some(file) = largest(OpenFile::publishable_bytes) {
            file.publish_step();
        } else if let Some(file) = largest(OpenFile::stuck_bytes) {
            // The last resort: what has no name may be lost, and others must not wait for ever.
            file.give_up();
        }
    }
}

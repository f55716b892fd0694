//! What all readers of a mount share, and how it is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::blocks::Blocks;
use super::copies::Copies;
use super::map::Maps;
use super::object::Object;
use crate::cache::{Announced, Filling};
use crate::memory::{Memory, Relief};
use crate::object::StoredObject;
use crate::object::limits::MIB;
use crate::store::ObjectStore;

/// The share of the memory that maps of checksums may take: a 64th is 8 MiB of the usual half GiB, which are the finest
/// maps of 4 GiB.
const MAPS_SHARE: usize = 64;

/// What that share is a multiple of, in bytes: the size of a writer's blocks, so that they fill what is left.
const MAPS_BYTES_UNIT: usize = 256 << 10;

/// Copies whose metadata are looked for on the disk at the same time, as many as HEADs are on their way.
const DESCRIBING_MAX: usize = 64;

/// Calls of the disk with the cache that are waited for at the same time: a quarter of the threads that there are for such.
const ON_DISK_MAX: usize = 128;

/// How files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// The most that is fetched ahead of one reader, in bytes. Held to a quarter of the memory.
    pub window_bytes_max: u64,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        // 32 MiB are four requests of 8 MiB side by side, 20 ms apart at 1.6 GB/s.
        ReadOptions { window_bytes_max: 32 * MIB }
    }
}

/// What all readers of a mount share.
pub struct Readers {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) memory: Memory,
    pub(super) window_bytes_max: u64,
    pub(super) runtime: Handle,
    pub(super) blocks: Blocks,
    pub(super) maps: Maps,
    pub(super) copies: Option<Copies>,
    /// Who completes a copy. Semaphore, 4 in the order of locks: held for as long as that takes.
    pub(super) completing: Arc<Semaphore>,
    /// Who looks for metadata on the disk: a hanging one holds up so many threads. Semaphore that nobody waits for.
    pub(super) describing: Arc<Semaphore>,
    /// Who waits for the disk with the cache: a hanging one holds up so many threads. Semaphore, 4 in the order of locks: held over the
    /// call of the disk, which everybody waits for for some seconds only.
    pub(super) on_disk: Arc<Semaphore>,
    next_object: AtomicU64,
    /// Blocks that were wanted and were there, or on their way, and those that were not.
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
}

impl Readers {
    /// Readers of `store` with blocks from `memory`; requests run on `runtime`, and what is in `copies` is not asked for. Sets a
    /// part of `memory` aside for itself.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        memory: Memory,
        options: ReadOptions,
        runtime: Handle,
        copies: Option<Copies>,
    ) -> Arc<Readers> {
        let maps_bytes_max = memory.limit_bytes() / MAPS_SHARE / MAPS_BYTES_UNIT * MAPS_BYTES_UNIT;
        memory.set_aside(maps_bytes_max);
        let window_bytes_max = options.window_bytes_max.min(memory.limit_bytes() as u64 / 4);
        let (blocks, maps, next_object) =
            (Blocks::new(), Maps::new(store.limits().checksum, maps_bytes_max), AtomicU64::new(0));
        let (hits, misses) = (AtomicU64::new(0), AtomicU64::new(0));
        let readers = Arc::new(Readers {
            store,
            memory,
            window_bytes_max,
            runtime,
            blocks,
            maps,
            copies,
            completing: Arc::new(Semaphore::new(1)),
            describing: Arc::new(Semaphore::new(DESCRIBING_MAX)),
            on_disk: Arc::new(Semaphore::new(ON_DISK_MAX)),
            next_object,
            hits,
            misses,
        });
        let relief: Arc<dyn Relief> = readers.clone();
        readers.memory.on_shortage(&relief);
        readers
    }

    /// How many blocks were wanted and found in memory or on their way there, and how many had to be asked for.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// The cache on disk, if there is one.
    pub fn copies(&self) -> Option<&Copies> {
        self.copies.as_ref()
    }

    /// Notes what a look into the cache on disk gave: bytes, if any.
    pub(super) fn note_look(&self, bytes: Option<u64>) {
        if let Some(copies) = &self.copies {
            copies.cache.note_look(bytes);
        }
    }

    /// Something is about to come that is kept in the cache on disk: who has read it and asks for that waits for it.
    pub(super) fn announce(&self) -> Option<Announced> {
        self.copies.as_ref().map(|copies| copies.cache.announce())
    }

    /// Keeps what came in the cache on disk.
    pub(super) fn fill(&self, filling: Filling) {
        if let Some(copies) = &self.copies {
            copies.cache.fill(filling);
        }
    }

    /// How many bytes of a version the cache on disk has, when it has all that came; `None` without a cache.
    pub async fn cached_bytes(self: &Arc<Readers>, stored: StoredObject) -> Option<u64> {
        self.object(stored).cached_bytes().await
    }

    /// Prepares to read a version of an object. Makes no request.
    pub fn object(self: &Arc<Readers>, stored: StoredObject) -> Arc<Object> {
        let number = self.next_object.fetch_add(1, Ordering::Relaxed);
        Arc::new(Object::new(self, number, stored))
    }
}

impl Relief for Readers {
    fn shrink(&self, bytes: usize) {
        self.blocks.shrink(bytes);
    }

    fn hurry(&self) {}
}

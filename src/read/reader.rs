//! Reading one version of one object through the blocks of the mount.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::runtime::Handle;

use super::blocks::{BlockKey, Blocks, Filled, Slot};
use super::checksums::Checksums;
use super::grain::{GRAINS, grain_bytes};
use super::window::Window;
use crate::memory::{Block, Memory, Relief};
use crate::store::{GetRequest, ObjectStore, Reading, StoreError, StoreErrorKind};
use crate::wire::limits::MIB;
use crate::wire::{ByteRange, Crc64, Crc64Hasher, ETag, ObjectKey};

/// The block of a reader in order: the largest request of the kernel, so that most answers are one slice of a block.
const LARGE_BYTES: usize = 1 << 20;

/// The largest request of a reader in order, in bytes: a request's overhead is then far below a hundredth, and a window
/// is still several requests side by side.
const FETCH_BYTES_MAX: u64 = 8 * MIB;

/// Blocks behind a reader in order that are kept for requests which overtook one another, in bytes: two windows of the
/// kernel's read-ahead, because it asks for the second as soon as the reader comes to the first.
const TRAIL_BYTES: u64 = 8 * MIB;

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

/// One version of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Where it is. Moves when the object is renamed.
    pub key: ObjectKey,
    /// Its ETag, which every request is pinned to.
    pub etag: ETag,
    /// Its size in bytes.
    pub size: u64,
    /// Its checksum, where it is known; otherwise the first answer tells it.
    pub crc64: Option<Crc64>,
}

/// What all readers of a mount share.
pub struct Readers {
    store: Arc<dyn ObjectStore>,
    memory: Memory,
    window_bytes_max: u64,
    runtime: Handle,
    blocks: Blocks,
    next_object: AtomicU64,
}

/// A version of an object that is being read, shared by all who read it. Its blocks go when the last of them does.
pub struct Object {
    readers: Arc<Readers>,
    /// The name of its blocks.
    number: u64,
    /// Std mutex: copies only.
    version: Mutex<Version>,
    /// Std mutex: map operations only.
    checksums: Mutex<Checksums>,
    /// Bytes that were fetched for readers who jump.
    fetched_at_random: AtomicU64,
    /// When the service last confirmed the version by answering. Std mutex: copies only.
    answered_at: Mutex<Option<Instant>>,
    /// The bytes that came were not the object's: nothing more is read through this.
    damaged: AtomicBool,
}

/// One reader of an object, with habits of its own.
pub struct Reader {
    object: Arc<Object>,
    /// Std mutex: arithmetic only.
    progress: Mutex<Progress>,
}

struct Progress {
    window: Window,
    /// Everything before is on its way or was.
    fetched_to: u64,
    /// Blocks before were given back.
    released_to: u64,
}

/// What was read.
pub struct ReadBytes(Bytes);

enum Bytes {
    /// A range of a block, which stays in memory meanwhile.
    Slice(Arc<Slot>, Range<usize>),
    /// Pieces of several blocks put together.
    Owned(Vec<u8>),
}

impl AsRef<[u8]> for ReadBytes {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Slice(slot, range) => slot.filled().map_or(&[], |filled| &filled.block[range.clone()]),
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for ReadBytes {
    fn from(bytes: Vec<u8>) -> ReadBytes {
        ReadBytes(Bytes::Owned(bytes))
    }
}

impl Readers {
    /// Readers of `store` with blocks from `memory`; requests run on `runtime`.
    pub fn new(store: Arc<dyn ObjectStore>, memory: Memory, options: ReadOptions, runtime: Handle) -> Arc<Readers> {
        let window_bytes_max = options.window_bytes_max.min(memory.limit_bytes() as u64 / 4);
        let (blocks, next_object) = (Blocks::new(), AtomicU64::new(0));
        let readers = Arc::new(Readers { store, memory, window_bytes_max, runtime, blocks, next_object });
        let relief: Arc<dyn Relief> = readers.clone();
        readers.memory.on_shortage(&relief);
        readers
    }

    /// Prepares to read a version of an object. Makes no request.
    pub fn object(self: &Arc<Readers>, version: Version) -> Arc<Object> {
        let number = self.next_object.fetch_add(1, Ordering::Relaxed);
        let (version, checksums, damaged) = (Mutex::new(version), Mutex::default(), AtomicBool::new(false));
        Arc::new(Object {
            readers: self.clone(),
            number,
            version,
            checksums,
            fetched_at_random: AtomicU64::new(0),
            answered_at: Mutex::default(),
            damaged,
        })
    }
}

impl Relief for Readers {
    fn shrink(&self, bytes: usize) {
        self.blocks.shrink(bytes);
    }

    fn hurry(&self) {}
}

impl Object {
    /// A reader of this version that has not read anything yet.
    pub fn reader(self: &Arc<Object>) -> Reader {
        let window = Window::new(self.readers.window_bytes_max);
        Reader { object: self.clone(), progress: Mutex::new(Progress { window, fetched_to: 0, released_to: 0 }) }
    }

    /// The version that is read.
    pub fn version(&self) -> Version {
        lock(&self.version).clone()
    }

    /// How long ago the service last confirmed that this is the object's version.
    pub fn confirmed_ago(&self) -> Option<Duration> {
        lock(&self.answered_at).map(|at| at.elapsed())
    }

    /// Whether bytes came that were not the object's.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::SeqCst)
    }

    /// The same bytes are now under another key or another ETag: the object was renamed, or got new metadata.
    pub fn moved(&self, key: ObjectKey, etag: ETag) {
        let mut version = lock(&self.version);
        (version.key, version.etag) = (key, etag);
    }

    fn block_key(&self, block_bytes: usize, index: u64) -> BlockKey {
        BlockKey { object: self.number, block_bytes, index }
    }

    /// The checksum of a block that just came in: an error if with it the whole object is known, and is not what the
    /// service says it is.
    fn verify(&self, start: u64, len: u64, crc64: Crc64) -> Result<(), StoreError> {
        let version = self.version();
        let whole = lock(&self.checksums).note(start, len, crc64, version.size);
        match (whole, version.crc64) {
            (Some(read), Some(expected)) if read != expected => {
                self.damaged.store(true, Ordering::SeqCst);
                self.readers.blocks.remove_object(self.number);
                Err(self.damage(format!("the bytes read have checksum {read}, the object has {expected}")))
            }
            (Some(_), _) => {
                lock(&self.checksums).clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn damage(&self, message: String) -> StoreError {
        StoreError::new(StoreErrorKind::Corrupted, "GetObject", self.version().key.as_str(), message)
    }

    /// Fetches the blocks of `wanted`, which follow one another, with one request, and settles every slot.
    async fn fetch(self: Arc<Object>, block_bytes: usize, wanted: Vec<Wanted>) {
        let mut wanted = VecDeque::from(wanted);
        loop {
            let version = self.version();
            let Err(error) = self.fetch_blocks(block_bytes, &version, &mut wanted).await else { return };
            if error.is_of_version_gone() && self.has_moved_since(&version) {
                // Renamed by this mount: the rest is where it is now.
                continue;
            }
            for want in wanted {
                self.readers.blocks.remove(self.block_key(block_bytes, want.index));
                want.slot.settle(Err(error.clone()));
            }
            return;
        }
    }

    fn has_moved_since(&self, version: &Version) -> bool {
        let now = self.version();
        (&now.key, &now.etag) != (&version.key, &version.etag)
    }

    /// Fetches blocks from the front of `wanted` with one request, and settles those that have come.
    async fn fetch_blocks(
        &self,
        block_bytes: usize,
        version: &Version,
        wanted: &mut VecDeque<Wanted>,
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (wanted.front(), wanted.back()) else { return Ok(()) };
        let start = first.index * block_bytes as u64;
        let end = ((last.index + 1) * block_bytes as u64).min(version.size);
        let (key, if_match) = (version.key.clone(), Some(version.etag.clone()));
        let request = GetRequest { key, range: ByteRange::new(start, end), if_match };
        let Reading { head, mut body } = self.readers.store.get(request).await?;
        *lock(&self.answered_at) = Some(Instant::now());
        lock(&self.version).crc64 = version.crc64.or(head.crc64);
        let mut piece = bytes::Bytes::new();
        while let Some(want) = wanted.front_mut() {
            let start = want.index * block_bytes as u64;
            let len = (version.size - start).min(block_bytes as u64) as usize;
            let block = match &mut want.block {
                Some(block) => block,
                empty => empty.insert(self.readers.memory.take(block_bytes).await),
            };
            let mut checksum = Crc64Hasher::new();
            let mut filled = 0;
            while filled < len {
                if piece.is_empty() {
                    let short = || self.damage(format!("the body ended {} bytes early", len - filled));
                    piece = body.next().await.ok_or_else(short)??;
                }
                let part = piece.split_to(piece.len().min(len - filled));
                block[filled..filled + part.len()].copy_from_slice(&part);
                checksum.update(&part);
                filled += part.len();
            }
            if block_bytes == LARGE_BYTES {
                self.verify(start, len as u64, checksum.value())?;
            }
            if let Some(Wanted { slot, block: Some(block), .. }) = wanted.pop_front() {
                slot.settle(Ok(Filled { block, len }));
            }
            if self.readers.memory.is_short() {
                // Whoever waits asked before this block could be given back. Its own reader has it already.
                self.readers.blocks.shrink(block_bytes);
            }
        }
        Ok(())
    }
}

/// A block to be fetched.
struct Wanted {
    index: u64,
    slot: Arc<Slot>,
    /// Its memory; a block that somebody is waiting for may get it later.
    block: Option<Block>,
}

impl Reader {
    /// The object that is read.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// Up to `len` bytes from `offset`; fewer only at the end of the object.
    pub async fn read(&self, offset: u64, len: usize) -> Result<ReadBytes, StoreError> {
        if self.object.is_damaged() {
            return Err(self.object.damage("what was read before was damaged; open the file again".to_owned()));
        }
        let end = offset.saturating_add(len as u64).min(lock(&self.object.version).size);
        if offset >= end {
            return Ok(ReadBytes::from(Vec::new()));
        }
        let in_order = self.fetch_ahead(offset, end);
        let (slot, block_bytes) = self.block_at(offset, end, in_order).await?;
        let start = (offset % block_bytes as u64) as usize;
        if start as u64 + (end - offset) <= block_bytes as u64 {
            return Ok(ReadBytes(Bytes::Slice(slot, start..start + (end - offset) as usize)));
        }
        drop(slot);
        self.gather(offset, end, in_order).await.map(ReadBytes::from)
    }

    /// Puts the bytes of several blocks together.
    async fn gather(&self, offset: u64, end: u64, in_order: bool) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::with_capacity((end - offset) as usize);
        while offset + (bytes.len() as u64) < end {
            let at = offset + bytes.len() as u64;
            let (slot, block_bytes) = self.block_at(at, end, in_order).await?;
            let filled = slot.wait().await?;
            let start = (at % block_bytes as u64) as usize;
            let stop = filled.len.min(start + (end - at) as usize);
            bytes.extend_from_slice(&filled.block[start..stop]);
        }
        Ok(bytes)
    }

    /// The block that the byte at `at` is in, and its size: one that is there, or else the one that this reader's habits
    /// suggest. What a reader who jumps wants up to `end` is fetched with the same request.
    async fn block_at(&self, at: u64, end: u64, in_order: bool) -> Result<(Arc<Slot>, usize), StoreError> {
        let blocks = &self.object.readers.blocks;
        let holds = |bytes: &&usize| blocks.get(self.object.block_key(**bytes, at / **bytes as u64)).is_some();
        let held = [LARGE_BYTES].iter().chain(&GRAINS).find(holds).copied();
        let block_bytes = match held {
            Some(bytes) => bytes,
            None if in_order => LARGE_BYTES,
            None => {
                let size = lock(&self.object.version).size;
                grain_bytes(self.object.fetched_at_random.load(Ordering::Relaxed), size)
            }
        };
        let index = at / block_bytes as u64;
        let index_end = if block_bytes == LARGE_BYTES { index + 1 } else { end.div_ceil(block_bytes as u64) };
        Ok((self.block(block_bytes, index, index_end).await?, block_bytes))
    }

    async fn block(&self, block_bytes: usize, index: u64, index_end: u64) -> Result<Arc<Slot>, StoreError> {
        let key = self.object.block_key(block_bytes, index);
        loop {
            let slot = self.object.readers.blocks.get(key);
            if let Some(slot) = slot {
                slot.wait().await?;
                return Ok(slot);
            }
            let mut waits = false;
            let wanted =
                self.claim_run(block_bytes, index..index_end, |memory| Some(take(memory, block_bytes, &mut waits)));
            if block_bytes != LARGE_BYTES {
                let fetched = (wanted.len() * block_bytes) as u64;
                self.object.fetched_at_random.fetch_add(fetched, Ordering::Relaxed);
            }
            self.spawn_fetch(block_bytes, wanted);
        }
    }

    /// Sees to it that a reader in order finds its next bytes on their way. Returns whether it is one.
    fn fetch_ahead(&self, offset: u64, end: u64) -> bool {
        let size = lock(&self.object.version).size;
        let (fetch, release) = {
            let mut progress = lock(&self.progress);
            let Some(until) = progress.window.advance(offset, end) else {
                (progress.fetched_to, progress.released_to) = (0, 0);
                return false;
            };
            if progress.fetched_to < offset || offset < progress.released_to {
                // The first in order after a jump.
                let block = offset / LARGE_BYTES as u64 * LARGE_BYTES as u64;
                (progress.fetched_to, progress.released_to) = (block, block);
            }
            let until = until.next_multiple_of(LARGE_BYTES as u64).min(size);
            // Not a request for every block, but one for a good piece of the window.
            let worthwhile = ((until - offset.min(until)) / 4).clamp(LARGE_BYTES as u64, FETCH_BYTES_MAX);
            let due = progress.fetched_to < end || until == size || progress.fetched_to + worthwhile <= until;
            let fetch = if due { progress.fetched_to..until } else { 0..0 };
            progress.fetched_to = progress.fetched_to.max(fetch.end);
            let kept_from = offset.saturating_sub(TRAIL_BYTES) / LARGE_BYTES as u64 * LARGE_BYTES as u64;
            let release = progress.released_to..kept_from;
            progress.released_to = progress.released_to.max(kept_from);
            (fetch, release)
        };
        for start in release.step_by(LARGE_BYTES) {
            self.object.readers.blocks.remove(self.object.block_key(LARGE_BYTES, start / LARGE_BYTES as u64));
        }
        if !fetch.is_empty() {
            self.fetch_range(fetch, end);
        }
        true
    }

    /// Requests the large blocks of `range`; those before `needed_end` even when memory is short.
    fn fetch_range(&self, range: Range<u64>, needed_end: u64) {
        let block_bytes = LARGE_BYTES as u64;
        let mut index = range.start / block_bytes;
        let index_end = range.end.div_ceil(block_bytes);
        while index < index_end {
            let run_end = index_end.min(index + FETCH_BYTES_MAX / block_bytes);
            let (mut at, mut waits) = (index, false);
            let wanted = self.claim_run(LARGE_BYTES, index..run_end, |memory| {
                let needed = at * block_bytes < needed_end;
                at += 1;
                match needed {
                    true => Some(take(memory, LARGE_BYTES, &mut waits)),
                    false if waits => None,
                    false => memory.try_take_spare(LARGE_BYTES).map(Some),
                }
            });
            // A run ends early at a block that somebody else has claimed, or where spare memory ends.
            index += (wanted.len() as u64).max(1);
            self.spawn_fetch(LARGE_BYTES, wanted);
        }
    }

    /// Claims blocks that follow one another from `run.start`, until one is taken already or `memory_for` gives up.
    fn claim_run(
        &self,
        block_bytes: usize,
        run: Range<u64>,
        mut memory_for: impl FnMut(&Memory) -> Option<Option<Block>>,
    ) -> Vec<Wanted> {
        let readers = &self.object.readers;
        let mut wanted = Vec::new();
        for index in run {
            let Some(block) = memory_for(&readers.memory) else { break };
            let Some(slot) = readers.blocks.claim(self.object.block_key(block_bytes, index)) else { break };
            wanted.push(Wanted { index, slot, block });
        }
        wanted
    }

    fn spawn_fetch(&self, block_bytes: usize, wanted: Vec<Wanted>) {
        if !wanted.is_empty() {
            self.object.readers.runtime.spawn(self.object.clone().fetch(block_bytes, wanted));
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.readers.blocks.remove_object(self.number);
    }
}

/// Memory for a block that is needed, if it is there now. Behind a block that has to wait none is taken, because two
/// fetches that each hold what the other waits for would wait for ever.
fn take(memory: &Memory, block_bytes: usize, waits: &mut bool) -> Option<Block> {
    let block = if *waits { None } else { memory.try_take(block_bytes) };
    *waits |= block.is_none();
    block
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

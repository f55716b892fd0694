//! Reading one version of one object through the blocks of the mount.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::blocks::Slot;
use super::grain::{RANDOM_BLOCK_BYTES, random_block_bytes};
use super::layout::Layout;
use super::object::{FETCHES_AGAIN, Object, Wanted};
use super::verifier::Handing;
use super::window::Window;
use super::{FETCH_BYTES_MAX, LARGE_BYTES};
use crate::memory::{Block, Memory};
use crate::object::limits::MIB;
use crate::store::StoreError;

/// Blocks behind a reader in order that are kept for requests which overtook one another, in bytes: two windows of the
/// kernel's read-ahead, because it asks for the second as soon as the reader comes to the first.
const TRAIL_BYTES: u64 = 8 * MIB;

/// One reader of an object, with habits of its own.
pub struct Reader {
    object: Arc<Object>,
    /// Std mutex, 8 in the order of locks: arithmetic only.
    progress: Mutex<Progress>,
}

struct Progress {
    window: Window,
    /// It has read in order since a request for the beginning, and may read the whole. So does who begins where others have
    /// stopped: what those got the kernel has kept for it.
    from_start: bool,
    /// Everything before is on its way or was.
    fetched_to: u64,
    /// Blocks before were given back.
    released_to: u64,
}

/// How a reader goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Here and there.
    Jumps,
    /// In order, from somewhere.
    InOrder,
    /// In order, from the beginning.
    ReadsAll,
}

/// What was read.
pub struct ReadBytes {
    bytes: Bytes,
    is_verified: bool,
}

impl ReadBytes {
    /// Whether these are known to be the object's bytes.
    pub fn is_verified(&self) -> bool {
        self.is_verified
    }
}

/// A block that may be handed out.
struct Handed {
    slot: Arc<Slot>,
    is_verified: bool,
}

enum Bytes {
    /// A range of a block, which stays in memory meanwhile.
    Slice(Arc<Slot>, Range<usize>),
    /// Pieces of several blocks put together.
    Owned(Vec<u8>),
}

impl AsRef<[u8]> for ReadBytes {
    fn as_ref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Slice(slot, range) => slot.filled().map_or(&[], |filled| &filled.block[range.clone()]),
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl ReadBytes {
    /// Those of a copy.
    pub(super) fn copied(bytes: Vec<u8>, is_verified: bool) -> ReadBytes {
        ReadBytes { bytes: Bytes::Owned(bytes), is_verified }
    }
}

impl From<Vec<u8>> for ReadBytes {
    fn from(bytes: Vec<u8>) -> ReadBytes {
        ReadBytes { bytes: Bytes::Owned(bytes), is_verified: true }
    }
}

impl Handed {
    fn slice(self, range: Range<usize>) -> ReadBytes {
        ReadBytes { bytes: Bytes::Slice(self.slot, range), is_verified: self.is_verified }
    }
}

impl Object {
    /// A reader of this version that has not read anything yet.
    pub fn reader(self: &Arc<Object>) -> Reader {
        let window = Window::new(self.readers.window_bytes_max);
        let progress = Progress { window, from_start: false, fetched_to: 0, released_to: 0 };
        Reader { object: self.clone(), progress: Mutex::new(progress) }
    }
}

impl Reader {
    /// The object that is read.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// Up to `len` bytes from `offset`; fewer only at the end of the object.
    pub async fn read(&self, offset: u64, len: usize) -> Result<ReadBytes, StoreError> {
        self.expect_undamaged()?;
        let read = self.read_on(offset, len).await?;
        // Found out while this one waited: it may be the last, of which nobody would be told otherwise.
        self.expect_undamaged()?;
        Ok(read)
    }

    /// An error if somebody got bytes that are not the object's.
    fn expect_undamaged(&self) -> Result<(), StoreError> {
        if self.object.is_damaged() {
            return Err(self.object.damage("what was read before was damaged; open the file again"));
        }
        Ok(())
    }

    async fn read_on(&self, offset: u64, len: usize) -> Result<ReadBytes, StoreError> {
        let end = offset.saturating_add(len as u64).min(self.object.size());
        if offset >= end {
            return Ok(ReadBytes::from(Vec::new()));
        }
        if let Some(read) = self.object.read_whole_copy(offset..end).await {
            return Ok(read);
        }
        if let Some(block_bytes) = self.object.single_block_bytes() {
            let handed = self.block(block_bytes, 0, 1).await?;
            return Ok(handed.slice(offset as usize..end as usize));
        }
        let habit = self.fetch_ahead(offset, end);
        let (handed, block_bytes) = self.block_at(offset, end, habit).await?;
        let block = self.object.range_of(block_bytes, self.object.index_of(block_bytes, offset));
        if end <= block.end {
            return Ok(handed.slice((offset - block.start) as usize..(end - block.start) as usize));
        }
        drop(handed);
        self.gather(offset, end, habit).await
    }

    /// Puts the bytes of several blocks together.
    async fn gather(&self, offset: u64, end: u64, habit: Habit) -> Result<ReadBytes, StoreError> {
        let (mut bytes, mut is_verified) = (Vec::with_capacity((end - offset) as usize), true);
        while offset + (bytes.len() as u64) < end {
            let at = offset + bytes.len() as u64;
            let (handed, block_bytes) = self.block_at(at, end, habit).await?;
            let filled = handed.slot.wait().await?;
            is_verified &= handed.is_verified;
            let block = self.object.range_of(block_bytes, self.object.index_of(block_bytes, at));
            let start = (at - block.start) as usize;
            let stop = filled.len.min(start + (end - at) as usize);
            bytes.extend_from_slice(&filled.block[start..stop]);
        }
        Ok(ReadBytes { bytes: Bytes::Owned(bytes), is_verified })
    }

    /// The block that the byte at `at` is in, and its size: one that is there, or else the one that this reader's habits
    /// suggest. What a reader who jumps wants up to `end` is fetched with the same request.
    async fn block_at(&self, at: u64, end: u64, habit: Habit) -> Result<(Handed, usize), StoreError> {
        if habit == Habit::ReadsAll && self.object.index_of(LARGE_BYTES, at) > 0 {
            // Who only looks at the beginning does not come here.
            self.object.verify_whole().await?;
        }
        let blocks = &self.object.readers.blocks;
        let holds =
            |bytes: &&usize| blocks.get(self.object.block_key(**bytes, self.object.index_of(**bytes, at))).is_some();
        let held = [LARGE_BYTES].iter().chain(&RANDOM_BLOCK_BYTES).find(holds).copied();
        let block_bytes = match held {
            Some(bytes) => bytes,
            None if habit != Habit::Jumps => LARGE_BYTES,
            None => {
                let fetched = self.object.fetched_at_random.load(Ordering::Relaxed);
                random_block_bytes(fetched, self.object.size()).max(self.object.verified_grain_bytes().unwrap_or(0))
            }
        };
        let index = self.object.index_of(block_bytes, at);
        let index_end = if block_bytes == LARGE_BYTES { index + 1 } else { end.div_ceil(block_bytes as u64) };
        Ok((self.block(block_bytes, index, index_end).await?, block_bytes))
    }

    async fn block(&self, block_bytes: usize, index: u64, index_end: u64) -> Result<Handed, StoreError> {
        let key = self.object.block_key(block_bytes, index);
        let (mut again, mut is_counted) = (FETCHES_AGAIN, false);
        loop {
            let slot = self.object.readers.blocks.get(key);
            if !std::mem::replace(&mut is_counted, true) {
                let readers = &self.object.readers;
                let counter = if slot.is_some() { &readers.hits } else { &readers.misses };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(slot) = slot {
                let filled = slot.wait().await?;
                let (start, len) = (self.object.range_of(block_bytes, index).start, filled.len as u64);
                let handing = match filled.is_verified {
                    true => Handing::Verified,
                    false => self.object.verifier.hand_out(start, len, filled.checksum),
                };
                if handing != Handing::Wrong {
                    return Ok(Handed { slot, is_verified: handing == Handing::Verified });
                }
                if again == 0 {
                    // What was handed out before is what is damaged.
                    self.object.verifier.set_damaged();
                    let end = start + len;
                    return Err(self.object.damage(format!("bytes {start} to {end} were handed out before as others")));
                }
                // These are not the object's bytes, or not what they were.
                again -= 1;
                self.object.readers.blocks.remove(key);
            }
            let mut waits = false;
            let wanted =
                self.claim_run(block_bytes, index..index_end, |memory| Some(take(memory, block_bytes, &mut waits)));
            if block_bytes != LARGE_BYTES {
                let fetched = (wanted.len() * block_bytes) as u64;
                self.object.fetched_at_random.fetch_add(fetched, Ordering::Relaxed);
            }
            self.object.spawn_fetch(block_bytes, wanted);
        }
    }

    /// Sees to it that a reader in order finds its next bytes on their way. Returns what it is.
    fn fetch_ahead(&self, offset: u64, end: u64) -> Habit {
        let size = self.object.size();
        let layout = self.object.layout_or(|| match offset {
            0 => Layout::of_first_read(end),
            _ => Layout::EVEN,
        });
        let (fetch, release, habit) = {
            let mut progress = lock(&self.progress);
            let mut until = progress.window.advance(offset, end);
            if until.is_none() {
                (progress.fetched_to, progress.released_to) = (0, 0);
                progress.from_start = false;
            }
            if !progress.from_start && self.object.verifier.has_handed_out_to(offset) {
                progress.from_start = true;
                until = until.or_else(|| progress.window.begin_at(offset, end));
            }
            progress.from_start |= offset == 0;
            let Some(until) = until else { return Habit::Jumps };
            if progress.fetched_to < offset || offset < progress.released_to {
                // The first in order after a jump.
                let block = layout.start_before(offset);
                (progress.fetched_to, progress.released_to) = (block, block);
            }
            let until = layout.end_after(until).min(size);
            // Not a request for every block, but one for a good piece of the window.
            let worthwhile = ((until - offset.min(until)) / 4).clamp(LARGE_BYTES as u64, FETCH_BYTES_MAX);
            let due = progress.fetched_to < end || until == size || progress.fetched_to + worthwhile <= until;
            let fetch = if due { progress.fetched_to..until } else { 0..0 };
            progress.fetched_to = progress.fetched_to.max(fetch.end);
            let kept_from = layout.start_before(offset.saturating_sub(TRAIL_BYTES));
            let release = layout.index_of(progress.released_to)..layout.index_of(kept_from);
            progress.released_to = progress.released_to.max(kept_from);
            (fetch, release, if progress.from_start { Habit::ReadsAll } else { Habit::InOrder })
        };
        for index in release {
            self.object.readers.blocks.remove(self.object.block_key(LARGE_BYTES, index));
        }
        if !fetch.is_empty() {
            self.fetch_range(layout, fetch, end);
        }
        habit
    }

    /// Requests the large blocks of `range`; those before `needed_end` even when memory is short.
    fn fetch_range(&self, layout: Layout, range: Range<u64>, needed_end: u64) {
        let mut index = layout.index_of(range.start);
        let index_end = layout.blocks_to(range.end);
        while index < index_end {
            let run_end = index_end.min(index + FETCH_BYTES_MAX / LARGE_BYTES as u64);
            let (mut at, mut waits) = (index, false);
            let wanted = self.claim_run(LARGE_BYTES, index..run_end, |memory| {
                let needed = layout.range_of(at).start < needed_end;
                at += 1;
                match needed {
                    true => Some(take(memory, LARGE_BYTES, &mut waits)),
                    false if waits => None,
                    false => memory.try_take_spare(LARGE_BYTES).map(Some),
                }
            });
            // A run ends early at a block that somebody else has claimed, or where spare memory ends.
            index += (wanted.len() as u64).max(1);
            self.object.spawn_fetch(LARGE_BYTES, wanted);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectKey;
    use crate::read::{ReadOptions, Readers};
    use crate::store::ObjectStore;
    use crate::store::testing::MemoryStore;

    const KIB: usize = 1 << 10;

    /// What the kernel asks for when programs read in small pieces or large, to the first few requests of 1 MiB.
    const REQUESTS: [&[usize]; 6] = [&[16, 64, 256, 512], &[64, 256, 512], &[128, 512], &[256, 512], &[512], &[]];

    #[tokio::test]
    async fn who_reads_in_order_gets_slices_of_blocks() {
        let content: Vec<u8> = (0..6 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        let store = Arc::new(MemoryStore::new());
        store.insert("a", content.clone());
        let key = ObjectKey::new("a").unwrap();
        let stored = store.head(&key).await.unwrap().version().under(key);
        let (options, runtime) = (ReadOptions::default(), tokio::runtime::Handle::current());
        let readers = Readers::new(store, Memory::new(256 << 20), options, runtime, None);
        for growing in REQUESTS {
            let reader = readers.object(stored.clone()).reader();
            let mut offset = 0;
            for len in growing.iter().copied().chain([1024; 5]).map(|kib| kib * KIB) {
                let read = reader.read(offset as u64, len).await.unwrap();
                assert!(matches!(read.bytes, Bytes::Slice(..)), "{growing:?} at {offset}");
                assert!(*read.as_ref() == content[offset..offset + len], "{growing:?} at {offset}");
                offset += len;
            }
            // Whoever goes another way gets the same bytes.
            let other = reader.object().reader();
            for (at, len) in [(0, 1 << 20), (1 << 20, 1 << 20), (900 * KIB, 300 * KIB), (5 << 20, 1 << 20)] {
                let read = other.read(at as u64, len).await.unwrap();
                assert!(*read.as_ref() == content[at..at + len] && read.is_verified(), "{growing:?} at {at}");
            }
        }
    }
}

//! One version of one object: fetching its blocks, and making sure of them.
//!
//! A block that is known to be damaged is fetched again. What is known of the whole alone is made sure of before it is
//! handed out, where that is possible: an object of one block when it has come, and one that fits the window of a reader
//! in order when its second block is asked for.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;

use super::blocks::{BlockKey, Filled, Slot};
use super::copies::CopyPlace;
use super::grain::RANDOM_BLOCK_BYTES;
use super::layout::Layout;
use super::readers::Readers;
use super::verifier::{Stretch, Verdict, Verifier};
use super::{FETCH_BYTES_MAX, LARGE_BYTES};
use crate::cache::{Entry, GRAIN_BYTES};
use crate::memory::Block;
use crate::object::{ByteRange, Checksum, ChecksumAlgorithm, ChecksumHasher, ETag, ObjectKey, StoredObject, Version};
use crate::store::{GetRequest, Op, Reading, StoreError, StoreErrorKind};

/// How often damaged bytes are fetched again. A damage on the way hits the same bytes twice only where something is
/// broken, and then no number of attempts helps.
pub(super) const FETCHES_AGAIN: usize = 2;

/// How long a reader in order waits for all of an object to come before it goes on with what is not verified yet: the
/// window of 32 MiB comes in that time at 50 Mbit/s, and a slower line is better used than waited for.
const WHOLE_WITHIN: Duration = Duration::from_secs(5);

/// A version of an object that is being read, shared by all who read it. Its blocks go when the last of them does.
pub struct Object {
    pub(super) readers: Arc<Readers>,
    /// The name of its blocks.
    number: u64,
    /// What is read. Moves when the object is renamed, and gets its checksum from the first answer where it has none. Std
    /// mutex, 8 in the order of locks: copies only.
    stored: Mutex<StoredObject>,
    pub(super) verifier: Verifier,
    /// What of it is on this machine's disk.
    pub(super) copy_place: CopyPlace,
    /// Where its large blocks begin, once somebody has begun to read.
    layout: OnceLock<Layout>,
    /// The last checksum that an answer told, if it was another than the version's. Std mutex, 8 in the order of locks, taken
    /// under that of `stored`: copies only.
    contradicted: Mutex<Option<Checksum>>,
    /// Held by the reader who sees to it that all of the object is verified. Tokio's mutex, 4 in the order of locks: held for as
    /// long as that takes.
    whole: tokio::sync::Mutex<()>,
    /// All of the object is being verified before it is handed out.
    is_held_back: AtomicBool,
    /// All of the object cannot be had at once: it is handed out as it comes.
    goes_on_unverified: AtomicBool,
    /// Bytes that were fetched for readers who jump.
    pub(super) fetched_at_random: AtomicU64,
    /// When the service last confirmed the version by answering, until somebody has taken note of that. Std mutex, 8 in the order of locks: copies only.
    answered_at: Mutex<Option<Instant>>,
}

/// Why blocks did not come.
enum Trouble {
    /// They cannot be had.
    Store(StoreError),
    /// What came is not the object's.
    Damaged(StoreError),
    /// What came is not what came before.
    Contradicted(StoreError),
    /// Something of all that came is not the object's, and nobody knows what.
    WholeDamaged(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble::Store(error)
    }
}

/// A block to be fetched.
pub(super) struct Wanted {
    pub(super) index: u64,
    pub(super) slot: Arc<Slot>,
    /// Its memory; a block that somebody is waiting for may get it later.
    pub(super) block: Option<Block>,
}

impl Object {
    pub(super) fn new(readers: &Arc<Readers>, number: u64, stored: StoredObject) -> Object {
        Object {
            readers: readers.clone(),
            number,
            stored: Mutex::new(stored),
            verifier: Verifier::new(readers.store.limits().checksum),
            copy_place: CopyPlace::default(),
            layout: OnceLock::new(),
            contradicted: Mutex::default(),
            whole: tokio::sync::Mutex::default(),
            is_held_back: AtomicBool::new(false),
            goes_on_unverified: AtomicBool::new(false),
            fetched_at_random: AtomicU64::new(0),
            answered_at: Mutex::default(),
        }
    }

    /// What is read, and where it is now.
    pub fn stored(&self) -> StoredObject {
        lock(&self.stored).clone()
    }

    /// The version that is read.
    pub fn version(&self) -> Version {
        lock(&self.stored).version.clone()
    }

    pub(super) fn size(&self) -> u64 {
        lock(&self.stored).version.size
    }

    /// How long ago the service has confirmed that this is the object's version, if it has since this was last asked.
    pub fn newly_confirmed_ago(&self) -> Option<Duration> {
        lock(&self.answered_at).take().map(|at| at.elapsed())
    }

    /// Whether somebody got bytes that were not the object's.
    pub fn is_damaged(&self) -> bool {
        self.verifier.is_damaged()
    }

    /// Tells this object of the mount from every other one, also from one that reads the same version.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether all that was handed out of it is known to be right by now.
    pub fn has_verified_all(&self) -> bool {
        self.verifier.has_verified_all()
    }

    /// Nobody reads it any more, for the time being: its blocks make way. What is known of them stays, for who reads on.
    pub fn rest(&self) {
        self.readers.blocks.remove_object(self.number);
        self.copy_place.close();
        self.goes_on_unverified.store(false, Ordering::SeqCst);
    }

    /// The same bytes are now under another key or another ETag: the object was renamed, or got new metadata.
    pub fn moved(&self, key: ObjectKey, etag: ETag) {
        let mut stored = lock(&self.stored);
        (stored.key, stored.version.etag) = (key, etag);
        drop(stored);
        // A copy is one of that version under that key.
        self.copy_place.close();
    }

    pub(super) fn block_key(&self, block_bytes: usize, index: u64) -> BlockKey {
        BlockKey { object: self.number, block_bytes, index }
    }

    /// Where the large blocks begin: as suits the first who reads, of whom `layout` is asked what that is.
    pub(super) fn layout_or(&self, layout: impl FnOnce() -> Layout) -> Layout {
        *self.layout.get_or_init(|| {
            let size = self.size();
            if size <= LARGE_BYTES as u64 {
                // One block has to hold all of it.
                return Layout::EVEN;
            }
            let layout = layout();
            self.readers.maps.grain_for(size).map_or(layout, |grain_bytes| layout.in_grains_of(grain_bytes))
        })
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout_or(|| Layout::EVEN)
    }

    /// The block of this size that the byte at `at` is in.
    pub(super) fn index_of(&self, block_bytes: usize, at: u64) -> u64 {
        if block_bytes == LARGE_BYTES { self.layout().index_of(at) } else { at / block_bytes as u64 }
    }

    /// The bytes of a block, of which the last may have fewer.
    pub(super) fn range_of(&self, block_bytes: usize, index: u64) -> Range<u64> {
        let bytes = block_bytes as u64;
        if block_bytes == LARGE_BYTES { self.layout().range_of(index) } else { index * bytes..(index + 1) * bytes }
    }

    /// The one block that holds all of the object, in bytes, if it is as small as that.
    pub(super) fn single_block_bytes(&self) -> Option<usize> {
        let size = self.size();
        RANDOM_BLOCK_BYTES.into_iter().rev().chain([LARGE_BYTES]).find(|bytes| size <= *bytes as u64)
    }

    /// The least that can be verified, in bytes, if more of the object than all of it can be.
    pub(super) fn verified_grain_bytes(&self) -> Option<usize> {
        let Version { size, checksum, .. } = self.version();
        self.verifier.map(&self.readers.maps, checksum, size).map(|map| map.grain_bytes())
    }

    pub(super) fn damage(&self, message: impl Into<String>) -> StoreError {
        StoreError::new(StoreErrorKind::Corrupted, Op::GetObject, lock(&self.stored).key.as_str(), message)
    }

    /// Makes sure of all of the object before more than its beginning is handed out, if that can be had at once.
    pub(super) async fn verify_whole(self: &Arc<Object>) -> Result<(), StoreError> {
        let is_settled = || {
            let Version { size, checksum, .. } = self.version();
            let fits = size <= self.readers.window_bytes_max && self.readers.maps.grain_for(size).is_some();
            !fits
                || checksum.is_none()
                || self.goes_on_unverified.load(Ordering::SeqCst)
                || self.verified_grain_bytes().is_some()
        };
        if is_settled() {
            return Ok(());
        }
        let _turn = self.whole.lock().await;
        if is_settled() {
            return Ok(());
        }
        self.is_held_back.store(true, Ordering::SeqCst);
        let verified = tokio::time::timeout(WHOLE_WITHIN, self.fetch_whole()).await;
        self.is_held_back.store(false, Ordering::SeqCst);
        let verified = verified.unwrap_or(Ok(false));
        if verified.as_ref().is_err_and(|error| error.kind == StoreErrorKind::Corrupted) {
            self.verifier.set_damaged();
        }
        let verified = verified?;
        self.goes_on_unverified.store(!verified, Ordering::SeqCst);
        Ok(())
    }

    /// Fetches what has not come, and everything again if something of it is damaged. Returns whether all of it is
    /// verified: there may not be memory enough.
    async fn fetch_whole(self: &Arc<Object>) -> Result<bool, StoreError> {
        let blocks = self.layout().blocks_to(self.size());
        let mut damage = self.damage("the bytes that came do not have the object's checksum");
        for _ in 0..=FETCHES_AGAIN {
            let mut index = 0;
            while index < blocks {
                let run_end = blocks.min(index + FETCH_BYTES_MAX / LARGE_BYTES as u64);
                let (wanted, lacks_memory) = self.claim_spare(index..run_end);
                index += (wanted.len() as u64).max(1);
                self.spawn_fetch(LARGE_BYTES, wanted);
                if lacks_memory {
                    return Ok(false);
                }
            }
            for index in 0..blocks {
                let Some(slot) = self.readers.blocks.get(self.block_key(LARGE_BYTES, index)) else { continue };
                match slot.wait().await {
                    Err(error) if error.kind == StoreErrorKind::Corrupted => damage = error,
                    outcome => drop(outcome?),
                }
            }
            if self.verified_grain_bytes().is_some() {
                return Ok(true);
            }
            self.verifier.start_over();
            self.readers.blocks.remove_object(self.number);
        }
        Err(damage)
    }

    /// Claims blocks of a reader in order until one is taken already, or spare memory ends.
    fn claim_spare(&self, run: Range<u64>) -> (Vec<Wanted>, bool) {
        let mut wanted = Vec::new();
        for index in run {
            let key = self.block_key(LARGE_BYTES, index);
            if self.readers.blocks.get(key).is_some() {
                break;
            }
            let Some(block) = self.readers.memory.try_take_spare(LARGE_BYTES) else { return (wanted, true) };
            let Some(slot) = self.readers.blocks.claim(key) else { break };
            wanted.push(Wanted { index, slot, block: Some(block) });
        }
        (wanted, false)
    }

    pub(super) fn spawn_fetch(self: &Arc<Object>, block_bytes: usize, wanted: Vec<Wanted>) {
        if !wanted.is_empty() {
            self.readers.runtime.spawn(self.clone().fetch(block_bytes, wanted));
        }
    }

    /// Fetches the blocks of `wanted`, which follow one another, with one request, and settles every slot.
    async fn fetch(self: Arc<Object>, block_bytes: usize, wanted: Vec<Wanted>) {
        let mut wanted = VecDeque::from(wanted);
        let mut again = FETCHES_AGAIN;
        let error = loop {
            let stored = self.stored();
            let fetched = self.fetch_blocks(block_bytes, &stored, &mut wanted).await;
            if matches!(fetched, Err(Trouble::WholeDamaged(_) | Trouble::Contradicted(_)))
                && let Some(copy) = self.opened_copy()
            {
                self.forget(copy).await;
            }
            match fetched {
                Ok(()) if wanted.is_empty() => return,
                // What comes next is on this machine's disk.
                Ok(()) => {}
                // Renamed by this mount: the rest is where it is now.
                Err(Trouble::Store(error)) if error.is_of_version_gone() && self.has_moved_since(&stored) => {}
                // Stored once more as it was: a copy that the network delivered twice, for example.
                Err(Trouble::Store(error))
                    if error.kind == StoreErrorKind::Changed && again > 0 && self.is_there_anew(&stored).await =>
                {
                    again -= 1;
                }
                Err(Trouble::Damaged(error) | Trouble::Contradicted(error)) if again > 0 => {
                    log::warn!("{error}; fetched again");
                    again -= 1;
                }
                Err(Trouble::Store(error) | Trouble::Damaged(error)) => break error,
                // If it goes on coming otherwise, what came first is damaged, and may have been handed out.
                Err(Trouble::WholeDamaged(error) | Trouble::Contradicted(error)) => {
                    if !self.is_held_back.load(Ordering::SeqCst) {
                        self.verifier.set_damaged();
                        self.readers.blocks.remove_object(self.number);
                    }
                    log::warn!("{error}");
                    break error;
                }
            }
        };
        for want in wanted {
            self.readers.blocks.remove(self.block_key(block_bytes, want.index));
            want.slot.settle(Err(error.clone()));
        }
    }

    /// Whether a new version of the object has the very bytes of the old one, which is read from then on.
    async fn is_there_anew(&self, old: &StoredObject) -> bool {
        let Ok(head) = self.readers.store.head(&old.key).await else { return false };
        let Version { size, checksum, .. } = &old.version;
        let is_same = head.size == *size && checksum.is_some() && head.crc64 == *checksum;
        if is_same && !self.has_moved_since(old) {
            self.moved(old.key.clone(), head.etag);
        }
        is_same
    }

    fn has_moved_since(&self, before: &StoredObject) -> bool {
        let now = self.stored();
        (&now.key, &now.version.etag) != (&before.key, &before.version.etag)
    }

    /// Fetches blocks from the front of `wanted` with one request, but for those that are on this machine's disk, and settles
    /// those that have come.
    async fn fetch_blocks(
        &self,
        block_bytes: usize,
        stored: &StoredObject,
        wanted: &mut VecDeque<Wanted>,
    ) -> Result<(), Trouble> {
        // Whoever waits for a block may be gone, and with him the copy, right when it has come.
        let copy = self.opened_copy();
        let count = match &copy {
            Some(copy) => self.take_copies(copy, block_bytes, stored, wanted).await?,
            None => wanted.len(),
        };
        let (Some(first), Some(last)) = (wanted.front(), count.checked_sub(1).and_then(|last| wanted.get(last))) else {
            return Ok(());
        };
        let start = self.range_of(block_bytes, first.index).start;
        let size = stored.version.size;
        let end = self.range_of(block_bytes, last.index).end.min(size);
        let request = GetRequest::of(stored, ByteRange::new(start, end));
        let Reading { head, mut body } = self.readers.store.get(request).await?;
        *lock(&self.answered_at) = Some(Instant::now());
        self.heed_checksum(head.crc64)?;
        let mut piece = bytes::Bytes::new();
        for _ in 0..count {
            let Some(want) = wanted.front_mut() else { break };
            let Range { start, end } = self.range_of(block_bytes, want.index);
            let len = (end.min(size) - start) as usize;
            let mut sums = self.begin_block(block_bytes, want, size, copy.is_some()).await;
            while sums.taken < len {
                if piece.is_empty() {
                    let ended =
                        || Trouble::Damaged(self.damage(format!("the body ended {} bytes early", len - sums.taken)));
                    piece = body.next().await.ok_or_else(ended)??;
                }
                sums.copy(&piece.split_to(piece.len().min(len - sums.taken)), want);
            }
            let _announced = copy.as_ref().and_then(|_| self.readers.announce());
            let (slot, sums) = self.end_block(block_bytes, start, sums, wanted)?;
            if let (Some(copy), Some(slot)) = (&copy, slot) {
                self.keep_copy(copy, start, slot, sums);
            }
        }
        Ok(())
    }

    /// Settles blocks from the front of `wanted` that are on this machine's disk. Returns how many follow that are not.
    async fn take_copies(
        &self,
        entry: &Arc<Entry>,
        block_bytes: usize,
        stored: &StoredObject,
        wanted: &mut VecDeque<Wanted>,
    ) -> Result<usize, Trouble> {
        let size = stored.version.size;
        let range_of = |index| {
            let Range { start, end } = self.range_of(block_bytes, index);
            start..end.min(size)
        };
        while let Some(want) = wanted.front_mut() {
            let range = range_of(want.index);
            let (start, is_end) = (range.start, range.end == size);
            let mut sums = self.begin_block(block_bytes, want, size, false).await;
            let copy = if entry.lacks_now(range.clone()) { None } else { self.read_copy(entry, range).await };
            self.readers.note_look(copy.as_ref().map(|bytes| bytes.len() as u64));
            let Some(bytes) = copy else { break };
            sums.copy(&bytes, want);
            // They were kept as they came, and may have come damaged.
            if let Err(trouble) = self.end_block(block_bytes, start, sums, wanted) {
                self.forget(entry.clone()).await;
                return Err(trouble);
            }
            if is_end {
                self.end_copy(entry);
            }
        }
        Ok(wanted
            .iter()
            .enumerate()
            // Of what is not known without the disk it is asked then.
            .find(|(at, want)| *at > 0 && !entry.lacks_now(range_of(want.index)))
            .map_or(wanted.len(), |(at, _)| at))
    }

    /// Sees to it that there is memory for a block, whose bytes are about to come, and are kept on disk or not.
    async fn begin_block(&self, block_bytes: usize, want: &mut Wanted, size: u64, is_kept: bool) -> Sums {
        if want.block.is_none() {
            want.block = Some(self.readers.memory.take(block_bytes).await);
        }
        Sums::new(self.readers.store.limits().checksum, self.grain_of_sums(block_bytes, size), is_kept)
    }

    /// Settles the first block of `wanted`, all bytes of which have come from `start` on, unless they are damaged. Returns it, and what the
    /// checksum was at the end of each grain of a copy, if it is kept.
    fn end_block(
        &self,
        block_bytes: usize,
        start: u64,
        sums: Sums,
        wanted: &mut VecDeque<Wanted>,
    ) -> Result<(Option<Arc<Slot>>, Vec<Checksum>), Trouble> {
        let (len, checksum) = (sums.taken, sums.hasher.value());
        let (sums, of_copy) = sums.finish();
        let sums = if block_bytes == LARGE_BYTES { &sums[..] } else { &[] };
        let is_verified = self.judge(Stretch { start, len: len as u64, checksum, sums })?;
        let mut settled = None;
        if let Some(Wanted { slot, block: Some(block), .. }) = wanted.pop_front() {
            slot.settle(Ok(Filled { block, len, checksum, is_verified }));
            settled = Some(slot);
        }
        if self.readers.memory.is_short() {
            // Whoever waits asked before this block could be given back. Its own reader has it already.
            self.readers.blocks.shrink(block_bytes);
        }
        Ok((settled, of_copy))
    }

    fn grain_of_sums(&self, block_bytes: usize, size: u64) -> usize {
        let wanted = || self.verifier.wanted_grain(&self.readers.maps, size, self.layout());
        let wanted = (block_bytes == LARGE_BYTES).then(wanted);
        wanted.flatten().unwrap_or(block_bytes)
    }

    /// An answer tells the checksum of the object. If it is another one than is known, one of the two was damaged on its
    /// way: which, a second answer decides.
    fn heed_checksum(&self, told: Option<Checksum>) -> Result<(), Trouble> {
        let mut stored = lock(&self.stored);
        let checksum = &mut stored.version.checksum;
        let (Some(told), Some(known)) = (told, *checksum) else {
            *checksum = checksum.or(told);
            return Ok(());
        };
        let before = std::mem::replace(&mut *lock(&self.contradicted), (told != known).then_some(told));
        if told == known {
            return Ok(());
        }
        if before == Some(told) {
            *checksum = Some(told);
            return Ok(());
        }
        drop(stored);
        Err(Trouble::Damaged(self.damage(format!("checksum {told} was answered, the object has {known}"))))
    }

    /// Whether a stretch that came is known to be right.
    fn judge(&self, stretch: Stretch) -> Result<bool, Trouble> {
        let Version { size, checksum: expected, .. } = self.version();
        let (start, end) = (stretch.start, stretch.start + stretch.len);
        match self.verifier.judge(&self.readers.maps, stretch, expected, size) {
            Verdict::Verified => Ok(true),
            Verdict::Unknown => Ok(false),
            Verdict::Damaged => Err(Trouble::Damaged(self.damage(format!("bytes {start} to {end} came damaged")))),
            Verdict::Contradicted => {
                let message = format!("bytes {start} to {end} came before and were others");
                Err(Trouble::Contradicted(self.damage(message)))
            }
            Verdict::WholeDamaged { read, expected } => {
                let message = format!("the bytes read have checksum {read}, the object has {expected}");
                Err(Trouble::WholeDamaged(self.damage(message)))
            }
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("number", &self.number).field("stored", &self.stored()).finish_non_exhaustive()
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.rest();
    }
}

/// The checksum of a block that is coming in, and what it is at the end of each grain.
struct Sums {
    hasher: ChecksumHasher,
    grain_bytes: usize,
    /// At the end of each grain of a copy on disk, too.
    is_kept: bool,
    taken: usize,
    /// At each step: the smaller of the two grains.
    sums: Vec<Checksum>,
}

impl Sums {
    fn new(algorithm: ChecksumAlgorithm, grain_bytes: usize, is_kept: bool) -> Sums {
        Sums { hasher: algorithm.hasher(), grain_bytes, is_kept, taken: 0, sums: Vec::new() }
    }

    /// Takes the bytes of a block that come next, and puts them where they belong.
    fn copy(&mut self, bytes: &[u8], want: &mut Wanted) {
        if let Some(block) = &mut want.block {
            block[self.taken..self.taken + bytes.len()].copy_from_slice(bytes);
        }
        self.take(bytes);
    }

    fn step_bytes(&self) -> usize {
        // Every grain is of whole pages.
        if self.is_kept { GRAIN_BYTES as usize } else { self.grain_bytes }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        let step = self.step_bytes();
        while !bytes.is_empty() {
            let room = step - self.taken % step;
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            self.hasher.update(part);
            self.taken += part.len();
            if self.taken.is_multiple_of(step) {
                self.sums.push(self.hasher.value());
            }
            bytes = rest;
        }
    }

    /// What the checksum was at the end of each grain, and at the end of each grain of a copy on disk, if it is kept; both at last, too.
    fn finish(mut self) -> (Vec<Checksum>, Vec<Checksum>) {
        let step = self.step_bytes();
        if !self.taken.is_multiple_of(step) {
            self.sums.push(self.hasher.value());
        }
        if !self.is_kept {
            return (self.sums, Vec::new());
        }
        let of_grains = self.sums.chunks(self.grain_bytes / step).filter_map(|grain| grain.last().copied());
        (of_grains.collect(), self.sums)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_what_the_checksum_was_at_the_end_of_each_grain() {
        let content: Vec<u8> = (0..40_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
        let algorithm = ChecksumAlgorithm::Crc64Xz;
        let at_each = |bytes: usize| -> Vec<Checksum> {
            let ends = (1..).map(|grain| grain * bytes).take_while(|end| *end < content.len());
            ends.chain([content.len()]).map(|end| algorithm.of(&content[..end])).collect()
        };
        for (grain, is_kept) in [(4096, true), (16 << 10, true), (64 << 10, true), (16 << 10, false)] {
            let mut sums = Sums::new(algorithm, grain, is_kept);
            for piece in content.chunks(7000) {
                sums.take(piece);
            }
            assert_eq!((sums.taken, sums.hasher.value()), (content.len(), algorithm.of(&content)));
            let kept = if is_kept { at_each(4096) } else { Vec::new() };
            assert_eq!(sums.finish(), (at_each(grain), kept), "{grain} {is_kept}");
        }
    }
}

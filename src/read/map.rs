//! Which checksums the blocks of a version have, as learned when the whole of it was read and was right.
//!
//! The service tells the checksum of a whole object and of nothing less. So who reads here and there can be sure of what
//! comes only if somebody has read all of it before. What was learned then is kept by the checksum and the size of the
//! whole, because the same bytes may come to lie under another name and another version.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::grain::RANDOM_BLOCK_BYTES;
use super::layout::Layout;
use crate::object::{Checksum, ChecksumAlgorithm};

/// The checksums of one version, grain by grain.
///
/// A sum covers everything from the beginning of its block to the end of its grain: a checksum that grows gives them away
/// for nothing, and the sum of a range follows from the two at its ends.
#[derive(Debug)]
pub(super) struct BlockMap {
    algorithm: ChecksumAlgorithm,
    grain_bytes: usize,
    size: u64,
    /// Of the reader that it was learned from.
    layout: Layout,
    sums: Vec<Checksum>,
}

impl BlockMap {
    /// A map for an object of `size` bytes, to be filled, with the finest grain of which the map takes no more than
    /// `bytes_max` bytes; `None` if even the coarsest takes more. The blocks of `layout` begin with grains.
    pub(super) fn new(algorithm: ChecksumAlgorithm, size: u64, layout: Layout, bytes_max: usize) -> Option<BlockMap> {
        let grain_bytes = BlockMap::finest_grain(size, bytes_max)?;
        let grains = size.div_ceil(grain_bytes as u64) as usize;
        Some(BlockMap { algorithm, grain_bytes, size, layout, sums: vec![algorithm.empty(); grains] })
    }

    fn finest_grain(size: u64, bytes_max: usize) -> Option<usize> {
        let fits = |grain: &usize| size.div_ceil(*grain as u64) * size_of::<Checksum>() as u64 <= bytes_max as u64;
        RANDOM_BLOCK_BYTES.into_iter().rev().find(fits)
    }

    /// The least that can be verified, in bytes.
    pub(super) fn grain_bytes(&self) -> usize {
        self.grain_bytes
    }

    /// Takes the sums of the block at `start`, one at the end of each grain.
    pub(super) fn fill(&mut self, start: u64, sums: &[Checksum]) {
        let first = (start / self.grain_bytes as u64) as usize;
        self.sums[first..first + sums.len()].copy_from_slice(sums);
    }

    /// Whether the `len` bytes at `start`, at most a block of whatever layout, have the checksum that they should; `None` if
    /// they do not begin and end with grains.
    pub(super) fn agrees(&self, start: u64, len: u64, checksum: Checksum) -> Option<bool> {
        let grain = self.grain_bytes as u64;
        let end = start + len;
        if len == 0 || !start.is_multiple_of(grain) || !(end.is_multiple_of(grain) || end == self.size) {
            return None;
        }
        let block = self.layout.around(start);
        let so_far = match start == block.start {
            true => checksum,
            false => self.algorithm.of_both(self.sum_to(start)?, checksum, len),
        };
        let through = if end <= block.end {
            self.sum_to(end)?
        } else {
            self.algorithm.of_both(self.sum_to(block.end)?, self.sum_to(end)?, end - block.end)
        };
        Some(so_far == through)
    }

    /// The checksum of what is before `end`, from the beginning of the block that it ends in.
    fn sum_to(&self, end: u64) -> Option<Checksum> {
        let grain = end.div_ceil(self.grain_bytes as u64).checked_sub(1)?;
        self.sums.get(usize::try_from(grain).ok()?).copied()
    }

    fn bytes(&self) -> usize {
        self.sums.len() * size_of::<Checksum>()
    }
}

/// What a version is known by: the checksum and the size of the whole.
type Whole = (Checksum, u64);

/// The maps of a mount; the least recently used make way.
#[derive(Debug)]
pub(super) struct Maps {
    /// Std mutex, 8 in the order of locks: map operations only.
    kept: Mutex<Kept>,
    bytes_max: usize,
    algorithm: ChecksumAlgorithm,
}

#[derive(Debug)]
struct Kept {
    maps: LruCache<Whole, Arc<BlockMap>>,
    /// INVARIANT: the sum of the bytes of `maps`.
    bytes: usize,
}

impl Maps {
    /// Room for maps of `bytes_max` bytes together.
    pub(super) fn new(algorithm: ChecksumAlgorithm, bytes_max: usize) -> Maps {
        Maps { kept: Mutex::new(Kept { maps: LruCache::unbounded(), bytes: 0 }), bytes_max, algorithm }
    }

    /// An empty map for an object; no object gets more than a quarter of the room.
    pub(super) fn map_for(&self, size: u64, layout: Layout) -> Option<BlockMap> {
        BlockMap::new(self.algorithm, size, layout, self.bytes_max / 4)
    }

    /// The grain that it would have, in bytes; `None` if there would be none.
    pub(super) fn grain_for(&self, size: u64) -> Option<usize> {
        BlockMap::finest_grain(size, self.bytes_max / 4)
    }

    pub(super) fn get(&self, checksum: Checksum, size: u64) -> Option<Arc<BlockMap>> {
        self.lock().maps.get(&(checksum, size)).cloned()
    }

    pub(super) fn keep(&self, checksum: Checksum, map: &Arc<BlockMap>) {
        let mut kept = self.lock();
        kept.bytes += map.bytes();
        let before = kept.maps.put((checksum, map.size), map.clone());
        kept.bytes -= before.map_or(0, |before| before.bytes());
        while kept.bytes > self.bytes_max
            && let Some((_, oldest)) = kept.maps.pop_lru()
        {
            kept.bytes -= oldest.bytes();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ChecksumHasher;

    const KIB: usize = 1 << 10;

    const ALGORITHM: ChecksumAlgorithm = ChecksumAlgorithm::Crc64Xz;

    fn map_of(bytes: &[u8], layout: Layout, bytes_max: usize) -> BlockMap {
        let size = bytes.len() as u64;
        let mut map = BlockMap::new(ALGORITHM, size, layout, bytes_max).unwrap();
        for index in 0..layout.blocks_to(size) {
            let block = layout.range_of(index);
            let mut hasher = ChecksumHasher::new();
            let sum = |grain: &[u8]| {
                hasher.update(grain);
                hasher.value()
            };
            let of_block = &bytes[block.start as usize..block.end.min(size) as usize];
            let sums: Vec<Checksum> = of_block.chunks(map.grain_bytes()).map(sum).collect();
            map.fill(block.start, &sums);
        }
        map
    }

    #[test]
    fn every_range_of_whole_grains_is_verified() {
        let bytes: Vec<u8> = (0..2_500_001u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for first_read in [4 * KIB, 16 * KIB, 128 * KIB, 512 * KIB, 1024 * KIB] {
            let map = map_of(&bytes, Layout::of_first_read(first_read as u64), 1 << 20);
            assert_eq!(map.grain_bytes(), 4 * KIB);
            for (start, len) in [
                (0, 4096),
                (4096, 65_536),
                (0, 1 << 20),
                (1 << 20, 1 << 20),
                (512 << 10, 1 << 20),
                (832 << 10, 64 << 10),
                (2 << 20, 402_849),
                (2_498_560, 1441),
            ] {
                let mut range = bytes[start..start + len].to_vec();
                assert_eq!(
                    map.agrees(start as u64, len as u64, Checksum::of(&range)),
                    Some(true),
                    "{first_read} {start}"
                );
                range[len / 2] ^= 1;
                assert_eq!(map.agrees(start as u64, len as u64, Checksum::of(&range)), Some(false), "{start}");
            }
            assert_eq!(map.agrees(1, 4096, Checksum::EMPTY), None);
            assert_eq!(map.agrees(0, 100, Checksum::EMPTY), None);
        }
    }

    #[test]
    fn larger_objects_have_coarser_maps_and_the_largest_none() {
        let table = [(1 << 20, Some(4 * KIB)), (8 << 30, Some(16 * KIB)), (32 << 30, Some(64 * KIB)), (1 << 40, None)];
        for (size, grain) in table {
            assert_eq!(
                BlockMap::new(ALGORITHM, size, Layout::EVEN, 4 << 20).map(|map| map.grain_bytes()),
                grain,
                "{size}"
            );
        }
    }

    #[test]
    fn the_maps_that_were_used_last_are_kept() {
        let maps = Maps::new(ALGORITHM, 1000 * size_of::<Checksum>());
        for number in 0..5 {
            let map = Arc::new(BlockMap::new(ALGORITHM, 250 * 4096, Layout::EVEN, 1 << 20).unwrap());
            maps.keep(Checksum(number), &map);
            maps.get(Checksum(0), 250 * 4096);
        }
        let kept: Vec<u64> = (0..5).filter(|number| maps.get(Checksum(*number), 250 * 4096).is_some()).collect();
        assert_eq!(kept, [0, 2, 3, 4]);
    }
}

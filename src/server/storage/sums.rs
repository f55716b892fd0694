//! Checksums of the blocks of a segment, so that a small range can be verified without reading all of it.

use crate::object::{Crc64, Crc64Hasher};

/// Bytes of one block: what a range reads at most too much at either end. A checksum of 8 bytes for each costs a
/// sixteen-thousandth of the bytes.
pub(super) const BLOCK_BYTES: u64 = 128 << 10;

/// The checksums of bytes that are shown in order.
#[derive(Default)]
pub(super) struct BlockSums {
    blocks: Vec<u64>,
    /// The checksum of all whole blocks.
    whole: Option<Crc64>,
    latest: Crc64Hasher,
    latest_bytes: u64,
}

impl BlockSums {
    /// Takes the next bytes.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(BLOCK_BYTES - self.latest_bytes).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.latest.update(now);
            self.latest_bytes += now.len() as u64;
            if self.latest_bytes == BLOCK_BYTES {
                self.end_block();
            }
            bytes = later;
        }
    }

    /// The checksum of all that was shown, and those of its blocks.
    pub(super) fn finish(mut self) -> (Crc64, Vec<u64>) {
        if self.latest_bytes > 0 {
            self.end_block();
        }
        (self.whole.unwrap_or(Crc64::EMPTY), self.blocks)
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.latest).value();
        let before = self.whole.unwrap_or(Crc64::EMPTY);
        self.whole = Some(before.followed_by(block, self.latest_bytes));
        self.blocks.push(block.0);
        self.latest_bytes = 0;
    }
}

/// Writes checksums for their table.
pub(super) fn pack_sums(sums: &[u64]) -> Vec<u8> {
    sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()
}

/// Reads checksums of their table.
pub(super) fn unpack_sums(packed: &[u8]) -> Vec<u64> {
    let (sums, _) = packed.as_chunks::<8>();
    sums.iter().map(|sum| u64::from_le_bytes(*sum)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_whole_have_the_checksums_of_their_bytes() {
        let bytes: Vec<u8> = (0..300_000u32).map(|n| (n * 7) as u8).collect();
        for pieces in [1, 1000, 131_072, 300_000] {
            let mut sums = BlockSums::default();
            bytes.chunks(pieces).for_each(|piece| sums.update(piece));
            let (whole, blocks) = sums.finish();
            let expected: Vec<u64> = bytes.chunks(BLOCK_BYTES as usize).map(|block| Crc64::of(block).0).collect();
            assert_eq!((whole, &blocks), (Crc64::of(&bytes), &expected), "in pieces of {pieces}");
            assert_eq!(unpack_sums(&pack_sums(&blocks)), blocks);
        }
        assert_eq!(BlockSums::default().finish(), (Crc64::EMPTY, Vec::new()));
    }
}

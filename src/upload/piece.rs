//! Bytes of an open file in memory: a stretch of at most one block, filled once and sent as it is.
//!
//! Blocks are shared: a body on its way to the service and a second extent with the same content hold the same block.
//! Whoever changes a shared block copies it first, so that nothing changes under anybody's hands.

use std::sync::Arc;

use bytes::Bytes;

use crate::memory::Block;
use crate::object::{Checksum, ChecksumAlgorithm, ChecksumHasher};

/// The largest piece, in bytes. Small enough that hundreds of writers can hold one each, large enough that a part is
/// sent with a few dozen of them.
pub(super) const PIECE_BYTES_MAX: usize = 256 << 10;

/// The smallest piece, in bytes: a page, which is what databases write.
const PIECE_BYTES_MIN: usize = 4 << 10;

/// The block to take for `wanted` bytes, in bytes, where the piece before has a block of `before` bytes: programs that
/// write little by little get larger and larger blocks, programs that write here and there small ones.
pub(super) fn block_bytes(wanted: usize, before: usize) -> usize {
    wanted.max(2 * before).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX).next_power_of_two()
}

/// A stretch of bytes in a block, and their checksum.
///
/// INVARIANT: `start + len` is at most the block's length.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    block: Arc<Block>,
    start: usize,
    len: usize,
    algorithm: ChecksumAlgorithm,
    /// The checksum of all bytes; `None` after something changed, until it is asked for.
    checksum: Option<ChecksumHasher>,
}

/// A piece that is being sent; keeps the block from the budget until the last byte is gone.
struct View(Piece);

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl Piece {
    /// A piece without bytes, which has the room of the block.
    pub(super) fn new(block: Block, algorithm: ChecksumAlgorithm) -> Piece {
        Piece { block: Arc::new(block), start: 0, len: 0, algorithm, checksum: Some(algorithm.hasher()) }
    }

    /// Bytes in the piece.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the block behind it.
    pub(super) fn block_bytes(&self) -> usize {
        self.block.len()
    }

    /// Bytes that can be appended: none in a shared block.
    pub(super) fn room(&mut self) -> usize {
        Arc::get_mut(&mut self.block).map_or(0, |block| block.len() - self.start - self.len)
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.block[self.start..self.start + self.len]
    }

    /// The bytes as a body has them. The piece may change meanwhile; they do not.
    pub(super) fn to_bytes(&self) -> Bytes {
        Bytes::from_owner(View(self.clone()))
    }

    /// Appends as much of `data` as there is room for, and returns how much that was: nothing in a shared block.
    pub(super) fn append(&mut self, data: &[u8]) -> usize {
        let Some(block) = Arc::get_mut(&mut self.block) else { return 0 };
        let room = &mut block[self.start + self.len..];
        let taken = data.len().min(room.len());
        let (room, data) = (&mut room[..taken], &data[..taken]);
        room.copy_from_slice(data);
        // While the bytes are in the cache the checksum costs next to nothing.
        if let Some(checksum) = &mut self.checksum {
            checksum.update(data);
        }
        self.len += taken;
        taken
    }

    /// Overwrites from `at` with `data`, which must lie within the piece. A shared block is replaced by that of a new piece
    /// that `take_piece` gives; returns whether there was one.
    pub(super) fn overwrite(
        &mut self,
        at: usize,
        data: &[u8],
        take_piece: &mut dyn FnMut(usize) -> Option<Piece>,
    ) -> bool {
        if Arc::get_mut(&mut self.block).is_none() {
            let Some(Piece { block: mut copy, .. }) = take_piece(block_bytes(self.len, 0)) else { return false };
            Arc::get_mut(&mut copy).expect("it is new")[..self.len].copy_from_slice(self.as_slice());
            (self.block, self.start) = (copy, 0);
        }
        let block = Arc::get_mut(&mut self.block).expect("it was nobody else's, or was replaced by a new one");
        block[self.start + at..self.start + at + data.len()].copy_from_slice(data);
        self.checksum = None;
        true
    }

    /// Cuts the piece at `at`, which must lie within it, and returns the rest.
    pub(super) fn split_off(&mut self, at: usize) -> Piece {
        let (start, len) = (self.start + at, self.len - at);
        let rest = Piece { block: self.block.clone(), start, len, checksum: None, ..*self };
        (self.len, self.checksum) = (at, None);
        rest
    }

    /// The checksum of all bytes.
    pub(super) fn checksum(&mut self) -> Checksum {
        if self.checksum.is_none() {
            let mut checksum = self.algorithm.hasher();
            checksum.update(self.as_slice());
            self.checksum = Some(checksum);
        }
        self.checksum.as_ref().map_or(self.algorithm.empty(), ChecksumHasher::value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    const ALGORITHM: ChecksumAlgorithm = ChecksumAlgorithm::Crc64Xz;

    fn piece(memory: &Memory, data: &[u8]) -> Piece {
        let mut piece = Piece::new(memory.try_take(PIECE_BYTES_MIN).unwrap(), ALGORITHM);
        piece.append(data);
        piece
    }

    #[test]
    fn a_piece_takes_what_its_block_has_room_for() {
        let memory = Memory::new(1 << 20);
        let data: Vec<u8> = (0..5000).map(|i| ((i * 31) >> 2) as u8).collect();
        let mut piece = piece(&memory, &data[..100]);
        assert_eq!(piece.append(&data[100..]), PIECE_BYTES_MIN - 100);
        assert_eq!(piece.append(b"x"), 0);
        assert_eq!(piece.as_slice(), &data[..PIECE_BYTES_MIN]);
        assert_eq!(piece.checksum(), Checksum::of(&data[..PIECE_BYTES_MIN]));
    }

    #[test]
    fn what_is_on_its_way_does_not_change() {
        let memory = Memory::new(1 << 20);
        let mut take = |bytes| Some(Piece::new(memory.try_take(bytes)?, ALGORITHM));
        let mut piece = piece(&memory, b"0123456789");
        let body = piece.to_bytes();
        assert_eq!(piece.append(b"x"), 0, "the block is shared");
        assert!(piece.overwrite(3, b"abc", &mut take));
        assert_eq!((piece.as_slice(), &body[..]), (b"012abc6789".as_slice(), b"0123456789".as_slice()));
        assert_eq!(piece.checksum(), Checksum::of(b"012abc6789"));
        drop((piece, body));
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn both_sides_of_a_cut_have_their_own_bytes() {
        let memory = Memory::new(1 << 20);
        let mut take = |bytes| Some(Piece::new(memory.try_take(bytes)?, ALGORITHM));
        let mut head = piece(&memory, b"0123456789");
        let mut tail = head.split_off(4);
        assert_eq!((head.as_slice(), tail.as_slice()), (b"0123".as_slice(), b"456789".as_slice()));
        assert_eq!(head.append(b"x"), 0, "the room behind it is the other's");
        assert!(tail.overwrite(0, b"X", &mut take));
        assert_eq!((head.as_slice(), tail.as_slice()), (b"0123".as_slice(), b"X56789".as_slice()));
        assert_eq!((head.checksum(), tail.checksum()), (Checksum::of(b"0123"), Checksum::of(b"X56789")));
    }

    #[test]
    fn blocks_grow_with_what_is_written() {
        let table = [
            (1, 0, 4),
            (4096, 0, 4),
            (4097, 0, 8),
            (10, 4096, 8),
            (65_536, 0, 64),
            (1, 131_072, 256),
            (1 << 20, 0, 256),
        ];
        for (wanted, before, kib) in table {
            assert_eq!(block_bytes(wanted, before), kib << 10, "{wanted} after {before}");
        }
    }
}

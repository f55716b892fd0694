//! MD5 of many bodies at once.
//!
//! Each step of MD5 waits for the one before, so one stream keeps a core busy at about 750 MB/s and most of its units
//! idle. The blocks of several streams side by side fill them: eight lanes of AVX-512 make 5 GB/s of it, which is the
//! difference between a service that spends its time on digests and one that does not. See [`lanes`] for who shares
//! the lanes.

mod compress;
mod lanes;

pub use lanes::{Md5Lanes, Updated};

use bytes::Bytes;

use compress::{BLOCK_BYTES, INITIAL, Words, compress_one};

/// The MD5 of some bytes that grows with the bytes it is shown.
#[derive(Clone, Debug)]
pub struct Md5 {
    words: Words,
    /// Bytes shown so far.
    bytes: u64,
    /// The bytes after the last whole block; `bytes % BLOCK_BYTES` of them count.
    carry: [u8; BLOCK_BYTES],
}

impl Md5 {
    /// The MD5 of nothing so far.
    pub fn new() -> Md5 {
        Md5 { words: INITIAL, bytes: 0, carry: [0; BLOCK_BYTES] }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let missing = self.missing().min(bytes.len());
        let (head, rest) = bytes.split_at(missing);
        self.take_piece(head);
        let (blocks, tail) = rest.as_chunks::<BLOCK_BYTES>();
        compress_one(&mut self.words, blocks);
        self.bytes += (blocks.len() * BLOCK_BYTES) as u64;
        self.take_piece(tail);
    }

    /// The digest of all that was shown.
    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.bytes.wrapping_mul(8);
        self.update(&[0x80]);
        // Zeros up to the last 8 bytes of a block, which hold the length.
        const LENGTH_AT: usize = BLOCK_BYTES - 8;
        let zeros = (LENGTH_AT + BLOCK_BYTES - self.carried()) % BLOCK_BYTES;
        self.update(&[0; BLOCK_BYTES][..zeros]);
        self.update(&bits.to_le_bytes());
        let mut digest = [0; 16];
        for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(self.words) {
            *bytes = word.to_le_bytes();
        }
        digest
    }

    fn carried(&self) -> usize {
        (self.bytes % BLOCK_BYTES as u64) as usize
    }

    /// Bytes that complete the block that was begun; 0 if none was.
    fn missing(&self) -> usize {
        (BLOCK_BYTES - self.carried()) % BLOCK_BYTES
    }

    /// Takes bytes that do not go beyond the end of the present block.
    fn take_piece(&mut self, piece: &[u8]) {
        let at = self.carried();
        self.carry[at..at + piece.len()].copy_from_slice(piece);
        self.bytes += piece.len() as u64;
        if at + piece.len() == BLOCK_BYTES {
            compress_one(&mut self.words, &[self.carry]);
        }
    }
}

impl Default for Md5 {
    fn default() -> Md5 {
        Md5::new()
    }
}

/// The MD5 of bytes that are all there.
pub fn md5_of(bytes: &[u8]) -> [u8; 16] {
    let mut md5 = Md5::new();
    md5.update(bytes);
    md5.finish()
}

/// A list of buffers to be shown to an [`Md5`], with a place in it.
struct Input {
    chunks: std::vec::IntoIter<Bytes>,
    /// What is left of the chunk that was begun.
    chunk: Bytes,
}

impl Input {
    fn new(chunks: Vec<Bytes>) -> Input {
        Input { chunks: chunks.into_iter(), chunk: Bytes::new() }
    }

    /// Shows `md5` what does not make whole blocks in one buffer, until whole blocks come next or nothing is left.
    /// Returns how many blocks come next.
    fn skip_to_blocks(&mut self, md5: &mut Md5) -> usize {
        loop {
            if self.chunk.is_empty() {
                match self.chunks.next() {
                    Some(next) => self.chunk = next,
                    None => return 0,
                }
            }
            let blocks = self.chunk.len() / BLOCK_BYTES;
            if md5.carried() == 0 && blocks > 0 {
                return blocks;
            }
            let piece = self.chunk.split_to((BLOCK_BYTES - md5.carried()).min(self.chunk.len()));
            md5.update(&piece);
        }
    }

    /// The blocks that come next.
    fn blocks(&self) -> &[[u8; BLOCK_BYTES]] {
        self.chunk.as_chunks().0
    }

    /// Goes past `count` blocks.
    fn skip_blocks(&mut self, count: usize) {
        bytes::Buf::advance(&mut self.chunk, count * BLOCK_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest as another implementation has it.
    pub(super) fn oracle(bytes: &[u8]) -> [u8; 16] {
        <md5::Md5 as md5::Digest>::digest(bytes).into()
    }

    #[test]
    fn every_length_agrees_with_another_implementation() {
        let bytes: Vec<u8> = (0..300u32).map(|n| (n * 37) as u8).collect();
        for length in 0..bytes.len() {
            assert_eq!(md5_of(&bytes[..length]), oracle(&bytes[..length]), "{length} bytes");
        }
    }

    #[test]
    fn bytes_may_come_in_any_pieces() {
        let mut rng = fastrand::Rng::with_seed(1);
        let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(10_000).collect();
        for _ in 0..50 {
            let mut md5 = Md5::new();
            let mut left = &bytes[..];
            while !left.is_empty() {
                let (piece, rest) = left.split_at(rng.usize(..=left.len().min(200)));
                md5.update(piece);
                left = rest;
            }
            assert_eq!(md5.finish(), oracle(&bytes));
        }
    }
}

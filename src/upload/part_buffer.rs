//! The bytes of one part in memory: a list of budget blocks, filled once and sent as they are.

use std::sync::Arc;

use bytes::Bytes;

use crate::memory::Block;
use crate::store::Body;
use crate::wire::{Crc64, Crc64Hasher};

/// Bytes in one block. Small enough that hundreds of writers can hold one each, large enough that a part is sent with
/// a few dozen pieces.
pub(super) const SLAB_BYTES: usize = 256 << 10;

/// The bytes of one part and their checksum.
///
/// INVARIANT: every slab but the last is full; `len` bytes are filled in all.
#[derive(Debug, Default)]
pub(super) struct PartBuffer {
    slabs: Vec<Arc<Block>>,
    len: usize,
    /// The checksum of all bytes; `None` after something was overwritten, until it is asked for.
    checksum: Option<Crc64Hasher>,
}

/// A slab that is being sent; keeps the block from the budget until the last byte is gone.
struct SlabView(Arc<Block>);

impl AsRef<[u8]> for SlabView {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartBuffer {
    /// A buffer without bytes.
    pub(super) fn new() -> PartBuffer {
        PartBuffer { checksum: Some(Crc64Hasher::new()), ..PartBuffer::default() }
    }

    /// Bytes filled.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the blocks, filled or not.
    pub(super) fn block_bytes(&self) -> u64 {
        (self.slabs.len() * SLAB_BYTES) as u64
    }

    /// Appends as much of `data` as there are blocks for and returns how much that was.
    pub(super) fn append(&mut self, data: &[u8], take_block: &mut dyn FnMut() -> Option<Block>) -> usize {
        let mut taken = 0;
        while taken < data.len() {
            let filled = self.len % SLAB_BYTES;
            if filled == 0 {
                let Some(block) = take_block() else { break };
                self.slabs.push(Arc::new(block));
            }
            let index = self.slabs.len() - 1;
            let piece = &data[taken..data.len().min(taken + SLAB_BYTES - filled)];
            let Some(slab) = self.writable(index, take_block) else { break };
            slab[filled..filled + piece.len()].copy_from_slice(piece);
            // While the piece is in the cache the checksum costs next to nothing.
            if let Some(checksum) = &mut self.checksum {
                checksum.update(piece);
            }
            self.len += piece.len();
            taken += piece.len();
        }
        taken
    }

    /// Overwrites from `offset`, as much of `data` as lies within the buffer and as there are blocks for (a block that
    /// is being sent is replaced, never changed), and returns how much that was.
    pub(super) fn overwrite(
        &mut self,
        offset: usize,
        data: &[u8],
        take_block: &mut dyn FnMut() -> Option<Block>,
    ) -> usize {
        let data = &data[..data.len().min(self.len.saturating_sub(offset))];
        let mut taken = 0;
        while taken < data.len() {
            let (index, start) = ((offset + taken) / SLAB_BYTES, (offset + taken) % SLAB_BYTES);
            let piece = &data[taken..data.len().min(taken + SLAB_BYTES - start)];
            let Some(slab) = self.writable(index, take_block) else { break };
            slab[start..start + piece.len()].copy_from_slice(piece);
            self.checksum = None;
            taken += piece.len();
        }
        taken
    }

    /// The slab `index` for writing; a slab that somebody else still reads is copied first.
    fn writable(&mut self, index: usize, take_block: &mut dyn FnMut() -> Option<Block>) -> Option<&mut Block> {
        if Arc::get_mut(&mut self.slabs[index]).is_none() {
            let mut copy = take_block()?;
            copy.copy_from_slice(&self.slabs[index]);
            self.slabs[index] = Arc::new(copy);
        }
        Arc::get_mut(&mut self.slabs[index])
    }

    /// Copies the bytes from `offset` into `out`, which must lie within the buffer.
    pub(super) fn read(&self, offset: usize, out: &mut [u8]) {
        let mut done = 0;
        while done < out.len() {
            let (index, start) = ((offset + done) / SLAB_BYTES, (offset + done) % SLAB_BYTES);
            let bytes = (out.len() - done).min(SLAB_BYTES - start);
            out[done..done + bytes].copy_from_slice(&self.slabs[index][start..start + bytes]);
            done += bytes;
        }
    }

    /// Cuts the buffer to its first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
            self.slabs.truncate(len.div_ceil(SLAB_BYTES));
            self.checksum = None;
        }
    }

    /// The checksum of all bytes.
    pub(super) fn crc64(&mut self) -> Crc64 {
        if let Some(checksum) = &self.checksum {
            return checksum.value();
        }
        let mut checksum = Crc64Hasher::new();
        for piece in self.pieces() {
            checksum.update(piece);
        }
        let value = checksum.value();
        self.checksum = Some(checksum);
        value
    }

    /// The bytes as the body of a request. The buffer may change meanwhile; the body does not.
    pub(super) fn body(&self) -> Body {
        let lens = self.pieces().map(<[u8]>::len);
        self.slabs.iter().zip(lens).map(|(slab, len)| Bytes::from_owner(SlabView(slab.clone())).slice(..len)).collect()
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.slabs.iter().enumerate().map(|(index, slab)| &slab[..(self.len - index * SLAB_BYTES).min(SLAB_BYTES)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| ((i * 31) >> 2) as u8).collect()
    }

    #[test]
    fn a_buffer_holds_what_was_appended() {
        let memory = Memory::new(16 * SLAB_BYTES);
        let mut take = || memory.try_take(SLAB_BYTES);
        let data = bytes(3 * SLAB_BYTES + 17);
        let mut buffer = PartBuffer::new();
        for piece in data.chunks(100_001) {
            assert_eq!(buffer.append(piece, &mut take), piece.len());
        }
        assert_eq!(buffer.len(), data.len());
        assert_eq!(buffer.body().to_bytes(), data);
        assert_eq!(buffer.crc64(), Crc64::of(&data));
        let mut middle = vec![0; 300_000];
        buffer.read(200_000, &mut middle);
        assert_eq!(middle, data[200_000..500_000]);
    }

    #[test]
    fn appending_stops_where_the_memory_ends() {
        let memory = Memory::new(2 * SLAB_BYTES);
        let mut buffer = PartBuffer::new();
        let data = bytes(3 * SLAB_BYTES);
        assert_eq!(buffer.append(&data, &mut || memory.try_take(SLAB_BYTES)), 2 * SLAB_BYTES);
        assert_eq!(buffer.crc64(), Crc64::of(&data[..2 * SLAB_BYTES]));
    }

    #[test]
    fn overwriting_leaves_a_body_on_its_way_alone() {
        let memory = Memory::new(16 * SLAB_BYTES);
        let mut take = || memory.try_take(SLAB_BYTES);
        let mut data = bytes(2 * SLAB_BYTES);
        let mut buffer = PartBuffer::new();
        buffer.append(&data, &mut take);
        let sent = buffer.body();
        assert_eq!(buffer.overwrite(SLAB_BYTES - 2, b"edit", &mut take), 4);
        assert_eq!(sent.to_bytes(), data);
        data[SLAB_BYTES - 2..SLAB_BYTES + 2].copy_from_slice(b"edit");
        assert_eq!(buffer.body().to_bytes(), data);
        assert_eq!(buffer.crc64(), Crc64::of(&data));
        assert_eq!(buffer.overwrite(2 * SLAB_BYTES - 1, b"past the end", &mut take), 1);
    }

    #[test]
    fn a_cut_buffer_grows_again_from_the_cut() {
        let memory = Memory::new(16 * SLAB_BYTES);
        let mut take = || memory.try_take(SLAB_BYTES);
        let data = bytes(2 * SLAB_BYTES + 5);
        for cut in [0, 1, SLAB_BYTES, SLAB_BYTES + 1, 2 * SLAB_BYTES] {
            let mut buffer = PartBuffer::new();
            buffer.append(&data, &mut take);
            buffer.truncate(cut);
            buffer.append(b"tail", &mut take);
            let expected = [&data[..cut], b"tail"].concat();
            assert_eq!(buffer.body().to_bytes(), expected, "cut at {cut}");
            assert_eq!(buffer.crc64(), Crc64::of(&expected), "cut at {cut}");
        }
        assert_eq!(memory.used_bytes(), 0);
    }
}

//! Where the blocks of a reader in order begin. Pure.
//!
//! The kernel reads ahead in windows that grow from the first one to the largest request, and then go on in requests of
//! that size from wherever the growing has led. If the blocks begin at the same places, each answer is a slice of one
//! block; if they do not, each is put together of two, and a copy of everything is the dearest thing left in a read.

use std::ops::Range;

use super::LARGE_BYTES;

const LARGE: u64 = LARGE_BYTES as u64;

/// A window smaller than this is followed by one four times as large, and a larger one by one of twice its size: what the
/// kernel does where it may read 4 MiB ahead.
const QUADRUPLES_BELOW: u64 = 256 << 10;

/// How an object is cut into large blocks: all but the first, and perhaps the last, are of that size.
///
/// INVARIANT: the first has 1 to [`LARGE_BYTES`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    first_bytes: u64,
}

impl Layout {
    /// Every block is large.
    pub(super) const EVEN: Layout = Layout { first_bytes: LARGE };

    /// What suits a reader in order whose first request is for `len` bytes from the beginning.
    pub(super) fn of_first_read(len: u64) -> Layout {
        let mut window = len.max(1);
        let mut first_bytes = 0;
        while window < LARGE {
            first_bytes += window;
            window *= if window < QUADRUPLES_BELOW { 4 } else { 2 };
        }
        // A growing that ends behind the first MiB is not the kernel's.
        if (1..=LARGE).contains(&first_bytes) { Layout { first_bytes } } else { Layout::EVEN }
    }

    /// This one if its blocks begin with grains of `grain_bytes`, or else the even one.
    pub(super) fn in_grains_of(self, grain_bytes: usize) -> Layout {
        if self.first_bytes.is_multiple_of(grain_bytes as u64) { self } else { Layout::EVEN }
    }

    /// The block that the byte at `at` is in.
    pub(super) fn index_of(&self, at: u64) -> u64 {
        if at < self.first_bytes { 0 } else { 1 + (at - self.first_bytes) / LARGE }
    }

    /// How many blocks there are up to `end`.
    pub(super) fn blocks_to(&self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.index_of(end - 1) + 1 }
    }

    /// The bytes of a block of a long object.
    pub(super) fn range_of(&self, index: u64) -> Range<u64> {
        let end = self.first_bytes + index * LARGE;
        if index == 0 { 0..end } else { end - LARGE..end }
    }

    /// The bytes of the block that the byte at `at` is in.
    pub(super) fn around(&self, at: u64) -> Range<u64> {
        self.range_of(self.index_of(at))
    }

    /// Where the block begins that has the byte at `at`.
    pub(super) fn start_before(&self, at: u64) -> u64 {
        self.around(at).start
    }

    /// The first end of a block that is not before `at`.
    pub(super) fn end_after(&self, at: u64) -> u64 {
        if at == 0 { 0 } else { self.around(at - 1).end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    /// The first request, and where the kernel's requests of 1 MiB begin after it: Linux 6.18, `read_ahead_kb` 4096, with
    /// `dd bs=4k`, tar, md5sum, `dd bs=64k`, cat or cp, and `dd bs=1M`.
    const SEEN: [(u64, u64); 6] = [(16, 848), (64, 832), (128, 640), (256, 768), (512, 512), (1024, 1024)];

    #[test]
    fn blocks_begin_where_the_requests_of_the_kernel_do() {
        for (first, phase) in SEEN {
            let layout = Layout::of_first_read(first * KIB);
            assert_eq!(layout.range_of(0), 0..phase * KIB, "{first}");
            assert_eq!(layout.around((phase + 3 * 1024) * KIB), (phase + 3 * 1024) * KIB..(phase + 4 * 1024) * KIB);
        }
    }

    #[test]
    fn every_byte_is_in_one_block() {
        let layouts =
            [0, 1, 4096, 100_000, 16 * KIB, 300 * KIB, LARGE - 1, LARGE, 5 * LARGE].map(Layout::of_first_read);
        for layout in layouts.into_iter().chain([Layout::EVEN]) {
            let mut next = 0;
            for index in 0..5 {
                let range = layout.range_of(index);
                assert!(range.start == next && !range.is_empty() && range.end - range.start <= LARGE, "{layout:?}");
                for at in [range.start, range.end - 1] {
                    assert_eq!((layout.index_of(at), layout.around(at)), (index, range.clone()), "{layout:?}");
                }
                assert_eq!((layout.start_before(range.start), layout.end_after(range.end)), (range.start, range.end));
                assert_eq!((layout.blocks_to(range.end), layout.blocks_to(range.start)), (index + 1, index));
                next = range.end;
            }
            assert_eq!(layout.end_after(0), 0);
        }
    }

    #[test]
    fn a_layout_that_is_not_in_grains_is_not_taken() {
        let layout = Layout::of_first_read(16 * KIB);
        assert_eq!(layout.in_grains_of(16 << 10), layout);
        assert_eq!(layout.in_grains_of(64 << 10), Layout::EVEN);
    }
}

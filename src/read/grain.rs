//! How much to fetch around a byte that a reader who jumps asked for. Pure.
//!
//! A request costs about as much as 64 KiB, so fetching less hardly saves time, and what lies around a byte is often
//! wanted next. But a file larger than the memory for blocks would be fetched over and over by a reader who jumps all
//! over it. So once its whole size has been fetched without an end in sight, smaller pieces have to do.

/// The sizes of blocks for readers who jump, in bytes, the largest first. The smallest is the kernel's page.
pub(super) const RANDOM_BLOCK_BYTES: [usize; 3] = [64 << 10, 16 << 10, 4 << 10];

/// The block to fetch for a reader who jumps, in bytes, when `fetched` bytes of an object of `size` bytes were fetched
/// for such readers already.
pub(super) fn random_block_bytes(fetched: u64, size: u64) -> usize {
    let [coarse, middle, fine] = RANDOM_BLOCK_BYTES;
    if fetched <= size {
        coarse
    } else if fetched / 3 <= size / 2 {
        middle
    } else {
        fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_was_fetched_the_finer_the_grain() {
        let gib = 1 << 30;
        let table = [
            (0, 64 << 10),
            (gib, 64 << 10),
            (gib + 1, 16 << 10),
            (gib / 2 * 3, 16 << 10),
            (gib * 2, 4 << 10),
            (u64::MAX, 4 << 10),
        ];
        for (fetched, expected) in table {
            assert_eq!(random_block_bytes(fetched, gib), expected, "{fetched}");
        }
    }
}

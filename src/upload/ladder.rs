//! How large the parts of one upload are: small at first so that the first leaves early, larger with the number so
//! that the numbers do not run out.

use crate::object::Limits;

/// The sizes of the parts of an upload, by index.
///
/// The first [`Ladder::FIRST_PARTS`] parts have the first size and the next [`Ladder::SECOND_PARTS`] twice that; then it
/// doubles every [`Ladder::STEP_PARTS`] parts up to the largest part that the service and the memory budget allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    first_bytes: u64,
    bytes_max: u64,
}

impl Ladder {
    /// Parts of the first size: 256 MiB in parts of 8 MiB. A file that has grown beyond that sends for so long that its
    /// end is not later for parts of twice the size, and each of them is a request less: 1 GiB takes 82 requests where
    /// it took 130.
    pub const FIRST_PARTS: u64 = 32;
    /// Parts of twice the first size: 4 GiB of 16 MiB, and few files are larger. What is on its way is in memory, so they
    /// do not grow sooner.
    pub const SECOND_PARTS: u64 = 256;
    /// Parts of each further size. The nine doublings from 16 MiB to 5 GiB take 256 parts, so that over 9,000 are left
    /// at the full size.
    pub const STEP_PARTS: u64 = 32;

    /// A ladder from `first_bytes` up to `bytes_max`, both held within the service's limits.
    pub fn new(first_bytes: u64, bytes_max: u64, limits: Limits) -> Ladder {
        let bytes_max = bytes_max.clamp(limits.part_bytes_min, limits.part_bytes_max);
        Ladder { first_bytes: first_bytes.clamp(limits.part_bytes_min, bytes_max), bytes_max }
    }

    /// The size of the first part, in bytes.
    pub fn first_bytes(&self) -> u64 {
        self.first_bytes
    }

    /// The size of the part with 0-based `index`, in bytes.
    pub fn part_bytes(&self, index: u64) -> u64 {
        let doublings = match index.checked_sub(Ladder::FIRST_PARTS + Ladder::SECOND_PARTS) {
            None if index < Ladder::FIRST_PARTS => 0,
            None => 1,
            Some(above) => above / Ladder::STEP_PARTS + 2,
        };
        // 2^63 exceeds every size, so that more doublings make no difference.
        let doubled = self
            .first_bytes
            .checked_shl(doublings.min(63) as u32)
            .filter(|d| d >> doublings.min(63) == self.first_bytes);
        doubled.unwrap_or(u64::MAX).min(self.bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::limits::{GIB, MIB};

    #[test]
    fn the_sizes_climb_at_the_edges() {
        let ladder = Ladder::new(8 * MIB, u64::MAX, Limits::COS);
        let table: [(u64, u64); 9] = [
            (0, 8 * MIB),
            (31, 8 * MIB),
            (32, 16 * MIB),
            (287, 16 * MIB),
            (288, 32 * MIB),
            (288 + 32 * 7, 4 * GIB),
            (288 + 32 * 8 - 1, 4 * GIB),
            (288 + 32 * 8, 5 * GIB),
            (9_999, 5 * GIB),
        ];
        for (index, expected) in table {
            assert_eq!(ladder.part_bytes(index), expected, "part {index}");
        }
        assert_eq!(ladder.part_bytes(u64::MAX), 5 * GIB);
    }

    #[test]
    fn a_gigabyte_takes_80_parts() {
        let ladder = Ladder::new(8 * MIB, u64::MAX, Limits::COS);
        assert_eq!((0..80).map(|index| ladder.part_bytes(index)).sum::<u64>(), GIB);
    }

    #[test]
    fn ten_thousand_parts_reach_48_8_terabytes_from_every_first_size() {
        for first_bytes in [MIB, 8 * MIB, 64 * MIB, 5 * GIB] {
            let ladder = Ladder::new(first_bytes, u64::MAX, Limits::COS);
            let reach: u64 = (0..Limits::COS.part_count_max).map(|index| ladder.part_bytes(index)).sum();
            assert!(reach >= 48_800_000_000_000, "{first_bytes}: {reach}");
            assert!(reach <= Limits::COS.object_bytes_max);
        }
    }

    #[test]
    fn sizes_stay_within_the_service_and_the_memory() {
        let ladder = Ladder::new(64 * GIB, 64 * MIB, Limits::COS);
        assert_eq!((ladder.part_bytes(0), ladder.part_bytes(9_999)), (64 * MIB, 64 * MIB));
        let ladder = Ladder::new(1, 1, Limits::COS);
        assert_eq!(ladder.part_bytes(0), MIB);
    }
}

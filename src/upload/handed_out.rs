//! What was read of the object of a file that is open for writing, while nobody could know whether it was right.
//!
//! Whoever changes a byte of a mapped file writes the whole page back, and most programs write more than they change. So
//! what is written where something was read is made of that, and whether it had come undamaged has to be known before it
//! is published. The bytes are fetched once more then, and must be the same: damage on the way does not hit twice alike.
//! What is not written over costs nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::object::limits::MIB;
use crate::object::{Checksum, ChecksumAlgorithm};

/// Stretches that are remembered of a file: some 4 MiB. What is read beyond these is fetched once more at once.
const STRETCHES_MAX: usize = 1 << 16;

/// The most that is fetched once more with one request, in bytes: a request's overhead is far below that.
const COMPARED_BYTES_MAX: u64 = MIB;

/// A stretch that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) checksum: Checksum,
    /// The number of the reader's object.
    pub(super) from: u64,
}

/// The stretches by start and end. Each is at its own place in the object, and stays what it is in the next object that is
/// made of the file unless it is written over.
#[derive(Debug, Default)]
pub(super) struct HandedOut {
    stretches: BTreeMap<(u64, u64), Stretch>,
}

impl HandedOut {
    /// Returns whether it is remembered.
    pub(super) fn note(&mut self, range: Range<u64>, stretch: Stretch) -> bool {
        let place = (range.start, range.end);
        match self.stretches.get(&place) {
            Some(before) => before.checksum == stretch.checksum,
            None if self.stretches.len() >= STRETCHES_MAX => false,
            None => {
                self.stretches.insert(place, stretch);
                true
            }
        }
    }

    /// Takes out what is to be compared, what lies side by side as one.
    pub(super) fn take(
        &mut self,
        algorithm: ChecksumAlgorithm,
        is_wanted: impl Fn(Range<u64>) -> bool,
    ) -> Vec<(Range<u64>, Checksum)> {
        let mut taken: Vec<(Range<u64>, Checksum)> = Vec::new();
        self.stretches.retain(|(start, end), stretch| {
            if !is_wanted(*start..*end) {
                return true;
            }
            match taken.last_mut() {
                Some((last, checksum)) if last.end == *start && end - last.start <= COMPARED_BYTES_MAX => {
                    *checksum = algorithm.of_both(*checksum, stretch.checksum, end - start);
                    last.end = *end;
                }
                _ => taken.push((*start..*end, stretch.checksum)),
            }
            false
        });
        taken
    }

    /// Whoever wants the file after all publishes it later.
    pub(super) fn put_back(&mut self, taken: Vec<(Range<u64>, Checksum)>) {
        // Of which reader's object they are is not known of several that are one now: of none that will say more.
        let stretch = |(range, checksum): (Range<u64>, Checksum)| {
            ((range.start, range.end), Stretch { checksum, from: u64::MAX })
        };
        self.stretches.extend(taken.into_iter().map(stretch));
    }

    /// All of the reader's object `from` has turned out to be right.
    pub(super) fn forget(&mut self, from: u64) {
        self.stretches.retain(|_, stretch| stretch.from != from);
    }

    /// Nobody asks any more.
    pub(super) fn clear(&mut self) {
        self.stretches.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_side_by_side_is_compared_as_one() {
        let bytes: Vec<u8> = (0..=99).collect();
        let mut handed_out = HandedOut::default();
        for (start, end) in [(0, 10), (10, 30), (40, 50), (50, 60), (90, 100)] {
            let checksum = Checksum::of(&bytes[start..end]);
            assert!(handed_out.note(start as u64..end as u64, Stretch { checksum, from: 1 }));
        }
        assert!(!handed_out.note(0..10, Stretch { checksum: Checksum(1), from: 1 }), "the same place, other bytes");
        let taken = handed_out.take(ChecksumAlgorithm::Crc64Xz, |range| range.end <= 60);
        let expected =
            [(0, 30), (40, 60)].map(|(start, end)| (start as u64..end as u64, Checksum::of(&bytes[start..end])));
        assert_eq!(taken, expected);
        assert_eq!(handed_out.stretches.len(), 1);
    }
}

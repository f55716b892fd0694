//! Comparing what was read with the checksum of the whole object, in whatever order it came.

use std::collections::{BTreeMap, HashMap};

use crate::object::{Checksum, ChecksumAlgorithm};

/// The checksums of stretches of one object, joined as their neighbours become known.
///
/// INVARIANT: the stretches do not overlap and no two are adjacent.
#[derive(Debug)]
pub(super) struct Checksums {
    algorithm: ChecksumAlgorithm,
    stretches: BTreeMap<u64, (u64, Checksum)>,
    /// What they were joined of, by start and length: who comes once more must be the same. Some 30 bytes for each MiB.
    pieces: HashMap<(u64, u64), Checksum>,
}

/// What noting a stretch told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// It was not known.
    New,
    /// It was known, and is what it was.
    Again,
    /// It was known and had another checksum, which stays noted: one of the two is not the object's.
    Otherwise,
}

/// A stretch that is joined with those that are known around it.
struct Joined {
    start: u64,
    len: u64,
    checksum: Checksum,
}

impl Checksums {
    /// None yet.
    pub(super) fn new(algorithm: ChecksumAlgorithm) -> Checksums {
        Checksums { algorithm, stretches: BTreeMap::new(), pieces: HashMap::new() }
    }

    /// The checksum of the whole, `0..size`, if it is known with that of the `len` bytes at `start`. Notes nothing.
    pub(super) fn whole_with(&self, start: u64, len: u64, checksum: Checksum, size: u64) -> Option<Checksum> {
        let joined = self.join(start, len, checksum)?;
        (joined.start == 0 && joined.len == size).then_some(joined.checksum)
    }

    /// Notes the checksum of the `len` bytes at `start`.
    ///
    /// A stretch that is known already stays as it is noted: it was compared with the whole, or will be. The next one is
    /// not, and so must be the same.
    pub(super) fn note(&mut self, start: u64, len: u64, checksum: Checksum) -> Noted {
        let Some(joined) = self.join(start, len, checksum) else {
            let is_same = self.pieces.get(&(start, len)) == Some(&checksum);
            return if is_same { Noted::Again } else { Noted::Otherwise };
        };
        self.stretches.remove(&(start + len));
        self.stretches.insert(joined.start, (joined.len, joined.checksum));
        self.pieces.insert((start, len), checksum);
        Noted::New
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.stretches.clear();
        self.pieces.clear();
    }

    fn join(&self, start: u64, len: u64, checksum: Checksum) -> Option<Joined> {
        let before = self.stretches.range(..=start).next_back();
        if len == 0 || before.is_some_and(|(at, (known, _))| at + known > start) {
            return None;
        }
        let mut joined = Joined { start, len, checksum };
        if let Some((&at, &(before_len, before_checksum))) = before
            && at + before_len == start
        {
            let checksum = self.algorithm.of_both(before_checksum, checksum, len);
            joined = Joined { start: at, len: before_len + len, checksum };
        }
        if let Some(&(after_len, after_checksum)) = self.stretches.get(&(start + len)) {
            joined.checksum = self.algorithm.of_both(joined.checksum, after_checksum, after_len);
            joined.len += after_len;
        }
        Some(joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_known_when_its_last_piece_is() {
        let whole: Vec<u8> = (0..=250).collect();
        let pieces = [(100, 150), (0, 50), (200, 251), (50, 100), (150, 200)];
        let mut checksums = Checksums::new(ChecksumAlgorithm::Crc64Xz);
        for (index, (start, end)) in pieces.into_iter().enumerate() {
            let (piece, len) = (&whole[start..end], (end - start) as u64);
            let known = checksums.whole_with(start as u64, len, Checksum::of(piece), 251);
            assert_eq!(known, (index == 4).then(|| Checksum::of(&whole)), "with piece {index}");
            assert_eq!(checksums.note(start as u64, len, Checksum::of(piece)), Noted::New);
        }
        assert_eq!(checksums.whole_with(0, 50, Checksum::of(&whole[..50]), 251), None, "known already");
    }

    #[test]
    fn what_comes_once_more_must_be_what_it_was() {
        let mut checksums = Checksums::new(ChecksumAlgorithm::Crc64Xz);
        for (start, checksum, noted) in
            [(0, 1, Noted::New), (50, 2, Noted::New), (0, 3, Noted::Otherwise), (0, 1, Noted::Again)]
        {
            assert_eq!(checksums.note(start, 50, Checksum(checksum)), noted, "{checksum} at {start}");
        }
        checksums.clear();
        assert_eq!(checksums.note(0, 50, Checksum(3)), Noted::New);
    }
}

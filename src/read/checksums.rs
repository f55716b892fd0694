//! Comparing what was read with the checksum of the whole object, in whatever order it came.

use std::collections::{BTreeMap, HashMap};

use crate::object::Crc64;

/// The checksums of stretches of one object, joined as their neighbours become known.
///
/// INVARIANT: the stretches do not overlap and no two are adjacent.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    stretches: BTreeMap<u64, (u64, Crc64)>,
    /// What they were joined of, by start and length: who comes once more must be the same. Some 30 bytes for each MiB.
    pieces: HashMap<(u64, u64), Crc64>,
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
    crc64: Crc64,
}

impl Checksums {
    /// The checksum of the whole, `0..size`, if it is known with that of the `len` bytes at `start`. Notes nothing.
    pub(super) fn whole_with(&self, start: u64, len: u64, crc64: Crc64, size: u64) -> Option<Crc64> {
        let joined = self.join(start, len, crc64)?;
        (joined.start == 0 && joined.len == size).then_some(joined.crc64)
    }

    /// Notes the checksum of the `len` bytes at `start`.
    ///
    /// A stretch that is known already stays as it is noted: it was compared with the whole, or will be. The next one is
    /// not, and so must be the same.
    pub(super) fn note(&mut self, start: u64, len: u64, crc64: Crc64) -> Noted {
        let Some(joined) = self.join(start, len, crc64) else {
            let is_same = self.pieces.get(&(start, len)) == Some(&crc64);
            return if is_same { Noted::Again } else { Noted::Otherwise };
        };
        self.stretches.remove(&(start + len));
        self.stretches.insert(joined.start, (joined.len, joined.crc64));
        self.pieces.insert((start, len), crc64);
        Noted::New
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.stretches.clear();
        self.pieces.clear();
    }

    fn join(&self, start: u64, len: u64, crc64: Crc64) -> Option<Joined> {
        let before = self.stretches.range(..=start).next_back();
        if len == 0 || before.is_some_and(|(at, (known, _))| at + known > start) {
            return None;
        }
        let mut joined = Joined { start, len, crc64 };
        if let Some((&at, &(before_len, before_crc64))) = before
            && at + before_len == start
        {
            joined = Joined { start: at, len: before_len + len, crc64: before_crc64.followed_by(crc64, len) };
        }
        if let Some(&(after_len, after_crc64)) = self.stretches.get(&(start + len)) {
            joined.crc64 = joined.crc64.followed_by(after_crc64, after_len);
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
        let mut checksums = Checksums::default();
        for (index, (start, end)) in pieces.into_iter().enumerate() {
            let (piece, len) = (&whole[start..end], (end - start) as u64);
            let known = checksums.whole_with(start as u64, len, Crc64::of(piece), 251);
            assert_eq!(known, (index == 4).then(|| Crc64::of(&whole)), "with piece {index}");
            assert_eq!(checksums.note(start as u64, len, Crc64::of(piece)), Noted::New);
        }
        assert_eq!(checksums.whole_with(0, 50, Crc64::of(&whole[..50]), 251), None, "known already");
    }

    #[test]
    fn what_comes_once_more_must_be_what_it_was() {
        let mut checksums = Checksums::default();
        for (start, crc64, noted) in
            [(0, 1, Noted::New), (50, 2, Noted::New), (0, 3, Noted::Otherwise), (0, 1, Noted::Again)]
        {
            assert_eq!(checksums.note(start, 50, Crc64(crc64)), noted, "{crc64} at {start}");
        }
        checksums.clear();
        assert_eq!(checksums.note(0, 50, Crc64(3)), Noted::New);
    }
}

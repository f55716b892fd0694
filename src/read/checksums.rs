//! Comparing what was read with the checksum of the whole object, in whatever order it came.

use std::collections::BTreeMap;

use crate::wire::Crc64;

/// The checksums of stretches of one object, joined as their neighbours become known.
///
/// INVARIANT: the stretches do not overlap and no two are adjacent.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    stretches: BTreeMap<u64, (u64, Crc64)>,
}

impl Checksums {
    /// Notes the checksum of the `len` bytes at `start`. Returns the checksum of the whole once `0..size` is known.
    ///
    /// A stretch that is known already is ignored: it was compared or will be.
    pub(super) fn note(&mut self, start: u64, len: u64, crc64: Crc64, size: u64) -> Option<Crc64> {
        let known = self.stretches.range(..=start).next_back().is_some_and(|(at, (known, _))| at + known > start);
        if known || len == 0 {
            return None;
        }
        let (mut start, mut len, mut crc64) = (start, len, crc64);
        if let Some((&before, &(before_len, before_crc64))) = self.stretches.range(..start).next_back()
            && before + before_len == start
        {
            crc64 = before_crc64.followed_by(crc64, len);
            (start, len) = (before, before_len + len);
        }
        if let Some((after_len, after_crc64)) = self.stretches.remove(&(start + len)) {
            crc64 = crc64.followed_by(after_crc64, after_len);
            len += after_len;
        }
        self.stretches.insert(start, (len, crc64));
        (start == 0 && len == size).then_some(crc64)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.stretches.clear();
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
            let piece = &whole[start..end];
            let known = checksums.note(start as u64, piece.len() as u64, Crc64::of(piece), 251);
            assert_eq!(known, (index == 4).then(|| Crc64::of(&whole)), "after piece {index}");
        }
        assert_eq!(checksums.note(0, 50, Crc64::of(&whole[..50]), 251), None, "known already");
    }
}

//! What to fetch of one object so that all of its bytes are known by checksum. Arithmetic on ranges; does no I/O.
//!
//! The service tells one checksum, of the whole object. A stretch that is fetched can be compared with it only together
//! with all other bytes: those that the service copies, whose checksums it answers, and those that are fetched. So
//! stretches are fetched up to the neighbours that are known, what will be overwritten included.

use std::ops::Range;

/// A stretch of the object that is fetched for a part of the upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// The index of the part.
    pub part: usize,
    /// INVARIANT: not empty.
    pub range: Range<u64>,
}

impl Need {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// Widens `needs` until they and `known` cover the object of `size` bytes without a gap. The answer is in the order of the
/// object, and no stretch is longer than `bytes_max` that was not before; `None` if that is not possible, or if a stretch
/// is needed that is also in another part.
pub(super) fn cover(size: u64, known: &[Range<u64>], needs: &[Need], bytes_max: u64) -> Option<Vec<Need>> {
    let mut cover = Cover { at: 0, fetched: Vec::new(), ends_fetched: false, bytes_max };
    let known = known.iter().map(|range| (range.clone(), None));
    let mut pieces: Vec<(Range<u64>, Option<usize>)> =
        known.chain(needs.iter().map(|need| (need.range.clone(), Some(need.part)))).collect();
    pieces.sort_by_key(|(range, part)| (range.start, *part));
    for (range, part) in pieces {
        match part {
            Some(part) => cover.fetch(part, range)?,
            None => cover.pass(range)?,
        }
    }
    cover.fill(size, None)?;
    Some(cover.fetched)
}

/// The pieces, put together in order from 0, that begin where the one before ends; what begins before that is left out.
/// `None` where there is a gap.
pub(super) fn chain<T>(size: u64, mut pieces: Vec<(Range<u64>, T)>) -> Option<Vec<(Range<u64>, T)>> {
    pieces.sort_by_key(|(range, _)| range.start);
    let (mut at, mut chained) = (0, Vec::with_capacity(pieces.len()));
    for (range, of) in pieces {
        if range.start > at {
            return None;
        }
        if range.start == at {
            at = range.end;
            chained.push((range, of));
        }
    }
    (at == size).then_some(chained)
}

/// A cover of the bytes up to `at`.
struct Cover {
    at: u64,
    fetched: Vec<Need>,
    /// What ends at `at` is fetched.
    ends_fetched: bool,
    bytes_max: u64,
}

impl Cover {
    /// Goes on with a stretch that is known. One that begins too early is of no use: checksums of stretches that overlap
    /// cannot be put together.
    fn pass(&mut self, range: Range<u64>) -> Option<()> {
        if range.start < self.at {
            return Some(());
        }
        self.fill(range.start, None)?;
        (self.at, self.ends_fetched) = (range.end, false);
        Some(())
    }

    /// Goes on with a stretch that is fetched for `part`.
    fn fetch(&mut self, part: usize, range: Range<u64>) -> Option<()> {
        let start = if range.start < self.at { range.start } else { self.fill(range.start, Some(&range))? };
        let bytes_max = self.bytes_max;
        let joins = |last: &&mut Need| {
            last.part == part && (start < last.range.end || range.end - last.range.start <= bytes_max)
        };
        match self.fetched.last_mut().filter(|_| self.ends_fetched).filter(joins) {
            Some(last) => last.range.end = last.range.end.max(range.end),
            None if start < self.at => return None,
            None => self.fetched.push(Need { part, range: start..range.end }),
        }
        (self.at, self.ends_fetched) = (self.at.max(range.end), true);
        Some(())
    }

    /// Widens what is fetched before and behind, until nothing is missing before `to`. Returns where what is fetched
    /// `behind` begins then.
    fn fill(&mut self, to: u64, behind: Option<&Range<u64>>) -> Option<u64> {
        if let Some(last) = self.fetched.last_mut().filter(|_| self.ends_fetched) {
            let taken = (to - self.at).min(self.bytes_max.saturating_sub(last.len()));
            last.range.end += taken;
            self.at += taken;
        }
        let missing = to - self.at;
        let room = behind.map_or(0, |behind| self.bytes_max.saturating_sub(behind.end - behind.start));
        (missing <= room).then_some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn need(part: usize, range: Range<u64>) -> Need {
        Need { part, range }
    }

    /// The object's size, what is known, what is needed, and what is fetched.
    type Row = (u64, &'static [Range<u64>], &'static [Need], Option<&'static [Need]>);

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "one range that is known, and not what is in it")]
    fn what_is_fetched_reaches_to_what_is_copied() {
        const TABLE: [Row; 9] = [
            // An edit between two copies: the bytes that it overwrites are fetched too.
            (100, &[0..40, 60..100], &[need(1, 40..48), need(1, 52..60)], Some(&[need(1, 40..60)])),
            // At the beginning, at the end, of all of it.
            (100, &[20..100], &[need(0, 5..20)], Some(&[need(0, 0..20)])),
            (100, &[0..90], &[need(1, 90..91)], Some(&[need(1, 90..100)])),
            (10, &[], &[need(0, 3..4)], Some(&[need(0, 0..10)])),
            // Two parts side by side.
            (100, &[0..50], &[need(1, 50..70), need(2, 75..100)], Some(&[need(1, 50..75), need(2, 75..100)])),
            // More is missing than may be fetched in vain, or there is nothing to widen.
            (100, &[0..40], &[need(1, 40..48)], None),
            (100, &[0..20, 40..90], &[need(1, 90..100)], None),
            // The same bytes in two parts; copied twice.
            (100, &[30..100], &[need(0, 0..20), need(1, 10..30)], None),
            (100, &[0..60, 20..90], &[need(1, 80..100)], Some(&[need(1, 60..100)])),
        ];
        for (size, known, needs, expected) in TABLE {
            assert_eq!(cover(size, known, needs, 40).as_deref(), expected, "{size} {known:?} {needs:?}");
        }
    }

    #[test]
    fn pieces_are_chained_without_gaps() {
        assert_eq!(chain(10, vec![(4..10, 'b'), (0..4, 'a'), (2..9, 'c')]), Some(vec![(0..4, 'a'), (4..10, 'b')]));
        assert_eq!(chain(10, vec![(5..10, 'b'), (0..4, 'a')]), None);
        assert_eq!(chain(10, vec![(0..9, 'a')]), None);
    }

    proptest! {
        /// Whatever is there, a cover has everything that is needed, and is one.
        #[test]
        fn a_cover_is_complete(
            size in 1..200_u64,
            known in prop::collection::vec((0..200_u64, 1..60_u64), 0..6),
            needs in prop::collection::vec((0..4_usize, 0..200_u64, 1..40_u64), 0..6),
        ) {
            let clip = |start: u64, len: u64| start.min(size - 1)..(start + len).clamp(start.min(size - 1) + 1, size);
            let known: Vec<Range<u64>> = known.into_iter().map(|(start, len)| clip(start, len)).collect();
            let needs: Vec<Need> =
                needs.into_iter().map(|(part, start, len)| need(part, clip(start, len))).collect();
            let Some(fetched) = cover(size, &known, &needs, 50) else { return Ok(()) };
            for need in &needs {
                let has = |fetched: &Need| {
                    fetched.part == need.part
                        && fetched.range.start <= need.range.start && need.range.end <= fetched.range.end
                };
                prop_assert!(fetched.iter().any(has), "{need:?} is not in {fetched:?}");
            }
            let pieces = known.into_iter().chain(fetched.iter().map(|fetched| fetched.range.clone()));
            let chained = chain(size, pieces.map(|range| (range, ())).collect());
            prop_assert!(chained.is_some(), "{fetched:?}");
        }
    }
}

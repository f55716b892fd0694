//! What an open file consists of: parts of the running upload, then extents that are in none yet. Pure; does no I/O.
//!
//! The parts come first and bear the numbers from 1 without gaps. What follows them, the tail, becomes parts when it is
//! sealed: while the file is being written, as far as it will not change any more, and all of it when it is published.

mod fetching;
mod ledger;
mod part;
mod parts;
mod rules;
mod sealing;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

pub(super) use fetching::Doubt;
pub use part::PartMark;
pub(super) use part::{Check, Fetch, Job, NotHeld, Outgoing};
pub(super) use rules::PartRules;

use self::part::PartBody;
use self::parts::Parts;
use super::copying::even_ranges;
use super::extents::{Extent, ExtentSource, Extents, SourceObject};
use super::piece::Piece;
use crate::object::{ByteRange, ObjectKey, StoredObject, Version};

/// The bytes of an open file, from 0 to [`Content::size`].
///
/// INVARIANT: the tail begins where the last part ends.
/// INVARIANT: extents of the base lie within the base.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The object as last published.
    pub(super) base: Option<Version>,
    pub(super) parts: Parts,
    tail: Extents,
    /// While a step is published: what comes only with a later one, from here to the end of the file. The parts and the
    /// tail are then the object of the step, which has there what the base has.
    held_back: Option<Extents>,
    /// What was written in order, without a jump, up to the last write.
    stream: Range<u64>,
    /// Writes since the last plan that was made only to see what can be sealed; see [`Content::may_plan`].
    writes_since_plan: usize,
    /// Objects whose bytes cannot be verified all together: each stretch that is fetched of one is verified by itself.
    apart: HashSet<SourceObject>,
}

/// Where a stretch of an open file can be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Segment {
    /// These are the bytes.
    Held(Vec<u8>),
    /// They are this range of the published object.
    Base(ByteRange),
    /// They are this range of another object.
    Other(Arc<StoredObject>, ByteRange),
    /// They are in a part that is only at the service, where nobody can read it before the upload is complete.
    Unreadable,
}

impl Content {
    /// The content of a file that is `base` from beginning to end; an empty file without one.
    pub(super) fn of(base: Option<Version>) -> Content {
        let mut content = Content::default();
        content.tail.push(base.as_ref().map_or(0, |base| base.size), ExtentSource::stored(SourceObject::Base, 0));
        Content { base, ..content }
    }

    /// Bytes in the file.
    pub(super) fn size(&self) -> u64 {
        self.held_back.as_ref().map_or(self.tail.end(), Extents::end)
    }

    pub(super) fn tail(&self) -> &Extents {
        &self.tail
    }

    /// Bytes of memory that the content takes and that publishing would free.
    pub(super) fn held_bytes(&self) -> u64 {
        let held_back = self.held_back.as_ref().map_or(0, Extents::dirty_bytes);
        self.tail.dirty_bytes() + held_back + self.parts.held_bytes()
    }

    /// Bytes of the last write and what was written right before it, in order, and is in no part yet.
    pub(super) fn streamed_bytes(&self) -> u64 {
        self.stream.end.saturating_sub(self.stream.start.max(self.tail.start()))
    }

    /// Writes from `offset`, at most the size, as much of `data` as lies in one part or in the tail, and as there are
    /// blocks for.
    pub(super) fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        take_piece: &mut dyn FnMut(usize) -> Option<Piece>,
    ) -> Result<usize, NotHeld> {
        let taken = match self.parts.index_at(offset) {
            Some(index) => self.parts.rewrite(index, offset, data, take_piece)?,
            None => self.tail.write(offset, data, take_piece),
        };
        // A large write counts as the small ones that it might have been, by a page each.
        self.writes_since_plan = self.writes_since_plan.saturating_add(1 + taken / 4096);
        let begins_anew = offset != self.stream.end;
        let start = if begins_anew { offset } else { self.stream.start };
        self.stream = start..offset + taken as u64;
        Ok(taken)
    }

    /// Makes the file longer, by a hole.
    pub(super) fn extend(&mut self, size: u64) {
        self.tail.push(size.saturating_sub(self.size()), ExtentSource::Zero);
    }

    /// Cuts the content to `len` bytes, at most its size.
    pub(super) fn truncate(&mut self, len: u64) -> Result<(), NotHeld> {
        // Of what is cut off nothing is needed; of the part that the cut goes through, its beginning is.
        let kept = self.parts.count_before(len);
        let through = self.parts.within(&(len..len + 1)).find(|part| part.start < len);
        if through.is_some_and(|part| matches!(part.body, PartBody::Gone)) {
            return Err(NotHeld);
        }
        if let Some(first) = self.parts.take_from(kept).first() {
            self.tail = Extents::new(first.start);
        }
        if let Some(index) = self.parts.index_at(len) {
            self.unseal_from(index)?;
        }
        self.tail.split_off(len);
        self.stream = len..len;
        Ok(())
    }

    /// Puts `extents`, as long as `range`, in the place of `range`, which begins at most at the file's end.
    pub(super) fn replace(&mut self, range: Range<u64>, extents: Vec<Extent>) -> Result<(), NotHeld> {
        if let Some(index) = self.parts.index_at(range.start) {
            self.unseal_from(index)?;
        }
        self.tail.replace(range, extents);
        Ok(())
    }

    /// The extents in `range`, which lies within the file.
    pub(super) fn extents(&self, range: Range<u64>) -> Result<Vec<Extent>, NotHeld> {
        let mut extents = Vec::new();
        for part in self.parts.within(&range) {
            let (start, end) = (range.start.max(part.start), range.end.min(part.end()));
            match &part.body {
                PartBody::Upload(body) => extents.extend(body.within(start..end).map(|(_, extent)| extent)),
                PartBody::Copy { source, start: from } => {
                    let source = ExtentSource::stored(source.clone(), from + (start - part.start));
                    extents.push(Extent { len: end - start, source });
                }
                PartBody::Gone => return Err(NotHeld),
            }
        }
        extents.extend(self.tail.within(range).map(|(_, extent)| extent));
        Ok(extents)
    }

    /// Whether the file has in `range` what its object has there.
    pub(super) fn is_as_in_base(&self, range: Range<u64>) -> bool {
        let mut at = range.start;
        let is_own = |Extent { len, source }: Extent| {
            let is_own =
                matches!(source, ExtentSource::Stored { object: SourceObject::Base, start, .. } if start == at);
            at += len;
            is_own
        };
        range.end <= self.size() && self.extents(range).is_ok_and(|extents| extents.into_iter().all(is_own))
    }

    /// Takes the part `index` and all behind it back into the tail; fails if one of them is only at the service.
    pub(super) fn unseal_from(&mut self, index: usize) -> Result<(), NotHeld> {
        if self.parts.iter().skip(index).any(|part| matches!(part.body, PartBody::Gone)) {
            return Err(NotHeld);
        }
        let taken = self.parts.take_from(index);
        let Some(first) = taken.first() else { return Ok(()) };
        let mut tail = Extents::new(first.start);
        for part in taken {
            match part.body {
                PartBody::Upload(extents) => tail.append(extents),
                PartBody::Copy { source, start } => tail.push(part.len, ExtentSource::stored(source, start)),
                PartBody::Gone => unreachable!("looked at above"),
            }
        }
        tail.append(std::mem::take(&mut self.tail));
        self.tail = tail;
        Ok(())
    }

    /// Gives back what is in memory and in the base as well.
    pub(super) fn release_clean(&mut self) {
        self.tail.release_clean();
    }

    /// Gives all bytes back, of a file that has failed. Nothing can be read or published any more.
    pub(super) fn drop_bytes(&mut self) {
        let base = self.base.take();
        self.clear();
        self.tail.push(base.as_ref().map_or(0, |base| base.size), ExtentSource::stored(SourceObject::Base, 0));
        self.base = base;
    }

    fn clear(&mut self) {
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        *self = Content { parts, ..Content::default() };
    }

    /// Bytes of the holes that are copied instead of sent.
    pub(super) fn large_hole_bytes(&self, rules: &PartRules) -> u64 {
        rules.hole_bytes_min.map_or(0, |bytes| self.tail.holes(bytes).map(|(_, len)| len).sum())
    }

    /// Bytes of all holes, in parts and in none, however they come to the service.
    pub(super) fn hole_bytes(&self) -> u64 {
        self.tail.zero_bytes() + self.parts.hole_bytes()
    }

    /// Points large holes at an object of zeros, in stretches that are as long as it allows and much alike.
    pub(super) fn point_holes_at(&mut self, zeros: &Arc<StoredObject>, rules: &PartRules) {
        let Some(bytes_min) = rules.hole_bytes_min else { return };
        for (start, len) in self.tail.holes(bytes_min).collect::<Vec<_>>() {
            let stretch = |range: ByteRange| Extent {
                len: range.len(),
                source: ExtentSource::stored(SourceObject::Zeros(zeros.clone()), 0),
            };
            let stretches = even_ranges(len, zeros.version.size).into_iter().map(stretch).collect();
            self.tail.replace(start..start + len, stretches);
        }
    }

    /// The object of zeros goes: what is in no part yet is holes again.
    pub(super) fn forget_zeros(&mut self) {
        self.tail.forget_zeros();
        self.held_back.iter_mut().for_each(Extents::forget_zeros);
    }

    /// The whole file, while nothing of it is sealed.
    pub(super) fn unsealed(&self) -> Option<&Extents> {
        (self.parts.count() == 0).then_some(&self.tail)
    }

    /// The parts and the tail are now the object `base`. What `keeps` says stays in memory, ready to be changed again.
    pub(super) fn rest_on(&mut self, base: Version, keeps: bool) {
        let size = self.tail.end();
        let mut tail = Extents::new(0);
        if keeps && self.parts.count() == 0 {
            for Extent { len, source } in std::mem::take(&mut self.tail).into_iter() {
                let held = match source {
                    ExtentSource::Dirty(piece) => Some(piece),
                    ExtentSource::Stored { held, .. } => held,
                    // As good as in memory.
                    ExtentSource::Zero => {
                        tail.push(len, source);
                        continue;
                    }
                };
                let start = tail.end();
                tail.push(len, ExtentSource::Stored { object: SourceObject::Base, start, held });
            }
        } else {
            tail.push(size, ExtentSource::stored(SourceObject::Base, 0));
        }
        (self.tail, self.base) = (tail, Some(base));
        self.parts.clear();
        self.apart.clear();
        self.restore_held_back();
    }

    /// The keys of objects of others that parts and stretches come from, some more than once; see [`Parts::sources`].
    pub(super) fn sources(&self, is_final: bool) -> impl Iterator<Item = &ObjectKey> {
        let stretches = std::iter::once(&self.tail).chain(&self.held_back);
        stretches.flat_map(Extents::others).chain(self.parts.sources(is_final))
    }

    /// Whether parts and tail are not all of the file.
    pub(super) fn is_step(&self) -> bool {
        self.held_back.is_some()
    }

    /// Goes on without the base, of which every byte that the file has is in memory. Of a file that has failed nothing is
    /// left.
    pub(super) fn let_go_of_base(&mut self) {
        self.tail.make_dirty();
        if self.tail.needs_base() {
            self.clear();
        }
        self.base = None;
    }

    /// Where the bytes `range`, within the file, can be read, in order. Copies what is held.
    pub(super) fn segments(&self, range: ByteRange) -> Vec<Segment> {
        let edge = self.held_back.as_ref().map_or(u64::MAX, Extents::start);
        let (before, behind) = (range.start()..range.end().min(edge), range.start().max(edge)..range.end());
        let mut segments = Vec::new();
        for part in self.parts.within(&before) {
            let (start, end) = (before.start.max(part.start), before.end.min(part.end()));
            match &part.body {
                PartBody::Upload(extents) => segments.extend(extents.within(start..end).map(segment)),
                PartBody::Copy { source, start: from } => {
                    let source = ExtentSource::stored(source.clone(), from + (start - part.start));
                    segments.push(segment((start, Extent { len: end - start, source })));
                }
                PartBody::Gone => segments.push(Segment::Unreadable),
            }
        }
        segments.extend(self.tail.within(before).map(segment));
        if let Some(held_back) = &self.held_back {
            segments.extend(held_back.within(behind).map(segment));
        }
        segments
    }

    /// The first byte at or behind `offset` that is data, or that is in a hole, the end of the file among the holes;
    /// `None` if `offset` is not within the file or nothing but a hole follows.
    pub(super) fn find(&self, offset: u64, hole: bool) -> Option<u64> {
        let size = self.size();
        if offset >= size {
            return None;
        }
        let extents = self.held_back.as_ref().filter(|held_back| held_back.start() <= offset).unwrap_or(&self.tail);
        if offset < extents.start() {
            // What is in parts counts as data, zeros and all.
            return if hole { Some(extents.find(extents.start(), true).unwrap_or(size)) } else { Some(offset) };
        }
        let found = extents.find(offset, hole);
        if hole { Some(found.unwrap_or(size)) } else { found }
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        let base_size = self.base.as_ref().map_or(0, |base| base.size);
        let end = self.parts.check_invariants();
        assert_eq!(self.tail.start(), end, "a gap before the tail");
        self.tail.check_invariants();
        for extent in self.tail.iter() {
            if let ExtentSource::Stored { object: SourceObject::Base, start, .. } = &extent.source {
                assert!(start + extent.len <= base_size, "{start} + {} of a base of {base_size}", extent.len);
            }
        }
    }
}

/// Where an extent can be read.
fn segment((_, extent): (u64, Extent)) -> Segment {
    match extent.source {
        ExtentSource::Dirty(piece) | ExtentSource::Stored { held: Some(piece), .. } => {
            Segment::Held(piece.as_slice().to_vec())
        }
        ExtentSource::Stored { object, start, held: None } => {
            let range = ByteRange::new(start, start + extent.len).expect("extents are not empty");
            match object {
                SourceObject::Base => Segment::Base(range),
                SourceObject::Other(object) => Segment::Other(object, range),
                SourceObject::Zeros(_) => Segment::Held(vec![0; extent.len as usize]),
            }
        }
        // Reads are at most a few MiB.
        ExtentSource::Zero => Segment::Held(vec![0; extent.len as usize]),
    }
}

#[cfg(test)]
mod tests;

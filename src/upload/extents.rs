//! The content of a stretch of an open file, as an ordered list of extents. Pure; does no I/O.
//!
//! Every byte of the stretch lies in exactly one extent, which says where it is: in memory, in a stored object, or
//! nowhere because it is a zero. Changing the list never moves bytes, and costs the logarithm of its length.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::piece::{Piece, block_bytes};
use crate::object::{ObjectKey, StoredObject};

/// The object that stored bytes are in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum SourceObject {
    /// The file's own, as last published.
    Base,
    /// Another one, from which a range was copied.
    Other(Arc<StoredObject>),
    /// One that has nothing but zeros, and is there only for as long as this file is published.
    Zeros(Arc<StoredObject>),
}

/// Where the bytes of an extent are.
#[derive(Clone, Debug)]
pub(super) enum ExtentSource {
    /// Bytes that are in memory and nowhere else.
    Dirty(Piece),
    /// Bytes from `start` of an object. `held` has the same bytes, where they are in memory too.
    Stored { object: SourceObject, start: u64, held: Option<Piece> },
    /// A hole.
    Zero,
}

/// INVARIANT: `len > 0`, and the length of the piece, where there is one.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    pub(super) len: u64,
    pub(super) source: ExtentSource,
}

/// Extents from `start` to `end`, by where they begin in the file.
///
/// INVARIANT: the first extent begins at `start`, each one where the one before ends, and the last one ends at `end`.
/// INVARIANT: `sums` counts every extent.
#[derive(Clone, Debug, Default)]
pub(super) struct Extents {
    start: u64,
    end: u64,
    map: BTreeMap<u64, Extent>,
    sums: Sums,
}

/// What is asked about all extents at every write or publishing, counted as they come and go: looking at a hundred thousand
/// of them would take longer than the write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sums {
    /// Bytes of dirty extents.
    dirty_bytes: u64,
    /// Extents that are in memory and in an object as well.
    clean: usize,
    /// Extents that are in the base and not in memory.
    in_base: usize,
    /// Extents of the base that are wanted at another place than their own.
    displaced: usize,
    /// Extents of other objects, by key.
    others: BTreeMap<ObjectKey, usize>,
}

impl Sums {
    fn add(&mut self, at: u64, extent: &Extent) {
        #[cfg(test)]
        super::work::count();
        match &extent.source {
            ExtentSource::Dirty(piece) => self.dirty_bytes += piece.len() as u64,
            ExtentSource::Stored { object, start, held } => {
                self.clean += usize::from(held.is_some());
                match object {
                    SourceObject::Base => {
                        self.in_base += usize::from(held.is_none());
                        self.displaced += usize::from(*start != at);
                    }
                    SourceObject::Other(object) => match self.others.get_mut(&object.key) {
                        Some(count) => *count += 1,
                        None => drop(self.others.insert(object.key.clone(), 1)),
                    },
                    SourceObject::Zeros(_) => {}
                }
            }
            ExtentSource::Zero => {}
        }
    }

    /// Undoes [`Sums::add`].
    fn take(&mut self, at: u64, extent: &Extent) {
        match &extent.source {
            ExtentSource::Dirty(piece) => self.dirty_bytes -= piece.len() as u64,
            ExtentSource::Stored { object, start, held } => {
                self.clean -= usize::from(held.is_some());
                match object {
                    SourceObject::Base => {
                        self.in_base -= usize::from(held.is_none());
                        self.displaced -= usize::from(*start != at);
                    }
                    SourceObject::Other(object) => match self.others.get_mut(&object.key) {
                        Some(count) if *count > 1 => *count -= 1,
                        _ => drop(self.others.remove(&object.key)),
                    },
                    SourceObject::Zeros(_) => {}
                }
            }
            ExtentSource::Zero => {}
        }
    }

    fn of<'a>(extents: impl Iterator<Item = (&'a u64, &'a Extent)>) -> Sums {
        let mut sums = Sums::default();
        extents.for_each(|(at, extent)| sums.add(*at, extent));
        sums
    }
}

impl ExtentSource {
    /// The bytes of `object` from `start`.
    pub(super) fn stored(object: SourceObject, start: u64) -> ExtentSource {
        ExtentSource::Stored { object, start, held: None }
    }

    /// Whether it is a hole, however that comes to the service.
    pub(super) fn is_zero(&self) -> bool {
        matches!(self, ExtentSource::Zero | ExtentSource::Stored { object: SourceObject::Zeros(_), .. })
    }

    /// Cuts the source of an extent after `at` bytes and returns the rest.
    fn split_off(&mut self, at: u64) -> ExtentSource {
        // A piece is as long as its extent, and so longer than `at`.
        let split = |piece: &mut Piece| piece.split_off(at as usize);
        match self {
            ExtentSource::Dirty(piece) => ExtentSource::Dirty(split(piece)),
            ExtentSource::Stored { object, start, held } => {
                ExtentSource::Stored { object: object.clone(), start: *start + at, held: held.as_mut().map(split) }
            }
            ExtentSource::Zero => ExtentSource::Zero,
        }
    }

    /// Whether `next` continues this source of `len` bytes, so that one extent can be both.
    fn continues(&self, len: u64, next: &ExtentSource) -> bool {
        match (self, next) {
            (ExtentSource::Zero, ExtentSource::Zero) => true,
            (
                ExtentSource::Stored { object, start, held: None },
                ExtentSource::Stored { object: next_object, start: next_start, held: None },
            ) => object == next_object && start + len == *next_start,
            _ => false,
        }
    }
}

impl Extents {
    /// No extents, at `start`.
    pub(super) fn new(start: u64) -> Extents {
        Extents { start, end: start, ..Extents::default() }
    }

    /// Where the first byte is in the file.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Where the last byte ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes in all extents.
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }

    /// How many extents there are.
    pub(super) fn count(&self) -> usize {
        self.map.len()
    }

    /// Bytes that are in memory and nowhere else.
    pub(super) fn dirty_bytes(&self) -> u64 {
        self.sums.dirty_bytes
    }

    /// Whether a byte is in the base and not in memory.
    pub(super) fn needs_base(&self) -> bool {
        self.sums.in_base > 0
    }

    /// Whether a stretch of the base is wanted at another place than its own.
    pub(super) fn refers_elsewhere(&self) -> bool {
        self.sums.displaced > 0
    }

    /// The keys of the other objects that bytes are in.
    pub(super) fn others(&self) -> impl Iterator<Item = &ObjectKey> {
        self.sums.others.keys()
    }

    /// All extents in order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Extent> {
        let extents = self.map.values();
        #[cfg(test)]
        let extents = extents.inspect(|_| super::work::count());
        extents
    }

    /// The pieces in memory and everything else, for looking at checksums.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut ExtentSource> {
        self.map.values_mut().map(|extent| &mut extent.source)
    }

    /// Whether a byte is in an object that is not the file's own.
    pub(super) fn is_of_others(&self) -> bool {
        !self.sums.others.is_empty()
    }

    /// Where the last byte ends that is only in memory.
    pub(super) fn dirty_end(&self) -> Option<u64> {
        let mut end = self.end;
        for extent in self.iter().rev() {
            if matches!(extent.source, ExtentSource::Dirty(_)) {
                return Some(end);
            }
            end -= extent.len;
        }
        None
    }

    /// Gives back what is in memory and in an object as well.
    pub(super) fn release_clean(&mut self) {
        if self.sums.clean == 0 {
            return;
        }
        for extent in self.map.values_mut() {
            if let ExtentSource::Stored { held, .. } = &mut extent.source {
                *held = None;
            }
        }
        self.sums = Sums::of(self.map.iter());
    }

    /// The extents in `range`, clipped to it, each with the place where its part of the range begins.
    pub(super) fn within(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Extent)> {
        let first = self.map.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        self.map.range(first..range.end.max(first)).filter_map(move |(start, extent)| {
            #[cfg(test)]
            super::work::count();
            let (from, to) = (range.start.max(*start), range.end.min(start + extent.len));
            if from >= to {
                return None;
            }
            let mut source = extent.source.clone();
            if from > *start {
                source = source.split_off(from - start);
            }
            if to - from < start + extent.len - from {
                source.split_off(to - from);
            }
            Some((from, Extent { len: to - from, source }))
        })
    }

    /// Appends an extent.
    pub(super) fn push(&mut self, len: u64, source: ExtentSource) {
        if len == 0 {
            return;
        }
        match self.map.last_entry() {
            Some(mut last) if last.get().source.continues(last.get().len, &source) => last.get_mut().len += len,
            _ => self.insert(self.end, Extent { len, source }),
        }
        self.end += len;
    }

    fn insert(&mut self, at: u64, extent: Extent) {
        self.sums.add(at, &extent);
        self.map.insert(at, extent);
    }

    /// Appends all of `others`, wherever they were before.
    pub(super) fn append(&mut self, others: Extents) {
        others.map.into_values().for_each(|extent| self.push(extent.len, extent.source));
    }

    /// Keeps what lies before `at`, and returns what lies behind it, at the cost of that.
    pub(super) fn split_off(&mut self, at: u64) -> Extents {
        let at = at.clamp(self.start, self.end);
        self.cut(at);
        let mut rest = Extents { start: at, end: self.end, ..Extents::default() };
        while let Some(last) = self.map.last_entry().filter(|last| *last.key() >= at) {
            let (place, extent) = last.remove_entry();
            self.sums.take(place, &extent);
            rest.insert(place, extent);
        }
        self.end = at;
        rest
    }

    /// Keeps what lies behind `at`, and returns what lies before it, at the cost of that: who takes part after part off a
    /// file does not look at all of it each time.
    pub(super) fn take_front(&mut self, at: u64) -> Extents {
        let at = at.clamp(self.start, self.end);
        self.cut(at);
        let mut front = Extents { start: self.start, end: at, ..Extents::default() };
        while let Some(first) = self.map.first_entry().filter(|first| *first.key() < at) {
            let (place, extent) = first.remove_entry();
            self.sums.take(place, &extent);
            front.insert(place, extent);
        }
        self.start = at;
        front
    }

    /// Bytes in holes.
    pub(super) fn zero_bytes(&self) -> u64 {
        self.iter().filter(|extent| extent.source.is_zero()).map(|extent| extent.len).sum()
    }

    /// The holes that are longer than `bytes`, each with where it begins and its length.
    pub(super) fn holes(&self, bytes: u64) -> impl Iterator<Item = (u64, u64)> {
        let is_hole = move |extent: &Extent| matches!(extent.source, ExtentSource::Zero) && extent.len > bytes;
        self.map.iter().filter(move |(_, extent)| is_hole(extent)).map(|(start, extent)| (*start, extent.len))
    }

    /// Makes holes again of what was to be copied from zeros.
    pub(super) fn forget_zeros(&mut self) {
        for extent in self.map.values_mut().filter(|extent| extent.source.is_zero()) {
            extent.source = ExtentSource::Zero;
        }
    }

    /// Puts `others`, as long as `range`, in place of what is in `range`, which may end behind the last extent.
    pub(super) fn replace(&mut self, range: Range<u64>, others: Vec<Extent>) {
        let len: u64 = others.iter().map(|extent| extent.len).sum();
        assert_eq!(len, range.end - range.start, "as much is put in as is taken out");
        self.clear(range.clone());
        let mut at = range.start;
        for extent in others {
            let len = extent.len;
            self.insert(at, extent);
            at += len;
        }
    }

    /// Takes out what is in `range`, where the caller puts something else.
    fn clear(&mut self, range: Range<u64>) {
        self.cut(range.start);
        self.cut(range.end);
        while let Some((at, _)) = self.map.range(range.clone()).next() {
            let at = *at;
            if let Some(extent) = self.map.remove(&at) {
                self.sums.take(at, &extent);
            }
        }
        self.end = self.end.max(range.end);
    }

    /// Makes `at` the edge of an extent.
    fn cut(&mut self, at: u64) {
        let Some((start, extent)) = self.map.range_mut(..at).next_back() else { return };
        let (start, within) = (*start, at - start);
        if within < extent.len {
            self.sums.take(start, extent);
            let rest = Extent { len: extent.len - within, source: extent.source.split_off(within) };
            extent.len = within;
            self.sums.add(start, extent);
            self.insert(at, rest);
        }
    }

    /// Writes from `offset`, at most `end`, as much of `data` as there are blocks for, and returns how much that was.
    pub(super) fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        take_piece: &mut dyn FnMut(usize) -> Option<Piece>,
    ) -> usize {
        debug_assert!((self.start..=self.end).contains(&offset), "a write begins within the extents or at their end");
        let mut taken = 0;
        while taken < data.len() {
            match self.write_piece(offset + taken as u64, &data[taken..], take_piece) {
                0 => break,
                bytes => taken += bytes,
            }
        }
        taken
    }

    /// Writes into the one piece that the byte at `offset` is in or will be in.
    fn write_piece(&mut self, offset: u64, data: &[u8], take_piece: &mut dyn FnMut(usize) -> Option<Piece>) -> usize {
        if let Some(bytes) = self.overwrite_held(offset, data, take_piece) {
            return bytes;
        }
        // What is in memory behind this write is overwritten where it is, at the next turn.
        let mut behind = self.map.range(offset..offset + data.len() as u64);
        let next_dirty =
            behind.find(|(_, extent)| matches!(extent.source, ExtentSource::Dirty(_))).map(|(start, _)| *start);
        let room = next_dirty.map_or(data.len() as u64, |start| (start - offset).min(data.len() as u64));
        let data = &data[..room as usize];
        let (room, before) = self.piece_before(offset).map_or((0, 0), |piece| (piece.room(), piece.block_bytes()));
        if room > 0 {
            // The room behind a piece takes the place of whatever follows it, none of which is dirty.
            let data = &data[..data.len().min(room)];
            self.clear(offset..offset + data.len() as u64);
            return self.append_to_piece(offset, data);
        }
        let Some(mut piece) = take_piece(block_bytes(data.len(), before)) else { return 0 };
        piece.append(data);
        let len = piece.len() as u64;
        self.replace(offset..offset + len, vec![Extent { len, source: ExtentSource::Dirty(piece) }]);
        len as usize
    }

    /// The dirty piece that ends at `offset`.
    fn piece_before(&mut self, offset: u64) -> Option<&mut Piece> {
        match self.map.range_mut(..offset).next_back()? {
            (start, Extent { len, source: ExtentSource::Dirty(piece) }) if *start + *len == offset => Some(piece),
            _ => None,
        }
    }

    /// Appends to the dirty piece that ends at `offset` and has the room.
    fn append_to_piece(&mut self, offset: u64, data: &[u8]) -> usize {
        let Some((_, extent)) = self.map.range_mut(..offset).next_back() else { return 0 };
        let ExtentSource::Dirty(piece) = &mut extent.source else { return 0 };
        let bytes = piece.append(data);
        extent.len += bytes as u64;
        self.sums.dirty_bytes += bytes as u64;
        bytes
    }

    /// Overwrites what is in memory at `offset`; `None` if nothing is.
    fn overwrite_held(
        &mut self,
        offset: u64,
        data: &[u8],
        take_piece: &mut dyn FnMut(usize) -> Option<Piece>,
    ) -> Option<usize> {
        let (&start, extent) = self.map.range_mut(..=offset).next_back()?;
        if start + extent.len <= offset {
            return None;
        }
        let (ExtentSource::Dirty(piece) | ExtentSource::Stored { held: Some(piece), .. }) = &mut extent.source else {
            return None;
        };
        let within = offset - start;
        let bytes = (extent.len - within).min(data.len() as u64) as usize;
        if !piece.overwrite(within as usize, &data[..bytes], take_piece) {
            return Some(0);
        }
        if let ExtentSource::Stored { held: Some(piece), .. } = &extent.source {
            // All of the piece is new now; it is in memory anyway.
            let dirty = ExtentSource::Dirty(piece.clone());
            self.sums.take(start, extent);
            extent.source = dirty;
            self.sums.add(start, extent);
        }
        Some(bytes)
    }

    /// All extents in order, taken out.
    pub(super) fn into_iter(self) -> impl Iterator<Item = Extent> {
        self.map.into_values()
    }

    /// What is in memory is from now on nowhere else.
    pub(super) fn make_dirty(&mut self) {
        for extent in self.map.values_mut() {
            if let ExtentSource::Stored { held: Some(piece), .. } = &extent.source {
                extent.source = ExtentSource::Dirty(piece.clone());
            }
        }
        self.sums = Sums::of(self.map.iter());
    }

    /// The first byte at or behind `offset` that is data, or that is in a hole; `None` if there is none.
    pub(super) fn find(&self, offset: u64, hole: bool) -> Option<u64> {
        let first = self.map.range(..=offset).next_back().map_or(offset, |(start, _)| *start);
        let is_wanted = |extent: &Extent| extent.source.is_zero() == hole;
        let mut extents = self.map.range(first..).filter(|(start, extent)| *start + extent.len > offset);
        extents.find(|(_, extent)| is_wanted(extent)).map(|(start, _)| offset.max(*start))
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        let mut end = self.start;
        for (start, extent) in &self.map {
            assert_eq!(*start, end, "a gap or an overlap");
            assert!(extent.len > 0, "an empty extent at {start}");
            if let ExtentSource::Dirty(piece) | ExtentSource::Stored { held: Some(piece), .. } = &extent.source {
                assert_eq!(piece.len() as u64, extent.len, "the piece at {start} has another length");
            }
            end += extent.len;
        }
        assert_eq!((end, Sums::of(self.map.iter())), (self.end, self.sums.clone()), "(end, sums)");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::{Block, Memory};
    use crate::object::ChecksumAlgorithm;

    fn fresh(block: Block) -> Piece {
        Piece::new(block, ChecksumAlgorithm::Crc64Xz)
    }

    /// What a change does to a model that knows of every byte where it comes from: a base byte by its place, a zero, or
    /// the number of the change that wrote it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Byte {
        Base(u64),
        Zero,
        Written(u8),
    }

    #[derive(Clone, Debug)]
    enum Change {
        Write {
            at: u64,
            len: usize,
        },
        Hole {
            at: u64,
            len: u64,
        },
        Extend {
            len: u64,
        },
        Cut {
            at: u64,
        },
        /// Cut in two and put together again.
        Split {
            at: u64,
        },
        Copy {
            from: u64,
            len: u64,
            at: u64,
        },
    }

    const BASE_BYTES: u64 = 40_000;

    fn change() -> impl Strategy<Value = Change> {
        let at = || 0..60_000_u64;
        let len = || prop_oneof![1..50_u64, 1..20_000_u64, Just(4096_u64)];
        prop_oneof![
            4 => (at(), len()).prop_map(|(at, len)| Change::Write { at, len: len as usize }),
            1 => (at(), len()).prop_map(|(at, len)| Change::Hole { at, len }),
            1 => len().prop_map(|len| Change::Extend { len }),
            1 => at().prop_map(|at| Change::Cut { at }),
            1 => at().prop_map(|at| Change::Split { at }),
            1 => (at(), len(), at()).prop_map(|(from, len, at)| Change::Copy { from, len, at }),
        ]
    }

    fn apply(extents: &mut Extents, model: &mut Vec<Byte>, change: &Change, number: u8, memory: &Memory) {
        let size = extents.end();
        match *change {
            Change::Write { at, len } => {
                let at = at.min(size);
                let data = vec![number; len];
                assert_eq!(extents.write(at, &data, &mut |bytes| memory.try_take(bytes).map(fresh)), len);
                model.resize(model.len().max(at as usize + len), Byte::Zero);
                model[at as usize..at as usize + len].fill(Byte::Written(number));
            }
            Change::Hole { at, len } => {
                let (at, end) = (at.min(size), (at + len).min(size));
                if at < end {
                    extents.replace(at..end, vec![Extent { len: end - at, source: ExtentSource::Zero }]);
                    model[at as usize..end as usize].fill(Byte::Zero);
                }
            }
            Change::Extend { len } => {
                extents.push(len, ExtentSource::Zero);
                model.resize(model.len() + len as usize, Byte::Zero);
            }
            Change::Cut { at } => {
                drop(extents.split_off(at));
                model.truncate(at as usize);
            }
            Change::Split { at } => {
                let rest = extents.split_off(at);
                extents.check_invariants();
                rest.check_invariants();
                extents.append(rest);
            }
            Change::Copy { from, len, at } => {
                let (from, at) = (from.min(size), at.min(size));
                let end = (from + len).min(size);
                let copied: Vec<Extent> = extents.within(from..end).map(|(_, extent)| extent).collect();
                extents.replace(at..at + (end - from), copied);
                let bytes = model[from as usize..end as usize].to_vec();
                model.resize(model.len().max(at as usize + bytes.len()), Byte::Zero);
                model[at as usize..at as usize + bytes.len()].copy_from_slice(&bytes);
            }
        }
    }

    fn bytes_of(extents: &Extents) -> Vec<Byte> {
        let of = |extent: &Extent| -> Vec<Byte> {
            match &extent.source {
                ExtentSource::Dirty(piece) => piece.as_slice().iter().map(|byte| Byte::Written(*byte)).collect(),
                ExtentSource::Stored { start, .. } => (*start..start + extent.len).map(Byte::Base).collect(),
                ExtentSource::Zero => vec![Byte::Zero; extent.len as usize],
            }
        };
        extents.iter().flat_map(of).collect()
    }

    proptest! {
        #[test]
        fn extents_say_of_every_byte_where_it_is(changes in prop::collection::vec(change(), 1..40)) {
            let memory = Memory::new(64 << 20);
            let mut extents = Extents::new(0);
            extents.push(BASE_BYTES, ExtentSource::stored(SourceObject::Base, 0));
            let mut model: Vec<Byte> = (0..BASE_BYTES).map(Byte::Base).collect();
            for (number, change) in (1..).zip(&changes) {
                apply(&mut extents, &mut model, change, number, &memory);
                extents.check_invariants();
                prop_assert_eq!(extents.end(), model.len() as u64);
            }
            prop_assert!(bytes_of(&extents) == model, "{changes:?}");
            for piece in [0..100, 4000..9000, 39_990..40_010, 50_000..u64::MAX] {
                let within: u64 = extents.within(piece.clone()).map(|(_, extent)| extent.len).sum();
                prop_assert_eq!(within, extents.end().min(piece.end).saturating_sub(piece.start));
            }
            drop(extents);
            prop_assert_eq!(memory.used_bytes(), 0);
        }
    }

    #[test]
    fn small_writes_in_order_fill_one_block_after_the_other() {
        let memory = Memory::new(1 << 20);
        let mut extents = Extents::new(0);
        for index in 0..100 {
            extents.write(index * 100, &[1; 100], &mut |bytes| memory.try_take(bytes).map(fresh));
        }
        // 4 KiB and 8 KiB hold the 10,000 bytes.
        assert_eq!((extents.count(), memory.used_bytes()), (2, 12 << 10));
    }

    #[test]
    fn a_write_without_memory_takes_what_there_was() {
        let memory = Memory::new(4 << 10);
        let mut extents = Extents::new(7);
        let mut wanted = 0;
        let mut take = |bytes| {
            wanted = bytes;
            memory.try_take(bytes).map(fresh)
        };
        assert_eq!(extents.write(7, &[1; 4096], &mut take), 4096);
        assert_eq!(extents.write(7 + 4096, &[1; 10], &mut take), 0);
        assert_eq!((wanted, extents.len(), extents.dirty_bytes()), (8 << 10, 4096, 4096));
        extents.check_invariants();
    }

    #[test]
    fn what_is_held_becomes_dirty_where_it_is_written_to() {
        let memory = Memory::new(64 << 10);
        let mut piece = fresh(memory.try_take(4096).unwrap());
        piece.append(b"0123456789");
        let mut extents = Extents::new(0);
        extents.push(10, ExtentSource::Stored { object: SourceObject::Base, start: 0, held: Some(piece) });
        assert_eq!(extents.dirty_bytes(), 0);
        assert_eq!(extents.write(3, b"abc", &mut |bytes| memory.try_take(bytes).map(fresh)), 3);
        assert_eq!((extents.count(), extents.dirty_bytes()), (1, 10));
        extents.check_invariants();
    }
}

//! What an open file consists of: a prefix that is still the published object, then parts. Pure; does no I/O.

use super::ladder::Ladder;
use super::part_buffer::PartBuffer;
use crate::memory::Block;
use crate::store::Body;
use crate::wire::{ByteRange, Crc64, ETag, UploadedPart};

/// The object as last published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Its version, which every read and copy of it is pinned to.
    pub etag: ETag,
    /// Its size in bytes.
    pub size: u64,
    /// Its checksum, where the service told it.
    pub crc64: Option<Crc64>,
}

/// The bytes of an open file, from 0 to [`Content::size`].
///
/// INVARIANT: `base_len <= base.size`, and 0 without a base.
/// INVARIANT: the parts follow one another without gaps from `base_len`; all but the last are sealed.
/// INVARIANT: a part that is not acknowledged has its buffer, until the file has failed.
/// INVARIANT: all parts before `unsent_from` are acknowledged.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) base: Option<Base>,
    /// Bytes of the base that the file begins with.
    pub(super) base_len: u64,
    parts: Vec<Part>,
    /// Where looking for parts to send begins, so that a long file is not searched from its beginning at every write.
    unsent_from: usize,
    /// The version that the next changed part gets.
    next_version: u64,
}

#[derive(Debug)]
struct Part {
    start: u64,
    len: u64,
    /// Told apart from every earlier content of this part and of parts that once had its place.
    version: u64,
    /// Nothing is appended to it any more.
    sealed: bool,
    buffer: Option<PartBuffer>,
    /// What the service acknowledged for this version.
    sent: Option<UploadedPart>,
}

/// A sealed part whose bytes must go to the service.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) index: usize,
    pub(super) version: u64,
    pub(super) body: Body,
    pub(super) crc64: Crc64,
}

/// The range lies, at least in part, in bytes that are only on the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHeld;

/// Where a stretch of an open file can be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Segment {
    /// These are the bytes.
    Held(Vec<u8>),
    /// They are this range of the published object.
    Base(ByteRange),
    /// They are in a part that is only at the service, where nobody can read it before the upload is complete.
    Unreadable,
}

impl Part {
    fn end(&self) -> u64 {
        self.start + self.len
    }
}

impl Content {
    /// The content of a file that is `base` from beginning to end; an empty file without one.
    pub(super) fn of(base: Option<Base>) -> Content {
        let base_len = base.as_ref().map_or(0, |base| base.size);
        Content { base, base_len, ..Content::default() }
    }

    pub(super) fn size(&self) -> u64 {
        self.parts.last().map_or(self.base_len, Part::end)
    }

    pub(super) fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// Whether the next byte that is appended begins a new part.
    pub(super) fn at_part_boundary(&self) -> bool {
        self.parts.last().is_none_or(|part| part.sealed)
    }

    /// Parts that are sealed and not acknowledged.
    pub(super) fn outstanding(&self) -> usize {
        self.parts.iter().filter(|part| part.sealed && part.sent.is_none()).count()
    }

    /// Bytes of memory that the buffers take.
    pub(super) fn held_bytes(&self) -> u64 {
        self.parts.iter().filter_map(|part| part.buffer.as_ref()).map(PartBuffer::block_bytes).sum()
    }

    fn new_version(&mut self) -> u64 {
        self.next_version += 1;
        self.next_version
    }

    /// Appends to the open part, or to a new one of at most `part_bytes(index)`, as much of `data` as fits the part and
    /// as there are blocks for; seals the part when it is full. Returns how much that was.
    pub(super) fn append(
        &mut self,
        data: &[u8],
        ladder: &Ladder,
        numbers_before: u64,
        take: &mut dyn FnMut() -> Option<Block>,
    ) -> usize {
        if self.at_part_boundary() {
            let (start, version) = (self.size(), self.new_version());
            let buffer = Some(PartBuffer::new());
            self.parts.push(Part { start, len: 0, version, sealed: false, buffer, sent: None });
        }
        let full_bytes = ladder.part_bytes(numbers_before + self.parts.len() as u64 - 1);
        let version = self.new_version();
        let part = self.parts.last_mut().expect("one was pushed above unless there was one");
        let buffer = part.buffer.as_mut().expect("an unsealed part is not acknowledged and so has its buffer");
        let room = usize::try_from(full_bytes.saturating_sub(part.len)).unwrap_or(usize::MAX);
        let taken = buffer.append(&data[..data.len().min(room)], take);
        part.len += taken as u64;
        part.version = version;
        part.sealed = part.len >= full_bytes;
        if part.len == 0 {
            self.parts.pop();
        }
        taken
    }

    /// Overwrites from `offset`, which lies before the end, as much of `data` as lies in one part.
    pub(super) fn overwrite(
        &mut self,
        offset: u64,
        data: &[u8],
        take: &mut dyn FnMut() -> Option<Block>,
    ) -> Result<usize, NotHeld> {
        let version = self.new_version();
        let index = self.index_at(offset).ok_or(NotHeld)?;
        let part = &mut self.parts[index];
        let within = usize::try_from(offset - part.start).map_err(|_| NotHeld)?;
        let buffer = part.buffer.as_mut().ok_or(NotHeld)?;
        let taken = buffer.overwrite(within, data, take);
        if taken > 0 {
            part.version = version;
            part.sent = None;
            self.unsent_from = self.unsent_from.min(index);
        }
        Ok(taken)
    }

    /// Cuts the content to `len` bytes, at most its size.
    pub(super) fn truncate(&mut self, len: u64) -> Result<(), NotHeld> {
        let version = self.new_version();
        if let Some(index) = self.index_at(len) {
            let part = &mut self.parts[index];
            let keep = len - part.start;
            if keep > 0 {
                let buffer = part.buffer.as_mut().ok_or(NotHeld)?;
                buffer.truncate(usize::try_from(keep).map_err(|_| NotHeld)?);
                *part = Part { len: keep, version, sealed: false, sent: None, buffer: part.buffer.take(), ..*part };
            }
            let kept = self.parts.partition_point(|part| part.start < len);
            self.parts.truncate(kept);
            self.unsent_from = self.unsent_from.min(index);
        } else if len < self.base_len {
            self.clear_parts();
        }
        self.base_len = self.base_len.min(len);
        Ok(())
    }

    /// The part that `offset` lies in.
    fn index_at(&self, offset: u64) -> Option<usize> {
        let index = self.parts.partition_point(|part| part.end() <= offset);
        self.parts.get(index).filter(|part| part.start <= offset).map(|_| index)
    }

    fn clear_parts(&mut self) {
        self.parts.clear();
        self.unsent_from = 0;
    }

    /// Seals the open part if it has at least `bytes_min` bytes, so that it can be sent.
    pub(super) fn seal(&mut self, bytes_min: u64) -> bool {
        match self.parts.last_mut() {
            Some(part) if !part.sealed && part.len >= bytes_min => {
                part.sealed = true;
                true
            }
            _ => false,
        }
    }

    /// The first sealed part that is not acknowledged and whose number is not `busy`.
    pub(super) fn next_outgoing(&mut self, busy: impl Fn(usize) -> bool) -> Option<Outgoing> {
        while self.parts.get(self.unsent_from).is_some_and(|part| part.sent.is_some()) {
            self.unsent_from += 1;
        }
        let mut parts = self.parts.iter_mut().enumerate().skip(self.unsent_from);
        let (index, part) = parts.find(|(index, part)| part.sealed && part.sent.is_none() && !busy(*index))?;
        let buffer = part.buffer.as_mut()?;
        Some(Outgoing { index, version: part.version, crc64: buffer.crc64(), body: buffer.body() })
    }

    /// Notes what the service acknowledged, unless the part has changed since it was sent.
    pub(super) fn acknowledge(&mut self, index: usize, version: u64, uploaded: UploadedPart) {
        if let Some(part) = self.parts.get_mut(index).filter(|part| part.version == version) {
            part.sent = Some(uploaded);
        }
    }

    /// The acknowledged parts in order; `None` while one is missing.
    pub(super) fn acknowledged(&self) -> Option<Vec<UploadedPart>> {
        self.parts.iter().map(|part| part.sent.clone()).collect()
    }

    /// Gives the buffers of acknowledged parts back until at most `keep_bytes` remain, the oldest first but the very
    /// first last: programs that come back to write come back to the header or to the end.
    pub(super) fn release_acknowledged(&mut self, keep_bytes: u64) {
        let is_idle = |part: &Part| part.sent.is_some() && part.buffer.is_some();
        let mut held: u64 = self.parts.iter().filter(|part| is_idle(part)).map(|part| part.len).sum();
        let first = self.parts.split_first_mut();
        let Some((first, rest)) = first else { return };
        for part in rest.iter_mut().chain([first]) {
            if held <= keep_bytes {
                return;
            }
            if is_idle(part) {
                part.buffer = None;
                held -= part.len;
            }
        }
    }

    /// Gives all buffers back, of a file that nothing is done with any more. Breaks the third invariant.
    pub(super) fn drop_buffers(&mut self) {
        self.parts.iter_mut().for_each(|part| part.buffer = None);
    }

    /// The whole file, if one buffer holds it; an empty file has an empty body.
    pub(super) fn single_body(&mut self) -> Option<(Body, Crc64)> {
        match (self.base_len, self.parts.as_mut_slice()) {
            (0, []) => Some((Body::empty(), Crc64::EMPTY)),
            (0, [part]) => part.buffer.as_mut().map(|buffer| (buffer.body(), buffer.crc64())),
            _ => None,
        }
    }

    /// The content is now the object `base`. A file in one buffer stays in memory, ready to be changed again.
    pub(super) fn rest_on(&mut self, base: Base, keep_single: bool) {
        if keep_single && self.base_len == 0 && self.parts.len() == 1 && self.parts[0].buffer.is_some() {
            self.parts[0].sent = None;
            self.parts[0].sealed = false;
            self.unsent_from = 0;
        } else {
            self.clear_parts();
            self.base_len = base.size;
        }
        self.base = Some(base);
    }

    /// Puts `buffer`, which holds exactly the base's prefix, in the prefix's place.
    pub(super) fn hold_base(&mut self, buffer: PartBuffer) {
        assert!(
            self.parts.is_empty() && buffer.len() as u64 == self.base_len,
            "only a prefix alone is taken into memory"
        );
        let (len, version) = (self.base_len, self.new_version());
        self.base_len = 0;
        if len > 0 {
            self.parts.push(Part { start: 0, len, version, sealed: false, buffer: Some(buffer), sent: None });
        }
    }

    /// Where the bytes `range` can be read, in order. Copies what is held.
    pub(super) fn segments(&self, range: ByteRange) -> Vec<Segment> {
        let mut segments = Vec::new();
        if let Some(base) = ByteRange::new(range.start(), range.end().min(self.base_len)) {
            segments.push(Segment::Base(base));
        }
        let first = self.parts.partition_point(|part| part.end() <= range.start());
        for part in self.parts[first..].iter().take_while(|part| part.start < range.end()) {
            let (start, end) = (range.start().max(part.start), range.end().min(part.end()));
            segments.push(match &part.buffer {
                None => Segment::Unreadable,
                Some(buffer) => {
                    // Reads are at most a few MiB, and parts that are held fit the memory.
                    let mut bytes = vec![0; (end - start) as usize];
                    buffer.read((start - part.start) as usize, &mut bytes);
                    Segment::Held(bytes)
                }
            });
        }
        segments
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        assert!(self.base_len <= self.base.as_ref().map_or(0, |base| base.size), "the prefix is longer than its base");
        let sent = |part: &Part| part.sent.is_some();
        assert!(self.parts.iter().take(self.unsent_from).all(sent), "an unsent part before {}", self.unsent_from);
        let mut end = self.base_len;
        for (index, part) in self.parts.iter().enumerate() {
            assert_eq!(part.start, end, "a gap before part {index}");
            assert!(part.len > 0, "part {index} is empty");
            assert!(part.sealed || index + 1 == self.parts.len(), "part {index} is open but not the last");
            assert!(part.sent.is_some() || part.buffer.is_some(), "the bytes of part {index} are nowhere");
            assert!(
                part.buffer.as_ref().is_none_or(|buffer| buffer.len() as u64 == part.len),
                "part {index} has another length"
            );
            end = part.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::part_buffer::SLAB_BYTES;
    use super::*;
    use crate::memory::Memory;
    use crate::wire::Limits;

    const LIMITS: Limits =
        Limits { part_bytes_min: 4, part_bytes_max: 16, part_count_max: 12, put_bytes_max: 16, object_bytes_max: 192 };

    fn uploaded(name: &str, size: u64) -> UploadedPart {
        UploadedPart { etag: ETag::new(name), size, crc64: None }
    }

    fn bytes_of(content: &Content, start: u64, end: u64) -> Vec<u8> {
        let range = ByteRange::new(start, end).unwrap();
        let held = content.segments(range).into_iter().map(|segment| match segment {
            Segment::Held(bytes) => bytes,
            other => panic!("not held: {other:?}"),
        });
        held.collect::<Vec<_>>().concat()
    }

    struct Bed {
        memory: Memory,
        content: Content,
    }

    impl Bed {
        fn new() -> Bed {
            Bed { memory: Memory::new(64 * SLAB_BYTES), content: Content::of(None) }
        }

        fn append(&mut self, mut data: &[u8]) {
            let ladder = Ladder::new(8, 8, LIMITS);
            while !data.is_empty() {
                let taken = self.content.append(data, &ladder, 0, &mut || self.memory.try_take(SLAB_BYTES));
                data = &data[taken..];
                self.content.check_invariants();
            }
        }

        fn overwrite(&mut self, offset: u64, data: &[u8]) -> Result<usize, NotHeld> {
            let result = self.content.overwrite(offset, data, &mut || self.memory.try_take(SLAB_BYTES));
            self.content.check_invariants();
            result
        }
    }

    #[test]
    fn a_full_part_is_ready_to_leave_while_the_next_one_fills() {
        let mut bed = Bed::new();
        bed.append(b"0123456");
        assert!(bed.content.next_outgoing(|_| false).is_none());
        bed.append(b"789");
        let outgoing = bed.content.next_outgoing(|_| false).unwrap();
        assert_eq!((outgoing.index, outgoing.body.to_bytes().as_ref()), (0, b"01234567".as_ref()));
        assert_eq!(outgoing.crc64, Crc64::of(b"01234567"));
        assert!(bed.content.next_outgoing(|index| index == 0).is_none());
        assert_eq!((bed.content.size(), bed.content.outstanding()), (10, 1));
    }

    #[test]
    fn an_overwritten_part_is_sent_again_under_its_number() {
        let mut bed = Bed::new();
        bed.append(b"01234567 tail");
        let before = bed.content.next_outgoing(|_| false).unwrap();
        assert_eq!(bed.overwrite(2, b"XY"), Ok(2));
        bed.content.acknowledge(before.index, before.version, uploaded("old", 8));
        let after = bed.content.next_outgoing(|_| false).unwrap();
        assert_eq!((after.index, after.body.to_bytes().as_ref()), (0, b"01XY4567".as_ref()));
        bed.content.acknowledge(after.index, after.version, uploaded("new", 8));
        assert!(bed.content.next_outgoing(|_| false).is_none());
    }

    #[test]
    fn bytes_that_were_given_back_cannot_be_overwritten() {
        let mut bed = Bed::new();
        bed.append(b"0123456789abcdef tail");
        for index in 0..2 {
            let outgoing = bed.content.next_outgoing(|_| false).unwrap();
            assert_eq!(outgoing.index, index);
            bed.content.acknowledge(index, outgoing.version, uploaded("part", 8));
        }
        bed.content.release_acknowledged(8);
        assert_eq!(bed.overwrite(3, b"x"), Ok(1), "the first part is kept longest");
        assert_eq!(bed.overwrite(9, b"x"), Err(NotHeld));
        assert_eq!(bed.content.segments(ByteRange::new(7, 17).unwrap()).len(), 3);
        assert_eq!(bed.content.segments(ByteRange::new(8, 9).unwrap()), [Segment::Unreadable]);
        assert_eq!(bed.content.truncate(12), Err(NotHeld));
        assert_eq!(bed.content.truncate(8), Ok(()));
        assert_eq!(bytes_of(&bed.content, 0, 8), b"012x4567");
    }

    #[test]
    fn a_cut_file_grows_again_from_the_cut() {
        let whole = b"0123456789abcdefghijk";
        for cut in 0..=whole.len() {
            let mut bed = Bed::new();
            bed.append(whole);
            bed.content.truncate(cut as u64).unwrap();
            bed.content.check_invariants();
            assert_eq!(bed.content.size(), cut as u64);
            bed.append(b"XYZ");
            assert_eq!(bytes_of(&bed.content, 0, cut as u64 + 3), [&whole[..cut], b"XYZ"].concat(), "cut at {cut}");
        }
    }

    #[test]
    fn a_file_in_one_buffer_stays_changeable_after_it_was_published() {
        let mut bed = Bed::new();
        bed.append(b"012");
        let base = Base { etag: ETag::new("e"), size: 3, crc64: None };
        bed.content.rest_on(base.clone(), true);
        bed.append(b"345");
        assert_eq!(bed.content.single_body().unwrap().0.to_bytes().as_ref(), b"012345");
        bed.content.rest_on(Base { size: 6, ..base }, false);
        bed.content.check_invariants();
        assert_eq!(bed.content.segments(ByteRange::new(1, 3).unwrap()), [Segment::Base(ByteRange::new(1, 3).unwrap())]);
        assert!(bed.content.single_body().is_none());
    }
}

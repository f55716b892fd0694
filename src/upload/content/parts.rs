//! The parts of an upload, in order: sealed, on their way or acknowledged. Pure; does no I/O.

use std::ops::Range;

use super::ledger::Ledger;
use super::part::{Fetch, Job, NotHeld, Outgoing, Part, PartBody, PartMark};
use crate::object::{ByteRange, Checksum, ObjectKey, UploadedPart};
use crate::upload::extents::{Extents, SourceObject};
use crate::upload::piece::Piece;

/// Parts, which bear the numbers from 1.
///
/// INVARIANT: they follow one another without gaps from 0.
/// INVARIANT: a part that is not acknowledged still has its body.
/// INVARIANT: `ledger` has every part as it is.
#[derive(Debug, Default)]
pub(in crate::upload) struct Parts {
    list: Vec<Part>,
    ledger: Ledger,
    /// The version that the next changed part gets.
    next_version: u64,
    /// How often one that was acknowledged had to be sent once more.
    made_again: u64,
}

impl Parts {
    pub(in crate::upload) fn count(&self) -> usize {
        self.list.len()
    }

    /// Parts that are not acknowledged.
    pub(in crate::upload) fn outstanding(&self) -> usize {
        self.ledger.unsent().len()
    }

    /// Bytes of memory that they take.
    pub(super) fn held_bytes(&self) -> u64 {
        self.ledger.held_bytes()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Part> + Clone {
        self.list.iter()
    }

    /// The parts that are not acknowledged, each with its index.
    pub(super) fn unsent(&self) -> impl Iterator<Item = (usize, &Part)> {
        self.ledger.unsent().iter().map(|index| (*index, &self.list[*index]))
    }

    /// The part that `offset` lies in.
    pub(super) fn index_at(&self, offset: u64) -> Option<usize> {
        let index = self.list.partition_point(|part| part.end() <= offset);
        Some(index).filter(|index| *index < self.list.len())
    }

    /// The parts that have bytes in `range`.
    pub(super) fn within(&self, range: &Range<u64>) -> impl Iterator<Item = &Part> {
        let first = self.list.partition_point(|part| part.end() <= range.start);
        let end = range.end;
        self.list[first..].iter().take_while(move |part| part.start < end)
    }

    /// How many lie before `end`, at least in part.
    pub(super) fn count_before(&self, end: u64) -> usize {
        self.list.partition_point(|part| part.start < end)
    }

    /// How many end at `end` or before.
    pub(super) fn count_within(&self, end: u64) -> usize {
        self.list.partition_point(|part| part.end() <= end)
    }

    /// Adds the part that begins at `start`, where the last one ends.
    pub(super) fn push(&mut self, start: u64, len: u64, body: PartBody) {
        let part = Part { start, len, version: self.new_version(), body, fetches: Vec::new(), sent: None };
        self.ledger.enter(self.list.len(), &part);
        self.list.push(part);
    }

    /// Takes the part `index` and all behind it out.
    pub(super) fn take_from(&mut self, index: usize) -> Vec<Part> {
        let taken = self.list.split_off(index.min(self.list.len()));
        taken.iter().enumerate().for_each(|(behind, part)| self.ledger.leave(index + behind, part));
        taken
    }

    /// Forgets all of them. What is yet acknowledged of them is of no other parts.
    pub(super) fn clear(&mut self) {
        *self = Parts { next_version: self.next_version, ..Parts::default() };
    }

    fn new_version(&mut self) -> u64 {
        self.next_version += 1;
        self.next_version
    }

    fn change<T>(&mut self, index: usize, change: impl FnOnce(&mut Part) -> T) -> T {
        let part = &mut self.list[index];
        self.ledger.leave(index, part);
        let changed = change(part);
        self.ledger.enter(index, part);
        changed
    }

    /// Writes into the part `index`, which `offset` lies in, as much of `data` as it has room and there are blocks for.
    pub(super) fn rewrite(
        &mut self,
        index: usize,
        offset: u64,
        data: &[u8],
        take_piece: &mut dyn FnMut(usize) -> Option<Piece>,
    ) -> Result<usize, NotHeld> {
        let (version, mut was_sent) = (self.new_version(), false);
        let taken = self.change(index, |part| {
            let room = usize::try_from(part.end() - offset).unwrap_or(usize::MAX).min(data.len());
            let PartBody::Upload(extents) = &mut part.body else { return Err(NotHeld) };
            let taken = extents.write(offset, &data[..room], take_piece);
            if taken > 0 {
                was_sent = part.sent.is_some();
                (part.version, part.sent) = (version, None);
                part.fetches.clear();
            }
            Ok(taken)
        });
        self.made_again += u64::from(was_sent);
        taken
    }

    /// The first part that is not acknowledged and whose number is not `busy`.
    pub(in crate::upload) fn next_outgoing(&self, busy: impl Fn(usize) -> bool) -> Option<Outgoing> {
        let (index, part) = self.unsent().find(|(index, _)| !busy(*index))?;
        let job = match &part.body {
            PartBody::Upload(extents) => Job::Upload(extents.clone(), part.fetches.clone()),
            PartBody::Copy { source, start } => {
                Job::Copy { source: source.clone(), range: ByteRange::new(*start, start + part.len)? }
            }
            PartBody::Gone => return None,
        };
        Some(Outgoing { index, version: part.version, job })
    }

    /// Notes what the service acknowledged and the checksums of what was fetched for it, unless the part has changed since
    /// it was sent.
    pub(in crate::upload) fn acknowledge(
        &mut self,
        index: usize,
        version: u64,
        uploaded: UploadedPart,
        fetched: &[Checksum],
    ) {
        if self.list.get(index).is_some_and(|part| part.version == version) {
            self.change(index, |part| {
                part.sent = Some(uploaded);
                part.fetches.iter_mut().zip(fetched).for_each(|(fetch, checksum)| fetch.checksum = Some(*checksum));
            });
        }
    }

    /// The acknowledged parts in order; `None` while one is missing.
    pub(in crate::upload) fn acknowledged(&self) -> Option<Vec<UploadedPart>> {
        if self.outstanding() > 0 {
            return None;
        }
        self.list.iter().map(|part| part.sent.clone()).collect()
    }

    /// Gives the bytes of acknowledged parts back until at most `keep_bytes` remain, the oldest first but the very first
    /// last: programs that come back to write come back to the header or to the end.
    pub(in crate::upload) fn release_acknowledged(&mut self, keep_bytes: u64) {
        while self.ledger.idle_bytes() > keep_bytes {
            let Some(index) = self.ledger.oldest_idle() else { return };
            self.change(index, |part| part.body = PartBody::Gone);
        }
    }

    /// Forgets what is fetched for parts that are not acknowledged.
    pub(super) fn clear_fetches(&mut self) {
        self.list.iter_mut().filter(|part| part.sent.is_none()).for_each(|part| part.fetches.clear());
    }

    pub(super) fn add_fetch(&mut self, index: usize, fetch: Fetch) {
        self.list[index].fetches.push(fetch);
    }

    /// Those that have their body and of which `is_doubtful` says so are to be sent once more.
    pub(super) fn make_again(&mut self, is_doubtful: impl Fn(&Part) -> bool) {
        for index in 0..self.list.len() {
            let part = &self.list[index];
            if !matches!(part.body, PartBody::Gone) && is_doubtful(part) {
                let version = self.new_version();
                self.change(index, |part| (part.version, part.sent) = (version, None));
                self.made_again += 1;
            }
        }
    }

    /// How each of them fares, and the bytes of those that have landed. Those whose index is `busy` are on their way.
    pub(in crate::upload) fn marks(&self, busy: impl Fn(usize) -> bool) -> (Vec<PartMark>, u64) {
        let mark = |(index, part): (usize, &Part)| match (&part.sent, &part.body) {
            (Some(_), PartBody::Copy { .. }) => PartMark::Copied,
            (Some(_), _) => PartMark::Landed,
            (None, _) if busy(index) => PartMark::Sending,
            (None, _) => PartMark::Waiting,
        };
        let landed_bytes = self.list.iter().filter(|part| part.sent.is_some()).map(|part| part.len).sum();
        (self.list.iter().enumerate().map(mark).collect(), landed_bytes)
    }

    /// How often one that was acknowledged had to be sent once more.
    pub(in crate::upload) fn made_again(&self) -> u64 {
        self.made_again
    }

    /// Bytes of holes, however they come to the service.
    pub(super) fn hole_bytes(&self) -> u64 {
        let bytes = |part: &Part| match &part.body {
            PartBody::Upload(extents) => extents.zero_bytes(),
            PartBody::Copy { source: SourceObject::Zeros(_), .. } => part.len,
            PartBody::Copy { .. } | PartBody::Gone => 0,
        };
        self.list.iter().map(bytes).sum()
    }

    /// The keys of objects of others that parts come from, some more than once. Parts that are at the service do not need
    /// theirs any more if the content `is_final`: otherwise a change may take them back.
    pub(super) fn sources(&self, is_final: bool) -> impl Iterator<Item = &ObjectKey> {
        let wanted = self.list.iter().filter(move |part| part.sent.is_none() || !is_final);
        let uploaded = wanted.clone().filter_map(|part| match &part.body {
            PartBody::Upload(extents) => Some(extents),
            PartBody::Copy { .. } | PartBody::Gone => None,
        });
        let copied = wanted.filter_map(|part| match &part.body {
            PartBody::Copy { source: SourceObject::Other(object), .. } => Some(&object.key),
            PartBody::Copy { .. } | PartBody::Upload(_) | PartBody::Gone => None,
        });
        uploaded.flat_map(Extents::others).chain(copied)
    }

    /// Where the last one ends.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) -> u64 {
        assert_eq!(Ledger::of(&self.list), self.ledger);
        let mut end = 0;
        for (index, part) in self.list.iter().enumerate() {
            assert_eq!(part.start, end, "a gap before part {index}");
            assert!(part.len > 0, "part {index} is empty");
            let is_somewhere = part.sent.is_some() || !matches!(part.body, PartBody::Gone);
            assert!(is_somewhere, "the bytes of part {index} are nowhere");
            if let PartBody::Upload(extents) = &part.body {
                extents.check_invariants();
                assert_eq!((extents.start(), extents.end()), (part.start, part.end()), "part {index} has another body");
            }
            end = part.end();
        }
        end
    }
}

//! What an open file consists of: parts of the running upload, then extents that are in none yet. Pure; does no I/O.
//!
//! The parts come first and bear the numbers from 1 without gaps. What follows them, the tail, becomes parts when it is
//! sealed: while the file is being written, as far as it will not change any more, and all of it when it is published.

use std::ops::Range;
use std::sync::Arc;

use super::extents::{Extent, Extents, Matter, Source, SourceObject};
use super::ladder::Ladder;
use super::plan::{self, Action, Rules, Stretch, TooManyParts, plan, plan_longer_parts};
use crate::memory::Block;
use crate::wire::{ByteRange, Crc64, ETag, Limits, ObjectKey, UploadedPart};

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
/// INVARIANT: the parts follow one another without gaps from 0 to where the tail begins.
/// INVARIANT: extents of the base lie within the base.
/// INVARIANT: a part that is not acknowledged still has its body.
/// INVARIANT: all parts before `unsent_from` are acknowledged.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) base: Option<Base>,
    parts: Vec<Part>,
    tail: Extents,
    /// While a step is published: what comes only with a later one, from here to the end of the file. The parts and the
    /// tail are then the object of the step, which has there what the base has.
    held_back: Option<Extents>,
    /// What was written in order, without a jump, up to the last write.
    stream: Range<u64>,
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
    body: PartBody,
    /// What the service acknowledged for this version.
    sent: Option<UploadedPart>,
}

#[derive(Debug)]
enum PartBody {
    /// It is uploaded, and these are its bytes.
    Upload(Extents),
    /// It is copied on the service, from `start` of an object.
    Copy { source: Source, start: u64 },
    /// It is only at the service, where nobody can read it before the upload is complete.
    Gone,
}

/// A part that must go to the service.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) index: usize,
    pub(super) version: u64,
    pub(super) job: Job,
}

/// How a part gets to the service.
#[derive(Debug)]
pub(super) enum Job {
    /// By sending these bytes.
    Upload(Extents),
    /// By a copy of a range of an object.
    Copy { source: Source, range: ByteRange },
}

/// The range lies, at least in part, in bytes that are only in parts of the upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHeld;

/// Where a stretch of an open file can be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Segment {
    /// These are the bytes.
    Held(Vec<u8>),
    /// They are this range of the published object.
    Base(ByteRange),
    /// They are this range of another object.
    Other(Arc<SourceObject>, ByteRange),
    /// They are in a part that is only at the service, where nobody can read it before the upload is complete.
    Unreadable,
}

/// What the parts of an upload have to be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartRules {
    pub(super) limits: Limits,
    pub(super) ladder: Ladder,
    /// The size, roughly, of a part some bytes of which have to be fetched first.
    pub(super) mixed_bytes: u64,
}

impl PartRules {
    fn plan(&self, stretches: &[Stretch]) -> Result<Vec<Action>, TooManyParts> {
        self.with(|rules| plan(stretches, rules))
    }

    /// Calls `plan` with the rules as the planner knows them.
    fn with<T>(&self, plan: impl FnOnce(&Rules) -> T) -> T {
        let upload_bytes = |index| self.ladder.part_bytes(index);
        plan(&Rules { limits: self.limits, upload_bytes: &upload_bytes, mixed_upload_bytes: self.mixed_bytes })
    }
}

impl Part {
    fn end(&self) -> u64 {
        self.start + self.len
    }

    /// Bytes of it that are in memory.
    fn held_bytes(&self) -> u64 {
        match &self.body {
            PartBody::Upload(extents) => extents.dirty_bytes(),
            PartBody::Copy { .. } | PartBody::Gone => 0,
        }
    }
}

impl Content {
    /// The content of a file that is `base` from beginning to end; an empty file without one.
    pub(super) fn of(base: Option<Base>) -> Content {
        let mut content = Content::default();
        content.tail.push(base.as_ref().map_or(0, |base| base.size), Matter::stored(Source::Base, 0));
        Content { base, ..content }
    }

    /// Bytes in the file.
    pub(super) fn size(&self) -> u64 {
        self.held_back.as_ref().map_or(self.tail.end(), Extents::end)
    }

    pub(super) fn tail(&self) -> &Extents {
        &self.tail
    }

    pub(super) fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// Parts that are not acknowledged.
    pub(super) fn outstanding(&self) -> usize {
        self.parts[self.unsent_from..].iter().filter(|part| part.sent.is_none()).count()
    }

    /// Bytes of memory that the content takes and that publishing would free.
    pub(super) fn held_bytes(&self) -> u64 {
        let held_back = self.held_back.as_ref().map_or(0, Extents::dirty_bytes);
        self.tail.dirty_bytes() + held_back + self.parts.iter().map(Part::held_bytes).sum::<u64>()
    }

    /// Bytes of the last write and what was written right before it, in order, and is in no part yet.
    pub(super) fn streamed_bytes(&self) -> u64 {
        self.stream.end.saturating_sub(self.stream.start.max(self.tail.start()))
    }

    fn new_version(&mut self) -> u64 {
        self.next_version += 1;
        self.next_version
    }

    /// Writes from `offset`, at most the size, as much of `data` as lies in one part or in the tail, and as there are
    /// blocks for.
    pub(super) fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        take_block: &mut dyn FnMut(usize) -> Option<Block>,
    ) -> Result<usize, NotHeld> {
        let taken = match self.index_at(offset) {
            Some(index) => self.rewrite_part(index, offset, data, take_block)?,
            None => self.tail.write(offset, data, take_block),
        };
        let begins_anew = offset != self.stream.end;
        let start = if begins_anew { offset } else { self.stream.start };
        self.stream = start..offset + taken as u64;
        Ok(taken)
    }

    fn rewrite_part(
        &mut self,
        index: usize,
        offset: u64,
        data: &[u8],
        take_block: &mut dyn FnMut(usize) -> Option<Block>,
    ) -> Result<usize, NotHeld> {
        let version = self.new_version();
        let part = &mut self.parts[index];
        let room = usize::try_from(part.end() - offset).unwrap_or(usize::MAX).min(data.len());
        let PartBody::Upload(extents) = &mut part.body else { return Err(NotHeld) };
        let taken = extents.write(offset, &data[..room], take_block);
        if taken > 0 {
            (part.version, part.sent) = (version, None);
            self.unsent_from = self.unsent_from.min(index);
        }
        Ok(taken)
    }

    /// Makes the file longer, by a hole.
    pub(super) fn extend(&mut self, size: u64) {
        self.tail.push(size.saturating_sub(self.size()), Matter::Zero);
    }

    /// Cuts the content to `len` bytes, at most its size.
    pub(super) fn truncate(&mut self, len: u64) -> Result<(), NotHeld> {
        // Of what is cut off nothing is needed; of the part that the cut goes through, its beginning is.
        let kept = self.parts.partition_point(|part| part.start < len);
        let through = kept.checked_sub(1).map(|last| &self.parts[last]).filter(|part| part.end() > len);
        if through.is_some_and(|part| matches!(part.body, PartBody::Gone)) {
            return Err(NotHeld);
        }
        if let Some(first) = self.parts.get(kept) {
            self.tail = Extents::new(first.start);
            self.parts.truncate(kept);
            self.unsent_from = self.unsent_from.min(kept);
        }
        self.unseal(len)?;
        self.tail.split_off(len);
        self.stream = len..len;
        Ok(())
    }

    /// Puts `extents`, as long as `range`, in the place of `range`, which begins at most at the file's end.
    pub(super) fn replace(&mut self, range: Range<u64>, extents: Vec<Extent>) -> Result<(), NotHeld> {
        self.unseal(range.start)?;
        self.tail.replace(range, extents);
        Ok(())
    }

    /// The extents in `range`, which lies within the file.
    pub(super) fn extents(&self, range: Range<u64>) -> Result<Vec<Extent>, NotHeld> {
        let mut extents = Vec::new();
        for part in self.parts_within(&range) {
            let (start, end) = (range.start.max(part.start), range.end.min(part.end()));
            match &part.body {
                PartBody::Upload(body) => extents.extend(body.within(start..end).map(|(_, extent)| extent)),
                PartBody::Copy { source, start: from } => {
                    let matter = Matter::stored(source.clone(), from + (start - part.start));
                    extents.push(Extent { len: end - start, matter });
                }
                PartBody::Gone => return Err(NotHeld),
            }
        }
        extents.extend(self.tail.within(range).map(|(_, extent)| extent));
        Ok(extents)
    }

    /// Takes the part that `offset` is in, and all behind it, back into the tail.
    fn unseal(&mut self, offset: u64) -> Result<(), NotHeld> {
        match self.index_at(offset) {
            Some(index) => self.unseal_from(index),
            None => Ok(()),
        }
    }

    /// Takes the part `index` and all behind it back into the tail; fails if one of them is only at the service.
    pub(super) fn unseal_from(&mut self, index: usize) -> Result<(), NotHeld> {
        let Some(first) = self.parts.get(index) else { return Ok(()) };
        if self.parts[index..].iter().any(|part| matches!(part.body, PartBody::Gone)) {
            return Err(NotHeld);
        }
        let mut tail = Extents::new(first.start);
        for part in self.parts.drain(index..) {
            match part.body {
                PartBody::Upload(extents) => tail.append(extents),
                PartBody::Copy { source, start } => tail.push(part.len, Matter::stored(source, start)),
                PartBody::Gone => unreachable!("looked at above"),
            }
        }
        tail.append(std::mem::take(&mut self.tail));
        self.tail = tail;
        self.unsent_from = self.unsent_from.min(index);
        Ok(())
    }

    /// The part that `offset` lies in.
    fn index_at(&self, offset: u64) -> Option<usize> {
        if offset >= self.tail.start() {
            return None;
        }
        Some(self.parts.partition_point(|part| part.end() <= offset))
    }

    fn parts_within(&self, range: &Range<u64>) -> impl Iterator<Item = &Part> {
        let first = self.parts.partition_point(|part| part.end() <= range.start);
        let end = range.end;
        self.parts[first..].iter().take_while(move |part| part.start < end)
    }

    /// What publishing takes: an action for each part, those that are sealed already among them.
    pub(super) fn plan(&self, rules: &PartRules) -> Result<Vec<Action>, TooManyParts> {
        rules.plan(&self.stretches(self.tail.end()).0)
    }

    /// The same where there are more changes than numbers. All but the first changes are held back, if that helps;
    /// otherwise what lies between them is sent with them.
    pub(super) fn plan_step(&mut self, rules: &PartRules) -> Result<Vec<Action>, TooManyParts> {
        match self.hold_back(rules) {
            Ok(()) => self.plan(rules),
            Err(TooManyParts) => rules.with(|rules| plan_longer_parts(&self.stretches(self.tail.end()).0, rules)),
        }
    }

    /// The content up to `until` as the planner sees it, and the objects that its stored stretches are in.
    fn stretches(&self, until: u64) -> (Vec<Stretch>, Vec<Source>) {
        let mut sources: Vec<Source> = Vec::new();
        let mut number = |source: &Source| {
            let known = sources.iter().position(|known| known == source);
            known.unwrap_or_else(|| {
                sources.push(source.clone());
                sources.len() - 1
            })
        };
        let sent = self.parts.iter().map(|part| Stretch { bytes: part.len, matter: plan::Matter::Sent });
        let mut stretches: Vec<Stretch> = sent.collect();
        for (_, Extent { len, matter }) in self.tail.within(self.tail.start()..until) {
            let matter = match matter {
                Matter::Dirty(_) | Matter::Zero => plan::Matter::New,
                Matter::Stored { source, start, .. } => plan::Matter::Stored { object: number(&source), start },
            };
            stretches.push(Stretch { bytes: len, matter });
        }
        (stretches, sources)
    }

    /// Seals what of `actions`, a plan of the whole file, is not sealed yet.
    pub(super) fn seal(&mut self, actions: &[Action]) {
        let sources = self.stretches(self.tail.end()).1;
        for action in &actions[self.parts.len()..] {
            self.seal_one(action, &sources);
        }
    }

    fn seal_one(&mut self, action: &Action, sources: &[Source]) {
        let (start, version) = (self.tail.start(), self.new_version());
        let (len, body) = match action {
            Action::Keep => unreachable!("parts that are sealed come first in a plan, and only they are kept"),
            Action::Copy { object, start: from, bytes } => {
                self.tail.take_front(start + bytes);
                (*bytes, PartBody::Copy { source: sources[*object].clone(), start: *from })
            }
            Action::Upload { bytes, .. } => (*bytes, PartBody::Upload(self.tail.take_front(start + bytes))),
        };
        self.parts.push(Part { start, len, version, body, sent: None });
    }

    /// Seals what was written and will probably not change any more: everything up to where a program that writes in
    /// order has come, if that takes nothing that would have to be fetched, and if the program has written a full part.
    pub(super) fn seal_stream(&mut self, rules: &PartRules) {
        let full_bytes = rules.ladder.part_bytes(self.parts.len() as u64);
        if self.streamed_bytes() < full_bytes {
            return;
        }
        let (run_start, until) = (self.stream.start.max(self.tail.start()), self.stream.end);
        self.seal_while(rules, run_start, |action, end, index| match action {
            Action::Upload { bytes, .. } => end < until || end == until && *bytes >= rules.ladder.part_bytes(index),
            Action::Copy { .. } | Action::Keep => end <= until,
        });
    }

    /// Seals as much from the beginning of the tail as can leave, because memory is short.
    pub(super) fn seal_available(&mut self, rules: &PartRules) {
        let part_bytes_min = rules.limits.part_bytes_min;
        let Some(last_dirty) = self.last_dirty() else { return };
        self.seal_while(rules, self.tail.start(), |action, end, _| match action {
            Action::Upload { bytes, .. } => *bytes >= part_bytes_min && end - bytes < last_dirty,
            Action::Copy { .. } | Action::Keep => true,
        });
    }

    /// Where the last byte ends that is only in memory.
    fn last_dirty(&self) -> Option<u64> {
        let mut end = self.tail.end();
        for extent in self.tail.iter().rev() {
            if matches!(extent.matter, Matter::Dirty(_)) {
                return Some(end);
            }
            end -= extent.len;
        }
        None
    }

    /// Seals the actions of a plan, from the first that is not sealed yet, for as long as `is_settled` says so of each,
    /// of where it ends and its index; nothing, if that does not come beyond `at_least`. What would have to be fetched
    /// waits until the file is published.
    fn seal_while(&mut self, rules: &PartRules, at_least: u64, is_settled: impl Fn(&Action, u64, u64) -> bool) {
        let (stretches, sources) = self.stretches(self.tail.end());
        let Ok(actions) = rules.plan(&stretches) else { return };
        let is_single = self.parts.is_empty() && actions.len() == 1;
        let fresh = &actions[self.parts.len()..];
        let mut end = self.tail.start();
        let (mut sealable, mut sealable_end) = (0, end);
        for (index, action) in fresh.iter().enumerate() {
            let (bytes, fetched) = match action {
                Action::Upload { bytes, fetched } => (*bytes, *fetched),
                Action::Copy { bytes, .. } => (*bytes, 0),
                Action::Keep => (0, 0),
            };
            end += bytes;
            if fetched > 0 || !is_settled(action, end, (self.parts.len() + index) as u64) {
                break;
            }
            // A copy is of use only for what follows it.
            if matches!(action, Action::Upload { .. }) {
                (sealable, sealable_end) = (index + 1, end);
            }
        }
        if sealable_end > at_least && !is_single {
            fresh[..sealable].iter().for_each(|action| self.seal_one(action, &sources));
        }
    }

    /// Holds the last changes back, so that there are numbers enough for the others: makes parts and tail an object that
    /// has the first changes only, and behind them what the base has. Everything else comes with a later step.
    ///
    /// What is held back fits that object as it fitted the base, because it does not refer to other places of it.
    fn hold_back(&mut self, rules: &PartRules) -> Result<(), TooManyParts> {
        let edges = self.edges();
        let fits = edges.partition_point(|edge| rules.plan(&self.step_stretches(*edge)).is_ok());
        let edge = fits.checked_sub(1).map(|last| edges[last]).ok_or(TooManyParts)?;
        if edge == 0 {
            return Err(TooManyParts);
        }
        let held_back = self.tail.split_off(edge);
        self.tail.push(self.base_bytes_behind(edge), Matter::stored(Source::Base, edge));
        self.held_back = Some(held_back);
        Ok(())
    }

    /// Where the changes may be parted: where one ends, and none behind refers to another place of the base.
    fn edges(&self) -> Vec<u64> {
        let (mut at, mut edges) = (self.tail.start(), vec![self.tail.start()]);
        for extent in self.tail.iter() {
            let end = at + extent.len;
            match &extent.matter {
                Matter::Stored { source: Source::Base, start, .. } if *start == at => {}
                Matter::Stored { source: Source::Base, .. } => edges = vec![end],
                _ => edges.push(end),
            }
            at = end;
        }
        edges
    }

    /// The object that [`Content::hold_back`] makes, as the planner sees it.
    fn step_stretches(&self, edge: u64) -> Vec<Stretch> {
        let (mut stretches, mut sources) = self.stretches(edge);
        let base = sources.iter().position(|source| *source == Source::Base).unwrap_or_else(|| {
            sources.push(Source::Base);
            sources.len() - 1
        });
        let bytes = self.base_bytes_behind(edge);
        if bytes > 0 {
            stretches.push(Stretch { bytes, matter: plan::Matter::Stored { object: base, start: edge } });
        }
        stretches
    }

    fn base_bytes_behind(&self, edge: u64) -> u64 {
        self.base.as_ref().map_or(0, |base| base.size.saturating_sub(edge))
    }

    /// Puts what is held back where it belongs. The parts are unsealed as far as it takes.
    fn restore_held_back(&mut self) {
        let Some(held_back) = self.held_back.take() else { return };
        self.tail.split_off(held_back.start());
        self.tail.append(held_back);
    }

    /// Takes everything that is sealed and not acknowledged back into the tail, for another plan.
    pub(super) fn unseal_unsent(&mut self, part_count_max: u64) -> Result<(), NotHeld> {
        let index = usize::try_from(part_count_max).unwrap_or(usize::MAX);
        self.unseal_from(index)?;
        self.restore_held_back();
        Ok(())
    }

    /// The first part that is not acknowledged and whose number is not `busy`.
    pub(super) fn next_outgoing(&mut self, busy: impl Fn(usize) -> bool) -> Option<Outgoing> {
        while self.parts.get(self.unsent_from).is_some_and(|part| part.sent.is_some()) {
            self.unsent_from += 1;
        }
        let mut parts = self.parts.iter_mut().enumerate().skip(self.unsent_from);
        let (index, part) = parts.find(|(index, part)| part.sent.is_none() && !busy(*index))?;
        let job = match &part.body {
            PartBody::Upload(extents) => Job::Upload(extents.clone()),
            PartBody::Copy { source, start } => {
                Job::Copy { source: source.clone(), range: ByteRange::new(*start, start + part.len)? }
            }
            PartBody::Gone => return None,
        };
        Some(Outgoing { index, version: part.version, job })
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

    /// Gives the bytes of acknowledged parts back until at most `keep_bytes` remain, the oldest first but the very first
    /// last: programs that come back to write come back to the header or to the end.
    pub(super) fn release_acknowledged(&mut self, keep_bytes: u64) {
        let idle_bytes = |part: &Part| if part.sent.is_some() { part.held_bytes() } else { 0 };
        let mut held: u64 = self.parts.iter().map(idle_bytes).sum();
        let Some((first, rest)) = self.parts.split_first_mut() else { return };
        for part in rest.iter_mut().chain([first]) {
            if held <= keep_bytes {
                return;
            }
            let bytes = idle_bytes(part);
            if bytes > 0 {
                part.body = PartBody::Gone;
                held -= bytes;
            }
        }
    }

    /// Gives back what is in memory and in the base as well.
    pub(super) fn release_clean(&mut self) {
        for matter in self.tail.iter_mut() {
            if let Matter::Stored { held, .. } = matter {
                *held = None;
            }
        }
    }

    /// Gives all bytes back, of a file that has failed. Nothing can be read or published any more.
    pub(super) fn drop_bytes(&mut self) {
        let base = self.base.take();
        *self = Content { next_version: self.next_version, ..Content::default() };
        self.tail.push(base.as_ref().map_or(0, |base| base.size), Matter::stored(Source::Base, 0));
        self.base = base;
    }

    /// The whole file, while nothing of it is sealed.
    pub(super) fn unsealed(&self) -> Option<&Extents> {
        self.parts.is_empty().then_some(&self.tail)
    }

    /// The parts and the tail are now the object `base`. What `keeps` says stays in memory, ready to be changed again.
    pub(super) fn rest_on(&mut self, base: Base, keeps: bool) {
        let size = self.tail.end();
        let mut tail = Extents::new(0);
        if keeps && self.parts.is_empty() {
            for Extent { len, matter } in std::mem::take(&mut self.tail).into_iter() {
                let held = match matter {
                    Matter::Dirty(piece) => Some(piece),
                    Matter::Stored { held, .. } => held,
                    // As good as in memory.
                    Matter::Zero => {
                        tail.push(len, matter);
                        continue;
                    }
                };
                let start = tail.end();
                tail.push(len, Matter::Stored { source: Source::Base, start, held });
            }
        } else {
            tail.push(size, Matter::stored(Source::Base, 0));
        }
        (self.tail, self.base) = (tail, Some(base));
        self.parts.clear();
        self.unsent_from = 0;
        self.restore_held_back();
    }

    /// Whether a part or a stretch that is not at the service yet comes from the object under `key`.
    pub(super) fn copies_from(&self, key: &ObjectKey) -> bool {
        let is_from = |source: &Source| matches!(source, Source::Other(object) if object.key == *key);
        let any_from = |extents: &Extents| {
            extents.iter().any(|extent| matches!(&extent.matter, Matter::Stored { source, .. } if is_from(source)))
        };
        let unsent = self.parts[self.unsent_from..].iter().filter(|part| part.sent.is_none());
        let mut in_parts = unsent.map(|part| match &part.body {
            PartBody::Upload(extents) => any_from(extents),
            PartBody::Copy { source, .. } => is_from(source),
            PartBody::Gone => false,
        });
        any_from(&self.tail) || self.held_back.as_ref().is_some_and(any_from) || in_parts.any(|from| from)
    }

    /// Whether a stretch of the base is wanted at another place than its own.
    pub(super) fn refers_elsewhere(&self) -> bool {
        self.edges().first() != Some(&self.tail.start())
    }

    /// Whether a byte of the tail is in an object that is not the file's own.
    pub(super) fn has_other_sources(&self) -> bool {
        self.tail.iter().any(|extent| matches!(extent.matter, Matter::Stored { source: Source::Other(_), .. }))
    }

    /// Whether parts and tail are not all of the file.
    pub(super) fn is_step(&self) -> bool {
        self.held_back.is_some()
    }

    /// Goes on without the base, of which every byte that the file has is in memory. Of a file that has failed nothing is
    /// left.
    pub(super) fn let_go_of_base(&mut self) {
        self.tail.make_dirty();
        if self.needs_base() {
            *self = Content { next_version: self.next_version, ..Content::default() };
        }
        self.base = None;
    }

    /// Whether a byte of the file is only in the base.
    pub(super) fn needs_base(&self) -> bool {
        let is_in_base =
            |extent: &Extent| matches!(&extent.matter, Matter::Stored { source: Source::Base, held: None, .. });
        self.tail.iter().any(is_in_base)
    }

    /// Where the bytes `range`, within the file, can be read, in order. Copies what is held.
    pub(super) fn segments(&self, range: ByteRange) -> Vec<Segment> {
        let edge = self.held_back.as_ref().map_or(u64::MAX, Extents::start);
        let (before, behind) = (range.start()..range.end().min(edge), range.start().max(edge)..range.end());
        let mut segments = Vec::new();
        for part in self.parts_within(&before) {
            let (start, end) = (before.start.max(part.start), before.end.min(part.end()));
            match &part.body {
                PartBody::Upload(extents) => segments.extend(extents.within(start..end).map(segment)),
                PartBody::Copy { source, start: from } => {
                    let matter = Matter::stored(source.clone(), from + (start - part.start));
                    segments.push(segment((start, Extent { len: end - start, matter })));
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
        let acknowledged = |part: &Part| part.sent.is_some();
        assert!(
            self.parts.iter().take(self.unsent_from).all(acknowledged),
            "an unsent part before {}",
            self.unsent_from
        );
        let mut end = 0;
        for (index, part) in self.parts.iter().enumerate() {
            assert_eq!(part.start, end, "a gap before part {index}");
            assert!(part.len > 0, "part {index} is empty");
            assert!(
                acknowledged(part) || !matches!(part.body, PartBody::Gone),
                "the bytes of part {index} are nowhere"
            );
            if let PartBody::Upload(extents) = &part.body {
                extents.check_invariants();
                assert_eq!((extents.start(), extents.end()), (part.start, part.end()), "part {index} has another body");
            }
            end = part.end();
        }
        assert_eq!(self.tail.start(), end, "a gap before the tail");
        self.tail.check_invariants();
        for extent in self.tail.iter() {
            if let Matter::Stored { source: Source::Base, start, .. } = &extent.matter {
                assert!(start + extent.len <= base_size, "{start} + {} of a base of {base_size}", extent.len);
            }
        }
    }
}

/// Where an extent can be read.
fn segment((_, extent): (u64, Extent)) -> Segment {
    match extent.matter {
        Matter::Dirty(piece) | Matter::Stored { held: Some(piece), .. } => Segment::Held(piece.as_slice().to_vec()),
        Matter::Stored { source, start, held: None } => {
            let range = ByteRange::new(start, start + extent.len).expect("extents are not empty");
            match source {
                Source::Base => Segment::Base(range),
                Source::Other(object) => Segment::Other(object, range),
            }
        }
        // Reads are at most a few MiB.
        Matter::Zero => Segment::Held(vec![0; extent.len as usize]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    const LIMITS: Limits =
        Limits { part_bytes_min: 4, part_bytes_max: 16, part_count_max: 12, put_bytes_max: 16, object_bytes_max: 192 };

    fn rules() -> PartRules {
        PartRules { limits: LIMITS, ladder: Ladder::new(8, 8, LIMITS), mixed_bytes: 8 }
    }

    fn uploaded(size: u64) -> UploadedPart {
        UploadedPart { etag: ETag::new("part"), size, crc64: None }
    }

    fn base(size: u64) -> Base {
        Base { etag: ETag::new("base"), size, crc64: None }
    }

    struct Bed {
        memory: Memory,
        content: Content,
    }

    impl Bed {
        fn new(base_size: Option<u64>) -> Bed {
            Bed { memory: Memory::new(1 << 20), content: Content::of(base_size.map(base)) }
        }

        fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), NotHeld> {
            let mut done = 0;
            self.content.extend(offset);
            while done < data.len() {
                let mut take = |bytes| self.memory.try_take(bytes);
                done += self.content.write(offset + done as u64, &data[done..], &mut take)?;
                self.content.check_invariants();
            }
            self.content.seal_stream(&rules());
            self.content.check_invariants();
            Ok(())
        }

        /// The lengths of the parts, those that are copied negative.
        fn parts(&self) -> Vec<i64> {
            let len = |part: &Part| match part.body {
                PartBody::Copy { .. } => -(part.len as i64),
                PartBody::Upload(_) | PartBody::Gone => part.len as i64,
            };
            self.content.parts.iter().map(len).collect()
        }

        fn acknowledge_all(&mut self) {
            while let Some(outgoing) = self.content.next_outgoing(|_| false) {
                let size = self.content.parts[outgoing.index].len;
                self.content.acknowledge(outgoing.index, outgoing.version, uploaded(size));
            }
        }
    }

    #[test]
    fn a_full_part_is_sealed_while_the_next_one_fills() {
        let mut bed = Bed::new(None);
        bed.write(0, b"01234567").unwrap();
        assert_eq!(bed.parts(), [0; 0], "it may still be one PUT");
        bed.write(8, b"89").unwrap();
        assert_eq!((bed.parts(), bed.content.size(), bed.content.outstanding()), (vec![8], 10, 1));
    }

    #[test]
    fn an_append_seals_copies_of_what_was_there() {
        let mut bed = Bed::new(Some(20));
        bed.write(20, b"0123456").unwrap();
        assert_eq!(bed.parts(), [0; 0]);
        bed.write(27, b"7").unwrap();
        assert_eq!(bed.parts(), [-10, -10, 8]);
    }

    /// Only a program that goes on in order shows that what lies behind it will not change.
    #[test]
    fn scattered_writes_wait() {
        let mut bed = Bed::new(Some(100));
        for offset in (0..96).step_by(12) {
            bed.write(offset, b"0123456").unwrap();
        }
        assert_eq!(bed.parts(), [0; 0]);
        let mut bed = Bed::new(Some(100));
        bed.write(2, b"x").unwrap();
        bed.write(50, b"0123456789").unwrap();
        assert_eq!(bed.parts(), [0; 0], "the first change would have to be sent with bytes that are not here");
    }

    #[test]
    fn a_hole_is_sealed_only_when_somebody_has_written_behind_it() {
        let mut bed = Bed::new(None);
        bed.content.extend(80);
        bed.write(0, b"01234567").unwrap();
        assert_eq!(bed.parts(), [8]);
        bed.write(40, b"0123").unwrap();
        assert_eq!(bed.parts(), [8], "who jumps may come back");
        bed.write(44, b"4567").unwrap();
        assert_eq!(bed.parts(), [8, 8, 8, 8, 8, 8]);
    }

    #[test]
    fn a_part_that_was_overwritten_is_sent_again_under_its_number() {
        let mut bed = Bed::new(None);
        bed.write(0, b"01234567 tail").unwrap();
        let before = bed.content.next_outgoing(|_| false).unwrap();
        bed.write(2, b"XY").unwrap();
        bed.content.acknowledge(before.index, before.version, uploaded(8));
        let after = bed.content.next_outgoing(|_| false).unwrap();
        assert_eq!((after.index, after.version > before.version), (0, true));
        bed.content.acknowledge(after.index, after.version, uploaded(8));
        assert!(bed.content.next_outgoing(|_| false).is_none());
    }

    #[test]
    fn what_left_the_memory_cannot_be_changed_or_read() {
        let mut bed = Bed::new(None);
        bed.write(0, b"0123456789abcdef tail").unwrap();
        bed.acknowledge_all();
        bed.content.release_acknowledged(8);
        bed.write(3, b"x").expect("the first part is kept longest");
        assert_eq!(bed.write(9, b"x"), Err(NotHeld));
        assert_eq!(bed.content.segments(ByteRange::new(8, 9).unwrap()), [Segment::Unreadable]);
        assert_eq!(bed.content.truncate(12), Err(NotHeld));
        assert_eq!(bed.content.truncate(8), Ok(()));
        assert_eq!(bed.content.segments(ByteRange::new(2, 5).unwrap()), [Segment::Held(b"2x4".to_vec())]);
        bed.content.check_invariants();
    }

    #[test]
    fn a_cut_takes_parts_back() {
        for cut in 0..=21 {
            let mut bed = Bed::new(None);
            bed.write(0, b"0123456789abcdefghijk").unwrap();
            bed.content.truncate(cut).unwrap();
            bed.content.check_invariants();
            assert_eq!((bed.content.size(), bed.parts().len() as u64), (cut, (cut / 8).min(2)));
        }
    }

    #[test]
    fn memory_that_is_short_gets_what_can_leave() {
        let mut bed = Bed::new(Some(40));
        bed.write(20, b"0123").unwrap();
        bed.write(30, b"x").unwrap();
        bed.content.seal_available(&rules());
        assert_eq!(bed.parts(), [-10, -10, 4], "the one byte would need others around it");
        bed.content.check_invariants();
    }

    #[test]
    fn a_published_file_rests_on_its_object() {
        let mut bed = Bed::new(None);
        bed.write(0, b"012").unwrap();
        bed.content.rest_on(base(3), true);
        assert_eq!(bed.content.segments(ByteRange::new(0, 3).unwrap()), [Segment::Held(b"012".to_vec())]);
        assert_eq!((bed.content.held_bytes(), bed.content.needs_base()), (0, false));
        bed.content.release_clean();
        assert_eq!(bed.content.segments(ByteRange::new(1, 3).unwrap()), [Segment::Base(ByteRange::new(1, 3).unwrap())]);
        bed.content.check_invariants();
    }

    /// With 12 numbers a file of 8 changes cannot be published at once.
    #[test]
    fn changes_that_are_too_many_come_in_steps() {
        let mut bed = Bed::new(Some(160));
        for change in 0..8 {
            bed.write(change * 20, b"0123").unwrap();
        }
        assert_eq!(bed.content.plan(&rules()), Err(TooManyParts));
        let mut steps = 0;
        loop {
            let actions = match bed.content.plan(&rules()) {
                Ok(actions) => actions,
                Err(TooManyParts) => bed.content.plan_step(&rules()).unwrap(),
            };
            bed.content.seal(&actions);
            assert!(actions.len() <= 12 && bed.content.size() == 160);
            let changed = |content: &Content, at| content.segments(ByteRange::new(at, at + 1).unwrap());
            assert!(
                (0..8).all(|change| matches!(changed(&bed.content, change * 20)[0], Segment::Held(_)) || steps > 0)
            );
            bed.acknowledge_all();
            let is_step = bed.content.is_step();
            bed.content.rest_on(base(160), false);
            bed.content.check_invariants();
            steps += 1;
            if !is_step {
                break;
            }
        }
        assert!((2..=4).contains(&steps), "{steps}");
    }
}

//! Sealing: the tail of a file becomes parts, by a plan, and as early as that can be told.
//!
//! While a file is being written, what will probably not change any more is sealed, if nothing has to be fetched for it.
//! When it is published, all of it is; where the numbers do not suffice, in steps, each of which makes an object.

use std::collections::HashMap;

use super::Content;
use super::part::{NotHeld, PartBody};
use super::parts::Parts;
use super::rules::PartRules;
use crate::upload::extents::{Extent, ExtentSource, Extents, SourceObject};
use crate::upload::plan::{self, Action, Stretch, TooManyParts, plan_longer_parts};

/// Extents in a tail that is planned whenever a full part was written: many parts of pieces of 256 KiB. A plan of so many
/// takes about as long as the system call of a write.
const PLANNED_ALWAYS: usize = 256;

/// Objects with numbers.
#[derive(Default)]
struct Sources {
    list: Vec<SourceObject>,
    numbers: HashMap<SourceObject, usize>,
}

impl Sources {
    fn number(&mut self, source: &SourceObject) -> usize {
        // Most files have bytes of one object only.
        if self.list.first() == Some(source) {
            return 0;
        }
        if let Some(number) = self.numbers.get(source) {
            return *number;
        }
        self.numbers.insert(source.clone(), self.list.len());
        self.list.push(source.clone());
        self.list.len() - 1
    }
}

/// As `partition_point`, of few asked from the beginning: an answer costs the more the further behind it is asked.
fn galloping_point<T>(slice: &[T], holds: impl Fn(&T) -> bool) -> usize {
    let mut end = 1;
    while end < slice.len() && holds(&slice[end]) {
        end *= 2;
    }
    slice[..end.min(slice.len())].partition_point(holds)
}

impl Content {
    /// What publishing takes: an action for each part, those that are sealed already among them.
    pub(in crate::upload) fn plan(&self, rules: &PartRules) -> Result<Vec<Action>, TooManyParts> {
        rules.plan(&stretches(&self.parts, &self.tail, self.tail.end()).0)
    }

    /// The same where there are more changes than numbers. All but the first changes are held back, if that helps;
    /// otherwise what lies between them is sent with them.
    pub(in crate::upload) fn plan_step(&mut self, rules: &PartRules) -> Result<Vec<Action>, TooManyParts> {
        match self.hold_back(rules) {
            Ok(()) => self.plan(rules),
            Err(TooManyParts) => {
                rules.with(|rules| plan_longer_parts(&stretches(&self.parts, &self.tail, self.tail.end()).0, rules))
            }
        }
    }

    /// Seals what of `actions`, a plan of the whole file, is not sealed yet.
    pub(in crate::upload) fn seal(&mut self, actions: &[Action]) {
        let sources = stretches(&self.parts, &self.tail, self.tail.end()).1;
        for action in &actions[self.parts.count()..] {
            self.seal_one(action, &sources);
        }
    }

    fn seal_one(&mut self, action: &Action, sources: &[SourceObject]) {
        let start = self.tail.start();
        let (len, body) = match action {
            Action::Keep => unreachable!("parts that are sealed come first in a plan, and only they are kept"),
            Action::Copy { object, start: from, bytes } => {
                self.tail.take_front(start + bytes);
                (*bytes, PartBody::Copy { source: sources[*object].clone(), start: *from })
            }
            Action::Upload { bytes, .. } => (*bytes, PartBody::Upload(self.tail.take_front(start + bytes))),
        };
        self.parts.push(start, len, body);
    }

    /// Seals what was written and will probably not change any more: everything up to where a program that writes in
    /// order has come, if that takes nothing that would have to be fetched, and if the program has written a full part.
    pub(in crate::upload) fn seal_stream(&mut self, rules: &PartRules) {
        let full_bytes = rules.ladder.part_bytes(self.parts.count() as u64);
        if self.streamed_bytes() < full_bytes || !self.may_plan() {
            return;
        }
        let (run_start, until) = (self.stream.start.max(self.tail.start()), self.stream.end);
        self.seal_while(rules, run_start, |action, end, index| match action {
            Action::Upload { bytes, .. } => end < until || end == until && *bytes >= rules.ladder.part_bytes(index),
            Action::Copy { .. } | Action::Keep => end <= until,
        });
    }

    /// Seals as much from the beginning of the tail as can leave, because memory is short.
    pub(in crate::upload) fn seal_available(&mut self, rules: &PartRules) {
        let part_bytes_min = rules.limits.part_bytes_min;
        if !self.may_plan() {
            return;
        }
        let Some(last_dirty) = self.tail.dirty_end() else { return };
        self.seal_while(rules, self.tail.start(), |action, end, _| match action {
            Action::Upload { bytes, .. } => *bytes >= part_bytes_min && end - bytes < last_dirty,
            Action::Copy { .. } | Action::Keep => true,
        });
    }

    /// Whether it is time to make a plan of the whole tail only to see what can be sealed, which costs time in proportion
    /// to its extents and may be in vain every time: if there are many, only after a quarter as many writes.
    fn may_plan(&mut self) -> bool {
        let may = self.tail.count() <= PLANNED_ALWAYS || self.writes_since_plan >= self.tail.count() / 4;
        if may {
            self.writes_since_plan = 0;
        }
        may
    }

    /// Seals the actions of a plan, from the first that is not sealed yet, for as long as `is_settled` says so of each,
    /// of where it ends and its index; nothing, if that does not come beyond `at_least`. What would have to be fetched
    /// waits until the file is published.
    fn seal_while(&mut self, rules: &PartRules, at_least: u64, is_settled: impl Fn(&Action, u64, u64) -> bool) {
        let (stretches, sources) = stretches(&self.parts, &self.tail, self.tail.end());
        let Ok(actions) = rules.plan(&stretches) else { return };
        let is_single = self.parts.count() == 0 && actions.len() == 1;
        let fresh = &actions[self.parts.count()..];
        let hole = rules.hole_bytes_min.and_then(|bytes| self.tail.holes(bytes).next());
        let hole_start = hole.map_or(u64::MAX, |(start, _)| start);
        let mut end = self.tail.start();
        let (mut sealable, mut sealable_end) = (0, end);
        for (index, action) in fresh.iter().enumerate() {
            let (bytes, fetched) = match action {
                Action::Upload { bytes, fetched } => (*bytes, *fetched),
                Action::Copy { bytes, .. } => (*bytes, 0),
                Action::Keep => (0, 0),
            };
            end += bytes;
            if fetched > 0 || end > hole_start || !is_settled(action, end, (self.parts.count() + index) as u64) {
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
        let edges = edges(&self.tail);
        let fits = galloping_point(&edges, |edge| rules.plan(&self.step_stretches(*edge)).is_ok());
        let edge = fits.checked_sub(1).map(|last| edges[last]).ok_or(TooManyParts)?;
        if edge == 0 {
            return Err(TooManyParts);
        }
        let held_back = self.tail.split_off(edge);
        self.tail.push(self.base_bytes_behind(edge), ExtentSource::stored(SourceObject::Base, edge));
        self.held_back = Some(held_back);
        Ok(())
    }

    /// The object that [`Content::hold_back`] makes, as the planner sees it.
    fn step_stretches(&self, edge: u64) -> Vec<Stretch> {
        let (mut stretches, mut sources) = stretches(&self.parts, &self.tail, edge);
        let base = sources.iter().position(|source| *source == SourceObject::Base).unwrap_or_else(|| {
            sources.push(SourceObject::Base);
            sources.len() - 1
        });
        let bytes = self.base_bytes_behind(edge);
        if bytes > 0 {
            stretches.push(Stretch { bytes, source: plan::StretchSource::Stored { object: base, start: edge } });
        }
        stretches
    }

    fn base_bytes_behind(&self, edge: u64) -> u64 {
        self.base.as_ref().map_or(0, |base| base.size.saturating_sub(edge))
    }

    /// Puts what is held back where it belongs. The parts are unsealed as far as it takes.
    pub(super) fn restore_held_back(&mut self) {
        let Some(held_back) = self.held_back.take() else { return };
        self.tail.split_off(held_back.start());
        self.tail.append(held_back);
    }

    /// Takes everything that is sealed and not acknowledged back into the tail, for another plan.
    pub(in crate::upload) fn unseal_unsent(&mut self, part_count_max: u64) -> Result<(), NotHeld> {
        // A part of a step may reach into what is held back.
        let edge = self.held_back.as_ref().map_or(u64::MAX, Extents::start);
        let within = self.parts.count_within(edge);
        let index = usize::try_from(part_count_max).unwrap_or(usize::MAX);
        self.unseal_from(index.min(within))?;
        self.restore_held_back();
        Ok(())
    }
}

/// The content up to `until` as the planner sees it, and the objects that its stored stretches are in.
fn stretches(parts: &Parts, tail: &Extents, until: u64) -> (Vec<Stretch>, Vec<SourceObject>) {
    let mut sources = Sources::default();
    let sent = parts.iter().map(|part| Stretch { bytes: part.len, source: plan::StretchSource::Sent });
    let mut stretches: Vec<Stretch> = sent.collect();
    let mut at = tail.start();
    for Extent { len, source } in tail.iter() {
        let bytes = (*len).min(until.saturating_sub(at));
        if bytes == 0 {
            break;
        }
        let source = match source {
            ExtentSource::Dirty(_) | ExtentSource::Zero => plan::StretchSource::New,
            ExtentSource::Stored { object, start, .. } => {
                plan::StretchSource::Stored { object: sources.number(object), start: *start }
            }
        };
        stretches.push(Stretch { bytes, source });
        at += len;
    }
    (stretches, sources.list)
}

/// Where the changes may be parted: where one ends, and none behind refers to another place of the base.
pub(super) fn edges(tail: &Extents) -> Vec<u64> {
    let (mut at, mut edges) = (tail.start(), vec![tail.start()]);
    for extent in tail.iter() {
        let end = at + extent.len;
        match &extent.source {
            ExtentSource::Stored { object: SourceObject::Base, start, .. } if *start == at => {}
            ExtentSource::Stored { object: SourceObject::Base, .. } => edges = vec![end],
            _ => edges.push(end),
        }
        at = end;
    }
    edges
}

//! Which parts turn the content of an open file into an object: what stays, what the service copies, what goes up.
//!
//! [`plan`] first pulls as few stored bytes as possible through us, then makes few parts. It is arithmetic on lengths:
//! it does no I/O, sees no byte, and leaves fetching, sending and retrying to its caller.
//!
//! The idea: between two ranges that the service copies lies one group of uploads. A group too short for a part
//! borrows the rest from the two ranges, which shrink as long as they remain parts; a range that shrinks to less is
//! absorbed, so that all of it is fetched. So a plan is a choice of the ranges to copy and of who lends how much, and
//! a search from left to right finds it: a range that can lend to both sides at once is always copied, and never are
//! more than two others absorbed between two copies, so every range has at most three predecessors.

use std::cmp::Reverse;
use std::iter::{Peekable, from_fn, once, repeat_n, successors};
use std::ops::Range;

use crate::object::Limits;

/// A run of the file's content, in file order with its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// INVARIANT: not 0.
    pub bytes: u64,
    pub source: StretchSource,
}

/// What a stretch consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StretchSource {
    /// Exactly one part of the running upload. INVARIANT: these stretches come first, and each is a legal part there.
    Sent,
    /// Bytes in memory, or zeros: they go up in any case.
    New,
    /// The bytes from `start` of the stored object with number `object`.
    Stored { object: usize, start: u64 },
}

/// What the service takes and the caller prefers.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    /// INVARIANT: `part_bytes_max >= 2 * part_bytes_min - 1`, so that whatever is longer than the one can be cut into
    /// parts that are no shorter than the other.
    pub limits: Limits,
    /// The preferred bytes of an uploaded part, by its 0-based index in the upload.
    ///
    /// A part is longer, by less than `part_bytes_min`, where the rest would be too short for a part of its own.
    pub upload_bytes: &'a dyn Fn(u64) -> u64,
    /// The preferred bytes of an uploaded part that contains fetched bytes, where that is less. It gives way likewise.
    pub mixed_upload_bytes: u64,
}

/// How one part comes about. Its number is its position in the plan, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The part is there.
    Keep,
    /// The service copies the part from a range of a stored object.
    Copy { object: usize, start: u64, bytes: u64 },
    /// The next `bytes` of the file go up; `fetched` of them have to be read from stored objects first.
    Upload { bytes: u64, fetched: u64 },
}

/// No plan within the service's number of parts was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file needs more parts than an upload may have")]
pub(super) struct TooManyParts;

/// Plans the parts of an upload whose content is `stretches`; their actions come in file order.
///
/// The bytes fetched are the fewest possible. The parts are the fewest for that if uploads may be as long as the
/// service takes; sizes that are preferred to that come first.
pub(super) fn plan(stretches: &[Stretch], rules: &Rules) -> Result<Vec<Action>, TooManyParts> {
    plan_by(stretches, attempts(rules).take(1))
}

/// Plans with longer parts, for content that has no better plan: it may fetch more and exceed the preferred sizes.
///
/// A plan is certain to be found for a file of up to `part_count_max * part_bytes_max / 2` bytes none of which have been
/// sent.
pub(super) fn plan_longer_parts(stretches: &[Stretch], rules: &Rules) -> Result<Vec<Action>, TooManyParts> {
    plan_by(stretches, attempts(rules).skip(1))
}

fn plan_by<'a>(
    stretches: &[Stretch],
    mut attempts: impl Iterator<Item = Sizes<'a>>,
) -> Result<Vec<Action>, TooManyParts> {
    let sent_count = stretches.iter().take_while(|stretch| stretch.source == StretchSource::Sent).count();
    let runs = merge(&stretches[sent_count..]);
    let made = attempts.find_map(|sizes| Search::new(&runs, sent_count as u64, sizes).run());
    Ok(repeat_n(Action::Keep, sent_count).chain(made.ok_or(TooManyParts)?).collect())
}

// Where the largest part is shorter than this, a stored range that is longer than a copy and yet too short to lend to
// both sides may take one copy more than necessary.
const _: () = assert!(Limits::COS.part_bytes_max >= 3 * Limits::COS.part_bytes_min - 3);

/// The stretches with neighbours that continue each other made one, so that new and stored bytes alternate except
/// where two stored ranges meet.
fn merge(stretches: &[Stretch]) -> Vec<Stretch> {
    let mut runs: Vec<Stretch> = Vec::with_capacity(stretches.len());
    for stretch in stretches {
        assert!(stretch.bytes > 0 && stretch.source != StretchSource::Sent, "an empty or late stretch: {stretch:?}");
        match runs.last_mut() {
            Some(run) if continues(run, stretch) => run.bytes += stretch.bytes,
            _ => runs.push(*stretch),
        }
    }
    runs
}

fn continues(run: &Stretch, next: &Stretch) -> bool {
    match (run.source, next.source) {
        (StretchSource::New, StretchSource::New) => true,
        (StretchSource::Stored { object, start }, StretchSource::Stored { object: next_object, start: next_start }) => {
            object == next_object && start + run.bytes == next_start
        }
        _ => false,
    }
}

/// The sizes to plan with: the rules as they are, then ever longer parts.
///
/// A plan that takes the smallest part to be longer than the service does is still one the service accepts, and has
/// fewer parts. It ends at half the largest part, above which not every length could be cut into parts.
fn attempts<'a>(rules: &'a Rules<'a>) -> impl Iterator<Item = Sizes<'a>> {
    let Limits { part_bytes_min, part_bytes_max, .. } = rules.limits;
    let half_bytes = part_bytes_max.div_ceil(2);
    assert!(0 < part_bytes_min && part_bytes_min <= half_bytes, "limits that leave gaps: {:?}", rules.limits);
    let longer = successors(Some(part_bytes_min), |bytes| bytes.checked_mul(2)).skip(1);
    once((part_bytes_min, part_bytes_min))
        .chain(longer.take_while(move |&bytes| bytes < half_bytes).map(|bytes| (bytes, bytes * 2)))
        .chain(once((half_bytes, part_bytes_max)))
        .map(|(part_bytes_min, upload_bytes_min)| Sizes { rules, part_bytes_min, upload_bytes_min })
}

/// The sizes of parts in one attempt.
#[derive(Clone, Copy)]
struct Sizes<'a> {
    rules: &'a Rules<'a>,
    /// The smallest part, except the last.
    part_bytes_min: u64,
    /// The least that an upload of much content takes, whatever is preferred.
    upload_bytes_min: u64,
}

impl Sizes<'_> {
    /// The length of the next upload, of a group with `left_bytes` left of which the first `new_bytes` are new.
    fn upload_bytes(&self, index: u64, new_bytes: u64, left_bytes: u64, ends_file: bool) -> u64 {
        let bytes_max = self.rules.limits.part_bytes_max;
        let preferred_bytes = (self.rules.upload_bytes)(index).clamp(self.upload_bytes_min, bytes_max);
        let mixed_bytes = self.rules.mixed_upload_bytes.clamp(self.upload_bytes_min, bytes_max);
        // A part that would be too long with fetched bytes in it stops before the first of them.
        let bytes = preferred_bytes.min(mixed_bytes.max(new_bytes)).min(left_bytes);
        let rest_bytes = left_bytes - bytes;
        if rest_bytes == 0 || rest_bytes >= self.part_bytes_min || ends_file {
            return bytes;
        }
        // The rest is too short for a part: this one takes it too, or else leaves it as much as a part needs.
        let all_new = new_bytes == left_bytes;
        let mixed_bytes_max = mixed_bytes.saturating_add(self.part_bytes_min - 1);
        let bytes_max = if all_new { bytes_max } else { bytes_max.min(mixed_bytes_max) };
        if left_bytes <= bytes_max { left_bytes } else { left_bytes - self.part_bytes_min }
    }

    /// The number of parts that copy `bytes`.
    fn copy_count(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.rules.limits.part_bytes_max)
    }

    /// How many bytes less than `bytes` take one copy less.
    fn copy_excess_bytes(&self, bytes: u64) -> u64 {
        bytes - self.copy_count(bytes).saturating_sub(1) * self.rules.limits.part_bytes_max
    }
}

/// A stored range that may be copied. The two ends of the file are such ranges too, of no bytes.
struct Anchor {
    /// The runs that it consists of: one, or none at the ends of the file.
    runs: Range<usize>,
    bytes: u64,
    /// All bytes, and the stored bytes, of the runs before it.
    bytes_before: u64,
    stored_before: u64,
    /// The bytes it can lend in all and remain a part.
    spare_bytes: u64,
    /// Copied in every plan that fetches the fewest bytes, and able to lend to both sides regardless of each other.
    obliged: bool,
}

impl Anchor {
    /// The anchors of a file, the two ends included.
    fn all(runs: &[Stretch], part_bytes_min: u64) -> Vec<Anchor> {
        let end_of_file = |runs, bytes_before, stored_before| Anchor {
            runs,
            bytes: 0,
            bytes_before,
            stored_before,
            spare_bytes: 0,
            obliged: true,
        };
        let mut anchors = vec![end_of_file(0..0, 0, 0)];
        let (mut bytes_before, mut stored_before) = (0, 0);
        for (index, run) in runs.iter().enumerate() {
            let bytes = run.bytes;
            if matches!(run.source, StretchSource::Stored { .. }) {
                // No group lacks more than this, and the last range has one on its left only.
                let lack_bytes_max = part_bytes_min - 1;
                let ends_file = index + 1 == runs.len();
                let least = if ends_file { 1 } else { part_bytes_min };
                let lent_bytes_max = if ends_file { lack_bytes_max } else { 2 * lack_bytes_max };
                if let Some(spare_bytes) = bytes.checked_sub(least) {
                    let (runs, obliged) = (index..index + 1, spare_bytes >= lent_bytes_max);
                    anchors.push(Anchor { runs, bytes, bytes_before, stored_before, spare_bytes, obliged });
                }
                stored_before += bytes;
            }
            bytes_before += bytes;
        }
        anchors.push(end_of_file(runs.len()..runs.len(), bytes_before, stored_before));
        anchors
    }

    /// The runs between this anchor and a later one.
    fn runs_until(&self, next: &Anchor) -> Range<usize> {
        self.runs.end..next.runs.start
    }

    /// The number of bytes between this anchor and a later one.
    fn bytes_until(&self, next: &Anchor) -> u64 {
        next.bytes_before - self.bytes_before - self.bytes
    }

    /// The number of stored bytes between this anchor and a later one, which a plan absorbs that copies both.
    fn absorbed_until(&self, next: &Anchor) -> u64 {
        next.stored_before - self.stored_before - self.bytes
    }
}

/// A plan of everything before one anchor, which it copies.
#[derive(Clone, Copy)]
struct State {
    /// The index of the anchor.
    anchor: usize,
    /// The index of the state that it continues; the start is its own.
    previous: usize,
    /// What the anchor before lends to the group between the two, and what this one does.
    lent_by_previous: u64,
    lent: u64,
    /// The stored bytes that the plan fetches.
    fetched: u64,
    /// The parts before this anchor's own.
    part_count: u64,
}

/// The search for the best plan under given sizes.
struct Search<'a> {
    runs: &'a [Stretch],
    sizes: Sizes<'a>,
    anchors: Vec<Anchor>,
    /// INVARIANT: grouped by anchor, in file order.
    states: Vec<State>,
    /// The states of each anchor that has been reached.
    fronts: Vec<Range<usize>>,
}

impl<'a> Search<'a> {
    /// The most anchors between two copies that can be worth absorbing. Of three, the middle one could be copied as a
    /// whole instead: the uploads on either side of it would still contain a whole range, and thus be long enough.
    const ABSORBED_MAX: usize = 2;
    /// The most states kept for one anchor. A handful is usual; only lengths made up for it, with each group a byte
    /// short of what the next range can lend, could need more, and would then fetch somewhat more than the least.
    const FRONT_MAX: usize = 64;

    fn new(runs: &'a [Stretch], sent_count: u64, sizes: Sizes<'a>) -> Search<'a> {
        let start = State { anchor: 0, previous: 0, lent_by_previous: 0, lent: 0, fetched: 0, part_count: sent_count };
        let anchors = Anchor::all(runs, sizes.part_bytes_min);
        Search { runs, sizes, anchors, states: vec![start], fronts: once(0..1).collect() }
    }

    /// The actions of the best plan, if it has few enough parts.
    fn run(mut self) -> Option<Vec<Action>> {
        for anchor in 1..self.anchors.len() {
            let found = self.promising(anchor, self.reach(anchor));
            self.fronts.push(self.states.len()..self.states.len() + found.len());
            self.states.extend(found);
        }
        let last = self.fronts.last()?.clone().next()?;
        Some(self.actions(last))
    }

    /// The plans up to an anchor, made of the plans up to its predecessors.
    fn reach(&self, to: usize) -> Vec<State> {
        let mut found = Vec::new();
        for from in (to.saturating_sub(Self::ABSORBED_MAX + 1)..to).rev() {
            let (near, far) = (&self.anchors[from], &self.anchors[to]);
            match self.lack_bytes(near, far) {
                0 => found.extend(self.step(from, to)),
                lack => found.extend(self.fronts[from].clone().filter_map(|id| self.step_on_loan(id, to, lack))),
            }
            if near.obliged {
                break;
            }
        }
        found.retain(|state| state.part_count <= self.sizes.rules.limits.part_count_max);
        found
    }

    /// The bytes that the group between two anchors must borrow.
    fn lack_bytes(&self, near: &Anchor, far: &Anchor) -> u64 {
        match near.bytes_until(far) {
            0 => 0,
            _ if self.ends_file(far) => 0,
            bytes => self.sizes.part_bytes_min.saturating_sub(bytes),
        }
    }

    /// Whether the anchor is the end of the file.
    fn ends_file(&self, anchor: &Anchor) -> bool {
        anchor.runs.start == self.runs.len()
    }

    /// The best plan that copies `from` and then `to`, with a group between them that is empty or long enough.
    fn step(&self, from: usize, to: usize) -> Option<State> {
        let (near, far) = (&self.anchors[from], &self.anchors[to]);
        let cost = |id: usize| (self.states[id].fetched, self.parts_with_copies(id, 0));
        let previous = self.fronts[from].clone().min_by_key(|&id| cost(id))?;
        let (fetched, index) = cost(previous);
        // One too many tells as much as millions too many.
        let count_max = self.sizes.rules.limits.part_count_max.saturating_sub(index).saturating_add(1);
        let uploads = self.uploads(Loans::default(), near, far, index).take(count_max as usize);
        Some(State {
            anchor: to,
            previous,
            lent_by_previous: 0,
            lent: 0,
            fetched: fetched + near.absorbed_until(far),
            part_count: index + uploads.count() as u64,
        })
    }

    /// The plan that continues a state by copying `to`, with one upload between them that must borrow `lack` bytes.
    fn step_on_loan(&self, previous: usize, to: usize, lack: u64) -> Option<State> {
        let state = self.states[previous];
        let (near, far) = (&self.anchors[state.anchor], &self.anchors[to]);
        let most = lack.min(near.spare_bytes - state.lent);
        let least = lack.saturating_sub(far.spare_bytes);
        if least > most {
            return None;
        }
        // `far` keeps what it can for its other side if that may need it. Else it lends what it can, which may save it
        // a copy, but not what `near` has to lend to save one itself.
        let saving = self.sizes.copy_excess_bytes(near.bytes).saturating_sub(state.lent);
        let lent_by_previous = match far.obliged {
            true if saving <= most => saving.max(least),
            true => least,
            false => most,
        };
        Some(State {
            anchor: to,
            previous,
            lent_by_previous,
            lent: lack - lent_by_previous,
            fetched: state.fetched + near.absorbed_until(far) + lack,
            part_count: self.parts_with_copies(previous, lent_by_previous) + 1,
        })
    }

    /// The states of an anchor that may be the beginning of the best plan.
    fn promising(&self, anchor: usize, mut found: Vec<State>) -> Vec<State> {
        if self.anchors[anchor].obliged {
            // What it lends limits nothing that follows, so one state is better than all others.
            found.sort_unstable_by_key(|state| (state.fetched, state.part_count, Reverse(state.lent)));
            found.truncate(1);
            return found;
        }
        // The more it lends, the less remains for the group that follows, so that only a cheaper plan may do so.
        found.sort_unstable_by_key(|state| (state.lent, state.fetched, state.part_count));
        let mut least = (u64::MAX, u64::MAX);
        found.retain(|state| {
            let cost = (state.fetched, state.part_count);
            let cheaper = cost < least;
            least = least.min(cost);
            cheaper
        });
        found.drain(..found.len().saturating_sub(Self::FRONT_MAX));
        found
    }

    /// The parts of a state, its anchor's own included, which lends `lent_to_next` to the group after it.
    fn parts_with_copies(&self, id: usize, lent_to_next: u64) -> u64 {
        let state = &self.states[id];
        let copied_bytes = self.anchors[state.anchor].bytes - state.lent - lent_to_next;
        state.part_count + self.sizes.copy_count(copied_bytes)
    }

    /// The actions of the plan that ends in a state.
    fn actions(&self, last: usize) -> Vec<Action> {
        let mut path: Vec<State> = successors(Some(last), |&id| (id != 0).then(|| self.states[id].previous))
            .map(|id| self.states[id])
            .collect();
        path.reverse();
        let sent_count = path[0].part_count;
        let mut actions = Vec::new();
        for pair in path.windows(2) {
            let (near, far) = (&self.anchors[pair[0].anchor], &self.anchors[pair[1].anchor]);
            let loans = Loans { before: pair[1].lent_by_previous, after: pair[1].lent };
            actions.extend(self.copies(near, Loans { before: pair[0].lent, after: loans.before }));
            let index = sent_count + actions.len() as u64;
            actions.extend(self.uploads(loans, near, far, index));
        }
        actions
    }

    /// The copies of a range less what it lends at its two ends, of even lengths.
    fn copies(&self, anchor: &Anchor, lent: Loans) -> impl Iterator<Item = Action> + use<> {
        let bytes = anchor.bytes - lent.before - lent.after;
        let count = self.sizes.copy_count(bytes);
        let (object, mut start) = match self.runs[anchor.runs.clone()] {
            [Stretch { source: StretchSource::Stored { object, start }, .. }] => (object, start + lent.before),
            _ => (0, 0), // An end of the file: no bytes, no copies.
        };
        (0..count).map(move |copy| {
            let bytes = bytes / count + u64::from(copy < bytes % count);
            let action = Action::Copy { object, start, bytes };
            start += bytes;
            action
        })
    }

    /// The uploads of the group between two anchors, of which the first is the part with 0-based `index`.
    fn uploads(&self, loans: Loans, near: &Anchor, far: &Anchor, index: u64) -> impl Iterator<Item = Action> {
        let mut pieces = pieces(&self.runs[near.runs_until(far)], loans).peekable();
        let mut left_bytes = loans.before + near.bytes_until(far) + loans.after;
        let ends_file = self.ends_file(far);
        let mut indexes = index..;
        from_fn(move || {
            let new_bytes = pieces.peek().map(|piece| if piece.fetched { 0 } else { piece.bytes })?;
            let bytes = self.sizes.upload_bytes(indexes.next()?, new_bytes, left_bytes, ends_file);
            left_bytes -= bytes;
            Some(Action::Upload { bytes, fetched: take(&mut pieces, bytes) })
        })
    }
}

/// The bytes that a range lends to the groups before and after it, or that a group is lent from there.
#[derive(Clone, Copy, Default)]
struct Loans {
    before: u64,
    after: u64,
}

/// Bytes of a group of uploads that are alike. INVARIANT: not empty, and new bytes never follow new bytes.
struct Piece {
    bytes: u64,
    fetched: bool,
}

/// The pieces of a group that consists of some runs and of what it is lent on either side.
fn pieces(runs: &[Stretch], lent: Loans) -> impl Iterator<Item = Piece> {
    let [before, after] = [lent.before, lent.after].map(|bytes| Piece { bytes, fetched: true });
    let within = runs.iter().map(|run| {
        #[cfg(test)]
        super::work::count();
        Piece { bytes: run.bytes, fetched: run.source != StretchSource::New }
    });
    once(before).chain(within).chain(once(after)).filter(|piece| piece.bytes > 0)
}

/// Takes the first `bytes` off the pieces and counts those to fetch.
fn take(pieces: &mut Peekable<impl Iterator<Item = Piece>>, bytes: u64) -> u64 {
    let (mut missing, mut fetched) = (bytes, 0);
    while let Some(piece) = pieces.peek_mut() {
        let taken = missing.min(piece.bytes);
        missing -= taken;
        piece.bytes -= taken;
        fetched += if piece.fetched { taken } else { 0 };
        if piece.bytes > 0 {
            break;
        }
        pieces.next();
    }
    fetched
}

#[cfg(feature = "testing")]
mod anything;
#[cfg(feature = "testing")]
pub(crate) use anything::plan_anything;

#[cfg(test)]
mod tests;

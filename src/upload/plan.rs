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

use crate::wire::Limits;

/// A run of the file's content, in file order with its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// INVARIANT: not 0.
    pub bytes: u64,
    pub matter: Matter,
}

/// What a stretch consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matter {
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
    let sent_count = stretches.iter().take_while(|stretch| stretch.matter == Matter::Sent).count();
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
        assert!(stretch.bytes > 0 && stretch.matter != Matter::Sent, "an empty or late stretch: {stretch:?}");
        match runs.last_mut() {
            Some(run) if continues(run, stretch) => run.bytes += stretch.bytes,
            _ => runs.push(*stretch),
        }
    }
    runs
}

fn continues(run: &Stretch, next: &Stretch) -> bool {
    match (run.matter, next.matter) {
        (Matter::New, Matter::New) => true,
        (Matter::Stored { object, start }, Matter::Stored { object: next_object, start: next_start }) => {
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
            if matches!(run.matter, Matter::Stored { .. }) {
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
            [Stretch { matter: Matter::Stored { object, start }, .. }] => (object, start + lent.before),
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
    let within = runs.iter().map(|run| Piece { bytes: run.bytes, fetched: run.matter != Matter::New });
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::limits::{GIB, MIB};

    const KIB: u64 = 1 << 10;

    fn any_plan(stretches: &[Stretch], rules: &Rules) -> Result<Vec<Action>, TooManyParts> {
        plan(stretches, rules).or_else(|TooManyParts| plan_longer_parts(stretches, rules))
    }

    fn sent(bytes: u64) -> Stretch {
        Stretch { bytes, matter: Matter::Sent }
    }

    fn new(bytes: u64) -> Stretch {
        Stretch { bytes, matter: Matter::New }
    }

    fn stored(object: usize, start: u64, bytes: u64) -> Stretch {
        Stretch { bytes, matter: Matter::Stored { object, start } }
    }

    fn copy(object: usize, start: u64, bytes: u64) -> Action {
        Action::Copy { object, start, bytes }
    }

    fn upload(bytes: u64, fetched: u64) -> Action {
        Action::Upload { bytes, fetched }
    }

    /// The plan under the limits of COS with uploads of one size.
    fn plan_sized(upload_bytes: u64, content: &[Stretch]) -> Result<Vec<Action>, TooManyParts> {
        let rules = Rules { limits: Limits::COS, upload_bytes: &|_| upload_bytes, mixed_upload_bytes: upload_bytes };
        any_plan(content, &rules)
    }

    fn cos_plan(content: &[Stretch]) -> Vec<Action> {
        plan_sized(8 * MIB, content).expect("few parts")
    }

    #[test]
    fn a_change_moves_little_more_than_itself() {
        let (m, k) = (MIB, KIB);
        let table: [(&str, &[Stretch], &[Action]); 14] = [
            ("nothing", &[], &[]),
            ("append", &[stored(0, 0, 256 * m), new(m)], &[copy(0, 0, 256 * m), upload(m, 0)]),
            ("start", &[new(4 * k), stored(0, 4 * k, 9 * m)], &[upload(m, m - 4 * k), copy(0, m, 8 * m + 4 * k)]),
            ("end", &[stored(0, 0, 9 * m), new(4 * k)], &[copy(0, 0, 9 * m), upload(4 * k, 0)]),
            ("near the end", &[stored(0, 0, 9 * m), new(k), stored(0, 9, k)], &[copy(0, 0, 9 * m), upload(2 * k, k)]),
            ("truncate", &[stored(0, 0, 9 * m + 1)], &[copy(0, 0, 9 * m + 1)]),
            ("truncate to little", &[stored(0, 0, 1)], &[copy(0, 0, 1)]),
            ("small file", &[stored(0, 0, 9), new(1), stored(0, 10, 90)], &[upload(100, 99)]),
            ("sent", &[sent(8 * m), sent(9 * m), new(m + 1)], &[Action::Keep, Action::Keep, upload(m + 1, 0)]),
            ("all sent", &[sent(8 * m), sent(1)], &[Action::Keep, Action::Keep]),
            ("hole", &[stored(0, 0, m), new(12 * m)], &[copy(0, 0, m), upload(8 * m, 0), upload(4 * m, 0)]),
            ("two ranges of one", &[stored(0, 0, 2 * m), stored(0, 2 * m, 2 * m)], &[copy(0, 0, 4 * m)]),
            (
                "two of two",
                &[stored(0, 0, 2 * m), stored(1, 2 * m, 2 * m)],
                &[copy(0, 0, 2 * m), copy(1, 2 * m, 2 * m)],
            ),
            ("two apart", &[stored(0, 0, 2 * m), stored(0, 3 * m, 2 * m)], &[copy(0, 0, 2 * m), copy(0, 3 * m, 2 * m)]),
        ];
        for (name, content, expected) in table {
            assert_eq!(cos_plan(content), expected, "{name}");
        }
    }

    #[test]
    fn an_edit_in_the_middle_borrows_the_rest_of_a_part() {
        let content = [stored(0, 0, 100 * MIB), new(4 * KIB), stored(0, 100 * MIB + 4 * KIB, 156 * MIB - 4 * KIB)];
        let expected = [copy(0, 0, 100 * MIB), upload(MIB, MIB - 4 * KIB), copy(0, 101 * MIB, 155 * MIB)];
        assert_eq!(cos_plan(&content), expected);
    }

    /// Two edits of 4 KiB with a range between them: fetching it all is dearer than filling up two parts, or cheaper.
    #[test]
    fn a_range_is_absorbed_where_that_fetches_less() {
        let lack = MIB - 4 * KIB;
        let table: [(u64, &[Uploaded]); 4] = [
            (512 * KIB, &[(MIB, MIB - 8 * KIB)]), // Too short for a copy.
            (1200 * KIB, &[(1208 * KIB, 1200 * KIB)]),
            (2000 * KIB, &[(2008 * KIB, 2000 * KIB)]),
            (2048 * KIB, &[(MIB, lack), (MIB, lack)]),
        ];
        for (between, expected) in table {
            let (left, right) = (stored(0, 0, 9 * MIB), stored(0, 20 * MIB, 9 * MIB));
            let actions = cos_plan(&[left, new(4 * KIB), stored(0, 10 * MIB, between), new(4 * KIB), right]);
            let uploads: Vec<Uploaded> = actions.iter().filter_map(uploaded).collect();
            assert_eq!(uploads, expected, "{between}");
        }
    }

    /// The bytes of an upload and those of them that are fetched.
    type Uploaded = (u64, u64);

    fn uploaded(action: &Action) -> Option<Uploaded> {
        let Action::Upload { bytes, fetched } = *action else { return None };
        Some((bytes, fetched))
    }

    #[test]
    fn ranges_over_the_largest_copy_are_split_evenly() {
        let table: [(u64, &[u64]); 4] = [
            (5 * GIB, &[5 * GIB]),
            (5 * GIB + 1, &[5 * GIB / 2 + 1, 5 * GIB / 2]),
            (12 * GIB, &[4 * GIB, 4 * GIB, 4 * GIB]),
            (10 * GIB - 1, &[5 * GIB, 5 * GIB - 1]),
        ];
        for (bytes, expected) in table {
            let mut start = 7;
            let actions = cos_plan(&[stored(3, start, bytes)]);
            assert_eq!(actions.len(), expected.len(), "{actions:?}");
            for (action, part_bytes) in actions.iter().zip(expected) {
                assert_eq!(*action, copy(3, start, *part_bytes));
                start += part_bytes;
            }
        }
    }

    /// A byte more than a largest copy takes goes to the edit beside it, on whichever side that is.
    #[test]
    fn a_loan_saves_a_copy_where_it_can() {
        let (long, short) = (5 * GIB + 1, 5 * GIB);
        for (left, right) in [(long, short), (short, long), (long, long)] {
            let actions = cos_plan(&[stored(0, 0, left), new(4 * KIB), stored(1, 0, right)]);
            assert_eq!(actions.len(), 3, "{actions:?}");
        }
    }

    #[test]
    fn uploads_are_as_long_as_preferred_and_never_too_short() {
        let (m, h) = (MIB, MIB / 2);
        // Preferred bytes, bytes of the group before a copied range, and its parts.
        let table: [(u64, u64, &[u64]); 6] = [
            (m, m + h, &[m + h]),
            (m, 2 * m + h, &[m, m + h]),
            (8 * m, 24 * m, &[8 * m, 8 * m, 8 * m]),
            (8 * m, 17 * m, &[8 * m, 8 * m, m]),
            (8 * m, 16 * m + h, &[8 * m, 8 * m + h]),
            (5 * GIB, 5 * GIB + h, &[5 * GIB - h, m]),
        ];
        let parts = |preferred_bytes: u64, content: &[Stretch]| -> Vec<u64> {
            let actions = plan_sized(preferred_bytes, content).expect("few parts");
            actions.iter().filter_map(uploaded).map(|(bytes, _)| bytes).collect()
        };
        for (preferred, bytes, expected) in table {
            assert_eq!(parts(preferred, &[new(bytes), stored(0, 0, 9 * m)]), expected, "{preferred} {bytes}");
        }
        assert_eq!(parts(m, &[new(m + h)]), [m, h], "at the end of the file");
    }

    #[test]
    fn a_part_with_fetched_bytes_is_shorter() {
        let rules = Rules { limits: Limits::COS, upload_bytes: &|_| 64 * MIB, mixed_upload_bytes: 16 * MIB };
        let between = stored(0, 9 * MIB, MIB / 4);
        let table: [(u64, u64, &[Uploaded]); 3] = [
            (4 * MIB, 4 * MIB, &[(8 * MIB + MIB / 4, MIB / 4)]),
            (4 * MIB, 40 * MIB, &[(16 * MIB, MIB / 4), (28 * MIB + MIB / 4, 0)]),
            (40 * MIB, 4 * MIB, &[(40 * MIB, 0), (4 * MIB + MIB / 4, MIB / 4)]),
        ];
        for (before, after, expected) in table {
            let actions = any_plan(&[new(before), between, new(after)], &rules).expect("few parts");
            assert_eq!(actions.iter().filter_map(uploaded).collect::<Vec<_>>(), expected);
        }
    }

    /// The index that the sizes are asked for counts the parts that are kept and copied too.
    #[test]
    fn preferred_sizes_go_by_the_index_in_the_upload() {
        let rules = Rules { limits: Limits::COS, upload_bytes: &|index| (index + 1) * MIB, mixed_upload_bytes: MIB };
        let actions = any_plan(&[sent(MIB), stored(0, 0, MIB), new(8 * MIB)], &rules).expect("few parts");
        assert_eq!(actions[2..], [upload(3 * MIB, 0), upload(4 * MIB, 0), upload(MIB, 0)]);
    }

    /// 20,000 parts would fetch less, but an upload has 10,000.
    #[test]
    fn scattered_edits_fetch_more_rather_than_fail() {
        let content: Vec<Stretch> =
            (0..10_000).flat_map(|edit| [new(MIB), stored(0, edit * 4 * MIB, 3 * MIB)]).collect();
        let actions = cos_plan(&content);
        check(&content, &actions, Limits::COS);
        assert!(fetched_bytes(&actions) > 0);
    }

    #[test]
    fn more_than_the_service_takes_is_an_error() {
        let part_count = |upload_bytes, content: &[Stretch]| plan_sized(upload_bytes, content).map(|plan| plan.len());
        for upload_bytes in [MIB, 5 * GIB] {
            assert_eq!(part_count(upload_bytes, &[new(50_000 * GIB)]), Ok(10_000));
            assert_eq!(part_count(upload_bytes, &[new(50_000 * GIB + 1)]), Err(TooManyParts));
            assert_eq!(part_count(upload_bytes, &[stored(0, 0, 50_000 * GIB)]), Ok(10_000));
            assert_eq!(part_count(upload_bytes, &[sent(MIB); 10_000]), Ok(10_000));
            assert_eq!(part_count(upload_bytes, &[sent(MIB); 10_001]), Err(TooManyParts));
        }
    }

    /// What a quadratic search would take minutes for, with ranges that are absorbed, that lend, and that do neither.
    #[test]
    fn a_hundred_thousand_stretches_are_planned_at_once() {
        for stored_bytes in [KIB, MIB, MIB + 4 * KIB, 2 * MIB - 4 * KIB, 2 * MIB, 976 * MIB] {
            let pair = |edit: u64| [new(4 * KIB + edit % 7), stored(0, edit * GIB, stored_bytes - edit % 5)];
            let content: Vec<Stretch> = (0..50_000).flat_map(pair).collect();
            for part_count_max in [10_000, 1_000_000] {
                let limits = Limits { part_count_max, ..Limits::COS };
                let rules = Rules { limits, upload_bytes: &|_| 8 * MIB, mixed_upload_bytes: 8 * MIB };
                let actions = any_plan(&content, &rules).expect("10,000 parts are enough");
                check(&content, &actions, limits);
            }
        }
    }

    /// Asserts that the actions make the content, of parts that the service takes, and fetch what they say.
    fn check(content: &[Stretch], actions: &[Action], limits: Limits) {
        assert!(actions.len() as u64 <= limits.part_count_max, "{} parts", actions.len());
        let mut left: Vec<Stretch> = content.iter().rev().copied().collect();
        for (index, action) in actions.iter().enumerate() {
            let bytes = match *action {
                Action::Keep => {
                    assert_eq!(left.pop().map(|stretch| stretch.matter), Some(Matter::Sent), "part {index}");
                    continue;
                }
                Action::Copy { bytes, .. } | Action::Upload { bytes, .. } => bytes,
            };
            let bytes_min = if index + 1 == actions.len() { 1 } else { limits.part_bytes_min };
            assert!((bytes_min..=limits.part_bytes_max).contains(&bytes), "part {index} of {actions:?}");
            let made = merge(&take_front(&mut left, bytes));
            match *action {
                Action::Copy { object, start, bytes } => {
                    assert_eq!(made, [stored(object, start, bytes)], "part {index}")
                }
                _ => assert_eq!(*action, upload(bytes, made.iter().map(stored_bytes).sum()), "part {index}"),
            }
        }
        assert_eq!(left, [], "left over by {actions:?}");
    }

    /// Takes the first `bytes` off stretches that are in reverse order.
    fn take_front(left: &mut Vec<Stretch>, bytes: u64) -> Vec<Stretch> {
        let (mut taken, mut missing) = (Vec::new(), bytes);
        while missing > 0 {
            let stretch = left.pop().expect("the actions make no more than the content");
            let bytes = stretch.bytes.min(missing);
            missing -= bytes;
            taken.push(Stretch { bytes, ..stretch });
            if stretch.bytes > bytes {
                let matter = match stretch.matter {
                    Matter::Stored { object, start } => Matter::Stored { object, start: start + bytes },
                    other => other,
                };
                left.push(Stretch { bytes: stretch.bytes - bytes, matter });
            }
        }
        taken
    }

    fn stored_bytes(stretch: &Stretch) -> u64 {
        if matches!(stretch.matter, Matter::Stored { .. }) { stretch.bytes } else { 0 }
    }

    fn fetched_bytes(actions: &[Action]) -> u64 {
        actions.iter().filter_map(uploaded).map(|(_, fetched)| fetched).sum()
    }

    fn small_limits(part_bytes_min: u64, part_bytes_max: u64) -> Limits {
        Limits { part_bytes_min, part_bytes_max, ..Limits::COS }
    }

    /// Limits with (`part_bytes_min`, `part_bytes_max`) so small that a few dozen bytes are many parts, and content
    /// with as many stretches of each kind of length: too short for a part, too short to lend to both sides, and
    /// beyond one copy.
    fn small_case(part_count_max: u64, bytes: &[(u64, u64)]) -> impl Strategy<Value = (Limits, Vec<Stretch>)> + use<> {
        prop::sample::select(bytes.to_vec()).prop_flat_map(move |(part_bytes_min, part_bytes_max)| {
            let limits = Limits { part_count_max, ..small_limits(part_bytes_min, part_bytes_max) };
            let length = prop_oneof![1..=part_bytes_min, part_bytes_min..=3 * part_bytes_min, 1..=part_bytes_max + 3];
            let stretches = vec((0..5, 0..2_usize, 0..9_u64, length), 0..14);
            stretches.prop_map(move |drawn| (limits, small_content(&drawn)))
        })
    }

    /// Stretches of which some stored ones continue the one before them, or would but for new bytes between them.
    fn small_content(drawn: &[(i32, usize, u64, u64)]) -> Vec<Stretch> {
        let (mut last, mut end) = (0, 0);
        let mut stretch = |&(kind, object, start, bytes)| match kind {
            0 | 1 => new(bytes),
            _ => {
                (last, end) = if kind == 2 { (last, end + bytes) } else { (object, start + bytes) };
                stored(last, end - bytes, bytes)
            }
        };
        drawn.iter().map(&mut stretch).collect()
    }

    /// A byte that remembers where it comes from: its place in an object, or in the file if it is new.
    type Byte = u64;
    const NEW: Byte = 1 << 40;

    fn content_bytes(content: &[Stretch]) -> Vec<Byte> {
        let mut bytes = Vec::new();
        for stretch in content {
            match stretch.matter {
                Matter::Stored { object, start } => bytes.extend(object_bytes(object, start, stretch.bytes)),
                _ => bytes.extend((NEW + bytes.len() as u64..).take(stretch.bytes as usize)),
            }
        }
        bytes
    }

    fn object_bytes(object: usize, start: u64, bytes: u64) -> Range<Byte> {
        let first = ((object as u64) << 20) + start;
        first..first + bytes
    }

    /// The object that the actions make of the content.
    fn apply(content: &[Stretch], actions: &[Action]) -> Vec<Byte> {
        let mut sent = content.iter();
        let file = content_bytes(content);
        let mut made = Vec::new();
        for action in actions {
            let bytes = match *action {
                Action::Copy { object, start, bytes } => {
                    made.extend(object_bytes(object, start, bytes));
                    continue;
                }
                Action::Keep => sent.next().expect("one stretch for each part that is kept").bytes,
                Action::Upload { bytes, .. } => bytes,
            };
            made.extend_from_slice(&file[made.len()..][..bytes as usize]);
        }
        made
    }

    /// The fetched bytes and the parts of a plan: the fewer of the first are better, then the fewer of the second.
    type Cost = (u64, u64);

    /// The least cost of all ways to cut the bytes into parts that the service takes, if each part is copied that can
    /// be and no size is preferred to another.
    fn optimum(bytes: &[Byte], limits: Limits) -> Cost {
        // The optimum of what begins at each position.
        let mut least = vec![(u64::MAX, u64::MAX); bytes.len()];
        least.push((0, 0));
        for from in (0..bytes.len()).rev() {
            for to in (from + 1..=bytes.len()).take(limits.part_bytes_max as usize) {
                if to < bytes.len() && ((to - from) as u64) < limits.part_bytes_min || least[to].0 == u64::MAX {
                    continue;
                }
                let part = &bytes[from..to];
                let copied = part.is_sorted_by(|a, b| a + 1 == *b);
                let fetched = if copied { 0 } else { part.iter().filter(|byte| **byte < NEW).count() as u64 };
                least[from] = least[from].min((least[to].0 + fetched, least[to].1 + 1));
            }
        }
        least[0]
    }

    /// Content that random tests found once in some ten thousand cases, and what each is there to prove.
    #[test]
    fn choices_that_rarely_matter_are_made() {
        let cheapest_at_first =
            [stored(0, 0, 3), stored(0, 4, 1), stored(1, 0, 5), new(2), stored(0, 5, 3), stored(1, 0, 1)];
        let two_absorbed = [new(1), stored(0, 0, 2), new(1), stored(0, 2, 2), new(1), stored(0, 4, 2), new(14)];
        let most_lent = [stored(0, 0, 7), new(1), stored(0, 7, 4), new(1), stored(0, 11, 7)];
        let table: [(&str, Limits, &[Stretch], Cost); 3] = [
            ("the cheapest way to a range is not the best way past it", small_limits(3, 5), &cheapest_at_first, (5, 5)),
            ("two neighbours are absorbed for fewer parts", small_limits(2, 16), &two_absorbed, (4, 3)),
            (
                "of two ways that cost the same, the one that lends more saves a copy",
                small_limits(3, 5),
                &most_lent,
                (4, 5),
            ),
        ];
        for (name, limits, content, expected) in table {
            let bytes_max = limits.part_bytes_max;
            let rules = Rules { limits, upload_bytes: &|_| bytes_max, mixed_upload_bytes: bytes_max };
            let actions = any_plan(content, &rules).expect("few parts");
            assert_eq!((fetched_bytes(&actions), actions.len() as u64), expected, "{name}: {actions:?}");
            assert_eq!(optimum(&content_bytes(content), limits), expected, "{name}");
        }
    }

    proptest! {
        // A case takes some 10 microseconds, and the rarest kinds of content are one in thousands.
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// With any preferred sizes, which have no influence on what is fetched.
        #[test]
        fn a_plan_makes_the_content_and_fetches_the_least(
            (limits, content) in
                small_case(10_000, &[(1, 1), (1, 4), (2, 16), (3, 5), (4, 7), (4, 16), (5, 12), (9, 40)]),
            sent_parts in vec(0..100_u64, 0..3),
            sizes in vec(0..100_u64, 4),
        ) {
            let Limits { part_bytes_min, part_bytes_max, .. } = limits;
            let legal = |drawn: u64| part_bytes_min + drawn % (part_bytes_max - part_bytes_min + 1);
            let upload_bytes = |index| legal(sizes[index as usize % 3]);
            let rules = Rules { limits, upload_bytes: &upload_bytes, mixed_upload_bytes: legal(sizes[3]) };
            let sent_parts = sent_parts.iter().map(|bytes| sent(legal(*bytes)));
            let whole: Vec<Stretch> = sent_parts.chain(content.clone()).collect();

            let actions = any_plan(&whole, &rules).expect("few parts");
            check(&whole, &actions, limits);
            prop_assert_eq!(apply(&whole, &actions), content_bytes(&whole));
            prop_assert_eq!(fetched_bytes(&actions), optimum(&content_bytes(&content), limits).0, "{:?}", actions);
            for (index, action) in actions.iter().enumerate() {
                let Some((bytes, fetched)) = uploaded(action) else { continue };
                let preferred_bytes = upload_bytes(index as u64);
                let preferred_bytes = if fetched == 0 { preferred_bytes } else { preferred_bytes.min(legal(sizes[3])) };
                prop_assert!(bytes < preferred_bytes + part_bytes_min, "{index} of {actions:?}");
            }
        }

        /// With uploads of the largest size, which is what the optimum takes them to be.
        ///
        /// Both costs are equal to the optimum, but for one part more for each range that the note below [`plan`] is
        /// about. Where that is more than 12 parts, any plan will do, and one must be found if the file is not long.
        #[test]
        fn a_plan_has_the_fewest_parts_for_what_it_fetches(
            (limits, content) in small_case(12, &[(1, 4), (2, 16), (3, 5), (3, 6), (4, 7), (4, 16), (5, 12), (9, 40)]),
        ) {
            let Limits { part_bytes_min, part_bytes_max, part_count_max, .. } = limits;
            let rules = Rules { limits, upload_bytes: &|_| part_bytes_max, mixed_upload_bytes: part_bytes_max };
            let (fetched, part_count) = optimum(&content_bytes(&content), limits);
            let exempt = |run: &&Stretch| (part_bytes_max + 1..3 * part_bytes_min - 2).contains(&stored_bytes(run));
            let slack = merge(&content).iter().filter(exempt).count() as u64;
            let bytes: u64 = content.iter().map(|stretch| stretch.bytes).sum();
            match any_plan(&content, &rules) {
                Ok(actions) => {
                    check(&content, &actions, limits);
                    let made = (fetched_bytes(&actions), actions.len() as u64);
                    let best = made.0 == fetched && made.1 <= part_count + slack;
                    prop_assert!(best || part_count + slack > part_count_max, "{made:?} of {actions:?}");
                }
                Err(TooManyParts) => {
                    prop_assert!(part_count + slack > part_count_max, "({fetched}, {part_count})");
                    prop_assert!(bytes > part_count_max * part_bytes_max.div_ceil(2), "{bytes}");
                }
            }
        }
    }
}

//! Whether somebody goes through a directory name by name, and how far ahead to look then. Pure.

use super::FileName;

/// The most names that are asked for ahead of who goes through a directory, as many as requests are on their way at once.
pub(crate) const AHEAD_MAX: usize = 64;

/// One directory's lookups, as far as they go in the order of names.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The name that was looked up last.
    pub(super) last: Option<FileName>,
    /// How many in a row were each the next.
    steps: u32,
    /// Up to this name everything has been asked for.
    pub(super) asked_to: Option<FileName>,
    /// How many names that is from here.
    ahead: usize,
}

/// So many names in a row, each behind the last, are no accident: one in 40,000 by chance.
const ASCENT: u32 = 8;

/// Whether the names that nobody knows come in order, as those of a directory that is copied or removed do.
#[derive(Debug, Default)]
pub(super) struct Ascent {
    last: Option<FileName>,
    steps: u32,
}

impl Ascent {
    /// Takes in a name that is not known, and says whether those that are close to it are likely to be next.
    pub(super) fn step(&mut self, name: &FileName) -> bool {
        self.steps = if self.last.as_ref().is_some_and(|last| last < name) { self.steps + 1 } else { 0 };
        self.last = Some(name.clone());
        self.steps >= ASCENT
    }
}

/// After so many names that were looked up and removed one after the other, the next is taken to go the same way.
const EMPTYING: u32 = 4;

/// Whether somebody removes the names of a directory one after the other, and wants to know nothing of them.
#[derive(Debug, Default)]
pub(super) struct Emptying {
    caller: u32,
    /// What was looked up last, unless it was removed.
    looked_up: Option<FileName>,
    steps: u32,
}

impl Emptying {
    /// Takes in that `caller` looks up a name, and says whether it is likely to be removed next.
    pub(super) fn step(&mut self, caller: u32, name: &FileName) -> bool {
        let last = self.looked_up.replace(name.clone());
        if std::mem::replace(&mut self.caller, caller) != caller || last.is_some_and(|last| last != *name) {
            self.steps = 0;
        }
        self.is_going_on()
    }

    pub(crate) fn is_going_on(&self) -> bool {
        self.steps >= EMPTYING
    }

    pub(super) fn note_removal(&mut self, name: &FileName) {
        self.steps = if self.looked_up.take().is_none_or(|last| last == *name) { self.steps + 1 } else { 0 };
    }
}

/// How a directory is gone through.
#[derive(Debug, Default)]
pub(super) struct Visits {
    /// How its names are looked up.
    pub(super) walk: Walk,
    /// How its names are looked up that are not known.
    pub(super) ascent: Ascent,
    /// Whether somebody removes one name after the other.
    pub(super) emptying: Emptying,
    /// Some directory in it has been gone through name by name.
    pub(super) is_walked_below: bool,
    /// The directory in it that was listed last.
    pub(super) listed_last: Option<FileName>,
    /// A directory in it had more entries than a flat listing has room for.
    pub(super) is_flat_useless: bool,
}

/// What is known of where a lookup leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Anywhere.
    Elsewhere,
    /// To the name that follows the last one.
    Next,
    /// In a directory that is being read, or to the first name of one whose neighbours were gone through.
    Certain,
}

impl Walk {
    /// Takes one lookup in, and returns how many names to ask for beyond [`Walk::asked_to`], or beyond this one where
    /// nothing has been.
    pub(super) fn step(&mut self, name: &FileName, step: Step) -> usize {
        self.last = Some(name.clone());
        self.ahead = self.ahead.saturating_sub(1);
        if step == Step::Elsewhere || self.asked_to.as_ref().is_some_and(|to| to < name) {
            (self.asked_to, self.ahead) = (None, 0);
        }
        self.steps = if step == Step::Elsewhere { 0 } else { self.steps + 1 };
        let wanted = match (step, self.steps) {
            (Step::Elsewhere, _) => 0,
            (Step::Next, 1) => 4,
            (Step::Next, 2) => 16,
            _ => AHEAD_MAX,
        };
        if self.ahead * 2 > wanted { 0 } else { wanted - self.ahead }
    }

    /// Notes that `count` more names, up to this one, are being asked for.
    pub(super) fn ask_to(&mut self, name: FileName, count: usize) {
        self.asked_to = Some(name);
        self.ahead += count;
    }

    /// Whether the last lookup was one that could be foreseen.
    pub(super) fn is_in_order(&self) -> bool {
        self.steps >= 1
    }

    /// Whether it is one.
    pub(super) fn is_going_on(&self) -> bool {
        self.steps >= 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> FileName {
        FileName::new(&format!("{number:04}")).unwrap()
    }

    /// Looks up one name after the other of endlessly many, and returns how many were asked for at each.
    fn walk(steps: impl IntoIterator<Item = (usize, Step)>) -> Vec<usize> {
        let mut walk = Walk::default();
        let mut asked_to = 0;
        let step = |(number, step)| {
            let count = walk.step(&name(number), step);
            if count > 0 {
                asked_to = walk.asked_to.as_ref().map_or(number, |_| asked_to) + count;
                walk.ask_to(name(asked_to), count);
            }
            count
        };
        steps.into_iter().map(step).collect()
    }

    #[test]
    fn names_out_of_order_are_asked_for_alone() {
        assert_eq!(walk([(5, Step::Elsewhere), (9, Step::Elsewhere), (1, Step::Elsewhere)]), [0, 0, 0]);
    }

    #[test]
    fn who_goes_on_in_order_is_looked_ahead_of_further_and_further() {
        let counts = walk((0..200).map(|number| (number, if number == 0 { Step::Elsewhere } else { Step::Next })));
        assert_eq!(counts[..4], [0, 4, 13, 49]);
        let asked: usize = counts.iter().sum();
        assert!((200..=200 + AHEAD_MAX).contains(&asked), "{asked}");
        assert!(counts.iter().all(|count| *count <= AHEAD_MAX));
    }

    #[test]
    fn in_a_directory_that_is_read_everything_is_asked_for_at_once() {
        let counts = walk((0..40).map(|number| (number, Step::Certain)));
        assert_eq!((counts[0], counts[1..32].iter().sum::<usize>()), (AHEAD_MAX, 0));
        assert!(counts[32..].iter().sum::<usize>() > 0);
    }

    #[test]
    fn a_walk_that_starts_over_asks_anew() {
        assert_eq!(walk([(7, Step::Elsewhere), (8, Step::Next), (1, Step::Elsewhere), (2, Step::Next)]), [0, 4, 0, 4]);
    }
}

//! How names of a directory are looked up, one after the other, and what that says of the next.

use std::ops::Bound;

use super::{EntryKind, FileName, Ino, Inodes, LINK_BYTES_MAX, Step};

/// So many empty objects of those that are listed together are asked whether they are special files: pipes and sockets come in
/// ones and twos, and who has many empty objects in a directory has something else.
const EMPTY_QUESTIONS_MAX: usize = 16;

impl Inodes {
    /// Somebody looks a name up. Returns files that are to be asked for because they are likely to be next.
    pub(super) fn walk_to(&mut self, parent: Ino, name: &FileName) -> Vec<FileName> {
        let above = self.place(parent).map(|(above, _)| above);
        let follows_walk =
            above.and_then(|above| self.directory(above)).is_some_and(|above| above.visits.is_walked_below);
        let Some(directory) = self.directory_mut(parent) else { return Vec::new() };
        let after = |last: &FileName| {
            directory.children().range::<str, _>((Bound::Excluded(last.as_str()), Bound::Unbounded)).next()
        };
        let is_next =
            directory.visits.walk.last.as_ref().is_some_and(|last| after(last).is_some_and(|(next, _)| next == name));
        let is_first = directory.children().keys().next() == Some(name);
        let step = match () {
            () if directory.readers > 0 || is_first && follows_walk => Step::Certain,
            () if is_next => Step::Next,
            () => Step::Elsewhere,
        };
        let count = directory.visits.walk.step(name, step);
        let from = directory.visits.walk.asked_to.clone().unwrap_or_else(|| name.clone());
        let ahead: Vec<FileName> = directory
            .children()
            .range::<str, _>((Bound::Excluded(from.as_str()), Bound::Unbounded))
            .take(count)
            .map(|(name, _)| name.clone())
            .collect();
        if let Some(last) = ahead.last() {
            directory.visits.walk.ask_to(last.clone(), ahead.len());
        }
        let is_walk = directory.visits.walk.is_going_on();
        if let Some(above) = above.filter(|_| is_walk).and_then(|above| self.directory_mut(above)) {
            above.visits.is_walked_below = true;
        }
        ahead.into_iter().filter(|name| self.lacks_attributes(parent, name) == Some(false)).collect()
    }

    /// `caller` looks a name up. Says whether that is to remove it, as far as can be foreseen: what it is is of no interest
    /// then, not even whether it is a link. In a directory with the sticky bit whose it is decides who may remove it.
    pub(super) fn removes_next(&mut self, parent: Ino, name: &FileName, caller: u32) -> bool {
        let is_file = self.entry(parent, name).is_some_and(|entry| !entry.what.is_directory());
        self.directory_mut(parent).is_some_and(|directory| directory.visits.emptying.step(caller, name) && is_file)
    }

    /// Whether somebody removes one name of a directory after the other.
    pub(super) fn is_being_emptied(&self, ino: Ino) -> bool {
        self.directory(ino).is_some_and(|directory| directory.visits.emptying.is_going_on())
    }

    /// Somebody looks up a name that is not known. Says whether he goes on in order.
    pub(super) fn ascends_to(&mut self, parent: Ino, name: &FileName) -> bool {
        self.directory_mut(parent).is_some_and(|directory| directory.visits.ascent.step(name))
    }

    /// Whether somebody who looks up `name`, a directory, goes through those in `parent`, as far as can be told.
    pub(super) fn goes_through_directories(&self, parent: Ino, name: &FileName) -> bool {
        let Some(directory) = self.directory(parent).filter(|directory| !directory.visits.is_flat_useless) else {
            return false;
        };
        let mut directories = directory.children().iter().filter(|(_, entry)| entry.what.is_directory());
        let is_first_of_many =
            directories.next().is_some_and(|(first, _)| first == name) && directories.next().is_some();
        is_first_of_many || self.is_going_through(parent)
    }

    /// Whether somebody has shown that he goes through `parent`: he reads it, or has looked up names in order.
    pub(super) fn is_going_through(&self, parent: Ino) -> bool {
        self.directory(parent).is_some_and(|directory| directory.readers > 0 || directory.visits.walk.is_in_order())
    }

    /// The directories of `parent` whose markers are still to be asked for, where a flat listing has told that they have one,
    /// if somebody who looks up `name`, one of them, is going through them: he has shown that, or it is the next of them.
    pub(super) fn told_from(&self, parent: Ino, name: &FileName) -> Vec<FileName> {
        let Some(directory) = self.directory(parent) else { return Vec::new() };
        let lacks_marker = |name: &&FileName| self.lacks_attributes(parent, name) == Some(true);
        let told: Vec<FileName> = directory.stashed_with_markers().filter(lacks_marker).cloned().collect();
        let is_next = told.first() == Some(name);
        if is_next || told.contains(name) && self.is_going_through(parent) { told } else { Vec::new() }
    }

    /// Whether somebody who lists `name`, a directory, goes through those in `parent`. Takes note of it.
    pub(super) fn goes_into_directories(&mut self, parent: Ino, name: &FileName) -> bool {
        let Some(directory) = self.directory_mut(parent) else { return false };
        let last = directory.visits.listed_last.replace(name.clone());
        let is_next = last.is_some_and(|last| {
            let mut after = directory.children().range::<str, _>((Bound::Excluded(last.as_str()), Bound::Unbounded));
            after.find(|(_, entry)| entry.what.is_directory()).is_some_and(|(next, _)| next == name)
        });
        (is_next || directory.readers > 0) && !directory.visits.is_flat_useless
    }

    /// Of these names those whose kind is not known.
    pub(super) fn of_unknown_kind(&self, parent: Ino, names: &[FileName]) -> Vec<FileName> {
        let is_unknown = |name: &&FileName| match self.entry(parent, name).map(|entry| &entry.what) {
            Some(EntryKind::Object(stat)) => stat.kind.is_none() && stat.version.size <= LINK_BYTES_MAX,
            _ => false,
        };
        names.iter().filter(is_unknown).cloned().collect()
    }

    /// Those of them that are asked where no symbolic link and no special file has been met: the object that is likeliest to be
    /// a link, and the empty ones if there are not many. None where the directory's were asked before.
    pub(super) fn sample_of_unknown_kind(&self, parent: Ino, names: &[FileName]) -> Vec<FileName> {
        if self.directory(parent).is_none_or(|directory| directory.is_large || directory.has_sampled_kinds) {
            return Vec::new();
        }
        let size = |name: &FileName| match self.entry(parent, name).map(|entry| &entry.what) {
            Some(EntryKind::Object(stat)) => stat.version.size,
            _ => 0,
        };
        let (mut sample, others): (Vec<_>, Vec<_>) =
            self.of_unknown_kind(parent, names).into_iter().partition(|name| size(name) == 0);
        if sample.len() > EMPTY_QUESTIONS_MAX {
            sample.clear();
        }
        sample.extend(others.into_iter().min_by_key(size));
        sample
    }
}

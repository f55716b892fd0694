//! What the service says of names, by listings and answers to HEAD.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{
    Asked, Covers, DirEntry, Entry, EntryKind, FileName, Ino, Inodes, Marker, ROOT, Stashed, Tree, Undecided, is_fresh,
};
use crate::object::ObjectHead;

/// Names that are kept of flat listings in one directory.
const STASH_NAMES_MAX: usize = 20_000;

/// What a listing of a directory said.
pub(crate) struct Listing {
    /// The names in it.
    pub(crate) names: BTreeMap<FileName, EntryKind>,
    /// When it was asked for.
    pub(crate) asked_at: SystemTime,
    /// Which names it would have shown.
    pub(crate) covers: Covers,
    /// How long things are believed.
    pub(crate) ttl: Duration,
}

impl Inodes {
    /// Somebody is about to ask about a directory.
    pub(crate) fn asked(&self, ino: Ino, at: SystemTime) -> Asked {
        Asked { at, knowledge: self.directory(ino).map(|directory| directory.knowledge.clone()) }
    }

    /// When an answer about a directory was asked for. Where another mount has been seen to change the directory since, or
    /// this one may have and does not know of it any more, that counts as long ago: the answer may tell what there was before.
    pub(crate) fn asked_at(&self, ino: Ino, asked: &Asked) -> SystemTime {
        let known = self.directory(ino).map(|directory| &directory.knowledge);
        let is_the_same = known.zip(asked.knowledge.as_ref()).is_some_and(|(now, then)| Arc::ptr_eq(now, then));
        if is_the_same { asked.at } else { SystemTime::UNIX_EPOCH }
    }

    /// All pages of a directory have been listed, the first of them at `began_at`.
    pub(crate) fn note_complete(&mut self, ino: Ino, began_at: SystemTime) {
        if let Some(directory) = self.directory_mut(ino) {
            // Somebody may have listed it since.
            directory.complete_at = directory.complete_at.max(Some(began_at));
        }
    }

    /// Whether the metadata of a name have to be asked for, and if so whether it is a directory.
    pub(crate) fn lacks_attributes(&self, parent: Ino, name: &FileName) -> Option<bool> {
        match self.entry(parent, name).map(|entry| &entry.what) {
            Some(EntryKind::Object(stat)) if stat.attributes.is_none() => Some(false),
            Some(EntryKind::Directory(None)) => Some(true),
            _ => None,
        }
    }

    /// What a HEAD said of the version that is known of a name.
    pub(crate) fn take_metadata(&mut self, parent: Ino, name: &FileName, head: &ObjectHead) {
        self.change_entry(parent, name, |entry| {
            if let EntryKind::Object(stat) = &mut entry.what {
                stat.take_head(head);
            }
        });
    }

    /// Forgets metadata that were written down beside a copy.
    pub(crate) fn forget_recalled(&mut self, parent: Ino, name: &FileName) {
        self.change_entry(parent, name, |entry| {
            if let EntryKind::Object(stat) = &mut entry.what
                && stat.is_recalled
            {
                (stat.attributes, stat.is_recalled) = (None, false);
            }
        });
    }

    /// Keeps what a flat listing from `first` on has said of directories in `parent`. Returns those whose markers are to be
    /// asked for.
    pub(super) fn stash(
        &mut self,
        parent: Ino,
        first: &FileName,
        stashed: BTreeMap<FileName, Stashed>,
        asked_at: SystemTime,
    ) -> Vec<FileName> {
        let mut with_markers = Vec::new();
        self.change_directory(parent, |directory| {
            directory.visits.is_flat_useless |= !stashed.contains_key(first);
            if directory.stashed_names() > STASH_NAMES_MAX {
                directory.clear_stash();
            }
            for (name, stashed) in stashed {
                // This mount may have put another directory there since.
                let is_newer = |at: &SystemTime| *at >= asked_at;
                if directory.removed.get(&name).is_some_and(is_newer)
                    || directory.children().get(&name).is_some_and(|entry| entry.seen_at > asked_at)
                {
                    continue;
                }
                let has_marker = stashed.has_marker;
                directory.change(&name, |entry| match (&entry.what, has_marker) {
                    (EntryKind::Directory(None), true) => with_markers.push(name.clone()),
                    (EntryKind::Directory(None), false) => entry.what = EntryKind::Directory(Some(Marker::absent())),
                    _ => {}
                });
                directory.stash(name, asked_at, stashed);
            }
        });
        with_markers
    }

    /// Forgets what a flat listing has said of the directory `name` and of `parent`: this mount changes `name`.
    pub(super) fn forget_stashed(&mut self, parent: Ino, name: &FileName) {
        self.change_directory(parent, |directory| directory.unstash(name));
        self.forget_stashed_of(parent);
    }

    /// The same of the directory `ino` alone.
    fn forget_stashed_of(&mut self, ino: Ino) {
        if let Some((parent, name)) = self.place(ino) {
            self.change_directory(parent, |parent| parent.unstash(&name));
        }
    }
}

/// Takes in a listing that was asked for at `asked_at`: what it shows is there, and what it does not show although
/// `covers` it is not. What this mount did since, or does right now, it knows better.
pub(crate) fn take_listing(tree: &mut Tree, ino: Ino, listing: Listing) {
    let Listing { names, asked_at, covers, ttl } = listing;
    let Some(directory) = tree.directory(ino) else { return };
    let vanished: Vec<FileName> = covers
        .range(directory.children())
        .filter(|(name, entry)| {
            covers.includes(name) && !names.contains_key(*name) && entry.seen_at < asked_at && !tree.is_ours(entry)
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in vanished {
        let vanished = tree.inodes.remove_entry(ino, &name);
        tree.lose_name(vanished, asked_at);
    }
    let modified = |what: &EntryKind| if let EntryKind::Object(stat) = what { Some(stat.last_modified) } else { None };
    let newest = names.values().filter_map(modified).max();
    if let Some(directory) = tree.directory_mut(ino) {
        directory.newest_at = directory.newest_at.max(newest);
    }
    for (name, what) in names {
        take_listed(tree, ino, name, what, asked_at, ttl);
    }
    let Some(directory) = tree.directory_mut(ino) else { return };
    if covers.is_all() {
        directory.complete_at = Some(asked_at);
    } else {
        directory.covered = Some((covers, asked_at));
    }
    tree.inodes.evict(ino, asked_at);
}

/// Puts what is known in the place of what a listing says of names that calls are about to give or take: they are what they
/// were until those have ended. Returns whether that is something else.
pub(crate) fn keep_claimed(
    tree: &Tree,
    ino: Ino,
    names: &mut BTreeMap<FileName, EntryKind>,
    covers: &Covers,
    claimed: Vec<FileName>,
) -> bool {
    let mut is_other = false;
    for name in claimed {
        is_other |= match tree.entry(ino, &name).map(|entry| entry.what.clone()) {
            Some(known) if covers.includes(&name) => {
                let told = names.insert(name, known.clone());
                told.is_none_or(|told| !told.is_same_version(&known))
            }
            Some(_) => false,
            None => names.remove(&name).is_some(),
        };
    }
    is_other
}

/// What a page of a listing that was `asked` for shows: the names that are on it and still there, and those in its range that
/// this mount knows of and nobody else, or knows better: what was published while the answer was on its way. Those that are
/// `left` to the next page are shown by that.
pub(crate) fn shown(
    tree: &Tree,
    ino: Ino,
    listed: Vec<FileName>,
    left: &[Undecided],
    covers: &Covers,
    asked: &Asked,
) -> Vec<DirEntry> {
    let Some(directory) = tree.directory(ino) else { return Vec::new() };
    let ours = covers.range(directory.children()).filter(|(name, entry)| {
        let is_left = || left.iter().any(|left| left.name == **name);
        let is_known_better = tree.is_ours(entry) || entry.seen_at > asked.at && !is_left();
        is_known_better && covers.has_place_of(name) && listed.binary_search(name).is_err()
    });
    let ours = ours.map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let shown = |name: FileName| {
        let entry = directory.children().get(&name)?;
        Some(DirEntry { ino: entry.ino, kind: tree.kind_of(entry), name })
    };
    listed.into_iter().chain(ours).filter_map(shown).collect()
}

/// Other mounts have changed a directory `count` times by now. If that is more than when this was last asked, what is
/// known of it may be wrong.
pub(crate) fn revalidate(tree: &mut Tree, ino: Ino, count: u64) {
    // What the kernel believes by itself nobody can heed.
    tree.kernel_ttl = Duration::ZERO;
    let Some(directory) = tree.directory_mut(ino) else { return };
    if std::mem::replace(&mut directory.others_changes, count) == count {
        return;
    }
    directory.forget_covered();
    directory.own_since = None;
    directory.is_large = false;
    tree.invalidations += 1;
    let Some(directory) = tree.directory_mut(ino) else { return };
    let keeps_marker = ino != ROOT || directory.marker.is_unsaved;
    directory.removed.clear();
    let unsaved: Vec<Ino> = tree.unsaved_directories();
    tree.inodes.change_directory(ino, |directory| {
        directory.clear_stash();
        directory.change_all(|entry| {
            entry.seen_at = SystemTime::UNIX_EPOCH;
            match &mut entry.what {
                EntryKind::Directory(marker) if !unsaved.contains(&entry.ino) => *marker = None,
                // New metadata may come with the same bytes, in the same second.
                EntryKind::Object(stat) => (stat.attributes, stat.kind) = (None, None),
                EntryKind::Directory(_) | EntryKind::New => {}
            }
        });
    });
    if !keeps_marker {
        tree.top = None;
    }
    tree.inodes.forget_stashed_of(ino);
}

/// There was nothing of a name when that was asked for.
pub(crate) fn take_absence(tree: &mut Tree, parent: Ino, name: &FileName, asked_at: SystemTime) {
    let is_gone = tree.entry(parent, name).is_some_and(|entry| !tree.is_ours(entry) && entry.seen_at <= asked_at);
    if is_gone {
        let vanished = tree.inodes.remove_entry(parent, name);
        tree.lose_name(vanished, asked_at);
    }
}

/// Takes in what a flat listing has said of a directory, if it has and that is fresh.
pub(crate) fn take_stashed(tree: &mut Tree, ino: Ino, now: SystemTime, ttl: Duration) -> bool {
    let Some((parent, name)) = tree.inodes.linked_place(ino) else { return false };
    let unstashed = tree.inodes.change_directory(parent, |directory| directory.unstash(&name)).flatten();
    let Some((asked_at, stashed)) = unstashed else { return false };
    if !is_fresh(asked_at, now, ttl) {
        return false;
    }
    let Stashed { names, has_marker, .. } = stashed;
    if let Some(directory) = tree.directory_mut(ino) {
        directory.marker.is_there |= has_marker;
        directory.is_large = false;
    }
    take_listing(tree, ino, Listing { names, asked_at, covers: Covers::ALL, ttl });
    if let Some(parent) = tree.directory_mut(parent) {
        parent.visits.listed_last = Some(name);
    }
    true
}

/// Takes in what the service said of one name when asked at `asked_at`.
pub(crate) fn take_listed(
    tree: &mut Tree,
    parent: Ino,
    name: FileName,
    what: EntryKind,
    asked_at: SystemTime,
    ttl: Duration,
) {
    let Some(directory) = tree.directory(parent) else { return };
    // A listing lags behind by up to `ttl`, as far as this mount is concerned.
    if directory.removed.get(&name).is_some_and(|at| is_fresh(*at, asked_at, ttl) || *at >= asked_at) {
        return;
    }
    let before = directory.children().get(&name).cloned();
    let entry = match before.map(|before| *before) {
        Some(before) if tree.is_ours(&before) || before.seen_at > asked_at => return,
        Some(before) if before.what.is_directory() == what.is_directory() => {
            let is_other = !what.is_same_version(&before.what);
            let what = match (what, before.what) {
                (EntryKind::Object(stat), EntryKind::Object(known)) => EntryKind::Object(stat.updated(known)),
                (EntryKind::Directory(None), EntryKind::Directory(known)) => EntryKind::Directory(known),
                (what, _) => what,
            };
            let is_pinned = is_other && tree.open_state(before.ino).is_some_and(|open| open.is_read_by_kernel());
            let ino = if is_pinned { tree.new_ino() } else { before.ino };
            Entry { ino, seen_at: asked_at, what }
        }
        _ => Entry { ino: tree.inodes.new_ino(), seen_at: asked_at, what },
    };
    let ino = entry.ino;
    let replaced = tree.inodes.insert_entry(parent, name, entry).filter(|replaced| replaced.ino != ino);
    tree.lose_name(replaced, asked_at);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::names::entry::Known;
    use crate::fs::names::ino::ROOT;
    use crate::fs::names::tree::tests::{LIMIT, TTL, at, listing, name, object};

    #[test]
    fn a_complete_listing_answers_for_every_name_while_it_is_fresh() {
        let mut tree = Tree::new(LIMIT);
        assert_eq!(tree.known(ROOT, &name("a"), at(10), TTL), Known::Unknown);
        take_listing(&mut tree, ROOT, listing([("a", object("1"))], 10, Covers::ALL));
        assert_eq!(tree.known(ROOT, &name("a"), at(14), TTL), Known::Present);
        assert_eq!(tree.known(ROOT, &name("b"), at(14), TTL), Known::Absent);
        assert_eq!(tree.known(ROOT, &name("a"), at(15), TTL), Known::Unknown);
        assert_eq!(tree.known(ROOT, &name("b"), at(15), TTL), Known::Unknown);
        assert_eq!(tree.known(ROOT, &name("a"), at(9), TTL), Known::Unknown, "the clock was set back");
    }

    #[test]
    fn a_page_answers_only_for_what_it_covers() {
        let mut tree = Tree::new(LIMIT);
        take_listing(
            &mut tree,
            ROOT,
            listing([("a", object("1")), ("m", object("1")), ("z", object("1"))], 10, Covers::ALL),
        );
        take_listing(
            &mut tree,
            ROOT,
            listing([("a", object("1"))], 20, Covers { after: None, up_to: Some("m/".into()) }),
        );
        let known = ["a", "m", "z"].map(|text| tree.entry(ROOT, &name(text)).is_some());
        assert_eq!(known, [true, false, true]);
    }

    #[test]
    fn a_listing_does_not_undo_what_this_mount_did_meanwhile() {
        let mut tree = Tree::new(LIMIT);
        take_listing(&mut tree, ROOT, listing([("gone", object("1"))], 10, Covers::ALL));
        tree.unlink(ROOT, &name("gone"), at(12), TTL);
        let ino = tree.new_ino();
        tree.link(ROOT, &name("new"), Entry { ino, seen_at: at(12), what: object("2") }, at(12), TTL);
        take_listing(&mut tree, ROOT, listing([("gone", object("1"))], 11, Covers::ALL));
        assert!(tree.entry(ROOT, &name("gone")).is_none());
        assert!(tree.entry(ROOT, &name("new")).is_some());
        take_listing(&mut tree, ROOT, listing([("gone", object("3"))], 30, Covers::ALL));
        assert!(tree.entry(ROOT, &name("gone")).is_some(), "made again by somebody else");
        assert!(tree.entry(ROOT, &name("new")).is_none());
    }

    #[test]
    fn metadata_are_kept_for_as_long_as_the_version_is_the_same() {
        let mut tree = Tree::new(LIMIT);
        take_listing(&mut tree, ROOT, listing([("a", object("1"))], 10, Covers::ALL));
        let ino = tree.entry(ROOT, &name("a")).unwrap().ino;
        tree.inodes.change_entry(ROOT, &name("a"), |entry| {
            let EntryKind::Object(stat) = &mut entry.what else { panic!() };
            stat.attributes = Some(Box::default());
        });
        take_listing(&mut tree, ROOT, listing([("a", object("1"))], 20, Covers::ALL));
        let entry = tree.entry(ROOT, &name("a")).unwrap();
        assert!(matches!(&entry.what, EntryKind::Object(stat) if stat.attributes.is_some()));
        take_listing(&mut tree, ROOT, listing([("a", object("2"))], 30, Covers::ALL));
        let entry = tree.entry(ROOT, &name("a")).unwrap();
        assert!(matches!(&entry.what, EntryKind::Object(stat) if stat.attributes.is_none()));
        assert_eq!(entry.ino, ino);
    }

    /// `mv d d.old; mv e d` within the time that a flat listing is believed.
    #[test]
    fn what_a_flat_listing_said_of_a_name_does_not_hold_for_the_next_directory_of_that_name() {
        let mut tree = Tree::new(LIMIT);
        take_listing(
            &mut tree,
            ROOT,
            listing([("d", EntryKind::Directory(None)), ("e", EntryKind::Directory(None))], 10, Covers::ALL),
        );
        let ino = tree.remember(ROOT, &name("e")).unwrap();
        let stashed = |text| {
            let names = BTreeMap::from([(name(text), object("1"))]);
            BTreeMap::from([(name("d"), Stashed::of(names))])
        };
        tree.inodes.stash(ROOT, &name("d"), stashed("old"), at(10));
        tree.unlink(ROOT, &name("d"), at(11), TTL);
        let entry = tree.unlink(ROOT, &name("e"), at(11), TTL).unwrap();
        tree.link(ROOT, &name("d"), Entry { seen_at: at(11), ..entry }, at(11), TTL);
        tree.move_node(ino, ROOT, name("d"));
        assert!(!take_stashed(&mut tree, ino, at(12), TTL));
        tree.inodes.stash(ROOT, &name("d"), stashed("late"), at(10));
        assert!(!take_stashed(&mut tree, ino, at(12), TTL), "asked for before the directory moved");
        tree.inodes.stash(ROOT, &name("d"), stashed("new"), at(12));
        assert!(take_stashed(&mut tree, ino, at(12), TTL));
    }
}

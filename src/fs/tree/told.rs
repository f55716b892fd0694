//! What the service says of names, by listings and answers to HEAD, and forgetting it where that is too much.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use super::directory::{Directory, is_fresh};
use super::entry::{Entry, Marker, What};
use super::{Body, File, Ino, ROOT, Tree};
use crate::fs::attributes::Kind;
use crate::fs::flat::Stashed;
use crate::fs::name::FileName;
use crate::fs::reading_directories::DirEntry;
use crate::object::ObjectHead;

/// How much memory an entry with attributes takes, in entries without.
pub(super) const ATTRIBUTES_WEIGHT: usize = 4;

/// How much is known of names at most, in entries without attributes of some 250 bytes each. Beyond that it is evicted.
const WEIGHT_MAX: usize = 250_000;

/// What is known is weighed each time that so much more is known: to weigh it, all directories are looked at.
const EVICT_EVERY: usize = 10_000;

/// Attributes that were asked for so short a time ago are about to be shown.
const JUST_ASKED: Duration = Duration::from_secs(5);

/// Names that are kept of flat listings in one directory.
const STASH_NAMES_MAX: usize = 20_000;

/// When something was asked about a directory, and how often other mounts were known to have changed it by then.
#[derive(Clone, Copy, Debug)]
pub(in crate::fs) struct Asked {
    pub(in crate::fs) at: SystemTime,
    others_changes: u64,
}

/// What a listing of a directory said.
pub(in crate::fs) struct Listing {
    /// The names in it.
    pub(in crate::fs) names: BTreeMap<FileName, What>,
    /// When it was asked for.
    pub(in crate::fs) asked_at: SystemTime,
    /// Which names it would have shown.
    pub(in crate::fs) covers: Covers,
    /// How long things are believed.
    pub(in crate::fs) ttl: Duration,
}

/// The names that a listing would have shown if they existed: those between two keys, the second of them included, in the
/// order of keys, in which a directory `d` stands at `d/`. `None` is no limit.
#[derive(Clone, Debug)]
pub(in crate::fs) struct Covers {
    pub(in crate::fs) after: Option<String>,
    pub(in crate::fs) up_to: Option<String>,
}

impl Covers {
    pub(in crate::fs) const ALL: Covers = Covers { after: None, up_to: None };

    fn is_all(&self) -> bool {
        self.after.is_none() && self.up_to.is_none()
    }

    /// Whether a name is covered in both of its forms, as a file and as a directory.
    pub(super) fn includes(&self, name: &FileName) -> bool {
        self.after.as_ref().is_none_or(|after| name.as_str() > after.as_str())
            && self.up_to.as_ref().is_none_or(|last| format!("{name}/").as_str() <= last.as_str())
    }

    /// Whether a file of this name would be here.
    fn has_place_of(&self, name: &FileName) -> bool {
        self.after.as_ref().is_none_or(|after| name.as_str() > after.as_str())
            && self.up_to.as_ref().is_none_or(|last| name.as_str() <= last.as_str())
    }

    /// Those that may be covered.
    fn range<'a>(&self, children: &'a BTreeMap<FileName, Entry>) -> impl Iterator<Item = (&'a FileName, &'a Entry)> {
        let after = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let up_to = self.up_to.as_deref().map_or(Bound::Unbounded, Bound::Included);
        // An empty range would panic.
        let is_empty = matches!((&self.after, &self.up_to), (Some(after), Some(up_to)) if after >= up_to);
        let range = (!is_empty).then(|| children.range::<str, _>((after, up_to)));
        range.into_iter().flatten()
    }
}

impl Tree {
    /// Somebody is about to ask about a directory.
    pub(in crate::fs) fn asked(&self, ino: Ino, at: SystemTime) -> Asked {
        Asked { at, others_changes: self.directory(ino).map_or(0, |directory| directory.others_changes) }
    }

    /// When an answer about a directory was asked for. Where another mount has been seen to change the directory since, that
    /// counts as long ago: the answer may tell what there was before.
    pub(in crate::fs) fn asked_at(&self, ino: Ino, asked: Asked) -> SystemTime {
        let is_outdated = self.asked(ino, asked.at).others_changes != asked.others_changes;
        if is_outdated { SystemTime::UNIX_EPOCH } else { asked.at }
    }

    /// Takes in a listing that was asked for at `asked_at`: what it shows is there, and what it does not show although
    /// `covers` it is not. What this mount did since, or does right now, it knows better.
    pub(in crate::fs) fn take_listing(&mut self, ino: Ino, listing: Listing) {
        let Listing { names, asked_at, covers, ttl } = listing;
        let Some(directory) = self.directory(ino) else { return };
        let vanished: Vec<FileName> = covers
            .range(&directory.children)
            .filter(|(name, entry)| {
                covers.includes(name) && !names.contains_key(*name) && entry.seen_at < asked_at && !self.is_ours(entry)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in vanished {
            let vanished = self.directory_mut(ino).and_then(|directory| directory.children.remove(&name));
            self.lose_name(vanished, asked_at);
        }
        let count = names.len();
        self.added += count;
        let modified = |what: &What| if let What::Object(facts) = what { Some(facts.last_modified) } else { None };
        let newest = names.values().filter_map(modified).max();
        if let Some(directory) = self.directory_mut(ino) {
            directory.newest_at = directory.newest_at.max(newest);
        }
        for (name, what) in names {
            self.take_listed(ino, name, what, asked_at, ttl);
        }
        let Some(directory) = self.directory_mut(ino) else { return };
        if covers.is_all() {
            directory.complete_at = Some(asked_at);
        } else {
            directory.covered = Some((covers, asked_at));
        }
        self.evict(ino, asked_at);
    }

    /// Puts what is known in the place of what a listing says of names that calls are about to give or take: they are what they
    /// were until those have ended. Returns whether that is something else.
    pub(in crate::fs) fn keep_claimed(
        &self,
        ino: Ino,
        names: &mut BTreeMap<FileName, What>,
        covers: &Covers,
        claimed: Vec<FileName>,
    ) -> bool {
        let mut is_other = false;
        for name in claimed {
            is_other |= match self.entry(ino, &name).map(|entry| entry.what.clone()) {
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

    /// Makes room, once in a while, where too much is known: first attributes go, which are asked for one by one when they are
    /// wanted again, and then names, of those directories first that have been known for longest. Names of directories that this
    /// mount works in stay. `listed` is being read.
    pub(super) fn evict(&mut self, listed: Ino, now: SystemTime) {
        if self.added < EVICT_EVERY {
            return;
        }
        self.added = 0;
        let mut weight = 0;
        let mut oldest = Vec::new();
        for (ino, node) in &mut self.nodes {
            let Body::Directory(directory) = &mut node.body else { continue };
            let names = directory.children.len();
            directory.weight = directory.weight.clamp(names, names * ATTRIBUTES_WEIGHT);
            weight += directory.weight;
            let known_since = directory.complete_at.unwrap_or(SystemTime::UNIX_EPOCH);
            oldest.push((*ino == listed, known_since, *ino));
        }
        if weight <= WEIGHT_MAX {
            return;
        }
        oldest.sort();
        for (.., ino) in &oldest {
            if weight <= WEIGHT_MAX / 2 {
                return;
            }
            weight -= self.forget_attributes(*ino, now);
        }
        for (is_listed, _, ino) in oldest {
            let can_go = |directory: &Directory| !directory.is_own(now) && (is_listed || directory.readers == 0);
            if weight > WEIGHT_MAX / 2 && self.directory(ino).is_some_and(can_go) {
                weight -= self.forget_entries(ino, now, is_listed);
            }
        }
    }

    /// Forgets the attributes of files in a directory that nobody has open and nobody has just asked for. Returns the weight
    /// that is gone.
    fn forget_attributes(&mut self, ino: Ino, now: SystemTime) -> usize {
        let Some(directory) = self.directory_mut(ino) else { return 0 };
        let mut children = std::mem::take(&mut directory.children);
        let mut kept = 0;
        for entry in children.values_mut() {
            let is_open = || self.file(entry.ino).is_some_and(File::is_in_use);
            // Of what is no file a listing does not tell that.
            let is_kept = is_fresh(entry.seen_at, now, JUST_ASKED) || entry.what.kind() != Kind::File || is_open();
            match &mut entry.what {
                What::Object(facts) if !is_kept => facts.attributes = None,
                What::Object(_) => kept += 1,
                What::Directory(_) | What::New => {}
            }
        }
        let Some(directory) = self.directory_mut(ino) else { return 0 };
        directory.children = children;
        let before = directory.weight;
        directory.weight = directory.weight.min(directory.children.len() + kept * (ATTRIBUTES_WEIGHT - 1));
        before - directory.weight
    }

    /// Forgets the entries of a directory that nobody refers to, but for those just listed if they `are_kept`. Returns the
    /// weight that is gone.
    fn forget_entries(&mut self, ino: Ino, asked_at: SystemTime, are_kept: bool) -> usize {
        let Some(directory) = self.directory(ino) else { return 0 };
        let is_needed = |entry: &Entry| {
            are_kept && entry.seen_at >= asked_at || self.nodes.contains_key(&entry.ino) || entry.what == What::New
        };
        let gone: Vec<FileName> =
            directory.children.iter().filter(|(_, entry)| !is_needed(entry)).map(|(name, _)| name.clone()).collect();
        let Some(directory) = self.directory_mut(ino) else { return 0 };
        let weight = directory.weight;
        gone.iter().for_each(|name| drop(directory.children.remove(name)));
        directory.stash.clear();
        (directory.complete_at, directory.covered, directory.evicted_at) = (None, None, Some(asked_at));
        directory.weight = directory.children.len();
        weight.saturating_sub(directory.weight)
    }

    /// All pages of a directory have been listed, the first of them at `began_at`.
    pub(in crate::fs) fn note_complete(&mut self, ino: Ino, began_at: SystemTime) {
        if let Some(directory) = self.directory_mut(ino)
            && directory.evicted_at.is_none_or(|at| at < began_at)
        {
            directory.complete_at = Some(began_at);
        }
    }

    /// What a page of a listing that was `asked` for shows: the names that are on it and still there, and those in its range
    /// that this mount knows of and nobody else, or knows better: what was published while the answer was on its way. Those
    /// that are `left` to the next page are shown by that.
    pub(in crate::fs) fn shown(
        &self,
        ino: Ino,
        listed: Vec<FileName>,
        left: &[(FileName, What)],
        covers: &Covers,
        asked: Asked,
    ) -> Vec<DirEntry> {
        let Some(directory) = self.directory(ino) else { return Vec::new() };
        let ours = covers.range(&directory.children).filter(|(name, entry)| {
            let is_left = || left.iter().any(|(left, _)| left == *name);
            let is_known_better = self.is_ours(entry) || entry.seen_at > asked.at && !is_left();
            is_known_better && covers.has_place_of(name) && listed.binary_search(name).is_err()
        });
        let ours = ours.map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let shown = |name: FileName| {
            let entry = directory.children.get(&name)?;
            Some(DirEntry { ino: entry.ino, kind: self.kind_of(entry), name })
        };
        listed.into_iter().chain(ours).filter_map(shown).collect()
    }

    /// Other mounts have changed a directory `count` times by now. If that is more than when this was last asked, what is
    /// known of it may be wrong.
    pub(in crate::fs) fn heed_others(&mut self, ino: Ino, count: u64) {
        // What the kernel believes by itself nobody can heed.
        self.kernel_ttl = Duration::ZERO;
        let Some(directory) = self.directory_mut(ino) else { return };
        if std::mem::replace(&mut directory.others_changes, count) == count {
            return;
        }
        (directory.complete_at, directory.covered, directory.own_since) = (None, None, None);
        directory.is_large = false;
        self.heeds += 1;
        let Some(directory) = self.directory_mut(ino) else { return };
        let keeps_marker = ino != ROOT || directory.is_unsaved;
        directory.removed.clear();
        let mut children = std::mem::take(&mut directory.children);
        for entry in children.values_mut() {
            entry.seen_at = SystemTime::UNIX_EPOCH;
            let is_unsaved = self.directory(entry.ino).is_some_and(|directory| directory.is_unsaved);
            match &mut entry.what {
                What::Directory(marker) if !is_unsaved => *marker = None,
                // New metadata may come with the same bytes, in the same second.
                What::Object(facts) => facts.attributes = None,
                What::Directory(_) | What::New => {}
            }
        }
        if !keeps_marker {
            self.top = None;
        }
        if let Some(directory) = self.directory_mut(ino) {
            directory.children = children;
            directory.stash.clear();
        }
        self.forget_stashed_of(ino);
    }

    /// Whether the metadata of a name have to be asked for, and if so whether it is a directory.
    pub(in crate::fs) fn lacks_attributes(&self, parent: Ino, name: &FileName) -> Option<bool> {
        match self.entry(parent, name).map(|entry| &entry.what) {
            Some(What::Object(facts)) if facts.attributes.is_none() => Some(false),
            Some(What::Directory(None)) => Some(true),
            _ => None,
        }
    }

    /// What a HEAD said of the version that is known of a name.
    pub(in crate::fs) fn take_metadata(&mut self, parent: Ino, name: &FileName, head: &ObjectHead) {
        if let Some(What::Object(facts)) = self.entry_mut(parent, name).map(|entry| &mut entry.what)
            && facts.etag == head.etag
            && facts.attributes.is_none()
        {
            facts.attributes = Some(Box::new(head.attributes.clone()));
            facts.crc64 = facts.crc64.or(head.crc64);
        }
    }

    /// There was nothing of a name when that was asked for.
    pub(in crate::fs) fn take_absence(&mut self, parent: Ino, name: &FileName, asked_at: SystemTime) {
        let is_gone = self.entry(parent, name).is_some_and(|entry| !self.is_ours(entry) && entry.seen_at <= asked_at);
        if let Some(directory) = self.directory_mut(parent).filter(|_| is_gone) {
            let vanished = directory.children.remove(name);
            self.lose_name(vanished, asked_at);
        }
    }

    /// Attributes of a name in the directory are known by now.
    pub(in crate::fs) fn note_attributes(&mut self, parent: Ino) {
        if let Some(directory) = self.directory_mut(parent) {
            directory.weight += ATTRIBUTES_WEIGHT - 1;
        }
        self.added += 1;
    }

    /// Keeps what a flat listing from `first` on has said of directories in `parent`. Returns those whose markers are to be
    /// asked for.
    pub(in crate::fs) fn stash(
        &mut self,
        parent: Ino,
        first: &FileName,
        stashed: BTreeMap<FileName, Stashed>,
        asked_at: SystemTime,
    ) -> Vec<FileName> {
        let Some(directory) = self.directory_mut(parent) else { return Vec::new() };
        directory.is_flat_useless |= !stashed.contains_key(first);
        let kept: usize = directory.stash.values().map(|(_, stashed)| stashed.names.len()).sum();
        if kept > STASH_NAMES_MAX {
            directory.stash.clear();
        }
        let mut with_markers = Vec::new();
        for (name, stashed) in stashed {
            // This mount may have put another directory there since.
            let is_newer = |at: &SystemTime| *at >= asked_at;
            if directory.removed.get(&name).is_some_and(is_newer)
                || directory.children.get(&name).is_some_and(|entry| entry.seen_at > asked_at)
            {
                continue;
            }
            if let Some(Entry { what: what @ What::Directory(None), .. }) = directory.children.get_mut(&name) {
                match stashed.has_marker {
                    true => with_markers.push(name.clone()),
                    false => *what = What::Directory(Some(Marker::absent())),
                }
            }
            directory.stash.insert(name, (asked_at, stashed));
        }
        with_markers
    }

    /// Forgets what a flat listing has said of the directory `name` and of `parent`: this mount changes `name`.
    pub(super) fn forget_stashed(&mut self, parent: Ino, name: &FileName) {
        if let Some(directory) = self.directory_mut(parent) {
            directory.stash.remove(name);
        }
        self.forget_stashed_of(parent);
    }

    /// The same of the directory `ino` alone.
    fn forget_stashed_of(&mut self, ino: Ino) {
        if let Some((parent, name)) = self.place(ino)
            && let Some(parent) = self.directory_mut(parent)
        {
            parent.stash.remove(&name);
        }
    }

    /// Takes in what a flat listing has said of a directory, if it has and that is fresh.
    pub(in crate::fs) fn take_stashed(&mut self, ino: Ino, now: SystemTime, ttl: Duration) -> bool {
        let Some((parent, name)) = self.place(ino) else { return false };
        let stash = self.directory_mut(parent).map(|directory| &mut directory.stash);
        let Some((asked_at, stashed)) = stash.and_then(|stash| stash.remove(&name)) else { return false };
        if !is_fresh(asked_at, now, ttl) {
            return false;
        }
        let Stashed { names, has_marker, .. } = stashed;
        if let Some(directory) = self.directory_mut(ino) {
            directory.has_marker |= has_marker;
            directory.is_large = false;
        }
        self.take_listing(ino, Listing { names, asked_at, covers: Covers::ALL, ttl });
        if let Some(parent) = self.directory_mut(parent) {
            parent.listed_last = Some(name);
        }
        true
    }

    /// Takes in what the service said of one name when asked at `asked_at`.
    pub(in crate::fs) fn take_listed(
        &mut self,
        parent: Ino,
        name: FileName,
        what: What,
        asked_at: SystemTime,
        ttl: Duration,
    ) {
        let Some(directory) = self.directory(parent) else { return };
        // A listing lags behind by up to `ttl`, as far as this mount is concerned.
        if directory.removed.get(&name).is_some_and(|at| is_fresh(*at, asked_at, ttl) || *at >= asked_at) {
            return;
        }
        let before = directory.children.get(&name).cloned();
        let entry = match before {
            Some(before) if self.is_ours(&before) || before.seen_at > asked_at => return,
            Some(before) if before.what.is_directory() == what.is_directory() => {
                let what = match (what, before.what) {
                    (What::Object(facts), What::Object(known)) => What::Object(facts.updated(known)),
                    (What::Directory(None), What::Directory(known)) => What::Directory(known),
                    (what, _) => what,
                };
                Entry { ino: before.ino, seen_at: asked_at, what }
            }
            _ => Entry { ino: self.new_ino(), seen_at: asked_at, what },
        };
        if let Some(directory) = self.directory_mut(parent) {
            let ino = entry.ino;
            let replaced = directory.children.insert(name, entry).filter(|replaced| replaced.ino != ino);
            self.lose_name(replaced, asked_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::tree::tests::{TTL, at, listing, name, object};
    use crate::fs::tree::{Facts, Known, ROOT};

    #[test]
    fn a_complete_listing_answers_for_every_name_while_it_is_fresh() {
        let mut tree = Tree::new();
        assert_eq!(tree.known(ROOT, &name("a"), at(10), TTL), Known::Unknown);
        tree.take_listing(ROOT, listing([("a", object("1"))], 10, Covers::ALL));
        assert_eq!(tree.known(ROOT, &name("a"), at(14), TTL), Known::Present);
        assert_eq!(tree.known(ROOT, &name("b"), at(14), TTL), Known::Absent);
        assert_eq!(tree.known(ROOT, &name("a"), at(15), TTL), Known::Unknown);
        assert_eq!(tree.known(ROOT, &name("b"), at(15), TTL), Known::Unknown);
        assert_eq!(tree.known(ROOT, &name("a"), at(9), TTL), Known::Unknown, "the clock was set back");
    }

    #[test]
    fn a_page_answers_only_for_what_it_covers() {
        let mut tree = Tree::new();
        tree.take_listing(ROOT, listing([("a", object("1")), ("m", object("1")), ("z", object("1"))], 10, Covers::ALL));
        tree.take_listing(ROOT, listing([("a", object("1"))], 20, Covers { after: None, up_to: Some("m/".into()) }));
        let known = ["a", "m", "z"].map(|text| tree.entry(ROOT, &name(text)).is_some());
        assert_eq!(known, [true, false, true]);
    }

    #[test]
    fn a_listing_does_not_undo_what_this_mount_did_meanwhile() {
        let mut tree = Tree::new();
        tree.take_listing(ROOT, listing([("gone", object("1"))], 10, Covers::ALL));
        tree.unlink(ROOT, &name("gone"), at(12), TTL);
        let ino = tree.new_ino();
        tree.link(ROOT, &name("new"), Entry { ino, seen_at: at(12), what: object("2") }, at(12), TTL);
        tree.take_listing(ROOT, listing([("gone", object("1"))], 11, Covers::ALL));
        assert!(tree.entry(ROOT, &name("gone")).is_none());
        assert!(tree.entry(ROOT, &name("new")).is_some());
        tree.take_listing(ROOT, listing([("gone", object("3"))], 30, Covers::ALL));
        assert!(tree.entry(ROOT, &name("gone")).is_some(), "made again by somebody else");
        assert!(tree.entry(ROOT, &name("new")).is_none());
    }

    #[test]
    fn metadata_are_kept_for_as_long_as_the_version_is_the_same() {
        let mut tree = Tree::new();
        tree.take_listing(ROOT, listing([("a", object("1"))], 10, Covers::ALL));
        let ino = tree.entry(ROOT, &name("a")).unwrap().ino;
        let Some(Entry { what: What::Object(facts), .. }) = tree.entry_mut(ROOT, &name("a")) else { panic!() };
        facts.attributes = Some(Box::default());
        tree.take_listing(ROOT, listing([("a", object("1"))], 20, Covers::ALL));
        let entry = tree.entry(ROOT, &name("a")).unwrap();
        assert!(matches!(&entry.what, What::Object(facts) if facts.attributes.is_some()));
        tree.take_listing(ROOT, listing([("a", object("2"))], 30, Covers::ALL));
        let entry = tree.entry(ROOT, &name("a")).unwrap();
        assert!(matches!(&entry.what, What::Object(facts) if facts.attributes.is_none()));
        assert_eq!(entry.ino, ino);
    }

    /// Attributes make way for names, and old names for those of a directory that this mount works in.
    #[test]
    fn a_directory_that_is_filled_stays_known_however_much_there_is() {
        const FILES: usize = WEIGHT_MAX + EVICT_EVERY;
        let mut tree = Tree::new();
        let make = |tree: &mut Tree, parent, text: &str, what| {
            let ino = tree.new_ino();
            tree.link(parent, &name(text), Entry { ino, seen_at: at(100), what }, at(100), TTL);
            ino
        };
        let [old, new] = ["old", "new"].map(|text| {
            let ino = make(&mut tree, ROOT, text, What::Directory(None));
            tree.remember(ROOT, &name(text));
            ino
        });
        tree.take_listing(old, listing([("a", object("1"))], 90, Covers::ALL));
        tree.mark_made(new, at(100));
        let file = || {
            let What::Object(facts) = object("1") else { panic!() };
            What::Object(Facts { attributes: Some(Box::default()), ..facts })
        };
        for index in 0..FILES {
            let ino = tree.new_ino();
            let entry = Entry { ino, seen_at: at(100 + index as u64 / 10_000), what: file() };
            tree.link(new, &name(&format!("{index:06}")), entry, at(100 + index as u64 / 10_000), TTL);
        }
        let now = at(100 + FILES as u64 / 10_000);
        assert_eq!(tree.known(new, &name("another"), now, TTL), Known::Absent);
        assert_eq!(tree.entry(old, &name("a")).map(|entry| entry.ino), None);
        let with_attributes =
            |(_, entry): &(&FileName, &Entry)| matches!(&entry.what, What::Object(facts) if facts.attributes.is_some());
        let children = &tree.directory(new).unwrap().children;
        let (all, whole) = (children.len(), children.iter().filter(with_attributes).count());
        assert!(all == FILES && whole < WEIGHT_MAX / ATTRIBUTES_WEIGHT + EVICT_EVERY, "{whole} of {all}");
        assert!(tree.lacks_attributes(new, &name("259999")).is_none(), "those of the last seconds are there");
    }

    /// `mv d d.old; mv e d` within the time that a flat listing is believed.
    #[test]
    fn what_a_flat_listing_said_of_a_name_does_not_hold_for_the_next_directory_of_that_name() {
        let mut tree = Tree::new();
        tree.take_listing(ROOT, listing([("d", What::Directory(None)), ("e", What::Directory(None))], 10, Covers::ALL));
        let ino = tree.remember(ROOT, &name("e")).unwrap();
        let stashed = |text| {
            let names = BTreeMap::from([(name(text), object("1"))]);
            BTreeMap::from([(name("d"), Stashed::of(names))])
        };
        tree.stash(ROOT, &name("d"), stashed("old"), at(10));
        tree.unlink(ROOT, &name("d"), at(11), TTL);
        let entry = tree.unlink(ROOT, &name("e"), at(11), TTL).unwrap();
        tree.link(ROOT, &name("d"), Entry { seen_at: at(11), ..entry }, at(11), TTL);
        tree.move_node(ino, ROOT, name("d"));
        assert!(!tree.take_stashed(ino, at(12), TTL));
        tree.stash(ROOT, &name("d"), stashed("late"), at(10));
        assert!(!tree.take_stashed(ino, at(12), TTL), "asked for before the directory moved");
        tree.stash(ROOT, &name("d"), stashed("new"), at(12));
        assert!(tree.take_stashed(ino, at(12), TTL));
    }
}

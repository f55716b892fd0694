//! How much memory what is known of names takes, and what of it is forgotten where that is too much.
//!
//! Attributes are evicted first, those that have been known for longest before others: they can be asked for one by one, and
//! a directory stays complete without them; but an eighth of the budget is theirs, or what is asked for ahead of who goes
//! through many names would be evicted before he comes to it. Then names go, a directory at a time, of those directories first that nobody has
//! used for longest. Names stay that the kernel refers to, that are not in the bucket yet, or that are in a directory that
//! this mount works in or somebody reads.

use std::collections::VecDeque;
use std::time::SystemTime;

use lru::LruCache;

use super::cost::ATTRIBUTES_BYTES;
use super::{Cost, Directory, Entry, EntryKind, FileName, Ino, Inodes, NAME_BYTES};

/// Stale places in the queue of attributes that are worth no sweep.
const STALE_MAX: usize = 1024;

/// The budget of what is known of names.
#[derive(Debug)]
pub(super) struct Budget {
    limit_bytes: usize,
    /// The most entries.
    limit_names: usize,
    /// The sum over all directories.
    pub(super) used: Cost,
    /// Directories, by when they were used.
    directories: LruCache<Ino, ()>,
    /// Names of which attributes are known, in the order in which they came. Also some of which they are not any more.
    attributes: VecDeque<(Ino, FileName)>,
    /// Names are evicted where more than so much is used: where nothing could be evicted the last time, it is not tried
    /// again at once.
    names_above: Cost,
    /// Names that the kernel has forgotten since that was tried, in bytes.
    forgotten: usize,
}

impl Budget {
    /// A directory is not known any more.
    pub(super) fn forget(&mut self, ino: Ino, cost: Cost) {
        self.used -= cost;
        self.directories.pop(&ino);
    }

    pub(super) fn new(limit_bytes: usize) -> Budget {
        Budget {
            limit_bytes,
            limit_names: usize::MAX,
            used: Cost::default(),
            directories: LruCache::unbounded(),
            attributes: VecDeque::new(),
            names_above: Cost { bytes: limit_bytes, names: usize::MAX, with_attributes: 0 },
            forgotten: 0,
        }
    }
}

impl Budget {
    fn limit(&self) -> Cost {
        Cost { bytes: self.limit_bytes, names: self.limit_names, with_attributes: 0 }
    }
}

impl Inodes {
    /// Not more than so many names are kept.
    pub(super) fn set_entries_max(&mut self, names: usize) {
        self.budget.limit_names = names;
        self.budget.names_above = self.budget.limit();
    }

    /// The attributes of a name have become known.
    pub(crate) fn note_attributes(&mut self, parent: Ino, name: &FileName) {
        self.budget.attributes.push_back((parent, name.clone()));
        if self.budget.attributes.len() <= 2 * self.budget.used.with_attributes + STALE_MAX {
            return;
        }
        let mut queue = std::mem::take(&mut self.budget.attributes);
        queue.retain(|(parent, name)| self.entry(*parent, name).is_some_and(|entry| entry.what.attributes().is_some()));
        self.budget.attributes = queue;
    }

    /// A directory is used.
    pub(super) fn note_use(&mut self, ino: Ino) {
        if self.budget.directories.get(&ino).is_none() && self.directory(ino).is_some() {
            self.budget.directories.put(ino, ());
        }
    }

    /// Makes room where too much is known. `used` is the directory that is being used.
    pub(super) fn evict(&mut self, used: Ino, now: SystemTime) {
        self.note_use(used);
        self.make_room(Some(used), now);
    }

    /// The kernel has forgotten an inode, so that its name may go.
    pub(super) fn note_forgotten(&mut self, now: SystemTime) {
        self.budget.forgotten += NAME_BYTES;
        let Budget { used, limit_bytes, limit_names, forgotten, .. } = &self.budget;
        let has_forgotten_many = *forgotten > (*limit_bytes).min(limit_names.saturating_mul(NAME_BYTES)) / 8;
        if has_forgotten_many && (used.bytes > *limit_bytes || used.names > *limit_names) {
            self.budget.names_above = self.budget.limit();
            self.make_room(None, now);
        }
    }

    fn make_room(&mut self, used: Option<Ino>, now: SystemTime) {
        let kept = self.budget.limit_bytes / 8 / ATTRIBUTES_BYTES;
        while self.budget.used.bytes > self.budget.limit_bytes
            && self.budget.used.with_attributes > kept
            && let Some((parent, name)) = self.budget.attributes.pop_front()
        {
            self.change_directory(parent, |directory| {
                directory.change(&name, |entry| {
                    if let EntryKind::Object(stat) = &mut entry.what {
                        stat.attributes = None;
                    }
                })
            });
        }
        let (used_now, limit) = (self.budget.used, self.budget.limit());
        let above = self.budget.names_above;
        self.budget.names_above = Cost {
            bytes: above.bytes.min(used_now.bytes + limit.bytes / 8).max(limit.bytes),
            names: above.names.min(used_now.names.saturating_add(limit.names / 8)).max(limit.names),
            with_attributes: 0,
        };
        if !used_now.exceeds(self.budget.names_above) {
            return;
        }
        // With room to spare, so that not every name that comes makes another one go.
        let enough = limit.but_an_eighth();
        let least_recent: Vec<Ino> = self.budget.directories.iter().rev().map(|(ino, ())| *ino).collect();
        for ino in least_recent {
            let can_go =
                |directory: &Directory| !directory.is_own(now) && (Some(ino) == used || directory.readers == 0);
            if self.budget.used.exceeds(enough) && self.directory(ino).is_some_and(can_go) {
                self.evict_names(ino, now, Some(ino) == used);
            }
        }
        self.budget.forgotten = 0;
        let used = self.budget.used;
        self.budget.names_above = Cost {
            bytes: limit.bytes.max(used.bytes + limit.bytes / 8),
            names: limit.names.max(used.names.saturating_add(limit.names / 8)),
            with_attributes: 0,
        };
    }

    /// Forgets the entries of a directory that nobody refers to, but for those just listed if they `are_kept`.
    fn evict_names(&mut self, ino: Ino, now: SystemTime, are_kept: bool) {
        let Some(directory) = self.directory(ino) else { return };
        let is_needed = |entry: &Entry| {
            are_kept && entry.seen_at >= now || self.nodes.contains_key(&entry.ino) || entry.what == EntryKind::New
        };
        let needed: std::collections::HashSet<Ino> =
            directory.children().values().filter(|entry| is_needed(entry)).map(|entry| entry.ino).collect();
        self.change_directory(ino, |directory| {
            directory.retain(|entry| needed.contains(&entry.ino));
            directory.clear_stash();
            directory.forget_covered();
        });
        if needed.is_empty() {
            self.budget.directories.pop(&ino);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::names::answers;
    use crate::fs::names::covers::Covers;
    use crate::fs::names::entry::{Known, ObjectStat};
    use crate::fs::names::ino::ROOT;
    use crate::fs::names::tree::Tree;
    use crate::fs::names::tree::tests::{TTL, at, listing, name, object};

    const LIMIT: usize = 1 << 20;

    fn with_attributes() -> EntryKind {
        let EntryKind::Object(stat) = object("1") else { panic!() };
        EntryKind::Object(ObjectStat { attributes: Some(Box::default()), ..stat })
    }

    fn make(tree: &mut Tree, parent: Ino, text: &str, what: EntryKind, seconds: u64) -> Ino {
        let ino = tree.new_ino();
        tree.link(parent, &name(text), Entry { ino, seen_at: at(seconds), what }, at(seconds), TTL);
        ino
    }

    /// Attributes make way for names, and old names for those of a directory that this mount works in.
    #[test]
    fn a_directory_that_is_filled_stays_known_however_much_there_is() {
        const FILES: usize = 2 * LIMIT / NAME_BYTES;
        let mut tree = Tree::new(LIMIT);
        let [old, new] = ["old", "new"].map(|text| {
            let ino = make(&mut tree, ROOT, text, EntryKind::Directory(None), 100);
            tree.remember(ROOT, &name(text));
            ino
        });
        answers::take_listing(&mut tree, old, listing([("a", object("1"))], 90, Covers::ALL));
        tree.mark_made(new, at(100));
        for index in 0..FILES {
            make(&mut tree, new, &format!("{index:06}"), with_attributes(), 100 + index as u64 / 1000);
            assert!(
                tree.inodes.budget.used.bytes <= LIMIT || tree.inodes.lacks_attributes(new, &name("000000")).is_some()
            );
        }
        tree.inodes.expect_consistent();
        let now = at(100 + FILES as u64 / 1000);
        assert_eq!(tree.known(new, &name("another"), now, TTL), Known::Absent);
        assert_eq!(tree.entry(old, &name("a")).map(|entry| entry.ino), None);
        assert_eq!(tree.directory(new).unwrap().children().len(), FILES);
        let kept = LIMIT / 8 / ATTRIBUTES_BYTES;
        assert_eq!(tree.inodes.budget.used.with_attributes, kept, "those that came last");
        assert!(tree.inodes.lacks_attributes(new, &name(&format!("{:06}", FILES - 1))).is_none());
        assert!(tree.inodes.budget.attributes.len() < 2 * kept + STALE_MAX + 10);
    }

    #[test]
    fn the_attributes_that_were_known_first_go_first() {
        const FILES: usize = LIMIT / NAME_BYTES / 2;
        let mut tree = Tree::new(LIMIT);
        let ino = make(&mut tree, ROOT, "d", EntryKind::Directory(None), 100);
        tree.remember(ROOT, &name("d"));
        tree.mark_made(ino, at(100));
        for index in 0..FILES {
            make(&mut tree, ino, &format!("{index:06}"), with_attributes(), 100);
        }
        let known = |index: usize| tree.inodes.lacks_attributes(ino, &name(&format!("{index:06}"))).is_none();
        let first = (0..FILES).find(|index| known(*index)).unwrap();
        assert!(first > 0 && (first..FILES).all(known), "{first} of {FILES}");
        assert!(tree.inodes.budget.used.bytes <= LIMIT && tree.inodes.budget.used.bytes > LIMIT - 2 * ATTRIBUTES_BYTES);
    }

    /// Whoever works in a small directory does not lose it to a large one that somebody has read.
    #[test]
    fn the_names_of_the_directory_that_nobody_has_used_for_longest_go_first() {
        let mut tree = Tree::new(LIMIT);
        let directories = ["a", "b", "c"].map(|text| {
            let ino = make(&mut tree, ROOT, text, EntryKind::Directory(None), 100);
            tree.remember(ROOT, &name(text));
            ino
        });
        let names: Vec<String> = (0..LIMIT / NAME_BYTES * 2 / 5).map(|index| format!("{index:05}")).collect();
        let list = |tree: &mut Tree, ino, seconds| {
            let names = names.iter().map(|text| (text.as_str(), object("1")));
            answers::take_listing(tree, ino, listing(names, seconds, Covers::ALL));
            tree.inodes.expect_consistent();
        };
        list(&mut tree, directories[0], 200);
        list(&mut tree, directories[1], 200);
        tree.inodes.note_use(directories[0]);
        list(&mut tree, directories[2], 200);
        let known = directories.map(|ino| tree.known(ino, &name("00000"), at(201), TTL));
        assert_eq!(known, [Known::Present, Known::Unknown, Known::Present]);
    }

    #[test]
    fn what_the_kernel_refers_to_stays_until_it_forgets_it() {
        let mut tree = Tree::new(LIMIT);
        let ino = make(&mut tree, ROOT, "d", EntryKind::Directory(None), 100);
        tree.remember(ROOT, &name("d"));
        let names: Vec<String> = (0..2 * LIMIT / NAME_BYTES).map(|index| format!("{index:05}")).collect();
        answers::take_listing(
            &mut tree,
            ino,
            listing(names.iter().map(|text| (text.as_str(), object("1"))), 200, Covers::ALL),
        );
        let told: Vec<Ino> = names.iter().filter_map(|text| tree.remember(ino, &name(text))).collect();
        tree.inodes.evict(ROOT, at(300));
        assert!(told.len() == names.len() && tree.inodes.budget.used.bytes > 2 * LIMIT);
        told.into_iter().for_each(|file| tree.forget(file, 1, at(300)));
        tree.inodes.expect_consistent();
        assert!(tree.inodes.nodes.capacity() < names.len(), "the table of inodes has become smaller, too");
        assert!(tree.inodes.budget.used.bytes <= LIMIT, "{}", tree.inodes.budget.used.bytes);
    }
}

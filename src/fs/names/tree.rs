//! What is known of names and inodes. Pure: asks nobody and waits for nothing.
//!
//! A directory keeps what is known of its entries; an inode exists for as long as the kernel or a handle refers to it.
//! The entry says what is in the bucket, the inode what is open.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{
    Body, CopyOf, Directory, Entry, EntryKind, FileName, Ino, Inodes, Kind, Known, Marker, Node, ObjectStat, OpenState,
    ROOT, Times, Unpublished, is_fresh, of_file,
};
use crate::object::ETag;

/// The most the kernel believes by itself, so that changes that this mount learns of show soon.
const KERNEL_TTL: Duration = Duration::from_secs(1);

/// All names.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) inodes: Inodes,
    /// How long it is believed that there is nothing of a name, if not as long as that something is.
    pub(super) negative_ttl: Option<Duration>,
    /// The most the kernel believes by itself.
    pub(super) kernel_ttl: Duration,
    /// What carries the attributes of the top, once somebody has asked.
    pub(super) top: Option<Box<Marker>>,
    /// Files of which something is open, or remembered.
    open: BTreeSet<Ino>,
    /// How often any directory was found to be changed by other mounts.
    pub(super) invalidations: u64,
}

/// Whether a path is `top`, which is empty for all there is, or below it. Those of directories may end in a slash.
pub(crate) fn is_at_or_below(path: &str, top: &str) -> bool {
    let rest = path.trim_end_matches('/').strip_prefix(top.trim_end_matches('/'));
    top.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The path of an inode below the top; `None` where it has no name any more.
pub(crate) fn path_of(tree: &Tree, ino: Ino) -> Option<String> {
    if ino == ROOT {
        return Some(String::new());
    }
    let (parent, name) = tree.place(ino)?;
    Some(format!("{}{name}", tree.directory_path(parent)?))
}

/// From now on the name of a file is that of another inode, which is the same version. Whoever has the old one open goes on with
/// that, as if it had been replaced.
pub(crate) fn renew(tree: &mut Tree, ino: Ino, now: SystemTime) {
    let Some((parent, name)) = tree.place(ino) else { return };
    let Some(entry) = tree.entry_of(ino).cloned() else { return };
    let entry = Entry { ino: tree.new_ino(), ..entry };
    let replaced = tree.inodes.insert_entry(parent, name, entry);
    tree.lose_name(replaced, now);
}

/// Something has come to lie at a path, of which no listing of a directory above it has told.
pub(crate) fn forget_listings_to(tree: &mut Tree, path: &str) {
    let mut at = ROOT;
    for name in path.split('/') {
        let Some(name) = FileName::new(name) else { return };
        tree.inodes.forget_stashed(at, &name);
        let Some(directory) = tree.directory_mut(at) else { return };
        directory.forget_covered();
        match tree.entry(at, &name) {
            Some(entry) => at = entry.ino,
            None => return,
        }
    }
}

impl Tree {
    /// Names of which at most `limit_bytes` are known, and what nothing can be forgotten of.
    pub(super) fn new(limit_bytes: usize) -> Tree {
        let mut tree = Tree {
            inodes: Inodes::new(limit_bytes),
            negative_ttl: None,
            kernel_ttl: KERNEL_TTL,
            top: None,
            open: BTreeSet::new(),
            invalidations: 0,
        };
        if let Some(root) = tree.inodes.directory_mut(ROOT) {
            // The root needs no marker.
            root.marker.is_there = true;
        }
        tree
    }

    pub(crate) fn new_ino(&mut self) -> Ino {
        self.inodes.new_ino()
    }

    pub(crate) fn node(&self, ino: Ino) -> Option<&Node> {
        self.inodes.nodes.get(&ino).map(Box::as_ref)
    }

    pub(crate) fn directory(&self, ino: Ino) -> Option<&Directory> {
        self.inodes.directory(ino)
    }

    pub(crate) fn directory_mut(&mut self, ino: Ino) -> Option<&mut Directory> {
        self.inodes.directory_mut(ino)
    }

    /// What is open of a file, if there is anything to be remembered of it.
    pub(crate) fn open_state(&self, ino: Ino) -> Option<&Arc<dyn OpenState>> {
        self.inodes.open_state(ino)
    }

    /// The same, made where there is nothing yet. `None` if the inode is no file, or gone.
    pub(crate) fn open_state_or(
        &mut self,
        ino: Ino,
        new: impl FnOnce() -> Arc<dyn OpenState>,
    ) -> Option<&Arc<dyn OpenState>> {
        match &mut self.inodes.nodes.get_mut(&ino)?.body {
            Body::File(state) => {
                self.open.insert(ino);
                Some(state.get_or_insert_with(new))
            }
            Body::Directory(_) => None,
        }
    }

    /// Files of which something is open, or remembered.
    pub(crate) fn open_files(&self) -> impl Iterator<Item = Ino> {
        self.open.iter().copied()
    }

    /// Whether an inode is no directory.
    pub(crate) fn is_file(&self, ino: Ino) -> bool {
        self.node(ino).is_some_and(|node| matches!(node.body, Body::File(_)))
    }

    pub(crate) fn entry(&self, parent: Ino, name: &FileName) -> Option<&Entry> {
        self.inodes.entry(parent, name)
    }

    /// The entry of an inode; `None` for the root and for what has lost its name.
    pub(crate) fn entry_of(&self, ino: Ino) -> Option<&Entry> {
        self.inodes.entry_of(ino)
    }

    /// Changes the entry of an inode, if it has one.
    pub(crate) fn change_entry_of<T>(&mut self, ino: Ino, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.entry_of(ino)?;
        let (parent, name) = self.place(ino)?;
        self.inodes.change_entry(parent, &name, change)
    }

    /// Where an inode is.
    pub(crate) fn place(&self, ino: Ino) -> Option<(Ino, FileName)> {
        self.inodes.place(ino)
    }

    /// What is not in the bucket yet of a file.
    pub(super) fn unpublished(&self, ino: Ino) -> Option<Unpublished> {
        self.open_state(ino)?.unpublished()
    }

    /// What an entry is, as far as is known.
    pub(crate) fn kind_of(&self, entry: &Entry) -> Kind {
        let unpublished = self.unpublished(entry.ino);
        unpublished.map_or_else(|| entry.what.kind(), |file| Kind::of_object(Some(&file.attributes), file.size))
    }

    /// Whether this mount knows better than any listing: the file is new, or is being written.
    pub(super) fn is_ours(&self, entry: &Entry) -> bool {
        entry.what == EntryKind::New || self.open_state(entry.ino).is_some_and(|opened| opened.is_unpublished())
    }

    /// What an inode has of times in memory.
    pub(crate) fn times_mut(&mut self, ino: Ino) -> Option<&mut Times> {
        self.inodes.nodes.get_mut(&ino).map(|node| &mut **node.times.get_or_insert_default())
    }

    /// The inode of a name, which the kernel is told of once more.
    pub(crate) fn remember(&mut self, parent: Ino, name: &FileName) -> Option<Ino> {
        let entry = self.entry(parent, name)?;
        let (ino, is_directory) = (entry.ino, entry.what.is_directory());
        let is_new = self.node(ino).is_none();
        let node = self.inodes.nodes.entry(ino).or_insert_with(|| match is_directory {
            true => Box::new(Node::directory(parent, Some(name.clone()))),
            false => Box::new(Node::file(parent, name.clone())),
        });
        node.lookups += 1;
        if is_new {
            self.inodes.count_in(parent, true);
        }
        Some(ino)
    }

    /// Notes that this mount has made the directory `ino`, so that all its entries are known.
    pub(crate) fn mark_made(&mut self, ino: Ino, now: SystemTime) {
        self.inodes.change_directory(ino, |directory| *directory = Directory::new(Some(now)));
    }

    /// The kernel forgot an inode `lookups` times.
    pub(super) fn forget(&mut self, ino: Ino, lookups: u64, now: SystemTime) {
        if let Some(node) = self.inodes.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(lookups);
        }
        self.drop_unused(ino);
        self.inodes.note_forgotten(now);
    }

    /// Drops an inode that nobody refers to any more, and the directories that only it kept.
    pub(crate) fn drop_unused(&mut self, ino: Ino) {
        if let Some(Body::File(state)) = self.inodes.nodes.get_mut(&ino).map(|node| &mut node.body)
            && state.take_if(|state| state.is_idle()).is_some()
        {
            self.open.remove(&ino);
        }
        let mut at = ino;
        while at != ROOT && self.is_unused(at) {
            if let Some(modified_at) = self.directory(at).and_then(|directory| directory.modified_at) {
                // It goes on from there when somebody comes again.
                self.change_marker(at, |marker| marker.attributes.set_mtime(modified_at));
            }
            let Some(node) = self.inodes.remove(at) else { return };
            self.open.remove(&at);
            at = node.parent;
        }
    }

    fn is_unused(&self, ino: Ino) -> bool {
        // A directory stays for as long as something in it is referred to, or new.
        let Some(node) = self.node(ino).filter(|node| node.lookups == 0 && node.named_here == 0) else { return false };
        match &node.body {
            Body::File(opened) => opened.as_ref().is_none_or(|opened| !opened.is_in_use()),
            Body::Directory(directory) => !directory.marker.is_unsaved && !directory.holds_new(),
        }
    }

    /// Directories with attributes that their markers do not have yet.
    pub(crate) fn unsaved_directories(&self) -> Vec<Ino> {
        let is_unsaved = |node: &Node| matches!(&node.body, Body::Directory(directory) if directory.marker.is_unsaved);
        self.inodes.nodes.iter().filter(|(_, node)| is_unsaved(node)).map(|(ino, _)| *ino).collect()
    }

    /// The object of a file below `directory`, at the relative path `rest`, is now a copy of it, of which no flat listing has
    /// told. Returns the file's inode.
    pub(crate) fn take_copy(&mut self, directory: Ino, rest: &str, copy: &CopyOf, now: SystemTime) -> Option<Ino> {
        let (mut at, mut names) = (directory, rest.split('/').peekable());
        while let Some(name) = names.next().and_then(FileName::new) {
            let is_last = names.peek().is_none();
            self.inodes.change_directory(at, |directory| directory.unstash(&name));
            at = self.inodes.change_entry(at, &name, |entry| {
                if let (true, EntryKind::Object(stat)) = (is_last, &mut entry.what) {
                    stat.take_copy(copy, now);
                }
                entry.ino
            })?;
        }
        Some(at)
    }

    /// Whether an inode is at a directory, or below it.
    pub(crate) fn is_at_or_below(&self, ino: Ino, top: Ino) -> bool {
        ino == top || self.ancestors(ino).any(|above| above == top)
    }

    /// Whether an inode is below a directory, by names that all of them have still.
    pub(crate) fn is_linked_below(&self, ino: Ino, top: Ino) -> bool {
        let mut at = ino;
        while at != ROOT && self.entry_of(at).is_some() {
            let Some((parent, _)) = self.place(at) else { return false };
            at = parent;
            if at == top {
                return true;
            }
        }
        false
    }

    /// The version that a file has in the bucket, as far as is known.
    pub(crate) fn version_of(&self, ino: Ino) -> Option<ETag> {
        match &self.entry_of(ino)?.what {
            EntryKind::Object(stat) => Some(stat.version.etag.clone()),
            EntryKind::Directory(_) | EntryKind::New => None,
        }
    }

    /// The directories that an inode is in, from its own up to the root.
    pub(crate) fn ancestors(&self, ino: Ino) -> impl Iterator<Item = Ino> {
        let above = |ino: &Ino| self.node(*ino).filter(|_| *ino != ROOT).map(|node| node.parent);
        std::iter::successors(above(&ino), above)
    }

    /// The path of a directory below the mount, empty or ending in `/`; `None` if it has lost its name.
    pub(crate) fn directory_path(&self, ino: Ino) -> Option<String> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != ROOT {
            self.entry_of(at)?;
            let node = self.node(at)?;
            names.push(node.name.as_ref()?.as_str());
            at = node.parent;
        }
        Some(names.iter().rev().flat_map(|name| [*name, "/"]).collect())
    }

    /// What is known about a name at `now`.
    pub(crate) fn known(&self, parent: Ino, name: &FileName, now: SystemTime, ttl: Duration) -> Known {
        let Some(directory) = self.directory(parent) else { return Known::Unknown };
        match directory.children().get(name) {
            Some(entry) if self.is_ours(entry) || is_fresh(entry.seen_at, now, ttl) => Known::Present,
            Some(_) if directory.covers(name, now, ttl) => Known::Present,
            None if directory.covers(name, now, self.negative_ttl.unwrap_or(ttl)) => Known::Absent,
            _ => Known::Unknown,
        }
    }

    /// Puts a name into a directory, in place of whatever had it.
    pub(crate) fn link(&mut self, parent: Ino, name: &FileName, entry: Entry, now: SystemTime, ttl: Duration) {
        self.inodes.forget_stashed(parent, name);
        let is_in_bucket = entry.what != EntryKind::New;
        if let Some(directory) = self.directory_mut(parent) {
            directory.removed.remove(name);
            directory.changes += 1;
            directory.note_entry(now, ttl);
            let ino = entry.ino;
            let replaced = self.inodes.insert_entry(parent, name.clone(), entry).filter(|replaced| replaced.ino != ino);
            self.lose_name(replaced, now);
            self.inodes.evict(parent, now);
        }
        if let Some(times) = self.times_mut(parent) {
            times.note_change(now);
        }
        if is_in_bucket {
            self.touch_upwards(parent, now, ttl);
        }
    }

    /// Something has no name any more, which whoever has it open goes on with.
    pub(crate) fn lose_name(&mut self, entry: Option<Entry>, now: SystemTime) {
        if let Some(entry) = entry
            && let Some(node) = self.inodes.nodes.get_mut(&entry.ino)
        {
            node.times.get_or_insert_default().note_change(now);
            let (parent, had_name) = (node.parent, node.removed.replace(Box::new(entry)).is_none());
            if had_name {
                self.inodes.count_in(parent, false);
            }
        }
    }

    /// Whether an inode has lost its name.
    pub(crate) fn is_removed(&self, ino: Ino) -> bool {
        self.node(ino).is_some_and(|node| node.removed.is_some())
    }

    /// Takes a name out of a directory.
    pub(crate) fn unlink(&mut self, parent: Ino, name: &FileName, now: SystemTime, ttl: Duration) -> Option<Entry> {
        self.inodes.forget_stashed(parent, name);
        let directory = self.directory_mut(parent)?;
        directory.note_removal(name, now, ttl);
        directory.changes += 1;
        directory.visits.emptying.note_removal(name);
        directory.note_entry(now, ttl);
        let entry = self.inodes.remove_entry(parent, name);
        self.lose_name(entry.clone(), now);
        if let Some(times) = self.times_mut(parent) {
            times.note_change(now);
        }
        self.touch_upwards(parent, now, ttl);
        entry
    }

    /// The content of what looked like a link is no path: from now on it is a file, and another inode, because the kernel
    /// takes one that changes its type for broken.
    pub(crate) fn take_for_file(&mut self, ino: Ino) {
        let number = self.new_ino();
        self.change_entry_of(ino, |entry| {
            if let EntryKind::Object(ObjectStat { attributes: Some(attributes), kind, is_settled, .. }) =
                &mut entry.what
            {
                *is_settled = false;
                **attributes = of_file(std::mem::take(&mut **attributes));
                *kind = Some(Kind::File);
                entry.ino = number;
            }
        });
    }

    /// What the marker of a directory says, as far as that is known.
    pub(crate) fn marker(&self, ino: Ino) -> Option<&Marker> {
        match self.entry_of(ino).map(|entry| &entry.what) {
            Some(EntryKind::Directory(marker)) => marker.as_deref(),
            None if ino == ROOT => self.top.as_deref(),
            _ => None,
        }
    }

    /// Changes what is known of the marker of a directory.
    pub(crate) fn change_marker<T>(&mut self, ino: Ino, change: impl FnOnce(&mut Marker) -> T) -> Option<T> {
        if ino == ROOT {
            return self.top.as_deref_mut().map(change);
        }
        self.change_entry_of(ino, |entry| match &mut entry.what {
            EntryKind::Directory(marker) => marker.as_deref_mut().map(change),
            _ => None,
        })?
    }

    /// Takes note of what carries the attributes of the top, unless that is known.
    pub(crate) fn learn_top(&mut self, marker: Box<Marker>) {
        self.top.get_or_insert(marker);
    }

    /// When a directory last changed: by this mount, as its marker tells, or when the newest thing in it did.
    pub(crate) fn directory_mtime(&self, ino: Ino, marker: Option<&Marker>) -> SystemTime {
        let directory = self.directory(ino);
        let told = || {
            let newest = directory.and_then(|directory| directory.newest_at);
            let modified = marker.map(|marker| marker.last_modified).max(newest).unwrap_or(SystemTime::UNIX_EPOCH);
            marker.and_then(|marker| marker.attributes.mtime()).unwrap_or(modified)
        };
        directory.and_then(|directory| directory.modified_at).unwrap_or_else(told)
    }

    /// Moves an inode to another name. The entry is moved by [`Tree::unlink`] and [`Tree::link`].
    pub(crate) fn move_node(&mut self, ino: Ino, parent: Ino, name: FileName) {
        if let Some(node) = self.inodes.nodes.get_mut(&ino) {
            let (before, had_name) = (node.parent, node.removed.is_none());
            (node.parent, node.name, node.removed) = (parent, Some(name), None);
            if had_name {
                self.inodes.count_in(before, false);
            }
            self.inodes.count_in(parent, true);
        }
    }

    /// What is known of an inode's name, and of the directory that it is in, may be wrong: the next who wants to know asks.
    pub(crate) fn invalidate(&mut self, ino: Ino) {
        let Some((parent, name)) = self.place(ino) else { return };
        self.inodes.forget_stashed(parent, &name);
        self.change_entry_of(ino, |entry| entry.seen_at = SystemTime::UNIX_EPOCH);
        if let Some(directory) = self.directory_mut(parent) {
            directory.forget_covered();
        }
    }

    /// Nobody knows what the marker of a directory says.
    pub(crate) fn invalidate_marker(&mut self, ino: Ino) {
        let is_unsaved = self.directory(ino).is_some_and(|directory| directory.marker.is_unsaved);
        if ino == ROOT && !is_unsaved {
            self.top = None;
        } else if !is_unsaved {
            self.change_entry_of(ino, |entry| entry.what = EntryKind::Directory(None));
        }
        self.invalidate(ino);
    }

    /// The marker of a directory is there since `now`.
    pub(crate) fn note_marker(&mut self, ino: Ino, now: SystemTime) {
        self.change_marker(ino, |marker| {
            if !marker.is_there() {
                marker.last_modified = now;
            }
        });
        if let Some(directory) = self.directory_mut(ino) {
            directory.marker.is_there = true;
        }
    }

    /// Something in the bucket at or below `ino` is another by this mount: its directories, all the way up, are known to be
    /// there, and what flat listings have said of them is what there was before.
    pub(crate) fn touch_upwards(&mut self, ino: Ino, now: SystemTime, ttl: Duration) {
        let mut at = ino;
        while at != ROOT {
            if self.change_entry_of(at, |entry| entry.seen_at = now).is_none() {
                return;
            }
            let Some((parent, name)) = self.place(at) else { return };
            self.inodes.change_directory(parent, |directory| {
                directory.unstash(&name);
                directory.renew(now, ttl);
            });
            at = parent;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::fs::names::answers::{self, Listing};
    use crate::fs::names::covers::Covers;
    use crate::object::Version;
    use std::time::UNIX_EPOCH;

    pub(in crate::fs::names) const TTL: Duration = Duration::from_secs(5);
    pub(in crate::fs::names) const LIMIT: usize = 64 << 20;

    pub(in crate::fs::names) fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    pub(in crate::fs::names) fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    pub(in crate::fs::names) fn object(etag: &str) -> EntryKind {
        EntryKind::Object(ObjectStat::listed(Version { etag: ETag::new(etag), size: 3, checksum: None }, at(1)))
    }

    pub(in crate::fs::names) fn listing<'a>(
        names: impl IntoIterator<Item = (&'a str, EntryKind)>,
        seconds: u64,
        covers: Covers,
    ) -> Listing {
        let names = names.into_iter().map(|(text, what)| (name(text), what)).collect();
        Listing { names, asked_at: at(seconds), covers, ttl: TTL }
    }

    #[test]
    fn a_directory_of_this_mount_stays_known_while_it_is_filled() {
        let mut tree = Tree::new(LIMIT);
        let ino = tree.new_ino();
        tree.link(ROOT, &name("d"), Entry { ino, seen_at: at(100), what: EntryKind::Directory(None) }, at(100), TTL);
        tree.remember(ROOT, &name("d"));
        tree.mark_made(ino, at(100));
        for second in 100..=170 {
            let expected = if second < 160 + TTL.as_secs() - 1 { Known::Absent } else { Known::Unknown };
            assert_eq!(tree.known(ino, &name("x"), at(second), TTL), expected, "second {second}");
            let file = tree.new_ino();
            let entry = Entry { ino: file, seen_at: at(second), what: object("1") };
            tree.link(ino, &name(&format!("f{second}")), entry, at(second), TTL);
        }
    }

    #[test]
    fn an_inode_lives_until_it_is_forgotten_as_often_as_it_was_told_of() {
        let mut tree = Tree::new(LIMIT);
        answers::take_listing(&mut tree, ROOT, listing([("a", object("1"))], 10, Covers::ALL));
        let ino = tree.remember(ROOT, &name("a")).unwrap();
        assert_eq!(tree.remember(ROOT, &name("a")), Some(ino));
        tree.forget(ino, 1, at(11));
        assert!(tree.node(ino).is_some());
        tree.forget(ino, 1, at(11));
        assert!(tree.node(ino).is_none());
        assert_eq!(tree.remember(ROOT, &name("a")), Some(ino), "the number stays with the entry");
    }

    /// As the kernel does when a file system is unmounted. A look at all the names for each of them would take minutes.
    #[test]
    fn a_directory_that_is_forgotten_before_its_files_goes_with_the_last_of_them() {
        const FILES: usize = 50_000;
        let began = std::time::Instant::now();
        let mut tree = Tree::new(LIMIT);
        let ino = tree.new_ino();
        tree.link(ROOT, &name("d"), Entry { ino, seen_at: at(10), what: EntryKind::Directory(None) }, at(10), TTL);
        tree.remember(ROOT, &name("d"));
        let names: Vec<String> = (0..FILES).map(|index| format!("{index:05}")).collect();
        let listed = names.iter().map(|text| (text.as_str(), object("1")));
        answers::take_listing(&mut tree, ino, listing(listed, 10, Covers::ALL));
        let files: Vec<Ino> = names.iter().filter_map(|text| tree.remember(ino, &name(text))).collect();
        assert_eq!(files.len(), FILES);
        tree.forget(ino, 1, at(11));
        for file in files {
            assert!(tree.node(ino).is_some());
            tree.forget(file, 1, at(11));
        }
        assert!(tree.node(ino).is_none());
        tree.inodes.expect_consistent();
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}

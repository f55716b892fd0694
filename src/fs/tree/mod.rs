//! What is known of names and inodes. Pure: asks nobody and waits for nothing.
//!
//! A directory keeps what is known of its entries; an inode exists for as long as the kernel or a handle refers to it.
//! The entry says what is in the bucket, the inode what is open.

mod directory;
mod entry;
mod evict;
mod told;
mod walk;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

pub(super) use directory::Directory;
use directory::is_fresh;
pub(super) use entry::{Entry, Facts, Known, Marker, What};
use evict::Budget;
pub(super) use told::{Asked, Covers, Listing};
pub(super) use walk::AHEAD_MAX;

use super::attributes::{Attr, Kind, MODE_SET_GROUP, MODE_SET_USER, device_of, of_file, permissions_and_owner};
use super::files::Writing;
use super::handles::HandleId;
use super::hard_links::Linked;
use super::moving_directories::Copy;
use super::name::FileName;
use super::options::{AttributeSource, FsOptions};
use super::times::{Shown, Times};
use crate::object::{ETag, ObjectAttributes, ObjectKey};
use crate::read::Object;

/// The number of an inode; stable for as long as anybody refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

/// The top directory of the mount.
pub const ROOT: Ino = Ino(1);

/// Where files live that were removed while they are open, below the top of the mount. Nobody sees it there.
pub(super) const HIDDEN_DIRECTORY: &str = ".cosmount-unlinked";

/// The most the kernel believes by itself, so that changes that this mount learns of show soon.
const KERNEL_TTL: Duration = Duration::from_secs(1);

/// All inodes.
#[derive(Debug)]
pub(super) struct Tree {
    /// INVARIANT: the parent of every linked inode is in here and is a directory whose entry of that name has its number.
    nodes: HashMap<Ino, Node>,
    next_ino: u64,
    /// The most the kernel believes by itself.
    kernel_ttl: Duration,
    /// What carries the attributes of the top, once somebody has asked.
    top: Option<Box<Marker>>,
    /// How often any directory was found to be changed by other mounts.
    pub(super) heeds: u64,
    budget: Budget,
}

/// An inode that somebody refers to.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: Ino,
    /// `None` only for the root.
    pub(super) name: Option<FileName>,
    /// How often the kernel was told of it and did not forget it.
    lookups: u64,
    /// What it was when it lost its name, for whoever has it open still.
    removed: Option<Box<Entry>>,
    times: Option<Box<Times>>,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    Directory(Box<Directory>),
    File(File),
}

/// What is open of a file.
#[derive(Debug, Default)]
pub(super) struct File {
    /// The content that is being written.
    pub(super) writing: Option<Arc<Writing>>,
    /// Handles that are open for writing.
    pub(super) writers: usize,
    /// The version that is being read, shared by all who read it.
    pub(super) object: Weak<Object>,
    pub(super) handles: Vec<HandleId>,
    /// The version whose bytes the kernel may have cached.
    pub(super) cached: Option<ETag>,
    /// What it is a copy of that looks like the same file for a moment.
    pub(super) linked: Option<Linked>,
    /// Of a symbolic link: where the version leads.
    pub(super) target: Option<(ETag, Vec<u8>)>,
}

impl File {
    /// Whether somebody changes its content, or has changed it and that is not published.
    pub(super) fn is_being_written(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| !writing.is_only_attributes())
    }

    /// The version `from` is now `etag` under `key`, with the same bytes: whoever reads it goes on with that, and what the
    /// kernel has cached of it is still right. Whoever reads an older one, which somebody else has replaced, does not.
    pub(super) fn object_moved(&mut self, from: &ETag, key: &ObjectKey, etag: &ETag) {
        if let Some(object) = self.object.upgrade().filter(|object| object.version().etag == *from) {
            object.moved(key.clone(), etag.clone());
        }
        if let Some(cached) = self.cached.as_mut().filter(|cached| *cached == from) {
            // A copy of an object that was uploaded in parts has another ETag.
            *cached = etag.clone();
        }
    }

    /// Whether `writing` is the content that is being written.
    pub(super) fn is_written_by(&self, writing: &Arc<Writing>) -> bool {
        self.writing.as_ref().is_some_and(|current| Arc::ptr_eq(current, writing))
    }
}

impl Tree {
    /// Names of which at most `limit_bytes` are known, and what nothing can be forgotten of.
    pub(super) fn new(limit_bytes: usize) -> Tree {
        let mut directory = Directory::new(None);
        // The root needs no marker.
        directory.has_marker = true;
        let root = Node {
            parent: ROOT,
            name: None,
            lookups: 1,
            removed: None,
            times: None,
            body: Body::Directory(Box::new(directory)),
        };
        Tree {
            nodes: HashMap::from([(ROOT, root)]),
            next_ino: ROOT.0 + 1,
            kernel_ttl: KERNEL_TTL,
            top: None,
            heeds: 0,
            budget: Budget::new(limit_bytes),
        }
    }

    pub(super) fn new_ino(&mut self) -> Ino {
        let ino = Ino(self.next_ino);
        self.next_ino += 1;
        ino
    }

    pub(super) fn node(&self, ino: Ino) -> Option<&Node> {
        self.nodes.get(&ino)
    }

    pub(super) fn directory(&self, ino: Ino) -> Option<&Directory> {
        match &self.nodes.get(&ino)?.body {
            Body::Directory(directory) => Some(directory),
            Body::File(_) => None,
        }
    }

    pub(super) fn directory_mut(&mut self, ino: Ino) -> Option<&mut Directory> {
        match &mut self.nodes.get_mut(&ino)?.body {
            Body::Directory(directory) => Some(directory),
            Body::File(_) => None,
        }
    }

    pub(super) fn file(&self, ino: Ino) -> Option<&File> {
        match &self.nodes.get(&ino)?.body {
            Body::File(file) => Some(file),
            Body::Directory(_) => None,
        }
    }

    pub(super) fn file_mut(&mut self, ino: Ino) -> Option<&mut File> {
        match &mut self.nodes.get_mut(&ino)?.body {
            Body::File(file) => Some(file),
            Body::Directory(_) => None,
        }
    }

    pub(super) fn entry(&self, parent: Ino, name: &FileName) -> Option<&Entry> {
        self.directory(parent)?.children().get(name).map(|entry| &**entry)
    }

    /// The entry of an inode; `None` for the root and for what has lost its name.
    pub(super) fn entry_of(&self, ino: Ino) -> Option<&Entry> {
        let node = self.nodes.get(&ino)?;
        self.entry(node.parent, node.name.as_ref()?).filter(|entry| entry.ino == ino)
    }

    /// Changes the entry of an inode, if it has one.
    pub(super) fn change_entry_of<T>(&mut self, ino: Ino, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.entry_of(ino)?;
        let (parent, name) = self.place(ino)?;
        self.change_entry(parent, &name, change)
    }

    /// The version that a file has in the bucket, as far as is known.
    pub(super) fn version_of(&self, ino: Ino) -> Option<ETag> {
        match &self.entry_of(ino)?.what {
            What::Object(facts) => Some(facts.version.etag.clone()),
            What::Directory(_) | What::New => None,
        }
    }

    /// What an entry is, as far as is known.
    pub(super) fn kind_of(&self, entry: &Entry) -> Kind {
        let writing = self.file(entry.ino).and_then(|file| file.writing.as_ref());
        writing.map_or_else(|| entry.what.kind(), |writing| writing.kind())
    }

    /// Where an inode is.
    pub(super) fn place(&self, ino: Ino) -> Option<(Ino, FileName)> {
        let node = self.nodes.get(&ino)?;
        Some((node.parent, node.name.clone()?))
    }

    /// The directories that an inode is in, from its own up to the root.
    pub(super) fn ancestors(&self, ino: Ino) -> impl Iterator<Item = Ino> {
        let above = |ino: &Ino| self.nodes.get(ino).filter(|_| *ino != ROOT).map(|node| node.parent);
        std::iter::successors(above(&ino), above)
    }

    /// The path of a directory below the mount, empty or ending in `/`; `None` if it has lost its name.
    pub(super) fn directory_path(&self, ino: Ino) -> Option<String> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != ROOT {
            self.entry_of(at)?;
            let node = self.nodes.get(&at)?;
            names.push(node.name.as_ref()?.as_str());
            at = node.parent;
        }
        Some(names.iter().rev().flat_map(|name| [*name, "/"]).collect())
    }

    /// What is known about a name at `now`.
    pub(super) fn known(&self, parent: Ino, name: &FileName, now: SystemTime, ttl: Duration) -> Known {
        let Some(directory) = self.directory(parent) else { return Known::Unknown };
        match directory.children().get(name) {
            Some(entry) if self.is_ours(entry) || is_fresh(entry.seen_at, now, ttl) => Known::Present,
            entry if directory.covers(name, now, ttl) => match entry {
                Some(_) => Known::Present,
                None => Known::Absent,
            },
            _ => Known::Unknown,
        }
    }

    /// Whether this mount knows better than any listing: the file is new, or is being written.
    fn is_ours(&self, entry: &Entry) -> bool {
        entry.what == What::New || self.file(entry.ino).is_some_and(|file| file.writing.is_some())
    }

    /// Puts a name into a directory, in place of whatever had it.
    pub(super) fn link(&mut self, parent: Ino, name: &FileName, entry: Entry, now: SystemTime, ttl: Duration) {
        self.forget_stashed(parent, name);
        if let Some(directory) = self.directory_mut(parent) {
            directory.removed.remove(name);
            directory.changes += 1;
            directory.note_entry(now, ttl);
            let ino = entry.ino;
            let replaced = self.insert_entry(parent, name.clone(), entry).filter(|replaced| replaced.ino != ino);
            self.lose_name(replaced, now);
            self.evict(parent, now);
        }
        if let Some(times) = self.times_mut(parent) {
            times.note_change(now);
        }
    }

    /// Something has no name any more, which whoever has it open goes on with.
    pub(super) fn lose_name(&mut self, entry: Option<Entry>, now: SystemTime) {
        if let Some(entry) = entry
            && let Some(node) = self.nodes.get_mut(&entry.ino)
        {
            node.times.get_or_insert_default().note_change(now);
            node.removed = Some(Box::new(entry));
        }
    }

    /// Whether an inode has lost its name.
    pub(super) fn is_removed(&self, ino: Ino) -> bool {
        self.nodes.get(&ino).is_some_and(|node| node.removed.is_some())
    }

    /// Takes a name out of a directory.
    pub(super) fn unlink(&mut self, parent: Ino, name: &FileName, now: SystemTime, ttl: Duration) -> Option<Entry> {
        self.forget_stashed(parent, name);
        let directory = self.directory_mut(parent)?;
        directory.removed.retain(|_, at| is_fresh(*at, now, ttl));
        directory.removed.insert(name.clone(), now);
        directory.changes += 1;
        directory.emptying.note_removal(name);
        directory.note_entry(now, ttl);
        let entry = self.remove_entry(parent, name);
        self.lose_name(entry.clone(), now);
        if let Some(times) = self.times_mut(parent) {
            times.note_change(now);
        }
        entry
    }

    /// The content of what looked like a link is no path: from now on it is a file, and another inode, because the kernel
    /// takes one that changes its type for broken.
    pub(super) fn take_for_file(&mut self, ino: Ino) {
        let number = self.new_ino();
        self.change_entry_of(ino, |entry| {
            if let What::Object(Facts { attributes: Some(attributes), kind, .. }) = &mut entry.what {
                **attributes = of_file(std::mem::take(&mut **attributes));
                *kind = Some(Kind::File);
                entry.ino = number;
            }
        });
    }

    /// What an inode has of times in memory.
    pub(super) fn times_mut(&mut self, ino: Ino) -> Option<&mut Times> {
        self.nodes.get_mut(&ino).map(|node| &mut **node.times.get_or_insert_default())
    }

    /// What the marker of a directory says, as far as that is known.
    pub(super) fn marker(&self, ino: Ino) -> Option<&Marker> {
        match self.entry_of(ino).map(|entry| &entry.what) {
            Some(What::Directory(marker)) => marker.as_deref(),
            None if ino == ROOT => self.top.as_deref(),
            _ => None,
        }
    }

    /// Changes what is known of the marker of a directory.
    pub(super) fn change_marker<T>(&mut self, ino: Ino, change: impl FnOnce(&mut Marker) -> T) -> Option<T> {
        if ino == ROOT {
            return self.top.as_deref_mut().map(change);
        }
        self.change_entry_of(ino, |entry| match &mut entry.what {
            What::Directory(marker) => marker.as_deref_mut().map(change),
            _ => None,
        })?
    }

    /// Takes note of what carries the attributes of the top, unless that is known.
    pub(super) fn learn_top(&mut self, marker: Box<Marker>) {
        self.top.get_or_insert(marker);
    }

    /// When a directory last changed: by this mount, as its marker tells, or when the newest thing in it did.
    pub(super) fn directory_mtime(&self, ino: Ino, marker: Option<&Marker>) -> SystemTime {
        let directory = self.directory(ino);
        let told = || {
            let newest = directory.and_then(|directory| directory.newest_at);
            let modified = marker.map(|marker| marker.last_modified).max(newest).unwrap_or(SystemTime::UNIX_EPOCH);
            marker.and_then(|marker| marker.attributes.mtime()).unwrap_or(modified)
        };
        directory.and_then(|directory| directory.modified_at).unwrap_or_else(told)
    }

    /// Moves an inode to another name. The entry is moved by [`Tree::unlink`] and [`Tree::link`].
    pub(super) fn move_node(&mut self, ino: Ino, parent: Ino, name: FileName) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            (node.parent, node.name, node.removed) = (parent, Some(name), None);
        }
    }

    /// The inode of a name, which the kernel is told of once more.
    pub(super) fn remember(&mut self, parent: Ino, name: &FileName) -> Option<Ino> {
        let entry = self.entry(parent, name)?;
        let (ino, is_directory) = (entry.ino, entry.what.is_directory());
        let new_body = || match is_directory {
            true => Body::Directory(Box::new(Directory::new(None))),
            false => Body::File(File::default()),
        };
        let node = self.nodes.entry(ino).or_insert_with(|| Node {
            parent,
            name: Some(name.clone()),
            lookups: 0,
            removed: None,
            times: None,
            body: new_body(),
        });
        node.lookups += 1;
        Some(ino)
    }

    /// Notes that this mount has made the directory `ino`, so that all its entries are known.
    pub(super) fn mark_made(&mut self, ino: Ino, now: SystemTime) {
        self.change_directory(ino, |directory| *directory = Directory::new(Some(now)));
    }

    /// The kernel forgot an inode `lookups` times.
    pub(super) fn forget(&mut self, ino: Ino, lookups: u64, now: SystemTime) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(lookups);
        }
        self.drop_unused(ino);
        self.note_forgotten(now);
    }

    /// Drops an inode that nobody refers to any more, and the directories that only it kept.
    pub(super) fn drop_unused(&mut self, ino: Ino) {
        let mut at = ino;
        while at != ROOT && self.is_unused(at) {
            if let Some(modified_at) = self.directory(at).and_then(|directory| directory.modified_at) {
                // It goes on from there when somebody comes again.
                self.change_marker(at, |marker| marker.attributes.set_mtime(modified_at));
            }
            let Some(node) = self.nodes.remove(&at) else { return };
            if let Body::Directory(directory) = &node.body {
                self.drop_cost(at, directory.cost);
            }
            at = node.parent;
        }
    }

    fn is_unused(&self, ino: Ino) -> bool {
        let Some(node) = self.nodes.get(&ino).filter(|node| node.lookups == 0) else { return false };
        match &node.body {
            Body::File(file) => file.handles.is_empty() && file.writing.is_none(),
            // A directory stays for as long as something new or open is in it.
            Body::Directory(directory) => {
                !directory.is_unsaved
                    && directory.children().values().all(|e| e.what != What::New && !self.nodes.contains_key(&e.ino))
            }
        }
    }

    /// What is known of an inode's name, and of the directory that it is in, may be wrong: the next who wants to know asks.
    pub(super) fn doubt(&mut self, ino: Ino) {
        let Some((parent, _)) = self.place(ino) else { return };
        self.change_entry_of(ino, |entry| entry.seen_at = SystemTime::UNIX_EPOCH);
        if let Some(directory) = self.directory_mut(parent) {
            (directory.complete_at, directory.covered) = (None, None);
        }
    }

    /// Every file that is being written.
    pub(super) fn writings(&self) -> Vec<(Ino, Arc<Writing>)> {
        let writing = |(ino, node): (&Ino, &Node)| match &node.body {
            Body::File(file) => file.writing.clone().map(|writing| (*ino, writing)),
            Body::Directory(_) => None,
        };
        self.nodes.iter().filter_map(writing).collect()
    }

    /// Files in a directory that wait to be published, and that nobody has open for writing.
    pub(super) fn waiting_in(&self, ino: Ino) -> Vec<(Ino, Arc<Writing>)> {
        let is_in = |node: &Node| node.parent == ino;
        let waits = |(ino, node): (&Ino, &Node)| match &node.body {
            Body::File(file) if file.writers == 0 => Some((*ino, file.writing.clone()?)),
            _ => None,
        };
        self.nodes.iter().filter(|(_, node)| is_in(node)).filter_map(waits).collect()
    }

    /// Directories with attributes that their markers do not have yet.
    pub(super) fn unsaved_directories(&self) -> Vec<Ino> {
        let is_unsaved = |node: &Node| matches!(&node.body, Body::Directory(directory) if directory.is_unsaved);
        self.nodes.iter().filter(|(_, node)| is_unsaved(node)).map(|(ino, _)| *ino).collect()
    }

    /// Nobody knows what the marker of a directory says.
    pub(super) fn doubt_marker(&mut self, ino: Ino) {
        let is_unsaved = self.directory(ino).is_some_and(|directory| directory.is_unsaved);
        if ino == ROOT && !is_unsaved {
            self.top = None;
        } else if !is_unsaved {
            self.change_entry_of(ino, |entry| entry.what = What::Directory(None));
        }
        self.doubt(ino);
    }

    /// The marker of a directory is there since `now`.
    pub(super) fn note_marker(&mut self, ino: Ino, now: SystemTime) {
        self.change_marker(ino, |marker| {
            if !marker.is_there() {
                marker.last_modified = now;
            }
        });
        if let Some(directory) = self.directory_mut(ino) {
            directory.has_marker = true;
        }
    }

    /// Whether a directory holds a file that is not in the bucket yet.
    pub(super) fn holds_new(&self, ino: Ino) -> bool {
        self.directory(ino).is_some_and(|directory| directory.children().values().any(|entry| entry.what == What::New))
    }

    /// Every file below a directory that is being written or waits to be published, and whether it has no object yet.
    pub(super) fn writings_below(&self, ino: Ino) -> Vec<(Ino, bool, Arc<Writing>)> {
        let is_below = |file: Ino| {
            let mut at = file;
            while at != ROOT {
                let Some(node) = self.nodes.get(&at).filter(|_| self.entry_of(at).is_some()) else { return false };
                at = node.parent;
                if at == ino {
                    return true;
                }
            }
            false
        };
        let is_new = |file: Ino| self.entry_of(file).is_some_and(|entry| entry.what == What::New);
        let below = self.writings().into_iter().filter(|(file, _)| is_below(*file));
        below.map(|(file, writing)| (file, is_new(file), writing)).collect()
    }

    /// The object of a file below `directory`, at the relative path `rest`, is now a copy of it under `key`.
    pub(super) fn take_copy(&mut self, directory: Ino, rest: &str, key: &ObjectKey, copy: &Copy, now: SystemTime) {
        let (mut at, mut names) = (directory, rest.split('/').peekable());
        while let Some(name) = names.next().and_then(FileName::new) {
            let is_last = names.peek().is_none();
            let found = self.change_entry(at, &name, |entry| {
                if let (true, What::Object(facts)) = (is_last, &mut entry.what) {
                    facts.take_copy(copy, now);
                }
                entry.ino
            });
            let Some(ino) = found else { return };
            at = ino;
        }
        if let Some(file) = self.file_mut(at) {
            file.object_moved(&copy.etag, key, &copy.copied);
        }
    }

    /// Something below `ino` was published: its directories, all the way up, are known to be there.
    pub(super) fn touch_upwards(&mut self, ino: Ino, now: SystemTime, ttl: Duration) {
        let mut at = ino;
        while at != ROOT {
            if self.change_entry_of(at, |entry| entry.seen_at = now).is_none() {
                return;
            }
            let Some((parent, _)) = self.place(at) else { return };
            if let Some(directory) = self.directory_mut(parent) {
                directory.renew(now, ttl);
            }
            at = parent;
        }
    }

    /// Panics unless what must always hold of names does. For tests; takes time in proportion to all that is known.
    pub(super) fn expect_consistent(&self) {
        let mut cost = evict::Cost::default();
        for (ino, node) in &self.nodes {
            if let Body::Directory(directory) = &node.body {
                cost += directory.expect_consistent();
            }
            let is_linked = *ino == ROOT || node.removed.is_some() || self.entry_of(*ino).is_some();
            assert!(is_linked, "{ino:?} is neither linked nor removed: {node:?}");
            let is_above = |above: Ino| self.directory(above).is_some();
            assert!(node.removed.is_some() || is_above(node.parent), "the parent of {ino:?} is gone");
        }
        assert_eq!(cost, self.budget.used(), "the running sum of what names cost");
    }

    /// What `stat` shows. What has lost its name is what it was then, but for the name.
    pub(super) fn attr(&self, ino: Ino, options: &FsOptions, now: SystemTime) -> Option<Attr> {
        let seen = match self.file(ino).and_then(|file| file.writing.as_ref()) {
            Some(writing) => self.seen_of_written(writing),
            None => self.seen(ino, options, now)?,
        };
        let Seen { kind, size, mtime, attributes, links, valid_for } = seen;
        let (permissions, owner) = permissions_and_owner(kind, attributes.as_deref(), options);
        let device = device_of(kind, attributes.as_deref());
        let times = self.nodes.get(&ino).and_then(|node| node.times.as_deref()).copied().unwrap_or_default();
        let Shown { atime, mtime, ctime } = times.shown(mtime, now);
        // The kernel does not expect that a write or a truncating open takes these bits away, and would go on showing them.
        let is_privileged = kind == Kind::File && permissions & (MODE_SET_USER | MODE_SET_GROUP) != 0;
        let valid_for = if is_privileged { Duration::ZERO } else { valid_for };
        Some(Attr { ino, kind, size, permissions, owner, atime, mtime, ctime, links, device, valid_for })
    }

    fn seen_of_written(&self, writing: &Writing) -> Seen<'static> {
        let (attributes, size) = (writing.file.attributes(), writing.file.size());
        // The kernel must not remember a time that a close may yet move.
        let valid_for = if writing.file.may_tell_another_time() { Duration::ZERO } else { self.kernel_ttl };
        Seen {
            kind: Kind::of_object(Some(&attributes), size),
            size,
            mtime: attributes.mtime().unwrap_or(SystemTime::UNIX_EPOCH),
            attributes: Some(Cow::Owned(attributes)),
            links: u32::from(!writing.file.is_nameless()),
            valid_for,
        }
    }

    fn seen(&self, ino: Ino, options: &FsOptions, now: SystemTime) -> Option<Seen<'_>> {
        let named = self.entry_of(ino);
        let entry = named.or_else(|| self.nodes.get(&ino)?.removed.as_deref());
        let (size, mtime, attributes) = match entry.map(|entry| &entry.what) {
            Some(What::Object(facts)) => (facts.version.size, facts.mtime(), facts.attributes.as_deref()),
            Some(What::New) => (0, SystemTime::UNIX_EPOCH, None),
            Some(What::Directory(marker)) => {
                let marker = marker.as_deref();
                (0, self.directory_mtime(ino, marker), marker.map(|marker| &marker.attributes))
            }
            None if ino == ROOT => {
                let marker = self.marker(ROOT);
                (0, self.directory_mtime(ROOT, marker), marker.map(|marker| &marker.attributes))
            }
            None => return None,
        };
        let kind = entry.map_or(Kind::Directory, |entry| entry.what.kind());
        let valid_for = named.map_or(self.kernel_ttl, |entry| {
            let age = now.duration_since(entry.seen_at).unwrap_or(options.metadata_ttl);
            let is_whole = attributes.is_some()
                || entry.what == What::New
                || options.attributes == AttributeSource::Listing && kind != Kind::Directory;
            if is_whole && self.looks_like(ino, now).is_none() {
                options.metadata_ttl.saturating_sub(age).min(self.kernel_ttl)
            } else {
                Duration::ZERO
            }
        });
        let links = u32::from(named.is_some() || ino == ROOT);
        Some(Seen { kind, size, mtime, attributes: attributes.map(Cow::Borrowed), links, valid_for })
    }
}

/// What is known of an inode, before options and its times in memory are looked at.
struct Seen<'a> {
    kind: Kind,
    size: u64,
    mtime: SystemTime,
    attributes: Option<Cow<'a, ObjectAttributes>>,
    links: u32,
    valid_for: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    use crate::object::Version;

    pub(super) const TTL: Duration = Duration::from_secs(5);
    pub(super) const LIMIT: usize = 64 << 20;

    pub(super) fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    pub(super) fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    pub(super) fn object(etag: &str) -> What {
        let last_modified = at(1);
        What::Object(Facts {
            version: Version { etag: ETag::new(etag), size: 3, checksum: None },
            last_modified,
            is_exact: true,
            kind: None,
            attributes: None,
        })
    }

    pub(super) fn listing<'a>(
        names: impl IntoIterator<Item = (&'a str, What)>,
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
        tree.link(ROOT, &name("d"), Entry { ino, seen_at: at(100), what: What::Directory(None) }, at(100), TTL);
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
        tree.take_listing(ROOT, listing([("a", object("1"))], 10, Covers::ALL));
        let ino = tree.remember(ROOT, &name("a")).unwrap();
        assert_eq!(tree.remember(ROOT, &name("a")), Some(ino));
        tree.forget(ino, 1, at(11));
        assert!(tree.node(ino).is_some());
        tree.forget(ino, 1, at(11));
        assert!(tree.node(ino).is_none());
        assert_eq!(tree.remember(ROOT, &name("a")), Some(ino), "the number stays with the entry");
    }
}

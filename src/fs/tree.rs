//! What is known of names and inodes. Pure: asks nobody and waits for nothing.
//!
//! A directory keeps what is known of its entries; an inode exists for as long as the kernel or a handle refers to it.
//! The entry says what is in the bucket, the inode what is open.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use super::attributes::{Attr, Kind, mtime_of, permissions_and_owner, unmarked_attributes};
use super::files::Writing;
use super::flat::Stashed;
use super::handles::HandleId;
use super::name::FileName;
use super::options::{AttributeSource, FsOptions};
use super::reading_directories::DirEntry;
use super::walk::{Step, Walk};
use crate::read::{Object, Version};
use crate::upload::PublishedFile;
use crate::wire::{Crc64, ETag, ObjectAttributes, ObjectHead, ObjectKey};

/// The number of an inode; stable for as long as anybody refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

/// The top directory of the mount.
pub const ROOT: Ino = Ino(1);

/// Where files live that were removed while they are open, below the top of the mount. Nobody sees it there.
pub(super) const HIDDEN_DIRECTORY: &str = ".cosmount-unlinked";

/// How long a directory that this mount made is known without a listing, as long as the mount keeps working in it:
/// long enough to copy thousands of files into it, short enough that what others put there shows soon.
const OWN_LEASE: Duration = Duration::from_secs(60);

/// How much memory an entry with attributes takes, in entries without.
const ATTRIBUTES_WEIGHT: usize = 4;

/// How much is known of names at most, in entries without attributes of about 500 bytes each. Beyond that the oldest that
/// nobody refers to are forgotten.
const WEIGHT_MAX: usize = 250_000;

/// Names that are kept of flat listings in one directory.
const STASH_NAMES_MAX: usize = 20_000;

/// The service's time of an object may differ from when this mount had published it by so much: whole seconds, and the way
/// of the answer. Where clocks differ by more, attributes are asked for once more.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(3);

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
}

/// An inode that somebody refers to.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: Ino,
    /// `None` only for the root.
    pub(super) name: Option<FileName>,
    /// How often the kernel was told of it and did not forget it.
    lookups: u64,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    Directory(Directory),
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
    /// Of a symbolic link: where the version leads.
    pub(super) target: Option<(ETag, Vec<u8>)>,
}

impl File {
    /// Whether `writing` is the content that is being written.
    pub(super) fn is_written_by(&self, writing: &Arc<Writing>) -> bool {
        self.writing.as_ref().is_some_and(|current| Arc::ptr_eq(current, writing))
    }
}

/// What is known of a directory's entries.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) children: BTreeMap<FileName, Entry>,
    /// When `children` was last known to be all there is.
    complete_at: Option<SystemTime>,
    /// When this mount made it; `None` if it was found.
    made_at: Option<SystemTime>,
    /// Whether the last listing had more than one page.
    pub(super) is_large: bool,
    /// Whether its marker object is known to be there.
    pub(super) has_marker: bool,
    /// Attributes were set that its marker does not have yet.
    pub(super) is_unsaved: bool,
    /// Handles that read it.
    pub(super) readers: usize,
    /// How its names are looked up.
    walk: Walk,
    /// Some directory in it has been gone through name by name.
    is_walked_below: bool,
    /// The directory in it that was listed last.
    listed_last: Option<FileName>,
    /// What a flat listing has said of directories in it, and when it was asked for.
    stash: BTreeMap<FileName, (SystemTime, Stashed)>,
    /// A directory in it had more entries than a flat listing has room for.
    is_flat_useless: bool,
    /// How often other mounts of this machine had changed it when they were last asked.
    others_changes: u64,
    /// When some of its entries were forgotten.
    trimmed_at: Option<SystemTime>,
    /// About how much memory its entries take, in entries without attributes.
    weight: usize,
    /// Names that this mount removed, and when: a listing that was asked for earlier may still show them.
    removed: HashMap<FileName, SystemTime>,
    /// One listing at a time. Tokio's mutex because it is held while the listing is on its way.
    pub(super) refresh: Arc<tokio::sync::Mutex<()>>,
}

/// A name in a directory.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) ino: Ino,
    /// When it was last known to be so.
    pub(super) seen_at: SystemTime,
    pub(super) what: What,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// A directory, with its marker where somebody asked for it.
    Directory(Option<Box<Marker>>),
    /// A file that is in the bucket.
    Object(Facts),
    /// A file that was made here and is not in the bucket yet.
    New,
}

/// What the marker object of a directory says of it. A directory without one has what a new marker would say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Marker {
    pub(super) attributes: ObjectAttributes,
    pub(super) last_modified: SystemTime,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    pub(super) size: u64,
    pub(super) etag: ETag,
    pub(super) last_modified: SystemTime,
    /// Whether `last_modified` is the service's word; otherwise it is when this mount published.
    pub(super) is_exact: bool,
    pub(super) crc64: Option<Crc64>,
    /// The metadata; `None` until somebody asked for them.
    pub(super) attributes: Option<Box<ObjectAttributes>>,
}

/// What is known about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// Somebody has to ask.
    Unknown,
}

impl What {
    /// What it is, as far as is known: a symbolic link shows by its metadata.
    pub(super) fn kind(&self) -> Kind {
        match self {
            What::Directory(_) => Kind::Directory,
            What::Object(facts) => Kind::of_object(facts.attributes.as_deref()),
            What::New => Kind::File,
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self, What::Directory(_))
    }
}

impl Marker {
    /// Whether there is one.
    pub(super) fn is_there(&self) -> bool {
        self.last_modified != SystemTime::UNIX_EPOCH
    }

    /// What stands for the marker of a directory that exists only as a prefix.
    pub(super) fn absent() -> Box<Marker> {
        Box::new(Marker { attributes: unmarked_attributes(), last_modified: SystemTime::UNIX_EPOCH })
    }
}

impl Facts {
    /// The version, for reading.
    pub(super) fn version(&self, key: ObjectKey) -> Version {
        Version { key, etag: self.etag.clone(), size: self.size, crc64: self.crc64 }
    }

    /// What a HEAD said.
    pub(super) fn told(head: ObjectHead) -> Facts {
        let ObjectHead { size, etag, last_modified, crc64, attributes } = head;
        Facts { size, etag, last_modified, is_exact: true, crc64, attributes: Some(Box::new(attributes)) }
    }

    /// What is known after this mount published the file.
    pub(super) fn published(file: PublishedFile, now: SystemTime) -> Facts {
        let PublishedFile { base, attributes, key: _, serial: _ } = file;
        let (size, etag, crc64, attributes) = (base.size, base.etag, base.crc64, Some(Box::new(attributes)));
        Facts { size, etag, last_modified: now, is_exact: false, crc64, attributes }
    }

    /// Whether the service's time of the last change may be that of this version. Where that has not been asked for, it is
    /// about when this mount published.
    fn was_last_modified_at(&self, at: SystemTime) -> bool {
        if self.is_exact {
            return self.last_modified == at;
        }
        let apart = at.duration_since(self.last_modified).unwrap_or_else(|before| before.duration());
        apart <= PUBLISHED_WITHIN
    }

    /// What a new answer says, and what was known before and still holds.
    fn updated(self, before: Facts) -> Facts {
        let same = self.etag == before.etag && before.was_last_modified_at(self.last_modified);
        if !same {
            return self;
        }
        Facts { crc64: self.crc64.or(before.crc64), attributes: self.attributes.or(before.attributes), ..self }
    }
}

impl Directory {
    fn new(made_at: Option<SystemTime>) -> Directory {
        Directory {
            children: BTreeMap::new(),
            complete_at: made_at,
            made_at,
            is_large: false,
            has_marker: made_at.is_some(),
            is_unsaved: false,
            readers: 0,
            walk: Walk::default(),
            is_walked_below: false,
            listed_last: None,
            stash: BTreeMap::new(),
            is_flat_useless: false,
            others_changes: 0,
            trimmed_at: None,
            weight: 0,
            removed: HashMap::new(),
            refresh: Arc::default(),
        }
    }

    /// Whether `children` is all there is, as far as anybody can know at `now`.
    pub(super) fn is_complete(&self, now: SystemTime, ttl: Duration) -> bool {
        self.complete_at.is_some_and(|at| is_fresh(at, now, ttl))
    }

    /// Notes that this mount has just worked in the directory: one of its own making stays known by that.
    fn renew(&mut self, now: SystemTime, ttl: Duration) {
        if self.is_complete(now, ttl) && self.made_at.is_some_and(|at| is_fresh(at, now, OWN_LEASE)) {
            self.complete_at = Some(now);
        }
    }
}

/// Whether what was so at `at` may still be believed at `now`. A clock that was set back makes everything stale.
fn is_fresh(at: SystemTime, now: SystemTime, ttl: Duration) -> bool {
    now.duration_since(at).is_ok_and(|age| age < ttl)
}

impl Tree {
    pub(super) fn new(_now: SystemTime) -> Tree {
        let mut directory = Directory::new(None);
        // The root needs no marker.
        directory.has_marker = true;
        let root = Node { parent: ROOT, name: None, lookups: 1, body: Body::Directory(directory) };
        Tree { nodes: HashMap::from([(ROOT, root)]), next_ino: ROOT.0 + 1, kernel_ttl: KERNEL_TTL }
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
        self.directory(parent)?.children.get(name)
    }

    pub(super) fn entry_mut(&mut self, parent: Ino, name: &FileName) -> Option<&mut Entry> {
        self.directory_mut(parent)?.children.get_mut(name)
    }

    /// The entry of an inode; `None` for the root and for what has lost its name.
    pub(super) fn entry_of(&self, ino: Ino) -> Option<&Entry> {
        let node = self.nodes.get(&ino)?;
        self.entry(node.parent, node.name.as_ref()?).filter(|entry| entry.ino == ino)
    }

    pub(super) fn entry_of_mut(&mut self, ino: Ino) -> Option<&mut Entry> {
        let node = self.nodes.get(&ino)?;
        let (parent, name) = (node.parent, node.name.clone()?);
        self.entry_mut(parent, &name).filter(|entry| entry.ino == ino)
    }

    /// What an entry is, as far as is known.
    pub(super) fn kind_of(&self, entry: &Entry) -> Kind {
        let writing = self.file(entry.ino).and_then(|file| file.writing.as_ref());
        writing.map_or_else(|| entry.what.kind(), |writing| Kind::of_object(Some(&writing.file.attributes())))
    }

    /// Where an inode is.
    pub(super) fn place(&self, ino: Ino) -> Option<(Ino, FileName)> {
        let node = self.nodes.get(&ino)?;
        Some((node.parent, node.name.clone()?))
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
        let complete = directory.is_complete(now, ttl);
        match directory.children.get(name) {
            Some(entry) if complete || self.is_ours(entry) || is_fresh(entry.seen_at, now, ttl) => Known::Present,
            None if complete => Known::Absent,
            _ => Known::Unknown,
        }
    }

    /// Whether this mount knows better than any listing: the file is new, or is being written.
    fn is_ours(&self, entry: &Entry) -> bool {
        entry.what == What::New || self.file(entry.ino).is_some_and(|file| file.writing.is_some())
    }

    /// Puts a name into a directory, in place of whatever had it.
    pub(super) fn link(&mut self, parent: Ino, name: &FileName, entry: Entry, now: SystemTime, ttl: Duration) {
        if let Some(directory) = self.directory_mut(parent) {
            directory.removed.remove(name);
            directory.children.insert(name.clone(), entry);
            directory.weight += ATTRIBUTES_WEIGHT;
            directory.renew(now, ttl);
        }
    }

    /// Takes a name out of a directory.
    pub(super) fn unlink(&mut self, parent: Ino, name: &FileName, now: SystemTime, ttl: Duration) -> Option<Entry> {
        let directory = self.directory_mut(parent)?;
        directory.removed.retain(|_, at| is_fresh(*at, now, ttl));
        directory.removed.insert(name.clone(), now);
        let entry = directory.children.remove(name);
        directory.renew(now, ttl);
        entry
    }

    /// Moves an inode to another name. The entry is moved by [`Tree::unlink`] and [`Tree::link`].
    pub(super) fn move_node(&mut self, ino: Ino, parent: Ino, name: FileName) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            (node.parent, node.name) = (parent, Some(name));
        }
    }

    /// The inode of a name, which the kernel is told of once more.
    pub(super) fn remember(&mut self, parent: Ino, name: &FileName) -> Option<Ino> {
        let entry = self.entry(parent, name)?;
        let (ino, is_directory) = (entry.ino, entry.what.is_directory());
        let new_body = || match is_directory {
            true => Body::Directory(Directory::new(None)),
            false => Body::File(File::default()),
        };
        let node = self.nodes.entry(ino).or_insert_with(|| Node {
            parent,
            name: Some(name.clone()),
            lookups: 0,
            body: new_body(),
        });
        node.lookups += 1;
        Some(ino)
    }

    /// Notes that this mount has made the directory `ino`, so that all its entries are known.
    pub(super) fn mark_made(&mut self, ino: Ino, now: SystemTime) {
        if let Some(directory) = self.directory_mut(ino) {
            *directory = Directory::new(Some(now));
        }
    }

    /// The kernel forgot an inode `lookups` times.
    pub(super) fn forget(&mut self, ino: Ino, lookups: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(lookups);
        }
        self.drop_unused(ino);
    }

    /// Drops an inode that nobody refers to any more, and the directories that only it kept.
    pub(super) fn drop_unused(&mut self, ino: Ino) {
        let mut at = ino;
        while at != ROOT && self.is_unused(at) {
            let Some(node) = self.nodes.remove(&at) else { return };
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
                    && directory.children.values().all(|e| e.what != What::New && !self.nodes.contains_key(&e.ino))
            }
        }
    }

    /// What is known of an inode's name, and of the directory that it is in, may be wrong: the next who wants to know asks.
    pub(super) fn doubt(&mut self, ino: Ino) {
        let Some((parent, _)) = self.place(ino) else { return };
        if let Some(entry) = self.entry_of_mut(ino) {
            entry.seen_at = SystemTime::UNIX_EPOCH;
        }
        if let Some(directory) = self.directory_mut(parent) {
            directory.complete_at = None;
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
        if let Some(entry) = self.entry_of_mut(ino).filter(|_| !is_unsaved) {
            entry.what = What::Directory(None);
        }
        self.doubt(ino);
    }

    /// The marker of a directory is there since `now`.
    pub(super) fn note_marker(&mut self, ino: Ino, now: SystemTime) {
        if let Some(What::Directory(Some(marker))) = self.entry_of_mut(ino).map(|entry| &mut entry.what)
            && !marker.is_there()
        {
            marker.last_modified = now;
        }
        if let Some(directory) = self.directory_mut(ino) {
            directory.has_marker = true;
        }
    }

    /// Whether a directory holds a file that is not in the bucket yet.
    pub(super) fn holds_new(&self, ino: Ino) -> bool {
        self.directory(ino).is_some_and(|directory| directory.children.values().any(|entry| entry.what == What::New))
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
    pub(super) fn take_copy(&mut self, directory: Ino, rest: &str, key: &ObjectKey, etag: &ETag, now: SystemTime) {
        let (mut at, mut names) = (directory, rest.split('/').peekable());
        while let Some(name) = names.next().and_then(FileName::new) {
            let Some(entry) = self.directory_mut(at).and_then(|directory| directory.children.get_mut(&name)) else {
                return;
            };
            at = entry.ino;
            if let (None, What::Object(facts)) = (names.peek(), &mut entry.what) {
                (facts.etag, facts.last_modified, facts.is_exact) = (etag.clone(), now, false);
            }
        }
        if let Some(object) = self.file(at).and_then(|file| file.object.upgrade()) {
            object.moved(key.clone(), etag.clone());
        }
    }

    /// Something below `ino` was published: its directories, all the way up, are known to be there.
    pub(super) fn touch_upwards(&mut self, ino: Ino, now: SystemTime, ttl: Duration) {
        let mut at = ino;
        while at != ROOT {
            let Some(entry) = self.entry_of_mut(at) else { return };
            entry.seen_at = now;
            let Some((parent, _)) = self.place(at) else { return };
            if let Some(directory) = self.directory_mut(parent) {
                directory.renew(now, ttl);
            }
            at = parent;
        }
    }

    /// Takes in a listing that was asked for at `asked_at`: what it shows is there, and what it does not show although
    /// `covers` it is not. What this mount did since, or does right now, it knows better.
    pub(super) fn take_listing(&mut self, ino: Ino, listing: Listing) {
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
            self.directory_mut(ino).and_then(|directory| directory.children.remove(&name));
        }
        let count = names.len();
        for (name, what) in names {
            self.take_listed(ino, name, what, asked_at, ttl);
        }
        let Some(directory) = self.directory_mut(ino) else { return };
        if covers.is_all() {
            directory.complete_at = Some(asked_at);
            directory.weight = directory.weight.clamp(count, count * ATTRIBUTES_WEIGHT);
        } else {
            directory.weight += count;
        }
        self.trim(ino, asked_at);
    }

    /// Forgets entries that nobody refers to where there are too many, those of `listed` that were listed before
    /// `asked_at` among them.
    fn trim(&mut self, listed: Ino, asked_at: SystemTime) {
        let weight_of = |node: &Node| match &node.body {
            Body::Directory(directory) => directory.weight,
            Body::File(_) => 0,
        };
        let is_being_read = |node: &Node| matches!(&node.body, Body::Directory(directory) if directory.readers > 0);
        let mut weight: usize = self.nodes.values().map(weight_of).sum();
        if weight <= WEIGHT_MAX {
            return;
        }
        let age = |directory: &Directory| directory.complete_at.unwrap_or(SystemTime::UNIX_EPOCH);
        let mut oldest: Vec<(SystemTime, Ino)> = self
            .nodes
            .iter()
            .filter(|(ino, node)| weight_of(node) > 0 && (**ino == listed || !is_being_read(node)))
            .filter_map(|(ino, _)| Some((age(self.directory(*ino)?), *ino)))
            .collect();
        // Its own directory last: it is being read.
        oldest.sort_by_key(|(at, ino)| (*ino == listed, *at));
        for (_, ino) in oldest {
            if weight <= WEIGHT_MAX / 2 {
                return;
            }
            weight -= self.forget_entries(ino, asked_at, ino == listed);
        }
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
        (directory.complete_at, directory.trimmed_at) = (None, Some(asked_at));
        directory.weight = directory.children.len();
        weight.saturating_sub(directory.weight)
    }

    /// All pages of a directory have been listed, the first of them at `began_at`.
    pub(super) fn note_complete(&mut self, ino: Ino, began_at: SystemTime) {
        if let Some(directory) = self.directory_mut(ino)
            && directory.trimmed_at.is_none_or(|at| at < began_at)
        {
            directory.complete_at = Some(began_at);
        }
    }

    /// What a page of a listing shows: the names that are on it and still there, and those in its range that this mount
    /// knows of and nobody else.
    pub(super) fn shown(&self, ino: Ino, listed: Vec<FileName>, covers: &Covers) -> Vec<DirEntry> {
        let Some(directory) = self.directory(ino) else { return Vec::new() };
        let ours = covers.range(&directory.children).filter(|(name, entry)| {
            self.is_ours(entry) && covers.has_place_of(name) && listed.binary_search(name).is_err()
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
    pub(super) fn heed_others(&mut self, ino: Ino, count: u64) {
        // What the kernel believes by itself nobody can heed.
        self.kernel_ttl = Duration::ZERO;
        let Some(directory) = self.directory_mut(ino) else { return };
        if std::mem::replace(&mut directory.others_changes, count) == count {
            return;
        }
        (directory.complete_at, directory.made_at, directory.is_large) = (None, None, false);
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
        let above = self.place(ino);
        if let Some(directory) = self.directory_mut(ino) {
            directory.children = children;
            directory.stash.clear();
        }
        if let Some((parent, name)) = above
            && let Some(parent) = self.directory_mut(parent)
        {
            parent.stash.remove(&name);
        }
    }

    /// Whether the metadata of a name have to be asked for, and if so whether it is a directory.
    pub(super) fn lacks_attributes(&self, parent: Ino, name: &FileName) -> Option<bool> {
        match self.entry(parent, name).map(|entry| &entry.what) {
            Some(What::Object(facts)) if facts.attributes.is_none() => Some(false),
            Some(What::Directory(None)) => Some(true),
            _ => None,
        }
    }

    /// What a HEAD said of the version that is known of a name.
    pub(super) fn take_metadata(&mut self, parent: Ino, name: &FileName, head: &ObjectHead) {
        if let Some(What::Object(facts)) = self.entry_mut(parent, name).map(|entry| &mut entry.what)
            && facts.etag == head.etag
            && facts.attributes.is_none()
        {
            facts.attributes = Some(Box::new(head.attributes.clone()));
            facts.crc64 = facts.crc64.or(head.crc64);
        }
    }

    /// There was nothing of a name when that was asked for.
    pub(super) fn take_absence(&mut self, parent: Ino, name: &FileName, asked_at: SystemTime) {
        let is_gone = self.entry(parent, name).is_some_and(|entry| !self.is_ours(entry) && entry.seen_at <= asked_at);
        if let Some(directory) = self.directory_mut(parent).filter(|_| is_gone) {
            directory.children.remove(name);
        }
    }

    /// Attributes of a name in the directory are known by now.
    pub(super) fn note_attributes(&mut self, parent: Ino) {
        if let Some(directory) = self.directory_mut(parent) {
            directory.weight += ATTRIBUTES_WEIGHT - 1;
        }
    }

    /// Somebody looks a name up. Returns files that are to be asked for because they are likely to be next.
    pub(super) fn walk_to(&mut self, parent: Ino, name: &FileName) -> Vec<FileName> {
        let above = self.place(parent).map(|(above, _)| above);
        let follows_walk = above.and_then(|above| self.directory(above)).is_some_and(|above| above.is_walked_below);
        let Some(directory) = self.directory_mut(parent) else { return Vec::new() };
        let after = |last: &FileName| {
            directory.children.range::<str, _>((Bound::Excluded(last.as_str()), Bound::Unbounded)).next()
        };
        let is_next =
            directory.walk.last.as_ref().is_some_and(|last| after(last).is_some_and(|(next, _)| next == name));
        let is_first = directory.children.keys().next() == Some(name);
        let step = match () {
            () if directory.readers > 0 || is_first && follows_walk => Step::Certain,
            () if is_next => Step::Next,
            () => Step::Elsewhere,
        };
        let count = directory.walk.step(name, step);
        let from = directory.walk.asked_to.clone().unwrap_or_else(|| name.clone());
        let ahead: Vec<FileName> = directory
            .children
            .range::<str, _>((Bound::Excluded(from.as_str()), Bound::Unbounded))
            .take(count)
            .map(|(name, _)| name.clone())
            .collect();
        if let Some(last) = ahead.last() {
            directory.walk.ask_to(last.clone(), ahead.len());
        }
        let is_walk = directory.walk.is_going_on();
        if let Some(above) = above.filter(|_| is_walk).and_then(|above| self.directory_mut(above)) {
            above.is_walked_below = true;
        }
        ahead.into_iter().filter(|name| self.lacks_attributes(parent, name) == Some(false)).collect()
    }

    /// Whether somebody who looks up `name`, a directory, goes through those in `parent`.
    pub(super) fn goes_through_directories(&self, parent: Ino, name: &FileName) -> bool {
        let Some(directory) = self.directory(parent).filter(|directory| !directory.is_flat_useless) else {
            return false;
        };
        let mut directories = directory.children.iter().filter(|(_, entry)| entry.what.is_directory());
        let is_first_of_many =
            directories.next().is_some_and(|(first, _)| first == name) && directories.next().is_some();
        directory.readers > 0 || directory.walk.is_in_order() || is_first_of_many
    }

    /// Whether somebody who lists `name`, a directory, goes through those in `parent`. Takes note of it.
    pub(super) fn goes_into_directories(&mut self, parent: Ino, name: &FileName) -> bool {
        let Some(directory) = self.directory_mut(parent) else { return false };
        let last = directory.listed_last.replace(name.clone());
        let is_next = last.is_some_and(|last| {
            let mut after = directory.children.range::<str, _>((Bound::Excluded(last.as_str()), Bound::Unbounded));
            after.find(|(_, entry)| entry.what.is_directory()).is_some_and(|(next, _)| next == name)
        });
        (is_next || directory.readers > 0) && !directory.is_flat_useless
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
        let Some(directory) = self.directory_mut(parent) else { return Vec::new() };
        directory.is_flat_useless |= !stashed.contains_key(first);
        let kept: usize = directory.stash.values().map(|(_, stashed)| stashed.names.len()).sum();
        if kept > STASH_NAMES_MAX {
            directory.stash.clear();
        }
        let mut with_markers = Vec::new();
        for (name, stashed) in stashed {
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

    /// Takes in what a flat listing has said of a directory, if it has and that is fresh.
    pub(super) fn take_stashed(&mut self, ino: Ino, now: SystemTime, ttl: Duration) -> bool {
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
    pub(super) fn take_listed(&mut self, parent: Ino, name: FileName, what: What, asked_at: SystemTime, ttl: Duration) {
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
            directory.children.insert(name, entry);
        }
    }

    /// What `stat` shows; `None` for what has lost its name and is not open for writing.
    pub(super) fn attr(&self, ino: Ino, options: &FsOptions, now: SystemTime) -> Option<Attr> {
        let writing = self.file(ino).and_then(|file| file.writing.as_ref());
        if let Some(writing) = writing {
            let attributes = writing.file.attributes();
            let kind = Kind::of_object(Some(&attributes));
            let (permissions, owner) = permissions_and_owner(kind, Some(&attributes), options);
            let mtime = mtime_of(&attributes).unwrap_or_else(|| writing.modified_at());
            return Some(Attr {
                ino,
                kind,
                size: writing.file.size(),
                permissions,
                owner,
                mtime,
                links: u32::from(!writing.file.is_nameless()),
                valid_for: self.kernel_ttl,
            });
        }
        if ino == ROOT {
            let (permissions, owner) = permissions_and_owner(Kind::Directory, None, options);
            let mtime = SystemTime::UNIX_EPOCH;
            return Some(Attr {
                ino,
                kind: Kind::Directory,
                size: 0,
                permissions,
                owner,
                mtime,
                links: 1,
                valid_for: self.kernel_ttl,
            });
        }
        let entry = self.entry_of(ino)?;
        let attributes = match &entry.what {
            What::Directory(marker) => marker.as_ref().map(|marker| &marker.attributes),
            What::Object(facts) => facts.attributes.as_deref(),
            What::New => None,
        };
        let kind = entry.what.kind();
        let (permissions, owner) = permissions_and_owner(kind, attributes, options);
        let (size, last_modified) = match &entry.what {
            What::Object(facts) => (facts.size, facts.last_modified),
            What::Directory(Some(marker)) => (0, marker.last_modified),
            What::Directory(None) | What::New => (0, SystemTime::UNIX_EPOCH),
        };
        let mtime = attributes.and_then(mtime_of).unwrap_or(last_modified);
        let age = now.duration_since(entry.seen_at).unwrap_or(options.metadata_ttl);
        let is_whole = attributes.is_some()
            || entry.what == What::New
            || options.attributes == AttributeSource::Listing && kind != Kind::Directory;
        let valid_for =
            if is_whole { options.metadata_ttl.saturating_sub(age).min(self.kernel_ttl) } else { Duration::ZERO };
        Some(Attr { ino, kind, size, permissions, owner, mtime, links: 1, valid_for })
    }
}

/// What a listing of a directory said.
pub(super) struct Listing {
    /// The names in it.
    pub(super) names: BTreeMap<FileName, What>,
    /// When it was asked for.
    pub(super) asked_at: SystemTime,
    /// Which names it would have shown.
    pub(super) covers: Covers,
    /// How long things are believed.
    pub(super) ttl: Duration,
}

/// The names that a listing would have shown if they existed: those between two keys, the second of them included, in the
/// order of keys, in which a directory `d` stands at `d/`. `None` is no limit.
#[derive(Clone, Debug)]
pub(super) struct Covers {
    pub(super) after: Option<String>,
    pub(super) up_to: Option<String>,
}

impl Covers {
    pub(super) const ALL: Covers = Covers { after: None, up_to: None };

    fn is_all(&self) -> bool {
        self.after.is_none() && self.up_to.is_none()
    }

    /// Whether a name is covered in both of its forms, as a file and as a directory.
    fn includes(&self, name: &FileName) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    const TTL: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    fn object(etag: &str) -> What {
        let last_modified = at(1);
        What::Object(Facts {
            size: 3,
            etag: ETag::new(etag),
            last_modified,
            is_exact: true,
            crc64: None,
            attributes: None,
        })
    }

    fn listing<'a>(names: impl IntoIterator<Item = (&'a str, What)>, seconds: u64, covers: Covers) -> Listing {
        let names = names.into_iter().map(|(text, what)| (name(text), what)).collect();
        Listing { names, asked_at: at(seconds), covers, ttl: TTL }
    }

    #[test]
    fn a_complete_listing_answers_for_every_name_while_it_is_fresh() {
        let mut tree = Tree::new(at(0));
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
        let mut tree = Tree::new(at(0));
        tree.take_listing(ROOT, listing([("a", object("1")), ("m", object("1")), ("z", object("1"))], 10, Covers::ALL));
        tree.take_listing(ROOT, listing([("a", object("1"))], 20, Covers { after: None, up_to: Some("m/".into()) }));
        let known = ["a", "m", "z"].map(|text| tree.entry(ROOT, &name(text)).is_some());
        assert_eq!(known, [true, false, true]);
    }

    #[test]
    fn a_listing_does_not_undo_what_this_mount_did_meanwhile() {
        let mut tree = Tree::new(at(0));
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
        let mut tree = Tree::new(at(0));
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

    #[test]
    fn a_directory_of_this_mount_stays_known_while_it_is_filled() {
        let mut tree = Tree::new(at(0));
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
        let mut tree = Tree::new(at(0));
        tree.take_listing(ROOT, listing([("a", object("1"))], 10, Covers::ALL));
        let ino = tree.remember(ROOT, &name("a")).unwrap();
        assert_eq!(tree.remember(ROOT, &name("a")), Some(ino));
        tree.forget(ino, 1);
        assert!(tree.node(ino).is_some());
        tree.forget(ino, 1);
        assert!(tree.node(ino).is_none());
        assert_eq!(tree.remember(ROOT, &name("a")), Some(ino), "the number stays with the entry");
    }
}

//! What is known of names and inodes. Pure: asks nobody and waits for nothing.
//!
//! A directory keeps what is known of its entries; an inode exists for as long as the kernel or a handle refers to it.
//! The entry says what is in the bucket, the inode what is open.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use super::attributes::{Attr, Kind, mtime_of, permissions_and_owner, unmarked_attributes};
use super::files::Writing;
use super::handles::HandleId;
use super::name::FileName;
use super::options::{AttributeSource, FsOptions};
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

/// The most the kernel believes by itself, so that changes that this mount learns of show soon.
const KERNEL_TTL: Duration = Duration::from_secs(1);

/// All inodes.
#[derive(Debug)]
pub(super) struct Tree {
    /// INVARIANT: the parent of every linked inode is in here and is a directory whose entry of that name has its number.
    nodes: HashMap<Ino, Node>,
    next_ino: u64,
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
    Directory(Option<Marker>),
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
    pub(super) attributes: Option<ObjectAttributes>,
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
            What::Object(facts) => Kind::of_object(facts.attributes.as_ref()),
            What::New => Kind::File,
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self, What::Directory(_))
    }
}

impl Marker {
    /// What stands for the marker of a directory that exists only as a prefix.
    pub(super) fn absent() -> Marker {
        Marker { attributes: unmarked_attributes(), last_modified: SystemTime::UNIX_EPOCH }
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
        Facts { size, etag, last_modified, is_exact: true, crc64, attributes: Some(attributes) }
    }

    /// What is known after this mount published the file.
    pub(super) fn published(file: PublishedFile, now: SystemTime) -> Facts {
        let PublishedFile { base, attributes, key: _, serial: _ } = file;
        let (size, etag, crc64, attributes) = (base.size, base.etag, base.crc64, Some(attributes));
        Facts { size, etag, last_modified: now, is_exact: false, crc64, attributes }
    }

    /// What a new answer says, and what was known before and still holds.
    fn updated(self, before: Facts) -> Facts {
        let same = self.etag == before.etag && (self.last_modified == before.last_modified || !before.is_exact);
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
        Tree { nodes: HashMap::from([(ROOT, root)]), next_ino: ROOT.0 + 1 }
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

    /// Directories with attributes that their markers do not have yet.
    pub(super) fn unsaved_directories(&self) -> Vec<Ino> {
        let is_unsaved = |node: &Node| matches!(&node.body, Body::Directory(directory) if directory.is_unsaved);
        self.nodes.iter().filter(|(_, node)| is_unsaved(node)).map(|(ino, _)| *ino).collect()
    }

    /// The marker of a directory is there.
    pub(super) fn note_marker(&mut self, ino: Ino) {
        if let Some(directory) = self.directory_mut(ino) {
            directory.has_marker = true;
        }
    }

    /// Whether a directory holds a file that is not in the bucket yet.
    pub(super) fn holds_new(&self, ino: Ino) -> bool {
        self.directory(ino).is_some_and(|directory| directory.children.values().any(|entry| entry.what == What::New))
    }

    /// Every file below a directory that is being written or waits to be published, and whether it has no object yet.
    pub(super) fn writings_below(&self, ino: Ino) -> Vec<(bool, Arc<Writing>)> {
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
        below.map(|(file, writing)| (is_new(file), writing)).collect()
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
        let vanished: Vec<FileName> = directory
            .children
            .iter()
            .filter(|(name, entry)| {
                covers.includes(name) && !names.contains_key(*name) && entry.seen_at < asked_at && !self.is_ours(entry)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in vanished {
            self.directory_mut(ino).and_then(|directory| directory.children.remove(&name));
        }
        for (name, what) in names {
            self.take_listed(ino, name, what, asked_at, ttl);
        }
        if let (Covers::All, Some(directory)) = (&covers, self.directory_mut(ino)) {
            directory.complete_at = Some(asked_at);
        }
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
                valid_for: KERNEL_TTL,
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
                valid_for: KERNEL_TTL,
            });
        }
        let entry = self.entry_of(ino)?;
        let attributes = match &entry.what {
            What::Directory(marker) => marker.as_ref().map(|marker| &marker.attributes),
            What::Object(facts) => facts.attributes.as_ref(),
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
            if is_whole { options.metadata_ttl.saturating_sub(age).min(KERNEL_TTL) } else { Duration::ZERO };
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

/// The names that a listing would have shown if they existed.
pub(super) enum Covers {
    /// All.
    All,
    /// Those up to this one, in the order of keys, in which a directory `d` stands at `d/`.
    UpTo(String),
}

impl Covers {
    fn includes(&self, name: &FileName) -> bool {
        match self {
            Covers::All => true,
            // A name whose key form with `/` is not past the end was covered in both of its forms.
            Covers::UpTo(last) => format!("{name}/").as_str() <= last.as_str(),
        }
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
        tree.take_listing(ROOT, listing([("a", object("1"))], 10, Covers::All));
        assert_eq!(tree.known(ROOT, &name("a"), at(14), TTL), Known::Present);
        assert_eq!(tree.known(ROOT, &name("b"), at(14), TTL), Known::Absent);
        assert_eq!(tree.known(ROOT, &name("a"), at(15), TTL), Known::Unknown);
        assert_eq!(tree.known(ROOT, &name("b"), at(15), TTL), Known::Unknown);
        assert_eq!(tree.known(ROOT, &name("a"), at(9), TTL), Known::Unknown, "the clock was set back");
    }

    #[test]
    fn a_page_answers_only_for_what_it_covers() {
        let mut tree = Tree::new(at(0));
        tree.take_listing(ROOT, listing([("a", object("1")), ("m", object("1")), ("z", object("1"))], 10, Covers::All));
        tree.take_listing(ROOT, listing([("a", object("1"))], 20, Covers::UpTo("m/".into())));
        let known = ["a", "m", "z"].map(|text| tree.entry(ROOT, &name(text)).is_some());
        assert_eq!(known, [true, false, true]);
    }

    #[test]
    fn a_listing_does_not_undo_what_this_mount_did_meanwhile() {
        let mut tree = Tree::new(at(0));
        tree.take_listing(ROOT, listing([("gone", object("1"))], 10, Covers::All));
        tree.unlink(ROOT, &name("gone"), at(12), TTL);
        let ino = tree.new_ino();
        tree.link(ROOT, &name("new"), Entry { ino, seen_at: at(12), what: object("2") }, at(12), TTL);
        tree.take_listing(ROOT, listing([("gone", object("1"))], 11, Covers::All));
        assert!(tree.entry(ROOT, &name("gone")).is_none());
        assert!(tree.entry(ROOT, &name("new")).is_some());
        tree.take_listing(ROOT, listing([("gone", object("3"))], 30, Covers::All));
        assert!(tree.entry(ROOT, &name("gone")).is_some(), "made again by somebody else");
        assert!(tree.entry(ROOT, &name("new")).is_none());
    }

    #[test]
    fn metadata_are_kept_for_as_long_as_the_version_is_the_same() {
        let mut tree = Tree::new(at(0));
        tree.take_listing(ROOT, listing([("a", object("1"))], 10, Covers::All));
        let ino = tree.entry(ROOT, &name("a")).unwrap().ino;
        let Some(Entry { what: What::Object(facts), .. }) = tree.entry_mut(ROOT, &name("a")) else { panic!() };
        facts.attributes = Some(ObjectAttributes::default());
        tree.take_listing(ROOT, listing([("a", object("1"))], 20, Covers::All));
        let entry = tree.entry(ROOT, &name("a")).unwrap();
        assert!(matches!(&entry.what, What::Object(facts) if facts.attributes.is_some()));
        tree.take_listing(ROOT, listing([("a", object("2"))], 30, Covers::All));
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
        tree.take_listing(ROOT, listing([("a", object("1"))], 10, Covers::All));
        let ino = tree.remember(ROOT, &name("a")).unwrap();
        assert_eq!(tree.remember(ROOT, &name("a")), Some(ino));
        tree.forget(ino, 1);
        assert!(tree.node(ino).is_some());
        tree.forget(ino, 1);
        assert!(tree.node(ino).is_none());
        assert_eq!(tree.remember(ROOT, &name("a")), Some(ino), "the number stays with the entry");
    }
}

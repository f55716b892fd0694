//! Finding names: lookups, directory listings and attributes, with as few requests as what is known allows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::stream::{self, StreamExt};

use super::attributes::{Attr, Kind};
use super::handles::{Handle, HandleId};
use super::name::FileName;
use super::tree::{Covers, Facts, HIDDEN_DIRECTORY, Ino, Known, Listing, Marker, ROOT, What};
use super::{AttributeSource, FileSystem, FsError};
use crate::stats::Stats;
use crate::store::{ListPage, ListRequest, ListedObject, StoreError, StoreErrorKind};
use crate::wire::{ObjectHead, ObjectKey};

/// HEAD requests that are on their way at once for one listing: enough to hide 20 ms of latency behind 3,000 files a
/// second, few enough not to be told to slow down.
const HEAD_CONCURRENCY: usize = 64;

/// One entry of a directory as it was when the directory was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its inode.
    pub ino: Ino,
    /// Its name.
    pub name: FileName,
    /// What it is.
    pub kind: Kind,
}

impl FileSystem {
    /// Looks a name up. The kernel is told of the inode by this, and must be made to [`FileSystem::forget`] it.
    pub async fn lookup(&self, parent: Ino, name: &FileName) -> Result<Attr, FsError> {
        if !self.find(parent, name).await? {
            return Err(FsError::NotFound);
        }
        self.fetch_attributes(parent, name).await?;
        let mut tree = self.tree();
        let ino = tree.remember(parent, name).ok_or(FsError::NotFound)?;
        tree.attr(ino, &self.options, self.clock.now()).ok_or(FsError::NotFound)
    }

    /// The kernel has forgotten an inode `lookups` times.
    pub fn forget(&self, ino: Ino, lookups: u64) {
        self.tree().forget(ino, lookups);
    }

    /// What `stat` shows of an inode.
    pub async fn getattr(&self, ino: Ino) -> Result<Attr, FsError> {
        let place = {
            let tree = self.tree();
            let node = tree.node(ino).ok_or(FsError::Stale)?;
            let known_here = ino == ROOT
                || tree.directory(ino).is_some()
                || tree.file(ino).is_some_and(|file| file.writing.is_some());
            if known_here {
                return tree.attr(ino, &self.options, self.clock.now()).ok_or(FsError::NotFound);
            }
            (node.parent, node.name.clone().ok_or(FsError::Stale)?)
        };
        let (parent, name) = place;
        if self.find(parent, &name).await? {
            self.fetch_attributes(parent, &name).await?;
        }
        self.tree().attr(ino, &self.options, self.clock.now()).ok_or(FsError::Stale)
    }

    /// Whether a name is there: by what is known, or by asking.
    pub(super) async fn find(&self, parent: Ino, name: &FileName) -> Result<bool, FsError> {
        let ttl = self.options.metadata_ttl;
        if is_hidden(parent, name) {
            return Ok(false);
        }
        let refresh = {
            let tree = self.tree();
            let directory = tree.directory(parent).ok_or(FsError::NotDirectory)?;
            match tree.known(parent, name, self.clock.now(), ttl) {
                Known::Present => return Ok(true),
                Known::Absent => return Ok(false),
                Known::Unknown => directory.refresh.clone(),
            }
        };
        let _one_at_a_time = refresh.lock().await;
        // Somebody else may have asked in the meantime.
        match self.tree().known(parent, name, self.clock.now(), ttl) {
            Known::Present => return Ok(true),
            Known::Absent => return Ok(false),
            Known::Unknown => {}
        }
        let is_large = self.tree().directory(parent).is_some_and(|directory| directory.is_large);
        if is_large || !self.list_first_page(parent, name).await? {
            self.probe(parent, name).await?;
        }
        Ok(self.tree().entry(parent, name).is_some())
    }

    /// Lists the first page of a directory. Returns whether that settles the question for `name`.
    async fn list_first_page(&self, parent: Ino, name: &FileName) -> Result<bool, FsError> {
        let asked_at = self.clock.now();
        let prefix = self.directory_prefix(parent)?;
        let page = self.store.list(list_request(&prefix, None)).await?;
        let settled = page.next_marker.as_deref().is_none_or(|last| format!("{prefix}{name}/").as_str() <= last);
        let covers = match &page.next_marker {
            None => Covers::All,
            Some(last) => Covers::UpTo(last.strip_prefix(&prefix).unwrap_or_default().to_owned()),
        };
        let (names, has_marker) = self.names_of([page], &prefix);
        let mut tree = self.tree();
        if let Some(directory) = tree.directory_mut(parent) {
            directory.is_large = matches!(covers, Covers::UpTo(_));
            directory.has_marker |= has_marker;
        }
        tree.take_listing(parent, Listing { names, asked_at, covers, ttl: self.options.metadata_ttl });
        Ok(settled)
    }

    /// Asks for one name of a large directory: as an object and as a directory, side by side.
    async fn probe(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        let asked_at = self.clock.now();
        let path = format!("{}{name}", self.directory_prefix(parent)?);
        let key = ObjectKey::new(&path).map_err(|_| FsError::NameTooLong)?;
        let below = ListRequest { prefix: format!("{path}/"), max_keys: Some(1), ..ListRequest::default() };
        let (object, below) = futures_util::future::join(self.store.head(&key), self.store.list(below)).await;
        let below = below?;
        let what = match (below.objects.first(), object) {
            // A marker would be the first below.
            (Some(first), _) if first.key != format!("{path}/") => Some(What::Directory(Some(Marker::absent()))),
            (Some(_), _) => Some(What::Directory(None)),
            (None, Ok(head)) => Some(What::Object(Facts::told(head))),
            (None, Err(error)) if error.kind == StoreErrorKind::NotFound => None,
            (None, Err(error)) => return Err(error.into()),
        };
        let names = what.map(|what| (name.clone(), what)).into_iter().collect::<BTreeMap<_, _>>();
        let mut tree = self.tree();
        let ttl = self.options.metadata_ttl;
        if names.is_empty() {
            let ours = tree.known(parent, name, asked_at, ttl) == Known::Present;
            if !ours {
                tree.directory_mut(parent).and_then(|directory| directory.children.remove(name));
            }
        }
        for (name, what) in names {
            tree.take_listed(parent, name, what, asked_at, ttl);
        }
        Ok(())
    }

    /// The metadata of a file or a directory where they come from the objects.
    pub(super) async fn fetch_attributes(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        match self.options.attributes {
            AttributeSource::Full => self.fetch_all_attributes(parent, name).await,
            AttributeSource::Listing => Ok(()),
        }
    }

    /// The metadata of a file or a directory, from a HEAD unless they are known: for this version of a file, and for a
    /// directory, whose listing does not tell versions, for as long as it is known at all.
    pub(super) async fn fetch_all_attributes(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        let (path, kind) = {
            let tree = self.tree();
            let kind = match tree.entry(parent, name).map(|entry| &entry.what) {
                Some(What::Object(facts)) if facts.attributes.is_none() => Kind::File,
                Some(What::Directory(None)) => Kind::Directory,
                _ => return Ok(()),
            };
            let end = if kind == Kind::Directory { "/" } else { "" };
            (format!("{}{name}{end}", tree.directory_path(parent).ok_or(FsError::Stale)?), kind)
        };
        let key = self.key(&path)?;
        let asked_at = self.clock.now();
        let answer = match self.store.head(&key).await {
            Ok(head) => Some(head),
            Err(error) if error.kind == StoreErrorKind::NotFound => None,
            Err(error) => return Err(self.told(error)),
        };
        match kind {
            Kind::Directory => self.take_marker(parent, name, answer),
            Kind::File | Kind::Symlink => self.take_head(parent, name, answer, asked_at)?,
        }
        Ok(())
    }

    fn take_head(
        &self,
        parent: Ino,
        name: &FileName,
        answer: Option<ObjectHead>,
        asked_at: SystemTime,
    ) -> Result<(), FsError> {
        let mut tree = self.tree();
        let Some(head) = answer else {
            // Removed since it was listed.
            tree.directory_mut(parent).and_then(|directory| directory.children.remove(name));
            return Err(FsError::NotFound);
        };
        let what = What::Object(Facts::told(head));
        tree.take_listed(parent, name.clone(), what, asked_at, self.options.metadata_ttl);
        Ok(())
    }

    /// Takes in what a directory's marker says; a directory that exists only as a prefix has none, and the mount's
    /// defaults are its attributes.
    fn take_marker(&self, parent: Ino, name: &FileName, answer: Option<ObjectHead>) {
        let told = |head: ObjectHead| Marker { attributes: head.attributes, last_modified: head.last_modified };
        let marker = answer.map_or_else(Marker::absent, told);
        if let Some(entry) = self.tree().entry_mut(parent, name)
            && entry.what == What::Directory(None)
        {
            entry.what = What::Directory(Some(marker));
        }
    }

    /// Opens a directory: what is in it now is what its handle shows.
    pub async fn opendir(&self, ino: Ino) -> Result<HandleId, FsError> {
        let refresh = self.tree().directory(ino).ok_or(FsError::NotDirectory)?.refresh.clone();
        let is_complete = || {
            let tree = self.tree();
            tree.directory(ino)
                .is_some_and(|directory| directory.is_complete(self.clock.now(), self.options.metadata_ttl))
        };
        if !is_complete() {
            let _one_at_a_time = refresh.lock().await;
            if !is_complete() {
                self.list_whole(ino).await?;
            }
        }
        let tree = self.tree();
        let directory = tree.directory(ino).ok_or(FsError::NotDirectory)?;
        let parent = tree.place(ino).map_or(ROOT, |(parent, _)| parent);
        let dots = [(ino, "."), (parent, "..")].map(|(ino, text)| (ino, text.to_owned(), Kind::Directory));
        let entries =
            directory.children.iter().map(|(name, entry)| (entry.ino, name.as_str().to_owned(), tree.kind_of(entry)));
        let entries = dots.into_iter().chain(entries).map(|(ino, name, kind)| DirEntry {
            ino,
            name: FileName::dot_or(name),
            kind,
        });
        Ok(self.handles.insert(Handle::Directory(Arc::new(entries.collect()))))
    }

    async fn list_whole(&self, ino: Ino) -> Result<(), FsError> {
        let asked_at = self.clock.now();
        let prefix = self.directory_prefix(ino)?;
        let mut pages = Vec::new();
        let mut marker = None;
        loop {
            let mut page = self.store.list(list_request(&prefix, marker)).await?;
            marker = page.next_marker.take();
            pages.push(page);
            if marker.is_none() {
                break;
            }
        }
        let is_large = pages.len() > 1;
        let (names, has_marker) = self.names_of(pages, &prefix);
        let mut tree = self.tree();
        if let Some(directory) = tree.directory_mut(ino) {
            directory.is_large = is_large;
            directory.has_marker |= has_marker;
        }
        tree.take_listing(ino, Listing { names, asked_at, covers: Covers::All, ttl: self.options.metadata_ttl });
        Ok(())
    }

    /// The names in the pages of a listing of `prefix`, and whether the directory's own marker was among them. A name
    /// that is both an object and a prefix is a directory.
    fn names_of(&self, pages: impl IntoIterator<Item = ListPage>, prefix: &str) -> (BTreeMap<FileName, What>, bool) {
        let (mut names, mut has_marker, mut skipped) = (BTreeMap::new(), false, 0);
        for page in pages {
            for object in page.objects {
                match object.key.strip_prefix(prefix) {
                    Some("") => has_marker = true,
                    Some(text) => match FileName::new(text) {
                        Some(name) => drop(names.entry(name).or_insert(facts_of(object))),
                        None => skipped += 1,
                    },
                    None => skipped += 1,
                }
            }
            for path in &page.prefixes {
                match path.strip_prefix(prefix).and_then(|rest| FileName::new(rest.trim_end_matches('/'))) {
                    Some(name) if name.as_str() == HIDDEN_DIRECTORY && prefix == self.options.prefix => {}
                    Some(name) if path.len() == prefix.len() + name.as_str().len() + 1 => {
                        names.insert(name, What::Directory(None));
                    }
                    _ => skipped += 1,
                }
            }
        }
        if skipped > 0 {
            Stats::add(&self.stats.keys_skipped, skipped);
            log::warn!("{skipped} keys below {prefix:?} cannot be file names and are left out");
        }
        (names, has_marker)
    }

    /// The entries of an open directory from the 0-based index `from`, at most `count`.
    pub fn readdir(&self, handle: HandleId, from: u64, count: usize) -> Result<Vec<DirEntry>, FsError> {
        let entries = self.handles.directory(handle)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(entries.len());
        Ok(entries[from..entries.len().min(from + count)].to_vec())
    }

    /// The entries from `from`, at most `count`, with their attributes where the name is still there; `.` and `..` come
    /// without. Attributes that are not known are fetched side by side. The kernel is told of every inode that comes
    /// with attributes.
    pub async fn readdirplus(
        &self,
        handle: HandleId,
        ino: Ino,
        from: u64,
        count: usize,
    ) -> Result<Vec<(DirEntry, Option<Attr>)>, FsError> {
        let entries = self.handles.directory(handle)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(entries.len());
        let entries = &entries[from..entries.len().min(from + count)];
        let fetch = |name: FileName| async move { self.fetch_attributes(ino, &name).await.err() };
        let fetches: Vec<_> =
            entries.iter().filter(|entry| !entry.name.is_dot()).map(|entry| fetch(entry.name.clone())).collect();
        let errors: Vec<_> = stream::iter(fetches)
            .buffer_unordered(HEAD_CONCURRENCY)
            .filter_map(|error| async { error })
            .collect()
            .await;
        // Whatever could not be fetched shows the mount's defaults; its own lookup will tell why.
        if let Some(error) = errors.iter().find(|error| **error != FsError::NotFound) {
            log::warn!("attributes of {} entries could not be fetched: {error}", errors.len());
        }
        let mut tree = self.tree();
        let now = self.clock.now();
        let with_attr = |entry: &DirEntry| {
            if entry.name.is_dot() {
                return (entry.clone(), None);
            }
            let is_same = tree.entry(ino, &entry.name).is_some_and(|known| known.ino == entry.ino);
            let remembered = if is_same { tree.remember(ino, &entry.name) } else { None };
            let attr = remembered.and_then(|ino| tree.attr(ino, &self.options, now));
            (entry.clone(), attr)
        };
        Ok(entries.iter().map(with_attr).collect())
    }

    /// Closes a directory.
    pub fn releasedir(&self, handle: HandleId) {
        self.handles.remove(handle);
    }

    /// The prefix of the keys in a directory: empty, or ending in `/`.
    pub(super) fn directory_prefix(&self, ino: Ino) -> Result<String, FsError> {
        let path = self.tree().directory_path(ino).ok_or(FsError::Stale)?;
        Ok(format!("{}{path}", self.options.prefix))
    }

    /// The key of a path below the mount.
    pub(super) fn key(&self, path: &str) -> Result<ObjectKey, FsError> {
        if path.strip_prefix(HIDDEN_DIRECTORY).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(FsError::NotPermitted);
        }
        ObjectKey::new(format!("{}{path}", self.options.prefix)).map_err(|error| match error {
            crate::wire::key::KeyError::TooLong => FsError::NameTooLong,
            crate::wire::key::KeyError::Empty | crate::wire::key::KeyError::Forbidden => FsError::NameInvalid,
        })
    }

    /// Logs an error of the service where it is handled, and gives its meaning.
    pub(super) fn told(&self, error: StoreError) -> FsError {
        match error.kind {
            StoreErrorKind::NotFound => {}
            _ => log::error!("{error}"),
        }
        error.into()
    }
}

/// Whether a name is not for others: what is below it belongs to files that have lost theirs.
fn is_hidden(parent: Ino, name: &FileName) -> bool {
    parent == ROOT && name.as_str() == HIDDEN_DIRECTORY
}

fn list_request(prefix: &str, marker: Option<String>) -> ListRequest {
    ListRequest { prefix: prefix.to_owned(), delimited: true, marker, max_keys: None }
}

fn facts_of(object: ListedObject) -> What {
    let ListedObject { size, etag, last_modified, .. } = object;
    What::Object(Facts { size, etag, last_modified, is_exact: true, crc64: None, attributes: None })
}

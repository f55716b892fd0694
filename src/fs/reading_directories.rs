//! Directories that are open: what their handles show, page by page.
//!
//! A directory whose entries are known shows what it was when it was opened. A larger one is listed page by page as it is
//! read, and only the page that is being read is kept; an offset is the number of entries before it.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Mutex;

use super::attributes::{Attr, Kind};
use super::handles::{Handle, HandleId};
use super::listing::list_request;
use super::name::FileName;
use super::tree::{Covers, Ino, Listing, ROOT};
use super::{FileSystem, FsError};

/// One entry of a directory as it was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its inode.
    pub ino: Ino,
    /// Its name.
    pub name: FileName,
    /// What it is.
    pub kind: Kind,
}

/// An open directory.
pub(super) struct DirHandle {
    ino: Ino,
    /// Tokio's mutex because the next page is listed under it.
    page: Mutex<Page>,
}

/// The part of a directory that is being read.
struct Page {
    /// The offset of the first entry.
    first: u64,
    entries: Vec<DirEntry>,
    /// The marker of the page that follows.
    next: Option<String>,
    /// Where pages begin that were read: their offsets, and their markers.
    starts: Vec<(u64, Option<String>)>,
    began_at: SystemTime,
}

impl FileSystem {
    /// Opens a directory.
    pub async fn opendir(&self, ino: Ino) -> Result<HandleId, FsError> {
        let refresh = self.tree().directory(ino).ok_or(FsError::NotDirectory)?.refresh.clone();
        self.heed_others(ino);
        let began_at = self.clock.now();
        let is_complete = || {
            let (tree, now) = (self.tree(), self.clock.now());
            tree.directory(ino).is_some_and(|directory| directory.is_complete(now, self.options.metadata_ttl))
        };
        let dots = self.dots(ino);
        let mut next = None;
        let mut entries = None;
        if !is_complete() {
            let _one_at_a_time = refresh.lock().await;
            if !is_complete() && !self.list_with_neighbours(ino).await? {
                let (listed, follows) = self.list_page(ino, None).await?;
                (entries, next) = (Some(listed), follows);
            }
        }
        let known = || self.known_entries(ino);
        let entries = entries.map_or_else(known, Ok)?;
        let entries: Vec<DirEntry> = dots.into_iter().chain(entries).collect();
        if let Some(directory) = self.tree().directory_mut(ino) {
            directory.readers += 1;
        }
        let page = Mutex::new(Page { first: 0, entries, next, starts: vec![(0, None)], began_at });
        Ok(self.handles.insert(Handle::Directory(Arc::new(DirHandle { ino, page }))))
    }

    fn dots(&self, ino: Ino) -> [DirEntry; 2] {
        let parent = self.tree().place(ino).map_or(ROOT, |(parent, _)| parent);
        [(ino, "."), (parent, "..")].map(|(ino, text)| DirEntry {
            ino,
            name: FileName::dot_or(text.to_owned()),
            kind: Kind::Directory,
        })
    }

    fn known_entries(&self, ino: Ino) -> Result<Vec<DirEntry>, FsError> {
        let tree = self.tree();
        let children = &tree.directory(ino).ok_or(FsError::NotDirectory)?.children;
        let entry = |(name, entry): (&FileName, &super::tree::Entry)| DirEntry {
            ino: entry.ino,
            name: name.clone(),
            kind: tree.kind_of(entry),
        };
        Ok(children.iter().map(entry).collect())
    }

    /// Lists one page, and returns what is on it, with what this mount knows better, and the marker of the next one.
    async fn list_page(&self, ino: Ino, marker: Option<String>) -> Result<(Vec<DirEntry>, Option<String>), FsError> {
        let asked_at = self.clock.now();
        let prefix = self.directory_prefix(ino)?;
        let page = self.store.list(list_request(&prefix, marker.clone())).await?;
        let next = page.next_marker.clone();
        let within = |marker: Option<&String>| marker.map(|key| key.strip_prefix(&prefix).unwrap_or(key).to_owned());
        let covers = Covers { after: within(marker.as_ref()), up_to: within(next.as_ref()) };
        let (names, has_marker) = self.names_of([page], &prefix);
        let listed: Vec<FileName> = names.keys().cloned().collect();
        let mut tree = self.tree();
        self.expect_at(&tree, ino, &prefix)?;
        if let Some(directory) = tree.directory_mut(ino) {
            directory.is_large = marker.is_some() || next.is_some();
            directory.has_marker |= has_marker;
        }
        tree.take_listing(ino, Listing { names, asked_at, covers: covers.clone(), ttl: self.options.metadata_ttl });
        let entries = tree.shown(ino, listed, &covers);
        Ok((entries, next))
    }

    /// The entries of an open directory from `offset` on, at most `count`.
    pub async fn readdir(&self, handle: HandleId, offset: u64, count: usize) -> Result<Vec<DirEntry>, FsError> {
        let handle = self.handles.directory(handle)?;
        let mut entries = self.entries_from(&handle, offset, count).await?;
        let names = entries.iter().map(|entry| entry.name.clone());
        let unknown = self.of_unknown_kind(handle.ino, names);
        self.fetch_for_listing(handle.ino, unknown).await;
        let tree = self.tree();
        for entry in &mut entries {
            if let Some(known) = tree.entry(handle.ino, &entry.name).filter(|known| known.ino == entry.ino) {
                entry.kind = tree.kind_of(known);
            }
        }
        Ok(entries)
    }

    async fn entries_from(&self, handle: &DirHandle, offset: u64, count: usize) -> Result<Vec<DirEntry>, FsError> {
        let mut page = handle.page.lock().await;
        if offset < page.first {
            // Somebody goes back: to the beginning of the page where that was.
            while page.starts.len() > 1 && page.starts.last().is_some_and(|(first, _)| *first > offset) {
                page.starts.pop();
            }
            let (first, marker) = page.starts.last().cloned().unwrap_or((0, None));
            let (entries, next) = self.list_page(handle.ino, marker).await?;
            let dots = self.dots(handle.ino).into_iter().filter(|_| first == 0);
            (page.first, page.entries, page.next) = (first, dots.chain(entries).collect(), next);
        }
        while offset >= page.first + page.entries.len() as u64 {
            let Some(marker) = page.next.clone() else { return Ok(Vec::new()) };
            let (entries, next) = self.list_page(handle.ino, Some(marker.clone())).await?;
            page.first += page.entries.len() as u64;
            let first = page.first;
            page.starts.push((first, Some(marker)));
            (page.entries, page.next) = (entries, next);
            if page.next.is_none() {
                self.tree().note_complete(handle.ino, page.began_at);
            }
        }
        let at = usize::try_from(offset - page.first).unwrap_or(usize::MAX).min(page.entries.len());
        Ok(page.entries[at..page.entries.len().min(at.saturating_add(count))].to_vec())
    }

    /// The entries from `offset`, or behind it where all that were there are gone, at most `count`, with their attributes where
    /// the name is still there; `.` and `..` come without. Returns the offset of the first, too. The kernel is told of every inode that comes with attributes.
    ///
    /// The kernel asks for the first of them whether or not somebody wants attributes, and for more only if somebody does:
    /// from then on those that are not known are fetched, side by side.
    pub async fn readdirplus(
        &self,
        handle: HandleId,
        mut offset: u64,
        count: usize,
    ) -> Result<(u64, Vec<(DirEntry, Option<Attr>)>), FsError> {
        let handle = self.handles.directory(handle)?;
        loop {
            let entries = self.entries_with_attributes(&handle, offset, count).await?;
            // Where all of them are gone, nothing would look like the end of the directory.
            let is_shown = |(entry, attr): &(DirEntry, Option<Attr>)| attr.is_some() || entry.name.is_dot();
            if entries.is_empty() || entries.iter().any(is_shown) {
                return Ok((offset, entries));
            }
            offset += entries.len() as u64;
        }
    }

    async fn entries_with_attributes(
        &self,
        handle: &DirHandle,
        offset: u64,
        count: usize,
    ) -> Result<Vec<(DirEntry, Option<Attr>)>, FsError> {
        let ino = handle.ino;
        let entries = self.entries_from(handle, offset, count).await?;
        let names = entries.iter().map(|entry| entry.name.clone()).filter(|name| !name.is_dot());
        let wanted = if offset == 0 { self.of_unknown_kind(ino, names) } else { names.collect() };
        self.fetch_for_listing(ino, wanted).await;
        let mut tree = self.tree();
        let now = self.clock.now();
        let with_attr = |entry: DirEntry| {
            if entry.name.is_dot() {
                return (entry, None);
            }
            let is_same = tree.entry(ino, &entry.name).is_some_and(|known| known.ino == entry.ino);
            let remembered = if is_same { tree.remember(ino, &entry.name) } else { None };
            let attr = remembered.and_then(|ino| tree.attr(ino, &self.options, now));
            (entry, attr)
        };
        Ok(entries.into_iter().map(with_attr).collect())
    }

    async fn fetch_for_listing(&self, ino: Ino, names: Vec<FileName>) {
        // Whatever could not be fetched shows the mount's defaults; its own lookup will tell why.
        if let Some((count, error)) = self.fetch_attributes_of(ino, names).await {
            log::warn!("attributes of {count} entries could not be fetched: {error}");
        }
    }

    /// Closes a directory.
    pub fn releasedir(&self, handle: HandleId) {
        if let Some(Handle::Directory(handle)) = self.handles.remove(handle)
            && let Some(directory) = self.tree().directory_mut(handle.ino)
        {
            directory.readers = directory.readers.saturating_sub(1);
        }
    }
}

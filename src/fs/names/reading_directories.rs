//! Directories that are open: what their handles show, page by page.
//!
//! A directory whose entries are known shows what it was when it was opened. A larger one is listed page by page as it is
//! read, and only the page that is being read is kept; an offset is the number of entries before it.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Asked, DirEntry, DirEntryPlus, Entry, FileName, Ino, Kind, Names, ROOT, Start};
use crate::fs::context::{Context, FsError, HandleId, Handles};

/// An open directory.
pub(crate) struct DirHandle {
    ino: Ino,
    /// Tokio's mutex, 2 in the order of locks, because the next page is listed under it.
    page: Mutex<Page>,
}

/// The part of a directory that is being read.
struct Page {
    /// The offset of the first entry.
    first: u64,
    entries: Vec<DirEntry>,
    /// Where the page that follows begins.
    next: Option<Start>,
    /// Where pages begin that were read, and their offsets, in order.
    starts: Vec<(u64, Start)>,
    began: Asked,
    /// How often this mount had changed the directory by then.
    changes: u64,
    /// Somebody has read it: who begins anew wants to see what there is now.
    is_begun: bool,
}

impl Page {
    /// Where the page begins that has the entry at `offset`, if that is another one which was read before.
    fn start_of_other(&self, offset: u64) -> Option<(u64, Start)> {
        let (first, start) = self.starts.iter().rev().find(|(first, _)| *first <= offset)?;
        (*first != self.first).then(|| (*first, start.clone()))
    }

    /// Shows a page once more. If it ends elsewhere by now, those behind it begin elsewhere.
    fn turn_to(&mut self, first: u64, entries: Vec<DirEntry>, next: Option<Start>) {
        let end = (first + entries.len() as u64, next.as_ref().and_then(|next| next.marker.as_deref()));
        let behind = self.starts.partition_point(|(start, _)| *start <= first);
        if self.starts.get(behind).is_some_and(|(start, of)| (*start, of.marker.as_deref()) != end) {
            self.starts.truncate(behind);
        }
        (self.first, self.entries, self.next) = (first, entries, next);
    }
}

/// Open directories.
pub(crate) struct Directories {
    context: Arc<Context>,
    names: Arc<Names>,
    pub(crate) handles: Handles<DirHandle>,
}

impl Directories {
    pub(crate) fn new(context: Arc<Context>, names: Arc<Names>) -> Directories {
        Directories { context, names, handles: Handles::default() }
    }

    /// Opens a directory.
    pub(crate) async fn opendir(&self, ino: Ino) -> Result<HandleId, FsError> {
        let page = Mutex::new(self.first_page(ino).await?);
        if let Some(directory) = self.names.tree().directory_mut(ino) {
            directory.readers += 1;
        }
        self.names.note_read_of(ino);
        Ok(self.handles.insert(Arc::new(DirHandle { ino, page })))
    }

    /// The beginning of a directory, as it is now.
    async fn first_page(&self, ino: Ino) -> Result<Page, FsError> {
        let (refresh, is_removed, changes) = {
            let tree = self.names.tree();
            let directory = tree.directory(ino).ok_or(FsError::NotDirectory)?;
            (directory.refresh.clone(), tree.is_removed(ino), directory.changes)
        };
        if !is_removed {
            self.names.revalidate(ino);
        }
        let dots = self.dots(ino);
        let mut page = Page {
            first: 0,
            entries: Vec::from(dots),
            next: None,
            starts: vec![(0, Start::default())],
            began: self.names.asked(ino),
            changes,
            is_begun: false,
        };
        if is_removed {
            return Ok(page);
        }
        let is_complete = || {
            let (tree, now) = (self.names.tree(), self.context.clock.now());
            tree.directory(ino).is_some_and(|directory| directory.is_complete(now, self.context.options.metadata_ttl))
        };
        if !is_complete() {
            let list = async {
                if is_complete() || self.names.list_with_neighbours(ino).await? {
                    return Ok(None);
                }
                self.names.list_page(ino, Start::default()).await.map(Some)
            };
            if let Some((listed, next)) = refresh.one_at_a_time(list).await? {
                page.entries.extend(listed);
                page.next = next;
                return Ok(page);
            }
        }
        page.entries.extend(self.known_entries(ino)?);
        Ok(page)
    }

    fn dots(&self, ino: Ino) -> [DirEntry; 2] {
        let parent = self.names.tree().place(ino).map_or(ROOT, |(parent, _)| parent);
        [(ino, "."), (parent, "..")].map(|(ino, text)| DirEntry {
            ino,
            name: FileName::dot_or(text.to_owned()),
            kind: Kind::Directory,
        })
    }

    fn known_entries(&self, ino: Ino) -> Result<Vec<DirEntry>, FsError> {
        let tree = self.names.tree();
        let children = tree.directory(ino).ok_or(FsError::NotDirectory)?.children();
        let shown =
            |name: &FileName, entry: &Entry| DirEntry { ino: entry.ino, name: name.clone(), kind: tree.kind_of(entry) };
        Ok(children.iter().map(|(name, entry)| shown(name, entry)).collect())
    }

    /// The entries of an open directory from `offset` on, at most `count`.
    pub(crate) async fn readdir(&self, handle: HandleId, offset: u64, count: usize) -> Result<Vec<DirEntry>, FsError> {
        let handle = self.handles.get(handle)?;
        let mut entries = self.entries_from(&handle, offset, count).await?;
        let names: Vec<FileName> = entries.iter().map(|entry| entry.name.clone()).collect();
        warn_of(self.names.learn_kinds(handle.ino, &names).await);
        let tree = self.names.tree();
        for entry in &mut entries {
            if let Some(known) = tree.entry(handle.ino, &entry.name).filter(|known| known.ino == entry.ino) {
                entry.kind = tree.kind_of(known);
            }
        }
        Ok(entries)
    }

    /// Whether a page that nobody has read yet is no longer what the directory is.
    fn is_outdated_page(&self, ino: Ino, page: &Page) -> bool {
        let age = self.context.clock.now().duration_since(page.began.at);
        let is_changed = self.names.tree().directory(ino).is_some_and(|directory| directory.changes != page.changes);
        is_changed || age.is_ok_and(|age| age >= self.context.options.metadata_ttl)
    }

    async fn entries_from(&self, handle: &DirHandle, offset: u64, count: usize) -> Result<Vec<DirEntry>, FsError> {
        let mut page = handle.page.lock().await;
        let is_begun = std::mem::replace(&mut page.is_begun, true);
        // Who has opened it and reads it later, after `rewinddir` for all that anybody knows, too.
        if offset == 0 && (is_begun || self.is_outdated_page(handle.ino, &page)) {
            *page = Page { is_begun: true, ..self.first_page(handle.ino).await? };
        }
        if let Some((first, start)) = page.start_of_other(offset) {
            let (entries, next) = self.names.list_page(handle.ino, start).await?;
            let dots = self.dots(handle.ino).into_iter().filter(|_| first == 0);
            page.turn_to(first, dots.chain(entries).collect(), next);
        }
        while offset >= page.first + page.entries.len() as u64 {
            let Some(start) = page.next.clone() else { return Ok(Vec::new()) };
            let (entries, next) = self.names.list_page(handle.ino, start.clone()).await?;
            page.first += page.entries.len() as u64;
            let first = page.first;
            page.starts.push((first, start));
            (page.entries, page.next) = (entries, next);
            if page.next.is_none() {
                self.names.note_all_listed(handle.ino, &page.began);
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
    pub(crate) async fn readdirplus(
        &self,
        handle: HandleId,
        mut offset: u64,
        count: usize,
    ) -> Result<(u64, Vec<DirEntryPlus>), FsError> {
        let handle = self.handles.get(handle)?;
        loop {
            let entries = self.entries_with_attributes(&handle, offset, count).await?;
            // Where all of them are gone, nothing would look like the end of the directory.
            let is_shown = |(entry, attr): &DirEntryPlus| attr.is_some() || entry.name.is_dot();
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
    ) -> Result<Vec<DirEntryPlus>, FsError> {
        let ino = handle.ino;
        let entries = self.entries_from(handle, offset, count).await?;
        let names: Vec<FileName> =
            entries.iter().map(|entry| entry.name.clone()).filter(|name| !name.is_dot()).collect();
        let are_wanted = offset > 0 && !self.names.tree().inodes.is_being_emptied(ino);
        warn_of(match are_wanted {
            true => self.names.fetch_attributes_of(ino, names).await,
            false => self.names.learn_kinds(ino, &names).await,
        });
        let mut tree = self.names.tree();
        let now = self.context.clock.now();
        let with_attr = |entry: DirEntry| {
            if entry.name.is_dot() {
                return (entry, None);
            }
            let is_same = tree.entry(ino, &entry.name).is_some_and(|known| known.ino == entry.ino);
            let remembered = if is_same { tree.remember(ino, &entry.name) } else { None };
            let attr = remembered.and_then(|ino| tree.attr(ino, &self.context.options, now));
            (entry, attr)
        };
        Ok(entries.into_iter().map(with_attr).collect())
    }

    /// Closes a directory.
    pub(crate) fn releasedir(&self, handle: HandleId) {
        if let Some(handle) = self.handles.remove(handle)
            && let Some(directory) = self.names.tree().directory_mut(handle.ino)
        {
            directory.readers = directory.readers.saturating_sub(1);
        }
    }
}

/// Whatever could not be fetched shows the mount's defaults; its own lookup will tell why.
fn warn_of(failed: Option<(usize, FsError)>) {
    if let Some((count, error)) = failed {
        log::warn!("attributes of {count} entries could not be fetched: {error}");
    }
}

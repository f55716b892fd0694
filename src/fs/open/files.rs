//! Open files: opening, reading and writing. What publishes them is in `closing`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{
    BackingFile, FileHandle, OpenMode, Passthrough, Publisher, Writing, inode_of, lock_inode, open_inode, writing_of,
};
use crate::fs::context::{Context, CreateFlags, FsError, HandleId, Owner};
use crate::fs::names::{
    Attr, Claim, Entry, EntryKind, FileName, Ino, Kind, METADATA_ATTEMPTS, Names, ObjectStat, Tree, of_file, renew,
};
use crate::fs::traffic::Traffic;
use crate::object::{ETag, StoredObject};
use crate::read::Object;
use crate::upload::OpenFile;

/// What opening a file gave.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The new handle.
    pub handle: HandleId,
    /// Whether pages that the kernel cached of this file are still right.
    pub keep_cache: bool,
    /// Whether the kernel must keep no pages of what is read or written by it.
    pub is_direct: bool,
    /// What the kernel reads in place of the file, if it can. Whoever may write is asked for by READ and WRITE all the same: he
    /// is direct, too.
    pub backing: Option<Arc<BackingFile>>,
}

/// Content that nobody writes yet, and the version that it begins with, or that it replaces.
struct Fresh {
    writing: Arc<Writing>,
    version: Option<ETag>,
}

/// Opens files, reads and writes them.
pub(crate) struct Files {
    pub(crate) context: Arc<Context>,
    pub(crate) names: Arc<Names>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) passthrough: Arc<Passthrough>,
}

impl Files {
    pub(crate) fn new(
        context: Arc<Context>,
        names: Arc<Names>,
        traffic: Arc<Traffic>,
        publisher: Arc<Publisher>,
    ) -> Arc<Files> {
        let passthrough = Arc::new(Passthrough::new(context.readers.copies().map(|copies| copies.cache.clone())));
        Arc::new(Files { context, names, traffic, publisher, passthrough })
    }

    /// Makes a new file and opens it; one that somebody else has made meanwhile is opened, unless it must be new. The kernel
    /// is told of the inode by this.
    pub(crate) async fn create(
        &self,
        parent: Ino,
        name: &FileName,
        permissions: u32,
        owner: Owner,
        mode: OpenMode,
    ) -> Result<(Attr, Opened), FsError> {
        self.context.refuse_if_read_only()?;
        let look = |tree: &Tree| match tree.entry(parent, name) {
            None => Ok((None, vec![Claim::Name(parent, name.clone())])),
            Some(_) if mode.exclusive => Err(FsError::Exists),
            Some(entry) if entry.what.is_directory() => Err(FsError::IsDirectory),
            // It keeps its name for as long as somebody works on it.
            Some(entry) => Ok((Some(entry.ino), Claim::work_in(parent, entry.ino))),
        };
        let (found, _claimed) = self.traffic.claim(&[(parent, name)], look).await?;
        if found.is_some() {
            return self.open_found(parent, name, mode).await;
        }
        let key = self.traffic.key_of_new(parent, name, "").await?;
        let now = self.context.clock.now();
        let attributes = self.names.attributes_of_new(parent, Kind::File, permissions, owner);
        let attributes = self.context.furnished(attributes, name.as_str());
        let making = CreateFlags { reads: mode.reads, exclusive: mode.exclusive, permissions };
        let writing = Writing::new(OpenFile::empty(&self.context.uploader, key, attributes, None), true);
        writing.temporary.store(self.context.options.temporary.includes(name.as_str(), making), Ordering::Relaxed);
        let mut tree = self.names.tree();
        let entry = Entry { ino: tree.new_ino(), seen_at: now, what: EntryKind::New };
        tree.link(parent, name, entry, now, self.context.options.metadata_ttl);
        let ino = tree.remember(parent, name).ok_or(FsError::Stale)?;
        let inode = inode_of(&mut tree, ino).ok_or(FsError::Stale)?;
        let opening = FileHandle::new((ino, inode.clone()), mode, Some(writing.clone()), None);
        let handle = self.publisher.handles.insert(Arc::new(opening));
        {
            let mut inode = inode.lock();
            (inode.writing, inode.writers) = (Some(writing), 1);
            inode.handles.push(handle);
        }
        let attr = tree.attr(ino, &self.context.options, now).ok_or(FsError::Stale)?;
        Ok((attr, Opened { handle, keep_cache: false, is_direct: true, backing: None }))
    }

    /// Opens what the kernel took for a name that nobody has. The caller works on it.
    async fn open_found(&self, parent: Ino, name: &FileName, mode: OpenMode) -> Result<(Attr, Opened), FsError> {
        let found = self.names.tell(parent, name).await?;
        let opened = match found.kind {
            Kind::File => self.open_for_writing(found.ino, mode).await,
            Kind::Directory => Err(FsError::IsDirectory),
            // Where it leads, or who answers for it, the kernel has to find out.
            _ => Err(FsError::Exists),
        };
        if opened.is_err() {
            self.names.forget(found.ino, 1);
        }
        let opened = opened?;
        // Emptied, perhaps.
        let attr = self.names.tree().attr(found.ino, &self.context.options, self.context.clock.now());
        Ok((attr.unwrap_or(found), opened))
    }

    /// Opens a file.
    pub(crate) async fn open(&self, ino: Ino, mode: OpenMode) -> Result<Opened, FsError> {
        if mode.writes {
            self.context.refuse_if_read_only()?;
        }
        let _working = self.traffic.arrive(ino).await;
        if mode.writes { self.open_for_writing(ino, mode).await } else { self.open_for_reading(ino, mode).await }
    }

    /// The same for reading. The caller works on it.
    pub(crate) async fn open_for_reading(&self, ino: Ino, mode: OpenMode) -> Result<Opened, FsError> {
        loop {
            let being_written = {
                let tree = self.names.tree();
                if !tree.is_file(ino) {
                    return Err(FsError::IsDirectory);
                }
                open_inode(&tree, ino).is_some_and(|inode| inode.lock().is_being_written())
            };
            let object = if being_written { None } else { Some(self.object_of(ino).await?) };
            let backing = match &object {
                Some(object) => self.backing_for(ino, object).await,
                None => None,
            };
            if let Some(opened) = self.open_version(ino, mode, object, backing)? {
                if opened.backing.is_some() {
                    // Nobody is told when it is read.
                    self.names.note_read_of(ino);
                }
                return Ok(opened);
            }
        }
    }

    /// Opens a file for reading, `object` or what is being written. `None` if that is not what the file is any more: others
    /// write and close while it is looked at. The kernel reads `backing` in its place if nobody has it open yet.
    fn open_version(
        &self,
        ino: Ino,
        mode: OpenMode,
        object: Option<Arc<Object>>,
        backing: Option<Arc<BackingFile>>,
    ) -> Result<Option<Opened>, FsError> {
        let mut tree = self.names.tree();
        let version = object.as_ref().map(|object| object.version().etag);
        let is_current = match tree.entry_of(ino).map(|entry| &entry.what) {
            Some(EntryKind::Object(stat)) => version.as_ref().is_none_or(|etag| stat.version.etag == *etag),
            _ => version.is_none(),
        };
        let inode = inode_of(&mut tree, ino).ok_or(FsError::Stale)?;
        let mut file = inode.lock();
        if file.is_being_written() == version.is_some() || !is_current {
            return Ok(None);
        }
        if file.is_closed() {
            file.backing = backing;
        }
        let backing = file.backing();
        if let Some((backing, version)) = backing.as_ref().zip(version.as_ref())
            && !backing.is_of(version)
        {
            // Others have replaced it since the kernel was told of this inode, or what was written to it is not what there is. Who
            // maps the file would see that.
            drop(file);
            renew(&mut tree, ino, self.context.clock.now());
            return Err(FsError::Stale);
        }
        let is_outdated = backing.as_ref().is_some_and(|backing| backing.is_outdated());
        let opening = FileHandle::new((ino, inode.clone()), mode, None, object.clone());
        let handle = self.publisher.handles.insert(Arc::new(opening));
        file.handles.push(handle);
        let Some((object, etag)) = object.zip(version) else {
            file.cached = None;
            // The kernel may show zeros at the end of a page where somebody is just appending.
            let is_direct = backing.is_none() || is_outdated;
            return Ok(Some(Opened { handle, keep_cache: false, is_direct, backing }));
        };
        for other in file.handles.iter().filter_map(|handle| self.publisher.handles.get(*handle).ok()) {
            other.note_version(&etag);
        }
        let keep_cache = file.cached.as_ref() == Some(&etag) && !object.is_damaged();
        (file.cached, file.unverified) = (Some(etag), Some(object));
        if backing.is_some() {
            // It has no pages of this inode.
            file.cached = None;
        }
        Ok(Some(Opened { handle, keep_cache, is_direct: is_outdated, backing }))
    }

    pub(crate) async fn open_for_writing(&self, ino: Ino, mode: OpenMode) -> Result<Opened, FsError> {
        let is_in_bucket = self.names.tree().entry_of(ino).is_some_and(|entry| entry.what != EntryKind::New);
        if is_in_bucket {
            self.context.refuse_if_overwrites_are()?;
        }
        if mode.truncates {
            self.traffic.keep_before_cut(ino, 0).await?;
        }
        let writing = self.open_content(ino, mode.truncates).await?;
        let (handle, backing) = {
            let mut tree = self.names.tree();
            let inode = inode_of(&mut tree, ino).ok_or(FsError::Stale)?;
            let opening = FileHandle::new((ino, inode.clone()), mode, Some(writing.clone()), None);
            let handle = self.publisher.handles.insert(Arc::new(opening));
            let mut inode = inode.lock();
            inode.handles.push(handle);
            (handle, inode.backing())
        };
        if !self.own_backing_file(ino, mode.reads).await {
            self.publisher.abandon(handle).await;
            return Err(self.leave_inode(ino).await);
        }
        let turn = if mode.truncates { self.turn_of(ino).await } else { None };
        if mode.truncates && writing.file.size() == 0 {
            // Also an empty file is changed by being emptied.
            writing.file.touch();
        } else if mode.truncates {
            let truncated = writing.file.truncate(0).await;
            writing.note_change();
            if let Err(error) = truncated {
                drop(turn);
                self.publisher.release(handle).await;
                return Err(error.into());
            }
        }
        if let Some(turn) = turn {
            turn.truncate(0).await;
        }
        Ok(Opened { handle, keep_cache: false, is_direct: true, backing })
    }

    /// The content of a file, for one more writer.
    pub(crate) async fn open_content(&self, ino: Ino, truncates: bool) -> Result<Arc<Writing>, FsError> {
        let mut fresh = None;
        loop {
            // Whoever wrote may have gone, and somebody else come, while the file was being looked at.
            if let Some(writing) = self.join_writers(ino, fresh.take())? {
                return Ok(writing);
            }
            fresh = Some(self.begin_writing(ino, truncates).await?);
        }
    }

    /// Counts one more writer of what is being written, unless that has failed, or else of `fresh`, if the file still is the
    /// version that this begins with.
    fn join_writers(&self, ino: Ino, fresh: Option<Fresh>) -> Result<Option<Arc<Writing>>, FsError> {
        let mut tree = self.names.tree();
        let version = tree.version_of(ino);
        let mut file = lock_inode(&mut tree, ino).ok_or(FsError::IsDirectory)?;
        let usable = file.writing.clone().filter(|writing| writing.file.failure().is_none());
        let fresh = fresh.filter(|fresh| fresh.version == version).map(|fresh| fresh.writing);
        let Some(writing) = usable.or(fresh) else { return Ok(None) };
        if file.writing.as_ref().is_none_or(|current| !Arc::ptr_eq(current, &writing)) {
            if file.writing.is_some() {
                // What has failed is in there.
                file.written_backing().iter().for_each(|backing| backing.set_outdated());
            }
            (file.writing, file.writers) = (Some(writing.clone()), 0);
        }
        file.writers += 1;
        file.cached = None;
        writing.take_for_content();
        Ok(Some(writing))
    }

    /// The content of a published file, ready to be changed.
    async fn begin_writing(&self, ino: Ino, truncates: bool) -> Result<Fresh, FsError> {
        if let Some(failed) = self.new_and_failed(ino) {
            // There is nothing in the bucket to go on from.
            let failure = failed.file.failure().filter(|_| !truncates);
            let (key, attributes) = (failed.file.key(), failed.file.attributes());
            let empty = || Writing::new(OpenFile::empty(&self.context.uploader, key, attributes, None), true);
            let fresh = || Fresh { writing: empty(), version: None };
            return failure.map_or_else(|| Ok(fresh()), |failure| Err(failure.into()));
        }
        let (stat, object) = self.full_stat_of(ino).await?;
        // It may be left of a rename that has failed.
        self.traffic.cleanups.stop(object.key.as_str()).await;
        let attributes = of_file(stat.attributes.unwrap_or_default().with_mtime_or(stat.last_modified));
        let begins_with = Some(object.version.etag.clone());
        if truncates {
            let mut attributes = attributes;
            attributes.forget_bytes();
            let file = OpenFile::empty(&self.context.uploader, object.key, attributes, Some(object.version.etag));
            return Ok(Fresh { writing: Writing::new(file, true), version: begins_with });
        }
        let file = OpenFile::existing(&self.context.uploader, object, attributes);
        Ok(Fresh { writing: Writing::new(file, false), version: begins_with })
    }

    /// What is being written of a file that was made here, is not in the bucket, and could not be published.
    fn new_and_failed(&self, ino: Ino) -> Option<Arc<Writing>> {
        let tree = self.names.tree();
        let is_new = tree.entry_of(ino).is_some_and(|entry| entry.what == EntryKind::New);
        writing_of(&tree, ino).filter(|writing| is_new && writing.file.failure().is_some())
    }

    /// The same with all metadata, wherever attributes come from otherwise.
    pub(crate) async fn full_stat_of(&self, ino: Ino) -> Result<(ObjectStat, StoredObject), FsError> {
        for _ in 0..METADATA_ATTEMPTS {
            let known = self.stat_of(ino).await?;
            if known.0.own_attributes().is_some() {
                return Ok(known);
            }
            let (parent, name) = self.names.tree().place(ino).ok_or(FsError::Stale)?;
            self.names.fetch_all_attributes(parent, &name).await?;
        }
        // Never guessed: what is made of them replaces those of the object.
        Err(FsError::Stale)
    }

    /// What is known of a published file, freshly enough.
    pub(crate) async fn stat_of(&self, ino: Ino) -> Result<(ObjectStat, StoredObject), FsError> {
        let attr = self.traffic.getattr(ino).await?;
        if attr.kind == Kind::Directory {
            return Err(FsError::IsDirectory);
        }
        let (stat, path) = {
            let tree = self.names.tree();
            let (parent, name) = tree.place(ino).ok_or(FsError::Stale)?;
            let path = format!("{}{name}", tree.directory_path(parent).ok_or(FsError::Stale)?);
            match tree.entry_of(ino).map(|entry| &entry.what) {
                Some(EntryKind::Object(stat)) => (stat.clone(), path),
                _ => return Err(FsError::Stale),
            }
        };
        let stored = stat.version.clone().under(self.context.key(&path)?);
        Ok((stat, stored))
    }

    /// The object behind a published file, shared by all who read it.
    pub(crate) async fn object_of(&self, ino: Ino) -> Result<Arc<Object>, FsError> {
        let (stat, stored) = self.stat_of(ino).await?;
        let object = self.object_at(ino, stored)?;
        if self.context.readers.copies().is_some()
            && let Some(description) = stat.description()
        {
            object.describe(description);
        }
        Ok(object)
    }

    fn object_at(&self, ino: Ino, stored: StoredObject) -> Result<Arc<Object>, FsError> {
        let mut tree = self.names.tree();
        let mut file = lock_inode(&mut tree, ino).ok_or(FsError::Stale)?;
        let current = file.object.upgrade().filter(|object| {
            let read = object.stored();
            read.version.etag == stored.version.etag && read.key == stored.key && !object.is_damaged()
        });
        Ok(current.unwrap_or_else(|| {
            let object = self.context.readers.object(stored);
            file.object = Arc::downgrade(&object);
            object
        }))
    }

    /// Whether somebody has a file open for writing.
    pub(crate) fn is_open_for_writing(&self, ino: Ino) -> bool {
        super::inode::is_open_for_writing(&self.names.tree(), ino)
    }
}

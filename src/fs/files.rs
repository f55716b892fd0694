//! Open files: opening, reading and writing. What publishes them is in `closing`.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::attributes::{Attr, AttrChange, Kind, of_file, type_of_name};
use super::handles::{FileHandle, Handle, HandleId};
use super::name::FileName;
use super::options::Owner;
use super::temporary::Making;
use super::traffic::Claim;
use super::tree::{Entry, Facts, Ino, Tree, What};
use super::{FileSystem, FsError};
use crate::object::{ByteRange, ETag, StoredObject};
use crate::read::{Object, ReadBytes, Reader};
use crate::store::{StoreError, StoreErrorKind};
use crate::upload::{OpenFile, PublishedFile, Segment, Taken};

/// How often a read of a file that is being written starts anew, because it had to publish bytes that are only in parts,
/// or because somebody else published meanwhile what it was reading. Once is enough unless somebody writes on.
const READ_ATTEMPTS: usize = 3;

/// How often metadata are asked for that others change at the same time.
pub(super) const METADATA_ATTEMPTS: usize = 5;

/// The content of a file that is being written, with what handles need to know of it.
pub(super) struct Writing {
    pub(super) file: Arc<OpenFile>,
    /// Nothing was written since it was made or emptied. Such a file is published late, so that a shell's redirection,
    /// which closes a duplicate before the first byte, is one PUT and not two.
    untouched: AtomicBool,
    /// It will be given another name.
    pub(super) temporary: AtomicBool,
    /// Nobody has had it open for writing: only attributes differ from the object.
    pub(super) only_attributes: AtomicBool,
    /// Std mutex: copies only.
    progress: Mutex<Progress>,
}

pub(super) struct Progress {
    /// The hold that lets it be kept although nobody writes, see `holding`.
    pub(super) held: Option<u64>,
    pub(super) last_hold: u64,
    /// How long the next failure to publish it in the background makes it wait.
    pub(super) retry_after: Duration,
    /// Read what is only in stored objects, most of all in the file's own. Those that were used last.
    readers: Vec<(StoredObject, Arc<Reader>)>,
    /// Of which publishing the names know.
    settled_serial: u64,
}

impl std::fmt::Debug for Writing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writing({})", self.file.key())
    }
}

/// Objects that one file's content is read from by readers of their own.
const READERS_MAX: usize = 4;

/// What opening a file gave.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The new handle.
    pub handle: HandleId,
    /// Whether pages that the kernel cached of this file are still right.
    pub keep_cache: bool,
    /// Whether the kernel must keep no pages of what is read or written by it.
    pub is_direct: bool,
}

/// How a file is to be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// For writing.
    pub writes: bool,
    /// Emptied first.
    pub truncates: bool,
    /// Every write goes to the end.
    pub appends: bool,
    /// For reading, too.
    pub reads: bool,
    /// It must be new.
    pub exclusive: bool,
    /// The process that opens it, by whatever number the caller of this file system knows processes; see
    /// [`FileSystem::flush`].
    pub opener: u32,
}

/// What became of a write that must not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is in the file.
    Done,
    /// So many bytes are; the rest has to wait: see [`FileSystem::write_rest`].
    Partly {
        /// Where the rest belongs.
        offset: u64,
        /// Bytes taken.
        taken: usize,
    },
}

/// Content that nobody writes yet, and the version that it begins with, or that it replaces.
struct Fresh {
    writing: Arc<Writing>,
    version: Option<ETag>,
}

impl Writing {
    fn new(file: Arc<OpenFile>, untouched: bool) -> Arc<Writing> {
        Writing::with(file, untouched, false)
    }

    /// What changes attributes of an object.
    pub(super) fn of_attributes(file: Arc<OpenFile>) -> Arc<Writing> {
        Writing::with(file, false, true)
    }

    /// What is in a new symbolic link or special file.
    pub(super) fn of_link(file: Arc<OpenFile>) -> Arc<Writing> {
        Writing::with(file, false, false)
    }

    fn with(file: Arc<OpenFile>, untouched: bool, only_attributes: bool) -> Arc<Writing> {
        let (retry_after, readers) = (Duration::ZERO, Vec::new());
        let progress = Progress { held: None, last_hold: 0, retry_after, readers, settled_serial: 0 };
        Arc::new(Writing {
            file,
            untouched: AtomicBool::new(untouched),
            temporary: AtomicBool::new(false),
            only_attributes: AtomicBool::new(only_attributes),
            progress: Mutex::new(progress),
        })
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing was written since it was made or emptied.
    pub(super) fn is_untouched(&self) -> bool {
        self.untouched.load(Ordering::Relaxed)
    }

    /// What the file is.
    pub(super) fn kind(&self) -> Kind {
        Kind::of_object(Some(&self.file.attributes()), self.file.size())
    }

    /// Attributes alone were to change, and the content is about to, too. Whatever the mode says, what has content that can
    /// be changed is a file, and stays one however short it becomes.
    pub(super) fn take_for_content(&self) {
        if self.only_attributes.swap(false, Ordering::Relaxed) {
            let Ok(()) = self.file.change_attributes(|attributes| Ok::<_, Infallible>(of_file(attributes)));
        }
    }

    /// Notes a change of the content.
    pub(super) fn note_change(&self) {
        self.untouched.store(false, Ordering::Relaxed);
        // It was not closed for the last time.
        self.progress().held = None;
    }

    /// The object, if it was published since this was asked for the last time.
    pub(super) fn newly_published(&self) -> Option<PublishedFile> {
        let published = self.file.published()?;
        let mut progress = self.progress();
        let is_new = published.serial > progress.settled_serial;
        progress.settled_serial = published.serial;
        is_new.then_some(published)
    }
}

impl FileSystem {
    /// Makes a new file and opens it; one that somebody else has made meanwhile is opened, unless it must be new. The kernel
    /// is told of the inode by this.
    pub async fn create(
        &self,
        parent: Ino,
        name: &FileName,
        permissions: u32,
        owner: Owner,
        mode: OpenMode,
    ) -> Result<(Attr, Opened), FsError> {
        self.refuse_if_read_only()?;
        let look = |tree: &Tree| match tree.entry(parent, name) {
            None => Ok((None, vec![Claim::Name(parent, name.clone())])),
            Some(_) if mode.exclusive => Err(FsError::Exists),
            Some(entry) if entry.what.is_directory() => Err(FsError::IsDirectory),
            // It keeps its name for as long as somebody works on it.
            Some(entry) => Ok((Some(entry.ino), vec![Claim::Work(entry.ino)])),
        };
        let (found, _claimed) = self.claim(&[(parent, name)], look).await?;
        if found.is_some() {
            return self.open_found(parent, name, mode).await;
        }
        let key = self.key_of_new(parent, name, "").await?;
        let now = self.clock.now();
        let mut attributes = self.attributes_of_new(parent, Kind::File, permissions, owner);
        if self.options.types_by_name {
            attributes.content_type = Some(type_of_name(name.as_str()).to_owned());
        }
        let making = Making { reads: mode.reads, exclusive: mode.exclusive, permissions };
        let writing = Writing::new(OpenFile::empty(&self.uploader, key, attributes, None), true);
        writing.temporary.store(self.options.temporary.includes(name.as_str(), making), Ordering::Relaxed);
        let mut tree = self.tree();
        let entry = Entry { ino: tree.new_ino(), seen_at: now, what: What::New };
        tree.link(parent, name, entry, now, self.options.metadata_ttl);
        let ino = tree.remember(parent, name).ok_or(FsError::Stale)?;
        let handle =
            self.handles.insert(Handle::File(Arc::new(FileHandle::new(ino, mode, Some(writing.clone()), None))));
        if let Some(file) = tree.file_mut(ino) {
            (file.writing, file.writers) = (Some(writing), 1);
            file.handles.push(handle);
        }
        let attr = tree.attr(ino, &self.options, now).ok_or(FsError::Stale)?;
        Ok((attr, Opened { handle, keep_cache: false, is_direct: true }))
    }

    /// Opens what the kernel took for a name that nobody has. The caller works on it.
    async fn open_found(&self, parent: Ino, name: &FileName, mode: OpenMode) -> Result<(Attr, Opened), FsError> {
        let found = self.tell(parent, name).await?;
        let opened = match found.kind {
            Kind::File => self.open_for_writing(found.ino, mode).await,
            Kind::Directory => Err(FsError::IsDirectory),
            // Where it leads, or who answers for it, the kernel has to find out.
            _ => Err(FsError::Exists),
        };
        if opened.is_err() {
            self.forget(found.ino, 1);
        }
        let opened = opened?;
        // Emptied, perhaps.
        let attr = self.tree().attr(found.ino, &self.options, self.clock.now());
        Ok((attr.unwrap_or(found), opened))
    }

    /// Opens a file.
    pub async fn open(&self, ino: Ino, mode: OpenMode) -> Result<Opened, FsError> {
        let opened = self.open_as(ino, mode).await;
        self.note_arrival(ino, opened)
    }

    async fn open_as(&self, ino: Ino, mode: OpenMode) -> Result<Opened, FsError> {
        if mode.writes {
            self.refuse_if_read_only()?;
            let _working = self.arrive(ino).await;
            return self.open_for_writing(ino, mode).await;
        }
        if mode.truncates {
            // Linux empties a file that is opened for reading, too.
            self.setattr(ino, AttrChange { size: Some(0), modifies: true, ..AttrChange::default() }).await?;
        }
        let _working = self.arrive(ino).await;
        loop {
            let being_written = self.tree().file(ino).ok_or(FsError::IsDirectory)?.is_being_written();
            let object = if being_written { None } else { Some(self.object_of(ino).await?) };
            if let Some(opened) = self.open_version(ino, mode, object)? {
                return Ok(opened);
            }
        }
    }

    /// Opens a file for reading, `object` or what is being written. `None` if that is not what the file is any more: others
    /// write and close while it is looked at.
    fn open_version(&self, ino: Ino, mode: OpenMode, object: Option<Arc<Object>>) -> Result<Option<Opened>, FsError> {
        let mut tree = self.tree();
        let version = object.as_ref().map(|object| object.version().etag);
        let is_current = match tree.entry_of(ino).map(|entry| &entry.what) {
            Some(What::Object(facts)) => version.as_ref().is_none_or(|etag| facts.version.etag == *etag),
            _ => version.is_none(),
        };
        let file = tree.file_mut(ino).ok_or(FsError::Stale)?;
        if file.is_being_written() == version.is_some() || !is_current {
            return Ok(None);
        }
        let handle = self.handles.insert(Handle::File(Arc::new(FileHandle::new(ino, mode, None, object.clone()))));
        file.handles.push(handle);
        let Some((object, etag)) = object.zip(version) else {
            file.cached = None;
            // The kernel may show zeros at the end of a page where somebody is just appending.
            return Ok(Some(Opened { handle, keep_cache: false, is_direct: true }));
        };
        for other in file.handles.iter().filter_map(|handle| self.handles.file(*handle).ok()) {
            other.note_version(&etag);
        }
        let keep_cache = file.cached.as_ref() == Some(&etag) && !object.is_damaged();
        file.cached = Some(etag);
        Ok(Some(Opened { handle, keep_cache, is_direct: false }))
    }

    pub(super) async fn open_for_writing(&self, ino: Ino, mode: OpenMode) -> Result<Opened, FsError> {
        let writing = self.open_content(ino, mode.truncates).await?;
        let handle =
            self.handles.insert(Handle::File(Arc::new(FileHandle::new(ino, mode, Some(writing.clone()), None))));
        if let Some(file) = self.tree().file_mut(ino) {
            file.handles.push(handle);
        }
        if mode.truncates && writing.file.size() == 0 {
            // Also an empty file is changed by being emptied.
            writing.file.touch();
        } else if mode.truncates {
            let truncated = writing.file.truncate(0).await;
            writing.note_change();
            if let Err(error) = truncated {
                self.release(handle).await;
                return Err(error.into());
            }
        }
        Ok(Opened { handle, keep_cache: false, is_direct: true })
    }

    /// The content of a file, for one more writer.
    pub(super) async fn open_content(&self, ino: Ino, truncates: bool) -> Result<Arc<Writing>, FsError> {
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
        let mut tree = self.tree();
        let version = tree.version_of(ino);
        let file = tree.file_mut(ino).ok_or(FsError::IsDirectory)?;
        let usable = file.writing.clone().filter(|writing| writing.file.failure().is_none());
        let fresh = fresh.filter(|fresh| fresh.version == version).map(|fresh| fresh.writing);
        let Some(writing) = usable.or(fresh) else { return Ok(None) };
        if file.writing.as_ref().is_none_or(|current| !Arc::ptr_eq(current, &writing)) {
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
            let empty = || Writing::new(OpenFile::empty(&self.uploader, key, attributes, None), true);
            let fresh = || Fresh { writing: empty(), version: None };
            return failure.map_or_else(|| Ok(fresh()), |failure| Err(failure.into()));
        }
        let (facts, object) = self.all_facts_of(ino).await?;
        // It may be left of a rename that has failed.
        self.cleanings.stop(object.key.as_str()).await;
        let attributes = of_file(facts.attributes.unwrap_or_default().with_mtime_or(facts.last_modified));
        let begins_with = Some(object.version.etag.clone());
        if truncates {
            let mut attributes = attributes;
            attributes.forget_bytes();
            let file = OpenFile::empty(&self.uploader, object.key, attributes, Some(object.version.etag));
            return Ok(Fresh { writing: Writing::new(file, true), version: begins_with });
        }
        let file = OpenFile::existing(&self.uploader, object, attributes);
        Ok(Fresh { writing: Writing::new(file, false), version: begins_with })
    }

    /// What is being written of a file that was made here, is not in the bucket, and could not be published.
    fn new_and_failed(&self, ino: Ino) -> Option<Arc<Writing>> {
        let tree = self.tree();
        let is_new = tree.entry_of(ino).is_some_and(|entry| entry.what == What::New);
        tree.file(ino)?.writing.clone().filter(|writing| is_new && writing.file.failure().is_some())
    }

    /// The same with all metadata, wherever attributes come from otherwise.
    pub(super) async fn all_facts_of(&self, ino: Ino) -> Result<(Facts, StoredObject), FsError> {
        for _ in 0..METADATA_ATTEMPTS {
            let known = self.facts_of(ino).await?;
            if known.0.attributes.is_some() {
                return Ok(known);
            }
            let (parent, name) = self.tree().place(ino).ok_or(FsError::Stale)?;
            self.fetch_all_attributes(parent, &name).await?;
        }
        // Never guessed: what is made of them replaces those of the object.
        Err(FsError::Stale)
    }

    /// What is known of a published file, freshly enough.
    pub(super) async fn facts_of(&self, ino: Ino) -> Result<(Facts, StoredObject), FsError> {
        let attr = self.getattr(ino).await?;
        if attr.kind == Kind::Directory {
            return Err(FsError::IsDirectory);
        }
        let (facts, path) = {
            let tree = self.tree();
            let (parent, name) = tree.place(ino).ok_or(FsError::Stale)?;
            let path = format!("{}{name}", tree.directory_path(parent).ok_or(FsError::Stale)?);
            match tree.entry_of(ino).map(|entry| &entry.what) {
                Some(What::Object(facts)) => (facts.clone(), path),
                _ => return Err(FsError::Stale),
            }
        };
        let stored = facts.version.clone().under(self.key(&path)?);
        Ok((facts, stored))
    }

    /// The object behind a published file, shared by all who read it.
    pub(super) async fn object_of(&self, ino: Ino) -> Result<Arc<Object>, FsError> {
        let (_, stored) = self.facts_of(ino).await?;
        let mut tree = self.tree();
        let file = tree.file_mut(ino).ok_or(FsError::Stale)?;
        let current = file.object.upgrade().filter(|object| {
            let read = object.stored();
            read.version.etag == stored.version.etag && read.key == stored.key && !object.is_damaged()
        });
        Ok(current.unwrap_or_else(|| {
            let object = self.readers.object(stored);
            file.object = Arc::downgrade(&object);
            object
        }))
    }

    /// Reads up to `len` bytes from `offset`; fewer only at the end of the file.
    pub async fn read(&self, handle: HandleId, offset: u64, len: usize) -> Result<ReadBytes, FsError> {
        let handle = self.handles.file(handle)?;
        if handle.begins_to_read() {
            self.note_read_of(handle.ino);
        }
        for _ in 1..READ_ATTEMPTS {
            let reader = handle.reader();
            match self.read_once(&handle, offset, len).await {
                // This mount itself has replaced the version meanwhile.
                Err(FsError::Stale) if self.is_outdated(&handle, reader.as_ref()) => {
                    self.until_attributes_are_published(&handle).await;
                }
                result => return result,
            }
        }
        self.read_once(&handle, offset, len).await
    }

    /// Whether somebody has a file open for writing.
    pub fn is_open_for_writing(&self, ino: Ino) -> bool {
        self.tree().file(ino).is_some_and(|file| file.writers > 0)
    }

    /// What is being written of the file that a handle is open for.
    pub(super) fn writing_of(&self, handle: &FileHandle) -> Option<Arc<Writing>> {
        match &handle.writing {
            Some(writing) => Some(writing.clone()),
            None => self.tree().file(handle.ino)?.writing.clone(),
        }
    }

    /// Whether a handle that read by `reader` would read something else now.
    fn is_outdated(&self, handle: &FileHandle, reader: Option<&Arc<Reader>>) -> bool {
        let same = match (handle.reader(), reader) {
            (Some(now), Some(before)) => Arc::ptr_eq(&now, before),
            (now, before) => now.is_none() && before.is_none(),
        };
        !same || self.writing_of(handle).is_some()
    }

    /// Attributes of the file that is read may be published right now, which makes a new version of the same bytes.
    async fn until_attributes_are_published(&self, handle: &FileHandle) {
        let writing = self.writing_of(handle).filter(|writing| writing.is_only_attributes());
        if let Some(writing) = writing {
            drop(writing.file.hold_still().await);
            self.take_new_version(handle.ino, &writing);
        }
    }

    async fn read_once(&self, handle: &FileHandle, offset: u64, len: usize) -> Result<ReadBytes, FsError> {
        if let Some(writing) = self.writing_of(handle).filter(|writing| !writing.is_only_attributes()) {
            return self.read_written(&writing, offset, len).await;
        }
        if handle.is_of_old_version() {
            return Err(FsError::Stale);
        }
        let reader = match handle.reader() {
            Some(reader) => reader,
            None => {
                // It was opened while somebody wrote, who has closed since.
                handle.read_from(&self.object_of(handle.ino).await?);
                handle.reader().ok_or(FsError::Stale)?
            }
        };
        let bytes = reader.read(offset, len).await.map_err(|error| {
            if error.kind == StoreErrorKind::Corrupted {
                // Pages that the kernel has of it may be damaged, too.
                self.forget_cached(handle.ino);
            }
            self.lost(error)
        })?;
        self.confirm(handle.ino, reader.object());
        Ok(bytes)
    }

    /// What the kernel has cached of a file is not right any more.
    fn forget_cached(&self, ino: Ino) {
        if let Some(file) = self.tree().file_mut(ino) {
            file.cached = None;
        }
    }

    /// Requests are pinned to the version: an answer shows that it is still the one.
    fn confirm(&self, ino: Ino, object: &Object) {
        let Some(ago) = object.confirmed_ago() else { return };
        let Some(at) = self.clock.now().checked_sub(ago) else { return };
        if let Some(entry) = self.tree().entry_of_mut(ino)
            && entry.seen_at < at
            && matches!(&entry.what, What::Object(facts) if facts.version.etag == object.version().etag)
        {
            entry.seen_at = at;
        }
    }

    /// Reads a file that is being written: what is in memory from there, what is in stored objects from those, and what is
    /// only in parts, which nobody can read before they are complete, by publishing first.
    pub(super) async fn read_written(&self, writing: &Writing, offset: u64, len: usize) -> Result<ReadBytes, FsError> {
        let end = offset.saturating_add(len as u64);
        for _ in 0..READ_ATTEMPTS {
            let published = writing.file.published();
            let segments = writing.file.segments(offset, end);
            if segments.contains(&Segment::Unreadable) {
                writing.file.publish_step().await?;
                continue;
            }
            let read = self.read_segments(writing, published.as_ref(), offset, segments).await;
            // While it is published, an object that it was copied from may go already.
            if read.as_ref().is_err_and(StoreError::is_of_version_gone) && writing.file.is_publishing() {
                break;
            }
            // The object may have been replaced or moved since the segments were asked for.
            if published.map(|published| published.serial) == writing.file.published().map(|now| now.serial) {
                return read.map(ReadBytes::from).map_err(|error| self.lost(error));
            }
        }
        // Somebody publishes, perhaps all the time: for once this has to wait, or they have.
        let _still = writing.file.hold_still().await;
        let segments = writing.file.segments(offset, end);
        let read = self.read_segments(writing, writing.file.published().as_ref(), offset, segments).await;
        read.map(ReadBytes::from).map_err(|error| self.lost(error))
    }

    /// Puts the segments from `offset` on together; those in the file's own object are read from the version `published`.
    async fn read_segments(
        &self,
        writing: &Writing,
        published: Option<&PublishedFile>,
        offset: u64,
        segments: Vec<Segment>,
    ) -> Result<Vec<u8>, StoreError> {
        let gone = || {
            let key = writing.file.key();
            StoreError::new(StoreErrorKind::Changed, "GetObject", key.as_str(), "the version to read from is gone")
        };
        let mut bytes = Vec::new();
        for segment in segments {
            let mut serial = None;
            let (stored, range) = match segment {
                Segment::Held(held) if bytes.is_empty() => {
                    bytes = held;
                    continue;
                }
                Segment::Held(held) => {
                    bytes.extend_from_slice(&held);
                    continue;
                }
                Segment::Base(range) => {
                    let published = published.ok_or_else(gone)?;
                    serial = Some(published.serial).filter(|_| offset + bytes.len() as u64 == range.start());
                    (published.object.clone(), range)
                }
                Segment::Other(object, range) => ((*object).clone(), range),
                Segment::Unreadable => return Err(gone()),
            };
            let reader = self.reader_of(writing, stored);
            let piece = reader.read(range.start(), range.len() as usize).await?;
            if (piece.as_ref().len() as u64) < range.len() {
                return Err(gone());
            }
            self.see_to_what_is_read(writing, reader.object(), &piece, range, serial).await?;
            bytes.extend_from_slice(piece.as_ref());
        }
        Ok(bytes)
    }

    /// What is read of a file that is open for writing may be published with the next change of it, so that is not to
    /// happen without its being compared: at once, or before that if it lies where it is in the file's own object, which
    /// had been made `serial` times.
    async fn see_to_what_is_read(
        &self,
        writing: &Writing,
        object: &Object,
        piece: &ReadBytes,
        range: ByteRange,
        serial: Option<u64>,
    ) -> Result<(), StoreError> {
        if piece.is_verified() {
            if object.has_verified_all() {
                writing.file.note_verified(object.number());
            }
            return Ok(());
        }
        let checksum = self.store.limits().checksum.of(piece.as_ref());
        if serial.is_some_and(|serial| writing.file.note_unverified(range, checksum, object.number(), serial)) {
            return Ok(());
        }
        self.uploader.compare(&object.stored(), range, checksum).await
    }

    fn reader_of(&self, writing: &Writing, stored: StoredObject) -> Arc<Reader> {
        let mut progress = writing.progress();
        if let Some(at) = progress.readers.iter().position(|(known, _)| *known == stored) {
            progress.readers[..=at].rotate_right(1);
            return progress.readers[0].1.clone();
        }
        let reader = Arc::new(self.readers.object(stored.clone()).reader());
        progress.readers.truncate(READERS_MAX - 1);
        progress.readers.insert(0, (stored, reader.clone()));
        reader
    }

    /// Takes as many of the bytes as go in without waiting. Never blocks.
    pub fn write(&self, handle: HandleId, offset: u64, data: &[u8]) -> Result<WriteOutcome, FsError> {
        let handle = self.handles.file(handle)?;
        let writing = handle.writing.as_ref().ok_or(FsError::BadHandle)?;
        let offset = if handle.mode.appends { writing.file.size() } else { offset };
        let taken = writing.file.try_write(offset, data)?;
        writing.note_change();
        Ok(match taken {
            Taken::All => WriteOutcome::Done,
            Taken::Some(taken) => WriteOutcome::Partly { offset: offset + taken as u64, taken },
        })
    }

    /// Takes the rest of a write, waiting for whatever it needs. `done` counts the bytes that are in the file; whoever
    /// drops the future leaves it at that.
    pub async fn write_rest(
        &self,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        done: &AtomicUsize,
    ) -> Result<(), FsError> {
        let handle = self.handles.file(handle)?;
        let writing = handle.writing.as_ref().ok_or(FsError::BadHandle)?;
        writing.file.write(offset, data, done).await?;
        writing.note_change();
        Ok(())
    }

    pub(super) fn refuse_if_read_only(&self) -> Result<(), FsError> {
        if self.options.read_only { Err(FsError::ReadOnly) } else { Ok(()) }
    }

    /// An object that vanished under a reader is stale, not missing.
    fn lost(&self, error: StoreError) -> FsError {
        match self.told(error) {
            FsError::NotFound => FsError::Stale,
            other => other,
        }
    }
}

//! Reading open files.

use super::{FileHandle, Files, Writing, open_inode};
use crate::fs::context::{FsError, HandleId};
use crate::fs::names::{EntryKind, Ino};
use crate::object::{ByteRange, StoredObject};
use crate::read::{Object, ReadBytes, Reader};
use crate::store::{Op, StoreError, StoreErrorKind};
use crate::upload::{PublishedFile, Segment};
use std::sync::Arc;

/// How often a read of a file that is being written starts anew, because it had to publish bytes that are only in parts,
/// or because somebody else published meanwhile what it was reading. Once is enough unless somebody writes on.
const READ_ATTEMPTS: usize = 3;

/// Objects that one file's content is read from by readers of their own.
const READERS_MAX: usize = 4;

impl Files {
    /// Reads up to `len` bytes from `offset`; fewer only at the end of the file.
    pub(crate) async fn read(&self, handle: HandleId, offset: u64, len: usize) -> Result<ReadBytes, FsError> {
        let handle = self.publisher.handles.get(handle)?;
        if handle.begins_to_read() {
            self.names.note_read_of(handle.ino);
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

    /// Whether a handle that read by `reader` would read something else now.
    fn is_outdated(&self, handle: &FileHandle, reader: Option<&Arc<Reader>>) -> bool {
        let same = match (handle.reader(), reader) {
            (Some(now), Some(before)) => Arc::ptr_eq(&now, before),
            (now, before) => now.is_none() && before.is_none(),
        };
        !same || handle.writing().is_some()
    }

    /// Attributes of the file that is read may be published right now, which makes a new version of the same bytes.
    async fn until_attributes_are_published(&self, handle: &FileHandle) {
        let writing = handle.writing().filter(|writing| writing.is_only_attributes());
        if let Some(writing) = writing {
            drop(writing.file.hold_still().await);
            self.publisher.take_new_version(handle.ino, &writing);
        }
    }

    async fn read_once(&self, handle: &FileHandle, offset: u64, len: usize) -> Result<ReadBytes, FsError> {
        if let Some(bytes) = self.read_backing(handle, offset, len).await {
            return Ok(bytes);
        }
        if let Some(writing) = handle.writing().filter(|writing| !writing.is_only_attributes()) {
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
            self.context.lost(error)
        })?;
        self.confirm(handle.ino, reader.object());
        Ok(bytes)
    }

    /// What the kernel has cached of a file is not right any more.
    fn forget_cached(&self, ino: Ino) {
        if let Some(inode) = open_inode(&self.names.tree(), ino) {
            inode.lock().cached = None;
        }
    }

    /// Requests are pinned to the version: an answer shows that it is still the one.
    fn confirm(&self, ino: Ino, object: &Object) {
        let Some(ago) = object.newly_confirmed_ago() else { return };
        let Some(at) = self.context.clock.now().checked_sub(ago) else { return };
        let etag = object.version().etag;
        self.names.tree().change_entry_of(ino, |entry| {
            if entry.seen_at < at && matches!(&entry.what, EntryKind::Object(stat) if stat.version.etag == etag) {
                entry.seen_at = at;
            }
        });
    }

    /// Reads a file that is being written: what is in memory from there, what is in stored objects from those, and what is
    /// only in parts, which nobody can read before they are complete, by publishing first.
    pub(crate) async fn read_written(&self, writing: &Writing, offset: u64, len: usize) -> Result<ReadBytes, FsError> {
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
                return read.map(ReadBytes::from).map_err(|error| self.context.lost(error));
            }
        }
        // Somebody publishes, perhaps all the time: for once this has to wait, or they have.
        let _still = writing.file.hold_still().await;
        let segments = writing.file.segments(offset, end);
        let read = self.read_segments(writing, writing.file.published().as_ref(), offset, segments).await;
        read.map(ReadBytes::from).map_err(|error| self.context.lost(error))
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
            StoreError::new(StoreErrorKind::Changed, Op::GetObject, key.as_str(), "the version to read from is gone")
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
        let checksum = self.context.store.limits().checksum.of(piece.as_ref());
        if serial.is_some_and(|serial| writing.file.note_unverified(range, checksum, object.number(), serial)) {
            return Ok(());
        }
        self.context.uploader.compare(&object.stored(), range, checksum).await
    }

    fn reader_of(&self, writing: &Writing, stored: StoredObject) -> Arc<Reader> {
        let mut progress = writing.progress();
        if let Some(at) = progress.readers.iter().position(|(known, _)| *known == stored) {
            progress.readers[..=at].rotate_right(1);
            return progress.readers[0].1.clone();
        }
        let reader = Arc::new(self.context.readers.object(stored.clone()).reader());
        progress.readers.truncate(READERS_MAX - 1);
        progress.readers.insert(0, (stored, reader.clone()));
        reader
    }
}

//! Calls that change or find whole ranges without moving their bytes: copies, holes, room.

use std::sync::Arc;

use super::{FileHandle, Files};
use crate::fs::context::{FsError, HandleId};
use crate::object::{ByteRange, StoredObject};
use crate::store::StoreErrorKind;

/// How often a copy is begun anew because its source is published meanwhile.
const COPY_ATTEMPTS: usize = 5;

/// What `fallocate` does with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Makes sure that it can be written to: there is always room, so at most the file becomes longer.
    Reserve {
        /// Whether the file becomes longer.
        grows: bool,
    },
    /// Makes zeros of it.
    Zero {
        /// Whether the file becomes longer.
        grows: bool,
    },
}

/// A byte of what kind to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekTo {
    /// One that was written.
    Data,
    /// One in a hole; the end of the file is in one.
    Hole,
}

impl Files {
    /// Puts `len` bytes from `from_offset` of one file at `to_offset` of another, or of the same, as far as there are so
    /// many, and returns how many that was. What is in the bucket is copied there, and moves nowhere.
    ///
    /// Changes of another file that are not published are published by this.
    pub(crate) async fn copy_range(
        &self,
        (from, from_offset): (HandleId, u64),
        (to, to_offset): (HandleId, u64),
        len: u64,
    ) -> Result<u64, FsError> {
        let (source, target) = (self.publisher.handles.get(from)?, self.publisher.handles.get(to)?);
        let writing = target.writing.as_ref().ok_or(FsError::BadHandle)?;
        let end = from_offset.saturating_add(len);
        to_offset.checked_add(len).ok_or(FsError::TooLarge)?;
        if [&source, &target].iter().any(|handle| handle.inode.lock().written_backing().is_some()) {
            // What is stored in a mapping of the one, or is to be seen in one of the other, has to come by here: the kernel copies by
            // reading and writing.
            return Err(FsError::NotSupported);
        }
        let source_writing = source.writing();
        if let Some(own) = source_writing.as_ref().filter(|own| Arc::ptr_eq(own, writing)) {
            let Some(range) = ByteRange::new(from_offset, end.min(own.file.size())) else { return Ok(0) };
            own.file.copy_within(range.start()..range.end(), to_offset).await?;
            writing.note_change();
            return Ok(range.len());
        }
        // From when the target refers to it, this mount neither replaces nor removes the source's object before that is copied.
        let _working = self.traffic.work_on(source.ino).await;
        for _ in 1..COPY_ATTEMPTS {
            let object = self.source_object(&source).await?;
            let Some(range) = ByteRange::new(from_offset, end.min(object.version.size)) else { return Ok(0) };
            writing.file.copy_from(&object, range, to_offset).await?;
            writing.note_change();
            if self.is_source_still(&source, &object).await {
                return Ok(range.len());
            }
        }
        Err(FsError::Remote(StoreErrorKind::Busy))
    }

    /// The object to copy from, which has all that was written.
    async fn source_object(&self, source: &FileHandle) -> Result<StoredObject, FsError> {
        match source.writing() {
            Some(other) => {
                other.file.publish_step().await?;
                self.publisher.settle(source.ino, &other);
                Ok(other.file.published().ok_or(FsError::Stale)?.object)
            }
            None => Ok(self.object_of(source.ino).await?.stored()),
        }
    }

    /// Whether the source is the version that was copied from, and nobody has been about to replace that since before anybody
    /// could know that it is needed.
    async fn is_source_still(&self, source: &FileHandle, object: &StoredObject) -> bool {
        let Some(other) = source.writing() else {
            return self.names.tree().version_of(source.ino).as_ref() == Some(&object.version.etag);
        };
        let is_publishing = other.file.is_publishing();
        if is_publishing {
            drop(other.file.hold_still().await);
        }
        !is_publishing && other.file.published().is_some_and(|published| published.object == *object)
    }

    /// Makes room for a range, or zeros of it.
    pub(crate) async fn allocate(
        &self,
        handle: HandleId,
        offset: u64,
        len: u64,
        how: Allocation,
    ) -> Result<(), FsError> {
        let handle = self.publisher.handles.get(handle)?;
        let writing = handle.writing.as_ref().ok_or(FsError::BadHandle)?;
        let end = offset.checked_add(len).ok_or(FsError::TooLarge)?;
        if len == 0 {
            return Err(FsError::Invalid);
        }
        let turn = self.turn_of(handle.ino).await;
        let is_room_there = |grows: bool| !grows || end <= writing.file.size();
        match how {
            Allocation::Reserve { grows } if is_room_there(grows) => {
                // As ext4 and XFS do.
                writing.file.touch();
                self.names.note_change_of(handle.ino);
                return Ok(());
            }
            Allocation::Reserve { .. } => writing.file.truncate(end).await?,
            Allocation::Zero { grows } => writing.file.zero(offset..end, grows).await?,
        }
        if let Some(turn) = turn {
            match how {
                Allocation::Reserve { .. } => turn.truncate(end).await,
                Allocation::Zero { grows } => turn.zero(offset..end, grows).await,
            }
        }
        writing.note_change();
        Ok(())
    }

    /// The first byte at or behind `offset` of a kind. Only a file that is being written has holes: what is in the bucket
    /// is all data.
    pub(crate) fn seek(&self, handle: HandleId, offset: u64, to: SeekTo) -> Result<u64, FsError> {
        let handle = self.publisher.handles.get(handle)?;
        let found = match handle.writing() {
            Some(writing) => writing.file.find(offset, to == SeekTo::Hole),
            None => {
                let reader = handle.reader();
                // It was opened while somebody wrote, who has closed since.
                let known = || {
                    self.names
                        .tree()
                        .attr(handle.ino, &self.context.options, self.context.clock.now())
                        .map(|attr| attr.size)
                };
                let read = reader.map(|reader| reader.object().version().size);
                let size = read.or_else(known).ok_or(FsError::Stale)?;
                (offset < size).then_some(if to == SeekTo::Hole { size } else { offset })
            }
        };
        found.ok_or(FsError::NoSuchOffset)
    }
}

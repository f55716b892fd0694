//! Calls that change or find whole ranges without moving their bytes: copies, holes, room.

use std::sync::Arc;

use super::files::version_of;
use super::handles::HandleId;
use super::{FileSystem, FsError};
use crate::read::Version;
use crate::upload::SourceObject;
use crate::wire::ByteRange;

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

impl FileSystem {
    /// Puts `len` bytes from `from_offset` of one file at `to_offset` of another, or of the same, as far as there are so
    /// many, and returns how many that was. What is in the bucket is copied there, and moves nowhere.
    ///
    /// Changes of another file that are not published are published by this.
    pub async fn copy_range(
        &self,
        (from, from_offset): (HandleId, u64),
        (to, to_offset): (HandleId, u64),
        len: u64,
    ) -> Result<u64, FsError> {
        let (source, target) = (self.handles.file(from)?, self.handles.file(to)?);
        let writing = target.writing.as_ref().ok_or(FsError::BadHandle)?;
        let end = from_offset.saturating_add(len);
        to_offset.checked_add(len).ok_or(FsError::TooLarge)?;
        let source_writing = self.writing_of(&source);
        if let Some(own) = source_writing.as_ref().filter(|own| Arc::ptr_eq(own, writing)) {
            let Some(range) = ByteRange::new(from_offset, end.min(own.file.size())) else { return Ok(0) };
            own.file.copy_within(range.start()..range.end(), to_offset).await?;
            writing.note_change(self.clock.now());
            return Ok(range.len());
        }
        let Version { key, etag, size, crc64 } = match source_writing {
            Some(other) => {
                other.file.publish_step().await?;
                self.settle(source.ino, &other);
                version_of(&other.file.published().ok_or(FsError::Stale)?)
            }
            None => self.object_of(source.ino).await?.version(),
        };
        let Some(range) = ByteRange::new(from_offset, end.min(size)) else { return Ok(0) };
        writing.file.copy_from(&SourceObject { key, etag, size, crc64 }, range, to_offset).await?;
        writing.note_change(self.clock.now());
        Ok(range.len())
    }

    /// Makes room for a range, or zeros of it.
    pub async fn allocate(&self, handle: HandleId, offset: u64, len: u64, how: Allocation) -> Result<(), FsError> {
        let handle = self.handles.file(handle)?;
        let writing = handle.writing.as_ref().ok_or(FsError::BadHandle)?;
        let end = offset.checked_add(len).ok_or(FsError::TooLarge)?;
        if len == 0 {
            return Err(FsError::Invalid);
        }
        match how {
            Allocation::Reserve { grows: false } => return Ok(()),
            Allocation::Reserve { grows: true } if end <= writing.file.size() => return Ok(()),
            Allocation::Reserve { grows: true } => writing.file.truncate(end).await?,
            Allocation::Zero { grows } => writing.file.zero(offset..end, grows).await?,
        }
        writing.note_change(self.clock.now());
        Ok(())
    }

    /// The first byte at or behind `offset` of a kind. Only a file that is being written has holes: what is in the bucket
    /// is all data.
    pub fn seek(&self, handle: HandleId, offset: u64, to: SeekTo) -> Result<u64, FsError> {
        let handle = self.handles.file(handle)?;
        let found = match self.writing_of(&handle) {
            Some(writing) => writing.file.find(offset, to == SeekTo::Hole),
            None => {
                let size = handle.reader().ok_or(FsError::Stale)?.object().version().size;
                (offset < size).then_some(if to == SeekTo::Hole { size } else { offset })
            }
        };
        found.ok_or(FsError::NoSuchOffset)
    }
}

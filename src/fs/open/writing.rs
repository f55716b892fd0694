//! Writing to open files.

use super::Files;
use super::backing::Following;
use crate::fs::context::{FsError, HandleId};
use crate::upload::Taken;
use std::sync::atomic::AtomicUsize;

/// What became of a write that must not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is in the file.
    Done,
    /// So many bytes are; the rest has to wait: see [`FileSystem::write_rest`](crate::fs::FileSystem::write_rest).
    Partly {
        /// Where the rest belongs.
        offset: u64,
        /// Bytes taken.
        taken: usize,
    },
}

impl Files {
    /// Takes as many of the bytes as go in without waiting. Never blocks.
    pub(crate) fn write(&self, handle: HandleId, offset: u64, data: &[u8]) -> Result<WriteOutcome, FsError> {
        let handle = self.publisher.handles.get(handle)?;
        let writing = handle.writing.as_ref().ok_or(FsError::BadHandle)?;
        let offset = if handle.mode.appends { writing.file.size() } else { offset };
        if handle.inode.lock().written_backing().is_some() {
            // It is written to a file on this machine's disk, too.
            return Ok(WriteOutcome::Partly { offset, taken: 0 });
        }
        let taken = writing.file.try_write(offset, data)?;
        writing.note_change();
        Ok(match taken {
            Taken::All => WriteOutcome::Done,
            Taken::Some(taken) => WriteOutcome::Partly { offset: offset + taken as u64, taken },
        })
    }

    /// Takes the rest of a write, waiting for whatever it needs. `done` counts the bytes that are in the file; whoever
    /// drops the future leaves it at that.
    pub(crate) async fn write_rest(
        &self,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        done: &AtomicUsize,
    ) -> Result<(), FsError> {
        let handle = self.publisher.handles.get(handle)?;
        let writing = handle.writing.as_ref().ok_or(FsError::BadHandle)?;
        let turn = self.turn_of(handle.ino).await;
        let following = Following { turn, offset, data, done };
        writing.file.write(offset, data, done).await?;
        writing.note_change();
        following.finish().await;
        Ok(())
    }
}

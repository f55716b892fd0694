//! Which files the kernel reads by itself, and what their handles do for that.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::backing::{BackingFile, COMPARE_BYTES, Turn};
use super::{FileHandle, Files, Publisher, open_inode, writing_of};
use crate::fs::context::{Context, FsError, HandleId};
use crate::fs::names::{Ino, renew};
use crate::read::{Object, ReadBytes};
use crate::store::{StoreError, StoreErrorKind};

impl Files {
    /// What the kernel could read by itself of a version that somebody is about to open, if nothing is open of the file.
    pub(crate) async fn backing_for(&self, ino: Ino, object: &Arc<Object>) -> Option<Arc<BackingFile>> {
        // What is to be seen anew after a lock cannot be by a reader who does not ask.
        let has_company = || self.context.others.as_ref().is_some_and(|others| others.are_there());
        if !self.passthrough.is_allowed() || has_company() {
            return None;
        }
        let is_open = open_inode(&self.names.tree(), ino).is_some_and(|inode| !inode.lock().is_closed());
        if is_open {
            return None;
        }
        let copy = object.copy_for_kernel().await?;
        BackingFile::new(copy, object.clone())
    }

    /// Somebody who may change a file has opened it, or holds it otherwise: what the kernel reads of it is that of this mount alone
    /// from now on. The caller counts as a writer. Returns whether it is; otherwise the caller lets the file go and
    /// [leaves](Files::leave_inode) it.
    ///
    /// Who may store in it by mappings is not one of them if nobody finds out until when he has them, or if the file has other bytes than
    /// what is written begins with. But two who write at the same time write to one file, whatever its readers see.
    pub(crate) async fn own_backing_file(&self, ino: Ino, may_map: bool) -> bool {
        let (backing, begins_with, others_write) = {
            let tree = self.names.tree();
            let Some(inode) = open_inode(&tree, ino) else { return true };
            let inode = inode.lock();
            let Some(backing) = inode.backing() else { return true };
            (backing, tree.version_of(ino), inode.writers > 1)
        };
        let begins_with_it = begins_with.is_none_or(|version| backing.is_of(&version));
        let may_be_mapped = self.passthrough.sees_mappings() && !backing.is_outdated();
        let can_be = (may_be_mapped || !may_map) && (begins_with_it || backing.is_written() || backing.is_outdated());
        let is_own = (can_be || others_write) && backing.detach(may_map).await;
        is_own || others_write
    }

    /// A file stays what it is for those who have it open, and its name is another inode from now on. Returns what makes the kernel
    /// look for that.
    pub(crate) async fn leave_inode(&self, ino: Ino) -> FsError {
        let waiting = writing_of(&self.names.tree(), ino);
        if let Some(waiting) = waiting
            && let Err(error) = self.publisher.publish_waiting(ino, &waiting).await
        {
            return error;
        }
        renew(&mut self.names.tree(), ino, self.context.clock.now());
        FsError::Stale
    }

    /// The bytes of a file whose backing file has what is being written.
    pub(crate) async fn read_backing(&self, handle: &FileHandle, offset: u64, len: usize) -> Option<ReadBytes> {
        let backing = handle.inode.lock().written_backing()?;
        let read = backing.read(offset, len).await;
        read.inspect_err(|error| log::debug!("the backing file of {:?} cannot be read: {error}", handle.ino)).ok()
    }

    /// Whether a file has a backing file that somebody may change.
    pub(crate) fn has_written_backing(&self, handle: HandleId) -> bool {
        let handle = self.publisher.handles.get(handle);
        handle.is_ok_and(|handle| handle.inode.lock().backing().is_some_and(|backing| backing.is_written()))
    }

    /// The turn to change a file that is open.
    pub(crate) async fn turn_of(&self, ino: Ino) -> Option<Turn> {
        let backing = open_inode(&self.names.tree(), ino)?.lock().written_backing()?;
        Some(backing.turn().await)
    }
}

impl Publisher {
    /// What a program may have stored in a mapping of a file by this handle, of which nobody is told, is written to it.
    pub(crate) async fn take_stores(&self, handle: &FileHandle) -> Result<(), FsError> {
        if !handle.mode.reads {
            return Ok(());
        }
        let backing = handle.inode.lock().backing().filter(|backing| backing.is_written());
        let Some((backing, writing)) = backing.zip(handle.writing.as_ref()) else { return Ok(()) };
        let turn = backing.turn().await;
        let found = self.context.runtime.spawn_blocking(move || turn.stores()).await;
        let (mut turn, stores) = match found {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(lost(&self.context, &backing, &error)),
            Err(_) => {
                return Err(lost(&self.context, &backing, &io::Error::other("the thread that compares has panicked")));
            }
        };
        for range in stores {
            let mut start = range.start;
            while start < range.end {
                let len = COMPARE_BYTES.min(range.end - start) as usize;
                let bytes = backing.read(start, len).await.map_err(|error| lost(&self.context, &backing, &error))?;
                writing.file.write(start, bytes.as_ref(), &AtomicUsize::new(0)).await?;
                writing.note_change();
                turn.take(start, bytes.as_ref());
                start += len as u64;
            }
        }
        Ok(())
    }
}

/// What was stored cannot be had.
fn lost(context: &Context, backing: &BackingFile, error: &io::Error) -> FsError {
    let message = format!("what was stored in a mapping of it cannot be read from this machine's disk: {error}");
    context.lost(StoreError::new(StoreErrorKind::Internal, None, &*backing.copy.identity().key, message))
}

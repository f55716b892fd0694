//! Special files: named pipes, sockets and devices, as cosfs and s3fs keep them: an empty object whose mode says what it is.
//!
//! The kernel answers for whatever is done with one; this file system keeps its name and its attributes, and is never asked
//! to open it. Whether somebody may make a device, or open one, is the kernel's to decide, too.

use std::sync::Arc;

use super::Changes;
use crate::fs::context::{FsError, Owner};
use crate::fs::names::{Attr, Entry, EntryKind, FileName, Ino, Kind, with_device};
use crate::fs::open::{Writing, lock_inode};
use crate::upload::OpenFile;

/// What kind of special file to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block device of this number.
    BlockDevice(u32),
    /// A character device of this number.
    CharDevice(u32),
}

impl Special {
    fn kind(self) -> Kind {
        match self {
            Special::Fifo => Kind::Fifo,
            Special::Socket => Kind::Socket,
            Special::BlockDevice(_) => Kind::BlockDevice,
            Special::CharDevice(_) => Kind::CharDevice,
        }
    }
}

impl Changes {
    /// Makes a special file. It waits a moment for the times and the owner that archivers set next. The kernel is told of the
    /// inode by this.
    pub(crate) async fn mknod(
        &self,
        parent: Ino,
        name: &FileName,
        special: Special,
        permissions: u32,
        owner: Owner,
    ) -> Result<Attr, FsError> {
        let (key, _claimed) = self.claim_new(parent, name, "", None).await?;
        let attributes = self.names.attributes_of_new(parent, special.kind(), permissions, owner);
        let attributes = match special {
            Special::Fifo | Special::Socket => attributes,
            Special::BlockDevice(device) | Special::CharDevice(device) => with_device(attributes, device),
        };
        self.make_and_gather(parent, name, OpenFile::empty(&self.context.uploader, key, attributes, None))
    }

    /// Gives a file that nobody opens its name, and publishes it when what is set right after its making has been gathered.
    /// The kernel is told of the inode by this.
    pub(crate) fn make_and_gather(&self, parent: Ino, name: &FileName, file: Arc<OpenFile>) -> Result<Attr, FsError> {
        let now = self.context.clock.now();
        let writing = Writing::of_link(file);
        // Listings do not tell what it is once its metadata are forgotten.
        self.names.questions.learn(writing.kind());
        let ino = {
            let mut tree = self.names.tree();
            let entry = Entry { ino: tree.new_ino(), seen_at: now, what: EntryKind::New };
            tree.link(parent, name, entry, now, self.context.options.metadata_ttl);
            let ino = tree.remember(parent, name).ok_or(FsError::Stale)?;
            if let Some(mut inode) = lock_inode(&mut tree, ino) {
                inode.writing = Some(writing.clone());
            }
            ino
        };
        self.publisher.hold(ino, &writing, self.context.options.gather_for);
        self.names.tree().attr(ino, &self.context.options, now).ok_or(FsError::Stale)
    }
}

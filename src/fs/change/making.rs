//! Making directories and symbolic links, and finding out where these lead.

use std::sync::atomic::AtomicUsize;

use super::Changes;
use crate::fs::context::{FsError, Owner};
use crate::fs::names::{Attr, Claim, Claimed, Entry, EntryKind, FileName, Ino, Kind, LINK_PERMISSIONS, Marker, Tree};
use crate::fs::open::{OpenMode, lock_inode, open_inode};
use crate::object::ObjectKey;
use crate::upload::OpenFile;

/// The longest target of a symbolic link, in bytes: the kernel takes no longer path.
const TARGET_BYTES_MAX: usize = 4096;

impl Changes {
    /// Makes a directory, which is a marker object. The kernel is told of the inode by this.
    pub(crate) async fn mkdir(
        &self,
        parent: Ino,
        name: &FileName,
        permissions: u32,
        owner: Owner,
    ) -> Result<Attr, FsError> {
        let (key, _claimed) = self.claim_new(parent, name, "/", None).await?;
        let mut attributes = self.names.attributes_of_new(parent, Kind::Directory, permissions, owner);
        attributes.set_mtime(self.context.clock.now());
        self.markers.put_marker(&key, &attributes).await?;
        let now = self.context.clock.now();
        let mut tree = self.names.tree();
        let marker = Marker { attributes, last_modified: now };
        // A listing may have shown it already, and somebody have been told of it.
        let listed = tree.entry(parent, name).filter(|entry| entry.what.is_directory()).map(|entry| entry.ino);
        let ino = listed.unwrap_or_else(|| tree.new_ino());
        let entry = Entry { ino, seen_at: now, what: EntryKind::Directory(Some(Box::new(marker))) };
        tree.link(parent, name, entry, now, self.context.options.metadata_ttl);
        let ino = tree.remember(parent, name).ok_or(FsError::Stale)?;
        tree.mark_made(ino, now);
        tree.attr(ino, &self.context.options, now).ok_or(FsError::Stale)
    }

    /// Claims a name that is about to be made, which nothing may have, and to work on the inode that it is made of, if it is
    /// of one. Returns its key, with `end` behind it.
    pub(crate) async fn claim_new(
        &self,
        parent: Ino,
        name: &FileName,
        end: &str,
        of: Option<Ino>,
    ) -> Result<(ObjectKey, Claimed), FsError> {
        self.context.refuse_if_read_only()?;
        let look = |tree: &Tree| match tree.entry(parent, name) {
            Some(_) => Err(FsError::Exists),
            None => {
                let name = Claim::Name(parent, name.clone());
                Ok(((), std::iter::once(name).chain(of.map(Claim::Work)).collect()))
            }
        };
        let ((), claimed) = self.traffic.claim(&[(parent, name)], look).await?;
        Ok((self.traffic.key_of_new(parent, name, end).await?, claimed))
    }

    /// Makes a symbolic link, as cosfs does: an object whose content is the target. It waits a moment for the times and the
    /// owner that archivers set next. The kernel is told of the inode by this.
    pub(crate) async fn symlink(
        &self,
        parent: Ino,
        name: &FileName,
        target: &[u8],
        owner: Owner,
    ) -> Result<Attr, FsError> {
        let (key, _claimed) = self.claim_new(parent, name, "", None).await?;
        let attributes = self.names.attributes_of_new(parent, Kind::Symlink, LINK_PERMISSIONS, owner);
        let file = OpenFile::empty(&self.context.uploader, key, attributes, None);
        file.write(0, target, &AtomicUsize::new(0)).await?;
        self.make_and_gather(parent, name, file)
    }

    /// The target of a symbolic link.
    pub(crate) async fn readlink(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
        let attr = self.traffic.getattr(ino).await?;
        if attr.kind != Kind::Symlink {
            return Err(FsError::Invalid);
        }
        let known = |this: &Changes| {
            let tree = this.names.tree();
            let (etag, target) = open_inode(&tree, ino)?.lock().target.clone()?;
            matches!(&tree.entry_of(ino)?.what, EntryKind::Object(stat) if stat.version.etag == etag).then_some(target)
        };
        if let Some(target) = known(self) {
            return Ok(target);
        }
        let opened = {
            let _working = self.traffic.pass_by(ino).await;
            self.files.open_for_reading(ino, OpenMode { reads: true, ..OpenMode::default() }).await?
        };
        // The version that is read, which the link may not be any more in the end.
        let reader = self.publisher.handles.get(opened.handle)?.reader();
        let target = self.files.read(opened.handle, 0, TARGET_BYTES_MAX).await.map(|bytes| bytes.as_ref().to_vec());
        self.publisher.release(opened.handle).await;
        let target = target?;
        let mut tree = self.names.tree();
        if target.contains(&0) {
            // No path. Whoever looks again finds a file.
            tree.take_for_file(ino);
            return Err(FsError::Stale);
        }
        if let Some((mut file, reader)) = lock_inode(&mut tree, ino).zip(reader) {
            file.target = Some((reader.object().version().etag, target.clone()));
        }
        Ok(target)
    }
}

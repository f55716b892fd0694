//! Changing names and attributes: mkdir, rmdir, symlink, unlink, chmod, chown, utimens, truncate. Rename is in `renaming`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::attributes::{
    Attr, AttrChange, Kind, LINK_PERMISSIONS, MODE_SET_GROUP, new_attributes, unmarked_attributes,
};
use super::files::{OpenMode, Writing};
use super::handles::HandleId;
use super::name::FileName;
use super::options::Owner;
use super::tree::{Entry, HIDDEN_DIRECTORY, Ino, Marker, What};
use super::{FileSystem, FsError};
use crate::store::Body;
use crate::upload::OpenFile;
use crate::wire::{Crc64, ObjectAttributes, ObjectKey};

/// The longest target of a symbolic link, in bytes: the kernel takes no longer path.
const TARGET_BYTES_MAX: usize = 4096;

impl FileSystem {
    /// Makes a directory, which is a marker object. The kernel is told of the inode by this.
    pub async fn mkdir(&self, parent: Ino, name: &FileName, permissions: u32, owner: Owner) -> Result<Attr, FsError> {
        let _working = self.work_on(&[parent]).await;
        let key = self.key_of_new(parent, name, "/").await?;
        let attributes = self.attributes_of_new(parent, Kind::Directory, permissions, owner);
        self.put_marker(&key, &attributes).await?;
        let now = self.clock.now();
        let mut tree = self.tree();
        let marker = Marker { attributes, last_modified: now };
        let entry = Entry { ino: tree.new_ino(), seen_at: now, what: What::Directory(Some(Box::new(marker))) };
        tree.link(parent, name, entry, now, self.options.metadata_ttl);
        tree.touch_upwards(parent, now, self.options.metadata_ttl);
        let ino = tree.remember(parent, name).ok_or(FsError::Stale)?;
        tree.mark_made(ino, now);
        tree.attr(ino, &self.options, now).ok_or(FsError::Stale)
    }

    /// The metadata of what is about to be made in `parent`. In a directory with the set-group-id bit it belongs to the
    /// directory's group, and a directory passes the bit on.
    pub(super) fn attributes_of_new(
        &self,
        parent: Ino,
        kind: Kind,
        permissions: u32,
        owner: Owner,
    ) -> ObjectAttributes {
        let parent = self.tree().attr(parent, &self.options, self.clock.now());
        let Some(parent) = parent.filter(|parent| parent.permissions & MODE_SET_GROUP != 0) else {
            return new_attributes(kind, permissions, owner);
        };
        let inherited = if kind == Kind::Directory { MODE_SET_GROUP } else { 0 };
        new_attributes(kind, permissions | inherited, Owner { gid: parent.owner.gid, ..owner })
    }

    /// The key of a name that is about to be made, which nothing may have, with `end` behind it. Whatever goes on in the
    /// background at that key has ended.
    pub(super) async fn key_of_new(&self, parent: Ino, name: &FileName, end: &str) -> Result<ObjectKey, FsError> {
        self.refuse_if_read_only()?;
        if self.find(parent, name).await? {
            return Err(FsError::Exists);
        }
        let key = self.key(&format!("{}{name}{end}", self.tree().directory_path(parent).ok_or(FsError::Stale)?))?;
        self.cleanings.stop(key.as_str()).await;
        Ok(key)
    }

    pub(super) async fn put_marker(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<(), FsError> {
        let put = self.store.put(key, Body::empty(), Crc64::EMPTY, attributes).await;
        put.map(|_| ()).map_err(|error| self.told(error))
    }

    /// Makes a symbolic link, as cosfs does: an object whose content is the target. It waits a moment for the times and the
    /// owner that archivers set next. The kernel is told of the inode by this.
    pub async fn symlink(&self, parent: Ino, name: &FileName, target: &[u8], owner: Owner) -> Result<Attr, FsError> {
        let _working = self.work_on(&[parent]).await;
        let key = self.key_of_new(parent, name, "").await?;
        let attributes = self.attributes_of_new(parent, Kind::Symlink, LINK_PERMISSIONS, owner);
        let file = OpenFile::empty(&self.uploader, key, attributes, None);
        file.write(0, target, &AtomicUsize::new(0)).await?;
        self.make_and_gather(parent, name, file)
    }

    /// The target of a symbolic link.
    pub async fn readlink(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
        let attr = self.getattr(ino).await?;
        if attr.kind != Kind::Symlink {
            return Err(FsError::Invalid);
        }
        let known = |this: &FileSystem| {
            let tree = this.tree();
            let (etag, target) = tree.file(ino)?.target.clone()?;
            matches!(&tree.entry_of(ino)?.what, What::Object(facts) if facts.etag == etag).then_some(target)
        };
        if let Some(target) = known(self) {
            return Ok(target);
        }
        let opened = self.open(ino, OpenMode { reads: true, ..OpenMode::default() }).await?;
        let target = self.read(opened.handle, 0, TARGET_BYTES_MAX).await.map(|bytes| bytes.as_ref().to_vec());
        self.release(opened.handle).await;
        let target = target?;
        let mut tree = self.tree();
        let etag = match tree.entry_of(ino).map(|entry| &entry.what) {
            Some(What::Object(facts)) => Some(facts.etag.clone()),
            _ => None,
        };
        if let Some((file, etag)) = tree.file_mut(ino).zip(etag) {
            file.target = Some((etag, target.clone()));
        }
        Ok(target)
    }

    /// Removes an empty directory.
    pub async fn rmdir(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        self.refuse_if_read_only()?;
        let _nothing_is_saved = self.saving.lock().await;
        let _working = self.work_on(&[parent]).await;
        if !self.find(parent, name).await? {
            return Err(FsError::NotFound);
        }
        let (path, holds_new) = {
            let tree = self.tree();
            let entry = tree.entry(parent, name).ok_or(FsError::NotFound)?;
            if !entry.what.is_directory() {
                return Err(FsError::NotDirectory);
            }
            let holds_new = tree.holds_new(entry.ino);
            (format!("{}{name}/", tree.directory_path(parent).ok_or(FsError::Stale)?), holds_new)
        };
        let marker = self.key(&path)?;
        if holds_new {
            return Err(FsError::NotEmpty);
        }
        self.expect_empty(&marker).await?;
        self.store.delete(&marker).await.map_err(|error| self.told(error))?;
        self.keep_directory(parent, name).await?;
        self.tree().unlink(parent, name, self.clock.now(), self.options.metadata_ttl);
        Ok(())
    }

    /// Removes a file. Whoever has it open goes on with it, under a key that nobody sees, until the last handle is closed;
    /// nothing of it is published any more.
    pub async fn unlink(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        self.refuse_if_read_only()?;
        let _working = self.work_on(&[parent]).await;
        if !self.find(parent, name).await? {
            return Err(FsError::NotFound);
        }
        let (path, ino, what) = {
            let tree = self.tree();
            let entry = tree.entry(parent, name).ok_or(FsError::NotFound)?;
            if entry.what.is_directory() {
                return Err(FsError::IsDirectory);
            }
            let path = format!("{}{name}", tree.directory_path(parent).ok_or(FsError::Stale)?);
            (path, entry.ino, entry.what.clone())
        };
        let key = self.key(&path)?;
        let removing = |has_object: bool| async move {
            if has_object || what != What::New {
                self.keep_directory(parent, name).await?;
                self.remove_object(&key).await?;
            }
            let now = self.clock.now();
            let mut tree = self.tree();
            tree.unlink(parent, name, now, self.options.metadata_ttl);
            tree.touch_upwards(parent, now, self.options.metadata_ttl);
            Ok(())
        };
        // Dropped last: whoever has waited for the file finds it as it is then.
        let _stopped = self.stop_publishing(ino);
        let _alone = self.move_alone(&[ino]).await;
        self.take_name_from(ino, removing).await
    }

    /// Removes an object, after letting go on their way whoever wants to copy from it.
    pub(super) async fn remove_object(&self, key: &ObjectKey) -> Result<(), FsError> {
        self.uploader.release_source(key, None).await;
        self.store.delete(key).await.map_err(|error| self.told(error))
    }

    /// Takes its name from a file by `removing`, which removes or replaces what is in the bucket; it is told whether what is
    /// being written of the file has made an object there. A file that is open lives on without a name.
    pub(super) async fn take_name_from<F>(&self, ino: Ino, removing: impl FnOnce(bool) -> F) -> Result<(), FsError>
    where
        F: Future<Output = Result<(), FsError>>,
    {
        if let Some(waiting) = self.take_waiting(ino) {
            // Nobody has it open: what waited is not wanted any more. It may have been published to get it out of the memory.
            let still = waiting.file.hold_still().await;
            let has_object = waiting.file.published().is_some_and(|published| published.serial > 0);
            // It may copy from what takes its name.
            waiting.file.set_wanted(false);
            let removed = removing(has_object).await;
            match removed {
                Ok(()) => waiting.file.forget(),
                Err(_) => waiting.file.set_wanted(true),
            }
            drop(still);
            if removed.is_err() {
                self.give_back_waiting(ino, waiting);
            }
            return removed;
        }
        let Some(writing) = self.hold_content(ino).await? else { return removing(false).await };
        let taken = writing.file.lose_name(&self.hidden_key(), removing).await;
        // Nothing is published of what has no name, so that there is nothing to be told.
        let let_go = self.let_go(ino, &writing).await;
        taken.and(if writing.file.is_nameless() { Ok(()) } else { let_go })
    }

    /// The content of a file that somebody has open, whether for writing or not, held until it is let go.
    async fn hold_content(&self, ino: Ino) -> Result<Option<Arc<Writing>>, FsError> {
        if let Some(writing) = self.hold_writing(ino) {
            return Ok(Some(writing));
        }
        let is_open = self.tree().file(ino).is_some_and(|file| !file.handles.is_empty());
        if !is_open {
            return Ok(None);
        }
        match self.open_content(ino, false).await {
            // It was removed by somebody else.
            Err(FsError::NotFound | FsError::Stale) => Ok(None),
            writing => writing.map(Some),
        }
    }

    /// A key that nobody else uses, in a directory that the mount does not show.
    fn hidden_key(&self) -> ObjectKey {
        let path = format!("{}{HIDDEN_DIRECTORY}/{:016x}", self.options.prefix, fastrand::u64(..));
        ObjectKey::new(path).unwrap_or_else(|_| unreachable!("prefixes leave room for names"))
    }

    /// `name` is about to go: where it is the last entry of a directory that exists only as a prefix, a marker keeps the
    /// directory.
    pub(super) async fn keep_directory(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        let path = {
            let tree = self.tree();
            let directory = tree.directory(parent).ok_or(FsError::Stale)?;
            let others = directory.children.iter().any(|(other, entry)| other != name && entry.what != What::New);
            if directory.has_marker || others {
                return Ok(());
            }
            tree.directory_path(parent).ok_or(FsError::Stale)?
        };
        // The top of a mounted prefix is a directory without any object's help.
        if !path.is_empty() {
            self.put_marker(&self.key(&path)?, &unmarked_attributes()).await?;
        }
        if let Some(directory) = self.tree().directory_mut(parent) {
            directory.has_marker = true;
        }
        Ok(())
    }

    /// Changes attributes, the length among them, and returns what `stat` shows then.
    ///
    /// Of a file that is being written they travel with its publishing; a published object gets them by one copy onto
    /// itself, a directory by a new marker.
    pub async fn setattr(&self, ino: Ino, change: AttrChange) -> Result<Attr, FsError> {
        self.refuse_if_read_only()?;
        let _working = self.work_on(&[ino]).await;
        if let Some(size) = change.size {
            self.set_size(ino, size).await?;
        }
        if change.touches_metadata() {
            self.change_attributes(ino, |is_directory, attributes| Ok(change.apply(is_directory, attributes))).await?;
        }
        self.getattr(ino).await
    }

    async fn set_size(&self, ino: Ino, size: u64) -> Result<(), FsError> {
        if self.tree().file(ino).is_none() {
            return Err(FsError::IsDirectory);
        }
        if let Some(writing) = self.hold_writing(ino) {
            let unchanged = writing.file.size() == size;
            if !unchanged {
                self.has_other_content(ino, &writing);
            }
            let truncated = writing.file.truncate(size).await;
            if truncated.is_ok() && !unchanged {
                writing.note_change(self.clock.now());
            }
            let published = self.let_go(ino, &writing).await;
            return truncated.map_err(FsError::from).and(published);
        }
        // By path, with no handle: an open, a truncation and a close in one.
        if self.facts_of(ino).await?.0.size == size {
            return Ok(());
        }
        let opened = self.open_for_writing(ino, OpenMode { writes: true, ..OpenMode::default() }).await?;
        let result = self.truncate_open(opened.handle, size).await;
        self.release(opened.handle).await;
        result
    }

    async fn truncate_open(&self, handle: HandleId, size: u64) -> Result<(), FsError> {
        let handle = self.handles.file(handle)?;
        let writing = handle.writing.as_ref().ok_or(FsError::BadHandle)?;
        writing.file.truncate(size).await?;
        writing.note_change(self.clock.now());
        self.publish(handle.ino, writing).await
    }
}

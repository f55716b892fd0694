//! Hard links, which an object store does not have: a link is a copy of the object, made at once on the service, and a file
//! of its own from then on.
//!
//! What waits for its final name is not published for that: its bytes go up under the link's name, and those who link a
//! temporary file to its final name and remove the temporary one, as git does, cost one PUT still.
//!
//! Some programs look whether what they have just made is a link (`git clone --local`, git-annex), and give up if it has
//! another number. For a moment `stat` shows the number of the other file, for as long as neither is changed: then two files
//! with one number are the same.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::Changes;
use crate::fs::context::{FsError, HardLinks};
use crate::fs::names::{Attr, Entry, EntryKind, FileName, Ino, METADATA_ATTEMPTS, ObjectStat};
use crate::fs::open::{Writing, note_link, open_inode};
use crate::object::{ObjectAttributes, ObjectKey, StoredObject, Version};
use crate::upload::{OpenFile, copy_object};

/// What waits is copied in memory in pieces of so many bytes: what is held twice at any moment.
const PIECE_BYTES: u64 = 1 << 20;

impl Changes {
    /// Makes a copy of a file, a symbolic link or a special file under another name. The kernel is told of the copy's inode
    /// by this.
    pub(crate) async fn link(&self, ino: Ino, parent: Ino, name: &FileName) -> Result<Attr, FsError> {
        self.context.refuse_if_read_only()?;
        if self.context.options.hard_links == HardLinks::Refuse || self.names.tree().directory(ino).is_some() {
            return Err(FsError::NotPermitted);
        }
        let (key, _claimed) = self.claim_new(parent, name, "", Some(ino)).await?;
        let stat = self.copy_to(ino, &key, name).await?;
        let now = self.context.clock.now();
        let mut tree = self.names.tree();
        let entry = Entry { ino: tree.new_ino(), seen_at: now, what: EntryKind::Object(stat) };
        tree.link(parent, name, entry, now, self.context.options.metadata_ttl);
        let linked = tree.remember(parent, name).ok_or(FsError::Stale)?;
        note_link(&mut tree, ino, linked, now);
        // On a disk they are one inode, whose count of links changes.
        for changed in [ino, linked] {
            if let Some(times) = tree.times_mut(changed) {
                times.note_change(now);
            }
        }
        tree.attr(linked, &self.context.options, now).ok_or(FsError::Stale)
    }

    /// Makes a copy of what a file is now under `key`, for `name`.
    async fn copy_to(&self, ino: Ino, key: &ObjectKey, name: &FileName) -> Result<ObjectStat, FsError> {
        for _ in 1..METADATA_ATTEMPTS {
            if let Some(stat) = self.put_copy_of_waiting(ino, key, name).await? {
                return Ok(stat);
            }
            match self.copy_published(ino, key, name).await {
                // Somebody published it meanwhile.
                Err(FsError::Stale) => {}
                copied => return copied,
            }
        }
        self.copy_published(ino, key, name).await
    }

    /// Puts a copy of a file that is closed, and that only waits to be published. `None` if it is none, or does not wait any
    /// longer.
    async fn put_copy_of_waiting(
        &self,
        ino: Ino,
        key: &ObjectKey,
        name: &FileName,
    ) -> Result<Option<ObjectStat>, FsError> {
        let waiting = {
            let tree = self.names.tree();
            let Some((_, old_name)) = tree.place(ino) else { return Err(FsError::NotFound) };
            let waiting = open_inode(&tree, ino).and_then(|inode| {
                let mut inode = Some(inode.lock()).filter(|inode| inode.is_closed())?;
                let writing = inode.writing.clone().filter(|writing| writing.file.is_only_here())?;
                let hold = writing.current_hold()?;
                inode.writers += 1;
                Some((writing, hold))
            });
            waiting.map(|(writing, hold)| (writing, hold, old_name))
        };
        let Some((writing, hold, old_name)) = waiting else { return Ok(None) };
        let copied = self.put_copy(&writing, hold, key, (&old_name, name)).await;
        // It waits on, or is published because its time has come meanwhile.
        let let_go = self.publisher.let_go(ino, &writing).await;
        let stat = copied?;
        let_go.map(|()| stat)
    }

    async fn put_copy(
        &self,
        writing: &Arc<Writing>,
        hold: u64,
        key: &ObjectKey,
        (old_name, name): (&FileName, &FileName),
    ) -> Result<Option<ObjectStat>, FsError> {
        let attributes = self.attributes_of_copy(writing.file.attributes(), (old_name, name));
        let copy = OpenFile::empty(&self.context.uploader, key.clone(), attributes.clone(), None);
        let size = writing.file.size();
        let mut offset = 0;
        while offset < size {
            let piece = self.files.read_written(writing, offset, PIECE_BYTES.min(size - offset) as usize).await?;
            copy.write(offset, piece.as_ref(), &AtomicUsize::new(0)).await?;
            offset += piece.as_ref().len().max(1) as u64;
        }
        if writing.current_hold() != Some(hold) || copy.size() != size {
            // Somebody has begun to write meanwhile, so that this may be a mixture.
            copy.forget();
            return Ok(None);
        }
        // Also its time, which is no new one.
        copy.change_attributes_and_time(|_| Ok::<_, FsError>(attributes))?;
        copy.publish().await?;
        let published = copy.published().ok_or(FsError::Stale)?;
        Ok(Some(ObjectStat::published(published, self.context.clock.now())))
    }

    fn attributes_of_copy(
        &self,
        attributes: ObjectAttributes,
        (old_name, name): (&FileName, &FileName),
    ) -> ObjectAttributes {
        self.context.retyped(attributes, old_name.as_str(), name.as_str())
    }

    /// Copies the object of a file, which is published before if it is not. Attributes that wait go to the copy at once.
    async fn copy_published(&self, ino: Ino, key: &ObjectKey, name: &FileName) -> Result<ObjectStat, FsError> {
        let Some(writing) = self.publisher.hold_writing(ino) else {
            let (stat, object) = self.files.full_stat_of(ino).await?;
            let (_, old_name) = self.names.tree().place(ino).ok_or(FsError::NotFound)?;
            let attributes = *stat.attributes.unwrap_or_default();
            let attributes = self.context.retyped(attributes, old_name.as_str(), name.as_str());
            return self.copy_stored(object, key, attributes.with_mtime_or(stat.last_modified)).await;
        };
        let copied = self.copy_of_written(ino, &writing, key, name).await;
        let let_go = self.publisher.let_go(ino, &writing).await;
        let stat = copied?;
        let_go.map(|()| stat)
    }

    async fn copy_of_written(
        &self,
        ino: Ino,
        writing: &Arc<Writing>,
        key: &ObjectKey,
        name: &FileName,
    ) -> Result<ObjectStat, FsError> {
        if writing.file.is_nameless() {
            return Err(FsError::NotFound);
        }
        if writing.file.is_dirty() && !writing.file.lacks_only_attributes() {
            self.publisher.publish(ino, writing).await?;
        }
        let published = writing.file.published().ok_or(FsError::Stale)?;
        let (_, old_name) = self.names.tree().place(ino).ok_or(FsError::NotFound)?;
        let attributes = self.attributes_of_copy(published.attributes, (&old_name, name));
        self.copy_stored(published.object, key, attributes).await
    }

    async fn copy_stored(
        &self,
        object: StoredObject,
        key: &ObjectKey,
        attributes: ObjectAttributes,
    ) -> Result<ObjectStat, FsError> {
        let copied = copy_object(&*self.context.store, &object, key, &attributes).await;
        let etag = copied.map_err(|error| self.context.told(error))?;
        Ok(ObjectStat::made(Version { etag, ..object.version }, attributes, self.context.clock.now()))
    }
}

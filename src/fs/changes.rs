//! Changing names and attributes: mkdir, rmdir, symlink, unlink, chmod, chown, utimens, truncate. Rename is in `renaming`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::attributes::{
    Attr, AttrChange, Kind, LINK_PERMISSIONS, MODE_SET_GROUP, new_attributes, unmarked_attributes,
};
use super::files::{OpenMode, Writing};
use super::name::FileName;
use super::options::Owner;
use super::traffic::{Claim, Claimed};
use super::tree::{Directory, Entry, HIDDEN_DIRECTORY, Ino, Marker, Tree, What};
use super::{FileSystem, FsError};
use crate::object::{ObjectAttributes, ObjectKey};
use crate::store::Body;
use crate::upload::OpenFile;

/// The longest target of a symbolic link, in bytes: the kernel takes no longer path.
const TARGET_BYTES_MAX: usize = 4096;

/// A file whose length was changed, and which nobody may have open.
struct Cut {
    writing: Arc<Writing>,
    is_by_path: bool,
}

impl FileSystem {
    /// Makes a directory, which is a marker object. The kernel is told of the inode by this.
    pub async fn mkdir(&self, parent: Ino, name: &FileName, permissions: u32, owner: Owner) -> Result<Attr, FsError> {
        let (key, _claimed) = self.claim_new(parent, name, "/", None).await?;
        let mut attributes = self.attributes_of_new(parent, Kind::Directory, permissions, owner);
        attributes.set_mtime(self.clock.now());
        self.put_marker(&key, &attributes).await?;
        let now = self.clock.now();
        let mut tree = self.tree();
        let marker = Marker { attributes, last_modified: now };
        // A listing may have shown it already, and somebody have been told of it.
        let listed = tree.entry(parent, name).filter(|entry| entry.what.is_directory()).map(|entry| entry.ino);
        let ino = listed.unwrap_or_else(|| tree.new_ino());
        let entry = Entry { ino, seen_at: now, what: What::Directory(Some(Box::new(marker))) };
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

    /// Claims a name that is about to be made, which nothing may have, and to work on the inode that it is made of, if it is
    /// of one. Returns its key, with `end` behind it.
    pub(super) async fn claim_new(
        &self,
        parent: Ino,
        name: &FileName,
        end: &str,
        of: Option<Ino>,
    ) -> Result<(ObjectKey, Claimed), FsError> {
        self.refuse_if_read_only()?;
        let look = |tree: &Tree| match tree.entry(parent, name) {
            Some(_) => Err(FsError::Exists),
            None => {
                let name = Claim::Name(parent, name.clone());
                Ok(((), std::iter::once(name).chain(of.map(Claim::Work)).collect()))
            }
        };
        let ((), claimed) = self.claim(&[(parent, name)], look).await?;
        Ok((self.key_of_new(parent, name, end).await?, claimed))
    }

    /// The key of a name that is about to be made, with `end` behind it. Whatever goes on in the background at that key has
    /// ended.
    pub(super) async fn key_of_new(&self, parent: Ino, name: &FileName, end: &str) -> Result<ObjectKey, FsError> {
        let key = self.key(&format!("{}{name}{end}", self.tree().directory_path(parent).ok_or(FsError::Stale)?))?;
        self.cleanings.stop(key.as_str()).await;
        Ok(key)
    }

    pub(super) async fn put_marker(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<(), FsError> {
        let attributes = attributes.clone().with_mtime_or(self.clock.now());
        let put = self.store.put(key, Body::empty(), self.store.limits().checksum.empty(), &attributes).await;
        put.map(|_| ()).map_err(|error| self.told(error))
    }

    /// Makes a symbolic link, as cosfs does: an object whose content is the target. It waits a moment for the times and the
    /// owner that archivers set next. The kernel is told of the inode by this.
    pub async fn symlink(&self, parent: Ino, name: &FileName, target: &[u8], owner: Owner) -> Result<Attr, FsError> {
        let (key, _claimed) = self.claim_new(parent, name, "", None).await?;
        let attributes = self.attributes_of_new(parent, Kind::Symlink, LINK_PERMISSIONS, owner);
        let file = OpenFile::empty(&self.uploader, key, attributes, None);
        file.write(0, target, &AtomicUsize::new(0)).await?;
        self.make_and_gather(parent, name, file)
    }

    /// The target of a symbolic link.
    pub async fn readlink(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
        let target = self.read_target(ino).await;
        self.note_arrival(ino, target)
    }

    async fn read_target(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
        let attr = self.getattr(ino).await?;
        if attr.kind != Kind::Symlink {
            return Err(FsError::Invalid);
        }
        let known = |this: &FileSystem| {
            let tree = this.tree();
            let (etag, target) = tree.file(ino)?.target.clone()?;
            matches!(&tree.entry_of(ino)?.what, What::Object(facts) if facts.version.etag == etag).then_some(target)
        };
        if let Some(target) = known(self) {
            return Ok(target);
        }
        let opened = self.open(ino, OpenMode { reads: true, ..OpenMode::default() }).await?;
        // The version that is read, which the link may not be any more in the end.
        let reader = self.handles.file(opened.handle)?.reader();
        let target = self.read(opened.handle, 0, TARGET_BYTES_MAX).await.map(|bytes| bytes.as_ref().to_vec());
        self.release(opened.handle).await;
        let target = target?;
        let mut tree = self.tree();
        if target.contains(&0) {
            // No path. Whoever looks again finds a file.
            tree.take_for_file(ino);
            return Err(FsError::Stale);
        }
        if let Some((file, reader)) = tree.file_mut(ino).zip(reader) {
            file.target = Some((reader.object().version().etag, target.clone()));
        }
        Ok(target)
    }

    /// Removes an empty directory.
    pub async fn rmdir(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        self.refuse_if_read_only()?;
        let look = |tree: &Tree| {
            let entry = tree.entry(parent, name).ok_or(FsError::NotFound)?;
            if !entry.what.is_directory() {
                return Err(FsError::NotDirectory);
            }
            let path = format!("{}{name}/", tree.directory_path(parent).ok_or(FsError::Stale)?);
            let own = [Claim::Name(parent, name.clone()), Claim::Stay(parent)];
            let claims = own.into_iter().chain([Claim::Move(entry.ino), Claim::Alone(entry.ino)]).collect();
            Ok(((path, tree.holds_new(entry.ino)), claims))
        };
        let ((path, holds_new), _claimed) = self.claim(&[(parent, name)], look).await?;
        let marker = self.key(&path)?;
        if holds_new {
            return Err(FsError::NotEmpty);
        }
        self.expect_empty(&marker).await?;
        self.store.delete(&marker).await.map_err(|error| self.told(error))?;
        self.keep_directory((parent, name), None).await?;
        self.tree().unlink(parent, name, self.clock.now(), self.options.metadata_ttl);
        Ok(())
    }

    /// Removes a file. Whoever has it open goes on with it, under a key that nobody sees, until the last handle is closed;
    /// nothing of it is published any more.
    pub async fn unlink(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        self.refuse_if_read_only()?;
        let look = |tree: &Tree| {
            let entry = tree.entry(parent, name).ok_or(FsError::NotFound)?;
            if entry.what.is_directory() {
                return Err(FsError::IsDirectory);
            }
            let path = format!("{}{name}", tree.directory_path(parent).ok_or(FsError::Stale)?);
            Ok(((path, entry.ino), vec![Claim::Name(parent, name.clone()), Claim::Alone(entry.ino)]))
        };
        let ((path, ino), _claimed) = self.claim(&[(parent, name)], look).await?;
        let key = self.key(&path)?;
        let removing = |has_object: bool| async move {
            let is_there = self.tree().entry(parent, name).is_some_and(|entry| entry.what != What::New);
            if has_object || is_there {
                self.keep_directory((parent, name), None).await?;
                self.remove_object(&key).await?;
            }
            let now = self.clock.now();
            let mut tree = self.tree();
            tree.unlink(parent, name, now, self.options.metadata_ttl);
            tree.touch_upwards(parent, now, self.options.metadata_ttl);
            drop(tree);
            self.move_locks();
            Ok(())
        };
        let _stopped = self.stop_publishing(ino);
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
        if let Some(waiting) = self.hold_waiting(ino) {
            // Nobody has it open: what waited is not wanted any more. It may have been published to get it out of the memory.
            let still = waiting.file.hold_still().await;
            let has_object = waiting.file.published().is_some_and(|published| published.serial > 0);
            // It may copy from what takes its name.
            waiting.file.set_wanted(false);
            let removed = removing(has_object).await;
            if removed.is_ok() {
                self.drop_waiting(ino, &waiting);
                return removed;
            }
            waiting.file.set_wanted(true);
            drop(still);
            // Its time may have come in between. Nobody waits here until it is published.
            self.hold(ino, &waiting, self.options.gather_for);
            let _ = self.let_go(ino, &waiting).await;
            return removed;
        }
        let Some(writing) = self.hold_content(ino).await? else { return removing(false).await };
        let taken = writing.file.lose_name(&self.hidden_key(), removing).await;
        let is_open = self.tree().file(ino).is_some_and(|file| !file.handles.is_empty());
        if taken.is_err() && !is_open {
            // Whoever was publishing it has stopped for this: it is published later, and nobody waits here for that.
            self.hold(ino, &writing, self.options.gather_for);
        }
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

    /// The name `going`, which the caller has claimed, is about to go: where it is the last entry of a directory that exists
    /// only as a prefix, a marker keeps the directory. `staying` is claimed, too, and has an object by now.
    pub(super) async fn keep_directory(
        &self,
        (parent, going): (Ino, &FileName),
        staying: Option<(Ino, &FileName)>,
    ) -> Result<(), FsError> {
        let is_kept = |directory: &Directory| {
            // Those that others have claimed may be about to go, too, and each would count on the other.
            let claimed = self.traffic.names_in(parent);
            let stays = |name: &FileName| staying == Some((parent, name)) || !claimed.contains(name);
            directory.has_marker
                || staying.is_some_and(|(directory, _)| directory == parent)
                || directory
                    .children
                    .iter()
                    .any(|(name, entry)| name != going && entry.what != What::New && stays(name))
        };
        let marking = {
            let tree = self.tree();
            let directory = tree.directory(parent).ok_or(FsError::Stale)?;
            if is_kept(directory) {
                return Ok(());
            }
            directory.marking.clone()
        };
        let _one_at_a_time = marking.lock().await;
        let path = {
            let tree = self.tree();
            if tree.directory(parent).is_none_or(|directory| directory.has_marker) {
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
        let changed = self.change(ino, change).await;
        self.note_arrival(ino, changed)
    }

    async fn change(&self, ino: Ino, change: AttrChange) -> Result<Attr, FsError> {
        self.refuse_if_read_only()?;
        let working = self.arrive(ino).await;
        let cut = match change.size {
            Some(size) => self.set_size(ino, size, change.modifies).await?,
            None => None,
        };
        let changed = match change.touches_metadata() {
            true => {
                let apply = |is_directory, of: &ObjectAttributes| Ok(change.apply(is_directory, of));
                self.change_attributes_and_time(ino, change.mtime.is_some(), apply).await
            }
            false => Ok(()),
        };
        if let Some(read_at) = change.atime.filter(|_| changed.is_ok()) {
            self.note_change_of(ino);
            if let Some(times) = self.tree().times_mut(ino) {
                times.set_read(read_at);
            }
        }
        let attr = self.getattr(ino).await;
        let Some(cut) = cut else { return changed.and(attr) };
        // Who removes the file or gives its name to another need not wait until all of it is at the service.
        drop(working);
        let published = self.publish_cut(ino, cut).await;
        changed.and(published)?;
        // It may have lost its name meanwhile.
        let is_named = self.tree().entry_of(ino).is_some();
        if is_named { self.getattr(ino).await } else { attr }
    }

    /// Gives a file another length. Returns what is to be published and let go by that.
    async fn set_size(&self, ino: Ino, size: u64, modifies: bool) -> Result<Option<Cut>, FsError> {
        if self.tree().file(ino).is_none() {
            return Err(FsError::IsDirectory);
        }
        let (writing, is_by_path) = match self.hold_writing(ino) {
            Some(writing) => (writing, false),
            // By path, with no handle: an open, a truncation and a close in one.
            None if self.facts_of(ino).await?.0.version.size == size => {
                if modifies {
                    let touch = AttrChange { mtime: Some(self.clock.now()), ..AttrChange::default() };
                    self.change_attributes(ino, |_, before| Ok(touch.apply(false, before))).await?;
                }
                return Ok(None);
            }
            None => (self.open_content(ino, false).await?, true),
        };
        let is_other = writing.file.size() != size;
        if is_other {
            self.has_other_content(ino, &writing);
        }
        let truncated = writing.file.truncate(size).await;
        match is_other {
            false if modifies => writing.file.touch(),
            true if truncated.is_ok() => writing.note_change(),
            _ => {}
        }
        if let Err(error) = truncated {
            // Tells nothing new.
            let _ = self.let_go(ino, &writing).await;
            return Err(error.into());
        }
        Ok(Some(Cut { writing, is_by_path }))
    }

    async fn publish_cut(&self, ino: Ino, Cut { writing, is_by_path }: Cut) -> Result<(), FsError> {
        let published = if is_by_path { self.publish(ino, &writing).await } else { Ok(()) };
        published.and(self.let_go(ino, &writing).await)
    }
}

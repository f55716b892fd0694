//! Changing names and attributes: mkdir, rmdir, unlink, rename, chmod, chown, utimens, truncate.

use std::future::Future;
use std::sync::Arc;

use super::attributes::{Attr, AttrChange, Kind, new_attributes, unmarked_attributes};
use super::files::{OpenMode, Writing};
use super::handles::HandleId;
use super::name::FileName;
use super::options::Owner;
use super::tree::{Entry, Facts, HIDDEN_DIRECTORY, Ino, Marker, What};
use super::{FileSystem, FsError};
use crate::store::{Body, ListRequest};
use crate::upload::{Base, OpenFile, copy_object, rewrite_attributes};
use crate::wire::{Crc64, ObjectAttributes, ObjectKey};

impl FileSystem {
    /// Makes a directory, which is a marker object. The kernel is told of the inode by this.
    pub async fn mkdir(&self, parent: Ino, name: &FileName, permissions: u32, owner: Owner) -> Result<Attr, FsError> {
        self.refuse_if_read_only()?;
        if self.find(parent, name).await? {
            return Err(FsError::Exists);
        }
        let path = format!("{}{name}/", self.tree().directory_path(parent).ok_or(FsError::Stale)?);
        let attributes = new_attributes(Kind::Directory, permissions, owner);
        self.put_marker(&self.key(&path)?, &attributes).await?;
        let now = self.clock.now();
        let mut tree = self.tree();
        let marker = Marker { attributes, last_modified: now };
        let entry = Entry { ino: tree.new_ino(), seen_at: now, what: What::Directory(Some(marker)) };
        tree.link(parent, name, entry, now, self.options.metadata_ttl);
        tree.touch_upwards(parent, now, self.options.metadata_ttl);
        let ino = tree.remember(parent, name).ok_or(FsError::Stale)?;
        tree.mark_made(ino, now);
        tree.attr(ino, &self.options, now).ok_or(FsError::Stale)
    }

    async fn put_marker(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<(), FsError> {
        let put = self.store.put(key, Body::empty(), Crc64::EMPTY, attributes).await;
        put.map(|_| ()).map_err(|error| self.told(error))
    }

    /// Removes an empty directory.
    pub async fn rmdir(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        self.refuse_if_read_only()?;
        if !self.find(parent, name).await? {
            return Err(FsError::NotFound);
        }
        let (path, holds_new) = {
            let tree = self.tree();
            let entry = tree.entry(parent, name).ok_or(FsError::NotFound)?;
            if entry.what.kind() != Kind::Directory {
                return Err(FsError::NotDirectory);
            }
            let is_new = |entry: &Entry| entry.what == What::New;
            let holds_new = tree.directory(entry.ino).is_some_and(|directory| directory.children.values().any(is_new));
            (format!("{}{name}/", tree.directory_path(parent).ok_or(FsError::Stale)?), holds_new)
        };
        let marker = self.key(&path)?;
        // Never by what was listed earlier: somebody may have put something in since.
        let below = ListRequest { prefix: marker.to_string(), max_keys: Some(2), ..ListRequest::default() };
        let page = self.store.list(below).await.map_err(|error| self.told(error))?;
        if holds_new || page.objects.iter().any(|object| object.key != marker.as_str()) {
            return Err(FsError::NotEmpty);
        }
        self.store.delete(&marker).await.map_err(|error| self.told(error))?;
        self.keep_directory(parent, name).await?;
        self.tree().unlink(parent, name, self.clock.now(), self.options.metadata_ttl);
        Ok(())
    }

    /// Removes a file. Whoever has it open goes on with it, under a key that nobody sees, until the last handle is closed;
    /// nothing of it is published any more.
    pub async fn unlink(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        self.refuse_if_read_only()?;
        if !self.find(parent, name).await? {
            return Err(FsError::NotFound);
        }
        let (path, ino, what) = {
            let tree = self.tree();
            let entry = tree.entry(parent, name).ok_or(FsError::NotFound)?;
            if entry.what.kind() == Kind::Directory {
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
        self.take_name_from(ino, removing).await
    }

    /// Removes an object, after letting go on their way whoever wants to copy from it.
    async fn remove_object(&self, key: &ObjectKey) -> Result<(), FsError> {
        self.uploader.release_source(key, None).await;
        self.store.delete(key).await.map_err(|error| self.told(error))
    }

    /// Takes its name from a file by `removing`, which removes or replaces what is in the bucket; it is told whether what is
    /// being written of the file has made an object there. A file that is open lives on without a name.
    async fn take_name_from<F>(&self, ino: Ino, removing: impl FnOnce(bool) -> F) -> Result<(), FsError>
    where
        F: Future<Output = Result<(), FsError>>,
    {
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
    async fn keep_directory(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
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

    /// Renames a file, replacing one of the new name unless `no_replace`; or an empty directory.
    pub async fn rename(&self, from: (Ino, &FileName), to: (Ino, &FileName), no_replace: bool) -> Result<(), FsError> {
        self.refuse_if_read_only()?;
        if !self.find(from.0, from.1).await? {
            return Err(FsError::NotFound);
        }
        let target_exists = self.find(to.0, to.1).await?;
        let (source, target) = {
            let tree = self.tree();
            let source = tree.entry(from.0, from.1).cloned().ok_or(FsError::NotFound)?;
            (source, tree.entry(to.0, to.1).cloned())
        };
        if target.as_ref().is_some_and(|target| target.ino == source.ino) {
            return Ok(());
        }
        if target_exists && no_replace {
            return Err(FsError::Exists);
        }
        let kinds = (source.what.kind(), target.as_ref().map(|target| target.what.kind()));
        match kinds {
            (Kind::File, Some(Kind::Directory)) => Err(FsError::IsDirectory),
            (Kind::Directory, Some(Kind::File)) => Err(FsError::NotDirectory),
            (Kind::Directory, target) => self.rename_directory(from, to, source, target.is_some()).await,
            (Kind::File, _) => self.rename_file(from, to, source, target).await,
        }
    }

    async fn rename_directory(
        &self,
        from: (Ino, &FileName),
        to: (Ino, &FileName),
        source: Entry,
        replaces: bool,
    ) -> Result<(), FsError> {
        let prefix = format!("{}{}/", self.directory_prefix(from.0)?, from.1);
        let below = ListRequest { prefix: prefix.clone(), max_keys: Some(2), ..ListRequest::default() };
        let page = self.store.list(below).await.map_err(|error| self.told(error))?;
        let is_new = |entry: &Entry| entry.what == What::New;
        let holds_new =
            self.tree().directory(source.ino).is_some_and(|directory| directory.children.values().any(is_new));
        if holds_new || page.objects.iter().any(|object| object.key != prefix) {
            return Err(FsError::CrossDevice);
        }
        if replaces {
            self.rmdir(to.0, to.1).await?;
        }
        self.fetch_attributes(from.0, from.1).await?;
        let marker = match self.tree().entry(from.0, from.1).map(|entry| &entry.what) {
            Some(What::Directory(Some(marker))) => marker.clone(),
            _ => return Err(FsError::Stale),
        };
        let new_marker = self.key(&format!("{}{}/", self.tree().directory_path(to.0).ok_or(FsError::Stale)?, to.1))?;
        self.put_marker(&new_marker, &marker.attributes).await?;
        let old_marker = ObjectKey::new(&prefix).map_err(|_| FsError::NameInvalid)?;
        self.store.delete(&old_marker).await.map_err(|error| self.told(error))?;
        self.move_entry(from, to, Entry { what: What::Directory(Some(marker)), ..source });
        Ok(())
    }

    async fn rename_file(
        &self,
        from: (Ino, &FileName),
        to: (Ino, &FileName),
        source: Entry,
        target: Option<Entry>,
    ) -> Result<(), FsError> {
        let new_key = self.key(&format!("{}{}", self.tree().directory_path(to.0).ok_or(FsError::Stale)?, to.1))?;
        let Some(target) = target else { return self.move_file(from, to, source, &new_key, false).await? };
        let mut outcome = Ok(());
        let moving = |has_object: bool| {
            let outcome = &mut outcome;
            async move {
                self.uploader.release_source(&new_key, None).await;
                *outcome = self.move_file(from, to, source, &new_key, has_object || target.what != What::New).await?;
                Ok(())
            }
        };
        self.take_name_from(target.ino, moving).await?;
        outcome
    }

    /// Moves a file. An error is one that leaves everything where it was; once the object is at its new key the file has
    /// its new name, and what goes wrong then, the removal of the old object, is told by the inner result.
    async fn move_file(
        &self,
        from: (Ino, &FileName),
        to: (Ino, &FileName),
        source: Entry,
        new_key: &ObjectKey,
        replaces_object: bool,
    ) -> Result<Result<(), FsError>, FsError> {
        // Held, so that the last release does not forget the content, with its old key, in the middle.
        let writing = self.hold_writing(source.ino);
        let moved = match &writing {
            Some(writing) => self.move_written(from, new_key, &source, writing, replaces_object).await,
            None => self.move_object(from, new_key, &source).await,
        };
        let moved = moved.map(|(what, removed)| {
            self.move_entry(from, to, Entry { what, ..source.clone() });
            removed
        });
        let published = match &writing {
            Some(writing) => {
                // A close may have come in between, when key and name did not agree.
                self.settle(source.ino, writing);
                self.let_go(source.ino, writing).await
            }
            None => Ok(()),
        };
        moved.map(|removed| removed.and(published))
    }

    /// Gives a file that is being written another key. Returns what it is there, and whether the old name is gone.
    async fn move_written(
        &self,
        from: (Ino, &FileName),
        new_key: &ObjectKey,
        source: &Entry,
        writing: &Writing,
        replaces_object: bool,
    ) -> Result<(What, Result<(), FsError>), FsError> {
        let old_key = writing.file.key();
        let only_here = source.what == What::New && writing.file.rename_unpublished(new_key);
        let removed = if !only_here {
            writing.file.move_to(new_key).await?;
            self.delete_old_name(from, &old_key).await
        } else if replaces_object {
            // The object that is replaced must not come back if this file is removed before it is published.
            if let Err(error) = writing.file.publish().await {
                writing.file.rename_unpublished(&old_key);
                return Err(error.into());
            }
            Ok(())
        } else {
            Ok(())
        };
        let facts = |published| What::Object(Facts::published(published, self.clock.now()));
        Ok((writing.file.published().map_or(What::New, facts), removed))
    }

    /// Copies the object of a file to its new key and removes the old one. Returns what it is there, and whether the old
    /// name is gone.
    async fn move_object(
        &self,
        from: (Ino, &FileName),
        new_key: &ObjectKey,
        source: &Entry,
    ) -> Result<(What, Result<(), FsError>), FsError> {
        let (facts, old_key) = self.facts_with_attributes(from).await?;
        let attributes = facts.attributes.clone().unwrap_or_default();
        let base = Base { etag: facts.etag.clone(), size: facts.size, crc64: facts.crc64 };
        let copied = copy_object(&*self.store, &old_key, &base, new_key, &attributes).await;
        let etag = copied.map_err(|error| self.told(error))?;
        let now = self.clock.now();
        if let Some(object) = self.tree().file(source.ino).and_then(|file| file.object.upgrade()) {
            object.moved(new_key.clone(), etag.clone());
        }
        let removed = self.delete_old_name(from, &old_key).await;
        Ok((What::Object(Facts { etag, last_modified: now, is_exact: false, ..facts }), removed))
    }

    /// Removes the object that a file had before it moved. After a conflict that is not the one of its name, which is
    /// another's and stays.
    async fn delete_old_name(&self, from: (Ino, &FileName), old_key: &ObjectKey) -> Result<(), FsError> {
        self.keep_directory(from.0, from.1).await?;
        self.remove_object(old_key).await
    }

    fn move_entry(&self, from: (Ino, &FileName), to: (Ino, &FileName), entry: Entry) {
        let (now, ttl) = (self.clock.now(), self.options.metadata_ttl);
        let (ino, kind) = (entry.ino, entry.what.kind());
        let mut tree = self.tree();
        tree.unlink(from.0, from.1, now, ttl);
        tree.link(to.0, to.1, Entry { seen_at: now, ..entry }, now, ttl);
        tree.move_node(ino, to.0, to.1.clone());
        if kind == Kind::Directory {
            tree.mark_made(ino, now);
        }
        tree.touch_upwards(to.0, now, ttl);
    }

    /// The facts of a published file with its metadata, by name, and its key.
    async fn facts_with_attributes(&self, place: (Ino, &FileName)) -> Result<(Facts, ObjectKey), FsError> {
        let key = self.key(&format!("{}{}", self.tree().directory_path(place.0).ok_or(FsError::Stale)?, place.1))?;
        self.fetch_attributes(place.0, place.1).await?;
        match self.tree().entry(place.0, place.1).map(|entry| &entry.what) {
            Some(What::Object(facts)) => Ok((facts.clone(), key)),
            _ => Err(FsError::Stale),
        }
    }

    /// Changes attributes, the length among them, and returns what `stat` shows then.
    ///
    /// Of a file that is being written they travel with its publishing; a published object gets them by one copy onto
    /// itself, a directory by a new marker.
    pub async fn setattr(&self, ino: Ino, change: AttrChange) -> Result<Attr, FsError> {
        self.refuse_if_read_only()?;
        if let Some(size) = change.size {
            self.set_size(ino, size).await?;
        }
        if change.touches_metadata() {
            // Under the lock under which the last release forgets the content: it publishes what is set before.
            let travels_with_content = {
                let tree = self.tree();
                let writing = tree.file(ino).and_then(|file| file.writing.as_ref());
                let set = |file: &OpenFile| file.set_attributes(change.apply(Kind::File, &file.attributes()));
                writing.map(|writing| set(&writing.file)).is_some()
            };
            if !travels_with_content {
                self.set_attributes(ino, change).await?;
            }
        }
        self.getattr(ino).await
    }

    async fn set_size(&self, ino: Ino, size: u64) -> Result<(), FsError> {
        if self.tree().file(ino).is_none() {
            return Err(FsError::IsDirectory);
        }
        if let Some(writing) = self.hold_writing(ino) {
            let unchanged = writing.file.size() == size;
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

    async fn set_attributes(&self, ino: Ino, change: AttrChange) -> Result<(), FsError> {
        let is_directory = self.tree().directory(ino).is_some();
        if is_directory {
            return self.set_directory_attributes(ino, change).await;
        }
        let (facts, version) = self.facts_of(ino).await?;
        let before = facts.attributes.clone().unwrap_or_default();
        let attributes = change.apply(Kind::File, &before);
        if attributes == before {
            return Ok(());
        }
        let base = Base { etag: version.etag, size: version.size, crc64: version.crc64 };
        self.uploader.release_source(&version.key, None).await;
        let rewritten = rewrite_attributes(&*self.store, &version.key, &base, &attributes).await;
        let etag = rewritten.map_err(|error| self.told(error))?;
        let now = self.clock.now();
        let mut tree = self.tree();
        if let Some(object) = tree.file(ino).and_then(|file| file.object.upgrade()) {
            object.moved(version.key, etag.clone());
        }
        if let Some(file) = tree.file_mut(ino)
            && file.cached.is_some()
        {
            // The bytes are the same, and the kernel's pages of them are still right.
            file.cached = Some(etag.clone());
        }
        if let Some(entry) = tree.entry_of_mut(ino) {
            entry.what = What::Object(Facts {
                etag,
                last_modified: now,
                is_exact: false,
                attributes: Some(attributes),
                ..facts
            });
            entry.seen_at = now;
        }
        Ok(())
    }

    async fn set_directory_attributes(&self, ino: Ino, change: AttrChange) -> Result<(), FsError> {
        // The top of the mount has no object to carry attributes.
        let Some((parent, name)) = self.tree().place(ino) else { return Ok(()) };
        self.fetch_attributes(parent, &name).await?;
        let (path, before) = {
            let tree = self.tree();
            let path = tree.directory_path(ino).ok_or(FsError::Stale)?;
            match tree.entry_of(ino).map(|entry| &entry.what) {
                Some(What::Directory(Some(marker))) => (path, marker.attributes.clone()),
                _ => return Err(FsError::Stale),
            }
        };
        let attributes = change.apply(Kind::Directory, &before);
        if before == attributes {
            return Ok(());
        }
        self.put_marker(&self.key(&path)?, &attributes).await?;
        let now = self.clock.now();
        let mut tree = self.tree();
        if let Some(entry) = tree.entry_of_mut(ino) {
            entry.what = What::Directory(Some(Marker { attributes, last_modified: now }));
        }
        if let Some(directory) = tree.directory_mut(ino) {
            directory.has_marker = true;
        }
        Ok(())
    }
}

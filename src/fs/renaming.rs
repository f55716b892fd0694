//! Renaming files. Directories are in `moving_directories`.

use super::attributes::with_mtime;
use super::files::{METADATA_ATTEMPTS, Writing};
use super::name::FileName;
use super::tree::{Entry, Facts, Ino, What};
use super::{FileSystem, FsError};
use crate::upload::{Base, copy_object};
use crate::wire::ObjectKey;

/// From one name to another.
pub(super) type Way<'a> = ((Ino, &'a FileName), (Ino, &'a FileName));

impl FileSystem {
    /// Renames a file or a directory, replacing a file or an empty directory of the new name unless `no_replace`.
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
        let are_directories = (source.what.is_directory(), target.as_ref().map(|target| target.what.is_directory()));
        match are_directories {
            (false, Some(true)) => Err(FsError::IsDirectory),
            (true, Some(false)) => Err(FsError::NotDirectory),
            (true, target) => self.rename_directory(from, to, source, target.is_some()).await,
            (false, _) => self.rename_file(from, to, source, target).await,
        }
    }

    async fn rename_file(
        &self,
        from: (Ino, &FileName),
        to: (Ino, &FileName),
        source: Entry,
        target: Option<Entry>,
    ) -> Result<(), FsError> {
        let _working = self.work_on(&[from.0, to.0]).await;
        let inos: Vec<Ino> = std::iter::once(source.ino).chain(target.as_ref().map(|target| target.ino)).collect();
        let _stopped = target.as_ref().map(|target| self.stop_publishing(target.ino));
        let _alone = self.move_alone(&inos).await;
        let new_key = self.key(&format!("{}{}", self.tree().directory_path(to.0).ok_or(FsError::Stale)?, to.1))?;
        self.cleanings.stop(new_key.as_str()).await;
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
            Some(writing) => self.move_written((from, to), new_key, &source, writing, replaces_object).await,
            None => self.move_object((from, to), new_key, &source).await,
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
        (from, to): Way<'_>,
        new_key: &ObjectKey,
        source: &Entry,
        writing: &Writing,
        replaces_object: bool,
    ) -> Result<(What, Result<(), FsError>), FsError> {
        let old_key = writing.file.key();
        // It is closed, and has waited for this.
        let is_due = writing.is_held();
        let was_temporary = writing.set_temporary(false);
        let attributes = self.retyped(writing.file.attributes(), from.1.as_str(), to.1.as_str());
        let only_here = source.what == What::New && writing.file.rename_unpublished(new_key);
        writing.file.set_attributes(match only_here {
            true => attributes,
            false => with_mtime(attributes, writing.modified_at()),
        });
        let removed = if !only_here {
            writing.file.move_to(new_key).await?;
            self.delete_old_name(from, &old_key).await
        } else if replaces_object || is_due {
            // The object that is replaced must not come back if this file is removed before it is published.
            if let Err(error) = writing.file.publish().await {
                writing.file.rename_unpublished(&old_key);
                writing.set_temporary(was_temporary);
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
        (from, to): Way<'_>,
        new_key: &ObjectKey,
        source: &Entry,
    ) -> Result<(What, Result<(), FsError>), FsError> {
        let (facts, old_key) = self.facts_with_attributes(from).await?;
        let attributes = *facts.attributes.clone().unwrap_or_default();
        let attributes = self.retyped(attributes, from.1.as_str(), to.1.as_str());
        let attributes = with_mtime(attributes, facts.last_modified);
        let base = Base { etag: facts.etag.clone(), size: facts.size, crc64: facts.crc64 };
        let copied = copy_object(&*self.store, &old_key, &base, new_key, &attributes).await;
        let etag = copied.map_err(|error| self.told(error))?;
        let now = self.clock.now();
        if let Some(object) = self.tree().file(source.ino).and_then(|file| file.object.upgrade()) {
            object.moved(new_key.clone(), etag.clone());
        }
        let removed = self.delete_old_name(from, &old_key).await;
        let facts =
            Facts { etag, last_modified: now, is_exact: false, attributes: Some(Box::new(attributes)), ..facts };
        Ok((What::Object(facts), removed))
    }

    /// Removes the object that a file had before it moved. After a conflict that is not the one of its name, which is
    /// another's and stays.
    async fn delete_old_name(&self, from: (Ino, &FileName), old_key: &ObjectKey) -> Result<(), FsError> {
        self.keep_directory(from.0, from.1).await?;
        self.remove_object(old_key).await
    }

    pub(super) fn move_entry(&self, from: (Ino, &FileName), to: (Ino, &FileName), entry: Entry) {
        let (now, ttl) = (self.clock.now(), self.options.metadata_ttl);
        let ino = entry.ino;
        let mut tree = self.tree();
        tree.unlink(from.0, from.1, now, ttl);
        tree.link(to.0, to.1, Entry { seen_at: now, ..entry }, now, ttl);
        tree.move_node(ino, to.0, to.1.clone());
        tree.touch_upwards(to.0, now, ttl);
    }

    /// The facts of a published file with its metadata, by name, and its key.
    async fn facts_with_attributes(&self, place: (Ino, &FileName)) -> Result<(Facts, ObjectKey), FsError> {
        let key = self.key(&format!("{}{}", self.tree().directory_path(place.0).ok_or(FsError::Stale)?, place.1))?;
        for _ in 0..METADATA_ATTEMPTS {
            self.fetch_all_attributes(place.0, place.1).await?;
            match self.tree().entry(place.0, place.1).map(|entry| &entry.what) {
                Some(What::Object(facts)) if facts.attributes.is_some() => return Ok((facts.clone(), key)),
                Some(What::Object(_)) => {}
                _ => return Err(FsError::Stale),
            }
        }
        // Never guessed: they become the copy's.
        Err(FsError::Stale)
    }
}

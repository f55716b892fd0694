//! Renaming files. Directories are in `moving_directories`.

use super::Changes;
use super::removing::published_bytes;
use crate::fs::context::FsError;
use crate::fs::names::{Claim, Entry, EntryKind, FileName, Ino, METADATA_ATTEMPTS, ObjectStat, Tree};
use crate::fs::open::{Writing, open_inode, writing_of};
use crate::object::{ObjectKey, Version};
use crate::upload::copy_object;

/// From one name to another.
pub(crate) type RenamePath<'a> = ((Ino, &'a FileName), (Ino, &'a FileName));

/// What a rename finds.
struct Renamed {
    source: Entry,
    /// What has the new name.
    target: Option<Entry>,
}

impl Renamed {
    /// `None` where both names are the same file's.
    fn look(tree: &Tree, (from, to): RenamePath<'_>, no_replace: bool) -> Result<Option<Renamed>, FsError> {
        let source = tree.entry(from.0, from.1).cloned().ok_or(FsError::NotFound)?;
        let target = tree.entry(to.0, to.1).cloned();
        if target.as_ref().is_some_and(|target| target.ino == source.ino) {
            return Ok(None);
        }
        if target.is_some() && no_replace {
            return Err(FsError::Exists);
        }
        match (source.what.is_directory(), target.as_ref().map(|target| target.what.is_directory())) {
            (false, Some(true)) => return Err(FsError::IsDirectory),
            (true, Some(false)) => return Err(FsError::NotDirectory),
            // The kernel refuses it as far as it knows: one of two renames that it was interrupted in it does not.
            (true, _) if to.0 == source.ino || tree.ancestors(to.0).any(|above| above == source.ino) => {
                return Err(FsError::Invalid);
            }
            _ => {}
        }
        Ok(Some(Renamed { source, target }))
    }

    fn claims(&self, (from, to): RenamePath<'_>) -> Vec<Claim> {
        let mut claims = vec![Claim::Name(from.0, from.1.clone()), Claim::Name(to.0, to.1.clone())];
        if self.source.what.is_directory() {
            // Of what is below, most is copied while others go on there.
            claims.extend([Claim::Move(self.source.ino), Claim::Stay(from.0), Claim::Stay(to.0)]);
            claims.extend(self.target.iter().map(|target| Claim::Move(target.ino)));
        } else {
            claims.push(Claim::Alone(self.source.ino));
        }
        claims.extend(self.target.iter().map(|target| Claim::Alone(target.ino)));
        claims
    }
}

/// A file that has its new name.
enum Moved {
    /// Nothing of it is left under the old one.
    Entirely,
    /// Something went wrong after that: the old object is there still, or what was to be published could not be.
    ButFor(FsError),
}

impl Moved {
    fn after(removed: Result<(), FsError>) -> Moved {
        removed.map_or_else(Moved::ButFor, |()| Moved::Entirely)
    }

    /// The first thing that went wrong.
    fn and(self, published: Result<(), FsError>) -> Moved {
        match self {
            Moved::Entirely => Moved::after(published),
            Moved::ButFor(error) => Moved::ButFor(error),
        }
    }

    fn into_result(self) -> Result<(), FsError> {
        match self {
            Moved::Entirely => Ok(()),
            Moved::ButFor(error) => Err(error),
        }
    }
}

impl Changes {
    /// Renames a file or a directory, replacing a file or an empty directory of the new name unless `no_replace`.
    pub(crate) async fn rename(
        &self,
        from: (Ino, &FileName),
        to: (Ino, &FileName),
        no_replace: bool,
    ) -> Result<(), FsError> {
        self.context.refuse_if_read_only()?;
        let look = |tree: &Tree| {
            let renamed = Renamed::look(tree, (from, to), no_replace)?;
            let claims = renamed.as_ref().map_or_else(Vec::new, |renamed| renamed.claims((from, to)));
            Ok((renamed, claims))
        };
        let (renamed, claimed) = self.traffic.claim(&[from, to], look).await?;
        match renamed {
            None => Ok(()),
            Some(renamed) if renamed.source.what.is_directory() => {
                self.rename_directory(from, to, renamed.source, renamed.target.is_some(), claimed).await
            }
            Some(Renamed { source, target }) => self.rename_file(from, to, source, target).await,
        }
    }

    /// The caller has both names and both files to itself.
    async fn rename_file(
        &self,
        from: (Ino, &FileName),
        to: (Ino, &FileName),
        source: Entry,
        target: Option<Entry>,
    ) -> Result<(), FsError> {
        let _stopped = target.as_ref().map(|target| self.publisher.stop_publishing(target.ino));
        let new_key =
            self.context.key(&format!("{}{}", self.names.tree().directory_path(to.0).ok_or(FsError::Stale)?, to.1))?;
        self.traffic.cleanups.stop(new_key.as_str()).await;
        if !self.is_only_here(&source) {
            self.context.refuse_if_deletes_are()?;
        }
        let Some(target) = target else {
            return self.move_file((from, to), source, &new_key, false).await?.into_result();
        };
        let holder = self.name_holder(target.ino).await?;
        let taking = holder.begin_taking(&self.context).await;
        let moved = match &taking {
            Ok(taking) => {
                self.context.uploader.release_source(&new_key, None).await;
                let is_there = self.names.tree().entry(to.0, to.1).is_some_and(|target| target.what != EntryKind::New);
                let replaces_object = taking.has_object() || is_there;
                match self.make_way(to, &new_key, replaces_object).await {
                    Ok(()) => self.move_file((from, to), source, &new_key, replaces_object).await,
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error.clone()),
        };
        let taken = moved.as_ref().map(|_| ()).map_err(FsError::clone);
        self.end_taking(target.ino, &holder, taking.ok(), taken).await?;
        moved?.into_result()
    }

    /// Whether a file has no object that a rename would have to remove.
    fn is_only_here(&self, source: &Entry) -> bool {
        let writing = writing_of(&self.names.tree(), source.ino);
        source.what == EntryKind::New && writing.is_some_and(|writing| writing.file.is_only_here())
    }

    /// The object of a name is about to be replaced, if it has one.
    async fn make_way(&self, to: (Ino, &FileName), key: &ObjectKey, replaces_object: bool) -> Result<(), FsError> {
        if !replaces_object {
            return Ok(());
        }
        self.context.refuse_if_overwrites_are()?;
        let bytes = published_bytes(&self.names.tree(), to);
        self.traffic.keep_in_trash(key, bytes).await
    }

    /// Moves a file. An error is one that leaves everything where it was.
    async fn move_file(
        &self,
        (from, to): RenamePath<'_>,
        source: Entry,
        new_key: &ObjectKey,
        replaces_object: bool,
    ) -> Result<Moved, FsError> {
        // Held, so that the last release does not forget the content, with its old key, in the middle.
        let writing = self.publisher.hold_writing(source.ino);
        let moved = match &writing {
            Some(writing) => self.move_written((from, to), new_key, &source, writing, replaces_object).await,
            None => self.move_object((from, to), new_key, &source).await,
        };
        let moved = moved.map(|(what, moved)| {
            self.move_entry(from, to, Entry { what, ..source.clone() });
            moved
        });
        let published = match &writing {
            Some(writing) => {
                // A close may have come in between, when key and name did not agree.
                self.publisher.settle(source.ino, writing);
                self.publisher.let_go(source.ino, writing).await
            }
            None => Ok(()),
        };
        moved.map(|moved| moved.and(published))
    }

    /// Gives a file that is being written another key. Returns what it is there, and whether the old name is gone.
    async fn move_written(
        &self,
        (from, to): RenamePath<'_>,
        new_key: &ObjectKey,
        source: &Entry,
        writing: &Writing,
        replaces_object: bool,
    ) -> Result<(EntryKind, Moved), FsError> {
        let old_key = writing.file.key();
        // It is closed, and has waited for this.
        let is_due = writing.is_held();
        let was_temporary = writing.set_temporary(false);
        let retyped = |attributes| Ok::<_, FsError>(self.context.retyped(attributes, from.1.as_str(), to.1.as_str()));
        let only_here = source.what == EntryKind::New && writing.file.rename_unpublished(new_key);
        writing.file.change_attributes(retyped)?;
        let removed = if !only_here {
            writing.file.move_to(new_key).await?;
            Moved::after(self.delete_old_name((from, to), &old_key).await)
        } else if replaces_object || is_due {
            // The object that is replaced must not come back if this file is removed before it is published.
            if let Err(error) = writing.file.publish().await {
                writing.file.rename_unpublished(&old_key);
                writing.set_temporary(was_temporary);
                return Err(error.into());
            }
            Moved::Entirely
        } else {
            Moved::Entirely
        };
        let stat = |published| EntryKind::Object(ObjectStat::published(published, self.context.clock.now()));
        Ok((writing.file.published().map_or(EntryKind::New, stat), removed))
    }

    /// Copies the object of a file to its new key and removes the old one. Returns what it is there, and whether the old
    /// name is gone.
    async fn move_object(
        &self,
        (from, to): RenamePath<'_>,
        new_key: &ObjectKey,
        source: &Entry,
    ) -> Result<(EntryKind, Moved), FsError> {
        let (stat, old_key) = self.stat_with_attributes(from).await?;
        let attributes = *stat.attributes.clone().unwrap_or_default();
        let attributes = self.context.retyped(attributes, from.1.as_str(), to.1.as_str());
        let attributes = attributes.with_mtime_or(stat.last_modified);
        let object = stat.version.under(old_key);
        let copied = copy_object(&*self.context.store, &object, new_key, &attributes).await;
        let etag = copied.map_err(|error| self.context.told(error))?;
        let now = self.context.clock.now();
        if let Some(inode) = open_inode(&self.names.tree(), source.ino) {
            inode.lock().object_moved(&object.version.etag, new_key, &etag);
        }
        let removed = Moved::after(self.delete_old_name((from, to), &object.key).await);
        let version = Version { etag, ..object.version };
        Ok((EntryKind::Object(ObjectStat::made(version, attributes, now)), removed))
    }

    /// Removes the object that a file had before it moved. After a conflict that is not the one of its name, which is
    /// another's and stays.
    async fn delete_old_name(&self, (from, to): RenamePath<'_>, old_key: &ObjectKey) -> Result<(), FsError> {
        self.markers.keep_directory(from, Some(to)).await?;
        self.context.remove_object(old_key).await
    }

    pub(crate) fn move_entry(&self, from: (Ino, &FileName), to: (Ino, &FileName), entry: Entry) {
        let (now, ttl) = (self.context.clock.now(), self.context.options.metadata_ttl);
        let ino = entry.ino;
        let mut tree = self.names.tree();
        tree.unlink(from.0, from.1, now, ttl);
        tree.link(to.0, to.1, Entry { seen_at: now, ..entry }, now, ttl);
        tree.move_node(ino, to.0, to.1.clone());
        if let Some(times) = tree.times_mut(ino) {
            times.note_change(now);
        }
        drop(tree);
        self.locks.move_locks();
    }

    /// The facts of a published file with its metadata, by name, and its key.
    async fn stat_with_attributes(&self, place: (Ino, &FileName)) -> Result<(ObjectStat, ObjectKey), FsError> {
        let key = self.context.key(&format!(
            "{}{}",
            self.names.tree().directory_path(place.0).ok_or(FsError::Stale)?,
            place.1
        ))?;
        for _ in 0..METADATA_ATTEMPTS {
            self.names.fetch_all_attributes(place.0, place.1).await?;
            match self.names.tree().entry(place.0, place.1).map(|entry| &entry.what) {
                Some(EntryKind::Object(stat)) if stat.own_attributes().is_some() => return Ok((stat.clone(), key)),
                Some(EntryKind::Object(_)) => {}
                _ => return Err(FsError::Stale),
            }
        }
        // Never guessed: they become the copy's.
        Err(FsError::Stale)
    }
}

//! What waits before it is published: temporary files for the name they are for, attributes for more of them.
//!
//! Both are a file's content that stays when nobody has it open for writing any more, until its time is over. A rename
//! publishes it under the new name; opening it for writing takes it up again, and fsync, memory that runs short and the
//! end of the mount publish it at once.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt};

use super::attributes::type_of_name;
use super::files::Writing;
use super::name::FileName;
use super::traffic::Claim;
use super::tree::{Ino, Marker, What};
use super::{FileSystem, FsError};
use crate::object::{ObjectAttributes, StoredObject};
use crate::store::{CopyRequest, Source};
use crate::upload::OpenFile;

/// How long to wait after the first failed attempt to publish what was closed. Doubles with each, up to [`RETRY_LAST`].
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_LAST: Duration = Duration::from_secs(320);

/// What waited and is published in the background, at once.
pub(super) const BACKGROUND_MAX: usize = 64;

impl FileSystem {
    /// How long a file that was closed just now may wait, if it may: a temporary one for its final name, and one of which only
    /// attributes were changed, as `touch` does, for more of them.
    pub(super) fn hold_span(&self, writing: &Writing) -> Option<Duration> {
        match writing.is_temporary() && writing.file.is_only_here() {
            true => Some(self.options.hold_for),
            false => writing.file.lacks_only_attributes().then_some(self.options.gather_for),
        }
    }

    /// Lets what is unpublished of a file wait for `span`, also when nobody has it open any more.
    pub(super) fn hold(&self, ino: Ino, writing: &Arc<Writing>, span: Duration) {
        let turn = writing.begin_hold();
        let (fs, writing) = (self.me.clone(), Arc::downgrade(writing));
        self.runtime.spawn(async move {
            tokio::time::sleep(span).await;
            if let Some((fs, writing)) = fs.upgrade().zip(writing.upgrade()) {
                fs.end_hold(ino, &writing, turn).await;
            }
        });
    }

    /// The time of a hold is over.
    async fn end_hold(&self, ino: Ino, writing: &Arc<Writing>, turn: u64) {
        // Who has a permit waits for the service alone.
        drop(writing.file.hold_still().await);
        let _permit = self.background.acquire().await;
        if !writing.end_hold(turn) {
            return;
        }
        let is_there = {
            let mut tree = self.tree();
            let file = tree.file_mut(ino).filter(|file| file.is_written_by(writing));
            file.map(|file| file.writers += 1).is_some()
        };
        if !is_there {
            return;
        }
        let published = self.publish(ino, writing).await;
        let retry = writing.next_retry();
        if published.is_err() {
            self.hold(ino, writing, retry);
        }
        // Tells nothing new.
        let _ = self.let_go(ino, writing).await;
        let Err(error) = published else { return };
        let key = writing.file.key();
        match writing.file.failure() {
            None => log::error!("{key}: what was closed could not be published, next attempt in {retry:?}: {error}"),
            Some(_) if writing.is_only_attributes() => {
                log::error!("{key}: attributes could not be published and are lost: {error}");
            }
            Some(_) => log::error!("{key}: what was closed could not be published and is lost: {error}"),
        }
    }

    /// Publishes attributes that are waiting of directories, of all of them.
    pub(super) async fn save_directories(&self) -> Vec<(String, FsError)> {
        let unsaved = self.tree().unsaved_directories();
        let save = |ino: Ino| async move {
            let path = self.directory_prefix(ino).unwrap_or_default();
            self.save_directory(ino).await.err().map(|error| (path, error))
        };
        let saves: Vec<_> = unsaved.into_iter().map(save).collect();
        stream::iter(saves).buffer_unordered(BACKGROUND_MAX).filter_map(|error| async { error }).collect().await
    }

    /// Publishes attributes that are waiting of a directory and those below it, none of which moves.
    pub(super) async fn save_directories_below(&self, top: Ino) -> Result<(), FsError> {
        let unsaved = {
            let tree = self.tree();
            let is_below = |ino: &Ino| *ino == top || tree.ancestors(*ino).any(|above| above == top);
            tree.unsaved_directories().into_iter().filter(is_below).collect::<Vec<_>>()
        };
        let saves: Vec<_> = unsaved.into_iter().map(|ino| self.save_marker(ino)).collect();
        let saved: Vec<_> = stream::iter(saves).buffer_unordered(BACKGROUND_MAX).collect().await;
        saved.into_iter().collect()
    }

    /// The attributes of an inode as they are or will be, all of them.
    pub(super) async fn attributes_of(&self, ino: Ino) -> Result<ObjectAttributes, FsError> {
        if self.tree().directory(ino).is_some() {
            return Ok(self.marker_of(ino).await?.attributes);
        }
        let writing = self.tree().file(ino).and_then(|file| file.writing.clone());
        match writing {
            Some(writing) => Ok(writing.file.attributes()),
            None => Ok(*self.all_facts_of(ino).await?.0.attributes.unwrap_or_default()),
        }
    }

    /// Changes the attributes of an inode by `change`, which is told whether it is a directory. They are published with
    /// the content where that is being written, and otherwise when more may have been gathered.
    pub(super) async fn change_attributes(
        &self,
        ino: Ino,
        change: impl Fn(bool, &ObjectAttributes) -> Result<ObjectAttributes, FsError>,
    ) -> Result<(), FsError> {
        self.change_attributes_and_time(ino, false, change).await
    }

    /// The same for a change that may set the time of the last change, be it to what it is.
    pub(super) async fn change_attributes_and_time(
        &self,
        ino: Ino,
        sets_time: bool,
        change: impl Fn(bool, &ObjectAttributes) -> Result<ObjectAttributes, FsError>,
    ) -> Result<(), FsError> {
        self.change_metadata(ino, sets_time, change).await?;
        self.note_change_of(ino);
        Ok(())
    }

    async fn change_metadata(
        &self,
        ino: Ino,
        sets_time: bool,
        change: impl Fn(bool, &ObjectAttributes) -> Result<ObjectAttributes, FsError>,
    ) -> Result<(), FsError> {
        let change = |is_directory: bool, before: &ObjectAttributes| {
            let changed = change(is_directory, before)?;
            let has_room = self.store.limits().hold_metadata(&changed.user);
            if has_room { Ok(changed) } else { Err(FsError::MetadataFull) }
        };
        if self.tree().directory(ino).is_some() {
            return self.change_directory(ino, |before| change(true, before)).await;
        }
        loop {
            {
                // Under the lock under which the last release forgets the content: it publishes what is set before.
                let tree = self.tree();
                if let Some(writing) = tree.file(ino).and_then(|file| file.writing.as_ref()) {
                    let change = |before: ObjectAttributes| change(false, &before);
                    return match sets_time {
                        true => writing.file.change_attributes_and_time(change),
                        false => writing.file.change_attributes(change),
                    };
                }
            }
            let (facts, object) = self.all_facts_of(ino).await?;
            // A copy is a newer object; the time of the last change is what it was.
            let before = facts.attributes.unwrap_or_default().with_mtime_or(facts.last_modified);
            let changed = change(false, &before)?;
            if changed == before || self.gather(ino, object, before, changed)? {
                return Ok(());
            }
        }
    }

    /// Keeps changed attributes of a published file until there may be more. Returns whether it could: somebody may have
    /// begun to write meanwhile.
    fn gather(
        &self,
        ino: Ino,
        object: StoredObject,
        before: ObjectAttributes,
        changed: ObjectAttributes,
    ) -> Result<bool, FsError> {
        let etag = object.version.etag.clone();
        let file = OpenFile::existing(&self.uploader, object, before);
        file.change_attributes(|_| Ok::<_, FsError>(changed))?;
        let writing = Writing::of_attributes(file);
        {
            let mut tree = self.tree();
            let is_current = tree.version_of(ino).as_ref() == Some(&etag);
            let file = tree.file_mut(ino).ok_or(FsError::Stale)?;
            if file.writing.is_some() || !is_current {
                return Ok(false);
            }
            (file.writing, file.writers) = (Some(writing.clone()), 0);
            if file.object.upgrade().is_some_and(|object| object.version().etag != etag) {
                // Somebody reads an older version, which does not get the attributes, and is not what is published.
                file.object = Weak::new();
            }
        }
        self.hold(ino, &writing, self.options.gather_for);
        Ok(true)
    }

    /// What the marker of a directory says, asked for where it is not known.
    async fn marker_of(&self, ino: Ino) -> Result<Box<Marker>, FsError> {
        let Some((parent, name)) = self.tree().place(ino) else {
            self.learn_top().await?;
            return self.tree().marker(ino).map(|marker| Box::new(marker.clone())).ok_or(FsError::Stale);
        };
        self.marker_at((parent, &name)).await
    }

    /// What the marker of a directory says, asked for where it is not known.
    pub(super) async fn marker_at(&self, place: (Ino, &FileName)) -> Result<Box<Marker>, FsError> {
        self.fetch_all_attributes(place.0, place.1).await?;
        match self.tree().entry(place.0, place.1).map(|entry| &entry.what) {
            Some(What::Directory(Some(marker))) => Ok(marker.clone()),
            _ => Err(FsError::Stale),
        }
    }

    async fn change_directory(
        &self,
        ino: Ino,
        change: impl Fn(&ObjectAttributes) -> Result<ObjectAttributes, FsError>,
    ) -> Result<(), FsError> {
        self.marker_of(ino).await?;
        {
            let mut tree = self.tree();
            let shown = tree.directory_mtime(ino, tree.marker(ino));
            // Whoever sets other attributes leaves the time what it is shown to be.
            let told = tree.marker(ino).ok_or(FsError::Stale)?.attributes.clone();
            let mut before = told.clone();
            if shown != SystemTime::UNIX_EPOCH {
                before.set_mtime(shown);
            }
            let changed = change(&before)?;
            if changed == before {
                return Ok(());
            }
            let changed = changed.with_mtime_or(self.clock.now());
            // The time of a directory that was filled is set back to what the marker tells: nothing to be saved.
            let is_told = told == changed;
            tree.change_marker(ino, |marker| marker.attributes = changed);
            let Some(directory) = tree.directory_mut(ino) else { return Err(FsError::Stale) };
            directory.modified_at = None;
            if is_told {
                return Ok(());
            }
            if std::mem::replace(&mut directory.is_unsaved, true) {
                return Ok(());
            }
        }
        let fs = self.me.clone();
        let span = self.options.gather_for;
        self.runtime.spawn(async move {
            tokio::time::sleep(span).await;
            let Some(fs) = fs.upgrade() else { return };
            if let Err(error) = fs.save_directory(ino).await {
                log::error!("the attributes of a directory could not be published and are lost: {error}");
            }
        });
        Ok(())
    }

    /// Publishes attributes of a directory that are waiting, if there are any.
    pub(super) async fn save_directory(&self, ino: Ino) -> Result<(), FsError> {
        // It must not land behind the end of the directory.
        let ((), _stays) = self.claim(&[], |_| Ok(((), vec![Claim::Stay(ino)]))).await?;
        self.save_marker(ino).await
    }

    /// The same of one that does not move.
    async fn save_marker(&self, ino: Ino) -> Result<(), FsError> {
        let marking = self.tree().directory(ino).map(|directory| directory.marking.clone());
        let Some(marking) = marking else { return Ok(()) };
        // Whoever saves it already comes to the end of that first.
        drop(marking.lock().await);
        if !self.tree().directory(ino).is_some_and(|directory| directory.is_unsaved) {
            return Ok(());
        }
        // The permit comes first: those who have one may wait for a file that is being removed, whose removal waits for the
        // marker of its directory.
        let _permit = self.background.acquire().await;
        let _one_at_a_time = marking.lock().await;
        let (path, attributes, has_marker) = {
            let mut tree = self.tree();
            let path = tree.directory_path(ino);
            let attributes = tree.marker(ino).map(|marker| (marker.attributes.clone(), marker.is_there()));
            let Some(directory) = tree.directory_mut(ino).filter(|directory| directory.is_unsaved) else {
                return Ok(());
            };
            directory.is_unsaved = false;
            // It may have been removed since.
            let Some((path, (attributes, is_there))) = path.zip(attributes) else { return Ok(()) };
            (path, attributes, is_there)
        };
        let key = self.marker_key(&path)?;
        if !has_marker {
            let put = self.put_marker(&key, &attributes).await;
            let mut tree = self.tree();
            match &put {
                Ok(()) => tree.note_marker(ino, self.clock.now()),
                Err(_) => tree.doubt_marker(ino),
            }
            return put;
        }
        // A marker has no bytes that another version of it could differ in.
        let source = Source { key: key.clone(), if_match: None };
        let copy = CopyRequest { source, key, replace: Some(attributes), storage_class: None, bytes: Some(0) };
        let copied = self.store.copy(copy).await;
        if copied.is_err() {
            self.tree().doubt_marker(ino);
        }
        copied.map(drop).map_err(|error| self.told(error))
    }

    /// The content type of a file that moves, where nobody has chosen another one than its old name's.
    pub(super) fn retyped(&self, mut attributes: ObjectAttributes, old: &str, new: &str) -> ObjectAttributes {
        let is_of_name = attributes.content_type.as_deref().is_none_or(|known| known == type_of_name(old));
        if self.options.types_by_name && is_of_name {
            attributes.content_type = Some(type_of_name(new).to_owned());
        }
        attributes
    }
}

impl Writing {
    /// Lets it be kept without writers. Returns the number of this hold.
    fn begin_hold(&self) -> u64 {
        let mut progress = self.progress();
        progress.last_hold += 1;
        progress.held = Some(progress.last_hold);
        progress.last_hold
    }

    /// How long to wait after an attempt to publish it that has failed.
    fn next_retry(&self) -> Duration {
        let mut progress = self.progress();
        let now = progress.retry_after.clamp(RETRY_FIRST, RETRY_LAST);
        progress.retry_after = now * 2;
        now
    }

    /// Ends this hold, and says whether it lasted until now.
    fn end_hold(&self, turn: u64) -> bool {
        self.progress().held.take_if(|held| *held == turn).is_some()
    }

    /// The number of the hold that lasts, if one does. A write ends it.
    pub(super) fn current_hold(&self) -> Option<u64> {
        self.progress().held
    }

    /// Whether it was closed and waits.
    pub(super) fn is_held(&self) -> bool {
        self.progress().held.is_some()
    }

    /// Whether it is of a file that will be given another name.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary.load(Ordering::Relaxed)
    }

    /// Says whether it will be given another name. Returns what was said before.
    pub(super) fn set_temporary(&self, is_temporary: bool) -> bool {
        self.temporary.swap(is_temporary, Ordering::Relaxed)
    }

    /// Whether nobody has had it open for writing, so that the content is the object's.
    pub(super) fn is_only_attributes(&self) -> bool {
        self.only_attributes.load(Ordering::Relaxed)
    }
}

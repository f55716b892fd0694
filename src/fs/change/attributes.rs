//! Changing attributes: chmod, chown, utimens, truncate. Of a file that is being written they travel with its publishing; those of
//! others wait a moment for more of them.

use std::sync::Arc;

use crate::fs::context::{Context, FsError, HandleId};
use crate::fs::markers::Markers;
use crate::fs::names::{Attr, AttrChange, Ino, Names};
use crate::fs::open::{Files, Publisher, Writing, writing_of};
use crate::fs::traffic::Traffic;
use crate::object::ObjectAttributes;

/// A file whose length was changed, and which nobody may have open.
struct Cut {
    writing: Arc<Writing>,
    is_by_path: bool,
}

/// Changes attributes.
pub struct Attributes {
    pub(crate) context: Arc<Context>,
    pub(crate) names: Arc<Names>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) markers: Arc<Markers>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) files: Arc<Files>,
}

impl Attributes {
    /// Changes attributes, the length among them, and returns what `stat` shows then.
    ///
    /// Of a file that is being written they travel with its publishing; a published object gets them by one copy onto
    /// itself, a directory by a new marker.
    pub async fn setattr(&self, ino: Ino, change: AttrChange) -> Result<Attr, FsError> {
        self.context.refuse_if_read_only()?;
        let working = self.traffic.arrive(ino).await;
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
            self.names.note_change_of(ino);
            if let Some(times) = self.names.tree().times_mut(ino) {
                times.set_read(read_at);
            }
        }
        let attr = self.traffic.getattr(ino).await;
        let Some(cut) = cut else { return changed.and(attr) };
        // Who removes the file or gives its name to another need not wait until all of it is at the service.
        drop(working);
        let published = self.publish_cut(ino, cut).await;
        changed.and(published)?;
        // It may have lost its name meanwhile.
        let is_named = self.names.tree().entry_of(ino).is_some();
        if is_named { self.traffic.getattr(ino).await } else { attr }
    }

    /// Gives a file another length. Returns what is to be published and let go by that.
    async fn set_size(&self, ino: Ino, size: u64, modifies: bool) -> Result<Option<Cut>, FsError> {
        if !self.names.tree().is_file(ino) {
            return Err(FsError::IsDirectory);
        }
        let (writing, is_by_path) = match self.publisher.hold_writing(ino) {
            Some(writing) => (writing, false),
            // By path, with no handle: an open, a truncation and a close in one.
            None if self.files.stat_of(ino).await?.0.version.size == size => {
                if modifies {
                    let touch = AttrChange { mtime: Some(self.context.clock.now()), ..AttrChange::default() };
                    self.change_attributes(ino, |_, before| Ok(touch.apply(false, before))).await?;
                }
                return Ok(None);
            }
            None => {
                self.context.refuse_if_overwrites_are()?;
                (self.files.open_content(ino, false).await?, true)
            }
        };
        if !self.files.own_backing_file(ino, false).await {
            let _ = self.publisher.let_go(ino, &writing).await;
            return Err(self.files.leave_inode(ino).await);
        }
        if let Err(error) = self.traffic.keep_before_cut(ino, size).await {
            let _ = self.publisher.let_go(ino, &writing).await;
            return Err(error);
        }
        let turn = self.files.turn_of(ino).await;
        let is_other = writing.file.size() != size;
        if is_other {
            self.publisher.has_other_content(ino, &writing);
        }
        let truncated = writing.file.truncate(size).await;
        match is_other {
            false if modifies => writing.file.touch(),
            true if truncated.is_ok() => writing.note_change(),
            _ => {}
        }
        if let Err(error) = truncated {
            // Tells nothing new.
            drop(turn);
            let _ = self.publisher.let_go(ino, &writing).await;
            return Err(error.into());
        }
        if let Some(turn) = turn.filter(|_| is_other) {
            turn.truncate(size).await;
        }
        Ok(Some(Cut { writing, is_by_path }))
    }

    async fn publish_cut(&self, ino: Ino, Cut { writing, is_by_path }: Cut) -> Result<(), FsError> {
        let published = if is_by_path { self.publisher.publish(ino, &writing).await } else { Ok(()) };
        published.and(self.publisher.let_go(ino, &writing).await)
    }

    /// Whether somebody has a file open for writing.
    pub fn is_open_for_writing(&self, ino: Ino) -> bool {
        self.files.is_open_for_writing(ino)
    }

    /// Whether what is stored in a mapping of the file that a handle is of goes to a file on this machine's disk alone.
    pub fn may_be_stored_in(&self, handle: HandleId) -> bool {
        self.files.has_written_backing(handle)
    }

    /// The attributes of an inode as they are or will be, all of them.
    pub(crate) async fn attributes_of(&self, ino: Ino) -> Result<ObjectAttributes, FsError> {
        if self.names.tree().directory(ino).is_some() {
            return Ok(self.markers.marker_of(ino).await?.attributes);
        }
        let writing = writing_of(&self.names.tree(), ino);
        match writing {
            Some(writing) => Ok(writing.file.attributes()),
            None => Ok(*self.files.full_stat_of(ino).await?.0.attributes.unwrap_or_default()),
        }
    }

    /// Changes the attributes of an inode by `change`, which is told whether it is a directory. They are published with
    /// the content where that is being written, and otherwise when more may have been gathered.
    pub(crate) async fn change_attributes(
        &self,
        ino: Ino,
        change: impl Fn(bool, &ObjectAttributes) -> Result<ObjectAttributes, FsError>,
    ) -> Result<(), FsError> {
        self.change_attributes_and_time(ino, false, change).await
    }

    /// The same for a change that may set the time of the last change, be it to what it is.
    pub(crate) async fn change_attributes_and_time(
        &self,
        ino: Ino,
        sets_time: bool,
        change: impl Fn(bool, &ObjectAttributes) -> Result<ObjectAttributes, FsError>,
    ) -> Result<(), FsError> {
        self.change_metadata(ino, sets_time, change).await?;
        self.names.note_change_of(ino);
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
            let has_room = self.context.store.limits().hold_metadata(&changed.user);
            if has_room { Ok(changed) } else { Err(FsError::MetadataFull) }
        };
        if self.names.tree().directory(ino).is_some() {
            return self.markers.change_directory(ino, |before| change(true, before)).await;
        }
        loop {
            {
                // Under the lock under which the last release forgets the content: it publishes what is set before.
                let tree = self.names.tree();
                if let Some(writing) = writing_of(&tree, ino) {
                    let change = |before: ObjectAttributes| change(false, &before);
                    return match sets_time {
                        true => writing.file.change_attributes_and_time(change),
                        false => writing.file.change_attributes(change),
                    };
                }
            }
            let (stat, object) = self.files.full_stat_of(ino).await?;
            // A copy is a newer object; the time of the last change is what it was.
            let before = stat.attributes.unwrap_or_default().with_mtime_or(stat.last_modified);
            let changed = change(false, &before)?;
            if changed == before || self.publisher.gather(ino, object, before, changed)? {
                return Ok(());
            }
        }
    }
}

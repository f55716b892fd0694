//! What waits before it is published: temporary files for the name they are for, attributes for more of them.
//!
//! Both are a file's content that stays when nobody has it open for writing any more, until its time is over. A rename
//! publishes it under the new name; opening it for writing takes it up again, and fsync, memory that runs short and the
//! end of the mount publish it at once.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Publisher, Writing, lock_inode, open_inode};
use crate::fs::context::FsError;
use crate::fs::context::cause::with_cause;
use crate::fs::names::Ino;
use crate::object::{ObjectAttributes, StoredObject};
use crate::upload::OpenFile;

impl Publisher {
    /// How long a file that was closed just now may wait, if it may: a temporary one for its final name, and one of which only
    /// attributes were changed, as `touch` does, for more of them.
    pub(crate) fn hold_span(&self, writing: &Writing) -> Option<Duration> {
        match writing.is_temporary() && writing.file.is_only_here() {
            true => Some(self.context.options.hold_for),
            false => writing.file.lacks_only_attributes().then_some(self.context.options.gather_for),
        }
    }

    /// Lets what is unpublished of a file wait for `span`, also when nobody has it open any more.
    pub(crate) fn hold(&self, ino: Ino, writing: &Arc<Writing>, span: Duration) {
        let turn = writing.begin_hold();
        let (fs, writing) = (self.me.clone(), Arc::downgrade(writing));
        self.context.runtime.spawn(async move {
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
        let _permit = self.context.background.acquire().await;
        if !writing.end_hold(turn) {
            return;
        }
        let is_there = {
            let tree = self.names.tree();
            let inode = open_inode(&tree, ino);
            let inode = inode.as_ref().map(|inode| inode.lock()).filter(|inode| inode.is_written_by(writing));
            inode.map(|mut inode| inode.writers += 1).is_some()
        };
        if !is_there {
            return;
        }
        let published = with_cause(self.publish(ino, writing)).await;
        let retry = writing.next_retry();
        if published.is_err() {
            self.hold(ino, writing, retry);
        }
        // Tells nothing new.
        let _ = self.let_go(ino, writing).await;
        let Err(error) = published else { return };
        self.note_failure(ino, "publish", writing, &error);
        let key = writing.file.key();
        match writing.file.failure() {
            None => log::error!("{key}: what was closed could not be published, next attempt in {retry:?}: {error}"),
            Some(_) if writing.is_only_attributes() => {
                log::error!("{key}: attributes could not be published and are lost: {error}");
            }
            Some(_) => log::error!("{key}: what was closed could not be published and is lost: {error}"),
        }
    }

    /// Keeps changed attributes of a published file until there may be more. Returns whether it could: somebody may have
    /// begun to write meanwhile.
    pub(crate) fn gather(
        &self,
        ino: Ino,
        object: StoredObject,
        before: ObjectAttributes,
        changed: ObjectAttributes,
    ) -> Result<bool, FsError> {
        let etag = object.version.etag.clone();
        let file = OpenFile::existing(&self.context.uploader, object, before);
        file.change_attributes(|_| Ok::<_, FsError>(changed))?;
        let writing = Writing::of_attributes(file);
        {
            let mut tree = self.names.tree();
            let is_current = tree.version_of(ino).as_ref() == Some(&etag);
            let mut file = lock_inode(&mut tree, ino).ok_or(FsError::Stale)?;
            if file.writing.is_some() || !is_current {
                return Ok(false);
            }
            (file.writing, file.writers) = (Some(writing.clone()), 0);
            if file.object.upgrade().is_some_and(|object| object.version().etag != etag) {
                // Somebody reads an older version, which does not get the attributes, and is not what is published.
                file.object = Weak::new();
            }
        }
        self.hold(ino, &writing, self.context.options.gather_for);
        Ok(true)
    }
}

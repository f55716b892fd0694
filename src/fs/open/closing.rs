//! What publishes a file: the closing of a descriptor, fsync, the last release, the end of the mount.
//!
//! A file that is being written is kept for as long as it has writers; the last of them publishes what is left, down to
//! attributes that are set while it does.

use std::sync::Arc;
use std::time::Duration;

use super::{Publisher, Writing, open_inode, waiting_in, writing_of, writings};
use crate::fs::context::cause::{FailedCall, with_cause};
use crate::fs::context::{BACKGROUND_MAX, FsError, HandleId};
use crate::fs::names::{EntryKind, Ino, ObjectStat, Tree, is_at_or_below, path_of};
use crate::upload::{PublishedFile, UploadError};

/// A process that may have a file open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The one that closed a descriptor just now.
    Closer,
    /// The one that opened the file, by the number that it was opened with. It does not count where it is the one that
    /// closed a descriptor.
    Opener(u32),
}

/// A file whose publishing was stopped, because it is about to lose its name.
pub(crate) struct Unwanted(Option<Arc<Writing>>);

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.iter().for_each(|writing| writing.file.set_wanted(true));
    }
}

impl Publisher {
    /// A descriptor of the handle was closed: publishes what is unpublished and tells the outcome.
    ///
    /// Not every close is the last word: `still_open` says whether a process still has the file open by another
    /// descriptor, whose own close will publish and tell. It is asked only if there is something to publish: of the one
    /// that closed if the file was made or emptied and not yet written, which is how shells open what they redirect to;
    /// and of the one that opened it, if that is another, because a program that lets its children write cares about its
    /// own close. Where it does not know, this close is the last word.
    pub(crate) async fn flush<F: Future<Output = bool> + Send>(
        &self,
        handle: HandleId,
        still_open: impl Fn(Holder) -> F + Send,
    ) -> Result<(), FsError> {
        let handle = self.handles.get(handle)?;
        let Some(writing) = handle.writing.clone() else { return Ok(()) };
        self.take_stores(&handle).await?;
        let is_last_word = !writing.file.is_dirty()
            || !(writing.is_untouched() && still_open(Holder::Closer).await
                || still_open(Holder::Opener(handle.mode.opener)).await);
        match self.hold_span(&writing).filter(|_| is_last_word) {
            Some(span) => self.hold(handle.ino, &writing, span),
            None if is_last_word => self.publish(handle.ino, &writing).await?,
            None => {}
        }
        Ok(())
    }

    /// Makes everything that was written to the file durable, by whatever handle. The handle stays usable.
    pub(crate) async fn fsync(&self, handle: HandleId) -> Result<(), FsError> {
        let handle = self.handles.get(handle)?;
        self.take_stores(&handle).await?;
        match handle.writing() {
            Some(writing) => self.publish_waiting(handle.ino, &writing).await,
            None => Ok(()),
        }
    }

    /// Publishes what somebody has written to a file that is open.
    pub(crate) async fn publish_open(&self, ino: Ino) -> Result<(), FsError> {
        let writing = writing_of(&self.names.tree(), ino);
        match writing.filter(|writing| writing.file.is_dirty() && !writing.is_untouched()) {
            Some(writing) => self.publish_waiting(ino, &writing).await,
            None => Ok(()),
        }
    }

    /// Publishes a file whether or not somebody has it open for writing: if nobody has, it has waited for this, and its
    /// content is not needed any more. If a removal stops it, and fails, it goes on: this is not for who removes files.
    pub(crate) async fn publish_waiting(&self, ino: Ino, writing: &Writing) -> Result<(), FsError> {
        // Held, so that nobody takes it for one that only waits while it is on its way.
        let held = self.hold_writing(ino);
        let published = writing.file.publish_for_sure().await.map_err(FsError::from);
        if published.is_ok() {
            self.settle(ino, writing);
        }
        let let_go = match &held {
            Some(held) => self.let_go(ino, held).await,
            None => Ok(()),
        };
        published.and(let_go)
    }

    /// Makes the entries of a directory durable: publishes what waits of it and of the files in it.
    pub(crate) async fn fsync_directory(&self, ino: Ino) -> Result<(), FsError> {
        self.markers.save_directory(ino).await?;
        let waiting = waiting_in(&self.names.tree(), ino);
        let publish = |(ino, writing): (Ino, Arc<Writing>)| async move { self.publish_waiting(ino, &writing).await };
        let publishes: Vec<_> = waiting.into_iter().map(publish).collect();
        futures_util::future::join_all(publishes).await.into_iter().collect()
    }

    /// Publishes a file and takes note of its new version.
    pub(crate) async fn publish(&self, ino: Ino, writing: &Writing) -> Result<(), FsError> {
        match writing.file.publish().await {
            // Whoever removes it has stopped this; nobody can see any more whether it was published.
            Err(UploadError::Unwanted { .. }) => {}
            published => published?,
        }
        // Also what was published in the background meanwhile.
        self.settle(ino, writing);
        Ok(())
    }

    /// Takes note of the version that a file has in the bucket now.
    pub(crate) fn settle(&self, ino: Ino, writing: &Writing) {
        let mut tree = self.names.tree();
        let is_this = open_inode(&tree, ino).is_some_and(|inode| inode.lock().is_written_by(writing));
        let is_aside = writing.file.published().is_some_and(|published| self.has_moved_aside(&tree, ino, &published));
        let (now, ttl) = (self.context.clock.now(), self.context.options.metadata_ttl);
        if is_aside {
            // By a conflict, or for the moment in which it is renamed, after which this is asked again.
            tree.touch_upwards(ino, now, ttl);
            return tree.invalidate(ino);
        }
        let Some(published) = writing.newly_published().filter(|_| is_this) else { return };
        let what = EntryKind::Object(ObjectStat::published(published, now));
        if tree.change_entry_of(ino, |entry| entry.what = what).is_some() {
            tree.touch_upwards(ino, now, ttl);
        }
    }

    /// Whether a conflict made a file be published under another name than its own.
    fn has_moved_aside(&self, tree: &Tree, ino: Ino, published: &PublishedFile) -> bool {
        let path = tree.place(ino).and_then(|(parent, name)| Some(format!("{}{name}", tree.directory_path(parent)?)));
        path.and_then(|path| self.context.key(&path).ok()).is_some_and(|key| key != published.object.key)
    }

    /// The last descriptor of a handle is gone. Publishes what is still unpublished, which nobody can be told of but
    /// the log.
    pub(crate) async fn release(&self, id: HandleId) {
        let Ok(handle) = self.handles.get(id) else { return };
        let stored = with_cause(self.take_stores(&handle)).await;
        if self.handles.remove(id).is_none() {
            return;
        }
        let copied = handle.reader().and_then(|reader| {
            let copy = reader.object().unfinished_copy()?;
            Some((reader.object().stored(), copy))
        });
        let (unused, is_last) = {
            let _names = self.names.tree();
            let mut inode = handle.inode.lock();
            (inode.remove_handle(id), inode.handles.is_empty())
        };
        drop(unused);
        if let Some((stored, copy)) = copied.filter(|_| is_last) {
            self.context.readers.complete(stored, copy);
        }
        if let Some(writing) = &handle.writing
            && let Err(failed) = stored.and(with_cause(self.let_go(handle.ino, writing)).await)
        {
            log::error!("{}: lost after its last close: {failed}", writing.file.key());
            self.note_failure(handle.ino, "release", writing, &failed);
        }
        self.dispose_if_unused(handle.ino).await;
        self.names.tree().drop_unused(handle.ino);
    }

    /// Remembers that something could not be published, which no program is told of.
    pub(crate) fn note_failure(&self, ino: Ino, call: &'static str, writing: &Writing, failed: &FailedCall) {
        let path = self.names.path(ino).map_or_else(|| writing.file.key().to_string(), |path| format!("/{path}"));
        self.context.stats.failures.add(failed.noted(call, path, ""));
    }

    /// Undoes an opening whose caller has gone before it was told: a file that was made or emptied by it, and that nobody
    /// else has written since, is as if that had never been asked for.
    pub(crate) async fn abandon(&self, id: HandleId) {
        if let Ok(handle) = self.handles.get(id)
            && let Some(writing) = &handle.writing
        {
            let mut tree = self.names.tree();
            // What waits was closed by somebody, who has been told that it is there.
            let is_for_nothing = writing.is_untouched() && writing.file.published().is_none() && !writing.is_held();
            let is_abandoned = is_for_nothing && {
                let mut inode = handle.inode.lock();
                let is_only_writer = inode.writers == 1 && inode.is_written_by(writing);
                if is_only_writer {
                    inode.written_backing().iter().for_each(|backing| backing.set_outdated());
                    // Whoever reads it goes on with what there was.
                    (inode.writing, inode.writers) = (None, 0);
                }
                is_only_writer
            };
            if is_abandoned {
                writing.file.forget();
                self.drop_if_new(&mut tree, handle.ino);
            }
        }
        self.release(id).await;
    }

    /// A file that never was in the bucket and never will be: its name goes with it.
    fn drop_if_new(&self, tree: &mut Tree, ino: Ino) {
        if tree.entry_of(ino).is_some_and(|entry| entry.what == EntryKind::New)
            && let Some((parent, name)) = tree.place(ino)
        {
            tree.unlink(parent, &name, self.context.clock.now(), Duration::ZERO);
        }
    }

    /// Removes what is left of a file that has lost its name, once nobody has it open any more.
    async fn dispose_if_unused(&self, ino: Ino) {
        let unused = {
            let mut tree = self.names.tree();
            let inode = open_inode(&tree, ino);
            let mut inode = inode.as_ref().map(|inode| inode.lock()).filter(|inode| inode.is_closed());
            let unused = inode.as_mut().and_then(|inode| inode.writing.take_if(|writing| writing.file.is_nameless()));
            unused.iter().for_each(|writing| keep_unpublished(&mut tree, ino, writing));
            unused
        };
        if let Some(writing) = unused {
            self.dispose(&writing).await;
        }
    }

    async fn dispose(&self, writing: &Writing) {
        let Some(hidden) = writing.file.dispose().await else { return };
        self.context.uploader.release_source(&hidden, None).await;
        if let Err(error) = self.context.store.delete(&hidden).await {
            log::error!("{hidden}, which a file that was removed while it was open lived in, stays: {error}");
        }
    }

    /// The publishing of a file that is about to lose its name ends at once, and nothing of it is sent until the answer is
    /// dropped.
    pub(crate) fn stop_publishing(&self, ino: Ino) -> Unwanted {
        // Also where it has not begun: whoever is about to begin it may be waited for.
        let writing = writing_of(&self.names.tree(), ino);
        writing.iter().for_each(|writing| writing.file.set_wanted(false));
        Unwanted(writing)
    }

    /// A program that waited for the file to be published was told to end. What is hardly anything but holes is not published
    /// for somebody who is gone, unless another one has the file open, too.
    pub(crate) fn stop_filling(&self, ino: Ino) {
        let writing = {
            let tree = self.names.tree();
            let inode = open_inode(&tree, ino);
            inode.and_then(|inode| Some(inode.lock()).filter(|inode| inode.writers <= 1)?.writing.clone())
        };
        if let Some(writing) = writing {
            writing.file.stop_filling();
        }
    }

    /// The end of the mount: leaves nothing of files that could not be published, and of those that have lost their names.
    pub(crate) async fn dispose_all(&self) {
        let writings = writings(&self.names.tree());
        for (_, writing) in writings {
            match writing.file.is_nameless() {
                true => self.dispose(&writing).await,
                false => writing.file.abandon(),
            }
        }
        self.context.uploader.until_given_up().await;
    }

    /// The content of a file that somebody has open for writing, to be changed without a handle: it is kept until it is
    /// [let go](Publisher::let_go).
    pub(crate) fn hold_writing(&self, ino: Ino) -> Option<Arc<Writing>> {
        let tree = self.names.tree();
        let inode = open_inode(&tree, ino)?;
        let mut inode = inode.lock();
        let writing = inode.writing.clone()?;
        inode.writers += 1;
        Some(writing)
    }

    /// The content of a file that nobody has open, whose content or attributes only wait to be published, held until it is
    /// [let go](Publisher::let_go) or [dropped](Publisher::drop_waiting). Until then the file is what it was.
    pub(crate) fn hold_waiting(&self, ino: Ino) -> Option<Arc<Writing>> {
        let tree = self.names.tree();
        let inode = open_inode(&tree, ino)?;
        let mut inode = Some(inode.lock()).filter(|inode| inode.is_closed())?;
        let waiting = inode.writing.clone()?;
        inode.writers = 1;
        Some(waiting)
    }

    /// The file of what is held as one that waited has lost its name: nothing of it is wanted any more.
    pub(crate) fn drop_waiting(&self, ino: Ino, waiting: &Arc<Writing>) {
        let mut tree = self.names.tree();
        keep_unpublished(&mut tree, ino, waiting);
        waiting.file.forget();
        if let Some(inode) = open_inode(&tree, ino) {
            let mut inode = inode.lock();
            if inode.is_written_by(waiting) {
                (inode.writing, inode.writers) = (None, 0);
            }
        }
        tree.drop_unused(ino);
    }

    /// The content of a file of which only attributes were changed is about to change, too.
    pub(crate) fn has_other_content(&self, ino: Ino, writing: &Writing) {
        writing.take_for_content();
        if let Some(inode) = open_inode(&self.names.tree(), ino) {
            inode.lock().cached = None;
        }
    }

    /// One writer less. The last one publishes what is left.
    pub(crate) async fn let_go(&self, ino: Ino, writing: &Arc<Writing>) -> Result<(), FsError> {
        let is_last = {
            let tree = self.names.tree();
            let Some(inode) = open_inode(&tree, ino) else { return Ok(()) };
            let mut inode = inode.lock();
            if !inode.is_written_by(writing) {
                return Ok(());
            }
            inode.writers -= 1;
            inode.writers == 0
        };
        let result = if is_last { self.finish_writing(ino, writing).await } else { Ok(()) };
        self.dispose_if_unused(ino).await;
        // The kernel may have forgotten it while it waited.
        self.names.tree().drop_unused(ino);
        result
    }

    /// The last writer is gone: publishes what is left and forgets the content, unless somebody began to write again.
    async fn finish_writing(&self, ino: Ino, writing: &Arc<Writing>) -> Result<(), FsError> {
        let mut result = Ok(());
        loop {
            if writing.is_held() {
                // Its close has succeeded, and so it is not lost because it could not be published since.
                writing.file.clear_error();
            }
            if writing.file.is_dirty() {
                if writing.is_held() {
                    return Ok(());
                }
                result = self.publish(ino, writing).await;
                if writing.file.is_unwanted() {
                    // Should it not be removed after all, it is published later.
                    self.hold(ino, writing, self.context.options.gather_for);
                }
            }
            self.settle(ino, writing);
            if self.forget_writing(ino, writing) {
                return result;
            }
        }
    }

    /// Forgets the content of a file that nobody writes any more. Returns whether nothing is left to be published:
    /// attributes may be set until the very end.
    fn forget_writing(&self, ino: Ino, writing: &Arc<Writing>) -> bool {
        let mut tree = self.names.tree();
        let Some(inode) = open_inode(&tree, ino) else { return true };
        let mut inode = inode.lock();
        if inode.writers > 0 || !inode.is_written_by(writing) {
            return true;
        }
        if writing.file.is_dirty() {
            return false;
        }
        if writing.file.is_nameless() {
            // Whoever has it open goes on with it. What is left then is removed with the last handle.
            return true;
        }
        if writing.is_only_attributes() {
            let failed = writing.file.failure().is_some();
            inode.writing = None;
            drop(inode);
            drop(tree);
            self.take_new_version(ino, writing);
            if failed {
                self.names.tree().invalidate(ino);
            }
            return true;
        }
        inode.writing = None;
        if let Some(published) = writing.file.published() {
            let object = self.context.readers.object(published.object);
            inode.object = Arc::downgrade(&object);
            let has_failed = writing.file.failure().is_some();
            if let Some(backing) = inode.written_backing() {
                backing.set_object(object.clone());
                if has_failed {
                    // It has what never was published.
                    backing.set_outdated();
                }
            }
            for reader in inode.handles.iter().filter_map(|id| self.handles.get(*id).ok()) {
                reader.read_from(&object);
            }
        } else {
            drop(inode);
            self.drop_if_new(&mut tree, ino);
        }
        true
    }

    /// The object is a new one with the same bytes: readers go on with that, and what the kernel has cached is still right.
    pub(crate) fn take_new_version(&self, ino: Ino, writing: &Writing) {
        let Some(published) = writing.file.published() else { return };
        let tree = self.names.tree();
        let Some(inode) = open_inode(&tree, ino) else { return };
        let mut inode = inode.lock();
        if let Some(object) = inode.object.upgrade() {
            object.moved(published.object.key, published.object.version.etag.clone());
        }
        if inode.cached.is_some() {
            inode.cached = Some(published.object.version.etag);
        }
    }

    /// Publishes every file that is being written, and returns those that could not be, with the reason.
    pub(crate) async fn publish_below(&self, path: &str) -> Vec<(String, FailedCall)> {
        for handle in self.handles.all() {
            if let Err(error) = self.take_stores(&handle).await {
                log::error!("{:?}: what was stored in a mapping of it is lost: {error}", handle.ino);
            }
        }
        let writings = {
            let tree = self.names.tree();
            let is_below = |ino: Ino| path_of(&tree, ino).is_some_and(|found| is_at_or_below(&found, path));
            writings(&tree).into_iter().filter(|(ino, _)| is_below(*ino)).collect::<Vec<_>>()
        };
        let publish = |(ino, writing): (Ino, Arc<Writing>)| async move {
            let key = writing.file.key().to_string();
            let published = with_cause(self.publish_waiting(ino, &writing)).await;
            published.err().map(|failed| (key, failed))
        };
        let all: Vec<_> = writings.into_iter().map(publish).collect();
        let mut failed: Vec<_> = futures_util::future::join_all(all).await.into_iter().flatten().collect();
        failed.extend(self.markers.save_directories(|found| is_at_or_below(found, path)).await);
        // Those that are being published in the background right now come to their end, too.
        drop(self.context.background.acquire_many(BACKGROUND_MAX as u32).await);
        failed
    }
}

/// What is shown of a file without a name once its content is gone: who was told of it before may ask.
fn keep_unpublished(tree: &mut Tree, ino: Ino, writing: &Writing) {
    tree.inodes.keep_unpublished(ino, writing.file.size(), writing.file.attributes());
}

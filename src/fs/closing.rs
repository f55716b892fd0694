//! What publishes a file: the closing of a descriptor, fsync, the last release, the end of the mount.
//!
//! A file that is being written is kept for as long as it has writers; the last of them publishes what is left, down to
//! attributes that are set while it does.

use std::sync::Arc;
use std::time::Duration;

use super::files::{Writing, version_of};
use super::handles::{Handle, HandleId};
use super::holding::BACKGROUND_MAX;
use super::tree::{Facts, Ino, Tree, What};
use super::{FileSystem, FsError};
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
pub(super) struct Unwanted(Option<Arc<Writing>>);

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.iter().for_each(|writing| writing.file.set_wanted(true));
    }
}

impl FileSystem {
    /// A descriptor of the handle was closed: publishes what is unpublished and tells the outcome.
    ///
    /// Not every close is the last word: `still_open` says whether a process still has the file open by another
    /// descriptor, whose own close will publish and tell. It is asked only if there is something to publish: of the one
    /// that closed if the file was made or emptied and not yet written, which is how shells open what they redirect to;
    /// and of the one that opened it, if that is another, because a program that lets its children write cares about its
    /// own close. Where it does not know, this close is the last word.
    pub async fn flush<F: Future<Output = bool> + Send>(
        &self,
        handle: HandleId,
        still_open: impl Fn(Holder) -> F + Send,
    ) -> Result<(), FsError> {
        let handle = self.handles.file(handle)?;
        let Some(writing) = handle.writing.clone() else { return Ok(()) };
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
    pub async fn fsync(&self, handle: HandleId) -> Result<(), FsError> {
        let handle = self.handles.file(handle)?;
        match self.writing_of(&handle) {
            Some(writing) => self.publish_waiting(handle.ino, &writing).await,
            None => Ok(()),
        }
    }

    /// Publishes what somebody has written to a file that is open.
    pub(super) async fn publish_open(&self, ino: Ino) -> Result<(), FsError> {
        let writing = self.tree().file(ino).and_then(|file| file.writing.clone());
        match writing.filter(|writing| writing.file.is_dirty() && !writing.is_untouched()) {
            Some(writing) => self.publish_waiting(ino, &writing).await,
            None => Ok(()),
        }
    }

    /// Publishes a file whether or not somebody has it open for writing: if nobody has, it has waited for this, and its
    /// content is not needed any more. If a removal stops it, and fails, it goes on: this is not for who removes files.
    async fn publish_waiting(&self, ino: Ino, writing: &Writing) -> Result<(), FsError> {
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
    pub async fn fsync_directory(&self, ino: Ino) -> Result<(), FsError> {
        self.save_directory(ino).await?;
        let waiting = self.tree().waiting_in(ino);
        let publish = |(ino, writing): (Ino, Arc<Writing>)| async move { self.publish_waiting(ino, &writing).await };
        let publishes: Vec<_> = waiting.into_iter().map(publish).collect();
        futures_util::future::join_all(publishes).await.into_iter().collect()
    }

    /// Publishes a file and takes note of its new version.
    pub(super) async fn publish(&self, ino: Ino, writing: &Writing) -> Result<(), FsError> {
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
    pub(super) fn settle(&self, ino: Ino, writing: &Writing) {
        let mut tree = self.tree();
        let is_this = tree
            .file(ino)
            .and_then(|file| file.writing.as_ref())
            .is_some_and(|current| std::ptr::eq(&**current, writing));
        let is_aside = writing.file.published().is_some_and(|published| self.has_moved_aside(&tree, ino, &published));
        if is_aside {
            // By a conflict, or for the moment in which it is renamed, after which this is asked again.
            return tree.doubt(ino);
        }
        let Some(published) = writing.newly_published().filter(|_| is_this) else { return };
        let now = self.clock.now();
        if let Some(entry) = tree.entry_of_mut(ino) {
            entry.what = What::Object(Facts::published(published, now));
            tree.touch_upwards(ino, now, self.options.metadata_ttl);
        }
    }

    /// Whether a conflict made a file be published under another name than its own.
    fn has_moved_aside(&self, tree: &Tree, ino: Ino, published: &PublishedFile) -> bool {
        let path = tree.place(ino).and_then(|(parent, name)| Some(format!("{}{name}", tree.directory_path(parent)?)));
        path.and_then(|path| self.key(&path).ok()).is_some_and(|key| key != published.key)
    }

    /// The last descriptor of a handle is gone. Publishes what is still unpublished, which nobody can be told of but
    /// the log.
    pub async fn release(&self, id: HandleId) {
        let Some(Handle::File(handle)) = self.handles.remove(id) else { return };
        if let Some(file) = self.tree().file_mut(handle.ino) {
            file.handles.retain(|other| *other != id);
        }
        if let Some(writing) = &handle.writing
            && let Err(error) = self.let_go(handle.ino, writing).await
        {
            log::error!("{}: lost after its last close: {error}", writing.file.key());
        }
        self.dispose_if_unused(handle.ino).await;
        self.tree().drop_unused(handle.ino);
    }

    /// Undoes an opening whose caller has gone before it was told: a file that was made or emptied by it, and that nobody
    /// else has written since, is as if that had never been asked for.
    pub async fn abandon(&self, id: HandleId) {
        if let Ok(handle) = self.handles.file(id)
            && let Some(writing) = &handle.writing
        {
            let mut tree = self.tree();
            // What waits was closed by somebody, who has been told that it is there.
            let is_for_nothing = writing.is_untouched() && writing.file.published().is_none() && !writing.is_held();
            let file = tree.file_mut(handle.ino).filter(|file| file.writers == 1 && file.is_written_by(writing));
            if let Some(file) = file.filter(|_| is_for_nothing) {
                // Whoever reads it goes on with what there was.
                (file.writing, file.writers) = (None, 0);
                writing.file.forget();
                self.drop_if_new(&mut tree, handle.ino);
            }
        }
        self.release(id).await;
    }

    /// A file that never was in the bucket and never will be: its name goes with it.
    fn drop_if_new(&self, tree: &mut Tree, ino: Ino) {
        if tree.entry_of(ino).is_some_and(|entry| entry.what == What::New)
            && let Some((parent, name)) = tree.place(ino)
        {
            tree.unlink(parent, &name, self.clock.now(), Duration::ZERO);
        }
    }

    /// Removes what is left of a file that has lost its name, once nobody has it open any more.
    async fn dispose_if_unused(&self, ino: Ino) {
        let unused = {
            let mut tree = self.tree();
            let file = tree.file_mut(ino).filter(|file| file.handles.is_empty() && file.writers == 0);
            file.and_then(|file| file.writing.take_if(|writing| writing.file.is_nameless()))
        };
        if let Some(writing) = unused {
            self.dispose(&writing).await;
        }
    }

    async fn dispose(&self, writing: &Writing) {
        let Some(hidden) = writing.file.dispose().await else { return };
        self.uploader.release_source(&hidden, None).await;
        if let Err(error) = self.store.delete(&hidden).await {
            log::error!("{hidden}, which a file that was removed while it was open lived in, stays: {error}");
        }
    }

    /// The publishing of a file that is about to lose its name ends at once, and nothing of it is sent until the answer is
    /// dropped.
    pub(super) fn stop_publishing(&self, ino: Ino) -> Unwanted {
        // Also where it has not begun: whoever is about to begin it may be waited for.
        let writing = self.tree().file(ino).and_then(|file| file.writing.clone());
        writing.iter().for_each(|writing| writing.file.set_wanted(false));
        Unwanted(writing)
    }

    /// A program that waited for the file to be published was told to end. What is hardly anything but holes is not published
    /// for somebody who is gone, unless another one has the file open, too.
    pub fn stop_filling(&self, ino: Ino) {
        let writing = {
            let tree = self.tree();
            tree.file(ino).filter(|file| file.writers <= 1).and_then(|file| file.writing.clone())
        };
        if let Some(writing) = writing {
            writing.file.stop_filling();
        }
    }

    /// The end of the mount: leaves nothing of files that could not be published, and of those that have lost their names.
    pub async fn dispose_all(&self) {
        let writings = self.tree().writings();
        for (_, writing) in writings {
            match writing.file.is_nameless() {
                true => self.dispose(&writing).await,
                false => writing.file.abandon(),
            }
        }
        self.uploader.until_given_up().await;
    }

    /// The content of a file that somebody has open for writing, to be changed without a handle: it is kept until it is
    /// [let go](FileSystem::let_go).
    pub(super) fn hold_writing(&self, ino: Ino) -> Option<Arc<Writing>> {
        let mut tree = self.tree();
        let file = tree.file_mut(ino)?;
        let writing = file.writing.clone()?;
        file.writers += 1;
        Some(writing)
    }

    /// The content of a file that nobody has open, whose content or attributes only wait to be published, held until it is
    /// [let go](FileSystem::let_go) or [dropped](FileSystem::drop_waiting). Until then the file is what it was.
    pub(super) fn hold_waiting(&self, ino: Ino) -> Option<Arc<Writing>> {
        let mut tree = self.tree();
        let file = tree.file_mut(ino).filter(|file| file.handles.is_empty() && file.writers == 0)?;
        let waiting = file.writing.clone()?;
        file.writers = 1;
        Some(waiting)
    }

    /// The file of what is held as one that waited has lost its name: nothing of it is wanted any more.
    pub(super) fn drop_waiting(&self, ino: Ino, waiting: &Arc<Writing>) {
        waiting.file.forget();
        let mut tree = self.tree();
        if let Some(file) = tree.file_mut(ino).filter(|file| file.is_written_by(waiting)) {
            (file.writing, file.writers) = (None, 0);
        }
        tree.drop_unused(ino);
    }

    /// The content of a file of which only attributes were changed is about to change, too.
    pub(super) fn has_other_content(&self, ino: Ino, writing: &Writing) {
        writing.take_for_content();
        if let Some(file) = self.tree().file_mut(ino) {
            file.cached = None;
        }
    }

    /// One writer less. The last one publishes what is left.
    pub(super) async fn let_go(&self, ino: Ino, writing: &Arc<Writing>) -> Result<(), FsError> {
        let is_last = {
            let mut tree = self.tree();
            let Some(file) = tree.file_mut(ino).filter(|file| file.is_written_by(writing)) else { return Ok(()) };
            file.writers -= 1;
            file.writers == 0
        };
        let result = if is_last { self.finish_writing(ino, writing).await } else { Ok(()) };
        self.dispose_if_unused(ino).await;
        // The kernel may have forgotten it while it waited.
        self.tree().drop_unused(ino);
        result
    }

    /// The last writer is gone: publishes what is left and forgets the content, unless somebody began to write again.
    async fn finish_writing(&self, ino: Ino, writing: &Arc<Writing>) -> Result<(), FsError> {
        let mut result = Ok(());
        loop {
            if writing.is_held() {
                // Its close has succeeded, and so it is not lost because it could not be published since.
                writing.file.forgive();
            }
            if writing.file.is_dirty() {
                if writing.is_held() {
                    return Ok(());
                }
                result = self.publish(ino, writing).await;
                if writing.file.is_unwanted() {
                    // Should it not be removed after all, it is published later.
                    self.hold(ino, writing, self.options.gather_for);
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
        let mut tree = self.tree();
        let Some(file) = tree.file_mut(ino).filter(|file| file.writers == 0 && file.is_written_by(writing)) else {
            return true;
        };
        if writing.file.is_dirty() {
            return false;
        }
        if writing.file.is_nameless() {
            // Whoever has it open goes on with it. What is left then is removed with the last handle.
            return true;
        }
        if writing.is_only_attributes() {
            let failed = writing.file.failure().is_some();
            file.writing = None;
            drop(tree);
            self.take_new_version(ino, writing);
            if failed {
                self.tree().doubt(ino);
            }
            return true;
        }
        file.writing = None;
        let readers: Vec<HandleId> = file.handles.clone();
        if let Some(published) = writing.file.published() {
            let object = self.readers.object(version_of(&published));
            file.object = Arc::downgrade(&object);
            for reader in readers.into_iter().filter_map(|id| self.handles.file(id).ok()) {
                reader.read_from(&object);
            }
        } else {
            self.drop_if_new(&mut tree, ino);
        }
        true
    }

    /// The object is a new one with the same bytes: readers go on with that, and what the kernel has cached is still right.
    pub(super) fn take_new_version(&self, ino: Ino, writing: &Writing) {
        let Some(published) = writing.file.published() else { return };
        let mut tree = self.tree();
        let Some(file) = tree.file_mut(ino) else { return };
        if let Some(object) = file.object.upgrade() {
            object.moved(published.key, published.base.etag.clone());
        }
        if file.cached.is_some() {
            file.cached = Some(published.base.etag);
        }
    }

    /// Publishes every file that is being written, and returns those that could not be, with the reason.
    pub async fn publish_all(&self) -> Vec<(String, FsError)> {
        let writings = self.tree().writings();
        let publish = |(ino, writing): (Ino, Arc<Writing>)| async move {
            let key = writing.file.key().to_string();
            self.publish_waiting(ino, &writing).await.err().map(|error| (key, error))
        };
        let all: Vec<_> = writings.into_iter().map(publish).collect();
        let mut failed: Vec<_> = futures_util::future::join_all(all).await.into_iter().flatten().collect();
        failed.extend(self.save_directories().await);
        // Those that are being published in the background right now come to their end, too.
        drop(self.background.acquire_many(BACKGROUND_MAX as u32).await);
        failed
    }

    /// The keys of files that programs have open for writing, and have written to.
    pub fn being_written(&self) -> Vec<String> {
        let tree = self.tree();
        let is_written = |(ino, writing): &(Ino, Arc<Writing>)| {
            tree.file(*ino).is_some_and(|file| file.writers > 0) && !writing.is_untouched()
        };
        let written = tree.writings().into_iter().filter(is_written);
        written.map(|(_, writing)| writing.file.key().to_string()).collect()
    }

    /// The keys of files that hold something which is not in the bucket.
    pub fn unpublished(&self) -> Vec<String> {
        let dirty = |(_, writing): (Ino, Arc<Writing>)| writing.file.is_dirty().then(|| writing.file.key().to_string());
        let tree = self.tree();
        let directories = tree.unsaved_directories().into_iter().filter_map(|ino| tree.directory_path(ino));
        tree.writings().into_iter().filter_map(dirty).chain(directories).collect()
    }
}

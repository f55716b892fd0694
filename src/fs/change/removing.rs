//! Removing names: unlink and rmdir, and taking a name from a file that somebody has open.

use std::future::Future;
use std::sync::Arc;

use super::changes::Changes;
use crate::fs::context::error::FsError;
use crate::fs::names::claims::Claim;
use crate::fs::names::directory::Directory;
use crate::fs::names::entry::What;
use crate::fs::names::ino::Ino;
use crate::fs::names::name::FileName;
use crate::fs::names::tree::Tree;
use crate::fs::open::inode::is_open;
use crate::fs::open::writing::Writing;

impl Changes {
    /// Removes an empty directory.
    pub(crate) async fn rmdir(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        self.context.refuse_if_read_only()?;
        let look = |tree: &Tree| {
            let entry = tree.entry(parent, name).ok_or(FsError::NotFound)?;
            if !entry.what.is_directory() {
                return Err(FsError::NotDirectory);
            }
            let path = format!("{}{name}/", tree.directory_path(parent).ok_or(FsError::Stale)?);
            let own = [Claim::Name(parent, name.clone()), Claim::Stay(parent)];
            let claims = own.into_iter().chain([Claim::Move(entry.ino), Claim::Alone(entry.ino)]).collect();
            Ok(((path, tree.directory(entry.ino).is_some_and(Directory::holds_new)), claims))
        };
        let ((path, holds_new), _claimed) = self.traffic.claim(&[(parent, name)], look).await?;
        let marker = self.context.key(&path)?;
        if holds_new {
            return Err(FsError::NotEmpty);
        }
        self.names.expect_empty(&marker).await?;
        self.context.store.delete(&marker).await.map_err(|error| self.context.told(error))?;
        self.markers.keep_directory((parent, name), None).await?;
        self.names.tree().unlink(parent, name, self.context.clock.now(), self.context.options.metadata_ttl);
        Ok(())
    }

    /// Removes a file. Whoever has it open goes on with it, under a key that nobody sees, until the last handle is closed;
    /// nothing of it is published any more.
    pub(crate) async fn unlink(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        self.context.refuse_if_read_only()?;
        let look = |tree: &Tree| {
            let entry = tree.entry(parent, name).ok_or(FsError::NotFound)?;
            if entry.what.is_directory() {
                return Err(FsError::IsDirectory);
            }
            let path = format!("{}{name}", tree.directory_path(parent).ok_or(FsError::Stale)?);
            Ok(((path, entry.ino), vec![Claim::Name(parent, name.clone()), Claim::Alone(entry.ino)]))
        };
        let ((path, ino), _claimed) = self.traffic.claim(&[(parent, name)], look).await?;
        let key = self.context.key(&path)?;
        let removing = |has_object: bool| async move {
            let is_there = self.names.tree().entry(parent, name).is_some_and(|entry| entry.what != What::New);
            if has_object || is_there {
                self.markers.keep_directory((parent, name), None).await?;
                self.context.remove_object(&key).await?;
            }
            let now = self.context.clock.now();
            let mut tree = self.names.tree();
            tree.unlink(parent, name, now, self.context.options.metadata_ttl);
            tree.touch_upwards(parent, now, self.context.options.metadata_ttl);
            drop(tree);
            self.locks.move_locks();
            Ok(())
        };
        let _stopped = self.publisher.stop_publishing(ino);
        self.take_name_from(ino, removing).await
    }

    /// Takes its name from a file by `removing`, which removes or replaces what is in the bucket; it is told whether what is
    /// being written of the file has made an object there. A file that is open lives on without a name.
    pub(in crate::fs) async fn take_name_from<F>(
        &self,
        ino: Ino,
        removing: impl FnOnce(bool) -> F,
    ) -> Result<(), FsError>
    where
        F: Future<Output = Result<(), FsError>>,
    {
        if let Some(waiting) = self.publisher.hold_waiting(ino) {
            // Nobody has it open: what waited is not wanted any more. It may have been published to get it out of the memory.
            let still = waiting.file.hold_still().await;
            let has_object = waiting.file.published().is_some_and(|published| published.serial > 0);
            // It may copy from what takes its name.
            waiting.file.set_wanted(false);
            let removed = removing(has_object).await;
            if removed.is_ok() {
                self.publisher.drop_waiting(ino, &waiting);
                return removed;
            }
            waiting.file.set_wanted(true);
            drop(still);
            // Its time may have come in between. Nobody waits here until it is published.
            self.publisher.hold(ino, &waiting, self.context.options.gather_for);
            let _ = self.publisher.let_go(ino, &waiting).await;
            return removed;
        }
        let Some(writing) = self.hold_content(ino).await? else { return removing(false).await };
        let taken = writing.file.lose_name(&self.context.hidden_key(), removing).await;
        let is_open = is_open(&self.names.tree(), ino);
        if taken.is_err() && !is_open {
            // Whoever was publishing it has stopped for this: it is published later, and nobody waits here for that.
            self.publisher.hold(ino, &writing, self.context.options.gather_for);
        }
        // Nothing is published of what has no name, so that there is nothing to be told.
        let let_go = self.publisher.let_go(ino, &writing).await;
        taken.and(if writing.file.is_nameless() { Ok(()) } else { let_go })
    }

    /// The content of a file that somebody has open, whether for writing or not, held until it is let go.
    async fn hold_content(&self, ino: Ino) -> Result<Option<Arc<Writing>>, FsError> {
        if let Some(writing) = self.publisher.hold_writing(ino) {
            return Ok(Some(writing));
        }
        let is_open = is_open(&self.names.tree(), ino);
        if !is_open {
            return Ok(None);
        }
        match self.files.open_content(ino, false).await {
            // It was removed by somebody else.
            Err(FsError::NotFound | FsError::Stale) => Ok(None),
            writing => writing.map(Some),
        }
    }
}

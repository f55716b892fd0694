//! Removing names: unlink and rmdir, and taking a name from a file that somebody has open.

use std::sync::Arc;

use super::Changes;
use crate::fs::context::{Context, FsError};
use crate::fs::names::{Claim, Directory, EntryKind, FileName, Ino, Tree};
use crate::fs::open::{Writing, is_open};
use crate::object::ObjectKey;
use crate::upload::LosingName;

/// A name in a directory.
pub(crate) type Place<'a> = (Ino, &'a FileName);

/// What has a name that is about to be taken from a file.
pub(crate) enum NameHolder {
    /// Nobody has the file open.
    Closed,
    /// Nobody has it open, and something of it waits to be published, which is not wanted any more.
    Waiting(Arc<Writing>),
    /// Somebody has it open.
    Open(Arc<Writing>),
}

/// A name that is being taken from a file: what is in the bucket may be removed or replaced.
pub(crate) enum TakingName<'a> {
    Closed,
    Waiting {
        /// Nothing of it is published meanwhile.
        _still: tokio::sync::MutexGuard<'a, ()>,
        has_object: bool,
    },
    Open(Box<LosingName<'a>>),
}

/// Bytes in the object of a file, as far as is known.
pub(super) fn published_bytes(tree: &Tree, (parent, name): Place<'_>) -> Option<u64> {
    match tree.entry(parent, name).map(|entry| &entry.what) {
        Some(EntryKind::Object(stat)) => Some(stat.version.size),
        _ => None,
    }
}

impl NameHolder {
    /// Makes ready to take the name from the file.
    pub(crate) async fn begin_taking(&self, context: &Context) -> Result<TakingName<'_>, FsError> {
        match self {
            NameHolder::Closed => Ok(TakingName::Closed),
            NameHolder::Waiting(waiting) => {
                let _still = waiting.file.hold_still().await;
                // It may have been published to get it out of the memory.
                let has_object = waiting.file.published().is_some_and(|published| published.serial > 0);
                // It may copy from what takes its name.
                waiting.file.set_wanted(false);
                Ok(TakingName::Waiting { _still, has_object })
            }
            NameHolder::Open(writing) => {
                let losing = writing.file.begin_to_lose_name(&context.hidden_key()).await?;
                Ok(TakingName::Open(Box::new(losing)))
            }
        }
    }
}

impl TakingName<'_> {
    /// Whether what is being written of the file has made an object under its name.
    pub(crate) fn has_object(&self) -> bool {
        match self {
            TakingName::Closed => false,
            TakingName::Waiting { has_object, .. } => *has_object,
            TakingName::Open(losing) => losing.has_object(),
        }
    }
}

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
        self.context.refuse_if_deletes_are()?;
        self.traffic.keep_in_trash(&marker, Some(0)).await?;
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
        let _stopped = self.publisher.stop_publishing(ino);
        let holder = self.name_holder(ino).await?;
        let taking = holder.begin_taking(&self.context).await;
        let removed = match &taking {
            Ok(taking) => self.remove_name((parent, name), &key, taking.has_object()).await,
            Err(error) => Err(error.clone()),
        };
        self.end_taking(ino, &holder, taking.ok(), removed).await
    }

    /// Removes what has a name, from the bucket if anything of it is there.
    async fn remove_name(&self, (parent, name): Place<'_>, key: &ObjectKey, has_object: bool) -> Result<(), FsError> {
        let is_there = self.names.tree().entry(parent, name).is_some_and(|entry| entry.what != EntryKind::New);
        if has_object || is_there {
            self.context.refuse_if_deletes_are()?;
            let bytes = published_bytes(&self.names.tree(), (parent, name));
            self.traffic.keep_in_trash(key, bytes).await?;
            self.markers.keep_directory((parent, name), None).await?;
            self.context.remove_object(key).await?;
        }
        self.names.tree().unlink(parent, name, self.context.clock.now(), self.context.options.metadata_ttl);
        self.locks.move_locks();
        Ok(())
    }

    /// What has a name that is about to be taken from a file, held until that is [decided](Changes::end_taking).
    pub(crate) async fn name_holder(&self, ino: Ino) -> Result<NameHolder, FsError> {
        if let Some(waiting) = self.publisher.hold_waiting(ino) {
            return Ok(NameHolder::Waiting(waiting));
        }
        Ok(self.hold_content(ino).await?.map_or(NameHolder::Closed, NameHolder::Open))
    }

    /// The name was taken from the file, or not; `taking` is `None` where that could not even begin. A file that is open lives on
    /// without a name.
    pub(crate) async fn end_taking(
        &self,
        ino: Ino,
        holder: &NameHolder,
        taking: Option<TakingName<'_>>,
        taken: Result<(), FsError>,
    ) -> Result<(), FsError> {
        match (holder, taking) {
            (NameHolder::Closed, _) => taken,
            (NameHolder::Waiting(waiting), still) => {
                if taken.is_ok() {
                    self.publisher.drop_waiting(ino, waiting);
                    return taken;
                }
                waiting.file.set_wanted(true);
                drop(still);
                // Its time may have come in between. Nobody waits here until it is published.
                self.publisher.hold(ino, waiting, self.context.options.gather_for);
                let _ = self.publisher.let_go(ino, waiting).await;
                taken
            }
            (NameHolder::Open(writing), taking) => {
                match taking {
                    Some(TakingName::Open(losing)) if taken.is_ok() => losing.lose(),
                    Some(TakingName::Open(losing)) => losing.keep().await,
                    _ => {}
                }
                if taken.is_err() && !is_open(&self.names.tree(), ino) {
                    // Whoever was publishing it has stopped for this: it is published later, and nobody waits here for that.
                    self.publisher.hold(ino, writing, self.context.options.gather_for);
                }
                // Nothing is published of what has no name, so that there is nothing to be told.
                let let_go = self.publisher.let_go(ino, writing).await;
                taken.and(if writing.file.is_nameless() { Ok(()) } else { let_go })
            }
        }
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

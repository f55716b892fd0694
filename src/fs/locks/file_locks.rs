//! Locks of files as programs ask for them, and what is published and asked for anew around them.

use std::io;
use std::sync::Arc;

use super::{LOOK_EVERY, LockFamily, LockInTheWay, LockRequest, Locks, Waiting};
use crate::fs::context::{Context, FsError, HandleId};
use crate::fs::names::{EntryKind, Ino, Names, ObjectStat, renew};
use crate::fs::open::{Publisher, is_open_for_writing, open_inode};
use crate::object::{ObjectHead, ObjectKey};
use crate::read::Object;

/// Locks of files that are shared with other mounts of this machine.
pub struct FileLocks {
    context: Arc<Context>,
    names: Arc<Names>,
    publisher: Arc<Publisher>,
    /// `None` where no other mount is to know of this one.
    table: Option<Locks>,
}

impl FileLocks {
    pub(crate) fn new(context: Arc<Context>, names: Arc<Names>, publisher: Arc<Publisher>) -> Arc<FileLocks> {
        let table = context.others.as_deref().map(Locks::new);
        Arc::new(FileLocks { context, names, publisher, table })
    }

    /// Whether locks of files are shared with other mounts of this machine.
    pub fn shares_locks(&self) -> bool {
        self.table.is_some()
    }

    /// Locks a range of a file, or unlocks it. Whoever drops the future while it waits does not get the lock.
    ///
    /// # Errors
    /// [`FsError::Locked`] if somebody else has it and this does not wait, [`FsError::Deadlock`] if he waits for this one.
    pub async fn lock_range(&self, ino: Ino, wanted: LockRequest, waits: bool) -> Result<(), FsError> {
        let locks = self.table.as_ref().ok_or(FsError::NotSupported)?;
        let key = self.key_of(ino);
        let failed = |error: io::Error| {
            log::warn!("a lock could not be had: {error}");
            FsError::NoLocks
        };
        let _waiting = Waiting { locks, ino, wanted };
        loop {
            let mut unlocked = std::pin::pin!(locks.unlocked.notified());
            unlocked.as_mut().enable();
            if locks.try_lock(ino, key.as_ref(), &wanted).map_err(failed)? {
                return Ok(());
            }
            if !waits {
                return Err(FsError::Locked);
            }
            if wanted.family == LockFamily::Record && locks.is_deadlocked(ino, &wanted) {
                return Err(FsError::Deadlock);
            }
            tokio::select! {
                () = unlocked => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Whether who asks for a lock has it already, perhaps in another way.
    pub fn has_locked(&self, ino: Ino, wanted: &LockRequest) -> bool {
        self.table.as_ref().is_some_and(|locks| locks.has_all(ino, wanted))
    }

    /// Files have other names, or none any more: their locks go with them.
    pub(crate) fn move_locks(&self) {
        let Some(locks) = &self.table else { return };
        let mut moved: Vec<_> = locks.inodes().into_iter().map(|ino| (self.key_of(ino), ino)).collect();
        // First who loses a name, and then who gets it.
        moved.sort_by_key(|(key, _)| key.is_some());
        moved.into_iter().for_each(|(key, ino)| locks.follow(ino, key.as_ref()));
    }

    /// Somebody is about to unlock a file: whoever locks it next in another mount is to see what was written to it. What
    /// cannot be published is told at the next fsync or close.
    ///
    /// Must run to its end, whoever stops waiting for it.
    pub async fn publish_before_unlocking(&self, ino: Ino) {
        if self.has_company() && is_open_for_writing(&self.names.tree(), ino) {
            let _ = self.publisher.publish_open(ino).await;
        }
    }

    /// Somebody has locked a file: if another mount has changed anything nearby since this was last asked, the file is what
    /// it is in the bucket now, for all who have it open. What is written here and not published stays.
    pub async fn renew_after_locking(&self, ino: Ino) -> Result<(), FsError> {
        let (Some(locks), Some(others), Some(key)) = (&self.table, &self.context.others, self.key_of(ino)) else {
            return Ok(());
        };
        if !self.has_company() {
            return Ok(());
        }
        let path = key.as_str();
        let changes = others.changes(&path[..path.rfind('/').map_or(0, |end| end + 1)]);
        if locks.lock_looked_at().get(&ino) == Some(&changes) {
            return Ok(());
        }
        match self.context.store.head(&key).await {
            Ok(head) => self.take_others_version(ino, key, head)?,
            // New, or removed by somebody else: whoever has it open goes on with what he has.
            Err(error) if error.is_of_version_gone() => {}
            Err(error) => return Err(self.context.told(error)),
        }
        // Not before: who else locks it meanwhile has to look, too.
        locks.lock_looked_at().put(ino, changes);
        Ok(())
    }

    fn has_company(&self) -> bool {
        self.table.is_some() && self.context.others.as_ref().is_some_and(|others| others.are_there())
    }

    /// Whoever has a file open goes on with a version of it that another mount has made.
    fn take_others_version(&self, ino: Ino, key: ObjectKey, head: ObjectHead) -> Result<(), FsError> {
        let version = head.version();
        let mut tree = self.names.tree();
        let Some(inode) = open_inode(&tree, ino) else { return Ok(()) };
        let mut file = inode.lock();
        let is_unpublished = file.writing.as_ref().is_some_and(|writing| writing.file.is_dirty());
        if file.backing().is_some() && !is_unpublished && tree.version_of(ino).is_none_or(|known| known != version.etag)
        {
            // Who has it open goes on with what he has, and may not take that for what is there.
            drop(file);
            renew(&mut tree, ino, self.context.clock.now());
            return Err(FsError::Stale);
        }
        let is_same = |object: &Arc<Object>| object.version().etag == version.etag;
        match &file.writing {
            Some(writing) => {
                if !writing.file.adopt(version, head.attributes.clone()) {
                    return Ok(());
                }
            }
            None if file.object.upgrade().as_ref().is_some_and(is_same) => return Ok(()),
            None => {
                let object = self.context.readers.object(version.under(key));
                file.object = Arc::downgrade(&object);
                let handles = file.handles.iter().filter_map(|id| self.publisher.handles.get(*id).ok());
                handles.for_each(|handle| handle.read_from(&object));
            }
        }
        file.cached = None;
        drop(file);
        let (what, now) = (EntryKind::Object(ObjectStat::told(head)), self.context.clock.now());
        tree.change_entry_of(ino, |entry| (entry.what, entry.seen_at) = (what, now));
        Ok(())
    }

    /// A lock that is in the way of one that somebody wants.
    pub fn lock_in_the_way(&self, ino: Ino, wanted: LockRequest) -> Result<Option<LockInTheWay>, FsError> {
        let locks = self.table.as_ref().ok_or(FsError::NotSupported)?;
        locks.in_the_way(ino, self.key_of(ino).as_ref(), &wanted).map_err(|_| FsError::NoLocks)
    }

    /// A process has closed a descriptor of a file: it holds no record lock of it any more.
    pub fn unlock_process(&self, ino: Ino, owner: u64) {
        if let Some(locks) = &self.table {
            locks.drop_owners(ino, LockFamily::Record, |other, _| other == owner);
        }
    }

    /// The last descriptor of a handle is gone: what was locked by it is not any more.
    pub fn unlock_handle(&self, ino: Ino, handle: HandleId) {
        if let Some(locks) = &self.table {
            locks.drop_owners(ino, LockFamily::Record, |_, other| other == handle);
            locks.drop_owners(ino, LockFamily::Flock, |_, other| other == handle);
        }
    }

    /// The key of a file's name; `None` if it has lost that.
    fn key_of(&self, ino: Ino) -> Option<ObjectKey> {
        let path = {
            let tree = self.names.tree();
            let (parent, name) = tree.place(ino).filter(|_| !tree.is_removed(ino))?;
            format!("{}{name}", tree.directory_path(parent)?)
        };
        self.context.key(&path).ok()
    }
}

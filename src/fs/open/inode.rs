//! What is open of a file, by its inode.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use parking_lot::RawMutex;
use parking_lot::lock_api::{ArcMutexGuard, Mutex};

use super::{BackingFile, Linked, Writing};
use crate::fs::context::HandleId;
use crate::fs::names::{EntryKind, Ino, OpenState, Tree, Unpublished};
use crate::object::{ETag, ObjectKey};
use crate::read::Object;

/// What is open of a file. A mutex, 7 in the order of locks: a few assignments. Changed while the names are locked, too, so
/// that what is known of a file and what is open of it agree; who reads it need not lock them.
pub(crate) type Inode = Mutex<Raw, OpenInode>;

/// What is open of a file, locked.
pub(crate) type InodeGuard = ArcMutexGuard<Raw, OpenInode>;

/// A build for tests checks the order of locks.
#[cfg(debug_assertions)]
type Raw = tracing_mutex::lockapi::TracingWrapper<RawMutex>;
#[cfg(not(debug_assertions))]
type Raw = RawMutex;

/// What is open of a file.
#[derive(Debug, Default)]
pub(crate) struct OpenInode {
    /// The content that is being written.
    pub(crate) writing: Option<Arc<Writing>>,
    /// Handles that are open for writing.
    pub(crate) writers: usize,
    /// The version that is being read, shared by all who read it.
    pub(crate) object: Weak<Object>,
    pub(crate) handles: Vec<HandleId>,
    /// What the kernel reads in place of it, from the first handle to the last.
    pub(crate) backing: Option<Arc<BackingFile>>,
    /// The version whose bytes the kernel may have cached.
    pub(crate) cached: Option<ETag>,
    /// That version where nobody knows yet whether those bytes are right: who reads the rest of it finds out.
    pub(crate) unverified: Option<Arc<Object>>,
    /// What it is a copy of that looks like the same file for a moment.
    pub(crate) linked: Option<Linked>,
    /// Of a symbolic link: where the version leads.
    pub(crate) target: Option<(ETag, Vec<u8>)>,
}

impl OpenInode {
    /// Whether somebody changes its content, or has changed it and that is not published.
    pub(crate) fn is_being_written(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| !writing.is_only_attributes())
    }

    /// Whether nobody has it open, or changes it without.
    pub(crate) fn is_closed(&self) -> bool {
        self.handles.is_empty() && self.writers == 0
    }

    /// The version `from` is now `etag` under `key`, with the same bytes: whoever reads it goes on with that, and what the
    /// kernel has cached of it is still right. Whoever reads an older one, which somebody else has replaced, does not.
    pub(crate) fn object_moved(&mut self, from: &ETag, key: &ObjectKey, etag: &ETag) {
        if let Some(object) = self.object.upgrade().filter(|object| object.version().etag == *from) {
            object.moved(key.clone(), etag.clone());
        }
        if let Some(cached) = self.cached.as_mut().filter(|cached| *cached == from) {
            // A copy of an object that was uploaded in parts has another ETag.
            *cached = etag.clone();
        }
    }

    /// What the kernel reads in place of it, if it does.
    pub(crate) fn backing(&self) -> Option<Arc<BackingFile>> {
        self.backing.clone().filter(|backing| !backing.is_refused())
    }

    /// The same where it has what is being written.
    pub(crate) fn written_backing(&self) -> Option<Arc<BackingFile>> {
        self.backing().filter(|backing| backing.follows_writers())
    }

    /// One handle less. Once nobody reads a version any more, what the kernel has cached of it counts for the next one who
    /// does as far as it is right.
    ///
    /// Returns the backing file that nobody reads any more, to be closed when nothing is locked.
    pub(crate) fn remove_handle(&mut self, id: HandleId) -> Option<Arc<BackingFile>> {
        self.handles.retain(|other| *other != id);
        if !self.handles.is_empty() {
            return None;
        }
        let backing = self.backing.take();
        let Some(object) = self.unverified.take() else { return backing };
        object.rest();
        if object.is_damaged() {
            self.cached = None;
        } else if self.cached == Some(object.version().etag) && !object.has_verified_all() {
            self.unverified = Some(object);
        }
        backing
    }

    /// Whether `writing` is the content that is being written.
    pub(crate) fn is_written_by(&self, writing: &Writing) -> bool {
        self.writing.as_ref().is_some_and(|current| std::ptr::eq(&**current, writing))
    }
}

impl OpenState for Inode {
    fn is_in_use(&self) -> bool {
        let inode = self.lock();
        inode.writing.is_some() || !inode.handles.is_empty()
    }

    fn is_idle(&self) -> bool {
        let inode = self.lock();
        let is_open = inode.writing.is_some() || !inode.is_closed();
        let is_remembered = inode.cached.is_some() || inode.linked.is_some() || inode.target.is_some();
        !is_open && !is_remembered
    }

    fn is_unpublished(&self) -> bool {
        self.lock().writing.is_some()
    }

    fn is_read_by_kernel(&self) -> bool {
        self.lock().backing().is_some()
    }

    fn unpublished(&self) -> Option<Unpublished> {
        let writing = self.lock().writing.clone()?;
        let file = &writing.file;
        Some(Unpublished {
            attributes: file.attributes(),
            size: file.size(),
            has_name: !file.is_nameless(),
            may_tell_another_time: file.may_tell_another_time(),
        })
    }

    fn looks_like_another(&self, now: SystemTime) -> bool {
        self.lock().linked.as_ref().is_some_and(|linked| linked.is_new(now))
    }
}

/// What is open of a file; `None` where nothing is, or it is no file.
pub(crate) fn open_inode(tree: &Tree, ino: Ino) -> Option<Arc<Inode>> {
    let any: Arc<dyn std::any::Any + Send + Sync> = tree.open_state(ino)?.clone();
    any.downcast().ok()
}

/// What is open of a file: nothing at first. `None` if the inode is no file, or gone.
pub(crate) fn inode_of(tree: &mut Tree, ino: Ino) -> Option<Arc<Inode>> {
    tree.open_state_or(ino, || Arc::new(Inode::default()))?;
    open_inode(tree, ino)
}

/// The same, to be changed. The names must not be asked about this inode for as long as it is locked.
pub(crate) fn lock_inode(tree: &mut Tree, ino: Ino) -> Option<InodeGuard> {
    inode_of(tree, ino).map(|inode| inode.lock_arc())
}

/// Whether somebody has a file open.
pub(crate) fn is_open(tree: &Tree, ino: Ino) -> bool {
    open_inode(tree, ino).is_some_and(|inode| !inode.lock().handles.is_empty())
}

/// Whether somebody has a file open for writing.
pub(crate) fn is_open_for_writing(tree: &Tree, ino: Ino) -> bool {
    open_inode(tree, ino).is_some_and(|inode| inode.lock().writers > 0)
}

/// The content that is being written of a file.
pub(crate) fn writing_of(tree: &Tree, ino: Ino) -> Option<Arc<Writing>> {
    open_inode(tree, ino)?.lock().writing.clone()
}

/// Every file that is being written.
pub(crate) fn writings(tree: &Tree) -> Vec<(Ino, Arc<Writing>)> {
    tree.open_files().filter_map(|ino| Some((ino, writing_of(tree, ino)?))).collect()
}

/// Files in a directory that wait to be published, and that nobody has open for writing.
pub(crate) fn waiting_in(tree: &Tree, directory: Ino) -> Vec<(Ino, Arc<Writing>)> {
    let is_in = |ino: &Ino| tree.node(*ino).is_some_and(|node| node.parent == directory);
    let waits = |ino: Ino| {
        let inode = open_inode(tree, ino)?;
        let inode = inode.lock();
        inode.writing.clone().filter(|_| inode.writers == 0).map(|writing| (ino, writing))
    };
    tree.open_files().filter(is_in).filter_map(waits).collect()
}

/// Every file below a directory that is being written or waits to be published, and whether it has no object yet.
pub(crate) fn writings_below(tree: &Tree, directory: Ino) -> Vec<(Ino, bool, Arc<Writing>)> {
    let is_new = |ino: Ino| tree.entry_of(ino).is_some_and(|entry| entry.what == EntryKind::New);
    let below = writings(tree).into_iter().filter(|(ino, _)| tree.is_linked_below(*ino, directory));
    below.map(|(ino, writing)| (ino, is_new(ino), writing)).collect()
}

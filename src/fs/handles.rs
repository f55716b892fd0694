//! Open files and directories, by the number that the kernel names them with.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::FsError;
use super::files::{OpenMode, Writing};
use super::reading_directories::DirHandle;
use super::tree::Ino;
use crate::object::ETag;
use crate::read::{Object, Reader};

/// The number of an open file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandleId(pub u64);

/// Everything that is open.
#[derive(Default)]
pub(super) struct Handles {
    next: AtomicU64,
    /// Std lock: map operations only; reads by far outnumber opens.
    open: RwLock<HashMap<HandleId, Handle>>,
}

#[derive(Clone)]
pub(super) enum Handle {
    File(Arc<FileHandle>),
    Directory(Arc<DirHandle>),
}

/// One opening of a file.
pub(super) struct FileHandle {
    pub(super) ino: Ino,
    pub(super) mode: OpenMode,
    /// The content that this handle may change; `None` for one that only reads.
    pub(super) writing: Option<Arc<Writing>>,
    /// Somebody has read by it.
    has_read: AtomicBool,
    /// What it reads while nobody writes. Std mutex: replaced when this mount publishes the file.
    reader: Mutex<Option<Arc<Reader>>>,
    /// Others have replaced what it reads, and that was seen by an open: what the kernel keeps of the file is of the new
    /// version from then on, and nothing of the old one may get between it.
    is_of_old_version: AtomicBool,
}

impl FileHandle {
    pub(super) fn new(
        ino: Ino,
        mode: OpenMode,
        writing: Option<Arc<Writing>>,
        object: Option<Arc<Object>>,
    ) -> FileHandle {
        let reader = Mutex::new(object.map(|object| Arc::new(object.reader())));
        let (has_read, is_of_old_version) = (AtomicBool::new(false), AtomicBool::new(false));
        FileHandle { ino, mode, writing, has_read, reader, is_of_old_version }
    }

    /// Somebody reads by it. Returns whether that is the first time.
    pub(super) fn begins_to_read(&self) -> bool {
        !self.has_read.load(Ordering::Relaxed) && !self.has_read.swap(true, Ordering::Relaxed)
    }

    pub(super) fn reader(&self) -> Option<Arc<Reader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another version than the one that is read by it is there by now. One that reads that very version goes on.
    pub(super) fn note_version(&self, etag: &ETag) {
        if self.reader().is_some_and(|reader| reader.object().version().etag != *etag) {
            self.is_of_old_version.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_of_old_version(&self) -> bool {
        self.is_of_old_version.load(Ordering::Relaxed)
    }

    /// From now on another version is read.
    pub(super) fn read_from(&self, object: &Arc<Object>) {
        self.is_of_old_version.store(false, Ordering::Relaxed);
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(object.reader()));
    }
}

impl Handles {
    pub(super) fn insert(&self, handle: Handle) -> HandleId {
        let id = HandleId(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(id, handle);
        id
    }

    pub(super) fn file(&self, id: HandleId) -> Result<Arc<FileHandle>, FsError> {
        match self.open.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            Some(Handle::File(file)) => Ok(file.clone()),
            _ => Err(FsError::BadHandle),
        }
    }

    pub(super) fn directory(&self, id: HandleId) -> Result<Arc<DirHandle>, FsError> {
        match self.open.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            Some(Handle::Directory(directory)) => Ok(directory.clone()),
            _ => Err(FsError::BadHandle),
        }
    }

    /// All of them, in no order.
    pub(super) fn all(&self) -> Vec<Handle> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn remove(&self, id: HandleId) -> Option<Handle> {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }
}

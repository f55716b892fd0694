//! Openings of files.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Inode, Writing};
use crate::fs::names::Ino;
use crate::object::ETag;
use crate::read::{Object, Reader};

/// How a file is to be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// For writing.
    pub writes: bool,
    /// Emptied first.
    pub truncates: bool,
    /// Every write goes to the end.
    pub appends: bool,
    /// For reading, too.
    pub reads: bool,
    /// It must be new.
    pub exclusive: bool,
    /// The process that opens it, by whatever number the caller of this file system knows processes; see
    /// [`FileSystem::flush`](crate::fs::FileSystem::flush).
    pub opener: u32,
}

/// One opening of a file.
pub(crate) struct FileHandle {
    pub(crate) ino: Ino,
    /// What is open of the file, so that who reads by it need not ask the names.
    pub(crate) inode: Arc<Inode>,
    pub(crate) mode: OpenMode,
    /// The content that this handle may change; `None` for one that only reads.
    pub(crate) writing: Option<Arc<Writing>>,
    /// Somebody has read by it.
    has_read: AtomicBool,
    /// What it reads while nobody writes. Std mutex, 7 in the order of locks: replaced when this mount publishes the file.
    reader: Mutex<Option<Arc<Reader>>>,
    /// Others have replaced what it reads, and that was seen by an open: what the kernel keeps of the file is of the new
    /// version from then on, and nothing of the old one may get between it.
    is_of_old_version: AtomicBool,
}

impl FileHandle {
    pub(crate) fn new(
        (ino, inode): (Ino, Arc<Inode>),
        mode: OpenMode,
        writing: Option<Arc<Writing>>,
        object: Option<Arc<Object>>,
    ) -> FileHandle {
        let reader = Mutex::new(object.map(|object| Arc::new(object.reader())));
        let (has_read, is_of_old_version) = (AtomicBool::new(false), AtomicBool::new(false));
        FileHandle { ino, inode, mode, writing, has_read, reader, is_of_old_version }
    }

    /// What is being written of the file.
    pub(crate) fn writing(&self) -> Option<Arc<Writing>> {
        self.writing.clone().or_else(|| self.inode.lock().writing.clone())
    }

    /// Somebody reads by it. Returns whether that is the first time.
    pub(crate) fn begins_to_read(&self) -> bool {
        !self.has_read.load(Ordering::Relaxed) && !self.has_read.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn reader(&self) -> Option<Arc<Reader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another version than the one that is read by it is there by now. One that reads that very version goes on.
    pub(crate) fn note_version(&self, etag: &ETag) {
        if self.reader().is_some_and(|reader| reader.object().version().etag != *etag) {
            self.is_of_old_version.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_of_old_version(&self) -> bool {
        self.is_of_old_version.load(Ordering::Relaxed)
    }

    /// From now on another version is read.
    pub(crate) fn read_from(&self, object: &Arc<Object>) {
        self.is_of_old_version.store(false, Ordering::Relaxed);
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(object.reader()));
    }
}

//! Copies of objects on this machine's disk: what is there of a version is not asked for, and what comes is kept.
//!
//! What a whole copy holds was compared with the checksum of the object when its last piece came, and is compared with its own
//! whenever it is read. Of a copy that is not whole nobody knows whether it is right: its bytes count as if they had just come.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::blocks::Slot;
use super::object::Object;
use super::reader::ReadBytes;
use crate::cache::{DiskCache, Entry, Filling, Identity, Look};

/// The cache of a mount, and the bucket whose objects are kept in it.
#[derive(Clone, Debug)]
pub struct Copies {
    /// Where copies are kept.
    pub cache: Arc<DiskCache>,
    /// Where the bucket is: the base URL that its objects are under.
    pub origin: String,
}

/// The copy of a version. Std mutex, 8 in the order of locks: assignments, and the opening of a copy.
#[derive(Debug, Default)]
pub(super) struct CopyPlace(Mutex<OpenCopy>);

#[derive(Debug, Default)]
enum OpenCopy {
    #[default]
    Unopened,
    Opened(Option<Arc<Entry>>),
}

/// A block in memory, whose bytes are to be written.
struct Came(Arc<Slot>);

impl AsRef<[u8]> for Came {
    fn as_ref(&self) -> &[u8] {
        self.0.filled().map_or(&[], |filled| &filled.block[..filled.len])
    }
}

impl CopyPlace {
    /// Lets go of the copy, which may be evicted from then on.
    pub(super) fn close(&self) {
        *self.lock() = OpenCopy::Unopened;
    }

    fn lock(&self) -> MutexGuard<'_, OpenCopy> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Object {
    /// The copy of this version, begun if there is none; `None` without a cache.
    pub(super) fn copy(&self) -> Option<Arc<Entry>> {
        let Copies { cache, origin } = self.readers.copies.as_ref()?;
        let mut open = self.copy_place.lock();
        if let OpenCopy::Opened(entry) = &*open {
            return entry.clone();
        }
        let stored = self.stored();
        let identity = Identity {
            origin: origin.clone(),
            key: stored.key.as_str().to_owned(),
            etag: stored.version.etag,
            size: stored.version.size,
        };
        let entry = cache.entry(&identity, self.readers.store.limits().checksum);
        *open = OpenCopy::Opened(entry.clone());
        entry
    }

    /// The bytes of `range`, if a whole copy has them.
    pub(super) async fn read_whole_copy(&self, range: Range<u64>) -> Option<ReadBytes> {
        let entry = self.copy().filter(|entry| entry.is_whole())?;
        let is_verified = entry.is_verified();
        let bytes = match entry.read_now(range.clone()) {
            Ok(Look::Bytes(bytes)) => Some(bytes),
            Ok(Look::Waits) => self.read_copy(&entry, range).await,
            Ok(Look::Absent) => None,
            Err(error) => self.cannot_read(&error),
        };
        self.note_look(bytes.as_ref().map(|bytes| bytes.len() as u64));
        bytes.map(|bytes| ReadBytes::copied(bytes, is_verified))
    }

    /// The same of any copy, from the disk.
    pub(super) async fn read_copy(&self, entry: &Arc<Entry>, range: Range<u64>) -> Option<Vec<u8>> {
        let entry = entry.clone();
        let read = self.readers.runtime.spawn_blocking(move || entry.read(range)).await.ok()?;
        read.unwrap_or_else(|error| self.cannot_read(&error))
    }

    fn cannot_read<T>(&self, error: &io::Error) -> Option<T> {
        log::warn!("the copy of {} in the cache cannot be read: {error}", self.stored().key.as_str());
        *self.copy_place.lock() = OpenCopy::Opened(None);
        None
    }

    pub(super) fn note_look(&self, bytes: Option<u64>) {
        if let Some(copies) = &self.readers.copies {
            copies.cache.note_look(bytes);
        }
    }

    /// Forgets what is on the disk of this version: something of all that came is not the object's.
    pub(super) fn forget_copy(&self) {
        if let Some(entry) = self.copy() {
            entry.forget(0..entry.identity().size);
        }
    }

    /// Keeps a block that came.
    pub(super) fn keep_copy(&self, start: u64, slot: &Arc<Slot>) {
        let (Some(copies), Some(entry)) = (&self.readers.copies, self.copy()) else { return };
        let expected = self.version().checksum;
        copies.cache.fill(Filling::new(entry, start, Arc::new(Came(slot.clone())), expected));
    }
}

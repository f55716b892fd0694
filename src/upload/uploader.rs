//! All open files of a mount: how they find one another, and the help they give when memory is short.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Handle;

use super::open_file::OpenFile;
use super::options::UploadOptions;
use super::transfers::Transfers;
use crate::clock::Clock;
use crate::memory::{Memory, Relief};
use crate::object::{ByteRange, Checksum, ObjectKey, StoredObject};
use crate::stats::Stats;
use crate::store::{ObjectStore, StoreError};

/// Makes open files; one for each mount.
pub struct Uploader {
    pub(super) transfers: Arc<Transfers>,
    files: Registry,
    /// The files that have been given bytes of other objects. Asked at every publishing and every removal, so that nobody
    /// looks at ten thousand files for it that have none.
    copiers: Registry,
}

/// Files, for as long as they live.
///
/// Std mutex: pushes, sweeps and clones only. Level 8 in the order of locks.
#[derive(Default)]
struct Registry(Mutex<Vec<Weak<OpenFile>>>);

impl Registry {
    fn add(&self, file: &Arc<OpenFile>) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Swept when it would grow, so that each file costs its share of the sweeps only.
        if files.len() == files.capacity() {
            files.retain(|file| file.strong_count() > 0);
            let more = files.len().max(16);
            files.reserve_exact(more);
        }
        files.push(Arc::downgrade(file));
    }

    fn all(&self) -> Vec<Arc<OpenFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }
}

impl Uploader {
    /// An uploader whose transfers run on `runtime`. Sets an eighth of `memory` aside for itself.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        memory: Memory,
        options: UploadOptions,
        clock: Clock,
        stats: Arc<Stats>,
        runtime: Handle,
    ) -> Arc<Uploader> {
        let transfers = Arc::new(Transfers::new(store, memory, options, clock, stats, runtime));
        let (files, copiers) = (Registry::default(), Registry::default());
        let uploader = Arc::new(Uploader { transfers, files, copiers });
        let relief: Arc<dyn Relief> = uploader.clone();
        uploader.transfers.memory.on_shortage(&relief);
        uploader
    }

    /// Says what keys begin with that nobody sees. Without it no object but the files' own is ever made.
    pub fn hide_under(&self, prefix: String) {
        let _ = self.transfers.hidden.set(prefix);
    }

    /// Fetches a range once more, and fails unless it comes with the checksum that it came with before.
    pub async fn compare(&self, object: &StoredObject, range: ByteRange, checksum: Checksum) -> Result<(), StoreError> {
        self.transfers.compare(object, range, checksum).await
    }

    /// Somebody is about to replace or remove the object under `key`: waits until no open file but `except` wants to copy
    /// from it any more, after sending those who do on their way. Their failures stay with them.
    pub async fn release_source(&self, key: &ObjectKey, except: Option<&OpenFile>) {
        for file in self.copiers.all() {
            let is_except = except.is_some_and(|except| std::ptr::eq(except, &*file));
            if !is_except && file.sender.lock().copies_from(key) {
                stop_copying_from(file, key).await;
            }
        }
    }

    /// The same for those who want to copy from the object of `file` and whom `file` does not need for that, by whatever way.
    pub(super) async fn release_independent(&self, file: &OpenFile) {
        let (key, others) = (file.key(), self.copiers.all());
        let others: Vec<_> = others.into_iter().filter(|other| !std::ptr::eq(file, &**other)).collect();
        let mut needed = file.sender.lock().sources();
        loop {
            let before = needed.len();
            let more = others.iter().filter(|other| needed.contains(&other.key()));
            let more: Vec<ObjectKey> = more.flat_map(|other| other.sender.lock().sources()).collect();
            needed.extend(more);
            if needed.len() == before {
                break;
            }
        }
        for other in others {
            let is_needed = needed.contains(&other.key());
            if !is_needed && other.sender.lock().copies_from(&key) {
                stop_copying_from(other, &key).await;
            }
        }
    }

    /// Whether an open file but `except` wants to copy from the object under `key`.
    pub(super) fn is_source(&self, key: &ObjectKey, except: &OpenFile) -> bool {
        self.copiers.all().iter().any(|file| !std::ptr::eq(except, &**file) && file.sender.lock().copies_from(key))
    }

    pub(super) fn register(&self, file: &Arc<OpenFile>) {
        self.files.add(file);
    }

    /// `file` is about to get bytes of another object.
    pub(super) fn register_copier(&self, file: &Arc<OpenFile>) {
        if !file.is_copier.swap(true, Ordering::SeqCst) {
            self.copiers.add(file);
        }
    }

    /// The mount ends: waits until no upload is being aborted any more, and no zeros removed. Requests that are on their way
    /// are not waited for any longer.
    pub async fn until_given_up(&self) {
        self.transfers.until_given_up().await;
    }
}

/// Publishes the file, and returns as soon as it does not need the object under `key` any more.
async fn stop_copying_from(file: Arc<OpenFile>, key: &ObjectKey) {
    file.clone().publish_in_background();
    file.sender.until(|state| (!state.copies_from(key)).then_some(())).await;
}

impl Relief for Uploader {
    fn shrink(&self, _bytes: usize) {
        for file in self.files.all() {
            file.sender.release_idle();
        }
    }

    /// Gives back what is not needed and sends everything that is large enough to be a part; if nothing is on its way
    /// then, publishes the file that holds the most, which goes on with the object as its base. Bytes of failed files make
    /// way before that.
    ///
    /// Nobody who calls this holds a file's lock.
    fn hurry(&self) {
        let files = self.files.all();
        for file in &files {
            file.sender.relieve();
        }
        if !self.transfers.memory.is_short() || self.transfers.are_any() {
            return;
        }
        // One that somebody holds still, perhaps a reader who waits for memory, could not be published.
        let is_free = |file: &OpenFile| file.publishing.try_lock().is_ok();
        let holders = files.iter().map(|file| (file.sender.lock().publishable_bytes(), file));
        let holders = holders.filter(|(bytes, file)| *bytes > 0 && is_free(file));
        if let Some((_, file)) = holders.max_by_key(|(bytes, _)| *bytes) {
            file.clone().publish_in_background();
        }
    }
}

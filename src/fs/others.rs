//! Other mounts of the same bucket on this machine: they tell each other which directories they have changed, so that what one
//! has closed the other sees when it opens it, without asking the service.
//!
//! A file that they share holds a stamp for each of a few thousand groups of directories. Who changes something puts a
//! new stamp there before its caller is answered; who is about to believe what it knows looks whether the stamp is
//! still the one that it saw last.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::FileSystem;
use super::tree::Ino;
use crate::store::{
    Body, Copied, CopyRequest, GetRequest, ListPage, ListRequest, ListedUpload, ObjectStore, Published, Reading,
    Source, StoreError,
};
use crate::wire::{
    ByteRange, Crc64, ETag, Limits, ObjectAttributes, ObjectHead, ObjectKey, PartNumber, UploadId, UploadedPart,
};

/// Groups of directories. Two that share one are looked at again more often than they need to be, and that is all.
const GROUPS: usize = 4096;

/// Where in the file the stamp of the mount that came last is, behind those of the groups.
const NEWCOMER: usize = GROUPS;

/// Bytes of a stamp.
const STAMP_BYTES: usize = 8;

/// What a mount and the others on this machine tell each other.
pub struct Others {
    /// Locked, shared, for as long as the mount lives.
    stamps: File,
    /// Locked while a stamp is read and replaced.
    lock: File,
    /// Std mutex: held for a read and a write of eight bytes in a file in memory.
    seen: Mutex<Vec<Seen>>,
    /// Its own stamp as a newcomer.
    own: u64,
    /// Somebody else is or was there.
    is_accompanied: AtomicBool,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    stamp: u64,
    /// How often it was another one than the last that was seen or put there.
    changes: u64,
}

impl Others {
    /// Joins those who share the file at `path`, in a directory that belongs to the user alone.
    ///
    /// # Errors
    /// Where the file cannot be made, opened or locked.
    pub fn join(path: &Path) -> io::Result<Arc<Others>> {
        let open =
            |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let (stamps, lock) = loop {
            let (stamps, lock) = (open(path)?, open(&path.with_extension("lock"))?);
            lock.lock()?;
            // Somebody may have removed them in between, because nobody used them.
            if is_still_at(&stamps, path)? && is_still_at(&lock, &path.with_extension("lock"))? {
                break (stamps, lock);
            }
        };
        // Nobody else holds it if it can be had alone.
        let is_alone = match stamps.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        stamps.unlock()?;
        stamps.lock_shared()?;
        stamps.set_len(((GROUPS + 1) * STAMP_BYTES) as u64)?;
        let own = new_stamp();
        write(&stamps, NEWCOMER, own)?;
        let mut seen = Vec::with_capacity(GROUPS);
        for group in 0..GROUPS {
            seen.push(Seen { stamp: read(&stamps, group)?, changes: 0 });
        }
        lock.unlock()?;
        let is_accompanied = AtomicBool::new(!is_alone);
        Ok(Arc::new(Others { stamps, lock, seen: Mutex::new(seen), own, is_accompanied }))
    }

    /// Removes the file at `path` if no mount uses it.
    pub fn remove_if_unused(path: &Path) {
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path).ok();
        let (Some(stamps), Some(lock)) = (open(path), open(&path.with_extension("lock"))) else { return };
        if lock.try_lock().is_ok() && stamps.try_lock().is_ok() {
            let _ = std::fs::remove_file(path);
            let _ = std::fs::remove_file(path.with_extension("lock"));
        }
    }

    /// Whether another mount is there, or was since this one joined.
    pub(super) fn are_there(&self) -> bool {
        if self.is_accompanied.load(Ordering::Relaxed) {
            return true;
        }
        let somebody_came = read(&self.stamps, NEWCOMER).is_ok_and(|newcomer| newcomer != self.own);
        self.is_accompanied.fetch_or(somebody_came, Ordering::Relaxed) || somebody_came
    }

    /// How often others have changed the directories in the group of this one, as far as this mount has looked.
    pub(super) fn changes(&self, directory: &str) -> u64 {
        let group = group_of(directory);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Where it cannot be read, everything may have changed.
        let stamp = read(&self.stamps, group).unwrap_or_else(|_| new_stamp());
        seen[group].notice(stamp);
        seen[group].changes
    }

    /// This mount has changed what is in a directory.
    fn tell(&self, directory: &str) {
        let group = group_of(directory);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let told = (|| {
            self.lock.lock()?;
            let before = read(&self.stamps, group)?;
            let stamp = new_stamp();
            write(&self.stamps, group, stamp)?;
            io::Result::Ok((before, stamp))
        })();
        let unlocked = self.lock.unlock();
        match told.and_then(|told| unlocked.map(|()| told)) {
            Ok((before, stamp)) => {
                seen[group].notice(before);
                seen[group].stamp = stamp;
            }
            Err(error) => log::warn!("other mounts of this machine could not be told of a change: {error}"),
        }
    }

    /// The object under `key` was made, replaced or removed.
    fn tell_of(&self, key: &ObjectKey) {
        let path = key.as_str();
        let name = path.strip_suffix('/').unwrap_or(path);
        let parent = name.rfind('/').map_or("", |end| &name[..=end]);
        self.tell(parent);
        if path.ends_with('/') {
            self.tell(path);
        }
    }
}

impl Seen {
    fn notice(&mut self, stamp: u64) {
        if self.stamp != stamp {
            (self.stamp, self.changes) = (stamp, self.changes + 1);
        }
    }
}

/// Whether an open file is the one that has this name.
fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match std::fs::metadata(path) {
        Ok(named) => Ok(identity(named) == identity(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn group_of(directory: &str) -> usize {
    // The same for every version of the program.
    (Crc64::of(directory.as_bytes()).0 % GROUPS as u64) as usize
}

fn new_stamp() -> u64 {
    fastrand::u64(1..)
}

fn read(file: &File, at: usize) -> io::Result<u64> {
    let mut bytes = [0; STAMP_BYTES];
    file.read_exact_at(&mut bytes, (at * STAMP_BYTES) as u64)?;
    Ok(u64::from_le_bytes(bytes))
}

fn write(file: &File, at: usize, stamp: u64) -> io::Result<()> {
    file.write_all_at(&stamp.to_le_bytes(), (at * STAMP_BYTES) as u64)
}

impl FileSystem {
    /// Looks whether others have changed a directory since this was last asked, and believes nothing of it then.
    pub(super) fn heed_others(&self, ino: Ino) {
        let Some(others) = self.others.as_ref().filter(|others| others.are_there()) else { return };
        let Ok(prefix) = self.directory_prefix(ino) else { return };
        let changes = others.changes(&prefix);
        self.tree().heed_others(ino, changes);
    }
}

/// A store that tells the others of every change before the caller is answered.
pub(super) struct Telling {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) others: Arc<Others>,
}

impl Telling {
    /// Also of one that failed: nobody knows what of it was done.
    fn told<T>(&self, key: &ObjectKey, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.others.tell_of(key);
        result
    }
}

#[async_trait]
impl ObjectStore for Telling {
    fn limits(&self) -> Limits {
        self.store.limits()
    }

    async fn head_bucket(&self) -> Result<(), StoreError> {
        self.store.head_bucket().await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectHead, StoreError> {
        self.store.head(key).await
    }

    async fn get(&self, request: GetRequest) -> Result<Reading, StoreError> {
        self.store.get(request).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        body: Body,
        crc64: Crc64,
        attributes: &ObjectAttributes,
    ) -> Result<Published, StoreError> {
        let result = self.store.put(key, body, crc64, attributes).await;
        self.told(key, result)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let result = self.store.delete(key).await;
        self.told(key, result)
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        let result = self.store.delete_many(keys).await;
        keys.iter().for_each(|key| self.others.tell_of(key));
        result
    }

    async fn copy(&self, request: CopyRequest) -> Result<Copied, StoreError> {
        let key = request.key.clone();
        let result = self.store.copy(request).await;
        self.told(&key, result)
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage, StoreError> {
        self.store.list(request).await
    }

    async fn initiate(&self, key: &ObjectKey, attributes: &ObjectAttributes) -> Result<UploadId, StoreError> {
        self.store.initiate(key, attributes).await
    }

    async fn upload_part(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        body: Body,
        crc64: Crc64,
    ) -> Result<UploadedPart, StoreError> {
        self.store.upload_part(key, upload, number, body, crc64).await
    }

    async fn upload_part_copy(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        number: PartNumber,
        source: &Source,
        range: ByteRange,
    ) -> Result<UploadedPart, StoreError> {
        self.store.upload_part_copy(key, upload, number, source, range).await
    }

    async fn complete(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        parts: &[ETag],
        size: u64,
        crc64: Option<Crc64>,
    ) -> Result<Published, StoreError> {
        let result = self.store.complete(key, upload, parts, size, crc64).await;
        self.told(key, result)
    }

    async fn abort(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), StoreError> {
        self.store.abort(key, upload).await
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<ListedUpload>, StoreError> {
        self.store.list_uploads(prefix).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_changes_are_noticed_and_ones_own_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bucket");
        let first = Others::join(&path).unwrap();
        assert!(!first.are_there());
        let second = Others::join(&path).unwrap();
        assert!(first.are_there() && second.are_there());
        let key = ObjectKey::new("d/a").unwrap();
        let counts = || (first.changes("d/"), second.changes("d/"));
        assert_eq!(counts(), (0, 0));
        first.tell_of(&key);
        first.tell_of(&key);
        assert_eq!(counts(), (0, 1));
        second.tell_of(&key);
        first.tell_of(&key);
        assert_eq!(counts(), (1, 2));
        second.tell_of(&ObjectKey::new("d/sub/").unwrap());
        assert_eq!((first.changes("d/"), first.changes("d/sub/"), first.changes("e/")), (2, 1, 0));
    }

    #[test]
    fn who_joins_when_all_have_gone_is_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bucket");
        drop(Others::join(&path).unwrap());
        assert!(!Others::join(&path).unwrap().are_there());
    }
}

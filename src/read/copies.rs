//! Copies of objects on this machine's disk: what is there of a version is not asked for, and what comes is kept.
//!
//! What a whole copy holds was compared with the checksum of the object when its last piece came, and is compared with its own
//! whenever it is read. Of a copy that is not whole nobody knows whether it is right: its bytes count as if they had just come.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::blocks::Slot;
use super::object::Object;
use super::reader::ReadBytes;
use super::readers::Readers;
use crate::cache::{Description, DiskCache, Entry, Filling, Identity, Look, Waits};
use crate::object::{Checksum, StoredObject, Version};

/// How long a read waits for the disk before it is read as without a cache, from then on.
const DISK_PATIENCE: Duration = Duration::from_secs(5);

/// How long a lookup waits for what the disk has of a file's metadata. A request for them takes as long.
const DESCRIPTION_PATIENCE: Duration = Duration::from_millis(50);

/// How long an open waits until what was read is written, so that the kernel can read it by itself.
const SETTLE_PATIENCE: Duration = Duration::from_millis(500);

/// Of smaller files nobody waits for that, in bytes: it saves less.
const WAITED_FOR_BYTES_MIN: u64 = 1 << 20;

/// The cache of a mount, and the bucket whose objects are kept in it.
#[derive(Clone, Debug)]
pub struct Copies {
    /// Where copies are kept.
    pub cache: Arc<DiskCache>,
    /// Where the bucket is: the base URL that its objects are under.
    pub origin: String,
    /// Of which share of an object that has come the rest is fetched, too, in percent; more than 100 for never. What has come, and
    /// the disk could not take, counts.
    pub fill_percent: u64,
    /// Whether what is written is kept, too.
    pub keeps_writes: bool,
}

/// The copy of a version. Std mutex, 8 in the order of locks: assignments only.
#[derive(Debug, Default)]
pub(super) struct CopyPlace(Mutex<Place>);

#[derive(Debug, Default)]
struct Place {
    copy: OpenCopy,
    /// What is known of the version beside its bytes, where somebody has said that.
    description: Option<Arc<Description>>,
}

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
        *self.lock() = Place::default();
    }

    /// The copy, if somebody has opened it.
    fn opened(&self) -> Option<Arc<Entry>> {
        match &self.lock().copy {
            OpenCopy::Opened(entry) => entry.clone(),
            OpenCopy::Unopened => None,
        }
    }

    /// Reads by a copy from now on, or by none. Returns what is known of the version.
    fn take(&self, copy: Option<Arc<Entry>>) -> Option<Arc<Description>> {
        let mut place = self.lock();
        place.copy = OpenCopy::Opened(copy);
        place.description.clone()
    }

    /// What the disk does, if it does it before long. Otherwise it is not asked any more.
    async fn wait_for_disk<T: Send + 'static>(
        &self,
        readers: &Readers,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let cache = &readers.copies.as_ref()?.cache;
        let done = timeout(DISK_PATIENCE, async {
            let turn = readers.on_disk.clone().acquire_owned().await.ok()?;
            // Somebody may have found out meanwhile that it hangs.
            let work = move || {
                let _turn = turn;
                work()
            };
            if cache.is_silent() { None } else { readers.runtime.spawn_blocking(work).await.ok() }
        });
        let done = done.await;
        if done.is_err() {
            self.take(None);
            cache.note_silence();
        }
        done.ok()?
    }

    fn cannot_read<T>(&self, copy: &Entry, error: &io::Error) -> Option<T> {
        log::warn!("the copy of {} in the cache cannot be read: {error}", copy.identity().key);
        self.take(None);
        None
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readers {
    /// What the cache on disk has written down of a version beside its bytes. A disk that is busy is not waited for.
    pub async fn description_of(&self, stored: &StoredObject) -> Option<Description> {
        let Copies { cache, origin, .. } = self.copies.as_ref()?;
        if cache.is_silent() {
            return None;
        }
        let (of, algorithm) = (identity_of(stored, origin), self.store.limits().checksum);
        if let Ok(description) = cache.description_now(&of, algorithm) {
            return description;
        }
        let (cache, turn) = (cache.clone(), self.describing.clone().try_acquire_owned().ok()?);
        let look = self.runtime.spawn_blocking(move || {
            let _turn = turn;
            cache.description(&of, algorithm)
        });
        timeout(DESCRIPTION_PATIENCE, look).await.ok()?.ok()?
    }
}

/// What a copy of a version is one of.
fn identity_of(stored: &StoredObject, origin: &str) -> Identity {
    let (key, Version { etag, size, .. }) = (stored.key.as_str().to_owned(), stored.version.clone());
    Identity { origin: origin.to_owned(), key, etag, size }
}

impl Object {
    /// Says what is known of the version beside its bytes, which is written down with its copy.
    pub fn describe(&self, description: Description) {
        let description = Arc::new(description);
        self.copy_place.lock().description = Some(description.clone());
        if let Some(copy) = self.opened_copy() {
            self.write_down(&copy, description);
        }
    }

    fn write_down(&self, copy: &Arc<Entry>, description: Arc<Description>) {
        if copy.take_description(description) {
            self.readers.fill(Filling::of_description(copy.clone()));
        }
    }

    /// The copy of this version, if there is one, or else begun if it `begins`; `None` without a cache.
    async fn copy(&self, begins: bool) -> Option<Arc<Entry>> {
        let Copies { cache, origin, .. } = self.readers.copies.as_ref()?;
        if let OpenCopy::Opened(entry) = &self.copy_place.lock().copy {
            return entry.clone();
        }
        if cache.is_silent() {
            return None;
        }
        let of = identity_of(&self.stored(), origin);
        let algorithm = self.readers.store.limits().checksum;
        let entry = match cache.find_now(&of, algorithm) {
            Ok(Some(entry)) => Some(entry),
            Ok(None) if !begins => return None,
            Ok(None) | Err(Waits) => {
                let (cache, of) = (cache.clone(), of.clone());
                let open = move || if begins { cache.entry(&of, algorithm) } else { cache.find(&of, algorithm) };
                self.copy_place.wait_for_disk(&self.readers, open).await.flatten()
            }
        };
        // It may have become another version while the disk was waited for. Where there is none, who reads begins one.
        if (begins || entry.is_some()) && identity_of(&self.stored(), origin) == of {
            let description = self.copy_place.take(entry.clone());
            if let Some((copy, description)) = entry.as_ref().zip(description) {
                self.write_down(copy, description);
            }
        }
        entry
    }

    /// The bytes of `range`, if a whole copy has them and nothing is to be found out about them.
    pub(super) async fn read_whole_copy(&self, range: Range<u64>) -> Option<ReadBytes> {
        self.readers.copies.as_ref()?;
        let entry = self.copy(true).await.filter(|entry| entry.is_whole())?;
        let (is_verified, epoch) = (entry.is_verified(), entry.epoch());
        let may_be_verified = !is_verified && self.version().checksum.is_some();
        if may_be_verified || self.verifier.waits_for_the_rest() {
            // Whoever reads blocks finds out.
            return None;
        }
        let bytes = match entry.read_now(range.clone()) {
            Ok(Look::Bytes(bytes)) => Some(bytes),
            Ok(Look::Waits) => self.read_copy(&entry, range).await,
            Ok(Look::Absent) => None,
            Err(error) => self.copy_place.cannot_read(&entry, &error),
        };
        let bytes = bytes.filter(|_| entry.epoch() == epoch);
        self.readers.note_look(bytes.as_ref().map(|bytes| bytes.len() as u64));
        bytes.map(|bytes| ReadBytes::copied(bytes, is_verified))
    }

    /// The copy of this version that the kernel may read by itself: whole, compared with the checksum of the object where the
    /// service tells that, and right as it lies on the disk. One that is only not known to be right is looked at meanwhile.
    pub async fn copy_for_kernel(&self) -> Option<Arc<Entry>> {
        let copy = self.copy(false).await?;
        let size = copy.identity().size;
        if !copy.is_whole() && size >= WAITED_FOR_BYTES_MIN {
            // What was read just now may be about to be written.
            let (cache, copy) = (self.readers.copies.as_ref()?.cache.clone(), copy.clone());
            self.copy_place.wait_for_disk(&self.readers, move || cache.settle_copy(&copy, SETTLE_PATIENCE)).await?;
        }
        let is_comparable = !copy.is_verified() && self.version().checksum.is_some();
        if !copy.is_whole() || is_comparable || size == 0 {
            return None;
        }
        if copy.is_proven() {
            return Some(copy);
        }
        let cache = self.readers.copies.as_ref()?.cache.clone();
        self.readers.runtime.spawn_blocking(move || cache.prove(&copy));
        None
    }

    /// How many bytes of it the cache has, when it has all that came; `None` without a cache.
    pub(super) async fn cached_bytes(&self) -> Option<u64> {
        let cache = self.readers.copies.as_ref()?.cache.clone();
        let entry = self.copy(false).await;
        let count = move || {
            cache.settle(DISK_PATIENCE / 2);
            entry.map_or(0, |entry| entry.copied_bytes())
        };
        self.copy_place.wait_for_disk(&self.readers, count).await
    }

    /// The copy, if somebody has opened it.
    pub(super) fn opened_copy(&self) -> Option<Arc<Entry>> {
        self.copy_place.opened()
    }

    /// The bytes of `range`, if any copy has them, from the disk.
    pub(super) async fn read_copy(&self, entry: &Arc<Entry>, range: Range<u64>) -> Option<Vec<u8>> {
        let copy = entry.clone();
        let read = self.copy_place.wait_for_disk(&self.readers, move || copy.read(range)).await?;
        read.unwrap_or_else(|error| self.copy_place.cannot_read(entry, &error))
    }

    /// Forgets what is on the disk of this version, in its copy: something of all that came is not the object's.
    pub(super) async fn forget(&self, entry: Arc<Entry>) {
        let forget = move || entry.forget(0..entry.identity().size);
        self.copy_place.wait_for_disk(&self.readers, forget).await;
    }

    /// Keeps a block that came, and of which these were the checksums at the end of each grain.
    pub(super) fn keep_copy(&self, copy: &Arc<Entry>, start: u64, slot: Arc<Slot>, sums: Vec<Checksum>) {
        let Some(held) = slot.filled().map(|filled| filled.block.len() as u64) else { return };
        let (bytes, expected) = (Arc::new(Came(slot)), self.version().checksum);
        self.readers.fill(Filling::new(copy.clone(), start, (bytes, held), expected).with_sums(sums));
    }

    /// The end of the object was read from its copy: all of that may be there.
    pub(super) fn end_copy(&self, copy: &Arc<Entry>) {
        self.readers.fill(Filling::nothing_more(copy.clone(), self.version().checksum));
    }
}
